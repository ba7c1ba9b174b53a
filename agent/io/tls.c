/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/io/tls.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/core.h"
#include "agent/io/files.h"
#include "agent/io/joinmsg.h"
#include "agent/io/paths.h"
#include "agent/io/tlsconn.h"

enum {
    BACKLOG = 64,
    RETRY_ACCEPT_MS = 100, /* while all places are taken, or descriptors are short */
};

/* Lives as long as the one who started it, or a client that still waits for its answer, holds it. */
struct tls_server {
    char prefix[FILES_PATH_MAX / 2];
    struct identity identity;
    struct buf ca;
    const struct tls_server_ops *ops;
    void *ops_ctx;
    SSL_CTX *tls;
    int listen_fd, stop_fd;
    uint16_t port;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t thread_ended;
    /* Under the lock: */
    unsigned n_threads; /* of clients, with their request not yet handed over */
    unsigned n_clients;
    unsigned n_references;
};

struct tls_client {
    struct tls_server *server;
    struct tls_conn *conn;
};

static void context_free(SSL_CTX **ctx)
{
    SSL_CTX_free(*ctx);
}

static void tls_conn_freep(struct tls_conn **c)
{
    tls_conn_free(*c);
}

/* ---- life of a server ---- */

static void server_free(struct tls_server *s)
{
    if (s->listen_fd >= 0)
        close(s->listen_fd);
    if (s->stop_fd >= 0)
        close(s->stop_fd);
    SSL_CTX_free(s->tls);
    buf_done(&s->ca);
    pthread_cond_destroy(&s->thread_ended);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static void server_unref(struct tls_server *s)
{
    pthread_mutex_lock(&s->lock);
    bool last = --s->n_references == 0;
    pthread_mutex_unlock(&s->lock);
    if (last)
        server_free(s);
}

/* ---- clients ---- */

static void client_free(struct tls_client *c)
{
    struct tls_server *s = c->server;
    tls_conn_free(c->conn);
    free(c);
    pthread_mutex_lock(&s->lock);
    s->n_clients--;
    pthread_mutex_unlock(&s->lock);
    server_unref(s);
}

static int client_send(struct tls_client *c, struct buf *message, struct error *e)
{
    int err = tls_conn_send(c->conn, buf_slice(message), TLS_REQUEST_MS, e);
    pki_wipe_buf(message);
    return err;
}

void tls_client_refuse(struct tls_client *c, const struct error *error)
{
    struct buf message = joinmsg_refusal(error);
    client_send(c, &message, NULL); /* who does not hear it runs into its time limit */
    client_free(c);
}

void tls_client_send_snapshot(struct tls_client *c, struct slice snapshot)
{
    struct buf ok = joinmsg_ok();
    if (snapshot.len > TLS_SNAPSHOT_MAX) {
        struct error e;
        error_set(&e, ERR_TOO_BIG, "the snapshot has %zu bytes, more than can be sent", snapshot.len);
        buf_done(&ok);
        tls_client_refuse(c, &e);
        return;
    }
    if (client_send(c, &ok, NULL) == 0)
        tls_conn_send(c->conn, snapshot, TLS_SNAPSHOT_MS, NULL);
    client_free(c);
}

/* Reads the request. ret_join is NULL for a fetch. */
static int client_request(struct tls_client *c, struct join_request **ret_join, struct error *e)
{
    AUTO(pki_wipe_buf) struct buf text = {0};
    int err = tls_conn_receive(c->conn, JOINMSG_REQUEST_MAX, TLS_REQUEST_MS, &text, e);
    if (err)
        return err;
    enum joinmsg_verb verb = 0;
    struct join_request join = {0};
    err = joinmsg_request_parse(buf_slice(&text), &verb, &join, e);
    if (err)
        return err;
    if (verb == JOINMSG_FETCH && !tls_conn_peer_certified(c->conn)) {
        error_set(e, ERR_PERMISSION, "only a member may fetch a snapshot: show a certificate of this cluster's CA");
        return ERR_PERMISSION;
    }
    *ret_join = verb == JOINMSG_JOIN ? xmemdup(&join, sizeof(join)) : NULL;
    return 0;
}

/* Takes the client through to the callee, or to its refusal. */
static void client_serve(struct tls_server *s, int fd)
{
    struct tls_client *c = xcalloc(1, sizeof(*c));
    c->server = s;
    struct error e = {0};
    if (tls_conn_accept(s->tls, fd, s->stop_fd, &c->conn, &e) < 0) {
        client_free(c);
        return;
    }
    struct join_request *join = NULL;
    if (client_request(c, &join, &e) < 0) {
        struct buf message = joinmsg_refusal(&e);
        client_send(c, &message, NULL);
        tls_conn_linger(c->conn); /* perhaps not all that it sent was read */
        client_free(c);
        return;
    }
    tls_conn_detach(c->conn);
    if (join)
        s->ops->join(s->ops_ctx, c, join);
    else
        s->ops->fetch(s->ops_ctx, c);
}

struct client_start {
    struct tls_server *server;
    int fd;
};

static void *client_main(void *arg)
{
    struct client_start start = *(struct client_start *)arg;
    struct tls_server *s = start.server;
    free(arg);
    client_serve(s, start.fd);
    pthread_mutex_lock(&s->lock);
    s->n_threads--;
    pthread_cond_signal(&s->thread_ended);
    pthread_mutex_unlock(&s->lock);
    server_unref(s);
    return NULL;
}

/* ---- accepting ---- */

static bool server_full(struct tls_server *s)
{
    pthread_mutex_lock(&s->lock);
    bool full = s->n_clients >= TLS_CLIENTS_MAX;
    pthread_mutex_unlock(&s->lock);
    return full;
}

/* One reference for the client, one for its thread. */
static void server_count(struct tls_server *s, int by)
{
    pthread_mutex_lock(&s->lock);
    s->n_clients += (unsigned)by;
    s->n_threads += (unsigned)by;
    s->n_references += 2u * (unsigned)by;
    pthread_mutex_unlock(&s->lock);
}

/* Takes fd. */
static void start_client(struct tls_server *s, int fd)
{
    struct client_start *start = xmalloc(sizeof(*start));
    *start = (struct client_start){s, fd};
    server_count(s, 1);
    pthread_attr_t attr;
    pthread_t thread;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attr, client_main, start) != 0) {
        server_count(s, -1);
        close(fd);
        free(start);
    }
    pthread_attr_destroy(&attr);
}

