/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The node state table of agent/cluster.h, row by row, and what must be refused. */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "agent/cluster-internal.h"
#include "common/prng.h"

enum { N1 = 1, N2, N3, REBORN = 12, HOUR_MS = 3600 * 1000 };

struct world {
    struct tables *t;
    int64_t now;
    uint64_t index;
    struct error err;
    struct uuid request; /* of the newest entry */
    /* what the other rooms say */
    bool mixed, is_rebuilt;
    int refuse_join;
    size_t running, vms;
    unsigned n_facts, n_removed, n_formed;
    uint32_t formed_qemu;
    char facts_node[NODE_NAME_MAX];
};

static struct uuid id_of(unsigned n)
{
    return (struct uuid){{7, [14] = (uint8_t)(n >> 8), [15] = (uint8_t)n}};
}

static struct hash secret_of(unsigned n)
{
    return (struct hash){{9, (uint8_t)n}};
}

static int join_check(void *ctx, const char *node, const struct host_facts *f, struct error *e)
{
    struct world *w = ctx;
    return w->refuse_join ? error_set(e, w->refuse_join, "%s with QEMU %u: level", node, f->qemu_version) : 0;
}

static bool is_mixed(void *ctx)
{
    return ((struct world *)ctx)->mixed;
}

static size_t vms_running_on(void *ctx, const char *node)
{
    (void)node;
    return ((struct world *)ctx)->running;
}

static size_t vms_on(void *ctx, const char *node)
{
    (void)node;
    return ((struct world *)ctx)->vms;
}

static void facts_changed(void *ctx, const char *node, const struct host_facts *f, int64_t time_ms)
{
    struct world *w = ctx;
    assert_non_null(f);
    assert_int_equal(time_ms, w->now);
    STR_COPY(w->facts_node, node);
    w->n_facts++;
}

static void slot_removed(void *ctx, const char *node, int64_t time_ms)
{
    (void)node;
    (void)time_ms;
    ((struct world *)ctx)->n_removed++;
}

static void formed(void *ctx, const struct host_facts *f)
{
    struct world *w = ctx;
    w->formed_qemu = f->qemu_version;
    w->n_formed++;
}

static int level_of_setting(void *ctx, const char *name, const char *value, struct error *e)
{
    (void)ctx;
    bool is_later = str_eq(name, "vm.save_format") && str_eq(value, "sparse");
    return is_later ? error_set(e, ERR_CONDITION, "sparse save images need functional level 2") : 0;
}

static bool is_rebuilt(void *ctx, const char *node)
{
    (void)node;
    return ((struct world *)ctx)->is_rebuilt;
}

static int apply_bytes(struct world *w, enum entry_kind kind, struct slice payload)
{
    const struct cluster_gate gate = {.ctx = w, .join_check = join_check, .is_mixed = is_mixed,
                                      .vms_running_on = vms_running_on, .vms_on = vms_on, .is_rebuilt = is_rebuilt,
                                      .facts_changed = facts_changed, .slot_removed = slot_removed, .formed = formed,
                                      .setting_check = level_of_setting};
    struct entry e = {.term = 1, .index = ++w->index, .kind = (uint16_t)kind, .level = 1, .time_ms = w->now,
                      .request_id = id_of(1000 + (unsigned)w->index), .payload = payload};
    struct apply_result result = {0};
    cluster_apply(w->t, &gate, &e, &result);
    w->err = result.error;
    w->request = e.request_id;
    return result.error.code;
}

/* Takes b. */
static int apply(struct world *w, enum entry_kind kind, struct buf *b)
{
    int code = apply_bytes(w, kind, buf_slice(b));
    buf_done(b);
    return code;
}

static struct host_facts facts_of(const char *name)
{
    struct host_facts f = {.port = 7411, .qemu_version = 7002000, .libvirt_version = 9000000, .memory_kib = 1 << 20,
                           .machines = (char *)"pc-q35-7.2"};
    STR_COPY(f.hostname, name);
    STR_COPY(f.os, "Debian");
    return f;
}

static struct cluster_init founder(void)
{
    struct cluster_init i = {.identity = {.cluster = id_of(99), .cluster_name = "ring", .replica = id_of(N1),
                                          .nodeid = 1, .node = "n1", .address = "10.0.0.1", .port = 7411},
                             .facts = facts_of("n1"), .sealed_ca_key = {(const uint8_t *)"sealed", 6}};
    return i;
}

static int form(struct world *w)
{
    struct cluster_init i = founder();
    struct buf b = {0};
    cluster_entry_init(&i, &b);
    return apply(w, ENTRY_CLUSTER_INIT, &b);
}

static struct join_token token_of(unsigned n, const char *node)
{
    struct join_token k = {.id = id_of(100 + n), .secret_hash = secret_of(n), .expires_ms = 2 * HOUR_MS};
    STR_COPY(k.node, node);
    return k;
}

static int add_token(struct world *w, const struct join_token *k)
{
    struct buf b = {0};
    cluster_entry_token(k, (struct slice){(const uint8_t *)"sealed text", 11}, &b);
    return apply(w, ENTRY_TOKEN_ADD, &b);
}

static struct join_request join_of(unsigned n, const char *node, unsigned replica)
{
    struct join_request j = {.token = id_of(100 + n), .secret_hash = secret_of(n), .replica = id_of(replica),
                             .facts = facts_of(node)};
    STR_COPY(j.node, node);
    snprintf(j.address, sizeof j.address, "10.0.0.%s", node + 1);
    return j;
}

static int join(struct world *w, const struct join_request *j)
{
    struct buf b = {0};
    cluster_entry_join(j, &b);
    return apply(w, ENTRY_NODE_JOIN, &b);
}

static int admin(struct world *w, enum node_verb verb, const char *name, struct node_request q)
{
    struct buf b = {0};
    q.verb = verb;
    STR_COPY(q.name, name);
    cluster_entry_admin(&q, &b);
    return apply(w, ENTRY_NODE_ADMIN, &b);
}
#define ADMIN(w, verb, name, ...) admin((w), (verb), (name), (struct node_request){__VA_ARGS__})

