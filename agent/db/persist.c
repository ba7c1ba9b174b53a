/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Batches for the store, and what is durable.
 *
 *   At most one batch is under way; what changes meanwhile makes up the next one. So batches are written in order, an
 *   fsync serves all that waited for it, and "what is durable" is one small struct (I4).
 *   A batch holds, against the last one: term and vote; entries cut and entries new; the rows that lead from the
 *   applied index stored before to the one now; the base of the log. Entries travel at once, rows after DB_LAZY_ENTRIES
 *   or DB_LAZY_MS: they lie all over the file, and what is lost of them is made again from the log.
 *   A batch is a consistent image: rows never run ahead of the entries in it and before it. */
#include "agent/db/internal.h"

void db_persist_log_changed(struct db *db, uint64_t from)
{
    if (from < db->dirty_from)
        db->dirty_from = from;
}

/* Also what is being written now no longer counts for what was cut. */
void db_persist_log_cut(struct db *db, uint64_t from)
{
    db_persist_log_changed(db, from);
    if (db->durable.last >= from)
        db->durable.last = from - 1;
    if (db->flight.last >= from)
        db->flight.last = from - 1;
}

static bool is_urgent(const struct db *db)
{
    return db->meta_dirty || db->replace || db->dirty_from != UINT64_MAX;
}

static bool are_rows_due(const struct db *db)
{
    if (db->replace)
        return true;
    if (db->applied <= db->stored_applied)
        return false;
    bool can_replay = db->log.base_index <= db->stored_applied;
    return !can_replay || db->applied - db->stored_applied >= DB_LAZY_ENTRIES ||
           db->now - db->lazy_since_ms >= DB_LAZY_MS;
}

static void fill_entries(struct db *db, struct db_batch *b)
{
    uint64_t from = db->replace ? db->log.base_index + 1 : db->dirty_from, last = db_log_last(&db->log);
    if (!db->replace && from <= db->stored_last)
        b->truncate_from = from;
    if (from <= db->log.base_index)
        from = db->log.base_index + 1;
    if (from > last)
        return;
    b->n_entries = (size_t)(last - from + 1);
    b->entries = xcalloc(b->n_entries, sizeof(*b->entries));
    for (size_t i = 0; i < b->n_entries; i++)
        b->entries[i] = db_entry_copy(db_log_at(&db->log, from + i));
}

static struct db_batch *make_batch(struct db *db)
{
    struct db_batch *b = xcalloc(1, sizeof(*b));
    b->seq = ++db->seq_last;
    b->replace = db->replace;
    b->term = db->term;
    b->voted_for = db->voted_for;
    b->witness = db->w.seen_of;
    b->witness_sequence = db->w.seen;
    b->is_prevented = db->is_prevented;
    b->commit_index = db->commit > db->commit_hint ? db->commit : db->commit_hint;
    fill_entries(db, b);
    if (are_rows_due(db)) {
        tables_take_changes(db->tables, &b->rows);
        b->digest = tables_hash(db->tables);
        db->stored_applied = db->applied;
        db->lazy_since_ms = 0;
    }
    b->applied_index = db->stored_applied;
    b->base_index = db->log.base_index;
    b->base_term = db->log.base_term;
    b->base_config = db->base_config;
    return b;
}

void db_persist_flush(struct db *db)
{
    if (db->flight.seq != 0 || !(is_urgent(db) || are_rows_due(db)))
        return;
    db_apply_compact(db);
    struct db_batch *b = make_batch(db);
    db_out_push(db, DB_PERSIST)->batch = b;
    db->flight =
        (struct db_durable){.seq = b->seq, .term = b->term, .voted_for = b->voted_for, .last = db_log_last(&db->log),
                            .is_prevented = b->is_prevented};
    db->meta_dirty = false;
    db->replace = false;
    db->dirty_from = UINT64_MAX;
    db->stored_last = db_log_last(&db->log);
    db->commit_hint = b->commit_index;
}

void db_persisted(struct db *db, int64_t now_ms, uint64_t seq)
{
    db->now = now_ms > db->now ? now_ms : db->now;
    if (db->stopped || seq != db->flight.seq || seq == 0)
        return; /* not wanted any more */
    db->durable = db->flight;
    db->flight = (struct db_durable){0};
    db_election_persisted(db);
    db_repl_persisted(db);
}

void db_batch_free(struct db_batch *b)
{
    if (b == NULL)
        return;
    for (size_t i = 0; i < b->n_entries; i++)
        db_entry_done(&b->entries[i]);
    free(b->entries);
    table_changes_free(&b->rows);
    free(b);
}
