/* SPDX-License-Identifier: GPL-2.0-or-later */
/* prune, synthesize: older points go, and the newer ones restore as before.
 *
 * Folding of point P into the one point C that stands on it, disk by disk: an image with the contents of C's and P's
 * takes the place of C's image, in one rename; C's manifest says the same of both. P goes when no disk of C needs it
 * any more. A writer that is killed in between leaves C on P for the disks that were not folded yet, and on what is
 * behind P for the others: so what a point needs is known of each disk, and P is still folded into C alone. */
#include "backup/job-port.h"
#include "backup/worker/check.h"

static int fold_images(const struct points *p, const struct refpoint_disk *d, const struct point *from,
                       const struct point *into, struct slice key, struct image *images[2], struct error *e)
{
    struct manifest *want = NULL, *below = NULL;
    struct layout_file f;
    const char *behind = images[1]->header.backing;
    struct replay r = {.images = (const struct image *const *)images,
                       .n_images = 2,
                       .raw_fd = -1,
                       .clone = true,
                       .progress = {.work = "fold", .object = d->name}};
    int err = check_manifest(p, into, d->name, key, &want, e);
    if (!err && behind[0] != '\0') {
        const struct point *below_point = layout_parse(behind, &f) ? points_by_sequence(p, f.sequence) : NULL;
        err = below_point && below_point->ref
                  ? check_manifest(p, below_point, d->name, key, &below, e)
                  : error_set(e, ERR_MALFORMED, "point %u stands on a point that is damaged", from->sequence);
    }
    r.want = want;
    r.below = below;
    if (!err)
        err = image_create(&p->folder, images[0]->name.s, want->header.disk_bytes, behind[0] ? behind : NULL, &r.image,
                           e);
    if (!err)
        err = replay_run(&r, e);
    if (!err)
        err = image_finish(r.image, true, e);
    image_writer_free(r.image);
    manifest_free(below);
    manifest_free(want);
    return err;
}

static int fold_disk(const struct points *p, const struct refpoint_disk *d, const struct point *from,
                     const struct point *into, struct slice key, struct error *e)
{
    struct image *images[2] = {NULL, NULL};
    struct layout_name below = layout_name(LAYOUT_IMAGE, d->name, from->sequence);
    int err = image_open(&p->folder, layout_name(LAYOUT_IMAGE, d->name, into->sequence).s, &images[0], e);
    if (!err)
        err = image_open(&p->folder, below.s, &images[1], e);
    for (size_t i = 0; !err && i < 2; i++)
        err = image_check(images[i], e);
    if (!err)
        err = fold_images(p, d, from, into, key, images, e);
    image_free(images[0]);
    image_free(images[1]);
    return err;
}

/* A disk that was folded before, or is full, does not need the older one. */
static int fold(struct points *p, const struct point *from, struct point *into, struct slice key, struct error *e)
{
    for (size_t i = 0; i < into->ref->n_disks; i++) {
        if (into->bases[i] != from->sequence)
            continue;
        const struct refpoint_disk *d = &into->ref->disks[i], *below = refpoint_disk(from->ref, d->name);
        int err = below ? fold_disk(p, d, from, into, key, e)
                        : error_set(e, ERR_MALFORMED, "point %u has no disk %s, and point %u stands on it",
                                    from->sequence, d->name, into->sequence);
        if (err)
            return err;
        into->bases[i] = from->bases[below - from->ref->disks];
    }
    return points_delete(p, from->sequence, e);
}

/* What a point stands on is known of whole points alone, and of a point that is not there it is not. */
static int refuse_damaged(const struct points *p, struct error *e)
{
    for (size_t i = 0; i < p->n; i++) {
        const struct point *point = &p->list[i];
        uint32_t missing = points_missing(p, point);
        if (point->damage.code != 0)
            error_set(e, ERR_CONDITION, "point %u is damaged, so nobody knows what it needs: %s", point->sequence,
                      point->damage.text);
        else if (missing != 0)
            error_set(e, ERR_CONDITION,
                      "point %u stands on point %u, which is not there, so nobody knows what it needs", point->sequence,
                      missing);
        else
            continue;
        error_set_remedy(e, "move the files of point %u elsewhere if it is of no use, then try again", point->sequence);
        return ERR_CONDITION;
    }
    return 0;
}

static void say_verdict(const struct point *point, const struct retention_verdict *v)
{
    static const char *const names[] = {[RETENTION_KEEP] = "keep",
                                        [RETENTION_NEEDED] = "needed",
                                        [RETENTION_DELETE] = "delete",
                                        [RETENTION_FOLD] = "fold"};
    struct json *j = json_object_new();
    json_set_str(j, "event", "verdict");
    json_set_int(j, "sequence", point->sequence);
    json_set_str(j, "point", uuid_str(&point->ref->uuid).s);
    json_set_str(j, "verdict", names[v->action]);
    json_set(j, "other", v->other ? json_int_new(v->other) : json_null_new());
    say(j);
}

static struct point *by_sequence(struct points *p, uint32_t sequence)
{
    return &p->list[points_by_sequence(p, sequence) - p->list];
}

static bool is_ended(const struct options *o)
{
    return o->watch && o->watch->is_cancelled(o->watch->ctx);
}

