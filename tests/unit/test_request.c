/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every verb of agent/request.h on one core: who may, wrong arguments, missing objects, the shape of good answers, and
 * that each request is answered exactly once, whatever happens meanwhile. */
#include "agent/db/internal.h"
#include "tests/unit/one_core.h"

#include "agent/cluster-internal.h"
#include "agent/request.h"
#include "backup/job-entry.h"
#include "upgrade/run-entry.h"

/* ---- access, state, arguments: by table ---- */

/* a good-looking call; access that it needs; whether an agent outside of a cluster answers it */
static const struct row {
    const char *verb, *args;
    enum core_access access;
    bool anywhere;
} rows[] = {
    {"status", "{}", ACCESS_READ, true},
    {"cluster.init", "{'name': 'ring'}", ACCESS_ADMIN, true},
    {"cluster.join-token", "{'node': 'n2'}", ACCESS_ADMIN, false},
    {"cluster.config.show", "{}", ACCESS_READ, false},
    {"cluster.config.set", "{'name': 'upgrade.executor', 'value': '/x'}", ACCESS_ADMIN, false},
    {"cluster.config.apply", "{'settings': {'upgrade.executor': '/x'}}", ACCESS_ADMIN, false},
    {"node.list", "{}", ACCESS_READ, false},
    {"node.show", "{'name': 'n1'}", ACCESS_READ, false},
    {"node.drain", "{'name': 'n1'}", ACCESS_ADMIN, false},
    {"node.resume", "{'name': 'n1'}", ACCESS_ADMIN, false},
    {"node.evict", "{'name': 'n1'}", ACCESS_ADMIN, false},
    {"node.set", "{'name': 'n1', 'site': 'a'}", ACCESS_ADMIN, false},
    {"node.join", "{'token': 'x'}", ACCESS_ADMIN, true},
    {"vm.list", "{}", ACCESS_READ, false},
    {"vm.show", "{'name': 'a'}", ACCESS_READ, false},
    {"vm.add", "{'xml': '<domain/>'}", ACCESS_ADMIN, false},
    {"vm.remove", "{'name': 'a'}", ACCESS_ADMIN, false},
    {"vm.start", "{'name': 'a'}", ACCESS_ADMIN, false},
    {"vm.stop", "{'name': 'a'}", ACCESS_ADMIN, false},
    {"vm.migrate", "{'name': 'a'}", ACCESS_ADMIN, false},
    {"vm.set", "{'name': 'a'}", ACCESS_ADMIN, false},
    {"vm.upgrade-version", "{'name': 'a'}", ACCESS_ADMIN, false},
    {"vm.rollback-version", "{'name': 'a'}", ACCESS_ADMIN, false},
    {"task.list", "{}", ACCESS_READ, false},
    {"task.show", "{'name': 'a'}", ACCESS_READ, false},
    {"task.add", "{'name': 'a', 'command': '/x'}", ACCESS_ADMIN, false},
    {"task.run", "{'name': 'a'}", ACCESS_ADMIN, false},
    {"task.remove", "{'name': 'a'}", ACCESS_ADMIN, false},
    {"repository.list", "{}", ACCESS_READ, false},
    {"repository.add", "{'name': 'main', 'path': '/srv/backup'}", ACCESS_ADMIN, false},
    {"repository.remove", "{'name': 'main'}", ACCESS_ADMIN, false},
    {"backup.list", "{}", ACCESS_READ, false},
    {"backup.start", "{'name': 'a'}", ACCESS_ADMIN, false},
    {"backup.restore", "{'name': 'a', 'folder': '/new'}", ACCESS_ADMIN, false},
    {"backup.verify", "{'name': 'a'}", ACCESS_ADMIN, false},
    {"backup.cancel", "{'name': 'a'}", ACCESS_ADMIN, false},
    {"backup.schedule.list", "{}", ACCESS_READ, false},
    {"backup.schedule.add", "{'name': 'a', 'calendar': 'hourly'}", ACCESS_ADMIN, false},
    {"backup.schedule.remove", "{'name': 'a'}", ACCESS_ADMIN, false},
    {"reference.list", "{}", ACCESS_READ, false},
    {"reference.show", "{'name': 'a', 'point': '03010000-0000-0000-0000-000000000001'}", ACCESS_READ, false},
    {"reference.delete", "{'name': 'a', 'point': '03010000-0000-0000-0000-000000000001'}", ACCESS_ADMIN, false},
    {"quorum.show", "{}", ACCESS_READ, false},
    {"witness.show", "{}", ACCESS_READ, false},
    {"witness.set", "{'kind': 'file', 'path': '/srv/witness'}", ACCESS_ADMIN, false},
    {"witness.test", "{}", ACCESS_READ, false},
    {"witness.remove", "{}", ACCESS_ADMIN, false},
    {"quorum.force", "{}", ACCESS_ADMIN, false},
    {"quorum.prevent", "{}", ACCESS_ADMIN, false},
    {"level.show", "{}", ACCESS_READ, false},
    {"level.raise", "{}", ACCESS_ADMIN, false},
    {"upgrade.check", "{'target': 'trixie'}", ACCESS_READ, false},
    {"upgrade.plan", "{'target': 'trixie'}", ACCESS_READ, false},
    {"upgrade.start", "{'target': 'trixie'}", ACCESS_ADMIN, false},
    {"upgrade.status", "{}", ACCESS_READ, false},
    {"upgrade.pause", "{}", ACCESS_ADMIN, false},
    {"upgrade.resume", "{}", ACCESS_ADMIN, false},
    {"upgrade.retry", "{}", ACCESS_ADMIN, false},
    {"upgrade.approve", "{}", ACCESS_ADMIN, false},
    {"upgrade.rollback", "{}", ACCESS_ADMIN, false},
    {"upgrade.report", "{}", ACCESS_READ, false},
    {"upgrade.abort", "{}", ACCESS_ADMIN, false},
    {"job.list", "{}", ACCESS_READ, false},
    {"job.show", "{'id': '03010000-0000-0000-0000-000000000001'}", ACCESS_READ, false},
    {"job.cancel", "{'id': '03010000-0000-0000-0000-000000000001'}", ACCESS_ADMIN, false},
    {"events", "{}", ACCESS_READ, false},
};
enum { N_ROWS = sizeof rows / sizeof rows[0] };

static int setup_unconfigured(void **state)
{
    struct one *o = one_new();
    one_start(o, NULL, NULL);
    *state = o;
    return 0;
}

static int64_t code_as(struct one *o, enum core_access access, const char *verb, const char *args)
{
    struct uuid id = one_uuid(5000 + o->ids++);
    uint64_t client = one_send_as(o, access, verb, &id, args);
    assert_int_equal(one_answers(o, client), 1); /* at once */
    int64_t code = one_code(o, client);
    one_forget(o);
    return code;
}

static void test_access(void **state)
{
    struct one *o = *state;
    uint64_t before = db_last_index(core_db(o->core));
    for (size_t i = 0; i < N_ROWS; i++) {
        assert_int_equal(code_as(o, ACCESS_NONE, rows[i].verb, rows[i].args), 77);
        if (rows[i].access == ACCESS_ADMIN)
            assert_int_equal(code_as(o, ACCESS_READ, rows[i].verb, rows[i].args), 77);
        else
            assert_int_not_equal(code_as(o, ACCESS_READ, rows[i].verb, rows[i].args), 77);
    }
    assert_int_equal(code_as(o, ACCESS_NONE, "no.such.verb", "{}"), 77); /* nothing is told to who may nothing */
    assert_int_equal(code_as(o, ACCESS_READ, "no.such.verb", "{}"), 64);
    assert_int_equal(db_last_index(core_db(o->core)), before);
}

static void test_unconfigured(void **state)
{
    struct one *o = *state;
    for (size_t i = 0; i < N_ROWS; i++)
        if (!rows[i].anywhere)
            assert_int_equal(code_as(o, ACCESS_ADMIN, rows[i].verb, rows[i].args), 113);
    const struct json *data = one_ask(o, 0, "status", "{}");
    assert_string_equal(json_str(json_path(data, "self.phase"), ""), "unconfigured");
    assert_false(json_is_object(json_get(data, "cluster")));
}

