/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rows of TABLE_BACKUP (little endian, common/wire.h):
 *   str vm, u8 state, request, u8 by_schedule, u8 cancel, uuid run, uuid claim, str node, str boot_id, i64 started_ms,
 *   u8 result, str last_node, i64 last_started_ms, i64 last_ended_ms, u32 code, str text, i64 done_ms,
 *   i64 verified_ms, u8 is_damaged, str verified_in, str damage, uuid newest, u64 runs, u64 failures, str calendar,
 *   request scheduled, i64 after_ms
 * request:
 *   u8 work, str repository, uuid point, str folder, str as, u8 engine, u8 crash_consistent, i64 limit_bytes, str keep
 * Payloads:
 *   BACKUP_START     str vm, request, u8 by_schedule, str node
 *   BACKUP_END       str vm, uuid run, u8 result, u8 by_leader, u32 code, str text, i64 pause_ms, str checkpoint,
 *                    str point, str checkpoint_xml, u32 n, n times uuid gone
 *   BACKUP_NOTE      str vm, u8 verb, uuid run, uuid claim
 *   BACKUP_SCHEDULE  str vm, str calendar, request
 *   POINT_DELETE     str vm, uuid point */
#include <assert.h>

#include "backup/job-entry.h"

const char *backup_engine_name(enum backup_engine e)
{
    static const char *const names[] = {"auto", "full", "rescan"};
    return names[e];
}

int backup_engine_parse(const char *s, enum backup_engine *ret)
{
    for (enum backup_engine e = BACKUP_AUTO; e <= BACKUP_RESCAN; e++)
        if (str_eq(s, backup_engine_name(e))) {
            *ret = e;
            return 0;
        }
    return ERR_USAGE;
}

const char *backup_work_name(enum backup_work w)
{
    static const char *const names[] = {"backup", "restore", "verify"};
    return names[w];
}

const char *backup_work_noun(enum backup_work w)
{
    static const char *const nouns[] = {"backup", "restore", "verification"};
    return nouns[w];
}

const char *backup_work_doing(enum backup_work w)
{
    static const char *const words[] = {"backed up to", "restored from", "verified in"};
    return words[w];
}

static const char *const phases[] = {NULL,        "freezing",  "forked", "exporting", "merging",
                                     "restoring", "verifying", "done",   "failed",    "pruning"};

const char *backup_phase_name(enum backup_phase p)
{
    return phases[p];
}

enum backup_phase backup_phase_parse(const char *s)
{
    for (enum backup_phase p = BACKUP_FREEZING; p <= BACKUP_GAVE_UP; p++)
        if (str_eq(s, phases[p]))
            return p;
    return BACKUP_PHASE_NONE;
}

const char *backup_state_name(enum backup_state s)
{
    static const char *const names[] = {"idle", "starting", "running"};
    return names[s];
}

const char *backup_result_name(enum backup_result r)
{
    static const char *const names[] = {NULL, "done", "failed", "cancelled", "lost"};
    return names[r];
}

void backup_call_done(struct backup_call *c)
{
    free(c->parent_order);
    *c = (struct backup_call){0};
}

struct backup_call *backup_call_copy(const struct backup_call *c)
{
    struct backup_call *copy = xmemdup(c, sizeof *c);
    copy->parent_order = c->parent_order ? xstrdup(c->parent_order) : NULL;
    return copy;
}

void backup_outcome_done(struct backup_outcome *o)
{
    free(o->point);
    free(o->checkpoint_xml);
    free(o->points);
    *o = (struct backup_outcome){0};
}

/* ---- rows ---- */

static void put_request(const struct backup_request *q, struct buf *b)
{
    wire_put_u8(b, (uint8_t)q->work);
    wire_put_str(b, q->repository);
    wire_put_uuid(b, &q->point);
    wire_put_str(b, q->folder);
    wire_put_str(b, q->as);
    wire_put_u8(b, (uint8_t)q->engine);
    wire_put_u8(b, q->crash_consistent);
    wire_put_i64(b, q->limit_bytes);
    wire_put_str(b, q->keep);
}

