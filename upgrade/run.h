/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The rolling upgrade: a run and its node steps, in the replicated database; whoever leads goes on with them (pure).
 *
 *  run:   planned ─> prechecking ─> running ─> awaiting-raise ─> done          cancelled
 *                                   │   ^ resume/retry                             ^
 *                                   ├─> paused (by an admin)                       │
 *                                   ├─> paused-error (with remedy)             aborting (undoes obligations)
 *                                   ├───────────────── abort ──────────────────────┤
 *                                   └─ rollback ─> rolling-back ───────────────────┘
 *         rollback also from paused, paused-error, awaiting-raise; rolling-back is paused and resumed as running is
 *
 *  step:  pending <─> awaiting-approval (where each node is to be approved)
 *         pending ─> draining ─> drained ─> evicting ─> rebuilding ─> awaiting-rejoin ─> joining ─> verifying
 *                                                                          [─> canary] ─> failback ─> done
 *         any ─> failed (the run is then paused-error; retry brings it back to where it failed)    pending ─> skipped
 *         drained, evicting ─> draining (a VM came back, or the node was resumed; its replica is still in)
 *         draining, drained, evicting ─> skipped (the run was given up, and the replica is still in)
 *         drained ─> rebuilding (in-place: the node keeps its replica and its vote)
 *         pending, draining ─> skipped (a VM there cannot leave it, and its policy is skip-node)
 *
 *  Paused takes effect at once: a move that was on its way is refused, no hook is called, no VM is moved off the
 *  draining node. A rebuild that runs is the target's own and goes on; its end is seen after the resume.
 *  Aborting: a node that was not evicted yet is resumed; one that was must come back (whatever its release) before the
 *  run is cancelled. A step that fails while aborting cancels the run too, and its error says what is left to mend.
 *  Either: a rebuild is cancelled where the executor can still do that (upgrade/port.h). A node that was evicted is
 *  then, aborting, joined again by hand, and, rolling back, rebuilt with its old release; one that was to be upgraded
 *  in place is resumed. Packages do not go back: a run in place is not rolled back.
 *  Rolling back: a node that was not evicted yet is resumed. Every one that is done, or was sent on its way to the new
 *  release, gets one step more, in the reverse order, which brings it to its old release by the same states. Not while
 *  or after the level is raised.
 *  Canary: once the first node is upgraded and active, one VM is migrated there, back, and there again. No second node
 *  is begun, and no VM goes home there, before that was well.
 *
 * Up to max_unavailable steps are under way at once, begun in the order of their positions. Each moves by itself; what
 * stops one (failed) stops the run, and so all of them.
 *
 * Each move is an entry, compare-and-set on (run, position, sequence); each step is idempotent and re-derived from what
 * is observed in the tables and the membership, so a new leader needs nothing from the old one's memory. The effect of
 * a rebuild happens once because its operation id is derived from (run, position, attempt). */
#pragma once

#include "agent/port.h"
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
    STEP_VERIFYING, STEP_FAILBACK, STEP_DONE, STEP_FAILED, STEP_SKIPPED, STEP_AWAITING_APPROVAL, STEP_CANARY,
    STEP_STATES, /* how many there may be, from 1 */
};
enum canary_result {
    CANARY_NONE = 0, CANARY_UNDER_WAY, CANARY_PASSED, CANARY_SKIPPED, CANARY_FAILED, CANARY_GIVEN_UP, CANARY_RESULTS,
};
const char *run_state_name(enum run_state s);   /* "awaiting-raise" … stable: in JSON */
const char *step_state_name(enum step_state s); /* "awaiting-rejoin" … */
const char *canary_result_name(enum canary_result r); /* "passed" … */
bool run_state_is_final(enum run_state s);

