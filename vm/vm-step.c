/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Leader: empties draining nodes, brings VMs home to nodes that ask for failback, and starts those that are owed a
 * start. Everything is derived from the tables at every step; what is remembered here are failures, so that a VM that
 * does not move is not tried without end, and it may be lost with the leader.
 *
 *   to act on ──propose──> proposed ──op seen──> under way ──row as wished──> forgotten
 *      ^                     │ not seen in time     │ row as before: failed
 *      │                     v                      v
 *      ├─ VM_MOVE_RETRY_MS ─ failures < VM_MOVE_ATTEMPTS_MAX
 *      ├─ at once ────────── else, and its policy has another way: that one from now on
 *      └─ VM_MOVE_BLOCKED_MS, counted from 0 again ─ else blocked: vm_leader_blocked() says why
 *
 * A VM that is to leave a draining node moves while it runs, if it can. One that cannot (a device of its host, a disk
 * on it alone, a machine type that no other node has, attempts that failed) goes by its policy:
 *
 *   policy            running                              then off, and owed
 *   fail, skip-node   blocked                              -
 *   shutdown-restart  STOP, once another node can take it  START there; with a local disk: on its own, when that takes
 *                     or its disk is local                 VMs again
 *   save              STOP by saving, to vm.save_path      START from there, likewise; also when no node has room
 *
 * A VM that crashed is owed a start likewise, once its time has come.
 *
 * A VM without a way is blocked at once and looked at again every VM_MOVE_RETRY_MS, and no other VM of its draining
 * node moves until it has one: a drain that cannot end does not begin. Order: what is off and owed a start, then
 * draining, then failback; then priority (higher first), then name. Limit: settings.moves_max operations of these, and
 * migrations, in the cluster, and moves_per_node that leave or come to one node; one proposal at a time. */
#include <inttypes.h>
#include <stdio.h>

#include "vm/vm.h"

enum move_state { MOVE_NONE = 0, MOVE_PROPOSED, MOVE_MOVING };
enum way { WAY_NONE = 0, WAY_MIGRATE, WAY_STOP, WAY_SAVE, WAY_START };

struct move {
    char name[VM_NAME_MAX];
    char from[NODE_NAME_MAX], home[NODE_NAME_MAX];
    enum move_state state;
    enum vm_reason reason;
    int failures;
    bool by_policy;             /* moving it failed too often: as if it could not */
    enum way way, tried;        /* as planned in this step; as proposed last */
    char target[NODE_NAME_MAX]; /* MIGRATE, START */
    int64_t next_ms;            /* PROPOSED: when it counts as refused; else: when to try again */
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
    if (m && str_eq(m->from, v->node) && str_eq(m->home, v->home) && m->reason == reason)
        return m;
    if (!m) {
        l->moves = xrealloc(l->moves, l->n + 1, sizeof(l->moves[0]));
        m = &l->moves[l->n++];
    }
    *m = (struct move){.reason = reason};
    STR_COPY(m->name, v->name);
    STR_COPY(m->from, v->node);
    STR_COPY(m->home, v->home);
    return m;
}

void vm_leader_retry(struct vm_leader *l, const char *node)
{
    for (size_t i = 0; i < l->n; i++) {
        struct move *m = &l->moves[i];
        if (str_eq(m->from, node) && m->state == MOVE_NONE) {
            m->failures = 0;
            m->by_policy = false;
            m->next_ms = 0;
            m->blocked = (struct error){0};
        }
    }
}

static struct error blocked_of(const struct vm_leader *l, const char *node, enum vm_reason reason)
{
    for (size_t i = 0; i < l->n; i++) {
        const struct move *m = &l->moves[i];
        const char *of = reason == VM_REASON_FAILBACK ? m->home : m->from;
        if (m->reason == reason && m->blocked.code && str_eq(of, node))
            return m->blocked;
    }
    return (struct error){0};
}

