/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/db_cluster.h"

static void test_single_node(void **state)
{
    struct cluster *c = *state;
    struct uuid id = put_at(c, 0, "a", "1");
    assert_true(db_is_pending(c->node[0].db, &id));
    settle(c);
    assert_false(db_is_pending(c->node[0].db, &id));
    assert_int_equal(c->node[0].n_applied, 1);
    assert_true(uuid_eq(&c->node[0].last_id, &id));
    assert_value(c, 0, "a", "1");
    assert_true(db_config_settled(c->node[0].db));
    assert_int_equal(db_bootstrap(c->node[0].db, c->now), ERR_CONDITION);
}

/* "Commit only after a majority has it on disk." */
static void test_commit_waits_for_disk(void **state)
{
    struct cluster *c = *state;
    c->node[0].disk_stuck = c->node[1].disk_stuck = true;
    put_at(c, 0, "a", "1");
    run(c, 300);
    assert_int_equal(c->node[0].n_applied, 2 + 2); /* the membership changes only */
    c->node[0].disk_stuck = false;
    run(c, 40);
    assert_int_equal(c->node[0].n_applied, 5);
    for (size_t i = 0; i < 3; i++)
        assert_value(c, i, "a", "1");
}

/* A follower that holds an entry in memory only must not acknowledge it. */
static void test_leader_does_not_need_its_own_disk(void **state)
{
    struct cluster *c = *state;
    c->node[0].disk_stuck = true;
    put_at(c, 2, "a", "1");
    settle(c);
    assert_value(c, 2, "a", "1");
}

static void test_forwarded_and_batched(void **state)
{
    struct cluster *c = *state;
    run(c, 1500); /* lazy rows are written */
    size_t persisted = c->node[0].n_persist, sent = c->node[2].n_send;
    for (int i = 0; i < 20; i++)
        put_at(c, 2, "k", "v");
    settle(c);
    assert_int_equal(c->node[2].n_applied, 20);
    assert_int_equal(c->node[0].n_persist, persisted + 1);
    assert_in_range(c->node[2].n_send, sent + 2, sent + 4); /* one proposal message, acknowledgements */
}

static void test_outcome_is_kept_for_a_retry(void **state)
{
    struct cluster *c = *state;
    AUTO(buf_done) struct buf b = {0};
    wire_put_str(&b, "refused");
    wire_put_str(&b, "");
    struct entry e = {.kind = ENTRY_SETTING_PUT, .request_id = {{5}}, .payload = buf_slice(&b)};
    for (size_t i = 0; i < 3; i++) {
        uint64_t last = db_last_index(c->node[0].db);
        assert_int_equal(db_propose(c->node[i].db, c->now, &e, c->now + 1000), 0);
        settle(c);
        assert_int_equal(c->node[i].last.error.code, ERR_CONDITION);
        assert_true(i == 0 || db_last_index(c->node[0].db) == last);
    }
    assert_string_equal(c->node[0].last.error.text, c->node[2].last.error.text);
}

static void test_limits_of_a_proposal(void **state)
{
    struct cluster *c = *state;
    AUTO(freep) uint8_t *big = xcalloc(1, ENTRY_SIZE_MAX + 1);
    struct entry e = {.kind = ENTRY_SETTING_PUT, .request_id = {{5}}, .payload = {big, ENTRY_SIZE_MAX + 1}};
    assert_int_equal(db_propose(c->node[0].db, c->now, &e, c->now + 1000), ERR_TOO_BIG);
    e.payload.len = 1;
    e.request_id = (struct uuid){{0}};
    assert_int_equal(db_propose(c->node[0].db, c->now, &e, c->now + 1000), ERR_USAGE);
}

/* Leader not in view: a new one within DB_CAMPAIGN_MS_MAX and the rounds. */
static void test_failover_and_return(void **state)
{
    struct cluster *c = *state;
    put_at(c, 0, "a", "1");
    settle(c);
    node_crash(c, 0);
    regroup(c);
    run(c, 600);
    size_t leader = leader_of(c);
    assert_int_not_equal(leader, 0);
    put_at(c, 3 - leader, "a", "2");
    settle(c);
    node_start(c, 0);
    regroup(c);
    run(c, 1000);
    assert_int_equal(leader_of(c), leader);
    assert_value(c, 0, "a", "2");
    struct hash x = tables_hash(db_tables(c->node[0].db)), y = tables_hash(db_tables(c->node[leader].db));
    assert_true(hash_eq(&x, &y));
}

