/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Forming and joining, below folders of the test's own, with real TLS between the two. */
#include "tests/unit/unit.h"

#include <time.h>

#include "agent/io/files.h"
#include "tests/unit/membernode.h"

struct world {
    struct membernode first;
    struct uuid replica; /* of the last join request */
    struct error refuse; /* code 0: admit */
    unsigned n_joins;
};

static void on_join(void *ctx, struct tls_client *c, struct join_request *r)
{
    struct world *w = ctx;
    struct error e = {0};
    w->replica = r->replica;
    w->n_joins++;
    struct core_action a = membernode_issue(&w->first, r);
    if (w->refuse.code)
        tls_client_refuse(c, &w->refuse);
    else
        tls_client_issue(c, &a, &e);
    join_request_done(r);
    free(r);
}

static void on_fetch(void *ctx, struct tls_client *c)
{
    (void)ctx;
    tls_client_send_snapshot(c, (struct slice){(const uint8_t *)"snapshot", 8});
}

static const struct tls_server_ops ops = {on_join, on_fetch};

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));
    membernode_found(&w->first, "demo");
    membernode_serve(&w->first, &ops, w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    membernode_done(&w->first);
    free(w);
    return 0;
}

static bool same_file(const struct tempdir *a, const struct tempdir *b, const char *path)
{
    AUTO(buf_done) struct buf x = {0}, y = {0};
    return file_read(a->path, path, 1 << 20, &x, NULL) == 0 && file_read(b->path, path, 1 << 20, &y, NULL) == 0 &&
           x.len == y.len && memcmp(x.p, y.p, x.len) == 0;
}

/* Every file a member has, with its mode. */
static void assert_complete(const struct tempdir *d)
{
    static const struct {
        const char *path;
        mode_t mode;
    } files[] = {
        {PATH_IDENTITY, 0600},
        {PATH_CLUSTER_KEY, 0600},
        {PATH_CA, 0644},
        {PATH_NODE_CERT, 0644},
        {PATH_NODE_KEY, 0600},
        {PATH_COROSYNC_AUTHKEY, 0400},
        {PATH_COROSYNC_CONF, 0644},
        {"/etc/pki/CA/cacert.pem", 0644},
        {"/etc/pki/libvirt/servercert.pem", 0644},
        {"/etc/pki/libvirt/clientcert.pem", 0644},
        {"/etc/pki/libvirt/private", 0700},
        {"/etc/pki/libvirt/private/serverkey.pem", 0600},
        {"/etc/pki/libvirt/private/clientkey.pem", 0600},
        {"/etc/pki/qemu/ca-cert.pem", 0644},
        {"/etc/pki/qemu/server-cert.pem", 0644},
        {"/etc/pki/qemu/client-cert.pem", 0644},
        {"/etc/pki/qemu/server-key.pem", 0600},
        {"/etc/pki/qemu/client-key.pem", 0600},
        {PATH_JOINING, 0},
        {PATH_NODE_KEY ".new", 0},
    };
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        if (tempdir_mode(d, files[i].path) != files[i].mode)
            fail_msg("%s: mode %o", files[i].path, tempdir_mode(d, files[i].path));
}

static void test_found(void **state)
{
    struct world *w = *state;
    struct identity id;
    struct error e = {0};
    assert_complete(&w->first.dir);
    assert_int_equal(identity_load_in(w->first.dir.path, &id, &e), 0);
    assert_memory_equal(&id, &w->first.founded.identity, sizeof(id));
    assert_string_equal(id.cluster_name, "demo");
    assert_string_equal(id.node, "n1");
    assert_int_equal(id.nodeid, 1);
    assert_int_equal(id.port, 7700);

    struct cluster_key key;
    AUTO(buf_done) struct buf ca_key = {0};
    assert_int_equal(cluster_key_load(w->first.dir.path, &key, &e), 0);
    assert_int_equal(pki_unseal(&key, SEAL_CA_KEY, buf_slice(&w->first.founded.sealed_ca_key), &ca_key, &e), 0);
    assert_memory_equal(ca_key.p, "-----BEGIN PRIVATE KEY-----", 27);
}

static struct membership_outcome join(const struct membership_env *env, const char *token, const char *name)
{
    struct membership_outcome o;
    struct host_facts facts = membernode_facts(name);
    membership_join_in(env, token, &facts, &o);
    return o;
}

