/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Replicated: what entries make of the rows of repositories, backups and reference points. Compare and set on the run:
 * an entry that comes late changes nothing. */
#include <inttypes.h>
#include <stdio.h>

#include "backup/job-entry.h"
#include "common/journal.h"

struct apply {
    struct tables *t;
    const struct backup_gate *gate;
    const struct entry *e;
    struct error *err;
};

#define EVENT(a, severity, vm, ...) journal_event((a)->t, (a)->e->time_ms, (severity), (vm), __VA_ARGS__)

static int malformed(const struct apply *a)
{
    return error_set(a->err, ERR_USAGE, "the entry of kind %u does not parse", a->e->kind);
}

static int find(const struct apply *a, const char *vm, struct backup *ret)
{
    int err = backup_get(a->t, vm, ret);
    if (err) {
        error_set(a->err, err, "VM %s was never backed up, and is not to be", vm);
        error_set_remedy(a->err, "clusterctl backup list");
    }
    return err;
}

/* It is no more at what the entry speaks of. */
static int too_late(const struct apply *a, const struct backup *k)
{
    return error_set(a->err, ERR_AGAIN, "the %s of VM %s is %s meanwhile", backup_work_noun(k->q.work), k->vm,
                     backup_state_name(k->state));
}

/* ---- repositories ---- */

static void apply_repository(const struct apply *a)
{
    struct repository_row r, other;
    struct slice key;
    char secret[TABLE_KEY_MAX];
    if (backup_entry_repository_decode(a->e->payload, &r, &key)) {
        malformed(a);
        return;
    }
    if (repository_check(&r, a->err))
        return;
    for (bool more = repository_next(a->t, NULL, &other); more; more = repository_next(a->t, other.name, &other))
        if (str_eq(other.name, r.name) || str_eq(other.path, r.path)) {
            error_set(a->err, ERR_CONDITION, "there is a repository %s already, in %s", other.name, other.path);
            error_set_remedy(a->err, "clusterctl repository remove %s, or take another", other.name);
            return;
        }
    if (tables_count(a->t, TABLE_REPOSITORY) >= REPOSITORIES_MAX) {
        error_set(a->err, ERR_CONDITION, "there are %d repositories, and no more may be", REPOSITORIES_MAX);
        error_set_remedy(a->err, "clusterctl repository remove one of clusterctl repository list");
        return;
    }
    r.created_ms = a->e->time_ms;
    repository_put(a->t, &r);
    repository_secret(r.name, secret);
    tables_put(a->t, TABLE_SECRET, secret, key);
    EVENT(a, EVENT_INFO, r.name, "repository %s: added, in %s", r.name, r.path);
}

static int find_repository(const struct apply *a, const char *name, struct repository_row *ret)
{
    int err = repository_get(a->t, name, ret);
    if (err) {
        error_set(a->err, err, "no repository %s in this cluster", name);
        error_set_remedy(a->err, "clusterctl repository list");
    }
    return err;
}

static int check_unused(const struct apply *a, const char *name)
{
    struct backup k;
    for (bool more = backup_next(a->t, NULL, &k); more; more = backup_next(a->t, k.vm, &k)) {
        if (k.state != BACKUP_IDLE && str_eq(k.q.repository, name)) {
            error_set(a->err, ERR_AGAIN, "VM %s is being %s repository %s", k.vm, backup_work_doing(k.q.work), name);
            error_set_remedy(a->err, "clusterctl backup cancel %s", k.vm);
            return ERR_AGAIN;
        }
        if (k.calendar[0] && str_eq(k.scheduled.repository, name)) {
            error_set(a->err, ERR_CONDITION, "the schedule of VM %s names repository %s", k.vm, name);
            error_set_remedy(a->err, "clusterctl backup schedule remove %s", k.vm);
            return ERR_CONDITION;
        }
    }
    return 0;
}

