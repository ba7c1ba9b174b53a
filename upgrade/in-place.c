/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A node that is upgraded in place, seen from the node itself. What its program says goes into the step's row, which
 * the leader reads; the leader calls no hook.
 *
 *                 accepted               running: after UPGRADE_POLL_MS
 *   ──> START ───────────────> POLL <──────────────────────────────────┐
 *        │  ^                   ├───────────────────────────────────────┘
 *        └──┘ could not be run  ├─ done, failed ──> reported; nothing is called any more
 *                               │
 *   the run was given up: CANCEL ─ cancelled ──> reported        too late ──> START, POLL as before
 *
 * The agent ends in the middle of it, with the boot. Its successor calls START, and the program goes on where it was.
 */
#include <stdio.h>

#include "upgrade/run-entry.h"

struct upgrade_local {
    uint64_t call; /* under way; 0: none */
    enum hook_verb verb;
    char op[HOOK_OP_ID_MAX]; /* all below is of this operation */
    bool accepted, too_late;
    enum step_report report;
    char output[JOURNAL_TEXT_MAX];
    unsigned errors; /* one after the other */
    int64_t next_call_ms;
    struct report_state reports;
};

struct upgrade_local *upgrade_local_new(void)
{
    return xcalloc(1, sizeof(struct upgrade_local));
}

void upgrade_local_free(struct upgrade_local *l)
{
    free(l);
}

/* This node's own rebuild that is under way, if it is to be worked on. */
static bool own_step(const struct tables *t, const char *self, struct run *r, struct step *s)
{
    if (run_current(t, r) < 0 || r->executor != EXECUTOR_KIND_IN_PLACE || step_of_node(t, r, self, s) < 0)
        return false;
    bool goes_on = r->state == RUN_RUNNING || step_is_unwanted(r, s);
    return goes_on && s->state == STEP_REBUILDING;
}

static void call(struct upgrade_local *l, enum hook_verb verb, const struct run *r, const struct step *s,
                 int64_t now_ms, const struct upgrade_env *env)
{
    struct hook_call h = {.verb = verb, .path = EXECUTOR_IN_PLACE, .timeout_ms = UPGRADE_HOOK_TIMEOUT_MS};
    STR_COPY(h.op_id, l->op);
    STR_COPY(h.node, s->node);
    STR_COPY(h.target, s->target);
    if (verb != HOOK_POLL)
        log_notice(env->log, "%s: is to be upgraded in place to %s, the run is %s -> %s %s", s->node, s->target,
                   run_state_name(r->state), hook_verb_name(verb), l->op);
    l->verb = verb;
    l->call = env->local_hook(env->ctx, &h);
    l->next_call_ms = now_ms + UPGRADE_POLL_MS;
}

static bool is_over(enum step_report r)
{
    return r == REPORT_DONE || r == REPORT_FAILED || r == REPORT_CANCELLED;
}

void upgrade_local_step(struct upgrade_local *l, const struct tables *t, const char *self, bool quorate, int64_t now_ms,
                        const struct upgrade_env *env)
{
    struct run r;
    struct step s;
    char op[HOOK_OP_ID_MAX];
    if (!quorate || !own_step(t, self, &r, &s))
        return;
    step_op_id(&s, op);
    if (!str_eq(l->op, op)) {
        *l = (struct upgrade_local){.call = 0};
        STR_COPY(l->op, op);
    }
    if (l->report != REPORT_NONE)
        report_propose(&l->reports, &s, l->report, l->output, now_ms, env);
    if (is_over(s.report) || is_over(l->report) || l->call != 0 || now_ms < l->next_call_ms)
        return;
    bool cancels = step_is_unwanted(&r, &s) && !l->too_late;
    call(l, cancels ? HOOK_CANCEL : l->accepted ? HOOK_POLL : HOOK_START, &r, &s, now_ms, env);
}

static void take(struct upgrade_local *l, const struct hook_outcome *o)
{
    if (l->verb == HOOK_CANCEL && o->state == HOOK_FAILED)
        l->too_late = true;
    else if (l->verb == HOOK_CANCEL && o->state == HOOK_DONE)
        l->report = REPORT_CANCELLED;
    else if (o->state == HOOK_FAILED)
        l->report = REPORT_FAILED;
    else if (l->verb == HOOK_POLL && o->state == HOOK_DONE)
        l->report = REPORT_DONE;
    else
        l->report = REPORT_RUNNING;
    l->accepted = l->accepted || l->verb == HOOK_START;
}

bool upgrade_local_outcome(struct upgrade_local *l, int64_t now_ms, uint64_t id, const struct hook_outcome *o,
                           const struct upgrade_env *env)
{
    if (id == 0 || id != l->call)
        return false;
    l->call = 0;
    l->errors = o->error.code ? l->errors + 1 : 0;
    l->next_call_ms = now_ms + upgrade_backoff_ms(l->errors);
    report_condense(o->output, l->output);
    if (o->error.code) {
        STR_COPY(l->output, o->error.text);
        log_warn(env->log, "%s of %s could not be run: %s -> again", hook_verb_name(l->verb), l->op, o->error.text);
        l->report = REPORT_RUNNING;
        return true;
    }
    take(l, o);
    if (is_over(l->report))
        log_notice(env->log, "%s of %s ended with %d: %s -> reported", hook_verb_name(l->verb), l->op, (int)o->state,
                   o->output);
    return true;
}