static struct node get(const struct world *w, const char *name)
{
    struct node n = {0};
    assert_int_equal(node_get(w->t, name, &n), 0);
    free(n.facts.machines); /* the tests look at the rest */
    n.facts.machines = NULL;
    return n;
}

static enum node_state state(const struct world *w, const char *name)
{
    return get(w, name).state;
}

static enum job_state job_state(const struct world *w, const struct uuid *id, enum job_kind kind)
{
    struct job j;
    assert_int_equal(journal_job_get(w->t, id, &j), 0);
    assert_int_equal(j.kind, kind);
    return j.state;
}

static void assert_event(const struct world *w, const char *object, const char *text)
{
    struct table_row row;
    struct cluster_event e;
    assert_true(tables_last(w->t, TABLE_EVENT, &row));
    assert_int_equal(cluster_event_decode(row.value, &e), 0);
    assert_string_equal(e.object, object);
    if (!strstr(e.text, text))
        fail_msg("event '%s' lacks '%s'", e.text, text);
}

/* A refusal says something and changes nothing. */
#define assert_refused(w, code, call) \
    do { \
        struct hash before = tables_hash((w)->t); \
        assert_int_equal((call), (code)); \
        struct hash after = tables_hash((w)->t); \
        assert_true(hash_eq(&before, &after)); \
        assert_true((w)->err.text[0] != '\0'); \
    } while (0)
/* So does what is so already, without an error. */
#define assert_no_change(w, call) \
    do { \
        struct hash before = tables_hash((w)->t); \
        assert_int_equal((call), 0); \
        struct hash after = tables_hash((w)->t); \
        assert_true(hash_eq(&before, &after)); \
    } while (0)

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);
    w->t = tables_new();
    w->now = HOUR_MS;
    assert_int_equal(form(w), 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    tables_free(w->t);
    free(w);
    return 0;
}

static void join_n2(struct world *w)
{
    struct join_token k = token_of(2, "n2");
    struct join_request j = join_of(2, "n2", N2);
    assert_int_equal(add_token(w, &k), 0);
    assert_int_equal(join(w, &j), 0);
}

static void admit_n2(struct world *w)
{
    join_n2(w);
    assert_int_equal(ADMIN(w, NODE_ADMITTED, "n2", .replica = id_of(N2)), 0);
    assert_int_equal(state(w, "n2"), NODE_ACTIVE);
}

static void make_absent(struct world *w, bool while_paused)
{
    admit_n2(w);
    if (while_paused) {
        assert_int_equal(ADMIN(w, NODE_DRAIN, "n2"), 0);
        assert_int_equal(ADMIN(w, NODE_DRAINED, "n2"), 0);
    }
    assert_int_equal(ADMIN(w, NODE_EVICT, "n2", .keep_slot = true, .force = !while_paused), 0);
    assert_int_equal(ADMIN(w, NODE_GONE, "n2", .replica = id_of(N2)), 0);
    assert_int_equal(state(w, "n2"), NODE_ABSENT);
}

/* ---- forming ---- */

static void test_form(void **ctx)
{
    struct world *w = *ctx;
    struct cluster c;
    struct slice key;
    struct node n = get(w, "n1");
    assert_int_equal(n.state, NODE_ACTIVE);
    assert_int_equal(n.nodeid, 1);
    assert_string_equal(n.address, "10.0.0.1");
    assert_int_equal(cluster_get(w->t, &c), 0);
    assert_string_equal(c.name, "ring");
    assert_int_equal(c.created_ms, HOUR_MS);
    assert_int_equal(tables_get(w->t, TABLE_SECRET, "ca.key", &key), 0);
    assert_int_equal(key.len, 6);
    assert_int_equal(w->n_formed, 1);
    assert_int_equal(w->formed_qemu, 7002000);
    assert_string_equal(w->facts_node, "n1");
    assert_event(w, "n1", "formed");
    assert_refused(w, ERR_CONDITION, form(w));
}

static void test_form_with_a_bad_name(void **ctx)
{
    struct world *w = *ctx;
    struct cluster_init i = founder();
    struct buf b = {0};
    tables_free(w->t);
    w->t = tables_new();
    STR_COPY(i.identity.node, "");
    cluster_entry_init(&i, &b);
    assert_refused(w, ERR_USAGE, apply(w, ENTRY_CLUSTER_INIT, &b));
}

/* ---- joining ---- */

static void test_join_a_new_slot(void **ctx)
{
    struct world *w = *ctx;
    join_n2(w);
    struct node n = get(w, "n2");
    assert_int_equal(n.state, NODE_JOINING);
    assert_int_equal(n.nodeid, 2);
    assert_int_equal(n.port, 7411);
    assert_string_equal(n.address, "10.0.0.2");
    struct uuid replica = id_of(N2);
    assert_true(uuid_eq(&n.replica, &replica));
    assert_true(uuid_eq(&n.facts_replica, &replica));
    assert_string_equal(w->facts_node, "n2");
    assert_event(w, "n2", "joins");
    assert_int_equal(ADMIN(w, NODE_ADMITTED, "n2", .replica = replica), 0);
    assert_int_equal(state(w, "n2"), NODE_ACTIVE);
    assert_event(w, "n2", "votes");
}

static void test_join_repeated(void **ctx)
{
    struct world *w = *ctx;
    struct join_request j = join_of(2, "n2", N2);
    join_n2(w);
    assert_no_change(w, join(w, &j));
    w->now += 5 * HOUR_MS; /* the token has expired, but it was used in time */
    assert_no_change(w, join(w, &j));
    assert_int_equal(ADMIN(w, NODE_ADMITTED, "n2", .replica = id_of(N2)), 0);
    assert_no_change(w, join(w, &j));
    assert_int_equal(state(w, "n2"), NODE_ACTIVE);
}

