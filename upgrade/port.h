/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Executor port: what replaces a node's operating system (design 4). A hook program is called with a verb and an
 * operation id, from whichever node leads; the operation's state belongs to the target and is keyed by the id, so that
 * a call may be repeated by another node and its effect still happens once. The adapter (upgrade/io/executor.c) runs it
 * outside the agent's cgroup. */
#pragma once

#include "common/buf.h"
#include "common/err.h"

enum hook_verb { HOOK_START = 1, HOOK_POLL, HOOK_CANCEL };
enum hook_state { HOOK_DONE = 0, HOOK_RUNNING = 75, HOOK_FAILED = 1 }; /* exit codes of poll */

enum { HOOK_OP_ID_MAX = 64, HOOK_PATH_MAX = 256, HOOK_OUTPUT_MAX = 1024 };

struct hook_call {
    enum hook_verb verb;
    char path[HOOK_PATH_MAX];      /* absolute; root-owned and not writable by others, or refused */
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
    enum hook_state state;           /* START: HOOK_DONE means accepted */
    char output[HOOK_OUTPUT_MAX];    /* the end of what it printed */
};