static struct backup_request get_request(struct wire_reader *r)
{
    struct backup_request q = {0};
    struct retention_rule rule;
    q.work = (enum backup_work)wire_get_u8(r);
    WIRE_GET_STR(r, q.repository);
    q.point = wire_get_uuid(r);
    WIRE_GET_STR(r, q.folder);
    WIRE_GET_STR(r, q.as);
    q.engine = (enum backup_engine)wire_get_u8(r);
    q.crash_consistent = wire_get_u8(r) != 0;
    q.limit_bytes = wire_get_i64(r);
    WIRE_GET_STR(r, q.keep);
    bool is_restore = q.work == BACKUP_WORK_RESTORE, has_point = !uuid_is_nil(&q.point);
    if (q.work > BACKUP_WORK_VERIFY || (is_restore && !has_point) || (q.work == BACKUP_WORK_BACKUP && has_point) ||
        is_restore != (q.folder[0] == '/') || is_restore != layout_vm_ok(q.as) || q.engine > BACKUP_RESCAN ||
        q.limit_bytes < 0 || (q.keep[0] && retention_parse(q.keep, &rule, NULL)))
        r->err = ERR_MALFORMED;
    return q;
}

void backup_put(struct tables *t, const struct backup *k)
{
    AUTO(buf_done) struct buf b = {0};
    wire_put_str(&b, k->vm);
    wire_put_u8(&b, (uint8_t)k->state);
    put_request(&k->q, &b);
    wire_put_u8(&b, k->by_schedule);
    wire_put_u8(&b, k->cancel);
    wire_put_uuid(&b, &k->run);
    wire_put_uuid(&b, &k->claim);
    wire_put_str(&b, k->node);
    wire_put_str(&b, k->boot_id);
    wire_put_i64(&b, k->started_ms);
    wire_put_u8(&b, (uint8_t)k->result);
    wire_put_str(&b, k->last_node);
    wire_put_i64(&b, k->last_started_ms);
    wire_put_i64(&b, k->last_ended_ms);
    wire_put_u32(&b, (uint32_t)k->code);
    wire_put_str(&b, k->text);
    wire_put_i64(&b, k->done_ms);
    wire_put_i64(&b, k->verified_ms);
    wire_put_u8(&b, k->is_damaged);
    wire_put_str(&b, k->verified_in);
    wire_put_str(&b, k->damage);
    wire_put_uuid(&b, &k->newest);
    wire_put_u64(&b, k->runs);
    wire_put_u64(&b, k->failures);
    wire_put_str(&b, k->calendar);
    put_request(&k->scheduled, &b);
    wire_put_i64(&b, k->after_ms);
    tables_put(t, TABLE_BACKUP, k->vm, buf_slice(&b));
}

static bool is_whole(const struct backup *k)
{
    struct calendar c;
    bool acts = k->state != BACKUP_IDLE, runs = k->state == BACKUP_RUNNING;
    return k->state <= BACKUP_RUNNING && k->result <= BACKUP_LOST && acts == !uuid_is_nil(&k->run) &&
           acts == (k->node[0] != '\0') && acts == (k->boot_id[0] != '\0') && runs == !uuid_is_nil(&k->claim) &&
           layout_vm_ok(k->vm) && (!k->calendar[0] || calendar_parse(k->calendar, &c, NULL) == 0);
}

int backup_decode(struct slice value, struct backup *ret)
{
    struct wire_reader r = wire_reader(value);
    struct backup k = {0};
    WIRE_GET_STR(&r, k.vm);
    k.state = (enum backup_state)wire_get_u8(&r);
    k.q = get_request(&r);
    k.by_schedule = wire_get_u8(&r) != 0;
    k.cancel = wire_get_u8(&r) != 0;
    k.run = wire_get_uuid(&r);
    k.claim = wire_get_uuid(&r);
    WIRE_GET_STR(&r, k.node);
    WIRE_GET_STR(&r, k.boot_id);
    k.started_ms = wire_get_i64(&r);
    k.result = (enum backup_result)wire_get_u8(&r);
    WIRE_GET_STR(&r, k.last_node);
    k.last_started_ms = wire_get_i64(&r);
    k.last_ended_ms = wire_get_i64(&r);
    k.code = (int32_t)wire_get_u32(&r);
    WIRE_GET_STR(&r, k.text);
    k.done_ms = wire_get_i64(&r);
    k.verified_ms = wire_get_i64(&r);
    k.is_damaged = wire_get_u8(&r) != 0;
    WIRE_GET_STR(&r, k.verified_in);
    WIRE_GET_STR(&r, k.damage);
    k.newest = wire_get_uuid(&r);
    k.runs = wire_get_u64(&r);
    k.failures = wire_get_u64(&r);
    WIRE_GET_STR(&r, k.calendar);
    k.scheduled = get_request(&r);
    k.after_ms = wire_get_i64(&r);
    if (wire_err(&r) || !is_whole(&k))
        return ERR_MALFORMED;
    *ret = k;
    return 0;
}

