/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The numbers are those of the table in vm/vm-local.c. */
#include "tests/unit/vm_world.h"

struct host {
    struct world w;
    struct vm_local *l;
    struct vm_self self;
    struct vm_domain domains[4]; /* what this host's hypervisor has */
    size_t n_domains;
    bool answered[WORLD_MAX];
    bool lists_fail, hold_proposals;
};

static void host_init(struct host *h, const char *node)
{
    *h = (struct host){0};
    world_init(&h->w);
    h->l = vm_local_new();
    const struct vm_node *n = vm_nodes_find(&h->w.nodes, node);
    h->self = (struct vm_self){.node = n->name, .boot_id = n->boot_id, .quorate = true};
}

static void host_done(struct host *h)
{
    vm_local_free(h->l);
    world_done(&h->w);
}

/* The agent is restarted: its memory and its calls are gone. */
static void restart_agent(struct host *h)
{
    vm_local_free(h->l);
    h->l = vm_local_new();
    world_forget_proposals(&h->w);
    for (size_t i = 0; i < h->w.n_calls; i++)
        h->answered[i] = true;
    h->w.now_ms += 5;
}

static struct vm_domain *has_domain(struct host *h, const char *name, enum vm_domain_state state)
{
    struct vm v = world_vm(&h->w, name);
    struct vm_domain *d = NULL;
    for (size_t i = 0; i < h->n_domains; i++) {
        if (str_eq(h->domains[i].name, name))
            d = &h->domains[i];
    }
    if (!d)
        d = &h->domains[h->n_domains++];
    *d = (struct vm_domain){.uuid = v.uuid, .state = state};
    STR_COPY(d->name, name);
    return d;
}

static void outcome(struct host *h, size_t i, const struct vm_outcome *o)
{
    assert_false(h->answered[i]);
    h->answered[i] = true;
    assert_true(vm_local_outcome(h->l, h->w.t, &h->self, h->w.now_ms, i + 1, o, &h->w.env));
}

static void answer_lists(struct host *h)
{
    for (size_t i = 0; i < h->w.n_calls; i++) {
        if (h->answered[i] || h->w.calls[i].verb != VM_CALL_LIST)
            continue;
        struct vm_outcome o = {.domains = h->domains, .n_domains = h->n_domains};
        if (h->lists_fail)
            error_set(&o.error, ERR_AGAIN, "no libvirtd");
        outcome(h, i, &o);
    }
}

static void one_step(struct host *h)
{
    vm_local_step(h->l, h->w.t, &h->w.nodes, &h->self, h->w.now_ms, &h->w.env);
    h->w.now_ms += 50;
}

/* Steps for so long; LISTs are answered, proposals applied at once. */
static void run_for(struct host *h, int64_t ms)
{
    for (int64_t until = h->w.now_ms + ms; h->w.now_ms < until;) {
        one_step(h);
        answer_lists(h);
        if (!h->hold_proposals)
            world_commit(&h->w);
    }
}

static void run(struct host *h)
{
    run_for(h, 600);
}

/* The one call that is under way, LIST apart; -1: none. */
static int under_way(const struct host *h)
{
    int found = -1;
    for (size_t i = 0; i < h->w.n_calls; i++) {
        if (h->answered[i] || h->w.calls[i].verb == VM_CALL_LIST)
            continue;
        assert_int_equal(found, -1);
        found = (int)i;
    }
    return found;
}

static const struct vm_call *assert_calls(const struct host *h, enum vm_verb verb)
{
    int i = under_way(h);
    assert_true(i >= 0);
    assert_int_equal(h->w.calls[i].verb, verb);
    return &h->w.calls[i];
}

static void answer(struct host *h, int code)
{
    struct vm_outcome o = {0};
    if (code)
        error_set(&o.error, code, "because");
    int i = under_way(h);
    assert_true(i >= 0);
    outcome(h, (size_t)i, &o);
}

static size_t count_calls(const struct host *h, enum vm_verb verb)
{
    size_t n = 0;
    for (size_t i = 0; i < h->w.n_calls; i++)
        n += h->w.calls[i].verb == verb;
    return n;
}

static void op(struct host *h, enum vm_op what, const char *node)
{
    struct vm_op_request r = {.name = "vm1", .op = what, .reason = VM_REASON_ADMIN};
    STR_COPY(r.node, node);
    assert_int_equal(world_op(&h->w, r), 0);
}

static struct vm vm1(const struct host *h)
{
    return world_vm(&h->w, "vm1");
}

static void assert_state(const struct host *h, enum vm_state state, const char *node)
{
    struct vm v = vm1(h);
    assert_int_equal(v.op, VM_OP_NONE);
    assert_int_equal(v.state, state);
    assert_string_equal(v.node, node);
}

static void set_boot(struct host *h, size_t node, const char *boot)
{
    STR_COPY(h->w.list[node].boot_id, boot);
}

/* ---- before anything, and LIST itself */

static void test_nothing_before_the_first_list(void **state)
{
    struct host *h = *state;
    world_add(&h->w, "vm1", "n1", 1);
    op(h, VM_OP_START, "");
    h->lists_fail = true;
    run_for(h, 5000);
    assert_int_equal(under_way(h), -1);
    assert_false(vm_local_ready(h->l));
    assert_in_range(count_calls(h, VM_CALL_LIST), 4, 7); /* one a second */
    assert_int_equal(vm1(h).claim, 0);
    h->lists_fail = false;
    run_for(h, 2000);
    assert_true(vm_local_ready(h->l));
    assert_calls(h, VM_CALL_START);
}

