/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The leader's step, played over tables against an environment with faults (upgrade_world.h). */
#include "tests/unit/upgrade_world.h"

static void finish(struct world *w)
{
    w_until_run(w, RUN_AWAITING_RAISE);
    w_assert_upgraded(w);
}

static void begin(struct world *w)
{
    w_init(w);
    assert_int_equal(w_start(w), 0);
}

static void test_whole_run(void **state)
{
    struct world *w = *state;
    finish(w);
    static const char *const order[] = {"n3", "n2", "n1"}; /* fewest VMs first, the leader last */
    struct run r = w_run(w);
    for (uint32_t i = 0; i < W_NODES; i++) {
        struct step s;
        assert_int_equal(step_get(w->t, &r.id, i, &s), 0);
        assert_string_equal(s.node, order[i]);
        assert_int_equal(s.state, STEP_DONE);
        assert_int_equal(s.attempt, 1);
        assert_true(s.started_ms > 0 && s.ended_ms > s.started_ms);
        assert_int_equal(w->evicts[i], 1);
    }
    assert_int_equal(w_images(w), 3);
    assert_int_equal(w->n_starts, 3);
    assert_int_equal(w->n_transfers, 1);
    struct job j;
    assert_int_equal(journal_job_get(w->t, &r.id, &j), 0);
    assert_int_equal(j.state, JOB_DONE);
    upgrade_level_raised(w->t, 5000000);
    assert_int_equal(w_run(w).state, RUN_DONE);
}

/* How many ticks a run without faults takes. */
static unsigned ticks_of_whole_run(void)
{
    struct world w;
    unsigned n = 0;
    begin(&w);
    for (; w_run(&w).state != RUN_AWAITING_RAISE; n++)
        w_tick(&w);
    w_done(&w);
    return n;
}

static size_t other_leader(const struct world *w)
{
    for (size_t i = W_NODES; i-- > 0;)
        if (i != w->leader && w->nodes[i].present && w->nodes[i].voter)
            return i;
    return w->leader; /* the same node, its agent restarted */
}

static void test_leader_changes_at_every_tick(void **state)
{
    (void)state;
    unsigned n = ticks_of_whole_run();
    for (unsigned k = 0; k < n; k++) {
        struct world w;
        begin(&w);
        for (unsigned i = 0; i < k; i++)
            w_tick(&w);
        w_set_leader(&w, other_leader(&w));
        finish(&w);
        assert_int_equal(w_images(&w), 3);
        w_done(&w);
    }
}

static void test_leader_changes_all_the_time(void **state)
{
    (void)state;
    for (unsigned every = 2; every < 9; every++) {
        struct world w;
        begin(&w);
        for (unsigned i = 1; w_run(&w).state != RUN_AWAITING_RAISE; i++) {
            assert_true(i < W_TICKS_MAX);
            w_tick(&w);
            if (i % every == 0)
                w_set_leader(&w, other_leader(&w));
        }
        w_assert_upgraded(&w);
        assert_int_equal(w_images(&w), 3);
        w_done(&w);
    }
}

/* SIGKILL: the leading agent is away for a while; where a node is out, quorum is lost until it is back. */
static void test_leader_killed_at_every_tick(void **state)
{
    (void)state;
    unsigned n = ticks_of_whole_run();
    for (unsigned k = 0; k < n; k++) {
        struct world w;
        begin(&w);
        for (unsigned i = 0; i < k; i++)
            w_tick(&w);
        w.nodes[w.leader].present = false;
        w.away[w.leader] = 20;
        w_set_leader(&w, w.leader);
        w_elect(&w);
        finish(&w);
        assert_int_equal(w_images(&w), 3);
        w_done(&w);
    }
}

