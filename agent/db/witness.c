/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The witness as a voter: "a Raft voter whose log is what every node in `members` has". The rules, and where they are:
 *
 *   "Grant. X persists (T, vote for X) before the write [I7]. It may write only if the stored term is below T and one:
 *   (a) X is in members; (b) a node of members voted for X in T; (c) X's last log term is above the stored term. New
 *   members = X and those voters whose log equals X's. A leader elected by nodes alone may claim it in its own term by
 *   (c). The vote counts only once the tag is known to carry (T, leader X)."            may_write, claim, is_known
 *   "Skip it where nodes + witness cannot reach quorum."                                   db_votes_need_witness
 *   "The witness counts only if the tag of the own term is known and need ⊆ S."            db_witness_is_covered
 *   "Members change by a write in the same term, both ways. Adding c: acknowledged(c) >= max(commit_index, the leader's
 *   first index of its term). When it is sent, need becomes the union of old and new; when it is known, need = new."
 *   That it is this leader's of this term is forgotten when it is removed, and named again. Then it counts for nothing
 *   until a write is known, and all its members are added anew.                               is_led, step_leader
 *   "Unknown outcome: need stays the union. Seeing the old tag proves nothing: it may land later. It resolves only
 *   by seeing one's own nonce, or by a later successful write."                            take_tag, take_written
 *   "A higher term: step down." "Missing is a fault, reported, never re-created."
 *   "Refuse when its sequence is below the highest seen (rolled back)."                    is_believed
 *
 * One call is under way at a time, and one write has an open outcome: it is sent again as it is, with the same
 * nonce, until it is known or another write has changed the etag, so `need` is never more than one union.
 *
 *        no etag            etag            done, or own nonce read
 *   READ ────────> (GET) ─────────> (PUT) ──────────────────────────> KNOWN ──(members change)──> PUT
 *     ^                               │ lost, unknown, not written
 *     └───────────────────────────────┘
 *
 * A candidate-to-be reads the tag before it raises its term: a node that would be refused (it was away, and others went
 * on) waits and says why, and disturbs nobody. */
#include "agent/db/internal.h"

#include <stdio.h>

static bool has_member(const struct db_tag *tag, const struct uuid *id)
{
    for (size_t i = 0; i < tag->n_members; i++)
        if (uuid_eq(&tag->members[i], id))
            return true;
    return false;
}

/* Beyond what fits, nodes are left out: fewer members only mean fewer who are given it at once. */
static void add_member(struct db_tag *tag, const struct uuid *id)
{
    if (tag->n_members < DB_TAG_MEMBERS_MAX)
        tag->members[tag->n_members++] = *id;
}

static void say_trouble(struct db *db, const char *text)
{
    db->w.refused_term = 0;
    if (str_eq(db->w.trouble, text))
        return; /* once, not for each round */
    STR_COPY(db->w.trouble, text);
    if (text[0] != '\0')
        log_warn(db->p.log, "%s", text);
}

/* ---- what is known ---------------------------------------------------------------------------------------------- */

/* What this node heard as a candidate is over: it follows a leader with a majority. */
void db_witness_followed(struct db *db)
{
    db->w.refused_term = 0;
    db->w.trouble[0] = '\0';
}

void db_witness_forget(struct db *db)
{
    struct db_witness *w = &db->w;
    w->is_known = w->is_sent = w->is_doubted = false;
    if (w->verb == DB_WITNESS_PUT)
        w->call = 0; /* it may land all the same: a later write is conditional, and so is the one after that */
    w->budget_ms = db->now + DB_WITNESS_BUDGET_MS;
}

/* "A candidate uses the witness that its own configuration names." */
static bool is_named(const struct db *db)
{
    return !uuid_is_nil(&db->w.of) && uuid_eq(&db->w.of, &db->config.witness);
}

static void follow_name(struct db *db)
{
    struct db_witness *w = &db->w;
    if (uuid_eq(&w->of, &db->config.witness))
        return;
    w->of = db->config.witness;
    w->is_known = w->is_sent = w->is_doubted = w->is_reachable = false;
    w->call = 0;
    w->etag[0] = w->trouble[0] = '\0';
    w->refused_term = 0;
    w->tag = (struct db_tag){0};
    w->again_ms = db->now;
}

