/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Leader: the VMs of fenced nodes start elsewhere. A VM is to be started when its row says STOPPED, wanted and of no
 * boot, and its owner is away: an owner that is back starts it itself. One proposal at a time, for the next placement
 * counts the memory that this one takes; highest priority first, then by name. */
#include <stdio.h>

#include "vm/vm.h"

struct stuck {
    char name[VM_NAME_MAX];
    char why[ERROR_TEXT_MAX];
};

struct vm_failover {
    struct stuck *stuck;
    size_t n;
    char told[VM_NAME_MAX]; /* the last that was proposed, at that epoch */
    uint64_t told_epoch;
};

struct vm_failover *vm_failover_new(void)
{
    return xcalloc(1, sizeof(struct vm_failover));
}

void vm_failover_free(struct vm_failover *f)
{
    if (f)
        free(f->stuck);
    free(f);
}

static struct stuck *find_stuck(struct vm_failover *f, const char *name)
{
    for (size_t i = 0; i < f->n; i++)
        if (str_eq(f->stuck[i].name, name))
            return &f->stuck[i];
    return NULL;
}

static void note_stuck(struct vm_failover *f, const struct vm *v, const struct error *why, const struct vm_env *env)
{
    struct stuck *s = find_stuck(f, v->name);
    if (s && str_eq(s->why, why->text))
        return;
    if (!s) {
        f->stuck = xrealloc(f->stuck, f->n + 1, sizeof(f->stuck[0]));
        s = &f->stuck[f->n++];
        STR_COPY(s->name, v->name);
    }
    STR_COPY(s->why, why->text);
    log_warn(env->log, "VM %s is lost with %s, but %s -> it waits", v->name, v->node, why->text);
}

bool vm_is_lost(const struct vm *v)
{
    return v->state == VM_STOPPED && v->wanted && v->op == VM_OP_NONE && !v->boot_id[0] && !v->owed;
}

static bool is_orphan(const struct vm *v, const struct vm_nodes *nodes)
{
    const struct vm_node *owner = vm_nodes_find(nodes, v->node);
    return vm_is_lost(v) && owner && !owner->present && owner->fenced;
}

static int compare_lost(const void *a, const void *b)
{
    const struct vm *x = a, *y = b;
    if (x->priority != y->priority)
        return x->priority > y->priority ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* The caller frees. */
static struct vm *lost_vms(const struct tables *t, const struct vm_nodes *nodes, size_t *ret_n)
{
    struct vm *list = NULL, v = {0};
    size_t n = 0, cap = 0;
    for (const char *after = NULL; vm_next(t, after, &v); after = v.name) {
        if (!is_orphan(&v, nodes))
            continue;
        if (n == cap)
            list = xrealloc(list, cap = cap ? 2 * cap : 16, sizeof(list[0]));
        list[n++] = v;
    }
    if (n > 1)
        qsort(list, n, sizeof(list[0]), compare_lost);
    *ret_n = n;
    return list;
}

static void propose_start(struct vm_failover *f, const struct vm *v, const char *node, const struct vm_env *env)
{
    struct vm_op_request r = {.op = VM_OP_START, .reason = VM_REASON_FAILOVER, .epoch = v->epoch};
    struct buf payload = {0};
    STR_COPY(r.name, v->name);
    STR_COPY(r.node, node);
    vm_entry_op(&r, &payload);
    if (!str_eq(f->told, v->name) || f->told_epoch != v->epoch)
        log_notice(env->log, "VM %s is lost with %s -> start it on %s", v->name, v->node, node);
    STR_COPY(f->told, v->name);
    f->told_epoch = v->epoch;
    env->propose(env->ctx, ENTRY_VM_OP, &payload, "vm-failover");
}

static int place(const struct tables *t, const struct vm_nodes *nodes, const struct vm *v, char ret[NODE_NAME_MAX],
                 struct error *e)
{
    if (v->has_local_disk)
        return error_set(e, ERR_CONDITION, "VM %s has a disk on %s alone: it can start only there", v->name, v->node);
    return vm_place(t, nodes, v, v->node, ret, e);
}

void vm_failover_step(struct vm_failover *f, const struct tables *t, const struct vm_nodes *nodes,
                      const struct vm_env *env)
{
    size_t n;
    AUTO(freep) struct vm *lost = lost_vms(t, nodes, &n);
    if (n == 0)
        f->n = 0;
    for (size_t i = 0; i < n; i++) {
        char node[NODE_NAME_MAX];
        struct error why = {0};
        if (place(t, nodes, &lost[i], node, &why)) {
            note_stuck(f, &lost[i], &why, env);
            continue;
        }
        propose_start(f, &lost[i], node, env);
        return;
    }
}
