/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The replicated database: Raft's rules with a CPG group as transport and failure detector (design: replicated
 * database, rules 1-5). Pure: no I/O, no clock, no randomness of its own. Times are monotonic milliseconds handed in.
 *
 *       db_tick  db_group  db_message  db_persisted  db_propose  db_snapshot_install  db_witness_done
 *                               │
 *                               v                     ┌─> SEND     multicast these bytes
 *                          struct db ── db_take_out ──┼─> PERSIST  write this batch, in order, then db_persisted(seq)
 *                               │                     ├─> FETCH    get a snapshot over TLS from that node
 *                               │                     ├─> APPLIED  a proposal of this node has its outcome
 *                               │                     ├─> WITNESS  read or write the witness, then db_witness_done()
 *                               v                     └─> FATAL    this node must stop
 *                        machine.apply()
 *
 * What must be on disk before a message may go out is kept back in here until db_persisted(): the executor may send
 * and write in any order it likes, as long as batches are written in theirs.
 *
 * Roles:            timeout / leader left           majority of votes
 *        follower ───────────────> candidate ─────────────────> leader
 *            ^   (pre-vote, then vote)  │                          │
 *            └──────────────────────────┴── higher term, lost majority, transfer
 */
#pragma once

#include "agent/db/port.h"
#include "common/entry.h"
#include "common/log.h"
#include "common/prng.h"

enum {
    DB_HEARTBEAT_MS = 300,
    /* Leader silent though in view; the time is drawn from min … min + spread, and is min without a rival. Above token
     * + consensus of three nodes (measured: 3.6 s): CPG carries nothing while the ring forms anew, and the loss of one
     * node shall not unseat a leader. Below what a node that fences lets pass before it ends its VMs (agent/guard.h):
     * an agent that hangs while it leads shall cost no other node its VMs. A leader that left the view is replaced at
     * once. */
    DB_ELECTION_MS_MIN = 4500,
    DB_ELECTION_SPREAD_MS = 1000,
    DB_TRANSFER_MS = 1500,   /* a successor that has not campaigned by then is given up */
    DB_CAMPAIGN_MS_MAX = 200,  /* leader not in view: campaign after 0 … max, drawn; at once without a rival */
    /* On one ring a verdict outlives its leader by this: all agents may start anew, elect one and arbitrate. No rival
     * can have a majority meanwhile, for it would need a node of this ring, and the ring would be another. */
    DB_VERDICT_KEEP_MS = 30000,
    DB_RETRY_MS = 1000,        /* a proposal is sent again until it is applied */
    DB_REQUESTS_KEPT = 10000,  /* outcomes by request id, replicated */
    DB_LOG_KEPT = 5000,        /* entries kept behind the applied index for followers that lag */
    DB_BATCH_BYTES_MAX = 512 * 1024,
    DB_WITNESS_BUDGET_MS = 20000, /* a candidate waits so long for its outcome */
    DB_LAG_SNAPSHOT = 2000, /* a follower further behind than this fetches a snapshot over TLS */
};

/* Arithmetic (votes.c). */
unsigned db_config_total(const struct db_config *c);
unsigned db_config_nodes(const struct db_config *c); /* without the witness */
bool db_config_is_quorum(const struct db_config *c, unsigned weight); /* strictly more than half of the total */
const struct db_replica *db_config_find(const struct db_config *c, const struct uuid *id); /* NULL: not in it */

/* Payloads of the entries that the database itself applies (ENTRY_REPLICA_*; layouts in entry.h). Semantic faults
 * (weight not 0 at a removal, an unknown replica, the last voter …) come back as the entry's outcome, without effect.
 */
void db_encode_replica_add(struct buf *b, const struct uuid *id, uint32_t nodeid);
void db_encode_replica_weight(struct buf *b, const struct uuid *id, uint8_t weight);
void db_encode_replica_remove(struct buf *b, const struct uuid *id);
void db_encode_witness_name(struct buf *b, const struct uuid *witness);
void db_encode_witness_weight(struct buf *b, const struct uuid *witness, uint8_t weight);

/* Applies one committed entry to the tables and fills *ret. 0, or ERR_UNKNOWN_KIND: this node must stop.
 * Not called for ENTRY_NOOP and ENTRY_REPLICA_*, nor twice for a request id; TABLE_REQUEST is the database's own. */
struct db_machine {
    int (*apply)(void *ctx, struct tables *t, const struct entry *e, struct apply_result *ret);
    void *ctx;
    /* May the tables of a snapshot be used: does every row decode? 0, or ERR_MALFORMED with the row in *e.
     * NULL: yes. */
    int (*check)(const struct tables *t, struct error *e);
};