static void *server_main(void *arg)
{
    struct tls_server *s = arg;
    bool pause = false;
    for (;;) {
        pause = pause || server_full(s);
        struct pollfd p[2] = {{.fd = s->stop_fd, .events = POLLIN},
                              {.fd = pause ? -1 : s->listen_fd, .events = POLLIN}};
        poll(p, 2, pause ? RETRY_ACCEPT_MS : -1);
        if (p[0].revents)
            return NULL;
        pause = false;
        if (!p[1].revents)
            continue;
        int fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            start_client(s, fd);
        else
            pause = errno != EINTR && errno != EAGAIN && errno != ECONNABORTED;
    }
}

/* The server's threads take no signals: those are the loop's. */
static int start_thread(struct tls_server *s)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&s->thread, NULL, server_main, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err;
}

/* ---- starting and stopping ---- */

/* Certificate, key and CA of this node into a context of either side. */
static int load_credentials(const char *prefix, SSL_CTX *ctx, struct buf *ret_ca, struct error *e)
{
    AUTO(buf_done) struct buf cert = {0};
    AUTO(pki_wipe_buf) struct buf key = {0};
    AUTO(buf_done) struct buf ca = {0};
    int err = file_read(prefix, PATH_NODE_CERT, PKI_PEM_MAX, &cert, e);
    err = err ? err : file_read_secret(prefix, PATH_NODE_KEY, PKI_PEM_MAX, &key, e);
    err = err ? err : file_read(prefix, PATH_CA, PKI_PEM_MAX, &ca, e);
    err = err ? err : tls_context_use(ctx, buf_slice(&cert), buf_slice(&key), buf_slice(&ca), e);
    if (err)
        return err;
    *ret_ca = ca;
    ca = (struct buf){0};
    return 0;
}

