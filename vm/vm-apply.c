/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Replicated: what an ENTRY_VM_* does to the tables. Reads nothing but the tables, the node table's values in `nodes`
 * and the entry; the state machine is drawn in vm/vm.h.
 *
 * A request that is refused changes nothing and says why. One that asks for what already is so is done at once: its job
 * begins and ends in the same entry. A report that does not name the row's op_id (without an op: the row's epoch) is
 * late or doubled and changes nothing. */
#include <inttypes.h>
#include <stdio.h>

#include "vm/vm-entry.h"

struct apply {
    struct tables *t;
    const struct vm_nodes *nodes;
    const struct entry *e;
    struct error *error;
};

/* ---- common */

static void put(const struct apply *a, const struct vm *v)
{
    AUTO(buf_done) struct buf b = {0};
    vm_encode(v, &b);
    tables_put(a->t, TABLE_VM, v->name, buf_slice(&b));
}

static void put_changed(const struct apply *a, struct vm *v)
{
    v->changed_ms = a->e->time_ms;
    put(a, v);
}

#define EVENT(a, severity, v, ...) journal_event((a)->t, (a)->e->time_ms, (severity), (v)->name, __VA_ARGS__)

static int malformed(const struct apply *a)
{
    return error_set(a->error, ERR_USAGE, "the entry of kind %u does not parse", a->e->kind);
}

static bool name_is_valid(const char *name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    return name[0] && name[0] != '.' && name[0] != '-' && name[strspn(name, allowed)] == '\0';
}

static int find_vm(const struct apply *a, const char *name, struct vm *ret)
{
    if (!name_is_valid(name) || vm_get(a->t, name, ret)) {
        error_set(a->error, ERR_NO_OBJECT, "there is no VM %s", name);
        error_set_remedy(a->error, "clusterctl vm list");
        return ERR_NO_OBJECT;
    }
    return 0;
}

static int find_node(const struct apply *a, const char *name, const struct vm_node **ret)
{
    const struct vm_node *node = vm_nodes_find(a->nodes, name);
    if (!node) {
        error_set(a->error, ERR_NO_OBJECT, "there is no node %s", name);
        error_set_remedy(a->error, "clusterctl node list");
        return ERR_NO_OBJECT;
    }
    *ret = node;
    return 0;
}

static int check_idle(const struct apply *a, const struct vm *v)
{
    if (v->op == VM_OP_NONE)
        return 0;
    error_set(a->error, ERR_AGAIN, "VM %s is %s on %s", v->name, vm_state_name(v), v->node);
    error_set_remedy(a->error, "clusterctl job show %s", uuid_str(&v->op_id).s);
    return ERR_AGAIN;
}

static int check_accepts(const struct apply *a, const struct vm *v, const struct vm_node *node)
{
    if (node->accepts && !node->draining)
        return 0;
    error_set(a->error, ERR_CONDITION, "node %s is %s: VM %s cannot go there", node->name,
              node->draining ? "draining" : "not active", v->name);
    error_set_remedy(a->error, "clusterctl node resume %s", node->name);
    return ERR_CONDITION;
}

/* It ran with its machine type, or may have: there is no way back. */
static void forget_version_before(const struct apply *a, struct vm *v)
{
    char key[TABLE_KEY_MAX];
    vm_version_key(v->name, key);
    tables_del(a->t, TABLE_VM_XML, key);
    v->machine_before[0] = '\0';
}

/* ---- add, remove, set */

static int check_facts(const struct apply *a, const struct vm_facts *f)
{
    if (!name_is_valid(f->name))
        return error_set(a->error, ERR_USAGE,
                         "VM name '%s': only letters, digits, '.', '_' and '-', not first '.' or '-'", f->name);
    if (uuid_is_nil(&f->uuid))
        return error_set(a->error, ERR_USAGE, "VM %s has no UUID", f->name);
    if (!name_is_valid(f->machine))
        return error_set(a->error, ERR_USAGE, "VM %s: machine type '%s' is not a name", f->name, f->machine);
    if (f->memory_kib == 0 || f->memory_kib > (UINT64_MAX >> 12) || f->vcpus == 0)
        return error_set(a->error, ERR_USAGE, "VM %s has no memory, too much of it, or no CPU", f->name);
    size_t len = strlen(f->xml);
    if (len == 0 || len > VM_XML_MAX)
        return error_set(a->error, ERR_USAGE, "VM %s: its XML has %zu bytes, allowed are 1 to %d", f->name, len,
                         VM_XML_MAX);
    return 0;
}

