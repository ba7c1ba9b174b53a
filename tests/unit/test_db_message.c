/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/unit.h"

#include "agent/db/internal.h"

static void encode_append(struct buf *b)
{
    struct entry entries[2] = {
        {.term = 3,
         .index = 11,
         .request_id = {{1}},
         .kind = 26,
         .level = 2,
         .time_ms = -5,
         .payload = {(const uint8_t *)"abc", 3}},
        {.term = 4, .index = 12, .kind = ENTRY_NOOP},
    };
    struct db_msg m = {.type = DB_MSG_APPEND,
                       .cluster = {{1}},
                       .from = {{2}},
                       .to = {{3}},
                       .term = 4,
                       .yes = true,
                       .index = 10,
                       .index_term = 3,
                       .commit = 9,
                       .hash_index = 8,
                       .hash = {{7}},
                       .witness = {{8}},
                       .witness_sequence = 12,
                       .ring = {5, 77},
                       .entries = entries,
                       .n_entries = 2};
    db_msg_encode(&m, b);
}

static void test_append(void **state)
{
    (void)state;
    AUTO(buf_done) struct buf b = {0};
    encode_append(&b);
    struct db_msg m;
    assert_int_equal(db_msg_decode(buf_slice(&b), &m), 0);
    assert_int_equal(m.type, DB_MSG_APPEND);
    assert_true(m.yes);
    assert_int_equal(m.from.b[0], 2);
    assert_int_equal(m.commit, 9);
    assert_int_equal(m.hash.b[0], 7);
    assert_int_equal(m.n_entries, 2);
    assert_int_equal(m.entries[0].index, 11);
    assert_int_equal(m.entries[0].time_ms, -5);
    assert_memory_equal(m.entries[0].payload.p, "abc", 3);
    assert_int_equal(m.entries[1].index, 12);
    assert_int_equal(m.witness_sequence, 12);
    assert_int_equal(m.ring.nodeid, 5);
    assert_int_equal(m.ring.seq, 77);
    db_msg_done(&m);
}

/* Bounded: every cut is refused, every flipped byte is refused or read without harm. */
static void test_foreign_bytes(void **state)
{
    (void)state;
    AUTO(buf_done) struct buf b = {0};
    encode_append(&b);
    struct db_msg m;
    size_t before_ring = b.len - 12, before_witness = before_ring - 24; /* what earlier releases send */
    for (size_t n = 0; n < b.len; n++)
        if (n != before_witness && n != before_ring)
            assert_int_equal(db_msg_decode((struct slice){b.p, n}, &m), ERR_MALFORMED);
    assert_int_equal(db_msg_decode((struct slice){b.p, before_witness}, &m), 0);
    assert_int_equal(m.witness_sequence, 0);
    db_msg_done(&m);
    assert_int_equal(db_msg_decode((struct slice){b.p, before_ring}, &m), 0);
    assert_int_equal(m.witness_sequence, 12);
    assert_int_equal(m.ring.seq, 0);
    db_msg_done(&m);
    for (size_t n = 0; n < b.len; n++) {
        b.p[n] ^= 0xff;
        if (db_msg_decode(buf_slice(&b), &m) == 0)
            db_msg_done(&m);
        b.p[n] ^= 0xff;
    }
}

/* Who answers says on which ring it is; one of an earlier release says nothing. */
static void test_ring_of_answers(void **state)
{
    (void)state;
    const enum db_msg_type types[] = {DB_MSG_ACK, DB_MSG_VOTE_REPLY};
    for (size_t i = 0; i < 2; i++) {
        AUTO(buf_done) struct buf b = {0};
        struct db_msg in = {.type = types[i], .from = {{1}}, .term = 7, .index = 5, .match = 5, .ring = {3, 99}}, out;
        db_msg_encode(&in, &b);
        assert_int_equal(db_msg_decode(buf_slice(&b), &out), 0);
        assert_int_equal(out.ring.nodeid, 3);
        assert_int_equal(out.ring.seq, 99);
        assert_int_equal(db_msg_decode((struct slice){b.p, b.len - 12}, &out), 0);
        assert_int_equal(out.ring.seq, 0);
        assert_int_equal(db_msg_decode((struct slice){b.p, b.len - 1}, &out), ERR_MALFORMED);
    }
}

/* A newer release may add fields at the end. */
static void test_more_at_the_end(void **state)
{
    (void)state;
    for (int type = DB_MSG_HELLO; type <= DB_MSG_TYPE_MAX; type++) {
        AUTO(buf_done) struct buf b = {0};
        struct db_msg in = {.type = (enum db_msg_type)type, .from = {{1}}, .term = 77, .index = 5, .match = 6}, out;
        db_msg_encode(&in, &b);
        assert_true(b.len < DB_MSG_OVERHEAD);
        wire_put_u64(&b, 1);
        assert_int_equal(db_msg_decode(buf_slice(&b), &out), 0);
        assert_int_equal(out.type, type);
        assert_int_equal(out.term, 77);
        db_msg_done(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append),
        cmocka_unit_test(test_foreign_bytes),
        cmocka_unit_test(test_ring_of_answers),
        cmocka_unit_test(test_more_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
