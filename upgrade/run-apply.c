/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the entries of a run do to its rows: the same on every node. A move names the sequence numbers that the leader
 * saw; if a row changed since, it is no move. Invariants, kept here: at most one run is not final; at most
 * max_unavailable of its steps are under way, and none before them is open; none is begun that waits for an approval; a
 * step's replica_before is set when it is evicted, and its operation id changes only when the executor said that the
 * attempt failed. */
#include <assert.h>
#include <stdio.h>

#include "upgrade/level.h"
#include "upgrade/run-entry.h"

/* ---- payloads ------------------------------------------------------------------------------------------------ */

void run_move_encode(const struct run_move *m, struct buf *b)
{
    wire_put_uuid(b, &m->run);
    wire_put_u64(b, m->seq);
    wire_put_u8(b, (uint8_t)m->state);
    wire_put_str(b, m->error);
    wire_put_str(b, m->remedy);
}

int run_move_decode(struct slice payload, struct run_move *ret)
{
    struct wire_reader w = wire_reader(payload);
    struct run_move m = {.run = wire_get_uuid(&w), .seq = wire_get_u64(&w)};
    m.state = (enum run_state)wire_get_u8(&w);
    WIRE_GET_STR(&w, m.error);
    WIRE_GET_STR(&w, m.remedy);
    if (wire_end(&w))
        return ERR_MALFORMED;
    *ret = m;
    return 0;
}

void step_move_encode(const struct step_move *m, struct buf *b)
{
    wire_put_uuid(b, &m->run);
    wire_put_u64(b, m->run_seq);
    wire_put_u32(b, m->position);
    wire_put_u64(b, m->seq);
    wire_put_u8(b, (uint8_t)m->state);
    wire_put_u32(b, m->attempt);
    wire_put_uuid(b, &m->replica_before);
    wire_put_str(b, m->boot_before);
    wire_put_u8(b, m->hook_failed);
    wire_put_u8(b, m->left_out);
    canary_encode(&m->canary, b);
    wire_put_str(b, m->detail);
    wire_put_str(b, m->remedy);
}

int step_move_decode(struct slice payload, struct step_move *ret)
{
    struct wire_reader w = wire_reader(payload);
    struct step_move m = {.run = wire_get_uuid(&w), .run_seq = wire_get_u64(&w)};
    m.position = wire_get_u32(&w);
    m.seq = wire_get_u64(&w);
    m.state = (enum step_state)wire_get_u8(&w);
    m.attempt = wire_get_u32(&w);
    m.replica_before = wire_get_uuid(&w);
    WIRE_GET_STR(&w, m.boot_before);
    m.hook_failed = wire_get_u8(&w) != 0;
    m.left_out = wire_get_u8(&w) != 0;
    m.canary = canary_decode(&w);
    WIRE_GET_STR(&w, m.detail);
    WIRE_GET_STR(&w, m.remedy);
    if (wire_end(&w) || (unsigned)m.canary.result >= CANARY_RESULTS)
        return ERR_MALFORMED;
    *ret = m;
    return 0;
}

void upgrade_entry_control(enum run_verb verb, const char *by, const char *node, struct buf *b)
{
    char who[RUN_NAME_MAX], where[RUN_NAME_MAX];
    STR_COPY(who, by);
    STR_COPY(where, node);
    wire_put_u8(b, (uint8_t)verb);
    wire_put_str(b, who);
    wire_put_str(b, where);
}

/* ---- changing rows ------------------------------------------------------------------------------------------- */

