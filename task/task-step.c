/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The leader: says when a task is due and on which member, and ends what its node cannot end any more. Level-triggered:
 * a new leader needs nothing from the old one. */
#include <stdio.h>

#include "task/task.h"

/* A run that waits for its claim, or a drain that was told of. */
struct wait {
    struct uuid run;
    int64_t since_ms;
    bool told; /* its node's drain waits for it */
};
struct task_leader {
    struct wait waits[TASKS_MAX]; /* one for each row, in the order of the rows */
};

struct task_leader *task_leader_new(void)
{
    return xcalloc(1, sizeof(struct task_leader));
}

void task_leader_free(struct task_leader *l)
{
    free(l);
}

static const struct task_node *find_node(const struct task_view *v, const char *name)
{
    for (size_t i = 0; i < v->n; i++)
        if (str_eq(v->nodes[i].name, name))
            return &v->nodes[i];
    return NULL;
}

static void note(const struct task_env *env, const struct task *k, enum task_note_verb verb)
{
    struct task_note n = {.verb = verb, .run = k->run};
    struct buf b = {0};
    char key[TASK_NAME_MAX + 32];
    STR_COPY(n.name, k->d.name);
    task_entry_note(&n, &b);
    snprintf(key, sizeof key, "task-note/%d/%s", (int)verb, k->d.name);
    env->propose(env->ctx, ENTRY_TASK_NOTE, &b, key);
}

/* ---- where ---- */

static bool has_platform(const struct task *k, const struct task_view *v, const struct task_node *n)
{
    return k->d.affinity != TASK_NATIVE_LEVEL || n->native_level == v->fl;
}

static bool may_run(const struct task *k, const struct task_view *v, const struct task_node *n)
{
    return n->present && n->ready && n->active && n->boot_id[0] && has_platform(k, v, n);
}

/* No member's platform is that of the level, not even of one that is away or paused. */
static bool is_blocked(const struct task *k, const struct task_view *v)
{
    for (size_t i = 0; i < v->n; i++)
        if (v->nodes[i].stays && has_platform(k, v, &v->nodes[i]))
            return false;
    return v->n > 0;
}

static size_t load_of(const struct tables *t, const char *node)
{
    struct task k;
    size_t n = 0;
    for (bool more = task_next(t, NULL, &k); more; more = task_next(t, k.d.name, &k))
        n += k.state != TASK_IDLE && str_eq(k.node, node);
    return n;
}

/* The one with the fewest runs; of these not the one that let a run pass, nor the last one again; then by name. */
static const struct task_node *place(const struct tables *t, const struct task *k, const struct task_view *v)
{
    const struct task_node *best = NULL;
    size_t best_cost = 0;
    for (size_t i = 0; i < v->n; i++) {
        const struct task_node *n = &v->nodes[i];
        if (!may_run(k, v, n))
            continue;
        size_t cost = 4 * load_of(t, n->name) + 2 * str_eq(n->name, k->passed_over) + str_eq(n->name, k->last_node);
        if (best && cost >= best_cost)
            continue;
        best = n;
        best_cost = cost;
    }
    return best;
}

/* False: no node may take it now. */
static bool start(const struct tables *t, const struct task *k, const struct task_view *v, const struct task_env *env)
{
    const struct task_node *n = place(t, k, v);
    struct task_start s = {0};
    struct buf b = {0};
    if (!n)
        return false;
    STR_COPY(s.name, k->d.name);
    STR_COPY(s.node, n->name);
    STR_COPY(s.boot_id, n->boot_id);
    task_entry_start(&s, &b);
    env->propose(env->ctx, ENTRY_TASK_START, &b, "task-start");
    return true;
}

/* ---- what is under way ---- */

/* Nothing was begun: another member may as well. */
static void watch_claim(const struct task *k, const struct wait *w, const struct task_view *v,
                        const struct task_env *env)
{
    const struct task_node *n = find_node(v, k->node);
    bool may = n && may_run(k, v, n) && str_eq(n->boot_id, k->boot_id);
    if (may && v->now_ms - w->since_ms < TASK_CLAIM_MS)
        return;
    log_notice(env->log, "task %s was to run on %s, which %s -> withdrawn", k->d.name, k->node,
               may ? "does not begin" : "cannot now");
    note(env, k, TASK_NOTE_WITHDRAWN);
}

static void watch_run(const struct task *k, struct wait *w, const struct task_view *v, const struct task_env *env)
{
    const struct task_node *n = find_node(v, k->node);
    if (v->is_over(v->ctx, k->node, k->boot_id)) {
        struct task_end end = {.run = k->run, .result = TASK_LOST, .by_leader = true, .exit_code = -1};
        struct buf b = {0};
        char key[TASK_NAME_MAX + 16];
        STR_COPY(end.name, k->d.name);
        STR_COPY(end.output, "its node was lost");
        task_entry_end(&end, &b);
        snprintf(key, sizeof key, "task-end/%s", k->d.name);
        env->propose(env->ctx, ENTRY_TASK_END, &b, key);
    } else if (n && n->draining && !w->told) {
        w->told = true;
        note(env, k, TASK_NOTE_DRAIN);
    }
}

/* May a run be asked for? True: one was. */
static bool step_idle(const struct tables *t, const struct task *k, const struct task_view *v, bool may_start,
                      const struct task_env *env)
{
    bool blocked = is_blocked(k, v);
    if (k->blocked != blocked)
        note(env, k, blocked ? TASK_NOTE_BLOCKED : TASK_NOTE_UNBLOCKED);
    else if (k->after_ms > v->wall_ms + TASK_CLOCK_MS)
        note(env, k, TASK_NOTE_CLOCK);
    else if (may_start && !blocked && task_is_due(k, v->wall_ms))
        return start(t, k, v, env);
    return false;
}

void task_leader_step(struct task_leader *l, const struct tables *t, const struct task_view *v,
                      const struct task_env *env)
{
    struct task k;
    size_t i = 0;
    bool may_start = true; /* one at a time: the next one sees where this one went */
    for (bool more = task_next(t, NULL, &k); more && i < TASKS_MAX; more = task_next(t, k.d.name, &k)) {
        struct wait *w = &l->waits[i++];
        if (!uuid_eq(&w->run, &k.run))
            *w = (struct wait){.run = k.run, .since_ms = v->now_ms};
        if (k.state == TASK_STARTING)
            watch_claim(&k, w, v, env);
        else if (k.state == TASK_RUNNING)
            watch_run(&k, w, v, env);
        else
            may_start = !step_idle(t, &k, v, may_start, env) && may_start;
    }
}
