/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The leader's step: read the run and its steps, look at the view, do the next thing. Level-triggered: what is asked of
 * other rooms is asked again until it is seen, and a new leader starts from the rows alone. At most one move of a step
 * is proposed at a time (one key for each), and a move that comes too late is refused where it is applied. */
#include <assert.h>
#include <stdio.h>

#include "common/text.h"
#include "upgrade/run-lead.h"

struct upgrade_leader *upgrade_leader_new(void)
{
    return xcalloc(1, sizeof(struct upgrade_leader));
}

void upgrade_leader_free(struct upgrade_leader *l)
{
    for (struct lane *lane = l ? l->lanes : NULL, *next; lane; lane = next) {
        next = lane->next;
        free(lane);
    }
    free(l);
}

const char *upgrade_leader_waiting(const struct upgrade_leader *l)
{
    return l->waiting[0] ? l->waiting : NULL;
}

/* ---- the states ---------------------------------------------------------------------------------------------- */

/* A VM's policy wants it so. */
static void leave_out(const struct lead *c)
{
    struct step_move m = lead_move_to(c, STEP_SKIPPED);
    m.left_out = true;
    STR_COPY(m.detail, c->n->drain_skip.text);
    lead_propose_step(c, &m, m.detail);
}

/* The same replica, and its own program says that it is done. What the node reports of itself must be of the new boot:
 * what was said before is of the old release. */
static bool is_back_in_place(const struct lead *c)
{
    bool is_done = c->s->report == REPORT_DONE && !str_eq(c->n->boot_id, c->s->boot_before);
    return c->n->present && c->n->ready && (is_done || c->s->report == REPORT_CANCELLED);
}

/* The node came back: another replica is in its slot than the one that was there. */
static bool has_rejoined(const struct lead *c)
{
    if (!c->n || uuid_is_nil(&c->n->replica))
        return false;
    return !uuid_eq(&c->n->replica, &c->s->replica_before) || (lead_is_in_place(c) && is_back_in_place(c));
}

static bool is_on_target(const struct lead *c)
{
    return c->n && c->n->present && c->n->ready && c->n->state == UNODE_ACTIVE && str_eq(c->n->release, c->s->target);
}

/* The run turned back while the node was on its way to the new release: it has to come, and a step back follows. */
static bool is_turned(const struct lead *c)
{
    return c->r->state == RUN_ROLLING_BACK && !c->s->back && str_eq(c->s->target, c->r->target);
}

/* Approved or not, it is looked at again before it is begun. */
static void step_open(const struct lead *c)
{
    bool is_approved = !c->r->approve_each || c->s->approved;
    if (is_on_target(c)) {
        lead_move(c, STEP_SKIPPED, "runs the target already");
        return;
    }
    if (lead_is_blocked(c))
        return;
    if (c->n->present && c->n->drain_skip.code) {
        leave_out(c);
        return;
    }
    if (!c->n->present) {
        /* It can be replaced all the same, but what it runs cannot be moved, and nobody knows why it is away. */
        struct error why = {0};
        error_set(&why, ERR_CONDITION, "%s is not present", c->s->node);
        error_set_remedy(&why, "start %s, then clusterctl upgrade retry", c->s->node);
        lead_wait_for(c, "%s", why.text);
        if (lead_is_overdue(c, STEP_PENDING, lead_verify_ms(c)))
            lead_stop_before(c, &why);
    } else if (is_approved) {
        lead_move(c, STEP_DRAINING,
                  c->n_others > 0 ? "a majority is left without it"
                                  : "every other node is there and a majority without it");
    } else {
        lead_move(c, STEP_AWAITING_APPROVAL, "an admin is to approve it");
    }
}

static void step_awaiting_approval(const struct lead *c)
{
    if (is_on_target(c))
        lead_move(c, STEP_SKIPPED, "runs the target already");
    else
        lead_wait_for(c, "%s is to be approved: clusterctl upgrade approve %s", c->s->node, c->s->node);
}

