/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Committed entries into the tables, in log order, each once.
 *
 *   "An entry of an unknown kind stops that node with a clear error; it is never skipped."
 *   "Equal index means equal state hash; a mismatch quarantines the node and fetches anew, never merges."
 *   A request id that has a kept outcome is not applied again: this is decided from the tables alone, so all agree. */
#include "agent/db/internal.h"

static void stop(struct db *db, const struct entry *e, int err)
{
    db->stopped = true;
    struct db_out *o = db_out_push(db, DB_FATAL);
    error_set(&o->result.error, err, "log entry %llu is of kind %u (level %u), which this release does not know",
              (unsigned long long)e->index, e->kind, e->level);
    error_set_remedy(&o->result.error, "install the release that the other nodes run");
    log_error(db->p.log, "%s -> stop", o->result.error.text);
}

static int apply_one(struct db *db, const struct entry *e, struct apply_result *ret)
{
    if (e->kind == ENTRY_NOOP)
        return 0;
    if (db_is_config_kind(e->kind)) {
        int err = db_config_apply(&db->applied_config, e, &ret->error);
        if (err != 0 || e->kind != ENTRY_FORCE) /* the cluster's journal says who forced it */
            return 0;
    }
    return db->p.machine.apply(db->p.machine.ctx, db->tables, e, ret);
}

static void remember_hash(struct db *db)
{
    struct hash hash = tables_hash(db->tables);
    db->hashes[db->applied % DB_HASHES_KEPT] = (struct db_hash_at){.index = db->applied, .hash = hash};
}

void db_apply_committed(struct db *db)
{
    while (!db->stopped && !db->quarantined && db->applied < db->commit) {
        struct apply_result result = {0};
        const struct entry *e = db_log_at(&db->log, db->applied + 1);
        assert(e != NULL);
        bool again = db_requests_get(db->tables, &e->request_id, &result);
        int err = again ? 0 : apply_one(db, e, &result);
        if (err != 0) {
            stop(db, e, err);
            return;
        }
        db->applied = e->index;
        if (db->lazy_since_ms == 0)
            db->lazy_since_ms = db->now;
        if (!uuid_is_nil(&e->request_id) && !again)
            db_requests_put(&db->requests, db->tables, e->index, &e->request_id, &result);
        remember_hash(db);
        if (!uuid_is_nil(&e->request_id))
            db_propose_outcome(db, &e->request_id, &result);
        if (db->expected.index == db->applied)
            db_apply_check_hash(db, db->expected.index, &db->expected.hash);
    }
}

/* The leader's hash at an index: compared at once if we were there lately, else when we get there. */
void db_apply_check_hash(struct db *db, uint64_t index, const struct hash *hash)
{
    if (index == 0 || db->quarantined)
        return;
    if (index > db->applied) {
        db->expected = (struct db_hash_at){.index = index, .hash = *hash};
        return;
    }
    const struct db_hash_at *own = &db->hashes[index % DB_HASHES_KEPT];
    if (own->index != index || hash_eq(&own->hash, hash))
        return;
    log_error(db->p.log, "state differs from the leader's at %llu -> quarantine, fetch a snapshot",
              (unsigned long long)index);
    db_snapshot_quarantine(db);
}

/* Forgets entries that are DB_LOG_KEPT behind the applied index; a little late, so that it is not done for each one. */
void db_apply_compact(struct db *db)
{
    uint64_t slack = db->p.log_kept / 8 + 1;
    if (db->quarantined || db->applied < db->log.base_index + db->p.log_kept + slack)
        return;
    uint64_t to = db->applied - db->p.log_kept;
    for (uint64_t i = db->log.base_index + 1; i <= to; i++) {
        const struct entry *e = db_log_at(&db->log, i);
        if (db_is_config_kind(e->kind))
            (void)db_config_apply(&db->base_config, e, NULL);
    }
    db_log_compact(&db->log, to);
    if (db->config_index < to)
        db->config_index = to;
}