void db_witness_note(struct db *db, const struct uuid *witness, uint64_t sequence)
{
    struct db_witness *w = &db->w;
    bool is_same = uuid_eq(&w->seen_of, witness);
    if (uuid_is_nil(witness) || (is_same && sequence <= w->seen))
        return;
    w->seen_of = *witness;
    w->seen = sequence;
    db->meta_dirty = true;
    if (uuid_eq(witness, &w->of) && w->tag.sequence < sequence)
        w->etag[0] = '\0'; /* what was read is no longer so: were it so again, it would have been rolled back */
}

static bool is_fresh(const struct db *db)
{
    return db->w.etag[0] != '\0' && db->now - db->w.read_ms < DB_WITNESS_FRESH_MS;
}

static bool has_vote_of_member(const struct db *db, bool or_may_have)
{
    for (size_t i = 0; i < db->config.n; i++) {
        const struct db_peer *p = &db->peers[i];
        bool may = p->vote == DB_VOTE_NONE && db_in_view(db, db->config.replicas[i].nodeid);
        bool yes = p->vote == DB_VOTE_YES || (or_may_have && may);
        if (yes && has_member(&db->w.tag, &p->id))
            return true;
    }
    return false;
}

/* The grant rule, for a claim in `term`. A leader's votes are no longer kept, and it does not need (b). */
static bool may_write(const struct db *db, uint64_t term, bool or_may_yet)
{
    const struct db_tag *tag = &db->w.tag;
    if (tag->term >= term)
        return false;
    bool is_member = has_member(tag, &db->p.self);
    bool has_vote = db->role != DB_LEADER && has_vote_of_member(db, or_may_yet);
    bool is_newer = db_log_last_term(&db->log) > tag->term;
    return is_member || has_vote || is_newer;
}

/* The leader of a term is the only one that ever writes in it. A write of before that is still under way misses the
 * etag of the next one. */
static bool is_led(const struct db *db)
{
    const struct db_tag *tag = &db->w.tag;
    return db->role == DB_LEADER && tag->term == db->term && uuid_eq(&tag->leader, &db->p.self);
}

static uint64_t term_of_claim(const struct db *db)
{
    return db->role == DB_PRECANDIDATE ? db->term + 1 : db->term;
}

bool db_witness_says_yes(const struct db *db)
{
    if (!is_named(db))
        return false;
    if (db->role == DB_PRECANDIDATE)
        return is_fresh(db) && may_write(db, term_of_claim(db), false);
    return db->w.is_known;
}

bool db_witness_may_say_yes(const struct db *db)
{
    if (!is_named(db))
        return false;
    return db->w.is_known || db->w.is_sent || !is_fresh(db) || may_write(db, term_of_claim(db), true);
}

bool db_witness_is_awaited(const struct db *db)
{
    const struct db_witness *w = &db->w;
    bool is_open = w->call != 0 || w->is_sent;
    return db->role == DB_CANDIDATE && is_open && db->now < w->budget_ms && db_votes_need_witness(db);
}

/* "need ⊆ S" */
static bool covers(struct db *db, const struct db_tag *tag, db_pick_fn *pick, uint64_t arg)
{
    for (size_t i = 0; i < tag->n_members; i++) {
        const struct db_peer *p = db_peer_find(db, &tag->members[i]);
        if (p == NULL || !pick(db, p, arg))
            return false;
    }
    return true;
}

bool db_witness_is_covered(const struct db *cdb, db_pick_fn *pick, uint64_t arg)
{
    struct db *db = (struct db *)(uintptr_t)cdb;
    const struct db_witness *w = &db->w;
    if (!is_named(db) || !w->is_known || !covers(db, &w->tag, pick, arg))
        return false;
    return !w->is_sent || covers(db, &w->next, pick, arg);
}

/* ---- members ---------------------------------------------------------------------------------------------------- */

static struct db_tag new_tag(struct db *db)
{
    return (struct db_tag){.sequence = db->w.tag.sequence + 1,
                           .cluster = db->p.cluster,
                           .witness = db->w.of,
                           .term = db->term,
                           .leader = db->p.self,
                           .nonce = prng_uuid(&db->prng),
                           .forced = db_epoch_of(db->term) > 0,
                           .members = {db->p.self},
                           .n_members = 1};
}

/* "New members = X and those voters whose log equals X's." */
static void add_voters(struct db *db, struct db_tag *tag)
{
    for (size_t i = 0; i < db->config.n; i++) {
        const struct db_peer *p = &db->peers[i];
        bool is_other = !uuid_eq(&p->id, &db->p.self);
        if (is_other && p->vote == DB_VOTE_YES && p->is_equal && db->config.replicas[i].weight > 0)
            add_member(tag, &p->id);
    }
}

