/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/unit.h"

#include "common/proto.h"

#define ID "11111111-2222-4333-8444-555555555555"

static void assert_dump(const struct json *j, const char *expected)
{
    AUTO(freep) char *text = json_dump(j);
    assert_string_equal(text, expected);
}

/* The answer is a contract with scripts: member by member. */
static void test_answer_ok(void **state)
{
    (void)state;
    struct json *data = json_object_new();
    json_set_int(data, "n", 1);
    AUTO(json_freep) struct json *answer = proto_answer("vm.start", ID, NULL, data);
    assert_dump(answer, "{\"api_version\":\"1\",\"request\":{\"verb\":\"vm.start\",\"id\":\"" ID "\"},"
                        "\"status\":{\"code\":0,\"message\":\"ok\",\"remedy\":\"\",\"errors\":[]},\"data\":{\"n\":1}}");
    const struct error none = {.text = "stale"};
    AUTO(json_freep) struct json *same = proto_answer("vm.start", ID, &none, NULL);
    assert_string_equal(json_str(json_path(same, "status.message"), ""), "ok");
    assert_true(json_is_object(json_get(same, "data")));
}

static void test_answer_carries_the_error(void **state)
{
    (void)state;
    struct error e;
    error_set(&e, ERR_CONDITION, "node n1 is not drained");
    error_set_remedy(&e, "clusterctl node drain n1");
    AUTO(json_freep) struct json *answer = proto_answer("upgrade.start", ID, &e, NULL);
    assert_dump(answer, "{\"api_version\":\"1\",\"request\":{\"verb\":\"upgrade.start\",\"id\":\"" ID "\"},"
                        "\"status\":{\"code\":113,\"message\":\"node n1 is not drained\","
                        "\"remedy\":\"clusterctl node drain n1\",\"errors\":[]},\"data\":{}}");
    error_set(&e, ERR_IO, "disk");
    AUTO(json_freep) struct json *internal = proto_answer("status", ID, &e, NULL);
    assert_int_equal(json_int(json_path(internal, "status.code"), -1), 1);
}

/* A request that could not be read is answered too: neither verb nor id is known then. */
static void test_answer_without_request(void **state)
{
    (void)state;
    AUTO(json_freep) struct json *answer = proto_answer(NULL, NULL, NULL, NULL);
    const struct json *request = json_get(answer, "request");
    assert_dump(request, "{\"verb\":null,\"id\":null}");
}

static void test_request_round_trip(void **state)
{
    (void)state;
    struct json *args = json_object_new();
    json_set_str(args, "vm", "vm1");
    AUTO(json_freep) struct json *request = proto_request("vm.start", ID, args);
    assert_dump(request, "{\"api_version\":\"1\",\"request\":{\"verb\":\"vm.start\",\"id\":\"" ID "\","
                         "\"args\":{\"vm\":\"vm1\"}}}");
    const char *verb, *id;
    const struct json *parsed_args;
    assert_int_equal(proto_parse_request(request, &verb, &id, &parsed_args, NULL), 0);
    assert_string_equal(verb, "vm.start");
    assert_string_equal(id, ID);
    assert_ptr_equal(parsed_args, args);
    AUTO(json_freep) struct json *bare = proto_request("status", ID, NULL);
    assert_int_equal(proto_parse_request(bare, &verb, &id, &parsed_args, NULL), 0);
    assert_true(json_is_object(parsed_args));
}

static void assert_usage(const struct json *request, const char *text)
{
    const char *verb = "v", *id = "i";
    const struct json *args = NULL;
    struct error e = {0};
    assert_int_equal(proto_parse_request(request, &verb, &id, &args, &e), ERR_USAGE);
    assert_int_equal(e.code, ERR_USAGE);
    assert_string_equal(e.text, text);
    assert_string_equal(verb, "v");
    assert_string_equal(id, "i");
    assert_null(args);
}

#define NO_VERSION "the request has no api_version"
#define NO_VERB    "the request has no verb"
#define NO_ID      "the id of the request is not a UUID"
#define NO_ARGS    "the args of the request are not an object"

static void test_parse_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *request, *text;
    } bad[] = {
        {"[]", NO_VERSION},
        {"{}", NO_VERSION},
        {"{\"api_version\":1}", NO_VERSION},
        {"{\"api_version\":\"2\"}", "the request has api_version \"2\", this agent speaks \"1\""},
        {"{\"api_version\":\"1\"}", NO_VERB},
        {"{\"api_version\":\"1\",\"request\":[]}", NO_VERB},
        {"{\"api_version\":\"1\",\"request\":{\"verb\":\"\",\"id\":\"" ID "\",\"args\":{}}}", NO_VERB},
        {"{\"api_version\":\"1\",\"request\":{\"verb\":1,\"id\":\"" ID "\",\"args\":{}}}", NO_VERB},
        {"{\"api_version\":\"1\",\"request\":{\"verb\":\"v\",\"args\":{}}}", NO_ID},
        {"{\"api_version\":\"1\",\"request\":{\"verb\":\"v\",\"id\":\"1\",\"args\":{}}}", NO_ID},
        {"{\"api_version\":\"1\",\"request\":{\"verb\":\"v\",\"id\":\"00000000-0000-0000-0000-000000000000\","
         "\"args\":{}}}",
         NO_ID},
        {"{\"api_version\":\"1\",\"request\":{\"verb\":\"v\",\"id\":\"" ID "\"}}", NO_ARGS},
        {"{\"api_version\":\"1\",\"request\":{\"verb\":\"v\",\"id\":\"" ID "\",\"args\":[]}}", NO_ARGS},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        AUTO(json_freep) struct json *j = NULL;
        assert_int_equal(json_parse(bad[i].request, strlen(bad[i].request), &j, NULL), 0);
        assert_usage(j, bad[i].text);
    }
    assert_usage(NULL, NO_VERSION);
}

/* Newer clients may send more. */
static void test_parse_ignores_new_fields(void **state)
{
    (void)state;
    const char *text =
        "{\"new\":1,\"api_version\":\"1\",\"request\":{\"verb\":\"v\",\"new\":2,\"id\":\"" ID "\",\"args\":{}}}";
    AUTO(json_freep) struct json *j = NULL;
    assert_int_equal(json_parse(text, strlen(text), &j, NULL), 0);
    const char *verb, *id;
    const struct json *args;
    assert_int_equal(proto_parse_request(j, &verb, &id, &args, NULL), 0);
}

static void test_frame_has_no_padding(void **state)
{
    (void)state;
    assert_int_equal(sizeof(struct proto_frame), 8);
    assert_true(PROTO_CHUNK_MAX + sizeof(struct proto_frame) < PROTO_MESSAGE_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answer_ok),
        cmocka_unit_test(test_answer_carries_the_error),
        cmocka_unit_test(test_answer_without_request),
        cmocka_unit_test(test_request_round_trip),
        cmocka_unit_test(test_parse_refuses),
        cmocka_unit_test(test_parse_ignores_new_fields),
        cmocka_unit_test(test_frame_has_no_padding),
    };
    return cmocka_run_group_tests_name("proto", tests, NULL, NULL);
}
