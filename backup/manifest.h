/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The manifest of one disk at one reference point: what the whole virtual disk held then, whatever files it lies in.
 * It is what a restore is checked against, and what a digest rescan compares with.
 *
 * Format 1. Numbers are little endian, nothing is padded but the header.
 *
 *   header, 128 bytes   "RMMANIF" and a zero byte, u32 version (1), u32 bytes of a block (65536), u32 bytes of a digest
 *                       (16), u32 blocks of a page (8192), u64 bytes of the virtual disk, 16 bytes UUID of the
 *                       reference point, 16 bytes tracking id of the disk, zeros
 *   pages               one for every 8192 blocks (512 MiB) of the disk, the last one for what is left:
 *                       u32 n, blocks that are not all zero;
 *                       if 0 < n < blocks of the page: 1024 bytes, bit i % 8 of byte i / 8 is set where block i is one;
 *                       n digests, in the order of the blocks
 *   trailer, 32 bytes   HMAC-SHA-256, by the repository's key, over the header and the SHA-256 of each page
 *
 * A digest is the first 16 bytes of the SHA-256 of a block; what the last block lacks counts as zeros. In memory
 * sixteen zero bytes stand for a block of zeros.
 *
 * A reader takes each page's SHA-256 while it checks the trailer, and compares it again whenever it reads that page:
 * nothing is believed that was not covered by the trailer. */
#pragma once

#include "common/err.h"
#include "common/hash.h"
#include "common/uuid.h"

enum {
    MANIFEST_BLOCK = 65536,
    MANIFEST_DIGEST = 16,
    MANIFEST_PAGE_BLOCKS = 8192,
    MANIFEST_HEADER_SIZE = 128,
    MANIFEST_BITS_SIZE = MANIFEST_PAGE_BLOCKS / 8,
    MANIFEST_PAGE_SIZE_MAX = 4 + MANIFEST_BITS_SIZE + MANIFEST_PAGE_BLOCKS * MANIFEST_DIGEST,
};
#define MANIFEST_PAGE_BYTES ((uint64_t)MANIFEST_BLOCK * MANIFEST_PAGE_BLOCKS) /* of the disk: 512 MiB */
#define MANIFEST_DISK_MAX   (UINT64_C(1) << 46)                               /* 64 TiB */

struct manifest_header {
    struct uuid point, tracking;
    uint64_t disk_bytes; /* 1…MANIFEST_DISK_MAX, a multiple of 512 */
};

struct manifest_digest {
    uint8_t b[MANIFEST_DIGEST];
};

static inline bool manifest_digest_eq(const struct manifest_digest *a, const struct manifest_digest *b)
{
    return memcmp(a->b, b->b, MANIFEST_DIGEST) == 0;
}
bool manifest_digest_is_zero(const struct manifest_digest *d);

/* Of MANIFEST_BLOCK bytes. */
struct manifest_digest manifest_block_digest(const uint8_t *block);
bool manifest_block_is_zero(const uint8_t *block);

uint64_t manifest_blocks(uint64_t disk_bytes);
uint64_t manifest_pages(uint64_t disk_bytes);
/* Of page i: MANIFEST_PAGE_BLOCKS but for the last. */
uint32_t manifest_page_blocks(uint64_t disk_bytes, uint64_t page);

void manifest_header_encode(const struct manifest_header *h, uint8_t ret[MANIFEST_HEADER_SIZE]);
/* 0, ERR_MALFORMED, or ERR_UNKNOWN_KIND: of a newer release. */
int manifest_header_decode(struct slice bytes, struct manifest_header *ret, struct error *e);

/* Appends the page of n blocks. */
void manifest_page_encode(const struct manifest_digest *digests, uint32_t n, struct buf *b);
/* The whole size of a page of n blocks that begins with these 4 bytes; 0: no page of n blocks does. */
size_t manifest_page_size(const uint8_t first[4], uint32_t n);
/* Exactly one page of n blocks: 0 or ERR_MALFORMED. ret: n digests. */
int manifest_page_decode(struct slice bytes, uint32_t n, struct manifest_digest *ret);

struct hash manifest_hmac(struct slice key, const uint8_t header[MANIFEST_HEADER_SIZE], const struct hash *pages,
                          size_t n_pages);
