/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vm/outlook: what taking out a node would mean for virtual machines. */
#include "tests/unit/vm_world.h"

#include "vm/outlook.h"

enum { GIB = 1 << 20 };

static void put(struct world *w, const char *name, const char *node, void (*change)(struct vm *v))
{
    AUTO(buf_done) struct buf b = {0};
    struct vm v = {.uuid = world_uuid(1),
                   .state = VM_RUNNING,
                   .wanted = true,
                   .memory_kib = GIB,
                   .vcpus = 1,
                   .policy = VM_POLICY_FAIL,
                   .epoch = 1};
    STR_COPY(v.name, name);
    STR_COPY(v.node, node);
    STR_COPY(v.home, node);
    STR_COPY(v.machine, "pc-q35-7.2");
    if (change)
        change(&v);
    vm_encode(&v, &b);
    tables_put(w->t, TABLE_VM, name, buf_slice(&b));
}

/* {moves …} of a node, and its vm -> to as "vm1:n2 vm2:-". */
static struct json *outlook_of(struct world *w, const char *node, char *ret_moves, size_t size)
{
    struct vm_outlook *o = vm_outlook_new(w->t, &w->nodes);
    struct json *j = vm_outlook_json(o, &node, 1);
    const struct json *moves = json_get(j, "moves");
    size_t len = 0;
    ret_moves[0] = '\0';
    for (size_t i = 0; i < json_count(moves) && len < size; i++)
        len += (size_t)snprintf(ret_moves + len, size - len, "%s%s:%s", i ? " " : "",
                                json_get_str(json_at(moves, i), "vm", ""), json_get_str(json_at(moves, i), "to", "-"));
    vm_outlook_free(o);
    return j;
}

/* The finding of a check about an object; "" of an absent one. */
static void assert_finding(struct world *w, const char *check, const char *object, const char *result, const char *text)
{
    struct vm_outlook *o = vm_outlook_new(w->t, &w->nodes);
    AUTO(json_freep) struct json *all = vm_outlook_findings(o);
    const struct json *found = NULL;
    for (size_t i = 0; i < json_count(all) && !found; i++)
        if (str_eq(json_get_str(json_at(all, i), "check", ""), check) &&
            str_eq(json_get_str(json_at(all, i), "object", "-"), object))
            found = json_at(all, i);
    assert_string_equal(json_get_str(found, "result", "none"), result);
    assert_non_null(strstr(json_get_str(found, "text", ""), text));
    assert_int_equal(json_get_str(found, "remedy", "")[0] == '\0', str_eq(result, "pass"));
    vm_outlook_free(o);
}

static void first(struct vm *v)
{
    v->priority = 5;
}

static void off(struct vm *v)
{
    v->state = VM_STOPPED;
}

static void with_device(struct vm *v)
{
    v->has_host_device = true;
}

static void with_local_disk(struct vm *v)
{
    v->has_local_disk = true;
}

static void off_with_local_disk(struct vm *v)
{
    v->has_local_disk = true;
    v->state = VM_STOPPED;
}

static void saved(struct vm *v)
{
    v->state = VM_STOPPED;
    v->managed_save = true;
}

static void with_snapshot(struct vm *v)
{
    v->memory_snapshot = true;
}

static void of_seven_gib(struct vm *v)
{
    v->memory_kib = 7 * GIB;
}

static void newer(struct vm *v)
{
    STR_COPY(v->machine, "pc-q35-9.2");
}

static void test_where_they_go(void **state)
{
    (void)state;
    struct world w;
    char moves[256];
    world_init(&w); /* three nodes of 8 GiB */
    put(&w, "vm1", "n1", NULL);
    put(&w, "vm2", "n1", NULL);
    put(&w, "vm3", "n1", first);
    put(&w, "vm4", "n2", NULL);
    put(&w, "vm5", "n1", off);
    AUTO(json_freep) struct json *j = outlook_of(&w, "n1", moves, sizeof(moves));
    assert_string_equal(moves, "vm3:n3 vm1:n2 vm2:n3"); /* by priority, then name; to the most free memory */
    assert_int_equal(json_get_int(j, "memory_mib", 0), 3 * 1024);
    assert_int_equal(json_get_int(j, "free_mib", 0), 15 * 1024);
    assert_int_equal(json_get_int(j, "left_mib", 0), 12 * 1024);
    assert_string_equal(json_get_str(j, "fullest", ""), "n2");
    assert_int_equal(json_get_int(j, "fullest_percent", 0), 25);
    assert_int_equal(json_get_int(j, "cannot_move", 9), 0);
    AUTO(json_freep) struct json *none = outlook_of(&w, "n3", moves, sizeof(moves));
    assert_string_equal(moves, "");
    struct vm_outlook *o = vm_outlook_new(w.t, &w.nodes);
    static const char *const unknown = "n9";
    assert_null(vm_outlook_json(o, &unknown, 1));
    vm_outlook_free(o);
    assert_finding(&w, "vms", "", "pass", "each of the 4");
    assert_finding(&w, "room", "", "pass", "at most");
    assert_finding(&w, "disks", "", "pass", "");
    world_done(&w);
}

