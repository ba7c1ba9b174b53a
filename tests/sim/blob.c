/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/sim/blob.h"

#include <assert.h>
#include <stdio.h>

#include "tests/sim/check.h"

enum { CALLS_MAX = 512, PAST_MAX = 64, NODES_MAX = 16, OBJECTS_MAX = 16 };

struct state {
    struct db_tag tag;
    uint64_t etag;
};

struct request {                /* first it lands, then its outcome is due */
    int64_t land_ms, answer_ms; /* INT64_MAX: it does not land any more; has been answered */
    size_t node;
    uint32_t life;
    bool is_blind; /* the caller is told "unknown", whatever comes of it */
    struct db_witness_call call;
    struct db_witness_outcome outcome;
};

struct blob {
    struct prng prng;
    struct blob_params p;
    struct checker *check;
    bool is_rolled_back;
    struct state objects[OBJECTS_MAX]; /* the last one is the cluster's newest witness */
    size_t n_objects;
    struct state newest; /* while that one is rolled back */
    struct state past[PAST_MAX];
    size_t n_past;
    uint64_t last_etag;
    bool is_away[NODES_MAX];
    int64_t late_ms[NODES_MAX]; /* of the next write */
    struct request requests[CALLS_MAX];
    size_t n;
};

struct blob *blob_new(uint64_t seed, struct blob_params params, struct checker *check)
{
    struct blob *b = xcalloc(1, sizeof(*b));
    b->prng = prng_new(seed);
    b->p = params;
    b->check = check;
    return b;
}

void blob_tells(struct blob *b, struct checker *check)
{
    b->check = check;
}

void blob_free(struct blob *b)
{
    free(b);
}

void blob_set_params(struct blob *b, struct blob_params params)
{
    b->p = params;
}

void blob_create(struct blob *b, const struct uuid *cluster, const struct uuid *witness)
{
    blob_restore(b);
    b->n_past = 0;
    if (b->n_objects == OBJECTS_MAX)
        memmove(&b->objects[0], &b->objects[1], --b->n_objects * sizeof(b->objects[0]));
    b->objects[b->n_objects++] =
        (struct state){.tag = {.sequence = 1, .cluster = *cluster, .witness = *witness}, .etag = ++b->last_etag};
}

static struct state *find(const struct blob *b, const struct uuid *witness)
{
    for (size_t i = 0; i < b->n_objects; i++)
        if (uuid_eq(&b->objects[i].tag.witness, witness))
            return (struct state *)(uintptr_t)&b->objects[i];
    return NULL;
}

static struct state *last(struct blob *b)
{
    return &b->objects[b->n_objects - 1];
}

void blob_reach(struct blob *b, size_t node, bool reachable)
{
    b->is_away[node] = !reachable;
}

bool blob_reaches(const struct blob *b, size_t node)
{
    return !b->is_away[node];
}

void blob_delay_write(struct blob *b, size_t node, int64_t ms)
{
    b->late_ms[node] = ms;
}

const struct db_tag *blob_newest(const struct blob *b)
{
    return b->n_objects > 0 ? &b->objects[b->n_objects - 1].tag : NULL;
}

bool blob_roll_back(struct blob *b, size_t writes)
{
    if (b->is_rolled_back || writes == 0 || writes > b->n_past)
        return false;
    b->newest = *last(b);
    *last(b) = b->past[b->n_past - writes];
    b->is_rolled_back = true;
    return true;
}

void blob_restore(struct blob *b)
{
    if (b->is_rolled_back)
        *last(b) = b->newest;
    b->is_rolled_back = false;
}

bool blob_is_rolled_back(const struct blob *b)
{
    return b->is_rolled_back;
}

static struct uuid newest_witness(const struct blob *b)
{
    return b->objects[b->n_objects - 1].tag.witness;
}

static int64_t delay(struct blob *b, int64_t max)
{
    return 1 + (int64_t)prng_below(&b->prng, (uint64_t)max);
}

