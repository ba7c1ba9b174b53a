/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rows of TABLE_TASK (little endian, common/wire.h):
 *   definition, i64 after_ms, u8 requested, u8 blocked, u8 state, uuid run, uuid claim, str node, str boot_id,
 *   i64 started_ms, u8 result, str last_node, i64 last_started_ms, i64 last_ended_ms, u32 exit_code, str output,
 *   str passed_over, u64 runs, u64 failures
 * definition:
 *   str name, str command, u32 n, n × str argument, str calendar, u8 affinity, i64 timeout_ms
 * Payloads:
 *   TASK_SET     definition
 *   TASK_REMOVE  str name
 *   TASK_START   str name, str node, str boot_id
 *   TASK_END     str name, uuid run, u8 result, u8 by_leader, u32 exit_code, str output
 *   TASK_NOTE    str name, u8 verb, uuid run, uuid claim */
#include "task/task-entry.h"

#include <assert.h>

#include "common/text.h"

const char *task_affinity_name(enum task_affinity a)
{
    return a == TASK_NATIVE_LEVEL ? "native-level" : "any";
}

const char *task_state_name(enum task_state s)
{
    static const char *const names[] = {"idle", "starting", "running"};
    return names[s];
}

const char *task_result_name(enum task_result r)
{
    static const char *const names[] = {NULL, "done", "failed", "timed-out", "lost"};
    return names[r];
}

/* ---- definitions ---- */

static size_t arguments_n(const struct task_definition *d)
{
    size_t n = 0;
    for (size_t i = 0; i < d->arguments_len; i++)
        n += d->arguments[i] == '\0';
    return n;
}

int task_definition_add(struct task_definition *d, const char *argument)
{
    size_t n = strlen(argument) + 1;
    if (n > sizeof(d->arguments) - d->arguments_len || arguments_n(d) == TASK_ARGUMENTS_N_MAX)
        return ERR_TOO_BIG;
    memcpy(d->arguments + d->arguments_len, argument, n);
    d->arguments_len += n;
    return 0;
}

/* A part of a unit's name, which systemd takes as it is. */
static bool is_name(const char *s)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    return s[0] != '\0' && s[0] != '.' && s[0] != '-' && s[strspn(s, plain)] == '\0';
}

static int check_arguments(const struct task_definition *d, struct error *e)
{
    for (size_t i = 0; i < d->arguments_len; i++)
        if (d->arguments[i] != '\0' && (unsigned char)d->arguments[i] < ' ')
            return error_set(e, ERR_USAGE, "task %s: an argument has a control character", d->name);
    return 0;
}

int task_definition_check(const struct task_definition *d, struct error *e)
{
    struct calendar c;
    if (!is_name(d->name))
        return error_set(e, ERR_USAGE, "task name '%s': use letters, digits, '.', '_' and '-'; a letter or digit first",
                         d->name);
    if (!text_is_plain_path(d->command)) /* upgrade/io/executor.c says why */
        return error_set(e, ERR_USAGE,
                         "task %s: command '%s' is no absolute and plain path (letters, digits, / . _ + -)", d->name,
                         d->command);
    if (d->timeout_ms < 1000 || d->timeout_ms > TASK_TIMEOUT_MAX_MS)
        return error_set(e, ERR_USAGE, "task %s: the time-out is from 1 to %d seconds", d->name,
                         TASK_TIMEOUT_MAX_MS / 1000);
    int err = check_arguments(d, e);
    return err || !d->calendar[0] ? err : calendar_parse(d->calendar, &c, e);
}

static void put_definition(const struct task_definition *d, struct buf *b)
{
    wire_put_str(b, d->name);
    wire_put_str(b, d->command);
    wire_put_u32(b, (uint32_t)arguments_n(d));
    for (size_t i = 0; i < d->arguments_len; i += strlen(d->arguments + i) + 1)
        wire_put_str(b, d->arguments + i);
    wire_put_str(b, d->calendar);
    wire_put_u8(b, (uint8_t)d->affinity);
    wire_put_i64(b, d->timeout_ms);
}

