/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/vm_world.h"

static struct job job_get(const struct world *w, struct uuid id)
{
    struct job j;
    assert_int_equal(journal_job_get(w->t, &id, &j), 0);
    return j;
}

static void assert_last_event(const struct world *w, const char *text)
{
    struct table_row row;
    struct cluster_event e;
    assert_true(tables_last(w->t, TABLE_EVENT, &row));
    assert_int_equal(cluster_event_decode(row.value, &e), 0);
    assert_string_equal(e.text, text);
}

static struct vm_op_request op_of(enum vm_op op, const char *node)
{
    struct vm_op_request r = {.name = "vm1", .op = op, .reason = VM_REASON_ADMIN};
    STR_COPY(r.node, node);
    return r;
}

static int add_facts(struct world *w, const struct vm_facts *f)
{
    struct buf b = {0};
    vm_entry_add(f, "n1", &b);
    return world_apply(w, ENTRY_VM_ADD, &b);
}

static void test_add_validates(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    struct vm_facts good = {
        .name = "vm1", .machine = "pc-q35-7.2", .memory_kib = 1024, .vcpus = 1, .uuid = world_uuid(9)};
    good.xml = (char *)"<domain/>";
    struct vm_facts f = good;
    STR_COPY(f.name, "../etc");
    assert_int_equal(add_facts(&w, &f), ERR_USAGE);
    STR_COPY(f.name, "a b");
    assert_int_equal(add_facts(&w, &f), ERR_USAGE);
    f = good;
    f.name[0] = '\0';
    assert_int_equal(add_facts(&w, &f), ERR_USAGE);
    f = good;
    f.uuid = (struct uuid){0};
    assert_int_equal(add_facts(&w, &f), ERR_USAGE);
    f = good;
    f.memory_kib = 0;
    assert_int_equal(add_facts(&w, &f), ERR_USAGE);
    f = good;
    f.xml = xcalloc(1, VM_XML_MAX + 2);
    memset(f.xml, 'x', VM_XML_MAX + 1);
    assert_int_equal(add_facts(&w, &f), ERR_USAGE);
    f.xml[0] = '\0';
    assert_int_equal(add_facts(&w, &f), ERR_USAGE);
    free(f.xml);
    assert_int_equal(world_add(&w, "vm1", "n9", 1), ERR_NO_OBJECT);
    assert_int_equal(tables_count(w.t, TABLE_VM), 0);

    assert_int_equal(add_facts(&w, &good), 0);
    struct vm v = world_vm(&w, "vm1");
    assert_int_equal(v.state, VM_STOPPED);
    assert_false(v.wanted);
    assert_string_equal(v.node, "n1");
    assert_string_equal(v.home, "n1");
    assert_int_equal(tables_count(w.t, TABLE_VM_XML), 1);
    assert_int_equal(add_facts(&w, &good), ERR_CONDITION); /* the name again */
    f = good;
    STR_COPY(f.name, "vm2");
    assert_int_equal(add_facts(&w, &f), ERR_CONDITION); /* the UUID again */
    world_done(&w);
}

static void test_start_stop(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_add(&w, "vm1", "n1", 1);
    assert_int_equal(world_op(&w, op_of(VM_OP_START, "")), 0);
    struct vm v = world_vm(&w, "vm1");
    struct uuid job = world_last_request(&w);
    assert_string_equal(vm_state_name(&v), "starting");
    assert_true(uuid_eq(&v.op_id, &job));
    assert_true(v.wanted);
    assert_int_equal(v.epoch, 2);
    assert_int_equal(job_get(&w, job).state, JOB_RUNNING);
    assert_int_equal(job_get(&w, job).kind, JOB_VM_START);
    assert_int_equal(world_op(&w, op_of(VM_OP_STOP, "")), ERR_AGAIN); /* one operation at a time */

    assert_int_equal(world_end(&w, "vm1", VM_REPORT_STARTED), 0);
    assert_last_event(&w, "VM vm1 started on n1");
    v = world_vm(&w, "vm1");
    assert_string_equal(vm_state_name(&v), "running");
    assert_string_equal(v.boot_id, "boot-1-of-n1");
    assert_int_equal(job_get(&w, job).state, JOB_DONE);

    assert_int_equal(world_op(&w, op_of(VM_OP_START, "")), 0); /* is so already */
    assert_int_equal(job_get(&w, world_last_request(&w)).state, JOB_DONE);
    assert_int_equal(world_op(&w, op_of(VM_OP_START, "n2")), ERR_CONDITION);

    assert_int_equal(world_op(&w, op_of(VM_OP_STOP, "")), 0);
    assert_false(world_vm(&w, "vm1").wanted);
    assert_int_equal(world_end(&w, "vm1", VM_REPORT_STOPPED), 0);
    assert_int_equal(world_vm(&w, "vm1").state, VM_STOPPED);
    assert_int_equal(world_op(&w, op_of(VM_OP_STOP, "")), 0);
    assert_int_equal(job_get(&w, world_last_request(&w)).state, JOB_DONE);

    assert_int_equal(world_op(&w, op_of(VM_OP_START, "n2")), 0);
    v = world_vm(&w, "vm1");
    assert_string_equal(v.node, "n2");
    assert_string_equal(v.home, "n2");
    assert_string_equal(v.boot_id, "boot-1-of-n2");
    world_done(&w);
}