struct error vm_leader_blocked(const struct vm_leader *l, const char *node)
{
    return blocked_of(l, node, VM_REASON_DRAIN);
}

struct error vm_leader_not_home(const struct vm_leader *l, const char *node)
{
    return blocked_of(l, node, VM_REASON_FAILBACK);
}

bool vm_leader_owes(const struct vm_leader *l, const char *node)
{
    for (size_t i = 0; i < l->n; i++) {
        const struct move *m = &l->moves[i];
        if (m->reason == VM_REASON_RETURN && !m->blocked.code && str_eq(m->from, node))
            return true;
    }
    return false;
}

/* ---- what is wanted */

static bool takes_vms(const struct vm_node *n)
{
    return n && n->present && n->accepts && !n->draining && !n->quarantined;
}

/* Does the leader want this VM elsewhere, or running? The reason, or 0. */
static enum vm_reason wants_move(const struct vm *v, const struct vm_nodes *nodes, int64_t wall_ms)
{
    const struct vm_node *owner = vm_nodes_find(nodes, v->node), *home = vm_nodes_find(nodes, v->home);
    if (v->state == VM_STOPPED)
        return !v->owed || !v->wanted || !vm_is_due(v, wall_ms) ? 0 : v->due_ms ? VM_REASON_CRASH : VM_REASON_RETURN;
    if (v->op == VM_OP_NONE && vm_is_held(nodes, v, v->boot_id))
        return 0; /* moved when its backup has ended */
    if (owner && owner->draining)
        return VM_REASON_DRAIN;
    bool is_bound = v->has_host_device || v->has_local_disk; /* it does not come home while it runs */
    if (takes_vms(home) && home->failback && !str_eq(v->node, v->home) && !is_bound)
        return VM_REASON_FAILBACK;
    return 0;
}

static int rank_of(enum vm_reason r)
{
    return r == VM_REASON_RETURN || r == VM_REASON_CRASH ? 0 : r == VM_REASON_DRAIN ? 1 : 2;
}

static int compare_wanted(const void *a, const void *b)
{
    const struct vm *x = a, *y = b;
    if (x->reason != y->reason) /* wanted_vms() put the wanted move's reason here */
        return rank_of(x->reason) < rank_of(y->reason) ? -1 : 1;
    if (x->priority != y->priority)
        return x->priority > y->priority ? -1 : 1;
    return strcmp(x->name, y->name);
}

static bool is_counted(const struct vm *v)
{
    bool is_ours = v->op != VM_OP_NONE && (v->reason == VM_REASON_DRAIN || v->reason == VM_REASON_RETURN);
    return v->op == VM_OP_MIGRATE || is_ours;
}

/* Operations under way. */
struct busy {
    uint32_t all;
    uint32_t *of_node; /* owned */
};

static void busy_done(struct busy *b)
{
    free(b->of_node);
}

static void count_busy(struct busy *b, const struct vm_nodes *nodes, const struct vm *v)
{
    const struct vm_node *from = vm_nodes_find(nodes, v->node), *to = vm_nodes_find(nodes, v->target);
    b->all++;
    if (from)
        b->of_node[from - nodes->nodes]++;
    if (to)
        b->of_node[to - nodes->nodes]++;
}

static bool may_begin(const struct busy *b, const struct vm_nodes *nodes, const char *node)
{
    const struct vm_node *n = vm_nodes_find(nodes, node);
    return !n || b->of_node[n - nodes->nodes] < nodes->settings.moves_per_node;
}

