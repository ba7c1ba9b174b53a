/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who votes (pure): dynamic quorum, the dynamic witness, weights by hand, the lower-priority node; and in words, why,
 * and what may still fail. What a vote is stands in agent/db; here it is only decided which weight is changed next, by
 * one, by the leader, while it holds a majority and the last change is committed.
 *
 *   1. A node that is here and caught up votes. One that is lost (QUORUM_LOST_MS) votes no more, until it is back and
 *      caught up. An admin's 0 is 0.
 *   2. The sum is odd where that can be had: an even one needs as many votes as the odd one above it. With a witness
 *      that is this leader's (its tag is known, its members are the live nodes), the witness makes it odd: "raise the
 *      witness first, change nodes, drop the witness last".
 *   3. Without one, the lower-priority node gives its vote away: in a 50:50 split the side without it wins. It is the
 *      one that an admin named, else the one of the lowest priority, the last of these, where priorities differ. Where
 *      there is none, one lost node keeps its vote instead. So no single disk comes to decide
 *      alone unless an admin wants it: 3 nodes of which 1 is lost stay 2 of 3, and that one may come back and vote at
 *      once.
 *   4. While a witness is named and cannot be had, no node is raised to an even sum.
 *   5. A witness that is to be replaced or removed gives its vote back when the nodes that are heard are a majority by
 *      themselves. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QUORUM_NODES_MAX = 100, QUORUM_NAME_MAX = 64, QUORUM_LOST_MS = 3000, QUORUM_HEARD_MS = 1000 };
enum { QUORUM_SITE_DELAY_MS = 1500 };

struct quorum_node {
    char name[QUORUM_NAME_MAX], site[QUORUM_NAME_MAX];
    bool is_member;  /* its replica stands in the voting configuration */
    uint8_t weight;  /* in force */
    bool is_here;    /* or away for less than QUORUM_LOST_MS */
    bool is_heard;   /* lately, so that a vote can be built on it now; leader only */
    bool caught_up;  /* leader only */
    bool no_vote;    /* by hand */
    bool is_joining; /* its first vote is given with its admission */
    bool is_leaving; /* its vote is taken with its eviction */
    int priority;    /* by hand; 0 unless an admin says otherwise */
};

struct quorum_view {
    struct quorum_node nodes[QUORUM_NODES_MAX];
    size_t n;
    bool is_dynamic;
    char lower[QUORUM_NAME_MAX];          /* lower-priority node; "": none */
    char preferred_site[QUORUM_NAME_MAX]; /* "": none */
    bool has_witness;
    bool witness_leaves; /* another one is wanted, or none */
    uint8_t witness_weight;
    bool witness_current; /* leader only: it may be raised now */
    /* For quorum_explain(): whether its vote is one of those that are here. */
    enum quorum_spoken { QUORUM_SPOKEN_HERE, QUORUM_SPOKEN_NOT, QUORUM_SPOKEN_ELSEWHERE } witness_spoken;
    uint64_t witness_term; /* … in which it has spoken for other nodes */
};

struct quorum_change {
    enum { QUORUM_KEEP, QUORUM_NODE, QUORUM_WITNESS } what;
    size_t node;
    uint8_t weight;
};
struct quorum_change quorum_decide(const struct quorum_view *v);

/* What is so: votes, and why. */
enum quorum_reason {
    QUORUM_VOTES,
    QUORUM_KEPT,   /* it is lost and keeps its vote: the sum stays odd */
    QUORUM_STATIC, /* it is lost and keeps its vote: dynamic quorum is off */
    QUORUM_LOST,   /* its vote was taken when it was lost */
    QUORUM_BY_HAND,
    QUORUM_CATCHING_UP,
    QUORUM_JOINING,
    QUORUM_LEAVING,
    QUORUM_LOWER, /* it is the lower-priority node of an even number */
    QUORUM_WAITS, /* its vote would make an even sum, and the witness cannot be had */
};
const char *quorum_reason_name(enum quorum_reason r); /* as in JSON */
const char *quorum_reason_text(enum quorum_reason r);
enum quorum_reason quorum_reason(const struct quorum_view *v, size_t node);

struct quorum_verdict {
    unsigned total, needed, here; /* votes; here: of nodes that are here, and of the witness */
    unsigned may_fail;            /* nodes, at the same time, whichever they are */
    unsigned may_fail_in_turn;    /* nodes, when each loss is adapted to before the next */
    bool witness_decides;         /* after that many the witness's vote is needed */
    char text[256];
};
void quorum_explain(const struct quorum_view *v, struct quorum_verdict *ret);
const char *quorum_spoken_name(enum quorum_spoken s); /* as in JSON */

/* How long a candidate of a partition leaves the witness to others: those here are none of the preferred site. */
int64_t quorum_site_delay_ms(const struct quorum_view *v);
