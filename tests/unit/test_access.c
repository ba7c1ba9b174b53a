/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who may do what: every verb of the agent, asked over the real socket by processes of real users, answered by a real
 * core that leads a cluster. clusterctl has no part in it. */
#include "tests/unit/one_core.h"

#include <errno.h>
#include <poll.h>
#include <qb/qbipcc.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/io/ipc.h"
#include "agent/request.h"
#include "common/proto.h"
#include "tests/unit/users.h"

enum { CLIENT_MS = 20000, VERBS_MAX = 128, NOT_LET_IN = -1, TICK_NS = 5 * 1000000 };

/* All that may be done without the right to change anything. What is not named here needs ringmaster-admin: a new verb
 * that only reads is entered here by hand, after a look at what it tells. */
static const char *const reads[] = {
    "status",     "cluster.config.show", "node.list",    "node.show",      "vm.list",  "vm.show",
    "level.show", "upgrade.check",       "upgrade.plan", "upgrade.status", "upgrade.report", "job.list", "job.show",
    "task.list",  "task.show",
    "repository.list", "backup.list", "backup.schedule.list", "reference.list", "reference.show",
    "events",     "quorum.show", "witness.show", "witness.test",
};

static const struct user {
    const char *what;
    uid_t uid;
    gid_t gid;
    gid_t held; /* a group that the process holds although the group database does not give it; 0: none */
    enum core_access access;
} users[] = {
    {"root", 0, 0, 0, ACCESS_ADMIN},
    {"ringmaster-admin is the primary group", UID_ADMIN_PRIMARY, GID_ADMIN, 0, ACCESS_ADMIN},
    {"ringmaster-admin is a supplementary group", UID_ADMIN_OTHER, GID_USERS, 0, ACCESS_ADMIN},
    {"ringmaster-read is the primary group", UID_READ_PRIMARY, GID_READ, 0, ACCESS_READ},
    {"ringmaster-read is a supplementary group", UID_READ_OTHER, GID_USERS, 0, ACCESS_READ},
    {"both groups", UID_BOTH, GID_READ, 0, ACCESS_ADMIN},
    {"a user without a name in ringmaster-admin", UID_NAMELESS, GID_ADMIN, 0, ACCESS_ADMIN},
    {"a user without a name in ringmaster-read", UID_NAMELESS, GID_READ, 0, ACCESS_READ},
    {"anybody else", UID_NOBODY, GID_USERS, 0, ACCESS_NONE},
    {"anybody else whose process holds the group", UID_NOBODY, GID_USERS, GID_ADMIN, ACCESS_NONE},
    {"a user without a name", UID_NAMELESS, GID_USERS, 0, ACCESS_NONE},
    {"gid 0 is not root", UID_NOBODY, 0, 0, ACCESS_NONE},
};

struct server {
    char name[64];
    qb_loop_t *loop;
    struct inbox *inbox;
    struct worker_pool *pool;
    struct ipc *ipc;
    struct one *one;
    pid_t child;
    int status;
};

/* ---- the client: a child, which reports the code of each verb */

static int ask(qb_ipcc_connection_t *c, const char *verb)
{
    struct {
        struct qb_ipc_request_header head;
        struct proto_frame frame;
        char text[4096];
    } m = {.head = {.id = PROTO_REQUEST}};
    static char space[PROTO_MESSAGE_MAX];
    struct json *request = proto_request(verb, "7b1f6a0e-0000-4000-8000-000000000001", NULL), *answer = NULL;
    char *text = json_dump(request);
    STR_COPY(m.text, text);
    m.frame.total = (uint32_t)strlen(text);
    m.head.size = (int32_t)(sizeof(m.head) + sizeof(m.frame) + strlen(text));
    free(text);
    json_free(request);
    size_t skip = sizeof(struct qb_ipc_response_header) + sizeof(struct proto_frame);
    if (qb_ipcc_send(c, &m, (size_t)m.head.size) < 0)
        return -2;
    ssize_t n = qb_ipcc_recv(c, space, sizeof(space), CLIENT_MS);
    if (n <= (ssize_t)skip || json_parse(space + skip, (size_t)n - skip, &answer, NULL) != 0)
        return -3;
    int code = (int)json_int(json_path(answer, "status.code"), -4);
    const char *remedy = json_str(json_path(answer, "status.remedy"), "");
    if (code == 77 && !strstr(remedy, "ringmaster-admin"))
        code = -5; /* it says what would help */
    json_free(answer);
    return code;
}

static void run_client(const char *name, const struct user *u, int report)
{
    int codes[VERBS_MAX];
    enum core_access unused;
    const char *verb;
    if (u->uid && (setgroups(u->held ? 1 : 0, &u->held) != 0 ||
                   setresgid(u->gid, u->gid, u->gid) != 0 || setresuid(u->uid, u->uid, u->uid) != 0))
        _exit(2);
    errno = 0;
    qb_ipcc_connection_t *c = qb_ipcc_connect(name, PROTO_MESSAGE_MAX);
    if (!c && errno != EACCES)
        _exit(3);
    for (size_t i = 0; (verb = request_verb(i, &unused)) != NULL; i++)
        codes[i] = c ? ask(c, verb) : NOT_LET_IN;
    if (c)
        qb_ipcc_disconnect(c);
    _exit(write(report, codes, sizeof(codes)) == sizeof(codes) ? 0 : 4);
}

