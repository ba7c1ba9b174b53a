/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of agent/db share. One idea per file:
 *
 *   db.c        inputs and outputs, queries          election.c   pre-vote, vote, transfer, stepping down
 *   log.c       the log in memory                    replicate.c  append, acknowledge, commit
 *   votes.c     the arithmetic, the configuration    apply.c      committed entries into the tables, compaction
 *   message.c   the codec of every message           propose.c    proposals of this node and of others
 *   persist.c   batches, what is durable             snapshot.c   offer, install, quarantine
 *   requests.c  kept outcomes                        witness.c    the voter without a log
 *   verdict.c   whether this ring's partition lives
 *   force.c     epochs, prevention
 *
 * Roles and allowed moves (election.c is the only file that assigns db->role):
 *
 *   from \ to      FOLLOWER                        PRECANDIDATE        CANDIDATE            LEADER
 *   FOLLOWER       -                               timer               TIMEOUT_NOW          -
 *   PRECANDIDATE   append, refused, higher term    timer               majority of yes      -
 *   CANDIDATE      append, refused, higher term    timer               -                    majority of durable votes
 *   LEADER         higher term, lost majority,     -                   -                    -
 *                  own eviction committed
 *
 * Invariants (asserted, or checked by tests/sim after every step):
 *   I1  term never falls, commit never within an epoch; voted_for changes within a term only from nil.
 *   I2  base_index <= applied <= commit <= last (applied is 0 while quarantined).
 *   I3  an entry at or below commit is never truncated, but by a snapshot of a later epoch.
 *   I4  durable.last <= last, and entries up to durable.last are on disk as they stand in memory.
 *   I5  a vote leaves only when durable.{term, voted_for} hold it; an acknowledgement never exceeds durable.last;
 *       the leader's own match is durable.last. Nothing is queued to wait: what may be said is derived from `durable`.
 *   I6  at most one configuration entry lies above commit, except the two of the bootstrap, and a forced one, which
 *       sets all weights whatever they were.
 *   I7  a write to the witness leaves only when durable.{term, voted_for} name this node's own candidacy. */
#pragma once

#include <assert.h>

#include "agent/db/db.h"

enum {
    DB_VIEW_MAX = 128,       /* members of a CPG group */
    DB_PENDING_MAX = 8192,   /* proposals of this node without outcome */
    DB_HASHES_KEPT = 64,     /* state hashes of the last applied indexes */
    DB_LAZY_MS = 1000,       /* applied rows reach the disk after this at the latest … */
    DB_LAZY_ENTRIES = 2000,  /* … or after so many entries; a lost tail is replayed from the log */
    DB_PREVOTE_MS = 500,     /* a pre-vote round: no disk is involved */
    DB_LATELY_MS = 1000,     /* who was caught up then counts as being so in what is decided of its vote */
    DB_OFFER_MS = 1000,      /* a snapshot is offered, or asked for, again */
    DB_CHUNKS_MAX = 16,      /* messages of one round of repair */
    DB_CONFIG_AGAIN_MS = 50, /* a configuration entry must wait for the previous one */
    DB_WITNESS_QUIET_MS = 1500,    /* a member that was not heard, or holds a commit up, for so long is dropped */
    DB_WITNESS_FRESH_MS = 2000,    /* what a candidate-to-be has read says so long whether it would be granted */
    DB_WITNESS_PATIENCE_MS = 300,  /* nodes of the view that have not answered are given this long before */
    DB_LAST_RESORT_MS = 2 * DB_ELECTION_MS_MIN,
    DB_WITNESS_AGAIN_MS = 300,     /* after a call that failed … */
    DB_WITNESS_AGAIN_MS_MAX = 3000, /* … doubled up to this */
};

/* ---- log.c: entries base_index+1 … base_index+n, contiguous --------------------------------------------------- */

