/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The local socket: a libqb IPC server (shared memory) that speaks common/proto.h. It knows who is there, the core what
 * they may do:
 *     socket ── its user is looked up in a worker (agent/io/access.h) ──> handshake ──> caps ──> shared memory
 *         ── request ──> access, from the cache or looked up again ── ipc_ops.request ──> the core
 *         ── ipc_reply ──> first chunk; the client pulls the others
 * Who may do nothing (ACCESS_NONE) gets EACCES and no memory to share. What breaks the protocol is disconnected; JSON
 * that is malformed gets an answer. Requests lie in memory that the client can write to: they are copied before being
 * looked at.
 *
 * A known limit: libqb believes the headers of its rings, which the client can write to as well. A hostile member of
 * ringmaster-admin or ringmaster-read can so end the agent; systemd starts it again, and nobody else gets a ring. The
 * other type of libqb, QB_IPC_SOCKET, is no way out (2.0.6 of bookworm and 2.0.8 of trixie, lib/ipc_socket.c):
 *   - the request socket is an abstract datagram socket without permissions, its name stands in /proc/net/unix, and it
 *     is connected to its client only with the first answer: until then any local user's datagram counts as a request
 *     of that client, so uid 65534 can have a request carried out as root's;
 *   - recv takes as many bytes as the request's own header says, not as many as there is room for: with
 *     net.core.wmem_max at its default (212992, doubled by the kernel) a datagram is up to 32 KiB longer than the
 *     buffer of PROTO_MESSAGE_MAX, and overwrites the heap; this too can anybody, member of a group or not;
 *   - the first answer waits, in the agent's loop, up to a second for a client that did not bind its socket.
 * What would do is a stream socket of our own in place of libqb's connections. */
#pragma once

#include <qb/qbloop.h>
#include <sys/types.h>

#include "agent/core.h"
#include "agent/io/worker.h"

enum {
    IPC_ROOT_MAX = 512,        /* connections of root */
    IPC_UID_MAX = 64,          /* of any other user */
    IPC_OTHERS_MAX = 192,      /* of all other users: each has 1.2 MB of shared memory */
    IPC_VISITORS_MAX = 64,     /* sockets that have said nothing yet: of root, and of all others */
    IPC_VISITORS_UID_MAX = 16, /* of any other user */
    IPC_VISIT_MS = 5000,       /* who is silent for that long makes room for the next */
};

struct ipc_ops {
    uint64_t (*new_client)(void *ctx); /* an id never used before, not 0 */
    /* request is borrowed; it has the shape of a JSON object, no more is known of it. */
    void (*request)(void *ctx, uint64_t client, const struct json *request, enum core_access access, uid_t uid);
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