static void test_malformed(void **state)
{
    struct one *o = *state;
    const char *const texts[] = {
        "{}", "{\"api_version\": \"1\"}", "{\"api_version\": \"2\", \"request\": {}}", "[]", "null",
        "{\"api_version\": \"1\", \"request\": {\"verb\": \"status\", \"id\": \"x\", \"args\": {}}}",
        "{\"api_version\": \"1\", \"request\": {\"verb\": 5, \"args\": []}}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        AUTO(json_freep) struct json *request = one_args(texts[i]);
        uint64_t client = ++o->client;
        one_step(o, (struct core_event){.type = EV_REQUEST, .client = client, .request = request,
                                        .access = ACCESS_ADMIN});
        assert_int_equal(one_code(o, client), 64);
    }
}

static void test_wrong_arguments(void **state)
{
    struct one *o = *state;
    static const struct {
        const char *verb, *args;
    } wrong[] = {
        {"cluster.join-token", "{}"},
        {"cluster.join-token", "{'node': 5}"},
        {"cluster.join-token", "{'node': ''}"},
        {"cluster.join-token", "{'node': 'n2', 'address': 5}"},
        {"cluster.join-token", "{'node': 'n2', 'valid_seconds': 59}"},
        {"cluster.join-token", "{'node': 'n2', 'valid_seconds': 604801}"},
        {"cluster.join-token", "{'node': 'n2', 'valid_seconds': '1h'}"},
        {"cluster.config.set", "{}"},
        {"cluster.config.set", "{'name': 'upgrade.executor'}"},
        {"cluster.config.set", "{'name': 'upgrade.executor', 'value': 5}"},
        {"node.show", "{}"},
        {"node.drain", "{}"},
        {"node.resume", "{'failback': true}"},
        {"node.resume", "{'name': 'n1', 'failback': 'yes'}"},
        {"node.evict", "{'name': ['n1']}"},
        {"node.evict", "{'name': 'n1', 'force': 1}"},
        {"vm.show", "{}"},
        {"vm.add", "{}"},
        {"vm.add", "{'xml': '<domain/>', 'node': 1}"},
        {"vm.remove", "{}"},
        {"task.show", "{}"},
        {"repository.add", "{'name': 'main'}"},
        {"repository.add", "{'name': 'main', 'path': 'srv'}"},
        {"repository.add", "{'name': 'main', 'path': '/srv/../etc'}"},
        {"repository.add", "{'name': 'main', 'path': '/srv/..'}"},
        {"repository.add", "{'name': '-main', 'path': '/srv'}"},
        {"backup.start", "{'name': 'a', 'engine': 'best'}"},
        {"backup.start", "{'name': 'a', 'keep': 'all'}"},
        {"backup.start", "{'name': 'a', 'consistency': 'none'}"},
        {"backup.start", "{'name': 'a', 'limit_bytes': 12}"},
        {"backup.start", "{}"},
        {"backup.restore", "{'name': 'a'}"},
        {"backup.restore", "{'name': 'a', 'folder': 'new'}"},
        {"backup.restore", "{'name': 'a', 'folder': '/'}"},
        {"backup.restore", "{'name': 'a', 'folder': '/new', 'as': 'a+b'}"},
        {"backup.restore", "{'name': 'a', 'folder': '/new', 'as': '../b'}"},
        {"backup.restore", "{'folder': '/new'}"},
        {"backup.verify", "{}"},
        {"backup.schedule.add", "{'name': 'a'}"},
        {"backup.list", "{'name': 5}"},
        {"reference.show", "{'name': 'a'}"},
        {"task.add", "{'name': 'a'}"},
        {"task.add", "{'name': 'a', 'command': 'x'}"},
        {"task.add", "{'name': '.a', 'command': '/x'}"},
        {"task.add", "{'name': 'a', 'command': '/x', 'calendar': 'often'}"},
        {"task.add", "{'name': 'a', 'command': '/x', 'affinity': 'all'}"},
        {"task.add", "{'name': 'a', 'command': '/x', 'arguments': 'b'}"},
        {"task.add", "{'name': 'a', 'command': '/x', 'arguments': ['b', 1]}"},
        {"task.add", "{'name': 'a', 'command': '/x', 'timeout_seconds': 604801}"},
        {"vm.start", "{}"},
        {"vm.start", "{'name': 'a', 'node': true}"},
        {"vm.stop", "{'name': 'a', 'hard': 'very'}"},
        {"vm.stop", "{'name': 'a', 'timeout_ms': -1}"},
        {"vm.migrate", "{'name': 'a', 'target': ''}"},
        {"vm.set", "{'name': 'a', 'priority': 'high'}"},
        {"vm.set", "{'name': 'a', 'priority': 1001}"},
        {"vm.set", "{'name': 'a', 'policy': 'hope'}"},
        {"vm.list", "{'outdated': 'yes'}"},
        {"vm.upgrade-version", "{'name': 'a', 'machine': ''}"},
        {"level.raise", "{'dry_run': 'no'}"},
        {"upgrade.check", "{}"},
        {"upgrade.plan", "{'target': null}"},
        {"upgrade.start", "{}"},
        {"upgrade.start", "{'target': 'trixie', 'accept_warnings': 1}"},
        {"job.show", "{}"},
        {"job.show", "{'id': '03010000-0000-0000-0000-0000000000011'}"},
        {"job.cancel", "{}"},
        {"events", "{'since': '1'}"},
        {"events", "{'limit': 0}"},
    };
    one_add_vm(o, "a");
    one_forget(o);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        if (code_as(o, ACCESS_ADMIN, wrong[i].verb, wrong[i].args) != 64)
            fail_msg("%s %s was not refused", wrong[i].verb, wrong[i].args);
    char name[80];
    snprintf(name, sizeof name, "{'name': '%064d'}", 0);
    assert_int_equal(code_as(o, ACCESS_ADMIN, "node.drain", name), 64);
}

static void test_missing_objects(void **state)
{
    struct one *o = *state;
    static const struct {
        const char *verb, *args;
    } missing[] = {
        {"node.show", "{'name': 'n9'}"},
        {"node.drain", "{'name': 'n9'}"},
        {"node.resume", "{'name': 'n9'}"},
        {"node.evict", "{'name': 'n9', 'force': true}"},
        {"vm.show", "{'name': 'b'}"},
        {"vm.remove", "{'name': 'b'}"},
        {"task.show", "{'name': 'b'}"},
        {"task.run", "{'name': 'b'}"},
        {"task.remove", "{'name': 'b'}"},
        {"repository.remove", "{'name': 'b'}"},
        {"backup.start", "{'name': 'b'}"},
        {"backup.start", "{'name': 'a', 'repository': 'b'}"},
        {"backup.restore", "{'name': 'b', 'folder': '/new'}"},
        {"backup.restore", "{'name': 'a', 'folder': '/new', 'point': '99990000-0000-0000-0000-000000000001'}"},
        {"backup.verify", "{'name': 'b'}"},
        {"backup.verify", "{'name': 'a', 'repository': 'b'}"},
        {"backup.cancel", "{'name': 'b'}"},
        {"backup.cancel", "{'name': 'a'}"},
        {"backup.schedule.add", "{'name': 'b', 'calendar': 'hourly'}"},
        {"backup.schedule.remove", "{'name': 'b'}"},
        {"backup.schedule.remove", "{'name': '../b'}"},
        {"reference.show", "{'name': 'a', 'point': 'x'}"},
        {"reference.delete", "{'name': 'a', 'point': '03010000-0000-0000-0000-000000000009'}"},
        {"vm.start", "{'name': 'b'}"},
        {"vm.start", "{'name': 'a', 'node': 'n9'}"},
        {"vm.stop", "{'name': 'b'}"},
        {"vm.migrate", "{'name': 'b'}"},
        {"vm.set", "{'name': 'b', 'priority': 1}"},
        {"vm.set", "{'name': 'a', 'home': 'n9'}"},
        {"vm.upgrade-version", "{'name': 'b'}"},
        {"vm.rollback-version", "{'name': 'b'}"},
        {"upgrade.pause", "{}"},
        {"upgrade.resume", "{}"},
        {"upgrade.retry", "{}"},
        {"upgrade.approve", "{}"},
        {"upgrade.rollback", "{}"},
        {"upgrade.abort", "{}"},
        {"job.show", "{'id': '03010000-0000-0000-0000-000000000009'}"},
        {"job.show", "{'id': 'x'}"},
        {"job.cancel", "{'id': '03010000-0000-0000-0000-000000000009'}"},
    };
    one_add_vm(o, "a");
    for (size_t i = 0; i < sizeof missing / sizeof missing[0]; i++)
        one_ask(o, 105, missing[i].verb, missing[i].args);
    uint64_t client = one_send(o, "vm.add", "{'xml': '<domain/>', 'node': 'n9'}");
    one_parsed(o, "c");
    one_run(o, 200);
    assert_int_equal(one_code(o, client), 105);
}

