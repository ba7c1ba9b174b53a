/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What entries make of repositories, backups and reference points. */
#include "tests/unit/backup_world.h"

static struct job job_of(const struct bw *w, struct uuid id)
{
    struct job j;
    assert_int_equal(journal_job_get(w->t, &id, &j), 0);
    return j;
}

static void test_repositories(void **state)
{
    struct bw *w = *state;
    struct repository_row r;
    struct slice key;
    char name[32], path[64];
    assert_int_equal(repository_get(w->t, "main", &r), 0);
    assert_string_equal(r.path, "/srv/backup");
    assert_int_equal(tables_get(w->t, TABLE_SECRET, "repository/main", &key), 0);
    assert_int_equal(bw_repository(w, "main", "/srv/other"), ERR_CONDITION);
    assert_int_equal(bw_repository(w, "other", "/srv/backup"), ERR_CONDITION);
    assert_int_equal(bw_repository(w, "o/ther", "/srv/other"), ERR_USAGE);
    assert_int_equal(bw_repository(w, "other", "srv"), ERR_USAGE);
    for (int i = 1; i < REPOSITORIES_MAX; i++) {
        snprintf(name, sizeof name, "r%d", i);
        snprintf(path, sizeof path, "/srv/r%d", i);
        assert_int_equal(bw_repository(w, name, path), 0);
    }
    assert_int_equal(bw_repository(w, "last", "/srv/last"), ERR_CONDITION);
    assert_int_equal(bw_repository_remove(w, "main"), 0);
    assert_false(tables_has(w->t, TABLE_SECRET, "repository/main"));
    assert_int_equal(bw_repository_remove(w, "main"), ERR_NO_OBJECT);
}

static void test_a_run(void **state)
{
    struct bw *w = *state;
    assert_int_equal(bw_start(w, "vm1", "other"), ERR_NO_OBJECT);
    assert_int_equal(bw_start(w, "vm1", "main"), 0);
    struct uuid run = w->last_id;
    struct backup k = bw_row(w, "vm1");
    assert_int_equal(k.state, BACKUP_STARTING);
    assert_true(uuid_eq(&k.run, &run));
    assert_string_equal(k.node, "n1");
    assert_int_equal(job_of(w, run).state, JOB_RUNNING);
    assert_int_equal(bw_start(w, "vm1", "main"), ERR_AGAIN);
    assert_false(backup_holds(w->t, "vm1", BOOT));
    assert_int_equal(bw_note(w, "vm1", BACKUP_NOTE_CLAIM), 0);
    assert_int_equal(bw_note_of(w, "vm1", BACKUP_NOTE_CLAIM, run), ERR_AGAIN); /* once */
    assert_true(backup_holds(w->t, "vm1", BOOT));
    assert_false(backup_holds(w->t, "vm1", "boot-b"));
    assert_true(backup_is_on(w->t, "n1", NULL));
    assert_int_equal(bw_start(w, "vm1", "main"), ERR_AGAIN);
    assert_int_equal(bw_end(w, "vm1", BACKUP_DONE), 0);
    k = bw_row(w, "vm1");
    assert_int_equal(k.state, BACKUP_IDLE);
    assert_int_equal(k.result, BACKUP_DONE);
    assert_true(uuid_eq(&k.newest, &run));
    assert_int_equal(job_of(w, run).state, JOB_DONE);
    struct point_row *p = xcalloc(1, sizeof *p);
    assert_int_equal(point_get(w->t, "vm1", &run, p), 0);
    assert_string_equal(p->repository, "main");
    assert_int_equal(p->checkpoint_xml.len, strlen("<domaincheckpoint/>"));
    free(p);
}

/* "No backup starts while the VM migrates, starts or stops, or its node drains." */
static void test_not_while_others_are_at_it(void **state)
{
    struct bw *w = *state;
    w->vm.busy = true;
    assert_int_equal(bw_start(w, "vm1", "main"), ERR_AGAIN);
    w->vm.busy = false;
    w->vm.runs = false;
    assert_int_equal(bw_start(w, "vm1", "main"), ERR_CONDITION);
    w->vm.runs = true;
    w->vm.accepts = false;
    assert_int_equal(bw_start(w, "vm1", "main"), ERR_CONDITION);
    w->vm.accepts = true;
    w->no_vm = true;
    assert_int_equal(bw_start(w, "vm1", "main"), ERR_NO_OBJECT);
    w->no_vm = false;
    assert_int_equal(bw_start(w, "vm1", "main"), 0);
    w->vm.busy = true; /* the claim comes after the move was asked for */
    assert_int_equal(bw_note(w, "vm1", BACKUP_NOTE_CLAIM), ERR_AGAIN);
    w->vm.busy = false;
    STR_COPY(w->vm.node, "n2"); /* … or after it */
    assert_int_equal(bw_note(w, "vm1", BACKUP_NOTE_CLAIM), ERR_AGAIN);
    STR_COPY(w->vm.node, "n1");
    STR_COPY(w->vm.boot_id, "boot-b");
    assert_int_equal(bw_note(w, "vm1", BACKUP_NOTE_CLAIM), ERR_AGAIN);
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_STARTING);
}

