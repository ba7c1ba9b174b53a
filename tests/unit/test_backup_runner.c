/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How the backup's worker is called, what it is told, and what is made of its status. Units themselves need systemd:
 * the lab. */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "backup/io/runner.h"
#include "backup/spec.h"
#include "common/json.h"

static const struct uuid run = {{1}};
#define RUN "01000000-0000-0000-0000-000000000000"

static bool has(char **argv, const char *what)
{
    for (; *argv; argv++)
        if (str_eq(*argv, what))
            return true;
    return false;
}

static void test_argv(void **state)
{
    (void)state;
    struct backup_call c = {.verb = BACKUP_CALL_START, .vm = "vm1", .run = run};
    char **argv = backup_runner_argv(&c);
    assert_string_equal(argv[0], "/usr/bin/systemd-run");
    assert_true(has(argv, "--unit=ringmaster-backup-vm1.service"));
    assert_true(has(argv, "--slice=ringmaster-backup.slice"));
    assert_true(has(argv, "--remain-after-exit"));
    assert_true(has(argv, "--description=Ringmaster backup of vm1, run " RUN));
    assert_true(has(argv, "run"));
    assert_true(has(argv, "/run/ringmaster/backup/vm1.spec"));
    backup_runner_argv_free(argv);
    c.verb = BACKUP_CALL_SETTLE;
    argv = backup_runner_argv(&c);
    assert_true(has(argv, "--unit=ringmaster-settle-vm1.service"));
    assert_true(has(argv, "--wait"));
    assert_true(has(argv, "settle"));
    assert_true(has(argv, "/run/ringmaster/backup/vm1.settle"));
    backup_runner_argv_free(argv);
}

static struct json *spec_of(const struct backup_call *c, const struct buf *key)
{
    struct json *j = NULL;
    AUTO(freep) char *text = backup_runner_spec(c, key);
    assert_int_equal(json_parse(text, strlen(text), &j, NULL), 0);
    return j;
}

static void test_spec(void **state)
{
    (void)state;
    AUTO(buf_done) struct buf key = {0};
    struct backup_call c = {.verb = BACKUP_CALL_START,
                            .vm = "vm1",
                            .run = run,
                            .repository = "main",
                            .path = "/srv/backup",
                            .engine = BACKUP_RESCAN,
                            .crash_consistent = true,
                            .limit_bytes = 4096,
                            .retention = "last=3",
                            .parent_order = (char *)"{\"point\":\"" RUN "\",\"checkpoint_xml\":\"<x/>\",\"disks\":[]}",
                            .keep = {"ringmaster-a", ""}};
    buf_add(&key, "\x01\x02\x03\xff", 4);
    AUTO(json_freep) struct json *j = spec_of(&c, &key);
    assert_string_equal(json_get_str(j, "run", ""), RUN);
    assert_string_equal(json_get_str(j, "vm", ""), "vm1");
    assert_string_equal(json_get_str(j, "repository", ""), "/srv/backup");
    assert_string_equal(json_get_str(j, "key", ""), "AQID/w==");
    assert_string_equal(json_get_str(j, "engine", ""), "rescan");
    assert_string_equal(json_get_str(j, "consistency", ""), "crash");
    assert_int_equal(json_get_int(j, "limit_bytes", -1), 4096);
    assert_string_equal(json_get_str(j, "retention", ""), "last=3");
    assert_string_equal(json_str(json_path(j, "parent.checkpoint_xml"), ""), "<x/>");
    assert_int_equal(json_count(json_get(j, "keep_checkpoints")), 1);
    assert_string_equal(json_get_str(j, "status", ""), "/run/ringmaster/backup/vm1.status");
    c.verb = BACKUP_CALL_SETTLE;
    c.parent_order = NULL;
    AUTO(json_freep) struct json *s = spec_of(&c, NULL);
    assert_null(json_get(s, "key"));
    assert_null(json_get(s, "repository"));
    assert_null(json_get(s, "engine"));
    assert_non_null(json_get(s, "parent"));
    assert_false(json_is_object(json_get(s, "parent")));
}

static int status(const char *text, struct backup_outcome *o)
{
    *o = (struct backup_outcome){0};
    return backup_runner_status((struct slice){(const uint8_t *)text, strlen(text)}, &run, o, NULL);
}

static void must_be_taken(const struct backup_call *c, const struct buf *key)
{
    AUTO(freep) char *text = backup_runner_spec(c, key);
    struct spec *s = xcalloc(1, sizeof *s);
    struct error e = {0};
    if (spec_decode((struct slice){(const uint8_t *)text, strlen(text)}, key == NULL, s, &e))
        fail_msg("%s: %s", text, e.text);
    assert_true(uuid_eq(&s->run, &run));
    assert_int_equal(s->n_keep, 1);
    assert_int_equal(s->key_len, key ? 32 : 0);
    spec_done(s);
    free(s);
}