static void ask_for_return(const struct lead *c, bool failback)
{
    bool can = c->n->state == UNODE_ACTIVE || c->n->state == UNODE_PAUSED || c->n->state == UNODE_DRAINING;
    if (can && lead_may_ask(c, failback ? "failback" : "resume"))
        c->env->node_resume(c->env->ctx, c->s->node, failback);
}

/* Fails for what another room says, by that room's remedy. */
static void fail_for(const struct lead *c, const struct error *why)
{
    char remedy[JOURNAL_TEXT_MAX];
    snprintf(remedy, sizeof(remedy), "%.200s%s%s", why->remedy, why->remedy[0] ? ", then " : "", LEAD_RETRY);
    lead_fail(c, false, remedy, "%s", why->text);
}

/* It could be resumed for long, and is not active. */
static void fail_return(const struct lead *c)
{
    char remedy[JOURNAL_TEXT_MAX];
    if (c->n->state == UNODE_ABSENT || c->n->state == UNODE_EVICTING)
        snprintf(remedy, sizeof(remedy), "%s was evicted: clusterctl node join on it, then %s", c->s->node, LEAD_RETRY);
    else
        snprintf(remedy, sizeof(remedy), "clusterctl node resume %s, then %s", c->s->node, LEAD_RETRY);
    lead_fail(c, false, remedy, "%s did not become active again within %d minutes", c->s->node,
              lead_minutes(lead_verify_ms(c)));
}

/* Asks for the node's return until it is active, and none of its virtual machines needs to come. */
bool lead_is_active(const struct lead *c)
{
    if (!c->n || c->n->state == UNODE_ACTIVE)
        return true;
    lead_wait_for(c, "%s is resumed", c->s->node);
    if (lead_is_overdue(c, WATCH_RETURN, lead_verify_ms(c)))
        fail_return(c);
    else
        ask_for_return(c, false);
    return false;
}

static void fail_home(const struct lead *c)
{
    char remedy[JOURNAL_TEXT_MAX];
    if (c->n->home_blocked.code) {
        fail_for(c, &c->n->home_blocked);
        return;
    }
    snprintf(remedy, sizeof(remedy), "clusterctl vm list, and vm set NAME --home NODE for one that is to stay; then %s",
             LEAD_RETRY);
    lead_fail(c, false, remedy, "%u virtual machines did not come home to %s, and none came for %d minutes",
              c->n->vms_away, c->s->node, lead_minutes(UPGRADE_MOVES_DEADLINE_MS));
}

/* Asks for the node's return until it is active and its virtual machines are home. */
static bool is_home(const struct lead *c)
{
    if (!c->n || (c->n->state == UNODE_ACTIVE && c->n->vms_away == 0))
        return true;
    int64_t moves_ms = c->n->home_blocked.code ? lead_verify_ms(c) : UPGRADE_MOVES_DEADLINE_MS;
    lead_wait_for(c, "virtual machines go home to %s%s%s", c->s->node, c->n->home_blocked.code ? ": " : "",
                  c->n->home_blocked.text);
    if (c->n->state != UNODE_ACTIVE && lead_is_overdue(c, WATCH_RETURN, lead_verify_ms(c)))
        fail_return(c);
    else if (c->n->state == UNODE_ACTIVE && lead_is_stalled(c, WATCH_HOME, c->n->vms_away, moves_ms))
        fail_home(c);
    else
        ask_for_return(c, true);
    return false;
}

