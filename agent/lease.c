/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/lease.h"

void lease_init(struct lease *l, uint64_t run, uint32_t nodeid, int64_t contact_ms)
{
    *l = (struct lease){.run = run, .nodeid = nodeid, .contact_ms = contact_ms};
}

static struct lease_peer *find_peer(struct lease *l, uint32_t nodeid)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->peers[i].nodeid == nodeid)
            return &l->peers[i];
    return NULL;
}

static struct lease_peer *need_peer(struct lease *l, uint32_t nodeid)
{
    struct lease_peer *p = find_peer(l, nodeid);
    if (p || l->n == DB_REPLICAS_MAX)
        return p;
    l->peers[l->n] = (struct lease_peer){.nodeid = nodeid};
    return &l->peers[l->n++];
}

void lease_group(struct lease *l, const uint32_t *nodeids, size_t n)
{
    for (size_t i = 0; i < l->n; i++) {
        struct lease_peer *p = &l->peers[i];
        bool is_here = false;
        for (size_t k = 0; k < n && !is_here; k++)
            is_here = nodeids[k] == p->nodeid;
        if (!is_here)
            p->is_here = false;
    }
}

/* ---- contact */

static void contact_at(struct lease *l, int64_t now_ms, int64_t at_ms)
{
    if (at_ms > l->contact_ms && at_ms <= now_ms)
        l->contact_ms = at_ms;
}

struct confirmed {
    struct lease *l;
    const struct db *db;
    int64_t at_ms;
};

static bool has_confirmed(void *ctx, const struct uuid *replica)
{
    const struct confirmed *q = ctx;
    for (size_t i = 0; i < q->l->n; i++) {
        const struct lease_peer *p = &q->l->peers[i];
        struct uuid id;
        if (p->confirms_term == db_term(q->db) && p->confirms_ms >= q->at_ms &&
            db_replica_at(q->db, p->nodeid, &id) && uuid_eq(&id, replica))
            return true;
    }
    struct uuid own;
    return db_replica_at(q->db, q->l->nodeid, &own) && uuid_eq(&own, replica);
}

static void contact_of_leader(struct lease *l, const struct db *db, int64_t now_ms)
{
    struct confirmed q = {.l = l, .db = db, .at_ms = now_ms};
    if (db_is_quorum_if(db, has_confirmed, &q))
        contact_at(l, now_ms, now_ms); /* it needs nobody else */
    for (size_t i = 0; i < l->n; i++) {
        q.at_ms = l->peers[i].confirms_ms;
        if (q.at_ms > l->contact_ms && db_is_quorum_if(db, has_confirmed, &q))
            contact_at(l, now_ms, q.at_ms);
    }
}

static bool has_said(const struct lease *l, uint64_t term, uint32_t nodeid, const struct lease_peer *old)
{
    const struct lease_peer *p = find_peer((struct lease *)l, nodeid);
    return p && p->said_term == term && p->said_ms > 0 && p->said_run == old->run && p->said_ms <= old->at_ms;
}

/* Has every other node said that it heard no later word of the leader before? */
static bool is_last_word(const struct lease *l, const struct db *db, const struct lease_peer *old)
{
    const struct db_config *config = db_configuration(db);
    if (old->nodeid != l->succeeds || config->n < l->n_then)
        return false;
    for (size_t i = 0; i < config->n; i++) {
        uint32_t nodeid = config->replicas[i].nodeid;
        if (nodeid != old->nodeid && nodeid != l->nodeid && !has_said(l, db_term(db), nodeid, old))
            return false;
    }
    return true;
}

int64_t lease_heard_ms(const struct lease *l, uint32_t nodeid)
{
    const struct lease_peer *p = find_peer((struct lease *)l, nodeid);
    return p ? p->heard_ms : 0;
}

int64_t lease_bound_ms(const struct lease *l, const struct db *db, uint32_t nodeid)
{
    const struct lease_peer *p = find_peer((struct lease *)l, nodeid);
    if (p && (p->heard_ms > l->leads_since_ms || is_last_word(l, db, p)))
        return p->heard_ms;
    return l->leads_since_ms;
}

/* ---- speaking */

static uint32_t age_of(const struct lease *l, int64_t now_ms)
{
    int64_t age = now_ms - l->contact_ms;
    return l->leads_since_ms == 0 || l->contact_ms == 0 || age >= LEASE_NONE ? LEASE_NONE : (uint32_t)age;
}

