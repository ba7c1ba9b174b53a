/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Forcing and preventing quorum: rule by rule. */
#include "tests/unit/db_cluster.h"

static struct uuid force_at(struct cluster *c, size_t i, int want)
{
    AUTO(buf_done) struct buf b = {0};
    struct uuid self = replica_id(i);
    db_encode_force(&b, &self, "n", "admin");
    struct entry e = {.request_id = {{(uint8_t)++c->next_request, 8}}, .kind = ENTRY_FORCE, .level = 1,
                      .payload = buf_slice(&b)};
    assert_int_equal(db_force(c->node[i].db, c->now, &e, c->now + 5000), want);
    settle(c);
    return e.request_id;
}

/* What the executor does with DB_FETCH. */
static int fetch(struct cluster *c, size_t i)
{
    AUTO(buf_done) struct buf b = {0};
    const struct db *from = c->node[c->node[i].fetch_from - 1].db;
    assert_true(db_can_serve(from));
    db_snapshot_encode(from, &b);
    int err = db_snapshot_install(c->node[i].db, c->now, buf_slice(&b));
    settle(c);
    return err;
}

static void cut_off(struct cluster *c, size_t i)
{
    c->node[i].cut = true;
    regroup(c);
}

/* Three nodes, the third one alone: its side is forced, the other one went on and gives that up. */
static void set_up_two_halves(struct cluster *c)
{
    cluster_up(c, 3);
    (void)put_at(c, 0, "before", "1");
    settle(c);
    run(c, 400);
    cut_off(c, 2);
    run(c, 200);
    (void)put_at(c, 0, "lost", "2");
    settle(c);
    assert_value(c, 1, "lost", "2");
    run(c, 2 * DB_ELECTION_MS_MIN);
}

static void test_force(void **state)
{
    (void)state;
    struct cluster c = {0};
    set_up_two_halves(&c);
    (void)force_at(&c, 0, ERR_AGAIN); /* it has a quorum */
    struct uuid id = force_at(&c, 2, 0);
    assert_true(db_is_leader(c.node[2].db));
    assert_true(uuid_eq(&c.node[2].last_id, &id) && c.node[2].last.error.code == 0);
    assert_int_equal(db_epoch_number(db_term(c.node[2].db)), 1);
    assert_int_equal(db_config_total(db_configuration(c.node[2].db)), 1);
    (void)put_at(&c, 2, "kept", "3");
    settle(&c);
    assert_value(&c, 2, "kept", "3");

    c.node[2].cut = false;
    regroup(&c);
    run(&c, 1000);
    assert_int_equal(count_leaders(&c), 1); /* the lower epoch keeps still, and did not vote */
    assert_true(db_is_behind(c.node[0].db) && !db_is_behind(c.node[2].db));
    assert_int_equal(db_epoch_number(db_term(c.node[0].db)), 0);
    assert_int_equal(c.node[0].fetch_from, 3);
    assert_int_equal(fetch(&c, 0), 0);
    assert_int_equal(fetch(&c, 1), 0);
    run(&c, 1000);
    struct slice lost;
    for (size_t i = 0; i < 2; i++) {
        assert_value(&c, i, "kept", "3");
        assert_value(&c, i, "before", "1");
        assert_int_not_equal(tables_get(db_tables(c.node[i].db), TABLE_SETTING, "lost", &lost), 0);
        assert_int_equal(db_epoch_number(c.node[i].disk.image.term), 1);
    }
    change(&c, 2, ENTRY_REPLICA_WEIGHT, 0, 1);
    change(&c, 2, ENTRY_REPLICA_WEIGHT, 1, 1);
    assert_int_equal(db_config_total(db_configuration(c.node[0].db)), 3);
    cluster_down(&c);
}

/* Whoever voted for a ring in the lower epoch may vote for another one in the later. */
static void test_verdict_of_a_lower_epoch(void **state)
{
    (void)state;
    struct cluster c = {0};
    struct db_ring ring;
    set_up_two_halves(&c);
    for (size_t i = 0; i < 2; i++)
        db_ring(c.node[i].db, c.now, (struct db_ring){1, 7});
    run(&c, 1000);
    (void)force_at(&c, 2, 0);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(db_verdict(c.node[i].db, &ring), DB_VERDICT_YES);
    c.node[2].cut = false;
    regroup(&c);
    run(&c, 1000);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(db_verdict(c.node[i].db, &ring), DB_VERDICT_NO);
    cluster_down(&c);
}

