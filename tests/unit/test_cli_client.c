/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The client against real libqb servers, in processes of their own that behave, die, sleep or send nonsense. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <qb/qbipcs.h>
#include <qb/qbloop.h>

#include "cli/io/client.h"

#define ID "11111111-2222-4333-8444-555555555555"

enum manner {
    GOOD,
    DIES_AT_REQUEST,
    DIES_AT_MORE,
    SILENT,
    NO_JSON,
    NO_STATUS,
    WRONG_OFFSET,
    WRONG_TOTAL, /* of the second chunk */
    HUGE_TOTAL,
    SHORT_MESSAGE,
    REFUSES_UID,
    REFUSES_FULL,
};

struct server {
    enum manner manner;
    size_t answer_len;
    char *answer;
    size_t total;
    int pipe; /* a byte for each request */
    qb_loop_t *loop;
    qb_ipcs_service_t *service;
};

static void make_answer(struct server *s)
{
    struct buf b = {0};
    if (s->manner == NO_JSON)
        buf_add_str(&b, "{\"api_version\": ");
    else if (s->manner == NO_STATUS)
        buf_add_str(&b, "{\"api_version\": \"1\"}");
    else {
        buf_add_str(&b, "{\"status\":{\"code\":0},\"data\":{\"blob\":\"");
        for (size_t i = 0; i < s->answer_len; i++)
            buf_add(&b, &"abcdefghijklmnopqrstuvw"[i % 23], 1);
        buf_add_str(&b, "\"}}");
    }
    s->total = b.len;
    s->answer = buf_steal_str(&b);
}

static void send_chunk(const struct server *s, qb_ipcs_connection_t *conn, uint32_t offset)
{
    size_t left = s->total - offset, len = left < PROTO_CHUNK_MAX ? left : PROTO_CHUNK_MAX;
    struct {
        struct qb_ipc_response_header header;
        struct proto_frame frame;
    } __attribute__((aligned(8))) head = {
        .header = {.id = PROTO_RESPONSE, .size = (int32_t)(sizeof(head) + len)},
        .frame = {.total = (uint32_t)s->total, .offset = offset},
    };
    if (s->manner == WRONG_OFFSET && offset > 0)
        head.frame.offset = 1;
    if (s->manner == WRONG_TOTAL && offset > 0)
        head.frame.total--;
    if (s->manner == HUGE_TOTAL)
        head.frame.total = PROTO_ANSWER_MAX + 1U;
    struct iovec parts[] = {{&head, sizeof(head)}, {s->answer + offset, len}};
    if (s->manner == SHORT_MESSAGE)
        parts[0].iov_len = sizeof(head.header);
    qb_ipcs_response_sendv(conn, parts, s->manner == SHORT_MESSAGE ? 1 : 2);
}

static int32_t on_message(qb_ipcs_connection_t *conn, void *data, size_t size)
{
    struct server *s = qb_ipcs_connection_service_context_get(conn);
    struct qb_ipc_request_header header;
    struct proto_frame frame;
    (void)size;
    memcpy(&header, data, sizeof(header));
    memcpy(&frame, (char *)data + sizeof(header), sizeof(frame));
    bool is_request = header.id == PROTO_REQUEST;
    if (is_request && write(s->pipe, "r", 1) != 1)
        _exit(2);
    if ((is_request && s->manner == DIES_AT_REQUEST) || (!is_request && s->manner == DIES_AT_MORE))
        _exit(1);
    if (s->manner != SILENT)
        send_chunk(s, conn, is_request ? 0 : frame.offset);
    return 0;
}

static int32_t on_accept(qb_ipcs_connection_t *conn, uid_t uid, gid_t gid)
{
    const struct server *s = qb_ipcs_connection_service_context_get(conn);
    (void)uid, (void)gid;
    return s->manner == REFUSES_UID ? -EACCES : s->manner == REFUSES_FULL ? -EMFILE : 0;
}

static int32_t on_closed(qb_ipcs_connection_t *conn)
{
    (void)conn;
    return 0;
}

static int32_t job_add(enum qb_loop_priority p, void *data, qb_loop_job_dispatch_fn fn)
{
    return qb_loop_job_add(NULL, p, data, fn);
}

static int32_t dispatch_add(enum qb_loop_priority p, int32_t fd, int32_t events, void *data, qb_ipcs_dispatch_fn_t fn)
{
    return qb_loop_poll_add(NULL, p, fd, events, data, fn);
}

static int32_t dispatch_mod(enum qb_loop_priority p, int32_t fd, int32_t events, void *data, qb_ipcs_dispatch_fn_t fn)
{
    return qb_loop_poll_mod(NULL, p, fd, events, data, fn);
}

static int32_t dispatch_del(int32_t fd)
{
    return qb_loop_poll_del(NULL, fd);
}

