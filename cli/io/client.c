/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/io/client.h"

#include <errno.h>
#include <poll.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <qb/qbipcc.h>

enum {
    SLICE_MS = 200,               /* how long a wait lasts before interruption and the connection are looked at */
    CONNECT_TIMEOUT_MS = 10000,   /* the agent's loop never blocks this long */
    CONNECT_RETRY_MS = 20,        /* while others are at the door */
    RECONNECT_TIMEOUT_MS = 15000, /* systemd's restart, and the agent's start */
    RECONNECT_PAUSE_MS = 250,
};

struct client {
    const char *name;
    bool (*interrupted)(void *ctx);
    void *ctx;
    qb_ipcc_connection_t *connection; /* NULL: closed */
    uint8_t *message;                 /* PROTO_MESSAGE_MAX bytes, for one response */
};

struct request_head {
    struct qb_ipc_request_header header;
    struct proto_frame frame;
} __attribute__((aligned(8)));

struct response_head {
    struct qb_ipc_response_header header;
    struct proto_frame frame;
} __attribute__((aligned(8)));

struct client *client_new(const char *name, bool (*interrupted)(void *ctx), void *ctx)
{
    struct client *c = xcalloc(1, sizeof(*c));
    *c = (struct client){.name = name, .interrupted = interrupted, .ctx = ctx};
    c->message = xmalloc(PROTO_MESSAGE_MAX);
    return c;
}

static void client_close(struct client *c)
{
    if (c->connection)
        qb_ipcc_disconnect(c->connection);
    c->connection = NULL;
}

void client_free(struct client *c)
{
    if (!c)
        return;
    client_close(c);
    free(c->message);
    free(c);
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int slice_of(int64_t until_ms)
{
    int64_t left = until_ms - now_ms();
    return left <= 0 ? 0 : left < SLICE_MS ? (int)left : SLICE_MS;
}

static bool is_interrupted(const struct client *c)
{
    return c->interrupted && c->interrupted(c->ctx);
}

static int set_interrupted(struct error *e)
{
    return error_set(e, ERR_AGAIN, "interrupted");
}

/* ERR_NO_AGENT: it was asked nothing yet; ERR_TIMEOUT: what it was asked may still happen. */
static int set_silent(int code, struct error *e)
{
    error_set(e, code, "the agent of this node takes connections but does not answer in time");
    error_set_remedy(e, "systemctl status ringmasterd");
    return code;
}

/* ---- connecting -------------------------------------------------------------------------------------------------- */

static int set_connect_error(int number, struct error *e)
{
    if (number == EACCES || number == EPERM) {
        error_set(e, ERR_PERMISSION, "you are not permitted to talk to the agent of this node");
        error_set_remedy(e, "be root, or a member of the group ringmaster-admin or ringmaster-read");
        return ERR_PERMISSION;
    }
    if (number == EMFILE || number == EAGAIN)
        return error_set(e, ERR_AGAIN, "the agent of this node has too many connections");
    if (number == ECONNREFUSED || number == ENOENT || number == ENOTCONN)
        error_set(e, ERR_NO_AGENT, "the agent of this node does not run");
    else
        error_set(e, ERR_NO_AGENT, "the agent of this node cannot be reached: %s", strerror(number));
    error_set_remedy(e, "systemctl start ringmasterd; it comes with the package ringmaster");
    return ERR_NO_AGENT;
}

/* The agent's side of a new connection: a stopped agent still has a socket that accepts. 0, ERR_AGAIN, ERR_NO_AGENT. */
static int await_accept(const struct client *c, int fd, int64_t until_ms, struct error *e)
{
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int n = poll(&p, 1, slice_of(until_ms));
        if (n > 0)
            return 0;
        if (is_interrupted(c))
            return set_interrupted(e);
        if (now_ms() >= until_ms)
            return set_silent(ERR_NO_AGENT, e);
    }
}

