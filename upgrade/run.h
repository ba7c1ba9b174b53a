/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The rolling upgrade: a run and its node steps, in the replicated database; whoever leads goes on with them (pure).
 *
 *  run:   planned ─> prechecking ─> running ─> awaiting-raise ─> done          cancelled
 *                                   │   ^ resume/retry                             ^
 *                                   ├─> paused (by an admin)                       │
 *                                   ├─> paused-error (with remedy)             aborting (undoes obligations)
 *                                   └───────────────── abort ──────────────────────┘
 *
 *  step:  pending ─> draining ─> drained ─> evicting ─> rebuilding ─> awaiting-rejoin ─> joining ─> verifying
 *                                                                                     ─> failback ─> done
 *         any ─> failed (the run is then paused-error; retry brings it back to where it failed)    pending ─> skipped
 *         drained ─> draining (a VM came back)     draining, drained ─> skipped (the run is being aborted)
 *
 *  Paused takes effect at once: a move that was on its way is refused, no hook is called, no VM is moved off the
 *  draining node. A rebuild that runs is the target's own and goes on; its end is seen after the resume.
 *  Aborting: a node that was not evicted yet is resumed; one that was must come back (whatever its release) before the
 *  run is cancelled. A step that fails while aborting cancels the run too, and its error says what is left to mend.
 *
 * Each move is an entry, compare-and-set on (run, position, sequence); each step is idempotent and re-derived from what
 * is observed in the tables and the membership, so a new leader needs nothing from the old one's memory. The effect of
 * a rebuild happens once because its operation id is derived from (run, position, attempt). */
#pragma once

#include "common/entry.h"
#include "common/journal.h"
#include "common/log.h"
#include "upgrade/port.h"

enum run_state {
    RUN_PLANNED = 1, RUN_PRECHECKING, RUN_RUNNING, RUN_PAUSED, RUN_PAUSED_ERROR, RUN_ABORTING, RUN_ROLLING_BACK,
    RUN_AWAITING_RAISE, RUN_DONE, RUN_CANCELLED,
};
enum step_state {
    STEP_PENDING = 1, STEP_DRAINING, STEP_DRAINED, STEP_EVICTING, STEP_REBUILDING, STEP_AWAITING_REJOIN, STEP_JOINING,
    STEP_VERIFYING, STEP_FAILBACK, STEP_DONE, STEP_FAILED, STEP_SKIPPED,
};
const char *run_state_name(enum run_state s);   /* "awaiting-raise" … stable: in JSON */
const char *step_state_name(enum step_state s); /* "awaiting-rejoin" … */
bool run_state_is_final(enum run_state s);

enum { RUN_STEPS_MAX = 100, RUN_NAME_MAX = 64, RUN_KEPT = 20 /* ended ones, the newest */ };

struct run { /* TABLE_RUN, key: id */
    struct uuid id; /* the request id of the entry that began it; also its job's id */
    char target[RUN_NAME_MAX]; /* os-release VERSION_CODENAME */
    enum run_state state;
    uint64_t seq; /* rises with every change: compare-and-set */
    uint32_t n_steps;
    int64_t created_ms, changed_ms, ended_ms;
    char started_by[RUN_NAME_MAX];
    char error[JOURNAL_TEXT_MAX], remedy[JOURNAL_TEXT_MAX]; /* of paused-error */
};
struct step { /* TABLE_STEP, key: run id '/' %03u position */
    struct uuid run;
    uint32_t position; /* 0 … n_steps-1, in order */
    char node[RUN_NAME_MAX];
    enum step_state state, failed_in; /* failed_in: where it was when it failed */
    uint64_t seq;
    uint32_t attempt;  /* of the rebuild, from 1 */
    bool hook_failed;  /* FAILED: the executor itself said that this attempt failed, so a retry takes a new one */
    struct uuid replica_before;
    int64_t entered_ms, started_ms, ended_ms; /* UTC */
    char from_release[RUN_NAME_MAX];
    char detail[JOURNAL_TEXT_MAX];
};
int run_decode(struct slice value, struct run *ret);
int step_decode(struct slice value, struct step *ret);
/* The run that is not final, if any; at most one exists. */
int run_current(const struct tables *t, struct run *ret);
int run_get(const struct tables *t, const struct uuid *id, struct run *ret); /* 0, ERR_NOT_FOUND */
int run_newest(const struct tables *t, struct run *ret); /* by created_ms, final ones too */
int step_get(const struct tables *t, const struct uuid *run, uint32_t position, struct step *ret);
/* The step under way (not pending, not final), or the next pending one; ERR_NOT_FOUND: none left. */
int step_current(const struct tables *t, const struct run *r, struct step *ret);
void step_op_id(const struct step *s, char ret[HOOK_OP_ID_MAX]); /* [a-z0-9-] from run, position and attempt */
/* {id, target, state, started_by, created, changed, ended, error, remedy, steps: [{position, node, state, failed_in,
 * from_release, attempt, started, ended, detail}], done, total, seconds}; total is without skipped steps. */
struct json *run_json(const struct tables *t, const struct run *r, int64_t wall_ms);

