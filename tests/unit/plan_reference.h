/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Exhaustive placement, and random cases for it: every assignment of up to 10 VMs to up to 4 nodes is looked at. It
 * shares no code with vm/plan.c but the types. */
#pragma once

#include <assert.h>
#include <string.h>

#include "common/prng.h"
#include "vm/plan.h"

enum { REFERENCE_NODES_MAX = 4, REFERENCE_VMS_MAX = 10, REFERENCE_GROUPS = 3 };

struct reference_case {
    struct plan p;
    struct plan_node nodes[REFERENCE_NODES_MAX];
    struct plan_vm vms[REFERENCE_VMS_MAX];
    uint8_t fits[REFERENCE_VMS_MAX][REFERENCE_NODES_MAX];
    uint32_t members[REFERENCE_GROUPS * REFERENCE_NODES_MAX];
};

/* One node that drains among VMs that stay, or every VM free to move, with groups, preferences and priorities. */
static inline void reference_case_make(struct reference_case *c, uint64_t seed)
{
    struct prng r = prng_new(seed);
    memset(c, 0, sizeof(*c));
    size_t n_nodes = 2 + prng_below(&r, REFERENCE_NODES_MAX - 1), n_vms = 1 + prng_below(&r, REFERENCE_VMS_MAX);
    bool drains = prng_below(&r, 2), has_groups = prng_below(&r, 3) == 0, has_preferred = prng_below(&r, 3) == 0;
    for (size_t i = 0; i < n_nodes; i++)
        c->nodes[i] = (struct plan_node){.capacity_kib = (8 + prng_below(&r, 57)) << 20,
                                         .vcpus_max = 8 + prng_below(&r, 57),
                                         .memory_kib = drains ? prng_below(&r, 8) << 20 : 0,
                                         .vcpus = drains ? prng_below(&r, 5) : 0};
    for (size_t i = 0; i < n_vms; i++) {
        c->vms[i] = (struct plan_vm){.memory_kib = (1 + prng_below(&r, 12)) << 19,
                                     .vcpus = 1 + (uint32_t)prng_below(&r, 4),
                                     .priority = prng_below(&r, 4) == 0 ? 10 : 0,
                                     .group = PLAN_NONE,
                                     .now = drains ? PLAN_NONE : prng_below(&r, n_nodes),
                                     .home = PLAN_NONE,
                                     .fits = c->fits[i]};
        if (has_groups && prng_below(&r, 2))
            c->vms[i].group = prng_below(&r, REFERENCE_GROUPS);
        if (prng_below(&r, 4) == 0)
            c->vms[i].home = prng_below(&r, n_nodes);
        for (size_t k = 0; k < n_nodes; k++)
            c->fits[i][k] = prng_below(&r, 10) == 0                   ? PLAN_NOT
                            : has_preferred && prng_below(&r, 3) == 0 ? PLAN_PREFERS
                                                                      : PLAN_FITS;
    }
    for (size_t i = 0; i < REFERENCE_GROUPS * n_nodes; i++)
        c->members[i] = has_groups && drains && prng_below(&r, 4) == 0;
    c->p = (struct plan){.nodes = c->nodes,
                         .n_nodes = n_nodes,
                         .vms = c->vms,
                         .n_vms = n_vms,
                         .n_groups = REFERENCE_GROUPS,
                         .members = c->members,
                         .groups_required = has_groups && prng_below(&r, 2)};
}

struct reference_score {
    size_t without_high, without; /* of priority 10, and of any */
    uint64_t conflicts, not_preferred;
    double share;
    size_t moves;
};

/* False: a bound is exceeded. */
static inline bool reference_judge(const struct plan *p, const size_t *at, struct reference_score *ret)
{
    struct reference_score s = {0};
    for (size_t i = 0; i < p->n_vms; i++) {
        const struct plan_vm *v = &p->vms[i];
        s.without += at[i] == PLAN_NONE;
        s.without_high += at[i] == PLAN_NONE && v->priority > 0;
        if (at[i] == PLAN_NONE)
            continue;
        if (v->fits[at[i]] == PLAN_NOT)
            return false;
        s.not_preferred += v->fits[at[i]] != PLAN_PREFERS;
        s.moves += v->now != at[i];
        s.moves += v->home != PLAN_NONE && v->home != at[i];
        if (v->group == PLAN_NONE)
            continue;
        uint64_t beside = p->members[v->group * p->n_nodes + at[i]];
        for (size_t k = 0; k < i; k++)
            beside += p->vms[k].group == v->group && at[k] == at[i];
        s.conflicts += beside;
    }
    if (p->groups_required && s.conflicts)
        return false;
    for (size_t n = 0; n < p->n_nodes; n++) {
        uint64_t memory = p->nodes[n].memory_kib, vcpus = p->nodes[n].vcpus;
        bool takes = false;
        for (size_t i = 0; i < p->n_vms; i++) {
            memory += at[i] == n ? p->vms[i].memory_kib : 0;
            vcpus += at[i] == n ? p->vms[i].vcpus : 0;
            takes = takes || at[i] == n;
        }
        if (takes && (memory > p->nodes[n].capacity_kib || vcpus > p->nodes[n].vcpus_max))
            return false;
        double share = (double)memory / (double)p->nodes[n].capacity_kib;
        s.share = share > s.share ? share : s.share;
    }
    *ret = s;
    return true;
}

static inline bool reference_is_better(const struct reference_score *a, const struct reference_score *b)
{
    if (a->without_high != b->without_high)
        return a->without_high < b->without_high;
    if (a->without != b->without)
        return a->without < b->without;
    if (a->conflicts != b->conflicts)
        return a->conflicts < b->conflicts;
    if (a->not_preferred != b->not_preferred)
        return a->not_preferred < b->not_preferred;
    if (a->share != b->share)
        return a->share < b->share;
    return a->moves < b->moves;
}

static inline struct reference_score reference_solve(const struct plan *p)
{
    size_t at[REFERENCE_VMS_MAX];
    struct reference_score best = {.without = SIZE_MAX, .without_high = SIZE_MAX}, s;
    for (size_t i = 0; i < p->n_vms; i++)
        at[i] = 0;
    for (;;) {
        size_t real[REFERENCE_VMS_MAX], i = 0;
        for (size_t k = 0; k < p->n_vms; k++)
            real[k] = at[k] == p->n_nodes ? PLAN_NONE : at[k];
        if (reference_judge(p, real, &s) && reference_is_better(&s, &best))
            best = s;
        while (i < p->n_vms && at[i] == p->n_nodes) /* a counter to the base of nodes and nowhere */
            at[i++] = 0;
        if (i == p->n_vms)
            return best;
        at[i]++;
    }
}
