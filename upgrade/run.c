/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names, allowed moves, rows and JSON of a run and its steps. Rows:
 * TABLE_RUN   uuid, str target, u8 executor, u8 state, u64 seq, u32 n_steps, u8 back, u8 approve_each,
 *             u32 max_unavailable, i64 created, i64 changed, i64 ended, str by, str error, str remedy, str accepted,
 *             str errors
 * TABLE_STEP  uuid run, u32 position, str node, u8 state, u8 failed_in, u64 seq, u32 attempt, u8 approved,
 *             u8 back, u8 left_out, canary, u8 hook_failed, uuid replica_before, str boot_before, u8 report,
 *             u32 n_reports, str output, i64 entered, i64 started, i64 ended, str from_release, str target, str detail,
 *             u8 n, n × i64 spent */
#include <assert.h>
#include <stdio.h>

#include "upgrade/level.h"
#include "upgrade/run-entry.h"

/* ---- states and moves ---------------------------------------------------------------------------------------- */

#define TO(state) (1u << (state))

/* Rows: from. Admins' moves (pause, resume, retry, abort) are in run-apply.c, by verb. */
static const struct {
    char name[16];
    uint32_t to;
} run_states[] = {
    [RUN_PLANNED] = {"planned", TO(RUN_PRECHECKING)},
    [RUN_PRECHECKING] = {"prechecking", TO(RUN_RUNNING) | TO(RUN_PAUSED_ERROR)},
    [RUN_RUNNING] = {"running", TO(RUN_PAUSED_ERROR) | TO(RUN_AWAITING_RAISE) | TO(RUN_DONE)},
    [RUN_PAUSED] = {"paused", 0},
    [RUN_PAUSED_ERROR] = {"paused-error", 0},
    [RUN_ABORTING] = {"aborting", TO(RUN_CANCELLED)},
    [RUN_ROLLING_BACK] = {"rolling-back", TO(RUN_PAUSED_ERROR) | TO(RUN_CANCELLED)},
    [RUN_AWAITING_RAISE] = {"awaiting-raise", TO(RUN_DONE)},
    [RUN_DONE] = {"done", 0},
    [RUN_CANCELLED] = {"cancelled", 0},
};
enum { N_RUN_STATES = sizeof(run_states) / sizeof(run_states[0]) };

static const struct {
    char name[20];
    uint32_t to;
} step_states[] = {
    [STEP_PENDING] = {"pending", TO(STEP_DRAINING) | TO(STEP_AWAITING_APPROVAL) | TO(STEP_SKIPPED)},
    [STEP_DRAINING] = {"draining", TO(STEP_DRAINED) | TO(STEP_FAILED) | TO(STEP_SKIPPED)},
    [STEP_DRAINED] = {"drained",
                      TO(STEP_EVICTING) | TO(STEP_REBUILDING) | TO(STEP_DRAINING) | TO(STEP_FAILED) | TO(STEP_SKIPPED)},
    [STEP_EVICTING] = {"evicting", TO(STEP_REBUILDING) | TO(STEP_DRAINING) | TO(STEP_FAILED) | TO(STEP_SKIPPED)},
    [STEP_REBUILDING] = {"rebuilding", TO(STEP_REBUILDING) | TO(STEP_AWAITING_REJOIN) | TO(STEP_FAILED)},
    [STEP_AWAITING_REJOIN] = {"awaiting-rejoin", TO(STEP_JOINING) | TO(STEP_FAILED)},
    [STEP_JOINING] = {"joining", TO(STEP_VERIFYING) | TO(STEP_FAILED)},
    [STEP_VERIFYING] = {"verifying", TO(STEP_CANARY) | TO(STEP_FAILBACK) | TO(STEP_FAILED)},
    [STEP_CANARY] = {"canary", TO(STEP_CANARY) | TO(STEP_FAILBACK) | TO(STEP_FAILED)},
    [STEP_FAILBACK] = {"failback", TO(STEP_DONE) | TO(STEP_FAILED)},
    [STEP_DONE] = {"done", 0},
    [STEP_FAILED] = {"failed", 0},
    [STEP_SKIPPED] = {"skipped", 0},
    [STEP_AWAITING_APPROVAL] = {"awaiting-approval", TO(STEP_SKIPPED)},
};
enum { N_STEP_STATES = sizeof(step_states) / sizeof(step_states[0]) };
_Static_assert((int)N_STEP_STATES == (int)STEP_STATES, "a row for each");

