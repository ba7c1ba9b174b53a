/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The leader's step: read the run and its steps, look at the view, do the next thing. Level-triggered: what is asked of
 * other rooms is asked again until it is seen, and a new leader starts from the rows alone. At most one move of a step
 * is proposed at a time (one key for each), and a move that comes too late is refused where it is applied.
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
 * "failed" makes a new id: an operation that may still run is never begun a second time under another name.
 *
 * Once the run was given up: CANCEL, until it says that it is, or that it is too late for that (upgrade/port.h). What
 * the executor prints goes into the step's row and the journal (report.c). A node that is upgraded in place calls its
 * executor itself (in-place.c), the leader only reads what it reports. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/text.h"
#include "upgrade/level.h"
#include "upgrade/run-entry.h"

enum { ASK_MS = 1000 /* between two requests of the same thing */ };

/* How long one thing has been waited for. */
struct watch {
    uint64_t run_seq;
    uint32_t attempt;
    int what;
    uint64_t progress;
    int64_t watched_ms, last_ms;
    bool used; /* in this step */
};

/* What the leader remembers of one step, or of the run. */
struct lane {
    struct lane *next;
    struct uuid run;
    uint32_t position;
    uint64_t call; /* hook call under way; 0: none */
    enum hook_verb call_verb;
    char call_op[HOOK_OP_ID_MAX];
    /* What is known of operation op. */
    char op[HOOK_OP_ID_MAX];
    uint64_t op_run_seq; /* of the run's row then: a retry forgets what went wrong, not what was accepted */
    bool accepted, too_late;
    enum { VERDICT_NONE, VERDICT_DONE, VERDICT_FAILED, VERDICT_CANCELLED } verdict;
    unsigned errors, refusals; /* one after the other */
    int64_t next_call_ms;
    char output[JOURNAL_TEXT_MAX]; /* of the last call that was not as wished */
    char printed[JOURNAL_TEXT_MAX]; /* of the last call, condensed */
    struct report_state reports;

    struct watch watch;
    char said[128];  /* the last move that was logged */
    char asked[128]; /* the last request, and when it may be repeated */
    int64_t ask_again_ms;
    struct error stuck; /* what was found last; code 0: nothing */
    int64_t stuck_until_ms;
    uint64_t moving_seq; /* of the step, when its canary was seen on its way */
};

static const uint32_t RUN_LANE = UINT32_MAX; /* of the run itself, as a position */

struct upgrade_leader {
    struct lane *lanes;
    char waiting[JOURNAL_TEXT_MAX], waited[JOURNAL_TEXT_MAX]; /* in this step, and in the one before */
};

/* One step's inputs. */
struct lead {
    struct upgrade_leader *l;
    const struct tables *t;
    const struct upgrade_view *v;
    int64_t now_ms;
    const struct upgrade_env *env;
    const struct run *r;
    struct lane *lane;
    const struct step *s;         /* NULL: of the run */
    const struct upgrade_node *n; /* s's node; NULL: there is none */
    const char *const *others;    /* nodes of the other steps that are under way */
    size_t n_others;
};

struct upgrade_leader *upgrade_leader_new(void)
{
    return xcalloc(1, sizeof(struct upgrade_leader));
}

void upgrade_leader_free(struct upgrade_leader *l)
{
    for (struct lane *lane = l ? l->lanes : NULL, *next; lane; lane = next) {
        next = lane->next;
        free(lane);
    }
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
    char id[sizeof(c->lane->said)];
    snprintf(id, sizeof(id), "%s/%llu/%s", who, (unsigned long long)seq, state);
    if (str_eq(id, c->lane->said))
        return;
    STR_COPY(c->lane->said, id);
    log_notice(c->env->log, "%s: %s -> %s", who, fact, state);
}

