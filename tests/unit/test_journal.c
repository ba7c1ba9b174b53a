/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "common/journal.h"

static struct uuid id_of(unsigned n)
{
    return (struct uuid){.b = {1, [14] = (uint8_t)(n >> 8), [15] = (uint8_t)n}};
}

static struct job job_of(unsigned n)
{
    return (struct job){.id = id_of(n),
                        .kind = JOB_VM_MIGRATE,
                        .state = JOB_RUNNING,
                        .object = "vm1",
                        .node = "n1",
                        .detail = "n1 -> n2",
                        .started_ms = 100 + n};
}

static void test_job_begins_and_ends(void **state)
{
    (void)state;
    struct tables *t = tables_new();
    struct job j = job_of(7), got;
    journal_job_begin(t, &j);
    assert_int_equal(journal_job_get(t, &j.id, &got), 0);
    assert_int_equal(got.state, JOB_RUNNING);
    assert_string_equal(got.detail, "n1 -> n2");
    assert_int_equal(got.started_ms, 107);
    assert_int_equal(got.ended_ms, 0);
    journal_job_end(t, &j.id, JOB_FAILED, 200, ERR_TIMEOUT, "too slow");
    journal_job_end(t, &j.id, JOB_DONE, 300, 0, NULL); /* the first end counts */
    assert_int_equal(journal_job_get(t, &j.id, &got), 0);
    assert_int_equal(got.state, JOB_FAILED);
    assert_int_equal(got.ended_ms, 200);
    assert_int_equal(got.code, ERR_TIMEOUT);
    assert_string_equal(got.error, "too slow");
    tables_free(t);
}

static void test_nil_id_writes_nothing(void **state)
{
    (void)state;
    struct tables *t = tables_new();
    struct job j = {.kind = JOB_DRAIN, .state = JOB_RUNNING}, got;
    journal_job_begin(t, &j);
    journal_job_end(t, &j.id, JOB_DONE, 1, 0, NULL);
    assert_int_equal(tables_count(t, TABLE_JOB), 0);
    assert_int_equal(journal_job_get(t, &j.id, &got), ERR_NOT_FOUND);
    tables_free(t);
}

static void test_oldest_ended_jobs_go(void **state)
{
    (void)state;
    struct tables *t = tables_new();
    struct job got;
    for (unsigned i = 0; i < JOB_KEPT; i++) {
        struct job j = job_of(i);
        journal_job_begin(t, &j);
        if (i != 0) /* the eldest runs on; of the others the one with the highest number ended first */
            journal_job_end(t, &j.id, JOB_DONE, 10000 - (int64_t)i, 0, NULL);
    }
    assert_int_equal(tables_count(t, TABLE_JOB), JOB_KEPT);
    struct job j = job_of(5000);
    journal_job_begin(t, &j);
    assert_int_equal(tables_count(t, TABLE_JOB), JOB_KEPT);
    struct uuid gone = id_of(JOB_KEPT - 1), runs = id_of(0);
    assert_int_equal(journal_job_get(t, &gone, &got), ERR_NOT_FOUND);
    assert_int_equal(journal_job_get(t, &runs, &got), 0);
    assert_int_equal(journal_job_get(t, &j.id, &got), 0);
    tables_free(t);
}

static void test_running_jobs_stay(void **state)
{
    (void)state;
    struct tables *t = tables_new();
    for (unsigned i = 0; i < JOB_KEPT + 3; i++) {
        struct job j = job_of(i);
        journal_job_begin(t, &j);
    }
    assert_int_equal(tables_count(t, TABLE_JOB), JOB_KEPT + 3);
    tables_free(t);
}

static void test_events_are_numbered_and_the_oldest_go(void **state)
{
    (void)state;
    struct tables *t = tables_new();
    for (int i = 0; i < EVENT_KEPT + 5; i++)
        journal_event(t, i, EVENT_WARNING, "n1", "event %d", i);
    assert_int_equal(tables_count(t, TABLE_EVENT), EVENT_KEPT);
    struct table_row row;
    struct cluster_event e;
    assert_true(tables_next(t, TABLE_EVENT, NULL, &row));
    assert_string_equal(row.key, "00000000000000000006");
    assert_true(tables_last(t, TABLE_EVENT, &row));
    assert_int_equal(cluster_event_decode(row.value, &e), 0);
    assert_int_equal(e.seq, EVENT_KEPT + 5);
    assert_int_equal(e.severity, EVENT_WARNING);
    assert_string_equal(e.object, "n1");
    assert_string_equal(e.text, "event 1004");
    tables_free(t);
}

static void test_long_text_is_cut_at_a_whole_character(void **state)
{
    (void)state;
    struct tables *t = tables_new();
    char text[400];
    for (size_t i = 0; i + 1 < sizeof(text); i += 2)
        memcpy(text + i, "ä", 2);
    text[398] = '\0';
    journal_event(t, 1, EVENT_INFO, NULL, "%s", text);
    struct table_row row;
    struct cluster_event e;
    assert_true(tables_last(t, TABLE_EVENT, &row));
    assert_int_equal(cluster_event_decode(row.value, &e), 0);
    assert_int_equal(strlen(e.text), JOURNAL_TEXT_MAX - 2); /* not 255: half an ä */
    tables_free(t);
}

static void test_json(void **state)
{
    (void)state;
    struct job j = job_of(1);
    AUTO(json_freep) struct json *o = job_json(&j);
    assert_string_equal(json_get_str(o, "kind", ""), "vm-migrate");
    assert_string_equal(json_get_str(o, "state", ""), "running");
    assert_string_equal(json_get_str(o, "detail", ""), "n1 -> n2");
    assert_null(json_str(json_get(o, "ended"), NULL));
    struct cluster_event e = {.seq = 3, .time_ms = 1, .severity = EVENT_ERROR, .text = "x"};
    AUTO(json_freep) struct json *p = cluster_event_json(&e);
    assert_string_equal(json_get_str(p, "severity", ""), "error");
    assert_int_equal(json_get_int(p, "seq", 0), 3);
}

static void test_decoders_refuse_cuts(void **state)
{
    (void)state;
    struct tables *t = tables_new();
    struct job j = job_of(1);
    journal_job_begin(t, &j);
    journal_event(t, 1, EVENT_INFO, "n1", "x");
    struct table_row row;
    struct cluster_event e;
    assert_true(tables_last(t, TABLE_JOB, &row));
    for (size_t len = 0; len < row.value.len; len++)
        assert_int_equal(job_decode((struct slice){row.value.p, len}, &j), ERR_MALFORMED);
    assert_true(tables_last(t, TABLE_EVENT, &row));
    for (size_t len = 0; len < row.value.len; len++)
        assert_int_equal(cluster_event_decode((struct slice){row.value.p, len}, &e), ERR_MALFORMED);
    tables_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_job_begins_and_ends),
        cmocka_unit_test(test_nil_id_writes_nothing),
        cmocka_unit_test(test_oldest_ended_jobs_go),
        cmocka_unit_test(test_running_jobs_stay),
        cmocka_unit_test(test_events_are_numbered_and_the_oldest_go),
        cmocka_unit_test(test_long_text_is_cut_at_a_whole_character),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_decoders_refuse_cuts),
    };
    return cmocka_run_group_tests_name("journal", tests, NULL, NULL);
}
