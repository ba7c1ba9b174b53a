/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "common/err.h"
#include "common/prng.h"
#include "common/table.h"

static struct slice text(const char *s)
{
    return (struct slice){(const uint8_t *)s, strlen(s)};
}

static void put(struct tables *t, enum table_id table, const char *key, const char *value)
{
    tables_put(t, table, key, text(value));
}

static void assert_value(const struct tables *t, enum table_id table, const char *key, const char *expected)
{
    struct slice value;
    assert_int_equal(tables_get(t, table, key, &value), 0);
    assert_int_equal(value.len, strlen(expected));
    assert_memory_equal(value.p, expected, value.len);
}

static void assert_change(const struct table_row *row, enum table_id table, const char *key, const char *expected)
{
    assert_int_equal(row->table, table);
    assert_string_equal(row->key, key);
    if (!expected) {
        assert_null(row->value.p);
        return;
    }
    assert_non_null(row->value.p);
    assert_int_equal(row->value.len, strlen(expected));
    assert_memory_equal(row->value.p, expected, row->value.len);
}

static void free_tables(struct tables **t)
{
    tables_free(*t);
}

static void test_put_get_del(void **state)
{
    (void)state;
    AUTO(free_tables) struct tables *t = tables_new();
    struct slice value = {(const uint8_t *)"untouched", 9};
    assert_int_equal(tables_get(t, TABLE_VM, "vm1", &value), ERR_NOT_FOUND);
    assert_int_equal(value.len, 9);
    put(t, TABLE_VM, "vm1", "one");
    put(t, TABLE_NODE, "vm1", "other table");
    assert_value(t, TABLE_VM, "vm1", "one");
    put(t, TABLE_VM, "vm1", "longer than before");
    assert_value(t, TABLE_VM, "vm1", "longer than before");
    assert_int_equal(tables_count(t, TABLE_VM), 1);
    assert_true(tables_has(t, TABLE_VM, "vm1"));
    assert_false(tables_has(t, TABLE_VM, "vm"));
    assert_true(tables_del(t, TABLE_VM, "vm1"));
    assert_false(tables_del(t, TABLE_VM, "vm1"));
    assert_false(tables_has(t, TABLE_VM, "vm1"));
    assert_value(t, TABLE_NODE, "vm1", "other table");
}

static void test_empty_value_is_a_value(void **state)
{
    (void)state;
    AUTO(free_tables) struct tables *t = tables_new();
    tables_put(t, TABLE_VM, "vm1", (struct slice){0});
    struct slice value;
    assert_int_equal(tables_get(t, TABLE_VM, "vm1", &value), 0);
    assert_non_null(value.p);
    assert_int_equal(value.len, 0);
    struct table_changes changes;
    tables_take_changes(t, &changes);
    assert_int_equal(changes.n, 1);
    assert_change(&changes.rows[0], TABLE_VM, "vm1", "");
    table_changes_free(&changes);
}

static void test_limits_are_inclusive(void **state)
{
    (void)state;
    AUTO(free_tables) struct tables *t = tables_new();
    char key[TABLE_KEY_MAX + 1];
    memset(key, 'k', TABLE_KEY_MAX);
    key[TABLE_KEY_MAX] = '\0';
    AUTO(freep) uint8_t *value = xcalloc(1, TABLE_VALUE_MAX);
    tables_put(t, TABLE_VM, key, (struct slice){value, TABLE_VALUE_MAX});
    tables_put(t, TABLE_MAX - 1, "k", text("v"));
    AUTO(buf_done) struct buf b = {0};
    tables_encode(t, &b);
    struct wire_reader r = wire_reader(buf_slice(&b));
    AUTO(free_tables) struct tables *copy = NULL;
    assert_int_equal(tables_decode(&r, &copy), 0);
    assert_true(tables_has(copy, TABLE_VM, key));
    assert_true(tables_has(copy, TABLE_MAX - 1, "k"));
}

