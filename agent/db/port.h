/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Value types between the replicated database and its store: what is on disk, and what one write changes. The store
 * (agent/io/store.c in the daemon, a simulated disk in tests/sim) performs batches and gives back an image. */
#pragma once

#include "common/entry.h"

enum { DB_REPLICAS_MAX = 100 };

struct db_replica {
    struct uuid id;
    uint32_t nodeid;
    uint8_t weight; /* 0 or 1 */
};

/* The voting configuration. Quorum: strictly more than half of the sum of all weights, the witness's included. */
struct db_config {
    struct db_replica replicas[DB_REPLICAS_MAX];
    size_t n;
    uint8_t witness_weight; /* 0 until a witness exists */
};

/* What the store gives back at start, and what PERSIST changes. */
struct db_image {
    uint64_t term;
    struct uuid voted_for; /* nil: nobody in this term */
    uint64_t commit_index;
    uint64_t applied_index;         /* of the tables below */
    struct tables *tables;          /* owned; NULL in an empty image */
    uint64_t base_index, base_term; /* the entry before the first in the log (0, 0 at the start) */
    struct db_config base_config;   /* the configuration at base_index */
    struct entry *entries;          /* base_index+1 …, contiguous; owned, payloads too */
    size_t n_entries;
};
void db_image_done(struct db_image *image);

/* One atomic write: all of it in one transaction, durable before db_persisted(seq). Batches are numbered from 1 up. */
struct db_batch {
    uint64_t seq;
    bool replace; /* a snapshot: forget all rows and entries first; rows then holds the whole state */
    uint64_t term;
    struct uuid voted_for;
    uint64_t commit_index;
    uint64_t truncate_from; /* delete entries with index >= this first; 0: none */
    struct entry *entries;  /* then add these; owned, payloads too */
    size_t n_entries;
    uint64_t applied_index;
    struct table_changes rows;      /* upserts and deletions (value.p NULL) that lead to applied_index */
    uint64_t base_index, base_term; /* entries up to base_index are no longer needed */
    struct db_config base_config;
};
void db_batch_free(struct db_batch *b);
