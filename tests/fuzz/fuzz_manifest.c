/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A manifest's header and pages, as anybody who can write to the repository may make them. What is taken is exactly
 * what the encoder gives for it. Input: u16 blocks of the page, then the bytes. */
#include "backup/manifest.h"
#include "tests/fuzz/fuzz.h"

static void header(struct slice s)
{
    struct manifest_header h = {0};
    struct error e = {0};
    int err = manifest_header_decode(s, &h, &e);
    assert(err == 0 || err == ERR_MALFORMED || err == ERR_UNKNOWN_KIND);
    if (err)
        return;
    uint8_t again[MANIFEST_HEADER_SIZE];
    manifest_header_encode(&h, again);
    assert(memcmp(again, s.p, sizeof(again)) == 0);
    assert(h.disk_bytes > 0 && h.disk_bytes <= MANIFEST_DISK_MAX);
}

static void page(struct slice s, uint32_t n)
{
    struct manifest_digest *digests = xcalloc(n, sizeof(*digests));
    size_t size = s.len >= 4 ? manifest_page_size(s.p, n) : 0;
    int err = manifest_page_decode(s, n, digests);
    assert(size <= MANIFEST_PAGE_SIZE_MAX && (err == 0 || err == ERR_MALFORMED));
    if (err == 0) {
        AUTO(buf_done) struct buf again = {0};
        manifest_page_encode(digests, n, &again);
        assert(size == s.len && again.len == s.len && memcmp(again.p, s.p, s.len) == 0);
    }
    free(digests);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    uint32_t n = input_u8(&in);
    n |= (uint32_t)input_u8(&in) << 8;
    struct slice rest = input_rest(&in);
    uint8_t *bytes = input_block(rest);
    header((struct slice){bytes, rest.len});
    page((struct slice){bytes, rest.len}, n % MANIFEST_PAGE_BLOCKS + 1);
    free(bytes);
    return 0;
}