static void test_failures(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_add(&w, "vm1", "n1", 1);
    world_op(&w, op_of(VM_OP_START, ""));
    struct uuid job = world_last_request(&w);
    struct vm_report r = world_report_of(&w, "vm1", VM_REPORT_FAILED);
    r.code = ERR_CONDITION;
    STR_COPY(r.error, "no disk");
    assert_int_equal(world_report(&w, &r), 0);
    struct vm v = world_vm(&w, "vm1");
    assert_int_equal(v.state, VM_STOPPED);
    assert_string_equal(vm_state_name(&v), "failed");
    assert_string_equal(v.error, "no disk");
    assert_true(v.wanted);
    assert_int_equal(job_get(&w, job).state, JOB_FAILED);
    assert_int_equal(job_get(&w, job).code, ERR_CONDITION);
    assert_last_event(&w, "VM vm1 did not start on n1: no disk");

    world_op(&w, op_of(VM_OP_START, ""));
    assert_string_equal(world_vm(&w, "vm1").error, "");
    world_end(&w, "vm1", VM_REPORT_STARTED);
    world_op(&w, op_of(VM_OP_STOP, ""));
    world_end(&w, "vm1", VM_REPORT_FAILED);
    v = world_vm(&w, "vm1");
    assert_int_equal(v.state, VM_RUNNING);
    assert_true(v.wanted); /* it runs on: the next boot of n1 starts it again */
    world_done(&w);
}

static void test_migrate(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_run(&w, "vm1", "n1", 1);
    uint64_t epoch = world_vm(&w, "vm1").epoch;
    assert_int_equal(world_op(&w, op_of(VM_OP_MIGRATE, "n2")), 0);
    struct uuid job = world_last_request(&w);
    assert_string_equal(job_get(&w, job).detail, "n1 -> n2");
    struct vm v = world_vm(&w, "vm1");
    assert_string_equal(v.node, "n1");
    assert_string_equal(v.target, "n2");
    struct vm_report moved = world_report_of(&w, "vm1", VM_REPORT_MOVED);
    STR_COPY(moved.node, "n3");
    assert_int_equal(world_report(&w, &moved), ERR_AGAIN); /* not where it was to go */
    STR_COPY(moved.node, "n2");
    assert_int_equal(world_report(&w, &moved), 0);
    assert_int_equal(world_report(&w, &moved), ERR_AGAIN); /* source and target both report */
    v = world_vm(&w, "vm1");
    assert_string_equal(v.node, "n2");
    assert_string_equal(v.home, "n2");
    assert_string_equal(v.boot_id, "boot-1-of-n2");
    assert_string_equal(v.target, "");
    assert_int_equal(v.epoch, epoch + 1);
    assert_int_equal(job_get(&w, job).state, JOB_DONE);
    assert_last_event(&w, "VM vm1 moved from n1 to n2");

    struct vm_op_request drain = op_of(VM_OP_MIGRATE, "n3");
    drain.reason = VM_REASON_DRAIN;
    assert_int_equal(world_op(&w, drain), 0);
    world_end(&w, "vm1", VM_REPORT_MOVED);
    assert_string_equal(world_vm(&w, "vm1").node, "n3");
    assert_string_equal(world_vm(&w, "vm1").home, "n2"); /* a drain does not move the home */

    assert_int_equal(world_op(&w, op_of(VM_OP_MIGRATE, "n1")), 0);
    world_end(&w, "vm1", VM_REPORT_FAILED);
    v = world_vm(&w, "vm1");
    assert_string_equal(v.node, "n3");
    assert_string_equal(v.home, "n2");
    assert_int_equal(v.state, VM_RUNNING);
    world_done(&w);
}

