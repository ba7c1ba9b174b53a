/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "upgrade/level.h"

enum { NODES = 3 };

struct cluster {
    struct tables *t;
    struct level_node nodes[NODES];
    uint64_t index;
    unsigned n_proposed;
    struct buf proposed[16];
    struct level_copy copies[NODES];
};

static struct error apply(struct cluster *c, struct slice payload, int64_t time_ms)
{
    struct entry e = {.index = ++c->index, .kind = ENTRY_LEVEL, .time_ms = time_ms, .payload = payload};
    struct apply_result result;
    e.request_id.b[0] = 9;
    e.request_id.b[15] = (uint8_t)c->index;
    level_apply(c->t, &e, &result);
    return result.error;
}

static int request(struct cluster *c, enum level_verb verb, uint8_t level, const char *node)
{
    AUTO(buf_done) struct buf b = {0};
    struct level_request q = {.verb = verb, .level = level, .why = "why", .machine = "pc-q35-10.0"};
    STR_COPY(q.node, node);
    if (verb != LEVEL_COMMIT)
        q.machine[0] = '\0';
    level_entry(&q, &b);
    return apply(c, buf_slice(&b), 5000).code;
}

static int request_copied(struct cluster *c, const char *node, uint64_t index)
{
    AUTO(buf_done) struct buf b = {0};
    struct level_request q = {.verb = LEVEL_COPIED, .level = 2, .copy_index = index};
    STR_COPY(q.node, node);
    level_entry(&q, &b);
    return apply(c, buf_slice(&b), 5000).code;
}

static void propose(void *ctx, enum entry_kind kind, struct buf *payload, const char *key)
{
    struct cluster *c = ctx;
    assert_int_equal(kind, ENTRY_LEVEL);
    assert_true(key[0] != '\0');
    assert_true(c->n_proposed < 16);
    c->proposed[c->n_proposed++] = *payload;
    *payload = (struct buf){0};
}

/* Every node that steps, n1 leads; what they propose is applied. Returns how much that was. */
static unsigned step(struct cluster *c)
{
    struct level_env env = {.ctx = c, .propose = propose};
    for (size_t i = 0; i < NODES; i++) {
        struct level_self self = {
            .node = c->nodes[i].name, .range = {1, 2}, .is_leader = i == 0, .copy = &c->copies[i]};
        if (c->nodes[i].present)
            level_step(c->t, &self, c->nodes, NODES, &env);
    }
    unsigned n = c->n_proposed;
    for (unsigned i = 0; i < n; i++) {
        apply(c, buf_slice(&c->proposed[i]), 6000);
        buf_done(&c->proposed[i]);
    }
    c->n_proposed = 0;
    return n;
}

static struct level_state get(const struct cluster *c)
{
    struct level_state s;
    assert_int_equal(level_get(c->t, &s), 0);
    return s;
}

/* They all make the copy that is wanted now. */
static void copy_all(struct cluster *c)
{
    for (size_t i = 0; i < NODES; i++)
        c->copies[i].done = get(c).copy_index;
}

static void init(struct cluster *c, uint8_t native)
{
    *c = (struct cluster){.t = tables_new()};
    level_init(c->t, 1, NULL);
    for (size_t i = 0; i < NODES; i++) {
        snprintf(c->nodes[i].name, sizeof(c->nodes[i].name), "n%zu", i + 1);
        c->nodes[i].present = true;
        c->nodes[i].machines = "pc-i440fx-10.0 pc-q35-10.0 pc-q35-7.2";
        level_member_set(c->t, c->nodes[i].name, (struct level_range){1, native}, 1000);
    }
}

static void test_level_of_a_newer_release(void **state)
{
    (void)state;
    struct tables *t = tables_new();
    struct error e = {0};
    assert_int_equal(level_check_known(t, &e), 0); /* no cluster yet */
    level_init(t, level_newest(), NULL);
    assert_int_equal(level_check_known(t, &e), 0);
    tables_free(t);
    t = tables_new();
    level_init(t, (uint8_t)(level_newest() + 1), NULL);
    assert_int_equal(level_check_known(t, &e), ERR_CONDITION);
    assert_non_null(strstr(e.text, "this agent knows levels up to"));
    assert_non_null(strstr(e.remedy, "install the release"));
    tables_free(t);
}

