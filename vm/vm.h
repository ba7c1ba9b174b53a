/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Virtual machines as objects of the cluster (pure). The row is the intent and the last report; the node that `node`
 * names is the only one that may run the VM, and acts on `op`:
 *
 *              OP start                    REPORT started
 *   STOPPED ─────────────> op=START ──────────────────────────> RUNNING
 *      ^                      │ REPORT failed (error kept)         │
 *      ├──────────────────────┘                                    │ OP stop
 *      │            REPORT stopped                                 v
 *      └──────────────────────────────────────────────────────── op=STOP
 *                         RUNNING <── REPORT moved/failed ── op=MIGRATE <── OP migrate ── RUNNING
 *
 * Invariants: op != NONE exactly while op_id is a running job; only a report that names the row's op_id (or, for a VM
 * without an op, its epoch) changes it, so that a late or doubled report is no change; `epoch` rises with every start
 * and every move; `node` changes only by a start on another node (VM stopped) or by a reported migration.
 * A node that came back (boot_id differs) starts its own VMs again, once: the OP start with the new boot_id is the
 * compare-and-set. The VMs of a node that was fenced are STOPPED, wanted, and of no boot (vm_node_lost): the leader
 * starts them elsewhere, or their node when it is back, whoever's OP start is applied first.
 *
 * A node acts on an op only after its CLAIM of it was applied: the claim went through the log, so that an agent that
 * was restarted or lagged behind cannot act on a row whose op was ended long ago. A migration whose source neither runs
 * the VM nor moves it any more is handed to the target by LEFT: only the target can know how it ended. Who reports
 * what, and when, is the table in vm-local.c.
 *
 * A drain may stop a VM that cannot move while it runs, or save it (STOP with `save`): the row is then STOPPED, wanted
 * and `owed` a start, or a start from what was saved. Whoever leads owes it: on another node that takes it, or on its
 * own once that takes VMs again; no agent does so by itself. What was saved is used once: a start that an agent has
 * claimed, and of which nobody knows the end, is made anew without it, for the guest may have run on from there.
 *
 * A VM whose QEMU crashed is owed a start, too, not before `due_ms`, which is later with each crash within an hour;
 * after settings.crash_restarts of them it is left off (crash_loop) until an admin starts it.
 *
 * CANCEL of a move is a wish on the row: the owner acts on it, and the report tells what became of the move. One that
 * is faster than the wish has MOVED; else the job ends as cancelled, and the VM stays where it is without an error. */
#pragma once

#include "common/entry.h"
#include "common/journal.h"
#include "common/log.h"
#include "vm/port.h"

enum vm_state { VM_STOPPED = 1, VM_RUNNING = 2 };
enum vm_op { VM_OP_NONE = 0, VM_OP_START = 1, VM_OP_STOP = 2, VM_OP_MIGRATE = 3 };
enum vm_reason { VM_REASON_ADMIN = 1, VM_REASON_DRAIN, VM_REASON_FAILBACK, VM_REASON_RESTART, VM_REASON_CANARY,
                 VM_REASON_FAILOVER, VM_REASON_RETURN /* what a drain owes it */, VM_REASON_CRASH,
                 VM_REASON_RECOVERY /* RESTART, as applied: its node was lost, or cut off */ };
enum vm_owed { VM_OWED_NOTHING = 0, VM_OWED_START = 1, VM_OWED_RESTORE = 2 };
enum { VM_PREFERRED_MAX = 256, VM_GROUP_MAX = 64 };
enum vm_policy { VM_POLICY_FAIL = 1, VM_POLICY_SHUTDOWN_RESTART = 2, VM_POLICY_SAVE = 3, VM_POLICY_SKIP_NODE = 4 };

