/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checks of virtual machines: what vm/ found, and what the new release makes of their machine types. */
#include <stdio.h>

#include "upgrade/check.h"
#include "upgrade/level.h"
#include "upgrade/platform.h"

static bool has_word(const char *list, const char *word)
{
    size_t len = strlen(word);
    for (const char *p = list; p && (p = strstr(p, word)); p += len)
        if ((p == list || p[-1] == ' ') && (p[len] == ' ' || p[len] == '\0'))
            return true;
    return false;
}

/* A node that runs the target already knows better than any table what is there; not what is deprecated. */
static enum machine_support support_of(const struct upgrade_view *v, const char *target, const char *machine)
{
    enum machine_support known = platform_machine(level_of_release(target), machine);
    for (size_t i = 0; i < v->n; i++)
        if (known != MACHINE_DEPRECATED && str_eq(v->nodes[i].release, target) && v->nodes[i].machines)
            return has_word(v->nodes[i].machines, machine) ? MACHINE_SUPPORTED : MACHINE_TOO_OLD;
    return known;
}

static void check_machine(const struct upgrade_view *v, const char *target, const struct upgrade_machine *m,
                          struct json *f)
{
    char remedy[ERROR_REMEDY_MAX];
    enum machine_support support = support_of(v, target, m->machine);
    snprintf(remedy, sizeof(remedy), "clusterctl vm upgrade-version %s, with the VM off", m->example);
    switch (support) {
    case MACHINE_SUPPORTED: break;
    case MACHINE_DEPRECATED:
        finding(f, "machines", "warn", m->machine, remedy,
                "%u virtual machines have it (%s): %s still runs it, and calls it deprecated", m->n, m->example,
                target);
        break;
    case MACHINE_TOO_OLD:
    case MACHINE_TOO_NEW:
        finding(f, "machines", "fail", m->machine, remedy,
                "%u virtual machines have it (%s), and the QEMU of %s does not", m->n, m->example, target);
        break;
    case MACHINE_UNKNOWN:
        snprintf(remedy, sizeof(remedy), "qemu-system-x86_64 -machine help, on a host with %s", target);
        finding(f, "machines", "warn", m->machine, remedy,
                "%u virtual machines have it (%s), and whether %s has it is not known here", m->n, m->example, target);
        break;
    }
}

static void check_machines(const struct upgrade_view *v, const char *target, struct json *f)
{
    size_t before = json_count(f);
    for (size_t i = 0; i < v->n_machines; i++)
        check_machine(v, target, &v->machines[i], f);
    if (json_count(f) == before)
        finding(f, "machines", "pass", "", "", "%s has every machine type in use (%zu), and none is deprecated", target,
                v->n_machines);
}

/* What only a rebuild loses. */
static bool is_of_rebuild(const char *check)
{
    return str_eq(check, "disks") || str_eq(check, "saved") || str_eq(check, "snapshots");
}

/* What another room found: {check, result, object, text, remedy}. An upgrade in place keeps the node's disks. */
static void take_over(const struct upgrade_view *v, struct json *f)
{
    for (size_t i = 0; i < json_count(v->vm_findings); i++) {
        const struct json *x = json_at(v->vm_findings, i);
        if (v->in_place && is_of_rebuild(json_get_str(x, "check", "")))
            continue;
        finding(f, json_get_str(x, "check", "vms"), json_get_str(x, "result", "fail"), json_get_str(x, "object", ""),
                json_get_str(x, "remedy", ""), "%s", json_get_str(x, "text", ""));
    }
}

void check_vms(const struct upgrade_view *v, const char *target, struct json *f)
{
    if (level_of_release(target) > 0) /* else that is what is wrong */
        check_machines(v, target, f);
    take_over(v, f);
    if (v->vm_ops > 0)
        finding(f, "operations", "warn", "", "clusterctl job list", "%u operations of virtual machines are under way",
                v->vm_ops);
    else
        finding(f, "operations", "pass", "", "", "no operation of a virtual machine is under way");
}