static void test_ranges(void **state)
{
    (void)state;
    struct level_range r = level_range_of(7002000, 9000000);
    assert_int_equal(r.min, 1);
    assert_int_equal(r.native, 1);
    r = level_range_of(10000002, 11003001);
    assert_int_equal(r.min, 1);
    assert_int_equal(r.native, 2);
    r = level_range_of(10000000, 9000000); /* both needs count */
    assert_int_equal(r.native, 1);
    r = level_range_of(5002000, 7000000);
    assert_int_equal(r.native, 0);
    assert_int_equal(level_newest(), 2);
    assert_int_equal(level_of_release("bookworm"), 1);
    assert_int_equal(level_of_release("trixie"), 2);
    assert_int_equal(level_of_release("forky"), 0);
    assert_non_null(strstr(level_describe(2), "Debian 13"));
    assert_null(level_describe(9));
}

static void test_join(void **state)
{
    (void)state;
    struct cluster c = {.t = tables_new()};
    struct error e;
    assert_int_equal(level_join_check(c.t, "n4", (struct level_range){1, 2}, &e), ERR_CONDITION); /* not formed */
    tables_free(c.t);
    init(&c, 2);
    assert_int_equal(level_join_check(c.t, "n4", (struct level_range){1, 1}, &e), 0);
    assert_int_equal(level_join_check(c.t, "n4", (struct level_range){1, 2}, &e), 0);
    assert_int_equal(level_join_check(c.t, "n4", (struct level_range){2, 3}, &e), ERR_CONDITION);
    assert_int_equal(level_join_check(c.t, "n4", (struct level_range){0, 0}, &e), ERR_CONDITION);
    assert_int_equal(request(&c, LEVEL_FENCE, 2, ""), 0);
    assert_int_equal(level_join_check(c.t, "n4", (struct level_range){1, 1}, &e), ERR_CONDITION); /* below the fence */
    assert_non_null(strstr(e.text, "n4"));
    assert_true(e.remedy[0] != '\0');
    assert_int_equal(level_join_check(c.t, "n4", (struct level_range){1, 2}, &e), 0);
    tables_free(c.t);
}

static void test_mixed(void **state)
{
    (void)state;
    struct cluster c;
    init(&c, 1);
    assert_int_equal(get(&c).mixed_since_ms, 0);
    level_member_set(c.t, "n2", (struct level_range){1, 2}, 2000);
    assert_int_equal(get(&c).mixed_since_ms, 2000);
    level_member_set(c.t, "n3", (struct level_range){1, 2}, 3000);
    assert_int_equal(get(&c).mixed_since_ms, 2000); /* the age goes on */
    struct level_state s = get(&c);
    AUTO(json_freep) struct json *j = level_json(&s, 2000 + 28LL * 86400 * 1000);
    assert_int_equal(json_int(json_path(j, "mixed.days"), -1), 28);
    assert_string_equal(json_str(json_path(j, "mixed.severity"), ""), "critical");
    assert_int_equal(json_get_int(j, "committed", -1), 1);
    assert_int_equal(json_count(json_get(j, "members")), 3);
    level_member_remove(c.t, "n2", 4000);
    assert_int_equal(get(&c).mixed_since_ms, 2000);
    level_member_remove(c.t, "n3", 4000);
    assert_int_equal(get(&c).mixed_since_ms, 0);
    assert_int_equal(get(&c).n, 1);
    tables_free(c.t);
}

/* Each by itself, on the committed level: what the nodes could do does not count. */
static void test_every_feature_has_its_gate(void **state)
{
    (void)state;
    struct cluster c;
    init(&c, 2);
    AUTO(json_freep) struct json *at1 = features_json(1), *at2 = features_json(2);
    assert_int_equal(json_count(at1), FEATURE_COUNT);
    for (int f = 0; f < FEATURE_COUNT; f++) {
        struct error e = {0};
        const char *name = json_get_str(json_at(at1, (size_t)f), "name", "");
        assert_int_equal(json_get_int(json_at(at1, (size_t)f), "level", 0), 2);
        assert_false(json_get_bool(json_at(at1, (size_t)f), "available", true));
        assert_true(json_get_bool(json_at(at2, (size_t)f), "available", false));
        assert_int_equal(feature_check(c.t, (enum feature)f, &e), ERR_CONDITION);
        assert_non_null(strstr(e.text, name));
        assert_non_null(strstr(e.text, "need functional level 2, the cluster's is 1"));
        assert_string_equal(e.remedy, "clusterctl level raise");
    }
    tables_free(c.t);
    c.t = tables_new();
    level_init(c.t, 2, "pc-i440fx-10.1 pc-q35-10.0 pc-q35-7.2");
    assert_string_equal(get(&c).machine, "pc-q35-10.0");
    assert_int_equal(get(&c).n, 0);
    for (int f = 0; f < FEATURE_COUNT; f++)
        assert_int_equal(feature_check(c.t, (enum feature)f, NULL), 0);
    tables_free(c.t);
}