static int check_unique(const struct apply *a, const struct vm_facts *f)
{
    struct vm v = {0};
    for (const char *after = NULL; vm_next(a->t, after, &v); after = v.name) {
        if (str_eq(v.name, f->name))
            error_set(a->error, ERR_CONDITION, "a VM %s exists already, on %s", v.name, v.node);
        else if (uuid_eq(&v.uuid, &f->uuid))
            error_set(a->error, ERR_CONDITION, "VM %s has the same UUID %s", v.name, uuid_str(&v.uuid).s);
        else
            continue;
        error_set_remedy(a->error, "clusterctl vm remove %s", v.name);
        return ERR_CONDITION;
    }
    return 0;
}

static int check_level(const struct apply *a, const struct vm_facts *f)
{
    const struct vm_limits *limits = a->nodes->limits;
    if (!limits || !f->has_data_store || !limits->data_store.code)
        return vm_machine_check(f->name, f->machine, limits, a->error);
    error_set(a->error, ERR_CONDITION, "VM %s has a disk with a <dataStore>: %s", f->name, limits->data_store.text);
    error_set_remedy(a->error, "%s", limits->data_store.remedy);
    return ERR_CONDITION;
}

static int add_facts(const struct apply *a, const struct vm_facts *f, const char *node_name)
{
    const struct vm_node *node;
    int err = check_facts(a, f);
    if (!err)
        err = check_level(a, f);
    if (!err)
        err = check_unique(a, f);
    if (!err)
        err = find_node(a, node_name, &node);
    if (err)
        return err;
    struct vm v = {
        .uuid = f->uuid,
        .state = VM_STOPPED,
        .reason = VM_REASON_ADMIN,
        .epoch = 1,
        .memory_kib = f->memory_kib,
        .vcpus = f->vcpus,
        .policy = VM_POLICY_FAIL,
        .has_host_device = f->has_host_device,
        .has_local_disk = f->has_local_disk,
    };
    STR_COPY(v.name, f->name);
    STR_COPY(v.node, node->name);
    STR_COPY(v.home, node->name);
    STR_COPY(v.machine, f->machine);
    tables_put(a->t, TABLE_VM_XML, v.name, (struct slice){(const uint8_t *)f->xml, strlen(f->xml)});
    put_changed(a, &v);
    EVENT(a, EVENT_INFO, &v, "VM %s was added on %s (%s)", v.name, v.node, v.machine);
    return 0;
}

static int apply_add(const struct apply *a)
{
    struct vm_facts f = {0};
    char node[NODE_NAME_MAX];
    if (vm_entry_add_decode(a->e->payload, &f, node))
        return malformed(a);
    int err = add_facts(a, &f, node);
    free(f.xml);
    return err;
}

static int apply_remove(const struct apply *a)
{
    char name[VM_NAME_MAX];
    struct vm v;
    if (vm_entry_remove_decode(a->e->payload, name))
        return malformed(a);
    int err = find_vm(a, name, &v);
    if (!err)
        err = check_idle(a, &v);
    if (err)
        return err;
    if (v.state != VM_STOPPED) {
        error_set(a->error, ERR_CONDITION, "VM %s runs on %s", v.name, v.node);
        error_set_remedy(a->error, "clusterctl vm stop %s", v.name);
        return ERR_CONDITION;
    }
    if (vm_is_held(a->nodes, &v, v.boot_id))
        return error_set(a->error, ERR_AGAIN, "VM %s is being backed up on %s", v.name, v.node);
    forget_version_before(a, &v);
    tables_del(a->t, TABLE_VM_XML, v.name);
    tables_del(a->t, TABLE_VM, v.name);
    if (a->nodes->removed)
        a->nodes->removed(a->t, v.name);
    EVENT(a, EVENT_INFO, &v, "VM %s was removed; its disks stay", v.name);
    return 0;
}

/* Each of them is a node: what is written wrong is not placed anywhere by it. */
static int check_preferred(const struct apply *a, const char *preferred)
{
    const struct vm_node *node;
    char name[NODE_NAME_MAX];
    int err = 0;
    for (const char *p = preferred; *p && !err;) {
        size_t len = strcspn(p, ",");
        snprintf(name, sizeof(name), "%.*s", (int)(len < NODE_NAME_MAX ? len : NODE_NAME_MAX - 1), p);
        err = find_node(a, name, &node);
        p += len;
        p += *p == ',';
    }
    return err;
}

static int check_set(const struct apply *a, const struct vm_set_request *r)
{
    const struct vm_node *home;
    int err = r->set_home ? find_node(a, r->home, &home) : 0;
    if (!err && r->set_preferred)
        err = check_preferred(a, r->preferred);
    if (err)
        return err;
    if (r->set_policy && (r->policy < VM_POLICY_FAIL || r->policy > VM_POLICY_SKIP_NODE))
        return error_set(a->error, ERR_USAGE, "VM %s: there is no drain policy %d", r->name, (int)r->policy);
    if (r->set_group && r->group[0] && !name_is_valid(r->group))
        return error_set(a->error, ERR_USAGE,
                         "group '%s': only letters, digits, '.', '_' and '-', not first '.' or '-'", r->group);
    return 0;
}

