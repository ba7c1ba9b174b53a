/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Answers -> text and exit codes. The expected texts in data/ are written by hand. */
#include "tests/unit/cli_world.h"

static void assert_text(const char *line, const char *verb, const char *data_file, const char *text_file)
{
    AUTO(freep) char *data = world_fixture(data_file);
    AUTO(freep) char *expected = world_fixture(text_file);
    AUTO(world_done) struct world w = {0};
    world_data(&w, verb, data);
    assert_int_equal(world_run(&w, line), 0);
    assert_string_equal(WORLD_OUT(&w), expected);
    assert_string_equal(WORLD_ERR(&w), "");
}

static void test_status(void **state)
{
    (void)state;
    assert_text("status", "status", "status-mixed.json", "status-mixed.txt");
}

static void test_status_unconfigured(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {0};
    world_data(&w, "status",
               "{\"self\":{\"name\":\"n1\",\"phase\":\"unconfigured\",\"version\":\"0\"},\"cluster\":null}");
    assert_int_equal(world_run(&w, "status"), 0);
    assert_string_equal(WORLD_OUT(&w), "Cluster    none yet (this node, n1, is unconfigured)\n");
}

/* Without quorum the report is still there, the exit code is 106, and both streams say so. */
static void test_status_without_quorum(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {0};
    world_answer(&w, (struct world_answer){
                         .verb = "status",
                         .data = "{\"self\":{\"name\":\"n1\",\"phase\":\"member\"},\"cluster\":{\"name\":\"demo\"},"
                                 "\"quorum\":{\"quorate\":false,\"leader\":null,\"votes_present\":1,\"votes_total\":3,"
                                 "\"stale\":true},\"level\":null,\"nodes\":[],\"vms\":[],\"run\":null,\"jobs\":[],"
                                 "\"health\":[{\"code\":\"NO_QUORUM\",\"severity\":\"critical\",\"object\":null,"
                                 "\"text\":\"1 of 3 votes are here\",\"remedy\":\"bring nodes back\"}]}",
                         .code = ERR_NO_QUORUM,
                         .text = "no quorum: what is shown may be old",
                         .remedy = "bring the other nodes back",
                     });
    assert_int_equal(world_run(&w, "status"), 106);
    assert_string_equal(WORLD_OUT(&w), "Cluster    demo, as n1 sees it\n"
                                       "Quorum     NO, 1 of 3 votes, no leader\n"
                                       "           what follows is what this node last knew\n"
                                       "\n"
                                       "Health\n"
                                       "critical NO_QUORUM: 1 of 3 votes are here\n"
                                       "         remedy: bring nodes back\n");
    assert_string_equal(WORLD_ERR(&w), "clusterctl: no quorum: what is shown may be old\n"
                                       "remedy: bring the other nodes back\n");
}

/* JSON is the agent's answer, member by member, in its order. */
static void test_json_is_passed_on(void **state)
{
    (void)state;
    AUTO(freep) char *data = world_fixture("status-mixed.json");
    AUTO(json_freep) struct json *sent = world_json(data);
    AUTO(world_done) struct world w = {0};
    world_data(&w, "status", data);
    assert_int_equal(world_run(&w, "status --output json"), 0);
    AUTO(json_freep) struct json *answer = world_json(WORLD_OUT(&w));
    AUTO(freep) char *before = json_dump(sent);
    AUTO(freep) char *after = json_dump(json_get(answer, "data"));
    assert_string_equal(after, before);
    assert_string_equal(json_get_str(answer, "api_version", ""), "1");
    assert_int_equal(json_int(json_path(answer, "status.code"), -1), 0);
}

