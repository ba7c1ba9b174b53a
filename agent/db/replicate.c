/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Append, acknowledge, commit.
 *
 *   "Append, fsync, acknowledge; commit; only then answer the client. Batch what is waiting."
 *   One append message carries all that was proposed since the last one, for all followers; under load the next one
 *   gathers entries while others are in flight. A follower that cannot take it (its log ends earlier, or differs)
 *   refuses and says from where it can; it then gets chunks of its own, a round at a time, until it takes what is
 *   multicast. A heartbeat is an append without entries behind everything that was cast, so a message that got lost is
 *   noticed by the next one. What a follower acknowledges is min(verified, durable): equal to the leader's log, and on
 *   disk here.
 *   "Only entries of the leader's own term are counted; earlier ones follow." */
#include "agent/db/internal.h"

static size_t message_bytes(const struct db *db)
{
    return db->p.message_max < DB_BATCH_BYTES_MAX ? db->p.message_max : DB_BATCH_BYTES_MAX;
}

/* ---- leader: sending ------------------------------------------------------------------------------------------- */

void db_repl_append_own(struct db *db, struct entry *e)
{
    assert(db->role == DB_LEADER);
    e->term = db->term;
    e->index = db_log_last(&db->log) + 1;
    db_log_append(&db->log, e);
    db_persist_log_changed(db, e->index);
    if (db_is_config_kind(e->kind))
        db_config_reload(db);
}

/* Entries from `from` on, at most `upto`, as many as fit into one message. Returns the index after the last one. */
static uint64_t send_append(struct db *db, const struct uuid *to, uint64_t from, uint64_t upto)
{
    struct db_msg m = {
        .type = DB_MSG_APPEND, .to = *to, .yes = db_votes_heard(db), .index = from - 1, .commit = db->commit,
        .witness = db->w.seen_of, .witness_sequence = db->w.seen,
        .ring = db_verdict_said(db)};
    bool known = db_log_term(&db->log, from - 1, &m.index_term);
    assert(known);
    size_t room = message_bytes(db) - DB_MSG_OVERHEAD, n = 0;
    for (const struct entry *e = db_log_at(&db->log, from); e != NULL && from + n <= upto;
         e = db_log_at(&db->log, from + n)) {
        if (n > 0 && db_msg_entry_size(e) > room)
            break;
        room -= db_msg_entry_size(e) < room ? db_msg_entry_size(e) : room;
        n++;
    }
    m.entries = n > 0 ? &db->log.e[from - db->log.base_index - 1] : NULL;
    m.n_entries = n;
    if (n == 0 && db->now >= db->heartbeat_ms) {
        m.hash_index = db->applied;
        m.hash = tables_hash(db->tables);
    }
    db_send(db, &m);
    return from + n;
}

/* What is new, or just the commit index. */
static void cast(struct db *db)
{
    const struct uuid all = {{0}};
    uint64_t last = db_log_last(&db->log);
    do
        db->cast_next = send_append(db, &all, db->cast_next, last);
    while (db->cast_next <= last);
    db->cast_commit = db->commit;
}

/* What was cast in this term and is not committed. */
static uint64_t in_flight(const struct db *db)
{
    uint64_t cast_last = db->cast_next - 1;
    if (cast_last <= db->commit || cast_last < db->first_index)
        return 0;
    uint64_t before = db->commit < db->first_index ? db->first_index - 1 : db->commit;
    return cast_last - before;
}

/* A message costs every node far more than an entry does. So while some are in flight, new entries gather until they
 * are a quarter of those (measured: best of whole, half, quarter) and the last message came back, which is when
 * everybody has it: one client alone waits for nothing, many share a few messages. What is waited for in vain goes with
 * the heartbeat. */
static bool is_cast_due(const struct db *db)
{
    uint64_t cast_last = db->cast_next - 1, waiting = db_log_last(&db->log) - cast_last, n = in_flight(db);
    return waiting > 0 && (n == 0 || (db->returned >= cast_last && 4 * waiting >= n));
}

/* While some are in flight, the commit index goes with what follows them. */
static bool is_commit_due(const struct db *db)
{
    return db->cast_commit < db->commit && in_flight(db) == 0;
}

