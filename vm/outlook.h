/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What taking out a node would mean for virtual machines, for each node by itself, as they stand now (pure): where each
 * would go, which find no room, which cannot move and why. For checks and plans; the drain itself asks vm_place() for
 * each VM at its time, by the same rules and in the same order: priority (higher first), then name, to the node with
 * the most memory that is not promised.
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
/* {moves: [{vm, memory_mib, to}], memory_mib, free_mib, left_mib, fullest, fullest_percent, cannot_move, no_room}; to
 * null: it cannot move or finds no room; fullest: of the other nodes, afterwards. NULL: no such node. */
struct json *vm_outlook_json(const struct vm_outlook *o, const char *node);
/* Findings {check, result, object, text, remedy}, of checks "vms", "room", "disks", "saved" and "snapshots". */
struct json *vm_outlook_findings(const struct vm_outlook *o);