/* The VMs that are to move, in order, and what is under way. The caller frees. */
static struct vm *wanted_vms(const struct tables *t, const struct vm_nodes *nodes, int64_t wall_ms, size_t *ret_n,
                             struct busy *busy)
{
    struct vm *list = NULL, v = {0};
    size_t n = 0, cap = 0;
    for (const char *after = NULL; vm_next(t, after, &v); after = v.name) {
        if (is_counted(&v))
            count_busy(busy, nodes, &v);
        enum vm_reason reason = wants_move(&v, nodes, wall_ms);
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

/* ---- following */

static bool has_other_way(const struct vm *v)
{
    return v->policy == VM_POLICY_SHUTDOWN_RESTART || v->policy == VM_POLICY_SAVE;
}

static void failed(struct move *m, const struct vm *v, int64_t now_ms, const char *why, const struct vm_env *env)
{
    m->state = MOVE_NONE;
    m->failures++;
    if (m->failures < VM_MOVE_ATTEMPTS_MAX) {
        m->next_ms = now_ms + VM_MOVE_RETRY_MS;
        log_warn(env->log, "VM %s did not move off %s: %s -> attempt %d of %d in %d s", m->name, m->from, why,
                 m->failures + 1, VM_MOVE_ATTEMPTS_MAX, VM_MOVE_RETRY_MS / 1000);
        return;
    }
    if (m->reason == VM_REASON_DRAIN && has_other_way(v) && m->tried == WAY_MIGRATE) {
        m->by_policy = true;
        m->failures = 0;
        log_warn(env->log, "VM %s did not move off %s in %d attempts: %s -> %s it", m->name, m->from,
                 VM_MOVE_ATTEMPTS_MAX, why, v->policy == VM_POLICY_SAVE ? "save" : "shut down and restart");
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
        if (m->state == MOVE_PROPOSED || v->op == VM_OP_MIGRATE)
            m->state = MOVE_MOVING;
        return true;
    }
    if (m->state == MOVE_MOVING)
        failed(m, v, now_ms, v->error[0] ? v->error : "it was cancelled", env);
    else if (m->state == MOVE_PROPOSED && now_ms >= m->next_ms)
        failed(m, v, now_ms, "the request was not accepted", env);
    else if (m->state == MOVE_PROPOSED)
        return true;
    return now_ms < m->next_ms;
}

/* ---- the way of each */

/* One VM in the plan of a step. */
struct case_of {
    const struct vm *v;
    struct move *m;
    enum way way;
    bool needs_place; /* else it waits for its own node */
    struct error why; /* NONE */
    const struct vm_node *target;
};

static void no_way(struct case_of *c, const struct error *why)
{
    c->way = WAY_NONE;
    c->why = *why;
}

static void save_or_not(struct case_of *c, const struct vm_nodes *nodes)
{
    struct error why = {0};
    if (c->v->has_host_device) {
        error_set(&why, ERR_CONDITION, "VM %s uses a device of its host %s and can be neither moved nor saved",
                  c->v->name, c->v->node);
        error_set_remedy(&why, "clusterctl vm set %s --policy shutdown-restart", c->v->name);
    } else if (!nodes->settings.save_path[0]) {
        error_set(&why, ERR_CONDITION, "VM %s cannot be moved, and there is no shared folder to save it to",
                  c->v->name);
        error_set_remedy(&why, "clusterctl cluster config set vm.save_path FOLDER");
    } else {
        c->way = WAY_SAVE;
        c->needs_place = false; /* it may come back home */
        return;
    }
    no_way(c, &why);
}

static void by_policy(struct case_of *c, const struct vm_nodes *nodes, const struct error *why)
{
    struct error named = *why;
    switch (c->v->policy) {
    case VM_POLICY_SHUTDOWN_RESTART:
        c->way = WAY_STOP;
        c->needs_place = !c->v->has_local_disk;
        return;
    case VM_POLICY_SAVE: save_or_not(c, nodes); return;
    case VM_POLICY_FAIL:
    case VM_POLICY_SKIP_NODE: break;
    }
    if (!named.remedy[0])
        error_set_remedy(&named, "clusterctl vm set %s --policy shutdown-restart", c->v->name);
    no_way(c, &named);
}

enum vm_drain vm_drain_of(const struct vm *v, const struct vm_nodes *nodes, struct error *e)
{
    struct case_of c = {.v = v};
    struct error why = {0};
    if (vm_can_move_off(v, nodes, &why) == 0)
        return VM_DRAIN_MOVES;
    by_policy(&c, nodes, &why);
    if (e)
        *e = c.way == WAY_NONE ? c.why : why;
    if (v->policy == VM_POLICY_SKIP_NODE)
        return VM_DRAIN_SKIPS;
    return c.way == WAY_STOP ? VM_DRAIN_STOPS : c.way == WAY_SAVE ? VM_DRAIN_SAVES : VM_DRAIN_BLOCKED;
}

bool vm_drain_needs_place(const struct vm *v, enum vm_drain drain)
{
    return drain == VM_DRAIN_MOVES || (drain == VM_DRAIN_STOPS && !v->has_local_disk);
}

bool vm_drain_may_save(const struct vm *v, const struct vm_nodes *nodes)
{
    struct case_of c = {.v = v};
    if (v->policy == VM_POLICY_SAVE)
        save_or_not(&c, nodes);
    return c.way == WAY_SAVE;
}

static int check_owner(const struct vm_nodes *nodes, const struct vm *v, struct error *e)
{
    const struct vm_node *owner = vm_nodes_find(nodes, v->node);
    if (owner && owner->present)
        return 0;
    error_set(e, ERR_CONDITION, "%s is not in the cluster now: VM %s cannot be moved off it", v->node, v->name);
    error_set_remedy(e, "clusterctl node show %s", v->node);
    return ERR_CONDITION;
}

static void classify_running(struct case_of *c, const struct vm_nodes *nodes)
{
    struct error why = {0};
    c->way = WAY_MIGRATE;
    c->needs_place = true;
    if (check_owner(nodes, c->v, &why))
        no_way(c, &why);
    else if (vm_can_move_off(c->v, nodes, &why))
        by_policy(c, nodes, &why);
    else if (c->m->by_policy)
        by_policy(c, nodes, &why);
}

/* It is off, and owed a start: at once where it is, if that node takes VMs again. */
static void classify_off(struct case_of *c, const struct vm_nodes *nodes)
{
    const struct vm_node *owner = vm_nodes_find(nodes, c->v->node);
    struct error why = {0};
    c->way = WAY_START;
    bool is_back = owner && owner->present && owner->accepts && !owner->draining;
    if (takes_vms(owner) || (is_back && c->v->has_local_disk)) {
        c->target = owner;
    } else if (c->v->has_local_disk) {
        error_set(&why, ERR_CONDITION, "VM %s has a disk on %s alone: it starts when %s takes virtual machines again",
                  c->v->name, c->v->node, c->v->node);
        error_set_remedy(&why, "clusterctl node resume %s", c->v->node);
        no_way(c, &why);
    } else {
        c->needs_place = true;
    }
}

/* A running VM for which there is no room elsewhere may still be saved until its node is back. */
static void take_placing(struct case_of *c, const struct vm_placing *q, const struct vm_nodes *nodes)
{
    c->target = q->target;
    if (q->target)
        return;
    if (c->way == WAY_MIGRATE && c->v->policy == VM_POLICY_SAVE)
        save_or_not(c, nodes);
    else
        no_way(c, &q->why);
}

static void place_cases(const struct tables *t, const struct vm_nodes *nodes, struct case_of *list, size_t n)
{
    AUTO(freep) struct vm_placing *q = xcalloc(n + 1, sizeof(q[0]));
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        if (list[i].way && list[i].needs_place)
            q[k++] =
                (struct vm_placing){.v = list[i].v, .not_on = list[i].v->node, .is_cold = list[i].way != WAY_MIGRATE};
    vm_place_all(t, nodes, q, k);
    k = 0;
    for (size_t i = 0; i < n; i++)
        if (list[i].way && list[i].needs_place)
            take_placing(&list[i], &q[k++], nodes);
}

static bool has_blocked(const struct case_of *list, size_t n, const char *node)
{
    for (size_t i = 0; i < n; i++)
        if (list[i].m->reason == VM_REASON_DRAIN && !list[i].way && str_eq(list[i].v->node, node))
            return true;
    return false;
}

static void block(struct move *m, const struct vm *v, const struct error *why, const struct vm_env *env)
{
    const char *what = m->reason == VM_REASON_RETURN  ? "is off for a drain of"
                       : m->reason == VM_REASON_CRASH ? "crashed on"
                                                      : "is to move off";
    if (!str_eq(why->text, m->blocked.text))
        log_warn(env->log, "VM %s %s %s, but %s -> it waits", v->name, what, v->node, why->text);
    m->blocked = *why;
}

/* Takes those out that have no way, and those of a draining node that has such a one: they keep what they have. True:
 * there were some, so that the others have more room. */
static bool take_out_blocked(struct case_of *list, size_t *n, const struct vm_env *env)
{
    size_t kept = 0, had = *n;
    AUTO(freep) struct case_of *all = xmemdup(list, had * sizeof(list[0]));
    for (size_t i = 0; i < had; i++) {
        const struct case_of *c = &all[i];
        if (c->why.code)
            block(c->m, c->v, &c->why, env);
        bool is_held = c->m->reason == VM_REASON_DRAIN && has_blocked(all, had, c->v->node);
        if (c->way && !is_held)
            list[kept++] = *c;
    }
    *n = kept;
    return kept < had;
}

/* Every VM that is still to leave a draining node, or off for one, is given its way and its place before the next one
 * of them is acted on. */
static void plan_drains(struct vm_leader *l, const struct tables *t, const struct vm_nodes *nodes,
                        const struct vm *wanted, size_t n_wanted, const struct vm_env *env)
{
    AUTO(freep) struct case_of *list = xcalloc(n_wanted + 1, sizeof(list[0]));
    size_t n = 0;
    for (size_t i = 0; i < n_wanted; i++) {
        struct move *m = find_move(l, wanted[i].name);
        m->way = WAY_NONE;
        if (wanted[i].op != VM_OP_NONE || m->reason == VM_REASON_FAILBACK)
            continue;
        list[n] = (struct case_of){.v = &wanted[i], .m = m};
        if (m->reason == VM_REASON_DRAIN)
            classify_running(&list[n++], nodes);
        else
            classify_off(&list[n++], nodes);
    }
    do
        place_cases(t, nodes, list, n);
    while (take_out_blocked(list, &n, env));
    for (size_t i = 0; i < n; i++) {
        list[i].m->way = list[i].way;
        STR_COPY(list[i].m->target, list[i].target ? list[i].target->name : "");
    }
}

static void plan_failback(const struct tables *t, const struct vm_nodes *nodes, const struct vm *v, struct move *m,
                          const struct vm_env *env)
{
    const struct vm_nodes home = {.nodes = vm_nodes_find(nodes, v->home), .n = 1, .settings = nodes->settings};
    struct error why = {0};
    m->way = WAY_MIGRATE;
    if (!check_owner(nodes, v, &why) && !vm_place(t, &home, v, NULL, m->target, &why))
        return;
    m->way = WAY_NONE;
    block(m, v, &why, env);
}

/* ---- acting */

static void propose(const struct vm *v, const struct move *m, const struct vm_nodes *nodes, const struct vm_env *env)
{
    static const enum vm_op ops[] = {
        [WAY_MIGRATE] = VM_OP_MIGRATE, [WAY_STOP] = VM_OP_STOP, [WAY_SAVE] = VM_OP_STOP, [WAY_START] = VM_OP_START};
    struct vm_op_request r = {.op = ops[m->way], .reason = m->reason, .epoch = v->epoch};
    struct buf payload = {0};
    char key[VM_NAME_MAX + 16];
    STR_COPY(r.name, v->name);
    STR_COPY(r.node, m->target);
    if (m->way == WAY_SAVE) /* the epoch is of this run of the VM alone */
        snprintf(r.save_to, sizeof(r.save_to), "%.128s/%s-%" PRIu64 ".save", nodes->settings.save_path, v->name,
                 v->epoch);
    vm_entry_op(&r, &payload);
    snprintf(key, sizeof(key), "vm-move/%s", v->name);
    env->propose(env->ctx, ENTRY_VM_OP, &payload, key);
}

static void log_way(const struct vm *v, const struct move *m, const struct vm_env *env)
{
    if (m->way == WAY_START)
        log_notice(env->log, "VM %s %s -> %s it on %s", v->name,
                   m->reason == VM_REASON_CRASH ? "crashed" : "is off for a drain",
                   v->owed == VM_OWED_RESTORE ? "restore" : "start", m->target);
    else if (m->way != WAY_MIGRATE)
        log_notice(env->log, "VM %s runs on %s, which drains, and cannot move -> %s", v->name, v->node,
                   m->way == WAY_SAVE ? "save it" : "shut it down");
    else
        log_notice(env->log, "VM %s runs on %s, %s -> move to %s", v->name, v->node,
                   m->reason == VM_REASON_DRAIN ? "which drains" : "its home is back", m->target);
}

/* True: something was proposed. */
static bool try_move(const struct tables *t, const struct vm_nodes *nodes, const struct vm *v, struct move *m,
                     const struct busy *busy, int64_t now_ms, const struct vm_env *env)
{
    int64_t next_ms = m->next_ms;
    m->next_ms = now_ms + VM_MOVE_RETRY_MS;
    if (m->reason == VM_REASON_FAILBACK)
        plan_failback(t, nodes, v, m, env);
    if (m->way == WAY_NONE)
        return false;
    bool leaves = m->way != WAY_START, comes = m->way == WAY_MIGRATE || m->way == WAY_START;
    if ((leaves && !may_begin(busy, nodes, v->node)) || (comes && !may_begin(busy, nodes, m->target))) {
        m->next_ms = next_ms;
        return false;
    }
    if (m->failures >= VM_MOVE_ATTEMPTS_MAX)
        m->failures = 0;
    m->blocked = (struct error){0};
    m->state = MOVE_PROPOSED;
    m->tried = m->way;
    log_way(v, m, env);
    propose(v, m, nodes, env);
    return true;
}

void vm_leader_step(struct vm_leader *l, const struct tables *t, const struct vm_nodes *nodes, int64_t now_ms,
                    const struct vm_env *env)
{
    size_t n, n_ready = 0;
    AUTO(busy_done) struct busy busy = {.of_node = xcalloc(nodes->n + 1, sizeof(uint32_t))};
    bool proposed = false;
    AUTO(freep) struct vm *wanted = wanted_vms(t, nodes, env->wall_ms, &n, &busy);
    AUTO(freep) size_t *ready = xcalloc(n + 1, sizeof(ready[0]));
    forget_others(l, wanted, n);
    for (size_t i = 0; i < n; i++)
        need_move(l, &wanted[i], wanted[i].reason); /* all before the first is pointed to */
    for (size_t i = 0; i < n; i++) {
        struct move *m = find_move(l, wanted[i].name);
        if (!follow(m, &wanted[i], now_ms, env))
            ready[n_ready++] = i;
        proposed = proposed || m->state == MOVE_PROPOSED;
    }
    bool may = !proposed && busy.all < nodes->settings.moves_max;
    if (n_ready && may)
        plan_drains(l, t, nodes, wanted, n, env);
    /* One proposal at a time: the next placement counts the memory that this one takes. */
    for (size_t i = 0; i < n_ready && may && !proposed; i++)
        proposed = try_move(t, nodes, &wanted[ready[i]], find_move(l, wanted[ready[i]].name), &busy, now_ms, env);
}
