/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the entries of a run do to its rows: compare-and-set, an admin's verbs, journal, JSON. */
#include "tests/unit/upgrade_world.h"

static int start_payload_of(struct world *w, const char *target, uint32_t n, uint8_t skipped, uint8_t approve,
                            uint32_t max_unavailable)
{
    AUTO(buf_done) struct buf b = {0};
    wire_put_str(&b, target);
    wire_put_str(&b, "admin");
    wire_put_u8(&b, approve);
    wire_put_u32(&b, max_unavailable);
    wire_put_str(&b, "margin: one failure more\n");
    wire_put_u8(&b, EXECUTOR_KIND_COMMAND);
    wire_put_u32(&b, n);
    for (uint32_t i = 0; i < n; i++) {
        char node[16];
        snprintf(node, sizeof(node), "n%u", i + 1);
        wire_put_str(&b, node);
        wire_put_str(&b, "bookworm");
        wire_put_u8(&b, skipped);
    }
    return w_apply(w, ENTRY_RUN_START, &b);
}

static int start_payload(struct world *w, const char *target, uint32_t n, uint8_t skipped)
{
    return start_payload_of(w, target, n, skipped, 0, 1);
}

static int move_run(struct world *w, uint64_t seq, enum run_state state)
{
    AUTO(buf_done) struct buf b = {0};
    struct run_move m = {.run = w_run(w).id, .seq = seq, .state = state, .error = "why", .remedy = "how"};
    run_move_encode(&m, &b);
    return w_apply(w, ENTRY_RUN_MOVE, &b);
}

static int move_step(struct world *w, uint32_t position, enum step_state state)
{
    AUTO(buf_done) struct buf b = {0};
    struct run r = w_run(w);
    struct step s = {.seq = 1, .attempt = 1};
    step_get(w->t, &r.id, position, &s);
    struct step_move m = {.run = r.id, .run_seq = r.seq, .position = position, .seq = s.seq, .state = state};
    m.attempt = s.attempt;
    m.replica_before = w_uuid(77);
    m.canary.result = state == STEP_FAILBACK ? CANARY_PASSED : CANARY_UNDER_WAY;
    STR_COPY(m.detail, state == STEP_FAILED ? "it broke" : "");
    STR_COPY(m.remedy, "mend it");
    step_move_encode(&m, &b);
    return w_apply(w, ENTRY_STEP_MOVE, &b);
}

static void begin_running(struct world *w)
{
    w_init(w);
    assert_int_equal(start_payload(w, "trixie", 3, 0), 0);
    assert_int_equal(move_run(w, 1, RUN_PRECHECKING), 0);
    assert_int_equal(move_run(w, 2, RUN_RUNNING), 0);
}

static bool has_event(const struct world *w, const char *text)
{
    TABLES_FOREACH(w->t, TABLE_EVENT, row) {
        struct cluster_event e;
        if (cluster_event_decode(row.value, &e) == 0 && strstr(e.text, text))
            return true;
    }
    return false;
}

static void test_start(void **state)
{
    (void)state;
    struct world w;
    w_init(&w);
    struct run r;
    assert_int_equal(run_current(w.t, &r), ERR_NOT_FOUND);
    assert_int_equal(start_payload(&w, "trixie", 3, 1), ERR_CONDITION); /* nothing to do */
    assert_int_equal(start_payload(&w, "", 3, 0), ERR_MALFORMED);
    assert_int_equal(start_payload(&w, "trixie", RUN_STEPS_MAX + 1, 0), ERR_MALFORMED);
    assert_int_equal(run_newest(w.t, &r), ERR_NOT_FOUND);
    assert_int_equal(start_payload(&w, "trixie", 3, 0), 0);
    assert_int_equal(run_current(w.t, &r), 0);
    assert_int_equal(r.state, RUN_PLANNED);
    assert_int_equal(r.n_steps, 3);
    assert_string_equal(r.started_by, "admin");
    struct job j;
    assert_int_equal(journal_job_get(w.t, &r.id, &j), 0);
    assert_int_equal(j.kind, JOB_UPGRADE);
    assert_int_equal(j.state, JOB_RUNNING);
    struct step s;
    assert_int_equal(step_current(w.t, &r, &s), 0);
    assert_int_equal(s.position, 0);
    char op[HOOK_OP_ID_MAX];
    step_op_id(&s, op);
    assert_int_equal(strspn(op, "abcdefghijklmnopqrstuvwxyz0123456789-"), strlen(op));
    s.attempt = 2;
    char op2[HOOK_OP_ID_MAX];
    step_op_id(&s, op2);
    assert_string_not_equal(op, op2);
    w_done(&w);
}

