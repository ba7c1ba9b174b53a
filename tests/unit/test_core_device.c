/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The verdict on a ring as one node gives it, and what it says of corosync's. tests/sim has the rest. */
#include "tests/unit/one_core.h"

static void assert_cast(struct one *o, uint64_t seq)
{
    struct core_action a = {0}, more;
    one_must_take(o, ACT_CAST, &a);
    assert_true(a.cast);
    assert_int_equal(a.ring.nodeid, 1);
    assert_int_equal(a.ring.seq, seq);
    assert_false(one_take(o, ACT_CAST, &more));
}

/* Each ring has a verdict of its own, told once; without corosync there is none. */
static void test_cast(void **state)
{
    struct one *o = *state;
    struct core_action a;
    one_run(o, 1000);
    assert_false(one_take(o, ACT_CAST, &a));
    one_step(o, (struct core_event){.type = EV_RING, .ring = {1, 5}});
    assert_cast(o, 5);
    one_run(o, 1000);
    assert_false(one_take(o, ACT_CAST, &a));
    one_step(o, (struct core_event){.type = EV_RING, .ring = {1, 9}});
    assert_cast(o, 9);
    one_step(o, (struct core_event){.type = EV_RING});
    one_run(o, DB_VERDICT_KEEP_MS + 1000);
    assert_false(one_take(o, ACT_CAST, &a));
}

/* A cast tells another node that this one may read its corosync.conf again: it must be there. */
static void test_cast_after_corosync_conf(void **state)
{
    (void)state;
    struct one *o = one_new();
    struct core_action a;
    o->corosync_waits = true;
    one_start(o, NULL, NULL);
    one_send(o, "cluster.init", "{'name': 'ring'}");
    one_founded(o);
    one_step(o, (struct core_event){.type = EV_RING, .ring = {1, 5}});
    one_run(o, 1000);
    assert_false(one_take(o, ACT_CAST, &a));
    one_must_take(o, ACT_COROSYNC, &a);
    one_step(o, (struct core_event){.type = EV_COROSYNC, .id = a.id});
    core_action_done(&a);
    assert_cast(o, 5);
    one_free(o);
}

static void test_finding(void **state)
{
    struct one *o = *state;
    struct core_event ev = {.type = EV_QUORUM, .quorate = true};
    one_step(o, ev);
    assert_null(one_finding(o, "QUORUM_DEVICE"));
    error_set(&ev.error, ERR_CONDITION, "corosync counts 2 votes for this node, not 1");
    error_set_remedy(&ev.error, "corosync-quorumtool -v 1");
    one_step(o, ev);
    const struct json *f = one_finding(o, "QUORUM_DEVICE");
    assert_non_null(f);
    assert_string_equal(json_get_str(f, "object", ""), "n1");
    assert_string_equal(json_get_str(f, "remedy", ""), "corosync-quorumtool -v 1");
    one_step(o, (struct core_event){.type = EV_QUORUM, .quorate = true});
    assert_null(one_finding(o, "QUORUM_DEVICE"));
}

static void test_shown(void **state)
{
    struct one *o = *state;
    one_step(o, (struct core_event){.type = EV_QUORUM, .quorate = false});
    const struct json *q = json_get(one_ask(o, 0, "quorum.show", "{}"), "quorum");
    assert_true(json_get_bool(q, "quorate", false));
    assert_false(json_get_bool(q, "corosync_quorate", true));
}

/* A corosync from before the device reloads its configuration, once. */
static void test_reload(void **state)
{
    struct one *o = *state;
    one_run(o, 1000);
    unsigned before = o->n_corosync;
    one_step(o, (struct core_event){.type = EV_QUORUM, .quorate = true});
    one_run(o, 1000);
    assert_int_equal(o->n_corosync, before);
    one_step(o, (struct core_event){.type = EV_QUORUM, .quorate = true, .wants_reload = true});
    one_run(o, 5000);
    assert_int_equal(o->n_corosync, before + 1);
}

/* What was cast before a restart on the same ring is not taken back before there was time to elect a leader. */
static void test_keep(void **state)
{
    (void)state;
    struct db_params p = {.cluster = one_uuid(1), .self = one_uuid(2), .nodeid = 1, .message_max = 4096};
    struct db *db = db_new(&p, NULL, 0);
    struct db_ring ring;
    db_ring(db, 1000, (struct db_ring){1, 7});
    db_tick(db, 1000 + DB_VERDICT_KEEP_MS - 1);
    assert_int_equal(db_verdict(db, &ring), DB_VERDICT_OPEN);
    db_tick(db, 1000 + DB_VERDICT_KEEP_MS);
    assert_int_equal(db_verdict(db, &ring), DB_VERDICT_NO);
    assert_int_equal(ring.seq, 7);
    db_ring(db, 1000 + DB_VERDICT_KEEP_MS, (struct db_ring){1, 8});
    assert_int_equal(db_verdict(db, &ring), DB_VERDICT_OPEN);
    db_free(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cast, one_setup, one_teardown),
        cmocka_unit_test(test_cast_after_corosync_conf),
        cmocka_unit_test_setup_teardown(test_finding, one_setup, one_teardown),
        cmocka_unit_test_setup_teardown(test_shown, one_setup, one_teardown),
        cmocka_unit_test_setup_teardown(test_reload, one_setup, one_teardown),
        cmocka_unit_test(test_keep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