struct vm {
    char name[VM_NAME_MAX];
    struct uuid uuid;
    char node[NODE_NAME_MAX]; /* owner */
    char home[NODE_NAME_MAX]; /* where failback brings it; an admin's migrate or start sets it, a drain does not */
    enum vm_state state;
    bool wanted; /* should run: set by start, cleared by stop and when the guest powers itself off */
    enum vm_op op;
    struct uuid op_id;
    enum vm_reason reason;      /* of the op, or of the last one */
    uint64_t claim;             /* the acting agent's, of this op; 0: none yet */
    char target[NODE_NAME_MAX]; /* MIGRATE */
    bool left;                  /* MIGRATE: the owner neither runs nor moves it any more, the target decides */
    bool cancel;                /* MIGRATE: an admin wants it to stay where it is: the owner cancels the move */
    bool hard;                  /* STOP: at once */
    bool save;                  /* STOP: its memory is written to saved_to before */
    enum vm_owed owed;
    char saved_to[VM_PATH_MAX]; /* a file; "": none */
    int64_t due_ms;             /* owed after a crash: not before then; 0: it did not crash */
    uint32_t crashes;           /* since crash_ms, in an hour */
    int64_t crash_ms;
    bool crash_loop;            /* it crashed too often: it stays off */
    int64_t op_timeout_ms;
    char boot_id[UUID_STR_SIZE]; /* of the owner's boot in which it was started or arrived */
    uint64_t epoch;
    char machine[VM_MACHINE_MAX]; /* canonical: its version */
    char machine_before[VM_MACHINE_MAX]; /* it never ran with `machine` yet, and can go back to this; "": no way back */
    uint64_t memory_kib;
    uint32_t vcpus;
    int32_t priority; /* higher first; default 0 */
    enum vm_policy policy;
    char preferred[VM_PREFERRED_MAX]; /* nodes, comma separated, that it is placed on where they have room; "": any */
    bool postcopy;                    /* a move that does not end may go on by post-copy */
    char group[VM_GROUP_MAX];         /* VMs of one group go to different nodes; "": none */
    bool has_host_device, has_local_disk;
    bool managed_save, memory_snapshot; /* as its owner's hypervisor said last: its memory, of this machine type */
    int64_t changed_ms;
    char error[JOURNAL_TEXT_MAX]; /* of the last operation; empty: it went well */
};

/* Its back-off is over, or longer than it can be: a clock that was set makes nobody wait. */
bool vm_is_due(const struct vm *v, int64_t wall_ms);

void vm_encode(const struct vm *v, struct buf *b);
int vm_decode(struct slice value, struct vm *ret);
int vm_get(const struct tables *t, const char *name, struct vm *ret);                       /* 0, ERR_NO_OBJECT */
bool vm_next(const struct tables *t, const char *after, struct vm *ret);                    /* in name order */
const char *vm_state_name(const struct vm *v); /* "stopped" "starting" "running" "stopping" "migrating" "failed" */
const char *vm_policy_name(enum vm_policy p);
int vm_policy_parse(const char *s, enum vm_policy *ret);
struct json *vm_json(const struct vm *v); /* name, uuid, node, home, state, machine, memory_mib, vcpus, priority, … */

/* Payloads of entries. */
void vm_entry_add(const struct vm_facts *f, const char *node, struct buf *b); /* ENTRY_VM_ADD */
void vm_entry_remove(const char *name, struct buf *b);                         /* ENTRY_VM_REMOVE: only when stopped */

struct vm_op_request { /* ENTRY_VM_OP; the job's id is the entry's request id, which must not be nil */
    char name[VM_NAME_MAX];
    enum vm_op op;
    enum vm_reason reason;
    char node[NODE_NAME_MAX];    /* START: where (empty: the owner); MIGRATE: to */
    char boot_id[UUID_STR_SIZE]; /* RESTART: the new boot */
    uint64_t epoch;              /* compare; 0: any */
    bool hard;
    char save_to[VM_PATH_MAX]; /* STOP, of a drain: save it there; "": shut it down */
    int64_t timeout_ms; /* 0: default */
};
void vm_entry_op(const struct vm_op_request *r, struct buf *b);
/* Where a move goes, or went, as its job says; "" of any other job. */
void vm_job_target(const struct job *j, char ret[NODE_NAME_MAX]);