enum {
    RUN_STEPS_MAX = 100,              /* nodes */
    RUN_ROWS_MAX = 2 * RUN_STEPS_MAX, /* there, and back */
    RUN_NAME_MAX = 64,
    RUN_NOTES_MAX = 2048,
    RUN_KEPT = 20, /* ended ones, the newest */
    RUN_ORDER_MAX = RUN_STEPS_MAX * RUN_NAME_MAX,
};
/* How nodes are rebuilt (upgrade/port.h). Fixed when a run starts; the path of a command is the setting's. */
enum executor_kind { EXECUTOR_KIND_COMMAND = 0, EXECUTOR_KIND_IN_PLACE };
enum executor_kind executor_kind_of(const char *setting);
const char *executor_kind_name(enum executor_kind k); /* "command", "in-place" */
/* What the executor said last of the step's attempt. */
enum step_report { REPORT_NONE = 0, REPORT_RUNNING, REPORT_DONE, REPORT_FAILED, REPORT_CANCELLED };


struct run { /* TABLE_RUN, key: id */
    struct uuid id; /* the request id of the entry that began it; also its job's id */
    char target[RUN_NAME_MAX]; /* os-release VERSION_CODENAME */
    enum executor_kind executor;
    enum run_state state;
    uint64_t seq; /* rises with every change: compare-and-set */
    uint32_t n_steps;
    bool back;                /* it is rolled back, or was */
    bool approve_each;        /* no node is begun before an admin approved it */
    uint32_t max_unavailable; /* nodes that may be out at once, with those that are down or in maintenance: 1 … */
    int64_t created_ms, changed_ms, ended_ms;
    char started_by[RUN_NAME_MAX];
    char error[JOURNAL_TEXT_MAX], remedy[JOURNAL_TEXT_MAX]; /* of paused-error */
    char accepted[RUN_NOTES_MAX]; /* warnings that were accepted at its start, a line each */
    char errors[RUN_NOTES_MAX];   /* what stopped it, a line each; the first ones */
};
struct canary {
    enum canary_result result;
    char vm[RUN_NAME_MAX], from[RUN_NAME_MAX];
    uint8_t leg; /* the move under way: 1 there, 2 back, 3 there again, 4 to where it was if that is its home */
    char text[JOURNAL_TEXT_MAX]; /* why it was skipped, or failed */
};
struct step { /* TABLE_STEP, key: run id '/' %03u position */
    struct uuid run;
    uint32_t position; /* 0 … n_steps-1, in order */
    char node[RUN_NAME_MAX];
    enum step_state state, failed_in; /* failed_in: where it was when it failed */
    uint64_t seq;
    uint32_t attempt;  /* of the rebuild, from 1 */
    bool approved;     /* by an admin: never asked again */
    bool back;         /* brings the node back to the release that it had */
    bool left_out;     /* SKIPPED without the target: a VM there cannot leave it, by whose policy the node is skipped */
    struct canary canary;
    bool hook_failed;  /* FAILED: the executor itself said that this attempt failed, so a retry takes a new one */
    struct uuid replica_before;
    char boot_before[UUID_STR_SIZE]; /* in-place: its boot id when the rebuild began */
    enum step_report report;         /* of this attempt */
    uint32_t n_reports;
    char output[JOURNAL_TEXT_MAX];            /* what it printed, at its end */
    int64_t entered_ms, started_ms, ended_ms; /* UTC */
    int64_t spent_ms[STEP_STATES];            /* in each state that it left */
    char from_release[RUN_NAME_MAX];
    char target[RUN_NAME_MAX]; /* the release that it is to have */
    char detail[JOURNAL_TEXT_MAX];
};
int run_decode(struct slice value, struct run *ret);
int step_decode(struct slice value, struct step *ret);
/* The run that is not final, if any; at most one exists. */
int run_current(const struct tables *t, struct run *ret);
int run_get(const struct tables *t, const struct uuid *id, struct run *ret); /* 0, ERR_NOT_FOUND */
int run_newest(const struct tables *t, struct run *ret); /* by created_ms, final ones too */
int step_get(const struct tables *t, const struct uuid *run, uint32_t position, struct step *ret);
/* Not yet begun: pending or awaiting approval. Under way: begun, and neither done nor skipped. */
bool step_state_is_open(enum step_state s);
bool step_state_is_under_way(enum step_state s);
/* The first step under way, or else the first open one; ERR_NOT_FOUND: none left. */
int step_current(const struct tables *t, const struct run *r, struct step *ret);
int step_first_open(const struct tables *t, const struct run *r, struct step *ret); /* 0, ERR_NOT_FOUND */
/* How many are under way; node: but not counting that one's; NULL: all. */
uint32_t steps_under_way(const struct tables *t, const struct run *r, const char *but);
/* How many may be: one, until the canary was well or there is none. */
uint32_t run_capacity(const struct tables *t, const struct run *r);
/* A run is being rolled back: the level must not be raised. */
/* Nodes were left out of the run: which, and why, and what brings them into one; false: every node was its own. */
bool run_is_partial(const struct tables *t, const struct run *r, struct error *ret);
/* That step's node was left out, and the functional level cannot be raised as long as it is what it is. */
bool step_keeps_level(const struct tables *t, const struct step *s);
bool run_forbids_raise(const struct tables *t, struct error *ret);
bool step_is_on(const struct tables *t, const char *node); /* a step of the current run is under way there */
bool step_rebuilds(const struct tables *t, const char *node); /* that node is being rebuilt, in place or as an image */
void step_op_id(const struct step *s, char ret[HOOK_OP_ID_MAX]); /* [a-z0-9-] from run, position and attempt */
/* {id, target, state, direction: "forward"|"back", rolled_back, approve_each, max_unavailable, awaits_approval: node or
 * null, canary: null or {node, result, vm, from, move, text}, started_by, created, changed, ended, error, remedy,
 * left_out: [{node, text, keeps_level, remedy}], steps: [{position, node, direction, state, failed_in, from_release,
 * target, attempt, approved, started, ended, detail, output}], done, total, seconds, executor}; done and total are of
 * the steps in the run's direction; total without skipped ones, but with those that were left out. */
