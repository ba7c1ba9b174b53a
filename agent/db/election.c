/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who leads. The only file that assigns db->role; the moves stand in internal.h.
 *
 *   "Pre-vote: nobody campaigns while its view has a leader."
 *   A leader is alive for us while it is in our CPG view and was heard within DB_ELECTION_MS_MIN. Who has a live leader
 *   refuses pre-votes and does not even look at votes (but for a transfer, which that leader asked for), so a node that
 *   was away or was evicted cannot depose a leader that works.
 *   "Term and vote are persisted before answering": requests and replies are sent from db_election_persisted().
 *   "A leader that did not hear a majority within an election time-out steps down."
 *
 * A vote is asked of, and given to, a candidate that the voter's configuration does not name: the voter may lack the
 * entry that added the candidate, and the candidate may need just this vote. The candidate counts by its own. */
#include "agent/db/internal.h"

static int64_t draw(struct db *db, int64_t base, int64_t spread)
{
    return db->now + base + (int64_t)prng_below(&db->prng, (uint64_t)spread + 1);
}

/* Could anybody else campaign, too? */
static bool has_rival(const struct db *db)
{
    for (size_t i = 0; i < db->config.n; i++) {
        const struct db_replica *r = &db->config.replicas[i];
        bool leads = db->leader_known && uuid_eq(&r->id, &db->leader);
        if (r->weight > 0 && !leads && !uuid_eq(&r->id, &db->p.self) && db_in_view(db, r->nodeid))
            return true;
    }
    return false;
}

/* The first campaign after the loss of a leader. */
static int64_t campaign_soon(struct db *db)
{
    return has_rival(db) ? draw(db, 0, DB_CAMPAIGN_MS_MAX) : db->now;
}

static int64_t election_timeout(struct db *db)
{
    return has_rival(db) ? draw(db, DB_ELECTION_MS_MIN, DB_ELECTION_SPREAD_MS) : db->now + DB_ELECTION_MS_MIN;
}

bool db_election_leader_alive(const struct db *db)
{
    if (db->role == DB_LEADER)
        return db_votes_heard(db);
    return db->leader_known && db_in_view(db, db->leader_nodeid) && db->now - db->leader_heard_ms < DB_ELECTION_MS_MIN;
}

static void forget_leader(struct db *db)
{
    db->leader_known = false;
    db->leader_quorate = false;
}

/* I1: term never falls; a new term starts without a vote. */
static void enter_term(struct db *db, uint64_t term)
{
    assert(term > db->term);
    db->term = term;
    db->voted_for = (struct uuid){{0}};
    db->meta_dirty = true;
    db->grant_due = false;
    db->verified = 0;
    db->acked = 0;
    db_witness_forget(db);
}

void db_election_follow(struct db *db, uint64_t term)
{
    if (term > db->term)
        enter_term(db, term);
    if (db->role == DB_LEADER)
        log_notice(db->p.log, "no longer leader (term %llu) -> follower", (unsigned long long)db->term);
    db->role = DB_FOLLOWER;
    db_witness_forget(db);
    db_verdict_unsay(db);
    db->transfer = false;
    forget_leader(db);
    db->campaign_ms = election_timeout(db);
}

static void clear_votes(struct db *db)
{
    for (size_t i = 0; i < db->config.n; i++) {
        db->peers[i].vote = DB_VOTE_NONE;
        db->peers[i].is_equal = false;
        db->peers[i].ring = (struct db_ring){0};
    }
}

static void set_vote(struct db *db, const struct uuid *id, bool yes)
{
    struct db_peer *p = db_peer_find(db, id);
    if (p != NULL)
        p->vote = yes ? DB_VOTE_YES : DB_VOTE_NO;
}

static void ask(struct db *db, enum db_msg_type type)
{
    struct db_msg m = {.type = type,
                       .yes = type == DB_MSG_VOTE && db->transfer,
                       .index = db_log_last(&db->log),
                       .index_term = db_log_last_term(&db->log)};
    db_send(db, &m);
}

/* ---- campaigning ----------------------------------------------------------------------------------------------- */

static void candidate(struct db *db, uint64_t term, bool transfer)
{
    enter_term(db, term);
    db->role = DB_CANDIDATE;
    db->transfer = transfer;
    db->voted_for = db->p.self;
    db->vote_sent = false;
    forget_leader(db);
    clear_votes(db);
    db->campaign_ms = election_timeout(db);
}

static void start_vote(struct db *db, bool transfer)
{
    candidate(db, db->term + 1, transfer);
    log_info(db->p.log, "%s -> candidate in term %llu",
             transfer ? "the leader hands over" : "a majority would vote for us", (unsigned long long)db->term);
}

