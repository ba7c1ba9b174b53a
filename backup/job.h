/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Backups of virtual machines as objects of the cluster (pure): repositories, reference points, and at most one run a
 * VM, which backs it up, restores a point of it, or verifies what is in the repository.
 *
 *              START (an admin; leader: it is due, and may)       CLAIM (the node that runs the VM)
 *      IDLE ────────────────────────────────────────────> STARTING ──────────────────────> RUNNING
 *       ^  ^                                                 │                                │
 *       │  └──────────── WITHDRAWN (leader: not claimed) ────┘                                │
 *       └────────────── END (that node: how its worker ended; leader: lost) ──────────────────┘
 *
 * A worker is begun only by the agent whose own claim was committed, once, at once, and never after a restart of that
 * agent: what is not found then was lost. So a run happens at most once, and one of a VM at most at a time. A claimed
 * run whose node went away is over only when that node was fenced, booted anew or was evicted.
 *
 * A backup runs where the VM runs, while the VM neither starts nor stops nor moves. An operation on the VM is not
 * claimed before its run has ended (struct vm_nodes, is_held); the leader cancels a run that is in the way
 * (backup_settings). A restore or a verification runs on the node that was asked for, writes at most files that were
 * not there, and so holds up nothing but the drain of that node; there need not be such a VM any more. What the row
 * says of the last run is of the last backup; beside it is how the last verification ended.
 *
 * END of a backup that is done brings its reference point: the worker says so only when the point is published, so a
 * point in the table is one that was in the repository. Where there is a rule of retention, it takes those points out
 * of the table that the worker did not find there any more, or was about to delete: so what a run deleted whose end
 * nobody heard goes with the next one. The newest points of a VM keep the XML of their checkpoint, so that libvirt
 * learns it again wherever the VM starts or arrives.
 *
 * Invariants: node, boot and run are set exactly while it is not IDLE; claim exactly while it is RUNNING. */
#pragma once

#include "backup/job-port.h"
#include "backup/refpoint.h"
#include "backup/retention.h"
#include "common/calendar.h"
#include "common/entry.h"
#include "common/log.h"

enum { REPOSITORIES_MAX = 16, BACKUP_LIMIT_MAX_MIB = 100000 };

/* ---- repositories (job-point.c) */

struct repository_row { /* TABLE_REPOSITORY, key: its name. Its key: TABLE_SECRET, repository_secret() */
    char name[REPOSITORY_NAME_MAX];
    char path[REPOSITORY_PATH_MAX]; /* the same on every node */
    int64_t created_ms;
};
int repository_check(const struct repository_row *r, struct error *e); /* 0 or ERR_USAGE */
int repository_decode(struct slice value, struct repository_row *ret);
int repository_get(const struct tables *t, const char *name, struct repository_row *ret); /* 0, ERR_NO_OBJECT */
/* In the order of their names: start with after = NULL; ret may be the one that holds after. */
bool repository_next(const struct tables *t, const char *after, struct repository_row *ret);
/* Where its key is kept in TABLE_SECRET, and what it is sealed under. */
void repository_secret(const char *name, char ret[TABLE_KEY_MAX]);
struct json *repository_row_json(const struct tables *t, const struct repository_row *r);

/* ---- reference points (job-point.c) */

struct point_row { /* TABLE_POINT, key: VM '/' UUID */
    struct refpoint ref;
    char repository[REPOSITORY_NAME_MAX];
    char checkpoint[BACKUP_CHECKPOINT_MAX]; /* "": none, or none any more */
    int64_t started_ms, ended_ms;         /* of its run, UTC */
    int64_t pause_ms;
    struct slice checkpoint_xml; /* borrowed of the row; empty: none */
};
int point_decode(struct slice value, struct point_row *ret);
int point_get(const struct tables *t, const char *vm, const struct uuid *uuid, struct point_row *ret);
/* Of all VMs, or of one (vm NULL: all), by VM: start with an empty key, which holds the place. */
bool point_next(const struct tables *t, const char *vm, char key[TABLE_KEY_MAX], struct point_row *ret);
struct uuid point_newest(const struct tables *t, const char *vm); /* of whichever repository; nil: none */
void point_key(const char *vm, const struct uuid *uuid, char ret[TABLE_KEY_MAX]);
struct json *point_row_json(const struct point_row *p);
/* What a run is told: the newest point of that repository, and which checkpoints stay. repository NULL: of any that has
 * a checkpoint. */
