/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the leader proposes for its slots, and when: on a real database of one leader and, where it is up, one replica
 * that follows. Nothing is applied that the test does not apply. */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "agent/cluster-internal.h"
#include "agent/core-internal.h"

enum { PROPOSALS_MAX = 8, N2_REPLICA = 2, DBS = 2 };

struct proposal {
    enum entry_kind kind;
    struct buf payload;
    char key[CORE_KEY_MAX];
};

struct world {
    struct db *db[DBS]; /* [0] leads; [1] NULL: n2 is down */
    int64_t now, wall_ms; /* entries are written at 1000 */
    unsigned requests;
    struct apply_result last;
    bool drained, home;
    struct proposal proposals[PROPOSALS_MAX];
    size_t n;
};

static struct uuid id_of(unsigned n)
{
    return (struct uuid){{4, [15] = (uint8_t)n}};
}

static void take_outputs(struct world *w, size_t from, bool *moved)
{
    struct db_out o;
    while (w->db[from] && db_take_out(w->db[from], &o)) {
        *moved = true;
        if (o.type == DB_PERSIST)
            db_persisted(w->db[from], w->now, o.batch->seq);
        else if (o.type == DB_SEND && w->db[1 - from])
            db_message(w->db[1 - from], w->now, (uint32_t)from + 1, buf_slice(&o.bytes));
        else if (o.type == DB_APPLIED)
            w->last = o.result;
        db_out_done(&o);
    }
}

static void settle(struct world *w)
{
    for (bool moved = true; moved;) {
        moved = false;
        for (size_t i = 0; i < DBS; i++)
            take_outputs(w, i, &moved);
    }
}

static void run(struct world *w, int64_t ms)
{
    for (int64_t end = w->now + ms; w->now < end; w->now += 20) {
        for (size_t i = 0; i < DBS; i++)
            if (w->db[i])
                db_tick(w->db[i], w->now);
        settle(w);
    }
}

static struct db *new_db(struct world *w, uint32_t nodeid)
{
    struct db_params p = {.cluster = id_of(99), .self = id_of(nodeid), .nodeid = nodeid, .seed = nodeid,
                          .message_max = 1 << 20, .machine = {.apply = core_apply_entry}};
    return db_new(&p, NULL, w->now);
}

static void regroup(struct world *w)
{
    const uint32_t ids[] = {1, 2};
    for (size_t i = 0; i < DBS; i++)
        if (w->db[i])
            db_group(w->db[i], w->now, ids, w->db[1] ? 2 : 1);
    run(w, 1000);
}

/* Takes b; to the end. */
static void commit(struct world *w, enum entry_kind kind, struct buf *b)
{
    struct entry e = {.kind = (uint16_t)kind, .level = 1, .time_ms = 1000, .payload = buf_slice(b),
                      .request_id = id_of(100 + w->requests)};
    e.request_id.b[1] = (uint8_t)++w->requests;
    assert_int_equal(db_propose(w->db[0], w->now, &e, w->now + 5000), 0);
    buf_done(b);
    run(w, 1000);
    assert_int_equal(w->last.error.code, 0);
}

static void propose(void *ctx, enum entry_kind kind, struct buf *payload, const char *key)
{
    struct world *w = ctx;
    assert_true(w->n < PROPOSALS_MAX);
    struct proposal *p = &w->proposals[w->n++];
    *p = (struct proposal){.kind = kind, .payload = *payload};
    STR_COPY(p->key, key);
    *payload = (struct buf){0};
}

static bool is_drained(void *ctx, const char *node)
{
    assert_non_null(node);
    return ((struct world *)ctx)->drained;
}

static bool is_home(void *ctx, const char *node)
{
    assert_non_null(node);
    return ((struct world *)ctx)->home;
}

static size_t look(struct world *w)
{
    const struct cluster_env env = {.ctx = w, .wall_ms = w->wall_ms, .propose = propose, .is_drained = is_drained,
                                    .is_home = is_home};
    for (size_t i = 0; i < w->n; i++)
        buf_done(&w->proposals[i].payload);
    w->n = 0;
    cluster_leader_step(w->db[0], &env);
    return w->n;
}

/* The only thing proposed: commits it. */
static void expect(struct world *w, enum entry_kind kind, struct buf *payload, const char *key)
{
    assert_int_equal(look(w), 1);
    struct proposal *p = &w->proposals[0];
    assert_int_equal(p->kind, kind);
    assert_string_equal(p->key, key);
    assert_int_equal(p->payload.len, payload->len);
    assert_memory_equal(p->payload.p, payload->p, payload->len);
    buf_done(payload);
    commit(w, kind, &p->payload);
}

