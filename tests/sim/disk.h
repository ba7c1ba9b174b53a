/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The model of a node's store: batches are written in order, each is durable when its virtual fsync is over, and a
 * crash loses those that are not; of these, the first ones may have reached the disk all the same (their completion was
 * never reported). What is durable is kept as an image, as SQLite keeps it. */
#pragma once

#include "agent/db/db.h"

enum { DISK_QUEUE_MAX = 8 };

struct disk {
    struct db_image image; /* owned; image.tables never NULL after disk_init */
    struct {
        struct db_batch *batch;
        int64_t done_ms;
    } queue[DISK_QUEUE_MAX];
    size_t n;
    uint64_t last_seq;
};

void disk_init(struct disk *d);
void disk_done(struct disk *d);
/* Takes the batch over. */
void disk_write(struct disk *d, struct db_batch *b, int64_t done_ms);
/* INT64_MAX: nothing is being written. */
int64_t disk_next_ms(const struct disk *d);
/* The oldest batch that is durable by now; false: none. */
bool disk_complete(struct disk *d, int64_t now_ms, uint64_t *ret_seq);
/* The first `survivors` of the batches under way are kept, the others are lost. */
void disk_crash(struct disk *d, size_t survivors);
/* A deep copy, for db_new(). */
struct db_image disk_load(const struct disk *d);
