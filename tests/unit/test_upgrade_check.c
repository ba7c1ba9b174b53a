/* SPDX-License-Identifier: GPL-2.0-or-later */
/* May the cluster be upgraded, in which order, may this node be taken out. */
#include "tests/unit/upgrade_world.h"

/* The result of a check for an object (NULL: any), or "". The worst one counts. */
static const char *result_of(const struct json *findings, const char *check, const char *object)
{
    const char *worst = "";
    for (size_t i = 0; i < json_count(findings); i++) {
        const struct json *f = json_at(findings, i);
        if (!str_eq(json_get_str(f, "check", ""), check) || (object && !str_eq(json_get_str(f, "object", ""), object)))
            continue;
        const char *result = json_get_str(f, "result", "");
        if (worst[0] == '\0' || str_eq(result, "fail"))
            worst = result;
    }
    return worst;
}

static int check(struct world *w, struct upgrade_view *v, const char *target, const char *name, const char *object,
                 const char *expected)
{
    AUTO(json_freep) struct json *findings = NULL;
    int result = upgrade_check(w->t, v, target, &findings);
    assert_string_equal(result_of(findings, name, object), expected);
    for (size_t i = 0; i < json_count(findings); i++) { /* every complaint says what mends it */
        const struct json *f = json_at(findings, i);
        if (!str_eq(json_get_str(f, "result", ""), "pass"))
            assert_true(json_get_str(f, "remedy", "")[0] != '\0');
        assert_true(json_get_str(f, "text", "")[0] != '\0');
    }
    return result;
}

static void test_three_nodes_are_warned(void **state)
{
    (void)state;
    struct world w;
    w_init(&w);
    struct upgrade_view v = w_view(&w);
    static const char *const passing[] = {"target",      "run",     "executor", "level",     "quorum",
                                          "maintenance", "members", "vms",      "operations"};
    for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++)
        assert_int_equal(check(&w, &v, "trixie", passing[i], NULL, "pass"), 1);
    assert_int_equal(check(&w, &v, "trixie", "margin", NULL, "warn"), 1);
    AUTO(buf_done) struct buf b = {0};
    struct error e = {0};
    assert_int_equal(upgrade_entry_start(w.t, &v, "trixie", "admin", false, &b, &e), ERR_NEED_FORCE);
    assert_non_null(strstr(e.remedy, "--yes"));
    assert_int_equal(b.len, 0);
    assert_int_equal(upgrade_entry_start(w.t, &v, "trixie", "admin", true, &b, &e), 0);
    assert_true(b.len > 0);
    w_done(&w);
}

/* Nodes, all voters and present, without any else to complain about. */
static struct upgrade_view view_of(struct upgrade_node *nodes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        nodes[i] = (struct upgrade_node){.native_level = 1, .state = UNODE_ACTIVE, .present = true, .voter = true};
        nodes[i].caught_up = nodes[i].ready = nodes[i].vms_home = true;
        snprintf(nodes[i].name, sizeof(nodes[i].name), "n%zu", i + 1);
        STR_COPY(nodes[i].release, "bookworm");
    }
    return (struct upgrade_view){.nodes = nodes,
                                 .n = n,
                                 .quorate = true,
                                 .votes_present = (unsigned)n,
                                 .votes_total = (unsigned)n,
                                 .executor = "/hook",
                                 .fl = 1};
}

static void test_margin_by_size(void **state)
{
    (void)state;
    static const struct {
        size_t n;
        int result;
    } cases[] = {{1, 2}, {2, 1}, {3, 1}, {4, 0}, {5, 0}, {7, 0}};
    struct world w;
    w_init(&w);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct upgrade_node nodes[7];
        struct upgrade_view v = view_of(nodes, cases[i].n);
        AUTO(json_freep) struct json *findings = NULL;
        assert_int_equal(upgrade_check(w.t, &v, "trixie", &findings), cases[i].result);
    }
    struct upgrade_node nodes[5];
    struct upgrade_view v = view_of(nodes, 5); /* two of five are away: a third would cost quorum */
    nodes[3].present = nodes[4].present = false;
    v.votes_present = 3;
    assert_int_equal(check(&w, &v, "trixie", "quorum", "n1", "fail"), 2);
    v = view_of(nodes, 5);
    v.quorate = false;
    assert_int_equal(check(&w, &v, "trixie", "quorum", NULL, "fail"), 2);
    w_done(&w);
}

