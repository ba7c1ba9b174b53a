/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --wait and --follow: what they wait for, what they outlive, what they say. */
#include "tests/unit/cli_world.h"

#include <sys/stat.h>

#define JOB     "22222222-2222-4333-8444-555555555555"
#define RUN     "11111111-2222-4333-8444-555555555555"
#define STARTED "{\"job\":\"" JOB "\"}"
#define JOB_IN(state, more)                                                                                            \
    "{\"job\":{\"id\":\"" JOB "\",\"kind\":\"vm-start\",\"object\":\"vm1\",\"state\":\"" state "\"" more "}}"
#define RUN_IN(state, more)                                                                                            \
    "{\"run\":{\"id\":\"" RUN "\",\"target\":\"trixie\",\"state\":\"" state                                            \
    "\",\"done\":1,\"total\":3,\"seconds\":9" more                                                                     \
    ",\"steps\":[{\"node\":\"n1\",\"state\":\"draining\",\"from_release\":\"bookworm\"}]}}"
#define NO_EVENTS "{\"events\":[],\"last\":5}"

static void agent_is(struct world *w, const char *verb, int code, const char *text)
{
    world_answer(w, (struct world_answer){.verb = verb, .code = code, .text = text, .no_answer = code == ERR_NO_AGENT});
}

static void forever(struct world *w, const char *verb, const char *data)
{
    world_answer(w, (struct world_answer){.verb = verb, .data = data, .stays = true});
}

static void test_without_wait(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {0};
    world_data(&w, "vm.start", STARTED);
    assert_int_equal(world_run(&w, "vm start vm1"), 0);
    assert_string_equal(WORLD_OUT(&w), "vm1: vm start goes on as job " JOB "\n"
                                       "watch it with: clusterctl job show " JOB " --follow\n");
}

static void test_job_done(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {0};
    world_data(&w, "vm.start", STARTED);
    world_data(&w, "job.show", JOB_IN("running", ""));
    world_data(&w, "job.show", JOB_IN("running", ""));
    world_data(&w, "job.show", JOB_IN("done", ""));
    assert_int_equal(world_run(&w, "vm start vm1 --wait"), 0);
    assert_contains(WORLD_OUT(&w), "done: vm-start of vm1 (1s)\n");
    assert_string_equal(WORLD_ERR(&w), "");
}

static void test_job_failed(void **state)
{
    (void)state;
    static const struct {
        const char *data, *message;
        int code;
    } ends[] = {
        {JOB_IN("failed", ",\"code\":113,\"error\":\"no disk\""), "vm-start of vm1 failed: no disk", 113},
        {JOB_IN("failed", ",\"code\":124,\"error\":\"guest is deaf\""), "vm-start of vm1 failed: guest is deaf", 124},
        {JOB_IN("failed", ",\"code\":0"), "vm-start of vm1 failed", 1},
        {JOB_IN("cancelled", ",\"code\":0"), "vm-start of vm1 was cancelled", 1},
    };
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        AUTO(world_done) struct world w = {0};
        world_data(&w, "vm.start", STARTED);
        world_data(&w, "job.show", ends[i].data);
        assert_int_equal(world_run(&w, "vm start vm1 --wait=9 --output json"), ends[i].code);
        assert_contains(WORLD_ERR(&w), ends[i].message);
        AUTO(json_freep) struct json *answer = world_json(WORLD_OUT(&w)); /* one text: the end */
        assert_int_equal(json_int(json_path(answer, "status.code"), -1), ends[i].code);
        assert_string_equal(json_str(json_path(answer, "status.message"), ""), ends[i].message);
        assert_string_equal(json_str(json_path(answer, "data.job.id"), ""), JOB);
    }
}

static void test_timeout(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {0};
    world_data(&w, "vm.start", STARTED);
    forever(&w, "job.show", JOB_IN("running", ""));
    assert_int_equal(world_run(&w, "vm start vm1 --wait=3"), 124);
    assert_int_equal(w.ms, 3000);
    assert_string_equal(WORLD_ERR(&w), "clusterctl: job " JOB " did not come to its end within 3s; it goes on\n"
                                       "remedy: clusterctl job show " JOB " --follow\n");
}

/* The agent restarts, the quorum is lost, the new agent has not heard of the job yet: each is said once, none ends it.
 */
