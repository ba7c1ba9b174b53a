/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The model of a witness: one object with conditional writes, over a network that answers late, not at all, or with an
 * error. A write may land after its caller gave up, after it crashed too. It can be taken away from a node, and be
 * rolled back to an older state, as a restored backup or a crashed emulator does.
 * A write is judged by the checker at the moment at which it lands. */
#pragma once

#include "agent/db/db.h"
#include "common/prng.h"

struct checker;
struct blob;

struct blob_params {
    int64_t delay_ms_max; /* each way */
    int64_t late_ms_max;  /* a write whose caller was told "unknown" lands up to so much later … */
    unsigned unknown;     /* … in so many of 1000 cases (and in half of these not at all) */
    unsigned refused;     /* of 1000 */
};

struct blob_event { /* an outcome for a node */
    size_t node;
    uint32_t life;
    struct db_witness_outcome outcome;
};

struct blob *blob_new(uint64_t seed, struct blob_params params, struct checker *check); /* there is no object yet */
void blob_tells(struct blob *b, struct checker *check); /* from now on that one */
void blob_free(struct blob *b);
void blob_set_params(struct blob *b, struct blob_params params);

/* A new object, for a new witness uuid; earlier ones stay where they are. */
void blob_create(struct blob *b, const struct uuid *cluster, const struct uuid *witness);
void blob_reach(struct blob *b, size_t node, bool reachable);
/* The newest one, to what it was `writes` writes ago, etag and all; false: it has no such past. */
bool blob_roll_back(struct blob *b, size_t writes);
void blob_restore(struct blob *b);
bool blob_is_rolled_back(const struct blob *b);

void blob_call(struct blob *b, int64_t now_ms, size_t node, uint32_t life, const struct db_witness_call *call);
int64_t blob_next_ms(const struct blob *b); /* INT64_MAX: nothing is under way */
/* Lets writes land that are due; true: an outcome is due. */
bool blob_next(struct blob *b, int64_t now_ms, struct blob_event *ret);

const struct db_tag *blob_newest(const struct blob *b); /* NULL: there is no object */
bool blob_reaches(const struct blob *b, size_t node);
/* The outcome of the next write of that node is not told: it lands this much later. 0: as usual. */
void blob_delay_write(struct blob *b, size_t node, int64_t ms);
/* For the checker. NULL: there is no object. */
const struct db_tag *blob_tag(const struct blob *b, const struct uuid *witness);
/* The i-th write that is under way and can still land; false: no more. Not one that fits only a state to which it was
 * rolled back: what it makes is refused by everybody, as that state is (blob_roll_back()'s caller sees to it). */
bool blob_under_way(const struct blob *b, size_t i, struct db_tag *ret);