struct db_log {
    struct entry *e; /* owned, payloads too */
    size_t n, cap;
    uint64_t base_index, base_term;
};
void db_log_done(struct db_log *l);
uint64_t db_log_last(const struct db_log *l);
uint64_t db_log_last_term(const struct db_log *l);
/* NULL: not in the log (any more, or yet). Borrowed until the log changes. */
const struct entry *db_log_at(const struct db_log *l, uint64_t index);
/* False: unknown here. Index base_index is known by its term alone. */
bool db_log_term(const struct db_log *l, uint64_t index, uint64_t *ret);
void db_log_append(struct db_log *l, const struct entry *e);        /* copies the payload; e->index must be the next */
void db_log_truncate(struct db_log *l, uint64_t from);              /* removes entries with index >= from */
void db_log_compact(struct db_log *l, uint64_t to);                 /* forgets entries up to and with `to` */
void db_log_reset(struct db_log *l, uint64_t index, uint64_t term); /* empty, base at index */
bool db_log_has_request(const struct db_log *l, uint64_t after, const struct uuid *id);
struct entry db_entry_copy(const struct entry *e); /* the payload is copied: entry_free_payload */
void db_entry_done(struct entry *e);

/* ---- message.c ------------------------------------------------------------------------------------------------- */

enum db_msg_type {
    DB_MSG_HELLO = 1, /* on each view change: which replica runs on this node */
    DB_MSG_PREVOTE,   /* would you vote for me? Changes nothing at the voter */
    DB_MSG_PREVOTE_REPLY,
    DB_MSG_VOTE,
    DB_MSG_VOTE_REPLY,
    DB_MSG_APPEND, /* entries or none (heartbeat); to nil: for all followers */
    DB_MSG_ACK,
    DB_MSG_PROPOSE,     /* entries without index and term, for whoever leads */
    DB_MSG_OFFER,       /* come and get a snapshot */
    DB_MSG_TIMEOUT_NOW, /* leadership transfer: campaign at once */
    DB_MSG_TYPE_MAX = DB_MSG_TIMEOUT_NOW,
};

struct db_msg {
    enum db_msg_type type;
    struct uuid cluster, from, to; /* to nil: everyone */
    uint64_t term;
    bool yes; /* HELLO: leads; VOTE: transfer; replies: granted; APPEND: quorate; ACK: false = refused */
    uint64_t index, index_term; /* HELLO, votes: last entry; APPEND: the entry before; OFFER: snapshot */
    uint64_t commit;            /* APPEND */
    uint64_t match, verified;   /* ACK: durable, in memory (refused: where to go on) */
    uint64_t hash_index;        /* APPEND: 0 = no hash */
    struct hash hash;
    struct uuid witness;       /* APPEND: of this witness … */
    uint64_t witness_sequence; /* … the highest sequence that the leader saw */
    struct db_ring ring;       /* APPEND: the leader heard a majority on it. ACK, VOTE_REPLY: what the sender is on */
    struct entry *entries;     /* APPEND, PROPOSE; the array is owned, payloads are borrowed from the message */
    size_t n_entries;
};
size_t db_msg_entry_size(const struct entry *e); /* what one entry adds to a message */
enum { DB_MSG_OVERHEAD = 256 };                  /* more than any message without its entries */
void db_msg_encode(const struct db_msg *m, struct buf *b);
/* To everyone or to id; appends to others too: they show that the leader lives. False if it does not parse. */
bool db_msg_is_for(struct slice bytes, const struct uuid *id);
int db_msg_decode(struct slice bytes, struct db_msg *ret); /* 0 or ERR_MALFORMED */
void db_msg_done(struct db_msg *m);

/* ---- requests.c: the last outcomes by request id, in the order in which they were applied ---------------------- */

struct db_requests {
    struct uuid *ring; /* a view of TABLE_REQUEST ordered by index; rebuilt from it */
    size_t head, n, kept;
};
void db_requests_init(struct db_requests *r, size_t kept);
void db_requests_done(struct db_requests *r);
void db_requests_load(struct db_requests *r, const struct tables *t);
bool db_requests_get(const struct tables *t, const struct uuid *id, struct apply_result *ret);
void db_requests_put(struct db_requests *r, struct tables *t, uint64_t index, const struct uuid *id,
                     const struct apply_result *result);

/* ---- the state ------------------------------------------------------------------------------------------------- */