static void test_order_is_bytewise(void **state)
{
    (void)state;
    static const char *const keys[] = {"B", "a", "a/1", "a/10", "a/2", "a0", "ab", "abcdefgh",
                                       "abcdefgh0", "abcdefghi", "\xc3\xa4", "\xff"};
    enum { N = sizeof(keys) / sizeof(keys[0]) };
    AUTO(free_tables) struct tables *t = tables_new();
    for (size_t i = 0; i < N; i++)
        put(t, TABLE_STEP, keys[i * 5 % N], "v");
    size_t i = 0;
    TABLES_FOREACH(t, TABLE_STEP, row)
    {
        assert_int_equal(row.table, TABLE_STEP);
        assert_string_equal(row.key, keys[i++]);
    }
    assert_int_equal(i, N);
    struct table_row row;
    assert_true(tables_last(t, TABLE_STEP, &row));
    assert_string_equal(row.key, "\xff");
}

static void test_next_after_a_key_that_is_not_there(void **state)
{
    (void)state;
    AUTO(free_tables) struct tables *t = tables_new();
    put(t, TABLE_VM, "b", "1");
    put(t, TABLE_VM, "d", "2");
    struct table_row row;
    assert_true(tables_next(t, TABLE_VM, "a", &row));
    assert_string_equal(row.key, "b");
    assert_true(tables_next(t, TABLE_VM, "c", &row));
    assert_string_equal(row.key, "d");
    assert_true(tables_next(t, TABLE_VM, "b", &row));
    assert_string_equal(row.key, "d");
    assert_false(tables_next(t, TABLE_VM, "d", &row));
    assert_false(tables_next(t, TABLE_NODE, NULL, &row));
    assert_false(tables_last(t, TABLE_NODE, &row));
    assert_string_equal(row.key, "d"); /* untouched */
}

static void test_borrowed_arguments(void **state)
{
    (void)state;
    AUTO(free_tables) struct tables *t = tables_new();
    put(t, TABLE_VM, "vm1", "0123456789");
    struct table_row row;
    assert_true(tables_last(t, TABLE_VM, &row));
    tables_put(t, TABLE_VM, row.key, (struct slice){row.value.p + 2, 5});
    assert_value(t, TABLE_VM, "vm1", "23456");
    assert_true(tables_last(t, TABLE_VM, &row));
    assert_true(tables_del(t, TABLE_VM, row.key));
    assert_int_equal(tables_count(t, TABLE_VM), 0);
}

static void test_values_stay_where_they_are(void **state)
{
    (void)state;
    AUTO(free_tables) struct tables *t = tables_new();
    put(t, TABLE_VM, "m", "middle");
    struct slice value;
    tables_get(t, TABLE_VM, "m", &value);
    for (int i = 0; i < 200; i++) {
        char key[16];
        snprintf(key, sizeof(key), "%c%d", i % 2 ? 'a' : 'z', i);
        put(t, TABLE_VM, key, "v");
    }
    tables_del(t, TABLE_VM, "a1");
    assert_memory_equal(value.p, "middle", 6);
}

static void test_changes_come_once_with_the_newest_value(void **state)
{
    (void)state;
    AUTO(free_tables) struct tables *t = tables_new();
    put(t, TABLE_VM, "kept", "1");
    put(t, TABLE_VM, "gone", "1");
    struct table_changes changes;
    tables_take_changes(t, &changes);
    assert_int_equal(changes.n, 2);
    table_changes_free(&changes);
    assert_null(changes.rows);

    put(t, TABLE_VM, "kept", "2");
    put(t, TABLE_VM, "kept", "3");
    put(t, TABLE_NODE, "back", "1");
    tables_del(t, TABLE_VM, "gone");
    tables_del(t, TABLE_NODE, "back");
    put(t, TABLE_NODE, "back", "2");
    put(t, TABLE_NODE, "brief", "1");
    tables_del(t, TABLE_NODE, "brief");
    tables_take_changes(t, &changes);
    assert_int_equal(changes.n, 4);
    assert_change(&changes.rows[0], TABLE_NODE, "back", "2");
    assert_change(&changes.rows[1], TABLE_NODE, "brief", NULL);
    assert_change(&changes.rows[2], TABLE_VM, "gone", NULL);
    assert_change(&changes.rows[3], TABLE_VM, "kept", "3");
    put(t, TABLE_VM, "kept", "4"); /* what was taken are copies */
    assert_change(&changes.rows[3], TABLE_VM, "kept", "3");
    table_changes_free(&changes);
}

