/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/wire.h"

#include <assert.h>

#include "common/err.h"

static inline __attribute__((always_inline)) void put_le(struct buf *b, uint64_t v, size_t width)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < width; i++)
        bytes[i] = (uint8_t)(v >> (8 * i));
    buf_add(b, bytes, width);
}

void wire_put_u8(struct buf *b, uint8_t v)
{
    put_le(b, v, 1);
}

void wire_put_u16(struct buf *b, uint16_t v)
{
    put_le(b, v, 2);
}

void wire_put_u32(struct buf *b, uint32_t v)
{
    put_le(b, v, 4);
}

void wire_put_u64(struct buf *b, uint64_t v)
{
    put_le(b, v, 8);
}

void wire_put_i64(struct buf *b, int64_t v)
{
    put_le(b, (uint64_t)v, 8);
}

void wire_put_bytes(struct buf *b, const void *p, size_t n)
{
    assert(n <= UINT32_MAX);
    wire_put_u32(b, (uint32_t)n);
    buf_add(b, p, n);
}

void wire_put_slice(struct buf *b, struct slice s)
{
    wire_put_bytes(b, s.p, s.len);
}

void wire_put_str(struct buf *b, const char *s)
{
    if (!s)
        s = "";
    wire_put_bytes(b, s, strlen(s));
}

void wire_put_uuid(struct buf *b, const struct uuid *u)
{
    buf_add(b, u->b, sizeof(u->b));
}

struct wire_reader wire_reader(struct slice s)
{
    assert(s.p || s.len == 0);
    const uint8_t *p = s.p ? s.p : (const uint8_t *)""; /* no arithmetic on NULL */
    return (struct wire_reader){.p = p, .end = p + s.len};
}

static void fault(struct wire_reader *r)
{
    r->err = ERR_MALFORMED;
}

static size_t left(const struct wire_reader *r)
{
    return (size_t)(r->end - r->p);
}

/* The next n bytes, or NULL after a fault. */
static const uint8_t *take(struct wire_reader *r, size_t n)
{
    if (r->err == 0 && n > left(r))
        fault(r);
    if (r->err)
        return NULL;
    const uint8_t *p = r->p;
    r->p += n;
    return p;
}

/* Inlined, so that the width is known and the loop becomes one load: every row that is looked at comes through here. */
static inline __attribute__((always_inline)) uint64_t get_le(struct wire_reader *r, size_t width)
{
    const uint8_t *p = take(r, width);
    uint64_t v = 0;
    if (p == NULL)
        return 0;
    for (size_t i = 0; i < width; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

uint8_t wire_get_u8(struct wire_reader *r)
{
    return (uint8_t)get_le(r, 1);
}

uint16_t wire_get_u16(struct wire_reader *r)
{
    return (uint16_t)get_le(r, 2);
}

uint32_t wire_get_u32(struct wire_reader *r)
{
    return (uint32_t)get_le(r, 4);
}

uint64_t wire_get_u64(struct wire_reader *r)
{
    return get_le(r, 8);
}

int64_t wire_get_i64(struct wire_reader *r)
{
    return (int64_t)get_le(r, 8);
}

struct slice wire_get_slice(struct wire_reader *r)
{
    uint32_t len = wire_get_u32(r);
    const uint8_t *p = take(r, len);
    return p ? (struct slice){p, len} : (struct slice){0};
}

/* A slice that holds no NUL; empty after a fault. */
static struct slice get_text(struct wire_reader *r)
{
    struct slice s = wire_get_slice(r);
    if (s.len > 0 && memchr(s.p, 0, s.len)) {
        fault(r);
        return (struct slice){0};
    }
    return s;
}

void wire_get_str(struct wire_reader *r, char *dst, size_t size)
{
    assert(size > 0);
    struct slice s = get_text(r);
    if (s.len >= size) {
        fault(r);
        s.len = 0;
    }
    if (s.len > 0)
        memcpy(dst, s.p, s.len);
    dst[s.len] = '\0';
}

char *wire_get_strdup(struct wire_reader *r)
{
    struct slice s = get_text(r);
    char *copy = xmalloc(s.len + 1);
    if (s.len > 0)
        memcpy(copy, s.p, s.len);
    copy[s.len] = '\0';
    return copy;
}

struct uuid wire_get_uuid(struct wire_reader *r)
{
    struct uuid u = {0};
    const uint8_t *p = take(r, sizeof(u.b));
    if (p)
        memcpy(u.b, p, sizeof(u.b));
    return u;
}

uint32_t wire_get_count(struct wire_reader *r, size_t min_size)
{
    assert(min_size > 0);
    uint32_t n = wire_get_u32(r);
    if (n > left(r) / min_size) {
        fault(r);
        return 0;
    }
    return n;
}

int wire_err(const struct wire_reader *r)
{
    return r->err;
}

int wire_end(const struct wire_reader *r)
{
    if (r->err)
        return r->err;
    return left(r) == 0 ? 0 : ERR_MALFORMED;
}