static void test_join_refused_by_its_token(void **ctx)
{
    struct world *w = *ctx;
    struct join_token k = token_of(2, "n2");
    STR_COPY(k.address, "10.0.0.2");
    assert_int_equal(add_token(w, &k), 0);

    struct join_request j = join_of(3, "n2", N2); /* unknown token */
    assert_refused(w, ERR_PERMISSION, join(w, &j));
    j = join_of(2, "n2", N2);
    j.secret_hash = secret_of(3);
    assert_refused(w, ERR_PERMISSION, join(w, &j));
    j = join_of(2, "n3", N3);
    assert_refused(w, ERR_PERMISSION, join(w, &j));
    j = join_of(2, "n2", N2);
    STR_COPY(j.address, "10.0.0.9");
    assert_refused(w, ERR_PERMISSION, join(w, &j));
    j = join_of(2, "n2", N2);
    w->now = k.expires_ms + 1;
    assert_refused(w, ERR_PERMISSION, join(w, &j));
    assert_non_null(strstr(w->err.text, "expired"));
    assert_non_null(strstr(w->err.remedy, "join-token n2"));
    w->now = k.expires_ms;
    assert_int_equal(join(w, &j), 0);
}

static void test_join_with_a_used_token(void **ctx)
{
    struct world *w = *ctx;
    struct join_request j = join_of(2, "n2", REBORN);
    make_absent(w, true);
    assert_refused(w, ERR_PERMISSION, join(w, &j));
    assert_non_null(strstr(w->err.text, "used"));
}

static void test_join_of_a_tombstoned_replica(void **ctx)
{
    struct world *w = *ctx;
    struct join_token k = token_of(4, "n2");
    struct join_request j = join_of(4, "n2", N2);
    make_absent(w, true);
    assert_int_equal(add_token(w, &k), 0);
    assert_refused(w, ERR_CONDITION, join(w, &j));
    j = join_of(4, "n2", REBORN);
    assert_int_equal(join(w, &j), 0);
}

static void test_join_of_a_slot_in_use(void **ctx)
{
    struct world *w = *ctx;
    struct join_token k = token_of(4, "n1");
    struct join_request j = join_of(4, "n1", REBORN);
    assert_int_equal(add_token(w, &k), 0);
    assert_refused(w, ERR_CONDITION, join(w, &j)); /* name of another */
    k = token_of(5, "n5");
    assert_int_equal(add_token(w, &k), 0);
    j = join_of(5, "n5", REBORN);
    STR_COPY(j.address, "10.0.0.1");
    assert_refused(w, ERR_CONDITION, join(w, &j)); /* address of another */
    assert_non_null(strstr(w->err.text, "n1"));
    j = join_of(5, "n5", N1); /* replica of another */
    assert_refused(w, ERR_CONDITION, join(w, &j));
}

static void test_join_of_a_slot_at_another_address(void **ctx)
{
    struct world *w = *ctx;
    struct join_token k = token_of(4, "n2");
    struct join_request j = join_of(4, "n2", REBORN);
    make_absent(w, true);
    assert_int_equal(add_token(w, &k), 0);
    STR_COPY(j.address, "10.0.0.9");
    assert_refused(w, ERR_CONDITION, join(w, &j));
    assert_non_null(strstr(w->err.remedy, "10.0.0.2"));
}

static void test_join_with_text_that_would_break_a_file(void **ctx)
{
    struct world *w = *ctx;
    struct join_token k = token_of(5, "n5");
    struct join_request j = join_of(5, "n5", REBORN);
    assert_int_equal(add_token(w, &k), 0);
    STR_COPY(j.address, "10.0.0.5\n    }\n    node {");
    assert_refused(w, ERR_USAGE, join(w, &j));
    STR_COPY(j.address, "");
    assert_refused(w, ERR_USAGE, join(w, &j));
    k = token_of(6, "n5\n}");
    assert_refused(w, ERR_USAGE, add_token(w, &k));
    k = token_of(6, "");
    assert_refused(w, ERR_USAGE, add_token(w, &k));
    k = token_of(6, "n6");
    STR_COPY(k.address, "a host");
    assert_refused(w, ERR_USAGE, add_token(w, &k));
}

static void test_join_in_mixed_mode(void **ctx)
{
    struct world *w = *ctx;
    struct join_token k = token_of(5, "n5"), old = token_of(4, "n2");
    struct join_request j = join_of(5, "n5", N3);
    make_absent(w, true);
    w->mixed = true;
    assert_int_equal(add_token(w, &k), 0);
    assert_refused(w, ERR_CONDITION, join(w, &j)); /* a new slot would need a reload */
    assert_int_equal(add_token(w, &old), 0);
    j = join_of(4, "n2", REBORN);
    assert_int_equal(join(w, &j), 0); /* a slot that waits does not */
}

static void test_join_refused_by_the_gate(void **ctx)
{
    struct world *w = *ctx;
    struct join_token k = token_of(2, "n2");
    struct join_request j = join_of(2, "n2", N2);
    assert_int_equal(add_token(w, &k), 0);
    w->refuse_join = ERR_CONDITION;
    assert_refused(w, ERR_CONDITION, join(w, &j));
    w->refuse_join = 0;
    assert_int_equal(join(w, &j), 0); /* the token was not used up */
}

static void test_join_up_to_the_limit(void **ctx)
{
    struct world *w = *ctx;
    for (unsigned i = 2; i <= DB_REPLICAS_MAX + 1; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%u", i);
        struct join_token k = token_of(i, name);
        struct join_request j = join_of(i, name, i);
        assert_int_equal(add_token(w, &k), 0);
        assert_int_equal(join(w, &j), i <= DB_REPLICAS_MAX ? 0 : ERR_CONDITION);
    }
    assert_int_equal(tables_count(w->t, TABLE_NODE), DB_REPLICAS_MAX);
}

