/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the rooms are told and asked: apply functions by entry kind, the views of nodes that each room needs, and the
 * steps of every node (own VMs, facts, level) and of the leader (slots, drains, upgrade run). */
#include "agent/core-internal.h"

#include <stdio.h>

/* ---- Applying: gates between rooms. The context is the tables alone: nothing local may be read. ---- */

static bool machine_is_listed(const char *machines, const char *machine)
{
    size_t len = strlen(machine);
    for (const char *p = machines; p && (p = strstr(p, machine)); p += len)
        if ((p == machines || p[-1] == ' ') && (p[len] == ' ' || p[len] == '\0'))
            return true;
    return false;
}

static int gate_join_check(void *ctx, const char *node, const struct host_facts *f, struct error *e)
{
    const struct tables *t = ctx;
    struct vm v = {0};
    int err = level_join_check(t, node, level_range_of(f->qemu_version, f->libvirt_version), e);
    for (bool more = !err && vm_next(t, NULL, &v); more; more = vm_next(t, v.name, &v))
        if (f->machines && !machine_is_listed(f->machines, v.machine)) {
            error_set(e, ERR_CONDITION, "join of %s: its QEMU lacks machine type %s of VM %s", node, v.machine, v.name);
            error_set_remedy(e, "clusterctl vm upgrade-version %s, with the VM off", v.name);
            return ERR_CONDITION;
        }
    return err;
}

static bool gate_is_mixed(void *ctx)
{
    struct level_state l;
    return level_get(ctx, &l) == 0 && l.mixed_since_ms != 0;
}

static size_t gate_vms_running_on(void *ctx, const char *node)
{
    return vm_count_on(ctx, node, true);
}

static size_t gate_vms_on(void *ctx, const char *node)
{
    return vm_count_on(ctx, node, false);
}

static bool gate_is_rebuilt(void *ctx, const char *node)
{
    return step_rebuilds(ctx, node);
}

static void gate_facts_changed(void *ctx, const char *node, const struct host_facts *f, int64_t time_ms)
{
    level_member_set(ctx, node, level_range_of(f->qemu_version, f->libvirt_version), time_ms);
}

static void gate_slot_removed(void *ctx, const char *node, int64_t time_ms)
{
    level_member_remove(ctx, node, time_ms);
}

static void gate_formed(void *ctx, const struct host_facts *f)
{
    level_init(ctx, level_range_of(f->qemu_version, f->libvirt_version).native, f->machines);
}

static int gate_setting_check(void *ctx, const char *name, const char *value, struct error *e)
{
    if (str_eq(name, "vm.save_format") && str_eq(value, "sparse"))
        return feature_check(ctx, FEATURE_SAVE_SPARSE, e);
    return 0;
}

static void apply_cluster(struct tables *t, const struct entry *e, struct apply_result *ret)
{
    const struct cluster_gate gate = {
        .ctx = t,
        .join_check = gate_join_check,
        .is_mixed = gate_is_mixed,
        .vms_running_on = gate_vms_running_on,
        .vms_on = gate_vms_on,
        .is_rebuilt = gate_is_rebuilt,
        .facts_changed = gate_facts_changed,
        .slot_removed = gate_slot_removed,
        .formed = gate_formed,
        .setting_check = gate_setting_check,
    };
    cluster_apply(t, &gate, e, ret);
}

static void apply_vm(struct tables *t, const struct entry *e, struct apply_result *ret)
{
    struct vm_view v;
    struct vm_limits limits;
    vm_view_build(&v, NULL, t);
    if (e->kind == ENTRY_VM_ADD || e->kind == ENTRY_VM_VERSION) {
        core_vm_limits(t, &limits);
        v.v.limits = &limits;
    }
    v.v.removed = backup_vm_removed;
    vm_apply(t, &v.v, e, ret);
    vm_view_done(&v);
}

/* Held to here as well, though a release that does not know the kind stops at it anyway. */
static void apply_settings(struct tables *t, const struct entry *e, struct apply_result *ret)
{
    *ret = (struct apply_result){0};
    if (feature_check(t, FEATURE_SETTINGS_PUT, &ret->error) == 0)
        apply_cluster(t, e, ret);
}

static void apply_level(struct core *c, struct tables *t, const struct entry *e, struct apply_result *ret)
{
    struct level_state before = {0}, after = {0};
    struct wire_reader w = wire_reader(e->payload);
    level_get(t, &before);
    *ret = (struct apply_result){0};
    if (wire_get_u8(&w) == LEVEL_FENCE && run_forbids_raise(t, &ret->error))
        return;
    level_apply(t, e, ret);
    level_get(t, &after);
    if (after.fl > before.fl)
        upgrade_level_raised(t, e->time_ms);
    if (c && ret->error.code == 0)
        core_copy_take(c, t, e);
}

