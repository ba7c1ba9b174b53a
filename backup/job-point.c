/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rows of TABLE_REPOSITORY: str name, str path, i64 created_ms.
 * Rows of TABLE_POINT:      str vm, uuid, str repository, str checkpoint, i64 started_ms, i64 ended_ms, i64 pause_ms,
 *                           str document (the inner object of backup/refpoint.h), str checkpoint_xml
 * Payloads:
 *   REPOSITORY_SET     str name, str path, i64 0, bytes sealed key
 *   REPOSITORY_REMOVE  str name */
#include <assert.h>
#include <stdio.h>

#include "backup/job-entry.h"
#include "common/text.h"

/* ---- repositories ---- */

int repository_check(const struct repository_row *r, struct error *e)
{
    if (!layout_vm_ok(r->name))
        return error_set(e, ERR_USAGE,
                         "repository name '%s': use letters, digits, '.', '_', '+' and '-'; a letter or digit first",
                         r->name);
    if (!text_is_plain_path(r->path))
        return error_set(e, ERR_USAGE,
                         "repository %s: path '%s' is no absolute and plain path (letters, digits, / . _ + -)", r->name,
                         r->path);
    return 0;
}

static void put_repository(const struct repository_row *r, struct buf *b)
{
    wire_put_str(b, r->name);
    wire_put_str(b, r->path);
    wire_put_i64(b, r->created_ms);
}

static struct repository_row get_repository(struct wire_reader *r)
{
    struct repository_row row = {0};
    WIRE_GET_STR(r, row.name);
    WIRE_GET_STR(r, row.path);
    row.created_ms = wire_get_i64(r);
    return row;
}

void repository_put(struct tables *t, const struct repository_row *r)
{
    AUTO(buf_done) struct buf b = {0};
    put_repository(r, &b);
    tables_put(t, TABLE_REPOSITORY, r->name, buf_slice(&b));
}

int repository_decode(struct slice value, struct repository_row *ret)
{
    struct wire_reader r = wire_reader(value);
    struct repository_row row = get_repository(&r);
    if (wire_err(&r) || repository_check(&row, NULL))
        return ERR_MALFORMED;
    *ret = row;
    return 0;
}

int repository_get(const struct tables *t, const char *name, struct repository_row *ret)
{
    struct slice value;
    if (tables_get(t, TABLE_REPOSITORY, name, &value))
        return ERR_NO_OBJECT;
    int err = repository_decode(value, ret);
    assert(!err); /* only backup_apply writes rows */
    return err;
}

bool repository_next(const struct tables *t, const char *after, struct repository_row *ret)
{
    struct table_row row;
    if (!tables_next(t, TABLE_REPOSITORY, after, &row))
        return false;
    int err = repository_decode(row.value, ret);
    assert(!err);
    return true;
}

void repository_secret(const char *name, char ret[TABLE_KEY_MAX])
{
    snprintf(ret, TABLE_KEY_MAX, REPOSITORY_SEAL "%s", name);
}

void backup_entry_repository(const struct repository_row *r, struct slice sealed_key, struct buf *b)
{
    put_repository(r, b);
    wire_put_slice(b, sealed_key);
}

int backup_entry_repository_decode(struct slice payload, struct repository_row *ret, struct slice *ret_key)
{
    struct wire_reader r = wire_reader(payload);
    struct repository_row row = get_repository(&r);
    struct slice key = wire_get_slice(&r);
    if (wire_end(&r) || key.len == 0 || key.len > REPOSITORY_SEALED_MAX)
        return ERR_MALFORMED;
    *ret = row;
    *ret_key = key;
    return 0;
}

void backup_entry_repository_remove(const char *name, struct buf *b)
{
    wire_put_str(b, name);
}

int backup_entry_name_decode(struct slice payload, char ret_name[REPOSITORY_NAME_MAX])
{
    struct wire_reader r = wire_reader(payload);
    char name[REPOSITORY_NAME_MAX];
    WIRE_GET_STR(&r, name);
    if (wire_end(&r))
        return ERR_MALFORMED;
    str_copy(ret_name, REPOSITORY_NAME_MAX, name);
    return 0;
}

struct json *repository_row_json(const struct tables *t, const struct repository_row *r)
{
    struct json *o = json_object_new();
    int64_t points = 0, stored = 0;
    char key[TABLE_KEY_MAX] = "";
    struct point_row p;
    while (point_next(t, NULL, key, &p)) {
        if (!str_eq(p.repository, r->name))
            continue;
        points++;
        for (size_t i = 0; i < p.ref.n_disks; i++)
            stored += (int64_t)p.ref.disks[i].stored_bytes;
    }
    json_set_str(o, "name", r->name);
    json_set_str(o, "path", r->path);
    json_set(o, "created", json_time_new(r->created_ms));
    json_set_int(o, "points", points);
    json_set_int(o, "stored_bytes", stored);
    return o;
}

/* ---- points ---- */

