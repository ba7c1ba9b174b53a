/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names, allowed moves, rows and JSON of a run and its steps. Rows:
 * TABLE_RUN   uuid, str target, u8 state, u64 seq, u32 n_steps, i64 created, i64 changed, i64 ended, str by, str error,
 *             str remedy
 * TABLE_STEP  uuid run, u32 position, str node, u8 state, u8 failed_in, u64 seq, u32 attempt, u8 hook_failed,
 *             uuid replica_before, i64 entered, i64 started, i64 ended, str from_release, str detail */
#include <assert.h>
#include <stdio.h>

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
    [RUN_ROLLING_BACK] = {"rolling-back", 0},
    [RUN_AWAITING_RAISE] = {"awaiting-raise", TO(RUN_DONE)},
    [RUN_DONE] = {"done", 0},
    [RUN_CANCELLED] = {"cancelled", 0},
};
enum { N_RUN_STATES = sizeof(run_states) / sizeof(run_states[0]) };

static const struct {
    char name[16];
    uint32_t to;
} step_states[] = {
    [STEP_PENDING] = {"pending", TO(STEP_DRAINING) | TO(STEP_SKIPPED)},
    [STEP_DRAINING] = {"draining", TO(STEP_DRAINED) | TO(STEP_FAILED) | TO(STEP_SKIPPED)},
    [STEP_DRAINED] = {"drained", TO(STEP_EVICTING) | TO(STEP_DRAINING) | TO(STEP_FAILED) | TO(STEP_SKIPPED)},
    [STEP_EVICTING] = {"evicting", TO(STEP_REBUILDING) | TO(STEP_FAILED)},
    [STEP_REBUILDING] = {"rebuilding", TO(STEP_REBUILDING) | TO(STEP_AWAITING_REJOIN) | TO(STEP_FAILED)},
    [STEP_AWAITING_REJOIN] = {"awaiting-rejoin", TO(STEP_JOINING) | TO(STEP_FAILED)},
    [STEP_JOINING] = {"joining", TO(STEP_VERIFYING) | TO(STEP_FAILED)},
    [STEP_VERIFYING] = {"verifying", TO(STEP_FAILBACK) | TO(STEP_FAILED)},
    [STEP_FAILBACK] = {"failback", TO(STEP_DONE) | TO(STEP_FAILED)},
    [STEP_DONE] = {"done", 0},
    [STEP_FAILED] = {"failed", 0},
    [STEP_SKIPPED] = {"skipped", 0},
};
enum { N_STEP_STATES = sizeof(step_states) / sizeof(step_states[0]) };

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

bool run_state_is_final(enum run_state s)
{
    return s == RUN_DONE || s == RUN_CANCELLED;
}

bool step_state_is_final(enum step_state s)
{
    return s == STEP_DONE || s == STEP_SKIPPED;
}

bool run_state_may(enum run_state from, enum run_state to)
{
    return run_state_is_valid(from) && run_state_is_valid(to) && (run_states[from].to & TO(to)) != 0;
}

bool step_state_may(enum step_state from, enum step_state to)
{
    return step_state_is_valid(from) && step_state_is_valid(to) && (step_states[from].to & TO(to)) != 0;
}

/* ---- rows ---------------------------------------------------------------------------------------------------- */

void run_put(struct tables *t, const struct run *r)
{
    AUTO(buf_done) struct buf b = {0};
    wire_put_uuid(&b, &r->id);
    wire_put_str(&b, r->target);
    wire_put_u8(&b, (uint8_t)r->state);
    wire_put_u64(&b, r->seq);
    wire_put_u32(&b, r->n_steps);
    wire_put_i64(&b, r->created_ms);
    wire_put_i64(&b, r->changed_ms);
    wire_put_i64(&b, r->ended_ms);
    wire_put_str(&b, r->started_by);
    wire_put_str(&b, r->error);
    wire_put_str(&b, r->remedy);
    tables_put(t, TABLE_RUN, uuid_str(&r->id).s, buf_slice(&b));
}

