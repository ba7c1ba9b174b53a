/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Committed writes through etcd: its own protocol (gRPC over HTTP/2 without TLS, etcdserverpb.KV/Put), so many puts
 * under way at once on one connection, as etcd's own benchmark does it.
 *
 *     etcd-load ADDRESS PORT SECONDS IN_FLIGHT BYTES
 *
 * A gRPC message is one byte 0 (not compressed), its length (u32, big endian), and the protobuf of PutRequest:
 * field 1 key, field 2 value, both bytes. What became of it is in the trailer grpc-status; 0 is done. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/load.h"

enum { FRAME_MAX = 512 };

struct put {
    uint8_t body[FRAME_MAX];
    size_t len, sent;
    bool ok; /* grpc-status 0 came */
};

struct load {
    nghttp2_session *session;
    int fd;
    char authority[64];
    struct put puts[LOAD_IN_FLIGHT_MAX];
    size_t bytes, in_flight;
    int64_t until_us;
    uint64_t number, done, failed;
    char why[128];
};

static size_t put_field(uint8_t *at, uint8_t field, const char *text, size_t len)
{
    size_t n = 0;
    at[n++] = (uint8_t)(field << 3 | 2);
    for (size_t left = len; n < 2 || left; left >>= 7) /* varint, the low seven bits first */
        at[n++] = (uint8_t)((left & 0x7f) | (left >= 0x80 ? 0x80 : 0));
    memcpy(at + n, text, len);
    return n + len;
}

static size_t encode(const struct load *l, uint8_t *body)
{
    char key[32], value[LOAD_BYTES_MAX + 1];
    snprintf(key, sizeof(key), "bench.%02u", (unsigned)(l->number % LOAD_KEYS));
    load_value(value, l->bytes, l->number);
    size_t n = put_field(body + 5, 1, key, strlen(key));
    n += put_field(body + 5 + n, 2, value, l->bytes);
    body[0] = body[1] = body[2] = 0;
    body[3] = (uint8_t)(n >> 8);
    body[4] = (uint8_t)n;
    return n + 5;
}

static ssize_t read_body(nghttp2_session *session, int32_t stream, uint8_t *to, size_t max, uint32_t *flags,
                         nghttp2_data_source *source, void *data)
{
    (void)session, (void)stream, (void)data;
    struct put *p = source->ptr;
    size_t n = p->len - p->sent < max ? p->len - p->sent : max;
    memcpy(to, p->body + p->sent, n);
    p->sent += n;
    if (p->sent == p->len)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

#define HEADER(name, value) \
    {(uint8_t *)(uintptr_t)(name), (uint8_t *)(uintptr_t)(value), strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE}

static void begin(struct load *l, struct put *p)
{
    const nghttp2_nv headers[] = {
        HEADER(":method", "POST"),       HEADER(":scheme", "http"), HEADER(":path", "/etcdserverpb.KV/Put"),
        HEADER(":authority", l->authority), HEADER("te", "trailers"), HEADER("content-type", "application/grpc"),
    };
    nghttp2_data_provider body = {.source.ptr = p, .read_callback = read_body};
    p->len = encode(l, p->body);
    p->sent = 0;
    p->ok = false;
    l->number++;
    if (nghttp2_submit_request(l->session, NULL, headers, sizeof(headers) / sizeof(headers[0]), &body, p) < 0)
        abort();
    l->in_flight++;
}

/* ---- what nghttp2 tells */

static ssize_t on_send(nghttp2_session *session, const uint8_t *bytes, size_t len, int flags, void *data)
{
    (void)session, (void)flags;
    struct load *l = data;
    ssize_t n = send(l->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0)
        return n;
    return errno == EAGAIN ? NGHTTP2_ERR_WOULDBLOCK : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t len, uint8_t flags, void *data)
{
    static const char status[] = "grpc-status";
    (void)flags, (void)data;
    struct put *p = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (p && name_len == sizeof(status) - 1 && memcmp(name, status, name_len) == 0)
        p->ok = len == 1 && value[0] == '0';
    return 0;
}

static int on_end(nghttp2_session *session, int32_t stream, uint32_t error, void *data)
{
    struct load *l = data;
    struct put *p = nghttp2_session_get_stream_user_data(session, stream);
    bool ok = p && p->ok && error == 0;
    l->in_flight--;
    l->done += ok;
    l->failed += !ok;
    if (!ok)
        snprintf(l->why, sizeof(l->why), "etcd refused a put (HTTP/2 error %u)", error);
    else if (!l->failed && load_now_us() < l->until_us)
        begin(l, p);
    return 0;
}

/* ---- the connection */

static void fail(struct load *l, const char *what)
{
    snprintf(l->why, sizeof(l->why), "%s: %s", what, strerror(errno));
    load_print(0, 1, 0, l->why);
    exit(1);
}

static void open_connection(struct load *l, const char *address, long port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int on = 1;
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (inet_pton(AF_INET, address, &to.sin_addr) != 1 || l->fd < 0 ||
        connect(l->fd, (struct sockaddr *)&to, sizeof(to)) != 0)
        fail(l, "etcd cannot be reached");
    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    snprintf(l->authority, sizeof(l->authority), "%s:%ld", address, port);
    nghttp2_session_callbacks *callbacks;
    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        abort();
    nghttp2_session_callbacks_set_send_callback(callbacks, on_send);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_end);
    if (nghttp2_session_client_new(&l->session, callbacks, l) != 0 ||
        nghttp2_submit_settings(l->session, NGHTTP2_FLAG_NONE, NULL, 0) != 0)
        abort();
    nghttp2_session_callbacks_del(callbacks);
}