void point_key(const char *vm, const struct uuid *uuid, char ret[TABLE_KEY_MAX])
{
    snprintf(ret, TABLE_KEY_MAX, "%s/%s", vm, uuid_str(uuid).s);
}

void point_put(struct tables *t, const struct point_new *p)
{
    AUTO(buf_done) struct buf b = {0};
    char key[TABLE_KEY_MAX];
    point_key(p->vm, &p->uuid, key);
    wire_put_str(&b, p->vm);
    wire_put_uuid(&b, &p->uuid);
    wire_put_str(&b, p->repository);
    wire_put_str(&b, p->checkpoint);
    wire_put_i64(&b, p->started_ms);
    wire_put_i64(&b, p->ended_ms);
    wire_put_i64(&b, p->pause_ms);
    wire_put_slice(&b, p->document);
    wire_put_slice(&b, p->checkpoint_xml);
    tables_put(t, TABLE_POINT, key, buf_slice(&b));
}

void point_del(struct tables *t, const char *vm, const struct uuid *uuid)
{
    char key[TABLE_KEY_MAX];
    point_key(vm, uuid, key);
    tables_del(t, TABLE_POINT, key);
}

static int split(struct slice value, struct point_new *p, char vm[BACKUP_VM_MAX], struct point_row *row)
{
    struct wire_reader r = wire_reader(value);
    wire_get_str(&r, vm, BACKUP_VM_MAX);
    p->uuid = wire_get_uuid(&r);
    WIRE_GET_STR(&r, row->repository);
    WIRE_GET_STR(&r, row->checkpoint);
    p->started_ms = row->started_ms = wire_get_i64(&r);
    p->ended_ms = row->ended_ms = wire_get_i64(&r);
    p->pause_ms = row->pause_ms = wire_get_i64(&r);
    p->document = wire_get_slice(&r);
    p->checkpoint_xml = row->checkpoint_xml = wire_get_slice(&r);
    p->vm = vm;
    p->repository = row->repository;
    p->checkpoint = row->checkpoint;
    return wire_err(&r);
}

int point_decode(struct slice value, struct point_row *ret)
{
    struct point_row *row = xcalloc(1, sizeof *row);
    struct point_new p;
    struct json *doc = NULL;
    char vm[BACKUP_VM_MAX];
    int err = split(value, &p, vm, row);
    if (!err && p.document.len > REFPOINT_SIZE_MAX)
        err = ERR_MALFORMED;
    err = err ? err : json_parse((const char *)p.document.p, p.document.len, &doc, NULL);
    err = err ? err : refpoint_read(doc, &row->ref, NULL);
    if (!err && (!uuid_eq(&row->ref.uuid, &p.uuid) || !str_eq(row->ref.vm, vm)))
        err = ERR_MALFORMED;
    if (!err)
        *ret = *row;
    json_free(doc);
    free(row);
    return err ? ERR_MALFORMED : 0;
}

int point_get(const struct tables *t, const char *vm, const struct uuid *uuid, struct point_row *ret)
{
    struct slice value;
    char key[TABLE_KEY_MAX];
    point_key(vm, uuid, key);
    if (tables_get(t, TABLE_POINT, key, &value))
        return ERR_NO_OBJECT;
    int err = point_decode(value, ret);
    assert(!err);
    return err;
}

bool point_next(const struct tables *t, const char *vm, char key[TABLE_KEY_MAX], struct point_row *ret)
{
    struct table_row row;
    char prefix[BACKUP_VM_MAX + 1] = "";
    if (vm)
        snprintf(prefix, sizeof prefix, "%.63s/", vm);
    if (!tables_next(t, TABLE_POINT, key[0] ? key : prefix[0] ? prefix : NULL, &row) ||
        strncmp(row.key, prefix, strlen(prefix)) != 0)
        return false;
    int err = point_decode(row.value, ret);
    assert(!err);
    str_copy(key, TABLE_KEY_MAX, row.key);
    return true;
}

void point_forget_checkpoint(struct tables *t, const char *vm, const struct uuid *uuid)
{
    struct slice value;
    char key[TABLE_KEY_MAX], name[BACKUP_VM_MAX];
    struct point_row *row = xcalloc(1, sizeof *row);
    struct point_new p;
    point_key(vm, uuid, key);
    if (tables_get(t, TABLE_POINT, key, &value) == 0 && split(value, &p, name, row) == 0) {
        AUTO(freep) char *document = xmemdup(p.document.p, p.document.len);
        p.document.p = (const uint8_t *)document; /* the row is written anew */
        p.checkpoint = "";
        p.checkpoint_xml = (struct slice){0};
        point_put(t, &p);
    }
    free(row);
}

static bool is_newer(const struct point_row *a, const struct point_row *b)
{
    return a->ended_ms != b->ended_ms ? a->ended_ms > b->ended_ms : uuid_cmp(&a->ref.uuid, &b->ref.uuid) > 0;
}

