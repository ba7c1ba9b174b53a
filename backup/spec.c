/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backup/spec.h"

#include <stdio.h>

#include "common/hash.h"
#include "common/json.h"

enum { LIMIT_BITS_MAX = 50 };

static int bad(struct error *e, const char *member, const char *wanted)
{
    return error_set(e, ERR_USAGE, "the job's '%s' must be %s", member, wanted);
}

/* ---- members */

static int take_uuid(const struct json *j, const char *member, struct uuid *ret, struct error *e)
{
    const char *s = json_str(j, "");
    return uuid_parse(s, ret) == 0 && !uuid_is_nil(ret) ? 0 : bad(e, member, "a UUID");
}

static int take_path(const struct json *j, const char *member, char dst[SPEC_PATH_MAX], struct error *e)
{
    const char *s = json_str(j, "");
    return s[0] == '/' && s[1] != '\0' && str_copy(dst, SPEC_PATH_MAX, s) ? 0 : bad(e, member, "an absolute path");
}

static int take_key(const struct json *j, struct spec *s, struct error *e)
{
    const char *text = json_str(j, "");
    s->key_len = base64_decode(text, strlen(text), s->key, sizeof(s->key));
    return s->key_len >= SPEC_KEY_MIN ? 0 : bad(e, "key", "32 to 4096 bytes in base64");
}

static int take_engine(const struct json *j, struct spec *s, struct error *e)
{
    const char *text = json_str(j, "");
    if (!str_eq(text, "auto") && !str_eq(text, "rescan") && !str_eq(text, "full"))
        return bad(e, "engine", "auto, rescan or full");
    STR_COPY(s->engine, text);
    return 0;
}

static int take_consistency(const struct json *j, struct spec *s, struct error *e)
{
    const char *text = json_str(j, "");
    s->application = str_eq(text, "application");
    return s->application || str_eq(text, "crash") ? 0 : bad(e, "consistency", "application or crash");
}

static bool is_checkpoint(const char *s)
{
    struct uuid u;
    size_t n = strlen(CHECKPOINT_PREFIX);
    return strncmp(s, CHECKPOINT_PREFIX, n) == 0 && uuid_parse(s + n, &u) == 0;
}

static int take_keep(const struct json *j, struct spec *s, struct error *e)
{
    if (!json_is_array(j) || json_count(j) > SPEC_KEEP_MAX)
        return bad(e, "keep_checkpoints", "a list of at most 64 names");
    for (size_t i = 0; i < json_count(j); i++) {
        const char *name = json_str(json_at(j, i), "");
        if (!is_checkpoint(name))
            return bad(e, "keep_checkpoints", "names as ringmaster-UUID");
        STR_COPY(s->keep[s->n_keep++].s, name);
    }
    return 0;
}

static int take_limit(const struct json *j, struct spec *s, struct error *e)
{
    int64_t n = json_int(j, -1);
    if (n < 0 || n > INT64_C(1) << LIMIT_BITS_MAX)
        return bad(e, "limit_bytes", "a number of bytes");
    s->limit_bytes = (uint64_t)n;
    return 0;
}

/* ---- parent */

/* The first that is in none of the names; NULL: all are. */
static const char *unknown_member(const struct json *j, const char *const *names)
{
    void *it = NULL;
    const char *key;
    const struct json *value;
    while (json_next(j, &it, &key, &value)) {
        size_t i = 0;
        while (names[i] && !str_eq(names[i], key))
            i++;
        if (!names[i])
            return key;
    }
    return NULL;
}

static int refuse_unknown(const struct json *j, const char *where, const char *const *names, struct error *e)
{
    const char *key = unknown_member(j, names);
    return key ? error_set(e, ERR_USAGE, "%s has a member '%.40s' that this release does not know", where, key) : 0;
}

static const struct spec_disk *find_disk(const struct spec_parent *p, const char *name)
{
    for (size_t i = 0; i < p->n_disks; i++)
        if (str_eq(p->disks[i].name, name))
            return &p->disks[i];
    return NULL;
}

static int take_disk(const struct json *j, struct spec_parent *p, struct error *e)
{
    static const char *const members[] = {"name", "tracking", NULL};
    struct spec_disk d;
    const char *name = json_get_str(j, "name", "");
    if (!json_is_object(j) || !layout_disk_ok(name) || !STR_COPY(d.name, name) || find_disk(p, name))
        return bad(e, "parent.disks", "names of disks, each once");
    int err = refuse_unknown(j, "the job's parent.disks", members, e);
    if (!err)
        err = take_uuid(json_get(j, "tracking"), "parent.disks.tracking", &d.tracking, e);
    if (!err)
        p->disks[p->n_disks++] = d;
    return err;
}

static int take_parent(const struct json *j, struct spec *s, struct error *e)
{
    static const char *const members[] = {"point", "checkpoint_xml", "disks", NULL};
    struct spec_parent *p = &s->parent;
    if (json_is_null(j))
        return 0;
    if (!json_is_object(j))
        return bad(e, "parent", "null or an object");
    const struct json *disks = json_get(j, "disks"), *xml = json_get(j, "checkpoint_xml");
    int err = refuse_unknown(j, "the job's parent", members, e);
    if (!err)
        err = take_uuid(json_get(j, "point"), "parent.point", &p->point, e);
    if (!err && !json_is_str(xml))
        err = bad(e, "parent.checkpoint_xml", "a text");
    if (!err && (!json_is_array(disks) || json_count(disks) > SPEC_DISKS_MAX))
        err = bad(e, "parent.disks", "a list of at most 64 disks");
    for (size_t i = 0; !err && i < json_count(disks); i++)
        err = take_disk(json_at(disks, i), p, e);
    if (!err)
        p->checkpoint_xml = xstrdup(json_str(xml, ""));
    return err;
}

