/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How it is found out what of a disk changed since its reference point. An engine is one ops struct; they are asked in
 * the order of the table, and the first that can do it does it. Each is exact or a superset, never less.
 *
 *   bitmap   a dirty bitmap of QEMU that began at the reference point
 *   rescan   everything is read, and compared with the reference point's manifest by digest
 *   full     no reference is needed */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ENGINE_REASON_MAX = 160 };

enum bitmap_state {
    BITMAP_NONE = 0,     /* there was never one, or the disk's format has none */
    BITMAP_OFF,          /* the virtual machine is off: none is offered */
    BITMAP_GOOD,         /* it began at the reference point and has recorded since */
    BITMAP_INCONSISTENT, /* QEMU ended without storing it */
    BITMAP_MISSING,      /* the one that is named is not offered */
    BITMAP_FOREIGN,      /* it began at a point that the repository does not have */
};

/* Of one disk. */
struct engine_facts {
    bool has_reference; /* the point is in the repository, and this disk with the same tracking id in it */
    bool reference_is_damaged;
    const char *cannot_carry; /* why no image may stand on the reference's (backup/chain.h); NULL: one may */
    bool asked_full;
    bool asked_rescan;
    uint64_t disk_bytes, reference_bytes; /* now, and at the reference point */
    enum bitmap_state bitmap;
};

struct engine {
    const char *name;
    bool incremental; /* only what changed is stored, on top of the reference point */
    bool compares;    /* by digest, what it reads */
    /* Can it be used? `why_not` is filled (ENGINE_REASON_MAX) when not. */
    bool (*can)(const struct engine_facts *f, char *why_not);
};

extern const struct engine *const engines[]; /* NULL at the end; the last one always can */

const struct engine *engine_by_name(const char *name); /* NULL: none */

struct engine_choice {
    const struct engine *engine;
    char reason[ENGINE_REASON_MAX]; /* why not a better one; "" for the best */
};
struct engine_choice engine_choose(const struct engine_facts *f);
