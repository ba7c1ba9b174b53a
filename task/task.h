/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Cluster tasks (pure): programs that run on one member, at the times of a calendar or by hand.
 *
 *              START (leader: it is due, and this member may)       CLAIM (that member)
 *      IDLE ────────────────────────────────────────────> STARTING ────────────────────> RUNNING
 *       ^  ^                                                 │                              │
 *       │  └──────────── WITHDRAWN (leader: not claimed) ────┘                              │
 *       └────────────── END (that member: how its program ended; leader: lost) ─────────────┘
 *
 * A program is begun only by the agent whose own claim was committed, once, at once, and never after a restart of that
 * agent: what is not found then was lost. So a run happens at most once, and one run of a task at most at a time.
 * A claimed run whose node went away is over only when the node was fenced, booted anew or was evicted: until then it
 * may still write.
 *
 * What was due while no member could run it is done once, as soon as one can. A run that was lost or failed is not
 * repeated before the next time.
 *
 * With the affinity native-level a task runs only on members whose native level is the functional level: a program that
 * writes in the format of its platform must not write what the others cannot read. Where no such member is left, it is
 * blocked until the level is raised.
 *
 * Invariants: node, boot and run are set exactly while it is not IDLE; claim exactly while it is RUNNING. */
#pragma once

#include "common/calendar.h"
#include "common/entry.h"
#include "common/json.h"
#include "common/log.h"
#include "task/port.h"

enum {
    TASKS_MAX = 64,
    TASK_NODE_MAX = 64,
    TASK_LATE_MS = 60000,
    TASK_TIMEOUT_MS = 3600 * 1000,
    TASK_TIMEOUT_MAX_MS = 7 * 86400 * 1000,
};

enum task_affinity { TASK_ANY = 1, TASK_NATIVE_LEVEL = 2 };
enum task_state { TASK_IDLE = 0, TASK_STARTING = 1, TASK_RUNNING = 2 };
enum task_result { TASK_NEVER = 0, TASK_DONE, TASK_FAILED, TASK_TIMED_OUT, TASK_LOST };
const char *task_affinity_name(enum task_affinity a); /* "any" "native-level" */
const char *task_state_name(enum task_state s);       /* "idle" "starting" "running" */
const char *task_result_name(enum task_result r);     /* NULL: it never ran; "done" "failed" "timed-out" "lost" */

struct task_definition {
    char name[TASK_NAME_MAX];
    char command[TASK_COMMAND_MAX];
    char arguments[TASK_ARGUMENTS_MAX]; /* each with its NUL */
    size_t arguments_len;
    char calendar[CALENDAR_TEXT_MAX]; /* "": only by hand */
    enum task_affinity affinity;
    int64_t timeout_ms;
};
/* 0, or ERR_USAGE naming what is wrong. */
int task_definition_check(const struct task_definition *d, struct error *e);
/* ERR_TOO_BIG: one more than may be. */
int task_definition_add(struct task_definition *d, const char *argument);

struct task { /* TABLE_TASK, key: its name */
    struct task_definition d;
    int64_t after_ms; /* UTC: what was due up to then is done */
    bool requested;   /* by hand, and not begun yet */
    bool blocked;     /* no member's native level is the functional level */
    enum task_state state;
    struct uuid run, claim;
    char node[TASK_NODE_MAX];
    char boot_id[UUID_STR_SIZE];
    int64_t started_ms; /* UTC. STARTING: asked for, by the leader's clock; RUNNING: claimed */
    /* Of the last run that ended. */
    enum task_result result;
    char last_node[TASK_NODE_MAX];
    int64_t last_started_ms, last_ended_ms;
    int32_t exit_code; /* -1: by a signal, or unknown */
    char output[TASK_OUTPUT_MAX];
    char passed_over[TASK_NODE_MAX]; /* did not claim the run that it was to make; "": none */
    uint64_t runs, failures;         /* that ended; of these not DONE */
};
int task_decode(struct slice value, struct task *ret);
int task_get(const struct tables *t, const char *name, struct task *ret); /* 0, ERR_NO_OBJECT */
/* In the order of their names: start with after = NULL; ret may be the one that holds after. */
bool task_next(const struct tables *t, const char *after, struct task *ret);
/* When it is due next by its calendar; ERR_NOT_FOUND: never. May lie in the past: it is due. */
int task_next_ms(const struct task *k, int64_t *ret_ms);
/* RUNNING: how long at most; where the clocks do not agree, all of its time-out. */
int64_t task_left_ms(const struct task *k, int64_t wall_ms);
bool task_is_due(const struct task *k, int64_t wall_ms);
bool task_is_late(const struct task *k, int64_t wall_ms); /* due by its calendar for TASK_LATE_MS */
/* A claimed run of some task is, or may be, on that node. ret (may be NULL): its row. */
bool task_is_on(const struct tables *t, const char *node, struct task *ret);
struct json *task_json(const struct task *k, int64_t wall_ms);

