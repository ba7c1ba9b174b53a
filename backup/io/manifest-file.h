/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Manifests as files, page by page: neither a writer nor a reader holds one as a whole. */
#pragma once

#include "backup/io/folder.h"
#include "backup/manifest.h"

struct manifest_writer;

/* Makes NAME.partial. key is borrowed until finish. */
int manifest_create(const struct folder *f, const char *name, const struct manifest_header *h, struct slice key,
                    struct manifest_writer **ret, struct error *e);
/* The pages in their order. */
int manifest_add_page(struct manifest_writer *w, const struct manifest_digest *digests, struct error *e);
int manifest_finish(struct manifest_writer *w, struct error *e);
void manifest_writer_free(struct manifest_writer *w); /* NULL is accepted; without finish NAME.partial goes */

struct manifest {
    struct layout_name name;
    int fd;
    struct manifest_header header;
    uint64_t n_pages;
    uint64_t *offsets;  /* of the pages, and of the trailer */
    struct hash *pages; /* digests of the pages, which the trailer covers */
};

/* Reads all of it once, and checks the trailer. ERR_MALFORMED: damaged, or made with another key. */
int manifest_open(const struct folder *f, const char *name, struct slice key, struct manifest **ret, struct error *e);
void manifest_free(struct manifest *m); /* NULL is accepted */
/* ret: MANIFEST_PAGE_BLOCKS digests, those behind the page's end zero. */
int manifest_read_page(const struct manifest *m, uint64_t page, struct manifest_digest *ret, struct error *e);