static const char *const canary_results[CANARY_RESULTS] = {
    [CANARY_NONE] = "none",       [CANARY_UNDER_WAY] = "under-way", [CANARY_PASSED] = "passed",
    [CANARY_SKIPPED] = "skipped", [CANARY_FAILED] = "failed",       [CANARY_GIVEN_UP] = "given-up",
};

static bool run_state_is_valid(enum run_state s)
{
    return s > 0 && (unsigned)s < N_RUN_STATES;
}

static bool step_state_is_valid(enum step_state s)
{
    return s > 0 && (unsigned)s < N_STEP_STATES;
}

const char *run_state_name(enum run_state s)
{
    return run_state_is_valid(s) ? run_states[s].name : "unknown";
}

const char *step_state_name(enum step_state s)
{
    return step_state_is_valid(s) ? step_states[s].name : "unknown";
}

const char *canary_result_name(enum canary_result r)
{
    return (unsigned)r < CANARY_RESULTS ? canary_results[r] : "unknown";
}

bool canary_is_over(enum canary_result r)
{
    return r == CANARY_PASSED || r == CANARY_SKIPPED;
}

bool run_state_is_final(enum run_state s)
{
    return s == RUN_DONE || s == RUN_CANCELLED;
}

bool step_state_is_final(enum step_state s)
{
    return s == STEP_DONE || s == STEP_SKIPPED;
}

bool step_state_is_open(enum step_state s)
{
    return s == STEP_PENDING || s == STEP_AWAITING_APPROVAL;
}

bool step_state_is_under_way(enum step_state s)
{
    return !step_state_is_open(s) && !step_state_is_final(s);
}

bool run_state_may(enum run_state from, enum run_state to)
{
    return run_state_is_valid(from) && run_state_is_valid(to) && (run_states[from].to & TO(to)) != 0;
}

bool step_state_may(enum step_state from, enum step_state to)
{
    return step_state_is_valid(from) && step_state_is_valid(to) && (step_states[from].to & TO(to)) != 0;
}

enum executor_kind executor_kind_of(const char *setting)
{
    return setting && str_eq(setting, EXECUTOR_IN_PLACE) ? EXECUTOR_KIND_IN_PLACE : EXECUTOR_KIND_COMMAND;
}

const char *executor_kind_name(enum executor_kind k)
{
    return k == EXECUTOR_KIND_IN_PLACE ? EXECUTOR_IN_PLACE : "command";
}

const char *hook_verb_name(enum hook_verb v)
{
    static const char *const names[] = {
        [HOOK_START] = "start", [HOOK_POLL] = "poll", [HOOK_CANCEL] = "cancel", [HOOK_OFF] = "off"};
    return v >= HOOK_START && v <= HOOK_OFF ? names[v] : NULL;
}

bool step_is_given_up(const struct run *r, const struct step *s)
{
    return r->state == RUN_ABORTING || (r->state == RUN_ROLLING_BACK && !s->back);
}

bool step_is_unwanted(const struct run *r, const struct step *s)
{
    bool is_turned = r->state == RUN_ROLLING_BACK && !s->back && !str_eq(s->target, s->from_release);
    return r->state == RUN_ABORTING || is_turned;
}

int64_t upgrade_backoff_ms(unsigned failures)
{
    int64_t ms = UPGRADE_POLL_MS;
    for (unsigned i = 1; i < failures && ms < UPGRADE_BACKOFF_MAX_MS; i++)
        ms *= 2;
    return ms < UPGRADE_BACKOFF_MAX_MS ? ms : UPGRADE_BACKOFF_MAX_MS;
}

/* ---- rows ---------------------------------------------------------------------------------------------------- */

