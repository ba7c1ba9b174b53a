/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The leader's step: read the run and its step, look at the view, do the next thing. Level-triggered: what is asked of
 * other rooms is asked again until it is seen, and a new leader starts from the rows alone. At most one move of a run
 * is proposed at a time (one key per run), and a move that comes too late is refused where it is applied.
 *
 * The executor, for one operation id:
 *
 *        no token: have one made              accepted               running: after UPGRADE_POLL_MS
 *   ──> TOKEN ───────────────────> START ──────────────────> POLL <───────────────────────────────┐
 *                                   │  ^                      ├───────────────────────────────────┘
 *            refused, could not be  └──┘                      ├─ done ──> awaiting-rejoin
 *            run: back-off, same id                           └─ failed ─> next attempt with a new id, or failed
 *
 * START is called once per leader and id: the same id again has no second effect (upgrade/port.h). Only POLL's verdict
 * "failed" makes a new id: an operation that may still run is never begun a second time under another name. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/text.h"
#include "upgrade/level.h"
#include "upgrade/run-entry.h"

enum {
    ASK_MS = 1000,                                        /* between two requests of the same thing */
    TOKEN_VALID_MS = 2 * (int)UPGRADE_REBUILD_DEADLINE_MS /* outlives the rebuild's deadline */
};

/* How long one thing has been waited for. */
struct watch {
    struct uuid run;
    uint64_t run_seq;
    uint32_t position, attempt;
    int what;
    int64_t watched_ms, last_ms;
    bool used; /* in this step */
};

struct upgrade_leader {
    uint64_t call; /* hook call under way; 0: none */
    enum hook_verb call_verb;
    char call_op[HOOK_OP_ID_MAX];
    /* What is known of operation op. */
    char op[HOOK_OP_ID_MAX];
    uint64_t op_run_seq; /* of the run's row then: a retry forgets what went wrong, not what was accepted */
    bool accepted;
    enum { VERDICT_NONE, VERDICT_DONE, VERDICT_FAILED } verdict;
    unsigned errors, refusals; /* one after the other */
    int64_t next_call_ms;
    char output[JOURNAL_TEXT_MAX]; /* of the last call that was not as wished */

    struct watch watch;
    char waiting[JOURNAL_TEXT_MAX], waited[JOURNAL_TEXT_MAX]; /* in this step, and in the one before */
    char said[128];                                           /* the last move that was logged */
    char asked[128];                                          /* the last request, and when it may be repeated */
    int64_t ask_again_ms;
};

/* One step's inputs. */
struct lead {
    struct upgrade_leader *l;
    const struct tables *t;
    const struct upgrade_view *v;
    int64_t now_ms;
    const struct upgrade_env *env;
    const struct run *r;
    const struct step *s;         /* NULL: none is left */
    const struct upgrade_node *n; /* s's node; NULL: there is none */
};

struct upgrade_leader *upgrade_leader_new(void)
{
    return xcalloc(1, sizeof(struct upgrade_leader));
}

void upgrade_leader_free(struct upgrade_leader *l)
{
    free(l);
}

const char *upgrade_leader_waiting(const struct upgrade_leader *l)
{
    return l->waiting[0] ? l->waiting : NULL;
}

/* ---- proposals and requests ---------------------------------------------------------------------------------- */

/* Logs a move once, though it is proposed until it is applied. */
static void say(const struct lead *c, const char *who, uint64_t seq, const char *fact, const char *state)
{
    char id[sizeof(c->l->said)];
    snprintf(id, sizeof(id), "%s/%llu/%s", who, (unsigned long long)seq, state);
    if (str_eq(id, c->l->said))
        return;
    STR_COPY(c->l->said, id);
    log_notice(c->env->log, "%s: %s -> %s", who, fact, state);
}

static void propose(const struct lead *c, enum entry_kind kind, struct buf *b)
{
    char key[UUID_STR_SIZE + 16];
    snprintf(key, sizeof(key), "upgrade-%s", uuid_str(&c->r->id).s);
    c->env->propose(c->env->ctx, kind, b, key);
}

static void move_run(const struct lead *c, enum run_state state, const char *fact, const struct error *why)
{
    struct run_move m = {.run = c->r->id, .seq = c->r->seq, .state = state};
    struct buf b = {0};
    assert(run_state_may(c->r->state, state));
    if (why) {
        STR_COPY(m.error, why->text);
        STR_COPY(m.remedy, why->remedy);
    }
    say(c, "run", c->r->seq, fact, run_state_name(state));
    run_move_encode(&m, &b);
    propose(c, ENTRY_RUN_MOVE, &b);
}