void point_order(const struct tables *t, const char *vm, const char *repository, struct backup_call *c);

/* ---- backups (job.c) */

enum backup_state { BACKUP_IDLE = 0, BACKUP_STARTING = 1, BACKUP_RUNNING = 2 };
enum backup_result { BACKUP_NEVER = 0, BACKUP_DONE, BACKUP_FAILED, BACKUP_CANCELLED, BACKUP_LOST };
const char *backup_state_name(enum backup_state s);   /* "idle" "starting" "running" */
const char *backup_result_name(enum backup_result r); /* NULL: it never ran; "done" "failed" "cancelled" "lost" */
int backup_engine_parse(const char *s, enum backup_engine *ret);

struct backup_request {
    enum backup_work work;
    char repository[REPOSITORY_NAME_MAX];
    struct uuid point; /* of a restore; or of a verification, nil: all points there. Nil otherwise */
    /* A restore; "" otherwise. */
    char folder[BACKUP_FOLDER_MAX];
    char as[BACKUP_VM_MAX]; /* the name that the machine gets */
    /* A backup. */
    enum backup_engine engine;
    bool crash_consistent;
    int64_t limit_bytes; /* a second; 0: no limit */
    char keep[BACKUP_KEEP_MAX]; /* what stays of the VM's points there (backup/retention.h); "": all of them */
};

struct backup { /* TABLE_BACKUP, key: the VM's name */
    char vm[BACKUP_VM_MAX];
    enum backup_state state;
    struct backup_request q; /* of the run, or of the last one */
    bool by_schedule;        /* it was asked for by its schedule */
    bool cancel;             /* it is to be given up */
    struct uuid run, claim;
    char node[BACKUP_NODE_MAX];
    char boot_id[UUID_STR_SIZE];
    int64_t started_ms; /* UTC. STARTING: asked for; RUNNING: claimed */
    /* Of the last run that ended. */
    enum backup_result result;
    char last_node[BACKUP_NODE_MAX];
    int64_t last_started_ms, last_ended_ms;
    int32_t code; /* ERR_… */
    char text[BACKUP_TEXT_MAX];
    int64_t done_ms;    /* end of the last one that was DONE; 0: none */
    /* Of the last verification that came to a verdict: DONE, or FAILED because something is damaged. */
    int64_t verified_ms; /* its end; 0: none */
    bool is_damaged;
    char verified_in[REPOSITORY_NAME_MAX];
    char damage[BACKUP_TEXT_MAX];
    struct uuid newest; /* its newest reference point; nil: none */
    uint64_t runs, failures;
    /* Schedule. */
    char calendar[CALENDAR_TEXT_MAX]; /* "": none */
    struct backup_request scheduled;
    int64_t after_ms; /* UTC: what was due up to then is done */
};
int backup_decode(struct slice value, struct backup *ret);
int backup_get(const struct tables *t, const char *vm, struct backup *ret); /* 0, ERR_NO_OBJECT */
bool backup_next(const struct tables *t, const char *after, struct backup *ret);
/* A claimed run is, or may be, on that node. ret (may be NULL): its row. */
bool backup_is_on(const struct tables *t, const char *node, struct backup *ret);
/* A run of that VM is, or may be, under way in that boot of a node: no operation on the VM may be. */
bool backup_holds(const struct tables *t, const char *vm, const char *boot_id);
/* When it is due next by its schedule; ERR_NOT_FOUND: never. May lie in the past: it is due. */
int backup_next_ms(const struct backup *b, int64_t *ret_ms);
bool backup_is_due(const struct backup *b, int64_t wall_ms);
bool backup_is_overdue(const struct backup *b, int64_t wall_ms); /* due for BACKUP_LATE_MS */
struct json *backup_json(const struct backup *b, int64_t wall_ms);

