/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Nodes that are upgraded in place: the leader's step and the node's own (upgrade/in-place.c) over the same tables,
 * with a program whose operations live on the node's disk. */
#include "tests/unit/upgrade_world.h"

enum { CHECK_TICKS = 4, UNPACK_TICKS = 12, DOWN_TICKS = 6 };

struct program { /* an operation of a node's program */
    char op[HOOK_OP_ID_MAX];
    size_t node;
    enum { CHECKS, UNPACKS, REBOOTS } stage;
    enum hook_state state;
    bool cancelled;
    unsigned ticks, boot, runs; /* runs: times that packages were unpacked to the end */
};

struct node_agent {
    struct world *w;
    struct upgrade_local *local; /* NULL: it does not run */
    unsigned boot, down;
    uint64_t call_id;
    struct hook_call call;
};

static struct {
    struct node_agent agents[W_NODES];
    struct program programs[W_OPS];
    size_t n;
    unsigned fail, hook_errors, lose_reports;
    bool stays_down;
    uint64_t calls;
} p;

static struct program *find(const char *op)
{
    for (size_t i = 0; i < p.n; i++)
        if (str_eq(p.programs[i].op, op))
            return &p.programs[i];
    return NULL;
}

static struct program *make(const char *op, size_t node)
{
    struct program *x = &p.programs[p.n++];
    assert_true(p.n <= W_OPS);
    *x = (struct program){.node = node, .state = HOOK_RUNNING, .boot = p.agents[node].boot};
    STR_COPY(x->op, op);
    return x;
}

static void boot(struct world *w, size_t i)
{
    struct node_agent *a = &p.agents[i];
    a->boot++;
    snprintf(w->nodes[i].boot_id, sizeof(w->nodes[i].boot_id), "boot %u of %zu", a->boot, i);
    a->w = w;
    a->local = upgrade_local_new();
}

static void halt(struct world *w, size_t i)
{
    upgrade_local_free(p.agents[i].local);
    p.agents[i].local = NULL;
    p.agents[i].call_id = 0;
    w->nodes[i].present = false;
    w->nodes[i].ready = false;
}

/* ---- the environment of a node's own step ---- */

static void local_propose(void *ctx, enum entry_kind kind, struct buf *payload, const char *key)
{
    struct node_agent *a = ctx;
    assert_int_equal(kind, ENTRY_STEP_REPORT);
    assert_int_equal(strncmp(key, "upgrade-report-", 15), 0);
    bool lost = p.lose_reports > 0 && p.lose_reports--;
    if (!lost)
        w_apply(a->w, kind, payload);
    buf_done(payload);
}

static uint64_t local_hook(void *ctx, struct hook_call *call)
{
    struct node_agent *a = ctx;
    assert_int_equal(a->call_id, 0);
    assert_string_equal(call->path, EXECUTOR_IN_PLACE);
    assert_string_equal(call->target, "trixie");
    assert_string_equal(call->node, a->w->nodes[a - p.agents].name);
    a->call = *call;
    return a->call_id = ++p.calls;
}

static void answer(struct node_agent *a, struct hook_outcome *o)
{
    size_t node = (size_t)(a - p.agents);
    struct program *x = find(a->call.op_id);
    if (!x && a->call.verb != HOOK_POLL)
        x = make(a->call.op_id, node);
    assert_non_null(x); /* never polled before it was started */
    assert_int_equal(a->w->nodes[node].state, UNODE_PAUSED);
    if (a->call.verb == HOOK_CANCEL && x->ticks < CHECK_TICKS && x->state == HOOK_RUNNING) {
        x->cancelled = true;
        x->state = HOOK_FAILED;
    }
    if (a->call.verb == HOOK_START && x->boot != a->boot && x->stage < REBOOTS)
        x->boot = a->boot; /* goes on */
    if (x->stage == REBOOTS && x->boot != a->boot && x->state == HOOK_RUNNING)
        x->state = HOOK_DONE;
    if (a->call.verb == HOOK_POLL)
        o->state = x->state;
    else if (a->call.verb == HOOK_START)
        o->state = x->state == HOOK_FAILED ? HOOK_FAILED : HOOK_DONE;
    else
        o->state = x->cancelled ? HOOK_DONE : HOOK_FAILED;
    STR_COPY(o->output, x->state == HOOK_FAILED ? "E: disk full" : x->stage == CHECKS ? "looks" : "unpacks");
}

