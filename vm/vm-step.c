/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Leader: moves VMs off draining nodes, and home to nodes that ask for failback. Everything is derived from the tables
 * at every step; what is remembered here are failures, so that a VM that does not move is not tried without end, and it
 * may be lost with the leader.
 *
 *   to move ──propose──> proposed ──op seen──> moving ──row elsewhere──> forgotten
 *      ^                     │ not seen in time   │ row still here: failed
 *      │                     v                    v
 *      ├─ VM_MOVE_RETRY_MS ─ failures < VM_MOVE_ATTEMPTS_MAX
 *      └─ VM_MOVE_BLOCKED_MS, counted from 0 again ─ blocked: vm_leader_blocked() says why
 *
 * A VM without a place to go is blocked at once and looked at again every VM_MOVE_RETRY_MS. Order: draining before
 * failback, then priority (higher first), then name. Limit: VM_MOVES_MAX migrations in the cluster, one proposal at a
 * time. */
#include <stdio.h>

#include "vm/vm.h"

enum move_state { MOVE_NONE = 0, MOVE_PROPOSED, MOVE_MOVING };

struct move {
    char name[VM_NAME_MAX];
    char from[NODE_NAME_MAX];
    enum move_state state;
    enum vm_reason reason;
    int failures;
    int64_t next_ms; /* PROPOSED: when it counts as refused; else: when to try again */
    struct error blocked;
};

struct vm_leader {
    struct move *moves;
    size_t n;
};

struct vm_leader *vm_leader_new(void)
{
    return xcalloc(1, sizeof(struct vm_leader));
}

void vm_leader_free(struct vm_leader *l)
{
    if (l)
        free(l->moves);
    free(l);
}

static struct move *find_move(struct vm_leader *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++) {
        if (str_eq(l->moves[i].name, name))
            return &l->moves[i];
    }
    return NULL;
}

static struct move *need_move(struct vm_leader *l, const struct vm *v, enum vm_reason reason)
{
    struct move *m = find_move(l, v->name);
    if (m && str_eq(m->from, v->node) && m->reason == reason)
        return m;
    if (!m) {
        l->moves = xrealloc(l->moves, l->n + 1, sizeof(l->moves[0]));
        m = &l->moves[l->n++];
    }
    *m = (struct move){.reason = reason};
    STR_COPY(m->name, v->name);
    STR_COPY(m->from, v->node);
    return m;
}

void vm_leader_retry(struct vm_leader *l, const char *node)
{
    for (size_t i = 0; i < l->n; i++) {
        struct move *m = &l->moves[i];
        if (str_eq(m->from, node) && m->state == MOVE_NONE) {
            m->failures = 0;
            m->next_ms = 0;
            m->blocked = (struct error){0};
        }
    }
}

struct error vm_leader_blocked(const struct vm_leader *l, const char *node)
{
    for (size_t i = 0; i < l->n; i++) {
        const struct move *m = &l->moves[i];
        if (m->reason == VM_REASON_DRAIN && m->blocked.code && str_eq(m->from, node))
            return m->blocked;
    }
    return (struct error){0};
}

/* Does the leader want this VM elsewhere? The reason, or 0. */
static enum vm_reason wants_move(const struct vm *v, const struct vm_nodes *nodes)
{
    const struct vm_node *owner = vm_nodes_find(nodes, v->node), *home = vm_nodes_find(nodes, v->home);
    if (v->state != VM_RUNNING)
        return 0;
    if (owner && owner->draining)
        return VM_REASON_DRAIN;
    if (home && home->failback && !home->draining && home->accepts && home->present && !str_eq(v->node, v->home))
        return VM_REASON_FAILBACK;
    return 0;
}

static void failed(struct move *m, int64_t now_ms, const char *why, const struct vm_env *env)
{
    m->state = MOVE_NONE;
    m->failures++;
    if (m->failures < VM_MOVE_ATTEMPTS_MAX) {
        m->next_ms = now_ms + VM_MOVE_RETRY_MS;
        log_warn(env->log, "VM %s did not move off %s: %s -> attempt %d of %d in %d s", m->name, m->from, why,
                 m->failures + 1, VM_MOVE_ATTEMPTS_MAX, VM_MOVE_RETRY_MS / 1000);
        return;
    }
    m->next_ms = now_ms + VM_MOVE_BLOCKED_MS;
    error_set(&m->blocked, ERR_CONDITION, "VM %s did not move off %s in %d attempts: %s", m->name, m->from,
              VM_MOVE_ATTEMPTS_MAX, why);
    error_set_remedy(&m->blocked, "clusterctl vm show %s", m->name);
    log_error(env->log, "VM %s did not move off %s: %s -> %d attempts failed, the next in %d s", m->name, m->from, why,
              VM_MOVE_ATTEMPTS_MAX, VM_MOVE_BLOCKED_MS / 1000);
}

/* Follows a move by what the row says now. True: nothing more to do with this VM in this step. */
static bool follow(struct move *m, const struct vm *v, int64_t now_ms, const struct vm_env *env)
{
    if (v->op != VM_OP_NONE) {
        if (v->op == VM_OP_MIGRATE)
            m->state = MOVE_MOVING;
        return true;
    }
    if (m->state == MOVE_MOVING)
        failed(m, now_ms, v->error[0] ? v->error : "it was cancelled", env);
    else if (m->state == MOVE_PROPOSED && now_ms >= m->next_ms)
        failed(m, now_ms, "the request was not accepted", env);
    else if (m->state == MOVE_PROPOSED)
        return true;
    return now_ms < m->next_ms;
}