/* Never comes back. Writes "s" when it serves. */
static void serve(const char *name, enum manner manner, size_t answer_len, int pipe)
{
    struct qb_ipcs_service_handlers handlers = {
        .connection_accept = on_accept,
        .msg_process = on_message,
        .connection_closed = on_closed,
    };
    struct qb_ipcs_poll_handlers polls = {
        .job_add = job_add,
        .dispatch_add = dispatch_add,
        .dispatch_mod = dispatch_mod,
        .dispatch_del = dispatch_del,
    };
    struct server s = {.manner = manner, .answer_len = answer_len, .pipe = pipe};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    make_answer(&s);
    s.loop = qb_loop_create();
    s.service = qb_ipcs_create(name, 0, QB_IPC_SHM, &handlers);
    qb_ipcs_service_context_set(s.service, &s);
    qb_ipcs_poll_handlers_set(s.service, &polls);
    qb_ipcs_enforce_buffer_size(s.service, PROTO_MESSAGE_MAX);
    if (qb_ipcs_run(s.service) < 0 || write(pipe, "s", 1) != 1)
        _exit(3);
    qb_loop_run(s.loop);
    _exit(0);
}

struct fixture {
    char name[64];
    pid_t pid; /* of the server, or of who starts one after the other */
    int pipe;
    struct client *client;
};

static void wait_byte(int fd)
{
    char byte;
    alarm(60);
    assert_int_equal(read(fd, &byte, 1), 1);
    alarm(0);
}

/* second: who takes over when the first one died, after a while. */
static struct fixture fixture_new(enum manner first, enum manner second, size_t answer_len)
{
    static int n;
    struct fixture f;
    int ends[2];
    snprintf(f.name, sizeof(f.name), "rm-test-%d-%d", getpid(), n++);
    assert_int_equal(pipe(ends), 0);
    f.pid = fork();
    assert_true(f.pid >= 0);
    if (f.pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(ends[0]);
        if (first == second)
            serve(f.name, first, answer_len, ends[1]);
        pid_t child = fork();
        if (child == 0)
            serve(f.name, first, answer_len, ends[1]);
        waitpid(child, NULL, 0);
        nanosleep(&(struct timespec){.tv_nsec = 700 * 1000 * 1000}, NULL);
        serve(f.name, second, answer_len, ends[1]);
    }
    close(ends[1]);
    f.pipe = ends[0];
    wait_byte(f.pipe);
    return f;
}

static void fixture_done(struct fixture *f)
{
    client_free(f->client);
    kill(f->pid, SIGKILL);
    waitpid(f->pid, NULL, 0);
    close(f->pipe);
}

static int ask(const struct fixture *f, struct client *c, int64_t timeout_ms, struct json **ret_answer, struct error *e)
{
    (void)f;
    AUTO(json_freep) struct json *request = proto_request("status", ID, NULL);
    return client_ask(c, request, timeout_ms, true, ret_answer, e);
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void assert_blob(const struct json *answer, size_t len)
{
    const char *blob = json_str(json_path(answer, "data.blob"), "");
    assert_int_equal(strlen(blob), len);
    for (size_t i = 0; i < len; i++)
        if (blob[i] != "abcdefghijklmnopqrstuvw"[i % 23])
            fail_msg("byte %zu is wrong", i);
}

/* Answers of all sizes around a chunk, and one of 5 MiB, on the same connection. */
static void test_pull(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, PROTO_CHUNK_MAX - 39, PROTO_CHUNK_MAX, 2 * PROTO_CHUNK_MAX, 5 << 20};
    for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
        struct fixture f = fixture_new(GOOD, GOOD, sizes[k]);
        f.client = client_new(f.name, NULL, NULL);
        for (int round = 0; round < 2; round++) {
            struct error e = {0};
            AUTO(json_freep) struct json *answer = NULL;
            int err = ask(&f, f.client, 20000, &answer, &e);
            if (err)
                fail_msg("%zu bytes: %s", sizes[k], e.text);
            assert_blob(answer, sizes[k]);
            assert_int_equal(e.code, 0);
            wait_byte(f.pipe); /* one request, not more */
        }
        fixture_done(&f);
    }
}

static void assert_fails(enum manner manner, int64_t timeout_ms, int code, const char *text)
{
    struct fixture f = fixture_new(manner, manner, 3 * PROTO_CHUNK_MAX);
    struct error e = {0};
    struct json *answer = NULL;
    f.client = client_new(f.name, NULL, NULL);
    int err = ask(&f, f.client, timeout_ms, &answer, &e);
    if (err != code || e.code != code || !strstr(e.text, text))
        fail_msg("manner %d: %d, %s", (int)manner, err, e.text);
    assert_null(answer);
    fixture_done(&f);
}

static void test_nonsense(void **state)
{
    (void)state;
    assert_fails(NO_JSON, 5000, ERR_MALFORMED, "is no JSON");
    assert_fails(NO_STATUS, 5000, ERR_MALFORMED, "has no status");
    assert_fails(WRONG_OFFSET, 5000, ERR_MALFORMED, "does not fit");
    assert_fails(WRONG_TOTAL, 5000, ERR_MALFORMED, "does not fit");
    assert_fails(HUGE_TOTAL, 5000, ERR_TOO_BIG, "bytes, more than");
    assert_fails(SHORT_MESSAGE, 5000, ERR_MALFORMED, "a message of 24 bytes");
}