static void name_newest(struct tables *t, const char *vm)
{
    struct backup k;
    if (backup_get(t, vm, &k))
        return;
    k.newest = point_newest(t, vm);
    backup_put(t, &k);
}

/* It says something beyond the run that it has: of backups, or of damage. */
static bool is_needed(const struct backup *k)
{
    return k->state != BACKUP_IDLE || k->q.work == BACKUP_WORK_BACKUP || k->result != BACKUP_NEVER || k->calendar[0] ||
           k->is_damaged;
}

static void put_or_drop(const struct apply *a, const struct backup *k)
{
    if (is_needed(k))
        backup_put(a->t, k);
    else
        tables_del(a->t, TABLE_BACKUP, k->vm);
}

/* What was found there is of nobody's interest any more. */
static void forget_verdicts(const struct apply *a, const char *repository)
{
    struct backup k;
    for (bool more = backup_next(a->t, NULL, &k); more; more = backup_next(a->t, k.vm, &k))
        if (k.verified_ms && str_eq(k.verified_in, repository)) {
            k.verified_ms = 0;
            k.is_damaged = false;
            k.verified_in[0] = k.damage[0] = '\0';
            put_or_drop(a, &k);
        }
}

static void forget_points(const struct apply *a, const char *repository)
{
    char key[TABLE_KEY_MAX] = "";
    struct point_row *p = xcalloc(1, sizeof *p);
    while (point_next(a->t, NULL, key, p)) {
        if (!str_eq(p->repository, repository))
            continue;
        point_del(a->t, p->ref.vm, &p->ref.uuid);
        name_newest(a->t, p->ref.vm);
    }
    free(p);
}

static void apply_repository_remove(const struct apply *a)
{
    char name[REPOSITORY_NAME_MAX], secret[TABLE_KEY_MAX];
    struct repository_row r;
    if (backup_entry_name_decode(a->e->payload, name)) {
        malformed(a);
        return;
    }
    if (find_repository(a, name, &r) || check_unused(a, name))
        return;
    forget_points(a, name);
    forget_verdicts(a, name);
    repository_secret(name, secret);
    tables_del(a->t, TABLE_SECRET, secret);
    tables_del(a->t, TABLE_REPOSITORY, name);
    EVENT(a, EVENT_INFO, name, "repository %s: removed; what lies in %s stays", name, r.path);
}

/* ---- runs ---- */

static void begin_job(const struct apply *a, const struct backup *k)
{
    static const enum job_kind kinds[] = {
        [BACKUP_WORK_BACKUP] = JOB_BACKUP,
        [BACKUP_WORK_RESTORE] = JOB_RESTORE,
        [BACKUP_WORK_VERIFY] = JOB_VERIFY,
    };
    struct job j = {.id = k->run, .kind = kinds[k->q.work], .state = JOB_RUNNING, .started_ms = a->e->time_ms};
    STR_COPY(j.object, k->vm);
    STR_COPY(j.node, k->node);
    if (k->q.work == BACKUP_WORK_RESTORE)
        snprintf(j.detail, sizeof j.detail, "from %s to %.60s", k->q.repository, k->q.folder);
    else if (k->q.work == BACKUP_WORK_VERIFY)
        snprintf(j.detail, sizeof j.detail, "in %s", k->q.repository);
    else
        snprintf(j.detail, sizeof j.detail, "to %s%s", k->q.repository, k->by_schedule ? " (schedule)" : "");
    journal_job_begin(a->t, &j);
}

/* Its point is one of that repository. */
static int check_point(const struct apply *a, const struct backup_start *s)
{
    struct point_row *p;
    if (uuid_is_nil(&s->q.point))
        return 0;
    p = xcalloc(1, sizeof *p);
    int err = point_get(a->t, s->vm, &s->q.point, p);
    err = err || str_eq(p->repository, s->q.repository) ? err : ERR_NO_OBJECT;
    free(p);
    if (err) {
        error_set(a->err, err, "VM %s has no reference point %s in %s", s->vm, uuid_str(&s->q.point).s,
                  s->q.repository);
        error_set_remedy(a->err, "clusterctl reference list %s", s->vm);
    }
    return err;
}