void run_note(char notes[RUN_NOTES_MAX], const char *line)
{
    size_t len = strlen(notes), more = strlen(line);
    if (len + more + 2 > RUN_NOTES_MAX)
        return;
    snprintf(notes + len, RUN_NOTES_MAX - len, "%s\n", line);
    for (char *p = notes + len; p < notes + len + more; p++)
        if (*p == '\n') /* what a hook printed */
            *p = ' ';
}

void canary_encode(const struct canary *c, struct buf *b)
{
    wire_put_u8(b, (uint8_t)c->result);
    wire_put_str(b, c->vm);
    wire_put_str(b, c->from);
    wire_put_u8(b, c->leg);
    wire_put_str(b, c->text);
}

struct canary canary_decode(struct wire_reader *w)
{
    struct canary c = {.result = (enum canary_result)wire_get_u8(w)};
    WIRE_GET_STR(w, c.vm);
    WIRE_GET_STR(w, c.from);
    c.leg = wire_get_u8(w);
    WIRE_GET_STR(w, c.text);
    return c;
}

void run_put(struct tables *t, const struct run *r)
{
    AUTO(buf_done) struct buf b = {0};
    wire_put_uuid(&b, &r->id);
    wire_put_str(&b, r->target);
    wire_put_u8(&b, (uint8_t)r->executor);
    wire_put_u8(&b, (uint8_t)r->state);
    wire_put_u64(&b, r->seq);
    wire_put_u32(&b, r->n_steps);
    wire_put_u8(&b, r->back);
    wire_put_u8(&b, r->approve_each);
    wire_put_u32(&b, r->max_unavailable);
    wire_put_i64(&b, r->created_ms);
    wire_put_i64(&b, r->changed_ms);
    wire_put_i64(&b, r->ended_ms);
    wire_put_str(&b, r->started_by);
    wire_put_str(&b, r->error);
    wire_put_str(&b, r->remedy);
    wire_put_str(&b, r->accepted);
    wire_put_str(&b, r->errors);
    tables_put(t, TABLE_RUN, uuid_str(&r->id).s, buf_slice(&b));
}

int run_decode(struct slice value, struct run *ret)
{
    struct wire_reader w = wire_reader(value);
    struct run r = {.id = wire_get_uuid(&w)};
    WIRE_GET_STR(&w, r.target);
    r.executor = (enum executor_kind)wire_get_u8(&w);
    r.state = (enum run_state)wire_get_u8(&w);
    r.seq = wire_get_u64(&w);
    r.n_steps = wire_get_u32(&w);
    r.back = wire_get_u8(&w) != 0;
    r.approve_each = wire_get_u8(&w) != 0;
    r.max_unavailable = wire_get_u32(&w);
    r.created_ms = wire_get_i64(&w);
    r.changed_ms = wire_get_i64(&w);
    r.ended_ms = wire_get_i64(&w);
    WIRE_GET_STR(&w, r.started_by);
    WIRE_GET_STR(&w, r.error);
    WIRE_GET_STR(&w, r.remedy);
    WIRE_GET_STR(&w, r.accepted);
    WIRE_GET_STR(&w, r.errors);
    if (wire_err(&w) || !run_state_is_valid(r.state) || r.n_steps > RUN_ROWS_MAX || r.max_unavailable == 0)
        return ERR_MALFORMED;
    if (r.executor > EXECUTOR_KIND_IN_PLACE)
        return ERR_MALFORMED;
    *ret = r;
    return 0;
}

void step_key(const struct uuid *run, uint32_t position, char *ret, size_t size)
{
    snprintf(ret, size, "%s/%03u", uuid_str(run).s, position);
}