static void test_list_every_five_seconds_and_at_changes(void **state)
{
    struct host *h = *state;
    run_for(h, 200);
    size_t n = count_calls(h, VM_CALL_LIST);
    run_for(h, 20000);
    assert_in_range(count_calls(h, VM_CALL_LIST) - n, 3, 5);
    n = count_calls(h, VM_CALL_LIST);
    vm_local_changed(h->l);
    run_for(h, 200);
    assert_int_equal(count_calls(h, VM_CALL_LIST), n + 1);
    world_run(&h->w, "vm1", "n1", 1);
    has_domain(h, "vm1", VM_DOMAIN_RUNNING);
    op(h, VM_OP_STOP, "");
    run(h);
    assert_calls(h, VM_CALL_SHUTDOWN);
    n = count_calls(h, VM_CALL_LIST);
    run_for(h, 10000); /* an op of this node runs: every second */
    assert_in_range(count_calls(h, VM_CALL_LIST) - n, 8, 11);
}

/* R5 */
static void test_without_quorum_only_list(void **state)
{
    struct host *h = *state;
    world_add(&h->w, "vm1", "n1", 1);
    op(h, VM_OP_START, "");
    h->self.quorate = false;
    run_for(h, 3000);
    assert_true(vm_local_ready(h->l));
    assert_int_equal(under_way(h), -1);
    assert_int_equal(vm1(h).claim, 0);
    h->self.quorate = true;
    run(h);
    assert_calls(h, VM_CALL_START);
    h->self.quorate = false;
    has_domain(h, "vm1", VM_DOMAIN_RUNNING);
    answer(h, 0);
    run(h);
    assert_int_equal(vm1(h).op, VM_OP_START); /* the report waits as well */
    h->self.quorate = true;
    run(h);
    assert_state(h, VM_RUNNING, "n1");
}

/* ---- 1: claims */

static void test_no_act_without_a_claim(void **state)
{
    struct host *h = *state;
    world_add(&h->w, "vm1", "n1", 1);
    op(h, VM_OP_START, "");
    h->hold_proposals = true;
    run_for(h, 3000);
    assert_int_equal(under_way(h), -1);
    assert_int_equal(h->w.n_proposals, 1);
    assert_string_equal(h->w.proposals[0].key, "vm-claim/vm1");
    h->hold_proposals = false;
    run(h);
    assert_calls(h, VM_CALL_START);
}

static void test_a_restarted_agent_claims_anew(void **state)
{
    struct host *h = *state;
    world_add(&h->w, "vm1", "n1", 1);
    op(h, VM_OP_START, "");
    run(h);
    assert_calls(h, VM_CALL_START);
    uint64_t claim = vm1(h).claim;
    restart_agent(h);
    h->hold_proposals = true;
    run_for(h, 2000);
    assert_int_equal(under_way(h), -1); /* the old agent's claim is not its own */
    h->hold_proposals = false;
    run(h);
    assert_int_not_equal(vm1(h).claim, claim);
    assert_calls(h, VM_CALL_START);
}

/* The op that a lagging agent sees ended long ago, the VM runs elsewhere: its claim is refused, it starts nothing. */
static void test_a_lagging_agent_does_not_start(void **state)
{
    struct host *h = *state;
    world_add(&h->w, "vm1", "n1", 1);
    op(h, VM_OP_START, "");
    h->hold_proposals = true;
    run(h);
    assert_int_equal(h->w.n_proposals, 1);
    world_end(&h->w, "vm1", VM_REPORT_STARTED); /* what it had not seen yet stands before its claim in the log */
    op(h, VM_OP_MIGRATE, "n2");
    world_end(&h->w, "vm1", VM_REPORT_MOVED);
    world_commit(&h->w);
    run_for(h, 3000);
    assert_int_equal(count_calls(h, VM_CALL_START), 0);
}

/* ---- 2 to 5: START */

static void test_start(void **state)
{
    struct host *h = *state;
    world_add(&h->w, "vm1", "n1", 1);
    op(h, VM_OP_START, "");
    run(h);
    const struct vm_call *c = assert_calls(h, VM_CALL_START);
    assert_string_equal(c->name, "vm1");
    assert_string_equal(c->xml, "<domain/>");
    has_domain(h, "vm1", VM_DOMAIN_RUNNING);
    answer(h, 0);
    run(h);
    assert_state(h, VM_RUNNING, "n1");
    assert_string_equal(vm1(h).boot_id, "boot-1-of-n1");
    assert_int_equal(count_calls(h, VM_CALL_START), 1);
    run_for(h, 12000);
    assert_int_equal(under_way(h), -1);
    assert_state(h, VM_RUNNING, "n1");
}

static void test_start_failed_but_runs(void **state) /* 3 */
{
    struct host *h = *state;
    world_add(&h->w, "vm1", "n1", 1);
    op(h, VM_OP_START, "");
    run(h);
    has_domain(h, "vm1", VM_DOMAIN_RUNNING);
    answer(h, ERR_FAILED);
    run(h);
    assert_state(h, VM_RUNNING, "n1");
}

static void test_start_failed_certainly(void **state) /* 4 */
{
    struct host *h = *state;
    world_add(&h->w, "vm1", "n1", 1);
    op(h, VM_OP_START, "");
    run(h);
    has_domain(h, "vm1", VM_DOMAIN_OFF);
    answer(h, ERR_FAILED);
    run(h);
    assert_state(h, VM_STOPPED, "n1");
    assert_string_equal(vm1(h).error, "because");
    run_for(h, 12000);
    assert_int_equal(count_calls(h, VM_CALL_START), 1); /* not again in this boot */
}

static void test_start_failed_uncertainly(void **state) /* 5 */
{
    struct host *h = *state;
    world_add(&h->w, "vm1", "n1", 1);
    op(h, VM_OP_START, "");
    run(h);
    answer(h, ERR_IO);
    run(h);
    assert_int_equal(vm1(h).op, VM_OP_START); /* off, but that may change */
    run_for(h, 3000);
    assert_calls(h, VM_CALL_START);
    h->w.now_ms += VM_START_TIMEOUT_MS;
    answer(h, ERR_TIMEOUT);
    run_for(h, 3000);
    assert_calls(h, VM_CALL_DESTROY);
    answer(h, ERR_IO);
    run_for(h, 3000);
    assert_int_equal(vm1(h).op, VM_OP_START);
    assert_calls(h, VM_CALL_DESTROY);
    answer(h, 0);
    run(h);
    assert_state(h, VM_STOPPED, "n1");
}

