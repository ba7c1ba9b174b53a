/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/io/quorum.h"

#include <assert.h>
#include <corosync/votequorum.h>
#include <poll.h>
#include <qb/qbutil.h>

#include "common/buf.h"

enum quorum_state { QUORUM_OFF, QUORUM_CONNECTING, QUORUM_UP, QUORUM_STOPPED };

struct quorum {
    enum quorum_state state;
    qb_loop_t *loop;
    struct worker_pool *pool;
    void (*changed)(void *ctx, bool quorate, uint32_t n_votes);
    void *ctx;
    const struct log_sink *log;
    votequorum_handle_t handle;
    int fd;
    qb_loop_timer_handle retry;
    bool quorate;
    uint32_t n_votes;
};

struct quorum_job {
    struct worker_job job;
    struct quorum *q;
    votequorum_handle_t handle;
    int fd;
    cs_error_t err;
};

static void start_connecting(void *data);

static void set(struct quorum *q, bool quorate, uint32_t n_votes)
{
    if (q->quorate == quorate && q->n_votes == n_votes)
        return;
    q->quorate = quorate;
    q->n_votes = n_votes;
    q->changed(q->ctx, quorate, n_votes);
}

static void on_quorum(votequorum_handle_t handle, uint64_t context, uint32_t quorate, uint32_t n,
                      votequorum_node_t *nodes)
{
    (void)context;
    void *q = NULL;
    votequorum_context_get(handle, &q);
    uint32_t votes = 0;
    for (uint32_t i = 0; i < n; i++) /* nodeid 0 is the quorum device's entry */
        votes += nodes[i].nodeid != 0 && nodes[i].state == VOTEQUORUM_NODESTATE_MEMBER;
    set(q, quorate != 0, votes);
}

static void done_free(struct worker_job *job)
{
    free(job);
}

static void run_finalize(struct worker_job *job)
{
    votequorum_finalize(((struct quorum_job *)job)->handle);
}

static void finalize(struct quorum *q, votequorum_handle_t handle)
{
    struct quorum_job *j = xcalloc(1, sizeof(*j));
    j->job = (struct worker_job){.run = run_finalize, .done = done_free};
    j->handle = handle;
    worker_submit(q->pool, &j->job);
}

static void retry_later(struct quorum *q)
{
    q->state = QUORUM_OFF;
    if (qb_loop_timer_add(q->loop, QB_LOOP_MED, QUORUM_RETRY_MS * QB_TIME_NS_IN_MSEC, q, start_connecting, &q->retry))
        abort(); /* out of memory */
}

static int32_t on_readable(int32_t fd, int32_t revents, void *data)
{
    struct quorum *q = data;
    cs_error_t err = votequorum_dispatch(q->handle, CS_DISPATCH_ALL);
    if (err == CS_OK && (revents & (POLLHUP | POLLERR | POLLNVAL)))
        err = CS_ERR_LIBRARY;
    if (err == CS_OK || err == CS_ERR_TRY_AGAIN)
        return 0;
    qb_loop_poll_del(q->loop, fd);
    finalize(q, q->handle);
    retry_later(q);
    set(q, false, 0);
    return 0;
}

static void run_connect(struct worker_job *job)
{
    struct quorum_job *j = (struct quorum_job *)job;
    votequorum_callbacks_t callbacks = {.votequorum_quorum_notify_fn = on_quorum};
    j->err = votequorum_initialize(&j->handle, &callbacks);
    if (j->err != CS_OK)
        return;
    j->err = votequorum_context_set(j->handle, j->q);
    if (j->err == CS_OK)
        j->err = votequorum_fd_get(j->handle, &j->fd);
    if (j->err == CS_OK)
        j->err = votequorum_trackstart(j->handle, 0, CS_TRACK_CHANGES);
    if (j->err != CS_OK)
        votequorum_finalize(j->handle);
}

static void done_connect(struct worker_job *job)
{
    struct quorum_job *j = (struct quorum_job *)job;
    struct quorum *q = j->q;
    if (q->state == QUORUM_STOPPED) {
        if (j->err == CS_OK)
            finalize(q, j->handle);
    } else if (j->err != CS_OK) {
        retry_later(q); /* cpg.c says that corosync is away */
    } else {
        q->state = QUORUM_UP;
        q->handle = j->handle;
        q->fd = j->fd;
        if (qb_loop_poll_add(q->loop, QB_LOOP_MED, q->fd, POLLIN, q, on_readable) != 0)
            abort();
        on_readable(q->fd, 0, q);
    }
    free(j);
}

static void start_connecting(void *data)
{
    struct quorum *q = data;
    q->retry = 0;
    q->state = QUORUM_CONNECTING;
    struct quorum_job *j = xcalloc(1, sizeof(*j));
    j->job = (struct worker_job){.run = run_connect, .done = done_connect};
    j->q = q;
    worker_submit(q->pool, &j->job);
}

struct quorum *quorum_new(qb_loop_t *loop, struct worker_pool *pool,
                          void (*changed)(void *ctx, bool quorate, uint32_t n_votes), void *ctx,
                          const struct log_sink *log)
{
    struct quorum *q = xcalloc(1, sizeof(*q));
    q->loop = loop;
    q->pool = pool;
    q->changed = changed;
    q->ctx = ctx;
    q->log = log;
    start_connecting(q);
    return q;
}

void quorum_stop(struct quorum *q)
{
    if (q->retry)
        qb_loop_timer_del(q->loop, q->retry);
    q->retry = 0;
    if (q->state == QUORUM_UP) {
        qb_loop_poll_del(q->loop, q->fd);
        finalize(q, q->handle);
    }
    q->state = QUORUM_STOPPED;
}

void quorum_free(struct quorum *q)
{
    if (!q)
        return;
    assert(q->state == QUORUM_STOPPED);
    free(q);
}
