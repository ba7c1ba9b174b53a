/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rows of TABLE_VM, in this order (little endian, common/wire.h):
 *   str name, uuid uuid, str node, str home, u8 state, u8 wanted, u8 op, uuid op_id, u8 reason, u64 claim, str target,
 *   u8 left, u8 hard, i64 op_timeout_ms, str boot_id, u64 epoch, str machine, str machine_before, u64 memory_kib,
 *   u32 vcpus, u32 priority (two's complement), u8 policy, u8 has_host_device, u8 has_local_disk, u8 managed_save,
 *   u8 memory_snapshot, i64 changed_ms, str error, u8 cancel, str preferred, str group, u8 postcopy, u8 save, u8 owed,
 *   str saved_to, i64 due_ms, u32 crashes, i64 crash_ms, u8 crash_loop
 * A newer release may add fields at the end. Rows of TABLE_VM_XML are the XML's bytes; "NAME/before": that of
 * machine_before. */
#include "vm/vm.h"

#include <assert.h>

void vm_encode(const struct vm *v, struct buf *b)
{
    wire_put_str(b, v->name);
    wire_put_uuid(b, &v->uuid);
    wire_put_str(b, v->node);
    wire_put_str(b, v->home);
    wire_put_u8(b, (uint8_t)v->state);
    wire_put_u8(b, v->wanted);
    wire_put_u8(b, (uint8_t)v->op);
    wire_put_uuid(b, &v->op_id);
    wire_put_u8(b, (uint8_t)v->reason);
    wire_put_u64(b, v->claim);
    wire_put_str(b, v->target);
    wire_put_u8(b, v->left);
    wire_put_u8(b, v->hard);
    wire_put_i64(b, v->op_timeout_ms);
    wire_put_str(b, v->boot_id);
    wire_put_u64(b, v->epoch);
    wire_put_str(b, v->machine);
    wire_put_str(b, v->machine_before);
    wire_put_u64(b, v->memory_kib);
    wire_put_u32(b, v->vcpus);
    wire_put_u32(b, (uint32_t)v->priority);
    wire_put_u8(b, (uint8_t)v->policy);
    wire_put_u8(b, v->has_host_device);
    wire_put_u8(b, v->has_local_disk);
    wire_put_u8(b, v->managed_save);
    wire_put_u8(b, v->memory_snapshot);
    wire_put_i64(b, v->changed_ms);
    wire_put_str(b, v->error);
    wire_put_u8(b, v->cancel);
    wire_put_str(b, v->preferred);
    wire_put_str(b, v->group);
    wire_put_u8(b, v->postcopy);
    wire_put_u8(b, v->save);
    wire_put_u8(b, (uint8_t)v->owed);
    wire_put_str(b, v->saved_to);
    wire_put_i64(b, v->due_ms);
    wire_put_u32(b, v->crashes);
    wire_put_i64(b, v->crash_ms);
    wire_put_u8(b, v->crash_loop);
}

bool vm_name_ok(const char *name)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    return name[0] && name[0] != '.' && name[0] != '-' && name[strspn(name, allowed)] == '\0';
}

static bool vm_is_valid(const struct vm *v)
{
    return v->name[0] && (v->state == VM_STOPPED || v->state == VM_RUNNING) && v->op <= VM_OP_MIGRATE &&
           v->owed <= VM_OWED_RESTORE && (v->owed == VM_OWED_NOTHING || v->state == VM_STOPPED) &&
           (v->op == VM_OP_NONE) == uuid_is_nil(&v->op_id);
}

