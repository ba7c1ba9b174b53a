/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/io/ipc.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <qb/qbipcs.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include "agent/io/access.h"
#include "common/proto.h"

enum { REFUSED_LOG_MS = 10000, IPC_BACKLOG = 128 };

struct ipc_client {
    struct ipc_client *next;
    struct ipc *ipc;
    qb_ipcs_connection_t *conn;
    uint64_t id;
    uid_t uid;
    gid_t gid;
    bool busy;    /* a request is under way */
    bool told;    /* the core knows the id */
    bool closing; /* is to be disconnected */
    bool closed;
    struct json *request; /* waits for the access to be known */
    char *answer;         /* what is being pulled */
    size_t total;
};

/* A socket that has not said yet what it wants. It is libqb's: it gets it when the door opens, and closes it. */
struct visitor {
    struct visitor *next;
    int32_t fd;
    uid_t uid;
    gid_t gid;
    int64_t since_ms; /* monotonic */
    bool is_in;       /* libqb waits for its words */
    enum qb_loop_priority priority;
    int32_t events;
    void *data;
    qb_ipcs_dispatch_fn_t fn;
};

struct ipc {
    qb_ipcs_service_t *service;
    qb_loop_t *loop;
    struct worker_pool *pool;
    struct ipc_ops ops;
    const struct log_sink *log;
    struct ipc_client *clients;
    struct visitor *visitors;
    struct access_cache *access;
    qb_ipcs_dispatch_fn_t accept; /* libqb's, of the socket that listens */
    int64_t refused_ms; /* when a refusal was logged last */
    unsigned n_refused; /* since then */
    bool closing;       /* a job for it is queued */
    bool stopping;
};

/* libqb tells its poll handlers neither the service nor the loop: they find it here. One process has one. */
static struct ipc *the_server;

/* ---- disconnecting: never from within libqb's dispatch of that very connection, which goes on to use it */

static struct ipc_client *next_closing(struct ipc *ipc)
{
    for (struct ipc_client *cl = ipc->clients; cl; cl = cl->next)
        if (cl->closing && !cl->closed)
            return cl;
    return NULL;
}

static void close_clients(void *data)
{
    struct ipc *ipc = data;
    ipc->closing = false;
    for (struct ipc_client *cl; (cl = next_closing(ipc)) != NULL;) {
        cl->closing = false;
        qb_ipcs_disconnect(cl->conn); /* may free cl */
    }
}

static void close_later(struct ipc_client *cl)
{
    struct ipc *ipc = cl->ipc;
    cl->closing = true;
    if (!ipc->closing && qb_loop_job_add(ipc->loop, QB_LOOP_HIGH, ipc, close_clients) != 0)
        abort(); /* out of memory */
    ipc->closing = true;
}

/* ---- the door: before libqb hears a visitor, it is known who that is and what they may do */

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Whoever is refused may come again at once, for ever: the log shall not be what they fill. */
static void log_refused(struct ipc *ipc, uid_t uid, const char *why)
{
    int64_t now = now_ms();
    ipc->n_refused++;
    if (ipc->refused_ms && now - ipc->refused_ms < REFUSED_LOG_MS)
        return;
    log_warn(ipc->log, "ipc: uid %u: %s -> refused (%u since this was last said)", uid, why, ipc->n_refused);
    ipc->refused_ms = now;
    ipc->n_refused = 0;
}

static void open_door(struct ipc *ipc, struct visitor *v)
{
    v->is_in = true;
    if (qb_loop_poll_add(ipc->loop, v->priority, v->fd, v->events, v->data, v->fn) != 0)
        abort(); /* out of memory */
}

static void let_in(struct ipc *ipc, uid_t uid, gid_t gid)
{
    for (struct visitor *v = ipc->visitors; v; v = v->next)
        if (!v->is_in && v->uid == uid && v->gid == gid)
            open_door(ipc, v);
}

