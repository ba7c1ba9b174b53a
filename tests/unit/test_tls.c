/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Real TLS over the loopback. */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>

#include "agent/io/files.h"
#include "agent/io/tlsconn.h"
#include "tests/unit/membernode.h"

/* What the core would decide. */
enum verdict { ADMIT, REFUSE, HOLD };

struct world {
    struct membernode node, other; /* other: a cluster of its own */
    enum verdict verdict;
    struct buf snapshot;
    pthread_mutex_t lock;
    unsigned n_joins, n_fetches;
    struct join_request last; /* its pointers are not kept */
    struct tls_client *held[TLS_CLIENTS_MAX];
    unsigned n_held;
};

static void on_join(void *ctx, struct tls_client *c, struct join_request *r)
{
    struct world *w = ctx;
    pthread_mutex_lock(&w->lock);
    w->n_joins++;
    w->last = *r;
    if (w->verdict == HOLD)
        w->held[w->n_held++] = c;
    pthread_mutex_unlock(&w->lock);
    struct error e = {0};
    if (w->verdict == ADMIT) {
        struct core_action a = membernode_issue(&w->node, r);
        tls_client_issue(c, &a, &e);
    } else if (w->verdict == REFUSE) {
        error_set(&e, ERR_PERMISSION, "the token of %s is used up", r->node);
        error_set_remedy(&e, "make a new one");
        tls_client_refuse(c, &e);
    }
    join_request_done(r);
    free(r);
}

static void on_fetch(void *ctx, struct tls_client *c)
{
    struct world *w = ctx;
    pthread_mutex_lock(&w->lock);
    w->n_fetches++;
    pthread_mutex_unlock(&w->lock);
    tls_client_send_snapshot(c, buf_slice(&w->snapshot));
}

static const struct tls_server_ops ops = {on_join, on_fetch};

