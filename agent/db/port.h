/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Value types between the replicated database and its store: what is on disk, and what one write changes. The store
 * (agent/io/store.c in the daemon, a simulated disk in tests/sim) performs batches and gives back an image. */
#pragma once

#include "common/entry.h"

enum { DB_REPLICAS_MAX = 100 };

/* A membership of the cluster's processors, as corosync names it: seq rises for ever, so none comes twice. */
struct db_ring {
    uint32_t nodeid;
    uint64_t seq; /* 0: none */
};

struct db_replica {
    struct uuid id;
    uint32_t nodeid;
    uint8_t weight; /* 0 or 1 */
};

/* The voting configuration. Quorum: strictly more than half of the sum of all weights, the witness's included. */
struct db_config {
    struct db_replica replicas[DB_REPLICAS_MAX];
    size_t n;
    struct uuid witness; /* nil: there is none */
    uint8_t witness_weight;
};

/* What the witness holds (design: the witness as a voter: the tag). It votes and keeps no log: "think of it as a Raft
 * voter whose log is what every node in `members` has". */
enum { DB_TAG_MEMBERS_MAX = 20, DB_ETAG_MAX = 128, DB_WITNESS_TEXT_MAX = 160 }; /* as witness/port.h */
struct db_tag {
    uint64_t sequence; /* every write raises it by one */
    struct uuid cluster, witness;
    uint64_t term;
    struct uuid leader;
    struct uuid nonce; /* of the write: tells one's own from any other */
    bool forced;
    struct uuid members[DB_TAG_MEMBERS_MAX]; /* replicas; any subset of those that may stand here is safe */
    size_t n_members;
};

/* One request to the witness, and what became of it: each call has exactly one outcome, a time-out is one. */
enum db_witness_verb { DB_WITNESS_GET = 1, DB_WITNESS_PUT };
struct db_witness_call {
    uint64_t id;
    enum db_witness_verb verb;
    struct uuid witness;
    char etag[DB_ETAG_MAX]; /* PUT: write only if it is still this one */
    struct db_tag tag;      /* PUT */
};
enum db_witness_result {
    DB_WITNESS_DONE = 1,
    DB_WITNESS_LOST,        /* PUT: the etag is another one by now */
    DB_WITNESS_MISSING,     /* there is no such object: not written */
    DB_WITNESS_REFUSED,     /* by the service (rights, a malformed record): not written. A sequence that was rolled back
                             * is DONE: the database judges it */
    DB_WITNESS_UNKNOWN,     /* time-out, 5xx: a write may have landed, or may land yet */
    DB_WITNESS_UNREACHABLE, /* no connection: surely not written */
};
struct db_witness_outcome {
    uint64_t id;
    enum db_witness_result result;
    char etag[DB_ETAG_MAX];         /* DONE */
    struct db_tag tag;              /* GET DONE */
    char text[DB_WITNESS_TEXT_MAX]; /* why not, for an admin */
};

/* What the store gives back at start, and what PERSIST changes. */
struct db_image {
    uint64_t term;
    struct uuid voted_for; /* nil: nobody in this term */
    struct uuid witness;   /* the highest sequence that was seen of this witness: one below is a rolled-back one */
    uint64_t witness_sequence;
    bool is_prevented; /* only joins: neither campaigns nor votes */
    uint64_t commit_index;
    uint64_t applied_index;         /* of the tables below */
    struct tables *tables;          /* owned; NULL in an empty image */
    uint64_t base_index, base_term; /* the entry before the first in the log (0, 0 at the start) */
    struct db_config base_config;   /* the configuration at base_index */
    struct entry *entries;          /* base_index+1 …, contiguous; owned, payloads too */
    size_t n_entries;
};
void db_image_done(struct db_image *image);

/* Forcing quorum begins an epoch (force.c). It is a part of the term, so that it is in every message, on every disk and
 * in the witness's tag, and whoever compares terms compares epochs first:
 *
 *   term = (number * DB_FORCERS + nodeid of the forcing node) * DB_EPOCH_TERMS + the term within the epoch
 *
 * The nodeid keeps two halves apart that are both forced. A cluster begins in epoch 0. */
#define DB_EPOCH_TERMS UINT64_C(1000000000)
enum { DB_FORCERS = 100000 };
static inline uint64_t db_epoch_of(uint64_t term)
{
    return term / DB_EPOCH_TERMS;
}
static inline uint64_t db_epoch_number(uint64_t term) /* how often quorum was forced */
{
    return db_epoch_of(term) / DB_FORCERS;
}

/* One atomic write: all of it in one transaction, durable before db_persisted(seq). Batches are numbered from 1 up. One
 * with `replace` and a term of a later epoch than what it replaces gives up what others had committed: the store keeps
 * a copy of that. */
struct db_batch {
    uint64_t seq;
    bool replace; /* a snapshot: forget all rows and entries first; rows then holds the whole state */
    uint64_t term;
    struct uuid voted_for;
    struct uuid witness;
    uint64_t witness_sequence;
    bool is_prevented;
    uint64_t commit_index;
    uint64_t truncate_from; /* delete entries with index >= this first; 0: none */
    struct entry *entries;  /* then add these; owned, payloads too */
    size_t n_entries;
    uint64_t applied_index;
    struct table_changes rows;      /* upserts and deletions (value.p NULL) that lead to applied_index */
    struct hash digest;             /* then: tables_hash() of all rows; not looked at while applied_index stays */
    uint64_t base_index, base_term; /* entries up to base_index are no longer needed */
    struct db_config base_config;
};
void db_batch_free(struct db_batch *b);