/* Its virtual machines leave it, or stay for long. */
static void wait_until_empty(const struct lead *c)
{
    char remedy[JOURNAL_TEXT_MAX];
    bool has_task = c->n->task[0] != '\0';
    lead_wait_for(c, "%s drains: %u virtual machines are left%s%s%s", c->s->node, c->n->vms_running,
                  has_task ? ", and task " : "", c->n->task, c->n->present ? "" : ", and it is away");
    if (!c->n->present && lead_is_overdue(c, WATCH_AWAY, lead_verify_ms(c))) {
        snprintf(remedy, sizeof(remedy), "start %s, then %s", c->s->node, LEAD_RETRY);
        lead_fail(c, false, remedy, "%s is not present, and drains", c->s->node);
    } else if (c->n->present && has_task) {
        if (!lead_is_overdue(c, WATCH_TASK, UPGRADE_TASK_DEADLINE_MS))
            return;
        snprintf(remedy, sizeof(remedy), "clusterctl task show %s; then %s", c->n->task, LEAD_RETRY);
        lead_fail(c, false, remedy, "task %s does not end on %s", c->n->task, c->s->node);
    } else if (c->n->present && lead_is_stalled(c, WATCH_MOVES, c->n->vms_running, UPGRADE_MOVES_DEADLINE_MS)) {
        snprintf(remedy, sizeof(remedy), "clusterctl vm list, and move or stop what is on %s; then %s", c->s->node,
                 LEAD_RETRY);
        lead_fail(c, false, remedy, "%u virtual machines are left on %s, and none left it for %d minutes",
                  c->n->vms_running, c->s->node, lead_minutes(UPGRADE_MOVES_DEADLINE_MS));
    }
}

static void step_draining(const struct lead *c)
{
    if (!c->n) {
        lead_is_blocked(c);
    } else if (c->n->drain_skip.code != 0 && c->n->state != UNODE_PAUSED) {
        if (is_home(c)) /* as the drain began it was not so */
            leave_out(c);
    } else if (c->n->state == UNODE_PAUSED && c->n->vms_running == 0) {
        lead_move(c, STEP_DRAINED, "paused and no virtual machine runs");
    } else if (c->n->drain_blocked.code != 0) {
        fail_for(c, &c->n->drain_blocked);
    } else if (c->n->state == UNODE_DRAINING || c->n->state == UNODE_PAUSED) {
        wait_until_empty(c);
    } else if (lead_is_overdue(c, WATCH_DRAIN, lead_verify_ms(c))) {
        lead_fail(c, false, LEAD_RETRY, "%s could not be told to drain within %d minutes", c->s->node,
                  lead_minutes(lead_verify_ms(c)));
    } else {
        lead_wait_for(c, "%s is to drain", c->s->node);
        if (c->n->state == UNODE_ACTIVE && lead_may_ask(c, "drain"))
            c->env->node_drain(c->env->ctx, c->s->node);
    }
}

static void step_drained(const struct lead *c)
{
    if (c->n && (c->n->state == UNODE_ACTIVE || c->n->vms_running > 0)) {
        lead_move(c, STEP_DRAINING, "takes virtual machines again");
        return;
    }
    if (lead_is_blocked(c)) /* the last look before the node is taken out */
        return;
    if (c->n->is_leader) {
        lead_wait_for(c, "%s leads and hands over", c->s->node);
        if (lead_is_overdue(c, STEP_DRAINED, lead_verify_ms(c)))
            lead_fail(c, false, LEAD_RETRY, "%s could hand over to no other node", c->s->node);
        else if (lead_may_ask(c, "transfer"))
            c->env->transfer(c->env->ctx);
        return;
    }
    struct step_move m = lead_move_to(c, lead_is_in_place(c) ? STEP_REBUILDING : STEP_EVICTING);
    m.replica_before = c->n->replica;
    if (lead_is_in_place(c))
        STR_COPY(m.boot_before, c->n->boot_id);
    lead_propose_step(c, &m, "empty, and another node leads");
}

static void fail_evicting(const struct lead *c)
{
    char remedy[JOURNAL_TEXT_MAX];
    snprintf(remedy, sizeof(remedy), "clusterctl node show %s, and node list for who has caught up; then %s",
             c->s->node, LEAD_RETRY);
    lead_fail(c, false, remedy, "%s was not evicted within %d minutes%s", c->s->node, lead_minutes(lead_verify_ms(c)),
              c->n->is_leader ? ": it leads, and could hand over to no other node" : "");
}

