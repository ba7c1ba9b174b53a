/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Status and x-ms-error-code to outcome and cause. Sources: Microsoft, "Status and error codes" and "Blob service error
 * codes"; design 3.
 *
 *     201 with an ETag (write), 200 with a record (read)   DONE
 *     412 ConditionNotMet                                  LOST; of a CREATE: EXISTS
 *     409 BlobAlreadyExists                                EXISTS
 *     404                                                  MISSING
 *     other 4xx                                            REFUSED
 *     408, 429, 5xx                                        UNKNOWN: the write may have been done, or be done yet
 *     anything else, or without an x-ms-request-id         UNKNOWN: it does not come from the service */
#include "witness/io/answer.h"

#include <ctype.h>
#include <curl/curl.h>
#include <stdio.h>
#include <strings.h>

#include "witness/record.h"

enum { SKEW_MAX_MS = 15 * 60 * 1000, RETRY_AFTER_MAX_S = 3600 };
static const time_t DATE_MAX_S = 253402300799; /* the end of 9999: curl_getdate takes any year */

/* ---- headers */

static bool is_header(const char *line, size_t len, const char *name, const char **ret_value, size_t *ret_len)
{
    size_t n = strlen(name);
    if (len <= n || strncasecmp(line, name, n) != 0 || line[n] != ':')
        return false;
    const char *p = line + n + 1, *end = line + len;
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    while (end > p && isspace((unsigned char)end[-1]))
        end--;
    *ret_value = p;
    *ret_len = (size_t)(end - p);
    return true;
}

static bool is_graphic(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (s[i] < 0x21 || s[i] > 0x7e)
            return false;
    return true;
}

static bool take_word(char *dst, size_t size, const char *s, size_t len)
{
    if (len == 0 || len >= size || !is_graphic(s, len))
        return false;
    memcpy(dst, s, len);
    dst[len] = '\0';
    return true;
}

static void take_code(struct answer *a, const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)s[i]))
            return;
    take_word(a->code, sizeof(a->code), s, len);
}

static void take_date(struct answer *a, const char *s, size_t len)
{
    char text[64];
    if (len >= sizeof(text))
        return;
    memcpy(text, s, len);
    text[len] = '\0';
    time_t t = curl_getdate(text, NULL);
    a->server_ms = t > 0 && t <= DATE_MAX_S ? (int64_t)t * 1000 : 0;
}

/* Seconds; the form with a date is not used by the service. */
static void take_retry_after(struct answer *a, const char *s, size_t len)
{
    int64_t v = 0;
    for (size_t i = 0; i < len; i++) {
        if (!isdigit((unsigned char)s[i]))
            return;
        v = v < RETRY_AFTER_MAX_S ? v * 10 + (s[i] - '0') : v;
    }
    a->retry_after_ms = v * 1000;
}

/* "HTTP/1.1 412 …" */
static void take_status(struct answer *a, const char *line, size_t len)
{
    struct answer fresh = {.sent = a->sent};
    const char *sp = memchr(line, ' ', len);
    const char *end = line + len;
    for (; sp && ++sp < end && isdigit((unsigned char)*sp) && fresh.status < 100;)
        fresh.status = fresh.status * 10 + (*sp - '0');
    *a = fresh;
}

void answer_header(struct answer *a, const char *line, size_t len)
{
    const char *v;
    size_t n;
    if (len > 5 && memcmp(line, "HTTP/", 5) == 0)
        take_status(a, line, len);
    else if (len <= 2 && (len == 0 || line[0] == '\r' || line[0] == '\n'))
        a->complete = a->status >= 200;
    else if (is_header(line, len, "x-ms-error-code", &v, &n))
        take_code(a, v, n);
    else if (is_header(line, len, "x-ms-request-id", &v, &n))
        a->from_service = n > 0;
    else if (is_header(line, len, "etag", &v, &n))
        take_word(a->etag.s, sizeof(a->etag.s), v, n);
    else if (is_header(line, len, "date", &v, &n))
        take_date(a, v, n);
    else if (is_header(line, len, "retry-after", &v, &n))
        take_retry_after(a, v, n);
}

