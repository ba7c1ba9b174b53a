/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The leader of backups. */
#include "tests/unit/backup_world.h"

static void run(struct bw *w, const char *vm)
{
    assert_int_equal(bw_start(w, vm, "main"), 0);
    assert_int_equal(bw_note(w, vm, BACKUP_NOTE_CLAIM), 0);
}

static void test_not_claimed(void **state)
{
    struct bw *w = *state;
    bw_start(w, "vm1", "main");
    bw_lead(w, 0);
    bw_lead(w, BACKUP_CLAIM_MS - 1);
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_STARTING);
    bw_lead(w, 1);
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_IDLE);
    bw_start(w, "vm1", "main");
    w->vm.present = false; /* cannot: at once */
    bw_lead(w, 0);
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_IDLE);
    w->vm.present = true;
    bw_start(w, "vm1", "main");
    w->vm.busy = true;
    bw_lead(w, 0);
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_IDLE);
}

static void test_lost(void **state)
{
    struct bw *w = *state;
    run(w, "vm1");
    w->vm.present = false;
    bw_lead(w, 3600000);
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_RUNNING); /* it may still run there */
    w->over = true;
    bw_lead(w, 500);
    assert_int_equal(bw_row(w, "vm1").result, BACKUP_LOST);
}

static void test_in_the_way(void **state)
{
    struct bw *w = *state;
    run(w, "vm1");
    bw_lead(w, 3600000);
    assert_false(bw_row(w, "vm1").cancel);
    w->vm.draining = true;
    w->vm.accepts = false;
    bw_lead(w, 0);
    assert_int_equal(w->proposed, 1); /* it tells that somebody waits, once */
    bw_lead(w, w->v.settings.wait_ms - 1);
    assert_int_equal(w->proposed, 1);
    assert_false(bw_row(w, "vm1").cancel);
    bw_lead(w, 1);
    assert_true(bw_row(w, "vm1").cancel);
    bw_lead(w, 1000);
    assert_int_equal(w->proposed, 2);
}

static void test_waits_by_policy(void **state)
{
    struct bw *w = *state;
    w->v.settings.waits = true;
    run(w, "vm1");
    w->vm.busy = true;
    bw_lead(w, 0);
    bw_lead(w, 7 * 86400000);
    assert_false(bw_row(w, "vm1").cancel);
    w->vm.urgent = true; /* that does not wait */
    bw_lead(w, 0);
    assert_true(bw_row(w, "vm1").cancel);
}

/* Who waited, and does not any more, begins to wait anew. */
static void test_waits_anew(void **state)
{
    struct bw *w = *state;
    run(w, "vm1");
    w->vm.busy = true;
    bw_lead(w, 0);
    bw_lead(w, 500000);
    w->vm.busy = false;
    bw_lead(w, 0);
    w->vm.busy = true;
    bw_lead(w, 0);
    bw_lead(w, 500000);
    assert_false(bw_row(w, "vm1").cancel);
}

static void test_schedule(void **state)
{
    struct bw *w = *state;
    bw_schedule(w, "vm1", "hourly");
    bw_lead(w, 3599000);
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_IDLE);
    w->vm.accepts = false; /* its node drains */
    bw_lead(w, 2000);
    bw_lead(w, 2 * 3600000);
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_IDLE);
    assert_true(backup_is_overdue(&(struct backup){.calendar = "hourly", .after_ms = T0}, w->wall_ms));
    w->vm.accepts = true;
    bw_lead(w, 500);
    struct backup k = bw_row(w, "vm1");
    assert_int_equal(k.state, BACKUP_STARTING);
    assert_true(k.by_schedule);
    bw_note(w, "vm1", BACKUP_NOTE_CLAIM);
    bw_end(w, "vm1", BACKUP_DONE);
    bw_lead(w, 500);
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_IDLE); /* what was missed is done once */
    bw_lead(w, 3600000);
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_STARTING);
}

