/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The leader: begins what schedules ask for, withdraws what is not claimed, cancels what is in the way for too long,
 * and ends what its node cannot end any more. Level-triggered: a new leader needs nothing from the old one. */
#include <stdio.h>

#include "backup/job.h"

enum { NODES_MAX = 64, REST_MS = 60000 };

/* What is remembered of a VM. */
struct wait {
    char vm[BACKUP_VM_MAX];
    struct uuid run;
    int64_t since_ms; /* of this run */
    int64_t held_ms;  /* since when somebody waits for its end; 0: nobody does */
    bool told;
    int64_t rest_ms; /* nothing is begun before; the last one was not claimed */
};
struct backup_leader {
    struct wait *waits; /* in the order of the rows */
    size_t n;
};

/* Runs that are under way, by node. */
struct load {
    char node[BACKUP_NODE_MAX];
    uint32_t n;
};
struct step {
    const struct tables *t;
    const struct backup_view *v;
    const struct backup_env *env;
    struct load loads[NODES_MAX];
    bool may_start; /* one at a time: the next one sees where this one went */
};

struct backup_leader *backup_leader_new(void)
{
    return xcalloc(1, sizeof(struct backup_leader));
}

void backup_leader_free(struct backup_leader *l)
{
    if (l)
        free(l->waits);
    free(l);
}

static void note(const struct step *s, const struct backup *k, enum backup_note_verb verb)
{
    struct backup_note n = {.verb = verb, .run = k->run};
    struct buf b = {0};
    char key[BACKUP_VM_MAX + 32];
    STR_COPY(n.vm, k->vm);
    backup_entry_note(&n, &b);
    snprintf(key, sizeof key, "backup-note/%d/%s", (int)verb, k->vm);
    s->env->propose(s->env->ctx, ENTRY_BACKUP_NOTE, &b, key);
}

/* ---- what is under way ---- */

/* Nothing was begun. */
static void watch_claim(const struct step *s, const struct backup *k, struct wait *w)
{
    struct backup_vm v = {0};
    bool may = backup_may_run(&s->v->eye, k->q.work, k->vm, k->node, &v, NULL) == 0 && v.present &&
               str_eq(v.node, k->node) && str_eq(v.boot_id, k->boot_id);
    if (may && s->v->now_ms - w->since_ms < BACKUP_CLAIM_MS)
        return;
    log_notice(s->env->log, "the %s of VM %s was to be on %s, which %s -> withdrawn", backup_work_noun(k->q.work),
               k->vm, k->node, may ? "does not begin" : "cannot now");
    w->rest_ms = s->v->now_ms + REST_MS;
    note(s, k, BACKUP_NOTE_WITHDRAWN);
}

static void end_lost(const struct step *s, const struct backup *k)
{
    struct backup_end end = {.run = k->run, .result = BACKUP_LOST, .by_leader = true};
    struct buf b = {0};
    char key[BACKUP_VM_MAX + 16];
    STR_COPY(end.vm, k->vm);
    STR_COPY(end.text, "its node was lost");
    backup_entry_end(&end, &b);
    snprintf(key, sizeof key, "backup-end/%s", k->vm);
    s->env->propose(s->env->ctx, ENTRY_BACKUP_END, &b, key);
}

/* Somebody waits for its end: a drain of the node, or an operation on the VM. */
static void watch_held(const struct step *s, const struct backup *k, struct wait *w, bool is_urgent)
{
    const struct backup_settings *set = &s->v->settings;
    if (w->held_ms == 0)
        w->held_ms = s->v->now_ms;
    bool is_over = !set->waits && s->v->now_ms - w->held_ms >= set->wait_ms;
    if (k->cancel)
        return;
    if (is_urgent || is_over) {
        log_notice(s->env->log, "the %s of VM %s is in the way on %s -> cancel it", backup_work_noun(k->q.work), k->vm,
                   k->node);
        note(s, k, BACKUP_NOTE_CANCEL);
    } else if (!w->told) {
        w->told = true;
        note(s, k, BACKUP_NOTE_WAITS);
    }
}

