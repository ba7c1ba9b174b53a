/* SPDX-License-Identifier: GPL-2.0-or-later */
/* agent/io/ipc: a real libqb client in a process of its own against the server on a real loop. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <qb/qbipcc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/io/access.h"
#include "agent/io/ipc.h"
#include "common/proto.h"
#include "tests/unit/users.h"

enum { LONG = 700 * 1024, NOBODY = 65534, CLIENT_MS = 5000 };

struct server {
    char name[64];
    qb_loop_t *loop;
    struct inbox *inbox;
    struct worker_pool *pool;
    struct ipc *ipc;
    uint64_t last_client;
    int n_requests, n_gone;
    enum core_access access;
    uint64_t gone, asked;
    pid_t child;
    int status;
    bool has_users;
};

/* ---- the client's side: runs in a child, and says what was wrong by its exit code */

#define WANT(cond)                                                                                                     \
    do {                                                                                                               \
        if (!(cond)) {                                                                                                 \
            fprintf(stderr, "client: %s:%d: %s\n", __FILE__, __LINE__, #cond);                                         \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

struct message {
    struct qb_ipc_request_header head;
    struct proto_frame frame;
    char text[];
};

static ssize_t send_raw(qb_ipcc_connection_t *c, int32_t id, uint32_t total, uint32_t offset, const char *text,
                        size_t n)
{
    struct message *m = xcalloc(1, sizeof(*m) + n);
    m->head.id = id;
    m->head.size = (int32_t)(sizeof(*m) + n);
    m->frame = (struct proto_frame){.total = total, .offset = offset};
    if (n)
        memcpy(m->text, text, n);
    ssize_t rc = qb_ipcc_send(c, m, (size_t)m->head.size);
    free(m);
    return rc;
}

static void send_text(qb_ipcc_connection_t *c, const char *text)
{
    size_t n = strlen(text);
    WANT(send_raw(c, PROTO_REQUEST, (uint32_t)n, 0, text, n) > 0);
}

static void send_verb(qb_ipcc_connection_t *c, const char *verb)
{
    struct json *request = proto_request(verb, "7b1f6a0e-0000-4000-8000-000000000001", NULL);
    char *text = json_dump(request);
    send_text(c, text);
    free(text);
    json_free(request);
}

/* The next chunk; returns its bytes. */
static size_t receive(qb_ipcc_connection_t *c, struct buf *text, uint32_t *ret_total)
{
    static char space[PROTO_MESSAGE_MAX];
    ssize_t n = qb_ipcc_recv(c, space, sizeof(space), CLIENT_MS);
    struct qb_ipc_response_header head;
    struct proto_frame frame;
    WANT(n >= (ssize_t)(sizeof(head) + sizeof(frame)));
    memcpy(&head, space, sizeof(head));
    memcpy(&frame, space + sizeof(head), sizeof(frame));
    WANT(head.id == PROTO_RESPONSE && head.size == n && head.error == 0);
    WANT(frame.offset == text->len);
    size_t got = (size_t)n - sizeof(head) - sizeof(frame);
    WANT(got > 0 && got <= PROTO_CHUNK_MAX && got <= frame.total - frame.offset);
    buf_add(text, space + sizeof(head) + sizeof(frame), got);
    *ret_total = frame.total;
    return got;
}

static struct json *receive_all(qb_ipcc_connection_t *c)
{
    struct buf text = {0};
    uint32_t total;
    receive(c, &text, &total);
    while (text.len < total) {
        WANT(send_raw(c, PROTO_MORE, 0, (uint32_t)text.len, NULL, 0) > 0);
        receive(c, &text, &total);
    }
    struct json *j = NULL;
    WANT(json_parse((const char *)text.p, text.len, &j, NULL) == 0);
    buf_done(&text);
    return j;
}

static qb_ipcc_connection_t *must_connect(const char *name)
{
    qb_ipcc_connection_t *c = qb_ipcc_connect(name, PROTO_MESSAGE_MAX);
    WANT(c);
    return c;
}

static void client_asks(const char *name)
{
    qb_ipcc_connection_t *c = must_connect(name);
    for (int i = 0; i < 3; i++) {
        send_verb(c, "echo");
        struct json *j = receive_all(c);
        WANT(json_int(json_path(j, "status.code"), -1) == 0);
        WANT(str_eq(json_str(json_path(j, "request.verb"), ""), "echo"));
        json_free(j);
    }
    qb_ipcc_disconnect(c);
}

static void client_pulls(const char *name)
{
    qb_ipcc_connection_t *c = must_connect(name);
    send_verb(c, "long");
    struct json *j = receive_all(c);
    const char *s = json_str(json_path(j, "data.long"), "");
    WANT(strlen(s) == LONG && s[0] == 'x' && s[LONG - 1] == 'x');
    json_free(j);
    send_verb(c, "echo"); /* and the connection goes on */
    json_free(receive_all(c));
    qb_ipcc_disconnect(c);
}

static void client_sends_nonsense(const char *name)
{
    static const char *const texts[] = {"{\"a\":", "[]", "nonsense", "{\"a\": 1, \"a\": 2}", ""};
    qb_ipcc_connection_t *c = must_connect(name);
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        send_text(c, texts[i]);
        struct json *j = receive_all(c);
        WANT(json_int(json_path(j, "status.code"), -1) == 64);
        json_free(j);
    }
    send_verb(c, "echo");
    json_free(receive_all(c));
    qb_ipcc_disconnect(c);
}

static void disconnected(qb_ipcc_connection_t *c)
{
    char space[4096];
    ssize_t n = qb_ipcc_recv(c, space, sizeof(space), 300); /* libqb looks at the end of it */
    WANT(n < 0 && n != -EAGAIN && n != -ETIMEDOUT);
    qb_ipcc_disconnect(c);
}

static void client_breaks_the_protocol(const char *name)
{
    qb_ipcc_connection_t *c = must_connect(name);
    send_raw(c, PROTO_REQUEST, 10, 0, "{}", 2); /* total is not what follows */
    disconnected(c);
    c = must_connect(name);
    send_raw(c, PROTO_MORE, 0, 0, NULL, 0); /* more of nothing */
    disconnected(c);
    c = must_connect(name);
    send_raw(c, 99, 2, 0, "{}", 2);
    disconnected(c);
    c = must_connect(name);
    send_verb(c, "silent");
    send_verb(c, "silent"); /* one at a time */
    disconnected(c);
    c = must_connect(name);
    send_verb(c, "long");
    struct buf text = {0};
    uint32_t total;
    receive(c, &text, &total);
    send_raw(c, PROTO_MORE, 0, total, NULL, 0); /* beyond the end */
    disconnected(c);
}

static void client_goes(const char *name)
{
    qb_ipcc_connection_t *c = must_connect(name);
    send_verb(c, "silent");
    usleep(100000);
    qb_ipcc_disconnect(c);
}

static void client_has_no_group(const char *name)
{
    WANT(users_become(UID_NOBODY, GID_USERS) == 0);
    for (int i = 0; i < 2; i++) { /* looked up, then from the cache */
        errno = 0;
        WANT(!qb_ipcc_connect(name, PROTO_MESSAGE_MAX));
        WANT(errno == EACCES);
    }
}

static void client_connects_too_often(const char *name)
{
    WANT(users_become(UID_READ_PRIMARY, GID_READ) == 0);
    qb_ipcc_connection_t *c[IPC_UID_MAX];
    for (size_t i = 0; i < IPC_UID_MAX; i++)
        c[i] = must_connect(name);
    WANT(!qb_ipcc_connect(name, PROTO_MESSAGE_MAX));
    WANT(errno == EMFILE);
    qb_ipcc_disconnect(c[0]);
    usleep(200000);
    c[0] = must_connect(name);
    for (size_t i = 0; i < IPC_UID_MAX; i++)
        qb_ipcc_disconnect(c[i]);
}

/* A ring buffer of a gigabyte is refused before it is made. */
static void client_wants_a_gigabyte(const char *name)
{
    struct statvfs before, after;
    WANT(statvfs("/dev/shm", &before) == 0);
    errno = 0;
    WANT(!qb_ipcc_connect(name, 1UL << 30));
    WANT(errno == EMSGSIZE);
    WANT(statvfs("/dev/shm", &after) == 0);
    WANT(before.f_bfree - after.f_bfree < 1000 || before.f_bfree < after.f_bfree);
    qb_ipcc_connection_t *c = must_connect(name);
    send_verb(c, "echo");
    json_free(receive_all(c));
    qb_ipcc_disconnect(c);
}

/* The largest message, which says that a gigabyte follows; and one that says that it is none. */
static void client_says_a_gigabyte(const char *name)
{
    enum { TEXT = PROTO_MESSAGE_MAX - 4096 };
    char *text = xcalloc(1, TEXT);
    memset(text, ' ', TEXT);
    qb_ipcc_connection_t *c = must_connect(name);
    WANT(send_raw(c, PROTO_REQUEST, 1U << 30, 0, text, TEXT) > 0);
    disconnected(c);
    c = must_connect(name);
    WANT(send_raw(c, PROTO_REQUEST, TEXT, 0, text, TEXT) > 0); /* more than a chunk */
    disconnected(c);
    c = must_connect(name);
    struct message m = {.head = {.id = PROTO_REQUEST, .size = 1 << 30}, .frame = {.total = 1U << 30}};
    struct iovec parts[] = {{&m, sizeof(m)}};
    qb_ipcc_sendv(c, parts, 1);
    disconnected(c);
    free(text);
}

/* ---- 10,000 connections */

enum { CROWD = 10000, CROWD_PROCESSES = 20, CROWD_EACH = CROWD / CROWD_PROCESSES };

/* Sockets that are connected and never say a word: libqb's own is abstract, and listens to streams. */
static void stand_idle(const char *name, int report)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(at); /* libqb's name goes on with zeros to the end */
    memcpy(at.sun_path + 1, name, strlen(name));
    int n = 0;
    for (int i = 0; i < CROWD_EACH; i++) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        for (int tries = 0; fd >= 0 && connect(fd, (struct sockaddr *)&at, len) != 0; tries++) {
            WANT(errno == EAGAIN && tries < 20000); /* the backlog is full: the agent takes them as it can */
            usleep(1000);
        }
        n += fd >= 0;
    }
    WANT(write(report, &n, sizeof(n)) == sizeof(n));
    pause();
}

