/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/vm_world.h"

struct fixture {
    struct world w;
    struct vm_leader *l;
};

static void init(struct fixture *f)
{
    world_init(&f->w);
    f->l = vm_leader_new();
}

static void done(struct fixture *f)
{
    vm_leader_free(f->l);
    world_done(&f->w);
}

static void step(struct fixture *f)
{
    vm_leader_step(f->l, f->w.t, &f->w.nodes, f->w.now_ms, &f->w.env);
    f->w.now_ms += 50;
}

/* Steps for so long and applies what is proposed. */
static void run_for(struct fixture *f, int64_t ms)
{
    for (int64_t until = f->w.now_ms + ms; f->w.now_ms < until;) {
        step(f);
        world_commit(&f->w);
    }
}

static struct vm vm(const struct fixture *f, const char *name)
{
    return world_vm(&f->w, name);
}

/* One whose backup is under way is moved when that has ended, and keeps nobody else's place. */
static void test_drain_of_a_held_one(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 1; i <= 3; i++) {
        char name[8];
        snprintf(name, sizeof(name), "vm%u", i);
        world_run(&f->w, name, "n1", i);
    }
    char boot[UUID_STR_SIZE];
    STR_COPY(boot, vm(f, "vm1").boot_id);
    f->w.nodes.is_held = world_is_held;
    f->w.nodes.held_ctx = boot;
    f->w.list[0].draining = true;
    run_for(f, 300);
    assert_int_equal(vm(f, "vm1").op, VM_OP_NONE);
    assert_int_equal(vm(f, "vm2").op, VM_OP_MIGRATE);
    assert_int_equal(vm(f, "vm3").op, VM_OP_MIGRATE);
    world_end(&f->w, "vm2", VM_REPORT_MOVED);
    f->w.nodes.held_ctx = "";
    run_for(f, 300);
    assert_int_equal(vm(f, "vm1").op, VM_OP_MIGRATE);
}

static void test_drains(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 1; i <= 4; i++) {
        char name[8];
        snprintf(name, sizeof(name), "vm%u", i);
        world_run(&f->w, name, "n1", i);
    }
    world_add(&f->w, "vm5", "n1", 5); /* is off: stays */
    struct vm_set_request set = {.name = "vm4", .set_priority = true, .priority = 1};
    struct buf b = {0};
    vm_entry_set(&set, &b);
    world_apply(&f->w, ENTRY_VM_SET, &b);
    run_for(f, 300);
    assert_int_equal(world_ops(f->w.t), 0);
    f->w.list[0].draining = true;
    run_for(f, 300);
    assert_int_equal(world_ops(f->w.t), VM_MOVES_MAX);
    assert_string_equal(vm(f, "vm4").target, "n2"); /* by priority, then by name; each counts for the next placement */
    assert_string_equal(vm(f, "vm1").target, "n3");
    assert_int_equal(vm(f, "vm1").reason, VM_REASON_DRAIN);
    world_end(&f->w, "vm4", VM_REPORT_MOVED);
    run_for(f, 300);
    assert_string_equal(vm_state_name(&(struct vm){.op = vm(f, "vm2").op, .state = VM_RUNNING}), "migrating");
    world_end(&f->w, "vm1", VM_REPORT_MOVED);
    world_end(&f->w, "vm2", VM_REPORT_MOVED);
    run_for(f, 300);
    world_end(&f->w, "vm3", VM_REPORT_MOVED);
    run_for(f, 300);
    assert_int_equal(world_ops(f->w.t), 0);
    assert_int_equal(vm_count_on(f->w.t, "n1", true), 0);
    assert_string_equal(vm(f, "vm5").node, "n1");
    assert_string_equal(vm(f, "vm1").home, "n1");
    assert_false(vm_is_home(f->w.t, "n1"));

    f->w.list[0].draining = false; /* and back */
    f->w.list[0].failback = true;
    for (int i = 0; i < 4; i++) {
        run_for(f, 300);
        for (unsigned k = 1; k <= 4; k++) {
            char name[8];
            snprintf(name, sizeof(name), "vm%u", k);
            if (vm(f, name).op == VM_OP_MIGRATE) {
                assert_string_equal(vm(f, name).target, "n1");
                world_end(&f->w, name, VM_REPORT_MOVED);
            }
        }
    }
    assert_true(vm_is_home(f->w.t, "n1"));
    assert_int_equal(vm_count_on(f->w.t, "n1", true), 4);
}

