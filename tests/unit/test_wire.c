/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/unit.h"

#include "common/err.h"
#include "common/wire.h"

static const struct uuid some_uuid = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}};

static void put_everything(struct buf *b)
{
    wire_put_u8(b, 0x01);
    wire_put_u16(b, 0x0203);
    wire_put_u32(b, 0x04050607);
    wire_put_u64(b, 0x08090a0b0c0d0e0f);
    wire_put_i64(b, -2);
    wire_put_bytes(b, "\0\1", 2);
    wire_put_slice(b, (struct slice){0});
    wire_put_str(b, "ab");
    wire_put_str(b, NULL);
    wire_put_uuid(b, &some_uuid);
}

/* The layout is a contract between releases: byte by byte. */
static void test_layout(void **state)
{
    (void)state;
    static const uint8_t expected[] = {
        0x01,                                           /* u8 */
        0x03, 0x02,                                     /* u16 */
        0x07, 0x06, 0x05, 0x04,                         /* u32 */
        0x0f, 0x0e, 0x0d, 0x0c, 0x0b, 0x0a, 0x09, 0x08, /* u64 */
        0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, /* i64 */
        2,    0,    0,    0,    0,    1,                /* bytes */
        0,    0,    0,    0,                            /* slice */
        2,    0,    0,    0,    'a',  'b',              /* str */
        0,    0,    0,    0,                            /* NULL */
        0,    1,    2,    3,    4,    5,    6,    7,    /* uuid */
        8,    9,    10,   11,   12,   13,   14,   15,
    };
    AUTO(buf_done) struct buf b = {0};
    put_everything(&b);
    assert_int_equal(b.len, sizeof(expected));
    assert_memory_equal(b.p, expected, sizeof(expected));
}

/* Reads what put_everything wrote; only the reader's verdict counts where the input is cut. */
static void get_everything(struct wire_reader *r, bool whole)
{
    uint8_t u8 = wire_get_u8(r);
    uint16_t u16 = wire_get_u16(r);
    uint32_t u32 = wire_get_u32(r);
    uint64_t u64 = wire_get_u64(r);
    int64_t i64 = wire_get_i64(r);
    struct slice bytes = wire_get_slice(r);
    struct slice empty = wire_get_slice(r);
    char str[3];
    WIRE_GET_STR(r, str);
    AUTO(freep) char *dup = wire_get_strdup(r);
    struct uuid uuid = wire_get_uuid(r);
    assert_non_null(dup);
    if (!whole)
        return;
    assert_int_equal(u8, 0x01);
    assert_int_equal(u16, 0x0203);
    assert_int_equal(u32, 0x04050607);
    assert_true(u64 == 0x08090a0b0c0d0e0f);
    assert_true(i64 == -2);
    assert_int_equal(bytes.len, 2);
    assert_memory_equal(bytes.p, "\0\1", 2);
    assert_int_equal(empty.len, 0);
    assert_string_equal(str, "ab");
    assert_string_equal(dup, "");
    assert_true(uuid_eq(&uuid, &some_uuid));
}

static void test_round_trip(void **state)
{
    (void)state;
    AUTO(buf_done) struct buf b = {0};
    put_everything(&b);
    struct wire_reader r = wire_reader(buf_slice(&b));
    get_everything(&r, true);
    assert_int_equal(wire_err(&r), 0);
    assert_int_equal(wire_end(&r), 0);
}

static void test_every_cut_is_a_fault(void **state)
{
    (void)state;
    AUTO(buf_done) struct buf b = {0};
    put_everything(&b);
    for (size_t len = 0; len < b.len; len++) {
        AUTO(freep) uint8_t *cut = xmemdup(b.p, len); /* its own block: the sanitizer sees a read beyond it */
        struct wire_reader r = wire_reader((struct slice){cut, len});
        get_everything(&r, false);
        assert_int_equal(wire_err(&r), ERR_MALFORMED);
        assert_int_equal(wire_end(&r), ERR_MALFORMED);
    }
}

