/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Source of a pump (backup/io/pump.h): where the blocks come from. An NBD server, or the images of a repository. */
#pragma once

#include <stdint.h>

#include "common/err.h"

enum { PUMP_TRANSFER_MAX = 1 << 20 }; /* bytes */

/* One read that is under way, or done. */
struct transfer {
    uint64_t offset;        /* of the virtual disk; whole blocks */
    uint32_t bytes;         /* whole blocks: what lies behind the disk's end reads as zeros */
    uint64_t source_offset; /* where the source has it */
    uint32_t source;        /* which of the source's files */
    void *owner;            /* the pump's user's */
    uint8_t *buf;           /* the lane's, aligned for direct I/O */
};

/* A lane is what one thread uses, alone. */
struct source_ops {
    int (*open)(void *source, void **ret_lane, struct error *e);
    int (*start)(void *lane, struct transfer *t, struct error *e);
    /* Any of those that were started, done; blocks. */
    int (*finish)(void *lane, struct transfer **ret, struct error *e);
    void (*close)(void *lane); /* nothing is written into a buffer any more afterwards */
};