/* A leader that hears no majority steps down; its uncommitted entries go when it is back. */
static void test_minority_leader(void **state)
{
    struct cluster *c = *state;
    c->node[0].cut = true;
    regroup(c);
    struct uuid lost = put_at(c, 0, "a", "minority");
    run(c, 1000);
    size_t leader = leader_of(c);
    assert_int_not_equal(leader, 0);
    put_at(c, leader, "a", "majority");
    run(c, 5500);
    assert_int_equal(count_leaders(c), 1);
    assert_false(db_is_quorate(c->node[0].db, c->now));
    assert_false(db_is_pending(c->node[0].db, &lost));
    assert_int_equal(c->node[0].last.error.code, ERR_NO_QUORUM);
    assert_true(db_is_current(c->node[leader].db, c->now));
    c->node[0].cut = false;
    c->drop_acks = true; /* the leader is heard, and is not told what is missing */
    regroup(c);
    run(c, 300);
    assert_true(db_is_quorate(c->node[0].db, c->now));
    assert_false(db_is_current(c->node[0].db, c->now));
    c->drop_acks = false;
    run(c, 1000);
    assert_true(db_is_current(c->node[0].db, c->now));
    assert_int_equal(leader_of(c), leader);
    for (size_t i = 0; i < 3; i++)
        assert_value(c, i, "a", "majority");
}

/* A node whose hello was not heard is there all the same, for those too to whom it does not speak. */
static void test_unheard_hello(void **state)
{
    struct cluster *c = *state;
    struct uuid id = replica_id(2);
    node_crash(c, 2);
    regroup(c);
    run(c, 300);
    assert_false(db_replica_progress(c->node[1].db, &id).present);
    c->drop_hellos = true;
    node_start(c, 2);
    regroup(c);
    put_at(c, 0, "a", "1");
    run(c, 1000);
    assert_int_equal(leader_of(c), 0);
    assert_true(db_replica_progress(c->node[1].db, &id).present);
}

/* "Nobody campaigns while its view has a leader": a term is not raised by a node that was away. */
static void test_returning_node_does_not_disturb(void **state)
{
    struct cluster *c = *state;
    uint64_t term = db_term(c->node[0].db);
    c->node[2].cut = true;
    regroup(c);
    run(c, 10000);
    c->node[2].cut = false;
    regroup(c);
    run(c, 3000);
    assert_true(db_is_leader(c->node[0].db));
    assert_int_equal(db_term(c->node[0].db), term);
}

static void ack_as(struct cluster *c, size_t from, size_t to, uint64_t match)
{
    AUTO(buf_done) struct buf b = {0};
    struct db_msg m = {.type = DB_MSG_ACK,
                       .cluster = {{9}},
                       .from = replica_id(from),
                       .to = replica_id(to),
                       .term = db_term(c->node[to].db),
                       .yes = true,
                       .match = match,
                       .verified = match};
    db_msg_encode(&m, &b);
    db_message(c->node[to].db, c->now, (uint32_t)from + 1, buf_slice(&b));
    settle(c);
}

/* "Only entries of the leader's own term are counted; earlier ones follow." */
static void test_old_term_is_not_counted(void **state)
{
    struct cluster *c = *state;
    c->node[0].cut = true;
    regroup(c);
    put_at(c, 0, "a", "old");
    settle(c);
    uint64_t old = db_last_index(c->node[0].db);
    node_crash(c, 2); /* before the others have a leader: only the first one can win */
    c->node[0].cut = false;
    node_crash(c, 0);
    node_start(c, 0);
    c->drop_acks = true;
    regroup(c);
    run(c, 1000);
    assert_int_equal(c->node[0].db->role, DB_LEADER);
    assert_int_equal(db_last_index(c->node[0].db), old + 1);
    ack_as(c, 1, 0, old);
    assert_true(db_commit_index(c->node[0].db) < old);
    ack_as(c, 1, 0, old + 1);
    assert_int_equal(db_commit_index(c->node[0].db), old + 1);
    assert_value(c, 0, "a", "old");
}

