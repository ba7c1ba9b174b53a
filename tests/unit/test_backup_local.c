/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The node that runs a VM. */
#include "tests/unit/backup_world.h"

static const struct backup_outcome running = {.unit = BACKUP_UNIT_RUNNING, .phase = BACKUP_EXPORTING, .done_bytes = 5,
                                              .total_bytes = 10};
static const struct backup_outcome nothing;

static void settled(struct bw *w)
{
    assert_int_equal(bw_last_verb(w), BACKUP_CALL_SETTLE);
    bw_outcome(w, &nothing);
}

/* Up to its START. */
static void begin(struct bw *w)
{
    size_t calls = w->n_calls;
    assert_int_equal(bw_start(w, "vm1", "main"), 0);
    bw_local(w, 0);
    if (w->n_calls > calls && bw_last_verb(w) == BACKUP_CALL_SETTLE) {
        settled(w);
        bw_local(w, 0);
    }
    bw_local(w, 0);
    assert_int_equal(bw_last_verb(w), BACKUP_CALL_START);
}

static void finish(struct bw *w, const char *engine)
{
    struct backup_outcome o = {.unit = BACKUP_UNIT_ENDED, .phase = BACKUP_PUBLISHED, .pause_ms = 9};
    o.point = bw_point("vm1", bw_row(w, "vm1").run, engine);
    o.checkpoint_xml = xstrdup("<domaincheckpoint/>");
    STR_COPY(o.checkpoint, "ringmaster-x");
    bw_outcome(w, &o);
    backup_outcome_done(&o);
    bw_local(w, 0);
}

static void test_a_run(void **state)
{
    struct bw *w = *state;
    struct backup_progress p;
    begin(w);
    const struct backup_call *c = &w->calls[w->n_calls - 1];
    assert_string_equal(c->path, "/srv/backup");
    assert_int_equal(c->sealed_len, 6);
    assert_int_equal(c->limit_bytes, 4096);
    assert_true(uuid_is_nil(&c->parent));
    struct uuid run = bw_row(w, "vm1").run;
    bw_outcome(w, &running);
    bw_local(w, BACKUP_LOOK_MS);
    assert_int_equal(bw_last_verb(w), BACKUP_CALL_LOOK);
    bw_outcome(w, &running);
    assert_true(backup_local_progress(w->local, "vm1", &run, &p));
    assert_int_equal(p.done_bytes, 5);
    bw_local(w, BACKUP_LOOK_MS);
    finish(w, "full");
    assert_int_equal(bw_row(w, "vm1").result, BACKUP_DONE);
    bw_local(w, 0);
    assert_int_equal(bw_last_verb(w), BACKUP_CALL_FORGET);
    bw_outcome(w, &nothing);
    bw_local(w, 0);
    settled(w); /* a point was committed */
    assert_true(uuid_eq(&w->calls[w->n_calls - 1].parent, &run));
    size_t calls = w->n_calls;
    bw_local(w, 10000);
    assert_int_equal(w->n_calls, calls);
    assert_false(backup_local_progress(w->local, "vm1", &run, &p));
    begin(w);
    assert_true(uuid_eq(&w->calls[w->n_calls - 1].parent, &run));
}

static bool has_point(const struct bw *w, struct uuid u)
{
    struct point_row *p = xcalloc(1, sizeof *p);
    bool has = point_get(w->t, "vm1", &u, p) == 0;
    free(p);
    return has;
}

/* What the worker did not find, or let go, leaves the table: of that repository alone, and only where it said all. */
static void test_points_that_are_gone(void **state)
{
    struct bw *w = *state;
    bw_repository(w, "other", "/srv/other");
    struct uuid elsewhere = bw_backup(w, "vm1", "other"), first = bw_backup(w, "vm1", "main");
    struct uuid second = bw_backup(w, "vm1", "main");
    begin(w);
    finish(w, "full"); /* it says nothing of them */
    struct uuid third = bw_row(w, "vm1").newest;
    assert_true(has_point(w, first) && has_point(w, second) && has_point(w, third));
    bw_local(w, 0);
    bw_outcome(w, &nothing); /* FORGET */
    begin(w);
    struct uuid run = bw_row(w, "vm1").run;
    struct backup_outcome o = {.unit = BACKUP_UNIT_ENDED, .phase = BACKUP_PUBLISHED, .note = "the disk is slow"};
    o.point = bw_point("vm1", run, "full");
    o.points = xcalloc(2, sizeof *o.points);
    o.points[o.n_points++] = run;
    o.points[o.n_points++] = second;
    bw_outcome(w, &o);
    backup_outcome_done(&o);
    bw_local(w, 0);
    assert_int_equal(bw_row(w, "vm1").result, BACKUP_DONE);
    assert_string_equal(bw_row(w, "vm1").text, "the disk is slow");
    assert_false(has_point(w, first));
    assert_false(has_point(w, third));
    assert_true(has_point(w, second) && has_point(w, run) && has_point(w, elsewhere));
    struct uuid newest = bw_row(w, "vm1").newest;
    assert_true(uuid_eq(&newest, &run));
}