/* ---- the server: ipc.c in front of a core */

static uint64_t new_client(void *ctx)
{
    return ++((struct server *)ctx)->one->client;
}

static void send_answers(struct server *s)
{
    struct one *o = s->one;
    for (size_t i = 0; i < o->n_replies; i++)
        ipc_reply(s->ipc, o->replies[i].client, o->replies[i].json);
    o->n_replies = 0;
}

static void on_request(void *ctx, uint64_t client, const struct json *request, enum core_access access, uid_t uid)
{
    struct server *s = ctx;
    one_step(s->one, (struct core_event){.type = EV_REQUEST, .client = client, .request = request, .access = access,
                                           .uid = uid});
}

static void on_gone(void *ctx, uint64_t client)
{
    one_step(((struct server *)ctx)->one, (struct core_event){.type = EV_CLIENT_GONE, .client = client});
}

static int32_t on_inbox(int32_t fd, int32_t revents, void *data)
{
    (void)fd, (void)revents;
    inbox_dispatch(((struct server *)data)->inbox);
    return 0;
}

/* Time goes on faster than outside: what nobody performs in here times out. */
static void tick(void *data)
{
    struct server *s = data;
    qb_loop_timer_handle th;
    one_run(s->one, 200);
    send_answers(s);
    if (s->child && waitpid(s->child, &s->status, WNOHANG) == s->child) {
        s->child = 0;
        qb_loop_stop(s->loop);
        return;
    }
    qb_loop_timer_add(s->loop, QB_LOOP_LOW, TICK_NS, s, tick, &th);
}

static void serve(struct server *s, const struct user *u, int codes[VERBS_MAX])
{
    int report[2];
    assert_int_equal(pipe(report), 0);
    s->child = fork();
    if (s->child == 0)
        run_client(s->name, u, report[1]);
    close(report[1]);
    tick(s);
    qb_loop_run(s->loop);
    assert_true(WIFEXITED(s->status));
    assert_int_equal(WEXITSTATUS(s->status), 0);
    assert_int_equal(read(report[0], codes, VERBS_MAX * sizeof(codes[0])), VERBS_MAX * sizeof(codes[0]));
    close(report[0]);
}

static int setup(void **state)
{
    if (!users_enter())
        return 0;
    struct server *s = xcalloc(1, sizeof(*s));
    struct error e = {0};
    snprintf(s->name, sizeof(s->name), "ringmaster-access-%d", (int)getpid());
    s->loop = qb_loop_create();
    s->inbox = inbox_new();
    s->pool = worker_pool_new("test", 2, s->inbox);
    s->one = one_bootstrapped();
    one_add_vm(s->one, "web1");
    assert_int_equal(qb_loop_poll_add(s->loop, QB_LOOP_MED, inbox_fd(s->inbox), POLLIN, s, on_inbox), 0);
    struct ipc_ops ops = {.new_client = new_client, .request = on_request, .gone = on_gone, .ctx = s};
    assert_int_equal(ipc_start(s->name, s->loop, s->pool, &ops, NULL, &s->ipc, &e), 0);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct server *s = *state;
    if (!s)
        return 0;
    ipc_free(s->ipc);
    worker_pool_free(s->pool);
    inbox_dispatch(s->inbox);
    inbox_free(s->inbox);
    one_free(s->one);
    free(s);
    return 0;
}

static bool only_reads(const char *verb)
{
    for (size_t i = 0; i < sizeof(reads) / sizeof(reads[0]); i++)
        if (str_eq(reads[i], verb))
            return true;
    return false;
}

static void test_the_table(void **state)
{
    (void)state;
    size_t n = 0, n_reads = 0;
    enum core_access access;
    for (const char *verb; (verb = request_verb(n, &access)) != NULL; n++) {
        if (access != (only_reads(verb) ? ACCESS_READ : ACCESS_ADMIN))
            fail_msg("%s: is it for those who may only read? Then say so above", verb);
        n_reads += access == ACCESS_READ;
    }
    assert_in_range(n, 30, VERBS_MAX);
    assert_int_equal(n_reads, sizeof(reads) / sizeof(reads[0]));
}

static void check_user(const struct user *u, const int codes[VERBS_MAX])
{
    enum core_access needed;
    const char *verb;
    for (size_t i = 0; (verb = request_verb(i, &needed)) != NULL; i++) {
        bool permitted = u->access >= needed;
        bool good = u->access == ACCESS_NONE ? codes[i] == NOT_LET_IN
                    : permitted              ? codes[i] >= 0 && codes[i] != 77
                                             : codes[i] == 77;
        if (!good)
            fail_msg("%s: %s answered %d", u->what, verb, codes[i]);
    }
}

static void test_each_verb_by_each_user(void **state)
{
    struct server *s = *state;
    if (!s)
        skip();
    for (size_t i = sizeof(users) / sizeof(users[0]); i-- > 0;) { /* root comes last: its verbs change things */
        int codes[VERBS_MAX];
        struct hash before = tables_hash(core_tables(s->one->core));
        serve(s, &users[i], codes);
        check_user(&users[i], codes);
        struct hash after = tables_hash(core_tables(s->one->core));
        if (users[i].access != ACCESS_ADMIN)
            assert_true(hash_eq(&before, &after)); /* what was refused was not done either */
        one_forget(s->one);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_table),
        cmocka_unit_test(test_each_verb_by_each_user),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