static void test_one_proposal_at_a_time(void **state)
{
    struct fixture *f = *state;
    world_run(&f->w, "vm1", "n1", 1);
    world_run(&f->w, "vm2", "n1", 2);
    f->w.list[0].draining = true;
    for (int i = 0; i < 20; i++)
        step(f);
    assert_int_equal(f->w.n_proposals, 1);
    assert_string_equal(f->w.proposals[0].key, "vm-move/vm1");
}

static void test_attempts_end(void **state)
{
    struct fixture *f = *state;
    world_run(&f->w, "vm1", "n1", 1);
    f->w.list[0].draining = true;
    for (int i = 0; i < VM_MOVE_ATTEMPTS_MAX; i++) {
        assert_int_equal(vm_leader_blocked(f->l, "n1").code, 0);
        run_for(f, VM_MOVE_RETRY_MS + 200);
        assert_int_equal(vm(f, "vm1").op, VM_OP_MIGRATE);
        struct vm_report r = world_report_of(&f->w, "vm1", VM_REPORT_FAILED);
        STR_COPY(r.error, "link is slow");
        world_report(&f->w, &r);
        run_for(f, 200);
        assert_int_equal(vm(f, "vm1").op, VM_OP_NONE); /* not at once again */
    }
    struct error e = vm_leader_blocked(f->l, "n1");
    assert_int_equal(e.code, ERR_CONDITION);
    assert_non_null(strstr(e.text, "VM vm1 did not move off n1 in 3 attempts: link is slow"));
    assert_int_equal(vm_leader_blocked(f->l, "n2").code, 0);
    run_for(f, VM_MOVE_RETRY_MS * 3);
    assert_int_equal(vm(f, "vm1").op, VM_OP_NONE);
    vm_leader_retry(f->l, "n1");
    assert_int_equal(vm_leader_blocked(f->l, "n1").code, 0);
    run_for(f, 200);
    assert_int_equal(vm(f, "vm1").op, VM_OP_MIGRATE);
}

static void test_blocked_attempts_come_back(void **state)
{
    struct fixture *f = *state;
    world_run(&f->w, "vm1", "n1", 1);
    f->w.list[0].draining = true;
    for (int i = 0; i < VM_MOVE_ATTEMPTS_MAX; i++) {
        run_for(f, VM_MOVE_RETRY_MS + 200);
        world_end(&f->w, "vm1", VM_REPORT_FAILED);
        run_for(f, 100);
    }
    assert_int_equal(vm_leader_blocked(f->l, "n1").code, ERR_CONDITION);
    run_for(f, VM_MOVE_BLOCKED_MS + 200);
    assert_int_equal(vm(f, "vm1").op, VM_OP_MIGRATE);
    assert_int_equal(vm_leader_blocked(f->l, "n1").code, 0);
}

static void test_no_target_blocks_until_there_is_one(void **state)
{
    struct fixture *f = *state;
    world_run(&f->w, "vm1", "n1", 1);
    f->w.list[0].draining = true;
    f->w.list[1].present = f->w.list[2].present = false;
    run_for(f, 300);
    struct error e = vm_leader_blocked(f->l, "n1");
    assert_int_equal(e.code, ERR_CONDITION);
    assert_non_null(strstr(e.text, "n2: not in the cluster now"));
    f->w.list[1].present = true;
    run_for(f, VM_MOVE_RETRY_MS + 200);
    assert_int_equal(vm_leader_blocked(f->l, "n1").code, 0);
    assert_string_equal(vm(f, "vm1").target, "n2");
    world_end(&f->w, "vm1", VM_REPORT_MOVED);
    f->w.list[0].draining = false; /* nothing left to say of n1 */
    run_for(f, 200);
    assert_int_equal(vm_leader_blocked(f->l, "n1").code, 0);
}