int core_apply_entry(void *ctx, struct tables *t, const struct entry *e, struct apply_result *ret)
{
    /* An apply function reads nothing local: the core is there to take what a copy needs, NULL in tests. */
    switch ((enum entry_kind)e->kind) {
    case ENTRY_NOOP:
    case ENTRY_REPLICA_ADD:
    case ENTRY_REPLICA_WEIGHT:
    case ENTRY_REPLICA_REMOVE:
    case ENTRY_WITNESS_NAME:
    case ENTRY_WITNESS_WEIGHT: return 0; /* the database's own */
    case ENTRY_FORCE:
    case ENTRY_CLUSTER_INIT:
    case ENTRY_NODE_JOIN:
    case ENTRY_NODE_FACTS:
    case ENTRY_NODE_ADMIN:
    case ENTRY_TOKEN_ADD:
    case ENTRY_SECRET_PUT:
    case ENTRY_SETTING_PUT:
    case ENTRY_NODE_SET:
    case ENTRY_EVENT: apply_cluster(t, e, ret); return 0;
    case ENTRY_SETTINGS_PUT: apply_settings(t, e, ret); return 0;
    case ENTRY_NODE_GUARD:
    case ENTRY_NODE_FENCE: core_fence_apply(t, e, ret); return 0;
    case ENTRY_LEVEL: apply_level(ctx, t, e, ret); return 0;
    case ENTRY_VM_ADD:
    case ENTRY_VM_REMOVE:
    case ENTRY_VM_OP:
    case ENTRY_VM_REPORT:
    case ENTRY_VM_SET:
    case ENTRY_VM_CANCEL:
    case ENTRY_VM_VERSION:
    case ENTRY_VM_ROLLBACK: apply_vm(t, e, ret); return 0;
    case ENTRY_WITNESS_SET:
    case ENTRY_WITNESS_FORGET: witness_apply(t, e, ret); return 0;
    case ENTRY_RUN_START:
    case ENTRY_RUN_CONTROL:
    case ENTRY_RUN_MOVE:
    case ENTRY_STEP_MOVE:
    case ENTRY_STEP_REPORT: upgrade_apply(t, e, ret); return 0;
    case ENTRY_TASK_SET:
    case ENTRY_TASK_REMOVE:
    case ENTRY_TASK_START:
    case ENTRY_TASK_END:
    case ENTRY_TASK_NOTE: core_task_apply(t, e, ret); return 0;
    case ENTRY_REPOSITORY_SET:
    case ENTRY_REPOSITORY_REMOVE:
    case ENTRY_BACKUP_START:
    case ENTRY_BACKUP_END:
    case ENTRY_BACKUP_NOTE:
    case ENTRY_BACKUP_SCHEDULE:
    case ENTRY_POINT_DELETE: core_backup_apply(t, e, ret); return 0;
    }
    return error_set(&ret->error, ERR_UNKNOWN_KIND,
                     "log entry %llu is of kind %u, which this release does not know: install the release that the "
                     "other nodes run",
                     (unsigned long long)e->index, e->kind);
}

/* ---- The rows of a snapshot: what a member hands over is read before it is believed ---- */

static bool node_row_is_good(const struct table_row *row)
{
    struct node n = {0};
    bool ok = node_decode(row->value, &n) == 0 && str_eq(row->key, n.name);
    node_done(&n);
    return ok;
}

static bool run_row_is_good(const struct table_row *row)
{
    struct run r;
    return run_decode(row->value, &r) == 0 && str_eq(row->key, uuid_str(&r.id).s);
}

/* Its key is RUN/POSITION. */
static bool step_row_is_good(const struct table_row *row)
{
    struct step s;
    char key[UUID_STR_SIZE + 16];
    if (step_decode(row->value, &s))
        return false;
    snprintf(key, sizeof key, "%s/%03u", uuid_str(&s.run).s, s.position);
    return str_eq(row->key, key);
}

static bool cluster_row_is_good(const struct table_row *row)
{
    struct level_state l;
    struct cluster_forced f;
    if (str_eq(row->key, "forced"))
        return cluster_forced_decode(row->value, &f) == 0;
    return !str_eq(row->key, "level") || level_decode(row->value, &l) == 0;
}

/* Settings are named in JSON by their keys, which are names of ours. */
static bool setting_row_is_good(const struct table_row *row)
{
    for (const char *p = row->key; *p; p++)
        if (*p <= ' ' || *p > '~')
            return false;
    return true;
}

/* Rows that name themselves are looked up and walked by that name: it must be their key. */
static bool row_is_good(const struct table_row *row)
{
    struct vm v;
    struct job j;
    struct cluster_event e;
    struct guard g;
    struct task k;
    switch (row->table) {
    case TABLE_CLUSTER: return cluster_row_is_good(row);
    case TABLE_NODE: return node_row_is_good(row);
    case TABLE_VM: return vm_decode(row->value, &v) == 0 && str_eq(row->key, v.name);
    case TABLE_JOB: return job_decode(row->value, &j) == 0 && str_eq(row->key, uuid_str(&j.id).s);
    case TABLE_GUARD: return guard_decode(row->value, &g) == 0 && str_eq(row->key, g.node);
    case TABLE_EVENT: return cluster_event_decode(row->value, &e) == 0;
    case TABLE_SETTING: return setting_row_is_good(row);
    case TABLE_WITNESS: return witness_row_is_good(row);
    case TABLE_RUN: return run_row_is_good(row);
    case TABLE_STEP: return step_row_is_good(row);
    case TABLE_TASK: return task_decode(row->value, &k) == 0 && str_eq(row->key, k.d.name);
    case TABLE_REPOSITORY:
    case TABLE_BACKUP:
    case TABLE_POINT: return core_backup_row_is_good(row);
    default: return true;
    }
}