static int bind_listener(struct tls_server *s, struct addrinfo *ai)
{
    int on = 1;
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    char service[NI_MAXSERV];
    s->listen_fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->listen_fd < 0 || setsockopt(s->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(s->listen_fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(s->listen_fd, BACKLOG) < 0 ||
        getsockname(s->listen_fd, (struct sockaddr *)&sa, &len) < 0)
        return -errno;
    if (getnameinfo((struct sockaddr *)&sa, len, NULL, 0, service, sizeof(service), NI_NUMERICSERV) != 0)
        return -EINVAL;
    s->port = (uint16_t)strtoul(service, NULL, 10);
    return 0;
}

static int server_listen(struct tls_server *s, uint16_t port, struct error *e)
{
    char service[8];
    snprintf(service, sizeof(service), "%u", port);
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    struct addrinfo *ai = NULL;
    if (getaddrinfo(s->identity.address, service, &hints, &ai) != 0)
        return error_set(e, ERR_FAILED, "cannot listen: \"%s\" is not a numeric address", s->identity.address);
    int err = bind_listener(s, ai);
    freeaddrinfo(ai);
    if (!err)
        return 0;
    error_set(e, ERR_IO, "cannot listen on %s, port %u: %s", s->identity.address, port, strerror(-err));
    if (err == -EADDRNOTAVAIL)
        error_set_remedy(e, "give an interface of this host the address %s", s->identity.address);
    return ERR_IO;
}

static int server_prepare(struct tls_server *s, uint16_t port, struct error *e)
{
    s->tls = tls_context_new(TLS_server_method(), e);
    if (!s->tls)
        return ERR_FAILED;
    int err = load_credentials(s->prefix, s->tls, &s->ca, e);
    err = err ? err : tls_context_trust(s->tls, buf_slice(&s->ca), e);
    err = err ? err : server_listen(s, port, e);
    if (err)
        return err;
    s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->stop_fd < 0 || start_thread(s) != 0)
        return error_set(e, ERR_FAILED, "cannot start the TLS server: %s", strerror(errno));
    return 0;
}

int tls_server_start_in(const char *prefix, const struct identity *id, uint16_t port, const struct tls_server_ops *ops,
                        void *ctx, struct tls_server **ret, struct error *e)
{
    struct tls_server *s = xcalloc(1, sizeof(*s));
    bool fits = STR_COPY(s->prefix, prefix);
    assert(fits);
    s->identity = *id;
    s->ops = ops;
    s->ops_ctx = ctx;
    s->listen_fd = s->stop_fd = -1;
    s->n_references = 1;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->thread_ended, NULL);
    int err = server_prepare(s, port, e);
    if (err) {
        server_free(s);
        return err;
    }
    *ret = s;
    return 0;
}

int tls_server_start(const struct identity *id, uint16_t port, const struct tls_server_ops *ops, void *ctx,
                     struct tls_server **ret, struct error *e)
{
    return tls_server_start_in("", id, port, ops, ctx, ret, e);
}

void tls_server_stop(struct tls_server *s)
{
    if (!s)
        return;
    eventfd_write(s->stop_fd, 1); /* never read: it stays readable for all that wait */
    pthread_join(s->thread, NULL);
    pthread_mutex_lock(&s->lock);
    while (s->n_threads > 0)
        pthread_cond_wait(&s->thread_ended, &s->lock);
    pthread_mutex_unlock(&s->lock);
    close(s->listen_fd);
    s->listen_fd = -1;
    server_unref(s);
}

uint16_t tls_server_port(const struct tls_server *s)
{
    return s->port;
}

/* ---- issuing ---- */

/* The certificate for a->join, in ret. */
static int issue_certificate(struct tls_server *s, const struct core_action *a, const struct cluster_key *key,
                             char **ret, struct error *e)
{
    AUTO(pki_wipe_buf) struct buf ca_key = {0};
    AUTO(buf_done) struct buf cert = {0};
    struct pki_subject subject = {a->join.node, a->join.address, a->join.replica};
    struct slice csr = {(const uint8_t *)a->join.csr, a->join.csr ? strlen(a->join.csr) : 0};
    int err = pki_unseal(key, SEAL_CA_KEY, buf_slice(&a->sealed_ca_key), &ca_key, e);
    err = err ? err : pki_issue(buf_slice(&s->ca), buf_slice(&ca_key), csr, &subject, &cert, e);
    if (!err)
        *ret = buf_steal_str(&cert);
    return err;
}

