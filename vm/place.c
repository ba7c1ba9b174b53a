/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Placement: which nodes take VMs. Memory and CPUs are counted as promised to VMs, not as in use: of those that run on
 * a node, are being started there or are on their way to it. What makes one placement better than another is in
 * vm/plan.h; here is what a node has, and why one will not do. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "vm/place.h"
#include "vm/plan.h"

/* ---- settings */

static long number_of(const struct tables *t, const char *name, long otherwise)
{
    struct slice value;
    char text[24] = "";
    if (tables_get(t, TABLE_SETTING, name, &value) || value.len >= sizeof(text))
        return otherwise;
    memcpy(text, value.p, value.len);
    return strtol(text, NULL, 10); /* agent/settings.c let only numbers in */
}

static bool is_set_to(const struct tables *t, const char *name, const char *text)
{
    struct slice value;
    return !tables_get(t, TABLE_SETTING, name, &value) && value.len == strlen(text) &&
           memcmp(value.p, text, value.len) == 0;
}

struct vm_settings vm_settings_get(const struct tables *t)
{
    struct vm_settings s = {
        .cpu_ratio = (uint32_t)number_of(t, "vm.cpu_ratio", VM_CPU_RATIO),
        .reserve_kib = (uint64_t)number_of(t, "vm.memory_reserve_mib", VM_RESERVE_MIB) * 1024,
        .moves_max = (uint32_t)number_of(t, "vm.moves_max", VM_MOVES_MAX),
        .moves_per_node = (uint32_t)number_of(t, "vm.moves_per_node", VM_MOVES_PER_NODE),
        .downtime_max_ms = (uint32_t)number_of(t, "vm.migrate_downtime_ms", VM_DOWNTIME_MS),
        .bandwidth_mib = (uint32_t)number_of(t, "vm.migrate_bandwidth_mib", 0),
        .crash_restarts = (uint32_t)number_of(t, "vm.crash_restarts", VM_CRASH_RESTARTS),
        .save_sparse = is_set_to(t, "vm.save_format", "sparse"),
        .groups_required = is_set_to(t, "vm.groups", "required"),
    };
    struct slice path;
    if (!tables_get(t, TABLE_SETTING, "vm.save_path", &path) && path.len < sizeof(s.save_path))
        memcpy(s.save_path, path.p, path.len);
    return s;
}

/* ---- what a VM needs */

/* Is word one of the words of list? */
static bool has_word(const char *list, const char *word, char separator)
{
    size_t len = strlen(word);
    const char between[] = {separator, '\0'};
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, between);
        if (n == len && memcmp(p, word, n) == 0)
            return true;
        p += n;
        p += strspn(p, between);
    }
    return false;
}

static int check_machine(const struct vm *v, const struct vm_node *target, struct error *e)
{
    if (!target->machines)
        return error_set(e, ERR_CONDITION, "%s has not reported its machine types yet", target->name);
    if (!has_word(target->machines, v->machine, ' '))
        return error_set(e, ERR_CONDITION, "VM %s: QEMU on %s has no machine type %s", v->name, target->name,
                         v->machine);
    return 0;
}

static int check_bound_to_host(const struct vm *v, struct error *e)
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
    return 0;
}

int vm_can_migrate(const struct vm *v, const struct vm_node *target, struct error *e)
{
    int err = check_bound_to_host(v, e);
    return err ? err : check_machine(v, target, e);
}

int vm_can_move_off(const struct vm *v, const struct vm_nodes *nodes, struct error *e)
{
    error_set(e, ERR_CONDITION, "VM %s: there is no other node", v->name);
    for (size_t i = 0; i < nodes->n; i++)
        if (!str_eq(nodes->nodes[i].name, v->node) && vm_can_migrate(v, &nodes->nodes[i], e) == 0)
            return 0;
    return ERR_CONDITION;
}

