/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/io/tlsconn.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "agent/io/pki.h"

enum {
    HEADER_SIZE = 4,
    AT_ONCE_MAX = 4 << 20, /* a longer frame's buffer grows with what comes, not by what the peer says will come */
    CHUNK_SIZE = 64 * 1024,
    LINGER_MS = 2000,
};

struct tls_conn {
    SSL *ssl;
    BIO_METHOD *method;
    int fd, stop_fd;
    char peer[80];          /* for texts */
    const struct hash *pin; /* client, during the handshake */
    struct error verify;    /* client: why the server was not believed */
};

/* ---- sockets ---- */

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* 0: fd is ready (or broken: the next call says how). */
static int wait_ready(int fd, short events, int stop_fd, int64_t until_ms)
{
    for (;;) {
        int64_t left = until_ms - now_ms();
        if (left <= 0)
            return ERR_TIMEOUT;
        struct pollfd p[2] = {{.fd = fd, .events = events}, {.fd = stop_fd, .events = POLLIN}};
        int n = poll(p, 2, left > 60000 ? 60000 : (int)left);
        if (n < 0 && errno != EINTR)
            return ERR_IO;
        if (n > 0)
            return p[1].revents ? ERR_AGAIN : 0;
    }
}

/* OpenSSL's own socket BIO writes with write(2), which raises SIGPIPE: this one sends with MSG_NOSIGNAL. */
static int bio_fd(BIO *bio)
{
    return (int)(intptr_t)BIO_get_data(bio);
}

static int bio_write(BIO *bio, const char *p, int n)
{
    BIO_clear_retry_flags(bio);
    ssize_t k = send(bio_fd(bio), p, (size_t)n, MSG_NOSIGNAL);
    if (k < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_write(bio);
    return (int)k;
}

static int bio_read(BIO *bio, char *p, int n)
{
    BIO_clear_retry_flags(bio);
    ssize_t k = recv(bio_fd(bio), p, (size_t)n, 0);
    if (k < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_read(bio);
    return (int)k;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    (void)bio, (void)num, (void)ptr;
    return cmd == BIO_CTRL_FLUSH;
}

static BIO *bio_over_socket(struct tls_conn *c)
{
    /* Type number 0: BIO_get_new_index() has 127 numbers in a process's life, and nobody asks for ours. */
    c->method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "socket without SIGPIPE");
    if (!c->method || BIO_meth_set_write(c->method, bio_write) != 1 || BIO_meth_set_read(c->method, bio_read) != 1 ||
        BIO_meth_set_ctrl(c->method, bio_ctrl) != 1)
        return NULL;
    BIO *bio = BIO_new(c->method);
    if (bio) {
        BIO_set_data(bio, (void *)(intptr_t)c->fd);
        BIO_set_init(bio, 1);
    }
    return bio;
}

/* ---- contexts ---- */

static const char *ssl_reason(void)
{
    unsigned long number = ERR_peek_last_error();
    const char *reason = number ? ERR_reason_error_string(number) : NULL;
    ERR_clear_error();
    return reason ? reason : "no reason given";
}

SSL_CTX *tls_context_new(const SSL_METHOD *method, struct error *e)
{
    SSL_CTX *ctx = SSL_CTX_new(method);
    if (ctx && SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1 && SSL_CTX_set_num_tickets(ctx, 0) == 1) {
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        return ctx;
    }
    SSL_CTX_free(ctx);
    error_set(e, ERR_FAILED, "cannot set up TLS: %s", ssl_reason());
    return NULL;
}

static X509 *cert_of(struct slice pem)
{
    BIO *bio = pem.p && pem.len <= PKI_PEM_MAX ? BIO_new_mem_buf(pem.p, (int)pem.len) : NULL;
    X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    return cert;
}

static EVP_PKEY *key_of(struct slice pem)
{
    BIO *bio = pem.p && pem.len <= PKI_PEM_MAX ? BIO_new_mem_buf(pem.p, (int)pem.len) : NULL;
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    return key;
}

int tls_context_use(SSL_CTX *ctx, struct slice cert_pem, struct slice key_pem, struct slice ca_pem, struct error *e)
{
    X509 *cert = cert_of(cert_pem), *ca = cert_of(ca_pem);
    EVP_PKEY *key = key_of(key_pem);
    bool ok = cert && ca && key && SSL_CTX_use_certificate(ctx, cert) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1 &&
              SSL_CTX_add1_chain_cert(ctx, ca) == 1;
    X509_free(cert);
    X509_free(ca);
    EVP_PKEY_free(key);
    return ok ? 0 : error_set(e, ERR_MALFORMED, "this node's certificate and key do not serve: %s", ssl_reason());
}

int tls_context_trust(SSL_CTX *ctx, struct slice ca_pem, struct error *e)
{
    X509 *ca = cert_of(ca_pem);
    bool ok = ca && X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), ca) == 1 && SSL_CTX_add_client_CA(ctx, ca) == 1;
    X509_free(ca);
    if (!ok)
        return error_set(e, ERR_MALFORMED, "the cluster's CA certificate does not serve: %s", ssl_reason());
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    return 0;
}