struct json *run_json(const struct tables *t, const struct run *r, int64_t wall_ms);
/* {run, nodes: [{node, direction, from_release, target, state, attempts, approval_ms, drain_ms, rebuild_ms, join_ms,
 * canary_ms, failback_ms, stopped_ms, total_ms}], accepted: [text], errors: [text]}; skipped nodes are left out. */
struct json *run_report_json(const struct tables *t, const struct run *r, int64_t wall_ms);

/* What the run needs to know of a node: a volatile view, built by the core. */
enum upgrade_witness { UPGRADE_WITNESS_UNKNOWN = 0, UPGRADE_WITNESS_ANSWERS, UPGRADE_WITNESS_SILENT };
enum upgrade_node_state { UNODE_ACTIVE = 1, UNODE_DRAINING, UNODE_PAUSED, UNODE_EVICTING, UNODE_ABSENT, UNODE_JOINING };
struct upgrade_node {
    char name[RUN_NAME_MAX], address[RUN_NAME_MAX];
    char release[RUN_NAME_MAX];
    uint8_t native_level;
    enum upgrade_node_state state; /* ABSENT: its replica was evicted, its slot waits for a new one */
    struct uuid replica;           /* in the slot now; nil when absent */
    char boot_id[UUID_STR_SIZE];   /* of its facts */
    bool present;                  /* its agent is in the membership */
    bool voter;                    /* weight 1 */
    bool caught_up;                /* only the leader can tell: no check reads it, only the leader's step */
    bool ready;                    /* facts of this replica's present boot are in the database, hypervisor answered */
    bool is_leader;                /* of the database: leads the run */
    uint32_t vms_running, vms_here; /* owned by this node */
    uint32_t vms_away;              /* VMs whose home this is, elsewhere, and that could be moved home now */
    char task[RUN_NAME_MAX];        /* it drains, and waits for this one, which ends by its own time-out; "": none */
    struct error home_blocked;      /* why one of these does not come, after attempts; code 0: nothing known */
    struct error drain_blocked;     /* code 0: no */
    struct error drain_skip;        /* a VM there wants its node's step skipped, and why; code 0: none does */
    /* For checks. */
    uint32_t nodeid;
    char corosync[32], agent[32];      /* versions; "": unknown */
    const char *machines;              /* types of its QEMU, space separated; borrowed; NULL: unknown */
    const struct host_vitals *vitals;  /* borrowed; NULL: it has not said lately how it is */
    bool has_clock;
    int64_t clock_ahead_ms;            /* of the median of all; negative: behind */
    enum upgrade_witness witness;      /* as it sees it */
};
struct upgrade_machine { /* a machine type in use */
    const char *machine, *example; /* and a VM that has it; borrowed */
    uint32_t n;                    /* how many have it */
};
struct canary_look {
    char node[RUN_NAME_MAX], home[RUN_NAME_MAX]; /* where it runs */
    bool busy;                                   /* an operation is under way */
    char error[JOURNAL_TEXT_MAX];                /* of the last one */
};
struct upgrade_view {
    const struct upgrade_node *nodes; /* sorted by name; borrowed */
    size_t n;
    bool quorate;
    unsigned votes_present, votes_total; /* of the voting configuration */
    const char *executor;                /* setting upgrade.executor; NULL or "": none */
    bool in_place; /* nodes keep their votes; the leader's step goes by the run's row instead */
    bool mixed;
    uint8_t fl;
    uint32_t vm_ops; /* VM operations under way */
    bool has_witness;       /* wanted, or named by the voting configuration */
    unsigned witness_votes; /* of it, in both sums above */
    /* For checks; NULL and 0 elsewhere. Findings {check, result, object, text, remedy} of other rooms are taken over as
     * they are. */
    const struct json *vm_findings;
    const struct upgrade_machine *machines;
    size_t n_machines;
    /* What it means for the VMs of nodes[0] that all n of these are away, for the plan's step: vm_outlook_json(); NULL:
     * not asked for. Owned by the caller. */
    struct json *(*outlook)(void *ctx, const char *const *nodes, size_t n);
    void *outlook_ctx;
    /* True if the cluster keeps a sealed join token for this operation. */
    bool (*has_token)(void *ctx, const char *op_id);
    /* Why the virtual machines of a node could not all go elsewhere now; false: they can. */
    bool (*is_stuck)(void *ctx, const char *node, struct error *ret);
    /* The smallest VM that runs elsewhere and could be moved to that node and back; false: none, and why. */
    bool (*find_canary)(void *ctx, const char *node, char ret_vm[RUN_NAME_MAX], struct error *ret);
    bool (*look_at_canary)(void *ctx, const char *vm, struct canary_look *ret); /* false: it does not run any more */
    void *ctx;
    int64_t rebuild_ms, verify_ms; /* settings; 0: UPGRADE_…_DEADLINE_MS */
    uint32_t attempts;             /* setting; 0: UPGRADE_REBUILD_ATTEMPTS_MAX */
};