static void test_no_agent(void **state)
{
    (void)state;
    struct error e = {0};
    struct json *answer = NULL;
    struct client *c = client_new("rm-test-nobody", NULL, NULL);
    int64_t began = now_ms();
    assert_int_equal(ask(NULL, c, 60000, &answer, &e), ERR_NO_AGENT);
    assert_string_equal(e.text, "the agent of this node does not run");
    assert_string_equal(e.remedy, "systemctl start ringmasterd; it comes with the package ringmaster");
    assert_in_range(now_ms() - began, 0, 1000); /* at once */
    client_free(c);
}

static void test_refused(void **state)
{
    (void)state;
    assert_fails(REFUSES_UID, 5000, ERR_PERMISSION, "not permitted");
    assert_fails(REFUSES_FULL, 5000, ERR_AGAIN, "too many connections");
}

static void test_timeout(void **state)
{
    (void)state;
    int64_t began = now_ms();
    assert_fails(SILENT, 700, ERR_TIMEOUT, "does not answer in time");
    assert_in_range(now_ms() - began, 600, 5000);
}

/* A stopped agent still has its socket: the kernel takes the connection, nobody answers. */
static void test_stopped_agent(void **state)
{
    (void)state;
    struct fixture f = fixture_new(GOOD, GOOD, 1);
    struct error e = {0};
    struct json *answer = NULL;
    f.client = client_new(f.name, NULL, NULL);
    kill(f.pid, SIGSTOP);
    assert_int_equal(ask(&f, f.client, 700, &answer, &e), ERR_NO_AGENT);
    kill(f.pid, SIGCONT);
    assert_int_equal(ask(&f, f.client, 5000, &answer, &e), 0);
    json_free(answer);
    fixture_done(&f);
}

/* Dead for good: reported when the time is over. */
static void test_dies(void **state)
{
    (void)state;
    assert_fails(DIES_AT_REQUEST, 1500, ERR_NO_AGENT, "the agent of this node");
    assert_fails(DIES_AT_MORE, 1500, ERR_NO_AGENT, "the agent of this node");
}

/* Dead and started again: the same request goes out once more, and its whole answer comes. */
static void test_dies_and_comes_back(void **state)
{
    (void)state;
    static const enum manner deaths[] = {DIES_AT_REQUEST, DIES_AT_MORE};
    for (size_t k = 0; k < sizeof(deaths) / sizeof(deaths[0]); k++) {
        struct fixture f = fixture_new(deaths[k], GOOD, 5 << 20);
        struct error e = {0};
        AUTO(json_freep) struct json *answer = NULL;
        f.client = client_new(f.name, NULL, NULL);
        int err = ask(&f, f.client, 20000, &answer, &e);
        if (err)
            fail_msg("%s", e.text);
        assert_blob(answer, 5 << 20);
        fixture_done(&f);
    }
}

static bool after_two_looks(void *ctx)
{
    return ++*(int *)ctx > 2;
}

static void test_interrupted(void **state)
{
    (void)state;
    int looks = 0;
    struct fixture f = fixture_new(SILENT, SILENT, 1);
    struct error e = {0};
    struct json *answer = NULL;
    f.client = client_new(f.name, after_two_looks, &looks);
    int64_t began = now_ms();
    assert_int_equal(ask(&f, f.client, 60000, &answer, &e), ERR_AGAIN);
    assert_in_range(now_ms() - began, 0, 3000);
    fixture_done(&f);
}

static void test_request_too_big(void **state)
{
    (void)state;
    struct error e = {0};
    struct json *answer = NULL, *args = json_object_new();
    char *xml = xcalloc(1, PROTO_MESSAGE_MAX);
    memset(xml, 'x', PROTO_MESSAGE_MAX - 1);
    json_set_str(args, "xml", xml);
    AUTO(json_freep) struct json *request = proto_request("vm.add", ID, args);
    struct client *c = client_new("rm-test-nobody", NULL, NULL);
    assert_int_equal(client_ask(c, request, 1000, true, &answer, &e), ERR_TOO_BIG);
    client_free(c);
    free(xml);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pull),        cmocka_unit_test(test_nonsense),
        cmocka_unit_test(test_no_agent),    cmocka_unit_test(test_refused),
        cmocka_unit_test(test_timeout),     cmocka_unit_test(test_stopped_agent),
        cmocka_unit_test(test_dies),        cmocka_unit_test(test_dies_and_comes_back),
        cmocka_unit_test(test_interrupted), cmocka_unit_test(test_request_too_big),
    };
    return cmocka_run_group_tests_name("cli_client", tests, NULL, NULL);
}