/* ---- the server's chain, as a client sees it ---- */

static X509 *find_pinned(STACK_OF(X509) * chain, const struct hash *pin)
{
    for (int i = 0; i < sk_X509_num(chain); i++) {
        struct hash h;
        unsigned len = 0;
        X509 *cert = sk_X509_value(chain, i);
        if (X509_digest(cert, EVP_sha256(), h.b, &len) == 1 && len == HASH_SIZE && hash_eq(&h, pin))
            return cert;
    }
    return NULL;
}

/* Trusts exactly one certificate: the one of that hash, if the server sent it. Names are not compared: whoever holds a
 * certificate of this CA is a member, and every member may hand over what is asked for here. */
static int verify_pinned(X509_STORE_CTX *store, void *unused)
{
    (void)unused;
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_conn *c = SSL_get_app_data(ssl);
    X509 *ca = find_pinned(X509_STORE_CTX_get0_untrusted(store), c->pin);
    if (!ca) {
        X509_STORE_CTX_set_error(store, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN);
        error_set(&c->verify, ERR_CONDITION, "%s belongs to another cluster: its CA is not the one expected here (%s)",
                  c->peer, hash_str(c->pin).s);
        return 0;
    }
    STACK_OF(X509) *trusted = sk_X509_new_null();
    if (!trusted || sk_X509_push(trusted, ca) <= 0)
        abort();
    X509_STORE_CTX_set0_trusted_stack(store, trusted);
    int ok = X509_verify_cert(store);
    if (ok != 1)
        error_set(&c->verify, ERR_CONDITION, "the certificate of %s is not valid: %s (are both clocks right?)", c->peer,
                  X509_verify_cert_error_string(X509_STORE_CTX_get_error(store)));
    /* The chain that was built holds references of its own. */
    X509_STORE_CTX_set0_trusted_stack(store, NULL);
    sk_X509_free(trusted);
    return ok == 1;
}

/* ---- connections ---- */

/* Takes fd, also on failure. */
static struct tls_conn *conn_new(SSL_CTX *ctx, int fd, int stop_fd, const char *peer)
{
    struct tls_conn *c = xcalloc(1, sizeof(*c));
    c->fd = fd;
    c->stop_fd = stop_fd;
    STR_COPY(c->peer, peer);
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    c->ssl = SSL_new(ctx);
    BIO *bio = c->ssl ? bio_over_socket(c) : NULL;
    if (!bio) {
        tls_conn_free(c);
        return NULL;
    }
    SSL_set_bio(c->ssl, bio, bio);
    SSL_set_app_data(c->ssl, c);
    return c;
}

void tls_conn_free(struct tls_conn *c)
{
    if (!c)
        return;
    if (c->ssl && SSL_is_init_finished(c->ssl))
        SSL_shutdown(c->ssl); /* one record, if the socket takes it at once */
    SSL_free(c->ssl);
    ERR_clear_error();
    BIO_meth_free(c->method);
    close(c->fd);
    free(c);
}

void tls_conn_linger(struct tls_conn *c)
{
    char waste[4096];
    int64_t until = now_ms() + LINGER_MS;
    SSL_shutdown(c->ssl);
    shutdown(c->fd, SHUT_WR);
    while (wait_ready(c->fd, POLLIN, c->stop_fd, until) == 0) {
        ssize_t n = recv(c->fd, waste, sizeof(waste), 0);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return;
    }
}

void tls_conn_detach(struct tls_conn *c)
{
    c->stop_fd = -1;
}

bool tls_conn_peer_certified(const struct tls_conn *c)
{
    return SSL_get0_peer_certificate(c->ssl) && SSL_get_verify_result(c->ssl) == X509_V_OK;
}

