/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between a witness adapter and its store, real or none: does what the rule of the request says. For tests and the lab.
 *
 *     witness-proxy --control FILE [--listen ADDRESS:PORT] [--upstream [tls:]ADDRESS:PORT] [--log FILE]
 *                   [--cert PEM --key PEM]
 *
 * Prints `listening PORT`, and serves until it is ended. The control file has a rule a line: the first request after
 * the file has changed meets the first rule, the next one the second, and so on; the last rule holds.
 *
 *     pass                       to the upstream, and its answer back; CONNECT: a tunnel to the upstream, if there is
 *                                one, else to where it says
 *     answer STATUS CODE [OPTION…]   CODE is an x-ms-error-code, or -. Options: id=no (no x-ms-request-id), etag=TEXT,
 *                                date=SECONDS (the Date is off by that), retry-after=SECONDS, location=URL,
 *                                body=FILE, size=BYTES (of x), cut=BYTES (it ends so much before its Content-Length)
 *     lost                       to the upstream, and no answer: the connection is reset
 *     late FILE                  no answer; once the client has gone, and FILE is there, to the upstream
 *     reset                      the connection is reset when the whole request is there
 *     hang                       no answer, until the client has gone
 *     drip                       an answer of which a byte comes every 50 ms
 *     garbage                    bytes that are no HTTP
 *     half                       a status line and half a header, and the end
 *     headers                    headers without end
 *     imds TOKEN SECONDS         the token of a managed identity; 400 to a request without `Metadata: true`
 *
 * A thread serves a connection, which takes one request. The log has a line for each: what was asked, and the rule. */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"

enum { REQUEST_MAX = 64 * 1024, RULE_MAX = 1024, CONTROL_MAX = 16 * 1024 };

struct options {
    const char *control, *listen, *upstream, *log, *cert, *key;
};

struct server {
    struct options o;
    SSL_CTX *tls;
    pthread_mutex_t lock;
    struct stat control; /* the file, when the first of its rules was used */
    size_t n_used;       /* of its rules */
};

struct client {
    struct server *server;
    int fd;
    SSL *ssl; /* NULL: plain */
    struct buf request;
    size_t head_len; /* of request, with the empty line */
};

static void die(const char *what)
{
    fprintf(stderr, "witness-proxy: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- bytes */

static ssize_t client_read(struct client *c, void *p, size_t n)
{
    return c->ssl ? SSL_read(c->ssl, p, (int)n) : recv(c->fd, p, n, 0);
}

static bool client_write(struct client *c, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    while (n > 0) {
        ssize_t done = c->ssl ? SSL_write(c->ssl, p, (int)n) : send(c->fd, p, n, MSG_NOSIGNAL);
        if (done <= 0)
            return false;
        p += done;
        n -= (size_t)done;
    }
    return true;
}

static bool client_puts(struct client *c, const char *s)
{
    return client_write(c, s, strlen(s));
}

static void set_reset(int fd)
{
    struct linger l = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
}

/* Until the client has gone; what it still sends is dropped. */
static void wait_gone(struct client *c)
{
    char junk[1024];
    while (client_read(c, junk, sizeof(junk)) > 0)
        ;
}

static char *read_file(const char *path, size_t *ret_len)
{
    char *bytes = xcalloc(1, CONTROL_MAX + 1);
    FILE *f = fopen(path, "r");
    *ret_len = f ? fread(bytes, 1, CONTROL_MAX, f) : 0;
    if (f)
        fclose(f);
    return bytes;
}

/* ---- the request */

static size_t content_length(const char *head)
{
    const char *at = strcasestr(head, "\r\ncontent-length:");
    return at ? strtoul(at + 17, NULL, 10) : 0;
}

static bool read_request(struct client *c)
{
    char part[4096];
    for (;;) {
        char *end = c->request.p ? memmem(c->request.p, c->request.len, "\r\n\r\n", 4) : NULL;
        if (end && !c->head_len) {
            c->head_len = (size_t)(end + 4 - (char *)c->request.p);
            end[2] = '\0'; /* for the searches; put back below */
            size_t body = content_length((char *)c->request.p);
            end[2] = '\r';
            if (body > REQUEST_MAX)
                return false;
            while (c->request.len < c->head_len + body) {
                ssize_t n = client_read(c, part, sizeof(part));
                if (n <= 0)
                    return false;
                buf_add(&c->request, part, (size_t)n);
            }
            return true;
        }
        ssize_t n = client_read(c, part, sizeof(part));
        bool is_tls = n > 0 && !c->request.len && part[0] == 0x16; /* a ClientHello, where no TLS is spoken */
        if (n <= 0 || is_tls || c->request.len > REQUEST_MAX)
            return false;
        buf_add(&c->request, part, (size_t)n);
    }
}

static bool has_header(const struct client *c, const char *line)
{
    AUTO(freep) char *head = xcalloc(1, c->head_len + 1);
    memcpy(head, c->request.p, c->head_len);
    return strcasestr(head, line) != NULL;
}

/* ---- upstream */

static int dial(const char *address)
{
    char host[256];
    if (!STR_COPY(host, address))
        return -1;
    char *colon = strrchr(host, ':');
    if (!colon)
        return -1;
    *colon = '\0';
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    if (getaddrinfo(host, colon + 1, &hints, &list) != 0)
        return -1;
    int fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, list->ai_addr, list->ai_addrlen) != 0) {
        close(fd);
        fd = -1;
    }
    freeaddrinfo(list);
    return fd;
}

