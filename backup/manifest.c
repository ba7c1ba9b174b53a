/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backup/manifest.h"

#include <assert.h>

#include "common/wire.h"

static const char magic[8] = "RMMANIF";
enum { VERSION = 1 };

bool manifest_digest_is_zero(const struct manifest_digest *d)
{
    static const struct manifest_digest zero;
    return manifest_digest_eq(d, &zero);
}

bool manifest_block_is_zero(const uint8_t *block)
{
    /* Most blocks that are not zero say so at once. */
    static const uint8_t zeros[64];
    return memcmp(block, zeros, sizeof(zeros)) == 0 &&
           memcmp(block, block + sizeof(zeros), MANIFEST_BLOCK - sizeof(zeros)) == 0;
}

struct manifest_digest manifest_block_digest(const uint8_t *block)
{
    struct manifest_digest d = {0};
    if (manifest_block_is_zero(block))
        return d;
    struct hash h = hash_of(block, MANIFEST_BLOCK);
    memcpy(d.b, h.b, MANIFEST_DIGEST);
    return d;
}

uint64_t manifest_blocks(uint64_t disk_bytes)
{
    return disk_bytes / MANIFEST_BLOCK + (disk_bytes % MANIFEST_BLOCK != 0);
}

uint64_t manifest_pages(uint64_t disk_bytes)
{
    return disk_bytes / MANIFEST_PAGE_BYTES + (disk_bytes % MANIFEST_PAGE_BYTES != 0);
}

uint32_t manifest_page_blocks(uint64_t disk_bytes, uint64_t page)
{
    uint64_t first = page * MANIFEST_PAGE_BLOCKS, all = manifest_blocks(disk_bytes);
    assert(first < all);
    return all - first < MANIFEST_PAGE_BLOCKS ? (uint32_t)(all - first) : MANIFEST_PAGE_BLOCKS;
}

void manifest_header_encode(const struct manifest_header *h, uint8_t ret[MANIFEST_HEADER_SIZE])
{
    struct buf b = {0};
    buf_add(&b, magic, sizeof(magic));
    wire_put_u32(&b, VERSION);
    wire_put_u32(&b, MANIFEST_BLOCK);
    wire_put_u32(&b, MANIFEST_DIGEST);
    wire_put_u32(&b, MANIFEST_PAGE_BLOCKS);
    wire_put_u64(&b, h->disk_bytes);
    wire_put_uuid(&b, &h->point);
    wire_put_uuid(&b, &h->tracking);
    assert(b.len <= MANIFEST_HEADER_SIZE);
    memset(ret, 0, MANIFEST_HEADER_SIZE);
    memcpy(ret, b.p, b.len);
    buf_done(&b);
}

int manifest_header_decode(struct slice bytes, struct manifest_header *ret, struct error *e)
{
    if (bytes.len != MANIFEST_HEADER_SIZE || memcmp(bytes.p, magic, sizeof(magic)) != 0)
        return error_set(e, ERR_MALFORMED, "it is no manifest");
    struct wire_reader r = wire_reader((struct slice){bytes.p + sizeof(magic), bytes.len - sizeof(magic)});
    uint32_t version = wire_get_u32(&r);
    if (version != VERSION)
        return error_set(e, ERR_UNKNOWN_KIND, "it is a manifest of version %u, this release reads version %d", version,
                         VERSION);
    bool sizes = wire_get_u32(&r) == MANIFEST_BLOCK;
    sizes &= wire_get_u32(&r) == MANIFEST_DIGEST;
    sizes &= wire_get_u32(&r) == MANIFEST_PAGE_BLOCKS;
    struct manifest_header h = {.disk_bytes = wire_get_u64(&r)};
    h.point = wire_get_uuid(&r);
    h.tracking = wire_get_uuid(&r);
    if (wire_err(&r) || !sizes || h.disk_bytes == 0 || h.disk_bytes > MANIFEST_DISK_MAX || h.disk_bytes % 512 != 0)
        return error_set(e, ERR_MALFORMED, "the manifest's sizes make no sense");
    uint8_t again[MANIFEST_HEADER_SIZE];
    manifest_header_encode(&h, again);
    if (memcmp(again, bytes.p, sizeof(again)) != 0)
        return error_set(e, ERR_MALFORMED, "the manifest's header has bytes that mean nothing");
    *ret = h;
    return 0;
}

void manifest_page_encode(const struct manifest_digest *digests, uint32_t n, struct buf *b)
{
    assert(n > 0 && n <= MANIFEST_PAGE_BLOCKS);
    uint8_t bits[MANIFEST_BITS_SIZE] = {0};
    uint32_t used = 0;
    for (uint32_t i = 0; i < n; i++)
        if (!manifest_digest_is_zero(&digests[i])) {
            bits[i / 8] |= (uint8_t)(1 << i % 8);
            used++;
        }
    wire_put_u32(b, used);
    if (used > 0 && used < n)
        buf_add(b, bits, sizeof(bits));
    for (uint32_t i = 0; i < n; i++)
        if (bits[i / 8] & 1 << i % 8)
            buf_add(b, digests[i].b, MANIFEST_DIGEST);
}

size_t manifest_page_size(const uint8_t first[4], uint32_t n)
{
    struct wire_reader r = wire_reader((struct slice){first, 4});
    uint32_t used = wire_get_u32(&r);
    if (used > n)
        return 0;
    size_t bits = used > 0 && used < n ? MANIFEST_BITS_SIZE : 0;
    return 4 + bits + (size_t)used * MANIFEST_DIGEST;
}

int manifest_page_decode(struct slice bytes, uint32_t n, struct manifest_digest *ret)
{
    assert(n > 0 && n <= MANIFEST_PAGE_BLOCKS);
    if (bytes.len < 4 || manifest_page_size(bytes.p, n) != bytes.len)
        return ERR_MALFORMED;
    struct wire_reader r = wire_reader(bytes);
    uint32_t used = wire_get_u32(&r), seen = 0;
    const uint8_t *bits = used > 0 && used < n ? bytes.p + 4 : NULL;
    const uint8_t *digests = bytes.p + bytes.len - (size_t)used * MANIFEST_DIGEST;
    for (uint32_t i = 0; bits && i < MANIFEST_PAGE_BLOCKS; i++)
        if (bits[i / 8] & 1 << i % 8) {
            if (i >= n)
                return ERR_MALFORMED;
            seen++;
        }
    if (bits && seen != used)
        return ERR_MALFORMED;
    for (uint32_t i = 0; i < used; i++)
        if (manifest_digest_is_zero((const struct manifest_digest *)(digests + (size_t)i * MANIFEST_DIGEST)))
            return ERR_MALFORMED;
    memset(ret, 0, n * sizeof(*ret));
    for (uint32_t i = 0; i < n; i++)
        if (bits ? (bits[i / 8] & 1 << i % 8) != 0 : used > 0) {
            memcpy(ret[i].b, digests, MANIFEST_DIGEST);
            digests += MANIFEST_DIGEST;
        }
    return 0;
}

struct hash manifest_hmac(struct slice key, const uint8_t header[MANIFEST_HEADER_SIZE], const struct hash *pages,
                          size_t n_pages)
{
    struct slice parts[] = {{header, MANIFEST_HEADER_SIZE}, {(const uint8_t *)pages, n_pages * sizeof(*pages)}};
    return hash_hmac(key, parts, 2);
}
