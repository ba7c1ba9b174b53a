/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Database copies: files in the state folder, mode 0600, each made before the functional level was raised. Only the
 * newest few are kept. Blocking. */
#pragma once

#include "common/buf.h"
#include "common/err.h"

enum { COPIES_KEPT = 3 };

/* Whole and synced, or ERR_IO. A file of that name is replaced. What is more than COPIES_KEPT goes afterwards, the
 * earliest first. */
int copy_keep(const char *prefix, const char *name, struct slice bytes, struct error *e);

/* path: a file, or the name of one in the state folder. ERR_NOT_FOUND, ERR_TOO_BIG, ERR_IO, ERR_CONDITION: others than
 * root may write it. */
int copy_read(const char *prefix, const char *path, struct buf *ret, struct error *e);