static struct task_definition get_definition(struct wire_reader *r)
{
    struct task_definition d = {0};
    WIRE_GET_STR(r, d.name);
    WIRE_GET_STR(r, d.command);
    uint32_t n = wire_get_count(r, sizeof(uint32_t));
    for (uint32_t i = 0; i < n && !wire_err(r); i++) {
        char argument[TASK_ARGUMENTS_MAX];
        WIRE_GET_STR(r, argument);
        if (task_definition_add(&d, argument))
            r->err = ERR_MALFORMED;
    }
    WIRE_GET_STR(r, d.calendar);
    d.affinity = (enum task_affinity)wire_get_u8(r);
    d.timeout_ms = wire_get_i64(r);
    if (d.affinity != TASK_ANY && d.affinity != TASK_NATIVE_LEVEL)
        r->err = ERR_MALFORMED;
    return d;
}

/* ---- rows ---- */

void task_put(struct tables *t, const struct task *k)
{
    AUTO(buf_done) struct buf b = {0};
    put_definition(&k->d, &b);
    wire_put_i64(&b, k->after_ms);
    wire_put_u8(&b, k->requested);
    wire_put_u8(&b, k->blocked);
    wire_put_u8(&b, (uint8_t)k->state);
    wire_put_uuid(&b, &k->run);
    wire_put_uuid(&b, &k->claim);
    wire_put_str(&b, k->node);
    wire_put_str(&b, k->boot_id);
    wire_put_i64(&b, k->started_ms);
    wire_put_u8(&b, (uint8_t)k->result);
    wire_put_str(&b, k->last_node);
    wire_put_i64(&b, k->last_started_ms);
    wire_put_i64(&b, k->last_ended_ms);
    wire_put_u32(&b, (uint32_t)k->exit_code);
    wire_put_str(&b, k->output);
    wire_put_str(&b, k->passed_over);
    wire_put_u64(&b, k->runs);
    wire_put_u64(&b, k->failures);
    tables_put(t, TABLE_TASK, k->d.name, buf_slice(&b));
}

static bool is_whole(const struct task *k)
{
    bool acts = k->state != TASK_IDLE, runs = k->state == TASK_RUNNING;
    return k->state <= TASK_RUNNING && k->result <= TASK_LOST && acts == !uuid_is_nil(&k->run) &&
           acts == (k->node[0] != '\0') && acts == (k->boot_id[0] != '\0') && runs == !uuid_is_nil(&k->claim);
}

int task_decode(struct slice value, struct task *ret)
{
    struct wire_reader r = wire_reader(value);
    struct task k = {.d = get_definition(&r)};
    k.after_ms = wire_get_i64(&r);
    k.requested = wire_get_u8(&r) != 0;
    k.blocked = wire_get_u8(&r) != 0;
    k.state = (enum task_state)wire_get_u8(&r);
    k.run = wire_get_uuid(&r);
    k.claim = wire_get_uuid(&r);
    WIRE_GET_STR(&r, k.node);
    WIRE_GET_STR(&r, k.boot_id);
    k.started_ms = wire_get_i64(&r);
    k.result = (enum task_result)wire_get_u8(&r);
    WIRE_GET_STR(&r, k.last_node);
    k.last_started_ms = wire_get_i64(&r);
    k.last_ended_ms = wire_get_i64(&r);
    k.exit_code = (int32_t)wire_get_u32(&r);
    WIRE_GET_STR(&r, k.output);
    WIRE_GET_STR(&r, k.passed_over);
    k.runs = wire_get_u64(&r);
    k.failures = wire_get_u64(&r);
    if (wire_err(&r) || !is_whole(&k) || task_definition_check(&k.d, NULL))
        return ERR_MALFORMED;
    *ret = k;
    return 0;
}