static void test_transfer(void **state)
{
    struct cluster *c = *state;
    assert_int_equal(db_transfer(c->node[1].db, c->now), ERR_AGAIN);
    run(c, 400);
    assert_int_equal(db_transfer(c->node[0].db, c->now), 0);
    assert_int_equal(db_transfer(c->node[0].db, c->now), ERR_AGAIN);
    put_at(c, 0, "a", "1");
    settle(c);
    assert_false(db_is_leader(c->node[0].db));
    assert_int_equal(count_leaders(c), 1);
    assert_value(c, 0, "a", "1"); /* went to the new leader at once */
}

static void test_transfer_that_nobody_takes(void **state)
{
    struct cluster *c = *state;
    run(c, 400);
    assert_int_equal(db_transfer(c->node[0].db, c->now), 0);
    c->node[1].cut = c->node[2].cut = true;
    settle(c);
    c->node[1].cut = c->node[2].cut = false;
    struct uuid id = put_at(c, 0, "a", "1");
    run(c, 1000);
    assert_true(db_is_pending(c->node[0].db, &id));
    run(c, 2000);
    assert_true(db_is_leader(c->node[0].db));
    assert_false(db_is_pending(c->node[0].db, &id));
}

/* ---- membership ------------------------------------------------------------------------------------------------ */

static void test_rules_of_a_change(void **state)
{
    struct cluster *c = *state;
    change(c, 0, ENTRY_REPLICA_REMOVE, 1, 0);
    assert_int_equal(c->node[0].last.error.code, ERR_CONDITION);
    change(c, 0, ENTRY_REPLICA_WEIGHT, 1, 2);
    assert_int_equal(c->node[0].last.error.code, ERR_CONDITION);
    change(c, 0, ENTRY_REPLICA_WEIGHT, 4, 1);
    assert_int_equal(c->node[0].last.error.code, ERR_NO_OBJECT);
    change(c, 0, ENTRY_REPLICA_ADD, 1, 9);
    assert_int_equal(c->node[0].last.error.code, ERR_CONDITION);
    change(c, 0, ENTRY_REPLICA_WEIGHT, 1, 0);
    assert_int_equal(c->node[0].last.error.code, 0);
    change(c, 0, ENTRY_REPLICA_WEIGHT, 0, 0);
    assert_int_equal(c->node[0].last.error.code, ERR_CONDITION); /* the last voter */
    change(c, 0, ENTRY_REPLICA_REMOVE, 1, 0);
    assert_int_equal(c->node[0].last.error.code, 0);
    assert_int_equal(db_configuration(c->node[0].db)->n, 1);
    assert_int_equal(db_configuration(c->node[1].db)->n, 1);
    run(c, 5000); /* the removed one stays quiet */
    assert_true(db_is_leader(c->node[0].db));
}

/* "At most one is uncommitted": the second one waits. */
static void test_changes_one_at_a_time(void **state)
{
    struct cluster *c = *state;
    c->node[1].disk_stuck = c->node[2].disk_stuck = true;
    AUTO(buf_done) struct buf b = {0};
    struct uuid id = replica_id(3), other = replica_id(4);
    db_encode_replica_add(&b, &id, 4);
    propose_at(c, 0, ENTRY_REPLICA_ADD, buf_slice(&b));
    AUTO(buf_done) struct buf b2 = {0};
    db_encode_replica_add(&b2, &other, 5);
    propose_at(c, 0, ENTRY_REPLICA_ADD, buf_slice(&b2));
    run(c, 500);
    assert_int_equal(db_configuration(c->node[0].db)->n, 4); /* in force on append */
    assert_int_equal(db_configuration(c->node[1].db)->n, 4);
    assert_false(db_config_settled(c->node[0].db));
    c->node[1].disk_stuck = c->node[2].disk_stuck = false;
    run(c, 500);
    assert_int_equal(db_configuration(c->node[1].db)->n, 5);
    assert_true(db_config_settled(c->node[0].db));
}