static void test_one_run_at_a_time(void **state)
{
    (void)state;
    struct world w;
    begin_running(&w);
    struct run first = w_run(&w);
    assert_int_equal(start_payload(&w, "trixie", 3, 0), ERR_CONDITION);
    assert_int_equal(w_control(&w, RUN_VERB_PAUSE), 0);
    assert_int_equal(start_payload(&w, "bookworm", 3, 0), ERR_CONDITION);
    assert_int_equal(start_payload(&w, "trixie", 0, 0), 0); /* resumes */
    struct run r = w_run(&w);
    assert_true(uuid_eq(&r.id, &first.id));
    assert_int_equal(r.state, RUN_PRECHECKING); /* no step began: it is checked again */
    assert_int_equal(tables_count(w.t, TABLE_RUN), 1);
    w_done(&w);
}

static void test_stale_moves_are_refused(void **state)
{
    (void)state;
    struct world w;
    begin_running(&w);
    struct run r = w_run(&w);
    struct hash before = tables_hash(w.t);
    assert_int_equal(move_run(&w, r.seq - 1, RUN_DONE), ERR_AGAIN);
    assert_int_equal(move_run(&w, r.seq, RUN_PLANNED), ERR_AGAIN);
    assert_int_equal(move_step(&w, 1, STEP_DRAINING), ERR_AGAIN);  /* not its turn */
    assert_int_equal(move_step(&w, 0, STEP_EVICTING), ERR_AGAIN);  /* no such move */
    assert_int_equal(move_step(&w, 99, STEP_DRAINING), ERR_AGAIN); /* no such step */
    AUTO(buf_done) struct buf b = {0};
    struct step_move m = {.run = r.id, .run_seq = r.seq, .seq = 1, .state = STEP_DRAINING, .attempt = 1};
    step_move_encode(&m, &b);
    struct hash after = tables_hash(w.t);
    assert_true(hash_eq(&before, &after));
    assert_int_equal(w_apply(&w, ENTRY_STEP_MOVE, &b), 0);
    before = tables_hash(w.t);
    assert_int_equal(w_apply(&w, ENTRY_STEP_MOVE, &b), ERR_AGAIN); /* the same entry once more */
    after = tables_hash(w.t);
    assert_true(hash_eq(&before, &after));
    assert_int_equal(move_step(&w, 0, STEP_DRAINED), 0);
    assert_int_equal(w_apply(&w, ENTRY_STEP_MOVE, &b), ERR_AGAIN); /* a move that is allowed, but was not meant now */
    assert_int_equal(w_step(&w).state, STEP_DRAINED);
    w_done(&w);
}

/* A move that was on its way when an admin paused or aborted. */
static void test_move_from_before_a_pause(void **state)
{
    (void)state;
    for (enum run_verb verb = RUN_VERB_PAUSE; verb <= RUN_VERB_ABORT; verb += RUN_VERB_ABORT - RUN_VERB_PAUSE) {
        struct world w;
        begin_running(&w);
        assert_int_equal(move_step(&w, 0, STEP_DRAINING), 0);
        assert_int_equal(move_step(&w, 0, STEP_DRAINED), 0);
        AUTO(buf_done) struct buf b = {0};
        struct run r = w_run(&w);
        struct step s = w_step(&w);
        struct step_move m = {.run = r.id, .run_seq = r.seq, .seq = s.seq, .state = STEP_EVICTING, .attempt = 1};
        step_move_encode(&m, &b);
        assert_int_equal(w_control(&w, verb), 0);
        if (verb == RUN_VERB_PAUSE)
            assert_int_equal(w_control(&w, RUN_VERB_RESUME), 0);
        assert_int_equal(w_apply(&w, ENTRY_STEP_MOVE, &b), ERR_AGAIN);
        assert_int_equal(w_step(&w).state, STEP_DRAINED);
        w_done(&w);
    }
}