/* What the run needs to know of a node: a volatile view, built by the core. */
enum upgrade_node_state { UNODE_ACTIVE = 1, UNODE_DRAINING, UNODE_PAUSED, UNODE_EVICTING, UNODE_ABSENT, UNODE_JOINING };
struct upgrade_node {
    char name[RUN_NAME_MAX], address[RUN_NAME_MAX];
    char release[RUN_NAME_MAX];
    uint8_t native_level;
    enum upgrade_node_state state; /* ABSENT: its replica was evicted, its slot waits for a new one */
    struct uuid replica;           /* in the slot now; nil when absent */
    bool present;                  /* its agent is in the membership */
    bool voter;                    /* weight 1 */
    bool caught_up;                /* only the leader can tell: no check reads it, only the leader's step */
    bool ready;                    /* facts of this replica's present boot are in the database, hypervisor answered */
    bool is_leader;                /* of the database: leads the run */
    uint32_t vms_running, vms_here; /* owned by this node */
    bool vms_home;                  /* no VM whose home this is runs elsewhere */
    struct error drain_blocked;     /* code 0: no */
};
struct upgrade_view {
    const struct upgrade_node *nodes; /* sorted by name; borrowed */
    size_t n;
    bool quorate;
    unsigned votes_present, votes_total; /* of the voting configuration */
    const char *executor;                /* setting upgrade.executor; NULL or "": none */
    bool mixed;
    uint8_t fl;
    uint32_t vm_ops; /* VM operations under way */
    /* For checks: VMs that cannot be live-migrated, as findings {object, text, remedy} that vm/ made; may be NULL. */
    const struct json *vm_findings;
    /* True if the cluster keeps a sealed join token for this operation. */
    bool (*has_token)(void *ctx, const char *op_id);
    void *ctx;
};

/* Checks and plan. Findings: array of {check, result: "pass"|"warn"|"fail", object, text, remedy}. Returns 0 ready,
 * 1 warnings, 2 not ready (exit codes of `upgrade check`). */
int upgrade_check(const struct tables *t, const struct upgrade_view *v, const char *target, struct json **ret_findings);
/* Plan: {target, steps: [{position, node, from_release, vms, votes_after, votes_total, skipped}]}; order: fewest VMs
 * first, the leader last; nodes already on the target are skipped. */
int upgrade_plan(const struct tables *t, const struct upgrade_view *v, const char *target, struct json **ret_plan,
                 struct error *e);
/* Payload of ENTRY_RUN_START from the same plan. ERR_CONDITION with the first failing check (warnings too, unless
 * accept_warnings: ERR_NEED_FORCE). While a run with that target is paused by an admin: the entry resumes it, nothing
 * is checked, and no run gets the entry's request id. */
int upgrade_entry_start(const struct tables *t, const struct upgrade_view *v, const char *target, const char *by,
                        bool accept_warnings, struct buf *b, struct error *e);
enum run_verb { RUN_VERB_PAUSE = 1, RUN_VERB_RESUME, RUN_VERB_RETRY, RUN_VERB_ABORT };
/* ENTRY_RUN_CONTROL, of the current run */
void upgrade_entry_control(enum run_verb verb, const char *by, struct buf *b);

/* Replicated: applies ENTRY_RUN_* and ENTRY_STEP_MOVE. */
void upgrade_apply(struct tables *t, const struct entry *e, struct apply_result *ret);
/* Called from apply functions by the core after the level was raised: awaiting-raise -> done. */
void upgrade_level_raised(struct tables *t, int64_t time_ms);

/* While a run is paused no further VM is moved off its draining node. */
bool upgrade_holds_drain(const struct tables *t, const char *node);

struct upgrade_env {
    void *ctx;
    void (*propose)(void *ctx, enum entry_kind kind, struct buf *payload, const char *key); /* takes payload */
    /* Idempotent requests to the cluster room; dropped while pending. */
    void (*node_drain)(void *ctx, const char *node);
    void (*node_resume)(void *ctx, const char *node); /* with failback */
    void (*node_evict)(void *ctx, const char *node);  /* keeps the slot */
    void (*make_token)(void *ctx, const char *node, const char *op_id, int64_t valid_ms);
    /* Fills in path and sealed token of op_id. */
    uint64_t (*hook)(void *ctx, struct hook_call *call, const char *op_id);
    void (*transfer)(void *ctx); /* hand leadership to another node */
    const struct log_sink *log;
};
enum {
    UPGRADE_POLL_MS = 1000,
    UPGRADE_HOOK_TIMEOUT_MS = 60 * 1000,
    UPGRADE_REBUILD_DEADLINE_MS = 60 * 60 * 1000, /* from the start of the rebuild to its rejoin */
    UPGRADE_VERIFY_DEADLINE_MS = 10 * 60 * 1000, /* also of joining, and of waiting for what a recheck found */
    UPGRADE_BACKOFF_MAX_MS = 60 * 1000,          /* between calls of a hook that could not be run */
    UPGRADE_REBUILD_ATTEMPTS_MAX = 2,
    UPGRADE_REFUSALS_MAX = 5, /* of START, one after the other, before the step fails; the operation id stays */
};

/* Leader only. Volatile state (polls under way, how long a state was watched) is lost with the leader. Deadlines count
 * the time that one leader watched a state with quorum: neither a loss of quorum, nor a pause, nor a clock that was set
 * uses them up, and a new leader counts anew. */
struct upgrade_leader;
struct upgrade_leader *upgrade_leader_new(void);
void upgrade_leader_free(struct upgrade_leader *l);
void upgrade_leader_step(struct upgrade_leader *l, const struct tables *t, const struct upgrade_view *v, int64_t now_ms,
                         int64_t wall_ms, const struct upgrade_env *env);
bool upgrade_leader_outcome(struct upgrade_leader *l, const struct tables *t, int64_t now_ms, int64_t wall_ms,
                            uint64_t id, const struct hook_outcome *o, const struct upgrade_env *env);
/* Why the run does not go on at this moment although it is running ("n3 is not present"); NULL: it does. Borrowed. */
const char *upgrade_leader_waiting(const struct upgrade_leader *l);