static void test_migrate_refused(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_add(&w, "vm1", "n1", 1);
    assert_int_equal(world_op(&w, op_of(VM_OP_MIGRATE, "n2")), ERR_CONDITION); /* does not run */
    world_op(&w, op_of(VM_OP_START, ""));
    world_end(&w, "vm1", VM_REPORT_STARTED);
    assert_int_equal(world_op(&w, op_of(VM_OP_MIGRATE, "n9")), ERR_NO_OBJECT);
    w.list[1].draining = true;
    assert_int_equal(world_op(&w, op_of(VM_OP_MIGRATE, "n2")), ERR_CONDITION);
    w.list[1].draining = false;
    w.list[1].machines = "pc-q35-10.0 pc-q35-7.20";
    assert_int_equal(world_op(&w, op_of(VM_OP_MIGRATE, "n2")), ERR_CONDITION);
    assert_non_null(strstr(w.result.error.text, "pc-q35-7.2"));
    w.list[1].machines = NULL;
    assert_int_equal(world_op(&w, op_of(VM_OP_MIGRATE, "n2")), ERR_CONDITION);
    w.list[1].machines = "pc-q35-7.2";
    assert_int_equal(world_op(&w, op_of(VM_OP_MIGRATE, "n2")), 0);
    world_done(&w);
}

static void test_compare_and_set(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_run(&w, "vm1", "n1", 1);
    struct vm_op_request stale = op_of(VM_OP_STOP, "");
    stale.epoch = 1;
    assert_int_equal(world_op(&w, stale), ERR_AGAIN);

    /* Without an op: only the row's epoch and its owner count. */
    struct vm_report off = world_report_of(&w, "vm1", VM_REPORT_STOPPED);
    off.epoch--;
    assert_int_equal(world_report(&w, &off), ERR_AGAIN);
    off.epoch++;
    STR_COPY(off.node, "n2");
    assert_int_equal(world_report(&w, &off), ERR_AGAIN);
    STR_COPY(off.node, "n1");

    /* With one: only its id. */
    world_op(&w, op_of(VM_OP_STOP, ""));
    assert_int_equal(world_report(&w, &off), ERR_AGAIN);
    struct vm_report r = world_report_of(&w, "vm1", VM_REPORT_STOPPED);
    r.op_id = world_uuid(77);
    assert_int_equal(world_report(&w, &r), ERR_AGAIN);
    r = world_report_of(&w, "vm1", VM_REPORT_STARTED); /* not what a stop ends with */
    assert_int_equal(world_report(&w, &r), ERR_AGAIN);
    assert_int_equal(world_vm(&w, "vm1").op, VM_OP_STOP);
    world_done(&w);
}

static void test_seen_without_an_op(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_run(&w, "vm1", "n1", 1);
    assert_int_equal(world_end(&w, "vm1", VM_REPORT_STOPPED), 0);
    struct vm v = world_vm(&w, "vm1");
    assert_int_equal(v.state, VM_STOPPED);
    assert_false(v.wanted);
    assert_last_event(&w, "VM vm1 went off by itself on n1");
    assert_int_equal(world_end(&w, "vm1", VM_REPORT_STARTED), 0);
    assert_int_equal(world_vm(&w, "vm1").state, VM_RUNNING);
    assert_int_equal(world_vm(&w, "vm1").epoch, v.epoch + 1);
    struct vm_report r = world_report_of(&w, "vm1", VM_REPORT_ASTRAY);
    STR_COPY(r.node, "n3");
    v = world_vm(&w, "vm1");
    assert_int_equal(world_report(&w, &r), 0);
    assert_last_event(&w, "VM vm1 runs on n3 as well, but belongs to n1: look at it by hand");
    struct vm after = world_vm(&w, "vm1");
    assert_int_equal(after.changed_ms, v.changed_ms);
    world_done(&w);
}