enum db_role { DB_FOLLOWER, DB_PRECANDIDATE, DB_CANDIDATE, DB_LEADER };

/* One per replica of the configuration in force, in its order. */
struct db_peer {
    struct uuid id;
    enum { DB_VOTE_NONE, DB_VOTE_YES, DB_VOTE_NO } vote;
    bool is_equal; /* candidate: its durable log was this node's when it voted */
    struct db_ring ring; /* on which it last voted for, or acknowledged, this node in this term */
    uint64_t match; /* durable there; leader only, as all below */
    int64_t heard_ms;
    bool repairing;                /* behind what was multicast: gets chunks of its own */
    uint64_t sent_from, sent_upto; /* what its last chunks held */
    int64_t sent_ms, offered_ms;
    int64_t level_ms; /* when it was last caught up; 0: not in this term */
};

/* witness.c; its opening comment says the rules. */
struct db_witness {
    struct uuid of; /* the witness that the rest is about */
    /* Persisted: */
    struct uuid seen_of;
    uint64_t seen;
    /* As last read or written; no etag: it must be read (again). */
    struct db_tag tag;
    char etag[DB_ETAG_MAX];
    int64_t read_ms;
    bool is_known; /* tag is of this node's candidacy in this term, seen by its own nonce */
    /* Of the newest write of this term, while its outcome is open. */
    bool is_sent;
    bool is_doubted; /* an attempt of it had no clear outcome */
    struct db_tag next;
    char next_etag[DB_ETAG_MAX];
    /* The call under way. */
    uint64_t call, last_call;
    enum db_witness_verb verb;
    int64_t again_ms, pause_ms;
    int64_t asked_ms, budget_ms; /* candidate: it asked for votes; this candidacy waits no longer for the witness */
    int64_t view_ms, delay_ms;   /* of the newest view; how long after it the witness is left to others */
    uint64_t commit;             /* leader: has been … */
    int64_t commit_ms;           /* … since then */
    bool is_reachable;
    uint64_t refused_term;
    char trouble[DB_WITNESS_TEXT_MAX];
};

/* verdict.c */
struct db_verdict {
    struct db_ring ring; /* the newest */
    enum db_verdict_state state; /* of it */
    bool is_said;      /* leader: a majority was heard on it in this term */
    int64_t kept_ms;   /* the last time that the verdict was known to stand */
};

struct db_pending {
    struct entry e; /* owned */
    int64_t deadline_ms, send_ms;
};

struct db {
    struct db_params p;
    struct prng prng;
    int64_t now;  /* of the newest input */
    bool stopped; /* FATAL was said */

    /* Persisted, as it stands in memory. */
    uint64_t term;
    struct uuid voted_for;
    struct db_log log;
    uint64_t commit, commit_hint;
    uint64_t applied;
    struct tables *tables;
    struct db_config base_config;    /* at log.base_index */
    struct db_config applied_config; /* at applied (at commit while quarantined) */
    struct db_config config;         /* in force: the newest in the log */
    uint64_t config_index;           /* of its entry; base_index if that is no longer in the log */
    struct db_requests requests;

    /* persist.c: the disk. */
    struct db_durable {
        uint64_t seq, term;
        struct uuid voted_for;
        uint64_t last; /* entries up to here are on disk as in memory */
        bool is_prevented;
    } durable, flight; /* flight.seq 0: no batch is being written */
    uint64_t seq_last;
    bool meta_dirty, replace;
    uint64_t dirty_from; /* entries from here differ from what was handed to the store; UINT64_MAX: none */
    uint64_t stored_last, stored_applied;
    int64_t lazy_since_ms; /* of the oldest applied entry that was not handed to the store; 0: none */

    /* election.c */
    enum db_role role;
    bool leader_known;
    struct uuid leader;
    uint32_t leader_nodeid;
    int64_t leader_heard_ms;
    bool leader_quorate;
    uint64_t told_commit; /* by the leader, last */
    int64_t campaign_ms; /* the timer of a follower; the end of the round of a candidate */
    bool vote_sent;      /* candidate: its own vote is durable and the request is out */
    bool grant_due;      /* a granted vote waits for the disk */
    bool transfer;       /* candidate: the leader asked for it. leader: hands over to transfer_to */
    struct uuid transfer_to;
    bool transfer_sent;
    int64_t transfer_end_ms;