/* The failure must be judged by a LIST that was asked for after it. */
static void test_old_list_does_not_count(void **state)
{
    struct host *h = *state;
    world_add(&h->w, "vm1", "n1", 1);
    op(h, VM_OP_START, "");
    run(h);
    vm_local_changed(h->l);
    one_step(h);
    one_step(h);
    size_t list = h->w.n_calls - 1; /* under way while START fails */
    assert_int_equal(h->w.calls[list].verb, VM_CALL_LIST);
    answer(h, ERR_FAILED);
    outcome(h, list, &(struct vm_outcome){0}); /* it shows nothing */
    one_step(h);
    assert_int_equal(h->w.n_proposals, 0);
    has_domain(h, "vm1", VM_DOMAIN_RUNNING);
    run(h);
    assert_state(h, VM_RUNNING, "n1");
}

/* ---- 6 to 8: STOP */

static void test_stop(void **state)
{
    struct host *h = *state;
    world_run(&h->w, "vm1", "n1", 1);
    has_domain(h, "vm1", VM_DOMAIN_RUNNING);
    op(h, VM_OP_STOP, "");
    run(h);
    assert_int_equal(assert_calls(h, VM_CALL_SHUTDOWN)->timeout_ms, VM_STOP_TIMEOUT_MS);
    answer(h, ERR_TIMEOUT);
    run(h);
    assert_state(h, VM_RUNNING, "n1"); /* 8 */
    assert_string_equal(vm1(h).error, "because");

    op(h, VM_OP_STOP, "");
    run(h);
    has_domain(h, "vm1", VM_DOMAIN_OFF);
    answer(h, ERR_IO); /* 7 */
    run(h);
    assert_state(h, VM_STOPPED, "n1");
    assert_string_equal(vm1(h).error, "");
}

static void test_stop_hard(void **state)
{
    struct host *h = *state;
    world_run(&h->w, "vm1", "n1", 1);
    has_domain(h, "vm1", VM_DOMAIN_RUNNING);
    struct vm_op_request r = {.name = "vm1", .op = VM_OP_STOP, .reason = VM_REASON_ADMIN, .hard = true};
    world_op(&h->w, r);
    run(h);
    assert_calls(h, VM_CALL_DESTROY);
    has_domain(h, "vm1", VM_DOMAIN_OFF);
    answer(h, 0);
    run(h);
    assert_state(h, VM_STOPPED, "n1");
}

static void op_save(struct host *h)
{
    struct vm_op_request r = {.name = "vm1", .op = VM_OP_STOP, .reason = VM_REASON_DRAIN, .save_to = "/srv/vm1.save"};
    world_op(&h->w, r);
    run(h);
    assert_string_equal(assert_calls(h, VM_CALL_SAVE)->path, "/srv/vm1.save");
}

static void test_save_and_restore(void **state) /* 8a, 2 */
{
    struct host *h = *state;
    world_run(&h->w, "vm1", "n1", 1);
    has_domain(h, "vm1", VM_DOMAIN_RUNNING);
    op_save(h);
    has_domain(h, "vm1", VM_DOMAIN_OFF);
    answer(h, 0);
    run(h);
    assert_int_equal(vm1(h).owed, VM_OWED_RESTORE);
    set_boot(h, 0, "boot-2-of-n1");
    run_for(h, 6000);
    assert_state(h, VM_STOPPED, "n1"); /* not by itself, also after a reboot */
    op(h, VM_OP_START, "n1");
    run(h);
    assert_string_equal(assert_calls(h, VM_CALL_START)->path, "/srv/vm1.save");
    answer(h, ERR_TIMEOUT); /* it may have run on from there */
    run_for(h, 3000);
    assert_string_equal(assert_calls(h, VM_CALL_START)->path, "");
    has_domain(h, "vm1", VM_DOMAIN_RUNNING);
    answer(h, 0);
    run(h);
    assert_state(h, VM_RUNNING, "n1");
    assert_int_equal(vm1(h).owed, VM_OWED_NOTHING);
}

static void test_save_failed(void **state) /* 8, 8a */
{
    struct host *h = *state;
    world_run(&h->w, "vm1", "n1", 1);
    has_domain(h, "vm1", VM_DOMAIN_RUNNING);
    op_save(h);
    answer(h, ERR_FAILED);
    run(h);
    assert_state(h, VM_RUNNING, "n1");
    op_save(h);
    has_domain(h, "vm1", VM_DOMAIN_OFF);
    answer(h, ERR_NOT_FOUND);
    run(h);
    assert_state(h, VM_STOPPED, "n1");
    assert_int_equal(vm1(h).owed, VM_OWED_START);
}

/* ---- 9 to 14: the source of a migration */

static struct vm_domain *begin_migration(struct host *h)
{
    world_run(&h->w, "vm1", "n1", 1);
    struct vm_domain *d = has_domain(h, "vm1", VM_DOMAIN_RUNNING);
    op(h, VM_OP_MIGRATE, "n2");
    run(h);
    return d;
}

static void test_migrate(void **state) /* 9 */
{
    struct host *h = *state;
    struct vm_domain *d = begin_migration(h);
    const struct vm_call *c = assert_calls(h, VM_CALL_MIGRATE);
    assert_string_equal(c->target, "n2");
    assert_string_equal(c->target_address, "10.0.0.2");
    *d = (struct vm_domain){.uuid = d->uuid, .state = VM_DOMAIN_RUNNING, .migrating = true, .percent = 40};
    STR_COPY(d->name, "vm1");
    run_for(h, 1500);
    assert_int_equal(vm_local_percent(h->l, "vm1"), 40);
    set_boot(h, 1, "boot-2-of-n2"); /* the target was rebooted after it had arrived: it must be seen as an older boot */
    h->n_domains = 0;
    answer(h, 0);
    run(h);
    assert_state(h, VM_RUNNING, "n2");
    assert_string_equal(vm1(h).boot_id, "boot-1-of-n2");
    assert_int_equal(vm_local_percent(h->l, "vm1"), -1);
}