static void test_what_is_not_done(void **state)
{
    struct bw *w = *state;
    struct uuid good = bw_backup(w, "vm1", "main");
    bw_start(w, "vm1", "main");
    struct uuid run = w->last_id;
    bw_note(w, "vm1", BACKUP_NOTE_CLAIM);
    assert_int_equal(bw_end(w, "vm1", BACKUP_FAILED), 0);
    struct backup k = bw_row(w, "vm1");
    assert_int_equal(k.result, BACKUP_FAILED);
    assert_int_equal(k.code, ERR_CONDITION);
    assert_true(uuid_eq(&k.newest, &good)); /* the old one stays */
    assert_int_equal(job_of(w, run).state, JOB_FAILED);
    assert_int_equal(job_of(w, run).code, ERR_CONDITION);
    assert_int_equal(k.failures, 1);
    bw_start(w, "vm1", "main");
    bw_note(w, "vm1", BACKUP_NOTE_CLAIM);
    w->over = false;
    assert_int_equal(bw_end_with(w, "vm1", BACKUP_LOST, true, NULL), ERR_AGAIN); /* it may still run */
    w->over = true;
    assert_int_equal(bw_end_with(w, "vm1", BACKUP_LOST, true, NULL), 0);
    bw_start(w, "vm1", "main");
    bw_note(w, "vm1", BACKUP_NOTE_CLAIM);
    backup_node_lost(w->t, "n2", T0);
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_RUNNING);
    backup_node_lost(w->t, "n1", T0);
    assert_int_equal(bw_row(w, "vm1").result, BACKUP_LOST);
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_IDLE);
}

/* "A point is committed only when the worker says done", and only that run's. */
static void test_points_of_others(void **state)
{
    struct bw *w = *state;
    bw_start(w, "vm1", "main");
    struct uuid run = w->last_id, other = {{0x99, 1}};
    bw_note(w, "vm1", BACKUP_NOTE_CLAIM);
    assert_int_equal(bw_end_with(w, "vm1", BACKUP_DONE, false, bw_point("vm2", run, "full")), ERR_USAGE);
    assert_int_equal(bw_end_with(w, "vm1", BACKUP_DONE, false, bw_point("vm1", other, "full")), ERR_USAGE);
    assert_int_equal(bw_end_with(w, "vm1", BACKUP_DONE, false, xstrdup("{}")), ERR_USAGE);
    assert_int_equal(bw_end_with(w, "vm1", BACKUP_DONE, false, NULL), ERR_USAGE);
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_RUNNING);
    assert_int_equal(tables_count(w->t, TABLE_POINT), 0);
}

static void test_cancel(void **state)
{
    struct bw *w = *state;
    assert_int_equal(bw_note(w, "vm1", BACKUP_NOTE_CANCEL), ERR_NO_OBJECT);
    bw_start(w, "vm1", "main");
    struct uuid run = w->last_id;
    assert_int_equal(bw_note(w, "vm1", BACKUP_NOTE_CANCEL), 0);
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_IDLE);
    assert_int_equal(job_of(w, run).state, JOB_CANCELLED);
    assert_int_equal(bw_note(w, "vm1", BACKUP_NOTE_CANCEL), ERR_CONDITION);
    bw_start(w, "vm1", "main");
    bw_note(w, "vm1", BACKUP_NOTE_CLAIM);
    assert_int_equal(bw_note_of(w, "vm1", BACKUP_NOTE_CANCEL, run), ERR_AGAIN); /* an earlier one */
    assert_int_equal(bw_note_of(w, "vm1", BACKUP_NOTE_CANCEL, (struct uuid){{0}}), 0);
    assert_true(bw_row(w, "vm1").cancel);
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_RUNNING); /* until its worker has ended */
    assert_int_equal(bw_end(w, "vm1", BACKUP_CANCELLED), 0);
    assert_false(bw_row(w, "vm1").cancel);
    assert_int_equal(bw_row(w, "vm1").failures, 0);
}

