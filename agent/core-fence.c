/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fencing in the core: the node's lease and its watchdog, what it promises, and, when it leads, what becomes of nodes
 * that are lost. The rules are in guard.h and lease.h. Settings:
 *
 *   failover.unfenced    accept: also without a watchdog a lost node's VMs start elsewhere, after its wait
 *   fence.command        program that powers a node off; its word makes the wait needless
 *   fence.watchdog_ms    W: the watchdog ends a node that did not pet it for so long
 *   fence.budget_ms      B: a node without a quorum may get it back within this before it stops its VMs */
#include "agent/core-internal.h"

#include <stdio.h>

enum {
    WATCHDOG_RETRY_MS = 10000,
    COMMAND_TIMEOUT_MS = 30000,
    ELECTION_MS = 1000, /* of a new leader, and the first word of it: measured 0.3 to 0.5 s */
    KEEP_NOTE_MS = 500,
};

/* ---- what is promised */

struct times {
    int64_t gap_ms, lease_ms, watchdog_ms;
};

static int64_t setting_ms(const struct tables *t, const char *name, int64_t otherwise)
{
    char value[SETTING_VALUE_MAX];
    setting_get(t, name, value);
    return value[0] ? strtoll(value, NULL, 10) : otherwise;
}

static struct times wanted_times(const struct core *c, enum guard_kind kind)
{
    const struct tables *t = db_tables(c->db);
    struct times w = {.gap_ms = corosync_lost_ms(t) + ELECTION_MS};
    w.lease_ms = w.gap_ms + setting_ms(t, "fence.budget_ms", GUARD_BUDGET_MS);
    w.watchdog_ms = kind == GUARD_WATCHDOG ? setting_ms(t, "fence.watchdog_ms", GUARD_WATCHDOG_MS) : 0;
    return w;
}

static enum guard_kind wanted_kind(const struct core *c)
{
    char value[SETTING_VALUE_MAX];
    if (c->is_stopping || c->phase != PHASE_MEMBER)
        return GUARD_OFF;
    if (c->guard.has_watchdog)
        return GUARD_WATCHDOG;
    setting_get(db_tables(c->db), "failover.unfenced", value);
    return str_eq(value, "accept") ? GUARD_PROMISE : GUARD_NONE;
}

/* What the row says is what others count on: never longer times than those, until new ones are committed. */
static void keep_times(struct core *c, const struct guard *row, bool has_row)
{
    struct guard_note *n = &c->guard.note;
    enum guard_kind kind = wanted_kind(c);
    if (!guard_keeps(kind))
        return;
    struct times w = wanted_times(c, kind);
    bool binds = has_row && guard_keeps(row->kind);
    int64_t budget_ms = w.lease_ms - w.gap_ms;
    n->lease_ms = binds && row->lease_ms < w.lease_ms ? row->lease_ms : w.lease_ms;
    n->watchdog_ms = binds && row->watchdog_ms < w.watchdog_ms ? row->watchdog_ms : w.watchdog_ms;
    n->gap_ms = n->lease_ms > budget_ms ? n->lease_ms - budget_ms : 0;
}

static bool own_row(const struct core *c, struct guard *ret)
{
    return guard_get(db_tables(c->db), c->identity.node, ret) == 0;
}

static bool is_in_contact(const struct core *c, int64_t within_ms)
{
    return c->lease.contact_ms > 0 && c->now_ms - c->lease.contact_ms < within_ms;
}

static void promise(struct core *c)
{
    struct guard row = {0};
    if (c->guard.note.on)
        return;
    c->guard.note.on = true;
    c->guard.note.fenced = false;
    keep_times(c, &row, own_row(c, &row));
    log_notice(c->log, "this node stops its VMs when it is cut off for %lld ms%s", (long long)c->guard.note.lease_ms,
               c->guard.note.watchdog_ms ? ", or its watchdog ends it" : "");
}

static bool has_command(const struct core *c)
{
    char path[SETTING_VALUE_MAX];
    setting_get(db_tables(c->db), "fence.command", path);
    return path[0] != '\0';
}

