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

/* A node fails when it is fenced, or boots anew without having been drained. That often within the window, and nothing
 * is placed there for a while: on so many nodes at a time as are a quarter of all, but on one at least. */
enum { NODE_FAILURES_MAX = 3, NODE_FAILURES_WINDOW_MS = 3600 * 1000, NODE_QUARANTINE_MS = 2 * 3600 * 1000 };

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
    int64_t failures_ms[NODE_FAILURES_MAX]; /* the last ones, oldest first; 0: none */
    char failed_boot[UUID_STR_SIZE];        /* the boot that the last one ended */
    int64_t quarantined_ms;                 /* UTC, until when; 0: it is not */
};
void node_done(struct node *n);
int node_get(const struct tables *t, const char *name, struct node *ret); /* 0, ERR_NO_OBJECT; node_done() */
int node_decode(struct slice value, struct node *ret);
/* Iterates in name order: start with *n zeroed; frees the previous one, and the last one at the end. */
bool node_next(const struct tables *t, struct node *n);
void node_failed(struct tables *t, const char *node, int64_t time_ms); /* replicated */
int node_by_replica(const struct tables *t, const struct uuid *replica, struct node *ret);

struct cluster { /* TABLE_CLUSTER "cluster" */
    struct uuid uuid;
    char name[64];
    int64_t created_ms;
    struct hash ca_hash;
};
int cluster_get(const struct tables *t, struct cluster *ret);

struct cluster_forced { /* TABLE_CLUSTER "forced": the last time that quorum was forced */
    uint64_t epoch; /* how often that was */
    char node[NODE_NAME_MAX], by[64];
    int64_t time_ms;
};
int cluster_forced_get(const struct tables *t, struct cluster_forced *ret); /* ERR_NOT_FOUND: never */
int cluster_forced_decode(struct slice value, struct cluster_forced *ret);

/* Settings: "" when unset. Borrowed copy in ret. */
enum { SETTING_VALUE_MAX = 256 };
void setting_get(const struct tables *t, const char *name, char ret[SETTING_VALUE_MAX]);
struct json *settings_json(const struct tables *t);
/* Of a node: node.NODE.WHAT. */
enum { NODE_PRIORITY_MAX = 1000 };
void node_setting_name(const char *node, const char *what, char ret[TABLE_KEY_MAX]);
void node_setting_get(const struct tables *t, const char *node, const char *what, char ret[SETTING_VALUE_MAX]);
/* settings.c. 0; ERR_USAGE: no such setting, or not such a value; ERR_NO_OBJECT: no such node. The remedy names what
 * there is. value "": the default. */
int setting_check(const struct tables *t, const char *name, const char *value, struct error *e);
void setting_put(struct tables *t, const char *name, const char *value, int64_t time_ms); /* with its journal line */
void settings_node_removed(struct tables *t, const char *node, int64_t time_ms); /* those that name it go */

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
/* ENTRY_SETTINGS_PUT: several settings of the cluster, all or none. */
enum { SETTINGS_PUT_MAX = 32 };
struct settings_put {
    struct settings_put_value {
        char name[TABLE_KEY_MAX], value[SETTING_VALUE_MAX]; /* value "": the default */
    } values[SETTINGS_PUT_MAX];
    size_t n;
};
void cluster_entry_settings(const struct settings_put *s, struct buf *b);
int cluster_settings_read(struct slice payload, struct settings_put *ret); /* 0, ERR_MALFORMED */
/* ENTRY_NODE_SET: several settings of one node, all or none. */
enum { NODE_SET_MAX = 8 };
struct node_set {
    char node[NODE_NAME_MAX];
    struct node_set_value {
        char what[32], value[SETTING_VALUE_MAX]; /* "": the default */
    } values[NODE_SET_MAX];
    size_t n;
};
void cluster_entry_node_set(const struct node_set *s, struct buf *b);
int node_set_check(const struct tables *t, const struct node_set *s, struct error *e); /* as setting_check */
void cluster_entry_event(enum event_severity s, const char *object, const char *text, struct buf *b);

/* What applying a join needs to know from other rooms. */
struct cluster_gate {
    void *ctx;
    /* 0, or ERR_CONDITION: level out of range, a machine type in use that this QEMU lacks. */
    int (*join_check)(void *ctx, const char *node, const struct host_facts *f, struct error *e);
    bool (*is_mixed)(void *ctx);
    size_t (*vms_running_on)(void *ctx, const char *node);
    size_t (*vms_on)(void *ctx, const char *node);
    bool (*is_rebuilt)(void *ctx, const char *node); /* an upgrade replaces its operating system just now */
    void (*facts_changed)(void *ctx, const char *node, const struct host_facts *f, int64_t time_ms);
    void (*slot_removed)(void *ctx, const char *node, int64_t time_ms);
    void (*formed)(void *ctx, const struct host_facts *f); /* the first node: sets the level */
    /* 0, or ERR_CONDITION: the functional level does not allow this value. */
    int (*setting_check)(void *ctx, const char *name, const char *value, struct error *e);
};
/* Replicated: ENTRY_CLUSTER_INIT, NODE_*, TOKEN_ADD, SECRET_PUT, SETTING_PUT, SETTINGS_PUT, EVENT, and what is said of
 * FORCE. */
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
/* 300 without a coefficient finds a dead node in 0.64 s; the rings of tests/lab/chaos live with it. */
enum { COROSYNC_TOKEN_MIN_MS = 300, COROSYNC_TOKEN_MAX_MS = 30000 };
/* As the settings corosync.token_ms and corosync.token_coefficient_ms have them; "": the default. */
struct corosync_times {
    char token_ms[SETTING_VALUE_MAX], token_coefficient_ms[SETTING_VALUE_MAX];
};
/* times: NULL: the defaults. */
char *corosync_conf_render(const char *cluster_name, const struct corosync_times *times,
                           const struct corosync_slot *slots, size_t n);
/* How long a ring of the nodes in there needs to find that one is lost, with that configuration: token + consensus. */
int64_t corosync_lost_ms(const struct tables *t);
char *corosync_conf_of_tables(const struct tables *t); /* NULL: no cluster in there */

/* host_facts on the wire. */
void facts_put(struct buf *b, const struct host_facts *f);
void facts_get(struct wire_reader *r, struct host_facts *ret); /* owned: host_facts_done */
bool facts_equal(const struct host_facts *a, const struct host_facts *b);