static void test_quorum_lost_for_hours(void **state)
{
    (void)state;
    for (enum step_state at = STEP_DRAINING; at <= STEP_FAILBACK; at++) {
        struct world w;
        begin(&w);
        assert_true(w_until_step(&w, 0, at));
        w.fault.never_done = w.fault.never_joins = w.fault.never_caught_up = w.fault.never_ready = true;
        w_tick(&w); /* a deadline is being watched now, where the state has one */
        struct hash before = tables_hash(w.t);
        w.quorate = false;
        unsigned calls = w.n_calls, proposed = w.n_proposed;
        for (int i = 0; i < 5; i++) {
            struct upgrade_view v = w_view(&w);
            struct upgrade_env env = w_env(&w);
            w.now_ms += 3600 * 1000;
            upgrade_leader_step(w.l, w.t, &v, w.now_ms, w.now_ms, &env);
        }
        struct hash after = tables_hash(w.t);
        assert_true(hash_eq(&before, &after));
        assert_int_equal(calls, w.n_calls);
        assert_int_equal(proposed, w.n_proposed);
        w.quorate = true;
        w_tick(&w);
        w.fault = (struct w_fault){.lose_every = 0};
        finish(&w);
        w_done(&w);
    }
}

static void test_proposals_are_lost(void **state)
{
    (void)state;
    for (unsigned every = 2; every < 6; every++) {
        struct world w;
        begin(&w);
        w.fault.lose_every = every;
        finish(&w);
        assert_int_equal(w_images(&w), 3);
        w_done(&w);
    }
}

static void test_pause_and_resume_at_every_step(void **state)
{
    (void)state;
    for (uint32_t position = 0; position < W_NODES; position++)
        for (enum step_state at = STEP_PENDING; at <= STEP_FAILBACK; at++) {
            struct world w;
            begin(&w);
            assert_true(position == 0 || w_until_step(&w, position - 1, STEP_DONE));
            assert_true(w_until_step(&w, position, at));
            assert_int_equal(w_control(&w, RUN_VERB_PAUSE), 0);
            assert_int_equal(w_run(&w).state, RUN_PAUSED);
            w_tick(&w);
            w_tick(&w);
            struct step s = w_step(&w);
            unsigned calls = w.n_calls;
            uint32_t running = s.node[0] ? w.nodes[w_index(&w, s.node)].vms_running : 0;
            for (int i = 0; i < 30; i++)
                w_tick(&w);
            assert_int_equal(w_step(&w).state, s.state);
            assert_int_equal(w_step(&w).seq, s.seq);
            assert_int_equal(w.n_calls, calls);
            if (at == STEP_DRAINING) {
                assert_true(upgrade_holds_drain(w.t, s.node));
                assert_int_equal(w.nodes[w_index(&w, s.node)].vms_running, running);
            }
            assert_int_equal(w_control(&w, RUN_VERB_RESUME), 0);
            finish(&w);
            assert_int_equal(w_images(&w), 3);
            w_done(&w);
        }
}

static void test_abort_at_every_step(void **state)
{
    (void)state;
    for (uint32_t position = 0; position < W_NODES; position++)
        for (enum step_state at = STEP_PENDING; at <= STEP_FAILBACK; at++) {
            struct world w;
            begin(&w);
            assert_true(position == 0 || w_until_step(&w, position - 1, STEP_DONE));
            assert_true(w_until_step(&w, position, at));
            assert_int_equal(w_control(&w, RUN_VERB_ABORT), 0);
            unsigned images = w_images(&w);
            w_until_run(&w, RUN_CANCELLED);
            bool must_come_back = at >= STEP_EVICTING;
            assert_true(images <= position + must_come_back);
            assert_int_equal(w_images(&w), position + must_come_back); /* and no further node was taken out */
            for (size_t i = 0; i < W_NODES; i++) {
                assert_int_equal(w.nodes[i].state, UNODE_ACTIVE);
                assert_true(w.nodes[i].vms_home);
                assert_true(w.nodes[i].present && w.nodes[i].voter);
            }
            struct run r = w_run(&w);
            struct job j;
            assert_int_equal(journal_job_get(w.t, &r.id, &j), 0);
            assert_int_equal(j.state, JOB_CANCELLED);
            w_done(&w);
        }
}

