/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/unit.h"

#include "common/buf.h"

static void test_alloc_gives_memory_for_nothing(void **state)
{
    (void)state;
    AUTO(freep) void *a = xmalloc(0);
    AUTO(freep) void *b = xcalloc(0, 8);
    AUTO(freep) void *c = xrealloc(xmalloc(1), 0, 8);
    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
    assert_null(xmemdup("x", 0));
    assert_null(xstrdup(NULL));
}

static void test_alloc_copies(void **state)
{
    (void)state;
    AUTO(freep) char *s = xstrdup("text");
    assert_string_equal(s, "text");
    AUTO(freep) uint8_t *m = xmemdup("a\0b", 3);
    assert_memory_equal(m, "a\0b", 3);
    AUTO(freep) uint32_t *zero = xcalloc(4, sizeof(*zero));
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(zero[i], 0);
}

static void test_str_copy_cuts_and_terminates(void **state)
{
    (void)state;
    char dst[5] = "....";
    assert_true(STR_COPY(dst, "abcd"));
    assert_string_equal(dst, "abcd");
    assert_false(STR_COPY(dst, "efghi"));
    assert_string_equal(dst, "efgh");
    assert_true(STR_COPY(dst, ""));
    assert_string_equal(dst, "");
    char one[1] = {'x'};
    assert_false(STR_COPY(one, "a"));
    assert_int_equal(one[0], 0);
}

static void test_str_copy_onto_itself(void **state)
{
    (void)state;
    char s[8] = "abcdef";
    assert_true(str_copy(s, sizeof(s), s + 2));
    assert_string_equal(s, "cdef");
}

static void test_buf_grows_and_keeps(void **state)
{
    (void)state;
    AUTO(buf_done) struct buf b = {0};
    for (unsigned i = 0; i < 10000; i++) {
        uint8_t byte = (uint8_t)(i % 251);
        buf_add(&b, &byte, 1);
    }
    assert_int_equal(b.len, 10000);
    for (unsigned i = 0; i < 10000; i++)
        assert_int_equal(b.p[i], i % 251);
    assert_true(b.cap >= b.len);
}

static void test_buf_takes_much_at_once(void **state)
{
    (void)state;
    enum { MUCH = 100000 };
    AUTO(freep) uint8_t *bytes = xcalloc(MUCH, 1);
    bytes[MUCH - 1] = 7;
    AUTO(buf_done) struct buf b = {0};
    buf_add(&b, "x", 1);
    buf_add(&b, bytes, MUCH);
    assert_int_equal(b.len, MUCH + 1);
    assert_true(b.cap >= b.len);
    assert_int_equal(b.p[MUCH], 7);
}

/* vsnprintf writes a terminator behind the text: there must be room when the text alone fills the buffer. */
static void test_buf_printf_fills_to_the_brim(void **state)
{
    (void)state;
    AUTO(buf_done) struct buf b = {0};
    buf_add(&b, "x", 1);
    size_t room = b.cap - b.len;
    buf_printf(&b, "%*d", (int)room, 7);
    assert_int_equal(b.len, 1 + room);
    assert_true(b.cap > b.len);
    assert_int_equal(b.p[room], '7');
}

static void test_buf_takes_nothing(void **state)
{
    (void)state;
    AUTO(buf_done) struct buf b = {0};
    buf_add(&b, NULL, 0);
    buf_add_str(&b, "");
    assert_int_equal(b.len, 0);
    struct slice s = buf_slice(&b);
    assert_int_equal(s.len, 0);
}

static void test_buf_printf_appends(void **state)
{
    (void)state;
    AUTO(buf_done) struct buf b = {0};
    buf_add_str(&b, "n=");
    buf_printf(&b, "%d %s", 42, "x");
    assert_int_equal(b.len, 6);
    assert_memory_equal(b.p, "n=42 x", 6);
    for (int i = 0; i < 100; i++) /* over several growths */
        buf_printf(&b, "%03d", i);
    assert_int_equal(b.len, 306);
    assert_memory_equal(b.p + 303, "099", 3);
}

static void test_buf_steal_empties(void **state)
{
    (void)state;
    struct buf b = {0};
    AUTO(freep) char *empty = buf_steal_str(&b);
    assert_string_equal(empty, "");
    buf_add_str(&b, "abc");
    AUTO(freep) char *s = buf_steal_str(&b);
    assert_string_equal(s, "abc");
    assert_null(b.p);
    assert_int_equal(b.len, 0);
    assert_int_equal(b.cap, 0);
}

static void test_buf_done_twice(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_add_str(&b, "abc");
    buf_done(&b);
    assert_null(b.p);
    assert_int_equal(b.len, 0);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alloc_gives_memory_for_nothing),
        cmocka_unit_test(test_alloc_copies),
        cmocka_unit_test(test_str_copy_cuts_and_terminates),
        cmocka_unit_test(test_str_copy_onto_itself),
        cmocka_unit_test(test_buf_grows_and_keeps),
        cmocka_unit_test(test_buf_takes_much_at_once),
        cmocka_unit_test(test_buf_printf_fills_to_the_brim),
        cmocka_unit_test(test_buf_takes_nothing),
        cmocka_unit_test(test_buf_printf_appends),
        cmocka_unit_test(test_buf_steal_empties),
        cmocka_unit_test(test_buf_done_twice),
    };
    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