static int choose_target(const struct tables *t, const struct vm_nodes *nodes, const struct vm *v, const struct move *m,
                         char ret_target[NODE_NAME_MAX], struct error *e)
{
    const struct vm_node *owner = vm_nodes_find(nodes, v->node);
    if (!owner || !owner->present) {
        error_set(e, ERR_CONDITION, "%s is not in the cluster now: VM %s cannot be moved off it", v->node, v->name);
        error_set_remedy(e, "clusterctl node show %s", v->node);
        return ERR_CONDITION;
    }
    if (m->reason == VM_REASON_DRAIN)
        return vm_place(t, nodes, v, v->node, ret_target, e);
    const struct vm_nodes home = {.nodes = vm_nodes_find(nodes, v->home), .n = 1};
    return vm_place(t, &home, v, NULL, ret_target, e);
}

static void propose_move(const struct vm *v, enum vm_reason reason, const char *target, const struct vm_env *env)
{
    struct vm_op_request r = {.op = VM_OP_MIGRATE, .reason = reason, .epoch = v->epoch};
    STR_COPY(r.name, v->name);
    STR_COPY(r.node, target);
    struct buf payload = {0};
    vm_entry_op(&r, &payload);
    char key[VM_NAME_MAX + 16];
    snprintf(key, sizeof(key), "vm-move/%s", v->name);
    env->propose(env->ctx, ENTRY_VM_OP, &payload, key);
}

/* True: a move was proposed. */
static bool try_move(const struct tables *t, const struct vm_nodes *nodes, const struct vm *v, struct move *m,
                     int64_t now_ms, const struct vm_env *env)
{
    char target[NODE_NAME_MAX];
    struct error why = {0};
    m->next_ms = now_ms + VM_MOVE_RETRY_MS;
    if (choose_target(t, nodes, v, m, target, &why)) {
        if (!str_eq(why.text, m->blocked.text))
            log_warn(env->log, "VM %s is to move off %s, but %s -> it waits", v->name, v->node, why.text);
        m->blocked = why;
        return false;
    }
    if (m->failures >= VM_MOVE_ATTEMPTS_MAX)
        m->failures = 0;
    m->blocked = (struct error){0};
    m->state = MOVE_PROPOSED;
    log_notice(env->log, "VM %s runs on %s, %s -> move to %s", v->name, v->node,
               m->reason == VM_REASON_DRAIN ? "which drains" : "its home is back", target);
    propose_move(v, m->reason, target, env);
    return true;
}

static int compare_wanted(const void *a, const void *b)
{
    const struct vm *x = a, *y = b;
    if (x->reason != y->reason) /* wanted_vms() put the wanted move's reason here; DRAIN < FAILBACK */
        return x->reason < y->reason ? -1 : 1;
    if (x->priority != y->priority)
        return x->priority > y->priority ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* The VMs that are to move, in order, and how many migrations are under way. The caller frees. */
static struct vm *wanted_vms(const struct tables *t, const struct vm_nodes *nodes, size_t *ret_n, int *ret_under_way)
{
    struct vm *list = NULL, v = {0};
    size_t n = 0, cap = 0;
    int under_way = 0;
    for (const char *after = NULL; vm_next(t, after, &v); after = v.name) {
        under_way += v.op == VM_OP_MIGRATE;
        enum vm_reason reason = wants_move(&v, nodes);
        if (!reason)
            continue;
        if (n == cap)
            list = xrealloc(list, cap = cap ? 2 * cap : 16, sizeof(list[0]));
        list[n] = v;
        list[n++].reason = reason;
    }
    if (n > 1)
        qsort(list, n, sizeof(list[0]), compare_wanted);
    *ret_n = n;
    *ret_under_way = under_way;
    return list;
}

static void forget_others(struct vm_leader *l, const struct vm *wanted, size_t n_wanted)
{
    size_t kept = 0;
    for (size_t i = 0; i < l->n; i++) {
        bool keep = false;
        for (size_t k = 0; k < n_wanted && !keep; k++)
            keep = str_eq(wanted[k].name, l->moves[i].name);
        if (keep)
            l->moves[kept++] = l->moves[i];
    }
    l->n = kept;
}

void vm_leader_step(struct vm_leader *l, const struct tables *t, const struct vm_nodes *nodes, int64_t now_ms,
                    const struct vm_env *env)
{
    size_t n;
    int busy;
    AUTO(freep) struct vm *wanted = wanted_vms(t, nodes, &n, &busy);
    forget_others(l, wanted, n);
    size_t n_ready = 0;
    bool proposed = false;
    for (size_t i = 0; i < n; i++) {
        struct move *m = need_move(l, &wanted[i], wanted[i].reason);
        if (!follow(m, &wanted[i], now_ms, env))
            wanted[n_ready++] = wanted[i];
        proposed = proposed || m->state == MOVE_PROPOSED;
    }
    /* One proposal at a time: the next placement counts the memory that this one takes. */
    for (size_t i = 0; i < n_ready && !proposed && busy < VM_MOVES_MAX; i++)
        proposed = try_move(t, nodes, &wanted[i], find_move(l, wanted[i].name), now_ms, env);
}