/* A fault at each step stops the run with the step failed where it was; a retry without the fault finishes it. */
struct fault_case {
    struct w_fault fault;
    enum step_state failed_in;
    uint32_t attempt; /* after the retry */
    const char *text;
};
static const struct fault_case fault_cases[] = {
    {{.drain_blocked = true}, STEP_DRAINING, 1, "vm1 has a host device"},
    {{.fail_ops = 2}, STEP_REBUILDING, 3, "disk full"},
    {{.start_refusals = UPGRADE_REFUSALS_MAX}, STEP_REBUILDING, 1, "no answer from the BMC"},
    {{.hook_errors = 1000000}, STEP_REBUILDING, 1, "NODE_NOT_REJOINED"},
    {{.never_done = true}, STEP_REBUILDING, 1, "NODE_NOT_REJOINED"},
    {{.never_joins = true}, STEP_AWAITING_REJOIN, 1, "NODE_NOT_REJOINED"},
    {{.never_caught_up = true}, STEP_JOINING, 1, "did not catch up"},
    {{.wrong_release = true}, STEP_VERIFYING, 1, "came back with bookworm"},
    {{.never_ready = true}, STEP_VERIFYING, 1, "was not ready"},
};

static void until_paused_error(struct world *w)
{
    for (int i = 0; i < 10000 && w_run(w).state != RUN_PAUSED_ERROR; i++)
        w_tick(w);
    assert_int_equal(w_run(w).state, RUN_PAUSED_ERROR);
}

static void test_failure_at_every_step_and_retry(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(fault_cases) / sizeof(fault_cases[0]); i++) {
        const struct fault_case *f = &fault_cases[i];
        struct world w;
        begin(&w);
        w.fault = f->fault;
        until_paused_error(&w);
        struct run r = w_run(&w);
        struct step s = w_step(&w);
        assert_int_equal(s.state, STEP_FAILED);
        assert_int_equal(s.failed_in, f->failed_in);
        assert_non_null(strstr(s.detail, f->text));
        assert_non_null(strstr(r.error, f->text));
        assert_true(r.remedy[0] != '\0');
        unsigned calls = w.n_calls;
        for (int k = 0; k < 20; k++)
            w_tick(&w);
        assert_int_equal(w_run(&w).state, RUN_PAUSED_ERROR);
        assert_int_equal(w.n_calls, calls);
        w.fault = (struct w_fault){.lose_every = 0};
        if (f->fault.wrong_release)
            STR_COPY(w.nodes[w_index(&w, s.node)].release, "trixie"), w.nodes[w_index(&w, s.node)].native_level = 2;
        assert_int_equal(w_control(&w, RUN_VERB_RETRY), 0);
        assert_int_equal(w_step(&w).state, f->failed_in);
        assert_int_equal(w_step(&w).attempt, f->attempt);
        finish(&w);
        assert_int_equal(w_images(&w), 3 + f->attempt - 1);
        w_done(&w);
    }
}

/* An abort after a failure: what is out must come back; if it does not, the run ends all the same and says so. */
static void test_abort_after_failure(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(fault_cases) / sizeof(fault_cases[0]); i++) {
        struct world w;
        begin(&w);
        w.fault = fault_cases[i].fault;
        until_paused_error(&w);
        w.fault = (struct w_fault){.lose_every = 0};
        assert_int_equal(w_control(&w, RUN_VERB_ABORT), 0);
        w_until_run(&w, RUN_CANCELLED);
        for (size_t k = 0; k < W_NODES; k++)
            assert_int_equal(w.nodes[k].state, UNODE_ACTIVE);
        w_done(&w);
    }
    struct world w;
    begin(&w);
    w.fault.never_joins = true;
    until_paused_error(&w);
    assert_int_equal(w_control(&w, RUN_VERB_ABORT), 0);
    for (int k = 0; k < 10000 && w_run(&w).state != RUN_CANCELLED; k++)
        w_tick(&w);
    assert_int_equal(w_run(&w).state, RUN_CANCELLED);
    assert_non_null(strstr(w_run(&w).error, "NODE_NOT_REJOINED"));
    w_done(&w);
}

