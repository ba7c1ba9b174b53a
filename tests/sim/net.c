/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/sim/net.h"

#include <assert.h>

struct delivery {
    struct net_event event;
    int64_t due_ms;
};

struct queue {
    struct delivery *d;
    size_t head, n, cap;
    int64_t last_ms; /* order is kept: nothing is due before its predecessor */
};

struct member {
    bool is_up;
    uint8_t side;
    uint32_t incarnation;
    uint64_t view;                        /* 0: none yet */
    uint64_t ring;                        /* 0: its corosync does not run, or has met nobody yet */
    size_t ring_size;                     /* how many nodes formed it */
    uint32_t seen_in_view[NET_NODES_MAX]; /* the incarnations of its view; 0: not a member */
    struct queue queue;
};

struct net {
    struct prng prng;
    struct net_params p;
    size_t n;
    struct member m[NET_NODES_MAX];
    uint64_t last_view, last_ring;
    int64_t reform_ms; /* when the changes so far are noticed */
};

struct net *net_new(size_t n, uint64_t seed, struct net_params params)
{
    assert(n <= NET_NODES_MAX);
    struct net *net = xcalloc(1, sizeof(*net));
    net->prng = prng_new(seed);
    net->p = params;
    net->n = n;
    net->reform_ms = INT64_MAX;
    return net;
}

void net_event_done(struct net_event *e)
{
    buf_done(&e->bytes);
}

static void queue_clear(struct queue *q)
{
    for (; q->head < q->n; q->head++)
        net_event_done(&q->d[q->head].event);
    q->head = q->n = 0;
}

void net_free(struct net *net)
{
    for (size_t i = 0; net != NULL && i < net->n; i++) {
        queue_clear(&net->m[i].queue);
        free(net->m[i].queue.d);
    }
    free(net);
}

void net_set_params(struct net *net, struct net_params params)
{
    net->p = params;
}

static int64_t draw(struct net *net, int64_t max)
{
    return 1 + (int64_t)prng_below(&net->prng, (uint64_t)(max > 0 ? max : 1));
}

static bool chance(struct net *net, unsigned of_1000)
{
    return of_1000 > 0 && prng_below(&net->prng, 1000) < of_1000;
}

static struct net_event *push_at(struct net *net, int64_t due, size_t to)
{
    struct queue *q = &net->m[to].queue;
    if (q->head > 0 && q->head == q->n)
        q->head = q->n = 0;
    if (q->n == q->cap) {
        q->cap = q->cap == 0 ? 32 : 2 * q->cap;
        q->d = xrealloc(q->d, q->cap, sizeof(*q->d));
    }
    q->last_ms = due > q->last_ms ? due : q->last_ms;
    struct delivery *d = &q->d[q->n++];
    *d = (struct delivery){.event.to = to, .due_ms = q->last_ms};
    return &d->event;
}

static struct net_event *push(struct net *net, int64_t now_ms, size_t to)
{
    return push_at(net, now_ms + draw(net, net->p.delay_ms_max), to);
}

/* ---- membership ------------------------------------------------------------------------------------------------ */

static void notice_later(struct net *net, int64_t now_ms)
{
    int64_t at = now_ms + draw(net, net->p.notice_ms_max);
    if (net->reform_ms == INT64_MAX || at > net->reform_ms)
        net->reform_ms = at;
}

void net_up(struct net *net, int64_t now_ms, size_t node)
{
    struct member *m = &net->m[node];
    assert(!m->is_up);
    m->is_up = true;
    m->incarnation++;
    m->view = 0;
    memset(m->seen_in_view, 0, sizeof(m->seen_in_view));
    notice_later(net, now_ms);
}

void net_down(struct net *net, int64_t now_ms, size_t node)
{
    struct member *m = &net->m[node];
    assert(m->is_up);
    m->is_up = false;
    m->view = 0;
    if (m->incarnation % 2 == 0)
        m->ring = 0;
    queue_clear(&m->queue);
    notice_later(net, now_ms);
}

void net_partition(struct net *net, int64_t now_ms, const uint8_t *side)
{
    for (size_t i = 0; i < net->n; i++)
        net->m[i].side = side[i];
    notice_later(net, now_ms);
}

bool net_connected(const struct net *net, size_t a, size_t b)
{
    return net->m[a].is_up && net->m[b].is_up && net->m[a].side == net->m[b].side;
}

static void push_view(struct net *net, int64_t now_ms, size_t to, const uint32_t *incarnations)
{
    struct net_event *e = push(net, now_ms, to);
    e->type = NET_VIEW;
    for (size_t i = 0; i < net->n; i++)
        if (incarnations[i] != 0)
            e->members[e->n++] = i;
}

/* What was under way is delivered or lost by chance. */
static void thin_out(struct net *net, struct queue *q)
{
    size_t n = q->head;
    for (size_t i = q->head; i < q->n; i++) {
        if (q->d[i].event.type == NET_MESSAGE && chance(net, 500))
            net_event_done(&q->d[i].event);
        else
            q->d[n++] = q->d[i];
    }
    q->n = n;
}

