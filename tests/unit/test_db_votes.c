/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/unit.h"

#include "agent/db/internal.h"

static struct db_config voters(size_t n, uint8_t witness)
{
    struct db_config c = {.n = n, .witness_weight = witness};
    for (size_t i = 0; i < n; i++)
        c.replicas[i] = (struct db_replica){.id = {{(uint8_t)(i + 1)}}, .nodeid = (uint32_t)i + 1, .weight = 1};
    return c;
}

/* "Strictly more than half of the sum." */
static void test_quorum(void **state)
{
    (void)state;
    static const struct {
        size_t n;
        uint8_t witness;
        unsigned need;
    } cases[] = {{1, 0, 1}, {2, 0, 2}, {3, 0, 2}, {4, 0, 3}, {5, 0, 3}, {2, 1, 2}, {4, 1, 3}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct db_config c = voters(cases[i].n, cases[i].witness);
        assert_int_equal(db_config_total(&c), cases[i].n + cases[i].witness);
        assert_false(db_config_is_quorum(&c, cases[i].need - 1));
        assert_true(db_config_is_quorum(&c, cases[i].need));
    }
}

static void test_codec(void **state)
{
    (void)state;
    struct db_config c = voters(3, 1), out;
    c.replicas[1].weight = 0;
    c.witness = (struct uuid){{9}};
    AUTO(buf_done) struct buf b = {0};
    db_config_encode(&c, &b);
    struct wire_reader r = wire_reader(buf_slice(&b));
    db_config_decode(&r, &out);
    assert_int_equal(wire_end(&r), 0);
    assert_int_equal(out.n, 3);
    assert_int_equal(db_config_total(&out), 3);
    assert_true(uuid_eq(&out.witness, &c.witness));
    assert_true(uuid_eq(&out.replicas[2].id, &c.replicas[2].id));
    for (size_t n = 0; n < b.len; n++) {
        r = wire_reader((struct slice){b.p, n});
        db_config_decode(&r, &out);
        assert_int_equal(wire_end(&r), ERR_MALFORMED);
    }
}

static void test_entry_that_does_not_parse(void **state)
{
    (void)state;
    struct db_config c = voters(2, 0);
    struct error error = {0};
    struct entry e = {.kind = ENTRY_REPLICA_WEIGHT, .payload = {(const uint8_t *)"x", 1}};
    assert_int_equal(db_config_apply(&c, &e, &error), ERR_USAGE);
    assert_int_equal(db_config_total(&c), 2);
}

static int apply(struct db_config *c, uint16_t kind, void (*encode)(struct buf *b), struct error *e)
{
    AUTO(buf_done) struct buf b = {0};
    encode(&b);
    struct entry entry = {.kind = kind, .payload = buf_slice(&b)};
    return db_config_apply(c, &entry, e);
}

static void one(struct buf *b)
{
    db_encode_witness_name(b, &(struct uuid){{1}});
}

static void two(struct buf *b)
{
    db_encode_witness_name(b, &(struct uuid){{2}});
}

static void raise_one(struct buf *b)
{
    db_encode_witness_weight(b, &(struct uuid){{1}}, 1);
}

static void drop_one(struct buf *b)
{
    db_encode_witness_weight(b, &(struct uuid){{1}}, 0);
}

static void drop_first_node(struct buf *b)
{
    db_encode_replica_weight(b, &(struct uuid){{1}}, 0);
}

/* "Replacing a witness: old weight -> 0, create the new one, new weight -> 1"; and the last node keeps its vote. */
static void test_witness_entries(void **state)
{
    (void)state;
    struct db_config c = voters(1, 0);
    struct error e = {0};
    assert_int_equal(apply(&c, ENTRY_WITNESS_WEIGHT, raise_one, &e), ERR_NO_OBJECT);
    assert_int_equal(apply(&c, ENTRY_WITNESS_NAME, one, &e), 0);
    assert_int_equal(apply(&c, ENTRY_WITNESS_WEIGHT, raise_one, &e), 0);
    assert_int_equal(db_config_total(&c), 2);
    assert_int_equal(db_config_nodes(&c), 1);
    assert_int_equal(apply(&c, ENTRY_REPLICA_WEIGHT, drop_first_node, &e), ERR_CONDITION);
    assert_int_equal(apply(&c, ENTRY_WITNESS_NAME, two, &e), ERR_CONDITION);
    assert_true(uuid_eq(&c.witness, &(struct uuid){{1}}));
    assert_int_equal(apply(&c, ENTRY_WITNESS_WEIGHT, drop_one, &e), 0);
    assert_int_equal(apply(&c, ENTRY_WITNESS_NAME, two, &e), 0);
    assert_int_equal(apply(&c, ENTRY_WITNESS_WEIGHT, raise_one, &e), ERR_NO_OBJECT);
    assert_int_equal(db_config_total(&c), 1);
}

static void test_log(void **state)
{
    (void)state;
    struct db_log l = {0};
    uint64_t term;
    for (uint64_t i = 1; i <= 10; i++) {
        struct entry e = {
            .index = i, .term = (i + 1) / 2, .request_id = {{(uint8_t)i}}, .payload = {(const uint8_t *)"p", 1}};
        db_log_append(&l, &e);
    }
    db_log_compact(&l, 4);
    assert_null(db_log_at(&l, 4));
    assert_true(db_log_term(&l, 4, &term) && term == 2);
    assert_false(db_log_term(&l, 3, &term));
    assert_int_equal(db_log_at(&l, 5)->index, 5);
    db_log_truncate(&l, 8);
    assert_int_equal(db_log_last(&l), 7);
    assert_int_equal(db_log_last_term(&l), 4);
    struct uuid id = {{6}};
    assert_true(db_log_has_request(&l, 5, &id));
    assert_false(db_log_has_request(&l, 6, &id));
    db_log_compact(&l, 7);
    assert_int_equal(db_log_last(&l), 7);
    assert_int_equal(db_log_last_term(&l), 4);
    db_log_done(&l);
}

/* The oldest outcome goes, in the order in which they were applied, also after a reload. */
static void test_kept_outcomes(void **state)
{
    (void)state;
    struct tables *t = tables_new();
    struct db_requests r;
    struct apply_result out, result = {.error = {.code = -113, .text = "no", .remedy = "do"}};
    db_requests_init(&r, 3);
    for (uint8_t i = 1; i <= 5; i++) {
        struct uuid id = {{(uint8_t)(200 - i)}};
        db_requests_put(&r, t, 100 + i, &id, &result);
        db_requests_load(&r, t);
        assert_int_equal(tables_count(t, TABLE_REQUEST), i < 3 ? i : 3);
    }
    struct uuid gone = {{198}}, kept = {{197}};
    assert_false(db_requests_get(t, &gone, &out));
    assert_true(db_requests_get(t, &kept, &out));
    assert_int_equal(out.error.code, -113);
    assert_string_equal(out.error.remedy, "do");
    db_requests_done(&r);
    tables_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quorum),
        cmocka_unit_test(test_codec),
        cmocka_unit_test(test_entry_that_does_not_parse),
        cmocka_unit_test(test_witness_entries),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_kept_outcomes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