void step_put(struct tables *t, const struct step *s)
{
    AUTO(buf_done) struct buf b = {0};
    char key[STEP_KEY_SIZE];
    wire_put_uuid(&b, &s->run);
    wire_put_u32(&b, s->position);
    wire_put_str(&b, s->node);
    wire_put_u8(&b, (uint8_t)s->state);
    wire_put_u8(&b, (uint8_t)s->failed_in);
    wire_put_u64(&b, s->seq);
    wire_put_u32(&b, s->attempt);
    wire_put_u8(&b, s->approved);
    wire_put_u8(&b, s->back);
    wire_put_u8(&b, s->left_out);
    canary_encode(&s->canary, &b);
    wire_put_u8(&b, s->hook_failed);
    wire_put_uuid(&b, &s->replica_before);
    wire_put_str(&b, s->boot_before);
    wire_put_u8(&b, (uint8_t)s->report);
    wire_put_u32(&b, s->n_reports);
    wire_put_str(&b, s->output);
    wire_put_i64(&b, s->entered_ms);
    wire_put_i64(&b, s->started_ms);
    wire_put_i64(&b, s->ended_ms);
    wire_put_str(&b, s->from_release);
    wire_put_str(&b, s->target);
    wire_put_str(&b, s->detail);
    wire_put_u8(&b, STEP_STATES);
    for (int i = 0; i < STEP_STATES; i++)
        wire_put_i64(&b, s->spent_ms[i]);
    step_key(&s->run, s->position, key, sizeof(key));
    tables_put(t, TABLE_STEP, key, buf_slice(&b));
}

int step_decode(struct slice value, struct step *ret)
{
    struct wire_reader w = wire_reader(value);
    struct step s = {.run = wire_get_uuid(&w), .position = wire_get_u32(&w)};
    WIRE_GET_STR(&w, s.node);
    s.state = (enum step_state)wire_get_u8(&w);
    s.failed_in = (enum step_state)wire_get_u8(&w);
    s.seq = wire_get_u64(&w);
    s.attempt = wire_get_u32(&w);
    s.approved = wire_get_u8(&w) != 0;
    s.back = wire_get_u8(&w) != 0;
    s.left_out = wire_get_u8(&w) != 0;
    s.canary = canary_decode(&w);
    s.hook_failed = wire_get_u8(&w) != 0;
    s.replica_before = wire_get_uuid(&w);
    WIRE_GET_STR(&w, s.boot_before);
    s.report = (enum step_report)wire_get_u8(&w);
    s.n_reports = wire_get_u32(&w);
    WIRE_GET_STR(&w, s.output);
    s.entered_ms = wire_get_i64(&w);
    s.started_ms = wire_get_i64(&w);
    s.ended_ms = wire_get_i64(&w);
    WIRE_GET_STR(&w, s.from_release);
    WIRE_GET_STR(&w, s.target);
    WIRE_GET_STR(&w, s.detail);
    bool fits = wire_get_u8(&w) == STEP_STATES;
    for (int i = 0; i < STEP_STATES && fits; i++)
        s.spent_ms[i] = wire_get_i64(&w);
    if (!fits || wire_err(&w) || !step_state_is_valid(s.state) || s.position >= RUN_ROWS_MAX ||
        (unsigned)s.canary.result >= CANARY_RESULTS || s.report > REPORT_CANCELLED)
        return ERR_MALFORMED;
    *ret = s;
    return 0;
}

int run_current(const struct tables *t, struct run *ret)
{
    TABLES_FOREACH(t, TABLE_RUN, row) {
        struct run r;
        if (run_decode(row.value, &r) == 0 && !run_state_is_final(r.state)) {
            *ret = r;
            return 0;
        }
    }
    return ERR_NOT_FOUND;
}

int run_get(const struct tables *t, const struct uuid *id, struct run *ret)
{
    struct slice value;
    if (tables_get(t, TABLE_RUN, uuid_str(id).s, &value))
        return ERR_NOT_FOUND;
    return run_decode(value, ret);
}

int run_newest(const struct tables *t, struct run *ret)
{
    bool found = false;
    TABLES_FOREACH(t, TABLE_RUN, row) {
        struct run r;
        if (run_decode(row.value, &r) < 0)
            continue;
        /* The one that is not final began last, whatever the clocks said. */
        if (found && run_state_is_final(r.state) && r.created_ms <= ret->created_ms)
            continue;
        *ret = r;
        found = true;
        if (!run_state_is_final(r.state))
            break;
    }
    return found ? 0 : ERR_NOT_FOUND;
}

int step_get(const struct tables *t, const struct uuid *run, uint32_t position, struct step *ret)
{
    struct slice value;
    char key[STEP_KEY_SIZE];
    step_key(run, position, key, sizeof(key));
    if (tables_get(t, TABLE_STEP, key, &value) < 0)
        return ERR_NOT_FOUND;
    return step_decode(value, ret);
}

