/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backup/qcow2.h"

#include <assert.h>

enum {
    AT_BACKING_OFFSET = 8,
    AT_BACKING_SIZE = 16,
    AT_CLUSTER_BITS = 20,
    AT_SIZE = 24,
    AT_CRYPT = 32,
    AT_L1_ENTRIES = 36,
    AT_L1_OFFSET = 40,
    AT_REFCOUNT_OFFSET = 48,
    AT_REFCOUNT_CLUSTERS = 56,
    AT_SNAPSHOTS = 60,
    AT_INCOMPATIBLE = 72,
    AT_REFCOUNT_ORDER = 96,
    AT_HEADER_LENGTH = 100,
    HEADER_LENGTH = 104,

    AT_STRUCTURE = HEADER_LENGTH, /* the first extension, so that its place is always the same */
    AT_FORMAT = AT_STRUCTURE + 8 + HASH_SIZE,

    MAGIC = 0x514649fb,
    EXTENSION_FORMAT = (int)0xe2792aca,
    EXTENSION_STRUCTURE = 0x524d5344,
};

static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static void put64(uint8_t *p, uint64_t v)
{
    put32(p, (uint32_t)(v >> 32));
    put32(p + 4, (uint32_t)v);
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint64_t get64(const uint8_t *p)
{
    return (uint64_t)get32(p) << 32 | get32(p + 4);
}

static uint64_t round_up(uint64_t n, uint64_t by)
{
    return n / by + (n % by != 0);
}

bool qcow2_name_is_plain(const char *name)
{
    if (name[0] == '\0' || name[0] == '.' || name[0] == '-' || strlen(name) > QCOW2_BACKING_MAX)
        return false;
    for (const char *p = name; *p; p++) {
        bool letter = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9');
        if (!letter && !strchr("._+-", *p))
            return false;
    }
    return true;
}

uint32_t qcow2_l1_entries(uint64_t disk_bytes)
{
    assert(disk_bytes > 0 && disk_bytes <= QCOW2_DISK_MAX);
    return (uint32_t)round_up(disk_bytes, (uint64_t)QCOW2_CLUSTER * QCOW2_TABLE);
}

uint64_t qcow2_used_max(uint64_t disk_bytes)
{
    return 1 + qcow2_l1_entries(disk_bytes) + round_up(disk_bytes, QCOW2_CLUSTER);
}

/* The refcounts count their own clusters, too: more of them until they cover all. */
struct qcow2_tail qcow2_tail_of(uint64_t disk_bytes, uint64_t used)
{
    assert(used > 0 && used <= qcow2_used_max(disk_bytes));
    struct qcow2_tail t = {.l1 = used, .l1_clusters = round_up(qcow2_l1_entries(disk_bytes), QCOW2_TABLE)};
    t.blocks = t.l1 + t.l1_clusters;
    do {
        t.n_blocks++;
        t.table_clusters = round_up(t.n_blocks, QCOW2_TABLE);
        t.table = t.blocks + t.n_blocks;
        t.end = t.table + t.table_clusters;
    } while (t.n_blocks * QCOW2_REFCOUNTS < t.end);
    return t;
}

void qcow2_header_encode(const struct qcow2_header *h, uint8_t ret[QCOW2_CLUSTER])
{
    memset(ret, 0, QCOW2_CLUSTER);
    put32(ret, MAGIC);
    put32(ret + 4, 3);
    put32(ret + AT_CLUSTER_BITS, 16);
    put64(ret + AT_SIZE, h->disk_bytes);
    put32(ret + AT_L1_ENTRIES, h->l1_entries);
    put64(ret + AT_L1_OFFSET, h->l1_offset);
    put64(ret + AT_REFCOUNT_OFFSET, h->refcount_offset);
    put32(ret + AT_REFCOUNT_CLUSTERS, h->refcount_clusters);
    put32(ret + AT_REFCOUNT_ORDER, 4);
    put32(ret + AT_HEADER_LENGTH, HEADER_LENGTH);
    put32(ret + AT_STRUCTURE, EXTENSION_STRUCTURE);
    put32(ret + AT_STRUCTURE + 4, HASH_SIZE);
    memcpy(ret + AT_STRUCTURE + 8, h->structure.b, HASH_SIZE);
    if (h->backing[0] == '\0')
        return; /* the zeros behind are the extension that ends them */
    assert(qcow2_name_is_plain(h->backing));
    size_t len = strlen(h->backing), name_at = AT_FORMAT + 8 + 8 + 8;
    put32(ret + AT_FORMAT, (uint32_t)EXTENSION_FORMAT);
    put32(ret + AT_FORMAT + 4, 5);
    memcpy(ret + AT_FORMAT + 8, "qcow2", 5);
    put64(ret + AT_BACKING_OFFSET, name_at);
    put32(ret + AT_BACKING_SIZE, (uint32_t)len);
    memcpy(ret + name_at, h->backing, len);
}

static int refuse(struct error *e, const char *what)
{
    return error_set(e, ERR_CONDITION, "the image %s, and no image of a repository does", what);
}

/* What no image of ours has, in words: before the comparison that would call all of it damage. */
static int refuse_foreign(const uint8_t *p, struct error *e)
{
    enum { EXTERNAL_DATA = 4 };
    if (get32(p) != MAGIC)
        return error_set(e, ERR_MALFORMED, "it is no qcow2 image");
    if (get32(p + 4) != 3)
        return refuse(e, "is not of version 3");
    if (get64(p + AT_INCOMPATIBLE) & EXTERNAL_DATA)
        return refuse(e, "keeps its data in another file");
    if (get64(p + AT_INCOMPATIBLE) != 0)
        return refuse(e, "has incompatible features");
    if (get32(p + AT_CRYPT) != 0)
        return refuse(e, "is encrypted");
    if (get32(p + AT_SNAPSHOTS) != 0)
        return refuse(e, "has snapshots");
    if (get32(p + AT_CLUSTER_BITS) != 16)
        return refuse(e, "has clusters of another size");
    uint64_t size = get64(p + AT_SIZE);
    if (size == 0 || size > QCOW2_DISK_MAX || size % 512 != 0)
        return refuse(e, "has an impossible virtual size");
    return 0;
}

static int decode_backing(const uint8_t *p, char ret[QCOW2_BACKING_MAX + 1], struct error *e)
{
    uint64_t at = get64(p + AT_BACKING_OFFSET), len = get32(p + AT_BACKING_SIZE);
    ret[0] = '\0';
    if (at == 0 && len == 0)
        return 0;
    if (len == 0 || len > QCOW2_BACKING_MAX || at < HEADER_LENGTH || at > QCOW2_CLUSTER - len)
        return refuse(e, "has a backing file's name of an impossible length or place");
    memcpy(ret, p + at, len);
    ret[len] = '\0';
    if (strlen(ret) != len || !qcow2_name_is_plain(ret))
        return refuse(e, "has a backing file that is not a plain name of the same folder");
    return 0;
}

/* The tail is where it must be in a file of this size. */
static bool tail_fits(const struct qcow2_header *h, uint64_t file_bytes)
{
    if (h->l1_offset % QCOW2_CLUSTER != 0 || h->l1_offset == 0 || h->l1_offset >= file_bytes ||
        file_bytes % QCOW2_CLUSTER != 0 || h->l1_offset / QCOW2_CLUSTER > qcow2_used_max(h->disk_bytes))
        return false;
    struct qcow2_tail t = qcow2_tail_of(h->disk_bytes, h->l1_offset / QCOW2_CLUSTER);
    return h->l1_entries == qcow2_l1_entries(h->disk_bytes) && h->refcount_offset == t.table * QCOW2_CLUSTER &&
           h->refcount_clusters == t.table_clusters && file_bytes == t.end * QCOW2_CLUSTER;
}

int qcow2_header_decode(struct slice cluster, uint64_t file_bytes, struct qcow2_header *ret, struct error *e)
{
    if (cluster.len != QCOW2_CLUSTER)
        return error_set(e, ERR_MALFORMED, "it is too short for a qcow2 image of a repository");
    const uint8_t *p = cluster.p;
    struct qcow2_header h = {.disk_bytes = get64(p + AT_SIZE),
                             .l1_entries = get32(p + AT_L1_ENTRIES),
                             .l1_offset = get64(p + AT_L1_OFFSET),
                             .refcount_offset = get64(p + AT_REFCOUNT_OFFSET),
                             .refcount_clusters = get32(p + AT_REFCOUNT_CLUSTERS)};
    int err = refuse_foreign(p, e);
    if (!err)
        err = decode_backing(p, h.backing, e);
    if (err)
        return err;
    memcpy(h.structure.b, p + AT_STRUCTURE + 8, HASH_SIZE);
    if (!tail_fits(&h, file_bytes))
        return error_set(e, ERR_MALFORMED, "the qcow2 header does not fit the file: it is cut short or damaged");
    uint8_t *again = xmalloc(QCOW2_CLUSTER);
    qcow2_header_encode(&h, again);
    bool same = memcmp(again, p, QCOW2_CLUSTER) == 0;
    free(again);
    if (!same)
        return error_set(e, ERR_MALFORMED, "the qcow2 header is damaged, or another program wrote it");
    *ret = h;
    return 0;
}

uint64_t qcow2_entry_offset(uint64_t entry, uint64_t file_bytes)
{
    uint64_t offset = entry & ~QCOW2_COPIED;
    bool good = (entry & QCOW2_COPIED) && offset % QCOW2_CLUSTER == 0 && offset > 0 && offset < file_bytes &&
                file_bytes - offset >= QCOW2_CLUSTER;
    return good ? offset : 0;
}

void qcow2_table_encode(const uint64_t entries[QCOW2_TABLE], uint8_t ret[QCOW2_CLUSTER])
{
    for (size_t i = 0; i < QCOW2_TABLE; i++)
        put64(ret + 8 * i, entries[i]);
}

void qcow2_table_decode(const uint8_t cluster[QCOW2_CLUSTER], uint64_t ret[QCOW2_TABLE])
{
    for (size_t i = 0; i < QCOW2_TABLE; i++)
        ret[i] = get64(cluster + 8 * i);
}
