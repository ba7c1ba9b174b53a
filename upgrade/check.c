/* SPDX-License-Identifier: GPL-2.0-or-later */
/* May the cluster be upgraded now, and may this node be taken out now. Works on the volatile view; the answers go to an
 * admin or into an entry. Finding: {check, result: pass|warn|fail, object, text, remedy}. */
#include "upgrade/check.h"

#include <stdarg.h>
#include <stdio.h>

#include "common/text.h"
#include "upgrade/level.h"

const struct upgrade_node *upgrade_view_find(const struct upgrade_view *v, const char *node)
{
    for (size_t i = 0; i < v->n; i++)
        if (str_eq(v->nodes[i].name, node))
            return &v->nodes[i];
    return NULL;
}

/* ---- findings ------------------------------------------------------------------------------------------------ */

void finding(struct json *arr, const char *check, const char *result, const char *object, const char *remedy,
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

static int result_of(const struct json *findings)
{
    return has_result(findings, "fail") ? 2 : has_result(findings, "warn") ? 1 : 0;
}

/* ---- votes --------------------------------------------------------------------------------------------------- */

bool upgrade_is_majority(unsigned votes, unsigned total)
{
    return 2 * votes > total;
}

bool upgrade_has_margin(unsigned votes, unsigned total)
{
    return votes > 0 && upgrade_is_majority(votes - 1, total);
}

/* A witness that answers nobody is no vote. */
static unsigned votes_now(const struct upgrade_view *v)
{
    bool is_lost = check_witness_is_silent(v) && v->votes_present >= v->witness_votes;
    return v->votes_present - (is_lost ? v->witness_votes : 0);
}

void upgrade_votes_without(const struct upgrade_view *v, const char *const *nodes, size_t n, unsigned *ret_votes,
                           unsigned *ret_total)
{
    unsigned votes = votes_now(v), total = v->votes_total;
    for (size_t i = 0; i < n; i++) {
        const struct upgrade_node *u = upgrade_view_find(v, nodes[i]);
        if (u && u->voter && total > 0 && !v->in_place)
            total--;
        if (u && u->voter && u->present && votes > 0)
            votes--;
    }
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
        const char *name = v->nodes[i].name;
        upgrade_votes_without(v, &name, 1, &votes, &total);
        margin = margin && upgrade_has_margin(votes, total);
        if (upgrade_is_majority(votes, total))
            continue;
        lost = true;
        finding(f, "quorum", "fail", v->nodes[i].name, "clusterctl node join, to have more nodes",
                "without %s %u of %u votes are left: no majority", v->nodes[i].name, votes, total);
    }
    if (lost)
        return;
    finding(f, "quorum", "pass", "", "", "%u of %u votes are here, and every node can be missed", votes_now(v),
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

static bool is_named(const char *node, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(names[i], node))
            return true;
    return false;
}

/* How many nodes but this one are out or in maintenance, or about to be; ret: why, of one that no step explains. */
static uint32_t count_out(const struct upgrade_view *v, const char *node, const char *const *others, size_t n_others,
                          struct error *ret)
{
    uint32_t out = 0;
    for (size_t i = 0; i < v->n; i++) {
        const struct upgrade_node *other = &v->nodes[i];
        struct error why;
        if (str_eq(other->name, node))
            continue;
        if (is_named(other->name, others, n_others)) {
            out++;
        } else if (node_is_out(other, &why) || node_is_in_maintenance(other, &why) || node_is_behind(other, &why)) {
            if (ret->code == 0)
                *ret = why;
            out++;
        }
    }
    return out;
}

bool upgrade_step_obstacle(const struct upgrade_view *v, const char *node, const char *const *others, size_t n_others,
                           uint32_t max_unavailable, struct error *ret)
{
    const char *out[RUN_STEPS_MAX + 1] = {node};
    struct error why = {0};
    unsigned votes, total;
    if (!upgrade_view_find(v, node)) {
        error_set(ret, ERR_CONDITION, "%s is no node of this cluster", node);
        error_set_remedy(ret, "clusterctl upgrade abort");
        return true;
    }
    if (count_out(v, node, others, n_others, &why) >= max_unavailable) {
        if (why.code == 0) {
            error_set(&why, ERR_CONDITION, "%zu nodes are under way", n_others);
            error_set_remedy(&why, "clusterctl upgrade status");
        }
        *ret = why;
        return true;
    }
    for (size_t i = 0; i < n_others && i < RUN_STEPS_MAX; i++)
        out[i + 1] = others[i];
    upgrade_votes_without(v, out, 1 + (n_others < RUN_STEPS_MAX ? n_others : RUN_STEPS_MAX), &votes, &total);
    if (upgrade_is_majority(votes, total))
        return false;
    error_set(ret, ERR_CONDITION, "without %s%s %u of %u votes are left: no majority", node,
              n_others ? " and the nodes under way" : "", votes, total);
    error_set_remedy(ret, "clusterctl status");
    return true;
}

/* ---- target, level, runs ---------------------------------------------------------------------------------------- */

void upgrade_known_releases(char *dst, size_t size)
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
    upgrade_known_releases(known, sizeof(known));
    if (level == 0) {
        finding(f, "target", "fail", target, "clusterctl upgrade check --target RELEASE",
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

int upgrade_check_for(const struct tables *t, const struct upgrade_view *v, const char *target,
                      const struct uuid *own_run, struct json **ret_findings)
{
    struct json *f = json_array_new();
    check_target(t, v, target, f);
    check_runs(t, own_run, f);
    check_level(t, f);
    check_quorum(v, f);
    check_nodes(v, f);
    check_executor(v, target, f);
    check_witness(v, f);
    check_hosts(v, target, f);
    check_vms(v, target, f);
    *ret_findings = f;
    return result_of(f);
}

int upgrade_check(const struct tables *t, const struct upgrade_view *v, const struct upgrade_options *o,
                  struct json **ret_findings)
{
    upgrade_check_for(t, v, o->target, NULL, ret_findings);
    upgrade_check_together(v, o, *ret_findings);
    return result_of(*ret_findings);
}
