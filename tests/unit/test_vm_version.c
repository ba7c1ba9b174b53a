/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Versions of VMs: what is refused and named, the XML that is kept, and until when there is a way back. */
#include "tests/unit/vm_world.h"

static struct vm_limits limits; /* of the level */

static void init(struct world *w, const char *level)
{
    world_init(w);
    for (size_t i = 0; i < 3; i++)
        w->list[i].machines = "microvm pc-i440fx-10.0 pc-i440fx-7.2 pc-q35-10.0 pc-q35-7.2 pc-q35-9.2";
    limits = (struct vm_limits){0};
    STR_COPY(limits.machine, level);
    w->nodes.limits = &limits;
}

static int add(struct world *w, const char *name, const char *machine, bool has_data_store)
{
    struct vm_facts f = {.uuid = world_uuid(1000 + (unsigned)w->n_entries),
                         .memory_kib = 1 << 20,
                         .vcpus = 1,
                         .has_data_store = has_data_store,
                         .xml = (char *)"<old/>"};
    STR_COPY(f.name, name);
    STR_COPY(f.machine, machine);
    struct buf b = {0};
    vm_entry_add(&f, "n1", &b);
    return world_apply(w, ENTRY_VM_ADD, &b);
}

static int upgrade(struct world *w, const char *from, const char *to)
{
    struct vm_version_request r = {.name = "vm1", .xml = (char *)"<new/>"};
    STR_COPY(r.from, from);
    STR_COPY(r.machine, to);
    struct buf b = {0};
    vm_entry_version(&r, &b);
    return world_apply(w, ENTRY_VM_VERSION, &b);
}

static int rollback(struct world *w)
{
    struct buf b = {0};
    vm_entry_rollback("vm1", &b);
    return world_apply(w, ENTRY_VM_ROLLBACK, &b);
}

static void assert_version(const struct world *w, const char *machine, const char *before, const char *xml)
{
    struct vm v = world_vm(w, "vm1");
    struct slice text = {0};
    char key[TABLE_KEY_MAX];
    assert_string_equal(v.machine, machine);
    assert_string_equal(v.machine_before, before);
    assert_int_equal(tables_get(w->t, TABLE_VM_XML, "vm1", &text), 0);
    assert_int_equal(text.len, strlen(xml));
    assert_memory_equal(text.p, xml, text.len);
    vm_version_key("vm1", key);
    assert_int_equal(tables_has(w->t, TABLE_VM_XML, key), before[0] != '\0');
}

static void assert_refused(const struct world *w, const char *text, const char *remedy)
{
    if (!strstr(w->result.error.text, text) || !strstr(w->result.error.remedy, remedy))
        fail_msg("\"%s\" (%s)", w->result.error.text, w->result.error.remedy);
}

static void test_names(void **state)
{
    (void)state;
    char at[VM_MACHINE_MAX];
    assert_int_equal(vm_machine_version("pc-q35-7.2"), 7002);
    assert_int_equal(vm_machine_version("pc-i440fx-10.0"), 10000);
    assert_int_equal(vm_machine_version("microvm"), 0);
    assert_int_equal(vm_machine_version("q35"), 0);
    assert_int_equal(vm_machine_version("pc-q35-7.2x"), 0);
    assert_int_equal(vm_machine_version("pc-q35-"), 0);
    assert_int_equal(vm_machine_version(""), 0);
    assert_true(vm_machine_at("pc-i440fx-7.2", "pc-q35-10.0", at));
    assert_string_equal(at, "pc-i440fx-10.0");
    assert_false(vm_machine_at("microvm", "pc-q35-10.0", at));
    assert_false(vm_machine_at("pc-q35-7.2", "", at));
    struct vm v = {.machine = "pc-q35-7.2"};
    assert_true(vm_is_outdated(&v, "pc-q35-10.0"));
    assert_false(vm_is_outdated(&v, "pc-q35-7.2"));
    assert_false(vm_is_outdated(&v, ""));
    STR_COPY(v.machine, "microvm");
    assert_false(vm_is_outdated(&v, "pc-q35-10.0"));
}

