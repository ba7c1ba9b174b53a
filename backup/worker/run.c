/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backup/worker/run.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "agent/io/files.h"
#include "agent/io/pki.h"

enum { SETTLED_MS = 5000, LOCK_POLL_MS = 100 };

/* ---- cancelling */

static volatile sig_atomic_t cancelled;

static void on_signal(int signal)
{
    (void)signal;
    cancelled = 1;
}

bool run_is_cancelled(void)
{
    return cancelled;
}

int run_check_cancelled(struct error *e)
{
    return cancelled ? error_set(e, ERR_FAILED, "the backup was cancelled") : 0;
}

static void listen_to_signals(void)
{
    struct sigaction a = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&a.sa_mask);
    sigaction(SIGTERM, &a, NULL);
    sigaction(SIGINT, &a, NULL);
}

/* ---- the job */

static int read_spec(const char *path, bool settle, struct spec *ret, struct error *e)
{
    struct buf b = {0};
    if (strlen(path) >= FILES_PATH_MAX)
        return error_set(e, ERR_USAGE, "the path of the job is too long");
    int err = file_read_secret("", path, SPEC_SIZE_MAX, &b, e);
    if (!err)
        err = spec_decode(buf_slice(&b), settle, ret, e);
    pki_wipe_buf(&b);
    return err;
}

/* Whatever repository another worker writes to: libvirt has one backup job a machine. A settle that is under way is
 * soon over. */
static int take_lock(struct run *r, bool settle, struct error *e)
{
    struct layout_name status;
    char name[LAYOUT_NAME_MAX];
    int err = folder_open_of(r->spec.status, &r->folder, &status, e);
    if (err)
        return err;
    snprintf(name, sizeof(name), "%s.lock", r->spec.vm);
    int64_t until_ms = clock_ms() + (settle ? 0 : SETTLED_MS);
    while ((err = folder_lock(&r->folder, name, true, &r->lock, e)) == ERR_AGAIN && clock_ms() < until_ms)
        nanosleep(&(struct timespec){0, LOCK_POLL_MS * 1000000}, NULL);
    if (err == ERR_AGAIN)
        error_set(e, ERR_AGAIN, "another run for VM %s is under way on this host", r->spec.vm);
    return err;
}

int run_open(struct run *r, const char *spec, bool settle, struct error *e)
{
    r->lock = r->folder.fd = -1;
    if (!spec)
        return error_set(e, ERR_USAGE, "run and settle want --spec FILE");
    int err = read_spec(spec, settle, &r->spec, e);
    if (err)
        return err;
    r->status = (struct status){.path = r->spec.status, .run = r->spec.run, .phase = "freezing"};
    listen_to_signals();
    return take_lock(r, settle, e);
}

void run_close(struct run *r)
{
    export_end(r->work);
    domain_facts_done(&r->facts);
    domain_close(&r->domain);
    buf_done(&r->nvram);
    free(r->domain_xml);
    free(r->checkpoint_xml);
    json_free(r->staying);
    closep(&r->lock);
    folder_done(&r->folder);
    spec_done(&r->spec);
}

/* ---- steps that both sources share */

int run_tidy(struct run *r, struct error *e)
{
    char **names = NULL;
    size_t n = 0;
    int err = backup_abort(&r->domain, e);
    if (!err)
        err = checkpoint_list(&r->domain, CHECKPOINT_PREFIX, &names, &n, e);
    for (size_t i = 0; i < n; i++) {
        if (!err && !spec_keeps(&r->spec, names[i]))
            err = checkpoint_delete(&r->domain, names[i], &r->facts, e);
        free(names[i]);
    }
    free(names);
    return err;
}

/* What is left in the images of a checkpoint that is of no use: libvirt deletes only what it knows. */
static void remove_broken(struct run *r, const char *name)
{
    struct error why = {0};
    if (checkpoint_redefine(&r->domain, r->spec.parent.checkpoint_xml, false, &why) < 0 ||
        checkpoint_delete(&r->domain, name, &r->facts, &why) < 0)
        fprintf(stderr, "ringmaster-backup: %s\n", why.text);
}

bool run_find_parent(struct run *r, bool on, bool *ret_lost)
{
    const struct spec_parent *p = &r->spec.parent;
    struct checkpoint_name name = checkpoint_name(&p->point);
    *ret_lost = false;
    if (!p->checkpoint_xml || p->checkpoint_xml[0] == '\0')
        return false;
    if (checkpoint_exists(&r->domain, name.s))
        return true;
    int err = checkpoint_redefine(&r->domain, p->checkpoint_xml, on, NULL);
    if (err == ERR_CONDITION)
        remove_broken(r, name.s);
    *ret_lost = err != 0;
    return err == 0;
}

int run_fork_config(struct run *r, struct error *e)
{
    int err = domain_xml(&r->domain, true, &r->domain_xml, e);
    if (!err && r->facts.nvram) {
        err = strlen(r->facts.nvram) < FILES_PATH_MAX
                  ? file_read("", r->facts.nvram, CONFIG_MAX, &r->nvram, e)
                  : error_set(e, ERR_CONDITION, "the path of the NVRAM is too long");
        if (err == ERR_NOT_FOUND) /* made at the first start */
            err = 0;
    }
    return err;
}

struct disk_option *run_add_disk(struct run *r, const struct domain_disk *d)
{
    struct disk_option *o = &r->options.disks[r->options.n_disks];
    const struct spec_disk *known = spec_disk(&r->spec, d->name);
    STR_COPY(o->name, d->name);
    if (known)
        o->tracking = known->tracking;
    o->value = r->uris[r->options.n_disks++];
    return o;
}

