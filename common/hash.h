/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SHA-256 and base64, the one place of the base layer that uses libcrypto. */
#pragma once

#include "common/buf.h"

enum { HASH_SIZE = 32 };

struct hash {
    uint8_t b[HASH_SIZE];
};
struct hash hash_sha256(const struct slice *parts, size_t n_parts); /* of the concatenation */
struct hash hash_of(const void *p, size_t n);
/* The same of bytes that come piece by piece: begin, add …, end. */
struct hash_stream {
    void *ctx;
};
struct hash_stream hash_begin(void);
void hash_more(struct hash_stream *s, const void *p, size_t n);
struct hash hash_end(struct hash_stream *s);
/* HMAC-SHA-256 (RFC 2104) of the concatenation; a key of any length. */
struct hash hash_hmac(struct slice key, const struct slice *parts, size_t n_parts);
bool hash_eq(const struct hash *a, const struct hash *b);
/* Sum and difference mod 2^256 (little endian): an order-free hash of a set of rows. */
void hash_add(struct hash *acc, const struct hash *h);
void hash_sub(struct hash *acc, const struct hash *h);
struct hash_str {
    char s[2 * HASH_SIZE + 1];
};
struct hash_str hash_str(const struct hash *h); /* hex */
int hash_parse(const char *hex, struct hash *ret);

/* Base64 in whole groups of four, without line breaks: how keys are shown. How many bytes; 0: it is none, or there is
 * no room. */
size_t base64_decode(const char *s, size_t len, uint8_t *dst, size_t size);