int task_get(const struct tables *t, const char *name, struct task *ret)
{
    struct slice value;
    if (tables_get(t, TABLE_TASK, name, &value))
        return ERR_NO_OBJECT;
    int err = task_decode(value, ret);
    assert(!err); /* only task_apply writes rows */
    return err;
}

bool task_next(const struct tables *t, const char *after, struct task *ret)
{
    struct table_row row;
    if (!tables_next(t, TABLE_TASK, after, &row))
        return false;
    int err = task_decode(row.value, ret);
    assert(!err);
    return true;
}

int task_next_ms(const struct task *k, int64_t *ret_ms)
{
    struct calendar c;
    if (!k->d.calendar[0] || calendar_parse(k->d.calendar, &c, NULL))
        return ERR_NOT_FOUND;
    return calendar_next(&c, k->after_ms, ret_ms);
}

bool task_is_due(const struct task *k, int64_t wall_ms)
{
    int64_t next_ms;
    return k->requested || (task_next_ms(k, &next_ms) == 0 && next_ms <= wall_ms);
}

bool task_is_late(const struct task *k, int64_t wall_ms)
{
    int64_t next_ms;
    return task_next_ms(k, &next_ms) == 0 && next_ms + TASK_LATE_MS <= wall_ms;
}

int64_t task_left_ms(const struct task *k, int64_t wall_ms)
{
    int64_t left_ms = k->started_ms + k->d.timeout_ms - wall_ms;
    return left_ms < 0 || left_ms > k->d.timeout_ms ? k->d.timeout_ms : left_ms;
}

bool task_is_on(const struct tables *t, const char *node, struct task *ret)
{
    struct task k;
    for (bool more = task_next(t, NULL, &k); more; more = task_next(t, k.d.name, &k))
        if (k.state == TASK_RUNNING && str_eq(k.node, node)) {
            if (ret)
                *ret = k;
            return true;
        }
    return false;
}

/* ---- shown ---- */

static struct json *last_json(const struct task *k)
{
    struct json *o = json_object_new();
    if (k->result == TASK_NEVER) {
        json_free(o);
        return json_null_new();
    }
    json_set_str(o, "result", task_result_name(k->result));
    json_set_str(o, "node", k->last_node);
    json_set(o, "started", json_time_new(k->last_started_ms));
    json_set(o, "ended", json_time_new(k->last_ended_ms));
    bool has_code = k->exit_code >= 0 && (k->result == TASK_DONE || k->result == TASK_FAILED);
    json_set(o, "exit_code", has_code ? json_int_new(k->exit_code) : json_null_new());
    json_set_str(o, "output", k->output);
    return o;
}

struct json *task_json(const struct task *k, int64_t wall_ms)
{
    struct json *o = json_object_new(), *arguments = json_array_new();
    int64_t next_ms;
    bool acts = k->state != TASK_IDLE, is_due = !acts && task_is_due(k, wall_ms);
    for (size_t i = 0; i < k->d.arguments_len; i += strlen(k->d.arguments + i) + 1)
        json_append(arguments, json_str_new(k->d.arguments + i));
    json_set_str(o, "name", k->d.name);
    json_set_str(o, "state", acts ? task_state_name(k->state) : k->blocked ? "blocked" : is_due ? "due" : "idle");
    json_set_str(o, "affinity", task_affinity_name(k->d.affinity));
    json_set_str(o, "command", k->d.command);
    json_set(o, "arguments", arguments);
    json_set_str(o, "calendar", k->d.calendar[0] ? k->d.calendar : NULL);
    json_set_int(o, "timeout_seconds", k->d.timeout_ms / 1000);
    json_set(o, "next", task_next_ms(k, &next_ms) ? json_null_new() : json_time_new(next_ms));
    json_set_bool(o, "requested", k->requested);
    json_set_str(o, "why", !acts && k->blocked ? "blocked until the level is raised" : NULL);
    json_set_str(o, "node", acts ? k->node : NULL);
    json_set_str(o, "run", acts ? uuid_str(&k->run).s : NULL);
    json_set(o, "started", json_time_new(k->state == TASK_RUNNING ? k->started_ms : 0));
    json_set(o, "last", last_json(k));
    json_set_int(o, "runs", (int64_t)k->runs);
    json_set_int(o, "failures", (int64_t)k->failures);
    return o;
}