static void test_one_failed_rebuild_gets_another_attempt(void **state)
{
    struct world *w = *state;
    w->fault.fail_ops = 1;
    finish(w);
    assert_int_equal(w_images(w), 4);
    struct run r = w_run(w);
    struct step s;
    assert_int_equal(step_get(w->t, &r.id, 0, &s), 0);
    assert_int_equal(s.attempt, 2);
}

static void test_hook_errors_keep_the_operation(void **state)
{
    (void)state;
    for (unsigned n = 1; n < 12; n++) {
        struct world w;
        begin(&w);
        assert_true(w_until_step(&w, 0, STEP_REBUILDING));
        w.fault.hook_errors = n;
        w.fault.start_refusals = n % UPGRADE_REFUSALS_MAX;
        finish(&w);
        assert_int_equal(w_images(&w), 3);
        w_done(&w);
    }
}

static void test_hook_errors_back_off(void **state)
{
    struct world *w = *state;
    assert_true(w_until_step(w, 0, STEP_REBUILDING));
    w->fault.hook_errors = 1000000;
    unsigned calls = w->n_calls;
    for (int i = 0; i < 10 * 60 * 1000 / W_TICK_MS; i++)
        w_tick(w);
    assert_true(w->n_calls - calls > 5);
    assert_true(w->n_calls - calls < 30); /* 1, 2, 4 … 60 s: not one a second */
}

/* The node was rebuilt and joined while nobody looked: that is as good as the executor's word. */
static void test_rejoin_while_polling(void **state)
{
    struct world *w = *state;
    w->fault.never_done = true;
    assert_true(w_until_step(w, 0, STEP_REBUILDING));
    for (int i = 0; i < 10; i++)
        w_tick(w);
    w->joined[w_index(w, "n3")] = 1;
    assert_true(w_until_step(w, 0, STEP_DONE));
    assert_int_equal(w_images(w), 1);
}

static void test_waits_for_the_others(void **state)
{
    struct world *w = *state;
    assert_true(w_until_step(w, 0, STEP_DONE));
    w->nodes[w_index(w, "n3")].present = false;
    w->away[w_index(w, "n3")] = 100;
    for (int i = 0; i < 50; i++)
        w_tick(w);
    assert_int_equal(w_step(w).state, STEP_PENDING); /* n2 would cost quorum */
    assert_int_equal(w->drains[w_index(w, "n2")], 0);
    assert_non_null(upgrade_leader_waiting(w->l));
    assert_non_null(strstr(upgrade_leader_waiting(w->l), "n3 is not present"));
    finish(w);
    assert_null(upgrade_leader_waiting(w->l));
}

static void test_waits_not_for_ever(void **state)
{
    struct world *w = *state;
    assert_true(w_until_step(w, 0, STEP_DONE));
    w->nodes[w_index(w, "n3")].present = false;
    until_paused_error(w);
    assert_int_equal(w_step(w).state, STEP_PENDING);
    assert_non_null(strstr(w_run(w).error, "n3 is not present"));
    w->nodes[w_index(w, "n3")].present = true;
    assert_int_equal(w_control(w, RUN_VERB_RETRY), 0);
    finish(w);
}

static void test_looks_again_before_the_eviction(void **state)
{
    struct world *w = *state;
    assert_true(w_until_step(w, 0, STEP_DRAINED));
    w->nodes[1].present = false;
    w->away[1] = 100;
    for (int i = 0; i < 50; i++)
        w_tick(w);
    assert_int_equal(w_step(w).state, STEP_DRAINED);
    assert_int_equal(w->evicts[2], 0);
    finish(w);
}

static void test_paused_is_not_yet_empty(void **state)
{
    struct world *w = *state;
    assert_true(w_until_step(w, 0, STEP_DRAINING));
    w->nodes[2].state = UNODE_PAUSED; /* by an admin, with a virtual machine on it */
    uint64_t seq = w_step(w).seq;
    for (int i = 0; i < 50; i++)
        w_tick(w);
    assert_int_equal(w_step(w).seq, seq);
    w->nodes[2].vms_running = 0;
    finish(w);
}