/* It has its replica still, and was asked back into service, or given a virtual machine. */
static bool is_in_service(const struct lead *c)
{
    return c->n->state == UNODE_ACTIVE || c->n->state == UNODE_DRAINING ||
           (c->n->state == UNODE_PAUSED && c->n->vms_running > 0);
}

static void step_evicting(const struct lead *c)
{
    if (has_rejoined(c) || (c->n && c->n->state == UNODE_ABSENT)) {
        lead_move(c, STEP_REBUILDING, "its replica is out");
    } else if (!c->n) {
        lead_is_blocked(c);
    } else if (!step_is_given_up(c->r, c->s) && is_in_service(c)) {
        lead_move(c, STEP_DRAINING, "takes virtual machines again");
    } else if (lead_is_overdue(c, STEP_EVICTING, lead_verify_ms(c))) {
        fail_evicting(c);
    } else if (c->n->is_leader) {
        lead_wait_for(c, "%s leads and hands over", c->s->node);
        if (lead_may_ask(c, "transfer"))
            c->env->transfer(c->env->ctx);
    } else {
        lead_wait_for(c, "%s is being evicted", c->s->node);
        if (c->n->state != UNODE_EVICTING && lead_may_ask(c, "evict"))
            c->env->node_evict(c->env->ctx, c->s->node);
    }
}

/* The executor said itself that this attempt failed: its effect is over, another one may begin. Where packages were
 * left half upgraded, and nobody wants them any more, an admin is to look. */
static void rebuild_failed(const struct lead *c, const char *output)
{
    if (lead_is_in_place(c) && step_is_unwanted(c->r, c->s)) {
        char remedy[JOURNAL_TEXT_MAX];
        snprintf(remedy, sizeof(remedy), "on %s: dpkg --configure -a; then clusterctl node resume %s", c->s->node,
                 c->s->node);
        lead_fail(c, true, remedy, "upgrade of %s failed: %s", c->s->node, output);
    } else if (c->s->attempt < (c->v->attempts > 0 ? c->v->attempts : UPGRADE_REBUILD_ATTEMPTS_MAX)) {
        struct step_move m = lead_move_to(c, STEP_REBUILDING);
        m.attempt++;
        snprintf(m.detail, sizeof(m.detail), "attempt %u failed: %.200s", c->s->attempt, output);
        lead_propose_step(c, &m, m.detail);
    } else {
        lead_fail(c, true, LEAD_RETRY, "rebuild of %s failed: %s", c->s->node, output);
    }
}

static void rebuild_overdue(const struct lead *c)
{
    const char *word = lead_is_in_place(c) ? c->s->output : c->lane->output;
    char remedy[JOURNAL_TEXT_MAX];
    snprintf(remedy, sizeof(remedy), "look at the console of %s, %s, then %s", c->s->node,
             lead_is_in_place(c) ? "have its agent run" : "join it by clusterctl node join", LEAD_RETRY);
    lead_fail(c, false, remedy, "NODE_NOT_REJOINED: %s did not rejoin within %d minutes%s%s", c->s->node,
              lead_minutes(lead_rebuild_ms(c)), word[0] ? "; the executor's last word: " : "", word);
}

/* Its own agent does it, and reports. */
static void step_upgraded_in_place(const struct lead *c)
{
    const char *word = c->s->output;
    if (has_rejoined(c))
        lead_move(c, STEP_AWAITING_REJOIN, c->s->report == REPORT_CANCELLED ? "was not changed" : "is back");
    else if (!c->n)
        lead_is_blocked(c);
    else if (c->s->report == REPORT_FAILED)
        rebuild_failed(c, word);
    else if (lead_is_overdue(c, STEP_REBUILDING, lead_rebuild_ms(c)))
        rebuild_overdue(c);
    else
        lead_wait_for(c, "%s is upgraded in place%s%s%s", c->s->node, c->n->present ? "" : ", and away",
                      word[0] ? ": " : "", word);
}

