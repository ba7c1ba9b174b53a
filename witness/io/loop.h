/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an adapter of a witness needs of the loop that drives it: readiness, one timer, two clocks. The daemon gives
 * libqb's (agent/loop.c), a test its own. All of it is for the loop's thread alone. */
#pragma once

#include <stdint.h>

typedef void witness_ready_fn(void *data, int fd, short revents);
typedef void witness_timer_fn(void *data);

struct witness_loop {
    void *ctx;
    /* From now on fn(data, fd, revents) whenever fd is ready for events (POLLIN, POLLOUT; POLLERR and POLLHUP always).
     * A later call for the same fd replaces an earlier one; events 0: no more. The adapter says so before it closes. */
    void (*watch)(void *ctx, int fd, short events, witness_ready_fn *fn, void *data);
    /* fn(data) once, in after_ms (0: on the loop's next turn). One timer for each data: a later call replaces it;
     * after_ms < 0: no more. */
    void (*timer)(void *ctx, int64_t after_ms, witness_timer_fn *fn, void *data);
    int64_t (*now_ms)(void *ctx);  /* monotonic */
    int64_t (*wall_ms)(void *ctx); /* UTC */
};
