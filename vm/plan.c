/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Greedy, then improved as long as some small change makes the plan better: a VM goes to another node, two VMs change
 * places, or one takes another's place, which goes elsewhere. It starts by priority, by size (what is best for the
 * first VM may leave no room for the last), from where the VMs are now, and then in orders drawn from a constant seed;
 * the best end is taken. The work is bounded by STEPS_MAX changes that are looked at, and STARTS_MAX. Where the highest
 * share cannot be lowered by one change, the sum of squares of the shares leads on, for it falls on the way to what two
 * changes would reach; at last VMs go back to where they are now as long as that raises no share above the highest. */
#include "vm/plan.h"

#include "common/buf.h"
#include "common/prng.h"

enum { STEPS_MAX = 100 * 1000, STARTS_MAX = 40 };

struct work {
    const struct plan *p;
    bool by_squares; /* before the moves: at first */
    size_t *at;
    uint64_t *memory, *vcpus; /* of each node, with what is placed */
    uint64_t *share;          /* of its memory */
    uint32_t *members;
    long steps_left;
};

/* What a change is judged by; squares: see above. */
struct cost {
    size_t without;
    uint64_t conflicts;
    size_t not_preferred;
    uint64_t share;
    size_t moves;
    uint64_t squares;
};

uint64_t plan_share(const struct plan_node *n, uint64_t memory_kib)
{
    if (n->capacity_kib == 0)
        return memory_kib ? PLAN_SHARE_ONE : 0;
    return memory_kib * PLAN_SHARE_ONE / n->capacity_kib;
}

/* ---- a plan and its changes */

static uint32_t *members_of(const struct work *w, size_t vm, size_t node)
{
    size_t group = w->p->vms[vm].group;
    return group == PLAN_NONE ? NULL : &w->members[group * w->p->n_nodes + node];
}

static void put(struct work *w, size_t vm, size_t node)
{
    const struct plan_vm *v = &w->p->vms[vm];
    size_t from = w->at[vm];
    if (from != PLAN_NONE) {
        w->memory[from] -= v->memory_kib;
        w->share[from] = plan_share(&w->p->nodes[from], w->memory[from]);
        w->vcpus[from] -= v->vcpus;
        if (v->group != PLAN_NONE)
            --*members_of(w, vm, from);
    }
    w->at[vm] = node;
    if (node == PLAN_NONE)
        return;
    w->memory[node] += v->memory_kib;
    w->share[node] = plan_share(&w->p->nodes[node], w->memory[node]);
    w->vcpus[node] += v->vcpus;
    if (v->group != PLAN_NONE)
        ++*members_of(w, vm, node);
}

/* Is a node, as it is now, within its bounds? */
static bool is_within(const struct work *w, size_t node)
{
    const struct plan_node *n = &w->p->nodes[node];
    return w->memory[node] <= n->capacity_kib && (n->vcpus_max == 0 || w->vcpus[node] <= n->vcpus_max);
}

/* With that VM on its node. */
static bool is_allowed(const struct work *w, size_t vm)
{
    size_t node = w->at[vm];
    if (node == PLAN_NONE)
        return true;
    bool crowds = w->p->groups_required && w->p->vms[vm].group != PLAN_NONE && *members_of(w, vm, node) > 1;
    return w->p->vms[vm].fits[node] != PLAN_NOT && is_within(w, node) && !crowds;
}

static void add_groups(const struct work *w, struct cost *c)
{
    for (size_t i = 0; i < w->p->n_groups * w->p->n_nodes; i++)
        c->conflicts += (uint64_t)w->members[i] * (w->members[i] ? w->members[i] - 1 : 0) / 2;
}

static void add_vms(const struct work *w, struct cost *c)
{
    for (size_t i = 0; i < w->p->n_vms; i++) {
        const struct plan_vm *v = &w->p->vms[i];
        size_t node = w->at[i];
        c->without += node == PLAN_NONE;
        if (node == PLAN_NONE)
            continue;
        c->not_preferred += v->fits[node] == PLAN_FITS;
        c->moves += (size_t)(v->now != node) + (size_t)(v->home != PLAN_NONE && v->home != node);
    }
}