/* In mixed mode: what the older side would not read. */
static void test_add_within_the_level(void **state)
{
    (void)state;
    struct world w;
    init(&w, "pc-q35-7.2");
    error_set(&limits.later_machines, ERR_CONDITION, "that needs functional level 2");
    error_set_remedy(&limits.later_machines, "clusterctl level raise");
    limits.data_store = limits.later_machines;
    assert_int_equal(add(&w, "vm1", "pc-q35-10.0", false), ERR_CONDITION);
    assert_refused(&w, "pc-q35-10.0 is later than pc-q35-7.2", "clusterctl level raise");
    assert_refused(&w, "needs functional level 2", "");
    assert_int_equal(add(&w, "vm1", "pc-i440fx-9.0", false), ERR_CONDITION);
    assert_int_equal(add(&w, "vm1", "pc-q35-7.2", true), ERR_CONDITION);
    assert_refused(&w, "vm1 has a disk with a <dataStore>: that needs functional level 2", "clusterctl level raise");
    assert_int_equal(add(&w, "vm1", "pc-q35-7.2", false), 0);
    assert_int_equal(add(&w, "vm2", "microvm", false), 0);
    limits.later_machines = limits.data_store = (struct error){0};
    assert_int_equal(add(&w, "vm3", "pc-q35-10.0", false), ERR_CONDITION);
    assert_int_equal(add(&w, "vm3", "pc-q35-7.2", true), 0);
    world_done(&w);
}

static void test_upgrade_and_back(void **state)
{
    (void)state;
    struct world w;
    init(&w, "pc-q35-10.0");
    assert_int_equal(rollback(&w), ERR_NO_OBJECT);
    assert_int_equal(add(&w, "vm1", "pc-q35-7.2", false), 0);
    assert_int_equal(rollback(&w), ERR_CONDITION);
    assert_int_equal(upgrade(&w, "pc-q35-7.2", "pc-q35-9.2"), 0);
    assert_version(&w, "pc-q35-9.2", "pc-q35-7.2", "<new/>");
    assert_int_equal(upgrade(&w, "pc-q35-9.2", "pc-q35-10.0"), 0); /* to what it last ran with, not to 9.2 */
    assert_version(&w, "pc-q35-10.0", "pc-q35-7.2", "<new/>");
    assert_int_equal(rollback(&w), 0);
    assert_version(&w, "pc-q35-7.2", "", "<old/>");
    assert_int_equal(rollback(&w), ERR_CONDITION);
    assert_int_equal(upgrade(&w, "pc-q35-9.2", "pc-q35-10.0"), ERR_AGAIN); /* made of another XML */
    assert_int_equal(upgrade(&w, "pc-q35-7.2", "pc-q35-10.0"), 0);
    struct buf b = {0};
    vm_entry_remove("vm1", &b);
    assert_int_equal(world_apply(&w, ENTRY_VM_REMOVE, &b), 0);
    assert_int_equal(tables_count(w.t, TABLE_VM_XML), 0);
    world_done(&w);
}

/* A start that failed leaves it; one that went well, or that may have, ends it. */
static void test_the_way_back_ends(void **state)
{
    (void)state;
    static const enum { STARTED, BY_HAND, LOST } ends[] = {STARTED, BY_HAND, LOST};
    for (size_t i = 0; i < 3; i++) {
        struct world w;
        struct vm_op_request start = {.name = "vm1", .op = VM_OP_START};
        init(&w, "pc-q35-10.0");
        assert_int_equal(add(&w, "vm1", "pc-q35-7.2", false), 0);
        assert_int_equal(upgrade(&w, "pc-q35-7.2", "pc-q35-10.0"), 0);
        assert_int_equal(world_op(&w, start), 0);
        assert_int_equal(rollback(&w), ERR_AGAIN);
        assert_int_equal(world_end(&w, "vm1", VM_REPORT_FAILED), 0);
        assert_version(&w, "pc-q35-10.0", "pc-q35-7.2", "<new/>");
        if (ends[i] != BY_HAND)
            assert_int_equal(world_op(&w, start), 0);
        if (ends[i] == LOST)
            vm_node_lost(w.t, &w.nodes, "n1", 9000);
        else
            assert_int_equal(world_end(&w, "vm1", VM_REPORT_STARTED), 0);
        assert_version(&w, "pc-q35-10.0", "", "<new/>");
        world_done(&w);
    }
}

