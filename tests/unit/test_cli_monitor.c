/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What monitoring sees: metrics, the plugin's line, the watch; and the version. */
#include "tests/unit/cli_world.h"

#include "cli/metrics.h"

#define EMPTY_CLUSTER                                                                                                  \
    "{\"self\":{\"name\":\"n1\",\"phase\":\"member\",\"version\":\"0.1.0\"},\"cluster\":{\"name\":\"demo\"},"          \
    "\"quorum\":{\"quorate\":true,\"leader\":\"n1\",\"votes_present\":1,\"votes_total\":1},\"level\":{\"committed\":"  \
    "1,"                                                                                                               \
    "\"mixed\":null},\"run\":null,\"jobs\":[],\"nodes\":[{\"name\":\"n1\",\"state\":\"online\"}],\"vms\":[],"          \
    "\"health\":["

#define FINDING(code, severity, object)                                                                                \
    "{\"code\":\"" code "\",\"severity\":\"" severity "\",\"object\":" object ",\"text\":\"it is|so\\nnow\"}"

/* ---- metrics ------------------------------------------------------------------------------------------------------
 */

static void test_metrics(void **state)
{
    (void)state;
    AUTO(freep) char *data = world_fixture("status-mixed.json");
    AUTO(freep) char *expected = world_fixture("status-mixed.metrics");
    AUTO(world_done) struct world w = {0};
    world_data(&w, "status", data);
    assert_int_equal(world_run(&w, "status --output openmetrics"), 0);
    assert_string_equal(WORLD_OUT(&w), expected);
    assert_string_equal(WORLD_ERR(&w), "");
}

static void test_metrics_are_escaped(void **state)
{
    (void)state;
    AUTO(json_freep)
    struct json *data =
        world_json("{\"self\":{\"name\":\"a\\\"b\\\\c\\nd\",\"phase\":\"unconfigured\"},\"cluster\":null}");
    AUTO(buf_done) struct buf b = {0};
    metrics_text(data, 0, &b);
    buf_add(&b, "", 1);
    assert_contains((char *)b.p, "ringmaster_agent_info{node=\"a\\\"b\\\\c\\nd\",phase=\"unconfigured\"} 1\n");
    assert_contains((char *)b.p, "ringmaster_member 0\n");
    assert_lacks((char *)b.p, "ringmaster_quorate");
}

/* Without quorum there is a picture; without an agent there is one thing to tell. */
static void test_metrics_of_trouble(void **state)
{
    (void)state;
    AUTO(world_done) struct world no_quorum = {0};
    world_answer(&no_quorum, (struct world_answer){.data = "{\"self\":{\"phase\":\"member\"},\"quorum\":{\"quorate\":"
                                                           "false,\"leader\":null}}",
                                                   .code = ERR_NO_QUORUM});
    assert_int_equal(world_run(&no_quorum, "status -o openmetrics"), 0);
    assert_contains(WORLD_OUT(&no_quorum), "ringmaster_up 1\n");
    assert_contains(WORLD_OUT(&no_quorum), "ringmaster_quorate 0\n");

    AUTO(world_done) struct world away = {0};
    world_answer(&away, (struct world_answer){.code = ERR_NO_AGENT, .no_answer = true, .text = "it does not run"});
    assert_int_equal(world_run(&away, "status -o openmetrics"), 69);
    assert_string_equal(WORLD_OUT(&away), "# HELP ringmaster_up Whether the agent of this node answered.\n"
                                          "# TYPE ringmaster_up gauge\nringmaster_up 0\n# EOF\n");
    assert_contains(WORLD_ERR(&away), "it does not run");
}

/* ---- check --------------------------------------------------------------------------------------------------------
 */

