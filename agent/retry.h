/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What failed is tried again: after RETRY_MIN_MS, then after twice as long each time, at most RETRY_MAX_MS. What it
 * says is logged when it is news, or when it was tried twice as often: a disk that is full for a night is not filled by
 * it. */
#pragma once

#include "common/buf.h"
#include "common/err.h"

enum { RETRY_MIN_MS = 500, RETRY_MAX_MS = 30 * 1000 };

struct retry { /* zeroed: nothing failed */
    unsigned failures; /* in a row */
    int64_t at_ms;     /* not before */
    char text[ERROR_TEXT_MAX];
};

/* True: say it. at_ms is set; who has a pace of their own need not look at it. */
bool retry_failed(struct retry *r, int64_t now_ms, const char *text);
bool retry_may(const struct retry *r, int64_t now_ms);
/* It went well. True: it had failed, say that too. */
bool retry_done(struct retry *r);
