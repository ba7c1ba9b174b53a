/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Proposals. Each stays here until its outcome is applied here or its deadline passes; meanwhile it is sent to the
 * leader again every DB_RETRY_MS, and at once when there is a new one.
 *
 *   "A request_id makes a retry safe": the leader appends a request id only if it is neither in its unapplied tail nor
 *   among the kept outcomes.
 *   "At most one [configuration entry] is uncommitted, and the previous one and an entry of the leader's own term are
 *   committed before it": one that comes too early is not appended; it waits here and is tried again. So does one that
 *   gives a vote to a replica that is not caught up, and one behind which nobody would be given the witness. One that
 *   makes no sense is appended and has no effect: its outcome says why, on every node. */
#include "agent/db/internal.h"

bool db_config_settled(const struct db *db)
{
    uint64_t term = 0;
    bool own_term = db_log_term(&db->log, db->commit, &term) && term == db->term;
    if (db->role == DB_LEADER)
        own_term = db->commit >= db->first_index;
    return own_term && db->config_index <= db->commit;
}

/* ---- leader ---------------------------------------------------------------------------------------------------- */

/* A vote goes to who has the log: else the cluster could come to need a node that cannot answer. The witness's "rise is
 * appended only with the tag of the own term known and members = the live, caught-up nodes". */
static bool is_ripe(const struct db *db, const struct entry *e)
{
    if (!db_is_config_kind(e->kind))
        return true;
    if (e->kind == ENTRY_FORCE)
        return false; /* stands in the log of who forced, or nowhere */
    struct db_config next = db->config;
    if (db_config_apply(&next, e, NULL) == 0 && !db_witness_frees(db, &next))
        return false;
    struct wire_reader r = wire_reader(e->payload);
    struct uuid id = wire_get_uuid(&r);
    if (e->kind == ENTRY_WITNESS_WEIGHT)
        return db_config_settled(db) && (wire_get_u8(&r) == 0 || db_witness_is_current(db));
    bool raises = e->kind == ENTRY_REPLICA_WEIGHT && wire_get_u8(&r) > 0;
    bool is_member = db_config_find(&db->config, &id) != NULL;
    return db_config_settled(db) && (!raises || !is_member || db_replica_progress(db, &id).caught_up);
}

/* False: not now. */
static bool append_once(struct db *db, const struct entry *e)
{
    struct apply_result kept;
    if (db->transfer)
        return false;
    if (db_requests_get(db->tables, &e->request_id, &kept))
        return true;
    if (db_log_has_request(&db->log, db->applied, &e->request_id))
        return true;
    if (!is_ripe(db, e))
        return false;
    struct entry copy = *e;
    db_repl_append_own(db, &copy);
    return true;
}

void db_on_propose(struct db *db, const struct db_msg *m)
{
    for (size_t i = 0; db->role == DB_LEADER && i < m->n_entries; i++)
        if (!uuid_is_nil(&m->entries[i].request_id))
            (void)append_once(db, &m->entries[i]);
}

/* ---- proposer -------------------------------------------------------------------------------------------------- */

static struct db_pending *find(const struct db *db, const struct uuid *id)
{
    for (size_t i = 0; i < db->n_pending; i++)
        if (uuid_eq(&db->pending[i].e.request_id, id))
            return &db->pending[i];
    return NULL;
}

bool db_is_pending(const struct db *db, const struct uuid *request_id)
{
    return find(db, request_id) != NULL;
}

static void add(struct db *db, const struct entry *e, int64_t deadline_ms)
{
    if (db->n_pending == db->cap_pending) {
        db->cap_pending = db->cap_pending == 0 ? 16 : 2 * db->cap_pending;
        db->pending = xrealloc(db->pending, db->cap_pending, sizeof(*db->pending));
    }
    db->pending[db->n_pending++] =
        (struct db_pending){.e = db_entry_copy(e), .deadline_ms = deadline_ms, .send_ms = db->now};
}

static void say_outcome(struct db *db, const struct uuid *id, const struct apply_result *result)
{
    struct db_out *o = db_out_push(db, DB_APPLIED);
    o->request_id = *id;
    o->result = *result;
}

