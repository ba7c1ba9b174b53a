/* SPDX-License-Identifier: GPL-2.0-or-later */
/* corosync's own verdict (libvotequorum), tracked by the loop. It says what other clients of corosync believe; it may
 * be stale (design: quorum and witness) and decides nothing in here. Connecting runs in a worker, as in cpg.c. */
#pragma once

#include <qb/qbloop.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/io/worker.h"
#include "common/log.h"

enum { QUORUM_RETRY_MS = 500 };

struct quorum;

/* changed: n_votes is the number of nodes that are members, each of which has one vote in the configuration that
 * Ringmaster generates. Without corosync: not quorate, 0. */
struct quorum *quorum_new(qb_loop_t *loop, struct worker_pool *pool,
                          void (*changed)(void *ctx, bool quorate, uint32_t n_votes), void *ctx,
                          const struct log_sink *log);
void quorum_stop(struct quorum *q);
void quorum_free(struct quorum *q); /* after quorum_stop and worker_pool_free */