static void test_migrate_failed(void **state) /* 12 */
{
    struct host *h = *state;
    begin_migration(h);
    answer(h, ERR_FAILED);
    run(h);
    assert_state(h, VM_RUNNING, "n1");
    assert_string_equal(vm1(h).error, "because");
    assert_int_equal(count_calls(h, VM_CALL_MIGRATE), 1);
}

static void test_target_away(void **state) /* 11 */
{
    struct host *h = *state;
    h->w.list[1].present = false;
    begin_migration(h);
    run(h);
    assert_state(h, VM_RUNNING, "n1");
    assert_int_equal(count_calls(h, VM_CALL_MIGRATE), 0);
}

static void test_agent_restarted_in_migration(void **state) /* 10, then 9 */
{
    struct host *h = *state;
    struct vm_domain *d = begin_migration(h);
    d->migrating = true;
    restart_agent(h);
    run_for(h, 10000);
    assert_int_equal(under_way(h), -1); /* it goes on by itself */
    assert_int_equal(vm1(h).op, VM_OP_MIGRATE);
    d->migrating = false; /* it failed, and nobody was there to hear why */
    run_for(h, 2000);
    assert_calls(h, VM_CALL_MIGRATE);
}

static void test_lost_migration_is_cancelled_late(void **state) /* 10 */
{
    struct host *h = *state;
    struct vm_domain *d = begin_migration(h);
    d->migrating = true;
    restart_agent(h);
    run(h);
    h->w.now_ms += VM_MIGRATE_TIMEOUT_MS;
    run_for(h, 1500);
    assert_calls(h, VM_CALL_CANCEL);
    d->migrating = false;
    answer(h, 0);
    run(h);
    assert_state(h, VM_RUNNING, "n1");
    assert_int_equal(count_calls(h, VM_CALL_MIGRATE), 1);
}

static void wish_cancel(struct host *h)
{
    struct vm v = vm1(h);
    struct buf b = {0};
    vm_entry_cancel(v.name, &v.op_id, &b);
    assert_int_equal(world_apply(&h->w, ENTRY_VM_CANCEL, &b), 0);
}

static void assert_job(const struct host *h, const struct uuid *id, enum job_state state)
{
    struct job j;
    assert_int_equal(journal_job_get(h->w.t, id, &j), 0);
    assert_int_equal(j.state, state);
}

/* The call that is under way is answered, also beside another. */
static void answer_verb(struct host *h, enum vm_verb verb, int code)
{
    for (size_t i = 0; i < h->w.n_calls; i++) {
        if (h->answered[i] || h->w.calls[i].verb != verb)
            continue;
        struct vm_outcome o = {0};
        if (code)
            error_set(&o.error, code, "as the test wants it");
        outcome(h, i, &o);
        return;
    }
    fail_msg("no call of verb %d is under way", (int)verb);
}

static void test_waits_for_a_backup(void **state)
{
    struct host *h = *state;
    world_run(&h->w, "vm1", "n1", 1);
    has_domain(h, "vm1", VM_DOMAIN_RUNNING);
    h->w.nodes.is_held = world_is_held;
    h->w.nodes.held_ctx = h->self.boot_id;
    op(h, VM_OP_MIGRATE, "n2");
    struct uuid job = vm1(h).op_id;
    run(h);
    h->w.now_ms += 3 * VM_MIGRATE_TIMEOUT_MS;
    run(h);
    assert_int_equal(vm1(h).claim, 0);
    assert_int_equal(vm1(h).op, VM_OP_MIGRATE); /* its time has not begun */
    wish_cancel(h);
    run_for(h, 1000);
    assert_state(h, VM_RUNNING, "n1"); /* that does not wait */
    assert_job(h, &job, JOB_CANCELLED);
    op(h, VM_OP_MIGRATE, "n2");
    run(h);
    assert_int_equal(count_calls(h, VM_CALL_MIGRATE), 0);
    h->w.nodes.held_ctx = "";
    run(h);
    assert_int_equal(count_calls(h, VM_CALL_MIGRATE), 1);
}

static void test_cancel_beside_the_call(void **state) /* 10a */
{
    struct host *h = *state;
    struct vm_domain *d = begin_migration(h);
    struct uuid job = vm1(h).op_id;
    d->migrating = true;
    wish_cancel(h);
    run_for(h, 1000);
    assert_int_equal(count_calls(h, VM_CALL_CANCEL), 1);
    answer_verb(h, VM_CALL_CANCEL, ERR_FAILED); /* libvirt has not begun yet */
    run_for(h, 3000);
    assert_int_equal(count_calls(h, VM_CALL_CANCEL), 2);
    answer_verb(h, VM_CALL_CANCEL, 0);
    d->migrating = false;
    answer_verb(h, VM_CALL_MIGRATE, ERR_FAILED);
    run_for(h, 1000);
    assert_state(h, VM_RUNNING, "n1");
    assert_string_equal(vm1(h).error, "");
    assert_false(vm1(h).cancel);
    assert_job(h, &job, JOB_CANCELLED);
    assert_int_equal(count_calls(h, VM_CALL_CANCEL), 2);
}

static void test_cancel_comes_too_late(void **state) /* 10a */
{
    struct host *h = *state;
    struct vm_domain *d = begin_migration(h);
    struct uuid job = vm1(h).op_id;
    d->migrating = true;
    wish_cancel(h);
    run(h);
    h->n_domains = 0; /* it arrived meanwhile */
    answer_verb(h, VM_CALL_MIGRATE, 0);
    run(h);
    answer_verb(h, VM_CALL_CANCEL, ERR_NOT_FOUND);
    run(h);
    assert_state(h, VM_RUNNING, "n2");
    assert_job(h, &job, JOB_DONE);
}

static void test_cancel_of_what_never_began(void **state) /* 10b */
{
    struct host *h = *state;
    begin_migration(h);
    struct uuid job = vm1(h).op_id;
    restart_agent(h); /* its call is gone, and nothing moves */
    wish_cancel(h);
    run_for(h, 1000);
    assert_state(h, VM_RUNNING, "n1");
    assert_job(h, &job, JOB_CANCELLED);
    assert_int_equal(count_calls(h, VM_CALL_MIGRATE), 1);
    assert_int_equal(count_calls(h, VM_CALL_CANCEL), 0);
}