    struct db_witness w;
    struct db_verdict verdict;

    /* replicate.c */
    struct db_peer peers[DB_REPLICAS_MAX]; /* parallel to config.replicas */
    uint64_t first_index;                  /* leader: its no-op */
    uint64_t cast_next;                    /* leader: the next entry to multicast */
    uint64_t cast_commit;                  /* leader: the commit index last multicast */
    uint64_t returned;                     /* leader: the group delivered its appends up to this index here, too */
    int64_t heartbeat_ms;                  /* leader: when the next one is due */
    uint64_t verified;                     /* follower: the log equals the leader's up to here; of this term */
    uint64_t acked;                        /* follower: last acknowledged in this term */

    /* apply.c, snapshot.c */
    struct db_hash_at {
        uint64_t index;
        struct hash hash;
    } hashes[DB_HASHES_KEPT], expected;
    bool quarantined; /* the tables are not to be trusted: neither applied to nor served */
    bool fetching;
    int64_t fetch_again_ms;

    struct db_pending *pending;
    size_t n_pending, cap_pending;

    bool is_prevented;

    uint32_t copy_nodeid; /* the last that was said to be a copy; 0: none */
    uint32_t view[DB_VIEW_MAX];
    size_t n_view;
    struct db_seen {
        uint32_t nodeid;
        struct uuid id;
        uint64_t term;              /* the highest that it said */
        uint64_t index, index_term; /* of its last entry, as it last said */
    } seen[DB_VIEW_MAX];
    size_t n_seen;

    struct db_out *out;
    size_t out_head, out_n, out_cap;
};

/* db.c */
struct db_out *db_out_push(struct db *db, enum db_out_type type);
void db_send(struct db *db, struct db_msg *m); /* fills cluster, from, term */
bool db_in_view(const struct db *db, uint32_t nodeid);

/* votes.c */
int db_config_apply(struct db_config *c, const struct entry *e,
                    struct error *ret); /* its outcome; no effect on error */
bool db_is_config_kind(uint16_t kind);
void db_config_encode(const struct db_config *c, struct buf *b);
void db_config_decode(struct wire_reader *r, struct db_config *ret); /* faults show in the reader */
void db_config_reload(struct db *db);                                /* config, config_index, peers from the log */
void db_peers_sync(struct db *db);
struct db_peer *db_peer_find(struct db *db, const struct uuid *id);
bool db_votes_won(const struct db *db);
bool db_votes_need_witness(const struct db *db); /* with its vote they would win, and without it they do not */
bool db_votes_lost(const struct db *db);        /* a majority can no longer be reached */
bool db_votes_on_ring(const struct db *db);     /* the leader heard a majority on the newest ring */
bool db_votes_heard(const struct db *db);       /* the leader heard a majority within an election time-out */
uint64_t db_votes_durable(const struct db *db); /* the highest index that a majority has on disk */
bool db_may_campaign(const struct db *db);

/* election.c */
void db_election_tick(struct db *db);
void db_election_view(struct db *db);
void db_election_hello(struct db *db, const struct db_msg *m);
void db_election_persisted(struct db *db);
void db_election_follow(struct db *db, uint64_t term); /* to FOLLOWER, leader unknown */
bool db_election_is_rival(const struct db *db, const struct db_msg *m, uint32_t nodeid);
void db_election_heard_leader(struct db *db, const struct db_msg *m, uint32_t nodeid);
void db_election_lead(struct db *db);
bool db_election_leader_alive(const struct db *db);
void db_election_force(struct db *db, uint64_t term); /* candidate of the first term of an epoch */
void db_election_recount(struct db *db);
void db_election_outdone(struct db *db, uint64_t term); /* the witness is of a higher term */
void db_election_evicted(struct db *db); /* leader: has its own eviction been committed? */
void db_election_transfer_ack(struct db *db, const struct db_peer *peer);
void db_on_prevote(struct db *db, const struct db_msg *m);
void db_on_prevote_reply(struct db *db, const struct db_msg *m);
void db_on_vote(struct db *db, const struct db_msg *m);
void db_on_vote_reply(struct db *db, const struct db_msg *m);
void db_on_timeout_now(struct db *db, const struct db_msg *m);

