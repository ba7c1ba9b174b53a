/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The codec of every message. All begin alike; what follows depends on the type, and newer releases may add fields at
 * the end of it (never in the middle), so trailing bytes are no fault.
 *
 *   u8 'R'  u8 version (1)  u8 type  uuid cluster  uuid from  uuid to (nil: everyone)  u64 term  u8 yes
 *   HELLO PREVOTE VOTE             u64 index  u64 index_term
 *   VOTE_REPLY                     u64 index  u64 index_term (of what is durable there)  ring
 *   APPEND                         u64 index  u64 index_term  u64 commit  u64 hash_index  [32]hash  entries
 *                                  uuid witness  u64 witness_sequence  ring
 *   ACK                            u64 match  u64 verified  ring
 *   OFFER                          u64 index
 *   PROPOSE                        entries
 *   ring                           u32 nodeid  u64 seq
 *   entries                        u32 count, each: u64 term  uuid request  u16 kind  u8 level  i64 time  bytes payload
 */
#include "agent/db/internal.h"

enum { MAGIC = 'R', VERSION = 1, ENTRY_FIXED = 8 + 16 + 2 + 1 + 8 + 4 };

size_t db_msg_entry_size(const struct entry *e)
{
    return ENTRY_FIXED + e->payload.len;
}

static void put_ring(struct buf *b, struct db_ring ring)
{
    wire_put_u32(b, ring.nodeid);
    wire_put_u64(b, ring.seq);
}

/* Earlier releases do not say it. */
static void get_ring(struct wire_reader *r, struct db_ring *ret)
{
    if (r->err != 0 || r->p == r->end)
        return;
    ret->nodeid = wire_get_u32(r);
    ret->seq = wire_get_u64(r);
}

static void put_entries(struct buf *b, const struct db_msg *m)
{
    wire_put_u32(b, (uint32_t)m->n_entries);
    for (size_t i = 0; i < m->n_entries; i++) {
        const struct entry *e = &m->entries[i];
        wire_put_u64(b, e->term);
        wire_put_uuid(b, &e->request_id);
        wire_put_u16(b, e->kind);
        wire_put_u8(b, e->level);
        wire_put_i64(b, e->time_ms);
        wire_put_slice(b, e->payload);
    }
}

static void get_entries(struct wire_reader *r, struct db_msg *m)
{
    uint32_t n = wire_get_count(r, ENTRY_FIXED);
    m->entries = n > 0 ? xcalloc(n, sizeof(*m->entries)) : NULL;
    for (; m->n_entries < n && r->err == 0; m->n_entries++) {
        struct entry *e = &m->entries[m->n_entries];
        e->term = wire_get_u64(r);
        e->index = m->type == DB_MSG_APPEND ? m->index + 1 + m->n_entries : 0;
        e->request_id = wire_get_uuid(r);
        e->kind = wire_get_u16(r);
        e->level = wire_get_u8(r);
        e->time_ms = wire_get_i64(r);
        e->payload = wire_get_slice(r);
        if (e->payload.len > ENTRY_SIZE_MAX)
            r->err = ERR_MALFORMED;
    }
}

void db_msg_encode(const struct db_msg *m, struct buf *b)
{
    wire_put_u8(b, MAGIC);
    wire_put_u8(b, VERSION);
    wire_put_u8(b, (uint8_t)m->type);
    wire_put_uuid(b, &m->cluster);
    wire_put_uuid(b, &m->from);
    wire_put_uuid(b, &m->to);
    wire_put_u64(b, m->term);
    wire_put_u8(b, m->yes);
    switch (m->type) {
    case DB_MSG_HELLO:
    case DB_MSG_PREVOTE:
    case DB_MSG_VOTE:
    case DB_MSG_VOTE_REPLY:
        wire_put_u64(b, m->index);
        wire_put_u64(b, m->index_term);
        if (m->type == DB_MSG_VOTE_REPLY)
            put_ring(b, m->ring);
        break;
    case DB_MSG_APPEND:
        wire_put_u64(b, m->index);
        wire_put_u64(b, m->index_term);
        wire_put_u64(b, m->commit);
        wire_put_u64(b, m->hash_index);
        buf_add(b, m->hash.b, HASH_SIZE);
        put_entries(b, m);
        wire_put_uuid(b, &m->witness);
        wire_put_u64(b, m->witness_sequence);
        put_ring(b, m->ring);
        break;
    case DB_MSG_ACK:
        wire_put_u64(b, m->match);
        wire_put_u64(b, m->verified);
        put_ring(b, m->ring);
        break;
    case DB_MSG_OFFER: wire_put_u64(b, m->index); break;
    case DB_MSG_PROPOSE: put_entries(b, m); break;
    case DB_MSG_PREVOTE_REPLY:
    case DB_MSG_TIMEOUT_NOW: break;
    }
}

