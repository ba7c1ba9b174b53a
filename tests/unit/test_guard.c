/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What nodes promise, and how the leader fences one that is lost (agent/guard.h). */
#include "tests/unit/unit.h"

#include "agent/guard.h"

static const char BOOT[] = "boot-a";

struct world {
    struct tables *t;
    struct guard_leader *l;
    struct guard_node node;
    struct guard_env env;
    struct log_sink log;
    unsigned lost, proposed, commands;
    uint64_t id;
    bool refuses; /* what is proposed is not applied */
};

static bool is_replica(void *ctx, const char *node, const struct uuid *replica)
{
    (void)ctx;
    return str_eq(node, "n2") && replica->b[0] == 7;
}

static uint32_t lost(void *ctx, const char *node, int64_t time_ms)
{
    struct world *w = ctx;
    (void)time_ms;
    assert_string_equal(node, "n2");
    w->lost++;
    w->node.has_vms = false;
    return 2;
}

static int apply(struct world *w, enum entry_kind kind, struct buf *b)
{
    const struct guard_gate gate = {.ctx = w, .is_replica = is_replica, .lost = lost};
    struct entry e = {.kind = (uint16_t)kind, .time_ms = 5000, .payload = buf_slice(b)};
    struct apply_result r = {0};
    guard_apply(w->t, &gate, &e, &r);
    buf_done(b);
    return r.error.code;
}

static void propose(void *ctx, enum entry_kind kind, struct buf *payload, const char *key)
{
    struct world *w = ctx;
    assert_string_equal(key, "fence/n2");
    w->proposed++;
    if (w->refuses)
        buf_done(payload);
    else
        apply(w, kind, payload);
}

static uint64_t command(void *ctx, const char *node, const char *op_id)
{
    struct world *w = ctx;
    assert_string_equal(node, "n2");
    assert_string_equal(op_id, "fence-boot-a");
    w->commands++;
    return ++w->id;
}

static int report_as(struct world *w, enum guard_kind kind, const char *boot, uint8_t replica)
{
    struct guard g = {.node = "n2", .kind = kind, .lease_ms = guard_keeps(kind) ? 6000 : 0,
                      .watchdog_ms = kind == GUARD_WATCHDOG ? 2000 : 0};
    struct uuid id = {{replica}};
    struct buf b = {0};
    STR_COPY(g.boot_id, boot);
    guard_entry_report(&g, &id, &b);
    return apply(w, ENTRY_NODE_GUARD, &b);
}

static void report(struct world *w, enum guard_kind kind)
{
    assert_int_equal(report_as(w, kind, BOOT, 7), 0);
}

static int fence(struct world *w, enum fence_verb verb, const char *boot)
{
    struct fence_entry f = {.verb = verb, .node = "n2", .how = FENCE_BY_WAIT, .wait_ms = 9600};
    struct buf b = {0};
    STR_COPY(f.boot_id, boot);
    guard_entry_fence(&f, &b);
    return apply(w, ENTRY_NODE_FENCE, &b);
}

static struct guard row(const struct world *w)
{
    struct guard g = {0};
    assert_int_equal(guard_get(w->t, "n2", &g), 0);
    return g;
}

static void drop_line(void *ctx, enum log_level level, const char *line)
{
    (void)ctx, (void)level, (void)line;
}

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));
    w->t = tables_new();
    w->l = guard_leader_new();
    w->log = (struct log_sink){.write = drop_line, .max = LOG_DEBUG_};
    w->node = (struct guard_node){.name = "n2", .has_vms = true, .bound_ms = 100000};
    w->env = (struct guard_env){.ctx = w, .now_ms = 101000, .propose = propose, .command = command, .log = &w->log};
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    guard_leader_free(w->l);
    tables_free(w->t);
    free(w);
    return 0;
}

static void step_at(struct world *w, int64_t now_ms)
{
    w->env.now_ms = now_ms;
    for (int i = 0; i < 3; i++)
        guard_leader_step(w->l, w->t, &w->node, 1, &w->env);
}

/* ---- rows */

static void test_rows(void **state)
{
    struct world *w = *state;
    assert_int_equal(report_as(w, GUARD_WATCHDOG, BOOT, 8), ERR_NO_OBJECT);
    assert_int_equal(fence(w, FENCE_BEGIN, BOOT), ERR_AGAIN);
    report(w, GUARD_WATCHDOG);
    assert_int_equal(guard_wait_ms(&(struct guard){.lease_ms = 6000, .watchdog_ms = 2000}), 9600);
    assert_int_equal(fence(w, FENCE_DONE, BOOT), ERR_AGAIN);
    assert_int_equal(fence(w, FENCE_BEGIN, "boot-b"), ERR_AGAIN);
    assert_int_equal(fence(w, FENCE_BEGIN, BOOT), 0);
    assert_int_equal(row(w).state, FENCE_WAITING);
    assert_int_equal(fence(w, FENCE_DONE, "boot-b"), ERR_AGAIN);
    assert_int_equal(w->lost, 0);
    assert_int_equal(fence(w, FENCE_DONE, BOOT), 0);
    assert_int_equal(row(w).state, FENCE_FENCED);
    assert_int_equal(w->lost, 1);
    assert_int_equal(fence(w, FENCE_DONE, BOOT), ERR_AGAIN);
    report(w, GUARD_WATCHDOG);
    assert_int_equal(row(w).state, FENCE_NO);
    assert_int_equal(row(w).count.wait, 1); /* what it reports anew leaves the counts alone */
    assert_int_equal(row(w).count.vms, 2);
    assert_int_equal(row(w).count.back, 0);
}