/* Has an entry waited for a majority so long that somebody must be in the way? */
static bool is_stalled(const struct db *db)
{
    return db->commit < db_log_last(&db->log) && db->now - db->w.commit_ms >= DB_WITNESS_QUIET_MS;
}

static bool is_wanted(const struct db *db, size_t i)
{
    const struct db_replica *r = &db->config.replicas[i];
    const struct db_peer *p = &db->peers[i];
    uint64_t need = db->commit > db->first_index ? db->commit : db->first_index;
    if (r->weight == 0 || !db_in_view(db, r->nodeid) || db->now - p->heard_ms >= DB_WITNESS_QUIET_MS)
        return false;
    if (db->w.is_known && has_member(&db->w.tag, &p->id))
        return !is_stalled(db) || p->match > db->commit;
    return p->match >= need;
}

static void add_live(struct db *db, struct db_tag *tag)
{
    for (size_t i = 0; i < db->config.n; i++)
        if (!uuid_eq(&db->peers[i].id, &db->p.self) && is_wanted(db, i))
            add_member(tag, &db->peers[i].id);
}

static bool has_same_members(const struct db_tag *a, const struct db_tag *b)
{
    for (size_t i = 0; i < a->n_members; i++)
        if (!has_member(b, &a->members[i]))
            return false;
    return a->n_members == b->n_members;
}

bool db_witness_is_current(const struct db *cdb)
{
    struct db *db = (struct db *)(uintptr_t)cdb;
    struct db_tag want = {.members = {db->p.self}, .n_members = 1};
    if (db->role != DB_LEADER || !is_named(db) || !db->w.is_known || db->w.is_sent)
        return false;
    add_live(db, &want);
    return has_same_members(&want, &db->w.tag);
}

bool db_witness_frees(const struct db *db, const struct db_config *config)
{
    const struct db_witness *w = &db->w;
    bool is_written = w->is_known || w->is_sent;
    for (size_t i = 0; i < config->n && is_written && config->witness_weight > 0 && is_named(db); i++) {
        const struct db_replica *r = &config->replicas[i];
        bool stays = (!w->is_known || has_member(&w->tag, &r->id)) && (!w->is_sent || has_member(&w->next, &r->id));
        if (r->weight > 0 && stays)
            return true;
    }
    return !is_written || config->witness_weight == 0 || !is_named(db);
}

/* ---- calls ------------------------------------------------------------------------------------------------------ */

static struct db_witness_call *call(struct db *db, enum db_witness_verb verb)
{
    struct db_witness *w = &db->w;
    struct db_witness_call *c = xcalloc(1, sizeof(*c));
    w->call = ++w->last_call;
    w->verb = verb;
    *c = (struct db_witness_call){.id = w->call, .verb = verb, .witness = w->of};
    db_out_push(db, DB_WITNESS)->call = c;
    return c;
}

static void put(struct db *db)
{
    assert(db->durable.term == db->term && uuid_eq(&db->durable.voted_for, &db->p.self)); /* I7 */
    struct db_witness_call *c = call(db, DB_WITNESS_PUT);
    STR_COPY(c->etag, db->w.next_etag);
    c->tag = db->w.next;
}

/* From here on `need` is the union. */
static void send_new(struct db *db, const struct db_tag *tag)
{
    struct db_witness *w = &db->w;
    w->next = *tag;
    STR_COPY(w->next_etag, w->etag);
    w->is_sent = true;
    w->is_doubted = false;
    log_info(db->p.log, "witness: write %llu for term %llu with %zu members", (unsigned long long)tag->sequence,
             (unsigned long long)tag->term, tag->n_members);
    put(db);
}

/* What was sent and may land yet is sent again as it is; what is not known is read first. */
static bool settle_open(struct db *db)
{
    if (db->w.etag[0] == '\0')
        call(db, DB_WITNESS_GET);
    else if (db->w.is_sent)
        put(db);
    else
        return false;
    return true;
}

static bool is_answer_owed(const struct db *db)
{
    for (size_t i = 0; i < db->config.n; i++) {
        const struct db_replica *r = &db->config.replicas[i];
        if (r->weight > 0 && db->peers[i].vote == DB_VOTE_NONE && db_in_view(db, r->nodeid))
            return true;
    }
    return false;
}