/* Who came, and says nothing, goes: libqb sees the end of it and closes it. */
static void show_out(struct ipc *ipc)
{
    int64_t now = now_ms();
    for (const struct visitor *v = ipc->visitors; v; v = v->next)
        if (now - v->since_ms >= IPC_VISIT_MS)
            shutdown(v->fd, SHUT_RDWR);
}

static bool has_room(const struct ipc *ipc, uid_t uid)
{
    size_t same = 0, others = 0;
    for (const struct visitor *v = ipc->visitors; v; v = v->next) {
        same += v->uid == uid;
        others += v->uid != 0;
    }
    return uid == 0 ? same < IPC_VISITORS_MAX : same < IPC_VISITORS_UID_MAX && others < IPC_VISITORS_MAX;
}

/* 0, or what libqb closes the socket for. */
static int32_t receive_visitor(struct ipc *ipc, const struct visitor *who)
{
    enum core_access access;
    show_out(ipc);
    if (ipc->stopping || !has_room(ipc, who->uid)) {
        log_refused(ipc, who->uid, "too many connections that say nothing");
        return -EMFILE;
    }
    struct visitor *v = xmemdup(who, sizeof(*who));
    v->next = ipc->visitors;
    ipc->visitors = v;
    if (access_known(ipc->access, v->uid, v->gid, &access))
        open_door(ipc, v);
    else
        access_want(ipc->access, v->uid, v->gid);
    return 0;
}

/* true: it was one, and libqb has it no longer. */
static bool forget_visitor(struct ipc *ipc, int32_t fd, bool *ret_was_in)
{
    for (struct visitor **p = &ipc->visitors, *v; (v = *p) != NULL; p = &v->next)
        if (v->fd == fd) {
            *ret_was_in = v->is_in;
            *p = v->next;
            free(v);
            return true;
        }
    return false;
}

/* ---- access */

static void deliver(struct ipc_client *cl, enum core_access access)
{
    struct json *request = cl->request;
    cl->request = NULL;
    cl->told = true;
    cl->ipc->ops.request(cl->ipc->ops.ctx, cl->id, request, access, cl->uid); /* may answer, or end the client */
    json_free(request);
}

static struct ipc_client *next_waiting(struct ipc *ipc, uid_t uid, gid_t gid)
{
    for (struct ipc_client *cl = ipc->clients; cl; cl = cl->next)
        if (cl->request && cl->uid == uid && cl->gid == gid)
            return cl;
    return NULL;
}

/* Those who waited at the door, and requests that came when it was to be looked up again. */
static void on_known(void *ctx, uid_t uid, gid_t gid, enum core_access access)
{
    struct ipc *ipc = ctx;
    let_in(ipc, uid, gid);
    for (struct ipc_client *cl; (cl = next_waiting(ipc, uid, gid)) != NULL;)
        deliver(cl, access);
}

/* ---- answers */

/* Sends the chunk at that offset of the kept answer. */
static void send_chunk(struct ipc_client *cl, size_t offset)
{
    size_t n = cl->total - offset;
    if (n > PROTO_CHUNK_MAX)
        n = PROTO_CHUNK_MAX;
    struct proto_frame frame = {.total = (uint32_t)cl->total, .offset = (uint32_t)offset};
    struct qb_ipc_response_header head = {.id = PROTO_RESPONSE};
    head.size = (int32_t)(sizeof(head) + sizeof(frame) + n);
    struct iovec iov[3] = {{&head, sizeof(head)}, {&frame, sizeof(frame)}, {cl->answer + offset, n}};
    ssize_t sent = qb_ipcs_response_sendv(cl->conn, iov, 3);
    if (sent != head.size) { /* the ring holds a whole message: the client did not take the one before */
        log_debug(cl->ipc->log, "ipc: client %llu does not take its answer (%zd) -> disconnected",
                  (unsigned long long)cl->id, sent);
        close_later(cl);
        return;
    }
    if (offset + n == cl->total) {
        free(cl->answer);
        cl->answer = NULL;
    }
}