static void apply_start(const struct apply *a)
{
    struct backup_start s;
    struct backup k = {0};
    struct backup_vm v = {0};
    struct repository_row r;
    if (backup_entry_start_decode(a->e->payload, &s) || uuid_is_nil(&a->e->request_id)) {
        malformed(a);
        return;
    }
    if (backup_may_run(&a->gate->eye, s.q.work, s.vm, s.node, &v, a->err) || find_repository(a, s.q.repository, &r) ||
        check_point(a, &s))
        return;
    if (backup_get(a->t, s.vm, &k))
        STR_COPY(k.vm, s.vm);
    if (k.state != BACKUP_IDLE) {
        error_set(a->err, ERR_AGAIN, "VM %s is being %s %s already, on %s", k.vm, backup_work_doing(k.q.work),
                  k.q.repository, k.node);
        error_set_remedy(a->err, "clusterctl job show %s --follow", uuid_str(&k.run).s);
        return;
    }
    k.state = BACKUP_STARTING;
    k.q = s.q;
    k.by_schedule = s.by_schedule;
    k.cancel = false;
    k.run = a->e->request_id;
    STR_COPY(k.node, v.node);
    STR_COPY(k.boot_id, v.boot_id);
    k.started_ms = a->e->time_ms;
    backup_put(a->t, &k);
    begin_job(a, &k);
}

static void put_idle(const struct apply *a, struct backup *k)
{
    k->state = BACKUP_IDLE;
    k->run = k->claim = (struct uuid){{0}};
    k->node[0] = k->boot_id[0] = '\0';
    k->started_ms = 0;
    k->cancel = false;
    put_or_drop(a, k);
}

static void end_job(const struct apply *a, const struct backup *k, const struct backup_end *n)
{
    static const enum job_state states[] = {
        [BACKUP_DONE] = JOB_DONE,
        [BACKUP_FAILED] = JOB_FAILED,
        [BACKUP_CANCELLED] = JOB_CANCELLED,
        [BACKUP_LOST] = JOB_FAILED,
    };
    bool is_bad = n->result == BACKUP_FAILED || n->result == BACKUP_LOST;
    journal_job_end(a->t, &k->run, states[n->result], a->e->time_ms, is_bad && !n->code ? ERR_FAILED : n->code,
                    n->text);
}

static bool ends_like_the_last(const struct backup *k, const struct backup_end *n)
{
    bool is_noted = n->text[0] != '\0', was_noted = k->text[0] != '\0';
    return n->result == k->result && (n->result != BACKUP_DONE || is_noted == was_noted);
}

static enum event_severity severity_of(const struct backup_end *n)
{
    return n->result == BACKUP_CANCELLED || (n->result == BACKUP_DONE && !n->text[0]) ? EVENT_INFO : EVENT_WARNING;
}

static void tell_bad_end(const struct apply *a, const struct backup *k, const struct backup_end *n)
{
    EVENT(a, severity_of(n), k->vm, "VM %s: its %s on %s %s%s%s", k->vm, backup_work_noun(k->q.work), k->node,
          n->result == BACKUP_CANCELLED ? "was cancelled"
          : n->result == BACKUP_LOST    ? "was lost"
                                        : "failed",
          n->text[0] ? ": " : "", n->text);
}

/* Each one that somebody asked for is told of; of those of a schedule the first that ends so: the journal is short. */
static void tell_end(const struct apply *a, const struct backup *k, const struct backup_end *n,
                     const struct point_row *p)
{
    if (k->by_schedule && ends_like_the_last(k, n))
        return;
    if (n->result == BACKUP_DONE)
        EVENT(a, severity_of(n), k->vm, "VM %s: backed up to %s on %s (%s, %s)%s%s", k->vm, k->q.repository, k->node,
              p->ref.engine, p->ref.application_consistent ? "application" : "crash", n->text[0] ? ": " : "", n->text);
    else
        tell_bad_end(a, k, n);
}