static void test_raise(void **state)
{
    (void)state;
    struct cluster c;
    struct error e = {0};
    struct json *findings = NULL;
    init(&c, 2);
    c.nodes[2].machines = "pc-q35-10.0 pc-q35-10.1 pc-q35-7.2 pc-q35-8.0";
    assert_int_equal(feature_check(c.t, FEATURE_MACHINE_ABOVE_LEVEL, &e), ERR_CONDITION);
    assert_string_equal(e.remedy, "clusterctl level raise");
    assert_int_equal(level_raise_check(c.t, c.nodes, NODES, &findings, &e), 0);
    assert_int_equal(json_count(findings), 0);
    json_free(findings);
    assert_int_equal(step(&c), 0); /* never by itself */
    assert_int_equal(request(&c, LEVEL_FENCE, 2, ""), 0);
    struct uuid job = get(&c).fence_job;
    assert_int_equal(get(&c).fl, 1);
    assert_int_equal(request(&c, LEVEL_COMMIT, 2, ""), ERR_AGAIN); /* nobody acknowledged */
    assert_int_equal(get(&c).copy_index, 0);
    step(&c);                                                      /* all acknowledge */
    assert_int_equal(request(&c, LEVEL_COMMIT, 2, ""), ERR_AGAIN); /* nobody has a copy */
    step(&c);
    assert_true(get(&c).copy_index != 0);
    for (size_t i = 0; i < NODES; i++)
        c.copies[i].under_way = get(&c).copy_index;
    assert_int_equal(step(&c), 0); /* they are being made */
    copy_all(&c);
    c.copies[2].done = 0;
    assert_int_equal(step(&c), 2);
    assert_int_equal(request(&c, LEVEL_COMMIT, 2, ""), ERR_AGAIN); /* n3 has none yet */
    assert_int_equal(step(&c), 0);
    copy_all(&c);
    step(&c);
    assert_int_equal(get(&c).fl, 1);
    step(&c);
    struct level_state s = get(&c);
    assert_int_equal(s.fl, 2);
    char name[LEVEL_COPY_NAME_MAX];
    level_copy_name(&s, name);
    assert_string_equal(name, "before-level-2.19700101T000006Z");
    assert_int_equal(s.fence, 0);
    assert_int_equal(s.mixed_since_ms, 0);
    assert_int_equal(s.raised_ms, 6000);
    assert_string_equal(s.machine, "pc-q35-10.0"); /* by version, not by letters; common to all */
    struct job j;
    assert_int_equal(journal_job_get(c.t, &job, &j), 0);
    assert_int_equal(j.state, JOB_DONE);
    assert_int_equal(feature_check(c.t, FEATURE_MACHINE_ABOVE_LEVEL, &e), 0);
    assert_int_equal(step(&c), 0);
    assert_int_equal(level_raise_check(c.t, c.nodes, NODES, &findings, &e), ERR_CONDITION); /* the newest */
    json_free(findings);
    tables_free(c.t);
}

/* An agent that was restarted, or got a snapshot, knows of no copy: another one is made, of a later index, by all. */
static void test_a_missed_copy_is_made_anew(void **state)
{
    (void)state;
    struct cluster c;
    init(&c, 2);
    request(&c, LEVEL_FENCE, 2, "");
    step(&c);
    step(&c);
    uint64_t first = get(&c).copy_index;
    copy_all(&c);
    c.copies[1] = c.copies[2] = (struct level_copy){0};
    step(&c); /* n1 has it, n2 and n3 ask for one, and once is enough */
    uint64_t second = get(&c).copy_index;
    assert_true(second > first);
    for (size_t i = 0; i < NODES; i++)
        assert_false(get(&c).members[i].copied);
    for (size_t i = 0; i < NODES; i++)
        c.copies[i].under_way = second;
    assert_int_equal(step(&c), 0);
    assert_int_equal(get(&c).copy_index, second);
    copy_all(&c);
    step(&c);
    step(&c);
    assert_int_equal(get(&c).fl, 2);
    tables_free(c.t);
}