int run_decode(struct slice value, struct run *ret)
{
    struct wire_reader w = wire_reader(value);
    struct run r = {.id = wire_get_uuid(&w)};
    WIRE_GET_STR(&w, r.target);
    r.state = (enum run_state)wire_get_u8(&w);
    r.seq = wire_get_u64(&w);
    r.n_steps = wire_get_u32(&w);
    r.created_ms = wire_get_i64(&w);
    r.changed_ms = wire_get_i64(&w);
    r.ended_ms = wire_get_i64(&w);
    WIRE_GET_STR(&w, r.started_by);
    WIRE_GET_STR(&w, r.error);
    WIRE_GET_STR(&w, r.remedy);
    if (wire_err(&w) || !run_state_is_valid(r.state) || r.n_steps > RUN_STEPS_MAX)
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
    wire_put_u8(&b, s->hook_failed);
    wire_put_uuid(&b, &s->replica_before);
    wire_put_i64(&b, s->entered_ms);
    wire_put_i64(&b, s->started_ms);
    wire_put_i64(&b, s->ended_ms);
    wire_put_str(&b, s->from_release);
    wire_put_str(&b, s->detail);
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
    s.hook_failed = wire_get_u8(&w) != 0;
    s.replica_before = wire_get_uuid(&w);
    s.entered_ms = wire_get_i64(&w);
    s.started_ms = wire_get_i64(&w);
    s.ended_ms = wire_get_i64(&w);
    WIRE_GET_STR(&w, s.from_release);
    WIRE_GET_STR(&w, s.detail);
    if (wire_err(&w) || !step_state_is_valid(s.state) || s.position >= RUN_STEPS_MAX)
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
        if (found && s.state == STEP_PENDING)
            continue;
        *ret = s;
        found = true;
        if (s.state != STEP_PENDING)
            break; /* at most one is under way */
    }
    return found ? 0 : ERR_NOT_FOUND;
}

void step_op_id(const struct step *s, char ret[HOOK_OP_ID_MAX])
{
    snprintf(ret, HOOK_OP_ID_MAX, "%s-%03u-%u", uuid_str(&s->run).s, s->position, s->attempt);
}

bool upgrade_holds_drain(const struct tables *t, const char *node)
{
    struct run r;
    struct step s;
    if (run_current(t, &r) < 0 || (r.state != RUN_PAUSED && r.state != RUN_PAUSED_ERROR))
        return false;
    if (step_current(t, &r, &s) < 0 || !str_eq(s.node, node))
        return false;
    enum step_state state = s.state == STEP_FAILED ? s.failed_in : s.state;
    return state == STEP_DRAINING || state == STEP_DRAINED;
}

/* ---- JSON ---------------------------------------------------------------------------------------------------- */

static struct json *text_json(const char *s)
{
    return s[0] ? json_str_new(s) : json_null_new();
}

static struct json *step_json(const struct step *s)
{
    struct json *j = json_object_new();
    json_set_int(j, "position", s->position);
    json_set_str(j, "node", s->node);
    json_set_str(j, "state", step_state_name(s->state));
    json_set(j, "failed_in", s->state == STEP_FAILED ? json_str_new(step_state_name(s->failed_in)) : json_null_new());
    json_set_str(j, "from_release", s->from_release);
    json_set_int(j, "attempt", s->attempt);
    json_set(j, "started", json_time_new(s->started_ms));
    json_set(j, "entered", json_time_new(s->entered_ms));
    json_set(j, "ended", json_time_new(s->ended_ms));
    json_set(j, "detail", text_json(s->detail));
    return j;
}

struct json *run_json(const struct tables *t, const struct run *r, int64_t wall_ms)
{
    int64_t done = 0, total = 0, until = r->ended_ms ? r->ended_ms : wall_ms;
    struct json *steps = json_array_new();
    for (uint32_t i = 0; i < r->n_steps; i++) {
        struct step s;
        if (step_get(t, &r->id, i, &s) < 0)
            continue;
        json_append(steps, step_json(&s));
        done += s.state == STEP_DONE;
        total += s.state != STEP_SKIPPED;
    }
    struct json *j = json_object_new();
    json_set_str(j, "id", uuid_str(&r->id).s);
    json_set_str(j, "target", r->target);
    json_set_str(j, "state", run_state_name(r->state));
    json_set_str(j, "started_by", r->started_by);
    json_set(j, "created", json_time_new(r->created_ms));
    json_set(j, "changed", json_time_new(r->changed_ms));
    json_set(j, "ended", json_time_new(r->ended_ms));
    json_set(j, "error", text_json(r->error));
    json_set(j, "remedy", text_json(r->remedy));
    json_set(j, "steps", steps);
    json_set_int(j, "done", done);
    json_set_int(j, "total", total);
    json_set_int(j, "seconds", until > r->created_ms ? (until - r->created_ms) / 1000 : 0);
    return j;
}
