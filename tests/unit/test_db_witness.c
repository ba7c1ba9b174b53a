/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The witness, one rule at a time, with a blob that the test answers for. Races are the simulator's business. */
#include "tests/unit/db_cluster.h"

struct world {
    struct cluster c;
    struct db_tag tag; /* what the blob holds */
    unsigned etag;
    bool answers;
};

static const struct uuid witness_id = {{0xee}};

static void answer(struct world *w, size_t i, enum db_witness_result result)
{
    struct node *n = &w->c.node[i];
    struct db_witness_outcome o = {.id = n->call->id, .result = result, .tag = w->tag};
    snprintf(o.etag, sizeof(o.etag), "e%u", w->etag);
    free(n->call);
    n->call = NULL;
    db_witness_done(n->db, w->c.now, &o);
    settle(&w->c);
}

static void land(struct world *w, const struct db_witness_call *call)
{
    assert_int_equal(call->tag.sequence, w->tag.sequence + 1);
    w->tag = call->tag;
    w->etag++;
}

static void serve(struct world *w, size_t i)
{
    char etag[DB_ETAG_MAX];
    const struct db_witness_call *call = w->c.node[i].call;
    snprintf(etag, sizeof(etag), "e%u", w->etag);
    assert_true(uuid_eq(&call->witness, &witness_id));
    bool is_lost = call->verb == DB_WITNESS_PUT && !str_eq(etag, call->etag);
    if (call->verb == DB_WITNESS_PUT && !is_lost)
        land(w, call);
    answer(w, i, is_lost ? DB_WITNESS_LOST : DB_WITNESS_DONE);
}

static void pass(struct world *w, int64_t ms)
{
    for (int64_t end = w->c.now + ms; w->c.now < end;) {
        run(&w->c, 20);
        for (size_t i = 0; w->answers && i < w->c.n; i++)
            while (w->c.node[i].db != NULL && w->c.node[i].call != NULL)
                serve(w, i);
    }
}

static void name_witness(struct world *w, const struct uuid *id)
{
    AUTO(buf_done) struct buf b = {0};
    db_encode_witness_name(&b, id);
    (void)propose_at(&w->c, 0, ENTRY_WITNESS_NAME, buf_slice(&b));
    pass(w, 500);
}

static void propose_witness(struct world *w, uint16_t kind, uint8_t weight)
{
    AUTO(buf_done) struct buf b = {0};
    if (kind == ENTRY_WITNESS_NAME)
        db_encode_witness_name(&b, &witness_id);
    else
        db_encode_witness_weight(&b, &witness_id, weight);
    (void)propose_at(&w->c, 0, kind, buf_slice(&b));
    pass(w, 500);
}

/* Two voters and a witness; node 0 leads. */
static void world_up(struct world *w, size_t n)
{
    w->answers = true;
    w->tag = (struct db_tag){.sequence = 1, .cluster = {{9}}, .witness = witness_id};
    cluster_up(&w->c, n);
    propose_witness(w, ENTRY_WITNESS_NAME, 0);
    propose_witness(w, ENTRY_WITNESS_WEIGHT, 1);
    assert_int_equal(db_configuration(w->c.node[0].db)->witness_weight, 1);
}

static bool is_member(const struct world *w, size_t i)
{
    struct uuid id = replica_id(i);
    for (size_t k = 0; k < w->tag.n_members; k++)
        if (uuid_eq(&w->tag.members[k], &id))
            return true;
    return false;
}

static void cut(struct world *w, size_t i, bool is_cut)
{
    w->c.node[i].cut = is_cut;
    regroup(&w->c);
}

static bool is_committed(struct world *w, size_t i, const char *value)
{
    struct slice s;
    put_at(&w->c, i, "k", value);
    pass(w, 500);
    return tables_get(db_tables(w->c.node[i].db), TABLE_SETTING, "k", &s) == 0 && s.len == strlen(value) &&
           memcmp(s.p, value, s.len) == 0;
}

/* "The tag": the leader's term, itself, and who is live and caught up. */
static void test_claim(void **state)
{
    (void)state;
    struct world w = {0};
    world_up(&w, 2);
    assert_int_equal(w.tag.term, db_term(w.c.node[0].db));
    assert_true(uuid_eq(&w.tag.leader, &(struct uuid){{1, 1}}));
    assert_true(is_member(&w, 0) && is_member(&w, 1));
    cluster_down(&w.c);
}

