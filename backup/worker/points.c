/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "backup/worker/worker.h"

enum { FILES_MAX = 500000 };

static int by_sequence(const void *a, const void *b)
{
    const struct point *x = a, *y = b;
    return x->sequence < y->sequence ? -1 : x->sequence > y->sequence;
}

static int load_document(const struct points *p, const char *vm, struct slice key, struct point *point)
{
    AUTO(buf_done) struct buf b = {0};
    struct layout_name name = layout_name(LAYOUT_REFPOINT, NULL, point->sequence);
    struct error why = {0};
    int err = folder_read(&p->folder, name.s, REFPOINT_SIZE_MAX, &b, &why);
    struct refpoint *ref = xcalloc(1, sizeof(*ref));
    if (!err)
        err = refpoint_decode(buf_slice(&b), key, ref, &why);
    if (!err && ref->sequence != point->sequence)
        err = error_set(&why, ERR_MALFORMED, "it is that of another point");
    if (!err && !str_eq(ref->vm, vm))
        err = error_set(&why, ERR_MALFORMED, "it is of the virtual machine %s", ref->vm);
    if (!err) {
        point->ref = ref;
        return 0;
    }
    free(ref);
    error_set(&point->damage, err, "%s/%s: %s", p->folder.path, name.s, why.text);
    error_set_remedy(&point->damage, "restore another point, and make a full backup");
    return err;
}

static int load_base(const struct points *p, const struct point *point, const struct refpoint_disk *d, uint32_t *ret,
                     struct error *e)
{
    struct image *image = NULL;
    struct layout_name name = layout_name(LAYOUT_IMAGE, d->name, point->sequence);
    struct layout_file behind = {.sequence = 0};
    int err = image_open(&p->folder, name.s, &image, e);
    if (err)
        return err;
    const char *backing = image->header.backing;
    if (image->header.disk_bytes != d->bytes)
        err = error_set(e, ERR_MALFORMED, "%s/%s is of a disk of another size", p->folder.path, name.s);
    else if (backing[0] != '\0' && (!layout_parse(backing, &behind) || behind.kind != LAYOUT_IMAGE ||
                                    !str_eq(behind.disk, d->name) || behind.sequence >= point->sequence))
        err = error_set(e, ERR_MALFORMED, "%s/%s stands on %s, which is no older image of this disk", p->folder.path,
                        name.s, backing);
    else
        *ret = behind.sequence;
    image_free(image);
    return err;
}

/* The first damage is told. */
static void load_bases(const struct points *p, struct point *point)
{
    for (size_t i = 0; i < point->ref->n_disks; i++) {
        struct error why = {0};
        if (load_base(p, point, &point->ref->disks[i], &point->bases[i], &why) < 0 && point->damage.code == 0)
            point->damage = why;
    }
}

static void load(struct points *p, const char *vm, char **names, size_t n, struct slice key)
{
    for (size_t i = 0; i < n; i++) {
        struct layout_file f;
        if (!layout_parse(names[i], &f))
            continue;
        if (f.sequence >= p->next)
            p->next = f.sequence + 1;
        if (f.kind != LAYOUT_REFPOINT)
            continue;
        p->list = xrealloc(p->list, p->n + 1, sizeof(*p->list));
        p->list[p->n++] = (struct point){.sequence = f.sequence};
    }
    if (p->n > 0)
        qsort(p->list, p->n, sizeof(*p->list), by_sequence);
    for (size_t i = 0; i < p->n; i++)
        if (load_document(p, vm, key, &p->list[i]) == 0)
            load_bases(p, &p->list[i]);
}

/* An image that stays because another one, or a point of which it is not known what it needs, may need it. */
static bool may_be_needed(const struct points *p, const struct layout_file *f)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->list[i].damage.code != 0 || points_missing(p, &p->list[i]) != 0 ||
            point_stands_on(&p->list[i], f->sequence))
            return f->kind == LAYOUT_IMAGE || f->kind == LAYOUT_MANIFEST;
    return false;
}

