/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/outlook.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/text.h"
#include "vm/place.h"

struct item { /* a VM */
    struct vm v;
    int node; /* index; -1: of no node that there is */
    bool is_running;
    enum vm_drain drain; /* of one that runs on a node */
    bool needs_place;    /* elsewhere, when its node is away */
    int to;              /* index of the node that takes it while its node alone is away; -1: none */
    bool is_saved;       /* instead, by its policy */
};
struct place { /* a node */
    char name[NODE_NAME_MAX];
    bool accepts;
    uint64_t memory_kib, promised_kib;
    size_t first, end; /* of its items */
};
/* What it means that some nodes are away at once. */
struct absence {
    uint64_t moved_kib, free_kib, left_kib; /* of the other nodes */
    int fullest;                            /* -1: there is no other node */
    unsigned fullest_percent;
    uint32_t n_vms, n_stuck, n_no_room;
    const struct item *no_room; /* the first, and */
    struct error why;           /* … why no node takes it */
};
struct vm_outlook {
    const struct tables *t; /* borrowed */
    struct vm_node *list;
    struct vm_nodes nodes; /* as if all were there */
    struct vm_stock *stock;
    struct item *items; /* those of one node stand in the order in which they move */
    size_t n_items;
    struct place *places;
    struct absence *alone; /* of each place */
    struct vm_outlook_machine *machines;
    size_t n_machines;
};

/* ---- reading ---- */

static void count_machine(struct vm_outlook *o, const struct vm *v)
{
    for (size_t i = 0; i < o->n_machines; i++)
        if (str_eq(o->machines[i].machine, v->machine)) {
            o->machines[i].n++;
            return;
        }
    o->machines = xrealloc(o->machines, o->n_machines + 1, sizeof(*o->machines));
    struct vm_outlook_machine *m = &o->machines[o->n_machines];
    *m = (struct vm_outlook_machine){.n = 1};
    STR_COPY(m->machine, v->machine);
    STR_COPY(m->example, v->name);
    o->n_machines++;
}

static int node_index(const struct vm_nodes *nodes, const char *name)
{
    const struct vm_node *n = vm_nodes_find(nodes, name);
    return n ? (int)(n - nodes->nodes) : -1;
}

static void read_vms(struct vm_outlook *o)
{
    struct vm v = {0};
    o->items = xcalloc(tables_count(o->t, TABLE_VM) + 1, sizeof(*o->items));
    for (const char *after = NULL; vm_next(o->t, after, &v); after = v.name) {
        struct item *i = &o->items[o->n_items++];
        *i = (struct item){.v = v, .node = node_index(&o->nodes, v.node), .to = -1};
        i->is_running = v.state == VM_RUNNING || v.op == VM_OP_START;
        count_machine(o, &v);
        int target = v.op == VM_OP_MIGRATE ? node_index(&o->nodes, v.target) : -1;
        if (i->node >= 0 && i->is_running)
            o->places[i->node].promised_kib += v.memory_kib;
        if (target >= 0 && target != i->node)
            o->places[target].promised_kib += v.memory_kib;
        if (i->node < 0 || !i->is_running)
            continue;
        i->drain = vm_drain_of(&v, &o->nodes, NULL);
        i->needs_place = vm_drain_needs_place(&v, i->drain);
    }
}

/* As if all were there: a node is taken out only while all others are. */
static void read_nodes(struct vm_outlook *o, const struct vm_nodes *nodes)
{
    o->list = xcalloc(nodes->n + 1, sizeof(*o->list));
    o->places = xcalloc(nodes->n + 1, sizeof(*o->places));
    o->nodes = *nodes;
    o->nodes.nodes = o->list;
    for (size_t i = 0; i < nodes->n; i++) {
        o->list[i] = nodes->nodes[i];
        o->list[i].present = true;
        o->places[i] = (struct place){.accepts = o->list[i].accepts, .memory_kib = o->list[i].memory_kib};
        STR_COPY(o->places[i].name, o->list[i].name);
    }
}

/* ---- where they would go ---- */

static int order_of(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    if (x->node != y->node)
        return x->node < y->node ? -1 : 1;
    if (x->v.priority != y->v.priority)
        return x->v.priority > y->v.priority ? -1 : 1;
    return strcmp(x->v.name, y->v.name);
}