static int wait_error(struct tls_conn *c, int err, struct error *e)
{
    if (!err)
        return 0;
    if (err == ERR_TIMEOUT)
        return error_set(e, err, "%s did not answer in time", c->peer);
    if (err == ERR_AGAIN)
        return error_set(e, err, "the agent stops");
    return error_set(e, ERR_IO, "%s: %s", c->peer, strerror(errno));
}

/* After an SSL call that returned ret <= 0: waits until it is to be repeated (0), or says why not. */
static int conn_wait(struct tls_conn *c, int ret, int64_t until_ms, struct error *e)
{
    int saved_errno = errno;
    switch (SSL_get_error(c->ssl, ret)) {
    case SSL_ERROR_WANT_READ: return wait_error(c, wait_ready(c->fd, POLLIN, c->stop_fd, until_ms), e);
    case SSL_ERROR_WANT_WRITE: return wait_error(c, wait_ready(c->fd, POLLOUT, c->stop_fd, until_ms), e);
    case SSL_ERROR_ZERO_RETURN: return error_set(e, ERR_IO, "%s closed the connection too early", c->peer);
    case SSL_ERROR_SYSCALL:
        ERR_clear_error();
        return error_set(e, ERR_IO, "the connection to %s broke: %s", c->peer,
                         saved_errno ? strerror(saved_errno) : "closed by the other side");
    default:
        if (c->verify.code) {
            ERR_clear_error();
            if (e)
                *e = c->verify;
            return c->verify.code;
        }
        return error_set(e, ERR_IO, "TLS with %s failed: %s", c->peer, ssl_reason());
    }
}

static int handshake(struct tls_conn *c, struct error *e)
{
    int64_t until = now_ms() + TLS_HANDSHAKE_MS;
    for (;;) {
        ERR_clear_error();
        errno = 0;
        int n = SSL_do_handshake(c->ssl);
        int err = n == 1 ? 0 : conn_wait(c, n, until, e);
        if (n == 1 || err)
            return err;
    }
}

static void name_peer(int fd, char *dst, size_t size)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    char host[INET6_ADDRSTRLEN + 20] = "unknown";
    if (getpeername(fd, (struct sockaddr *)&sa, &len) == 0)
        getnameinfo((struct sockaddr *)&sa, len, host, sizeof(host), NULL, 0, NI_NUMERICHOST);
    str_copy(dst, size, host);
}

int tls_conn_accept(SSL_CTX *ctx, int fd, int stop_fd, struct tls_conn **ret, struct error *e)
{
    char peer[80];
    name_peer(fd, peer, sizeof(peer));
    struct tls_conn *c = conn_new(ctx, fd, stop_fd, peer);
    if (!c)
        return error_set(e, ERR_FAILED, "cannot set up TLS with %s: %s", peer, ssl_reason());
    SSL_set_accept_state(c->ssl);
    int err = handshake(c, e);
    if (err) {
        tls_conn_free(c);
        return err;
    }
    *ret = c;
    return 0;
}

/* Waits for the connection itself. */
static int finish_connect(int fd, const char *peer, struct error *e)
{
    int err = wait_ready(fd, POLLOUT, -1, now_ms() + TLS_CONNECT_MS);
    if (err)
        return error_set(e, err, "cannot connect to %s: %s", peer, err == ERR_TIMEOUT ? "no answer" : strerror(errno));
    int code = 0;
    socklen_t len = sizeof(code);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &len) < 0)
        code = errno;
    return code ? error_set(e, ERR_IO, "cannot connect to %s: %s", peer, strerror(code)) : 0;
}

/* ret_fd: a connected socket, not blocking. */
static int connect_to(const char *address, uint16_t port, const char *peer, int *ret_fd, struct error *e)
{
    char service[8];
    snprintf(service, sizeof(service), "%u", port);
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *ai = NULL;
    if (getaddrinfo(address, service, &hints, &ai) != 0)
        return error_set(e, ERR_USAGE, "\"%s\" is not a numeric address", address);
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), err = 0;
    if (fd < 0 || (connect(fd, ai->ai_addr, ai->ai_addrlen) < 0 && errno != EINPROGRESS))
        err = error_set(e, ERR_IO, "cannot connect to %s: %s", peer, strerror(errno));
    freeaddrinfo(ai);
    if (!err)
        err = finish_connect(fd, peer, e);
    if (err) {
        if (fd >= 0)
            close(fd);
        return err;
    }
    *ret_fd = fd;
    return 0;
}