static void report(struct core *c, const struct guard *row, bool has_row)
{
    struct guard g = {.kind = wanted_kind(c)};
    struct buf b = {0};
    bool is_early = guard_keeps(g.kind) && !c->guard.note.on; /* not before it keeps it */
    bool says_nothing = !has_row && g.kind == GUARD_NONE && !has_command(c);
    if (is_early || says_nothing || (!has_row && (!c->has_facts || g.kind == GUARD_OFF)))
        return;
    STR_COPY(g.node, c->identity.node);
    STR_COPY(g.boot_id, c->has_facts ? c->facts.boot_id : row->boot_id);
    if (guard_keeps(g.kind)) {
        struct times w = wanted_times(c, g.kind);
        g.lease_ms = w.lease_ms;
        g.watchdog_ms = w.watchdog_ms;
    }
    if (has_row && row->kind == g.kind && str_eq(row->boot_id, g.boot_id) && row->lease_ms == g.lease_ms &&
        row->watchdog_ms == g.watchdog_ms && row->state == FENCE_NO)
        return;
    guard_entry_report(&g, &c->identity.replica, &b);
    core_propose_keyed(c, ENTRY_NODE_GUARD, &b, "guard");
}

/* The end of a promise is committed: nobody starts this node's VMs elsewhere any more. */
static void end_promise(struct core *c, const struct guard *row)
{
    if (!c->guard.note.on || guard_keeps(row->kind) || guard_keeps(wanted_kind(c)))
        return; /* no row at all: it promised nothing yet */
    c->guard.note.on = false;
    c->guard.pet_ms = 0;
    log_notice(c->log, "this node's VMs are its own -> the watchdog is not needed");
}

void core_fence_look(struct core *c)
{
    struct guard row = {0};
    bool has_row = own_row(c, &row);
    if (!c->guard.note.on && wanted_kind(c) == GUARD_PROMISE && is_in_contact(c, GUARD_BUDGET_MS))
        promise(c);
    if (c->guard.note.on)
        keep_times(c, &row, has_row);
    report(c, &row, has_row);
    end_promise(c, &row);
    struct vm_self self = core_fence_self(c);
    if (self.fenced && !self.fence && self.quorate && vm_local_is_told(c->vm_local, &self))
        c->guard.note.fenced = false;
}

/* ---- the watchdog */

static void serve(struct core *c, enum watchdog_verb verb)
{
    struct pending *p;
    struct core_action *a = core_act_for(c, ACT_WATCHDOG, FOR_WATCHDOG, &p);
    struct guard_self *g = &c->guard;
    a->watchdog = (struct watchdog_call){.verb = verb, .note = g->note};
    if (verb == WATCHDOG_PET && !g->note.on) /* the first one */
        a->watchdog.note.watchdog_ms = wanted_times(c, GUARD_WATCHDOG).watchdog_ms;
    snprintf(p->verb, sizeof p->verb, "%d", (int)verb);
    int64_t every_ms = verb == WATCHDOG_PET ? a->watchdog.note.watchdog_ms / 4 : KEEP_NOTE_MS;
    g->pet_ms = c->now_ms + (every_ms < KEEP_NOTE_MS ? every_ms : KEEP_NOTE_MS);
}

void core_fence_take_watchdog(struct core *c, const struct pending *p, const struct error *e)
{
    struct guard_self *g = &c->guard;
    bool was_pet = p->verb[0] == '0' + WATCHDOG_PET;
    if (p->verb[0] == '0' + WATCHDOG_LEAVE)
        return;
    c->look = c->look || g->armed != was_pet;
    if (e->code && was_pet) {
        log_error(c->log, "watchdog: %s -> no failover of this node's VMs", e->text);
        STR_COPY(g->trouble, e->text);
        g->has_watchdog = g->armed = false;
        g->retry_ms = c->now_ms + WATCHDOG_RETRY_MS;
        return;
    }
    if (was_pet && !g->armed)
        g->trouble[0] = '\0';
    g->armed = was_pet;
    if (was_pet && wanted_kind(c) == GUARD_WATCHDOG)
        promise(c);
}

/* Nothing of the cluster runs here any more. */
static bool is_clear(const struct core *c)
{
    return vm_local_is_clear(c->vm_local) && task_local_is_clear(c->task_local) &&
           backup_local_is_clear(c->backup_local);
}

