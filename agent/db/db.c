/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Life, inputs, outputs and queries of the replicated database. What each input leads to is decided in the files that
 * internal.h lists; here it is only sent the right way. */
#include "agent/db/internal.h"

/* ---- life ------------------------------------------------------------------------------------------------------ */

static void discard_changes(struct tables *t)
{
    struct table_changes changes;
    tables_take_changes(t, &changes);
    table_changes_free(&changes);
}

static void load_applied_config(struct db *db)
{
    db->applied_config = db->base_config;
    for (size_t i = 0; i < db->log.n && db->log.e[i].index <= db->applied; i++)
        if (db_is_config_kind(db->log.e[i].kind))
            (void)db_config_apply(&db->applied_config, &db->log.e[i], NULL);
}

/* Takes what is in the image; what was in memory only (role) is learned anew. */
static void load(struct db *db, struct db_image *image)
{
    db->term = image->term;
    db->voted_for = image->voted_for;
    db->w.seen_of = image->witness;
    db->w.seen = image->witness_sequence;
    db->is_prevented = image->is_prevented;
    db->commit_hint = image->commit_index;
    db->applied = image->applied_index;
    if (image->tables != NULL)
        db->tables = image->tables;
    db->log = (struct db_log){.e = image->entries,
                              .n = image->n_entries,
                              .cap = image->n_entries,
                              .base_index = image->base_index,
                              .base_term = image->base_term};
    db->base_config = image->base_config;
    *image = (struct db_image){0};
}

/* What was stored as committed is: its rows may be missing. */
static void replay(struct db *db)
{
    uint64_t last = db_log_last(&db->log);
    assert(db->commit <= last);
    if (db->commit_hint > db->commit && !db->quarantined) {
        db->commit = db->commit_hint < last ? db->commit_hint : last;
        db_apply_committed(db);
    }
}

struct db *db_new(const struct db_params *params, struct db_image *image, int64_t now_ms)
{
    assert(params->message_max > 2 * DB_MSG_OVERHEAD && !uuid_is_nil(&params->self));
    struct db *db = xcalloc(1, sizeof(*db));
    db->p = *params;
    db->p.log_kept = params->log_kept != 0 ? params->log_kept : DB_LOG_KEPT;
    db->p.lag_snapshot = params->lag_snapshot != 0 ? params->lag_snapshot : DB_LAG_SNAPSHOT;
    db->prng = prng_new(params->seed);
    db->now = now_ms;
    if (image != NULL)
        load(db, image);
    if (db->tables == NULL)
        db->tables = tables_new();
    discard_changes(db->tables);
    db_requests_init(&db->requests, params->requests_kept != 0 ? params->requests_kept : DB_REQUESTS_KEPT);
    db_requests_load(&db->requests, db->tables);
    db->quarantined = db->applied < db->log.base_index;
    db->commit = db->quarantined ? db->log.base_index : db->applied;
    load_applied_config(db);
    db_config_reload(db);
    db->dirty_from = UINT64_MAX;
    db->stored_last = db_log_last(&db->log);
    db->stored_applied = db->applied;
    replay(db);
    db->durable = (struct db_durable){.term = db->term, .voted_for = db->voted_for, .last = db->stored_last,
                                      .is_prevented = db->is_prevented};
    db_election_follow(db, db->term);
    return db;
}

void db_free(struct db *db)
{
    if (db == NULL)
        return;
    struct db_out o;
    for (; db->out_head < db->out_n; db->out_head++) {
        o = db->out[db->out_head];
        db_out_done(&o);
    }
    for (size_t i = 0; i < db->n_pending; i++)
        db_entry_done(&db->pending[i].e);
    free(db->pending);
    free(db->out);
    db_log_done(&db->log);
    db_requests_done(&db->requests);
    tables_free(db->tables);
    free(db);
}

void db_image_done(struct db_image *image)
{
    for (size_t i = 0; i < image->n_entries; i++)
        db_entry_done(&image->entries[i]);
    free(image->entries);
    tables_free(image->tables);
    *image = (struct db_image){0};
}

/* The first configuration is made of entries, so that every later replica learns it from the log. */
static void append_founder(struct db *db, uint16_t kind, const struct buf *payload)
{
    struct entry e = {
        .term = db->term, .index = db_log_last(&db->log) + 1, .kind = kind, .payload = buf_slice(payload)};
    db_log_append(&db->log, &e);
    db_persist_log_changed(db, e.index);
}

