/* SPDX-License-Identifier: GPL-2.0-or-later */
/* May the cluster be upgraded, in which order, may this node be taken out. */
#include "tests/unit/upgrade_world.h"
#include "upgrade/check.h"

static const struct upgrade_options wary = {.target = "trixie", .by = "admin"};
static const struct upgrade_options bold = {.target = "trixie", .by = "admin", .accept_warnings = true};

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
    const struct upgrade_options o = {.target = target};
    int result = upgrade_check(w->t, v, &o, &findings);
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
    static const char *const passing[] = {"target",   "run",     "executor", "level",    "quorum",
                                          "witness",  "members", "reports",  "agents",   "maintenance",
                                          "corosync", "ring",    "clock",    "space",    "machines",
                                          "operations"};
    for (size_t i = 0; i < sizeof(passing) / sizeof(passing[0]); i++)
        assert_int_equal(check(&w, &v, "trixie", passing[i], NULL, "pass"), 1);
    assert_int_equal(check(&w, &v, "trixie", "margin", NULL, "warn"), 1);
    AUTO(buf_done) struct buf b = {0};
    struct error e = {0};
    assert_int_equal(upgrade_entry_start(w.t, &v, &wary, &b, &e), ERR_NEED_FORCE);
    assert_non_null(strstr(e.remedy, "--yes"));
    assert_int_equal(b.len, 0);
    assert_int_equal(upgrade_entry_start(w.t, &v, &bold, &b, &e), 0);
    assert_true(b.len > 0);
    w_done(&w);
}

/* How a node is that has nothing to complain about. */
static struct host_vitals vitals_of(void)
{
    return (struct host_vitals){.spaces = {{"/", 20000, 40000}, {"/var", CHECK_SPACE_WARN_MIB, 40000}},
                                .n_spaces = 2, .n_links = 1, .executor = "/hook"};
}
static const struct host_vitals *well(void)
{
    static struct host_vitals v;
    v = vitals_of();
    return &v;
}

/* Nodes, all voters and present, without any else to complain about. */
static struct upgrade_view view_of(struct upgrade_node *nodes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        nodes[i] = (struct upgrade_node){.native_level = 1, .state = UNODE_ACTIVE, .present = true, .voter = true};
        nodes[i].caught_up = nodes[i].ready = nodes[i].has_clock = true;
        nodes[i].nodeid = (uint32_t)i + 1;
        nodes[i].vitals = well();
        STR_COPY(nodes[i].corosync, "3.1.7");
        STR_COPY(nodes[i].agent, "1.0");
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
        const struct upgrade_options o = {.target = "trixie"};
        assert_int_equal(upgrade_check(w.t, &v, &o, &findings), cases[i].result);
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
    level_init(w.t, 0, NULL);
    assert_int_equal(check(&w, &v, "trixie", "target", NULL, "fail"), 2); /* two levels up: it could not join */
    level_init(w.t, 1, NULL);
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
    assert_int_equal(check(&w, &v, "trixie", "vms", NULL, ""), 0); /* not this room's to say */
    struct json *f = json_object_new();
    json_set_str(f, "object", "vm1");
    json_set_str(f, "text", "vm1 has a host device");
    json_set_str(f, "remedy", "clusterctl vm stop vm1");
    json_append(vms, f);
    assert_int_equal(check(&w, &v, "trixie", "vms", "vm1", "fail"), 2);
    json_set_str(f, "result", "warn");
    json_set_str(f, "check", "room");
    assert_int_equal(check(&w, &v, "trixie", "room", "vm1", "warn"), 1);
    json_set_str(f, "check", "disks");
    assert_int_equal(check(&w, &v, "trixie", "disks", "vm1", "warn"), 1);
    v.in_place = true; /* the disks stay */
    check(&w, &v, "trixie", "disks", NULL, "");
    check(&w, &v, "trixie", "executor", NULL, "pass");
    w_done(&w);
}

