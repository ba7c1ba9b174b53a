/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What every part of the leader's step does: it proposes moves, at most one of a step at a time, and waits with an end.
 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/text.h"
#include "upgrade/run-lead.h"

enum { ASK_MS = 1000 /* between two requests of the same thing */ };

/* ---- proposals and requests ---------------------------------------------------------------------------------- */

/* Logs a move once, though it is proposed until it is applied. */
static void say(const struct lead *c, const char *who, uint64_t seq, const char *fact, const char *state)
{
    char id[sizeof(c->lane->said)];
    snprintf(id, sizeof(id), "%s/%llu/%s", who, (unsigned long long)seq, state);
    if (str_eq(id, c->lane->said))
        return;
    STR_COPY(c->lane->said, id);
    log_notice(c->env->log, "%s: %s -> %s", who, fact, state);
}

static void propose(const struct lead *c, enum entry_kind kind, struct buf *b)
{
    char key[UUID_STR_SIZE + 32];
    if (c->s)
        snprintf(key, sizeof(key), "upgrade-%s-%03u", uuid_str(&c->r->id).s, c->s->position);
    else
        snprintf(key, sizeof(key), "upgrade-%s", uuid_str(&c->r->id).s);
    c->env->propose(c->env->ctx, kind, b, key);
}

void lead_move_run(const struct lead *c, enum run_state state, const char *fact, const struct error *why)
{
    struct run_move m = {.run = c->r->id, .seq = c->r->seq, .state = state};
    struct buf b = {0};
    assert(run_state_may(c->r->state, state));
    if (why) {
        STR_COPY(m.error, why->text);
        STR_COPY(m.remedy, why->remedy);
    }
    say(c, "run", c->r->seq, fact, run_state_name(state));
    run_move_encode(&m, &b);
    propose(c, ENTRY_RUN_MOVE, &b);
}

struct step_move lead_move_to(const struct lead *c, enum step_state state)
{
    assert(step_state_may(c->s->state, state));
    return (struct step_move){.run = c->r->id,
                              .run_seq = c->r->seq,
                              .position = c->s->position,
                              .seq = c->s->seq,
                              .state = state,
                              .canary = c->s->canary,
                              .attempt = c->s->attempt};
}

void lead_propose_step(const struct lead *c, const struct step_move *m, const char *fact)
{
    struct buf b = {0};
    say(c, c->s->node, c->s->seq, fact, step_state_name(m->state));
    step_move_encode(m, &b);
    propose(c, ENTRY_STEP_MOVE, &b);
}

void lead_move(const struct lead *c, enum step_state state, const char *fact)
{
    struct step_move m = lead_move_to(c, state);
    lead_propose_step(c, &m, fact);
}

void lead_fail(const struct lead *c, bool hook_failed, const char *remedy, const char *fmt, ...)
{
    struct step_move m = lead_move_to(c, STEP_FAILED);
    va_list ap;
    va_start(ap, fmt);
    text_vformat(m.detail, sizeof(m.detail), fmt, ap);
    va_end(ap);
    STR_COPY(m.remedy, remedy);
    m.hook_failed = hook_failed;
    lead_propose_step(c, &m, m.detail);
}

/* May this be asked of another room now? At once the first time, then every ASK_MS: an answer needs a commit, and a
 * request that was refused must not be made again at the speed of the log. */
bool lead_may_ask(const struct lead *c, const char *what)
{
    char id[sizeof(c->lane->asked)];
    snprintf(id, sizeof(id), "%s/%llu", what, (unsigned long long)c->s->seq);
    if (str_eq(id, c->lane->asked) && c->now_ms < c->lane->ask_again_ms)
        return false;
    STR_COPY(c->lane->asked, id);
    c->lane->ask_again_ms = c->now_ms + ASK_MS;
    return true;
}

/* ---- settings ------------------------------------------------------------------------------------------------ */