int run_export(struct run *r, struct error *e)
{
    r->options.domain_xml_bytes = (struct slice){(const uint8_t *)r->domain_xml, strlen(r->domain_xml)};
    r->options.nvram_bytes = buf_slice(&r->nvram);
    int err = status_phase(&r->status, "exporting", e);
    return err ? err : export_disks(r->work, e);
}

/* ---- run */

static bool is_cancelled(void *ctx)
{
    (void)ctx;
    return run_is_cancelled();
}

static void on_progress(void *ctx, uint64_t done_bytes, uint64_t total_bytes)
{
    struct run *r = ctx;
    status_progress(&r->status, done_bytes, total_bytes);
}

static void fill_options(struct run *r, const struct options *given)
{
    struct options *o = &r->options;
    const struct spec *s = &r->spec;
    *o = (struct options){.repository = s->repository,
                          .key = {s->key, s->key_len},
                          .vm = s->vm,
                          .engine = s->engine,
                          .note = r->note,
                          .parent = s->parent.point,
                          .limit_bytes = s->limit_bytes,
                          .reserve_bytes = given->reserve_bytes,
                          .watch = &r->watch};
    r->watch = (struct watch){on_progress, r, is_cancelled, r};
}

static int back_up(struct run *r, struct error *e)
{
    bool on = false;
    AUTO(freep) char *xml = NULL;
    struct uuid_str point = uuid_str(&r->spec.run);
    r->options.point = point.s;
    int err = export_begin(&r->options, &r->work, e);
    if (!err)
        err = domain_open(r->spec.vm, &r->domain, e);
    if (!err)
        err = domain_is_on(&r->domain, &on, e);
    if (!err)
        err = domain_xml(&r->domain, false, &xml, e);
    if (!err)
        err = domain_facts_parse(xml, &r->facts, e);
    if (!err && r->facts.n_disks == 0)
        err = error_set(e, ERR_CONDITION, "VM %s has no disk that could be backed up", r->spec.vm);
    if (!err)
        err = run_tidy(r, e);
    if (!err)
        err = on ? run_live(r, e) : run_off(r, e);
    return err;
}

static struct json *done_members(struct run *r)
{
    struct json *j = json_object_new();
    json_set(j, "point", json_copy(r->point));
    json_set_str(j, "checkpoint", r->checkpoint_xml ? checkpoint_name(&r->spec.run).s : "");
    json_set_str(j, "checkpoint_xml", r->checkpoint_xml ? r->checkpoint_xml : "");
    json_set_int(j, "pause_ms", r->pause_ms);
    if (r->staying)
        json_set(j, "points", json_copy(r->staying));
    if (r->prune_why.code)
        json_set_str(j, "note", r->prune_why.text);
    return j;
}

static int say_staying(void *ctx, struct json *staying, struct error *e)
{
    struct run *r = ctx;
    json_free(r->staying);
    r->staying = staying;
    return status_done(&r->status, done_members(r), e);
}

/* The point is published and said to be: whatever comes of this, the backup is done. */
static void prune(struct run *r)
{
    const struct retention_rule none = {0};
    struct error why = {0};
    r->options.keep = r->spec.retention;
    if (memcmp(&r->options.keep, &none, sizeof(none)) == 0)
        return;
    r->watch = (struct watch){on_progress, r, is_cancelled, r};
    export_end(r->work); /* it has the folder's lock */
    r->work = NULL;
    if (prune_vm(&r->options, say_staying, r, &r->prune_why) == 0)
        return;
    fprintf(stderr, "ringmaster-backup: %s\n", r->prune_why.text);
    (void)status_done(&r->status, done_members(r), &why);
}

int run_say_end(struct run *r, int err, struct json *members, struct error *e)
{
    if (!err)
        return status_done(&r->status, members, e);
    json_free(members);
    (void)status_failed(&r->status, e);
    return err;
}

static int back_up_and_prune(struct run *r, struct error *e)
{
    int err = status_phase(&r->status, "freezing", e);
    if (!err)
        err = back_up(r, e);
    err = run_say_end(r, err, err ? NULL : done_members(r), e);
    if (!err)
        prune(r);
    return err;
}

static int verify(struct run *r, struct error *e)
{
    struct uuid_str point = uuid_str(&r->spec.verify);
    struct json *there = NULL, *members = json_object_new();
    bool is_whole = uuid_is_nil(&r->spec.verify);
    size_t points;
    r->options.point = is_whole ? NULL : point.s;
    int err = status_phase(&r->status, "verifying", e);
    if (!err)
        err = verify_all(&r->options, &points, is_whole ? &there : NULL, e);
    if (there)
        json_set(members, "points", there);
    return run_say_end(r, err, members, e);
}

static int work(struct run *r, struct error *e)
{
    if (r->spec.is_verify)
        return verify(r, e);
    return uuid_is_nil(&r->spec.restore.point) ? back_up_and_prune(r, e) : run_restore(r, e);
}

int verb_run(const struct options *o, struct json **ret, struct error *e)
{
    struct run *r = xcalloc(1, sizeof(*r));
    int err = run_open(r, o->spec, false, e);
    if (!err) {
        fill_options(r, o);
        err = work(r, e);
    }
    if (!err)
        *ret = r->point;
    else
        json_free(r->point);
    run_close(r);
    free(r);
    return err;
}