static void test_check(void **state)
{
    (void)state;
    static const struct {
        const char *line, *health, *out;
        int code;
    } cases[] = {
        {"check", "", "RINGMASTER OK - demo: 1 of 1 votes, leader n1, 1 of 1 nodes online, 0 of 0 ", 0},
        {"check", FINDING("A", "ok", "null"), "RINGMASTER OK - demo", 0},
        {"check", FINDING("A", "warning", "\"n1\"") "," FINDING("B", "ok", "null"),
         "RINGMASTER WARNING - A n1: it is so now | ", 1},
        {"check", FINDING("C", "critical", "null") "," FINDING("A", "warning", "null"),
         "RINGMASTER CRITICAL - C: it is so now (and 1 more) | ", 2},
        {"check --ignore A", FINDING("A", "warning", "null"), "RINGMASTER OK - ", 0},
        {"check --ignore X,C,Y", FINDING("C", "critical", "null") "," FINDING("A", "warning", "null"),
         "RINGMASTER WARNING - A: it is so now | ", 1},
        {"check --ignore AA,", FINDING("A", "warning", "null"), "RINGMASTER WARNING - A", 1},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char data[2048];
        snprintf(data, sizeof(data), EMPTY_CLUSTER "%s]}", cases[i].health);
        AUTO(world_done) struct world w = {0};
        world_data(&w, "status", data);
        assert_int_equal(world_run(&w, cases[i].line), cases[i].code);
        assert_contains(WORLD_OUT(&w), cases[i].out);
        const char *bar = strchr(WORLD_OUT(&w), '|');
        assert_non_null(bar);
        assert_null(strchr(bar + 1, '|'));
        assert_ptr_equal(strchr(WORLD_OUT(&w), '\n'), WORLD_OUT(&w) + w.out.len - 1); /* one line */
        assert_string_equal(WORLD_ERR(&w), "");
    }
}

static void test_check_perfdata(void **state)
{
    (void)state;
    AUTO(freep) char *data = world_fixture("status-mixed.json");
    AUTO(world_done) struct world w = {0};
    world_data(&w, "status", data);
    assert_int_equal(world_run(&w, "check"), 1);
    assert_string_equal(
        WORLD_OUT(&w),
        "RINGMASTER WARNING - QUORUM_MARGIN: 2 of 3 votes are here: the loss of one more node stops the cluster (and 1"
        " more) | votes=2;;;0;3 nodes_online=2;;;0;3 vms_running=1;;;0;3 vms_failed=1;;;0 vms_unknown=0;;;0"
        " mixed_age=3663s;1814400;2419200;0 witness_reachable=0;;;0;1 witness_age=90s;;;0"
        " findings_warning=2;;;0 findings_critical=0;;;0\n");
}

static void test_check_in_trouble(void **state)
{
    (void)state;
    AUTO(world_done) struct world away = {0};
    world_answer(&away, (struct world_answer){.code = ERR_NO_AGENT, .no_answer = true, .text = "it does not run"});
    assert_int_equal(world_run(&away, "check"), 3);
    assert_string_equal(WORLD_OUT(&away), "RINGMASTER UNKNOWN - it does not run\n");

    AUTO(world_done) struct world refused = {0};
    world_answer(&refused, (struct world_answer){.code = ERR_PERMISSION, .text = "not permitted"});
    assert_int_equal(world_run(&refused, "check"), 3);

    AUTO(world_done) struct world alone = {0};
    world_answer(&alone, (struct world_answer){.data = EMPTY_CLUSTER FINDING("NO_QUORUM", "critical", "null") "]}",
                                               .code = ERR_NO_QUORUM});
    assert_int_equal(world_run(&alone, "check"), 2);
    assert_contains(WORLD_OUT(&alone), "RINGMASTER CRITICAL - NO_QUORUM: ");

    AUTO(world_done) struct world none = {0};
    world_data(&none, "status", "{\"self\":{\"name\":\"n1\",\"phase\":\"unconfigured\"},\"cluster\":null}");
    assert_int_equal(world_run(&none, "check"), 3);

    AUTO(world_done) struct world evicted = {0};
    world_data(&evicted, "status", "{\"self\":{\"name\":\"n1\",\"phase\":\"evicted\"},\"cluster\":null}");
    assert_int_equal(world_run(&evicted, "check"), 2);
}

