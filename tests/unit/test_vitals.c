/* SPDX-License-Identifier: GPL-2.0-or-later */
/* agent/vitals: what nodes say of themselves, for how long it is believed, whose clock is wrong; agent/io/vitals: the
 * free space of a file system. */
#include "tests/unit/unit.h"

#include "agent/io/vitals.h"
#include "agent/vitals.h"
#include "common/wire.h"

enum { WALL = 1000000 };

static struct host_vitals full(void)
{
    struct host_vitals v = {.n_links = 2, .executor_code = ERR_PERMISSION};
    for (v.n_spaces = 0; v.n_spaces < HOST_SPACES_MAX; v.n_spaces++)
        v.spaces[v.n_spaces] = (struct host_space){"/somewhere", 100u + v.n_spaces, 1000};
    for (v.n_down = 0; v.n_down < HOST_LINKS_DOWN_MAX; v.n_down++)
        v.down[v.n_down] = (struct host_link){100u + v.n_down, v.n_down % 2};
    STR_COPY(v.executor, "/hook");
    STR_COPY(v.executor_why, "others may write it");
    STR_COPY(v.executor_remedy, "chmod go-w /hook");
    return v;
}

static void test_round_trip(void **state)
{
    (void)state;
    struct host_vitals said = full();
    struct vitals *all = xcalloc(1, sizeof(*all));
    AUTO(buf_done) struct buf b = {0};
    vitals_encode(&said, VITALS_WITNESS_SILENT, WALL, &b);
    assert_int_equal(vitals_take(all, 5000, WALL - 70, 2, buf_slice(&b)), 0);
    const struct vitals_node *n = vitals_of(all, 5000 + VITALS_KEPT_MS - 1, 2);
    assert_non_null(n);
    assert_int_equal(n->v.n_spaces, HOST_SPACES_MAX);
    assert_int_equal(n->v.spaces[3].free_mib, 103);
    assert_string_equal(n->v.spaces[3].path, "/somewhere");
    assert_int_equal(n->v.n_links, 2);
    assert_int_equal(n->v.n_down, HOST_LINKS_DOWN_MAX);
    assert_int_equal(n->v.down[15].nodeid, 115);
    assert_int_equal(n->v.down[15].number, 1);
    assert_string_equal(n->v.executor, said.executor);
    assert_int_equal(n->v.executor_code, ERR_PERMISSION);
    assert_string_equal(n->v.executor_why, said.executor_why);
    assert_string_equal(n->v.executor_remedy, said.executor_remedy);
    assert_int_equal(n->witness, VITALS_WITNESS_SILENT);
    assert_int_equal(n->ahead_ms, 70);
    assert_null(vitals_of(all, 5000 + VITALS_KEPT_MS, 2));
    assert_null(vitals_of(all, 5000, 3));
    vitals_group(all, (const uint32_t[]){1, 2}, 2);
    assert_non_null(vitals_of(all, 5000, 2));
    vitals_group(all, (const uint32_t[]){1, 3}, 2);
    assert_null(vitals_of(all, 5000, 2));
    free(all);
}

static void test_what_is_no_message(void **state)
{
    (void)state;
    struct host_vitals v = full();
    struct vitals *all = xcalloc(1, sizeof(*all));
    AUTO(buf_done) struct buf b = {0};
    vitals_encode(&v, VITALS_WITNESS_ANSWERS, WALL, &b);
    for (size_t len = 0; len < b.len; len++)
        assert_int_equal(vitals_take(all, 1, WALL, 2, (struct slice){b.p, len}), ERR_MALFORMED);
    buf_add(&b, "x", 1);
    assert_int_equal(vitals_take(all, 1, WALL, 2, buf_slice(&b)), ERR_MALFORMED);
    b.len--;
    b.p[0] = VITALS_VERSION + 1;
    assert_int_equal(vitals_take(all, 1, WALL, 2, buf_slice(&b)), ERR_UNKNOWN_KIND);
    b.p[0] = VITALS_VERSION;
    b.p[9] = 3; /* no such state of the witness */
    assert_int_equal(vitals_take(all, 1, WALL, 2, buf_slice(&b)), ERR_MALFORMED);
    b.p[9] = VITALS_WITNESS_ANSWERS;
    b.p[10] = HOST_SPACES_MAX + 1;
    assert_int_equal(vitals_take(all, 1, WALL, 2, buf_slice(&b)), ERR_MALFORMED);
    b.len = 0;
    vitals_encode(&v, VITALS_WITNESS_ANSWERS, -1, &b);
    assert_int_equal(vitals_take(all, 1, WALL, 2, buf_slice(&b)), ERR_MALFORMED);
    v.n_links = HOST_LINKS_MAX + 1;
    b.len = 0;
    vitals_encode(&v, VITALS_WITNESS_ANSWERS, WALL, &b);
    assert_int_equal(vitals_take(all, 1, WALL, 2, buf_slice(&b)), ERR_MALFORMED);
    assert_int_equal(all->n, 0);
    free(all);
}