static void test_restart_once(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_run(&w, "vm1", "n1", 1);
    struct vm_op_request r = op_of(VM_OP_START, "");
    r.reason = VM_REASON_RESTART;
    r.epoch = world_vm(&w, "vm1").epoch;
    STR_COPY(r.boot_id, "boot-1-of-n1");
    assert_int_equal(world_op(&w, r), ERR_CONDITION); /* the same boot */
    STR_COPY(r.boot_id, "boot-2-of-n1");
    w.list[0].accepts = false; /* a paused node starts its own VMs all the same */
    assert_int_equal(world_op(&w, r), 0);
    assert_string_equal(world_vm(&w, "vm1").boot_id, "boot-2-of-n1");
    assert_int_equal(world_op(&w, r), ERR_AGAIN); /* doubled */
    STR_COPY(w.list[0].boot_id, "boot-2-of-n1");
    world_end(&w, "vm1", VM_REPORT_FAILED);
    assert_int_equal(world_op(&w, r), ERR_AGAIN); /* an old epoch */
    r.epoch = 0;
    assert_int_equal(world_op(&w, r), ERR_CONDITION); /* once per boot */
    world_done(&w);
}

/* "An operation on a VM is not claimed before its backup has ended", nor is it removed. */
static void test_held_by_a_backup(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_run(&w, "vm1", "n1", 1);
    world_op(&w, op_of(VM_OP_MIGRATE, "n2"));
    struct vm_report r = world_report_of(&w, "vm1", VM_REPORT_CLAIM);
    r.claim = 42;
    w.nodes.is_held = world_is_held;
    w.nodes.held_ctx = r.boot_id;
    assert_int_equal(world_report(&w, &r), ERR_AGAIN);
    assert_int_equal(world_vm(&w, "vm1").claim, 0);
    w.nodes.held_ctx = "another boot";
    assert_int_equal(world_report(&w, &r), 0);
    world_done(&w);
}

static void test_claim_and_left(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_run(&w, "vm1", "n1", 1);
    world_op(&w, op_of(VM_OP_MIGRATE, "n2"));
    struct vm_report r = world_report_of(&w, "vm1", VM_REPORT_CLAIM);
    assert_int_equal(world_report(&w, &r), ERR_AGAIN); /* no number */
    r.claim = 42;
    STR_COPY(r.node, "n2");
    assert_int_equal(world_report(&w, &r), ERR_AGAIN); /* not the owner */
    STR_COPY(r.node, "n1");
    assert_int_equal(world_report(&w, &r), 0);
    assert_int_equal(world_vm(&w, "vm1").claim, 42);
    assert_int_equal(world_end(&w, "vm1", VM_REPORT_LEFT), 0);
    assert_true(world_vm(&w, "vm1").left);
    assert_int_equal(world_vm(&w, "vm1").op, VM_OP_MIGRATE);
    assert_int_equal(world_end(&w, "vm1", VM_REPORT_FAILED), 0);
    assert_false(world_vm(&w, "vm1").left);
    assert_int_equal(world_vm(&w, "vm1").claim, 0);
    assert_int_equal(world_report(&w, &r), ERR_AGAIN); /* a claim of an op that is over */
    world_done(&w);
}

static void test_remove_and_set(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_run(&w, "vm1", "n1", 1);
    struct buf b = {0};
    vm_entry_remove("vm1", &b);
    assert_int_equal(world_apply(&w, ENTRY_VM_REMOVE, &b), ERR_CONDITION);
    struct vm_set_request set = {.name = "vm1", .set_priority = true, .priority = -5, .set_home = true, .home = "n3"};
    vm_entry_set(&set, &b);
    assert_int_equal(world_apply(&w, ENTRY_VM_SET, &b), 0);
    assert_int_equal(world_vm(&w, "vm1").priority, -5);
    assert_string_equal(world_vm(&w, "vm1").home, "n3");
    assert_int_equal(world_vm(&w, "vm1").policy, VM_POLICY_FAIL);
    STR_COPY(set.home, "n9");
    vm_entry_set(&set, &b);
    assert_int_equal(world_apply(&w, ENTRY_VM_SET, &b), ERR_NO_OBJECT);
    world_op(&w, op_of(VM_OP_STOP, ""));
    world_end(&w, "vm1", VM_REPORT_STOPPED);
    vm_entry_remove("vm1", &b);
    assert_int_equal(world_apply(&w, ENTRY_VM_REMOVE, &b), 0);
    assert_int_equal(tables_count(w.t, TABLE_VM), 0);
    assert_int_equal(tables_count(w.t, TABLE_VM_XML), 0);
    assert_int_equal(world_op(&w, op_of(VM_OP_START, "")), ERR_NO_OBJECT);
    world_done(&w);
}