static int apply_set(const struct apply *a)
{
    struct vm_set_request r;
    struct vm v;
    if (vm_entry_set_decode(a->e->payload, &r))
        return malformed(a);
    int err = find_vm(a, r.name, &v);
    if (!err)
        err = check_set(a, &r);
    if (err)
        return err;
    if (r.set_priority)
        v.priority = r.priority;
    if (r.set_policy)
        v.policy = r.policy;
    if (r.set_home)
        STR_COPY(v.home, r.home);
    if (r.set_preferred)
        STR_COPY(v.preferred, r.preferred);
    if (r.set_group)
        STR_COPY(v.group, r.group);
    if (r.set_postcopy)
        v.postcopy = r.postcopy;
    put_changed(a, &v);
    return 0;
}

/* ---- versions */

static void put_xml(const struct apply *a, const char *key, const char *xml)
{
    tables_put(a->t, TABLE_VM_XML, key, (struct slice){(const uint8_t *)xml, strlen(xml)});
}

/* Upgraded twice without a start between, it goes back to what it last ran with. */
static void keep_version_before(const struct apply *a, struct vm *v)
{
    struct slice xml = {0};
    char key[TABLE_KEY_MAX];
    if (v->machine_before[0])
        return;
    vm_version_key(v->name, key);
    tables_get(a->t, TABLE_VM_XML, v->name, &xml);
    tables_put(a->t, TABLE_VM_XML, key, xml);
    STR_COPY(v->machine_before, v->machine);
}

static int change_version(const struct apply *a, const struct vm_version_request *r)
{
    struct vm v;
    size_t len = strlen(r->xml);
    int err = find_vm(a, r->name, &v);
    if (!err)
        err = check_idle(a, &v);
    if (!err && !str_eq(v.machine, r->from))
        err = error_set(a->error, ERR_AGAIN, "VM %s has machine type %s by now, not %s", v.name, v.machine, r->from);
    if (!err && (len == 0 || len > VM_XML_MAX))
        err = malformed(a);
    if (!err)
        err = vm_version_check(&v, r->machine, a->nodes, a->error);
    if (err)
        return err;
    keep_version_before(a, &v);
    put_xml(a, v.name, r->xml);
    STR_COPY(v.machine, r->machine);
    put_changed(a, &v);
    EVENT(a, EVENT_INFO, &v, "VM %s gets machine type %s with its next start (it had %s)", v.name, v.machine, r->from);
    return 0;
}

static int apply_version(const struct apply *a)
{
    struct vm_version_request r;
    if (vm_entry_version_decode(a->e->payload, &r))
        return malformed(a);
    int err = change_version(a, &r);
    free(r.xml);
    return err;
}

static int apply_rollback(const struct apply *a)
{
    struct vm v;
    char name[VM_NAME_MAX], key[TABLE_KEY_MAX], from[VM_MACHINE_MAX];
    struct slice xml = {0};
    if (vm_entry_rollback_decode(a->e->payload, name))
        return malformed(a);
    int err = find_vm(a, name, &v);
    if (!err)
        err = check_idle(a, &v);
    if (!err)
        err = vm_rollback_check(&v, a->error);
    if (err)
        return err;
    vm_version_key(name, key);
    tables_get(a->t, TABLE_VM_XML, key, &xml);
    AUTO(freep) char *text = xmemdup(xml.p, xml.len);
    tables_put(a->t, TABLE_VM_XML, v.name, (struct slice){(const uint8_t *)text, xml.len});
    STR_COPY(from, v.machine);
    STR_COPY(v.machine, v.machine_before);
    forget_version_before(a, &v);
    put_changed(a, &v);
    EVENT(a, EVENT_INFO, &v, "VM %s has machine type %s again (it did not start with %s)", v.name, v.machine, from);
    return 0;
}

/* ---- operations */

static enum job_kind job_of(enum vm_op op)
{
    return op == VM_OP_START ? JOB_VM_START : op == VM_OP_STOP ? JOB_VM_STOP : JOB_VM_MIGRATE;
}

static const char *reason_text(enum vm_reason r)
{
    switch (r) {
    case VM_REASON_ADMIN: return "";
    case VM_REASON_DRAIN: return " (drain)";
    case VM_REASON_FAILBACK: return " (failback)";
    case VM_REASON_RESTART: return " (its node came back)";
    case VM_REASON_CANARY: return " (canary)";
    case VM_REASON_FAILOVER: return " (failover)";
    case VM_REASON_CRASH: return " (it crashed)";
    case VM_REASON_RETURN: return " (it was off for a drain)";
    case VM_REASON_RECOVERY: return " (its node was lost)";
    }
    return "";
}

