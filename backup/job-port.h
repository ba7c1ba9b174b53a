/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Backup port: the worker's pipeline on this host, as values. The adapter (backup/io/runner.c) runs it in a unit of its
 * own, which outlives the agent; the simulator answers the same calls.
 *
 * A unit bears the VM's name, so that on one host a VM is never backed up twice at once, and is marked with the run: a
 * unit of another run is none of this one's. */
#pragma once

#include "common/buf.h"
#include "common/err.h"
#include "common/uuid.h"

enum {
    BACKUP_VM_MAX = 64,
    BACKUP_NODE_MAX = 64,
    REPOSITORY_NAME_MAX = 64,
    REPOSITORY_PATH_MAX = 256,
    REPOSITORY_SEALED_MAX = 128, /* its key, sealed */
    BACKUP_CHECKPOINT_MAX = 64,
    CHECKPOINT_XML_MAX = 64 * 1024,
    CHECKPOINTS_KEPT = 2, /* of one VM: each of them costs the guest's writes something */
    BACKUP_KEEP_MAX = 80, /* a rule of retention, as retention_parse() reads it */
    BACKUP_TEXT_MAX = 256,
    BACKUP_FOLDER_MAX = 256,   /* where a restore writes to */
    BACKUP_GONE_MAX = 256,     /* points that a run lets go; the others with the next one */
    BACKUP_POINTS_MAX = 16384, /* of a VM in a repository, that a worker tells of */
};
#define BACKUP_CHECKPOINT_PREFIX "ringmaster-" /* then the point's UUID */
#define REPOSITORY_SEAL   "repository/" /* then its name: what its key is sealed under, and in TABLE_SECRET */

enum backup_verb {
    BACKUP_CALL_START = 1, /* RUNNING, or ENDED already; of this run already there: success */
    BACKUP_CALL_LOOK,      /* what became of it */
    BACKUP_CALL_STOP,      /* the worker gives up, and tidies; then what became of it */
    BACKUP_CALL_STOP_ALL,  /* of all VMs, at once: success only when no process is left. vm "" */
    BACKUP_CALL_FORGET,    /* it ended, and everybody knows */
    BACKUP_CALL_SETTLE,    /* stale jobs and checkpoints go, the parent's is known to libvirt again */
    BACKUP_CALL_INIT,      /* makes a repository, or takes an empty one anew; vm "" */
};

enum backup_engine { BACKUP_AUTO = 0, BACKUP_FULL, BACKUP_RESCAN };
const char *backup_engine_name(enum backup_engine e); /* "auto" "full" "rescan", as in the worker's order */

enum backup_work { BACKUP_WORK_BACKUP = 0, BACKUP_WORK_RESTORE, BACKUP_WORK_VERIFY };
const char *backup_work_name(enum backup_work w);  /* "backup" "restore" "verify" */
const char *backup_work_noun(enum backup_work w);  /* "backup" "restore" "verification" */
const char *backup_work_doing(enum backup_work w); /* "backed up to" "restored from" "verified in" */

struct backup_call {
    enum backup_verb verb;
    char vm[BACKUP_VM_MAX];
    struct uuid run;
    /* START; INIT: the first two. The worker's order has them all, the key opened. */
    char repository[REPOSITORY_NAME_MAX];
    char path[REPOSITORY_PATH_MAX];
    uint8_t sealed_key[REPOSITORY_SEALED_MAX];
    size_t sealed_len;
    enum backup_work work;
    struct uuid point;              /* RESTORE: what is restored; VERIFY: what is verified, nil: all of the VM */
    char folder[BACKUP_FOLDER_MAX]; /* RESTORE: where its files are made */
    char as[BACKUP_VM_MAX];         /* RESTORE: the name that the machine gets */
    enum backup_engine engine;
    bool crash_consistent; /* the guest's file systems are not frozen */
    int64_t limit_bytes;   /* a second; 0: no limit */
    char retention[BACKUP_KEEP_MAX]; /* older points that go afterwards; "": all stay */
    int64_t until_ms;      /* must not begin later than this, monotonic. ERR_AGAIN then */
    /* START, SETTLE */
    struct uuid parent; /* nil: none */
    char *parent_order; /* JSON object: point, checkpoint_xml, disks; NULL: none. Owned */
    char keep[CHECKPOINTS_KEPT][BACKUP_CHECKPOINT_MAX]; /* checkpoints that stay; "": none */
};
void backup_call_done(struct backup_call *c);
struct backup_call *backup_call_copy(const struct backup_call *c);

enum backup_unit { BACKUP_UNIT_NONE = 0, BACKUP_UNIT_RUNNING, BACKUP_UNIT_ENDED };
enum backup_phase {
    BACKUP_PHASE_NONE = 0, /* it has not said yet, or what it said is lost */
    BACKUP_FREEZING,
    BACKUP_FORKED,
    BACKUP_EXPORTING,
    BACKUP_MERGING,
    BACKUP_RESTORING,
    BACKUP_VERIFYING,
    BACKUP_PUBLISHED, /* done; of a restore its files are there, of a verification all was right: then point is NULL */
    BACKUP_GAVE_UP,   /* failed */
    BACKUP_PRUNING,   /* done, while the worker goes on: as it is shown, no worker says so */
};
const char *backup_phase_name(enum backup_phase p); /* as the worker says it; NULL: none */
enum backup_phase backup_phase_parse(const char *s);

struct backup_outcome {
    struct error error; /* code 0: the rest is valid */
    enum backup_unit unit;
    enum backup_phase phase;
    int64_t done_bytes, total_bytes;
    int64_t pause_ms;      /* PUBLISHED: how long the guest stood */
    struct error failure;  /* GAVE_UP: the code is as clusterctl's, negative; ERR_MALFORMED: the repository's damage */
    char *point;           /* PUBLISHED: the inner object of backup/refpoint.h; owned */
    char checkpoint[BACKUP_CHECKPOINT_MAX]; /* PUBLISHED; "": none */
    char *checkpoint_xml;  /* PUBLISHED; NULL: none; owned */
    /* PUBLISHED, of a backup with a rule of retention, and of a verification of all: the points of the VM that the
     * repository has, without those that the run lets go; NULL: not known. Owned. */
    struct uuid *points;
    size_t n_points;
    char note[BACKUP_TEXT_MAX]; /* PUBLISHED: why older points did not go; "": they did */
    uint8_t sealed_key[REPOSITORY_SEALED_MAX]; /* INIT */
    size_t sealed_len;
};
void backup_outcome_done(struct backup_outcome *o);
