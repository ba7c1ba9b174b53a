/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fencing (pure): what a node promises the cluster for the case that it is cut off, and when another node may take over
 * its virtual machines.
 *
 *   the node itself (struct guard_self)                        the leader (guard_leader_step)
 *
 *   contact ─ gap ─> lost ─ budget ─> over ─ watchdog ─> dead
 *   (lease.h)         │                │                  │
 *   runs and starts   │ starts no VM   │ destroys its VMs, │ the watchdog ended it, unless its VMs were seen stopped
 *                     │ any more       │ pets no more      │
 *                                                         └──+20 %──> FENCED: its VMs start elsewhere
 *
 * gap: a word of the leader may be that old without anything being wrong: corosync forms a new ring for token +
 * consensus, and a new leader is elected after that. The leader counts the very same times from the last moment at
 * which the node can have had a contact (lease_bound_ms), by its own monotonic clock. Another leader counts anew.
 *
 * Row of a node (TABLE_GUARD), replicated:
 *
 *             BEGIN (lost)              DONE (the wait is over, or the fence command confirmed)
 *   FENCE_NO ──────────────> WAITING ──────────────────────────────────────────────────────────> FENCED
 *      ^  CANCEL (it is back)   │  ^─────────────── BEGIN (a move ended there after all) ───────────┤
 *      └────────────────────────┴──────────────── GUARD (the node itself reports) ──────────────────┘
 *
 * Invariants: only DONE makes a node's VMs anybody else's; DONE is refused unless the row is WAITING for the same boot;
 * the row promises no more than the node keeps: what it will keep longer times for is committed before, and an end of
 * the promise (OFF, NONE) is committed before the node breaks it. */
#pragma once

#include "agent/port.h"
#include "common/entry.h"
#include "common/json.h"
#include "common/log.h"

enum guard_kind {
    GUARD_OFF = 0,      /* its agent was stopped on purpose: its VMs are its own until it is back */
    GUARD_NONE = 1,     /* no watchdog: its VMs go on without a quorum; only a fence command can be sure of it */
    GUARD_WATCHDOG = 2, /* its VMs are stopped in time, or the watchdog ends the node */
    GUARD_PROMISE = 3,  /* no watchdog, failover.unfenced = accept: its VMs are stopped in time, if the agent lives */
};
enum fence_state { FENCE_NO = 0, FENCE_WAITING = 1, FENCE_FENCED = 2 };
enum fence_how { FENCE_BY_WAIT = 1, FENCE_BY_COMMAND = 2 };
enum fence_verb { FENCE_BEGIN = 1, FENCE_CANCEL = 2, FENCE_DONE = 3 };

/* What became of the waits for a node, since it is in the cluster. */
struct fence_counts {
    uint32_t wait, command; /* FENCED, how */
    uint32_t back;          /* it was back before */
    uint32_t vms;           /* were taken from it */
};
struct guard {
    char node[NODE_NAME_MAX];
    enum guard_kind kind;
    char boot_id[UUID_STR_SIZE];
    int64_t lease_ms;    /* gap + budget: its VMs are stopped so long after its last contact */
    int64_t watchdog_ms; /* 0: none */
    enum fence_state state;
    enum fence_how how; /* FENCED */
    int64_t wait_ms;    /* WAITING: how long from the last contact */
    int64_t changed_ms; /* of the state; UTC, for people */
    struct fence_counts count;
};
int guard_decode(struct slice value, struct guard *ret);
int guard_get(const struct tables *t, const char *node, struct guard *ret); /* 0, ERR_NO_OBJECT */
const char *guard_kind_name(enum guard_kind k);   /* "off" "none" "watchdog" "promise" */
const char *fence_state_name(enum fence_state s); /* "none" "waiting" "fenced" */
bool guard_keeps(enum guard_kind k);              /* are its VMs stopped when it is cut off? */

/* lease + watchdog, and a fifth more: clocks do not run alike, and a scheduler is late. */
int64_t guard_wait_ms(const struct guard *g);