/* Many may stand at the agent's door: those whom it lets in late are let in. NULL, and errno. */
static qb_ipcc_connection_t *connect_in_turn(const struct client *c, int64_t until_ms, int *ret_fd)
{
    for (;;) {
        errno = 0;
        qb_ipcc_connection_t *connection = qb_ipcc_connect_async(c->name, PROTO_MESSAGE_MAX, ret_fd);
        if (connection || errno != EAGAIN || is_interrupted(c) || now_ms() >= until_ms)
            return connection;
        poll(NULL, 0, CONNECT_RETRY_MS);
    }
}

static int client_open(struct client *c, int64_t until_ms, struct error *e)
{
    if (c->connection)
        return 0;
    int64_t connect_until_ms = now_ms() + CONNECT_TIMEOUT_MS;
    if (until_ms < connect_until_ms)
        connect_until_ms = until_ms;
    int fd = -1;
    qb_ipcc_connection_t *connection = connect_in_turn(c, connect_until_ms, &fd);
    if (!connection)
        return set_connect_error(errno ? errno : ECONNREFUSED, e);
    int err = await_accept(c, fd, connect_until_ms, e);
    if (err) {
        qb_ipcc_disconnect(connection); /* half made: it frees its memory, and leaves the socket open */
        close(fd);
        return err;
    }
    int res = qb_ipcc_connect_continue(connection); /* frees the connection when it fails */
    if (res != 0)
        return set_connect_error(res < 0 ? -res : res, e);
    c->connection = connection;
    return 0;
}

/* ---- one message each way ---------------------------------------------------------------------------------------- */

static int set_lost(struct error *e)
{
    int err = error_set(e, ERR_NO_AGENT, "the connection to the agent of this node was lost");
    error_set_remedy(e, "systemctl status ringmasterd");
    return err;
}

static int send_message(struct client *c, int32_t id, struct proto_frame frame, const char *text, size_t len,
                        int64_t until_ms, struct error *e)
{
    struct request_head head = {.header = {.id = id, .size = (int32_t)(sizeof(head) + len)}, .frame = frame};
    struct iovec parts[] = {{&head, sizeof(head)}, {(void *)(uintptr_t)text, len}};
    for (;;) {
        ssize_t n = qb_ipcc_sendv(c->connection, parts, len ? 2 : 1);
        if (n >= 0)
            return 0;
        if (n != -EAGAIN)
            return set_lost(e);
        if (is_interrupted(c))
            return set_interrupted(e);
        if (now_ms() >= until_ms)
            return set_silent(ERR_TIMEOUT, e);
        poll(NULL, 0, slice_of(until_ms));
    }
}

/* The length of the message in c->message, or an error. */
static ssize_t receive_message(struct client *c, int64_t until_ms, struct error *e)
{
    for (;;) {
        ssize_t n = qb_ipcc_recv(c->connection, c->message, PROTO_MESSAGE_MAX, slice_of(until_ms));
        if (n >= 0)
            return n;
        if (n != -EAGAIN && n != -ETIMEDOUT && n != -EINTR)
            return set_lost(e);
        if (is_interrupted(c))
            return set_interrupted(e);
        if (now_ms() >= until_ms)
            return set_silent(ERR_TIMEOUT, e);
    }
}

/* Adds the chunk of the message to *text. */
static int take_chunk(const struct client *c, size_t len, struct buf *text, uint32_t *total, struct error *e)
{
    struct response_head head;
    if (len < sizeof(head))
        return error_set(e, ERR_MALFORMED, "the agent sent a message of %zu bytes", len);
    memcpy(&head, c->message, sizeof(head));
    size_t chunk = len - sizeof(head);
    if (head.header.id != PROTO_RESPONSE || head.header.size < 0 || (size_t)head.header.size != len)
        return error_set(e, ERR_MALFORMED, "the agent sent a message that is no answer");
    if (head.header.error < 0)
        return set_connect_error(-head.header.error, e);
    if (head.frame.total > PROTO_ANSWER_MAX)
        return error_set(e, ERR_TOO_BIG, "the answer has %u bytes, more than %d", head.frame.total, PROTO_ANSWER_MAX);
    bool first = text->len == 0;
    if (head.frame.offset != text->len || (!first && head.frame.total != *total) || chunk == 0 ||
        chunk > head.frame.total - text->len)
        return error_set(e, ERR_MALFORMED, "the agent sent a piece of an answer that does not fit");
    buf_add(text, c->message + sizeof(head), chunk);
    *total = head.frame.total;
    return 0;
}