static void test_fault_sticks(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {1, 2, 3, 4, 5};
    struct wire_reader r = wire_reader((struct slice){bytes, sizeof(bytes)});
    assert_true(wire_get_u64(&r) == 0);
    assert_int_equal(wire_get_u8(&r), 0); /* there would be bytes */
    assert_true(wire_get_i64(&r) == 0);
    char text[4] = "xyz";
    WIRE_GET_STR(&r, text);
    assert_string_equal(text, "");
    struct uuid u = wire_get_uuid(&r);
    assert_true(uuid_is_nil(&u));
    struct slice s = wire_get_slice(&r);
    assert_null(s.p);
    assert_int_equal(s.len, 0);
    assert_int_equal(wire_get_count(&r, 1), 0);
    assert_int_equal(wire_end(&r), ERR_MALFORMED);
}

static void test_end_refuses_trailing_bytes(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {1, 2};
    struct wire_reader r = wire_reader((struct slice){bytes, sizeof(bytes)});
    wire_get_u8(&r);
    assert_int_equal(wire_err(&r), 0);
    assert_int_equal(wire_end(&r), ERR_MALFORMED);
}

static void test_nothing_to_read(void **state)
{
    (void)state;
    struct wire_reader r = wire_reader((struct slice){0});
    assert_int_equal(wire_end(&r), 0);
    assert_int_equal(wire_get_u8(&r), 0);
    assert_int_equal(wire_end(&r), ERR_MALFORMED);
}

static void test_str_bounds(void **state)
{
    (void)state;
    AUTO(buf_done) struct buf b = {0};
    wire_put_str(&b, "abcd");
    char fits[5], small[4];
    struct wire_reader r = wire_reader(buf_slice(&b));
    WIRE_GET_STR(&r, fits);
    assert_string_equal(fits, "abcd");
    assert_int_equal(wire_end(&r), 0);
    r = wire_reader(buf_slice(&b));
    WIRE_GET_STR(&r, small);
    assert_string_equal(small, "");
    assert_int_equal(wire_err(&r), ERR_MALFORMED);
}

static void test_str_refuses_nul(void **state)
{
    (void)state;
    AUTO(buf_done) struct buf b = {0};
    wire_put_bytes(&b, "a\0b", 3);
    char dst[8];
    struct wire_reader r = wire_reader(buf_slice(&b));
    WIRE_GET_STR(&r, dst);
    assert_string_equal(dst, "");
    assert_int_equal(wire_err(&r), ERR_MALFORMED);
    r = wire_reader(buf_slice(&b));
    AUTO(freep) char *dup = wire_get_strdup(&r);
    assert_string_equal(dup, "");
    assert_int_equal(wire_err(&r), ERR_MALFORMED);
}

static void test_length_beyond_the_input(void **state)
{
    (void)state;
    AUTO(buf_done) struct buf b = {0};
    wire_put_u32(&b, UINT32_MAX);
    buf_add_str(&b, "abc");
    struct wire_reader r = wire_reader(buf_slice(&b));
    assert_null(wire_get_slice(&r).p);
    assert_int_equal(wire_err(&r), ERR_MALFORMED);
}

static void test_count_is_bounded_by_the_input(void **state)
{
    (void)state;
    AUTO(buf_done) struct buf b = {0};
    wire_put_u32(&b, 3);
    buf_add(&b, "123456", 6);
    struct wire_reader r = wire_reader(buf_slice(&b));
    assert_int_equal(wire_get_count(&r, 2), 3);
    assert_int_equal(wire_err(&r), 0);
    r = wire_reader(buf_slice(&b));
    assert_int_equal(wire_get_count(&r, 3), 0);
    assert_int_equal(wire_err(&r), ERR_MALFORMED);
}

static void test_empty_slice_is_not_null(void **state)
{
    (void)state;
    AUTO(buf_done) struct buf b = {0};
    wire_put_slice(&b, (struct slice){0});
    struct wire_reader r = wire_reader(buf_slice(&b));
    struct slice s = wire_get_slice(&r);
    assert_non_null(s.p);
    assert_int_equal(s.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_every_cut_is_a_fault),
        cmocka_unit_test(test_fault_sticks),
        cmocka_unit_test(test_end_refuses_trailing_bytes),
        cmocka_unit_test(test_nothing_to_read),
        cmocka_unit_test(test_str_bounds),
        cmocka_unit_test(test_str_refuses_nul),
        cmocka_unit_test(test_length_beyond_the_input),
        cmocka_unit_test(test_count_is_bounded_by_the_input),
        cmocka_unit_test(test_empty_slice_is_not_null),
    };
    return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