/* Payloads. */
void backup_entry_repository(const struct repository_row *r, struct slice sealed_key, struct buf *b);
void backup_entry_repository_remove(const char *name, struct buf *b);
struct backup_start { /* ENTRY_BACKUP_START; the run's id is the entry's request id, which must not be nil */
    char vm[BACKUP_VM_MAX];
    struct backup_request q;
    bool by_schedule;
    char node[BACKUP_NODE_MAX]; /* "" for a backup: where the VM runs */
};
void backup_entry_start(const struct backup_start *s, struct buf *b);
struct backup_end { /* ENTRY_BACKUP_END */
    char vm[BACKUP_VM_MAX];
    struct uuid run; /* compare */
    enum backup_result result;
    bool by_leader; /* LOST: its node is over */
    int32_t code;
    char text[BACKUP_TEXT_MAX];
    /* DONE */
    int64_t pause_ms;
    char checkpoint[BACKUP_CHECKPOINT_MAX];
    char *point, *checkpoint_xml; /* owned; NULL: none */
    struct uuid *gone; /* points of the table that the repository has no more, or lets go now; owned */
    size_t n_gone;     /* BACKUP_GONE_MAX at most: the others with the next one */
};
void backup_end_done(struct backup_end *n);
void backup_entry_end(const struct backup_end *n, struct buf *b);
enum backup_note_verb {
    BACKUP_NOTE_CLAIM = 1, /* run: compare; claim */
    BACKUP_NOTE_WITHDRAWN, /* run: compare */
    BACKUP_NOTE_CANCEL,    /* run: compare; nil: whichever */
    BACKUP_NOTE_WAITS,     /* run: compare. A drain, or an operation on its VM, waits for it */
    BACKUP_NOTE_CLOCK,     /* after_ms is far ahead of what the leader's clock says now */
    BACKUP_NOTE_CRASHED,   /* what a worker left behind was tidied up */
};
struct backup_note { /* ENTRY_BACKUP_NOTE */
    char vm[BACKUP_VM_MAX];
    enum backup_note_verb verb;
    struct uuid run, claim;
};
void backup_entry_note(const struct backup_note *n, struct buf *b);
struct backup_schedule { /* ENTRY_BACKUP_SCHEDULE */
    char vm[BACKUP_VM_MAX];
    char calendar[CALENDAR_TEXT_MAX]; /* "": no more */
    struct backup_request q;
};
void backup_entry_schedule(const struct backup_schedule *s, struct buf *b);
void backup_entry_point_delete(const char *vm, const struct uuid *point, struct buf *b); /* ENTRY_POINT_DELETE */

/* What the room needs to know of a VM and of the node that runs it. */
struct backup_vm {
    bool runs;   /* on node, as was reported last */
    bool busy;   /* it is started, stopped or moved, or is to be */
    bool urgent; /* … and that must not wait: a start, a stop at once, an upgrade's canary */
    bool accepts, draining; /* the node takes work; is being drained */
    bool present;           /* the node's agent; not for an apply function */
    uint64_t epoch;         /* changes with every start and move */
    char node[BACKUP_NODE_MAX];
    char boot_id[UUID_STR_SIZE]; /* of that node */
};
/* Who knows. False: there is no such VM, or node. */
struct backup_eye {
    void *ctx;
    bool (*vm)(void *ctx, const char *vm, struct backup_vm *ret);
    bool (*node)(void *ctx, const char *node, struct backup_vm *ret); /* what is true of a node alone */
};
/* Where a run of that VM is to be, and whether it may begin there now. 0; ERR_NO_OBJECT, ERR_AGAIN, ERR_CONDITION: why
 * not. node: of what is no backup. */
