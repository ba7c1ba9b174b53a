/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/unit.h"

#include <math.h>
#include <stdio.h>

#include "common/json.h"

static struct json *parsed(const char *text)
{
    struct json *j = NULL;
    struct error e = {0};
    if (json_parse(text, strlen(text), &j, &e) != 0)
        fail_msg("%s: %s", text, e.text);
    return j;
}

static void assert_dump(const struct json *j, const char *expected)
{
    AUTO(freep) char *text = json_dump(j);
    assert_string_equal(text, expected);
}

/* Takes j. */
static void assert_dump_free(struct json *j, const char *expected)
{
    assert_dump(j, expected);
    json_free(j);
}

static void assert_refused(const char *text, size_t len, const char *where)
{
    struct json *untouched = (struct json *)(uintptr_t)8;
    struct json *j = untouched;
    struct error e = {0};
    assert_int_equal(json_parse(text, len, &j, &e), ERR_MALFORMED);
    assert_ptr_equal(j, untouched);
    assert_int_equal(e.code, ERR_MALFORMED);
    if (strncmp(e.text, where, strlen(where)) != 0)
        fail_msg("%s: \"%s\" does not start with \"%s\"", text, e.text, where);
    assert_int_equal(json_parse(text, len, &j, NULL), ERR_MALFORMED);
}

static void test_build_and_dump(void **state)
{
    (void)state;
    AUTO(json_freep) struct json *j = json_object_new();
    struct json *list = json_array_new();
    json_append(list, json_int_new(INT64_MIN));
    json_append(list, json_real_new(0.1));
    json_append(list, json_null_new());
    json_set_str(j, "zebra", "last letter first");
    json_set_int(j, "ant", INT64_MAX);
    json_set_bool(j, "bee", false);
    json_set(j, "list", list);
    json_set(j, "empty", json_object_new());
    assert_dump(j, "{\"zebra\":\"last letter first\",\"ant\":9223372036854775807,\"bee\":false,"
                   "\"list\":[-9223372036854775808,0.1,null],\"empty\":{}}");
    json_set_int(j, "zebra", 1); /* keeps its place */
    assert_string_equal(json_get_str(j, "zebra", "default"), "default");
    assert_int_equal(json_get_int(j, "zebra", 0), 1);
}

static void test_pretty_parses_to_the_same(void **state)
{
    (void)state;
    const char *text = "{\"b\":[1,{\"c\":null}],\"a\":\"x\"}";
    AUTO(json_freep) struct json *j = parsed(text);
    AUTO(freep) char *pretty = json_dump_pretty(j);
    assert_non_null(strchr(pretty, '\n'));
    AUTO(json_freep) struct json *again = parsed(pretty);
    assert_dump(again, text);
}

