/* SPDX-License-Identifier: GPL-2.0-or-later */
/* argv -> request, and what is refused before any request is made. */
#include "tests/unit/cli_world.h"

#include <sys/stat.h>
#include <unistd.h>

/* The first request that a command line makes; every answer is an error, so that nothing follows. */
static void assert_request(const char *line, const char *request)
{
    AUTO(world_done) struct world w = {.confirm = ERR_USAGE};
    world_answer(&w, (struct world_answer){.code = ERR_AGAIN, .text = "later", .stays = true});
    int code = world_run(&w, line);
    if (code != 75)
        fail_msg("%s: exit code %d, %s", line, code, WORLD_ERR(&w));
    char expected[1024];
    snprintf(expected, sizeof(expected), "%s\n", request);
    assert_string_equal(WORLD_REQUESTS(&w), expected);
}

static void test_every_verb(void **state)
{
    (void)state;
    static const struct {
        const char *line, *request;
    } good[] = {
        {"status", "status {}"},
        {"status --output json", "status {}"},
        {"-o json status", "status {}"},
        {"status --dry-run", "status {}"},
        {"cluster init --name demo --yes", "cluster.init {\"name\":\"demo\"}"},
        {"cluster config show", "cluster.config.show {}"},
        {"cluster config set upgrade.executor /x",
         "cluster.config.set {\"name\":\"upgrade.executor\",\"value\":\"/x\"}"},
        {"cluster config set upgrade.executor ''", "cluster.config.set {\"name\":\"upgrade.executor\",\"value\":\"\"}"},
        {"cluster config set a -- -1", "cluster.config.set {\"name\":\"a\",\"value\":\"-1\"}"},
        {"node list", "node.list {}"},
        {"node show n1", "node.show {\"name\":\"n1\"}"},
        {"node drain n1 --wait=30", "node.drain {\"name\":\"n1\"}"},
        {"node --wait drain n1", "node.drain {\"name\":\"n1\"}"},
        {"node resume n1", "node.resume {\"failback\":false,\"name\":\"n1\"}"},
        {"node resume --failback n1", "node.resume {\"failback\":true,\"name\":\"n1\"}"},
        {"node evict n1 -y", "node.evict {\"keep_slot\":false,\"force\":false,\"name\":\"n1\"}"},
        {"node evict n1 --keep-slot --force --yes", "node.evict {\"keep_slot\":true,\"force\":true,\"name\":\"n1\"}"},
        {"node set n1 --site a --vote 0 --priority -2",
         "node.set {\"site\":\"a\",\"vote\":0,\"priority\":-2,\"name\":\"n1\"}"},
        {"node set n1 --vote=1", "node.set {\"vote\":1,\"name\":\"n1\"}"},
        {"vm list", "vm.list {}"},
        {"vm list --outdated", "vm.list {\"outdated\":true}"},
        {"vm show vm1", "vm.show {\"name\":\"vm1\"}"},
        {"vm upgrade-version vm1 --yes", "vm.upgrade-version {\"name\":\"vm1\"}"},
        {"vm upgrade-version vm1 --to pc-q35-9.2 --yes",
         "vm.upgrade-version {\"name\":\"vm1\",\"machine\":\"pc-q35-9.2\"}"},
        {"vm rollback-version vm1", "vm.rollback-version {\"name\":\"vm1\"}"},
        {"vm remove vm1 --yes", "vm.remove {\"name\":\"vm1\"}"},
        {"vm start vm1", "vm.start {\"name\":\"vm1\"}"},
        {"vm start vm1 --node n2 --wait=60", "vm.start {\"name\":\"vm1\",\"node\":\"n2\"}"},
        {"vm stop vm1", "vm.stop {\"name\":\"vm1\"}"},
        {"vm stop vm1 --timeout 90", "vm.stop {\"name\":\"vm1\",\"timeout_ms\":90000}"},
        {"vm stop vm1 --hard --yes", "vm.stop {\"name\":\"vm1\",\"hard\":true}"},
        {"vm migrate vm1", "vm.migrate {\"name\":\"vm1\"}"},
        {"vm migrate vm1 n2", "vm.migrate {\"name\":\"vm1\",\"target\":\"n2\"}"},
        {"vm set vm1 --priority -5", "vm.set {\"name\":\"vm1\",\"priority\":-5}"},
        {"vm set vm1 --preferred n1,n2 --postcopy on",
         "vm.set {\"name\":\"vm1\",\"preferred\":\"n1,n2\",\"postcopy\":\"on\"}"},
        {"vm set vm1 --priority 0 --policy save --home n3",
         "vm.set {\"name\":\"vm1\",\"priority\":0,\"policy\":\"save\",\"home\":\"n3\"}"},
        {"quorum show", "quorum.show {}"},
        {"quorum force --yes", "quorum.force {\"force\":false}"},
        {"quorum force --force --yes", "quorum.force {\"force\":true}"},
        {"quorum prevent", "quorum.prevent {\"clear\":false}"},
        {"quorum prevent --clear", "quorum.prevent {\"clear\":true}"},
        {"level show", "level.show {}"},
        {"level raise --yes", "level.raise {}"},
        {"level raise --dry-run", "level.raise {\"dry_run\":true}"},
        {"upgrade", "upgrade.status {}"},
        {"upgrade check --target trixie", "upgrade.check {\"target\":\"trixie\"}"},
        {"upgrade plan --target=trixie", "upgrade.plan {\"target\":\"trixie\"}"},
        {"upgrade start --target trixie --yes", "upgrade.start {\"accept_warnings\":true,\"target\":\"trixie\"}"},
        {"upgrade start --target trixie --yes --dry-run", "upgrade.plan {\"target\":\"trixie\"}"},
        {"upgrade start --target trixie", "upgrade.plan {\"target\":\"trixie\"}"},
        {"upgrade plan --target trixie --order n3,n1", "upgrade.plan {\"order\":\"n3,n1\",\"target\":\"trixie\"}"},
        {"upgrade start --target trixie --order n3,n1 --approve-each --yes",
         "upgrade.start {\"accept_warnings\":true,\"approve_each\":true,\"order\":\"n3,n1\",\"target\":\"trixie\"}"},
        {"upgrade start --target trixie --order n3,n1 --approve-each",
         "upgrade.plan {\"order\":\"n3,n1\",\"target\":\"trixie\"}"},
        {"upgrade status", "upgrade.status {}"},
        {"upgrade pause", "upgrade.pause {}"},
        {"upgrade resume", "upgrade.resume {}"},
        {"upgrade retry", "upgrade.retry {}"},
        {"upgrade start --target trixie --max-unavailable 2 --yes",
         "upgrade.start {\"accept_warnings\":true,\"max_unavailable\":2,\"target\":\"trixie\"}"},
        {"upgrade report", "upgrade.report {}"},
        {"upgrade report 7", "upgrade.report {\"run\":\"7\"}"},
        {"upgrade rollback --yes", "upgrade.rollback {}"},
        {"upgrade approve", "upgrade.approve {}"},
        {"upgrade approve n2", "upgrade.approve {\"node\":\"n2\"}"},
        {"upgrade abort --yes", "upgrade.abort {}"},
        {"job list", "job.list {}"},
        {"job show 1", "job.show {\"id\":\"1\"}"},
        {"job cancel 1", "job.cancel {\"id\":\"1\"}"},
        {"status --output openmetrics", "status {\"all_vms\":true}"},
        {"events", "events {}"},
        {"events --since 7", "events {\"since\":7}"},
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_request(good[i].line, good[i].request);
}

/* 64, the reason, and not a single request. */
static void assert_refused(const char *line, const char *why)
{
    AUTO(world_done) struct world w = {.confirm = ERR_USAGE};
    int code = world_run(&w, line);
    if (code != 64)
        fail_msg("%s: exit code %d", line, code);
    assert_contains(WORLD_ERR(&w), why);
    assert_contains(WORLD_ERR(&w), "\nremedy: ");
    assert_string_equal(WORLD_OUT(&w), "");
    assert_string_equal(WORLD_REQUESTS(&w), "");
}

static void test_usage(void **state)
{
    (void)state;
    static const struct {
        const char *line, *why;
    } bad[] = {
        {"frob", "there is no frob"},
        {"node", "node needs a verb"},
        {"node frob", "node has no verb frob"},
        {"upgrade frob", "upgrade has no verb frob"},
        {"cluster config", "cluster has no verb config"},
        {"status now", "status takes no more arguments: now"},
        {"node show", "node show needs more: clusterctl node show NODE"},
        {"node show ''", "the argument of node show is empty"},
        {"node show a b", "node show takes no more arguments: b"},
        {"node list --hard", "node list takes no --hard"},
        {"node list --frob", "unknown option --frob"},
        {"node list -x", "unknown option -x"},
        {"status --output", "--output needs a value"},
        {"status --output xml", "--output is text or json"},
        {"node list --output openmetrics", "node list has no metrics"},
        {"status --output openmetrics --watch", "without --watch"},
        {"events --watch", "events takes no --watch"},
        {"upgrade check --target a --target b", "--target is given twice"},
        {"node drain n1 --wait=soon", "--wait takes seconds"},
        {"node drain n1 --wait=-1", "--wait takes seconds"},
        {"node drain n1 --wait=9999999999999999999", "--wait takes seconds"},
        {"node drain n1 --dry-run", "node drain has no dry run"},
        {"vm stop vm1 --timeout 0", "--timeout takes a number"},
        {"vm stop vm1 --timeout 1s", "--timeout takes a number"},
        {"vm set vm1", "vm set needs --priority, --policy, --home, --preferred, --group or --postcopy"},
        {"vm set vm1 --priority high", "--priority takes a number"},
        {"vm add", "vm add needs --xml FILE"},
        {"cluster config apply", "cluster config apply needs --file FILE"},
        {"node join", "node join needs --token-file"},
        {"cluster init --yes", "cluster init needs --name"},
        {"cluster join-token n2", "the token is a secret"},
        {"events --since -1", "--since takes a number"},
        {"upgrade check", "upgrade check needs --target CODENAME"},
        {"upgrade start --yes", "upgrade start needs --target CODENAME"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_refused(bad[i].line, bad[i].why);
}

/* Who asked for JSON gets the refusal in JSON as well, wherever the option stands. */
static void test_usage_in_json(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {0};
    assert_int_equal(world_run(&w, "node frob --output json"), 64);
    AUTO(json_freep) struct json *answer = world_json(WORLD_OUT(&w));
    assert_int_equal(json_int(json_path(answer, "status.code"), -1), 64);
    assert_string_equal(json_str(json_path(answer, "status.message"), ""), "node has no verb frob");
    assert_contains(WORLD_ERR(&w), "clusterctl: node has no verb frob\n");
}

/* Every destructive verb, and none that is not. */
static void test_destructive_verbs_ask(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "cluster init --name demo", "node evict n1", "vm remove vm1",
        "vm stop vm1 --hard",       "level raise",   "upgrade abort",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        assert_refused(lines[i], "asks before it acts, and there is no terminal to ask on\nremedy: say --yes");

        AUTO(world_done) struct world no = {.confirm = 0};
        assert_int_equal(world_run(&no, lines[i]), 1);
        assert_string_equal(WORLD_REQUESTS(&no), "");
        assert_int_not_equal(no.question[0], '\0');

        AUTO(world_done) struct world yes = {.confirm = 1};
        world_answer(&yes, (struct world_answer){.code = ERR_AGAIN});
        assert_int_equal(world_run(&yes, lines[i]), 75);
        assert_int_not_equal(WORLD_REQUESTS(&yes)[0], '\0');
    }
}

static void test_help(void **state)
{
    (void)state;
    AUTO(world_done) struct world w = {0};
    assert_int_equal(world_run(&w, "--help"), 0);
    assert_contains(WORLD_OUT(&w), "cluster join-token NODE");
    assert_contains(WORLD_OUT(&w), "124 timed out");

    AUTO(world_done) struct world noun = {0};
    assert_int_equal(world_run(&noun, "upgrade --help"), 0);
    assert_contains(WORLD_OUT(&noun), "upgrade check --target");
    assert_lacks(WORLD_OUT(&noun), "node drain");

    AUTO(world_done) struct world verb = {0};
    assert_int_equal(world_run(&verb, "node evict --help"), 0);
    assert_contains(WORLD_OUT(&verb), "usage: clusterctl node evict NODE [--keep-slot] [--force] [OPTION...]\n");

    AUTO(world_done) struct world none = {0};
    assert_int_equal(world_run(&none, ""), 64);
    assert_contains(WORLD_ERR(&none), "usage: clusterctl NOUN VERB");

    AUTO(world_done) struct world version = {0};
    assert_int_equal(world_run(&version, "--version"), 0);
    assert_contains(WORLD_OUT(&version), "ringmaster ");
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

struct folder {
    char path[64];
};

static struct folder folder_new(void)
{
    struct folder f = {.path = "/tmp/rm-test-cli-XXXXXX"};
    assert_non_null(mkdtemp(f.path));
    return f;
}

static void put_file(const char *path, const char *text, mode_t mode)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, mode), 0);
}