void blob_call(struct blob *b, int64_t now_ms, size_t node, uint32_t life, const struct db_witness_call *call)
{
    assert(b->n < CALLS_MAX && node < NODES_MAX);
    struct request *r = &b->requests[b->n++];
    *r = (struct request){.node = node, .life = life, .call = *call, .outcome = {.id = call->id}};
    r->land_ms = now_ms + delay(b, b->p.delay_ms_max);
    r->answer_ms = r->land_ms + delay(b, b->p.delay_ms_max);
    if (b->late_ms[node] > 0 && call->verb == DB_WITNESS_PUT) {
        r->is_blind = true;
        r->outcome.result = DB_WITNESS_UNKNOWN;
        r->land_ms = now_ms + b->late_ms[node];
        b->late_ms[node] = 0;
        return;
    }
    bool is_away = b->is_away[node], is_refused = prng_below(&b->prng, 1000) < b->p.refused;
    if (is_away || is_refused) {
        r->land_ms = INT64_MAX;
        r->outcome.result = is_away ? DB_WITNESS_UNREACHABLE : DB_WITNESS_REFUSED;
    } else if (prng_below(&b->prng, 1000) < b->p.unknown) {
        r->is_blind = true;
        r->outcome.result = DB_WITNESS_UNKNOWN;
        r->land_ms = prng_below(&b->prng, 2) != 0 ? INT64_MAX : now_ms + delay(b, b->p.late_ms_max);
    }
}

static void keep_past(struct blob *b, const struct state *s)
{
    struct uuid newest = newest_witness(b);
    if (!uuid_eq(&s->tag.witness, &newest))
        return;
    if (b->n_past == PAST_MAX)
        memmove(&b->past[0], &b->past[1], --b->n_past * sizeof(b->past[0]));
    b->past[b->n_past++] = *s;
}

static bool matches(const struct state *s, const struct db_witness_call *c)
{
    char etag[DB_ETAG_MAX];
    snprintf(etag, sizeof(etag), "\"%lu\"", s == NULL ? 0ul : (unsigned long)s->etag);
    return s != NULL && str_eq(c->etag, etag);
}

static void land(struct blob *b, struct request *r)
{
    enum db_witness_result result = DB_WITNESS_DONE;
    struct state *s = find(b, &r->call.witness);
    if (s == NULL) {
        result = DB_WITNESS_MISSING;
    } else if (r->call.verb == DB_WITNESS_PUT && !matches(s, &r->call)) {
        result = DB_WITNESS_LOST;
    } else if (r->call.verb == DB_WITNESS_PUT) {
        if (!b->is_rolled_back)
            checker_tag_written(b->check, &s->tag, &r->call.tag);
        keep_past(b, s);
        *s = (struct state){.tag = r->call.tag, .etag = ++b->last_etag};
    }
    r->land_ms = INT64_MAX;
    if (r->is_blind)
        return;
    r->outcome.result = result;
    if (s == NULL)
        return;
    r->outcome.tag = s->tag;
    snprintf(r->outcome.etag, sizeof(r->outcome.etag), "\"%lu\"", (unsigned long)s->etag);
}

static int64_t due(const struct request *r)
{
    return r->land_ms < r->answer_ms ? r->land_ms : r->answer_ms;
}

/* The one that is due first; NULL: none. */
static struct request *first(const struct blob *b)
{
    const struct request *best = NULL;
    for (size_t i = 0; i < b->n; i++)
        if (best == NULL || due(&b->requests[i]) < due(best))
            best = &b->requests[i];
    return (struct request *)(uintptr_t)best;
}

int64_t blob_next_ms(const struct blob *b)
{
    const struct request *r = first(b);
    return r == NULL ? INT64_MAX : due(r);
}

bool blob_next(struct blob *b, int64_t now_ms, struct blob_event *ret)
{
    for (struct request *r = first(b); r != NULL && due(r) <= now_ms; r = first(b)) {
        bool is_answer = r->answer_ms < r->land_ms;
        if (is_answer) {
            *ret = (struct blob_event){.node = r->node, .life = r->life, .outcome = r->outcome};
            r->answer_ms = INT64_MAX;
        } else {
            land(b, r);
        }
        if (due(r) == INT64_MAX)
            *r = b->requests[--b->n];
        if (is_answer)
            return true;
    }
    return false;
}

const struct db_tag *blob_tag(const struct blob *b, const struct uuid *witness)
{
    const struct state *s = find(b, witness);
    return s != NULL ? &s->tag : NULL;
}

bool blob_under_way(const struct blob *b, size_t i, struct db_tag *ret)
{
    for (size_t k = 0; k < b->n; k++) {
        const struct request *r = &b->requests[k];
        const struct state *s = find(b, &r->call.witness);
        if (b->is_rolled_back && s == &b->objects[b->n_objects - 1])
            s = &b->newest;
        bool may_land = r->call.verb == DB_WITNESS_PUT && r->land_ms != INT64_MAX && matches(s, &r->call);
        if (may_land && i-- == 0) {
            *ret = r->call.tag;
            return true;
        }
    }
    return false;
}