/* ---- meaning */

static struct verdict verdict(enum witness_outcome outcome, enum witness_cause cause)
{
    return (struct verdict){.outcome = outcome, .cause = cause};
}

static struct verdict judge_read_body(const struct answer *a, const struct witness_call *call)
{
    struct verdict v = verdict(WITNESS_REFUSED, WITNESS_CAUSE_FOREIGN);
    if (a->body_too_big)
        return v;
    if (!a->body_complete) {
        v = verdict(WITNESS_UNKNOWN, WITNESS_CAUSE_BROKEN);
        v.next = ANSWER_RETRY;
        return v;
    }
    v.cause = witness_record_read((struct slice){a->body, a->body_len}, call, &v.record);
    v.outcome = v.cause == WITNESS_CAUSE_NONE ? WITNESS_DONE : WITNESS_REFUSED;
    return v;
}

static struct verdict judge_success(const struct answer *a, const struct witness_call *call)
{
    bool is_write = answer_is_write(call);
    if (!a->from_service || a->etag.s[0] == '\0' || a->status != (is_write ? 201 : 200))
        return verdict(WITNESS_UNKNOWN, WITNESS_CAUSE_PROTOCOL);
    if (!is_write)
        return judge_read_body(a, call);
    struct verdict v = verdict(WITNESS_DONE, WITNESS_CAUSE_NONE);
    v.record = call->record;
    return v;
}

static bool is_code(const struct answer *a, const char *code)
{
    return str_eq(a->code, code);
}

static bool is_skewed(const struct answer *a, const struct answer_context *x)
{
    int64_t off = a->server_ms ? a->server_ms - x->wall_ms : 0;
    return off > SKEW_MAX_MS || off < -SKEW_MAX_MS;
}

/* The service does not take who we say we are. */
static struct verdict judge_identity(const struct answer *a, const struct answer_context *x)
{
    struct verdict v = verdict(WITNESS_REFUSED, WITNESS_CAUSE_KEY_WRONG);
    int64_t sas_end_ms = credentials_sas_end_ms(x->credentials);
    switch (x->credentials->kind) {
    case CREDENTIALS_IDENTITY:
        v.cause = WITNESS_CAUSE_IDENTITY;
        v.next = ANSWER_NEW_TOKEN;
        break;
    case CREDENTIALS_SAS:
        /* By the service's clock: it is the one that counts. */
        v.cause = sas_end_ms && (a->server_ms ? a->server_ms : x->wall_ms) >= sas_end_ms ? WITNESS_CAUSE_SAS_EXPIRED
                                                                                         : WITNESS_CAUSE_SAS_WRONG;
        break;
    case CREDENTIALS_KEYS:
        if (is_skewed(a, x))
            v.cause = WITNESS_CAUSE_CLOCK_SKEW;
        else
            v.next = ANSWER_OTHER_KEY;
        break;
    }
    return v;
}

static struct verdict judge_forbidden(const struct answer *a, const struct answer_context *x)
{
    static const struct {
        const char *code;
        enum witness_cause cause;
    } causes[] = {
        {"KeyBasedAuthenticationNotPermitted", WITNESS_CAUSE_KEY_DISABLED},
        {"AuthorizationFailure", WITNESS_CAUSE_FIREWALL},
        {"AuthorizationSourceIPMismatch", WITNESS_CAUSE_FIREWALL},
        {"AccountIsDisabled", WITNESS_CAUSE_ACCOUNT_MISSING},
    };
    if (is_code(a, "AuthenticationFailed") || (x->is_emulator && is_code(a, "AuthorizationFailure")))
        return judge_identity(a, x);
    for (size_t i = 0; i < sizeof(causes) / sizeof(causes[0]); i++)
        if (is_code(a, causes[i].code)) {
            struct verdict v = verdict(WITNESS_REFUSED, causes[i].cause);
            /* An emulator with a host name of its own says so of a wrong key: the other one is worth a try. */
            v.next = is_code(a, "AuthorizationFailure") ? ANSWER_OTHER_KEY : ANSWER_FINAL;
            return v;
        }
    return verdict(WITNESS_REFUSED, WITNESS_CAUSE_PERMISSION); /* AuthorizationPermissionMismatch and its like */
}

