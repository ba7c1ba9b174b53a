/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <assert.h>
#include <errno.h>

#include "backup/io/image.h"

static int damaged(const struct image *i, const char *what, struct error *e)
{
    error_set(e, ERR_MALFORMED, "the image %s is damaged: %s", i->name.s, what);
    error_set_remedy(e, "restore an older point, and make a full backup; look for the disk's errors: journalctl -k");
    return ERR_MALFORMED;
}

void image_free(struct image *i)
{
    if (!i)
        return;
    closep(&i->fd);
    free(i->l1);
    free(i);
}

static int read_header(const struct folder *f, struct image *i, struct error *e)
{
    AUTO(freep) uint8_t *cluster = xmalloc(QCOW2_CLUSTER);
    size_t n = i->file_bytes < QCOW2_CLUSTER ? (size_t)i->file_bytes : QCOW2_CLUSTER;
    if (!read_at(i->fd, cluster, n, 0))
        return folder_error(f, i->name.s, "read", errno, e);
    struct error why = {0};
    int err = qcow2_header_decode((struct slice){cluster, n}, i->file_bytes, &i->header, &why);
    if (err) {
        error_set(e, err, "%s/%s: %s", f->path, i->name.s, why.text);
        error_set_remedy(e, "do not use this file; restore a point that does not need it");
    }
    return err;
}

static int read_l1(const struct folder *f, struct image *i, struct error *e)
{
    size_t n = (i->header.l1_entries + QCOW2_TABLE - 1u) / QCOW2_TABLE;
    AUTO(freep) uint8_t *cluster = xmalloc(QCOW2_CLUSTER);
    i->l1 = xcalloc(n * QCOW2_TABLE, sizeof(*i->l1));
    for (size_t k = 0; k < n; k++) {
        if (!read_at(i->fd, cluster, QCOW2_CLUSTER, i->header.l1_offset + k * QCOW2_CLUSTER))
            return folder_error(f, i->name.s, "read", errno, e);
        qcow2_table_decode(cluster, i->l1 + k * QCOW2_TABLE);
    }
    for (size_t k = 0; k < n * QCOW2_TABLE; k++) {
        uint64_t offset = qcow2_entry_offset(i->l1[k], i->header.l1_offset);
        if (i->l1[k] != 0 && (offset == 0 || k >= i->header.l1_entries))
            return damaged(i, "its L1 table", e);
        i->l1[k] = offset;
    }
    return 0;
}

int image_open(const struct folder *f, const char *name, struct image **ret, struct error *e)
{
    struct image *i = xcalloc(1, sizeof(*i));
    i->fd = -1;
    STR_COPY(i->name.s, name);
    int err = folder_open_file(f, name, &i->fd, &i->file_bytes, e);
    if (!err)
        err = read_header(f, i, e);
    if (!err)
        err = read_l1(f, i, e);
    if (err) {
        image_free(i);
        return err;
    }
    *ret = i;
    return 0;
}

int image_read_table(const struct image *i, uint32_t index, uint64_t ret[QCOW2_TABLE], struct error *e)
{
    assert(index < i->header.l1_entries);
    if (i->l1[index] == 0) {
        memset(ret, 0, QCOW2_TABLE * sizeof(*ret));
        return 0;
    }
    AUTO(freep) uint8_t *cluster = xmalloc(QCOW2_CLUSTER);
    if (!read_at(i->fd, cluster, QCOW2_CLUSTER, i->l1[index]))
        return error_set(e, ERR_IO, "cannot read the image %s: %s", i->name.s, strerror(errno));
    uint64_t entries[QCOW2_TABLE];
    qcow2_table_decode(cluster, entries);
    for (size_t k = 0; k < QCOW2_TABLE; k++)
        if (entries[k] > QCOW2_ZERO && qcow2_entry_offset(entries[k], i->header.l1_offset) == 0)
            return damaged(i, "an L2 table", e);
    memcpy(ret, entries, sizeof(entries));
    return 0;
}

/* False: it was used already. */
static bool use_cluster(uint8_t *used, uint64_t offset)
{
    uint64_t n = offset / QCOW2_CLUSTER;
    if (used[n / 8] & 1 << n % 8)
        return false;
    used[n / 8] |= (uint8_t)(1 << n % 8);
    return true;
}