static void test_so_many_on_a_node(void **state)
{
    struct bw *w = *state;
    bw_schedule(w, "vm1", "hourly");
    bw_schedule(w, "vm2", "hourly");
    bw_schedule(w, "vm3", "hourly");
    bw_lead(w, 3601000);
    assert_int_equal(bw_row(w, "vm2").state, BACKUP_IDLE); /* one after the other */
    bw_lead(w, 500);
    bw_lead(w, 500);
    assert_int_equal(bw_row(w, "vm2").state, BACKUP_STARTING);
    assert_int_equal(bw_row(w, "vm3").state, BACKUP_IDLE);
    bw_note(w, "vm1", BACKUP_NOTE_CLAIM);
    bw_end(w, "vm1", BACKUP_DONE);
    bw_lead(w, 500);
    assert_int_equal(bw_row(w, "vm3").state, BACKUP_STARTING);
}

static void test_rests_after_a_withdrawal(void **state)
{
    struct bw *w = *state;
    bw_schedule(w, "vm1", "hourly");
    bw_lead(w, 3601000);
    bw_lead(w, BACKUP_CLAIM_MS);
    bw_lead(w, BACKUP_CLAIM_MS);
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_IDLE);
    bw_lead(w, 1000);
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_IDLE);
    bw_lead(w, 60000);
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_STARTING); /* it is still due */
}

static void test_a_clock_that_was_ahead(void **state)
{
    struct bw *w = *state;
    w->wall_ms = T0 + 30 * INT64_C(86400000);
    bw_schedule(w, "vm1", "hourly");
    w->wall_ms = T0;
    bw_lead(w, 1000);
    assert_int_equal(bw_row(w, "vm1").after_ms, T0 + 1000);
}

/* A restore holds its VM's schedule up, and that is told; it takes no other one's place. */
static void test_a_restore_and_schedules(void **state)
{
    struct bw *w = *state;
    struct uuid point = bw_backup(w, "vm1", "main");
    bw_backup(w, "vm2", "main");
    w->v.settings.runs_per_node = 1;
    bw_schedule(w, "vm1", "hourly");
    bw_schedule(w, "vm2", "hourly");
    bw_restore(w, "vm1", point, "n1");
    bw_note(w, "vm1", BACKUP_NOTE_CLAIM);
    bw_lead(w, 3600000);
    bw_lead(w, 500);
    assert_int_equal(bw_row(w, "vm2").state, BACKUP_STARTING);
    struct backup k = bw_row(w, "vm1");
    assert_int_equal(k.q.work, BACKUP_WORK_RESTORE);
    assert_false(backup_is_overdue(&k, w->wall_ms));
    assert_true(backup_is_overdue(&k, w->wall_ms + BACKUP_LATE_MS));
}

/* A restore is in no VM's way, but in the drain's of its node. */
static void test_a_restore(void **state)
{
    struct bw *w = *state;
    struct uuid point = bw_backup(w, "vm1", "main");
    STR_COPY(w->node.node, "n2");
    STR_COPY(w->node.boot_id, "boot-b");
    bw_restore(w, "vm1", point, "n2");
    w->vm.busy = true;
    bw_lead(w, 0);
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_STARTING);
    assert_int_equal(bw_note(w, "vm1", BACKUP_NOTE_CLAIM), 0);
    bw_lead(w, 0);
    bw_lead(w, 700000);
    assert_false(bw_row(w, "vm1").cancel);
    w->node.draining = true;
    w->node.accepts = false;
    bw_lead(w, 0);
    bw_lead(w, 599000);
    assert_false(bw_row(w, "vm1").cancel);
    bw_lead(w, 2000);
    assert_true(bw_row(w, "vm1").cancel);
    w->over = true;
    bw_lead(w, 0);
    assert_int_equal(bw_row(w, "vm1").state, BACKUP_IDLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BW_TEST(test_not_claimed),
        BW_TEST(test_lost),
        BW_TEST(test_in_the_way),
        BW_TEST(test_waits_by_policy),
        BW_TEST(test_waits_anew),
        BW_TEST(test_schedule),
        BW_TEST(test_so_many_on_a_node),
        BW_TEST(test_rests_after_a_withdrawal),
        BW_TEST(test_a_clock_that_was_ahead),
        BW_TEST(test_a_restore),
        BW_TEST(test_a_restore_and_schedules),
    };
    return cmocka_run_group_tests_name("backup step", tests, NULL, NULL);
}
