/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A call and its tries:
 *
 *                    ┌───────────────── pause ─────────────────┐
 *                    v                                         │
 *     start ──> WAITING ──> TOKEN ──> ASKING ──> answered ─────┤   TOKEN: of a managed identity, unless it is at hand
 *                             │ │        │ ^         │         │
 *                             │ └────────┘ └─ other key or new token, once each
 *                             v                      v
 *                          finished <────────────────┘ ──> completed()
 *
 * A CREATE that finds no container makes one, once (MAKING), and goes on: who names a container for the cluster's
 * record wants it. No other call ever does.
 *
 * Invariants: a try has one easy handle; `uncertain` is set from the first try that may have left this node and was not
 * answered for certain, and then only DONE or UNKNOWN can end a write (witness/port.h). completed() is called out of
 * the loop's timer or a socket's readiness, never out of start().
 *
 * A try takes half of the time that is left, so that a connection that was lost on the way leaves room for another one.
 * Only the timer of the loop ends a call whose time is up; libcurl's own timeouts merely end tries. */
#include "witness/io/azure.h"

#include <assert.h>
#include <curl/curl.h>
#include <inttypes.h>
#include <openssl/x509.h>
#include <poll.h>
#include <stdio.h>
#include <time.h>

#include "common/json.h"
#include "witness/io/answer.h"
#include "witness/io/azure-url.h"
#include "witness/io/sharedkey.h"
#include "witness/record.h"

enum {
    CONNECT_MS = 5000,   /* at most, of a try */
    TRY_MIN_MS = 1000,   /* less is not split again */
    PAUSE_MS = 200,      /* doubled after each try … */
    PAUSE_MAX_MS = 3000, /* … up to this */
    TOKEN_MAX = 8192,    /* bytes of an access token */
    TOKEN_ANSWER_MAX = 16384,
    TOKEN_MARGIN_MS = 300 * 1000, /* a token is renewed that long before its end */
    HEADERS_MAX = 32 * 1024,
    ERROR_BODY_MAX = 64 * 1024,
};

/* 2020-04-08 knows everything that is used here, and every Azurite does. */
static const char api_version[] = "2020-04-08";
static const char content_type[] = "text/plain; charset=utf-8";
static const char imds_default[] = "http://169.254.169.254";
static const char imds_path[] =
    "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fstorage.azure.com%2F";

struct token {
    char s[TOKEN_MAX]; /* "": none */
    int64_t until_ms;  /* loop's clock */
};

struct azure {
    struct witness base;
    struct witness_loop loop;
    struct azure_place place;
    struct credentials credentials;
    char proxy[AZURE_URL_MAX], ca_file[512], imds[AZURE_URL_MAX];
    size_t key; /* the one that was accepted last */
    struct token token;
    CURLM *multi;
    int64_t curl_due_ms; /* when libcurl wants to be called; INT64_MAX: never */
    struct call *calls;
};

enum stage { WAITING, TOKEN, ASKING, MAKING };

struct call {
    struct call *next;
    struct azure *azure;
    struct witness_call call;
    struct witness_bytes body; /* of a write */
    int64_t deadline_ms, due_ms, pause_ms;
    enum stage stage;
    size_t key;
    bool uncertain, tried_other_key, renewed_token, made_container;
    CURL *easy; /* of the try under way */
    struct curl_slist *headers;
    struct answer answer;
    size_t header_bytes, discarded;
    struct buf token_body;
    struct verdict last; /* WAITING after a try: what it said */
};

static int64_t now_ms(const struct azure *a)
{
    return a->loop.now_ms(a->loop.ctx);
}

static struct azure *azure_of(struct witness *w)
{
    return (struct azure *)(void *)w; /* its first member */
}

/* ---- the timer: libcurl's, and the calls' */

static void on_timer(void *data);