/* The newest of a repository supersedes the one before it there; of all of them as many stay as a guest can bear. */
static void keep_checkpoints(const struct apply *a, const struct backup *k, const struct point_new *new)
{
    char key[TABLE_KEY_MAX] = "";
    struct point_row *p = xcalloc(1, sizeof *p);
    struct backup_call order = {0};
    while (point_next(a->t, k->vm, key, p))
        if (str_eq(p->repository, new->repository) && p->checkpoint[0])
            point_forget_checkpoint(a->t, k->vm, &p->ref.uuid);
    point_put(a->t, new);
    point_order(a->t, k->vm, NULL, &order);
    key[0] = '\0';
    while (point_next(a->t, k->vm, key, p)) {
        bool stays = false;
        for (size_t i = 0; i < CHECKPOINTS_KEPT; i++)
            stays = stays || str_eq(order.keep[i], p->checkpoint);
        if (!stays && p->checkpoint[0])
            point_forget_checkpoint(a->t, k->vm, &p->ref.uuid);
    }
    backup_call_done(&order);
    free(p);
}

/* Those of other repositories, and what was forgotten by hand meanwhile, stay as they are. */
static void drop_gone(const struct apply *a, const struct backup *k, const struct backup_end *n)
{
    struct point_row *p = xcalloc(1, sizeof *p);
    for (size_t i = 0; i < n->n_gone; i++)
        if (point_get(a->t, k->vm, &n->gone[i], p) == 0 && str_eq(p->repository, k->q.repository) &&
            !uuid_eq(&p->ref.uuid, &k->run))
            point_del(a->t, k->vm, &n->gone[i]);
    free(p);
}

static void put_point(const struct apply *a, struct backup *k, const struct backup_end *n, const struct point_row *p)
{
    struct point_new new = {
        .vm = k->vm,
        .repository = k->q.repository,
        .checkpoint = n->checkpoint_xml[0] ? n->checkpoint : "",
        .uuid = p->ref.uuid,
        .started_ms = k->started_ms,
        .ended_ms = a->e->time_ms,
        .pause_ms = n->pause_ms,
        .document = {(const uint8_t *)n->point, strlen(n->point)},
        .checkpoint_xml = {(const uint8_t *)n->checkpoint_xml, n->checkpoint[0] ? strlen(n->checkpoint_xml) : 0},
    };
    keep_checkpoints(a, k, &new);
    drop_gone(a, k, n);
    k->newest = p->ref.uuid;
    k->done_ms = a->e->time_ms;
}

static void tell_good_end(const struct apply *a, const struct backup *k)
{
    struct uuid_str point = uuid_str(&k->q.point);
    if (k->q.work == BACKUP_WORK_RESTORE)
        EVENT(a, EVENT_INFO, k->vm, "VM %s: point %s was restored from %s to %s on %s", k->vm, point.s, k->q.repository,
              k->q.folder, k->node);
    else if (uuid_is_nil(&k->q.point))
        EVENT(a, EVENT_INFO, k->vm, "VM %s: its backups in %s were verified on %s", k->vm, k->q.repository, k->node);
    else
        EVENT(a, EVENT_INFO, k->vm, "VM %s: its backup %s in %s was verified on %s", k->vm, point.s, k->q.repository,
              k->node);
}

/* Without a verdict the last one stands; and damage stands until all that lies there is right. */
static void take_verdict(const struct apply *a, struct backup *k, const struct backup_end *n)
{
    bool is_damaged = n->result == BACKUP_FAILED && n->code == ERR_MALFORMED;
    bool is_whole = n->result == BACKUP_DONE && uuid_is_nil(&k->q.point);
    bool is_elsewhere = k->is_damaged && !str_eq(k->verified_in, k->q.repository);
    if (k->q.work != BACKUP_WORK_VERIFY || is_elsewhere || (!is_damaged && !is_whole))
        return;
    k->verified_ms = a->e->time_ms;
    k->is_damaged = is_damaged;
    STR_COPY(k->verified_in, k->q.repository);
    STR_COPY(k->damage, is_damaged ? n->text : "");
}

