/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vm/outlook.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/text.h"

enum { TO_NOWHERE = -1, TO_NO_ROOM = -2 }; /* of `to` */

struct item { /* a VM */
    char name[VM_NAME_MAX];
    int node; /* index; -1: of no node that there is */
    size_t machine;
    uint64_t memory_kib;
    int32_t priority;
    bool is_running, has_host_device, has_local_disk, managed_save, memory_snapshot;
    int to; /* index of the node that would take it */
};
struct place { /* a node */
    char name[NODE_NAME_MAX];
    bool accepts;
    uint64_t memory_kib, promised_kib;
    /* While it is away: */
    uint64_t moved_kib, free_kib, left_kib; /* of the others */
    int fullest;                            /* -1: there is no other node */
    unsigned fullest_percent;
    uint32_t n_vms, n_stuck, n_no_room;
    const struct item *no_room; /* the first */
};
struct vm_outlook {
    const struct tables *t; /* borrowed, as are the nodes */
    const struct vm_nodes *nodes;
    struct item *items; /* those of one node stand in the order in which they move */
    size_t n_items;
    struct place *places;
    size_t n_places;
    struct vm_outlook_machine *machines;
    size_t n_machines;
    bool *has; /* has[place * n_machines + machine] */
};

/* ---- reading ---- */

static size_t machine_index(struct vm_outlook *o, const struct vm *v)
{
    for (size_t i = 0; i < o->n_machines; i++)
        if (str_eq(o->machines[i].machine, v->machine)) {
            o->machines[i].n++;
            return i;
        }
    o->machines = xrealloc(o->machines, o->n_machines + 1, sizeof(*o->machines));
    struct vm_outlook_machine *m = &o->machines[o->n_machines];
    *m = (struct vm_outlook_machine){.n = 1};
    STR_COPY(m->machine, v->machine);
    STR_COPY(m->example, v->name);
    return o->n_machines++;
}

static int node_index(const struct vm_nodes *nodes, const char *name)
{
    const struct vm_node *n = vm_nodes_find(nodes, name);
    return n ? (int)(n - nodes->nodes) : -1;
}

static void read_vms(struct vm_outlook *o, const struct tables *t, const struct vm_nodes *nodes)
{
    size_t room = 0;
    struct vm v = {0};
    for (const char *after = NULL; vm_next(t, after, &v); after = v.name) {
        if (o->n_items == room) {
            room = room ? 2 * room : 64;
            o->items = xrealloc(o->items, room, sizeof(*o->items));
        }
        struct item *i = &o->items[o->n_items++];
        *i = (struct item){.node = node_index(nodes, v.node),
                           .machine = machine_index(o, &v),
                           .memory_kib = v.memory_kib,
                           .priority = v.priority,
                           .is_running = v.state == VM_RUNNING || v.op == VM_OP_START,
                           .has_host_device = v.has_host_device,
                           .has_local_disk = v.has_local_disk,
                           .managed_save = v.managed_save,
                           .memory_snapshot = v.memory_snapshot,
                           .to = TO_NOWHERE};
        STR_COPY(i->name, v.name);
        int target = v.op == VM_OP_MIGRATE ? node_index(nodes, v.target) : -1;
        if (i->node >= 0 && i->is_running)
            o->places[i->node].promised_kib += v.memory_kib;
        if (target >= 0 && target != i->node)
            o->places[target].promised_kib += v.memory_kib;
    }
}

static void read_nodes(struct vm_outlook *o, const struct vm_nodes *nodes)
{
    o->n_places = nodes->n;
    o->places = xcalloc(nodes->n ? nodes->n : 1, sizeof(*o->places));
    for (size_t i = 0; i < nodes->n; i++) {
        const struct vm_node *n = &nodes->nodes[i];
        o->places[i] = (struct place){.accepts = n->accepts, .memory_kib = n->memory_kib, .fullest = -1};
        STR_COPY(o->places[i].name, n->name);
    }
}

static bool has_word(const char *list, const char *word)
{
    size_t len = strlen(word);
    for (const char *p = list; p && (p = strstr(p, word)); p += len)
        if ((p == list || p[-1] == ' ') && (p[len] == ' ' || p[len] == '\0'))
            return true;
    return false;
}

static void read_machines(struct vm_outlook *o, const struct vm_nodes *nodes)
{
    o->has = xcalloc(o->n_places * o->n_machines + 1, sizeof(*o->has));
    for (size_t i = 0; i < o->n_places; i++)
        for (size_t m = 0; m < o->n_machines; m++)
            o->has[i * o->n_machines + m] = has_word(nodes->nodes[i].machines, o->machines[m].machine);
}

/* ---- where they would go ---- */

static int order_of(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    if (x->node != y->node)
        return x->node < y->node ? -1 : 1;
    if (x->priority != y->priority)
        return x->priority > y->priority ? -1 : 1;
    return strcmp(x->name, y->name);
}

static bool could_take(const struct vm_outlook *o, const struct item *i, size_t place)
{
    return (int)place != i->node && o->places[place].accepts && o->has[place * o->n_machines + i->machine];
}