int core_check_tables(const struct tables *t, struct error *e)
{
    for (unsigned id = 1; id < TABLE_MAX; id++)
        TABLES_FOREACH (t, (enum table_id)id, row)
            if (!row_is_good(&row))
                return error_set(e, ERR_MALFORMED, "row %.64s of table %u does not decode", row.key, id);
    return 0;
}

/* ---- Views ---- */

static bool is_present(const struct core *c, const struct node *n)
{
    return c && c->db && !uuid_is_nil(&n->replica) && db_replica_progress(c->db, &n->replica).present;
}

void vm_view_build(struct vm_view *v, const struct core *c, const struct tables *t)
{
    struct node n = {0};
    struct level_state l = {0};
    v->v = (struct vm_nodes){.settings = vm_settings_get(t), .is_held = core_backup_holds, .held_ctx = t};
    if (c)
        level_get(t, &l);
    STR_COPY(v->level_machine, l.machine);
    while (node_next(t, &n)) {
        if (v->v.n == DB_REPLICAS_MAX)
            continue;
        struct vm_node *d = &v->nodes[v->v.n];
        *d = (struct vm_node){0};
        STR_COPY(d->name, n.name);
        STR_COPY(d->address, n.address);
        STR_COPY(d->boot_id, n.facts.boot_id);
        d->present = is_present(c, &n);
        d->accepts = n.state == NODE_ACTIVE;
        d->quarantined = c && n.quarantined_ms > c->wall_ms;
        d->draining = n.state == NODE_DRAINING && !upgrade_holds_drain(t, n.name);
        d->failback = n.state == NODE_ACTIVE && n.failback;
        struct guard g = {0};
        d->fenced = guard_get(t, n.name, &g) == 0 && g.state == FENCE_FENCED;
        d->heard_ms = c && guard_keeps(g.kind) ? lease_heard_ms(&c->lease, n.nodeid) : 0;
        d->memory_kib = n.facts.memory_kib;
        d->cpus = n.facts.cpus;
        d->machines = v->machines[v->v.n] = n.facts.machines;
        n.facts.machines = NULL;
        v->v.n++;
    }
    v->v.nodes = v->nodes;
}

void core_vm_limits(const struct tables *t, struct vm_limits *ret)
{
    struct level_state l = {0};
    *ret = (struct vm_limits){0};
    level_get(t, &l);
    STR_COPY(ret->machine, l.machine);
    feature_check(t, FEATURE_MACHINE_ABOVE_LEVEL, &ret->later_machines);
    feature_check(t, FEATURE_DATA_STORE, &ret->data_store);
}

void vm_view_done(struct vm_view *v)
{
    for (size_t i = 0; i < v->v.n; i++)
        free(v->machines[i]);
}

static bool has_token(void *ctx, const char *op_id)
{
    const struct node_views *n = ctx;
    char name[TABLE_KEY_MAX];
    snprintf(name, sizeof name, "token/%s", op_id);
    return tables_has(n->t, TABLE_SECRET, name);
}

static bool find_canary(void *ctx, const char *node, char ret_vm[RUN_NAME_MAX], struct error *ret)
{
    const struct node_views *n = ctx;
    return vm_find_canary(n->t, &n->vms.v, node, ret_vm, ret) == 0;
}

static bool look_at_canary(void *ctx, const char *vm, struct canary_look *ret)
{
    const struct node_views *n = ctx;
    struct vm v;
    if (vm_get(n->t, vm, &v) || v.state != VM_RUNNING)
        return false;
    *ret = (struct canary_look){.busy = v.op != VM_OP_NONE};
    STR_COPY(ret->node, v.node);
    STR_COPY(ret->home, v.home);
    STR_COPY(ret->error, v.error);
    return true;
}

/* A setting of the upgrade; 0: the default. */
static int64_t upgrade_number(const struct tables *t, const char *name)
{
    char value[SETTING_VALUE_MAX];
    setting_get(t, name, value);
    return strtol(value, NULL, 10);
}

static bool is_stuck(void *ctx, const char *node, struct error *ret)
{
    const struct node_views *n = ctx;
    return vm_can_leave(n->t, &n->vms.v, node, ret) != 0;
}

static enum upgrade_node_state unode_state(enum node_state s)
{
    static const enum upgrade_node_state map[] = {
        [NODE_ACTIVE] = UNODE_ACTIVE,     [NODE_DRAINING] = UNODE_DRAINING, [NODE_PAUSED] = UNODE_PAUSED,
        [NODE_EVICTING] = UNODE_EVICTING, [NODE_ABSENT] = UNODE_ABSENT,     [NODE_JOINING] = UNODE_JOINING,
    };
    return map[s];
}