static void test_same_bytes_are_no_change(void **state)
{
    (void)state;
    AUTO(free_tables) struct tables *t = tables_new();
    put(t, TABLE_VM, "vm1", "one");
    put(t, TABLE_VM, "vm2", "");
    struct table_changes changes;
    tables_take_changes(t, &changes);
    table_changes_free(&changes);
    put(t, TABLE_VM, "vm1", "one");
    put(t, TABLE_VM, "vm2", "");
    tables_del(t, TABLE_VM, "vm3");
    tables_take_changes(t, &changes);
    assert_int_equal(changes.n, 0);
    table_changes_free(&changes);
}

static void assert_hash(const struct tables *t, const char *expected)
{
    struct hash h = tables_hash(t);
    assert_string_equal(hash_str(&h).s, expected);
}

#define HASH_EMPTY "0000000000000000000000000000000000000000000000000000000000000000"

/* Computed apart from this code, from the layout in table.c: nodes of two releases must agree on it. */
static void test_hash_known_answers(void **state)
{
    (void)state;
    AUTO(free_tables) struct tables *t = tables_new();
    assert_hash(t, HASH_EMPTY);
    put(t, TABLE_VM, "vm1", "one");
    assert_hash(t, "c0a879baefcb0935dace512694db57be25dffd1ae3abb950219b3089fca6eb71");
    put(t, TABLE_NODE, "node1", "");
    assert_hash(t, "3483c589d7405117ed6a3340d15f3902f44698becceae6e53d37a8ac62687740");
    tables_del(t, TABLE_VM, "vm1");
    tables_del(t, TABLE_NODE, "node1");
    assert_hash(t, HASH_EMPTY);
}

static void test_hash_tells_key_value_and_table_apart(void **state)
{
    (void)state;
    AUTO(free_tables) struct tables *a = tables_new();
    AUTO(free_tables) struct tables *b = tables_new();
    AUTO(free_tables) struct tables *c = tables_new();
    put(a, TABLE_VM, "ab", "c");
    put(b, TABLE_VM, "a", "bc");
    put(c, TABLE_NODE, "ab", "c");
    struct hash ha = tables_hash(a), hb = tables_hash(b), hc = tables_hash(c);
    assert_false(hash_eq(&ha, &hb));
    assert_false(hash_eq(&ha, &hc));
}

/* ---- against a model: the same random changes in a plain array -------------------------------------------------- */

enum { MODEL_TABLES = 3, MODEL_KEYS = 400 };

struct model {
    int value[MODEL_TABLES][MODEL_KEYS]; /* 0: not there */
};

static const enum table_id model_tables[MODEL_TABLES] = {TABLE_CLUSTER, TABLE_VM, TABLE_OBLIGATION};

struct key {
    char s[24];
};

/* In their order; the later ones differ behind their first eight bytes. */
static struct key key_of(int k)
{
    struct key key;
    snprintf(key.s, sizeof(key.s), k < MODEL_KEYS / 2 ? "key%03d" : "key:alike-at-first/%03d", k);
    return key;
}

static struct key value_of(int v)
{
    struct key value;
    snprintf(value.s, sizeof(value.s), "value%d", v);
    return value;
}

/* deletes: of ten changes. */
static void model_step(struct model *m, struct tables *t, struct prng *r, uint64_t deletes)
{
    size_t table = prng_below(r, MODEL_TABLES);
    int k = (int)prng_below(r, MODEL_KEYS);
    struct key key = key_of(k);
    if (prng_below(r, 10) < deletes) {
        assert_int_equal(tables_del(t, model_tables[table], key.s), m->value[table][k] != 0);
        m->value[table][k] = 0;
    } else {
        int v = 1 + (int)prng_below(r, 5);
        put(t, model_tables[table], key.s, value_of(v).s);
        m->value[table][k] = v;
    }
}

