/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The report of agent/status.h: the paths that others rely on, and each health code with its severity and remedy. */
#include "tests/unit/one_core.h"

#include "agent/cluster-internal.h"
#include "agent/status.h"
#include "upgrade/run-entry.h"

struct world {
    struct one *o;
    struct json *data;
};

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);
    w->o = one_bootstrapped();
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    json_free(w->data);
    one_free(w->o);
    free(w);
    return 0;
}

static const struct json *look(struct world *w)
{
    json_free(w->data);
    w->data = status_json(w->o->core, false);
    return w->data;
}

/* The health entry with that code (and object, unless NULL); NULL: none. */
static const struct json *health(struct world *w, const char *code, const char *object)
{
    const struct json *all = json_get(look(w), "health");
    assert_true(json_is_array(all));
    for (size_t i = 0; i < json_count(all); i++) {
        const struct json *h = json_at(all, i);
        if (str_eq(json_get_str(h, "code", ""), code) && (!object || str_eq(json_get_str(h, "object", ""), object)))
            return h;
    }
    return NULL;
}

static void assert_health(struct world *w, const char *code, const char *object, const char *severity,
                          const char *remedy)
{
    const struct json *h = health(w, code, object);
    if (!h) {
        AUTO(freep) char *all = json_dump(json_get(w->data, "health"));
        fail_msg("no %s in %s", code, all);
    }
    assert_string_equal(json_get_str(h, "severity", ""), severity);
    assert_true(json_get_str(h, "text", "")[0] != '\0');
    if (!strstr(json_get_str(h, "remedy", ""), remedy))
        fail_msg("%s: remedy '%s' lacks '%s'", code, json_get_str(h, "remedy", ""), remedy);
}

/* Rows as other rooms' tests make them: here only how they are reported matters. */
static struct tables *tables_of(struct world *w)
{
    return (struct tables *)core_tables(w->o->core);
}

static void put_node(struct world *w, const char *name, enum node_state state)
{
    struct node n = {.nodeid = 9, .state = state, .facts = one_facts(), .replica = one_uuid(900 + (unsigned)name[1])};
    AUTO(buf_done) struct buf b = {0};
    if (state == NODE_ABSENT)
        n.replica = (struct uuid){0};
    STR_COPY(n.name, name);
    STR_COPY(n.address, "10.0.0.9");
    node_encode(&n, &b);
    tables_put(tables_of(w), TABLE_NODE, name, buf_slice(&b));
}

static void set_own_state(struct world *w, enum node_state state)
{
    struct node n = {0};
    AUTO(buf_done) struct buf b = {0};
    assert_int_equal(node_get(tables_of(w), "n1", &n), 0);
    n.state = state;
    node_encode(&n, &b);
    tables_put(tables_of(w), TABLE_NODE, "n1", buf_slice(&b));
    node_done(&n);
}

static void test_paths(void **state)
{
    struct world *w = *state;
    one_add_vm(w->o, "a");
    const struct json *d = look(w), *n = json_at(json_get(d, "nodes"), 0), *v = json_at(json_get(d, "vms"), 0);
    assert_string_equal(json_str(json_path(d, "cluster.name"), ""), "ring");
    assert_string_equal(json_str(json_path(d, "self.name"), ""), "n1");
    assert_string_equal(json_str(json_path(d, "self.phase"), ""), "member");
    assert_true(json_bool(json_path(d, "quorum.quorate"), false));
    assert_false(json_bool(json_path(d, "quorum.stale"), true));
    assert_string_equal(json_str(json_path(d, "quorum.leader"), ""), "n1");
    assert_int_equal(json_int(json_path(d, "quorum.votes_present"), 0), 1);
    assert_int_equal(json_int(json_path(d, "quorum.votes_total"), 0), 1);
    assert_int_equal(json_int(json_path(d, "level.committed"), 0), 1);
    assert_string_equal(json_get_str(n, "name", ""), "n1");
    assert_string_equal(json_get_str(n, "state", ""), "online");
    assert_string_equal(json_get_str(n, "release", ""), "bookworm");
    assert_string_equal(json_get_str(n, "qemu", ""), "7.2.0");
    assert_string_equal(json_get_str(n, "agent", ""), "1.0");
    assert_true(json_get_bool(n, "voter", false));
    assert_true(json_get_bool(n, "leader", false));
    assert_true(json_get_bool(n, "self", false));
    assert_string_equal(json_get_str(v, "name", ""), "a");
    assert_string_equal(json_get_str(v, "node", ""), "n1");
    assert_string_equal(json_get_str(v, "state", ""), "stopped");
    assert_non_null(json_get(d, "run"));
    assert_true(json_is_array(json_get(d, "jobs")));
}