int backup_may_run(const struct backup_eye *eye, enum backup_work work, const char *vm, const char *node,
                   struct backup_vm *ret, struct error *e);

/* From the tables alone. */
struct backup_gate {
    struct backup_eye eye;
    void *tables; /* for is_over */
    bool (*is_over)(void *tables, const char *node, const char *boot_id); /* nothing of that boot runs any more */
};
/* Replicated: that node is fenced, and nothing runs there any more. */
void backup_node_lost(struct tables *t, const char *node, int64_t time_ms);
/* Replicated: the VM was removed, while no run held it. Its points stay, so that it can be restored; a restore goes on.
 */
void backup_vm_removed(struct tables *t, const char *vm);
/* Replicated: ENTRY_REPOSITORY_…, ENTRY_BACKUP_…, ENTRY_POINT_…. */
void backup_apply(struct tables *t, const struct backup_gate *gate, const struct entry *e, struct apply_result *ret);

/* ---- the leader (job-step.c) */

enum { BACKUP_WAIT_MINUTES = 10, BACKUP_RUNS_PER_NODE = 2 }; /* by default */
enum { BACKUP_LATE_MS = 15 * 60000 };
struct backup_settings { /* the settings backup.* */
    bool waits;            /* a run is waited for, however long it takes */
    int64_t wait_ms;       /* else so long, then it is cancelled */
    uint32_t runs_per_node; /* that schedules begin */
};
struct backup_view {
    int64_t now_ms, wall_ms;
    struct backup_settings settings;
    struct backup_eye eye;
    bool (*is_over)(void *tables, const char *node, const char *boot_id);
    void *tables;
};
struct backup_env {
    void *ctx;
    void (*propose)(void *ctx, enum entry_kind kind, struct buf *payload, const char *key);
    uint64_t (*call)(void *ctx, struct backup_call *call); /* takes its contents; the outcome's id */
    struct uuid (*new_uuid)(void *ctx);
    const struct log_sink *log;
};
enum { BACKUP_CLAIM_MS = 30000, BACKUP_CLOCK_MS = 86400 * 1000 };
struct backup_leader; /* volatile: since when a run waits for its claim, or somebody for it */
struct backup_leader *backup_leader_new(void);
void backup_leader_free(struct backup_leader *l);
void backup_leader_step(struct backup_leader *l, const struct tables *t, const struct backup_view *v,
                        const struct backup_env *env);

/* ---- every node (job-local.c) */

struct backup_self {
    const char *node;
    const char *boot_id; /* "": not known yet */
    bool may_start;      /* in a quorum, and in touch with it */
    bool quorate;
    bool is_current;  /* the tables hold all that the leader has committed */
    bool fence;       /* cut off: whatever runs here is ended */
    int64_t until_ms; /* what is asked for now must not begin later; 0: no limit */
    struct backup_eye eye;
};
enum { BACKUP_BEGIN_MS = 10000, BACKUP_LOOK_MS = 1000, BACKUP_STOP_MS = 500, BACKUP_SETTLE_MAX_MS = 300000 };
struct backup_local;
struct backup_local *backup_local_new(void);
void backup_local_free(struct backup_local *l);
void backup_local_step(struct backup_local *l, const struct tables *t, const struct backup_self *self, int64_t now_ms,
                       const struct backup_env *env);
/* True: the id was one of this room's. */
bool backup_local_outcome(struct backup_local *l, int64_t now_ms, uint64_t id, const struct backup_outcome *o,
                          const struct backup_env *env);
/* While self->fence: no worker runs here, and no call under way can begin one. */
bool backup_local_is_clear(const struct backup_local *l);
/* This node is a member no more: whatever runs here is ended. */
void backup_local_evicted(struct backup_local *l, const struct backup_env *env);
/* How a run that is on this node goes; false: it is not, or nothing is known yet. */
struct backup_progress {
    enum backup_phase phase;
    int64_t done_bytes, total_bytes;
};
bool backup_local_progress(const struct backup_local *l, const char *vm, const struct uuid *run,
                           struct backup_progress *ret);