static void test_whole_table_of_moves(void **state)
{
    (void)state;
    struct world w;
    begin_running(&w);
    assert_int_equal(move_step(&w, 0, STEP_DRAINING), 0);
    assert_int_equal(move_step(&w, 0, STEP_DRAINED), 0);
    assert_int_equal(move_step(&w, 0, STEP_SKIPPED), ERR_AGAIN); /* only when aborting */
    assert_int_equal(move_step(&w, 0, STEP_DRAINING), 0);
    assert_int_equal(move_step(&w, 0, STEP_DRAINED), 0);
    struct step s = w_step(&w);
    assert_true(uuid_is_nil(&s.replica_before));
    assert_int_equal(move_step(&w, 0, STEP_EVICTING), 0);
    s = w_step(&w);
    struct uuid expected = w_uuid(77);
    assert_true(uuid_eq(&s.replica_before, &expected));
    assert_int_equal(move_step(&w, 0, STEP_REBUILDING), 0);
    assert_int_equal(move_step(&w, 0, STEP_REBUILDING), ERR_AGAIN); /* the attempt must rise */
    assert_int_equal(move_step(&w, 0, STEP_AWAITING_REJOIN), 0);
    assert_int_equal(move_step(&w, 0, STEP_JOINING), 0);
    assert_int_equal(move_step(&w, 0, STEP_VERIFYING), 0);
    assert_int_equal(move_step(&w, 0, STEP_FAILBACK), 0);
    assert_int_equal(move_step(&w, 0, STEP_DONE), 0);
    assert_int_equal(w_step(&w).position, 1);
    assert_true(has_event(&w, "n1: drained -> evicting"));
    assert_true(has_event(&w, "n1: failback -> done"));
    w_done(&w);
}

static void test_failure_stops_the_run(void **state)
{
    (void)state;
    struct world w;
    begin_running(&w);
    assert_int_equal(move_step(&w, 0, STEP_DRAINING), 0);
    assert_int_equal(move_step(&w, 0, STEP_FAILED), 0);
    struct run r = w_run(&w);
    assert_int_equal(r.state, RUN_PAUSED_ERROR);
    assert_string_equal(r.error, "it broke");
    assert_string_equal(r.remedy, "mend it");
    assert_int_equal(w_step(&w).failed_in, STEP_DRAINING);
    assert_true(upgrade_holds_drain(w.t, "n1"));
    assert_false(upgrade_holds_drain(w.t, "n2"));
    assert_int_equal(w_control(&w, RUN_VERB_RESUME), ERR_CONDITION);
    assert_int_equal(w_control(&w, RUN_VERB_PAUSE), 0);
    assert_int_equal(w_run(&w).state, RUN_PAUSED_ERROR);
    assert_int_equal(start_payload(&w, "trixie", 3, 0), ERR_CONDITION);
    assert_int_equal(w_control(&w, RUN_VERB_RETRY), 0);
    r = w_run(&w);
    assert_int_equal(r.state, RUN_RUNNING);
    assert_string_equal(r.error, "");
    assert_int_equal(w_step(&w).state, STEP_DRAINING);
    assert_int_equal(w_step(&w).attempt, 1);
    assert_false(upgrade_holds_drain(w.t, "n1"));
    w_done(&w);
}

static void test_control_in_every_state(void **state)
{
    (void)state;
    struct world w;
    w_init(&w);
    for (enum run_verb verb = RUN_VERB_PAUSE; verb <= RUN_VERB_ABORT; verb++)
        assert_int_equal(w_control(&w, verb), ERR_NO_OBJECT);
    w_done(&w);
    begin_running(&w);
    assert_int_equal(w_control(&w, RUN_VERB_RETRY), ERR_CONDITION);
    assert_int_equal(w_control(&w, RUN_VERB_RESUME), 0);
    assert_int_equal(w_control(&w, RUN_VERB_PAUSE), 0);
    assert_int_equal(w_control(&w, RUN_VERB_PAUSE), 0);
    assert_int_equal(w_control(&w, RUN_VERB_RETRY), ERR_CONDITION);
    assert_int_equal(w_control(&w, RUN_VERB_ABORT), 0);
    assert_int_equal(w_control(&w, RUN_VERB_ABORT), 0);
    assert_int_equal(w_control(&w, RUN_VERB_PAUSE), ERR_CONDITION);
    assert_int_equal(w_control(&w, RUN_VERB_RESUME), ERR_CONDITION);
    assert_int_equal(move_step(&w, 0, STEP_DRAINING), ERR_AGAIN); /* no node is taken out any more */
    assert_int_equal(move_run(&w, w_run(&w).seq, RUN_CANCELLED), 0);
    assert_int_equal(w_control(&w, RUN_VERB_ABORT), ERR_NO_OBJECT);
    w_done(&w);
}