/* The one place where a run's state changes: sequence, times, job and event go with it. */
static void run_set(struct tables *t, struct run *r, enum run_state state, int64_t time_ms, const char *why)
{
    enum run_state from = r->state;
    bool ends_job = state == RUN_AWAITING_RAISE || (run_state_is_final(state) && from != RUN_AWAITING_RAISE);
    enum event_severity severity = state == RUN_PAUSED_ERROR ? EVENT_ERROR
                                   : state == RUN_CANCELLED || state == RUN_ABORTING || state == RUN_PAUSED ||
                                           state == RUN_ROLLING_BACK
                                       ? EVENT_WARNING
                                       : EVENT_INFO;
    assert(!run_state_is_final(from));
    r->state = state;
    r->seq++;
    r->changed_ms = time_ms;
    if (state == RUN_PAUSED_ERROR)
        run_note(r->errors, why);
    if (run_state_is_final(state) || state == RUN_AWAITING_RAISE)
        r->ended_ms = r->ended_ms ? r->ended_ms : time_ms;
    run_put(t, r);
    journal_event(t, time_ms, severity, uuid_str(&r->id).s, "upgrade to %s: %s -> %s%s%s", r->target,
                  run_state_name(from), run_state_name(state), why[0] ? ": " : "", why);
    if (ends_job)
        journal_job_end(t, &r->id, state == RUN_CANCELLED ? JOB_CANCELLED : JOB_DONE, time_ms, 0,
                        state == RUN_CANCELLED ? why : NULL);
}

/* What was said of the attempt before is history. */
static void step_next_attempt(struct step *s, uint32_t attempt)
{
    if (attempt == s->attempt)
        return;
    s->attempt = attempt;
    s->report = REPORT_NONE;
    s->n_reports = 0;
    s->output[0] = '\0';
}

/* Out of service, and on its way to another release. */
static bool step_takes_out(const struct step *s, enum step_state to)
{
    return s->state == STEP_DRAINED && (to == STEP_EVICTING || to == STEP_REBUILDING);
}

/* The one place where a step's state changes. */
static void step_set(struct tables *t, struct step *s, enum step_state state, int64_t time_ms, const char *detail)
{
    enum step_state from = s->state;
    s->failed_in = state == STEP_FAILED ? from : (enum step_state)0;
    s->spent_ms[from] += time_ms > s->entered_ms ? time_ms - s->entered_ms : 0;
    s->state = state;
    s->seq++;
    s->entered_ms = time_ms;
    if (state == STEP_DRAINING && s->started_ms == 0)
        s->started_ms = time_ms;
    s->ended_ms = step_state_is_final(state) || state == STEP_FAILED ? time_ms : 0;
    STR_COPY(s->detail, detail);
    step_put(t, s);
    journal_event(t, time_ms, state == STEP_FAILED ? EVENT_ERROR : EVENT_INFO, s->node, "%s: %s -> %s%s%s", s->node,
                  step_state_name(from), step_state_name(state), detail[0] ? ": " : "", detail);
}

/* ---- start --------------------------------------------------------------------------------------------------- */

/* Ended runs above RUN_KEPT go, the oldest first. */
static void forget_old(struct tables *t)
{
    while (tables_count(t, TABLE_RUN) > RUN_KEPT) {
        struct run oldest = {.n_steps = 0};
        bool found = false;
        TABLES_FOREACH(t, TABLE_RUN, row) {
            struct run r;
            if (run_decode(row.value, &r) < 0 || !run_state_is_final(r.state))
                continue;
            if (!found || r.created_ms < oldest.created_ms)
                oldest = r;
            found = true;
        }
        if (!found)
            return;
        for (uint32_t i = 0; i < oldest.n_steps; i++) {
            char key[STEP_KEY_SIZE];
            step_key(&oldest.id, i, key, sizeof(key));
            tables_del(t, TABLE_STEP, key);
        }
        tables_del(t, TABLE_RUN, uuid_str(&oldest.id).s);
    }
}

struct start {
    struct run run;
    struct step steps[RUN_STEPS_MAX];
    uint32_t n_open; /* not skipped */
};

static struct step start_step_decode(struct wire_reader *w, const struct entry *e, const char *target,
                                     uint32_t position)
{
    struct step s = {.run = e->request_id, .position = position, .seq = 1, .attempt = 1, .entered_ms = e->time_ms};
    WIRE_GET_STR(w, s.node);
    WIRE_GET_STR(w, s.from_release);
    s.state = wire_get_u8(w) ? STEP_SKIPPED : STEP_PENDING;
    STR_COPY(s.target, target);
    if (s.state == STEP_SKIPPED) {
        s.ended_ms = e->time_ms;
        snprintf(s.detail, sizeof(s.detail), "runs %s already", s.from_release);
    }
    return s;
}