/* Does that node take VMs at all? */
static int check_node(const struct vm_node *node, struct error *e)
{
    if (!node->present)
        return error_set(e, ERR_CONDITION, "not in the cluster now");
    if (node->draining)
        return error_set(e, ERR_CONDITION, "draining");
    if (!node->accepts)
        return error_set(e, ERR_CONDITION, "not active");
    if (node->quarantined)
        return error_set(e, ERR_CONDITION, "quarantined, as it failed too often");
    return 0;
}

/* Would it have to leave while it runs, and cannot? */
static int check_bound(const struct vm_placing *q, struct error *e)
{
    return q->v->state == VM_RUNNING && !q->is_cold ? check_bound_to_host(q->v, e) : 0;
}

/* May that node run it at all, however much room it has? */
static int check_fit(const struct vm_node *node, const struct vm_placing *q, struct error *e)
{
    int err = check_node(node, e);
    err = err ? err : check_bound(q, e);
    return err ? err : check_machine(q->v, node, e);
}

/* ---- what there is */

struct stock_vm {
    char name[VM_NAME_MAX];
    uint64_t memory_kib;
    uint32_t vcpus;
    size_t node, target; /* where its memory is promised; PLAN_NONE: nowhere, or to no node that there is */
    size_t group;        /* PLAN_NONE: none */
};
struct vm_stock {
    struct stock_vm *vms; /* by name */
    size_t n;
    char (*groups)[VM_GROUP_MAX]; /* in use */
    size_t n_groups, groups_cap;
    char (*machines)[VM_MACHINE_MAX]; /* likewise */
    size_t n_machines, machines_cap;
    bool *has; /* [machine * n_nodes + node] */
};

static size_t node_index(const struct vm_nodes *nodes, const char *name)
{
    const struct vm_node *n = vm_nodes_find(nodes, name);
    return n ? (size_t)(n - nodes->nodes) : PLAN_NONE;
}

static size_t find_text(const char *list, size_t n, size_t size, const char *text)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(list + i * size, text))
            return i;
    return PLAN_NONE;
}

static size_t stock_group(struct vm_stock *s, const char *group)
{
    size_t i = group[0] ? find_text((const char *)s->groups, s->n_groups, VM_GROUP_MAX, group) : PLAN_NONE;
    if (i != PLAN_NONE || !group[0])
        return i;
    if (s->n_groups == s->groups_cap)
        s->groups = xrealloc(s->groups, s->groups_cap = s->groups_cap ? 2 * s->groups_cap : 16, sizeof(s->groups[0]));
    STR_COPY(s->groups[s->n_groups], group);
    return s->n_groups++;
}

static void stock_machine(struct vm_stock *s, const char *machine)
{
    if (find_text((const char *)s->machines, s->n_machines, VM_MACHINE_MAX, machine) != PLAN_NONE)
        return;
    if (s->n_machines == s->machines_cap)
        s->machines =
            xrealloc(s->machines, s->machines_cap = s->machines_cap ? 2 * s->machines_cap : 8, sizeof(s->machines[0]));
    STR_COPY(s->machines[s->n_machines++], machine);
}

static struct stock_vm stock_vm_of(struct vm_stock *s, const struct vm *v, const struct vm_nodes *nodes)
{
    bool is_here = v->state == VM_RUNNING || v->op == VM_OP_START;
    struct stock_vm o = {.memory_kib = v->memory_kib, .vcpus = v->vcpus, .group = stock_group(s, v->group)};
    STR_COPY(o.name, v->name);
    o.node = is_here ? node_index(nodes, v->node) : PLAN_NONE;
    o.target = v->op == VM_OP_MIGRATE ? node_index(nodes, v->target) : PLAN_NONE;
    return o;
}

struct vm_stock *vm_stock_new(const struct tables *t, const struct vm_nodes *nodes)
{
    struct vm_stock *s = xcalloc(1, sizeof(*s));
    struct vm v = {0};
    s->vms = xcalloc(tables_count(t, TABLE_VM) + 1, sizeof(s->vms[0]));
    for (const char *after = NULL; vm_next(t, after, &v); after = v.name) {
        stock_machine(s, v.machine);
        s->vms[s->n++] = stock_vm_of(s, &v, nodes);
    }
    s->has = xcalloc(s->n_machines * nodes->n + 1, sizeof(s->has[0]));
    for (size_t m = 0; m < s->n_machines; m++)
        for (size_t i = 0; i < nodes->n; i++) {
            STR_COPY(v.machine, s->machines[m]);
            s->has[m * nodes->n + i] = check_machine(&v, &nodes->nodes[i], NULL) == 0;
        }
    return s;
}

