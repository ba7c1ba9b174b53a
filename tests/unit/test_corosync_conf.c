/* SPDX-License-Identifier: GPL-2.0-or-later */
/* corosync.conf to the letter: a byte that changes is a reload of every ring. */
#include "tests/unit/unit.h"

#include "agent/cluster-internal.h"

#define HEAD \
    "# Written by ringmasterd from the cluster's committed membership: changes are lost.\n" \
    "totem {\n" \
    "    version: 2\n" \
    "    cluster_name: ring\n" \
    "    transport: knet\n" \
    "    crypto_cipher: aes256\n" \
    "    crypto_hash: sha256\n" \
    "    token: 1000\n" \
    "    seqno_unchanged_const: 2\n" \
    "}\n" \
    "system {\n" \
    "    sched_rr: no\n" \
    "}\n" \
    "quorum {\n" \
    "    provider: corosync_votequorum\n" \
    "    expected_votes: 200\n" \
    "    device {\n" \
    "        model: ringmaster\n" \
    "        votes: 100\n" \
    "        timeout: 3000\n" \
    "        sync_timeout: 1000\n" \
    "    }\n" \
    "}\n" \
    "logging {\n" \
    "    to_syslog: yes\n" \
    "    timestamp: off\n" \
    "}\n" \
    "nodelist {\n"
#define NODE(name, id, address) \
    "    node {\n" \
    "        name: " name "\n" \
    "        nodeid: " id "\n" \
    "        ring0_addr: " address "\n" \
    "    }\n"

static void test_render(void **state)
{
    (void)state;
    const struct corosync_slot slots[] = {{"n1", "10.0.0.1", 1}, {"n2", "fd00::2", 4294967295}};
    AUTO(freep) char *none = corosync_conf_render("ring", NULL, NULL, 0);
    assert_string_equal(none, HEAD "}\n");
    AUTO(freep) char *two = corosync_conf_render("ring", NULL, slots, 2);
    assert_string_equal(two, HEAD NODE("n1", "1", "10.0.0.1") NODE("n2", "4294967295", "fd00::2") "}\n");
}

static void put_node(struct tables *t, const char *name, const char *address, uint32_t nodeid, enum node_state state)
{
    struct node n = {.nodeid = nodeid, .state = state};
    AUTO(buf_done) struct buf b = {0};
    STR_COPY(n.name, name);
    STR_COPY(n.address, address);
    node_encode(&n, &b);
    tables_put(t, TABLE_NODE, name, buf_slice(&b));
}

/* By name, and slots that wait for a replica too: an eviction during an upgrade must not change the file. */
static void test_of_tables(void **state)
{
    (void)state;
    struct tables *t = tables_new();
    struct cluster c = {.name = "ring"};
    AUTO(buf_done) struct buf b = {0};
    put_node(t, "n2", "10.0.0.2", 2, NODE_ACTIVE);
    assert_null(corosync_conf_of_tables(t));
    cluster_encode(&c, &b);
    tables_put(t, TABLE_CLUSTER, "cluster", buf_slice(&b));
    put_node(t, "n1", "10.0.0.1", 7, NODE_ACTIVE);
    static const char expected[] = HEAD NODE("n1", "7", "10.0.0.1") NODE("n2", "2", "10.0.0.2") "}\n";
    for (enum node_state s = NODE_ACTIVE; s <= NODE_JOINING; s++) {
        put_node(t, "n2", "10.0.0.2", 2, s);
        AUTO(freep) char *conf = corosync_conf_of_tables(t);
        assert_string_equal(conf, expected);
    }
    tables_free(t);
}

/* Only what was set stands there: a coefficient of 0 is one. */
static void test_times(void **state)
{
    (void)state;
    struct tables *t = tables_new();
    struct cluster c = {.name = "ring"};
    AUTO(buf_done) struct buf b = {0};
    cluster_encode(&c, &b);
    tables_put(t, TABLE_CLUSTER, "cluster", buf_slice(&b));
    setting_put(t, "corosync.token_coefficient_ms", "0", 1);
    AUTO(freep) char *one = corosync_conf_of_tables(t);
    assert_non_null(strstr(one, "    token: 1000\n    token_coefficient: 0\n    seqno"));
    setting_put(t, "corosync.token_ms", "300", 1);
    AUTO(freep) char *both = corosync_conf_of_tables(t);
    assert_non_null(strstr(both, "    token: 300\n    token_coefficient: 0\n    seqno"));
    setting_put(t, "corosync.token_ms", "", 1);
    setting_put(t, "corosync.token_coefficient_ms", "", 1);
    AUTO(freep) char *none = corosync_conf_of_tables(t);
    assert_string_equal(none, HEAD "}\n");
    tables_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_render),
        cmocka_unit_test(test_of_tables),
        cmocka_unit_test(test_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