static void expect_weight(struct world *w, unsigned replica, uint8_t weight)
{
    struct buf b = {0};
    struct uuid id = id_of(replica);
    db_encode_replica_weight(&b, &id, weight);
    expect(w, ENTRY_REPLICA_WEIGHT, &b, "config");
}

static void expect_admin(struct world *w, enum node_verb verb, const char *node, struct uuid replica)
{
    struct node_request q = {.verb = verb, .replica = replica};
    struct buf b = {0};
    char key[64];
    STR_COPY(q.name, node);
    cluster_entry_admin(&q, &b);
    snprintf(key, sizeof key, "node/%d/%s", (int)verb, node);
    expect(w, ENTRY_NODE_ADMIN, &b, key);
}

static void admin(struct world *w, enum node_verb verb, const char *node, bool flag)
{
    struct node_request q = {.verb = verb, .failback = flag, .keep_slot = flag, .force = true};
    struct buf b = {0};
    STR_COPY(q.name, node);
    cluster_entry_admin(&q, &b);
    commit(w, ENTRY_NODE_ADMIN, &b);
}

static enum node_state state_of(const struct world *w, const char *node)
{
    struct node n = {0};
    assert_int_equal(node_get(db_tables(w->db[0]), node, &n), 0);
    enum node_state s = n.state;
    node_done(&n);
    return s;
}

static struct host_facts facts(void)
{
    return (struct host_facts){.qemu_version = 7002000, .libvirt_version = 9000000, .port = 7411};
}

static void join(struct world *w, const char *node, const char *address, unsigned n)
{
    struct join_token k = {.id = id_of(50 + n), .expires_ms = 2000};
    struct join_request j = {.token = id_of(50 + n), .replica = id_of(n), .facts = facts()};
    struct buf b = {0};
    STR_COPY(k.node, node);
    STR_COPY(j.node, node);
    STR_COPY(j.address, address);
    cluster_entry_token(&k, (struct slice){0}, &b);
    commit(w, ENTRY_TOKEN_ADD, &b);
    cluster_entry_join(&j, &b);
    commit(w, ENTRY_NODE_JOIN, &b);
}

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);
    struct cluster_init i = {.identity = {.cluster = id_of(99), .cluster_name = "ring", .replica = id_of(1),
                                          .nodeid = 1, .node = "n1", .address = "10.0.0.1"},
                             .facts = facts()};
    struct buf b = {0};
    w->now = 1000;
    w->db[0] = new_db(w, 1);
    assert_int_equal(db_bootstrap(w->db[0], w->now), 0);
    regroup(w);
    assert_true(db_is_leader(w->db[0]));
    cluster_entry_init(&i, &b);
    commit(w, ENTRY_CLUSTER_INIT, &b);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < w->n; i++)
        buf_done(&w->proposals[i].payload);
    for (size_t i = 0; i < DBS; i++)
        db_free(w->db[i]);
    free(w);
    return 0;
}

static void expect_add(struct world *w, unsigned replica, uint32_t nodeid)
{
    struct buf b = {0};
    struct uuid id = id_of(replica);
    db_encode_replica_add(&b, &id, nodeid);
    expect(w, ENTRY_REPLICA_ADD, &b, "config");
}

static void two_voters(struct world *w)
{
    join(w, "n2", "10.0.0.2", 2);
    expect_add(w, 2, 2);
    w->db[1] = new_db(w, 2);
    regroup(w);
    expect_weight(w, 2, 1);
    expect_admin(w, NODE_ADMITTED, "n2", id_of(2));
    assert_int_equal(look(w), 0);
}

static void test_nothing_to_do(void **state)
{
    assert_int_equal(look(*state), 0);
}

/* Add, wait until it caught up, give it a vote, admit. */
static void test_join(void **state)
{
    struct world *w = *state;
    join(w, "n2", "10.0.0.2", 2);
    expect_add(w, 2, 2);
    assert_int_equal(look(w), 0); /* its agent is not up: it has nothing of the log */
    w->db[1] = new_db(w, 2);
    regroup(w);
    expect_weight(w, 2, 1);
    assert_int_equal(state_of(w, "n2"), NODE_JOINING);
    expect_admin(w, NODE_ADMITTED, "n2", id_of(2));
    assert_int_equal(state_of(w, "n2"), NODE_ACTIVE);
    assert_int_equal(look(w), 0);
}

