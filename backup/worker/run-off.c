/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A machine that is off: its disks are read through qemu-nbd, and are looked at again afterwards: whoever wrote to one
 * meanwhile, on whichever host, has spoilt this backup. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup/io/qemu-nbd.h"
#include "backup/worker/run.h"

struct off {
    struct run *r;
    char folder[FOLDER_PATH_MAX];
    struct qemu_nbd servers[REFPOINT_DISKS_MAX];
    struct stat before[REFPOINT_DISKS_MAX];
};

static int look_at(const struct domain_disk *d, struct stat *ret, struct error *e)
{
    return stat(d->path, ret) == 0 ? 0 : error_set(e, ERR_IO, "cannot look at %.200s: %s", d->path, strerror(errno));
}

static int serve(struct off *x, size_t i, struct error *e)
{
    struct run *r = x->r;
    const struct domain_disk *d = &r->facts.disks[i];
    char socket[QEMU_NBD_SOCKET_MAX];
    if (!d->path)
        return error_set(e, ERR_CONDITION,
                         "the disk %s of VM %s is no file and no block device: it is read only while it runs", d->name,
                         r->spec.vm);
    int n = snprintf(socket, sizeof(socket), "%s/%zu.sock", x->folder, i);
    if (n < 0 || (size_t)n >= sizeof(socket))
        return error_set(e, ERR_TOO_BIG, "the path %.40s… is too long for a socket", x->folder);
    int err = look_at(d, &x->before[i], e);
    if (!err)
        err = qemu_nbd_start(d->format, d->path, socket, &x->servers[i], e);
    if (err)
        return err;
    struct disk_option *o = run_add_disk(r, d);
    o->machine_is_off = true;
    snprintf(r->uris[i], RUN_URI_MAX, "nbd+unix:///?socket=%s", socket);
    return 0;
}

static int serve_all(struct off *x, struct error *e)
{
    struct run *r = x->r;
    int n = snprintf(x->folder, sizeof(x->folder), "%s/%s.off", r->folder.path, r->spec.vm);
    if (n < 0 || (size_t)n >= sizeof(x->folder) || (mkdir(x->folder, 0700) < 0 && errno != EEXIST))
        return error_set(e, ERR_IO, "cannot make the folder %s: %s", x->folder, strerror(errno));
    int err = 0;
    for (size_t i = 0; !err && i < r->facts.n_disks; i++)
        err = serve(x, i, e);
    return err;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static int check_untouched(const struct off *x, struct error *e)
{
    struct run *r = x->r;
    bool on = false;
    int err = domain_is_on(&r->domain, &on, e);
    for (size_t i = 0; !err && !on && i < r->facts.n_disks; i++) {
        struct stat now;
        err = look_at(&r->facts.disks[i], &now, e);
        on = !err && !is_same(&now, &x->before[i]);
    }
    if (!err && on) {
        err = error_set(e, ERR_AGAIN, "VM %s was started during its backup, or its disks were written to", r->spec.vm);
        error_set_remedy(e, "back it up again");
    }
    return err;
}

int run_off(struct run *r, struct error *e)
{
    struct off x = {.r = r};
    r->options.application = r->spec.application && domain_was_shut_down(&r->domain);
    if (r->spec.application && !r->options.application)
        STR_COPY(r->note, "the virtual machine is off, and did not shut down by itself");
    int err = serve_all(&x, e);
    if (!err)
        err = run_fork_config(r, e);
    if (!err)
        err = status_phase(&r->status, "forked", e);
    if (!err)
        err = run_export(r, e);
    if (!err)
        err = run_check_cancelled(e);
    if (!err)
        err = check_untouched(&x, e);
    if (!err)
        err = export_publish(r->work, &r->point, e);
    for (size_t i = 0; i < REFPOINT_DISKS_MAX; i++)
        qemu_nbd_stop(&x.servers[i]);
    rmdir(x.folder);
    return err;
}