/* The newest of the VM, of that repository (NULL: of any), with a checkpoint if so wanted, and older than `below`. */
static bool find_newest(const struct tables *t, const char *vm, const char *repository, bool checkpoint,
                        const struct point_row *below, struct point_row *ret)
{
    char key[TABLE_KEY_MAX] = "";
    struct point_row *p = xcalloc(1, sizeof *p);
    bool found = false;
    while (point_next(t, vm, key, p)) {
        if ((repository && !str_eq(p->repository, repository)) || (checkpoint && !p->checkpoint[0]) ||
            (below && !is_newer(below, p)) || (found && is_newer(ret, p)))
            continue;
        *ret = *p;
        found = true;
    }
    free(p);
    return found;
}

struct uuid point_newest(const struct tables *t, const char *vm)
{
    struct uuid none = {{0}};
    struct point_row *p = xcalloc(1, sizeof *p);
    bool found = find_newest(t, vm, NULL, false, NULL, p);
    none = found ? p->ref.uuid : none;
    free(p);
    return none;
}

static char *order_of(const struct point_row *p)
{
    struct json *o = json_object_new(), *disks = json_array_new();
    AUTO(freep) char *xml = xcalloc(1, p->checkpoint_xml.len + 1);
    if (p->checkpoint_xml.len)
        memcpy(xml, p->checkpoint_xml.p, p->checkpoint_xml.len);
    for (size_t i = 0; i < p->ref.n_disks; i++) {
        struct json *d = json_object_new();
        json_set_str(d, "name", p->ref.disks[i].name);
        json_set_str(d, "tracking", uuid_str(&p->ref.disks[i].tracking).s);
        json_append(disks, d);
    }
    json_set_str(o, "point", uuid_str(&p->ref.uuid).s);
    json_set_str(o, "checkpoint_xml", xml);
    json_set(o, "disks", disks);
    char *text = json_dump(o);
    json_free(o);
    return text;
}

void point_order(const struct tables *t, const char *vm, const char *repository, struct backup_call *c)
{
    struct point_row *p = xcalloc(2, sizeof *p);
    if (find_newest(t, vm, repository, !repository, NULL, &p[0])) {
        c->parent = p[0].ref.uuid;
        c->parent_order = order_of(&p[0]);
    }
    bool more = find_newest(t, vm, NULL, true, NULL, &p[0]);
    for (size_t i = 0; more && i < CHECKPOINTS_KEPT; i++) {
        STR_COPY(c->keep[i], p[0].checkpoint);
        p[1] = p[0];
        more = find_newest(t, vm, NULL, true, &p[1], &p[0]);
    }
    free(p);
}

struct json *point_row_json(const struct point_row *p)
{
    struct json *o = json_object_new(), *disks = json_array_new();
    uint64_t read = 0, stored = 0, bytes = 0;
    const char *reason = "";
    for (size_t i = 0; i < p->ref.n_disks; i++) {
        const struct refpoint_disk *d = &p->ref.disks[i];
        struct json *j = json_object_new();
        read += d->read_bytes;
        stored += d->stored_bytes;
        bytes += d->bytes;
        if (!reason[0] && str_eq(d->engine, p->ref.engine))
            reason = d->reason;
        json_set_str(j, "name", d->name);
        json_set_str(j, "tracking", uuid_str(&d->tracking).s);
        json_set_int(j, "bytes", (int64_t)d->bytes);
        json_set_str(j, "engine", d->engine);
        json_set_str(j, "reason", d->reason);
        json_set_int(j, "read_bytes", (int64_t)d->read_bytes);
        json_set_int(j, "stored_bytes", (int64_t)d->stored_bytes);
        json_append(disks, j);
    }
    json_set_str(o, "uuid", uuid_str(&p->ref.uuid).s);
    json_set_str(o, "vm", p->ref.vm);
    json_set_str(o, "repository", p->repository);
    json_set_int(o, "sequence", p->ref.sequence);
    json_set_str(o, "parent", uuid_is_nil(&p->ref.parent) ? NULL : uuid_str(&p->ref.parent).s);
    json_set_str(o, "engine", p->ref.engine);
    json_set_str(o, "reason", reason);
    json_set_str(o, "consistency", p->ref.application_consistent ? "application" : "crash");
    json_set_str(o, "note", p->ref.note);
    json_set(o, "created", json_time_new(p->ref.created_ms));
    json_set_int(o, "bytes", (int64_t)bytes);
    json_set_int(o, "read_bytes", (int64_t)read);
    json_set_int(o, "stored_bytes", (int64_t)stored);
    json_set(o, "changed_percent", bytes ? json_real_new((double)stored * 100 / (double)bytes) : json_null_new());
    json_set_int(o, "duration_ms", p->ended_ms > p->started_ms ? p->ended_ms - p->started_ms : 0);
    json_set_int(o, "pause_ms", p->pause_ms);
    json_set_str(o, "checkpoint", p->checkpoint[0] ? p->checkpoint : NULL);
    json_set(o, "disks", disks);
    return o;
}
