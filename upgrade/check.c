/* SPDX-License-Identifier: GPL-2.0-or-later */
/* May the cluster be upgraded now, in which order, and may this node be taken out now. Works on the volatile view; the
 * answers go to an admin or into an entry. Finding: {check, result: pass|warn|fail, object, text, remedy}. */
#include <stdarg.h>
#include <stdio.h>

#include "common/text.h"
#include "upgrade/level.h"
#include "upgrade/run-entry.h"

const struct upgrade_node *upgrade_view_find(const struct upgrade_view *v, const char *node)
{
    for (size_t i = 0; i < v->n; i++)
        if (str_eq(v->nodes[i].name, node))
            return &v->nodes[i];
    return NULL;
}

/* ---- findings ------------------------------------------------------------------------------------------------ */

static void finding(struct json *arr, const char *check, const char *result, const char *object, const char *remedy,
                    const char *fmt, ...) __attribute__((format(printf, 6, 7)));
static void finding(struct json *arr, const char *check, const char *result, const char *object, const char *remedy,
                    const char *fmt, ...)
{
    char text[ERROR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    text_vformat(text, sizeof(text), fmt, ap);
    va_end(ap);
    struct json *f = json_object_new();
    json_set_str(f, "check", check);
    json_set_str(f, "result", result);
    json_set_str(f, "object", object);
    json_set_str(f, "text", text);
    json_set_str(f, "remedy", remedy);
    json_append(arr, f);
}

const char *upgrade_finding_first(const struct json *findings, const char *result, struct error *ret)
{
    for (size_t i = 0; i < json_count(findings); i++) {
        const struct json *f = json_at(findings, i);
        if (!str_eq(json_get_str(f, "result", ""), result))
            continue;
        error_set(ret, ERR_CONDITION, "%s", json_get_str(f, "text", ""));
        error_set_remedy(ret, "%s", json_get_str(f, "remedy", ""));
        return json_get_str(f, "check", "");
    }
    return NULL;
}

static bool has_result(const struct json *findings, const char *result)
{
    return upgrade_finding_first(findings, result, NULL) != NULL;
}

/* ---- votes --------------------------------------------------------------------------------------------------- */

static bool is_majority(unsigned votes, unsigned total)
{
    return 2 * votes > total;
}

/* What is left when a node was evicted: its weight is gone from both sides. */
static void votes_after(const struct upgrade_view *v, const struct upgrade_node *n, unsigned *ret_votes,
                        unsigned *ret_total)
{
    unsigned votes = v->votes_present, total = v->votes_total;
    if (n->voter && total > 0)
        total--;
    if (n->voter && n->present && votes > 0)
        votes--;
    *ret_votes = votes;
    *ret_total = total;
}

static void check_quorum(const struct upgrade_view *v, struct json *f)
{
    bool lost = false, margin = true;
    if (!v->quorate) {
        finding(f, "quorum", "fail", "", "clusterctl status", "no quorum: %u of %u votes are here", v->votes_present,
                v->votes_total);
        return;
    }
    for (size_t i = 0; i < v->n; i++) {
        unsigned votes, total;
        votes_after(v, &v->nodes[i], &votes, &total);
        margin = margin && votes > 0 && is_majority(votes - 1, total);
        if (is_majority(votes, total))
            continue;
        lost = true;
        finding(f, "quorum", "fail", v->nodes[i].name, "clusterctl node join, to have more nodes",
                "without %s %u of %u votes are left: no majority", v->nodes[i].name, votes, total);
    }
    if (lost)
        return;
    finding(f, "quorum", "pass", "", "", "%u of %u votes are here, and every node can be missed", v->votes_present,
            v->votes_total);
    if (margin)
        finding(f, "margin", "pass", "", "", "while a node is away one further failure keeps quorum");
    else
        finding(f, "margin", "warn", "", "go on with --yes, or add a node or a witness first",
                "while a node is away one further failure loses quorum until it is back");
}

/* ---- nodes --------------------------------------------------------------------------------------------------- */

/* Why a node is no full member now; false: it is one. What any node can tell: who is caught up, only the leader knows.
 */
static bool node_is_out(const struct upgrade_node *n, struct error *ret)
{
    if (n->state == UNODE_ABSENT || n->state == UNODE_EVICTING) {
        error_set(ret, ERR_CONDITION, "%s was evicted and has not joined again", n->name);
        error_set_remedy(ret, "clusterctl node join on %s", n->name);
    } else if (!n->present) {
        error_set(ret, ERR_CONDITION, "%s is not present", n->name);
        error_set_remedy(ret, "start %s, or clusterctl node evict %s", n->name, n->name);
    } else if (n->state == UNODE_JOINING) {
        error_set(ret, ERR_CONDITION, "%s is joining", n->name);
        error_set_remedy(ret, "wait, and see clusterctl node show %s", n->name);
    } else {
        return false;
    }
    return true;
}

static bool node_is_behind(const struct upgrade_node *n, struct error *ret)
{
    if (n->caught_up)
        return false;
    error_set(ret, ERR_CONDITION, "%s is catching up", n->name);
    error_set_remedy(ret, "wait, and see clusterctl node show %s", n->name);
    return true;
}

static bool node_is_in_maintenance(const struct upgrade_node *n, struct error *ret)
{
    if (n->state != UNODE_DRAINING && n->state != UNODE_PAUSED)
        return false;
    error_set(ret, ERR_CONDITION, "%s is %s", n->name, n->state == UNODE_PAUSED ? "paused" : "draining");
    error_set_remedy(ret, "clusterctl node resume %s", n->name);
    return true;
}

static void check_nodes(const struct upgrade_view *v, struct json *f)
{
    size_t out = 0, maintenance = 0;
    struct error why;
    for (size_t i = 0; i < v->n; i++) {
        if (!node_is_out(&v->nodes[i], &why))
            continue;
        out++;
        finding(f, "members", "fail", v->nodes[i].name, why.remedy, "%s", why.text);
    }
    if (out == 0)
        finding(f, "members", "pass", "", "", "all %zu nodes are present", v->n);
    for (size_t i = 0; i < v->n; i++) {
        if (!node_is_in_maintenance(&v->nodes[i], &why))
            continue;
        maintenance++;
        finding(f, "maintenance", "fail", v->nodes[i].name, why.remedy, "%s", why.text);
    }
    if (maintenance == 0)
        finding(f, "maintenance", "pass", "", "", "no node is paused or draining");
}

bool upgrade_step_obstacle(const struct upgrade_view *v, const char *node, struct error *ret)
{
    const struct upgrade_node *n = upgrade_view_find(v, node);
    unsigned votes, total;
    if (!n) {
        error_set(ret, ERR_CONDITION, "%s is no node of this cluster", node);
        error_set_remedy(ret, "clusterctl upgrade abort");
        return true;
    }
    for (size_t i = 0; i < v->n; i++) {
        const struct upgrade_node *other = &v->nodes[i];
        if (other != n && (node_is_out(other, ret) || node_is_in_maintenance(other, ret) || node_is_behind(other, ret)))
            return true;
    }
    votes_after(v, n, &votes, &total);
    if (is_majority(votes, total))
        return false;
    error_set(ret, ERR_CONDITION, "without %s %u of %u votes are left: no majority", node, votes, total);
    error_set_remedy(ret, "clusterctl status");
    return true;
}

/* ---- target, executor, level, runs, VMs ---------------------------------------------------------------------- */

static void known_releases(char *dst, size_t size)
{
    size_t len = 0;
    dst[0] = '\0';
#define LEVEL(number, codename, qemu, libvirt, text)                                                                   \
    len += (size_t)snprintf(dst + len, len < size ? size - len : 0, "%s%s", len ? ", " : "", codename);
#include "upgrade/level.def"
#undef LEVEL
}

static void check_target(const struct tables *t, const struct upgrade_view *v, const char *target, struct json *f)
{
    uint8_t level = level_of_release(target);
    struct level_state s;
    uint8_t fl = level_get(t, &s) == 0 ? s.fl : v->fl;
    char known[256];
    known_releases(known, sizeof(known));
    if (level == 0) {
        finding(f, "target", "fail", target, "clusterctl upgrade --target RELEASE",
                "release %s is not known; known: %s", target, known);
        return;
    }
    if (level > fl + 1) {
        finding(f, "target", "fail", target, "clusterctl level raise",
                "%s works at levels %u and %u, the cluster's is %u", target, level - 1, level, fl);
        return;
    }
    size_t newer = 0;
    for (size_t i = 0; i < v->n; i++) {
        if (v->nodes[i].native_level <= level)
            continue;
        newer++;
        finding(f, "target", "fail", v->nodes[i].name, "choose a newer --target", "%s runs %s, which is newer than %s",
                v->nodes[i].name, v->nodes[i].release, target);
    }
    if (newer == 0)
        finding(f, "target", "pass", target, "", "%s: %s", target, level_describe(level));
}

static void check_executor(const struct upgrade_view *v, struct json *f)
{
    if (v->executor && v->executor[0])
        finding(f, "executor", "pass", v->executor, "", "nodes are rebuilt by %s", v->executor);
    else
        finding(f, "executor", "fail", "", "clusterctl cluster config set upgrade.executor PATH",
                "no executor is set: nothing could rebuild a node");
}

static void check_level(const struct tables *t, struct json *f)
{
    struct level_state s;
    if (level_get(t, &s) == 0 && s.fence)
        finding(f, "level", "fail", "", "clusterctl level show", "the functional level is being raised to %u", s.fence);
    else
        finding(f, "level", "pass", "", "", "the functional level is not being raised");
}

static void check_runs(const struct tables *t, const struct uuid *own_run, struct json *f)
{
    struct run r;
    /* A run that waits for the raise stands in no other's way: the start ends it. */
    if (run_current(t, &r) == 0 && r.state != RUN_AWAITING_RAISE && !(own_run && uuid_eq(&r.id, own_run)))
        finding(f, "run", "fail", uuid_str(&r.id).s, "clusterctl upgrade status", "upgrade %s to %s is %s",
                uuid_str(&r.id).s, r.target, run_state_name(r.state));
    else
        finding(f, "run", "pass", "", "", "no other upgrade is under way");
}

static void check_vms(const struct upgrade_view *v, struct json *f)
{
    size_t n = json_count(v->vm_findings);
    for (size_t i = 0; i < n; i++) {
        const struct json *x = json_at(v->vm_findings, i);
        finding(f, json_get_str(x, "check", "vms"), json_get_str(x, "result", "fail"), json_get_str(x, "object", ""),
                json_get_str(x, "remedy", ""), "%s", json_get_str(x, "text", ""));
    }
    if (n == 0)
        finding(f, "vms", "pass", "", "", "every virtual machine can be migrated");
    if (v->vm_ops > 0)
        finding(f, "operations", "warn", "", "clusterctl job list", "%u operations of virtual machines are under way",
                v->vm_ops);
    else
        finding(f, "operations", "pass", "", "", "no operation of a virtual machine is under way");
}

int upgrade_check_for(const struct tables *t, const struct upgrade_view *v, const char *target,
                      const struct uuid *own_run, struct json **ret_findings)
{
    struct json *f = json_array_new();
    check_target(t, v, target, f);
    check_runs(t, own_run, f);
    check_executor(v, f);
    check_level(t, f);
    check_quorum(v, f);
    check_nodes(v, f);
    check_vms(v, f);
    int result = has_result(f, "fail") ? 2 : has_result(f, "warn") ? 1 : 0;
    *ret_findings = f;
    return result;
}

int upgrade_check(const struct tables *t, const struct upgrade_view *v, const char *target, struct json **ret_findings)
{
    return upgrade_check_for(t, v, target, NULL, ret_findings);
}

/* ---- the plan ------------------------------------------------------------------------------------------------ */

/* Nodes that are skipped come first, they are done; then the fewest VMs; the leader last, so that leading changes once.
 * Names make the order the same every time. */
static int plan_order(const struct upgrade_node *a, const struct upgrade_node *b, const char *target)
{
    bool skip_a = str_eq(a->release, target), skip_b = str_eq(b->release, target);
    if (skip_a != skip_b)
        return skip_a ? -1 : 1;
    if (a->is_leader != b->is_leader)
        return a->is_leader ? 1 : -1;
    if (a->vms_running != b->vms_running)
        return a->vms_running < b->vms_running ? -1 : 1;
    return strcmp(a->name, b->name);
}

struct plan {
    const struct upgrade_node *nodes[RUN_STEPS_MAX];
    size_t n, n_open;
};

static int plan_make(const struct upgrade_view *v, const char *target, struct plan *ret, struct error *e)
{
    struct plan p = {.n = v->n};
    if (level_of_release(target) == 0) {
        char known[256];
        known_releases(known, sizeof(known));
        error_set(e, ERR_CONDITION, "release %s is not known; known: %s", target, known);
        error_set_remedy(e, "clusterctl upgrade --target RELEASE");
        return ERR_CONDITION;
    }
    if (v->n > RUN_STEPS_MAX)
        return error_set(e, ERR_CONDITION, "%zu nodes are more than one run can upgrade (%d)", v->n, RUN_STEPS_MAX);
    for (size_t i = 0; i < v->n; i++) {
        size_t at = i; /* insertion sort: at most a hundred nodes */
        for (; at > 0 && plan_order(&v->nodes[i], p.nodes[at - 1], target) < 0; at--)
            p.nodes[at] = p.nodes[at - 1];
        p.nodes[at] = &v->nodes[i];
        p.n_open += !str_eq(v->nodes[i].release, target);
    }
    *ret = p;
    return 0;
}

int upgrade_plan(const struct tables *t, const struct upgrade_view *v, const char *target, struct json **ret_plan,
                 struct error *e)
{
    struct plan p;
    (void)t;
    int err = plan_make(v, target, &p, e);
    if (err < 0)
        return err;
    struct json *steps = json_array_new();
    for (size_t i = 0; i < p.n; i++) {
        unsigned votes, total;
        votes_after(v, p.nodes[i], &votes, &total);
        struct json *s = json_object_new();
        json_set_int(s, "position", (int64_t)i);
        json_set_str(s, "node", p.nodes[i]->name);
        json_set_str(s, "from_release", p.nodes[i]->release);
        json_set_int(s, "vms", p.nodes[i]->vms_running);
        json_set_int(s, "votes_after", votes);
        json_set_int(s, "votes_total", total);
        json_set_bool(s, "skipped", str_eq(p.nodes[i]->release, target));
        json_append(steps, s);
    }
    struct json *plan = json_object_new();
    json_set_str(plan, "target", target);
    json_set(plan, "steps", steps);
    *ret_plan = plan;
    return 0;
}

/* 0, or the first finding that forbids the start. */
static int start_check(const struct tables *t, const struct upgrade_view *v, const char *target, bool accept_warnings,
                       struct error *e)
{
    AUTO(json_freep) struct json *findings = NULL;
    struct error why;
    int result = upgrade_check(t, v, target, &findings);
    bool refused = result == 2 || (result == 1 && !accept_warnings);
    if (!refused)
        return 0;
    upgrade_finding_first(findings, result == 2 ? "fail" : "warn", &why);
    error_set(e, result == 2 ? ERR_CONDITION : ERR_NEED_FORCE, "%s", why.text);
    error_set_remedy(e, "%s", why.remedy);
    return result == 2 ? ERR_CONDITION : ERR_NEED_FORCE;
}

static bool resumes_paused(const struct tables *t, const char *target)
{
    struct run r;
    return run_current(t, &r) == 0 && r.state == RUN_PAUSED && str_eq(r.target, target);
}

int upgrade_entry_start(const struct tables *t, const struct upgrade_view *v, const char *target, const char *by,
                        bool accept_warnings, struct buf *b, struct error *e)
{
    bool resumes = resumes_paused(t, target);
    struct plan p = {.n = 0};
    int err = resumes ? 0 : start_check(t, v, target, accept_warnings, e);
    if (err == 0 && !resumes)
        err = plan_make(v, target, &p, e);
    if (err == 0 && !resumes && p.n_open == 0)
        err = error_set(e, ERR_CONDITION, "every node runs %s already", target);
    if (err < 0)
        return err;
    char who[RUN_NAME_MAX];
    STR_COPY(who, by);
    wire_put_str(b, target);
    wire_put_str(b, who);
    wire_put_u32(b, (uint32_t)p.n);
    for (size_t i = 0; i < p.n; i++) {
        wire_put_str(b, p.nodes[i]->name);
        wire_put_str(b, p.nodes[i]->release);
        wire_put_u8(b, str_eq(p.nodes[i]->release, target));
    }
    return 0;
}