static void rearm(struct azure *a)
{
    int64_t next = a->curl_due_ms, now = now_ms(a);
    for (const struct call *c = a->calls; c; c = c->next) {
        int64_t due = c->stage == WAITING && c->due_ms < c->deadline_ms ? c->due_ms : c->deadline_ms;
        next = due < next ? due : next;
    }
    int64_t after = next == INT64_MAX ? -1 : next > now ? next - now : 0;
    a->loop.timer(a->loop.ctx, after, on_timer, a);
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *data)
{
    (void)multi;
    struct azure *a = data;
    a->curl_due_ms = timeout_ms < 0 ? INT64_MAX : now_ms(a) + timeout_ms;
    return 0;
}

/* ---- the end of a try and of a call */

static void end_try(struct call *c)
{
    if (!c->easy)
        return;
    curl_multi_remove_handle(c->azure->multi, c->easy);
    curl_easy_cleanup(c->easy);
    for (struct curl_slist *h = c->headers; h; h = h->next)
        explicit_bzero(h->data, strlen(h->data)); /* Authorization */
    curl_slist_free_all(c->headers);
    c->easy = NULL;
    c->headers = NULL;
    if (c->token_body.len)
        explicit_bzero(c->token_body.p, c->token_body.len);
    buf_done(&c->token_body);
}

static void unlink_call(struct call *c)
{
    struct call **at = &c->azure->calls;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
}

static void explain(const struct azure *a, const struct verdict *v, struct error *ret)
{
    struct witness_place place = {
        .host = a->place.host, .account = a->place.account, .container = a->place.container, .blob = a->place.blob};
    witness_explain(v->outcome, v->cause, &place, v->detail, ret);
}

static bool accepted_who_we_are(enum witness_outcome o)
{
    return o == WITNESS_DONE || o == WITNESS_LOST || o == WITNESS_EXISTS || o == WITNESS_MISSING;
}

static void finish(struct call *c, const struct verdict *v)
{
    struct azure *a = c->azure;
    struct witness_result r = {
        .id = c->call.id,
        .op = c->call.op,
        .outcome = v->outcome,
        .cause = v->cause,
        .record = v->record,
        .etag = c->answer.etag,
        .http_status = c->answer.complete ? c->answer.status : 0,
        .server_ms = c->answer.server_ms,
    };
    if (a->credentials.kind == CREDENTIALS_KEYS && accepted_who_we_are(v->outcome)) {
        a->key = c->key;
        r.key = (uint8_t)(c->key + 1);
    }
    if (v->outcome != WITNESS_DONE && v->cause != WITNESS_CAUSE_REGRESSED)
        r.etag = (struct witness_etag){""};
    explain(a, v, &r.error);
    end_try(c);
    unlink_call(c);
    free(c);
    a->base.completed(a->base.ctx, &r);
}

/* Ends the call, or leaves it WAITING for its next try. */
static void conclude(struct call *c, struct verdict v)
{
    int64_t now = now_ms(c->azure);
    bool is_write = answer_is_write(&c->call);
    c->uncertain |= is_write && v.outcome == WITNESS_UNKNOWN;
    if (c->uncertain && v.outcome != WITNESS_DONE)
        v.outcome = WITNESS_UNKNOWN;
    int64_t pause = c->pause_ms > c->answer.retry_after_ms ? c->pause_ms : c->answer.retry_after_ms;
    if (v.next == ANSWER_RETRY && c->call.op != WITNESS_PROBE && now + pause < c->deadline_ms) {
        c->due_ms = now + pause;
        c->pause_ms = c->pause_ms * 2 < PAUSE_MAX_MS ? c->pause_ms * 2 : PAUSE_MAX_MS;
    } else if (v.next == ANSWER_OTHER_KEY && !c->tried_other_key && c->azure->credentials.n_keys > 1) {
        c->tried_other_key = true;
        c->key = 1 - c->key;
        c->due_ms = now;
    } else if (v.next == ANSWER_NEW_TOKEN && !c->renewed_token) {
        c->renewed_token = true;
        explicit_bzero(&c->azure->token, sizeof(c->azure->token));
        c->due_ms = now;
    } else {
        finish(c, &v);
        return;
    }
    end_try(c);
    c->last = v;
    c->stage = WAITING;
}

