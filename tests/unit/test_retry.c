/* SPDX-License-Identifier: GPL-2.0-or-later */
/* agent/retry: the pauses, and what is said of them. */
#include "tests/unit/unit.h"

#include "agent/retry.h"

static void test_pauses(void **state)
{
    (void)state;
    static const int64_t pauses[] = {500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000};
    struct retry r = {0};
    int64_t now = 1000;
    assert_true(retry_may(&r, now));
    for (size_t i = 0; i < sizeof pauses / sizeof pauses[0]; i++) {
        retry_failed(&r, now, "full");
        assert_false(retry_may(&r, now + pauses[i] - 1));
        assert_true(retry_may(&r, now + pauses[i]));
        now += pauses[i];
    }
    assert_true(retry_done(&r));
    assert_true(retry_may(&r, 0));
    assert_false(retry_done(&r));
    retry_failed(&r, now, "full");
    assert_int_equal(r.at_ms, now + 500);
}

static void test_lines(void **state)
{
    (void)state;
    struct retry r = {0};
    unsigned said = 0;
    for (unsigned i = 0; i < 1024; i++)
        said += retry_failed(&r, 0, "full");
    assert_int_equal(said, 11); /* the 1st, 2nd, 4th … 1024th */
    assert_true(retry_failed(&r, 0, "gone"));
    assert_false(retry_failed(&r, 0, "gone"));
    for (unsigned i = 0; i < 100; i++)
        retry_failed(&r, INT64_MAX / 2, "gone");
    assert_int_equal(r.at_ms, INT64_MAX / 2 + RETRY_MAX_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pauses), cmocka_unit_test(test_lines)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