/* "Its rise is appended only with the tag of the own term known." */
static void test_no_rise_without_the_tag(void **state)
{
    (void)state;
    struct world w = {.tag = {.sequence = 1, .cluster = {{9}}, .witness = witness_id}};
    cluster_up(&w.c, 2);
    propose_witness(&w, ENTRY_WITNESS_NAME, 0);
    propose_witness(&w, ENTRY_WITNESS_WEIGHT, 1);
    assert_int_equal(db_configuration(w.c.node[0].db)->witness_weight, 0);
    w.answers = true;
    pass(&w, 500);
    assert_int_equal(db_configuration(w.c.node[0].db)->witness_weight, 1);
    cluster_down(&w.c);
}

static void test_loses_either_node(void **state)
{
    (void)state;
    for (size_t lost = 0; lost < 2; lost++) {
        struct world w = {0};
        world_up(&w, 2);
        node_crash(&w.c, lost);
        regroup(&w.c);
        pass(&w, 3000);
        assert_true(db_is_leader(w.c.node[1 - lost].db));
        assert_true(is_committed(&w, 1 - lost, "alone"));
        assert_false(is_member(&w, lost));
        node_start(&w.c, lost);
        regroup(&w.c);
        pass(&w, 3000);
        assert_value(&w.c, lost, "k", "alone");
        assert_true(is_member(&w, lost));
        cluster_down(&w.c);
    }
}

/* A partition in time: who was away while the other went on is brought up first. */
static void test_stale_node_is_refused(void **state)
{
    (void)state;
    struct world w = {0};
    struct db_witness_view v;
    world_up(&w, 2);
    node_crash(&w.c, 1);
    regroup(&w.c);
    pass(&w, 1000);
    assert_true(is_committed(&w, 0, "alone"));
    node_crash(&w.c, 0);
    node_start(&w.c, 1);
    regroup(&w.c);
    uint64_t term = db_term(w.c.node[1].db);
    pass(&w, 30000);
    assert_int_equal(count_leaders(&w.c), 0);
    assert_int_equal(db_term(w.c.node[1].db), term); /* it waits; it does not disturb */
    db_witness(w.c.node[1].db, &v);
    assert_non_null(strstr(v.trouble, "went on without"));
    assert_int_equal(v.refused_term, w.tag.term);
    node_start(&w.c, 0);
    regroup(&w.c);
    pass(&w, 3000);
    assert_int_equal(count_leaders(&w.c), 1);
    db_witness(w.c.node[1].db, &v);
    assert_string_equal(v.trouble, "");
    assert_int_equal(v.refused_term, 0);
    assert_value(&w.c, 1, "k", "alone");
    cluster_down(&w.c);
}

/* "Seeing the old tag proves nothing: the write may land later." */
static void test_unknown_outcome(void **state)
{
    (void)state;
    struct world w = {0};
    struct db_witness_view v;
    world_up(&w, 2);
    w.answers = false;
    cut(&w, 1, true);
    pass(&w, 100);
    assert_int_equal(w.c.node[0].call->verb, DB_WITNESS_PUT); /* without node 1 */
    struct db_witness_call late = *w.c.node[0].call;
    put_at(&w.c, 0, "k", "v");
    answer(&w, 0, DB_WITNESS_UNKNOWN);
    pass(&w, 400);
    assert_int_equal(w.c.node[0].call->verb, DB_WITNESS_GET);
    answer(&w, 0, DB_WITNESS_DONE); /* the old one */
    db_witness(w.c.node[0].db, &v);
    assert_true(v.is_known && v.is_doubted && !v.is_current);
    assert_int_not_equal(tables_has(db_tables(w.c.node[0].db), TABLE_SETTING, "k"), true);
    assert_int_equal(w.c.node[0].call->verb, DB_WITNESS_PUT); /* the same again */
    assert_true(uuid_eq(&w.c.node[0].call->tag.nonce, &late.tag.nonce));
    land(&w, &late);
    answer(&w, 0, DB_WITNESS_LOST);
    assert_int_equal(w.c.node[0].call->verb, DB_WITNESS_GET);
    answer(&w, 0, DB_WITNESS_DONE); /* one's own nonce */
    assert_value(&w.c, 0, "k", "v");
    db_witness(w.c.node[0].db, &v);
    assert_true(v.is_current);
    cluster_down(&w.c);
}