static int carry_out(const struct options *o, struct points *p, const struct retention_verdict *v, struct slice key,
                     struct error *e)
{
    int err = 0;
    for (size_t i = p->n; !err && !is_ended(o) && i-- > 0;)
        if (v[i].action == RETENTION_DELETE)
            err = points_delete(p, p->list[i].sequence, e);
    for (size_t i = 0; !err && !is_ended(o) && i < p->n; i++)
        if (v[i].action == RETENTION_FOLD)
            err = fold(p, &p->list[i], by_sequence(p, v[i].other), key, e);
    return err;
}

/* Who hears of the points that stay. */
struct hearing {
    int (*planned)(void *ctx, struct json *staying, struct error *e);
    void *ctx;
};

static void keep_if_full(struct retention_verdict *v, enum retention_action action, size_t *left)
{
    if (v->action != action)
        return;
    if (*left > 0)
        --*left;
    else
        v->action = RETENTION_KEEP;
}

/* The first so many of what is carried out, in that order: where not all are deleted nothing is folded, as what stays
 * may stand on it. */
static void limit(struct retention_verdict *v, size_t n)
{
    size_t left = BACKUP_GONE_MAX;
    for (size_t i = n; i-- > 0;)
        keep_if_full(&v[i], RETENTION_DELETE, &left);
    for (size_t i = 0; i < n; i++)
        keep_if_full(&v[i], RETENTION_FOLD, &left);
}

static int tell_staying(const struct hearing *h, const struct points *p, const struct retention_verdict *v,
                        struct error *e)
{
    struct json *all = json_array_new();
    for (size_t i = 0; i < p->n; i++)
        if (v[i].action == RETENTION_KEEP || v[i].action == RETENTION_NEEDED)
            json_append(all, json_str_new(uuid_str(&p->list[i].ref->uuid).s));
    return h->planned(h->ctx, all, e);
}

static int prune_points(const struct options *o, struct points *p, struct slice key, void *ctx, struct error *e)
{
    const struct hearing *h = ctx;
    int err = refuse_damaged(p, e);
    if (err)
        return err;
    AUTO(freep) struct retention_point *points = xcalloc(p->n + 1, sizeof(*points));
    AUTO(freep) struct retention_verdict *v = xcalloc(p->n + 1, sizeof(*v));
    for (size_t i = 0; i < p->n; i++)
        points[i] = (struct retention_point){p->list[i].sequence, p->list[i].bases, p->list[i].ref->n_disks,
                                             p->list[i].ref->created_ms};
    retention_plan(&o->keep, points, p->n, v);
    if (h)
        limit(v, p->n);
    for (size_t i = 0; i < p->n; i++)
        say_verdict(&p->list[i], &v[i]);
    err = h ? tell_staying(h, p, v, e) : 0;
    return err || o->dry_run ? err : carry_out(o, p, v, key, e);
}

/* Than `but`; 0: on any at all. */
static bool stands_on_another(const struct point *point, uint32_t but)
{
    for (size_t i = 0; i < point->ref->n_disks; i++)
        if (point->bases[i] != 0 && point->bases[i] != but)
            return true;
    return false;
}

/* The oldest full on which exactly one other point stands; or the point whose fold into the one that stands on it was
 * interrupted, so that this one stands on another, too. */
static int synthesize_points(const struct options *o, struct points *p, struct slice key, void *ctx, struct error *e)
{
    (void)ctx;
    int err = refuse_damaged(p, e);
    for (size_t i = 0; !err && i < p->n; i++) {
        struct retention_verdict v = {.action = RETENTION_FOLD};
        size_t children = 0;
        for (size_t k = 0; k < p->n; k++)
            if (point_stands_on(&p->list[k], p->list[i].sequence)) {
                children++;
                v.other = p->list[k].sequence;
            }
        if (children != 1 || (stands_on_another(&p->list[i], 0) &&
                              !stands_on_another(points_by_sequence(p, v.other), p->list[i].sequence)))
            continue;
        say_verdict(&p->list[i], &v);
        return o->dry_run ? 0 : fold(p, &p->list[i], by_sequence(p, v.other), key, e);
    }
    if (err)
        return err;
    return error_set(e, ERR_CONDITION, "%s has no full with exactly one increment on it", p->folder.path);
}

static int with_points(const struct options *o,
                       int (*fn)(const struct options *, struct points *, struct slice, void *, struct error *),
                       void *ctx, struct error *e)
{
    struct repository r;
    struct points p;
    if (!o->vm)
        return error_set(e, ERR_USAGE, "it wants --vm");
    int err = repository_open(o, &r, e);
    if (err)
        return err;
    err = points_open(&r, o->vm, true, false, &p, e);
    if (!err) {
        err = fn(o, &p, buf_slice(&r.key), ctx, e);
        points_done(&p);
    }
    repository_done(&r);
    return err;
}

int prune_vm(const struct options *o, int (*planned)(void *ctx, struct json *staying, struct error *e), void *ctx,
             struct error *e)
{
    struct hearing h = {planned, ctx};
    return with_points(o, prune_points, &h, e);
}

int verb_prune(const struct options *o, struct json **ret, struct error *e)
{
    (void)ret;
    return with_points(o, prune_points, NULL, e);
}

int verb_synthesize(const struct options *o, struct json **ret, struct error *e)
{
    (void)ret;
    return with_points(o, synthesize_points, NULL, e);
}
