/* SPDX-License-Identifier: GPL-2.0-or-later */
/* In which order the nodes are upgraded, and the entry that begins a run with it. Works on the volatile view. */
#include <stdio.h>

#include "upgrade/check.h"
#include "upgrade/level.h"

struct plan {
    const struct upgrade_node *nodes[RUN_STEPS_MAX];
    size_t n, n_open;
};

static bool is_open(const struct upgrade_node *n, const char *target)
{
    return !str_eq(n->release, target);
}

/* Nodes that are skipped come first, they are done; then the fewest VMs; the leader last, so that leading changes once.
 * Names make the order the same every time. */
static int plan_order(const struct upgrade_node *a, const struct upgrade_node *b, const char *target)
{
    if (is_open(a, target) != is_open(b, target))
        return is_open(a, target) ? 1 : -1;
    if (a->is_leader != b->is_leader)
        return a->is_leader ? 1 : -1;
    if (a->vms_running != b->vms_running)
        return a->vms_running < b->vms_running ? -1 : 1;
    return strcmp(a->name, b->name);
}

/* ---- an admin's order ------------------------------------------------------------------------------------------ */

static int bad_order(struct error *e, const struct plan *p, const char *target)
{
    char nodes[ERROR_REMEDY_MAX / 2] = "";
    size_t len = 0;
    for (size_t i = 0; i < p->n && len < sizeof(nodes); i++)
        if (is_open(p->nodes[i], target))
            len += (size_t)snprintf(nodes + len, sizeof(nodes) - len, "%s%s", len ? "," : "", p->nodes[i]->name);
    error_set_remedy(e, "name each node that is to be upgraded once, such as --order %s", nodes);
    return e->code;
}

static size_t plan_find(const struct plan *p, const char *node)
{
    size_t at = 0;
    while (at < p->n && !str_eq(p->nodes[at]->name, node))
        at++;
    return at;
}

/* The next name of "n3,n1,n2"; false: there is none. */
static bool next_name(const char **list, char ret[RUN_NAME_MAX])
{
    if (!**list)
        return false;
    size_t len = strcspn(*list, ",");
    size_t kept = len < RUN_NAME_MAX ? len : RUN_NAME_MAX - 1; /* no node has a longer one */
    memcpy(ret, *list, kept);
    ret[kept] = '\0';
    *list += len + ((*list)[len] == ',');
    return true;
}

/* Puts the open ones of p into that order. */
static int plan_reorder(struct plan *p, const char *order, const char *target, struct error *e)
{
    const struct plan found = *p;
    char name[RUN_NAME_MAX];
    size_t to = p->n - p->n_open;
    for (const char *rest = order; next_name(&rest, name); to++) {
        size_t at = plan_find(p, name);
        if (at == p->n)
            error_set(e, ERR_USAGE, "the order names '%s', which is no node of this cluster", name);
        else if (!is_open(p->nodes[at], target))
            error_set(e, ERR_USAGE, "the order names %s, which runs %s already", name, target);
        else if (at < to)
            error_set(e, ERR_USAGE, "the order names %s twice", name);
        if (e->code)
            return bad_order(e, &found, target);
        const struct upgrade_node *n = p->nodes[at];
        for (; at > to; at--)
            p->nodes[at] = p->nodes[at - 1];
        p->nodes[to] = n;
    }
    if (to < p->n) {
        error_set(e, ERR_USAGE, "the order does not name %s", p->nodes[to]->name);
        return bad_order(e, &found, target);
    }
    return 0;
}

/* ---- the plan -------------------------------------------------------------------------------------------------- */

static int plan_make(const struct upgrade_view *v, const struct upgrade_options *o, struct plan *ret, struct error *e)
{
    struct plan p = {.n = v->n};
    if (level_of_release(o->target) == 0) {
        char known[256];
        upgrade_known_releases(known, sizeof(known));
        error_set(e, ERR_CONDITION, "release %s is not known; known: %s", o->target, known);
        error_set_remedy(e, "clusterctl upgrade start --target RELEASE");
        return ERR_CONDITION;
    }
    if (v->n > RUN_STEPS_MAX)
        return error_set(e, ERR_CONDITION, "%zu nodes are more than one run can upgrade (%d)", v->n, RUN_STEPS_MAX);
    for (size_t i = 0; i < v->n; i++) {
        size_t at = i; /* insertion sort: at most a hundred nodes */
        for (; at > 0 && plan_order(&v->nodes[i], p.nodes[at - 1], o->target) < 0; at--)
            p.nodes[at] = p.nodes[at - 1];
        p.nodes[at] = &v->nodes[i];
        p.n_open += is_open(&v->nodes[i], o->target);
    }
    int err = o->order && o->order[0] ? plan_reorder(&p, o->order, o->target, e) : 0;
    if (err == 0)
        *ret = p;
    return err;
}

