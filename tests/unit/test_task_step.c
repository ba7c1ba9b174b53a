/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The leader: when a task is due, and where. */
#include "tests/unit/task_world.h"

static void test_due_by_calendar(void **state)
{
    struct tw *w = *state;
    tw_add(w, "dedup", "*:0/15", TASK_ANY);
    tw_lead(w, 14 * 60000);
    assert_int_equal(w->proposed, 0);
    tw_lead(w, 60000);
    assert_string_equal(tw_row(w, "dedup").node, "n1");
    tw_note(w, "dedup", TASK_NOTE_CLAIM);
    tw_end(w, "dedup", TASK_DONE, false);
    tw_lead(w, 1000);
    assert_int_equal(tw_row(w, "dedup").state, TASK_IDLE);
    tw_lead(w, 899000);
    assert_string_equal(tw_row(w, "dedup").node, "n2"); /* not where it was the last time */
}

/* What passed while nobody could take it, and while it ran, is done once. */
static void test_missed_is_done_once(void **state)
{
    struct tw *w = *state;
    tw_add(w, "dedup", "minutely", TASK_ANY);
    for (size_t i = 0; i < 3; i++)
        w->nodes[i].active = false;
    tw_lead(w, 10 * 60000);
    assert_int_equal(w->proposed, 0);
    w->nodes[2].active = true;
    tw_lead(w, 1000);
    assert_string_equal(tw_row(w, "dedup").node, "n3");
    tw_note(w, "dedup", TASK_NOTE_CLAIM);
    tw_lead(w, 5 * 60000);
    tw_end(w, "dedup", TASK_DONE, false);
    tw_lead(w, 1000);
    assert_int_equal(tw_row(w, "dedup").state, TASK_STARTING); /* for the five minutes */
    tw_note(w, "dedup", TASK_NOTE_CLAIM);
    tw_end(w, "dedup", TASK_DONE, false);
    tw_lead(w, 1000);
    assert_int_equal(tw_row(w, "dedup").state, TASK_IDLE);
}

static void test_not_everybody_may(void **state)
{
    struct tw *w = *state;
    bool *const needs[] = {&w->nodes[0].present, &w->nodes[0].ready, &w->nodes[0].active};
    tw_add(w, "dedup", "", TASK_ANY);
    w->nodes[1].active = w->nodes[2].active = false;
    tw_note(w, "dedup", TASK_NOTE_REQUEST);
    for (size_t i = 0; i < sizeof needs / sizeof needs[0]; i++) {
        *needs[i] = false;
        tw_lead(w, 500);
        assert_int_equal(tw_row(w, "dedup").state, TASK_IDLE);
        *needs[i] = true;
    }
    tw_lead(w, 500);
    assert_string_equal(tw_row(w, "dedup").node, "n1");
}

static void test_native_level(void **state)
{
    struct tw *w = *state;
    tw_add(w, "dedup", "", TASK_NATIVE_LEVEL);
    w->nodes[0].native_level = w->nodes[1].native_level = 2;
    tw_note(w, "dedup", TASK_NOTE_REQUEST);
    tw_lead(w, 500);
    assert_string_equal(tw_row(w, "dedup").node, "n3");
    tw_note(w, "dedup", TASK_NOTE_CLAIM);
    tw_end(w, "dedup", TASK_DONE, false);
    tw_note(w, "dedup", TASK_NOTE_REQUEST);
    w->nodes[2].active = false; /* drained: it waits */
    tw_lead(w, 500);
    assert_false(tw_row(w, "dedup").blocked);
    assert_int_equal(tw_row(w, "dedup").state, TASK_IDLE);
    w->nodes[2].stays = false; /* is rebuilt */
    tw_lead(w, 500);
    assert_true(tw_row(w, "dedup").blocked);
    w->nodes[2].stays = w->nodes[2].active = true;
    w->nodes[2].native_level = 2;
    tw_lead(w, 500);
    assert_true(tw_row(w, "dedup").blocked && tw_row(w, "dedup").state == TASK_IDLE);
    w->v.fl = 2;
    tw_lead(w, 500);
    assert_false(tw_row(w, "dedup").blocked);
    tw_lead(w, 500);
    assert_string_equal(tw_row(w, "dedup").node, "n1"); /* what was asked for before goes on */
}

