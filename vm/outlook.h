/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What taking out a node would mean for virtual machines, for each node by itself, or for several at once, as they
 * stand now (pure): where each would go, which find no room, which cannot move and why. For checks and plans. The rules
 * are those of the drain itself: what becomes of a VM says vm_drain_of(), where it goes the planner (vm/plan.h), though
 * it looks at fewer changes as long as all find a place.
 *
 * It is the outlook of a cluster that is whole: a node counts as one that takes VMs though it is away at this moment,
 * for a node is taken out only while all others are there. */
#pragma once

#include "common/json.h"
#include "vm/vm.h"

enum {
    OUTLOOK_TOLD_MAX = 20,      /* findings of one kind with a line of their own */
    OUTLOOK_TIGHT_PERCENT = 90, /* of a node's memory promised: above it nothing is left for the host itself */
};

struct vm_outlook_machine {
    char machine[VM_MACHINE_MAX];
    uint32_t n;                /* VMs that have it, those that are off too */
    char example[VM_NAME_MAX]; /* the first of them */
};

struct vm_outlook;
/* Reads the tables once, and again for what its findings say: both arguments must outlive it. */
struct vm_outlook *vm_outlook_new(const struct tables *t, const struct vm_nodes *nodes);
void vm_outlook_free(struct vm_outlook *o);

/* In the order in which they were met; borrowed. */
size_t vm_outlook_machines(const struct vm_outlook *o, const struct vm_outlook_machine **ret);
/* Of the VMs of nodes[0], while all n of these are away: {moves: [{vm, memory_mib, to}], memory_mib, free_mib,
 * left_mib, fullest, fullest_percent, cannot_move, no_room}; to null: it is on no other node meanwhile; fullest: of the
 * nodes that are left, afterwards; free, left: of all of these. NULL: no such node. */
struct json *vm_outlook_json(const struct vm_outlook *o, const char *const *nodes, size_t n);
/* Findings {check, result, object, text, remedy}, of checks "vms", "room", "disks", "saved" and "snapshots". */
struct json *vm_outlook_findings(const struct vm_outlook *o);
