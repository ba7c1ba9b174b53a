/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Snapshots: the whole applied state of a leader, for a follower that is new, too far behind, or in quarantine. They go
 * over TLS, not over CPG: a leader only offers, the follower's executor fetches.
 *
 *   u8 'S'  u8 version (1)  uuid cluster  u64 index  u64 term of that entry  configuration  [32]state hash  tables
 *
 *   A snapshot is committed state, so installing one never depends on who served it. Log entries behind it stay if
 *   the log holds its last entry with the same term; else the log is dropped: then nothing of it can be committed.
 *   Quarantine drops the tables, never the log: what was acknowledged stays acknowledged.
 *   A snapshot of a later epoch (force.c) replaces all that is here; it says so by the term of its last entry. */
#include "agent/db/internal.h"

enum { MAGIC = 'S', VERSION = 1 };

/* ---- leader ---------------------------------------------------------------------------------------------------- */

void db_snapshot_offer(struct db *db, struct db_peer *peer)
{
    if (db->now - peer->offered_ms < DB_OFFER_MS)
        return;
    peer->offered_ms = db->now;
    peer->repairing = false;
    log_info(db->p.log, "replica %s is behind the log -> offer a snapshot", uuid_str(&peer->id).s);
    struct db_msg m = {.type = DB_MSG_OFFER, .to = peer->id, .index = db->applied};
    db_send(db, &m);
}

/* "A follower takes state only from a leader that holds a majority." What is applied is committed, so nothing more. */
bool db_can_serve(const struct db *db)
{
    return db->role == DB_LEADER && !db->quarantined && !db->stopped && db_votes_heard(db) && !db_is_force_open(db);
}

void db_snapshot_encode_at(const struct db *db, const struct tables *t, uint64_t index, uint64_t term, struct buf *b)
{
    struct hash hash = tables_hash(t);
    wire_put_u8(b, MAGIC);
    wire_put_u8(b, VERSION);
    wire_put_uuid(b, &db->p.cluster);
    wire_put_u64(b, index);
    wire_put_u64(b, term);
    db_config_encode(&db->applied_config, b);
    buf_add(b, hash.b, HASH_SIZE);
    tables_encode(t, b);
}

void db_snapshot_encode(const struct db *db, struct buf *b)
{
    uint64_t term = 0;
    bool known = db_log_term(&db->log, db->applied, &term);
    assert(known && !db->quarantined);
    db_snapshot_encode_at(db, db->tables, db->applied, term, b);
}

/* ---- follower -------------------------------------------------------------------------------------------------- */

void db_snapshot_fetch(struct db *db, uint32_t nodeid)
{
    if (db->fetching || db->now < db->fetch_again_ms)
        return;
    db->fetching = true;
    db_out_push(db, DB_FETCH)->from_nodeid = nodeid;
}

void db_snapshot_fetch_from_leader(struct db *db)
{
    if (db->quarantined && db->leader_known && db->role == DB_FOLLOWER)
        db_snapshot_fetch(db, db->leader_nodeid);
}

void db_fetch_failed(struct db *db, int64_t now_ms)
{
    db->now = now_ms > db->now ? now_ms : db->now;
    db->fetching = false;
    db->fetch_again_ms = db->now + DB_OFFER_MS;
}

void db_on_offer(struct db *db, const struct db_msg *m, uint32_t nodeid)
{
    if (m->term < db->term || db_election_is_rival(db, m, nodeid))
        return;
    db_election_heard_leader(db, m, nodeid);
    if (m->index > db->applied || db->quarantined)
        db_snapshot_fetch(db, nodeid);
    db_repl_send_ack(db, true, db->verified); /* alive */
}

/* The tables become empty, on disk too; the log stays. */
void db_snapshot_quarantine(struct db *db)
{
    db->quarantined = true;
    tables_free(db->tables);
    db->tables = tables_new();
    db_requests_load(&db->requests, db->tables);
    db->applied = 0;
    db->replace = true;
    memset(db->hashes, 0, sizeof(db->hashes));
    db->expected = (struct db_hash_at){0};
    db_snapshot_fetch_from_leader(db);
}

struct snapshot {
    uint64_t index, term;
    struct db_config config;
    struct hash hash;
    struct tables *tables;
};

/* Once installed they are on disk, and the agent could not even start with a row that it cannot read. */
static bool rows_decode(const struct db *db, const struct tables *t)
{
    struct error e = {0};
    if (!db->p.machine.check || db->p.machine.check(t, &e) == 0)
        return true;
    log_error(db->p.log, "snapshot: %s -> refused", e.text);
    return false;
}

static int decode(const struct uuid *own_cluster, struct slice bytes, struct snapshot *ret)
{
    struct wire_reader r = wire_reader(bytes);
    struct snapshot s = {0};
    uint8_t magic = wire_get_u8(&r), version = wire_get_u8(&r);
    struct uuid cluster = wire_get_uuid(&r);
    if (wire_err(&r) != 0 || magic != MAGIC || version != VERSION || !uuid_eq(&cluster, own_cluster))
        return ERR_MALFORMED;
    s.index = wire_get_u64(&r);
    s.term = wire_get_u64(&r);
    db_config_decode(&r, &s.config);
    for (size_t i = 0; i < HASH_SIZE; i++)
        s.hash.b[i] = wire_get_u8(&r);
    if (wire_err(&r) != 0 || tables_decode(&r, &s.tables) != 0)
        return ERR_MALFORMED;
    struct hash hash = tables_hash(s.tables);
    if (wire_end(&r) != 0 || !hash_eq(&hash, &s.hash) || s.term > UINT64_MAX / 2 || s.index > UINT64_MAX / 2) {
        tables_free(s.tables);
        return ERR_MALFORMED;
    }
    *ret = s;
    return 0;
}

