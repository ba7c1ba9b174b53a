/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The vocabulary of the replicated log: what an entry is, and every kind there is. An entry is applied by exactly one
 * module's *_apply(), on every node, in log order, to the same tables; apply functions read nothing local.
 * Payloads are wire-coded; each kind's layout stands at its encoder in the owning module's header.
 * A kind that a release does not know stops that node (it is never skipped); new kinds are written only when the
 * committed functional level allows (upgrade/level.h). */
#pragma once

#include "common/err.h"
#include "common/table.h"

enum entry_kind {
    ENTRY_NOOP = 1, /* a new leader's own-term entry */
    /* agent/db: the voting configuration; takes effect on append */
    ENTRY_REPLICA_ADD = 10,    /* uuid, u32 nodeid: a non-voter, weight 0 */
    ENTRY_REPLICA_WEIGHT = 11, /* uuid, u8 weight */
    ENTRY_REPLICA_REMOVE = 12, /* uuid: weight must be 0 */
    ENTRY_WITNESS_NAME = 13,   /* uuid (nil: none): the witness must weigh 0, and so does the new one */
    ENTRY_WITNESS_WEIGHT = 14, /* uuid, u8 weight */
    ENTRY_FORCE = 15,          /* db_encode_force(): one replica votes and nobody else; begins an epoch */
    /* agent/cluster */
    ENTRY_CLUSTER_INIT = 20,
    ENTRY_NODE_JOIN = 21,  /* a replica was admitted to a slot with a token */
    ENTRY_NODE_FACTS = 22, /* what a node's agent reports of its host */
    ENTRY_NODE_ADMIN = 23, /* drain, resume, evict */
    ENTRY_TOKEN_ADD = 24,
    ENTRY_SECRET_PUT = 25,
    ENTRY_SETTING_PUT = 26,
    ENTRY_LEVEL = 27,    /* fence, acknowledge, commit, clear */
    ENTRY_EVENT = 28,    /* a line in the cluster's journal that nothing else writes */
    ENTRY_NODE_SET = 29, /* settings of one node, all or none */
    ENTRY_SETTINGS_PUT = 32, /* settings of the cluster, all or none */
    /* witness */
    ENTRY_WITNESS_SET = 30,    /* where the wanted one is, and what it is opened with, sealed (witness/site.h) */
    ENTRY_WITNESS_FORGET = 31, /* one that is no longer wanted nor named */
    /* vm */
    ENTRY_VM_ADD = 40,
    ENTRY_VM_REMOVE = 41,
    ENTRY_VM_OP = 42,     /* start, stop, migrate: the intent */
    ENTRY_VM_REPORT = 43, /* what the node that acts found or did */
    ENTRY_VM_SET = 44,
    ENTRY_VM_CANCEL = 45, /* an admin no longer wants the move that is under way */
    ENTRY_VM_VERSION = 48,  /* another machine type, the old XML is kept */
    ENTRY_VM_ROLLBACK = 49, /* the machine type before it, until the first start */
    /* agent/guard */
    ENTRY_NODE_GUARD = 46, /* what a node promises to do when it has lost the quorum */
    ENTRY_NODE_FENCE = 47, /* a lost node: the wait begins, is given up, or is over */
    /* upgrade */
    ENTRY_RUN_START = 60,
    ENTRY_RUN_CONTROL = 61, /* pause, resume, retry, abort: by an admin */
    ENTRY_RUN_MOVE = 62,    /* run state, compare and set */
    ENTRY_STEP_MOVE = 63,   /* step state, compare and set */
    ENTRY_STEP_REPORT = 64, /* what a rebuild's executor says */
    /* task */
    ENTRY_TASK_SET = 70,
    ENTRY_TASK_REMOVE = 71,
    ENTRY_TASK_START = 72, /* a member is to run it */
    ENTRY_TASK_END = 73,   /* how the run ended */
    ENTRY_TASK_NOTE = 74,  /* asked for by hand, claimed by the member, blocked … (task/task.h) */
    /* backup */
    ENTRY_REPOSITORY_SET = 80, /* with its key, sealed */
    ENTRY_REPOSITORY_REMOVE = 81,
    ENTRY_BACKUP_START = 82, /* the node that runs the VM is to back it up */
    ENTRY_BACKUP_END = 83,   /* how the run ended; with its reference point */
    ENTRY_BACKUP_NOTE = 84,  /* claimed by the node, withdrawn, to be cancelled … (backup/job.h) */
    ENTRY_BACKUP_SCHEDULE = 85,
    ENTRY_POINT_DELETE = 86,
};

enum { ENTRY_SIZE_MAX = 256 * 1024 };

struct entry {
    uint64_t term, index;
    struct uuid request_id; /* nil for entries nobody waits for */
    uint16_t kind;          /* enum entry_kind */
    uint8_t level;          /* functional level in whose format it is written */
    int64_t time_ms;        /* wall clock of the proposer, UTC; the only clock an apply function may use */
    struct slice payload;
};

/* What applying an entry answered; the same on every node, kept under its request id. */
struct apply_result {
    struct error error; /* code 0: done */
};
