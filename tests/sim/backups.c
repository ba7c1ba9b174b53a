/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The hosts' workers of backups. A worker outlives its agent, and ends with the boot. Invariants:
 *
 *   one run      no worker of that VM runs on any host that has power when one is begun
 *   once         a run is begun once, where its VM runs
 *   serialised   no VM starts, stops, moves or is settled while it is backed up
 *   restored     only a point that a worker published
 *   published    a reference point of the cluster is one that a worker published
 *   kept         after a backup that is done, none of its VM's points is one that a worker deleted
 *   settled      where a VM runs at last, its newest checkpoint is known */
#include "tests/sim/world.h"

#include "backup/job.h"

enum { BACKUP_RUN_MS = 8000, GONE_MS = 1000, BACKUP_CALL_MS = 20 };

static struct sim_backup *find_backup(struct sim_node *s, const char *vm)
{
    for (size_t i = 0; i < WORLD_VMS_MAX; i++)
        if (s->backups[i].state != UNIT_NONE && str_eq(s->backups[i].vm, vm))
            return &s->backups[i];
    return NULL;
}

size_t backup_host(const struct world *w, const char *vm)
{
    for (size_t i = 0; i < w->n; i++) {
        const struct sim_backup *u = find_backup((struct sim_node *)&w->nodes[i], vm);
        if (w->nodes[i].powered && u != NULL && u->state == UNIT_RUNNING)
            return i;
    }
    return w->n;
}

void backups_power_lost(struct world *w, size_t node)
{
    memset(w->nodes[node].backups, 0, sizeof(w->nodes[node].backups));
}

void backups_check_idle(struct world *w, const char *vm, const char *what)
{
    size_t at = backup_host(w, vm);
    if (at < w->n && find_backup(&w->nodes[at], vm)->work == BACKUP_WORK_BACKUP)
        world_fail(w, "VM %s is %s while it is backed up on %s", vm, what, w->nodes[at].name);
}

static bool is_published(const struct world *w, const struct uuid *point)
{
    for (size_t i = 0; i < w->n_points; i++)
        if (uuid_eq(&w->points[i].uuid, point))
            return true;
    return false;
}

void backups_check_points(struct world *w, const struct tables *t)
{
    if (tables_count(t, TABLE_POINT) == w->points_seen)
        return;
    w->points_seen = tables_count(t, TABLE_POINT);
    TABLES_FOREACH (t, TABLE_POINT, row) {
        const char *slash = strrchr(row.key, '/');
        struct uuid u;
        if (slash == NULL || uuid_parse(slash + 1, &u) || !is_published(w, &u))
            world_fail(w, "reference point %s was never published", row.key);
    }
}

static bool is_gone(const struct world *w, const struct uuid *point)
{
    for (size_t i = 0; i < w->n_points; i++)
        if (uuid_eq(&w->points[i].uuid, point))
            return w->points[i].gone;
    return false;
}

/* A run that was lost may have deleted some, too: the next one that is done tells. */
static bool has_gone(const struct world *w, const struct tables *t, const char *vm)
{
    char key[TABLE_KEY_MAX] = "";
    struct point_row *p = xcalloc(1, sizeof(*p));
    bool has = false;
    while (!has && point_next(t, vm, key, p))
        has = is_gone(w, &p->ref.uuid);
    free(p);
    return has;
}

bool backups_are_settled(const struct world *w, const struct tables *t, char *why, size_t size)
{
    struct backup b;
    for (bool more = backup_next(t, NULL, &b); more; more = backup_next(t, b.vm, &b)) {
        size_t at = guest_host(w, b.vm);
        const struct domain *d = at < w->n ? host_find((struct host *)&w->nodes[at].host, b.vm) : NULL;
        if (b.state != BACKUP_IDLE || backup_host(w, b.vm) < w->n) {
            snprintf(why, size, "VM %s is being backed up", b.vm);
            return false;
        }
        if (b.result == BACKUP_DONE && has_gone(w, t, b.vm)) {
            snprintf(why, size, "the cluster has a point of VM %s that was deleted", b.vm);
            return false;
        }
        if (d != NULL && !uuid_eq(&d->checkpoint, &b.newest)) {
            snprintf(why, size, "the newest checkpoint of VM %s is not known on %s", b.vm, w->nodes[at].name);
            return false;
        }
    }
    return true;
}

/* ---- a worker's life ---- */

/* All but the newest so many. */
static void prune(struct world *w, const struct sim_backup *u)
{
    struct retention_rule rule = {0};
    size_t n = 0;
    if (!u->retention[0] || retention_parse(u->retention, &rule, NULL) != 0)
        return;
    for (size_t i = w->n_points; i-- > 0;)
        if (str_eq(w->points[i].vm, u->vm) && !w->points[i].gone)
            w->points[i].gone = ++n > rule.last;
}

