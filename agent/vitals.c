/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/vitals.h"

#include "common/wire.h"

/* The place of that node, a new one, or the one of whoever was heard of longest ago. */
static struct vitals_node *place_of(struct vitals *all, uint32_t nodeid)
{
    struct vitals_node *oldest = &all->nodes[0];
    for (size_t i = 0; i < all->n; i++) {
        if (all->nodes[i].nodeid == nodeid)
            return &all->nodes[i];
        if (all->nodes[i].heard_ms < oldest->heard_ms)
            oldest = &all->nodes[i];
    }
    struct vitals_node *p = all->n < VITALS_NODES_MAX ? &all->nodes[all->n++] : oldest;
    *p = (struct vitals_node){.nodeid = nodeid};
    return p;
}

static bool is_recent(const struct vitals_node *n, int64_t now_ms)
{
    return n->heard_ms > 0 && now_ms - n->heard_ms < VITALS_KEPT_MS;
}

static void hear(struct vitals *all, int64_t now_ms, const struct vitals_node *heard)
{
    struct vitals_node *p = place_of(all, heard->nodeid);
    bool is_first = !is_recent(p, now_ms);
    int64_t before = p->ahead_ms;
    *p = *heard;
    p->heard_ms = now_ms;
    p->was_ahead_ms = is_first ? heard->ahead_ms : before;
}

void vitals_own(struct vitals *all, int64_t now_ms, uint32_t nodeid, const struct host_vitals *v,
                enum vitals_witness witness)
{
    hear(all, now_ms, &(struct vitals_node){.nodeid = nodeid, .witness = witness, .v = *v});
}

void vitals_group(struct vitals *all, const uint32_t *nodeids, size_t n)
{
    for (size_t i = 0; i < all->n; i++) {
        bool is_here = false;
        for (size_t k = 0; k < n && !is_here; k++)
            is_here = nodeids[k] == all->nodes[i].nodeid;
        if (!is_here)
            all->nodes[i].heard_ms = 0;
    }
}

const struct vitals_node *vitals_of(const struct vitals *all, int64_t now_ms, uint32_t nodeid)
{
    for (size_t i = 0; i < all->n; i++)
        if (all->nodes[i].nodeid == nodeid && is_recent(&all->nodes[i], now_ms))
            return &all->nodes[i];
    return NULL;
}

/* ---- clocks ---- */

static int64_t ahead_of_us(const struct vitals_node *n)
{
    return n->ahead_ms > n->was_ahead_ms ? n->ahead_ms : n->was_ahead_ms;
}

/* Of an even number the middle between the two: of two clocks nobody can tell which one is wrong. */
static int64_t median_of(const struct vitals *all, int64_t now_ms)
{
    int64_t sorted[VITALS_NODES_MAX];
    size_t n = 0;
    for (size_t i = 0; i < all->n; i++) {
        if (!is_recent(&all->nodes[i], now_ms))
            continue;
        int64_t ahead = ahead_of_us(&all->nodes[i]);
        size_t at = n++;
        for (; at > 0 && sorted[at - 1] > ahead; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = ahead;
    }
    if (n == 0)
        return 0;
    return n % 2 ? sorted[n / 2] : sorted[n / 2 - 1] / 2 + sorted[n / 2] / 2;
}

bool vitals_clock(const struct vitals *all, int64_t now_ms, uint32_t nodeid, int64_t *ret_ahead_ms)
{
    const struct vitals_node *n = vitals_of(all, now_ms, nodeid);
    if (!n)
        return false;
    *ret_ahead_ms = ahead_of_us(n) - median_of(all, now_ms);
    return true;
}

/* ---- the message ---- */

void vitals_encode(const struct host_vitals *v, enum vitals_witness witness, int64_t wall_ms, struct buf *b)
{
    wire_put_u8(b, VITALS_VERSION);
    wire_put_i64(b, wall_ms);
    wire_put_u8(b, (uint8_t)witness);
    wire_put_u8(b, v->n_spaces);
    for (size_t i = 0; i < v->n_spaces; i++) {
        wire_put_str(b, v->spaces[i].path);
        wire_put_u64(b, v->spaces[i].free_mib);
        wire_put_u64(b, v->spaces[i].size_mib);
    }
    wire_put_u8(b, v->n_links);
    wire_put_u8(b, v->n_down);
    for (size_t i = 0; i < v->n_down; i++) {
        wire_put_u32(b, v->down[i].nodeid);
        wire_put_u8(b, v->down[i].number);
    }
    wire_put_str(b, v->executor);
    wire_put_u32(b, (uint32_t)v->executor_code);
    wire_put_str(b, v->executor_why);
    wire_put_str(b, v->executor_remedy);
}

static int get_vitals(struct wire_reader *r, struct host_vitals *ret)
{
    struct host_vitals v = {.n_spaces = wire_get_u8(r)};
    for (size_t i = 0; i < v.n_spaces && i < HOST_SPACES_MAX; i++) {
        WIRE_GET_STR(r, v.spaces[i].path);
        v.spaces[i].free_mib = wire_get_u64(r);
        v.spaces[i].size_mib = wire_get_u64(r);
    }
    v.n_links = wire_get_u8(r);
    v.n_down = wire_get_u8(r);
    for (size_t i = 0; i < v.n_down && i < HOST_LINKS_DOWN_MAX; i++) {
        v.down[i].nodeid = wire_get_u32(r);
        v.down[i].number = wire_get_u8(r);
    }
    WIRE_GET_STR(r, v.executor);
    v.executor_code = (int32_t)wire_get_u32(r);
    WIRE_GET_STR(r, v.executor_why);
    WIRE_GET_STR(r, v.executor_remedy);
    if (wire_end(r) || v.n_spaces > HOST_SPACES_MAX || v.n_links > HOST_LINKS_MAX || v.n_down > HOST_LINKS_DOWN_MAX)
        return ERR_MALFORMED;
    *ret = v;
    return 0;
}

int vitals_take(struct vitals *all, int64_t now_ms, int64_t wall_ms, uint32_t from_nodeid, struct slice message)
{
    struct wire_reader r = wire_reader(message);
    struct vitals_node heard = {.nodeid = from_nodeid};
    uint8_t version = wire_get_u8(&r);
    if (!wire_err(&r) && version != VITALS_VERSION)
        return ERR_UNKNOWN_KIND;
    int64_t at_ms = wire_get_i64(&r);
    uint8_t witness = wire_get_u8(&r);
    if (at_ms <= 0 || witness > VITALS_WITNESS_SILENT || get_vitals(&r, &heard.v))
        return ERR_MALFORMED;
    heard.witness = (enum vitals_witness)witness;
    heard.ahead_ms = at_ms - wall_ms; /* both positive: no overflow */
    hear(all, now_ms, &heard);
    return 0;
}
