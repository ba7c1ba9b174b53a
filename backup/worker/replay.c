/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <assert.h>
#include <errno.h>
#include <unistd.h>

#include "backup/io/pump.h"
#include "backup/worker/worker.h"

enum { WINDOW = 3, LANES = 4 };

/* A page of the disk that is under way. */
struct segment {
    struct pump_ticket ticket;
    uint32_t page;
    bool open;
    struct manifest_digest want[MANIFEST_PAGE_BLOCKS];
    uint64_t entries[QCOW2_TABLE]; /* where the blocks lie, resolved through the images */
    uint16_t image[QCOW2_TABLE];   /* of the block, where entries has a cluster */
    uint64_t written[QCOW2_TABLE]; /* the L2 table of the image that is made */
};

struct run {
    struct replay *replay;
    struct pump *pump;
    struct segment *segments; /* WINDOW */
    uint64_t done_bytes;
};

/* ---- source: the images' files */

struct file_lane {
    struct replay *replay;
    struct transfer *done;
};

static int lane_open(void *source, void **ret_lane, struct error *e)
{
    (void)e;
    struct file_lane *l = xcalloc(1, sizeof(*l));
    l->replay = source;
    *ret_lane = l;
    return 0;
}

static int lane_start(void *lane, struct transfer *t, struct error *e)
{
    struct file_lane *l = lane;
    const struct image *i = l->replay->images[t->source];
    if (!read_at(i->fd, t->buf, t->bytes, t->source_offset))
        return error_set(e, ERR_IO, "cannot read the image %s: %s", i->name.s, strerror(errno));
    l->done = t;
    return 0;
}

static int lane_finish(void *lane, struct transfer **ret, struct error *e)
{
    (void)e;
    *ret = ((struct file_lane *)lane)->done;
    return 0;
}

static const struct source_ops file_source_ops = {lane_open, lane_start, lane_finish, free};

/* ---- what is done with a block */

static int damaged(const struct replay *r, const char *image, uint64_t offset, struct error *e)
{
    error_set(e, ERR_MALFORMED, "%s: the data at %llu of the disk are not those of the backup (manifest %s)", image,
              (unsigned long long)offset, r->want->name.s);
    error_set_remedy(e, "restore an older point, and make a full backup; look for the disk's errors: journalctl -k");
    return ERR_MALFORMED;
}

static int write_out(const struct replay *r, const struct transfer *t, struct segment *s, size_t first, struct error *e)
{
    if (r->raw_fd >= 0 && !write_at(r->raw_fd, t->buf, t->bytes, t->offset))
        return folder_error(r->raw_folder, r->raw_name, "write", errno, e);
    if (!r->image)
        return 0;
    uint64_t offset;
    struct iovec iov = {t->buf, t->bytes};
    int err = image_append(r->image, &iov, 1, &offset, e);
    for (size_t i = 0; !err && i < t->bytes / MANIFEST_BLOCK; i++)
        s->written[first + i] = QCOW2_COPIED | (offset + i * MANIFEST_BLOCK);
    return err;
}

static int on_block(void *ctx, struct transfer *t, struct error *e)
{
    struct replay *r = ctx;
    struct segment *s = t->owner;
    size_t first = (size_t)(t->offset % MANIFEST_PAGE_BYTES / MANIFEST_BLOCK);
    for (size_t i = 0; i < t->bytes / MANIFEST_BLOCK; i++) {
        struct manifest_digest is = manifest_block_digest(t->buf + i * MANIFEST_BLOCK);
        if (!manifest_digest_eq(&is, &s->want[first + i]))
            return damaged(r, r->images[t->source]->name.s, t->offset + i * MANIFEST_BLOCK, e);
    }
    return write_out(r, t, s, first, e);
}

/* ---- who watches */

static int watched(const struct replay *r, uint64_t offset, struct error *e)
{
    const struct watch *w = r->watch;
    if (!w)
        return 0;
    w->progress(w->progress_ctx, r->before_bytes + offset, r->total_bytes);
    return w->is_cancelled(w->ctx) ? error_set(e, ERR_FAILED, "it was cancelled") : 0;
}

/* ---- one page after the other */

/* Through the images, the newest first: the first that says something of a block decides. */
static int resolve(const struct replay *r, struct segment *s, struct error *e)
{
    AUTO(freep) uint64_t *table = xcalloc(QCOW2_TABLE, sizeof(*table));
    memset(s->entries, 0, sizeof(s->entries));
    for (size_t k = 0; k < r->n_images; k++) {
        if (r->images[k]->l1[s->page] == 0)
            continue;
        int err = image_read_table(r->images[k], s->page, table, e);
        if (err)
            return err;
        for (size_t i = 0; i < QCOW2_TABLE; i++)
            if (s->entries[i] == 0 && table[i] != 0) {
                s->entries[i] = table[i];
                s->image[i] = (uint16_t)k;
            }
    }
    return 0;
}

