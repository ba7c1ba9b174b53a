/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Performs the core's actions through the adapters and hands their outcomes back as events. Everything in here runs on
 * the loop, but the jobs' run functions.
 *
 *     event ──> core_step ──> actions ──┬─> at once: SEND, REPLY, STOP
 *       ^                               ├─> store worker, in order: PERSIST
 *       │                               └─> a pool, see the table in exec.c: all that may block
 *       └────── outcome (inbox) <────────────┘
 *
 * An event is never made while another one is being handled: what an adapter finds out in the middle of an action goes
 * through the inbox. When the first identity appears (the outcome of FOUND or JOIN), the core sees it first, then
 * store, TLS server, CPG and quorum are started with it, then the core's actions follow. */
#pragma once

#include "agent/core.h"
#include "agent/io/config.h"
#include "agent/io/store.h"
#include "agent/loop.h"

enum {
    EXIT_AGAIN = 1,      /* systemd starts the agent again */
    EXIT_PERMANENT = 78, /* it does not (RestartPreventExitStatus=): starting again would change nothing */
};

struct exec_params {
    struct loop *loop;
    const struct config *config;
    const struct log_sink *log;
    const char *db_path;
    const char *version;
};

struct exec;

/* Starts what needs no identity: pools, the connection to libvirt. What params points to is borrowed. */
struct exec *exec_new(const struct exec_params *params);

/* Opens the local socket and, if the core has an identity, starts what needs one; store was opened with it, and is
 * taken over (NULL without identity). core is borrowed. Then performs what the core wants first. */
int exec_start(struct exec *x, struct core *core, struct store *store, struct error *e);

void exec_tick(void *exec);

/* What core_new() must know of this host's watchdog, and of the agent that was here before in this boot. */
bool exec_has_watchdog(const struct exec *x);
struct guard_note exec_note(const struct exec *x);

/* The core ends the loop when it may. */
void exec_ask_to_stop(void *exec);

/* A clean end: nobody is served any more, the group is left, the store is flushed. The process must end after it:
 * threads may still be in calls that block (libvirt goes on with what it was asked). Touches no VM. */
void exec_stop(struct exec *x);
