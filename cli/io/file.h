/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files that an admin names: XML to read, join tokens to read and to write. A token is a secret: it is read only from a
 * file that nobody but its owner may open, and written only to such a one. */
#pragma once

#include "common/buf.h"
#include "common/err.h"

enum { FILE_TEXT_MAX = 240 * 1024 /* what fits into a request and an entry */ };

/* The whole text; the caller frees. path "-" is the standard input, unless secret. ERR_USAGE with the reason. */
int file_read(const char *path, bool secret, char **ret_text, struct error *e);

/* What a pattern (glob(7)) matches, sorted, ended by NULL. Never NULL. */
char **file_glob(const char *pattern);
void file_glob_free(char **paths);
/* A regular file, as far as max bytes; never through a symbolic link, which could lead to what was not meant. */
int file_read_plain(const char *path, size_t max, struct buf *text, struct error *e);
int64_t file_size(const char *path); /* 0: not there */

/* A secret on its way to a file of mode 0600. file_secret_begin makes a temporary file beside path, before the secret
 * exists, so that it is not made in vain; file_secret_end gives it its name in one step, or, with text NULL, removes
 * it. Without replace, a path that exists is refused (at both steps). */
struct file_secret {
    char *path, *temporary;
    int fd;
    bool replace;
};
int file_secret_begin(const char *path, bool replace, struct file_secret *ret, struct error *e);
int file_secret_end(struct file_secret *s, const char *text, struct error *e);
