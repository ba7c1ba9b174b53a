/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The arithmetic of votes and the voting configuration.
 *
 *   "Every node has a weight (0 or 1), the witness has a weight (0 or 1); quorum is strictly more than half of the
 * sum." "A change of weight is one entry that changes one weight by one, so that consecutive majorities share a voter.
 * It takes effect on append (and reverts on truncation)."
 *
 * Every sum over voters is made here. What the witness adds to each is decided in witness.c. */
#include "agent/db/internal.h"

unsigned db_config_nodes(const struct db_config *c)
{
    unsigned total = 0;
    for (size_t i = 0; i < c->n; i++)
        total += c->replicas[i].weight;
    return total;
}

unsigned db_config_total(const struct db_config *c)
{
    return db_config_nodes(c) + c->witness_weight;
}

bool db_config_is_quorum(const struct db_config *c, unsigned weight)
{
    return 2 * weight > db_config_total(c);
}

const struct db_replica *db_config_find(const struct db_config *c, const struct uuid *id)
{
    for (size_t i = 0; i < c->n; i++)
        if (uuid_eq(&c->replicas[i].id, id))
            return &c->replicas[i];
    return NULL;
}

/* ---- configuration entries ------------------------------------------------------------------------------------- */

void db_encode_replica_add(struct buf *b, const struct uuid *id, uint32_t nodeid)
{
    wire_put_uuid(b, id);
    wire_put_u32(b, nodeid);
}

void db_encode_replica_weight(struct buf *b, const struct uuid *id, uint8_t weight)
{
    wire_put_uuid(b, id);
    wire_put_u8(b, weight);
}

void db_encode_replica_remove(struct buf *b, const struct uuid *id)
{
    wire_put_uuid(b, id);
}

void db_encode_witness_name(struct buf *b, const struct uuid *witness)
{
    wire_put_uuid(b, witness);
}

void db_encode_witness_weight(struct buf *b, const struct uuid *witness, uint8_t weight)
{
    wire_put_uuid(b, witness);
    wire_put_u8(b, weight);
}

bool db_is_config_kind(uint16_t kind)
{
    switch (kind) {
    case ENTRY_REPLICA_ADD:
    case ENTRY_REPLICA_WEIGHT:
    case ENTRY_REPLICA_REMOVE:
    case ENTRY_WITNESS_NAME:
    case ENTRY_WITNESS_WEIGHT:
    case ENTRY_FORCE: return true;
    default: return false;
    }
}

static struct db_replica *find_mutable(struct db_config *c, const struct uuid *id)
{
    const struct db_replica *r = db_config_find(c, id);
    return r == NULL ? NULL : &c->replicas[r - c->replicas];
}

static int apply_add(struct db_config *c, const struct uuid *id, uint32_t nodeid, struct error *ret)
{
    if (uuid_is_nil(id) || db_config_find(c, id) != NULL)
        return error_set(ret, ERR_CONDITION, "replica %s is a member already", uuid_str(id).s);
    if (c->n == DB_REPLICAS_MAX)
        return error_set(ret, ERR_CONDITION, "the cluster has %d replicas, the most there can be", DB_REPLICAS_MAX);
    c->replicas[c->n++] = (struct db_replica){.id = *id, .nodeid = nodeid, .weight = 0};
    return 0;
}

static int apply_weight(struct db_config *c, const struct uuid *id, uint8_t weight, struct error *ret)
{
    struct db_replica *r = find_mutable(c, id);
    if (r == NULL)
        return error_set(ret, ERR_NO_OBJECT, "replica %s is not a member", uuid_str(id).s);
    if (weight > 1)
        return error_set(ret, ERR_CONDITION, "a weight is 0 or 1, not %u", weight);
    if (r->weight > weight && db_config_nodes(c) == 1) /* the witness alone could never commit */
        return error_set(ret, ERR_CONDITION, "replica %s is the last voter", uuid_str(id).s);
    r->weight = weight;
    return 0;
}

static int apply_remove(struct db_config *c, const struct uuid *id, struct error *ret)
{
    struct db_replica *r = find_mutable(c, id);
    if (r == NULL)
        return error_set(ret, ERR_NO_OBJECT, "replica %s is not a member", uuid_str(id).s);
    if (r->weight != 0)
        return error_set(ret, ERR_CONDITION, "replica %s still has a vote: set its weight to 0 first", uuid_str(id).s);
    size_t pos = (size_t)(r - c->replicas);
    memmove(r, r + 1, (c->n - pos - 1) * sizeof(*r));
    c->n--;
    return 0;
}

/* "Replacing a witness: old weight -> 0, create the new one, new weight -> 1." */
static int apply_witness_name(struct db_config *c, const struct uuid *id, struct error *ret)
{
    if (c->witness_weight != 0)
        return error_set(ret, ERR_CONDITION, "the witness still has a vote: its weight goes to 0 first");
    c->witness = *id;
    return 0;
}

