/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The witness's record, as anybody who can write the blob may make it. What is taken is within bounds, and is exactly
 * what the encoder gives for it: there is one form of every record. */
#include "tests/fuzz/fuzz.h"
#include "witness/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *bytes = input_block((struct slice){data, size});
    struct witness_record r = {0};
    int err = witness_record_decode((struct slice){bytes, size}, &r);
    assert(err == 0 || err == ERR_MALFORMED || err == ERR_UNKNOWN_KIND);
    if (err == 0) {
        assert(r.n_members <= WITNESS_MEMBERS_MAX && r.sequence > 0 && r.version == WITNESS_VERSION);
        struct witness_bytes again = witness_record_encode(&r);
        assert(again.len == size && memcmp(again.s, bytes, size) == 0);
    } else {
        assert(r.sequence == 0 && r.n_members == 0);
    }
    free(bytes);
    return 0;
}