/* What has no place is known before the first one leaves; another node that drains is not held up. */
static void test_a_drain_that_cannot_end_does_not_begin(void **state)
{
    struct fixture *f = *state;
    world_run(&f->w, "vm1", "n1", 1);
    world_run(&f->w, "vm2", "n1", 2);
    world_run(&f->w, "vm3", "n2", 3);
    f->w.list[0].draining = f->w.list[1].draining = true;
    f->w.list[2].memory_kib = 2 << 20; /* room for n1's, or for n2's and one more */
    run_for(f, 300);
    assert_int_equal(vm(f, "vm1").op, VM_OP_MIGRATE);
    assert_int_equal(vm(f, "vm2").op, VM_OP_MIGRATE);
    assert_int_equal(vm(f, "vm3").op, VM_OP_NONE);
    assert_non_null(strstr(vm_leader_blocked(f->l, "n2").text, "VM vm3"));
    assert_int_equal(vm_leader_blocked(f->l, "n1").code, 0);
    world_end(&f->w, "vm1", VM_REPORT_MOVED);
    world_end(&f->w, "vm2", VM_REPORT_MOVED);

    f->w.list[1].draining = false;
    world_run(&f->w, "vm4", "n2", 4);
    f->w.list[1].draining = true;
    f->w.list[2].memory_kib = 3 << 20; /* for one of them */
    run_for(f, VM_MOVE_RETRY_MS + 200);
    assert_int_equal(world_ops(f->w.t), 0);
    f->w.list[2].memory_kib = 4 << 20;
    run_for(f, VM_MOVE_RETRY_MS + 200);
    assert_int_equal(world_ops(f->w.t), 2);
    assert_int_equal(vm_leader_blocked(f->l, "n2").code, 0);
}

static void set(struct fixture *f, const char *name, enum vm_policy policy)
{
    struct vm_set_request q = {.set_policy = true, .policy = policy};
    struct buf b = {0};
    STR_COPY(q.name, name);
    vm_entry_set(&q, &b);
    assert_int_equal(world_apply(&f->w, ENTRY_VM_SET, &b), 0);
}

static void bind(struct fixture *f, const char *name, bool device, bool disk)
{
    struct vm v = vm(f, name);
    AUTO(buf_done) struct buf b = {0};
    v.has_host_device = device;
    v.has_local_disk = disk;
    vm_encode(&v, &b);
    tables_put(f->w.t, TABLE_VM, name, buf_slice(&b));
}

static void test_policy_stops_and_starts_elsewhere(void **state)
{
    struct fixture *f = *state;
    world_run(&f->w, "vm1", "n1", 1);
    bind(f, "vm1", true, false);
    f->w.list[0].draining = true;
    run_for(f, 300);
    assert_int_equal(world_ops(f->w.t), 0);
    struct error e = vm_leader_blocked(f->l, "n1");
    assert_non_null(strstr(e.text, "VM vm1 uses a device of its host n1"));
    set(f, "vm1", VM_POLICY_SHUTDOWN_RESTART);
    f->w.list[1].present = f->w.list[2].present = false; /* stopped only if it has a place to start */
    run_for(f, VM_MOVE_RETRY_MS + 200);
    assert_int_equal(world_ops(f->w.t), 0);
    f->w.list[2].present = true;
    run_for(f, VM_MOVE_RETRY_MS + 200);
    assert_int_equal(vm(f, "vm1").op, VM_OP_STOP);
    assert_int_equal(vm(f, "vm1").reason, VM_REASON_DRAIN);
    world_end(&f->w, "vm1", VM_REPORT_STOPPED);
    vm_leader_free(f->l); /* the next leader knows what is owed */
    f->l = vm_leader_new();
    step(f);
    assert_true(vm_leader_owes(f->l, "n1"));
    world_commit(&f->w);
    assert_int_equal(vm(f, "vm1").op, VM_OP_START);
    assert_string_equal(vm(f, "vm1").node, "n3");
    world_end(&f->w, "vm1", VM_REPORT_STARTED);
    run_for(f, 200);
    assert_false(vm_leader_owes(f->l, "n1"));
}

static void test_local_disk_waits_for_its_node(void **state)
{
    struct fixture *f = *state;
    world_run(&f->w, "vm1", "n1", 1);
    bind(f, "vm1", false, true);
    set(f, "vm1", VM_POLICY_SHUTDOWN_RESTART);
    f->w.list[0].draining = true;
    run_for(f, 300);
    world_end(&f->w, "vm1", VM_REPORT_STOPPED);
    run_for(f, VM_MOVE_RETRY_MS + 200);
    assert_int_equal(vm(f, "vm1").op, VM_OP_NONE);
    assert_false(vm_leader_owes(f->l, "n1")); /* the drain is over without it */
    assert_int_equal(vm_leader_blocked(f->l, "n1").code, 0);
    f->w.list[0].draining = false;
    run_for(f, VM_MOVE_RETRY_MS + 200);
    assert_int_equal(vm(f, "vm1").op, VM_OP_START);
    assert_string_equal(vm(f, "vm1").node, "n1");
}

