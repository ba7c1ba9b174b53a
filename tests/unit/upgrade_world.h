/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A cluster of three nodes as the upgrade's room sees it: tables, a view, and an environment that does what it is asked
 * for, tick by tick, with faults that a test sets. Moves are committed at the end of the tick that proposed them. */
#pragma once

#include "tests/unit/unit.h"

#include <stdio.h>

#include "upgrade/level.h"
#include "upgrade/run-entry.h"

enum { W_NODES = 3, W_OPS = 32, W_TICK_MS = 500, W_TICKS_MAX = 2000, W_STATES = 16 };

struct w_op { /* what a node's BMC knows of an operation */
    char id[HOOK_OP_ID_MAX];
    size_t node;
    char target[RUN_NAME_MAX];
    enum hook_state state;
    unsigned ticks;
    bool token;
    unsigned images; /* effects: must not exceed 1 */
    bool cancelled;
};

struct w_fault {
    bool drain_blocked, no_transfer, no_evict, never_done, never_joins, never_caught_up, wrong_release, never_ready,
        not_home, home_blocked, no_drain, nothing_leaves, no_return, canary_endless, stuck, no_canary, canary_off,
        canary_refused;
    unsigned fail_canary;    /* that many of its moves fail */
    unsigned fail_ops;       /* that many rebuilds fail */
    unsigned hook_errors;    /* that many calls cannot be run */
    unsigned start_refusals; /* that many starts are refused */
    bool prints;             /* poll tells how far it is */
    unsigned lose_every;     /* every so many-th proposal is lost */
};

struct world {
    struct tables *t;
    const char *executor; /* the setting */
    struct upgrade_node nodes[W_NODES];
    struct host_vitals vitals; /* of every node */
    uint32_t vms[W_NODES];    /* whose home it is */
    unsigned joined[W_NODES]; /* ticks since the rebuild ended */
    bool unchanged[W_NODES];  /* joins with what it ran before: its rebuild was cancelled */
    unsigned away[W_NODES];   /* ticks that its agent is away */
    unsigned replicas;
    size_t leader; /* index */
    struct upgrade_leader *l;
    bool quorate;
    int64_t now_ms;
    uint64_t index;
    struct w_fault fault;
    struct w_op ops[W_OPS];
    size_t n_ops;
    /* proposals, one of a step or of the run, and the one hook call under way */
    struct w_move {
        enum entry_kind kind;
        char key[128];
        struct buf b;
        bool lost;
    } moves[W_STATES];
    size_t n_moves;
    unsigned n_proposed, n_starts, n_calls, n_transfers, stuck_asked;
    struct w_call {
        uint64_t id; /* 0: none */
        enum hook_verb verb;
        size_t op;
    } pending[W_NODES];
    uint64_t calls;
    unsigned resumes[W_NODES], drains[W_NODES], evicts[W_NODES];
    bool failback[W_NODES];
    /* the canary: where it runs, where it goes, and where it was */
    size_t canary_at, canary_home, canary_to;
    unsigned canary_ticks;
    char canary_error[64], canary_way[64];
    /* of w_start() */
    uint32_t max_unavailable;
    bool approve_each;
    const char *order;
    /* settings; 0: the defaults */
    uint32_t attempts;
    int64_t rebuild_ms, verify_ms;
};

/* ---- entries ---- */

static inline struct uuid w_uuid(unsigned n)
{
    return (struct uuid){{1, 2, 3, [14] = (uint8_t)(n >> 8), [15] = (uint8_t)n}};
}

static inline int w_apply(struct world *w, enum entry_kind kind, const struct buf *b)
{
    struct entry e = {
        .term = 1, .index = ++w->index, .kind = (uint16_t)kind, .level = 1, .time_ms = 1000000 + w->now_ms};
    struct apply_result result;
    e.request_id = w_uuid(1000 + (unsigned)w->index);
    e.payload = buf_slice(b);
    if (kind == ENTRY_LEVEL)
        level_apply(w->t, &e, &result);
    else
        upgrade_apply(w->t, &e, &result);
    return result.error.code;
}

static inline int w_control_node(struct world *w, enum run_verb verb, const char *node)
{
    AUTO(buf_done) struct buf b = {0};
    upgrade_entry_control(verb, "admin", node, &b);
    return w_apply(w, ENTRY_RUN_CONTROL, &b);
}