void db_repl_returned(struct db *db, const struct db_msg *m)
{
    bool is_cast = m->type == DB_MSG_APPEND && m->term == db->term && uuid_eq(&m->from, &db->p.self);
    if (db->role == DB_LEADER && is_cast && m->index + m->n_entries > db->returned)
        db->returned = m->index + m->n_entries;
}

void db_repl_flush(struct db *db)
{
    if (db->role != DB_LEADER)
        return;
    bool beats = db->now >= db->heartbeat_ms;
    if (is_cast_due(db) || is_commit_due(db))
        cast(db);
    if (beats) {
        cast(db);
        db->heartbeat_ms = db->now + DB_HEARTBEAT_MS;
    }
}

/* "A snapshot is offered when next index is at or below base_index or the follower lags." */
static bool needs_snapshot(const struct db *db, uint64_t next)
{
    return next <= db->log.base_index || (db->applied >= next && db->applied - next >= db->p.lag_snapshot);
}

static void repair(struct db *db, struct db_peer *p, uint64_t next)
{
    if (needs_snapshot(db, next)) {
        db_snapshot_offer(db, p);
        return;
    }
    p->repairing = true;
    p->sent_from = next;
    p->sent_ms = db->now;
    uint64_t last = db_log_last(&db->log);
    size_t rounds = DB_BATCH_BYTES_MAX / message_bytes(db);
    for (size_t i = 0; i == 0 || (i < rounds && i < DB_CHUNKS_MAX && next <= last); i++)
        next = send_append(db, &p->id, next, last);
    p->sent_upto = next - 1;
}

/* ---- leader: counting ------------------------------------------------------------------------------------------ */

void db_repl_advance(struct db *db)
{
    if (db->role != DB_LEADER)
        return;
    uint64_t index = db_votes_durable(db), term = 0;
    if (index <= db->commit || !db_log_term(&db->log, index, &term) || term != db->term)
        return;
    db->commit = index;
    db_apply_committed(db);
    db_election_evicted(db);
}

void db_on_ack(struct db *db, const struct db_msg *m)
{
    if (m->term > db->term) {
        db_election_follow(db, m->term);
        return;
    }
    struct db_peer *p = db_peer_find(db, &m->from);
    if (db->role != DB_LEADER || m->term < db->term || p == NULL)
        return;
    uint64_t last = db_log_last(&db->log);
    if (m->match > last || m->verified > last)
        return;
    p->heard_ms = db->now;
    if (m->match >= db->commit && m->match >= db->first_index)
        p->level_ms = db->now;
    p->ring = m->ring;
    if (m->match > p->match) {
        p->match = m->match;
        db_election_transfer_ack(db, p);
    }
    uint64_t next = m->verified + 1;
    bool in_flight = next >= p->sent_from && next <= p->sent_upto && db->now - p->sent_ms < DB_HEARTBEAT_MS / 2;
    if (!m->yes && !in_flight)
        repair(db, p, next);
    else if (m->yes && p->repairing && next < db->cast_next && next > p->sent_upto)
        repair(db, p, next);
    else if (m->yes && next >= db->cast_next)
        p->repairing = false;
    db_repl_advance(db);
}

/* The leader's own match is what is durable here. */
static void count_own(struct db *db)
{
    struct db_peer *self = db_peer_find(db, &db->p.self);
    if (self != NULL)
        self->match = db->durable.last;
    db_repl_advance(db);
}

/* ---- follower -------------------------------------------------------------------------------------------------- */

static uint64_t acknowledged(const struct db *db)
{
    if (db->durable.term != db->term)
        return 0;
    return db->verified < db->durable.last ? db->verified : db->durable.last;
}

void db_repl_send_ack(struct db *db, bool ok, uint64_t verified)
{
    struct db_msg m = {
        .type = DB_MSG_ACK, .to = db->leader, .yes = ok, .match = acknowledged(db), .verified = verified,
        .ring = db->verdict.ring};
    db->acked = m.match;
    db_send(db, &m);
}

void db_repl_persisted(struct db *db)
{
    if (db->role == DB_LEADER)
        count_own(db);
    else if (db->leader_known && acknowledged(db) > db->acked)
        db_repl_send_ack(db, true, db->verified);
}

