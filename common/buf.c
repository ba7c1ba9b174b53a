/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

enum { BUF_CAP_MIN = 64 };

static size_t checked_mul(size_t n, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(n, size, &total))
        abort();
    return total ? total : 1; /* malloc(0) and realloc(p, 0) may give NULL */
}

static void *or_abort(void *p)
{
    if (!p)
        abort();
    return p;
}

void *xmalloc(size_t n)
{
    return or_abort(malloc(checked_mul(n, 1)));
}

void *xcalloc(size_t n, size_t size)
{
    return or_abort(calloc(1, checked_mul(n, size)));
}

void *xrealloc(void *p, size_t n, size_t size)
{
    return or_abort(realloc(p, checked_mul(n, size)));
}

char *xstrdup(const char *s)
{
    return s ? xmemdup(s, strlen(s) + 1) : NULL;
}

void *xmemdup(const void *p, size_t n)
{
    if (n == 0)
        return NULL;
    void *copy = xmalloc(n);
    memcpy(copy, p, n);
    return copy;
}

bool str_copy(char *dst, size_t size, const char *src)
{
    assert(size > 0);
    size_t len = strnlen(src, size);
    bool fits = len < size;
    if (!fits)
        len = size - 1;
    memmove(dst, src, len);
    dst[len] = '\0';
    return fits;
}

void buf_done(struct buf *b)
{
    free(b->p);
    *b = (struct buf){0};
}

static void buf_reserve(struct buf *b, size_t n)
{
    size_t need;
    if (__builtin_add_overflow(b->len, n, &need))
        abort();
    if (need <= b->cap)
        return;
    size_t cap = b->cap > SIZE_MAX / 2 ? need : 2 * b->cap;
    if (cap < need)
        cap = need;
    if (cap < BUF_CAP_MIN)
        cap = BUF_CAP_MIN;
    b->p = xrealloc(b->p, cap, 1);
    b->cap = cap;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
    if (n == 0)
        return;
    buf_reserve(b, n);
    memcpy(b->p + b->len, p, n);
    b->len += n;
}

void buf_add_str(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    assert(n >= 0);
    buf_reserve(b, (size_t)n + 1); /* vsnprintf wants room for its terminator */
    vsnprintf((char *)b->p + b->len, (size_t)n + 1, fmt, again);
    va_end(again);
    b->len += (size_t)n;
}

char *buf_steal_str(struct buf *b)
{
    buf_add(b, "", 1);
    char *s = (char *)b->p;
    *b = (struct buf){0};
    return s;
}
