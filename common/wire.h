/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Binary codec of everything that goes over CPG and into the database: little endian, no padding, no pointers.
 *   u8 u16 u32 u64 i64   fixed width
 *   bytes, str           u32 length, then the bytes (str: no NUL inside, no terminator)
 *   uuid                 16 bytes
 * The reader is bounded and sticky: after the first fault every get returns zero/empty and r->err is set, so a decoder
 * reads all fields and checks once. Decoders must end with wire_end(), which also refuses trailing bytes; decoders of
 * rows and messages that newer releases may extend end with wire_err() instead. */
#pragma once

#include "common/buf.h"
#include "common/uuid.h"

void wire_put_u8(struct buf *b, uint8_t v);
void wire_put_u16(struct buf *b, uint16_t v);
void wire_put_u32(struct buf *b, uint32_t v);
void wire_put_u64(struct buf *b, uint64_t v);
void wire_put_i64(struct buf *b, int64_t v);
void wire_put_bytes(struct buf *b, const void *p, size_t n);
void wire_put_slice(struct buf *b, struct slice s);
void wire_put_str(struct buf *b, const char *s); /* NULL is written as "" */
void wire_put_uuid(struct buf *b, const struct uuid *u);

struct wire_reader {
    const uint8_t *p, *end;
    int err; /* 0 or ERR_MALFORMED */
};
struct wire_reader wire_reader(struct slice s);
uint8_t wire_get_u8(struct wire_reader *r);
uint16_t wire_get_u16(struct wire_reader *r);
uint32_t wire_get_u32(struct wire_reader *r);
uint64_t wire_get_u64(struct wire_reader *r);
int64_t wire_get_i64(struct wire_reader *r);
/* Borrows from the reader's input. */
struct slice wire_get_slice(struct wire_reader *r);
/* Copies into dst; too long for size or a NUL inside is a fault. */
void wire_get_str(struct wire_reader *r, char *dst, size_t size);
#define WIRE_GET_STR(r, dst) wire_get_str((r), (dst), sizeof(dst))
/* Allocates; the caller frees. Never NULL. */
char *wire_get_strdup(struct wire_reader *r);
struct uuid wire_get_uuid(struct wire_reader *r);
/* A count of things that each take at least min_size bytes: refused if the rest of the input cannot hold them. */
uint32_t wire_get_count(struct wire_reader *r, size_t min_size);
int wire_err(const struct wire_reader *r); /* 0 or ERR_MALFORMED */
int wire_end(const struct wire_reader *r); /* the same, and nothing may be left */
