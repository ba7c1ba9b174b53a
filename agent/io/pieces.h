/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages that are longer than what CPG delivers as one, in pieces:
 *   u8 'R', u8 version 1, u16 0, u32 number of the message, u32 its length, u32 offset of this piece, then the bytes
 * (little endian). CPG keeps the order of one sender, so pieces need no sorting: a piece that does not continue is
 * dropped with its message. Numbers count up per sender; they tell a message from the next one of the same length. */
#pragma once

#include "common/buf.h"

enum { PIECE_HEADER = 16, PIECES_MESSAGE_MAX = 1 << 20 };

/* Appends the header of the piece at that offset of a message. */
void piece_header(struct buf *b, uint32_t number, size_t total, size_t offset);

/* What came so far of one sender's message; all zero is empty. */
struct pieces {
    uint32_t number;
    uint32_t total; /* 0: none is under way */
    struct buf bytes;
};
void pieces_done(struct pieces *p);

/* 1: *ret is a whole message, to be done by the caller. 0: there is more to come, or the piece belongs to a message
 * whose beginning was not seen. ERR_MALFORMED: the piece, and what came before it, was dropped; a piece that begins a
 * message is kept even then. */
int pieces_take(struct pieces *p, struct slice piece, struct buf *ret);