/* L1: after a restart of the agent it is looked for, and never begun. */
static void test_agent_restarts(void **state)
{
    struct bw *w = *state;
    begin(w);
    backup_local_free(w->local);
    w->local = backup_local_new();
    bw_local(w, 0);
    assert_int_equal(bw_last_verb(w), BACKUP_CALL_LOOK);
    bw_outcome(w, &nothing);
    bw_local(w, BACKUP_LOOK_MS);
    bw_outcome(w, &nothing);
    bw_local(w, 0);
    assert_int_equal(bw_row(w, "vm1").result, BACKUP_LOST);
}

static void test_agent_restarts_and_finds_it(void **state)
{
    struct bw *w = *state;
    begin(w);
    backup_local_free(w->local);
    w->local = backup_local_new();
    bw_local(w, 0);
    bw_outcome(w, &running);
    bw_local(w, BACKUP_LOOK_MS);
    finish(w, "full");
    assert_int_equal(bw_row(w, "vm1").result, BACKUP_DONE);
}

/* L2 */
static void test_without_quorum(void **state)
{
    struct bw *w = *state;
    bw_start(w, "vm1", "main");
    w->self.may_start = w->self.quorate = false;
    bw_local(w, 0);
    assert_int_equal(w->n_calls, 0);
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_STARTING);
    w->self.may_start = w->self.quorate = true;
    bw_local(w, 0);
    settled(w);
    bw_local(w, 0); /* claims */
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_RUNNING);
    w->self.may_start = false;
    bw_local(w, 0);
    bw_local(w, 0);
    assert_int_equal(bw_row(w, "vm1").result, BACKUP_LOST);
    for (size_t i = 0; i < w->n_calls; i++)
        assert_int_not_equal(w->calls[i].verb, BACKUP_CALL_START);
}

/* L3 */
static void test_cut_off(void **state)
{
    struct bw *w = *state;
    begin(w);
    w->self.fence = true;
    bw_local(w, 0);
    assert_int_equal(bw_last_verb(w), BACKUP_CALL_STOP_ALL);
    assert_false(backup_local_is_clear(w->local));
    bw_outcome(w, &nothing);
    assert_false(backup_local_is_clear(w->local)); /* the START may still begin one */
    assert_true(backup_local_outcome(w->local, w->v.now_ms, 100 + w->n_calls - 1, &running, &w->env));
    bw_local(w, 0);
    assert_int_equal(bw_last_verb(w), BACKUP_CALL_STOP_ALL);
    bw_outcome(w, &nothing);
    assert_true(backup_local_is_clear(w->local));
}

static void outcome_of(struct bw *w, const struct backup_outcome *o)
{
    begin(w);
    bw_outcome(w, &running);
    bw_local(w, BACKUP_LOOK_MS);
    bw_outcome(w, o);
    bw_local(w, 0);
}

/* L4 */
static void test_bad_ends(void **state)
{
    struct bw *w = *state;
    struct backup_outcome o = {.unit = BACKUP_UNIT_ENDED, .phase = BACKUP_GAVE_UP};
    error_set(&o.failure, ERR_CONDITION, "no space is left");
    outcome_of(w, &o);
    assert_int_equal(bw_row(w, "vm1").result, BACKUP_FAILED);
    assert_int_equal(bw_row(w, "vm1").code, ERR_CONDITION);
    assert_string_equal(bw_row(w, "vm1").text, "no space is left");
    bw_local(w, 0);
    bw_outcome(w, &nothing); /* FORGET */
    bw_local(w, 0);
    settled(w); /* after every end */
    o = (struct backup_outcome){.unit = BACKUP_UNIT_RUNNING, .phase = BACKUP_PUBLISHED};
    outcome_of(w, &o);
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_RUNNING); /* its unit has not ended */
    bw_local(w, BACKUP_LOOK_MS);
    o = (struct backup_outcome){.unit = BACKUP_UNIT_ENDED, .phase = BACKUP_PUBLISHED};
    o.point = bw_point("vm2", bw_row(w, "vm1").run, "full"); /* not this one's */
    bw_outcome(w, &o);
    backup_outcome_done(&o);
    bw_local(w, 0);
    assert_int_equal(bw_row(w, "vm1").result, BACKUP_FAILED);
    assert_int_equal(tables_count(w->t, TABLE_POINT), 0);
}