static int64_t milliseconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Root is answered while they come and when they are there. */
static void ask_as_root(const char *name)
{
    int64_t before = milliseconds();
    qb_ipcc_connection_t *c;
    while (!(c = qb_ipcc_connect(name, PROTO_MESSAGE_MAX))) {
        /* The queue at the door is full: clusterctl waits too. */
        WANT(errno == EAGAIN && milliseconds() - before < 3000);
        usleep(2000);
    }
    send_verb(c, "echo");
    json_free(receive_all(c));
    qb_ipcc_disconnect(c);
    WANT(milliseconds() - before < 3000);
}

static void client_is_a_crowd(const char *name)
{
    static const struct {
        uid_t uid;
        gid_t gid;
    } who[] = {
        {UID_NOBODY, GID_USERS}, {UID_READ_PRIMARY, GID_READ}, {UID_ADMIN_OTHER, GID_USERS}, {UID_NAMELESS, GID_USERS}};
    int report[2];
    pid_t pids[CROWD_PROCESSES];
    WANT(pipe(report) == 0);
    for (int i = 0; i < CROWD_PROCESSES; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            WANT(users_become(who[i % 4].uid, who[i % 4].gid) == 0);
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            stand_idle(name, report[1]);
        }
    }
    close(report[1]); /* so that the end of a child is seen */
    int total = 0, n;
    for (int i = 0; i < CROWD_PROCESSES; i++) {
        ask_as_root(name);
        WANT(read(report[0], &n, sizeof(n)) == sizeof(n));
        total += n;
    }
    WANT(total == CROWD);
    for (int i = 0; i < 5; i++)
        ask_as_root(name);
    for (int i = 0; i < CROWD_PROCESSES; i++) {
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
    }
    ask_as_root(name);
}

