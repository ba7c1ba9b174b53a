/* SPDX-License-Identifier: GPL-2.0-or-later */
/* restore: disks of a point into files, and its configuration. Nothing has its name before all of it was checked. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "backup/worker/check.h"

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

static int restore_disk(const struct repository *repository, const struct points *p, const struct point *point,
                        const struct disk_option *d, bool raw, struct error *e)
{
    struct output t;
    int err = output_open(d->value, &t, e);
    if (err)
        return err;
    struct image_chain *chain = xcalloc(1, sizeof(*chain));
    struct manifest *want = NULL;
    err = check_manifest(p, point, d->name, buf_slice(&repository->key), &want, e);
    if (!err)
        err = image_chain_open(&p->folder, layout_name(LAYOUT_IMAGE, d->name, point->sequence).s, chain, e);
    for (size_t i = 0; !err && i < chain->n; i++)
        err = image_check(chain->list[i], e);
    struct replay r = {.images = (const struct image *const *)chain->list,
                       .n_images = chain->n,
                       .want = want,
                       .raw_fd = -1,
                       .progress = {.work = "restore", .object = d->name}};
    if (!err)
        err = raw ? to_raw(&r, &t, e) : to_qcow2(&r, &t, e);
    manifest_free(want);
    image_chain_done(chain);
    free(chain);
    output_done(&t);
    return err;
}

static int restore_file(const struct points *p, const struct point *point, const char *path, enum layout_kind kind,
                        struct error *e)
{
    if (!path)
        return 0;
    struct output t;
    AUTO(buf_done) struct buf b = {0};
    int err = check_file(p, point, kind, &b, e);
    if (!err)
        err = output_open(path, &t, e);
    if (err)
        return err;
    err = folder_install(&t.folder, t.name.s, buf_slice(&b), e);
    output_done(&t);
    return err;
}

/* The document is enough: what else the point has is checked where it is restored, so a disk that is damaged is in no
 * other's way. */
static int find_point(const struct points *p, const char *which, const struct point **ret, struct error *e)
{
    const struct point *point = points_lookup(p, which);
    if (!point || !point->ref)
        return points_find(p, which, ret, e);
    *ret = point;
    return 0;
}

static int restore_all(const struct options *o, const struct repository *r, const struct points *p, struct error *e)
{
    const struct point *point;
    bool raw = o->format && str_eq(o->format, "raw");
    if (o->format && !raw && !str_eq(o->format, "qcow2"))
        return error_set(e, ERR_USAGE, "--format is raw or qcow2");
    int err = find_point(p, o->point ? o->point : "latest", &point, e);
    if (err)
        return err;
    for (size_t i = 0; !err && i < o->n_disks; i++)
        err = refpoint_disk(point->ref, o->disks[i].name)
                  ? 0
                  : error_set(e, ERR_NO_OBJECT, "the point has no disk %s", o->disks[i].name);
    for (size_t i = 0; !err && i < o->n_disks; i++)
        err = restore_disk(r, p, point, &o->disks[i], raw, e);
    if (!err)
        err = restore_file(p, point, o->domain_xml, LAYOUT_DOMAIN, e);
    return err ? err : restore_file(p, point, o->nvram, LAYOUT_NVRAM, e);
}

int verb_restore(const struct options *o, struct json **ret, struct error *e)
{
    (void)ret;
    if (!o->vm || (o->n_disks == 0 && !o->domain_xml && !o->nvram))
        return error_set(e, ERR_USAGE, "restore wants --vm, and --disk NAME=FILE for each disk");
    struct repository r;
    struct points p;
    int err = repository_open(o, &r, e);
    if (err)
        return err;
    err = points_open(&r, o->vm, false, false, &p, e);
    if (!err) {
        err = restore_all(o, &r, &p, e);
        points_done(&p);
    }
    repository_done(&r);
    return err;
}