/* What an admin wants of a run. */
struct upgrade_options {
    const char *target, *by;
    const char *order;        /* "n3,n1,n2": each node that is to be upgraded, once; NULL or "": as the plan finds it */
    bool accept_warnings;     /* only for a start, as all that follows */
    bool approve_each;
    uint32_t max_unavailable; /* 0: one */
};

/* Checks and plan. Findings: array of {check, result: "pass"|"warn"|"fail", object, text, remedy}. Returns 0 ready,
 * 1 warnings, 2 not ready (exit codes of `upgrade check`). Of the options target, order and max_unavailable count. */
int upgrade_check(const struct tables *t, const struct upgrade_view *v, const struct upgrade_options *o,
                  struct json **ret_findings);
/* Plan: {target, steps: [{position, node, with, from_release, vms, votes_after, votes_total, margin, skipped,
 * outlook}]}; order: an admin's, or fewest VMs first, the leader last; nodes already on the target are skipped. with:
 * the nodes that may be away at the same time, as max_unavailable allows. votes_after, margin, outlook: what is left,
 * whether the loss of one vote more leaves a majority, and what it means for the node's VMs, while all these are away.
 * ERR_USAGE: the order is none. */
int upgrade_plan(const struct upgrade_view *v, const struct upgrade_options *o, struct json **ret_plan,
                 struct error *e);
/* Payload of ENTRY_RUN_START from the same plan. ERR_CONDITION with the first failing check (warnings too, unless
 * accept_warnings: ERR_NEED_FORCE). While a run with that target is paused by an admin: the entry resumes it as it is,
 * nothing is checked, and no run gets the entry's request id. */
int upgrade_entry_start(const struct tables *t, const struct upgrade_view *v, const struct upgrade_options *o,
                        struct buf *b, struct error *e);
