/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A loop for the adapters of witnesses, on poll(); programs that a test starts; calls that are waited for. */
#pragma once

#include "tests/unit/unit.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "witness/io/loop.h"
#include "witness/record.h"

/* ---- the loop */

enum { WORLD_FDS = 64, WORLD_TIMERS = 8, WORLD_RESULTS = 64 };

struct world {
    struct {
        int fd;
        short events;
        witness_ready_fn *fn;
        void *data;
    } fds[WORLD_FDS];
    size_t n_fds;
    struct {
        int64_t at_ms;
        witness_timer_fn *fn;
        void *data;
    } timers[WORLD_TIMERS];
    size_t n_timers;
    int64_t wall_off_ms; /* this node's clock is off by that */
    struct witness_loop loop;
    struct witness_result results[WORLD_RESULTS]; /* as they came */
    size_t n_results;
};

static inline int64_t world_clock_ms(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static inline void world_watch(void *ctx, int fd, short events, witness_ready_fn *fn, void *data)
{
    struct world *w = ctx;
    size_t i = 0;
    while (i < w->n_fds && w->fds[i].fd != fd)
        i++;
    if (events == 0) {
        if (i < w->n_fds)
            w->fds[i] = w->fds[--w->n_fds];
        return;
    }
    assert_true(i < WORLD_FDS);
    w->n_fds += i == w->n_fds;
    w->fds[i].fd = fd;
    w->fds[i].events = events;
    w->fds[i].fn = fn;
    w->fds[i].data = data;
}

static inline void world_timer(void *ctx, int64_t after_ms, witness_timer_fn *fn, void *data)
{
    struct world *w = ctx;
    size_t i = 0;
    while (i < w->n_timers && w->timers[i].data != data)
        i++;
    if (after_ms < 0) {
        if (i < w->n_timers)
            w->timers[i] = w->timers[--w->n_timers];
        return;
    }
    assert_true(i < WORLD_TIMERS);
    w->n_timers += i == w->n_timers;
    w->timers[i].at_ms = world_clock_ms(CLOCK_MONOTONIC) + after_ms;
    w->timers[i].fn = fn;
    w->timers[i].data = data;
}

static inline int64_t world_now_ms(void *ctx)
{
    (void)ctx;
    return world_clock_ms(CLOCK_MONOTONIC);
}

static inline int64_t world_wall_ms(void *ctx)
{
    return world_clock_ms(CLOCK_REALTIME) + ((struct world *)ctx)->wall_off_ms;
}

static inline struct world *world_new(void)
{
    struct world *w = xcalloc(1, sizeof(*w));
    w->loop = (struct witness_loop){w, world_watch, world_timer, world_now_ms, world_wall_ms};
    return w;
}

static inline bool world_run_timer(struct world *w)
{
    for (size_t i = 0; i < w->n_timers; i++) {
        if (w->timers[i].at_ms > world_clock_ms(CLOCK_MONOTONIC))
            continue;
        witness_timer_fn *fn = w->timers[i].fn;
        void *data = w->timers[i].data;
        w->timers[i] = w->timers[--w->n_timers];
        fn(data);
        return true;
    }
    return false;
}

/* One turn: what is due, or what is ready. */
static inline void world_turn(struct world *w)
{
    if (world_run_timer(w))
        return;
    int64_t next = INT64_MAX;
    for (size_t i = 0; i < w->n_timers; i++)
        next = w->timers[i].at_ms < next ? w->timers[i].at_ms : next;
    int64_t wait = next == INT64_MAX ? -1 : next - world_clock_ms(CLOCK_MONOTONIC);
    assert_true(w->n_fds > 0 || w->n_timers > 0); /* something can still come */
    struct pollfd p[WORLD_FDS];
    size_t n = w->n_fds;
    for (size_t i = 0; i < n; i++)
        p[i] = (struct pollfd){.fd = w->fds[i].fd, .events = w->fds[i].events};
    poll(p, n, wait < 0 && next != INT64_MAX ? 0 : (int)wait);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; p[i].revents && k < w->n_fds; k++)
            if (w->fds[k].fd == p[i].fd) {
                w->fds[k].fn(w->fds[k].data, p[i].fd, p[i].revents);
                break;
            }
}

static inline void world_completed(void *ctx, const struct witness_result *r)
{
    struct world *w = ctx;
    assert_true(w->n_results < WORLD_RESULTS);
    w->results[w->n_results++] = *r;
}