struct db_params {
    struct uuid cluster;
    struct uuid self; /* this node's replica identity: never reused after its disk was lost */
    uint32_t nodeid;
    uint64_t seed;
    size_t message_max; /* largest CPG message */
    struct db_machine machine;
    const struct log_sink *log; /* borrowed; may be NULL */
    /* 0: DB_LOG_KEPT, DB_LAG_SNAPSHOT, DB_REQUESTS_KEPT. Smaller in tests; the last one must be the same on all nodes.
     */
    uint64_t log_kept, lag_snapshot;
    size_t requests_kept;
};

struct db;

/* image is taken over (may be NULL or empty: a new replica that waits for a leader). */
struct db *db_new(const struct db_params *params, struct db_image *image, int64_t now_ms);
void db_free(struct db *db);

/* Forms a new cluster: only on an empty database; the configuration is this replica with weight 1. */
int db_bootstrap(struct db *db, int64_t now_ms);

/* Inputs. */
void db_tick(struct db *db, int64_t now_ms);                                     /* at least every 50 ms */
void db_group(struct db *db, int64_t now_ms, const uint32_t *nodeids, size_t n); /* the CPG view, self included */
void db_message(struct db *db, int64_t now_ms, uint32_t from_nodeid, struct slice bytes); /* own ones too */
/* The ring changed: told in order with the messages of CPG, before any that was sent on it. seq 0: there is none. */
void db_ring(struct db *db, int64_t now_ms, struct db_ring ring);
void db_persisted(struct db *db, int64_t now_ms, uint64_t seq);

/* The outcome of a WITNESS call; one that is no longer wanted is dropped by its id. */
void db_witness_done(struct db *db, int64_t now_ms, const struct db_witness_outcome *o);
/* A candidate goes for the witness this much later: its partition is not of the preferred site. 0 at first. */
void db_set_witness_delay(struct db *db, int64_t delay_ms);

/* Proposes an entry from any node: it is forwarded to the leader and sent again until its outcome is applied here or
 * the deadline passes (outcome unknown: ERR_TIMEOUT, or ERR_NO_QUORUM when there was no leader). The outcome comes as
 * DB_APPLIED with this request id. payload is copied. ERR_TOO_BIG above ENTRY_SIZE_MAX. A request id that was applied
 * already answers at once with the kept outcome. */
int db_propose(struct db *db, int64_t now_ms, const struct entry *e, int64_t deadline_ms);
bool db_is_pending(const struct db *db, const struct uuid *request_id);
/* What was applied under that request id; false: nothing, or it is kept no longer. */
bool db_outcome(const struct db *db, const struct uuid *request_id, struct apply_result *ret);

/* Forcing quorum (force.c): this node alone votes from now on, until it gives votes to others by the usual rules. e is
 * an ENTRY_FORCE of db_encode_force(); its outcome comes as of db_propose(). ERR_CONDITION: no member, or its tables
 * are not to be trusted; ERR_AGAIN: there is a quorum. */
int db_force(struct db *db, int64_t now_ms, const struct entry *e, int64_t deadline_ms);
void db_encode_force(struct buf *b, const struct uuid *self, const char *node, const char *by);
/* From here on this node only joins: it neither campaigns nor votes, until it has joined a leader that has a majority.
 * ERR_AGAIN: it has. Persistent: sent to the disk at once. */
int db_prevent(struct db *db, int64_t now_ms, bool on);

/* Hands leadership to a caught-up voter (leader only). ERR_AGAIN: none is ready, or a transfer is under way. */
int db_transfer(struct db *db, int64_t now_ms);

/* Snapshots: the bytes are served over TLS by a node that db_can_serve(): a leader that hears a majority. It need not
 * have committed an entry of its own term (db_is_leader): the follower may be the one that it needs for that. */
bool db_can_serve(const struct db *db);
void db_snapshot_encode(const struct db *db, struct buf *b);
/* The same of tables as the entry of that index and term leaves them, while it is being applied. */
void db_snapshot_encode_at(const struct db *db, const struct tables *t, uint64_t index, uint64_t term, struct buf *b);
/* A snapshot's bytes as the batch that replaces all that `image` holds: put back on every replica while none of them
 * runs, not sent by a leader. The term goes on, so that no vote is given twice. check and edit may be NULL; edit must
 * do the same everywhere. ERR_MALFORMED, or ERR_CONDITION: it is not for this replica. */
int db_restore_batch(const struct db_image *image, const struct uuid *cluster, const struct uuid *self,
                     struct slice bytes, int (*check)(const struct tables *t, struct error *e),
                     void (*edit)(struct tables *t), struct db_batch **ret, struct error *e);
/* ERR_MALFORMED, or ERR_AGAIN when it is older than what is here. */
int db_snapshot_install(struct db *db, int64_t now_ms, struct slice bytes);
void db_fetch_failed(struct db *db, int64_t now_ms); /* ask again later */