static size_t checkpoints(const struct bw *w, const char *vm)
{
    struct point_row *p = xcalloc(1, sizeof *p);
    char key[TABLE_KEY_MAX] = "";
    size_t n = 0;
    while (point_next(w->t, vm, key, p)) {
        assert_int_equal(p->checkpoint[0] != '\0', p->checkpoint_xml.len > 0);
        n += p->checkpoint[0] != '\0';
    }
    free(p);
    return n;
}

static void test_checkpoints_that_stay(void **state)
{
    struct bw *w = *state;
    struct backup_call c = {0};
    bw_repository(w, "two", "/srv/two");
    bw_repository(w, "three", "/srv/three");
    bw_backup(w, "vm1", "main");
    struct uuid b = bw_backup(w, "vm1", "main");
    assert_int_equal(checkpoints(w, "vm1"), 1); /* of one repository the newest */
    struct uuid two = bw_backup(w, "vm1", "two");
    assert_int_equal(checkpoints(w, "vm1"), 2);
    point_order(w->t, "vm1", "main", &c);
    assert_true(uuid_eq(&c.parent, &b));
    assert_non_null(strstr(c.parent_order, "\"tracking\":"));
    assert_non_null(strstr(c.parent_order, "<domaincheckpoint/>"));
    backup_call_done(&c);
    bw_backup(w, "vm1", "three");
    assert_int_equal(checkpoints(w, "vm1"), CHECKPOINTS_KEPT); /* main's went */
    point_order(w->t, "vm1", "main", &c);
    assert_true(uuid_eq(&c.parent, &b)); /* it is a reference all the same */
    assert_null(strstr(c.parent_order, "<domaincheckpoint/>"));
    assert_non_null(strstr(c.keep[1], uuid_str(&two).s));
    backup_call_done(&c);
    assert_int_equal(checkpoints(w, "vm2"), 0);
}

static int delete_point(struct bw *w, const char *vm, struct uuid point)
{
    struct buf b = {0};
    backup_entry_point_delete(vm, &point, &b);
    return bw_apply(w, ENTRY_POINT_DELETE, &b);
}

static void test_delete(void **state)
{
    struct bw *w = *state;
    struct uuid a = bw_backup(w, "vm1", "main"), b = bw_backup(w, "vm1", "main");
    struct uuid of_other = bw_backup(w, "vm2", "main");
    assert_int_equal(delete_point(w, "vm1", of_other), ERR_NO_OBJECT);
    bw_start(w, "vm1", "main");
    assert_int_equal(delete_point(w, "vm1", b), ERR_AGAIN); /* it may stand on it */
    bw_note(w, "vm1", BACKUP_NOTE_CANCEL);
    assert_int_equal(delete_point(w, "vm1", b), 0);
    struct uuid newest = bw_row(w, "vm1").newest;
    assert_true(uuid_eq(&newest, &a));
    assert_int_equal(bw_repository_remove(w, "main"), 0); /* with all its points */
    newest = bw_row(w, "vm1").newest;
    assert_true(uuid_is_nil(&newest));
    assert_int_equal(tables_count(w->t, TABLE_POINT), 0);
}

static void test_repository_in_use(void **state)
{
    struct bw *w = *state;
    bw_start(w, "vm1", "main");
    assert_int_equal(bw_repository_remove(w, "main"), ERR_AGAIN);
    bw_note(w, "vm1", BACKUP_NOTE_CANCEL);
    assert_int_equal(bw_schedule(w, "vm1", "hourly"), 0);
    assert_int_equal(bw_repository_remove(w, "main"), ERR_CONDITION);
    assert_int_equal(bw_schedule(w, "vm1", ""), 0);
    assert_int_equal(bw_schedule(w, "vm1", ""), ERR_NO_OBJECT);
    assert_int_equal(bw_schedule(w, "vm1", "often"), ERR_USAGE);
    w->no_vm = true;
    assert_int_equal(bw_schedule(w, "vm1", "hourly"), ERR_NO_OBJECT);
    backup_vm_removed(w->t, "vm1");
    assert_false(tables_has(w->t, TABLE_BACKUP, "vm1"));
    assert_int_equal(bw_repository_remove(w, "main"), 0);
}

