/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What belongs to a point, checked against its document. ERR_MALFORMED: damage, *e says of what. */
#pragma once

#include "backup/worker/worker.h"

int check_manifest(const struct points *p, const struct point *point, const char *disk, struct slice key,
                   struct manifest **ret, struct error *e);
/* LAYOUT_DOMAIN, LAYOUT_NVRAM: its bytes; ERR_NO_OBJECT: the point has none. */
int check_file(const struct points *p, const struct point *point, enum layout_kind kind, struct buf *ret,
               struct error *e);
/* Who hears of it, as of a replay (backup/worker/worker.h). */
struct check_watch {
    const struct watch *watch; /* NULL: nobody */
    uint64_t before_bytes, total_bytes;
};
/* All of the point but what it stands on. ERR_FAILED: it was cancelled. */
int check_point(const struct points *p, const struct point *point, struct slice key, const struct check_watch *w,
                struct error *e);
