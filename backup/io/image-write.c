/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "backup/io/image.h"

struct image_writer {
    struct folder folder; /* borrowed descriptor */
    struct layout_name name;
    int fd;
    bool published;
    pthread_mutex_t mutex;
    uint64_t used; /* clusters, cluster 0 included; under the mutex */
    struct qcow2_header header;
    uint64_t *l1; /* whole clusters of entries, as they are written */
    size_t n_l1;
    struct buf digests; /* of the tables, in their order */
};

static uint8_t *clusters(uint64_t n)
{
    void *p = NULL;
    if (posix_memalign(&p, 4096, n * QCOW2_CLUSTER) != 0)
        abort();
    memset(p, 0, n * QCOW2_CLUSTER);
    return p;
}

int image_create(const struct folder *f, const char *name, uint64_t disk_bytes, const char *backing,
                 struct image_writer **ret, struct error *e)
{
    int fd;
    int err = folder_create(f, name, O_DIRECT, &fd, e);
    if (err)
        return err;
    struct image_writer *w = xcalloc(1, sizeof(*w));
    w->folder = *f;
    STR_COPY(w->name.s, name);
    w->fd = fd;
    pthread_mutex_init(&w->mutex, NULL);
    w->used = 1;
    w->header = (struct qcow2_header){.disk_bytes = disk_bytes, .l1_entries = qcow2_l1_entries(disk_bytes)};
    if (backing)
        STR_COPY(w->header.backing, backing);
    w->n_l1 = (w->header.l1_entries + QCOW2_TABLE - 1u) / QCOW2_TABLE;
    w->l1 = xcalloc(w->n_l1 * QCOW2_TABLE, sizeof(*w->l1));
    *ret = w;
    return 0;
}

void image_writer_free(struct image_writer *w)
{
    if (!w)
        return;
    if (!w->published)
        folder_forget(&w->folder, w->name.s, w->fd);
    closep(&w->fd);
    pthread_mutex_destroy(&w->mutex);
    buf_done(&w->digests);
    free(w->l1);
    free(w);
}

static uint64_t take_clusters(struct image_writer *w, uint64_t n)
{
    pthread_mutex_lock(&w->mutex);
    uint64_t first = w->used;
    w->used += n;
    pthread_mutex_unlock(&w->mutex);
    return first * QCOW2_CLUSTER;
}

static int write_error(const struct image_writer *w, struct error *e)
{
    return folder_error(&w->folder, w->name.s, "write", errno, e);
}

int image_append(struct image_writer *w, const struct iovec *iov, int n_iov, uint64_t *ret_offset, struct error *e)
{
    size_t bytes = 0;
    for (int i = 0; i < n_iov; i++)
        bytes += iov[i].iov_len;
    assert(bytes > 0 && bytes % QCOW2_CLUSTER == 0);
    uint64_t offset = take_clusters(w, bytes / QCOW2_CLUSTER);
    ssize_t n = pwritev(w->fd, iov, n_iov, (off_t)offset);
    if (n < 0 && errno != EINTR)
        return write_error(w, e);
    /* The rest of a write that was cut short, one by one. */
    size_t done = n < 0 ? 0 : (size_t)n, at = 0;
    for (int i = 0; i < n_iov && done < bytes; i++) {
        size_t skip = done > at ? done - at : 0;
        skip -= skip % 4096; /* direct I/O wants whole sectors */
        if (skip < iov[i].iov_len &&
            !write_at(w->fd, (uint8_t *)iov[i].iov_base + skip, iov[i].iov_len - skip, offset + at + skip))
            return write_error(w, e);
        at += iov[i].iov_len;
    }
    *ret_offset = offset;
    return 0;
}

/* The last that were taken. */
static void give_back(struct image_writer *w, uint64_t offset)
{
    pthread_mutex_lock(&w->mutex);
    w->used = offset / QCOW2_CLUSTER;
    pthread_mutex_unlock(&w->mutex);
}

