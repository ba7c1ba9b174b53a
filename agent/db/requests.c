/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Kept outcomes: "A request_id makes a retry safe"; "the last 10,000 request_ids are kept, replicated".
 *
 *   TABLE_REQUEST   request id -> u64 index  i64 error code  str text  str remedy
 *
 * A row is written when its entry is applied and the one with the lowest index goes when there are too many, so the
 * table is the same on every node. The ring is only an order of the rows: rebuilt from the table, never stored. */
#include "agent/db/internal.h"

void db_requests_init(struct db_requests *r, size_t kept)
{
    *r = (struct db_requests){.ring = xcalloc(kept + 1, sizeof(*r->ring)), .kept = kept};
}

void db_requests_done(struct db_requests *r)
{
    free(r->ring);
    *r = (struct db_requests){0};
}

struct indexed {
    uint64_t index;
    struct uuid id;
};

static int by_index(const void *a, const void *b)
{
    const struct indexed *x = a, *y = b;
    return x->index < y->index ? -1 : x->index > y->index;
}

void db_requests_load(struct db_requests *r, const struct tables *t)
{
    size_t n = 0, count = tables_count(t, TABLE_REQUEST);
    AUTO(freep) struct indexed *all = xcalloc(count + 1, sizeof(*all));
    TABLES_FOREACH(t, TABLE_REQUEST, row)
    {
        struct wire_reader w = wire_reader(row.value);
        uint64_t index = wire_get_u64(&w);
        if (uuid_parse(row.key, &all[n].id) == 0)
            all[n++].index = index;
    }
    qsort(all, n, sizeof(*all), by_index);
    r->head = r->n = 0;
    for (size_t i = n > r->kept ? n - r->kept : 0; i < n; i++)
        r->ring[r->n++] = all[i].id;
}

bool db_requests_get(const struct tables *t, const struct uuid *id, struct apply_result *ret)
{
    struct slice value;
    if (uuid_is_nil(id) || tables_get(t, TABLE_REQUEST, uuid_str(id).s, &value) != 0)
        return false;
    struct apply_result result = {0};
    struct wire_reader r = wire_reader(value);
    (void)wire_get_u64(&r);
    result.error.code = (int)wire_get_i64(&r);
    WIRE_GET_STR(&r, result.error.text);
    WIRE_GET_STR(&r, result.error.remedy);
    *ret = result;
    return true;
}

bool db_outcome(const struct db *db, const struct uuid *id, struct apply_result *ret)
{
    return db_requests_get(db->tables, id, ret);
}

void db_requests_put(struct db_requests *r, struct tables *t, uint64_t index, const struct uuid *id,
                     const struct apply_result *result)
{
    AUTO(buf_done) struct buf b = {0};
    wire_put_u64(&b, index);
    wire_put_i64(&b, result->error.code);
    wire_put_str(&b, result->error.text);
    wire_put_str(&b, result->error.remedy);
    tables_put(t, TABLE_REQUEST, uuid_str(id).s, buf_slice(&b));
    r->ring[(r->head + r->n++) % (r->kept + 1)] = *id;
    if (r->n > r->kept) {
        tables_del(t, TABLE_REQUEST, uuid_str(&r->ring[r->head]).s);
        r->head = (r->head + 1) % (r->kept + 1);
        r->n--;
    }
}
