/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backup/refpoint.h"

#include <assert.h>

#include "backup/engine.h"
#include "backup/manifest.h"

enum { FORMAT = 1 };

static int bad(struct error *e, const char *what)
{
    return error_set(e, ERR_MALFORMED, "the reference point's %s is missing or makes no sense", what);
}

const char *refpoint_engine(const struct refpoint *p)
{
    const char *all = engines[0]->name;
    for (size_t i = 0; engines[i]; i++)
        for (size_t k = 0; k < p->n_disks; k++)
            if (str_eq(p->disks[k].engine, engines[i]->name))
                all = engines[i]->name;
    return all;
}

const struct refpoint_disk *refpoint_disk(const struct refpoint *p, const char *name)
{
    for (size_t i = 0; i < p->n_disks; i++)
        if (str_eq(p->disks[i].name, name))
            return &p->disks[i];
    return NULL;
}

static struct json *hash_json(bool has, const struct hash *h)
{
    return has ? json_str_new(hash_str(h).s) : json_null_new();
}

static struct json *disk_json(const struct refpoint_disk *d)
{
    struct json *j = json_object_new();
    json_set_str(j, "name", d->name);
    json_set_str(j, "tracking", uuid_str(&d->tracking).s);
    json_set_int(j, "bytes", (int64_t)d->bytes);
    json_set_str(j, "engine", d->engine);
    json_set_str(j, "reason", d->reason);
    json_set_int(j, "read_bytes", (int64_t)d->read_bytes);
    json_set_int(j, "stored_bytes", (int64_t)d->stored_bytes);
    return j;
}

struct json *refpoint_json(const struct refpoint *p)
{
    struct json *j = json_object_new();
    json_set_int(j, "format", FORMAT);
    json_set_str(j, "uuid", uuid_str(&p->uuid).s);
    json_set_str(j, "vm", p->vm);
    json_set_int(j, "sequence", p->sequence);
    json_set_str(j, "parent", uuid_is_nil(&p->parent) ? NULL : uuid_str(&p->parent).s);
    json_set_str(j, "engine", p->engine);
    json_set_str(j, "consistency", p->application_consistent ? "application" : "crash");
    json_set_str(j, "note", p->note);
    json_set_int(j, "created_ms", p->created_ms);
    struct json *disks = json_array_new();
    for (size_t i = 0; i < p->n_disks; i++)
        json_append(disks, disk_json(&p->disks[i]));
    json_set(j, "disks", disks);
    json_set(j, "domain_xml", hash_json(p->has_domain, &p->domain));
    json_set(j, "nvram", hash_json(p->has_nvram, &p->nvram));
    return j;
}

void refpoint_encode(const struct refpoint *p, struct slice key, struct buf *ret)
{
    struct json *inner = refpoint_json(p);
    char *text = json_dump(inner);
    struct slice part = {(const uint8_t *)text, strlen(text)};
    struct hash mac = hash_hmac(key, &part, 1);
    buf_printf(ret, "{\"refpoint\":%s,\"hmac\":\"%s\"}\n", text, hash_str(&mac).s);
    free(text);
    json_free(inner);
}

static bool get_uuid(const struct json *j, const char *key, struct uuid *ret)
{
    const char *s = json_get_str(j, key, NULL);
    return s && uuid_parse(s, ret) == 0 && !uuid_is_nil(ret);
}

static bool get_text(const struct json *j, const char *key, char *dst, size_t size)
{
    const char *s = json_get_str(j, key, NULL);
    return s && str_copy(dst, size, s);
}

static bool get_size(const struct json *j, const char *key, uint64_t max, uint64_t *ret)
{
    int64_t n = json_get_int(j, key, -1);
    if (n < 0 || (uint64_t)n > max)
        return false;
    *ret = (uint64_t)n;
    return true;
}

static bool get_hash(const struct json *j, const char *key, bool *ret_has, struct hash *ret)
{
    const char *s = json_get_str(j, key, NULL);
    *ret_has = s != NULL;
    return json_get(j, key) && (!s || (strlen(s) == 2 * HASH_SIZE && hash_parse(s, ret) == 0));
}

static bool get_engine(const struct json *j, char dst[REFPOINT_ENGINE_MAX])
{
    return get_text(j, "engine", dst, REFPOINT_ENGINE_MAX) && dst[0] != '\0';
}