static void test_outlives_the_agent(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {0};
    world_data(&w, "vm.start", STARTED);
    agent_is(&w, "job.show", ERR_NO_AGENT, "the agent of this node does not run");
    agent_is(&w, "job.show", ERR_NO_AGENT, "the agent of this node does not run");
    agent_is(&w, "job.show", ERR_AGAIN, "starting");
    agent_is(&w, "job.show", ERR_NO_QUORUM, "no quorum");
    agent_is(&w, "job.show", ERR_NO_OBJECT, "no such job");
    world_data(&w, "job.show", JOB_IN("running", ""));
    world_data(&w, "job.show", JOB_IN("done", ""));
    assert_int_equal(world_run(&w, "vm start vm1 --wait=30"), 0);
    assert_string_equal(WORLD_ERR(&w), "the agent of this node does not run; waiting for it, the job goes on\n"
                                       "the agent answers again\n");
}

static void test_job_that_never_was(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {0};
    world_data(&w, "vm.start", STARTED);
    world_answer(&w, (struct world_answer){.verb = "job.show", .code = ERR_NO_OBJECT, .text = "no job", .stays = true});
    assert_int_equal(world_run(&w, "vm start vm1 --wait"), 105);
    assert_in_range(w.ms, 5000, 20000);

    AUTO(world_done) struct world denied = {0};
    world_data(&denied, "vm.start", STARTED);
    agent_is(&denied, "job.show", ERR_PERMISSION, "not permitted");
    assert_int_equal(world_run(&denied, "vm start vm1 --wait"), 77);
}

static void test_join_until_a_voting_member(void **state)
{
    (void)state;
#define SELF(phase, node_state, voter)                                                                                 \
    "{\"self\":{\"name\":\"n2\",\"phase\":\"" phase "\"},\"nodes\":[{\"name\":\"n1\",\"state\":\"online\","            \
    "\"voter\":true},{\"name\":\"n2\",\"state\":\"" node_state "\",\"voter\":" voter "}]}"
    AUTO(world_done) struct world w = {0};
    FILE *f = fopen("test-cli-wait.token", "w");
    assert_non_null(f);
    fputs("x", f);
    fclose(f);
    chmod("test-cli-wait.token", 0600);
    world_data(&w, "node.join", "{\"cluster\":\"demo\",\"node\":\"n2\"}");
    world_data(&w, "status", "{\"self\":{\"name\":\"n2\",\"phase\":\"joining\"},\"cluster\":null}");
    agent_is(&w, "status", ERR_NO_QUORUM, "no quorum");
    world_data(&w, "status", SELF("member", "joining", "false"));
    world_data(&w, "status", SELF("member", "online", "false"));
    world_data(&w, "status", SELF("joining", "online", "true"));
    world_data(&w, "status", SELF("member", "online", "true"));
    assert_int_equal(world_run(&w, "node join --token-file test-cli-wait.token --wait=60"), 0);
    assert_int_equal(w.ms, 2500);
    assert_string_equal(WORLD_OUT(&w), "n2 joins cluster demo\ndone: this node is a member with a vote (2s)\n");
    assert_string_equal(WORLD_ERR(&w), "");

    AUTO(world_done) struct world late = {0};
    world_data(&late, "node.join", "{\"cluster\":\"demo\",\"node\":\"n2\"}");
    forever(&late, "status", SELF("member", "joining", "false"));
    assert_int_equal(world_run(&late, "node join --token-file test-cli-wait.token --wait=2"), 124);
    remove("test-cli-wait.token");
}

static void test_init_until_quorate(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {0};
    world_data(&w, "cluster.init", "{\"cluster\":\"demo\",\"node\":\"n1\"}");
    world_data(&w, "status", "{\"quorum\":{\"quorate\":true,\"leader\":null}}");
    world_data(&w, "status", "{\"quorum\":{\"quorate\":true,\"leader\":\"n1\"}}");
    assert_int_equal(world_run(&w, "cluster init --name demo --yes --wait"), 0);
    assert_int_equal(w.ms, 500);
}

/* ---- upgrade ----------------------------------------------------------------------------------------------------- */