static void test_executor(void **state)
{
    (void)state;
    struct world w;
    w_init(&w);
    struct upgrade_node nodes[4];
    struct upgrade_view v = view_of(nodes, 4);
    struct host_vitals bad = vitals_of(), of_another = vitals_of();
    assert_int_equal(check(&w, &v, "trixie", "executor", "/hook", "pass"), 0);
    bad.executor_code = ERR_PERMISSION;
    STR_COPY(bad.executor_why, "others may write it");
    nodes[2].vitals = &bad;
    assert_int_equal(check(&w, &v, "trixie", "executor", "n3", "fail"), 2);
    STR_COPY(bad.executor_remedy, "chmod go-w /hook");
    assert_int_equal(check(&w, &v, "trixie", "executor", "n3", "fail"), 2);
    STR_COPY(of_another.executor, "/another");
    nodes[2].vitals = &of_another; /* it looked at what was set before: nothing is known of this one */
    assert_int_equal(check(&w, &v, "trixie", "executor", NULL, "pass"), 0);
    for (size_t i = 0; i < 4; i++)
        nodes[i].vitals = &of_another;
    assert_int_equal(check(&w, &v, "trixie", "executor", NULL, "warn"), 1);
    w_done(&w);
}

static void test_witness(void **state)
{
    (void)state;
    struct world w;
    w_init(&w);
    struct upgrade_node nodes[4];
    struct upgrade_view v = view_of(nodes, 2); /* two nodes and a witness: three votes */
    v.has_witness = true;
    v.witness_votes = 1;
    v.votes_present = v.votes_total = 3;
    assert_int_equal(check(&w, &v, "trixie", "witness", NULL, "warn"), 1); /* nobody asked it yet */
    assert_int_equal(check(&w, &v, "trixie", "quorum", NULL, "pass"), 1);
    nodes[0].witness = nodes[1].witness = UPGRADE_WITNESS_ANSWERS;
    assert_int_equal(check(&w, &v, "trixie", "witness", NULL, "pass"), 1); /* the margin is what warns */
    nodes[1].witness = UPGRADE_WITNESS_SILENT;
    assert_int_equal(check(&w, &v, "trixie", "witness", "n2", "warn"), 1);
    assert_int_equal(check(&w, &v, "trixie", "quorum", NULL, "pass"), 1);
    nodes[0].witness = UPGRADE_WITNESS_SILENT; /* it is no vote: one of two is no majority */
    assert_int_equal(check(&w, &v, "trixie", "quorum", "n1", "fail"), 2);
    struct error e = {0};
    assert_true(upgrade_step_obstacle(&v, "n1", NULL, 0, 1, &e));
    w_done(&w);
}

static void test_reports_and_versions(void **state)
{
    (void)state;
    struct world w;
    w_init(&w);
    struct upgrade_node nodes[4];
    struct upgrade_view v = view_of(nodes, 4);
    assert_int_equal(check(&w, &v, "trixie", "reports", NULL, "pass"), 0);
    nodes[1].vitals = NULL;
    assert_int_equal(check(&w, &v, "trixie", "reports", "n2", "warn"), 1);
    v = view_of(nodes, 4);
    nodes[3].ready = false;
    assert_int_equal(check(&w, &v, "trixie", "reports", "n4", "warn"), 1);
    v = view_of(nodes, 4);
    STR_COPY(nodes[2].agent, "1.1");
    assert_int_equal(check(&w, &v, "trixie", "agents", "n3", "warn"), 1);
    STR_COPY(nodes[2].release, "trixie"); /* its packages are of another release */
    assert_int_equal(check(&w, &v, "trixie", "agents", NULL, "pass"), 0);
    v = view_of(nodes, 4);
    STR_COPY(nodes[2].corosync, "2.4.2");
    assert_int_equal(check(&w, &v, "trixie", "corosync", "n3", "fail"), 2);
    STR_COPY(nodes[2].corosync, "");
    assert_int_equal(check(&w, &v, "trixie", "corosync", NULL, "warn"), 1);
    w_done(&w);
}

static void test_ring(void **state)
{
    (void)state;
    struct world w;
    w_init(&w);
    struct upgrade_node nodes[4];
    struct upgrade_view v = view_of(nodes, 4);
    struct host_vitals h = vitals_of();
    nodes[0].vitals = &h;
    h.down[h.n_down++] = (struct host_link){.nodeid = 3, .number = 0};
    assert_int_equal(check(&w, &v, "trixie", "ring", "n1", "fail"), 2);
    h.n_links = 2;
    assert_int_equal(check(&w, &v, "trixie", "ring", "n1", "warn"), 1); /* the other one holds */
    h.down[0].nodeid = 77; /* of no node that there is */
    assert_int_equal(check(&w, &v, "trixie", "ring", NULL, "pass"), 0);
    h.down[0].nodeid = 3;
    nodes[2].present = false; /* down because of that: it is reported as absent */
    assert_int_equal(check(&w, &v, "trixie", "ring", NULL, "pass"), 2);
    nodes[2].present = true;
    h = vitals_of();
    h.n_links = 0;
    assert_int_equal(check(&w, &v, "trixie", "ring", NULL, "warn"), 1);
    w_done(&w);
}

