/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a local user may do: root and group ringmaster-admin everything, ringmaster-read what only reads, all others
 * nothing; supplementary groups count, as the group database has them. It may lie on a network, so it is asked in a
 * worker, and what it said holds for ACCESS_TTL_MS.
 *
 *     access_known ── no ──> access_want ──> worker ──> ops.known(uid, gid, access) */
#pragma once

#include <sys/types.h>

#include "agent/core.h"
#include "agent/io/worker.h"

enum { ACCESS_TTL_MS = 10000 }; /* a user's groups are looked up again after that */

struct access_cache;

/* known: on the loop, for each access_want. pool is borrowed until access_free. */
struct access_cache *access_new(struct worker_pool *pool,
                                void (*known)(void *ctx, uid_t uid, gid_t gid, enum core_access access), void *ctx);
/* NULL is accepted. Nothing is told afterwards; what is under way ends by itself. */
void access_free(struct access_cache *a);

bool access_known(const struct access_cache *a, uid_t uid, gid_t gid, enum core_access *ret);
/* Once at a time for each user. */
void access_want(struct access_cache *a, uid_t uid, gid_t gid);

/* Blocking: what the groups of a user allow. Group names are parameters for tests. */
enum core_access access_look_up(uid_t uid, gid_t gid, const char *admin_group, const char *read_group);
