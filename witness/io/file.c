/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A job and who owns it:
 *
 *     start ──> QUEUED ──> RUNNING ──> DONE ──> completed()     the loop's, but while it is RUNNING
 *                 │           │
 *              deadline    deadline: the job is the thread's from then on, and goes when the server answers
 *                 v           v
 *           UNREACHABLE    UNKNOWN
 *
 * `desk` is what both sides share, under its lock; the last of the two frees it. The thread is detached: nobody waits
 * for it, and a process can end while the server hangs (NFS waits can be killed). While it hangs, calls wait in the
 * queue, and end as never sent. */
#include "witness/io/file.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "witness/io/share.h"
#include "witness/record.h"

enum job_state { QUEUED, RUNNING, DONE };

struct job {
    struct job *next; /* of the adapter's jobs, oldest first */
    struct witness_call call;
    int64_t deadline_ms;
    enum job_state state;
    bool is_abandoned; /* RUNNING, and nobody waits for it */
    struct share_outcome outcome;
};

struct desk {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct job *jobs;
    struct job *running; /* may be no longer among jobs */
    bool is_stopping, is_shared;
    int fd; /* eventfd: something is DONE */
    struct share_place place;
};

struct file_witness {
    struct witness base;
    struct witness_loop loop;
    struct desk *desk;
};

static struct file_witness *file_of(struct witness *w)
{
    return (struct file_witness *)(void *)w; /* its first member */
}