/* ---- what libcurl hands in */

static size_t on_header(char *line, size_t size, size_t n, void *data)
{
    struct call *c = data;
    c->header_bytes += size * n;
    if (c->header_bytes > HEADERS_MAX)
        return 0; /* ends the try */
    answer_header(&c->answer, line, size * n);
    return size * n;
}

static size_t on_body(char *p, size_t size, size_t n, void *data)
{
    struct call *c = data;
    struct answer *a = &c->answer;
    size_t len = size * n;
    if (c->stage == TOKEN) {
        if (c->token_body.len + len > TOKEN_ANSWER_MAX)
            return 0;
        buf_add(&c->token_body, p, len);
    } else if (a->status == 200 && !answer_is_write(&c->call)) {
        a->body_too_big = a->body_too_big || len > sizeof(a->body) - a->body_len;
        if (a->body_too_big)
            return 0;
        memcpy(a->body + a->body_len, p, len);
        a->body_len += len;
    } else {
        c->discarded += len;
        if (c->discarded > ERROR_BODY_MAX)
            return 0;
    }
    return len;
}

/* The connection stands; from here on the request leaves this node. */
static int on_sending(void *data, char *ip, char *local_ip, int port, int local_port)
{
    (void)ip, (void)local_ip, (void)port, (void)local_port;
    struct call *c = data;
    c->answer.sent = true;
    return CURL_PREREQFUNC_OK;
}

/* ---- a try */

static int64_t try_ms(const struct call *c)
{
    int64_t left = c->deadline_ms - now_ms(c->azure);
    if (left < 1)
        return 1;
    return left < 2 * TRY_MIN_MS || c->call.op == WITNESS_PROBE ? left : left / 2;
}

static void add_header(struct call *c, const char *name, const char *value)
{
    AUTO(buf_done) struct buf b = {0};
    buf_printf(&b, "%s: %s", name, value);
    buf_add(&b, "", 1);
    struct curl_slist *list = curl_slist_append(c->headers, (char *)b.p);
    if (!list)
        abort(); /* out of memory */
    c->headers = list;
    explicit_bzero(b.p, b.len);
}

#define SET(easy, option, value)                                                                                       \
    do {                                                                                                               \
        CURLcode set_ = curl_easy_setopt((easy), (option), (value));                                                   \
        assert(set_ == CURLE_OK); /* or out of memory */                                                               \
    } while (0)