static void job_begin(const struct apply *a, const struct vm *v, const struct vm_op_request *r)
{
    struct job j = {.id = a->e->request_id, .kind = job_of(r->op), .state = JOB_RUNNING, .started_ms = a->e->time_ms};
    STR_COPY(j.object, v->name);
    STR_COPY(j.node, v->node);
    if (r->op == VM_OP_MIGRATE)
        snprintf(j.detail, sizeof(j.detail), "%s -> %s%s", v->node, r->node, reason_text(r->reason));
    else
        snprintf(j.detail, sizeof(j.detail), "on %s%s", v->node, reason_text(r->reason));
    journal_job_begin(a->t, &j);
}

void vm_job_target(const struct job *j, char ret[NODE_NAME_MAX])
{
    static const char arrow[] = " -> ";
    const char *to = j->kind == JOB_VM_MIGRATE ? strstr(j->detail, arrow) : NULL;
    size_t n = 0;
    for (to = to ? to + strlen(arrow) : ""; to[n] && to[n] != ' ' && n < NODE_NAME_MAX - 1; n++)
        ret[n] = to[n];
    ret[n] = '\0';
}

/* What was asked for is so already. */
static int done_at_once(const struct apply *a, struct vm *v, const struct vm_op_request *r)
{
    put_changed(a, v);
    job_begin(a, v, r);
    journal_job_end(a->t, &a->e->request_id, JOB_DONE, a->e->time_ms, 0, NULL);
    return 0;
}

static int begin(const struct apply *a, struct vm *v, const struct vm_op_request *r, int64_t default_timeout_ms)
{
    v->op = r->op;
    v->op_id = a->e->request_id;
    v->reason = r->reason;
    v->claim = 0;
    v->left = false;
    v->cancel = false;
    v->hard = r->op == VM_OP_STOP && r->hard;
    v->save = r->op == VM_OP_STOP && r->save_to[0];
    if (r->op == VM_OP_STOP)
        STR_COPY(v->saved_to, r->save_to);
    v->op_timeout_ms = r->timeout_ms > 0 ? r->timeout_ms : default_timeout_ms;
    v->error[0] = '\0';
    put_changed(a, v);
    job_begin(a, v, r);
    return 0;
}

/* The owner came back, from a reboot or from being cut off: its VM starts again there, once for this boot. */
static int op_restart(const struct apply *a, struct vm *v, const struct vm_op_request *r)
{
    struct vm_op_request as_applied = *r;
    bool should_run = v->state == VM_RUNNING || v->wanted;
    if (!should_run || v->owed || !r->boot_id[0] || str_eq(v->boot_id, r->boot_id) ||
        (r->node[0] && !str_eq(r->node, v->node)))
        return error_set(a->error, ERR_CONDITION, "VM %s is not to be started again on %s", v->name, v->node);
    if (vm_is_lost(v))
        as_applied.reason = VM_REASON_RECOVERY;
    EVENT(a, EVENT_WARNING, v,
          vm_is_lost(v) ? "node %s counts again: VM %s, which ended when the node was lost, is started again there"
                        : "node %s came back from a reboot: VM %s is started again",
          v->node, v->name);
    v->epoch++;
    v->wanted = true;
    STR_COPY(v->boot_id, r->boot_id);
    return begin(a, v, &as_applied, VM_START_TIMEOUT_MS);
}

static int check_start_on(const struct apply *a, const struct vm *v, const struct vm_node *node)
{
    int err = check_accepts(a, v, node);
    if (err)
        return err;
    if (v->has_local_disk && !str_eq(node->name, v->node))
        return error_set(a->error, ERR_CONDITION, "VM %s has a disk on %s alone: it can start only there", v->name,
                         v->node);
    struct vm portable = *v; /* a stopped VM takes up a device of whichever host it starts on */
    portable.has_host_device = portable.has_local_disk = false;
    return vm_can_migrate(&portable, node, a->error);
}

static void forget_crashes(struct vm *v)
{
    v->crashes = 0;
    v->crash_loop = false;
}

static int op_start(const struct apply *a, struct vm *v, const struct vm_op_request *r)
{
    if (r->reason == VM_REASON_RESTART)
        return op_restart(a, v, r);
    const char *name = r->node[0] ? r->node : v->node;
    const struct vm_node *node;
    int err = find_node(a, name, &node);
    if (err)
        return err;
    if (v->state == VM_RUNNING) {
        if (str_eq(v->node, name))
            return done_at_once(a, v, r);
        error_set(a->error, ERR_CONDITION, "VM %s runs on %s", v->name, v->node);
        error_set_remedy(a->error, "clusterctl vm migrate %s %s", v->name, name);
        return ERR_CONDITION;
    }
    err = check_start_on(a, v, node);
    if (err)
        return err;
    if (r->reason == VM_REASON_ADMIN && r->node[0])
        STR_COPY(v->home, name);
    if (r->reason == VM_REASON_ADMIN)
        forget_crashes(v);
    v->epoch++;
    v->wanted = true;
    STR_COPY(v->node, name);
    STR_COPY(v->boot_id, node->boot_id);
    return begin(a, v, r, VM_START_TIMEOUT_MS);
}

