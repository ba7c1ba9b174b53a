/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/hash.h"

#include <openssl/evp.h>
#include <pthread.h>

#include "common/err.h"
#include "common/text.h"

/* libcrypto fails here only without memory or without a working SHA-256: no caller could go on with either. */
static void check(int ok)
{
    if (ok != 1)
        abort();
}

/* EVP_sha256() is looked up among the providers at every use of it, which takes longer than to hash a row. */
static EVP_MD *sha256;

static void fetch_sha256(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    check(sha256 != NULL);
}

struct hash_stream hash_begin(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    check(pthread_once(&once, fetch_sha256) == 0);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    check(ctx != NULL);
    check(EVP_DigestInit_ex(ctx, sha256, NULL));
    return (struct hash_stream){ctx};
}

void hash_more(struct hash_stream *s, const void *p, size_t n)
{
    if (n > 0)
        check(EVP_DigestUpdate(s->ctx, p, n));
}

struct hash hash_end(struct hash_stream *s)
{
    struct hash h;
    unsigned len = 0;
    check(EVP_DigestFinal_ex(s->ctx, h.b, &len));
    check(len == HASH_SIZE);
    EVP_MD_CTX_free(s->ctx);
    s->ctx = NULL;
    return h;
}

struct hash hash_sha256(const struct slice *parts, size_t n_parts)
{
    struct hash_stream s = hash_begin();
    for (size_t i = 0; i < n_parts; i++)
        hash_more(&s, parts[i].p, parts[i].len);
    return hash_end(&s);
}

struct hash hash_of(const void *p, size_t n)
{
    return hash_sha256(&(struct slice){p, n}, 1);
}

struct hash hash_hmac(struct slice key, const struct slice *parts, size_t n_parts)
{
    enum { BLOCK = 64 };
    uint8_t inner[BLOCK] = {0}, outer[BLOCK];
    struct hash short_key = {0};
    if (key.len > BLOCK) {
        short_key = hash_of(key.p, key.len);
        key = (struct slice){short_key.b, HASH_SIZE};
    }
    if (key.len > 0)
        memcpy(inner, key.p, key.len);
    for (size_t i = 0; i < BLOCK; i++) {
        outer[i] = inner[i] ^ 0x5c;
        inner[i] ^= 0x36;
    }
    struct slice *all = xcalloc(n_parts + 1, sizeof(*all));
    all[0] = (struct slice){inner, BLOCK};
    for (size_t i = 0; i < n_parts; i++)
        all[i + 1] = parts[i];
    struct hash h = hash_sha256(all, n_parts + 1);
    free(all);
    struct slice last[] = {{outer, BLOCK}, {h.b, HASH_SIZE}};
    h = hash_sha256(last, 2);
    explicit_bzero(inner, sizeof(inner));
    explicit_bzero(outer, sizeof(outer));
    explicit_bzero(&short_key, sizeof(short_key));
    return h;
}

bool hash_eq(const struct hash *a, const struct hash *b)
{
    return memcmp(a->b, b->b, HASH_SIZE) == 0;
}

void hash_add(struct hash *acc, const struct hash *h)
{
    unsigned carry = 0;
    for (size_t i = 0; i < HASH_SIZE; i++) {
        unsigned sum = acc->b[i] + h->b[i] + carry;
        acc->b[i] = (uint8_t)sum;
        carry = sum >> 8;
    }
}

void hash_sub(struct hash *acc, const struct hash *h)
{
    unsigned borrow = 0;
    for (size_t i = 0; i < HASH_SIZE; i++) {
        unsigned difference = 256u + acc->b[i] - h->b[i] - borrow;
        acc->b[i] = (uint8_t)difference;
        borrow = difference < 256u;
    }
}

struct hash_str hash_str(const struct hash *h)
{
    struct hash_str str;
    text_hex(str.s, h->b, HASH_SIZE);
    str.s[2 * HASH_SIZE] = '\0';
    return str;
}

int hash_parse(const char *hex, struct hash *ret)
{
    struct hash h;
    if (text_hex_parse(hex, h.b, HASH_SIZE) < 0 || hex[2 * HASH_SIZE] != '\0')
        return ERR_MALFORMED;
    *ret = h;
    return 0;
}

size_t base64_decode(const char *s, size_t len, uint8_t *dst, size_t size)
{
    if (len == 0 || len % 4 != 0 || len / 4 * 3 > size)
        return 0;
    int n = EVP_DecodeBlock(dst, (const uint8_t *)s, (int)len);
    if (n <= 0)
        return 0;
    size_t padding = (size_t)(s[len - 1] == '=') + (size_t)(s[len - 2] == '=');
    return (size_t)n - padding;
}
