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
            bool was_imaged = at > STEP_REBUILDING; /* else it is cancelled, and joins as it is */
            assert_int_equal(images, position + was_imaged);
            assert_int_equal(w_images(&w), position + was_imaged); /* and no further node was taken out */
            for (size_t i = 0; i < W_NODES; i++) {
                assert_int_equal(w.nodes[i].state, UNODE_ACTIVE);
                assert_int_equal(w.nodes[i].vms_away, 0);
                assert_true(w.nodes[i].present && w.nodes[i].voter);
            }
            struct run r = w_run(&w);
            struct job j;
            assert_int_equal(journal_job_get(w.t, &r.id, &j), 0);
            assert_int_equal(j.state, JOB_CANCELLED);
            w_done(&w);
        }
}

/* Too late to be cancelled: the rebuild ends, the node comes back with the new release, and the run is over. */
static void test_abort_while_it_is_imaged(void **state)
{
    struct world *w = *state;
    while (w_images(w) == 0)
        w_tick(w);
    assert_int_equal(w_control(w, RUN_VERB_ABORT), 0);
    w_until_run(w, RUN_CANCELLED);
    assert_int_equal(w_images(w), 1);
    assert_string_equal(w->nodes[2].release, "trixie");
    assert_int_equal(w->nodes[2].state, UNODE_ACTIVE);
    assert_false(w->unchanged[2]);
}

static unsigned events_with(const struct world *w, const char *text)
{
    unsigned n = 0;
    TABLES_FOREACH(w->t, TABLE_EVENT, row)
    {
        struct cluster_event e;
        assert_int_equal(cluster_event_decode(row.value, &e), 0);
        n += strstr(e.text, text) != NULL;
    }
    return n;
}

/* A line of the journal for what it prints, not for every call; the operation's name is in it. */
static void test_what_is_printed_is_told(void **state)
{
    struct world *w = *state;
    w->fault.prints = w->fault.never_done = true;
    assert_true(w_until_step(w, 0, STEP_REBUILDING));
    int64_t began_ms = w->now_ms;
    while (w->now_ms < began_ms + 10 * UPGRADE_REPORT_MS)
        w_tick(w);
    struct step s = w_step(w);
    char op[HOOK_OP_ID_MAX];
    step_op_id(&s, op);
    unsigned told = events_with(w, op);
    assert_in_range(told, 9, 11);
    assert_int_equal(events_with(w, "begun|still at it"), told);
    assert_int_equal(s.report, REPORT_RUNNING);
    assert_non_null(strstr(s.output, "still at it"));
    w_set_leader(w, other_leader(w)); /* knows what was told already */
    w->fault.prints = false;
    for (int i = 0; i < 50; i++)
        w_tick(w);
    assert_int_equal(events_with(w, op), told);
    for (unsigned i = 0; i < 2 * UPGRADE_REPORTS_MAX; i++) { /* whoever proposes more */
        AUTO(buf_done) struct buf b = {0};
        struct step_report_entry r = {.run = s.run, .attempt = 1, .report = REPORT_RUNNING};
        snprintf(r.output, sizeof(r.output), "line %u", i);
        step_report_encode(&r, &b);
        w_apply(w, ENTRY_STEP_REPORT, &b);
    }
    assert_int_equal(events_with(w, op), UPGRADE_REPORTS_MAX);
    w->fault.never_done = false;
    finish(w);
}