static void test_check_in_json(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {0};
    world_data(&w, "status", EMPTY_CLUSTER FINDING("C", "critical", "null") "]}");
    assert_int_equal(world_run(&w, "check -o json"), 2);
    AUTO(json_freep) struct json *answer = world_json(WORLD_OUT(&w));
    assert_int_equal(json_int(json_path(answer, "status.code"), -1), 0);
    assert_int_equal(json_int(json_path(answer, "data.result"), -1), 2);
    assert_string_equal(json_str(json_path(answer, "data.result_name"), ""), "CRITICAL");
    assert_int_equal(json_count(json_path(answer, "data.health")), 1);
}

/* ---- watch --------------------------------------------------------------------------------------------------------
 */

static void changes(struct world *w)
{
    world_data(w, "status", EMPTY_CLUSTER FINDING("A", "ok", "null") "]}");
    world_data(w, "status", EMPTY_CLUSTER FINDING("A", "warning", "null") "," FINDING("B", "critical", "\"n1\"") "]}");
    world_answer(w, (struct world_answer){.code = ERR_NO_AGENT, .no_answer = true, .text = "away"});
    world_answer(w, (struct world_answer){.verb = "status", .data = EMPTY_CLUSTER "]}", .stays = true});
    w->interrupt_at_ms = 9000;
}

static void test_watch_lines(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {0};
    changes(&w);
    assert_int_equal(world_run(&w, "status --watch"), 0);
    assert_string_equal(WORLD_OUT(&w), "2026-11-22 12:00:00  agent: member\n"
                                       "2026-11-22 12:00:00  quorum: yes, 1 of 1 votes\n"
                                       "2026-11-22 12:00:00  leader: n1\n"
                                       "2026-11-22 12:00:00  level: 1\n"
                                       "2026-11-22 12:00:00  node n1: online\n"
                                       "2026-11-22 12:00:00  health A: ok\n"
                                       "2026-11-22 12:00:02  health A: ok -> warning\n"
                                       "2026-11-22 12:00:02  health B n1: critical\n"
                                       "2026-11-22 12:00:04  agent: member -> does not answer\n"
                                       "2026-11-22 12:00:06  agent: does not answer -> member\n"
                                       "2026-11-22 12:00:06  health A: warning -> gone\n"
                                       "2026-11-22 12:00:06  health B n1: critical -> gone\n");
}

static void test_watch_in_json(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {0};
    changes(&w);
    assert_int_equal(world_run(&w, "status --watch -o json"), 0);
    assert_contains(WORLD_OUT(&w), "{\"change\":{\"time\":\"2026-11-22T12:00:02.000Z\",\"what\":\"health A\",\"from\":"
                                   "\"ok\",\"to\":\"warning\"}}\n");
    assert_contains(WORLD_OUT(&w), "\"what\":\"health A\",\"from\":\"warning\",\"to\":null}}\n");
}

/* On a terminal the page is drawn anew, cut at its height. */
static void test_watch_on_a_terminal(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {.live = true};
    changes(&w);
    assert_int_equal(world_run(&w, "status --watch"), 0);
    size_t homes = 0;
    for (const char *p = WORLD_OUT(&w); (p = strstr(p, "\033[H\033[?7l")); p++)
        homes++;
    assert_int_equal(homes, 5);
    assert_contains(WORLD_OUT(&w), "every 2 s, 12:00:02, Ctrl-C ends\033[K\n");
    assert_contains(WORLD_OUT(&w), "clusterctl: away");
    assert_contains(WORLD_OUT(&w), "\033[J\033[?7h");
    assert_lacks(WORLD_OUT(&w), "health A:");
}

