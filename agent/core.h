/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The agent's pure core: every decision of a node is made in core_step(), from events alone.
 *
 *            events                              actions
 *  cpg ─┐                                 ┌─> SEND on CPG, PERSIST
 *  timer├─> core_step(core, event) ───────┼─> REPLY to IPC, TLS_REPLY
 *  IPC ─┤     no I/O, no clock,           ├─> VM, HOOK, FACTS, TOKEN, ISSUE, FOUND, JOIN, FETCH, COROSYNC
 *  TLS ─┤     no globals, no random       └─> WITNESS, TASK, BACKUP, STOP
 *  done ┘             ^                             │
 *                     └── the outcome comes back as an event with the action's id ──┘
 *
 * agent/exec.c performs actions in the daemon, tests/sim in the simulator. An outcome whose id is no longer wanted is
 * dropped in core.c, in one place. Every action with an id gets exactly one outcome; a time-out is an outcome.
 *
 * Life of an agent:
 *        no identity                                identity on disk
 *   START ──────────> UNCONFIGURED ──init/join──> MEMBER ──own tombstone applied──> EVICTED
 *     └──────────────────────────────────────────────^
 */
#pragma once

#include "agent/db/db.h"
#include "agent/port.h"
#include "backup/job-port.h"
#include "task/port.h"
#include "upgrade/port.h"
#include "vm/port.h"
#include "witness/port.h"

struct json;

enum { CORE_TICK_MS = 50 };

enum core_event_type {
    EV_TICK = 1,
    EV_GROUP,       /* the CPG view changed: group */
    EV_RING,        /* corosync formed another ring: ring; in order with messages. seq 0: corosync was lost */
    EV_QUORUM,      /* corosync's own verdict changed: quorate, n_votes; error: why this is not its quorum device */
    EV_MESSAGE,     /* from CPG: from_nodeid, bytes */
    EV_PERSISTED,   /* seq */
    EV_REQUEST,     /* from a local client: client, request, access */
    EV_CLIENT_GONE, /* client */
    EV_TLS_JOIN,    /* a joining node: client, join */
    EV_TLS_FETCH,   /* a member wants a snapshot: client */
    EV_STOP,        /* this agent is to end: it says ACT_STOP when it may */
    EV_VM_CHANGED,  /* the hypervisor says that some domain changed: look again */
    /* Outcomes, by id. */
    EV_VM,        /* vm */
    EV_HOOK,      /* hook */
    EV_FACTS,     /* facts, error */
    EV_VITALS,    /* vitals */
    EV_TOKEN,     /* token */
    EV_ISSUED,    /* error (what was to be sent went out, or not) */
    EV_MEMBERSHIP, /* of FOUND and JOIN: membership */
    EV_FETCHED,   /* bytes, error */
    EV_COROSYNC,  /* error */
    EV_WITNESS,   /* witness */
    EV_WITNESS_ASKED, /* asked */
    EV_WATCHDOG,  /* error */
    EV_COPIED,    /* error */
    EV_TASK,      /* task */
    EV_BACKUP,    /* backup */
};

enum core_access { ACCESS_NONE = 0, ACCESS_READ = 1, ACCESS_ADMIN = 2 };

struct core_event {
    enum core_event_type type;
    int64_t now_ms;  /* monotonic */
    int64_t wall_ms; /* UTC; for times that go into entries and reports, never for decisions of consensus */
    uint64_t id;     /* outcomes */
    struct error error;
    const uint32_t *group; /* EV_GROUP; borrowed */
    size_t n_group;
    struct db_ring ring;
    bool quorate;
    uint32_t n_votes;
    bool wants_reload; /* EV_QUORUM: corosync's configuration is older than the file, and may be reloaded now */
    uint32_t from_nodeid;
    struct slice bytes; /* borrowed */
    uint64_t seq;
    uint64_t client; /* never 0, never reused within a run of the agent */
    const struct json *request;
    enum core_access access;
    uint32_t uid; /* of the client */
    const struct join_request *join;
    const struct vm_outcome *vm;
    const struct hook_outcome *hook;
    const struct host_facts *facts;
    const struct host_vitals *vitals;
    const struct token_outcome *token;
    const struct membership_outcome *membership;
    const struct db_witness_outcome *witness;
    const struct witness_asked *asked;
    const struct task_outcome *task;
    const struct backup_outcome *backup;
};
/* Events are borrowed by core_step: whoever made one frees what it points to. */