void db_election_force(struct db *db, uint64_t term)
{
    db_election_follow(db, db->term);
    candidate(db, term, false);
}

static void start_prevote(struct db *db)
{
    db->role = DB_PRECANDIDATE;
    db->transfer = false;
    forget_leader(db);
    clear_votes(db);
    set_vote(db, &db->p.self, true);
    db->campaign_ms = draw(db, DB_PREVOTE_MS, DB_PREVOTE_MS);
    db->w.asked_ms = db->now;
    log_debug(db->p.log, "no leader -> pre-vote in term %llu", (unsigned long long)db->term);
    if (db_votes_won(db))
        start_vote(db, false);
    else
        ask(db, DB_MSG_PREVOTE);
}

/* A round was lost: again, soon but not at once, unless somebody leads by then. */
static void give_up(struct db *db)
{
    db_election_follow(db, db->term);
    db->campaign_ms = draw(db, DB_CAMPAIGN_MS_MAX, 2 * DB_CAMPAIGN_MS_MAX);
}

static void count_votes(struct db *db)
{
    if (db->role == DB_CANDIDATE && !db->vote_sent)
        return;
    if (db_votes_won(db)) {
        if (db->role == DB_PRECANDIDATE)
            start_vote(db, false);
        else
            db_election_lead(db);
    } else if (db_votes_lost(db)) {
        give_up(db);
    }
}

void db_election_recount(struct db *db)
{
    if (db->role == DB_PRECANDIDATE || db->role == DB_CANDIDATE)
        count_votes(db);
}

void db_election_outdone(struct db *db, uint64_t term)
{
    bool led = db->role == DB_LEADER;
    log_notice(db->p.log, "the witness is of term %llu -> follow", (unsigned long long)term);
    db_election_follow(db, term);
    if (!led)
        db->campaign_ms = draw(db, 0, DB_CAMPAIGN_MS_MAX);
}

/* "A new leader commits an entry of its own term first." */
void db_election_lead(struct db *db)
{
    assert(db->durable.term == db->term && uuid_eq(&db->durable.voted_for, &db->p.self));
    db->role = DB_LEADER;
    db->transfer = false;
    db->leader_known = true;
    db->leader = db->p.self;
    db->leader_nodeid = db->p.nodeid;
    db->first_index = db_log_last(&db->log) + 1;
    db->cast_next = db->first_index;
    db->cast_commit = 0;
    db->returned = 0;
    db->heartbeat_ms = db->now;
    db->w.commit_ms = db->now;
    for (size_t i = 0; i < db->config.n; i++)
        db->peers[i] = (struct db_peer){.id = db->peers[i].id, .ring = db->peers[i].ring, .heard_ms = db->now,
                                        .sent_ms = INT64_MIN / 2, .offered_ms = INT64_MIN / 2};
    log_notice(db->p.log, "elected -> leader of term %llu", (unsigned long long)db->term);
    struct entry noop = {.kind = ENTRY_NOOP};
    db_repl_append_own(db, &noop);
    db_propose_hurry(db);
}

/* ---- time, view, disk ------------------------------------------------------------------------------------------ */

static void leader_tick(struct db *db)
{
    if (!db_votes_heard(db)) {
        log_warn(db->p.log, "no majority heard for %d ms -> step down", DB_ELECTION_MS_MIN);
        db_election_follow(db, db->term);
    } else if (db->transfer && db->now >= db->transfer_end_ms) {
        log_notice(db->p.log, "the successor did not take over -> lead on");
        db->transfer = false;
    }
}

void db_election_tick(struct db *db)
{
    if (db->role == DB_LEADER) {
        leader_tick(db);
    } else if (db->now >= db->campaign_ms && !db_witness_is_awaited(db)) {
        if (db_may_campaign(db))
            start_prevote(db);
        else
            give_up(db);
    }
}

/* Leader not in view: campaign after 0 … DB_CAMPAIGN_MS_MAX. None known at all: give one the time for a heartbeat. */
void db_election_view(struct db *db)
{
    if (db->role != DB_FOLLOWER)
        return;
    if (!db->leader_known) {
        int64_t soon = draw(db, DB_HEARTBEAT_MS, DB_CAMPAIGN_MS_MAX);
        db->campaign_ms = soon < db->campaign_ms ? soon : db->campaign_ms;
    } else if (!db_in_view(db, db->leader_nodeid)) {
        log_notice(db->p.log, "the leader left the group -> campaign soon");
        forget_leader(db);
        db->campaign_ms = campaign_soon(db);
        db_election_tick(db);
    }
}

