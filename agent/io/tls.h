/* SPDX-License-Identifier: GPL-2.0-or-later */
/* TLS between nodes, for what CPG cannot carry: a node that joins is no member yet, and a snapshot is too large.
 * TLS 1.3 alone. What is said is in agent/io/joinmsg.h.
 *
 *     accept ──> handshake ──> one request ──> ops->join, ops->fetch ──> … ──> an answer
 *     (a thread for each client, until the request is there)          (any worker thread)
 *
 * The server shows a chain that contains the cluster's CA, so that a joining node, which knows only the CA's hash, can
 * check it. A client certificate is optional: a join has none, its right is the token's secret, which the core compares
 * by hash. A fetch is refused without a certificate of the cluster's CA. At most TLS_CLIENTS_MAX clients at a time,
 * those that wait for their answer included; further ones wait in the backlog. Everything has a time limit. */
#pragma once

#include "agent/port.h"

struct core_action;
struct tls_client;
struct tls_server;

enum {
    TLS_CLIENTS_MAX = 16,
    TLS_REQUEST_MS = 15000, /* from the handshake to the whole request */
    TLS_ANSWER_MS = 120000, /* what a client waits: a join is committed, and the ring reloaded, before the answer */
    TLS_SNAPSHOT_MS = 600000,
    TLS_SNAPSHOT_MAX = 1 << 30,
};

/* Called on the server's own threads. Each client is consumed by exactly one of the three answers below. */
struct tls_server_ops {
    /* r is heap memory and now the callee's: join_request_done() and free(). */
    void (*join)(void *ctx, struct tls_client *c, struct join_request *r);
    void (*fetch)(void *ctx, struct tls_client *c);
};

/* Listens on the identity's address and the given port (0: the kernel chooses, see tls_server_port). ops and ctx are
 * borrowed until tls_server_stop() has returned; id is copied. */
int tls_server_start(const struct identity *id, uint16_t port, const struct tls_server_ops *ops, void *ctx,
                     struct tls_server **ret, struct error *e);
/* No callback comes after it has returned; clients that were handed over are still to be answered. NULL is accepted. */
void tls_server_stop(struct tls_server *s);
uint16_t tls_server_port(const struct tls_server *s);

/* Answers. Blocking; each consumes the client, whether it gets through or not. */
void tls_client_refuse(struct tls_client *c, const struct error *error);
void tls_client_send_snapshot(struct tls_client *c, struct slice snapshot);
/* a: ACT_ISSUE. Unseals the CA's key, signs a->join.csr and hands over all that a member has. ret->code is 0 once it
 * went out. What fails before that is also told to the client. */
void tls_client_issue(struct tls_client *c, const struct core_action *a, struct error *ret);

/* Gets a snapshot from a member. */
int tls_fetch_snapshot(const struct identity *id, const char *address, uint16_t port, struct buf *ret, struct error *e);

/* Sends a join request (joinmsg_request) to one member, after checking that its CA has that hash. ret_answer is the raw
 * answer: a secret, the caller wipes it. */
int tls_ask_join(const struct hash *ca, const char *address, uint16_t port, struct slice request,
                 struct buf *ret_answer, struct error *e);

/* The same below a prefix (agent/io/paths.h), for tests. */
int tls_server_start_in(const char *prefix, const struct identity *id, uint16_t port, const struct tls_server_ops *ops,
                        void *ctx, struct tls_server **ret, struct error *e);
int tls_fetch_snapshot_in(const char *prefix, const char *address, uint16_t port, struct buf *ret, struct error *e);