static void test_found_only_once(void **state)
{
    struct world *w = *state;
    struct membership_env env = membernode_env(&w->first.dir);
    struct host_facts facts = membernode_facts("n1");
    struct membership_outcome o;
    membership_found_in(&env, "other", TEST_CONF, &facts, &o);
    assert_int_equal(o.error.code, ERR_CONDITION);
    assert_string_equal(o.error.text, "this node is already n1 of cluster demo");
    o = join(&env, "{}", "n1");
    assert_int_equal(o.error.code, ERR_CONDITION);
}

static void test_found_refuses(void **state)
{
    (void)state;
    AUTO(tempdir_done) struct tempdir d = tempdir_make();
    struct membership_env env = membernode_env(&d);
    struct host_facts facts = membernode_facts("n1");
    struct membership_outcome o;
    membership_found_in(&env, "a/b", TEST_CONF, &facts, &o);
    assert_int_equal(o.error.code, ERR_USAGE);
    STR_COPY(facts.address, "192.0.2.1"); /* TEST-NET-1: nobody has it */
    membership_found_in(&env, "demo", TEST_CONF, &facts, &o);
    assert_int_equal(o.error.code, ERR_CONDITION);
    assert_string_equal(o.error.text, "no interface of this host has the address \"192.0.2.1\"");
    assert_int_equal(tempdir_mode(&d, PATH_CLUSTER_KEY), 0);
}

/* A corosync cluster of somebody else's keeps its files; Debian's example of one node is nobody's. */
static void test_corosync_of_others(void **state)
{
    (void)state;
    static const char others[] = "totem {\n}\nnodelist {\n  node {\n  }\n\tnode{\n  }\n}\n";
    static const char one[] = "nodelist {\n node {\n }\n}\n";
    AUTO(tempdir_done) struct tempdir d = tempdir_make();
    struct membership_env env = membernode_env(&d);
    struct host_facts facts = membernode_facts("n1");
    struct membership_outcome o;
    assert_int_equal(mkdir(tempdir_path(&d, "/etc").s, 0755), 0);
    assert_int_equal(mkdir(tempdir_path(&d, "/etc/corosync").s, 0755), 0);
    tempdir_write(&d, PATH_COROSYNC_CONF, others, 0644);
    membership_found_in(&env, "demo", TEST_CONF, &facts, &o);
    assert_int_equal(o.error.code, ERR_CONDITION);
    assert_string_equal(o.error.text, "corosync of this host has a cluster of 2 nodes that is not Ringmaster's: "
                                      "/etc/corosync/corosync.conf");
    assert_string_equal(o.error.remedy, "stop that cluster, then: mv /etc/corosync/corosync.conf "
                                        "/etc/corosync/corosync.conf.old");
    o = join(&env, "{}", "n1");
    assert_int_equal(o.error.code, ERR_CONDITION);
    assert_int_equal(tempdir_mode(&d, PATH_CLUSTER_KEY), 0);
    assert_int_equal(tempdir_mode(&d, PATH_COROSYNC_AUTHKEY), 0);
    tempdir_write(&d, PATH_COROSYNC_CONF, one, 0644);
    membership_found_in(&env, "demo", TEST_CONF, &facts, &o);
    assert_int_equal(o.error.code, 0);
    buf_done(&o.sealed_ca_key);
}

static void test_join(void **state)
{
    struct world *w = *state;
    AUTO(token_outcome_free) struct token_outcome t = membernode_token(&w->first);
    AUTO(tempdir_done) struct tempdir d = tempdir_make();
    struct membership_env env = membernode_env(&d);
    struct membership_outcome o = join(&env, t.text, "n2");
    assert_string_equal(o.error.text, "");
    assert_string_equal(o.corosync_conf, TEST_CONF);
    assert_true(hash_eq(&o.ca_hash, &w->first.founded.ca_hash));
    assert_int_equal(o.identity.nodeid, 2);
    assert_string_equal(o.identity.node, "n2");
    assert_true(uuid_eq(&o.identity.replica, &w->replica));
    assert_false(uuid_eq(&o.identity.replica, &w->first.founded.identity.replica));
    free(o.corosync_conf);

    assert_complete(&d);
    assert_true(same_file(&d, &w->first.dir, PATH_CLUSTER_KEY));
    assert_true(same_file(&d, &w->first.dir, PATH_CA));
    assert_true(same_file(&d, &w->first.dir, PATH_COROSYNC_AUTHKEY));
    assert_false(same_file(&d, &w->first.dir, PATH_NODE_KEY));
    struct identity id;
    assert_int_equal(identity_load_in(d.path, &id, NULL), 0);
    assert_memory_equal(&id, &o.identity, sizeof(id));

    AUTO(buf_done) struct buf got = {0}; /* a member now: it may fetch */
    struct error e = {0};
    assert_int_equal(tls_fetch_snapshot_in(d.path, "127.0.0.1", tls_server_port(w->first.server), &got, &e), 0);
    assert_memory_equal(got.p, "snapshot", 8);
}