static int check_tables(const struct image *i, struct buf *digests, uint64_t *ret_used, struct error *e)
{
    uint64_t last = i->header.l1_offset / QCOW2_CLUSTER, n = 1;
    AUTO(freep) uint8_t *used = xcalloc(last / 8 + 1, 1);
    AUTO(freep) uint64_t *entries = xcalloc(QCOW2_TABLE, sizeof(*entries));
    AUTO(freep) uint8_t *cluster = xmalloc(QCOW2_CLUSTER);
    for (uint32_t t = 0; t < i->header.l1_entries; t++) {
        if (i->l1[t] == 0)
            continue;
        int err = image_read_table(i, t, entries, e);
        if (err)
            return err;
        qcow2_table_encode(entries, cluster);
        struct hash h = hash_of(cluster, QCOW2_CLUSTER);
        buf_add(digests, h.b, HASH_SIZE);
        if (!use_cluster(used, i->l1[t]))
            return damaged(i, "two tables in one place", e);
        n++;
        for (size_t k = 0; k < QCOW2_TABLE; k++) {
            uint64_t offset = qcow2_entry_offset(entries[k], i->header.l1_offset);
            if (offset != 0 && !use_cluster(used, offset))
                return damaged(i, "two blocks in one place", e);
            n += offset != 0;
        }
    }
    *ret_used = n;
    return 0;
}

static int digest_range(const struct image *i, uint64_t first, uint64_t n, struct buf *digests, struct error *e)
{
    AUTO(freep) uint8_t *cluster = xmalloc(QCOW2_CLUSTER);
    struct hash_stream s = hash_begin();
    int err = 0;
    for (uint64_t k = 0; !err && k < n; k++) {
        if (!read_at(i->fd, cluster, QCOW2_CLUSTER, (first + k) * QCOW2_CLUSTER))
            err = error_set(e, ERR_IO, "cannot read the image %s: %s", i->name.s, strerror(errno));
        else
            hash_more(&s, cluster, QCOW2_CLUSTER);
    }
    struct hash h = hash_end(&s);
    if (!err)
        buf_add(digests, h.b, HASH_SIZE);
    return err;
}

int image_check(const struct image *i, struct error *e)
{
    AUTO(buf_done) struct buf digests = {0};
    struct qcow2_tail t = qcow2_tail_of(i->header.disk_bytes, i->header.l1_offset / QCOW2_CLUSTER);
    uint64_t used = 0;
    int err = check_tables(i, &digests, &used, e);
    if (!err && used != t.l1)
        return damaged(i, "clusters that no table names", e);
    if (!err)
        err = digest_range(i, t.l1, t.l1_clusters, &digests, e);
    if (!err)
        err = digest_range(i, t.blocks, t.n_blocks, &digests, e);
    if (!err)
        err = digest_range(i, t.table, t.table_clusters, &digests, e);
    if (err)
        return err;
    AUTO(freep) uint8_t *cluster = xmalloc(QCOW2_CLUSTER);
    struct qcow2_header h = i->header;
    memset(&h.structure, 0, sizeof(h.structure));
    qcow2_header_encode(&h, cluster);
    struct slice parts[] = {{cluster, QCOW2_CLUSTER}, buf_slice(&digests)};
    struct hash is = hash_sha256(parts, 2);
    return hash_eq(&is, &i->header.structure) ? 0 : damaged(i, "its tables do not have their digest", e);
}

void image_chain_done(struct image_chain *c)
{
    for (size_t k = 0; k < c->n; k++)
        image_free(c->list[k]);
    c->n = 0;
}

int image_chain_open(const struct folder *f, const char *name, struct image_chain *ret, struct error *e)
{
    struct image_chain c = {.n = 0};
    struct layout_name next = {{0}};
    int err = 0;
    STR_COPY(next.s, name);
    while (!err && next.s[0] != '\0') {
        struct image *i = NULL;
        if (c.n == LAYOUT_CHAIN_MAX)
            err = error_set(e, ERR_CONDITION, "%s/%s is one of more than %d images behind each other", f->path, name,
                            LAYOUT_CHAIN_MAX);
        else
            err = image_open(f, next.s, &i, e);
        if (err)
            break;
        c.list[c.n++] = i;
        if (i->header.disk_bytes != c.list[0]->header.disk_bytes)
            err = damaged(i, "its size is another than that of the image above it", e);
        else if (!str_copy(next.s, sizeof(next.s), i->header.backing))
            err = damaged(i, "the name of its backing file", e);
    }
    if (err) {
        image_chain_done(&c);
        return err;
    }
    *ret = c;
    return 0;
}