/* ---- forming and joining ---- */

static void test_init(void **state)
{
    struct one *o = *state;
    struct core_action a;
    uint64_t client = one_send(o, "cluster.init", "{'name': 'ring'}");
    uint64_t second = one_send(o, "cluster.init", "{'name': 'other'}");
    assert_int_equal(one_code(o, second), 75);
    assert_int_equal(o->n_kept, 1);
    assert_string_equal(o->kept[0].text, "ring");
    assert_non_null(strstr(o->kept[0].text2, "ring0_addr: 10.0.0.1"));
    const struct json *data = one_ask(o, 0, "status", "{}");
    assert_string_equal(json_str(json_path(data, "self.phase"), ""), "joining");
    one_founded(o);
    assert_int_equal(one_answers(o, client), 0); /* not before it is on disk */
    one_run(o, 500);
    assert_int_equal(one_code(o, client), 0);
    assert_string_equal(json_str(json_path(one_answer(o, client), "data.cluster"), ""), "ring");
    assert_string_equal(json_str(json_path(one_answer(o, client), "data.node"), ""), "n1");
    one_ask(o, 113, "cluster.init", "{'name': 'ring'}");
    one_ask(o, 113, "node.join", "{'token': 'x'}");
    assert_false(one_take(o, ACT_FOUND, &a));
    assert_false(one_take(o, ACT_JOIN, &a));
}

static void test_init_fails(void **state)
{
    struct one *o = *state;
    struct core_action a;
    struct membership_outcome m = {.error = {.code = ERR_IO, .text = "disk full"}};
    assert_int_equal(code_as(o, ACCESS_ADMIN, "cluster.init", "{}"), 64);
    assert_int_equal(code_as(o, ACCESS_ADMIN, "cluster.init", "{'name': 'my ring'}"), 64);
    uint64_t client = one_send(o, "cluster.init", "{'name': 'ring'}");
    one_must_take(o, ACT_FOUND, &a);
    one_step(o, (struct core_event){.type = EV_MEMBERSHIP, .id = a.id, .membership = &m});
    assert_int_equal(one_code(o, client), 1);
    one_step(o, (struct core_event){.type = EV_MEMBERSHIP, .id = a.id, .membership = &m}); /* twice: dropped */
    assert_int_equal(one_answers(o, client), 1);
    core_action_done(&a);
    (void)one_send(o, "cluster.init", "{'name': 'ring'}"); /* and again */
    one_must_take(o, ACT_FOUND, &a);
    core_action_done(&a);
}

static void test_init_without_facts(void **state)
{
    (void)state;
    struct one *o = one_new();
    struct core_action a, facts;
    o->no_facts = true;
    one_start(o, NULL, NULL);
    one_must_take(o, ACT_FACTS, &facts);
    uint64_t client = one_send(o, "cluster.init", "{'name': 'ring'}");
    one_run(o, CORE_FACTS_WAIT_MS - 1000);
    assert_int_equal(one_answers(o, client), 0);
    one_run(o, 2000);
    assert_int_equal(one_code(o, client), 75);
    assert_false(one_take(o, ACT_FOUND, &a));

    client = one_send(o, "cluster.init", "{'name': 'ring'}");
    one_step(o, (struct core_event){.type = EV_CLIENT_GONE, .client = client});
    one_facts_come(o, facts.id); /* it goes on, and nobody is told */
    one_founded(o);
    one_run(o, 1000);
    assert_int_equal(one_answers(o, client), 0);
    assert_true(core_is_quorate(o->core));
    core_action_done(&facts);
    one_free(o);
}

static void test_init_on_an_old_host(void **state)
{
    (void)state;
    struct one *o = one_new();
    struct core_action facts;
    struct host_facts f = one_facts();
    o->no_facts = true;
    f.qemu_version = 5002000;
    one_start(o, NULL, NULL);
    one_must_take(o, ACT_FACTS, &facts);
    one_step(o, (struct core_event){.type = EV_FACTS, .id = facts.id, .facts = &f});
    uint64_t client = one_send(o, "cluster.init", "{'name': 'ring'}");
    assert_int_equal(one_code(o, client), 113);
    core_action_done(&facts);
    one_free(o);
}

static void test_join(void **state)
{
    struct one *o = *state;
    struct core_action a;
    uint64_t client = one_send(o, "node.join", "{'token': 'text of the token file'}");
    one_must_take(o, ACT_JOIN, &a);
    assert_string_equal(a.text, "text of the token file");
    struct membership_outcome m = {.identity = one_identity(), .corosync_conf = (char *)"totem {\n}\n"};
    one_step(o, (struct core_event){.type = EV_MEMBERSHIP, .id = a.id, .membership = &m});
    assert_int_equal(one_code(o, client), 0);
    assert_string_equal(json_str(json_path(one_answer(o, client), "data.node"), ""), "n1");
    core_action_done(&a);
    one_run(o, 1000);
    one_ask(o, 106, "status", "{}"); /* has not heard of anybody yet */
    one_ask(o, 106, "cluster.join-token", "{'node': 'n2'}");
    one_ask(o, 75, "level.show", "{}");
    one_ask(o, 75, "level.raise", "{}");
    assert_int_equal(json_count(json_get(one_ask(o, 0, "node.list", "{}"), "nodes")), 0);
}

#define ZEROES "0000000000000000000000000000000000000000000000000000000000000000"

static void join_with(struct one *o, const char *ca, const char *node, int64_t code)
{
    char args[512];
    snprintf(args, sizeof args,
             "{'token': '{\\\"format\\\": 1, \\\"ca_sha256\\\": \\\"%s\\\", \\\"node\\\": \\\"%s\\\"}'}", ca, node);
    one_ask(o, code, "node.join", args);
}

/* A first boot that says it again has what it wants; another cluster's token, or another node's, is no such thing. */
static void test_join_again(void **state)
{
    struct one *o = *state;
    struct core_action a;
    join_with(o, ZEROES, "n1", 0);
    join_with(o, ZEROES, "n2", 113);
    join_with(o, "11" ZEROES, "n1", 113);
    assert_false(one_take(o, ACT_JOIN, &a));
}

static void test_join_again_too_early(void **state)
{
    (void)state;
    struct one *o = one_without_quorum();
    join_with(o, ZEROES, "n1", 75); /* which cluster this is, its database does not say yet */
    one_free(o);
}

/* ---- good answers ---- */

static bool has_text(const struct json *j, const char *text)
{
    AUTO(freep) char *dump = json_dump(j);
    return strstr(dump, text) != NULL;
}

static void test_join_token(void **state)
{
    struct one *o = *state;
    uint64_t client = one_send(o, "cluster.join-token", "{'node': 'n2', 'address': '10.0.0.2', 'valid_seconds': 60}");
    assert_int_equal(o->n_kept, 1);
    assert_string_equal(o->kept[0].node, "n2");
    assert_string_equal(o->kept[0].address, "10.0.0.2");
    assert_string_equal(o->kept[0].peers, "10.0.0.1:7411");
    assert_int_equal(o->kept[0].valid_ms, 60000);
    one_token_made(o, "very secret text", 1);
    assert_int_equal(one_answers(o, client), 0); /* not before it is recorded */
    one_run(o, 200);
    const struct json *data = json_get(one_answer(o, client), "data");
    assert_string_equal(json_get_str(data, "token", ""), "very secret text");
    assert_string_equal(json_get_str(data, "node", ""), "n2");
    assert_string_equal(json_get_str(data, "expires", ""), "2023-11-14T22:14:21.000Z");
    for (size_t i = 0; i < N_ROWS; i++)
        if (rows[i].access == ACCESS_READ) {
            client = one_send(o, rows[i].verb, rows[i].args);
            assert_false(has_text(one_answer(o, client), "very secret"));
        }
}