/* A term has one leader: what another candidate of the same term was given is not claimed in that term. */
static void test_same_term(void **state)
{
    (void)state;
    struct world w = {0};
    world_up(&w, 2);
    w.answers = false;
    node_crash(&w.c, 0);
    regroup(&w.c);
    pass(&w, 1000);
    assert_int_equal(w.c.node[1].call->verb, DB_WITNESS_GET);
    answer(&w, 1, DB_WITNESS_DONE);
    pass(&w, 1000);
    assert_int_equal(w.c.node[1].call->verb, DB_WITNESS_PUT);
    land(&w, w.c.node[1].call);
    w.tag.leader = w.tag.members[0] = replica_id(0); /* as if that one had been quicker */
    w.tag.nonce.b[0] ^= 1;
    w.tag.members[1] = replica_id(1);
    w.tag.n_members = 2;
    answer(&w, 1, DB_WITNESS_LOST);
    assert_int_equal(w.c.node[1].call->verb, DB_WITNESS_GET);
    answer(&w, 1, DB_WITNESS_DONE);
    assert_true(w.c.node[1].call == NULL || w.c.node[1].call->verb == DB_WITNESS_GET);
    w.answers = true;
    pass(&w, 12000); /* node 0 might vote yet: the candidacy lasts as long as it may */
    assert_true(db_is_leader(w.c.node[1].db));
    assert_true(db_term(w.c.node[1].db) > 1 && w.tag.term == db_term(w.c.node[1].db));
    cluster_down(&w.c);
}

/* Removed and set again while the same node leads: the tag is of this very term, and members are added anew. A write of
 * before that was under way all the time may land before the next one, never after it. */
static void test_named_again(void **state)
{
    (void)state;
    struct world w = {0};
    struct db_witness_view v;
    const struct uuid nobody = {0};
    world_up(&w, 4);
    uint64_t term = w.tag.term;
    w.answers = false;
    cut(&w, 3, true);
    pass(&w, 100);
    assert_int_equal(w.c.node[0].call->verb, DB_WITNESS_PUT); /* without node 3 */
    struct db_witness_call late = *w.c.node[0].call;
    propose_witness(&w, ENTRY_WITNESS_WEIGHT, 0);
    name_witness(&w, &nobody);
    answer(&w, 0, DB_WITNESS_UNKNOWN);
    cut(&w, 3, false);
    cut(&w, 2, true);
    pass(&w, 3000);
    propose_witness(&w, ENTRY_WITNESS_NAME, 0);
    assert_int_equal(w.c.node[0].call->verb, DB_WITNESS_GET);
    answer(&w, 0, DB_WITNESS_DONE);
    db_witness(w.c.node[0].db, &v);
    assert_true(w.tag.term == term && !v.is_known && !v.is_current);
    assert_int_equal(w.c.node[0].call->verb, DB_WITNESS_PUT);
    assert_int_equal(w.c.node[0].call->tag.n_members, 3);
    land(&w, &late);
    answer(&w, 0, DB_WITNESS_LOST);
    w.answers = true;
    pass(&w, 500);
    propose_witness(&w, ENTRY_WITNESS_WEIGHT, 1);
    assert_int_equal(db_configuration(w.c.node[0].db)->witness_weight, 1);
    assert_true(w.tag.term == term && !is_member(&w, 2) && is_member(&w, 3));
    cluster_down(&w.c);
}

/* What was surely not written leaves nothing open. */
static void test_unreachable(void **state)
{
    (void)state;
    struct world w = {0};
    struct db_witness_view v;
    world_up(&w, 2);
    w.answers = false;
    cut(&w, 1, true);
    pass(&w, 100);
    answer(&w, 0, DB_WITNESS_UNREACHABLE);
    db_witness(w.c.node[0].db, &v);
    assert_true(v.is_known && !v.is_doubted && !v.is_reachable);
    assert_false(is_committed(&w, 0, "v")); /* node 1 is a member, and may be given the witness */
    cut(&w, 1, false);
    pass(&w, 500);
    assert_value(&w.c, 0, "k", "v");
    cluster_down(&w.c);
}

/* "Refuse when its sequence is below the highest seen": after a restart too, and by a node that the leader told. */
static void test_rolled_back(void **state)
{
    (void)state;
    struct world w = {0};
    world_up(&w, 2);
    struct db_tag old = w.tag;
    cut(&w, 1, true);
    pass(&w, 500);
    cut(&w, 1, false);
    pass(&w, 2000);
    assert_int_equal(w.tag.sequence, old.sequence + 2); /* without node 1, and with it again */
    w.tag = old;
    w.etag++;
    node_crash(&w.c, 0);
    node_crash(&w.c, 1);
    node_start(&w.c, 1);
    regroup(&w.c);
    pass(&w, 20000);
    struct db_witness_view v;
    db_witness(w.c.node[1].db, &v);
    assert_int_equal(count_leaders(&w.c), 0);
    assert_non_null(strstr(v.trouble, "rolled back"));
    cluster_down(&w.c);
}