/* The founding entries are of term 1; then this replica is elected by the usual rule, in term 2. */
int db_bootstrap(struct db *db, int64_t now_ms)
{
    db->now = now_ms > db->now ? now_ms : db->now;
    if (db->term != 0 || db_log_last(&db->log) != 0)
        return ERR_CONDITION;
    AUTO(buf_done) struct buf add = {0};
    AUTO(buf_done) struct buf weight = {0};
    db_election_follow(db, 1);
    db_encode_replica_add(&add, &db->p.self, db->p.nodeid);
    db_encode_replica_weight(&weight, &db->p.self, 1);
    append_founder(db, ENTRY_REPLICA_ADD, &add);
    append_founder(db, ENTRY_REPLICA_WEIGHT, &weight);
    db_config_reload(db);
    db->campaign_ms = db->now;
    db_election_tick(db);
    return 0;
}

/* ---- inputs ---------------------------------------------------------------------------------------------------- */

static bool enter(struct db *db, int64_t now_ms)
{
    db->now = now_ms > db->now ? now_ms : db->now;
    return !db->stopped;
}

void db_tick(struct db *db, int64_t now_ms)
{
    if (!enter(db, now_ms))
        return;
    db_election_tick(db);
    db_propose_tick(db);
    db_verdict_tick(db);
    db_snapshot_fetch_from_leader(db);
}

bool db_in_view(const struct db *db, uint32_t nodeid)
{
    for (size_t i = 0; i < db->n_view; i++)
        if (db->view[i] == nodeid)
            return true;
    return false;
}

static void forget_absent(struct db *db)
{
    size_t n = 0;
    for (size_t i = 0; i < db->n_seen; i++)
        if (db_in_view(db, db->seen[i].nodeid))
            db->seen[n++] = db->seen[i];
    db->n_seen = n;
}

void db_group(struct db *db, int64_t now_ms, const uint32_t *nodeids, size_t n)
{
    if (!enter(db, now_ms))
        return;
    db->n_view = n < DB_VIEW_MAX ? n : DB_VIEW_MAX;
    db->w.view_ms = db->now;
    for (size_t i = 0; i < db->n_view; i++)
        db->view[i] = nodeids[i];
    forget_absent(db);
    db_election_view(db);
    struct db_msg hello = {.type = DB_MSG_HELLO,
                           .yes = db->role == DB_LEADER,
                           .index = db_log_last(&db->log),
                           .index_term = db_log_last_term(&db->log)};
    db_send(db, &hello);
}

void db_ring(struct db *db, int64_t now_ms, struct db_ring ring)
{
    if (enter(db, now_ms))
        db_verdict_ring(db, ring);
}

static struct db_seen *seen_of(struct db *db, uint32_t nodeid)
{
    for (size_t i = 0; i < db->n_seen; i++)
        if (db->seen[i].nodeid == nodeid)
            return &db->seen[i];
    return NULL;
}

static struct db_seen *need_seen(struct db *db, uint32_t nodeid)
{
    struct db_seen *s = seen_of(db, nodeid);
    if (s != NULL || db->n_seen == DB_VIEW_MAX || !db_in_view(db, nodeid))
        return s;
    db->seen[db->n_seen] = (struct db_seen){.nodeid = nodeid};
    return &db->seen[db->n_seen++];
}

/* Of whatever it says: its hello may not have been heard. */
static void note_seen(struct db *db, uint32_t nodeid, const struct db_msg *m)
{
    struct db_seen *s = need_seen(db, nodeid);
    if (s == NULL)
        return;
    if (!uuid_eq(&s->id, &m->from))
        *s = (struct db_seen){.nodeid = nodeid, .id = m->from};
    s->term = m->term > s->term ? m->term : s->term;
    if (m->type == DB_MSG_HELLO || m->type == DB_MSG_PREVOTE || m->type == DB_MSG_VOTE) {
        s->index = m->index;
        s->index_term = m->index_term;
    }
}

static void on_hello(struct db *db, const struct db_msg *m)
{
    db_election_hello(db, m);
    if (db->role == DB_LEADER)
        db->heartbeat_ms = db->now; /* shows the newcomer who leads and us what it lacks */
}

