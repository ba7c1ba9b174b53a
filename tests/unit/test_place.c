/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/vm_world.h"

static int place(const struct world *w, const char *name, const char *not_on, char *ret, struct error *e)
{
    struct vm v = world_vm(w, name);
    return vm_place(w->t, &w->nodes, &v, not_on, ret, e);
}

static void test_lowest_share_then_name(void **state)
{
    (void)state;
    struct world w;
    struct error e = {0};
    char node[NODE_NAME_MAX] = "";
    world_init(&w);
    world_run(&w, "vm1", "n1", 1);
    assert_int_equal(place(&w, "vm1", "n1", node, &e), 0);
    assert_string_equal(node, "n2"); /* n2 and n3 are equal */
    world_run(&w, "vm2", "n2", 2);
    assert_int_equal(place(&w, "vm1", "n1", node, &e), 0);
    assert_string_equal(node, "n3");
    w.list[1].memory_kib += 2 << 20; /* more is free there, but not of what it has */
    assert_int_equal(place(&w, "vm1", "n1", node, &e), 0);
    assert_string_equal(node, "n3");
    w.list[1].memory_kib = 17 << 20;
    assert_int_equal(place(&w, "vm1", "n1", node, &e), 0);
    assert_string_equal(node, "n2");
    world_done(&w);
}

static void test_vms_on_their_way_count(void **state)
{
    (void)state;
    struct world w;
    struct error e = {0};
    char node[NODE_NAME_MAX] = "";
    world_init(&w);
    world_run(&w, "vm1", "n1", 1);
    world_run(&w, "vm2", "n1", 2);
    world_add(&w, "vm3", "n3", 3);
    assert_int_equal(place(&w, "vm1", "n1", node, &e), 0);
    assert_string_equal(node, "n2"); /* vm3 is off */
    struct vm_op_request r = {.name = "vm2", .op = VM_OP_MIGRATE, .node = "n2"};
    world_op(&w, r);
    assert_int_equal(place(&w, "vm1", "n1", node, &e), 0);
    assert_string_equal(node, "n3");
    r = (struct vm_op_request){.name = "vm3", .op = VM_OP_START};
    world_op(&w, r);
    w.list[2].memory_kib += 1; /* else n2 by its name */
    assert_int_equal(place(&w, "vm1", "n1", node, &e), 0);
    assert_string_equal(node, "n3");
    w.list[2].memory_kib -= 2;
    assert_int_equal(place(&w, "vm1", "n1", node, &e), 0);
    assert_string_equal(node, "n2");
    world_done(&w);
}

static void test_every_refusal_is_named(void **state)
{
    (void)state;
    struct world w;
    struct error e = {0};
    char node[NODE_NAME_MAX] = "unchanged";
    world_init(&w);
    world_run(&w, "vm1", "n1", 1);
    w.list[0].draining = true;
    w.list[1].memory_kib = (1 << 20) - 1;
    w.list[2].present = false;
    assert_int_equal(place(&w, "vm1", NULL, node, &e), ERR_CONDITION);
    assert_string_equal(node, "unchanged");
    assert_string_equal(e.text, "no node can take VM vm1: n1: draining; n2: 1023 MiB free, 1024 needed; "
                                "n3: not in the cluster now");
    w.list[1].memory_kib = 1 << 20;
    assert_int_equal(place(&w, "vm1", NULL, node, &e), 0);
    assert_string_equal(node, "n2");
    w.list[1].accepts = false;
    assert_int_equal(place(&w, "vm1", NULL, node, &e), ERR_CONDITION);
    w.list[1].accepts = true;
    w.list[1].machines = "pc-q35-10.0";
    assert_int_equal(place(&w, "vm1", NULL, node, &e), ERR_CONDITION);
    assert_non_null(strstr(e.text, "n2: VM vm1: QEMU on n2 has no machine type pc-q35-7.2"));
    w.nodes.n = 1;
    assert_int_equal(place(&w, "vm1", "n1", node, &e), ERR_CONDITION);
    assert_string_equal(e.text, "no node can take VM vm1: there is no other node");
    world_done(&w);
}

static void test_can_migrate(void **state)
{
    (void)state;
    struct world w;
    struct error e = {0};
    world_init(&w);
    world_run(&w, "vm1", "n1", 1);
    struct vm v = world_vm(&w, "vm1");
    assert_int_equal(vm_can_migrate(&v, &w.list[1], &e), 0);
    w.list[1].machines = "pc-q35-7.2";
    assert_int_equal(vm_can_migrate(&v, &w.list[1], &e), 0);
    w.list[1].machines = "xpc-q35-7.2 pc-q35-7.2x pc-q35-7";
    assert_int_equal(vm_can_migrate(&v, &w.list[1], &e), ERR_CONDITION);
    v.has_host_device = true;
    assert_int_equal(vm_can_migrate(&v, &w.list[2], &e), ERR_CONDITION);
    v.has_host_device = false;
    v.has_local_disk = true;
    assert_int_equal(vm_can_migrate(&v, &w.list[2], &e), ERR_CONDITION);
    world_done(&w);
}