static size_t events_of_a_scheduled(struct bw *w, const char *note)
{
    struct backup_start s = {.vm = "vm1", .q = {.repository = "main"}, .by_schedule = true};
    struct backup_end n = {.vm = "vm1", .result = BACKUP_DONE};
    struct buf b = {0};
    size_t before = tables_count(w->t, TABLE_EVENT);
    backup_entry_start(&s, &b);
    assert_int_equal(bw_apply(w, ENTRY_BACKUP_START, &b), 0);
    assert_int_equal(bw_note(w, "vm1", BACKUP_NOTE_CLAIM), 0);
    n.run = bw_row(w, "vm1").run;
    n.point = bw_point("vm1", n.run, "full");
    n.checkpoint_xml = xstrdup("");
    STR_COPY(n.text, note);
    b = (struct buf){0};
    backup_entry_end(&n, &b);
    backup_end_done(&n);
    assert_int_equal(bw_apply(w, ENTRY_BACKUP_END, &b), 0);
    assert_string_equal(bw_row(w, "vm1").text, note);
    return tables_count(w->t, TABLE_EVENT) - before;
}

/* The journal is told once that older ones do not go, and once that they do again. */
static void test_notes_are_told_once(void **state)
{
    struct bw *w = *state;
    events_of_a_scheduled(w, "");
    size_t quiet = events_of_a_scheduled(w, "");
    assert_int_equal(events_of_a_scheduled(w, "point 3 is damaged"), quiet + 1);
    assert_int_equal(events_of_a_scheduled(w, "point 4 is damaged"), quiet);
    assert_int_equal(events_of_a_scheduled(w, ""), quiet + 1);
}

static int end_other(struct bw *w, enum backup_result result, int code)
{
    struct backup_end n = {.vm = "vm1", .run = bw_row(w, "vm1").run, .result = result, .code = code};
    struct buf b = {0};
    STR_COPY(n.text, code ? "why" : "");
    backup_entry_end(&n, &b);
    return bw_apply(w, ENTRY_BACKUP_END, &b);
}

static void test_a_restore(void **state)
{
    struct bw *w = *state;
    struct uuid none = {{9}}, point = bw_backup(w, "vm1", "main");
    struct backup before = bw_row(w, "vm1");
    w->no_vm = true; /* it needs none */
    STR_COPY(w->node.node, "n2");
    assert_int_equal(bw_restore(w, "vm1", none, "n2"), ERR_NO_OBJECT);
    assert_int_equal(bw_restore(w, "vm1", point, "n3"), ERR_NO_OBJECT);
    w->node.accepts = false;
    assert_int_equal(bw_restore(w, "vm1", point, "n2"), ERR_CONDITION);
    w->node.accepts = true;
    assert_int_equal(bw_restore(w, "vm1", point, "n2"), 0);
    struct uuid run = w->last_id;
    assert_int_equal(job_of(w, run).kind, JOB_RESTORE);
    assert_string_equal(bw_row(w, "vm1").node, "n2");
    w->no_vm = false;
    assert_int_equal(bw_start(w, "vm1", "main"), ERR_AGAIN); /* one run a VM */
    assert_int_equal(bw_note(w, "vm1", BACKUP_NOTE_CLAIM), 0);
    assert_false(backup_holds(w->t, "vm1", BOOT));              /* the VM may move meanwhile */
    assert_true(backup_is_on(w->t, "n2", NULL));                /* the node may not go */
    assert_int_equal(bw_end(w, "vm1", BACKUP_DONE), ERR_USAGE); /* there is no new point */
    assert_int_equal(end_other(w, BACKUP_DONE, 0), 0);
    assert_int_equal(job_of(w, run).state, JOB_DONE);
    struct backup k = bw_row(w, "vm1");
    assert_int_equal(k.state, BACKUP_IDLE);
    assert_true(uuid_eq(&k.newest, &point));
    assert_int_equal(k.runs, before.runs); /* it says nothing of the last backup */
    assert_int_equal(k.result, BACKUP_DONE);
    assert_int_equal(tables_count(w->t, TABLE_POINT), 1);
    bw_restore(w, "vm1", point, "n2");
    run = w->last_id;
    bw_note(w, "vm1", BACKUP_NOTE_CLAIM);
    assert_int_equal(end_other(w, BACKUP_FAILED, ERR_CONDITION), 0);
    assert_int_equal(job_of(w, run).state, JOB_FAILED);
    assert_int_equal(bw_row(w, "vm1").failures, 0);
}

/* A backup that is done must bring its point. */
static void test_done_without_a_point(void **state)
{
    struct bw *w = *state;
    bw_start(w, "vm1", "main");
    bw_note(w, "vm1", BACKUP_NOTE_CLAIM);
    assert_int_equal(end_other(w, BACKUP_DONE, 0), ERR_USAGE);
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_RUNNING);
}