/* Every cut of every payload is refused and changes nothing. */
static int cancel(struct world *w, const char *name, const struct uuid *op_id)
{
    struct buf b = {0};
    vm_entry_cancel(name, op_id, &b);
    return world_apply(w, ENTRY_VM_CANCEL, &b);
}

static void test_cancel(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_run(&w, "vm1", "n1", 1);
    struct uuid other = world_uuid(4711);
    assert_int_equal(cancel(&w, "vm9", &other), ERR_NO_OBJECT);
    assert_int_equal(cancel(&w, "vm1", &other), ERR_CONDITION); /* nothing is under way */
    assert_int_equal(world_op(&w, op_of(VM_OP_STOP, "")), 0);
    struct uuid op = world_vm(&w, "vm1").op_id;
    assert_int_equal(cancel(&w, "vm1", &op), ERR_CONDITION); /* no move */
    assert_int_equal(world_end(&w, "vm1", VM_REPORT_FAILED), 0);
    assert_int_equal(world_op(&w, op_of(VM_OP_MIGRATE, "n2")), 0);
    op = world_vm(&w, "vm1").op_id;
    assert_int_equal(cancel(&w, "vm1", &other), ERR_CONDITION); /* of another move */
    assert_false(world_vm(&w, "vm1").cancel);
    assert_int_equal(cancel(&w, "vm1", &op), 0);
    assert_int_equal(cancel(&w, "vm1", &op), 0);
    assert_true(world_vm(&w, "vm1").cancel);
    assert_int_equal(world_end(&w, "vm1", VM_REPORT_FAILED), 0);
    struct vm v = world_vm(&w, "vm1");
    assert_false(v.cancel);
    assert_string_equal(v.error, "");
    struct job j;
    assert_int_equal(journal_job_get(w.t, &op, &j), 0);
    assert_int_equal(j.state, JOB_CANCELLED);
    world_done(&w);
}

/* What left its node cannot be called back; and if it is nowhere then, that is a failure whatever was wished before. */
static void test_cancel_after_left(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_run(&w, "vm1", "n1", 1);
    assert_int_equal(world_op(&w, op_of(VM_OP_MIGRATE, "n2")), 0);
    struct uuid op = world_vm(&w, "vm1").op_id;
    assert_int_equal(cancel(&w, "vm1", &op), 0);
    assert_int_equal(world_end(&w, "vm1", VM_REPORT_LEFT), 0);
    assert_int_equal(cancel(&w, "vm1", &op), ERR_CONDITION);
    assert_int_equal(world_end(&w, "vm1", VM_REPORT_FAILED), 0);
    struct job j;
    assert_int_equal(journal_job_get(w.t, &op, &j), 0);
    assert_int_equal(j.state, JOB_FAILED);
    assert_true(world_vm(&w, "vm1").error[0] != '\0');
    world_done(&w);
}

static struct vm_op_request drain_stop(const char *save_to)
{
    struct vm_op_request r = {.name = "vm1", .op = VM_OP_STOP, .reason = VM_REASON_DRAIN};
    STR_COPY(r.save_to, save_to);
    return r;
}