/* The nodes that may be away while that one is, itself the first: as many as may be, those before it. The first one to
 * be upgraded is done with its canary before another one begins. */
static size_t away_with(const struct plan *p, const struct upgrade_options *o, size_t at,
                        const char *ret[RUN_STEPS_MAX])
{
    size_t n = 0, first = p->n - p->n_open;
    ret[n++] = p->nodes[at]->name;
    for (size_t i = at; i-- > first + 1 && n < o->max_unavailable;)
        ret[n++] = p->nodes[i]->name;
    return n;
}

static struct json *plan_step_json(const struct plan *p, const struct upgrade_view *v, const struct upgrade_options *o,
                                   size_t at)
{
    const char *away[RUN_STEPS_MAX];
    size_t n = away_with(p, o, at, away);
    unsigned votes, total;
    struct json *s = json_object_new(), *with = json_array_new();
    upgrade_votes_without(v, away, n, &votes, &total);
    for (size_t i = 1; i < n; i++)
        json_append(with, json_str_new(away[i]));
    json_set_int(s, "position", (int64_t)at);
    json_set_str(s, "node", away[0]);
    json_set(s, "with", with);
    json_set_str(s, "from_release", p->nodes[at]->release);
    json_set_int(s, "vms", p->nodes[at]->vms_running);
    json_set_int(s, "votes_after", votes);
    json_set_int(s, "votes_total", total);
    json_set_bool(s, "margin", upgrade_has_margin(votes, total));
    json_set_bool(s, "skipped", !is_open(p->nodes[at], o->target));
    json_set(s, "outlook", v->outlook ? v->outlook(v->outlook_ctx, away, n) : json_null_new());
    return s;
}

/* What the run waits for by itself, so that none of it forbids the start. The first of each kind is told. */
static void check_together(const struct upgrade_view *v, const char *const *away, size_t n, bool told[3],
                           struct json *f)
{
    static const char remedy[] = "go on with --yes: one waits for the other; or choose a smaller --max-unavailable";
    AUTO(json_freep) struct json *outlook = v->outlook ? v->outlook(v->outlook_ctx, away, n) : NULL;
    unsigned votes, total;
    int64_t no_room = json_get_int(outlook, "no_room", 0);
    upgrade_votes_without(v, away, n, &votes, &total);
    if (!upgrade_is_majority(votes, total) && !told[0]) {
        told[0] = true;
        finding(f, "quorum", "warn", away[0], remedy, "without %s, %s%s %u of %u votes are left: no majority", away[0],
                away[1], n > 2 ? " and others" : "", votes, total);
    } else if (upgrade_is_majority(votes, total) && !upgrade_has_margin(votes, total) && !told[1]) {
        told[1] = true;
        finding(f, "margin", "warn", away[0], remedy,
                "while %s, %s%s are away one further failure loses quorum until one is back", away[0], away[1],
                n > 2 ? " and others" : "");
    }
    if (no_room > 0 && !told[2]) {
        told[2] = true;
        finding(f, "room", "warn", away[0], remedy,
                "while %s%s is away, too, %lld virtual machines of %s find no node with room for them", away[1],
                n > 2 ? ", with others," : "", (long long)no_room, away[0]);
    }
}

