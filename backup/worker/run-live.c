/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A machine that runs: QEMU gives its disks as they were at one moment. */
#include <stdio.h>
#include <unistd.h>

#include "backup/worker/run.h"

enum { THAW_TRIES = 5, LOOK_MS = 200 };
/* Of the file system of the scratch files. When it is full QEMU fails the guest's writes, or stops it: so the backup
 * ends before. */
#define SCRATCH_RESERVE (UINT64_C(256) << 20)

struct live {
    struct run *r;
    struct backup_job job;
    struct checkpoint_name parent, checkpoint;
    bool lost;   /* the parent's bitmap is, of a disk that has no incremental */
    bool frozen; /* or it may be */
    bool begun;
    struct folder scratch;
    bool scratch_is_full;
    int64_t looked_ms;
};

/* ---- room for what the guest overwrites */

static int open_scratch(struct live *l, struct error *e)
{
    char path[FOLDER_PATH_MAX];
    int err = domain_folder(&l->r->domain, path, sizeof(path), e);
    return err ? err : folder_open(NULL, path, false, &l->scratch, e);
}

static int check_scratch(struct live *l, struct error *e)
{
    uint64_t room;
    int err = folder_room(&l->scratch, &room, e);
    if (err || room >= SCRATCH_RESERVE)
        return err;
    error_set(
        e, ERR_CONDITION,
        "%s has room for %llu MiB: what VM %s writes while its backup goes on is kept there, and 256 MiB stay free",
        l->scratch.path, (unsigned long long)room >> 20, l->r->spec.vm);
    error_set_remedy(e, "make room there, or back it up when it writes less");
    return ERR_CONDITION;
}

static bool is_cancelled(void *ctx)
{
    struct live *l = ctx;
    int64_t now = clock_ms();
    if (!l->scratch_is_full && now - l->looked_ms >= LOOK_MS) {
        l->looked_ms = now;
        l->scratch_is_full = check_scratch(l, NULL) < 0;
    }
    return l->scratch_is_full || run_is_cancelled();
}

/* ---- fork */

/* Application consistency is a wish: what stands in its way is noted. */
static void freeze(struct live *l)
{
    struct run *r = l->r;
    struct error why = {0};
    if (!r->spec.application)
        return;
    l->frozen = true;
    r->options.application = domain_freeze(&r->domain, &why) == 0;
    if (!r->options.application)
        STR_COPY(r->note, why.text);
}

/* A guest that stays frozen is worse than no backup: it is tried again, and a settle tries once more. */
static int thaw(struct live *l, struct error *e)
{
    struct error why = {0};
    int err = 0;
    if (!l->frozen)
        return 0;
    for (int i = 0; i < THAW_TRIES; i++) {
        err = domain_reopen(&l->r->domain, &why);
        if (!err)
            err = domain_thaw(&l->r->domain, &why);
        if (!err || !l->r->options.application)
            break;
        sleep(1);
    }
    l->frozen = false;
    return err && l->r->options.application ? error_set(e, ERR_FAILED, "%s", why.text) : 0;
}

/* libvirt has one job a machine; ours was ended by run_tidy(). */
static int refuse_foreign(struct run *r, struct error *e)
{
    bool any = false, ours = false;
    int err = backup_look(&r->domain, &any, &ours, e);
    if (err || !any)
        return err;
    error_set(e, ERR_AGAIN, "another program's backup of VM %s is under way", r->spec.vm);
    error_set_remedy(e, "wait until it has ended, or end it: virsh domjobabort %s", r->spec.vm);
    return ERR_AGAIN;
}

/* Which bitmaps to ask for. */
static void plan(struct live *l)
{
    struct run *r = l->r;
    l->parent = checkpoint_name(&r->spec.parent.point);
    l->checkpoint = checkpoint_name(&r->spec.run);
    l->job = (struct backup_job){.facts = &r->facts, .checkpoint = l->checkpoint.s};
    if (run_find_parent(r, true, &l->lost))
        l->job.parent = l->parent.s;
    for (size_t i = 0; i < r->facts.n_disks; i++)
        l->job.disks[i].incremental =
            l->job.parent && r->facts.disks[i].can_track && spec_disk(&r->spec, r->facts.disks[i].name);
}