void vm_stock_free(struct vm_stock *s)
{
    if (!s)
        return;
    free(s->vms);
    free(s->groups);
    free(s->machines);
    free(s->has);
    free(s);
}

static int by_name(const void *name, const void *vm)
{
    return strcmp(name, ((const struct stock_vm *)vm)->name);
}

/* ---- what the nodes have */

struct room {
    const struct vm_nodes *nodes;
    struct plan p;
    struct plan_node *plan_nodes;
    struct plan_vm *vms;
    uint8_t *fits;
    uint32_t *members;
    char (*groups)[VM_GROUP_MAX];
    bool *takes; /* of each node: it takes VMs at all */
};

static void room_done(struct room *r)
{
    free(r->plan_nodes);
    free(r->vms);
    free(r->fits);
    free(r->members);
    free(r->groups);
    free(r->takes);
}

static size_t group_index(const struct room *r, const char *group)
{
    return group[0] ? find_text((const char *)r->groups, r->p.n_groups, VM_GROUP_MAX, group) : PLAN_NONE;
}

static void promise(struct room *r, const struct stock_vm *v, size_t node, size_t group)
{
    if (node == PLAN_NONE)
        return;
    r->plan_nodes[node].memory_kib += v->memory_kib;
    r->plan_nodes[node].vcpus += v->vcpus;
    if (group != PLAN_NONE)
        r->members[group * r->nodes->n + node]++;
}

/* What is promised to the VMs that are not placed here. */
static void count_others(struct room *r, const struct vm_stock *s, const struct vm_placing *list, size_t n)
{
    AUTO(freep) bool *is_placed = xcalloc(s->n + 1, sizeof(is_placed[0]));
    AUTO(freep) size_t *group_of = xcalloc(s->n_groups + 1, sizeof(group_of[0])); /* theirs, as one of the plan's */
    for (size_t i = 0; i < n; i++) {
        const struct stock_vm *v = s->n ? bsearch(list[i].v->name, s->vms, s->n, sizeof(s->vms[0]), by_name) : NULL;
        if (v)
            is_placed[v - s->vms] = true;
    }
    for (size_t i = 0; i < s->n_groups; i++)
        group_of[i] = group_index(r, s->groups[i]);
    for (size_t i = 0; i < s->n; i++) {
        const struct stock_vm *v = &s->vms[i];
        size_t group = v->group == PLAN_NONE ? PLAN_NONE : group_of[v->group];
        if (is_placed[i])
            continue;
        promise(r, v, v->node, group);
        promise(r, v, v->target, group);
    }
}

static void know_nodes(struct room *r)
{
    const struct vm_settings *s = &r->nodes->settings;
    for (size_t i = 0; i < r->nodes->n; i++) {
        const struct vm_node *node = &r->nodes->nodes[i];
        struct plan_node *n = &r->plan_nodes[i];
        n->capacity_kib = node->memory_kib > s->reserve_kib ? node->memory_kib - s->reserve_kib : 0;
        n->vcpus_max = (uint64_t)node->cpus * s->cpu_ratio; /* 0: no limit, or it is not known yet how many */
        r->takes[i] = check_node(node, NULL) == 0;
    }
}

