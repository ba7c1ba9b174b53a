/* SPDX-License-Identifier: GPL-2.0-or-later */
/* export, rescan: a new point of a virtual machine. Its disks first, then its configuration, its document last. */
#include "agent/io/files.h"
#include "backup/chain.h"
#include "backup/worker/check.h"
#include "backup/worker/export.h"

struct export_work {
    const struct options *o;
    struct repository repository;
    struct points points;
    const struct point *reference; /* NULL: none */
    bool reference_is_another;     /* the bitmaps began at a point that is not here */
    struct refpoint ref;
    uint64_t done_bytes; /* of the disks so far */
    bool is_published;
};

/* The bitmaps began at --parent. Without one, or when it is not here, the newest point is what a rescan compares with.
 */
static void find_reference(struct export_work *w)
{
    const struct options *o = w->o;
    if (!uuid_is_nil(&o->parent) && points_find(&w->points, uuid_str(&o->parent).s, &w->reference, NULL) == 0)
        return;
    w->reference_is_another = true;
    for (size_t i = w->points.n; i-- > 0 && !w->reference;)
        if (w->points.list[i].damage.code == 0)
            w->reference = &w->points.list[i];
}

static enum bitmap_state bitmap_state(const struct export_work *w, const struct disk_option *d, const struct nbd *nbd)
{
    if (d->bitmap_lost)
        return BITMAP_INCONSISTENT;
    if (!d->bitmap)
        return d->machine_is_off ? BITMAP_OFF : BITMAP_NONE;
    if (w->reference_is_another)
        return BITMAP_FOREIGN;
    return nbd_has_bitmap(nbd) ? BITMAP_GOOD : BITMAP_MISSING;
}

/* May the disk's image stand on that of the reference, which has the disk? */
static bool can_carry(const struct export_work *w, const struct refpoint_disk *old, char why_not[CHAIN_REASON_MAX])
{
    AUTO(freep) struct chain_image *images = xcalloc(w->points.n + 1, sizeof(*images));
    for (size_t i = 0; i < w->points.n; i++) {
        const struct point *point = &w->points.list[i];
        const struct refpoint_disk *d = point->ref ? refpoint_disk(point->ref, old->name) : NULL;
        images[i] = (struct chain_image){.sequence = point->sequence,
                                         .base = d ? point->bases[d - point->ref->disks] : 0,
                                         .damaged = !d || point->damage.code != 0 || d->bytes != old->bytes};
    }
    return chain_can_carry(images, w->points.n, w->reference->sequence, why_not);
}

/* Opens the reference's manifest where one is wanted. */
static void choose(const struct export_work *w, struct export_disk *x)
{
    const struct refpoint_disk *old = w->reference ? refpoint_disk(w->reference->ref, x->disk->name) : NULL;
    struct engine_facts f = {
        .has_reference = old && (uuid_is_nil(&x->disk->tracking) || uuid_eq(&x->disk->tracking, &old->tracking)),
        .asked_full = w->o->engine && str_eq(w->o->engine, "full"),
        .asked_rescan = w->o->engine && str_eq(w->o->engine, "rescan"),
        .disk_bytes = nbd_bytes(x->nbd),
        .reference_bytes = old ? old->bytes : 0,
        .bitmap = bitmap_state(w, x->disk, x->nbd)};
    char why_not[CHAIN_REASON_MAX] = "";
    if (f.has_reference) {
        struct error why = {0};
        f.reference_is_damaged = check_manifest(&w->points, w->reference, old->name, x->key, &x->before, &why) < 0;
        f.cannot_carry = can_carry(w, old, why_not) ? NULL : why_not;
        x->tracking = old->tracking;
    } else {
        x->tracking = uuid_is_nil(&x->disk->tracking) ? uuid_random() : x->disk->tracking;
    }
    x->choice = engine_choose(&f);
    if (!x->choice.engine->incremental) {
        manifest_free(x->before);
        x->before = NULL;
    }
}

static void say_engine(const struct export_disk *x)
{
    struct json *j = json_object_new();
    json_set_str(j, "event", "engine");
    json_set_str(j, "disk", x->disk->name);
    json_set_str(j, "engine", x->choice.engine->name);
    json_set_str(j, "reason", x->choice.reason);
    say(j);
}

static int check_size(const struct export_disk *x, struct error *e)
{
    uint64_t n = nbd_bytes(x->nbd);
    if (n > 0 && n <= MANIFEST_DISK_MAX && n % 512 == 0)
        return 0;
    return error_set(e, ERR_CONDITION, "the disk %s has %llu bytes: it must be whole sectors of 512, up to 64 TiB",
                     x->disk->name, (unsigned long long)n);
}

static int export_one(struct export_work *w, const struct disk_option *d, struct refpoint_disk *ret, struct error *e)
{
    struct export_disk x = {.options = w->o,
                            .disk = d,
                            .folder = &w->points.folder,
                            .key = buf_slice(&w->repository.key),
                            .point = w->ref.uuid,
                            .sequence = w->ref.sequence,
                            .base_sequence = w->reference ? w->reference->sequence : 0,
                            .done_before = w->done_bytes};
    int err = nbd_open(d->value, d->bitmap, &x.nbd, e);
    if (!err)
        err = check_size(&x, e);
    if (!err) {
        choose(w, &x);
        say_engine(&x);
        err = export_disk(&x, e);
    }
    w->done_bytes += x.put_bytes;
    if (!err) {
        *ret = (struct refpoint_disk){.tracking = x.tracking,
                                      .bytes = nbd_bytes(x.nbd),
                                      .read_bytes = x.read_bytes,
                                      .stored_bytes = x.stored_bytes};
        STR_COPY(ret->name, d->name);
        STR_COPY(ret->engine, x.choice.engine->name);
        STR_COPY(ret->reason, x.choice.reason);
        if (x.choice.engine->incremental)
            w->ref.parent = w->reference->ref->uuid;
    }
    manifest_free(x.before);
    nbd_free(x.nbd);
    return err;
}

