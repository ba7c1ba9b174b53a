/* SPDX-License-Identifier: GPL-2.0-or-later */
/* restore: disks of a point into files, and its configuration. Nothing has its name before all of it was checked. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "backup/worker/check.h"

struct restore {
    const struct options *o;
    struct repository repository;
    struct points points;
    const struct point *point;
    uint64_t done_bytes, total_bytes; /* of the disks */
};

struct output {
    struct folder folder;
    struct layout_name name;
};

static void output_done(struct output *t)
{
    folder_done(&t->folder);
}

/* What is there already stays. */
static int output_open(const char *path, struct output *ret, struct error *e)
{
    struct output t = {.folder = {.fd = -1}};
    int err = folder_open_of(path, &t.folder, &t.name, e);
    if (err)
        return err;
    if (faccessat(t.folder.fd, t.name.s, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT) {
        folder_tidy(&t.folder, t.name.s);
        folder_done(&t.folder);
        error_set(e, ERR_CONDITION, "%s is there already, and a restore overwrites nothing", path);
        error_set_remedy(e, "name another file, or remove this one");
        return ERR_CONDITION;
    }
    *ret = t;
    return 0;
}

static int to_raw(struct replay *r, const struct output *t, struct error *e)
{
    AUTO(closep) int fd = -1;
    int err = folder_create(&t->folder, t->name.s, O_DIRECT, &fd, e);
    if (err)
        return err;
    r->raw_fd = fd;
    r->raw_folder = &t->folder;
    r->raw_name = t->name.s;
    /* Whole blocks are written, the last one is cut afterwards. */
    uint64_t bytes = r->want->header.disk_bytes;
    if (ftruncate(fd, (off_t)bytes) < 0)
        err = folder_error(&t->folder, t->name.s, "make", errno, e);
    if (!err)
        err = replay_run(r, e);
    if (!err && ftruncate(fd, (off_t)bytes) < 0)
        err = folder_error(&t->folder, t->name.s, "write", errno, e);
    if (!err)
        err = folder_publish(&t->folder, t->name.s, fd, false, e);
    if (err)
        folder_forget(&t->folder, t->name.s, fd);
    return err;
}

static int to_qcow2(struct replay *r, const struct output *t, struct error *e)
{
    int err = image_create(&t->folder, t->name.s, r->want->header.disk_bytes, NULL, &r->image, e);
    if (!err)
        err = replay_run(r, e);
    if (!err)
        err = image_finish(r->image, false, e);
    image_writer_free(r->image);
    r->image = NULL;
    return err;
}

static int replay_disk(const struct restore *x, const struct disk_option *d, const struct output *t,
                       struct image_chain *chain, struct error *e)
{
    struct manifest *want = NULL;
    struct layout_name image = layout_name(LAYOUT_IMAGE, d->name, x->point->sequence);
    int err = check_manifest(&x->points, x->point, d->name, buf_slice(&x->repository.key), &want, e);
    if (!err)
        err = image_chain_open(&x->points.folder, image.s, chain, e);
    for (size_t i = 0; !err && i < chain->n; i++)
        err = image_check(chain->list[i], e);
    struct replay r = {.images = (const struct image *const *)chain->list,
                       .n_images = chain->n,
                       .want = want,
                       .raw_fd = -1,
                       .progress = {.work = "restore", .object = d->name},
                       .watch = x->o->watch,
                       .before_bytes = x->done_bytes,
                       .total_bytes = x->total_bytes};
    if (!err)
        err = x->o->format && str_eq(x->o->format, "raw") ? to_raw(&r, t, e) : to_qcow2(&r, t, e);
    manifest_free(want);
    return err;
}

static int restore_disk(struct restore *x, const struct disk_option *d, struct error *e)
{
    struct output t;
    int err = output_open(d->value, &t, e);
    if (err)
        return err;
    struct image_chain *chain = xcalloc(1, sizeof(*chain));
    err = replay_disk(x, d, &t, chain, e);
    image_chain_done(chain);
    free(chain);
    output_done(&t);
    x->done_bytes += refpoint_disk(x->point->ref, d->name)->bytes;
    return err;
}

int restore_disks(struct restore *x, struct error *e)
{
    const struct options *o = x->o;
    int err = 0;
    for (size_t i = 0; i < o->n_disks; i++) {
        const struct refpoint_disk *d = refpoint_disk(x->point->ref, o->disks[i].name);
        if (!d)
            return error_set(e, ERR_NO_OBJECT, "the point has no disk %s", o->disks[i].name);
        x->total_bytes += d->bytes;
    }
    for (size_t i = 0; !err && i < o->n_disks; i++)
        err = restore_disk(x, &o->disks[i], e);
    return err;
}

int restore_read(const struct restore *x, enum layout_kind kind, struct buf *ret, struct error *e)
{
    return check_file(&x->points, x->point, kind, ret, e);
}

int restore_check_free(const char *path, struct error *e)
{
    struct output t;
    int err = output_open(path, &t, e);
    if (!err)
        output_done(&t);
    return err;
}

int restore_write(const char *path, struct slice bytes, struct error *e)
{
    struct output t;
    int err = output_open(path, &t, e);
    if (err)
        return err;
    err = folder_install(&t.folder, t.name.s, bytes, e);
    output_done(&t);
    return err;
}

static int restore_file(const struct restore *x, const char *path, enum layout_kind kind, struct error *e)
{
    AUTO(buf_done) struct buf b = {0};
    if (!path)
        return 0;
    int err = restore_read(x, kind, &b, e);
    return err ? err : restore_write(path, buf_slice(&b), e);
}

/* The document is enough: what else the point has is checked where it is restored, so a disk that is damaged is in no
 * other's way. */
static int find_point(struct restore *x, const char *which, struct error *e)
{
    const struct point *point = points_lookup(&x->points, which);
    if (!point || !point->ref)
        return points_find(&x->points, which, &x->point, e);
    x->point = point;
    return 0;
}

int restore_open(const struct options *o, struct restore **ret, const struct refpoint **ret_ref, struct error *e)
{
    struct restore *x = xcalloc(1, sizeof(*x));
    x->o = o;
    int err = repository_open(o, &x->repository, e);
    if (err) {
        free(x);
        return err;
    }
    err = points_open(&x->repository, o->vm, false, false, &x->points, e);
    if (err) {
        repository_done(&x->repository);
        free(x);
        return err;
    }
    err = find_point(x, o->point ? o->point : "latest", e);
    if (err) {
        restore_close(x);
        return err;
    }
    *ret = x;
    if (ret_ref)
        *ret_ref = x->point->ref;
    return 0;
}

void restore_close(struct restore *x)
{
    if (!x)
        return;
    points_done(&x->points);
    repository_done(&x->repository);
    free(x);
}

int verb_restore(const struct options *o, struct json **ret, struct error *e)
{
    struct restore *x = NULL;
    (void)ret;
    if (!o->vm || (o->n_disks == 0 && !o->domain_xml && !o->nvram))
        return error_set(e, ERR_USAGE, "restore wants --vm, and --disk NAME=FILE for each disk");
    if (o->format && !str_eq(o->format, "raw") && !str_eq(o->format, "qcow2"))
        return error_set(e, ERR_USAGE, "--format is raw or qcow2");
    int err = restore_open(o, &x, NULL, e);
    if (!err)
        err = restore_disks(x, e);
    if (!err)
        err = restore_file(x, o->domain_xml, LAYOUT_DOMAIN, e);
    if (!err)
        err = restore_file(x, o->nvram, LAYOUT_NVRAM, e);
    restore_close(x);
    return err;
}
