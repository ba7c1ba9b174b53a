/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The canary: after the first node that a run upgraded, one virtual machine goes there, back and there again, and home.
 * Only then the next node is begun; where it fails the run stops, with the machine safe where it is. */
#include <stdarg.h>
#include <stdio.h>

#include "common/text.h"
#include "upgrade/run-lead.h"

enum { LEG_THERE = 1, LEG_BACK, LEG_AGAIN, LEG_HOME };

static void move_canary_on(const struct lead *c, enum step_state state, const struct canary *canary, const char *fmt,
                           ...) __attribute__((format(printf, 4, 5)));
static void move_canary_on(const struct lead *c, enum step_state state, const struct canary *canary, const char *fmt,
                           ...)
{
    struct step_move m = lead_move_to(c, state);
    va_list ap;
    m.canary = *canary;
    va_start(ap, fmt);
    text_vformat(m.detail, sizeof(m.detail), fmt, ap);
    va_end(ap);
    lead_propose_step(c, &m, m.detail);
}

static void fail_canary(const struct lead *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fail_canary(const struct lead *c, const char *fmt, ...)
{
    struct step_move m = lead_move_to(c, STEP_FAILED);
    va_list ap;
    va_start(ap, fmt);
    text_vformat(m.canary.text, sizeof(m.canary.text), fmt, ap);
    va_end(ap);
    m.canary.result = CANARY_FAILED;
    snprintf(m.detail, sizeof(m.detail), "the canary failed: %.230s", m.canary.text);
    snprintf(m.remedy, sizeof(m.remedy),
             "mend what is in the way (clusterctl vm show %.64s), then clusterctl upgrade "
             "retry; or clusterctl upgrade rollback",
             c->s->canary.vm);
    lead_propose_step(c, &m, m.detail);
}

/* Without one to try it with there is no canary, which is told and kept. */
static void begin_canary(const struct lead *c)
{
    struct canary canary = {.result = CANARY_UNDER_WAY, .leg = LEG_THERE};
    struct canary_look look = {.busy = false};
    struct error why = {0};
    if (!c->v->find_canary(c->v->ctx, c->s->node, canary.vm, &why)) {
        canary = (struct canary){.result = CANARY_SKIPPED};
        STR_COPY(canary.text, why.text);
        move_canary_on(c, STEP_FAILBACK, &canary, "no canary: %s", why.text);
    } else if (c->v->look_at_canary(c->v->ctx, canary.vm, &look)) {
        STR_COPY(canary.from, look.node);
        move_canary_on(c, STEP_CANARY, &canary, "%s goes from %s to %s", canary.vm, canary.from, c->s->node);
    }
}

/* It arrived: the next move, or the end. It ends at home, or else where it was. */
static void next_leg(const struct lead *c, const struct canary_look *look)
{
    struct canary canary = c->s->canary;
    bool is_last = canary.leg >= LEG_HOME || (canary.leg == LEG_AGAIN && str_eq(look->home, c->s->node));
    canary.result = is_last ? CANARY_PASSED : CANARY_UNDER_WAY;
    canary.text[0] = '\0';
    if (is_last) {
        move_canary_on(c, STEP_FAILBACK, &canary, "%s went there, back and there again", canary.vm);
        return;
    }
    canary.leg++;
    bool goes_there = canary.leg == LEG_AGAIN;
    move_canary_on(c, STEP_CANARY, &canary, "%s goes from %s to %s", canary.vm, goes_there ? canary.from : c->s->node,
                   goes_there ? c->s->node : canary.from);
}

static void drive_canary(const struct lead *c)
{
    const struct canary *k = &c->s->canary;
    const char *to = k->leg == LEG_THERE || k->leg == LEG_AGAIN ? c->s->node : k->from;
    struct canary_look look = {.busy = false};
    if (!c->v->look_at_canary(c->v->ctx, k->vm, &look)) {
        struct canary another = {.result = CANARY_UNDER_WAY};
        move_canary_on(c, STEP_CANARY, &another, "%s does not run any more: another one is tried", k->vm);
    } else if (look.busy) {
        c->lane->moving_seq = c->s->seq;
        lead_wait_for(c, "canary %s is on its way to %s", k->vm, to);
        if (lead_is_overdue(c, WATCH_CANARY_MOVE, UPGRADE_MOVES_DEADLINE_MS))
            fail_canary(c, "%s did not arrive at %s within %d minutes, and its move has no end", k->vm, to,
                        lead_minutes(UPGRADE_MOVES_DEADLINE_MS));
    } else if (str_eq(look.node, to)) {
        next_leg(c, &look);
    } else if (c->lane->moving_seq == c->s->seq) {
        fail_canary(c, "%s did not move from %s to %s, and runs on: %s", k->vm, look.node, to,
                    look.error[0] ? look.error : "the move was cancelled");
    } else if (lead_is_overdue(c, STEP_CANARY, lead_verify_ms(c))) {
        fail_canary(c, "%s could not be told to move from %s to %s, and runs on", k->vm, look.node, to);
    } else {
        lead_wait_for(c, "canary %s is to move to %s", k->vm, to);
        if (lead_may_ask(c, "canary"))
            c->env->move_canary(c->env->ctx, k->vm, to);
    }
}

void lead_canary(const struct lead *c)
{
    if (c->r->state != RUN_RUNNING) {
        struct canary canary = c->s->canary;
        if (canary.result != CANARY_FAILED)
            canary.result = CANARY_GIVEN_UP;
        move_canary_on(c, STEP_FAILBACK, &canary, "the canary is given up");
    } else if (lead_is_active(c)) {
        if (c->s->canary.vm[0])
            drive_canary(c);
        else
            begin_canary(c);
    }
}
