/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of the core: shared by core.c (routing), core-steps.c (what the rooms are told and asked), request.c and
 * status.c only. */
#pragma once

#include "agent/cluster.h"
#include "agent/core.h"
#include "agent/guard.h"
#include "agent/lease.h"
#include "agent/progress.h"
#include "agent/retry.h"
#include "agent/vitals.h"
#include "backup/job.h"
#include "common/json.h"
#include "common/proto.h"
#include "task/task.h"
#include "upgrade/level.h"
#include "upgrade/run.h"
#include "vm/outlook.h"
#include "vm/vm.h"
#include "witness/quorum.h"
#include "witness/site.h"

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
    FOR_VITALS,
    FOR_MEMBERSHIP, /* client waits */
    FOR_TOKEN,      /* client waits; name = node */
    FOR_OP_TOKEN,   /* name = node, op_id */
    FOR_PARSE,      /* client waits; name = node of vm add */
    FOR_VERSION,    /* client waits; name = VM; address = the machine type that it has */
    FOR_VM,         /* vm_local's call */
    FOR_HOOK,       /* upgrade_leader's call */
    FOR_LOCAL_HOOK, /* upgrade_local's call */
    FOR_ISSUE,
    FOR_FETCH,
    FOR_COROSYNC,
    FOR_WITNESS, /* db_call */
    FOR_WITNESS_PROBE,
    FOR_WITNESS_TEST, /* client waits */
    FOR_WITNESS_SET,  /* struct core_witness says who waits */
    FOR_WATCHDOG,     /* the last verb */
    FOR_FENCE,        /* guard_leader's call */
    FOR_COPY,         /* db_call = the copy's index */
    FOR_TASK,         /* task_local's call */
    FOR_BACKUP,       /* backup_local's call */
    FOR_REPOSITORY,   /* client waits; name, path */
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
    uint64_t db_call; /* FOR_WITNESS: the database's own id; FOR_COPY */
    char path[REPOSITORY_PATH_MAX];
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

/* A `witness set` under way: make the record, or find it there, then name it. */
struct witness_setting {
    bool is_active;
    uint64_t client; /* 0: gone */
    char verb[32];
    struct uuid request_id;
    struct uuid uuid; /* of the record that is made */
    struct witness_site site;
    struct buf sealed; /* the credentials */
};

/* What this node knows of the wanted witness by asking it now and then; nothing is decided by it. */
struct core_witness {
    struct uuid of; /* whom the rest is about */
    int64_t due_ms; /* of the next probe */
    bool is_asking, is_stale, was_asked; /* is_stale: what is asked now is about another one */
    int64_t asked_wall_ms, seen_wall_ms; /* the last answer, the last good one; 0: none yet */
    struct witness_result last;
    uint64_t sequence; /* the highest seen by asking */
    struct witness_setting set;
};

/* A quorum.prevent that waits for the disk. */
struct prevent {
    uint64_t client; /* 0: none, or gone */
    char verb[32];
    struct uuid request_id;
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
    struct prevent prevent;

    struct db_ring ring;
    int64_t met_ms, ring_ms;         /* when this agent saw its first ring, 0: not yet; and this one */
    uint32_t heard[DB_REPLICAS_MAX]; /* nodeids that have spoken in this ring, this node's own among them */
    size_t n_heard;
    uint32_t group[DB_REPLICAS_MAX];
    size_t n_group;
    bool corosync_quorate;
    struct error device; /* why the agent is not corosync's quorum device; no code: it is, as far as is known */
    struct db_ring told_ring; /* ACT_CAST, as last told */
    bool told_cast;
    size_t ring_nodes; /* in corosync's ring; their agents may be fewer */
    char *corosync_conf; /* as last handed to corosync; NULL: nothing yet */
    bool had_corosync;   /* … and it has had one, or could not take it */
    struct retry corosync_retry, facts_retry, fetch_retry, token_retry;
    struct progress progress; /* of migrations that leave other nodes, as they say */
    int64_t progress_at_ms;
    struct vitals vitals;
    int64_t vitals_at_ms; /* when this node looks at itself again */
    char vitals_executor[SETTING_VALUE_MAX]; /* as last looked at */
    bool was_leader;
    char offline[DB_REPLICAS_MAX][NODE_NAME_MAX]; /* leader: members it reported as away */
    size_t n_offline;
    uint64_t seen_index; /* applied index at the last look of the rooms */
    int64_t step_at_ms;
    bool look; /* something changed: the rooms look again in this step */

