/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How far the migrations are (pure): the node that a VM leaves says it to all about once a second while it moves, by a
 * message on the ring that is neither logged nor answered, so that every node can show it. Lost or late ones cost
 * nothing: what was not heard of for PROGRESS_KEPT_MS is unknown.
 *
 *   u8 version  u8 count  count × { uuid of the op (its job's id)  u8 percent }
 *
 * A message of another version is passed over: it is of a release that says more. */
#pragma once

#include "common/buf.h"
#include "common/err.h"
#include "common/uuid.h"

enum { PROGRESS_VERSION = 1, PROGRESS_MAX = 64, PROGRESS_EVERY_MS = 1000, PROGRESS_KEPT_MS = 5000 };

struct progress_item {
    struct uuid op;
    uint8_t percent;  /* 0…100 */
    int64_t heard_ms; /* monotonic; not sent */
};
struct progress {
    struct progress_item items[PROGRESS_MAX];
    size_t n;
};

/* Adds one; beyond PROGRESS_MAX the one that was heard of longest ago goes. */
void progress_add(struct progress *p, const struct progress_item *item);
/* 0…100; -1: unknown. */
int progress_get(const struct progress *p, const struct uuid *op, int64_t now_ms);
void progress_encode(const struct progress *p, struct buf *b);
/* All of it or nothing: ERR_MALFORMED; ERR_UNKNOWN_KIND: another version. */
int progress_take(struct progress *p, int64_t now_ms, struct slice message);