static int64_t counted(const struct json *d, const char *path)
{
    return json_int(json_path(d, path), -1);
}

/* Many are counted, and only those that need a look are listed; who asks for all gets all. */
static void test_many_vms(void **state)
{
    struct world *w = *state;
    struct vm v = {.state = VM_STOPPED, .machine = "pc-q35-7.2", .policy = VM_POLICY_FAIL, .node = "n1", .home = "n1"};
    for (int i = 0; i <= STATUS_VMS_MAX; i++) {
        AUTO(buf_done) struct buf b = {0};
        snprintf(v.name, sizeof v.name, "vm%03d", i);
        STR_COPY(v.error, i == 7 ? "no such disk" : "");
        vm_encode(&v, &b);
        tables_put(tables_of(w), TABLE_VM, v.name, buf_slice(&b));
        const struct json *d = look(w);
        assert_int_equal(counted(d, "vm_counts.total"), i + 1);
        assert_int_equal(counted(d, "vm_counts.listed"), json_count(json_get(d, "vms")));
        assert_int_equal(json_count(json_get(d, "vms")), i < STATUS_VMS_MAX ? i + 1 : 1);
    }
    assert_string_equal(json_get_str(json_at(json_get(w->data, "vms"), 0), "name", ""), "vm007");
    assert_int_equal(counted(w->data, "vm_counts.states.failed"), 1);
    assert_int_equal(counted(w->data, "vm_counts.states.stopped"), STATUS_VMS_MAX);
    assert_health(w, "VM_FAILED", "vm007", "warning", "clusterctl vm start vm007");
    struct json *all = status_json(w->o->core, true);
    assert_int_equal(json_count(json_get(all, "vms")), STATUS_VMS_MAX + 1);
    json_free(all);
}

static uint32_t away_from(struct world *w, size_t node)
{
    struct node_views *v = xcalloc(1, sizeof *v);
    node_views_build(v, w->o->core, false);
    assert_true(node < v->v.n);
    uint32_t away = v->v.nodes[node].vms_away;
    node_views_done(v);
    free(v);
    return away;
}

/* It is kept from look to look, and follows the rows and the clock all the same. */
static void test_tally_follows(void **state)
{
    struct world *w = *state;
    struct vm v = {.name = "a", .state = VM_RUNNING, .machine = "pc-q35-7.2", .policy = VM_POLICY_FAIL};
    struct node n = {0};
    AUTO(buf_done) struct buf row = {0}, vm = {0};
    put_node(w, "n2", NODE_ACTIVE);
    STR_COPY(v.node, "n1");
    STR_COPY(v.home, "n2");
    assert_int_equal(away_from(w, 1), 0);
    vm_encode(&v, &vm);
    tables_put(tables_of(w), TABLE_VM, v.name, buf_slice(&vm));
    assert_int_equal(away_from(w, 1), 1);
    assert_int_equal(node_get(tables_of(w), "n2", &n), 0);
    n.quarantined_ms = w->o->wall + 10 * ONE_TICK_MS;
    node_encode(&n, &row);
    tables_put(tables_of(w), TABLE_NODE, "n2", buf_slice(&row));
    node_done(&n);
    assert_int_equal(away_from(w, 1), 0);
    w->o->core->wall_ms += 20 * ONE_TICK_MS; /* and no row changes */
    assert_int_equal(away_from(w, 1), 1);
}

static void test_healthy(void **state)
{
    struct world *w = *state;
    assert_health(w, "FAILOVER_DISABLED", NULL, "warning", "start");
    assert_int_equal(json_count(json_get(w->data, "health")), 1);
}