/* The tally says for every node at once what the single questions say. */
static void check_tally(const struct world *w)
{
    struct vm_nodes nodes = {.nodes = w->list, .n = 3};
    struct vm_tally tally[3];
    vm_tally(w->t, &nodes, tally);
    for (size_t i = 0; i < 3; i++) {
        const char *name = w->list[i].name;
        assert_int_equal(tally[i].here, vm_count_on(w->t, name, false));
        assert_int_equal(tally[i].running, vm_count_on(w->t, name, true));
        assert_int_equal(tally[i].away == 0, vm_is_home(w->t, name));
    }
}

static void test_counts(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_run(&w, "vm1", "n1", 1);
    world_add(&w, "vm2", "n1", 2);
    world_run(&w, "vm3", "n2", 3);
    assert_int_equal(vm_count_on(w.t, "n1", false), 2);
    assert_int_equal(vm_count_on(w.t, "n1", true), 1);
    assert_int_equal(world_ops(w.t), 0);
    world_op(&w, (struct vm_op_request){.name = "vm2", .op = VM_OP_START});
    assert_int_equal(vm_count_on(w.t, "n1", true), 2);
    assert_int_equal(world_ops(w.t), 1);
    check_tally(&w);
    world_op(&w, (struct vm_op_request){.name = "vm3", .op = VM_OP_MIGRATE, .node = "n1"});
    check_tally(&w);
    world_done(&w);
}

static void set(struct world *w, struct vm_set_request q)
{
    struct buf b = {0};
    vm_entry_set(&q, &b);
    assert_int_equal(world_apply(w, ENTRY_VM_SET, &b), 0);
}

static void test_cpus_and_reserve_are_bounds(void **state)
{
    (void)state;
    struct world w;
    struct error e = {0};
    char node[NODE_NAME_MAX] = "";
    world_init(&w);
    world_run(&w, "vm1", "n1", 1);
    world_run(&w, "vm2", "n2", 2);
    world_run(&w, "vm3", "n2", 3);
    w.nodes.settings.cpu_ratio = 2;
    w.list[1].cpus = w.list[2].cpus = 1;
    w.list[2].memory_kib = 1 << 20;
    assert_int_equal(place(&w, "vm1", "n1", node, &e), 0);
    assert_string_equal(node, "n3");
    w.nodes.settings.reserve_kib = 1;
    assert_int_equal(place(&w, "vm1", "n1", node, &e), ERR_CONDITION);
    assert_string_equal(e.text, "no node can take VM vm1: n2: 2 of 2 CPUs promised, 1 needed; "
                                "n3: 1023 MiB free, 1024 needed");
    w.nodes.settings.cpu_ratio = 0; /* no limit */
    assert_int_equal(place(&w, "vm1", "n1", node, &e), 0);
    assert_string_equal(node, "n2");
    world_done(&w);
}

static void test_preferred_nodes_and_groups(void **state)
{
    (void)state;
    struct world w;
    struct error e = {0};
    char node[NODE_NAME_MAX] = "";
    world_init(&w);
    world_run(&w, "vm1", "n1", 1);
    world_run(&w, "vm2", "n3", 2);
    world_run(&w, "vm3", "n3", 3);
    set(&w, (struct vm_set_request){.name = "vm1", .set_preferred = true, .preferred = "n1,n3"});
    assert_int_equal(place(&w, "vm1", "n1", node, &e), 0);
    assert_string_equal(node, "n3"); /* though n2 has more room */
    w.list[2].memory_kib = 2 << 20;
    assert_int_equal(place(&w, "vm1", "n1", node, &e), 0);
    assert_string_equal(node, "n2");
    w.list[2].memory_kib = 8 << 20;
    set(&w, (struct vm_set_request){.name = "vm1", .set_group = true, .group = "db"});
    set(&w, (struct vm_set_request){.name = "vm3", .set_group = true, .group = "db"});
    assert_int_equal(place(&w, "vm1", "n1", node, &e), 0);
    assert_string_equal(node, "n2"); /* vm3 of the group is on n3 */
    w.list[1].present = false;
    assert_int_equal(place(&w, "vm1", "n1", node, &e), 0);
    assert_string_equal(node, "n3");
    w.nodes.settings.groups_required = true;
    assert_int_equal(place(&w, "vm1", "n1", node, &e), ERR_CONDITION);
    assert_non_null(strstr(e.text, "n3: another VM of group db is there"));
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lowest_share_then_name),
        cmocka_unit_test(test_vms_on_their_way_count),
        cmocka_unit_test(test_every_refusal_is_named),
        cmocka_unit_test(test_can_migrate),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_cpus_and_reserve_are_bounds),
        cmocka_unit_test(test_preferred_nodes_and_groups),
    };
    return cmocka_run_group_tests_name("place", tests, NULL, NULL);
}