static void fill_unode(struct upgrade_node *u, const struct core *c, const struct node *n, const struct vm_tally *vms)
{
    const struct db_replica *r = db_config_find(db_configuration(c->db), &n->replica);
    struct db_progress p = db_replica_progress(c->db, &n->replica);
    struct db_replica leader;
    *u = (struct upgrade_node){
        .native_level = level_range_of(n->facts.qemu_version, n->facts.libvirt_version).native,
        .state = unode_state(n->state),
        .replica = n->replica,
        .present = is_present(c, n),
        .voter = r && r->weight == 1,
        .caught_up = p.caught_up,
        .is_leader = db_leader(c->db, &leader) && uuid_eq(&leader.id, &n->replica),
        .vms_running = vms->running,
        .vms_here = vms->here,
        .vms_away = vms->away,
        .drain_blocked = vm_leader_blocked(c->vm_leader, n->name),
        .home_blocked = vm_leader_not_home(c->vm_leader, n->name),
        .drain_skip = vms->skip,
    };
    u->ready = u->present && uuid_eq(&n->facts_replica, &n->replica);
    struct task k;
    if (n->state == NODE_DRAINING && task_is_on(db_tables(c->db), n->name, &k))
        STR_COPY(u->task, k.d.name);
    STR_COPY(u->name, n->name);
    STR_COPY(u->address, n->address);
    STR_COPY(u->release, n->facts.release);
    STR_COPY(u->boot_id, n->facts.boot_id);
    STR_COPY(u->corosync, n->facts.corosync);
    STR_COPY(u->agent, n->facts.agent_version);
    u->nodeid = n->nodeid;
}

/* What a check of nodes asks for: what they say of themselves, now. */
static void fill_vitals(struct upgrade_node *u, const struct core *c)
{
    static const enum upgrade_witness witness[] = {
        [VITALS_WITNESS_UNKNOWN] = UPGRADE_WITNESS_UNKNOWN,
        [VITALS_WITNESS_ANSWERS] = UPGRADE_WITNESS_ANSWERS,
        [VITALS_WITNESS_SILENT] = UPGRADE_WITNESS_SILENT,
    };
    const struct vitals_node *n = u->present ? vitals_of(&c->vitals, c->now_ms, u->nodeid) : NULL;
    if (!n)
        return;
    u->vitals = &n->v;
    u->witness = witness[n->witness];
    u->has_clock = vitals_clock(&c->vitals, c->now_ms, u->nodeid, &u->clock_ahead_ms);
}

static struct json *outlook(void *ctx, const char *const *nodes, size_t n)
{
    return vm_outlook_json(ctx, nodes, n);
}

static void fill_for_check(struct node_views *n, const struct core *c)
{
    const struct vm_outlook_machine *machines;
    n->outlook = vm_outlook_new(db_tables(c->db), &n->vms.v);
    n->v.n_machines = vm_outlook_machines(n->outlook, &machines);
    n->machines = xcalloc(n->v.n_machines + 1, sizeof *n->machines);
    for (size_t i = 0; i < n->v.n_machines; i++)
        n->machines[i] = (struct upgrade_machine){machines[i].machine, machines[i].example, machines[i].n};
    n->v.machines = n->machines;
    n->v.vm_findings = vm_outlook_findings(n->outlook);
    n->v.outlook = outlook;
    n->v.outlook_ctx = n->outlook;
    for (size_t i = 0; i < n->v.n; i++)
        fill_vitals(&n->nodes[i], c);
}

/* What a tally is made of, but for the tables. */
static uint8_t tally_flags(const struct vm_node *n)
{
    return (uint8_t)(n->present | n->quarantined << 1);
}

/* It looks at every VM, and this is asked for at every event: the last one holds until something changed. */
static const struct core_tally *tally_of(struct core *c, const struct vm_nodes *nodes)
{
    const struct tables *t = db_tables(c->db);
    struct hash now = tables_hash(t);
    struct core_tally *k = c->tally;
    bool holds = k != NULL && k->n == nodes->n && hash_eq(&k->of, &now);
    for (size_t i = 0; holds && i < nodes->n; i++)
        holds = k->flags[i] == tally_flags(&nodes->nodes[i]);
    if (holds)
        return k;
    if (k == NULL)
        k = c->tally = xmalloc(sizeof *k);
    k->of = now;
    k->n = nodes->n;
    for (size_t i = 0; i < nodes->n; i++)
        k->flags[i] = tally_flags(&nodes->nodes[i]);
    k->ops = vm_tally(t, nodes, k->nodes);
    return k;
}