/* It is off for a drain, and is to stay so. What was saved is kept for its next start, but for a hard stop. */
static void give_up_owed(const struct apply *a, struct vm *v, bool hard)
{
    if (v->owed == VM_OWED_RESTORE && !hard)
        return;
    if (v->owed == VM_OWED_RESTORE)
        EVENT(a, EVENT_WARNING, v, "VM %s: what was saved to %s is given up; remove the file", v->name, v->saved_to);
    v->owed = VM_OWED_NOTHING;
    v->due_ms = 0;
    v->saved_to[0] = '\0';
}

static int op_stop(const struct apply *a, struct vm *v, const struct vm_op_request *r)
{
    bool is_drain = r->reason == VM_REASON_DRAIN;
    if (is_drain && v->state != VM_RUNNING)
        return error_set(a->error, ERR_CONDITION, "VM %s does not run", v->name);
    if (!is_drain)
        v->wanted = false;
    if (v->state == VM_RUNNING)
        return begin(a, v, r, r->save_to[0] ? VM_SAVE_TIMEOUT_MS : VM_STOP_TIMEOUT_MS);
    give_up_owed(a, v, r->hard);
    v->error[0] = '\0';
    return done_at_once(a, v, r);
}

static int op_migrate(const struct apply *a, struct vm *v, const struct vm_op_request *r)
{
    const struct vm_node *target;
    int err = find_node(a, r->node, &target);
    if (err)
        return err;
    if (v->state != VM_RUNNING) {
        error_set(a->error, ERR_CONDITION, "VM %s does not run", v->name);
        error_set_remedy(a->error, "clusterctl vm start %s --node %s", v->name, r->node);
        return ERR_CONDITION;
    }
    if (str_eq(v->node, r->node)) {
        if (r->reason == VM_REASON_ADMIN)
            STR_COPY(v->home, r->node);
        return done_at_once(a, v, r);
    }
    err = check_accepts(a, v, target);
    if (!err)
        err = vm_can_migrate(v, target, a->error);
    if (err)
        return err;
    STR_COPY(v->target, r->node);
    return begin(a, v, r, VM_MIGRATE_TIMEOUT_MS);
}

static int apply_op(const struct apply *a)
{
    struct vm_op_request r;
    struct vm v;
    if (vm_entry_op_decode(a->e->payload, &r) || uuid_is_nil(&a->e->request_id))
        return malformed(a);
    int err = find_vm(a, r.name, &v);
    if (!err)
        err = check_idle(a, &v);
    if (err)
        return err;
    if (r.epoch != 0 && r.epoch != v.epoch)
        return error_set(a->error, ERR_AGAIN, "VM %s was started or moved meanwhile", v.name);
    switch (r.op) {
    case VM_OP_START: return op_start(a, &v, &r);
    case VM_OP_STOP: return op_stop(a, &v, &r);
    case VM_OP_MIGRATE: return op_migrate(a, &v, &r);
    case VM_OP_NONE: break;
    }
    return malformed(a);
}

static int refuse_cancel(const struct apply *a, const struct vm *v, const char *why)
{
    error_set(a->error, ERR_CONDITION, "VM %s: %s", v->name, why);
    error_set_remedy(a->error, "clusterctl vm show %s", v->name);
    return ERR_CONDITION;
}

static int apply_cancel(const struct apply *a)
{
    char name[VM_NAME_MAX];
    struct uuid op_id;
    struct vm v;
    if (vm_entry_cancel_decode(a->e->payload, name, &op_id))
        return malformed(a);
    int err = find_vm(a, name, &v);
    if (err)
        return err;
    if (v.op == VM_OP_NONE || !uuid_eq(&v.op_id, &op_id))
        return refuse_cancel(a, &v, "that operation has ended");
    if (v.op != VM_OP_MIGRATE)
        return refuse_cancel(a, &v, "only a move can be cancelled");
    if (v.left)
        return refuse_cancel(a, &v, "it left its node already, and its target is being asked for it");
    if (v.cancel)
        return 0;
    v.cancel = true;
    put_changed(a, &v);
    EVENT(a, EVENT_INFO, &v, "VM %s: its move from %s to %s is to be cancelled", v.name, v.node, v.target);
    return 0;
}

/* ---- reports */

static int late(const struct apply *a, const struct vm_report *r)
{
    return error_set(a->error, ERR_AGAIN, "VM %s: the report from %s came late: no change", r->name, r->node);
}

