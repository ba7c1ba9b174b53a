/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An export of an NBD server, by libnbd: its size, what of it is zeros or unchanged, and its blocks (backup/port.h).
 * Only local servers: nbd+unix:///NAME?socket=PATH. */
#pragma once

#include "backup/extents.h"
#include "backup/port.h"

struct nbd;

/* bitmap: name of a dirty bitmap that the server exports beside the blocks, or NULL.
 * ERR_USAGE: no such URI; ERR_IO: no server, no export, TLS asked for. */
int nbd_open(const char *uri, const char *bitmap, struct nbd **ret, struct error *e);
void nbd_free(struct nbd *n); /* NULL is accepted; after all lanes were closed */

uint64_t nbd_bytes(const struct nbd *n);
bool nbd_has_bitmap(const struct nbd *n);     /* the one that was named is offered */
unsigned nbd_lanes(const struct nbd *n);      /* connections that the server takes */
uint64_t nbd_read_bytes(const struct nbd *n); /* asked for through all lanes so far */

/* Of [offset, offset + bytes), less than 4 GiB: where it reads as zeros, and (with a bitmap) where nothing was written.
 */
int nbd_extents(struct nbd *n, uint64_t offset, uint64_t bytes, struct extents *ret_zeros, struct extents *ret_clean,
                struct error *e);

extern const struct source_ops nbd_source_ops; /* of a struct nbd */