int vm_decode(struct slice value, struct vm *ret)
{
    struct wire_reader r = wire_reader(value);
    *ret = (struct vm){0};
    WIRE_GET_STR(&r, ret->name);
    ret->uuid = wire_get_uuid(&r);
    WIRE_GET_STR(&r, ret->node);
    WIRE_GET_STR(&r, ret->home);
    ret->state = (enum vm_state)wire_get_u8(&r);
    ret->wanted = wire_get_u8(&r) != 0;
    ret->op = (enum vm_op)wire_get_u8(&r);
    ret->op_id = wire_get_uuid(&r);
    ret->reason = (enum vm_reason)wire_get_u8(&r);
    ret->claim = wire_get_u64(&r);
    WIRE_GET_STR(&r, ret->target);
    ret->left = wire_get_u8(&r) != 0;
    ret->hard = wire_get_u8(&r) != 0;
    ret->op_timeout_ms = wire_get_i64(&r);
    WIRE_GET_STR(&r, ret->boot_id);
    ret->epoch = wire_get_u64(&r);
    WIRE_GET_STR(&r, ret->machine);
    WIRE_GET_STR(&r, ret->machine_before);
    ret->memory_kib = wire_get_u64(&r);
    ret->vcpus = wire_get_u32(&r);
    ret->priority = (int32_t)wire_get_u32(&r);
    ret->policy = (enum vm_policy)wire_get_u8(&r);
    ret->has_host_device = wire_get_u8(&r) != 0;
    ret->has_local_disk = wire_get_u8(&r) != 0;
    ret->managed_save = wire_get_u8(&r) != 0;
    ret->memory_snapshot = wire_get_u8(&r) != 0;
    ret->changed_ms = wire_get_i64(&r);
    WIRE_GET_STR(&r, ret->error);
    ret->cancel = wire_get_u8(&r) != 0;
    WIRE_GET_STR(&r, ret->preferred);
    WIRE_GET_STR(&r, ret->group);
    ret->postcopy = wire_get_u8(&r) != 0;
    ret->save = wire_get_u8(&r) != 0;
    ret->owed = (enum vm_owed)wire_get_u8(&r);
    WIRE_GET_STR(&r, ret->saved_to);
    ret->due_ms = wire_get_i64(&r);
    ret->crashes = wire_get_u32(&r);
    ret->crash_ms = wire_get_i64(&r);
    ret->crash_loop = wire_get_u8(&r) != 0;
    if (wire_err(&r) || !vm_is_valid(ret))
        return ERR_MALFORMED;
    return 0;
}

int vm_get(const struct tables *t, const char *name, struct vm *ret)
{
    struct slice value;
    if (tables_get(t, TABLE_VM, name, &value))
        return ERR_NO_OBJECT;
    int err = vm_decode(value, ret);
    assert(!err); /* only vm_apply writes rows */
    return err;
}

bool vm_next(const struct tables *t, const char *after, struct vm *ret)
{
    struct table_row row;
    if (!tables_next(t, TABLE_VM, after, &row))
        return false;
    int err = vm_decode(row.value, ret);
    assert(!err);
    return !err;
}

const char *vm_state_name(const struct vm *v)
{
    switch (v->op) {
    case VM_OP_START: return "starting";
    case VM_OP_STOP: return "stopping";
    case VM_OP_MIGRATE: return "migrating";
    case VM_OP_NONE: break;
    }
    if (v->state == VM_RUNNING)
        return "running";
    return v->error[0] ? "failed" : "stopped";
}

const char *vm_policy_name(enum vm_policy p)
{
    switch (p) {
    case VM_POLICY_FAIL: return "fail";
    case VM_POLICY_SHUTDOWN_RESTART: return "shutdown-restart";
    case VM_POLICY_SAVE: return "save";
    case VM_POLICY_SKIP_NODE: return "skip-node";
    }
    return "unknown";
}

int vm_policy_parse(const char *s, enum vm_policy *ret)
{
    for (enum vm_policy p = VM_POLICY_FAIL; p <= VM_POLICY_SKIP_NODE; p++) {
        if (str_eq(s, vm_policy_name(p))) {
            *ret = p;
            return 0;
        }
    }
    return ERR_USAGE;
}

static const char *text_or_null(const char *s)
{
    return s[0] ? s : NULL;
}