static void test_worst_first(void **state)
{
    struct world *w = *state;
    put_node(w, "n2", NODE_ABSENT);
    put_node(w, "n3", NODE_PAUSED);
    const struct json *all = json_get(look(w), "health");
    int rank = 0;
    assert_true(json_count(all) >= 4);
    for (size_t i = 0; i < json_count(all); i++) {
        const char *s = json_get_str(json_at(all, i), "severity", "");
        int is = str_eq(s, "critical") ? 0 : str_eq(s, "warning") ? 1 : 2;
        assert_true(is >= rank);
        rank = is;
    }
}

static void test_nodes(void **state)
{
    struct world *w = *state;
    put_node(w, "n2", NODE_ABSENT);
    put_node(w, "n3", NODE_ACTIVE); /* its agent is not there */
    assert_health(w, "NODE_NOT_REJOINED", "n2", "critical", "join-token n2");
    assert_health(w, "NODE_OFFLINE", "n3", "critical", "evict n3 --keep-slot --force");
    put_node(w, "n4", NODE_EVICTING); /* is on its way out */
    assert_null(health(w, "NODE_OFFLINE", "n4"));
    assert_health(w, "NO_EXECUTOR", NULL, "ok", "upgrade.executor");
    set_own_state(w, NODE_DRAINING);
    assert_health(w, "NODE_PAUSED", "n1", "warning", "resume n1");
    set_own_state(w, NODE_PAUSED);
    assert_health(w, "NODE_PAUSED", "n1", "warning", "resume n1");
    set_own_state(w, NODE_ACTIVE);
    assert_null(health(w, "NODE_PAUSED", NULL));
}

/* Who was admitted and is on the way is not away; when it takes long, it is said mildly. */
static void test_joining(void **state)
{
    struct world *w = *state;
    one_join(w->o, "n2", "10.0.0.2", 1);
    one_run(w->o, 60 * 1000);
    assert_null(health(w, "NODE_OFFLINE", NULL));
    assert_null(health(w, "NODE_JOIN_OVERDUE", NULL));
    one_run(w->o, 61 * 1000);
    assert_health(w, "NODE_JOIN_OVERDUE", "n2", "warning", "evict n2 --keep-slot --force");
    assert_null(health(w, "NODE_OFFLINE", NULL));
    assert_string_equal(json_get_str(json_at(json_get(w->data, "nodes"), 1), "state", ""), "joining");
    struct run r = {.id = one_uuid(77), .state = RUN_RUNNING, .target = "trixie", .n_steps = 1,
                    .max_unavailable = 1};
    struct step st = {.run = r.id, .state = STEP_JOINING, .node = "n2"};
    run_put(tables_of(w), &r); /* an upgrade's step has a deadline of its own */
    step_put(tables_of(w), &st);
    assert_null(health(w, "NODE_JOIN_OVERDUE", NULL));
}

