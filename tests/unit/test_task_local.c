/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The member that runs a task: at most once, whatever becomes of its agent. */
#include "tests/unit/task_world.h"

static const struct task_outcome running = {.unit = TASK_UNIT_RUNNING}, gone = {.unit = TASK_UNIT_NONE},
                                 done = {.unit = TASK_UNIT_ENDED, .output = "all well"},
                                 failed = {.unit = TASK_UNIT_ENDED, .exit_code = 3};

static void begin(struct tw *w)
{
    tw_add(w, "dedup", "", TASK_NATIVE_LEVEL);
    tw_start(w, "dedup", "n1");
    tw_local(w, 0); /* claims */
    assert_int_equal(tw_row(w, "dedup").state, TASK_RUNNING);
    assert_int_equal(w->n_calls, 0);
    tw_local(w, 0);
    assert_int_equal(tw_last_verb(w), TASK_CALL_START);
}

static void new_agent(struct tw *w)
{
    task_local_free(w->local);
    w->local = task_local_new();
}

/* It is looked for, not begun, and not found. */
static void expect_lost(struct tw *w)
{
    for (int i = 0; i < 2; i++) {
        tw_local(w, TASK_LOOK_MS);
        assert_int_equal(tw_last_verb(w), TASK_CALL_LOOK);
        tw_outcome(w, &gone);
    }
    tw_local(w, 0);
    assert_int_equal(tw_row(w, "dedup").result, TASK_LOST);
}

static void test_to_its_end(void **state)
{
    struct tw *w = *state;
    begin(w);
    const struct task_call *c = &w->calls[0];
    assert_string_equal(c->command, "/usr/sbin/dedup");
    assert_string_equal(c->arguments, "-v");
    assert_int_equal(c->arguments_len, 4);
    assert_int_equal(c->timeout_ms, 60000);
    assert_int_equal(c->until_ms, w->v.now_ms + TASK_BEGIN_MS);
    assert_true(c->native_level && c->level == 1);
    tw_outcome(w, &running);
    tw_local(w, 500);
    assert_int_equal(w->n_calls, 1);
    tw_local(w, 500);
    assert_int_equal(tw_last_verb(w), TASK_CALL_LOOK);
    tw_local(w, 5000);
    assert_int_equal(w->n_calls, 2); /* one at a time */
    tw_outcome(w, &done);
    tw_local(w, 0);
    struct task k = tw_row(w, "dedup");
    assert_true(k.state == TASK_IDLE && k.result == TASK_DONE);
    assert_string_equal(k.output, "all well");
    tw_local(w, 0);
    assert_int_equal(tw_last_verb(w), TASK_CALL_FORGET);
    tw_outcome(w, &gone);
    tw_local(w, 10000);
    assert_int_equal(w->n_calls, 3);
}

static void test_results(void **state)
{
    struct tw *w = *state;
    const struct task_outcome late = {.unit = TASK_UNIT_ENDED, .timed_out = true, .exit_code = -1};
    begin(w);
    tw_outcome(w, &failed);
    tw_local(w, 0);
    assert_int_equal(tw_row(w, "dedup").result, TASK_FAILED);
    assert_int_equal(tw_row(w, "dedup").exit_code, 3);
    tw_local(w, 0);
    tw_outcome(w, &gone);
    tw_start(w, "dedup", "n1");
    tw_local(w, 0);
    tw_local(w, 0);
    tw_outcome(w, &late);
    tw_local(w, 0);
    assert_int_equal(tw_row(w, "dedup").result, TASK_TIMED_OUT);
}

static void test_program_cannot_be_run(void **state)
{
    struct tw *w = *state;
    struct task_outcome o = {0};
    error_set(&o.error, ERR_PERMISSION, "others may write it");
    begin(w);
    tw_outcome(w, &o);
    tw_local(w, 0);
    assert_int_equal(tw_row(w, "dedup").result, TASK_FAILED);
    assert_string_equal(tw_row(w, "dedup").output, "others may write it");
}

/* A START of which nobody knows what it did is not made again: what it began is found, or it is lost. */
static void test_unknown_start(void **state)
{
    struct tw *w = *state;
    struct task_outcome o = {0};
    error_set(&o.error, ERR_TIMEOUT, "no answer");
    begin(w);
    tw_outcome(w, &o);
    tw_local(w, TASK_LOOK_MS);
    assert_int_equal(tw_last_verb(w), TASK_CALL_LOOK);
    tw_outcome(w, &gone); /* once may be too early */
    tw_local(w, TASK_LOOK_MS);
    assert_int_equal(tw_row(w, "dedup").state, TASK_RUNNING);
    tw_outcome(w, &running);
    tw_local(w, TASK_LOOK_MS);
    tw_outcome(w, &gone);
    tw_local(w, TASK_LOOK_MS);
    tw_outcome(w, &gone);
    tw_local(w, 0);
    assert_int_equal(tw_row(w, "dedup").result, TASK_LOST);
    for (size_t i = 1; i < w->n_calls; i++)
        assert_int_not_equal(w->calls[i].verb, TASK_CALL_START);
}

static void test_next_agent_finds_it(void **state)
{
    struct tw *w = *state;
    begin(w);
    new_agent(w);
    tw_local(w, 0);
    assert_int_equal(tw_last_verb(w), TASK_CALL_LOOK);
    tw_outcome(w, &running);
    tw_local(w, TASK_LOOK_MS);
    tw_outcome(w, &done);
    tw_local(w, 0);
    assert_int_equal(tw_row(w, "dedup").result, TASK_DONE);
}