static void add_nodes(const struct work *w, struct cost *c)
{
    for (size_t i = 0; i < w->p->n_nodes; i++) {
        uint64_t share = w->share[i];
        uint64_t coarse = share / 1000; /* its square is at most 1e10 for a full node: no sum of them overflows */
        c->share = share > c->share ? share : c->share;
        c->squares += coarse * coarse;
    }
}

static struct cost cost_of(const struct work *w)
{
    struct cost c = {0};
    add_groups(w, &c);
    add_vms(w, &c);
    add_nodes(w, &c);
    return c;
}

static bool is_less(const struct cost *a, const struct cost *b, bool by_squares)
{
    if (a->without != b->without)
        return a->without < b->without;
    if (a->conflicts != b->conflicts)
        return a->conflicts < b->conflicts;
    if (a->not_preferred != b->not_preferred)
        return a->not_preferred < b->not_preferred;
    if (a->share != b->share)
        return a->share < b->share;
    if (a->moves != b->moves && !(by_squares && a->squares != b->squares))
        return a->moves < b->moves;
    return a->squares < b->squares;
}

/* What moving one VM alters, so that a change need not be judged by all VMs. */
static struct cost cost_of_one(const struct work *w, size_t vm)
{
    const struct plan_vm *v = &w->p->vms[vm];
    size_t node = w->at[vm];
    if (node == PLAN_NONE)
        return (struct cost){.without = 1};
    struct cost c = {.not_preferred = v->fits[node] == PLAN_FITS};
    c.moves = (size_t)(v->now != node) + (size_t)(v->home != PLAN_NONE && v->home != node);
    if (v->group != PLAN_NONE)
        c.conflicts = *members_of(w, vm, node) - 1;
    return c;
}

/* Puts a VM elsewhere and keeps *c what cost_of() would say, but for the nodes' part. */
static void shift(struct work *w, size_t vm, size_t node, struct cost *c)
{
    struct cost before = cost_of_one(w, vm);
    put(w, vm, node);
    struct cost after = cost_of_one(w, vm);
    c->without = c->without - before.without + after.without;
    c->conflicts = c->conflicts - before.conflicts + after.conflicts;
    c->not_preferred = c->not_preferred - before.not_preferred + after.not_preferred;
    c->moves = c->moves - before.moves + after.moves;
}

static void judge_nodes(const struct work *w, struct cost *c)
{
    c->share = c->squares = 0;
    add_nodes(w, c);
}

/* ---- improving */

/* One VM elsewhere. True: the plan is better now, and *best says how good. */
static bool try_move(struct work *w, size_t vm, struct cost *best)
{
    size_t from = w->at[vm];
    for (size_t node = 0; node < w->p->n_nodes && w->steps_left > 0; node++) {
        if (node == from || w->p->vms[vm].fits[node] == PLAN_NOT)
            continue;
        struct cost c = *best;
        w->steps_left--;
        shift(w, vm, node, &c);
        judge_nodes(w, &c);
        if (is_allowed(w, vm) && is_less(&c, best, w->by_squares)) {
            *best = c;
            return true;
        }
        put(w, vm, from);
    }
    return false;
}

/* Two VMs change places. */
static bool try_swap(struct work *w, size_t a, size_t b, struct cost *best)
{
    size_t at_a = w->at[a], at_b = w->at[b];
    if (at_a == at_b || at_a == PLAN_NONE || at_b == PLAN_NONE)
        return false;
    struct cost c = *best;
    w->steps_left--;
    shift(w, a, PLAN_NONE, &c);
    shift(w, b, at_a, &c);
    shift(w, a, at_b, &c);
    judge_nodes(w, &c);
    if (is_allowed(w, a) && is_allowed(w, b) && is_less(&c, best, w->by_squares)) {
        *best = c;
        return true;
    }
    put(w, a, PLAN_NONE);
    put(w, b, at_b);
    put(w, a, at_a);
    return false;
}

/* VM a takes the place of b, and b goes somewhere else: what makes room for a VM that has none, and what two moves of
 * which neither is good would reach. */
