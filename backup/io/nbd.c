/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backup/io/nbd.h"

#include <assert.h>
#include <libnbd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"

enum {
    CONTEXT_MAX = 300,
    BITMAP_NAME_MAX = 255,
    LANE_DEPTH_MAX = 16,
    CONNECTIONS = 4,
    ALLOCATION_ZERO = 2, /* NBD_STATE_ZERO */
    BITMAP_DIRTY = 1,
};
#define ALLOCATION "base:allocation"

struct nbd {
    char *uri;
    char context[CONTEXT_MAX]; /* of the bitmap; "" : none */
    struct nbd_handle *handle; /* for extents */
    bool has_bitmap, has_allocation;
    uint64_t bytes;
    unsigned lanes;
    _Atomic uint64_t read_bytes;
};

static int nbd_failed(struct error *e, const char *doing, const char *uri)
{
    error_set(e, ERR_IO, "cannot %s %s: %s", doing, uri, nbd_get_error());
    error_set_remedy(e, "see that the virtual machine runs, and that its disks are exported there");
    return ERR_IO;
}

/* Only what the URI must be able to do: a socket of this host, by NBD, without TLS. */
static struct nbd_handle *connect_to(const char *uri, const char *context)
{
    struct nbd_handle *h = nbd_create();
    if (!h)
        return NULL;
    nbd_set_uri_allow_transports(h, LIBNBD_ALLOW_TRANSPORT_UNIX);
    nbd_set_uri_allow_tls(h, LIBNBD_TLS_DISABLE);
    nbd_set_uri_allow_local_file(h, false);
    nbd_set_pread_initialize(h, false);
    bool good = !context || (nbd_add_meta_context(h, ALLOCATION) == 0 &&
                             (context[0] == '\0' || nbd_add_meta_context(h, context) == 0));
    if (good && nbd_connect_uri(h, uri) == 0)
        return h;
    nbd_close(h);
    return NULL;
}

int nbd_open(const char *uri, const char *bitmap, struct nbd **ret, struct error *e)
{
    if (strncmp(uri, "nbd+unix://", 11) != 0) {
        error_set(e, ERR_USAGE, "%s is no NBD server of this host", uri);
        error_set_remedy(e, "name it as nbd+unix:///EXPORT?socket=PATH");
        return ERR_USAGE;
    }
    struct nbd *n = xcalloc(1, sizeof(*n));
    if (bitmap && strlen(bitmap) <= BITMAP_NAME_MAX)
        snprintf(n->context, sizeof(n->context), "qemu:dirty-bitmap:%s", bitmap);
    n->uri = xstrdup(uri);
    n->handle = connect_to(uri, n->context);
    int64_t size = n->handle ? nbd_get_size(n->handle) : -1;
    if (size < 0) {
        int err = nbd_failed(e, "connect to", uri);
        nbd_free(n);
        return err;
    }
    n->bytes = (uint64_t)size;
    n->has_allocation = nbd_can_meta_context(n->handle, ALLOCATION) == 1;
    n->has_bitmap = n->context[0] != '\0' && nbd_can_meta_context(n->handle, n->context) == 1;
    n->lanes = nbd_can_multi_conn(n->handle) == 1 ? CONNECTIONS : 1;
    *ret = n;
    return 0;
}

void nbd_free(struct nbd *n)
{
    if (!n)
        return;
    nbd_close(n->handle);
    free(n->uri);
    free(n);
}

uint64_t nbd_bytes(const struct nbd *n)
{
    return n->bytes;
}

bool nbd_has_bitmap(const struct nbd *n)
{
    return n->has_bitmap;
}

unsigned nbd_lanes(const struct nbd *n)
{
    return n->lanes;
}

uint64_t nbd_read_bytes(const struct nbd *n)
{
    return n->read_bytes;
}

/* ---- extents */

struct status {
    const struct nbd *nbd;
    struct extents *zeros, *clean;
    uint64_t end;                /* of the question */
    uint64_t zeros_to, clean_to; /* how far the answers reach */
};

/* A server may say less than it was asked, and of one context less than of another; or reach beyond the question. */
static uint64_t take_extents(const uint32_t *entries, size_t n, uint64_t at, uint64_t end, uint32_t mask, uint32_t want,
                             struct extents *x)
{
    for (size_t i = 0; i + 1 < n && at < end; i += 2) {
        uint64_t bytes = entries[i] < end - at ? entries[i] : end - at;
        if ((entries[i + 1] & mask) == want)
            extents_add(x, at, bytes);
        at += bytes;
    }
    return at;
}