static int start_decode(const struct entry *e, struct start *ret)
{
    struct wire_reader w = wire_reader(e->payload);
    struct run *r = &ret->run;
    *r = (struct run){.id = e->request_id, .state = RUN_PLANNED, .seq = 1};
    r->created_ms = r->changed_ms = e->time_ms;
    WIRE_GET_STR(&w, r->target);
    WIRE_GET_STR(&w, r->started_by);
    r->approve_each = wire_get_u8(&w) != 0;
    r->max_unavailable = wire_get_u32(&w);
    WIRE_GET_STR(&w, r->accepted);
    r->executor = (enum executor_kind)wire_get_u8(&w);
    r->n_steps = wire_get_count(&w, 4 + 4 + 1);
    if (r->n_steps > RUN_STEPS_MAX || r->max_unavailable == 0)
        return ERR_MALFORMED;
    ret->n_open = 0;
    for (uint32_t i = 0; i < r->n_steps; i++) {
        ret->steps[i] = start_step_decode(&w, e, r->target, i);
        ret->n_open += ret->steps[i].state == STEP_PENDING;
    }
    return wire_end(&w) || r->target[0] == '\0' || r->executor > EXECUTOR_KIND_IN_PLACE ? ERR_MALFORMED : 0;
}

static void begin(struct tables *t, const struct start *s)
{
    const struct run *r = &s->run;
    struct job job = {.id = r->id, .kind = JOB_UPGRADE, .state = JOB_RUNNING, .started_ms = r->created_ms};
    run_put(t, r);
    for (uint32_t i = 0; i < r->n_steps; i++)
        step_put(t, &s->steps[i]);
    STR_COPY(job.object, uuid_str(&r->id).s);
    snprintf(job.detail, sizeof(job.detail), "to %s, %u of %u nodes", r->target, s->n_open, r->n_steps);
    journal_job_begin(t, &job);
    journal_event(t, r->created_ms, EVENT_INFO, job.object, "upgrade to %s started%s%s", r->target,
                  r->started_by[0] ? " by " : "", r->started_by);
    forget_old(t);
}

static void resume(struct tables *t, struct run *r, int64_t time_ms, const char *by);

/* Another run stands in the way, is resumed, or (done but for the raise) is ended by the new one. */
static int start_beside(struct tables *t, struct run *old, const struct start *s, struct error *err)
{
    if (old->state == RUN_PAUSED && !old->back && str_eq(old->target, s->run.target)) {
        resume(t, old, s->run.created_ms, s->run.started_by);
        return 1;
    }
    if (old->state == RUN_AWAITING_RAISE && s->n_open > 0) {
        run_set(t, old, RUN_DONE, s->run.created_ms, "another upgrade began");
        return 0;
    }
    error_set(err, ERR_CONDITION, "upgrade %s to %s is %s", uuid_str(&old->id).s, old->target,
              run_state_name(old->state));
    error_set_remedy(err, "%s",
                     old->state == RUN_AWAITING_RAISE ? "clusterctl level raise"
                     : old->state == RUN_PAUSED       ? "clusterctl upgrade resume, or clusterctl upgrade abort"
                     : old->state == RUN_PAUSED_ERROR ? "clusterctl upgrade retry, or clusterctl upgrade abort"
                                                      : "clusterctl upgrade status");
    return err->code;
}

static int apply_start(struct tables *t, const struct entry *e, struct error *err)
{
    AUTO(freep) struct start *s = xcalloc(1, sizeof(*s));
    struct run old;
    if (uuid_is_nil(&e->request_id) || start_decode(e, s) < 0)
        return error_set(err, ERR_MALFORMED, "malformed entry of an upgrade's start");
    if (run_current(t, &old) == 0) {
        int result = start_beside(t, &old, s, err);
        if (result != 0)
            return result < 0 ? result : 0;
    }
    if (s->n_open == 0)
        return error_set(err, ERR_CONDITION, "every node runs %s already", s->run.target);
    begin(t, s);
    return 0;
}

