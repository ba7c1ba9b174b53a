/* SPDX-License-Identifier: GPL-2.0-or-later */
/* agent/io/worker: order, hand-back on the loop's thread, ends. */
#include "tests/unit/unit.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "agent/io/worker.h"
#include "common/buf.h"
#include "common/err.h"

enum { N = 500 };

struct log {
    int ran[N], done[N];
    int n_ran, n_done;
    pthread_t loop;
    bool off_loop; /* a done() came on another thread, or a run() on the loop's */
};

struct job {
    struct worker_job job;
    struct log *log;
    int number;
    int sleep_ms;
};

static void run(struct worker_job *job)
{
    struct job *j = (struct job *)job;
    if (j->sleep_ms)
        poll(NULL, 0, j->sleep_ms);
    if (pthread_equal(pthread_self(), j->log->loop))
        j->log->off_loop = true;
    if (j->log->n_ran < N) /* one thread: no lock needed */
        j->log->ran[j->log->n_ran++] = j->number;
}

static void done(struct worker_job *job)
{
    struct job *j = (struct job *)job;
    if (!pthread_equal(pthread_self(), j->log->loop))
        j->log->off_loop = true;
    j->log->done[j->log->n_done++] = j->number;
    free(j);
}

static void submit(struct worker_pool *pool, struct log *log, int number, int sleep_ms)
{
    struct job *j = xcalloc(1, sizeof(*j));
    *j = (struct job){{.run = run, .done = done}, log, number, sleep_ms};
    worker_submit(pool, &j->job);
}

static void test_one_thread_keeps_the_order(void **state)
{
    (void)state;
    struct log *log = xcalloc(1, sizeof(*log));
    log->loop = pthread_self();
    struct inbox *inbox = inbox_new();
    struct worker_pool *pool = worker_pool_new("test", 1, inbox);
    for (int i = 0; i < N; i++)
        submit(pool, log, i, 0);
    while (log->n_done < N) {
        struct pollfd p = {.fd = inbox_fd(inbox), .events = POLLIN};
        assert_int_equal(poll(&p, 1, 5000), 1); /* the eventfd wakes the loop for everything that comes */
        inbox_dispatch(inbox);
    }
    for (int i = 0; i < N; i++) {
        assert_int_equal(log->ran[i], i);
        assert_int_equal(log->done[i], i);
    }
    assert_false(log->off_loop);
    worker_pool_free(pool);
    inbox_free(inbox);
    free(log);
}

static void test_free_runs_what_is_queued(void **state)
{
    (void)state;
    struct log *log = xcalloc(1, sizeof(*log));
    log->loop = pthread_self();
    struct inbox *inbox = inbox_new();
    struct worker_pool *pool = worker_pool_new("test", 1, inbox);
    for (int i = 0; i < 20; i++)
        submit(pool, log, i, i == 0 ? 30 : 0);
    worker_pool_free(pool);
    assert_int_equal(log->n_ran, 20);
    assert_int_equal(log->n_done, 0);
    assert_int_equal(inbox_dispatch(inbox), 20);
    assert_int_equal(log->n_done, 20);
    assert_int_equal(inbox_dispatch(inbox), 0);
    inbox_free(inbox);
    free(log);
}

static void test_drain_gives_up(void **state)
{
    (void)state;
    struct log *log = xcalloc(1, sizeof(*log));
    log->loop = pthread_self();
    struct inbox *inbox = inbox_new();
    struct worker_pool *pool = worker_pool_new("test", 1, inbox);
    submit(pool, log, 0, 200);
    assert_int_equal(worker_pool_drain(pool, 20), ERR_TIMEOUT);
    assert_int_equal(worker_pool_drain(pool, 5000), 0);
    assert_int_equal(inbox_dispatch(inbox), 1); /* handed back before the pool counts as drained */
    worker_pool_free(pool);
    inbox_free(inbox);
    free(log);
}

struct meeting {
    atomic_int here;
    atomic_bool met;
};

struct meeter {
    struct worker_job job;
    struct meeting *m;
};

static void run_meet(struct worker_job *job)
{
    struct meeting *m = ((struct meeter *)job)->m;
    atomic_fetch_add(&m->here, 1);
    for (int i = 0; i < 5000 && atomic_load(&m->here) < 4; i++)
        usleep(1000);
    if (atomic_load(&m->here) == 4)
        atomic_store(&m->met, true);
}

static void done_nothing(struct worker_job *job)
{
    (void)job;
}

static void test_four_threads_run_at_once(void **state)
{
    (void)state;
    struct meeting m = {0};
    struct meeter jobs[4];
    struct inbox *inbox = inbox_new();
    struct worker_pool *pool = worker_pool_new("test", 4, inbox);
    for (size_t i = 0; i < 4; i++) {
        jobs[i] = (struct meeter){{.run = run_meet, .done = done_nothing}, &m};
        worker_submit(pool, &jobs[i].job);
    }
    assert_int_equal(worker_pool_drain(pool, 10000), 0);
    assert_true(atomic_load(&m.met));
    worker_pool_free(pool);
    inbox_free(inbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_thread_keeps_the_order),
        cmocka_unit_test(test_free_runs_what_is_queued),
        cmocka_unit_test(test_drain_gives_up),
        cmocka_unit_test(test_four_threads_run_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