static void test_join_token_fails(void **state)
{
    struct one *o = *state;
    struct core_action a;
    struct token_outcome k = {.error = {.code = ERR_FAILED, .text = "no CA"}};
    uint64_t client = one_send(o, "cluster.join-token", "{'node': 'n2'}");
    one_must_take(o, ACT_TOKEN, &a);
    one_step(o, (struct core_event){.type = EV_TOKEN, .id = a.id, .token = &k});
    assert_int_equal(one_code(o, client), 1);
    core_action_done(&a);
    client = one_send(o, "cluster.join-token", "{'node': 'n2 }'}");
    one_token_made(o, "text", 1);
    one_run(o, 200);
    assert_int_equal(one_code(o, client), 64);
    assert_false(has_text(one_answer(o, client), "text of"));
}

/* The retry's token was never recorded: it must not be handed out. */
static void test_join_token_retried(void **state)
{
    struct one *o = *state;
    struct uuid id = one_uuid(4000);
    uint64_t first = one_send_as(o, ACCESS_ADMIN, "cluster.join-token", &id, "{'node': 'n2'}");
    one_token_made(o, "first", 1);
    one_run(o, 200);
    assert_int_equal(one_code(o, first), 0);
    uint64_t second = one_send_as(o, ACCESS_ADMIN, "cluster.join-token", &id, "{'node': 'n2'}");
    one_token_made(o, "second", 2);
    one_run(o, 200);
    assert_int_equal(one_code(o, second), 75);
    assert_false(has_text(one_answer(o, second), "second"));
}

static void test_config(void **state)
{
    struct one *o = *state;
    one_ask(o, 0, "cluster.config.set", "{'name': 'upgrade.executor', 'value': '/usr/libexec/hook'}");
    const struct json *data = one_ask(o, 0, "cluster.config.show", "{}");
    assert_string_equal(json_get_str(json_get(data, "settings"), "upgrade.executor", ""), "/usr/libexec/hook");
    one_ask(o, 64, "cluster.config.set", "{'name': 'upgrade.executor', 'value': 'hook'}");
    one_ask(o, 64, "cluster.config.set", "{'name': 'colour', 'value': '/red'}");
    one_ask(o, 0, "cluster.config.set", "{'name': 'upgrade.executor', 'value': ''}");
}

static void test_node_set(void **state)
{
    struct one *o = *state;
    const struct json *data = one_ask(o, 0, "node.set", "{'name': 'n1', 'site': 'a', 'vote': 1, 'priority': -3}");
    assert_string_equal(json_str(json_path(data, "node.site"), ""), "a");
    assert_int_equal(json_int(json_path(data, "node.vote"), -1), 1);
    assert_int_equal(json_int(json_path(data, "node.priority"), 0), -3);
    one_ask(o, 64, "node.set", "{'name': 'n1'}");
    one_ask(o, 64, "node.set", "{'name': 'n1', 'site': 'b', 'vote': 0}"); /* the last voter: nothing of it is done */
    one_ask(o, 64, "node.set", "{'name': 'n1', 'site': true}");
    one_ask(o, 105, "node.set", "{'name': 'n9', 'site': 'b'}");
    data = one_ask(o, 0, "node.set", "{'name': 'n1', 'priority': ''}");
    assert_string_equal(json_str(json_path(data, "node.site"), ""), "a");
    assert_int_equal(json_int(json_path(data, "node.priority"), -1), 0);
    one_ask(o, 64, "cluster.config.set", "{'name': 'quorum.dynamic', 'value': 'maybe'}");
    one_ask(o, 0, "cluster.config.set", "{'name': 'quorum.dynamic', 'value': 'off'}");
    data = one_ask(o, 0, "quorum.show", "{}");
    assert_false(json_bool(json_path(data, "quorum.dynamic"), true));
}

static void test_node_verbs(void **state)
{
    struct one *o = *state;
    const struct json *data = one_ask(o, 0, "node.show", "{'name': 'n1'}");
    assert_string_equal(json_str(json_path(data, "node.name"), ""), "n1");
    data = one_ask(o, 0, "node.drain", "{'name': 'n1'}");
    char args[80];
    snprintf(args, sizeof args, "{'id': '%s'}", json_get_str(data, "job", ""));
    one_run(o, 1000);
    data = one_ask(o, 0, "job.show", args);
    assert_string_equal(json_str(json_path(data, "job.kind"), ""), "node-drain");
    assert_string_equal(json_str(json_path(data, "job.state"), ""), "done");
    data = one_ask(o, 0, "node.drain", "{'name': 'n1'}"); /* was so: there is no job to wait for */
    assert_null(json_get(data, "job"));
    data = one_ask(o, 0, "node.resume", "{'name': 'n1', 'failback': true}");
    assert_true(json_is_str(json_get(data, "job")));
    one_ask(o, 113, "node.evict", "{'name': 'n1', 'keep_slot': true, 'force': true}"); /* the last voter */
    assert_true(json_count(json_get(one_ask(o, 0, "job.list", "{}"), "jobs")) >= 2);
}

static void test_vm_verbs(void **state)
{
    struct one *o = *state;
    struct core_action a;
    one_add_vm(o, "a");
    const struct json *data = one_ask(o, 0, "vm.show", "{'name': 'a'}");
    assert_string_equal(json_get_str(data, "xml", ""), "<domain/>");
    assert_string_equal(json_str(json_path(data, "vm.node"), ""), "n1");
    assert_int_equal(json_count(json_get(one_ask(o, 0, "vm.list", "{}"), "vms")), 1);
    data = one_ask(o, 0, "vm.set", "{'name': 'a', 'priority': 7, 'policy': 'save', 'home': 'n1'}");
    assert_int_equal(json_int(json_path(data, "vm.priority"), 0), 7);
    data = one_ask(o, 0, "vm.set", "{'name': 'a', 'preferred': 'n1', 'group': 'db'}");
    assert_string_equal(json_str(json_path(data, "vm.preferred"), ""), "n1");
    assert_string_equal(json_str(json_path(data, "vm.group"), ""), "db");
    data = one_ask(o, 0, "vm.set", "{'name': 'a', 'preferred': '', 'group': ''}");
    assert_string_equal(json_str(json_path(data, "vm.group"), "none"), "none");
    assert_string_equal(json_str(json_path(data, "vm.preferred"), "none"), "none");
    one_ask(o, 64, "vm.set", "{'name': 'a', 'group': '-x'}");
    one_ask(o, 113, "vm.migrate", "{'name': 'a'}"); /* to nowhere */
    data = one_ask(o, 0, "vm.start", "{'name': 'a'}");
    assert_true(json_is_str(json_get(data, "job")));
    one_must_take(o, ACT_VM, &a);
    assert_int_equal(a.vm.verb, VM_CALL_START);
    core_action_done(&a);
    one_ask(o, 75, "vm.stop", "{'name': 'a', 'hard': true}"); /* is being started */
    one_ask(o, 75, "vm.remove", "{'name': 'a'}");
}

static void test_vm_add_fails(void **state)
{
    struct one *o = *state;
    struct core_action a;
    struct vm_outcome bad = {.error = {.code = ERR_USAGE, .text = "no <domain>"}};
    uint64_t client = one_send(o, "vm.add", "{'xml': '<x/>'}");
    one_must_take(o, ACT_VM, &a);
    one_step(o, (struct core_event){.type = EV_VM, .id = a.id, .vm = &bad});
    assert_int_equal(one_code(o, client), 64);
    core_action_done(&a);
    one_add_vm(o, "a");
    client = one_send(o, "vm.add", "{'xml': '<domain/>'}");
    one_parsed(o, "a");
    one_run(o, 200);
    assert_int_equal(one_code(o, client), 113);
}

static void test_level_and_upgrade(void **state)
{
    struct one *o = *state;
    const struct json *data = one_ask(o, 0, "level.show", "{}");
    assert_int_equal(json_int(json_path(data, "level.committed"), 0), 1);
    data = one_ask(o, 113, "level.raise", "{'dry_run': true}");
    assert_true(json_count(json_get(data, "findings")) > 0);
    one_ask(o, 113, "level.raise", "{}");
    data = one_ask(o, 0, "upgrade.check", "{'target': 'trixie'}");
    assert_int_equal(json_get_int(data, "result", 0), 2);
    assert_true(json_is_array(json_get(data, "findings")));
    data = one_ask(o, 0, "upgrade.plan", "{'target': 'trixie'}");
    assert_string_equal(json_str(json_path(data, "plan.target"), ""), "trixie");
    one_ask(o, 113, "upgrade.start", "{'target': 'trixie', 'accept_warnings': true}");
    data = one_ask(o, 0, "upgrade.status", "{}");
    assert_non_null(json_get(data, "run"));
    assert_false(json_is_object(json_get(data, "run")));
}