static void propose(const struct lead *c, enum entry_kind kind, struct buf *b)
{
    char key[UUID_STR_SIZE + 32];
    if (c->s)
        snprintf(key, sizeof(key), "upgrade-%s-%03u", uuid_str(&c->r->id).s, c->s->position);
    else
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
                              .canary = c->s->canary,
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

/* A VM's policy wants it so. */
static void leave_out(const struct lead *c)
{
    struct step_move m = step_move_to(c, STEP_SKIPPED);
    m.left_out = true;
    STR_COPY(m.detail, c->n->drain_skip.text);
    propose_step(c, &m, m.detail);
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
    char id[sizeof(c->lane->asked)];
    snprintf(id, sizeof(id), "%s/%llu", what, (unsigned long long)c->s->seq);
    if (str_eq(id, c->lane->asked) && c->now_ms < c->lane->ask_again_ms)
        return false;
    STR_COPY(c->lane->asked, id);
    c->lane->ask_again_ms = c->now_ms + ASK_MS;
    return true;
}

static const char RETRY[] = "clusterctl upgrade retry";

/* ---- settings ------------------------------------------------------------------------------------------------ */

static int64_t rebuild_ms(const struct lead *c)
{
    return c->v->rebuild_ms > 0 ? c->v->rebuild_ms : UPGRADE_REBUILD_DEADLINE_MS;
}

static int64_t verify_ms(const struct lead *c)
{
    return c->v->verify_ms > 0 ? c->v->verify_ms : UPGRADE_VERIFY_DEADLINE_MS;
}

static int minutes(int64_t ms)
{
    return (int)(ms / 60000);
}

/* ---- waiting and deadlines ----------------------------------------------------------------------------------- */

static void wait_for(const struct lead *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void wait_for(const struct lead *c, const char *fmt, ...)
{
    char *all = c->l->waiting;
    size_t len = strlen(all), size = sizeof(c->l->waiting);
    va_list ap;
    if (len > 0 && len + sizeof("; ") < size) /* another step waits, too */
        len += (size_t)snprintf(all + len, size - len, "; ");
    va_start(ap, fmt);
    text_vformat(all + len, size - len, fmt, ap);
    va_end(ap);
}

/* Has `what` been waited for as long as that, without any change of `progress`, in steps one after the other that all
 * waited for it? */
static bool is_stalled(const struct lead *c, int what, uint64_t progress, int64_t deadline_ms)
{
    struct watch *w = &c->lane->watch;
    uint32_t attempt = c->s ? c->s->attempt : 0;
    bool same = w->run_seq == c->r->seq && w->attempt == attempt && w->what == what && w->progress == progress;
    if (!same)
        *w = (struct watch){.run_seq = c->r->seq, .attempt = attempt, .what = what, .progress = progress};
    else if (w->last_ms > 0 && c->now_ms > w->last_ms)
        w->watched_ms += c->now_ms - w->last_ms;
    w->last_ms = c->now_ms;
    w->used = true;
    return w->watched_ms >= deadline_ms;
}

static bool is_overdue(const struct lead *c, int what, int64_t deadline_ms)
{
    return is_stalled(c, what, 0, deadline_ms);
}

/* What is_stalled counts apart: a state, or an obstacle met in it. Rebuilding and the rejoin after it are one. */
enum {
    WATCH_OBSTACLE = 100,
    WATCH_PRECHECK = 200,
    WATCH_AWAY,
    WATCH_DRAIN,
    WATCH_MOVES,
    WATCH_TASK,
    WATCH_RETURN,
    WATCH_HOME,
    WATCH_CANARY_MOVE,
};

/* Asked at most every ASK_MS: it looks at every virtual machine. */
static bool is_stuck(const struct lead *c, struct error *ret)
{
    struct lane *l = c->lane;
    if (!c->v->is_stuck)
        return false;
    if (c->now_ms >= l->stuck_until_ms || l->stuck_until_ms == 0) {
        l->stuck = (struct error){0};
        if (!c->v->is_stuck(c->v->ctx, c->s->node, &l->stuck))
            l->stuck.code = 0;
        l->stuck_until_ms = c->now_ms + ASK_MS;
    }
    *ret = l->stuck;
    return l->stuck.code != 0;
}

/* A step that is not begun yet cannot fail: the run stops before it. */
static void stop_before(const struct lead *c, const struct error *why)
{
    struct lead run = *c;
    run.s = NULL;
    move_run(&run, RUN_PAUSED_ERROR, why->text, why);
}

static bool is_in_place(const struct lead *c)
{
    return c->r->executor == EXECUTOR_KIND_IN_PLACE;
}

/* Something is in the way that may go by itself: an agent that systemd restarts, a node that catches up. Of a node that
 * is not begun also: virtual machines that could go nowhere. */
static bool is_blocked(const struct lead *c)
{
    struct error why = {0};
    bool is_open = step_state_is_open(c->s->state);
    if (!upgrade_step_obstacle(c->v, c->s->node, c->others, c->n_others, c->r->max_unavailable, &why) &&
        !(is_open && is_stuck(c, &why)))
        return false;
    wait_for(c, "%s", why.text);
    if (is_open && c->n_others > 0)
        return true; /* when one of them is done it may be otherwise */
    if (!is_overdue(c, WATCH_OBSTACLE + (int)c->s->state, verify_ms(c)))
        return true;
    if (is_open)
        stop_before(c, &why);
    else
        fail_step(c, false, why.remedy, "%s", why.text);
    return true;
}

/* ---- the executor -------------------------------------------------------------------------------------------- */

static void know_op(struct lane *l, const char *op, uint64_t run_seq)
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
static void drive_executor(const struct lead *c)
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
        wait_for(c, "a join token for %s is being made", c->s->node);
        if (may_ask(c, "token"))
            c->env->make_token(c->env->ctx, c->s->node, l->op, 2 * rebuild_ms(c));
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

/* ---- the states ---------------------------------------------------------------------------------------------- */

/* The same replica, and its own program says that it is done. What the node reports of itself must be of the new boot:
 * what was said before is of the old release. */
static bool is_back_in_place(const struct lead *c)
{
    bool is_done = c->s->report == REPORT_DONE && !str_eq(c->n->boot_id, c->s->boot_before);
    return c->n->present && c->n->ready && (is_done || c->s->report == REPORT_CANCELLED);
}

/* The node came back: another replica is in its slot than the one that was there. */
static bool has_rejoined(const struct lead *c)
{
    if (!c->n || uuid_is_nil(&c->n->replica))
        return false;
    return !uuid_eq(&c->n->replica, &c->s->replica_before) || (is_in_place(c) && is_back_in_place(c));
}

static bool is_on_target(const struct lead *c)
{
    return c->n && c->n->present && c->n->ready && c->n->state == UNODE_ACTIVE && str_eq(c->n->release, c->s->target);
}

/* The run turned back while the node was on its way to the new release: it has to come, and a step back follows. */
static bool is_turned(const struct lead *c)
{
    return c->r->state == RUN_ROLLING_BACK && !c->s->back && str_eq(c->s->target, c->r->target);
}

/* Approved or not, it is looked at again before it is begun. */
static void step_open(const struct lead *c)
{
    bool is_approved = !c->r->approve_each || c->s->approved;
    if (is_on_target(c)) {
        move_step(c, STEP_SKIPPED, "runs the target already");
        return;
    }
    if (is_blocked(c))
        return;
    if (c->n->present && c->n->drain_skip.code) {
        leave_out(c);
        return;
    }
    if (!c->n->present) {
        /* It can be replaced all the same, but what it runs cannot be moved, and nobody knows why it is away. */
        struct error why = {0};
        error_set(&why, ERR_CONDITION, "%s is not present", c->s->node);
        error_set_remedy(&why, "start %s, then clusterctl upgrade retry", c->s->node);
        wait_for(c, "%s", why.text);
        if (is_overdue(c, STEP_PENDING, verify_ms(c)))
            stop_before(c, &why);
    } else if (is_approved) {
        move_step(c, STEP_DRAINING,
                  c->n_others > 0 ? "a majority is left without it"
                                  : "every other node is there and a majority without it");
    } else {
        move_step(c, STEP_AWAITING_APPROVAL, "an admin is to approve it");
    }
}

static void step_awaiting_approval(const struct lead *c)
{
    if (is_on_target(c))
        move_step(c, STEP_SKIPPED, "runs the target already");
    else
        wait_for(c, "%s is to be approved: clusterctl upgrade approve %s", c->s->node, c->s->node);
}

static void ask_for_return(const struct lead *c, bool failback)
{
    bool can = c->n->state == UNODE_ACTIVE || c->n->state == UNODE_PAUSED || c->n->state == UNODE_DRAINING;
    if (can && may_ask(c, failback ? "failback" : "resume"))
        c->env->node_resume(c->env->ctx, c->s->node, failback);
}

/* Fails for what another room says, by that room's remedy. */
static void fail_for(const struct lead *c, const struct error *why)
{
    char remedy[JOURNAL_TEXT_MAX];
    snprintf(remedy, sizeof(remedy), "%.200s%s%s", why->remedy, why->remedy[0] ? ", then " : "", RETRY);
    fail_step(c, false, remedy, "%s", why->text);
}

/* It could be resumed for long, and is not active. */
static void fail_return(const struct lead *c)
{
    char remedy[JOURNAL_TEXT_MAX];
    if (c->n->state == UNODE_ABSENT || c->n->state == UNODE_EVICTING)
        snprintf(remedy, sizeof(remedy), "%s was evicted: clusterctl node join on it, then %s", c->s->node, RETRY);
    else
        snprintf(remedy, sizeof(remedy), "clusterctl node resume %s, then %s", c->s->node, RETRY);
    fail_step(c, false, remedy, "%s did not become active again within %d minutes", c->s->node, minutes(verify_ms(c)));
}

/* Asks for the node's return until it is active, and none of its virtual machines needs to come. */
static bool is_active(const struct lead *c)
{
    if (!c->n || c->n->state == UNODE_ACTIVE)
        return true;
    wait_for(c, "%s is resumed", c->s->node);
    if (is_overdue(c, WATCH_RETURN, verify_ms(c)))
        fail_return(c);
    else
        ask_for_return(c, false);
    return false;
}

static void fail_home(const struct lead *c)
{
    char remedy[JOURNAL_TEXT_MAX];
    if (c->n->home_blocked.code) {
        fail_for(c, &c->n->home_blocked);
        return;
    }
    snprintf(remedy, sizeof(remedy), "clusterctl vm list, and vm set NAME --home NODE for one that is to stay; then %s",
             RETRY);
    fail_step(c, false, remedy, "%u virtual machines did not come home to %s, and none came for %d minutes",
              c->n->vms_away, c->s->node, minutes(UPGRADE_MOVES_DEADLINE_MS));
}

/* Asks for the node's return until it is active and its virtual machines are home. */
static bool is_home(const struct lead *c)
{
    if (!c->n || (c->n->state == UNODE_ACTIVE && c->n->vms_away == 0))
        return true;
    int64_t moves_ms = c->n->home_blocked.code ? verify_ms(c) : UPGRADE_MOVES_DEADLINE_MS;
    wait_for(c, "virtual machines go home to %s%s%s", c->s->node, c->n->home_blocked.code ? ": " : "",
             c->n->home_blocked.text);
    if (c->n->state != UNODE_ACTIVE && is_overdue(c, WATCH_RETURN, verify_ms(c)))
        fail_return(c);
    else if (c->n->state == UNODE_ACTIVE && is_stalled(c, WATCH_HOME, c->n->vms_away, moves_ms))
        fail_home(c);
    else
        ask_for_return(c, true);
    return false;
}

/* Its virtual machines leave it, or stay for long. */
static void wait_until_empty(const struct lead *c)
{
    char remedy[JOURNAL_TEXT_MAX];
    bool has_task = c->n->task[0] != '\0';
    wait_for(c, "%s drains: %u virtual machines are left%s%s%s", c->s->node, c->n->vms_running,
             has_task ? ", and task " : "", c->n->task, c->n->present ? "" : ", and it is away");
    if (!c->n->present && is_overdue(c, WATCH_AWAY, verify_ms(c))) {
        snprintf(remedy, sizeof(remedy), "start %s, then %s", c->s->node, RETRY);
        fail_step(c, false, remedy, "%s is not present, and drains", c->s->node);
    } else if (c->n->present && has_task) {
        if (!is_overdue(c, WATCH_TASK, UPGRADE_TASK_DEADLINE_MS))
            return;
        snprintf(remedy, sizeof(remedy), "clusterctl task show %s; then %s", c->n->task, RETRY);
        fail_step(c, false, remedy, "task %s does not end on %s", c->n->task, c->s->node);
    } else if (c->n->present && is_stalled(c, WATCH_MOVES, c->n->vms_running, UPGRADE_MOVES_DEADLINE_MS)) {
        snprintf(remedy, sizeof(remedy), "clusterctl vm list, and move or stop what is on %s; then %s", c->s->node,
                 RETRY);
        fail_step(c, false, remedy, "%u virtual machines are left on %s, and none left it for %d minutes",
                  c->n->vms_running, c->s->node, minutes(UPGRADE_MOVES_DEADLINE_MS));
    }
}

static void step_draining(const struct lead *c)
{
    if (!c->n) {
        is_blocked(c);
    } else if (c->n->drain_skip.code != 0 && c->n->state != UNODE_PAUSED) {
        if (is_home(c)) /* as the drain began it was not so */
            leave_out(c);
    } else if (c->n->state == UNODE_PAUSED && c->n->vms_running == 0) {
        move_step(c, STEP_DRAINED, "paused and no virtual machine runs");
    } else if (c->n->drain_blocked.code != 0) {
        fail_for(c, &c->n->drain_blocked);
    } else if (c->n->state == UNODE_DRAINING || c->n->state == UNODE_PAUSED) {
        wait_until_empty(c);
    } else if (is_overdue(c, WATCH_DRAIN, verify_ms(c))) {
        fail_step(c, false, RETRY, "%s could not be told to drain within %d minutes", c->s->node,
                  minutes(verify_ms(c)));
    } else {
        wait_for(c, "%s is to drain", c->s->node);
        if (c->n->state == UNODE_ACTIVE && may_ask(c, "drain"))
            c->env->node_drain(c->env->ctx, c->s->node);
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
        if (is_overdue(c, STEP_DRAINED, verify_ms(c)))
            fail_step(c, false, RETRY, "%s could hand over to no other node", c->s->node);
        else if (may_ask(c, "transfer"))
            c->env->transfer(c->env->ctx);
        return;
    }
    struct step_move m = step_move_to(c, is_in_place(c) ? STEP_REBUILDING : STEP_EVICTING);
    m.replica_before = c->n->replica;
    if (is_in_place(c))
        STR_COPY(m.boot_before, c->n->boot_id);
    propose_step(c, &m, "empty, and another node leads");
}

static void fail_evicting(const struct lead *c)
{
    char remedy[JOURNAL_TEXT_MAX];
    snprintf(remedy, sizeof(remedy), "clusterctl node show %s, and node list for who has caught up; then %s",
             c->s->node, RETRY);
    fail_step(c, false, remedy, "%s was not evicted within %d minutes%s", c->s->node, minutes(verify_ms(c)),
              c->n->is_leader ? ": it leads, and could hand over to no other node" : "");
}

/* It has its replica still, and was asked back into service, or given a virtual machine. */
static bool is_in_service(const struct lead *c)
{
    return c->n->state == UNODE_ACTIVE || c->n->state == UNODE_DRAINING ||
           (c->n->state == UNODE_PAUSED && c->n->vms_running > 0);
}

static void step_evicting(const struct lead *c)
{
    if (has_rejoined(c) || (c->n && c->n->state == UNODE_ABSENT)) {
        move_step(c, STEP_REBUILDING, "its replica is out");
    } else if (!c->n) {
        is_blocked(c);
    } else if (!step_is_given_up(c->r, c->s) && is_in_service(c)) {
        move_step(c, STEP_DRAINING, "takes virtual machines again");
    } else if (is_overdue(c, STEP_EVICTING, verify_ms(c))) {
        fail_evicting(c);
    } else if (c->n->is_leader) {
        wait_for(c, "%s leads and hands over", c->s->node);
        if (may_ask(c, "transfer"))
            c->env->transfer(c->env->ctx);
    } else {
        wait_for(c, "%s is being evicted", c->s->node);
        if (c->n->state != UNODE_EVICTING && may_ask(c, "evict"))
            c->env->node_evict(c->env->ctx, c->s->node);
    }
}

/* The executor said itself that this attempt failed: its effect is over, another one may begin. Where packages were
 * left half upgraded, and nobody wants them any more, an admin is to look. */
static void rebuild_failed(const struct lead *c, const char *output)
{
    if (is_in_place(c) && step_is_unwanted(c->r, c->s)) {
        char remedy[JOURNAL_TEXT_MAX];
        snprintf(remedy, sizeof(remedy), "on %s: dpkg --configure -a; then clusterctl node resume %s", c->s->node,
                 c->s->node);
        fail_step(c, true, remedy, "upgrade of %s failed: %s", c->s->node, output);
    } else if (c->s->attempt < (c->v->attempts > 0 ? c->v->attempts : UPGRADE_REBUILD_ATTEMPTS_MAX)) {
        struct step_move m = step_move_to(c, STEP_REBUILDING);
        m.attempt++;
        snprintf(m.detail, sizeof(m.detail), "attempt %u failed: %.200s", c->s->attempt, output);
        propose_step(c, &m, m.detail);
    } else {
        fail_step(c, true, RETRY, "rebuild of %s failed: %s", c->s->node, output);
    }
}

static void rebuild_overdue(const struct lead *c)
{
    const char *word = is_in_place(c) ? c->s->output : c->lane->output;
    char remedy[JOURNAL_TEXT_MAX];
    snprintf(remedy, sizeof(remedy), "look at the console of %s, %s, then %s", c->s->node,
             is_in_place(c) ? "have its agent run" : "join it by clusterctl node join", RETRY);
    fail_step(c, false, remedy, "NODE_NOT_REJOINED: %s did not rejoin within %d minutes%s%s", c->s->node,
              minutes(rebuild_ms(c)), word[0] ? "; the executor's last word: " : "", word);
}

/* Its own agent does it, and reports. */
static void step_upgraded_in_place(const struct lead *c)
{
    const char *word = c->s->output;
    if (has_rejoined(c))
        move_step(c, STEP_AWAITING_REJOIN, c->s->report == REPORT_CANCELLED ? "was not changed" : "is back");
    else if (!c->n)
        is_blocked(c);
    else if (c->s->report == REPORT_FAILED)
        rebuild_failed(c, word);
    else if (is_overdue(c, STEP_REBUILDING, rebuild_ms(c)))
        rebuild_overdue(c);
    else
        wait_for(c, "%s is upgraded in place%s%s%s", c->s->node, c->n->present ? "" : ", and away", word[0] ? ": " : "",
                 word);
}

static void rebuild_cancelled(const struct lead *c)
{
    if (c->r->state == RUN_ROLLING_BACK) {
        struct step_move again = step_move_to(c, STEP_REBUILDING);
        again.attempt++;
        snprintf(again.detail, sizeof(again.detail), "was cancelled, is rebuilt with %s", c->s->from_release);
        propose_step(c, &again, again.detail);
        return;
    }
    struct step_move m = step_move_to(c, STEP_AWAITING_REJOIN);
    if (c->s->attempt > 1)
        snprintf(m.detail, sizeof(m.detail), "its rebuild was cancelled after attempt %u failed: install it, and join "
                 "it by clusterctl node join", c->s->attempt - 1);
    else
        snprintf(m.detail, sizeof(m.detail), "its rebuild was cancelled, it runs what it ran: stop its ringmasterd, "
                 "remove its /var/lib/ringmaster, start ringmasterd, and join it by clusterctl node join");
    propose_step(c, &m, "its rebuild was cancelled");
}

static void rebuild_done(const struct lead *c)
{
    struct step_move m = step_move_to(c, STEP_AWAITING_REJOIN);
    STR_COPY(m.detail, c->lane->printed);
    propose_step(c, &m, "the executor is done");
}

static void rebuild_goes_on(const struct lead *c)
{
    const char *word = c->lane->output;
    wait_for(c, "%s is being rebuilt%s%s", c->s->node, word[0] ? ": " : "", word);
    drive_executor(c);
    if (c->lane->printed[0])
        report_propose(&c->lane->reports, c->s, REPORT_RUNNING, c->lane->printed, c->now_ms, c->env);
}

static void step_rebuilding(const struct lead *c)
{
    const struct lane *l = c->lane;
    char op[HOOK_OP_ID_MAX];
    if (is_in_place(c)) {
        step_upgraded_in_place(c);
        return;
    }
    step_op_id(c->s, op);
    know_op(c->lane, op, c->r->seq);
    if (has_rejoined(c)) {
        move_step(c, STEP_AWAITING_REJOIN, "another replica is in its slot");
    } else if (!c->n) {
        is_blocked(c);
    } else if (l->verdict == VERDICT_DONE) {
        rebuild_done(c);
    } else if (l->verdict == VERDICT_CANCELLED) {
        rebuild_cancelled(c);
    } else if (l->verdict == VERDICT_FAILED) {
        rebuild_failed(c, l->output);
    } else if (l->refusals >= UPGRADE_REFUSALS_MAX) {
        fail_step(c, false, RETRY, "the executor refuses to rebuild %s: %s", c->s->node, l->output);
    } else if (is_overdue(c, STEP_REBUILDING, rebuild_ms(c))) {
        rebuild_overdue(c);
    } else {
        rebuild_goes_on(c);
    }
}

static void step_awaiting_rejoin(const struct lead *c)
{
    if (has_rejoined(c))
        move_step(c, STEP_JOINING, is_in_place(c) ? "its replica is back" : "a new replica is in its slot");
    else if (is_overdue(c, STEP_REBUILDING, rebuild_ms(c))) /* one deadline for both */
        rebuild_overdue(c);
    else
        wait_for(c, "%s is to join again%s%s", c->s->node, c->s->detail[0] ? ": " : "", c->s->detail);
}

static void step_joining(const struct lead *c)
{
    bool is_admitted = c->n && (c->n->voter || c->n->state != UNODE_JOINING); /* by hand it may have no vote */
    if (is_admitted && c->n->present && c->n->caught_up)
        move_step(c, STEP_VERIFYING, "present, caught up and has its vote");
    else if (is_overdue(c, STEP_JOINING, verify_ms(c)))
        fail_step(c, false, RETRY, "%s joined, but did not catch up within %d minutes", c->s->node,
                  minutes(verify_ms(c)));
    else
        wait_for(c, "%s is catching up", c->s->node);
}

/* The first node that this run upgraded. */
static bool canary_is_due(const struct lead *c)
{
    if (c->r->state != RUN_RUNNING)
        return false;
    for (uint32_t i = 0; i < c->r->n_steps; i++) {
        struct step s;
        if (step_get(c->t, &c->r->id, i, &s) == 0 && (s.state == STEP_DONE || canary_is_over(s.canary.result)))
            return false;
    }
    return true;
}

static void step_verifying(const struct lead *c)
{
    const struct upgrade_node *n = c->n;
    bool ready = n && n->present && n->ready;
    if (ready && (c->r->state == RUN_ABORTING || is_turned(c)))
        move_step(c, STEP_FAILBACK, "is back, whatever it runs");
    else if (ready && !str_eq(n->release, c->s->target))
        fail_step(c, false, "correct the executor's image, then clusterctl upgrade abort and start again",
                  "%s came back with %s instead of %s", c->s->node, n->release[0] ? n->release : "an unknown release",
                  c->s->target);
    else if (ready && n->native_level < level_of_release(c->s->target))
        fail_step(c, false, "install the target's QEMU and libvirt there, then clusterctl upgrade retry",
                  "%s runs %s, but its QEMU and libvirt are of level %u, not %u", c->s->node, n->release,
                  n->native_level, level_of_release(c->s->target));
    else if (ready && canary_is_due(c))
        move_step(c, STEP_CANARY, "runs the target and is ready, as the first one");
    else if (ready)
        move_step(c, STEP_FAILBACK, "runs the target and is ready");
    else if (is_overdue(c, STEP_VERIFYING, verify_ms(c)))
        fail_step(c, false, RETRY, "%s joined, but was not ready within %d minutes", c->s->node, minutes(verify_ms(c)));
    else
        wait_for(c, "%s is not ready yet", c->s->node);
}

/* Where a canary failed no virtual machine goes, and neither to a node that goes back at once. */
static void step_failback(const struct lead *c)
{
    bool goes_back = is_turned(c) && c->n && !str_eq(c->n->release, c->s->from_release);
    if (goes_back || c->s->canary.result == CANARY_FAILED) {
        if (is_active(c))
            move_step(c, STEP_DONE, "active; its virtual machines stay where they are");
    } else if (is_home(c)) {
        move_step(c, STEP_DONE, "active and its virtual machines are home");
    }
}

/* ---- the canary ---------------------------------------------------------------------------------------------- */

enum { LEG_THERE = 1, LEG_BACK, LEG_AGAIN, LEG_HOME };

static void move_canary_on(const struct lead *c, enum step_state state, const struct canary *canary, const char *fmt,
                           ...) __attribute__((format(printf, 4, 5)));
static void move_canary_on(const struct lead *c, enum step_state state, const struct canary *canary, const char *fmt,
                           ...)
{
    struct step_move m = step_move_to(c, state);
    va_list ap;
    m.canary = *canary;
    va_start(ap, fmt);
    text_vformat(m.detail, sizeof(m.detail), fmt, ap);
    va_end(ap);
    propose_step(c, &m, m.detail);
}

static void fail_canary(const struct lead *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fail_canary(const struct lead *c, const char *fmt, ...)
{
    struct step_move m = step_move_to(c, STEP_FAILED);
    va_list ap;
    va_start(ap, fmt);
    text_vformat(m.canary.text, sizeof(m.canary.text), fmt, ap);
    va_end(ap);
    m.canary.result = CANARY_FAILED;
    snprintf(m.detail, sizeof(m.detail), "the canary failed: %.230s", m.canary.text);
    snprintf(m.remedy, sizeof(m.remedy),
             "mend what is in the way (clusterctl vm show %.64s), then clusterctl upgrade "
             "retry; or clusterctl upgrade rollback",
             c->s->canary.vm);
    propose_step(c, &m, m.detail);
}

/* Without one to try it with there is no canary, which is told and kept. */
static void begin_canary(const struct lead *c)
{
    struct canary canary = {.result = CANARY_UNDER_WAY, .leg = LEG_THERE};
    struct canary_look look = {.busy = false};
    struct error why = {0};
    if (!c->v->find_canary(c->v->ctx, c->s->node, canary.vm, &why)) {
        canary = (struct canary){.result = CANARY_SKIPPED};
        STR_COPY(canary.text, why.text);
        move_canary_on(c, STEP_FAILBACK, &canary, "no canary: %s", why.text);
    } else if (c->v->look_at_canary(c->v->ctx, canary.vm, &look)) {
        STR_COPY(canary.from, look.node);
        move_canary_on(c, STEP_CANARY, &canary, "%s goes from %s to %s", canary.vm, canary.from, c->s->node);
    }
}

/* It arrived: the next move, or the end. It ends at home, or else where it was. */
static void next_leg(const struct lead *c, const struct canary_look *look)
{
    struct canary canary = c->s->canary;
    bool is_last = canary.leg >= LEG_HOME || (canary.leg == LEG_AGAIN && str_eq(look->home, c->s->node));
    canary.result = is_last ? CANARY_PASSED : CANARY_UNDER_WAY;
    canary.text[0] = '\0';
    if (is_last) {
        move_canary_on(c, STEP_FAILBACK, &canary, "%s went there, back and there again", canary.vm);
        return;
    }
    canary.leg++;
    bool goes_there = canary.leg == LEG_AGAIN;
    move_canary_on(c, STEP_CANARY, &canary, "%s goes from %s to %s", canary.vm, goes_there ? canary.from : c->s->node,
                   goes_there ? c->s->node : canary.from);
}

static void drive_canary(const struct lead *c)
{
    const struct canary *k = &c->s->canary;
    const char *to = k->leg == LEG_THERE || k->leg == LEG_AGAIN ? c->s->node : k->from;
    struct canary_look look = {.busy = false};
    if (!c->v->look_at_canary(c->v->ctx, k->vm, &look)) {
        struct canary another = {.result = CANARY_UNDER_WAY};
        move_canary_on(c, STEP_CANARY, &another, "%s does not run any more: another one is tried", k->vm);
    } else if (look.busy) {
        c->lane->moving_seq = c->s->seq;
        wait_for(c, "canary %s is on its way to %s", k->vm, to);
        if (is_overdue(c, WATCH_CANARY_MOVE, UPGRADE_MOVES_DEADLINE_MS))
            fail_canary(c, "%s did not arrive at %s within %d minutes, and its move has no end", k->vm, to,
                        minutes(UPGRADE_MOVES_DEADLINE_MS));
    } else if (str_eq(look.node, to)) {
        next_leg(c, &look);
    } else if (c->lane->moving_seq == c->s->seq) {
        fail_canary(c, "%s did not move from %s to %s, and runs on: %s", k->vm, look.node, to,
                    look.error[0] ? look.error : "the move was cancelled");
    } else if (is_overdue(c, STEP_CANARY, verify_ms(c))) {
        fail_canary(c, "%s could not be told to move from %s to %s, and runs on", k->vm, look.node, to);
    } else {
        wait_for(c, "canary %s is to move to %s", k->vm, to);
        if (may_ask(c, "canary"))
            c->env->move_canary(c->env->ctx, k->vm, to);
    }
}

static void step_canary(const struct lead *c)
{
    if (c->r->state != RUN_RUNNING) {
        struct canary canary = c->s->canary;
        if (canary.result != CANARY_FAILED)
            canary.result = CANARY_GIVEN_UP;
        move_canary_on(c, STEP_FAILBACK, &canary, "the canary is given up");
    } else if (is_active(c)) {
        if (c->s->canary.vm[0])
            drive_canary(c);
        else
            begin_canary(c);
    }
}

static void lead_step(const struct lead *c)
{
    switch (c->s->state) {
    case STEP_PENDING: step_open(c); break;
    case STEP_AWAITING_APPROVAL: step_awaiting_approval(c); break;
    case STEP_DRAINING: step_draining(c); break;
    case STEP_DRAINED: step_drained(c); break;
    case STEP_EVICTING: step_evicting(c); break;
    case STEP_REBUILDING: step_rebuilding(c); break;
    case STEP_AWAITING_REJOIN: step_awaiting_rejoin(c); break;
    case STEP_JOINING: step_joining(c); break;
    case STEP_VERIFYING: step_verifying(c); break;
    case STEP_CANARY: step_canary(c); break;
    case STEP_FAILBACK: step_failback(c); break;
    case STEP_DONE:
    case STEP_FAILED:
    case STEP_SKIPPED:
    case STEP_STATES: break;
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
    if (is_passing(check) && !is_overdue(c, WATCH_PRECHECK, verify_ms(c)))
        return;
    move_run(c, RUN_PAUSED_ERROR, why.text, &why);
}

/* What is owed is given back first: a node in maintenance is resumed, one that is out must come back. */
static void step_given_up(const struct lead *c)
{
    bool has_replica = c->n && c->n->state != UNODE_EVICTING && uuid_eq(&c->n->replica, &c->s->replica_before);
    bool is_in =
        c->s->state == STEP_DRAINING || c->s->state == STEP_DRAINED || (c->s->state == STEP_EVICTING && has_replica);
    if (!is_in)
        lead_step(c);
    else if (is_home(c))
        move_step(c, STEP_SKIPPED, "active again and its virtual machines are home");
}

/* ---- lanes --------------------------------------------------------------------------------------------------- */

static struct lane *lane_of(struct upgrade_leader *l, const struct uuid *run, uint32_t position)
{
    struct lane *lane = l->lanes;
    while (lane && !(uuid_eq(&lane->run, run) && lane->position == position))
        lane = lane->next;
    if (!lane) {
        lane = xcalloc(1, sizeof(*lane));
        *lane = (struct lane){.next = l->lanes, .run = *run, .position = position};
        l->lanes = lane;
    }
    return lane;
}

static void lanes_begin(struct upgrade_leader *l)
{
    for (struct lane *lane = l->lanes; lane; lane = lane->next)
        lane->watch.used = false;
}

/* run: the current one, NULL: none. A call under way keeps its lane: its outcome will come. */
static void lanes_end(struct upgrade_leader *l, const struct uuid *run, bool quorate)
{
    for (struct lane **at = &l->lanes, *lane; (lane = *at) != NULL;) {
        if (!quorate)
            lane->watch.last_ms = 0; /* this time does not count, what was watched before does */
        else if (!lane->watch.used)
            lane->watch = (struct watch){.what = 0};
        if ((run && uuid_eq(&lane->run, run)) || lane->call != 0) {
            at = &lane->next;
        } else {
            *at = lane->next;
            free(lane);
        }
    }
}

/* ---- the steps of a run -------------------------------------------------------------------------------------- */

/* The nodes of steps under way. */
struct out {
    struct step steps[RUN_STEPS_MAX];
    size_t n;
};

static void lead_one(const struct lead *run, const struct out *out, const struct step *s,
                     void (*step)(const struct lead *c))
{
    const char *others[RUN_STEPS_MAX];
    struct lead c = *run;
    c.s = s;
    c.n = upgrade_view_find(c.v, s->node);
    c.lane = lane_of(c.l, &c.r->id, s->position);
    c.others = others;
    c.n_others = 0;
    for (size_t i = 0; i < out->n; i++)
        if (out->steps[i].position != s->position)
            others[c.n_others++] = out->steps[i].node;
    step(&c);
}

static struct out *find_out(const struct lead *c)
{
    struct out *out = xcalloc(1, sizeof(*out));
    for (uint32_t i = 0; i < c->r->n_steps && out->n < RUN_STEPS_MAX; i++)
        if (step_get(c->t, &c->r->id, i, &out->steps[out->n]) == 0 && step_state_is_under_way(out->steps[out->n].state))
            out->n++;
    return out;
}

/* ---- the run's states ---------------------------------------------------------------------------------------- */

/* Every step that is under way, and the next one when there is room for it. False: none is left. */
static bool lead_steps(const struct lead *c)
{
    AUTO(freep) struct out *out = find_out(c);
    struct step next, there;
    bool has_next = step_first_open(c->t, c->r, &next) == 0;
    for (size_t i = 0; i < out->n; i++) {
        lead_one(c, out, &out->steps[i], step_is_given_up(c->r, &out->steps[i]) ? step_given_up : lead_step);
    }
    bool has_come = !has_next || step_of_node(c->t, c->r, next.node, &there) < 0; /* before it goes back */
    if (has_next && has_come && out->n < run_capacity(c->t, c->r))
        lead_one(c, out, &next, lead_step);
    return has_next || out->n > 0;
}

static void lead_running(const struct lead *c)
{
    if (lead_steps(c))
        return;
    struct error partial = {0};
    bool is_partial = run_is_partial(c->t, c->r, &partial);
    if (c->v->fl < level_of_release(c->r->target))
        move_run(c, RUN_AWAITING_RAISE,
                 is_partial ? partial.text : "every node is upgraded, the functional level is not", NULL);
    else
        move_run(c, RUN_DONE, is_partial ? partial.text : "every node is upgraded", NULL);
}

static void lead_rolling_back(const struct lead *c)
{
    struct error partial = {0};
    if (!lead_steps(c))
        move_run(c, RUN_CANCELLED, run_is_partial(c->t, c->r, &partial) ? partial.text : "every node is back", NULL);
}

static void lead_aborting(const struct lead *c)
{
    AUTO(freep) struct out *out = find_out(c);
    size_t n = 0;
    for (size_t i = 0; i < out->n; i++) {
        if (out->steps[i].state == STEP_FAILED)
            continue;
        lead_one(c, out, &out->steps[i], step_given_up);
        n++;
    }
    if (n == 0)
        move_run(c, RUN_CANCELLED, "no node is out", NULL);
}

static void lead(const struct lead *c)
{
    switch (c->r->state) {
    case RUN_PLANNED: move_run(c, RUN_PRECHECKING, "planned", NULL); break;
    case RUN_PRECHECKING: lead_prechecking(c); break;
    case RUN_RUNNING: lead_running(c); break;
    case RUN_ABORTING: lead_aborting(c); break;
    case RUN_ROLLING_BACK: lead_rolling_back(c); break;
    case RUN_PAUSED:
    case RUN_PAUSED_ERROR:
    case RUN_AWAITING_RAISE:
    case RUN_DONE:
    case RUN_CANCELLED: break;
    }
}

void upgrade_leader_step(struct upgrade_leader *l, const struct tables *t, const struct upgrade_view *v, int64_t now_ms,
                         int64_t wall_ms, const struct upgrade_env *env)
{
    struct run r;
    (void)wall_ms; /* deadlines count watched time; times in rows come from the entries */
    STR_COPY(l->waited, l->waiting);
    l->waiting[0] = '\0';
    lanes_begin(l);
    bool is_there = run_current(t, &r) == 0;
    if (v->quorate && is_there) {
        struct upgrade_view view = *v;
        view.in_place = r.executor == EXECUTOR_KIND_IN_PLACE;
        struct lead c = {.l = l, .t = t, .v = &view, .now_ms = now_ms, .env = env, .r = &r};
        c.lane = lane_of(l, &r.id, RUN_LANE);
        lead(&c);
    }
    lanes_end(l, is_there ? &r.id : NULL, v->quorate);
    if (l->waiting[0] && !str_eq(l->waiting, l->waited))
        log_info(env->log, "%s -> wait", l->waiting);
}
