/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/sim/disk.h"

#include <assert.h>

void disk_init(struct disk *d)
{
    *d = (struct disk){0};
    d->image.tables = tables_new();
}

void disk_done(struct disk *d)
{
    disk_crash(d, 0);
    db_image_done(&d->image);
}

static struct entry copy_entry(const struct entry *e)
{
    struct entry copy = *e;
    copy.payload.p = xmemdup(e->payload.p, e->payload.len);
    return copy;
}

static void free_payload(struct entry *e)
{
    free((void *)(uintptr_t)e->payload.p);
}

/* Keeps entries with first <= index < end. */
static void keep_entries(struct db_image *image, uint64_t first, uint64_t end)
{
    size_t n = 0;
    for (size_t i = 0; i < image->n_entries; i++) {
        if (image->entries[i].index >= first && image->entries[i].index < end)
            image->entries[n++] = image->entries[i];
        else
            free_payload(&image->entries[i]);
    }
    image->n_entries = n;
}

static void add_entries(struct db_image *image, const struct db_batch *b)
{
    image->entries = xrealloc(image->entries, image->n_entries + b->n_entries + 1, sizeof(*image->entries));
    for (size_t i = 0; i < b->n_entries; i++)
        image->entries[image->n_entries++] = copy_entry(&b->entries[i]);
}

static void add_rows(struct db_image *image, const struct db_batch *b)
{
    for (size_t i = 0; i < b->rows.n; i++) {
        const struct table_row *row = &b->rows.rows[i];
        if (row->value.p != NULL)
            tables_put(image->tables, row->table, row->key, row->value);
        else
            tables_del(image->tables, row->table, row->key);
    }
}

static void check_image(const struct db_image *image)
{
    for (size_t i = 0; i < image->n_entries; i++)
        assert(image->entries[i].index == image->base_index + 1 + i);
    assert(image->applied_index <= image->base_index + image->n_entries);
    assert(image->commit_index <= image->base_index + image->n_entries);
}

static void commit(struct disk *d, const struct db_batch *b)
{
    struct db_image *image = &d->image;
    bool has_rows = b->replace || b->applied_index != image->applied_index;
    assert(b->term >= image->term);
    if (b->replace) {
        keep_entries(image, 1, 0);
        tables_free(image->tables);
        image->tables = tables_new();
    } else if (b->truncate_from != 0) {
        keep_entries(image, 0, b->truncate_from);
    }
    add_entries(image, b);
    add_rows(image, b);
    if (has_rows) {
        struct hash digest = tables_hash(image->tables);
        assert(hash_eq(&digest, &b->digest));
    }
    keep_entries(image, b->base_index + 1, UINT64_MAX);
    image->term = b->term;
    image->voted_for = b->voted_for;
    image->witness = b->witness;
    image->witness_sequence = b->witness_sequence;
    image->is_prevented = b->is_prevented;
    image->commit_index = b->commit_index;
    image->applied_index = b->applied_index;
    image->base_index = b->base_index;
    image->base_term = b->base_term;
    image->base_config = b->base_config;
    check_image(image);
}

void disk_write(struct disk *d, struct db_batch *b, int64_t done_ms)
{
    assert(d->n < DISK_QUEUE_MAX && b->seq == d->last_seq + 1);
    d->last_seq = b->seq;
    d->queue[d->n].batch = b;
    d->queue[d->n++].done_ms = done_ms;
}

int64_t disk_next_ms(const struct disk *d)
{
    return d->n > 0 ? d->queue[0].done_ms : INT64_MAX;
}

static uint64_t commit_first(struct disk *d)
{
    uint64_t seq = d->queue[0].batch->seq;
    commit(d, d->queue[0].batch);
    db_batch_free(d->queue[0].batch);
    d->n--;
    memmove(&d->queue[0], &d->queue[1], d->n * sizeof(d->queue[0]));
    return seq;
}

bool disk_complete(struct disk *d, int64_t now_ms, uint64_t *ret_seq)
{
    if (disk_next_ms(d) > now_ms)
        return false;
    *ret_seq = commit_first(d);
    return true;
}

void disk_crash(struct disk *d, size_t survivors)
{
    for (; survivors > 0 && d->n > 0; survivors--)
        commit_first(d);
    for (size_t i = 0; i < d->n; i++)
        db_batch_free(d->queue[i].batch);
    d->n = 0;
    d->last_seq = 0;
}

struct db_image disk_load(const struct disk *d)
{
    struct db_image image = d->image;
    AUTO(buf_done) struct buf b = {0};
    tables_encode(d->image.tables, &b);
    struct wire_reader r = wire_reader(buf_slice(&b));
    int err = tables_decode(&r, &image.tables);
    assert(err == 0);
    image.entries = xcalloc(image.n_entries + 1, sizeof(*image.entries));
    for (size_t i = 0; i < image.n_entries; i++)
        image.entries[i] = copy_entry(&d->image.entries[i]);
    return image;
}
