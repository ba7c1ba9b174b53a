/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backup/io/pump.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "common/buf.h"

enum { QUEUE_MAX = 64, LANES_MAX = 16, DEPTH_MAX = 16 };

struct item {
    struct transfer t; /* first: a lane hands back the address of it */
    struct pump_ticket *ticket;
    bool busy;
};

struct lane {
    struct pump *pump;
    pthread_t thread;
    void *source;
    struct item items[DEPTH_MAX];
};

struct pump {
    struct pump_job job;
    pthread_mutex_t mutex;
    pthread_cond_t more, less; /* something came into the queue; something left it, or was done */
    struct {
        struct transfer t;
        struct pump_ticket *ticket;
    } queue[QUEUE_MAX];
    size_t head, n;
    bool ending;
    struct error failed; /* code 0: nothing did */
    unsigned started;
    struct lane lanes[LANES_MAX];
};

static void fail(struct pump *p, const struct error *e)
{
    pthread_mutex_lock(&p->mutex);
    if (p->failed.code == 0)
        p->failed = *e;
    pthread_cond_broadcast(&p->more);
    pthread_cond_broadcast(&p->less);
    pthread_mutex_unlock(&p->mutex);
}

static struct item *free_item(struct lane *l)
{
    for (unsigned i = 0; i < l->pump->job.depth; i++)
        if (!l->items[i].busy)
            return &l->items[i];
    return NULL;
}

/* False: nothing to do now, or no more at all when it was to wait. */
static bool take(struct pump *p, struct item *item, bool wait)
{
    pthread_mutex_lock(&p->mutex);
    while (wait && p->n == 0 && !p->ending && p->failed.code == 0)
        pthread_cond_wait(&p->more, &p->mutex);
    bool got = p->n > 0 && !p->ending && p->failed.code == 0;
    if (got) {
        uint8_t *buf = item->t.buf;
        item->t = p->queue[p->head].t;
        item->t.buf = buf;
        item->ticket = p->queue[p->head].ticket;
        item->busy = true;
        p->head = (p->head + 1) % QUEUE_MAX;
        p->n--;
        pthread_cond_broadcast(&p->less);
    }
    pthread_mutex_unlock(&p->mutex);
    return got;
}

static void settle(struct pump *p, struct item *item)
{
    item->busy = false;
    pthread_mutex_lock(&p->mutex);
    item->ticket->open--;
    pthread_cond_broadcast(&p->less);
    pthread_mutex_unlock(&p->mutex);
}

static int run(struct lane *l, struct error *e)
{
    struct pump *p = l->pump;
    const struct source_ops *ops = p->job.ops;
    unsigned under_way = 0;
    for (;;) {
        struct item *item;
        while ((item = free_item(l)) != NULL && take(p, item, under_way == 0)) {
            int err = ops->start(l->source, &item->t, e);
            if (err)
                return err;
            under_way++;
        }
        if (under_way == 0)
            return 0;
        struct transfer *t;
        int err = ops->finish(l->source, &t, e);
        if (!err)
            err = p->job.done(p->job.ctx, t, e);
        if (err)
            return err;
        under_way--;
        settle(p, (struct item *)t);
    }
}

static void *lane_main(void *arg)
{
    struct lane *l = arg;
    struct error e = {0};
    for (unsigned i = 0; i < l->pump->job.depth; i++) {
        void *buf = NULL;
        if (posix_memalign(&buf, 4096, PUMP_TRANSFER_MAX) != 0)
            abort();
        l->items[i].t.buf = buf;
    }
    int err = l->pump->job.ops->open(l->pump->job.source, &l->source, &e);
    if (!err) {
        err = run(l, &e);
        l->pump->job.ops->close(l->source);
    }
    if (err)
        fail(l->pump, &e);
    for (unsigned i = 0; i < l->pump->job.depth; i++)
        free(l->items[i].t.buf);
    return NULL;
}

int pump_start(const struct pump_job *job, struct pump **ret, struct error *e)
{
    assert(job->lanes > 0 && job->lanes <= LANES_MAX && job->depth > 0 && job->depth <= DEPTH_MAX);
    struct pump *p = xcalloc(1, sizeof(*p));
    p->job = *job;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->more, NULL);
    pthread_cond_init(&p->less, NULL);
    for (unsigned i = 0; i < job->lanes; i++) {
        p->lanes[i].pump = p;
        int err = pthread_create(&p->lanes[i].thread, NULL, lane_main, &p->lanes[i]);
        if (err) {
            pump_free(p);
            return error_set(e, ERR_FAILED, "cannot make a thread: %s", strerror(err));
        }
        p->started++;
    }
    *ret = p;
    return 0;
}

static int answer(struct pump *p, struct error *e)
{
    int err = p->failed.code;
    if (err && e)
        *e = p->failed;
    pthread_mutex_unlock(&p->mutex);
    return err;
}

int pump_put(struct pump *p, const struct transfer *t, struct pump_ticket *ticket, struct error *e)
{
    assert(t->bytes > 0 && t->bytes <= PUMP_TRANSFER_MAX);
    pthread_mutex_lock(&p->mutex);
    while (p->n == QUEUE_MAX && p->failed.code == 0)
        pthread_cond_wait(&p->less, &p->mutex);
    if (p->failed.code == 0) {
        size_t at = (p->head + p->n++) % QUEUE_MAX;
        p->queue[at].t = *t;
        p->queue[at].ticket = ticket;
        ticket->open++;
        pthread_cond_signal(&p->more);
    }
    return answer(p, e);
}

int pump_wait(struct pump *p, struct pump_ticket *ticket, struct error *e)
{
    pthread_mutex_lock(&p->mutex);
    while (ticket->open > 0 && p->failed.code == 0)
        pthread_cond_wait(&p->less, &p->mutex);
    return answer(p, e);
}

void pump_free(struct pump *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->mutex);
    p->ending = true;
    pthread_cond_broadcast(&p->more);
    pthread_mutex_unlock(&p->mutex);
    for (unsigned i = 0; i < p->started; i++)
        pthread_join(p->lanes[i].thread, NULL);
    pthread_cond_destroy(&p->less);
    pthread_cond_destroy(&p->more);
    pthread_mutex_destroy(&p->mutex);
    free(p);
}