static struct step_move step_move_to(const struct lead *c, enum step_state state)
{
    assert(step_state_may(c->s->state, state));
    return (struct step_move){.run = c->r->id,
                              .run_seq = c->r->seq,
                              .position = c->s->position,
                              .seq = c->s->seq,
                              .state = state,
                              .attempt = c->s->attempt};
}

static void propose_step(const struct lead *c, const struct step_move *m, const char *fact)
{
    struct buf b = {0};
    say(c, c->s->node, c->s->seq, fact, step_state_name(m->state));
    step_move_encode(m, &b);
    propose(c, ENTRY_STEP_MOVE, &b);
}

static void move_step(const struct lead *c, enum step_state state, const char *fact)
{
    struct step_move m = step_move_to(c, state);
    propose_step(c, &m, fact);
}

static void fail_step(const struct lead *c, bool hook_failed, const char *remedy, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void fail_step(const struct lead *c, bool hook_failed, const char *remedy, const char *fmt, ...)
{
    struct step_move m = step_move_to(c, STEP_FAILED);
    va_list ap;
    va_start(ap, fmt);
    text_vformat(m.detail, sizeof(m.detail), fmt, ap);
    va_end(ap);
    STR_COPY(m.remedy, remedy);
    m.hook_failed = hook_failed;
    propose_step(c, &m, m.detail);
}

/* May this be asked of another room now? At once the first time, then every ASK_MS: an answer needs a commit, and a
 * request that was refused must not be made again at the speed of the log. */
static bool may_ask(const struct lead *c, const char *what)
{
    char id[sizeof(c->l->asked)];
    snprintf(id, sizeof(id), "%s/%s/%llu", what, c->s->node, (unsigned long long)c->s->seq);
    if (str_eq(id, c->l->asked) && c->now_ms < c->l->ask_again_ms)
        return false;
    STR_COPY(c->l->asked, id);
    c->l->ask_again_ms = c->now_ms + ASK_MS;
    return true;
}

/* ---- waiting and deadlines ----------------------------------------------------------------------------------- */

static void wait_for(const struct lead *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void wait_for(const struct lead *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    text_vformat(c->l->waiting, sizeof(c->l->waiting), fmt, ap);
    va_end(ap);
}

/* Has `what` been waited for as long as that, in steps one after the other that all waited for it? */
static bool is_overdue(const struct lead *c, int what, int64_t deadline_ms)
{
    struct watch *w = &c->l->watch;
    uint32_t position = c->s ? c->s->position : 0, attempt = c->s ? c->s->attempt : 0;
    bool same = uuid_eq(&w->run, &c->r->id) && w->run_seq == c->r->seq && w->position == position &&
                w->attempt == attempt && w->what == what;
    if (!same)
        *w = (struct watch){
            .run = c->r->id, .run_seq = c->r->seq, .position = position, .attempt = attempt, .what = what};
    else if (w->last_ms > 0 && c->now_ms > w->last_ms)
        w->watched_ms += c->now_ms - w->last_ms;
    w->last_ms = c->now_ms;
    w->used = true;
    return w->watched_ms >= deadline_ms;
}

/* What is_overdue counts apart: a state, or an obstacle met in it. Rebuilding and the rejoin after it are one. */
enum { WATCH_OBSTACLE = 100, WATCH_PRECHECK = 200 };

/* Something is in the way that may go by itself: an agent that systemd restarts, a node that catches up. */
static bool is_blocked(const struct lead *c)
{
    struct error why;
    if (!upgrade_step_obstacle(c->v, c->s->node, &why))
        return false;
    wait_for(c, "%s", why.text);
    if (!is_overdue(c, WATCH_OBSTACLE + (int)c->s->state, UPGRADE_VERIFY_DEADLINE_MS))
        return true;
    if (c->s->state == STEP_PENDING)
        move_run(c, RUN_PAUSED_ERROR, why.text, &why);
    else
        fail_step(c, false, why.remedy, "%s", why.text);
    return true;
}

/* ---- the executor -------------------------------------------------------------------------------------------- */

static void know_op(struct upgrade_leader *l, const char *op, uint64_t run_seq)
{
    bool same = str_eq(l->op, op);
    if (same && l->op_run_seq == run_seq)
        return;
    STR_COPY(l->op, op);
    l->op_run_seq = run_seq;
    if (!same) {
        l->accepted = false;
        l->verdict = VERDICT_NONE;
    }
    l->errors = l->refusals = 0;
    l->next_call_ms = 0;
    l->output[0] = '\0';
}

static void call_hook(const struct lead *c, enum hook_verb verb)
{
    struct upgrade_leader *l = c->l;
    struct hook_call call = {.verb = verb, .timeout_ms = UPGRADE_HOOK_TIMEOUT_MS};
    STR_COPY(call.op_id, l->op);
    STR_COPY(call.node, c->s->node);
    STR_COPY(call.address, c->n->address);
    STR_COPY(call.target, c->r->target);
    if (verb == HOOK_START)
        log_notice(c->env->log, "%s: rebuild to %s not begun by this leader -> start %s", c->s->node, c->r->target,
                   l->op);
    STR_COPY(l->call_op, l->op);
    l->call_verb = verb;
    l->call = c->env->hook(c->env->ctx, &call, l->op);
    if (l->call == 0)
        l->next_call_ms = c->now_ms + UPGRADE_POLL_MS;
}

/* The next call for the operation, if it is time for one and none is under way. */
static void drive_executor(const struct lead *c)
{
    struct upgrade_leader *l = c->l;
    if (l->call != 0 || c->now_ms < l->next_call_ms)
        return;
    if (l->accepted) {
        call_hook(c, HOOK_POLL);
    } else if (c->v->has_token(c->v->ctx, l->op)) {
        call_hook(c, HOOK_START);
    } else {
        wait_for(c, "a join token for %s is being made", c->s->node);
        if (may_ask(c, "token"))
            c->env->make_token(c->env->ctx, c->s->node, l->op, TOKEN_VALID_MS);
    }
}

static int64_t backoff_ms(unsigned failures)
{
    int64_t ms = UPGRADE_POLL_MS;
    for (unsigned i = 1; i < failures && ms < UPGRADE_BACKOFF_MAX_MS; i++)
        ms *= 2;
    return ms < UPGRADE_BACKOFF_MAX_MS ? ms : UPGRADE_BACKOFF_MAX_MS;
}

static void start_outcome(struct upgrade_leader *l, const struct hook_outcome *o)
{
    if (o->state == HOOK_FAILED) {
        l->refusals++;
        return;
    }
    l->accepted = true;
    l->refusals = 0;
}

static void poll_outcome(struct upgrade_leader *l, const struct hook_outcome *o)
{
    if (o->state == HOOK_DONE)
        l->verdict = VERDICT_DONE;
    else if (o->state == HOOK_FAILED)
        l->verdict = VERDICT_FAILED;
}

bool upgrade_leader_outcome(struct upgrade_leader *l, const struct tables *t, int64_t now_ms, int64_t wall_ms,
                            uint64_t id, const struct hook_outcome *o, const struct upgrade_env *env)
{
    (void)t;
    (void)wall_ms;
    if (id == 0 || id != l->call)
        return false;
    l->call = 0;
    if (!str_eq(l->call_op, l->op))
        return true; /* of an attempt that is history */
    bool failed = o->error.code != 0 || o->state == HOOK_FAILED;
    const char *verb = l->call_verb == HOOK_START ? "start" : "poll";
    if (failed)
        STR_COPY(l->output, o->error.code != 0 ? o->error.text : o->output);
    if (o->error.code != 0) {
        l->errors++;
        log_warn(env->log, "executor's %s of %s could not be run: %s -> again", verb, l->op, l->output);
    } else {
        l->errors = 0;
        if (l->call_verb == HOOK_START)
            start_outcome(l, o);
        else
            poll_outcome(l, o);
        if (failed)
            log_warn(env->log, "executor's %s of %s says failed: %s", verb, l->op, l->output);
    }
    unsigned failures = l->errors > 0 ? l->errors : l->refusals;
    l->next_call_ms = now_ms + (failures > 0 ? backoff_ms(failures) : l->call_verb == HOOK_START ? 0 : UPGRADE_POLL_MS);
    return true;
}

/* ---- the states ---------------------------------------------------------------------------------------------- */

static const char RETRY[] = "clusterctl upgrade retry";

/* The node came back: another replica is in its slot than the one that was evicted. */
static bool has_rejoined(const struct lead *c)
{
    return c->n && !uuid_is_nil(&c->n->replica) && !uuid_eq(&c->n->replica, &c->s->replica_before);
}

static bool is_on_target(const struct lead *c)
{
    return c->n && c->n->present && c->n->ready && c->n->state == UNODE_ACTIVE && str_eq(c->n->release, c->r->target);
}

static void step_pending(const struct lead *c)
{
    if (is_on_target(c)) {
        move_step(c, STEP_SKIPPED, "runs the target already");
        return;
    }
    if (is_blocked(c))
        return;
    if (!c->n->present) {
        /* It can be replaced all the same, but what it runs cannot be moved, and nobody knows why it is away. */
        struct error why = {0};
        error_set(&why, ERR_CONDITION, "%s is not present", c->s->node);
        error_set_remedy(&why, "start %s, then clusterctl upgrade retry", c->s->node);
        wait_for(c, "%s", why.text);
        if (is_overdue(c, STEP_PENDING, UPGRADE_VERIFY_DEADLINE_MS))
            move_run(c, RUN_PAUSED_ERROR, why.text, &why);
        return;
    }
    move_step(c, STEP_DRAINING, "every other node is there and a majority without it");
}

static void step_draining(const struct lead *c)
{
    if (!c->n) {
        is_blocked(c);
        return;
    }
    if (c->n->state == UNODE_PAUSED && c->n->vms_running == 0) {
        move_step(c, STEP_DRAINED, "paused and no virtual machine runs");
    } else if (c->n->drain_blocked.code != 0) {
        const struct error *why = &c->n->drain_blocked;
        char remedy[JOURNAL_TEXT_MAX];
        snprintf(remedy, sizeof(remedy), "%.200s%s%s", why->remedy, why->remedy[0] ? ", then " : "", RETRY);
        fail_step(c, false, remedy, "%s", why->text);
    } else if (c->n->state == UNODE_ACTIVE) {
        if (may_ask(c, "drain"))
            c->env->node_drain(c->env->ctx, c->s->node);
    } else {
        wait_for(c, "%s drains: %u virtual machines are left", c->s->node, c->n->vms_running);
    }
}

static void step_drained(const struct lead *c)
{
    if (c->n && (c->n->state == UNODE_ACTIVE || c->n->vms_running > 0)) {
        move_step(c, STEP_DRAINING, "takes virtual machines again");
        return;
    }
    if (is_blocked(c)) /* the last look before the node is taken out */
        return;
    if (c->n->is_leader) {
        wait_for(c, "%s leads and hands over", c->s->node);
        if (is_overdue(c, STEP_DRAINED, UPGRADE_VERIFY_DEADLINE_MS))
            fail_step(c, false, RETRY, "%s could hand over to no other node", c->s->node);
        else if (may_ask(c, "transfer"))
            c->env->transfer(c->env->ctx);
        return;
    }
    struct step_move m = step_move_to(c, STEP_EVICTING);
    m.replica_before = c->n->replica;
    propose_step(c, &m, "empty, and another node leads");
}

static void step_evicting(const struct lead *c)
{
    if (has_rejoined(c) || (c->n && c->n->state == UNODE_ABSENT)) {
        move_step(c, STEP_REBUILDING, "its replica is out");
    } else if (!c->n) {
        is_blocked(c);
    } else if (c->n->is_leader) {
        if (may_ask(c, "transfer"))
            c->env->transfer(c->env->ctx);
    } else {
        wait_for(c, "%s is being evicted", c->s->node);
        if (c->n->state != UNODE_EVICTING && may_ask(c, "evict"))
            c->env->node_evict(c->env->ctx, c->s->node);
    }
}

/* The executor said itself that this attempt failed: its effect is over, another one may begin. */
static void rebuild_failed(const struct lead *c)
{
    if (c->s->attempt < UPGRADE_REBUILD_ATTEMPTS_MAX) {
        struct step_move m = step_move_to(c, STEP_REBUILDING);
        m.attempt++;
        snprintf(m.detail, sizeof(m.detail), "attempt %u failed: %.200s", c->s->attempt, c->l->output);
        propose_step(c, &m, m.detail);
    } else {
        fail_step(c, true, RETRY, "rebuild of %s failed: %s", c->s->node, c->l->output);
    }
}

static void rebuild_overdue(const struct lead *c)
{
    char remedy[JOURNAL_TEXT_MAX];
    snprintf(remedy, sizeof(remedy), "look at the console of %s, join it by clusterctl node join, then %s", c->s->node,
             RETRY);
    fail_step(c, false, remedy, "NODE_NOT_REJOINED: %s did not rejoin within %d minutes%s%s", c->s->node,
              UPGRADE_REBUILD_DEADLINE_MS / 60000, c->l->output[0] ? "; the executor's last word: " : "", c->l->output);
}

static void step_rebuilding(const struct lead *c)
{
    char op[HOOK_OP_ID_MAX];
    step_op_id(c->s, op);
    know_op(c->l, op, c->r->seq);
    if (has_rejoined(c)) {
        move_step(c, STEP_AWAITING_REJOIN, "another replica is in its slot");
    } else if (!c->n) {
        is_blocked(c);
    } else if (c->l->verdict == VERDICT_DONE) {
        move_step(c, STEP_AWAITING_REJOIN, "the executor is done");
    } else if (c->l->verdict == VERDICT_FAILED) {
        rebuild_failed(c);
    } else if (c->l->refusals >= UPGRADE_REFUSALS_MAX) {
        fail_step(c, false, RETRY, "the executor refuses to rebuild %s: %s", c->s->node, c->l->output);
    } else if (is_overdue(c, STEP_REBUILDING, UPGRADE_REBUILD_DEADLINE_MS)) {
        rebuild_overdue(c);
    } else {
        wait_for(c, "%s is being rebuilt%s%s", c->s->node, c->l->output[0] ? ": " : "", c->l->output);
        drive_executor(c);
    }
}

static void step_awaiting_rejoin(const struct lead *c)
{
    if (has_rejoined(c))
        move_step(c, STEP_JOINING, "a new replica is in its slot");
    else if (is_overdue(c, STEP_REBUILDING, UPGRADE_REBUILD_DEADLINE_MS)) /* one deadline for both */
        rebuild_overdue(c);
    else
        wait_for(c, "%s is to join again", c->s->node);
}

static void step_joining(const struct lead *c)
{
    bool is_admitted = c->n && (c->n->voter || c->n->state != UNODE_JOINING); /* by hand it may have no vote */
    if (is_admitted && c->n->present && c->n->caught_up)
        move_step(c, STEP_VERIFYING, "present, caught up and has its vote");
    else if (is_overdue(c, STEP_JOINING, UPGRADE_VERIFY_DEADLINE_MS))
        fail_step(c, false, RETRY, "%s joined, but did not catch up within %d minutes", c->s->node,
                  UPGRADE_VERIFY_DEADLINE_MS / 60000);
    else
        wait_for(c, "%s is catching up", c->s->node);
}

static void step_verifying(const struct lead *c)
{
    const struct upgrade_node *n = c->n;
    bool ready = n && n->present && n->ready;
    if (ready && c->r->state == RUN_ABORTING)
        move_step(c, STEP_FAILBACK, "is back, whatever it runs");
    else if (ready && !str_eq(n->release, c->r->target))
        fail_step(c, false, "correct the executor's image, then clusterctl upgrade abort and start again",
                  "%s came back with %s instead of %s", c->s->node, n->release[0] ? n->release : "an unknown release",
                  c->r->target);
    else if (ready && n->native_level < level_of_release(c->r->target))
        fail_step(c, false, "install the target's QEMU and libvirt there, then clusterctl upgrade retry",
                  "%s runs %s, but its QEMU and libvirt are of level %u, not %u", c->s->node, n->release,
                  n->native_level, level_of_release(c->r->target));
    else if (ready)
        move_step(c, STEP_FAILBACK, "runs the target and is ready");
    else if (is_overdue(c, STEP_VERIFYING, UPGRADE_VERIFY_DEADLINE_MS))
        fail_step(c, false, RETRY, "%s joined, but was not ready within %d minutes", c->s->node,
                  UPGRADE_VERIFY_DEADLINE_MS / 60000);
    else
        wait_for(c, "%s is not ready yet", c->s->node);
}

/* Asks for the node's return until it is active and its virtual machines are home. */
static bool is_home(const struct lead *c)
{
    if (!c->n)
        return true;
    if (c->n->state == UNODE_ACTIVE && c->n->vms_home)
        return true;
    wait_for(c, "virtual machines go home to %s", c->s->node);
    bool can = c->n->state == UNODE_ACTIVE || c->n->state == UNODE_PAUSED || c->n->state == UNODE_DRAINING;
    if (can && may_ask(c, "resume"))
        c->env->node_resume(c->env->ctx, c->s->node);
    return false;
}

static void step_failback(const struct lead *c)
{
    if (is_home(c))
        move_step(c, STEP_DONE, "active and its virtual machines are home");
}

static void lead_step(const struct lead *c)
{
    switch (c->s->state) {
    case STEP_PENDING: step_pending(c); break;
    case STEP_DRAINING: step_draining(c); break;
    case STEP_DRAINED: step_drained(c); break;
    case STEP_EVICTING: step_evicting(c); break;
    case STEP_REBUILDING: step_rebuilding(c); break;
    case STEP_AWAITING_REJOIN: step_awaiting_rejoin(c); break;
    case STEP_JOINING: step_joining(c); break;
    case STEP_VERIFYING: step_verifying(c); break;
    case STEP_FAILBACK: step_failback(c); break;
    case STEP_DONE:
    case STEP_FAILED:
    case STEP_SKIPPED: break;
    }
}

/* ---- the run ------------------------------------------------------------------------------------------------- */

/* What a check found that goes by itself, most likely: the run waits for it before it asks for an admin. */
static bool is_passing(const char *check)
{
    return str_eq(check, "members") || str_eq(check, "quorum");
}

static void lead_prechecking(const struct lead *c)
{
    AUTO(json_freep) struct json *findings = NULL;
    struct error why = {0};
    upgrade_check_for(c->t, c->v, c->r->target, &c->r->id, &findings);
    const char *check = upgrade_finding_first(findings, "fail", &why);
    if (!check) {
        move_run(c, RUN_RUNNING, "no check failed", NULL);
        return;
    }
    wait_for(c, "%s", why.text);
    if (is_passing(check) && !is_overdue(c, WATCH_PRECHECK, UPGRADE_VERIFY_DEADLINE_MS))
        return;
    move_run(c, RUN_PAUSED_ERROR, why.text, &why);
}

static void lead_running(const struct lead *c)
{
    if (c->s)
        lead_step(c);
    else if (c->v->fl < level_of_release(c->r->target))
        move_run(c, RUN_AWAITING_RAISE, "every node is upgraded, the functional level is not", NULL);
    else
        move_run(c, RUN_DONE, "every node is upgraded", NULL);
}

/* What is owed is given back first: a node in maintenance is resumed, one that is out must come back. */
static void lead_aborting(const struct lead *c)
{
    if (!c->s || c->s->state == STEP_PENDING)
        move_run(c, RUN_CANCELLED, "no node is out", NULL);
    else if (c->s->state != STEP_DRAINING && c->s->state != STEP_DRAINED)
        lead_step(c);
    else if (is_home(c))
        move_step(c, STEP_SKIPPED, "active again and its virtual machines are home");
}

static void lead(const struct lead *c)
{
    switch (c->r->state) {
    case RUN_PLANNED: move_run(c, RUN_PRECHECKING, "planned", NULL); break;
    case RUN_PRECHECKING: lead_prechecking(c); break;
    case RUN_RUNNING: lead_running(c); break;
    case RUN_ABORTING: lead_aborting(c); break;
    case RUN_PAUSED:
    case RUN_PAUSED_ERROR:
    case RUN_ROLLING_BACK:
    case RUN_AWAITING_RAISE:
    case RUN_DONE:
    case RUN_CANCELLED: break;
    }
}

void upgrade_leader_step(struct upgrade_leader *l, const struct tables *t, const struct upgrade_view *v, int64_t now_ms,
                         int64_t wall_ms, const struct upgrade_env *env)
{
    struct run r;
    struct step s;
    (void)wall_ms; /* deadlines count watched time; times in rows come from the entries */
    STR_COPY(l->waited, l->waiting);
    l->waiting[0] = '\0';
    l->watch.used = false;
    bool is_led = v->quorate && run_current(t, &r) == 0;
    if (is_led) {
        struct lead c = {.l = l, .t = t, .v = v, .now_ms = now_ms, .env = env, .r = &r};
        if (step_current(t, &r, &s) == 0) {
            c.s = &s;
            c.n = upgrade_view_find(v, s.node);
        }
        lead(&c);
    }
    if (!v->quorate)
        l->watch.last_ms = 0; /* this time does not count, what was watched before does */
    else if (!l->watch.used)
        l->watch = (struct watch){.what = 0};
    if (l->waiting[0] && !str_eq(l->waiting, l->waited))
        log_info(env->log, "%s -> wait", l->waiting);
}