static void test_each_failure(void **state)
{
    (void)state;
    struct world w;
    w_init(&w);
    struct upgrade_node nodes[4];
    struct upgrade_view v = view_of(nodes, 4);
    assert_int_equal(check(&w, &v, "trixie", "margin", NULL, "pass"), 0);
    v.executor = "";
    assert_int_equal(check(&w, &v, "trixie", "executor", NULL, "fail"), 2);
    v.executor = NULL;
    assert_int_equal(check(&w, &v, "trixie", "executor", NULL, "fail"), 2);
    v = view_of(nodes, 4);
    for (size_t i = 0; i < 4; i++)
        nodes[i].caught_up = false; /* a follower answers: it cannot tell */
    assert_int_equal(check(&w, &v, "trixie", "members", NULL, "pass"), 0);
    v = view_of(nodes, 4);
    v.vm_ops = 2;
    assert_int_equal(check(&w, &v, "trixie", "operations", NULL, "warn"), 1);
    v = view_of(nodes, 4);
    nodes[2].state = UNODE_PAUSED;
    assert_int_equal(check(&w, &v, "trixie", "maintenance", "n3", "fail"), 2);
    nodes[2].state = UNODE_DRAINING;
    assert_int_equal(check(&w, &v, "trixie", "maintenance", "n3", "fail"), 2);
    nodes[2].state = UNODE_ABSENT;
    assert_int_equal(check(&w, &v, "trixie", "members", "n3", "fail"), 2);
    nodes[2].state = UNODE_ACTIVE;
    nodes[1].present = false;
    assert_int_equal(check(&w, &v, "trixie", "members", "n2", "fail"), 2);
    v = view_of(nodes, 4);
    assert_int_equal(check(&w, &v, "forky", "target", NULL, "fail"), 2);
    level_init(w.t, 0);
    assert_int_equal(check(&w, &v, "trixie", "target", NULL, "fail"), 2); /* two levels up: it could not join */
    level_init(w.t, 1);
    nodes[3].native_level = 2;
    assert_int_equal(check(&w, &v, "bookworm", "target", "n4", "fail"), 2); /* no way back */
    assert_int_equal(check(&w, &v, "trixie", "target", NULL, "pass"), 0);
    AUTO(buf_done) struct buf b = {0};
    struct level_request q = {.verb = LEVEL_FENCE, .level = 2};
    level_entry(&q, &b);
    for (size_t i = 0; i < W_NODES; i++)
        level_member_set(w.t, w.nodes[i].name, (struct level_range){1, 2}, 1);
    assert_int_equal(w_apply(&w, ENTRY_LEVEL, &b), 0);
    assert_int_equal(check(&w, &v, "trixie", "level", NULL, "fail"), 2);
    w_done(&w);
}

static void test_vm_findings_are_taken_over(void **state)
{
    (void)state;
    struct world w;
    w_init(&w);
    struct upgrade_node nodes[4];
    struct upgrade_view v = view_of(nodes, 4);
    AUTO(json_freep) struct json *vms = json_array_new();
    v.vm_findings = vms;
    assert_int_equal(check(&w, &v, "trixie", "vms", NULL, "pass"), 0);
    struct json *f = json_object_new();
    json_set_str(f, "object", "vm1");
    json_set_str(f, "text", "vm1 has a host device");
    json_set_str(f, "remedy", "clusterctl vm stop vm1");
    json_append(vms, f);
    assert_int_equal(check(&w, &v, "trixie", "vms", "vm1", "fail"), 2);
    json_set_str(f, "result", "warn");
    json_set_str(f, "check", "room");
    assert_int_equal(check(&w, &v, "trixie", "room", "vm1", "warn"), 1);
    w_done(&w);
}