int backup_get(const struct tables *t, const char *vm, struct backup *ret)
{
    struct slice value;
    if (tables_get(t, TABLE_BACKUP, vm, &value))
        return ERR_NO_OBJECT;
    int err = backup_decode(value, ret);
    assert(!err); /* only backup_apply writes rows */
    return err;
}

bool backup_next(const struct tables *t, const char *after, struct backup *ret)
{
    struct table_row row;
    if (!tables_next(t, TABLE_BACKUP, after, &row))
        return false;
    int err = backup_decode(row.value, ret);
    assert(!err);
    return true;
}

bool backup_is_on(const struct tables *t, const char *node, struct backup *ret)
{
    struct backup k;
    for (bool more = backup_next(t, NULL, &k); more; more = backup_next(t, k.vm, &k))
        if (k.state == BACKUP_RUNNING && str_eq(k.node, node)) {
            if (ret)
                *ret = k;
            return true;
        }
    return false;
}

bool backup_holds(const struct tables *t, const char *vm, const char *boot_id)
{
    struct backup k;
    return backup_get(t, vm, &k) == 0 && k.state == BACKUP_RUNNING && k.q.work == BACKUP_WORK_BACKUP &&
           str_eq(k.boot_id, boot_id);
}

int backup_next_ms(const struct backup *b, int64_t *ret_ms)
{
    struct calendar c;
    if (!b->calendar[0] || calendar_parse(b->calendar, &c, NULL))
        return ERR_NOT_FOUND;
    return calendar_next(&c, b->after_ms, ret_ms);
}

bool backup_is_due(const struct backup *b, int64_t wall_ms)
{
    int64_t next_ms;
    return backup_next_ms(b, &next_ms) == 0 && next_ms <= wall_ms;
}

bool backup_is_overdue(const struct backup *b, int64_t wall_ms)
{
    int64_t next_ms;
    bool is_at_it = b->state != BACKUP_IDLE && b->q.work == BACKUP_WORK_BACKUP;
    return !is_at_it && backup_next_ms(b, &next_ms) == 0 && next_ms + BACKUP_LATE_MS <= wall_ms;
}

static int check_vm(const char *name, bool found, const struct backup_vm *v, struct error *e)
{
    if (!found) {
        error_set(e, ERR_NO_OBJECT, "there is no VM %s", name);
        error_set_remedy(e, "clusterctl vm list");
        return ERR_NO_OBJECT;
    }
    if (v->busy) {
        error_set(e, ERR_AGAIN, "VM %s is being started, stopped or moved on %s", name, v->node);
        error_set_remedy(e, "clusterctl vm show %s", name);
        return ERR_AGAIN;
    }
    if (v->runs)
        return 0;
    error_set(e, ERR_CONDITION, "VM %s does not run: only a running one is backed up", name);
    error_set_remedy(e, "clusterctl vm start %s", name);
    return ERR_CONDITION;
}

int backup_may_run(const struct backup_eye *eye, enum backup_work work, const char *vm, const char *node,
                   struct backup_vm *ret, struct error *e)
{
    bool is_backup = work == BACKUP_WORK_BACKUP;
    bool found = is_backup ? eye->vm(eye->ctx, vm, ret) : eye->node(eye->ctx, node, ret);
    int err = is_backup ? check_vm(vm, found, ret, e) : 0;
    if (err)
        return err;
    if (!found) {
        error_set(e, ERR_NO_OBJECT, "no node %s in this cluster", node);
        error_set_remedy(e, "clusterctl node list");
        return ERR_NO_OBJECT;
    }
    if (ret->accepts)
        return 0;
    const char *why = ret->draining ? "is being drained" : "takes no work now";
    if (is_backup)
        error_set(e, ERR_CONDITION, "VM %s runs on %s, which %s", vm, ret->node, why);
    else
        error_set(e, ERR_CONDITION, "node %s %s", node, why);
    error_set_remedy(e, "clusterctl node list; clusterctl node resume %s", ret->node);
    return ERR_CONDITION;
}

/* ---- shown ---- */

