/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What stands behind the executor's hook: a BMC that re-images hosts. An operation's state is kept here, keyed by its
 * id, so that its effect happens once whoever asks and how often. What must never happen stands in may_begin(). */
#include "tests/sim/world.h"

enum { INSTALL_MS = 30000, FIRST_BOOT_AGAIN_MS = 5000, FIRST_BOOT_TRIES = 60 };

static struct rebuild *find(struct world *w, const char *op_id)
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
        n += w->rebuilds[i].node == node;
    return n;
}

bool bmc_is_busy(const struct world *w, size_t node)
{
    for (size_t i = 0; i < w->n_rebuilds; i++)
        if (w->rebuilds[i].node == node && w->rebuilds[i].state == HOOK_RUNNING)
            return true;
    return false;
}

/* Operation ids are RUN-POSITION-ATTEMPT: the same step is the same up to the last '-'. */
static bool is_same_step(const char *a, const char *b)
{
    const char *end = strrchr(a, '-');
    return end != NULL && strncmp(a, b, (size_t)(end - a) + 1) == 0;
}

static void may_begin(struct world *w, const char *op_id, size_t node)
{
    const struct sim_node *s = &w->nodes[node];
    for (size_t i = 0; i < w->n_rebuilds; i++) {
        const struct rebuild *r = &w->rebuilds[i];
        if (r->state == HOOK_RUNNING)
            world_fail(w, "two nodes are re-imaged at once: %s and %s", w->nodes[r->node].name, s->name);
        else if (is_same_step(r->op_id, op_id) && r->state != HOOK_FAILED)
            world_fail(w, "%s is re-imaged twice for one step: %s and %s", s->name, r->op_id, op_id);
    }
    if (!host_is_empty(&s->host))
        world_fail(w, "%s is re-imaged under running VMs", s->name);
    if (s->has_identity && db_config_find(checker_config(w->check), &s->identity.replica) != NULL)
        world_fail(w, "%s is re-imaged while its replica is in the configuration", s->name);
}

static void wipe(struct world *w, size_t node)
{
    struct sim_node *s = &w->nodes[node];
    disk_done(&s->disk);
    disk_init(&s->disk);
    s->has_identity = false;
    s->joining_token = (struct uuid){{0}};
    free(s->corosync_conf);
    s->corosync_conf = NULL;
    free(s->first_boot_token);
    s->first_boot_token = NULL;
    s->host = (struct host){.n = 0};
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
    STR_COPY(s->release, r->target);
    if (!w->no_rejoin[r->node])
        s->first_boot_token = xstrdup(r->token);
    world_log(w, "BMC", "%s: %s is installed, it boots", s->name, r->target);
    world_power_on(w, r->node);
}

static void begin(struct world *w, const struct hook_call *call, size_t node)
{
    may_begin(w, call->op_id, node);
    w->rebuilds = xrealloc(w->rebuilds, w->n_rebuilds + 1, sizeof(*w->rebuilds));
    struct rebuild *r = &w->rebuilds[w->n_rebuilds];
    *r = (struct rebuild){.node = node, .state = HOOK_RUNNING};
    STR_COPY(r->op_id, call->op_id);
    STR_COPY(r->target, call->target);
    r->token = xcalloc(1, call->sealed_token.len + 1);
    if (call->sealed_token.len > 0)
        memcpy(r->token, call->sealed_token.p, call->sealed_token.len);
    world_log(w, "BMC", "%s: is powered off, its disk is wiped, %s is installed", w->nodes[node].name, call->target);
    world_power_off(w, node);
    wipe(w, node);
    int64_t takes = w->rebuild_ms[node] > 0 ? w->rebuild_ms[node] : world_delay(w, INSTALL_MS, 2 * INSTALL_MS);
    world_later(w, takes, installed)->number = w->n_rebuilds++;
}

void bmc_call(struct world *w, const struct hook_call *call, struct hook_outcome *ret)
{
    struct rebuild *r = find(w, call->op_id);
    size_t node = world_find(w, call->node);
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
