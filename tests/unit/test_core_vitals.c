/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How nodes say how they are: when a node looks at itself, whom it tells, and what a check makes of it. */
#include "tests/unit/one_core.h"

static void say_as_n2(struct one *o, const struct host_vitals *v, int64_t ahead_ms)
{
    AUTO(buf_done) struct buf b = {0};
    wire_put_u8(&b, 5);
    vitals_encode(v, VITALS_WITNESS_UNKNOWN, o->wall + ahead_ms, &b);
    one_step(o, (struct core_event){.type = EV_MESSAGE, .from_nodeid = 2, .bytes = buf_slice(&b)});
}

static void test_when_it_looks(void **state)
{
    struct one *o = *state;
    one_run(o, 1000);
    unsigned n = o->n_vitals;
    assert_true(n > 0);
    one_run(o, VITALS_EVERY_MS - 2000);
    assert_true(o->n_vitals <= n + 1);
    n = o->n_vitals;
    one_run(o, 3 * VITALS_EVERY_MS);
    assert_int_equal(o->n_vitals, n + 3);
    assert_string_equal(o->vitals_executor, "");
    one_ask(o, 0, "cluster.config.set", "{'name': 'upgrade.executor', 'value': '/hook'}"); /* at once */
    assert_int_equal(o->n_vitals, n + 4);
    assert_string_equal(o->vitals_executor, "/hook");
}

/* A node that is alone tells nobody; whoever comes is told without delay. */
static void test_whom_it_tells(void **state)
{
    struct one *o = *state;
    uint32_t group[] = {1, 2};
    one_run(o, 2 * VITALS_EVERY_MS);
    assert_int_equal(o->n_vitals_sent, 0);
    one_step(o, (struct core_event){.type = EV_GROUP, .group = group, .n_group = 2});
    assert_int_equal(o->n_vitals_sent, 1);
    one_run(o, VITALS_EVERY_MS);
    assert_int_equal(o->n_vitals_sent, 2);
}

/* The result of a check of `upgrade check` about that object. */
static const char *result_of(struct one *o, const char *check, const char *object)
{
    const struct json *all = json_get(one_ask(o, 0, "upgrade.check", "{'target': 'trixie'}"), "findings");
    for (size_t i = 0; i < json_count(all); i++)
        if (str_eq(json_get_str(json_at(all, i), "check", ""), check) &&
            str_eq(json_get_str(json_at(all, i), "object", ""), object))
            return json_get_str(json_at(all, i), "result", "");
    return "";
}

static void test_what_a_check_makes_of_it(void **state)
{
    struct one *o = *state;
    o->vitals = (struct host_vitals){.spaces = {{"/", 100, 40000}},
                                     .n_spaces = 1,
                                     .n_links = 1,
                                     .executor_code = ERR_PERMISSION,
                                     .executor_why = "others may write it"};
    one_ask(o, 0, "cluster.config.set", "{'name': 'upgrade.executor', 'value': '/hook'}");
    assert_string_equal(result_of(o, "space", "n1"), "fail");
    assert_string_equal(result_of(o, "executor", "n1"), "fail");
    o->vitals = (struct host_vitals){.spaces = {{"/", 20000, 40000}}, .n_spaces = 1, .n_links = 1};
    one_run(o, VITALS_EVERY_MS);
    assert_string_equal(result_of(o, "space", ""), "pass");
    assert_string_equal(result_of(o, "executor", "/hook"), "pass");
    assert_string_equal(result_of(o, "reports", ""), "pass");
    assert_string_equal(result_of(o, "clock", ""), "pass");
    uint32_t group[] = {1, 2};
    one_step(o, (struct core_event){.type = EV_GROUP, .group = group, .n_group = 2});
    say_as_n2(o, &o->vitals, 20000); /* no slot of this cluster is its: it counts, and has no finding of its own */
    assert_string_equal(result_of(o, "clock", "n1"), "warn");
    one_step(o, (struct core_event){.type = EV_GROUP, .group = group, .n_group = 1});
    assert_string_equal(result_of(o, "clock", ""), "pass");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_when_it_looks, one_setup, one_teardown),
        cmocka_unit_test_setup_teardown(test_whom_it_tells, one_setup, one_teardown),
        cmocka_unit_test_setup_teardown(test_what_a_check_makes_of_it, one_setup, one_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