/* ---- control: an admin's verbs ------------------------------------------------------------------------------- */

static const char *by_whom(const char *by, const char *what, char *dst, size_t size)
{
    snprintf(dst, size, "%s%s%s", what, by[0] ? " by " : "", by);
    return dst;
}

/* Where a run goes on: its checks are made again as long as no step began. */
static enum run_state goes_on_as(const struct tables *t, const struct run *r)
{
    if (r->back)
        return RUN_ROLLING_BACK;
    for (uint32_t i = 0; i < r->n_steps; i++) {
        struct step s;
        if (step_get(t, &r->id, i, &s) == 0 && !step_state_is_open(s.state) && s.state != STEP_SKIPPED)
            return RUN_RUNNING;
    }
    return RUN_PRECHECKING;
}

static void resume(struct tables *t, struct run *r, int64_t time_ms, const char *by)
{
    char why[RUN_NAME_MAX + 32];
    run_set(t, r, goes_on_as(t, r), time_ms, by_whom(by, "resumed", why, sizeof(why)));
}

/* A failed step goes back to where it failed. A new attempt (and operation id) only if the executor itself said that
 * the last one failed: otherwise it may be under way still, and must not be begun twice. */
static void unfail(struct tables *t, const struct run *r, int64_t time_ms, const char *why)
{
    for (uint32_t i = 0; i < r->n_steps; i++) {
        struct step s;
        if (step_get(t, &r->id, i, &s) < 0 || s.state != STEP_FAILED)
            continue;
        if (s.hook_failed)
            step_next_attempt(&s, s.attempt + 1);
        s.hook_failed = false;
        step_set(t, &s, s.failed_in, time_ms, why);
    }
}

static int control_pause(struct tables *t, struct run *r, int64_t time_ms, const char *why, struct error *err)
{
    switch (r->state) {
    case RUN_PLANNED:
    case RUN_PRECHECKING:
    case RUN_ROLLING_BACK:
    case RUN_RUNNING: run_set(t, r, RUN_PAUSED, time_ms, why); return 0;
    case RUN_PAUSED:
    case RUN_PAUSED_ERROR: return 0; /* as asked for */
    default: return error_set(err, ERR_CONDITION, "the upgrade is %s: nothing to pause", run_state_name(r->state));
    }
}

static int control_resume(struct tables *t, struct run *r, int64_t time_ms, const char *by, struct error *err)
{
    switch (r->state) {
    case RUN_PAUSED: resume(t, r, time_ms, by); return 0;
    case RUN_PLANNED:
    case RUN_PRECHECKING:
    case RUN_ROLLING_BACK:
    case RUN_RUNNING: return 0;
    case RUN_PAUSED_ERROR:
        error_set(err, ERR_CONDITION, "the upgrade stopped with an error: %.200s", r->error);
        error_set_remedy(err, "clusterctl upgrade retry");
        return err->code;
    default: return error_set(err, ERR_CONDITION, "the upgrade is %s: nothing to resume", run_state_name(r->state));
    }
}

static int control_retry(struct tables *t, struct run *r, int64_t time_ms, const char *why, struct error *err)
{
    if (r->state != RUN_PAUSED_ERROR) {
        error_set(err, ERR_CONDITION, "the upgrade is %s: nothing to retry", run_state_name(r->state));
        error_set_remedy(err, "%s", r->state == RUN_PAUSED ? "clusterctl upgrade resume" : "clusterctl upgrade status");
        return err->code;
    }
    unfail(t, r, time_ms, why);
    r->error[0] = r->remedy[0] = '\0';
    run_set(t, r, goes_on_as(t, r), time_ms, why);
    return 0;
}

static int control_abort(struct tables *t, struct run *r, int64_t time_ms, const char *why, struct error *err)
{
    if (r->state == RUN_ABORTING)
        return 0;
    if (r->state == RUN_AWAITING_RAISE) {
        if (!run_is_partial(t, r, err)) {
            error_set(err, ERR_CONDITION, "every node is upgraded");
            error_set_remedy(err, "clusterctl level raise");
        }
        char text[ERROR_TEXT_MAX];
        STR_COPY(text, err->text);
        error_set(err, ERR_CONDITION, "nothing to abort: %s", text);
        return err->code;
    }
    unfail(t, r, time_ms, why); /* what it owes is still owed */
    r->error[0] = r->remedy[0] = '\0';
    run_set(t, r, RUN_ABORTING, time_ms, why);
    return 0;
}