static void rebuild_cancelled(const struct lead *c)
{
    if (c->r->state == RUN_ROLLING_BACK) {
        struct step_move again = lead_move_to(c, STEP_REBUILDING);
        again.attempt++;
        snprintf(again.detail, sizeof(again.detail), "was cancelled, is rebuilt with %s", c->s->from_release);
        lead_propose_step(c, &again, again.detail);
        return;
    }
    struct step_move m = lead_move_to(c, STEP_AWAITING_REJOIN);
    if (c->s->attempt > 1)
        snprintf(m.detail, sizeof(m.detail),
                 "its rebuild was cancelled after attempt %u failed: install it, and join "
                 "it by clusterctl node join",
                 c->s->attempt - 1);
    else
        snprintf(m.detail, sizeof(m.detail),
                 "its rebuild was cancelled, it runs what it ran: stop its ringmasterd, "
                 "remove its /var/lib/ringmaster, start ringmasterd, and join it by clusterctl node join");
    lead_propose_step(c, &m, "its rebuild was cancelled");
}

static void rebuild_done(const struct lead *c)
{
    struct step_move m = lead_move_to(c, STEP_AWAITING_REJOIN);
    STR_COPY(m.detail, c->lane->printed);
    lead_propose_step(c, &m, "the executor is done");
}

static void rebuild_goes_on(const struct lead *c)
{
    const char *word = c->lane->output;
    lead_wait_for(c, "%s is being rebuilt%s%s", c->s->node, word[0] ? ": " : "", word);
    lead_drive_executor(c);
    if (c->lane->printed[0])
        report_propose(&c->lane->reports, c->s, REPORT_RUNNING, c->lane->printed, c->now_ms, c->env);
}

static void step_rebuilding(const struct lead *c)
{
    const struct lane *l = c->lane;
    char op[HOOK_OP_ID_MAX];
    if (lead_is_in_place(c)) {
        step_upgraded_in_place(c);
        return;
    }
    step_op_id(c->s, op);
    lead_know_op(c->lane, op, c->r->seq);
    if (has_rejoined(c)) {
        lead_move(c, STEP_AWAITING_REJOIN, "another replica is in its slot");
    } else if (!c->n) {
        lead_is_blocked(c);
    } else if (l->verdict == VERDICT_DONE) {
        rebuild_done(c);
    } else if (l->verdict == VERDICT_CANCELLED) {
        rebuild_cancelled(c);
    } else if (l->verdict == VERDICT_FAILED) {
        rebuild_failed(c, l->output);
    } else if (l->refusals >= UPGRADE_REFUSALS_MAX) {
        lead_fail(c, false, LEAD_RETRY, "the executor refuses to rebuild %s: %s", c->s->node, l->output);
    } else if (lead_is_overdue(c, STEP_REBUILDING, lead_rebuild_ms(c))) {
        rebuild_overdue(c);
    } else {
        rebuild_goes_on(c);
    }
}

static void step_awaiting_rejoin(const struct lead *c)
{
    if (has_rejoined(c))
        lead_move(c, STEP_JOINING, lead_is_in_place(c) ? "its replica is back" : "a new replica is in its slot");
    else if (lead_is_overdue(c, STEP_REBUILDING, lead_rebuild_ms(c))) /* one deadline for both */
        rebuild_overdue(c);
    else
        lead_wait_for(c, "%s is to join again%s%s", c->s->node, c->s->detail[0] ? ": " : "", c->s->detail);
}