static inline int w_control(struct world *w, enum run_verb verb)
{
    return w_control_node(w, verb, "");
}

static inline struct run w_run(const struct world *w)
{
    struct run r;
    assert_int_equal(run_newest(w->t, &r), 0);
    return r;
}

/* The step under way, or a zeroed one. */
static inline struct step w_step(const struct world *w)
{
    struct run r = w_run(w);
    struct step s = {.attempt = 0};
    step_current(w->t, &r, &s);
    return s;
}

/* ---- the view ---- */

static inline size_t w_index(const struct world *w, const char *node)
{
    size_t i = 0;
    while (!str_eq(w->nodes[i].name, node))
        assert_true(++i < W_NODES);
    return i;
}

static inline struct w_op *w_op(struct world *w, const char *id)
{
    for (size_t i = 0; i < w->n_ops; i++)
        if (str_eq(w->ops[i].id, id))
            return &w->ops[i];
    return NULL;
}

static inline bool w_has_token(void *ctx, const char *op_id)
{
    struct w_op *op = w_op(ctx, op_id);
    return op && op->token;
}

static inline bool w_is_stuck(void *ctx, const char *node, struct error *ret)
{
    struct world *w = ctx;
    w->stuck_asked++;
    if (w->fault.stuck)
        error_set(ret, ERR_CONDITION, "%s: vm1 has no room elsewhere", node);
    if (w->fault.stuck)
        error_set_remedy(ret, "clusterctl vm show vm1");
    return w->fault.stuck;
}

static inline bool w_find_canary(void *ctx, const char *node, char ret_vm[RUN_NAME_MAX], struct error *ret)
{
    struct world *w = ctx;
    assert_int_equal(w->nodes[w_index(w, node)].state, UNODE_ACTIVE);
    if (w->fault.no_canary) {
        error_set(ret, ERR_CONDITION, "nothing runs");
        return false;
    }
    str_copy(ret_vm, RUN_NAME_MAX, "vm1");
    return true;
}

static inline bool w_look_at_canary(void *ctx, const char *vm, struct canary_look *ret)
{
    struct world *w = ctx;
    assert_string_equal(vm, "vm1");
    if (w->fault.canary_off)
        return false;
    *ret = (struct canary_look){.busy = w->canary_ticks > 0};
    STR_COPY(ret->node, w->nodes[w->canary_at].name);
    STR_COPY(ret->home, w->nodes[w->canary_home].name);
    STR_COPY(ret->error, w->canary_error);
    return true;
}

static inline struct upgrade_view w_view(struct world *w)
{
    struct upgrade_view v = {.nodes = w->nodes, .n = W_NODES, .executor = w->executor, .fl = 1,
                             .in_place = str_eq(w->executor, EXECUTOR_IN_PLACE), .has_token = w_has_token,
                             .is_stuck = w_is_stuck, .find_canary = w_find_canary,
                             .look_at_canary = w_look_at_canary, .attempts = w->attempts,
                             .rebuild_ms = w->rebuild_ms, .verify_ms = w->verify_ms};
    struct level_state s;
    v.ctx = w;
    if (level_get(w->t, &s) == 0) {
        v.fl = s.fl;
        v.mixed = s.mixed_since_ms != 0;
    }
    for (size_t i = 0; i < W_NODES; i++) {
        w->nodes[i].is_leader = i == w->leader;
        v.votes_total += w->nodes[i].voter;
        v.votes_present += w->nodes[i].voter && w->nodes[i].present;
    }
    v.quorate = w->quorate && 2 * v.votes_present > v.votes_total && w->nodes[w->leader].present;
    return v;
}

/* ---- the environment ---- */

static inline void w_propose(void *ctx, enum entry_kind kind, struct buf *payload, const char *key)
{
    struct world *w = ctx;
    assert_true(strncmp(key, "upgrade-", 8) == 0);
    for (size_t i = 0; i < w->n_moves; i++)
        assert_string_not_equal(w->moves[i].key, key);
    assert_true(w->n_moves < W_STATES);
    struct w_move *m = &w->moves[w->n_moves++];
    *m = (struct w_move){.kind = kind, .b = *payload};
    STR_COPY(m->key, key);
    *payload = (struct buf){0};
    w->n_proposed++;
    m->lost = w->fault.lose_every && w->n_proposed % w->fault.lose_every == 0;
}