static void test_run_ends(void **state)
{
    (void)state;
    static const struct {
        const char *data;
        int code;
        const char *text;
    } ends[] = {
        {RUN_IN("awaiting-raise", ""), 0, "next: clusterctl level raise\n"},
        {RUN_IN("awaiting-raise", ",\"left_out\":[{\"node\":\"n2\",\"text\":\"vm1 stays\",\"keeps_level\":true,"
                                  "\"remedy\":\"stop vm1\"}]"),
         0, "next: stop vm1\n"},
        {RUN_IN("awaiting-raise", ",\"left_out\":[{\"node\":\"n2\",\"keeps_level\":false}]"), 0,
         "next: clusterctl level raise\n"},
        {RUN_IN("done", ""), 0, "done: upgrade to trixie is done"},
        {RUN_IN("cancelled", ""), 1, "clusterctl: the upgrade was cancelled\n"},
        {RUN_IN("paused-error", ",\"error\":\"n2 did not come back\",\"remedy\":\"look at n2\""), 1,
         "clusterctl: the upgrade needs help: n2 did not come back\nremedy: look at n2\n"},
        {RUN_IN("paused-error", ""), 1, "remedy: clusterctl upgrade retry\n"},
    };
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        AUTO(world_done) struct world w = {0};
        world_data(&w, "upgrade.start", RUN_IN("planned", ""));
        world_data(&w, "upgrade.status", "{\"run\":null}");
        world_data(&w, "upgrade.status",
                   "{\"run\":{\"id\":\"33333333-2222-4333-8444-555555555555\",\"state\":\"done\"}}");
        world_data(&w, "upgrade.status", RUN_IN("running", ""));
        world_data(&w, "upgrade.status", RUN_IN("paused", ""));
        world_data(&w, "upgrade.status", ends[i].data);
        assert_int_equal(world_run(&w, "upgrade start --target trixie --yes --wait=600"), ends[i].code);
        assert_int_equal(w.ms, 2000);
        assert_contains(ends[i].code ? WORLD_ERR(&w) : WORLD_OUT(&w), ends[i].text);
    }
}

static void test_abort_until_cancelled(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {0};
    world_data(&w, "upgrade.abort", RUN_IN("aborting", ""));
    world_data(&w, "upgrade.status", RUN_IN("aborting", ""));
    world_data(&w, "upgrade.status", RUN_IN("cancelled", ""));
    assert_int_equal(world_run(&w, "upgrade abort --yes --wait"), 0);
}

#define PLAN(result)                                                                                                   \
    "{\"result\":" result ",\"findings\":[{\"check\":\"quorum\",\"result\":\"warn\",\"object\":\"n1\",\"text\":\"t\"," \
    "\"remedy\":\"\"}],\"plan\":{\"target\":\"trixie\",\"steps\":[{\"position\":0,\"node\":\"n1\","                    \
    "\"from_release\":\"bookworm\",\"vms\":1,\"votes_after\":2,\"votes_total\":3,\"skipped\":false},"                  \
    "{\"position\":1,\"node\":\"n2\",\"from_release\":\"trixie\",\"vms\":0,\"skipped\":true}]}}"

