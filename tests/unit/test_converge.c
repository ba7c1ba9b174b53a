/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/unit.h"

#include "vm/converge.h"

static const struct converge_limits LIMITS = {.downtime_max_ms = 1000};

static enum converge_step at(struct converge *c, const struct converge_limits *l, uint32_t passes, int64_t seconds)
{
    const struct vm_domain d = {.migrating = true, .passes = passes};
    return converge_next(c, &d, l, seconds * 1000);
}

static void test_the_first_pass_takes_its_time(void **state)
{
    (void)state;
    struct converge c = {0};
    const struct vm_domain none = {.passes = 9};
    for (int64_t s = 1; s < 500; s++)
        assert_int_equal(at(&c, &LIMITS, 1, s), CONVERGE_WAIT);
    assert_int_equal(converge_next(&c, &none, &LIMITS, 600 * 1000), CONVERGE_WAIT); /* no migration runs */
    assert_int_equal(c.step_ms, 0);
}

static void test_longer_downtime_then_up(void **state)
{
    (void)state;
    struct converge c = {0};
    assert_int_equal(at(&c, &LIMITS, 2, 100), CONVERGE_WAIT);
    assert_int_equal(at(&c, &LIMITS, 9, 109), CONVERGE_WAIT);  /* passes alone are not enough */
    assert_int_equal(at(&c, &LIMITS, 4, 150), CONVERGE_WAIT);  /* nor is time */
    assert_int_equal(at(&c, &LIMITS, 5, 150), CONVERGE_DOWNTIME);
    assert_int_equal(c.downtime_ms, 600);
    assert_int_equal(at(&c, &LIMITS, 8, 159), CONVERGE_WAIT);
    assert_int_equal(at(&c, &LIMITS, 8, 160), CONVERGE_DOWNTIME);
    assert_int_equal(c.downtime_ms, 1000); /* no longer than that */
    assert_int_equal(at(&c, &LIMITS, 90, 219), CONVERGE_WAIT);
    assert_int_equal(at(&c, &LIMITS, 90, 220), CONVERGE_GIVE_UP);
    assert_int_equal(at(&c, &LIMITS, 90, 220), CONVERGE_GIVE_UP);
}

static void test_post_copy_only_where_allowed(void **state)
{
    (void)state;
    struct converge c = {0};
    const struct converge_limits l = {.downtime_max_ms = 300, .postcopy = true};
    assert_int_equal(at(&c, &l, 2, 1), CONVERGE_WAIT);
    assert_int_equal(at(&c, &l, 5, 11), CONVERGE_POSTCOPY);
    for (int64_t s = 12; s < 300; s++)
        assert_int_equal(at(&c, &l, 5 + (uint32_t)s, s), CONVERGE_WAIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_pass_takes_its_time),
        cmocka_unit_test(test_longer_downtime_then_up),
        cmocka_unit_test(test_post_copy_only_where_allowed),
    };
    return cmocka_run_group_tests_name("converge", tests, NULL, NULL);
}
