/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/converge.h"

static enum converge_step step(struct converge *c, const struct vm_domain *d, enum converge_step next, int64_t now_ms)
{
    c->passes = d->passes;
    c->step_ms = now_ms;
    c->last = next;
    return next;
}

static bool has_waited(const struct converge *c, const struct vm_domain *d, int64_t ms, int64_t now_ms)
{
    return d->passes >= c->passes + CONVERGE_PASSES && now_ms - c->step_ms >= ms;
}

enum converge_step converge_next(struct converge *c, const struct vm_domain *d, const struct converge_limits *l,
                                 int64_t now_ms)
{
    if (!d->migrating || d->passes < 2 || c->last == CONVERGE_POSTCOPY)
        return CONVERGE_WAIT;
    if (c->last == CONVERGE_GIVE_UP)
        return CONVERGE_GIVE_UP;
    if (c->step_ms == 0) { /* the second pass begins: from now on it is late */
        c->downtime_ms = CONVERGE_DOWNTIME_MS;
        return step(c, d, CONVERGE_WAIT, now_ms);
    }
    bool is_longest = c->downtime_ms >= l->downtime_max_ms;
    if (!has_waited(c, d, is_longest && !l->postcopy ? CONVERGE_LAST_MS : CONVERGE_MS, now_ms))
        return CONVERGE_WAIT;
    if (is_longest)
        return step(c, d, l->postcopy ? CONVERGE_POSTCOPY : CONVERGE_GIVE_UP, now_ms);
    c->downtime_ms = 2 * c->downtime_ms < l->downtime_max_ms ? 2 * c->downtime_ms : l->downtime_max_ms;
    return step(c, d, CONVERGE_DOWNTIME, now_ms);
}