/* All rows as pending changes, so that the next batch holds the whole state. */
static struct tables *as_changes(const struct tables *from)
{
    struct tables *t = tables_new();
    for (unsigned id = 1; id < TABLE_MAX; id++)
        TABLES_FOREACH(from, (enum table_id)id, row)
    tables_put(t, row.table, row.key, row.value);
    return t;
}

/* I4: what is on disk beyond the old commit index may not be the leader's log; it counts again when the batch is. */
static void install_log(struct db *db, const struct snapshot *s)
{
    uint64_t term = 0, doubt = db->commit + 1;
    if (db_log_term(&db->log, s->index, &term) && term == s->term) {
        db_log_compact(&db->log, s->index);
    } else {
        db_log_reset(&db->log, s->index, s->term);
        db_persist_log_cut(db, doubt);
    }
    db->base_config = s->config;
    db_config_reload(db);
}

/* "Lower epochs reload a snapshot": nothing of what is here stays, committed or not, and nothing is merged. */
static void give_up_all(struct db *db)
{
    log_warn(db->p.log, "quorum was forced elsewhere -> what is here up to %llu is given up",
             (unsigned long long)db_log_last(&db->log));
    db_log_reset(&db->log, 0, 0);
    db_persist_log_cut(db, 1);
    db->commit = db->commit_hint = 0;
}

static void install(struct db *db, const struct snapshot *s)
{
    bool is_later = db_epoch_of(s->term) > db_epoch_of(db->term);
    if (s->term > db->term)
        db_election_follow(db, s->term);
    if (is_later)
        give_up_all(db);
    install_log(db, s);
    tables_free(db->tables);
    db->tables = as_changes(s->tables);
    db_requests_load(&db->requests, db->tables);
    db->applied_config = s->config;
    db->applied = s->index;
    db->commit = s->index > db->commit ? s->index : db->commit;
    db->verified = s->index > db->verified ? s->index : db->verified;
    db->replace = true;
    db->quarantined = false;
    memset(db->hashes, 0, sizeof(db->hashes));
    db->expected = (struct db_hash_at){0};
    log_notice(db->p.log, "snapshot at %llu -> installed", (unsigned long long)s->index);
    db_propose_check_kept(db);
    db_apply_committed(db);
}

int db_snapshot_install(struct db *db, int64_t now_ms, struct slice bytes)
{
    db->now = now_ms > db->now ? now_ms : db->now;
    struct snapshot s;
    int err = decode(&db->p.cluster, bytes, &s);
    if (err == 0 && !rows_decode(db, s.tables)) {
        tables_free(s.tables);
        err = ERR_MALFORMED;
    }
    if (err != 0) {
        db_fetch_failed(db, now_ms);
        return err;
    }
    db->fetching = false;
    bool is_old = db->quarantined ? s.index < db->log.base_index : s.index <= db->applied;
    if (db_epoch_of(s.term) != db_epoch_of(db->term))
        is_old = s.term < db->term;
    if (is_old || db->role == DB_LEADER || db->stopped)
        err = ERR_AGAIN;
    else
        install(db, &s);
    tables_free(s.tables);
    return err;
}

/* ---- put back -------------------------------------------------------------------------------------------------- */

static int check_restore(const struct db_image *image, const struct uuid *self, const struct snapshot *s,
                         struct error *e)
{
    if (!db_config_find(&s->config, self)) {
        error_set(e, ERR_CONDITION, "this replica was no member yet when that copy was made");
        error_set_remedy(e, "restore the other nodes, and let this one join anew");
        return ERR_CONDITION;
    }
    if (db_epoch_of(s->term) != db_epoch_of(image->term) || s->term > image->term)
        return error_set(e, ERR_CONDITION, "quorum was forced since that copy was made, or this replica is older");
    return 0;
}

static struct db_batch *restored_batch(const struct db_image *image, const struct snapshot *s)
{
    struct db_batch *b = xcalloc(1, sizeof(*b));
    *b = (struct db_batch){.seq = 1,
                           .replace = true,
                           .term = image->term,
                           .voted_for = image->voted_for,
                           .witness = image->witness,
                           .witness_sequence = image->witness_sequence,
                           .is_prevented = image->is_prevented,
                           .commit_index = s->index,
                           .applied_index = s->index,
                           .base_index = s->index,
                           .base_term = s->term,
                           .base_config = s->config};
    struct tables *t = as_changes(s->tables);
    tables_take_changes(t, &b->rows);
    b->digest = tables_hash(t);
    tables_free(t);
    return b;
}

int db_restore_batch(const struct db_image *image, const struct uuid *cluster, const struct uuid *self,
                     struct slice bytes, int (*check)(const struct tables *t, struct error *e),
                     void (*edit)(struct tables *t), struct db_batch **ret, struct error *e)
{
    struct snapshot s;
    if (decode(cluster, bytes, &s))
        return error_set(e, ERR_MALFORMED, "it is damaged, or of another cluster");
    int err = check_restore(image, self, &s, e);
    if (!err && check)
        err = check(s.tables, e);
    if (!err) {
        if (edit)
            edit(s.tables);
        *ret = restored_batch(image, &s);
    }
    tables_free(s.tables);
    return err;
}