/* Into the repository: the bytes, or else the file of that path; neither is none. */
static int keep_file(struct export_work *w, struct slice bytes, const char *path, enum layout_kind kind, bool *ret_has,
                     struct hash *ret, struct error *e)
{
    AUTO(buf_done) struct buf b = {0};
    int err = 0;
    if (bytes.len == 0) {
        if (!path)
            return 0;
        if (strlen(path) >= FILES_PATH_MAX)
            return error_set(e, ERR_USAGE, "the path %.40s… is too long", path);
        err = file_read("", path, CONFIG_MAX, &b, e);
        bytes = buf_slice(&b);
    }
    if (!err)
        err = folder_install(&w->points.folder, layout_name(kind, NULL, w->ref.sequence).s, bytes, e);
    if (err)
        return err;
    *ret_has = true;
    *ret = hash_of(bytes.p, bytes.len);
    return 0;
}

static int choose_uuid(struct export_work *w, struct error *e)
{
    const char *asked = w->o->point;
    if (!asked) {
        w->ref.uuid = uuid_random();
        return 0;
    }
    if (uuid_parse(asked, &w->ref.uuid) < 0 || uuid_is_nil(&w->ref.uuid))
        return error_set(e, ERR_USAGE, "--point %.40s is no UUID", asked);
    const struct point *there = points_lookup(&w->points, uuid_str(&w->ref.uuid).s);
    if (!there)
        return 0;
    error_set(e, ERR_CONDITION, "%s has a point %s already, number %u", w->points.folder.path, asked, there->sequence);
    error_set_remedy(e, "name another UUID, or leave --point out: then a new one is made");
    return ERR_CONDITION;
}

int export_disks(struct export_work *w, struct error *e)
{
    const struct options *o = w->o;
    if (w->points.next > LAYOUT_SEQUENCE_MAX)
        return error_set(e, ERR_CONDITION, "%s has had %d points, and cannot number more", o->vm, LAYOUT_SEQUENCE_MAX);
    w->ref.sequence = w->points.next;
    w->ref.application_consistent = o->application;
    STR_COPY(w->ref.vm, o->vm);
    STR_COPY(w->ref.note, o->note ? o->note : "");
    int err = choose_uuid(w, e);
    if (err)
        return err;
    find_reference(w);
    for (size_t i = 0; !err && i < o->n_disks; i++) {
        err = export_one(w, &o->disks[i], &w->ref.disks[i], e);
        w->ref.n_disks += !err;
    }
    if (!err)
        err = keep_file(w, o->domain_xml_bytes, o->domain_xml, LAYOUT_DOMAIN, &w->ref.has_domain, &w->ref.domain, e);
    return err ? err : keep_file(w, o->nvram_bytes, o->nvram, LAYOUT_NVRAM, &w->ref.has_nvram, &w->ref.nvram, e);
}

int export_begin(const struct options *o, struct export_work **ret, struct error *e)
{
    struct export_work *w = xcalloc(1, sizeof(*w));
    w->o = o;
    w->repository.folder.fd = w->points.folder.fd = w->points.lock = -1;
    int err = repository_open(o, &w->repository, e);
    if (!err)
        err = points_open(&w->repository, o->vm, true, true, &w->points, e);
    if (err)
        export_end(w);
    else
        *ret = w;
    return err;
}

int export_publish(struct export_work *w, struct json **ret, struct error *e)
{
    AUTO(buf_done) struct buf b = {0};
    STR_COPY(w->ref.engine, refpoint_engine(&w->ref));
    w->ref.created_ms = wall_ms();
    refpoint_encode(&w->ref, buf_slice(&w->repository.key), &b);
    int err =
        folder_install(&w->points.folder, layout_name(LAYOUT_REFPOINT, NULL, w->ref.sequence).s, buf_slice(&b), e);
    if (err)
        return err;
    w->is_published = true;
    *ret = refpoint_json(&w->ref);
    return 0;
}

/* A number without a document is a rest: this writer's own goes at once. */
void export_end(struct export_work *w)
{
    if (!w)
        return;
    if (!w->is_published && w->ref.sequence > 0)
        (void)points_delete(&w->points, w->ref.sequence, NULL);
    points_done(&w->points);
    repository_done(&w->repository);
    free(w);
}

int verb_export(const struct options *o, struct json **ret, struct error *e)
{
    struct export_work *w = NULL;
    if (!o->vm || o->n_disks == 0)
        return error_set(e, ERR_USAGE, "export wants --vm, and --disk NAME=URI for each disk");
    int err = export_begin(o, &w, e);
    if (!err)
        err = export_disks(w, e);
    if (!err)
        err = export_publish(w, ret, e);
    export_end(w);
    return err;
}

int verb_rescan(const struct options *o, struct json **ret, struct error *e)
{
    struct options *copy = xmemdup(o, sizeof(*o));
    copy->engine = "rescan";
    int err = verb_export(copy, ret, e);
    free(copy);
    return err;
}
