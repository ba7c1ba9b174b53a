/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The status report. Every health code names its remedy as a command; the list stands in clusterctl(8). */
#include "agent/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/core-internal.h"
#include "witness/record.h"

struct health {
    struct json *worst[3]; /* critical, warning, ok */
};

static void health_add(struct health *h, int rank, const char *code, const char *object, const char *remedy,
                       const char *fmt, ...) __attribute__((format(printf, 6, 7)));
static void health_add(struct health *h, int rank, const char *code, const char *object, const char *remedy,
                       const char *fmt, ...)
{
    static const char *const severity[] = {"critical", "warning", "ok"};
    char text[ERROR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    struct json *o = json_object_new();
    json_set_str(o, "code", code);
    json_set_str(o, "severity", severity[rank]);
    json_set_str(o, "object", object);
    json_set_str(o, "text", text);
    json_set_str(o, "remedy", remedy);
    if (!h->worst[rank])
        h->worst[rank] = json_array_new();
    json_append(h->worst[rank], o);
}
enum { CRITICAL = 0, WARNING = 1, OK = 2, JOIN_OVERDUE_MS = 2 * 60 * 1000 };

static struct json *health_list(struct health *h)
{
    struct json *all = json_array_new();
    for (int rank = 0; rank < 3; rank++) {
        for (size_t i = 0; i < json_count(h->worst[rank]); i++)
            json_append(all, json_copy(json_at(h->worst[rank], i)));
        json_free(h->worst[rank]);
    }
    return all;
}

/* What people call the node's state: the admin's wish, and whether it is there. */
static const char *shown_state(const struct node *n, bool present)
{
    if (n->state == NODE_ABSENT || n->state == NODE_JOINING || n->state == NODE_EVICTING)
        return node_state_name(n->state);
    if (!present)
        return "offline";
    return n->state == NODE_ACTIVE ? "online" : node_state_name(n->state);
}

static void set_version(struct json *o, const char *key, uint32_t v)
{
    char text[32];
    snprintf(text, sizeof text, "%u.%u.%u", v / 1000000, v / 1000 % 1000, v % 1000);
    json_set_str(o, key, v ? text : NULL);
}

static void set_by_hand(struct json *o, const struct core *c, const struct node *n)
{
    char value[SETTING_VALUE_MAX];
    node_setting_get(db_tables(c->db), n->name, "site", value);
    json_set_str(o, "site", value[0] ? value : NULL);
    node_setting_get(db_tables(c->db), n->name, "vote", value);
    json_set_int(o, "vote", !str_eq(value, "0"));
    node_setting_get(db_tables(c->db), n->name, "priority", value);
    json_set_int(o, "priority", strtol(value, NULL, 10));
}

static struct json *node_json(const struct core *c, const struct node *n, const struct upgrade_node *u)
{
    struct json *o = json_object_new();
    json_set_str(o, "name", n->name);
    json_set_str(o, "address", n->address);
    json_set_int(o, "nodeid", n->nodeid);
    json_set_str(o, "state", shown_state(n, u->present));
    json_set_bool(o, "failback", n->failback);
    json_set_str(o, "release", n->facts.release);
    json_set_str(o, "os", n->facts.os);
    json_set_int(o, "level", u->native_level);
    json_set_bool(o, "voter", u->voter);
    json_set_bool(o, "leader", u->is_leader);
    set_by_hand(o, c, n);
    json_set_bool(o, "self", str_eq(n->name, c->identity.node));
    json_set_int(o, "vms", u->vms_running);
    json_set_int(o, "memory_mib", (int64_t)(n->facts.memory_kib / 1024));
    json_set_int(o, "cpus", n->facts.cpus);
    json_set_str(o, "kernel", n->facts.kernel);
    json_set_str(o, "corosync", n->facts.corosync);
    set_version(o, "qemu", n->facts.qemu_version);
    set_version(o, "libvirt", n->facts.libvirt_version);
    json_set_str(o, "agent", n->facts.agent_version);
    json_set_str(o, "replica", uuid_is_nil(&n->replica) ? NULL : uuid_str(&n->replica).s);
    json_set(o, "joined", json_time_new(n->joined_ms));
    json_set_str(o, "job", uuid_is_nil(&n->job) ? NULL : uuid_str(&n->job).s);
    json_set(o, "fencing", core_fence_json(c, n->name));
    json_set(o, "quarantined_until",
             n->quarantined_ms > c->wall_ms ? json_time_new(n->quarantined_ms) : json_null_new());
    json_set_str(o, "blocked", u->drain_blocked.code ? u->drain_blocked.text : NULL);
    return o;
}

static struct json *nodes_json(const struct core *c, const struct node_views *v)
{
    struct json *all = json_array_new();
    struct node n = {0};
    size_t i = 0;
    while (node_next(db_tables(c->db), &n))
        if (i < v->v.n)
            json_append(all, node_json(c, &n, &v->v.nodes[i++]));
    return all;
}

struct json *status_nodes_json(struct core *c)
{
    struct node_views *v = xcalloc(1, sizeof *v);
    node_views_build(v, c, false);
    struct json *all = nodes_json(c, v);
    node_views_done(v);
    free(v);
    return all;
}

static struct json *self_json(const struct core *c)
{
    static const char *const phases[] = {
        [PHASE_UNCONFIGURED] = "unconfigured", [PHASE_JOINING] = "joining",
        [PHASE_MEMBER] = "member",             [PHASE_EVICTED] = "evicted",
    };
    struct json *o = json_object_new();
    json_set_str(o, "name", c->db ? c->identity.node : c->has_facts ? c->facts.hostname : NULL);
    json_set_str(o, "phase", phases[c->phase]);
    json_set_str(o, "version", c->version);
    json_set(o, "fencing", c->db ? core_fence_self_json(c) : json_null_new());
    return o;
}

static void set_leader(struct json *o, const struct core *c)
{
    struct db_replica leader;
    struct node n = {0};
    bool known = db_leader(c->db, &leader) && node_by_replica(db_tables(c->db), &leader.id, &n) == 0;
    json_set_str(o, "leader", known ? n.name : NULL);
    node_done(&n);
}

static struct json *quorum_json(const struct core *c, const struct node_views *v)
{
    struct json *o = json_object_new();
    struct hash state = tables_hash(db_tables(c->db));
    bool quorate = core_is_quorate(c);
    json_set_bool(o, "quorate", quorate);
    set_leader(o, c);
    json_set_int(o, "term", (int64_t)db_term(c->db));
    json_set_int(o, "epoch", (int64_t)db_epoch_number(db_term(c->db)));
    json_set_int(o, "votes_present", v->v.votes_present);
    json_set_int(o, "votes_total", v->v.votes_total);
    json_set_bool(o, "corosync_quorate", c->corosync_quorate);
    json_set_int(o, "index", (int64_t)db_applied_index(c->db));
    json_set_str(o, "state_hash", hash_str(&state).s);
    json_set_bool(o, "stale", !quorate);
    return o;
}

/* A VM that is off stays so: only its owner may start it. */
static bool is_known(const struct vm_view *nodes, const struct vm *v)
{
    const struct vm_node *owner = vm_nodes_find(&nodes->v, v->node);
    return (owner && owner->present) || (v->state == VM_STOPPED && v->op == VM_OP_NONE);
}

struct json *status_vm_json(const struct core *c, const struct vm_view *nodes, const struct vm *v)
{
    struct json *o = vm_json(v);
    int percent = core_percent(c, v->name, &v->op_id);
    if (percent >= 0)
        json_set_int(o, "percent", percent);
    json_set_str(o, "reported_state", vm_state_name(v));
    if (!is_known(nodes, v))
        json_set_str(o, "state", "unknown");
    json_set_bool(o, "outdated", vm_is_outdated(v, nodes->level_machine));
    return o;
}

static void health_of_vm(struct health *h, const struct vm *v)
{
    char remedy[ERROR_REMEDY_MAX];
    if (!v->error[0] || v->op != VM_OP_NONE)
        return;
    if (v->crash_loop) {
        snprintf(remedy, sizeof remedy, "clusterctl vm start %s, when what ends its QEMU is mended", v->name);
        health_add(h, CRITICAL, "VM_CRASH_LOOP", v->name, remedy, "%s: %s", v->name, v->error);
        return;
    }
    snprintf(remedy, sizeof remedy, "clusterctl vm %s %s", v->state == VM_STOPPED ? "start" : "show", v->name);
    health_add(h, WARNING, "VM_FAILED", v->name, remedy, "%s: %s", v->name, v->error);
}

enum { COUNT_RUNNING, COUNT_STOPPED, VM_COUNTS = 7 };
static const char *const vm_count_names[VM_COUNTS] = {
    [COUNT_RUNNING] = "running", [COUNT_STOPPED] = "stopped", "starting", "stopping", "migrating", "failed", "unknown",
};

static size_t vm_count_of(const struct vm_view *nodes, const struct vm *v)
{
    const char *state = is_known(nodes, v) ? vm_state_name(v) : "unknown";
    size_t i = 0;
    while (i + 1 < VM_COUNTS && !str_eq(vm_count_names[i], state))
        i++;
    return i;
}

static struct json *vm_counts_json(const int64_t counts[VM_COUNTS], size_t listed)
{
    struct json *o = json_object_new(), *states = json_object_new();
    int64_t total = 0;
    for (size_t i = 0; i < VM_COUNTS; i++) {
        json_set_int(states, vm_count_names[i], counts[i]);
        total += counts[i];
    }
    json_set_int(o, "total", total);
    json_set_int(o, "listed", (int64_t)listed);
    json_set(o, "states", states);
    return o;
}

static void set_vms(struct json *data, const struct core *c, const struct vm_view *nodes, bool all, struct health *h)
{
    const struct tables *t = db_tables(c->db);
    struct json *list = json_array_new();
    int64_t counts[VM_COUNTS] = {0};
    struct vm v;
    all = all || tables_count(t, TABLE_VM) <= STATUS_VMS_MAX;
    for (bool more = vm_next(t, NULL, &v); more; more = vm_next(t, v.name, &v)) {
        size_t count = vm_count_of(nodes, &v);
        bool is_ordinary = (count == COUNT_RUNNING || count == COUNT_STOPPED) && !v.error[0];
        counts[count]++;
        if (all || (!is_ordinary && json_count(list) < STATUS_VMS_MAX))
            json_append(list, status_vm_json(c, nodes, &v));
        health_of_vm(h, &v);
    }
    json_set(data, "vm_counts", vm_counts_json(counts, json_count(list)));
    json_set(data, "vms", list);
}

/* ---- tasks */

static bool is_here(const struct core *c, const char *node)
{
    struct node n = {0};
    bool is = node_get(db_tables(c->db), node, &n) == 0 && !uuid_is_nil(&n.replica) &&
              db_replica_progress(c->db, &n.replica).present;
    node_done(&n);
    return is;
}

/* Of a run whose node is away nobody knows how it goes. */
struct json *status_task_json(const struct core *c, const struct task *k)
{
    struct json *o = task_json(k, c->wall_ms);
    if (k->state == TASK_RUNNING && !is_here(c, k->node)) {
        json_set_str(o, "state", "unknown");
        json_set_str(o, "why", "its node is away, and may still run it: it goes on when that node is back or fenced");
    }
    return o;
}

struct json *status_tasks_json(const struct core *c)
{
    const struct tables *t = db_tables(c->db);
    struct json *all = json_array_new();
    struct task k;
    for (bool more = task_next(t, NULL, &k); more; more = task_next(t, k.d.name, &k))
        json_append(all, status_task_json(c, &k));
    return all;
}

static void health_of_task(struct health *h, const struct core *c, const struct task *k)
{
    char remedy[ERROR_REMEDY_MAX], lost[ERROR_REMEDY_MAX];
    const char *name = k->d.name;
    struct node n = {0};
    snprintf(remedy, sizeof remedy, "clusterctl task show %s", name);
    snprintf(lost, sizeof lost, "start %s; if it is lost: clusterctl node evict %s --keep-slot --force", k->node,
             k->node);
    if (k->state == TASK_IDLE && k->blocked)
        health_add(h, WARNING, "TASK_BLOCKED", name, "clusterctl level raise, when all nodes are upgraded",
                   "task %s is blocked until the level is raised: no member's platform is that of the level", name);
    else if (k->state == TASK_RUNNING && !is_here(c, k->node))
        health_add(h, WARNING, "TASK_UNKNOWN", name, lost,
                   "task %s ran on %s, which is away: it is not begun elsewhere before that node is back or fenced",
                   name, k->node);
    else if (k->state == TASK_IDLE && task_is_late(k, c->wall_ms))
        health_add(h, WARNING, "TASK_DUE", name,
                   "clusterctl node list: one must be online and active, and such as the task's affinity asks for",
                   "task %s is due, and no node takes it", name);
    else if (k->result > TASK_DONE)
        health_add(h, WARNING, "TASK_FAILED", name, remedy, "the last run of task %s, on %s, is %s%s%s", name,
                   k->last_node, task_result_name(k->result), k->output[0] ? ": " : "", k->output);
    if (k->state == TASK_RUNNING && node_get(db_tables(c->db), k->node, &n) == 0 && n.state == NODE_DRAINING)
        health_add(h, OK, "DRAIN_WAITS", k->node, remedy, "the drain of %s waits for task %s, %lld s at most", k->node,
                   name, (long long)((task_left_ms(k, c->wall_ms) + 999) / 1000));
    node_done(&n);
}

static void set_tasks(struct json *data, const struct core *c, struct health *h)
{
    struct task k;
    const struct tables *t = db_tables(c->db);
    json_set(data, "tasks", status_tasks_json(c));
    for (bool more = task_next(t, NULL, &k); more; more = task_next(t, k.d.name, &k))
        health_of_task(h, c, &k);
}

/* ---- backups */

int status_backup_percent(const struct core *c, const char *vm, const struct uuid *run)
{
    struct backup_progress p;
    if (!backup_local_progress(c->backup_local, vm, run, &p) || p.total_bytes <= 0)
        return -1;
    return (int)(100 * (p.done_bytes < p.total_bytes ? p.done_bytes : p.total_bytes) / p.total_bytes);
}

struct json *status_backup_json(const struct core *c, const struct backup *k)
{
    struct json *o = backup_json(k, c->wall_ms);
    struct backup_progress p = {0};
    bool is_known = backup_local_progress(c->backup_local, k->vm, &k->run, &p);
    if (k->state == BACKUP_RUNNING && !is_here(c, k->node))
        json_set_str(o, "state", "unknown");
    if (p.phase == BACKUP_PUBLISHED)
        p.phase = BACKUP_PRUNING;
    json_set_str(o, "phase", is_known ? backup_phase_name(p.phase) : NULL);
    json_set(o, "done_bytes", is_known ? json_int_new(p.done_bytes) : json_null_new());
    json_set(o, "total_bytes", is_known ? json_int_new(p.total_bytes) : json_null_new());
    return o;
}

struct json *status_backups_json(const struct core *c, const char *vm)
{
    const struct tables *t = db_tables(c->db);
    struct json *all = json_array_new();
    struct backup k;
    for (bool more = backup_next(t, NULL, &k); more; more = backup_next(t, k.vm, &k))
        if (!vm[0] || str_eq(vm, k.vm))
            json_append(all, status_backup_json(c, &k));
    return all;
}

static void health_of_backup(struct health *h, const struct core *c, const struct backup *k)
{
    char remedy[ERROR_REMEDY_MAX], again[ERROR_REMEDY_MAX], full[ERROR_REMEDY_MAX];
    snprintf(remedy, sizeof remedy, "clusterctl backup list %s", k->vm);
    snprintf(again, sizeof again, "clusterctl backup start %s", k->vm);
    snprintf(full, sizeof full, "clusterctl backup start %s --engine full; then DAMAGE in clusterctl-backup(8)", k->vm);
    if (k->is_damaged)
        health_add(h, CRITICAL, "BACKUP_DAMAGED", k->vm, full, "backups of VM %s in %s: %s", k->vm, k->verified_in,
                   k->damage);
    if (k->state == BACKUP_RUNNING && !is_here(c, k->node))
        health_add(h, WARNING, "BACKUP_UNKNOWN", k->vm, remedy,
                   "VM %s: its %s was under way on %s, which is away: until it is back or fenced, no other is begun",
                   k->vm, backup_work_noun(k->q.work), k->node);
    else if (backup_is_overdue(k, c->wall_ms))
        health_add(h, WARNING, "BACKUP_OVERDUE", k->vm, again, "VM %s is due to be backed up, and no node does it",
                   k->vm);
    else if (k->result == BACKUP_FAILED || k->result == BACKUP_LOST)
        health_add(h, WARNING, "BACKUP_FAILED", k->vm, again, "the last backup of VM %s, on %s, %s%s%s", k->vm,
                   k->last_node, k->result == BACKUP_LOST ? "was lost" : "failed", k->text[0] ? ": " : "", k->text);
    else if (k->result == BACKUP_DONE && k->text[0])
        health_add(h, WARNING, "BACKUP_RETENTION", k->vm, remedy, "older backups of VM %s do not go: %s", k->vm,
                   k->text);
}

static void set_backups(struct json *data, const struct core *c, struct health *h)
{
    const struct tables *t = db_tables(c->db);
    struct json *o = json_object_new();
    int64_t n = 0, running = 0, failed = 0, overdue = 0, damaged = 0, newest = 0, oldest = 0;
    struct backup k;
    for (bool more = backup_next(t, NULL, &k); more; more = backup_next(t, k.vm, &k)) {
        n++;
        running += k.state != BACKUP_IDLE;
        failed += k.result == BACKUP_FAILED || k.result == BACKUP_LOST;
        overdue += backup_is_overdue(&k, c->wall_ms);
        damaged += k.is_damaged;
        newest = k.done_ms > newest ? k.done_ms : newest;
        oldest = k.done_ms && (!oldest || k.done_ms < oldest) ? k.done_ms : oldest;
        health_of_backup(h, c, &k);
    }
    json_set_int(o, "vms", n);
    json_set_int(o, "running", running);
    json_set_int(o, "failed", failed);
    json_set_int(o, "overdue", overdue);
    json_set_int(o, "damaged", damaged);
    json_set(o, "newest", json_time_new(newest));
    json_set(o, "oldest", json_time_new(oldest));
    json_set(data, "backups", o);
}

static struct json *jobs_json(const struct tables *t)
{
    struct json *all = json_array_new();
    TABLES_FOREACH (t, TABLE_JOB, row) {
        struct job j;
        if (job_decode(row.value, &j) == 0 && j.state == JOB_RUNNING)
            json_append(all, job_json(&j));
    }
    return all;
}

static void health_of_quorum(struct health *h, const struct core *c, const struct node_views *v)
{
    const struct db_config *config = db_configuration(c->db);
    if (!core_is_quorate(c))
        health_add(h, CRITICAL, "NO_QUORUM", NULL, "bring nodes back: journalctl -u ringmasterd -u corosync",
                   "%u of %u votes are here: no change is possible, running VMs go on", v->v.votes_present,
                   v->v.votes_total);
    else if (v->v.votes_total > 1 && !db_config_is_quorum(config, v->v.votes_present - 1))
        health_add(h, WARNING, "QUORUM_MARGIN", NULL, "clusterctl node list",
                   "%u of %u votes are here: the loss of one more node stops the cluster", v->v.votes_present,
                   v->v.votes_total);
    if (c->device.code)
        health_add(h, WARNING, "QUORUM_DEVICE", c->identity.node, c->device.remedy, "on %s %s", c->identity.node,
                   c->device.text);
    if (core_is_quorate(c) && !c->corosync_quorate)
        health_add(h, WARNING, "COROSYNC_NOT_QUORATE", c->identity.node, "corosync-quorumtool -s",
                   "corosync on %s does not see a quorum", c->identity.node);
}

/* A vote that is not needed today is missed tomorrow: it is worth a warning while all is well. */
static void health_of_witness(struct health *h, const struct core *c)
{
    const struct core_witness *w = &c->witness;
    const struct witness_result *r = &w->last;
    const char *name = "witness";
    char trouble[DB_WITNESS_TEXT_MAX];
    if (uuid_is_nil(&w->of))
        return;
    if (w->was_asked && r->cause == WITNESS_CAUSE_REGRESSED)
        health_add(h, CRITICAL, "WITNESS_ROLLED_BACK", name, r->error.remedy, "%s", r->error.text);
    else if (w->was_asked && r->cause == WITNESS_CAUSE_BLOB_MISSING)
        health_add(h, CRITICAL, "WITNESS_MISSING", name, r->error.remedy, "%s", r->error.text);
    else if (w->was_asked && r->outcome != WITNESS_DONE)
        health_add(h, WARNING, "WITNESS_UNREACHABLE", name, r->error.remedy, "from %s: %s (%s)", c->identity.node,
                   r->error.text, witness_cause_name(r->cause));
    else if (core_witness_trouble(c, trouble))
        health_add(h, WARNING, "WITNESS_NO_VOTE", name, "clusterctl witness test; clusterctl quorum show", "%s",
                   trouble);
}

static void health_of_force(struct health *h, const struct core *c, const struct node_views *v)
{
    struct cluster_forced f;
    size_t without = 0;
    if (db_is_behind(c->db))
        health_add(h, CRITICAL, "QUORUM_FORCED_ELSEWHERE", c->identity.node, "clusterctl status on that node",
                   "quorum was forced on another node: this one takes over its state, and gives its own up");
    if (db_is_prevented(c->db))
        health_add(h, WARNING, "QUORUM_PREVENTED", c->identity.node,
                   "start the other nodes, or: clusterctl quorum prevent --clear",
                   "%s only joins others: it neither votes nor leads", c->identity.node);
    for (size_t i = 0; i < v->v.n; i++) {
        const struct upgrade_node *n = &v->v.nodes[i];
        without += n->state != UNODE_ABSENT && n->state != UNODE_EVICTING && !n->present;
    }
    if (without && cluster_forced_get(db_tables(c->db), &f) == 0)
        health_add(h, WARNING, "QUORUM_FORCED", f.node,
                   "start the nodes that are away: they take over this side's state, and what they changed alone is "
                   "given up",
                   "quorum was forced on %s by %s, epoch %llu, and %zu nodes are still away", f.node, f.by,
                   (unsigned long long)f.epoch, without);
}

/* Between its admission and its vote a node is on its way, heard or not: nothing is lost with it yet. */
static void health_of_joining(struct health *h, const struct core *c, const struct upgrade_node *n)
{
    char remedy[ERROR_REMEDY_MAX];
    struct node row = {0};
    int64_t for_ms = node_get(db_tables(c->db), n->name, &row) == 0 ? c->wall_ms - row.changed_ms : 0;
    node_done(&row);
    if (for_ms < JOIN_OVERDUE_MS)
        return;
    snprintf(remedy, sizeof remedy,
             "on %s: systemctl status ringmasterd corosync; if it is lost: clusterctl node evict "
             "%s --keep-slot --force",
             n->name, n->name);
    health_add(h, WARNING, "NODE_JOIN_OVERDUE", n->name, remedy, "%s was admitted %lld minutes ago and %s", n->name,
               (long long)(for_ms / 60000), n->present ? "has no vote yet" : "was not heard yet");
}

static void health_of_quarantine(struct health *h, const struct core *c, const char *node)
{
    char remedy[ERROR_REMEDY_MAX];
    struct node n = {0};
    int64_t left_ms = node_get(db_tables(c->db), node, &n) == 0 ? n.quarantined_ms - c->wall_ms : 0;
    node_done(&n);
    if (left_ms <= 0)
        return;
    snprintf(remedy, sizeof remedy, "clusterctl node resume %s, when its fault is mended", node);
    health_add(h, WARNING, "NODE_QUARANTINED", node, remedy,
               "%s failed %d times within an hour: no virtual machine is placed there for another %lld minutes", node,
               NODE_FAILURES_MAX, (long long)((left_ms + 59999) / 60000));
}

static void health_of_node(struct health *h, const struct core *c, const struct upgrade_node *n)
{
    char remedy[ERROR_REMEDY_MAX];
    bool in_run = step_is_on(db_tables(c->db), n->name);
    if (n->state == UNODE_ABSENT && !in_run) {
        snprintf(remedy, sizeof remedy, "clusterctl cluster join-token %s, then join it, or evict it", n->name);
        health_add(h, CRITICAL, "NODE_NOT_REJOINED", n->name, remedy, "%s was evicted and has not come back", n->name);
    } else if (n->state == UNODE_JOINING && !n->voter) {
        if (!in_run)
            health_of_joining(h, c, n);
    } else if (n->state != UNODE_ABSENT && n->state != UNODE_EVICTING && !n->present && !in_run) {
        snprintf(remedy, sizeof remedy, "start %s; if it is lost: clusterctl node evict %s --keep-slot --force",
                 n->name, n->name);
        health_add(h, CRITICAL, "NODE_OFFLINE", n->name, remedy, "%s is away, with %u virtual machines", n->name,
                   n->vms_running);
    } else if ((n->state == UNODE_PAUSED || n->state == UNODE_DRAINING) && !in_run) {
        snprintf(remedy, sizeof remedy, "clusterctl node resume %s --failback", n->name);
        health_add(h, WARNING, "NODE_PAUSED", n->name, remedy, "%s takes no virtual machines", n->name);
    }
    health_of_quarantine(h, c, n->name);
    if (n->drain_blocked.code)
        health_add(h, WARNING, "DRAIN_BLOCKED", n->name, n->drain_blocked.remedy, "%s", n->drain_blocked.text);
}

static void health_of_level(struct health *h, const struct core *c)
{
    struct level_state l;
    if (level_get(db_tables(c->db), &l) || !l.mixed_since_ms)
        return;
    int64_t days = level_mixed_days(&l, c->wall_ms);
    bool behind = l.n > 0;
    for (size_t i = 0; i < l.n; i++)
        behind = behind && l.members[i].native > l.fl;
    if (behind)
        health_add(h, days >= MIXED_CRITICAL_DAYS ? CRITICAL : WARNING, "LEVEL_BEHIND", NULL, "clusterctl level raise",
                   "every member offers a level above %u, mixed mode is %lld days old", l.fl, (long long)days);
    else if (days >= MIXED_WARN_DAYS)
        health_add(h, days >= MIXED_CRITICAL_DAYS ? CRITICAL : WARNING, "MIXED_MODE_OVERDUE", NULL,
                   "clusterctl upgrade", "mixed mode is %lld days old; it is meant for %d at most", (long long)days,
                   MIXED_CRITICAL_DAYS);
    else
        health_add(h, OK, "MIXED_MODE", NULL, "clusterctl upgrade", "mixed mode for %lld days", (long long)days);
}

static void health_of_approval(struct health *h, const struct core *c, const struct run *r)
{
    char remedy[ERROR_REMEDY_MAX];
    struct step s;
    if (step_first_open(db_tables(c->db), r, &s) || s.state != STEP_AWAITING_APPROVAL)
        return;
    snprintf(remedy, sizeof remedy, "clusterctl upgrade approve %s", s.node);
    health_add(h, WARNING, "UPGRADE_AWAITS_APPROVAL", s.node, remedy, "the upgrade to %s waits: %s is to be approved",
               r->target, s.node);
}

static void health_of_left_out(struct health *h, const struct core *c, const struct run *r)
{
    for (uint32_t i = 0; i < r->n_steps; i++) {
        struct step s;
        struct error how = {0};
        if (step_get(db_tables(c->db), &r->id, i, &s) || !step_keeps_level(db_tables(c->db), &s))
            continue;
        run_is_partial(db_tables(c->db), r, &how);
        health_add(h, WARNING, "UPGRADE_LEFT_OUT", s.node, how.remedy,
                   "%s was left out of the upgrade to %s, and the functional level cannot be raised before it is "
                   "upgraded: %s",
                   s.node, r->target, s.detail);
    }
}

static void health_of_run(struct health *h, const struct core *c)
{
    struct run r;
    if (run_current(db_tables(c->db), &r))
        return;
    if (r.state == RUN_PAUSED_ERROR)
        health_add(h, CRITICAL, "UPGRADE_FAILED", uuid_str(&r.id).s, r.remedy, "the upgrade to %s stopped: %s",
                   r.target, r.error);
    else if (r.state == RUN_PAUSED)
        health_add(h, WARNING, "UPGRADE_PAUSED", uuid_str(&r.id).s, "clusterctl upgrade resume",
                   "the upgrade to %s is paused", r.target);
    health_of_approval(h, c, &r);
    health_of_left_out(h, c, &r);
    const char *why = db_is_leader(c->db) ? upgrade_leader_waiting(c->upgrade_leader) : NULL;
    if (why)
        health_add(h, OK, "UPGRADE_WAITING", uuid_str(&r.id).s, "clusterctl upgrade status", "the upgrade waits: %s",
                   why);
}

static void health_of_lost(struct health *h, const struct core *c, const struct guard *g)
{
    char remedy[ERROR_REMEDY_MAX];
    int64_t left_ms = db_is_leader(c->db) ? guard_leader_left_ms(c->guard_leader, g->node, c->now_ms) : -1;
    const char *asked = db_is_leader(c->db) ? guard_leader_asked(c->guard_leader, g->node) : "";
    snprintf(remedy, sizeof remedy, "nothing to do; start %s when its fault is mended", g->node);
    if (g->state == FENCE_FENCED)
        health_add(h, OK, "NODE_FENCED", g->node, remedy, "%s is fenced (%s): its virtual machines start elsewhere",
                   g->node, g->how == FENCE_BY_COMMAND ? "the fence command confirmed it" : "its wait is over");
    else if (left_ms >= 0)
        health_add(h, WARNING, "NODE_FENCING", g->node, remedy,
                   "%s is lost: its virtual machines start elsewhere in %lld.%lld s at the latest%s%s", g->node,
                   (long long)(left_ms / 1000), (long long)(left_ms % 1000 / 100), asked[0] ? "; " : "", asked);
    else
        health_add(h, WARNING, "NODE_FENCING", g->node, remedy,
                   "%s is lost: its virtual machines start elsewhere once it is fenced%s%s", g->node,
                   asked[0] ? "; " : "", asked);
}

static const char WATCHDOG_REMEDY[] =
    "set [fence] watchdog = /dev/watchdog in ringmaster.conf (softdog where the host has none), restart ringmasterd";

static void health_of_watchdog(struct health *h, const struct core *c, const char *node, enum guard_kind kind)
{
    const char *trouble = str_eq(node, c->identity.node) ? c->guard.trouble : "";
    if (kind == GUARD_PROMISE)
        health_add(h, WARNING, "NO_WATCHDOG", node, WATCHDOG_REMEDY,
                   "%s has no watchdog%s%s; failover.unfenced accepts that its virtual machines may run twice", node,
                   trouble[0] ? ": " : "", trouble);
    else if (kind == GUARD_NONE)
        health_add(h, WARNING, "NO_WATCHDOG", node, WATCHDOG_REMEDY,
                   "%s has no watchdog%s%s: nobody can be sure that it is gone when it is cut off", node,
                   trouble[0] ? ": " : "", trouble);
}

static void health_of_fencing(struct health *h, const struct core *c, const struct node_views *v)
{
    char command[SETTING_VALUE_MAX];
    bool can_any = false;
    setting_get(db_tables(c->db), "fence.command", command);
    for (size_t i = 0; i < v->v.n; i++) {
        struct guard g = {.kind = GUARD_NONE};
        const char *node = v->v.nodes[i].name;
        guard_get(db_tables(c->db), node, &g);
        if (g.state != FENCE_NO)
            health_of_lost(h, c, &g);
        if (v->v.n > 1)
            health_of_watchdog(h, c, node, g.kind);
        can_any = can_any || guard_keeps(g.kind) || command[0];
    }
    if (!can_any)
        health_add(h, WARNING, "FAILOVER_DISABLED", NULL,
                   "start a lost node's virtual machines by hand; give the nodes watchdogs, or set fence.command",
                   "virtual machines of a lost node are not started elsewhere: no node has a watchdog, and there is no "
                   "fence command");
}

static struct json *health_json(struct core *c, const struct node_views *v, struct health *h)
{
    health_of_quorum(h, c, v);
    health_of_witness(h, c);
    health_of_force(h, c, v);
    for (size_t i = 0; i < v->v.n; i++)
        health_of_node(h, c, &v->v.nodes[i]);
    health_of_level(h, c);
    health_of_run(h, c);
    if (!v->executor[0] && v->v.n > 1)
        health_add(h, OK, "NO_EXECUTOR", NULL, "clusterctl cluster config set upgrade.executor PATH",
                   "no rebuild hook is set: a rolling upgrade is not possible yet");
    health_of_fencing(h, c, v);
    return health_list(h);
}

struct json *status_json(struct core *c, bool all_vms)
{
    struct json *data = json_object_new(), *o;
    struct health h = {0};
    struct cluster cl;
    struct level_state l;
    struct run r;
    json_set(data, "self", self_json(c));
    if (!c->db) {
        json_set(data, "cluster", json_null_new());
        return data;
    }
    const struct tables *t = db_tables(c->db);
    struct node_views *v = xcalloc(1, sizeof *v);
    node_views_build(v, c, false);
    o = json_object_new();
    json_set_str(o, "name", c->identity.cluster_name);
    json_set_str(o, "uuid", uuid_str(&c->identity.cluster).s);
    json_set(o, "created", json_time_new(cluster_get(t, &cl) ? 0 : cl.created_ms));
    json_set(data, "cluster", o);
    json_set(data, "quorum", quorum_json(c, v));
    json_set(data, "witness", core_witness_json(c));
    json_set(data, "level", level_get(t, &l) ? json_null_new() : level_json(&l, c->wall_ms));
    json_set(data, "nodes", nodes_json(c, v));
    set_vms(data, c, &v->vms, all_vms, &h);
    json_set(data, "run", run_newest(t, &r) ? json_null_new() : run_json(t, &r, c->wall_ms));
    json_set(data, "jobs", jobs_json(t));
    set_tasks(data, c, &h);
    set_backups(data, c, &h);
    json_set(data, "health", health_json(c, v, &h));
    node_views_done(v);
    free(v);
    return data;
}