/* A connection to the upstream. Its certificate is not looked at: that is the adapter's business. */
static bool open_upstream(const struct server *s, struct client *ret)
{
    const char *where = s->o.upstream ? s->o.upstream : "";
    bool is_tls = strncmp(where, "tls:", 4) == 0;
    ret->fd = dial(is_tls ? where + 4 : where);
    if (ret->fd < 0 || !is_tls)
        return ret->fd >= 0;
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    ret->ssl = SSL_new(context);
    SSL_CTX_free(context);
    SSL_set_fd(ret->ssl, ret->fd);
    return SSL_connect(ret->ssl) == 1;
}

/* The answer goes to the client, if it is wanted. The request says that it is the connection's only one. */
static void forward(struct client *c, bool wanted)
{
    struct client up = {.fd = -1};
    bool sent = open_upstream(c->server, &up) && client_write(&up, c->request.p, c->head_len - 2) &&
                client_puts(&up, "Connection: close\r\n\r\n") &&
                client_write(&up, c->request.p + c->head_len, c->request.len - c->head_len);
    char part[4096];
    for (ssize_t n; sent && (n = client_read(&up, part, sizeof(part))) > 0;)
        if (wanted && !client_write(c, part, (size_t)n))
            break;
    SSL_free(up.ssl);
    if (up.fd >= 0)
        close(up.fd);
}

