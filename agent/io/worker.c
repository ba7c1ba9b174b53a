/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/io/worker.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/err.h"

struct inbox {
    pthread_mutex_t lock;
    struct inbox_item *first, **last;
    int fd;
};

struct inbox *inbox_new(void)
{
    struct inbox *b = xcalloc(1, sizeof(*b));
    b->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (b->fd < 0)
        abort();
    pthread_mutex_init(&b->lock, NULL);
    b->last = &b->first;
    return b;
}

void inbox_free(struct inbox *b)
{
    if (!b)
        return;
    close(b->fd);
    pthread_mutex_destroy(&b->lock);
    free(b);
}

int inbox_fd(const struct inbox *b)
{
    return b->fd;
}

void inbox_post(struct inbox *b, struct inbox_item *item)
{
    assert(item->fn);
    item->next = NULL;
    pthread_mutex_lock(&b->lock);
    bool was_empty = !b->first;
    *b->last = item;
    b->last = &item->next;
    pthread_mutex_unlock(&b->lock);
    uint64_t one = 1;
    /* A full counter (EAGAIN) is readable already. */
    if (was_empty && write(b->fd, &one, sizeof(one)) < 0)
        assert(errno == EAGAIN);
}

size_t inbox_dispatch(struct inbox *b)
{
    uint64_t count;
    if (read(b->fd, &count, sizeof(count)) < 0)
        assert(errno == EAGAIN);
    pthread_mutex_lock(&b->lock);
    struct inbox_item *item = b->first;
    b->first = NULL;
    b->last = &b->first;
    pthread_mutex_unlock(&b->lock);

    size_t n = 0;
    for (struct inbox_item *next; item; item = next, n++) {
        next = item->next; /* fn frees the item */
        item->fn(item);
    }
    return n;
}

/* ---- pools */

struct worker_pool {
    pthread_mutex_t lock;
    pthread_cond_t work; /* something is queued, or stopping */
    pthread_cond_t idle; /* nothing is queued and nothing runs */
    struct inbox_item *first, **last;
    size_t n_running;
    bool stopping;
    struct inbox *inbox;
    pthread_t threads[WORKER_THREADS_MAX];
    size_t n_threads;
};

static struct worker_job *job_of(struct inbox_item *item)
{
    return (struct worker_job *)(void *)item; /* item is its first member */
}

static void on_done(struct inbox_item *item)
{
    struct worker_job *job = job_of(item);
    job->done(job);
}

/* The next job; NULL: the pool stops and nothing is left. Called with the lock held. */
static struct worker_job *take(struct worker_pool *pool)
{
    while (!pool->first) {
        if (pool->stopping)
            return NULL;
        pthread_cond_wait(&pool->work, &pool->lock);
    }
    struct worker_job *job = job_of(pool->first);
    pool->first = job->item.next;
    if (!pool->first)
        pool->last = &pool->first;
    return job;
}

static void *thread_main(void *arg)
{
    struct worker_pool *pool = arg;
    pthread_mutex_lock(&pool->lock);
    for (struct worker_job *job; (job = take(pool)) != NULL;) {
        pool->n_running++;
        pthread_mutex_unlock(&pool->lock);
        job->run(job);
        inbox_post(pool->inbox, &job->item); /* before the count falls: a drained pool has handed back everything */
        pthread_mutex_lock(&pool->lock);
        if (--pool->n_running == 0 && !pool->first)
            pthread_cond_broadcast(&pool->idle);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static void start_threads(struct worker_pool *pool, const char *name, size_t n)
{
    /* Signals are the loop's. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    char comm[16];
    STR_COPY(comm, name);
    for (; pool->n_threads < n; pool->n_threads++) {
        pthread_t *t = &pool->threads[pool->n_threads];
        if (pthread_create(t, NULL, thread_main, pool) != 0)
            abort(); /* out of memory or of threads, at start */
        pthread_setname_np(*t, comm);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

struct worker_pool *worker_pool_new(const char *name, size_t n_threads, struct inbox *inbox)
{
    assert(n_threads > 0 && n_threads <= WORKER_THREADS_MAX);
    struct worker_pool *pool = xcalloc(1, sizeof(*pool));
    pthread_mutex_init(&pool->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->work, &attr);
    pthread_cond_init(&pool->idle, &attr);
    pthread_condattr_destroy(&attr);
    pool->last = &pool->first;
    pool->inbox = inbox;
    start_threads(pool, name, n_threads);
    return pool;
}

void worker_submit(struct worker_pool *pool, struct worker_job *job)
{
    assert(job->run && job->done);
    job->pool = pool;
    job->item = (struct inbox_item){.fn = on_done};
    pthread_mutex_lock(&pool->lock);
    assert(!pool->stopping);
    *pool->last = &job->item;
    pool->last = &job->item.next;
    pthread_cond_signal(&pool->work);
    pthread_mutex_unlock(&pool->lock);
}

int worker_pool_drain(struct worker_pool *pool, int timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    int err = 0;
    pthread_mutex_lock(&pool->lock);
    while ((pool->first || pool->n_running > 0) && err != ETIMEDOUT)
        err = pthread_cond_timedwait(&pool->idle, &pool->lock, &until);
    bool idle = !pool->first && pool->n_running == 0;
    pthread_mutex_unlock(&pool->lock);
    return idle ? 0 : ERR_TIMEOUT;
}

void worker_pool_free(struct worker_pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->stopping = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    for (size_t i = 0; i < pool->n_threads; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->idle);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}