static void test_crash(void **state)
{
    struct bw *w = *state;
    struct backup_outcome o = {.unit = BACKUP_UNIT_ENDED, .phase = BACKUP_EXPORTING};
    outcome_of(w, &o);
    assert_int_equal(bw_row(w, "vm1").result, BACKUP_FAILED);
    assert_string_equal(bw_row(w, "vm1").text, "its worker crashed");
    bw_local(w, 0);
    bw_outcome(w, &nothing);
    bw_local(w, 0);
    unsigned proposed = w->proposed;
    settled(w);
    assert_int_equal(w->proposed, proposed + 1); /* it is told that it was tidied up */
}

static void test_cancel(void **state)
{
    struct bw *w = *state;
    begin(w);
    bw_outcome(w, &running);
    bw_note(w, "vm1", BACKUP_NOTE_CANCEL);
    bw_local(w, BACKUP_LOOK_MS);
    assert_int_equal(bw_last_verb(w), BACKUP_CALL_STOP);
    struct backup_outcome o = {.unit = BACKUP_UNIT_NONE, .phase = BACKUP_GAVE_UP};
    bw_outcome(w, &o);
    bw_local(w, 0);
    assert_int_equal(bw_row(w, "vm1").result, BACKUP_CANCELLED);
    bw_local(w, 0);
    assert_int_equal(bw_last_verb(w), BACKUP_CALL_FORGET);
}

/* One that is done before it hears of it is done. */
static void test_cancel_too_late(void **state)
{
    struct bw *w = *state;
    begin(w);
    bw_outcome(w, &running);
    bw_note(w, "vm1", BACKUP_NOTE_CANCEL);
    bw_local(w, BACKUP_LOOK_MS);
    finish(w, "full");
    assert_int_equal(bw_row(w, "vm1").result, BACKUP_DONE);
}

static void test_a_restore(void **state)
{
    struct bw *w = *state;
    struct uuid point = bw_backup(w, "vm1", "main");
    bw_local(w, 0);
    settled(w);
    assert_int_equal(bw_restore(w, "vm1", point, "n1"), 0);
    bw_local(w, 0);
    bw_local(w, 0);
    assert_int_equal(bw_last_verb(w), BACKUP_CALL_START);
    const struct backup_call *c = &w->calls[w->n_calls - 1];
    assert_int_equal(c->work, BACKUP_WORK_RESTORE);
    assert_true(uuid_eq(&c->point, &point));
    assert_string_equal(c->folder, "/srv/new");
    assert_string_equal(c->as, "vm9");
    assert_string_equal(c->path, "/srv/backup");
    bw_outcome(w, &running);
    bw_local(w, BACKUP_LOOK_MS);
    struct backup_outcome o = {.unit = BACKUP_UNIT_ENDED, .phase = BACKUP_PUBLISHED};
    bw_outcome(w, &o);
    bw_local(w, 0);
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_IDLE);
    assert_int_equal(bw_row(w, "vm1").runs, 1);
    bw_local(w, 0);
    assert_int_equal(bw_last_verb(w), BACKUP_CALL_FORGET);
}

/* Of a verification: what there is was right. */
static void test_points_that_are_missing(void **state)
{
    struct bw *w = *state;
    struct uuid none = {{0}};
    struct backup_outcome o = {.unit = BACKUP_UNIT_ENDED, .phase = BACKUP_PUBLISHED, .n_points = 1};
    struct uuid first = bw_backup(w, "vm1", "main"), second = bw_backup(w, "vm1", "main");
    bw_local(w, 0);
    settled(w);
    for (int all = 0; all < 2; all++) {
        assert_int_equal(bw_verify(w, "vm1", none, "main"), 0);
        bw_local(w, 0);
        bw_local(w, 0);
        assert_int_equal(bw_last_verb(w), BACKUP_CALL_START);
        assert_int_equal(w->calls[w->n_calls - 1].work, BACKUP_WORK_VERIFY);
        struct uuid there[2] = {second, first};
        o.points = there;
        o.n_points = all ? 2 : 1;
        bw_outcome(w, &o);
        bw_local(w, 0);
        assert_int_equal(bw_row(w, "vm1").state, BACKUP_IDLE);
        assert_int_equal(bw_row(w, "vm1").is_damaged, !all);
        assert_int_equal(tables_count(w->t, TABLE_POINT), 2); /* they stay in the table: somebody is to look */
        assert_true(all || strstr(bw_row(w, "vm1").damage, uuid_str(&first).s));
        bw_local(w, 0);
        assert_int_equal(bw_last_verb(w), BACKUP_CALL_FORGET);
        assert_int_equal(w->calls[w->n_calls - 1].work, BACKUP_WORK_VERIFY);
        bw_outcome(w, &nothing);
    }
}

