/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The executor, for one operation id:
 *
 *        no token: have one made              accepted               running: after UPGRADE_POLL_MS
 *   ──> TOKEN ───────────────────> START ──────────────────> POLL <───────────────────────────────┐
 *                                   │  ^                      ├───────────────────────────────────┘
 *            refused, could not be  └──┘                      ├─ done ──> awaiting-rejoin
 *            run: back-off, same id                           └─ failed ─> next attempt with a new id, or failed
 *
 * START is called once per leader and id: the same id again has no second effect (upgrade/port.h). Only POLL's verdict
 * "failed" makes a new id: an operation that may still run is never begun a second time under another name.
 *
 * Once the run was given up: CANCEL, until it says that it is, or that it is too late for that (upgrade/port.h). What
 * the executor prints goes into the step's row and the journal (report.c). A node that is upgraded in place calls its
 * executor itself (in-place.c), the leader only reads what it reports. */
#include "upgrade/run-lead.h"

void lead_know_op(struct lane *l, const char *op, uint64_t run_seq)
{
    bool same = str_eq(l->op, op);
    if (same && l->op_run_seq == run_seq)
        return;
    STR_COPY(l->op, op);
    l->op_run_seq = run_seq;
    if (!same) {
        l->accepted = l->too_late = false;
        l->verdict = VERDICT_NONE;
        l->printed[0] = '\0';
        l->reports = (struct report_state){.next_ms = 0};
    }
    l->errors = l->refusals = 0;
    l->next_call_ms = 0;
    l->output[0] = '\0';
}

static void call_hook(const struct lead *c, enum hook_verb verb)
{
    struct lane *l = c->lane;
    struct hook_call call = {.verb = verb, .timeout_ms = UPGRADE_HOOK_TIMEOUT_MS};
    STR_COPY(call.op_id, l->op);
    STR_COPY(call.node, c->s->node);
    STR_COPY(call.address, c->n->address);
    STR_COPY(call.target, c->s->target);
    if (verb == HOOK_START)
        log_notice(c->env->log, "%s: rebuild to %s not begun by this leader -> start %s", c->s->node, c->s->target,
                   l->op);
    else if (verb == HOOK_CANCEL)
        log_notice(c->env->log, "%s: its rebuild is wanted no more -> cancel %s", c->s->node, l->op);
    STR_COPY(l->call_op, l->op);
    l->call_verb = verb;
    l->call = c->env->hook(c->env->ctx, &call, l->op);
    if (l->call == 0)
        l->next_call_ms = c->now_ms + UPGRADE_POLL_MS;
}

/* The next call for the operation, if it is time for one and none is under way. */
void lead_drive_executor(const struct lead *c)
{
    struct lane *l = c->lane;
    if (l->call != 0 || c->now_ms < l->next_call_ms)
        return;
    if (step_is_unwanted(c->r, c->s) && !l->too_late) {
        call_hook(c, HOOK_CANCEL);
    } else if (l->accepted) {
        call_hook(c, HOOK_POLL);
    } else if (c->v->has_token(c->v->ctx, l->op)) {
        call_hook(c, HOOK_START);
    } else {
        lead_wait_for(c, "a join token for %s is being made", c->s->node);
        if (lead_may_ask(c, "token"))
            c->env->make_token(c->env->ctx, c->s->node, l->op, 2 * lead_rebuild_ms(c));
    }
}

static void start_outcome(struct lane *l, const struct hook_outcome *o)
{
    if (o->state == HOOK_FAILED) {
        l->refusals++;
        return;
    }
    l->accepted = true;
    l->refusals = 0;
}

static void poll_outcome(struct lane *l, const struct hook_outcome *o)
{
    if (o->state == HOOK_DONE)
        l->verdict = VERDICT_DONE;
    else if (o->state == HOOK_FAILED)
        l->verdict = VERDICT_FAILED;
}

static void cancel_outcome(struct lane *l, const struct hook_outcome *o)
{
    if (o->state == HOOK_DONE)
        l->verdict = VERDICT_CANCELLED;
    else if (o->state == HOOK_FAILED)
        l->too_late = true;
}

/* Of a call that was run. */
static void call_outcome(struct lane *l, const struct hook_outcome *o, const struct log_sink *log)
{
    l->errors = 0;
    if (l->call_verb == HOOK_START)
        start_outcome(l, o);
    else if (l->call_verb == HOOK_CANCEL)
        cancel_outcome(l, o);
    else
        poll_outcome(l, o);
    if (o->state == HOOK_FAILED)
        log_warn(log, "executor's %s of %s says %s: %s", hook_verb_name(l->call_verb), l->op,
                 l->call_verb == HOOK_CANCEL ? "too late" : "failed", o->output);
}

static void take_outcome(struct lane *l, int64_t now_ms, const struct hook_outcome *o, const struct upgrade_env *env)
{
    bool is_bad = o->error.code != 0 || (o->state == HOOK_FAILED && l->call_verb != HOOK_CANCEL);
    report_condense(o->output, l->printed);
    if (o->error.code != 0)
        STR_COPY(l->printed, o->error.text);
    if (is_bad)
        STR_COPY(l->output, l->printed);
    if (o->error.code != 0) {
        l->errors++;
        log_warn(env->log, "executor's %s of %s could not be run: %s -> again", hook_verb_name(l->call_verb), l->op,
                 o->error.text);
    } else {
        call_outcome(l, o, env->log);
    }
    unsigned failures = l->errors > 0 ? l->errors : l->refusals;
    if (failures > 0)
        l->next_call_ms = now_ms + upgrade_backoff_ms(failures);
    else
        l->next_call_ms = now_ms + (l->call_verb == HOOK_START ? 0 : UPGRADE_POLL_MS);
}

bool upgrade_leader_outcome(struct upgrade_leader *l, const struct tables *t, int64_t now_ms, int64_t wall_ms,
                            uint64_t id, const struct hook_outcome *o, const struct upgrade_env *env)
{
    (void)t;
    (void)wall_ms;
    struct lane *lane = id != 0 ? l->lanes : NULL;
    while (lane && lane->call != id)
        lane = lane->next;
    if (!lane)
        return false;
    lane->call = 0;
    if (str_eq(lane->call_op, lane->op)) /* else of an attempt that is history */
        take_outcome(lane, now_ms, o, env);
    return true;
}
