/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backup/io/manifest-file.h"

#include <assert.h>
#include <errno.h>
#include <unistd.h>

struct manifest_writer {
    struct folder folder; /* borrowed descriptor */
    struct layout_name name;
    int fd;
    bool published;
    struct slice key;
    struct manifest_header header;
    uint8_t head[MANIFEST_HEADER_SIZE];
    uint64_t n_pages, at;
    struct hash *pages;
    struct buf page;
};

static int append(struct manifest_writer *w, const void *p, size_t n, struct error *e)
{
    if (!write_at(w->fd, p, n, w->at))
        return folder_error(&w->folder, w->name.s, "write", errno, e);
    w->at += n;
    return 0;
}

int manifest_create(const struct folder *f, const char *name, const struct manifest_header *h, struct slice key,
                    struct manifest_writer **ret, struct error *e)
{
    int fd;
    int err = folder_create(f, name, 0, &fd, e);
    if (err)
        return err;
    struct manifest_writer *w = xcalloc(1, sizeof(*w));
    w->folder = *f;
    STR_COPY(w->name.s, name);
    w->fd = fd;
    w->key = key;
    w->header = *h;
    w->pages = xcalloc(manifest_pages(h->disk_bytes), sizeof(*w->pages));
    manifest_header_encode(h, w->head);
    err = append(w, w->head, sizeof(w->head), e);
    if (err) {
        manifest_writer_free(w);
        return err;
    }
    *ret = w;
    return 0;
}

void manifest_writer_free(struct manifest_writer *w)
{
    if (!w)
        return;
    if (!w->published)
        folder_forget(&w->folder, w->name.s, w->fd);
    closep(&w->fd);
    free(w->pages);
    buf_done(&w->page);
    free(w);
}

int manifest_add_page(struct manifest_writer *w, const struct manifest_digest *digests, struct error *e)
{
    assert(w->n_pages < manifest_pages(w->header.disk_bytes));
    w->page.len = 0;
    manifest_page_encode(digests, manifest_page_blocks(w->header.disk_bytes, w->n_pages), &w->page);
    w->pages[w->n_pages++] = hash_of(w->page.p, w->page.len);
    return append(w, w->page.p, w->page.len, e);
}

int manifest_finish(struct manifest_writer *w, struct error *e)
{
    assert(w->n_pages == manifest_pages(w->header.disk_bytes));
    struct hash mac = manifest_hmac(w->key, w->head, w->pages, w->n_pages);
    int err = append(w, mac.b, HASH_SIZE, e);
    if (!err)
        err = folder_publish(&w->folder, w->name.s, w->fd, false, e);
    w->published = !err;
    return err;
}

void manifest_free(struct manifest *m)
{
    if (!m)
        return;
    closep(&m->fd);
    free(m->offsets);
    free(m->pages);
    free(m);
}

static int damaged(const struct manifest *m, struct error *e)
{
    error_set(e, ERR_MALFORMED, "the manifest %s is damaged, or was made with another key", m->name.s);
    error_set_remedy(e, "restore an older point, and make a full backup; look for the disk's errors: journalctl -k");
    return ERR_MALFORMED;
}

static int read_error(const struct manifest *m, struct error *e)
{
    return error_set(e, ERR_IO, "cannot read the manifest %s: %s", m->name.s, strerror(errno));
}

/* Finds where each page lies, by the counts at their beginnings, and their digests. */
static int index_pages(struct manifest *m, uint64_t file_bytes, struct error *e)
{
    AUTO(freep) uint8_t *page = xmalloc(MANIFEST_PAGE_SIZE_MAX);
    uint64_t at = MANIFEST_HEADER_SIZE;
    for (uint64_t i = 0; i < m->n_pages; i++) {
        if (file_bytes - at < 4 + HASH_SIZE)
            return damaged(m, e);
        if (!read_at(m->fd, page, 4, at))
            return read_error(m, e);
        size_t n = manifest_page_size(page, manifest_page_blocks(m->header.disk_bytes, i));
        if (n == 0 || n > file_bytes - at - HASH_SIZE)
            return damaged(m, e);
        if (!read_at(m->fd, page, n, at))
            return read_error(m, e);
        m->offsets[i] = at;
        m->pages[i] = hash_of(page, n);
        at += n;
    }
    m->offsets[m->n_pages] = at;
    return at + HASH_SIZE == file_bytes ? 0 : damaged(m, e);
}

static int open_checked(const struct folder *f, struct manifest *m, struct slice key, struct error *e)
{
    uint64_t file_bytes;
    uint8_t head[MANIFEST_HEADER_SIZE];
    struct error why = {0};
    int err = folder_open_file(f, m->name.s, &m->fd, &file_bytes, e);
    if (err)
        return err;
    if (file_bytes < sizeof(head) + HASH_SIZE)
        return damaged(m, e);
    if (!read_at(m->fd, head, sizeof(head), 0))
        return read_error(m, e);
    err = manifest_header_decode((struct slice){head, sizeof(head)}, &m->header, &why);
    if (err)
        return error_set(e, err, "%s/%s: %s", f->path, m->name.s, why.text);
    m->n_pages = manifest_pages(m->header.disk_bytes);
    if (m->n_pages > file_bytes / 4) /* each takes at least its count */
        return damaged(m, e);
    m->offsets = xcalloc(m->n_pages + 1, sizeof(*m->offsets));
    m->pages = xcalloc(m->n_pages, sizeof(*m->pages));
    err = index_pages(m, file_bytes, e);
    if (err)
        return err;
    struct hash is = manifest_hmac(key, head, m->pages, m->n_pages), said;
    if (!read_at(m->fd, said.b, HASH_SIZE, m->offsets[m->n_pages]))
        return read_error(m, e);
    return hash_eq(&is, &said) ? 0 : damaged(m, e);
}

int manifest_open(const struct folder *f, const char *name, struct slice key, struct manifest **ret, struct error *e)
{
    struct manifest *m = xcalloc(1, sizeof(*m));
    m->fd = -1;
    STR_COPY(m->name.s, name);
    int err = open_checked(f, m, key, e);
    if (err) {
        manifest_free(m);
        return err;
    }
    *ret = m;
    return 0;
}

int manifest_read_page(const struct manifest *m, uint64_t page, struct manifest_digest *ret, struct error *e)
{
    assert(page < m->n_pages);
    AUTO(freep) uint8_t *bytes = xmalloc(MANIFEST_PAGE_SIZE_MAX);
    size_t n = (size_t)(m->offsets[page + 1] - m->offsets[page]);
    if (!read_at(m->fd, bytes, n, m->offsets[page]))
        return read_error(m, e);
    struct hash is = hash_of(bytes, n);
    uint32_t blocks = manifest_page_blocks(m->header.disk_bytes, page);
    memset(ret + blocks, 0, (MANIFEST_PAGE_BLOCKS - blocks) * sizeof(*ret));
    if (!hash_eq(&is, &m->pages[page]) || manifest_page_decode((struct slice){bytes, n}, blocks, ret) < 0)
        return damaged(m, e);
    return 0;
}