/* QUICK_EXIT: a name server that does not answer holds nobody up; without it libcurl would wait for its thread. */
static void open_try(struct call *c, const char *url, const char *proxy)
{
    struct azure *a = c->azure;
    int64_t ms = try_ms(c);
    c->answer = (struct answer){0};
    c->header_bytes = c->discarded = 0;
    c->easy = curl_easy_init();
    if (!c->easy)
        abort(); /* out of memory */
    SET(c->easy, CURLOPT_PRIVATE, c);
    SET(c->easy, CURLOPT_URL, url);
    SET(c->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    SET(c->easy, CURLOPT_PROXY, proxy); /* "": not even the environment's */
    SET(c->easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    SET(c->easy, CURLOPT_FOLLOWLOCATION, 0L);
    SET(c->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(c->easy, CURLOPT_NOSIGNAL, 1L);
    SET(c->easy, CURLOPT_QUICK_EXIT, 1L);
    SET(c->easy, CURLOPT_FRESH_CONNECT, 1L);
    SET(c->easy, CURLOPT_FORBID_REUSE, 1L);
    SET(c->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)(ms < CONNECT_MS ? ms : CONNECT_MS));
    SET(c->easy, CURLOPT_TIMEOUT_MS, (long)ms);
    SET(c->easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(c->easy, CURLOPT_SSL_VERIFYPEER, 1L);
    SET(c->easy, CURLOPT_SSL_VERIFYHOST, 2L);
    if (a->ca_file[0]) {
        SET(c->easy, CURLOPT_CAINFO, a->ca_file);
        SET(c->easy, CURLOPT_CAPATH, NULL);
    }
    SET(c->easy, CURLOPT_HEADERFUNCTION, on_header);
    SET(c->easy, CURLOPT_HEADERDATA, c);
    SET(c->easy, CURLOPT_WRITEFUNCTION, on_body);
    SET(c->easy, CURLOPT_WRITEDATA, c);
    SET(c->easy, CURLOPT_PREREQFUNCTION, on_sending);
    SET(c->easy, CURLOPT_PREREQDATA, c);
}

static void send_try(struct call *c)
{
    SET(c->easy, CURLOPT_HTTPHEADER, c->headers);
    if (curl_multi_add_handle(c->azure->multi, c->easy) != CURLM_OK)
        abort(); /* out of memory */
}

static void ask_token(struct call *c)
{
    struct azure *a = c->azure;
    char url[2 * AZURE_URL_MAX];
    const char *id = a->credentials.client_id;
    snprintf(url, sizeof(url), "%s%s%s%s", a->imds, imds_path, id[0] ? "&client_id=" : "", id);
    c->stage = TOKEN;
    open_try(c, url, "");
    add_header(c, "Metadata", "true");
    send_try(c);
}

/* RFC 1123, always in English. */
static void format_date(int64_t wall_ms, char *dst, size_t size)
{
    static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t s = (time_t)(wall_ms / 1000);
    struct tm t;
    gmtime_r(&s, &t);
    snprintf(dst, size, "%.3s, %02d %.3s %d %02d:%02d:%02d GMT", days + 3 * t.tm_wday, t.tm_mday, months + 3 * t.tm_mon,
             t.tm_year + 1900, t.tm_hour, t.tm_min, t.tm_sec);
}

static void add_authorization(struct call *c, const struct rest_request *r)
{
    const struct azure *a = c->azure;
    AUTO(buf_done) struct buf text = {0}, value = {0};
    if (a->credentials.kind == CREDENTIALS_IDENTITY) {
        buf_printf(&value, "Bearer %s", a->token.s);
    } else if (a->credentials.kind == CREDENTIALS_KEYS) {
        const struct account_key *key = &a->credentials.keys[c->key];
        sharedkey_string_to_sign(r, &text);
        struct sharedkey_mac mac = sharedkey_mac((struct slice){key->b, key->len}, buf_slice(&text));
        buf_printf(&value, "SharedKey %s:%s", a->place.account, mac.s);
    } else {
        return;
    }
    buf_add(&value, "", 1);
    add_header(c, "Authorization", (char *)value.p);
    explicit_bzero(value.p, value.len);
}

static size_t make_headers(const struct call *c, const char *date, struct rest_header *h)
{
    size_t n = 0;
    if (answer_is_write(&c->call)) {
        h[n++] = (struct rest_header){"Content-Type", content_type};
        h[n++] = c->call.op == WITNESS_PUT ? (struct rest_header){"If-Match", c->call.etag.s}
                                           : (struct rest_header){"If-None-Match", "*"};
        h[n++] = (struct rest_header){"x-ms-blob-type", "BlockBlob"};
    }
    h[n++] = (struct rest_header){"x-ms-date", date};
    h[n++] = (struct rest_header){"x-ms-version", api_version};
    return n;
}

static void ask(struct call *c)
{
    struct azure *a = c->azure;
    char date[64];
    struct rest_header headers[6];
    format_date(a->loop.wall_ms(a->loop.ctx), date, sizeof(date));
    bool is_write = answer_is_write(&c->call), is_sas = a->credentials.kind == CREDENTIALS_SAS;
    struct rest_request r = {.verb = is_write ? "PUT" : "GET",
                             .account = a->place.account,
                             .path = a->place.path,
                             .content_length = c->body.len,
                             .headers = headers,
                             .n_headers = make_headers(c, date, headers)};
    char url[AZURE_URL_MAX + SAS_MAX + 1];
    snprintf(url, sizeof(url), "%s%s%s", a->place.url, is_sas ? "?" : "", a->credentials.sas);
    c->stage = ASKING;
    open_try(c, url, a->place.is_tls ? a->proxy : "");
    explicit_bzero(url, sizeof(url));
    for (size_t i = 0; i < r.n_headers; i++)
        add_header(c, headers[i].name, headers[i].value);
    add_authorization(c, &r);
    add_header(c, "Accept", "*/*");
    if (is_write) {
        add_header(c, "Expect", ""); /* no 100 Continue to wait for */
        SET(c->easy, CURLOPT_POSTFIELDSIZE, (long)c->body.len);
        SET(c->easy, CURLOPT_POSTFIELDS, c->body.s);
        SET(c->easy, CURLOPT_CUSTOMREQUEST, "PUT");
    }
    send_try(c);
}

/* A SAS for one container could not. */
static bool may_make_container(const struct call *c, const struct verdict *v)
{
    return c->call.op == WITNESS_CREATE && v->cause == WITNESS_CAUSE_CONTAINER_MISSING && !c->made_container &&
           c->azure->credentials.kind != CREDENTIALS_SAS;
}

static void make_container(struct call *c, const struct verdict *why)
{
    struct azure *a = c->azure;
    char date[64], path[AZURE_URL_MAX], url[AZURE_URL_MAX + 32];
    format_date(a->loop.wall_ms(a->loop.ctx), date, sizeof(date));
    STR_COPY(path, a->place.path);
    *strrchr(path, '/') = '\0';
    int host_len = (int)(strlen(a->place.url) - strlen(a->place.path));
    snprintf(url, sizeof(url), "%.*s%s?restype=container", host_len, a->place.url, path);
    const struct rest_header headers[] = {{"x-ms-date", date}, {"x-ms-version", api_version}};
    struct rest_request r = {
        .verb = "PUT", .account = a->place.account, .path = path, .query = "restype:container", .headers = headers,
        .n_headers = 2};
    end_try(c);
    c->last = *why;
    c->made_container = true;
    c->stage = MAKING;
    open_try(c, url, a->place.is_tls ? a->proxy : "");
    for (size_t i = 0; i < r.n_headers; i++)
        add_header(c, headers[i].name, headers[i].value);
    add_authorization(c, &r);
    add_header(c, "Content-Type", ""); /* none */
    SET(c->easy, CURLOPT_POSTFIELDSIZE, 0L);
    SET(c->easy, CURLOPT_POSTFIELDS, "");
    SET(c->easy, CURLOPT_CUSTOMREQUEST, "PUT");
    send_try(c);
}

/* Made, or there by now: once more. Else what the first answer said holds. */
static void on_made(struct call *c)
{
    const struct answer *a = &c->answer;
    bool is_there = a->complete && (a->status == 201 || str_eq(a->code, "ContainerAlreadyExists"));
    struct verdict why = c->last;
    if (!is_there) {
        finish(c, &why);
        return;
    }
    end_try(c);
    c->stage = WAITING;
    c->due_ms = now_ms(c->azure);
}

static void begin_try(struct call *c)
{
    const struct azure *a = c->azure;
    bool has_token = a->token.s[0] && now_ms(a) < a->token.until_ms;
    if (a->credentials.kind == CREDENTIALS_IDENTITY && !has_token)
        ask_token(c);
    else
        ask(c);
}

/* ---- the token */

/* IMDS gives numbers as strings. */
static int64_t seconds_of(const struct json *j, const char *name)
{
    const char *s = json_get_str(j, name, "");
    int64_t v = *s ? strtoll(s, NULL, 10) : json_get_int(j, name, 0);
    return v > 0 && v < 10000000 ? v : 0;
}

static bool is_token(const char *s)
{
    size_t n = strlen(s);
    for (size_t i = 0; i < n; i++)
        if (s[i] < 0x21 || s[i] > 0x7e)
            return false;
    return n > 0 && n < TOKEN_MAX;
}

static bool take_token(struct call *c)
{
    struct azure *a = c->azure;
    struct error e;
    struct json *j = NULL;
    if (!c->token_body.p || json_parse((char *)c->token_body.p, c->token_body.len, &j, &e) != 0)
        return false;
    const char *token = json_get_str(j, "access_token", "");
    int64_t life_ms = seconds_of(j, "expires_in") * 1000;
    bool good = is_token(token) && life_ms > 0;
    if (good) {
        STR_COPY(a->token.s, token);
        a->token.until_ms = now_ms(a) + (life_ms > 2 * TOKEN_MARGIN_MS ? life_ms - TOKEN_MARGIN_MS : life_ms / 2);
    }
    json_free(j);
    return good;
}

/* Nothing of the call itself was sent, so it is UNREACHABLE or REFUSED. */
static void on_token(struct call *c, CURLcode code)
{
    int status = c->answer.complete ? c->answer.status : 0;
    if (code == CURLE_OK && status == 200 && take_token(c)) {
        end_try(c);
        ask(c);
        return;
    }
    bool is_final = status >= 400 && status < 500 && status != 404 && status != 410 && status != 429;
    struct verdict v = {.outcome = is_final ? WITNESS_REFUSED : WITNESS_UNREACHABLE, .cause = WITNESS_CAUSE_IDENTITY};
    v.next = is_final ? ANSWER_FINAL : ANSWER_RETRY;
    if (status)
        snprintf(v.detail, sizeof(v.detail), "the metadata service answers %d", status);
    else
        snprintf(v.detail, sizeof(v.detail), "the metadata service: %s", curl_easy_strerror(code));
    c->answer = (struct answer){.retry_after_ms = c->answer.retry_after_ms};
    conclude(c, v);
}

/* ---- no answer */

/* libcurl leaves X509_V_ERR_UNSPECIFIED where the chain is good and the name is not. */
static struct verdict judge_tls(CURL *easy)
{
    struct verdict v = {.outcome = WITNESS_UNREACHABLE, .cause = WITNESS_CAUSE_TLS_UNTRUSTED};
    long verify = X509_V_ERR_UNSPECIFIED;
    curl_easy_getinfo(easy, CURLINFO_SSL_VERIFYRESULT, &verify);
    if (verify == X509_V_OK || verify == X509_V_ERR_UNSPECIFIED || verify == X509_V_ERR_HOSTNAME_MISMATCH ||
        verify == X509_V_ERR_IP_ADDRESS_MISMATCH) {
        v.cause = WITNESS_CAUSE_TLS_NAME;
        return v;
    }
    if (verify == X509_V_ERR_CERT_HAS_EXPIRED || verify == X509_V_ERR_CERT_NOT_YET_VALID)
        v.cause = WITNESS_CAUSE_TLS_EXPIRED;
    snprintf(v.detail, sizeof(v.detail), "%s", X509_verify_cert_error_string(verify));
    return v;
}

/* A try that took too long before it could send anything. */
static enum witness_cause judge_unsent_late(CURL *easy)
{
    curl_off_t resolved_us = 0;
    curl_easy_getinfo(easy, CURLINFO_NAMELOOKUP_TIME_T, &resolved_us);
    return resolved_us == 0 ? WITNESS_CAUSE_DNS : WITNESS_CAUSE_CONNECT;
}

/* The request surely never left this node. */
static struct verdict judge_unsent(const struct call *c, CURLcode code)
{
    const bool has_proxy = c->azure->place.is_tls && c->azure->proxy[0];
    struct verdict v = {.outcome = WITNESS_UNREACHABLE, .cause = WITNESS_CAUSE_CONNECT, .next = ANSWER_RETRY};
    long connect_status = 0;
    curl_easy_getinfo(c->easy, CURLINFO_HTTP_CONNECTCODE, &connect_status);
    bool through = !has_proxy || connect_status == 200;
    switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION: return judge_tls(c->easy);
    case CURLE_COULDNT_RESOLVE_HOST: v.cause = WITNESS_CAUSE_DNS; break;
    case CURLE_COULDNT_RESOLVE_PROXY: v.cause = WITNESS_CAUSE_PROXY; break;
    case CURLE_SSL_CACERT_BADFILE: v.cause = WITNESS_CAUSE_TLS_UNTRUSTED; break;
    case CURLE_SSL_CONNECT_ERROR: v.cause = through ? WITNESS_CAUSE_TLS : WITNESS_CAUSE_PROXY; break;
    case CURLE_OPERATION_TIMEDOUT: v.cause = through ? judge_unsent_late(c->easy) : WITNESS_CAUSE_PROXY; break;
    default: v.cause = through ? WITNESS_CAUSE_CONNECT : WITNESS_CAUSE_PROXY;
    }
    if (has_proxy && connect_status != 0 && connect_status != 200)
        snprintf(v.detail, sizeof(v.detail), "the proxy answers %ld", connect_status);
    else
        snprintf(v.detail, sizeof(v.detail), "%s", curl_easy_strerror(code));
    return v;
}

/* It was sent, and what came back is no answer. */
static struct verdict judge_unanswered(CURLcode code)
{
    struct verdict v = {.outcome = WITNESS_UNKNOWN, .cause = WITNESS_CAUSE_BROKEN, .next = ANSWER_RETRY};
    if (code == CURLE_OPERATION_TIMEDOUT)
        v.cause = WITNESS_CAUSE_TIMEOUT;
    else if (code == CURLE_WEIRD_SERVER_REPLY || code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_WRITE_ERROR ||
             code == CURLE_BAD_CONTENT_ENCODING)
        v.cause = WITNESS_CAUSE_PROTOCOL;
    snprintf(v.detail, sizeof(v.detail), "%s", code == CURLE_OK ? "it ends in its headers" : curl_easy_strerror(code));
    return v;
}

static struct verdict judge(struct call *c, CURLcode code)
{
    struct azure *a = c->azure;
    struct answer_context x = {&c->call, &a->credentials, a->place.is_emulator, a->loop.wall_ms(a->loop.ctx)};
    c->answer.body_complete = code == CURLE_OK;
    if (c->answer.complete)
        return answer_judge(&c->answer, &x);
    return c->answer.sent ? judge_unanswered(code) : judge_unsent(c, code);
}

/* ---- the loop's side */

static void on_tried(struct call *c, CURLcode code)
{
    if (c->stage == TOKEN) {
        on_token(c, code);
        return;
    }
    if (c->stage == MAKING) {
        on_made(c);
        return;
    }
    struct verdict v = judge(c, code);
    if (may_make_container(c, &v))
        make_container(c, &v);
    else
        conclude(c, v);
}

/* Its time is up. Between two tries, because the loop was held up: what the last one said is the answer. */
static void expire(struct call *c)
{
    struct verdict v = {.outcome = WITNESS_UNREACHABLE, .cause = WITNESS_CAUSE_TIMEOUT};
    if ((c->stage == WAITING || c->stage == MAKING) && c->last.outcome != 0)
        v = c->last;
    else if (c->stage == ASKING)
        v = judge(c, CURLE_OPERATION_TIMEDOUT);
    else if (c->stage == TOKEN) {
        v.cause = WITNESS_CAUSE_IDENTITY;
        c->answer = (struct answer){0};
    }
    if (c->uncertain && v.outcome != WITNESS_DONE)
        v.outcome = WITNESS_UNKNOWN;
    finish(c, &v);
}

static void take_finished(struct azure *a)
{
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(a->multi, &left)) != NULL;) {
        struct call *c = NULL;
        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &c);
        on_tried(c, m->data.result);
    }
}