static void test_scalars_alone(void **state)
{
    (void)state;
    static const char *const texts[] = {"1", "-5", "1.5", "\"x\"", "true", "false", "null", "[]", "{}"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_dump_free(parsed(texts[i]), texts[i]);
}

static void test_strings_are_repaired(void **state)
{
    (void)state;
    assert_dump_free(json_str_new(NULL), "null");
    assert_dump_free(json_str_new(""), "\"\"");
    assert_dump_free(json_str_new("\xc3\xa4\xf0\x9f\x98\x80"), "\"\xc3\xa4\xf0\x9f\x98\x80\"");
    assert_dump_free(json_str_new("a\xff\xc3"), "\"a??\"");
    assert_dump_free(json_str_new("\xe2\x82z\xc3\xa4\x80"), "\"??z\xc3\xa4?\"");
    assert_dump_free(json_str_new("\xed\xa0\x80"), "\"???\"");
    assert_dump_free(json_str_new("\xc0\xaf"), "\"??\"");
    assert_dump_free(json_str_new("\"\\\n\x01"), "\"\\\"\\\\\\n\\u0001\"");
}

static void test_reals_that_json_cannot_say(void **state)
{
    (void)state;
    assert_dump_free(json_real_new((double)NAN), "null");
    assert_dump_free(json_real_new((double)INFINITY), "null");
}

static void test_times(void **state)
{
    (void)state;
    assert_dump_free(json_time_new(0), "null");
    assert_dump_free(json_time_new(-1), "null");
    assert_dump_free(json_time_new(1), "\"1970-01-01T00:00:00.001Z\"");
    assert_dump_free(json_time_new(951782399999), "\"2000-02-28T23:59:59.999Z\"");
    assert_dump_free(json_time_new(951782400000), "\"2000-02-29T00:00:00.000Z\"");
    assert_dump_free(json_time_new(951868800000), "\"2000-03-01T00:00:00.000Z\"");
    assert_dump_free(json_time_new(1700000000123), "\"2023-11-14T22:13:20.123Z\"");
    assert_dump_free(json_time_new(1735689599999), "\"2024-12-31T23:59:59.999Z\"");
    assert_dump_free(json_time_new(4107542400000), "\"2100-03-01T00:00:00.000Z\"");
    assert_dump_free(json_time_new(253402300799999), "\"9999-12-31T23:59:59.999Z\"");
    assert_dump_free(json_time_new(INT64_MAX), "null");
}

static void test_getters_give_what_is_there(void **state)
{
    (void)state;
    AUTO(json_freep)
    struct json *j = parsed("{\"s\":\"x\",\"i\":7,\"r\":1.5,\"t\":true,\"f\":false,\"n\":null,"
                            "\"a\":[10,20],\"o\":{\"p\":{\"q\":3}}}");
    assert_true(json_is_object(j));
    assert_string_equal(json_get_str(j, "s", NULL), "x");
    assert_int_equal(json_get_int(j, "i", 0), 7);
    assert_true(json_real(json_get(j, "r"), 0) == 1.5); /* a call of ours, not of libjansson's json_real */
    assert_true(json_real(json_get(j, "i"), 0) == 7.0);
    assert_true(json_get_bool(j, "t", false));
    assert_false(json_get_bool(j, "f", true));
    const struct json *a = json_get(j, "a");
    assert_true(json_is_array(a));
    assert_int_equal(json_count(a), 2);
    assert_int_equal(json_int(json_at(a, 1), 0), 20);
    assert_null(json_at(a, 2));
    assert_int_equal(json_int(json_path(j, "o.p.q"), 0), 3);
    assert_ptr_equal(json_path(j, "s"), json_get(j, "s"));
    assert_null(json_path(j, "o.p.x"));
    assert_null(json_path(j, "o.p.q.r"));
    assert_null(json_path(j, "o..q"));
    assert_null(json_path(j, "o."));
    assert_null(json_path(j, "os"));
}

static void test_getters_fall_back(void **state)
{
    (void)state;
    AUTO(json_freep) struct json *j = parsed("{\"s\":\"x\",\"i\":7,\"r\":1.5,\"n\":null}");
    assert_int_equal(json_get_int(j, "s", -3), -3);
    assert_int_equal(json_get_int(j, "r", -3), -3); /* 1.5 is no integer */
    assert_string_equal(json_get_str(j, "i", "d"), "d");
    assert_string_equal(json_get_str(j, "n", "d"), "d");
    assert_true(json_get_bool(j, "i", true));
    assert_false(json_is_bool(json_get(j, "n")));
    assert_int_equal(json_get_int(NULL, "s", 5), 5);
    assert_null(json_get(NULL, "s"));
    assert_null(json_path(NULL, "a.b"));
    assert_null(json_str(NULL, NULL));
    assert_true(json_real(NULL, 2.5) == 2.5);
    assert_int_equal(json_count(NULL), 0);
    assert_int_equal(json_count(j), 0);
    assert_null(json_at(j, 0));
    assert_false(json_is_object(NULL));
    assert_false(json_is_array(j));
    assert_false(json_is_str(NULL));
    assert_false(json_is_int(NULL));
    void *it = NULL;
    const char *key = NULL;
    const struct json *value = NULL;
    assert_false(json_next(NULL, &it, &key, &value));
    assert_false(json_next(json_get(j, "s"), &it, &key, &value));
    assert_null(key);
    json_free(NULL);
    assert_null(json_copy(NULL));
}

static void test_members_come_in_insertion_order(void **state)
{
    (void)state;
    AUTO(json_freep) struct json *j = json_object_new();
    for (int i = 0; i < 100; i++) {
        char key[8];
        snprintf(key, sizeof(key), "k%d", i * 37 % 100);
        json_set_int(j, key, i);
    }
    void *it = NULL;
    const char *key;
    const struct json *value;
    int n = 0;
    while (json_next(j, &it, &key, &value)) {
        char expected[8];
        snprintf(expected, sizeof(expected), "k%d", n * 37 % 100);
        assert_string_equal(key, expected);
        assert_int_equal(json_int(value, -1), n++);
    }
    assert_int_equal(n, 100);
}

static void test_copy_is_deep(void **state)
{
    (void)state;
    AUTO(json_freep) struct json *j = parsed("{\"a\":{\"b\":[1,1.5]}}");
    AUTO(json_freep) struct json *copy = json_copy(j);
    json_append((struct json *)json_path(copy, "a.b"), json_int_new(2));
    assert_dump(j, "{\"a\":{\"b\":[1,1.5]}}");
    assert_dump(copy, "{\"a\":{\"b\":[1,1.5,2]}}");
}

static void test_parse_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *where;
    } bad[] = {
        {"", "line 1, column 0"},
        {"{", "line 1, column 1"},
        {"{\"a\":1,\n \"b\":2,\n \"a\":3}", "line 3, column 4"}, /* twice "a" */
        {"{\"a\":{\"b\":1,\"b\":1}}", "line 1"},
        {"{} x", "line 1, column 4"},
        {"[1,]", "line 1"},
        {"{'a':1}", "line 1"},
        {"\"\\u0000\"", "line 1"},
        {"{\"\\u0000\":1}", "line 1"},
        {"\"\xff\"", "line 1"},
        {"99999999999999999999", "line 1"},
        {"1e999", "line 1"},
        {"NaN", "line 1"},
        {"// comment\n1", "line 1"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_refused(bad[i].text, strlen(bad[i].text), bad[i].where);
    assert_refused("{}\0", 3, "line 1, column 3: NUL byte");
    assert_refused("[1\0]", 4, "line 1, column 3: NUL byte"); /* jansson 2.14 skips this one */
    assert_refused("\"\\\0\"", 4, "line 1, column 3: NUL byte");
    assert_refused(NULL, 0, "line 1");
}

static void test_parse_reads_no_further_than_told(void **state)
{
    (void)state;
    AUTO(freep) char *text = xmemdup("[1]", 3); /* no terminator: the sanitizer sees a read beyond it */
    AUTO(json_freep) struct json *j = NULL;
    assert_int_equal(json_parse(text, 3, &j, NULL), 0);
    assert_int_equal(json_count(j), 1);
    assert_refused(text, 2, "line 1");
    assert_refused("\"\\", 2, "line 1");
}

static char *nested(size_t depth, const char *inner)
{
    struct buf b = {0};
    for (size_t i = 0; i < depth; i++)
        buf_add_str(&b, i % 2 ? "[" : "{\"k\":");
    buf_add_str(&b, inner);
    for (size_t i = depth; i-- > 0;)
        buf_add_str(&b, i % 2 ? "]" : "}");
    return buf_steal_str(&b);
}

static void test_depth_is_bounded(void **state)
{
    (void)state;
    AUTO(freep) char *most = nested(JSON_DEPTH_MAX, "\"x\"");
    json_free(parsed(most));
    AUTO(freep) char *more = nested(JSON_DEPTH_MAX + 1, "\"x\"");
    assert_refused(more, strlen(more), "line 1, column 193: too many levels");
    AUTO(freep) char *huge = xmalloc(1 << 20);
    memset(huge, '[', 1 << 20);
    assert_refused(huge, 1 << 20, "line 1, column 65: too many levels");
}

static void test_brackets_in_strings_do_not_count(void **state)
{
    (void)state;
    AUTO(freep) char *text = nested(JSON_DEPTH_MAX, "\"[{\\\"[{\\\\\"");
    json_free(parsed(text));
    AUTO(freep) char *hidden = nested(JSON_DEPTH_MAX, "[\"]\"]"); /* a bracket in a string closes nothing */
    assert_refused(hidden, strlen(hidden), "line 1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_build_and_dump),
        cmocka_unit_test(test_pretty_parses_to_the_same),
        cmocka_unit_test(test_scalars_alone),
        cmocka_unit_test(test_strings_are_repaired),
        cmocka_unit_test(test_reals_that_json_cannot_say),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_getters_give_what_is_there),
        cmocka_unit_test(test_getters_fall_back),
        cmocka_unit_test(test_members_come_in_insertion_order),
        cmocka_unit_test(test_copy_is_deep),
        cmocka_unit_test(test_parse_refuses),
        cmocka_unit_test(test_parse_reads_no_further_than_told),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_brackets_in_strings_do_not_count),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