static void test_policy_saves(void **state)
{
    struct fixture *f = *state;
    world_run(&f->w, "vm1", "n1", 1);
    set(f, "vm1", VM_POLICY_SAVE);
    f->w.list[0].draining = true;
    f->w.list[1].memory_kib = f->w.list[2].memory_kib = 1 << 10; /* no room: it may wait for its node */
    run_for(f, 300);
    assert_non_null(strstr(vm_leader_blocked(f->l, "n1").text, "there is no shared folder to save it to"));
    STR_COPY(f->w.nodes.settings.save_path, "/srv/saved");
    run_for(f, VM_MOVE_RETRY_MS + 200);
    assert_true(vm(f, "vm1").save);
    assert_string_equal(vm(f, "vm1").saved_to, "/srv/saved/vm1-2.save");
    world_end(&f->w, "vm1", VM_REPORT_STOPPED);
    run_for(f, VM_MOVE_RETRY_MS + 200);
    assert_int_equal(vm(f, "vm1").op, VM_OP_NONE);
    f->w.list[2].memory_kib = 8 << 20;
    run_for(f, VM_MOVE_RETRY_MS + 200);
    assert_int_equal(vm(f, "vm1").op, VM_OP_START);
    assert_string_equal(vm(f, "vm1").node, "n3");

    world_run(&f->w, "vm2", "n2", 2);
    bind(f, "vm2", true, false);
    set(f, "vm2", VM_POLICY_SAVE);
    f->w.list[1].draining = true;
    run_for(f, 300);
    assert_non_null(strstr(vm_leader_blocked(f->l, "n2").text, "can be neither moved nor saved"));
}

/* Moving it failed too often: by its policy, then. */
static void test_failed_moves_go_by_policy(void **state)
{
    struct fixture *f = *state;
    world_run(&f->w, "vm1", "n1", 1);
    set(f, "vm1", VM_POLICY_SHUTDOWN_RESTART);
    f->w.list[0].draining = true;
    for (int i = 0; i < VM_MOVE_ATTEMPTS_MAX; i++) {
        run_for(f, VM_MOVE_RETRY_MS + 200);
        assert_int_equal(vm(f, "vm1").op, VM_OP_MIGRATE);
        world_end(&f->w, "vm1", VM_REPORT_FAILED);
        run_for(f, 100);
    }
    run_for(f, VM_MOVE_RETRY_MS + 200);
    assert_int_equal(vm(f, "vm1").op, VM_OP_STOP);
    for (int i = 0; i < VM_MOVE_ATTEMPTS_MAX; i++) { /* and the guest does not hear it */
        assert_int_equal(vm_leader_blocked(f->l, "n1").code, 0);
        run_for(f, VM_MOVE_RETRY_MS + 200);
        assert_int_equal(vm(f, "vm1").op, VM_OP_STOP);
        world_end(&f->w, "vm1", VM_REPORT_FAILED);
        run_for(f, 100);
    }
    assert_int_equal(vm_leader_blocked(f->l, "n1").code, ERR_CONDITION);
}

static void test_limit_of_a_node(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 1; i <= 4; i++) {
        char name[8];
        snprintf(name, sizeof(name), "vm%u", i);
        world_run(&f->w, name, i <= 2 ? "n1" : "n2", i);
    }
    f->w.nodes.settings.moves_max = 9;
    f->w.nodes.settings.moves_per_node = 1;
    f->w.list[0].draining = true;
    run_for(f, 300);
    assert_int_equal(world_ops(f->w.t), 1); /* both leave n1 */
    f->w.nodes.settings.moves_per_node = 2;
    run_for(f, 300);
    assert_int_equal(world_ops(f->w.t), 2);
}

static void test_skip_is_tallied(void **state)
{
    struct fixture *f = *state;
    struct vm_tally tally[3];
    struct error e = {0};
    world_run(&f->w, "vm1", "n1", 1);
    set(f, "vm1", VM_POLICY_SKIP_NODE);
    vm_tally(f->w.t, &f->w.nodes, tally);
    assert_int_equal(tally[0].skip.code, 0); /* it can move */
    bind(f, "vm1", true, false);
    vm_tally(f->w.t, &f->w.nodes, tally);
    assert_int_equal(tally[0].skip.code, ERR_CONDITION);
    assert_int_equal(tally[1].skip.code, 0);
    struct vm v = vm(f, "vm1");
    assert_int_equal(vm_drain_of(&v, &f->w.nodes, &e), VM_DRAIN_SKIPS);
    v.policy = VM_POLICY_FAIL;
    assert_int_equal(vm_drain_of(&v, &f->w.nodes, &e), VM_DRAIN_BLOCKED);
    v.policy = VM_POLICY_SHUTDOWN_RESTART;
    assert_int_equal(vm_drain_of(&v, &f->w.nodes, &e), VM_DRAIN_STOPS);
}