/* ---- rollback ------------------------------------------------------------------------------------------------ */

/* Was its node sent on its way to the new release, so that it needs a step back? One that was only evicted is rebuilt
 * with its old release at once. */
static bool was_sent(const struct step *s)
{
    return !step_state_is_open(s->state) && s->state != STEP_SKIPPED && s->state != STEP_DRAINING &&
           s->state != STEP_DRAINED && s->state != STEP_EVICTING && !str_eq(s->target, s->from_release);
}

static int check_way_back(const struct tables *t, const struct run *r, struct error *err)
{
    struct level_state l = {0};
    level_get(t, &l);
    if (r->executor == EXECUTOR_KIND_IN_PLACE) {
        error_set(err, ERR_CONDITION,
                  "nodes were upgraded in place, and packages cannot be brought back to an older release");
        error_set_remedy(err, "clusterctl upgrade abort ends it where it is; a node goes back by a new installation");
        return err->code;
    }
    for (uint32_t i = 0; i < r->n_steps; i++) {
        struct step s;
        if (step_get(t, &r->id, i, &s) < 0 || step_state_is_open(s.state) || s.state == STEP_SKIPPED)
            continue;
        uint8_t level = level_of_release(s.from_release);
        if (level != 0 && l.fl <= level)
            continue;
        if (level == 0)
            error_set(err, ERR_CONDITION, "%s ran '%s' before, which is not known here: it cannot go back", s.node,
                      s.from_release);
        else
            error_set(err, ERR_CONDITION, "the functional level is %u: %s cannot go back to %s, which is of level %u",
                      l.fl, s.node, s.from_release, level);
        error_set_remedy(err, "clusterctl level show");
        return err->code;
    }
    if (l.fence == 0)
        return 0;
    error_set(err, ERR_CONDITION, "the functional level is being raised to %u", l.fence);
    error_set_remedy(err, "clusterctl level show");
    return err->code;
}

/* What becomes of the step there; a failed one went back to where it failed. */
static void turn_step(struct tables *t, struct step *s, int64_t time_ms, const char *why)
{
    bool is_new_attempt = s->state == STEP_FAILED && s->hook_failed;
    if (step_state_is_open(s->state)) {
        step_set(t, s, STEP_SKIPPED, time_ms, "not begun before the rollback");
        return;
    }
    if (s->state == STEP_FAILED) {
        step_next_attempt(s, s->attempt + is_new_attempt);
        s->hook_failed = false;
        step_set(t, s, s->failed_in, time_ms, why);
    }
    if (s->state == STEP_EVICTING || is_new_attempt) {
        STR_COPY(s->target, s->from_release);
        step_put(t, s);
    }
}

static void append_step_back(struct tables *t, struct run *r, const struct step *there, int64_t time_ms)
{
    struct step s = {.run = r->id, .position = r->n_steps, .state = STEP_PENDING, .seq = 1, .attempt = 1, .back = true};
    assert(r->n_steps < RUN_ROWS_MAX);
    STR_COPY(s.node, there->node);
    STR_COPY(s.from_release, there->target);
    STR_COPY(s.target, there->from_release);
    s.entered_ms = time_ms;
    step_put(t, &s);
    r->n_steps++;
}

/* Its job may have ended with the last node. */
static void reopen_job(struct tables *t, const struct run *r)
{
    struct job j;
    if (journal_job_get(t, &r->id, &j) < 0)
        return;
    j.state = JOB_RUNNING;
    j.ended_ms = 0;
    journal_job_begin(t, &j);
}