/* What is placed, and what became of it. */
struct placed {
    struct vm_placing *list;
    struct item **of;
    size_t n;
    uint64_t *kib; /* of each node, with what comes */
};

static void placed_done(struct placed *p)
{
    free(p->list);
    free(p->of);
    free(p->kib);
}

static void list_items(const struct vm_outlook *o, const bool *away, struct placed *p)
{
    p->list = xcalloc(o->n_items + 1, sizeof(*p->list));
    p->of = xcalloc(o->n_items + 1, sizeof(*p->of));
    p->kib = xcalloc(o->nodes.n + 1, sizeof(*p->kib));
    for (size_t i = 0; i < o->nodes.n; i++)
        p->kib[i] = o->places[i].promised_kib;
    for (size_t i = 0; i < o->nodes.n; i++)
        for (size_t k = o->places[i].first; away[i] && k < o->places[i].end; k++) {
            struct item *item = &o->items[k];
            if (!item->needs_place)
                continue;
            p->list[p->n] = (struct vm_placing){.v = &item->v, .is_cold = item->drain != VM_DRAIN_MOVES};
            p->of[p->n++] = item;
        }
}

/* Of the VMs of one of the nodes that are away. */
static void count_of(const struct vm_outlook *o, size_t node, const struct placed *p, struct absence *a)
{
    for (size_t k = o->places[node].first; k < o->places[node].end; k++) {
        a->n_vms += o->items[k].is_running;
        a->n_stuck += o->items[k].is_running && o->items[k].drain != VM_DRAIN_MOVES;
    }
    for (size_t k = 0; k < p->n; k++) {
        const struct item *i = p->of[k];
        bool may_save = i->drain == VM_DRAIN_MOVES && vm_drain_may_save(&i->v, &o->nodes);
        if ((size_t)i->node != node)
            continue;
        if (p->list[k].target) {
            a->moved_kib += i->v.memory_kib;
        } else if (!may_save && a->n_no_room++ == 0) {
            a->no_room = i;
            a->why = p->list[k].why;
        }
    }
}

static void sum_up(const struct vm_outlook *o, const bool *away, const struct placed *p, struct absence *a)
{
    a->fullest = -1;
    for (size_t i = 0; i < o->nodes.n; i++) {
        const struct place *other = &o->places[i];
        uint64_t has = other->memory_kib;
        if (away[i] || !other->accepts || has == 0)
            continue;
        unsigned percent = (unsigned)(p->kib[i] * 100 / has);
        a->free_kib += has > other->promised_kib ? has - other->promised_kib : 0;
        a->left_kib += has > p->kib[i] ? has - p->kib[i] : 0;
        if (a->fullest < 0 || percent > a->fullest_percent) {
            a->fullest = (int)i;
            a->fullest_percent = percent;
        }
    }
}

/* Takes these nodes out at once; *ret_a is of the VMs of `node`, which is one of them. */
static void take_out(const struct vm_outlook *o, const bool *away, size_t node, struct placed *p, struct absence *ret_a)
{
    AUTO(freep) struct vm_node *list = xmemdup(o->list, (o->nodes.n + 1) * sizeof(*list));
    struct vm_nodes nodes = o->nodes;
    nodes.nodes = list;
    for (size_t i = 0; i < o->nodes.n; i++)
        list[i].accepts = list[i].accepts && !away[i];
    list_items(o, away, p);
    vm_place_soon(o->stock, &nodes, p->list, p->n);
    for (size_t k = 0; k < p->n; k++)
        if (p->list[k].target)
            p->kib[p->list[k].target - list] += p->of[k]->v.memory_kib;
    *ret_a = (struct absence){.n_vms = 0};
    count_of(o, node, p, ret_a);
    sum_up(o, away, p, ret_a);
    for (size_t k = 0; k < p->n; k++) /* the nodes of this list are gone soon */
        p->list[k].target = p->list[k].target ? &o->list[p->list[k].target - list] : NULL;
}

static void take_out_alone(struct vm_outlook *o, size_t node)
{
    AUTO(placed_done) struct placed p = {.n = 0};
    AUTO(freep) bool *away = xcalloc(o->nodes.n + 1, sizeof(*away));
    away[node] = true;
    take_out(o, away, node, &p, &o->alone[node]);
    for (size_t k = 0; k < p.n; k++) {
        p.of[k]->to = p.list[k].target ? (int)(p.list[k].target - o->list) : -1;
        p.of[k]->is_saved = !p.list[k].target && vm_drain_may_save(&p.of[k]->v, &o->nodes);
    }
}