void node_views_build(struct node_views *n, struct core *c, bool for_check)
{
    const struct tables *t = db_tables(c->db);
    const struct db_config *config = db_configuration(c->db);
    struct node row = {0};
    size_t count = 0;
    vm_view_build(&n->vms, c, t);
    const struct core_tally *tally = tally_of(c, &n->vms.v);
    while (node_next(t, &row)) {
        if (count == DB_REPLICAS_MAX)
            continue;
        fill_unode(&n->nodes[count], c, &row, &tally->nodes[count]);
        n->nodes[count].machines = n->vms.nodes[count].machines;
        n->levels[count] = (struct level_node){.present = n->nodes[count].present, .paused = row.state != NODE_ACTIVE,
                                               .machines = n->vms.nodes[count].machines};
        STR_COPY(n->levels[count].name, row.name);
        count++;
    }
    struct level_state l = {0};
    level_get(t, &l);
    setting_get(t, "upgrade.executor", n->executor);
    n->v = (struct upgrade_view){
        .nodes = n->nodes, .n = count, .quorate = core_is_quorate(c), .votes_total = db_config_total(config),
        .executor = n->executor, .in_place = executor_kind_of(n->executor) == EXECUTOR_KIND_IN_PLACE,
        .mixed = l.mixed_since_ms != 0, .fl = l.fl, .vm_ops = tally->ops,
        .witness_votes = config->witness_weight, .has_token = has_token, .ctx = n,
        .is_stuck = is_stuck, .find_canary = find_canary, .look_at_canary = look_at_canary,
        .rebuild_ms = upgrade_number(t, "upgrade.rebuild_minutes") * 60000,
        .verify_ms = upgrade_number(t, "upgrade.verify_minutes") * 60000,
        .attempts = (uint32_t)upgrade_number(t, "upgrade.attempts"),
    };
    n->t = t;
    n->v.has_witness = !uuid_is_nil(&c->witness.of);
    n->outlook = NULL;
    n->machines = NULL;
    for (size_t i = 0; i < config->n; i++)
        if (db_replica_progress(c->db, &config->replicas[i].id).present)
            n->v.votes_present += config->replicas[i].weight;
    if (n->v.quorate)
        n->v.votes_present += config->witness_weight;
    if (for_check)
        fill_for_check(n, c);
}

/* A machine type that some VM has: which nodes lack it. */
static void scan_machine(struct node_views *n, const struct vm *v)
{
    for (size_t i = 0; i < n->v.n; i++) {
        struct level_node *node = &n->levels[i];
        if (node->lacks.code || !node->machines || machine_is_listed(node->machines, v->machine))
            continue;
        error_set(&node->lacks, ERR_CONDITION, "the QEMU of %s lacks machine type %s of VM %s", node->name, v->machine,
                  v->name);
        error_set_remedy(&node->lacks, "clusterctl vm upgrade-version %s, with the VM off", v->name);
    }
}

void node_views_scan(struct node_views *n, const struct tables *t)
{
    enum { SEEN_MAX = 32 }; /* there are few types and many VMs */
    char seen[SEEN_MAX][VM_MACHINE_MAX];
    size_t n_seen = 0;
    struct vm v;
    for (bool more = vm_next(t, NULL, &v); more; more = vm_next(t, v.name, &v)) {
        size_t i = 0;
        while (i < n_seen && !str_eq(seen[i], v.machine))
            i++;
        if (i < n_seen)
            continue;
        if (n_seen < SEEN_MAX)
            STR_COPY(seen[n_seen++], v.machine);
        scan_machine(n, &v);
    }
}

void node_views_done(struct node_views *n)
{
    vm_view_done(&n->vms);
    vm_outlook_free(n->outlook);
    free(n->machines);
    json_free((struct json *)n->v.vm_findings);
}

/* ---- What the rooms ask for ---- */

static uint64_t env_vm_call(void *ctx, struct vm_call *call)
{
    struct core_action *a = core_act_for(ctx, ACT_VM, FOR_VM, NULL);
    a->vm = *call;
    *call = (struct vm_call){0};
    return a->id;
}

static struct vm_env vm_env(struct core *c)
{
    return (struct vm_env){.ctx = c, .call = env_vm_call, .propose = core_propose_keyed, .log = c->log,
                           .wall_ms = c->wall_ms};
}

static void env_node_admin(struct core *c, enum node_verb verb, const char *node, bool failback)
{
    struct node_request q = {.verb = verb, .failback = failback, .keep_slot = true};
    struct buf b = {0};
    char key[CORE_KEY_MAX];
    STR_COPY(q.name, node);
    cluster_entry_admin(&q, &b);
    snprintf(key, sizeof key, "node/%d/%s", (int)verb, node);
    core_propose_keyed(c, ENTRY_NODE_ADMIN, &b, key);
}

static void env_node_drain(void *ctx, const char *node)
{
    env_node_admin(ctx, NODE_DRAIN, node, false);
}

static void env_node_resume(void *ctx, const char *node, bool failback)
{
    env_node_admin(ctx, NODE_RESUME, node, failback);
}

static void env_move_canary(void *ctx, const char *vm, const char *to)
{
    struct core *c = ctx;
    struct vm v;
    struct vm_op_request q = {.op = VM_OP_MIGRATE, .reason = VM_REASON_CANARY};
    struct buf b = {0};
    char key[CORE_KEY_MAX];
    if (vm_get(db_tables(c->db), vm, &v))
        return;
    STR_COPY(q.name, vm);
    STR_COPY(q.node, to);
    q.epoch = v.epoch;
    log_notice(c->log, "VM %s is the canary and runs on %s -> move to %s", vm, v.node, to);
    vm_entry_op(&q, &b);
    snprintf(key, sizeof key, "vm-move/%s", vm);
    core_propose_keyed(c, ENTRY_VM_OP, &b, key);
}

