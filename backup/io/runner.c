/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backup/io/runner.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "agent/io/files.h"
#include "agent/io/pki.h"
#include "agent/io/process.h"
#include "agent/io/units.h"
#include "backup/layout.h"
#include "common/json.h"

#define WORKER "/ringmaster-backup"
#define SLICE  "ringmaster-backup.slice"

enum {
    WORK_MS = 60000, /* of init and settle */
    STOP_S = 90,     /* from SIGTERM to SIGKILL: it ends libvirt's job, and deletes a checkpoint */
    KEY_SIZE = 32,
    STATUS_MAX = 1 << 20,
    ARGUMENTS_MAX = 24,
};

static void unit_of(const struct backup_call *c, char *ret, size_t size)
{
    snprintf(ret, size, "ringmaster-%s-%s.service", c->verb == BACKUP_CALL_SETTLE ? "settle" : "backup", c->vm);
}

/* The unit's description: tells this run's from another one's. */
static void mark_of(const struct backup_call *c, char *ret, size_t size)
{
    snprintf(ret, size, "Ringmaster backup of %s, run %s", c->vm, uuid_str(&c->run).s);
}

static void path_of(const struct backup_call *c, const char *what, char ret[FILES_PATH_MAX])
{
    snprintf(ret, FILES_PATH_MAX, "%s/%s.%s", BACKUP_RUN_DIR, c->vm, what);
}

/* ---- how it is called ---- */

struct words {
    char **argv;
    size_t n;
};