static int decode_disk(const struct json *j, struct refpoint_disk *ret, struct error *e)
{
    struct refpoint_disk d = {0};
    if (!get_text(j, "name", d.name, sizeof(d.name)) || !layout_disk_ok(d.name))
        return bad(e, "name of a disk");
    if (!get_uuid(j, "tracking", &d.tracking))
        return bad(e, "tracking id of a disk");
    if (!get_size(j, "bytes", MANIFEST_DISK_MAX, &d.bytes) || d.bytes == 0 || d.bytes % 512 != 0)
        return bad(e, "size of a disk");
    if (!get_engine(j, d.engine) || !get_text(j, "reason", d.reason, sizeof(d.reason)))
        return bad(e, "engine of a disk");
    if (!get_size(j, "read_bytes", INT64_MAX, &d.read_bytes) ||
        !get_size(j, "stored_bytes", INT64_MAX, &d.stored_bytes))
        return bad(e, "count of a disk's bytes");
    *ret = d;
    return 0;
}

static int decode_disks(const struct json *j, struct refpoint *p, struct error *e)
{
    const struct json *disks = json_get(j, "disks");
    size_t n = json_count(disks);
    if (!json_is_array(disks) || n == 0 || n > REFPOINT_DISKS_MAX)
        return bad(e, "list of disks");
    for (size_t i = 0; i < n; i++) {
        struct refpoint_disk d;
        int err = decode_disk(json_at(disks, i), &d, e);
        if (err)
            return err;
        if (refpoint_disk(p, d.name))
            return bad(e, "list of disks");
        p->disks[p->n_disks++] = d;
    }
    return 0;
}

static int decode_inner(const struct json *j, struct refpoint *p, struct error *e)
{
    if (json_get_int(j, "format", -1) != FORMAT)
        return error_set(e, ERR_UNKNOWN_KIND, "the reference point has a format that this release does not read");
    if (!get_uuid(j, "uuid", &p->uuid))
        return bad(e, "uuid");
    if (json_is_str(json_get(j, "parent")) && !get_uuid(j, "parent", &p->parent))
        return bad(e, "parent");
    if (!get_text(j, "vm", p->vm, sizeof(p->vm)) || !layout_vm_ok(p->vm))
        return bad(e, "vm");
    uint64_t n;
    if (!get_size(j, "sequence", LAYOUT_SEQUENCE_MAX, &n) || n == 0)
        return bad(e, "sequence");
    p->sequence = (uint32_t)n;
    const char *consistency = json_get_str(j, "consistency", "");
    p->application_consistent = str_eq(consistency, "application");
    if (!p->application_consistent && !str_eq(consistency, "crash"))
        return bad(e, "consistency");
    if (!get_engine(j, p->engine) || !get_text(j, "note", p->note, sizeof(p->note)))
        return bad(e, "engine or note");
    if (!get_size(j, "created_ms", INT64_MAX, &n))
        return bad(e, "time");
    p->created_ms = (int64_t)n;
    if (!get_hash(j, "domain_xml", &p->has_domain, &p->domain) || !get_hash(j, "nvram", &p->has_nvram, &p->nvram))
        return bad(e, "digest");
    return decode_disks(j, p, e);
}

int refpoint_read(const struct json *inner, struct refpoint *ret, struct error *e)
{
    struct refpoint *p = xcalloc(1, sizeof(*p));
    int err = decode_inner(inner, p, e);
    if (!err)
        *ret = *p;
    free(p);
    return err;
}

int refpoint_decode(struct slice bytes, struct slice key, struct refpoint *ret, struct error *e)
{
    if (bytes.len > REFPOINT_SIZE_MAX)
        return error_set(e, ERR_MALFORMED, "the reference point is larger than %d bytes", REFPOINT_SIZE_MAX);
    struct json *all = NULL;
    int err = json_parse((const char *)bytes.p, bytes.len, &all, e);
    if (err)
        return err;
    struct refpoint *p = xcalloc(1, sizeof(*p));
    err = decode_inner(json_get(all, "refpoint"), p, e);
    if (!err) {
        struct buf again = {0};
        refpoint_encode(p, key, &again);
        if (again.len != bytes.len || memcmp(again.p, bytes.p, bytes.len) != 0)
            err = error_set(e, ERR_MALFORMED, "the reference point is damaged, or was made with another key");
        buf_done(&again);
    }
    if (!err)
        *ret = *p;
    free(p);
    json_free(all);
    return err;
}