static void tick_agent(struct world *w, size_t i)
{
    struct node_agent *a = &p.agents[i];
    struct upgrade_env env = {.ctx = a, .propose = local_propose, .local_hook = local_hook};
    struct upgrade_view v = w_view(w);
    if (!a->local && a->down > 0 && --a->down == 0) {
        boot(w, i);
        w->nodes[i].present = w->nodes[i].ready = true;
    }
    if (!a->local)
        return;
    upgrade_local_step(a->local, w->t, w->nodes[i].name, v.quorate, w->now_ms, &env);
    if (a->call_id == 0)
        return;
    struct hook_outcome o = {.state = HOOK_RUNNING};
    uint64_t id = a->call_id;
    a->call_id = 0;
    if (p.hook_errors > 0 && p.hook_errors--)
        error_set(&o.error, ERR_TIMEOUT, "did not end");
    else
        answer(a, &o);
    assert_true(upgrade_local_outcome(a->local, w->now_ms, id, &o, &env));
    assert_false(upgrade_local_outcome(a->local, w->now_ms, id, &o, &env));
}

static void tick_program(struct world *w, struct program *x)
{
    struct node_agent *a = &p.agents[x->node];
    struct upgrade_node *n = &w->nodes[x->node];
    if (x->state != HOOK_RUNNING || x->stage == REBOOTS || x->boot != a->boot || !a->local)
        return;
    assert_int_equal(n->vms_running, 0);
    x->ticks++;
    x->stage = x->ticks > CHECK_TICKS ? UNPACKS : CHECKS;
    if (x->ticks < CHECK_TICKS + UNPACK_TICKS)
        return;
    if (p.fail > 0) {
        p.fail--;
        x->state = HOOK_FAILED;
        return;
    }
    x->stage = REBOOTS;
    x->runs++;
    STR_COPY(n->release, "trixie");
    n->native_level = 2;
    level_member_set(w->t, n->name, (struct level_range){1, 2}, 1000000 + w->now_ms);
    halt(w, x->node);
    a->down = p.stays_down ? 0 : DOWN_TICKS;
}

static void tick(struct world *w)
{
    w_tick(w);
    for (size_t i = 0; i < W_NODES; i++)
        tick_agent(w, i);
    for (size_t i = 0; i < p.n; i++)
        tick_program(w, &p.programs[i]);
    w_elect(w);
}

static void until_run(struct world *w, enum run_state state)
{
    for (unsigned i = 0; w_run(w).state != state; i++) {
        struct step s = w_step(w);
        if (i == 4 * W_TICKS_MAX || (w_run(w).state == RUN_PAUSED_ERROR))
            fail_msg("run is %s, %s is %s: %s %s", run_state_name(w_run(w).state), s.node, step_state_name(s.state),
                     s.detail, upgrade_leader_waiting(w->l) ? upgrade_leader_waiting(w->l) : "");
        tick(w);
    }
}

static void until_step(struct world *w, uint32_t position, enum step_state state)
{
    for (unsigned i = 0;; i++) {
        struct run r = w_run(w);
        struct step s;
        assert_int_equal(step_get(w->t, &r.id, position, &s), 0);
        if (s.state == state)
            return;
        assert_true(i < W_TICKS_MAX);
        tick(w);
    }
}

static void begin(struct world *w)
{
    for (size_t i = 0; i < W_NODES; i++)
        upgrade_local_free(p.agents[i].local);
    memset(&p, 0, sizeof(p));
    w_init(w);
    w->executor = EXECUTOR_IN_PLACE;
    for (size_t i = 0; i < W_NODES; i++)
        boot(w, i);
    assert_int_equal(w_start(w), 0);
}

static unsigned runs(void)
{
    unsigned n = 0;
    for (size_t i = 0; i < p.n; i++) {
        assert_true(p.programs[i].runs <= 1);
        n += p.programs[i].runs;
    }
    return n;
}

/* All on the target, each with the replica that it had, none evicted, none upgraded twice. */
static void finish(struct world *w)
{
    until_run(w, RUN_AWAITING_RAISE);
    w_assert_upgraded(w);
    assert_int_equal(runs(), W_NODES);
    assert_int_equal(w->n_calls, 0);
    for (size_t i = 0; i < W_NODES; i++) {
        struct uuid replica = w_uuid((unsigned)i + 1);
        assert_int_equal(w->evicts[i], 0);
        assert_true(uuid_eq(&w->nodes[i].replica, &replica));
    }
}

/* ---- tests ---- */