static void all_done(struct world *w)
{
    begin_running(w);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(move_step(w, i, STEP_SKIPPED), 0);
    assert_int_equal(move_run(w, w_run(w).seq, RUN_AWAITING_RAISE), 0);
}

static void test_awaiting_raise(void **state)
{
    (void)state;
    struct world w;
    all_done(&w);
    struct run r = w_run(&w);
    struct job j;
    assert_int_equal(journal_job_get(w.t, &r.id, &j), 0);
    assert_int_equal(j.state, JOB_DONE);
    assert_int_equal(w_control(&w, RUN_VERB_ABORT), ERR_CONDITION);
    assert_int_equal(start_payload(&w, "trixie", 3, 1), ERR_CONDITION);
    upgrade_level_raised(w.t, 9);
    assert_int_equal(w_run(&w).state, RUN_DONE);
    upgrade_level_raised(w.t, 10); /* nothing waits */
    w_done(&w);
    all_done(&w); /* a node that was added with the old release: a new run may begin before the raise */
    r = w_run(&w);
    assert_int_equal(start_payload(&w, "trixie", 1, 0), 0);
    struct run fresh = w_run(&w);
    assert_false(uuid_eq(&r.id, &fresh.id));
    assert_int_equal(fresh.state, RUN_PLANNED);
    w_done(&w);
}

static void begin_running_as(struct world *w, uint8_t approve, uint32_t max_unavailable)
{
    w_init(w);
    assert_int_equal(start_payload_of(w, "trixie", 4, 0, approve, max_unavailable), 0);
    assert_int_equal(move_run(w, 1, RUN_PRECHECKING), 0);
    assert_int_equal(move_run(w, 2, RUN_RUNNING), 0);
}

static void test_approvals(void **state)
{
    (void)state;
    struct world w;
    begin_running_as(&w, 1, 1);
    assert_int_equal(move_step(&w, 0, STEP_DRAINING), ERR_AGAIN); /* nobody approved it */
    assert_int_equal(w_control(&w, RUN_VERB_APPROVE), ERR_CONDITION);
    assert_int_equal(move_step(&w, 1, STEP_AWAITING_APPROVAL), ERR_AGAIN); /* not its turn */
    assert_int_equal(move_step(&w, 0, STEP_AWAITING_APPROVAL), 0);
    assert_int_equal(move_step(&w, 0, STEP_DRAINING), ERR_AGAIN);
    assert_int_equal(w_control_node(&w, RUN_VERB_APPROVE, "n2"), ERR_CONDITION);
    assert_int_equal(w_control_node(&w, RUN_VERB_APPROVE, "n1"), 0);
    assert_int_equal(w_control_node(&w, RUN_VERB_APPROVE, "n1"), 0); /* as asked for */
    assert_int_equal(w_control(&w, RUN_VERB_APPROVE), ERR_CONDITION);
    assert_true(has_event(&w, "n1: awaiting-approval -> pending: approved by admin"));
    assert_int_equal(move_step(&w, 0, STEP_DRAINING), 0);
    w_done(&w);
    begin_running(&w);
    assert_int_equal(w_control(&w, RUN_VERB_APPROVE), ERR_CONDITION); /* this run asks for none */
    w_done(&w);
}

