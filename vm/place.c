/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Placement: which node takes a VM. Memory is counted as promised to VMs, not as in use: of those that run on a node,
 * are being started there or are on their way to it. */
#include <inttypes.h>
#include <stdio.h>

#include "vm/vm.h"

/* Is word one of the space separated words of list? */
static bool has_word(const char *list, const char *word)
{
    size_t len = strlen(word);
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, " ");
        if (n == len && memcmp(p, word, n) == 0)
            return true;
        p += n;
        p += strspn(p, " ");
    }
    return false;
}

static int check_machine(const struct vm *v, const struct vm_node *target, struct error *e)
{
    if (!target->machines)
        return error_set(e, ERR_CONDITION, "%s has not reported its machine types yet", target->name);
    if (!has_word(target->machines, v->machine))
        return error_set(e, ERR_CONDITION, "VM %s: QEMU on %s has no machine type %s", v->name, target->name,
                         v->machine);
    return 0;
}

int vm_can_migrate(const struct vm *v, const struct vm_node *target, struct error *e)
{
    if (v->has_host_device) {
        error_set(e, ERR_CONDITION, "VM %s uses a device of its host %s and cannot be moved while it runs", v->name,
                  v->node);
        error_set_remedy(e, "clusterctl vm stop %s", v->name);
        return ERR_CONDITION;
    }
    if (v->has_local_disk) {
        error_set(e, ERR_CONDITION, "VM %s has a disk on %s alone and cannot be moved", v->name, v->node);
        error_set_remedy(e, "move the disk to storage that all nodes share");
        return ERR_CONDITION;
    }
    return check_machine(v, target, e);
}

/* Memory promised on a node to VMs other than v. */
static uint64_t promised_kib(const struct tables *t, const char *node, const char *except)
{
    uint64_t sum = 0;
    struct vm v = {0};
    for (const char *after = NULL; vm_next(t, after, &v); after = v.name) {
        bool here = str_eq(v.node, node) && (v.state == VM_RUNNING || v.op == VM_OP_START);
        bool coming = v.op == VM_OP_MIGRATE && str_eq(v.target, node);
        if ((here || coming) && !str_eq(v.name, except))
            sum += v.memory_kib;
    }
    return sum;
}

/* 0 and the memory that is free, or ERR_CONDITION with a few words why this node will not do. */
static int check_node(const struct tables *t, const struct vm_node *node, const struct vm *v, uint64_t *ret_free_kib,
                      struct error *e)
{
    if (!node->present)
        return error_set(e, ERR_CONDITION, "not in the cluster now");
    if (node->draining)
        return error_set(e, ERR_CONDITION, "draining");
    if (!node->accepts)
        return error_set(e, ERR_CONDITION, "not active");
    int err = v->state == VM_RUNNING ? vm_can_migrate(v, node, e) : check_machine(v, node, e);
    if (err)
        return err;
    uint64_t promised = promised_kib(t, node->name, v->name);
    uint64_t unpromised = promised < node->memory_kib ? node->memory_kib - promised : 0;
    if (unpromised < v->memory_kib)
        return error_set(e, ERR_CONDITION, "%" PRIu64 " MiB free, %" PRIu64 " needed", unpromised / 1024,
                         v->memory_kib / 1024);
    *ret_free_kib = unpromised;
    return 0;
}

int vm_place(const struct tables *t, const struct vm_nodes *nodes, const struct vm *v, const char *not_on,
             char ret_node[NODE_NAME_MAX], struct error *e)
{
    const struct vm_node *best = NULL;
    uint64_t best_kib = 0;
    AUTO(buf_done) struct buf why = {0};
    for (size_t i = 0; i < nodes->n; i++) {
        const struct vm_node *node = &nodes->nodes[i];
        if (not_on && str_eq(node->name, not_on))
            continue;
        uint64_t kib = 0;
        struct error refusal = {0};
        if (check_node(t, node, v, &kib, &refusal))
            buf_printf(&why, "%s%s: %s", why.len ? "; " : "", node->name, refusal.text);
        else if (!best || kib > best_kib) { /* nodes come by name: the first of equals stays */
            best = node;
            best_kib = kib;
        }
    }
    if (best) {
        str_copy(ret_node, NODE_NAME_MAX, best->name);
        return 0;
    }
    error_set(e, ERR_CONDITION, "no node can take VM %s: %.*s", v->name, why.len ? (int)why.len : 22,
              why.len ? (const char *)why.p : "there is no other node");
    error_set_remedy(e, "clusterctl node list");
    return ERR_CONDITION;
}