static void watch_run(const struct step *s, const struct backup *k, struct wait *w)
{
    struct backup_vm v = {0};
    const struct backup_eye *eye = &s->v->eye;
    bool found = k->q.work == BACKUP_WORK_BACKUP ? eye->vm(eye->ctx, k->vm, &v) : eye->node(eye->ctx, k->node, &v);
    if (s->v->is_over(s->v->tables, k->node, k->boot_id))
        end_lost(s, k);
    else if (found && (v.busy || v.draining))
        watch_held(s, k, w, v.urgent);
    else
        w->held_ms = 0;
}

/* ---- schedules ---- */

static uint32_t *load_of(struct step *s, const char *node)
{
    for (size_t i = 0; i < NODES_MAX; i++) {
        if (!s->loads[i].node[0])
            STR_COPY(s->loads[i].node, node);
        if (str_eq(s->loads[i].node, node))
            return &s->loads[i].n;
    }
    return &s->loads[NODES_MAX - 1].n;
}

static void count_loads(struct step *s)
{
    struct backup k;
    for (bool more = backup_next(s->t, NULL, &k); more; more = backup_next(s->t, k.vm, &k))
        if (k.state != BACKUP_IDLE && k.q.work == BACKUP_WORK_BACKUP)
            ++*load_of(s, k.node);
}

static void start(const struct step *s, const struct backup *k)
{
    struct backup_start b = {.q = k->scheduled, .by_schedule = true};
    struct buf payload = {0};
    STR_COPY(b.vm, k->vm);
    backup_entry_start(&b, &payload);
    s->env->propose(s->env->ctx, ENTRY_BACKUP_START, &payload, "backup-start");
}

static void step_idle(struct step *s, const struct backup *k, const struct wait *w)
{
    struct backup_vm v = {0};
    if (!k->calendar[0])
        return;
    if (k->after_ms > s->v->wall_ms + BACKUP_CLOCK_MS) {
        note(s, k, BACKUP_NOTE_CLOCK);
        return;
    }
    if (!s->may_start || s->v->now_ms < w->rest_ms || !backup_is_due(k, s->v->wall_ms))
        return;
    if (backup_may_run(&s->v->eye, BACKUP_WORK_BACKUP, k->vm, "", &v, NULL) || !v.present ||
        *load_of(s, v.node) >= s->v->settings.runs_per_node)
        return;
    start(s, k);
    s->may_start = false;
}

/* ---- all rows ---- */

/* What was remembered of it, at *i or behind; both lists are sorted. */
static struct wait take_wait(const struct backup_leader *l, size_t *i, const struct backup *k, int64_t now_ms)
{
    struct wait w = {.since_ms = now_ms};
    while (*i < l->n && strcmp(l->waits[*i].vm, k->vm) < 0)
        ++*i;
    if (*i < l->n && str_eq(l->waits[*i].vm, k->vm))
        w = l->waits[(*i)++];
    if (!uuid_eq(&w.run, &k->run))
        w = (struct wait){.run = k->run, .since_ms = now_ms, .rest_ms = w.rest_ms};
    STR_COPY(w.vm, k->vm);
    return w;
}

void backup_leader_step(struct backup_leader *l, const struct tables *t, const struct backup_view *v,
                        const struct backup_env *env)
{
    struct step s = {.t = t, .v = v, .env = env, .may_start = true};
    struct wait *waits = xcalloc(tables_count(t, TABLE_BACKUP) + 1, sizeof *waits);
    struct backup k;
    size_t n = 0, i = 0;
    count_loads(&s);
    for (bool more = backup_next(t, NULL, &k); more; more = backup_next(t, k.vm, &k)) {
        waits[n] = take_wait(l, &i, &k, v->now_ms);
        if (k.state == BACKUP_STARTING)
            watch_claim(&s, &k, &waits[n]);
        else if (k.state == BACKUP_RUNNING)
            watch_run(&s, &k, &waits[n]);
        else
            step_idle(&s, &k, &waits[n]);
        n++;
    }
    free(l->waits);
    l->waits = waits;
    l->n = n;
}
