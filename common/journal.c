/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rows of TABLE_JOB:   uuid id, u8 kind, u8 state, str object, str node, str detail, i64 started, i64 ended, u32 code
 *                      (two's complement), str error.
 * Rows of TABLE_EVENT: u64 seq, i64 time, u8 severity, str object, str text; the key is seq with 20 digits, so that the
 *                      table's order is the order of events. */
#include "common/journal.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/text.h"

static const char *name_of(const char *const *names, size_t n, unsigned value)
{
    return value < n && names[value] ? names[value] : "unknown";
}
#define NAME_OF(names, value) name_of((names), sizeof(names) / sizeof((names)[0]), (unsigned)(value))

const char *job_kind_name(enum job_kind k)
{
    static const char *const names[] = {
        [JOB_VM_START] = "vm-start", [JOB_VM_STOP] = "vm-stop",         [JOB_VM_MIGRATE] = "vm-migrate",
        [JOB_DRAIN] = "node-drain",  [JOB_RESUME] = "node-resume",      [JOB_EVICT] = "node-evict",
        [JOB_UPGRADE] = "upgrade",   [JOB_LEVEL_RAISE] = "level-raise", [JOB_BACKUP] = "backup",
        [JOB_RESTORE] = "restore",   [JOB_VERIFY] = "verify",
    };
    return NAME_OF(names, k);
}

const char *job_state_name(enum job_state s)
{
    static const char *const names[] = {
        [JOB_RUNNING] = "running",
        [JOB_DONE] = "done",
        [JOB_FAILED] = "failed",
        [JOB_CANCELLED] = "cancelled",
    };
    return NAME_OF(names, s);
}

const char *event_severity_name(enum event_severity s)
{
    static const char *const names[] = {
        [EVENT_INFO] = "info",
        [EVENT_WARNING] = "warning",
        [EVENT_ERROR] = "error",
    };
    return NAME_OF(names, s);
}

/* ---- jobs */

static void job_encode(const struct job *j, struct buf *b)
{
    wire_put_uuid(b, &j->id);
    wire_put_u8(b, (uint8_t)j->kind);
    wire_put_u8(b, (uint8_t)j->state);
    wire_put_str(b, j->object);
    wire_put_str(b, j->node);
    wire_put_str(b, j->detail);
    wire_put_i64(b, j->started_ms);
    wire_put_i64(b, j->ended_ms);
    wire_put_u32(b, (uint32_t)j->code);
    wire_put_str(b, j->error);
}

int job_decode(struct slice value, struct job *ret)
{
    struct wire_reader r = wire_reader(value);
    struct job j = {0};
    j.id = wire_get_uuid(&r);
    j.kind = (enum job_kind)wire_get_u8(&r);
    j.state = (enum job_state)wire_get_u8(&r);
    WIRE_GET_STR(&r, j.object);
    WIRE_GET_STR(&r, j.node);
    WIRE_GET_STR(&r, j.detail);
    j.started_ms = wire_get_i64(&r);
    j.ended_ms = wire_get_i64(&r);
    j.code = (int32_t)wire_get_u32(&r);
    WIRE_GET_STR(&r, j.error);
    if (wire_err(&r))
        return wire_err(&r);
    *ret = j;
    return 0;
}

static void job_put(struct tables *t, const struct job *j)
{
    AUTO(buf_done) struct buf b = {0};
    job_encode(j, &b);
    tables_put(t, TABLE_JOB, uuid_str(&j->id).s, buf_slice(&b));
}

/* Forgets the job that ended first; jobs that run stay, however many there are. */
static bool forget_oldest_job(struct tables *t)
{
    char oldest[UUID_STR_SIZE] = "";
    int64_t oldest_ms = 0;
    TABLES_FOREACH(t, TABLE_JOB, row)
    {
        struct job j;
        if (job_decode(row.value, &j) || j.state == JOB_RUNNING)
            continue;
        if (oldest[0] && j.ended_ms >= oldest_ms)
            continue;
        STR_COPY(oldest, row.key);
        oldest_ms = j.ended_ms;
    }
    return oldest[0] && tables_del(t, TABLE_JOB, oldest);
}

void journal_job_begin(struct tables *t, const struct job *j)
{
    if (uuid_is_nil(&j->id))
        return;
    job_put(t, j);
    while (tables_count(t, TABLE_JOB) > JOB_KEPT && forget_oldest_job(t))
        ;
}

void journal_job_end(struct tables *t, const struct uuid *id, enum job_state state, int64_t time_ms, int code,
                     const char *error)
{
    struct job j;
    if (uuid_is_nil(id) || journal_job_get(t, id, &j) || j.state != JOB_RUNNING)
        return;
    j.state = state;
    j.ended_ms = time_ms;
    j.code = code;
    STR_COPY(j.error, error ? error : "");
    job_put(t, &j);
}

int journal_job_get(const struct tables *t, const struct uuid *id, struct job *ret)
{
    struct slice value;
    int err = tables_get(t, TABLE_JOB, uuid_str(id).s, &value);
    return err ? err : job_decode(value, ret);
}

struct json *job_json(const struct job *j)
{
    struct json *o = json_object_new();
    json_set_str(o, "id", uuid_str(&j->id).s);
    json_set_str(o, "kind", job_kind_name(j->kind));
    json_set_str(o, "state", job_state_name(j->state));
    json_set_str(o, "object", j->object);
    json_set_str(o, "node", j->node[0] ? j->node : NULL);
    json_set_str(o, "detail", j->detail[0] ? j->detail : NULL);
    json_set(o, "started", json_time_new(j->started_ms));
    json_set(o, "ended", json_time_new(j->ended_ms));
    json_set_int(o, "code", err_exit_code(j->code));
    json_set_str(o, "error", j->error[0] ? j->error : NULL);
    return o;
}

/* ---- events */

enum { EVENT_KEY_SIZE = 21 };

static uint64_t last_event_seq(const struct tables *t)
{
    struct table_row row;
    struct cluster_event e;
    if (!tables_last(t, TABLE_EVENT, &row) || cluster_event_decode(row.value, &e))
        return 0;
    return e.seq;
}

static void event_encode(const struct cluster_event *e, struct buf *b)
{
    wire_put_u64(b, e->seq);
    wire_put_i64(b, e->time_ms);
    wire_put_u8(b, (uint8_t)e->severity);
    wire_put_str(b, e->object);
    wire_put_str(b, e->text);
}

int cluster_event_decode(struct slice value, struct cluster_event *ret)
{
    struct wire_reader r = wire_reader(value);
    struct cluster_event e = {0};
    e.seq = wire_get_u64(&r);
    e.time_ms = wire_get_i64(&r);
    e.severity = (enum event_severity)wire_get_u8(&r);
    WIRE_GET_STR(&r, e.object);
    WIRE_GET_STR(&r, e.text);
    if (wire_err(&r))
        return wire_err(&r);
    *ret = e;
    return 0;
}

void journal_event(struct tables *t, int64_t time_ms, enum event_severity severity, const char *object, const char *fmt,
                   ...)
{
    struct cluster_event e = {.seq = last_event_seq(t) + 1, .time_ms = time_ms, .severity = severity};
    STR_COPY(e.object, object ? object : "");
    va_list ap;
    va_start(ap, fmt);
    text_vformat(e.text, sizeof(e.text), fmt, ap);
    va_end(ap);

    char key[EVENT_KEY_SIZE];
    snprintf(key, sizeof(key), "%020" PRIu64, e.seq);
    AUTO(buf_done) struct buf b = {0};
    event_encode(&e, &b);
    tables_put(t, TABLE_EVENT, key, buf_slice(&b));

    struct table_row oldest;
    while (tables_count(t, TABLE_EVENT) > EVENT_KEPT && tables_next(t, TABLE_EVENT, NULL, &oldest))
        tables_del(t, TABLE_EVENT, oldest.key);
}

struct json *cluster_event_json(const struct cluster_event *e)
{
    struct json *o = json_object_new();
    json_set_int(o, "seq", (int64_t)e->seq);
    json_set(o, "time", json_time_new(e->time_ms));
    json_set_str(o, "severity", event_severity_name(e->severity));
    json_set_str(o, "object", e->object[0] ? e->object : NULL);
    json_set_str(o, "text", e->text);
    return o;
}