static void test_agent_code_is_exit_code(void **state)
{
    (void)state;
    static const int codes[] = {
        ERR_FAILED,    ERR_USAGE,     ERR_NO_AGENT,   ERR_AGAIN,     ERR_PERMISSION,
        ERR_NO_OBJECT, ERR_NO_QUORUM, ERR_NEED_FORCE, ERR_CONDITION, ERR_TIMEOUT,
    };
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        for (int no_answer = 0; no_answer < 2; no_answer++) {
            AUTO(world_done) struct world w = {0};
            world_answer(&w,
                         (struct world_answer){
                             .code = codes[i], .text = "the reason", .remedy = "the command", .no_answer = no_answer});
            assert_int_equal(world_run(&w, "vm start vm1 -o json"), -codes[i]);
            assert_string_equal(WORLD_ERR(&w), "clusterctl: the reason\nremedy: the command\n");
            AUTO(json_freep) struct json *answer = world_json(WORLD_OUT(&w));
            assert_int_equal(json_int(json_path(answer, "status.code"), -1), -codes[i]);
            assert_string_equal(json_str(json_path(answer, "status.message"), ""), "the reason");
            assert_string_equal(json_str(json_path(answer, "request.verb"), ""), "vm.start");
        }
    }
}

#define CHECK(result)                                                                                                  \
    "{\"result\":" result ",\"findings\":[{\"check\":\"quorum\",\"result\":\"warn\",\"object\":\"n2\","                \
    "\"text\":\"2 of 3 votes would be left\",\"remedy\":\"go on with --yes\"},"                                        \
    "{\"check\":\"vms\",\"result\":\"pass\",\"object\":null,\"text\":\"all can move\",\"remedy\":\"\"}]}"

static void test_check(void **state)
{
    (void)state;
    static const struct {
        const char *data, *last_line;
        int code;
    } results[] = {
        {CHECK("0"), "\nready\n", 0},     {CHECK("1"), "\nready, with warnings\n", 1},
        {CHECK("2"), "\nnot ready\n", 2}, {CHECK("7"), "\nnot ready\n", 2},
        {"{\"findings\":[]}", "", 2},
    };
    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
        AUTO(world_done) struct world w = {0};
        world_data(&w, "upgrade.check", results[i].data);
        assert_int_equal(world_run(&w, "upgrade check --target trixie"), results[i].code);
        assert_contains(WORLD_OUT(&w), results[i].last_line);
        assert_string_equal(WORLD_ERR(&w), "");
    }
    AUTO(world_done) struct world w = {0};
    world_data(&w, "upgrade.check", CHECK("1"));
    world_run(&w, "upgrade check --target trixie");
    assert_string_equal(WORLD_OUT(&w), "warn  quorum       n2: 2 of 3 votes would be left\n"
                                       "                   remedy: go on with --yes\n"
                                       "pass  vms          all can move\n"
                                       "ready, with warnings\n");

    AUTO(world_done) struct world plan = {0};
    world_data(&plan, "upgrade.plan", "{\"result\":1,\"findings\":[],\"plan\":{\"target\":\"trixie\",\"steps\":[]}}");
    assert_int_equal(world_run(&plan, "upgrade plan --target trixie"), 0);
}

#define MOVE(vm, to) "{\"vm\":\"" vm "\",\"memory_mib\":1024,\"to\":" to "}"
#define STEP(node, skipped, moves)                                                                                     \
    "{\"position\":0,\"node\":\"" node "\",\"from_release\":\"bookworm\",\"vms\":3,\"votes_after\":2,"                \
    "\"votes_total\":3,\"skipped\":" skipped ",\"outlook\":{\"moves\":[" moves "],\"fullest\":\"n2\","                 \
    "\"fullest_percent\":61}}"

