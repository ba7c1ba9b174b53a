/* SPDX-License-Identifier: GPL-2.0-or-later */
/* verify: each point by itself against its document and manifest, and what it leaves to the point below against that
 * one's manifest: so every file is read once, however many points stand on it. list: the points as they are. Of a whole
 * repository a virtual machine that cannot be looked at is told, and the others are. */
#include "backup/worker/check.h"

enum { VMS_MAX = 100000 };

struct tally {
    size_t points, damaged;
    struct error damage;  /* of the first */
    size_t unread;        /* that could not be read for another reason */
    struct error trouble; /* of the first */
    struct json *there;   /* UUIDs of the points whose document is whole; NULL: nobody asks */
    size_t skipped;   /* virtual machines */
    struct error why; /* of the first that was skipped; of the first for which waiting is no remedy, if there is one */
};

static void say_point(const char *event, const char *vm, const struct point *point, const struct error *e)
{
    struct json *j = json_object_new();
    json_set_str(j, "event", event);
    json_set_str(j, "vm", vm);
    json_set_int(j, "sequence", point->sequence);
    json_set_str(j, "point", point->ref ? uuid_str(&point->ref->uuid).s : NULL);
    if (e) {
        json_set_str(j, "error", e->text);
        json_set_str(j, "remedy", e->remedy);
    }
    say(j);
}

/* The points that this one needs, itself included, by their index: what a point stands on is older. */
static void mark_needed(const struct points *p, const struct point *point, bool *needed)
{
    needed[point - p->list] = true;
    for (size_t i = p->n; i-- > 0;)
        for (size_t k = i + 1; k < p->n && !needed[i]; k++)
            needed[i] = needed[k] && point_stands_on(&p->list[k], p->list[i].sequence);
}

/* What could not be read is not damaged for that: its file system may be away. */
static bool is_damage(int code)
{
    return code != 0 && code != ERR_IO && code != ERR_AGAIN;
}

/* bad: of each older point, what became of it. */
static int verify_one(const struct points *p, size_t i, const int *bad, struct slice key, const struct check_watch *w,
                      struct error *e)
{
    const struct point *point = &p->list[i];
    if (point->damage.code != 0) {
        *e = point->damage;
        return e->code;
    }
    for (size_t k = 0; k < i; k++)
        if (bad[k] && point_stands_on(point, p->list[k].sequence))
            return error_set(e, bad[k], "it stands on point %u, which %s", p->list[k].sequence,
                             is_damage(bad[k]) ? "is damaged" : "could not be read");
    return check_point(p, point, key, w, e);
}

static uint64_t bytes_of(const struct point *point)
{
    uint64_t bytes = 0;
    for (size_t i = 0; point->ref && i < point->ref->n_disks; i++)
        bytes += point->ref->disks[i].bytes;
    return bytes;
}

static void count_point(struct tally *t, const char *vm, const struct point *point, const struct error *why)
{
    static const char *const events[] = {"verified", "damaged", "unread"};
    size_t what = why->code == 0 ? 0 : is_damage(why->code) ? 1 : 2;
    t->points++;
    if (what == 1 && t->damaged++ == 0)
        t->damage = *why;
    if (what == 2 && t->unread++ == 0)
        t->trouble = *why;
    if (t->there && point->ref)
        json_append(t->there, json_str_new(uuid_str(&point->ref->uuid).s));
    say_point(events[what], vm, point, what ? why : NULL);
}

static int verify_points(const struct options *o, const struct repository *r, const char *vm, const struct points *p,
                         struct tally *t, struct error *e)
{
    AUTO(freep) int *bad = xcalloc(p->n + 1, sizeof(*bad));
    AUTO(freep) bool *needed = xcalloc(p->n + 1, sizeof(*needed));
    struct check_watch w = {.watch = o->watch};
    if (o->point) {
        const struct point *point = points_lookup(p, o->point);
        if (!point)
            return points_find(p, o->point, &point, e);
        mark_needed(p, point, needed);
    }
    for (size_t i = 0; i < p->n; i++)
        w.total_bytes += !o->point || needed[i] ? bytes_of(&p->list[i]) : 0;
    for (size_t i = 0; i < p->n; i++) {
        if (o->point && !needed[i])
            continue;
        struct error why = {0};
        bad[i] = verify_one(p, i, bad, buf_slice(&r->key), &w, &why);
        if (o->watch && o->watch->is_cancelled(o->watch->ctx))
            return error_set(e, ERR_FAILED, "it was cancelled");
        w.before_bytes += bytes_of(&p->list[i]);
        count_point(t, vm, &p->list[i], &why);
    }
    return 0;
}

static int verify_vm(const struct options *o, const struct repository *r, const char *vm, struct tally *t,
                     struct error *e)
{
    struct points p;
    int err = points_open(r, vm, false, false, &p, e);
    if (err)
        return err;
    err = verify_points(o, r, vm, &p, t, e);
    points_done(&p);
    return err;
}

