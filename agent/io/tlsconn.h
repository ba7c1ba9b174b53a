/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One TLS 1.3 connection that carries frames (agent/io/joinmsg.h), with a time limit on everything. Blocking, for one
 * thread at a time; it may pass from thread to thread. Raises no SIGPIPE. */
#pragma once

#include <openssl/ssl.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/hash.h"

enum {
    TLS_CONNECT_MS = 5000,
    TLS_HANDSHAKE_MS = 10000,
    TLS_IDLE_MS = 20000, /* without a single byte of progress, whatever the limit of the whole */
};

/* A context for one side: TLS 1.3 alone, no session tickets. NULL on failure. */
SSL_CTX *tls_context_new(const SSL_METHOD *method, struct error *e);
/* Gives the context a certificate, its key, and the CA as the rest of the chain. PEM. */
int tls_context_use(SSL_CTX *ctx, struct slice cert, struct slice key, struct slice ca, struct error *e);
/* Server: a client's certificate, if it shows one, must be of this CA. */
int tls_context_trust(SSL_CTX *ctx, struct slice ca, struct error *e);

struct tls_conn;

/* Server side. Takes fd, also on failure; ends waiting early when stop_fd becomes readable. */
int tls_conn_accept(SSL_CTX *ctx, int fd, int stop_fd, struct tls_conn **ret, struct error *e);
/* Client side. The server's chain must end in the CA whose certificate hashes to ca, and must contain it. */
int tls_conn_connect(SSL_CTX *ctx, const char *address, uint16_t port, const struct hash *ca, struct tls_conn **ret,
                     struct error *e);
/* Says goodbye, without waiting. NULL is accepted. */
void tls_conn_free(struct tls_conn *c);
/* Before freeing a connection whose peer may still be sending: closing over unread bytes resets it, and what was last
 * said to the peer is lost. Waits for its end, a short while. */
void tls_conn_linger(struct tls_conn *c);
/* Waiting no longer ends early: the one who started it may be gone. */
void tls_conn_detach(struct tls_conn *c);

/* Has the other side shown a certificate of the trusted CA? */
bool tls_conn_peer_certified(const struct tls_conn *c);

int tls_conn_send(struct tls_conn *c, struct slice frame, int64_t timeout_ms, struct error *e);
/* ERR_TOO_BIG: the frame is longer than max; nothing of it was read. */
int tls_conn_receive(struct tls_conn *c, size_t max, int64_t timeout_ms, struct buf *ret, struct error *e);