static void test_clock(void **state)
{
    (void)state;
    struct world w;
    w_init(&w);
    struct upgrade_node nodes[4];
    struct upgrade_view v = view_of(nodes, 4);
    static const struct {
        int64_t ahead_ms;
        const char *result;
        int code;
    } cases[] = {
        {CHECK_CLOCK_WARN_MS - 1, "pass", 0},  {CHECK_CLOCK_WARN_MS, "warn", 1},  {-CHECK_CLOCK_WARN_MS, "warn", 1},
        {CHECK_CLOCK_FAIL_MS - 1, "warn", 1},  {CHECK_CLOCK_FAIL_MS, "fail", 2},  {-CHECK_CLOCK_FAIL_MS, "fail", 2},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        nodes[1].clock_ahead_ms = cases[i].ahead_ms;
        assert_int_equal(check(&w, &v, "trixie", "clock", cases[i].code ? "n2" : NULL, cases[i].result), cases[i].code);
    }
    for (size_t i = 0; i < 4; i++)
        nodes[i].has_clock = false; /* nothing known: no pass */
    nodes[1].clock_ahead_ms = 0;
    assert_int_equal(check(&w, &v, "trixie", "clock", NULL, ""), 0);
    w_done(&w);
}

static void test_space(void **state)
{
    (void)state;
    struct world w;
    w_init(&w);
    struct upgrade_node nodes[4];
    struct upgrade_view v = view_of(nodes, 4);
    struct host_vitals h = vitals_of();
    nodes[3].vitals = &h;
    assert_int_equal(check(&w, &v, "trixie", "space", NULL, "pass"), 0);
    h.spaces[1].free_mib = CHECK_SPACE_WARN_MIB - 1;
    assert_int_equal(check(&w, &v, "trixie", "space", "n4", "warn"), 1);
    h.spaces[0].free_mib = CHECK_SPACE_FAIL_MIB - 1;
    assert_int_equal(check(&w, &v, "trixie", "space", "n4", "fail"), 2);
    w_done(&w);
}

static void test_machines(void **state)
{
    (void)state;
    struct world w;
    w_init(&w);
    static const struct {
        const char *target, *machine, *result;
    } cases[] = {
        {"trixie", "pc-q35-7.2", "pass"},      {"trixie", "pc-q35-10.0", "pass"},   {"trixie", "pc-q35-7.0", "warn"},
        {"trixie", "pc-q35-4.0.1", "warn"},    {"trixie", "pc-q35-10.1", "fail"},   {"trixie", "pc-i440fx-2.3", "fail"},
        {"bookworm", "pc-i440fx-1.7", "warn"}, {"bookworm", "pc-q35-9.2", "fail"},  {"trixie", "microvm", "warn"},
        {"trixie", "pc-q35-rhel9", "warn"},    {"trixie", "pc-q35-7.2x", "warn"},   {"bookworm", "pc-q35-6.2", "pass"},
    };
    struct upgrade_node nodes[4];
    struct upgrade_view v = view_of(nodes, 4);
    struct upgrade_machine m = {.example = "vm1", .n = 3};
    v.machines = &m;
    v.n_machines = 1;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        m.machine = cases[i].machine;
        bool is_good = str_eq(cases[i].result, "pass");
        check(&w, &v, cases[i].target, "machines", is_good ? NULL : m.machine, cases[i].result);
    }
    STR_COPY(nodes[0].release, "trixie"); /* a node that runs it knows better */
    nodes[0].machines = "microvm pc-q35-7.2";
    m.machine = "microvm";
    check(&w, &v, "trixie", "machines", NULL, "pass");
    m.machine = "pc-q35-9.2";
    check(&w, &v, "trixie", "machines", "pc-q35-9.2", "fail");
    m.machine = "pc-q35-6.2"; /* but not what is deprecated */
    check(&w, &v, "trixie", "machines", "pc-q35-6.2", "warn");
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
    assert_int_equal(upgrade_plan(&v, &(struct upgrade_options){.target = "forky"}, &plan, &e), ERR_CONDITION);
    assert_non_null(strstr(e.text, "bookworm, trixie"));
    assert_null(plan);
    assert_int_equal(upgrade_plan(&v, &bold, &plan, &e), 0);
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
    assert_int_equal(upgrade_entry_start(w.t, &v, &bold, &b, &e), ERR_CONDITION); /* nothing to do */
    w_done(&w);
}

