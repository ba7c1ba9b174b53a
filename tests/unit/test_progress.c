/* SPDX-License-Identifier: GPL-2.0-or-later */
/* agent/progress: what is heard, for how long it is believed, and messages that are none. */
#include "tests/unit/unit.h"

#include "agent/progress.h"
#include "common/wire.h"

static struct uuid op(unsigned n)
{
    return (struct uuid){{7, [14] = (uint8_t)(n >> 8), [15] = (uint8_t)n}};
}

static int get(const struct progress *p, unsigned n, int64_t now_ms)
{
    struct uuid id = op(n);
    return progress_get(p, &id, now_ms);
}

static void encode(struct buf *b, uint8_t version, uint8_t count, unsigned n, uint8_t percent)
{
    b->len = 0;
    wire_put_u8(b, version);
    wire_put_u8(b, count);
    for (unsigned i = 0; i < n; i++) {
        struct uuid id = op(i);
        wire_put_uuid(b, &id);
        wire_put_u8(b, percent);
    }
}

static void test_round_trip(void **state)
{
    (void)state;
    struct progress said = {0}, heard = {0};
    AUTO(buf_done) struct buf b = {0};
    for (unsigned i = 0; i < PROGRESS_MAX; i++)
        progress_add(&said, &(struct progress_item){.op = op(i), .percent = (uint8_t)i});
    progress_encode(&said, &b);
    assert_int_equal(progress_take(&heard, 1000, buf_slice(&b)), 0);
    for (unsigned i = 0; i < PROGRESS_MAX; i++)
        assert_int_equal(get(&heard, i, 1000 + PROGRESS_KEPT_MS - 1), i);
    assert_int_equal(get(&heard, 0, 1000 + PROGRESS_KEPT_MS), -1);
    assert_int_equal(get(&heard, PROGRESS_MAX, 1000), -1);
}

static void test_newest_counts(void **state)
{
    (void)state;
    struct progress p = {0};
    progress_add(&p, &(struct progress_item){.op = op(0), .percent = 10, .heard_ms = 1});
    progress_add(&p, &(struct progress_item){.op = op(0), .percent = 20, .heard_ms = 2});
    assert_int_equal(p.n, 1);
    assert_int_equal(get(&p, 0, 2), 20);
    for (unsigned i = 1; i <= PROGRESS_MAX; i++) /* one too many: the oldest goes */
        progress_add(&p, &(struct progress_item){.op = op(i), .percent = 30, .heard_ms = 10 + i});
    assert_int_equal(p.n, PROGRESS_MAX);
    assert_int_equal(get(&p, 0, 3), -1);
    assert_int_equal(get(&p, 1, 20), 30);
    assert_int_equal(get(&p, PROGRESS_MAX, 20), 30);
}

static void test_what_is_no_message(void **state)
{
    (void)state;
    static const struct {
        uint8_t version, count;
        unsigned n;
        uint8_t percent;
        int err;
    } rows[] = {
        {1, 2, 2, 100, 0},
        {1, 0, 0, 0, 0},
        {2, 2, 2, 50, ERR_UNKNOWN_KIND},
        {0, 0, 0, 0, ERR_UNKNOWN_KIND},
        {1, 2, 1, 50, ERR_MALFORMED}, /* too short, too long */
        {1, 1, 2, 50, ERR_MALFORMED},
        {1, 2, 2, 101, ERR_MALFORMED},
        {1, PROGRESS_MAX + 1, PROGRESS_MAX + 1, 50, ERR_MALFORMED},
    };
    AUTO(buf_done) struct buf b = {0};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct progress p = {0};
        encode(&b, rows[i].version, rows[i].count, rows[i].n, rows[i].percent);
        assert_int_equal(progress_take(&p, 0, buf_slice(&b)), rows[i].err);
        assert_int_equal(p.n, rows[i].err ? 0 : rows[i].n);
    }
    struct progress p = {0};
    encode(&b, 1, 2, 2, 50);
    for (size_t len = 0; len < b.len; len++)
        assert_int_equal(progress_take(&p, 0, (struct slice){b.p, len}), ERR_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_newest_counts),
        cmocka_unit_test(test_what_is_no_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