int step_current(const struct tables *t, const struct run *r, struct step *ret)
{
    bool found = false;
    for (uint32_t i = 0; i < r->n_steps; i++) {
        struct step s;
        if (step_get(t, &r->id, i, &s) < 0 || step_state_is_final(s.state))
            continue;
        bool is_under_way = step_state_is_under_way(s.state);
        if (found && !is_under_way)
            continue;
        *ret = s;
        found = true;
        if (is_under_way)
            break;
    }
    return found ? 0 : ERR_NOT_FOUND;
}

int step_first_open(const struct tables *t, const struct run *r, struct step *ret)
{
    for (uint32_t i = 0; i < r->n_steps; i++) {
        struct step s;
        if (step_get(t, &r->id, i, &s) < 0 || !step_state_is_open(s.state))
            continue;
        *ret = s;
        return 0;
    }
    return ERR_NOT_FOUND;
}

uint32_t steps_under_way(const struct tables *t, const struct run *r, const char *but)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->n_steps; i++) {
        struct step s;
        n += step_get(t, &r->id, i, &s) == 0 && step_state_is_under_way(s.state) && !(but && str_eq(s.node, but));
    }
    return n;
}

uint32_t run_capacity(const struct tables *t, const struct run *r)
{
    if (r->back || r->max_unavailable == 1)
        return r->max_unavailable;
    for (uint32_t i = 0; i < r->n_steps; i++) {
        struct step s;
        if (step_get(t, &r->id, i, &s) == 0 && canary_is_over(s.canary.result))
            return r->max_unavailable;
    }
    return 1;
}

/* ---- nodes that were left out -------------------------------------------------------------------------------- */

static void remedy_of_left_out(const struct run *r, struct error *ret)
{
    if (r->back)
        error_set_remedy(ret, "rebuild that node by hand: THE WAY BACK in ringmaster-upgrade(7)");
    else
        error_set_remedy(ret,
                         "clusterctl vm stop, or vm set --policy, of that virtual machine; then clusterctl upgrade "
                         "start --target %s",
                         r->target);
}

bool run_is_partial(const struct tables *t, const struct run *r, struct error *ret)
{
    struct step first = {.position = 0};
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->n_steps; i++) {
        struct step s;
        if (step_get(t, &r->id, i, &s) < 0 || !s.left_out || s.back != r->back)
            continue;
        if (n++ == 0)
            first = s;
    }
    if (n == 0)
        return false;
    if (n == 1)
        error_set(ret, ERR_CONDITION, "%s was left out: %s", first.node, first.detail);
    else
        error_set(ret, ERR_CONDITION, "%s and %u more were left out: %s", first.node, n - 1, first.detail);
    remedy_of_left_out(r, ret);
    return true;
}

bool step_keeps_level(const struct tables *t, const struct step *s)
{
    struct level_state l;
    if (!s->left_out || level_get(t, &l) < 0)
        return false;
    for (size_t i = 0; i < l.n; i++)
        if (str_eq(l.members[i].node, s->node))
            return l.members[i].native <= l.fl && l.fl < level_of_release(s->target);
    return false;
}

bool run_forbids_raise(const struct tables *t, struct error *ret)
{
    struct run r;
    if (run_current(t, &r) < 0 || !r.back)
        return false;
    error_set(ret, ERR_CONDITION, "the upgrade to %s is being rolled back: its nodes could not go on at a higher level",
              r.target);
    error_set_remedy(ret, "clusterctl upgrade status");
    return true;
}

/* The step under way of that node. */
int step_of_node(const struct tables *t, const struct run *r, const char *node, struct step *ret)
{
    for (uint32_t i = 0; i < r->n_steps; i++) {
        struct step s;
        if (step_get(t, &r->id, i, &s) < 0 || !step_state_is_under_way(s.state) || !str_eq(s.node, node))
            continue;
        *ret = s;
        return 0;
    }
    return ERR_NOT_FOUND;
}