static int setup(void **state)
{
    struct world *w = xcalloc(1, sizeof(*w));
    pthread_mutex_init(&w->lock, NULL);
    membernode_found(&w->node, "demo");
    membernode_found(&w->other, "demo"); /* the same name: that is not what counts */
    membernode_serve(&w->node, &ops, w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    membernode_done(&w->node);
    membernode_done(&w->other);
    pthread_mutex_destroy(&w->lock);
    buf_done(&w->snapshot);
    free(w);
    return 0;
}

static uint16_t port_of(struct world *w)
{
    return tls_server_port(w->node.server);
}

static const uint8_t secret[JOIN_SECRET_SIZE] = "0123456789abcdef0123456789abcde";

static struct buf some_request(void)
{
    AUTO(buf_done) struct buf key = {0}, csr = {0};
    struct join_request r = {.token = pki_uuid(), .replica = pki_uuid(), .facts = membernode_facts("n2")};
    STR_COPY(r.node, "n2");
    STR_COPY(r.address, "127.0.0.1");
    assert_int_equal(pki_key_make(&key, NULL), 0);
    assert_int_equal(pki_csr_make(buf_slice(&key), "n2", &csr, NULL), 0);
    r.csr = buf_steal_str(&csr);
    struct buf text = joinmsg_request(&r, secret);
    free(r.csr);
    return text;
}

static int ask(struct world *w, const struct hash *ca, struct buf *ret, struct error *e)
{
    AUTO(buf_done) struct buf request = some_request();
    return tls_ask_join(ca, "127.0.0.1", port_of(w), buf_slice(&request), ret, e);
}

static void test_join_admitted(void **state)
{
    struct world *w = *state;
    AUTO(buf_done) struct buf text = {0};
    AUTO(join_answer_done) struct join_answer a = {0};
    struct error e = {0};
    w->verdict = ADMIT;
    assert_int_equal(ask(w, &w->node.founded.ca_hash, &text, &e), 0);
    assert_int_equal(joinmsg_answer_parse(buf_slice(&text), &a, &e), 0);
    assert_int_equal(a.nodeid, 2);
    assert_string_equal(a.corosync_conf, TEST_CONF);
    assert_true(uuid_eq(&a.cluster, &w->node.founded.identity.cluster));
    assert_int_equal(a.authkey.len, AUTHKEY_SIZE);
    struct hash h, expected = hash_of(secret, sizeof(secret));
    assert_int_equal(pki_cert_hash((struct slice){(uint8_t *)a.ca, strlen(a.ca)}, &h, NULL), 0);
    assert_true(hash_eq(&h, &w->node.founded.ca_hash));
    assert_true(hash_eq(&w->last.secret_hash, &expected));
    assert_int_equal(w->last.facts.qemu_version, 7002000);
    assert_string_equal(w->last.facts.release, "bookworm");
}

static void test_join_refused(void **state)
{
    struct world *w = *state;
    AUTO(buf_done) struct buf text = {0};
    struct error e = {0};
    w->verdict = REFUSE;
    assert_int_equal(ask(w, &w->node.founded.ca_hash, &text, &e), 0);
    assert_int_equal(joinmsg_answer_status(buf_slice(&text), NULL, &e), ERR_PERMISSION);
    assert_string_equal(e.text, "the token of n2 is used up");
    assert_string_equal(e.remedy, "make a new one");
}

static void test_wrong_ca_is_not_told_the_secret(void **state)
{
    struct world *w = *state;
    struct buf text = {0};
    struct error e = {0};
    unsigned before = w->n_joins;
    assert_int_equal(ask(w, &w->other.founded.ca_hash, &text, &e), ERR_CONDITION);
    assert_non_null(strstr(e.text, "belongs to another cluster: its CA is not the one expected"));
    assert_null(text.p);
    assert_int_equal(w->n_joins, before);
}

/* A server that shows the right CA, which anybody can have, but no certificate of it. */
static void test_borrowed_ca_is_not_believed(void **state)
{
    struct world *w = *state;
    AUTO(buf_done) struct buf ca = {0}, text = {0};
    struct error e = {0};
    struct membernode liar = {0};
    membernode_found(&liar, "demo");
    assert_int_equal(file_read(w->node.dir.path, PATH_CA, PKI_PEM_MAX, &ca, NULL), 0);
    assert_int_equal(file_install(liar.dir.path, PATH_CA, buf_slice(&ca), (struct file_mode){.mode = 0644}, NULL), 0);
    membernode_serve(&liar, &ops, w);
    unsigned before = w->n_joins;
    AUTO(buf_done) struct buf request = some_request();
    int err = tls_ask_join(&w->node.founded.ca_hash, "127.0.0.1", tls_server_port(liar.server), buf_slice(&request),
                           &text, &e);
    assert_int_equal(err, ERR_CONDITION);
    assert_non_null(strstr(e.text, "is not valid"));
    assert_int_equal(w->n_joins, before);
    membernode_done(&liar);
}

static void test_fetch(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < 6000000; i++) /* larger than what is buffered at once */
        buf_add(&w->snapshot, &(uint8_t){(uint8_t)(i * 7 + i / 253)}, 1);
    AUTO(buf_done) struct buf got = {0};
    struct error e = {0};
    assert_int_equal(tls_fetch_snapshot_in(w->node.dir.path, "127.0.0.1", port_of(w), &got, &e), 0);
    assert_int_equal(got.len, w->snapshot.len);
    assert_memory_equal(got.p, w->snapshot.p, got.len);
    buf_done(&w->snapshot);
    AUTO(buf_done) struct buf empty = {0};
    assert_int_equal(tls_fetch_snapshot_in(w->node.dir.path, "127.0.0.1", port_of(w), &empty, &e), 0);
    assert_int_equal(empty.len, 0);
}

/* A connection that believes the server and shows no certificate. */
static struct tls_conn *stranger(struct world *w)
{
    SSL_CTX *ctx = tls_context_new(TLS_client_method(), NULL);
    struct tls_conn *c = NULL;
    struct error e = {0};
    int err = tls_conn_connect(ctx, "127.0.0.1", port_of(w), &w->node.founded.ca_hash, &c, &e);
    assert_string_equal(e.text, "");
    assert_int_equal(err, 0);
    SSL_CTX_free(ctx);
    return c;
}

/* Sends that as a frame; the code of the refusal, or of whatever else went wrong. */
static int say(struct world *w, const char *text, struct error *e)
{
    struct tls_conn *c = stranger(w);
    AUTO(buf_done) struct buf answer = {0};
    int err = tls_conn_send(c, (struct slice){(const uint8_t *)text, strlen(text)}, 1000, e);
    err = err ? err : tls_conn_receive(c, 1000, 5000, &answer, e);
    err = err ? err : joinmsg_answer_status(buf_slice(&answer), NULL, e);
    tls_conn_free(c);
    return err;
}