static int make_answer(struct tls_server *s, const struct core_action *a, struct buf *ret, struct error *e)
{
    AUTO(join_answer_done) struct join_answer answer = {.cluster = s->identity.cluster, .nodeid = a->nodeid};
    STR_COPY(answer.cluster_name, s->identity.cluster_name);
    answer.corosync_conf = xstrdup(a->text ? a->text : "");
    struct buf ca = {0};
    buf_add(&ca, s->ca.p, s->ca.len);
    answer.ca = buf_steal_str(&ca);
    int err = cluster_key_load(s->prefix, &answer.key, e);
    err = err ? err : file_read_secret(s->prefix, PATH_COROSYNC_AUTHKEY, AUTHKEY_MAX, &answer.authkey, e);
    err = err ? err : issue_certificate(s, a, &answer.key, &answer.certificate, e);
    if (!err)
        *ret = joinmsg_answer(&answer);
    return err;
}

void tls_client_issue(struct tls_client *c, const struct core_action *a, struct error *ret)
{
    struct error e = {0};
    struct buf answer = {0};
    if (make_answer(c->server, a, &answer, &e) < 0) {
        tls_client_refuse(c, &e);
    } else {
        client_send(c, &answer, &e);
        client_free(c);
    }
    *ret = e;
}

/* ---- the side that connects ---- */

int tls_ask_join(const struct hash *ca, const char *address, uint16_t port, struct slice request,
                 struct buf *ret_answer, struct error *e)
{
    AUTO(context_free) SSL_CTX *ctx = tls_context_new(TLS_client_method(), e);
    AUTO(tls_conn_freep) struct tls_conn *conn = NULL;
    if (!ctx)
        return ERR_FAILED;
    int err = tls_conn_connect(ctx, address, port, ca, &conn, e);
    err = err ? err : tls_conn_send(conn, request, TLS_REQUEST_MS, e);
    return err ? err : tls_conn_receive(conn, JOINMSG_ANSWER_MAX, TLS_ANSWER_MS, ret_answer, e);
}

static int exchange_fetch(struct tls_conn *conn, struct buf *ret, struct error *e)
{
    AUTO(buf_done) struct buf request = joinmsg_fetch();
    AUTO(buf_done) struct buf status = {0};
    int err = tls_conn_send(conn, buf_slice(&request), TLS_REQUEST_MS, e);
    err = err ? err : tls_conn_receive(conn, JOINMSG_ANSWER_MAX, TLS_ANSWER_MS, &status, e);
    err = err ? err : joinmsg_answer_status(buf_slice(&status), NULL, e);
    return err ? err : tls_conn_receive(conn, TLS_SNAPSHOT_MAX, TLS_SNAPSHOT_MS, ret, e);
}

int tls_fetch_snapshot_in(const char *prefix, const char *address, uint16_t port, struct buf *ret, struct error *e)
{
    AUTO(context_free) SSL_CTX *ctx = tls_context_new(TLS_client_method(), e);
    AUTO(tls_conn_freep) struct tls_conn *conn = NULL;
    AUTO(buf_done) struct buf ca = {0};
    struct hash ca_hash;
    if (!ctx)
        return ERR_FAILED;
    int err = load_credentials(prefix, ctx, &ca, e);
    err = err ? err : pki_cert_hash(buf_slice(&ca), &ca_hash, e);
    err = err ? err : tls_conn_connect(ctx, address, port, &ca_hash, &conn, e);
    return err ? err : exchange_fetch(conn, ret, e);
}

int tls_fetch_snapshot(const struct identity *id, const char *address, uint16_t port, struct buf *ret, struct error *e)
{
    (void)id; /* its certificate speaks for it */
    return tls_fetch_snapshot_in("", address, port, ret, e);
}