static void turn_back(struct tables *t, struct run *r, int64_t time_ms, const char *why)
{
    uint32_t n = r->n_steps;
    struct step s;
    for (uint32_t i = 0; i < n; i++)
        if (step_get(t, &r->id, i, &s) == 0)
            turn_step(t, &s, time_ms, why);
    for (uint32_t i = n; i-- > 0;)
        if (step_get(t, &r->id, i, &s) == 0 && was_sent(&s))
            append_step_back(t, r, &s, time_ms);
    r->back = true;
    r->ended_ms = 0;
    r->error[0] = r->remedy[0] = '\0';
    reopen_job(t, r);
    run_set(t, r, RUN_ROLLING_BACK, time_ms, why);
}

static int control_rollback(struct tables *t, struct run *r, int64_t time_ms, const char *why, struct error *err)
{
    if (r->state == RUN_ROLLING_BACK)
        return 0;
    if (r->state == RUN_ABORTING || r->back) {
        error_set(err, ERR_CONDITION, r->back && r->state != RUN_ABORTING ? "the rollback is %s" : "the upgrade is %s",
                  run_state_name(r->state));
        error_set_remedy(err, "%s", r->state == RUN_PAUSED         ? "clusterctl upgrade resume"
                                    : r->state == RUN_PAUSED_ERROR ? "clusterctl upgrade retry"
                                                                   : "clusterctl upgrade status");
        return err->code;
    }
    if (check_way_back(t, r, err) < 0)
        return err->code;
    turn_back(t, r, time_ms, why);
    return 0;
}

static int no_run(const struct tables *t, enum run_verb verb, struct error *err)
{
    struct run r;
    error_set(err, ERR_NO_OBJECT, "no upgrade is under way");
    error_set_remedy(err, "clusterctl upgrade start --target RELEASE");
    if (verb == RUN_VERB_ROLLBACK && run_newest(t, &r) == 0 && r.state == RUN_DONE) {
        error_set(err, ERR_CONDITION, "the upgrade to %s is done, and the functional level was raised: no way back",
                  r.target);
        error_set_remedy(err, "clusterctl level show");
    }
    return err->code;
}

/* ---- approval ------------------------------------------------------------------------------------------------ */

/* Nothing waits for what was approved: why. As asked for, if that node was approved before. */
static int nothing_to_approve(const struct tables *t, const struct run *r, const char *node, struct error *err)
{
    for (uint32_t i = 0; node[0] && i < r->n_steps; i++) {
        struct step s;
        if (step_get(t, &r->id, i, &s) == 0 && str_eq(s.node, node) && s.approved)
            return 0;
    }
    if (!r->approve_each)
        error_set(err, ERR_CONDITION, "the upgrade to %s was begun without --approve-each: it waits for no approval",
                  r->target);
    else if (node[0])
        error_set(err, ERR_CONDITION, "%s does not wait for an approval now", node);
    else
        error_set(err, ERR_CONDITION, "no node waits for an approval now");
    error_set_remedy(err, "clusterctl upgrade status");
    return err->code;
}

static int control_approve(struct tables *t, const struct run *r, int64_t time_ms, const char *node, const char *why,
                           struct error *err)
{
    for (uint32_t i = 0; i < r->n_steps; i++) {
        struct step s;
        if (step_get(t, &r->id, i, &s) < 0 || s.state != STEP_AWAITING_APPROVAL || (node[0] && !str_eq(s.node, node)))
            continue;
        s.approved = true;
        step_set(t, &s, STEP_PENDING, time_ms, why);
        return 0;
    }
    return nothing_to_approve(t, r, node, err);
}

