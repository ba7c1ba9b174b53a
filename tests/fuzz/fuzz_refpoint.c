/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The document of a reference point: any bytes, and any inner object that somebody with the key signed. What is taken
 * is exactly what the encoder gives for it. */
#include "backup/refpoint.h"
#include "tests/fuzz/fuzz.h"

static const struct slice key = {(const uint8_t *)"k", 1};

static void decode(struct slice s)
{
    struct refpoint *p = xcalloc(1, sizeof(*p));
    struct error e = {0};
    int err = refpoint_decode(s, key, p, &e);
    assert(err == 0 || err == ERR_MALFORMED || err == ERR_UNKNOWN_KIND);
    if (err == 0) {
        AUTO(buf_done) struct buf again = {0};
        refpoint_encode(p, key, &again);
        assert(again.len == s.len && memcmp(again.p, s.p, s.len) == 0);
        assert(p->n_disks > 0 && p->n_disks <= REFPOINT_DISKS_MAX && layout_vm_ok(p->vm));
        for (size_t i = 0; i < p->n_disks; i++)
            assert(layout_disk_ok(p->disks[i].name));
    }
    free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice s = {data, size};
    uint8_t *bytes = input_block(s);
    decode((struct slice){bytes, size});
    struct slice part = {bytes, size};
    struct hash mac = hash_hmac(key, &part, 1);
    AUTO(buf_done) struct buf wrapped = {0};
    buf_add_str(&wrapped, "{\"refpoint\":");
    buf_add(&wrapped, bytes, size);
    buf_printf(&wrapped, ",\"hmac\":\"%s\"}\n", hash_str(&mac).s);
    decode(buf_slice(&wrapped));
    free(bytes);
    return 0;
}
