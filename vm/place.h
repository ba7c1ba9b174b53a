/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Many placements of the same tables (place.c): what all of them need is read once. Shared by the files of vm/ alone.
 */
#pragma once

#include "vm/vm.h"

struct vm_stock;
/* Borrows nodes: their names and machines, nothing else of them. */
struct vm_stock *vm_stock_new(const struct tables *t, const struct vm_nodes *nodes);
void vm_stock_free(struct vm_stock *s);
/* As vm_place_all(), in a short time, where a good placement will do: it looks at as many changes as a drain does only
 * when some VM is left without a place. nodes: those of the stock, in their order, with what is to hold now. */
enum { PLACE_SOON_STEPS = 2000 };
void vm_place_soon(const struct vm_stock *s, const struct vm_nodes *nodes, struct vm_placing *list, size_t n);