/* Silent ones make room: the next of the same user gets in. */
static void client_is_silent(const char *name)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(at); /* libqb's name goes on with zeros to the end */
    memcpy(at.sun_path + 1, name, strlen(name));
    WANT(users_become(UID_READ_PRIMARY, GID_READ) == 0);
    for (int i = 0; i < IPC_VISITORS_UID_MAX; i++)
        WANT(connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&at, len) == 0);
    usleep(300000);
    WANT(!qb_ipcc_connect(name, PROTO_MESSAGE_MAX));
    usleep((IPC_VISIT_MS + 200) * 1000);
    WANT(!qb_ipcc_connect(name, PROTO_MESSAGE_MAX)); /* this one shows them out */
    usleep(200000);
    qb_ipcc_disconnect(must_connect(name));
}

/* ---- the server's side */

static uint64_t new_client(void *ctx)
{
    struct server *s = ctx;
    return ++s->last_client;
}

static void on_request(void *ctx, uint64_t client, const struct json *request, enum core_access access, uid_t uid)
{
    assert_int_equal(uid, getuid());
    struct server *s = ctx;
    const char *verb, *id;
    const struct json *args;
    assert_int_equal(proto_parse_request(request, &verb, &id, &args, NULL), 0);
    s->n_requests++;
    s->access = access;
    s->asked = client;
    if (str_eq(verb, "silent"))
        return;
    struct json *data = json_object_new();
    if (str_eq(verb, "long")) {
        char *text = xmalloc(LONG + 1);
        memset(text, 'x', LONG);
        text[LONG] = '\0';
        json_set_str(data, "long", text);
        free(text);
    }
    ipc_reply(s->ipc, client + 1000, proto_answer(verb, id, NULL, NULL)); /* nobody: passed over */
    ipc_reply(s->ipc, client, proto_answer(verb, id, NULL, data));
    ipc_reply(s->ipc, client, proto_answer(verb, id, NULL, NULL)); /* not asked for: passed over */
}

