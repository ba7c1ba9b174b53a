/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/unit.h"

#include "common/err.h"
#include "common/hash.h"

#define SHA256_ABC   "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" /* FIPS 180-2, appendix B.1 */
#define SHA256_EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void test_known_answers(void **state)
{
    (void)state;
    struct hash h = hash_of("abc", 3);
    assert_string_equal(hash_str(&h).s, SHA256_ABC);
    h = hash_of(NULL, 0);
    assert_string_equal(hash_str(&h).s, SHA256_EMPTY);
}

static void test_parts_are_concatenated(void **state)
{
    (void)state;
    const struct slice parts[] = {{(const uint8_t *)"a", 1}, {NULL, 0}, {(const uint8_t *)"bc", 2}};
    struct hash h = hash_sha256(parts, 3);
    assert_string_equal(hash_str(&h).s, SHA256_ABC);
    h = hash_sha256(NULL, 0);
    assert_string_equal(hash_str(&h).s, SHA256_EMPTY);
    struct hash_stream s = hash_begin();
    hash_more(&s, "ab", 2);
    hash_more(&s, NULL, 0);
    hash_more(&s, "c", 1);
    h = hash_end(&s);
    assert_string_equal(hash_str(&h).s, SHA256_ABC);
}

static void test_parse(void **state)
{
    (void)state;
    struct hash abc = hash_of("abc", 3), h = {0};
    assert_int_equal(hash_parse(SHA256_ABC, &h), 0);
    assert_true(hash_eq(&h, &abc));
    const struct hash before = h;
    assert_int_equal(hash_parse("", &h), ERR_MALFORMED);
    assert_int_equal(hash_parse(SHA256_ABC "0", &h), ERR_MALFORMED);
    assert_int_equal(hash_parse(&SHA256_ABC[1], &h), ERR_MALFORMED);
    char bad[] = SHA256_EMPTY;
    bad[63] = 'g';
    assert_int_equal(hash_parse(bad, &h), ERR_MALFORMED);
    assert_true(hash_eq(&h, &before));
}

static void test_eq_looks_at_every_byte(void **state)
{
    (void)state;
    const struct hash a = hash_of("abc", 3);
    for (size_t i = 0; i < HASH_SIZE; i++) {
        struct hash b = a;
        b.b[i] ^= 1;
        assert_false(hash_eq(&a, &b));
    }
}

static void test_carry_and_borrow_run_through(void **state)
{
    (void)state;
    struct hash acc = {0};
    const struct hash one = {{1}};
    memset(acc.b, 0xff, HASH_SIZE);
    hash_add(&acc, &one); /* 2^256 - 1 + 1 */
    for (size_t i = 0; i < HASH_SIZE; i++)
        assert_int_equal(acc.b[i], 0);
    hash_sub(&acc, &one);
    for (size_t i = 0; i < HASH_SIZE; i++)
        assert_int_equal(acc.b[i], 0xff);
    struct hash low = {{0xff}};
    hash_add(&low, &one);
    assert_int_equal(low.b[0], 0);
    assert_int_equal(low.b[1], 1);
}

static void test_sum_has_no_order(void **state)
{
    (void)state;
    const struct hash a = hash_of("a", 1), b = hash_of("b", 1), c = hash_of("c", 1);
    struct hash x = {0}, y = {0};
    hash_add(&x, &a);
    hash_add(&x, &b);
    hash_add(&x, &c);
    hash_sub(&x, &b);
    hash_add(&y, &c);
    hash_add(&y, &a);
    assert_true(hash_eq(&x, &y));
    hash_sub(&y, &a);
    assert_true(hash_eq(&y, &c));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_parts_are_concatenated),
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_eq_looks_at_every_byte),
        cmocka_unit_test(test_carry_and_borrow_run_through),
        cmocka_unit_test(test_sum_has_no_order),
    };
    return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