static void assert_like_model(const struct model *m, const struct tables *t)
{
    for (size_t i = 0; i < MODEL_TABLES; i++) {
        size_t n = 0;
        struct table_row row = {.key = NULL};
        for (int k = 0; k < MODEL_KEYS; k++) {
            if (!m->value[i][k])
                continue;
            n++;
            assert_true(tables_next(t, model_tables[i], row.key, &row));
            assert_string_equal(row.key, key_of(k).s);
            assert_value(t, model_tables[i], row.key, value_of(m->value[i][k]).s);
        }
        assert_false(tables_next(t, model_tables[i], row.key, &row));
        assert_int_equal(tables_count(t, model_tables[i]), n);
    }
}

/* What a store does: applies the changes to its own image. */
static void replay_changes(struct tables *from, struct tables *image)
{
    struct table_changes changes;
    tables_take_changes(from, &changes);
    for (size_t i = 0; i < changes.n; i++) {
        const struct table_row *row = &changes.rows[i];
        if (row->value.p)
            tables_put(image, row->table, row->key, row->value);
        else
            tables_del(image, row->table, row->key);
    }
    table_changes_free(&changes);
}

static struct tables *decoded_copy(const struct tables *t)
{
    AUTO(buf_done) struct buf b = {0};
    AUTO(buf_done) struct buf again = {0};
    tables_encode(t, &b);
    struct wire_reader r = wire_reader(buf_slice(&b));
    struct tables *copy = NULL;
    assert_int_equal(tables_decode(&r, &copy), 0);
    assert_int_equal(wire_end(&r), 0);
    tables_encode(copy, &again);
    assert_int_equal(b.len, again.len);
    assert_memory_equal(b.p, again.p, b.len);
    return copy;
}

static void assert_same_hash(const struct tables *a, const struct tables *b)
{
    struct hash ha = tables_hash(a), hb = tables_hash(b);
    assert_string_equal(hash_str(&ha).s, hash_str(&hb).s);
}

static void test_random_changes_match_the_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct prng r = prng_new(seed);
        struct model m = {0};
        AUTO(free_tables) struct tables *t = tables_new();
        AUTO(free_tables) struct tables *image = tables_new();
        for (int round = 0; round < 30; round++) {
            uint64_t deletes = prng_below(&r, 11); /* tables grow, shrink and become empty */
            for (uint64_t n = prng_below(&r, 2000); n > 0; n--)
                model_step(&m, t, &r, deletes);
            assert_like_model(&m, t);
            replay_changes(t, image);
            assert_like_model(&m, image);
            assert_same_hash(t, image);
            AUTO(free_tables) struct tables *copy = decoded_copy(t);
            assert_like_model(&m, copy);
            assert_same_hash(t, copy);
        }
    }
}

/* ---- decoding --------------------------------------------------------------------------------------------------- */

static void put_row(struct buf *b, uint16_t table, const char *key, const char *value)
{
    wire_put_u16(b, table);
    wire_put_str(b, key);
    wire_put_str(b, value);
}

static void assert_malformed(const struct buf *b)
{
    struct wire_reader r = wire_reader(buf_slice(b));
    struct tables *untouched = (struct tables *)(uintptr_t)8;
    struct tables *t = untouched;
    assert_int_equal(tables_decode(&r, &t), ERR_MALFORMED);
    assert_int_equal(wire_err(&r), ERR_MALFORMED);
    assert_ptr_equal(t, untouched);
}

static void test_decoded_has_no_pending_changes(void **state)
{
    (void)state;
    AUTO(free_tables) struct tables *t = tables_new();
    put(t, TABLE_VM, "vm1", "one");
    AUTO(free_tables) struct tables *copy = decoded_copy(t);
    struct table_changes changes;
    tables_take_changes(copy, &changes);
    assert_int_equal(changes.n, 0);
    table_changes_free(&changes);
}