static void end_other(const struct apply *a, struct backup *k, const struct backup_end *n)
{
    if (n->result == BACKUP_DONE)
        tell_good_end(a, k);
    else
        tell_bad_end(a, k, n);
    take_verdict(a, k, n);
    end_job(a, k, n);
    put_idle(a, k);
}

static void end_backup(const struct apply *a, struct backup *k, const struct backup_end *n, const struct point_row *p)
{
    tell_end(a, k, n, p);
    end_job(a, k, n);
    if (n->result == BACKUP_DONE)
        put_point(a, k, n, p);
    k->result = n->result;
    STR_COPY(k->last_node, k->node);
    k->last_started_ms = k->started_ms;
    k->last_ended_ms = a->e->time_ms;
    k->code = n->code;
    STR_COPY(k->text, n->text);
    k->runs++;
    k->failures += n->result == BACKUP_FAILED || n->result == BACKUP_LOST;
    put_idle(a, k);
}

static void end_run(const struct apply *a, struct backup *k, const struct backup_end *n, const struct point_row *p)
{
    if (k->q.work == BACKUP_WORK_BACKUP)
        end_backup(a, k, n, p);
    else
        end_other(a, k, n);
}

/* The reference point of a backup that is done, which no other run has: of this VM, and called as the run. */
static int read_point(const struct apply *a, const struct backup *k, const struct backup_end *n, struct point_row *ret)
{
    struct json *doc = NULL;
    if (n->result != BACKUP_DONE || k->q.work != BACKUP_WORK_BACKUP)
        return n->point[0] ? malformed(a) : 0;
    int err = strlen(n->point) > REFPOINT_SIZE_MAX ? ERR_MALFORMED : json_parse(n->point, strlen(n->point), &doc, NULL);
    err = err ? err : refpoint_read(doc, &ret->ref, NULL);
    json_free(doc);
    if (err || !uuid_eq(&ret->ref.uuid, &k->run) || !str_eq(ret->ref.vm, k->vm))
        return malformed(a);
    return 0;
}

static void end_with(const struct apply *a, const struct backup_end *n)
{
    struct backup k;
    struct point_row *p;
    if (find(a, n->vm, &k))
        return;
    if (k.state != BACKUP_RUNNING || !uuid_eq(&k.run, &n->run)) {
        too_late(a, &k);
        return;
    }
    if (n->by_leader && !a->gate->is_over(a->gate->tables, k.node, k.boot_id)) {
        error_set(a->err, ERR_AGAIN, "the %s of VM %s may still run on %s", backup_work_noun(k.q.work), k.vm, k.node);
        return;
    }
    p = xcalloc(1, sizeof *p);
    if (read_point(a, &k, n, p) == 0)
        end_run(a, &k, n, p);
    free(p);
}

static void apply_end(const struct apply *a)
{
    struct backup_end n;
    if (backup_entry_end_decode(a->e->payload, &n)) {
        malformed(a);
        return;
    }
    end_with(a, &n);
    backup_end_done(&n);
}

/* What was due when the run was asked for is done by it, however often it was. */
static void claim(const struct apply *a, struct backup *k, const struct backup_note *n)
{
    struct backup_vm v = {0};
    if (backup_may_run(&a->gate->eye, k->q.work, k->vm, k->node, &v, a->err))
        return;
    if (!str_eq(v.node, k->node) || !str_eq(v.boot_id, k->boot_id)) {
        error_set(a->err, ERR_AGAIN, "VM %s runs on %s meanwhile, or that node has booted anew", k->vm, v.node);
        return;
    }
    k->state = BACKUP_RUNNING;
    k->claim = n->claim;
    if (k->by_schedule)
        k->after_ms = k->started_ms;
    k->started_ms = a->e->time_ms;
    backup_put(a->t, k);
}