void upgrade_check_together(const struct upgrade_view *v, const struct upgrade_options *o, struct json *f)
{
    struct plan p;
    struct error unused = {0};
    bool told[3] = {false};
    if (o->max_unavailable < 2 || plan_make(v, o, &p, &unused) < 0) /* the plan says what is wrong with it */
        return;
    for (size_t i = p.n - p.n_open; i < p.n; i++) {
        const char *away[RUN_STEPS_MAX];
        size_t n = away_with(&p, o, i, away);
        if (n > 1)
            check_together(v, away, n, told, f);
    }
    if (!told[0] && !told[1] && !told[2])
        finding(f, "together", "pass", "", "", "%u nodes can be away at once, with quorum and room to spare",
                o->max_unavailable);
}

int upgrade_plan(const struct upgrade_view *v, const struct upgrade_options *o, struct json **ret_plan, struct error *e)
{
    struct plan p;
    int err = plan_make(v, o, &p, e);
    if (err < 0)
        return err;
    struct json *steps = json_array_new();
    for (size_t i = 0; i < p.n; i++)
        json_append(steps, plan_step_json(&p, v, o, i));
    struct json *plan = json_object_new();
    json_set_str(plan, "target", o->target);
    json_set(plan, "steps", steps);
    *ret_plan = plan;
    return 0;
}

/* ---- the start ------------------------------------------------------------------------------------------------- */

/* What the report will say of the warnings. */
static void note_warnings(const struct json *findings, char notes[RUN_NOTES_MAX])
{
    for (size_t i = 0; i < json_count(findings); i++) {
        const struct json *f = json_at(findings, i);
        const char *object = json_get_str(f, "object", "");
        char line[ERROR_TEXT_MAX + 2 * RUN_NAME_MAX];
        if (!str_eq(json_get_str(f, "result", ""), "warn"))
            continue;
        snprintf(line, sizeof(line), "%s%s%s: %s", json_get_str(f, "check", ""), object[0] ? " " : "", object,
                 json_get_str(f, "text", ""));
        run_note(notes, line);
    }
}

/* 0, or the first finding that forbids the start. */
static int start_check(const struct tables *t, const struct upgrade_view *v, const struct upgrade_options *o,
                       char ret_warnings[RUN_NOTES_MAX], struct error *e)
{
    AUTO(json_freep) struct json *findings = NULL;
    struct error why;
    int result = upgrade_check(t, v, o, &findings);
    bool refused = result == 2 || (result == 1 && !o->accept_warnings);
    if (!refused) {
        note_warnings(findings, ret_warnings);
        return 0;
    }
    upgrade_finding_first(findings, result == 2 ? "fail" : "warn", &why);
    error_set(e, result == 2 ? ERR_CONDITION : ERR_NEED_FORCE, "%s", why.text);
    error_set_remedy(e, "%s", why.remedy);
    return result == 2 ? ERR_CONDITION : ERR_NEED_FORCE;
}

static bool resumes_paused(const struct tables *t, const char *target)
{
    struct run r;
    return run_current(t, &r) == 0 && r.state == RUN_PAUSED && !r.back && str_eq(r.target, target);
}

int upgrade_entry_start(const struct tables *t, const struct upgrade_view *v, const struct upgrade_options *o,
                        struct buf *b, struct error *e)
{
    bool resumes = resumes_paused(t, o->target);
    struct plan p = {.n = 0};
    char warnings[RUN_NOTES_MAX] = "";
    int err = resumes ? 0 : start_check(t, v, o, warnings, e);
    if (err == 0 && !resumes)
        err = plan_make(v, o, &p, e);
    if (err == 0 && !resumes && p.n_open == 0)
        err = error_set(e, ERR_CONDITION, "every node runs %s already", o->target);
    if (err < 0)
        return err;
    char who[RUN_NAME_MAX];
    STR_COPY(who, o->by);
    wire_put_str(b, o->target);
    wire_put_str(b, who);
    wire_put_u8(b, o->approve_each);
    wire_put_u32(b, o->max_unavailable > 0 ? o->max_unavailable : 1);
    wire_put_str(b, warnings);
    wire_put_u8(b, v->in_place ? EXECUTOR_KIND_IN_PLACE : EXECUTOR_KIND_COMMAND);
    wire_put_u32(b, (uint32_t)p.n);
    for (size_t i = 0; i < p.n; i++) {
        wire_put_str(b, p.nodes[i]->name);
        wire_put_str(b, p.nodes[i]->release);
        wire_put_u8(b, !is_open(p.nodes[i], o->target));
    }
    return 0;
}
