/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory and byte buffers. Out of memory ends the process (abort): everything that was acknowledged is on disk, so a
 * restart is the safe answer, and no caller has an untested error path for it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void *xmalloc(size_t n);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t n, size_t size); /* n * size, overflow checked */
char *xstrdup(const char *s);                   /* NULL stays NULL */
void *xmemdup(const void *p, size_t n);         /* n == 0 gives NULL */

/* Scope cleanup: AUTO(buf_done) struct buf b = {0}; */
#define AUTO(fn) __attribute__((cleanup(fn)))
static inline void freep(void *p)
{
    free(*(void **)p);
}

/* Copies s into a fixed array, always terminated; false (and an unchanged-length truncation) if it did not fit. */
bool str_copy(char *dst, size_t size, const char *src);
#define STR_COPY(dst, src) str_copy((dst), sizeof(dst), (src))
static inline bool str_eq(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* Borrowed bytes: valid as long as their owner says. */
struct slice {
    const uint8_t *p;
    size_t len;
};

/* Growable bytes; all zero is empty. Owned by whoever holds the struct; buf_done frees and zeroes. */
struct buf {
    uint8_t *p;
    size_t len, cap;
};
void buf_done(struct buf *b);
void buf_add(struct buf *b, const void *p, size_t n);
void buf_add_str(struct buf *b, const char *s); /* without the terminator */
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A terminated string; ownership passes to the caller; *b is empty afterwards. */
char *buf_steal_str(struct buf *b);
static inline struct slice buf_slice(const struct buf *b)
{
    return (struct slice){b->p, b->len};
}