struct json *vm_json(const struct vm *v)
{
    struct json *o = json_object_new();
    json_set_str(o, "name", v->name);
    json_set_str(o, "uuid", uuid_str(&v->uuid).s);
    json_set_str(o, "node", v->node);
    json_set_str(o, "home", v->home);
    json_set_str(o, "state", vm_state_name(v));
    json_set_bool(o, "wanted", v->wanted);
    json_set_str(o, "target", v->op == VM_OP_MIGRATE ? v->target : NULL);
    json_set_bool(o, "cancelling", v->cancel);
    json_set_str(o, "job", v->op == VM_OP_NONE ? NULL : uuid_str(&v->op_id).s);
    json_set_str(o, "machine", v->machine);
    json_set_str(o, "machine_before", text_or_null(v->machine_before));
    json_set_int(o, "memory_mib", (int64_t)(v->memory_kib / 1024));
    json_set_int(o, "vcpus", v->vcpus);
    json_set_int(o, "priority", v->priority);
    json_set_str(o, "policy", vm_policy_name(v->policy));
    json_set_str(o, "preferred", text_or_null(v->preferred));
    json_set_str(o, "group", text_or_null(v->group));
    json_set_bool(o, "postcopy", v->postcopy);
    json_set_bool(o, "owed", v->owed != VM_OWED_NOTHING && v->wanted);
    json_set_int(o, "crashes", v->crashes);
    json_set_bool(o, "crash_loop", v->crash_loop);
    json_set(o, "due", v->owed && v->due_ms ? json_time_new(v->due_ms) : json_null_new());
    json_set_str(o, "saved_to", v->owed == VM_OWED_RESTORE ? v->saved_to : NULL);
    json_set_bool(o, "host_device", v->has_host_device);
    json_set_bool(o, "local_disk", v->has_local_disk);
    json_set_bool(o, "managed_save", v->managed_save);
    json_set_bool(o, "memory_snapshot", v->memory_snapshot);
    json_set_int(o, "epoch", (int64_t)v->epoch);
    json_set(o, "changed", json_time_new(v->changed_ms));
    json_set_str(o, "error", text_or_null(v->error));
    return o;
}

bool vm_is_held(const struct vm_nodes *n, const struct vm *v, const char *boot_id)
{
    return n->is_held && n->is_held(n->held_ctx, v->name, boot_id);
}

const struct vm_node *vm_nodes_find(const struct vm_nodes *n, const char *name)
{
    size_t low = 0, high = n->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(n->nodes[middle].name, name);
        if (order == 0)
            return &n->nodes[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static bool counts_as_running(const struct vm *v)
{
    return v->state == VM_RUNNING || v->op == VM_OP_START;
}

/* Elsewhere, or on its way there, though it could be at home. */
static bool is_away(const struct vm *v)
{
    bool could_move = v->state == VM_RUNNING && !v->has_host_device && !v->has_local_disk;
    bool is_leaving = v->op == VM_OP_MIGRATE && !str_eq(v->target, v->home); /* a drain's, given up meanwhile */
    return could_move && (!str_eq(v->node, v->home) || is_leaving);
}

size_t vm_count_on(const struct tables *t, const char *node, bool running_only)
{
    size_t n = 0;
    struct vm v = {0};
    for (const char *after = NULL; vm_next(t, after, &v); after = v.name)
        n += str_eq(v.node, node) && (!running_only || counts_as_running(&v));
    return n;
}

bool vm_is_home(const struct tables *t, const char *node)
{
    struct vm v = {0};
    for (const char *after = NULL; vm_next(t, after, &v); after = v.name)
        if (str_eq(v.home, node) && is_away(&v))
            return false;
    return true;
}

static void note_skip(struct vm_tally *ret, const struct vm *v, const struct vm_nodes *nodes)
{
    struct error e = {0};
    if (v->policy != VM_POLICY_SKIP_NODE || v->state != VM_RUNNING || ret->skip.code || !vm_can_move_off(v, nodes, &e))
        return;
    ret->skip = e;
}

uint32_t vm_tally(const struct tables *t, const struct vm_nodes *nodes, struct vm_tally *ret)
{
    uint32_t ops = 0;
    struct vm v = {0};
    memset(ret, 0, nodes->n * sizeof(*ret));
    for (const char *after = NULL; vm_next(t, after, &v); after = v.name) {
        const struct vm_node *owner = vm_nodes_find(nodes, v.node), *home = vm_nodes_find(nodes, v.home);
        ops += v.op != VM_OP_NONE;
        if (owner) {
            ret[owner - nodes->nodes].here++;
            ret[owner - nodes->nodes].running += counts_as_running(&v);
            note_skip(&ret[owner - nodes->nodes], &v, nodes);
        }
        if (home && !home->quarantined)
            ret[home - nodes->nodes].away += is_away(&v);
    }
    return ops;
}
