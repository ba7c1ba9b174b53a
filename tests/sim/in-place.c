/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The program of an upgrade in place, on each node. What it keeps on the node's disk survives everything; its unit ends
 * with the boot, and a call of start has it go on where it was. */
#include "tests/sim/world.h"

enum { CHECK_MS = 5000, UNPACK_MS = 25000, DOWN_MS = 4000 };

static void to_stage(struct world *w, struct rebuild *r);

/* The reboot is what it ends with. A node that is not to come back stays off. */
static void reboot(struct world *w, struct rebuild *r)
{
    struct sim_node *s = &w->nodes[r->node];
    r->stage = PACKAGES_DONE;
    STR_COPY(s->release, r->target);
    world_log(w, "PKG", "%s: its packages are those of %s, it reboots", s->name, r->target);
    world_power_off(w, r->node);
    if (!w->no_rejoin[r->node])
        bmc_power_back(w, r->node, world_delay(w, DOWN_MS, 4 * DOWN_MS));
}

static void stage_done(struct world *w, struct errand *j)
{
    struct rebuild *r = &w->rebuilds[j->number];
    struct sim_node *s = &w->nodes[r->node];
    if (!s->powered || s->boot != j->boot || r->state != HOOK_RUNNING)
        return;
    if (!host_is_empty(&s->host))
        world_fail(w, "%s is upgraded in place under running VMs", s->name);
    if (r->stage == PACKAGES_CHECKED) {
        r->stage = PACKAGES_UNPACKED;
        to_stage(w, r);
    } else if (w->failing_rebuilds[r->node] > 0) {
        w->failing_rebuilds[r->node]--;
        r->state = HOOK_FAILED;
        world_log(w, "PKG", "%s: the package manager failed", s->name);
    } else {
        reboot(w, r);
    }
}

static void to_stage(struct world *w, struct rebuild *r)
{
    int64_t ms = r->stage == PACKAGES_CHECKED ? CHECK_MS : UNPACK_MS;
    if (r->stage == PACKAGES_UNPACKED && w->rebuild_ms[r->node] > 0)
        ms = w->rebuild_ms[r->node];
    struct errand *j = world_later(w, world_delay(w, ms, 2 * ms), stage_done);
    j->number = (uint64_t)(r - w->rebuilds);
    j->boot = r->boot = w->nodes[r->node].boot;
}

static void start(struct world *w, const struct hook_call *call, size_t node, struct hook_outcome *ret)
{
    struct rebuild *r = bmc_find(w, call->op_id);
    const struct sim_node *s = &w->nodes[node];
    if (r == NULL) {
        bmc_may_begin(w, call->op_id, node);
        if (!s->has_identity || db_config_find(checker_config(w->check), &s->identity.replica) == NULL)
            world_fail(w, "%s is upgraded in place without a replica", s->name);
        r = bmc_new(w, call, node);
        r->is_in_place = true;
        world_log(w, "PKG", "%s: is upgraded in place to %s", s->name, r->target);
        to_stage(w, r);
    } else if (r->state == HOOK_RUNNING && r->stage != PACKAGES_DONE && r->boot != s->boot) {
        world_log(w, "PKG", "%s: the upgrade goes on", s->name);
        to_stage(w, r);
    }
    ret->state = r->state == HOOK_FAILED ? HOOK_FAILED : HOOK_DONE;
}

static void poll(struct world *w, struct rebuild *r, struct hook_outcome *ret)
{
    if (r->state == HOOK_RUNNING && r->stage == PACKAGES_DONE && r->boot != w->nodes[r->node].boot)
        r->state = HOOK_DONE;
    ret->state = r->state;
    STR_COPY(ret->output, r->state == HOOK_FAILED        ? "apt-get: no space left on device"
                          : r->stage == PACKAGES_CHECKED ? "looks at the packages"
                          : r->stage == PACKAGES_DONE    ? "the packages are upgraded"
                                                         : "upgrades the packages");
}

/* As long as no package was replaced. */
static void cancel(struct world *w, const struct hook_call *call, size_t node, struct hook_outcome *ret)
{
    struct rebuild *r = bmc_find(w, call->op_id);
    if (r == NULL)
        r = bmc_new(w, call, node);
    if (r->state == HOOK_RUNNING && r->stage == PACKAGES_CHECKED) {
        r->is_in_place = r->is_cancelled = true;
        r->state = HOOK_FAILED;
        world_log(w, "PKG", "%s: will not be upgraded", w->nodes[node].name);
    }
    ret->state = r->is_cancelled ? HOOK_DONE : HOOK_FAILED;
    STR_COPY(ret->output, r->is_cancelled ? "nothing was changed" : "packages are replaced already");
}

void in_place_call(struct world *w, const struct hook_call *call, size_t node, struct hook_outcome *ret)
{
    struct rebuild *r = bmc_find(w, call->op_id);
    if (world_find(w, call->node) != node)
        world_fail(w, "%s upgrades %s in place", w->nodes[node].name, call->node);
    if (call->verb == HOOK_START) {
        start(w, call, node, ret);
    } else if (call->verb == HOOK_CANCEL) {
        cancel(w, call, node, ret);
    } else if (r != NULL) {
        poll(w, r, ret);
    } else {
        ret->state = HOOK_FAILED;
        STR_COPY(ret->output, "no such operation");
    }
}