/* The node with the most memory that is free, the first of equals. */
static int place_one(const struct vm_outlook *o, const struct item *i, uint64_t *free_kib)
{
    int best = TO_NOWHERE;
    if (i->has_host_device || i->has_local_disk)
        return TO_NOWHERE;
    for (size_t p = 0; p < o->n_places; p++)
        if (could_take(o, i, p) && (best < 0 || free_kib[p] > free_kib[best]))
            best = (int)p;
    if (best >= 0 && free_kib[best] < i->memory_kib)
        return TO_NO_ROOM;
    if (best >= 0)
        free_kib[best] -= i->memory_kib;
    return best;
}

static void sum_up(struct vm_outlook *o, size_t away, const uint64_t *free_kib)
{
    struct place *a = &o->places[away];
    for (size_t p = 0; p < o->n_places; p++) {
        const struct place *other = &o->places[p];
        if (p == away || !other->accepts || other->memory_kib == 0)
            continue;
        unsigned percent = (unsigned)((other->memory_kib - free_kib[p]) * 100 / other->memory_kib);
        a->left_kib += free_kib[p];
        if (a->fullest < 0 || percent > a->fullest_percent) {
            a->fullest = (int)p;
            a->fullest_percent = percent;
        }
    }
}

/* Takes the node out, with the items of its own. */
static void take_out(struct vm_outlook *o, size_t away, struct item *items, size_t n)
{
    struct place *a = &o->places[away];
    uint64_t *free_kib = xcalloc(o->n_places, sizeof(*free_kib));
    for (size_t p = 0; p < o->n_places; p++) {
        const struct place *other = &o->places[p];
        free_kib[p] = other->memory_kib > other->promised_kib ? other->memory_kib - other->promised_kib : 0;
        if (p != away && other->accepts)
            a->free_kib += free_kib[p];
    }
    for (size_t k = 0; k < n; k++) {
        if (!items[k].is_running)
            continue;
        items[k].to = place_one(o, &items[k], free_kib);
        a->n_vms++;
        a->n_stuck += items[k].to == TO_NOWHERE;
        a->moved_kib += items[k].to >= 0 ? items[k].memory_kib : 0;
        if (items[k].to == TO_NO_ROOM && a->n_no_room++ == 0)
            a->no_room = &items[k];
    }
    sum_up(o, away, free_kib);
    free(free_kib);
}

/* Items of a node, which stand together; returns where the next node's begin. */
static size_t items_of(const struct vm_outlook *o, size_t from, int node)
{
    size_t end = from;
    while (end < o->n_items && o->items[end].node == node)
        end++;
    return end;
}

struct vm_outlook *vm_outlook_new(const struct tables *t, const struct vm_nodes *nodes)
{
    struct vm_outlook *o = xcalloc(1, sizeof(*o));
    o->t = t;
    o->nodes = nodes;
    read_nodes(o, nodes);
    read_vms(o, t, nodes);
    read_machines(o, nodes);
    if (o->n_items)
        qsort(o->items, o->n_items, sizeof(*o->items), order_of);
    size_t at = items_of(o, 0, -1);
    for (size_t p = 0; p < o->n_places; p++) {
        size_t end = items_of(o, at, (int)p);
        take_out(o, p, o->items + at, end - at);
        at = end;
    }
    return o;
}

void vm_outlook_free(struct vm_outlook *o)
{
    if (!o)
        return;
    free(o->items);
    free(o->places);
    free(o->machines);
    free(o->has);
    free(o);
}

/* ---- shown ---- */

size_t vm_outlook_machines(const struct vm_outlook *o, const struct vm_outlook_machine **ret)
{
    *ret = o->machines;
    return o->n_machines;
}

static struct json *moves_json(const struct vm_outlook *o, int node)
{
    struct json *moves = json_array_new();
    for (size_t k = 0; k < o->n_items; k++) {
        const struct item *i = &o->items[k];
        if (i->node != node || !i->is_running)
            continue;
        struct json *m = json_object_new();
        json_set_str(m, "vm", i->name);
        json_set_int(m, "memory_mib", (int64_t)(i->memory_kib / 1024));
        json_set_str(m, "to", i->to >= 0 ? o->places[i->to].name : NULL);
        json_append(moves, m);
    }
    return moves;
}

struct json *vm_outlook_json(const struct vm_outlook *o, const char *node)
{
    for (size_t p = 0; p < o->n_places; p++) {
        const struct place *a = &o->places[p];
        if (!str_eq(a->name, node))
            continue;
        struct json *j = json_object_new();
        json_set(j, "moves", moves_json(o, (int)p));
        json_set_int(j, "memory_mib", (int64_t)(a->moved_kib / 1024));
        json_set_int(j, "free_mib", (int64_t)(a->free_kib / 1024));
        json_set_int(j, "left_mib", (int64_t)(a->left_kib / 1024));
        json_set_str(j, "fullest", a->fullest >= 0 ? o->places[a->fullest].name : NULL);
        json_set_int(j, "fullest_percent", a->fullest_percent);
        json_set_int(j, "cannot_move", a->n_stuck);
        json_set_int(j, "no_room", a->n_no_room);
        return j;
    }
    return NULL;
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
    struct vm v;
    struct error e = {0};
    if (vm_get(o->t, i->name, &v) != 0 || v.policy == VM_POLICY_FAIL)
        return false;
    enum vm_drain drain = vm_drain_of(&v, o->nodes, &e);
    if (drain == VM_DRAIN_MOVES)
        return false;
    tell(t, drain == VM_DRAIN_BLOCKED ? "fail" : "warn", i->name, e.remedy, "%s%s", e.text, what[drain]);
    return true;
}