/* What a drain stops stays wanted and owed, until it runs, an admin stops it, or it counts as lost. */
static void test_owed_a_start(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_add(&w, "vm1", "n1", 1);
    assert_int_equal(world_op(&w, drain_stop("")), ERR_CONDITION); /* it is off already */
    world_op(&w, op_of(VM_OP_START, ""));
    world_end(&w, "vm1", VM_REPORT_STARTED);
    assert_int_equal(world_op(&w, drain_stop("")), 0);
    assert_true(vm_needs_fence(w.t, "n1"));
    world_end(&w, "vm1", VM_REPORT_STOPPED);
    struct vm v = world_vm(&w, "vm1");
    assert_true(v.wanted);
    assert_int_equal(v.owed, VM_OWED_START);
    assert_false(vm_needs_fence(w.t, "n1")); /* it runs nowhere, for sure */
    assert_false(vm_is_lost(&v));
    struct vm_op_request again = {.name = "vm1", .op = VM_OP_START, .reason = VM_REASON_RESTART, .boot_id = "boot-2"};
    assert_int_equal(world_op(&w, again), ERR_CONDITION); /* the leader starts it, not its node */
    struct vm_op_request start = {.name = "vm1", .op = VM_OP_START, .reason = VM_REASON_RETURN, .node = "n2"};
    assert_int_equal(world_op(&w, start), 0);
    world_end(&w, "vm1", VM_REPORT_FAILED);
    assert_int_equal(world_vm(&w, "vm1").owed, VM_OWED_START);
    assert_int_equal(world_op(&w, start), 0);
    world_end(&w, "vm1", VM_REPORT_STARTED);
    assert_last_event(&w, "VM vm1 started on n2 (it was off for a drain)");
    assert_int_equal(world_vm(&w, "vm1").owed, VM_OWED_NOTHING);
    assert_string_equal(world_vm(&w, "vm1").home, "n1");

    world_op(&w, drain_stop(""));
    world_end(&w, "vm1", VM_REPORT_STOPPED);
    world_op(&w, op_of(VM_OP_STOP, ""));
    assert_int_equal(world_vm(&w, "vm1").owed, VM_OWED_NOTHING);
    assert_false(world_vm(&w, "vm1").wanted);
    world_done(&w);
}

static void saved(struct world *w)
{
    world_op(w, drain_stop("/srv/vm1.save"));
    assert_int_equal(world_vm(w, "vm1").op_timeout_ms, VM_SAVE_TIMEOUT_MS);
    world_end(w, "vm1", VM_REPORT_STOPPED);
    assert_int_equal(world_vm(w, "vm1").owed, VM_OWED_RESTORE);
    assert_string_equal(world_vm(w, "vm1").saved_to, "/srv/vm1.save");
}

static void claim(struct world *w, uint64_t number)
{
    struct vm_report r = world_report_of(w, "vm1", VM_REPORT_CLAIM);
    r.claim = number;
    assert_int_equal(world_report(w, &r), 0);
}

/* A guest that ran on from there has changed its disk: the file is of no use to anybody any more. */
static void test_saved_state_is_used_once(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_run(&w, "vm1", "n1", 1);
    saved(&w);
    struct vm_op_request start = {.name = "vm1", .op = VM_OP_START, .reason = VM_REASON_RETURN, .node = "n2"};
    world_op(&w, start);
    claim(&w, 7);
    assert_int_equal(world_vm(&w, "vm1").owed, VM_OWED_RESTORE);
    claim(&w, 8); /* an agent after the one that may have restored it */
    assert_int_equal(world_vm(&w, "vm1").owed, VM_OWED_START);
    world_end(&w, "vm1", VM_REPORT_STARTED);
    assert_string_equal(world_vm(&w, "vm1").saved_to, "");

    saved(&w);
    start.node[1] = '3';
    world_op(&w, start);
    claim(&w, 9);
    vm_node_lost(w.t, &w.nodes, "n3", 9000);
    struct vm v = world_vm(&w, "vm1");
    assert_true(vm_is_lost(&v)); /* by failover, anew */
    assert_int_equal(v.owed, VM_OWED_NOTHING);
    assert_string_equal(v.saved_to, "");
    world_done(&w);
}

static void crash(struct world *w)
{
    struct vm_report r = world_report_of(w, "vm1", VM_REPORT_CRASHED);
    assert_int_equal(world_report(w, &r), 0);
}

