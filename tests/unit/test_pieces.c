/* SPDX-License-Identifier: GPL-2.0-or-later */
/* agent/io/pieces: long messages through short ones, and what does not fit together. */
#include "tests/unit/unit.h"

#include "agent/io/pieces.h"
#include "common/err.h"

static const char text[] = "0123456789abcdefghijklmnopqrstuvwxyz";
enum { LEN = sizeof(text) - 1 };

/* Feeds text[offset …] of a message of all of it. */
static int feed(struct pieces *p, uint32_t number, size_t total, size_t offset, size_t n, struct buf *ret)
{
    AUTO(buf_done) struct buf b = {0};
    piece_header(&b, number, total, offset);
    assert_int_equal(b.len, PIECE_HEADER);
    buf_add(&b, text + offset % LEN, n);
    return pieces_take(p, buf_slice(&b), ret);
}

static void test_every_size_of_piece(void **state)
{
    (void)state;
    struct pieces p = {0};
    uint32_t number = 0;
    for (size_t size = 1; size <= LEN; size++, number++) {
        struct buf whole = {0};
        for (size_t at = 0; at < LEN; at += size) {
            size_t n = size < LEN - at ? size : LEN - at;
            assert_int_equal(feed(&p, number, LEN, at, n, &whole), at + n == LEN);
        }
        assert_int_equal(whole.len, LEN);
        assert_memory_equal(whole.p, text, LEN);
        buf_done(&whole);
    }
    pieces_done(&p);
}

static void test_the_middle_of_a_message_is_passed_over(void **state)
{
    (void)state;
    struct pieces p = {0};
    struct buf whole = {0};
    assert_int_equal(feed(&p, 1, LEN, 10, 10, &whole), 0);
    assert_int_equal(feed(&p, 1, LEN, 20, LEN - 20, &whole), 0);
    assert_null(whole.p);
    assert_int_equal(feed(&p, 2, LEN, 0, LEN, &whole), 1);
    buf_done(&whole);
}

static void test_what_does_not_continue_is_dropped(void **state)
{
    (void)state;
    const struct {
        uint32_t number;
        size_t total, offset;
    } wrong[] = {{2, LEN, 10}, {1, LEN - 1, 10}, {1, LEN, 11}, {1, LEN, 9}};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        struct pieces p = {0};
        struct buf whole = {0};
        assert_int_equal(feed(&p, 1, LEN, 0, 10, &whole), 0);
        assert_int_equal(feed(&p, wrong[i].number, wrong[i].total, wrong[i].offset, 1, &whole), ERR_MALFORMED);
        assert_int_equal(feed(&p, 1, LEN, 10, LEN - 10, &whole), 0); /* its rest is of no use */
        assert_null(whole.p);
        pieces_done(&p);
    }
}

static void test_a_new_message_ends_a_half_one(void **state)
{
    (void)state;
    struct pieces p = {0};
    struct buf whole = {0};
    assert_int_equal(feed(&p, 1, LEN, 0, 10, &whole), 0);
    assert_int_equal(feed(&p, 2, LEN, 0, 5, &whole), ERR_MALFORMED);
    assert_int_equal(feed(&p, 2, LEN, 5, LEN - 5, &whole), 1);
    assert_memory_equal(whole.p, text, LEN);
    buf_done(&whole);
}

static void test_bounds(void **state)
{
    (void)state;
    struct pieces p = {0};
    struct buf whole = {0};
    assert_int_equal(feed(&p, 1, 0, 0, 0, &whole), ERR_MALFORMED);
    assert_int_equal(feed(&p, 1, 10, 0, 0, &whole), ERR_MALFORMED);  /* an empty piece would go on for ever */
    assert_int_equal(feed(&p, 1, 10, 0, 11, &whole), ERR_MALFORMED); /* more than it says */
    assert_int_equal(feed(&p, 1, 10, 11, 1, &whole), ERR_MALFORMED);
    assert_int_equal(feed(&p, 1, (size_t)PIECES_MESSAGE_MAX + 1, 0, 1, &whole), ERR_MALFORMED);
    uint8_t junk[PIECE_HEADER + 4] = {'X', 1};
    for (size_t n = 0; n <= sizeof(junk); n++)
        assert_int_equal(pieces_take(&p, (struct slice){junk, n}, &whole), ERR_MALFORMED);
    assert_null(whole.p);
    pieces_done(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_size_of_piece),
        cmocka_unit_test(test_the_middle_of_a_message_is_passed_over),
        cmocka_unit_test(test_what_does_not_continue_is_dropped),
        cmocka_unit_test(test_a_new_message_ends_a_half_one),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
