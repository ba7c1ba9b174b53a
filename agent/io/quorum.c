/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/io/quorum.h"

#include <assert.h>
#include <corosync/votequorum.h>
#include <inttypes.h>
#include <poll.h>
#include <qb/qbutil.h>
#include <stdio.h>

#include "agent/io/files.h"
#include "agent/port.h"

static const char DEVICE[] = "ringmaster";

enum { NODES_MAX = 128 }; /* of a ring, as of a CPG group */

enum quorum_state { QUORUM_OFF, QUORUM_CONNECTING, QUORUM_UP, QUORUM_STOPPED };

struct verdict {
    votequorum_ring_id_t ring; /* seq 0: none */
    bool cast;
};

struct quorum {
    enum quorum_state state;
    qb_loop_t *loop;
    struct worker_pool *pool;
    const char *cast_path;
    void (*changed)(void *ctx, const struct quorum_report *r);
    void *ctx;
    const struct log_sink *log;
    votequorum_handle_t handle;
    int fd;
    qb_loop_timer_handle retry, beat;
    struct quorum_report report;
    votequorum_ring_id_t ring; /* that corosync is on; seq 0: not told yet */
    uint32_t nodes[NODES_MAX]; /* of it */
    uint32_t n_nodes;
    struct verdict verdict;
    struct verdict remembered; /* in cast_path */
    bool is_registered;
    bool is_polling, again; /* a poll is under way; and another is due */
};

/* Of connecting and of each poll. What the loop may change meanwhile is copied in. */
struct quorum_job {
    struct worker_job job;
    struct quorum *q;
    votequorum_handle_t handle;
    const char *cast_path;
    int fd;
    cs_error_t err;
    struct error device;
    struct verdict verdict; /* poll: what to say. connect: what the process before this one said, if it still counts */
    bool is_registered;
    bool is_news, is_kept; /* cast_path does not hold it yet; holds it */
    uint32_t nodes[NODES_MAX];
    uint32_t n_nodes;
    bool wants_reload;
};

static void start_connecting(void *data);
static void poll_now(struct quorum *q);

static bool ring_eq(votequorum_ring_id_t a, votequorum_ring_id_t b)
{
    return a.seq != 0 && a.seq == b.seq && a.nodeid == b.nodeid;
}

/* ---- what outlives the process ---- */

static void remember(const char *path, const struct verdict *v)
{
    char text[64];
    snprintf(text, sizeof(text), "%u %" PRIu64 "\n", v->ring.nodeid, v->ring.seq);
    if (v->cast)
        file_install("", path, (struct slice){(const uint8_t *)text, strlen(text)}, (struct file_mode){.mode = 0600},
                     NULL);
    else
        file_remove("", path, NULL);
}

static struct verdict recall(const char *path)
{
    AUTO(buf_done) struct buf b = {0};
    struct verdict v = {0};
    unsigned nodeid;
    uint64_t seq;
    if (file_read("", path, 64, &b, NULL) != 0)
        return v;
    buf_add(&b, "", 1);
    if (sscanf((const char *)b.p, "%u %" SCNu64, &nodeid, &seq) == 2)
        v = (struct verdict){{nodeid, seq}, true};
    return v;
}

/* ---- what corosync says ---- */

static void tell(struct quorum *q, const struct quorum_report *r)
{
    bool same_device = q->report.device.code == r->device.code && str_eq(q->report.device.text, r->device.text);
    if (q->report.quorate == r->quorate && q->report.n_votes == r->n_votes && same_device &&
        q->report.wants_reload == r->wants_reload)
        return;
    if (!same_device && r->device.code)
        log_error(q->log, "quorum device: %s; %s", r->device.text, r->device.remedy);
    q->report = *r;
    q->changed(q->ctx, &q->report);
}

/* Of the ring that corosync is on. */
static bool casts(const struct quorum *q)
{
    return q->verdict.cast && ring_eq(q->verdict.ring, q->ring);
}

static struct quorum *self_of(votequorum_handle_t handle)
{
    void *q = NULL;
    votequorum_context_get(handle, &q);
    return q;
}