bool step_is_on(const struct tables *t, const char *node)
{
    struct run r;
    struct step s;
    return run_current(t, &r) == 0 && step_of_node(t, &r, node, &s) == 0;
}

bool step_rebuilds(const struct tables *t, const char *node)
{
    struct run r;
    struct step s;
    return run_current(t, &r) == 0 && step_of_node(t, &r, node, &s) == 0 && s.state == STEP_REBUILDING;
}

void step_op_id(const struct step *s, char ret[HOOK_OP_ID_MAX])
{
    snprintf(ret, HOOK_OP_ID_MAX, "%s-%03u-%u", uuid_str(&s->run).s, s->position, s->attempt);
}

bool upgrade_is_checking(const struct tables *t)
{
    struct run r;
    return run_current(t, &r) == 0 && r.state == RUN_PRECHECKING;
}

bool upgrade_holds_drain(const struct tables *t, const char *node)
{
    struct run r;
    struct step s;
    if (run_current(t, &r) < 0 || (r.state != RUN_PAUSED && r.state != RUN_PAUSED_ERROR))
        return false;
    if (step_of_node(t, &r, node, &s) < 0)
        return false;
    enum step_state state = s.state == STEP_FAILED ? s.failed_in : s.state;
    return state == STEP_DRAINING || state == STEP_DRAINED;
}

/* ---- JSON ---------------------------------------------------------------------------------------------------- */

static struct json *text_json(const char *s)
{
    return s[0] ? json_str_new(s) : json_null_new();
}

static const char *direction(bool back)
{
    return back ? "back" : "forward";
}

static struct json *canary_json(const struct step *s)
{
    const struct canary *c = &s->canary;
    struct json *j = json_object_new();
    json_set_str(j, "node", s->node);
    json_set_str(j, "result", canary_result_name(c->result));
    json_set(j, "vm", text_json(c->vm));
    json_set(j, "from", text_json(c->from));
    json_set_int(j, "move", c->leg);
    json_set(j, "text", text_json(c->text));
    return j;
}

static struct json *left_out_json(const struct tables *t, const struct run *r, const struct step *s)
{
    struct json *j = json_object_new();
    struct error how = {0};
    remedy_of_left_out(r, &how);
    json_set_str(j, "node", s->node);
    json_set_str(j, "text", s->detail);
    json_set_bool(j, "keeps_level", step_keeps_level(t, s));
    json_set_str(j, "remedy", how.remedy);
    return j;
}

static struct json *step_json(const struct step *s)
{
    struct json *j = json_object_new();
    json_set_int(j, "position", s->position);
    json_set_str(j, "node", s->node);
    json_set_str(j, "direction", direction(s->back));
    json_set_str(j, "state", step_state_name(s->state));
    json_set(j, "failed_in", s->state == STEP_FAILED ? json_str_new(step_state_name(s->failed_in)) : json_null_new());
    json_set_str(j, "from_release", s->from_release);
    json_set_str(j, "target", s->target);
    json_set_int(j, "attempt", s->attempt);
    json_set_bool(j, "approved", s->approved);
    json_set(j, "started", json_time_new(s->started_ms));
    json_set(j, "entered", json_time_new(s->entered_ms));
    json_set(j, "ended", json_time_new(s->ended_ms));
    json_set(j, "detail", text_json(s->detail));
    json_set(j, "output", text_json(s->output));
    return j;
}