static void test_nobody_to_hand_over_to(void **state)
{
    struct world *w = *state;
    w->fault.no_transfer = true;
    until_paused_error(w);
    assert_string_equal(w_step(w).node, "n1");
    assert_int_equal(w_step(w).failed_in, STEP_DRAINED);
    assert_int_equal(w->evicts[0], 0);
    w->fault.no_transfer = false;
    assert_int_equal(w_control(w, RUN_VERB_RETRY), 0);
    finish(w);
}

static void test_requests_are_not_a_flood(void **state)
{
    struct world *w = *state;
    w->fault.no_evict = true;
    assert_true(w_until_step(w, 0, STEP_EVICTING));
    for (int i = 0; i < 1000; i++) { /* as fast as entries are applied */
        struct upgrade_view v = w_view(w);
        struct upgrade_env env = w_env(w);
        w->now_ms++;
        upgrade_leader_step(w->l, w->t, &v, w->now_ms, w->now_ms, &env);
    }
    assert_in_range(w->evicts[2], 1, 3);
}

static void test_upgraded_by_hand_is_skipped(void **state)
{
    struct world *w = *state;
    assert_true(w_until_step(w, 0, STEP_DRAINING));
    STR_COPY(w->nodes[1].release, "trixie");
    finish(w);
    struct run r = w_run(w);
    struct step s;
    assert_int_equal(step_get(w->t, &r.id, 1, &s), 0);
    assert_int_equal(s.state, STEP_SKIPPED);
    assert_int_equal(w_images(w), 2);
}

static void test_precheck_stops_before_anything_is_touched(void **state)
{
    struct world *w = *state;
    w->nodes[1].state = UNODE_PAUSED;
    until_paused_error(w);
    assert_non_null(strstr(w_run(w).remedy, "clusterctl node resume n2"));
    assert_int_equal(w->drains[0] + w->drains[1] + w->drains[2], 0);
    w->nodes[1].state = UNODE_ACTIVE;
    assert_int_equal(w_control(w, RUN_VERB_RETRY), 0);
    assert_int_equal(w_run(w).state, RUN_PRECHECKING);
    finish(w);
}

static void test_level_raised_before_the_end(void **state)
{
    struct world *w = *state;
    assert_true(w_until_step(w, 2, STEP_FAILBACK));
    struct level_state s;
    level_init(w->t, 2);
    assert_int_equal(level_get(w->t, &s), 0);
    w_until_run(w, RUN_DONE);
}

static int setup(void **state)
{
    *state = xcalloc(1, sizeof(struct world));
    begin(*state);
    return 0;
}

static int teardown(void **state)
{
    w_done(*state);
    free(*state);
    return 0;
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_whole_run),
        cmocka_unit_test(test_leader_changes_at_every_tick),
        cmocka_unit_test(test_leader_changes_all_the_time),
        cmocka_unit_test(test_leader_killed_at_every_tick),
        cmocka_unit_test(test_quorum_lost_for_hours),
        cmocka_unit_test(test_proposals_are_lost),
        cmocka_unit_test(test_pause_and_resume_at_every_step),
        cmocka_unit_test(test_abort_at_every_step),
        cmocka_unit_test(test_failure_at_every_step_and_retry),
        cmocka_unit_test(test_abort_after_failure),
        TEST(test_one_failed_rebuild_gets_another_attempt),
        cmocka_unit_test(test_hook_errors_keep_the_operation),
        TEST(test_hook_errors_back_off),
        TEST(test_rejoin_while_polling),
        TEST(test_waits_for_the_others),
        TEST(test_waits_not_for_ever),
        TEST(test_looks_again_before_the_eviction),
        TEST(test_paused_is_not_yet_empty),
        TEST(test_nobody_to_hand_over_to),
        TEST(test_requests_are_not_a_flood),
        TEST(test_upgraded_by_hand_is_skipped),
        TEST(test_precheck_stops_before_anything_is_touched),
        TEST(test_level_raised_before_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