/* No room for the VMs of n3 while n4 is away, too. */
static struct json *narrow(void *ctx, const char *const *nodes, size_t n)
{
    struct json *j = json_object_new();
    (void)ctx;
    json_set_int(j, "no_room", n > 1 && str_eq(nodes[0], "n3") ? 2 : 0);
    return j;
}

static const char *together_of(const struct json *plan, size_t step)
{
    return json_str(json_at(json_get(json_at(json_get(plan, "steps"), step), "with"), 0), "-");
}

/* The first one goes alone, with its canary; what waits for another one by itself forbids nothing. */
static void test_several_at_once(void **state)
{
    (void)state;
    struct world w;
    w_init(&w);
    struct upgrade_node nodes[6];
    struct upgrade_view v = view_of(nodes, 6);
    struct upgrade_options o = bold;
    struct error e = {0};
    AUTO(json_freep) struct json *plan = NULL, *wide = NULL, *findings = NULL;
    o.max_unavailable = 2;
    nodes[5].is_leader = true;
    assert_int_equal(upgrade_plan(&v, &o, &plan, &e), 0);
    static const char *const with[] = {"-", "-", "n2", "n3", "n4", "n5"};
    for (size_t i = 0; i < 6; i++) {
        const struct json *s = json_at(json_get(plan, "steps"), i);
        assert_string_equal(together_of(plan, i), with[i]);
        assert_int_equal(json_get_int(s, "votes_after", 0), i < 2 ? 5 : 4);
        assert_true(json_get_bool(s, "margin", false));
    }
    o.max_unavailable = 4; /* two of two votes are left beside n6, and one of them is one too many to lose */
    assert_int_equal(upgrade_plan(&v, &o, &wide, &e), 0);
    assert_false(json_get_bool(json_at(json_get(wide, "steps"), 5), "margin", true));
    assert_int_equal(upgrade_check(w.t, &v, &o, &findings), 1);
    assert_string_equal(result_of(findings, "margin", "n5"), "warn");
    json_free(findings);
    o.max_unavailable = 2;
    assert_int_equal(upgrade_check(w.t, &v, &o, &findings), 0);
    assert_string_equal(result_of(findings, "together", NULL), "pass");
    json_free(findings);
    v.outlook = narrow;
    assert_int_equal(upgrade_check(w.t, &v, &o, &findings), 1);
    assert_string_equal(result_of(findings, "room", "n3"), "warn");
    json_free(findings);
    o.order = "n9"; /* which the plan refuses */
    assert_int_equal(upgrade_check(w.t, &v, &o, &findings), 0);
    json_free(findings);
    o.order = "n6,n5,n4,n3,n2,n1";
    assert_int_equal(upgrade_check(w.t, &v, &o, &findings), 1);
    assert_string_equal(result_of(findings, "room", "n3"), "warn");
    json_free(findings);
    o.order = NULL;
    v.votes_present = 3; /* of six, of which two are not here */
    v.in_place = true;
    upgrade_check(w.t, &v, &o, &findings);
    assert_string_equal(result_of(findings, "quorum", "n3"), "fail");
    w_done(&w);
}

static void order_fails(const struct upgrade_view *v, const char *order, const char *text)
{
    struct upgrade_options o = bold;
    struct json *plan = NULL;
    struct error e = {0};
    o.order = order;
    assert_int_equal(upgrade_plan(v, &o, &plan, &e), ERR_USAGE);
    assert_null(plan);
    assert_non_null(strstr(e.text, text));
    assert_non_null(strstr(e.remedy, "--order n3,n4,n2")); /* what would have been taken */
}

