/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which points of a virtual machine are kept, and what becomes of the others. Pure: points in, actions out.
 *
 * Kept are the newest `last`; and of each of the newest `daily` days that have one, the newest point; so for `weekly`
 * (weeks begin on Monday), `monthly` and `yearly`, all in UTC. With every count 0 everything is kept. The newest point
 * is always kept.
 *
 * A point that is not kept
 *   - is deleted if no other point that stays has its data behind it;
 *   - is folded into the one point that does, if folding is allowed and no disk of another point needs it;
 *   - else stays: it is needed. A prune never breaks a chain. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct retention_rule {
    uint32_t last, daily, weekly, monthly, yearly;
    bool fold;
};

/* "last=48,daily=7,weekly=4,monthly=12,yearly=3": each of them once at most, 1 to 9999 of it. Folding is allowed then:
 * else a chain of increments would keep all of its points. 0 or ERR_USAGE. */
int retention_parse(const char *text, struct retention_rule *ret, struct error *e);

/* In ascending order of their sequence. */
struct retention_point {
    uint32_t sequence;
    /* Borrowed: of each disk the sequence of the older point whose image lies behind its own; 0: none. They differ
     * where a disk is new or was resized, and where a fold was interrupted between two disks. */
    const uint32_t *bases;
    size_t n_bases;
    int64_t created_ms;
};
bool retention_stands_on(const uint32_t *bases, size_t n, uint32_t sequence);

enum retention_action { RETENTION_KEEP = 1, RETENTION_NEEDED, RETENTION_DELETE, RETENTION_FOLD };

struct retention_verdict {
    enum retention_action action;
    uint32_t other; /* NEEDED: a point that needs it; FOLD: the one it is folded into */
};

/* n verdicts. They are carried out in ascending order for FOLD, and in descending order for DELETE. */
void retention_plan(const struct retention_rule *rule, const struct retention_point *points, size_t n,
                    struct retention_verdict *ret);