static void withdraw(const struct apply *a, struct backup *k, enum backup_result result, int code, const char *why)
{
    struct backup_end n = {.result = result, .code = code};
    STR_COPY(n.text, why);
    end_job(a, k, &n);
    put_idle(a, k);
}

static void cancel(const struct apply *a, struct backup *k, const struct backup_note *n)
{
    if (k->state == BACKUP_IDLE) {
        error_set(a->err, ERR_CONDITION, "no backup, restore or verification of VM %s is under way", k->vm);
        error_set_remedy(a->err, "clusterctl backup list %s", k->vm);
    } else if (!uuid_is_nil(&n->run) && !uuid_eq(&n->run, &k->run)) {
        too_late(a, k);
    } else if (k->state == BACKUP_STARTING) {
        withdraw(a, k, BACKUP_CANCELLED, 0, "");
    } else if (!k->cancel) {
        k->cancel = true;
        EVENT(a, EVENT_INFO, k->vm, "VM %s: its %s on %s is to be cancelled", k->vm, backup_work_noun(k->q.work),
              k->node);
        backup_put(a->t, k);
    }
}

static void apply_note(const struct apply *a)
{
    struct backup_note n;
    struct backup k;
    if (backup_entry_note_decode(a->e->payload, &n)) {
        malformed(a);
        return;
    }
    if (find(a, n.vm, &k))
        return;
    bool is_run = uuid_eq(&k.run, &n.run);
    if ((n.verb == BACKUP_NOTE_CLAIM || n.verb == BACKUP_NOTE_WITHDRAWN) && (k.state != BACKUP_STARTING || !is_run)) {
        too_late(a, &k);
        return;
    }
    switch (n.verb) {
    case BACKUP_NOTE_CLAIM: claim(a, &k, &n); break;
    case BACKUP_NOTE_WITHDRAWN:
        withdraw(a, &k, BACKUP_FAILED, ERR_AGAIN, "its node could not begin it");
        break;
    case BACKUP_NOTE_CANCEL: cancel(a, &k, &n); break;
    case BACKUP_NOTE_WAITS:
        if (is_run && k.state == BACKUP_RUNNING)
            EVENT(a, EVENT_INFO, k.vm, "VM %s: what is to be done with it, or with %s, waits for its %s", k.vm, k.node,
                  backup_work_noun(k.q.work));
        break;
    case BACKUP_NOTE_CRASHED:
        EVENT(a, EVENT_WARNING, k.vm, "VM %s: what its backup left behind is tidied up", k.vm);
        break;
    case BACKUP_NOTE_CLOCK:
        k.after_ms = a->e->time_ms;
        backup_put(a->t, &k);
        break;
    }
}

/* ---- schedules, points ---- */

static void apply_schedule(const struct apply *a)
{
    struct backup_schedule s;
    struct backup k = {0};
    struct backup_vm v = {0};
    struct repository_row r;
    struct calendar c;
    if (backup_entry_schedule_decode(a->e->payload, &s)) {
        malformed(a);
        return;
    }
    bool is_new = backup_get(a->t, s.vm, &k) != 0;
    if (!s.calendar[0] && (is_new || !k.calendar[0])) {
        error_set(a->err, ERR_NO_OBJECT, "VM %s has no schedule", s.vm);
        error_set_remedy(a->err, "clusterctl backup schedule list");
        return;
    }
    if (s.calendar[0]) {
        if (!a->gate->eye.vm(a->gate->eye.ctx, s.vm, &v)) {
            backup_may_run(&a->gate->eye, BACKUP_WORK_BACKUP, s.vm, "", &v, a->err);
            return;
        }
        if (find_repository(a, s.q.repository, &r) || calendar_parse(s.calendar, &c, a->err))
            return;
        STR_COPY(k.vm, s.vm);
        k.after_ms = a->e->time_ms;
        k.scheduled = s.q;
    }
    STR_COPY(k.calendar, s.calendar);
    backup_put(a->t, &k);
    EVENT(a, EVENT_INFO, k.vm,
          s.calendar[0] ? "VM %s: is backed up by schedule: %s" : "VM %s: its schedule is removed%s", k.vm, s.calendar);
}

