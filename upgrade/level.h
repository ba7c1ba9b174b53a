/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The cluster's functional level: where it is decided. A level is a platform generation (level.def); the committed
 * level `fl` gates features (feature.def), wire and on-disk formats, never a node's own version.
 *
 *                   fence              every member acknowledged: copy          every member has its copy: commit
 *   fl = n ───────────────> fl = n, ─────────────────────────> fl = n, fence n+1, ───────────────────> fl = n+1
 *     ^                   fence n+1                          copy at this index
 *     │                        │                                │ ^    │
 *     └────────────────────────┴─ clear (a member went down, or │ └────┘ copy anew: a member missed it
 *                                 out of range, or cannot copy) ┘        (its agent was restarted)
 *
 * All of these are ENTRY_LEVEL. A copy is the whole state as the copy's own entry left it, so that it is the same on
 * every node: put back everywhere (core_restore()) it is where the cluster goes on. It is the only way back.
 *
 * Invariants: fl never falls; it rises only when every member has a copy of the same index on its disk;
 * mixed_since != 0 exactly while some member's native level is above fl. */
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
struct json *features_json(uint8_t fl); /* of `level show`: [{name, text, level, available}] */

struct level_member {
    char node[LEVEL_NAME_MAX];
    uint8_t min, native;
    bool acked;  /* the fence, while one is up */
    bool copied; /* has the copy of copy_index on its disk */
};
struct level_state { /* TABLE_CLUSTER "level" */
    uint8_t fl;
    uint8_t fence;          /* target while a raise is fenced; 0: none */
    struct uuid fence_job;
    int64_t mixed_since_ms; /* UTC; 0: not mixed */
    int64_t raised_ms;
    uint64_t copy_index;    /* of the entry that made the last copy; 0: none, or another raise began */
    int64_t copy_ms;
    uint8_t copy_level;     /* to which the level was to be raised then */
    char machine[64];       /* highest machine type common to all members, fixed at the raise; "": unknown */
    struct level_member members[LEVEL_MEMBERS_MAX];
    size_t n;
};
int level_get(const struct tables *t, struct level_state *ret); /* ERR_NOT_FOUND before the cluster was formed */
int64_t level_mixed_days(const struct level_state *s, int64_t wall_ms); /* whole ones; 0: not mixed, or since today */
/* Does this release know the committed level? ERR_CONDITION: it must not touch such a database. */
int level_check_known(const struct tables *t, struct error *e);
int level_decode(struct slice value, struct level_state *ret);           /* of the row's bytes; ERR_MALFORMED */
/* committed, fence, mixed{since, days, …}, members */
struct json *level_json(const struct level_state *s, int64_t wall_ms);

/* The copy's file, in the agent's state folder: "before-level-2.20261130T183000Z". */
enum { LEVEL_COPY_NAME_MAX = 64 };
#define LEVEL_COPY_PREFIX "before-level-"
void level_copy_name(const struct level_state *s, char ret[LEVEL_COPY_NAME_MAX]); /* "": there is none */
/* The tables of a copy, which was made while a raise was under way: it is not any more. */
void level_restored(struct tables *t);

/* Called from apply functions by the core, which passes values between rooms. */
void level_init(struct tables *t, uint8_t fl, const char *machines); /* those of the first node; NULL: unknown */
/* 0, ERR_CONDITION */
int level_join_check(const struct tables *t, const char *node, struct level_range r, struct error *e);
void level_member_set(struct tables *t, const char *node, struct level_range r, int64_t time_ms);
void level_member_remove(struct tables *t, const char *node, int64_t time_ms);

enum level_verb { LEVEL_FENCE = 1, LEVEL_ACK, LEVEL_COMMIT, LEVEL_CLEAR, LEVEL_COPY, LEVEL_COPIED };
struct level_request { /* ENTRY_LEVEL */
    enum level_verb verb;
    uint8_t level;
    char node[LEVEL_NAME_MAX]; /* ACK, COPIED */
    uint64_t copy_index; /* COPIED: which; COPY: compare, the one that it replaces */
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
    struct error lacks;   /* what is in use and this node lacks; code 0: nothing */
};
/* Why the level cannot be raised now: 0 and an empty array, or ERR_CONDITION with every member that blocks named in *e
 * and one finding {check, result, object, text, remedy} each. *ret_findings is set in both cases. */
int level_raise_check(const struct tables *t, const struct level_node *nodes, size_t n, struct json **ret_findings,
                      struct error *e);

/* What this node has of the last copy; the core sees to it. */
struct level_copy {
    uint64_t under_way, done, failed; /* by copy_index; 0: none */
    struct error error;               /* of the failed one */
};
struct level_env {
    void *ctx;
    void (*propose)(void *ctx, enum entry_kind kind, struct buf *payload, const char *key);
    const struct log_sink *log;
};
struct level_self {
    const char *node;
    struct level_range range;
    bool is_leader;
    const struct level_copy *copy;
};
/* Every node: acknowledges a fence that is in its range, and says what became of its copy. Leader: has copies made,
 * commits or clears it. */
void level_step(const struct tables *t, const struct level_self *self, const struct level_node *nodes, size_t n,
                const struct level_env *env);