enum vm_report_kind {
    VM_REPORT_STARTED = 1,
    VM_REPORT_STOPPED,
    VM_REPORT_MOVED,
    VM_REPORT_FAILED,
    VM_REPORT_CLAIM,  /* the owner is about to act on the op */
    VM_REPORT_LEFT,   /* MIGRATE: the owner neither runs nor moves it any more */
    VM_REPORT_ASTRAY, /* it runs on `node`, which is not its owner: only an event */
    VM_REPORT_FENCED, /* its owner stopped it when it was cut off from the cluster */
    VM_REPORT_CRASHED, /* it went off, and not by its guest */
    VM_REPORT_SAVED,  /* what its owner's hypervisor keeps of its memory has changed */
};
struct vm_report { /* ENTRY_VM_REPORT */
    char name[VM_NAME_MAX];
    enum vm_report_kind kind;
    struct uuid op_id; /* of the op it ends; nil: seen without one (guest powered off, gone, or started by hand) */
    uint64_t epoch;    /* the row's epoch that the reporter acted on */
    char node[NODE_NAME_MAX];    /* where the VM is now (STARTED, MOVED), or who reports */
    char boot_id[UUID_STR_SIZE]; /* of that node */
    uint64_t claim;              /* CLAIM: a number that this agent has not used before */
    int32_t code;                /* FAILED */
    char error[JOURNAL_TEXT_MAX];
    bool managed_save, memory_snapshot; /* of what is seen without an op: as the hypervisor says */
};
void vm_entry_report(const struct vm_report *r, struct buf *b);

struct vm_set_request { /* ENTRY_VM_SET; unset fields keep their value */
    char name[VM_NAME_MAX];
    bool set_priority, set_policy, set_home, set_preferred, set_group, set_postcopy;
    bool postcopy;
    int32_t priority;
    enum vm_policy policy;
    char home[NODE_NAME_MAX];
    char preferred[VM_PREFERRED_MAX], group[VM_GROUP_MAX]; /* "": none */
};
void vm_entry_set(const struct vm_set_request *r, struct buf *b);
/* Another machine type, made of what the hypervisor's adapter made of the XML. */
struct vm_version_request { /* ENTRY_VM_VERSION */
    char name[VM_NAME_MAX];
    char from[VM_MACHINE_MAX]; /* compare */
    char machine[VM_MACHINE_MAX];
    char *xml; /* owned by whoever made or decoded it */
};
void vm_entry_version(const struct vm_version_request *r, struct buf *b);
void vm_entry_rollback(const char *name, struct buf *b); /* ENTRY_VM_ROLLBACK: the version before, until it ran */
void vm_entry_cancel(const char *name, const struct uuid *op_id, struct buf *b); /* ENTRY_VM_CANCEL: of that op alone */

