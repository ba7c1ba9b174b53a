/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/unit.h"

#include <string.h>

#include "common/err.h"
#include "common/prng.h"

/* The first outputs of the reference implementations: splitmix64 from 0, xoshiro256** from {1, 2, 3, 4}. */
static void test_reference_outputs(void **state)
{
    (void)state;
    struct prng r = prng_new(0);
    assert_true(r.s[0] == 0xe220a8397b1dcdaf);
    assert_true(r.s[1] == 0x6e789e6aa1b965f4);
    assert_true(r.s[2] == 0x06c45d188009454f);
    assert_true(r.s[3] == 0xf88bb8a8724c81ec);
    r = (struct prng){{1, 2, 3, 4}};
    assert_true(prng_next(&r) == 11520);
    assert_true(prng_next(&r) == 0);
    assert_true(prng_next(&r) == 1509978240);
    assert_true(prng_next(&r) == 1215971899390074240);
}

static void test_seed_replays(void **state)
{
    (void)state;
    struct prng a = prng_new(42), b = prng_new(42), c = prng_new(43);
    bool differs = false;
    for (int i = 0; i < 100; i++) {
        uint64_t v = prng_next(&a);
        assert_true(v == prng_next(&b));
        differs |= v != prng_next(&c);
    }
    assert_true(differs);
}

static void test_below_stays_below_and_reaches_all(void **state)
{
    (void)state;
    struct prng r = prng_new(7);
    unsigned seen[10] = {0};
    for (int i = 0; i < 10000; i++) {
        uint64_t v = prng_below(&r, 10);
        assert_true(v < 10);
        seen[v]++;
    }
    for (size_t i = 0; i < 10; i++)
        assert_in_range(seen[i], 850, 1150);
    for (int i = 0; i < 100; i++) {
        assert_true(prng_below(&r, 1) == 0);
        assert_true(prng_below(&r, (1ULL << 63) + 1) <= 1ULL << 63);
    }
}

/* With bound = 3 * 2^62 a bare modulo gives the lowest third half of all draws. */
static void test_below_is_not_biased(void **state)
{
    (void)state;
    struct prng r = prng_new(8);
    unsigned low = 0;
    for (int i = 0; i < 3000; i++)
        low += prng_below(&r, 3ULL << 62) < 1ULL << 62;
    assert_in_range(low, 900, 1100);
}

static void test_uuids_are_version_4(void **state)
{
    (void)state;
    struct prng r = prng_new(1), same = prng_new(1);
    struct uuid last = {0};
    for (int i = 0; i < 100; i++) {
        struct uuid u = prng_uuid(&r), again = prng_uuid(&same);
        struct uuid_str s = uuid_str(&u);
        assert_int_equal(s.s[14], '4');
        assert_non_null(strchr("89ab", s.s[19]));
        assert_true(uuid_eq(&u, &again));
        assert_false(uuid_eq(&u, &last));
        last = u;
    }
}

/* RFC 9562, appendix A.6: its example. */
static void test_uuids_of_a_time(void **state)
{
    (void)state;
    struct uuid example, random;
    assert_int_equal(uuid_parse("017f22e2-79b0-7cc3-98c4-dc0c0c07398f", &example), 0);
    assert_int_equal(uuid_parse("ffffffff-ffff-fcc3-d8c4-dc0c0c07398f", &random), 0);
    struct uuid u = uuid_at(1645557742000, random), later = uuid_at(1645557742001, (struct uuid){0});
    assert_true(uuid_eq(&u, &example));
    assert_true(uuid_cmp(&u, &later) < 0);
}

static void test_uuid_text(void **state)
{
    (void)state;
    const char *text = "00112233-4455-6677-8899-aabbccddeeff";
    struct uuid u;
    assert_int_equal(uuid_parse(text, &u), 0);
    for (size_t i = 0; i < 16; i++)
        assert_int_equal(u.b[i], 0x11 * i);
    assert_string_equal(uuid_str(&u).s, text);
    struct uuid upper;
    assert_int_equal(uuid_parse("00112233-4455-6677-8899-AABBCCDDEEFF", &upper), 0);
    assert_true(uuid_eq(&u, &upper));
}

static void test_uuid_refuses_other_forms(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "00112233",
        "00112233-4455-6677-8899-aabbccddeef",
        "00112233-4455-6677-8899-aabbccddeeff0",
        "00112233-4455-6677-8899-aabbccddeefg",
        "0011223-34455-6677-8899-aabbccddeeff",
        "00112233445566778899aabbccddeeff",
        "{00112233-4455-6677-8899-aabbccddeeff}",
        " 00112233-4455-6677-8899-aabbccddeeff",
        "00112233-4455-6677-8899-aabbccddeeff ",
    };
    const struct uuid before = {{9}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct uuid u = before;
        assert_int_equal(uuid_parse(bad[i], &u), ERR_MALFORMED);
        assert_true(uuid_eq(&u, &before));
    }
}

static void test_uuid_order(void **state)
{
    (void)state;
    const struct uuid nil = {0}, first = {{1}}, last_byte = {.b = {[15] = 1}}, high = {{0xff}};
    assert_true(uuid_is_nil(&nil));
    assert_false(uuid_is_nil(&last_byte));
    assert_true(uuid_cmp(&nil, &last_byte) < 0);
    assert_true(uuid_cmp(&last_byte, &first) < 0);
    assert_true(uuid_cmp(&high, &first) > 0);
    assert_int_equal(uuid_cmp(&first, &first), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reference_outputs),
        cmocka_unit_test(test_seed_replays),
        cmocka_unit_test(test_below_stays_below_and_reaches_all),
        cmocka_unit_test(test_below_is_not_biased),
        cmocka_unit_test(test_uuids_are_version_4),
        cmocka_unit_test(test_uuids_of_a_time),
        cmocka_unit_test(test_uuid_text),
        cmocka_unit_test(test_uuid_refuses_other_forms),
        cmocka_unit_test(test_uuid_order),
    };
    return cmocka_run_group_tests_name("prng_uuid", tests, NULL, NULL);
}