static int on_extents(void *ctx, const char *context, uint64_t offset, uint32_t *entries, size_t n, int *error)
{
    struct status *s = ctx;
    (void)error;
    if (strcmp(context, ALLOCATION) == 0 && s->zeros_to == offset)
        s->zeros_to = take_extents(entries, n, offset, s->end, ALLOCATION_ZERO, ALLOCATION_ZERO, s->zeros);
    else if (strcmp(context, s->nbd->context) == 0 && s->clean_to == offset)
        s->clean_to = take_extents(entries, n, offset, s->end, BITMAP_DIRTY, 0, s->clean);
    return 0;
}

static void cut_to(struct extents *x, uint64_t end)
{
    while (x->n > 0 && x->list[x->n - 1].offset >= end)
        x->n--;
    if (x->n > 0 && x->list[x->n - 1].offset + x->list[x->n - 1].bytes > end)
        x->list[x->n - 1].bytes = end - x->list[x->n - 1].offset;
}

int nbd_extents(struct nbd *n, uint64_t offset, uint64_t bytes, struct extents *ret_zeros, struct extents *ret_clean,
                struct error *e)
{
    extents_clear(ret_zeros);
    extents_clear(ret_clean);
    uint64_t end = offset + bytes;
    assert(bytes < UINT32_MAX); /* the most that NBD can be asked for at once */
    if (!n->has_allocation && !n->has_bitmap)
        return 0;
    while (offset < end) {
        struct status s = {n, ret_zeros, ret_clean, end, offset, offset};
        if (nbd_block_status(n->handle, end - offset, offset,
                             (nbd_extent_callback){.callback = on_extents, .user_data = &s}, 0) < 0)
            return nbd_failed(e, "ask for the extents of", n->uri);
        uint64_t reached = end;
        if (n->has_allocation && s.zeros_to < reached)
            reached = s.zeros_to;
        if (n->has_bitmap && s.clean_to < reached)
            reached = s.clean_to;
        if (reached <= offset)
            return error_set(e, ERR_IO, "the NBD server %s says nothing of its extents at %llu", n->uri,
                             (unsigned long long)offset);
        cut_to(ret_zeros, reached);
        cut_to(ret_clean, reached);
        offset = reached;
    }
    return 0;
}

/* ---- blocks */

struct nbd_lane {
    struct nbd *nbd;
    struct nbd_handle *handle;
    struct {
        struct transfer *t;
        int64_t cookie;
    } under_way[LANE_DEPTH_MAX];
    unsigned n;
};

static int lane_open(void *source, void **ret_lane, struct error *e)
{
    struct nbd *n = source;
    struct nbd_handle *h = connect_to(n->uri, NULL);
    if (!h)
        return nbd_failed(e, "connect to", n->uri);
    struct nbd_lane *l = xcalloc(1, sizeof(*l));
    l->nbd = n;
    l->handle = h;
    *ret_lane = l;
    return 0;
}

static void lane_close(void *lane)
{
    struct nbd_lane *l = lane;
    nbd_close(l->handle);
    free(l);
}

static int lane_start(void *lane, struct transfer *t, struct error *e)
{
    struct nbd_lane *l = lane;
    assert(l->n < LANE_DEPTH_MAX && t->offset < l->nbd->bytes);
    uint64_t left = l->nbd->bytes - t->offset;
    size_t bytes = left < t->bytes ? (size_t)left : t->bytes;
    memset(t->buf + bytes, 0, t->bytes - bytes);
    int64_t cookie = nbd_aio_pread(l->handle, t->buf, bytes, t->offset, NBD_NULL_COMPLETION, 0);
    if (cookie < 0)
        return nbd_failed(e, "read from", l->nbd->uri);
    l->nbd->read_bytes += bytes;
    l->under_way[l->n].t = t;
    l->under_way[l->n++].cookie = cookie;
    return 0;
}

static int lane_finish(void *lane, struct transfer **ret, struct error *e)
{
    struct nbd_lane *l = lane;
    for (;;) {
        for (unsigned i = 0; i < l->n; i++) {
            int done = nbd_aio_command_completed(l->handle, (uint64_t)l->under_way[i].cookie);
            if (done < 0)
                return nbd_failed(e, "read from", l->nbd->uri);
            if (done == 0)
                continue;
            *ret = l->under_way[i].t;
            l->under_way[i] = l->under_way[--l->n];
            return 0;
        }
        if (nbd_poll(l->handle, -1) < 0)
            return nbd_failed(e, "read from", l->nbd->uri);
    }
}

const struct source_ops nbd_source_ops = {lane_open, lane_start, lane_finish, lane_close};
