/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Placement as arithmetic (pure): VMs of a size onto nodes with room. What a VM or a node is stands in vm/place.c.
 *
 * Of two plans that one is better which
 *   1 leaves fewer VMs without a place, counted from the highest priority down;
 *   2 has fewer pairs of one group on one node;
 *   3 has fewer VMs on a node that is not among their preferred ones;
 *   4 has the lower highest memory share of any node;
 *   5 needs fewer moves: one of each VM that is not where it is now, one more of each that is not at its home then.
 * Memory, CPUs, and groups where they are required, are never exceeded. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PLAN_NONE = SIZE_MAX >> 1 /* no node */, PLAN_SHARE_ONE = 100 * 1000 * 1000 /* a share of 1 */ };
enum plan_fit { PLAN_NOT = 0, PLAN_FITS, PLAN_PREFERS };

struct plan_node {
    uint64_t capacity_kib, vcpus_max; /* for all VMs; vcpus_max 0: no limit */
    uint64_t memory_kib, vcpus;       /* promised to VMs that are not placed here */
};
struct plan_vm {
    uint64_t memory_kib;
    uint32_t vcpus;
    int32_t priority;
    size_t group;        /* PLAN_NONE: none */
    size_t now, home;    /* nodes; PLAN_NONE: none of these */
    const uint8_t *fits; /* enum plan_fit, one for each node; borrowed */
};
struct plan {
    const struct plan_node *nodes; /* all borrowed */
    size_t n_nodes;
    const struct plan_vm *vms;
    size_t n_vms, n_groups;
    const uint32_t *members; /* [group * n_nodes + node]: VMs of that group there that are not placed here */
    bool groups_required;
    long steps; /* changes that are looked at, at most; 0: 100,000 */
};

struct plan_score {
    size_t without; /* a place */
    uint64_t conflicts;
    size_t not_preferred;
    uint64_t share; /* in 1 / PLAN_SHARE_ONE */
    size_t moves;
};
/* at: a node for each VM, or PLAN_NONE. Deterministic. */
void plan_solve(const struct plan *p, size_t *ret_at);
void plan_score(const struct plan *p, const size_t *at, struct plan_score *ret);
uint64_t plan_share(const struct plan_node *n, uint64_t memory_kib); /* of that much on it */