static void tell_stuck(struct told *t, const struct vm_outlook *o, const struct item *i)
{
    const char *node = o->places[i->node].name, *machine = o->machines[i->machine].machine;
    char remedy[ERROR_REMEDY_MAX];
    if (tell_by_policy(t, o, i))
        return;
    snprintf(remedy, sizeof(remedy), "clusterctl vm stop %s, or vm set %s --policy shutdown-restart", i->name, i->name);
    if (i->has_host_device)
        tell(t, "fail", i->name, remedy, "it uses a device of its host %s and cannot be moved while it runs", node);
    else if (i->has_local_disk)
        tell(t, "fail", i->name, "move its disk to storage that all nodes share",
             "it has a disk on %s alone and cannot be moved", node);
    else
        tell(t, "fail", i->name, remedy, "no other node that takes virtual machines has its machine type %s", machine);
}

static void check_moves(const struct vm_outlook *o, struct json *arr)
{
    struct told t = {.arr = arr, .check = "vms"};
    size_t running = 0;
    for (size_t k = 0; k < o->n_items; k++) {
        const struct item *i = &o->items[k];
        running += i->is_running;
        if (i->is_running && i->node >= 0 && i->to == TO_NOWHERE)
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
        if (!i->is_running && i->node >= 0 && i->has_local_disk)
            tell(&t, "fail", i->name, "move its disk to storage that all nodes share",
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
        snprintf(remedy, sizeof(remedy), "clusterctl vm start %s, or virsh managedsave-remove %s on %s", i->name,
                 i->name, node);
        if (i->managed_save)
            tell(&saves, "fail", i->name, remedy, "its memory is saved in a file on %s, which a rebuild of %s loses",
                 node, node);
        snprintf(remedy, sizeof(remedy), "virsh snapshot-list %s on %s, and snapshot-delete what is not needed",
                 i->name, node);
        if (i->memory_snapshot)
            tell(&snapshots, "warn", i->name, remedy,
                 "it has a snapshot with memory, which %s knows of, and no node after a rebuild of it", node);
    }
    if (saves.n == 0)
        tell(&saves, "pass", "", "", "no virtual machine has its memory saved in a file");
    if (snapshots.n == 0)
        tell(&snapshots, "pass", "", "", "no virtual machine has a snapshot with memory");
    tell_rest(&saves, "fail", "virtual machines have their memory saved in a file");
    tell_rest(&snapshots, "warn", "virtual machines have a snapshot with memory");
}

static void tell_no_room(struct told *t, const struct place *a)
{
    char remedy[ERROR_REMEDY_MAX];
    snprintf(remedy, sizeof(remedy), "clusterctl vm stop %s, or give the nodes more memory", a->no_room->name);
    tell(t, "fail", a->name, remedy,
         "without %s %" PRIu32 " of its %" PRIu32
         " virtual machines find no node with memory for them, the first %s, of "
         "%" PRIu64 " MiB",
         a->name, a->n_no_room, a->n_vms, a->no_room->name, a->no_room->memory_kib / 1024);
}

static const struct place *tightest_of(const struct vm_outlook *o)
{
    const struct place *tightest = NULL;
    for (size_t p = 0; p < o->n_places; p++)
        if (!tightest || o->places[p].fullest_percent > tightest->fullest_percent)
            tightest = &o->places[p];
    return tightest;
}

static void check_room(const struct vm_outlook *o, struct json *arr)
{
    struct told t = {.arr = arr, .check = "room"};
    for (size_t p = 0; p < o->n_places; p++)
        if (o->places[p].n_no_room)
            tell_no_room(&t, &o->places[p]);
    tell_rest(&t, "fail", "nodes cannot be missed for want of memory");
    const struct place *tight = tightest_of(o);
    if (t.n > 0 || !tight || tight->fullest < 0)
        return;
    const char *fullest = o->places[tight->fullest].name;
    if (tight->fullest_percent > OUTLOOK_TIGHT_PERCENT)
        tell(&t, "warn", tight->name, "stop virtual machines that can be missed: clusterctl vm stop NAME",
             "while %s is away %u %% of the memory of %s are promised", tight->name, tight->fullest_percent, fullest);
    else
        tell(&t, "pass", "", "",
             "while a node is away at most %u %% of another one's memory are promised (of %s, without %s)",
             tight->fullest_percent, fullest, tight->name);
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