static void step_joining(const struct lead *c)
{
    bool is_admitted = c->n && (c->n->voter || c->n->state != UNODE_JOINING); /* by hand it may have no vote */
    if (is_admitted && c->n->present && c->n->caught_up)
        lead_move(c, STEP_VERIFYING, "present, caught up and has its vote");
    else if (lead_is_overdue(c, STEP_JOINING, lead_verify_ms(c)))
        lead_fail(c, false, LEAD_RETRY, "%s joined, but did not catch up within %d minutes", c->s->node,
                  lead_minutes(lead_verify_ms(c)));
    else
        lead_wait_for(c, "%s is catching up", c->s->node);
}

/* The first node that this run upgraded. */
static bool canary_is_due(const struct lead *c)
{
    if (c->r->state != RUN_RUNNING)
        return false;
    for (uint32_t i = 0; i < c->r->n_steps; i++) {
        struct step s;
        if (step_get(c->t, &c->r->id, i, &s) == 0 && (s.state == STEP_DONE || canary_is_over(s.canary.result)))
            return false;
    }
    return true;
}

static void step_verifying(const struct lead *c)
{
    const struct upgrade_node *n = c->n;
    bool ready = n && n->present && n->ready;
    if (ready && (c->r->state == RUN_ABORTING || is_turned(c)))
        lead_move(c, STEP_FAILBACK, "is back, whatever it runs");
    else if (ready && !str_eq(n->release, c->s->target))
        lead_fail(c, false, "correct the executor's image, then clusterctl upgrade abort and start again",
                  "%s came back with %s instead of %s", c->s->node, n->release[0] ? n->release : "an unknown release",
                  c->s->target);
    else if (ready && n->native_level < level_of_release(c->s->target))
        lead_fail(c, false, "install the target's QEMU and libvirt there, then clusterctl upgrade retry",
                  "%s runs %s, but its QEMU and libvirt are of level %u, not %u", c->s->node, n->release,
                  n->native_level, level_of_release(c->s->target));
    else if (ready && canary_is_due(c))
        lead_move(c, STEP_CANARY, "runs the target and is ready, as the first one");
    else if (ready)
        lead_move(c, STEP_FAILBACK, "runs the target and is ready");
    else if (lead_is_overdue(c, STEP_VERIFYING, lead_verify_ms(c)))
        lead_fail(c, false, LEAD_RETRY, "%s joined, but was not ready within %d minutes", c->s->node,
                  lead_minutes(lead_verify_ms(c)));
    else
        lead_wait_for(c, "%s is not ready yet", c->s->node);
}

/* Where a canary failed no virtual machine goes, and neither to a node that goes back at once. */
static void step_failback(const struct lead *c)
{
    bool goes_back = is_turned(c) && c->n && !str_eq(c->n->release, c->s->from_release);
    if (goes_back || c->s->canary.result == CANARY_FAILED) {
        if (lead_is_active(c))
            lead_move(c, STEP_DONE, "active; its virtual machines stay where they are");
    } else if (is_home(c)) {
        lead_move(c, STEP_DONE, "active and its virtual machines are home");
    }
}

static void lead_step(const struct lead *c)
{
    switch (c->s->state) {
    case STEP_PENDING: step_open(c); break;
    case STEP_AWAITING_APPROVAL: step_awaiting_approval(c); break;
    case STEP_DRAINING: step_draining(c); break;
    case STEP_DRAINED: step_drained(c); break;
    case STEP_EVICTING: step_evicting(c); break;
    case STEP_REBUILDING: step_rebuilding(c); break;
    case STEP_AWAITING_REJOIN: step_awaiting_rejoin(c); break;
    case STEP_JOINING: step_joining(c); break;
    case STEP_VERIFYING: step_verifying(c); break;
    case STEP_CANARY: lead_canary(c); break;
    case STEP_FAILBACK: step_failback(c); break;
    case STEP_DONE:
    case STEP_FAILED:
    case STEP_SKIPPED:
    case STEP_STATES: break;
    }
}

/* ---- the run ------------------------------------------------------------------------------------------------- */