static void test_token_of_an_operation(void **ctx)
{
    struct world *w = *ctx;
    struct join_token k = token_of(2, "n2");
    struct join_request j = join_of(2, "n2", N2);
    STR_COPY(k.op_id, "op-1");
    assert_int_equal(add_token(w, &k), 0);
    assert_true(tables_has(w->t, TABLE_SECRET, "token/op-1"));
    assert_int_equal(join(w, &j), 0);
    assert_false(tables_has(w->t, TABLE_SECRET, "token/op-1"));
}

static void test_old_tokens_go(void **ctx)
{
    struct world *w = *ctx;
    struct join_token k = token_of(2, "n2"), next = token_of(3, "n3");
    STR_COPY(k.op_id, "op-1");
    assert_int_equal(add_token(w, &k), 0);
    w->now = k.expires_ms + 24 * HOUR_MS;
    next.expires_ms = w->now + HOUR_MS;
    assert_int_equal(add_token(w, &next), 0);
    assert_int_equal(tables_count(w->t, TABLE_TOKEN), 2);
    w->now++;
    assert_int_equal(add_token(w, &next), 0);
    assert_int_equal(tables_count(w->t, TABLE_TOKEN), 1);
    assert_false(tables_has(w->t, TABLE_SECRET, "token/op-1"));
}

/* ---- drain, resume ---- */

static void test_drain_and_resume(void **ctx)
{
    struct world *w = *ctx;
    admit_n2(w);
    assert_int_equal(ADMIN(w, NODE_DRAIN, "n2"), 0);
    struct uuid drain = w->request;
    assert_int_equal(state(w, "n2"), NODE_DRAINING);
    assert_int_equal(job_state(w, &drain, JOB_DRAIN), JOB_RUNNING);
    assert_event(w, "n2", "draining");
    assert_no_change(w, ADMIN(w, NODE_DRAIN, "n2"));
    assert_int_equal(ADMIN(w, NODE_DRAINED, "n2"), 0);
    assert_int_equal(state(w, "n2"), NODE_PAUSED);
    assert_int_equal(job_state(w, &drain, JOB_DRAIN), JOB_DONE);
    assert_no_change(w, ADMIN(w, NODE_DRAINED, "n2"));
    assert_no_change(w, ADMIN(w, NODE_DRAIN, "n2"));
    assert_int_equal(ADMIN(w, NODE_RESUME, "n2"), 0);
    assert_int_equal(state(w, "n2"), NODE_ACTIVE);
    assert_int_equal(job_state(w, &w->request, JOB_RESUME), JOB_DONE);
    assert_no_change(w, ADMIN(w, NODE_RESUME, "n2"));
}

static void test_resume_while_draining(void **ctx)
{
    struct world *w = *ctx;
    admit_n2(w);
    assert_int_equal(ADMIN(w, NODE_DRAIN, "n2"), 0);
    struct uuid drain = w->request;
    assert_int_equal(ADMIN(w, NODE_RESUME, "n2", .failback = true), 0);
    assert_int_equal(state(w, "n2"), NODE_ACTIVE);
    assert_int_equal(job_state(w, &drain, JOB_DRAIN), JOB_CANCELLED);
    assert_no_change(w, ADMIN(w, NODE_DRAINED, "n2")); /* it came late */
}

static void test_no_resume_while_it_is_rebuilt(void **ctx)
{
    struct world *w = *ctx;
    admit_n2(w);
    ADMIN(w, NODE_DRAIN, "n2");
    ADMIN(w, NODE_DRAINED, "n2");
    w->is_rebuilt = true;
    assert_int_equal(ADMIN(w, NODE_RESUME, "n2"), ERR_CONDITION);
    assert_int_equal(state(w, "n2"), NODE_PAUSED);
    w->is_rebuilt = false;
    assert_int_equal(ADMIN(w, NODE_RESUME, "n2"), 0);
}

static void test_failback(void **ctx)
{
    struct world *w = *ctx;
    admit_n2(w);
    assert_int_equal(ADMIN(w, NODE_DRAIN, "n2"), 0);
    assert_int_equal(ADMIN(w, NODE_DRAINED, "n2"), 0);
    assert_int_equal(ADMIN(w, NODE_RESUME, "n2", .failback = true), 0);
    struct uuid resume = w->request;
    assert_true(get(w, "n2").failback);
    assert_int_equal(job_state(w, &resume, JOB_RESUME), JOB_RUNNING);
    assert_no_change(w, ADMIN(w, NODE_RESUME, "n2", .failback = true));
    assert_int_equal(ADMIN(w, NODE_HOME, "n2"), 0);
    assert_false(get(w, "n2").failback);
    assert_int_equal(job_state(w, &resume, JOB_RESUME), JOB_DONE);
    assert_no_change(w, ADMIN(w, NODE_HOME, "n2"));
}

static void test_drain_ends_a_failback(void **ctx)
{
    struct world *w = *ctx;
    admit_n2(w);
    assert_int_equal(ADMIN(w, NODE_RESUME, "n2", .failback = true), 0);
    struct uuid resume = w->request;
    assert_int_equal(ADMIN(w, NODE_DRAIN, "n2"), 0);
    assert_int_equal(job_state(w, &resume, JOB_RESUME), JOB_CANCELLED);
    assert_false(get(w, "n2").failback);
    assert_no_change(w, ADMIN(w, NODE_HOME, "n2"));
}

static void test_verbs_that_the_state_refuses(void **ctx)
{
    struct world *w = *ctx;
    join_n2(w);
    assert_refused(w, ERR_CONDITION, ADMIN(w, NODE_DRAIN, "n2"));
    assert_refused(w, ERR_CONDITION, ADMIN(w, NODE_RESUME, "n2"));
    assert_refused(w, ERR_NO_OBJECT, ADMIN(w, NODE_DRAIN, "n9"));
    assert_refused(w, ERR_NO_OBJECT, ADMIN(w, NODE_DRAIN, ""));
    assert_refused(w, ERR_MALFORMED, ADMIN(w, (enum node_verb)99, "n2"));
    assert_int_equal(ADMIN(w, NODE_EVICT, "n2", .keep_slot = true, .force = true), 0);
    assert_refused(w, ERR_CONDITION, ADMIN(w, NODE_DRAIN, "n2"));
    assert_refused(w, ERR_CONDITION, ADMIN(w, NODE_RESUME, "n2"));
    assert_int_equal(ADMIN(w, NODE_GONE, "n2", .replica = id_of(N2)), 0);
    assert_refused(w, ERR_CONDITION, ADMIN(w, NODE_DRAIN, "n2"));
    assert_refused(w, ERR_CONDITION, ADMIN(w, NODE_RESUME, "n2"));
}