/* Ends the row's op; the caller has set what it led to. */
static int end(const struct apply *a, struct vm *v, enum job_state state, int code, const char *error)
{
    struct uuid id = v->op_id;
    v->op = VM_OP_NONE;
    v->op_id = (struct uuid){0};
    v->claim = 0;
    v->left = false;
    v->cancel = false;
    v->hard = false;
    v->save = false;
    v->target[0] = '\0';
    STR_COPY(v->error, error);
    put_changed(a, v);
    journal_job_end(a->t, &id, state, a->e->time_ms, code, error);
    return 0;
}

static void owe(struct vm *v, enum vm_owed owed)
{
    v->owed = owed;
    v->due_ms = 0;
    if (owed != VM_OWED_RESTORE)
        v->saved_to[0] = '\0';
}

/* It runs nowhere: its owner was fenced. Whoever starts it first has it. */
static void lose(const struct apply *a, struct vm *v, const char *node)
{
    char why[JOURNAL_TEXT_MAX];
    snprintf(why, sizeof(why), "its node %.60s was lost", node);
    bool stops = v->op == VM_OP_STOP;
    if (v->op == VM_OP_START)
        forget_version_before(a, v);
    v->state = VM_STOPPED;
    v->epoch++;
    v->boot_id[0] = '\0';
    owe(v, VM_OWED_NOTHING); /* by failover, without what was saved: it may have been used */
    if (v->op == VM_OP_NONE) {
        STR_COPY(v->error, why);
        put_changed(a, v);
    } else {
        end(a, v, stops ? JOB_DONE : JOB_FAILED, stops ? 0 : ERR_FAILED, stops ? "" : why);
    }
}

static bool is_fenced(const struct apply *a, const char *name)
{
    const struct vm_node *n = vm_nodes_find(a->nodes, name);
    return n && n->fenced;
}

static int report_started(const struct apply *a, struct vm *v, const struct vm_report *r)
{
    if (v->op != VM_OP_START || !str_eq(r->node, v->node))
        return late(a, r);
    v->state = VM_RUNNING;
    forget_version_before(a, v);
    owe(v, VM_OWED_NOTHING);
    STR_COPY(v->boot_id, r->boot_id);
    EVENT(a, EVENT_INFO, v, "VM %s started on %s%s", v->name, v->node, reason_text(v->reason));
    return end(a, v, JOB_DONE, 0, "");
}

static int report_stopped(const struct apply *a, struct vm *v, const struct vm_report *r)
{
    if (v->op != VM_OP_STOP)
        return late(a, r);
    bool saved = v->save && r->code == 0;
    v->state = VM_STOPPED;
    if (v->reason == VM_REASON_DRAIN)
        owe(v, saved ? VM_OWED_RESTORE : VM_OWED_START);
    EVENT(a, v->save && !saved ? EVENT_WARNING : EVENT_INFO, v, "VM %s %s on %s%s%s", v->name,
          saved ? "was saved" : "stopped", v->node, reason_text(v->reason),
          v->save && !saved ? ", and could not be saved" : "");
    return end(a, v, JOB_DONE, 0, "");
}

static int report_moved(const struct apply *a, struct vm *v, const struct vm_report *r)
{
    if (v->op != VM_OP_MIGRATE || !str_eq(r->node, v->target))
        return late(a, r);
    EVENT(a, EVENT_INFO, v, "VM %s moved from %s to %s%s", v->name, v->node, r->node, reason_text(v->reason));
    STR_COPY(v->node, r->node);
    STR_COPY(v->boot_id, r->boot_id);
    if (v->reason == VM_REASON_ADMIN)
        STR_COPY(v->home, r->node);
    v->epoch++;
    return end(a, v, JOB_DONE, 0, ""); /* to a node that is fenced: it is fenced anew */
}

/* As was wished: nothing is wrong with the VM. */
static int report_cancelled(const struct apply *a, struct vm *v)
{
    EVENT(a, EVENT_INFO, v, "VM %s stays on %s: its move to %s was cancelled", v->name, v->node, v->target);
    return end(a, v, JOB_CANCELLED, 0, "");
}

static int report_failed(const struct apply *a, struct vm *v, const struct vm_report *r)
{
    if (v->cancel && !v->left)
        return report_cancelled(a, v);
    const char *what = v->op == VM_OP_START ? "start" : v->op == VM_OP_STOP ? "stop" : "move";
    const char *why = r->error[0] ? r->error : "unknown reason";
    if (v->op == VM_OP_START) {
        v->state = VM_STOPPED; /* it stays wanted: the next boot of its node tries once more */
        if (r->boot_id[0])
            STR_COPY(v->boot_id, r->boot_id);
    }
    if (v->op == VM_OP_STOP) {
        v->wanted = true; /* it runs on */
        owe(v, VM_OWED_NOTHING);
    }
    EVENT(a, EVENT_ERROR, v, "VM %s did not %s on %s: %s", v->name, what, v->node, why);
    if (v->op == VM_OP_MIGRATE && v->left && is_fenced(a, v->node)) {
        lose(a, v, v->node);
        return 0;
    }
    return end(a, v, JOB_FAILED, r->code ? r->code : ERR_FAILED, why);
}