static void tunnel(struct client *c)
{
    char target[256] = "", part[4096];
    sscanf((char *)c->request.p, "CONNECT %255s", target);
    const char *upstream = c->server->o.upstream;
    if (upstream)
        upstream += strncmp(upstream, "tls:", 4) == 0 ? 4 : 0;
    int fd = dial(upstream ? upstream : target);
    if (fd < 0) {
        client_puts(c, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
        return;
    }
    client_puts(c, "HTTP/1.1 200 OK\r\n\r\n");
    struct pollfd p[2] = {{.fd = c->fd, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    for (bool open = true; open && poll(p, 2, -1) > 0;)
        for (int i = 0; i < 2; i++) {
            if (!p[i].revents)
                continue;
            ssize_t n = recv(p[i].fd, part, sizeof(part), 0);
            open = open && n > 0 && send(p[1 - i].fd, part, (size_t)n, MSG_NOSIGNAL) == n;
        }
    close(fd);
}

/* ---- rules */

/* The value of NAME=VALUE among the words of a rule; the caller frees; NULL: it is not there. */
static char *option(const char *rule, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = strchr(rule, ' '); p; p = strchr(p + 1, ' '))
        if (strncmp(p + 1, name, n) == 0 && p[1 + n] == '=')
            return strndup(p + n + 2, strcspn(p + n + 2, " "));
    return NULL;
}

static long number(const char *rule, const char *name)
{
    AUTO(freep) char *s = option(rule, name);
    return s ? strtol(s, NULL, 10) : 0;
}

static void put_date(struct buf *b, long off_s)
{
    char text[64];
    time_t t = time(NULL) + off_s;
    struct tm tm;
    gmtime_r(&t, &tm);
    strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    buf_printf(b, "Date: %s\r\n", text);
}

static void answer(struct client *c, const char *rule)
{
    int status = 500;
    char code[64] = "-";
    sscanf(rule, "answer %d %63s", &status, code);
    AUTO(freep) char *id = option(rule, "id"), *etag = option(rule, "etag"), *location = option(rule, "location");
    AUTO(freep) char *file = option(rule, "body"), *body = NULL;
    size_t len = 0, size = (size_t)number(rule, "size");
    body = file ? read_file(file, &len) : xcalloc(1, size + 1);
    if (!file)
        memset(body, 'x', len = size);
    AUTO(buf_done) struct buf b = {0};
    buf_printf(&b, "HTTP/1.1 %d Whatever\r\nServer: witness-proxy\r\nConnection: close\r\n", status);
    put_date(&b, number(rule, "date"));
    buf_printf(&b, "Content-Length: %zu\r\n", len);
    if (!id)
        buf_printf(&b, "x-ms-request-id: 7\r\n");
    if (!str_eq(code, "-"))
        buf_printf(&b, "x-ms-error-code: %s\r\n", code);
    if (etag)
        buf_printf(&b, "ETag: \"%s\"\r\n", etag);
    if (location)
        buf_printf(&b, "Location: %s\r\n", location);
    if (number(rule, "retry-after"))
        buf_printf(&b, "Retry-After: %ld\r\n", number(rule, "retry-after"));
    buf_add_str(&b, "\r\n");
    buf_add(&b, body, len - (size_t)number(rule, "cut"));
    client_write(c, b.p, b.len);
}

static void imds(struct client *c, const char *rule)
{
    char token[512] = "", body[1024];
    int life_s = 0;
    sscanf(rule, "imds %511s %d", token, &life_s);
    if (!has_header(c, "\r\nMetadata: true\r\n")) {
        client_puts(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        return;
    }
    int n = snprintf(body, sizeof(body),
                     "{\"access_token\":\"%s\",\"expires_in\":\"%d\",\"resource\":\"https://storage.azure.com/\","
                     "\"token_type\":\"Bearer\"}",
                     token, life_s);
    AUTO(buf_done) struct buf b = {0};
    buf_printf(&b, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", n, body);
    client_write(c, b.p, b.len);
}

static void late(struct client *c, const char *rule)
{
    char path[512] = "";
    sscanf(rule, "late %511s", path);
    wait_gone(c);
    while (access(path, F_OK) != 0)
        poll(NULL, 0, 5);
    forward(c, false);
    unlink(path); /* done */
}

static void drip(struct client *c)
{
    const char *text = "HTTP/1.1 201 Created\r\nContent-Length: 0\r\nx-ms-request-id: 7\r\nX-Slow: loris, ";
    while (client_write(c, *text ? text : "z", 1)) {
        text += *text != '\0';
        poll(NULL, 0, 50);
    }
}

static void endless_headers(struct client *c)
{
    bool open = client_puts(c, "HTTP/1.1 201 Created\r\n");
    for (unsigned i = 0; open; i++) {
        char line[64];
        snprintf(line, sizeof(line), "X-Header-%u: value\r\n", i);
        open = client_puts(c, line);
    }
}

static bool is_rule(const char *rule, const char *name)
{
    size_t n = strlen(name);
    return strncmp(rule, name, n) == 0 && (rule[n] == '\0' || rule[n] == ' ');
}

static void act(struct client *c, const char *rule)
{
    if (is_rule(rule, "answer"))
        answer(c, rule);
    else if (is_rule(rule, "imds"))
        imds(c, rule);
    else if (is_rule(rule, "late"))
        late(c, rule);
    else if (is_rule(rule, "hang"))
        wait_gone(c);
    else if (is_rule(rule, "drip"))
        drip(c);
    else if (is_rule(rule, "headers"))
        endless_headers(c);
    else if (is_rule(rule, "garbage"))
        client_puts(c, "SSH-2.0-OpenSSH_9.2\r\n\x01\x02\x03 nothing that you know\r\n\r\n");
    else if (is_rule(rule, "half"))
        client_puts(c, "HTTP/1.1 201 Created\r\nx-ms-request-id: 7\r\nETa");
    else if (is_rule(rule, "reset"))
        set_reset(c->fd);
    else if (is_rule(rule, "lost")) {
        forward(c, false);
        set_reset(c->fd);
    } else if (is_rule(rule, "pass") && c->request.len > 8 && memcmp(c->request.p, "CONNECT ", 8) == 0)
        tunnel(c);
    else if (is_rule(rule, "pass"))
        forward(c, true);
    else
        fprintf(stderr, "witness-proxy: no such rule: %s\n", rule);
}

/* The line of that number, or the last one. */
static const char *line_of(const char *text, size_t number)
{
    for (size_t i = 0; i < number; i++) {
        const char *end = strchr(text, '\n');
        if (!end || !end[1])
            break;
        text = end + 1;
    }
    return text;
}

/* The rule of the next request. */
static void next_rule(struct server *s, char *dst, size_t size)
{
    size_t len;
    struct stat st = {0};
    pthread_mutex_lock(&s->lock);
    stat(s->o.control, &st);
    if (st.st_ino != s->control.st_ino || st.st_mtim.tv_sec != s->control.st_mtim.tv_sec ||
        st.st_mtim.tv_nsec != s->control.st_mtim.tv_nsec)
        s->n_used = 0;
    s->control = st;
    AUTO(freep) char *control = read_file(s->o.control, &len);
    const char *line = line_of(control, s->n_used++);
    snprintf(dst, size, "%.*s", (int)strcspn(line, "\n"), line);
    pthread_mutex_unlock(&s->lock);
}

static void write_log(struct client *c, const char *rule)
{
    if (!c->server->o.log)
        return;
    FILE *f = fopen(c->server->o.log, "a");
    if (!f)
        die(c->server->o.log);
    fprintf(f, "%.*s -> %s\n", (int)strcspn((char *)c->request.p, "\r"), (char *)c->request.p, rule);
    fclose(f);
}

/* ---- connections */

static bool open_tls(struct client *c)
{
    if (!c->server->tls)
        return true;
    c->ssl = SSL_new(c->server->tls);
    SSL_set_fd(c->ssl, c->fd);
    return SSL_accept(c->ssl) == 1;
}

static void *serve(void *arg)
{
    struct client *c = arg;
    char rule[RULE_MAX];
    if (open_tls(c) && read_request(c)) {
        next_rule(c->server, rule, sizeof(rule));
        write_log(c, rule);
        act(c, rule);
    }
    SSL_free(c->ssl);
    close(c->fd);
    buf_done(&c->request);
    free(c);
    return NULL;
}

static int open_listener(const char *address)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    char host[64];
    if (!STR_COPY(host, address) || !strchr(host, ':'))
        die("--listen ADDRESS:PORT");
    in.sin_port = htons((uint16_t)strtoul(strchr(host, ':') + 1, NULL, 10));
    *strchr(host, ':') = '\0';
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    socklen_t len = sizeof(in);
    if (inet_pton(AF_INET, host, &in.sin_addr) != 1 || bind(fd, (struct sockaddr *)&in, len) != 0 ||
        listen(fd, 64) != 0 || getsockname(fd, (struct sockaddr *)&in, &len) != 0)
        die(address);
    printf("listening %d\n", ntohs(in.sin_port));
    fflush(stdout);
    return fd;
}

static struct options parse_arguments(int argc, char **argv)
{
    struct options o = {.listen = "127.0.0.1:0"};
    const struct {
        const char *name, **value;
    } known[] = {{"--control", &o.control}, {"--listen", &o.listen}, {"--upstream", &o.upstream},
                 {"--log", &o.log},         {"--cert", &o.cert},     {"--key", &o.key}};
    for (int i = 1; i + 1 < argc; i += 2)
        for (size_t k = 0; k < sizeof(known) / sizeof(known[0]); k++)
            if (str_eq(argv[i], known[k].name))
                *known[k].value = argv[i + 1];
    if (!o.control || argc % 2 == 0) {
        fprintf(stderr,
                "usage: witness-proxy --control FILE [--listen A:P] [--upstream [tls:]A:P] [--log FILE] [--cert PEM "
                "--key PEM]\n");
        exit(64);
    }
    return o;
}

static void load_tls(struct server *s)
{
    if (!s->o.cert)
        return;
    s->tls = SSL_CTX_new(TLS_server_method());
    if (SSL_CTX_use_certificate_chain_file(s->tls, s->o.cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(s->tls, s->o.key ? s->o.key : s->o.cert, SSL_FILETYPE_PEM) != 1) {
        ERR_print_errors_fp(stderr);
        exit(1);
    }
}

int main(int argc, char **argv)
{
    struct server s = {.o = parse_arguments(argc, argv), .lock = PTHREAD_MUTEX_INITIALIZER};
    signal(SIGPIPE, SIG_IGN);
    load_tls(&s);
    int listener = open_listener(s.o.listen);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        struct client *c = xcalloc(1, sizeof(*c));
        *c = (struct client){.server = &s, .fd = fd};
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, c) != 0)
            die("pthread_create");
        pthread_detach(thread);
    }
}