static struct verdict judge_missing(const struct answer *a)
{
    if (is_code(a, "BlobNotFound"))
        return verdict(WITNESS_MISSING, WITNESS_CAUSE_BLOB_MISSING);
    if (is_code(a, "ContainerNotFound"))
        return verdict(WITNESS_MISSING, WITNESS_CAUSE_CONTAINER_MISSING);
    if (is_code(a, "ResourceNotFound") || is_code(a, "AccountNotFound"))
        return verdict(WITNESS_MISSING, WITNESS_CAUSE_ACCOUNT_MISSING);
    return verdict(WITNESS_UNKNOWN, WITNESS_CAUSE_PROTOCOL);
}

static struct verdict judge_conflict(const struct answer *a)
{
    if (is_code(a, "BlobAlreadyExists"))
        return verdict(WITNESS_EXISTS, WITNESS_CAUSE_BLOB_EXISTS);
    if (is_code(a, "ContainerBeingDeleted") || is_code(a, "ContainerDisabled"))
        return verdict(WITNESS_MISSING, WITNESS_CAUSE_CONTAINER_MISSING);
    return verdict(WITNESS_REFUSED, WITNESS_CAUSE_PERMISSION); /* BlobImmutableDueToPolicy and its like */
}

static struct verdict judge_precondition(const struct answer *a, const struct witness_call *call)
{
    if (!is_code(a, "ConditionNotMet"))
        return verdict(WITNESS_REFUSED, WITNESS_CAUSE_LEASED); /* LeaseIdMissing */
    if (call->op == WITNESS_CREATE)
        return verdict(WITNESS_EXISTS, WITNESS_CAUSE_BLOB_EXISTS);
    return verdict(WITNESS_LOST, WITNESS_CAUSE_CHANGED);
}

/* Whoever says these, the write may have been done. */
static bool is_transient(int status)
{
    return status >= 500 || status == 429 || status == 408;
}

static struct verdict judge_transient(const struct answer *a)
{
    bool busy = a->status == 429 || a->status == 503;
    struct verdict v = verdict(WITNESS_UNKNOWN, busy ? WITNESS_CAUSE_THROTTLED : WITNESS_CAUSE_SERVER);
    v.next = ANSWER_RETRY;
    return v;
}

static struct verdict judge_status(const struct answer *a, const struct answer_context *x)
{
    if (is_transient(a->status))
        return judge_transient(a);
    if (a->status < 300)
        return judge_success(a, x->call);
    if (!a->from_service || a->status < 400)
        return verdict(WITNESS_UNKNOWN, WITNESS_CAUSE_PROTOCOL);
    switch (a->status) {
    case 401: return judge_identity(a, x);
    case 403: return judge_forbidden(a, x);
    case 404: return judge_missing(a);
    case 409: return judge_conflict(a);
    case 412: return judge_precondition(a, x->call);
    default:
        if (is_code(a, "InvalidAuthenticationInfo"))
            return judge_identity(a, x);
        return verdict(WITNESS_REFUSED, WITNESS_CAUSE_PROTOCOL);
    }
}

struct verdict answer_judge(const struct answer *a, const struct answer_context *x)
{
    struct verdict v = judge_status(a, x);
    if (v.outcome != WITNESS_DONE)
        snprintf(v.detail, sizeof(v.detail), "%d%s%s", a->status, a->code[0] ? " " : "", a->code);
    return v;
}