static int report_claim(const struct apply *a, struct vm *v, const struct vm_report *r)
{
    if (!str_eq(r->node, v->node) || r->claim == 0 || r->epoch != v->epoch)
        return late(a, r);
    if (vm_is_held(a->nodes, v, r->boot_id))
        return error_set(a->error, ERR_AGAIN, "VM %s is being backed up on %s", v->name, v->node);
    if (v->claim && v->op == VM_OP_START && v->owed == VM_OWED_RESTORE) {
        owe(v, VM_OWED_START); /* an earlier agent may have started it from there */
        EVENT(a, EVENT_WARNING, v, "VM %s is started anew on %s: what was saved of it may have been used", v->name,
              v->node);
    }
    v->claim = r->claim;
    put(a, v);
    return 0;
}

static int report_left(const struct apply *a, struct vm *v, const struct vm_report *r)
{
    if (v->op != VM_OP_MIGRATE || !str_eq(r->node, v->node))
        return late(a, r);
    v->left = true;
    if (is_fenced(a, v->target))
        lose(a, v, v->target); /* it will not say how the move ended */
    else
        put(a, v);
    return 0;
}

static int64_t crash_backoff_ms(uint32_t crashes)
{
    int64_t ms = VM_CRASH_BACKOFF_MS;
    for (uint32_t i = 1; i < crashes && ms < VM_CRASH_BACKOFF_MAX_MS; i++)
        ms *= 2;
    return ms < VM_CRASH_BACKOFF_MAX_MS ? ms : VM_CRASH_BACKOFF_MAX_MS;
}

bool vm_is_due(const struct vm *v, int64_t wall_ms)
{
    int64_t left_ms = v->due_ms - wall_ms;
    return left_ms <= 0 || left_ms > crash_backoff_ms(v->crashes);
}

/* Its QEMU ended, which no guest does: it is started again, later each time, and at last no more. */
static void crashed(const struct apply *a, struct vm *v)
{
    if (v->crashes == 0 || a->e->time_ms - v->crash_ms >= VM_CRASH_WINDOW_MS) {
        v->crashes = 0;
        v->crash_ms = a->e->time_ms;
    }
    v->crashes++;
    v->state = VM_STOPPED;
    if (v->crashes > a->nodes->settings.crash_restarts) {
        v->crash_loop = true;
        v->wanted = false;
        snprintf(v->error, sizeof(v->error), "it crashed %u times within an hour, and is left off", v->crashes);
        EVENT(a, EVENT_ERROR, v, "VM %s crashed on %s for the %u. time within an hour: it is left off", v->name,
              v->node, v->crashes);
        return;
    }
    int64_t wait_ms = crash_backoff_ms(v->crashes);
    owe(v, VM_OWED_START);
    v->due_ms = a->e->time_ms + wait_ms;
    EVENT(a, EVENT_ERROR, v, "VM %s crashed on %s: it is started again in %" PRId64 " s", v->name, v->node,
          wait_ms / 1000);
}

/* Reports of what happened without an op. */
static int report_seen(const struct apply *a, struct vm *v, const struct vm_report *r)
{
    if (r->kind == VM_REPORT_ASTRAY) {
        if (!str_eq(r->node, v->node) && v->op == VM_OP_NONE)
            EVENT(a, EVENT_ERROR, v, "VM %s runs on %s as well, but belongs to %s: look at it by hand", v->name,
                  r->node, v->node);
        return 0;
    }
    if (v->op != VM_OP_NONE || r->epoch != v->epoch || !str_eq(r->node, v->node))
        return late(a, r);
    v->managed_save = r->managed_save;
    v->memory_snapshot = r->memory_snapshot;
    if (r->kind == VM_REPORT_SAVED) {
        put(a, v);
        return 0;
    }
    if (r->kind == VM_REPORT_STOPPED && v->state == VM_RUNNING) {
        v->state = VM_STOPPED;
        v->wanted = false;
        EVENT(a, EVENT_WARNING, v, "VM %s went off by itself on %s", v->name, v->node);
    } else if (r->kind == VM_REPORT_CRASHED && v->state == VM_RUNNING) {
        crashed(a, v);
    } else if (r->kind == VM_REPORT_FENCED && v->state == VM_RUNNING) {
        v->state = VM_STOPPED;
        v->wanted = true;
        v->epoch++;
        v->boot_id[0] = '\0';
        EVENT(a, EVENT_WARNING, v, "VM %s was stopped by %s, which was cut off from the cluster", v->name, v->node);
    } else if (r->kind == VM_REPORT_STARTED && v->state == VM_STOPPED) {
        v->state = VM_RUNNING;
        forget_version_before(a, v);
        v->wanted = true;
        owe(v, VM_OWED_NOTHING);
        v->epoch++;
        v->error[0] = '\0';
        STR_COPY(v->boot_id, r->boot_id);
        EVENT(a, EVENT_WARNING, v, "VM %s was found running on %s: somebody started it there", v->name, v->node);
    } else {
        return late(a, r);
    }
    put_changed(a, v);
    return 0;
}