static void env_node_evict(void *ctx, const char *node)
{
    env_node_admin(ctx, NODE_EVICT, node, false);
}

static void env_make_token(void *ctx, const char *node, const char *op_id, int64_t valid_ms)
{
    struct core *c = ctx;
    struct node n = {0};
    struct pending *p;
    for (size_t i = 0; i < c->n_pending; i++)
        if (c->pending[i].purpose == FOR_OP_TOKEN && str_eq(c->pending[i].op_id, op_id))
            return;
    if (!retry_may(&c->token_retry, c->now_ms) || node_get(db_tables(c->db), node, &n))
        return;
    struct core_action *a = core_act_for(c, ACT_TOKEN, FOR_OP_TOKEN, &p);
    STR_COPY(p->name, node);
    STR_COPY(p->address, n.address);
    STR_COPY(p->op_id, op_id);
    p->until_ms = c->wall_ms + valid_ms;
    STR_COPY(a->node, node);
    STR_COPY(a->address, n.address);
    a->valid_ms = valid_ms;
    a->peers = core_peers_text(c, node);
    node_done(&n);
}

static uint64_t env_hook(void *ctx, struct hook_call *call, const char *op_id)
{
    struct core *c = ctx;
    struct slice sealed;
    char name[TABLE_KEY_MAX], path[SETTING_VALUE_MAX];
    struct core_action *a = core_act_for(c, ACT_HOOK, FOR_HOOK, NULL);
    setting_get(db_tables(c->db), "upgrade.executor", path);
    /* A run keeps its kind of executor: in-place was set since it began. */
    STR_COPY(call->path, path[0] == '/' ? path : "of upgrade.executor");
    snprintf(name, sizeof name, "token/%s", op_id);
    if (call->verb == HOOK_START && tables_get(db_tables(c->db), TABLE_SECRET, name, &sealed) == 0)
        buf_add(&call->sealed_token, sealed.p, sealed.len);
    a->hook = *call;
    *call = (struct hook_call){0};
    return a->id;
}

static uint64_t env_local_hook(void *ctx, struct hook_call *call)
{
    struct core *c = ctx;
    struct core_action *a = core_act_for(c, ACT_HOOK, FOR_LOCAL_HOOK, NULL);
    STR_COPY(call->address, c->identity.address);
    a->hook = *call;
    *call = (struct hook_call){0};
    return a->id;
}

static void env_transfer(void *ctx)
{
    struct core *c = ctx;
    if (db_transfer(c->db, c->now_ms) == 0)
        log_notice(c->log, "this node is next in the upgrade -> handing over the lead");
}

static struct upgrade_env upgrade_env(struct core *c)
{
    return (struct upgrade_env){
        .ctx = c,
        .propose = core_propose_keyed,
        .node_drain = env_node_drain,
        .node_resume = env_node_resume,
        .node_evict = env_node_evict,
        .move_canary = env_move_canary,
        .make_token = env_make_token,
        .hook = env_hook,
        .local_hook = env_local_hook,
        .transfer = env_transfer,
        .log = c->log,
    };
}

/* All addresses but one node's own, as "address:port address:port". */
char *core_peers_text(const struct core *c, const char *but)
{
    struct buf b = {0};
    struct node n = {0};
    while (node_next(db_tables(c->db), &n))
        if (!str_eq(n.name, but) && n.state != NODE_ABSENT)
            buf_printf(&b, "%s%s:%u", b.len ? " " : "", n.address, n.port);
    return buf_steal_str(&b);
}

void core_step_vm_outcome(struct core *c, uint64_t id, const struct vm_outcome *o)
{
    struct vm_env env = vm_env(c);
    struct vm_self self = core_fence_self(c);
    c->look = true;
    if (c->db && c->phase == PHASE_MEMBER)
        vm_local_outcome(c->vm_local, db_tables(c->db), &self, c->now_ms, id, o, &env);
}

void core_step_hook_outcome(struct core *c, uint64_t id, const struct hook_outcome *o)
{
    struct upgrade_env env = upgrade_env(c);
    c->look = true;
    if (c->db && db_is_leader(c->db))
        upgrade_leader_outcome(c->upgrade_leader, db_tables(c->db), c->now_ms, c->wall_ms, id, o, &env);
}

void core_step_local_hook_outcome(struct core *c, uint64_t id, const struct hook_outcome *o)
{
    struct upgrade_env env = upgrade_env(c);
    c->look = true;
    upgrade_local_outcome(c->upgrade_local, c->now_ms, id, o, &env);
}

/* ---- Steps of every node ---- */

static void report_facts(struct core *c, const struct node *own)
{
    if (!c->has_facts || (facts_equal(&own->facts, &c->facts) && uuid_eq(&own->facts_replica, &own->replica)))
        return;
    struct buf b = {0};
    cluster_entry_facts(own->name, &c->identity.replica, &c->facts, &b);
    core_propose_keyed(c, ENTRY_NODE_FACTS, &b, "facts");
}