static void test_plan(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {0};
    world_data(&w, "upgrade.plan",
               "{\"result\":0,\"findings\":[],\"plan\":{\"target\":\"trixie\",\"steps\":["
               STEP("n1", "false", MOVE("vm1", "\"n2\"") "," MOVE("vm2", "null") "," MOVE("vm3", "\"n2\"")) ","
               STEP("n2", "false", MOVE("a", "\"n1\"") "," MOVE("b", "\"n1\"") "," MOVE("c", "\"n1\"") ","
                                   MOVE("d", "\"n1\"") "," MOVE("e", "\"n1\"")) ","
               STEP("n3", "true", MOVE("f", "\"n1\"")) "]}}");
    assert_int_equal(world_run(&w, "upgrade plan --target trixie"), 0);
    assert_contains(WORLD_OUT(&w), "FULLEST THEN");
    assert_contains(WORLD_OUT(&w), "n2 61%");
    assert_contains(WORLD_OUT(&w), "\noff n1: vm1 vm3 to n2, vm2 nowhere\n");
    assert_contains(WORLD_OUT(&w), "\noff n2: 5 virtual machines to n1\n");
    assert_null(strstr(WORLD_OUT(&w), "off n3"));
}

static void test_level_raise_refused(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {0};
    world_answer(&w, (struct world_answer){
                         .verb = "level.raise",
                         .data = "{\"findings\":[{\"check\":\"level\",\"result\":\"fail\",\"object\":\"n3\","
                                 "\"text\":\"n3 is down\",\"remedy\":\"clusterctl node evict n3\"}]}",
                         .code = ERR_CONDITION,
                         .text = "n3 is down",
                     });
    assert_int_equal(world_run(&w, "level raise --yes --wait"), 113);
    assert_string_equal(WORLD_OUT(&w), "fail  level        n3: n3 is down\n"
                                       "                   remedy: clusterctl node evict n3\n");

    AUTO(world_done) struct world dry = {0};
    world_data(&dry, "level.raise", "{\"findings\":[]}");
    assert_int_equal(world_run(&dry, "level raise --dry-run"), 0);
    assert_string_equal(WORLD_OUT(&dry), "nothing stands against raising the level\n");
}

static void test_level_show(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {0};
    world_data(&w, "level.show",
               "{\"level\":{\"committed\":1,\"description\":\"Debian 12\",\"fence\":2,"
               "\"mixed\":{\"since\":\"2026-11-01T12:00:00.000Z\",\"days\":21,\"severity\":\"warning\"},"
               "\"machine\":\"pc-q35-7.2\",\"raised\":null,\"members\":["
               "{\"node\":\"n1\",\"min\":1,\"native\":2,\"acknowledged\":true,\"copied\":false},"
               "{\"node\":\"n2\",\"min\":1,\"native\":2,\"acknowledged\":false},"
               "{\"node\":\"n3\",\"min\":1,\"native\":2,\"acknowledged\":true,\"copied\":true}],"
               "\"copy\":\"before-level-2.20261130T183000Z\"},"
               "\"features\":[{\"name\":\"new things\",\"text\":\"x\",\"level\":2,\"available\":false}]}");
    assert_int_equal(world_run(&w, "level show"), 0);
    assert_string_equal(WORLD_OUT(&w), "Level      1 (Debian 12), MIXED for 21d 0h, being raised to 2\n"
                                       "Machine    pc-q35-7.2\n"
                                       "Way back   /var/lib/ringmaster/before-level-2.20261130T183000Z, see "
                                       "clusterctl-level(8)\n"
                                       "\n"
                                       "NODE RANGE RAISE\n"
                                       "n1   1-2   acknowledged\n"
                                       "n2   1-2   waited for\n"
                                       "n3   1-2   has its copy\n"
                                       "\n"
                                       "FEATURE    LEVEL AVAILABLE\n"
                                       "new things     2 no\n");
}

static void test_quorum_show(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {0};
    world_data(&w, "quorum.show",
               "{\"quorum\":{\"quorate\":true,\"verdict\":\"quorum: 2 of 3 votes are here\",\"dynamic\":true,"
               "\"preferred_site\":\"north\",\"lower_node\":null,\"witness\":{\"weight\":1,\"sequence\":7,"
               "\"trouble\":\"no answer\"},\"nodes\":["
               "{\"name\":\"n1\",\"weight\":1,\"present\":true,\"site\":\"north\",\"why\":\"votes\"},"
               "{\"name\":\"n2\",\"weight\":0,\"present\":false,\"site\":null,\"why\":\"away\"}]}}");
    assert_int_equal(world_run(&w, "quorum show"), 0);
    assert_string_equal(WORLD_OUT(&w), "Quorum     quorum: 2 of 3 votes are here\n"
                                       "Witness    1 vote, sequence 7; no answer\n"
                                       "Dynamic    on\n"
                                       "Preferred  north\n"
                                       "\n"
                                       "NODE VOTE SITE  WHY\n"
                                       "n1   1    north votes\n"
                                       "n2   0    -     away\n");
}