static void test_upgrade_refused(void **state)
{
    (void)state;
    struct world w;
    init(&w, "pc-q35-9.2");
    assert_int_equal(add(&w, "vm1", "pc-q35-7.2", false), 0);
    assert_int_equal(upgrade(&w, "pc-q35-7.2", "pc-q35-10.0"), ERR_CONDITION);
    assert_refused(&w, "pc-q35-10.0 is later than pc-q35-9.2", "level show");
    assert_int_equal(upgrade(&w, "pc-q35-7.2", "pc-q35-6.2"), ERR_CONDITION);
    assert_int_equal(upgrade(&w, "pc-q35-7.2", "pc-q35-7.2"), ERR_CONDITION);
    assert_int_equal(upgrade(&w, "pc-q35-7.2", "pc-i440fx-9.2"), ERR_USAGE);
    assert_int_equal(upgrade(&w, "pc-q35-7.2", "q35"), ERR_USAGE);
    w.list[1].machines = "pc-q35-7.2";
    assert_int_equal(upgrade(&w, "pc-q35-7.2", "pc-q35-9.2"), ERR_CONDITION);
    assert_refused(&w, "QEMU on n2 has no machine type pc-q35-9.2", "");
    w.list[1].machines = w.list[0].machines;

    struct vm_report saved = world_report_of(&w, "vm1", VM_REPORT_SAVED);
    saved.managed_save = true;
    assert_int_equal(world_report(&w, &saved), 0);
    assert_int_equal(upgrade(&w, "pc-q35-7.2", "pc-q35-9.2"), ERR_CONDITION);
    assert_refused(&w, "vm1 has a managed save on n1", "clusterctl vm start vm1");
    saved.managed_save = false;
    saved.memory_snapshot = true;
    assert_int_equal(world_report(&w, &saved), 0);
    assert_int_equal(upgrade(&w, "pc-q35-7.2", "pc-q35-9.2"), ERR_CONDITION);
    assert_refused(&w, "vm1 has a snapshot with memory", "virsh snapshot-delete");
    saved.memory_snapshot = false;
    assert_int_equal(world_report(&w, &saved), 0);

    assert_int_equal(world_op(&w, (struct vm_op_request){.name = "vm1", .op = VM_OP_START}), 0);
    assert_int_equal(upgrade(&w, "pc-q35-7.2", "pc-q35-9.2"), ERR_AGAIN);
    world_end(&w, "vm1", VM_REPORT_STARTED);
    assert_int_equal(upgrade(&w, "pc-q35-7.2", "pc-q35-9.2"), ERR_CONDITION);
    assert_refused(&w, "vm1 is running", "clusterctl vm stop vm1");
    vm_node_lost(w.t, &w.nodes, "n1", 9000);
    assert_int_equal(upgrade(&w, "pc-q35-7.2", "pc-q35-9.2"), ERR_CONDITION);
    assert_refused(&w, "about to be started again", "");
    assert_version(&w, "pc-q35-7.2", "", "<old/>");
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_add_within_the_level),
        cmocka_unit_test(test_upgrade_and_back),
        cmocka_unit_test(test_the_way_back_ends),
        cmocka_unit_test(test_upgrade_refused),
    };
    return cmocka_run_group_tests_name("vm version", tests, NULL, NULL);
}