static void test_it_is_back_in_time(void **state)
{
    struct world *w = *state;
    report(w, GUARD_WATCHDOG);
    assert_int_equal(fence(w, FENCE_BEGIN, BOOT), 0);
    report(w, GUARD_WATCHDOG); /* its own word ends the wait */
    assert_int_equal(row(w).count.back, 1);
    assert_int_equal(fence(w, FENCE_DONE, BOOT), ERR_AGAIN);
    assert_int_equal(w->lost, 0);
}

/* ---- the leader */

static void test_wait(void **state)
{
    struct world *w = *state;
    report(w, GUARD_WATCHDOG);
    step_at(w, 101000);
    assert_int_equal(row(w).state, FENCE_WAITING);
    assert_int_equal(row(w).wait_ms, 9600);
    assert_int_equal(guard_leader_left_ms(w->l, "n2", 101000), 8600);
    step_at(w, 109599);
    assert_int_equal(row(w).state, FENCE_WAITING);
    step_at(w, 109600);
    assert_int_equal(row(w).state, FENCE_FENCED);
    assert_int_equal(row(w).how, FENCE_BY_WAIT);
    assert_int_equal(w->lost, 1);
    assert_int_equal(w->commands, 0);
}

static void test_nobody_is_fenced_who(void **state)
{
    struct world *w = *state;
    step_at(w, 900000); /* has said nothing */
    report(w, GUARD_OFF);
    step_at(w, 900000);
    report(w, GUARD_NONE);
    step_at(w, 900000);
    report(w, GUARD_WATCHDOG);
    w->node.has_vms = false;
    step_at(w, 900000);
    w->node.has_vms = w->node.present = true;
    step_at(w, 900000);
    assert_int_equal(w->proposed, 0);
}

static void test_agent_alone_gets_time(void **state)
{
    struct world *w = *state;
    report(w, GUARD_WATCHDOG);
    w->node.in_ring = true;
    step_at(w, 101000);
    step_at(w, 101000 + GUARD_AGENT_MS - 1);
    assert_int_equal(w->proposed, 0);
    step_at(w, 101000 + GUARD_AGENT_MS);
    assert_int_equal(row(w).state, FENCE_WAITING);
    w->node.present = true;
    step_at(w, 109000);
    assert_int_equal(row(w).state, FENCE_NO);
}

static void test_command(void **state)
{
    struct world *w = *state;
    struct error failed = {.code = ERR_IO, .text = "no route"}, good = {0};
    report(w, GUARD_NONE);
    w->env.has_command = true;
    assert_string_equal(guard_leader_asked(w->l, "n2"), "");
    step_at(w, 101000);
    assert_int_equal(w->commands, 1);
    assert_string_equal(guard_leader_asked(w->l, "n2"), "the fence command has not ended yet");
    assert_false(guard_leader_commanded(w->l, 77, &good, &w->env));
    assert_true(guard_leader_commanded(w->l, 1, &failed, &w->env));
    assert_string_equal(guard_leader_asked(w->l, "n2"), "the fence command did not confirm it: no route");
    step_at(w, 101000 + GUARD_COMMAND_AGAIN_MS - 1);
    assert_int_equal(w->commands, 1);
    step_at(w, 900000); /* no wait ever ends it */
    assert_int_equal(w->commands, 2);
    assert_int_equal(w->lost, 0);
    assert_true(guard_leader_commanded(w->l, 2, &good, &w->env));
    step_at(w, 900001);
    assert_int_equal(row(w).how, FENCE_BY_COMMAND);
    assert_int_equal(w->lost, 1);
}

static void test_a_second_round_waits_anew(void **state)
{
    struct world *w = *state;
    report(w, GUARD_WATCHDOG);
    step_at(w, 101000);
    step_at(w, 200000);
    assert_int_equal(w->lost, 1);
    w->node.has_vms = true;
    step_at(w, 209000); /* a move ended there: it has a VM again */
    assert_int_equal(row(w).state, FENCE_WAITING);
    assert_int_equal(w->lost, 1);
    step_at(w, 209000 + 9599);
    assert_int_equal(w->lost, 1);
    step_at(w, 209000 + 9600);
    assert_int_equal(w->lost, 2);
}

/* ---- the node itself */

static void test_self(void **state)
{
    struct guard_self g = {.note = {.on = true, .contact_ms = 1000, .gap_ms = 4000, .lease_ms = 6000}};
    (void)state;
    assert_int_equal(guard_self_now(&g, 4999), GUARD_GOOD);
    assert_int_equal(guard_self_now(&g, 5000), GUARD_LOST);
    assert_int_equal(guard_self_now(&g, 6999), GUARD_LOST);
    assert_int_equal(guard_self_now(&g, 7000), GUARD_OVER);
    assert_int_equal(guard_self_until_ms(&g), 7000);
    g.note.on = false;
    assert_int_equal(guard_self_now(&g, 99999), GUARD_FREE);
    assert_int_equal(guard_self_until_ms(&g), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_rows),
        TEST(test_it_is_back_in_time),
        TEST(test_wait),
        TEST(test_nobody_is_fenced_who),
        TEST(test_agent_alone_gets_time),
        TEST(test_command),
        TEST(test_a_second_round_waits_anew),
        cmocka_unit_test(test_self),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