static void test_whole_run(void **state)
{
    struct world *w = *state;
    finish(w);
    struct run r = w_run(w);
    assert_int_equal(r.executor, EXECUTOR_KIND_IN_PLACE);
    for (uint32_t i = 0; i < W_NODES; i++) {
        struct step s;
        assert_int_equal(step_get(w->t, &r.id, i, &s), 0);
        assert_int_equal(s.attempt, 1);
        assert_int_equal(s.report, REPORT_DONE);
        assert_true(s.boot_before[0] != '\0');
    }
}

static void test_the_setting_changes_meanwhile(void **state)
{
    struct world *w = *state;
    w->executor = "/hook";
    finish(w);
}

static unsigned ticks_of_whole_run(void)
{
    struct world w;
    unsigned n = 0;
    begin(&w);
    for (; w_run(&w).state != RUN_AWAITING_RAISE; n++)
        tick(&w);
    w_done(&w);
    return n;
}

static void test_leader_dies_at_every_tick(void **state)
{
    (void)state;
    unsigned n = ticks_of_whole_run();
    for (unsigned k = 0; k < n; k++) {
        struct world w;
        begin(&w);
        for (unsigned i = 0; i < k; i++)
            tick(&w);
        size_t dead = w.leader;
        if (w.nodes[dead].present) {
            halt(&w, dead);
            p.agents[dead].down = 10; /* power loss */
        }
        w_set_leader(&w, dead);
        w_elect(&w);
        finish(&w);
        w_done(&w);
    }
}

/* The node that is upgraded loses power at every moment; its program goes on with the next boot. */
static void test_node_dies_at_every_tick(void **state)
{
    (void)state;
    for (unsigned k = 0; k < CHECK_TICKS + UNPACK_TICKS + DOWN_TICKS + 10; k++) {
        struct world w;
        begin(&w);
        until_step(&w, 0, STEP_REBUILDING);
        for (unsigned i = 0; i < k; i++)
            tick(&w);
        size_t node = w_index(&w, "n3");
        if (w.nodes[node].present) {
            halt(&w, node);
            p.agents[node].down = 5;
        }
        finish(&w);
        w_done(&w);
    }
}

static void test_agent_restarts_all_the_time(void **state)
{
    struct world *w = *state;
    for (unsigned i = 0; w_run(w).state != RUN_AWAITING_RAISE; i++) {
        assert_true(i < W_TICKS_MAX);
        tick(w);
        for (size_t k = 0; k < W_NODES && i % 5 == 0; k++) {
            struct node_agent *a = &p.agents[k];
            if (!a->local)
                continue;
            upgrade_local_free(a->local);
            a->local = upgrade_local_new();
            a->call_id = 0;
        }
    }
    finish(w);
}

/* Facts of the new release from before the reboot are not yet the end. */
static void test_not_done_before_the_reboot(void **state)
{
    struct world *w = *state;
    until_step(w, 0, STEP_REBUILDING);
    AUTO(buf_done) struct buf b = {0};
    struct step s = w_step(w);
    struct step_report_entry r = {.run = s.run, .attempt = 1, .report = REPORT_DONE, .output = "done"};
    step_report_encode(&r, &b);
    assert_int_equal(w_apply(w, ENTRY_STEP_REPORT, &b), 0);
    STR_COPY(w->nodes[2].release, "trixie");
    for (int i = 0; i < 20; i++)
        w_tick(w);
    assert_int_equal(w_step(w).state, STEP_REBUILDING);
    upgrade_local_free(p.agents[2].local);
    boot(w, 2);
    for (int i = 0; i < 20 && w_step(w).state == STEP_REBUILDING; i++)
        w_tick(w);
    assert_int_not_equal(w_step(w).state, STEP_REBUILDING);
}

static void test_failed_package_manager_is_tried_again(void **state)
{
    struct world *w = *state;
    p.fail = 1;
    until_step(w, 0, STEP_DONE);
    struct run r = w_run(w);
    struct step s;
    assert_int_equal(step_get(w->t, &r.id, 0, &s), 0);
    assert_int_equal(s.attempt, 2);
    finish(w);
}

static void test_fails_twice_and_is_retried(void **state)
{
    struct world *w = *state;
    p.fail = 2;
    for (int i = 0; i < W_TICKS_MAX && w_run(w).state != RUN_PAUSED_ERROR; i++)
        tick(w);
    assert_int_equal(w_run(w).state, RUN_PAUSED_ERROR);
    assert_non_null(strstr(w_run(w).error, "E: disk full"));
    for (int i = 0; i < 20; i++)
        tick(w); /* nothing is called while the run stands */
    assert_int_equal(p.n, 2);
    assert_int_equal(w_control(w, RUN_VERB_RETRY), 0);
    finish(w);
    assert_int_equal(p.n, 2 + W_NODES);
}