static void publish(struct world *w, const struct sim_node *s, struct sim_backup *u)
{
    struct domain *d = host_find((struct host *)&s->host, u->vm);
    w->points = xrealloc(w->points, w->n_points + 1, sizeof(*w->points));
    w->points[w->n_points] = (struct sim_point){.uuid = u->run};
    STR_COPY(w->points[w->n_points++].vm, u->vm);
    u->sequence = (uint32_t)w->n_points;
    u->phase = BACKUP_PUBLISHED;
    d->checkpoint = u->run;
    prune(w, u);
}

static void give_up(struct sim_backup *u, int code, const char *why)
{
    u->phase = BACKUP_GAVE_UP;
    u->code = code;
    STR_COPY(u->why, why);
}

static void end_other(struct world *w, struct sim_backup *u)
{
    struct guest *g = world_guest(w, u->vm);
    if (g->crashing_backups > 0 && g->crashing_backups--)
        return;
    if (g->failing_backups > 0 && g->failing_backups--)
        give_up(u, ERR_CONDITION, "it cannot be read");
    else
        u->phase = BACKUP_PUBLISHED;
}

static void worker_ends(struct world *w, struct errand *j)
{
    struct sim_node *s = &w->nodes[j->node];
    for (size_t i = 0; i < WORLD_VMS_MAX; i++) {
        struct sim_backup *u = &s->backups[i];
        if (u->state != UNIT_RUNNING || u->serial != j->number)
            continue;
        struct guest *g = world_guest(w, u->vm);
        u->state = UNIT_ENDED;
        if (u->work != BACKUP_WORK_BACKUP)
            end_other(w, u);
        else if (guest_host(w, u->vm) != j->node)
            give_up(u, ERR_CONDITION, "the guest went off");
        else if (g->crashing_backups > 0)
            g->crashing_backups--;
        else if (g->failing_backups > 0 && g->failing_backups--)
            give_up(u, ERR_CONDITION, "no space is left in the repository");
        else
            publish(w, s, u);
    }
}

void backups_guest_gone(struct world *w, size_t node, const char *vm)
{
    struct sim_backup *u = find_backup(&w->nodes[node], vm);
    if (u == NULL || u->state != UNIT_RUNNING || u->work != BACKUP_WORK_BACKUP)
        return;
    struct errand *j = world_later(w, GONE_MS, worker_ends);
    j->node = node;
    j->number = u->serial;
}

static void check_start(struct world *w, size_t node, const struct backup_call *c)
{
    const struct sim_node *s = &w->nodes[node];
    size_t other = backup_host(w, c->vm);
    if (other < w->n)
        world_fail(w, "VM %s is backed up on %s and on %s", c->vm, s->name, w->nodes[other].name);
    for (size_t i = 0; i < w->n_runs; i++)
        if (uuid_eq(&w->runs[i], &c->run))
            world_fail(w, "a run of VM %s is begun twice, on %s", c->vm, s->name);
    if (!uuid_is_nil(&c->parent) && !is_published(w, &c->parent))
        world_fail(w, "the backup of VM %s stands on a point that was never published", c->vm);
    if (c->work == BACKUP_WORK_RESTORE && (!is_published(w, &c->point) || !c->folder[0] || !c->as[0]))
        world_fail(w, "what is restored of VM %s was never published, or has no place to go", c->vm);
    if (c->sealed_len == 0 || !c->path[0])
        world_fail(w, "the backup of VM %s has no repository, or no key", c->vm);
}

static struct sim_backup *new_unit(struct world *w, size_t node, const struct backup_call *c)
{
    struct sim_node *s = &w->nodes[node];
    struct sim_backup *u = find_backup(s, c->vm); /* of an earlier run: forgotten by now */
    const struct domain *d = host_find(&s->host, c->vm);
    for (size_t i = 0; u == NULL && i < WORLD_VMS_MAX; i++)
        if (s->backups[i].state == UNIT_NONE)
            u = &s->backups[i];
    bool is_known = d != NULL && uuid_eq(&d->checkpoint, &c->parent);
    *u = (struct sim_backup){
        .run = c->run, .parent = c->parent, .state = UNIT_RUNNING, .serial = ++w->last_unit, .work = c->work};
    STR_COPY(u->vm, c->vm);
    STR_COPY(u->engine, uuid_is_nil(&c->parent) ? "full" : is_known ? "bitmap" : "rescan");
    u->crash_consistent = c->crash_consistent;
    STR_COPY(u->retention, c->retention);
    u->phase = c->work == BACKUP_WORK_RESTORE ? BACKUP_RESTORING : BACKUP_EXPORTING;
    return u;
}

static void begin(struct world *w, size_t node, const struct backup_call *c)
{
    struct guest *g = world_guest(w, c->vm);
    check_start(w, node, c);
    w->runs = xrealloc(w->runs, w->n_runs + 1, sizeof(*w->runs));
    w->runs[w->n_runs++] = c->run;
    struct sim_backup *u = new_unit(w, node, c);
    g->backups++;
    struct errand *j =
        world_later(w, g->backup_ms > 0 ? g->backup_ms : world_delay(w, BACKUP_RUN_MS, 4 * BACKUP_RUN_MS), worker_ends);
    j->node = node;
    j->number = u->serial;
}

/* ---- calls ---- */