static int apply_witness_weight(struct db_config *c, const struct uuid *id, uint8_t weight, struct error *ret)
{
    if (uuid_is_nil(id) || !uuid_eq(id, &c->witness))
        return error_set(ret, ERR_NO_OBJECT, "%s is not the cluster's witness", uuid_str(id).s);
    if (weight > 1)
        return error_set(ret, ERR_CONDITION, "a weight is 0 or 1, not %u", weight);
    c->witness_weight = weight;
    return 0;
}

/* "One entry that sets all weights." */
static int apply_force(struct db_config *c, const struct uuid *id, struct error *ret)
{
    struct db_replica *r = find_mutable(c, id);
    if (r == NULL)
        return error_set(ret, ERR_NO_OBJECT, "replica %s is not a member", uuid_str(id).s);
    for (size_t i = 0; i < c->n; i++)
        c->replicas[i].weight = 0;
    r->weight = 1;
    c->witness_weight = 0;
    return 0;
}

int db_config_apply(struct db_config *c, const struct entry *e, struct error *ret)
{
    struct wire_reader r = wire_reader(e->payload);
    struct uuid id = wire_get_uuid(&r);
    uint32_t nodeid = e->kind == ENTRY_REPLICA_ADD ? wire_get_u32(&r) : 0;
    bool has_weight = e->kind == ENTRY_REPLICA_WEIGHT || e->kind == ENTRY_WITNESS_WEIGHT;
    uint8_t weight = has_weight ? wire_get_u8(&r) : 0;
    if (wire_err(&r) != 0)
        return error_set(ret, ERR_USAGE, "a configuration entry (kind %u) does not parse", e->kind);
    switch (e->kind) {
    case ENTRY_REPLICA_ADD: return apply_add(c, &id, nodeid, ret);
    case ENTRY_REPLICA_WEIGHT: return apply_weight(c, &id, weight, ret);
    case ENTRY_WITNESS_NAME: return apply_witness_name(c, &id, ret);
    case ENTRY_WITNESS_WEIGHT: return apply_witness_weight(c, &id, weight, ret);
    case ENTRY_FORCE: return apply_force(c, &id, ret);
    default: return apply_remove(c, &id, ret);
    }
}

/* u8 of the witness (bit 0: its weight; bit 1: there is one, its uuid follows)  u32 n
 * n × (uuid, u32 nodeid, u8 weight).
 * Without a witness this is what releases before it wrote. */
void db_config_encode(const struct db_config *c, struct buf *b)
{
    bool has_witness = !uuid_is_nil(&c->witness);
    wire_put_u8(b, (uint8_t)(c->witness_weight | (has_witness ? 2 : 0)));
    if (has_witness)
        wire_put_uuid(b, &c->witness);
    wire_put_u32(b, (uint32_t)c->n);
    for (size_t i = 0; i < c->n; i++) {
        wire_put_uuid(b, &c->replicas[i].id);
        wire_put_u32(b, c->replicas[i].nodeid);
        wire_put_u8(b, c->replicas[i].weight);
    }
}

void db_config_decode(struct wire_reader *r, struct db_config *ret)
{
    uint8_t witness = wire_get_u8(r);
    *ret = (struct db_config){.witness_weight = witness & 1};
    if (witness & 2)
        ret->witness = wire_get_uuid(r);
    uint32_t n = wire_get_count(r, 21);
    if (n > DB_REPLICAS_MAX || witness > 3 || (witness & 2) == (uuid_is_nil(&ret->witness) ? 2 : 0))
        r->err = ERR_MALFORMED;
    for (uint32_t i = 0; i < n && r->err == 0; i++) {
        struct uuid id = wire_get_uuid(r);
        uint32_t nodeid = wire_get_u32(r);
        ret->replicas[ret->n++] = (struct db_replica){.id = id, .nodeid = nodeid, .weight = wire_get_u8(r) != 0};
    }
}

/* ---- the configuration in force -------------------------------------------------------------------------------- */

/* "It takes effect on append (and reverts on truncation)": the newest is a function of the log alone. */
void db_config_reload(struct db *db)
{
    db->config = db->base_config;
    db->config_index = db->log.base_index;
    for (size_t i = 0; i < db->log.n; i++) {
        if (!db_is_config_kind(db->log.e[i].kind))
            continue;
        (void)db_config_apply(&db->config, &db->log.e[i], NULL);
        db->config_index = db->log.e[i].index;
    }
    db_peers_sync(db);
}

/* Peers keep what is known of them when the configuration changes. */
void db_peers_sync(struct db *db)
{
    struct db_peer fresh[DB_REPLICAS_MAX];
    for (size_t i = 0; i < db->config.n; i++) {
        const struct uuid *id = &db->config.replicas[i].id;
        fresh[i] = (struct db_peer){.id = *id, .heard_ms = db->now, .offered_ms = INT64_MIN / 2};
        for (size_t k = 0; k < DB_REPLICAS_MAX; k++)
            if (uuid_eq(&db->peers[k].id, id))
                fresh[i] = db->peers[k];
    }
    memset(db->peers, 0, sizeof(db->peers));
    memcpy(db->peers, fresh, db->config.n * sizeof(fresh[0]));
}

struct db_peer *db_peer_find(struct db *db, const struct uuid *id)
{
    for (size_t i = 0; i < db->config.n; i++)
        if (uuid_eq(&db->peers[i].id, id))
            return &db->peers[i];
    return NULL;
}