static void apply_point_delete(const struct apply *a)
{
    char vm[BACKUP_VM_MAX];
    struct uuid point;
    struct backup k;
    struct point_row *p = xcalloc(1, sizeof *p);
    if (backup_entry_point_delete_decode(a->e->payload, vm, &point)) {
        malformed(a);
    } else if (point_get(a->t, vm, &point, p)) {
        error_set(a->err, ERR_NO_OBJECT, "VM %s has no reference point %s", vm, uuid_str(&point).s);
        error_set_remedy(a->err, "clusterctl reference list %s", vm);
    } else if (backup_get(a->t, vm, &k) == 0 && k.state != BACKUP_IDLE) {
        error_set(a->err, ERR_AGAIN, "VM %s is being %s %s", vm, backup_work_doing(k.q.work), k.q.repository);
        error_set_remedy(a->err, "clusterctl backup list %s", vm);
    } else {
        point_del(a->t, vm, &point);
        name_newest(a->t, vm);
        EVENT(a, EVENT_INFO, vm, "VM %s: reference point %s is deleted; what lies in %s stays", vm, uuid_str(&point).s,
              p->repository);
    }
    free(p);
}

/* ---- from other rooms ---- */

void backup_node_lost(struct tables *t, const char *node, int64_t time_ms)
{
    const struct entry e = {.time_ms = time_ms};
    const struct apply a = {.t = t, .e = &e};
    const struct backup_end lost = {.result = BACKUP_LOST, .text = "its node was fenced"};
    struct backup k;
    while (backup_is_on(t, node, &k))
        end_run(&a, &k, &lost, NULL);
}

void backup_vm_removed(struct tables *t, const char *vm)
{
    struct backup k, rest = {0};
    if (backup_get(t, vm, &k))
        return;
    if (k.state != BACKUP_IDLE && k.q.work != BACKUP_WORK_BACKUP) {
        STR_COPY(rest.vm, vm);
        rest.q = k.q;
        rest.state = k.state;
        rest.cancel = k.cancel;
        rest.run = k.run;
        rest.claim = k.claim;
        STR_COPY(rest.node, k.node);
        STR_COPY(rest.boot_id, k.boot_id);
        rest.started_ms = k.started_ms;
        backup_put(t, &rest);
        return;
    }
    if (k.state != BACKUP_IDLE)
        journal_job_end(t, &k.run, JOB_CANCELLED, k.started_ms, 0, "its VM was removed");
    tables_del(t, TABLE_BACKUP, vm);
}

void backup_apply(struct tables *t, const struct backup_gate *gate, const struct entry *e, struct apply_result *ret)
{
    const struct apply a = {.t = t, .gate = gate, .e = e, .err = &ret->error};
    switch ((enum entry_kind)e->kind) {
    case ENTRY_REPOSITORY_SET: apply_repository(&a); break;
    case ENTRY_REPOSITORY_REMOVE: apply_repository_remove(&a); break;
    case ENTRY_BACKUP_START: apply_start(&a); break;
    case ENTRY_BACKUP_END: apply_end(&a); break;
    case ENTRY_BACKUP_NOTE: apply_note(&a); break;
    case ENTRY_BACKUP_SCHEDULE: apply_schedule(&a); break;
    case ENTRY_POINT_DELETE: apply_point_delete(&a); break;
    default: malformed(&a); break;
    }
}