static bool may_run(const struct guard_self *g)
{
    return g->armed || g->was_left;
}

/* What is next for the watchdog; LEAVE: to keep the note, if there is a promise. */
static enum watchdog_verb wanted_verb(const struct core *c)
{
    const struct guard_self *g = &c->guard;
    enum guard_now now = guard_self_now(g, c->now_ms);
    bool uses_it = g->note.watchdog_ms > 0;
    bool is_needless = now == GUARD_FREE || (now == GUARD_OVER && is_clear(c));
    if (now == GUARD_FREE && g->has_watchdog && wanted_kind(c) == GUARD_WATCHDOG && is_in_contact(c, GUARD_BUDGET_MS))
        return WATCHDOG_PET;
    if (is_needless)
        return may_run(g) ? WATCHDOG_DISARM : WATCHDOG_LEAVE;
    return now != GUARD_OVER && uses_it ? WATCHDOG_PET : WATCHDOG_LEAVE;
}

static void serve_watchdog(struct core *c)
{
    struct guard_self *g = &c->guard;
    enum watchdog_verb verb = wanted_verb(c);
    bool keeps_note = g->note.on || g->note_was_on;
    bool ends = verb == WATCHDOG_DISARM || g->note.on != g->note_was_on;
    if (verb == WATCHDOG_LEAVE && !keeps_note)
        return;
    if (!ends && c->now_ms < g->pet_ms)
        return;
    if (verb == WATCHDOG_DISARM)
        g->armed = g->was_left = false;
    g->note_was_on = g->note.on;
    serve(c, verb);
}

static void tell_changes(struct core *c)
{
    struct guard_self *g = &c->guard;
    enum guard_now now = guard_self_now(g, c->now_ms);
    if (now == g->was)
        return;
    long long silent_ms = (long long)(c->now_ms - g->note.contact_ms);
    if (now == GUARD_OVER)
        log_error(c->log, "no word of a leader with a quorum for %lld ms -> this node's VMs are destroyed", silent_ms);
    else if (now == GUARD_LOST && g->was == GUARD_GOOD)
        log_warn(c->log, "no word of a leader with a quorum for %lld ms -> no VM is started", silent_ms);
    else if (now == GUARD_GOOD && g->was > GUARD_GOOD)
        log_notice(c->log, "a leader with a quorum counts this node in again");
    g->was = now;
    g->note.fenced = g->note.fenced || now == GUARD_OVER;
    c->look = true;
}

static void try_stop(struct core *c)
{
    const struct guard_self *g = &c->guard;
    bool is_over = guard_self_now(g, c->now_ms) == GUARD_OVER && is_clear(c);
    if (!c->is_stopping || c->has_stopped || may_run(g) || (g->note.on && !is_over))
        return;
    c->has_stopped = true;
    core_act(c, ACT_STOP);
}

void core_fence_stop(struct core *c)
{
    c->is_stopping = true;
    c->look = true;
    if (c->guard.note.on)
        log_notice(c->log, "stopping -> first the cluster is told that this node's VMs stay its own");
}

/* Where nobody promises anything nothing is said. */
static bool is_lease_used(const struct core *c)
{
    bool is_used = guard_keeps(wanted_kind(c)) || tables_count(db_tables(c->db), TABLE_GUARD) > 0;
    for (size_t i = 0; i < c->lease.n && !is_used; i++)
        is_used = c->lease.peers[i].is_here;
    return is_used && c->n_group > 1;
}

void core_fence_tick(struct core *c)
{
    AUTO(buf_done) struct buf b = {0};
    struct guard_self *g = &c->guard;
    if (c->db && c->phase == PHASE_MEMBER) {
        if (lease_step(&c->lease, c->db, c->now_ms, &b) && is_lease_used(c))
            core_send_lease(c, buf_slice(&b));
        g->note.contact_ms = c->lease.contact_ms;
        if (!g->has_watchdog && g->retry_ms && c->now_ms >= g->retry_ms) {
            g->has_watchdog = true;
            g->retry_ms = 0;
        }
        tell_changes(c);
        serve_watchdog(c);
    } else if (g->note.on) { /* evicted */
        g->note.on = false;
        serve(c, WATCHDOG_DISARM);
        g->armed = false;
    }
    try_stop(c);
}