static void follow_slots(struct core *c)
{
    if (!retry_may(&c->corosync_retry, c->now_ms))
        return;
    char *conf = corosync_conf_of_tables(db_tables(c->db));
    if (!conf || (c->corosync_conf && str_eq(conf, c->corosync_conf))) {
        free(conf);
        return;
    }
    for (size_t i = 0; i < c->n_pending; i++)
        if (c->pending[i].purpose == FOR_COROSYNC) { /* when that has ended */
            free(conf);
            return;
        }
    if (!c->corosync_retry.failures && c->corosync_conf)
        log_notice(c->log, "the committed slots changed -> corosync.conf written and reloaded");
    struct core_action *a = core_act_for(c, ACT_COROSYNC, FOR_COROSYNC, NULL);
    a->corosync = COROSYNC_RELOAD;
    a->text = xstrdup(conf);
    free(c->corosync_conf);
    c->corosync_conf = conf;
}

/* This replica was evicted: it is out of every majority; the node keeps still until it is rebuilt or joins anew. */
static bool is_evicted(const struct core *c, const struct node *own)
{
    if (tables_has(db_tables(c->db), TABLE_TOMBSTONE, uuid_str(&c->identity.replica).s))
        return true;
    const struct db_replica *r = db_config_find(db_configuration(c->db), &c->identity.replica);
    return own->state == NODE_EVICTING && uuid_eq(&own->replica, &c->identity.replica) && (!r || r->weight == 0) &&
           db_config_settled(c->db) && !db_is_leader(c->db); /* settled: until then its vote may still be needed */
}

static void become_evicted(struct core *c)
{
    log_notice(c->log, "replica %s was evicted -> corosync is stopped, this node keeps still",
               uuid_str(&c->identity.replica).s);
    struct error e = {0};
    c->phase = PHASE_EVICTED;
    error_set(&e, ERR_CONDITION, "this node was evicted from its cluster; the request may still be carried out");
    core_end_waiters(c, &e);
    core_act_for(c, ACT_COROSYNC, FOR_COROSYNC, NULL)->corosync = COROSYNC_STOP;
    core_task_evicted(c);
    core_backup_evicted(c);
}

static void step_level(struct core *c, struct node_views *v)
{
    const struct tables *t = db_tables(c->db);
    struct level_env env = {.ctx = c, .propose = core_propose_keyed, .log = c->log};
    struct level_self self = {.node = c->identity.node,
                              .range = level_range_of(c->facts.qemu_version, c->facts.libvirt_version),
                              .is_leader = db_is_leader(c->db),
                              .copy = &c->copy};
    struct level_state l;
    core_copy_step(c);
    if (self.is_leader && level_get(t, &l) == 0 && l.fence)
        node_views_scan(v, t);
    level_step(t, &self, v->levels, v->v.n, &env);
}

static void look_as_member(struct core *c, struct node_views *v)
{
    const struct tables *t = db_tables(c->db);
    struct vm_env venv = vm_env(c);
    struct upgrade_env uenv = upgrade_env(c);
    struct vm_self self = core_fence_self(c);
    struct node own = {0};
    node_get(t, c->identity.node, &own); /* all zero when the slot went too */
    if (is_evicted(c, &own))
        become_evicted(c);
    else if (uuid_eq(&own.replica, &c->identity.replica))
        report_facts(c, &own);
    /* A replica that catches up passes through old memberships: they count from its own admission on. */
    bool is_admitted = uuid_eq(&own.replica, &c->identity.replica);
    node_done(&own);
    if (c->phase != PHASE_MEMBER)
        return;
    if (is_admitted)
        follow_slots(c);
    if (is_admitted)
        core_fence_look(c);
    if (is_admitted)
        upgrade_local_step(c->upgrade_local, t, c->identity.node, core_is_quorate(c), c->now_ms, &uenv);
    core_task_look(c);
    core_backup_look(c, v);
    if (c->has_facts) {
        vm_local_step(c->vm_local, t, &v->vms.v, &self, c->now_ms, &venv);
        step_level(c, v);
    }
}

/* ---- Steps of the leader ---- */

/* A VM that was lost and is about to be started again by its node is moved away first, too; a task is waited for. */
static bool env_is_drained(void *ctx, const char *node)
{
    struct core *c = ctx;
    const struct tables *t = db_tables(c->db);
    struct vm v;
    if (vm_leader_owes(c->vm_leader, node) || task_is_on(t, node, NULL) || backup_is_on(t, node, NULL))
        return false;
    for (bool more = vm_next(t, NULL, &v); more; more = vm_next(t, v.name, &v))
        if ((str_eq(v.node, node) && (v.state == VM_RUNNING || v.op != VM_OP_NONE || vm_is_lost(&v))) ||
            (v.op != VM_OP_NONE && str_eq(v.target, node)))
            return false;
    return true;
}

static bool env_is_home(void *ctx, const char *node)
{
    struct core *c = ctx;
    return vm_is_home(db_tables(c->db), node);
}