static void on_gone(void *ctx, uint64_t client)
{
    struct server *s = ctx;
    s->n_gone++;
    s->gone = client;
}

static int32_t on_inbox(int32_t fd, int32_t revents, void *data)
{
    (void)fd, (void)revents;
    inbox_dispatch(((struct server *)data)->inbox);
    return 0;
}

static void look_at_child(void *data)
{
    struct server *s = data;
    qb_loop_timer_handle th;
    if (s->child && waitpid(s->child, &s->status, WNOHANG) == s->child) {
        s->child = 0; /* once more, so that its disconnection is seen */
        qb_loop_timer_add(s->loop, QB_LOOP_LOW, 200 * 1000000ULL, s, look_at_child, &th);
    } else if (s->child) {
        qb_loop_timer_add(s->loop, QB_LOOP_LOW, 10 * 1000000ULL, s, look_at_child, &th);
    } else {
        qb_loop_stop(s->loop);
    }
}

static void serve(struct server *s, void (*client)(const char *name))
{
    s->n_requests = s->n_gone = 0;
    s->child = fork();
    if (s->child == 0) {
        client(s->name);
        _exit(0);
    }
    look_at_child(s);
    qb_loop_run(s->loop);
    assert_true(WIFEXITED(s->status));
    assert_int_equal(WEXITSTATUS(s->status), 0);
}

static int setup(void **state)
{
    struct server *s = xcalloc(1, sizeof(*s));
    struct error e = {0};
    s->has_users = users_enter();
    struct rlimit files = {1024, 1024}; /* what systemd gives the agent */
    setrlimit(RLIMIT_NOFILE, &files);
    snprintf(s->name, sizeof(s->name), "ringmaster-test-%d", (int)getpid());
    s->loop = qb_loop_create();
    s->inbox = inbox_new();
    s->pool = worker_pool_new("test", 2, s->inbox);
    assert_int_equal(qb_loop_poll_add(s->loop, QB_LOOP_MED, inbox_fd(s->inbox), POLLIN, s, on_inbox), 0);
    struct ipc_ops ops = {.new_client = new_client, .request = on_request, .gone = on_gone, .ctx = s};
    assert_int_equal(ipc_start(s->name, s->loop, s->pool, &ops, NULL, &s->ipc, &e), 0);
    *state = s;
    return 0;
}