/* ---- the lease */

void core_fence_member(struct core *c)
{
    struct prng own = c->prng; /* what is drawn later stays as it is */
    lease_init(&c->lease, prng_next(&own) | 1, c->identity.nodeid, c->guard.note.contact_ms);
    c->guard.note_was_on = c->guard.note.on;
    c->guard.was_left = c->guard.note.on && c->guard.note.watchdog_ms > 0;
    c->guard.was = guard_self_now(&c->guard, c->now_ms);
}

void core_fence_heard(struct core *c, uint32_t nodeid, struct slice body)
{
    if (lease_take(&c->lease, c->db, c->now_ms, nodeid, body) == ERR_MALFORMED)
        log_debug(c->log, "lease message of node %u does not decode -> ignored", nodeid);
}

/* Neither a promise that this agent does not keep yet, nor one that ran out, lets a VM begin to run. */
/* A node that was the last one with a vote has a quorum by what it knows as soon as it is back. But quorum may have
 * been forced elsewhere while it was off, and what it is about to start run there. So nothing is begun without a ring,
 * nor before all members are in it, or as much time has passed since this agent's first one as corosync may need to
 * find them; nor before each node of the ring has spoken in it, or could have. */
static bool may_have_missed_others(const struct core *c)
{
    const struct tables *t = db_tables(c->db);
    size_t members = tables_count(t, TABLE_NODE);
    int64_t wait_ms = corosync_lost_ms(t);
    bool is_young = c->now_ms - c->met_ms < wait_ms, is_new_ring = c->now_ms - c->ring_ms < wait_ms;
    if (members < 2)
        return false;
    return !c->ring.seq || (is_young && c->ring_nodes < members) || (is_new_ring && c->n_heard < c->ring_nodes);
}

struct vm_self core_fence_self(const struct core *c)
{
    const struct guard_self *g = &c->guard;
    struct guard row;
    enum guard_now now = guard_self_now(g, c->now_ms);
    bool may = now == GUARD_GOOD && (g->armed || g->note.watchdog_ms == 0);
    if (now == GUARD_FREE)
        may = !own_row(c, &row) || !guard_keeps(row.kind);
    return (struct vm_self){.node = c->identity.node,
                            .boot_id = c->has_facts ? c->facts.boot_id : "",
                            .quorate = core_is_quorate(c) && may && !may_have_missed_others(c),
                            .fence = now == GUARD_OVER,
                            .fenced = g->note.fenced,
                            .until_ms = guard_self_until_ms(g)};
}

/* ---- applying */

static bool gate_is_replica(void *ctx, const char *node, const struct uuid *replica)
{
    struct node n = {0};
    bool is = node_get(ctx, node, &n) == 0 && uuid_eq(&n.replica, replica);
    node_done(&n);
    return is;
}

static uint32_t gate_lost(void *ctx, const char *node, int64_t time_ms)
{
    struct vm_view *v = xmalloc(sizeof *v);
    vm_view_build(v, NULL, ctx);
    uint32_t n = vm_node_lost(ctx, &v->v, node, time_ms);
    vm_view_done(v);
    free(v);
    task_node_lost(ctx, node, time_ms);
    backup_node_lost(ctx, node, time_ms);
    node_failed(ctx, node, time_ms);
    return n;
}

void core_fence_apply(struct tables *t, const struct entry *e, struct apply_result *ret)
{
    const struct guard_gate gate = {.ctx = t, .is_replica = gate_is_replica, .lost = gate_lost};
    guard_apply(t, &gate, e, ret);
}

/* ---- the leader */

static uint64_t env_command(void *ctx, const char *node, const char *op_id)
{
    struct core *c = ctx;
    struct node n = {0};
    char path[SETTING_VALUE_MAX];
    struct core_action *a = core_act_for(c, ACT_HOOK, FOR_FENCE, NULL);
    setting_get(db_tables(c->db), "fence.command", path);
    a->hook = (struct hook_call){.verb = HOOK_OFF, .timeout_ms = COMMAND_TIMEOUT_MS};
    STR_COPY(a->hook.path, path);
    STR_COPY(a->hook.op_id, op_id);
    STR_COPY(a->hook.node, node);
    if (node_get(db_tables(c->db), node, &n) == 0)
        STR_COPY(a->hook.address, n.address);
    node_done(&n);
    return a->id;
}