/* Outputs, in order. */
enum db_out_type { DB_SEND = 1, DB_PERSIST, DB_FETCH, DB_APPLIED, DB_FATAL, DB_WITNESS };
struct db_out {
    enum db_out_type type;
    struct buf bytes;           /* SEND; owned */
    struct db_batch *batch;     /* PERSIST; owned */
    uint32_t from_nodeid;       /* FETCH */
    struct db_witness_call *call; /* WITNESS; owned */
    struct uuid request_id;     /* APPLIED */
    struct apply_result result; /* APPLIED: result or ERR_TIMEOUT/ERR_NO_QUORUM; FATAL: why */
};
/* The next output; false: none. The caller owns what it got: db_out_done(). */
bool db_take_out(struct db *db, struct db_out *ret);
void db_out_done(struct db_out *o);

/* State. Borrowed, valid until the next input. */
const struct tables *db_tables(const struct db *db);
const struct db_config *db_configuration(const struct db *db); /* the newest in the log: in force on append */
bool db_config_settled(const struct db *db); /* the newest is committed, and an entry of the leader's own term is */
bool db_is_leader(const struct db *db);      /* and has committed an entry of its own term */
bool db_leader(const struct db *db, struct db_replica *ret); /* false: none known */
/* A leader that heard a majority, or a follower that heard such a leader, within an election time-out. */
bool db_is_quorate(const struct db *db, int64_t now_ms);
/* … and what is applied here is all that this leader said is committed, up to an entry of its own term: what the tables
 * say is not of some earlier time. */
bool db_is_current(const struct db *db, int64_t now_ms);
/* The verdict, in a word for every client of corosync: is the partition that this ring is the one that lives? verdict.c
 * says when. *ret_ring: the ring that it is about; seq 0: there is none. */
enum db_verdict_state {
    DB_VERDICT_OPEN, /* nothing was heard on this ring yet: what held on this very ring before a restart holds on */
    DB_VERDICT_YES,
    DB_VERDICT_NO, /* for DB_VERDICT_KEEP_MS nothing was heard that would say yes */
};
bool db_ring_eq(struct db_ring a, struct db_ring b); /* false where there is none */
enum db_verdict_state db_verdict(const struct db *db, struct db_ring *ret_ring);
/* Leader: are the replicas for which has() holds a quorum? The witness counts as it does for a commit by them. */
typedef bool db_has_fn(void *ctx, const struct uuid *replica);
bool db_is_quorum_if(const struct db *db, db_has_fn *has, void *ctx);
uint64_t db_term(const struct db *db);
uint64_t db_commit_index(const struct db *db);
uint64_t db_applied_index(const struct db *db);
uint64_t db_last_index(const struct db *db);

struct db_progress {
    bool present;   /* in the CPG view, and its hello named this replica */
    bool caught_up_lately; /* a leader that commits alone is always a moment ahead; leader only */
    bool caught_up; /* acknowledged >= max(commit index, the leader's first index of its own term); leader only */
    uint64_t match; /* leader only */
    int64_t silent_ms; /* since it acknowledged anything; leader only */
};
struct db_progress db_replica_progress(const struct db *db, const struct uuid *id);
/* What this node knows of the witness. */
struct db_witness_view {
    bool is_known;   /* leader: the tag carries its term and it, so the witness may count */
    bool is_doubted; /* leader: a write of it may land yet, or have landed */
    bool is_current; /* leader: is_known, not is_doubted, and its members are the live, caught-up voters */
    bool is_reachable; /* the last call had an answer of the witness */
    struct db_tag tag; /* as last read or written; sequence 0: never */
    uint64_t seen;     /* the highest sequence that any node was heard to have seen */
    uint64_t refused_term; /* the tag is of other nodes, which went on without this one; 0: not that it knew */
    char trouble[DB_WITNESS_TEXT_MAX]; /* why it does not vote for this node; "": nothing is known to be wrong */
};
void db_witness(const struct db *db, struct db_witness_view *ret);

/* A later epoch was heard of, from a node that is here or from the witness: this node keeps still, and takes the state
 * of that epoch's leader. */
bool db_is_behind(const struct db *db);
bool db_is_prevented(const struct db *db);
bool db_is_prevention_durable(const struct db *db); /* what db_is_prevented() says is on disk */
/* A replica that is here and said that its log reaches further than this node's; false: none did. */
bool db_longer_log(const struct db *db, struct db_replica *ret);

/* The replica that runs on nodeid as its hello said; false: not heard of. */
bool db_replica_at(const struct db *db, uint32_t nodeid, struct uuid *ret);

/* For the simulator's invariants: entry at index if it is in the log. */
const struct entry *db_entry_at(const struct db *db, uint64_t index);