int tls_conn_connect(SSL_CTX *ctx, const char *address, uint16_t port, const struct hash *ca, struct tls_conn **ret,
                     struct error *e)
{
    char peer[80];
    snprintf(peer, sizeof(peer), strchr(address, ':') ? "[%s]:%u" : "%s:%u", address, port);
    int fd = -1, err = connect_to(address, port, peer, &fd, e);
    if (err)
        return err;
    struct tls_conn *c = conn_new(ctx, fd, -1, peer);
    if (!c)
        return error_set(e, ERR_FAILED, "cannot set up TLS with %s: %s", peer, ssl_reason());
    c->pin = ca;
    SSL_CTX_set_cert_verify_callback(ctx, verify_pinned, NULL);
    SSL_set_verify(c->ssl, SSL_VERIFY_PEER, NULL);
    SSL_set_connect_state(c->ssl);
    err = handshake(c, e);
    c->pin = NULL;
    if (err) {
        tls_conn_free(c);
        return err;
    }
    *ret = c;
    return 0;
}

/* ---- frames ---- */

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int send_all(struct tls_conn *c, struct slice s, int64_t until_ms, struct error *e)
{
    while (s.len > 0) {
        ERR_clear_error();
        errno = 0;
        int n = SSL_write(c->ssl, s.p, (int)(s.len < CHUNK_SIZE ? s.len : CHUNK_SIZE));
        if (n > 0) {
            s.p += n;
            s.len -= (size_t)n;
            continue;
        }
        int err = conn_wait(c, n, sooner(until_ms, now_ms() + TLS_IDLE_MS), e);
        if (err)
            return err;
    }
    return 0;
}

/* until_ms bounds the whole, TLS_IDLE_MS (when set) each wait. */
static int receive_some(struct tls_conn *c, uint8_t *p, size_t max, int64_t until_ms, size_t *ret, struct error *e)
{
    for (;;) {
        ERR_clear_error();
        errno = 0;
        int n = SSL_read(c->ssl, p, (int)(max < CHUNK_SIZE ? max : CHUNK_SIZE));
        if (n > 0) {
            *ret = (size_t)n;
            return 0;
        }
        int err = conn_wait(c, n, until_ms, e);
        if (err)
            return err;
    }
}

int tls_conn_send(struct tls_conn *c, struct slice frame, int64_t timeout_ms, struct error *e)
{
    assert(frame.len <= UINT32_MAX);
    int64_t until = now_ms() + timeout_ms;
    uint32_t header = htonl((uint32_t)frame.len);
    int err = send_all(c, (struct slice){(const uint8_t *)&header, sizeof(header)}, until, e);
    return err ? err : send_all(c, frame, until, e);
}

static int receive_header(struct tls_conn *c, int64_t until_ms, uint32_t *ret, struct error *e)
{
    uint8_t header[HEADER_SIZE];
    for (size_t have = 0, n = 0; have < sizeof(header); have += n) {
        int err = receive_some(c, header + have, sizeof(header) - have, until_ms, &n, e);
        if (err)
            return err;
    }
    uint32_t len;
    memcpy(&len, header, sizeof(len));
    *ret = ntohl(len);
    return 0;
}

/* Small frames may hold secrets: their buffer never moves, so no copy of it stays behind. */
static int receive_body(struct tls_conn *c, size_t len, int64_t until_ms, struct buf *b, struct error *e)
{
    if (len <= AT_ONCE_MAX)
        *b = (struct buf){.p = xmalloc(len + 1), .cap = len + 1};
    uint8_t chunk[16 * 1024];
    int err = 0;
    while (!err && b->len < len) {
        size_t left = len - b->len, n = 0;
        err = receive_some(c, chunk, left < sizeof(chunk) ? left : sizeof(chunk),
                           sooner(until_ms, now_ms() + TLS_IDLE_MS), &n, e);
        if (!err)
            buf_add(b, chunk, n);
    }
    pki_wipe(chunk, sizeof(chunk));
    return err;
}

int tls_conn_receive(struct tls_conn *c, size_t max, int64_t timeout_ms, struct buf *ret, struct error *e)
{
    int64_t until = now_ms() + timeout_ms;
    uint32_t len = 0;
    int err = receive_header(c, until, &len, e);
    if (err)
        return err;
    if (len > max)
        return error_set(e, ERR_TOO_BIG, "%s sends a message of %u bytes, more than the %zu allowed", c->peer, len,
                         max);
    struct buf b = {0};
    err = receive_body(c, len, until, &b, e);
    if (err) {
        pki_wipe_buf(&b);
        return err;
    }
    *ret = b;
    return 0;
}