/* ---- payloads ---- */

void task_entry_set(const struct task_definition *d, struct buf *b)
{
    put_definition(d, b);
}

int task_entry_set_decode(struct slice payload, struct task_definition *ret)
{
    struct wire_reader r = wire_reader(payload);
    struct task_definition d = get_definition(&r);
    if (wire_end(&r))
        return ERR_MALFORMED;
    *ret = d;
    return 0;
}

void task_entry_remove(const char *name, struct buf *b)
{
    wire_put_str(b, name);
}

int task_entry_remove_decode(struct slice payload, char ret_name[TASK_NAME_MAX])
{
    struct wire_reader r = wire_reader(payload);
    char name[TASK_NAME_MAX];
    WIRE_GET_STR(&r, name);
    if (wire_end(&r))
        return ERR_MALFORMED;
    str_copy(ret_name, TASK_NAME_MAX, name);
    return 0;
}

void task_entry_start(const struct task_start *s, struct buf *b)
{
    wire_put_str(b, s->name);
    wire_put_str(b, s->node);
    wire_put_str(b, s->boot_id);
}

int task_entry_start_decode(struct slice payload, struct task_start *ret)
{
    struct wire_reader r = wire_reader(payload);
    struct task_start s = {0};
    WIRE_GET_STR(&r, s.name);
    WIRE_GET_STR(&r, s.node);
    WIRE_GET_STR(&r, s.boot_id);
    if (wire_end(&r) || !s.node[0] || !s.boot_id[0])
        return ERR_MALFORMED;
    *ret = s;
    return 0;
}

void task_entry_end(const struct task_end *n, struct buf *b)
{
    wire_put_str(b, n->name);
    wire_put_uuid(b, &n->run);
    wire_put_u8(b, (uint8_t)n->result);
    wire_put_u8(b, n->by_leader);
    wire_put_u32(b, (uint32_t)n->exit_code);
    wire_put_str(b, n->output);
}

int task_entry_end_decode(struct slice payload, struct task_end *ret)
{
    struct wire_reader r = wire_reader(payload);
    struct task_end n = {0};
    WIRE_GET_STR(&r, n.name);
    n.run = wire_get_uuid(&r);
    n.result = (enum task_result)wire_get_u8(&r);
    n.by_leader = wire_get_u8(&r) != 0;
    n.exit_code = (int32_t)wire_get_u32(&r);
    WIRE_GET_STR(&r, n.output);
    if (wire_end(&r) || n.result < TASK_DONE || n.result > TASK_LOST)
        return ERR_MALFORMED;
    *ret = n;
    return 0;
}

void task_entry_note(const struct task_note *n, struct buf *b)
{
    wire_put_str(b, n->name);
    wire_put_u8(b, (uint8_t)n->verb);
    wire_put_uuid(b, &n->run);
    wire_put_uuid(b, &n->claim);
}

int task_entry_note_decode(struct slice payload, struct task_note *ret)
{
    struct wire_reader r = wire_reader(payload);
    struct task_note n = {0};
    WIRE_GET_STR(&r, n.name);
    n.verb = (enum task_note_verb)wire_get_u8(&r);
    n.run = wire_get_uuid(&r);
    n.claim = wire_get_uuid(&r);
    if (wire_end(&r) || n.verb < TASK_NOTE_REQUEST || n.verb > TASK_NOTE_CLOCK ||
        (n.verb == TASK_NOTE_CLAIM) != !uuid_is_nil(&n.claim))
        return ERR_MALFORMED;
    *ret = n;
    return 0;
}