static void on_quorum(votequorum_handle_t handle, uint64_t context, uint32_t quorate, uint32_t n,
                      votequorum_node_t *nodes)
{
    (void)context;
    struct quorum *q = self_of(handle);
    struct quorum_report r = q->report;
    r.quorate = quorate != 0;
    r.n_votes = 0;
    for (uint32_t i = 0; i < n; i++) /* nodeid 0 is the quorum device's entry */
        r.n_votes += nodes[i].nodeid != 0 && nodes[i].state == VOTEQUORUM_NODESTATE_MEMBER;
    tell(q, &r);
    /* On a new ring corosync may take an announcement of this node's vote that it made before the poll for a later one:
     * it then holds to the old vote until the next poll, which is a second away. */
    if (q->ring.seq != 0 && r.quorate != casts(q))
        poll_now(q);
}

static void on_nodelist(votequorum_handle_t handle, uint64_t context, votequorum_ring_id_t ring, uint32_t n,
                        uint32_t *nodes)
{
    (void)context;
    struct quorum *q = self_of(handle);
    q->ring = ring;
    q->n_nodes = n < NODES_MAX ? n : NODES_MAX;
    memcpy(q->nodes, nodes, q->n_nodes * sizeof(*nodes));
    poll_now(q);
}

static void run_finalize(struct worker_job *job)
{
    votequorum_finalize(((struct quorum_job *)job)->handle);
}

static void done_free(struct worker_job *job)
{
    free(job);
}

static struct quorum_job *job_new(struct quorum *q, void (*run)(struct worker_job *job),
                                  void (*done)(struct worker_job *job))
{
    struct quorum_job *j = xcalloc(1, sizeof(*j));
    j->job = (struct worker_job){.run = run, .done = done};
    j->q = q;
    j->handle = q->handle;
    j->cast_path = q->cast_path;
    return j;
}

static void finalize(struct quorum *q, votequorum_handle_t handle)
{
    struct quorum_job *j = job_new(q, run_finalize, done_free);
    j->handle = handle;
    worker_submit(q->pool, &j->job);
}

static void timer(struct quorum *q, qb_loop_timer_handle *th, uint64_t ms, qb_loop_timer_dispatch_fn fn)
{
    if (qb_loop_timer_add(q->loop, QB_LOOP_HIGH, ms * QB_TIME_NS_IN_MSEC, q, fn, th) != 0)
        abort(); /* out of memory */
}

static void stop_timer(struct quorum *q, qb_loop_timer_handle *th)
{
    if (*th)
        qb_loop_timer_del(q->loop, *th);
    *th = 0;
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
    stop_timer(q, &q->beat);
    q->state = QUORUM_OFF;
    q->is_registered = q->again = false;
    q->ring = (votequorum_ring_id_t){0};
    timer(q, &q->retry, QUORUM_RETRY_MS, start_connecting);
    tell(q, &(struct quorum_report){.device = q->report.device});
    return 0;
}

/* ---- polling ---- */

static void check_other_verdicts(const struct votequorum_info *info, struct error *e)
{
    static const unsigned conflicting = VOTEQUORUM_INFO_TWONODE | VOTEQUORUM_INFO_LAST_MAN_STANDING |
                                        VOTEQUORUM_INFO_AUTO_TIE_BREAKER | VOTEQUORUM_INFO_ALLOW_DOWNSCALE;
    if ((info->flags & VOTEQUORUM_INFO_QDEVICE_REGISTERED) && !str_eq(info->qdevice_name, DEVICE)) {
        error_set(e, ERR_CONDITION, "corosync has another quorum device, %s -> its verdict is not Ringmaster's",
                  info->qdevice_name);
        error_set_remedy(e, "systemctl disable --now corosync-qdevice && systemctl restart corosync");
    } else if (info->flags & conflicting) {
        error_set(e, ERR_CONDITION, "corosync runs with two_node, last_man_standing, auto_tie_breaker or "
                                    "allow_downscale -> its verdict is not Ringmaster's");
        error_set_remedy(e, "systemctl restart corosync: it then reads the corosync.conf that Ringmaster wrote");
    }
}