/* A change that is truncated is taken back. */
static void test_change_reverts(void **state)
{
    struct cluster *c = *state;
    c->node[0].cut = true;
    regroup(c);
    AUTO(buf_done) struct buf b = {0};
    struct uuid id = replica_id(3);
    db_encode_replica_add(&b, &id, 4);
    propose_at(c, 0, ENTRY_REPLICA_ADD, buf_slice(&b));
    settle(c);
    assert_int_equal(db_configuration(c->node[0].db)->n, 4);
    run(c, 6000);
    c->node[0].cut = false;
    regroup(c);
    run(c, 1000);
    assert_int_equal(db_configuration(c->node[0].db)->n, 3);
}

static void test_leader_is_evicted(void **state)
{
    struct cluster *c = *state;
    run(c, 400);
    change(c, 0, ENTRY_REPLICA_WEIGHT, 0, 0);
    assert_int_equal(count_leaders(c), 1);
    size_t leader = leader_of(c);
    assert_int_not_equal(leader, 0);
    change(c, leader, ENTRY_REPLICA_REMOVE, 0, 0);
    assert_int_equal(db_configuration(c->node[leader].db)->n, 2);
}

/* A new replica on the slot of an evicted one. */
static void test_replace(void **state)
{
    struct cluster *c = *state;
    change(c, 0, ENTRY_REPLICA_WEIGHT, 2, 0);
    change(c, 0, ENTRY_REPLICA_REMOVE, 2, 0);
    node_crash(c, 2);
    regroup(c);
    struct db_params p = {.cluster = {{9}},
                          .self = replica_id(7),
                          .nodeid = 3,
                          .message_max = 1 << 20,
                          .machine = {.apply = machine_apply}};
    disk_done(&c->node[2].disk);
    disk_init(&c->node[2].disk);
    c->node[2].db = db_new(&p, NULL, c->now);
    regroup(c);
    run(c, 5000);
    assert_int_equal(db_term(c->node[2].db), db_term(c->node[0].db)); /* follows, does not campaign */
    change(c, 0, ENTRY_REPLICA_ADD, 7, 3);
    run(c, 400);
    struct uuid id = replica_id(7), at;
    assert_true(db_replica_at(c->node[0].db, 3, &at) && uuid_eq(&at, &id));
    struct db_progress progress = db_replica_progress(c->node[0].db, &id);
    assert_true(progress.present && progress.caught_up);
    change(c, 0, ENTRY_REPLICA_WEIGHT, 7, 1);
    assert_int_equal(db_config_total(db_configuration(c->node[2].db)), 3);
}

/* ---- snapshots ------------------------------------------------------------------------------------------------- */

static void install_from(struct cluster *c, size_t to)
{
    assert_int_not_equal(c->node[to].fetch_from, 0);
    AUTO(buf_done) struct buf b = {0};
    db_snapshot_encode(c->node[c->node[to].fetch_from - 1].db, &b);
    c->node[to].fetch_from = 0;
    assert_int_equal(db_snapshot_install(c->node[to].db, c->now, buf_slice(&b)), 0);
    settle(c);
}

static void test_snapshot_for_one_that_lags(void **state)
{
    (void)state;
    struct cluster c = {.log_kept = 20, .lag_snapshot = 15};
    cluster_up(&c, 3);
    c.node[2].cut = true;
    regroup(&c);
    for (int i = 0; i < 100; i++) {
        put_at(&c, 0, "k", i % 2 ? "a" : "b");
        run(&c, 20);
    }
    run(&c, 1200);
    assert_null(db_entry_at(c.node[0].db, 10)); /* compacted */
    c.node[2].cut = false;
    regroup(&c);
    run(&c, 400);
    db_fetch_failed(c.node[2].db, c.now);
    c.node[2].fetch_from = 0;
    run(&c, 2500); /* offered again */
    install_from(&c, 2);
    run(&c, 400);
    assert_int_equal(db_applied_index(c.node[2].db), db_applied_index(c.node[0].db));
    node_crash(&c, 2); /* and it is on disk */
    node_start(&c, 2);
    regroup(&c);
    run(&c, 800);
    assert_int_equal(c.node[2].fetch_from, 0);
    struct hash x = tables_hash(db_tables(c.node[0].db)), y = tables_hash(db_tables(c.node[2].db));
    assert_true(hash_eq(&x, &y));
    assert_int_equal(db_configuration(c.node[2].db)->n, 3);
    cluster_down(&c);
}