static int power_fails(struct error *e)
{
    return error_set(e, ERR_FAILED, "power failure");
}

/* At every point at which it ends too early, the same token makes the same replica of it. */
static void test_join_again(void **state)
{
    struct world *w = *state;
    AUTO(token_outcome_free) struct token_outcome t = membernode_token(&w->first);
    AUTO(tempdir_done) struct tempdir d = tempdir_make();
    struct membership_env env = membernode_env(&d);
    struct uuid replicas[4];
    for (size_t i = 0; i < 4; i++) {
        w->refuse.code = i == 0 ? ERR_NO_QUORUM : 0;
        env.take_corosync = i == 1 ? power_fails : membernode_service;
        env.serve_libvirt_tls = i == 2 ? power_fails : membernode_service;
        struct membership_outcome o = join(&env, t.text, "n2");
        assert_int_equal(o.error.code, i == 0 ? ERR_NO_QUORUM : i == 3 ? 0 : ERR_FAILED);
        assert_int_equal(tempdir_mode(&d, PATH_IDENTITY), i == 3 ? 0600 : 0);
        replicas[i] = w->replica;
        free(o.corosync_conf);
    }
    for (size_t i = 1; i < 4; i++)
        assert_true(uuid_eq(&replicas[i], &replicas[0]));
    assert_complete(&d);
}

static void test_another_token_is_another_replica(void **state)
{
    struct world *w = *state;
    AUTO(token_outcome_free) struct token_outcome t1 = membernode_token(&w->first);
    AUTO(token_outcome_free) struct token_outcome t2 = membernode_token(&w->first);
    AUTO(tempdir_done) struct tempdir d = tempdir_make();
    struct membership_env env = membernode_env(&d);
    error_set(&w->refuse, ERR_PERMISSION, "the token is used up");
    struct membership_outcome o = join(&env, t1.text, "n2");
    assert_int_equal(o.error.code, ERR_PERMISSION);
    assert_string_equal(o.error.text, "cannot join cluster demo: the token is used up");
    assert_string_equal(o.error.remedy, "on a member: clusterctl cluster join-token");
    struct uuid first = w->replica;
    w->refuse.code = 0;
    o = join(&env, t2.text, "n2");
    assert_int_equal(o.error.code, 0);
    assert_false(uuid_eq(&first, &w->replica));
    free(o.corosync_conf);
}

static void test_token_of_another_node(void **state)
{
    struct world *w = *state;
    AUTO(token_outcome_free) struct token_outcome t = membernode_token(&w->first);
    AUTO(tempdir_done) struct tempdir d = tempdir_make();
    struct membership_env env = membernode_env(&d);
    unsigned before = w->n_joins;
    struct membership_outcome o = join(&env, t.text, "n3");
    assert_int_equal(o.error.code, ERR_CONDITION);
    assert_string_equal(o.error.text, "the join token is for node n2, this is n3");
    assert_int_equal(w->n_joins, before);
    assert_int_equal(tempdir_mode(&d, PATH_NODE_KEY), 0);
}

static void test_token_of_another_cluster(void **state)
{
    struct world *w = *state;
    struct membernode other = {0};
    membernode_found(&other, "demo");
    other.server = w->first.server; /* its token names the wrong port, so to speak */
    AUTO(token_outcome_free) struct token_outcome t = membernode_token(&other);
    other.server = NULL;
    AUTO(tempdir_done) struct tempdir d = tempdir_make();
    struct membership_env env = membernode_env(&d);
    unsigned before = w->n_joins;
    struct membership_outcome o = join(&env, t.text, "n2");
    assert_int_equal(o.error.code, ERR_CONDITION);
    assert_non_null(strstr(o.error.text, "belongs to another cluster: its CA is not the one expected here"));
    assert_int_equal(w->n_joins, before);
    membernode_done(&other);
}