static void test_a_place_for_each(void **state)
{
    (void)state;
    struct vitals *all = xcalloc(1, sizeof(*all));
    struct host_vitals v = {.n_links = 1};
    for (uint32_t id = 1; id <= VITALS_NODES_MAX + 1; id++) /* one too many: whoever was heard longest ago goes */
        vitals_own(all, 1000 + id, id, &v, VITALS_WITNESS_UNKNOWN);
    assert_int_equal(all->n, VITALS_NODES_MAX);
    assert_null(vitals_of(all, 2000, 1));
    assert_non_null(vitals_of(all, 2000, 2));
    assert_non_null(vitals_of(all, 2000, VITALS_NODES_MAX + 1));
    free(all);
}

/* Node 1 is this one. */
static void say(struct vitals *all, int64_t now_ms, uint32_t nodeid, int64_t ahead_ms)
{
    struct host_vitals v = {.n_links = 1};
    AUTO(buf_done) struct buf b = {0};
    vitals_encode(&v, VITALS_WITNESS_UNKNOWN, WALL + ahead_ms, &b);
    if (nodeid == 1)
        vitals_own(all, now_ms, 1, &v, VITALS_WITNESS_UNKNOWN);
    else
        assert_int_equal(vitals_take(all, now_ms, WALL, nodeid, buf_slice(&b)), 0);
}

static int64_t clock_of(const struct vitals *all, int64_t now_ms, uint32_t nodeid)
{
    int64_t ahead = 0;
    assert_true(vitals_clock(all, now_ms, nodeid, &ahead));
    return ahead;
}

static void test_clocks(void **state)
{
    (void)state;
    static const struct {
        int64_t ahead[4]; /* of this node's; 0 for itself */
        size_t n;
        int64_t expected[4];
    } cases[] = {
        {{0}, 1, {0}},
        {{0, 9000}, 2, {-4500, 4500}}, /* of two nobody can tell which one it is */
        {{0, 9000, 10}, 3, {-10, 8990, 0}},
        {{0, 9000, 9000}, 3, {-9000, 0, 0}}, /* it is this one */
        {{0, -9000, 10, 20}, 4, {-5, -9005, 5, 15}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct vitals *all = xcalloc(1, sizeof(*all));
        for (uint32_t k = 0; k < cases[i].n; k++)
            say(all, 1000, k + 1, cases[i].ahead[k]);
        for (uint32_t k = 0; k < cases[i].n; k++)
            assert_int_equal(clock_of(all, 1000, k + 1), cases[i].expected[k]);
        int64_t untouched = 7;
        assert_false(vitals_clock(all, 1000, 99, &untouched));
        assert_false(vitals_clock(all, 1000 + VITALS_KEPT_MS, 1, &untouched));
        assert_int_equal(untouched, 7);
        free(all);
    }
}

/* A message that lay somewhere for five seconds, once, is no clock that is late; two in a row are. */
static void test_a_late_message_accuses_nobody(void **state)
{
    (void)state;
    struct vitals *all = xcalloc(1, sizeof(*all));
    for (uint32_t id = 1; id <= 3; id++)
        say(all, 1000, id, 0);
    say(all, 31000, 2, -5000);
    assert_int_equal(clock_of(all, 31000, 2), 0);
    say(all, 61000, 2, -5000);
    assert_int_equal(clock_of(all, 61000, 2), -5000);
    say(all, 91000, 2, 0); /* it was set */
    assert_int_equal(clock_of(all, 91000, 2), 0);
    free(all);
}

/* One that comes back begins anew: its clock may be another one. */
static void test_silence_forgets_the_clock(void **state)
{
    (void)state;
    struct vitals *all = xcalloc(1, sizeof(*all));
    for (uint32_t id = 1; id <= 3; id++)
        say(all, 1000, id, 0);
    int64_t later = 1000 + VITALS_KEPT_MS;
    say(all, later, 1, 0);
    say(all, later, 3, 0);
    say(all, later, 2, -5000);
    assert_int_equal(clock_of(all, later, 2), -5000);
    free(all);
}

static void test_space(void **state)
{
    (void)state;
    struct host_vitals v = {0};
    host_space_add("/", &v);
    assert_int_equal(v.n_spaces, 1);
    assert_string_equal(v.spaces[0].path, "/");
    assert_true(v.spaces[0].size_mib > 0 && v.spaces[0].free_mib <= v.spaces[0].size_mib);
    host_space_add("/.", &v); /* the same */
    host_space_add("/no/such/folder", &v);
    assert_int_equal(v.n_spaces, 1);
    host_space_add("/proc", &v);
    assert_int_equal(v.n_spaces, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_what_is_no_message),
        cmocka_unit_test(test_a_place_for_each),
        cmocka_unit_test(test_clocks),
        cmocka_unit_test(test_a_late_message_accuses_nobody),
        cmocka_unit_test(test_silence_forgets_the_clock),
        cmocka_unit_test(test_space),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
