/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The cluster's functional level: where it is decided. A level is a platform generation (level.def); the committed
 * level `fl` gates features (feature.def), wire and on-disk formats, never a node's own version.
 *
 *                        ENTRY_LEVEL fence                 every member acknowledged        ENTRY_LEVEL commit
 *   fl = n, no fence ───────────────────> fl = n, fence n+1 ───────────────────────────────> fl = n+1
 *          ^                                   │ ENTRY_LEVEL clear (a member went down or out of range)
 *          └───────────────────────────────────┘
 *
 * Invariants: fl never falls; mixed_since != 0 exactly while some member's native level is above fl. */
#pragma once

#include "common/entry.h"
#include "common/journal.h"
#include "common/log.h"

enum { LEVEL_MEMBERS_MAX = 100, MIXED_WARN_DAYS = 21, MIXED_CRITICAL_DAYS = 28, LEVEL_NAME_MAX = 64 };

struct level_range {
    uint8_t min, native; /* [max(1, native-1), native]; native 0: the host meets no level's needs */
};
/* Versions count major × 1,000,000 + minor × 1,000 + micro. */
struct level_range level_range_of(uint32_t qemu_version, uint32_t libvirt_version);
const char *level_describe(uint8_t level); /* "Debian 12: QEMU 7.2, libvirt 9.0"; NULL: unknown level */
uint8_t level_newest(void);                /* the newest that this release knows */
uint8_t level_of_release(const char *codename); /* native level of a release; 0: unknown */

enum feature {
#define FEATURE(id, name, level, text) FEATURE_##id,
#include "upgrade/feature.def"
#undef FEATURE
    FEATURE_COUNT
};
/* 0, or ERR_CONDITION naming the feature, its level and the command that raises. */
int feature_check(const struct tables *t, enum feature f, struct error *e);

struct level_member {
    char node[LEVEL_NAME_MAX];
    uint8_t min, native;
    bool acked; /* the fence, while one is up */
};
struct level_state { /* TABLE_CLUSTER "level" */
    uint8_t fl;
    uint8_t fence;          /* target while a raise is fenced; 0: none */
    struct uuid fence_job;
    int64_t mixed_since_ms; /* UTC; 0: not mixed */
    int64_t raised_ms;
    char machine[64];       /* highest machine type common to all members, fixed at the raise */
    struct level_member members[LEVEL_MEMBERS_MAX];
    size_t n;
};
int level_get(const struct tables *t, struct level_state *ret); /* ERR_NOT_FOUND before the cluster was formed */
/* Does this release know the committed level? ERR_CONDITION: it must not touch such a database. */
int level_check_known(const struct tables *t, struct error *e);
int level_decode(struct slice value, struct level_state *ret);           /* of the row's bytes; ERR_MALFORMED */
/* committed, fence, mixed{since, days, …}, members */
struct json *level_json(const struct level_state *s, int64_t wall_ms);

/* Called from apply functions by the core, which passes values between rooms. */
void level_init(struct tables *t, uint8_t fl);
/* 0, ERR_CONDITION */
int level_join_check(const struct tables *t, const char *node, struct level_range r, struct error *e);
void level_member_set(struct tables *t, const char *node, struct level_range r, int64_t time_ms);
void level_member_remove(struct tables *t, const char *node, int64_t time_ms);

enum level_verb { LEVEL_FENCE = 1, LEVEL_ACK, LEVEL_COMMIT, LEVEL_CLEAR };
struct level_request { /* ENTRY_LEVEL */
    enum level_verb verb;
    uint8_t level;
    char node[LEVEL_NAME_MAX]; /* ACK */
    char why[JOURNAL_TEXT_MAX]; /* CLEAR */
    char machine[64]; /* COMMIT: highest machine type common to all members; empty: unknown, the old one stays */
};
void level_entry(const struct level_request *r, struct buf *b);
void level_apply(struct tables *t, const struct entry *e, struct apply_result *ret);

/* Volatile view of a member, built by the core. */
struct level_node {
    char name[LEVEL_NAME_MAX];
    bool present, paused;
    const char *machines; /* borrowed; NULL: unknown */
};
/* Why the level cannot be raised now: 0 and an empty array, or ERR_CONDITION with every member that blocks named in *e
 * and one finding {check, result, object, text, remedy} each. *ret_findings is set in both cases. */
int level_raise_check(const struct tables *t, const struct level_node *nodes, size_t n, struct json **ret_findings,
                      struct error *e);

struct level_env {
    void *ctx;
    void (*propose)(void *ctx, enum entry_kind kind, struct buf *payload, const char *key);
    const struct log_sink *log;
};
/* Every node: acknowledges a fence that is in its range. Leader: commits or clears it. */
void level_step(const struct tables *t, const char *self, struct level_range self_range, bool is_leader,
                const struct level_node *nodes, size_t n, const struct level_env *env);