static void test_crashes(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    w.nodes.settings.crash_restarts = 2;
    world_run(&w, "vm1", "n1", 1);
    int64_t wait_ms = VM_CRASH_BACKOFF_MS;
    struct vm_op_request again = {.name = "vm1", .op = VM_OP_START, .reason = VM_REASON_CRASH, .node = "n1"};
    for (uint32_t i = 1; i <= 2; i++, wait_ms *= 2) {
        crash(&w);
        struct vm v = world_vm(&w, "vm1");
        assert_int_equal(v.owed, VM_OWED_START);
        assert_int_equal(v.crashes, i);
        assert_int_equal(v.due_ms, v.changed_ms + wait_ms);
        assert_false(vm_is_due(&v, v.changed_ms));
        assert_true(vm_is_due(&v, v.due_ms));
        assert_true(vm_is_due(&v, v.changed_ms - 3600 * 1000)); /* whoever wrote it had a clock an hour ahead */
        assert_true(v.wanted);
        assert_int_equal(world_op(&w, again), 0);
        world_end(&w, "vm1", VM_REPORT_STARTED);
        assert_int_equal(world_vm(&w, "vm1").due_ms, 0);
    }
    crash(&w);
    struct vm v = world_vm(&w, "vm1");
    assert_true(v.crash_loop);
    assert_false(v.wanted);
    assert_int_equal(v.owed, VM_OWED_NOTHING);
    world_op(&w, op_of(VM_OP_START, "")); /* an admin mended it */
    world_end(&w, "vm1", VM_REPORT_STARTED);
    assert_int_equal(world_vm(&w, "vm1").crashes, 0);
    assert_false(world_vm(&w, "vm1").crash_loop);
    world_done(&w);
}

static void test_off_without_being_saved(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_run(&w, "vm1", "n1", 1);
    world_op(&w, drain_stop("/srv/vm1.save"));
    struct vm_report r = world_report_of(&w, "vm1", VM_REPORT_STOPPED);
    r.code = ERR_IO;
    world_report(&w, &r);
    assert_int_equal(world_vm(&w, "vm1").owed, VM_OWED_START);
    assert_last_event(&w, "VM vm1 stopped on n1 (drain), and could not be saved");
    world_op(&w, op_of(VM_OP_START, ""));
    world_end(&w, "vm1", VM_REPORT_STARTED);
    saved(&w);
    world_op(&w, op_of(VM_OP_STOP, "")); /* an admin wants it off: the next start goes on from there */
    assert_int_equal(world_vm(&w, "vm1").owed, VM_OWED_RESTORE);
    struct vm_op_request hard = op_of(VM_OP_STOP, "");
    hard.hard = true;
    world_op(&w, hard);
    assert_int_equal(world_vm(&w, "vm1").owed, VM_OWED_NOTHING);
    world_done(&w);
}

static void test_malformed(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_run(&w, "vm1", "n1", 1);
    struct hash before = tables_hash(w.t);
    struct buf whole[3] = {0};
    struct vm_op_request op = op_of(VM_OP_STOP, "");
    struct vm_report report = world_report_of(&w, "vm1", VM_REPORT_STOPPED);
    struct vm_set_request set = {.name = "vm1", .set_priority = true, .priority = 3};
    vm_entry_op(&op, &whole[0]);
    vm_entry_report(&report, &whole[1]);
    vm_entry_set(&set, &whole[2]);
    const enum entry_kind kinds[] = {ENTRY_VM_OP, ENTRY_VM_REPORT, ENTRY_VM_SET};
    for (size_t i = 0; i < 3; i++) {
        for (size_t len = 0; len < whole[i].len; len++) {
            struct buf cut = {0};
            buf_add(&cut, whole[i].p, len);
            assert_int_equal(world_apply(&w, kinds[i], &cut), ERR_USAGE);
        }
        buf_done(&whole[i]);
    }
    struct hash after = tables_hash(w.t);
    assert_memory_equal(&before, &after, sizeof(before));
    struct vm v = world_vm(&w, "vm1");
    AUTO(buf_done) struct buf row = {0};
    vm_encode(&v, &row);
    for (size_t len = 0; len < row.len; len++)
        assert_int_equal(vm_decode((struct slice){row.p, len}, &v), ERR_MALFORMED);
    wire_put_u64(&row, 7); /* of a newer release */
    assert_int_equal(vm_decode(buf_slice(&row), &v), 0);
    world_done(&w);
}