static int fork_all(struct live *l, struct error *e)
{
    struct run *r = l->r;
    bool lost = false;
    int err = refuse_foreign(r, e);
    if (!err)
        err = open_scratch(l, e);
    if (!err)
        err = check_scratch(l, e);
    if (err)
        return err;
    freeze(l);
    int64_t from_ms = clock_ms();
    err = run_check_cancelled(e);
    if (!err)
        err = backup_begin(&r->domain, &l->job, &lost, e);
    if (!err && l->job.no_checkpoint.code != 0)
        fprintf(stderr, "ringmaster-backup: %s\n", l->job.no_checkpoint.text);
    r->pause_ms = clock_ms() - from_ms; /* the guest's CPUs stood for a part of that at most */
    l->begun = !err;
    l->lost |= lost;
    if (!err)
        err = run_fork_config(r, e);
    int thawed = thaw(l, err ? NULL : e);
    err = err ? err : thawed;
    if (r->options.application)
        r->pause_ms = clock_ms() - from_ms;
    if (!err && l->job.has_checkpoint)
        err = checkpoint_xml(&r->domain, l->checkpoint.s, &r->checkpoint_xml, e);
    return err ? err : status_phase(&r->status, "forked", e);
}

/* ---- export */

static void name_disks(struct live *l)
{
    struct run *r = l->r;
    for (size_t i = 0; i < r->facts.n_disks; i++) {
        const struct domain_disk *d = &r->facts.disks[i];
        struct disk_option *o = run_add_disk(r, d);
        snprintf(r->uris[i], RUN_URI_MAX, "nbd+unix:///%s?socket=%s", d->name, l->job.socket);
        if (l->job.disks[i].incremental)
            o->bitmap = o->name;
        else
            o->bitmap_lost = l->lost && d->can_track && spec_disk(&r->spec, d->name);
    }
}

/* What was read is of the fork only as long as the job stood. */
static int check_job(struct live *l, struct error *e)
{
    bool any, ours = false;
    int err = domain_reopen(&l->r->domain, e);
    if (!err)
        err = backup_look(&l->r->domain, &any, &ours, e);
    return err || ours ? err : error_set(e, ERR_FAILED, "libvirt's backup job of VM %s ended early", l->r->spec.vm);
}

static int export_all(struct live *l, struct error *e)
{
    struct run *r = l->r;
    name_disks(l);
    r->watch.is_cancelled = is_cancelled;
    r->watch.ctx = l;
    int err = run_export(r, e);
    if (!err)
        err = run_check_cancelled(e);
    if (!err)
        err = check_job(l, e);
    return err ? err : export_publish(r->work, &r->point, e);
}

/* ---- end */

/* Last: of a guest that powers off in the midst of a backup libvirt 9.0 says so only when the job has ended, after half
 * a minute. */
static void explain(struct live *l, struct error *e)
{
    bool on = true;
    if (l->scratch_is_full && check_scratch(l, e) == 0)
        error_set(e, ERR_CONDITION, "%s was full for a while", l->scratch.path);
    if (l->scratch_is_full || run_is_cancelled() || domain_is_on(&l->r->domain, &on, NULL) < 0 || on)
        return;
    error_set(e, ERR_CONDITION, "VM %s powered off during its backup", l->r->spec.vm);
    error_set_remedy(e, "back it up again: what was there before is as it was");
}

/* The new checkpoint goes, the old one stays. What fails here a settle does. */
static void undo(struct live *l)
{
    struct error why = {0};
    struct run *r = l->r;
    int err = domain_reopen(&r->domain, &why);
    if (!err)
        err = backup_abort(&r->domain, &why);
    if (!err)
        err = checkpoint_delete(&r->domain, l->checkpoint.s, &r->facts, &why);
    if (err)
        fprintf(stderr, "ringmaster-backup: %s\n", why.text);
}

int run_live(struct run *r, struct error *e)
{
    struct live l = {.r = r, .scratch = {.fd = -1}};
    struct error why = {0};
    plan(&l);
    int err = fork_all(&l, e);
    if (!err)
        err = export_all(&l, e);
    if (err && l.begun)
        undo(&l);
    if (err) /* before its folder is let go */
        explain(&l, e);
    folder_done(&l.scratch);
    if (err)
        return e->code;
    /* The point exists: whatever is left to be done a settle can do. */
    if (status_phase(&r->status, "merging", &why) < 0 || backup_abort(&r->domain, &why) < 0)
        fprintf(stderr, "ringmaster-backup: %s\n", why.text);
    return 0;
}