static struct json *last_json(const struct backup *k)
{
    if (k->result == BACKUP_NEVER)
        return json_null_new();
    struct json *o = json_object_new();
    json_set_str(o, "result", backup_result_name(k->result));
    json_set_str(o, "node", k->last_node);
    json_set(o, "started", json_time_new(k->last_started_ms));
    json_set(o, "ended", json_time_new(k->last_ended_ms));
    json_set_int(o, "code", err_exit_code(k->code));
    json_set_str(o, "text", k->text[0] ? k->text : NULL);
    return o;
}

static struct json *verified_json(const struct backup *k)
{
    if (!k->verified_ms)
        return json_null_new();
    struct json *o = json_object_new();
    json_set(o, "time", json_time_new(k->verified_ms));
    json_set_str(o, "repository", k->verified_in);
    json_set_bool(o, "damaged", k->is_damaged);
    json_set_str(o, "text", k->damage[0] ? k->damage : NULL);
    return o;
}

static void set_request(struct json *o, const struct backup_request *q)
{
    json_set_str(o, "repository", q->repository);
    json_set_str(o, "engine", backup_engine_name(q->engine));
    json_set_str(o, "consistency", q->crash_consistent ? "crash" : "application");
    json_set_int(o, "limit_bytes", q->limit_bytes);
    json_set_str(o, "keep", q->keep[0] ? q->keep : NULL);
}

static struct json *schedule_json(const struct backup *k)
{
    int64_t next_ms;
    if (!k->calendar[0])
        return json_null_new();
    struct json *o = json_object_new();
    json_set_str(o, "calendar", k->calendar);
    set_request(o, &k->scheduled);
    json_set(o, "next", backup_next_ms(k, &next_ms) ? json_null_new() : json_time_new(next_ms));
    return o;
}

struct json *backup_json(const struct backup *k, int64_t wall_ms)
{
    struct json *o = json_object_new();
    bool acts = k->state != BACKUP_IDLE;
    const char *state = acts                         ? backup_state_name(k->state)
                        : backup_is_due(k, wall_ms) ? "due"
                                                    : "idle";
    json_set_str(o, "vm", k->vm);
    json_set_str(o, "state", k->cancel ? "cancelling" : state);
    json_set_str(o, "work", acts ? backup_work_name(k->q.work) : NULL);
    json_set_str(o, "repository", k->q.repository[0] ? k->q.repository : NULL);
    json_set_str(o, "node", acts ? k->node : NULL);
    json_set_str(o, "run", acts ? uuid_str(&k->run).s : NULL);
    json_set(o, "started", json_time_new(acts ? k->started_ms : 0));
    json_set(o, "last", last_json(k));
    json_set(o, "last_done", json_time_new(k->done_ms));
    json_set(o, "verified", verified_json(k));
    json_set_str(o, "newest", uuid_is_nil(&k->newest) ? NULL : uuid_str(&k->newest).s);
    json_set(o, "schedule", schedule_json(k));
    json_set_int(o, "runs", (int64_t)k->runs);
    json_set_int(o, "failures", (int64_t)k->failures);
    return o;
}

/* ---- payloads ---- */

void backup_entry_start(const struct backup_start *s, struct buf *b)
{
    wire_put_str(b, s->vm);
    put_request(&s->q, b);
    wire_put_u8(b, s->by_schedule);
    wire_put_str(b, s->node);
}

int backup_entry_start_decode(struct slice payload, struct backup_start *ret)
{
    struct wire_reader r = wire_reader(payload);
    struct backup_start s = {0};
    WIRE_GET_STR(&r, s.vm);
    s.q = get_request(&r);
    s.by_schedule = wire_get_u8(&r) != 0;
    WIRE_GET_STR(&r, s.node);
    bool is_backup = s.q.work == BACKUP_WORK_BACKUP;
    if (wire_end(&r) || !layout_vm_ok(s.vm) || is_backup != (s.node[0] == '\0'))
        return ERR_MALFORMED;
    *ret = s;
    return 0;
}

void backup_end_done(struct backup_end *n)
{
    free(n->point);
    free(n->checkpoint_xml);
    free(n->gone);
    n->point = n->checkpoint_xml = NULL;
    n->gone = NULL;
    n->n_gone = 0;
}

void backup_entry_end(const struct backup_end *n, struct buf *b)
{
    wire_put_str(b, n->vm);
    wire_put_uuid(b, &n->run);
    wire_put_u8(b, (uint8_t)n->result);
    wire_put_u8(b, n->by_leader);
    wire_put_u32(b, (uint32_t)n->code);
    wire_put_str(b, n->text);
    wire_put_i64(b, n->pause_ms);
    wire_put_str(b, n->checkpoint);
    wire_put_str(b, n->point);
    wire_put_str(b, n->checkpoint_xml);
    wire_put_u32(b, (uint32_t)n->n_gone);
    for (size_t i = 0; i < n->n_gone; i++)
        wire_put_uuid(b, &n->gone[i]);
}

