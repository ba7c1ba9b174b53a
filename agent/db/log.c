/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The log in memory: entries base_index+1 … last, contiguous, each of a term not below its predecessor's. */
#include "agent/db/internal.h"

struct entry db_entry_copy(const struct entry *e)
{
    struct entry copy = *e;
    copy.payload.p = xmemdup(e->payload.p, e->payload.len);
    return copy;
}

void db_entry_done(struct entry *e)
{
    free((void *)(uintptr_t)e->payload.p);
    e->payload = (struct slice){NULL, 0};
}

static void drop_from(struct db_log *l, size_t pos)
{
    for (size_t i = pos; i < l->n; i++)
        db_entry_done(&l->e[i]);
    l->n = pos;
}

void db_log_done(struct db_log *l)
{
    drop_from(l, 0);
    free(l->e);
    *l = (struct db_log){0};
}

uint64_t db_log_last(const struct db_log *l)
{
    return l->base_index + l->n;
}

uint64_t db_log_last_term(const struct db_log *l)
{
    return l->n > 0 ? l->e[l->n - 1].term : l->base_term;
}

const struct entry *db_log_at(const struct db_log *l, uint64_t index)
{
    if (index <= l->base_index || index > db_log_last(l))
        return NULL;
    return &l->e[index - l->base_index - 1];
}

bool db_log_term(const struct db_log *l, uint64_t index, uint64_t *ret)
{
    const struct entry *e = db_log_at(l, index);
    if (e == NULL && index != l->base_index)
        return false;
    *ret = e != NULL ? e->term : l->base_term;
    return true;
}

void db_log_append(struct db_log *l, const struct entry *e)
{
    assert(e->index == db_log_last(l) + 1);
    assert(e->term >= db_log_last_term(l));
    if (l->n == l->cap) {
        l->cap = l->cap == 0 ? 64 : 2 * l->cap;
        l->e = xrealloc(l->e, l->cap, sizeof(*l->e));
    }
    l->e[l->n++] = db_entry_copy(e);
}

void db_log_truncate(struct db_log *l, uint64_t from)
{
    assert(from > l->base_index);
    if (from <= db_log_last(l))
        drop_from(l, (size_t)(from - l->base_index - 1));
}

void db_log_compact(struct db_log *l, uint64_t to)
{
    uint64_t term = 0;
    bool known = db_log_term(l, to, &term);
    assert(known);
    size_t gone = (size_t)(to - l->base_index);
    for (size_t i = 0; i < gone; i++)
        db_entry_done(&l->e[i]);
    if (l->n > gone)
        memmove(l->e, l->e + gone, (l->n - gone) * sizeof(*l->e));
    l->n -= gone;
    l->base_index = to;
    l->base_term = term;
}

void db_log_reset(struct db_log *l, uint64_t index, uint64_t term)
{
    drop_from(l, 0);
    l->base_index = index;
    l->base_term = term;
}

bool db_log_has_request(const struct db_log *l, uint64_t after, const struct uuid *id)
{
    for (uint64_t i = db_log_last(l); i > after && i > l->base_index; i--)
        if (uuid_eq(&db_log_at(l, i)->request_id, id))
            return true;
    return false;
}
