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
    enum hook_state state;
    unsigned ticks;
    bool token;
    unsigned images; /* effects: must not exceed 1 */
};

struct w_fault {
    bool drain_blocked, no_transfer, no_evict, never_done, never_joins, never_caught_up, wrong_release, never_ready,
        not_home;
    unsigned fail_ops;       /* that many rebuilds fail */
    unsigned hook_errors;    /* that many calls cannot be run */
    unsigned start_refusals; /* that many starts are refused */
    unsigned lose_every;     /* every so many-th proposal is lost */
};

struct world {
    struct tables *t;
    struct upgrade_node nodes[W_NODES];
    uint32_t vms[W_NODES];    /* whose home it is */
    unsigned joined[W_NODES]; /* ticks since the rebuild ended */
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
    /* the one proposal and the one hook call under way */
    bool has_move;
    enum entry_kind move_kind;
    struct buf move;
    unsigned n_proposed, n_starts, n_calls, n_transfers;
    uint64_t call_id, calls;
    enum hook_verb call_verb;
    size_t call_op;
    unsigned resumes[W_NODES], drains[W_NODES], evicts[W_NODES];
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

static inline int w_control(struct world *w, enum run_verb verb)
{
    AUTO(buf_done) struct buf b = {0};
    upgrade_entry_control(verb, "admin", &b);
    return w_apply(w, ENTRY_RUN_CONTROL, &b);
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

static inline struct upgrade_view w_view(struct world *w)
{
    struct upgrade_view v = {.nodes = w->nodes, .n = W_NODES, .executor = "/hook", .fl = 1, .has_token = w_has_token};
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
    assert_false(w->has_move); /* at most one a step */
    w->has_move = true;
    w->move_kind = kind;
    w->move = *payload;
    *payload = (struct buf){0};
    w->n_proposed++;
}

static inline void w_node_drain(void *ctx, const char *node)
{
    struct world *w = ctx;
    size_t i = w_index(w, node);
    w->drains[i]++;
    if (w->nodes[i].state == UNODE_ACTIVE)
        w->nodes[i].state = UNODE_DRAINING;
}

static inline void w_node_resume(void *ctx, const char *node)
{
    struct world *w = ctx;
    struct upgrade_node *n = &w->nodes[w_index(w, node)];
    w->resumes[n - w->nodes]++;
    if (n->state == UNODE_PAUSED || n->state == UNODE_DRAINING)
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

static inline void w_make_token(void *ctx, const char *node, const char *op_id, int64_t valid_ms)
{
    struct world *w = ctx;
    assert_true(valid_ms >= UPGRADE_REBUILD_DEADLINE_MS);
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
    assert_non_null(op);
    assert_true(op->token);
    assert_string_equal(call->op_id, op_id);
    assert_string_equal(call->target, "trixie");
    assert_string_equal(call->node, w->nodes[op->node].name);
    assert_int_equal(w->call_id, 0); /* never two calls at once */
    assert_int_equal(w->nodes[op->node].state, UNODE_ABSENT);
    w->call_verb = call->verb;
    w->call_op = (size_t)(op - w->ops);
    w->n_calls++;
    w->n_starts += call->verb == HOOK_START;
    return w->call_id = ++w->calls;
}

static inline void w_set_leader(struct world *w, size_t i)
{
    upgrade_leader_free(w->l);
    w->l = upgrade_leader_new();
    w->leader = i;
    w->call_id = 0; /* its outcome reaches nobody */
    if (w->has_move)
        buf_done(&w->move);
    w->has_move = false;
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
                                .make_token = w_make_token,
                                .hook = w_hook,
                                .transfer = w_transfer};
}

/* ---- time passes ---- */

/* The call's effect and its outcome. An operation that is known is not begun again. */
static inline void w_run_call(struct world *w)
{
    struct w_op *op = &w->ops[w->call_op];
    struct hook_outcome o = {.state = HOOK_RUNNING};
    struct upgrade_env env = w_env(w);
    uint64_t id = w->call_id;
    w->call_id = 0;
    if (w->fault.hook_errors > 0) {
        w->fault.hook_errors--;
        error_set(&o.error, ERR_TIMEOUT, "hook timed out");
    } else if (w->call_verb == HOOK_START && w->fault.start_refusals > 0) {
        w->fault.start_refusals--;
        o.state = HOOK_FAILED;
        STR_COPY(o.output, "no answer from the BMC");
    } else if (w->call_verb == HOOK_START) {
        o.state = HOOK_DONE;
        if (op->images == 0) {
            op->images = 1;
            op->state = HOOK_RUNNING;
        }
    } else {
        assert_true(op->images > 0);
        o.state = op->state;
        STR_COPY(o.output, "disk full");
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
        STR_COPY(n->release, w->fault.wrong_release ? "bookworm" : "trixie");
        n->native_level = w->fault.wrong_release ? 1 : 2;
        level_member_set(w->t, n->name, (struct level_range){1, n->native_level}, 1000000 + w->now_ms);
        w->joined[i] = 0;
    }
}

static inline void w_tick_node(struct world *w, size_t i)
{
    struct upgrade_node *n = &w->nodes[i];
    bool held = upgrade_holds_drain(w->t, n->name);
    n->drain_blocked = (struct error){0};
    if (n->state == UNODE_DRAINING && w->fault.drain_blocked && !held)
        error_set(&n->drain_blocked, ERR_CONDITION, "vm1 has a host device");
    else if (n->state == UNODE_DRAINING && n->vms_running > 0 && !held)
        n->vms_running--;
    else if (n->state == UNODE_DRAINING && n->vms_running == 0)
        n->state = UNODE_PAUSED;
    else if (n->state == UNODE_EVICTING) {
        n->state = UNODE_ABSENT;
        n->replica = (struct uuid){0};
        n->present = n->voter = n->caught_up = n->ready = false;
    } else if (n->state == UNODE_ACTIVE && n->vms_running < w->vms[i] && w->resumes[i] > 0 && !w->fault.not_home)
        n->vms_running++;
    n->vms_home = n->vms_running == w->vms[i];
    if (w->away[i] > 0 && --w->away[i] == 0 && n->state != UNODE_ABSENT)
        n->present = true;
}

static inline void w_check_invariants(struct world *w)
{
    unsigned out = 0;
    for (size_t i = 0; i < W_NODES; i++)
        out += w->nodes[i].state != UNODE_ACTIVE;
    assert_true(out <= 1); /* never two nodes at once */
    for (size_t i = 0; i < w->n_ops; i++) {
        assert_true(w->ops[i].images <= 1);
        for (size_t k = 0; k < i; k++) /* a second operation of a node only when the first is known to have failed */
            if (w->ops[k].node == w->ops[i].node)
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
    if (w->has_move) {
        bool lost = w->fault.lose_every && w->n_proposed % w->fault.lose_every == 0;
        w->has_move = false;
        if (!lost && v.quorate)
            w_apply(w, w->move_kind, &w->move);
        buf_done(&w->move);
    }
    if (w->call_id != 0)
        w_run_call(w);
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
    *w = (struct world){.quorate = true, .vms = {1, 2, 1}};
    w->t = tables_new();
    w->l = upgrade_leader_new();
    level_init(w->t, 1);
    for (size_t i = 0; i < W_NODES; i++) {
        struct upgrade_node *n = &w->nodes[i];
        snprintf(n->name, sizeof(n->name), "n%zu", i + 1);
        snprintf(n->address, sizeof(n->address), "10.0.0.%zu", i + 1);
        STR_COPY(n->release, "bookworm");
        n->native_level = 1;
        n->state = UNODE_ACTIVE;
        n->replica = w_uuid(++w->replicas);
        n->present = n->voter = n->caught_up = n->ready = n->vms_home = true;
        n->vms_running = n->vms_here = w->vms[i];
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
    int err = upgrade_entry_start(w->t, &v, "trixie", "admin", true, &b, &e);
    return err ? err : w_apply(w, ENTRY_RUN_START, &b);
}

/* Every node is upgraded, active, and was rebuilt as often as its failures ask for. */
static inline void w_assert_upgraded(struct world *w)
{
    for (size_t i = 0; i < W_NODES; i++) {
        assert_string_equal(w->nodes[i].release, "trixie");
        assert_int_equal(w->nodes[i].state, UNODE_ACTIVE);
        assert_true(w->nodes[i].vms_home);
    }
}

static inline unsigned w_images(const struct world *w)
{
    unsigned n = 0;
    for (size_t i = 0; i < w->n_ops; i++)
        n += w->ops[i].images;
    return n;
}