static void test_snapshot_that_is_not_wanted(void **state)
{
    struct cluster *c = *state;
    run(c, 400);
    AUTO(buf_done) struct buf b = {0};
    db_snapshot_encode(c->node[0].db, &b);
    assert_int_equal(db_snapshot_install(c->node[1].db, c->now, buf_slice(&b)), ERR_AGAIN);
    for (size_t cut = 0; cut < b.len; cut++)
        assert_int_equal(db_snapshot_install(c->node[1].db, c->now, (struct slice){b.p, cut}), ERR_MALFORMED);
    b.p[b.len - 1] ^= 1; /* the hash tells */
    assert_int_equal(db_snapshot_install(c->node[1].db, c->now, buf_slice(&b)), ERR_MALFORMED);
}

/* "A mismatch quarantines the node and fetches anew, never merges." */
static void test_quarantine(void **state)
{
    struct cluster *c = *state;
    tables_put(c->node[2].db->tables, TABLE_SETTING, "rot", (struct slice){(const uint8_t *)"x", 1});
    put_at(c, 0, "a", "1");
    run(c, 600);
    assert_false(tables_has(db_tables(c->node[2].db), TABLE_SETTING, "rot"));
    uint64_t last = db_last_index(c->node[2].db);
    assert_int_equal(last, db_last_index(c->node[0].db)); /* the log stays */
    install_from(c, 2);
    assert_value(c, 2, "a", "1");
    put_at(c, 2, "a", "2");
    run(c, 600);
    struct hash x = tables_hash(db_tables(c->node[0].db)), y = tables_hash(db_tables(c->node[2].db));
    assert_true(hash_eq(&x, &y));
    assert_int_equal(c->node[2].fetch_from, 0);
}

/* What was acknowledged stays acknowledged: entries behind the snapshot are kept. */
static void test_snapshot_keeps_the_tail(void **state)
{
    struct cluster *c = *state;
    tables_put(c->node[2].db->tables, TABLE_SETTING, "rot", (struct slice){(const uint8_t *)"x", 1});
    put_at(c, 0, "a", "1");
    run(c, 600);
    assert_int_not_equal(c->node[2].fetch_from, 0);
    c->node[0].disk_stuck = c->node[1].disk_stuck = true;
    put_at(c, 0, "a", "2");
    settle(c);
    uint64_t last = db_last_index(c->node[0].db);
    assert_int_equal(c->node[0].db->peers[2].match, last);
    install_from(c, 2);
    assert_int_equal(db_applied_index(c->node[2].db), last - 1);
    assert_int_equal(db_last_index(c->node[2].db), last);
    node_crash(c, 2);
    node_start(c, 2);
    assert_int_equal(db_last_index(c->node[2].db), last);
}

/* What somebody says who is on nodeid and calls itself that replica. */
static void say(struct cluster *c, size_t to, uint32_t nodeid, size_t replica, struct db_msg *m)
{
    AUTO(buf_done) struct buf b = {0};
    m->cluster = (struct uuid){{9}};
    m->from = replica_id(replica);
    db_msg_encode(m, &b);
    db_message(c->node[to].db, c->now, nodeid, buf_slice(&b));
    settle(c);
}

/* Its votes and acknowledgements are not those of the disk that it was copied from. */
static void test_copy_of_a_disk_is_ignored(void **state)
{
    struct cluster *c = *state;
    c->node[1].disk_stuck = c->node[2].disk_stuck = true;
    put_at(c, 0, "a", "1");
    settle(c);
    uint64_t commit = db_commit_index(c->node[0].db), last = db_last_index(c->node[0].db);
    assert_int_equal(last, commit + 1);
    struct db_msg ack = {
        .type = DB_MSG_ACK, .term = db_term(c->node[0].db), .yes = true, .match = last, .verified = last};
    say(c, 0, 9, 1, &ack);
    assert_int_equal(db_commit_index(c->node[0].db), commit);
    say(c, 0, 9, 0, &ack); /* of this very disk */
    assert_int_equal(db_commit_index(c->node[0].db), commit);
    say(c, 0, 2, 1, &ack);
    assert_int_equal(db_commit_index(c->node[0].db), last);
}