static inline void w_commit(struct world *w, bool quorate)
{
    for (size_t i = 0; i < w->n_moves; i++) {
        if (!w->moves[i].lost && quorate)
            w_apply(w, w->moves[i].kind, &w->moves[i].b);
        buf_done(&w->moves[i].b);
    }
    w->n_moves = 0;
}

static inline void w_node_drain(void *ctx, const char *node)
{
    struct world *w = ctx;
    size_t i = w_index(w, node);
    w->drains[i]++;
    if (w->nodes[i].state == UNODE_ACTIVE && !w->fault.no_drain)
        w->nodes[i].state = UNODE_DRAINING;
}

static inline void w_node_resume(void *ctx, const char *node, bool failback)
{
    struct world *w = ctx;
    struct upgrade_node *n = &w->nodes[w_index(w, node)];
    w->resumes[n - w->nodes]++;
    w->failback[n - w->nodes] = failback;
    if ((n->state == UNODE_PAUSED || n->state == UNODE_DRAINING) && !w->fault.no_return)
        n->state = UNODE_ACTIVE;
}

static inline void w_node_evict(void *ctx, const char *node)
{
    struct world *w = ctx;
    struct upgrade_node *n = &w->nodes[w_index(w, node)];
    assert_int_equal(n->state, UNODE_PAUSED);
    assert_false(n->is_leader);
    assert_int_equal(n->vms_running, 0);
    w->evicts[n - w->nodes]++;
    if (!w->fault.no_evict)
        n->state = UNODE_EVICTING;
}

static inline void w_move_canary(void *ctx, const char *vm, const char *to)
{
    struct world *w = ctx;
    assert_string_equal(vm, "vm1");
    assert_int_equal(w->canary_ticks, 0);
    assert_int_equal(w->nodes[w_index(w, to)].state, UNODE_ACTIVE);
    if (w->fault.canary_refused)
        return;
    w->canary_to = w_index(w, to);
    w->canary_ticks = 3;
    w->canary_error[0] = '\0';
}

static inline void w_make_token(void *ctx, const char *node, const char *op_id, int64_t valid_ms)
{
    struct world *w = ctx;
    assert_true(valid_ms >= (w->rebuild_ms > 0 ? w->rebuild_ms : UPGRADE_REBUILD_DEADLINE_MS));
    assert_null(w_op(w, op_id));
    assert_true(w->n_ops < W_OPS);
    struct w_op *op = &w->ops[w->n_ops++];
    *op = (struct w_op){.node = w_index(w, node), .token = true};
    STR_COPY(op->id, op_id);
}

static inline uint64_t w_hook(void *ctx, struct hook_call *call, const char *op_id)
{
    struct world *w = ctx;
    struct w_op *op = w_op(w, op_id);
    if (!op && call->verb == HOOK_CANCEL) {
        w_make_token(w, call->node, op_id, UPGRADE_REBUILD_DEADLINE_MS);
        op = w_op(w, op_id);
    }
    assert_non_null(op);
    assert_true(op->token);
    assert_string_equal(call->op_id, op_id);
    assert_true(op->target[0] == '\0' || str_eq(op->target, call->target)); /* one operation, one release */
    STR_COPY(op->target, call->target);
    assert_string_equal(call->node, w->nodes[op->node].name);
    assert_int_equal(w->nodes[op->node].state, UNODE_ABSENT);
    w->n_calls++;
    w->n_starts += call->verb == HOOK_START;
    size_t at = 0;
    while (w->pending[at].id != 0) { /* never two calls for a node at once */
        assert_true(w->ops[w->pending[at].op].node != op->node);
        assert_true(++at < W_NODES);
    }
    w->pending[at] = (struct w_call){.id = ++w->calls, .verb = call->verb, .op = (size_t)(op - w->ops)};
    return w->calls;
}

static inline void w_set_leader(struct world *w, size_t i)
{
    upgrade_leader_free(w->l);
    w->l = upgrade_leader_new();
    w->leader = i;
    memset(w->pending, 0, sizeof(w->pending)); /* their outcomes reach nobody */
    w_commit(w, false);
}

