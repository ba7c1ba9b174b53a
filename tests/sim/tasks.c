/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The hosts' units of cluster tasks. A unit outlives its agent, and ends with the boot. Invariants, at every start:
 *
 *   one run          no unit of that task runs on any host that has power
 *   once             a run is begun once
 *   native level     a task of that affinity is begun only where the release's level is the committed one */
#include "tests/sim/world.h"

#include "upgrade/level.h"

enum { RUN_MS = 10000, CALL_MS = 20 };

struct task_truth *world_task(struct world *w, const char *name)
{
    for (size_t i = 0; i < w->n_tasks; i++)
        if (str_eq(w->tasks[i].name, name))
            return &w->tasks[i];
    if (w->n_tasks == WORLD_TASKS_MAX) {
        world_fail(w, "more than %d tasks", WORLD_TASKS_MAX);
        return &w->tasks[0];
    }
    STR_COPY(w->tasks[w->n_tasks].name, name);
    return &w->tasks[w->n_tasks++];
}

static struct sim_unit *find_unit(struct sim_node *s, const char *name)
{
    for (size_t i = 0; i < WORLD_TASKS_MAX; i++)
        if (s->units[i].state != UNIT_NONE && str_eq(s->units[i].name, name))
            return &s->units[i];
    return NULL;
}

size_t task_host(const struct world *w, const char *name)
{
    for (size_t i = 0; i < w->n; i++) {
        const struct sim_unit *u = find_unit((struct sim_node *)&w->nodes[i], name);
        if (w->nodes[i].powered && u != NULL && u->state == UNIT_RUNNING)
            return i;
    }
    return w->n;
}

void tasks_power_lost(struct world *w, size_t node)
{
    memset(w->nodes[node].units, 0, sizeof(w->nodes[node].units));
}

static void unit_ends(struct world *w, struct errand *j)
{
    struct sim_node *s = &w->nodes[j->node];
    for (size_t i = 0; i < WORLD_TASKS_MAX; i++) {
        struct sim_unit *u = &s->units[i];
        if (u->state != UNIT_RUNNING || u->serial != j->number)
            continue;
        struct task_truth *truth = world_task(w, u->name);
        u->state = UNIT_ENDED;
        u->timed_out = j->step != 0;
        u->exit_code = u->timed_out ? -1 : truth->failing > 0 ? 3 : 0;
        truth->failing -= !u->timed_out && truth->failing > 0;
    }
}

static void check_start(struct world *w, size_t node, const struct task_call *c)
{
    const struct sim_node *s = &w->nodes[node];
    size_t other = task_host(w, c->name);
    if (other < w->n)
        world_fail(w, "task %s is begun on %s and runs on %s", c->name, s->name, w->nodes[other].name);
    if (c->native_level && level_of_release(s->release) != w->fl)
        world_fail(w, "task %s is begun on %s, of level %u: the functional level is %u", c->name, s->name,
                   level_of_release(s->release), w->fl);
    if (c->native_level && c->level != w->fl)
        world_fail(w, "task %s is told of level %u, the functional level is %u", c->name, c->level, w->fl);
}

static struct sim_unit *new_unit(struct world *w, size_t node, const struct task_call *c)
{
    struct sim_node *s = &w->nodes[node];
    struct sim_unit *u = find_unit(s, c->name); /* of an earlier run: forgotten by now */
    for (size_t i = 0; u == NULL && i < WORLD_TASKS_MAX; i++)
        if (s->units[i].state == UNIT_NONE)
            u = &s->units[i];
    if (u == NULL)
        return NULL;
    *u = (struct sim_unit){
        .run = c->run, .state = UNIT_RUNNING, .serial = ++w->last_unit, .native_level = c->native_level};
    STR_COPY(u->name, c->name);
    return u;
}

static void begin(struct world *w, size_t node, const struct task_call *c)
{
    struct task_truth *truth = world_task(w, c->name);
    check_start(w, node, c);
    struct sim_unit *u = new_unit(w, node, c);
    if (u == NULL) {
        world_fail(w, "more than %d tasks", WORLD_TASKS_MAX);
        return;
    }
    truth->starts++;
    int64_t ms = truth->ms > 0 ? truth->ms : world_delay(w, RUN_MS, 4 * RUN_MS);
    struct errand *j = world_later(w, ms < c->timeout_ms ? ms : c->timeout_ms, unit_ends);
    j->node = node;
    j->number = u->serial;
    j->step = ms >= c->timeout_ms;
}

static void tell(const struct sim_unit *u, struct task_outcome *o)
{
    static const enum task_unit states[] = {TASK_UNIT_NONE, TASK_UNIT_RUNNING, TASK_UNIT_ENDED};
    o->unit = states[u->state];
    o->timed_out = u->timed_out;
    o->exit_code = u->exit_code;
    if (u->state == UNIT_ENDED && u->exit_code > 0)
        STR_COPY(o->output, "no space left on device");
}

static void start(struct world *w, struct errand *j, struct sim_unit *own)
{
    const struct task_call *c = j->a.task;
    if (own != NULL) {
        tell(own, &j->task);
    } else if (c->until_ms && world_mono_ms(w, j->node) >= c->until_ms) {
        error_set(&j->task.error, ERR_AGAIN, "it is too late to begin");
    } else {
        begin(w, j->node, c);
        j->task.unit = TASK_UNIT_RUNNING;
        if (world_chance(w, w->hook_fails / 2))
            error_set(&j->task.error, ERR_TIMEOUT, "systemd does not answer");
    }
}

void tasks_call(struct world *w, struct errand *j)
{
    const struct task_call *c = j->a.task;
    struct sim_node *s = &w->nodes[j->node];
    struct sim_unit *u = c->verb == TASK_CALL_STOP_ALL ? NULL : find_unit(s, c->name);
    struct sim_unit *own = u != NULL && uuid_eq(&u->run, &c->run) ? u : NULL;
    if (c->verb == TASK_CALL_START)
        start(w, j, own);
    else if (c->verb == TASK_CALL_LOOK && own != NULL)
        tell(own, &j->task);
    else if (c->verb == TASK_CALL_STOP_ALL)
        tasks_power_lost(w, j->node);
    else if (c->verb != TASK_CALL_LOOK && own != NULL)
        own->state = UNIT_NONE;
    world_answer(w, j, EV_TASK, world_delay(w, CALL_MS, 5 * CALL_MS));
}
