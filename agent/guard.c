/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rows of TABLE_GUARD (little endian, common/wire.h):
 *   str node, u8 kind, str boot_id, i64 lease_ms, i64 watchdog_ms, u8 state, u8 how, i64 wait_ms, i64 changed_ms,
 *   u32 by wait, u32 by command, u32 back, u32 vms
 * Payloads:
 *   NODE_GUARD  str node, uuid replica, u8 kind, str boot_id, i64 lease_ms, i64 watchdog_ms
 *   NODE_FENCE  u8 verb, str node, str boot_id, u8 how, i64 wait_ms */
#include "agent/guard.h"

#include <assert.h>
#include <inttypes.h>

#include "common/journal.h"

struct apply {
    struct tables *t;
    const struct guard_gate *gate;
    const struct entry *e;
    struct error *err;
};

static void encode(const struct guard *g, struct buf *b)
{
    wire_put_str(b, g->node);
    wire_put_u8(b, (uint8_t)g->kind);
    wire_put_str(b, g->boot_id);
    wire_put_i64(b, g->lease_ms);
    wire_put_i64(b, g->watchdog_ms);
    wire_put_u8(b, (uint8_t)g->state);
    wire_put_u8(b, (uint8_t)g->how);
    wire_put_i64(b, g->wait_ms);
    wire_put_i64(b, g->changed_ms);
    wire_put_u32(b, g->count.wait);
    wire_put_u32(b, g->count.command);
    wire_put_u32(b, g->count.back);
    wire_put_u32(b, g->count.vms);
}

int guard_decode(struct slice value, struct guard *ret)
{
    struct wire_reader r = wire_reader(value);
    struct guard g = {0};
    WIRE_GET_STR(&r, g.node);
    g.kind = (enum guard_kind)wire_get_u8(&r);
    WIRE_GET_STR(&r, g.boot_id);
    g.lease_ms = wire_get_i64(&r);
    g.watchdog_ms = wire_get_i64(&r);
    g.state = (enum fence_state)wire_get_u8(&r);
    g.how = (enum fence_how)wire_get_u8(&r);
    g.wait_ms = wire_get_i64(&r);
    g.changed_ms = wire_get_i64(&r);
    g.count.wait = wire_get_u32(&r);
    g.count.command = wire_get_u32(&r);
    g.count.back = wire_get_u32(&r);
    g.count.vms = wire_get_u32(&r);
    if (wire_err(&r) || g.kind > GUARD_PROMISE || g.state > FENCE_FENCED || g.how > FENCE_BY_COMMAND)
        return ERR_MALFORMED;
    *ret = g;
    return 0;
}

int guard_get(const struct tables *t, const char *node, struct guard *ret)
{
    struct slice value;
    if (tables_get(t, TABLE_GUARD, node, &value))
        return ERR_NO_OBJECT;
    int err = guard_decode(value, ret);
    assert(!err); /* only guard_apply writes rows */
    return err;
}

const char *guard_kind_name(enum guard_kind k)
{
    static const char *const names[] = {"off", "none", "watchdog", "promise"};
    return names[k];
}

const char *fence_state_name(enum fence_state s)
{
    static const char *const names[] = {"none", "waiting", "fenced"};
    return names[s];
}

bool guard_keeps(enum guard_kind k)
{
    return k == GUARD_WATCHDOG || k == GUARD_PROMISE;
}

int64_t guard_wait_ms(const struct guard *g)
{
    int64_t ms = g->lease_ms + g->watchdog_ms;
    return ms + (ms + 4) / 5;
}

/* ---- payloads */

void guard_entry_report(const struct guard *g, const struct uuid *replica, struct buf *b)
{
    wire_put_str(b, g->node);
    wire_put_uuid(b, replica);
    wire_put_u8(b, (uint8_t)g->kind);
    wire_put_str(b, g->boot_id);
    wire_put_i64(b, g->lease_ms);
    wire_put_i64(b, g->watchdog_ms);
}

void guard_entry_fence(const struct fence_entry *f, struct buf *b)
{
    wire_put_u8(b, (uint8_t)f->verb);
    wire_put_str(b, f->node);
    wire_put_str(b, f->boot_id);
    wire_put_u8(b, (uint8_t)f->how);
    wire_put_i64(b, f->wait_ms);
}

static int read_report(struct slice payload, struct guard *ret, struct uuid *ret_replica)
{
    struct wire_reader r = wire_reader(payload);
    struct guard g = {0};
    WIRE_GET_STR(&r, g.node);
    struct uuid replica = wire_get_uuid(&r);
    g.kind = (enum guard_kind)wire_get_u8(&r);
    WIRE_GET_STR(&r, g.boot_id);
    g.lease_ms = wire_get_i64(&r);
    g.watchdog_ms = wire_get_i64(&r);
    if (wire_end(&r) || !g.node[0] || g.kind > GUARD_PROMISE || g.lease_ms < 0 || g.watchdog_ms < 0)
        return ERR_MALFORMED;
    *ret = g;
    *ret_replica = replica;
    return 0;
}

static int read_fence(struct slice payload, struct fence_entry *ret)
{
    struct wire_reader r = wire_reader(payload);
    struct fence_entry f = {0};
    f.verb = (enum fence_verb)wire_get_u8(&r);
    WIRE_GET_STR(&r, f.node);
    WIRE_GET_STR(&r, f.boot_id);
    f.how = (enum fence_how)wire_get_u8(&r);
    f.wait_ms = wire_get_i64(&r);
    if (wire_end(&r) || f.verb < FENCE_BEGIN || f.verb > FENCE_DONE || f.how > FENCE_BY_COMMAND || f.wait_ms < 0)
        return ERR_MALFORMED;
    *ret = f;
    return 0;
}