static void know_vm(struct room *r, const struct vm_stock *s, size_t i, const struct vm_placing *q)
{
    const struct vm *v = q->v;
    struct plan_vm *d = &r->vms[i];
    uint8_t *fits = &r->fits[i * r->nodes->n];
    size_t machine = find_text((const char *)s->machines, s->n_machines, VM_MACHINE_MAX, v->machine);
    bool is_bound = check_bound(q, NULL) != 0;
    *d = (struct plan_vm){.memory_kib = v->memory_kib,
                          .vcpus = v->vcpus,
                          .priority = v->priority,
                          .group = group_index(r, v->group),
                          .now = node_index(r->nodes, v->node),
                          .home = node_index(r->nodes, v->home),
                          .fits = fits};
    for (size_t k = 0; k < r->nodes->n && !is_bound; k++) {
        const struct vm_node *node = &r->nodes->nodes[k];
        bool has = machine != PLAN_NONE ? s->has[machine * r->nodes->n + k] : check_machine(v, node, NULL) == 0;
        bool is_other = !(q->not_on && str_eq(node->name, q->not_on));
        if (has && is_other && r->takes[k])
            fits[k] = v->preferred[0] && has_word(v->preferred, node->name, ',') ? PLAN_PREFERS : PLAN_FITS;
    }
}

static void know_groups(struct room *r, const struct vm_placing *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (list[i].v->group[0] && group_index(r, list[i].v->group) == PLAN_NONE)
            STR_COPY(r->groups[r->p.n_groups++], list[i].v->group);
}

static void room_init(struct room *r, const struct vm_stock *s, const struct vm_nodes *nodes,
                      const struct vm_placing *list, size_t n)
{
    *r = (struct room){.nodes = nodes};
    r->plan_nodes = xcalloc(nodes->n + 1, sizeof(r->plan_nodes[0]));
    r->vms = xcalloc(n + 1, sizeof(r->vms[0]));
    r->fits = xcalloc(n * nodes->n + 1, sizeof(r->fits[0]));
    r->groups = xcalloc(n + 1, sizeof(r->groups[0]));
    r->takes = xcalloc(nodes->n + 1, sizeof(r->takes[0]));
    know_groups(r, list, n);
    r->members = xcalloc(r->p.n_groups * nodes->n + 1, sizeof(r->members[0]));
    know_nodes(r);
    count_others(r, s, list, n);
    for (size_t i = 0; i < n; i++)
        know_vm(r, s, i, &list[i]);
    r->p.nodes = r->plan_nodes;
    r->p.n_nodes = nodes->n;
    r->p.vms = r->vms;
    r->p.n_vms = n;
    r->p.members = r->members;
    r->p.groups_required = nodes->settings.groups_required;
}

/* ---- why not */

static int check_room(const struct room *r, size_t node, const struct vm *v, struct error *e)
{
    const struct plan_node *n = &r->plan_nodes[node];
    uint64_t kib = n->memory_kib < n->capacity_kib ? n->capacity_kib - n->memory_kib : 0;
    size_t group = group_index(r, v->group);
    if (kib < v->memory_kib)
        return error_set(e, ERR_CONDITION, "%" PRIu64 " MiB free, %" PRIu64 " needed", kib / 1024,
                         v->memory_kib / 1024);
    if (n->vcpus_max && n->vcpus + v->vcpus > n->vcpus_max)
        return error_set(e, ERR_CONDITION, "%" PRIu64 " of %" PRIu64 " CPUs promised, %" PRIu32 " needed", n->vcpus,
                         n->vcpus_max, v->vcpus);
    if (r->p.groups_required && group != PLAN_NONE && r->members[group * r->nodes->n + node])
        return error_set(e, ERR_CONDITION, "another VM of group %s is there", v->group);
    return 0;
}

static void explain(const struct room *r, const struct vm_placing *q, struct error *e)
{
    AUTO(buf_done) struct buf why = {0};
    bool fits_alone = false;
    const char *quarantined = NULL;
    for (size_t i = 0; i < r->nodes->n; i++) {
        const struct vm_node *node = &r->nodes->nodes[i];
        struct error refusal = {0};
        if (q->not_on && str_eq(node->name, q->not_on))
            continue;
        if (node->quarantined)
            quarantined = node->name;
        if (check_fit(node, q, &refusal) || check_room(r, i, q->v, &refusal))
            buf_printf(&why, "%s%s: %s", why.len ? "; " : "", node->name, refusal.text);
        else
            fits_alone = true;
    }
    if (fits_alone)
        error_set(e, ERR_CONDITION, "there is no room for VM %s beside the others that need a place", q->v->name);
    else
        error_set(e, ERR_CONDITION, "no node can take VM %s: %.*s", q->v->name, why.len ? (int)why.len : 22,
                  why.len ? (const char *)why.p : "there is no other node");
    if (quarantined && !fits_alone)
        error_set_remedy(e, "clusterctl node resume %s, which ends its quarantine", quarantined);
    else
        error_set_remedy(e, "clusterctl node list");
}

