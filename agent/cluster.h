/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The cluster and its nodes (pure): slots, replicas, tokens, settings, tombstones.
 *
 * A node is a slot (name, address, corosync nodeid) that holds a replica of the database (a UUID). A rebuild replaces
 * the replica and leaves the slot, so that an upgrade never touches corosync's configuration.
 *
 *             JOIN                ADMITTED (weight is 1)          DRAIN             DRAINED (no VM left)
 *   (no slot) ────> JOINING ───────────────────────────> ACTIVE ───────> DRAINING ─────────────────────> PAUSED
 *                      ^  └────────── ADMITTED, held ──────^─────────────────│──────────────────────────^ │
 *                      │ JOIN (new replica)                └──── RESUME ─────┴────────────────────────────┤
 *                   ABSENT <──── GONE (replica out of the configuration; tombstone) ──── EVICTING <── EVICT
 *
 * The leader drives what lies between (cluster_leader_step): configuration entries one at a time, then ADMITTED or
 * GONE.
 * Invariants: at most one slot names a replica; a tombstoned replica is never admitted again; a slot's nodeid and
 * address never change; slots are neither added nor removed in mixed mode (corosync-cfgtool(8): no reload with mixed
 * versions). */
#pragma once

#include "agent/db/db.h"
#include "agent/port.h"
#include "common/journal.h"

enum node_state {
    NODE_ACTIVE = 1,
    NODE_DRAINING,
    NODE_PAUSED,
    NODE_EVICTING,
    NODE_ABSENT,
    NODE_JOINING,
};
const char *node_state_name(enum node_state s); /* "active" … as in JSON */

struct node {
    char name[NODE_NAME_MAX];
    char address[ADDRESS_MAX];
    uint16_t port; /* TLS */
    uint32_t nodeid;
    enum node_state state;
    bool failback;     /* VMs whose home it is are on their way back */
    bool held;         /* admitted to PAUSED, not to ACTIVE: it was evicted while paused, with its slot kept */
    bool remove_slot;  /* EVICTING: the slot goes too */
    struct uuid replica; /* nil: ABSENT */
    struct uuid job;     /* of the drain, resume or evict under way; nil: none */
    int64_t joined_ms, changed_ms;
    struct uuid facts_replica; /* whose facts these are */
    struct host_facts facts;   /* machines: owned by the struct */
};
void node_done(struct node *n);
int node_get(const struct tables *t, const char *name, struct node *ret); /* 0, ERR_NO_OBJECT; node_done() */
int node_decode(struct slice value, struct node *ret);
/* Iterates in name order: start with *n zeroed; frees the previous one, and the last one at the end. */
bool node_next(const struct tables *t, struct node *n);
int node_by_replica(const struct tables *t, const struct uuid *replica, struct node *ret);

struct cluster { /* TABLE_CLUSTER "cluster" */
    struct uuid uuid;
    char name[64];
    int64_t created_ms;
    struct hash ca_hash;
};
int cluster_get(const struct tables *t, struct cluster *ret);

/* Settings: "" when unset. Borrowed copy in ret. */
enum { SETTING_VALUE_MAX = 256 };
void setting_get(const struct tables *t, const char *name, char ret[SETTING_VALUE_MAX]);
struct json *settings_json(const struct tables *t);

/* Payloads. */
struct cluster_init { /* ENTRY_CLUSTER_INIT */
    struct identity identity;
    struct host_facts facts;
    struct slice sealed_ca_key;
    struct hash ca_hash;
};
void cluster_entry_init(const struct cluster_init *i, struct buf *b);
void cluster_entry_join(const struct join_request *r, struct buf *b); /* ENTRY_NODE_JOIN; no secret: its hash only */
void cluster_entry_facts(const char *node, const struct uuid *replica, const struct host_facts *f, struct buf *b);
enum node_verb {
    NODE_DRAIN = 1, NODE_DRAINED, NODE_RESUME, NODE_HOME, NODE_EVICT, NODE_GONE, NODE_ADMITTED,
};
struct node_request { /* ENTRY_NODE_ADMIN */
    enum node_verb verb;
    char name[NODE_NAME_MAX];
    bool failback;    /* RESUME */
    bool keep_slot;   /* EVICT */
    bool force;       /* EVICT: though it is not paused */
    struct uuid replica; /* GONE, ADMITTED: compare */
};
void cluster_entry_admin(const struct node_request *r, struct buf *b);
struct join_token { /* TABLE_TOKEN; ENTRY_TOKEN_ADD adds the sealed text where an operation will need it again */
    struct uuid id;
    char node[NODE_NAME_MAX];
    char address[ADDRESS_MAX];
    struct hash secret_hash;
    int64_t expires_ms;
    struct uuid used_by; /* replica; nil: not yet */
    char op_id[64];      /* of a rebuild; empty: for an admin */
};
void cluster_entry_token(const struct join_token *token, struct slice sealed_text, struct buf *b);
void cluster_entry_setting(const char *name, const char *value, struct buf *b);
void cluster_entry_event(enum event_severity s, const char *object, const char *text, struct buf *b);

/* What applying a join needs to know from other rooms. */
struct cluster_gate {
    void *ctx;
    /* 0, or ERR_CONDITION: level out of range, a machine type in use that this QEMU lacks. */
    int (*join_check)(void *ctx, const char *node, const struct host_facts *f, struct error *e);
    bool (*is_mixed)(void *ctx);
    size_t (*vms_running_on)(void *ctx, const char *node);
    size_t (*vms_on)(void *ctx, const char *node);
    void (*facts_changed)(void *ctx, const char *node, const struct host_facts *f, int64_t time_ms);
    void (*slot_removed)(void *ctx, const char *node, int64_t time_ms);
    void (*formed)(void *ctx, const struct host_facts *f); /* the first node: sets the level */
};
/* Replicated: ENTRY_CLUSTER_INIT, NODE_*, TOKEN_ADD, SECRET_PUT, SETTING_PUT, EVENT. */
void cluster_apply(struct tables *t, const struct cluster_gate *gate, const struct entry *e, struct apply_result *ret);

/* Leader: brings the voting configuration in line with the slots, one change at a time, and ends drains and
 * failbacks. */
enum { EVICT_NOTICE_MS = 10000 }; /* how long an evicted node may take to leave by itself before it is cut off */
enum cluster_vote { VOTE_NOW, VOTE_LATER, VOTE_NEVER };
struct cluster_env {
    void *ctx;
    int64_t wall_ms;
    void (*propose)(void *ctx, enum entry_kind kind, struct buf *payload, const char *key);
    bool (*is_drained)(void *ctx, const char *node); /* no running VM and no operation on it */
    bool (*is_home)(void *ctx, const char *node);
    enum cluster_vote (*vote)(void *ctx, const char *node); /* of a joining node that has caught up; NULL: now */
};
void cluster_leader_step(const struct db *db, const struct cluster_env *env);

/* corosync.conf from the committed slots (corosync-conf.c); the caller frees. Deterministic. */
struct corosync_slot {
    char name[NODE_NAME_MAX];
    char address[ADDRESS_MAX];
    uint32_t nodeid;
};
char *corosync_conf_render(const char *cluster_name, const struct corosync_slot *slots, size_t n);
char *corosync_conf_of_tables(const struct tables *t); /* NULL: no cluster in there */

/* host_facts on the wire. */
void facts_put(struct buf *b, const struct host_facts *f);
void facts_get(struct wire_reader *r, struct host_facts *ret); /* owned: host_facts_done */
bool facts_equal(const struct host_facts *a, const struct host_facts *b);
