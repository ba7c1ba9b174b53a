/* SPDX-License-Identifier: GPL-2.0-or-later */
/* For the tests of vm/: tables, three nodes n1…n3, VMs, an env that keeps what was proposed and called. */
#pragma once

#include "tests/unit/unit.h"

#include <stdio.h>

#include "vm/vm-entry.h"

enum { WORLD_MAX = 64 };

struct proposal {
    enum entry_kind kind;
    struct buf payload;
    char key[96];
};

struct world {
    struct tables *t;
    struct vm_node list[3];
    struct vm_nodes nodes;
    struct apply_result result; /* of the last entry */
    uint64_t n_entries;
    int64_t now_ms;
    struct proposal proposals[WORLD_MAX];
    size_t n_proposals;
    struct vm_call calls[WORLD_MAX];
    size_t n_calls; /* the id of call i is i + 1 */
    struct vm_env env;
};

static inline struct uuid world_uuid(unsigned n)
{
    return (struct uuid){.b = {0xaa, [14] = (uint8_t)(n >> 8), [15] = (uint8_t)n}};
}

/* Operations under way in the cluster. */
static inline uint32_t world_ops(const struct tables *t)
{
    struct vm_nodes none = {0};
    struct vm_tally unused;
    return vm_tally(t, &none, &unused);
}

static inline uint64_t world_call(void *ctx, struct vm_call *c)
{
    struct world *w = ctx;
    assert_true(w->n_calls < WORLD_MAX);
    w->calls[w->n_calls++] = *c;
    return w->n_calls;
}

static inline void world_propose(void *ctx, enum entry_kind kind, struct buf *payload, const char *key)
{
    struct world *w = ctx;
    for (size_t i = 0; i < w->n_proposals; i++) {
        if (str_eq(w->proposals[i].key, key)) { /* as the core does: the first one is under way */
            buf_done(payload);
            return;
        }
    }
    assert_true(w->n_proposals < WORLD_MAX);
    struct proposal *p = &w->proposals[w->n_proposals++];
    *p = (struct proposal){.kind = kind, .payload = *payload};
    STR_COPY(p->key, key);
}

static inline void world_init(struct world *w)
{
    *w = (struct world){.t = tables_new(), .now_ms = 1000};
    for (size_t i = 0; i < 3; i++) {
        struct vm_node *n = &w->list[i];
        *n = (struct vm_node){
            .present = true, .accepts = true, .memory_kib = 8 << 20, .machines = "pc-i440fx-7.2 pc-q35-7.2"};
        snprintf(n->name, sizeof(n->name), "n%zu", i + 1);
        snprintf(n->address, sizeof(n->address), "10.0.0.%zu", i + 1);
        snprintf(n->boot_id, sizeof(n->boot_id), "boot-1-of-n%zu", i + 1);
    }
    w->nodes = (struct vm_nodes){.nodes = w->list, .n = 3};
    w->nodes.settings.moves_max = w->nodes.settings.moves_per_node = VM_MOVES_MAX;
    w->nodes.settings.downtime_max_ms = VM_DOWNTIME_MS;
    w->env = (struct vm_env){.ctx = w, .call = world_call, .propose = world_propose};
}

/* For vm_nodes.is_held; ctx: the boot in which a backup runs. */
static inline bool world_is_held(const void *ctx, const char *vm, const char *boot_id)
{
    return str_eq(vm, "vm1") && str_eq(boot_id, ctx);
}

static inline void world_forget_proposals(struct world *w)
{
    for (size_t i = 0; i < w->n_proposals; i++)
        buf_done(&w->proposals[i].payload);
    w->n_proposals = 0;
}

static inline void world_done(struct world *w)
{
    world_forget_proposals(w);
    for (size_t i = 0; i < w->n_calls; i++)
        free(w->calls[i].xml);
    tables_free(w->t);
}

/* Applies an entry; takes the payload. The request id is world_uuid(number of the entry). */
static inline int world_apply(struct world *w, enum entry_kind kind, struct buf *payload)
{
    struct entry e = {.kind = (uint16_t)kind,
                      .index = ++w->n_entries,
                      .time_ms = 5000 + (int64_t)w->n_entries,
                      .payload = buf_slice(payload)};
    e.request_id = world_uuid((unsigned)w->n_entries);
    w->result = (struct apply_result){0};
    vm_apply(w->t, &w->nodes, &e, &w->result);
    buf_done(payload);
    return w->result.error.code;
}

/* What the log does with what was proposed: applies it in order. */
static inline void world_commit(struct world *w)
{
    for (size_t i = 0; i < w->n_proposals; i++)
        world_apply(w, w->proposals[i].kind, &w->proposals[i].payload);
    w->n_proposals = 0;
}

static inline int world_add(struct world *w, const char *name, const char *node, unsigned number)
{
    struct vm_facts f = {.uuid = world_uuid(1000 + number), .memory_kib = 1 << 20, .vcpus = 1};
    STR_COPY(f.name, name);
    STR_COPY(f.machine, "pc-q35-7.2");
    f.xml = (char *)"<domain/>";
    struct buf b = {0};
    vm_entry_add(&f, node, &b);
    return world_apply(w, ENTRY_VM_ADD, &b);
}

static inline int world_op(struct world *w, struct vm_op_request r)
{
    if (!r.reason)
        r.reason = VM_REASON_ADMIN;
    struct buf b = {0};
    vm_entry_op(&r, &b);
    return world_apply(w, ENTRY_VM_OP, &b);
}

static inline int world_report(struct world *w, const struct vm_report *r)
{
    struct buf b = {0};
    vm_entry_report(r, &b);
    return world_apply(w, ENTRY_VM_REPORT, &b);
}

static inline struct vm world_vm(const struct world *w, const char *name)
{
    struct vm v;
    assert_int_equal(vm_get(w->t, name, &v), 0);
    return v;
}

/* A report of the row's present op, by its owner (MOVED: of the target). */
static inline struct vm_report world_report_of(const struct world *w, const char *name, enum vm_report_kind kind)
{
    struct vm v = world_vm(w, name);
    struct vm_report r = {.kind = kind, .op_id = v.op_id, .epoch = v.epoch};
    STR_COPY(r.name, name);
    STR_COPY(r.node, kind == VM_REPORT_MOVED ? v.target : v.node);
    const struct vm_node *n = vm_nodes_find(&w->nodes, r.node);
    if (n)
        STR_COPY(r.boot_id, n->boot_id);
    return r;
}

static inline int world_end(struct world *w, const char *name, enum vm_report_kind kind)
{
    struct vm_report r = world_report_of(w, name, kind);
    return world_report(w, &r);
}

/* A VM that runs on a node. */
static inline void world_run(struct world *w, const char *name, const char *node, unsigned number)
{
    assert_int_equal(world_add(w, name, node, number), 0);
    struct vm_op_request r = {.op = VM_OP_START};
    STR_COPY(r.name, name);
    assert_int_equal(world_op(w, r), 0);
    assert_int_equal(world_end(w, name, VM_REPORT_STARTED), 0);
}

static inline struct uuid world_last_request(const struct world *w)
{
    return world_uuid((unsigned)w->n_entries);
}