/* Its claim was committed, and whether it began nobody knows. */
static void test_next_agent_does_not_begin(void **state)
{
    struct tw *w = *state;
    tw_add(w, "dedup", "", TASK_ANY);
    tw_start(w, "dedup", "n1");
    tw_local(w, 0);
    new_agent(w);
    expect_lost(w);
}

static void test_not_without_a_quorum(void **state)
{
    struct tw *w = *state;
    tw_add(w, "dedup", "", TASK_ANY);
    tw_start(w, "dedup", "n1");
    w->self.may_start = false;
    tw_local(w, 0);
    assert_int_equal(tw_row(w, "dedup").state, TASK_STARTING);
    w->self.may_start = true;
    tw_local(w, 0);
    w->self.may_start = false; /* between the claim and the start */
    tw_local(w, 0);
    w->self.may_start = true;
    tw_local(w, 0);
    assert_int_equal(tw_row(w, "dedup").result, TASK_LOST);
    for (size_t i = 0; i < w->n_calls; i++)
        assert_int_not_equal(w->calls[i].verb, TASK_CALL_START);
}

static void test_not_later_than_the_lease(void **state)
{
    struct tw *w = *state;
    tw_add(w, "dedup", "", TASK_ANY);
    tw_start(w, "dedup", "n1");
    w->self.until_ms = w->v.now_ms + 2000;
    tw_local(w, 0);
    tw_local(w, 0);
    assert_int_equal(w->calls[0].until_ms, w->v.now_ms + 2000);
}

static void test_others_are_none_of_its_business(void **state)
{
    struct tw *w = *state;
    tw_add(w, "dedup", "", TASK_ANY);
    tw_start(w, "dedup", "n2");
    tw_local(w, 0);
    assert_int_equal(w->proposed, 0);
    tw_note(w, "dedup", TASK_NOTE_WITHDRAWN);
    tw_start(w, "dedup", "n1");
    w->self.boot_id = "boot-b"; /* of an earlier boot */
    tw_local(w, 0);
    assert_int_equal(w->proposed, 0);
    w->self.boot_id = "";
    tw_local(w, 0);
    assert_int_equal(w->proposed + w->n_calls, 0);
}

/* The leader said that it is lost, and it is not: it ends. */
static void test_orphan_is_stopped(void **state)
{
    struct tw *w = *state;
    begin(w);
    tw_outcome(w, &running);
    w->over = true;
    tw_end(w, "dedup", TASK_LOST, true);
    tw_local(w, 0);
    assert_int_equal(tw_last_verb(w), TASK_CALL_STOP);
}

static void test_fence(void **state)
{
    struct tw *w = *state;
    struct task_outcome stuck = {0};
    error_set(&stuck.error, ERR_AGAIN, "a process is left");
    begin(w);
    assert_false(task_local_is_clear(w->local));
    w->self.fence = true;
    w->self.may_start = w->self.quorate = false;
    tw_local(w, 0);
    assert_int_equal(tw_last_verb(w), TASK_CALL_STOP_ALL);
    tw_local(w, 500);
    assert_int_equal(w->n_calls, 2); /* one at a time */
    tw_outcome(w, &gone);
    assert_false(task_local_is_clear(w->local)); /* the START is still under way */
    assert_true(task_local_outcome(w->local, w->v.now_ms, 101, &running, &w->env));
    tw_local(w, 500);
    assert_int_equal(tw_last_verb(w), TASK_CALL_STOP_ALL);
    tw_outcome(w, &stuck);
    assert_false(task_local_is_clear(w->local));
    tw_local(w, TASK_STOP_MS - 1);
    assert_int_equal(w->n_calls, 3); /* not in a loop */
    tw_local(w, 1);
    tw_outcome(w, &gone);
    assert_true(task_local_is_clear(w->local));
    tw_local(w, 500);
    assert_int_equal(w->n_calls, 4);
    w->self.fence = false;
    tw_local(w, 500);
    assert_false(task_local_is_clear(w->local));
}

/* Its claim was committed as the node was cut off: the rest of the cluster has waited, and may take it for lost. */
static void test_fence_before_the_start(void **state)
{
    struct tw *w = *state;
    tw_add(w, "dedup", "", TASK_ANY);
    tw_start(w, "dedup", "n1");
    tw_local(w, 0);
    w->self.fence = true;
    tw_local(w, 0);
    tw_outcome(w, &gone);
    w->self.fence = false;
    expect_lost(w);
}

/* Whatever the rows say: they may be old, and there may be none. */
static void test_fence_without_rows(void **state)
{
    struct tw *w = *state;
    w->self.fence = true;
    tw_local(w, 0);
    assert_int_equal(tw_last_verb(w), TASK_CALL_STOP_ALL);
    assert_false(task_local_is_clear(w->local));
    tw_outcome(w, &gone);
    assert_true(task_local_is_clear(w->local));
}

static void test_evicted(void **state)
{
    struct tw *w = *state;
    task_local_evicted(w->local, &w->env);
    assert_int_equal(tw_last_verb(w), TASK_CALL_STOP_ALL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TW_TEST(test_to_its_end),
        TW_TEST(test_results),
        TW_TEST(test_program_cannot_be_run),
        TW_TEST(test_unknown_start),
        TW_TEST(test_next_agent_finds_it),
        TW_TEST(test_next_agent_does_not_begin),
        TW_TEST(test_not_without_a_quorum),
        TW_TEST(test_not_later_than_the_lease),
        TW_TEST(test_others_are_none_of_its_business),
        TW_TEST(test_orphan_is_stopped),
        TW_TEST(test_fence),
        TW_TEST(test_fence_before_the_start),
        TW_TEST(test_fence_without_rows),
        TW_TEST(test_evicted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