/* ---- evict ---- */

static void test_evict_and_come_back(void **ctx)
{
    struct world *w = *ctx;
    struct join_token k = token_of(4, "n2");
    struct join_request j = join_of(4, "n2", REBORN);
    admit_n2(w);
    assert_int_equal(ADMIN(w, NODE_DRAIN, "n2"), 0);
    assert_int_equal(ADMIN(w, NODE_DRAINED, "n2"), 0);
    assert_int_equal(ADMIN(w, NODE_EVICT, "n2", .keep_slot = true), 0);
    struct uuid evict = w->request;
    assert_int_equal(state(w, "n2"), NODE_EVICTING);
    assert_int_equal(job_state(w, &evict, JOB_EVICT), JOB_RUNNING);
    assert_no_change(w, ADMIN(w, NODE_EVICT, "n2", .keep_slot = true));
    assert_no_change(w, ADMIN(w, NODE_GONE, "n2", .replica = id_of(N3))); /* another replica's end */
    assert_int_equal(ADMIN(w, NODE_GONE, "n2", .replica = id_of(N2)), 0);
    assert_int_equal(state(w, "n2"), NODE_ABSENT);
    assert_int_equal(job_state(w, &evict, JOB_EVICT), JOB_DONE);
    struct uuid old = id_of(N2), none = {0}, is = get(w, "n2").replica;
    assert_true(tables_has(w->t, TABLE_TOMBSTONE, uuid_str(&old).s));
    assert_true(uuid_eq(&is, &none));
    assert_no_change(w, ADMIN(w, NODE_GONE, "n2", .replica = old));
    assert_no_change(w, ADMIN(w, NODE_EVICT, "n2", .keep_slot = true));

    assert_int_equal(add_token(w, &k), 0);
    assert_int_equal(join(w, &j), 0);
    assert_int_equal(state(w, "n2"), NODE_JOINING);
    assert_int_equal(get(w, "n2").nodeid, 2);
    assert_no_change(w, ADMIN(w, NODE_ADMITTED, "n2", .replica = old)); /* the old one's */
    assert_int_equal(ADMIN(w, NODE_ADMITTED, "n2", .replica = id_of(REBORN)), 0);
    assert_int_equal(state(w, "n2"), NODE_PAUSED); /* as it was when it left */
    assert_no_change(w, ADMIN(w, NODE_ADMITTED, "n2", .replica = id_of(REBORN)));
    assert_int_equal(ADMIN(w, NODE_RESUME, "n2"), 0);
    assert_false(get(w, "n2").held);
}

static void test_evict_of_a_joiner_keeps_the_pause(void **ctx)
{
    struct world *w = *ctx;
    struct join_token k = token_of(4, "n2"), again = token_of(5, "n2");
    struct join_request j = join_of(4, "n2", REBORN);
    make_absent(w, true);
    assert_int_equal(add_token(w, &k), 0);
    assert_int_equal(join(w, &j), 0);
    assert_refused(w, ERR_NEED_FORCE, ADMIN(w, NODE_EVICT, "n2", .keep_slot = true));
    assert_int_equal(ADMIN(w, NODE_EVICT, "n2", .keep_slot = true, .force = true), 0);
    assert_int_equal(ADMIN(w, NODE_GONE, "n2", .replica = id_of(REBORN)), 0);
    assert_int_equal(add_token(w, &again), 0);
    j = join_of(5, "n2", REBORN + 1);
    assert_int_equal(join(w, &j), 0);
    assert_int_equal(ADMIN(w, NODE_ADMITTED, "n2", .replica = id_of(REBORN + 1)), 0);
    assert_int_equal(state(w, "n2"), NODE_PAUSED);
}

static void test_evict_by_force_comes_back_active(void **ctx)
{
    struct world *w = *ctx;
    struct join_token k = token_of(4, "n2");
    struct join_request j = join_of(4, "n2", REBORN);
    make_absent(w, false);
    assert_int_equal(add_token(w, &k), 0);
    assert_int_equal(join(w, &j), 0);
    assert_int_equal(ADMIN(w, NODE_ADMITTED, "n2", .replica = id_of(REBORN)), 0);
    assert_int_equal(state(w, "n2"), NODE_ACTIVE);
}

static void test_evict_rules(void **ctx)
{
    struct world *w = *ctx;
    admit_n2(w);
    assert_refused(w, ERR_NEED_FORCE, ADMIN(w, NODE_EVICT, "n2", .keep_slot = true));
    w->vms = w->running = 1;
    assert_refused(w, ERR_CONDITION, ADMIN(w, NODE_EVICT, "n2", .keep_slot = true));
    assert_refused(w, ERR_CONDITION, ADMIN(w, NODE_EVICT, "n2", .force = true)); /* they would be nobody's */
    w->running = 0;
    assert_refused(w, ERR_CONDITION, ADMIN(w, NODE_EVICT, "n2", .force = true));
    w->vms = 0;
    w->mixed = true;
    assert_refused(w, ERR_CONDITION, ADMIN(w, NODE_EVICT, "n2", .force = true));
    assert_non_null(strstr(w->err.remedy, "--keep-slot"));
    assert_int_equal(ADMIN(w, NODE_EVICT, "n2", .keep_slot = true, .force = true), 0);
}