int64_t lead_rebuild_ms(const struct lead *c)
{
    return c->v->rebuild_ms > 0 ? c->v->rebuild_ms : UPGRADE_REBUILD_DEADLINE_MS;
}

int64_t lead_verify_ms(const struct lead *c)
{
    return c->v->verify_ms > 0 ? c->v->verify_ms : UPGRADE_VERIFY_DEADLINE_MS;
}

int lead_minutes(int64_t ms)
{
    return (int)(ms / 60000);
}

/* ---- waiting and deadlines ----------------------------------------------------------------------------------- */

void lead_wait_for(const struct lead *c, const char *fmt, ...)
{
    char *all = c->l->waiting;
    size_t len = strlen(all), size = sizeof(c->l->waiting);
    va_list ap;
    if (len > 0 && len + sizeof("; ") < size) /* another step waits, too */
        len += (size_t)snprintf(all + len, size - len, "; ");
    va_start(ap, fmt);
    text_vformat(all + len, size - len, fmt, ap);
    va_end(ap);
}

/* Has `what` been waited for as long as that, without any change of `progress`, in steps one after the other that all
 * waited for it? */
bool lead_is_stalled(const struct lead *c, int what, uint64_t progress, int64_t deadline_ms)
{
    struct watch *w = &c->lane->watch;
    uint32_t attempt = c->s ? c->s->attempt : 0;
    bool same = w->run_seq == c->r->seq && w->attempt == attempt && w->what == what && w->progress == progress;
    if (!same)
        *w = (struct watch){.run_seq = c->r->seq, .attempt = attempt, .what = what, .progress = progress};
    else if (w->last_ms > 0 && c->now_ms > w->last_ms)
        w->watched_ms += c->now_ms - w->last_ms;
    w->last_ms = c->now_ms;
    w->used = true;
    return w->watched_ms >= deadline_ms;
}

bool lead_is_overdue(const struct lead *c, int what, int64_t deadline_ms)
{
    return lead_is_stalled(c, what, 0, deadline_ms);
}

/* Asked at most every ASK_MS: it looks at every virtual machine. */
static bool is_stuck(const struct lead *c, struct error *ret)
{
    struct lane *l = c->lane;
    if (!c->v->is_stuck)
        return false;
    if (c->now_ms >= l->stuck_until_ms || l->stuck_until_ms == 0) {
        l->stuck = (struct error){0};
        if (!c->v->is_stuck(c->v->ctx, c->s->node, &l->stuck))
            l->stuck.code = 0;
        l->stuck_until_ms = c->now_ms + ASK_MS;
    }
    *ret = l->stuck;
    return l->stuck.code != 0;
}

/* A step that is not begun yet cannot fail: the run stops before it. */
void lead_stop_before(const struct lead *c, const struct error *why)
{
    struct lead run = *c;
    run.s = NULL;
    lead_move_run(&run, RUN_PAUSED_ERROR, why->text, why);
}

bool lead_is_in_place(const struct lead *c)
{
    return c->r->executor == EXECUTOR_KIND_IN_PLACE;
}

/* Something is in the way that may go by itself: an agent that systemd restarts, a node that catches up. Of a node that
 * is not begun also: virtual machines that could go nowhere. */
bool lead_is_blocked(const struct lead *c)
{
    struct error why = {0};
    bool is_open = step_state_is_open(c->s->state);
    if (!upgrade_step_obstacle(c->v, c->s->node, c->others, c->n_others, c->r->max_unavailable, &why) &&
        !(is_open && is_stuck(c, &why)))
        return false;
    lead_wait_for(c, "%s", why.text);
    if (is_open && c->n_others > 0)
        return true; /* when one of them is done it may be otherwise */
    if (!lead_is_overdue(c, WATCH_OBSTACLE + (int)c->s->state, lead_verify_ms(c)))
        return true;
    if (is_open)
        lead_stop_before(c, &why);
    else
        lead_fail(c, false, why.remedy, "%s", why.text);
    return true;
}