static cs_error_t register_device(struct quorum_job *j)
{
    struct votequorum_info info;
    cs_error_t err = votequorum_getinfo(j->handle, VOTEQUORUM_QDEVICE_NODEID, &info);
    if (err != CS_OK)
        return err;
    check_other_verdicts(&info, &j->device);
    if (j->device.code)
        return CS_ERR_EXIST;
    err = votequorum_qdevice_register(j->handle, DEVICE);
    j->is_registered = err == CS_OK;
    if (err != CS_OK && err != CS_ERR_TRY_AGAIN) {
        error_set(&j->device, ERR_CONDITION, "corosync refuses the quorum device: %s", cs_strerror(err));
        error_set_remedy(&j->device, "systemctl restart corosync");
    }
    return err;
}

static bool all_cast(const struct quorum_job *j)
{
    struct votequorum_info info;
    for (uint32_t i = 0; i < j->n_nodes; i++)
        if (votequorum_getinfo(j->handle, j->nodes[i], &info) != CS_OK ||
            !(info.flags & VOTEQUORUM_INFO_QDEVICE_CAST_VOTE))
            return false;
    return j->n_nodes > 0;
}

static bool is_lowest(const struct quorum_job *j, uint32_t nodeid)
{
    for (uint32_t i = 0; i < j->n_nodes; i++)
        if (j->nodes[i] < nodeid)
            return false;
    return true;
}

/* Does the vote decide, as it should? */
static void check_votes(struct quorum_job *j)
{
    struct votequorum_info info;
    if (votequorum_getinfo(j->handle, VOTEQUORUM_QDEVICE_NODEID, &info) != CS_OK)
        return;
    if (info.qdevice_votes != COROSYNC_DEVICE_VOTES || info.node_expected_votes != COROSYNC_EXPECTED_VOTES) {
        error_set(&j->device, ERR_CONDITION,
                  "corosync runs with an older configuration -> its verdict is not Ringmaster's until all nodes cast");
        error_set_remedy(&j->device, "systemctl status ringmasterd, on every node; corosync-quorumtool -s");
        j->wants_reload = all_cast(j) && is_lowest(j, info.node_id);
    } else if (info.node_votes != 1) {
        error_set(&j->device, ERR_CONDITION, "corosync counts %u votes for this node, not 1", info.node_votes);
        error_set_remedy(&j->device, "corosync-quorumtool -v 1");
    }
}

static void run_poll(struct worker_job *job)
{
    struct quorum_job *j = (struct quorum_job *)job;
    j->err = j->is_registered ? CS_OK : register_device(j);
    if (j->err != CS_OK || j->verdict.ring.seq == 0)
        return;
    if (j->is_news)
        remember(j->cast_path, &j->verdict);
    j->is_kept = true;
    j->err = votequorum_qdevice_poll(j->handle, DEVICE, j->verdict.cast, j->verdict.ring);
    check_votes(j); /* after it: nothing delays a poll */
}

static void beat(void *data)
{
    struct quorum *q = data;
    q->beat = 0;
    poll_now(q);
}

static void done_poll(struct worker_job *job)
{
    struct quorum_job *j = (struct quorum_job *)job;
    struct quorum *q = j->q;
    q->is_polling = false;
    if (q->state == QUORUM_UP && q->handle == j->handle) {
        struct quorum_report r = q->report;
        bool is_unknown = j->err == CS_ERR_NOT_EXIST; /* corosync forgot the device: a reload took it away */
        q->is_registered = j->is_registered && !is_unknown;
        if (j->is_kept)
            q->remembered = j->verdict;
        r.device = j->device;
        r.wants_reload = j->wants_reload;
        tell(q, &r);
        if (q->again)
            poll_now(q);
        else if (!q->beat)
            timer(q, &q->beat, QUORUM_POLL_MS, beat);
    }
    free(j);
}

