/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Payloads (little endian, common/wire.h):
 *   VM_ADD     str name, uuid, str machine, u64 memory_kib, u32 vcpus, u32 disks, u8 has_host_device,
 *              u8 has_local_disk, u8 has_data_store, str xml, str node
 *   VM_REMOVE  str name
 *   VM_OP      str name, u8 op, u8 reason, str node, str boot_id, u64 epoch, u8 hard, i64 timeout_ms,
 *              str save_to
 *   VM_REPORT  str name, u8 kind, uuid op_id, u64 epoch, str node, str boot_id, u64 claim, u32 code, str error,
 *              u8 managed_save, u8 memory_snapshot
 *   VM_SET     str name, u8 fields (1 priority, 2 policy, 4 home, 8 preferred, 16 group, 32 postcopy), u32 priority,
 *              u8 policy, str home, str preferred, str group, u8 postcopy
 *   VM_CANCEL  str name, uuid op_id
 *   VM_VERSION str name, str from, str machine, str xml
 *   VM_ROLLBACK str name */
#include "vm/vm-entry.h"

enum { SET_PRIORITY = 1, SET_POLICY = 2, SET_HOME = 4, SET_PREFERRED = 8, SET_GROUP = 16, SET_POSTCOPY = 32 };

void vm_entry_add(const struct vm_facts *f, const char *node, struct buf *b)
{
    wire_put_str(b, f->name);
    wire_put_uuid(b, &f->uuid);
    wire_put_str(b, f->machine);
    wire_put_u64(b, f->memory_kib);
    wire_put_u32(b, f->vcpus);
    wire_put_u32(b, f->disks);
    wire_put_u8(b, f->has_host_device);
    wire_put_u8(b, f->has_local_disk);
    wire_put_u8(b, f->has_data_store);
    wire_put_str(b, f->xml);
    wire_put_str(b, node);
}

int vm_entry_add_decode(struct slice payload, struct vm_facts *facts, char ret_node[NODE_NAME_MAX])
{
    struct wire_reader r = wire_reader(payload);
    struct vm_facts f = {0};
    char node[NODE_NAME_MAX];
    WIRE_GET_STR(&r, f.name);
    f.uuid = wire_get_uuid(&r);
    WIRE_GET_STR(&r, f.machine);
    f.memory_kib = wire_get_u64(&r);
    f.vcpus = wire_get_u32(&r);
    f.disks = wire_get_u32(&r);
    f.has_host_device = wire_get_u8(&r) != 0;
    f.has_local_disk = wire_get_u8(&r) != 0;
    f.has_data_store = wire_get_u8(&r) != 0;
    f.xml = wire_get_strdup(&r);
    WIRE_GET_STR(&r, node);
    if (wire_end(&r)) {
        free(f.xml);
        return ERR_MALFORMED;
    }
    *facts = f;
    str_copy(ret_node, NODE_NAME_MAX, node);
    return 0;
}

void vm_entry_remove(const char *name, struct buf *b)
{
    wire_put_str(b, name);
}

int vm_entry_remove_decode(struct slice payload, char ret_name[VM_NAME_MAX])
{
    struct wire_reader r = wire_reader(payload);
    char name[VM_NAME_MAX];
    WIRE_GET_STR(&r, name);
    if (wire_end(&r))
        return ERR_MALFORMED;
    str_copy(ret_name, VM_NAME_MAX, name);
    return 0;
}

void vm_entry_op(const struct vm_op_request *r, struct buf *b)
{
    wire_put_str(b, r->name);
    wire_put_u8(b, (uint8_t)r->op);
    wire_put_u8(b, (uint8_t)r->reason);
    wire_put_str(b, r->node);
    wire_put_str(b, r->boot_id);
    wire_put_u64(b, r->epoch);
    wire_put_u8(b, r->hard);
    wire_put_i64(b, r->timeout_ms);
    wire_put_str(b, r->save_to);
}

int vm_entry_op_decode(struct slice payload, struct vm_op_request *ret)
{
    struct wire_reader r = wire_reader(payload);
    struct vm_op_request q = {0};
    WIRE_GET_STR(&r, q.name);
    q.op = (enum vm_op)wire_get_u8(&r);
    q.reason = (enum vm_reason)wire_get_u8(&r);
    WIRE_GET_STR(&r, q.node);
    WIRE_GET_STR(&r, q.boot_id);
    q.epoch = wire_get_u64(&r);
    q.hard = wire_get_u8(&r) != 0;
    q.timeout_ms = wire_get_i64(&r);
    WIRE_GET_STR(&r, q.save_to);
    bool known = q.op >= VM_OP_START && q.op <= VM_OP_MIGRATE && q.reason >= VM_REASON_ADMIN &&
                 q.reason < VM_REASON_RECOVERY && q.timeout_ms >= 0;
    if (wire_end(&r) || !known)
        return ERR_MALFORMED;
    *ret = q;
    return 0;
}