static void word(struct words *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void word(struct words *w, const char *fmt, ...)
{
    char out[FILES_PATH_MAX + 64];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(out, sizeof out, fmt, ap);
    va_end(ap);
    w->argv[w->n++] = xstrdup(out);
}

static struct words systemd_run(void)
{
    struct words w = {.argv = xcalloc(ARGUMENTS_MAX, sizeof(char *))};
    word(&w, "/usr/bin/systemd-run");
    word(&w, "--quiet");
    word(&w, "--service-type=exec");
    word(&w, "--slice=" SLICE);
    word(&w, "--property=UMask=0077");
    word(&w, "--property=LimitCORE=0");
    return w;
}

char **backup_runner_argv(const struct backup_call *c)
{
    char unit[128], mark[160], spec[FILES_PATH_MAX];
    struct words w = systemd_run();
    bool is_settle = c->verb == BACKUP_CALL_SETTLE;
    unit_of(c, unit, sizeof unit);
    mark_of(c, mark, sizeof mark);
    path_of(c, is_settle ? "settle" : "spec", spec);
    word(&w, "--unit=%s", unit);
    word(&w, "--description=%s", mark);
    if (is_settle) {
        word(&w, "--wait");
        word(&w, "--pipe");
        word(&w, "--collect");
        word(&w, "--property=RuntimeMaxSec=%dms", WORK_MS * 3 / 4);
    } else {
        word(&w, "--remain-after-exit");
        word(&w, "--property=TimeoutStopSec=%ds", STOP_S);
    }
    word(&w, "--");
    word(&w, RINGMASTER_LIBEXEC_DIR WORKER);
    word(&w, "%s", is_settle ? "settle" : "run");
    word(&w, "--spec");
    word(&w, "%s", spec);
    return w.argv;
}

void backup_runner_argv_free(char **argv)
{
    for (size_t i = 0; argv[i]; i++)
        free(argv[i]);
    free(argv);
}

static char *base64(const struct buf *key)
{
    char *text = xcalloc(1, 4 * ((key->len + 2) / 3) + 1);
    EVP_EncodeBlock((unsigned char *)text, key->p, (int)key->len);
    return text;
}

static struct json *parent_json(const struct backup_call *c)
{
    struct json *parent = NULL;
    if (c->parent_order && json_parse(c->parent_order, strlen(c->parent_order), &parent, NULL) == 0)
        return parent;
    return json_null_new();
}

static struct json *restore_json(const struct backup_call *c)
{
    struct json *o = json_object_new();
    json_set_str(o, "point", uuid_str(&c->point).s);
    json_set_str(o, "folder", c->folder);
    json_set_str(o, "as", c->as);
    return o;
}

static struct json *verify_json(const struct backup_call *c)
{
    struct json *o = json_object_new();
    json_set_str(o, "point", uuid_is_nil(&c->point) ? NULL : uuid_str(&c->point).s);
    return o;
}

static void set_backup(struct json *o, const struct backup_call *c)
{
    json_set_str(o, "engine", backup_engine_name(c->engine));
    json_set_str(o, "consistency", c->crash_consistent ? "crash" : "application");
    json_set_int(o, "limit_bytes", c->limit_bytes);
    if (c->retention[0])
        json_set_str(o, "retention", c->retention);
}

char *backup_runner_spec(const struct backup_call *c, const struct buf *key)
{
    struct json *o = json_object_new(), *keep = json_array_new();
    char status[FILES_PATH_MAX];
    for (size_t i = 0; i < CHECKPOINTS_KEPT; i++)
        if (c->keep[i][0])
            json_append(keep, json_str_new(c->keep[i]));
    path_of(c, "status", status); /* settle looks how far the one before it came */
    json_set_str(o, "run", uuid_str(&c->run).s);
    json_set_str(o, "vm", c->vm);
    if (key) {
        char *text = base64(key);
        json_set_str(o, "repository", c->path);
        json_set_str(o, "key", text);
        if (c->work == BACKUP_WORK_RESTORE)
            json_set(o, "restore", restore_json(c));
        else if (c->work == BACKUP_WORK_VERIFY)
            json_set(o, "verify", verify_json(c));
        else
            set_backup(o, c);
        pki_wipe_str(&text);
    }
    json_set(o, "parent", parent_json(c));
    json_set(o, "keep_checkpoints", keep);
    json_set_str(o, "status", status);
    char *text = json_dump(o);
    json_free(o);
    return text;
}

static int make_folder(struct error *e)
{
    if (mkdir(BACKUP_RUN_DIR, 0700) == 0 || errno == EEXIST)
        return 0;
    return error_set(e, ERR_IO, "cannot make %s: %s", BACKUP_RUN_DIR, strerror(errno));
}

static int install(const char *path, struct slice bytes, struct error *e)
{
    int err = make_folder(e);
    return err ? err : file_install("", path, bytes, (struct file_mode){.mode = 0600}, e);
}

static int write_spec(const struct backup_call *c, const struct buf *key, struct error *e)
{
    char path[FILES_PATH_MAX];
    char *text = backup_runner_spec(c, key);
    path_of(c, c->verb == BACKUP_CALL_SETTLE ? "settle" : "spec", path);
    int err = install(path, (struct slice){(const uint8_t *)text, strlen(text)}, e);
    pki_wipe_str(&text);
    return err;
}

static void seal_name(const struct backup_call *c, char *dst, size_t size)
{
    snprintf(dst, size, REPOSITORY_SEAL "%s", c->repository);
}

static int open_key(const struct backup_call *c, struct buf *ret, struct error *e)
{
    struct cluster_key key;
    char name[128];
    int err = cluster_key_load("", &key, e);
    if (err)
        return err;
    seal_name(c, name, sizeof name);
    err = pki_unseal(&key, name, (struct slice){c->sealed_key, c->sealed_len}, ret, e);
    cluster_key_wipe(&key);
    return err;
}

/* ---- what it says ---- */

static void take_failure(const struct json *j, struct backup_outcome *o)
{
    int64_t code = json_int(json_path(j, "error.code"), 1);
    int known = code > 0 && code < 256 ? -(int)code : ERR_FAILED;
    bool is_damage = json_bool(json_path(j, "error.damaged"), false); /* which has no exit status of its own */
    error_set(&o->failure, is_damage ? ERR_MALFORMED : known, "%s",
              json_str(json_path(j, "error.text"), "its worker does not say why"));
}

/* What is larger than an entry may hold is as if there were none: the next backup compares by digest. */
static void take_checkpoint(const struct json *j, struct backup_outcome *o)
{
    const char *xml = json_get_str(j, "checkpoint_xml", ""), *name = json_get_str(j, "checkpoint", "");
    if (!name[0] || !xml[0] || strlen(xml) > CHECKPOINT_XML_MAX || strlen(name) >= sizeof o->checkpoint)
        return;
    STR_COPY(o->checkpoint, name);
    o->checkpoint_xml = xstrdup(xml);
}

/* Whole or not at all: what is not in it goes from the table. */
static void take_points(const struct json *points, struct backup_outcome *o)
{
    size_t n = json_count(points);
    if (!json_is_array(points) || n > BACKUP_POINTS_MAX || (n == 0 && o->point)) /* there is the new one at least */
        return;
    struct uuid *all = xcalloc(n + 1, sizeof *all);
    for (size_t i = 0; i < n; i++)
        if (uuid_parse(json_str(json_at(points, i), ""), &all[i])) {
            free(all);
            return;
        }
    o->points = all;
    o->n_points = n;
}

int backup_runner_status(struct slice text, const struct uuid *run, struct backup_outcome *ret, struct error *e)
{
    struct backup_outcome o = *ret;
    AUTO(json_freep) struct json *j = NULL;
    struct uuid u;
    int err = json_parse((const char *)text.p, text.len, &j, e);
    if (err)
        return err;
    if (uuid_parse(json_get_str(j, "run", ""), &u) || !uuid_eq(&u, run))
        return error_set(e, ERR_NOT_FOUND, "it is of another run");
    o.phase = backup_phase_parse(json_get_str(j, "phase", ""));
    o.done_bytes = json_get_int(j, "done_bytes", 0);
    o.total_bytes = json_get_int(j, "total_bytes", 0);
    o.pause_ms = json_get_int(j, "pause_ms", 0);
    if (o.phase == BACKUP_GAVE_UP)
        take_failure(j, &o);
    if (o.phase == BACKUP_PUBLISHED) { /* of these a restore has none, and a verification the points alone */
        o.point = json_is_object(json_get(j, "point")) ? json_dump(json_get(j, "point")) : NULL;
        take_checkpoint(j, &o);
        take_points(json_get(j, "points"), &o);
        snprintf(o.note, sizeof o.note, "%.255s", json_get_str(j, "note", ""));
    }
    *ret = o;
    return 0;
}

static void read_status(const struct backup_call *c, struct backup_outcome *o)
{
    AUTO(buf_done) struct buf b = {0};
    char path[FILES_PATH_MAX];
    struct error none = {0};
    path_of(c, "status", path);
    if (file_read("", path, STATUS_MAX, &b, &none) == 0)
        backup_runner_status(buf_slice(&b), &c->run, o, &none);
}

/* ---- calls ---- */

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int look(const struct backup_call *c, struct backup_outcome *o)
{
    char unit[128], mark[160];
    struct unit_result r = {0};
    unit_of(c, unit, sizeof unit);
    mark_of(c, mark, sizeof mark);
    int err = unit_of_mark(unit, mark, &r, &o->error);
    if (err)
        return err;
    o->unit = !r.loaded ? BACKUP_UNIT_NONE : r.ended ? BACKUP_UNIT_ENDED : BACKUP_UNIT_RUNNING;
    read_status(c, o); /* after its end was seen: then it is the last one */
    return 0;
}

static int run_worker(const struct backup_call *c, struct error *e)
{
    char unit[128], mark[160];
    char **argv = backup_runner_argv(c);
    unit_of(c, unit, sizeof unit);
    mark_of(c, mark, sizeof mark);
    int err = unit_run((const char *const *)argv, unit, mark, RINGMASTER_LIBEXEC_DIR WORKER, e);
    backup_runner_argv_free(argv);
    return err;
}

static int start_new(const struct backup_call *c, struct backup_outcome *o)
{
    AUTO(pki_wipe_buf) struct buf key = {0};
    char unit[128], status[FILES_PATH_MAX];
    unit_of(c, unit, sizeof unit);
    path_of(c, "status", status);
    int err = unit_make_room(unit, &o->error); /* of an earlier run */
    err = err ? err : file_remove("", status, &o->error);
    err = err ? err : open_key(c, &key, &o->error);
    err = err ? err : write_spec(c, &key, &o->error);
    if (err)
        return err;
    if (c->until_ms && now_ms() >= c->until_ms)
        return error_set(&o->error, ERR_AGAIN, "it is too late to begin");
    err = run_worker(c, &o->error);
    o->unit = err ? BACKUP_UNIT_NONE : BACKUP_UNIT_RUNNING;
    return err;
}

static int start(const struct backup_call *c, struct backup_outcome *o)
{
    int err = look(c, o);
    return err || o->unit != BACKUP_UNIT_NONE ? err : start_new(c, o);
}

/* The worker's exit code, and what it said, as an error. */
static int work(char **argv, const char *what, struct error *e)
{
    AUTO(process_outcome_done) struct process_outcome p = {0};
    struct process_call call = {.argv = (const char *const *)argv, .timeout_ms = WORK_MS};
    static const char said[] = "ringmaster-backup: ";
    int err = process_run(&call, &p, e);
    if (err || p.exit_code == 0)
        return err;
    const char *text = p.output;
    for (const char *next; (next = strstr(text, said)) != NULL;)
        text = next + strlen(said);
    char why[ERROR_TEXT_MAX / 2], line[ERROR_TEXT_MAX];
    snprintf(line, sizeof line, "%.*s", (int)strcspn(text, "\n"), text);
    unit_condense(line, why, sizeof why);
    return error_set(e, p.exit_code > 0 ? -p.exit_code : ERR_FAILED, "%s: %s", what, why[0] ? why : "it failed");
}

static int settle(const struct backup_call *c, struct error *e)
{
    char path[FILES_PATH_MAX], unit[128];
    struct error none = {0};
    unit_of(c, unit, sizeof unit);
    int err = unit_make_room(unit, e);
    err = err ? err : write_spec(c, NULL, e);
    if (err)
        return err;
    char **argv = backup_runner_argv(c);
    err = work(argv, "ringmaster-backup settle", e);
    backup_runner_argv_free(argv);
    path_of(c, "settle", path);
    file_remove("", path, &none);
    path_of(c, "status", path);
    return err ? err : file_remove("", path, e);
}

static int init_folder(const struct backup_call *c, const char *key_file, struct error *e)
{
    struct words w = systemd_run();
    word(&w, "--wait");
    word(&w, "--pipe");
    word(&w, "--collect");
    word(&w, "--property=RuntimeMaxSec=%dms", WORK_MS * 3 / 4);
    word(&w, "--");
    word(&w, RINGMASTER_LIBEXEC_DIR WORKER);
    word(&w, "init");
    word(&w, "%s", c->path);
    word(&w, "--key-file");
    word(&w, "%s", key_file);
    int err = work(w.argv, "repository", e);
    backup_runner_argv_free(w.argv);
    if (err == ERR_CONDITION)
        error_set_remedy(e, "take another folder; if nothing lies in it: remove %s/repository.json", c->path);
    else if (err)
        error_set_remedy(e, "make the folder above %s, on storage that every node has mounted there", c->path);
    return err;
}

/* The key is made here, and leaves only sealed. */
static int init(const struct backup_call *c, struct backup_outcome *o)
{
    AUTO(buf_done) struct buf sealed = {0};
    struct cluster_key cluster;
    uint8_t key[KEY_SIZE];
    char name[128], path[FILES_PATH_MAX];
    struct error none = {0};
    int err = cluster_key_load("", &cluster, &o->error);
    if (err)
        return err;
    snprintf(path, sizeof path, "%s/%s.key", BACKUP_RUN_DIR, c->repository);
    seal_name(c, name, sizeof name);
    pki_random(key, sizeof key);
    err = install(path, (struct slice){key, sizeof key}, &o->error);
    err = err ? err : init_folder(c, path, &o->error);
    file_remove("", path, &none);
    if (!err) {
        pki_seal(&cluster, name, (struct slice){key, sizeof key}, &sealed);
        memcpy(o->sealed_key, sealed.p, sealed.len);
        o->sealed_len = sealed.len;
    }
    pki_wipe(key, sizeof key);
    cluster_key_wipe(&cluster);
    return err;
}

/* Its unit stays known until its end is, so that no look in between says that there is none. */
static int stop(const struct backup_call *c, struct backup_outcome *o)
{
    char unit[128], mark[160];
    struct unit_result r = {0};
    unit_of(c, unit, sizeof unit);
    mark_of(c, mark, sizeof mark);
    int err = unit_of_mark(unit, mark, &r, &o->error);
    if (!err && r.loaded)
        err = unit_stop(unit, &o->error);
    return err ? err : look(c, o);
}

static int forget(const struct backup_call *c, struct error *e)
{
    char unit[128], mark[160], path[FILES_PATH_MAX];
    unit_of(c, unit, sizeof unit);
    mark_of(c, mark, sizeof mark);
    int err = unit_forget_of_mark(unit, mark, e);
    path_of(c, "spec", path);
    err = err ? err : file_remove("", path, e);
    path_of(c, "status", path); /* that of a backup is read by the next settle */
    return err || c->work == BACKUP_WORK_BACKUP ? err : file_remove("", path, e);
}

static int stop_all(struct error *e)
{
    int err = units_stop_all("ringmaster-settle-*.service", SLICE, true, e);
    return err == 0 || err == ERR_AGAIN ? units_stop_all("ringmaster-backup-*.service", SLICE, true, e) : err;
}

void backup_runner_call(const struct backup_call *call, struct backup_outcome *ret)
{
    struct backup_outcome o = {0};
    int err = 0;
    switch (call->verb) {
    case BACKUP_CALL_START: err = start(call, &o); break;
    case BACKUP_CALL_LOOK: err = look(call, &o); break;
    case BACKUP_CALL_STOP: err = stop(call, &o); break;
    case BACKUP_CALL_STOP_ALL: err = stop_all(&o.error); break;
    case BACKUP_CALL_FORGET: err = forget(call, &o.error); break;
    case BACKUP_CALL_SETTLE: err = settle(call, &o.error); break;
    case BACKUP_CALL_INIT: err = init(call, &o); break;
    }
    if (!err)
        o.error = (struct error){0};
    *ret = o;
}
