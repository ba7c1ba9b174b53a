/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of the core: shared by core.c (routing), core-steps.c (what the rooms are told and asked), request.c and
 * status.c only. */
#pragma once

#include "agent/cluster.h"
#include "agent/core.h"
#include "agent/progress.h"
#include "agent/retry.h"
#include "common/json.h"
#include "common/proto.h"
#include "upgrade/level.h"
#include "upgrade/run.h"
#include "vm/vm.h"
#include "witness/quorum.h"

enum {
    CORE_KEY_MAX = 160,
    CORE_STEP_MS = 500,             /* the rooms look again at least this often, and at once when something changed */
    CORE_CLIENT_DEADLINE_MS = 15000, /* a failover is done within a third of it */
    CORE_OWN_DEADLINE_MS = 5000,
    CORE_FACTS_RETRY_MS = 2000,
    CORE_FACTS_AGAIN_MS = 300000,
    CORE_FACTS_WAIT_MS = 30000, /* init and join wait this long for libvirt to say what the host is */
};

enum {
    CORE_RESTING = 16,  /* refused proposals that are remembered */
    CORE_REST_MS = 1000,
};

enum core_phase { PHASE_UNCONFIGURED = 1, PHASE_JOINING, PHASE_MEMBER, PHASE_EVICTED };

/* What an action's outcome is for. */
enum purpose {
    FOR_FACTS = 1,
    FOR_MEMBERSHIP, /* client waits */
    FOR_TOKEN,      /* client waits; name = node */
    FOR_OP_TOKEN,   /* name = node, op_id */
    FOR_PARSE,      /* client waits; name = node of vm add */
    FOR_VM,         /* vm_local's call */
    FOR_HOOK,       /* upgrade_leader's call */
    FOR_ISSUE,
    FOR_FETCH,
    FOR_COROSYNC,
    FOR_WITNESS, /* db_call */
};
struct pending {
    uint64_t id;
    enum purpose purpose;
    uint64_t client;
    char verb[32];
    struct uuid request_id;
    char name[NODE_NAME_MAX];
    char address[ADDRESS_MAX];
    char op_id[HOOK_OP_ID_MAX];
    int64_t until_ms; /* FOR_OP_TOKEN: expiry, wall clock */
    uint64_t db_call; /* FOR_WITNESS: the database's own id */
};

/* Who waits for a proposal's outcome. */
struct waiter {
    struct uuid request_id;
    char key[CORE_KEY_MAX]; /* "" or: one proposal of this key at a time */
    uint64_t client;        /* 0: nobody */
    char verb[32];
    /* Answers the client; NULL: plain answer with {job} when is_job. */
    void (*done)(struct core *c, struct waiter *w, const struct error *e);
    bool is_job;
    char name[VM_NAME_MAX];
    char *text;               /* owned; wiped: a token file's text */
    struct uuid token;
    int64_t until_ms; /* expiry of that token */
    struct join_request join; /* owned: TLS join */
};

/* The key of a proposal that was refused. */
struct resting {
    char key[CORE_KEY_MAX];
    int64_t until_ms;
};

/* Where a member's agent is reached, as its announcement said. */
struct peer {
    uint32_t nodeid;
    char name[NODE_NAME_MAX];
    char address[ADDRESS_MAX];
    uint16_t port;
};

/* A cluster.init or node.join that waits for the host's facts. */
struct deferred {
    char *text; /* cluster name, or token text; owned, wiped; NULL: nothing waits */
    uint64_t client; /* 0: gone */
    char verb[32];
    struct uuid request_id;
    int64_t deadline_ms;
};

struct core {
    const struct log_sink *log;
    char version[32];
    size_t message_max;
    uint64_t log_kept, lag_snapshot;
    struct prng prng;
    int64_t now_ms, wall_ms; /* of the event in hand */
    enum core_phase phase;
    struct identity identity;
    struct db *db;
    struct host_facts facts;
    bool has_facts;
    int64_t facts_at_ms;
    uint64_t next_id;

    struct core_action *actions;
    size_t n_actions, actions_cap, actions_head;
    struct pending *pending;
    size_t n_pending;
    struct waiter *waiters;
    size_t n_waiters;
    struct resting resting[CORE_RESTING];
    size_t next_resting;
    struct peer peers[DB_REPLICAS_MAX];
    size_t n_peers;
    struct deferred deferred;