/* ---- applying */

static void put(const struct apply *a, const struct guard *g)
{
    AUTO(buf_done) struct buf b = {0};
    encode(g, &b);
    tables_put(a->t, TABLE_GUARD, g->node, buf_slice(&b));
}

static int malformed(const struct apply *a)
{
    return error_set(a->err, ERR_USAGE, "the entry of kind %u does not parse", a->e->kind);
}

#define EVENT(a, severity, g, ...) journal_event((a)->t, (a)->e->time_ms, (severity), (g)->node, __VA_ARGS__)

static void back_in_time(const struct apply *a, struct guard *g)
{
    g->state = FENCE_NO;
    g->count.back++;
    EVENT(a, EVENT_INFO, g, "%s: is back before its wait was over: its VMs stay with it", g->node);
}

/* A node that is shut down says OFF before: one that boots anew without it was ended. */
static void take_return(const struct apply *a, struct guard *g, const struct guard *old)
{
    g->count = old->count;
    bool was_ended = guard_keeps(old->kind) && !str_eq(old->boot_id, g->boot_id);
    if (was_ended)
        EVENT(a, EVENT_WARNING, g, "%s: was ended by %s, and has booted anew", g->node,
              old->state == FENCE_FENCED && old->how == FENCE_BY_COMMAND ? "the fence command"
              : old->kind == GUARD_WATCHDOG ? "its watchdog or a loss of power" : "a loss of power");
    if (old->state == FENCE_WAITING)
        back_in_time(a, g);
}

static int apply_report(const struct apply *a)
{
    struct guard g, old;
    struct uuid replica;
    if (read_report(a->e->payload, &g, &replica))
        return malformed(a);
    if (!a->gate->is_replica(a->gate->ctx, g.node, &replica))
        return error_set(a->err, ERR_NO_OBJECT, "guard of %s: this replica is not in the cluster", g.node);
    bool is_known = guard_get(a->t, g.node, &old) == 0;
    if (is_known)
        take_return(a, &g, &old);
    if (is_known && guard_keeps(old.kind) && !guard_keeps(g.kind))
        EVENT(a, g.kind == GUARD_OFF ? EVENT_INFO : EVENT_WARNING, &g,
              g.kind == GUARD_OFF ? "%s: its agent is stopped on purpose: its VMs run on and are not started elsewhere"
                                  : "%s: has no watchdog any more: its VMs are not started elsewhere",
              g.node);
    g.changed_ms = a->e->time_ms;
    put(a, &g);
    return 0;
}

static int begin(const struct apply *a, struct guard *g, const struct fence_entry *f)
{
    if (g->state == FENCE_WAITING)
        return error_set(a->err, ERR_AGAIN, "%s is being fenced already", g->node);
    g->state = FENCE_WAITING;
    g->wait_ms = f->wait_ms;
    if (f->wait_ms > 0)
        EVENT(a, EVENT_WARNING, g, "%s: is lost: its VMs start elsewhere %" PRId64 ".%" PRId64 " s after its last word",
              g->node, f->wait_ms / 1000, f->wait_ms % 1000 / 100);
    else
        EVENT(a, EVENT_WARNING, g, "%s: is lost: its VMs start elsewhere once the fence command has ended it", g->node);
    return 0;
}

static void done(const struct apply *a, struct guard *g, const struct fence_entry *f)
{
    g->changed_ms = a->e->time_ms;
    g->state = FENCE_FENCED;
    g->how = f->how;
    *(f->how == FENCE_BY_COMMAND ? &g->count.command : &g->count.wait) += 1;
    EVENT(a, EVENT_WARNING, g,
          f->how == FENCE_BY_COMMAND ? "%s: is fenced: the fence command confirmed it"
                                     : "%s: is fenced: the wait is over",
          g->node);
    put(a, g); /* for whoever asks, in there, what became of the node */
    g->count.vms += a->gate->lost(a->gate->ctx, g->node, a->e->time_ms);
}

static int apply_fence(const struct apply *a)
{
    struct fence_entry f;
    struct guard g;
    if (read_fence(a->e->payload, &f))
        return malformed(a);
    if (guard_get(a->t, f.node, &g) || !str_eq(g.boot_id, f.boot_id))
        return error_set(a->err, ERR_AGAIN, "%s has reported anew meanwhile", f.node);
    if (f.verb != FENCE_BEGIN && g.state != FENCE_WAITING)
        return error_set(a->err, ERR_AGAIN, "%s is not being fenced", f.node);
    if (f.verb == FENCE_BEGIN) {
        int err = begin(a, &g, &f);
        if (err)
            return err;
    } else if (f.verb == FENCE_DONE) {
        done(a, &g, &f);
    } else {
        back_in_time(a, &g);
    }
    g.changed_ms = a->e->time_ms;
    put(a, &g);
    return 0;
}

void guard_apply(struct tables *t, const struct guard_gate *gate, const struct entry *e, struct apply_result *ret)
{
    const struct apply a = {.t = t, .gate = gate, .e = e, .err = &ret->error};
    if (e->kind == ENTRY_NODE_GUARD)
        apply_report(&a);
    else
        apply_fence(&a);
}

/* ---- the node itself */

enum guard_now guard_self_now(const struct guard_self *g, int64_t now_ms)
{
    int64_t silent_ms = now_ms - g->note.contact_ms;
    if (!g->note.on)
        return GUARD_FREE;
    if (silent_ms >= g->note.lease_ms)
        return GUARD_OVER;
    return silent_ms >= g->note.gap_ms ? GUARD_LOST : GUARD_GOOD;
}

int64_t guard_self_until_ms(const struct guard_self *g)
{
    return g->note.on ? g->note.contact_ms + g->note.lease_ms : 0;
}