/* A leader that says hello without leading was restarted. */
void db_election_hello(struct db *db, const struct db_msg *m)
{
    if (db->role != DB_FOLLOWER || !db->leader_known || m->yes || !uuid_eq(&m->from, &db->leader))
        return;
    log_notice(db->p.log, "the leader came back as a follower -> campaign soon");
    forget_leader(db);
    db->campaign_ms = draw(db, 0, DB_CAMPAIGN_MS_MAX);
}

static void send_grant(struct db *db)
{
    db->grant_due = false;
    uint64_t last = db->durable.last, term = 0;
    if (!db_log_term(&db->log, last, &term))
        last = 0; /* behind the log's base: it is not what the candidate holds */
    struct db_msg m = {.type = DB_MSG_VOTE_REPLY, .to = db->voted_for, .yes = true, .index = last, .index_term = term,
                       .ring = db->verdict.ring};
    db_send(db, &m);
}

/* I5: what a vote promises is on disk before anybody hears of it. */
void db_election_persisted(struct db *db)
{
    if (db->durable.term != db->term || !uuid_eq(&db->durable.voted_for, &db->voted_for))
        return;
    if (db->role == DB_CANDIDATE && !db->vote_sent) {
        db->vote_sent = true;
        db->w.asked_ms = db->now;
        db->campaign_ms = election_timeout(db);
        set_vote(db, &db->p.self, true);
        ask(db, DB_MSG_VOTE);
        count_votes(db);
    } else if (db->grant_due) {
        send_grant(db);
    }
}

/* At most one leads a term. Who says that it leads ours is ignored: it was not elected by what this replica keeps. */
bool db_election_is_rival(const struct db *db, const struct db_msg *m, uint32_t nodeid)
{
    if (db->role != DB_LEADER || m->term != db->term)
        return false;
    log_error(db->p.log, "node %u says that it leads term %llu, which this node leads -> ignored", nodeid,
              (unsigned long long)m->term);
    return true;
}

void db_election_heard_leader(struct db *db, const struct db_msg *m, uint32_t nodeid)
{
    assert(db->role != DB_LEADER || m->term > db->term); /* at most one leader a term */
    bool is_new = !db->leader_known || !uuid_eq(&db->leader, &m->from) || m->term > db->term;
    if (is_new || db->role != DB_FOLLOWER)
        db_election_follow(db, m->term);
    db->leader_known = true;
    db->leader = m->from;
    db->leader_nodeid = nodeid;
    db->leader_heard_ms = db->now;
    db->leader_quorate = m->yes;
    db->told_commit = m->commit;
    if (m->yes)
        db_witness_followed(db);
    db->campaign_ms = election_timeout(db);
    if (is_new) {
        log_info(db->p.log, "node %u leads term %llu -> follow", nodeid, (unsigned long long)m->term);
        db_propose_hurry(db);
    }
}

/* ---- pre-vote, vote -------------------------------------------------------------------------------------------- */

static bool up_to_date(const struct db *db, const struct db_msg *m)
{
    uint64_t term = db_log_last_term(&db->log);
    return m->index_term > term || (m->index_term == term && m->index >= db_log_last(&db->log));
}

static bool may_vote(const struct db *db)
{
    return db_config_find(&db->config, &db->p.self) != NULL && !db->is_prevented;
}

static void refuse(struct db *db, const struct db_msg *m, enum db_msg_type type)
{
    struct db_msg reply = {.type = type, .to = m->from};
    db_send(db, &reply);
}

void db_on_prevote(struct db *db, const struct db_msg *m)
{
    if (!may_vote(db))
        return;
    if (m->term < db->term || db_election_leader_alive(db) || !up_to_date(db, m)) {
        refuse(db, m, DB_MSG_PREVOTE_REPLY);
        return;
    }
    if (db->role == DB_FOLLOWER && db->campaign_ms < db->now + DB_HEARTBEAT_MS)
        db->campaign_ms = db->now + DB_HEARTBEAT_MS;
    struct db_msg reply = {.type = DB_MSG_PREVOTE_REPLY, .to = m->from, .yes = true};
    db_send(db, &reply);
}

void db_on_prevote_reply(struct db *db, const struct db_msg *m)
{
    if (db->role != DB_PRECANDIDATE)
        return;
    if (m->term > db->term && !m->yes) {
        db_election_follow(db, m->term);
        db->campaign_ms = draw(db, 0, DB_CAMPAIGN_MS_MAX);
        return;
    }
    set_vote(db, &m->from, m->yes);
    count_votes(db);
}