static void test_a_copy_that_failed_ends_the_raise(void **state)
{
    (void)state;
    struct cluster c;
    struct job j;
    init(&c, 2);
    request(&c, LEVEL_FENCE, 2, "");
    struct uuid job = get(&c).fence_job;
    step(&c);
    step(&c);
    copy_all(&c);
    c.copies[1] = (struct level_copy){.failed = get(&c).copy_index};
    error_set(&c.copies[1].error, ERR_IO, "cannot write /x: No space left on device");
    step(&c);
    assert_int_equal(get(&c).fence, 0);
    assert_int_equal(get(&c).copy_index, 0);
    assert_int_equal(journal_job_get(c.t, &job, &j), 0);
    assert_int_equal(j.state, JOB_FAILED);
    assert_string_equal(j.error, "n2 made no database copy: cannot write /x: No space left on device");
    assert_int_equal(step(&c), 0);
    tables_free(c.t);
}

/* What some VM needs and a member lacks would be found out when that VM is to move there. */
static void test_what_a_member_lacks_blocks(void **state)
{
    (void)state;
    struct cluster c;
    struct error e = {0};
    struct json *findings = NULL;
    init(&c, 2);
    error_set(&c.nodes[1].lacks, ERR_CONDITION, "the QEMU of n2 lacks machine type pc-q35-2.4 of VM old");
    assert_int_equal(level_raise_check(c.t, c.nodes, NODES, &findings, &e), ERR_CONDITION);
    assert_non_null(strstr(e.text, "n2 lacks machine type pc-q35-2.4"));
    json_free(findings);
    request(&c, LEVEL_FENCE, 2, "");
    step(&c);
    assert_int_equal(get(&c).fence, 0);
    tables_free(c.t);
}

/* A copy is of the time of the raise: put back, that is over, at the same moment on every node. */
static void test_restored(void **state)
{
    (void)state;
    struct cluster c;
    struct job j;
    init(&c, 2);
    request(&c, LEVEL_FENCE, 2, "");
    struct uuid job = get(&c).fence_job;
    step(&c);
    step(&c);
    level_restored(c.t);
    assert_int_equal(get(&c).fl, 1);
    assert_int_equal(get(&c).fence, 0);
    assert_int_equal(journal_job_get(c.t, &job, &j), 0);
    assert_int_equal(j.state, JOB_FAILED);
    assert_int_equal(j.ended_ms, 6000);
    struct hash once = tables_hash(c.t);
    level_restored(c.t);
    struct hash twice = tables_hash(c.t);
    assert_true(hash_eq(&once, &twice));
    tables_free(c.t);
}

static void test_raise_names_all_that_block(void **state)
{
    (void)state;
    struct cluster c;
    struct error e = {0};
    struct json *findings = NULL;
    init(&c, 2);
    level_member_set(c.t, "n1", (struct level_range){1, 1}, 1);
    c.nodes[1].present = false;
    c.nodes[2].paused = true;
    assert_int_equal(level_raise_check(c.t, c.nodes, NODES, &findings, &e), ERR_CONDITION);
    assert_non_null(strstr(e.text, "n1"));
    assert_non_null(strstr(e.text, "n2 is down"));
    assert_non_null(strstr(e.text, "n3 is paused"));
    assert_int_equal(json_count(findings), 3);
    assert_string_equal(json_get_str(json_at(findings, 1), "object", ""), "n2");
    assert_non_null(strstr(json_get_str(json_at(findings, 1), "remedy", ""), "clusterctl node evict n2"));
    json_free(findings);
    assert_int_equal(request(&c, LEVEL_FENCE, 2, ""), ERR_CONDITION); /* n1 cannot work there */
    assert_int_equal(get(&c).fence, 0);
    tables_free(c.t);
}

static void test_fence_is_cleared(void **state)
{
    (void)state;
    for (int why = 0; why < 3; why++) {
        struct cluster c;
        init(&c, 2);
        assert_int_equal(request(&c, LEVEL_FENCE, 2, ""), 0);
        struct uuid job = get(&c).fence_job;
        if (why == 0)
            c.nodes[2].present = false;
        else if (why == 1)
            c.nodes[1].paused = true;
        else
            level_member_set(c.t, "n2", (struct level_range){1, 1}, 7);
        step(&c);
        assert_int_equal(get(&c).fl, 1);
        assert_int_equal(get(&c).fence, 0);
        struct job j;
        assert_int_equal(journal_job_get(c.t, &job, &j), 0);
        assert_int_equal(j.state, JOB_FAILED);
        assert_non_null(strstr(j.error, why == 0 ? "n3 is down" : "n2"));
        tables_free(c.t);
    }
}