/* Nodes that are here are heard first: it may be that the witness is not needed. */
static bool is_patient(const struct db *db)
{
    const struct db_witness *w = &db->w;
    if (db->now - w->view_ms < w->delay_ms)
        return true;
    return db->now - w->asked_ms < DB_WITNESS_PATIENCE_MS && is_answer_owed(db);
}

static void step_precandidate(struct db *db)
{
    if (db->config.witness_weight > 0 && db_votes_need_witness(db) && !is_fresh(db) && !is_patient(db))
        call(db, DB_WITNESS_GET);
}

static void step_candidate(struct db *db)
{
    bool is_durable = db->vote_sent && db->durable.last == db_log_last(&db->log);
    if (db->config.witness_weight == 0 || !is_durable || !db_votes_need_witness(db) || is_patient(db))
        return;
    if (settle_open(db) || !may_write(db, db->term, false))
        return;
    struct db_tag tag = new_tag(db);
    add_voters(db, &tag);
    send_new(db, &tag);
}

/* The first claim of a leader that was elected by nodes alone is by (c), so its log must hold an entry of its term. */
static void step_leader(struct db *db)
{
    struct db_witness *w = &db->w;
    if (w->commit != db->commit || db->commit == db_log_last(&db->log)) {
        w->commit = db->commit;
        w->commit_ms = db->now;
    }
    if (db->durable.last < db->first_index || db->durable.term != db->term || settle_open(db))
        return;
    if (!w->is_known && !is_led(db) && !may_write(db, db->term, false)) {
        w->etag[0] = '\0'; /* it is not ours: read it again */
        w->again_ms = db->now + DB_WITNESS_AGAIN_MS_MAX;
        return;
    }
    struct db_tag tag = new_tag(db);
    add_live(db, &tag);
    if (!w->is_known || !has_same_members(&tag, &w->tag))
        send_new(db, &tag);
}

void db_witness_step(struct db *db)
{
    follow_name(db);
    if (!is_named(db) || db->w.call != 0 || db->now < db->w.again_ms)
        return;
    /* Who lost its own corosync knows that at once, all others only after corosync's time-outs: it would always win,
     * and could tell nobody. */
    if (!db_in_view(db, db->p.nodeid))
        return;
    switch (db->role) {
    case DB_PRECANDIDATE: step_precandidate(db); break;
    case DB_CANDIDATE: step_candidate(db); break;
    case DB_LEADER: step_leader(db); break;
    case DB_FOLLOWER: break;
    }
}

/* ---- outcomes --------------------------------------------------------------------------------------------------- */

static void rest(struct db *db)
{
    struct db_witness *w = &db->w;
    w->pause_ms = w->pause_ms == 0 ? DB_WITNESS_AGAIN_MS : 2 * w->pause_ms;
    if (w->pause_ms > DB_WITNESS_AGAIN_MS_MAX)
        w->pause_ms = DB_WITNESS_AGAIN_MS_MAX;
    w->again_ms = db->now + w->pause_ms;
}

/* Is it the cluster's own record, and no older one than was seen? */
static bool is_believed(struct db *db, const struct db_tag *tag)
{
    char text[DB_WITNESS_TEXT_MAX];
    const struct db_witness *w = &db->w;
    if (!uuid_eq(&tag->cluster, &db->p.cluster) || !uuid_eq(&tag->witness, &w->of)) {
        say_trouble(db, "witness: the record is of another cluster or another witness -> refused");
        return false;
    }
    if (!uuid_eq(&w->seen_of, &w->of) || tag->sequence >= w->seen)
        return true;
    snprintf(text, sizeof(text), "witness: sequence %llu was rolled back, %llu was seen -> refused, replace it",
             (unsigned long long)tag->sequence, (unsigned long long)w->seen);
    say_trouble(db, text);
    return false;
}

static void take_known(struct db *db)
{
    struct db_witness *w = &db->w;
    w->is_known = true;
    w->is_sent = w->is_doubted = false;
    say_trouble(db, "");
    log_notice(db->p.log, "witness: %llu is ours for term %llu, %zu members", (unsigned long long)w->tag.sequence,
               (unsigned long long)w->tag.term, w->tag.n_members);
}

/* Other than what was known or sent: nothing of this node's may land any more, for the etag is another one. */
static void take_foreign(struct db *db)
{
    struct db_witness *w = &db->w;
    char text[DB_WITNESS_TEXT_MAX];
    w->is_known = w->is_sent = w->is_doubted = false;
    if (db->role == DB_LEADER || db->role == DB_FOLLOWER || may_write(db, term_of_claim(db), true))
        return;
    snprintf(text, sizeof(text), "witness: refused, its term %llu is of other nodes, which went on without this one",
             (unsigned long long)w->tag.term);
    say_trouble(db, text);
    w->refused_term = w->tag.term;
}

