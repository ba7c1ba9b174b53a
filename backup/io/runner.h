/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs the backup's worker (backup/job-port.h) by systemd-run, in the unit ringmaster-backup-VM.service of the slice
 * ringmaster-backup.slice: outside the agent's cgroup and sandbox, so that it outlives a restart of the agent. What it
 * is to do stands in VM.spec below BACKUP_RUN_DIR, with the repository's key, mode 0600; what it did, in VM.status,
 * which it replaces as a whole. The unit stays until it is forgotten. Blocking.
 *
 * A status counts only with the run it names. */
#pragma once

#include "backup/job-port.h"

#define BACKUP_RUN_DIR "/run/ringmaster/backup"

/* ret is filled in any case; backup_outcome_done(). ret->error: ERR_AGAIN (too late; a process is left), ERR_TIMEOUT
 * (systemd does not answer: it may have begun), ERR_FAILED, ERR_IO; of SETTLE and INIT what the worker says. */
void backup_runner_call(const struct backup_call *call, struct backup_outcome *ret);

/* For tests: how systemd-run is called (the array and its strings are the caller's: backup_runner_argv_free), what the
 * worker is told, and what is made of its status. key: opened; NULL: none, for SETTLE. */
char **backup_runner_argv(const struct backup_call *c);
void backup_runner_argv_free(char **argv);
char *backup_runner_spec(const struct backup_call *c, const struct buf *key);
int backup_runner_status(struct slice text, const struct uuid *run, struct backup_outcome *ret, struct error *e);
