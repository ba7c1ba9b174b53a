/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A restore that the agent asked for: all disks of a point, its NVRAM, and the domain XML, which names these files. The
 * XML comes last: where it is, everything is. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "backup/io/domain.h"
#include "backup/worker/run.h"

/* What has names in the new folder. */
struct places {
    char disks[REFPOINT_DISKS_MAX][FOLDER_PATH_MAX];
    char nvram[FOLDER_PATH_MAX], xml[FOLDER_PATH_MAX];
};

static int name_one(const struct spec_restore *s, const char *what, char dst[FOLDER_PATH_MAX], struct error *e)
{
    int n = snprintf(dst, FOLDER_PATH_MAX, "%s/%s%s", s->folder, s->as, what);
    return n < FOLDER_PATH_MAX ? 0 : error_set(e, ERR_USAGE, "the path of the folder is too long");
}

static int name_all(struct run *r, const struct refpoint *ref, struct places *p, struct error *e)
{
    const struct spec_restore *s = &r->spec.restore;
    char what[LAYOUT_DISK_MAX + 16];
    int err = name_one(s, ".xml", p->xml, e);
    if (!err)
        err = name_one(s, "-nvram.bin", p->nvram, e);
    for (size_t i = 0; !err && i < ref->n_disks; i++) {
        struct disk_option *d = &r->options.disks[r->options.n_disks++];
        snprintf(what, sizeof(what), "-%s.qcow2", ref->disks[i].name);
        err = name_one(s, what, p->disks[i], e);
        STR_COPY(d->name, ref->disks[i].name);
        d->value = p->disks[i];
    }
    return err;
}

/* QEMU, which is not root, must get to the disks. */
static int make_folder(const char *path, struct error *e)
{
    struct folder f;
    bool is_new = mkdir(path, 0700) == 0;
    if (!is_new && errno == ENOENT)
        return error_set(e, ERR_CONDITION, "the folder above %s is not there: make it, or name another one", path);
    int err = folder_open(NULL, path, true, &f, e);
    if (err)
        return err;
    if (is_new && fchmod(f.fd, 0711) < 0)
        err = error_set(e, ERR_IO, "cannot set the mode of %s: %s", path, strerror(errno));
    folder_done(&f);
    return err;
}

/* Before hours of work. */
static int check_free(const struct run *r, const struct refpoint *ref, const struct places *p, struct error *e)
{
    int err = ref->has_domain ? restore_check_free(p->xml, e) : 0;
    if (!err && ref->has_nvram)
        err = restore_check_free(p->nvram, e);
    for (size_t i = 0; !err && i < r->options.n_disks; i++)
        err = restore_check_free(r->options.disks[i].value, e);
    return err;
}

static int make_xml(const struct run *r, struct restore *x, const struct places *p, bool has_nvram, struct buf *ret,
                    struct error *e)
{
    AUTO(buf_done) struct buf old = {0};
    struct domain_place disks[REFPOINT_DISKS_MAX];
    struct uuid genid = uuid_random();
    struct uuid_str text = uuid_str(&genid);
    struct domain_move move = {.disks = disks,
                               .n_disks = r->options.n_disks,
                               .nvram = has_nvram ? p->nvram : NULL,
                               .genid = text.s,
                               .name = str_eq(r->spec.restore.as, r->spec.vm) ? NULL : r->spec.restore.as};
    for (size_t i = 0; i < r->options.n_disks; i++)
        disks[i] = (struct domain_place){r->options.disks[i].name, r->options.disks[i].value};
    int err = restore_read(x, LAYOUT_DOMAIN, &old, e);
    return err ? err : domain_move_xml(buf_slice(&old), &move, ret, e);
}

static int write_all(const struct refpoint *ref, struct restore *x, const struct places *p, const struct buf *xml,
                     struct error *e)
{
    AUTO(buf_done) struct buf nvram = {0};
    int err = ref->has_nvram ? restore_read(x, LAYOUT_NVRAM, &nvram, e) : 0;
    if (!err)
        err = restore_disks(x, e);
    if (!err && ref->has_nvram)
        err = restore_write(p->nvram, buf_slice(&nvram), e);
    return err || !ref->has_domain ? err : restore_write(p->xml, buf_slice(xml), e);
}

static int restore(struct run *r, struct places *p, struct error *e)
{
    AUTO(buf_done) struct buf xml = {0};
    struct uuid_str point = uuid_str(&r->spec.restore.point);
    const struct refpoint *ref = NULL;
    struct restore *x = NULL;
    r->options.point = point.s;
    int err = restore_open(&r->options, &x, &ref, e);
    if (!err)
        err = name_all(r, ref, p, e);
    if (!err)
        err = make_folder(r->spec.restore.folder, e);
    if (!err)
        err = check_free(r, ref, p, e);
    if (!err && ref->has_domain)
        err = make_xml(r, x, p, ref->has_nvram, &xml, e);
    if (!err)
        err = write_all(ref, x, p, &xml, e);
    restore_close(x);
    return err;
}

int run_restore(struct run *r, struct error *e)
{
    struct places *p = xcalloc(1, sizeof(*p));
    int err = status_phase(&r->status, "restoring", e);
    if (!err)
        err = restore(r, p, e);
    free(p);
    return run_say_end(r, err, json_object_new(), e);
}
