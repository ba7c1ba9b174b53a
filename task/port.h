/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Task port: a cluster task's program on this host, as values. The adapter (task/io/runner.c) runs it in a unit of its
 * own, which outlives the agent; the simulator answers the same calls.
 *
 * A unit bears the task's name, so that on one host a task never runs twice, and is marked with the run: a unit of
 * another run is none of this one's. */
#pragma once

#include "common/buf.h"
#include "common/err.h"
#include "common/uuid.h"

enum {
    TASK_NAME_MAX = 64,
    TASK_COMMAND_MAX = 256,
    TASK_ARGUMENTS_MAX = 2048, /* all of them, each with its NUL */
    TASK_ARGUMENTS_N_MAX = 32,
    TASK_OUTPUT_MAX = 256,
};

enum task_verb {
    TASK_CALL_START = 1, /* RUNNING, or ENDED already; of this run already there: success */
    TASK_CALL_LOOK,      /* what became of it */
    TASK_CALL_STOP,      /* end it; no such unit: success */
    TASK_CALL_STOP_ALL,  /* of all tasks, whatever is left of them: success only when no process is. name "" */
    TASK_CALL_FORGET,    /* it ended, and everybody knows */
};

struct task_call {
    enum task_verb verb;
    char name[TASK_NAME_MAX];
    struct uuid run;
    /* START: */
    char command[TASK_COMMAND_MAX]; /* absolute; root-owned and not writable by others, or refused */
    char arguments[TASK_ARGUMENTS_MAX];
    size_t arguments_len;
    char node[64];      /* RINGMASTER_NODE; RINGMASTER_TASK and RINGMASTER_RUN_ID are name and run */
    uint8_t level;      /* RINGMASTER_LEVEL: the functional level */
    bool native_level;  /* its affinity */
    int64_t timeout_ms; /* of the run */
    int64_t until_ms;   /* must not begin later than this, monotonic. ERR_AGAIN then */
};

enum task_unit { TASK_UNIT_NONE = 0, TASK_UNIT_RUNNING, TASK_UNIT_ENDED };

struct task_outcome {
    struct error error; /* code 0: the rest is valid */
    enum task_unit unit;
    bool timed_out;               /* ENDED */
    int exit_code;                /* ENDED; -1: by a signal */
    char output[TASK_OUTPUT_MAX]; /* ENDED: its last lines, as one */
};