/* A snapshot of before the forced entry would let its owner vote by the old weights in the new epoch. */
static void test_served_when_committed(void **state)
{
    (void)state;
    struct cluster c = {0};
    uint64_t seq;
    set_up_two_halves(&c);
    c.node[2].disk_stuck = true;
    (void)force_at(&c, 2, 0);
    assert_true(disk_complete(&c.node[2].disk, c.now, &seq)); /* and falls before it hears of that */
    node_crash(&c, 2);
    node_start(&c, 2);
    regroup(&c);
    run(&c, 3 * DB_ELECTION_MS_MIN);
    while (c.node[2].db->role != DB_LEADER && disk_complete(&c.node[2].disk, c.now, &seq)) {
        db_persisted(c.node[2].db, c.now, seq);
        settle(&c);
    }
    assert_int_equal(c.node[2].db->role, DB_LEADER); /* the entry of its term is not on disk yet */
    assert_false(db_can_serve(c.node[2].db));
    c.node[2].disk_stuck = false;
    settle(&c);
    assert_true(db_can_serve(c.node[2].db));
    cluster_down(&c);
}

/* "One batch": a node that falls before it is durable has forced nothing; after it, it is elected from its log. */
static void test_crash(void **state)
{
    (void)state;
    struct cluster c = {0};
    set_up_two_halves(&c);
    c.node[2].disk_stuck = true;
    (void)force_at(&c, 2, 0);
    assert_false(db_is_leader(c.node[2].db));
    node_crash(&c, 2);
    c.node[2].disk_stuck = false;
    node_start(&c, 2);
    regroup(&c);
    run(&c, 3 * DB_ELECTION_MS_MIN);
    assert_int_equal(db_epoch_number(db_term(c.node[2].db)), 0);
    assert_false(db_is_leader(c.node[2].db));
    (void)force_at(&c, 2, 0);
    node_crash(&c, 2);
    node_start(&c, 2);
    regroup(&c);
    run(&c, 3 * DB_ELECTION_MS_MIN);
    assert_int_equal(db_epoch_number(db_term(c.node[2].db)), 1);
    assert_true(db_is_leader(c.node[2].db));
    cluster_down(&c);
}

/* Both halves are forced: the epochs differ by the node, so one gives way to the other. */
static void test_both_forced(void **state)
{
    (void)state;
    struct cluster c = {0};
    cluster_up(&c, 2);
    cut_off(&c, 0);
    cut_off(&c, 1);
    run(&c, 3 * DB_ELECTION_MS_MIN);
    (void)force_at(&c, 0, 0);
    (void)force_at(&c, 1, 0);
    (void)put_at(&c, 0, "key", "of the first");
    (void)put_at(&c, 1, "key", "of the second");
    settle(&c);
    c.node[0].cut = c.node[1].cut = false;
    regroup(&c);
    run(&c, 1000);
    assert_false(db_is_leader(c.node[0].db));
    assert_true(db_is_leader(c.node[1].db));
    assert_int_equal(fetch(&c, 0), 0);
    assert_value(&c, 0, "key", "of the second");
    cluster_down(&c);
}

/* Somebody else is here and has more. */
static void test_longer_log(void **state)
{
    (void)state;
    struct cluster c = {0};
    struct db_replica r;
    set_up_two_halves(&c);
    db_free(c.node[0].db);
    c.node[0].db = NULL;
    assert_false(db_longer_log(c.node[2].db, &r));
    c.node[2].cut = false;
    regroup(&c);
    assert_true(db_longer_log(c.node[2].db, &r));
    assert_int_equal(r.nodeid, 2);
    assert_false(db_longer_log(c.node[1].db, &r));
    cluster_down(&c);
}

/* Neither campaigns nor votes, across a restart; and it is over when the node has joined. */
static void test_prevent(void **state)
{
    (void)state;
    struct cluster c = {0};
    cluster_up(&c, 3);
    assert_int_equal(db_prevent(c.node[1].db, c.now, true), ERR_AGAIN);
    node_crash(&c, 0);
    node_crash(&c, 2);
    regroup(&c);
    run(&c, 2 * DB_ELECTION_MS_MIN);
    assert_int_equal(db_prevent(c.node[1].db, c.now, true), 0);
    assert_false(db_is_prevention_durable(c.node[1].db));
    settle(&c);
    assert_true(db_is_prevention_durable(c.node[1].db));
    node_crash(&c, 1);
    node_start(&c, 1);
    node_start(&c, 2);
    regroup(&c);
    run(&c, 6 * DB_ELECTION_MS_MIN);
    assert_true(db_is_prevented(c.node[1].db));
    assert_int_equal(count_leaders(&c), 0);
    node_start(&c, 0);
    regroup(&c);
    run(&c, 2 * DB_ELECTION_MS_MIN);
    assert_int_equal(count_leaders(&c), 1);
    assert_false(db_is_leader(c.node[1].db));
    assert_false(db_is_prevented(c.node[1].db));
    cluster_down(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_force),       cmocka_unit_test(test_crash),   cmocka_unit_test(test_both_forced),
        cmocka_unit_test(test_longer_log),  cmocka_unit_test(test_prevent),
        cmocka_unit_test(test_served_when_committed), cmocka_unit_test(test_verdict_of_a_lower_epoch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