/* ---- placing */

/* More memory is needed than there is: no plan has a place for all. */
static bool is_hopeless(const struct room *r)
{
    uint64_t needed = 0, there = 0;
    for (size_t i = 0; i < r->p.n_vms; i++)
        needed += r->vms[i].memory_kib;
    for (size_t i = 0; i < r->nodes->n; i++) {
        const struct plan_node *n = &r->plan_nodes[i];
        there += r->takes[i] && n->capacity_kib > n->memory_kib ? n->capacity_kib - n->memory_kib : 0;
    }
    return needed > there;
}

/* False: some VM has no place, and a longer search might find one. */
static bool place(const struct vm_stock *s, const struct vm_nodes *nodes, struct vm_placing *list, size_t n, long steps)
{
    bool all = true;
    AUTO(room_done) struct room r;
    AUTO(freep) size_t *at = xcalloc(n + 1, sizeof(at[0]));
    room_init(&r, s, nodes, list, n);
    r.p.steps = steps;
    plan_solve(&r.p, at);
    for (size_t i = 0; i < n; i++) {
        list[i].target = at[i] == PLAN_NONE ? NULL : &nodes->nodes[at[i]];
        list[i].why = (struct error){0};
        all = all && list[i].target;
        if (!list[i].target)
            explain(&r, &list[i], &list[i].why);
    }
    return all || is_hopeless(&r);
}

void vm_place_soon(const struct vm_stock *s, const struct vm_nodes *nodes, struct vm_placing *list, size_t n)
{
    if (!place(s, nodes, list, n, PLACE_SOON_STEPS))
        place(s, nodes, list, n, 0);
}

void vm_place_all(const struct tables *t, const struct vm_nodes *nodes, struct vm_placing *list, size_t n)
{
    struct vm_stock *s = vm_stock_new(t, nodes);
    place(s, nodes, list, n, 0);
    vm_stock_free(s);
}

int vm_place(const struct tables *t, const struct vm_nodes *nodes, const struct vm *v, const char *not_on,
             char ret_node[NODE_NAME_MAX], struct error *e)
{
    struct vm_placing q = {.v = v, .not_on = not_on};
    vm_place_all(t, nodes, &q, 1);
    if (!q.target) {
        if (e)
            *e = q.why;
        return ERR_CONDITION;
    }
    str_copy(ret_node, NODE_NAME_MAX, q.target->name);
    return 0;
}

/* ---- a whole node ---------------------------------------------------------------------------------------------- */

/* Those of a node that a drain would have to find a place for; *e: of one for which it would not look. The caller frees
 * both lists. */
static int list_leaving(const struct tables *t, const struct vm_nodes *nodes, const char *node, struct vm **ret_vms,
                        struct vm_placing **ret_list, size_t *ret_n, struct error *e)
{
    struct vm v = {0};
    size_t n = 0, cap = 0;
    struct vm *vms = NULL;
    int err = 0;
    for (const char *after = NULL; !err && vm_next(t, after, &v); after = v.name) {
        if (!str_eq(v.node, node) || v.state != VM_RUNNING || v.op != VM_OP_NONE)
            continue;
        enum vm_drain drain = vm_drain_of(&v, nodes, e);
        err = drain == VM_DRAIN_BLOCKED ? ERR_CONDITION : 0;
        if (!vm_drain_needs_place(&v, drain))
            continue;
        if (n == cap)
            vms = xrealloc(vms, cap = cap ? 2 * cap : 16, sizeof(vms[0]));
        vms[n++] = v;
    }
    *ret_vms = vms;
    *ret_list = xcalloc(n + 1, sizeof(**ret_list));
    for (size_t i = 0; i < n; i++)
        (*ret_list)[i] = (struct vm_placing){
            .v = &vms[i], .not_on = node, .is_cold = vm_drain_of(&vms[i], nodes, NULL) != VM_DRAIN_MOVES};
    *ret_n = n;
    return err;
}

