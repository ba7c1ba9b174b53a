/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/io/cpg.h"

#include <assert.h>
#include <corosync/cpg.h>
#include <poll.h>
#include <qb/qbutil.h>
#include <stdio.h>
#include <sys/uio.h>
#include <unistd.h>

#include "agent/io/pieces.h"

enum cpg_state { CPG_OFF, CPG_CONNECTING, CPG_UP, CPG_LEFT };

struct outgoing {
    struct outgoing *next;
    struct buf bytes;
    uint32_t number;
    size_t sent; /* bytes that corosync took */
};

struct incoming {
    uint32_t nodeid;
    struct pieces pieces;
};

struct cpg {
    enum cpg_state state;
    qb_loop_t *loop;
    struct worker_pool *pool;
    struct cpg_ops ops;
    void *ctx;
    const struct log_sink *log;
    struct cpg_name group;
    cpg_handle_t handle;
    int fd;
    size_t piece_max;
    struct outgoing *first, **last;
    size_t queued; /* bytes */
    bool full;     /* and said so */
    bool dispatching;
    bool told_waiting;
    bool in_group; /* a view with this process was delivered */
    uint32_t nodeid;
    qb_loop_timer_handle retry, flow;
    uint32_t next_number;
    struct incoming in[CPG_MEMBERS_MAX];
    size_t n_in;
};

struct connect_job {
    struct worker_job job;
    struct cpg *c;
    cpg_handle_t handle;
    int fd;
    uint32_t size_max, nodeid;
    cs_error_t err;
    struct cpg_name group;
};

struct finalize_job {
    struct worker_job job;
    cpg_handle_t handle;
    bool leave;
    struct cpg_name group;
};

static void start_connecting(void *data);

static void timer(struct cpg *c, qb_loop_timer_handle *th, uint64_t ms, qb_loop_timer_dispatch_fn fn)
{
    if (qb_loop_timer_add(c->loop, QB_LOOP_MED, ms * QB_TIME_NS_IN_MSEC, c, fn, th) != 0)
        abort(); /* out of memory */
}

static void stop_timer(struct cpg *c, qb_loop_timer_handle *th)
{
    if (*th)
        qb_loop_timer_del(c->loop, *th);
    *th = 0;
}

/* ---- receiving */

static struct incoming *incoming_of(struct cpg *c, uint32_t nodeid)
{
    for (size_t i = 0; i < c->n_in; i++)
        if (c->in[i].nodeid == nodeid)
            return &c->in[i];
    if (c->n_in == CPG_MEMBERS_MAX)
        return NULL;
    c->in[c->n_in] = (struct incoming){.nodeid = nodeid};
    return &c->in[c->n_in++];
}

static void incoming_forget(struct cpg *c, uint32_t nodeid)
{
    for (size_t i = 0; i < c->n_in; i++) {
        if (c->in[i].nodeid != nodeid)
            continue;
        pieces_done(&c->in[i].pieces);
        c->in[i] = c->in[--c->n_in];
        return;
    }
}

static void on_piece(struct cpg *c, struct incoming *in, struct slice bytes)
{
    AUTO(buf_done) struct buf message = {0};
    int rc = pieces_take(&in->pieces, bytes, &message);
    if (rc == 1)
        c->ops.message(c->ctx, in->nodeid, buf_slice(&message));
    else if (rc != 0)
        log_warn(c->log, "cpg: node %u sent a piece that continues nothing -> message dropped", in->nodeid);
}

static struct cpg *self_of(cpg_handle_t handle)
{
    void *c = NULL;
    cpg_context_get(handle, &c);
    return c;
}

static void on_deliver(cpg_handle_t handle, const struct cpg_name *group, uint32_t nodeid, uint32_t pid, void *msg,
                       size_t len)
{
    (void)group, (void)pid;
    struct cpg *c = self_of(handle);
    struct incoming *in = c->state == CPG_UP && c->in_group ? incoming_of(c, nodeid) : NULL;
    if (in)
        on_piece(c, in, (struct slice){msg, len});
}

static void on_confchg(cpg_handle_t handle, const struct cpg_name *group, const struct cpg_address *members,
                       size_t n_members, const struct cpg_address *left, size_t n_left,
                       const struct cpg_address *joined, size_t n_joined)
{
    (void)group;
    struct cpg *c = self_of(handle);
    if (c->state != CPG_UP)
        return;
    for (size_t i = 0; i < n_left; i++)
        incoming_forget(c, left[i].nodeid);
    for (size_t i = 0; i < n_joined; i++)
        incoming_forget(c, joined[i].nodeid);
    uint32_t ids[CPG_MEMBERS_MAX];
    size_t n = 0;
    bool self = false;
    for (size_t i = 0; i < n_members && n < CPG_MEMBERS_MAX; i++) {
        bool known = false; /* a node counts once, whatever processes of it are in the group */
        for (size_t k = 0; k < n; k++)
            known = known || ids[k] == members[i].nodeid;
        if (!known)
            ids[n++] = members[i].nodeid;
        self = self || (members[i].nodeid == c->nodeid && members[i].pid == (uint32_t)getpid());
    }
    c->in_group = self;
    c->ops.view(c->ctx, ids, self ? n : 0);
}