    uint32_t group[DB_REPLICAS_MAX];
    size_t n_group;
    bool corosync_quorate;
    char *corosync_conf; /* as last handed to corosync; NULL: nothing yet */
    struct retry corosync_retry, facts_retry, fetch_retry, token_retry;
    struct progress progress; /* of migrations that leave other nodes, as they say */
    int64_t progress_at_ms;
    bool was_leader;
    char offline[DB_REPLICAS_MAX][NODE_NAME_MAX]; /* leader: members it reported as away */
    size_t n_offline;
    uint64_t seen_index; /* applied index at the last look of the rooms */
    int64_t step_at_ms;
    bool look; /* something changed: the rooms look again in this step */

    const struct quorum_view *quorum; /* while the leader looks */
    struct vm_local *vm_local;
    struct vm_leader *vm_leader;
    struct upgrade_leader *upgrade_leader;
};

/* core.c */
void core_wipe(char *secret); /* zeroes and frees; NULL is fine */
struct core_action *core_act(struct core *c, enum core_action_type type); /* zeroed, queued; fill it in */
struct core_action *core_act_for(struct core *c, enum core_action_type type, enum purpose p, struct pending **ret);
/* Takes payload and *w (may be NULL: nobody waits; its request_id nil: a random one). Dropped when a proposal with the
 * same key is under way. The waiter's done is called exactly once. */
void core_propose(struct core *c, enum entry_kind kind, struct buf *payload, struct waiter *w);
/* Answers all who wait: no outcome will come any more. */
void core_end_waiters(struct core *c, const struct error *e);
void core_propose_keyed(void *ctx, enum entry_kind kind, struct buf *payload, const char *key);
/* Ends a waiter that is in no list: its client is answered. */
void core_finish(struct core *c, struct waiter *w, const struct error *e);
void core_reply(struct core *c, uint64_t client, const char *verb, const struct uuid *id, const struct error *e,
                struct json *data);
char *core_peers_text(const struct core *c, const char *but); /* "address:port …" of all but one; owned */
void core_become_member(struct core *c, const struct identity *id, struct db_image *image, bool found);
const struct tables *core_tables(const struct core *c); /* NULL while unconfigured */
bool core_is_quorate(const struct core *c);
/* Of a VM's migration under way, wherever it leaves from: 0…100; -1: unknown, or none. */
int core_percent(const struct core *c, const char *vm, const struct uuid *op_id);
uint8_t core_level(const struct core *c);

/* core-steps.c */
int core_apply_entry(void *ctx, struct tables *t, const struct entry *e, struct apply_result *ret);
int core_check_tables(const struct tables *t, struct error *e); /* of a snapshot; struct db_machine */
void core_look(struct core *c); /* every room looks at the tables and does the next thing */
struct vm_view {
    struct vm_node nodes[DB_REPLICAS_MAX];
    char *machines[DB_REPLICAS_MAX]; /* owned: what nodes[].machines borrows */
    struct vm_nodes v;
};
/* c NULL: from the tables alone, as an apply function must (present is then false). What lies beyond the nodes that
 * there are is not written, in here and in node_views. */
void vm_view_build(struct vm_view *v, const struct core *c, const struct tables *t);
void vm_view_done(struct vm_view *v);
struct node_views {
    struct upgrade_node nodes[DB_REPLICAS_MAX];
    struct level_node levels[DB_REPLICAS_MAX];
    char executor[SETTING_VALUE_MAX];
    struct vm_view vms;
    struct upgrade_view v;
};
void node_views_build(struct node_views *n, struct core *c, bool with_vm_findings);
void node_views_done(struct node_views *n);
void core_step_vm_outcome(struct core *c, uint64_t id, const struct vm_outcome *o);
void core_step_hook_outcome(struct core *c, uint64_t id, const struct hook_outcome *o);

/* core-quorum.c */
void core_quorum_view(const struct core *c, struct quorum_view *ret);
void core_quorum_step(struct core *c, const struct quorum_view *v); /* leader */
struct json *core_quorum_json(const struct core *c); /* of `quorum show` */
enum cluster_vote core_quorum_vote(const struct quorum_view *v, const char *node);

/* request.c */
void request_deferred(struct core *c); /* facts came or time ran out */
void request_membership(struct core *c, const struct pending *p, const struct membership_outcome *m);
void request_token(struct core *c, const struct pending *p, const struct token_outcome *k);
void request_parsed(struct core *c, const struct pending *p, const struct vm_outcome *o);