static void skip_vm(struct tally *t, const char *vm, const struct error *why)
{
    struct json *j = json_object_new();
    json_set_str(j, "event", "skipped");
    json_set_str(j, "vm", vm);
    json_set_str(j, "code", err_name(why->code));
    json_set_str(j, "error", why->text);
    json_set_str(j, "remedy", why->remedy);
    say(j);
    if (t->skipped++ == 0 || (t->why.code == ERR_AGAIN && why->code != ERR_AGAIN))
        t->why = *why;
}

/* That not all were looked at; 0: they were. */
static int skipped(const struct tally *t, struct error *e)
{
    if (t->skipped == 0)
        return 0;
    error_set(e, t->why.code, "%zu virtual machines were skipped: %s", t->skipped, t->why.text);
    error_set_remedy(e, "%s", t->why.remedy);
    return t->why.code;
}

/* Calls fn for the virtual machine that was asked for, or for each. */
static int each_vm(const struct options *o, const struct repository *r,
                   int (*fn)(const struct options *, const struct repository *, const char *, struct tally *,
                             struct error *),
                   struct tally *t, struct error *e)
{
    if (o->vm)
        return fn(o, r, o->vm, t, e);
    char **names;
    size_t n;
    int err = folder_list(&r->folder, VMS_MAX, &names, &n, e);
    if (err)
        return err;
    for (size_t i = 0; i < n; i++) {
        struct error why = {0};
        if (layout_vm_ok(names[i]) && folder_is(&r->folder, names[i]) && fn(o, r, names[i], t, &why) < 0)
            skip_vm(t, names[i], &why);
    }
    folder_list_free(names, n);
    return 0;
}

/* Damage before trouble, trouble before what was skipped. */
static int verdict(const struct tally *t, struct error *e)
{
    if (t->damaged > 0) {
        error_set(e, ERR_MALFORMED, "%zu of %zu points are damaged: %s", t->damaged, t->points, t->damage.text);
        error_set_remedy(e, "make a full backup: ringmaster-backup export --engine full");
        return ERR_MALFORMED;
    }
    if (t->unread > 0) {
        error_set(e, t->trouble.code, "%zu of %zu points could not be read: %s", t->unread, t->points, t->trouble.text);
        error_set_remedy(e, "%s", t->trouble.remedy);
        return t->trouble.code;
    }
    return skipped(t, e);
}

int verify_all(const struct options *o, size_t *ret_points, struct json **ret_there, struct error *e)
{
    struct repository r;
    struct tally t = {.there = json_array_new()};
    int err = repository_open(o, &r, e);
    if (!err) {
        err = each_vm(o, &r, verify_vm, &t, e);
        repository_done(&r);
    }
    if (!err)
        err = verdict(&t, e);
    *ret_points = t.points;
    if (err || !ret_there)
        json_free(t.there);
    else
        *ret_there = t.there;
    return err;
}

int verb_verify(const struct options *o, struct json **ret, struct error *e)
{
    size_t points;
    if (o->point && !o->vm)
        return error_set(e, ERR_USAGE, "--point wants --vm: whose point it is");
    int err = verify_all(o, &points, NULL, e);
    if (err)
        return err;
    *ret = json_object_new();
    json_set_int(*ret, "points", (int64_t)points);
    return 0;
}

/* Each once: most points stand on one, or on none. */
static struct json *stands_on_json(const struct point *point)
{
    struct json *j = json_array_new();
    for (size_t i = 0; i < point->ref->n_disks; i++)
        if (point->bases[i] != 0 && !retention_stands_on(point->bases, i, point->bases[i]))
            json_append(j, json_int_new(point->bases[i]));
    return j;
}

static int list_vm(const struct options *o, const struct repository *r, const char *vm, struct tally *t,
                   struct error *e)
{
    (void)o;
    struct points p;
    int err = points_open(r, vm, false, false, &p, e);
    if (err)
        return err;
    for (size_t i = 0; i < p.n; i++) {
        const struct point *point = &p.list[i];
        if (!point->ref) {
            say_point("damaged", vm, point, &point->damage);
            continue;
        }
        struct json *j = json_object_new();
        json_set_str(j, "event", "point");
        json_set(j, "stands_on", stands_on_json(point));
        json_set(j, "point", refpoint_json(point->ref));
        say(j);
    }
    t->points += p.n;
    points_done(&p);
    return 0;
}

int verb_list(const struct options *o, struct json **ret, struct error *e)
{
    struct repository r;
    struct tally t = {0};
    int err = repository_open(o, &r, e);
    if (err)
        return err;
    err = each_vm(o, &r, list_vm, &t, e);
    repository_done(&r);
    if (!err)
        err = skipped(&t, e);
    if (err)
        return err;
    *ret = json_object_new();
    json_set_int(*ret, "points", (int64_t)t.points);
    return 0;
}
