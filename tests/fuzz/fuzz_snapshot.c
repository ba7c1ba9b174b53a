/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Snapshots, as a member hands them over. The first byte chooses: 0, the bytes as they are; 1, rows of any content in a
 * snapshot that is otherwise right (operation: table; key and value are two records). What was installed is read. */
#include "agent/db/internal.h"
#include "tests/fuzz/fuzz_core.h"

enum { ROWS_MAX = 64 };

static void put_rows(struct input in, struct tables *t)
{
    uint8_t table, unused;
    struct slice key, value;
    for (unsigned n = 0; n < ROWS_MAX && input_record(&in, &table, &key) && input_record(&in, &unused, &value); n++) {
        AUTO(freep) char *name = input_text(key);
        size_t len = strlen(name);
        if (len == 0 || len > TABLE_KEY_MAX || table == 0 || table >= TABLE_MAX)
            continue;
        tables_put(t, (enum table_id)table, name, value);
    }
}

static void encode(struct input in, struct buf *b)
{
    struct tables *t = fuzz_tables();
    put_rows(in, t);
    struct hash hash = tables_hash(t);
    struct db_config c = {.replicas = {{fuzz_uuid(2), 1, 1}, {fuzz_uuid(3), 2, 0}}, .n = 2};
    struct uuid cluster = fuzz_uuid(1);
    wire_put_u8(b, 'S');
    wire_put_u8(b, 1);
    wire_put_uuid(b, &cluster);
    wire_put_u64(b, FUZZ_INDEX + 50);
    wire_put_u64(b, FUZZ_TERM + 1);
    db_config_encode(&c, b);
    buf_add(b, hash.b, sizeof(hash.b));
    tables_encode(t, b);
    tables_free(t);
}

/* n1 is a replica that lags: it hears of a leader with a snapshot, and fetches it. */
static void install(struct slice bytes)
{
    struct uuid cluster = fuzz_uuid(1), self = fuzz_uuid(2);
    struct db_image image = {0};
    struct db_params p = {.cluster = cluster, .self = self, .nodeid = 1, .seed = 1, .message_max = 1 << 20,
                          .machine = {core_apply_entry, NULL, core_check_tables}};
    struct db *db = db_new(&p, &image, 1000);
    int err = db_snapshot_install(db, 1000, bytes);
    assert(err == 0 || err == ERR_MALFORMED || err == ERR_AGAIN);
    if (err == 0) { /* what it became is what a restart finds */
        struct buf rows = {0};
        struct tables *t = NULL;
        struct fuzz_core f;
        tables_encode(db_tables(db), &rows);
        struct wire_reader r = wire_reader(buf_slice(&rows));
        int bad = tables_decode(&r, &t);
        assert(!bad);
        fuzz_start(&f, t, "10");
        fuzz_look(&f);
        fuzz_end(&f);
        buf_done(&rows);
    }
    struct db_out o;
    while (db_take_out(db, &o))
        db_out_done(&o);
    db_free(db);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    uint8_t shaped = input_u8(&in);
    if (shaped) {
        AUTO(buf_done) struct buf b = {0};
        encode(in, &b);
        install(buf_slice(&b));
    } else {
        struct slice rest = input_rest(&in);
        AUTO(freep) uint8_t *block = input_block(rest);
        install((struct slice){block, rest.len});
    }
    return 0;
}