static void test_cancel_after_a_restart(void **state) /* 10a */
{
    struct host *h = *state;
    struct vm_domain *d = begin_migration(h);
    d->migrating = true;
    restart_agent(h);
    wish_cancel(h);
    run_for(h, 1000);
    assert_calls(h, VM_CALL_CANCEL);
    d->migrating = false;
    answer(h, 0);
    run_for(h, 1000);
    assert_state(h, VM_RUNNING, "n1");
}

static void check_left(enum vm_domain_state seen)
{
    struct host h;
    host_init(&h, "n1");
    struct vm_domain *d = begin_migration(&h);
    d->state = seen;
    answer(&h, ERR_IO);
    run_for(&h, 3000);
    assert_int_equal(vm1(&h).op, VM_OP_MIGRATE);
    assert_true(vm1(&h).left);
    d->state = VM_DOMAIN_RUNNING; /* 14: whatever happens now, the target decides */
    run_for(&h, 3000);
    restart_agent(&h);
    run_for(&h, 3000);
    assert_int_equal(count_calls(&h, VM_CALL_MIGRATE), 1);
    assert_int_equal(vm1(&h).op, VM_OP_MIGRATE);
    host_done(&h);
}

static void test_left(void **state) /* 13, 14 */
{
    (void)state;
    check_left(VM_DOMAIN_OFF);
    check_left(VM_DOMAIN_PAUSED);
}

static void test_source_power_cycled(void **state) /* 13; then 21 at the target, 15, 2 */
{
    struct host *h = *state;
    begin_migration(h);
    set_boot(h, 0, "boot-2-of-n1");
    has_domain(h, "vm1", VM_DOMAIN_OFF);
    restart_agent(h);
    run_for(h, 3000);
    assert_true(vm1(h).left);
    assert_int_equal(count_calls(h, VM_CALL_START), 0);
    assert_int_equal(world_end(&h->w, "vm1", VM_REPORT_FAILED), 0); /* the target does not have it */
    run(h);
    assert_calls(h, VM_CALL_START);
    assert_int_equal(vm1(h).reason, VM_REASON_RESTART);
}

static void test_moved_while_the_call_runs(void **state)
{
    struct host *h = *state;
    begin_migration(h);
    world_end(&h->w, "vm1", VM_REPORT_MOVED); /* by the target */
    run_for(h, 2000);
    assert_int_equal(vm1(h).op, VM_OP_NONE);
    h->n_domains = 0;
    answer(h, ERR_FAILED); /* dropped: of an op that is over */
    run_for(h, 2000);
    assert_state(h, VM_RUNNING, "n2");
    assert_string_equal(vm1(h).error, "");
}

/* The outcome of an op that is over says nothing of the next one. */
static void test_outcome_of_an_earlier_op(void **state)
{
    struct host *h = *state;
    begin_migration(h);
    world_end(&h->w, "vm1", VM_REPORT_MOVED);
    op(h, VM_OP_MIGRATE, "n1");
    world_end(&h->w, "vm1", VM_REPORT_MOVED); /* and back */
    op(h, VM_OP_MIGRATE, "n3");
    run(h);
    assert_int_equal(count_calls(h, VM_CALL_MIGRATE), 1); /* one call at a time */
    answer(h, 0);
    run(h);
    assert_int_equal(vm1(h).op, VM_OP_MIGRATE);
    assert_string_equal(assert_calls(h, VM_CALL_MIGRATE)->target, "n3");
}

/* ---- 15 to 18: without an op */

static void test_restart_after_reboot(void **state) /* 15 */
{
    struct host *h = *state;
    world_run(&h->w, "vm1", "n1", 1);
    set_boot(h, 0, "boot-2-of-n1");
    has_domain(h, "vm1", VM_DOMAIN_OFF);
    run(h);
    assert_calls(h, VM_CALL_START);
    answer(h, ERR_FAILED);
    run_for(h, 12000);
    assert_state(h, VM_STOPPED, "n1");
    assert_int_equal(count_calls(h, VM_CALL_START), 1); /* once */
    set_boot(h, 0, "boot-3-of-n1");
    restart_agent(h);
    run(h);
    assert_calls(h, VM_CALL_START); /* still wanted: once more in the next boot */
}

static void test_stopped_stays_off_after_reboot(void **state) /* 18 */
{
    struct host *h = *state;
    world_run(&h->w, "vm1", "n1", 1);
    op(h, VM_OP_STOP, "");
    world_end(&h->w, "vm1", VM_REPORT_STOPPED);
    set_boot(h, 0, "boot-2-of-n1");
    run_for(h, 6000);
    assert_int_equal(under_way(h), -1);
    assert_state(h, VM_STOPPED, "n1");
}

/* Once for each change, and with the report that the VM went off. */
static void test_saved_memory_is_told(void **state) /* 16, 17a */
{
    struct host *h = *state;
    world_run(&h->w, "vm1", "n1", 1);
    struct vm_domain *d = has_domain(h, "vm1", VM_DOMAIN_RUNNING);
    run(h);
    assert_false(vm1(h).memory_snapshot);
    d->memory_snapshot = true;
    run_for(h, 6000);
    assert_true(vm1(h).memory_snapshot);
    assert_false(vm1(h).managed_save);
    uint64_t entries = h->w.n_entries;
    run_for(h, 12000);
    assert_int_equal(h->w.n_entries, entries);
    d->state = VM_DOMAIN_OFF;
    d->managed_save = true;
    h->hold_proposals = true;
    run_for(h, 6000);
    assert_int_equal(h->w.n_proposals, 1);
    world_commit(&h->w);
    assert_state(h, VM_STOPPED, "n1");
    assert_true(vm1(h).managed_save);
    h->hold_proposals = false;
    h->n_domains = 0; /* undefined by hand, with all that was saved */
    run_for(h, 6000);
    assert_false(vm1(h).managed_save || vm1(h).memory_snapshot);
}