struct vm_outlook *vm_outlook_new(const struct tables *t, const struct vm_nodes *nodes)
{
    struct vm_outlook *o = xcalloc(1, sizeof(*o));
    o->t = t;
    read_nodes(o, nodes);
    read_vms(o);
    o->stock = vm_stock_new(t, &o->nodes);
    o->alone = xcalloc(nodes->n + 1, sizeof(*o->alone));
    if (o->n_items)
        qsort(o->items, o->n_items, sizeof(*o->items), order_of);
    size_t at = 0;
    while (at < o->n_items && o->items[at].node < 0)
        at++;
    for (size_t p = 0; p < nodes->n; p++) {
        o->places[p].first = at;
        while (at < o->n_items && o->items[at].node == (int)p)
            at++;
        o->places[p].end = at;
    }
    for (size_t p = 0; p < nodes->n; p++)
        take_out_alone(o, p);
    return o;
}

void vm_outlook_free(struct vm_outlook *o)
{
    if (!o)
        return;
    vm_stock_free(o->stock);
    free(o->items);
    free(o->list);
    free(o->places);
    free(o->alone);
    free(o->machines);
    free(o);
}

/* ---- shown ---- */

size_t vm_outlook_machines(const struct vm_outlook *o, const struct vm_outlook_machine **ret)
{
    *ret = o->machines;
    return o->n_machines;
}

static struct json *move_json(const struct item *i, const char *to)
{
    struct json *m = json_object_new();
    json_set_str(m, "vm", i->v.name);
    json_set_int(m, "memory_mib", (int64_t)(i->v.memory_kib / 1024));
    json_set_str(m, "to", to);
    return m;
}

/* Of that node; p: with the others that are away, NULL: it alone is. */
static struct json *moves_json(const struct vm_outlook *o, size_t node, const struct placed *p)
{
    struct json *moves = json_array_new();
    for (size_t k = o->places[node].first; k < o->places[node].end; k++) {
        const struct item *i = &o->items[k];
        const char *to = i->to >= 0 ? o->places[i->to].name : NULL;
        for (size_t m = 0; p && m < p->n; m++)
            if (p->of[m] == i)
                to = p->list[m].target ? p->list[m].target->name : NULL;
        if (i->is_running)
            json_append(moves, move_json(i, to));
    }
    return moves;
}

static struct json *absence_json(const struct vm_outlook *o, const struct absence *a, struct json *moves)
{
    struct json *j = json_object_new();
    json_set(j, "moves", moves);
    json_set_int(j, "memory_mib", (int64_t)(a->moved_kib / 1024));
    json_set_int(j, "free_mib", (int64_t)(a->free_kib / 1024));
    json_set_int(j, "left_mib", (int64_t)(a->left_kib / 1024));
    json_set_str(j, "fullest", a->fullest >= 0 ? o->places[a->fullest].name : NULL);
    json_set_int(j, "fullest_percent", a->fullest_percent);
    json_set_int(j, "cannot_move", a->n_stuck);
    json_set_int(j, "no_room", a->n_no_room);
    return j;
}

struct json *vm_outlook_json(const struct vm_outlook *o, const char *const *names, size_t n)
{
    AUTO(placed_done) struct placed p = {.n = 0};
    AUTO(freep) bool *away = xcalloc(o->nodes.n + 1, sizeof(*away));
    struct absence a;
    int node = n > 0 ? node_index(&o->nodes, names[0]) : -1;
    if (node < 0)
        return NULL;
    if (n == 1)
        return absence_json(o, &o->alone[node], moves_json(o, (size_t)node, NULL));
    for (size_t i = 0; i < n; i++) {
        int other = node_index(&o->nodes, names[i]);
        if (other >= 0)
            away[other] = true;
    }
    take_out(o, away, (size_t)node, &p, &a);
    return absence_json(o, &a, moves_json(o, (size_t)node, &p));
}

/* ---- findings ---- */

struct told { /* findings of one check */
    struct json *arr;
    const char *check;
    size_t n;
};