static void test_json(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_run(&w, "vm1", "n1", 1);
    struct vm v = world_vm(&w, "vm1");
    AUTO(json_freep) struct json *o = vm_json(&v);
    assert_string_equal(json_get_str(o, "name", ""), "vm1");
    assert_string_equal(json_get_str(o, "node", ""), "n1");
    assert_string_equal(json_get_str(o, "state", ""), "running");
    assert_int_equal(json_get_int(o, "memory_mib", 0), 1024);
    assert_string_equal(json_get_str(o, "policy", ""), "fail");
    world_done(&w);
}

/* ---- a node that was fenced */

static void assert_lost(const struct world *w, const char *node)
{
    struct vm v = world_vm(w, "vm1");
    assert_true(vm_is_lost(&v));
    assert_string_equal(v.node, node);
}

static void test_node_lost(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_run(&w, "vm1", "n1", 1);
    struct vm_report late = world_report_of(&w, "vm1", VM_REPORT_STOPPED);
    uint64_t epoch = world_vm(&w, "vm1").epoch;
    assert_true(vm_needs_fence(w.t, "n1"));
    assert_false(vm_needs_fence(w.t, "n2"));
    vm_node_lost(w.t, &w.nodes, "n2", 5000);
    assert_int_equal(world_vm(&w, "vm1").epoch, epoch);
    vm_node_lost(w.t, &w.nodes, "n1", 5000);
    assert_lost(&w, "n1");
    assert_true(world_vm(&w, "vm1").epoch > epoch);
    assert_false(vm_needs_fence(w.t, "n1"));
    assert_int_equal(world_report(&w, &late), ERR_AGAIN); /* of what it had before */
    world_done(&w);
}

/* It may have arrived by then: its target says so, or that it has not. */
static void test_node_lost_in_a_move(void **state)
{
    (void)state;
    static const enum vm_report_kind ends[] = {VM_REPORT_MOVED, VM_REPORT_FAILED};
    for (size_t i = 0; i < 2; i++) {
        struct world w;
        world_init(&w);
        world_run(&w, "vm1", "n1", 1);
        assert_int_equal(world_op(&w, op_of(VM_OP_MIGRATE, "n2")), 0);
        w.list[0].fenced = true;
        vm_node_lost(w.t, &w.nodes, "n1", 5000);
        assert_int_equal(world_vm(&w, "vm1").op, VM_OP_MIGRATE);
        assert_true(world_vm(&w, "vm1").left);
        assert_true(vm_needs_fence(w.t, "n2"));
        assert_int_equal(world_end(&w, "vm1", ends[i]), 0);
        if (ends[i] == VM_REPORT_FAILED)
            assert_lost(&w, "n1");
        else
            assert_string_equal(world_vm(&w, "vm1").node, "n2");
        world_done(&w);
    }
}

static void test_both_nodes_lost_in_a_move(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    world_run(&w, "vm1", "n1", 1);
    assert_int_equal(world_op(&w, op_of(VM_OP_MIGRATE, "n2")), 0);
    w.list[1].fenced = true;
    vm_node_lost(w.t, &w.nodes, "n1", 5000);
    assert_lost(&w, "n1");
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add_validates),
        cmocka_unit_test(test_start_stop),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_migrate),
        cmocka_unit_test(test_migrate_refused),
        cmocka_unit_test(test_compare_and_set),
        cmocka_unit_test(test_seen_without_an_op),
        cmocka_unit_test(test_restart_once),
        cmocka_unit_test(test_held_by_a_backup),
        cmocka_unit_test(test_claim_and_left),
        cmocka_unit_test(test_remove_and_set),
        cmocka_unit_test(test_owed_a_start),
        cmocka_unit_test(test_saved_state_is_used_once),
        cmocka_unit_test(test_off_without_being_saved),
        cmocka_unit_test(test_crashes),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_cancel_after_left),
        cmocka_unit_test(test_node_lost),
        cmocka_unit_test(test_node_lost_in_a_move),
        cmocka_unit_test(test_both_nodes_lost_in_a_move),
    };
    return cmocka_run_group_tests_name("vm apply", tests, NULL, NULL);
}