/* A node that died with its machines: its slot keeps them, and nothing else would let it be replaced. */
static void test_evict_of_a_lost_node(void **ctx)
{
    struct world *w = *ctx;
    admit_n2(w);
    w->vms = w->running = 3;
    assert_int_equal(ADMIN(w, NODE_EVICT, "n2", .keep_slot = true, .force = true), 0);
    assert_int_equal(state(w, "n2"), NODE_EVICTING);
}

static void test_evict_of_the_last_voter(void **ctx)
{
    struct world *w = *ctx;
    assert_refused(w, ERR_CONDITION, ADMIN(w, NODE_EVICT, "n1", .keep_slot = true, .force = true));
    join_n2(w); /* has no vote yet */
    assert_refused(w, ERR_CONDITION, ADMIN(w, NODE_EVICT, "n1", .keep_slot = true, .force = true));
    assert_int_equal(ADMIN(w, NODE_ADMITTED, "n2", .replica = id_of(N2)), 0);
    assert_int_equal(ADMIN(w, NODE_EVICT, "n1", .keep_slot = true, .force = true), 0);
    assert_refused(w, ERR_CONDITION, ADMIN(w, NODE_EVICT, "n2", .keep_slot = true, .force = true));
}

static void test_evict_ends_the_drain(void **ctx)
{
    struct world *w = *ctx;
    admit_n2(w);
    assert_int_equal(ADMIN(w, NODE_DRAIN, "n2"), 0);
    struct uuid drain = w->request;
    assert_int_equal(ADMIN(w, NODE_EVICT, "n2", .keep_slot = true, .force = true), 0);
    assert_int_equal(job_state(w, &drain, JOB_DRAIN), JOB_CANCELLED);
}

static void test_evict_with_the_slot(void **ctx)
{
    struct world *w = *ctx;
    struct node n;
    make_absent(w, true);
    assert_int_equal(ADMIN(w, NODE_EVICT, "n2"), 0);
    struct uuid evict = w->request;
    assert_int_equal(state(w, "n2"), NODE_EVICTING);
    assert_int_equal(ADMIN(w, NODE_GONE, "n2"), 0); /* it holds no replica */
    assert_int_equal(node_get(w->t, "n2", &n), ERR_NO_OBJECT);
    assert_int_equal(w->n_removed, 1);
    assert_int_equal(job_state(w, &evict, JOB_EVICT), JOB_DONE);
    assert_int_equal(tables_count(w->t, TABLE_TOMBSTONE), 1);
}

/* ---- the rest ---- */

static void test_facts(void **ctx)
{
    struct world *w = *ctx;
    struct host_facts f = facts_of("n1");
    struct uuid own = id_of(N1), other = id_of(N3);
    struct buf b = {0};
    f.memory_kib = 42;
    cluster_entry_facts("n1", &own, &f, &b);
    assert_int_equal(apply(w, ENTRY_NODE_FACTS, &b), 0);
    assert_int_equal(get(w, "n1").facts.memory_kib, 42);
    assert_int_equal(w->n_facts, 2);
    cluster_entry_facts("n1", &other, &f, &b);
    assert_refused(w, ERR_NO_OBJECT, apply(w, ENTRY_NODE_FACTS, &b));
    cluster_entry_facts("n9", &own, &f, &b);
    assert_refused(w, ERR_NO_OBJECT, apply(w, ENTRY_NODE_FACTS, &b));
}

static void boots(struct world *w, const char *node, unsigned replica, unsigned boot)
{
    struct host_facts f = facts_of(node);
    struct uuid own = id_of(replica);
    struct buf b = {0};
    snprintf(f.boot_id, sizeof(f.boot_id), "boot-%u", boot);
    cluster_entry_facts(node, &own, &f, &b);
    assert_int_equal(apply(w, ENTRY_NODE_FACTS, &b), 0);
}

static bool is_quarantined(const struct world *w, const char *node)
{
    return get(w, node).quarantined_ms > w->now;
}

static void test_quarantine(void **ctx)
{
    struct world *w = *ctx;
    admit_n2(w);
    boots(w, "n2", N2, 1);
    for (unsigned i = 2; i <= 3; i++)
        boots(w, "n2", N2, i);
    node_failed(w->t, "n2", w->now); /* it is fenced, */
    node_failed(w->t, "n2", w->now);
    assert_true(is_quarantined(w, "n2"));
    boots(w, "n2", N2, 4); /* and comes back from that */
    assert_int_equal(get(w, "n2").failures_ms[NODE_FAILURES_MAX - 1], 0);
    for (unsigned i = 1; i <= 9; i++)
        boots(w, "n1", N1, i);
    assert_false(is_quarantined(w, "n1")); /* one of two nodes at a time */
    assert_int_equal(ADMIN(w, NODE_RESUME, "n2", .failback = false), 0);
    assert_false(is_quarantined(w, "n2"));
    boots(w, "n1", N1, 10);
    assert_true(is_quarantined(w, "n1"));
    w->now += NODE_QUARANTINE_MS;
    assert_false(is_quarantined(w, "n1"));
}

static void test_what_is_no_failure(void **ctx)
{
    struct world *w = *ctx;
    admit_n2(w);
    for (unsigned i = 1; i <= 5; i++) { /* too seldom */
        boots(w, "n2", N2, i);
        w->now += NODE_FAILURES_WINDOW_MS / 2;
    }
    assert_false(is_quarantined(w, "n2"));
    w->now += 2 * NODE_FAILURES_WINDOW_MS;
    assert_int_equal(ADMIN(w, NODE_DRAIN, "n2", .failback = false), 0);
    assert_int_equal(ADMIN(w, NODE_DRAINED, "n2", .failback = false), 0);
    for (unsigned i = 6; i <= 12; i++) /* in maintenance */
        boots(w, "n2", N2, i);
    assert_false(is_quarantined(w, "n2"));
}

static int set(struct world *w, const char *name, const char *value)
{
    struct buf b = {0};
    cluster_entry_setting(name, value, &b);
    return apply(w, ENTRY_SETTING_PUT, &b);
}

