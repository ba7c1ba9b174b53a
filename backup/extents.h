/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What has to be done for each block of a page of the disk, from the extents that an NBD server tells.
 *
 *   dirty   allocation   plan
 *   no      any          KEEP   the reference point has it
 *   yes     zeros        ZERO   an explicit zero cluster: without one the old data would show through
 *   yes     data         READ
 *
 * A block (MANIFEST_BLOCK) is dirty if any byte of it is, and zeros only if all its bytes within the disk are. What no
 * extent covers is dirty, and data: never less than what changed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PLAN_KEEP = 0, PLAN_ZERO, PLAN_READ };

/* Extents of one kind, ascending, without overlap; between them lies what is not so. */
struct extent {
    uint64_t offset, bytes;
};
struct extents {
    struct extent *list;
    size_t n, cap;
};
void extents_done(struct extents *x);
void extents_clear(struct extents *x);
/* Ascending; joins what touches. */
void extents_add(struct extents *x, uint64_t offset, uint64_t bytes);

/* The plan of n blocks that begin at `offset` of a disk of disk_bytes. zeros: where it reads as zeros. clean: where the
 * dirty bitmap says that nothing was written; NULL: everything is dirty. */
void extents_plan(const struct extents *zeros, const struct extents *clean, uint64_t offset, uint32_t n,
                  uint64_t disk_bytes, uint8_t *ret_plan);