static void assert_file(const char *path, const char *text)
{
    char found[256] = "";
    struct stat st;
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_int_equal(fstat(fileno(f), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    found[fread(found, 1, sizeof(found) - 1, f)] = '\0';
    fclose(f);
    assert_string_equal(found, text);
}

static void folder_done(struct folder *f)
{
    char path[96];
    snprintf(path, sizeof(path), "%s/t", f->path);
    unlink(path);
    assert_int_equal(rmdir(f->path), 0); /* nothing temporary stays */
}

#define TOKEN_DATA "{\"node\":\"n2\",\"expires\":\"2026-11-22T13:00:00.000Z\",\"token\":\"s3cret\"}"

static int run_token(struct world *w, const struct folder *f, const char *options)
{
    char line[256];
    world_data(w, "cluster.join-token", TOKEN_DATA);
    snprintf(line, sizeof(line), "cluster join-token n2 --token-file %s/t %s", f->path, options);
    return world_run(w, line);
}

static void test_token_is_written_and_not_shown(void **state)
{
    (void)state;
    AUTO(folder_done) struct folder f = folder_new();
    char path[96];
    snprintf(path, sizeof(path), "%s/t", f.path);
    mode_t before = umask(0);
    AUTO(world_done) struct world w = {0};
    assert_int_equal(run_token(&w, &f, "--address 10.0.0.2 --valid 600"), 0);
    umask(before);
    assert_string_equal(WORLD_REQUESTS(&w),
                        "cluster.join-token {\"node\":\"n2\",\"address\":\"10.0.0.2\",\"valid_seconds\":600}\n");
    assert_file(path, "s3cret");
    assert_contains(WORLD_OUT(&w), path);
    assert_lacks(WORLD_OUT(&w), "s3cret");
    assert_lacks(WORLD_ERR(&w), "s3cret");
    unlink(path);

    AUTO(world_done) struct world json = {0};
    assert_int_equal(run_token(&json, &f, "--output json"), 0);
    assert_file(path, "s3cret");
    assert_lacks(WORLD_OUT(&json), "s3cret");
    AUTO(json_freep) struct json *answer = world_json(WORLD_OUT(&json));
    assert_string_equal(json_str(json_path(answer, "data.token_file"), ""), path);
    assert_string_equal(json_str(json_path(answer, "data.node"), ""), "n2");
}

/* A file that exists is neither overwritten nor followed, and no token is made for it. */
static void test_token_file_that_exists(void **state)
{
    (void)state;
    AUTO(folder_done) struct folder f = folder_new();
    char path[96];
    snprintf(path, sizeof(path), "%s/t", f.path);
    put_file(path, "mine", 0644);
    AUTO(world_done) struct world w = {0};
    assert_int_equal(run_token(&w, &f, ""), 64);
    assert_string_equal(WORLD_REQUESTS(&w), "");
    assert_contains(WORLD_ERR(&w), "exists\nremedy: name another file, or replace this one with --force\n");

    AUTO(world_done) struct world forced = {0};
    assert_int_equal(run_token(&forced, &f, "--force"), 0);
    assert_file(path, "s3cret");

    unlink(path);
    assert_int_equal(symlink("/nowhere", path), 0);
    AUTO(world_done) struct world linked = {0};
    assert_int_equal(run_token(&linked, &f, ""), 64);
}

static void test_token_refused_by_the_agent(void **state)
{
    (void)state;
    AUTO(folder_done) struct folder f = folder_new();
    char line[256];
    AUTO(world_done) struct world w = {0};
    world_answer(&w, (struct world_answer){.code = ERR_NO_QUORUM, .text = "no quorum"});
    snprintf(line, sizeof(line), "cluster join-token n2 --token-file %s/t", f.path);
    assert_int_equal(world_run(&w, line), 106); /* and folder_done finds no file */
    snprintf(line, sizeof(line), "%s/t", f.path);
    assert_int_equal(access(line, F_OK), -1);
}

static void test_join_refuses_wide_modes(void **state)
{
    (void)state;
    static const struct {
        mode_t mode;
        int code;
    } modes[] = {{0600, 75}, {0400, 75}, {0640, 64}, {0604, 64}, {0620, 64}, {0601, 64}};
    AUTO(folder_done) struct folder f = folder_new();
    char path[96], line[256];
    snprintf(path, sizeof(path), "%s/t", f.path);
    snprintf(line, sizeof(line), "node join --token-file %s", path);
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        put_file(path, "the token", modes[i].mode);
        AUTO(world_done) struct world w = {0};
        world_answer(&w, (struct world_answer){.code = ERR_AGAIN});
        int code = world_run(&w, line);
        if (code != modes[i].code)
            fail_msg("mode %o: exit code %d", (unsigned)modes[i].mode, code);
        assert_string_equal(WORLD_REQUESTS(&w), code == 64 ? "" : "node.join {\"token\":\"the token\"}\n");
        assert_lacks(WORLD_ERR(&w), "the token\"");
        unlink(path);
    }
    AUTO(world_done) struct world missing = {0};
    assert_int_equal(world_run(&missing, line), 64);
    assert_contains(WORLD_ERR(&missing), "No such file");
}

static void test_vm_add_reads_the_file(void **state)
{
    (void)state;
    AUTO(folder_done) struct folder f = folder_new();
    char path[96], line[256];
    snprintf(path, sizeof(path), "%s/t", f.path);
    snprintf(line, sizeof(line), "vm add --xml %s --node n2", path);
    put_file(path, "<domain/>", 0644);
    assert_request(line, "vm.add {\"xml\":\"<domain/>\",\"node\":\"n2\"}");
    put_file(path, "", 0644);
    AUTO(world_done) struct world w = {0};
    assert_int_equal(world_run(&w, line), 64);
    assert_contains(WORLD_ERR(&w), "is empty");
}

static void test_settings_of_a_file(void **state)
{
    (void)state;
    AUTO(folder_done) struct folder f = folder_new();
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"a = 1\nb\n", "line 2: it must be NAME = VALUE, not \"b\""},
        {"= 1\n", "line 1: it must be NAME = VALUE"},
        {"a = 1\n\n a=2", "line 3: setting a stands there twice"},
    };
    char path[96], line[256];
    snprintf(path, sizeof(path), "%s/t", f.path);
    snprintf(line, sizeof(line), "cluster config apply --file %s", path);
    put_file(path, "# what we want\r\n\n  a = x = 1 \r\nb=\nc =2", 0644);
    assert_request(line, "cluster.config.apply {\"settings\":{\"a\":\"x = 1\",\"b\":\"\",\"c\":\"2\"}}");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        put_file(path, bad[i].text, 0644);
        assert_refused(line, bad[i].why);
    }
}

int main(void)
{
    setenv("TZ", "UTC", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_verb),
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_usage_in_json),
        cmocka_unit_test(test_destructive_verbs_ask),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_token_is_written_and_not_shown),
        cmocka_unit_test(test_token_file_that_exists),
        cmocka_unit_test(test_token_refused_by_the_agent),
        cmocka_unit_test(test_join_refuses_wide_modes),
        cmocka_unit_test(test_vm_add_reads_the_file),
        cmocka_unit_test(test_settings_of_a_file),
    };
    return cmocka_run_group_tests_name("cli_request", tests, NULL, NULL);
}
