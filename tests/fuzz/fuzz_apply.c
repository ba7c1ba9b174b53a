/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Entries of every kind with any payload: applied to a cluster's tables, and twice to two copies with the same outcome
 * and the same hash; then a core that starts with them reads and drives everything. The operation is the kind. */
#include "tests/fuzz/fuzz_core.h"

enum { ENTRIES_MAX = 32 };

static void apply_all(struct input in, struct tables *t)
{
    uint8_t kind;
    struct slice s;
    for (unsigned n = 0; n < ENTRIES_MAX && input_record(&in, &kind, &s); n++) {
        AUTO(freep) uint8_t *payload = input_block(s);
        struct entry e = {.term = 1, .index = n + 1, .request_id = fuzz_uuid(3000 + n), .kind = kind, .level = 1,
                          .time_ms = 1700000000000 + n, .payload = {payload, s.len}};
        struct apply_result r = {0};
        int err = core_apply_entry(NULL, t, &e, &r);
        assert(err == 0 || err == ERR_UNKNOWN_KIND);
        assert(r.error.code <= 0 && (r.error.code == 0 || r.error.text[0]));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    struct tables *first = fuzz_tables(), *second = fuzz_tables();
    struct fuzz_core f;
    apply_all(in, first);
    apply_all(in, second);
    struct hash a = tables_hash(first), b = tables_hash(second);
    assert(hash_eq(&a, &b));
    tables_free(second);
    fuzz_start(&f, first, "10");
    fuzz_look(&f);
    assert(f.n_answered == f.n_asked);
    fuzz_end(&f);
    return 0;
}