static void test_reports_and_calls_are_lost(void **state)
{
    struct world *w = *state;
    p.lose_reports = 5;
    p.hook_errors = 5;
    finish(w);
}

static void test_never_comes_back(void **state)
{
    struct world *w = *state;
    p.stays_down = true;
    for (int i = 0; i < 10 * W_TICKS_MAX && w_run(w).state != RUN_PAUSED_ERROR; i++)
        tick(w);
    assert_int_equal(w_run(w).state, RUN_PAUSED_ERROR);
    assert_non_null(strstr(w_run(w).error, "NODE_NOT_REJOINED"));
    assert_non_null(strstr(w_run(w).remedy, "have its agent run"));
    assert_int_equal(p.n, 1);
    p.stays_down = false;
    p.agents[2].down = 1; /* somebody switched it on */
    tick(w);
    assert_int_equal(w_control(w, RUN_VERB_RETRY), 0);
    finish(w);
}

static void test_no_quorum_no_call(void **state)
{
    struct world *w = *state;
    assert_true(w_until_step(w, 0, STEP_REBUILDING));
    w->quorate = false;
    for (int i = 0; i < 20; i++)
        tick(w);
    assert_int_equal(p.calls, 0);
    w->quorate = true;
    finish(w);
}

static void test_abort(void **state)
{
    (void)state;
    for (unsigned k = 0; k < CHECK_TICKS + UNPACK_TICKS + DOWN_TICKS + 6; k++) {
        struct world w;
        begin(&w);
        until_step(&w, 0, STEP_REBUILDING);
        for (unsigned i = 0; i < k; i++)
            tick(&w);
        bool too_late = p.n > 0 && p.programs[0].ticks >= CHECK_TICKS;
        assert_int_equal(w_control(&w, RUN_VERB_ABORT), 0);
        until_run(&w, RUN_CANCELLED);
        if (too_late)
            assert_int_equal(runs(), 1);
        if (runs() == 0)
            assert_true(p.programs[0].cancelled);
        assert_string_equal(w.nodes[2].release, runs() ? "trixie" : "bookworm");
        assert_int_equal(w.nodes[2].state, UNODE_ACTIVE);
        assert_int_equal(w.nodes[2].vms_away, 0);
        assert_int_equal(w.evicts[2], 0);
        w_done(&w);
    }
}

static void test_abort_and_the_package_manager_fails(void **state)
{
    struct world *w = *state;
    p.fail = 1;
    until_step(w, 0, STEP_REBUILDING);
    while (p.n == 0 || p.programs[0].ticks < CHECK_TICKS + 2)
        tick(w);
    assert_int_equal(w_control(w, RUN_VERB_ABORT), 0);
    until_run(w, RUN_CANCELLED);
    assert_non_null(strstr(w_run(w).error, "E: disk full"));
    assert_non_null(strstr(w_run(w).remedy, "dpkg --configure -a"));
    assert_int_equal(p.n, 1); /* no other attempt */
}

/* In place a node keeps its vote while it is away: of two votes none may go. */
static void test_votes_of_two_nodes(void **state)
{
    struct world *w = *state;
    struct upgrade_view v = w_view(w);
    struct error e = {0};
    v.votes_present = v.votes_total = 2;
    assert_true(upgrade_step_obstacle(&v, "n3", NULL, 0, 1, &e));
    assert_non_null(strstr(e.text, "1 of 2 votes"));
    v.in_place = false;
    assert_false(upgrade_step_obstacle(&v, "n3", NULL, 0, 1, &e));
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

static int group_done(void **state)
{
    (void)state;
    for (size_t i = 0; i < W_NODES; i++)
        upgrade_local_free(p.agents[i].local);
    return 0;
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_whole_run),
        TEST(test_the_setting_changes_meanwhile),
        cmocka_unit_test(test_leader_dies_at_every_tick),
        cmocka_unit_test(test_node_dies_at_every_tick),
        TEST(test_agent_restarts_all_the_time),
        TEST(test_not_done_before_the_reboot),
        TEST(test_failed_package_manager_is_tried_again),
        TEST(test_fails_twice_and_is_retried),
        TEST(test_reports_and_calls_are_lost),
        TEST(test_never_comes_back),
        TEST(test_no_quorum_no_call),
        cmocka_unit_test(test_abort),
        TEST(test_abort_and_the_package_manager_fails),
        TEST(test_votes_of_two_nodes),
    };
    return cmocka_run_group_tests(tests, NULL, group_done);
}
