/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What entries make of the rows of tasks. */
#include "tests/unit/task_world.h"

#include "common/journal.h"

static bool journal_says(const struct tw *w, const char *text)
{
    TABLES_FOREACH(w->t, TABLE_EVENT, row)
    {
        struct cluster_event e;
        if (cluster_event_decode(row.value, &e) == 0 && strstr(e.text, text))
            return true;
    }
    return false;
}

static void test_definition(void **state)
{
    struct tw *w = *state;
    assert_int_equal(tw_add(w, "dedup", "hourly", TASK_ANY), 0);
    struct task k = tw_row(w, "dedup");
    assert_string_equal(k.d.arguments, "-v");
    assert_int_equal(k.d.arguments_len, 4); /* the second one is empty */
    assert_int_equal(k.after_ms, T0);
    assert_int_equal(tw_add(w, "dedup", "daily", TASK_ANY), ERR_CONDITION);
    assert_int_equal(tw_add(w, "bad", "25:00", TASK_ANY), ERR_USAGE);
    assert_non_null(strstr(w->last.error.text, "character 1"));
    assert_int_equal(tw_add(w, "a/b", "", TASK_ANY), ERR_USAGE);
    assert_int_equal(tw_add(w, "-rf", "", TASK_ANY), ERR_USAGE);
    for (int i = 1; i < TASKS_MAX; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        assert_int_equal(tw_add(w, name, "", TASK_ANY), 0);
    }
    assert_int_equal(tw_add(w, "more", "", TASK_ANY), ERR_CONDITION);
}