static void on_ring(cpg_handle_t handle, struct cpg_ring_id ring, uint32_t n_members, const uint32_t *members)
{
    (void)n_members, (void)members;
    struct cpg *c = self_of(handle);
    if (c->state == CPG_UP)
        c->ops.ring(c->ctx, ring.nodeid, ring.seq);
}

/* ---- sending */

static void queue_drop(struct cpg *c)
{
    for (struct outgoing *o = c->first, *next; o; o = next) {
        next = o->next;
        buf_done(&o->bytes);
        free(o);
    }
    c->first = NULL;
    c->last = &c->first;
    c->queued = 0;
    c->full = false;
}

static cs_error_t send_piece(struct cpg *c, struct outgoing *o, size_t *ret_n)
{
    AUTO(buf_done) struct buf head = {0};
    piece_header(&head, o->number, o->bytes.len, o->sent);
    assert(head.len == PIECE_HEADER);
    size_t left = o->bytes.len - o->sent;
    size_t n = left < c->piece_max ? left : c->piece_max;
    struct iovec iov[2] = {{head.p, head.len}, {o->bytes.p + o->sent, n}};
    *ret_n = n;
    return cpg_mcast_joined(c->handle, CPG_TYPE_AGREED, iov, 2);
}

/* ---- handles are closed in the worker: that speaks to corosync, which may be frozen */

static void run_finalize(struct worker_job *job)
{
    struct finalize_job *j = (struct finalize_job *)job;
    if (j->leave)
        cpg_leave(j->handle, &j->group);
    cpg_finalize(j->handle);
}

static void done_free(struct worker_job *job)
{
    free(job);
}

static void finalize(struct cpg *c, cpg_handle_t handle, bool leave)
{
    struct finalize_job *j = xcalloc(1, sizeof(*j));
    j->job = (struct worker_job){.run = run_finalize, .done = done_free};
    j->handle = handle;
    j->leave = leave;
    j->group = c->group;
    worker_submit(c->pool, &j->job);
}

static void go_down(struct cpg *c, enum cpg_state state, bool leave)
{
    assert(c->state == CPG_UP && !c->dispatching);
    qb_loop_poll_del(c->loop, c->fd);
    stop_timer(c, &c->flow);
    queue_drop(c);
    while (c->n_in > 0)
        incoming_forget(c, c->in[0].nodeid);
    c->in_group = false;
    c->state = state;
    finalize(c, c->handle, leave);
}

static void lost(struct cpg *c, cs_error_t why)
{
    log_warn(c->log, "cpg: corosync is lost (%s) -> no group until it is back", cs_strerror(why));
    go_down(c, CPG_OFF, false);
    timer(c, &c->retry, CPG_RETRY_MS, start_connecting);
    c->ops.ring(c->ctx, 0, 0);
    c->ops.view(c->ctx, NULL, 0);
}

/* One message as far as corosync takes it. CS_OK: all of it. */
static cs_error_t send_message(struct cpg *c, struct outgoing *o)
{
    while (o->sent < o->bytes.len) {
        size_t n;
        cs_error_t err = send_piece(c, o, &n);
        if (err != CS_OK)
            return err;
        o->sent += n;
    }
    return CS_OK;
}

static void queue_pop(struct cpg *c)
{
    struct outgoing *o = c->first;
    c->first = o->next;
    if (!c->first)
        c->last = &c->first;
    c->queued -= o->bytes.len;
    buf_done(&o->bytes);
    free(o);
}

static void flush(void *data)
{
    struct cpg *c = data;
    c->flow = 0;
    while (c->first) {
        cs_error_t err = send_message(c, c->first);
        if (err == CS_ERR_TRY_AGAIN) {
            timer(c, &c->flow, CPG_FLOW_MS, flush);
            return;
        }
        if (err != CS_OK && err != CS_ERR_TOO_BIG && err != CS_ERR_INVALID_PARAM) {
            lost(c, err);
            return;
        }
        if (err != CS_OK)
            log_error(c->log, "cpg: corosync refuses a message of %zu bytes: %s", c->first->bytes.len,
                      cs_strerror(err));
        queue_pop(c);
    }
    c->full = false;
}

void cpg_send(struct cpg *c, struct buf *bytes)
{
    assert(bytes->len > 0 && bytes->len <= CPG_MESSAGE_MAX);
    if (c->state != CPG_UP || c->queued + bytes->len > CPG_QUEUE_BYTES_MAX) {
        if (c->state == CPG_UP && !c->full)
            log_warn(c->log, "cpg: %zu bytes wait for corosync -> messages are dropped", c->queued);
        c->full = c->state == CPG_UP;
        buf_done(bytes);
        return;
    }
    struct outgoing *o = xcalloc(1, sizeof(*o));
    o->bytes = *bytes;
    o->number = c->next_number++;
    *bytes = (struct buf){0};
    *c->last = o;
    c->last = &o->next;
    c->queued += o->bytes.len;
    if (!c->flow) /* never at once: a loss found now would be told in the middle of the caller's step */
        timer(c, &c->flow, 0, flush);
}