/* The adapters are freed: they left nothing behind. */
static inline void world_free(struct world *w)
{
    assert_int_equal(w->n_fds, 0);
    assert_int_equal(w->n_timers, 0);
    free(w);
}

/* ---- calls */

enum { LONG_MS = 30000 };

static inline struct witness_result world_wait(struct world *w, uint64_t id)
{
    for (;;) {
        for (size_t i = 0; i < w->n_results; i++)
            if (w->results[i].id == id) {
                struct witness_result r = w->results[i];
                w->results[i] = w->results[--w->n_results];
                return r;
            }
        world_turn(w);
    }
}

static inline struct witness_result world_call(struct world *w, struct witness *witness, struct witness_call call)
{
    static uint64_t id;
    size_t before = w->n_results;
    call.id = ++id;
    witness_start(witness, &call);
    assert_int_equal(w->n_results, before); /* never out of start() */
    struct witness_result r = world_wait(w, id);
    assert_int_equal(r.op, call.op);
    assert_int_equal(r.error.code == 0, r.outcome == WITNESS_DONE);
    assert_int_equal(r.cause == WITNESS_CAUSE_NONE, r.outcome == WITNESS_DONE);
    return r;
}

static inline struct uuid world_uuid(uint8_t n)
{
    struct uuid u = {{0}};
    memset(u.b, n, sizeof(u.b));
    return u;
}

static inline struct witness_record world_record(uint64_t sequence, uint8_t leader)
{
    struct uuid nonce = world_uuid(leader);
    memcpy(nonce.b, &sequence, sizeof(sequence));
    return (struct witness_record){
        .sequence = sequence,
        .version = WITNESS_VERSION,
        .cluster_uuid = world_uuid(0xc1),
        .witness_uuid = world_uuid(0xe1),
        .term = sequence,
        .leader = world_uuid(leader),
        .nonce = nonce,
        .members = {world_uuid(leader)},
        .n_members = 1,
    };
}

static inline struct witness_result world_create(struct world *w, struct witness *witness, uint8_t leader)
{
    struct witness_call call = {.op = WITNESS_CREATE, .timeout_ms = LONG_MS, .record = world_record(1, leader)};
    return world_call(w, witness, call);
}

static inline struct witness_result world_get(struct world *w, struct witness *witness)
{
    struct witness_call call = {
        .op = WITNESS_GET, .timeout_ms = LONG_MS, .cluster_uuid = world_uuid(0xc1), .witness_uuid = world_uuid(0xe1)};
    return world_call(w, witness, call);
}

static inline struct witness_result world_put(struct world *w, struct witness *witness, uint64_t sequence,
                                              uint8_t leader, const struct witness_etag *etag, int64_t timeout_ms)
{
    struct witness_call call = {
        .op = WITNESS_PUT, .timeout_ms = timeout_ms, .etag = *etag, .record = world_record(sequence, leader)};
    return world_call(w, witness, call);
}

static inline void assert_outcome(const struct witness_result *r, enum witness_outcome outcome,
                                  enum witness_cause cause)
{
    if (r->outcome == outcome && r->cause == cause)
        return;
    print_message("%s, %s (%d): %s\n", witness_outcome_name(r->outcome), witness_cause_name(r->cause), r->http_status,
                  r->error.text);
    assert_string_equal(witness_outcome_name(r->outcome), witness_outcome_name(outcome));
    assert_string_equal(witness_cause_name(r->cause), witness_cause_name(cause));
}

static inline void assert_record(const struct witness_result *r, uint64_t sequence, uint8_t leader)
{
    struct witness_record want = world_record(sequence, leader);
    assert_string_equal(witness_record_encode(&r->record).s, witness_record_encode(&want).s);
    assert_true(r->etag.s[0]);
}

/* ---- programs */

/* argv[0] is a path. It ends when the test ends. ret_out: its standard output; its errors go to the test's. */
static inline pid_t world_spawn(const char *const *argv, FILE **ret_out)
{
    int out[2];
    assert_int_equal(pipe(out), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(out[1], STDOUT_FILENO);
        close(out[0]);
        close(out[1]);
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(out[1]);
    *ret_out = fdopen(out[0], "r");
    return pid;
}

static inline void world_end(pid_t pid, FILE *out)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    fclose(out);
}
