/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A record is text, so that it can be read where it lies (a blob in Azure's portal, a file on a share), in this one
 * form:
 *
 *     sequence 17
 *     version 1
 *     cluster 5f0c…             UUIDs as 36 characters, lower case
 *     witness 9d1e…
 *     term 42
 *     leader 77ab…
 *     nonce 01c4…
 *     forced no                 or yes
 *     members 2 77ab… c90d…     how many, then each
 *
 * One space, one line feed, numbers without leading zeros, nothing before or after: the decoder takes what the encoder
 * gives and nothing else. The sequence number stands first because it is what a rule compares before it knows anything
 * of the rest (design 3). A later format changes `version` and what follows it. */
#include "witness/record.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

/* ---- encode */

static __attribute__((format(printf, 2, 3))) void put(struct witness_bytes *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(b->s + b->len, sizeof(b->s) - b->len, fmt, ap);
    va_end(ap);
    assert(n > 0 && (size_t)n < sizeof(b->s) - b->len); /* WITNESS_MEMBERS_MAX is what fits */
    b->len += (size_t)n;
}

static void put_uuid(struct witness_bytes *b, const char *name, const struct uuid *u)
{
    put(b, "%s%s", name, uuid_str(u).s);
}

struct witness_bytes witness_record_encode(const struct witness_record *r)
{
    assert(r->version == WITNESS_VERSION && r->n_members <= WITNESS_MEMBERS_MAX);
    struct witness_bytes b = {.len = 0};
    put(&b, "sequence %" PRIu64 "\nversion %" PRIu32, r->sequence, r->version);
    put_uuid(&b, "\ncluster ", &r->cluster_uuid);
    put_uuid(&b, "\nwitness ", &r->witness_uuid);
    put(&b, "\nterm %" PRIu64, r->term);
    put_uuid(&b, "\nleader ", &r->leader);
    put_uuid(&b, "\nnonce ", &r->nonce);
    put(&b, "\nforced %s\nmembers %zu", r->forced ? "yes" : "no", r->n_members);
    for (size_t i = 0; i < r->n_members; i++)
        put_uuid(&b, " ", &r->members[i]);
    put(&b, "\n");
    return b;
}

/* ---- decode: bounded and sticky, as the reader of common/wire.h is */

struct reader {
    const char *p, *end;
    bool bad;
};

static void expect(struct reader *r, const char *word)
{
    size_t n = strlen(word);
    if (r->bad || (size_t)(r->end - r->p) < n || memcmp(r->p, word, n) != 0)
        r->bad = true;
    else
        r->p += n;
}

static bool is_digit(const struct reader *r)
{
    return r->p < r->end && *r->p >= '0' && *r->p <= '9';
}

static uint64_t get_number(struct reader *r, const char *name)
{
    expect(r, name);
    const char *start = r->p;
    uint64_t v = 0;
    for (; !r->bad && is_digit(r); r->p++) {
        uint64_t digit = (uint64_t)(*r->p - '0');
        if (v > (UINT64_MAX - digit) / 10)
            r->bad = true;
        else
            v = v * 10 + digit;
    }
    size_t n = (size_t)(r->p - start);
    if (n == 0 || (n > 1 && *start == '0'))
        r->bad = true;
    return r->bad ? 0 : v;
}

static struct uuid get_uuid(struct reader *r, const char *name)
{
    struct uuid u = {{0}};
    char text[UUID_STR_SIZE];
    expect(r, name);
    if (r->bad || (size_t)(r->end - r->p) < sizeof(text) - 1) {
        r->bad = true;
        return u;
    }
    memcpy(text, r->p, sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    r->p += sizeof(text) - 1;
    if (uuid_parse(text, &u) != 0 || !str_eq(uuid_str(&u).s, text))
        r->bad = true;
    return u;
}

static bool get_bool(struct reader *r, const char *name)
{
    expect(r, name);
    bool yes = !r->bad && r->p < r->end && *r->p == 'y';
    expect(r, yes ? "yes" : "no");
    return yes;
}

static void get_members(struct reader *r, struct witness_record *ret)
{
    uint64_t n = get_number(r, "\nmembers ");
    if (n > WITNESS_MEMBERS_MAX)
        r->bad = true;
    for (size_t i = 0; !r->bad && i < n; i++)
        ret->members[i] = get_uuid(r, " ");
    ret->n_members = r->bad ? 0 : (size_t)n;
}

int witness_record_decode(struct slice bytes, struct witness_record *ret)
{
    const char *text = (const char *)bytes.p;
    if (!text || bytes.len >= WITNESS_RECORD_MAX)
        return ERR_MALFORMED;
    struct reader r = {.p = text, .end = text + bytes.len};
    struct witness_record w = {.sequence = get_number(&r, "sequence ")};
    uint64_t version = get_number(&r, "\nversion ");
    if (!r.bad && version > WITNESS_VERSION)
        return ERR_UNKNOWN_KIND;
    w.version = (uint32_t)version;
    w.cluster_uuid = get_uuid(&r, "\ncluster ");
    w.witness_uuid = get_uuid(&r, "\nwitness ");
    w.term = get_number(&r, "\nterm ");
    w.leader = get_uuid(&r, "\nleader ");
    w.nonce = get_uuid(&r, "\nnonce ");
    w.forced = get_bool(&r, "\nforced ");
    get_members(&r, &w);
    expect(&r, "\n");
    if (r.bad || r.p != r.end || version != WITNESS_VERSION || w.sequence == 0)
        return ERR_MALFORMED;
    *ret = w;
    return 0;
}

/* nil: anybody's. */
static bool is_of(const struct uuid *wanted, const struct uuid *u)
{
    return uuid_is_nil(wanted) || uuid_eq(wanted, u);
}

enum witness_cause witness_record_read(struct slice bytes, const struct witness_call *call, struct witness_record *ret)
{
    struct witness_record r;
    int err = witness_record_decode(bytes, &r);
    if (err)
        return err == ERR_UNKNOWN_KIND ? WITNESS_CAUSE_NEWER : WITNESS_CAUSE_FOREIGN;
    if (!is_of(&call->cluster_uuid, &r.cluster_uuid) || !is_of(&call->witness_uuid, &r.witness_uuid))
        return WITNESS_CAUSE_FOREIGN;
    *ret = r;
    return r.sequence < call->sequence_min ? WITNESS_CAUSE_REGRESSED : WITNESS_CAUSE_NONE;
}