/* What vm/ needs to know of nodes; built by the core from the node table and the membership. */
struct vm_node {
    char name[NODE_NAME_MAX];
    char address[ADDRESS_MAX];
    char boot_id[UUID_STR_SIZE]; /* current boot as its facts say */
    bool present;  /* its agent is in the cluster now */
    int64_t heard_ms; /* its last word, by this node's clock; 0: it promises nothing, and need not be heard */
    bool quarantined; /* it failed too often: nothing is placed there but by an admin, or by what it owned before */
    bool accepts;  /* active: VMs may be started on or moved to it */
    bool draining; /* its VMs are to be moved away */
    bool failback; /* VMs whose home it is are to be moved back */
    bool fenced;   /* nothing runs there until it has reported again */
    uint64_t memory_kib;
    uint32_t cpus; /* 0: unknown */
    const char *machines; /* canonical types, space separated; borrowed; NULL: unknown */
};
/* What the functional level allows; the core knows it. */
struct vm_limits {
    char machine[VM_MACHINE_MAX]; /* no machine type of a later version; "": unknown, none is refused */
    struct error later_machines;  /* why no later one; code 0: no raise of the level would help */
    struct error data_store;      /* why no disk with a data store; code 0: it may have one */
};
/* Of the cluster: the settings vm.*. */
enum { VM_CRASH_WINDOW_MS = 3600 * 1000, VM_CRASH_BACKOFF_MS = 5000, VM_CRASH_BACKOFF_MAX_MS = 10 * 60 * 1000 };
enum { /* by default */
    VM_CPU_RATIO = 8,
    VM_RESERVE_MIB = 512,
    VM_MOVES_MAX = 2,
    VM_MOVES_PER_NODE = 2,
    VM_DOWNTIME_MS = 3000,
    VM_CRASH_RESTARTS = 5,
};
struct vm_settings {
    uint32_t cpu_ratio;   /* so many CPUs are promised to VMs for each that a node has; 0: any number */
    uint64_t reserve_kib; /* of a node's memory, promised to no VM */
    uint32_t moves_max, moves_per_node; /* operations of drains and failbacks under way, and migrations */
    uint32_t crash_restarts;   /* of one VM within an hour */
    uint32_t downtime_max_ms;    /* at the end of a move */
    uint32_t bandwidth_mib;      /* of a move, a second; 0: no limit */
    char save_path[VM_PATH_MAX]; /* a folder that every node sees; "": nothing is saved */
    bool save_sparse;            /* vm.save_format */
    bool groups_required; /* a VM waits rather than run beside another one of its group */
};
struct vm_settings vm_settings_get(const struct tables *t);
struct vm_nodes {
    const struct vm_node *nodes; /* sorted by name; borrowed */
    size_t n;
    const struct vm_limits *limits; /* borrowed; NULL: none. Only ENTRY_VM_ADD and ENTRY_VM_VERSION are held to it */
    struct vm_settings settings;
    /* A backup of that VM is under way in that boot of its node: no operation on it begins. NULL: none ever is. */
    bool (*is_held)(const void *ctx, const char *vm, const char *boot_id);
    const void *held_ctx;
    void (*removed)(struct tables *t, const char *vm); /* for an apply function: what other rooms have of it goes */
};
bool vm_is_held(const struct vm_nodes *n, const struct vm *v, const char *boot_id);
const struct vm_node *vm_nodes_find(const struct vm_nodes *n, const char *name);

/* Replicated: applies ENTRY_VM_*. nodes' volatile fields (present) are not valid in here and not read. */
void vm_apply(struct tables *t, const struct vm_nodes *nodes, const struct entry *e, struct apply_result *ret);

/* The tables were put back to an earlier state: what ran since is not known. Every VM is off and unwanted until it is
 * found running where it belongs; none is started by itself. */
void vm_restored(struct tables *t, int64_t time_ms);

/* Versions (version.c). The version of a VM is its machine type; "pc-q35-7.2" is of family "pc-q35-". */
unsigned vm_machine_version(const char *machine); /* 7002; 0: a type without a version, like "microvm" */
/* The type of the same family and of the version of `level`; false: one of both has no version. */
bool vm_machine_at(const char *machine, const char *level, char ret[VM_MACHINE_MAX]);
bool vm_is_outdated(const struct vm *v, const char *level); /* of an earlier version than `level` */
int vm_machine_check(const char *name, const char *machine, const struct vm_limits *limits, struct error *e);
/* 0; ERR_CONDITION or ERR_USAGE: why that VM cannot be given that machine type now. */
int vm_version_check(const struct vm *v, const char *machine, const struct vm_nodes *nodes, struct error *e);
int vm_rollback_check(const struct vm *v, struct error *e);
/* Where the XML of the version before is kept, in TABLE_VM_XML. */
void vm_version_key(const char *name, char ret[TABLE_KEY_MAX]);