int image_clone(struct image_writer *w, int fd, uint64_t offset, uint64_t bytes, uint64_t *ret_offset, struct error *e)
{
    uint64_t target = take_clusters(w, bytes / QCOW2_CLUSTER);
    struct file_clone_range range = {.src_fd = fd, .src_offset = offset, .src_length = bytes, .dest_offset = target};
    if (ioctl(w->fd, FICLONERANGE, &range) == 0) {
        *ret_offset = target;
        return 0;
    }
    if (errno == ENOSPC || errno == EDQUOT || errno == EIO)
        return write_error(w, e);
    give_back(w, target);
    return ERR_CONDITION;
}

/* Of whole clusters; remembers the digest for the structure's. */
static int write_tables(struct image_writer *w, const uint8_t *p, uint64_t n_clusters, uint64_t offset, struct error *e)
{
    struct hash h = hash_of(p, n_clusters * QCOW2_CLUSTER);
    buf_add(&w->digests, h.b, HASH_SIZE);
    return write_at(w->fd, p, n_clusters * QCOW2_CLUSTER, offset) ? 0 : write_error(w, e);
}

int image_table(struct image_writer *w, uint32_t index, const uint64_t entries[QCOW2_TABLE], struct error *e)
{
    assert(index < w->header.l1_entries && w->l1[index] == 0);
    bool empty = true;
    for (size_t i = 0; i < QCOW2_TABLE && empty; i++)
        empty = entries[i] == 0;
    if (empty)
        return 0;
    uint64_t offset = take_clusters(w, 1);
    AUTO(freep) uint8_t *cluster = clusters(1);
    qcow2_table_encode(entries, cluster);
    w->l1[index] = QCOW2_COPIED | offset;
    return write_tables(w, cluster, 1, offset, e);
}

static int write_l1(struct image_writer *w, const struct qcow2_tail *t, struct error *e)
{
    AUTO(freep) uint8_t *p = clusters(t->l1_clusters);
    for (size_t i = 0; i < w->n_l1; i++)
        qcow2_table_encode(w->l1 + i * QCOW2_TABLE, p + i * QCOW2_CLUSTER);
    return write_tables(w, p, t->l1_clusters, t->l1 * QCOW2_CLUSTER, e);
}

/* Every cluster of the file counts one. */
static int write_refcounts(struct image_writer *w, const struct qcow2_tail *t, struct error *e)
{
    AUTO(freep) uint8_t *p = clusters(t->n_blocks);
    for (uint64_t i = 0; i < t->end; i++)
        p[2 * i + 1] = 1;
    int err = write_tables(w, p, t->n_blocks, t->blocks * QCOW2_CLUSTER, e);
    if (err)
        return err;
    AUTO(freep) uint64_t *entries = xcalloc(t->table_clusters * QCOW2_TABLE, sizeof(*entries));
    AUTO(freep) uint8_t *table = clusters(t->table_clusters);
    for (uint64_t i = 0; i < t->n_blocks; i++)
        entries[i] = (t->blocks + i) * QCOW2_CLUSTER;
    for (uint64_t i = 0; i < t->table_clusters; i++)
        qcow2_table_encode(entries + i * QCOW2_TABLE, table + i * QCOW2_CLUSTER);
    return write_tables(w, table, t->table_clusters, t->table * QCOW2_CLUSTER, e);
}

int image_finish(struct image_writer *w, bool replace, struct error *e)
{
    struct qcow2_tail t = qcow2_tail_of(w->header.disk_bytes, w->used);
    int err = write_l1(w, &t, e);
    if (!err)
        err = write_refcounts(w, &t, e);
    if (err)
        return err;
    w->header.l1_offset = t.l1 * QCOW2_CLUSTER;
    w->header.refcount_offset = t.table * QCOW2_CLUSTER;
    w->header.refcount_clusters = (uint32_t)t.table_clusters;
    AUTO(freep) uint8_t *cluster = clusters(1);
    qcow2_header_encode(&w->header, cluster);
    struct slice parts[] = {{cluster, QCOW2_CLUSTER}, buf_slice(&w->digests)};
    w->header.structure = hash_sha256(parts, 2);
    qcow2_header_encode(&w->header, cluster);
    if (!write_at(w->fd, cluster, QCOW2_CLUSTER, 0))
        return write_error(w, e);
    err = folder_publish(&w->folder, w->name.s, w->fd, replace, e);
    w->published = !err;
    return err;
}
