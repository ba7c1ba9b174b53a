/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The model of CPG: process groups over a network that can fall apart. Nodes are numbers 0 … n-1, messages are bytes.
 *
 *   - Who is up and connected forms one component; every change is noticed after a while, then all members of each
 *     component that changed get a new view. A process that went and came back is seen going before it is seen coming.
 *   - A message is delivered to the sender's view, to itself too, in one order for all, after a delay.
 *   - Across a partition nothing passes from the moment it happens; what was under way to a node whose view changes, or
 *     from a node that crashed, is delivered or lost by chance. So is a message in `loss` of 1000 cases, which real CPG
 *     does not do: nothing above may rely on it.
 *   - Before a node's first view it neither sends nor receives.
 *   - A ring is what the nodes' corosyncs form. It changes where nodes part or meet, and with every other crash: the
 *     process alone died in the rest, and its node stays on the ring. What was sent before a node took notice of a new
 *     ring may arrive behind it. */
#pragma once

#include "common/prng.h"
#include "common/wire.h"

enum { NET_NODES_MAX = 16 };

struct net_params {
    int64_t delay_ms_max;
    int64_t notice_ms_max; /* until a change of membership is noticed */
    unsigned loss;         /* of 1000 */
};

struct net_event {
    enum { NET_VIEW = 1, NET_MESSAGE, NET_RING } type;
    size_t to;
    size_t from;                   /* MESSAGE */
    struct buf bytes;              /* MESSAGE; owned */
    size_t members[NET_NODES_MAX]; /* VIEW */
    size_t n;
    uint64_t ring; /* RING: told before the view that goes with it */
};

struct net;

struct net *net_new(size_t n, uint64_t seed, struct net_params params);
void net_free(struct net *net);
void net_set_params(struct net *net, struct net_params params);

void net_up(struct net *net, int64_t now_ms, size_t node);   /* its process joins the group */
void net_down(struct net *net, int64_t now_ms, size_t node); /* it crashed: what it had not received is lost */
/* side[i]: the component of node i. */
void net_partition(struct net *net, int64_t now_ms, const uint8_t *side);
bool net_connected(const struct net *net, size_t a, size_t b); /* both up, on one side: for what does not use CPG */

void net_send(struct net *net, int64_t now_ms, size_t from, struct slice bytes);

uint64_t net_ring(const struct net *net, size_t node); /* that it is on now, whatever it took notice of; 0: none */

int64_t net_next_ms(const struct net *net); /* when the next event is due; INT64_MAX: none */
/* The next event that is due; false: none. The caller owns it. */
bool net_next(struct net *net, int64_t now_ms, struct net_event *ret);
void net_event_done(struct net_event *e);

/* What came for a node that stands still, in its order. */
struct net_inbox {
    struct net_event *d;
    size_t n, head, cap;
};
void net_inbox_put(struct net_inbox *b, struct net_event *e); /* takes it over */
bool net_inbox_take(struct net_inbox *b, struct net_event *ret); /* false: it is empty */
void net_inbox_done(struct net_inbox *b); /* what is left is lost */