/* Nothing of it is used, and it says what to do. */
static void test_secrets_that_others_may_open(void **state)
{
    static const struct {
        const char *path;
        mode_t good, bad;
    } secrets[] = {{PATH_CLUSTER_KEY, 0600, 0640}, {PATH_NODE_KEY, 0600, 0604}, {PATH_COROSYNC_AUTHKEY, 0400, 0444}};
    struct world *w = *state;
    const char *prefix = w->first.dir.path;
    struct error e = {0};
    assert_int_equal(secrets_check_in(prefix, &e), 0);
    for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++) {
        char path[256];
        snprintf(path, sizeof(path), "%s%s", prefix, secrets[i].path);
        assert_int_equal(chmod(path, secrets[i].bad), 0);
        assert_int_equal(secrets_check_in(prefix, &e), ERR_CONDITION);
        assert_non_null(strstr(e.text, path));
        assert_non_null(strstr(e.text, "others may open it"));
        assert_non_null(strstr(e.remedy, "chmod go= "));
        assert_int_equal(chmod(path, secrets[i].good), 0);
    }
    char key[256];
    snprintf(key, sizeof(key), "%s%s", prefix, PATH_CLUSTER_KEY);
    assert_int_equal(chmod(key, 0644), 0);
    struct cluster_key k;
    assert_int_equal(cluster_key_load(prefix, &k, &e), ERR_CONDITION);
    struct token_outcome t;
    token_make_in(prefix, &w->first.founded.identity, "n2", "", "127.0.0.1:1", 1000, 1000, &t);
    assert_int_equal(t.error.code, ERR_CONDITION);
    assert_null(t.text);
    assert_int_equal(chmod(key, 0600), 0);
    if (geteuid() != 0)
        return;
    assert_int_equal(chown(key, 60006, (gid_t)-1), 0);
    assert_int_equal(secrets_check_in(prefix, &e), ERR_CONDITION);
    assert_non_null(strstr(e.text, "belongs to uid 60006"));
    assert_int_equal(chown(key, 0, (gid_t)-1), 0);
}

static void test_nobody_answers(void **state)
{
    struct world *w = *state;
    struct token_outcome t;
    token_make_in(w->first.dir.path, &w->first.founded.identity, "n2", "", "127.0.0.1:1 [::1]:2", 1000, 1000, &t);
    AUTO(tempdir_done) struct tempdir d = tempdir_make();
    struct membership_env env = membernode_env(&d);
    struct membership_outcome o = join(&env, t.text, "n2");
    assert_true(o.error.code == ERR_IO || o.error.code == ERR_TIMEOUT);
    assert_non_null(
        strstr(o.error.text, "cannot join cluster demo: cannot connect to 127.0.0.1:1: Connection refused"));
    assert_non_null(strstr(o.error.text, "(by the clock here, the token has expired)"));
    assert_string_equal(o.error.remedy, "on a member: clusterctl cluster join-token");
    token_outcome_free(&t);
}

static void test_token_outcome(void **state)
{
    struct world *w = *state;
    struct token_outcome t;
    struct join_token parsed;
    struct error e = {0};
    token_make_in(w->first.dir.path, &w->first.founded.identity, "n9", NULL, "192.0.2.1:7700  [2001:db8::1]:7701 ",
                  1000, 500, &t);
    assert_int_equal(t.error.code, 0);
    assert_int_equal(join_token_parse(t.text, strlen(t.text), &parsed, &e), 0);
    assert_true(uuid_eq(&t.id, &parsed.id));
    struct hash h = hash_of(parsed.secret, sizeof(parsed.secret));
    assert_true(hash_eq(&t.secret_hash, &h));
    assert_int_equal(parsed.expires_ms, 1500);
    assert_string_equal(parsed.node, "n9");
    assert_string_equal(parsed.address, "");
    assert_int_equal(parsed.n_peers, 2);
    assert_string_equal(parsed.peers[1].address, "2001:db8::1");
    assert_int_equal(parsed.peers[1].port, 7701);

    struct cluster_key key;
    AUTO(buf_done) struct buf plain = {0};
    assert_int_equal(cluster_key_load(w->first.dir.path, &key, &e), 0);
    assert_int_equal(pki_unseal(&key, "token:n8", buf_slice(&t.sealed_text), &plain, NULL), ERR_MALFORMED);
    assert_int_equal(pki_unseal(&key, "token:n9", buf_slice(&t.sealed_text), &plain, &e), 0);
    assert_int_equal(plain.len, strlen(t.text));
    assert_memory_equal(plain.p, t.text, plain.len);
    token_outcome_free(&t);
}

