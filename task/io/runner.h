/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs a task's program (task/port.h) by systemd-run, in the unit ringmaster-task-NAME.service of the slice
 * ringmaster-task.slice: outside the agent's cgroup and sandbox, so that it outlives a restart of the agent. The unit
 * stays until it is forgotten, so that its end is found by a later agent too. systemd ends what takes too long.
 * Blocking.
 *
 * The program is called with its arguments as they are, never by a shell. In its environment: RINGMASTER_TASK,
 * RINGMASTER_RUN_ID, RINGMASTER_NODE, RINGMASTER_LEVEL. What it prints goes to the journal. */
#pragma once

#include "task/port.h"

/* ret is filled in any case. ret->error: ERR_PERMISSION, ERR_IO (the program is not safe to run, or not there),
 * ERR_AGAIN (too late; a process is left), ERR_TIMEOUT (systemd does not answer: it may have begun), ERR_FAILED. */
void runner_call(const struct task_call *call, struct task_outcome *ret);

/* How systemd-run is called for a START; the array and its strings are the caller's to free (runner_argv_free). */
char **runner_argv(const struct task_call *call);
void runner_argv_free(char **argv);
