/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small files that must be whole or absent, also after a crash: written beside, synced, renamed, the folder synced.
 * A sync that fails ends the process, with a word to standard error: what is on disk is unknown then, and a restart
 * reads it anew.
 *
 * Every path is taken below a prefix: "" on a node, a folder of its own in tests. */
#pragma once

#include <sys/types.h>

#include "common/buf.h"
#include "common/err.h"

enum { FILES_PATH_MAX = 512 };

struct file_mode {
    mode_t mode;
    gid_t group; /* used where mode has group bits; 0: root */
};

/* Makes the file's folders as well (0755; a folder named "private" 0700). Equal bytes are written again: the mode may
 * differ. */
int file_install(const char *prefix, const char *path, struct slice bytes, struct file_mode mode, struct error *e);

/* ERR_NOT_FOUND, ERR_TOO_BIG (more than max bytes), ERR_IO. ret may hold a secret: the caller wipes it then. */
int file_read(const char *prefix, const char *path, size_t max, struct buf *ret, struct error *e);

/* The same of a secret: a file that any other than its owner may read or write is refused (ERR_CONDITION), and one that
 * belongs to another. */
int file_read_secret(const char *prefix, const char *path, size_t max, struct buf *ret, struct error *e);

/* Over what is there. Within a folder. */
int file_rename(const char *prefix, const char *from, const char *to, struct error *e);

/* Gone is success. */
int file_remove(const char *prefix, const char *path, struct error *e);