static void test_decode_leaves_what_follows(void **state)
{
    (void)state;
    AUTO(free_tables) struct tables *t = tables_new();
    AUTO(free_tables) struct tables *copy = NULL;
    put(t, TABLE_VM, "vm1", "one");
    AUTO(buf_done) struct buf b = {0};
    tables_encode(t, &b);
    wire_put_u8(&b, 77);
    struct wire_reader r = wire_reader(buf_slice(&b));
    assert_int_equal(tables_decode(&r, &copy), 0);
    assert_int_equal(wire_get_u8(&r), 77);
    assert_int_equal(wire_end(&r), 0);
}

static void test_decode_refuses_every_cut(void **state)
{
    (void)state;
    AUTO(free_tables) struct tables *t = tables_new();
    put(t, TABLE_NODE, "node1", "x");
    put(t, TABLE_VM, "vm1", "one");
    AUTO(buf_done) struct buf b = {0};
    tables_encode(t, &b);
    while (b.len > 0) {
        b.len--;
        assert_malformed(&b);
    }
}

static void test_decode_refuses_two_rows(void **state)
{
    (void)state;
    static const struct {
        uint16_t table[2];
        const char *key[2];
    } bad[] = {
        {{TABLE_VM, TABLE_VM}, {"a", "a"}},   {{TABLE_VM, TABLE_VM}, {"b", "a"}},
        {{TABLE_VM, TABLE_NODE}, {"a", "b"}}, {{0, TABLE_VM}, {"a", "b"}},
        {{TABLE_VM, TABLE_MAX}, {"a", "b"}},  {{TABLE_VM, 0x100 + TABLE_VM}, {"a", "b"}},
        {{TABLE_NODE, TABLE_VM}, {"a", ""}},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        AUTO(buf_done) struct buf b = {0};
        wire_put_u32(&b, 2);
        for (size_t k = 0; k < 2; k++)
            put_row(&b, bad[i].table[k], bad[i].key[k], "v");
        assert_malformed(&b);
    }
}

static void test_decode_refuses_oversize(void **state)
{
    (void)state;
    AUTO(freep) char *big = xcalloc(1, TABLE_VALUE_MAX + 2);
    memset(big, 'v', TABLE_VALUE_MAX + 1);
    AUTO(buf_done) struct buf b = {0};
    wire_put_u32(&b, 1);
    put_row(&b, TABLE_VM, "vm1", big);
    assert_malformed(&b);
    b.len = 0;
    big[TABLE_KEY_MAX + 1] = '\0';
    wire_put_u32(&b, 1);
    put_row(&b, TABLE_VM, big, "v");
    assert_malformed(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_get_del),
        cmocka_unit_test(test_empty_value_is_a_value),
        cmocka_unit_test(test_limits_are_inclusive),
        cmocka_unit_test(test_order_is_bytewise),
        cmocka_unit_test(test_next_after_a_key_that_is_not_there),
        cmocka_unit_test(test_borrowed_arguments),
        cmocka_unit_test(test_values_stay_where_they_are),
        cmocka_unit_test(test_changes_come_once_with_the_newest_value),
        cmocka_unit_test(test_same_bytes_are_no_change),
        cmocka_unit_test(test_hash_known_answers),
        cmocka_unit_test(test_hash_tells_key_value_and_table_apart),
        cmocka_unit_test(test_random_changes_match_the_model),
        cmocka_unit_test(test_decoded_has_no_pending_changes),
        cmocka_unit_test(test_decode_leaves_what_follows),
        cmocka_unit_test(test_decode_refuses_every_cut),
        cmocka_unit_test(test_decode_refuses_two_rows),
        cmocka_unit_test(test_decode_refuses_oversize),
    };
    return cmocka_run_group_tests_name("table", tests, NULL, NULL);
}
