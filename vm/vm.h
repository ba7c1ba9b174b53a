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
 * Nothing starts by itself on another node; a node that came back (boot_id differs) starts its own VMs again, once: the
 * OP start with the new boot_id is the compare-and-set.
 *
 * A node acts on an op only after its CLAIM of it was applied: the claim went through the log, so that an agent that
 * was restarted or lagged behind cannot act on a row whose op was ended long ago. A migration whose source neither runs
 * the VM nor moves it any more is handed to the target by LEFT: only the target can know how it ended. Who reports
 * what, and when, is the table in vm-local.c.
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
enum vm_reason { VM_REASON_ADMIN = 1, VM_REASON_DRAIN, VM_REASON_FAILBACK, VM_REASON_RESTART, VM_REASON_CANARY };
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
    int64_t op_timeout_ms;
    char boot_id[UUID_STR_SIZE]; /* of the owner's boot in which it was started or arrived */
    uint64_t epoch;
    char machine[VM_MACHINE_MAX]; /* canonical */
    uint64_t memory_kib;
    uint32_t vcpus;
    int32_t priority; /* higher first; default 0 */
    enum vm_policy policy;
    bool has_host_device, has_local_disk;
    int64_t changed_ms;
    char error[JOURNAL_TEXT_MAX]; /* of the last operation; empty: it went well */
};

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
};
void vm_entry_report(const struct vm_report *r, struct buf *b);

struct vm_set_request { /* ENTRY_VM_SET; unset fields keep their value */
    char name[VM_NAME_MAX];
    bool set_priority, set_policy, set_home;
    int32_t priority;
    enum vm_policy policy;
    char home[NODE_NAME_MAX];
};
void vm_entry_set(const struct vm_set_request *r, struct buf *b);
void vm_entry_cancel(const char *name, const struct uuid *op_id, struct buf *b); /* ENTRY_VM_CANCEL: of that op alone */

/* What vm/ needs to know of nodes; built by the core from the node table and the membership. */
struct vm_node {
    char name[NODE_NAME_MAX];
    char address[ADDRESS_MAX];
    char boot_id[UUID_STR_SIZE]; /* current boot as its facts say */
    bool present;  /* its agent is in the cluster now */
    bool accepts;  /* active: VMs may be started on or moved to it */
    bool draining; /* its VMs are to be moved away */
    bool failback; /* VMs whose home it is are to be moved back */
    uint64_t memory_kib;
    const char *machines; /* canonical types, space separated; borrowed; NULL: unknown */
};
struct vm_nodes {
    const struct vm_node *nodes; /* sorted by name; borrowed */
    size_t n;
};
const struct vm_node *vm_nodes_find(const struct vm_nodes *n, const char *name);

/* Replicated: applies ENTRY_VM_*. nodes' volatile fields (present) are not valid in here and not read. */
void vm_apply(struct tables *t, const struct vm_nodes *nodes, const struct entry *e, struct apply_result *ret);

/* Time-outs of operations that name none. */
enum { VM_START_TIMEOUT_MS = 120 * 1000, VM_STOP_TIMEOUT_MS = 120 * 1000, VM_MIGRATE_TIMEOUT_MS = 600 * 1000 };

/* How decisions leave the room. */
struct vm_env {
    void *ctx;
    uint64_t (*call)(void *ctx, struct vm_call *call);                               /* takes the call's contents */
    /* Takes payload. key: while a proposal with the same key is under way a second one is dropped. */
    void (*propose)(void *ctx, enum entry_kind kind, struct buf *payload, const char *key);
    const struct log_sink *log;
};

/* Placement (place.c): the best target for v, or ERR_CONDITION with the reason for every node that will not do. Memory
 * of running VMs and of those on their way counts; most free memory wins, then the name. */
int vm_place(const struct tables *t, const struct vm_nodes *nodes, const struct vm *v, const char *not_on,
             char ret_node[NODE_NAME_MAX], struct error *e);
/* May v be live-migrated at all (machine known on target, no host device, no local disk)? 0 or ERR_CONDITION. */
int vm_can_migrate(const struct vm *v, const struct vm_node *target, struct error *e);
size_t vm_count_on(const struct tables *t, const char *node, bool running_only);
/* All nodes in one pass; ret: one for each of nodes->nodes. Returns the number of operations under way in the
 * cluster. */
struct vm_tally {
    uint32_t here, running; /* owned by the node */
    uint32_t away;          /* its home, elsewhere, and could be moved home (vm_is_home: none) */
};
uint32_t vm_tally(const struct tables *t, const struct vm_nodes *nodes, struct vm_tally *ret);

/* Leader: moves VMs off draining nodes and home to failback nodes; at most VM_MOVES_MAX at a time (vm-step.c). A VM
 * that cannot move gets vm.error set through nothing: the reason is returned for status in *ret_blocked (code 0:
 * none). */
enum { VM_MOVES_MAX = 2, VM_MOVE_RETRY_MS = 5000, VM_MOVE_ATTEMPTS_MAX = 3, VM_MOVE_BLOCKED_MS = 60 * 1000 };
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
/* No VM whose home is `node` is elsewhere and could be moved home. */
bool vm_is_home(const struct tables *t, const char *node);

/* Every node: acts on rows that name this node (vm-local.c). */
struct vm_self {
    const char *node;
    const char *boot_id;
    bool quorate; /* nothing is started, stopped or moved without */
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