static int take_restore(const struct json *j, struct spec_restore *r, struct error *e)
{
    static const char *const members[] = {"point", "folder", "as", NULL};
    const char *as = json_get_str(j, "as", "");
    if (!json_is_object(j))
        return bad(e, "restore", "an object");
    int err = refuse_unknown(j, "the job's restore", members, e);
    if (!err)
        err = take_path(json_get(j, "folder"), "restore.folder", r->folder, e);
    if (!err && (!layout_vm_ok(as) || !STR_COPY(r->as, as)))
        err = bad(e, "restore.as", "the name of a virtual machine");
    return err ? err : take_uuid(json_get(j, "point"), "restore.point", &r->point, e);
}

static int take_verify(const struct json *j, struct spec *s, struct error *e)
{
    static const char *const members[] = {"point", NULL};
    if (!json_is_object(j))
        return bad(e, "verify", "an object");
    int err = refuse_unknown(j, "the job's verify", members, e);
    s->is_verify = true;
    if (err || json_is_null(json_get(j, "point")))
        return err;
    return take_uuid(json_get(j, "point"), "verify.point", &s->verify, e);
}

/* ---- the whole */

static const char *const all_members[] = {"run",         "vm",     "repository",       "key",         "engine",
                                          "consistency", "parent", "keep_checkpoints", "limit_bytes", "retention",
                                          "restore",     "verify", "status",           NULL};

/* What a settle does without, and of which a restore needs only the first two. */
static int take_work(const struct json *j, bool settle, struct spec *s, struct error *e)
{
    const struct json *m, *restore = json_get(j, "restore"), *verify = json_get(j, "verify");
    bool is_backup = !settle && !restore && !verify;
    int err = restore && verify ? bad(e, "verify", "absent where there is a restore") : 0;
    if (!err && restore)
        err = take_restore(restore, &s->restore, e);
    if (!err && verify)
        err = take_verify(verify, s, e);
    if (err)
        return err;
    if ((m = json_get(j, "repository")) || !settle)
        err = take_path(m, "repository", s->repository, e);
    if (!err && ((m = json_get(j, "key")) || !settle))
        err = take_key(m, s, e);
    if (!err && ((m = json_get(j, "engine")) || is_backup))
        err = take_engine(m, s, e);
    if (!err && ((m = json_get(j, "consistency")) || is_backup))
        err = take_consistency(m, s, e);
    if (!err && ((m = json_get(j, "limit_bytes")) || is_backup))
        err = take_limit(m, s, e);
    if (!err && (m = json_get(j, "retention")) && retention_parse(json_str(m, ""), &s->retention, NULL))
        err = bad(e, "retention", "such as last=48,daily=7");
    return err;
}

static int take_all(const struct json *j, bool settle, struct spec *s, struct error *e)
{
    const char *vm = json_get_str(j, "vm", "");
    if (!json_is_object(j))
        return error_set(e, ERR_USAGE, "the job must be a JSON object");
    int err = refuse_unknown(j, "the job", all_members, e);
    if (!err)
        err = take_uuid(json_get(j, "run"), "run", &s->run, e);
    if (!err && (!layout_vm_ok(vm) || !STR_COPY(s->vm, vm)))
        err = bad(e, "vm", "the name of a virtual machine");
    if (!err)
        err = take_path(json_get(j, "status"), "status", s->status, e);
    if (!err)
        err = take_work(j, settle, s, e);
    if (!err)
        err = take_parent(json_get(j, "parent"), s, e);
    if (!err)
        err = take_keep(json_get(j, "keep_checkpoints"), s, e);
    return err;
}

int spec_decode(struct slice bytes, bool settle, struct spec *ret, struct error *e)
{
    struct json *j = NULL;
    if (bytes.len > SPEC_SIZE_MAX)
        return error_set(e, ERR_USAGE, "the job is larger than %d bytes", SPEC_SIZE_MAX);
    if (json_parse((const char *)bytes.p, bytes.len, &j, e) < 0)
        return error_set(e, ERR_USAGE, "the job is no JSON%s%.200s", e ? ": " : "", e ? e->text : "");
    struct spec *s = xcalloc(1, sizeof(*s));
    int err = take_all(j, settle, s, e);
    if (!err)
        *ret = *s;
    else
        spec_done(s);
    explicit_bzero(s, sizeof(*s));
    free(s);
    json_free(j);
    return err;
}

void spec_done(struct spec *s)
{
    free(s->parent.checkpoint_xml);
    explicit_bzero(s, sizeof(*s));
}

struct checkpoint_name checkpoint_name(const struct uuid *point)
{
    struct checkpoint_name n;
    snprintf(n.s, sizeof(n.s), CHECKPOINT_PREFIX "%s", uuid_str(point).s);
    return n;
}

bool spec_keeps(const struct spec *s, const char *checkpoint)
{
    for (size_t i = 0; i < s->n_keep; i++)
        if (str_eq(s->keep[i].s, checkpoint))
            return true;
    return !uuid_is_nil(&s->parent.point) && str_eq(checkpoint_name(&s->parent.point).s, checkpoint);
}

const struct spec_disk *spec_disk(const struct spec *s, const char *name)
{
    return find_disk(&s->parent, name);
}