static void test_events(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {0};
    world_data(
        &w, "events",
        "{\"events\":[{\"seq\":1,\"time\":\"2026-11-22T11:00:00.000Z\",\"severity\":\"info\",\"object\":\"n1\","
        "\"text\":\"n1: pending -> draining\"},{\"seq\":2,\"time\":\"2026-11-22T11:00:01.000Z\","
        "\"severity\":\"error\",\"object\":\"11111111-2222-4333-8444-555555555555\",\"text\":\"upgrade stopped\"},"
        "{\"seq\":3,\"time\":null,\"severity\":\"warning\",\"object\":null,\"text\":\"odd\"}],\"last\":3}");
    assert_int_equal(world_run(&w, "events"), 0);
    assert_string_equal(WORLD_OUT(&w), "2026-11-22 11:00:00  n1        pending -> draining\n"
                                       "2026-11-22 11:00:01  -         error: upgrade stopped\n"
                                       "-                    -         warning: odd\n");
}

/* No answer, however odd, may end clusterctl: every reader stands what is missing or of another type. */
static void test_odd_answers(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "status",
        "node list",
        "node show x",
        "vm list",
        "vm show x",
        "level show",
        "upgrade status",
        "job list",
        "job show x",
        "events",
        "cluster config show",
        "upgrade check --target t",
        "upgrade plan --target t",
        "vm start x --wait",
        "upgrade --target t",
    };
    static const char *const odd[] = {
        ("{\"nodes\":[1,null,{}],\"vms\":[[],{\"target\":1}],\"run\":[],\"jobs\":{},\"level\":7,\"self\":null,"
         "\"health\":[{}],\"quorum\":1,\"events\":[{}],\"settings\":{\"a\":[1]},\"plan\":{\"steps\":[3]},\"job\":5}"),
        "[]",
        "7",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        for (size_t k = 0; k < sizeof(odd) / sizeof(odd[0]); k++) {
            AUTO(world_done) struct world w = {.confirm = ERR_USAGE};
            world_answer(&w, (struct world_answer){.data = odd[k], .stays = true});
            world_run(&w, lines[i]);
        }
    }
}

static void test_spans(void **state)
{
    (void)state;
    assert_string_equal(span_text(-5).s, "0s");
    assert_string_equal(span_text(59).s, "59s");
    assert_string_equal(span_text(60).s, "1m 00s");
    assert_string_equal(span_text(3599).s, "59m 59s");
    assert_string_equal(span_text(3600).s, "1h 00m");
    assert_string_equal(span_text(86400 * 3 + 3600 * 4).s, "3d 4h");
    assert_int_equal(time_parse_ms("1970-01-02T00:00:00.250Z"), 86400250);
    assert_int_equal(time_parse_ms("1970-01-02T00:00:00Z"), 86400000);
    assert_int_equal(time_parse_ms("yesterday"), 0);
    assert_int_equal(time_parse_ms(NULL), 0);
}

int main(void)
{
    setenv("TZ", "UTC", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_status_unconfigured),
        cmocka_unit_test(test_status_without_quorum),
        cmocka_unit_test(test_json_is_passed_on),
        cmocka_unit_test(test_agent_code_is_exit_code),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_level_raise_refused),
        cmocka_unit_test(test_level_show),
        cmocka_unit_test(test_quorum_show),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_odd_answers),
        cmocka_unit_test(test_spans),
    };
    return cmocka_run_group_tests_name("cli_text", tests, NULL, NULL);
}
