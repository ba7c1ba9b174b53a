/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Work that may block runs in pools of threads; what it found is handed back on the loop.
 *
 *     loop ── worker_submit ──> queue (FIFO) ──> thread: run(job)
 *       ^                                            │
 *       └── inbox_dispatch: done(job) <── inbox <────┘        (eventfd wakes the loop)
 *
 * A pool of one thread keeps strict order: jobs run, and are handed back, in the order of submission. All functions but
 * inbox_post() are for the loop's thread alone. */
#pragma once

#include <stddef.h>

/* ---- to the loop, from any thread */

struct inbox;

/* Embedded first in what is posted; fn is called on the loop and owns the item from then on. */
struct inbox_item {
    struct inbox_item *next;
    void (*fn)(struct inbox_item *item);
};

struct inbox *inbox_new(void);
void inbox_free(struct inbox *b);    /* no thread may post any more; what still waits is not delivered */
int inbox_fd(const struct inbox *b); /* readable when something waits */
void inbox_post(struct inbox *b, struct inbox_item *item);
/* Delivers what waits at this moment, oldest first; the number of items. */
size_t inbox_dispatch(struct inbox *b);

/* ---- off the loop */

struct worker_pool;

/* Embedded first in a job. run: on a thread of the pool; must not touch what the loop may change meanwhile. done: on
 * the loop, owns the job from then on. */
struct worker_job {
    struct inbox_item item;
    void (*run)(struct worker_job *job);
    void (*done)(struct worker_job *job);
    struct worker_pool *pool;
};

enum { WORKER_THREADS_MAX = 16 };

/* name: of the threads, up to 15 bytes. inbox is borrowed for the pool's life. */
struct worker_pool *worker_pool_new(const char *name, size_t n_threads, struct inbox *inbox);
void worker_submit(struct worker_pool *pool, struct worker_job *job);
/* Waits until every submitted job has run (their done() comes by the inbox), then ends the threads. NULL is accepted.
 */
void worker_pool_free(struct worker_pool *pool);
/* Waits until every submitted job has run, but ends no thread. 0, or ERR_TIMEOUT: something is stuck. */
int worker_pool_drain(struct worker_pool *pool, int timeout_ms);