static void grant(struct db *db, const struct db_msg *m)
{
    assert(uuid_is_nil(&db->voted_for) || uuid_eq(&db->voted_for, &m->from));
    if (db->role == DB_PRECANDIDATE)
        db_election_follow(db, db->term);
    if (uuid_is_nil(&db->voted_for)) {
        db->voted_for = m->from;
        db->meta_dirty = true;
    }
    db->grant_due = true;
    db->campaign_ms = election_timeout(db);
    log_info(db->p.log, "vote in term %llu -> %s", (unsigned long long)db->term, uuid_str(&m->from).s);
    db_election_persisted(db); /* it may be on disk already */
}

void db_on_vote(struct db *db, const struct db_msg *m)
{
    if (!m->yes && db_election_leader_alive(db))
        return;
    if (m->term > db->term)
        db_election_follow(db, m->term);
    if (!may_vote(db))
        return;
    bool is_free = uuid_is_nil(&db->voted_for) || uuid_eq(&db->voted_for, &m->from);
    if (m->term == db->term && is_free && up_to_date(db, m))
        grant(db, m);
    else
        refuse(db, m, DB_MSG_VOTE_REPLY);
}

void db_on_vote_reply(struct db *db, const struct db_msg *m)
{
    if (m->term > db->term) {
        db_election_follow(db, m->term);
        db->campaign_ms = draw(db, 0, DB_CAMPAIGN_MS_MAX);
    } else if (m->term == db->term && db->role == DB_CANDIDATE && db->vote_sent) {
        set_vote(db, &m->from, m->yes);
        struct db_peer *p = db_peer_find(db, &m->from);
        if (p != NULL && m->yes)
            p->ring = m->ring;
        if (p != NULL)
            p->is_equal = m->index == db_log_last(&db->log) && m->index_term == db_log_last_term(&db->log);
        count_votes(db);
    }
}

/* ---- transfer -------------------------------------------------------------------------------------------------- */

static void send_timeout_now(struct db *db, const struct uuid *to)
{
    struct db_msg m = {.type = DB_MSG_TIMEOUT_NOW, .to = *to};
    db_send(db, &m);
}

/* The voter with the longest log that is here and caught up; NULL: none. */
static const struct db_peer *successor(const struct db *db)
{
    const struct db_peer *best = NULL;
    for (size_t i = 0; i < db->config.n; i++) {
        const struct db_peer *p = &db->peers[i];
        struct db_progress progress = db_replica_progress(db, &p->id);
        if (uuid_eq(&p->id, &db->p.self) || db->config.replicas[i].weight == 0)
            continue;
        if (progress.present && progress.caught_up && (best == NULL || p->match > best->match))
            best = p;
    }
    return best;
}

int db_transfer(struct db *db, int64_t now_ms)
{
    db->now = now_ms > db->now ? now_ms : db->now;
    if (!db_is_leader(db) || db->transfer)
        return ERR_AGAIN;
    const struct db_peer *p = successor(db);
    if (p == NULL)
        return ERR_AGAIN;
    log_notice(db->p.log, "leadership is handed over -> to %s", uuid_str(&p->id).s);
    db->transfer = true;
    db->transfer_to = p->id;
    db->transfer_sent = false;
    db->transfer_end_ms = db->now + DB_TRANSFER_MS;
    db_election_transfer_ack(db, p);
    return 0;
}

/* No proposal is appended while a transfer is under way, so the successor reaches the end of the log. */
void db_election_transfer_ack(struct db *db, const struct db_peer *peer)
{
    if (!db->transfer || db->transfer_sent || !uuid_eq(&peer->id, &db->transfer_to))
        return;
    if (peer->match != db_log_last(&db->log))
        return;
    db->transfer_sent = true;
    send_timeout_now(db, &peer->id);
}

void db_on_timeout_now(struct db *db, const struct db_msg *m)
{
    bool from_leader = db->role == DB_FOLLOWER && db->leader_known && uuid_eq(&db->leader, &m->from);
    if (m->term == db->term && from_leader && db_may_campaign(db))
        start_vote(db, true);
}

/* "The leader goes on until the entry is committed (counting without itself), then steps down": not before the witness
 * names somebody who votes, or nobody could be given it. */
void db_election_evicted(struct db *db)
{
    const struct db_replica *self = db_config_find(&db->config, &db->p.self);
    if (db->role != DB_LEADER || db->config_index > db->commit || (self != NULL && self->weight > 0))
        return;
    if (!db_witness_frees(db, &db->config))
        return;
    log_notice(db->p.log, "this node has no vote any more -> step down");
    db_repl_flush(db); /* the others learn that it is committed */
    const struct db_peer *next = successor(db);
    if (next != NULL)
        send_timeout_now(db, &next->id);
    db_election_follow(db, db->term);
}
