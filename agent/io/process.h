/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs a program and waits for it. Blocking: for worker threads. No shell anywhere: an absolute path and an array.
 * The program gets /dev/null as input, one pipe as output and error output, default signals, no other descriptor. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"

enum { PROCESS_OUTPUT_DEFAULT = 4096, PROCESS_KILL_MS = 2000 };

struct process_call {
    const char *const *argv; /* argv[0] is the absolute path; NULL at the end */
    const char *const *env;  /* "NAME=value", NULL at the end; NULL: PATH, LANG=C.UTF-8 and nothing else */
    int64_t timeout_ms;      /* then SIGTERM, and SIGKILL PROCESS_KILL_MS later; must be > 0 */
    size_t output_max;       /* the last so many bytes are kept; 0: PROCESS_OUTPUT_DEFAULT */
};

struct process_outcome {
    int exit_code; /* 0…255; -1: ended by signal */
    int signal;    /* 0, or what ended it */
    bool timed_out;
    bool truncated; /* more was printed than output holds */
    char *output;   /* the end of what it printed; terminated, never NULL; owned */
};
void process_outcome_done(struct process_outcome *o);

/* 0: it ran to an end, see *ret. ERR_IO: it could not be started. ERR_TIMEOUT: it had to be ended; *ret is filled too.
 * Only the program itself is signalled, never its children: they may be units and machines that outlive it. */
int process_run(const struct process_call *call, struct process_outcome *ret, struct error *e);

/* The same, for programs that must succeed: anything but exit code 0 is an error that quotes the end of the output.
 * ret_output may be NULL; else the caller frees it. */
int process_must(const char *const *argv, int64_t timeout_ms, char **ret_output, struct error *e);