static void test_so_many_at_once(void **state)
{
    (void)state;
    struct world w;
    static const enum step_state way[] = {STEP_DRAINING,        STEP_DRAINED, STEP_EVICTING,  STEP_REBUILDING,
                                          STEP_AWAITING_REJOIN, STEP_JOINING, STEP_VERIFYING, STEP_CANARY};
    begin_running_as(&w, 0, 2);
    assert_int_equal(move_step(&w, 1, STEP_DRAINING), ERR_AGAIN); /* in their order */
    for (size_t i = 0; i < sizeof(way) / sizeof(way[0]); i++) {
        assert_int_equal(move_step(&w, 0, way[i]), 0);
        assert_int_equal(move_step(&w, 1, STEP_DRAINING), ERR_AGAIN); /* the first one alone, with its canary */
    }
    assert_int_equal(move_step(&w, 0, STEP_CANARY), 0);
    assert_int_equal(move_step(&w, 0, STEP_FAILBACK), 0);
    assert_int_equal(move_step(&w, 1, STEP_DRAINING), 0);
    assert_int_equal(move_step(&w, 2, STEP_DRAINING), ERR_AGAIN);
    assert_int_equal(move_step(&w, 0, STEP_DONE), 0);
    assert_int_equal(move_step(&w, 2, STEP_DRAINING), 0);
    assert_int_equal(move_step(&w, 3, STEP_DRAINING), ERR_AGAIN);
    assert_int_equal(move_step(&w, 2, STEP_DRAINED), 0);
    assert_int_equal(move_step(&w, 1, STEP_DRAINED), 0);
    assert_true(step_is_on(w.t, "n2") && step_is_on(w.t, "n3"));
    assert_false(step_is_on(w.t, "n1") || step_is_on(w.t, "n4"));
    assert_int_equal(move_step(&w, 1, STEP_FAILED), 0); /* stops both */
    assert_int_equal(move_step(&w, 2, STEP_EVICTING), ERR_AGAIN);
    assert_true(upgrade_holds_drain(w.t, "n2") && upgrade_holds_drain(w.t, "n3"));
    assert_int_equal(w_control(&w, RUN_VERB_RETRY), 0);
    assert_int_equal(move_step(&w, 1, STEP_EVICTING), 0);
    assert_int_equal(move_step(&w, 2, STEP_EVICTING), 0);
    assert_int_equal(w_control(&w, RUN_VERB_ABORT), 0);
    assert_int_equal(move_step(&w, 1, STEP_FAILED), 0); /* the other one has still to come back */
    assert_int_equal(w_run(&w).state, RUN_ABORTING);
    assert_int_equal(move_step(&w, 2, STEP_FAILED), 0);
    assert_int_equal(w_run(&w).state, RUN_CANCELLED);
    assert_string_equal(w_run(&w).error, "it broke");
    w_done(&w);
    w_init(&w);
    assert_int_equal(start_payload_of(&w, "trixie", 3, 0, 0, 0), ERR_MALFORMED);
    w_done(&w);
}

static void test_old_runs_are_forgotten(void **state)
{
    (void)state;
    struct world w;
    w_init(&w);
    for (int i = 0; i < RUN_KEPT + 10; i++) {
        w.now_ms += 1000;
        assert_int_equal(start_payload(&w, "trixie", 3, 0), 0);
        assert_int_equal(w_control(&w, RUN_VERB_ABORT), 0);
        assert_int_equal(move_run(&w, w_run(&w).seq, RUN_CANCELLED), 0);
    }
    assert_int_equal(tables_count(w.t, TABLE_RUN), RUN_KEPT);
    assert_int_equal(tables_count(w.t, TABLE_STEP), 3 * RUN_KEPT);
    assert_int_equal(w_run(&w).created_ms, 1000000 + w.now_ms);
    w_done(&w);
}

static void test_malformed_entries(void **state)
{
    (void)state;
    static const enum entry_kind kinds[] = {ENTRY_RUN_START, ENTRY_RUN_CONTROL, ENTRY_RUN_MOVE, ENTRY_STEP_MOVE,
                                            ENTRY_STEP_REPORT};
    struct world w;
    begin_running(&w);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        AUTO(buf_done) struct buf b = {0};
        struct hash before = tables_hash(w.t);
        assert_int_equal(w_apply(&w, kinds[i], &b), ERR_MALFORMED);
        buf_printf(&b, "%0200d", 0);
        assert_int_equal(w_apply(&w, kinds[i], &b), ERR_MALFORMED);
        struct hash after = tables_hash(w.t);
        assert_true(hash_eq(&before, &after));
    }
    w_done(&w);
}