static void test_settings(void **ctx)
{
    struct world *w = *ctx;
    char value[SETTING_VALUE_MAX];
    assert_int_equal(set(w, "upgrade.executor", "/usr/libexec/hook"), 0);
    setting_get(w->t, "upgrade.executor", value);
    assert_string_equal(value, "/usr/libexec/hook");
    AUTO(json_freep) struct json *all = settings_json(w->t);
    assert_string_equal(json_get_str(all, "upgrade.executor", ""), "/usr/libexec/hook");
    assert_refused(w, ERR_USAGE, set(w, "upgrade.executor", "hook"));
    assert_refused(w, ERR_USAGE, set(w, "upgrade.other", "/x"));
    assert_int_equal(set(w, "upgrade.executor", ""), 0);
    setting_get(w->t, "upgrade.executor", value);
    assert_string_equal(value, "");
}

static int set_node(struct world *w, const char *site, const char *vote)
{
    struct node_set s = {.n = 2, .node = "n1", .values = {{.what = "site"}, {.what = "vote"}}};
    struct buf b = {0};
    STR_COPY(s.values[0].value, site);
    STR_COPY(s.values[1].value, vote);
    cluster_entry_node_set(&s, &b);
    return apply(w, ENTRY_NODE_SET, &b);
}

static void assert_setting(const struct world *w, const char *name, const char *want)
{
    char value[SETTING_VALUE_MAX];
    setting_get(w->t, name, value);
    assert_string_equal(value, want);
}

static void test_settings_of_quorum(void **ctx)
{
    struct world *w = *ctx;
    static const struct {
        const char *name, *value;
        int code;
    } cases[] = {
        {"quorum.dynamic", "off", 0},          {"quorum.dynamic", "perhaps", ERR_USAGE},
        {"quorum.dynamic", "", 0},             {"quorum.lower_node", "n9", ERR_USAGE},
        {"quorum.lower_node", "n1", 0},        {"quorum.preferred_site", "nowhere", ERR_USAGE},
        {"node.n1.site", "a b", ERR_USAGE},    {"node.n9.site", "a", ERR_NO_OBJECT},
        {"node.n1.colour", "red", ERR_USAGE},  {"node..site", "a", ERR_USAGE},
        {"node.n1.site", "a", 0},              {"quorum.preferred_site", "a", 0},
        {"node.n1.vote", "2", ERR_USAGE},      {"node.n1.vote", "0", ERR_USAGE}, /* nobody would be left */
        {"node.n1.priority", "x", ERR_USAGE},  {"node.n1.priority", "1001", ERR_USAGE},
        {"node.n1.priority", "5 ", ERR_USAGE}, {"node.n1.priority", " 5", ERR_USAGE},
        {"node.n1.priority", "-1000", 0},      {"node.NODE.site", "a", ERR_NO_OBJECT},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (cases[i].code)
            assert_refused(w, cases[i].code, set(w, cases[i].name, cases[i].value));
        else
            assert_int_equal(set(w, cases[i].name, cases[i].value), 0);
    }
    assert_setting(w, "node.n1.priority", "-1000");
    assert_setting(w, "quorum.lower_node", "n1");
    assert_setting(w, "quorum.preferred_site", "a");
    assert_int_equal(set(w, "node.n1.site", ""), 0);
    assert_setting(w, "quorum.preferred_site", ""); /* the site of no node any more */
}

static void test_settings_together(void **ctx)
{
    struct world *w = *ctx;
    struct settings_put s = {.values = {{"upgrade.executor", "/x"}, {"vm.save_format", "sparse"}}, .n = 2};
    struct buf b = {0};
    cluster_entry_settings(&s, &b);
    assert_int_equal(apply(w, ENTRY_SETTINGS_PUT, &b), ERR_CONDITION); /* the level says so of the second */
    assert_setting(w, "upgrade.executor", "");
    STR_COPY(s.values[1].value, "dense");
    b = (struct buf){0};
    cluster_entry_settings(&s, &b);
    assert_int_equal(apply(w, ENTRY_SETTINGS_PUT, &b), ERR_USAGE);
    assert_setting(w, "upgrade.executor", "");
    STR_COPY(s.values[1].value, "raw");
    b = (struct buf){0};
    cluster_entry_settings(&s, &b);
    assert_int_equal(apply(w, ENTRY_SETTINGS_PUT, &b), 0);
    assert_setting(w, "upgrade.executor", "/x");
    assert_setting(w, "vm.save_format", "raw");
    assert_int_equal(set(w, "vm.save_format", "sparse"), ERR_CONDITION);
    uint8_t many = SETTINGS_PUT_MAX + 1;
    assert_int_equal(apply_bytes(w, ENTRY_SETTINGS_PUT, (struct slice){&many, 1}), ERR_MALFORMED);
}

