/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One disk: from its NBD export into an image and a manifest, neither of which has a name before both are whole.
 *
 *     nbd_extents ─> plan of a page ─> pump ─> digest, compare ─> append ─> L2 table, page of the manifest
 */
#include <assert.h>
#include <errno.h>
#include <time.h>

#include "backup/io/pump.h"
#include "backup/worker/export.h"

enum { WINDOW = 3, DEPTH = 4, LIMIT_NAP_MS = 100 };

struct segment {
    struct pump_ticket ticket;
    uint32_t page;
    bool open;
    uint8_t plan[MANIFEST_PAGE_BLOCKS];
    struct manifest_digest before[MANIFEST_PAGE_BLOCKS]; /* at the reference point; zero without one */
    struct manifest_digest now[MANIFEST_PAGE_BLOCKS];
    uint64_t entries[QCOW2_TABLE];
};

struct run {
    struct export_disk *x;
    struct pump *pump;
    struct image_writer *image;
    struct manifest_writer *manifest;
    struct segment *segments;
    struct extents zeros, clean;
    struct progress progress;
    uint64_t put_bytes;
    int64_t started_ms;
    _Atomic uint64_t stored_bytes;
};

/* ---- what was read */

/* What changed is appended; what is zeros now and was not, is said to be. */
static int on_blocks(void *ctx, struct transfer *t, struct error *e)
{
    struct run *run = ctx;
    struct segment *s = t->owner;
    size_t first = (size_t)(t->offset % MANIFEST_PAGE_BYTES / MANIFEST_BLOCK), n = t->bytes / MANIFEST_BLOCK;
    struct iovec iov[PUMP_TRANSFER_MAX / MANIFEST_BLOCK];
    size_t stored[PUMP_TRANSFER_MAX / MANIFEST_BLOCK], n_stored = 0;
    int n_iov = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t *block = t->buf + i * MANIFEST_BLOCK;
        s->now[first + i] = manifest_block_digest(block);
        if (manifest_digest_eq(&s->now[first + i], &s->before[first + i]))
            continue;
        if (manifest_digest_is_zero(&s->now[first + i])) {
            s->entries[first + i] = QCOW2_ZERO;
            continue;
        }
        stored[n_stored++] = first + i;
        if (n_iov > 0 && (uint8_t *)iov[n_iov - 1].iov_base + iov[n_iov - 1].iov_len == block)
            iov[n_iov - 1].iov_len += MANIFEST_BLOCK;
        else
            iov[n_iov++] = (struct iovec){block, MANIFEST_BLOCK};
    }
    uint64_t offset = 0;
    int err = n_stored > 0 ? image_append(run->image, iov, n_iov, &offset, e) : 0;
    for (size_t i = 0; !err && i < n_stored; i++)
        s->entries[stored[i]] = QCOW2_COPIED | (offset + i * QCOW2_CLUSTER);
    run->stored_bytes += n_stored * MANIFEST_BLOCK;
    return err;
}

/* ---- what is to be read */

static int plan_page(struct run *run, uint32_t page, uint8_t *ret_plan, struct error *e)
{
    struct export_disk *x = run->x;
    uint64_t size = nbd_bytes(x->nbd), offset = page * MANIFEST_PAGE_BYTES;
    uint64_t bytes = size - offset < MANIFEST_PAGE_BYTES ? size - offset : MANIFEST_PAGE_BYTES;
    int err = nbd_extents(x->nbd, offset, bytes, &run->zeros, &run->clean, e);
    if (err)
        return err;
    bool by_bitmap = x->choice.engine->incremental && !x->choice.engine->compares;
    extents_plan(&run->zeros, by_bitmap ? &run->clean : NULL, offset, manifest_page_blocks(size, page), size, ret_plan);
    return 0;
}

static int need_room(const struct export_disk *x, uint64_t more, struct error *e)
{
    uint64_t room;
    int err = folder_room(x->folder, &room, e);
    if (err || room >= x->options->reserve_bytes + more)
        return err;
    error_set(e, ERR_CONDITION,
              "%s has room for %llu MiB, this backup of %s needs %llu MiB and %llu MiB are to stay free",
              x->folder->path, (unsigned long long)room >> 20, x->disk->name, (unsigned long long)more >> 20,
              (unsigned long long)x->options->reserve_bytes >> 20);
    error_set_remedy(e, "make room (ringmaster-backup prune), or let it use more: --reserve");
    return ERR_CONDITION;
}

static int check_cancelled(const struct run *run, struct error *e)
{
    const struct watch *w = run->x->options->watch;
    return w && w->is_cancelled(w->ctx) ? error_set(e, ERR_FAILED, "the backup was cancelled") : 0;
}

/* Told on the output, or to who watches. */
static void tell_progress(struct run *run, uint64_t position)
{
    const struct export_disk *x = run->x;
    const struct watch *w = x->options->watch;
    if (w)
        w->progress(w->progress_ctx, x->done_before + run->put_bytes, x->done_before + run->progress.total_bytes);
    else
        progress_at(&run->progress, run->put_bytes, position);
}

/* All pages, before anything is written: how much there is to do, and whether it fits. Of a rescan it is not known. */
static int measure(struct run *run, struct error *e)
{
    AUTO(freep) uint8_t *plan = xmalloc(MANIFEST_PAGE_BLOCKS);
    uint64_t size = nbd_bytes(run->x->nbd), data = 0;
    for (uint32_t page = 0; page < manifest_pages(size); page++) {
        int err = check_cancelled(run, e);
        if (!err)
            err = plan_page(run, page, plan, e);
        if (err)
            return err;
        for (uint32_t i = 0; i < manifest_page_blocks(size, page); i++)
            data += plan[i] == PLAN_READ ? MANIFEST_BLOCK : 0;
    }
    run->progress.total_bytes = data;
    tell_progress(run, 0);
    return need_room(run->x, run->x->choice.engine->compares ? 0 : data, e);
}