static bool try_push(struct work *w, size_t a, size_t b, struct cost *best)
{
    size_t at_a = w->at[a], at_b = w->at[b];
    if (at_b == PLAN_NONE || at_a == at_b || w->p->vms[a].fits[at_b] == PLAN_NOT)
        return false;
    for (size_t node = 0; node < w->p->n_nodes && w->steps_left > 0; node++) {
        if (node == at_a || node == at_b || w->p->vms[b].fits[node] == PLAN_NOT)
            continue;
        struct cost c = *best;
        w->steps_left--;
        shift(w, b, node, &c);
        shift(w, a, at_b, &c);
        judge_nodes(w, &c);
        if (is_allowed(w, a) && is_allowed(w, b) && is_less(&c, best, w->by_squares)) {
            *best = c;
            return true;
        }
        put(w, a, at_a);
        put(w, b, at_b);
    }
    return false;
}

static bool improve_once(struct work *w, struct cost *best)
{
    bool better = false;
    for (size_t i = 0; i < w->p->n_vms; i++)
        better = try_move(w, i, best) || better;
    for (size_t i = 0; i < w->p->n_vms && !better; i++)
        for (size_t k = 0; k < i && w->steps_left > 0; k++)
            better = try_swap(w, i, k, best) || better;
    for (size_t i = 0; i < w->p->n_vms && !better; i++)
        for (size_t k = 0; k < w->p->n_vms && w->steps_left > 0; k++)
            better = (k != i && try_push(w, i, k, best)) || better;
    return better;
}

/* ---- the start */

static bool is_better_start(const struct work *w, size_t vm, size_t node, size_t than)
{
    const struct plan_vm *v = &w->p->vms[vm];
    if (than == PLAN_NONE)
        return true;
    if (v->group != PLAN_NONE && *members_of(w, vm, node) != *members_of(w, vm, than))
        return *members_of(w, vm, node) < *members_of(w, vm, than);
    if (v->fits[node] != v->fits[than])
        return v->fits[node] == PLAN_PREFERS;
    uint64_t share = plan_share(&w->p->nodes[node], w->memory[node] + v->memory_kib);
    uint64_t share_than = plan_share(&w->p->nodes[than], w->memory[than] + v->memory_kib);
    if (share != share_than)
        return share < share_than;
    return v->home == node && v->home != than; /* else nodes come by name: the first of equals stays */
}

static void place_first(struct work *w, size_t vm)
{
    size_t best = PLAN_NONE;
    for (size_t node = 0; node < w->p->n_nodes; node++) {
        if (w->p->vms[vm].fits[node] == PLAN_NOT)
            continue;
        put(w, vm, node);
        bool allowed = is_allowed(w, vm);
        put(w, vm, PLAN_NONE);
        if (allowed && is_better_start(w, vm, node, best))
            best = node;
    }
    put(w, vm, best);
}

static bool comes_before(const struct plan *p, size_t a, size_t b, bool by_priority)
{
    const struct plan_vm *x = &p->vms[a], *y = &p->vms[b];
    if (by_priority && x->priority != y->priority)
        return x->priority > y->priority;
    if (x->memory_kib != y->memory_kib)
        return x->memory_kib > y->memory_kib;
    return a < b;
}

/* Insertion: no more VMs than one node has, and mostly in order already. */
static void sort(const struct plan *p, bool by_priority, size_t *ret_order)
{
    for (size_t i = 0; i < p->n_vms; i++) {
        size_t k = i;
        for (; k > 0 && comes_before(p, i, ret_order[k - 1], by_priority); k--)
            ret_order[k] = ret_order[k - 1];
        ret_order[k] = i;
    }
}

static void begin(struct work *w)
{
    const struct plan *p = w->p;
    for (size_t i = 0; i < p->n_nodes; i++) {
        w->memory[i] = p->nodes[i].memory_kib;
        w->share[i] = plan_share(&p->nodes[i], w->memory[i]);
        w->vcpus[i] = p->nodes[i].vcpus;
    }
    for (size_t i = 0; i < p->n_vms; i++)
        w->at[i] = PLAN_NONE;
    if (p->n_groups)
        memcpy(w->members, p->members, p->n_groups * p->n_nodes * sizeof(w->members[0]));
}

static void stay_where_possible(struct work *w)
{
    for (size_t i = 0; i < w->p->n_vms; i++) {
        if (w->p->vms[i].now == PLAN_NONE)
            continue;
        put(w, i, w->p->vms[i].now);
        if (!is_allowed(w, i))
            put(w, i, PLAN_NONE);
    }
}

