/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The node of a run, which for a backup is the one that runs the VM: claims the run, begins its worker, looks how it
 * goes, reports its end with the reference point; and settles the VM's checkpoints.
 *
 *   row          STARTING          RUNNING, own claim             RUNNING                    IDLE, or another run
 *   ──> (CLAIM proposed) ──> START, once, at once ──> LOOK … LOOK ──> (END proposed) ──> FORGET, or STOP if it runs on
 *
 *   L1 START is called only for a claim that this very agent drew, and saw committed, and as soon as it did: a later
 *      agent of this node only looks, and reports as lost what it does not find.
 *   L2 START begins before until_ms or never; nothing is claimed or begun without a quorum.
 *   L3 cut off (self->fence): all workers on this host are ended, whatever the rows say, and again after a START that
 *      was under way then. What was claimed and not begun then never begins.
 *   L4 a run is DONE only by its worker's word, when its unit has ended: the point is published then, or what was
 *      restored is there.
 *   L5 SETTLE is called while the VM runs here and nobody is at it: no run and no operation, as the tables say while
 *      they are current (what they said before this node was cut off is of no use). After this agent's start,
 *      the VM's start or arrival (its epoch changed), a point that was committed, and a run that ended otherwise. */
#include <stdio.h>
#include <stdlib.h>

#include "backup/job.h"

struct watch {
    char vm[BACKUP_VM_MAX];
    /* The run; nil: none. */
    struct uuid run, claim; /* claim nil: another agent's */
    enum backup_work work;
    bool begun;             /* START was called, or must not be any more */
    int64_t look_ms;        /* the next LOOK */
    bool missing;           /* one LOOK did not find it */
    bool ended;
    struct backup_end end; /* owned */
    struct uuid *points;   /* of a run that is done: what the repository has; sorted, owned. NULL: not known */
    size_t n_points;
    struct backup_progress progress;
    /* Settling. */
    bool is_unsettled;    /* something happened here, whatever the rest says */
    uint64_t epoch;       /* of the VM when it was settled; 0: not yet */
    struct uuid newest;   /* then */
    uint64_t call_epoch;  /* of the SETTLE under way */
    struct uuid call_newest;
    bool after_crash;     /* a worker that crashed is tidied up after */
    int64_t settle_ms, delay_ms; /* not before; after a failure */

    uint64_t call; /* under way; 0: none */
    enum backup_verb verb;
    bool is_seen; /* by this step: it has a row */
};
struct backup_local {
    struct watch *watches; /* sorted by VM */
    size_t n, cap;
    bool is_fencing, is_clear; /* all are ended, and nothing was begun since */
    int64_t stop_ms;           /* they are not told to end before that */
    uint64_t stop_call;
};

static void forget_end(struct watch *w)
{
    backup_end_done(&w->end);
    free(w->points);
    w->points = NULL;
    w->n_points = 0;
}

struct backup_local *backup_local_new(void)
{
    return xcalloc(1, sizeof(struct backup_local));
}

void backup_local_free(struct backup_local *l)
{
    for (size_t i = 0; l && i < l->n; i++)
        forget_end(&l->watches[i]);
    if (l)
        free(l->watches);
    free(l);
}

