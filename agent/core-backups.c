/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Backups in the core: what is true of a VM and its node, and the room's calls. */
#include "agent/core-internal.h"

/* What look() is given. */
struct look {
    const struct tables *t;
    const struct vm_nodes *nodes;
};

/* What does not wait for a backup: the guest ends anyway, or an upgrade would pause in error before that is over. */
static bool is_urgent(const struct vm *v)
{
    bool is_canary = v->op == VM_OP_MIGRATE && v->reason == VM_REASON_CANARY;
    return v->op == VM_OP_START || (v->op == VM_OP_STOP && v->hard) || is_canary;
}

static bool look(void *ctx, const char *name, struct backup_vm *ret)
{
    const struct look *l = ctx;
    struct vm v;
    if (vm_get(l->t, name, &v))
        return false;
    const struct vm_node *n = vm_nodes_find(l->nodes, v.node);
    bool is_here = n && n->boot_id[0] && str_eq(n->boot_id, v.boot_id);
    *ret = (struct backup_vm){
        .runs = v.state == VM_RUNNING && is_here,
        .busy = v.op != VM_OP_NONE,
        .urgent = is_urgent(&v),
        .accepts = is_here && n->accepts && !n->fenced,
        .draining = n && n->draining,
        .present = n && n->present,
        .epoch = v.epoch,
    };
    STR_COPY(ret->node, v.node);
    STR_COPY(ret->boot_id, n ? n->boot_id : "");
    return true;
}

static bool look_at_node(void *ctx, const char *name, struct backup_vm *ret)
{
    const struct look *l = ctx;
    const struct vm_node *n = vm_nodes_find(l->nodes, name);
    if (!n)
        return false;
    *ret = (struct backup_vm){
        .accepts = n->boot_id[0] && n->accepts && !n->fenced, .draining = n->draining, .present = n->present};
    STR_COPY(ret->node, name);
    STR_COPY(ret->boot_id, n->boot_id);
    return true;
}

/* ---- applying: from the tables alone */

void core_backup_apply(struct tables *t, const struct entry *e, struct apply_result *ret)
{
    struct vm_view *v = xmalloc(sizeof *v);
    vm_view_build(v, NULL, t);
    struct look l = {t, &v->v};
    const struct backup_gate gate = {.eye = {&l, look, look_at_node}, .tables = t, .is_over = core_is_over};
    backup_apply(t, &gate, e, ret);
    vm_view_done(v);
    free(v);
}

bool core_backup_holds(const void *ctx, const char *vm, const char *boot_id)
{
    return backup_holds(ctx, vm, boot_id);
}

bool core_backup_row_is_good(const struct table_row *row)
{
    struct repository_row r;
    struct backup b;
    char key[TABLE_KEY_MAX];
    if (row->table == TABLE_REPOSITORY)
        return repository_decode(row->value, &r) == 0 && str_eq(row->key, r.name);
    if (row->table == TABLE_BACKUP)
        return backup_decode(row->value, &b) == 0 && str_eq(row->key, b.vm);
    struct point_row *p = xcalloc(1, sizeof *p);
    bool ok = point_decode(row->value, p) == 0;
    point_key(p->ref.vm, &p->ref.uuid, key);
    free(p);
    return ok && str_eq(row->key, key);
}

/* ---- steps */

static uint64_t env_call(void *ctx, struct backup_call *call)
{
    struct core_action *a = core_act_for(ctx, ACT_BACKUP, FOR_BACKUP, NULL);
    a->backup = xmemdup(call, sizeof *call);
    *call = (struct backup_call){0};
    return a->id;
}

static struct uuid env_uuid(void *ctx)
{
    return prng_uuid(&((struct core *)ctx)->prng);
}

static struct backup_env backup_env(struct core *c)
{
    return (struct backup_env){
        .ctx = c, .propose = core_propose_keyed, .call = env_call, .new_uuid = env_uuid, .log = c->log};
}

void core_backup_look(struct core *c, const struct node_views *v)
{
    struct vm_self fence = core_fence_self(c);
    struct backup_env env = backup_env(c);
    struct look l = {db_tables(c->db), &v->vms.v};
    struct backup_self self = {.node = c->identity.node,
                               .boot_id = c->has_facts ? c->facts.boot_id : "",
                               .may_start = fence.quorate,
                               .quorate = core_is_quorate(c),
                               .is_current = db_is_current(c->db, c->now_ms),
                               .fence = fence.fence,
                               .until_ms = fence.until_ms,
                               .eye = {&l, look, look_at_node}};
    backup_local_step(c->backup_local, l.t, &self, c->now_ms, &env);
}

static struct backup_settings settings_of(const struct tables *t)
{
    char drain[SETTING_VALUE_MAX], minutes[SETTING_VALUE_MAX], runs[SETTING_VALUE_MAX];
    setting_get(t, "backup.drain", drain);
    setting_get(t, "backup.drain_minutes", minutes);
    setting_get(t, "backup.runs_per_node", runs);
    return (struct backup_settings){
        .waits = str_eq(drain, "wait"),
        .wait_ms = 60000 * (minutes[0] ? strtol(minutes, NULL, 10) : BACKUP_WAIT_MINUTES),
        .runs_per_node = runs[0] ? (uint32_t)strtoul(runs, NULL, 10) : BACKUP_RUNS_PER_NODE,
    };
}

void core_backup_lead(struct core *c, const struct node_views *v)
{
    const struct tables *t = db_tables(c->db);
    struct backup_env env = backup_env(c);
    struct look l = {t, &v->vms.v};
    if (tables_count(t, TABLE_BACKUP) == 0)
        return;
    struct backup_view view = {.now_ms = c->now_ms,
                               .wall_ms = c->wall_ms,
                               .settings = settings_of(t),
                               .eye = {&l, look, look_at_node},
                               .is_over = core_is_over,
                               .tables = (void *)t};
    backup_leader_step(c->backup_leader, t, &view, &env);
}

void core_backup_outcome(struct core *c, uint64_t id, const struct backup_outcome *o)
{
    struct backup_env env = backup_env(c);
    c->look = c->look || !o->error.code; /* what failed is tried again with the next look */
    backup_local_outcome(c->backup_local, c->now_ms, id, o, &env);
}

void core_backup_evicted(struct core *c)
{
    struct backup_env env = backup_env(c);
    backup_local_evicted(c->backup_local, &env);
}
