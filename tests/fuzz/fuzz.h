/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the fuzz targets share: taking an input apart. One target is one file with LLVMFuzzerTestOneInput; it must hold
 * for any bytes, and says by assert what must be true of the answer. Built without --enable-fuzz a target replays its
 * corpus (replay.c).
 *
 * Inputs of the binary targets are records: u8 operation, u16 length (little endian), that many bytes, or what is
 * left. */
#pragma once

#include <assert.h>

#include "common/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *p, *end;
};

static inline uint8_t input_u8(struct input *in)
{
    return in->p < in->end ? *in->p++ : 0;
}

static inline struct slice input_take(struct input *in, size_t n)
{
    size_t left = (size_t)(in->end - in->p);
    struct slice s = {in->p, n < left ? n : left};
    in->p += s.len;
    return s;
}

static inline struct slice input_rest(struct input *in)
{
    return input_take(in, SIZE_MAX);
}

/* false at the end. */
static inline bool input_record(struct input *in, uint8_t *ret_op, struct slice *ret)
{
    if (in->p == in->end)
        return false;
    *ret_op = input_u8(in);
    size_t n = input_u8(in);
    n |= (size_t)input_u8(in) << 8;
    *ret = input_take(in, n);
    return true;
}

/* Bytes in a block of their own, so that the sanitizer sees a read past their end. */
static inline uint8_t *input_block(struct slice s)
{
    uint8_t *p = xmalloc(s.len + !s.len);
    if (s.len)
        memcpy(p, s.p, s.len);
    return p;
}

/* The same as a terminated string: it ends at the first NUL. */
static inline char *input_text(struct slice s)
{
    char *p = xmalloc(s.len + 1);
    if (s.len)
        memcpy(p, s.p, s.len);
    p[s.len] = '\0';
    return p;
}