/* replicate.c */
void db_repl_append_own(struct db *db, struct entry *e); /* leader: gives it term and index */
void db_repl_flush(struct db *db);
void db_repl_returned(struct db *db, const struct db_msg *m); /* one's own message */
void db_repl_persisted(struct db *db);
void db_repl_send_ack(struct db *db, bool ok, uint64_t verified);
void db_on_append(struct db *db, const struct db_msg *m, uint32_t nodeid);
void db_on_ack(struct db *db, const struct db_msg *m);

void db_repl_advance(struct db *db);

/* witness.c */
void db_witness_step(struct db *db);
void db_witness_followed(struct db *db);
void db_witness_forget(struct db *db);                /* a new role or term: nothing is known, nothing is waited for */
bool db_witness_says_yes(const struct db *db);        /* to this candidate, or candidate-to-be */
bool db_witness_may_say_yes(const struct db *db);
bool db_witness_is_awaited(const struct db *db);      /* candidate: its outcome is worth waiting for */
/* Leader: all in `need` are among those for which pick() holds. */
typedef bool db_pick_fn(const struct db *db, const struct db_peer *p, uint64_t arg);
bool db_witness_is_covered(const struct db *db, db_pick_fn *pick, uint64_t arg);
bool db_witness_is_current(const struct db *db);
/* If this leader ended now, with that configuration in force, a voter would be given the witness, however an open write
 * turns out. Else nobody is, once the members that the record names are no more: a leader without a vote stays, and a
 * member keeps its vote. */
bool db_witness_frees(const struct db *db, const struct db_config *config);
void db_witness_note(struct db *db, const struct uuid *witness, uint64_t sequence);

/* verdict.c */
void db_verdict_ring(struct db *db, struct db_ring ring); /* there is a new one */
void db_verdict_tick(struct db *db);
void db_verdict_step(struct db *db);   /* leader: has a majority been heard by now? */
void db_verdict_void(struct db *db); /* of a lower epoch */
void db_verdict_unsay(struct db *db);  /* a new role or term */
struct db_ring db_verdict_said(const struct db *db); /* what a leader's message says; seq 0: nothing */
void db_verdict_heard(struct db *db, const struct db_msg *m); /* from the leader that this node follows */

/* apply.c */
void db_apply_committed(struct db *db);
void db_apply_check_hash(struct db *db, uint64_t index, const struct hash *hash);
void db_apply_compact(struct db *db);

/* persist.c */
void db_persist_flush(struct db *db);
void db_persist_log_changed(struct db *db, uint64_t from); /* entries from here are new */
void db_persist_log_cut(struct db *db, uint64_t from);     /* entries from here are gone */

/* propose.c */
void db_propose_flush(struct db *db);
void db_propose_tick(struct db *db);
void db_propose_hurry(struct db *db); /* there is a new leader: send everything again */
void db_propose_outcome(struct db *db, const struct uuid *id, const struct apply_result *result);
void db_propose_check_kept(struct db *db);
void db_on_propose(struct db *db, const struct db_msg *m);

/* force.c */
bool db_is_force_open(const struct db *db); /* this epoch's beginning is not committed yet */
void db_on_later_epoch(struct db *db, const struct db_msg *m, uint32_t nodeid);
void db_force_joined(struct db *db); /* its log equals that of a leader with a majority: prevention is over */

/* snapshot.c */
void db_snapshot_fetch(struct db *db, uint32_t nodeid);
void db_snapshot_offer(struct db *db, struct db_peer *peer);
void db_snapshot_quarantine(struct db *db);
void db_snapshot_fetch_from_leader(struct db *db);
void db_on_offer(struct db *db, const struct db_msg *m, uint32_t nodeid);