static int teardown(void **state)
{
    struct server *s = *state;
    ipc_free(s->ipc);
    worker_pool_free(s->pool);
    inbox_dispatch(s->inbox);
    inbox_free(s->inbox);
    free(s);
    return 0;
}

static void test_question_and_answer(void **state)
{
    struct server *s = *state;
    serve(s, client_asks);
    assert_int_equal(s->n_requests, 3);
    assert_int_equal(s->n_gone, 1);
    assert_int_equal(s->gone, s->asked);
    assert_int_equal(s->access, geteuid() == 0 ? ACCESS_ADMIN : s->access);
}

static void test_long_answer_is_pulled(void **state)
{
    serve(*state, client_pulls);
}

static void test_nonsense_is_answered(void **state)
{
    struct server *s = *state;
    serve(s, client_sends_nonsense);
    assert_int_equal(s->n_requests, 1); /* nothing of it reached the core */
}

static void test_a_broken_protocol_ends_the_connection(void **state)
{
    struct server *s = *state;
    serve(s, client_breaks_the_protocol);
    assert_int_equal(s->n_requests, 2);
    assert_int_equal(s->n_gone, 2);
}

static void test_gone_while_waiting(void **state)
{
    struct server *s = *state;
    uint64_t before = s->last_client;
    serve(s, client_goes);
    assert_int_equal(s->n_gone, 1);
    assert_int_equal(s->gone, s->asked);
    assert_true(s->asked > before);                 /* never used before */
    ipc_reply(s->ipc, s->asked, json_object_new()); /* too late: passed over */
}

static void test_who_may_nothing_is_not_let_in(void **state)
{
    struct server *s = *state;
    if (!s->has_users)
        skip();
    serve(s, client_has_no_group);
    assert_int_equal(s->n_requests, 0);
}

static void test_connections_are_capped(void **state)
{
    if (!((struct server *)*state)->has_users)
        skip();
    serve(*state, client_connects_too_often);
}

static void test_a_gigabyte_is_refused(void **state)
{
    struct server *s = *state;
    serve(s, client_wants_a_gigabyte);
    assert_int_equal(s->n_requests, 1);
    serve(s, client_says_a_gigabyte);
    assert_int_equal(s->n_requests, 0);
}

static void test_a_crowd_of_idle_connections(void **state)
{
    struct server *s = *state;
    if (!s->has_users)
        skip();
    serve(s, client_is_a_crowd);
    assert_int_equal(s->n_requests, CROWD_PROCESSES + 6);
}

static void test_silent_connections_make_room(void **state)
{
    if (!((struct server *)*state)->has_users)
        skip();
    serve(*state, client_is_silent);
}

static void test_groups(void **state)
{
    (void)state;
    const struct group *g = getgrnam("daemon");
    gid_t daemon = g ? g->gr_gid : 0;
    g = getgrnam("bin");
    gid_t bin = g ? g->gr_gid : 0;
    if (!daemon || !bin)
        skip();
    assert_int_equal(access_look_up(0, 0, "no-such", "no-such"), ACCESS_ADMIN);
    assert_int_equal(access_look_up(1, daemon, "daemon", "bin"), ACCESS_ADMIN);
    assert_int_equal(access_look_up(1, bin, "daemon", "bin"), ACCESS_READ);
    assert_int_equal(access_look_up(1, NOBODY, "daemon", "bin"), ACCESS_NONE);
    assert_int_equal(access_look_up(1, 0, "no-such", "no-such"),
                     ACCESS_NONE); /* gid 0 is no group that is missing */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_question_and_answer),    cmocka_unit_test(test_long_answer_is_pulled),
        cmocka_unit_test(test_nonsense_is_answered),   cmocka_unit_test(test_a_broken_protocol_ends_the_connection),
        cmocka_unit_test(test_gone_while_waiting),     cmocka_unit_test(test_who_may_nothing_is_not_let_in),
        cmocka_unit_test(test_connections_are_capped), cmocka_unit_test(test_a_gigabyte_is_refused),
        cmocka_unit_test(test_a_crowd_of_idle_connections), cmocka_unit_test(test_silent_connections_make_room),
        cmocka_unit_test(test_groups),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