/* What is no backup waits until the VM here is settled, and is none that has to be settled after. */
static void test_settles_around_a_restore(void **state)
{
    struct bw *w = *state;
    struct backup_outcome failed = {.unit = BACKUP_UNIT_ENDED, .phase = BACKUP_GAVE_UP};
    struct backup_outcome trouble = {0};
    struct uuid point = bw_backup(w, "vm1", "main");
    error_set(&trouble.error, ERR_FAILED, "libvirt does not answer");
    error_set(&failed.failure, ERR_CONDITION, "it is there already");
    bw_local(w, 0);
    assert_int_equal(bw_last_verb(w), BACKUP_CALL_SETTLE);
    bw_outcome(w, &trouble);
    assert_int_equal(bw_restore(w, "vm1", point, "n1"), 0);
    bw_local(w, 1000);
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_STARTING); /* not settled yet */
    bw_local(w, BACKUP_BEGIN_MS);
    settled(w);
    bw_local(w, 0);
    bw_local(w, 0);
    assert_int_equal(bw_last_verb(w), BACKUP_CALL_START);
    bw_outcome(w, &failed);
    bw_local(w, 0);
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_IDLE);
    bw_local(w, 0);
    assert_int_equal(bw_last_verb(w), BACKUP_CALL_FORGET);
    bw_outcome(w, &nothing);
    size_t calls = w->n_calls;
    bw_local(w, 0);
    assert_int_equal(w->n_calls, calls);
    STR_COPY(w->node.node, "n2"); /* elsewhere it is in no settling's way */
    assert_int_equal(bw_restore(w, "vm1", point, "n2"), 0);
    assert_int_equal(bw_note(w, "vm1", BACKUP_NOTE_CLAIM), 0);
    w->vm.epoch++;
    bw_local(w, 0);
    assert_int_equal(bw_last_verb(w), BACKUP_CALL_SETTLE);
}

/* L5 */
static void test_settles(void **state)
{
    struct bw *w = *state;
    bw_local(w, 0);
    assert_int_equal(w->n_calls, 0); /* of a VM that was never backed up there is nothing to settle */
    struct uuid point = bw_backup(w, "vm1", "main");
    bw_local(w, 0);
    settled(w); /* the agent's start */
    assert_true(uuid_eq(&w->calls[0].parent, &point));
    assert_false(uuid_is_nil(&w->calls[0].run)); /* the worker wants one */
    assert_non_null(strstr(w->calls[0].keep[0], uuid_str(&point).s));
    w->vm.epoch++;
    w->vm.busy = true;
    bw_local(w, 1000);
    assert_int_equal(w->n_calls, 1); /* not while it is moved */
    w->vm.busy = false;
    STR_COPY(w->vm.node, "n2");
    bw_local(w, 1000);
    assert_int_equal(w->n_calls, 1); /* it went elsewhere */
    STR_COPY(w->vm.node, "n1");
    w->vm.epoch++;
    w->self.is_current = false;
    bw_local(w, 1000);
    assert_int_equal(w->n_calls, 1); /* so the tables say, which may be old ones */
    w->self.is_current = true;
    bw_local(w, 1000);
    assert_int_equal(w->n_calls, 2);
    struct backup_outcome o = {0};
    error_set(&o.error, ERR_FAILED, "libvirt does not answer");
    bw_outcome(w, &o);
    bw_local(w, BACKUP_BEGIN_MS - 1);
    assert_int_equal(w->n_calls, 2);
    bw_start(w, "vm1", "main"); /* a run does not wait for that */
    bw_local(w, 0);
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_RUNNING);
}

/* A VM that was removed while its node was away leaves a unit. */
static void test_removed(void **state)
{
    struct bw *w = *state;
    begin(w);
    bw_outcome(w, &running);
    backup_vm_removed(w->t, "vm1");
    bw_local(w, 0);
    assert_int_equal(bw_last_verb(w), BACKUP_CALL_STOP);
    bw_outcome(w, &nothing);
    bw_local(w, 0);
    assert_int_equal(bw_last_verb(w), BACKUP_CALL_FORGET);
    bw_outcome(w, &nothing);
    size_t calls = w->n_calls;
    bw_local(w, 0);
    bw_local(w, 0);
    assert_int_equal(w->n_calls, calls);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BW_TEST(test_a_run),
        BW_TEST(test_points_that_are_gone),
        BW_TEST(test_agent_restarts),
        BW_TEST(test_agent_restarts_and_finds_it),
        BW_TEST(test_without_quorum),
        BW_TEST(test_cut_off),
        BW_TEST(test_bad_ends),
        BW_TEST(test_crash),
        BW_TEST(test_cancel),
        BW_TEST(test_cancel_too_late),
        BW_TEST(test_settles),
        BW_TEST(test_removed),
        BW_TEST(test_a_restore),
        BW_TEST(test_points_that_are_missing),
        BW_TEST(test_settles_around_a_restore),
    };
    return cmocka_run_group_tests_name("backup local", tests, NULL, NULL);
}
