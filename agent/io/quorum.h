/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The agent as corosync's quorum device (libvotequorum): it casts the verdict of the core, so that every client of
 * corosync sees it, and tells what corosync makes of it. What corosync says may be stale (design: quorum and witness)
 * and decides nothing in here.
 *
 *   new ring (nodelist)  ──> poll at once: corosync holds the whole ring's sync up until its device has said something.
 *                            A verdict of another ring is none: 0.
 *   quorum_cast(ring)    ──> poll at once, 1 or 0
 *   corosync says other  ──> poll at once: it took an old announcement of this node's vote for a new one
 *   while it stands      ──> poll every QUORUM_POLL_MS; without it corosync takes the vote back by itself after 3 s
 *                            (quorum.device.timeout), and so it does when this process ends or its loop stands still
 *   the process is new   ──> what it cast last on this very ring is cast again: corosync still holds the device as
 *                            registered (it started no new life meanwhile), and PATH_CAST names that ring
 *
 * Every call into corosync runs in a worker (a frozen corosync holds it); only events are taken on the loop. The device
 * is never unregistered: after a restart within the time-out nobody has seen anything, and who takes a node out of the
 * cluster stops its corosync. Beside another device, or options that corosync would add to the verdict, the agent does
 * not register, and says so. */
#pragma once

#include <qb/qbloop.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/io/worker.h"
#include "common/err.h"
#include "common/log.h"

enum {
    QUORUM_RETRY_MS = 500,
    QUORUM_POLL_MS = 900, /* below a third of quorum.device.timeout */
};

struct quorum;

/* n_votes is the number of nodes that are members, each of which has one vote in the configuration that Ringmaster
 * generates. device: why corosync's verdict is not this device's (no code: it is). Without corosync: not quorate, 0.
 *
 * A corosync that runs with a configuration from before the device takes the device all the same, and gives it no vote.
 * Once all nodes of the ring cast, a reload gives it all the votes and nobody loses the quorum (measured); before that,
 * whoever does not cast would. wants_reload: it is time, and this node's turn: the lowest of the ring. */
struct quorum_report {
    bool quorate;
    uint32_t n_votes;
    struct error device;
    bool wants_reload;
};

/* pool: one thread of its own. cast_path: the file that outlives the process, and no reboot. Both borrowed. */
struct quorum *quorum_new(qb_loop_t *loop, struct worker_pool *pool, const char *cast_path,
                          void (*changed)(void *ctx, const struct quorum_report *r), void *ctx,
                          const struct log_sink *log);
/* The verdict on that ring, from now on and as long as it is the ring. */
void quorum_cast(struct quorum *q, uint32_t ring_nodeid, uint64_t ring_seq, bool cast);
void quorum_stop(struct quorum *q);
void quorum_free(struct quorum *q); /* after quorum_stop and worker_pool_free */