static void send_answer(struct ipc_client *cl, struct json *answer)
{
    free(cl->answer);
    cl->answer = json_dump(answer);
    json_free(answer);
    cl->total = strlen(cl->answer);
    cl->busy = false;
    if (cl->total > PROTO_ANSWER_MAX) {
        struct error e = {0};
        error_set(&e, ERR_FAILED, "the answer has %zu bytes, more than the %d that can be sent", cl->total,
                  PROTO_ANSWER_MAX);
        send_answer(cl, proto_answer(NULL, NULL, &e, NULL));
        return;
    }
    send_chunk(cl, 0);
}

void ipc_reply(struct ipc *ipc, uint64_t client, struct json *answer)
{
    struct ipc_client *cl = ipc->clients;
    while (cl && cl->id != client)
        cl = cl->next;
    if (!cl || !cl->busy || cl->request || cl->closed) {
        json_free(answer);
        return;
    }
    send_answer(cl, answer);
}

/* ---- requests */

static void on_request(struct ipc_client *cl, const char *text, size_t len)
{
    struct error e = {0};
    struct json *request = NULL;
    cl->busy = true;
    free(cl->answer);
    cl->answer = NULL;
    int err = json_parse(text, len, &request, &e);
    if (err || !json_is_object(request)) {
        if (!err)
            error_set(&e, ERR_USAGE, "the request is no JSON object");
        json_free(request);
        e.code = ERR_USAGE;
        send_answer(cl, proto_answer(NULL, NULL, &e, NULL));
        return;
    }
    enum core_access access;
    cl->request = request;
    if (access_known(cl->ipc->access, cl->uid, cl->gid, &access))
        deliver(cl, access);
    else
        access_want(cl->ipc->access, cl->uid, cl->gid);
}

/* false: it breaks the protocol. */
static bool on_frame(struct ipc_client *cl, int32_t id, const uint8_t *p, size_t len)
{
    struct proto_frame frame;
    if (len < sizeof(frame))
        return false;
    memcpy(&frame, p, sizeof(frame));
    len -= sizeof(frame);
    if (id == PROTO_REQUEST) {
        if (cl->busy || frame.offset != 0 || frame.total != len || len > PROTO_CHUNK_MAX)
            return false;
        on_request(cl, (const char *)p + sizeof(frame), len);
        return true;
    }
    if (id != PROTO_MORE || len != 0 || cl->busy || !cl->answer || frame.offset >= cl->total)
        return false;
    send_chunk(cl, frame.offset);
    return true;
}

static int32_t on_message(qb_ipcs_connection_t *conn, void *data, size_t size)
{
    struct ipc_client *cl = qb_ipcs_context_get(conn);
    struct qb_ipc_request_header head;
    if (!cl || cl->closing || cl->closed)
        return 0;
    bool ok = size >= sizeof(head) && size <= PROTO_MESSAGE_MAX;
    AUTO(freep) uint8_t *copy = ok ? xmemdup(data, size) : NULL;
    if (ok) {
        memcpy(&head, copy, sizeof(head));
        ok = head.size >= (int32_t)sizeof(head) && (size_t)head.size <= size &&
             on_frame(cl, head.id, copy + sizeof(head), (size_t)head.size - sizeof(head));
    }
    if (!ok) {
        log_info(cl->ipc->log, "ipc: client %llu (uid %u) broke the protocol -> disconnected",
                 (unsigned long long)cl->id, cl->uid);
        close_later(cl);
    }
    return 0;
}

/* ---- connections */

/* 0, or the error that the client gets. Memory shared with a client is laid out by it: nobody gets any without a right
 * to it, nor more than a message takes. */
