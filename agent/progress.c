/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/progress.h"

#include "common/wire.h"

enum { ITEM_SIZE = 17 };

/* The place of that op, a free one, or the oldest one's. */
static struct progress_item *place_of(struct progress *p, const struct uuid *op)
{
    struct progress_item *oldest = &p->items[0];
    for (size_t i = 0; i < p->n; i++) {
        if (uuid_eq(&p->items[i].op, op))
            return &p->items[i];
        if (p->items[i].heard_ms < oldest->heard_ms)
            oldest = &p->items[i];
    }
    return p->n < PROGRESS_MAX ? &p->items[p->n++] : oldest;
}

void progress_add(struct progress *p, const struct progress_item *item)
{
    *place_of(p, &item->op) = *item;
}

int progress_get(const struct progress *p, const struct uuid *op, int64_t now_ms)
{
    for (size_t i = 0; i < p->n; i++)
        if (uuid_eq(&p->items[i].op, op) && now_ms - p->items[i].heard_ms < PROGRESS_KEPT_MS)
            return p->items[i].percent;
    return -1;
}

void progress_encode(const struct progress *p, struct buf *b)
{
    wire_put_u8(b, PROGRESS_VERSION);
    wire_put_u8(b, (uint8_t)p->n);
    for (size_t i = 0; i < p->n; i++) {
        wire_put_uuid(b, &p->items[i].op);
        wire_put_u8(b, p->items[i].percent);
    }
}

int progress_take(struct progress *p, int64_t now_ms, struct slice message)
{
    struct wire_reader r = wire_reader(message);
    struct progress heard = {0};
    uint8_t version = wire_get_u8(&r);
    if (!wire_err(&r) && version != PROGRESS_VERSION)
        return ERR_UNKNOWN_KIND;
    size_t n = wire_get_u8(&r);
    if (n > PROGRESS_MAX || (size_t)(r.end - r.p) != n * ITEM_SIZE)
        return ERR_MALFORMED;
    for (heard.n = 0; heard.n < n; heard.n++) {
        struct progress_item *i = &heard.items[heard.n];
        *i = (struct progress_item){.op = wire_get_uuid(&r), .percent = wire_get_u8(&r), .heard_ms = now_ms};
        if (i->percent > 100)
            return ERR_MALFORMED;
    }
    if (wire_end(&r))
        return ERR_MALFORMED;
    for (size_t i = 0; i < n; i++)
        progress_add(p, &heard.items[i]);
    return 0;
}