static void test_events(void **state)
{
    struct one *o = *state;
    char args[64];
    one_ask(o, 0, "node.drain", "{'name': 'n1'}");
    const struct json *data = one_ask(o, 0, "events", "{}");
    size_t all = json_count(json_get(data, "events"));
    int64_t last = json_get_int(data, "last", 0);
    assert_true(all >= 2);
    snprintf(args, sizeof args, "{'since': %lld}", (long long)last - 1);
    assert_int_equal(json_count(json_get(one_ask(o, 0, "events", args), "events")), 1);
    snprintf(args, sizeof args, "{'since': %lld}", (long long)last);
    data = one_ask(o, 0, "events", args);
    assert_int_equal(json_count(json_get(data, "events")), 0);
    assert_int_equal(json_get_int(data, "last", 0), last);
    data = one_ask(o, 0, "events", "{'limit': 1}"); /* the newest, not the oldest */
    assert_int_equal(json_count(json_get(data, "events")), 1);
    assert_int_equal(json_get_int(json_at(json_get(data, "events"), 0), "seq", 0), last);
    assert_int_equal(json_get_int(data, "last", 0), last);
    data = one_ask(o, 0, "events", "{'limit': 1, 'since': 0}"); /* the first after since */
    assert_int_equal(json_get_int(json_at(json_get(data, "events"), 0), "seq", 0), 1);
    assert_int_equal(json_get_int(data, "last", 0), 1);
}

/* ---- what is away, and what is no longer wanted ---- */

static struct tables *tables_of(struct one *o)
{
    return (struct tables *)core_tables(o->core);
}

static void put_away_node(struct one *o, const char *name)
{
    struct node n = {.nodeid = 9, .state = NODE_ACTIVE, .facts = one_facts(), .replica = one_uuid(900)};
    AUTO(buf_done) struct buf b = {0};
    STR_COPY(n.name, name);
    STR_COPY(n.address, "10.0.0.9");
    node_encode(&n, &b);
    tables_put(tables_of(o), TABLE_NODE, name, buf_slice(&b));
}

static void put_vm(struct one *o, const char *node, enum vm_state state, enum vm_op op)
{
    struct vm v;
    AUTO(buf_done) struct buf b = {0};
    assert_int_equal(vm_get(core_tables(o->core), "a", &v), 0);
    STR_COPY(v.node, node);
    v.state = state;
    v.op = op;
    v.op_id = op == VM_OP_NONE ? (struct uuid){0} : one_uuid(4242);
    v.cancel = v.left = false;
    STR_COPY(v.target, op == VM_OP_MIGRATE ? "n1" : "");
    vm_encode(&v, &b);
    tables_put(tables_of(o), TABLE_VM, "a", buf_slice(&b));
}

static void put_job(struct one *o, enum job_kind kind, const char *object)
{
    struct job j = {.id = one_uuid(4242), .kind = kind, .state = JOB_RUNNING, .started_ms = o->wall};
    STR_COPY(j.object, object);
    tables_del(tables_of(o), TABLE_JOB, uuid_str(&j.id).s);
    journal_job_begin(tables_of(o), &j);
}

/* "running" on a node that lost its power would be a lie. */
static void test_vm_of_a_node_that_is_away(void **state)
{
    struct one *o = *state;
    static const struct {
        const char *node;
        enum vm_state state;
        enum vm_op op;
        const char *shown, *reported;
    } cases[] = {
        {"n9", VM_RUNNING, VM_OP_NONE, "unknown", "running"},
        {"n9", VM_RUNNING, VM_OP_STOP, "unknown", "stopping"},
        {"n9", VM_STOPPED, VM_OP_START, "unknown", "starting"},
        {"n9", VM_RUNNING, VM_OP_MIGRATE, "unknown", "migrating"},
        {"n9", VM_STOPPED, VM_OP_NONE, "stopped", "stopped"},
        {"n1", VM_STOPPED, VM_OP_NONE, "stopped", "stopped"},
        {"n1", VM_STOPPED, VM_OP_START, "starting", "starting"},
        {"gone", VM_RUNNING, VM_OP_NONE, "unknown", "running"},
    };
    one_add_vm(o, "a");
    put_away_node(o, "n9");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put_vm(o, cases[i].node, cases[i].state, cases[i].op);
        const struct json *shown[] = {
            json_get(one_ask(o, 0, "vm.show", "{'name': 'a'}"), "vm"),
            json_at(json_get(one_ask(o, 0, "vm.list", "{}"), "vms"), 0),
            json_at(json_get(one_ask(o, 0, "status", "{}"), "vms"), 0),
        };
        for (size_t k = 0; k < 3; k++) {
            assert_string_equal(json_get_str(shown[k], "state", ""), cases[i].shown);
            assert_string_equal(json_get_str(shown[k], "reported_state", ""), cases[i].reported);
        }
        one_forget(o);
    }
}

#define JOB_ARGS "{'id': '03010000-0000-0000-0000-000000001092'}" /* one_uuid(4242) */

static void test_cancel_move(void **state)
{
    struct one *o = *state;
    one_add_vm(o, "a");
    put_away_node(o, "n9");
    put_vm(o, "n9", VM_RUNNING, VM_OP_MIGRATE);
    put_job(o, JOB_VM_MIGRATE, "a");
    const struct json *data = one_ask(o, 0, "job.cancel", JOB_ARGS);
    assert_string_equal(json_str(json_path(data, "job.state"), ""), "running"); /* the wish alone */
    struct vm v;
    assert_int_equal(vm_get(core_tables(o->core), "a", &v), 0);
    assert_true(v.cancel);
    assert_true(json_bool(json_path(one_ask(o, 0, "vm.show", "{'name': 'a'}"), "vm.cancelling"), false));
    one_ask(o, 0, "job.cancel", JOB_ARGS); /* once more */
    put_vm(o, "n9", VM_RUNNING, VM_OP_NONE); /* another one's row, this job's */
    one_ask(o, 113, "job.cancel", JOB_ARGS);
}

static enum node_state state_of(const struct one *o, const char *node)
{
    struct node n = {0};
    assert_int_equal(node_get(core_tables(o->core), node, &n), 0);
    enum node_state state = n.state;
    node_done(&n);
    return state;
}

static void test_cancel_drain(void **state)
{
    struct one *o = *state;
    char args[80];
    one_add_vm(o, "a");
    put_vm(o, "n1", VM_STOPPED, VM_OP_START); /* keeps the drain from being done */
    const struct json *data = one_ask(o, 0, "node.drain", "{'name': 'n1'}");
    snprintf(args, sizeof args, "{'id': '%s'}", json_get_str(data, "job", ""));
    assert_string_equal(json_str(json_path(one_ask(o, 0, "job.show", args), "job.state"), ""), "running");
    data = one_ask(o, 0, "job.cancel", args);
    assert_string_equal(json_str(json_path(data, "job.state"), ""), "cancelled");
    assert_int_equal(state_of(o, "n1"), NODE_ACTIVE);
    one_ask(o, 113, "job.cancel", args); /* it is over */
}

static void put_lost_vm(struct one *o, const char *node, bool is_wanted)
{
    struct vm v;
    AUTO(buf_done) struct buf b = {0};
    put_vm(o, node, VM_STOPPED, VM_OP_NONE);
    assert_int_equal(vm_get(core_tables(o->core), "a", &v), 0);
    v.wanted = is_wanted;
    v.boot_id[0] = '\0';
    vm_encode(&v, &b);
    tables_put(tables_of(o), TABLE_VM, "a", buf_slice(&b));
}

/* It is to be started again: by its node, or by another one before its node is done. One that nobody wants waits for
 * nobody. */
static void test_drain_waits_for_a_lost_vm(void **state)
{
    struct one *o = *state;
    one_add_vm(o, "a");
    put_away_node(o, "n9");
    put_lost_vm(o, "n9", true);
    one_ask(o, 0, "node.drain", "{'name': 'n9'}");
    assert_int_equal(state_of(o, "n9"), NODE_DRAINING);
    put_lost_vm(o, "n9", false);
    one_run(o, 1000);
    assert_int_equal(state_of(o, "n9"), NODE_PAUSED);
}