static void test_any_level_is_not_blocked(void **state)
{
    struct tw *w = *state;
    tw_add(w, "report", "", TASK_ANY);
    for (size_t i = 0; i < 3; i++)
        w->nodes[i].native_level = 2;
    tw_note(w, "report", TASK_NOTE_REQUEST);
    tw_lead(w, 500);
    assert_int_equal(tw_row(w, "report").state, TASK_STARTING);
}

static void test_spread(void **state)
{
    struct tw *w = *state;
    const char *const names[] = {"a", "b", "c", "d"}, *const nodes[] = {"n1", "n2", "n3", "n1"};
    for (size_t i = 0; i < 4; i++) {
        tw_add(w, names[i], "", TASK_ANY);
        tw_note(w, names[i], TASK_NOTE_REQUEST);
    }
    for (size_t i = 0; i < 4; i++) { /* one at a time, each where the others are not */
        tw_lead(w, 500);
        assert_int_equal(w->proposed, i + 1);
        assert_string_equal(tw_row(w, names[i]).node, nodes[i]);
    }
}

static void test_unclaimed_goes_elsewhere(void **state)
{
    struct tw *w = *state;
    tw_add(w, "dedup", "", TASK_ANY);
    tw_note(w, "dedup", TASK_NOTE_REQUEST);
    tw_lead(w, 500);
    tw_lead(w, 500);
    tw_lead(w, TASK_CLAIM_MS - 1000);
    assert_string_equal(tw_row(w, "dedup").node, "n1");
    tw_lead(w, 1000);
    assert_int_equal(tw_row(w, "dedup").state, TASK_IDLE);
    tw_lead(w, 500);
    assert_string_equal(tw_row(w, "dedup").node, "n2");
    w->nodes[1].present = false; /* it went before it claimed: at once */
    tw_lead(w, 500);
    tw_lead(w, 500);
    assert_string_equal(tw_row(w, "dedup").node, "n1");
}

static void test_claimed_waits_for_its_node(void **state)
{
    struct tw *w = *state;
    tw_add(w, "dedup", "", TASK_ANY);
    tw_start(w, "dedup", "n1");
    tw_note(w, "dedup", TASK_NOTE_CLAIM);
    w->nodes[0].present = w->nodes[0].active = false;
    tw_lead(w, 86400000);
    assert_int_equal(tw_row(w, "dedup").state, TASK_RUNNING);
    w->over = true;
    tw_lead(w, 500);
    assert_int_equal(tw_row(w, "dedup").result, TASK_LOST);
}

static void test_drain_is_told_once(void **state)
{
    struct tw *w = *state;
    tw_add(w, "dedup", "", TASK_ANY);
    tw_start(w, "dedup", "n1");
    tw_note(w, "dedup", TASK_NOTE_CLAIM);
    w->nodes[0].draining = true;
    tw_lead(w, 500);
    tw_lead(w, 500);
    assert_int_equal(w->proposed, 1);
}

static void test_clock_far_ahead(void **state)
{
    struct tw *w = *state;
    w->wall_ms = T0 + 10 * (int64_t)TASK_CLOCK_MS;
    tw_add(w, "dedup", "minutely", TASK_ANY);
    w->wall_ms = T0;
    tw_lead(w, 500);
    assert_int_equal(tw_row(w, "dedup").after_ms, T0 + 500);
    tw_lead(w, 60000);
    assert_int_equal(tw_row(w, "dedup").state, TASK_STARTING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TW_TEST(test_due_by_calendar),          TW_TEST(test_missed_is_done_once),
        TW_TEST(test_not_everybody_may),        TW_TEST(test_native_level),
        TW_TEST(test_any_level_is_not_blocked), TW_TEST(test_spread),
        TW_TEST(test_unclaimed_goes_elsewhere), TW_TEST(test_claimed_waits_for_its_node),
        TW_TEST(test_drain_is_told_once),       TW_TEST(test_clock_far_ahead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