/* Payloads. */
void task_entry_set(const struct task_definition *d, struct buf *b); /* ENTRY_TASK_SET */
void task_entry_remove(const char *name, struct buf *b);             /* ENTRY_TASK_REMOVE */
struct task_start {                                                  /* ENTRY_TASK_START */
    char name[TASK_NAME_MAX];
    char node[TASK_NODE_MAX];
    char boot_id[UUID_STR_SIZE];
};
void task_entry_start(const struct task_start *s, struct buf *b);
struct task_end { /* ENTRY_TASK_END */
    char name[TASK_NAME_MAX];
    struct uuid run; /* compare */
    enum task_result result;
    bool by_leader; /* LOST: its node is over */
    int32_t exit_code;
    char output[TASK_OUTPUT_MAX];
};
void task_entry_end(const struct task_end *n, struct buf *b);
enum task_note_verb {
    TASK_NOTE_REQUEST = 1, /* an admin wants a run now */
    TASK_NOTE_CLAIM,       /* run: compare; claim */
    TASK_NOTE_WITHDRAWN,   /* run: compare */
    TASK_NOTE_BLOCKED,
    TASK_NOTE_UNBLOCKED,
    TASK_NOTE_DRAIN, /* run: compare. The drain of its node waits for it */
    TASK_NOTE_CLOCK, /* after_ms is far ahead of what the leader's clock says now */
};
struct task_note { /* ENTRY_TASK_NOTE */
    char name[TASK_NAME_MAX];
    enum task_note_verb verb;
    struct uuid run, claim;
};
void task_entry_note(const struct task_note *n, struct buf *b);

/* What applying needs to know from other rooms, from the tables alone. */
struct task_gate {
    void *ctx;
    /* May that node begin a run in that boot? 0, or ERR_AGAIN and why not. */
    int (*may_run)(void *ctx, const char *node, const char *boot_id, bool native_level, struct error *e);
    bool (*is_over)(void *ctx, const char *node, const char *boot_id); /* nothing of that boot runs any more */
};
/* Replicated: that node is fenced, and nothing runs there any more. */
void task_node_lost(struct tables *t, const char *node, int64_t time_ms);
/* Replicated: ENTRY_TASK_…. */
void task_apply(struct tables *t, const struct task_gate *gate, const struct entry *e, struct apply_result *ret);

/* ---- the leader (task-step.c) */

struct task_node {
    char name[TASK_NODE_MAX];
    char boot_id[UUID_STR_SIZE];
    uint8_t native_level;
    bool present, ready; /* its agent is; its facts are those of this replica */
    bool active;         /* takes work: not drained, evicted, quarantined */
    bool draining;
    bool stays; /* a member that may take work again as it is, whatever its state */
};
struct task_view {
    const struct task_node *nodes;
    size_t n;
    uint8_t fl;
    int64_t now_ms, wall_ms;
    bool (*is_over)(void *ctx, const char *node, const char *boot_id);
    void *ctx;
};
struct task_env {
    void *ctx;
    void (*propose)(void *ctx, enum entry_kind kind, struct buf *payload, const char *key);
    uint64_t (*call)(void *ctx, const struct task_call *call); /* the outcome's id */
    struct uuid (*new_uuid)(void *ctx);
    const struct log_sink *log;
};
enum { TASK_CLAIM_MS = 15000, TASK_CLOCK_MS = 86400 * 1000 };
struct task_leader; /* volatile: since when a run waits for its claim; begun anew by the next leader */
struct task_leader *task_leader_new(void);
void task_leader_free(struct task_leader *l);
void task_leader_step(struct task_leader *l, const struct tables *t, const struct task_view *v,
                      const struct task_env *env);

/* ---- every node (task-local.c) */

struct task_self {
    const char *node;
    const char *boot_id; /* "": not known yet */
    uint8_t level;       /* committed */
    bool may_start;      /* in a quorum, and in touch with it */
    bool quorate;
    bool fence;       /* cut off: whatever runs here is ended */
    int64_t until_ms; /* what is asked for now must not begin later; 0: no limit */
};
enum { TASK_BEGIN_MS = 10000, TASK_LOOK_MS = 1000, TASK_LOOK_LATER_MS = 5000, TASK_STOP_MS = 500 };
struct task_local;
struct task_local *task_local_new(void);
void task_local_free(struct task_local *l);
void task_local_step(struct task_local *l, const struct tables *t, const struct task_self *self, int64_t now_ms,
                     const struct task_env *env);
/* True: the id was one of this room's. */
bool task_local_outcome(struct task_local *l, int64_t now_ms, uint64_t id, const struct task_outcome *o,
                        const struct task_env *env);
/* While self->fence: no task's program runs here, and no call under way can begin one. */
bool task_local_is_clear(const struct task_local *l);
/* This node is a member no more: whatever runs here is ended. */
void task_local_evicted(struct task_local *l, const struct task_env *env);