static struct cost solve_from(struct work *w, const size_t *order, bool stays)
{
    begin(w);
    if (stays)
        stay_where_possible(w);
    for (size_t i = 0; i < w->p->n_vms; i++)
        if (w->at[order[i]] == PLAN_NONE)
            place_first(w, order[i]);
    struct cost best = cost_of(w);
    for (int phase = 0; phase < 2; phase++) {
        w->by_squares = phase == 0;
        while (w->steps_left > 0 && improve_once(w, &best))
            ;
    }
    return best;
}

/* By rule 1: in the order of priority the first VM that only one of them places decides. */
static int compare_without(const struct plan *p, const size_t *by_priority, const size_t *a, const size_t *b)
{
    long more = 0;
    for (size_t i = 0; i < p->n_vms; i++) {
        size_t vm = by_priority[i];
        if (more != 0 && p->vms[vm].priority != p->vms[by_priority[i - 1]].priority)
            break;
        more += (long)(a[vm] == PLAN_NONE) - (long)(b[vm] == PLAN_NONE);
    }
    return more < 0 ? -1 : more > 0;
}

static void shuffle(size_t *order, size_t n, struct prng *r)
{
    for (size_t i = n; i > 1; i--) {
        size_t k = prng_below(r, i), held = order[k];
        order[k] = order[i - 1];
        order[i - 1] = held;
    }
}

void plan_solve(const struct plan *p, size_t *ret_at)
{
    AUTO(freep) size_t *by_priority = xcalloc(p->n_vms + 1, sizeof(size_t));
    AUTO(freep) size_t *order = xcalloc(p->n_vms + 1, sizeof(size_t)), *next = xcalloc(p->n_vms + 1, sizeof(size_t));
    AUTO(freep) uint64_t *memory = xcalloc(p->n_nodes + 1, sizeof(uint64_t));
    AUTO(freep) uint64_t *vcpus = xcalloc(p->n_nodes + 1, sizeof(uint64_t));
    AUTO(freep) uint64_t *share = xcalloc(p->n_nodes + 1, sizeof(uint64_t));
    AUTO(freep) uint32_t *members = xcalloc(p->n_groups * p->n_nodes + 1, sizeof(uint32_t));
    struct work w = {.p = p, .at = ret_at, .memory = memory, .vcpus = vcpus, .share = share, .members = members};
    struct prng draws = prng_new(1);
    sort(p, true, by_priority);
    w.steps_left = p->steps > 0 ? p->steps : STEPS_MAX;
    struct cost best = solve_from(&w, by_priority, false);
    w.at = next;
    sort(p, false, order);
    for (int start = 1; start < STARTS_MAX && p->n_vms > 1 && w.steps_left > 0; start++) {
        struct cost c = solve_from(&w, order, start == 2);
        int without = compare_without(p, by_priority, next, ret_at);
        if (without < 0 || (without == 0 && is_less(&c, &best, false))) {
            best = c;
            memcpy(ret_at, next, p->n_vms * sizeof(ret_at[0]));
        }
        if (start > 1)
            shuffle(order, p->n_vms, &draws);
    }
}

void plan_score(const struct plan *p, const size_t *at, struct plan_score *ret)
{
    AUTO(freep) size_t *copy = xcalloc(p->n_vms + 1, sizeof(size_t));
    AUTO(freep) uint64_t *memory = xcalloc(p->n_nodes + 1, sizeof(uint64_t));
    AUTO(freep) uint64_t *vcpus = xcalloc(p->n_nodes + 1, sizeof(uint64_t));
    AUTO(freep) uint64_t *share = xcalloc(p->n_nodes + 1, sizeof(uint64_t));
    AUTO(freep) uint32_t *members = xcalloc(p->n_groups * p->n_nodes + 1, sizeof(uint32_t));
    struct work w = {.p = p, .at = copy, .memory = memory, .vcpus = vcpus, .share = share, .members = members};
    begin(&w);
    for (size_t i = 0; i < p->n_vms; i++)
        put(&w, i, at[i]);
    struct cost c = cost_of(&w);
    *ret = (struct plan_score){.without = c.without,
                               .conflicts = c.conflicts,
                               .not_preferred = c.not_preferred,
                               .share = c.share,
                               .moves = c.moves};
}