void vm_entry_report(const struct vm_report *r, struct buf *b)
{
    wire_put_str(b, r->name);
    wire_put_u8(b, (uint8_t)r->kind);
    wire_put_uuid(b, &r->op_id);
    wire_put_u64(b, r->epoch);
    wire_put_str(b, r->node);
    wire_put_str(b, r->boot_id);
    wire_put_u64(b, r->claim);
    wire_put_u32(b, (uint32_t)r->code);
    wire_put_str(b, r->error);
    wire_put_u8(b, r->managed_save);
    wire_put_u8(b, r->memory_snapshot);
}

int vm_entry_report_decode(struct slice payload, struct vm_report *ret)
{
    struct wire_reader r = wire_reader(payload);
    struct vm_report q = {0};
    WIRE_GET_STR(&r, q.name);
    q.kind = (enum vm_report_kind)wire_get_u8(&r);
    q.op_id = wire_get_uuid(&r);
    q.epoch = wire_get_u64(&r);
    WIRE_GET_STR(&r, q.node);
    WIRE_GET_STR(&r, q.boot_id);
    q.claim = wire_get_u64(&r);
    q.code = (int32_t)wire_get_u32(&r);
    WIRE_GET_STR(&r, q.error);
    q.managed_save = wire_get_u8(&r) != 0;
    q.memory_snapshot = wire_get_u8(&r) != 0;
    if (wire_end(&r) || q.kind < VM_REPORT_STARTED || q.kind > VM_REPORT_SAVED)
        return ERR_MALFORMED;
    *ret = q;
    return 0;
}

void vm_entry_set(const struct vm_set_request *r, struct buf *b)
{
    unsigned fields = (r->set_priority ? SET_PRIORITY : 0u) | (r->set_policy ? SET_POLICY : 0u) |
                      (r->set_home ? SET_HOME : 0u) | (r->set_preferred ? SET_PREFERRED : 0u) |
                      (r->set_group ? SET_GROUP : 0u) | (r->set_postcopy ? SET_POSTCOPY : 0u);
    wire_put_str(b, r->name);
    wire_put_u8(b, (uint8_t)fields);
    wire_put_u32(b, (uint32_t)r->priority);
    wire_put_u8(b, (uint8_t)r->policy);
    wire_put_str(b, r->home);
    wire_put_str(b, r->preferred);
    wire_put_str(b, r->group);
    wire_put_u8(b, r->postcopy);
}

int vm_entry_set_decode(struct slice payload, struct vm_set_request *ret)
{
    struct wire_reader r = wire_reader(payload);
    struct vm_set_request q = {0};
    WIRE_GET_STR(&r, q.name);
    unsigned fields = wire_get_u8(&r);
    q.set_priority = fields & SET_PRIORITY;
    q.set_policy = fields & SET_POLICY;
    q.set_home = fields & SET_HOME;
    q.set_preferred = fields & SET_PREFERRED;
    q.set_group = fields & SET_GROUP;
    q.set_postcopy = fields & SET_POSTCOPY;
    q.priority = (int32_t)wire_get_u32(&r);
    q.policy = (enum vm_policy)wire_get_u8(&r);
    WIRE_GET_STR(&r, q.home);
    WIRE_GET_STR(&r, q.preferred);
    WIRE_GET_STR(&r, q.group);
    q.postcopy = wire_get_u8(&r) != 0;
    if (wire_end(&r))
        return ERR_MALFORMED;
    *ret = q;
    return 0;
}

void vm_entry_cancel(const char *name, const struct uuid *op_id, struct buf *b)
{
    wire_put_str(b, name);
    wire_put_uuid(b, op_id);
}

int vm_entry_cancel_decode(struct slice payload, char ret_name[VM_NAME_MAX], struct uuid *ret_op_id)
{
    struct wire_reader r = wire_reader(payload);
    char name[VM_NAME_MAX];
    WIRE_GET_STR(&r, name);
    struct uuid op_id = wire_get_uuid(&r);
    if (wire_end(&r))
        return ERR_MALFORMED;
    str_copy(ret_name, VM_NAME_MAX, name);
    *ret_op_id = op_id;
    return 0;
}

void vm_entry_version(const struct vm_version_request *r, struct buf *b)
{
    wire_put_str(b, r->name);
    wire_put_str(b, r->from);
    wire_put_str(b, r->machine);
    wire_put_str(b, r->xml);
}

int vm_entry_version_decode(struct slice payload, struct vm_version_request *ret)
{
    struct wire_reader r = wire_reader(payload);
    struct vm_version_request q = {0};
    WIRE_GET_STR(&r, q.name);
    WIRE_GET_STR(&r, q.from);
    WIRE_GET_STR(&r, q.machine);
    q.xml = wire_get_strdup(&r);
    if (wire_end(&r)) {
        free(q.xml);
        return ERR_MALFORMED;
    }
    *ret = q;
    return 0;
}

void vm_entry_rollback(const char *name, struct buf *b)
{
    wire_put_str(b, name);
}

int vm_entry_rollback_decode(struct slice payload, char ret_name[VM_NAME_MAX])
{
    return vm_entry_remove_decode(payload, ret_name); /* a name alone, too */
}