/* Who is not in our configuration may greet, lead (we may be new, or far behind) and ask for our vote (election.c). */
static bool is_welcome(const struct db *db, const struct db_msg *m)
{
    switch (m->type) {
    case DB_MSG_HELLO:
    case DB_MSG_APPEND:
    case DB_MSG_OFFER:
    case DB_MSG_PREVOTE:
    case DB_MSG_VOTE: return true;
    default: return db_config_find(&db->config, &m->from) != NULL;
    }
}

static void dispatch(struct db *db, const struct db_msg *m, uint32_t nodeid)
{
    switch (m->type) {
    case DB_MSG_HELLO: on_hello(db, m); break;
    case DB_MSG_PREVOTE: db_on_prevote(db, m); break;
    case DB_MSG_PREVOTE_REPLY: db_on_prevote_reply(db, m); break;
    case DB_MSG_VOTE: db_on_vote(db, m); break;
    case DB_MSG_VOTE_REPLY: db_on_vote_reply(db, m); break;
    case DB_MSG_APPEND: db_on_append(db, m, nodeid); break;
    case DB_MSG_ACK: db_on_ack(db, m); break;
    case DB_MSG_PROPOSE: db_on_propose(db, m); break;
    case DB_MSG_OFFER: db_on_offer(db, m, nodeid); break;
    case DB_MSG_TIMEOUT_NOW: db_on_timeout_now(db, m); break;
    }
}

/* A replica is one disk on one node. What says that it is a replica that belongs to another node is a copy of its disk:
 * were it believed, one vote would count where two disks differ. */
static bool is_copy(struct db *db, const struct db_msg *m, uint32_t nodeid)
{
    const struct db_replica *r = db_config_find(&db->config, &m->from);
    bool self = uuid_eq(&m->from, &db->p.self);
    if (!self && (!r || r->nodeid == nodeid))
        return false;
    if (db->copy_nodeid != nodeid) /* once, not for each heartbeat */
        log_error(db->p.log,
                  "node %u says that it is replica %s, which is node %u's -> ignored; has its disk been copied?",
                  nodeid, uuid_str(&m->from).s, self ? db->p.nodeid : r->nodeid);
    db->copy_nodeid = nodeid;
    return true;
}

/* "Lower epochs neither vote nor acknowledge": they are not heard, and who knows of a later one does not speak. */
static void take(struct db *db, const struct db_msg *m, uint32_t nodeid)
{
    uint64_t own = db_epoch_of(db->term), its = db_epoch_of(m->term);
    if (its > own)
        db_on_later_epoch(db, m, nodeid);
    else if (its == own && !db_is_behind(db))
        dispatch(db, m, nodeid);
}

void db_message(struct db *db, int64_t now_ms, uint32_t from_nodeid, struct slice bytes)
{
    struct db_msg m;
    bool is_for = from_nodeid == db->p.nodeid || db_msg_is_for(bytes, &db->p.self);
    if (!enter(db, now_ms) || (!is_for && seen_of(db, from_nodeid)))
        return; /* most are acknowledgements to the leader, and not worth decoding */
    if (db_msg_decode(bytes, &m) != 0)
        return;
    if (from_nodeid == db->p.nodeid) {
        db_repl_returned(db, &m);
        db_msg_done(&m);
        return;
    }
    bool is_ours = uuid_eq(&m.cluster, &db->p.cluster) && !uuid_is_nil(&m.from) && !is_copy(db, &m, from_nodeid);
    if (is_ours)
        note_seen(db, from_nodeid, &m);
    if (is_ours && is_for && is_welcome(db, &m))
        take(db, &m, from_nodeid);
    db_msg_done(&m);
}

/* ---- outputs --------------------------------------------------------------------------------------------------- */

struct db_out *db_out_push(struct db *db, enum db_out_type type)
{
    if (db->out_n == db->out_cap) {
        db->out_cap = db->out_cap == 0 ? 16 : 2 * db->out_cap;
        db->out = xrealloc(db->out, db->out_cap, sizeof(*db->out));
    }
    struct db_out *o = &db->out[db->out_n++];
    memset(o, 0, sizeof(*o));
    o->type = type;
    return o;
}

