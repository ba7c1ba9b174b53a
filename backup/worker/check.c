/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backup/worker/check.h"

static int damaged(const struct points *p, const char *name, struct error *e)
{
    error_set(e, ERR_MALFORMED, "%s/%s is damaged, or belongs to another point", p->folder.path, name);
    error_set_remedy(e, "restore another point, and make a full backup; look for the disk's errors: journalctl -k");
    return ERR_MALFORMED;
}

int check_manifest(const struct points *p, const struct point *point, const char *disk, struct slice key,
                   struct manifest **ret, struct error *e)
{
    struct manifest *m;
    struct layout_name name = layout_name(LAYOUT_MANIFEST, disk, point->sequence);
    const struct refpoint_disk *d = refpoint_disk(point->ref, disk);
    int err = manifest_open(&p->folder, name.s, key, &m, e);
    if (err == ERR_NOT_FOUND)
        return damaged(p, name.s, e);
    if (err)
        return err;
    if (!d || !uuid_eq(&m->header.point, &point->ref->uuid) || !uuid_eq(&m->header.tracking, &d->tracking) ||
        m->header.disk_bytes != d->bytes) {
        manifest_free(m);
        return damaged(p, name.s, e);
    }
    *ret = m;
    return 0;
}

int check_file(const struct points *p, const struct point *point, enum layout_kind kind, struct buf *ret,
               struct error *e)
{
    bool domain = kind == LAYOUT_DOMAIN;
    const struct hash *want = domain ? &point->ref->domain : &point->ref->nvram;
    struct layout_name name = layout_name(kind, NULL, point->sequence);
    if (!(domain ? point->ref->has_domain : point->ref->has_nvram))
        return error_set(e, ERR_NO_OBJECT, "the point was made without %s", domain ? "a domain XML" : "an NVRAM");
    struct buf b = {0};
    int err = folder_read(&p->folder, name.s, CONFIG_MAX, &b, e);
    if (err)
        return err == ERR_NOT_FOUND || err == ERR_TOO_BIG ? damaged(p, name.s, e) : err;
    struct hash is = hash_of(b.p, b.len);
    if (!hash_eq(&is, want)) {
        buf_done(&b);
        return damaged(p, name.s, e);
    }
    *ret = b;
    return 0;
}

/* The manifest of the disk at the point that its image stands on; NULL: it stands on none. */
static int manifest_below(const struct points *p, const struct image *image, const char *disk, struct slice key,
                          struct manifest **ret, struct error *e)
{
    struct layout_file f;
    if (image->header.backing[0] == '\0')
        return 0;
    const struct point *below = NULL;
    if (layout_parse(image->header.backing, &f) && f.kind == LAYOUT_IMAGE && str_eq(f.disk, disk))
        below = points_by_sequence(p, f.sequence);
    if (!below || !below->ref) {
        error_set(e, ERR_MALFORMED, "%s/%s stands on %s, and that point is not there or damaged", p->folder.path,
                  image->name.s, image->header.backing);
        error_set_remedy(e, "restore another point, and make a full backup");
        return ERR_MALFORMED;
    }
    return check_manifest(p, below, disk, key, ret, e);
}

static int check_disk(const struct points *p, const struct point *point, const char *disk, struct slice key,
                      const struct check_watch *w, struct error *e)
{
    struct manifest *want = NULL, *below = NULL;
    struct image *image = NULL;
    struct layout_name name = layout_name(LAYOUT_IMAGE, disk, point->sequence);
    int err = check_manifest(p, point, disk, key, &want, e);
    if (!err)
        err = image_open(&p->folder, name.s, &image, e);
    if (err == ERR_NOT_FOUND)
        err = damaged(p, name.s, e);
    if (!err)
        err = image_check(image, e);
    if (!err)
        err = manifest_below(p, image, disk, key, &below, e);
    if (!err) {
        const struct image *one[] = {image};
        struct replay r = {.images = one,
                           .n_images = 1,
                           .want = want,
                           .below = below,
                           .raw_fd = -1,
                           .progress = {.work = "verify", .object = disk},
                           .watch = w->watch,
                           .before_bytes = w->before_bytes,
                           .total_bytes = w->total_bytes};
        err = replay_run(&r, e);
    }
    image_free(image);
    manifest_free(below);
    manifest_free(want);
    return err;
}

int check_point(const struct points *p, const struct point *point, struct slice key, const struct check_watch *w,
                struct error *e)
{
    AUTO(buf_done) struct buf domain = {0}, nvram = {0};
    struct check_watch at = *w;
    int err = 0;
    for (size_t i = 0; !err && i < point->ref->n_disks; i++) {
        err = check_disk(p, point, point->ref->disks[i].name, key, &at, e);
        at.before_bytes += point->ref->disks[i].bytes;
    }
    if (!err && point->ref->has_domain)
        err = check_file(p, point, LAYOUT_DOMAIN, &domain, e);
    if (!err && point->ref->has_nvram)
        err = check_file(p, point, LAYOUT_NVRAM, &nvram, e);
    return err;
}
