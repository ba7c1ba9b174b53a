/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The daemon's one loop (qb_loop): ticks, signals, what workers and other threads hand back, systemd's notifications.
 * The watchdog is fed here and nowhere else: it says that this loop turns. */
#pragma once

#include <qb/qbloop.h>
#include <stdint.h>

#include "agent/io/worker.h"
#include "common/log.h"
#include "witness/io/loop.h"

enum { LOOP_EXIT_NONE = -1 };

struct loop;

struct loop *loop_new(const struct log_sink *log);
void loop_free(struct loop *l);
qb_loop_t *loop_qb(struct loop *l);
struct inbox *loop_inbox(struct loop *l);
/* What adapters of a witness need of it. */
struct witness_loop loop_witness(struct loop *l);

/* Monotonic, and UTC. */
int64_t loop_now_ms(void);
int64_t loop_wall_ms(void);

/* Runs until loop_stop() or SIGTERM or SIGINT (0), and returns the exit code. tick: every CORE_TICK_MS. */
/* At the first SIGTERM or SIGINT; the second one stops the loop. Without it the first one does. */
void loop_on_stop(struct loop *l, void (*stop)(void *ctx));
int loop_run(struct loop *l, void (*tick)(void *ctx), void *ctx);
/* The first code counts. May be called before loop_run(), which then returns at once. */
void loop_stop(struct loop *l, int exit_code);