static inline void w_transfer(void *ctx)
{
    struct world *w = ctx;
    w->n_transfers++;
}

static inline struct upgrade_env w_env(struct world *w)
{
    return (struct upgrade_env){.ctx = w,
                                .propose = w_propose,
                                .node_drain = w_node_drain,
                                .node_resume = w_node_resume,
                                .node_evict = w_node_evict,
                                .move_canary = w_move_canary,
                                .make_token = w_make_token,
                                .hook = w_hook,
                                .transfer = w_transfer};
}

/* ---- time passes ---- */

/* Too late once it is imaged. An admin joins the node again. */
static inline void w_cancel(struct world *w, struct w_op *op, struct hook_outcome *o)
{
    if (op->images > 0) {
        o->state = HOOK_FAILED;
        return;
    }
    o->state = HOOK_DONE;
    op->state = HOOK_FAILED;
    op->cancelled = true;
    if (w_run(w).state != RUN_ABORTING)
        return;
    w->unchanged[op->node] = true;
    if (w->joined[op->node] == 0)
        w->joined[op->node] = 1;
}

/* The call's effect and its outcome. An operation that is known is not begun again. */
static inline void w_run_call(struct world *w, struct w_call *call)
{
    struct w_op *op = &w->ops[call->op];
    struct hook_outcome o = {.state = HOOK_RUNNING};
    struct upgrade_env env = w_env(w);
    enum hook_verb verb = call->verb;
    uint64_t id = call->id;
    call->id = 0;
    if (w->fault.hook_errors > 0) {
        w->fault.hook_errors--;
        error_set(&o.error, ERR_TIMEOUT, "hook timed out");
    } else if (verb == HOOK_START && w->fault.start_refusals > 0) {
        w->fault.start_refusals--;
        o.state = HOOK_FAILED;
        STR_COPY(o.output, "no answer from the BMC");
    } else if (verb == HOOK_CANCEL) {
        w_cancel(w, op, &o);
    } else if (verb == HOOK_START) {
        assert_false(op->cancelled);
        o.state = HOOK_DONE;
        if (op->images == 0) {
            op->images = 1;
            op->state = HOOK_RUNNING;
        }
    } else {
        assert_true(op->images > 0);
        o.state = op->state;
        STR_COPY(o.output, op->state == HOOK_FAILED ? "disk full" : "");
        if (w->fault.prints && op->state == HOOK_RUNNING)
            snprintf(o.output, sizeof(o.output), "begun\nstill at it, %u times\n", op->ticks);
    }
    assert_true(upgrade_leader_outcome(w->l, w->t, w->now_ms, w->now_ms, id, &o, &env));
    assert_false(upgrade_leader_outcome(w->l, w->t, w->now_ms, w->now_ms, id, &o, &env)); /* once only */
}

static inline void w_tick_op(struct world *w, struct w_op *op)
{
    if (op->images == 0 || op->state != HOOK_RUNNING || ++op->ticks < 5 || w->fault.never_done)
        return;
    if (w->fault.fail_ops > 0) {
        w->fault.fail_ops--;
        op->state = HOOK_FAILED;
        return;
    }
    op->state = HOOK_DONE;
    w->joined[op->node] = 1;
}

/* A rebuilt node joins: replica, catch-up and vote, facts; held in maintenance as it left. */
static inline void w_tick_joining(struct world *w, size_t i)
{
    struct upgrade_node *n = &w->nodes[i];
    if (w->joined[i] == 0 || w->fault.never_joins)
        return;
    w->joined[i]++;
    if (w->joined[i] == 4) {
        n->replica = w_uuid(++w->replicas);
        n->state = UNODE_JOINING;
        n->present = true;
    }
    if (w->joined[i] >= 6 && !n->voter && n->present && !w->fault.never_caught_up) {
        n->caught_up = n->voter = true;
        n->state = UNODE_PAUSED;
    }
    if (w->joined[i] >= 8 && n->voter && !w->fault.never_ready) {
        n->ready = true;
        const char *target = "";
        for (size_t k = 0; k < w->n_ops; k++)
            if (w->ops[k].node == i)
                target = w->ops[k].target;
        STR_COPY(n->release, w->fault.wrong_release || w->unchanged[i] ? "bookworm" : target);
        n->native_level = str_eq(n->release, "trixie") ? 2 : 1;
        level_member_set(w->t, n->name, (struct level_range){1, n->native_level}, 1000000 + w->now_ms);
        w->joined[i] = 0;
    }
}

