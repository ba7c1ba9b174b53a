/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Since when does a node not know that the cluster counts it in (pure)? Every member says on the ring, about three
 * times a second, what its own monotonic clock shows, and what it last heard the others say. So a node learns which of
 * its own statements the leader had heard, and it dates what it knows by when it spoke, never by when an answer reached
 * it: an answer may lie in a socket for as long as an agent is frozen.
 *
 *   u8 version  u64 run  i64 at_ms  u64 term  u32 leader (nodeid; 0: none)  u8 leads  u32 age_ms (LEASE_NONE: none)
 *   u8 count  count × { u32 nodeid  u64 run  i64 at_ms }
 *
 * The contact of a node is a moment of its own clock of which it knows that no other leader had been elected by then:
 *   leader    the newest moment t for which nodes that are a quorum (with the witness where it counts, as for a commit)
 *             said, as its followers of its own term, that they had heard it say t or more. Any later leader needs the
 *             vote of one of them, given after that.
 *   others    what the leader had heard this node say, less the age of the leader's own contact at that time.
 * So of a node that it hears no more a leader knows a bound: no contact of it is later than its last word that the
 * leader heard, or than the leader's own election.
 *
 * Of the leader before it, that word counts also when it is of before the election, where the new leader's term follows
 * the old one's at once, and every other node of the cluster has said in the new term what it last heard of the old
 * leader, and it is no later word than the new leader has heard itself. For a contact of the old leader needs another
 * node that had heard it say so and was its follower; a node of the new term follows it no more, and whatever it had
 * confirmed is not later than what it says now. Leaders of earlier terms had their last contact before the old one's
 * election.
 *
 * A message of another version is passed over: it is of a release that says more. */
#pragma once

#include "agent/db/db.h"

enum { LEASE_VERSION = 1, LEASE_EVERY_MS = 300 };
#define LEASE_NONE UINT32_MAX

struct lease_peer {
    uint32_t nodeid;
    bool is_here; /* heard in this view */
    uint64_t run;  /* of its agent */
    int64_t at_ms; /* its clock, as last heard; 0: never */
    int64_t heard_ms;    /* this node's clock: when that was; 0: never */
    int64_t confirms_ms; /* what it heard this node say, as its follower */
    uint64_t confirms_term;
    /* What it says, in said_term, that it last heard of the leader before this node. */
    uint64_t said_term, said_run;
    int64_t said_ms;
};

struct lease {
    uint64_t run; /* of this agent: what was said before it started is not its own */
    uint32_t nodeid;
    struct lease_peer peers[DB_REPLICAS_MAX];
    size_t n;
    int64_t contact_ms; /* 0: none yet */
    int64_t leads_since_ms; /* 0: does not lead */
    uint32_t led_by; /* nodeid of the last leader that was heard, … */
    uint64_t led_term; /* … and its term */
    uint32_t succeeds; /* leader: its nodeid, if its term was the one before; 0: not so */
    size_t n_then;     /* leader: replicas, when it was elected */
    int64_t next_ms;
};

/* contact_ms: of an earlier agent of this boot, or 0. */
void lease_init(struct lease *l, uint64_t run, uint32_t nodeid, int64_t contact_ms);
/* The CPG view, self included. What was heard of those that left counts no more. */
void lease_group(struct lease *l, const uint32_t *nodeids, size_t n);
/* Brings the contact up to date. True: it is time to speak; b has the message. */
bool lease_step(struct lease *l, const struct db *db, int64_t now_ms, struct buf *b);
/* ERR_MALFORMED; ERR_UNKNOWN_KIND: another version. */
int lease_take(struct lease *l, const struct db *db, int64_t now_ms, uint32_t from_nodeid, struct slice message);
/* When that node was last heard; 0: never. */
int64_t lease_heard_ms(const struct lease *l, uint32_t nodeid);
/* Leader: no contact of that node is later than this. */
int64_t lease_bound_ms(const struct lease *l, const struct db *db, uint32_t nodeid);