static int apply_control(struct tables *t, const struct entry *e, struct error *err)
{
    char by[RUN_NAME_MAX], node[RUN_NAME_MAX], why[RUN_NAME_MAX + 32];
    struct run r;
    struct wire_reader w = wire_reader(e->payload);
    enum run_verb verb = (enum run_verb)wire_get_u8(&w);
    WIRE_GET_STR(&w, by);
    WIRE_GET_STR(&w, node);
    if (wire_end(&w))
        return error_set(err, ERR_MALFORMED, "malformed entry of an upgrade's control");
    if (run_current(t, &r) < 0)
        return no_run(t, verb, err);
    switch (verb) {
    case RUN_VERB_PAUSE: return control_pause(t, &r, e->time_ms, by_whom(by, "paused", why, sizeof(why)), err);
    case RUN_VERB_RESUME: return control_resume(t, &r, e->time_ms, by, err);
    case RUN_VERB_RETRY: return control_retry(t, &r, e->time_ms, by_whom(by, "retried", why, sizeof(why)), err);
    case RUN_VERB_ABORT: return control_abort(t, &r, e->time_ms, by_whom(by, "aborted", why, sizeof(why)), err);
    case RUN_VERB_ROLLBACK:
        return control_rollback(t, &r, e->time_ms, by_whom(by, "rolled back", why, sizeof(why)), err);
    case RUN_VERB_APPROVE:
        return control_approve(t, &r, e->time_ms, node, by_whom(by, "approved", why, sizeof(why)), err);
    }
    return error_set(err, ERR_MALFORMED, "unknown verb %d of an upgrade's control", (int)verb);
}

/* ---- moves: the leader's ------------------------------------------------------------------------------------- */

static int stale(struct error *err, const char *what)
{
    return error_set(err, ERR_AGAIN, "%s changed since: not moved", what);
}

static int apply_run_move(struct tables *t, const struct entry *e, struct error *err)
{
    struct run_move m;
    struct run r;
    if (run_move_decode(e->payload, &m) < 0)
        return error_set(err, ERR_MALFORMED, "malformed entry of an upgrade's move");
    if (run_current(t, &r) < 0 || !uuid_eq(&r.id, &m.run) || r.seq != m.seq)
        return stale(err, "the upgrade");
    if (!run_state_may(r.state, m.state))
        return error_set(err, ERR_AGAIN, "the upgrade is %s: no way to %s", run_state_name(r.state),
                         run_state_name(m.state));
    if (m.state == RUN_PAUSED_ERROR) {
        STR_COPY(r.error, m.error);
        STR_COPY(r.remedy, m.remedy);
    }
    bool is_back = r.state == RUN_ROLLING_BACK && m.state == RUN_CANCELLED;
    struct error partial = {0};
    if (is_back || m.state == RUN_AWAITING_RAISE || m.state == RUN_DONE)
        run_is_partial(t, &r, &partial);
    if (is_back) { /* it is no success then */
        STR_COPY(r.error, partial.text);
        STR_COPY(r.remedy, partial.remedy);
    }
    run_set(t, &r, m.state, e->time_ms, partial.code ? partial.text : is_back ? "rolled back" : m.error);
    return 0;
}

/* An open step is begun, or found to be none, in the order of positions, and not while too many are under way, or its
 * node is still on the way there from which this one is the way back. */
static bool open_step_may(const struct tables *t, const struct run *r, const struct step *s, enum step_state to)
{
    struct step first, there;
    if (step_first_open(t, r, &first) < 0 || first.position != s->position || step_of_node(t, r, s->node, &there) == 0)
        return false;
    bool is_approved = !r->approve_each || s->approved;
    return to != STEP_DRAINING || (is_approved && steps_under_way(t, r, NULL) < run_capacity(t, r));
}

/* Moves that are right for the step, but not for the run as it is. */
static bool step_move_fits(const struct run *r, const struct step *s, const struct step_move *m)
{
    bool rolling_back = r->state == RUN_ROLLING_BACK;
    bool given_up = step_is_given_up(r, s);
    if (r->state != RUN_RUNNING && !rolling_back && !given_up)
        return false;
    bool may_skip = step_state_is_open(s->state) || s->state == STEP_DRAINING; /* that one by a VM's policy */
    if (m->state == STEP_SKIPPED && !may_skip && !given_up)
        return false; /* an empty node is resumed only when its step is given up */
    bool takes_out = step_takes_out(s, m->state);
    if (takes_out && (m->state == STEP_REBUILDING) != (r->executor == EXECUTOR_KIND_IN_PLACE))
        return false;
    if (given_up && (m->state == STEP_DRAINING || takes_out))
        return false; /* no node is taken out any more */
    if (m->state == STEP_CANARY && r->state != RUN_RUNNING)
        return false;
    bool again = s->state == STEP_REBUILDING && m->state == STEP_REBUILDING;
    return m->attempt == s->attempt + (again ? 1 : 0);
}

