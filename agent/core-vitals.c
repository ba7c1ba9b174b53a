/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How the nodes are at the moment, in the core: this node looks at itself every VITALS_EVERY_MS, and when the
 * executor's setting changed (VITALS_AGAIN_MS after the last look at the soonest), and says what it saw to all
 * (agent/vitals.h). Nothing is decided by it but what a check tells an admin. */
#include "agent/core-internal.h"

static enum vitals_witness own_witness(const struct core *c)
{
    if (uuid_is_nil(&c->witness.of) || !c->witness.was_asked)
        return VITALS_WITNESS_UNKNOWN;
    return c->witness.last.outcome == WITNESS_DONE ? VITALS_WITNESS_ANSWERS : VITALS_WITNESS_SILENT;
}

/* The clock is that of this moment; the rest may be VITALS_EVERY_MS old. */
static void say(struct core *c)
{
    const struct vitals_node *own = vitals_of(&c->vitals, c->now_ms, c->identity.nodeid);
    AUTO(buf_done) struct buf b = {0};
    if (!own || c->n_group < 2)
        return;
    vitals_encode(&own->v, own_witness(c), c->wall_ms, &b);
    core_send_vitals(c, buf_slice(&b));
}

static bool is_looking(const struct core *c)
{
    for (size_t i = 0; i < c->n_pending; i++)
        if (c->pending[i].purpose == FOR_VITALS)
            return true;
    return false;
}

void core_vitals_look(struct core *c)
{
    char executor[SETTING_VALUE_MAX];
    setting_get(db_tables(c->db), "upgrade.executor", executor);
    bool is_changed = !str_eq(executor, c->vitals_executor);
    int64_t due_ms = is_changed ? c->vitals_at_ms - VITALS_EVERY_MS + VITALS_AGAIN_MS : c->vitals_at_ms;
    if (is_looking(c) || c->now_ms < due_ms)
        return;
    c->vitals_at_ms = c->now_ms + VITALS_EVERY_MS;
    STR_COPY(c->vitals_executor, executor);
    struct core_action *a = core_act_for(c, ACT_VITALS, FOR_VITALS, NULL);
    a->text = executor[0] ? xstrdup(executor) : NULL;
}

void core_vitals_take(struct core *c, const struct host_vitals *v)
{
    if (!c->db || c->phase != PHASE_MEMBER)
        return;
    vitals_own(&c->vitals, c->now_ms, c->identity.nodeid, v, own_witness(c));
    say(c);
}

void core_vitals_group(struct core *c)
{
    if (c->n_group) /* without corosync there is no news of anybody */
        vitals_group(&c->vitals, c->group, c->n_group);
    if (c->phase == PHASE_MEMBER)
        say(c); /* whoever came has heard nobody yet */
}

void core_vitals_heard(struct core *c, uint32_t nodeid, struct slice body)
{
    if (nodeid != c->identity.nodeid && vitals_take(&c->vitals, c->now_ms, c->wall_ms, nodeid, body) == ERR_MALFORMED)
        log_debug(c->log, "vitals of node %u do not decode -> ignored", nodeid);
}