static char *point_text(const struct sim_backup *u)
{
    struct refpoint *p = xcalloc(1, sizeof(*p));
    *p = (struct refpoint){.uuid = u->run, .parent = u->parent, .sequence = u->sequence, .n_disks = 1,
                           .application_consistent = !u->crash_consistent, .created_ms = 1764000000000};
    STR_COPY(p->vm, u->vm);
    STR_COPY(p->engine, u->engine);
    struct refpoint_disk *d = &p->disks[0];
    *d = (struct refpoint_disk){.name = "vda", .tracking = {{1, 2, 3}}, .bytes = 1 << 20, .read_bytes = 4096};
    d->stored_bytes = 4096;
    STR_COPY(d->engine, u->engine);
    AUTO(json_freep) struct json *j = refpoint_json(p);
    free(p);
    return json_dump(j);
}

static void tell_points(const struct world *w, const struct sim_backup *u, struct backup_outcome *o)
{
    if (!u->retention[0])
        return;
    o->points = xcalloc(w->n_points, sizeof(*o->points));
    for (size_t i = 0; i < w->n_points; i++)
        if (str_eq(w->points[i].vm, u->vm) && !w->points[i].gone)
            o->points[o->n_points++] = w->points[i].uuid;
}

static void tell(const struct world *w, const struct sim_backup *u, struct backup_outcome *o)
{
    static const enum backup_unit states[] = {BACKUP_UNIT_NONE, BACKUP_UNIT_RUNNING, BACKUP_UNIT_ENDED};
    o->unit = states[u->state];
    o->phase = u->phase;
    o->total_bytes = 4096;
    if (u->phase == BACKUP_GAVE_UP)
        error_set(&o->failure, u->code, "%s", u->why);
    if (u->phase != BACKUP_PUBLISHED || u->work != BACKUP_WORK_BACKUP)
        return;
    o->pause_ms = 40;
    o->point = point_text(u);
    snprintf(o->checkpoint, sizeof(o->checkpoint), BACKUP_CHECKPOINT_PREFIX "%s", uuid_str(&u->run).s);
    o->checkpoint_xml = xstrdup("<domaincheckpoint/>");
    tell_points(w, u, o);
}

static void start(struct world *w, struct errand *j, struct sim_backup *own)
{
    const struct backup_call *c = j->a.backup;
    if (own != NULL) {
        tell(w, own, &j->backup);
    } else if (c->until_ms && world_mono_ms(w, j->node) >= c->until_ms) {
        error_set(&j->backup.error, ERR_AGAIN, "it is too late to begin");
    } else {
        begin(w, j->node, c);
        j->backup.unit = BACKUP_UNIT_RUNNING;
        if (world_chance(w, w->hook_fails / 2))
            error_set(&j->backup.error, ERR_TIMEOUT, "systemd does not answer");
    }
}

/* A worker that is told to end deletes its checkpoint; the old one stays. */
static void stop(const struct world *w, struct sim_backup *own, struct backup_outcome *o)
{
    if (own == NULL)
        return;
    if (own->state == UNIT_RUNNING)
        give_up(own, ERR_FAILED, "it was told to end");
    own->state = UNIT_ENDED;
    tell(w, own, o);
}

static void settle(struct world *w, struct errand *j)
{
    const struct backup_call *c = j->a.backup;
    struct domain *d = host_find(&w->nodes[j->node].host, c->vm);
    backups_check_idle(w, c->vm, "settled");
    if (world_chance(w, w->hook_fails / 2))
        error_set(&j->backup.error, ERR_FAILED, "libvirt does not answer");
    else if (d == NULL || d->state != VM_DOMAIN_RUNNING)
        error_set(&j->backup.error, ERR_CONDITION, "the domain is not there");
    else
        d->checkpoint = c->parent;
}

void backups_call(struct world *w, struct errand *j)
{
    static const char key[] = "sealed";
    const struct backup_call *c = j->a.backup;
    struct sim_node *s = &w->nodes[j->node];
    struct sim_backup *u = c->vm[0] ? find_backup(s, c->vm) : NULL;
    struct sim_backup *own = u != NULL && uuid_eq(&u->run, &c->run) ? u : NULL;
    switch (c->verb) {
    case BACKUP_CALL_START: start(w, j, own); break;
    case BACKUP_CALL_LOOK:
        if (own != NULL)
            tell(w, own, &j->backup);
        break;
    case BACKUP_CALL_STOP: stop(w, own, &j->backup); break;
    case BACKUP_CALL_STOP_ALL: backups_power_lost(w, j->node); break;
    case BACKUP_CALL_FORGET:
        if (own != NULL)
            own->state = UNIT_NONE;
        break;
    case BACKUP_CALL_SETTLE: settle(w, j); break;
    case BACKUP_CALL_INIT:
        memcpy(j->backup.sealed_key, key, sizeof(key));
        j->backup.sealed_len = sizeof(key);
        break;
    }
    world_answer(w, j, EV_BACKUP, world_delay(w, BACKUP_CALL_MS, 5 * BACKUP_CALL_MS));
}