static void get_gone(struct wire_reader *r, struct backup_end *n)
{
    n->n_gone = wire_get_count(r, sizeof(struct uuid));
    if (n->n_gone > BACKUP_GONE_MAX) {
        r->err = ERR_MALFORMED;
        n->n_gone = 0;
    }
    n->gone = n->n_gone ? xcalloc(n->n_gone, sizeof *n->gone) : NULL;
    for (size_t i = 0; i < n->n_gone; i++)
        n->gone[i] = wire_get_uuid(r);
}

int backup_entry_end_decode(struct slice payload, struct backup_end *ret)
{
    struct wire_reader r = wire_reader(payload);
    struct backup_end n = {0};
    WIRE_GET_STR(&r, n.vm);
    n.run = wire_get_uuid(&r);
    n.result = (enum backup_result)wire_get_u8(&r);
    n.by_leader = wire_get_u8(&r) != 0;
    n.code = (int32_t)wire_get_u32(&r);
    WIRE_GET_STR(&r, n.text);
    n.pause_ms = wire_get_i64(&r);
    WIRE_GET_STR(&r, n.checkpoint);
    n.point = wire_get_strdup(&r);
    n.checkpoint_xml = wire_get_strdup(&r);
    get_gone(&r, &n);
    bool is_done = n.result == BACKUP_DONE;
    if (wire_end(&r) || (!is_done && n.n_gone) || n.result < BACKUP_DONE || n.result > BACKUP_LOST ||
        (!is_done && n.point[0]) || strlen(n.checkpoint_xml) > CHECKPOINT_XML_MAX) {
        backup_end_done(&n);
        return ERR_MALFORMED;
    }
    *ret = n;
    return 0;
}

void backup_entry_note(const struct backup_note *n, struct buf *b)
{
    wire_put_str(b, n->vm);
    wire_put_u8(b, (uint8_t)n->verb);
    wire_put_uuid(b, &n->run);
    wire_put_uuid(b, &n->claim);
}

int backup_entry_note_decode(struct slice payload, struct backup_note *ret)
{
    struct wire_reader r = wire_reader(payload);
    struct backup_note n = {0};
    WIRE_GET_STR(&r, n.vm);
    n.verb = (enum backup_note_verb)wire_get_u8(&r);
    n.run = wire_get_uuid(&r);
    n.claim = wire_get_uuid(&r);
    if (wire_end(&r) || n.verb < BACKUP_NOTE_CLAIM || n.verb > BACKUP_NOTE_CRASHED ||
        (n.verb == BACKUP_NOTE_CLAIM) != !uuid_is_nil(&n.claim))
        return ERR_MALFORMED;
    *ret = n;
    return 0;
}

void backup_entry_schedule(const struct backup_schedule *s, struct buf *b)
{
    wire_put_str(b, s->vm);
    wire_put_str(b, s->calendar);
    put_request(&s->q, b);
}

int backup_entry_schedule_decode(struct slice payload, struct backup_schedule *ret)
{
    struct wire_reader r = wire_reader(payload);
    struct backup_schedule s = {0};
    WIRE_GET_STR(&r, s.vm);
    WIRE_GET_STR(&r, s.calendar);
    s.q = get_request(&r);
    if (wire_end(&r) || !layout_vm_ok(s.vm) || s.q.work != BACKUP_WORK_BACKUP)
        return ERR_MALFORMED;
    *ret = s;
    return 0;
}

void backup_entry_point_delete(const char *vm, const struct uuid *point, struct buf *b)
{
    wire_put_str(b, vm);
    wire_put_uuid(b, point);
}

int backup_entry_point_delete_decode(struct slice payload, char ret_vm[BACKUP_VM_MAX], struct uuid *ret_point)
{
    struct wire_reader r = wire_reader(payload);
    char vm[BACKUP_VM_MAX];
    WIRE_GET_STR(&r, vm);
    struct uuid point = wire_get_uuid(&r);
    if (wire_end(&r))
        return ERR_MALFORMED;
    str_copy(ret_vm, BACKUP_VM_MAX, vm);
    *ret_point = point;
    return 0;
}