void db_send(struct db *db, struct db_msg *m)
{
    m->cluster = db->p.cluster;
    m->from = db->p.self;
    m->term = db->term;
    db_msg_encode(m, &db_out_push(db, DB_SEND)->bytes);
}

/* Everything that waited makes one message and one batch: so it is done here, when the executor has nothing left. */
static void flush(struct db *db)
{
    db_propose_flush(db);
    db_witness_step(db);
    db_verdict_step(db);
    db_repl_flush(db);
    db_persist_flush(db);
}

bool db_take_out(struct db *db, struct db_out *ret)
{
    if (db->out_head == db->out_n) {
        db->out_head = db->out_n = 0;
        if (!db->stopped)
            flush(db);
    }
    if (db->out_head == db->out_n)
        return false;
    *ret = db->out[db->out_head++];
    return true;
}

void db_out_done(struct db_out *o)
{
    buf_done(&o->bytes);
    free(o->call);
    o->call = NULL;
    db_batch_free(o->batch);
    o->batch = NULL;
}

/* ---- queries --------------------------------------------------------------------------------------------------- */

const struct tables *db_tables(const struct db *db)
{
    return db->tables;
}

const struct db_config *db_configuration(const struct db *db)
{
    return &db->config;
}

bool db_is_leader(const struct db *db)
{
    return db->role == DB_LEADER && db->commit >= db->first_index;
}

bool db_leader(const struct db *db, struct db_replica *ret)
{
    if (!db->leader_known)
        return false;
    const struct db_replica *r = db_config_find(&db->config, &db->leader);
    *ret = (struct db_replica){
        .id = db->leader, .nodeid = db->leader_nodeid, .weight = r != NULL ? r->weight : (uint8_t)0};
    return true;
}

bool db_is_quorate(const struct db *db, int64_t now_ms)
{
    if (db->role == DB_LEADER)
        return db_votes_heard(db);
    return db->leader_known && db->leader_quorate && now_ms - db->leader_heard_ms < DB_ELECTION_MS_MIN;
}

bool db_is_current(const struct db *db, int64_t now_ms)
{
    uint64_t term = 0;
    bool is_own = db_log_term(&db->log, db->applied, &term) && term == db->term;
    return db_is_quorate(db, now_ms) && is_own && (db->role == DB_LEADER || db->applied >= db->told_commit);
}

uint64_t db_term(const struct db *db)
{
    return db->term;
}

uint64_t db_commit_index(const struct db *db)
{
    return db->commit;
}

uint64_t db_applied_index(const struct db *db)
{
    return db->applied;
}

uint64_t db_last_index(const struct db *db)
{
    return db_log_last(&db->log);
}

static bool is_present(const struct db *db, const struct uuid *id)
{
    if (uuid_eq(id, &db->p.self))
        return true;
    for (size_t i = 0; i < db->n_seen; i++)
        if (uuid_eq(&db->seen[i].id, id))
            return true;
    return false;
}

struct db_progress db_replica_progress(const struct db *db, const struct uuid *id)
{
    struct db_progress progress = {.present = is_present(db, id)};
    const struct db_replica *r = db_config_find(&db->config, id);
    if (r == NULL || db->role != DB_LEADER)
        return progress;
    uint64_t need = db->commit > db->first_index ? db->commit : db->first_index;
    progress.match = db->peers[r - db->config.replicas].match;
    if (!uuid_eq(id, &db->p.self))
        progress.silent_ms = db->now - db->peers[r - db->config.replicas].heard_ms;
    progress.caught_up = progress.match >= need;
    int64_t level_ms = db->peers[r - db->config.replicas].level_ms;
    progress.caught_up_lately = progress.caught_up || (level_ms != 0 && db->now - level_ms < DB_LATELY_MS);
    return progress;
}

bool db_replica_at(const struct db *db, uint32_t nodeid, struct uuid *ret)
{
    if (nodeid == db->p.nodeid) {
        *ret = db->p.self;
        return true;
    }
    for (size_t i = 0; i < db->n_seen; i++)
        if (db->seen[i].nodeid == nodeid) {
            *ret = db->seen[i].id;
            return true;
        }
    return false;
}

const struct entry *db_entry_at(const struct db *db, uint64_t index)
{
    return db_log_at(&db->log, index);
}
