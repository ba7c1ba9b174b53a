/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Committed writes through the agent of this node: `cluster config set`, as clusterctl sends it, on so many connections
 * at once; on each the next write goes out when the last one is answered.
 *
 *     agent-load SECONDS IN_FLIGHT BYTES
 *
 * A write is counted when the agent has answered that it is committed. One thread, as etcd-load: the load shares the
 * processors with what it measures. It waits for the answer that is due next: answers come in the order of commits. */
#include <sys/random.h>
#include <sys/uio.h>
#include <unistd.h>

#include <qb/qbipcc.h>

#include "common/proto.h"
#include "common/uuid.h"
#include "tests/bench/load.h"

enum { ASK_MS = 30000 };

static uint8_t answer[PROTO_MESSAGE_MAX];

/* The text of a request but for its id and the value written, which have a fixed length: the load does not make JSON
 * anew for each write, as the peer's does not make gRPC's headers. */
struct request {
    char *text;
    size_t len;
    char *id, *value;
};

static const char no_id[] = "00000000-0000-0000-0000-000000000000";

static struct request request_of(const char *verb, struct json *args, const char *value)
{
    AUTO(json_freep) struct json *json = proto_request(verb, no_id, args);
    struct request r = {.text = json_dump(json)};
    r.len = strlen(r.text);
    r.id = strstr(r.text, no_id);
    r.value = value ? strstr(r.text, value) : NULL;
    return r;
}

static struct request write_request(size_t bytes)
{
    char value[LOAD_BYTES_MAX + 1];
    load_value(value, bytes, 0);
    struct json *args = json_object_new();
    json_set_str(args, "name", "upgrade.executor");
    json_set_str(args, "value", value);
    return request_of("cluster.config.set", args, value);
}

/* As clusterctl's. */
static void put_id(const struct request *r)
{
    struct uuid id;
    struct timespec now;
    if (getrandom(&id, sizeof(id), 0) != sizeof(id))
        abort();
    clock_gettime(CLOCK_REALTIME, &now);
    id = uuid_at(now.tv_sec * 1000 + now.tv_nsec / 1000000, id);
    memcpy(r->id, uuid_str(&id).s, sizeof(no_id) - 1);
}

static int ask(qb_ipcc_connection_t *c, const struct request *r, struct error *e)
{
    put_id(r);
    struct {
        struct qb_ipc_request_header header;
        struct proto_frame frame;
    } __attribute__((aligned(8))) head = {.header = {.id = PROTO_REQUEST}};
    head.frame.total = (uint32_t)r->len;
    head.header.size = (int32_t)(sizeof(head) + head.frame.total);
    struct iovec parts[] = {{&head, sizeof(head)}, {r->text, r->len}};
    ssize_t n = qb_ipcc_sendv(c, parts, 2);
    return n < 0 ? error_set(e, ERR_NO_AGENT, "the agent took no request: %s", strerror((int)-n)) : 0;
}

static int refusal(const char *text, size_t len, struct error *e)
{
    AUTO(json_freep) struct json *found = NULL;
    if (json_parse(text, len, &found, e) != 0)
        return e->code;
    return error_set(e, ERR_FAILED, "%s", json_get_str(json_get(found, "status"), "message", "no status"));
}

/* 0: it is committed. Only what is not the answer to that is parsed. */
static int take(qb_ipcc_connection_t *c, struct error *e)
{
    static const char done[] = "\"status\":{\"code\":0,";
    struct {
        struct qb_ipc_response_header header;
        struct proto_frame frame;
    } __attribute__((aligned(8))) head;
    ssize_t n = qb_ipcc_recv(c, answer, sizeof(answer), ASK_MS);
    if (n < (ssize_t)sizeof(head))
        return error_set(e, ERR_NO_AGENT, "no answer: %s", n < 0 ? strerror((int)-n) : "a message of a few bytes");
    memcpy(&head, answer, sizeof(head));
    const char *text = (const char *)answer + sizeof(head);
    size_t len = (size_t)n - sizeof(head);
    if (head.frame.total != len)
        return error_set(e, ERR_MALFORMED, "an answer in more than one message");
    return memmem(text, len, done, sizeof(done) - 1) ? 0 : refusal(text, len, e);
}

static int write_one(qb_ipcc_connection_t *c, const struct request *r, size_t bytes, uint64_t number, struct error *e)
{
    char value[LOAD_BYTES_MAX + 1];
    load_value(value, bytes, number);
    memcpy(r->value, value, bytes);
    return ask(c, r, e);
}

/* Connections are made, and have been of use, before the clock starts. */
static int connect_all(qb_ipcc_connection_t **c, size_t n, struct error *e)
{
    struct request show = request_of("cluster.config.show", NULL, NULL);
    for (size_t i = 0; i < n; i++) {
        c[i] = qb_ipcc_connect(PROTO_IPC_NAME, PROTO_MESSAGE_MAX);
        if (c[i] == NULL)
            return error_set(e, ERR_NO_AGENT, "the agent of this node cannot be reached: %s", strerror(errno));
        if (ask(c[i], &show, e) != 0 || take(c[i], e) != 0)
            return e->code;
    }
    free(show.text);
    return 0;
}

int main(int argc, char **argv)
{
    static qb_ipcc_connection_t *connections[LOAD_IN_FLIGHT_MAX];
    struct error e = {0};
    if (argc != 4) {
        fputs("usage: agent-load SECONDS IN_FLIGHT BYTES\n", stderr);
        return 64;
    }
    long seconds = load_number(argv[1], 1, 600);
    size_t in_flight = (size_t)load_number(argv[2], 1, LOAD_IN_FLIGHT_MAX);
    size_t bytes = (size_t)load_number(argv[3], 32, LOAD_BYTES_MAX);
    if (connect_all(connections, in_flight, &e) != 0) {
        load_print(0, 1, 0, e.text);
        return 1;
    }
    struct request request = write_request(bytes);
    uint64_t number = (uint64_t)load_now_us() * 1000, sent = 0, done = 0;
    int64_t began_us = load_now_us(), until_us = began_us + seconds * 1000000;
    int err = 0;
    while (!err && sent < in_flight)
        err = write_one(connections[sent++], &request, bytes, number++, &e);
    for (; !err && done < sent; done += !err) {
        qb_ipcc_connection_t *c = connections[done % in_flight];
        err = take(c, &e);
        if (!err && load_now_us() < until_us) {
            err = write_one(c, &request, bytes, number++, &e);
            sent++;
        }
    }
    load_print(done, sent - done, load_now_us() - began_us, e.text);
    free(request.text);
    return err ? 1 : 0;
}