static void test_absent_owner_blocks(void **state)
{
    struct fixture *f = *state;
    world_run(&f->w, "vm1", "n1", 1);
    f->w.list[0].draining = true;
    f->w.list[0].present = false;
    run_for(f, 300);
    assert_int_equal(vm(f, "vm1").op, VM_OP_NONE);
    assert_non_null(strstr(vm_leader_blocked(f->l, "n1").text, "not in the cluster now"));
}

/* A request that the log refuses is a failed attempt, not a loop. */
static void test_refused_requests_are_not_repeated_without_end(void **state)
{
    struct fixture *f = *state;
    world_run(&f->w, "vm1", "n1", 1);
    f->w.list[0].draining = true;
    size_t proposed = 0;
    for (int i = 0; i < 400; i++) { /* 20 s */
        step(f);
        proposed += f->w.n_proposals;
        world_forget_proposals(&f->w);
    }
    assert_int_equal(proposed, VM_MOVE_ATTEMPTS_MAX - 1); /* 5 s until it counts as refused, 5 s until the next */
}

static void test_moves_of_admins_count(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 1; i <= 3; i++) {
        char name[8];
        snprintf(name, sizeof(name), "vm%u", i);
        world_run(&f->w, name, i == 3 ? "n1" : "n2", i);
    }
    world_op(&f->w, (struct vm_op_request){.name = "vm1", .op = VM_OP_MIGRATE, .node = "n3"});
    world_op(&f->w, (struct vm_op_request){.name = "vm2", .op = VM_OP_MIGRATE, .node = "n3"});
    f->w.list[0].draining = true;
    run_for(f, 1000);
    assert_int_equal(vm(f, "vm3").op, VM_OP_NONE);
    world_end(&f->w, "vm1", VM_REPORT_MOVED);
    run_for(f, 200);
    assert_int_equal(vm(f, "vm3").op, VM_OP_MIGRATE);
}

static void test_what_cannot_move_is_home(void **state)
{
    struct fixture *f = *state;
    world_run(&f->w, "vm1", "n1", 1);
    struct vm_set_request set = {.name = "vm1", .set_home = true, .home = "n2"};
    struct buf b = {0};
    vm_entry_set(&set, &b);
    world_apply(&f->w, ENTRY_VM_SET, &b);
    assert_false(vm_is_home(f->w.t, "n2"));
    run_for(f, 300);
    assert_int_equal(world_ops(f->w.t), 0); /* nobody asked for failback */
    world_op(&f->w, (struct vm_op_request){.name = "vm1", .op = VM_OP_STOP});
    world_end(&f->w, "vm1", VM_REPORT_STOPPED);
    assert_true(vm_is_home(f->w.t, "n2"));
}

static int setup(void **state)
{
    *state = xcalloc(1, sizeof(struct fixture));
    init(*state);
    return 0;
}

static int teardown(void **state)
{
    done(*state);
    free(*state);
    return 0;
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_drain_of_a_held_one),
        TEST(test_drains),
        TEST(test_one_proposal_at_a_time),
        TEST(test_attempts_end),
        TEST(test_blocked_attempts_come_back),
        TEST(test_no_target_blocks_until_there_is_one),
        TEST(test_a_drain_that_cannot_end_does_not_begin),
        TEST(test_policy_stops_and_starts_elsewhere),
        TEST(test_local_disk_waits_for_its_node),
        TEST(test_policy_saves),
        TEST(test_failed_moves_go_by_policy),
        TEST(test_limit_of_a_node),
        TEST(test_skip_is_tallied),
        TEST(test_absent_owner_blocks),
        TEST(test_refused_requests_are_not_repeated_without_end),
        TEST(test_moves_of_admins_count),
        TEST(test_what_cannot_move_is_home),
    };
    return cmocka_run_group_tests_name("vm step", tests, NULL, NULL);
}
