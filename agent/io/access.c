/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/io/access.h"

#include <grp.h>
#include <pwd.h>
#include <time.h>

enum { CACHE_MAX = 64, GROUPS_MAX = 1024, NSS_MAX = 64 * 1024 };

struct access_entry {
    uid_t uid;
    gid_t gid;
    enum core_access access;
    int64_t until_ms; /* monotonic */
};

struct lookup_job {
    struct worker_job job;
    struct lookup_job *next;
    struct access_cache *cache; /* NULL: nobody wants to know any more */
    uid_t uid;
    gid_t gid;
    enum core_access access;
};

struct access_cache {
    struct worker_pool *pool;
    void (*known)(void *ctx, uid_t uid, gid_t gid, enum core_access access);
    void *ctx;
    struct access_entry entries[CACHE_MAX];
    size_t next_entry;
    struct lookup_job *jobs; /* under way */
};

/* ---- the group database */

static bool group_id(const char *name, gid_t *ret)
{
    AUTO(freep) char *text = xmalloc(NSS_MAX);
    struct group g, *found = NULL;
    if (getgrnam_r(name, &g, text, NSS_MAX, &found) != 0 || !found)
        return false;
    *ret = g.gr_gid;
    return true;
}

static int groups_of(uid_t uid, gid_t gid, gid_t *ret, int max)
{
    AUTO(freep) char *text = xmalloc(NSS_MAX);
    struct passwd p, *found = NULL;
    ret[0] = gid;
    if (getpwuid_r(uid, &p, text, NSS_MAX, &found) != 0 || !found)
        return 1; /* a user without a name has no other groups */
    int n = max;
    if (getgrouplist(p.pw_name, gid, ret, &n) < 0)
        return max; /* there are more; what was found counts */
    return n;
}

enum core_access access_look_up(uid_t uid, gid_t gid, const char *admin_group, const char *read_group)
{
    if (uid == 0)
        return ACCESS_ADMIN;
    gid_t admin = 0, reader = 0;
    bool has_admin = group_id(admin_group, &admin), has_reader = group_id(read_group, &reader);
    gid_t *groups = xcalloc(GROUPS_MAX, sizeof(*groups));
    int n = groups_of(uid, gid, groups, GROUPS_MAX);
    enum core_access access = ACCESS_NONE;
    for (int i = 0; i < n; i++) {
        if (has_admin && groups[i] == admin)
            access = ACCESS_ADMIN;
        else if (has_reader && groups[i] == reader && access == ACCESS_NONE)
            access = ACCESS_READ;
    }
    free(groups);
    return access;
}

/* ---- what it said */

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct access_cache *access_new(struct worker_pool *pool,
                                void (*known)(void *ctx, uid_t uid, gid_t gid, enum core_access access), void *ctx)
{
    struct access_cache *a = xcalloc(1, sizeof(*a));
    a->pool = pool;
    a->known = known;
    a->ctx = ctx;
    return a;
}

void access_free(struct access_cache *a)
{
    for (struct lookup_job *j = a ? a->jobs : NULL; j; j = j->next)
        j->cache = NULL;
    free(a);
}

bool access_known(const struct access_cache *a, uid_t uid, gid_t gid, enum core_access *ret)
{
    if (uid == 0) {
        *ret = ACCESS_ADMIN;
        return true;
    }
    int64_t now = now_ms();
    for (size_t i = 0; i < CACHE_MAX; i++) {
        const struct access_entry *e = &a->entries[i];
        if (e->until_ms > now && e->uid == uid && e->gid == gid) {
            *ret = e->access;
            return true;
        }
    }
    return false;
}

static void run_lookup(struct worker_job *job)
{
    struct lookup_job *j = (struct lookup_job *)job;
    j->access = access_look_up(j->uid, j->gid, "ringmaster-admin", "ringmaster-read");
}

static void done_lookup(struct worker_job *job)
{
    struct lookup_job *j = (struct lookup_job *)job;
    struct access_cache *a = j->cache;
    if (a) {
        struct lookup_job **p = &a->jobs;
        while (*p != j)
            p = &(*p)->next;
        *p = j->next;
        a->entries[a->next_entry] = (struct access_entry){j->uid, j->gid, j->access, now_ms() + ACCESS_TTL_MS};
        a->next_entry = (a->next_entry + 1) % CACHE_MAX;
        a->known(a->ctx, j->uid, j->gid, j->access);
    }
    free(j);
}

void access_want(struct access_cache *a, uid_t uid, gid_t gid)
{
    for (const struct lookup_job *j = a->jobs; j; j = j->next)
        if (j->uid == uid && j->gid == gid)
            return;
    struct lookup_job *j = xcalloc(1, sizeof(*j));
    *j = (struct lookup_job){{.run = run_lookup, .done = done_lookup}, a->jobs, a, uid, gid, ACCESS_NONE};
    a->jobs = j;
    worker_submit(a->pool, &j->job);
}