static void test_stop_over_a_power_cycle(void **state) /* 6 */
{
    struct host *h = *state;
    world_run(&h->w, "vm1", "n1", 1);
    op(h, VM_OP_STOP, "");
    set_boot(h, 0, "boot-2-of-n1");
    run(h);
    assert_calls(h, VM_CALL_SHUTDOWN);
    answer(h, ERR_NOT_FOUND);
    run_for(h, 6000);
    assert_state(h, VM_STOPPED, "n1");
    assert_int_equal(count_calls(h, VM_CALL_START), 0);
}

static void test_guest_powered_off(void **state) /* 16 */
{
    struct host *h = *state;
    world_run(&h->w, "vm1", "n1", 1);
    struct vm_domain *d = has_domain(h, "vm1", VM_DOMAIN_RUNNING);
    run(h);
    d->state = VM_DOMAIN_PAUSED; /* 18 */
    run_for(h, 6000);
    assert_state(h, VM_RUNNING, "n1");
    d->state = VM_DOMAIN_OFF;
    vm_local_changed(h->l);
    run(h);
    assert_state(h, VM_STOPPED, "n1");
    assert_false(vm1(h).wanted);
}

/* A domain of that name with another UUID is somebody else's. */
static void test_other_uuid_does_not_count(void **state)
{
    struct host *h = *state;
    world_run(&h->w, "vm1", "n1", 1);
    has_domain(h, "vm1", VM_DOMAIN_RUNNING)->uuid = world_uuid(4444);
    run(h);
    assert_state(h, VM_STOPPED, "n1");
}

static void test_started_by_hand(void **state) /* 17 */
{
    struct host *h = *state;
    world_add(&h->w, "vm1", "n1", 1);
    has_domain(h, "vm1", VM_DOMAIN_RUNNING);
    run(h);
    assert_state(h, VM_RUNNING, "n1");
    assert_true(vm1(h).wanted);
}

/* ---- 20 to 22: the target of a migration */

static void begin_arrival(struct host *h)
{
    world_run(&h->w, "vm1", "n1", 1);
    op(h, VM_OP_MIGRATE, "n2");
}

static void test_arrival(void **state) /* 20, 22 */
{
    struct host *h = *state;
    begin_arrival(h);
    has_domain(h, "vm1", VM_DOMAIN_INCOMING);
    run_for(h, 20000);
    assert_int_equal(vm1(h).op, VM_OP_MIGRATE);
    has_domain(h, "vm1", VM_DOMAIN_RUNNING);
    run_for(h, 2000);
    assert_int_equal(vm1(h).op, VM_OP_MIGRATE); /* the source reports first, if it can */
    run_for(h, 4000);
    assert_state(h, VM_RUNNING, "n2");
    assert_string_equal(vm1(h).boot_id, "boot-1-of-n2");
    assert_int_equal(under_way(h), -1);
}

static void test_arrival_without_the_source(void **state) /* 20 */
{
    struct host *h = *state;
    begin_arrival(h);
    h->w.list[0].present = false;
    has_domain(h, "vm1", VM_DOMAIN_RUNNING);
    run(h);
    assert_state(h, VM_RUNNING, "n2");
}

static void test_did_not_arrive(void **state) /* 21, 22 */
{
    struct host *h = *state;
    begin_arrival(h);
    run_for(h, 10000);
    assert_int_equal(vm1(h).op, VM_OP_MIGRATE); /* not begun yet, perhaps */
    has_domain(h, "vm1", VM_DOMAIN_PAUSED);
    world_end(&h->w, "vm1", VM_REPORT_LEFT);
    run_for(h, 10000);
    assert_int_equal(vm1(h).op, VM_OP_MIGRATE); /* 22 */
    h->n_domains = 0;
    run_for(h, 2000);
    assert_state(h, VM_RUNNING, "n1");
    assert_non_null(strstr(vm1(h).error, "did not arrive on n2"));
}

static void test_left_and_arrived(void **state) /* 20 */
{
    struct host *h = *state;
    begin_arrival(h);
    world_end(&h->w, "vm1", VM_REPORT_LEFT);
    has_domain(h, "vm1", VM_DOMAIN_RUNNING);
    run(h);
    assert_state(h, VM_RUNNING, "n2");
}

/* A LIST from before LEFT cannot say that the VM did not arrive. */
static void test_list_from_before_left(void **state)
{
    struct host *h = *state;
    begin_arrival(h);
    run(h);
    vm_local_changed(h->l);
    one_step(h);
    one_step(h);
    size_t list = h->w.n_calls - 1;
    assert_int_equal(h->w.calls[list].verb, VM_CALL_LIST);
    world_end(&h->w, "vm1", VM_REPORT_LEFT);
    one_step(h);
    outcome(h, list, &(struct vm_outcome){0});
    one_step(h);
    assert_int_equal(h->w.n_proposals, 0);
    has_domain(h, "vm1", VM_DOMAIN_RUNNING);
    run(h);
    assert_state(h, VM_RUNNING, "n2");
}

/* ---- 30, 31, 40: what is not this node's */

static void test_astray(void **state) /* 30 */
{
    struct host *h = *state;
    world_run(&h->w, "vm1", "n1", 1);
    has_domain(h, "vm1", VM_DOMAIN_RUNNING);
    size_t events = tables_count(h->w.t, TABLE_EVENT);
    run_for(h, 8000);
    assert_int_equal(tables_count(h->w.t, TABLE_EVENT), events);
    run_for(h, 30000);
    assert_int_equal(tables_count(h->w.t, TABLE_EVENT), events + 1); /* once */
    assert_int_equal(under_way(h), -1);
    assert_state(h, VM_RUNNING, "n1");
}