static void test_fetch_without_certificate(void **state)
{
    struct world *w = *state;
    struct error e = {0};
    unsigned before = w->n_fetches;
    assert_int_equal(say(w, "{\"format\": 1, \"verb\": \"fetch\"}", &e), ERR_PERMISSION);
    assert_non_null(strstr(e.text, "only a member may fetch"));
    assert_int_equal(w->n_fetches, before);
}

static void test_fetch_with_a_certificate_of_another_ca(void **state)
{
    struct world *w = *state;
    /* The other cluster's certificate and key, and this cluster's CA: the server is believed, the client is not. */
    AUTO(buf_done) struct buf ca = {0}, got = {0};
    struct error e = {0};
    struct membernode thief = {0};
    membernode_found(&thief, "demo");
    assert_int_equal(file_read(w->node.dir.path, PATH_CA, PKI_PEM_MAX, &ca, NULL), 0);
    assert_int_equal(file_install(thief.dir.path, PATH_CA, buf_slice(&ca), (struct file_mode){.mode = 0644}, NULL), 0);
    unsigned before = w->n_fetches;
    assert_int_not_equal(tls_fetch_snapshot_in(thief.dir.path, "127.0.0.1", port_of(w), &got, &e), 0);
    assert_int_equal(w->n_fetches, before);
    assert_null(got.p);
    membernode_done(&thief);
}

static void test_garbage(void **state)
{
    struct world *w = *state;
    unsigned before = w->n_joins;
    struct error e = {0};
    assert_int_equal(say(w, "", &e), ERR_MALFORMED);
    assert_int_equal(say(w, "\x01\x02", &e), ERR_MALFORMED);
    assert_int_equal(say(w, "[]", &e), ERR_MALFORMED);
    assert_int_equal(say(w, "{\"format\": 2, \"verb\": \"fetch\"}", &e), ERR_MALFORMED);
    assert_int_equal(say(w, "{\"format\": 1, \"verb\": \"dance\"}", &e), ERR_MALFORMED);
    assert_int_equal(say(w, "{\"format\": 1, \"verb\": \"join\"}", &e), ERR_MALFORMED);
    assert_string_equal(e.text, "the join request's \"token\" is missing or wrong");
    assert_int_equal(w->n_joins, before);
}

/* One member of a good request spoilt at a time: each is noticed, and named. */
static void test_spoilt_requests(void **state)
{
    struct world *w = *state;
    static const char *const keys[] = {"token", "secret", "replica", "node", "address", "csr", "facts"};
    unsigned before = w->n_joins;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        AUTO(buf_done) struct buf text = some_request();
        AUTO(json_freep) struct json *j = NULL;
        assert_int_equal(json_parse((char *)text.p, text.len, &j, NULL), 0);
        json_set_str(j, keys[i], "../x y");
        if (str_eq(keys[i], "csr"))
            json_set_str(j, keys[i], "");
        AUTO(freep) char *spoilt = json_dump(j);
        struct error e = {0};
        char expected[100];
        snprintf(expected, sizeof(expected), "the join request's \"%s\" is missing or wrong", keys[i]);
        assert_int_equal(say(w, spoilt, &e), ERR_MALFORMED);
        assert_string_equal(e.text, expected);
    }
    assert_int_equal(w->n_joins, before);
}

static void test_oversized_frame(void **state)
{
    struct world *w = *state;
    struct error e = {0};
    char *text = xmalloc(JOINMSG_REQUEST_MAX + 2);
    memset(text, ' ', JOINMSG_REQUEST_MAX + 1);
    text[JOINMSG_REQUEST_MAX + 1] = '\0';
    assert_int_equal(say(w, text, &e), ERR_TOO_BIG);
    assert_non_null(strstr(e.text, "sends a message of 65537 bytes"));
    free(text);
}