static void speak(struct lease *l, const struct db *db, int64_t now_ms, struct buf *b)
{
    struct db_replica leader = {0};
    uint8_t count = 0;
    wire_put_u8(b, LEASE_VERSION);
    wire_put_u64(b, l->run);
    wire_put_i64(b, now_ms);
    wire_put_u64(b, db_term(db));
    wire_put_u32(b, db_leader(db, &leader) ? leader.nodeid : 0);
    wire_put_u8(b, l->leads_since_ms != 0);
    wire_put_u32(b, age_of(l, now_ms));
    for (size_t i = 0; i < l->n; i++)
        count = (uint8_t)(count + (l->peers[i].at_ms != 0));
    wire_put_u8(b, count);
    for (size_t i = 0; i < l->n; i++) {
        const struct lease_peer *p = &l->peers[i];
        if (p->at_ms == 0)
            continue;
        wire_put_u32(b, p->nodeid);
        wire_put_u64(b, p->run);
        wire_put_i64(b, p->at_ms);
    }
}

bool lease_step(struct lease *l, const struct db *db, int64_t now_ms, struct buf *b)
{
    bool leads = db_is_leader(db);
    if (leads && l->leads_since_ms == 0) {
        l->leads_since_ms = now_ms;
        l->succeeds = l->led_term + 1 == db_term(db) ? l->led_by : 0;
        l->n_then = db_configuration(db)->n;
    } else if (!leads) {
        l->leads_since_ms = 0;
        l->succeeds = 0;
    }
    if (leads)
        contact_of_leader(l, db, now_ms);
    if (now_ms < l->next_ms)
        return false;
    l->next_ms = now_ms + LEASE_EVERY_MS;
    speak(l, db, now_ms, b);
    return true;
}

/* ---- hearing */

struct statement {
    uint64_t run, term;
    int64_t at_ms;
    uint32_t leader, age_ms;
    bool leads;
    int64_t heard_ms; /* of this node, by this agent; 0: nothing */
    uint64_t old_run; /* of the leader before this node */
    int64_t old_ms;
};

static int read_statement(const struct lease *l, struct slice message, struct statement *ret)
{
    struct wire_reader r = wire_reader(message);
    if (wire_get_u8(&r) != LEASE_VERSION)
        return ERR_UNKNOWN_KIND;
    struct statement s = {0};
    s.run = wire_get_u64(&r);
    s.at_ms = wire_get_i64(&r);
    s.term = wire_get_u64(&r);
    s.leader = wire_get_u32(&r);
    s.leads = wire_get_u8(&r) != 0;
    s.age_ms = wire_get_u32(&r);
    for (uint8_t left = wire_get_u8(&r); left > 0; left--) {
        uint32_t nodeid = wire_get_u32(&r);
        uint64_t run = wire_get_u64(&r);
        int64_t at_ms = wire_get_i64(&r);
        if (nodeid == l->nodeid && run == l->run)
            s.heard_ms = at_ms;
        if (nodeid == l->succeeds) {
            s.old_run = run;
            s.old_ms = at_ms;
        }
    }
    if (wire_end(&r) || s.at_ms <= 0)
        return ERR_MALFORMED;
    *ret = s;
    return 0;
}

int lease_take(struct lease *l, const struct db *db, int64_t now_ms, uint32_t from_nodeid, struct slice message)
{
    struct statement s;
    int err = read_statement(l, message, &s);
    struct lease_peer *p = err || from_nodeid == l->nodeid ? NULL : need_peer(l, from_nodeid);
    if (!p)
        return err;
    p->run = s.run;
    p->at_ms = s.at_ms;
    p->heard_ms = now_ms;
    p->is_here = true;
    p->said_term = s.term;
    p->said_run = s.old_run;
    p->said_ms = s.old_ms;
    if (s.leads && s.leader == from_nodeid && s.term >= l->led_term) {
        l->led_by = from_nodeid;
        l->led_term = s.term;
    }
    if (s.heard_ms <= 0 || s.heard_ms > now_ms)
        return 0;
    if (s.leader == l->nodeid && s.term == db_term(db)) {
        p->confirms_ms = s.heard_ms;
        p->confirms_term = s.term;
    }
    if (s.leads && s.leader == from_nodeid && s.age_ms != LEASE_NONE)
        contact_at(l, now_ms, s.heard_ms - (int64_t)s.age_ms);
    return 0;
}
