/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/io/ipc.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <qb/qbipcs.h>
#include <sys/uio.h>
#include <time.h>

#include "common/proto.h"

enum { IPC_CACHE_MAX = 64, IPC_GROUPS_MAX = 1024, IPC_NSS_MAX = 64 * 1024 };

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

struct access_entry {
    uid_t uid;
    gid_t gid;
    enum core_access access;
    int64_t until_ms; /* monotonic */
};

struct ipc {
    qb_ipcs_service_t *service;
    qb_loop_t *loop;
    struct worker_pool *pool;
    struct ipc_ops ops;
    const struct log_sink *log;
    struct ipc_client *clients;
    struct access_entry cache[IPC_CACHE_MAX];
    size_t next_entry;
    size_t n_lookups;
    bool closing; /* a job for it is queued */
    bool stopping;
};

struct lookup_job {
    struct worker_job job;
    struct ipc *ipc;
    uid_t uid;
    gid_t gid;
    enum core_access access;
};

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

/* ---- access */

static bool group_id(const char *name, gid_t *ret)
{
    AUTO(freep) char *text = xmalloc(IPC_NSS_MAX);
    struct group g, *found = NULL;
    if (getgrnam_r(name, &g, text, IPC_NSS_MAX, &found) != 0 || !found)
        return false;
    *ret = g.gr_gid;
    return true;
}

static int groups_of(uid_t uid, gid_t gid, gid_t *ret, int max)
{
    AUTO(freep) char *text = xmalloc(IPC_NSS_MAX);
    struct passwd p, *found = NULL;
    ret[0] = gid;
    if (getpwuid_r(uid, &p, text, IPC_NSS_MAX, &found) != 0 || !found)
        return 1; /* a user without a name has no other groups */
    int n = max;
    if (getgrouplist(p.pw_name, gid, ret, &n) < 0)
        return max; /* there are more; what was found counts */
    return n;
}

enum core_access ipc_access_look_up(uid_t uid, gid_t gid, const char *admin_group, const char *read_group)
{
    if (uid == 0)
        return ACCESS_ADMIN;
    gid_t admin = 0, reader = 0;
    bool has_admin = group_id(admin_group, &admin), has_reader = group_id(read_group, &reader);
    gid_t *groups = xcalloc(IPC_GROUPS_MAX, sizeof(*groups));
    int n = groups_of(uid, gid, groups, IPC_GROUPS_MAX);
    enum core_access access = ACCESS_NONE;
    for (int i = 0; i < n; i++) {
        if (has_admin && groups[i] == admin)
            access = ACCESS_ADMIN;
        else if (has_reader && groups[i] == reader && access == ACCESS_NONE)
            access = ACCESS_READ;
    }
    free(groups);
    return access;
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool access_known(const struct ipc *ipc, uid_t uid, gid_t gid, enum core_access *ret)
{
    if (uid == 0) {
        *ret = ACCESS_ADMIN;
        return true;
    }
    int64_t now = now_ms();
    for (size_t i = 0; i < IPC_CACHE_MAX; i++) {
        const struct access_entry *a = &ipc->cache[i];
        if (a->until_ms > now && a->uid == uid && a->gid == gid) {
            *ret = a->access;
            return true;
        }
    }
    return false;
}

static void deliver(struct ipc_client *cl, enum core_access access)
{
    struct json *request = cl->request;
    cl->request = NULL;
    cl->told = true;
    cl->ipc->ops.request(cl->ipc->ops.ctx, cl->id, request, access); /* may answer, or end the client */
    json_free(request);
}

static struct ipc_client *next_waiting(struct ipc *ipc, uid_t uid, gid_t gid)
{
    for (struct ipc_client *cl = ipc->clients; cl; cl = cl->next)
        if (cl->request && cl->uid == uid && cl->gid == gid)
            return cl;
    return NULL;
}

static void run_lookup(struct worker_job *job)
{
    struct lookup_job *j = (struct lookup_job *)job;
    j->access = ipc_access_look_up(j->uid, j->gid, "ringmaster-admin", "ringmaster-read");
}

static void done_lookup(struct worker_job *job)
{
    struct lookup_job *j = (struct lookup_job *)job;
    struct ipc *ipc = j->ipc;
    ipc->n_lookups--;
    if (!ipc->stopping) {
        ipc->cache[ipc->next_entry] = (struct access_entry){j->uid, j->gid, j->access, now_ms() + IPC_ACCESS_TTL_MS};
        ipc->next_entry = (ipc->next_entry + 1) % IPC_CACHE_MAX;
        for (struct ipc_client *cl; (cl = next_waiting(ipc, j->uid, j->gid)) != NULL;)
            deliver(cl, j->access);
    } else if (ipc->n_lookups == 0) {
        free(ipc); /* ipc_free was waiting for this */
    }
    free(j);
}

static void look_up(struct ipc_client *cl)
{
    struct lookup_job *j = xcalloc(1, sizeof(*j));
    j->job = (struct worker_job){.run = run_lookup, .done = done_lookup};
    j->ipc = cl->ipc;
    j->uid = cl->uid;
    j->gid = cl->gid;
    cl->ipc->n_lookups++;
    worker_submit(cl->ipc->pool, &j->job);
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
    if (access_known(cl->ipc, cl->uid, cl->gid, &access))
        deliver(cl, access);
    else
        look_up(cl);
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

static int32_t on_accept(qb_ipcs_connection_t *conn, uid_t uid, gid_t gid)
{
    struct ipc *ipc = qb_ipcs_connection_service_context_get(conn);
    size_t same = 0, others = 0;
    for (const struct ipc_client *cl = ipc->clients; cl; cl = cl->next) {
        same += cl->uid == uid;
        others += cl->uid != 0;
    }
    if (ipc->stopping || same >= (uid == 0 ? IPC_ROOT_MAX : IPC_UID_MAX) || (uid != 0 && others >= IPC_OTHERS_MAX)) {
        log_warn(ipc->log, "ipc: uid %u has %zu connections, %zu are not root's -> refused", uid, same, others);
        return -EMFILE;
    }
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

static int32_t dispatch_add(enum qb_loop_priority p, int32_t fd, int32_t events, void *data, qb_ipcs_dispatch_fn_t fn)
{
    return qb_loop_poll_add(NULL, p, fd, events, data, fn);
}

static int32_t dispatch_mod(enum qb_loop_priority p, int32_t fd, int32_t events, void *data, qb_ipcs_dispatch_fn_t fn)
{
    return qb_loop_poll_mod(NULL, p, fd, events, data, fn);
}

static int32_t dispatch_del(int32_t fd)
{
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
    ipc->service = qb_ipcs_create(name, 0, QB_IPC_SHM, &handlers);
    if (!ipc->service) {
        free(ipc);
        return error_set(e, ERR_IO, "cannot create the IPC service %s: %s", name, strerror(errno));
    }
    qb_ipcs_service_context_set(ipc->service, ipc);
    qb_ipcs_poll_handlers_set(ipc->service, &polls);
    qb_ipcs_enforce_buffer_size(ipc->service, PROTO_MESSAGE_MAX);
    int32_t rc = qb_ipcs_run(ipc->service);
    if (rc < 0) { /* it was freed by libqb */
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
    ipc->clients = NULL;
    if (ipc->n_lookups == 0)
        free(ipc);
}