enum core_action_type {
    ACT_SEND = 1,  /* bytes: multicast on CPG */
    ACT_PERSIST,   /* batch: write in order; then EV_PERSISTED */
    ACT_REPLY,     /* client, json: the answer to EV_REQUEST */
    ACT_TLS_REPLY, /* client, bytes or error: the answer to EV_TLS_FETCH, and the refusal of EV_TLS_JOIN */
    ACT_ISSUE,     /* client, join (csr …), sealed_ca_key, text (corosync.conf), nodeid: sign and answer EV_TLS_JOIN */
    ACT_VM,        /* vm */
    ACT_HOOK,      /* hook */
    ACT_FACTS,     /* collect the host's facts */
    ACT_VITALS,    /* see how the host is; text: the executor to look at, or NULL */
    ACT_TOKEN,     /* node, address, peers (space separated address:port), valid_ms: make a join token */
    ACT_FOUND,     /* text: cluster name, text2: corosync.conf; make keys, CA, certificates, identity */
    ACT_JOIN,      /* text: the join token file's text: ask a member, install what it hands over */
    ACT_FETCH,     /* address, port: get a snapshot over TLS from that member */
    ACT_COROSYNC,  /* text, corosync_verb */
    ACT_CAST,      /* ring, cast: this node's vote as corosync's quorum device, until told otherwise or a new ring */
    ACT_WITNESS,   /* witness, site, sealed: read it, or write it if its etag is still that one; for the database */
    ACT_WITNESS_ASK, /* ask, site, sealed or text (credentials in clear): for all else, never for a decision */
    ACT_WATCHDOG,  /* watchdog: at once, not in a pool */
    ACT_COPY,      /* bytes, text: a file's name: keep them in the state folder, and only the newest few such files */
    ACT_TASK,      /* task: a cluster task's program on this host */
    ACT_BACKUP,    /* backup: a VM's worker on this host, or a repository */
    ACT_STOP,      /* error: the process ends; systemd restarts it unless permanent. Code 0: as EV_STOP wanted */
};

enum corosync_verb {
    COROSYNC_START = 1, /* write the file if it differs (text NULL: keep it), start the service if it is not running */
    COROSYNC_RELOAD,    /* the same, and if it was running have all of the ring reload the file (libcfg) */
    COROSYNC_STOP,
};

struct core_action {
    enum core_action_type type;
    uint64_t id;
    struct buf bytes;
    struct db_batch *batch;
    uint64_t client;
    struct json *json;
    struct error error;
    struct vm_call vm;
    struct hook_call hook;
    struct join_request join; /* ISSUE: owned copy */
    struct buf sealed_ca_key;
    uint32_t nodeid;
    char *text, *text2;
    char node[NODE_NAME_MAX];
    char address[ADDRESS_MAX];
    uint16_t port;
    char *peers;
    int64_t valid_ms;
    enum corosync_verb corosync;
    struct db_ring ring;
    bool cast;
    struct db_witness_call *witness; /* owned */
    struct witness_call *ask;        /* owned; its id is not looked at */
    struct witness_site *site;       /* owned; NULL: this node does not know yet where that witness is */
    struct buf sealed;               /* the credentials, under WITNESS_SEAL_NAME */
    struct watchdog_call watchdog;
    struct task_call *task;     /* owned */
    struct backup_call *backup; /* owned */
    bool permanent;
};
void core_action_done(struct core_action *a);

struct core_params {
    const struct identity *identity; /* NULL: unconfigured */
    struct db_image *image;          /* taken over; NULL when unconfigured */
    uint64_t seed;
    size_t message_max; /* of CPG */
    const struct log_sink *log; /* borrowed for the core's life */
    const char *version;
    int64_t now_ms, wall_ms;
    uint64_t log_kept, lag_snapshot; /* of struct db_params; 0 but in tests */
    bool has_watchdog;
    struct guard_note note; /* of an earlier agent of this boot; all zero: there was none */
};

struct core;
struct core *core_new(const struct core_params *params);
void core_free(struct core *c);

/* One step. Actions are then taken one by one, in order. */
void core_step(struct core *c, const struct core_event *ev);
bool core_take_action(struct core *c, struct core_action *ret);

/* A database copy (ACT_COPY) as the one batch that puts it in the place of `image`, on a node whose agent does not run;
 * the same has to be done on every node of the cluster. ERR_CONDITION: it is not for this replica; ERR_MALFORMED. */
int core_restore(const struct db_image *image, const struct identity *id, struct slice copy, struct db_batch **ret,
                 struct error *e);

/* For the executor and the simulator's invariants; borrowed. */
const struct db *core_db(const struct core *c); /* NULL while unconfigured */
const struct identity *core_identity(const struct core *c);
