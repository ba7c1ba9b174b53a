/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What one node promises and how it keeps it: the order of row, note, watchdog and VMs. tests/sim has the rest. */
#include "tests/unit/one_core.h"

static int setup(void **state)
{
    struct one *o = one_new();
    o->has_watchdog = true;
    one_bootstrap(o);
    *state = o;
    return 0;
}

/* The watchdog's call, answered as its adapter does. */
static void answer(struct one *o, const struct core_action *a, int code)
{
    struct error e = {0};
    if (code)
        error_set(&e, code, "no such device");
    one_step(o, (struct core_event){.type = EV_WATCHDOG, .id = a->id, .error = e});
}

/* All calls that wait, at least one; the last one. */
static struct watchdog_call serve(struct one *o, int code)
{
    struct core_action a;
    struct watchdog_call last = {0};
    one_must_take(o, ACT_WATCHDOG, &a);
    do {
        last = a.watchdog;
        answer(o, &a, code);
        core_action_done(&a);
    } while (one_take(o, ACT_WATCHDOG, &a));
    return last;
}

static bool starts_vm(struct one *o)
{
    for (size_t i = 0; i < o->n_kept; i++)
        if (o->kept[i].type == ACT_VM && o->kept[i].vm.verb == VM_CALL_START)
            return true;
    return false;
}

static struct guard row_of(const struct one *o)
{
    struct guard g = {0};
    guard_get(core_tables(o->core), "n1", &g);
    return g;
}

/* Nothing is promised before the watchdog has said that it runs. */
static void test_promise_after_the_watchdog(void **state)
{
    struct one *o = *state;
    one_run(o, 3000);
    assert_int_equal(row_of(o).kind, GUARD_OFF); /* no row */
    assert_false(o->core->guard.note.on);
    assert_int_equal(serve(o, 0).verb, WATCHDOG_PET);
    one_run(o, 1000);
    assert_true(o->core->guard.note.on);
    assert_int_equal(row_of(o).kind, GUARD_WATCHDOG);
}

static void test_no_watchdog_after_all(void **state)
{
    struct one *o = *state;
    struct core_action a;
    serve(o, ERR_IO);
    one_run(o, 3000);
    assert_false(one_take(o, ACT_WATCHDOG, &a));
    assert_false(o->core->guard.note.on);
    assert_false(guard_keeps(row_of(o).kind));
    one_run(o, 20000); /* it is tried again, once in a while */
    serve(o, 0);
    one_run(o, 1000);
    assert_int_equal(row_of(o).kind, GUARD_WATCHDOG);
}

/* An agent that was killed has promised, and its watchdog may have ended since: first it is petted, then VMs start. */
static void test_no_start_before_the_watchdog_runs(void **state)
{
    struct one *o = *state;
    serve(o, 0);
    one_run(o, 1000);
    serve(o, 0);
    one_add_vm(o, "a");
    o->core->guard.armed = false;
    one_send(o, "vm.start", "{'name': 'a'}");
    one_run(o, 100);
    assert_false(starts_vm(o));
    one_run(o, 1000);
    assert_false(starts_vm(o));
    serve(o, 0);
    one_run(o, 200);
    assert_true(starts_vm(o));
}

static void assert_keeps_its_row(const struct one *o)
{
    struct guard row = row_of(o);
    const struct guard_note *n = &o->core->guard.note;
    if (!n->on || !guard_keeps(row.kind))
        return;
    assert_true(n->lease_ms <= row.lease_ms);
    assert_true(n->watchdog_ms <= row.watchdog_ms);
}

/* As one_run(), and after each single write it keeps what others read in its row. */
static void run_and_look(struct one *o, int64_t ms)
{
    for (int64_t end = o->now + ms; o->now < end; o->now += ONE_TICK_MS) {
        assert_keeps_its_row(o);
        if (o->n_unwritten) {
            uint64_t seq = o->unwritten[0];
            memmove(o->unwritten, o->unwritten + 1, --o->n_unwritten * sizeof o->unwritten[0]);
            one_step(o, (struct core_event){.type = EV_PERSISTED, .seq = seq});
        }
        assert_keeps_its_row(o);
        one_step(o, (struct core_event){.type = EV_TICK});
    }
    assert_keeps_its_row(o);
}

static void test_longer_times_are_committed_first(void **state)
{
    struct one *o = *state;
    static const char *const settings[] = {"{'name': 'fence.budget_ms', 'value': '9000'}",
                                           "{'name': 'fence.watchdog_ms', 'value': '30000'}",
                                           "{'name': 'fence.budget_ms', 'value': '700'}",
                                           "{'name': 'fence.watchdog_ms', 'value': '900'}"};
    serve(o, 0);
    one_run(o, 1000);
    int64_t lease_ms = row_of(o).lease_ms;
    for (size_t i = 0; i < 4; i++) {
        one_send(o, "cluster.config.set", settings[i]);
        run_and_look(o, 2000);
        assert_int_equal(o->core->guard.note.lease_ms, row_of(o).lease_ms);
        assert_int_equal(o->core->guard.note.watchdog_ms, row_of(o).watchdog_ms);
        if (i == 1)
            assert_int_equal(row_of(o).watchdog_ms, 30000);
        if (i == 0)
            assert_int_equal(row_of(o).lease_ms - lease_ms, 9000 - GUARD_BUDGET_MS);
        serve(o, 0);
    }
    assert_int_equal(row_of(o).watchdog_ms, 900);
}

/* The end of a promise: first the row, then the watchdog, then the agent. */
static void test_stop_in_order(void **state)
{
    struct one *o = *state;
    struct core_action a;
    serve(o, 0);
    one_run(o, 1000);
    serve(o, 0);
    one_step(o, (struct core_event){.type = EV_STOP});
    o->now += ONE_TICK_MS;
    one_step(o, (struct core_event){.type = EV_TICK});
    assert_int_equal(row_of(o).kind, GUARD_WATCHDOG);
    assert_true(o->core->guard.note.on);
    assert_false(one_take(o, ACT_STOP, &a));
    one_run(o, 1000);
    assert_int_equal(row_of(o).kind, GUARD_OFF);
    assert_false(o->core->guard.note.on);
    assert_int_equal(serve(o, 0).verb, WATCHDOG_DISARM);
    one_run(o, 200);
    one_must_take(o, ACT_STOP, &a);
    core_action_done(&a);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, one_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_promise_after_the_watchdog),
        TEST(test_no_watchdog_after_all),
        TEST(test_no_start_before_the_watchdog_runs),
        TEST(test_longer_times_are_committed_first),
        TEST(test_stop_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