static void test_other_run(void **state)
{
    (void)state;
    struct world w;
    w_init(&w);
    assert_int_equal(w_start(&w), 0);
    struct upgrade_view v = w_view(&w);
    assert_int_equal(check(&w, &v, "trixie", "run", NULL, "fail"), 2);
    AUTO(json_freep) struct json *findings = NULL;
    struct run r = w_run(&w);
    assert_int_equal(upgrade_check_for(w.t, &v, "trixie", &r.id, &findings), 1); /* not in its own way */
    assert_int_equal(w_start(&w), ERR_CONDITION);
    assert_int_equal(w_control(&w, RUN_VERB_PAUSE), 0);
    w.nodes[2].state = UNODE_DRAINING; /* as it is in the midst of a run */
    assert_int_equal(w_start(&w), 0);
    assert_int_equal(w_run(&w).state, RUN_PRECHECKING);
    w_done(&w);
}

static void test_plan(void **state)
{
    (void)state;
    struct world w;
    w_init(&w);
    struct upgrade_node nodes[5];
    struct upgrade_view v = view_of(nodes, 5);
    struct error e = {0};
    struct json *plan = NULL;
    static const uint32_t vms[] = {3, 0, 2, 1, 1};
    for (size_t i = 0; i < 5; i++)
        nodes[i].vms_running = vms[i];
    nodes[1].is_leader = true;
    STR_COPY(nodes[0].release, "trixie");
    assert_int_equal(upgrade_plan(w.t, &v, "forky", &plan, &e), ERR_CONDITION);
    assert_non_null(strstr(e.text, "bookworm, trixie"));
    assert_null(plan);
    assert_int_equal(upgrade_plan(w.t, &v, "trixie", &plan, &e), 0);
    static const char *const order[] = {"n1", "n4", "n5", "n3", "n2"}; /* skipped; fewest VMs; the leader last */
    const struct json *steps = json_get(plan, "steps");
    assert_int_equal(json_count(steps), 5);
    for (size_t i = 0; i < 5; i++) {
        const struct json *s = json_at(steps, i);
        assert_string_equal(json_get_str(s, "node", ""), order[i]);
        assert_int_equal(json_get_int(s, "position", -1), i);
        assert_int_equal(json_get_bool(s, "skipped", false), i == 0);
        assert_int_equal(json_get_int(s, "votes_after", -1), 4);
        assert_int_equal(json_get_int(s, "votes_total", -1), 4);
    }
    json_free(plan);
    AUTO(buf_done) struct buf b = {0};
    for (size_t i = 0; i < 5; i++)
        STR_COPY(nodes[i].release, "trixie");
    assert_int_equal(upgrade_entry_start(w.t, &v, "trixie", "admin", true, &b, &e), ERR_CONDITION); /* nothing to do */
    w_done(&w);
}

static void test_step_obstacle(void **state)
{
    (void)state;
    struct upgrade_node nodes[3];
    struct upgrade_view v = view_of(nodes, 3);
    struct error e = {0};
    assert_false(upgrade_step_obstacle(&v, "n2", &e));
    assert_true(upgrade_step_obstacle(&v, "n9", &e));
    nodes[0].present = false;
    v.votes_present = 2;
    assert_true(upgrade_step_obstacle(&v, "n2", &e));
    assert_non_null(strstr(e.text, "n1"));
    v = view_of(nodes, 3);
    nodes[2].state = UNODE_DRAINING;
    assert_true(upgrade_step_obstacle(&v, "n2", &e));
    assert_false(upgrade_step_obstacle(&v, "n3", &e)); /* its own maintenance is no obstacle */
    v = view_of(nodes, 3);
    nodes[0].caught_up = false;
    assert_true(upgrade_step_obstacle(&v, "n2", &e));
    v = view_of(nodes, 3);
    v.votes_present = 2; /* a vote is missing that is no node's in the view */
    assert_true(upgrade_step_obstacle(&v, "n2", &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_nodes_are_warned),
        cmocka_unit_test(test_margin_by_size),
        cmocka_unit_test(test_each_failure),
        cmocka_unit_test(test_vm_findings_are_taken_over),
        cmocka_unit_test(test_other_run),
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_step_obstacle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