static inline void w_tick_node(struct world *w, size_t i)
{
    struct upgrade_node *n = &w->nodes[i];
    bool held = upgrade_holds_drain(w->t, n->name);
    n->drain_blocked = n->home_blocked = (struct error){0};
    if (w->fault.home_blocked)
        error_set(&n->home_blocked, ERR_CONDITION, "vm1 does not fit");
    if (n->state == UNODE_DRAINING && w->fault.drain_blocked && !held)
        error_set(&n->drain_blocked, ERR_CONDITION, "vm1 has a host device");
    else if (n->state == UNODE_DRAINING && n->vms_running > 0 && !held && !w->fault.nothing_leaves)
        n->vms_running--;
    else if (n->state == UNODE_DRAINING && n->vms_running == 0)
        n->state = UNODE_PAUSED;
    else if (n->state == UNODE_EVICTING) {
        n->state = UNODE_ABSENT;
        n->replica = (struct uuid){0};
        n->present = n->voter = n->caught_up = n->ready = false;
    } else if (n->state == UNODE_ACTIVE && n->vms_running < w->vms[i] && w->failback[i] && !w->fault.not_home &&
               !w->fault.home_blocked)
        n->vms_running++;
    n->vms_away = n->vms_running < w->vms[i] ? w->vms[i] - n->vms_running : 0;
    if (w->away[i] > 0 && --w->away[i] == 0 && n->state != UNODE_ABSENT)
        n->present = true;
}

static inline void w_tick_canary(struct world *w)
{
    if (w->canary_ticks == 0 || w->fault.canary_endless || --w->canary_ticks > 0)
        return;
    if (w->fault.fail_canary > 0) {
        w->fault.fail_canary--;
        STR_COPY(w->canary_error, "QEMU says no");
        return;
    }
    w->canary_at = w->canary_to;
    size_t len = strlen(w->canary_way);
    snprintf(w->canary_way + len, sizeof(w->canary_way) - len, "%s ", w->nodes[w->canary_at].name);
}

/* RUN-POSITION-ATTEMPT: the same step but for what follows the last '-'. */
static inline bool w_is_same_step(const struct w_op *a, const struct w_op *b)
{
    return strncmp(a->id, b->id, (size_t)(strrchr(a->id, '-') - a->id) + 1) == 0;
}

static inline void w_check_invariants(struct world *w)
{
    unsigned out = 0;
    for (size_t i = 0; i < W_NODES; i++)
        out += w->nodes[i].state != UNODE_ACTIVE;
    assert_true(out <= (w->max_unavailable > 0 ? w->max_unavailable : 1)); /* never two nodes at once */
    for (size_t i = 0; i < w->n_ops; i++) {
        assert_true(w->ops[i].images <= 1);
        for (size_t k = 0; k < i; k++) /* a second operation of a step only when the first is known to have failed */
            if (w_is_same_step(&w->ops[k], &w->ops[i]))
                assert_int_equal(w->ops[k].state, HOOK_FAILED);
    }
}

/* A leader that is gone is followed by the next node that can lead. */
static inline void w_elect(struct world *w)
{
    for (size_t i = 0; i < W_NODES && !w->nodes[w->leader].present; i++)
        if (w->nodes[i].present && w->nodes[i].voter)
            w_set_leader(w, i);
}

static inline void w_tick(struct world *w)
{
    unsigned transfers = w->n_transfers;
    struct upgrade_view v = w_view(w);
    struct upgrade_env env = w_env(w);
    w->now_ms += W_TICK_MS;
    upgrade_leader_step(w->l, w->t, &v, w->now_ms, 1000000 + w->now_ms, &env);
    w_commit(w, v.quorate);
    for (size_t i = 0; i < W_NODES; i++)
        if (w->pending[i].id != 0)
            w_run_call(w, &w->pending[i]);
    w_tick_canary(w);
    for (size_t i = 0; i < w->n_ops; i++)
        w_tick_op(w, &w->ops[i]);
    for (size_t i = 0; i < W_NODES; i++) {
        w_tick_joining(w, i);
        w_tick_node(w, i);
    }
    if (w->n_transfers > transfers && !w->fault.no_transfer)
        for (size_t i = 0; i < W_NODES; i++)
            if (i != w->leader && w->nodes[i].state == UNODE_ACTIVE && w->nodes[i].present) {
                w_set_leader(w, i);
                break;
            }
    w_elect(w);
    w_check_invariants(w);
}

