/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Cluster tasks in the core: which member may run one, when nothing of a run can be left, and the room's calls. */
#include "agent/core-internal.h"

/* ---- applying: from the tables alone */

static bool is_fenced(const struct tables *t, const char *node, const char *boot_id)
{
    struct guard g;
    return guard_get(t, node, &g) == 0 && g.state == FENCE_FENCED && str_eq(g.boot_id, boot_id);
}

static uint8_t native_level(const struct node *n)
{
    return level_range_of(n->facts.qemu_version, n->facts.libvirt_version).native;
}

static uint8_t committed_level(const struct tables *t)
{
    struct level_state l;
    return level_get(t, &l) == 0 ? l.fl : 1;
}

static int gate_may_run(void *ctx, const char *node, const char *boot_id, bool is_native, struct error *e)
{
    struct node n = {0};
    int err = 0;
    if (node_get(ctx, node, &n))
        err = error_set(e, ERR_AGAIN, "no node %s in this cluster", node);
    else if (n.state != NODE_ACTIVE || !uuid_eq(&n.facts_replica, &n.replica) || !str_eq(n.facts.boot_id, boot_id))
        err = error_set(e, ERR_AGAIN, "%s is %s, or has booted anew", node, node_state_name(n.state));
    else if (is_fenced(ctx, node, boot_id))
        err = error_set(e, ERR_AGAIN, "%s is fenced", node);
    else if (is_native && native_level(&n) != committed_level(ctx))
        err = error_set(e, ERR_AGAIN, "%s is of level %u, the functional level is %u", node, native_level(&n),
                        committed_level(ctx));
    node_done(&n);
    return err;
}

/* Fenced, booted anew, or no member any more: evicted for lost by an admin, who says so. */
bool core_is_over(void *ctx, const char *node, const char *boot_id)
{
    struct node n = {0};
    if (node_get(ctx, node, &n))
        return true;
    bool is_gone = n.state == NODE_ABSENT || (n.state == NODE_JOINING && !str_eq(n.facts.boot_id, boot_id));
    bool has_booted = uuid_eq(&n.facts_replica, &n.replica) && !str_eq(n.facts.boot_id, boot_id);
    node_done(&n);
    return is_gone || has_booted || is_fenced(ctx, node, boot_id);
}

void core_task_apply(struct tables *t, const struct entry *e, struct apply_result *ret)
{
    const struct task_gate gate = {.ctx = t, .may_run = gate_may_run, .is_over = core_is_over};
    task_apply(t, &gate, e, ret);
}

/* ---- steps */

static uint64_t env_call(void *ctx, const struct task_call *call)
{
    struct core_action *a = core_act_for(ctx, ACT_TASK, FOR_TASK, NULL);
    a->task = xmemdup(call, sizeof *call);
    return a->id;
}

static struct uuid env_uuid(void *ctx)
{
    return prng_uuid(&((struct core *)ctx)->prng);
}

static struct task_env task_env(struct core *c)
{
    return (struct task_env){
        .ctx = c, .propose = core_propose_keyed, .call = env_call, .new_uuid = env_uuid, .log = c->log};
}

void core_task_look(struct core *c)
{
    struct vm_self fence = core_fence_self(c);
    struct task_env env = task_env(c);
    struct task_self self = {.node = c->identity.node,
                             .boot_id = c->has_facts ? c->facts.boot_id : "",
                             .level = core_level(c),
                             .may_start = fence.quorate,
                             .quorate = core_is_quorate(c),
                             .fence = fence.fence,
                             .until_ms = fence.until_ms};
    task_local_step(c->task_local, db_tables(c->db), &self, c->now_ms, &env);
}

void core_task_lead(struct core *c, const struct node_views *v)
{
    struct task_node nodes[DB_REPLICAS_MAX];
    struct task_env env = task_env(c);
    struct task_view view = {.nodes = nodes,
                             .n = v->v.n,
                             .fl = core_level(c),
                             .now_ms = c->now_ms,
                             .wall_ms = c->wall_ms,
                             .is_over = core_is_over,
                             .ctx = (void *)db_tables(c->db)};
    if (tables_count(db_tables(c->db), TABLE_TASK) == 0)
        return;
    for (size_t i = 0; i < v->v.n; i++) {
        const struct upgrade_node *n = &v->v.nodes[i];
        nodes[i] = (struct task_node){
            .native_level = n->native_level,
            .present = n->present,
            .ready = n->ready,
            .active = n->state == UNODE_ACTIVE && !v->vms.nodes[i].quarantined,
            .draining = n->state == UNODE_DRAINING,
            .stays = n->state == UNODE_ACTIVE || n->state == UNODE_DRAINING || n->state == UNODE_PAUSED,
        };
        STR_COPY(nodes[i].name, n->name);
        STR_COPY(nodes[i].boot_id, n->boot_id);
    }
    task_leader_step(c->task_leader, db_tables(c->db), &view, &env);
}

void core_task_outcome(struct core *c, uint64_t id, const struct task_outcome *o)
{
    struct task_env env = task_env(c);
    c->look = c->look || !o->error.code; /* what failed is tried again with the next look */
    task_local_outcome(c->task_local, c->now_ms, id, o, &env);
}

void core_task_evicted(struct core *c)
{
    struct task_env env = task_env(c);
    task_local_evicted(c->task_local, &env);
}