static void test_wrong_requests_change_nothing(void **state)
{
    (void)state;
    struct cluster c;
    init(&c, 2);
    struct hash before = tables_hash(c.t);
    assert_int_equal(request(&c, LEVEL_FENCE, 3, ""), ERR_CONDITION);
    assert_int_equal(request(&c, LEVEL_FENCE, 1, ""), ERR_CONDITION);
    assert_int_equal(request(&c, LEVEL_ACK, 2, "n1"), ERR_AGAIN);
    assert_int_equal(request(&c, LEVEL_COMMIT, 2, ""), ERR_AGAIN);
    assert_int_equal(request(&c, LEVEL_COMMIT, 0, ""), ERR_AGAIN);
    assert_int_equal(request(&c, LEVEL_CLEAR, 2, ""), ERR_AGAIN);
    assert_int_equal(apply(&c, (struct slice){(const uint8_t *)"x", 1}, 1).code, ERR_MALFORMED);
    struct hash after = tables_hash(c.t);
    assert_true(hash_eq(&before, &after));
    assert_int_equal(request(&c, LEVEL_FENCE, 2, ""), 0);
    assert_int_equal(request(&c, LEVEL_FENCE, 2, ""), ERR_CONDITION);
    assert_int_equal(request(&c, LEVEL_ACK, 2, "n9"), ERR_CONDITION);
    assert_int_equal(request(&c, LEVEL_ACK, 3, "n1"), ERR_AGAIN);
    tables_free(c.t);
}

/* An acknowledgement is worth nothing once the member is something else. */
static void test_changed_member_acknowledges_again(void **state)
{
    (void)state;
    struct cluster c;
    init(&c, 2);
    assert_int_equal(request(&c, LEVEL_FENCE, 2, ""), 0);
    for (size_t i = 0; i < NODES; i++)
        assert_int_equal(request(&c, LEVEL_ACK, 2, c.nodes[i].name), 0);
    level_member_set(c.t, "n2", (struct level_range){2, 3}, 8);
    assert_int_equal(request(&c, LEVEL_COMMIT, 2, ""), ERR_AGAIN);
    assert_int_equal(request(&c, LEVEL_COPY, 2, ""), ERR_AGAIN);
    assert_int_equal(request(&c, LEVEL_ACK, 2, "n2"), 0);
    assert_int_equal(request(&c, LEVEL_COPY, 2, ""), 0);
    for (size_t i = 0; i < NODES; i++)
        assert_int_equal(request_copied(&c, c.nodes[i].name, get(&c).copy_index), 0);
    assert_int_equal(request_copied(&c, "n9", get(&c).copy_index), ERR_AGAIN);
    assert_int_equal(request_copied(&c, "n1", get(&c).copy_index - 1), ERR_AGAIN);
    level_member_set(c.t, "n2", (struct level_range){1, 2}, 8);
    assert_int_equal(request(&c, LEVEL_COMMIT, 2, ""), ERR_AGAIN);
    level_member_set(c.t, "n2", (struct level_range){2, 3}, 8);
    assert_int_equal(request(&c, LEVEL_ACK, 2, "n2"), 0);
    assert_int_equal(request(&c, LEVEL_COMMIT, 2, ""), 0);
    assert_int_equal(get(&c).fl, 2);
    assert_true(get(&c).mixed_since_ms != 0); /* n2 is above already */
    tables_free(c.t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_join),
        cmocka_unit_test(test_mixed),
        cmocka_unit_test(test_every_feature_has_its_gate),
        cmocka_unit_test(test_raise),
        cmocka_unit_test(test_a_missed_copy_is_made_anew),
        cmocka_unit_test(test_a_copy_that_failed_ends_the_raise),
        cmocka_unit_test(test_what_a_member_lacks_blocks),
        cmocka_unit_test(test_restored),
        cmocka_unit_test(test_raise_names_all_that_block),
        cmocka_unit_test(test_fence_is_cleared),
        cmocka_unit_test(test_wrong_requests_change_nothing),
        cmocka_unit_test(test_changed_member_acknowledges_again),
        cmocka_unit_test(test_level_of_a_newer_release),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