static struct call *next_due(struct azure *a, int64_t now)
{
    for (struct call *c = a->calls; c; c = c->next)
        if (c->deadline_ms <= now || (c->stage == WAITING && c->due_ms <= now))
            return c;
    return NULL;
}

static void on_timer(void *data)
{
    struct azure *a = data;
    int64_t now = now_ms(a);
    int running;
    if (a->curl_due_ms <= now) {
        a->curl_due_ms = INT64_MAX;
        curl_multi_socket_action(a->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        take_finished(a);
    }
    for (struct call *c; (c = next_due(a, now)) != NULL;) {
        if (c->deadline_ms <= now)
            expire(c);
        else
            begin_try(c);
    }
    rearm(a);
}

static void on_ready(void *data, int fd, short revents)
{
    struct azure *a = data;
    int running, what = (revents & POLLIN ? CURL_CSELECT_IN : 0) | (revents & POLLOUT ? CURL_CSELECT_OUT : 0) |
                        (revents & (POLLERR | POLLHUP | POLLNVAL) ? CURL_CSELECT_ERR : 0);
    curl_multi_socket_action(a->multi, fd, what, &running);
    take_finished(a);
    rearm(a);
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *per_socket)
{
    (void)easy, (void)per_socket;
    struct azure *a = data;
    short events = 0;
    if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
        events |= POLLIN;
    if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
        events |= POLLOUT;
    a->loop.watch(a->loop.ctx, fd, events, on_ready, a);
    return 0;
}

/* ---- the port */

static void azure_start(struct witness *w, const struct witness_call *call)
{
    struct azure *a = azure_of(w);
    struct call *c = xcalloc(1, sizeof(*c));
    int64_t now = now_ms(a);
    c->azure = a;
    c->call = *call;
    c->deadline_ms = now + (call->timeout_ms > 0 ? call->timeout_ms : 0);
    c->due_ms = now;
    c->pause_ms = PAUSE_MS;
    c->key = a->key;
    if (answer_is_write(call))
        c->body = witness_record_encode(&call->record);
    assert(call->op != WITNESS_PUT || call->etag.s[0]);
    c->next = a->calls;
    a->calls = c;
    rearm(a);
}

static void azure_free(struct witness *w)
{
    struct azure *a = azure_of(w);
    while (a->calls) {
        struct call *c = a->calls;
        end_try(c);
        unlink_call(c);
        free(c);
    }
    curl_multi_cleanup(a->multi);
    curl_global_cleanup();
    a->loop.timer(a->loop.ctx, -1, on_timer, a);
    credentials_wipe(&a->credentials);
    explicit_bzero(&a->token, sizeof(a->token));
    free(a);
}

static const struct witness_ops azure_ops = {azure_start, azure_free};

static int take_options(struct azure *a, const struct azure_options *o, struct error *e)
{
    int err = azure_place_init(&a->place, o, e);
    if (!err && o->proxy)
        err = azure_check_url("the proxy", o->proxy, true, e);
    if (!err && o->imds)
        err = azure_check_url("the metadata service", o->imds, true, e);
    if (err)
        return err;
    bool fits = STR_COPY(a->proxy, o->proxy ? o->proxy : "") && STR_COPY(a->ca_file, o->ca_file ? o->ca_file : "") &&
                STR_COPY(a->imds, o->imds ? o->imds : imds_default);
    return fits ? 0 : error_set(e, ERR_USAGE, "an option of the witness is too long");
}

int azure_witness_new(const struct azure_options *options, const struct witness_loop *loop,
                      void (*completed)(void *ctx, const struct witness_result *result), void *ctx,
                      struct witness **ret, struct error *e)
{
    struct azure *a = xcalloc(1, sizeof(*a));
    int err = take_options(a, options, e);
    if (err) {
        free(a);
        return err;
    }
    a->base = (struct witness){&azure_ops, completed, ctx};
    a->loop = *loop;
    a->credentials = *options->credentials;
    a->curl_due_ms = INT64_MAX;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || !(a->multi = curl_multi_init()))
        abort(); /* out of memory, at start */
    curl_multi_setopt(a->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    curl_multi_setopt(a->multi, CURLMOPT_SOCKETDATA, a);
    curl_multi_setopt(a->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    curl_multi_setopt(a->multi, CURLMOPT_TIMERDATA, a);
    *ret = &a->base;
    return 0;
}
