/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/io/pieces.h"

#include "common/err.h"
#include "common/wire.h"

enum { PIECE_MAGIC = 'R', PIECE_VERSION = 1 };

void piece_header(struct buf *b, uint32_t number, size_t total, size_t offset)
{
    wire_put_u8(b, PIECE_MAGIC);
    wire_put_u8(b, PIECE_VERSION);
    wire_put_u16(b, 0);
    wire_put_u32(b, number);
    wire_put_u32(b, (uint32_t)total);
    wire_put_u32(b, (uint32_t)offset);
}

void pieces_done(struct pieces *p)
{
    buf_done(&p->bytes);
    *p = (struct pieces){0};
}

struct piece {
    uint32_t number, total, offset;
    struct slice bytes;
};

static int parse(struct slice bytes, struct piece *ret)
{
    struct wire_reader r = wire_reader(bytes);
    struct piece c;
    uint8_t magic = wire_get_u8(&r), version = wire_get_u8(&r);
    wire_get_u16(&r);
    c.number = wire_get_u32(&r);
    c.total = wire_get_u32(&r);
    c.offset = wire_get_u32(&r);
    if (wire_err(&r) || magic != PIECE_MAGIC || version != PIECE_VERSION)
        return ERR_MALFORMED;
    c.bytes = (struct slice){r.p, (size_t)(r.end - r.p)};
    if (c.total == 0 || c.total > PIECES_MESSAGE_MAX || c.bytes.len == 0 || c.offset > c.total ||
        c.bytes.len > c.total - c.offset)
        return ERR_MALFORMED;
    *ret = c;
    return 0;
}

int pieces_take(struct pieces *p, struct slice piece, struct buf *ret)
{
    struct piece c;
    int err = parse(piece, &c);
    if (err) {
        pieces_done(p);
        return err;
    }
    if (c.offset == 0) {
        err = p->total ? ERR_MALFORMED : 0; /* the one before was not whole */
        pieces_done(p);
        p->number = c.number;
        p->total = c.total;
    } else if (!p->total) {
        return 0; /* joined in the middle of it, or dropped already */
    } else if (c.number != p->number || c.total != p->total || c.offset != p->bytes.len) {
        pieces_done(p);
        return ERR_MALFORMED;
    }
    buf_add(&p->bytes, c.bytes.p, c.bytes.len);
    if (p->bytes.len < p->total)
        return err;
    *ret = p->bytes;
    p->bytes = (struct buf){0};
    pieces_done(p);
    return 1;
}