static int32_t on_readable(int32_t fd, int32_t revents, void *data)
{
    (void)fd, (void)revents; /* an error or hang-up shows in cpg_dispatch */
    struct cpg *c = data;
    c->dispatching = true;
    cs_error_t err = cpg_dispatch(c->handle, CS_DISPATCH_ALL);
    c->dispatching = false;
    if (err == CS_OK && (revents & (POLLHUP | POLLERR | POLLNVAL)))
        err = CS_ERR_LIBRARY;
    if (err != CS_OK && err != CS_ERR_TRY_AGAIN)
        lost(c, err);
    return 0;
}

/* ---- connecting */

static cs_error_t try_join(cpg_handle_t handle, const struct cpg_name *group)
{
    cs_error_t err;
    /* During a change of the ring corosync asks to try again; the thread is ours alone. */
    for (int i = 0; (err = cpg_join(handle, group)) == CS_ERR_TRY_AGAIN && i < 50; i++)
        poll(NULL, 0, 100);
    return err;
}

static void run_connect(struct worker_job *job)
{
    struct connect_job *j = (struct connect_job *)job;
    cpg_model_v1_data_t model = {.model = CPG_MODEL_V1,
                                 .cpg_deliver_fn = on_deliver,
                                 .cpg_confchg_fn = on_confchg,
                                 .cpg_totem_confchg_fn = on_ring,
                                 .flags = CPG_MODEL_V1_DELIVER_INITIAL_TOTEM_CONF};
    j->err = cpg_model_initialize(&j->handle, CPG_MODEL_V1, (cpg_model_data_t *)&model, j->c);
    if (j->err != CS_OK)
        return;
    j->err = cpg_fd_get(j->handle, &j->fd);
    if (j->err == CS_OK)
        j->err = cpg_local_get(j->handle, &j->nodeid);
    if (j->err == CS_OK)
        j->err = cpg_max_atomic_msgsize_get(j->handle, &j->size_max);
    if (j->err == CS_OK && j->size_max < 2 * PIECE_HEADER)
        j->err = CS_ERR_TOO_BIG;
    if (j->err == CS_OK)
        j->err = try_join(j->handle, &j->group);
    if (j->err != CS_OK)
        cpg_finalize(j->handle);
}

static void done_connect(struct worker_job *job)
{
    struct connect_job *j = (struct connect_job *)job;
    struct cpg *c = j->c;
    if (c->state == CPG_LEFT) {
        if (j->err == CS_OK)
            finalize(c, j->handle, true);
    } else if (j->err != CS_OK) {
        if (!c->told_waiting)
            log_notice(c->log, "cpg: corosync cannot be reached (%s) -> trying every %d ms", cs_strerror(j->err),
                       CPG_RETRY_MS);
        c->told_waiting = true;
        c->state = CPG_OFF;
        timer(c, &c->retry, CPG_RETRY_MS, start_connecting);
    } else {
        c->state = CPG_UP;
        c->told_waiting = false;
        c->handle = j->handle;
        c->fd = j->fd;
        c->nodeid = j->nodeid;
        c->piece_max = j->size_max - PIECE_HEADER;
        log_info(c->log, "cpg: joined group %s as node %u, pieces of %zu bytes", c->group.value, c->nodeid,
                 c->piece_max);
        if (qb_loop_poll_add(c->loop, QB_LOOP_MED, c->fd, POLLIN, c, on_readable) != 0)
            lost(c, CS_ERR_NO_RESOURCES);
        else
            on_readable(c->fd, 0, c); /* what came before the loop looked */
    }
    free(j);
}

static void start_connecting(void *data)
{
    struct cpg *c = data;
    assert(c->state == CPG_OFF);
    c->retry = 0;
    c->state = CPG_CONNECTING;
    struct connect_job *j = xcalloc(1, sizeof(*j));
    j->job = (struct worker_job){.run = run_connect, .done = done_connect};
    j->c = c;
    j->group = c->group;
    worker_submit(c->pool, &j->job);
}

struct cpg *cpg_new(qb_loop_t *loop, struct worker_pool *pool, const struct uuid *cluster, const struct cpg_ops *ops,
                    void *ctx, const struct log_sink *log)
{
    struct cpg *c = xcalloc(1, sizeof(*c));
    c->loop = loop;
    c->pool = pool;
    c->ops = *ops;
    c->ctx = ctx;
    c->log = log;
    c->last = &c->first;
    struct uuid_str u = uuid_str(cluster);
    int n = snprintf(c->group.value, sizeof(c->group.value), "ringmaster:%s", u.s);
    c->group.length = (uint32_t)n;
    start_connecting(c);
    return c;
}

void cpg_leave_group(struct cpg *c)
{
    stop_timer(c, &c->retry);
    if (c->state == CPG_UP)
        go_down(c, CPG_LEFT, true);
    c->state = CPG_LEFT;
}

void cpg_free(struct cpg *c)
{
    if (!c)
        return;
    assert(c->state == CPG_LEFT);
    free(c);
}