static void get_header(struct wire_reader *r, struct db_msg *m)
{
    uint8_t magic = wire_get_u8(r), version = wire_get_u8(r), type = wire_get_u8(r);
    m->cluster = wire_get_uuid(r);
    m->from = wire_get_uuid(r);
    m->to = wire_get_uuid(r);
    m->term = wire_get_u64(r);
    m->yes = wire_get_u8(r) != 0;
    if (magic != MAGIC || version != VERSION || type < DB_MSG_HELLO || type > DB_MSG_TYPE_MAX ||
        m->term > UINT64_MAX / 2) /* as with an index: one more must be possible, for ever */
        r->err = ERR_MALFORMED;
    else
        m->type = (enum db_msg_type)type;
}

static void get_append(struct wire_reader *r, struct db_msg *m)
{
    m->index = wire_get_u64(r);
    m->index_term = wire_get_u64(r);
    m->commit = wire_get_u64(r);
    m->hash_index = wire_get_u64(r);
    for (size_t i = 0; i < HASH_SIZE; i++)
        m->hash.b[i] = wire_get_u8(r);
    if (m->index > UINT64_MAX / 2)
        r->err = ERR_MALFORMED;
    get_entries(r, m);
    if (r->err == 0 && r->p < r->end) { /* earlier releases do not say it */
        m->witness = wire_get_uuid(r);
        m->witness_sequence = wire_get_u64(r);
        get_ring(r, &m->ring);
    }
}

static void get_body(struct wire_reader *r, struct db_msg *m)
{
    switch (m->type) {
    case DB_MSG_HELLO:
    case DB_MSG_PREVOTE:
    case DB_MSG_VOTE:
        m->index = wire_get_u64(r);
        m->index_term = wire_get_u64(r);
        break;
    case DB_MSG_APPEND: get_append(r, m); break;
    case DB_MSG_ACK:
        m->match = wire_get_u64(r);
        m->verified = wire_get_u64(r);
        get_ring(r, &m->ring);
        break;
    case DB_MSG_OFFER: m->index = wire_get_u64(r); break;
    case DB_MSG_PROPOSE: get_entries(r, m); break;
    case DB_MSG_VOTE_REPLY:
        if (r->p < r->end) { /* earlier releases do not say it */
            m->index = wire_get_u64(r);
            m->index_term = wire_get_u64(r);
            get_ring(r, &m->ring);
        }
        break;
    case DB_MSG_PREVOTE_REPLY:
    case DB_MSG_TIMEOUT_NOW: break;
    }
}

bool db_msg_is_for(struct slice bytes, const struct uuid *id)
{
    struct db_msg m = {0};
    struct wire_reader r = wire_reader(bytes);
    get_header(&r, &m);
    return wire_err(&r) == 0 && (m.type == DB_MSG_APPEND || uuid_is_nil(&m.to) || uuid_eq(&m.to, id));
}

int db_msg_decode(struct slice bytes, struct db_msg *ret)
{
    struct db_msg m = {0};
    struct wire_reader r = wire_reader(bytes);
    get_header(&r, &m);
    if (r.err == 0)
        get_body(&r, &m);
    if (wire_err(&r) != 0) {
        db_msg_done(&m);
        return ERR_MALFORMED;
    }
    *ret = m;
    return 0;
}

void db_msg_done(struct db_msg *m)
{
    free(m->entries);
    m->entries = NULL;
    m->n_entries = 0;
}