static void test_checks(void **state)
{
    (void)state;
    static const struct {
        const char *command;
        int64_t timeout_ms;
        int code;
    } cases[] = {
        {"/usr/sbin/dedup", 60000, 0},
        {"dedup", 60000, ERR_USAGE},
        {"/usr/../dedup", 60000, ERR_USAGE},
        {"/usr/sbin/", 60000, ERR_USAGE},
        {"/usr/sbin/a b", 60000, ERR_USAGE},
        {"/usr/$HOME", 60000, ERR_USAGE},
        {"/usr/sbin/dedup", 999, ERR_USAGE},
        {"/usr/sbin/dedup", INT64_C(604800000) + 1, ERR_USAGE},
        {"/", 60000, ERR_USAGE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct task_definition d = {.name = "x", .affinity = TASK_ANY, .timeout_ms = cases[i].timeout_ms};
        STR_COPY(d.command, cases[i].command);
        assert_int_equal(task_definition_check(&d, NULL), cases[i].code);
    }
    struct task_definition d = {.name = "x", .command = "/x", .affinity = TASK_ANY, .timeout_ms = 1000};
    for (int i = 0; i < TASK_ARGUMENTS_N_MAX; i++)
        assert_int_equal(task_definition_add(&d, "a"), 0);
    assert_int_equal(task_definition_add(&d, "a"), ERR_TOO_BIG);
    d.arguments_len = 0;
    char longest[TASK_ARGUMENTS_MAX + 1];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(task_definition_add(&d, longest), ERR_TOO_BIG);
    assert_int_equal(task_definition_add(&d, longest + 1), 0);
    assert_int_equal(task_definition_check(&d, NULL), 0);
    d.arguments[3] = '\n';
    assert_int_equal(task_definition_check(&d, NULL), ERR_USAGE);
}

static void test_run(void **state)
{
    struct tw *w = *state;
    tw_add(w, "dedup", "hourly", TASK_ANY);
    w->wall_ms = T0 + 3600000;
    assert_int_equal(tw_start(w, "nothing", "n1"), ERR_NO_OBJECT);
    assert_int_equal(tw_start(w, "dedup", "n1"), 0);
    assert_int_equal(tw_row(w, "dedup").state, TASK_STARTING);
    assert_int_equal(tw_row(w, "dedup").after_ms, T0); /* not done yet */
    assert_int_equal(tw_start(w, "dedup", "n2"), ERR_AGAIN);
    w->wall_ms += 2000; /* what becomes due between the two is not done by this run */
    assert_int_equal(tw_note(w, "dedup", TASK_NOTE_CLAIM), 0);
    struct task k = tw_row(w, "dedup");
    assert_int_equal(k.state, TASK_RUNNING);
    assert_string_equal(k.node, "n1");
    assert_int_equal(k.after_ms, T0 + 3600000);
    assert_int_equal(k.started_ms, T0 + 3602000);
    assert_int_equal(tw_note(w, "dedup", TASK_NOTE_CLAIM), ERR_AGAIN); /* once */
    assert_int_equal(tw_note(w, "dedup", TASK_NOTE_WITHDRAWN), ERR_AGAIN);
    assert_int_equal(tw_note(w, "dedup", TASK_NOTE_REQUEST), ERR_CONDITION);
    w->wall_ms += 5000;
    assert_int_equal(tw_end(w, "dedup", TASK_FAILED, false), 0);
    k = tw_row(w, "dedup");
    assert_int_equal(k.state, TASK_IDLE);
    assert_int_equal(k.result, TASK_FAILED);
    assert_int_equal(k.exit_code, 3);
    assert_int_equal(k.runs, 1);
    assert_int_equal(k.failures, 1);
    assert_string_equal(k.last_node, "n1");
    assert_int_equal(k.last_ended_ms - k.last_started_ms, 5000);
    assert_true(journal_says(w, "failed on n1 with code 3: bye"));
    assert_int_equal(tw_end(w, "dedup", TASK_DONE, false), ERR_AGAIN);
}

static size_t n_events(const struct tw *w)
{
    return tables_count(w->t, TABLE_EVENT);
}

static void run_to(struct tw *w, enum task_result result)
{
    assert_int_equal(tw_start(w, "dedup", "n1"), 0);
    assert_int_equal(tw_note(w, "dedup", TASK_NOTE_CLAIM), 0);
    assert_int_equal(tw_end(w, "dedup", result, false), 0);
}

static void test_told_when_it_changes(void **state)
{
    struct tw *w = *state;
    static const struct {
        enum task_result result;
        bool is_told;
    } ends[] = {{TASK_DONE, false},     {TASK_DONE, false},      {TASK_FAILED, true}, {TASK_FAILED, false},
                {TASK_TIMED_OUT, true}, {TASK_TIMED_OUT, false}, {TASK_DONE, true},   {TASK_LOST, true},
                {TASK_LOST, true},      {TASK_DONE, true}};
    tw_add(w, "dedup", "minutely", TASK_ANY);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        size_t before = n_events(w);
        run_to(w, ends[i].result);
        assert_int_equal(n_events(w) - before, ends[i].is_told);
    }
}

static void test_claim_is_checked_again(void **state)
{
    struct tw *w = *state;
    tw_add(w, "dedup", "", TASK_NATIVE_LEVEL);
    error_set(&w->may_run, ERR_AGAIN, "n1 is draining");
    assert_int_equal(tw_start(w, "dedup", "n1"), ERR_AGAIN);
    w->may_run.code = 0;
    assert_int_equal(tw_start(w, "dedup", "n1"), 0);
    w->may_run.code = ERR_AGAIN;
    assert_int_equal(tw_note(w, "dedup", TASK_NOTE_CLAIM), ERR_AGAIN);
    assert_int_equal(tw_row(w, "dedup").state, TASK_STARTING);
}

static void test_withdrawn_is_still_due(void **state)
{
    struct tw *w = *state;
    tw_add(w, "dedup", "", TASK_ANY);
    tw_note(w, "dedup", TASK_NOTE_REQUEST);
    tw_start(w, "dedup", "n1");
    assert_int_equal(tw_note(w, "dedup", TASK_NOTE_WITHDRAWN), 0);
    struct task k = tw_row(w, "dedup");
    assert_true(k.state == TASK_IDLE && k.requested);
    assert_string_equal(k.passed_over, "n1");
    assert_int_equal(k.runs, 0);
}