/* Blocks without data of their own: zeros, or what lies below. */
static int check_holes(const struct replay *r, const struct segment *s, uint32_t blocks, struct error *e)
{
    AUTO(freep) struct manifest_digest *below = xcalloc(MANIFEST_PAGE_BLOCKS, sizeof(*below));
    int err = r->below ? manifest_read_page(r->below, s->page, below, e) : 0;
    if (err)
        return err;
    static const struct manifest_digest zero;
    for (uint32_t i = 0; i < QCOW2_TABLE; i++) {
        const struct manifest_digest *is = s->entries[i] == 0 ? &below[i] : &zero;
        if (i >= blocks ? s->entries[i] != 0 : s->entries[i] <= QCOW2_ZERO && !manifest_digest_eq(is, &s->want[i]))
            return damaged(r, r->images[0]->name.s, s->page * MANIFEST_PAGE_BYTES + (uint64_t)i * MANIFEST_BLOCK, e);
    }
    return 0;
}

/* n blocks from block i on, which lie one behind the other. Nobody else appends while this is tried: all blocks go one
 * way, and the first one decides. */
static int clone_blocks(struct replay *r, struct segment *s, uint32_t i, uint32_t n, struct error *e)
{
    uint64_t offset;
    int err = image_clone(r->image, r->images[s->image[i]]->fd, s->entries[i] & ~QCOW2_COPIED,
                          (uint64_t)n * QCOW2_CLUSTER, &offset, e);
    for (uint32_t k = 0; !err && k < n; k++)
        s->written[i + k] = QCOW2_COPIED | (offset + (uint64_t)k * QCOW2_CLUSTER);
    r->clone = !err;
    return err;
}

static int put_blocks(struct run *run, struct segment *s, uint32_t blocks, struct error *e)
{
    uint32_t most = PUMP_TRANSFER_MAX / MANIFEST_BLOCK;
    for (uint32_t i = 0, n; i < blocks; i += n) {
        n = 1;
        if (s->entries[i] <= QCOW2_ZERO) {
            /* Below nothing an unwritten block is zeros already. */
            s->written[i] = s->entries[i] == QCOW2_ZERO && run->replay->below ? QCOW2_ZERO : 0;
            continue;
        }
        while (n < most && i + n < blocks && s->entries[i + n] == s->entries[i] + (uint64_t)n * QCOW2_CLUSTER &&
               s->image[i + n] == s->image[i])
            n++;
        int err = run->replay->clone ? clone_blocks(run->replay, s, i, n, e) : ERR_CONDITION;
        if (err != ERR_CONDITION) {
            if (err)
                return err;
            continue;
        }
        struct transfer t = {.offset = s->page * MANIFEST_PAGE_BYTES + (uint64_t)i * MANIFEST_BLOCK,
                             .bytes = n * MANIFEST_BLOCK,
                             .source_offset = s->entries[i] & ~QCOW2_COPIED,
                             .source = s->image[i],
                             .owner = s};
        err = watched(run->replay, t.offset, e);
        if (!err)
            err = pump_put(run->pump, &t, &s->ticket, e);
        if (err)
            return err;
        run->done_bytes += t.bytes;
    }
    return 0;
}

static int begin_segment(struct run *run, struct segment *s, uint32_t page, struct error *e)
{
    const struct replay *r = run->replay;
    uint32_t blocks = manifest_page_blocks(r->want->header.disk_bytes, page);
    s->page = page;
    s->open = true;
    memset(s->written, 0, sizeof(s->written));
    int err = manifest_read_page(r->want, page, s->want, e);
    if (!err)
        err = resolve(r, s, e);
    if (!err)
        err = check_holes(r, s, blocks, e);
    if (!err)
        err = put_blocks(run, s, blocks, e);
    if (!r->watch)
        progress_at(&run->replay->progress, run->done_bytes, (page + 1) * MANIFEST_PAGE_BYTES);
    return err;
}

static int end_segment(struct run *run, struct segment *s, struct error *e)
{
    if (!s->open)
        return 0;
    s->open = false;
    int err = pump_wait(run->pump, &s->ticket, e);
    if (!err && run->replay->image)
        err = image_table(run->replay->image, s->page, s->written, e);
    return err;
}

static int replay_pages(struct run *run, struct error *e)
{
    uint32_t n = (uint32_t)run->replay->want->n_pages;
    int err = 0;
    for (uint32_t page = 0; !err && page < n; page++) {
        struct segment *s = &run->segments[page % WINDOW];
        err = end_segment(run, s, e);
        if (!err)
            err = begin_segment(run, s, page, e);
    }
    for (uint32_t page = n; !err && page < n + WINDOW; page++)
        err = end_segment(run, &run->segments[page % WINDOW], e);
    return err;
}

int replay_run(struct replay *r, struct error *e)
{
    assert(r->n_images > 0);
    for (size_t k = 0; k < r->n_images; k++)
        if (r->images[k]->header.disk_bytes != r->want->header.disk_bytes)
            return error_set(e, ERR_MALFORMED, "the image %s and the manifest %s are of disks of other sizes",
                             r->images[k]->name.s, r->want->name.s);
    if (r->below && r->below->header.disk_bytes != r->want->header.disk_bytes)
        return error_set(e, ERR_MALFORMED, "the manifests %s and %s are of disks of other sizes", r->below->name.s,
                         r->want->name.s);
    struct run run = {.replay = r, .segments = xcalloc(WINDOW, sizeof(struct segment))};
    struct pump_job job = {&file_source_ops, r, LANES, 1, on_block, r};
    int err = pump_start(&job, &run.pump, e);
    if (!err)
        err = replay_pages(&run, e);
    pump_free(run.pump);
    free(run.segments);
    return err;
}
