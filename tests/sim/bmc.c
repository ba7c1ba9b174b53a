/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What stands behind the hooks: a BMC that re-images hosts and powers them off. An operation's state is kept here, by
 * its id, so that its effect happens once whoever asks and how often. What must never happen stands in bmc_may_begin().
 */
#include "tests/sim/world.h"

enum { INSTALL_MS = 30000, FIRST_BOOT_AGAIN_MS = 5000, FIRST_BOOT_TRIES = 60, OFF_MS = 10000 };

struct rebuild *bmc_find(struct world *w, const char *op_id)
{
    for (size_t i = 0; i < w->n_rebuilds; i++)
        if (str_eq(w->rebuilds[i].op_id, op_id))
            return &w->rebuilds[i];
    return NULL;
}

size_t bmc_count(const struct world *w, size_t node)
{
    size_t n = 0;
    for (size_t i = 0; i < w->n_rebuilds; i++)
        n += w->rebuilds[i].node == node && !w->rebuilds[i].is_cancelled;
    return n;
}

bool bmc_is_rebuilt(const struct world *w, size_t node)
{
    for (size_t i = 0; i < w->n_rebuilds; i++)
        if (w->rebuilds[i].node == node && w->rebuilds[i].state == HOOK_RUNNING)
            return true;
    return false;
}

bool bmc_is_busy(const struct world *w, size_t node)
{
    for (size_t i = 0; i < w->n_rebuilds; i++)
        if (w->rebuilds[i].node == node && w->rebuilds[i].state == HOOK_RUNNING && !w->rebuilds[i].is_in_place)
            return true;
    return false;
}

/* Operation ids are RUN-POSITION-ATTEMPT: the same step is the same up to the last '-'. */
static bool is_same_step(const char *a, const char *b)
{
    const char *end = strrchr(a, '-');
    return end != NULL && strncmp(a, b, (size_t)(end - a) + 1) == 0;
}

void bmc_may_begin(struct world *w, const char *op_id, size_t node)
{
    const struct sim_node *s = &w->nodes[node];
    uint32_t running = 0;
    for (size_t i = 0; i < w->n_rebuilds; i++) {
        const struct rebuild *r = &w->rebuilds[i];
        running += r->state == HOOK_RUNNING;
        if (r->state == HOOK_RUNNING && (running >= w->max_unavailable || r->node == node))
            world_fail(w, "two nodes are rebuilt at once: %s and %s", w->nodes[r->node].name, s->name);
        else if (is_same_step(r->op_id, op_id) && r->state != HOOK_FAILED)
            world_fail(w, "%s is rebuilt twice for one step: %s and %s", s->name, r->op_id, op_id);
    }
    if (!host_is_empty(&s->host))
        world_fail(w, "%s is rebuilt under running VMs", s->name);
}

static void may_wipe(struct world *w, size_t node)
{
    const struct sim_node *s = &w->nodes[node];
    if (s->has_identity && db_config_find(checker_config(w->check), &s->identity.replica) != NULL)
        world_fail(w, "%s is re-imaged while its replica is in the configuration", s->name);
}

static void wipe(struct world *w, size_t node)
{
    world_forget(w, node);
    w->nodes[node].host = (struct host){.n = 0};
}

static void installed(struct world *w, struct errand *j)
{
    struct rebuild *r = &w->rebuilds[j->number];
    struct sim_node *s = &w->nodes[r->node];
    if (w->failing_rebuilds[r->node] > 0) {
        w->failing_rebuilds[r->node]--;
        r->state = HOOK_FAILED;
        world_log(w, "BMC", "%s: the installation failed", s->name);
        return;
    }
    r->state = HOOK_DONE;
    if (!w->wrong_image[r->node])
        STR_COPY(s->release, r->target);
    if (!w->no_rejoin[r->node])
        s->first_boot_token = xstrdup(r->token);
    world_log(w, "BMC", "%s: %s is installed, it boots", s->name, r->target);
    world_power_on(w, r->node);
}

struct rebuild *bmc_new(struct world *w, const struct hook_call *call, size_t node)
{
    w->rebuilds = xrealloc(w->rebuilds, w->n_rebuilds + 1, sizeof(*w->rebuilds));
    struct rebuild *r = &w->rebuilds[w->n_rebuilds++];
    *r = (struct rebuild){.node = node, .state = HOOK_RUNNING};
    STR_COPY(r->op_id, call->op_id);
    STR_COPY(r->target, call->target);
    return r;
}