/* While a change is not committed no other one is proposed. */
static void test_one_change_at_a_time(void **state)
{
    struct world *w = *state;
    two_voters(w);
    join(w, "n3", "10.0.0.3", 3);
    admin(w, NODE_EVICT, "n2", true);
    db_free(w->db[1]); /* from now on nothing is committed */
    w->db[1] = NULL;
    assert_int_equal(look(w), 2); /* n2's vote, n3's replica */
    AUTO(buf_done) struct buf b = {0};
    struct uuid n1 = id_of(1);
    db_encode_replica_weight(&b, &n1, 0); /* one that needs n2's answer */
    struct entry e = {.kind = ENTRY_REPLICA_WEIGHT, .request_id = id_of(98), .payload = buf_slice(&b)};
    assert_int_equal(db_propose(w->db[0], w->now, &e, w->now + 5000), 0);
    settle(w);
    assert_false(db_config_settled(w->db[0]));
    assert_int_equal(look(w), 0);
}

static void test_two_joiners_share_the_key(void **state)
{
    struct world *w = *state;
    join(w, "n2", "10.0.0.2", 2);
    join(w, "n3", "10.0.0.3", 3);
    assert_int_equal(look(w), 2);
    for (size_t i = 0; i < 2; i++) { /* the core lets only the first one through */
        assert_int_equal(w->proposals[i].kind, ENTRY_REPLICA_ADD);
        assert_string_equal(w->proposals[i].key, "config");
    }
}

/* Vote away, out of the configuration, tombstone. */
static void test_evict(void **state)
{
    struct world *w = *state;
    struct buf b = {0};
    struct uuid n2 = id_of(2);
    two_voters(w);
    admin(w, NODE_EVICT, "n2", true);
    expect_weight(w, 2, 0);
    assert_int_equal(state_of(w, "n2"), NODE_EVICTING);
    assert_int_equal(look(w), 0); /* it is there, and shall hear that its vote is gone */
    w->wall_ms = 1000 + EVICT_NOTICE_MS;
    db_encode_replica_remove(&b, &n2);
    expect(w, ENTRY_REPLICA_REMOVE, &b, "config");
    expect_admin(w, NODE_GONE, "n2", n2);
    assert_int_equal(state_of(w, "n2"), NODE_ABSENT);
    assert_true(tables_has(db_tables(w->db[0]), TABLE_TOMBSTONE, uuid_str(&n2).s));
    assert_int_equal(look(w), 0);
    admin(w, NODE_EVICT, "n2", false); /* and the slot */
    expect_admin(w, NODE_GONE, "n2", (struct uuid){0});
    assert_int_equal(tables_count(db_tables(w->db[0]), TABLE_NODE), 1);
}

/* One that never caught up has no vote to take away. */
static void test_evict_a_joiner(void **state)
{
    struct world *w = *state;
    struct buf b = {0};
    struct uuid n2 = id_of(2);
    join(w, "n2", "10.0.0.2", 2);
    expect_add(w, 2, 2);
    admin(w, NODE_EVICT, "n2", true);
    db_encode_replica_remove(&b, &n2);
    expect(w, ENTRY_REPLICA_REMOVE, &b, "config");
    expect_admin(w, NODE_GONE, "n2", n2);
}

static void test_drain(void **state)
{
    struct world *w = *state;
    admin(w, NODE_DRAIN, "n1", false);
    assert_int_equal(look(w), 0);
    w->drained = true;
    expect_admin(w, NODE_DRAINED, "n1", id_of(1));
    assert_int_equal(state_of(w, "n1"), NODE_PAUSED);
    assert_int_equal(look(w), 0);
}

static void test_failback(void **state)
{
    struct world *w = *state;
    w->home = true;
    assert_int_equal(look(w), 0); /* it did not ask for any */
    w->home = false;
    admin(w, NODE_RESUME, "n1", true);
    assert_int_equal(look(w), 0);
    w->home = true;
    expect_admin(w, NODE_HOME, "n1", id_of(1));
    assert_int_equal(look(w), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_to_do), TEST(test_join),           TEST(test_one_change_at_a_time),
        TEST(test_two_joiners_share_the_key), TEST(test_evict), TEST(test_evict_a_joiner),
        TEST(test_drain),         TEST(test_failback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