static int plain_connect(struct world *w)
{
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_port = htons(port_of(w)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    return fd;
}

static void test_no_tls_at_all(void **state)
{
    struct world *w = *state;
    int fd = plain_connect(w);
    char answer[256];
    assert_int_equal(send(fd, "GET / HTTP/1.0\r\n\r\n", 18, MSG_NOSIGNAL), 18);
    while (recv(fd, answer, sizeof(answer), 0) > 0) /* an alert at most, then the end */
        ;
    close(fd);
    struct error e = {0};
    assert_int_equal(say(w, "[]", &e), ERR_MALFORMED); /* it serves on */
}

static void test_only_tls_1_3(void **state)
{
    struct world *w = *state;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
    SSL *ssl = SSL_new(ctx);
    int fd = plain_connect(w);
    SSL_set_fd(ssl, fd);
    assert_int_not_equal(SSL_connect(ssl), 1);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    close(fd);
}

/* A peer that goes away while it is written to must not end the process by SIGPIPE. */
static void test_peer_goes_away(void **state)
{
    struct world *w = *state;
    signal(SIGPIPE, SIG_DFL); /* who starts the tests may have it ignored */
    struct tls_conn *c = stranger(w);
    struct error e = {0};
    AUTO(buf_done) struct buf request = some_request();
    w->verdict = HOLD;
    assert_int_equal(tls_conn_send(c, buf_slice(&request), 1000, &e), 0);
    for (unsigned held = 0; held == 0;) {
        pthread_mutex_lock(&w->lock);
        held = w->n_held;
        pthread_mutex_unlock(&w->lock);
    }
    tls_conn_free(c);
    struct buf big = {0};
    big.len = big.cap = 8 << 20;
    big.p = xcalloc(1, big.len);
    tls_client_send_snapshot(w->held[0], buf_slice(&big));
    w->n_held = 0;
    buf_done(&big);
    assert_int_equal(say(w, "[]", &e), ERR_MALFORMED);
}

static void *stop_server(void *arg)
{
    tls_server_stop(arg);
    return NULL;
}

/* Clients in every state: stopping waits for none of them, and one that was handed over is answered afterwards. */
static void test_stop(void **state)
{
    struct world *w = *state;
    struct tls_conn *handed_over = stranger(w), *silent = stranger(w);
    int no_handshake = plain_connect(w);
    struct error e = {0};
    AUTO(buf_done) struct buf request = some_request(), answer = {0};
    w->verdict = HOLD;
    assert_int_equal(tls_conn_send(handed_over, buf_slice(&request), 1000, &e), 0);
    for (unsigned held = 0; held == 0;) {
        pthread_mutex_lock(&w->lock);
        held = w->n_held;
        pthread_mutex_unlock(&w->lock);
    }
    pthread_t thread;
    struct timespec until;
    pthread_create(&thread, NULL, stop_server, w->node.server);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 5;
    assert_int_equal(pthread_timedjoin_np(thread, NULL, &until), 0);
    w->node.server = NULL;

    struct error refusal;
    error_set(&refusal, ERR_AGAIN, "later");
    tls_client_refuse(w->held[0], &refusal);
    w->n_held = 0;
    assert_int_equal(tls_conn_receive(handed_over, 1000, 1000, &answer, &e), 0);
    assert_int_equal(joinmsg_answer_status(buf_slice(&answer), NULL, &e), ERR_AGAIN);
    tls_conn_free(handed_over);
    tls_conn_free(silent);
    close(no_handshake);
    membernode_serve(&w->node, &ops, w);
}

static void test_nobody_there(void **state)
{
    (void)state;
    struct hash h = {0};
    struct buf answer = {0};
    struct error e = {0};
    assert_int_equal(tls_ask_join(&h, "127.0.0.1", 1, (struct slice){NULL, 0}, &answer, &e), ERR_IO);
    assert_string_equal(e.text, "cannot connect to 127.0.0.1:1: Connection refused");
    assert_int_equal(tls_ask_join(&h, "host.name", 1, (struct slice){NULL, 0}, &answer, &e), ERR_USAGE);
}

static void test_address_in_use(void **state)
{
    struct world *w = *state;
    struct tls_server *s = NULL;
    struct error e = {0};
    int err = tls_server_start_in(w->node.dir.path, &w->node.founded.identity, port_of(w), &ops, w, &s, &e);
    assert_int_equal(err, ERR_IO);
    assert_non_null(strstr(e.text, "Address already in use"));
    assert_null(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_join_admitted),
        cmocka_unit_test(test_join_refused),
        cmocka_unit_test(test_wrong_ca_is_not_told_the_secret),
        cmocka_unit_test(test_borrowed_ca_is_not_believed),
        cmocka_unit_test(test_fetch),
        cmocka_unit_test(test_fetch_without_certificate),
        cmocka_unit_test(test_fetch_with_a_certificate_of_another_ca),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_spoilt_requests),
        cmocka_unit_test(test_oversized_frame),
        cmocka_unit_test(test_no_tls_at_all),
        cmocka_unit_test(test_only_tls_1_3),
        cmocka_unit_test(test_peer_goes_away),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_address_in_use),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
