/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs a hook (upgrade/port.h) by systemd-run, in a unit of its own: outside the agent's cgroup and sandbox, so that it
 * outlives a restart of the agent. Blocking.
 *
 * The hook is an array of arguments, HOOK VERB OP_ID, never a shell's line. In its environment: RINGMASTER_OP_ID,
 * RINGMASTER_NODE, RINGMASTER_ADDRESS, RINGMASTER_TARGET, and for start RINGMASTER_JOIN_FILE, the path of a 0600 file
 * that is there as long as start runs (in-place needs none).
 *
 * The unit is ringmaster-op-OP_ID-VERB.service, so on one node a call never runs twice at a time. One that is left from
 * an agent that died is ended first. systemd itself ends a hook that takes too long, whether the agent lives or not. */
#pragma once

#include <sys/types.h>

#include "upgrade/port.h"

/* ret is filled in any case. ret->error: ERR_PERMISSION (the hook's file is not safe to run), ERR_TIMEOUT,
 * ERR_CONDITION (an exit code that the contract does not know), ERR_MALFORMED (bad call, or the token does not unseal),
 * ERR_IO, ERR_FAILED (systemd did not run it). */
void executor_run(const struct hook_call *call, struct hook_outcome *ret);

/* Could this node run that executor? 0, or what executor_run() would say of its file. */
int executor_check(const char *path, struct error *e);

/* For tests: below a prefix, hooks of this owner, and as a plain child instead of a unit. */
struct executor_env {
    const char *prefix;
    uid_t owner; /* of hooks and their folders, beside root */
    bool direct;
    const char *in_place; /* the program of in-place; NULL: the installed one */
};
void executor_run_in(const struct executor_env *env, const struct hook_call *call, struct hook_outcome *ret);