    struct core_witness witness;
    const struct quorum_view *quorum; /* while the leader looks */
    struct node_views *views;         /* the look's; large, so it is kept, and mostly unused */
    struct core_tally *tally;         /* the last one (core-steps.c) */
    struct vm_local *vm_local;
    struct vm_leader *vm_leader;
    struct upgrade_leader *upgrade_leader;
    struct upgrade_local *upgrade_local;
    struct vm_failover *vm_failover;

    struct lease lease;
    struct guard_self guard;
    struct guard_leader *guard_leader;
    struct task_leader *task_leader;
    struct task_local *task_local;
    struct backup_leader *backup_leader;
    struct backup_local *backup_local;
    struct level_copy copy;
    struct buf copy_bytes; /* taken by an apply function, not on the disk yet */
    uint64_t copy_of;      /* its index; 0: none */
    bool is_stopping; /* EV_STOP came */
    bool has_stopped;
};

/* core.c */
void core_wipe(char *secret); /* zeroes and frees; NULL is fine */
struct core_action *core_act(struct core *c, enum core_action_type type); /* zeroed, queued; fill it in */
struct core_action *core_act_for(struct core *c, enum core_action_type type, enum purpose p, struct pending **ret);
/* Takes payload and *w (may be NULL: nobody waits; its request_id nil: a random one). Dropped when a proposal with the
 * same key is under way. The waiter's done is called exactly once. */
void core_propose(struct core *c, enum entry_kind kind, struct buf *payload, struct waiter *w);
/* Forces quorum with that payload; *w is taken when it is 0, else it is an error of db_force(). */
int core_force(struct core *c, const struct buf *payload, struct waiter *w);
/* Answers all who wait: no outcome will come any more. */
void core_end_waiters(struct core *c, const struct error *e);
void core_send_lease(struct core *c, struct slice body);
void core_send_vitals(struct core *c, struct slice body);
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
    char level_machine[VM_MACHINE_MAX]; /* c NULL: "" */
    struct vm_nodes v;
};
/* c NULL: from the tables alone, as an apply function must (present is then false). What lies beyond the nodes that
 * there are is not written, in here and in node_views. */
void vm_view_build(struct vm_view *v, const struct core *c, const struct tables *t);
void vm_view_done(struct vm_view *v);
void core_vm_limits(const struct tables *t, struct vm_limits *ret);
struct core_tally {
    struct hash of; /* the tables */
    size_t n;
    uint8_t flags[DB_REPLICAS_MAX];
    uint32_t ops;
    struct vm_tally nodes[DB_REPLICAS_MAX];
};
struct node_views {
    struct upgrade_node nodes[DB_REPLICAS_MAX];
    struct level_node levels[DB_REPLICAS_MAX];
    char executor[SETTING_VALUE_MAX];
    struct vm_view vms;
    const struct tables *t;
    struct vm_outlook *outlook;       /* NULL: not for a check */
    struct upgrade_machine *machines; /* owned */
    struct upgrade_view v;
};
void node_views_build(struct node_views *n, struct core *c, bool for_check); /* for_check: all that a check asks for */
void node_views_done(struct node_views *n);
void node_views_scan(struct node_views *n, const struct tables *t); /* fills levels[].lacks; looks at every VM */
void core_step_vm_outcome(struct core *c, uint64_t id, const struct vm_outcome *o);
void core_step_hook_outcome(struct core *c, uint64_t id, const struct hook_outcome *o);
void core_step_local_hook_outcome(struct core *c, uint64_t id, const struct hook_outcome *o);

/* core-copy.c */
void core_copy_encode(const struct db *db, const struct tables *t, const struct entry *e, struct buf *ret);
void core_copy_take(struct core *c, const struct tables *t, const struct entry *e);
void core_copy_step(struct core *c);
void core_copy_ended(struct core *c, const struct pending *p, const struct error *e);