static enum cluster_vote env_vote(void *ctx, const char *node)
{
    return core_quorum_vote(((struct core *)ctx)->quorum, node);
}

static const char AWAY[] = ": is away: its agent left the membership", BACK[] = ": is back";

static bool was_offline(struct core *c, const char *name, bool forget)
{
    for (size_t i = 0; i < c->n_offline; i++)
        if (str_eq(c->offline[i], name)) {
            if (forget)
                STR_COPY(c->offline[i], c->offline[--c->n_offline]);
            return true;
        }
    return false;
}

/* Who was reported as away by an earlier leader, so that this one can report the return. */
static void recall_presence(struct core *c)
{
    c->n_offline = 0;
    TABLES_FOREACH (db_tables(c->db), TABLE_EVENT, row) {
        struct cluster_event e;
        if (cluster_event_decode(row.value, &e))
            continue;
        if (strstr(e.text, AWAY) && !was_offline(c, e.object, false) && c->n_offline < DB_REPLICAS_MAX)
            STR_COPY(c->offline[c->n_offline++], e.object);
        else if (strstr(e.text, BACK))
            was_offline(c, e.object, true);
    }
}

/* Journal lines for members that went away and came back, as this leader saw it. One that is left without a majority
 * itself does not say that all others went. */
static void note_presence(struct core *c, const struct node_views *v)
{
    if (2 * v->v.votes_present <= v->v.votes_total)
        return;
    for (size_t i = 0; i < v->v.n; i++) {
        const struct upgrade_node *n = &v->v.nodes[i];
        struct buf b = {0};
        char text[JOURNAL_TEXT_MAX];
        bool is_active = n->state == UNODE_ACTIVE || n->state == UNODE_DRAINING || n->state == UNODE_PAUSED;
        bool is_expected = n->voter || is_active; /* its vote may have been taken since it was lost */
        bool is_away = is_expected && !n->present;
        if (is_away == was_offline(c, n->name, n->present || !is_expected))
            continue;
        if (is_away && c->n_offline == DB_REPLICAS_MAX)
            continue;
        if (is_away)
            STR_COPY(c->offline[c->n_offline++], n->name);
        else if (!n->present)
            continue;
        snprintf(text, sizeof text, "%s%s", n->name, is_away ? AWAY : BACK);
        cluster_entry_event(is_away ? EVENT_WARNING : EVENT_INFO, n->name, text, &b);
        core_propose_keyed(c, ENTRY_EVENT, &b, "");
    }
}

static void become_leader(struct core *c)
{
    vm_leader_free(c->vm_leader);
    upgrade_leader_free(c->upgrade_leader);
    c->vm_leader = vm_leader_new();
    c->upgrade_leader = upgrade_leader_new();
    guard_leader_free(c->guard_leader);
    c->guard_leader = guard_leader_new();
    task_leader_free(c->task_leader);
    c->task_leader = task_leader_new();
    backup_leader_free(c->backup_leader);
    c->backup_leader = backup_leader_new();
    recall_presence(c);
    log_notice(c->log, "%s leads from term %llu on", c->identity.node, (unsigned long long)db_term(c->db));
}

static void look_as_leader(struct core *c, const struct node_views *v)
{
    const struct tables *t = db_tables(c->db);
    struct cluster_env env = {.ctx = c,
                              .wall_ms = c->wall_ms,
                              .propose = core_propose_keyed,
                              .is_drained = env_is_drained,
                              .is_home = env_is_home,
                              .vote = env_vote};
    struct vm_env venv = vm_env(c);
    struct upgrade_env uenv = upgrade_env(c);
    note_presence(c, v);
    cluster_leader_step(c->db, &env);
    core_quorum_step(c, c->quorum);
    core_fence_lead(c, v);
    vm_failover_step(c->vm_failover, t, &v->vms.v, &venv);
    vm_leader_step(c->vm_leader, t, &v->vms.v, c->now_ms, &venv);
    upgrade_leader_step(c->upgrade_leader, t, &v->v, c->now_ms, c->wall_ms, &uenv);
    core_task_lead(c, v);
    core_backup_lead(c, v);
}

void core_look(struct core *c)
{
    if (c->phase != PHASE_MEMBER)
        return;
    if (!c->views)
        c->views = xmalloc(sizeof *c->views);
    struct node_views *v = c->views;
    node_views_build(v, c, db_is_leader(c->db) && upgrade_is_checking(db_tables(c->db)));
    look_as_member(c, v);
    bool leads = c->phase == PHASE_MEMBER && db_is_leader(c->db);
    if (leads && !c->was_leader)
        become_leader(c);
    c->was_leader = leads;
    struct quorum_view *q = xcalloc(1, sizeof *q);
    core_quorum_view(c, q);
    db_set_witness_delay(c->db, quorum_site_delay_ms(q));
    c->quorum = q;
    core_witness_step(c, leads);
    if (c->phase == PHASE_MEMBER)
        core_vitals_look(c);
    if (leads)
        look_as_leader(c, v);
    c->quorum = NULL;
    free(q);
    node_views_done(v);
}