/* Where it is, or belongs. */
static size_t place_of(const struct backup_local *l, const char *vm)
{
    size_t lo = 0, hi = l->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (strcmp(l->watches[mid].vm, vm) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static struct watch *find_watch(const struct backup_local *l, const char *vm)
{
    size_t i = place_of(l, vm);
    return i < l->n && str_eq(l->watches[i].vm, vm) ? &l->watches[i] : NULL;
}

static struct watch *need_watch(struct backup_local *l, const char *vm)
{
    size_t i = place_of(l, vm);
    if (i < l->n && str_eq(l->watches[i].vm, vm))
        return &l->watches[i];
    if (l->n == l->cap) {
        l->cap = l->cap ? 2 * l->cap : 8;
        l->watches = xrealloc(l->watches, l->cap, sizeof *l->watches);
    }
    memmove(&l->watches[i + 1], &l->watches[i], (l->n - i) * sizeof *l->watches);
    l->watches[i] = (struct watch){.is_unsettled = true};
    STR_COPY(l->watches[i].vm, vm);
    l->n++;
    return &l->watches[i];
}

static void drop_watch(struct backup_local *l, size_t i)
{
    forget_end(&l->watches[i]);
    memmove(&l->watches[i], &l->watches[i + 1], (--l->n - i) * sizeof *l->watches);
}

static void call(struct watch *w, struct backup_call *c, enum backup_verb verb, const struct backup_env *env)
{
    c->verb = verb;
    c->run = verb == BACKUP_CALL_SETTLE ? env->new_uuid(env->ctx) : w->run;
    c->work = verb == BACKUP_CALL_SETTLE ? BACKUP_WORK_BACKUP : w->work;
    STR_COPY(c->vm, w->vm);
    w->verb = verb;
    w->call = env->call(env->ctx, c);
}

static void call_plain(struct watch *w, enum backup_verb verb, const struct backup_env *env)
{
    struct backup_call c = {0};
    call(w, &c, verb, env);
}

static void end(struct watch *w, enum backup_result result, int code, const char *text)
{
    forget_end(w);
    w->ended = true;
    w->end = (struct backup_end){.run = w->run, .result = result, .code = code};
    STR_COPY(w->end.vm, w->vm);
    snprintf(w->end.text, sizeof w->end.text, "%.255s", text);
    w->is_unsettled = w->is_unsettled || w->work == BACKUP_WORK_BACKUP;
}

/* ---- what the rows want ---- */

static void propose_claim(struct watch *w, const struct backup_env *env)
{
    struct backup_note n = {.verb = BACKUP_NOTE_CLAIM, .run = w->run};
    struct buf b = {0};
    char key[BACKUP_VM_MAX + 16];
    if (uuid_is_nil(&w->claim))
        w->claim = env->new_uuid(env->ctx);
    n.claim = w->claim;
    STR_COPY(n.vm, w->vm);
    backup_entry_note(&n, &b);
    snprintf(key, sizeof key, "backup-claim/%s", w->vm);
    env->propose(env->ctx, ENTRY_BACKUP_NOTE, &b, key);
}

static int by_uuid(const void *a, const void *b)
{
    return uuid_cmp(a, b);
}

/* Which points of the table are to go: as it is now. */
static void find_gone(struct watch *w, const struct tables *t, const struct backup *k)
{
    char key[TABLE_KEY_MAX] = "";
    if (!w->points)
        return;
    struct point_row *p = xcalloc(1, sizeof *p);
    free(w->end.gone);
    w->end.gone = xcalloc(BACKUP_GONE_MAX, sizeof *w->end.gone);
    w->end.n_gone = 0;
    while (w->end.n_gone < BACKUP_GONE_MAX && point_next(t, w->vm, key, p))
        if (str_eq(p->repository, k->q.repository) &&
            !bsearch(&p->ref.uuid, w->points, w->n_points, sizeof *w->points, by_uuid))
            w->end.gone[w->end.n_gone++] = p->ref.uuid;
    free(p);
}

/* All that is there is right, and something is not there. */
static void tell_missing(struct watch *w)
{
    w->end.result = BACKUP_FAILED;
    w->end.code = ERR_MALFORMED;
    snprintf(w->end.text, sizeof w->end.text, "%zu points of the cluster are not in the repository, the first is %s",
             w->end.n_gone, uuid_str(&w->end.gone[0]).s);
    w->end.n_gone = 0;
}

static void propose_end(struct watch *w, const struct tables *t, const struct backup *k, const struct backup_env *env)
{
    struct buf b = {0};
    char key[BACKUP_VM_MAX + 16];
    find_gone(w, t, k);
    if (w->work == BACKUP_WORK_VERIFY && w->end.n_gone)
        tell_missing(w);
    backup_entry_end(&w->end, &b);
    snprintf(key, sizeof key, "backup-end/%s", w->vm);
    env->propose(env->ctx, ENTRY_BACKUP_END, &b, key);
}

/* False: the repository is gone, or its key. */
static bool fill_order(struct backup_call *c, const struct tables *t, const struct backup *k)
{
    struct repository_row r;
    struct slice key;
    char secret[TABLE_KEY_MAX];
    repository_secret(k->q.repository, secret);
    if (repository_get(t, k->q.repository, &r) || tables_get(t, TABLE_SECRET, secret, &key) ||
        key.len > sizeof c->sealed_key)
        return false;
    STR_COPY(c->repository, r.name);
    STR_COPY(c->path, r.path);
    memcpy(c->sealed_key, key.p, key.len);
    c->sealed_len = key.len;
    c->point = k->q.point;
    STR_COPY(c->folder, k->q.folder);
    STR_COPY(c->as, k->q.as);
    c->engine = k->q.engine;
    c->crash_consistent = k->q.crash_consistent;
    c->limit_bytes = k->q.limit_bytes;
    STR_COPY(c->retention, k->q.keep);
    point_order(t, k->vm, r.name, c);
    return true;
}

static void begin(struct watch *w, const struct tables *t, const struct backup *k, const struct backup_self *self,
                  int64_t now_ms, const struct backup_env *env)
{
    struct backup_call c = {.until_ms = now_ms + BACKUP_BEGIN_MS};
    w->begun = true;
    if (!self->may_start) {
        end(w, BACKUP_LOST, ERR_AGAIN, "it was not begun: its node lost the quorum");
    } else if (!fill_order(&c, t, k)) {
        end(w, BACKUP_FAILED, ERR_NO_OBJECT, "its repository is gone");
    } else {
        if (self->until_ms && self->until_ms < c.until_ms)
            c.until_ms = self->until_ms;
        log_notice(env->log, "VM %s is to be %s %s here -> its worker begins", k->vm, backup_work_doing(k->q.work),
                   c.path);
        call(w, &c, BACKUP_CALL_START, env);
    }
    backup_call_done(&c);
}

static void follow(struct watch *w, const struct tables *t, const struct backup *k, const struct backup_self *self,
                   int64_t now_ms, const struct backup_env *env)
{
    bool is_own = !uuid_is_nil(&w->claim) && uuid_eq(&w->claim, &k->claim);
    if (w->ended) {
        if (self->quorate)
            propose_end(w, t, k, env);
    } else if (is_own && !w->begun && k->cancel) {
        w->begun = true;
        end(w, BACKUP_CANCELLED, 0, "");
    } else if (is_own && !w->begun) {
        begin(w, t, k, self, now_ms, env);
    } else if (now_ms >= w->look_ms) {
        call_plain(w, k->cancel ? BACKUP_CALL_STOP : BACKUP_CALL_LOOK, env);
    }
}

/* What the VM's checkpoints were last settled for. */
static bool is_settled(const struct watch *w, const struct backup *k, const struct backup_vm *v)
{
    return !w->is_unsettled && w->epoch == v->epoch && uuid_eq(&w->newest, &k->newest);
}

static void settle(struct watch *w, const struct tables *t, const struct backup *k, const struct backup_vm *v,
                   const struct backup_env *env)
{
    struct backup_call c = {0};
    w->call_epoch = v->epoch;
    w->call_newest = k->newest;
    w->is_unsettled = false;
    point_order(t, k->vm, NULL, &c);
    call(w, &c, BACKUP_CALL_SETTLE, env);
    backup_call_done(&c);
}

static bool is_here(const struct backup *k, const struct backup_self *self)
{
    return k->state != BACKUP_IDLE && str_eq(k->node, self->node) && str_eq(k->boot_id, self->boot_id);
}

static bool vm_is_here(const struct backup_self *self, const char *vm, struct backup_vm *ret)
{
    return self->eye.vm(self->eye.ctx, vm, ret) && str_eq(ret->node, self->node) && ret->runs && !ret->busy &&
           str_eq(ret->boot_id, self->boot_id);
}

/* The row is at something else: what is left of the run goes. */
static void let_go(struct watch *w, const struct backup_env *env)
{
    if (w->begun || uuid_is_nil(&w->claim))
        call_plain(w, w->ended ? BACKUP_CALL_FORGET : BACKUP_CALL_STOP, env);
    else
        w->run = w->claim = (struct uuid){{0}}; /* never begun */
}

static void take_up(struct watch *w, const struct backup *k)
{
    w->run = k->run;
    w->work = k->q.work;
    w->claim = (struct uuid){{0}};
    w->begun = w->missing = w->ended = false;
    w->look_ms = 0;
    w->progress = (struct backup_progress){0};
}

static void step_row(struct watch *w, const struct tables *t, const struct backup *k, const struct backup_self *self,
                     int64_t now_ms, const struct backup_env *env)
{
    struct backup_vm v = {0};
    bool wanted = is_here(k, self), vm_here = vm_is_here(self, k->vm, &v);
    if (w->call)
        return;
    if (!uuid_is_nil(&w->run) && (!wanted || !uuid_eq(&w->run, &k->run))) {
        let_go(w, env);
        return;
    }
    if (wanted && uuid_is_nil(&w->run))
        take_up(w, k);
    /* What is no backup is in its way only here, where both have one lock; and it would wipe what the last one said. */
    bool is_backup = k->q.work == BACKUP_WORK_BACKUP, runs = k->state == BACKUP_RUNNING && (is_backup || wanted);
    bool may_settle = vm_here && self->may_start && self->is_current && !runs && now_ms >= w->settle_ms;
    bool may_claim = self->may_start && (is_backup || !vm_here || is_settled(w, k, &v));
    if (k->state == BACKUP_RUNNING && wanted)
        follow(w, t, k, self, now_ms, env);
    else if (may_settle && !is_settled(w, k, &v))
        settle(w, t, k, &v, env);
    else if (wanted && k->state == BACKUP_STARTING && may_claim)
        propose_claim(w, env);
}

/* A VM without a row: it was removed, and so is its unit. */
static void step_gone(struct backup_local *l, size_t i, const struct backup_env *env)
{
    struct watch *w = &l->watches[i];
    if (w->call)
        return;
    if (uuid_is_nil(&w->run))
        drop_watch(l, i);
    else
        let_go(w, env);
}

static void step_fence(struct backup_local *l, const struct backup_self *self, int64_t now_ms,
                       const struct backup_env *env)
{
    struct backup_call c = {.verb = BACKUP_CALL_STOP_ALL};
    if (self->fence != l->is_fencing)
        l->is_clear = false;
    l->is_fencing = self->fence;
    if (!self->fence)
        return;
    for (size_t i = 0; i < l->n; i++)
        l->watches[i].begun = l->watches[i].is_unsettled = true;
    if (!l->is_clear && !l->stop_call && now_ms >= l->stop_ms)
        l->stop_call = env->call(env->ctx, &c);
}

void backup_local_step(struct backup_local *l, const struct tables *t, const struct backup_self *self, int64_t now_ms,
                       const struct backup_env *env)
{
    struct backup k;
    struct backup_vm v;
    step_fence(l, self, now_ms, env);
    if (self->fence || !self->boot_id[0])
        return;
    for (size_t i = 0; i < l->n; i++)
        l->watches[i].is_seen = false;
    for (bool more = backup_next(t, NULL, &k); more; more = backup_next(t, k.vm, &k)) {
        struct watch *w = find_watch(l, k.vm);
        if (!w && !is_here(&k, self) && !vm_is_here(self, k.vm, &v))
            continue;
        w = need_watch(l, k.vm);
        w->is_seen = true;
        step_row(w, t, &k, self, now_ms, env);
    }
    for (size_t i = l->n; i > 0; i--)
        if (!l->watches[i - 1].is_seen)
            step_gone(l, i - 1, env);
}

/* ---- outcomes ---- */

/* An entry with a point that makes no sense would be refused for ever. */
static bool is_point(const struct watch *w, const char *text)
{
    struct json *doc = NULL;
    struct refpoint *p = xcalloc(1, sizeof *p);
    bool is = strlen(text) <= REFPOINT_SIZE_MAX && json_parse(text, strlen(text), &doc, NULL) == 0 &&
              refpoint_read(doc, p, NULL) == 0 && uuid_eq(&p->uuid, &w->run) && str_eq(p->vm, w->vm);
    json_free(doc);
    free(p);
    return is;
}

static void take_points(struct watch *w, const struct backup_outcome *o)
{
    if (!o->points)
        return;
    w->points = xcalloc(o->n_points + 1, sizeof *w->points);
    memcpy(w->points, o->points, o->n_points * sizeof *o->points);
    w->n_points = o->n_points;
    qsort(w->points, w->n_points, sizeof *w->points, by_uuid);
}

static void take_done(struct watch *w, const struct backup_outcome *o)
{
    if (w->work != BACKUP_WORK_BACKUP) {
        end(w, BACKUP_DONE, 0, "");
        take_points(w, o);
        return;
    }
    if (!o->point || !is_point(w, o->point)) {
        end(w, BACKUP_FAILED, ERR_FAILED, "its worker's reference point makes no sense");
        return;
    }
    end(w, BACKUP_DONE, 0, o->note);
    take_points(w, o);
    w->end.pause_ms = o->pause_ms;
    STR_COPY(w->end.checkpoint, o->checkpoint);
    w->end.point = xstrdup(o->point);
    w->end.checkpoint_xml = o->checkpoint_xml ? xstrdup(o->checkpoint_xml) : NULL;
}

/* Not found once may be a unit that is only about to be there. */
static void take_missing(struct watch *w)
{
    if (w->missing)
        end(w, BACKUP_LOST, ERR_FAILED,
            uuid_is_nil(&w->claim) ? "its agent ended before it began, or its host lost it" : "its worker is gone");
    w->missing = true;
}

static void take_unit(struct watch *w, const struct backup_outcome *o)
{
    w->progress = (struct backup_progress){o->phase, o->done_bytes, o->total_bytes};
    if (o->unit == BACKUP_UNIT_RUNNING) {
        w->missing = false;
    } else if (o->phase == BACKUP_PUBLISHED) {
        take_done(w, o);
    } else if (w->verb == BACKUP_CALL_STOP) {
        end(w, BACKUP_CANCELLED, 0, "");
    } else if (o->phase == BACKUP_GAVE_UP) {
        end(w, BACKUP_FAILED, o->failure.code, o->failure.text);
    } else if (o->unit == BACKUP_UNIT_ENDED) {
        w->after_crash = w->work == BACKUP_WORK_BACKUP;
        end(w, BACKUP_FAILED, ERR_FAILED, "its worker crashed");
    } else {
        take_missing(w);
    }
}

/* But for a time-out, which says nothing: it was not begun. */
static void take_start_error(struct watch *w, const struct error *e, const struct backup_env *env)
{
    log_warn(env->log, "%s of VM %s: %s", backup_work_noun(w->work), w->vm, e->text);
    if (e->code != ERR_TIMEOUT)
        end(w, e->code == ERR_AGAIN ? BACKUP_LOST : BACKUP_FAILED, e->code, e->text);
}

static void tell_tidied(struct watch *w, const struct backup_env *env)
{
    struct backup_note n = {.verb = BACKUP_NOTE_CRASHED};
    struct buf b = {0};
    char key[BACKUP_VM_MAX + 32];
    STR_COPY(n.vm, w->vm);
    backup_entry_note(&n, &b);
    snprintf(key, sizeof key, "backup-tidied/%s", w->vm);
    env->propose(env->ctx, ENTRY_BACKUP_NOTE, &b, key);
    w->after_crash = false;
}

/* A run may begin all the same: its worker settles by itself what is in its way. */
static void take_settled(struct watch *w, int64_t now_ms, const struct error *e, const struct backup_env *env)
{
    if (e->code) {
        log_warn(env->log, "VM %s: its checkpoints are not settled: %s -> later", w->vm, e->text);
        w->delay_ms = w->delay_ms ? 2 * w->delay_ms : BACKUP_BEGIN_MS;
        w->delay_ms = w->delay_ms > BACKUP_SETTLE_MAX_MS ? BACKUP_SETTLE_MAX_MS : w->delay_ms;
        w->settle_ms = now_ms + w->delay_ms;
        w->is_unsettled = true;
        return;
    }
    w->delay_ms = 0;
    w->epoch = w->call_epoch;
    w->newest = w->call_newest;
    if (w->after_crash)
        tell_tidied(w, env);
}

static void forget_run(struct watch *w)
{
    w->run = w->claim = (struct uuid){{0}};
    w->begun = w->ended = false;
    forget_end(w);
}

/* STOP of a run that the row does not have any more: it is nobody's. */
static void take(struct watch *w, int64_t now_ms, const struct backup_outcome *o, const struct backup_env *env)
{
    if (w->verb == BACKUP_CALL_SETTLE)
        take_settled(w, now_ms, &o->error, env);
    else if (o->error.code && w->verb == BACKUP_CALL_START)
        take_start_error(w, &o->error, env);
    else if (o->error.code)
        log_warn(env->log, "%s of VM %s: %s -> it is tried again", backup_work_noun(w->work), w->vm, o->error.text);
    else if (w->verb == BACKUP_CALL_FORGET)
        forget_run(w);
    else
        take_unit(w, o);
}

static void take_stopped(struct backup_local *l, int64_t now_ms, const struct error *e, const struct backup_env *env)
{
    l->stop_call = 0;
    l->is_clear = !e->code;
    for (size_t i = 0; i < l->n; i++)
        l->is_clear = l->is_clear && !(l->watches[i].call && l->watches[i].verb == BACKUP_CALL_START);
    if (e->code) {
        l->stop_ms = now_ms + BACKUP_STOP_MS;
        log_error(env->log, "backups: %s", e->text);
    }
}

bool backup_local_outcome(struct backup_local *l, int64_t now_ms, uint64_t id, const struct backup_outcome *o,
                          const struct backup_env *env)
{
    if (id && id == l->stop_call) {
        take_stopped(l, now_ms, &o->error, env);
        return true;
    }
    for (size_t i = 0; i < l->n; i++) {
        struct watch *w = &l->watches[i];
        if (!id || id != w->call)
            continue;
        w->call = 0;
        w->look_ms = now_ms + BACKUP_LOOK_MS;
        if (w->verb == BACKUP_CALL_START)
            l->is_clear = false;
        take(w, now_ms, o, env);
        return true;
    }
    return false;
}

bool backup_local_is_clear(const struct backup_local *l)
{
    return l->is_fencing && l->is_clear;
}

void backup_local_evicted(struct backup_local *l, const struct backup_env *env)
{
    struct backup_call c = {.verb = BACKUP_CALL_STOP_ALL};
    l->stop_call = env->call(env->ctx, &c);
}

bool backup_local_progress(const struct backup_local *l, const char *vm, const struct uuid *run,
                           struct backup_progress *ret)
{
    const struct watch *w = find_watch(l, vm);
    if (!w || uuid_is_nil(run) || !uuid_eq(&w->run, run) || w->progress.phase == BACKUP_PHASE_NONE)
        return false;
    *ret = w->progress;
    return true;
}
