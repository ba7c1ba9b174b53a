/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Forcing quorum, epochs, and its opposite: prevention.
 *
 *   "Force quorum is explicit and audited: epoch + 1 in every message, term jump, members = the forcing node, one entry
 *   that sets all weights; lower epochs neither vote nor acknowledge and reload a snapshot."
 *
 * The epoch is the upper part of the term (port.h), so the jump of the term is the step of the epoch. An admin says
 * that what this node has is the cluster's data; so what other nodes have beyond it is lost, committed or not.
 *
 *      db_force()                                   its batch is durable
 *   term and vote of the new epoch, and the forced  ──────────────────> elected by its own vote, which is the only one
 *   entry, in ONE batch                                                        │
 *                                                                              v
 *   a node of a lower epoch that hears of it keeps still ── fetches ──> snapshot; then it is a follower like any other,
 *                                                                       and has a vote again when it has caught up
 *
 * One batch: a node that fell between the two would be in an epoch that nobody can ever win. A snapshot is served only
 * when the forced entry is committed: else who has it could vote by the old weights, in the new epoch.
 *
 * Prevention: the node only joins. A half that is started while the other one may be running, or will be, cannot form a
 * cluster of its own. It ends by itself when the node has joined. */
#include "agent/db/internal.h"

void db_encode_force(struct buf *b, const struct uuid *self, const char *node, const char *by)
{
    wire_put_uuid(b, self);
    wire_put_str(b, node);
    wire_put_str(b, by);
}

/* ---- forcing ---------------------------------------------------------------------------------------------------- */

/* Later than any that was heard of. */
static uint64_t next_epoch(const struct db *db)
{
    uint64_t number = db_epoch_number(db->term);
    if (db_epoch_number(db->w.tag.term) > number)
        number = db_epoch_number(db->w.tag.term);
    for (size_t i = 0; i < db->n_seen; i++)
        if (db_epoch_number(db->seen[i].term) > number)
            number = db_epoch_number(db->seen[i].term);
    return (number + 1) * DB_FORCERS + db->p.nodeid % DB_FORCERS;
}

static void append_force(struct db *db, const struct entry *e)
{
    struct entry copy = *e;
    copy.term = db->term;
    copy.index = db_log_last(&db->log) + 1;
    db_log_append(&db->log, &copy);
    db_persist_log_changed(db, copy.index);
    db_config_reload(db);
}

int db_force(struct db *db, int64_t now_ms, const struct entry *e, int64_t deadline_ms)
{
    db->now = now_ms > db->now ? now_ms : db->now;
    if (db->stopped || db->quarantined || db_config_find(&db->config, &db->p.self) == NULL)
        return ERR_CONDITION;
    if (db_is_quorate(db, db->now))
        return ERR_AGAIN;
    int err = db_propose(db, db->now, e, deadline_ms); /* whoever asked hears of it */
    if (err != 0 || !db_is_pending(db, &e->request_id))
        return err; /* kept: it was forced by this very request */
    db->is_prevented = false;
    db_election_force(db, next_epoch(db) * DB_EPOCH_TERMS + 1);
    append_force(db, e);
    log_warn(db->p.log, "quorum is forced -> epoch %llu, this node alone votes",
             (unsigned long long)db_epoch_number(db->term));
    return 0;
}

bool db_is_force_open(const struct db *db)
{
    const struct entry *e = db_log_at(&db->log, db->config_index);
    return e != NULL && e->kind == ENTRY_FORCE && e->index > db->commit;
}

/* ---- lower epochs ----------------------------------------------------------------------------------------------- */

bool db_is_behind(const struct db *db)
{
    uint64_t own = db_epoch_of(db->term);
    if (db_epoch_of(db->w.tag.term) > own)
        return true;
    for (size_t i = 0; i < db->n_seen; i++)
        if (db_epoch_of(db->seen[i].term) > own)
            return true;
    return false;
}

/* Keeps still, whatever it was. Its term is not taken over: only with the state of that epoch. */
void db_on_later_epoch(struct db *db, const struct db_msg *m, uint32_t nodeid)
{
    if (db->role != DB_FOLLOWER || db->leader_known) {
        log_warn(db->p.log, "node %u is of epoch %llu: quorum was forced there -> this node follows", nodeid,
                 (unsigned long long)db_epoch_number(m->term));
        db_election_follow(db, db->term);
    }
    db_verdict_void(db);
    if ((m->type == DB_MSG_APPEND && m->yes) || m->type == DB_MSG_OFFER)
        db_snapshot_fetch(db, nodeid);
}

bool db_longer_log(const struct db *db, struct db_replica *ret)
{
    uint64_t last = db_log_last(&db->log), term = db_log_last_term(&db->log);
    for (size_t i = 0; i < db->n_seen; i++) {
        const struct db_seen *s = &db->seen[i];
        const struct db_replica *r = db_config_find(&db->config, &s->id);
        if (r == NULL || s->index_term < term || (s->index_term == term && s->index <= last))
            continue;
        *ret = *r;
        return true;
    }
    return false;
}

/* ---- prevention ------------------------------------------------------------------------------------------------- */

int db_prevent(struct db *db, int64_t now_ms, bool on)
{
    db->now = now_ms > db->now ? now_ms : db->now;
    if (on && db_is_quorate(db, db->now))
        return ERR_AGAIN;
    if (on && db->role != DB_FOLLOWER)
        db_election_follow(db, db->term);
    if (on != db->is_prevented)
        log_notice(db->p.log, on ? "prevention -> this node only joins" : "prevention ends -> this node may vote");
    db->meta_dirty |= on != db->is_prevented;
    db->is_prevented = on;
    return 0;
}

void db_force_joined(struct db *db)
{
    if (db->is_prevented)
        (void)db_prevent(db, db->now, false);
}

bool db_is_prevented(const struct db *db)
{
    return db->is_prevented;
}

bool db_is_prevention_durable(const struct db *db)
{
    return db->durable.is_prevented == db->is_prevented;
}