static void tell(struct told *t, const char *result, const char *object, const char *remedy, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
static void tell(struct told *t, const char *result, const char *object, const char *remedy, const char *fmt, ...)
{
    char text[ERROR_TEXT_MAX];
    va_list ap;
    if (t->n++ >= OUTLOOK_TOLD_MAX)
        return;
    va_start(ap, fmt);
    text_vformat(text, sizeof(text), fmt, ap);
    va_end(ap);
    struct json *f = json_object_new();
    json_set_str(f, "check", t->check);
    json_set_str(f, "result", result);
    json_set_str(f, "object", object);
    json_set_str(f, "text", text);
    json_set_str(f, "remedy", remedy);
    json_append(t->arr, f);
}

/* What was not told one by one. */
static void tell_rest(struct told *t, const char *result, const char *what)
{
    size_t rest = t->n > OUTLOOK_TOLD_MAX ? t->n - OUTLOOK_TOLD_MAX : 0;
    if (rest == 0)
        return;
    t->n = 0;
    tell(t, result, "", "clusterctl upgrade check, once these are mended", "%zu more %s", rest, what);
}

/* Its policy has another way, or names what is in the way of that. False: its policy is to stay. */
static bool tell_by_policy(struct told *t, const struct vm_outlook *o, const struct item *i)
{
    static const char *const what[] = {
        [VM_DRAIN_STOPS] = ": it is shut down and started again, as its policy says",
        [VM_DRAIN_SAVES] = ": it is saved and restored, as its policy says",
        [VM_DRAIN_SKIPS] = ": its node is skipped, as its policy says",
        [VM_DRAIN_BLOCKED] = "",
    };
    struct error e = {0};
    if (i->v.policy == VM_POLICY_FAIL)
        return false;
    vm_drain_of(&i->v, &o->nodes, &e);
    tell(t, i->drain == VM_DRAIN_BLOCKED ? "fail" : "warn", i->v.name, e.remedy, "%s%s", e.text, what[i->drain]);
    return true;
}

static void tell_stuck(struct told *t, const struct vm_outlook *o, const struct item *i)
{
    const char *node = o->places[i->node].name, *name = i->v.name;
    char remedy[ERROR_REMEDY_MAX];
    if (tell_by_policy(t, o, i))
        return;
    snprintf(remedy, sizeof(remedy), "clusterctl vm stop %s, or vm set %s --policy shutdown-restart", name, name);
    if (i->v.has_host_device)
        tell(t, "fail", name, remedy, "it uses a device of its host %s and cannot be moved while it runs", node);
    else if (i->v.has_local_disk)
        tell(t, "fail", name, "move its disk to storage that all nodes share",
             "it has a disk on %s alone and cannot be moved", node);
    else
        tell(t, "fail", name, remedy, "no other node that takes virtual machines has its machine type %s",
             i->v.machine);
}

static void check_moves(const struct vm_outlook *o, struct json *arr)
{
    struct told t = {.arr = arr, .check = "vms"};
    size_t running = 0;
    for (size_t k = 0; k < o->n_items; k++) {
        const struct item *i = &o->items[k];
        running += i->is_running;
        if (i->is_running && i->node >= 0 && i->drain != VM_DRAIN_MOVES)
            tell_stuck(&t, o, i);
    }
    if (running == 0)
        tell(&t, "pass", "", "", "no virtual machine runs");
    else if (t.n == 0)
        tell(&t, "pass", "", "", "each of the %zu virtual machines that run can be moved while it runs", running);
    tell_rest(&t, "fail", "virtual machines cannot be moved");
}

/* A disk on one node alone does not outlive that node's system. */
static void check_disks(const struct vm_outlook *o, struct json *arr)
{
    struct told t = {.arr = arr, .check = "disks"};
    for (size_t k = 0; k < o->n_items; k++) {
        const struct item *i = &o->items[k];
        if (!i->is_running && i->node >= 0 && i->v.has_local_disk)
            tell(&t, "fail", i->v.name, "move its disk to storage that all nodes share",
                 "it is off, and has a disk on %s alone, which a rebuild of that node loses", o->places[i->node].name);
    }
    if (t.n == 0)
        tell(&t, "pass", "", "", "no virtual machine that is off has a disk on one node alone");
    tell_rest(&t, "fail", "virtual machines have a disk on one node alone");
}

/* libvirt keeps both on the node: the file of a managed save, and what a snapshot is called and made of. */
static void check_saved(const struct vm_outlook *o, struct json *arr)
{
    struct told saves = {.arr = arr, .check = "saved"}, snapshots = {.arr = arr, .check = "snapshots"};
    char remedy[ERROR_REMEDY_MAX];
    for (size_t k = 0; k < o->n_items; k++) {
        const struct item *i = &o->items[k];
        const char *node = i->node >= 0 ? o->places[i->node].name : "its node";
        snprintf(remedy, sizeof(remedy), "clusterctl vm start %s, or virsh managedsave-remove %s on %s", i->v.name,
                 i->v.name, node);
        if (i->v.managed_save)
            tell(&saves, "fail", i->v.name, remedy, "its memory is saved in a file on %s, which a rebuild of %s loses",
                 node, node);
        snprintf(remedy, sizeof(remedy), "virsh snapshot-list %s on %s, and snapshot-delete what is not needed",
                 i->v.name, node);
        if (i->v.memory_snapshot)
            tell(&snapshots, "warn", i->v.name, remedy,
                 "it has a snapshot with memory, which %s knows of, and no node after a rebuild of it", node);
    }
    if (saves.n == 0)
        tell(&saves, "pass", "", "", "no virtual machine has its memory saved in a file");
    if (snapshots.n == 0)
        tell(&snapshots, "pass", "", "", "no virtual machine has a snapshot with memory");
    tell_rest(&saves, "fail", "virtual machines have their memory saved in a file");
    tell_rest(&snapshots, "warn", "virtual machines have a snapshot with memory");
}

static void tell_no_room(struct told *t, const struct place *p, const struct absence *a)
{
    char remedy[ERROR_REMEDY_MAX];
    const struct vm *v = &a->no_room->v;
    snprintf(remedy, sizeof(remedy), "clusterctl vm stop %s, or give the nodes more memory", v->name);
    tell(t, "fail", p->name, remedy,
         "without %s %" PRIu32 " of its %" PRIu32 " virtual machines find no node with room for them, the first %s, of "
         "%" PRIu64 " MiB: %.300s",
         p->name, a->n_no_room, a->n_vms, v->name, v->memory_kib / 1024, a->why.text);
}

/* By name of the node without which it is; -1: there is no node. */
static int tightest_of(const struct vm_outlook *o)
{
    int tightest = -1;
    for (size_t p = 0; p < o->nodes.n; p++)
        if (tightest < 0 || o->alone[p].fullest_percent > o->alone[tightest].fullest_percent)
            tightest = (int)p;
    return tightest;
}

/* One that is saved for want of room is off for as long as its node is away. */
static void tell_saved(struct told *t, const struct vm_outlook *o)
{
    for (size_t k = 0; k < o->n_items; k++) {
        const struct item *i = &o->items[k];
        if (i->is_saved)
            tell(t, "warn", i->v.name, "stop virtual machines that can be missed: clusterctl vm stop NAME",
                 "there is no room for it elsewhere: it is saved while %s is away, as its policy says",
                 o->places[i->node].name);
    }
}

static void check_room(const struct vm_outlook *o, struct json *arr)
{
    struct told t = {.arr = arr, .check = "room"}, saved = {.arr = arr, .check = "room"};
    for (size_t p = 0; p < o->nodes.n; p++)
        if (o->alone[p].n_no_room)
            tell_no_room(&t, &o->places[p], &o->alone[p]);
    tell_rest(&t, "fail", "nodes cannot be missed for want of room");
    tell_saved(&saved, o);
    tell_rest(&saved, "warn", "virtual machines are saved for want of room");
    int at = tightest_of(o);
    if (t.n + saved.n > 0 || at < 0 || o->alone[at].fullest < 0)
        return;
    const char *name = o->places[at].name, *fullest = o->places[o->alone[at].fullest].name;
    unsigned percent = o->alone[at].fullest_percent;
    if (percent > OUTLOOK_TIGHT_PERCENT)
        tell(&t, "warn", name, "stop virtual machines that can be missed: clusterctl vm stop NAME",
             "while %s is away %u %% of the memory of %s are promised", name, percent, fullest);
    else
        tell(&t, "pass", "", "",
             "while a node is away at most %u %% of another one's memory are promised (of %s, without %s)", percent,
             fullest, name);
}

struct json *vm_outlook_findings(const struct vm_outlook *o)
{
    struct json *arr = json_array_new();
    check_moves(o, arr);
    check_room(o, arr);
    check_disks(o, arr);
    check_saved(o, arr);
    return arr;
}