/* What a check found that goes by itself, most likely: the run waits for it before it asks for an admin. */
static bool is_passing(const char *check)
{
    return str_eq(check, "members") || str_eq(check, "quorum");
}

static void lead_prechecking(const struct lead *c)
{
    AUTO(json_freep) struct json *findings = NULL;
    struct error why = {0};
    upgrade_check_for(c->t, c->v, c->r->target, &c->r->id, &findings);
    const char *check = upgrade_finding_first(findings, "fail", &why);
    if (!check) {
        lead_move_run(c, RUN_RUNNING, "no check failed", NULL);
        return;
    }
    lead_wait_for(c, "%s", why.text);
    if (is_passing(check) && !lead_is_overdue(c, WATCH_PRECHECK, lead_verify_ms(c)))
        return;
    lead_move_run(c, RUN_PAUSED_ERROR, why.text, &why);
}

/* What is owed is given back first: a node in maintenance is resumed, one that is out must come back. */
static void step_given_up(const struct lead *c)
{
    bool has_replica = c->n && c->n->state != UNODE_EVICTING && uuid_eq(&c->n->replica, &c->s->replica_before);
    bool is_in =
        c->s->state == STEP_DRAINING || c->s->state == STEP_DRAINED || (c->s->state == STEP_EVICTING && has_replica);
    if (!is_in)
        lead_step(c);
    else if (is_home(c))
        lead_move(c, STEP_SKIPPED, "active again and its virtual machines are home");
}

/* ---- lanes --------------------------------------------------------------------------------------------------- */

static struct lane *lane_of(struct upgrade_leader *l, const struct uuid *run, uint32_t position)
{
    struct lane *lane = l->lanes;
    while (lane && !(uuid_eq(&lane->run, run) && lane->position == position))
        lane = lane->next;
    if (!lane) {
        lane = xcalloc(1, sizeof(*lane));
        *lane = (struct lane){.next = l->lanes, .run = *run, .position = position};
        l->lanes = lane;
    }
    return lane;
}

static void lanes_begin(struct upgrade_leader *l)
{
    for (struct lane *lane = l->lanes; lane; lane = lane->next)
        lane->watch.used = false;
}

/* run: the current one, NULL: none. A call under way keeps its lane: its outcome will come. */
static void lanes_end(struct upgrade_leader *l, const struct uuid *run, bool quorate)
{
    for (struct lane **at = &l->lanes, *lane; (lane = *at) != NULL;) {
        if (!quorate)
            lane->watch.last_ms = 0; /* this time does not count, what was watched before does */
        else if (!lane->watch.used)
            lane->watch = (struct watch){.what = 0};
        if ((run && uuid_eq(&lane->run, run)) || lane->call != 0) {
            at = &lane->next;
        } else {
            *at = lane->next;
            free(lane);
        }
    }
}

/* ---- the steps of a run -------------------------------------------------------------------------------------- */

/* The nodes of steps under way. */
struct out {
    struct step steps[RUN_STEPS_MAX];
    size_t n;
};

static void lead_one(const struct lead *run, const struct out *out, const struct step *s,
                     void (*step)(const struct lead *c))
{
    const char *others[RUN_STEPS_MAX];
    struct lead c = *run;
    c.s = s;
    c.n = upgrade_view_find(c.v, s->node);
    c.lane = lane_of(c.l, &c.r->id, s->position);
    c.others = others;
    c.n_others = 0;
    for (size_t i = 0; i < out->n; i++)
        if (out->steps[i].position != s->position)
            others[c.n_others++] = out->steps[i].node;
    step(&c);
}

static struct out *find_out(const struct lead *c)
{
    struct out *out = xcalloc(1, sizeof(*out));
    for (uint32_t i = 0; i < c->r->n_steps && out->n < RUN_STEPS_MAX; i++)
        if (step_get(c->t, &c->r->id, i, &out->steps[out->n]) == 0 && step_state_is_under_way(out->steps[out->n].state))
            out->n++;
    return out;
}

