/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The qcow2 images of a repository: a strict subset of version 3 that stock tools read and boot, with one layout.
 *
 *   cluster 0        header, header extensions, the backing file's name, zeros
 *   clusters 1…      data and L2 tables, in the order in which they were written; none is unused, so there are no more
 *                    than the disk has blocks and tables, however large a sparse file says that it is
 *   then             the L1 table, the refcount blocks, the refcount table: the file ends with it
 *
 * Clusters of 64 KiB, refcounts of 16 bits, each 1; no snapshots, bitmaps, compression, encryption, external data file,
 * no feature bits. An L2 entry is 0 (what the backing file has; zeros without one), 1 (zeros) or bit 63 with the offset
 * of a data cluster. The backing file is a plain name in the same folder, of format qcow2, and of the same virtual
 * size.
 *
 * The header extension 0x524d5344 ("RMSD", 32 bytes) is the SHA-256 over cluster 0 with these 32 bytes zero, and the
 * SHA-256 of each L2 table in the order of the disk, of the L1 table, of the refcount blocks and of the refcount table
 * (each as whole clusters, in the order of the file). It shows damage; contents are the manifest's to prove.
 *
 * Order of writes: everything but cluster 0, then cluster 0, fsync; the file gets its name only after that. */
#pragma once

#include "common/err.h"
#include "common/hash.h"

enum {
    QCOW2_CLUSTER = 65536,
    QCOW2_TABLE = 8192, /* entries of a cluster of an L1 or L2 table */
    QCOW2_BACKING_MAX = 255,
    QCOW2_REFCOUNTS = QCOW2_CLUSTER / 2, /* of a refcount block */
};
#define QCOW2_DISK_MAX (UINT64_C(1) << 46)
#define QCOW2_ZERO     UINT64_C(1)
#define QCOW2_COPIED   (UINT64_C(1) << 63)

struct qcow2_header {
    uint64_t disk_bytes; /* a multiple of 512, 1…QCOW2_DISK_MAX */
    uint64_t l1_offset;
    uint32_t l1_entries;
    uint64_t refcount_offset; /* of the refcount table */
    uint32_t refcount_clusters;
    char backing[QCOW2_BACKING_MAX + 1]; /* "": none */
    struct hash structure;
};

/* What follows the data and the L2 tables, and where. All in clusters. */
struct qcow2_tail {
    uint64_t l1, l1_clusters, blocks, n_blocks, table, table_clusters, end;
};

/* A plain name: not empty, no '/', not "." or "..", no leading '-' or '.', only letters, digits and "._+-". */
bool qcow2_name_is_plain(const char *name);

/* `used`: clusters before the tail, cluster 0 included: 1…qcow2_used_max(). */
struct qcow2_tail qcow2_tail_of(uint64_t disk_bytes, uint64_t used);
uint64_t qcow2_used_max(uint64_t disk_bytes);
uint32_t qcow2_l1_entries(uint64_t disk_bytes);

/* Fills cluster 0. */
void qcow2_header_encode(const struct qcow2_header *h, uint8_t ret[QCOW2_CLUSTER]);

/* Cluster 0 of a file of that many bytes. 0; ERR_CONDITION: an image that could lead a reader elsewhere or asks for
 * what no image of a repository has, *e says what; ERR_MALFORMED: damaged, or made by something else. */
int qcow2_header_decode(struct slice cluster, uint64_t file_bytes, struct qcow2_header *ret, struct error *e);

/* An L2 or L1 entry of a data or table cluster: its offset, or 0 if it is none within the file. */
uint64_t qcow2_entry_offset(uint64_t entry, uint64_t file_bytes);

void qcow2_table_encode(const uint64_t entries[QCOW2_TABLE], uint8_t ret[QCOW2_CLUSTER]);
void qcow2_table_decode(const uint8_t cluster[QCOW2_CLUSTER], uint64_t ret[QCOW2_TABLE]);