static void test_condensed(void **state)
{
    (void)state;
    char got[JOURNAL_TEXT_MAX], printed[1024];
    report_condense("\n\n", got);
    assert_string_equal(got, "");
    report_condense("one\ntwo\t2\n", got);
    assert_string_equal(got, "one|two 2");
    memset(printed, 'x', sizeof(printed));
    str_copy(printed + 900, 64, "\nits last line\n");
    report_condense(printed, got);
    assert_string_equal(got, "its last line");
    for (size_t i = 0; i + 2 < sizeof(printed); i += 2) /* no end of a sequence at its beginning */
        str_copy(printed + i, 3, "\xc3\xa4");
    for (size_t cut = 0; cut < 2; cut++) {
        report_condense(printed + cut, got);
        assert_int_equal((unsigned char)got[0], 0xc3);
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
    {{.no_drain = true}, STEP_DRAINING, 1, "could not be told to drain within 10 minutes"},
    {{.nothing_leaves = true}, STEP_DRAINING, 1, "1 virtual machines are left on n3, and none left it for 45 minutes"},
    {{.no_evict = true}, STEP_EVICTING, 1, "n3 was not evicted within 10 minutes"},
    {{.fail_ops = 2}, STEP_REBUILDING, 3, "disk full"},
    {{.start_refusals = UPGRADE_REFUSALS_MAX}, STEP_REBUILDING, 1, "no answer from the BMC"},
    {{.hook_errors = 1000000}, STEP_REBUILDING, 1, "NODE_NOT_REJOINED"},
    {{.never_done = true}, STEP_REBUILDING, 1, "NODE_NOT_REJOINED"},
    {{.never_joins = true}, STEP_AWAITING_REJOIN, 1, "NODE_NOT_REJOINED"},
    {{.never_caught_up = true}, STEP_JOINING, 1, "did not catch up"},
    {{.wrong_release = true}, STEP_VERIFYING, 1, "came back with bookworm"},
    {{.never_ready = true}, STEP_VERIFYING, 1, "was not ready"},
    {{.no_return = true}, STEP_CANARY, 1, "did not become active again within 10 minutes"},
    {{.no_return = true, .no_canary = true}, STEP_CANARY, 1, "did not become active again within 10 minutes"},
    {{.canary_endless = true}, STEP_CANARY, 1, "did not arrive at n3 within 45 minutes"},
    {{.not_home = true}, STEP_FAILBACK, 1, "1 virtual machines did not come home to n3, and none came for 45 minutes"},
    {{.home_blocked = true}, STEP_FAILBACK, 1, "vm1 does not fit"},
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

/* Asked back into service, or given a VM, before its replica went: it drains anew, and is not waited for. */
static void test_resumed_while_it_is_to_be_evicted(void **state)
{
    (void)state;
    for (int with_vm = 0; with_vm < 2; with_vm++) {
        struct world w;
        begin(&w);
        w.fault.no_evict = true;
        assert_true(w_until_step(&w, 0, STEP_EVICTING));
        w.fault.no_evict = false;
        if (with_vm)
            w.nodes[2].vms_running = 1;
        else
            w.nodes[2].state = UNODE_ACTIVE;
        w_tick(&w);
        assert_int_equal(w_step(&w).state, STEP_DRAINING);
        if (with_vm)
            w.nodes[2].vms_running = 0;
        finish(&w);
        assert_int_equal(w_images(&w), 3);
        w_done(&w);
    }
}

/* A drain or a failback that gets on is not stopped, however long it takes. */
static void test_slow_moves_are_no_stall(void **state)
{
    struct world *w = *state;
    w->vms[2] = w->nodes[2].vms_running = 4;
    for (uint32_t left = 4; left > 0; left--) {
        w->fault.nothing_leaves = false;
        while (w->nodes[2].vms_running >= left)
            w_tick(w);
        w->fault.nothing_leaves = true;
        for (int64_t until = w->now_ms + UPGRADE_MOVES_DEADLINE_MS - 60000; w->now_ms < until;)
            w_tick(w);
        assert_int_equal(w_run(w).state, RUN_RUNNING);
    }
    w->fault.nothing_leaves = false;
    finish(w);
}

/* Nor is one that waits for a task, which has a time-out of its own. */
static void test_drain_waits_for_a_task(void **state)
{
    struct world *w = *state;
    w->fault.nothing_leaves = true;
    assert_true(w_until_step(w, 0, STEP_DRAINING));
    STR_COPY(w->nodes[2].task, "dedup");
    for (int64_t until = w->now_ms + 2 * UPGRADE_MOVES_DEADLINE_MS; w->now_ms < until;)
        w_tick(w);
    assert_int_equal(w_run(w).state, RUN_RUNNING);
    assert_non_null(strstr(upgrade_leader_waiting(w->l), "and task dedup"));
    w->nodes[2].task[0] = '\0';
    w->fault.nothing_leaves = false;
    finish(w);
}

/* Nor for ever, where that task does not end by itself. */
static void test_drain_waits_for_a_task_so_long(void **state)
{
    struct world *w = *state;
    w->fault.nothing_leaves = true;
    assert_true(w_until_step(w, 0, STEP_DRAINING));
    STR_COPY(w->nodes[2].task, "dedup");
    int64_t until = w->now_ms + UPGRADE_TASK_DEADLINE_MS;
    for (; w->now_ms < until + 7200000 && w_run(w).state == RUN_RUNNING; w->now_ms += 3600000)
        w_tick(w);
    assert_int_equal(w_run(w).state, RUN_PAUSED_ERROR);
    assert_true(w->now_ms >= until);
    assert_non_null(strstr(w_run(w).remedy, "clusterctl task show dedup"));
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

/* By a VM's policy. What is said of the run says so, there and back; the node keeps the level while it is old. */
static void test_left_out_is_told(void **state)
{
    struct world *w = *state;
    struct error why = {0};
    error_set(&w->nodes[1].drain_skip, ERR_CONDITION, "vm7 has a host device");
    w_until_run(w, RUN_AWAITING_RAISE);
    struct run r = w_run(w);
    assert_true(run_is_partial(w->t, &r, &why));
    assert_string_equal(why.text, "n2 was left out: vm7 has a host device");
    assert_non_null(strstr(why.remedy, "upgrade start --target trixie"));
    AUTO(json_freep) struct json *j = run_json(w->t, &r, 0);
    assert_int_equal(json_get_int(j, "done", 0), 2);
    assert_int_equal(json_get_int(j, "total", 0), 3);
    const struct json *l = json_at(json_get(j, "left_out"), 0);
    assert_string_equal(json_get_str(l, "node", ""), "n2");
    assert_true(json_get_bool(l, "keeps_level", false));
    level_member_set(w->t, "n2", (struct level_range){1, 2}, 2000000); /* by hand */
    AUTO(json_freep) struct json *later = run_json(w->t, &r, 0);
    assert_false(json_get_bool(json_at(json_get(later, "left_out"), 0), "keeps_level", true));
    /* Back: that one never went; another one is left out. */
    error_set(&w->nodes[0].drain_skip, ERR_CONDITION, "vm8 has a host device");
    assert_int_equal(w_control(w, RUN_VERB_ROLLBACK), 0);
    w_until_run(w, RUN_CANCELLED);
    r = w_run(w);
    assert_string_equal(r.error, "n1 was left out: vm8 has a host device");
    assert_true(r.remedy[0] != '\0');
    AUTO(json_freep) struct json *back = run_json(w->t, &r, 0);
    assert_false(json_get_bool(back, "rolled_back", true));
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
    level_init(w->t, 2, NULL);
    assert_int_equal(level_get(w->t, &s), 0);
    w_until_run(w, RUN_DONE);
}

static void test_order_of_an_admin(void **state)
{
    (void)state;
    struct world w;
    w_init(&w);
    w.order = "n1,n3,n2";
    assert_int_equal(w_start(&w), 0);
    finish(&w);
    static const char *const order[] = {"n1", "n3", "n2"};
    struct run r = w_run(&w);
    for (uint32_t i = 0; i < W_NODES; i++) {
        struct step s;
        assert_int_equal(step_get(w.t, &r.id, i, &s), 0);
        assert_string_equal(s.node, order[i]);
    }
    w_done(&w);
}

static void begin_approved(struct world *w)
{
    w_init(w);
    w->approve_each = true;
    assert_int_equal(w_start(w), 0);
}

static void test_each_node_waits_for_its_approval(void **state)
{
    (void)state;
    struct world w;
    begin_approved(&w);
    static const char *const order[] = {"n3", "n2", "n1"};
    for (uint32_t i = 0; i < W_NODES; i++) {
        assert_true(w_until_step(&w, i, STEP_AWAITING_APPROVAL));
        for (int k = 0; k < 100; k++)
            w_tick(&w);
        assert_int_equal(w_step(&w).state, STEP_AWAITING_APPROVAL);
        assert_int_equal(w.drains[w_index(&w, order[i])], 0);
        assert_non_null(strstr(upgrade_leader_waiting(w.l), "clusterctl upgrade approve"));
        struct run r = w_run(&w);
        AUTO(json_freep) struct json *j = run_json(w.t, &r, w.now_ms);
        assert_string_equal(json_get_str(j, "awaits_approval", ""), order[i]);
        w_set_leader(&w, other_leader(&w)); /* who approved what is in the database */
        assert_int_equal(w_control_node(&w, RUN_VERB_APPROVE, i == 1 ? order[i] : ""), 0);
        assert_true(w_until_step(&w, i, STEP_DRAINING));
    }
    finish(&w);
    w_done(&w);
}

static void test_retry_and_resume_keep_an_approval(void **state)
{
    (void)state;
    struct world w;
    begin_approved(&w);
    assert_true(w_until_step(&w, 0, STEP_AWAITING_APPROVAL));
    assert_int_equal(w_control(&w, RUN_VERB_PAUSE), 0);
    assert_int_equal(w_control(&w, RUN_VERB_APPROVE), 0);
    for (int k = 0; k < 20; k++)
        w_tick(&w);
    assert_int_equal(w_step(&w).state, STEP_PENDING);
    w.fault.drain_blocked = true;
    assert_int_equal(w_control(&w, RUN_VERB_RESUME), 0);
    until_paused_error(&w);
    assert_int_equal(w_step(&w).failed_in, STEP_DRAINING);
    w.fault.drain_blocked = false;
    assert_int_equal(w_control(&w, RUN_VERB_RETRY), 0);
    assert_true(w_until_step(&w, 0, STEP_DONE));
    w_done(&w);
}

static void test_abort_while_a_node_waits_for_its_approval(void **state)
{
    (void)state;
    struct world w;
    begin_approved(&w);
    assert_true(w_until_step(&w, 0, STEP_AWAITING_APPROVAL));
    assert_int_equal(w_control(&w, RUN_VERB_ABORT), 0);
    w_until_run(&w, RUN_CANCELLED);
    assert_int_equal(w.drains[0] + w.drains[1] + w.drains[2], 0);
    w_done(&w);
}

/* The virtual machines of the next node have no room: it is waited for, and then the run stops before that node. */
static void test_no_room_stops_before_the_node(void **state)
{
    struct world *w = *state;
    assert_true(w_until_step(w, 0, STEP_DONE));
    w->fault.stuck = true;
    unsigned asked = w->stuck_asked;
    for (int i = 0; i < 50; i++)
        w_tick(w);
    assert_int_equal(w_step(w).state, STEP_PENDING);
    assert_in_range(w->stuck_asked - asked, 20, 30); /* one a second */
    assert_non_null(strstr(upgrade_leader_waiting(w->l), "no room elsewhere"));
    until_paused_error(w);
    assert_int_equal(w_step(w).state, STEP_PENDING);
    assert_int_equal(w->drains[1], 0);
    assert_string_equal(w_run(w).remedy, "clusterctl vm show vm1");
    w->fault.stuck = false;
    assert_int_equal(w_control(w, RUN_VERB_RETRY), 0);
    assert_true(w_until_step(w, 1, STEP_DRAINING));
    w->fault.stuck = true; /* of no interest to a node that is begun */
    assert_true(w_until_step(w, 1, STEP_DONE));
    w->fault.stuck = false;
    finish(w);
}

/* ---- the canary */

static void test_canary_goes_there_back_and_there_again(void **state)
{
    struct world *w = *state;
    assert_true(w_until_step(w, 0, STEP_CANARY));
    assert_int_equal(w->nodes[2].vms_running, 0); /* nobody else goes home before */
    assert_true(w_until_step(w, 0, STEP_FAILBACK));
    assert_string_equal(w->canary_way, "n3 n1 n3 "); /* its home is n3 */
    assert_int_equal(w->nodes[2].vms_running, 0);
    struct run r = w_run(w);
    AUTO(json_freep) struct json *j = run_json(w->t, &r, w->now_ms);
    assert_string_equal(json_str(json_path(j, "canary.result"), ""), "passed");
    assert_string_equal(json_str(json_path(j, "canary.vm"), ""), "vm1");
    assert_string_equal(json_str(json_path(j, "canary.node"), ""), "n3");
    finish(w);
    assert_string_equal(w->canary_way, "n3 n1 n3 "); /* of the first node alone */
}

static void test_canary_of_another_home_goes_there_at_last(void **state)
{
    struct world *w = *state;
    w->canary_home = 0;
    assert_true(w_until_step(w, 0, STEP_FAILBACK));
    assert_string_equal(w->canary_way, "n3 n1 n3 n1 ");
    finish(w);
}

static void test_no_canary_is_told(void **state)
{
    struct world *w = *state;
    w->fault.no_canary = true;
    finish(w);
    struct run r = w_run(w);
    AUTO(json_freep) struct json *j = run_json(w->t, &r, w->now_ms);
    assert_string_equal(json_str(json_path(j, "canary.result"), ""), "skipped");
    assert_string_equal(json_str(json_path(j, "canary.text"), ""), "nothing runs");
    assert_string_equal(w->canary_way, "");
}

static void test_canary_outlives_its_leader(void **state)
{
    (void)state;
    for (unsigned k = 0; k < 30; k++) {
        struct world w;
        begin(&w);
        assert_true(w_until_step(&w, 0, STEP_CANARY));
        for (unsigned i = 0; i < k; i++)
            w_tick(&w);
        w_set_leader(&w, other_leader(&w));
        finish(&w);
        assert_string_equal(w.canary_way, "n3 n1 n3 ");
        w_done(&w);
    }
}

/* Until the step's canary is at that move. */
static void until_leg(struct world *w, uint8_t leg)
{
    for (int i = 0; i < 1000 && w_step(w).canary.leg != leg; i++)
        w_tick(w);
    assert_int_equal(w_step(w).canary.leg, leg);
}

static void test_canary_fails_at_each_move(void **state)
{
    (void)state;
    for (uint8_t leg = 1; leg <= 3; leg++) {
        struct world w;
        begin(&w);
        until_leg(&w, leg);
        w.fault.fail_canary = 1;
        size_t at = w.canary_at;
        until_paused_error(&w);
        assert_int_equal(w.canary_at, at); /* it runs on where it was */
        assert_int_equal(w_step(&w).failed_in, STEP_CANARY);
        assert_non_null(strstr(w_run(&w).error, "the canary failed: vm1 did not move from"));
        assert_non_null(strstr(w_run(&w).error, "QEMU says no"));
        assert_non_null(strstr(w_run(&w).remedy, "clusterctl upgrade retry"));
        assert_non_null(strstr(w_run(&w).remedy, "clusterctl upgrade rollback"));
        for (int i = 0; i < 50; i++)
            w_tick(&w);
        assert_int_equal(w.drains[1] + w.drains[0], 0); /* no second node */
        assert_int_equal(w.canary_at, at);
        assert_int_equal(w_control(&w, RUN_VERB_RETRY), 0);
        assert_int_equal(w_step(&w).state, STEP_CANARY);
        finish(&w);
        assert_string_equal(w.canary_way, "n3 n1 n3 ");
        w_done(&w);
    }
}

static void test_canary_that_cannot_be_told(void **state)
{
    struct world *w = *state;
    w->fault.canary_refused = true;
    until_paused_error(w);
    assert_non_null(strstr(w_run(w).error, "could not be told"));
    w->fault.canary_refused = false;
    assert_int_equal(w_control(w, RUN_VERB_RETRY), 0);
    finish(w);
}

static void test_canary_that_is_off_is_replaced(void **state)
{
    struct world *w = *state;
    until_leg(w, 2);
    w->fault.canary_off = true;
    w->canary_ticks = 0;
    w_tick(w);
    w_tick(w);
    assert_string_equal(w_step(w).canary.vm, "");
    w->fault.canary_off = false;
    w->canary_at = 1;
    w->canary_way[0] = '\0';
    finish(w);
    assert_string_equal(w->canary_way, "n3 n2 n3 ");
}

/* Virtual machines stay away from a node whose canary failed. */
static void test_abort_after_a_failed_canary(void **state)
{
    struct world *w = *state;
    w->fault.fail_canary = 1;
    until_paused_error(w);
    assert_int_equal(w_control(w, RUN_VERB_ABORT), 0);
    w_until_run(w, RUN_CANCELLED);
    assert_int_equal(w->nodes[2].state, UNODE_ACTIVE);
    assert_false(w->failback[2]);
    assert_int_equal(w_images(w), 1);
}

/* ---- rollback */

static void assert_rolled_back(struct world *w)
{
    w_until_run(w, RUN_CANCELLED);
    struct run r = w_run(w);
    struct job j;
    AUTO(json_freep) struct json *json = run_json(w->t, &r, w->now_ms);
    assert_true(json_get_bool(json, "rolled_back", false));
    assert_string_equal(r.error, "");
    for (size_t i = 0; i < W_NODES; i++) {
        assert_string_equal(w->nodes[i].release, "bookworm");
        assert_int_equal(w->nodes[i].state, UNODE_ACTIVE);
        assert_true(w->nodes[i].vms_away == 0 && w->nodes[i].present && w->nodes[i].voter);
    }
    assert_int_equal(journal_job_get(w->t, &r.id, &j), 0);
    assert_int_equal(j.state, JOB_CANCELLED);
    assert_int_equal(json_get_int(json, "done", -1), json_get_int(json, "total", -1));
}

static const enum step_state steps_in_order[] = {STEP_PENDING,         STEP_DRAINING, STEP_DRAINED,   STEP_EVICTING,
                                                 STEP_REBUILDING,      STEP_JOINING,  STEP_VERIFYING, STEP_CANARY,
                                                 STEP_AWAITING_REJOIN, STEP_FAILBACK};
enum { N_STEPS_IN_ORDER = sizeof(steps_in_order) / sizeof(steps_in_order[0]) };

static bool until_step_of(struct world *w, uint32_t position, enum step_state at)
{
    if (at == STEP_CANARY && position > 0)
        return false;
    return (position == 0 || w_until_step(w, position - 1, STEP_DONE)) && w_until_step(w, position, at);
}

static void test_rollback_at_every_step(void **state)
{
    (void)state;
    for (uint32_t position = 0; position < W_NODES; position++)
        for (size_t k = 0; k < N_STEPS_IN_ORDER; k++) {
            struct world w;
            begin(&w);
            if (until_step_of(&w, position, steps_in_order[k])) {
                enum step_state at = w_step(&w).state;
                bool was_sent = at > STEP_REBUILDING || at == STEP_CANARY; /* what is not begun is cancelled */
                bool was_evicted = was_sent || at == STEP_REBUILDING;
                if (at == STEP_EVICTING && position == 1) { /* its replica goes already */
                    w_tick(&w);
                    was_evicted = w.nodes[w_index(&w, w_step(&w).node)].state != UNODE_PAUSED;
                    assert_true(was_evicted);
                }
                assert_int_equal(w_control(&w, RUN_VERB_ROLLBACK), 0);
                assert_int_equal(w_run(&w).state, RUN_ROLLING_BACK);
                assert_rolled_back(&w);
                /* there and back; one that was only evicted is rebuilt once, as it was */
                assert_int_equal(w_images(&w), 2 * position + was_evicted + was_sent);
            }
            w_done(&w);
        }
}

static void test_rollback_goes_in_reverse(void **state)
{
    struct world *w = *state;
    finish(w);
    assert_int_equal(w_control(w, RUN_VERB_ROLLBACK), 0);
    struct run r = w_run(w);
    assert_int_equal(r.n_steps, 2 * W_NODES);
    static const char *const order[] = {"n3", "n2", "n1", "n1", "n2", "n3"};
    for (uint32_t i = 0; i < r.n_steps; i++) {
        struct step s;
        assert_int_equal(step_get(w->t, &r.id, i, &s), 0);
        assert_string_equal(s.node, order[i]);
        assert_int_equal(s.back, i >= W_NODES);
        assert_string_equal(s.target, s.back ? "bookworm" : "trixie");
    }
    assert_rolled_back(w);
    assert_int_equal(w_images(w), 6);
    assert_string_equal(w->canary_way, "n3 n1 n3 "); /* none on the way back */
}

static void test_rollback_outlives_its_leader(void **state)
{
    (void)state;
    for (unsigned every = 2; every < 9; every++) {
        struct world w;
        begin(&w);
        assert_true(w_until_step(&w, 1, STEP_REBUILDING));
        assert_int_equal(w_control(&w, RUN_VERB_ROLLBACK), 0);
        for (unsigned i = 1; w_run(&w).state != RUN_CANCELLED; i++) {
            assert_true(i < W_TICKS_MAX);
            w_tick(&w);
            if (i % every == 0)
                w_set_leader(&w, other_leader(&w));
        }
        assert_rolled_back(&w);
        assert_int_equal(w_images(&w), 3); /* the second one's was cancelled in time */
        w_done(&w);
    }
}

static void test_rollback_after_each_failure(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(fault_cases) / sizeof(fault_cases[0]); i++) {
        struct world w;
        begin(&w);
        w.fault = fault_cases[i].fault;
        until_paused_error(&w);
        w.fault = (struct w_fault){.lose_every = 0};
        assert_int_equal(w_control(&w, RUN_VERB_ROLLBACK), 0);
        assert_rolled_back(&w);
        w_done(&w);
    }
    struct world w;
    begin(&w);
    w.fault.fail_canary = 1;
    until_paused_error(&w);
    assert_int_equal(w_control(&w, RUN_VERB_ROLLBACK), 0);
    assert_true(w_until_step(&w, 0, STEP_DONE));
    assert_false(w.failback[2]); /* nothing moves to a node that goes back at once */
    assert_rolled_back(&w);
    w_done(&w);
}

static void test_pause_and_failures_of_a_rollback(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_STEPS_IN_ORDER; k++) {
        struct world w;
        begin(&w);
        assert_true(w_until_step(&w, 0, STEP_DONE));
        assert_int_equal(w_control(&w, RUN_VERB_ROLLBACK), 0);
        if (steps_in_order[k] != STEP_CANARY && w_until_step(&w, W_NODES, steps_in_order[k])) {
            assert_int_equal(w_control(&w, RUN_VERB_PAUSE), 0);
            assert_int_equal(w_control(&w, RUN_VERB_ROLLBACK), ERR_CONDITION); /* is one: resume it */
            w_tick(&w);
            w_tick(&w);
            struct step s = w_step(&w);
            for (int i = 0; i < 30; i++)
                w_tick(&w);
            assert_int_equal(w_step(&w).seq, s.seq);
            assert_int_equal(w_control(&w, RUN_VERB_RESUME), 0);
            assert_int_equal(w_run(&w).state, RUN_ROLLING_BACK);
            w.fault = (struct w_fault){.fail_ops = 2};
            for (int i = 0; i < 1000 && !run_state_is_final(w_run(&w).state); i++) {
                w_tick(&w);
                if (w_run(&w).state == RUN_PAUSED_ERROR)
                    assert_int_equal(w_control(&w, RUN_VERB_RETRY), 0);
            }
            assert_rolled_back(&w);
        }
        w_done(&w);
    }
}

static void test_abort_of_a_rollback(void **state)
{
    struct world *w = *state;
    assert_true(w_until_step(w, 1, STEP_DONE));
    assert_int_equal(w_control(w, RUN_VERB_ROLLBACK), 0);
    assert_true(w_until_step(w, W_NODES, STEP_REBUILDING));
    assert_int_equal(w_control(w, RUN_VERB_ABORT), 0);
    assert_int_equal(w_control(w, RUN_VERB_ROLLBACK), ERR_CONDITION);
    w_until_run(w, RUN_CANCELLED);
    struct run r = w_run(w);
    AUTO(json_freep) struct json *j = run_json(w->t, &r, w->now_ms);
    assert_false(json_get_bool(j, "rolled_back", true)); /* n3 has the new release still */
    assert_string_equal(w->nodes[2].release, "trixie");
    for (size_t i = 0; i < W_NODES; i++)
        assert_int_equal(w->nodes[i].state, UNODE_ACTIVE);
}

static void test_rollback_is_not_raised(void **state)
{
    struct world *w = *state;
    struct error e = {0};
    finish(w);
    assert_false(run_forbids_raise(w->t, &e));
    assert_int_equal(w_control(w, RUN_VERB_ROLLBACK), 0);
    assert_true(run_forbids_raise(w->t, &e));
    assert_non_null(strstr(e.text, "rolled back"));
    assert_int_equal(w_control(w, RUN_VERB_PAUSE), 0);
    assert_true(run_forbids_raise(w->t, &e));
    assert_int_equal(w_control(w, RUN_VERB_RESUME), 0);
    assert_rolled_back(w);
    assert_false(run_forbids_raise(w->t, &e));
}

static void test_no_rollback_after_the_raise(void **state)
{
    struct world *w = *state;
    AUTO(buf_done) struct buf b = {0};
    finish(w);
    struct level_request q = {.verb = LEVEL_FENCE, .level = 2};
    level_entry(&q, &b);
    assert_int_equal(w_apply(w, ENTRY_LEVEL, &b), 0);
    assert_int_equal(w_control(w, RUN_VERB_ROLLBACK), ERR_CONDITION); /* is being raised */
    level_init(w->t, 2, NULL);
    assert_int_equal(w_control(w, RUN_VERB_ROLLBACK), ERR_CONDITION);
    assert_int_equal(w_run(w).state, RUN_AWAITING_RAISE);
    upgrade_level_raised(w->t, 9);
    assert_int_equal(w_control(w, RUN_VERB_ROLLBACK), ERR_CONDITION);
    assert_int_equal(w_run(w).state, RUN_DONE);
}

/* ---- several at once */

static void test_two_at_once(void **state)
{
    (void)state;
    struct world w;
    w_init(&w);
    w.max_unavailable = 2;
    assert_int_equal(w_start(&w), 0);
    assert_true(w_until_step(&w, 0, STEP_FAILBACK));
    assert_int_equal(w.drains[0] + w.drains[1], 0); /* the first one alone, with its canary */
    unsigned most = 0;
    for (int i = 0; i < W_TICKS_MAX && w_run(&w).state != RUN_AWAITING_RAISE; i++) {
        struct run r = w_run(&w);
        uint32_t n = steps_under_way(w.t, &r, NULL);
        most = n > most ? n : most;
        w_tick(&w);
    }
    assert_int_equal(most, 2);
    finish(&w);
    assert_int_equal(w_images(&w), 3);
    assert_int_equal(w_control(&w, RUN_VERB_ROLLBACK), 0);
    assert_rolled_back(&w);
    assert_int_equal(w_images(&w), 6);
    w_done(&w);
}

/* A node that is still on its way to the new release is not begun a second time by its step back. */
static void test_rollback_of_two_at_every_step(void **state)
{
    (void)state;
    for (uint32_t position = 0; position < W_NODES; position++)
        for (size_t k = 0; k < N_STEPS_IN_ORDER; k++) {
            struct world w;
            w_init(&w);
            w.max_unavailable = 2;
            assert_int_equal(w_start(&w), 0);
            if (until_step_of(&w, position, steps_in_order[k])) {
                assert_int_equal(w_control(&w, RUN_VERB_ROLLBACK), 0);
                while (w_run(&w).state == RUN_ROLLING_BACK) {
                    struct run r = w_run(&w);
                    for (uint32_t i = 0; i < r.n_steps; i++) {
                        struct step s;
                        assert_int_equal(step_get(w.t, &r.id, i, &s), 0);
                        for (uint32_t j = 0; j < i && step_state_is_under_way(s.state); j++) {
                            struct step other;
                            assert_int_equal(step_get(w.t, &r.id, j, &other), 0);
                            assert_false(str_eq(s.node, other.node) && step_state_is_under_way(other.state));
                        }
                    }
                    w_tick(&w);
                }
                assert_rolled_back(&w);
            }
            w_done(&w);
        }
}

static void test_two_at_once_with_faults(void **state)
{
    (void)state;
    for (unsigned every = 3; every < 9; every++) {
        struct world w;
        w_init(&w);
        w.max_unavailable = 2;
        assert_int_equal(w_start(&w), 0);
        w.fault.lose_every = every + 2;
        w.fault.fail_ops = 3;
        for (unsigned i = 1; w_run(&w).state != RUN_AWAITING_RAISE; i++) {
            if (i == W_TICKS_MAX)
                fail_msg("every %u: run is %s; waiting: %s", every, run_state_name(w_run(&w).state),
                         upgrade_leader_waiting(w.l) ? upgrade_leader_waiting(w.l) : "");
            w_tick(&w);
            if (i % every == 0)
                w_set_leader(&w, other_leader(&w));
            if (w_run(&w).state == RUN_PAUSED_ERROR)
                assert_int_equal(w_control(&w, RUN_VERB_RETRY), 0);
        }
        w_assert_upgraded(&w);
        w_done(&w);
    }
}

/* A node that goes down counts: the second one is not begun beside it. */
static void test_a_lost_node_counts(void **state)
{
    (void)state;
    struct world w;
    w_init(&w);
    w.max_unavailable = 2;
    assert_int_equal(w_start(&w), 0);
    assert_true(w_until_step(&w, 0, STEP_DONE));
    w.nodes[2].caught_up = false;
    for (int i = 0; i < 40; i++)
        w_tick(&w);
    struct run r = w_run(&w);
    assert_int_equal(steps_under_way(w.t, &r, NULL), 1);
    w.nodes[2].caught_up = true;
    finish(&w);
    w_done(&w);
}

/* ---- settings */

static void test_deadlines_and_attempts_are_settings(void **state)
{
    (void)state;
    struct world w;
    begin(&w);
    w.attempts = 4;
    w.fault.fail_ops = 3;
    finish(&w);
    assert_int_equal(w_images(&w), 6);
    w_done(&w);
    begin(&w);
    w.rebuild_ms = 5 * 60000;
    w.fault.never_done = true;
    assert_true(w_until_step(&w, 0, STEP_REBUILDING));
    int64_t from = w.now_ms;
    until_paused_error(&w);
    assert_in_range(w.now_ms - from, 5 * 60000, 5 * 60000 + 3 * W_TICK_MS);
    assert_non_null(strstr(w_run(&w).error, "within 5 minutes"));
    w_done(&w);
    begin(&w);
    w.verify_ms = 3 * 60000;
    w.fault.never_caught_up = true;
    assert_true(w_until_step(&w, 0, STEP_JOINING));
    from = w.now_ms;
    until_paused_error(&w);
    assert_in_range(w.now_ms - from, 3 * 60000, 3 * 60000 + 3 * W_TICK_MS);
    assert_non_null(strstr(w_run(&w).error, "within 3 minutes"));
    w_done(&w);
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
        TEST(test_abort_while_it_is_imaged),
        TEST(test_what_is_printed_is_told),
        cmocka_unit_test(test_condensed),
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
        cmocka_unit_test(test_resumed_while_it_is_to_be_evicted),
        TEST(test_slow_moves_are_no_stall),
        TEST(test_drain_waits_for_a_task),
        TEST(test_drain_waits_for_a_task_so_long),
        TEST(test_requests_are_not_a_flood),
        TEST(test_upgraded_by_hand_is_skipped),
        TEST(test_left_out_is_told),
        TEST(test_precheck_stops_before_anything_is_touched),
        TEST(test_level_raised_before_the_end),
        cmocka_unit_test(test_order_of_an_admin),
        cmocka_unit_test(test_each_node_waits_for_its_approval),
        cmocka_unit_test(test_retry_and_resume_keep_an_approval),
        cmocka_unit_test(test_abort_while_a_node_waits_for_its_approval),
        TEST(test_no_room_stops_before_the_node),
        TEST(test_canary_goes_there_back_and_there_again),
        TEST(test_canary_of_another_home_goes_there_at_last),
        TEST(test_no_canary_is_told),
        cmocka_unit_test(test_canary_outlives_its_leader),
        cmocka_unit_test(test_canary_fails_at_each_move),
        TEST(test_canary_that_cannot_be_told),
        TEST(test_canary_that_is_off_is_replaced),
        TEST(test_abort_after_a_failed_canary),
        cmocka_unit_test(test_rollback_at_every_step),
        TEST(test_rollback_goes_in_reverse),
        cmocka_unit_test(test_rollback_outlives_its_leader),
        cmocka_unit_test(test_rollback_after_each_failure),
        cmocka_unit_test(test_pause_and_failures_of_a_rollback),
        TEST(test_abort_of_a_rollback),
        TEST(test_rollback_is_not_raised),
        TEST(test_no_rollback_after_the_raise),
        cmocka_unit_test(test_two_at_once),
        cmocka_unit_test(test_rollback_of_two_at_every_step),
        cmocka_unit_test(test_two_at_once_with_faults),
        cmocka_unit_test(test_a_lost_node_counts),
        cmocka_unit_test(test_deadlines_and_attempts_are_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
