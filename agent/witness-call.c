/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/witness-call.h"

#include <stdio.h>

_Static_assert((int)DB_TAG_MEMBERS_MAX == (int)WITNESS_MEMBERS_MAX, "a tag is a record");
_Static_assert((int)DB_ETAG_MAX == (int)WITNESS_ETAG_MAX, "an etag is an etag");

static struct witness_record record_of(const struct db_tag *t)
{
    struct witness_record r = {.sequence = t->sequence,
                               .version = WITNESS_VERSION,
                               .cluster_uuid = t->cluster,
                               .witness_uuid = t->witness,
                               .term = t->term,
                               .leader = t->leader,
                               .nonce = t->nonce,
                               .forced = t->forced,
                               .n_members = t->n_members};
    memcpy(r.members, t->members, t->n_members * sizeof(r.members[0]));
    return r;
}

static struct db_tag tag_of(const struct witness_record *r)
{
    struct db_tag t = {.sequence = r->sequence,
                       .cluster = r->cluster_uuid,
                       .witness = r->witness_uuid,
                       .term = r->term,
                       .leader = r->leader,
                       .nonce = r->nonce,
                       .forced = r->forced,
                       .n_members = r->n_members};
    memcpy(t.members, r->members, r->n_members * sizeof(t.members[0]));
    return t;
}

struct witness_call witness_call_of(const struct db_witness_call *c, int64_t timeout_ms)
{
    bool is_put = c->verb == DB_WITNESS_PUT;
    struct witness_call call = {.op = is_put ? WITNESS_PUT : WITNESS_GET, .timeout_ms = timeout_ms};
    if (!is_put)
        return call;
    STR_COPY(call.etag.s, c->etag);
    call.record = record_of(&c->tag);
    return call;
}

static enum db_witness_result result_of(enum witness_outcome o)
{
    switch (o) {
    case WITNESS_DONE: return DB_WITNESS_DONE;
    case WITNESS_LOST: return DB_WITNESS_LOST;
    case WITNESS_MISSING: return DB_WITNESS_MISSING;
    case WITNESS_EXISTS: /* of a CREATE, which the database never calls */
    case WITNESS_REFUSED: return DB_WITNESS_REFUSED;
    case WITNESS_UNREACHABLE: return DB_WITNESS_UNREACHABLE;
    case WITNESS_UNKNOWN: break;
    }
    return DB_WITNESS_UNKNOWN;
}

void witness_outcome_of(const struct witness_result *r, struct db_witness_outcome *ret)
{
    bool is_read = r->op == WITNESS_GET;
    *ret = (struct db_witness_outcome){.result = result_of(r->outcome)};
    if (is_read && r->cause == WITNESS_CAUSE_REGRESSED)
        ret->result = DB_WITNESS_DONE;
    if (ret->result == DB_WITNESS_DONE) {
        STR_COPY(ret->etag, r->etag.s);
        ret->tag = tag_of(&r->record);
        return;
    }
    snprintf(ret->text, sizeof(ret->text), "witness: %.*s", (int)sizeof(ret->text) - 16, r->error.text);
}