static int apply_report(const struct apply *a)
{
    struct vm_report r;
    struct vm v;
    if (vm_entry_report_decode(a->e->payload, &r))
        return malformed(a);
    int err = find_vm(a, r.name, &v);
    if (err)
        return err;
    if (uuid_is_nil(&r.op_id))
        return report_seen(a, &v, &r);
    if (v.op == VM_OP_NONE || !uuid_eq(&v.op_id, &r.op_id))
        return late(a, &r);
    switch (r.kind) {
    case VM_REPORT_STARTED: return report_started(a, &v, &r);
    case VM_REPORT_STOPPED: return report_stopped(a, &v, &r);
    case VM_REPORT_MOVED: return report_moved(a, &v, &r);
    case VM_REPORT_FAILED: return report_failed(a, &v, &r);
    case VM_REPORT_CLAIM: return report_claim(a, &v, &r);
    case VM_REPORT_LEFT: return report_left(a, &v, &r);
    case VM_REPORT_ASTRAY:
    case VM_REPORT_FENCED:
    case VM_REPORT_CRASHED:
    case VM_REPORT_SAVED: break;
    }
    return malformed(a);
}

/* ---- a node that was fenced */

/* Is it of that node's making alone whether the VM runs? After LEFT it is the target's. */
static bool is_on(const struct vm *v, const char *node)
{
    bool is_targets = v->op == VM_OP_MIGRATE && v->left;
    bool is_tried = v->wanted && v->boot_id[0] && v->owed == VM_OWED_NOTHING;
    bool may_run = v->state == VM_RUNNING || v->op != VM_OP_NONE || is_tried;
    return may_run && str_eq(is_targets ? v->target : v->node, node);
}

bool vm_needs_fence(const struct tables *t, const char *node)
{
    struct vm v = {0};
    for (const char *after = NULL; vm_next(t, after, &v); after = v.name)
        if (is_on(&v, node))
            return true;
    return false;
}

/* True: it is to be started anew. */
static bool lose_on(const struct apply *a, struct vm *v, const char *node)
{
    if (v->op == VM_OP_MIGRATE && !v->left && !is_fenced(a, v->target)) {
        v->left = true; /* it may have arrived by then: only the target knows */
        put(a, v);
        return false;
    }
    lose(a, v, node);
    return vm_is_lost(v);
}

uint32_t vm_node_lost(struct tables *t, const struct vm_nodes *nodes, const char *node, int64_t time_ms)
{
    uint32_t n = 0;
    const struct entry e = {.time_ms = time_ms};
    const struct apply a = {.t = t, .nodes = nodes, .e = &e};
    struct vm v = {0};
    for (const char *after = NULL; vm_next(t, after, &v); after = v.name) {
        struct vm lost = v;
        if (is_on(&v, node))
            n += lose_on(&a, &lost, node);
    }
    return n;
}

void vm_restored(struct tables *t, int64_t time_ms)
{
    static const char why[] = "the database was put back to before this";
    const struct entry e = {.time_ms = time_ms};
    const struct apply a = {.t = t, .e = &e};
    struct vm v = {0};
    for (const char *after = NULL; vm_next(t, after, &v); after = v.name) {
        struct vm off = v;
        off.state = VM_STOPPED;
        off.wanted = false;
        off.epoch++;
        if (v.op == VM_OP_NONE)
            put_changed(&a, &off);
        else
            end(&a, &off, JOB_FAILED, ERR_FAILED, why);
    }
}

void vm_apply(struct tables *t, const struct vm_nodes *nodes, const struct entry *e, struct apply_result *ret)
{
    struct error error = {0};
    const struct apply a = {.t = t, .nodes = nodes, .e = e, .error = &error};
    switch (e->kind) {
    case ENTRY_VM_ADD: apply_add(&a); break;
    case ENTRY_VM_REMOVE: apply_remove(&a); break;
    case ENTRY_VM_OP: apply_op(&a); break;
    case ENTRY_VM_REPORT: apply_report(&a); break;
    case ENTRY_VM_SET: apply_set(&a); break;
    case ENTRY_VM_CANCEL: apply_cancel(&a); break;
    case ENTRY_VM_VERSION: apply_version(&a); break;
    case ENTRY_VM_ROLLBACK: apply_rollback(&a); break;
    default: error_set(&error, ERR_UNKNOWN_KIND, "entry kind %u is not one of VMs", e->kind); break;
    }
    ret->error = error;
}
