/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Moves blocks from a source (backup/port.h) through the user's function, by several threads with many reads under way
 * each:
 *
 *     pump_put ──> queue ──> lane: start … finish ──> done()        a lane for each thread
 *
 * pump_put blocks while the queue is full. The first error stops all lanes, and is what every later call returns. */
#pragma once

#include "backup/port.h"

struct pump;

struct pump_job {
    const struct source_ops *ops;
    void *source;
    unsigned lanes, depth; /* threads, and reads under way of each */
    /* Called by the lanes' threads, several at a time. t->buf is theirs until it returns. */
    int (*done)(void *ctx, struct transfer *t, struct error *e);
    void *ctx;
};

/* Counts transfers that are not done. Zeroed by its owner; touched by the pump alone. */
struct pump_ticket {
    unsigned open;
};

int pump_start(const struct pump_job *job, struct pump **ret, struct error *e);
/* Copies *t; t->buf is the pump's to fill in. */
int pump_put(struct pump *p, const struct transfer *t, struct pump_ticket *ticket, struct error *e);
/* Until all that was put with the ticket is done. */
int pump_wait(struct pump *p, struct pump_ticket *ticket, struct error *e);
/* Ends the threads; what was not done is dropped. NULL is accepted. */
void pump_free(struct pump *p);