int vm_can_leave(const struct tables *t, const struct vm_nodes *nodes, const char *node, struct error *e)
{
    AUTO(freep) struct vm *vms = NULL;
    AUTO(freep) struct vm_placing *list = NULL;
    size_t n;
    int err = list_leaving(t, nodes, node, &vms, &list, &n, e);
    if (err)
        return err;
    struct vm_stock *s = vm_stock_new(t, nodes);
    vm_place_soon(s, nodes, list, n);
    vm_stock_free(s);
    for (size_t i = 0; i < n; i++)
        if (!list[i].target && !vm_drain_may_save(list[i].v, nodes)) {
            *e = list[i].why;
            return ERR_CONDITION;
        }
    *e = (struct error){0};
    return 0;
}

/* ---- the canary ------------------------------------------------------------------------------------------------ */

/* Has that node room for it beside what is there, and on its way there? */
static bool has_room_for(const struct vm_stock *s, const struct vm_nodes *nodes, const struct vm *v,
                         const struct vm_node *target)
{
    AUTO(freep) struct vm_node *list = xmemdup(nodes->nodes, nodes->n * sizeof(list[0]));
    struct vm_nodes only = *nodes;
    struct vm_placing q = {.v = v};
    only.nodes = list;
    for (size_t i = 0; i < nodes->n; i++)
        list[i].accepts = list[i].accepts && &nodes->nodes[i] == target;
    place(s, &only, &q, 1, 1);
    return q.target != NULL;
}

static bool can_be_canary(const struct vm_stock *s, const struct vm_nodes *nodes, const struct vm *v,
                          const struct vm_node *target, struct error *e)
{
    const struct vm_node *owner = vm_nodes_find(nodes, v->node);
    if (v->state != VM_RUNNING || v->op != VM_OP_NONE || owner == target)
        return false;
    if (!owner || !owner->present || !owner->accepts || owner->draining)
        return false; /* it could not come back */
    if (vm_can_migrate(v, target, e))
        return false;
    if (has_room_for(s, nodes, v, target))
        return true;
    error_set(e, ERR_CONDITION, "%s has no room for VM %s", target->name, v->name);
    return false;
}

/* The smaller one; of equal ones, one whose home is there. */
static bool is_better_canary(const struct vm *a, const struct vm *b, const char *node)
{
    bool is_home = str_eq(a->home, node), was_home = str_eq(b->home, node);
    return a->memory_kib < b->memory_kib || (a->memory_kib == b->memory_kib && is_home && !was_home);
}

int vm_find_canary(const struct tables *t, const struct vm_nodes *nodes, const char *node, char ret_vm[VM_NAME_MAX],
                   struct error *e)
{
    const struct vm_node *target = vm_nodes_find(nodes, node);
    struct vm best = {.memory_kib = 0}, v = {0};
    struct error why = {0};
    if (!target)
        return error_set(e, ERR_NO_OBJECT, "there is no node %s", node);
    struct vm_stock *s = vm_stock_new(t, nodes);
    for (const char *after = NULL; vm_next(t, after, &v); after = v.name)
        if ((!best.name[0] || is_better_canary(&v, &best, node)) && can_be_canary(s, nodes, &v, target, &why))
            best = v;
    vm_stock_free(s);
    if (best.name[0]) {
        str_copy(ret_vm, VM_NAME_MAX, best.name);
        return 0;
    }
    return error_set(e, ERR_CONDITION, "no virtual machine runs that could be moved to %s and back%s%s", node,
                     why.code ? "; " : "", why.code ? why.text : "");
}