int db_propose(struct db *db, int64_t now_ms, const struct entry *e, int64_t deadline_ms)
{
    db->now = now_ms > db->now ? now_ms : db->now;
    struct apply_result kept;
    if (uuid_is_nil(&e->request_id))
        return ERR_USAGE;
    if (e->payload.len > ENTRY_SIZE_MAX || db_msg_entry_size(e) + DB_MSG_OVERHEAD > db->p.message_max)
        return ERR_TOO_BIG;
    struct db_pending *p = find(db, &e->request_id);
    if (p != NULL) {
        p->deadline_ms = deadline_ms > p->deadline_ms ? deadline_ms : p->deadline_ms;
        return 0;
    }
    if (db_requests_get(db->tables, &e->request_id, &kept)) {
        say_outcome(db, &e->request_id, &kept);
        return 0;
    }
    if (db->n_pending == DB_PENDING_MAX)
        return ERR_AGAIN;
    add(db, e, deadline_ms);
    return 0;
}

static void take_out(struct db *db, size_t pos)
{
    db_entry_done(&db->pending[pos].e);
    memmove(&db->pending[pos], &db->pending[pos + 1], (db->n_pending - pos - 1) * sizeof(*db->pending));
    db->n_pending--;
}

void db_propose_outcome(struct db *db, const struct uuid *id, const struct apply_result *result)
{
    const struct db_pending *p = find(db, id);
    if (p == NULL)
        return;
    say_outcome(db, id, result);
    take_out(db, (size_t)(p - db->pending));
}

/* After a snapshot: outcomes arrived without their entries. */
void db_propose_check_kept(struct db *db)
{
    for (size_t i = db->n_pending; i > 0; i--) {
        struct apply_result kept;
        struct uuid id = db->pending[i - 1].e.request_id;
        if (db_requests_get(db->tables, &id, &kept))
            db_propose_outcome(db, &id, &kept);
    }
}

void db_propose_hurry(struct db *db)
{
    for (size_t i = 0; i < db->n_pending; i++)
        db->pending[i].send_ms = db->now;
}

void db_propose_tick(struct db *db)
{
    for (size_t i = 0; i < db->n_pending;) {
        if (db->now < db->pending[i].deadline_ms) {
            i++;
            continue;
        }
        struct apply_result result = {0};
        struct uuid id = db->pending[i].e.request_id;
        if (db->leader_known)
            error_set(&result.error, ERR_TIMEOUT, "no outcome in time: it may still be carried out");
        else
            error_set(&result.error, ERR_NO_QUORUM, "no quorum: there is no leader; it may still be carried out");
        say_outcome(db, &id, &result);
        take_out(db, i);
    }
}

static void append_due(struct db *db)
{
    for (size_t i = 0; i < db->n_pending; i++) {
        struct db_pending *p = &db->pending[i];
        if (p->send_ms <= db->now)
            p->send_ms = db->now + (append_once(db, &p->e) ? DB_RETRY_MS : DB_CONFIG_AGAIN_MS);
    }
}

static void send_some(struct db *db, struct entry *entries, size_t n)
{
    struct db_msg m = {.type = DB_MSG_PROPOSE, .to = db->leader, .entries = entries, .n_entries = n};
    if (n > 0)
        db_send(db, &m);
}

/* All that is due in as few messages as they fit into. */
static void forward_due(struct db *db)
{
    AUTO(freep) struct entry *due = xcalloc(db->n_pending + 1, sizeof(*due));
    size_t n = 0, bytes = DB_MSG_OVERHEAD;
    for (size_t i = 0; i < db->n_pending; i++) {
        struct db_pending *p = &db->pending[i];
        if (p->send_ms > db->now)
            continue;
        if (n > 0 && bytes + db_msg_entry_size(&p->e) > db->p.message_max) {
            send_some(db, due, n);
            n = 0;
            bytes = DB_MSG_OVERHEAD;
        }
        due[n++] = p->e; /* borrowed */
        bytes += db_msg_entry_size(&p->e);
        p->send_ms = db->now + DB_RETRY_MS;
    }
    send_some(db, due, n);
}

void db_propose_flush(struct db *db)
{
    if (db->n_pending == 0)
        return;
    if (db->role == DB_LEADER)
        append_due(db);
    else if (db->leader_known)
        forward_due(db);
}