/* Whether our log holds the entry before the message's; if not, *ret_hint is the last index that may be equal. */
static bool fits(const struct db *db, const struct db_msg *m, uint64_t *ret_hint)
{
    uint64_t term = 0, last = db_log_last(&db->log);
    if (m->index < db->log.base_index)
        return true; /* entries up to base_index are committed, so they are the leader's */
    if (m->index > last) {
        *ret_hint = last;
        return false;
    }
    bool known = db_log_term(&db->log, m->index, &term);
    assert(known);
    if (term == m->index_term)
        return true;
    uint64_t hint = m->index - 1, t = 0;
    while (hint > db->commit && db_log_term(&db->log, hint, &t) && t == term)
        hint--; /* the whole of that term is in doubt */
    *ret_hint = hint > db->commit ? hint : db->commit;
    return false;
}

/* I3: what is committed here is in the log of every later leader. */
static void cut(struct db *db, uint64_t from)
{
    assert(from > db->commit);
    log_info(db->p.log, "the leader's log differs at %llu -> drop up to %llu", (unsigned long long)from,
             (unsigned long long)db_log_last(&db->log));
    db_log_truncate(&db->log, from);
    db_persist_log_cut(db, from);
    if (db->config_index >= from)
        db_config_reload(db);
}

static void take_entries(struct db *db, const struct db_msg *m)
{
    bool config = false;
    for (size_t i = 0; i < m->n_entries; i++) {
        const struct entry *e = &m->entries[i];
        uint64_t term = 0;
        if (e->index <= db->log.base_index)
            continue;
        if (db_log_term(&db->log, e->index, &term)) {
            if (term == e->term)
                continue;
            cut(db, e->index);
        }
        db_log_append(&db->log, e);
        db_persist_log_changed(db, e->index);
        config |= db_is_config_kind(e->kind);
    }
    if (config)
        db_config_reload(db);
}

static void follow_commit(struct db *db, uint64_t commit, uint64_t equal)
{
    uint64_t index = commit < equal ? commit : equal;
    if (index <= db->commit)
        return;
    db->commit = index;
    db_apply_committed(db);
}

/* Terms in a log never fall, and no entry is newer than its leader: anything else is not from a leader of ours. */
static bool is_sane(const struct db_msg *m)
{
    uint64_t term = m->index_term;
    for (size_t i = 0; i < m->n_entries; i++) {
        if (m->entries[i].term < term)
            return false;
        term = m->entries[i].term;
    }
    return term <= m->term;
}

/* What is committed here is in the log of every leader. What says otherwise is not from one, and to believe it would
 * cost data: it is as if the message were lost. */
static bool contradicts(const struct db *db, const struct db_msg *m)
{
    uint64_t term = 0;
    for (size_t i = 0; i < m->n_entries; i++) {
        const struct entry *e = &m->entries[i];
        if (e->index <= db->commit && db_log_term(&db->log, e->index, &term) && term != e->term)
            return true;
    }
    return false;
}

void db_on_append(struct db *db, const struct db_msg *m, uint32_t nodeid)
{
    if (!is_sane(m) || db_election_is_rival(db, m, nodeid))
        return;
    if (contradicts(db, m)) {
        log_error(db->p.log, "node %u sends other entries than those committed here -> ignored", nodeid);
        return;
    }
    if (m->term < db->term) {
        struct db_msg reply = {.type = DB_MSG_ACK, .to = m->from}; /* our term makes it step down */
        db_send(db, &reply);
        return;
    }
    db_election_heard_leader(db, m, nodeid);
    db_verdict_heard(db, m);
    if (uuid_eq(&m->witness, &db->config.witness))
        db_witness_note(db, &m->witness, m->witness_sequence);
    if (!uuid_is_nil(&m->to) && !uuid_eq(&m->to, &db->p.self))
        return;
    uint64_t hint = 0;
    if (!fits(db, m, &hint)) {
        db_repl_send_ack(db, false, hint);
        return;
    }
    take_entries(db, m);
    uint64_t equal = m->index + m->n_entries;
    if (equal < db->log.base_index)
        equal = db->log.base_index;
    db->verified = equal > db->verified ? equal : db->verified;
    follow_commit(db, m->commit, equal);
    if (m->yes && equal >= m->commit)
        db_force_joined(db);
    db_apply_check_hash(db, m->hash_index, &m->hash);
    bool is_chunk = !uuid_is_nil(&m->to), is_heartbeat = m->hash_index != 0 || m->commit == 0;
    if (is_chunk || is_heartbeat || acknowledged(db) > db->acked)
        db_repl_send_ack(db, true, db->verified);
}