/* core-tasks.c */
void core_task_apply(struct tables *t, const struct entry *e, struct apply_result *ret);
void core_task_look(struct core *c); /* this node's runs */
void core_task_lead(struct core *c, const struct node_views *v);
void core_task_outcome(struct core *c, uint64_t id, const struct task_outcome *o);
void core_task_evicted(struct core *c);
/* Fenced, booted anew, or no member any more. ctx: the tables. */
bool core_is_over(void *ctx, const char *node, const char *boot_id);

/* core-backups.c */
void core_backup_apply(struct tables *t, const struct entry *e, struct apply_result *ret);
bool core_backup_holds(const void *ctx, const char *vm, const char *boot_id); /* ctx: the tables */
bool core_backup_row_is_good(const struct table_row *row);
void core_backup_look(struct core *c, const struct node_views *v); /* this node's runs */
void core_backup_lead(struct core *c, const struct node_views *v);
void core_backup_outcome(struct core *c, uint64_t id, const struct backup_outcome *o);
void core_backup_evicted(struct core *c);

/* core-quorum.c */
void core_quorum_view(const struct core *c, struct quorum_view *ret);
void core_quorum_step(struct core *c, const struct quorum_view *v); /* leader */
struct json *core_quorum_json(const struct core *c); /* of `quorum show` */
enum cluster_vote core_quorum_vote(const struct quorum_view *v, const char *node);

/* core-witness.c */
void core_witness_done(struct core_witness *w);
void core_witness_place(const struct core *c, const struct uuid *uuid, struct core_action *a); /* site, sealed */
void core_witness_step(struct core *c, bool leads);
void core_witness_asked(struct core *c, const struct pending *p, const struct witness_asked *asked);
/* Begins; credentials in clear ("": none) are copied. Answered later. */
void core_witness_set(struct core *c, const struct witness_setting *s, const char *credentials);
void core_witness_test(struct core *c, uint64_t client, const char *verb, const struct uuid *request_id);
uint64_t core_witness_sequence(const struct core *c);      /* the highest that this node heard of; 0: none */
/* Why it does not vote for this node, where that counts now. */
bool core_witness_trouble(const struct core *c, char ret[DB_WITNESS_TEXT_MAX]);
struct json *core_witness_json(const struct core *c);      /* of `status`; null: there is none */
struct json *core_witness_show_json(const struct core *c); /* of `witness show` */
/* core-fence.c */
void core_fence_member(struct core *c); /* the node has an identity: its lease begins */
void core_fence_tick(struct core *c);   /* lease, watchdog */
void core_fence_look(struct core *c);   /* this node's promise */
void core_fence_lead(struct core *c, const struct node_views *v);
void core_fence_take_watchdog(struct core *c, const struct pending *p, const struct error *e);
void core_fence_take_command(struct core *c, uint64_t id, const struct hook_outcome *o);
void core_fence_stop(struct core *c);
void core_fence_heard(struct core *c, uint32_t nodeid, struct slice body);
void core_fence_apply(struct tables *t, const struct entry *e, struct apply_result *ret);
struct vm_self core_fence_self(const struct core *c); /* what this node may do with VMs now */
struct json *core_fence_json(const struct core *c, const char *node); /* of a node; null: it said nothing yet */
struct json *core_fence_self_json(const struct core *c);

/* core-vitals.c */
void core_vitals_look(struct core *c);
void core_vitals_take(struct core *c, const struct host_vitals *v);
void core_vitals_group(struct core *c); /* the view changed */
void core_vitals_heard(struct core *c, uint32_t nodeid, struct slice body);

/* request.c */
void request_prevented(struct core *c); /* once it is on disk */
void request_deferred(struct core *c); /* facts came or time ran out */
void request_membership(struct core *c, const struct pending *p, const struct membership_outcome *m);
void request_token(struct core *c, const struct pending *p, const struct token_outcome *k);
void request_parsed(struct core *c, const struct pending *p, const struct vm_outcome *o);
void request_versioned(struct core *c, const struct pending *p, const struct vm_outcome *o);
void request_repository(struct core *c, const struct pending *p, const struct backup_outcome *o);