/* Replicated: that node was fenced, so that none of its VMs runs there any more. Each of them may be started anew.
 * Returns how many are to be. */
uint32_t vm_node_lost(struct tables *t, const struct vm_nodes *nodes, const char *node, int64_t time_ms);

/* Time-outs of operations that name none. */
enum { VM_START_TIMEOUT_MS = 120 * 1000, VM_STOP_TIMEOUT_MS = 120 * 1000, VM_MIGRATE_TIMEOUT_MS = 600 * 1000,
       VM_SAVE_TIMEOUT_MS = 600 * 1000 };

/* How decisions leave the room. */
struct vm_env {
    void *ctx;
    int64_t wall_ms; /* UTC; what is due is compared with it */
    uint64_t (*call)(void *ctx, struct vm_call *call);                               /* takes the call's contents */
    /* Takes payload. key: while a proposal with the same key is under way a second one is dropped. */
    void (*propose)(void *ctx, enum entry_kind kind, struct buf *payload, const char *key);
    const struct log_sink *log;
};

/* Placement (place.c): where each of these goes, all of them together, so that what one takes is not another's; which
 * placement is the best is said in vm/plan.h. The memory and CPUs of running VMs and of those on their way count. */
struct vm_placing {
    const struct vm *v;          /* borrowed */
    const char *not_on;          /* a node; NULL: none. borrowed */
    bool is_cold;                /* it will be off when it comes, though it runs now */
    const struct vm_node *target; /* out; NULL: none, and */
    struct error why;            /* … the reason for every node that will not do */
};
void vm_place_all(const struct tables *t, const struct vm_nodes *nodes, struct vm_placing *list, size_t n);
/* One VM; ERR_CONDITION with the reason. */
int vm_place(const struct tables *t, const struct vm_nodes *nodes, const struct vm *v, const char *not_on,
             char ret_node[NODE_NAME_MAX], struct error *e);
/* Could a drain of that node begin now: has every VM there a way, and those that need one a place elsewhere, all
 * together? 0 or ERR_CONDITION. */
int vm_can_leave(const struct tables *t, const struct vm_nodes *nodes, const char *node, struct error *e);
/* The smallest VM that runs elsewhere and can be migrated to that node, and back. 0; ERR_CONDITION: none, and why. */
int vm_find_canary(const struct tables *t, const struct vm_nodes *nodes, const char *node, char ret_vm[VM_NAME_MAX],
                   struct error *e);
/* May v be live-migrated at all (machine known on target, no host device, no local disk)? 0 or ERR_CONDITION. */
int vm_can_migrate(const struct vm *v, const struct vm_node *target, struct error *e);
/* Is there a node, however full, that it could move to while it runs? 0 or ERR_CONDITION. */
int vm_can_move_off(const struct vm *v, const struct vm_nodes *nodes, struct error *e);
size_t vm_count_on(const struct tables *t, const char *node, bool running_only);
/* All nodes in one pass; ret: one for each of nodes->nodes. Returns the number of operations under way in the
 * cluster. */
struct vm_tally {
    uint32_t here, running; /* owned by the node */
    uint32_t away;          /* its home, elsewhere, and could be moved home now (vm_is_home: none) */
    struct error skip;      /* a VM there cannot leave it, and has the policy skip-node; code 0: none */
};
uint32_t vm_tally(const struct tables *t, const struct vm_nodes *nodes, struct vm_tally *ret);

/* Leader: moves VMs off draining nodes and home to failback nodes, stops or saves those whose policy says so when they
 * cannot move, and starts those again; at most settings.moves_max at a time (vm-step.c). */
enum { VM_MOVE_RETRY_MS = 5000, VM_MOVE_ATTEMPTS_MAX = 3, VM_MOVE_BLOCKED_MS = 60 * 1000 };
/* What a drain of its node would do with a running VM, room aside. But for MOVES *e says why it cannot move, or what is
 * in the way of its policy. */