struct json *run_json(const struct tables *t, const struct run *r, int64_t wall_ms)
{
    int64_t done = 0, total = 0, until = r->ended_ms ? r->ended_ms : wall_ms;
    char awaits[RUN_NAME_MAX] = "";
    bool is_over = true;
    struct json *steps = json_array_new(), *canary = json_null_new(), *left_out = json_array_new();
    for (uint32_t i = 0; i < r->n_steps; i++) {
        struct step s;
        if (step_get(t, &r->id, i, &s) < 0)
            continue;
        json_append(steps, step_json(&s));
        if (s.state == STEP_AWAITING_APPROVAL && !awaits[0])
            STR_COPY(awaits, s.node);
        if (s.canary.result != CANARY_NONE) {
            json_free(canary);
            canary = canary_json(&s);
        }
        is_over = is_over && step_state_is_final(s.state);
        done += s.back == r->back && s.state == STEP_DONE;
        total += s.back == r->back && (s.state != STEP_SKIPPED || s.left_out);
        if (s.left_out && s.back == r->back)
            json_append(left_out, left_out_json(t, r, &s));
    }
    struct json *j = json_object_new();
    json_set_str(j, "id", uuid_str(&r->id).s);
    json_set_str(j, "target", r->target);
    json_set_str(j, "executor", executor_kind_name(r->executor));
    json_set_str(j, "state", run_state_name(r->state));
    json_set_str(j, "direction", direction(r->back));
    json_set_bool(j, "rolled_back", r->back && r->state == RUN_CANCELLED && is_over && json_count(left_out) == 0);
    json_set_bool(j, "approve_each", r->approve_each);
    json_set_int(j, "max_unavailable", r->max_unavailable);
    json_set(j, "awaits_approval", text_json(awaits));
    json_set(j, "canary", canary);
    json_set_str(j, "started_by", r->started_by);
    json_set(j, "created", json_time_new(r->created_ms));
    json_set(j, "changed", json_time_new(r->changed_ms));
    json_set(j, "ended", json_time_new(r->ended_ms));
    json_set(j, "error", text_json(r->error));
    json_set(j, "remedy", text_json(r->remedy));
    json_set(j, "left_out", left_out);
    json_set(j, "steps", steps);
    json_set_int(j, "done", done);
    json_set_int(j, "total", total);
    json_set_int(j, "seconds", until > r->created_ms ? (until - r->created_ms) / 1000 : 0);
    return j;
}

/* ---- the report ---------------------------------------------------------------------------------------------- */

static struct json *notes_json(const char *notes)
{
    struct json *lines = json_array_new();
    for (const char *p = notes, *end; (end = strchr(p, '\n')) != NULL; p = end + 1) {
        char line[RUN_NOTES_MAX];
        snprintf(line, sizeof(line), "%.*s", (int)(end - p), p);
        json_append(lines, json_str_new(line));
    }
    return lines;
}

static struct json *step_report_json(const struct step *s, int64_t wall_ms)
{
    const int64_t *ms = s->spent_ms;
    int64_t until = s->ended_ms ? s->ended_ms : wall_ms;
    struct json *j = json_object_new();
    json_set_str(j, "node", s->node);
    json_set_str(j, "direction", direction(s->back));
    json_set_str(j, "from_release", s->from_release);
    json_set_str(j, "target", s->target);
    json_set_str(j, "state", step_state_name(s->state));
    json_set_int(j, "attempts", s->attempt);
    json_set_int(j, "approval_ms", ms[STEP_AWAITING_APPROVAL]);
    json_set_int(j, "drain_ms", ms[STEP_DRAINING] + ms[STEP_DRAINED]);
    json_set_int(j, "rebuild_ms", ms[STEP_EVICTING] + ms[STEP_REBUILDING] + ms[STEP_AWAITING_REJOIN]);
    json_set_int(j, "join_ms", ms[STEP_JOINING] + ms[STEP_VERIFYING]);
    json_set_int(j, "canary_ms", ms[STEP_CANARY]);
    json_set_int(j, "failback_ms", ms[STEP_FAILBACK]);
    json_set_int(j, "stopped_ms", ms[STEP_FAILED]);
    json_set_int(j, "total_ms", s->started_ms && until > s->started_ms ? until - s->started_ms : 0);
    return j;
}

struct json *run_report_json(const struct tables *t, const struct run *r, int64_t wall_ms)
{
    struct json *j = json_object_new(), *nodes = json_array_new();
    for (uint32_t i = 0; i < r->n_steps; i++) {
        struct step s;
        if (step_get(t, &r->id, i, &s) == 0 && s.state != STEP_SKIPPED)
            json_append(nodes, step_report_json(&s, wall_ms));
    }
    json_set(j, "run", run_json(t, r, wall_ms));
    json_set(j, "nodes", nodes);
    json_set(j, "accepted", notes_json(r->accepted));
    json_set(j, "errors", notes_json(r->errors));
    return j;
}