static void begin(struct world *w, const struct hook_call *call, size_t node)
{
    bmc_may_begin(w, call->op_id, node);
    may_wipe(w, node);
    struct rebuild *r = bmc_new(w, call, node);
    r->token = xcalloc(1, call->sealed_token.len + 1);
    if (call->sealed_token.len > 0)
        memcpy(r->token, call->sealed_token.p, call->sealed_token.len);
    world_log(w, "BMC", "%s: is powered off, its disk is wiped, %s is installed", w->nodes[node].name, call->target);
    world_power_off(w, node);
    wipe(w, node);
    int64_t takes = w->rebuild_ms[node] > 0 ? w->rebuild_ms[node] : world_delay(w, INSTALL_MS, 2 * INSTALL_MS);
    world_later(w, takes, installed)->number = w->n_rebuilds - 1;
}

static void power_back(struct world *w, struct errand *j)
{
    if (!bmc_is_busy(w, j->node) && w->nodes[j->node].boot == j->boot)
        world_power_on(w, j->node);
}

void bmc_power_back(struct world *w, size_t node, int64_t delay_ms)
{
    struct errand *j = world_later(w, delay_ms, power_back);
    j->node = node;
    j->boot = w->nodes[node].boot;
}

static bool was_fenced(const struct world *w, const char *op_id)
{
    for (size_t i = 0; i < w->n_fenced; i++)
        if (str_eq(w->fenced[i], op_id))
            return true;
    return false;
}

/* What was done is not done twice: the node may be on again. */
static void fence(struct world *w, const struct hook_call *call, size_t node, struct hook_outcome *ret)
{
    if (was_fenced(w, call->op_id)) {
        ret->state = HOOK_DONE;
        return;
    }
    if (w->failing_fences[node] > 0) {
        w->failing_fences[node]--;
        ret->state = HOOK_FAILED;
        STR_COPY(ret->output, "the BMC does not answer");
        return;
    }
    w->fenced = xrealloc(w->fenced, w->n_fenced + 1, sizeof(*w->fenced));
    STR_COPY(w->fenced[w->n_fenced++], call->op_id);
    world_log(w, "BMC", "%s: is powered off", w->nodes[node].name);
    world_power_off(w, node);
    if (!w->p.is_exact)
        bmc_power_back(w, node, world_delay(w, OFF_MS, 3 * OFF_MS));
    ret->state = HOOK_DONE;
}

/* The disk is wiped as soon as an operation begins: from then on it is too late. */
static void cancel(struct world *w, const struct hook_call *call, size_t node, struct hook_outcome *ret)
{
    struct rebuild *r = bmc_find(w, call->op_id);
    if (r == NULL) {
        r = bmc_new(w, call, node);
        r->state = HOOK_FAILED;
        r->is_cancelled = true;
        world_log(w, "BMC", "%s: %s will not be installed", w->nodes[node].name, call->target);
    }
    ret->state = r->is_cancelled ? HOOK_DONE : HOOK_FAILED;
    STR_COPY(ret->output, r->is_cancelled ? "cancelled" : "its disk is wiped");
}

void bmc_call(struct world *w, const struct hook_call *call, struct hook_outcome *ret)
{
    struct rebuild *r = bmc_find(w, call->op_id);
    size_t node = world_find(w, call->node);
    if (node < w->n && call->verb == HOOK_OFF) {
        fence(w, call, node, ret);
        return;
    }
    if (node < w->n && call->verb == HOOK_CANCEL) {
        cancel(w, call, node, ret);
        return;
    }
    if (node == w->n || (r == NULL && call->verb != HOOK_START)) {
        ret->state = HOOK_FAILED;
        STR_COPY(ret->output, node == w->n ? "no such node" : "no such operation");
    } else if (call->verb == HOOK_START) {
        if (r == NULL)
            begin(w, call, node);
        ret->state = HOOK_DONE;
    } else if (call->verb == HOOK_POLL) {
        ret->state = r->state;
        if (r->state == HOOK_FAILED)
            STR_COPY(ret->output, "no bootable image");
    }
}

/* The unit of a new system's first boot: joins, again and again until it is a member. step 0: to be asked. */
void bmc_first_boot(struct world *w, struct errand *j)
{
    struct sim_node *s = &w->nodes[j->node];
    struct ask *k = j->step != 0 ? world_asked(w, j->number) : NULL;
    if (s->life != j->life || s->core == NULL || s->first_boot_token == NULL || s->has_identity) {
        if (k != NULL)
            world_ask_done(w, j->number);
        return;
    }
    if (k != NULL && k->answer == NULL && !k->is_dead && j->step++ < FIRST_BOOT_TRIES) {
        world_again(w, j, 1000);
        return;
    }
    if (k != NULL)
        world_ask_done(w, j->number);
    struct json *args = json_object_new();
    json_set_str(args, "token", s->first_boot_token);
    j->number = world_ask(w, j->node, "node.join", args);
    j->step = 1;
    world_again(w, j, FIRST_BOOT_AGAIN_MS);
}