/* Ticks until the run has that state. */
static inline void w_until_run(struct world *w, enum run_state state)
{
    for (unsigned i = 0; w_run(w).state != state; i++) {
        if (i == W_TICKS_MAX) {
            struct step s = w_step(w);
            fail_msg("run is %s, %s is %s; waiting: %s", run_state_name(w_run(w).state), s.node,
                     step_state_name(s.state), upgrade_leader_waiting(w->l) ? upgrade_leader_waiting(w->l) : "");
        }
        w_tick(w);
    }
}

/* Ticks until the step of that position has that state; false: the run ended or stopped before. */
static inline bool w_until_step(struct world *w, uint32_t position, enum step_state state)
{
    for (unsigned i = 0; i < W_TICKS_MAX; i++) {
        struct run r = w_run(w);
        struct step s;
        assert_int_equal(step_get(w->t, &r.id, position, &s), 0);
        if (s.state == state)
            return true;
        if (run_state_is_final(r.state) || r.state == RUN_AWAITING_RAISE || r.state == RUN_PAUSED_ERROR)
            return false;
        w_tick(w);
    }
    return false;
}

/* ---- life ---- */

/* n1 leads with one VM, n2 has two, n3 one. */
static inline void w_init(struct world *w)
{
    *w = (struct world){.quorate = true, .executor = "/hook", .vms = {1, 2, 1}, .canary_at = 0, .canary_home = 2};
    w->t = tables_new();
    w->l = upgrade_leader_new();
    w->vitals = (struct host_vitals){.spaces = {{"/", 20000, 40000}}, .n_spaces = 1, .n_links = 1, .executor = "/hook"};
    level_init(w->t, 1, NULL);
    for (size_t i = 0; i < W_NODES; i++) {
        struct upgrade_node *n = &w->nodes[i];
        snprintf(n->name, sizeof(n->name), "n%zu", i + 1);
        snprintf(n->address, sizeof(n->address), "10.0.0.%zu", i + 1);
        STR_COPY(n->release, "bookworm");
        n->native_level = 1;
        n->state = UNODE_ACTIVE;
        n->replica = w_uuid(++w->replicas);
        n->present = n->voter = n->caught_up = n->ready = true;
        n->vms_running = n->vms_here = w->vms[i];
        n->nodeid = (uint32_t)i + 1;
        n->has_clock = true;
        n->vitals = &w->vitals;
        STR_COPY(n->corosync, "3.1.7");
        STR_COPY(n->agent, "1.0");
        level_member_set(w->t, n->name, (struct level_range){1, 1}, 1);
    }
}

static inline void w_done(struct world *w)
{
    upgrade_leader_free(w->l);
    tables_free(w->t);
}

static inline int w_start(struct world *w)
{
    AUTO(buf_done) struct buf b = {0};
    struct upgrade_view v = w_view(w);
    struct error e = {0};
    const struct upgrade_options o = {
        .target = "trixie", .by = "admin", .accept_warnings = true, .approve_each = w->approve_each, .order = w->order,
        .max_unavailable = w->max_unavailable};
    int err = upgrade_entry_start(w->t, &v, &o, &b, &e);
    return err ? err : w_apply(w, ENTRY_RUN_START, &b);
}

/* Every node is upgraded, active, and was rebuilt as often as its failures ask for. */
static inline void w_assert_upgraded(struct world *w)
{
    for (size_t i = 0; i < W_NODES; i++) {
        assert_string_equal(w->nodes[i].release, "trixie");
        assert_int_equal(w->nodes[i].state, UNODE_ACTIVE);
        assert_int_equal(w->nodes[i].vms_away, 0);
    }
}

static inline unsigned w_images(const struct world *w)
{
    unsigned n = 0;
    for (size_t i = 0; i < w->n_ops; i++)
        n += w->ops[i].images;
    return n;
}
