/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Snapshots: the whole applied state of a leader, for a follower that is new, too far behind, or in quarantine. They go
 * over TLS, not over CPG: a leader only offers, the follower's executor fetches.
 *
 *   u8 'S'  u8 version (1)  uuid cluster  u64 index  u64 term of that entry  configuration  [32]state hash  tables
 *
 *   A snapshot is committed state, so installing one never depends on who served it. Log entries behind it stay if
 *   the log holds its last entry with the same term; else the log is dropped: then nothing of it can be committed.
 *   Quarantine drops the tables, never the log: what was acknowledged stays acknowledged. */
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
    return db->role == DB_LEADER && !db->quarantined && !db->stopped && db_votes_heard(db);
}

void db_snapshot_encode(const struct db *db, struct buf *b)
{
    uint64_t term = 0;
    bool known = db_log_term(&db->log, db->applied, &term);
    assert(known && !db->quarantined);
    struct hash hash = tables_hash(db->tables);
    wire_put_u8(b, MAGIC);
    wire_put_u8(b, VERSION);
    wire_put_uuid(b, &db->p.cluster);
    wire_put_u64(b, db->applied);
    wire_put_u64(b, term);
    db_config_encode(&db->applied_config, b);
    buf_add(b, hash.b, HASH_SIZE);
    tables_encode(db->tables, b);
}

/* ---- follower -------------------------------------------------------------------------------------------------- */

static void fetch(struct db *db, uint32_t nodeid)
{
    if (db->fetching || db->now < db->fetch_again_ms)
        return;
    db->fetching = true;
    db_out_push(db, DB_FETCH)->from_nodeid = nodeid;
}

void db_snapshot_fetch_from_leader(struct db *db)
{
    if (db->quarantined && db->leader_known && db->role == DB_FOLLOWER)
        fetch(db, db->leader_nodeid);
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
        fetch(db, nodeid);
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

static int decode(const struct db *db, struct slice bytes, struct snapshot *ret)
{
    struct wire_reader r = wire_reader(bytes);
    struct snapshot s = {0};
    uint8_t magic = wire_get_u8(&r), version = wire_get_u8(&r);
    struct uuid cluster = wire_get_uuid(&r);
    if (wire_err(&r) != 0 || magic != MAGIC || version != VERSION || !uuid_eq(&cluster, &db->p.cluster))
        return ERR_MALFORMED;
    s.index = wire_get_u64(&r);
    s.term = wire_get_u64(&r);
    db_config_decode(&r, &s.config);
    for (size_t i = 0; i < HASH_SIZE; i++)
        s.hash.b[i] = wire_get_u8(&r);
    if (wire_err(&r) != 0 || tables_decode(&r, &s.tables) != 0)
        return ERR_MALFORMED;
    struct hash hash = tables_hash(s.tables);
    if (wire_end(&r) != 0 || !hash_eq(&hash, &s.hash) || s.term > UINT64_MAX / 2 || s.index > UINT64_MAX / 2 ||
        !rows_decode(db, s.tables)) {
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

static void install(struct db *db, const struct snapshot *s)
{
    if (s->term > db->term)
        db_election_follow(db, s->term);
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
    int err = decode(db, bytes, &s);
    if (err != 0) {
        db_fetch_failed(db, now_ms);
        return err;
    }
    db->fetching = false;
    bool is_old = db->quarantined ? s.index < db->log.base_index : s.index <= db->applied;
    if (is_old || db->role == DB_LEADER || db->stopped)
        err = ERR_AGAIN;
    else
        install(db, &s);
    tables_free(s.tables);
    return err;
}