/* Sleeps until so many bytes are allowed. */
static int obey_limit(const struct run *run, struct error *e)
{
    uint64_t limit = run->x->options->limit_bytes;
    int err = check_cancelled(run, e);
    if (limit == 0)
        return err;
    int64_t due_ms = run->started_ms + (int64_t)(run->put_bytes / limit * 1000 + run->put_bytes % limit * 1000 / limit);
    for (int64_t wait_ms; !err && (wait_ms = due_ms - clock_ms()) > 0;) {
        if (wait_ms > LIMIT_NAP_MS)
            wait_ms = LIMIT_NAP_MS;
        nanosleep(&(struct timespec){wait_ms / 1000, wait_ms % 1000 * 1000000}, NULL);
        err = check_cancelled(run, e);
    }
    return err;
}

static int put_blocks(struct run *run, struct segment *s, uint32_t blocks, struct error *e)
{
    uint32_t most = PUMP_TRANSFER_MAX / MANIFEST_BLOCK;
    for (uint32_t i = 0, n; i < blocks; i += n) {
        n = 1;
        if (s->plan[i] == PLAN_KEEP)
            s->now[i] = s->before[i];
        else if (s->plan[i] == PLAN_ZERO && !manifest_digest_is_zero(&s->before[i]))
            s->entries[i] = QCOW2_ZERO;
        if (s->plan[i] != PLAN_READ)
            continue;
        while (n < most && i + n < blocks && s->plan[i + n] == PLAN_READ)
            n++;
        struct transfer t = {.offset = s->page * MANIFEST_PAGE_BYTES + (uint64_t)i * MANIFEST_BLOCK,
                             .bytes = n * MANIFEST_BLOCK,
                             .owner = s};
        int err = obey_limit(run, e);
        if (!err)
            err = pump_put(run->pump, &t, &s->ticket, e);
        if (err)
            return err;
        run->put_bytes += t.bytes;
        tell_progress(run, t.offset);
    }
    return 0;
}

static int begin_segment(struct run *run, struct segment *s, uint32_t page, struct error *e)
{
    s->page = page;
    s->open = true;
    memset(s->now, 0, sizeof(s->now));
    memset(s->entries, 0, sizeof(s->entries));
    int err = run->x->before ? manifest_read_page(run->x->before, page, s->before, e) : 0;
    if (!err)
        err = plan_page(run, page, s->plan, e);
    if (!err)
        err = need_room(run->x, 0, e);
    return err ? err : put_blocks(run, s, manifest_page_blocks(nbd_bytes(run->x->nbd), page), e);
}

static int end_segment(struct run *run, struct segment *s, struct error *e)
{
    if (!s->open)
        return 0;
    s->open = false;
    int err = pump_wait(run->pump, &s->ticket, e);
    if (!err)
        err = image_table(run->image, s->page, s->entries, e);
    return err ? err : manifest_add_page(run->manifest, s->now, e);
}

static int export_pages(struct run *run, struct error *e)
{
    uint32_t n = (uint32_t)manifest_pages(nbd_bytes(run->x->nbd));
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

/* ---- the disk as a whole */

static int create_files(struct run *run, struct error *e)
{
    const struct export_disk *x = run->x;
    struct manifest_header h = {x->point, x->tracking, nbd_bytes(x->nbd)};
    struct layout_name image = layout_name(LAYOUT_IMAGE, x->disk->name, x->sequence),
                       manifest = layout_name(LAYOUT_MANIFEST, x->disk->name, x->sequence), backing;
    if (x->choice.engine->incremental)
        backing = layout_name(LAYOUT_IMAGE, x->disk->name, x->base_sequence);
    int err = image_create(x->folder, image.s, nbd_bytes(x->nbd), x->choice.engine->incremental ? backing.s : NULL,
                           &run->image, e);
    return err ? err : manifest_create(x->folder, manifest.s, &h, x->key, &run->manifest, e);
}

static int run_all(struct run *run, struct error *e)
{
    struct pump_job job = {&nbd_source_ops, run->x->nbd, nbd_lanes(run->x->nbd), DEPTH, on_blocks, run};
    int err = measure(run, e);
    if (!err)
        err = create_files(run, e);
    if (!err)
        err = pump_start(&job, &run->pump, e);
    if (!err)
        err = export_pages(run, e);
    if (!err)
        err = image_finish(run->image, false, e);
    return err ? err : manifest_finish(run->manifest, e);
}

int export_disk(struct export_disk *x, struct error *e)
{
    assert(!x->choice.engine->incremental || x->before);
    struct run run = {.x = x,
                      .segments = xcalloc(WINDOW, sizeof(struct segment)),
                      .progress = {.work = "export", .object = x->disk->name},
                      .started_ms = clock_ms()};
    int err = run_all(&run, e);
    pump_free(run.pump);
    x->read_bytes = nbd_read_bytes(x->nbd);
    x->put_bytes = run.put_bytes;
    x->stored_bytes = run.stored_bytes;
    image_writer_free(run.image);
    manifest_writer_free(run.manifest);
    extents_done(&run.zeros);
    extents_done(&run.clean);
    free(run.segments);
    return err;
}