/* Payloads. */
void guard_entry_report(const struct guard *g, const struct uuid *replica, struct buf *b); /* ENTRY_NODE_GUARD */
struct fence_entry {                                                                       /* ENTRY_NODE_FENCE */
    enum fence_verb verb;
    char node[NODE_NAME_MAX];
    char boot_id[UUID_STR_SIZE]; /* compare: of the row */
    enum fence_how how;          /* DONE */
    int64_t wait_ms;             /* BEGIN */
};
void guard_entry_fence(const struct fence_entry *f, struct buf *b);

/* What applying needs to know from other rooms. */
struct guard_gate {
    void *ctx;
    bool (*is_replica)(void *ctx, const char *node, const struct uuid *replica); /* of that slot, now */
    uint32_t (*lost)(void *ctx, const char *node, int64_t time_ms); /* its VMs run nowhere now; so many are to run */
};
/* Replicated: ENTRY_NODE_GUARD, ENTRY_NODE_FENCE. */
void guard_apply(struct tables *t, const struct guard_gate *gate, const struct entry *e, struct apply_result *ret);

/* ---- the leader: fences nodes that are lost */

struct guard_node {
    char name[NODE_NAME_MAX];
    bool present;     /* its agent is */
    bool in_ring;     /* some agent is missing whose node still is in corosync's ring: it may be started again soon */
    bool has_vms;     /* some VM is, or may be, on it, or a task runs there */
    int64_t bound_ms; /* no contact of it is later (lease_bound_ms) */
};
struct guard_env {
    void *ctx;
    int64_t now_ms;
    bool has_command; /* a fence command is set */
    void (*propose)(void *ctx, enum entry_kind kind, struct buf *payload, const char *key);
    uint64_t (*command)(void *ctx, const char *node, const char *op_id); /* asks for power off */
    const struct log_sink *log;
};
enum {
    GUARD_COMMAND_AGAIN_MS = 3000,
    GUARD_AGENT_MS = 6000, /* an agent that ended is back by then, or does not come: no reason to end its node before */
    GUARD_WATCHDOG_MS = 5000,
    GUARD_BUDGET_MS = 2000,
};
struct guard_leader; /* volatile: waits; begun anew by the next leader */
struct guard_leader *guard_leader_new(void);
void guard_leader_free(struct guard_leader *l);
void guard_leader_step(struct guard_leader *l, const struct tables *t, const struct guard_node *nodes, size_t n,
                       const struct guard_env *env);
/* True: the id was a fence command's. e->code 0: the node's power is off for sure. */
bool guard_leader_commanded(struct guard_leader *l, uint64_t id, const struct error *e, const struct guard_env *env);
/* When the next wait ends; INT64_MAX: there is none. */
int64_t guard_leader_next_ms(const struct guard_leader *l, int64_t now_ms);
/* How long the wait for a node still lasts; -1: there is none. */
int64_t guard_leader_left_ms(const struct guard_leader *l, const char *node, int64_t now_ms);
/* What became of the fence command for a node that is waited for, until the next step; "": it was not asked yet. */
const char *guard_leader_asked(const struct guard_leader *l, const char *node);

/* ---- every node: keeps its promise */

enum guard_now {
    GUARD_FREE,  /* nothing was promised */
    GUARD_GOOD,  /* in contact */
    GUARD_LOST,  /* no VM is started any more */
    GUARD_OVER,  /* the VMs are to be stopped, the watchdog is petted no more */
};
struct guard_self {
    struct guard_note note;
    bool note_was_on; /* as it was kept */
    enum guard_now was;
    bool armed;      /* the watchdog runs: it was petted, and has said so */
    bool was_left;   /* an earlier agent of this boot may have left it running */
    bool has_watchdog;
    char trouble[ERROR_TEXT_MAX]; /* why it has none */
    int64_t pet_ms;  /* when it is due again */
    int64_t retry_ms; /* one that failed is tried again then */
};
enum guard_now guard_self_now(const struct guard_self *g, int64_t now_ms);
int64_t guard_self_until_ms(const struct guard_self *g); /* what is asked for now must not happen later; 0: no limit */