/* The verdict is looked at here, for each poll anew. */
static void poll_now(struct quorum *q)
{
    if (q->state != QUORUM_UP)
        return;
    stop_timer(q, &q->beat);
    q->again = q->is_polling;
    if (q->is_polling)
        return;
    q->is_polling = true;
    struct quorum_job *j = job_new(q, run_poll, done_poll);
    j->is_registered = q->is_registered;
    j->n_nodes = q->n_nodes;
    memcpy(j->nodes, q->nodes, q->n_nodes * sizeof(*q->nodes));
    j->verdict = (struct verdict){q->ring, casts(q)};
    j->is_news = q->ring.seq != 0 && (j->verdict.cast != q->remembered.cast ||
                                      (j->verdict.cast && !ring_eq(j->verdict.ring, q->remembered.ring)));
    worker_submit(q->pool, &j->job);
}

void quorum_cast(struct quorum *q, uint32_t ring_nodeid, uint64_t ring_seq, bool cast)
{
    q->verdict = (struct verdict){{ring_nodeid, ring_seq}, cast};
    if (ring_eq(q->verdict.ring, q->ring))
        poll_now(q);
}

/* ---- connecting ---- */

/* The device is known to corosync, so corosync is the one that the process before this one spoke to. */
static struct verdict former_verdict(struct quorum_job *j)
{
    struct votequorum_info info;
    bool is_ours = votequorum_getinfo(j->handle, VOTEQUORUM_QDEVICE_NODEID, &info) == CS_OK &&
                   (info.flags & VOTEQUORUM_INFO_QDEVICE_REGISTERED) && str_eq(info.qdevice_name, DEVICE);
    return is_ours ? recall(j->cast_path) : (struct verdict){0};
}

static void run_connect(struct worker_job *job)
{
    struct quorum_job *j = (struct quorum_job *)job;
    votequorum_callbacks_t callbacks = {.votequorum_quorum_notify_fn = on_quorum,
                                        .votequorum_nodelist_notify_fn = on_nodelist};
    j->err = votequorum_initialize(&j->handle, &callbacks);
    if (j->err != CS_OK)
        return;
    j->err = votequorum_context_set(j->handle, j->q);
    if (j->err == CS_OK)
        j->err = votequorum_fd_get(j->handle, &j->fd);
    if (j->err == CS_OK)
        j->verdict = former_verdict(j);
    if (j->err == CS_OK)
        j->err = votequorum_trackstart(j->handle, 0, CS_TRACK_CHANGES);
    if (j->err != CS_OK)
        votequorum_finalize(j->handle);
}

static void adopt(struct quorum *q, const struct quorum_job *j)
{
    q->state = QUORUM_UP;
    q->handle = j->handle;
    q->fd = j->fd;
    q->is_registered = false;
    if (q->verdict.ring.seq == 0)
        q->verdict = q->remembered = j->verdict;
    if (qb_loop_poll_add(q->loop, QB_LOOP_HIGH, q->fd, POLLIN, q, on_readable) != 0)
        abort();
    poll_now(q);
    on_readable(q->fd, 0, q);
}

static void done_connect(struct worker_job *job)
{
    struct quorum_job *j = (struct quorum_job *)job;
    struct quorum *q = j->q;
    if (q->state == QUORUM_STOPPED) {
        if (j->err == CS_OK)
            finalize(q, j->handle);
    } else if (j->err != CS_OK) {
        q->state = QUORUM_OFF;
        timer(q, &q->retry, QUORUM_RETRY_MS, start_connecting); /* cpg.c says that corosync is away */
    } else {
        adopt(q, j);
    }
    free(j);
}

static void start_connecting(void *data)
{
    struct quorum *q = data;
    q->retry = 0;
    q->state = QUORUM_CONNECTING;
    worker_submit(q->pool, &job_new(q, run_connect, done_connect)->job);
}

struct quorum *quorum_new(qb_loop_t *loop, struct worker_pool *pool, const char *cast_path,
                          void (*changed)(void *ctx, const struct quorum_report *r), void *ctx,
                          const struct log_sink *log)
{
    struct quorum *q = xcalloc(1, sizeof(*q));
    q->loop = loop;
    q->pool = pool;
    q->cast_path = cast_path;
    q->changed = changed;
    q->ctx = ctx;
    q->log = log;
    start_connecting(q);
    return q;
}

void quorum_stop(struct quorum *q)
{
    stop_timer(q, &q->retry);
    stop_timer(q, &q->beat);
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