static void test_restore_of_a_removed_vm(void **state)
{
    struct bw *w = *state;
    struct backup k;
    struct uuid point = bw_backup(w, "vm1", "main");
    bw_schedule(w, "vm1", "hourly");
    bw_restore(w, "vm1", point, "n1");
    bw_note(w, "vm1", BACKUP_NOTE_CLAIM);
    backup_vm_removed(w->t, "vm1");
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_RUNNING); /* it goes on */
    assert_string_equal(bw_row(w, "vm1").calendar, "");
    assert_int_equal(end_other(w, BACKUP_DONE, 0), 0);
    assert_int_equal(backup_get(w->t, "vm1", &k), ERR_NO_OBJECT); /* and leaves nothing */
    assert_int_equal(bw_restore(w, "vm1", point, "n1"), 0);
    bw_note(w, "vm1", BACKUP_NOTE_CLAIM);
    backup_node_lost(w->t, "n1", T0);
    assert_int_equal(backup_get(w->t, "vm1", &k), ERR_NO_OBJECT);
}

static void verify(struct bw *w, struct uuid point, const char *repository, int code)
{
    assert_int_equal(bw_verify(w, "vm1", point, repository), 0);
    assert_int_equal(bw_note(w, "vm1", BACKUP_NOTE_CLAIM), 0);
    assert_int_equal(end_other(w, code ? BACKUP_FAILED : BACKUP_DONE, code), 0);
    w->wall_ms += 1000;
}

/* Damage is told until all that lies there is right. */
static void test_verdicts(void **state)
{
    struct bw *w = *state;
    struct uuid all = {{0}}, point = bw_backup(w, "vm1", "main");
    assert_int_equal(bw_repository(w, "other", "/srv/other"), 0);
    verify(w, all, "main", ERR_AGAIN); /* no verdict */
    assert_int_equal(bw_row(w, "vm1").verified_ms, 0);
    verify(w, all, "main", 0);
    int64_t first = bw_row(w, "vm1").verified_ms;
    assert_true(first > 0);
    verify(w, point, "main", ERR_MALFORMED);
    assert_true(bw_row(w, "vm1").is_damaged);
    assert_string_equal(bw_row(w, "vm1").damage, "why");
    verify(w, point, "main", 0);            /* it is another one, perhaps */
    verify(w, all, "other", 0);             /* neither is this where it was found */
    verify(w, all, "other", ERR_MALFORMED); /* one is told of at a time */
    verify(w, all, "main", ERR_AGAIN);
    assert_true(bw_row(w, "vm1").is_damaged);
    assert_string_equal(bw_row(w, "vm1").verified_in, "main");
    assert_int_equal(bw_row(w, "vm1").result, BACKUP_DONE);
    verify(w, all, "main", 0);
    assert_false(bw_row(w, "vm1").is_damaged);
    verify(w, all, "main", ERR_MALFORMED);
    assert_int_equal(bw_repository_remove(w, "main"), 0);
    assert_false(bw_row(w, "vm1").is_damaged);
}

/* Also of a VM that has no row of its own: until then, and no longer. */
static void test_verdict_of_a_removed_vm(void **state)
{
    struct bw *w = *state;
    struct backup k;
    struct uuid all = {{0}};
    bw_backup(w, "vm1", "main");
    backup_vm_removed(w->t, "vm1");
    verify(w, all, "main", ERR_MALFORMED);
    assert_true(bw_row(w, "vm1").is_damaged);
    verify(w, all, "main", 0);
    assert_int_equal(backup_get(w->t, "vm1", &k), ERR_NO_OBJECT);
    verify(w, all, "main", ERR_MALFORMED);
    assert_int_equal(bw_repository_remove(w, "main"), 0);
    assert_int_equal(backup_get(w->t, "vm1", &k), ERR_NO_OBJECT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BW_TEST(test_notes_are_told_once),
        BW_TEST(test_repositories),
        BW_TEST(test_a_run),
        BW_TEST(test_not_while_others_are_at_it),
        BW_TEST(test_what_is_not_done),
        BW_TEST(test_points_of_others),
        BW_TEST(test_cancel),
        BW_TEST(test_checkpoints_that_stay),
        BW_TEST(test_delete),
        BW_TEST(test_repository_in_use),
        BW_TEST(test_a_restore),
        BW_TEST(test_verdicts),
        BW_TEST(test_verdict_of_a_removed_vm),
        BW_TEST(test_done_without_a_point),
        BW_TEST(test_restore_of_a_removed_vm),
    };
    return cmocka_run_group_tests_name("backup apply", tests, NULL, NULL);
}