/* "Missing later is a fault, reported, never re-created by itself"; another cluster's record is no witness of ours. */
static void test_missing_or_foreign(void **state)
{
    (void)state;
    for (int foreign = 0; foreign < 2; foreign++) {
        struct world w = {0};
        struct db_witness_view v;
        world_up(&w, 2);
        node_crash(&w.c, 0);
        regroup(&w.c);
        w.answers = false;
        w.tag.cluster.b[0] ^= (uint8_t)foreign;
        for (int i = 0; i < 100; i++) {
            pass(&w, 100);
            if (w.c.node[1].call == NULL)
                continue;
            assert_int_equal(w.c.node[1].call->verb, DB_WITNESS_GET);
            answer(&w, 1, foreign ? DB_WITNESS_DONE : DB_WITNESS_MISSING);
        }
        db_witness(w.c.node[1].db, &v);
        assert_int_equal(count_leaders(&w.c), 0);
        assert_non_null(strstr(v.trouble, foreign ? "another cluster" : "missing"));
        cluster_down(&w.c);
    }
}

/* "Skip it where nodes + witness cannot reach quorum." */
static void test_skipped_where_it_cannot_help(void **state)
{
    (void)state;
    struct world w = {0};
    world_up(&w, 4);
    for (size_t i = 0; i < 3; i++)
        node_crash(&w.c, i);
    w.answers = false;
    regroup(&w.c);
    pass(&w, 20000);
    assert_null(w.c.node[3].call);
    cluster_down(&w.c);
}

/* A side that is not the preferred one leaves the witness to the other for a while. */
static void test_delay(void **state)
{
    (void)state;
    struct world w = {0};
    world_up(&w, 2);
    w.answers = false;
    db_set_witness_delay(w.c.node[1].db, 1500);
    node_crash(&w.c, 0);
    regroup(&w.c);
    pass(&w, 1400);
    assert_null(w.c.node[1].call);
    pass(&w, 1500);
    assert_non_null(w.c.node[1].call);
    cluster_down(&w.c);
}

/* A leader that takes its own vote away stays until the witness names somebody who votes. */
static void test_leader_without_vote(void **state)
{
    (void)state;
    struct world w = {0};
    world_up(&w, 2);
    change(&w.c, 0, ENTRY_REPLICA_WEIGHT, 0, 0);
    pass(&w, 3000);
    assert_int_equal(leader_of(&w.c), 1);
    assert_true(is_committed(&w, 1, "v"));
    cluster_down(&w.c);
}

static unsigned weight_of(const struct world *w, size_t i)
{
    struct uuid id = replica_id(i);
    const struct db_config *config = db_configuration(w->c.node[0].db);
    for (size_t k = 0; k < config->n; k++)
        if (uuid_eq(&config->replicas[k].id, &id))
            return config->replicas[k].weight;
    return 9;
}

/* The record names the leader alone: its vote is not taken before a voter that stays is named, too. */
static void test_last_member_keeps_its_vote(void **state)
{
    (void)state;
    struct world w = {0};
    world_up(&w, 2);
    cut(&w, 1, true);
    pass(&w, 1000);
    assert_true(is_member(&w, 0) && !is_member(&w, 1));
    w.answers = false;
    cut(&w, 1, false);
    pass(&w, 1000);
    change(&w.c, 0, ENTRY_REPLICA_WEIGHT, 0, 0);
    pass(&w, 1000);
    assert_int_equal(weight_of(&w, 0), 1);
    w.answers = true;
    pass(&w, 3000);
    assert_true(is_member(&w, 1));
    assert_int_equal(weight_of(&w, 0), 0);
    assert_int_equal(leader_of(&w.c), 1);
    cut(&w, 0, true);
    assert_true(is_committed(&w, 1, "v"));
    cluster_down(&w.c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_claim),
        cmocka_unit_test(test_no_rise_without_the_tag),
        cmocka_unit_test(test_loses_either_node),
        cmocka_unit_test(test_stale_node_is_refused),
        cmocka_unit_test(test_unknown_outcome),
        cmocka_unit_test(test_same_term),
        cmocka_unit_test(test_named_again),
        cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_rolled_back),
        cmocka_unit_test(test_missing_or_foreign),
        cmocka_unit_test(test_skipped_where_it_cannot_help),
        cmocka_unit_test(test_delay),
        cmocka_unit_test(test_leader_without_vote),
        cmocka_unit_test(test_last_member_keeps_its_vote),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
