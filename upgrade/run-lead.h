/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of the leader's step (run-step.c): what its parts share. They take the inputs of one step of the run, or of
 * the run itself, and propose its moves.
 *
 *   run-lead.c       proposals, waiting and deadlines     run-canary.c   the canary's moves
 *   run-executor.c   the executor's calls                 run-step.c     states and lanes */
#pragma once

#include "upgrade/level.h"
#include "upgrade/run-entry.h"

/* How long one thing has been waited for. */
struct watch {
    uint64_t run_seq;
    uint32_t attempt;
    int what;
    uint64_t progress;
    int64_t watched_ms, last_ms;
    bool used; /* in this step */
};

/* What the leader remembers of one step, or of the run. */
struct lane {
    struct lane *next;
    struct uuid run;
    uint32_t position;
    uint64_t call; /* hook call under way; 0: none */
    enum hook_verb call_verb;
    char call_op[HOOK_OP_ID_MAX];
    /* What is known of operation op. */
    char op[HOOK_OP_ID_MAX];
    uint64_t op_run_seq; /* of the run's row then: a retry forgets what went wrong, not what was accepted */
    bool accepted, too_late;
    enum { VERDICT_NONE, VERDICT_DONE, VERDICT_FAILED, VERDICT_CANCELLED } verdict;
    unsigned errors, refusals; /* one after the other */
    int64_t next_call_ms;
    char output[JOURNAL_TEXT_MAX];  /* of the last call that was not as wished */
    char printed[JOURNAL_TEXT_MAX]; /* of the last call, condensed */
    struct report_state reports;

    struct watch watch;
    char said[128];  /* the last move that was logged */
    char asked[128]; /* the last request, and when it may be repeated */
    int64_t ask_again_ms;
    struct error stuck; /* what was found last; code 0: nothing */
    int64_t stuck_until_ms;
    uint64_t moving_seq; /* of the step, when its canary was seen on its way */
};

static const uint32_t RUN_LANE = UINT32_MAX; /* of the run itself, as a position */

struct upgrade_leader {
    struct lane *lanes;
    char waiting[JOURNAL_TEXT_MAX], waited[JOURNAL_TEXT_MAX]; /* in this step, and in the one before */
};

/* One step's inputs. */
struct lead {
    struct upgrade_leader *l;
    const struct tables *t;
    const struct upgrade_view *v;
    int64_t now_ms;
    const struct upgrade_env *env;
    const struct run *r;
    struct lane *lane;
    const struct step *s;         /* NULL: of the run */
    const struct upgrade_node *n; /* s's node; NULL: there is none */
    const char *const *others;    /* nodes of the other steps that are under way */
    size_t n_others;
};

/* What lead_is_stalled counts apart: a state, or an obstacle met in it. Rebuilding and the rejoin after it are one. */
enum {
    WATCH_OBSTACLE = 100,
    WATCH_PRECHECK = 200,
    WATCH_AWAY,
    WATCH_DRAIN,
    WATCH_MOVES,
    WATCH_TASK,
    WATCH_RETURN,
    WATCH_HOME,
    WATCH_CANARY_MOVE,
};

static const char LEAD_RETRY[] = "clusterctl upgrade retry";

/* ---- run-lead.c */

void lead_move_run(const struct lead *c, enum run_state state, const char *fact, const struct error *why);
struct step_move lead_move_to(const struct lead *c, enum step_state state);
void lead_propose_step(const struct lead *c, const struct step_move *m, const char *fact);
void lead_move(const struct lead *c, enum step_state state, const char *fact);
void lead_fail(const struct lead *c, bool hook_failed, const char *remedy, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* A step that is not begun yet cannot fail: the run stops before it. */
void lead_stop_before(const struct lead *c, const struct error *why);
bool lead_may_ask(const struct lead *c, const char *what);

int64_t lead_rebuild_ms(const struct lead *c);
int64_t lead_verify_ms(const struct lead *c);
int lead_minutes(int64_t ms);
bool lead_is_in_place(const struct lead *c);

/* What upgrade_leader_waiting() says. */
void lead_wait_for(const struct lead *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool lead_is_stalled(const struct lead *c, int what, uint64_t progress, int64_t deadline_ms);
bool lead_is_overdue(const struct lead *c, int what, int64_t deadline_ms);
bool lead_is_blocked(const struct lead *c);

/* ---- run-executor.c */

void lead_know_op(struct lane *l, const char *op, uint64_t run_seq);
void lead_drive_executor(const struct lead *c);

/* ---- run-canary.c, run-step.c */

void lead_canary(const struct lead *c);
/* Asks for the node's return until it is active, and none of its virtual machines needs to come. */
bool lead_is_active(const struct lead *c);