enum vm_drain { VM_DRAIN_MOVES = 1, VM_DRAIN_STOPS, VM_DRAIN_SAVES, VM_DRAIN_SKIPS, VM_DRAIN_BLOCKED };
enum vm_drain vm_drain_of(const struct vm *v, const struct vm_nodes *nodes, struct error *e);
bool vm_drain_needs_place(const struct vm *v, enum vm_drain drain);       /* on another node, before it begins */
bool vm_drain_may_save(const struct vm *v, const struct vm_nodes *nodes); /* for want of a place, by its policy */
struct vm_leader; /* volatile: attempts and back-off; lost with the leader */
struct vm_leader *vm_leader_new(void);
void vm_leader_free(struct vm_leader *l);
void vm_leader_step(struct vm_leader *l, const struct tables *t, const struct vm_nodes *nodes, int64_t now_ms,
                    const struct vm_env *env);
/* An admin said to try again: forgets the failures of this node's VMs. */
void vm_leader_retry(struct vm_leader *l, const char *node);
/* Why a draining node's VMs do not all move: after VM_MOVE_ATTEMPTS_MAX failures of one, or no target. 0 code: all
 * well. */
struct error vm_leader_blocked(const struct vm_leader *l, const char *node);
/* Why a VM whose home it is does not come back; as vm_leader_blocked(). */
struct error vm_leader_not_home(const struct vm_leader *l, const char *node);
/* A VM that was stopped or saved there is about to be started elsewhere. */
bool vm_leader_owes(const struct vm_leader *l, const char *node);
/* No VM whose home is `node` is elsewhere and could be moved home. */
bool vm_is_home(const struct tables *t, const char *node);

/* Leader: starts the VMs of fenced nodes elsewhere, by priority, one proposal at a time (failover.c). */
struct vm_failover; /* volatile: what was said of VMs that have no place to go */
struct vm_failover *vm_failover_new(void);
void vm_failover_free(struct vm_failover *f);
bool vm_is_lost(const struct vm *v); /* runs nowhere, and is to be started by whoever may */
void vm_failover_step(struct vm_failover *f, const struct tables *t, const struct vm_nodes *nodes,
                      const struct vm_env *env);
/* Some VM runs on that node, or may: one that is lost with it cannot be started elsewhere before it is fenced. */
bool vm_needs_fence(const struct tables *t, const char *node);

/* Every node: acts on rows that name this node (vm-local.c). */
struct vm_self {
    const char *node;
    const char *boot_id;
    bool quorate; /* nothing is started, stopped or moved without */
    bool fence;   /* cut off: every VM of the cluster that is active here is destroyed */
    bool fenced;  /* this was so before, and by this node's hand VMs went off that nobody was told of */
    int64_t until_ms; /* what is asked for now must not begin later; 0: no limit */
};
struct vm_local;
struct vm_local *vm_local_new(void);
void vm_local_free(struct vm_local *l);
void vm_local_step(struct vm_local *l, const struct tables *t, const struct vm_nodes *nodes, const struct vm_self *self,
                   int64_t now_ms, const struct vm_env *env);
void vm_local_changed(struct vm_local *l); /* the hypervisor reported some change: list again soon */
/* True: the id was one of this room's; the outcome was taken up. */
bool vm_local_outcome(struct vm_local *l, const struct tables *t, const struct vm_self *self, int64_t now_ms,
                      uint64_t id, const struct vm_outcome *o, const struct vm_env *env);
/* Progress of this node's outgoing migration of a VM, 0…100; -1: none. */
int vm_local_percent(const struct vm_local *l, const char *name);
bool vm_local_ready(const struct vm_local *l); /* the hypervisor answered a LIST since the start */
/* While self->fence: no VM of the cluster is active here, and no call under way can make one so. */
bool vm_local_is_clear(const struct vm_local *l);
/* While self->fenced: all that was destroyed here is told. */
bool vm_local_is_told(const struct vm_local *l, const struct vm_self *self);