static int receive_chunk(struct client *c, int64_t until_ms, struct buf *text, uint32_t *total, struct error *e)
{
    ssize_t len = receive_message(c, until_ms, e);
    return len < 0 ? (int)len : take_chunk(c, (size_t)len, text, total, e);
}

/* ---- a request --------------------------------------------------------------------------------------------------- */

static int exchange(struct client *c, const char *text, size_t len, int64_t until_ms, struct buf *answer,
                    struct error *e)
{
    uint32_t total = 0;
    int err = send_message(c, PROTO_REQUEST, (struct proto_frame){.total = (uint32_t)len}, text, len, until_ms, e);
    if (!err)
        err = receive_chunk(c, until_ms, answer, &total, e);
    while (!err && answer->len < total) {
        struct proto_frame more = {.total = total, .offset = (uint32_t)answer->len};
        err = send_message(c, PROTO_MORE, more, NULL, 0, until_ms, e);
        if (!err)
            err = receive_chunk(c, until_ms, answer, &total, e);
    }
    return err;
}

static int ask_once(struct client *c, const char *text, size_t len, int64_t until_ms, bool *sent, struct buf *answer,
                    struct error *e)
{
    int err = client_open(c, until_ms, e);
    if (err)
        return err;
    *sent = true;
    err = exchange(c, text, len, until_ms, answer, e);
    if (err)
        client_close(c);
    return err;
}

static int parse_answer(const struct buf *text, struct json **ret, struct error *e)
{
    struct error why = {0};
    struct json *answer = NULL;
    int err = json_parse((const char *)text->p, text->len, &answer, &why);
    if (err)
        return error_set(e, ERR_MALFORMED, "the agent's answer is no JSON: %s", why.text);
    if (!json_is_int(json_path(answer, "status.code"))) {
        json_free(answer);
        return error_set(e, ERR_MALFORMED, "the agent's answer has no status");
    }
    *ret = answer;
    return 0;
}

int client_ask(struct client *c, const struct json *request, int64_t timeout_ms, bool again, struct json **ret_answer,
               struct error *e)
{
    AUTO(freep) char *text = json_dump(request);
    size_t len = strlen(text);
    if (len > PROTO_MESSAGE_MAX - sizeof(struct request_head))
        return error_set(e, ERR_TOO_BIG, "the request has %zu bytes, the agent takes %zu", len,
                         PROTO_MESSAGE_MAX - sizeof(struct request_head));
    int64_t until_ms = now_ms() + timeout_ms;
    int64_t reconnect_until_ms = now_ms() + RECONNECT_TIMEOUT_MS;
    bool sent = c->connection != NULL; /* an agent was there */
    AUTO(buf_done) struct buf answer = {0};
    for (;;) {
        answer.len = 0;
        bool sent_now = false;
        struct error why = {0};
        int err = ask_once(c, text, len, until_ms, &sent_now, &answer, &why);
        if (!err)
            return parse_answer(&answer, ret_answer, e);
        if (sent_now) /* this agent was alive until now */
            reconnect_until_ms = now_ms() + RECONNECT_TIMEOUT_MS;
        sent = sent || sent_now;
        if (!again || err != ERR_NO_AGENT || !sent || now_ms() >= reconnect_until_ms || now_ms() >= until_ms) {
            *e = why;
            return err;
        }
        if (is_interrupted(c))
            return set_interrupted(e);
        poll(NULL, 0, RECONNECT_PAUSE_MS);
    }
}