static struct guard_env guard_env(struct core *c)
{
    return (struct guard_env){.ctx = c, .now_ms = c->now_ms, .has_command = has_command(c),
                              .propose = core_propose_keyed, .command = env_command, .log = c->log};
}

/* A node that was never admitted, or that was evicted, runs no VM of the cluster. */
static bool is_concerned(const struct node *n)
{
    return n->state == NODE_ACTIVE || n->state == NODE_DRAINING || n->state == NODE_PAUSED || n->state == NODE_EVICTING;
}

void core_fence_lead(struct core *c, const struct node_views *v)
{
    const struct tables *t = db_tables(c->db);
    struct guard_node nodes[DB_REPLICAS_MAX];
    struct guard_env env = guard_env(c);
    struct node row = {0};
    size_t n = 0, i = 0;
    while (node_next(t, &row)) {
        if (i >= v->v.n || !is_concerned(&row)) {
            i++;
            continue;
        }
        nodes[n] = (struct guard_node){.present = v->v.nodes[i++].present,
                                       .in_ring = c->ring_nodes > c->n_group,
                                       .has_vms = vm_needs_fence(t, row.name) || task_is_on(t, row.name, NULL) ||
                                                  backup_is_on(t, row.name, NULL),
                                       .bound_ms = lease_bound_ms(&c->lease, c->db, row.nodeid)};
        STR_COPY(nodes[n++].name, row.name);
    }
    guard_leader_step(c->guard_leader, t, nodes, n, &env);
    int64_t next_ms = guard_leader_next_ms(c->guard_leader, c->now_ms);
    if (next_ms < c->step_at_ms)
        c->step_at_ms = next_ms;
}

void core_fence_take_command(struct core *c, uint64_t id, const struct hook_outcome *o)
{
    struct error e = o->error;
    if (!c->db || !db_is_leader(c->db))
        return;
    if (!e.code && o->state != HOOK_DONE)
        error_set(&e, ERR_AGAIN, o->state == HOOK_RUNNING ? "it is not off yet" : "it said that it failed: %.200s",
                  o->output);
    struct guard_env env = guard_env(c);
    guard_leader_commanded(c->guard_leader, id, &e, &env);
    c->look = true;
}

/* ---- shown */

static struct json *count_json(const struct fence_counts *n)
{
    struct json *o = json_object_new();
    json_set_int(o, "wait", n->wait);
    json_set_int(o, "command", n->command);
    json_set_int(o, "back", n->back);
    json_set_int(o, "vms", n->vms);
    return o;
}

struct json *core_fence_json(const struct core *c, const char *node)
{
    struct guard g;
    if (guard_get(db_tables(c->db), node, &g))
        return json_null_new();
    struct json *o = json_object_new();
    int64_t left_ms = db_is_leader(c->db) ? guard_leader_left_ms(c->guard_leader, node, c->now_ms) : -1;
    json_set_str(o, "protection", guard_kind_name(g.kind));
    json_set_str(o, "state", fence_state_name(g.state));
    json_set_int(o, "wait_ms", guard_keeps(g.kind) ? guard_wait_ms(&g) : 0);
    json_set(o, "left_ms", left_ms < 0 ? json_null_new() : json_int_new(left_ms));
    json_set_str(o, "confirmed_by", g.state != FENCE_FENCED ? NULL : g.how == FENCE_BY_COMMAND ? "command" : "wait");
    json_set(o, "changed", json_time_new(g.changed_ms));
    json_set(o, "count", count_json(&g.count));
    return o;
}

/* Of this node alone: how long it goes on without a word of the leader; what its watchdog does. */
struct json *core_fence_self_json(const struct core *c)
{
    const struct guard_self *g = &c->guard;
    int64_t left_ms = g->note.contact_ms + g->note.lease_ms - c->now_ms;
    struct json *o = json_object_new();
    json_set(o, "lease_ms", g->note.on ? json_int_new(left_ms > 0 ? left_ms : 0) : json_null_new());
    json_set_str(o, "watchdog", may_run(g) ? "armed" : g->has_watchdog ? "idle" : "none");
    return o;
}