/* ---- the run's states ---------------------------------------------------------------------------------------- */

/* Every step that is under way, and the next one when there is room for it. False: none is left. */
static bool lead_steps(const struct lead *c)
{
    AUTO(freep) struct out *out = find_out(c);
    struct step next, there;
    bool has_next = step_first_open(c->t, c->r, &next) == 0;
    for (size_t i = 0; i < out->n; i++) {
        lead_one(c, out, &out->steps[i], step_is_given_up(c->r, &out->steps[i]) ? step_given_up : lead_step);
    }
    bool has_come = !has_next || step_of_node(c->t, c->r, next.node, &there) < 0; /* before it goes back */
    if (has_next && has_come && out->n < run_capacity(c->t, c->r))
        lead_one(c, out, &next, lead_step);
    return has_next || out->n > 0;
}

static void lead_running(const struct lead *c)
{
    if (lead_steps(c))
        return;
    struct error partial = {0};
    bool is_partial = run_is_partial(c->t, c->r, &partial);
    if (c->v->fl < level_of_release(c->r->target))
        lead_move_run(c, RUN_AWAITING_RAISE,
                      is_partial ? partial.text : "every node is upgraded, the functional level is not", NULL);
    else
        lead_move_run(c, RUN_DONE, is_partial ? partial.text : "every node is upgraded", NULL);
}

static void lead_rolling_back(const struct lead *c)
{
    struct error partial = {0};
    if (!lead_steps(c))
        lead_move_run(c, RUN_CANCELLED, run_is_partial(c->t, c->r, &partial) ? partial.text : "every node is back",
                      NULL);
}

static void lead_aborting(const struct lead *c)
{
    AUTO(freep) struct out *out = find_out(c);
    size_t n = 0;
    for (size_t i = 0; i < out->n; i++) {
        if (out->steps[i].state == STEP_FAILED)
            continue;
        lead_one(c, out, &out->steps[i], step_given_up);
        n++;
    }
    if (n == 0)
        lead_move_run(c, RUN_CANCELLED, "no node is out", NULL);
}

static void lead(const struct lead *c)
{
    switch (c->r->state) {
    case RUN_PLANNED: lead_move_run(c, RUN_PRECHECKING, "planned", NULL); break;
    case RUN_PRECHECKING: lead_prechecking(c); break;
    case RUN_RUNNING: lead_running(c); break;
    case RUN_ABORTING: lead_aborting(c); break;
    case RUN_ROLLING_BACK: lead_rolling_back(c); break;
    case RUN_PAUSED:
    case RUN_PAUSED_ERROR:
    case RUN_AWAITING_RAISE:
    case RUN_DONE:
    case RUN_CANCELLED: break;
    }
}

void upgrade_leader_step(struct upgrade_leader *l, const struct tables *t, const struct upgrade_view *v, int64_t now_ms,
                         int64_t wall_ms, const struct upgrade_env *env)
{
    struct run r;
    (void)wall_ms; /* deadlines count watched time; times in rows come from the entries */
    STR_COPY(l->waited, l->waiting);
    l->waiting[0] = '\0';
    lanes_begin(l);
    bool is_there = run_current(t, &r) == 0;
    if (v->quorate && is_there) {
        struct upgrade_view view = *v;
        view.in_place = r.executor == EXECUTOR_KIND_IN_PLACE;
        struct lead c = {.l = l, .t = t, .v = &view, .now_ms = now_ms, .env = env, .r = &r};
        c.lane = lane_of(l, &r.id, RUN_LANE);
        lead(&c);
    }
    lanes_end(l, is_there ? &r.id : NULL, v->quorate);
    if (l->waiting[0] && !str_eq(l->waiting, l->waited))
        log_info(env->log, "%s -> wait", l->waiting);
}
