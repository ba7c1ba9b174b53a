/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/loop.h"

#include <poll.h>
#include <qb/qbutil.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/timerfd.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "agent/core.h"

/* Of an adapter of a witness. */
struct watch {
    struct watch *next;
    int fd;
    witness_ready_fn *fn;
    void *data;
};
struct timer {
    struct timer *next;
    struct loop *loop;
    qb_loop_timer_handle handle;
    witness_timer_fn *fn;
    void *data;
};

struct loop {
    struct watch *watches;
    struct timer *timers;
    qb_loop_t *qb;
    struct inbox *inbox;
    const struct log_sink *log;
    void (*tick)(void *ctx), (*stop)(void *ctx);
    void *ctx;
    int timer_fd;
    int exit_code;
    bool running;
    int64_t watchdog_ms; /* feed it this often; 0: there is none */
    int64_t fed_ms;
};

static int64_t clock_ms(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t loop_now_ms(void)
{
    return clock_ms(CLOCK_MONOTONIC);
}

int64_t loop_wall_ms(void)
{
    return clock_ms(CLOCK_REALTIME);
}

/* libqb rounds the time to its next timer down to milliseconds, and spins through the rest of the last one: for a timer
 * that fires twenty times a second that is most of what an idle agent would cost. */
static int timer_new(void)
{
    const struct timespec every = {.tv_nsec = CORE_TICK_MS * 1000000L};
    const struct itimerspec spec = {.it_interval = every, .it_value = every};
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (fd < 0 || timerfd_settime(fd, 0, &spec, NULL) != 0)
        abort(); /* out of memory or descriptors, at start */
    return fd;
}

static int32_t on_inbox(int32_t fd, int32_t revents, void *data)
{
    (void)fd, (void)revents;
    struct loop *l = data;
    inbox_dispatch(l->inbox);
    return 0;
}

struct loop *loop_new(const struct log_sink *log)
{
    struct loop *l = xcalloc(1, sizeof(*l));
    l->log = log;
    l->exit_code = LOOP_EXIT_NONE;
    l->inbox = inbox_new();
    l->timer_fd = timer_new();
    l->qb = qb_loop_create();
    if (!l->qb || qb_loop_poll_add(l->qb, QB_LOOP_MED, inbox_fd(l->inbox), POLLIN, l, on_inbox) != 0)
        abort(); /* out of memory or descriptors, at start */
    return l;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    qb_loop_destroy(l->qb);
    close(l->timer_fd);
    inbox_free(l->inbox);
    free(l);
}

qb_loop_t *loop_qb(struct loop *l)
{
    return l->qb;
}

struct inbox *loop_inbox(struct loop *l)
{
    return l->inbox;
}

/* ---- adapters of a witness: few sockets, one timer each */

static int32_t on_ready(int32_t fd, int32_t revents, void *data)
{
    struct watch *w = data; /* fn may end it */
    w->fn(w->data, fd, (short)revents);
    return 0;
}

static struct watch **find_watch(struct loop *l, int fd)
{
    struct watch **at = &l->watches;
    while (*at && (*at)->fd != fd)
        at = &(*at)->next;
    return at;
}

static void watch_end(struct loop *l, struct watch **at)
{
    struct watch *w = *at;
    if (!w)
        return;
    qb_loop_poll_del(l->qb, w->fd);
    *at = w->next;
    free(w);
}

static void witness_watch(void *ctx, int fd, short events, witness_ready_fn *fn, void *data)
{
    struct loop *l = ctx;
    struct watch **at = find_watch(l, fd), *w = *at;
    if (events == 0) {
        watch_end(l, at);
        return;
    }
    bool is_new = w == NULL;
    if (is_new) {
        w = xcalloc(1, sizeof(*w));
        w->next = l->watches;
        l->watches = w;
    }
    w->fd = fd;
    w->fn = fn;
    w->data = data;
    if ((is_new ? qb_loop_poll_add(l->qb, QB_LOOP_MED, fd, events, w, on_ready)
                : qb_loop_poll_mod(l->qb, QB_LOOP_MED, fd, events, w, on_ready)) != 0)
        abort(); /* out of memory */
}

static struct timer **find_timer(struct loop *l, const void *data)
{
    struct timer **at = &l->timers;
    while (*at && (*at)->data != data)
        at = &(*at)->next;
    return at;
}

static void on_timer(void *data)
{
    struct timer t = *(struct timer *)data, **at = find_timer(t.loop, t.data);
    *at = t.next;
    free(data);
    t.fn(t.data);
}

static void witness_timer(void *ctx, int64_t after_ms, witness_timer_fn *fn, void *data)
{
    struct loop *l = ctx;
    struct timer **at = find_timer(l, data), *t = *at;
    if (t) {
        qb_loop_timer_del(l->qb, t->handle);
        *at = t->next;
        free(t);
    }
    if (after_ms < 0)
        return;
    t = xcalloc(1, sizeof(*t));
    *t = (struct timer){.next = l->timers, .loop = l, .fn = fn, .data = data};
    l->timers = t;
    uint64_t after_ns = (uint64_t)after_ms * 1000000;
    if (qb_loop_timer_add(l->qb, QB_LOOP_MED, after_ns, t, on_timer, &t->handle) != 0)
        abort(); /* out of memory */
}

static int64_t witness_now(void *ctx)
{
    (void)ctx;
    return loop_now_ms();
}

static int64_t witness_wall(void *ctx)
{
    (void)ctx;
    return loop_wall_ms();
}

struct witness_loop loop_witness(struct loop *l)
{
    return (struct witness_loop){l, witness_watch, witness_timer, witness_now, witness_wall};
}

/* ---- ticks, signals, the end */

static void feed_watchdog(struct loop *l, int64_t now)
{
    if (l->watchdog_ms == 0 || now - l->fed_ms < l->watchdog_ms)
        return;
    l->fed_ms = now;
    sd_notify(0, "WATCHDOG=1");
}

/* Ticks that were missed are one. */
static int32_t on_tick(int32_t fd, int32_t revents, void *data)
{
    struct loop *l = data;
    uint64_t n;
    (void)revents;
    if (read(fd, &n, sizeof(n)) != sizeof(n))
        return 0;
    feed_watchdog(l, loop_now_ms());
    l->tick(l->ctx);
    return 0;
}

static int32_t on_signal(int32_t signal, void *data)
{
    struct loop *l = data;
    log_notice(l->log, "%s -> stopping", signal == SIGTERM ? "SIGTERM" : "SIGINT");
    void (*stop)(void *ctx) = l->stop;
    l->stop = NULL;
    if (stop)
        stop(l->ctx);
    else
        loop_stop(l, 0);
    return 0;
}

void loop_on_stop(struct loop *l, void (*stop)(void *ctx))
{
    l->stop = stop;
}

static void add_signals(struct loop *l)
{
    qb_loop_signal_handle handle;
    if (qb_loop_signal_add(l->qb, QB_LOOP_HIGH, SIGTERM, l, on_signal, &handle) != 0 ||
        qb_loop_signal_add(l->qb, QB_LOOP_HIGH, SIGINT, l, on_signal, &handle) != 0)
        abort();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
}

int loop_run(struct loop *l, void (*tick)(void *ctx), void *ctx)
{
    uint64_t usec = 0;
    if (sd_watchdog_enabled(0, &usec) > 0)
        l->watchdog_ms = (int64_t)(usec / 1000 / 4);
    l->tick = tick;
    l->ctx = ctx;
    add_signals(l);
    if (qb_loop_poll_add(l->qb, QB_LOOP_HIGH, l->timer_fd, POLLIN, l, on_tick) != 0)
        abort();
    sd_notify(0, "READY=1");
    l->running = true;
    if (l->exit_code == LOOP_EXIT_NONE)
        qb_loop_run(l->qb);
    l->running = false;
    sd_notify(0, "STOPPING=1");
    qb_loop_poll_del(l->qb, l->timer_fd);
    return l->exit_code;
}

void loop_stop(struct loop *l, int exit_code)
{
    if (l->exit_code != LOOP_EXIT_NONE)
        return;
    l->exit_code = exit_code;
    if (l->running)
        qb_loop_stop(l->qb);
}