static void test_leftover_is_undefined(void **state) /* 31 */
{
    struct host *h = *state;
    world_run(&h->w, "vm1", "n1", 1);
    has_domain(h, "vm1", VM_DOMAIN_OFF);
    run(h);
    assert_string_equal(assert_calls(h, VM_CALL_UNDEFINE)->name, "vm1");
    answer(h, ERR_FAILED);
    run_for(h, 20000);
    assert_int_equal(under_way(h), -1); /* not at every look */
    run_for(h, 50000);
    assert_calls(h, VM_CALL_UNDEFINE);
}

static void test_removed_is_undefined(void **state) /* 40 */
{
    struct host *h = *state;
    world_add(&h->w, "vm1", "n1", 1);
    has_domain(h, "vm1", VM_DOMAIN_OFF);
    run(h);
    assert_int_equal(under_way(h), -1);
    struct buf b = {0};
    vm_entry_remove("vm1", &b);
    world_apply(&h->w, ENTRY_VM_REMOVE, &b);
    run(h);
    assert_calls(h, VM_CALL_UNDEFINE);
    h->n_domains = 0;
    answer(h, 0);
    run(h);
    assert_int_equal(under_way(h), -1);
}

static void test_foreign_outcomes_are_refused(void **state)
{
    struct host *h = *state;
    run(h);
    struct vm_outcome o = {0};
    assert_false(vm_local_outcome(h->l, h->w.t, &h->self, h->w.now_ms, 99, &o, &h->w.env));
    assert_false(vm_local_outcome(h->l, h->w.t, &h->self, h->w.now_ms, 0, &o, &h->w.env));
}

/* ---- cut off (R6) */

static void call_start_of_vm1(struct host *h)
{
    world_add(&h->w, "vm1", "n1", 1);
    op(h, VM_OP_START, "");
    run(h);
    assert_calls(h, VM_CALL_START);
}

static void cut_off(struct host *h)
{
    h->self.quorate = false;
    h->self.fence = true;
    run(h);
}

/* R5: what makes a VM run begins before the lease is over, or never. */
static void test_calls_have_a_limit(void **state)
{
    struct host *h = *state;
    h->self.until_ms = 77777;
    world_add(&h->w, "vm1", "n1", 1);
    op(h, VM_OP_START, "");
    run(h);
    assert_int_equal(assert_calls(h, VM_CALL_START)->until_ms, 77777);
    has_domain(h, "vm1", VM_DOMAIN_RUNNING);
    answer(h, 0);
    run(h);
    h->self.until_ms = 88888;
    op(h, VM_OP_MIGRATE, "n2");
    run(h);
    assert_int_equal(assert_calls(h, VM_CALL_MIGRATE)->until_ms, 88888);
}

/* R7: the target is waited for until it is heard, and the call begins soon after that or never. */
static void test_no_move_to_a_silent_node(void **state)
{
    struct host *h = *state;
    h->self.until_ms = 77777;
    world_run(&h->w, "vm1", "n1", 1);
    has_domain(h, "vm1", VM_DOMAIN_RUNNING);
    h->w.list[1].heard_ms = h->w.now_ms;
    h->w.now_ms += 1000;
    op(h, VM_OP_MIGRATE, "n2");
    run(h);
    assert_int_equal(under_way(h), -1);
    h->w.list[1].heard_ms = h->w.now_ms;
    run(h);
    assert_in_range(assert_calls(h, VM_CALL_MIGRATE)->until_ms, h->w.now_ms, h->w.now_ms + 3000);
}

static void test_a_node_stays_silent(void **state)
{
    struct host *h = *state;
    world_run(&h->w, "vm1", "n1", 1);
    has_domain(h, "vm1", VM_DOMAIN_RUNNING);
    h->w.list[1].heard_ms = 1;
    struct vm_op_request r = {.name = "vm1", .op = VM_OP_MIGRATE, .node = "n2", .timeout_ms = 8000};
    assert_int_equal(world_op(&h->w, r), 0);
    run_for(h, 7000);
    assert_int_equal(under_way(h), -1);
    assert_int_equal(vm1(h).op, VM_OP_MIGRATE);
    run_for(h, 2000);
    assert_state(h, VM_RUNNING, "n1");
    assert_int_equal(count_calls(h, VM_CALL_MIGRATE), 0);
}

/* The call of that verb that is under way; -1: none. */
static int call_under_way(const struct host *h, enum vm_verb verb)
{
    for (size_t i = 0; i < h->w.n_calls; i++)
        if (!h->answered[i] && h->w.calls[i].verb == verb)
            return (int)i;
    return -1;
}

static void answer_to(struct host *h, enum vm_verb verb, int code)
{
    struct vm_outcome o = {0};
    int i = call_under_way(h, verb);
    assert_true(i >= 0);
    if (code)
        error_set(&o.error, code, "because");
    outcome(h, (size_t)i, &o);
}

/* Seen off is what counts, not that the call has ended. */
static void assert_destroys(struct host *h)
{
    assert_false(vm_local_is_clear(h->l));
    assert_true(assert_calls(h, VM_CALL_DESTROY)->urgent);
    answer(h, 0);
    assert_false(vm_local_is_clear(h->l));
    run(h);
    assert_false(vm_local_is_clear(h->l));
    h->n_domains = 0;
    run_for(h, 4000);
    while (call_under_way(h, VM_CALL_DESTROY) >= 0)
        answer_to(h, VM_CALL_DESTROY, ERR_NOT_FOUND);
    run(h);
    assert_true(vm_local_is_clear(h->l));
}

static void test_cut_off_destroys(void **state)
{
    struct host *h = *state;
    world_run(&h->w, "vm1", "n1", 1);
    has_domain(h, "vm1", VM_DOMAIN_RUNNING);
    run(h);
    assert_int_equal(under_way(h), -1);
    cut_off(h);
    assert_destroys(h);
}

static void test_cut_off_destroys_what_is_anothers(void **state)
{
    struct host *h = *state;
    world_run(&h->w, "vm1", "n2", 1);
    has_domain(h, "vm1", VM_DOMAIN_PAUSED);
    run(h);
    cut_off(h);
    assert_destroys(h);
}

