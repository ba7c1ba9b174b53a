/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backup/extents.h"

#include <assert.h>

#include "backup/manifest.h"

void extents_done(struct extents *x)
{
    free(x->list);
    *x = (struct extents){0};
}

void extents_clear(struct extents *x)
{
    x->n = 0;
}

void extents_add(struct extents *x, uint64_t offset, uint64_t bytes)
{
    if (bytes == 0)
        return;
    struct extent *last = x->n > 0 ? &x->list[x->n - 1] : NULL;
    assert(!last || last->offset + last->bytes <= offset);
    if (last && last->offset + last->bytes == offset) {
        last->bytes += bytes;
        return;
    }
    if (x->n == x->cap) {
        x->cap = x->cap ? 2 * x->cap : 64;
        x->list = xrealloc(x->list, x->cap, sizeof(*x->list));
    }
    x->list[x->n++] = (struct extent){offset, bytes};
}

/* Sets `value` in the blocks that lie in one extent as a whole; the disk's end ends the last block. */
static void mark_whole(const struct extents *x, uint64_t offset, uint32_t n, uint64_t disk_bytes, uint8_t value,
                       uint8_t *plan)
{
    for (size_t i = 0; i < x->n; i++) {
        uint64_t begin = x->list[i].offset, end = begin + x->list[i].bytes;
        if (end <= offset)
            continue;
        begin = begin > offset ? begin - offset : 0;
        end = end - offset;
        uint64_t first = (begin + MANIFEST_BLOCK - 1) / MANIFEST_BLOCK;
        uint64_t last = end + offset >= disk_bytes ? n : end / MANIFEST_BLOCK; /* behind the last whole one */
        last = last < n ? last : n;
        if (first < last)
            memset(plan + first, value, last - first);
    }
}

void extents_plan(const struct extents *zeros, const struct extents *clean, uint64_t offset, uint32_t n,
                  uint64_t disk_bytes, uint8_t *ret_plan)
{
    memset(ret_plan, PLAN_READ, n);
    mark_whole(zeros, offset, n, disk_bytes, PLAN_ZERO, ret_plan);
    if (clean)
        mark_whole(clean, offset, n, disk_bytes, PLAN_KEEP, ret_plan);
}
