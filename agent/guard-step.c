/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The leader fences nodes that are lost: it waits out what they promised, and asks the fence command, where one is set,
 * whichever is done first.
 *
 *   absent, has VMs ──BEGIN──> WAITING ─┬─ the command confirmed ──────────────────┬─DONE─> FENCED
 *                                       └─ bound + wait passed (only if it keeps) ─┘
 *
 * A second round for the same absence (a migration reported its arrival there after the first) counts from when it was
 * needed. What is remembered here is lost with the leader: the next one counts from its own election. */
#include <inttypes.h>
#include <stdio.h>

#include "agent/guard.h"

struct wait {
    char node[NODE_NAME_MAX];
    int64_t since_ms; /* noticed */
    int64_t from_ms;
    int64_t until_ms; /* 0: only the command can end it */
    bool is_anew; /* a second round, and it was not begun yet */
    bool had_anew;
    bool confirmed;
    uint64_t command; /* under way; 0: none */
    int64_t command_ms; /* when to ask again */
    bool told;
    char asked[ERROR_TEXT_MAX]; /* what became of the command */
};

struct guard_leader {
    struct wait *waits;
    size_t n;
};

struct guard_leader *guard_leader_new(void)
{
    return xcalloc(1, sizeof(struct guard_leader));
}

void guard_leader_free(struct guard_leader *l)
{
    if (l)
        free(l->waits);
    free(l);
}

static struct wait *find_wait(const struct guard_leader *l, const char *node)
{
    for (size_t i = 0; i < l->n; i++)
        if (str_eq(l->waits[i].node, node))
            return &l->waits[i];
    return NULL;
}

static struct wait *need_wait(struct guard_leader *l, const struct guard_node *n, const struct guard *g,
                              int64_t now_ms)
{
    struct wait *w = find_wait(l, n->name);
    if (!w) {
        l->waits = xrealloc(l->waits, l->n + 1, sizeof(l->waits[0]));
        w = &l->waits[l->n++];
        *w = (struct wait){.since_ms = now_ms, .from_ms = n->bound_ms};
        STR_COPY(w->node, n->name);
    }
    if (g->state == FENCE_FENCED && !w->is_anew) {
        w->is_anew = w->had_anew = true;
        w->confirmed = false;
        w->from_ms = now_ms;
    } else if (g->state == FENCE_WAITING) {
        w->is_anew = false;
    }
    if (!w->had_anew && n->bound_ms < w->from_ms)
        w->from_ms = n->bound_ms; /* more was heard of it */
    return w;
}

static void propose(const struct guard_env *env, const struct guard *g, enum fence_verb verb, enum fence_how how)
{
    struct fence_entry f = {.verb = verb, .how = how};
    struct buf b = {0};
    char key[NODE_NAME_MAX + 16];
    STR_COPY(f.node, g->node);
    STR_COPY(f.boot_id, g->boot_id);
    if (verb == FENCE_BEGIN && guard_keeps(g->kind))
        f.wait_ms = guard_wait_ms(g);
    guard_entry_fence(&f, &b);
    snprintf(key, sizeof(key), "fence/%s", g->node);
    env->propose(env->ctx, ENTRY_NODE_FENCE, &b, key);
}

static void call_command(struct wait *w, const struct guard *g, const struct guard_env *env)
{
    char op_id[sizeof("fence-") + UUID_STR_SIZE];
    if (!env->has_command || w->command || w->confirmed || env->now_ms < w->command_ms)
        return;
    /* One operation a boot: another leader that asks again asks for the same. */
    snprintf(op_id, sizeof(op_id), "fence-%s", g->boot_id);
    w->command = env->command(env->ctx, g->node, op_id);
    if (!w->asked[0])
        STR_COPY(w->asked, "the fence command has not ended yet");
}

static void forget(struct guard_leader *l, const char *node)
{
    struct wait *w = find_wait(l, node);
    if (w)
        *w = l->waits[--l->n];
}

static void follow(struct wait *w, const struct guard *g, bool in_ring, const struct guard_env *env)
{
    bool is_agent_alone = in_ring && env->now_ms - w->since_ms < GUARD_AGENT_MS;
    if (is_agent_alone && g->state != FENCE_WAITING)
        return;
    bool waits = guard_keeps(g->kind);
    w->until_ms = waits ? w->from_ms + guard_wait_ms(g) : 0;
    if (!w->told)
        log_warn(env->log, "%s is lost with VMs -> %s%s%s", g->node, waits ? "its wait runs" : "",
                 waits && env->has_command ? ", and " : "", env->has_command ? "the fence command is asked" : "");
    w->told = true;
    if (g->state != FENCE_WAITING) {
        propose(env, g, FENCE_BEGIN, 0);
        return;
    }
    call_command(w, g, env);
    if (w->confirmed)
        propose(env, g, FENCE_DONE, FENCE_BY_COMMAND);
    else if (waits && env->now_ms >= w->until_ms)
        propose(env, g, FENCE_DONE, FENCE_BY_WAIT);
}

static void step_node(struct guard_leader *l, const struct tables *t, const struct guard_node *n,
                      const struct guard_env *env)
{
    struct guard g;
    if (guard_get(t, n->name, &g))
        return;
    if (n->present) {
        forget(l, n->name);
        if (g.state == FENCE_WAITING)
            propose(env, &g, FENCE_CANCEL, 0);
        return;
    }
    if (!n->has_vms)
        forget(l, n->name);
    else if (guard_keeps(g.kind) || (g.kind == GUARD_NONE && env->has_command))
        follow(need_wait(l, n, &g, env->now_ms), &g, n->in_ring, env);
}

void guard_leader_step(struct guard_leader *l, const struct tables *t, const struct guard_node *nodes, size_t n,
                       const struct guard_env *env)
{
    for (size_t i = 0; i < n; i++)
        step_node(l, t, &nodes[i], env);
}

bool guard_leader_commanded(struct guard_leader *l, uint64_t id, const struct error *e, const struct guard_env *env)
{
    for (size_t i = 0; i < l->n; i++) {
        struct wait *w = &l->waits[i];
        if (id == 0 || w->command != id)
            continue;
        w->command = 0;
        w->confirmed = e->code == 0;
        w->command_ms = env->now_ms + GUARD_COMMAND_AGAIN_MS;
        snprintf(w->asked, sizeof(w->asked), "the fence command did not confirm it: %.300s", e->code ? e->text : "");
        if (e->code)
            log_warn(env->log, "fence command for %s: %s -> again in %d s", w->node, e->text,
                     GUARD_COMMAND_AGAIN_MS / 1000);
        else
            log_notice(env->log, "fence command for %s: its power is off", w->node);
        return true;
    }
    return false;
}

int64_t guard_leader_next_ms(const struct guard_leader *l, int64_t now_ms)
{
    int64_t next_ms = INT64_MAX;
    for (size_t i = 0; i < l->n; i++)
        if (l->waits[i].until_ms > now_ms && l->waits[i].until_ms < next_ms)
            next_ms = l->waits[i].until_ms;
    return next_ms;
}

const char *guard_leader_asked(const struct guard_leader *l, const char *node)
{
    const struct wait *w = find_wait(l, node);
    return w && !w->confirmed ? w->asked : "";
}

int64_t guard_leader_left_ms(const struct guard_leader *l, const char *node, int64_t now_ms)
{
    const struct wait *w = find_wait(l, node);
    if (!w || w->until_ms == 0)
        return -1;
    return w->until_ms > now_ms ? w->until_ms - now_ms : 0;
}