static void put_run_on(struct one *o, const char *node)
{
    struct run r = {.id = one_uuid(4242), .state = RUN_RUNNING, .target = "trixie", .n_steps = 1, .max_unavailable = 1,
                    .created_ms = o->wall};
    struct step s = {.run = r.id, .state = STEP_DRAINING};
    STR_COPY(s.node, node);
    run_put(tables_of(o), &r);
    step_put(tables_of(o), &s);
}

static void test_cancel_drain_of_an_upgrade(void **state)
{
    struct one *o = *state;
    put_away_node(o, "n9");
    put_run_on(o, "n9");
    put_job(o, JOB_DRAIN, "n9");
    one_ask(o, 113, "job.cancel", JOB_ARGS);
    put_job(o, JOB_DRAIN, "n1"); /* another node's is not the upgrade's */
    one_ask(o, 0, "job.cancel", JOB_ARGS);
}

static void test_cancel_backup(void **state)
{
    struct one *o = *state;
    struct backup b = {.vm = "a", .state = BACKUP_RUNNING, .node = "n1", .boot_id = "boot-1", .claim = {{1}}};
    put_job(o, JOB_BACKUP, "a");
    one_ask(o, 105, "job.cancel", JOB_ARGS); /* it never was */
    b.run = one_uuid(4243);
    backup_put(tables_of(o), &b);
    one_ask(o, 75, "job.cancel", JOB_ARGS); /* another one */
    b.run = one_uuid(4242);
    backup_put(tables_of(o), &b);
    one_ask(o, 0, "job.cancel", JOB_ARGS);
    assert_int_equal(backup_get(core_tables(o->core), "a", &b), 0);
    assert_true(b.cancel);
}

static void test_cancel_upgrade(void **state)
{
    struct one *o = *state;
    struct run r;
    put_away_node(o, "n9");
    put_run_on(o, "n9");
    put_job(o, JOB_UPGRADE, "trixie");
    one_ask(o, 0, "job.cancel", JOB_ARGS);
    assert_int_equal(run_newest(core_tables(o->core), &r), 0);
    assert_true(r.state == RUN_ABORTING || r.state == RUN_CANCELLED);
}

static void test_cancel_refused(void **state)
{
    struct one *o = *state;
    static const enum job_kind kinds[] = {JOB_VM_START, JOB_VM_STOP, JOB_RESUME, JOB_EVICT, JOB_LEVEL_RAISE};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        put_job(o, kinds[i], "a");
        uint64_t client = one_send(o, "job.cancel", JOB_ARGS);
        assert_int_equal(one_code(o, client), 113);
        const char *why = json_str(json_path(one_answer(o, client), "status.message"), "");
        assert_non_null(strstr(why, "cannot be cancelled: "));
        assert_null(strstr(why, "it cannot be cancelled"));
    }
}

/* ---- once, whatever happens ---- */

static void test_answered_once(void **state)
{
    struct one *o = *state;
    one_add_vm(o, "a");
    for (size_t i = 0; i < N_ROWS; i++) {
        uint64_t client = one_send(o, rows[i].verb, rows[i].args);
        if (str_eq(rows[i].verb, "vm.add"))
            one_parsed(o, "b");
        if (str_eq(rows[i].verb, "cluster.join-token"))
            one_token_made(o, "text", 1);
        if (str_eq(rows[i].verb, "repository.add"))
            one_repository_made(o);
        one_run(o, 1000);
        if (one_answers(o, client) != 1)
            fail_msg("%s: %zu answers", rows[i].verb, one_answers(o, client));
    }
    assert_int_equal(o->core->n_waiters, 0);
}

static void test_same_request_twice_at_once(void **state)
{
    struct one *o = *state;
    struct uuid id = one_uuid(4000);
    uint64_t first = one_send_as(o, ACCESS_ADMIN, "node.drain", &id, "{'name': 'n1'}");
    uint64_t second = one_send_as(o, ACCESS_ADMIN, "node.drain", &id, "{'name': 'n1'}");
    one_run(o, 1000);
    assert_int_equal(one_code(o, first), 0);
    assert_int_equal(one_code(o, second), 0);
    assert_int_equal(o->core->n_waiters, 0);
    uint64_t late = one_send_as(o, ACCESS_ADMIN, "node.drain", &id, "{'name': 'n1'}");
    one_run(o, 200);
    assert_int_equal(one_code(o, late), 0); /* the kept outcome */
}

/* An outcome that a first try had. */
static struct uuid keep_outcome(struct one *o, int code)
{
    struct uuid id = one_uuid(4000 + o->ids++);
    AUTO(buf_done) struct buf b = {0};
    wire_put_u64(&b, 1);
    wire_put_i64(&b, code);
    wire_put_str(&b, code ? "as it was then" : "");
    wire_put_str(&b, "");
    tables_put(tables_of(o), TABLE_REQUEST, uuid_str(&id).s, buf_slice(&b));
    return id;
}

static const struct json *ask_again(struct one *o, const struct row *row, const struct uuid *id)
{
    uint64_t client = one_send_as(o, ACCESS_ADMIN, row->verb, id, row->args);
    if (str_eq(row->verb, "vm.add"))
        one_parsed(o, "b");
    if (str_eq(row->verb, "cluster.join-token"))
        one_token_made(o, "text", 1);
    one_run(o, 200);
    assert_int_equal(one_answers(o, client), 1);
    return json_get(one_answer(o, client), "status");
}

static const struct row *find_row(const char *verb)
{
    for (size_t i = 0; i < N_ROWS; i++)
        if (str_eq(rows[i].verb, verb))
            return &rows[i];
    fail_msg("%s is in no row", verb);
    return NULL;
}

/* None of what these verbs name is here (any more): a new request of nearly all of them is refused. A retry is answered
 * as its first try was, and writes nothing. */
static void test_every_retry_is_answered_alike(void **state)
{
    struct one *o = *state;
    enum core_access access;
    const char *verb;
    for (size_t i = 0; (verb = request_verb(i, &access)) != NULL; i++) {
        if (access != ACCESS_ADMIN || str_eq(verb, "node.join")) /* whose retry is known by its token */
            continue;
        if (str_eq(verb, "quorum.prevent")) /* of this node alone: nothing is kept of it */
            continue;
        uint64_t before = db_last_index(core_db(o->core));
        struct uuid good = keep_outcome(o, 0), bad = keep_outcome(o, ERR_IO);
        int64_t first = str_eq(verb, "cluster.join-token") ? 75 : 0; /* a secret is not kept */
        const struct json *status = ask_again(o, find_row(verb), &good);
        if (json_get_int(status, "code", -1) != first)
            fail_msg("%s again: %s", verb, json_get_str(status, "message", ""));
        status = ask_again(o, find_row(verb), &bad);
        assert_string_equal(json_get_str(status, "message", ""), "as it was then");
        assert_int_equal(db_last_index(core_db(o->core)), before);
        one_forget(o);
    }
}

static const struct json *first_and_again(struct one *o, const char *verb, const char *args,
                                          void (*between)(struct one *o))
{
    struct uuid id = one_uuid(4000 + o->ids++);
    uint64_t first = one_send_as(o, ACCESS_ADMIN, verb, &id, args);
    one_run(o, 200);
    assert_int_equal(one_code(o, first), 0);
    between(o);
    uint64_t again = one_send_as(o, ACCESS_ADMIN, verb, &id, args);
    assert_int_equal(one_code(o, again), 0);
    AUTO(freep) char *a = json_dump(json_get(one_answer(o, first), "data"));
    AUTO(freep) char *b = json_dump(json_get(one_answer(o, again), "data"));
    assert_string_equal(a, b);
    return json_get(one_answer(o, again), "data");
}

static void nothing(struct one *o)
{
    (void)o;
}

static void a_has_moved(struct one *o)
{
    put_vm(o, "n9", VM_RUNNING, VM_OP_NONE);
}

static void a_is_no_more(struct one *o)
{
    tables_del(tables_of(o), TABLE_VM, "a");
}