/* What the agent writes is what the worker reads. */
static void test_worker_takes_it(void **state)
{
    (void)state;
    AUTO(buf_done) struct buf key = {0};
    struct backup_call c = {.verb = BACKUP_CALL_START, .vm = "vm1", .run = run, .repository = "main",
                            .path = "/srv/backup", .retention = "last=3,yearly=1",
                            .keep = {"ringmaster-" RUN, ""}};
    for (int i = 0; i < 32; i++)
        buf_add(&key, "\x7f", 1);
    must_be_taken(&c, &key);
    c.parent = run;
    c.parent_order = (char *)"{\"point\":\"" RUN "\",\"checkpoint_xml\":\"<domaincheckpoint/>\","
                             "\"disks\":[{\"name\":\"vda\",\"tracking\":\"" RUN "\"}]}";
    must_be_taken(&c, &key);
    c.work = BACKUP_WORK_RESTORE;
    c.point = run;
    STR_COPY(c.folder, "/srv/new");
    STR_COPY(c.as, "vm2");
    must_be_taken(&c, &key);
    AUTO(json_freep) struct json *j = spec_of(&c, &key);
    assert_string_equal(json_str(json_path(j, "restore.point"), ""), RUN);
    assert_string_equal(json_str(json_path(j, "restore.folder"), ""), "/srv/new");
    assert_string_equal(json_str(json_path(j, "restore.as"), ""), "vm2");
    assert_null(json_get(j, "engine"));
    c.work = BACKUP_WORK_VERIFY;
    must_be_taken(&c, &key);
    c.point = (struct uuid){{0}};
    must_be_taken(&c, &key);
    c.work = BACKUP_WORK_BACKUP;
    c.verb = BACKUP_CALL_SETTLE;
    must_be_taken(&c, NULL);
}

static void test_status(void **state)
{
    (void)state;
    struct backup_outcome o;
    assert_int_equal(status("{\"run\":\"" RUN "\",\"phase\":\"exporting\",\"done_bytes\":5,\"total_bytes\":9}", &o), 0);
    assert_int_equal(o.phase, BACKUP_EXPORTING);
    assert_int_equal(o.total_bytes, 9);
    assert_int_equal(
        status("{\"run\":\"" RUN "\",\"phase\":\"failed\",\"error\":{\"code\":113,\"text\":\"why\"}}", &o), 0);
    assert_int_equal(o.phase, BACKUP_GAVE_UP);
    assert_int_equal(o.failure.code, ERR_CONDITION);
    assert_string_equal(o.failure.text, "why");
    assert_int_equal(status("{\"run\":\"" RUN "\",\"phase\":\"failed\"}", &o), 0);
    assert_int_equal(o.failure.code, ERR_FAILED);
    assert_int_equal(status("{\"run\":\"" RUN "\",\"phase\":\"done\",\"point\":{\"format\":1},\"checkpoint\":\"c\","
                            "\"checkpoint_xml\":\"<c/>\",\"pause_ms\":7}",
                            &o),
                     0);
    assert_int_equal(o.phase, BACKUP_PUBLISHED);
    assert_string_equal(o.point, "{\"format\":1}");
    assert_string_equal(o.checkpoint, "c");
    assert_string_equal(o.checkpoint_xml, "<c/>");
    assert_int_equal(o.pause_ms, 7);
    assert_null(o.points);
    assert_string_equal(o.note, "");
    backup_outcome_done(&o);
}

/* A list that is not whole would take points out of the table that are there. */
static void test_status_points(void **state)
{
    (void)state;
    struct backup_outcome o;
    assert_int_equal(
        status("{\"run\":\"" RUN "\",\"phase\":\"done\",\"points\":[\"" RUN "\"],\"note\":\"why\"}", &o), 0);
    assert_int_equal(o.n_points, 1);
    assert_true(uuid_eq(&o.points[0], &run));
    assert_string_equal(o.note, "why");
    backup_outcome_done(&o);
    /* Only a verification may find none. */
    assert_int_equal(status("{\"run\":\"" RUN "\",\"phase\":\"done\",\"points\":[]}", &o), 0);
    assert_non_null(o.points);
    assert_int_equal(o.n_points, 0);
    backup_outcome_done(&o);
    static const char *const bad[] = {"[]", "{}", "[\"" RUN "\",1]", "[\"" RUN "\",\"x\"]", "\"" RUN "\""};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[256];
        snprintf(text, sizeof(text), "{\"run\":\"" RUN "\",\"phase\":\"done\",\"point\":{},\"points\":%s}", bad[i]);
        assert_int_equal(status(text, &o), 0);
        assert_null(o.points);
        backup_outcome_done(&o);
    }
}

/* What an earlier run left says nothing of this one. */
static void test_status_of_others(void **state)
{
    (void)state;
    struct backup_outcome o;
    assert_int_not_equal(status("{\"run\":\"02000000-0000-0000-0000-000000000000\",\"phase\":\"done\"}", &o), 0);
    assert_int_equal(o.phase, BACKUP_PHASE_NONE);
    assert_int_not_equal(status("{\"phase\":\"done\"}", &o), 0);
    assert_int_not_equal(status("{\"run\":", &o), 0);
    assert_int_not_equal(status("", &o), 0);
    assert_int_equal(status("{\"run\":\"" RUN "\",\"phase\":\"other\"}", &o), 0);
    assert_int_equal(o.phase, BACKUP_PHASE_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_argv),
        cmocka_unit_test(test_spec),
        cmocka_unit_test(test_worker_takes_it),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_status_points),
        cmocka_unit_test(test_status_of_others),
    };
    return cmocka_run_group_tests_name("backup runner", tests, NULL, NULL);
}