/* What writers that were killed left: .partial, and files of a number without a document. */
static int remove_rests(const struct points *p, char **names, size_t n, struct error *e)
{
    for (size_t i = 0; i < n; i++) {
        struct layout_file f;
        size_t len = strlen(names[i]), suffix = strlen(LAYOUT_PARTIAL);
        bool rest = len > suffix && str_eq(names[i] + len - suffix, LAYOUT_PARTIAL);
        if (!rest && layout_parse(names[i], &f))
            rest = !points_by_sequence(p, f.sequence) && !may_be_needed(p, &f);
        int err = rest ? folder_remove(&p->folder, names[i], e) : 0;
        if (err)
            return err;
    }
    return 0;
}

int points_open(const struct repository *r, const char *vm, bool alone, bool create, struct points *ret,
                struct error *e)
{
    struct points p = {.folder = {.fd = -1}, .lock = -1, .next = 1};
    char **names = NULL;
    size_t n = 0;
    if (!layout_vm_ok(vm))
        return error_set(e, ERR_USAGE, "'%s' is no name of a virtual machine", vm);
    int err = folder_open(&r->folder, vm, create, &p.folder, e);
    if (err)
        return err == ERR_NOT_FOUND
                   ? error_set(e, ERR_NO_OBJECT, "%s holds nothing of the virtual machine %s", r->folder.path, vm)
                   : err;
    err = folder_lock(&p.folder, "lock", alone, &p.lock, e);
    if (!err)
        err = folder_list(&p.folder, FILES_MAX, &names, &n, e);
    if (!err)
        load(&p, vm, names, n, buf_slice(&r->key));
    if (!err && alone)
        err = remove_rests(&p, names, n, e);
    folder_list_free(names, n);
    if (err) {
        points_done(&p);
        return err;
    }
    *ret = p;
    return 0;
}

void points_done(struct points *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->list[i].ref);
    free(p->list);
    p->list = NULL;
    p->n = 0;
    closep(&p->lock);
    folder_done(&p->folder);
}

const struct point *points_by_sequence(const struct points *p, uint32_t sequence)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->list[i].sequence == sequence)
            return &p->list[i];
    return NULL;
}

const struct point *points_lookup(const struct points *p, const char *which)
{
    if (str_eq(which, "latest"))
        return p->n > 0 ? &p->list[p->n - 1] : NULL;
    for (size_t i = 0; i < p->n; i++)
        if (p->list[i].ref && str_eq(uuid_str(&p->list[i].ref->uuid).s, which))
            return &p->list[i];
    return NULL;
}

int points_find(const struct points *p, const char *which, const struct point **ret, struct error *e)
{
    const struct point *point = points_lookup(p, which);
    if (!point) {
        error_set(e, ERR_NO_OBJECT, "%s has no point %s", p->folder.path, which);
        error_set_remedy(e, "see which there are: ringmaster-backup list");
        return ERR_NO_OBJECT;
    }
    if (point->damage.code != 0) {
        if (e)
            *e = point->damage;
        return point->damage.code;
    }
    *ret = point;
    return 0;
}

bool point_stands_on(const struct point *point, uint32_t sequence)
{
    return retention_stands_on(point->bases, REFPOINT_DISKS_MAX, sequence);
}

uint32_t points_missing(const struct points *p, const struct point *point)
{
    for (size_t i = 0; i < REFPOINT_DISKS_MAX; i++)
        if (point->bases[i] != 0 && !points_by_sequence(p, point->bases[i]))
            return point->bases[i];
    return 0;
}

int points_delete(struct points *p, uint32_t sequence, struct error *e)
{
    char **names = NULL;
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++) {
        assert(!point_stands_on(&p->list[i], sequence));
        if (p->list[i].sequence == sequence)
            memset(p->list[i].bases, 0, sizeof(p->list[i].bases)); /* what is gone needs nothing */
    }
    int err = folder_remove(&p->folder, layout_name(LAYOUT_REFPOINT, NULL, sequence).s, e);
    if (!err)
        err = folder_sync(&p->folder, e);
    if (!err)
        err = folder_list(&p->folder, FILES_MAX, &names, &n, e);
    for (size_t i = 0; !err && i < n; i++) {
        struct layout_file f;
        if (layout_parse(names[i], &f) && f.sequence == sequence)
            err = folder_remove(&p->folder, names[i], e);
    }
    folder_list_free(names, n);
    return err ? err : folder_sync(&p->folder, e);
}