static void test_retries_are_answered_with_the_same_data(void **state)
{
    struct one *o = *state;
    one_add_vm(o, "a");
    put_away_node(o, "n9");
    put_vm(o, "n1", VM_RUNNING, VM_OP_NONE);
    const struct json *data = first_and_again(o, "vm.migrate", "{'name': 'a', 'target': 'n9'}", a_has_moved);
    assert_string_equal(json_get_str(data, "target", ""), "n9");
    put_vm(o, "n1", VM_STOPPED, VM_OP_NONE);
    first_and_again(o, "vm.start", "{'name': 'a'}", a_is_no_more);
    one_forget(o);
    one_add_vm(o, "b");
    first_and_again(o, "vm.remove", "{'name': 'b'}", nothing);
    put_run_on(o, "n9");
    put_job(o, JOB_UPGRADE, "trixie");
    first_and_again(o, "upgrade.pause", "{}", nothing);
}

static void test_client_gone(void **state)
{
    struct one *o = *state;
    uint64_t add = one_send(o, "vm.add", "{'xml': '<domain/>'}");
    one_step(o, (struct core_event){.type = EV_CLIENT_GONE, .client = add});
    one_parsed(o, "a");
    uint64_t token = one_send(o, "cluster.join-token", "{'node': 'n2'}");
    one_step(o, (struct core_event){.type = EV_CLIENT_GONE, .client = token});
    one_token_made(o, "text", 1);
    uint64_t drain = one_send(o, "node.drain", "{'name': 'n1'}");
    one_step(o, (struct core_event){.type = EV_CLIENT_GONE, .client = drain});
    one_step(o, (struct core_event){.type = EV_CLIENT_GONE, .client = 424242}); /* asked nothing */
    one_run(o, 1000);
    assert_int_equal(one_answers(o, add) + one_answers(o, token) + one_answers(o, drain), 0);
    assert_int_equal(o->core->n_waiters, 0);
    one_ask(o, 0, "vm.show", "{'name': 'a'}"); /* it was done all the same */
}

static void test_no_quorum(void **state)
{
    (void)state;
    struct one *o = one_without_quorum();
    uint64_t client = one_send(o, "node.drain", "{'name': 'n1'}");
    one_ask(o, 106, "status", "{}");
    one_ask(o, 106, "cluster.join-token", "{'node': 'n2'}");
    one_ask(o, 0, "node.list", "{}");
    assert_int_equal(one_answers(o, client), 0);
    one_run(o, CORE_CLIENT_DEADLINE_MS);
    assert_int_equal(one_code(o, client), 106);
    assert_int_equal(o->core->n_waiters, 0);
    one_free(o);
}

static void test_force(void **state)
{
    one_ask(*state, 113, "quorum.force", "{}"); /* has a quorum */
    one_ask(*state, 113, "quorum.prevent", "{}");
    struct one *o = one_without_quorum();
    const struct json *data = one_ask(o, 0, "quorum.prevent", "{}");
    assert_true(json_bool(json_path(data, "quorum.prevented"), false));
    data = one_ask(o, 0, "quorum.prevent", "{'clear': true}");
    assert_false(json_bool(json_path(data, "quorum.prevented"), true));
    data = one_ask(o, 0, "quorum.force", "{}");
    assert_true(json_bool(json_path(data, "quorum.quorate"), false));
    assert_int_equal(json_int(json_path(data, "quorum.epoch"), 0), 1);
    assert_string_equal(json_str(json_path(data, "quorum.forced.node"), ""), "n1");
    assert_string_equal(json_str(json_path(data, "quorum.forced.by"), ""), "uid 0");
    data = one_ask(o, 0, "events", "{}");
    const struct json *events = json_get(data, "events");
    const char *last = json_get_str(json_at(events, json_count(events) - 1), "text", "");
    assert_non_null(strstr(last, "quorum was forced by uid 0"));
    one_free(o);
}

/* Another one is here and has more: that takes --force. */
static void test_force_needs_force(void **state)
{
    (void)state;
    struct one *o = one_without_quorum();
    struct db_msg m = {.type = DB_MSG_HELLO, .cluster = one_uuid(1), .from = one_uuid(9), .term = 3, .index = 6,
                       .index_term = 3};
    AUTO(buf_done) struct buf b = {0};
    const uint32_t group[] = {1, 2};
    one_step(o, (struct core_event){.type = EV_GROUP, .group = group, .n_group = 2});
    wire_put_u8(&b, 1); /* core.c: of the database */
    db_msg_encode(&m, &b);
    one_step(o, (struct core_event){.type = EV_MESSAGE, .from_nodeid = 2, .bytes = buf_slice(&b)});
    one_ask(o, 107, "quorum.force", "{}");
    one_ask(o, 0, "quorum.force", "{'force': true}");
    one_free(o);
}

/* Who is evicted hears no outcome any more: whoever waits is told so. */
static void test_evicted(void **state)
{
    (void)state;
    struct one *o = one_without_quorum();
    one_run(o, 1000);
    uint64_t client = one_send(o, "node.drain", "{'name': 'n1'}");
    uint64_t parse = one_send(o, "vm.add", "{'xml': '<domain/>'}");
    struct uuid own = one_uuid(2);
    tables_put((struct tables *)core_tables(o->core), TABLE_TOMBSTONE, uuid_str(&own).s, (struct slice){0});
    one_run(o, 1000);
    assert_int_equal(one_code(o, client), 113);
    one_parsed(o, "a");
    assert_int_equal(one_code(o, parse), 113);
    const struct json *data = one_ask(o, 0, "status", "{}");
    assert_string_equal(json_str(json_path(data, "self.phase"), ""), "evicted");
    one_ask(o, 113, "node.list", "{}");
    one_ask(o, 113, "node.join", "{'token': 'x'}");
    one_free(o);
}

/* ---- TLS ---- */

static void test_tls_join(void **state)
{
    struct one *o = *state;
    struct core_action a;
    one_join(o, "n2", "10.0.0.2", 1);
    one_must_take(o, ACT_ISSUE, &a);
    assert_int_equal(a.nodeid, 2);
    assert_string_equal(a.join.csr, "csr");
    assert_non_null(strstr(a.text, "ring0_addr: 10.0.0.2"));
    core_action_done(&a);
    struct join_request wrong = {.token = one_uuid(7999), .facts = one_facts(), .node = "n3", .address = "10.0.0.3",
                                 .replica = one_uuid(3)};
    one_step(o, (struct core_event){.type = EV_TLS_JOIN, .client = ++o->client, .join = &wrong});
    one_run(o, 200);
    one_must_take(o, ACT_TLS_REPLY, &a);
    assert_int_equal(a.client, o->client);
    assert_int_equal(a.error.code, ERR_PERMISSION);
    core_action_done(&a);
}

static void test_tls_join_beyond_the_level(void **state)
{
    struct one *o = *state;
    struct core_action a;
    uint64_t client = one_send(o, "cluster.join-token", "{'node': 'n2'}");
    one_token_made(o, "text", 1);
    one_run(o, 200);
    assert_int_equal(one_code(o, client), 0);
    struct join_request j = {.token = one_uuid(7001), .secret_hash = {{1}}, .facts = one_facts(), .node = "n2",
                             .address = "10.0.0.2", .replica = one_uuid(3)};
    j.facts.qemu_version = 5002000;
    one_step(o, (struct core_event){.type = EV_TLS_JOIN, .client = ++o->client, .join = &j});
    one_run(o, 200);
    one_must_take(o, ACT_TLS_REPLY, &a);
    assert_int_equal(a.error.code, ERR_CONDITION);
    core_action_done(&a);
    one_add_vm(o, "a");
    j.facts = one_facts();
    j.facts.machines = (char *)"pc-q35-7.20 xpc-q35-7.2"; /* neither is pc-q35-7.2 */
    one_step(o, (struct core_event){.type = EV_TLS_JOIN, .client = ++o->client, .join = &j});
    one_run(o, 200);
    one_must_take(o, ACT_TLS_REPLY, &a);
    assert_int_equal(a.error.code, ERR_CONDITION);
    assert_non_null(strstr(a.error.text, "pc-q35-7.2"));
    core_action_done(&a);
}