static void test_second_leader_of_a_term_is_ignored(void **state)
{
    struct cluster *c = *state;
    struct db_msg m = {.type = DB_MSG_APPEND, .term = db_term(c->node[0].db), .yes = true};
    say(c, 0, 2, 1, &m);
    assert_true(db_is_leader(c->node[0].db));
    m.type = DB_MSG_OFFER;
    m.index = 1000;
    say(c, 0, 2, 1, &m);
    assert_true(db_is_leader(c->node[0].db));
    assert_int_equal(c->node[0].fetch_from, 0);
}

static void test_committed_entries_are_not_rewritten(void **state)
{
    struct cluster *c = *state;
    put_at(c, 0, "a", "1");
    run(c, 600);
    uint64_t commit = db_commit_index(c->node[1].db), before = 0;
    assert_true(db_log_term(&c->node[1].db->log, commit - 1, &before));
    struct entry other = {.term = db_term(c->node[0].db) + 1, .kind = ENTRY_NOOP};
    struct db_msg m = {.type = DB_MSG_APPEND,
                       .term = other.term,
                       .yes = true,
                       .index = commit - 1,
                       .index_term = before,
                       .entries = &other,
                       .n_entries = 1};
    say(c, 1, 3, 2, &m);
    assert_value(c, 1, "a", "1");
    assert_int_equal(db_last_index(c->node[1].db), commit);
    m = (struct db_msg){.type = DB_MSG_VOTE, .term = UINT64_MAX}; /* no term could follow */
    say(c, 1, 3, 2, &m);
    assert_true(db_term(c->node[1].db) < UINT64_MAX / 2);
}

static void test_unknown_kind_stops(void **state)
{
    struct cluster *c = *state;
    propose_at(c, 0, 9999, (struct slice){0});
    settle(c);
    assert_true(c->node[0].fatal);
    uint64_t applied = db_applied_index(c->node[0].db);
    run(c, 2000);
    assert_int_equal(db_applied_index(c->node[0].db), applied);
}

static int setup(void **state, size_t n)
{
    *state = xcalloc(1, sizeof(struct cluster));
    cluster_up(*state, n);
    return 0;
}

static int setup_1(void **state)
{
    return setup(state, 1);
}

static int setup_2(void **state)
{
    return setup(state, 2);
}

static int setup_3(void **state)
{
    return setup(state, 3);
}

static int teardown(void **state)
{
    cluster_down(*state);
    free(*state);
    return 0;
}

int main(void)
{
#define OF_1(test) cmocka_unit_test_setup_teardown(test, setup_1, teardown)
#define OF_2(test) cmocka_unit_test_setup_teardown(test, setup_2, teardown)
#define OF_3(test) cmocka_unit_test_setup_teardown(test, setup_3, teardown)
    const struct CMUnitTest tests[] = {
        OF_1(test_single_node),
        OF_3(test_commit_waits_for_disk),
        OF_3(test_leader_does_not_need_its_own_disk),
        OF_3(test_forwarded_and_batched),
        OF_3(test_outcome_is_kept_for_a_retry),
        OF_1(test_limits_of_a_proposal),
        OF_3(test_failover_and_return),
        OF_3(test_minority_leader),
        OF_3(test_unheard_hello),
        OF_3(test_returning_node_does_not_disturb),
        OF_3(test_old_term_is_not_counted),
        OF_3(test_transfer),
        OF_3(test_transfer_that_nobody_takes),
        OF_2(test_rules_of_a_change),
        OF_3(test_changes_one_at_a_time),
        OF_3(test_change_reverts),
        OF_3(test_leader_is_evicted),
        OF_3(test_replace),
        cmocka_unit_test(test_snapshot_for_one_that_lags),
        OF_2(test_snapshot_that_is_not_wanted),
        OF_3(test_quarantine),
        OF_3(test_snapshot_keeps_the_tail),
        OF_3(test_copy_of_a_disk_is_ignored),
        OF_3(test_second_leader_of_a_term_is_ignored),
        OF_3(test_committed_entries_are_not_rewritten),
        OF_1(test_unknown_kind_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