static void test_what_cannot_move(void **state)
{
    (void)state;
    struct world w;
    char moves[256];
    world_init(&w);
    w.list[0].machines = "pc-q35-7.2 pc-q35-9.2";
    put(&w, "vm1", "n1", with_device);
    put(&w, "vm2", "n1", with_local_disk);
    put(&w, "vm3", "n1", newer);
    put(&w, "vm4", "n1", off_with_local_disk);
    AUTO(json_freep) struct json *j = outlook_of(&w, "n1", moves, sizeof(moves));
    assert_string_equal(moves, "vm1:- vm2:- vm3:-");
    assert_int_equal(json_get_int(j, "cannot_move", 0), 3);
    assert_finding(&w, "vms", "vm1", "fail", "device of its host n1");
    assert_finding(&w, "vms", "vm2", "fail", "disk on n1 alone");
    assert_finding(&w, "vms", "vm3", "fail", "pc-q35-9.2");
    assert_finding(&w, "disks", "vm4", "fail", "rebuild");
    w.list[2].machines = "pc-q35-7.2 pc-q35-9.2";
    AUTO(json_freep) struct json *again = outlook_of(&w, "n1", moves, sizeof(moves));
    assert_string_equal(moves, "vm1:- vm2:- vm3:n3");
    w.list[2].accepts = false; /* it has the type, and takes no VM */
    assert_finding(&w, "room", "n1", "fail", "n3: not active");
    world_done(&w);
}

static struct json *together(struct world *w, const char *node, const char *other)
{
    const char *const away[] = {node, other};
    struct vm_outlook *o = vm_outlook_new(w->t, &w->nodes);
    struct json *j = vm_outlook_json(o, away, 2);
    vm_outlook_free(o);
    return j;
}

static void of_three_gib(struct vm *v)
{
    v->memory_kib = 3 * GIB;
}

/* Two nodes at once: their VMs compete for what is left, and neither goes to the other. */
static void test_two_away_at_once(void **state)
{
    (void)state;
    struct world w;
    world_init(&w); /* three nodes of 8 GiB */
    put(&w, "vm1", "n1", of_three_gib);
    put(&w, "vm2", "n2", of_three_gib);
    AUTO(json_freep) struct json *both = together(&w, "n1", "n2");
    assert_string_equal(json_get_str(json_at(json_get(both, "moves"), 0), "to", ""), "n3");
    assert_int_equal(json_count(json_get(both, "moves")), 1); /* of n1 alone */
    assert_int_equal(json_get_int(both, "no_room", 9), 0);
    assert_int_equal(json_get_int(both, "free_mib", 0), 8 * 1024);
    assert_int_equal(json_get_int(both, "left_mib", 0), 2 * 1024); /* with both there */
    assert_string_equal(json_get_str(both, "fullest", ""), "n3");
    assert_int_equal(json_get_int(both, "fullest_percent", 0), 75);
    put(&w, "vm3", "n1", of_three_gib);
    put(&w, "vm4", "n2", first); /* more important than vm1 or vm3, whose node has one of them left */
    AUTO(json_freep) struct json *full = together(&w, "n1", "n2");
    AUTO(json_freep) struct json *other = together(&w, "n2", "n1");
    assert_int_equal(json_get_int(full, "no_room", 0) + json_get_int(other, "no_room", 0), 1);
    assert_finding(&w, "room", "", "pass", "");
    world_done(&w);
}

/* A drain saves it then, so that the node can be missed. */
static void saved_by_policy(struct vm *v)
{
    v->memory_kib = 7 * GIB;
    v->policy = VM_POLICY_SAVE;
}

static void test_saved_for_want_of_room(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    put(&w, "vm1", "n1", saved_by_policy);
    put(&w, "vm2", "n2", of_three_gib);
    put(&w, "vm3", "n3", of_three_gib);
    assert_finding(&w, "room", "n1", "fail", "vm1, of 7168 MiB"); /* there is no folder */
    STR_COPY(w.nodes.settings.save_path, "/srv/save");
    assert_finding(&w, "room", "vm1", "warn", "saved while n1 is away");
    world_done(&w);
}