static int32_t check_visitor(struct ipc *ipc, qb_ipcs_connection_t *conn, uid_t uid, gid_t gid)
{
    enum core_access access;
    size_t same = 0, others = 0;
    for (const struct ipc_client *cl = ipc->clients; cl; cl = cl->next) {
        same += cl->uid == uid;
        others += cl->uid != 0;
    }
    if (!access_known(ipc->access, uid, gid, &access))
        return -EAGAIN; /* it was, at the door */
    if (access == ACCESS_NONE) {
        log_refused(ipc, uid, "neither root nor in group ringmaster-admin or ringmaster-read");
        return -EACCES;
    }
    if (qb_ipcs_connection_get_buffer_size(conn) > PROTO_MESSAGE_MAX) {
        log_refused(ipc, uid, "wants to send larger messages than there are");
        return -EMSGSIZE;
    }
    if (ipc->stopping || same >= (uid == 0 ? IPC_ROOT_MAX : IPC_UID_MAX) || (uid != 0 && others >= IPC_OTHERS_MAX)) {
        log_refused(ipc, uid, "too many connections");
        return -EMFILE;
    }
    return 0;
}

static int32_t on_accept(qb_ipcs_connection_t *conn, uid_t uid, gid_t gid)
{
    struct ipc *ipc = qb_ipcs_connection_service_context_get(conn);
    int32_t err = check_visitor(ipc, conn, uid, gid);
    if (err != 0)
        return err;
    struct ipc_client *cl = xcalloc(1, sizeof(*cl));
    cl->ipc = ipc;
    cl->conn = conn;
    cl->uid = uid;
    cl->gid = gid;
    cl->id = ipc->ops.new_client(ipc->ops.ctx);
    cl->next = ipc->clients;
    ipc->clients = cl;
    qb_ipcs_context_set(conn, cl);
    qb_ipcs_connection_auth_set(conn, uid, gid, 0600); /* its rings are the client's own */
    return 0;
}

static void tell_gone(struct ipc_client *cl)
{
    if (cl->told && !cl->ipc->stopping)
        cl->ipc->ops.gone(cl->ipc->ops.ctx, cl->id);
    cl->told = false;
    json_free(cl->request);
    cl->request = NULL;
    cl->busy = false;
}

static int32_t on_closed(qb_ipcs_connection_t *conn)
{
    struct ipc_client *cl = qb_ipcs_context_get(conn);
    if (!cl)
        return 0;
    cl->closed = true;
    tell_gone(cl);
    return 0;
}

static void on_destroyed(qb_ipcs_connection_t *conn)
{
    struct ipc_client *cl = qb_ipcs_context_get(conn);
    if (!cl)
        return; /* it was refused */
    tell_gone(cl);
    struct ipc_client **p = &cl->ipc->clients;
    while (*p != cl)
        p = &(*p)->next;
    *p = cl->next;
    free(cl->answer);
    free(cl);
}

/* ---- libqb's seams: NULL is the process's first loop */

static int32_t job_add(enum qb_loop_priority p, void *data, qb_loop_job_dispatch_fn fn)
{
    return qb_loop_job_add(NULL, p, data, fn);
}

/* The socket of a connection that was accepted. */
static bool is_client(const struct ipc *ipc, const void *data)
{
    for (const struct ipc_client *cl = ipc ? ipc->clients : NULL; cl; cl = cl->next)
        if (cl->conn == data)
            return true;
    return false;
}

static bool is_listening(int32_t fd)
{
    int on = 0;
    socklen_t len = sizeof(on);
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 && on;
}

/* libqb listens with a backlog of 5 and takes one at a time: whoever connects all the time would keep root out. */
static int32_t on_visitors(int32_t fd, int32_t revents, void *data)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int32_t rc = the_server->accept(fd, revents, data);
    for (int i = 1; rc == 0 && i < IPC_BACKLOG && poll(&p, 1, 0) == 1 && p.revents == POLLIN; i++)
        rc = the_server->accept(fd, POLLIN, data);
    return rc;
}