/* A start that was given up: no LIST shows it, and it may begin to run after each of them. */
static void test_given_up_start_may_appear(void **state)
{
    struct host *h = *state;
    call_start_of_vm1(h);
    answer(h, ERR_TIMEOUT);
    cut_off(h);
    assert_calls(h, VM_CALL_DESTROY);
    answer(h, ERR_TIMEOUT);
    run(h);
    assert_false(vm_local_is_clear(h->l)); /* it was not destroyed either, for all that is known */
    run_for(h, 4000);
    assert_calls(h, VM_CALL_DESTROY);
    answer(h, ERR_NOT_FOUND);
    run(h);
    assert_true(vm_local_is_clear(h->l));
}

/* The row says nothing of it any more: the others counted this node as lost. */
static void test_given_up_start_may_appear_after_its_op(void **state)
{
    struct host *h = *state;
    call_start_of_vm1(h);
    answer(h, ERR_TIMEOUT);
    h->self.quorate = false;
    vm_node_lost(h->w.t, &h->w.nodes, "n1", 5000);
    assert_state(h, VM_STOPPED, "n1");
    run(h);
    cut_off(h);
    assert_calls(h, VM_CALL_DESTROY);
    assert_false(vm_local_is_clear(h->l));
}

static void test_refused_start_does_not_appear(void **state)
{
    struct host *h = *state;
    call_start_of_vm1(h);
    answer(h, ERR_FAILED);
    run(h);
    assert_state(h, VM_STOPPED, "n1");
    cut_off(h);
    assert_int_equal(under_way(h), -1);
    assert_true(vm_local_is_clear(h->l));
}

/* Of a start by the agent before this one nothing is known. */
static void test_start_of_an_earlier_agent_may_appear(void **state)
{
    struct host *h = *state;
    call_start_of_vm1(h);
    restart_agent(h);
    cut_off(h);
    assert_calls(h, VM_CALL_DESTROY);
    assert_false(vm_local_is_clear(h->l));
}

/* What was called before may still make it run. */
static void test_not_clear_under_a_call(void **state)
{
    struct host *h = *state;
    call_start_of_vm1(h);
    cut_off(h);
    answer_to(h, VM_CALL_DESTROY, ERR_NOT_FOUND);
    run(h);
    assert_false(vm_local_is_clear(h->l));
    answer_to(h, VM_CALL_START, ERR_FAILED);
    run(h);
    assert_true(vm_local_is_clear(h->l));
}

static int setup(void **state, const char *node)
{
    *state = xcalloc(1, sizeof(struct host));
    host_init(*state, node);
    return 0;
}

static int setup_n1(void **state)
{
    return setup(state, "n1");
}

static int setup_n2(void **state)
{
    return setup(state, "n2");
}

static int setup_n3(void **state)
{
    return setup(state, "n3");
}

static int teardown(void **state)
{
    host_done(*state);
    free(*state);
    return 0;
}

int main(void)
{
#define ON_N1(test) cmocka_unit_test_setup_teardown(test, setup_n1, teardown)
#define ON_N2(test) cmocka_unit_test_setup_teardown(test, setup_n2, teardown)
#define ON_N3(test) cmocka_unit_test_setup_teardown(test, setup_n3, teardown)
    const struct CMUnitTest tests[] = {
        ON_N1(test_nothing_before_the_first_list),
        ON_N1(test_list_every_five_seconds_and_at_changes),
        ON_N1(test_without_quorum_only_list),
        ON_N1(test_no_act_without_a_claim),
        ON_N1(test_waits_for_a_backup),
        ON_N1(test_a_restarted_agent_claims_anew),
        ON_N1(test_a_lagging_agent_does_not_start),
        ON_N1(test_start),
        ON_N1(test_start_failed_but_runs),
        ON_N1(test_start_failed_certainly),
        ON_N1(test_start_failed_uncertainly),
        ON_N1(test_old_list_does_not_count),
        ON_N1(test_stop),
        ON_N1(test_stop_hard),
        ON_N1(test_save_and_restore),
        ON_N1(test_save_failed),
        ON_N1(test_migrate),
        ON_N1(test_migrate_failed),
        ON_N1(test_target_away),
        ON_N1(test_agent_restarted_in_migration),
        ON_N1(test_lost_migration_is_cancelled_late),
        ON_N1(test_cancel_beside_the_call),
        ON_N1(test_cancel_comes_too_late),
        ON_N1(test_cancel_of_what_never_began),
        ON_N1(test_cancel_after_a_restart),
        cmocka_unit_test(test_left),
        ON_N1(test_source_power_cycled),
        ON_N1(test_moved_while_the_call_runs),
        ON_N1(test_outcome_of_an_earlier_op),
        ON_N1(test_restart_after_reboot),
        ON_N1(test_stopped_stays_off_after_reboot),
        ON_N1(test_saved_memory_is_told),
        ON_N1(test_stop_over_a_power_cycle),
        ON_N1(test_guest_powered_off),
        ON_N1(test_other_uuid_does_not_count),
        ON_N1(test_started_by_hand),
        ON_N2(test_arrival),
        ON_N2(test_arrival_without_the_source),
        ON_N2(test_did_not_arrive),
        ON_N2(test_left_and_arrived),
        ON_N2(test_list_from_before_left),
        ON_N3(test_astray),
        ON_N3(test_leftover_is_undefined),
        ON_N1(test_removed_is_undefined),
        ON_N1(test_foreign_outcomes_are_refused),
        ON_N1(test_calls_have_a_limit),
        ON_N1(test_no_move_to_a_silent_node),
        ON_N1(test_a_node_stays_silent),
        ON_N1(test_cut_off_destroys),
        ON_N1(test_cut_off_destroys_what_is_anothers),
        ON_N1(test_given_up_start_may_appear),
        ON_N1(test_given_up_start_may_appear_after_its_op),
        ON_N1(test_refused_start_does_not_appear),
        ON_N1(test_start_of_an_earlier_agent_may_appear),
        ON_N1(test_not_clear_under_a_call),
    };
    return cmocka_run_group_tests_name("vm local", tests, NULL, NULL);
}