static void test_tls_outside_of_a_cluster(void **state)
{
    struct one *o = *state;
    struct core_action a;
    struct join_request j = {.facts = one_facts(), .node = "n2"};
    one_step(o, (struct core_event){.type = EV_TLS_JOIN, .client = 7, .join = &j});
    one_must_take(o, ACT_TLS_REPLY, &a);
    assert_int_equal(a.error.code, ERR_CONDITION);
    core_action_done(&a);
    one_step(o, (struct core_event){.type = EV_TLS_FETCH, .client = 8});
    one_must_take(o, ACT_TLS_REPLY, &a);
    assert_int_equal(a.error.code, ERR_AGAIN);
    core_action_done(&a);
}

static void test_tls_fetch(void **state)
{
    struct one *o = *state;
    struct core_action a;
    one_step(o, (struct core_event){.type = EV_TLS_FETCH, .client = 8});
    one_must_take(o, ACT_TLS_REPLY, &a);
    assert_int_equal(a.error.code, 0);
    assert_true(a.bytes.len > 100);
    core_action_done(&a);
}

/* ---- corosync.conf follows the slots, and never an older membership than this replica's own ---- */

static void test_old_memberships_are_not_followed(void **state)
{
    struct one *o = *state;
    struct core_action a;
    (void)one_send(o, "node.join", "{'token': 'x'}");
    one_must_take(o, ACT_JOIN, &a);
    struct membership_outcome m = {.identity = one_identity(), .corosync_conf = (char *)"as handed over"};
    one_step(o, (struct core_event){.type = EV_MEMBERSHIP, .id = a.id, .membership = &m});
    core_action_done(&a);
    one_run(o, 500);
    /* Catching up: what it sees is from before its own time. */
    struct tables *t = (struct tables *)core_tables(o->core);
    struct cluster_init i = {.identity = one_identity(), .facts = one_facts()};
    i.identity.replica = one_uuid(77);
    AUTO(buf_done) struct buf b = {0};
    cluster_entry_init(&i, &b);
    struct entry e = {.index = 1, .kind = ENTRY_CLUSTER_INIT, .payload = buf_slice(&b)};
    struct apply_result result = {0};
    assert_int_equal(core_apply_entry(NULL, t, &e, &result), 0);
    one_run(o, 1000);
    assert_string_equal(o->core->corosync_conf, "as handed over");
}

static void test_slots_are_followed(void **state)
{
    struct one *o = *state;
    assert_null(strstr(o->core->corosync_conf, "10.0.0.2"));
    one_join(o, "n2", "10.0.0.2", 1);
    assert_non_null(strstr(o->core->corosync_conf, "10.0.0.2"));
}

/* ---- how far a migration is ---- */

static const char *shown_percent(struct one *o)
{
    static char text[64];
    snprintf(text, sizeof text, "%lld %lld %lld %lld",
             (long long)json_int(json_path(one_ask(o, 0, "vm.show", "{'name': 'a'}"), "vm.percent"), -1),
             (long long)json_get_int(json_at(json_get(one_ask(o, 0, "vm.list", "{}"), "vms"), 0), "percent", -1),
             (long long)json_int(json_path(one_ask(o, 0, "job.show", JOB_ARGS), "job.percent"), -1),
             (long long)json_get_int(json_at(json_get(one_ask(o, 0, "status", "{}"), "vms"), 0), "percent", -1));
    one_forget(o);
    return text;
}

static void hear(struct one *o, const struct buf *b)
{
    one_step(o, (struct core_event){.type = EV_MESSAGE, .from_nodeid = 9, .bytes = buf_slice(b)});
}

/* What n1 says of its own migration is what another node shows of it, for as long as it is said. */
static void test_progress(void **state)
{
    struct one *o = *state, *other = one_bootstrapped();
    uint32_t group[] = {1, 9};
    one_add_vm(o, "a");
    one_add_vm(other, "a");
    put_away_node(other, "n9");
    put_vm(o, "n1", VM_RUNNING, VM_OP_MIGRATE);
    put_vm(other, "n9", VM_RUNNING, VM_OP_MIGRATE);
    put_job(o, JOB_VM_MIGRATE, "a");
    put_job(other, JOB_VM_MIGRATE, "a");
    o->domain = (struct vm_domain){.name = "a", .uuid = one_uuid(600 + 'a'), .state = VM_DOMAIN_RUNNING,
                                   .migrating = true, .percent = 40};
    one_run(o, 10000);
    assert_int_equal(o->n_progress, 0); /* there is nobody to tell it to */
    one_step(o, (struct core_event){.type = EV_GROUP, .group = group, .n_group = 2});
    one_run(o, 10000);
    assert_in_range(o->n_progress, 9, 11);
    assert_string_equal(shown_percent(o), "40 40 40 40");
    assert_string_equal(shown_percent(other), "-1 -1 -1 -1");
    hear(other, &o->progress);
    assert_int_equal(progress_get(&other->core->progress, &(struct uuid){0}, other->now), -1);
    assert_string_equal(shown_percent(other), "40 40 40 40");
    one_run(other, PROGRESS_KEPT_MS);
    assert_string_equal(shown_percent(other), "-1 -1 -1 -1");
    o->domain.migrating = false; /* the last look at it is a second old at most */
    one_run(o, 3000);
    unsigned before = o->n_progress;
    one_run(o, 5000);
    assert_int_equal(o->n_progress, before);
    one_free(other);
}

/* A disk that is full for ten minutes: corosync.conf is tried again, ever more seldom, and the log is not filled. */
static void test_corosync_is_tried_again(void **state)
{
    struct one *o = *state;
    o->corosync_fails = true;
    o->n_corosync = o->n_lines = 0;
    one_join(o, "n2", "10.0.0.2", 1);
    assert_true(o->n_corosync > 0);
    one_run(o, 10 * 60 * 1000);
    unsigned most = 8 + 10 * 60 * 1000 / RETRY_MAX_MS;
    assert_in_range(o->n_corosync, most / 2, most);
    assert_in_range(o->n_lines, 1, 8);
    o->corosync_fails = false;
    one_run(o, RETRY_MAX_MS + CORE_STEP_MS);
    unsigned tried = o->n_corosync;
    assert_non_null(strstr(o->core->corosync_conf, "10.0.0.2"));
    one_run(o, 60 * 1000);
    assert_int_equal(o->n_corosync, tried); /* it has it */
    assert_int_equal(o->core->corosync_retry.failures, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, one_setup, one_teardown)
#define TEST_UNCONFIGURED(name) cmocka_unit_test_setup_teardown(name, setup_unconfigured, one_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_access),
        TEST_UNCONFIGURED(test_unconfigured),
        TEST(test_malformed),
        TEST(test_wrong_arguments),
        TEST(test_missing_objects),
        TEST_UNCONFIGURED(test_init),
        TEST_UNCONFIGURED(test_init_fails),
        cmocka_unit_test(test_init_without_facts),
        cmocka_unit_test(test_init_on_an_old_host),
        TEST_UNCONFIGURED(test_join),
        TEST(test_join_token),
        TEST(test_join_token_fails),
        TEST(test_join_token_retried),
        TEST(test_config),
        TEST(test_node_set),
        TEST(test_node_verbs),
        TEST(test_vm_verbs),
        TEST(test_vm_add_fails),
        TEST(test_level_and_upgrade),
        TEST(test_events),
        TEST(test_vm_of_a_node_that_is_away),
        TEST(test_cancel_move),
        TEST(test_cancel_drain),
        TEST(test_drain_waits_for_a_lost_vm),
        TEST(test_cancel_drain_of_an_upgrade),
        TEST(test_cancel_backup),
        TEST(test_cancel_upgrade),
        TEST(test_cancel_refused),
        TEST(test_join_again),
        cmocka_unit_test(test_join_again_too_early),
        TEST(test_answered_once),
        TEST(test_same_request_twice_at_once),
        TEST(test_every_retry_is_answered_alike),
        TEST(test_retries_are_answered_with_the_same_data),
        TEST(test_client_gone),
        cmocka_unit_test(test_no_quorum),
        cmocka_unit_test_setup_teardown(test_force, one_setup, one_teardown),
        cmocka_unit_test(test_force_needs_force),
        cmocka_unit_test(test_evicted),
        TEST(test_tls_join),
        TEST(test_tls_join_beyond_the_level),
        TEST_UNCONFIGURED(test_tls_outside_of_a_cluster),
        TEST(test_tls_fetch),
        TEST_UNCONFIGURED(test_old_memberships_are_not_followed),
        TEST(test_slots_are_followed),
        TEST(test_corosync_is_tried_again),
        TEST(test_progress),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
