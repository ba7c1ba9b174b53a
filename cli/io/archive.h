/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An archive of texts: gathered in a folder that only its owner may open, packed by tar(1) and zstd(1) or gzip(1) into
 * a file of mode 0600, which gets its name when it is whole. */
#pragma once

#include "common/buf.h"
#include "common/err.h"

struct archive;

/* name: of the one folder in it. */
int archive_begin(const char *name, struct archive **ret, struct error *e);
/* name: of the file, without a slash. */
int archive_add(struct archive *a, const char *name, const struct buf *text, struct error *e);
/* path ends in .tar.zst or .tar.gz, and is refused if it exists; NULL: everything is dropped. Frees the archive. */
int archive_end(struct archive *a, const char *path, struct error *e);
const char *archive_suffix(void); /* ".tar.zst" where there is zstd, else ".tar.gz" */