static bool has_step_that_goes_on(const struct tables *t, const struct run *r)
{
    for (uint32_t i = 0; i < r->n_steps; i++) {
        struct step s;
        if (step_get(t, &r->id, i, &s) == 0 && step_state_is_under_way(s.state) && s.state != STEP_FAILED)
            return true;
    }
    return false;
}

/* A failed step stops the run in the same entry. An aborting run has nothing to go back to: it ends with its last step,
 * and says what is left to mend. */
static void fail_run(struct tables *t, struct run *r, const struct step_move *m, int64_t time_ms)
{
    STR_COPY(r->error, m->detail);
    STR_COPY(r->remedy, m->remedy);
    if (r->state == RUN_ABORTING)
        run_note(r->errors, m->detail);
    if (r->state == RUN_ABORTING && has_step_that_goes_on(t, r))
        run_put(t, r);
    else
        run_set(t, r, r->state == RUN_ABORTING ? RUN_CANCELLED : RUN_PAUSED_ERROR, time_ms, m->detail);
}

static int apply_step_move(struct tables *t, const struct entry *e, struct error *err)
{
    struct step_move m;
    struct run r;
    struct step s;
    if (step_move_decode(e->payload, &m) < 0)
        return error_set(err, ERR_MALFORMED, "malformed entry of a node step's move");
    if (run_current(t, &r) < 0 || !uuid_eq(&r.id, &m.run) || r.seq != m.run_seq)
        return stale(err, "the upgrade");
    if (m.position >= r.n_steps || step_get(t, &r.id, m.position, &s) < 0 || s.seq != m.seq)
        return stale(err, "the step");
    bool may = step_state_may(s.state, m.state) && step_move_fits(&r, &s, &m) &&
               (!step_state_is_open(s.state) || open_step_may(t, &r, &s, m.state));
    if (!may)
        return error_set(err, ERR_AGAIN, "%s is %s and the upgrade %s: no way to %s", s.node, step_state_name(s.state),
                         run_state_name(r.state), step_state_name(m.state));
    bool takes_out = step_takes_out(&s, m.state);
    if (m.attempt != s.attempt && step_is_unwanted(&r, &s))
        STR_COPY(s.target, s.from_release); /* what was there before */
    step_next_attempt(&s, m.attempt);
    s.hook_failed = m.state == STEP_FAILED && m.hook_failed;
    s.left_out = m.state == STEP_SKIPPED && m.left_out;
    if (takes_out) {
        s.replica_before = m.replica_before;
        STR_COPY(s.boot_before, m.boot_before);
    }
    if (s.state == STEP_CANARY || m.state == STEP_CANARY)
        s.canary = m.canary;
    step_set(t, &s, m.state, e->time_ms, m.detail);
    if (m.state == STEP_FAILED)
        fail_run(t, &r, &m, e->time_ms);
    return 0;
}

void upgrade_apply(struct tables *t, const struct entry *e, struct apply_result *ret)
{
    *ret = (struct apply_result){0};
    switch (e->kind) {
    case ENTRY_RUN_START: apply_start(t, e, &ret->error); break;
    case ENTRY_RUN_CONTROL: apply_control(t, e, &ret->error); break;
    case ENTRY_RUN_MOVE: apply_run_move(t, e, &ret->error); break;
    case ENTRY_STEP_MOVE: apply_step_move(t, e, &ret->error); break;
    case ENTRY_STEP_REPORT: step_report_apply(t, e, &ret->error); break;
    default: error_set(&ret->error, ERR_UNKNOWN_KIND, "entry kind %u is no upgrade's", e->kind); break;
    }
}

void upgrade_level_raised(struct tables *t, int64_t time_ms)
{
    struct run r;
    if (run_current(t, &r) == 0 && r.state == RUN_AWAITING_RAISE)
        run_set(t, &r, RUN_DONE, time_ms, "the functional level was raised");
}