/* The leader says so only of a node of which the tables say so. */
static void test_lost(void **state)
{
    struct tw *w = *state;
    tw_add(w, "dedup", "", TASK_ANY);
    tw_start(w, "dedup", "n1");
    tw_note(w, "dedup", TASK_NOTE_CLAIM);
    assert_int_equal(tw_end(w, "dedup", TASK_LOST, true), ERR_AGAIN);
    w->over = true;
    assert_int_equal(tw_end(w, "dedup", TASK_LOST, true), 0);
    assert_int_equal(tw_row(w, "dedup").result, TASK_LOST);
    tw_start(w, "dedup", "n2");
    task_node_lost(w->t, "n2", T0);
    assert_int_equal(tw_row(w, "dedup").state, TASK_STARTING); /* nothing was begun */
    tw_note(w, "dedup", TASK_NOTE_CLAIM);
    task_node_lost(w->t, "n1", T0);
    assert_int_equal(tw_row(w, "dedup").state, TASK_RUNNING);
    task_node_lost(w->t, "n2", T0);
    assert_int_equal(tw_row(w, "dedup").state, TASK_IDLE);
    assert_int_equal(tw_row(w, "dedup").runs, 2);
}

static void test_remove(void **state)
{
    struct tw *w = *state;
    struct buf b = {0};
    tw_add(w, "dedup", "", TASK_ANY);
    tw_start(w, "dedup", "n1");
    task_entry_remove("dedup", &b);
    assert_int_equal(tw_apply(w, ENTRY_TASK_REMOVE, &b), ERR_CONDITION);
    tw_note(w, "dedup", TASK_NOTE_WITHDRAWN);
    task_entry_remove("dedup", &b);
    assert_int_equal(tw_apply(w, ENTRY_TASK_REMOVE, &b), 0);
    task_entry_remove("dedup", &b);
    assert_int_equal(tw_apply(w, ENTRY_TASK_REMOVE, &b), ERR_NO_OBJECT);
}

static void test_blocked(void **state)
{
    struct tw *w = *state;
    tw_add(w, "dedup", "", TASK_NATIVE_LEVEL);
    assert_int_equal(tw_note(w, "dedup", TASK_NOTE_BLOCKED), 0);
    assert_true(journal_says(w, "blocked until the level is raised"));
    assert_int_equal(tw_note(w, "dedup", TASK_NOTE_REQUEST), ERR_CONDITION);
    AUTO(json_freep) struct json *o = NULL;
    struct task k = tw_row(w, "dedup");
    o = task_json(&k, T0);
    assert_string_equal(json_get_str(o, "state", ""), "blocked");
    assert_string_equal(json_get_str(o, "why", ""), "blocked until the level is raised");
    assert_int_equal(tw_note(w, "dedup", TASK_NOTE_UNBLOCKED), 0);
    assert_int_equal(tw_note(w, "dedup", TASK_NOTE_REQUEST), 0);
}

/* Every payload and row cut short, and with something behind it. */
static void test_malformed(void **state)
{
    struct tw *w = *state;
    struct slice row;
    struct task k;
    tw_add(w, "dedup", "hourly", TASK_ANY);
    assert_int_equal(tables_get(w->t, TABLE_TASK, "dedup", &row), 0);
    for (size_t n = 0; n < row.len; n++)
        assert_int_equal(task_decode((struct slice){row.p, n}, &k), ERR_MALFORMED);
    const enum entry_kind kinds[] = {ENTRY_TASK_SET, ENTRY_TASK_REMOVE, ENTRY_TASK_START, ENTRY_TASK_END,
                                     ENTRY_TASK_NOTE};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct buf b = {0};
        buf_add(&b, row.p, row.len);
        assert_int_equal(tw_apply(w, kinds[i], &b), ERR_USAGE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TW_TEST(test_definition), TW_TEST(test_checks),
        TW_TEST(test_run),        TW_TEST(test_claim_is_checked_again),
        TW_TEST(test_lost),       TW_TEST(test_remove),
        TW_TEST(test_blocked),    TW_TEST(test_withdrawn_is_still_due),
        TW_TEST(test_malformed),  TW_TEST(test_told_when_it_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