static void test_watch_without_an_agent(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {.live = true, .interrupt_at_ms = 1};
    world_answer(&w, (struct world_answer){.code = ERR_NO_AGENT, .no_answer = true, .text = "away"});
    assert_int_equal(world_run(&w, "status --watch"), 0);
    assert_contains(WORLD_OUT(&w), "clusterctl: away");
    assert_lacks(WORLD_OUT(&w), "none yet");
}

static void test_watch_is_refused_at_once(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {0};
    world_answer(&w, (struct world_answer){.code = ERR_PERMISSION, .text = "not permitted"});
    assert_int_equal(world_run(&w, "status --watch"), 77);
}

/* ---- the rest -----------------------------------------------------------------------------------------------------
 */

static void test_version(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {0};
    world_data(&w, "status", EMPTY_CLUSTER "]}");
    assert_int_equal(world_run(&w, "version"), 0);
    assert_contains(WORLD_OUT(&w), "clusterctl ");
    assert_contains(WORLD_OUT(&w), "agent      0.1.0, on n1\n");

    AUTO(world_done) struct world away = {0};
    world_answer(&away, (struct world_answer){.code = ERR_NO_AGENT, .no_answer = true});
    assert_int_equal(world_run(&away, "version"), 0);
    assert_contains(WORLD_OUT(&away), "agent      does not answer\n");

    AUTO(world_done) struct world json = {0};
    world_data(&json, "status", EMPTY_CLUSTER "]}");
    assert_int_equal(world_run(&json, "version -o json"), 0);
    AUTO(json_freep) struct json *answer = world_json(WORLD_OUT(&json));
    assert_string_equal(json_str(json_path(answer, "data.agent"), ""), "0.1.0");
}

#define CANCEL(state) "{\"job\":{\"id\":\"7\",\"kind\":\"vm-migrate\",\"object\":\"vm1\",\"state\":\"" state "\"}}"

static void test_job_cancel(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {0};
    world_data(&w, "job.cancel", CANCEL("running"));
    assert_int_equal(world_run(&w, "job cancel 7"), 0);
    assert_contains(WORLD_OUT(&w), "vm-migrate of vm1 is being cancelled\n");

    AUTO(world_done) struct world wait = {0};
    world_data(&wait, "job.cancel", CANCEL("running"));
    world_data(&wait, "job.show", CANCEL("running"));
    world_data(&wait, "job.show", CANCEL("cancelled"));
    assert_int_equal(world_run(&wait, "job cancel 7 --wait"), 0); /* that is what was wanted */
    assert_contains(WORLD_OUT(&wait), "done: vm-migrate of vm1 (");

    AUTO(world_done) struct world late = {0};
    world_data(&late, "job.cancel", CANCEL("running"));
    world_data(&late, "job.show", CANCEL("done"));
    assert_int_equal(world_run(&late, "job cancel 7 --wait"), 0);
    assert_contains(WORLD_OUT(&late), "done: vm-migrate of vm1 was faster (");
}

static void test_unknown_vm(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {0};
    world_data(&w, "vm.show", "{\"vm\":{\"name\":\"a\",\"state\":\"unknown\",\"reported_state\":\"running\"}}");
    assert_int_equal(world_run(&w, "vm show a"), 0);
    assert_contains(WORLD_OUT(&w), "State      unknown\n");
    assert_contains(WORLD_OUT(&w), "Reported   running, before its node went away\n");
}

int main(void)
{
    setenv("TZ", "UTC", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_metrics_are_escaped),
        cmocka_unit_test(test_metrics_of_trouble),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_check_perfdata),
        cmocka_unit_test(test_check_in_trouble),
        cmocka_unit_test(test_check_in_json),
        cmocka_unit_test(test_watch_lines),
        cmocka_unit_test(test_watch_in_json),
        cmocka_unit_test(test_watch_on_a_terminal),
        cmocka_unit_test(test_watch_without_an_agent),
        cmocka_unit_test(test_watch_is_refused_at_once),
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_job_cancel),
        cmocka_unit_test(test_unknown_vm),
    };
    return cmocka_run_group_tests_name("cli_monitor", tests, NULL, NULL);
}
