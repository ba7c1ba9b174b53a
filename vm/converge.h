/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A live migration that does not come to its end (pure): the guest changes its memory faster than it is copied. QEMU
 * ends it once what is left can be sent within the downtime that is allowed (300 ms at first), and slows the guest down
 * from pass to pass (auto-converge). What the source adds, each step after CONVERGE_PASSES more passes over the memory
 * and CONVERGE_MS, whichever comes later:
 *
 *   copying ──> twice the downtime, again and again ──> at downtime_max_ms ──┬─ allowed: post-copy, which ends for sure
 *                                                                            └─ not: after CONVERGE_LAST_MS give up
 *
 * The first pass copies everything once: it may take as long as it likes, but for the operation's time-out. */
#pragma once

#include "vm/port.h"

enum {
    CONVERGE_PASSES = 3,
    CONVERGE_MS = 10 * 1000,
    CONVERGE_LAST_MS = 60 * 1000,
    CONVERGE_DOWNTIME_MS = 300, /* QEMU's own */
};

enum converge_step { CONVERGE_WAIT = 0, CONVERGE_DOWNTIME, CONVERGE_POSTCOPY, CONVERGE_GIVE_UP };

struct converge { /* all zero: it begins */
    uint32_t downtime_ms;
    uint32_t passes; /* at the last step */
    int64_t step_ms;
    enum converge_step last;
};
struct converge_limits {
    uint32_t downtime_max_ms;
    bool postcopy;
};

/* What to do now; downtime_ms says how long it may be. DOWNTIME and POSTCOPY come once each, GIVE_UP from then on. */
enum converge_step converge_next(struct converge *c, const struct vm_domain *d, const struct converge_limits *l,
                                 int64_t now_ms);
