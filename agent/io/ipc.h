/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The local socket: a libqb IPC server (shared memory) that speaks common/proto.h. It knows who is there, the core what
 * they may do:
 *     accept (peer credentials, caps) ── request ──> access of (uid, gid), from the cache or looked up in a worker
 *         ── ipc_ops.request ──> the core ── ipc_reply ──> first chunk; the client pulls the others
 * root and group ringmaster-admin are ACCESS_ADMIN, ringmaster-read ACCESS_READ, all others ACCESS_NONE; supplementary
 * groups count. What breaks the protocol is disconnected; JSON that is malformed gets an answer.
 * Requests lie in memory that the client can write to: they are copied before they are looked at. */
#pragma once

#include <qb/qbloop.h>
#include <sys/types.h>

#include "agent/core.h"
#include "agent/io/worker.h"

enum {
    IPC_ROOT_MAX = 512,        /* connections of root */
    IPC_UID_MAX = 64,          /* of any other user */
    IPC_OTHERS_MAX = 192,      /* of all other users: each has 1.2 MB of shared memory */
    IPC_ACCESS_TTL_MS = 10000, /* a user's groups are looked up again after that */
};

struct ipc_ops {
    uint64_t (*new_client)(void *ctx); /* an id never used before, not 0 */
    /* request is borrowed; it has the shape of a JSON object, no more is known of it. */
    void (*request)(void *ctx, uint64_t client, const struct json *request, enum core_access access);
    void (*gone)(void *ctx, uint64_t client);
    void *ctx;
};

struct ipc;

/* loop must be the process's first qb_loop (libqb's handlers are told no other). name: PROTO_IPC_NAME. */
int ipc_start(const char *name, qb_loop_t *loop, struct worker_pool *pool, const struct ipc_ops *ops,
              const struct log_sink *log, struct ipc **ret, struct error *e);

/* Answers the request under way; takes json. A client that is gone, or that waits for nothing, is passed over. */
void ipc_reply(struct ipc *ipc, uint64_t client, struct json *answer);

/* Disconnects all; nothing is delivered afterwards. NULL is accepted. */
void ipc_free(struct ipc *ipc);

/* Blocking: what the groups of a user allow. Group names are parameters for tests. */
enum core_access ipc_access_look_up(uid_t uid, gid_t gid, const char *admin_group, const char *read_group);