/* `upgrade` alone: the plan, the question, the start, the way along, on one screen. */
static void test_upgrade_the_whole_way(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {.confirm = 1};
    world_data(&w, "upgrade.status", "{\"run\":null}");
    world_data(&w, "upgrade.plan", PLAN("1"));
    world_data(&w, "events", NO_EVENTS);
    world_data(&w, "upgrade.start", RUN_IN("planned", ""));
    world_data(&w, "upgrade.status", RUN_IN("running", ""));
    world_data(&w, "events",
               "{\"events\":[{\"seq\":5,\"time\":\"2026-11-22T12:00:00.000Z\",\"severity\":\"info\",\"object\":\"n9\","
               "\"text\":\"an old one\"},{\"seq\":6,\"time\":\"2026-11-22T12:00:01.000Z\",\"severity\":\"info\","
               "\"object\":\"n1\",\"text\":\"n1: pending -> draining\"}],\"last\":6}");
    world_data(&w, "upgrade.status", RUN_IN("awaiting-raise", ""));
    world_data(&w, "events",
               "{\"events\":[{\"seq\":7,\"time\":\"2026-11-22T12:00:02.000Z\",\"severity\":\"info\",\"object\":\"vm1\","
               "\"text\":\"vm1: n1 -> n2\"}],\"last\":7}");
    assert_int_equal(world_run(&w, "upgrade --target trixie"), 0);
    assert_string_equal(w.question, "Replace the operating system of 1 node by trixie, in spite of the warnings?");
    assert_string_equal(WORLD_REQUESTS(&w), "upgrade.status {}\n"
                                            "upgrade.plan {\"target\":\"trixie\"}\n"
                                            "events {}\n"
                                            "upgrade.start {\"accept_warnings\":true,\"target\":\"trixie\"}\n"
                                            "upgrade.status {}\nevents {\"since\":5}\n"
                                            "upgrade.status {}\nevents {\"since\":6}\n");
    assert_contains(WORLD_OUT(&w), "Plan\n"
                                   "# NODE FROM     VMS VOTES LEFT FULLEST THEN NOTE\n"
                                   "1 n1   bookworm   1 2 of 3     -            -\n"
                                   "2 n2   trixie     0 -          -            skipped: has it already\n");
    assert_contains(WORLD_OUT(&w), "12:00:01  n1        pending -> draining\n"
                                   "12:00:02  vm1       n1 -> n2\n"
                                   "done: upgrade to trixie is awaiting-raise (0s)\n"
                                   "next: clusterctl level raise\n");
    assert_lacks(WORLD_OUT(&w), "an old one");
    assert_lacks(WORLD_OUT(&w), "\033");
}

static void test_upgrade_that_is_not_started(void **state)
{
    (void)state;
    AUTO(world_done) struct world unready = {.confirm = 1};
    world_data(&unready, "upgrade.status", "{\"run\":null}");
    world_data(&unready, "upgrade.plan", PLAN("2"));
    assert_int_equal(world_run(&unready, "upgrade --target trixie --yes"), 113);
    assert_contains(WORLD_OUT(&unready), "not ready\n");

    AUTO(world_done) struct world no = {.confirm = 0};
    world_data(&no, "upgrade.plan", PLAN("0"));
    assert_int_equal(world_run(&no, "upgrade start --target trixie"), 1);

    AUTO(world_done) struct world dry = {.confirm = 1};
    world_data(&dry, "upgrade.plan", PLAN("0"));
    assert_int_equal(world_run(&dry, "upgrade start --target trixie --dry-run"), 0);
    assert_contains(WORLD_OUT(&dry), "ready\n");

    AUTO(world_done) struct world aimless = {0};
    world_data(&aimless, "upgrade.status", RUN_IN("done", ""));
    assert_int_equal(world_run(&aimless, "upgrade"), 64);
    assert_contains(WORLD_ERR(&aimless), "no upgrade runs; --target CODENAME begins one\n");

    AUTO(world_done) struct world running = {0};
    world_data(&running, "upgrade.status", RUN_IN("running", ""));
    assert_int_equal(world_run(&running, "upgrade --target trixie"), 0);
    assert_contains(WORLD_OUT(&running), "Upgrade to trixie: running, 1 of 3 nodes done, 9s\n");
}

/* ---- follow ------------------------------------------------------------------------------------------------------ */

static void test_detach(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {.interrupt_at_ms = 1700};
    forever(&w, "upgrade.status", RUN_IN("running", ""));
    forever(&w, "events", NO_EVENTS);
    assert_int_equal(world_run(&w, "upgrade --follow"), 124);
    assert_string_equal(WORLD_ERR(&w), "clusterctl: detached from the upgrade; it goes on\n"
                                       "remedy: clusterctl upgrade status --follow\n");
    AUTO(world_done) struct world events = {.interrupt_at_ms = 1700};
    forever(&events, "events", NO_EVENTS);
    assert_int_equal(world_run(&events, "events --follow"), 0);
    assert_string_equal(WORLD_ERR(&events), "");
}

