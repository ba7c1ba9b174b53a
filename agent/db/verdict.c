/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The verdict on a ring: whether the partition that it is lives on. Every node tells it to its corosync, for all of
 * corosync's clients to see; nothing in here depends on it (design: "votequorum tells others, it never protects").
 *
 *   new ring      nothing is known: whoever was told yes on another ring is told nothing now.
 *   leader        yes, once a majority of votes was heard on this very ring: a vote or an acknowledgement in its own
 *                 term whose sender said that it is on this ring, too. The witness counts as in a commit: its tag of
 *                 this term is known, and all its members were heard on the ring (witness.c).
 *   follower      yes, once its leader says that of the ring which is its own: it says so with every message, and at
 *                 once when it gets to know.
 *
 *   forced        what a lower epoch said is void once a message of a later one comes: its voters may be elsewhere.
 *
 *   A ring is named by one coordinator and a number that only rises, and a node is on one ring at a time. Two rings
 *   with a yes at one time therefore need a voter that left one of them, which ends that ring within corosync's token
 *   time-out; or its agent is frozen and takes nothing back.
 *
 *                     said yes by the leader                (silent for DB_VERDICT_KEEP_MS,
 *        OPEN ─────────────────────────────────────> YES ────────── or forced ───────────────> NO
 *         ^ new ring, from each                       ^                                        │
 *                                                     └──────────── said yes by the leader ────┘
 *
 * OPEN is not NO: an agent that was started anew on the same ring does not take back what it cast before. */
#include "agent/db/internal.h"

bool db_ring_eq(struct db_ring a, struct db_ring b)
{
    return a.seq != 0 && a.seq == b.seq && a.nodeid == b.nodeid;
}

static void say_yes(struct db *db)
{
    struct db_verdict *v = &db->verdict;
    v->kept_ms = db->now;
    if (v->state == DB_VERDICT_YES)
        return;
    v->state = DB_VERDICT_YES;
    log_info(db->p.log, "ring %u.%llx has a majority in term %llu -> it lives", v->ring.nodeid,
               (unsigned long long)v->ring.seq, (unsigned long long)db->term);
}

/* A leader asks at once who is on the new ring. */
void db_verdict_ring(struct db *db, struct db_ring ring)
{
    db->verdict = (struct db_verdict){.ring = ring, .state = DB_VERDICT_OPEN, .kept_ms = db->now};
    db->heartbeat_ms = db->now;
}

void db_verdict_tick(struct db *db)
{
    struct db_verdict *v = &db->verdict;
    if (db_is_quorate(db, db->now) && v->state == DB_VERDICT_YES)
        v->kept_ms = db->now;
    if (v->state == DB_VERDICT_NO || v->ring.seq == 0 || db->now - v->kept_ms < DB_VERDICT_KEEP_MS)
        return;
    log_warn(db->p.log, "no majority on ring %u.%llx for %d s -> not quorate", v->ring.nodeid,
             (unsigned long long)v->ring.seq, DB_VERDICT_KEEP_MS / 1000);
    v->state = DB_VERDICT_NO;
}

void db_verdict_step(struct db *db)
{
    struct db_verdict *v = &db->verdict;
    if (db->role != DB_LEADER || v->is_said || v->ring.seq == 0 || !db_votes_on_ring(db))
        return;
    v->is_said = true;
    db->heartbeat_ms = db->now; /* the others need not wait for it */
    say_yes(db);
}

void db_verdict_void(struct db *db)
{
    struct db_verdict *v = &db->verdict;
    if (v->state != DB_VERDICT_NO && v->ring.seq != 0)
        log_warn(db->p.log, "what was said of ring %u.%llx is void, quorum was forced elsewhere -> not quorate",
                 v->ring.nodeid, (unsigned long long)v->ring.seq);
    v->state = DB_VERDICT_NO;
}

void db_verdict_unsay(struct db *db)
{
    db->verdict.is_said = false;
}

struct db_ring db_verdict_said(const struct db *db)
{
    return db->verdict.is_said ? db->verdict.ring : (struct db_ring){0};
}

void db_verdict_heard(struct db *db, const struct db_msg *m)
{
    if (db_ring_eq(m->ring, db->verdict.ring))
        say_yes(db);
}

enum db_verdict_state db_verdict(const struct db *db, struct db_ring *ret_ring)
{
    *ret_ring = db->verdict.ring;
    return db->verdict.state;
}