static int32_t listen_well(enum qb_loop_priority p, int32_t fd, int32_t events, void *data, qb_ipcs_dispatch_fn_t fn)
{
    if (!the_server || listen(fd, IPC_BACKLOG) != 0)
        return -EINVAL;
    the_server->accept = fn;
    return qb_loop_poll_add(NULL, p, fd, events, data, on_visitors);
}

static int32_t dispatch_add(enum qb_loop_priority p, int32_t fd, int32_t events, void *data, qb_ipcs_dispatch_fn_t fn)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);
    if (is_client(the_server, data))
        return qb_loop_poll_add(NULL, p, fd, events, data, fn);
    if (is_listening(fd))
        return listen_well(p, fd, events, data, fn);
    if (!the_server || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0)
        return -EACCES;
    struct visitor v = {.fd = fd, .uid = peer.uid, .gid = peer.gid, .since_ms = now_ms(), .priority = p,
                        .events = events, .data = data, .fn = fn};
    return receive_visitor(the_server, &v);
}

static int32_t dispatch_mod(enum qb_loop_priority p, int32_t fd, int32_t events, void *data, qb_ipcs_dispatch_fn_t fn)
{
    return qb_loop_poll_mod(NULL, p, fd, events, data, fn);
}

static int32_t dispatch_del(int32_t fd)
{
    bool is_in = true;
    if (the_server && forget_visitor(the_server, fd, &is_in) && !is_in)
        return 0;
    return qb_loop_poll_del(NULL, fd);
}

int ipc_start(const char *name, qb_loop_t *loop, struct worker_pool *pool, const struct ipc_ops *ops,
              const struct log_sink *log, struct ipc **ret, struct error *e)
{
    struct qb_ipcs_service_handlers handlers = {
        .connection_accept = on_accept,
        .msg_process = on_message,
        .connection_closed = on_closed,
        .connection_destroyed = on_destroyed,
    };
    struct qb_ipcs_poll_handlers polls = {
        .job_add = job_add,
        .dispatch_add = dispatch_add,
        .dispatch_mod = dispatch_mod,
        .dispatch_del = dispatch_del,
    };
    struct ipc *ipc = xcalloc(1, sizeof(*ipc));
    ipc->loop = loop;
    ipc->pool = pool;
    ipc->ops = *ops;
    ipc->log = log;
    ipc->access = access_new(pool, on_known, ipc);
    ipc->service = qb_ipcs_create(name, 0, QB_IPC_SHM, &handlers);
    if (!ipc->service) {
        access_free(ipc->access);
        free(ipc);
        return error_set(e, ERR_IO, "cannot create the IPC service %s: %s", name, strerror(errno));
    }
    qb_ipcs_service_context_set(ipc->service, ipc);
    qb_ipcs_poll_handlers_set(ipc->service, &polls);
    qb_ipcs_enforce_buffer_size(ipc->service, PROTO_MESSAGE_MAX);
    assert(!the_server);
    the_server = ipc;
    int32_t rc = qb_ipcs_run(ipc->service);
    if (rc < 0) { /* it was freed by libqb */
        the_server = NULL;
        access_free(ipc->access);
        free(ipc);
        return error_set(e, ERR_IO, "cannot open the IPC service %s: %s", name, strerror(-rc));
    }
    *ret = ipc;
    return 0;
}

void ipc_free(struct ipc *ipc)
{
    if (!ipc)
        return;
    ipc->stopping = true;
    if (ipc->closing)
        qb_loop_job_del(ipc->loop, QB_LOOP_HIGH, ipc, close_clients);
    qb_ipcs_destroy(ipc->service);
    /* A connection whose memory libqb still holds must not point here. */
    for (struct ipc_client *cl = ipc->clients, *next; cl; cl = next) {
        next = cl->next;
        qb_ipcs_context_set(cl->conn, NULL);
        json_free(cl->request);
        free(cl->answer);
        free(cl);
    }
    for (struct visitor *v = ipc->visitors, *next; v; v = next) {
        next = v->next;
        free(v);
    }
    access_free(ipc->access);
    the_server = NULL;
    free(ipc);
}