static int token_error(struct world *w, const char *node, const char *address, const char *peers)
{
    struct token_outcome t;
    token_make_in(w->first.dir.path, &w->first.founded.identity, node, address, peers, 1000, 500, &t);
    assert_null(t.text);
    return t.error.code;
}

static void test_token_make_refuses(void **state)
{
    struct world *w = *state;
    assert_int_equal(token_error(w, "n2", "", ""), ERR_USAGE);
    assert_int_equal(token_error(w, "n2", "", "192.0.2.1"), ERR_USAGE);
    assert_int_equal(token_error(w, "n2", "", "192.0.2.1:0"), ERR_USAGE);
    assert_int_equal(token_error(w, "n2", "", "192.0.2.1:70000"), ERR_USAGE);
    assert_int_equal(token_error(w, "n2", "", "name:7700"), ERR_USAGE);
    assert_int_equal(token_error(w, "n2", "here", "192.0.2.1:7700"), ERR_USAGE);
    assert_int_equal(token_error(w, "../n2", "", "192.0.2.1:7700"), ERR_USAGE);
}

/* One member of a good token spoilt at a time. */
static void test_spoilt_tokens(void **state)
{
    struct world *w = *state;
    AUTO(token_outcome_free) struct token_outcome t = membernode_token(&w->first);
    static const char *const keys[] = {"format",    "cluster", "node",   "address", "peers",
                                       "ca_sha256", "token",   "secret", "expires"};
    struct join_token parsed;
    struct error e = {0};
    assert_int_equal(join_token_parse(t.text, strlen(t.text), &parsed, &e), 0);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        AUTO(json_freep) struct json *j = NULL;
        assert_int_equal(json_parse(t.text, strlen(t.text), &j, NULL), 0);
        json_set_str(j, keys[i], "x y");
        AUTO(freep) char *spoilt = json_dump(j);
        assert_int_equal(join_token_parse(spoilt, strlen(spoilt), &parsed, &e), ERR_USAGE);
        if (i > 0)
            assert_non_null(strstr(e.text, keys[i]));
    }
    for (size_t n = strlen(t.text) - 2; n > 0; n /= 2)
        assert_int_equal(join_token_parse(t.text, n, &parsed, &e), ERR_USAGE);
    assert_non_null(strstr(e.text, "this is not a join token file"));
}

static void test_identity_damaged(void **state)
{
    (void)state;
    AUTO(tempdir_done) struct tempdir d = tempdir_make();
    struct identity id;
    struct error e = {0};
    assert_int_equal(identity_load_in(d.path, &id, &e), ERR_NOT_FOUND);
    static const char *const texts[] = {"", "{", "{}", "{\"format\": 1, \"node\": \"n1\"}"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct slice s = {(const uint8_t *)texts[i], strlen(texts[i])};
        assert_int_equal(file_install(d.path, PATH_IDENTITY, s, (struct file_mode){.mode = 0600}, &e), 0);
        assert_int_equal(identity_load_in(d.path, &id, &e), ERR_MALFORMED);
        assert_non_null(strstr(e.text, PATH_IDENTITY " is damaged"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found),
        cmocka_unit_test(test_found_only_once),
        cmocka_unit_test(test_found_refuses),
        cmocka_unit_test(test_corosync_of_others),
        cmocka_unit_test(test_join),
        cmocka_unit_test(test_join_again),
        cmocka_unit_test(test_another_token_is_another_replica),
        cmocka_unit_test(test_token_of_another_node),
        cmocka_unit_test(test_token_of_another_cluster),
        cmocka_unit_test(test_secrets_that_others_may_open),
        cmocka_unit_test(test_nobody_answers),
        cmocka_unit_test(test_token_outcome),
        cmocka_unit_test(test_token_make_refuses),
        cmocka_unit_test(test_spoilt_tokens),
        cmocka_unit_test(test_identity_damaged),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
