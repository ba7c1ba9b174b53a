/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The CPG group of the cluster's agents (libcpg), driven by the loop. Connecting and joining may block in corosync and
 * run in a worker; messages and views are taken and sent on the loop.
 *
 *     OFF ──timer──> CONNECTING (worker: initialize, join) ──> UP ──lost──> OFF, after view({})
 *      ^                     └── failed: again in CPG_RETRY_MS ──┘
 *
 * CPG delivers messages of at most cpg_max_atomic_msgsize_get() bytes as one; what is longer goes in pieces
 * (agent/io/pieces.h). What came of a sender that left the view is dropped. The core tolerates lost messages. */
#pragma once

#include <qb/qbloop.h>

#include "agent/io/worker.h"
#include "common/log.h"
#include "common/uuid.h"
#include "vm/port.h"

enum {
    CPG_MESSAGE_MAX = 1 << 20,      /* what cpg_send takes: the core's message_max */
    CPG_QUEUE_BYTES_MAX = 16 << 20, /* waiting for corosync; what comes on top is dropped */
    CPG_RETRY_MS = 500,             /* between attempts to reach corosync */
    CPG_FLOW_MS = 5,                /* after CS_ERR_TRY_AGAIN */
};

struct cpg_ops {
    /* corosync formed another ring: told in order with views and messages, before any that was sent on it. seq 0:
     * corosync was lost. */
    void (*ring)(void *ctx, uint32_t nodeid, uint64_t seq);
    /* The group's members, each node once, own one included; n == 0: corosync was lost. */
    void (*view)(void *ctx, const uint32_t *nodeids, size_t n);
    /* A whole message; own ones too. bytes is borrowed. */
    void (*message)(void *ctx, uint32_t from_nodeid, struct slice bytes);
};

struct cpg;

/* loop, pool (one thread of its own: a frozen corosync holds it) and log are borrowed. Tries for ever. */
struct cpg *cpg_new(qb_loop_t *loop, struct worker_pool *pool, const struct uuid *cluster, const struct cpg_ops *ops,
                    void *ctx, const struct log_sink *log);

/* Takes the bytes over. Queued while corosync has no room; dropped when there is no group. */
void cpg_send(struct cpg *c, struct buf *bytes);

/* Leaves the group, in the worker (worker_pool_drain says when it is done). Nothing is delivered afterwards. Not to be
 * called from a callback. */
void cpg_leave_group(struct cpg *c);
void cpg_free(struct cpg *c); /* after cpg_leave_group and worker_pool_free: no job of it may be under way */
