/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images of a repository, as backup/qcow2.h specifies them: written front to back by many threads, read by many. */
#pragma once

#include <sys/uio.h>

#include "backup/io/folder.h"
#include "backup/qcow2.h"

/* ---- writing */

struct image_writer;

/* Makes NAME.partial. backing: the name of an image of the same folder, or NULL. */
int image_create(const struct folder *f, const char *name, uint64_t disk_bytes, const char *backing,
                 struct image_writer **ret, struct error *e);
/* Appends whole clusters from aligned memory; *ret_offset is where the first one lies. From any thread. */
int image_append(struct image_writer *w, const struct iovec *iov, int n_iov, uint64_t *ret_offset, struct error *e);
/* The same of clusters of another file of the same file system, by reference. ERR_CONDITION, without *e: the file
 * system has no such thing, nothing was appended. */
int image_clone(struct image_writer *w, int fd, uint64_t offset, uint64_t bytes, uint64_t *ret_offset, struct error *e);
/* The L2 table number `index`: in ascending order, by one thread at a time; those that are all zero may be left out. */
int image_table(struct image_writer *w, uint32_t index, const uint64_t entries[QCOW2_TABLE], struct error *e);
/* Everything that is not data, and publication under the name. replace: as of folder_publish(). */
int image_finish(struct image_writer *w, bool replace, struct error *e);
/* Without finish: NAME.partial goes. NULL is accepted. */
void image_writer_free(struct image_writer *w);

/* ---- reading */

struct image {
    struct layout_name name;
    int fd;
    uint64_t file_bytes;
    struct qcow2_header header;
    uint64_t *l1; /* offsets of the L2 tables, 0: none */
};

/* Header and L1 table. ERR_CONDITION: hostile or foreign, ERR_MALFORMED: damaged. */
int image_open(const struct folder *f, const char *name, struct image **ret, struct error *e);
void image_free(struct image *i); /* NULL is accepted */
/* Entries of table `index`: 0, QCOW2_ZERO, or QCOW2_COPIED | offset of a cluster within the file. From any thread. */
int image_read_table(const struct image *i, uint32_t index, uint64_t ret[QCOW2_TABLE], struct error *e);
/* All that is not data: the structure's digest, and that every cluster is used exactly once. */
int image_check(const struct image *i, struct error *e);

/* An image and what lies behind it, the newest first. */
struct image_chain {
    struct image *list[LAYOUT_CHAIN_MAX];
    size_t n;
};
int image_chain_open(const struct folder *f, const char *name, struct image_chain *ret, struct error *e);
void image_chain_done(struct image_chain *c);