static void enter_view(struct net *net, int64_t now_ms, size_t node, const uint32_t *incarnations, uint64_t view)
{
    struct member *m = &net->m[node];
    uint32_t stayed[NET_NODES_MAX] = {0};
    bool went = false, came = false;
    for (size_t i = 0; i < net->n; i++) {
        stayed[i] = m->seen_in_view[i] == incarnations[i] ? incarnations[i] : 0;
        went |= m->seen_in_view[i] != stayed[i];
        came |= incarnations[i] != stayed[i];
    }
    if (went)
        thin_out(net, &m->queue);
    if (went && m->view != 0)
        push_view(net, now_ms, node, stayed);
    if (came)
        push_view(net, now_ms, node, incarnations);
    memcpy(m->seen_in_view, incarnations, sizeof(m->seen_in_view));
    m->view = view;
}

static bool is_on_side(const struct net *net, size_t side_of, size_t node)
{
    const struct member *m = &net->m[node];
    return m->side == net->m[side_of].side && (m->is_up || m->ring != 0);
}

/* All that formed the ring of this node are on it still, on this side, and nobody else is here. */
static bool is_ring_whole(const struct net *net, size_t node)
{
    size_t here = 0;
    for (size_t k = 0; k < net->n; k++) {
        if (is_on_side(net, node, k) && net->m[k].ring != net->m[node].ring)
            return false;
        here += is_on_side(net, node, k);
    }
    return net->m[node].ring != 0 && here == net->m[node].ring_size;
}

static bool form_ring(struct net *net, size_t node)
{
    size_t size = 0;
    if (is_ring_whole(net, node))
        return false;
    for (size_t k = 0; k < net->n; k++)
        size += is_on_side(net, node, k);
    net->last_ring++;
    for (size_t k = 0; k < net->n; k++) {
        if (k != node && !is_on_side(net, node, k))
            continue;
        net->m[k].ring = net->last_ring;
        net->m[k].ring_size = size;
    }
    return true;
}

static void push_ring(struct net *net, int64_t now_ms, size_t to)
{
    struct net_event *e = push_at(net, now_ms, to); /* and no sooner than what is under way */
    e->type = NET_RING;
    e->ring = net->m[to].ring;
}

uint64_t net_ring(const struct net *net, size_t node)
{
    return net->m[node].ring;
}

static void reform(struct net *net, int64_t now_ms)
{
    bool is_done[NET_NODES_MAX] = {false};
    for (size_t i = 0; i < net->n; i++) {
        uint32_t incarnations[NET_NODES_MAX] = {0};
        bool is_new = false;
        if (!net->m[i].is_up || is_done[i])
            continue;
        for (size_t k = 0; k < net->n; k++)
            if (net_connected(net, i, k))
                incarnations[k] = net->m[k].incarnation;
        for (size_t k = 0; k < net->n; k++)
            if (incarnations[k] != 0)
                is_new |= memcmp(net->m[k].seen_in_view, incarnations, sizeof(incarnations)) != 0;
        net->last_view += is_new;
        bool is_new_ring = form_ring(net, i);
        for (size_t k = 0; k < net->n; k++) {
            is_done[k] |= incarnations[k] != 0;
            if (incarnations[k] != 0 && (is_new_ring || net->m[k].view == 0))
                push_ring(net, now_ms, k);
            if (incarnations[k] != 0 && is_new)
                enter_view(net, now_ms, k, incarnations, net->last_view);
        }
    }
}

/* ---- messages -------------------------------------------------------------------------------------------------- */

void net_send(struct net *net, int64_t now_ms, size_t from, struct slice bytes)
{
    uint64_t view = net->m[from].view;
    for (size_t i = 0; view != 0 && i < net->n; i++) {
        if (net->m[i].view != view || !net_connected(net, from, i) || (i != from && chance(net, net->p.loss)))
            continue;
        struct net_event *e = push(net, now_ms, i);
        e->type = NET_MESSAGE;
        e->from = from;
        buf_add(&e->bytes, bytes.p, bytes.len);
    }
}

static size_t next_queue(const struct net *net, int64_t *ret_due)
{
    size_t best = net->n;
    int64_t due = INT64_MAX;
    for (size_t i = 0; i < net->n; i++) {
        const struct queue *q = &net->m[i].queue;
        if (q->head < q->n && q->d[q->head].due_ms < due) {
            best = i;
            due = q->d[q->head].due_ms;
        }
    }
    *ret_due = due;
    return best;
}

int64_t net_next_ms(const struct net *net)
{
    int64_t due;
    (void)next_queue(net, &due);
    return due < net->reform_ms ? due : net->reform_ms;
}

bool net_next(struct net *net, int64_t now_ms, struct net_event *ret)
{
    int64_t due;
    if (net->reform_ms <= now_ms) {
        net->reform_ms = INT64_MAX;
        reform(net, now_ms);
    }
    size_t i = next_queue(net, &due);
    if (i == net->n || due > now_ms)
        return false;
    struct queue *q = &net->m[i].queue;
    *ret = q->d[q->head++].event;
    return true;
}

/* ---- inboxes ---------------------------------------------------------------------------------------------------- */

void net_inbox_put(struct net_inbox *b, struct net_event *e)
{
    if (b->n == b->cap) {
        b->cap = b->cap == 0 ? 64 : 2 * b->cap;
        b->d = xrealloc(b->d, b->cap, sizeof(*b->d));
    }
    b->d[b->n++] = *e;
}

bool net_inbox_take(struct net_inbox *b, struct net_event *ret)
{
    if (b->head == b->n) {
        b->head = b->n = 0;
        return false;
    }
    *ret = b->d[b->head++];
    return true;
}

void net_inbox_done(struct net_inbox *b)
{
    struct net_event e;
    while (net_inbox_take(b, &e))
        net_event_done(&e);
    free(b->d);
    *b = (struct net_inbox){0};
}
