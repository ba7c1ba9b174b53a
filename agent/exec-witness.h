/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opens witnesses and asks them: the part of exec.c that knows which adapter a site needs.
 *
 *   order ──> is that site open? ──yes──────────────────────────> witness_start() ──> done(order)
 *                   │ no                                               ^
 *                   └──> on a thread: unseal or seal the credentials ──┘
 *
 * A witness stays open while it is used: its connections, tokens and the key that was accepted last are kept. Another
 * site, or other credentials, is another one. */
#pragma once

#include "agent/core.h"
#include "agent/loop.h"

struct witness_order {
    uint64_t id; /* of the action; never used twice */
    struct uuid cluster;
    struct witness_site site;
    struct buf sealed;        /* the credentials; owned */
    char *text;               /* the same in clear, to be sealed; owned, wiped; NULL: there are none */
    struct witness_call call; /* its id is not looked at */
    /* Out. asked.result.id is the order's. */
    struct witness_asked asked;
    void *ctx; /* the caller's */
};
void witness_order_free(struct witness_order *o);

struct witness_desk;
/* done: on the loop, once for each order, never out of witness_desk_ask(); takes the order. All borrowed. */
struct witness_desk *witness_desk_new(struct loop *loop, struct worker_pool *pool,
                                      void (*done)(void *ctx, struct witness_order *o), void *ctx);
/* Takes the order. */
void witness_desk_ask(struct witness_desk *d, struct witness_order *o);