/* With the lock held, which is released; the second of the two frees. */
static void leave(struct desk *d)
{
    bool is_last = !d->is_shared;
    d->is_shared = false;
    pthread_mutex_unlock(&d->lock);
    if (!is_last)
        return;
    close(d->fd);
    pthread_cond_destroy(&d->work);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

/* ---- the thread */

static struct job *first_queued(struct desk *d)
{
    struct job *j = d->jobs;
    while (j && j->state != QUEUED)
        j = j->next;
    return j;
}

static bool is_wanted(void *ctx)
{
    struct desk *d = ctx;
    pthread_mutex_lock(&d->lock);
    bool wanted = !d->running->is_abandoned;
    pthread_mutex_unlock(&d->lock);
    return wanted;
}

/* With the lock held. */
static void run(struct desk *d, struct job *j)
{
    struct share_outcome outcome;
    d->running = j;
    j->state = RUNNING;
    pthread_mutex_unlock(&d->lock);
    share_perform(&d->place, &j->call, is_wanted, d, &outcome);
    pthread_mutex_lock(&d->lock);
    d->running = NULL;
    if (j->is_abandoned) {
        free(j);
        return;
    }
    j->outcome = outcome;
    j->state = DONE;
    uint64_t one = 1;
    if (write(d->fd, &one, sizeof(one)) < 0)
        assert(errno == EAGAIN); /* readable already */
}

static void *thread_main(void *arg)
{
    struct desk *d = arg;
    pthread_mutex_lock(&d->lock);
    while (!d->is_stopping) {
        struct job *j = first_queued(d);
        if (j)
            run(d, j);
        else
            pthread_cond_wait(&d->work, &d->lock);
    }
    leave(d);
    return NULL;
}

static void start_thread(struct desk *d)
{
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the loop's */
    if (pthread_create(&thread, NULL, thread_main, d) != 0)
        abort(); /* out of memory or of threads, at start */
    pthread_setname_np(thread, "witness");
    pthread_detach(thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* ---- the loop */

static void on_timer(void *data);

static void rearm(struct file_witness *f)
{
    int64_t next = INT64_MAX, now = f->loop.now_ms(f->loop.ctx);
    pthread_mutex_lock(&f->desk->lock);
    for (const struct job *j = f->desk->jobs; j; j = j->next)
        next = j->deadline_ms < next ? j->deadline_ms : next;
    pthread_mutex_unlock(&f->desk->lock);
    f->loop.timer(f->loop.ctx, next == INT64_MAX ? -1 : next > now ? next - now : 0, on_timer, f);
}

/* The oldest job that is done, or past its deadline; it is the caller's now, unless it is RUNNING: then *ret_call and
 * *ret_outcome are all that is left to the loop. */
static bool take_over(struct desk *d, int64_t now, struct witness_call *ret_call, struct share_outcome *ret_outcome)
{
    pthread_mutex_lock(&d->lock);
    struct job **at = &d->jobs, *j;
    while ((j = *at) != NULL && j->state != DONE && j->deadline_ms > now)
        at = &j->next;
    if (j) {
        *at = j->next;
        *ret_call = j->call;
        *ret_outcome = j->outcome;
        if (j->state != DONE)
            *ret_outcome =
                (struct share_outcome){.outcome = j->state == RUNNING ? WITNESS_UNKNOWN : WITNESS_UNREACHABLE,
                                       .cause = WITNESS_CAUSE_SHARE_HUNG};
        j->is_abandoned = j->state == RUNNING;
        if (!j->is_abandoned)
            free(j);
    }
    pthread_mutex_unlock(&d->lock);
    return j != NULL;
}

static void complete(struct file_witness *f, const struct witness_call *call, const struct share_outcome *o)
{
    const struct share_place *p = &f->desk->place;
    struct witness_place place = {.host = p->dir, .blob = p->name, .path = p->dir};
    struct witness_result r = {
        .id = call->id, .op = call->op, .outcome = o->outcome, .cause = o->cause, .record = o->record, .etag = o->etag};
    witness_explain(o->outcome, o->cause, &place, o->detail, &r.error);
    f->base.completed(f->base.ctx, &r);
}

static void deliver(struct file_witness *f)
{
    struct witness_call call;
    struct share_outcome outcome;
    while (take_over(f->desk, f->loop.now_ms(f->loop.ctx), &call, &outcome))
        complete(f, &call, &outcome);
    rearm(f);
}

static void on_timer(void *data)
{
    deliver(data);
}

static void on_ready(void *data, int fd, short revents)
{
    (void)revents;
    uint64_t count;
    if (read(fd, &count, sizeof(count)) < 0)
        assert(errno == EAGAIN);
    deliver(data);
}

/* ---- the port */

static void file_start(struct witness *w, const struct witness_call *call)
{
    struct file_witness *f = file_of(w);
    struct job *j = xcalloc(1, sizeof(*j));
    j->call = *call;
    j->deadline_ms = f->loop.now_ms(f->loop.ctx) + (call->timeout_ms > 0 ? call->timeout_ms : 0);
    pthread_mutex_lock(&f->desk->lock);
    struct job **at = &f->desk->jobs;
    while (*at)
        at = &(*at)->next;
    *at = j;
    pthread_cond_signal(&f->desk->work);
    pthread_mutex_unlock(&f->desk->lock);
    rearm(f);
}

static void file_free(struct witness *w)
{
    struct file_witness *f = file_of(w);
    struct desk *d = f->desk;
    f->loop.watch(f->loop.ctx, d->fd, 0, on_ready, f);
    f->loop.timer(f->loop.ctx, -1, on_timer, f);
    pthread_mutex_lock(&d->lock);
    for (struct job *j = d->jobs, *next; j; j = next) {
        next = j->next;
        j->is_abandoned = true;
        if (j->state != RUNNING)
            free(j);
    }
    d->jobs = NULL;
    d->is_stopping = true;
    pthread_cond_signal(&d->work);
    leave(d);
    free(f);
}

static const struct witness_ops file_ops = {file_start, file_free};

static int take_options(struct share_place *p, const struct file_witness_options *o, struct error *e)
{
    size_t n = strlen(o->name);
    p->may_be_local = o->may_be_local;
    if (o->dir[0] != '/' || !STR_COPY(p->dir, o->dir))
        return error_set(e, ERR_USAGE, "the witness's folder is not an absolute path of at most %d bytes",
                         SHARE_DIR_MAX - 1);
    if (n == 0 || strspn(o->name, "0123456789abcdef-") != n || !STR_COPY(p->name, o->name))
        return error_set(e, ERR_USAGE, "the record's name is not a UUID");
    return 0;
}

int file_witness_new(const struct file_witness_options *options, const struct witness_loop *loop,
                     void (*completed)(void *ctx, const struct witness_result *result), void *ctx, struct witness **ret,
                     struct error *e)
{
    struct share_place place = {.dir = ""};
    int err = take_options(&place, options, e);
    if (err)
        return err;
    struct desk *d = xcalloc(1, sizeof(*d));
    struct file_witness *f = xcalloc(1, sizeof(*f));
    d->place = place;
    d->is_shared = true;
    d->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (d->fd < 0)
        abort(); /* out of descriptors, at start */
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->work, NULL);
    *f = (struct file_witness){.base = {&file_ops, completed, ctx}, .loop = *loop, .desk = d};
    start_thread(d);
    f->loop.watch(f->loop.ctx, d->fd, POLLIN, on_ready, f);
    *ret = &f->base;
    return 0;
}
