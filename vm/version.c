/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The version of a VM: its machine type, always by hand and only while it is off. A guest's memory is of the machine
 * type that it ran with, so one that is kept somewhere (managed save, snapshot) holds the VM to its version. */
#include <stdio.h>

#include "vm/vm.h"

/* The last part of a machine type, after its last '-': "7.2" of "pc-q35-7.2". NULL: it has none. */
static const char *tail_of(const char *machine)
{
    const char *dash = strrchr(machine, '-');
    return dash ? dash + 1 : NULL;
}

unsigned vm_machine_version(const char *machine)
{
    unsigned major = 0, minor = 0;
    char rest;
    const char *tail = tail_of(machine);
    if (!tail || sscanf(tail, "%4u.%3u%c", &major, &minor, &rest) != 2)
        return 0;
    return major * 1000 + minor;
}

static bool is_same_family(const char *a, const char *b)
{
    const char *tail_a = tail_of(a), *tail_b = tail_of(b);
    return tail_a && tail_b && tail_a - a == tail_b - b && strncmp(a, b, (size_t)(tail_a - a)) == 0;
}

bool vm_machine_at(const char *machine, const char *level, char ret[VM_MACHINE_MAX])
{
    if (vm_machine_version(machine) == 0 || vm_machine_version(level) == 0)
        return false;
    int family = (int)(tail_of(machine) - machine);
    int n = snprintf(ret, VM_MACHINE_MAX, "%.*s%s", family, machine, tail_of(level));
    return n > 0 && n < VM_MACHINE_MAX;
}

bool vm_is_outdated(const struct vm *v, const char *level)
{
    unsigned own = vm_machine_version(v->machine);
    return own != 0 && own < vm_machine_version(level);
}

int vm_machine_check(const char *name, const char *machine, const struct vm_limits *limits, struct error *e)
{
    unsigned most = limits ? vm_machine_version(limits->machine) : 0;
    if (most == 0 || vm_machine_version(machine) <= most)
        return 0;
    const struct error *why = &limits->later_machines;
    error_set(e, ERR_CONDITION, "VM %s: machine type %s is later than %s, the one of the functional level%s%s", name,
              machine, limits->machine, why->code ? ": " : "", why->text);
    error_set_remedy(e, "%s", why->code ? why->remedy : "clusterctl level show");
    return ERR_CONDITION;
}

static int check_off(const struct vm *v, struct error *e)
{
    bool is_due = vm_is_lost(v) || (v->owed != VM_OWED_NOTHING && v->wanted);
    if (v->state == VM_STOPPED && v->op == VM_OP_NONE && !is_due)
        return 0;
    error_set(e, ERR_CONDITION, "VM %s is %s: its machine type changes only while it is off", v->name,
              is_due ? "about to be started again" : vm_state_name(v));
    error_set_remedy(e, "clusterctl vm stop %s", v->name);
    return ERR_CONDITION;
}

static int check_saved(const struct vm *v, struct error *e)
{
    if (v->managed_save) {
        error_set(e, ERR_CONDITION, "VM %s has a managed save on %s, of a guest with machine type %s", v->name, v->node,
                  v->machine);
        error_set_remedy(e, "clusterctl vm start %s, then clusterctl vm stop %s", v->name, v->name);
    } else if (v->owed == VM_OWED_RESTORE) {
        error_set(e, ERR_CONDITION, "VM %s is saved, with machine type %s", v->name, v->machine);
        error_set_remedy(e, "clusterctl vm start %s, then clusterctl vm stop %s", v->name, v->name);
    } else if (v->memory_snapshot) {
        error_set(e, ERR_CONDITION, "VM %s has a snapshot with memory, of a guest with machine type %s", v->name,
                  v->machine);
        error_set_remedy(e, "on %s: virsh snapshot-list %s, and virsh snapshot-delete what is not needed", v->node,
                         v->name);
    } else {
        return 0;
    }
    return ERR_CONDITION;
}

static int check_step(const struct vm *v, const char *machine, struct error *e)
{
    if (str_eq(machine, v->machine))
        return error_set(e, ERR_CONDITION, "VM %s has machine type %s already", v->name, machine);
    if (!is_same_family(machine, v->machine) || vm_machine_version(machine) == 0)
        return error_set(e, ERR_USAGE, "VM %s has machine type %s: %s is no version of that", v->name, v->machine,
                         machine);
    if (vm_machine_version(machine) > vm_machine_version(v->machine))
        return 0;
    error_set(e, ERR_CONDITION, "VM %s has machine type %s: %s is an earlier one", v->name, v->machine, machine);
    if (v->machine_before[0])
        error_set_remedy(e, "clusterctl vm rollback-version %s", v->name);
    return ERR_CONDITION;
}

/* On every node: afterwards it is to move as it did before. */
static int check_known(const struct vm *v, const char *machine, const struct vm_nodes *nodes, struct error *e)
{
    struct vm as = *v;
    as.has_host_device = as.has_local_disk = false;
    STR_COPY(as.machine, machine);
    for (size_t i = 0; i < nodes->n; i++) {
        bool is_known = nodes->nodes[i].machines != NULL;
        if (is_known && vm_can_migrate(&as, &nodes->nodes[i], e))
            return ERR_CONDITION;
    }
    return 0;
}

int vm_version_check(const struct vm *v, const char *machine, const struct vm_nodes *nodes, struct error *e)
{
    int err = check_off(v, e);
    err = err ? err : check_step(v, machine, e);
    err = err ? err : vm_machine_check(v->name, machine, nodes->limits, e);
    err = err ? err : check_known(v, machine, nodes, e);
    return err ? err : check_saved(v, e);
}

/* What was saved of it since holds it to what it ran with: to what it goes back to. */
int vm_rollback_check(const struct vm *v, struct error *e)
{
    if (!v->machine_before[0]) {
        error_set(e, ERR_CONDITION,
                  "VM %s has no earlier machine type to go back to: it was not upgraded, or ran since", v->name);
        return ERR_CONDITION;
    }
    return check_off(v, e);
}

void vm_version_key(const char *name, char ret[TABLE_KEY_MAX])
{
    snprintf(ret, TABLE_KEY_MAX, "%s/before", name); /* no name has a '/' */
}