static void take_bytes(struct load *l)
{
    uint8_t bytes[65536];
    ssize_t n = recv(l->fd, bytes, sizeof(bytes), 0);
    if (n <= 0)
        fail(l, "etcd closed the connection");
    if (nghttp2_session_mem_recv(l->session, bytes, (size_t)n) < 0)
        fail(l, "etcd does not speak HTTP/2");
}

/* in_flight puts at once, each followed by the next, until the time is over and all are answered. */
static void run(struct load *l, size_t in_flight, int64_t until_us)
{
    l->until_us = until_us;
    for (size_t i = 0; i < in_flight; i++)
        begin(l, &l->puts[i]);
    while (l->in_flight > 0) {
        if (nghttp2_session_send(l->session) != 0)
            fail(l, "sending to etcd");
        struct pollfd p = {.fd = l->fd, .events = POLLIN};
        if (nghttp2_session_want_write(l->session))
            p.events |= POLLOUT;
        if (poll(&p, 1, 30000) == 0) {
            errno = ETIMEDOUT;
            fail(l, "etcd does not answer");
        }
        if (p.revents & (POLLIN | POLLHUP | POLLERR))
            take_bytes(l);
    }
}

int main(int argc, char **argv)
{
    static struct load l;
    if (argc != 6) {
        fputs("usage: etcd-load ADDRESS PORT SECONDS IN_FLIGHT BYTES\n", stderr);
        return 64;
    }
    int64_t seconds = load_number(argv[3], 1, 600);
    size_t in_flight = (size_t)load_number(argv[4], 1, LOAD_IN_FLIGHT_MAX);
    l.bytes = (size_t)load_number(argv[5], 32, LOAD_BYTES_MAX);
    open_connection(&l, argv[1], load_number(argv[2], 1, 65535));
    run(&l, 1, 0); /* one put, so that all is warm before the clock starts */
    l.done = 0;
    int64_t began_us = load_now_us();
    if (!l.failed)
        run(&l, in_flight, began_us + seconds * 1000000);
    load_print(l.done, l.failed, load_now_us() - began_us, l.why);
    return l.failed ? 1 : 0;
}
