/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/unit.h"

#include "tests/unit/plan_reference.h"

enum { CASES = 30 };

/* No bound is exceeded, and what the rules of vm/plan.h order comes out as by looking at every placement there is. */
static void test_beside_exhaustive_search(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= CASES; seed++) {
        struct reference_case c;
        struct reference_score own;
        struct plan_score said;
        size_t at[REFERENCE_VMS_MAX];
        reference_case_make(&c, seed);
        plan_solve(&c.p, at);
        assert_true(reference_judge(&c.p, at, &own));
        plan_score(&c.p, at, &said);
        assert_int_equal(said.without, own.without);
        assert_int_equal(said.moves, own.moves);
        assert_int_equal(said.not_preferred, own.not_preferred);
        struct reference_score best = reference_solve(&c.p);
        assert_int_equal(own.without_high, best.without_high);
        assert_int_equal(own.without, best.without);
        assert_int_equal(own.conflicts, best.conflicts);
        assert_int_equal(own.not_preferred, best.not_preferred);
        assert_true(own.share <= best.share * 1.05);
    }
}

static const uint8_t everywhere[] = {PLAN_FITS, PLAN_FITS, PLAN_FITS};

/* What fits only when the large one does not take the first place that is best for itself. */
static void test_room_for_all(void **state)
{
    (void)state;
    const struct plan_node nodes[] = {{.capacity_kib = 6}, {.capacity_kib = 5}};
    const struct plan_vm vms[] = {
        {.memory_kib = 2, .group = PLAN_NONE, .now = PLAN_NONE, .home = PLAN_NONE, .fits = everywhere, .priority = 1},
        {.memory_kib = 3, .group = PLAN_NONE, .now = PLAN_NONE, .home = PLAN_NONE, .fits = everywhere},
        {.memory_kib = 6, .group = PLAN_NONE, .now = PLAN_NONE, .home = PLAN_NONE, .fits = everywhere},
    };
    const struct plan p = {.nodes = nodes, .n_nodes = 2, .vms = vms, .n_vms = 3};
    size_t at[3];
    plan_solve(&p, at);
    assert_int_equal(at[0], 1);
    assert_int_equal(at[1], 1);
    assert_int_equal(at[2], 0);
}

static void test_priority_has_the_last_room(void **state)
{
    (void)state;
    const struct plan_node nodes[] = {{.capacity_kib = 4}};
    const struct plan_vm vms[] = {
        {.memory_kib = 2, .group = PLAN_NONE, .now = PLAN_NONE, .home = PLAN_NONE, .fits = everywhere},
        {.memory_kib = 2, .group = PLAN_NONE, .now = PLAN_NONE, .home = PLAN_NONE, .fits = everywhere},
        {.memory_kib = 3, .group = PLAN_NONE, .now = PLAN_NONE, .home = PLAN_NONE, .fits = everywhere, .priority = 5},
    };
    const struct plan p = {.nodes = nodes, .n_nodes = 1, .vms = vms, .n_vms = 3};
    size_t at[3];
    plan_solve(&p, at);
    assert_int_equal(at[0], PLAN_NONE);
    assert_int_equal(at[1], PLAN_NONE);
    assert_int_equal(at[2], 0);
}

static void test_nothing_to_place(void **state)
{
    (void)state;
    const struct plan_node nodes[] = {{.capacity_kib = 4}, {.capacity_kib = 0, .memory_kib = 1}};
    const struct plan p = {.nodes = nodes, .n_nodes = 2};
    struct plan_score s;
    size_t at[1];
    plan_solve(&p, at);
    plan_score(&p, at, &s);
    assert_int_equal(s.share, PLAN_SHARE_ONE); /* of a node of which nothing is known */
    assert_int_equal(s.moves, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_beside_exhaustive_search),
        cmocka_unit_test(test_room_for_all),
        cmocka_unit_test(test_priority_has_the_last_room),
        cmocka_unit_test(test_nothing_to_place),
    };
    return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