static void test_room(void **state)
{
    (void)state;
    struct world w;
    char moves[256];
    world_init(&w);
    put(&w, "vm1", "n1", of_seven_gib);
    put(&w, "vm2", "n2", NULL);
    assert_finding(&w, "room", "", "pass", "87 %");
    put(&w, "vm3", "n2", NULL);
    put(&w, "vm4", "n3", NULL);
    assert_finding(&w, "room", "n1", "warn", "100 %"); /* all of n3 */
    put(&w, "vm5", "n3", NULL);
    assert_finding(&w, "room", "n1", "fail", "vm1, of 7168 MiB");
    AUTO(json_freep) struct json *j = outlook_of(&w, "n1", moves, sizeof(moves));
    assert_string_equal(moves, "vm1:-");
    assert_int_equal(json_get_int(j, "no_room", 0), 1);
    assert_int_equal(json_get_int(j, "cannot_move", 9), 0);
    world_done(&w);
}

static void test_memory_that_is_kept(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    put(&w, "vm1", "n1", NULL);
    assert_finding(&w, "saved", "", "pass", "");
    assert_finding(&w, "snapshots", "", "pass", "");
    put(&w, "vm2", "n1", saved);
    put(&w, "vm3", "n2", with_snapshot);
    assert_finding(&w, "saved", "vm2", "fail", "file on n1");
    assert_finding(&w, "snapshots", "vm3", "warn", "n2");
    world_done(&w);
}

/* What is on its way to a node is promised there already. */
static void test_moves_under_way(void **state)
{
    (void)state;
    struct world w;
    char moves[256];
    world_init(&w);
    world_run(&w, "vm1", "n2", 1);
    put(&w, "vm2", "n1", NULL);
    AUTO(json_freep) struct json *before = outlook_of(&w, "n1", moves, sizeof(moves));
    assert_string_equal(moves, "vm2:n3");
    assert_int_equal(world_op(&w, (struct vm_op_request){.name = "vm1", .op = VM_OP_MIGRATE, .node = "n3"}), 0);
    AUTO(json_freep) struct json *after = outlook_of(&w, "n1", moves, sizeof(moves));
    assert_string_equal(moves, "vm2:n2"); /* equal now: the first */
    world_done(&w);
}

static void test_one_node_alone(void **state)
{
    (void)state;
    struct world w;
    char moves[256];
    world_init(&w);
    w.nodes.n = 1;
    put(&w, "vm1", "n1", NULL);
    put(&w, "vm2", "n2", NULL); /* of a node that is no more */
    AUTO(json_freep) struct json *j = outlook_of(&w, "n1", moves, sizeof(moves));
    assert_string_equal(moves, "vm1:-");
    assert_false(json_is_str(json_get(j, "fullest")));
    assert_finding(&w, "vms", "vm1", "fail", "no other node");
    w.nodes.n = 0;
    struct vm_outlook *o = vm_outlook_new(w.t, &w.nodes);
    AUTO(json_freep) struct json *f = vm_outlook_findings(o);
    assert_true(json_count(f) > 0);
    vm_outlook_free(o);
    world_done(&w);
}

static void test_many_are_not_all_told(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    for (unsigned i = 0; i < OUTLOOK_TOLD_MAX + 7; i++) {
        char name[VM_NAME_MAX];
        snprintf(name, sizeof(name), "vm%03u", i);
        put(&w, name, "n1", with_device);
    }
    struct vm_outlook *o = vm_outlook_new(w.t, &w.nodes);
    AUTO(json_freep) struct json *all = vm_outlook_findings(o);
    size_t n = 0;
    for (size_t i = 0; i < json_count(all); i++)
        n += str_eq(json_get_str(json_at(all, i), "check", ""), "vms");
    assert_int_equal(n, OUTLOOK_TOLD_MAX + 1);
    vm_outlook_free(o);
    assert_finding(&w, "vms", "", "fail", "7 more");
    world_done(&w);
}

static void test_machines_in_use(void **state)
{
    (void)state;
    struct world w;
    const struct vm_outlook_machine *m;
    world_init(&w);
    put(&w, "vm1", "n1", off);
    put(&w, "vm2", "n2", newer);
    put(&w, "vm3", "n3", NULL);
    struct vm_outlook *o = vm_outlook_new(w.t, &w.nodes);
    assert_int_equal(vm_outlook_machines(o, &m), 2);
    assert_string_equal(m[0].machine, "pc-q35-7.2");
    assert_int_equal(m[0].n, 2);
    assert_string_equal(m[0].example, "vm1");
    assert_string_equal(m[1].example, "vm2");
    vm_outlook_free(o);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_where_they_go),
        cmocka_unit_test(test_what_cannot_move),
        cmocka_unit_test(test_two_away_at_once),
        cmocka_unit_test(test_saved_for_want_of_room),
        cmocka_unit_test(test_room),
        cmocka_unit_test(test_moves_under_way),
        cmocka_unit_test(test_memory_that_is_kept),
        cmocka_unit_test(test_one_node_alone),
        cmocka_unit_test(test_many_are_not_all_told),
        cmocka_unit_test(test_machines_in_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