static void test_settings_of_corosync(void **ctx)
{
    struct world *w = *ctx;
    static const char *const wrong[] = {"299", "30001", "1e3", " 400", "0400", "400 ", "-1"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_refused(w, ERR_USAGE, set(w, "corosync.token_ms", wrong[i]));
    assert_refused(w, ERR_USAGE, set(w, "corosync.token_coefficient_ms", "30001"));
    assert_int_equal(set(w, "corosync.token_ms", "300"), 0);
    assert_int_equal(set(w, "corosync.token_coefficient_ms", "0"), 0);
    w->mixed = true;
    assert_refused(w, ERR_CONDITION, set(w, "corosync.token_ms", ""));
    assert_setting(w, "corosync.token_ms", "300");
    assert_int_equal(set(w, "quorum.dynamic", "off"), 0);
}

/* All or none. */
static void test_node_set(void **ctx)
{
    struct world *w = *ctx;
    assert_refused(w, ERR_USAGE, set_node(w, "a", "0"));
    assert_setting(w, "node.n1.site", "");
    assert_int_equal(set_node(w, "a", "1"), 0);
    assert_setting(w, "node.n1.site", "a");
    assert_event(w, "", "setting node.n1.vote = 1");
}

static void test_events_and_secrets(void **ctx)
{
    struct world *w = *ctx;
    struct buf b = {0};
    cluster_entry_event(EVENT_WARNING, "n1", "100% away", &b);
    assert_int_equal(apply(w, ENTRY_EVENT, &b), 0);
    assert_event(w, "n1", "100% away");
    wire_put_str(&b, "witness.key");
    wire_put_bytes(&b, "sealed", 6);
    assert_int_equal(apply(w, ENTRY_SECRET_PUT, &b), 0);
    assert_true(tables_has(w->t, TABLE_SECRET, "witness.key"));
    wire_put_str(&b, "witness.key");
    wire_put_bytes(&b, NULL, 0);
    assert_int_equal(apply(w, ENTRY_SECRET_PUT, &b), 0);
    assert_false(tables_has(w->t, TABLE_SECRET, "witness.key"));
    assert_refused(w, ERR_UNKNOWN_KIND, apply(w, ENTRY_VM_ADD, &b));
}

/* ---- payloads that no encoder made ---- */

static void encode(enum entry_kind kind, struct buf *b)
{
    struct cluster_init i = founder();
    struct join_request j = join_of(2, "n2", N2);
    struct join_token k = token_of(2, "n2");
    struct node_request q = {.verb = NODE_EVICT, .name = "n2", .keep_slot = true, .force = true};
    struct uuid own = id_of(N1);
    switch ((int)kind) {
    case ENTRY_CLUSTER_INIT: cluster_entry_init(&i, b); break;
    case ENTRY_NODE_JOIN: cluster_entry_join(&j, b); break;
    case ENTRY_NODE_FACTS: cluster_entry_facts("n1", &own, &i.facts, b); break;
    case ENTRY_NODE_ADMIN: cluster_entry_admin(&q, b); break;
    case ENTRY_TOKEN_ADD: cluster_entry_token(&k, (struct slice){(const uint8_t *)"x", 1}, b); break;
    case ENTRY_SECRET_PUT: cluster_entry_setting("witness.key", "sealed", b); break;
    case ENTRY_NODE_SET:
        cluster_entry_node_set(&(struct node_set){.node = "n1", .n = 1, .values = {{.what = "site"}}}, b);
        break;
    case ENTRY_SETTING_PUT: cluster_entry_setting("upgrade.executor", "/x", b); break;
    default: cluster_entry_event(EVENT_INFO, "n1", "text", b);
    }
}

static const enum entry_kind kinds[] = {ENTRY_CLUSTER_INIT, ENTRY_NODE_JOIN,  ENTRY_NODE_FACTS,  ENTRY_NODE_ADMIN,
                                        ENTRY_TOKEN_ADD,    ENTRY_SECRET_PUT, ENTRY_SETTING_PUT, ENTRY_EVENT};
enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

static void test_truncated(void **ctx)
{
    struct world *w = *ctx;
    admit_n2(w);
    for (size_t k = 0; k < N_KINDS; k++) {
        AUTO(buf_done) struct buf b = {0};
        encode(kinds[k], &b);
        for (size_t len = 0; len < b.len; len++) {
            uint8_t *p = xmalloc(len ? len : 1); /* exactly: a read behind it is seen */
            memcpy(p, b.p, len);
            assert_refused(w, ERR_MALFORMED, apply_bytes(w, kinds[k], (struct slice){p, len}));
            free(p);
        }
    }
}

static void test_random(void **ctx)
{
    struct world *w = *ctx;
    struct prng r = prng_new(5);
    for (unsigned round = 0; round < 20000; round++) {
        AUTO(buf_done) struct buf b = {0};
        enum entry_kind kind = kinds[prng_next(&r) % N_KINDS];
        encode(kind, &b);
        for (uint64_t flips = prng_next(&r) % 4; flips > 0; flips--)
            b.p[prng_next(&r) % b.len] = (uint8_t)prng_next(&r);
        if (round % 500 == 0) { /* and once in a while a cluster without a first entry */
            tables_free(w->t);
            w->t = tables_new();
        }
        (void)apply_bytes(w, kind, buf_slice(&b));
        struct node n = {0};
        while (node_next(w->t, &n))
            assert_true(n.name[0] != '\0');
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_form),
        TEST(test_form_with_a_bad_name),
        TEST(test_join_a_new_slot),
        TEST(test_join_repeated),
        TEST(test_join_refused_by_its_token),
        TEST(test_join_with_a_used_token),
        TEST(test_join_of_a_tombstoned_replica),
        TEST(test_join_of_a_slot_in_use),
        TEST(test_join_of_a_slot_at_another_address),
        TEST(test_join_with_text_that_would_break_a_file),
        TEST(test_join_in_mixed_mode),
        TEST(test_join_refused_by_the_gate),
        TEST(test_join_up_to_the_limit),
        TEST(test_token_of_an_operation),
        TEST(test_old_tokens_go),
        TEST(test_drain_and_resume),
        TEST(test_resume_while_draining),
        TEST(test_no_resume_while_it_is_rebuilt),
        TEST(test_failback),
        TEST(test_drain_ends_a_failback),
        TEST(test_verbs_that_the_state_refuses),
        TEST(test_evict_and_come_back),
        TEST(test_evict_of_a_joiner_keeps_the_pause),
        TEST(test_evict_by_force_comes_back_active),
        TEST(test_evict_rules),
        TEST(test_evict_of_a_lost_node),
        TEST(test_evict_of_the_last_voter),
        TEST(test_evict_ends_the_drain),
        TEST(test_evict_with_the_slot),
        TEST(test_facts),
        TEST(test_quarantine),
        TEST(test_what_is_no_failure),
        TEST(test_settings),
        TEST(test_settings_of_quorum),
        TEST(test_settings_of_corosync),
        TEST(test_settings_together),
        TEST(test_node_set),
        TEST(test_events_and_secrets),
        TEST(test_truncated),
        TEST(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