static void test_json(void **state)
{
    (void)state;
    struct world w;
    begin_running(&w);
    assert_int_equal(move_step(&w, 0, STEP_SKIPPED), 0);
    assert_int_equal(move_step(&w, 1, STEP_DRAINING), 0);
    assert_int_equal(move_step(&w, 1, STEP_FAILED), 0);
    struct run r = w_run(&w);
    AUTO(json_freep) struct json *j = run_json(w.t, &r, r.created_ms + 61000);
    assert_string_equal(json_get_str(j, "state", ""), "paused-error");
    assert_string_equal(json_get_str(j, "target", ""), "trixie");
    assert_string_equal(json_get_str(j, "error", ""), "it broke");
    assert_int_equal(json_get_int(j, "done", -1), 0);
    assert_int_equal(json_get_int(j, "total", -1), 2);
    assert_int_equal(json_get_int(j, "seconds", -1), 61);
    const struct json *steps = json_get(j, "steps");
    assert_int_equal(json_count(steps), 3);
    const struct json *s = json_at(steps, 1);
    assert_string_equal(json_get_str(s, "node", ""), "n2");
    assert_string_equal(json_get_str(s, "state", ""), "failed");
    assert_string_equal(json_get_str(s, "failed_in", ""), "draining");
    assert_string_equal(json_get_str(s, "detail", ""), "it broke");
    assert_string_equal(json_get_str(json_at(steps, 2), "state", ""), "pending");
    assert_string_equal(run_state_name(RUN_AWAITING_RAISE), "awaiting-raise");
    assert_string_equal(step_state_name(STEP_AWAITING_REJOIN), "awaiting-rejoin");
    assert_string_equal(run_state_name((enum run_state)99), "unknown");
    w_done(&w);
}

static void test_report(void **state)
{
    (void)state;
    struct world w;
    begin_running(&w);
    w.now_ms += 1000;
    assert_int_equal(move_step(&w, 0, STEP_SKIPPED), 0);
    assert_int_equal(move_step(&w, 1, STEP_DRAINING), 0);
    w.now_ms += 7000;
    assert_int_equal(move_step(&w, 1, STEP_FAILED), 0);
    w.now_ms += 60000;
    assert_int_equal(w_control(&w, RUN_VERB_RETRY), 0);
    w.now_ms += 3000;
    assert_int_equal(move_step(&w, 1, STEP_DRAINED), 0);
    struct run r = w_run(&w);
    AUTO(json_freep) struct json *j = run_report_json(w.t, &r, 1000000 + w.now_ms);
    assert_string_equal(json_str(json_path(j, "run.state"), ""), "running");
    const struct json *nodes = json_get(j, "nodes"), *n2 = json_at(nodes, 0);
    assert_int_equal(json_count(nodes), 2);
    assert_string_equal(json_get_str(n2, "node", ""), "n2");
    assert_int_equal(json_get_int(n2, "drain_ms", -1), 10000);
    assert_int_equal(json_get_int(n2, "stopped_ms", -1), 60000);
    assert_int_equal(json_get_int(n2, "rebuild_ms", -1), 0);
    assert_int_equal(json_get_int(n2, "total_ms", -1), 70000);
    assert_int_equal(json_count(json_get(j, "accepted")), 1);
    assert_string_equal(json_str(json_at(json_get(j, "accepted"), 0), ""), "margin: one failure more");
    assert_int_equal(json_count(json_get(j, "errors")), 1);
    assert_string_equal(json_str(json_at(json_get(j, "errors"), 0), ""), "it broke");
    char notes[RUN_NOTES_MAX] = "";
    for (int i = 0; i < 1000; i++)
        run_note(notes, "the first ones stay");
    assert_true(strlen(notes) < RUN_NOTES_MAX && strlen(notes) > RUN_NOTES_MAX - 30);
    assert_int_equal(notes[strlen(notes) - 1], '\n');
    w_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start),
        cmocka_unit_test(test_one_run_at_a_time),
        cmocka_unit_test(test_stale_moves_are_refused),
        cmocka_unit_test(test_move_from_before_a_pause),
        cmocka_unit_test(test_whole_table_of_moves),
        cmocka_unit_test(test_failure_stops_the_run),
        cmocka_unit_test(test_control_in_every_state),
        cmocka_unit_test(test_awaiting_raise),
        cmocka_unit_test(test_approvals),
        cmocka_unit_test(test_so_many_at_once),
        cmocka_unit_test(test_old_runs_are_forgotten),
        cmocka_unit_test(test_malformed_entries),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_report),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