static void test_order(void **state)
{
    (void)state;
    struct upgrade_node nodes[4];
    struct upgrade_view v = view_of(nodes, 4);
    struct upgrade_options o = bold;
    struct error e = {0};
    STR_COPY(nodes[0].release, "trixie");
    nodes[1].is_leader = true;
    order_fails(&v, "n2", "does not name n3");
    order_fails(&v, "n2,n3", "does not name n4");
    order_fails(&v, "n2,n3,n2", "names n2 twice");
    order_fails(&v, "n2,n3,n4,n4", "names n4 twice");
    order_fails(&v, "n2,n9,n4", "'n9', which is no node");
    order_fails(&v, "n2,,n4", "'', which is no node");
    order_fails(&v, "n1,n2,n3,n4", "n1, which runs trixie already");
    char longest[300];
    memset(longest, 'n', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    order_fails(&v, longest, "no node");
    o.order = "n2,n4,n3";
    AUTO(json_freep) struct json *plan = NULL;
    assert_int_equal(upgrade_plan(&v, &o, &plan, &e), 0);
    static const char *const order[] = {"n1", "n2", "n4", "n3"};
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(json_get_str(json_at(json_get(plan, "steps"), i), "node", ""), order[i]);
}

static void test_several_out_together(void **state)
{
    (void)state;
    struct upgrade_node nodes[5];
    struct upgrade_view v = view_of(nodes, 5);
    struct error e = {0};
    const char *const others[] = {"n1", "n5"};
    nodes[0].state = UNODE_DRAINING;
    assert_true(upgrade_step_obstacle(&v, "n2", others, 1, 1, &e)); /* one at a time */
    assert_false(upgrade_step_obstacle(&v, "n2", others, 1, 2, &e));
    nodes[2].state = UNODE_PAUSED; /* by an admin: counts */
    assert_true(upgrade_step_obstacle(&v, "n2", others, 1, 2, &e));
    assert_non_null(strstr(e.text, "n3 is paused"));
    assert_false(upgrade_step_obstacle(&v, "n2", others, 1, 3, &e));
    nodes[2].state = UNODE_ACTIVE;
    nodes[3].present = false; /* a vote is away: without n1, n2 and n5 one of two is left */
    v.votes_present = 4;
    assert_true(upgrade_step_obstacle(&v, "n2", others, 2, 4, &e));
    assert_non_null(strstr(e.text, "1 of 2 votes"));
    assert_false(upgrade_step_obstacle(&v, "n2", others, 1, 4, &e));
}

static void test_step_obstacle(void **state)
{
    (void)state;
    struct upgrade_node nodes[3];
    struct upgrade_view v = view_of(nodes, 3);
    struct error e = {0};
    assert_false(upgrade_step_obstacle(&v, "n2", NULL, 0, 1, &e));
    assert_true(upgrade_step_obstacle(&v, "n9", NULL, 0, 1, &e));
    nodes[0].present = false;
    v.votes_present = 2;
    assert_true(upgrade_step_obstacle(&v, "n2", NULL, 0, 1, &e));
    assert_non_null(strstr(e.text, "n1"));
    v = view_of(nodes, 3);
    nodes[2].state = UNODE_DRAINING;
    assert_true(upgrade_step_obstacle(&v, "n2", NULL, 0, 1, &e));
    assert_false(upgrade_step_obstacle(&v, "n3", NULL, 0, 1, &e)); /* its own maintenance is no obstacle */
    v = view_of(nodes, 3);
    nodes[0].caught_up = false;
    assert_true(upgrade_step_obstacle(&v, "n2", NULL, 0, 1, &e));
    v = view_of(nodes, 3);
    v.votes_present = 2; /* a vote is missing that is no node's in the view */
    assert_true(upgrade_step_obstacle(&v, "n2", NULL, 0, 1, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_three_nodes_are_warned),
        cmocka_unit_test(test_margin_by_size),
        cmocka_unit_test(test_each_failure),
        cmocka_unit_test(test_vm_findings_are_taken_over),
        cmocka_unit_test(test_executor),
        cmocka_unit_test(test_witness),
        cmocka_unit_test(test_reports_and_versions),
        cmocka_unit_test(test_ring),
        cmocka_unit_test(test_clock),
        cmocka_unit_test(test_space),
        cmocka_unit_test(test_machines),
        cmocka_unit_test(test_other_run),
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_several_at_once),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_several_out_together),
        cmocka_unit_test(test_step_obstacle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
