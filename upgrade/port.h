/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Executor port: what replaces a node's operating system (design 4). A program is called with a verb and an operation
 * id; the operation's state belongs to the target and is keyed by the id, so that a call may be repeated, also by
 * another node, and its effect still happens once. The adapter (upgrade/io/executor.c) runs it outside the agent's
 * cgroup.
 *
 *   kind      upgrade.executor   called on        the node
 *   command   an absolute path   the leader       is evicted before, is re-imaged, joins as a new replica
 *   in-place  "in-place"         the node itself  keeps its replica, reboots into the release of its new packages
 *
 *   verb     0                         75                 1
 *   start    accepted, or known        as 0               refused: the same id again (in-place: it failed)
 *   poll     done                      it runs: again     it failed: another operation may begin
 *   cancel   without effect, for ever  again              too late: it goes on, and is polled as before
 *
 * Any other exit code, a signal or a time-out says nothing of the operation: the call is made again.
 *
 * cancel is called as soon as the run was given up (aborted, or rolled back) while the node is being rebuilt, in place
 * of start and poll, until it was answered by 0 or 1. It is not called any more when the node has joined again or poll
 * has said done. What "too late" is, the executor knows: a re-image, once the disk is written; in-place, once the first
 * package is replaced. A program that cannot take anything back answers 1. */
#pragma once

#include "common/buf.h"
#include "common/err.h"

enum hook_verb {
    HOOK_START = 1, HOOK_POLL, HOOK_CANCEL,
    HOOK_OFF, /* a fence command: done once the node's power is off for sure; running: ask again */
};
const char *hook_verb_name(enum hook_verb v); /* "start" … NULL: none */
enum hook_state { HOOK_DONE = 0, HOOK_RUNNING = 75, HOOK_FAILED = 1 }; /* exit codes of poll */

#define EXECUTOR_IN_PLACE "in-place" /* the setting's value, and the path of the program that comes with the agent */

enum { HOOK_OP_ID_MAX = 64, HOOK_PATH_MAX = 256, HOOK_OUTPUT_MAX = 1024 };

struct hook_call {
    enum hook_verb verb;
    char path[HOOK_PATH_MAX];      /* absolute; root-owned and not writable by others, or refused. Or in-place */
    char op_id[HOOK_OP_ID_MAX];    /* [a-z0-9-]: RINGMASTER_OP_ID */
    char node[64];                 /* RINGMASTER_NODE */
    char address[64];              /* RINGMASTER_ADDRESS */
    char target[64];               /* os-release VERSION_CODENAME: RINGMASTER_TARGET */
    struct buf sealed_token;       /* START: join token file, sealed under the cluster key; unsealed by the adapter into
                                      a 0600 file for RINGMASTER_JOIN_FILE; owned */
    int64_t timeout_ms;            /* of this one call */
};
void hook_call_done(struct hook_call *c);

struct hook_outcome {
    struct error error;              /* code 0: state is valid; else the hook could not be run or broke its contract */
    enum hook_state state;           /* START: HOOK_DONE means accepted; CANCEL: HOOK_FAILED means too late */
    char output[HOOK_OUTPUT_MAX];    /* the end of what it printed */
};