enum run_verb { RUN_VERB_PAUSE = 1, RUN_VERB_RESUME, RUN_VERB_RETRY, RUN_VERB_ABORT, RUN_VERB_APPROVE,
                RUN_VERB_ROLLBACK };
/* ENTRY_RUN_CONTROL, of the current run; node: of an approval, "" for the one that waits */
void upgrade_entry_control(enum run_verb verb, const char *by, const char *node, struct buf *b);

/* Replicated: applies ENTRY_RUN_* and ENTRY_STEP_MOVE. */
void upgrade_apply(struct tables *t, const struct entry *e, struct apply_result *ret);
/* Called from apply functions by the core after the level was raised: awaiting-raise -> done. */
void upgrade_level_raised(struct tables *t, int64_t time_ms);

/* The run's state is one in which the leader's step makes the whole check. */
bool upgrade_is_checking(const struct tables *t);
/* While a run is paused no further VM is moved off its draining node. */
bool upgrade_holds_drain(const struct tables *t, const char *node);

struct upgrade_env {
    void *ctx;
    void (*propose)(void *ctx, enum entry_kind kind, struct buf *payload, const char *key); /* takes payload */
    /* Idempotent requests to the cluster room; dropped while pending. */
    void (*node_drain)(void *ctx, const char *node);
    void (*node_resume)(void *ctx, const char *node, bool failback);
    void (*move_canary)(void *ctx, const char *vm, const char *to);
    void (*node_evict)(void *ctx, const char *node);  /* keeps the slot */
    void (*make_token)(void *ctx, const char *node, const char *op_id, int64_t valid_ms);
    /* Fills in path and sealed token of op_id. */
    uint64_t (*hook)(void *ctx, struct hook_call *call, const char *op_id);
    uint64_t (*local_hook)(void *ctx, struct hook_call *call); /* the same on this node, for upgrade_local_step */
    void (*transfer)(void *ctx); /* hand leadership to another node */
    const struct log_sink *log;
};
enum {
    UPGRADE_POLL_MS = 1000,
    UPGRADE_HOOK_TIMEOUT_MS = 60 * 1000,
    /* Where the cluster's settings say nothing else: */
    UPGRADE_REBUILD_DEADLINE_MS = 60 * 60 * 1000, /* from the start of the rebuild to its rejoin */
    UPGRADE_VERIFY_DEADLINE_MS = 10 * 60 * 1000,  /* also of joining, of an eviction, of a node's return, of a node that
                                                   * is away while it drains, of a VM that was found not to come home,
                                                   * and of waiting for what a recheck found */
    UPGRADE_MOVES_DEADLINE_MS = 45 * 60 * 1000, /* without a VM that leaves, or comes: three attempts at a move may take
                                                 * ten minutes each */
    UPGRADE_TASK_DEADLINE_MS = (7 * 86400 + 600) * 1000, /* a drain that waits for a task: the longest time-out of one,
                                                          * and ten minutes to end it */
    UPGRADE_REBUILD_ATTEMPTS_MAX = 2,
    UPGRADE_BACKOFF_MAX_MS = 60 * 1000, /* between calls of a hook that could not be run */
    UPGRADE_REFUSALS_MAX = 5,      /* of START, one after the other, before the step fails; the operation id stays */
    UPGRADE_REPORT_MS = 10 * 1000, /* between two lines in the journal of what an executor prints as it goes */
    UPGRADE_REPORTS_MAX = 100,     /* lines of one attempt; what is final is always told */
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

/* The node that is upgraded in place, whoever leads: has its own program do the step's operation, and reports what it
 * says (ENTRY_STEP_REPORT). Level-triggered as the leader's step: an agent that was started again, after a reboot too,
 * begins with START, which the program knows already. Acts only with a quorum and while the run goes on or is given up.
 */
struct upgrade_local;
struct upgrade_local *upgrade_local_new(void);
void upgrade_local_free(struct upgrade_local *l);
void upgrade_local_step(struct upgrade_local *l, const struct tables *t, const char *self, bool quorate, int64_t now_ms,
                        const struct upgrade_env *env);
bool upgrade_local_outcome(struct upgrade_local *l, int64_t now_ms, uint64_t id, const struct hook_outcome *o,
                           const struct upgrade_env *env);