/* Quorum of the nodes for which pick() holds, with the witness or without. */
static bool quorum_of(const struct db *db, db_pick_fn *pick, uint64_t arg, bool with_witness)
{
    unsigned weight = with_witness ? db->config.witness_weight : 0;
    for (size_t i = 0; i < db->config.n; i++)
        if (pick(db, &db->peers[i], arg))
            weight += db->config.replicas[i].weight;
    return db_config_is_quorum(&db->config, weight);
}

static bool said_yes(const struct db *db, const struct db_peer *p, uint64_t arg)
{
    (void)db;
    (void)arg;
    return p->vote == DB_VOTE_YES;
}

/* Who is not in the view says nothing: two candidates that voted for themselves do not wait for who is lost. */
static bool may_still_say_yes(const struct db *db, const struct db_peer *p, uint64_t arg)
{
    (void)arg;
    if (p->vote != DB_VOTE_NONE)
        return p->vote == DB_VOTE_YES;
    return uuid_eq(&p->id, &db->p.self) || db_in_view(db, db->config.replicas[p - db->peers].nodeid);
}

static bool heard_lately(const struct db *db, const struct db_peer *p, uint64_t arg)
{
    (void)arg;
    return uuid_eq(&p->id, &db->p.self) || db->now - p->heard_ms < DB_ELECTION_MS_MIN;
}

static bool heard_on_ring(const struct db *db, const struct db_peer *p, uint64_t arg)
{
    (void)arg;
    return uuid_eq(&p->id, &db->p.self) || db_ring_eq(p->ring, db->verdict.ring);
}

static bool reaches(const struct db *db, const struct db_peer *p, uint64_t index)
{
    (void)db;
    return p->match >= index;
}

bool db_votes_won(const struct db *db)
{
    return quorum_of(db, said_yes, 0, db_witness_says_yes(db));
}

bool db_votes_need_witness(const struct db *db)
{
    return !quorum_of(db, said_yes, 0, false) && quorum_of(db, said_yes, 0, true);
}

bool db_votes_lost(const struct db *db)
{
    return !quorum_of(db, may_still_say_yes, 0, db_witness_may_say_yes(db));
}

bool db_votes_heard(const struct db *db)
{
    return quorum_of(db, heard_lately, 0, db_witness_is_covered(db, heard_lately, 0));
}

bool db_votes_on_ring(const struct db *db)
{
    return quorum_of(db, heard_on_ring, 0, db_witness_is_covered(db, heard_on_ring, 0));
}

struct asked {
    db_has_fn *has;
    void *ctx;
};

static bool has_it(const struct db *db, const struct db_peer *p, uint64_t arg)
{
    (void)db;
    const struct asked *q = (const struct asked *)(uintptr_t)arg;
    return q->has(q->ctx, &p->id);
}

bool db_is_quorum_if(const struct db *db, db_has_fn *has, void *ctx)
{
    const struct asked q = {has, ctx};
    uint64_t arg = (uint64_t)(uintptr_t)&q;
    return quorum_of(db, has_it, arg, db_witness_is_covered(db, has_it, arg));
}

/* The highest match that, with all that reach at least as far, is a quorum: "committed iff weight(S) + witness is
 * strictly more than half". */
uint64_t db_votes_durable(const struct db *db)
{
    uint64_t best = 0;
    for (size_t i = 0; i < db->config.n; i++) {
        uint64_t index = db->peers[i].match;
        if (index > best && quorum_of(db, reaches, index, db_witness_is_covered(db, reaches, index)))
            best = index;
    }
    return best;
}

/* The configuration before its newest entry. */
static void config_before(const struct db *db, struct db_config *ret)
{
    *ret = db->base_config;
    for (size_t i = 0; i < db->log.n && db->log.e[i].index < db->config_index; i++)
        if (db_is_config_kind(db->log.e[i].kind))
            (void)db_config_apply(ret, &db->log.e[i], NULL);
}

/* The witness may name nobody but nodes that have no vote any more: then only they can be given it. They go for it when
 * all others had the time, and hand over (db_election_evicted). */
static bool is_last_resort(const struct db *db)
{
    int64_t since = db->leader_heard_ms > db->w.view_ms ? db->leader_heard_ms : db->w.view_ms;
    return db->config.witness_weight > 0 && db->now - since >= DB_LAST_RESORT_MS;
}

/* A voter campaigns. So does a replica whose vote is taken away by an entry that may not be committed: it can be the
 * only one whose log reaches far enough to win, and counts without itself. One that was removed, that never was a
 * member or that does not trust its tables does not. */
bool db_may_campaign(const struct db *db)
{
    const struct db_replica *self = db_config_find(&db->config, &db->p.self);
    if (self == NULL || db->quarantined || db->is_prevented || db_is_behind(db))
        return false;
    if (self->weight > 0 || is_last_resort(db))
        return true;
    if (db->config_index <= db->commit)
        return false;
    struct db_config before;
    config_before(db, &before);
    const struct db_replica *was = db_config_find(&before, &db->p.self);
    return was != NULL && was->weight > 0;
}