/* "Seeing the old tag proves nothing." */
static void take_tag(struct db *db, const struct db_witness_outcome *o)
{
    struct db_witness *w = &db->w;
    bool is_own = w->is_sent && uuid_eq(&o->tag.nonce, &w->next.nonce);
    bool is_same = w->is_known && uuid_eq(&o->tag.nonce, &w->tag.nonce);
    bool is_old = w->is_sent && str_eq(o->etag, w->next_etag);
    w->tag = o->tag;
    STR_COPY(w->etag, o->etag);
    w->read_ms = db->now;
    db_witness_note(db, &w->of, o->tag.sequence);
    if (is_own)
        take_known(db);
    else if (!is_same && !is_old)
        take_foreign(db);
    if (db_epoch_of(w->tag.term) > db_epoch_of(db->term)) {
        say_trouble(db, "witness: refused, quorum was forced elsewhere; this node waits for that side");
        w->refused_term = w->tag.term;
        db_election_follow(db, db->term); /* its term is not for us */
    } else if (w->tag.term > db->term && db->role != DB_FOLLOWER) {
        db_election_outdone(db, w->tag.term);
    }
}

static void take_read(struct db *db, const struct db_witness_outcome *o)
{
    struct db_witness *w = &db->w;
    if (o->result == DB_WITNESS_MISSING)
        say_trouble(db, "witness: the record is missing; it is never created again by itself: replace the witness");
    if (o->result == DB_WITNESS_DONE && is_believed(db, &o->tag)) {
        w->pause_ms = 0;
        take_tag(db, o);
        return;
    }
    if (o->result == DB_WITNESS_DONE) /* what it says now is not what it promised */
        w->is_known = false;
    rest(db);
}

static void take_written(struct db *db, const struct db_witness_outcome *o)
{
    struct db_witness *w = &db->w;
    bool is_not_written = o->result == DB_WITNESS_REFUSED || o->result == DB_WITNESS_UNREACHABLE ||
                          o->result == DB_WITNESS_MISSING;
    if (o->result == DB_WITNESS_DONE) {
        w->pause_ms = 0;
        w->tag = w->next;
        STR_COPY(w->etag, o->etag);
        w->read_ms = db->now;
        db_witness_note(db, &w->of, w->tag.sequence);
        take_known(db);
        return;
    }
    w->etag[0] = '\0'; /* read before the next write */
    if (is_not_written && !w->is_doubted)
        w->is_sent = false;
    w->is_doubted |= o->result == DB_WITNESS_UNKNOWN;
    if (o->result != DB_WITNESS_LOST)
        rest(db);
}

void db_witness_done(struct db *db, int64_t now_ms, const struct db_witness_outcome *o)
{
    struct db_witness *w = &db->w;
    db->now = now_ms > db->now ? now_ms : db->now;
    if (db->stopped || o->id == 0 || o->id != w->call)
        return; /* not wanted any more */
    w->call = 0;
    w->is_reachable = o->result != DB_WITNESS_UNREACHABLE && o->result != DB_WITNESS_UNKNOWN;
    if (!w->is_reachable || o->result == DB_WITNESS_REFUSED)
        say_trouble(db, o->text[0] != '\0' ? o->text : "witness: no answer");
    if (w->verb == DB_WITNESS_GET)
        take_read(db, o);
    else
        take_written(db, o);
    db_election_recount(db);
    db_repl_advance(db);
    db_election_evicted(db);
}

/* ---- queries ---------------------------------------------------------------------------------------------------- */

void db_set_witness_delay(struct db *db, int64_t delay_ms)
{
    db->w.delay_ms = delay_ms;
}

void db_witness(const struct db *db, struct db_witness_view *ret)
{
    const struct db_witness *w = &db->w;
    bool leads = db->role == DB_LEADER && is_named(db);
    *ret = (struct db_witness_view){.is_known = leads && w->is_known,
                                    .is_doubted = leads && w->is_sent,
                                    .is_current = db_witness_is_current(db),
                                    .is_reachable = w->is_reachable,
                                    .tag = w->tag,
                                    .refused_term = w->refused_term,
                                    .seen = uuid_eq(&w->seen_of, &w->of) ? w->seen : 0};
    STR_COPY(ret->trouble, w->trouble);
}