/* Each drawing goes up exactly as many lines as the one before had. */
static void test_live_view(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {.live = true};
    forever(&w, "events", NO_EVENTS);
    forever(&w, "status",
            "{\"vms\":[{\"name\":\"vm1\",\"node\":\"n1\",\"target\":\"n2\",\"percent\":42},"
            "{\"name\":\"vm2\",\"node\":\"n1\",\"target\":null}]}");
    world_data(&w, "upgrade.status", RUN_IN("running", ""));
    world_data(&w, "upgrade.status", RUN_IN("running", ""));
    world_data(&w, "upgrade.status", RUN_IN("running", ""));
    world_data(&w, "upgrade.status", RUN_IN("done", ""));
    assert_int_equal(world_run(&w, "upgrade --follow"), 0);
    const char *view = "\033[?7l[########----------------] 1 of 3 nodes\n"
                       "Upgrade to trixie: running, 1 of 3 nodes done, 9s\n"
                       "NODE STEP     FROM     TIME DETAIL\n"
                       "n1   draining bookworm    - -\n"
                       "moving vm1: n1 -> n2 42%\n\033[?7h";
    const char *first = strstr(WORLD_OUT(&w), view);
    assert_non_null(first);
    const char *again = first + strlen(view);
    const char *up = "\033[5A\r\033[J";
    assert_memory_equal(again, up, strlen(up));
    assert_memory_equal(again + strlen(up), view, strlen(view));
    assert_contains(again,
                    "moving vm1: n1 -> n2 42%\n\033[?7hdone: upgrade to trixie is done"); /* the last one stays */
}

static void test_follow_in_json(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {0};
    world_data(&w, "events", NO_EVENTS);
    world_data(&w, "vm.start", STARTED);
    world_data(&w, "job.show", JOB_IN("done", ""));
    world_data(&w, "events", "{\"events\":[{\"seq\":6,\"text\":\"a\"},{\"seq\":7,\"text\":\"b\"}],\"last\":7}");
    assert_int_equal(world_run(&w, "vm start vm1 --follow --output json"), 0);
    char *rest = NULL;
    char *line = strtok_r((char *)w.out.p, "\n", &rest);
    assert_string_equal(line, "{\"event\":{\"seq\":6,\"text\":\"a\"}}");
    line = strtok_r(NULL, "\n", &rest);
    assert_string_equal(line, "{\"event\":{\"seq\":7,\"text\":\"b\"}}");
    AUTO(json_freep) struct json *answer = world_json(strtok_r(NULL, "\n", &rest));
    assert_int_equal(json_int(json_path(answer, "status.code"), -1), 0);
    assert_null(strtok_r(NULL, "\n", &rest));
}

/* The last ten to begin with, then each new one once. */
static void test_events_follow(void **state)
{
    (void)state;
    AUTO(buf_done) struct buf b = {0};
    buf_printf(&b, "{\"events\":[");
    for (int k = 1; k <= 15; k++)
        buf_printf(&b, "%s{\"seq\":%d,\"object\":\"n1\",\"text\":\"number %d.\"}", k > 1 ? "," : "", k, k);
    buf_printf(&b, "],\"last\":15}");
    AUTO(freep) char *many = buf_steal_str(&b);
    AUTO(world_done) struct world w = {.interrupt_at_ms = 1600};
    world_data(&w, "events", many);
    world_data(&w, "events", "{\"events\":[{\"seq\":16,\"text\":\"number 16.\"}],\"last\":16}");
    forever(&w, "events", "{\"events\":[],\"last\":16}");
    assert_int_equal(world_run(&w, "events --follow"), 0);
    assert_lacks(WORLD_OUT(&w), "number 5.");
    assert_contains(WORLD_OUT(&w), "number 6.");
    assert_contains(WORLD_OUT(&w), "number 16.");
    assert_contains(WORLD_REQUESTS(&w), "events {}\nevents {\"since\":15}\nevents {\"since\":16}\n");
}

int main(void)
{
    setenv("TZ", "UTC", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_wait),
        cmocka_unit_test(test_job_done),
        cmocka_unit_test(test_job_failed),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_outlives_the_agent),
        cmocka_unit_test(test_job_that_never_was),
        cmocka_unit_test(test_join_until_a_voting_member),
        cmocka_unit_test(test_init_until_quorate),
        cmocka_unit_test(test_run_ends),
        cmocka_unit_test(test_abort_until_cancelled),
        cmocka_unit_test(test_upgrade_the_whole_way),
        cmocka_unit_test(test_upgrade_that_is_not_started),
        cmocka_unit_test(test_detach),
        cmocka_unit_test(test_live_view),
        cmocka_unit_test(test_follow_in_json),
        cmocka_unit_test(test_events_follow),
    };
    return cmocka_run_group_tests_name("cli_wait", tests, NULL, NULL);
}