static void test_shown_states(void **state)
{
    struct world *w = *state;
    static const struct {
        enum node_state state;
        const char *here, *away;
    } rows[] = {
        {NODE_ACTIVE, "online", "offline"},       {NODE_DRAINING, "draining", "offline"},
        {NODE_PAUSED, "paused", "offline"},       {NODE_EVICTING, "evicting", "evicting"},
        {NODE_ABSENT, "absent", "absent"},        {NODE_JOINING, "joining", "joining"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        set_own_state(w, rows[i].state);
        put_node(w, "n2", rows[i].state);
        const struct json *nodes = json_get(look(w), "nodes");
        assert_string_equal(json_get_str(json_at(nodes, 0), "state", ""), rows[i].here);
        assert_string_equal(json_get_str(json_at(nodes, 1), "state", ""), rows[i].away);
    }
}

static void test_vm_failed(void **state)
{
    struct world *w = *state;
    struct core_action a;
    struct vm_outcome failed = {.error = {.code = ERR_FAILED, .text = "no such disk"}};
    one_add_vm(w->o, "a");
    assert_null(health(w, "VM_FAILED", NULL));
    one_ask(w->o, 0, "vm.start", "{'name': 'a'}");
    one_must_take(w->o, ACT_VM, &a);
    one_step(w->o, (struct core_event){.type = EV_VM, .id = a.id, .vm = &failed});
    core_action_done(&a);
    one_run(w->o, 3000);
    assert_health(w, "VM_FAILED", "a", "warning", "clusterctl vm start a");
    const struct json *h = health(w, "VM_FAILED", "a");
    assert_non_null(strstr(json_get_str(h, "text", ""), "no such disk"));
}

static void test_corosync(void **state)
{
    struct world *w = *state;
    one_step(w->o, (struct core_event){.type = EV_QUORUM, .quorate = false});
    assert_health(w, "COROSYNC_NOT_QUORATE", "n1", "warning", "corosync-quorumtool");
    assert_false(json_bool(json_path(w->data, "quorum.corosync_quorate"), true));
}

/* The level's state is the upgrade room's: members as their facts say. */
static void set_member(struct world *w, const char *node, uint8_t native, int64_t at_ms)
{
    level_member_set(tables_of(w), node, (struct level_range){native > 1 ? (uint8_t)(native - 1) : 1, native}, at_ms);
}

static void test_mixed_mode(void **state)
{
    struct world *w = *state;
    const int64_t day_ms = 24LL * 3600 * 1000, since = w->o->wall;
    set_member(w, "n2", 2, since);
    assert_health(w, "MIXED_MODE", NULL, "ok", "upgrade");
    assert_true(json_is_str(json_path(w->data, "level.mixed.since")));
    w->o->core->wall_ms = since + MIXED_WARN_DAYS * day_ms - 1;
    assert_health(w, "MIXED_MODE", NULL, "ok", "upgrade");
    w->o->core->wall_ms++;
    assert_health(w, "MIXED_MODE_OVERDUE", NULL, "warning", "clusterctl upgrade");
    assert_null(health(w, "MIXED_MODE", NULL));
    w->o->core->wall_ms = since + MIXED_CRITICAL_DAYS * day_ms;
    assert_health(w, "MIXED_MODE_OVERDUE", NULL, "critical", "clusterctl upgrade");
    set_member(w, "n1", 2, since); /* all offer more */
    assert_health(w, "LEVEL_BEHIND", NULL, "critical", "level raise");
    w->o->core->wall_ms = since;
    assert_health(w, "LEVEL_BEHIND", NULL, "warning", "level raise");
}

static void test_no_quorum(void **state)
{
    (void)state;
    struct world w = {.o = one_without_quorum()};
    one_run(w.o, 3000);
    assert_health(&w, "NO_QUORUM", NULL, "critical", "journalctl");
    assert_null(health(&w, "QUORUM_MARGIN", NULL));
    assert_null(health(&w, "COROSYNC_NOT_QUORATE", NULL));
    assert_true(json_bool(json_path(w.data, "quorum.stale"), false));
    assert_int_equal(json_int(json_path(w.data, "quorum.votes_present"), 0), 1);
    assert_int_equal(json_int(json_path(w.data, "quorum.votes_total"), 0), 2);
    assert_false(json_is_str(json_path(w.data, "quorum.leader")));
    json_free(w.data);
    one_free(w.o);
}

/* One vote of one: there is no further one to lose. */
static void test_no_margin_of_one(void **state)
{
    assert_null(health(*state, "QUORUM_MARGIN", NULL));
    assert_null(health(*state, "NO_QUORUM", NULL));
}

static void put_run(struct world *w, enum run_state state)
{
    struct run r = {.id = one_uuid(77), .state = state, .target = "trixie", .max_unavailable = 1,
                    .error = "no token", .remedy = "look", .created_ms = w->o->wall};
    run_put(tables_of(w), &r);
}

static void test_upgrade(void **state)
{
    struct world *w = *state;
    put_run(w, RUN_PAUSED);
    assert_health(w, "UPGRADE_PAUSED", NULL, "warning", "upgrade resume");
    assert_string_equal(json_str(json_path(w->data, "run.state"), ""), "paused");
    put_run(w, RUN_PAUSED_ERROR);
    assert_health(w, "UPGRADE_FAILED", NULL, "critical", "look");
    put_run(w, RUN_DONE);
    assert_null(health(w, "UPGRADE_FAILED", NULL));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_paths),
        TEST(test_many_vms),
        TEST(test_tally_follows),
        TEST(test_healthy),
        TEST(test_worst_first),
        TEST(test_nodes),
        TEST(test_joining),
        TEST(test_shown_states),
        TEST(test_vm_failed),
        TEST(test_corosync),
        TEST(test_mixed_mode),
        cmocka_unit_test(test_no_quorum),
        TEST(test_no_margin_of_one),
        TEST(test_upgrade),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
