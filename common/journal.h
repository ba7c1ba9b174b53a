/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Jobs and events: what happens in the cluster, as replicated rows that every module's apply functions write. An admin
 * reads them by `clusterctl job …` and `clusterctl events`. Only apply functions call the writers. */
#pragma once

#include "common/entry.h"
#include "common/json.h"

enum { JOB_KEPT = 500, EVENT_KEPT = 1000, JOURNAL_TEXT_MAX = 256, JOURNAL_OBJECT_MAX = 64 };

enum job_kind {
    JOB_VM_START = 1,
    JOB_VM_STOP,
    JOB_VM_MIGRATE,
    JOB_DRAIN,
    JOB_RESUME,
    JOB_EVICT,
    JOB_UPGRADE,
    JOB_LEVEL_RAISE,
    JOB_BACKUP,
    JOB_RESTORE,
    JOB_VERIFY,
};
enum job_state { JOB_RUNNING = 1, JOB_DONE, JOB_FAILED, JOB_CANCELLED };

struct job {
    struct uuid id; /* the request id of the entry that began it */
    enum job_kind kind;
    enum job_state state;
    char object[JOURNAL_OBJECT_MAX]; /* VM, node or run */
    char node[JOURNAL_OBJECT_MAX];   /* where it acts; may be empty */
    char detail[JOURNAL_TEXT_MAX];   /* e.g. "n1 -> n2" */
    int64_t started_ms, ended_ms;    /* UTC; ended 0: runs */
    int32_t code;                    /* of a failure: ERR_… */
    char error[JOURNAL_TEXT_MAX];
};

enum event_severity { EVENT_INFO = 1, EVENT_WARNING = 2, EVENT_ERROR = 3 };

struct cluster_event {
    uint64_t seq;
    int64_t time_ms;
    enum event_severity severity;
    char object[JOURNAL_OBJECT_MAX]; /* node, VM, run; may be empty */
    char text[JOURNAL_TEXT_MAX];
};

const char *job_kind_name(enum job_kind k);   /* "vm-start", "vm-migrate", "node-drain", "upgrade" … */
const char *job_state_name(enum job_state s); /* "running", "done", "failed", "cancelled" */
const char *event_severity_name(enum event_severity s);

/* Writers. The oldest ended jobs and the oldest events go when there are more than kept. A nil id writes nothing. */
void journal_job_begin(struct tables *t, const struct job *j);
void journal_job_end(struct tables *t, const struct uuid *id, enum job_state state, int64_t time_ms, int code,
                     const char *error);
void journal_event(struct tables *t, int64_t time_ms, enum event_severity severity, const char *object, const char *fmt,
                   ...) __attribute__((format(printf, 5, 6)));

/* Readers. 0 or ERR_NOT_FOUND. */
int journal_job_get(const struct tables *t, const struct uuid *id, struct job *ret);
int job_decode(struct slice value, struct job *ret);
int cluster_event_decode(struct slice value, struct cluster_event *ret);
struct json *job_json(const struct job *j);
struct json *cluster_event_json(const struct cluster_event *e);
