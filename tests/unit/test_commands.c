/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whole command lines against a whole agent: what clusterctl parses, asks, waits for and prints is what the core of one
 * node really answers. Held here: every exit code of clusterctl(8), by the table below; and, by
 * tests/lint/check-schemas.sh, the JSON of every verb against its schema: RINGMASTER_ANSWERS names the file that gets
 * it. */
#include "tests/unit/one_core.h"
#include "tests/unit/tempdir.h"

#include "agent/cluster-internal.h"
#include "cli/call.h"
#include "upgrade/run-entry.h"

struct ctl {
    struct one *o; /* NULL: no agent runs */
    enum core_access access;
    int confirm;
    struct buf out, err;
    unsigned ids, vms;
    const char *machine; /* of what is added; NULL: pc-q35-7.2 */
    bool has_data_store;
    bool is_backup_slow; /* it goes on and on */
    struct tempdir dir;
};

/* ---- the host: what was asked of it is done at once, as if all were well ------------------------------------------
 */

static void found(struct one *o, const struct core_action *a)
{
    uint32_t group[] = {1};
    struct membership_outcome m = {.identity = one_identity()};
    wire_put_str(&m.sealed_ca_key, "sealed");
    one_step(o, (struct core_event){.type = EV_MEMBERSHIP, .id = a->id, .membership = &m});
    one_step(o, (struct core_event){.type = EV_GROUP, .group = group, .n_group = 1});
    buf_done(&m.sealed_ca_key);
}

static void parse(struct ctl *c, const struct core_action *a)
{
    struct vm_outcome out = {.facts = {.uuid = one_uuid(600 + ++c->vms),
                                       .machine = "pc-q35-7.2",
                                       .memory_kib = 1 << 18,
                                       .vcpus = 1,
                                       .disks = 1,
                                       .xml = (char *)"<domain/>"}};
    snprintf(out.facts.name, sizeof out.facts.name, "vm%u", c->vms);
    if (c->machine)
        STR_COPY(out.facts.machine, c->machine);
    out.facts.has_data_store = c->has_data_store;
    if (a->vm.machine[0]) { /* of the first VM, which has that name and UUID */
        STR_COPY(out.facts.name, "vm1");
        out.facts.uuid = one_uuid(601);
        STR_COPY(out.facts.machine, a->vm.machine);
        c->vms--;
    }
    one_step(c->o, (struct core_event){.type = EV_VM, .id = a->id, .vm = &out});
}

static void token(struct ctl *c, const struct core_action *a)
{
    struct token_outcome k = {
        .id = one_uuid(7000 + ++c->ids), .secret_hash = {{(uint8_t)c->ids}}, .text = (char *)"a very secret token"};
    one_step(c->o, (struct core_event){.type = EV_TOKEN, .id = a->id, .token = &k});
}

/* A worker that is done when it is looked at. */
static void backup(struct ctl *c, const struct core_action *a)
{
    struct backup_outcome o = {
        .unit = BACKUP_UNIT_RUNNING, .phase = BACKUP_EXPORTING, .done_bytes = 1, .total_bytes = 4};
    struct refpoint *p = xcalloc(1, sizeof *p);
    *p = (struct refpoint){.uuid = a->backup->run, .sequence = 1, .engine = "full", .created_ms = 1764000000000,
                           .application_consistent = true, .n_disks = 1};
    STR_COPY(p->vm, a->backup->vm);
    p->disks[0] = (struct refpoint_disk){.name = "vda", .tracking = {{7}}, .bytes = 1 << 20, .engine = "full",
                                         .reason = "no reference", .read_bytes = 1 << 20, .stored_bytes = 4096};
    if (a->backup->verb == BACKUP_CALL_INIT) {
        memcpy(o.sealed_key, "sealed", 6);
        o.sealed_len = 6;
    } else if (a->backup->verb == BACKUP_CALL_STOP) {
        o.unit = BACKUP_UNIT_NONE;
    } else if (a->backup->verb == BACKUP_CALL_LOOK && !c->is_backup_slow) {
        AUTO(json_freep) struct json *j = refpoint_json(p);
        o.unit = BACKUP_UNIT_ENDED;
        o.phase = BACKUP_PUBLISHED;
        o.point = json_dump(j);
        snprintf(o.checkpoint, sizeof o.checkpoint, BACKUP_CHECKPOINT_PREFIX "%s", uuid_str(&p->uuid).s);
        o.checkpoint_xml = xstrdup("<domaincheckpoint/>");
    }
    one_step(c->o, (struct core_event){.type = EV_BACKUP, .id = a->id, .backup = &o});
    backup_outcome_done(&o);
    free(p);
}

/* Starts and stops stay under way: jobs that do not end are what a wait needs. */
static void host_acts(struct ctl *c)
{
    for (size_t n = c->o->n_kept; n; n--) {
        struct core_action a = c->o->kept[0];
        memmove(&c->o->kept[0], &c->o->kept[1], --c->o->n_kept * sizeof c->o->kept[0]);
        if (a.type == ACT_FOUND)
            found(c->o, &a);
        else if (a.type == ACT_TOKEN)
            token(c, &a);
        else if (a.type == ACT_VM && a.vm.verb == VM_CALL_PARSE)
            parse(c, &a);
        else if (a.type == ACT_BACKUP)
            backup(c, &a);
        core_action_done(&a);
    }
}

/* ---- clusterctl's world --------------------------------------------------------------------------------------------
 */

static int ctl_ask(void *ctx, const struct json *request, int64_t timeout_ms, bool again, struct json **ret_answer,
                   struct error *e)
{
    struct ctl *c = ctx;
    (void)again;
    if (!c->o)
        return error_set(e, ERR_NO_AGENT, "the agent of this node does not run");
    uint64_t client = ++c->o->client;
    one_step(c->o, (struct core_event){.type = EV_REQUEST, .client = client, .request = request, .access = c->access});
    for (int64_t until = c->o->now + timeout_ms; !one_answer(c->o, client) && c->o->now < until;) {
        host_acts(c);
        one_run(c->o, 100);
    }
    const struct json *answer = one_answer(c->o, client);
    if (!answer)
        return error_set(e, ERR_TIMEOUT, "the agent does not answer in time");
    *ret_answer = json_copy(answer);
    while (c->o->n_kept) /* what is kept is forgotten, too */
        host_acts(c);
    one_forget(c->o);
    return 0;
}

static struct uuid ctl_new_id(void *ctx)
{
    return one_uuid(20000 + ++((struct ctl *)ctx)->ids);
}

static int ctl_confirm(void *ctx, const char *question)
{
    assert_true(question[0] != '\0');
    return ((struct ctl *)ctx)->confirm;
}

static void ctl_write(void *ctx, enum stream stream, const char *text, size_t len)
{
    struct ctl *c = ctx;
    buf_add(stream == STREAM_OUT ? &c->out : &c->err, text, len);
}

static int64_t ctl_now(void *ctx)
{
    struct ctl *c = ctx;
    return c->o ? c->o->now : 0;
}

static int64_t ctl_wall(void *ctx)
{
    struct ctl *c = ctx;
    return c->o ? c->o->wall : 1700000000000;
}

static void ctl_hold(void *ctx)
{
    (void)ctx;
}

/* A watch ends by itself after a while. */
static bool ctl_sleep(void *ctx, int64_t ms)
{
    struct ctl *c = ctx;
    if (c->o)
        host_acts(c);
    if (c->o)
        one_run(c->o, ms);
    return c->o && c->o->now < 600 * 1000;
}

static size_t ctl_no_size(void *ctx)
{
    (void)ctx;
    return 0;
}

static void keep_answers(const struct ctl *c)
{
    const char *path = getenv("RINGMASTER_ANSWERS");
    FILE *f = path && c->out.len ? fopen(path, "a") : NULL;
    if (!f)
        return;
    fwrite(c->out.p, 1, c->out.len, f);
    fputs("\x1e\n", f);
    fclose(f);
}

/* Words are split at blanks. Its exit code. */
static int ctl(struct ctl *c, const char *line)
{
    char copy[1024], *argv[32] = {(char *)(uintptr_t) "clusterctl"}, *rest = NULL;
    int argc = 1;
    STR_COPY(copy, line);
    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        argv[argc++] = word;
    const struct cli_env env = {
        .ctx = c,
        .ask = ctl_ask,
        .new_id = ctl_new_id,
        .confirm = ctl_confirm,
        .write = ctl_write,
        .now_ms = ctl_now,
        .wall_ms = ctl_wall,
        .hold_interrupts = ctl_hold,
        .sleep = ctl_sleep,
        .width = ctl_no_size,
        .height = ctl_no_size,
        .root = c->dir.path,
    };
    c->out.len = c->err.len = 0;
    int code = cli_run(&env, argc, argv);
    if (strstr(line, "-o json"))
        keep_answers(c);
    buf_add(&c->out, "", 1);
    buf_add(&c->err, "", 1);
    c->out.len--, c->err.len--;
    return code;
}

static void must(struct ctl *c, int code, const char *line)
{
    int is = ctl(c, line);
    if (is != code)
        fail_msg("clusterctl %s: exit code %d, not %d: %s", line, is, code, (const char *)c->err.p);
}

static int setup(void **state)
{
    struct ctl *c = xcalloc(1, sizeof *c);
    *c = (struct ctl){.access = ACCESS_ADMIN, .confirm = ERR_USAGE, .dir = tempdir_make()};
    c->o = one_new();
    one_start(c->o, NULL, NULL);
    *state = c;
    return 0;
}

static int teardown(void **state)
{
    struct ctl *c = *state;
    one_free(c->o);
    buf_done(&c->out);
    buf_done(&c->err);
    tempdir_done(&c->dir);
    free(c);
    return 0;
}

static void form(struct ctl *c)
{
    tempdir_write(&c->dir, "/vm.xml", "<domain/>\n", 0644);
    must(c, 0, "cluster init --name ring --yes -o json");
    one_run(c->o, 1000);
}

static void with_path(struct ctl *c, int code, const char *line, const char *file, const char *rest)
{
    char whole[512];
    snprintf(whole, sizeof whole, "%s %s%s%s", line, c->dir.path, file, rest);
    must(c, code, whole);
}

/* ---- rows that one node alone does not come to have ----------------------------------------------------------------
 */

static struct tables *tables_of(struct ctl *c)
{
    return (struct tables *)core_tables(c->o->core);
}

static void put_away_node(struct ctl *c)
{
    struct node n = {.nodeid = 9,
                     .state = NODE_ACTIVE,
                     .name = "n9",
                     .address = "10.0.0.9",
                     .facts = one_facts(),
                     .replica = one_uuid(900)};
    AUTO(buf_done) struct buf b = {0};
    node_encode(&n, &b);
    tables_put(tables_of(c), TABLE_NODE, n.name, buf_slice(&b));
}

static void put_moving_vm(struct ctl *c)
{
    struct vm v;
    struct job j = {.id = one_uuid(4242),
                    .kind = JOB_VM_MIGRATE,
                    .state = JOB_RUNNING,
                    .object = "vm1",
                    .node = "n9",
                    .detail = "n9 -> n1",
                    .started_ms = c->o->wall};
    AUTO(buf_done) struct buf b = {0};
    assert_int_equal(vm_get(tables_of(c), "vm1", &v), 0);
    STR_COPY(v.node, "n9");
    STR_COPY(v.target, "n1");
    v.state = VM_RUNNING;
    v.op = VM_OP_MIGRATE;
    v.op_id = j.id;
    vm_encode(&v, &b);
    tables_put(tables_of(c), TABLE_VM, "vm1", buf_slice(&b));
    journal_job_begin(tables_of(c), &j);
}

static void put_old_vm(struct ctl *c)
{
    struct vm v;
    AUTO(buf_done) struct buf b = {0};
    assert_int_equal(vm_get(tables_of(c), "vm1", &v), 0);
    STR_COPY(v.machine, "pc-q35-6.2");
    vm_encode(&v, &b);
    tables_put(tables_of(c), TABLE_VM, v.name, buf_slice(&b));
}

static void put_run(struct ctl *c, enum run_state state, enum step_state step)
{
    struct run r = {.id = one_uuid(4243),
                    .state = state,
                    .target = "trixie",
                    .n_steps = 1,
                    .approve_each = true,
                    .max_unavailable = 1,
                    .started_by = "admin",
                    .created_ms = c->o->wall,
                    .changed_ms = c->o->wall};
    struct step s = {.run = r.id,
                     .state = step,
                     .node = "n9",
                     .from_release = "bookworm",
                     .attempt = 1,
                     .entered_ms = c->o->wall,
                     .started_ms = c->o->wall};
    if (state == RUN_PAUSED_ERROR) {
        STR_COPY(r.error, "no way");
        STR_COPY(r.remedy, "look");
        s.failed_in = STEP_REBUILDING;
    }
    run_put(tables_of(c), &r);
    step_put(tables_of(c), &s);
}

static void put_mixed(struct ctl *c)
{
    level_member_set(tables_of(c), "n9", (struct level_range){1, 2}, c->o->wall);
}

/* ---- every exit code -----------------------------------------------------------------------------------------------
 */

static void code_0(struct ctl *c)
{
    must(c, 0, "status");
}

static void code_1(struct ctl *c) /* the admin says no */
{
    c->confirm = 0;
    must(c, 1, "level raise");
}

static void code_64(struct ctl *c) /* the parser's, and the agent's own */
{
    must(c, 64, "node frob");
    must(c, 64, "vm set vm1 --policy hope");
}

static void code_69(struct ctl *c)
{
    one_free(c->o);
    c->o = NULL;
    must(c, 69, "status");
}

static void code_75(struct ctl *c)
{
    must(c, 0, "vm start vm1");
    must(c, 75, "vm stop vm1");
}

static void code_77(struct ctl *c)
{
    c->access = ACCESS_READ;
    must(c, 77, "vm start vm1");
    must(c, 0, "vm list");
}

static void code_105(struct ctl *c)
{
    must(c, 105, "vm show nobody");
}

static void code_106(struct ctl *c)
{
    one_free(c->o);
    c->o = one_without_quorum();
    must(c, 106, "status -o json");
    must(c, 106, "node drain n1 -o json");
    must(c, 0, "quorum prevent -o json");
    must(c, 2, "check -o json");
    must(c, 0, "quorum force --yes -o json");
    must(c, 0, "quorum show -o json");
}

static void code_107(struct ctl *c)
{
    put_away_node(c);
    must(c, 107, "node evict n9 --keep-slot --yes");
}

static void code_113(struct ctl *c)
{
    must(c, 113, "level raise --yes -o json");
}

static void code_124(struct ctl *c) /* and the job goes on */
{
    must(c, 124, "vm start vm1 --wait=2 -o json");
}

static void code_2(struct ctl *c) /* of checks */
{
    must(c, 2, "upgrade check --target trixie");
    put_away_node(c);
    must(c, 2, "check");
}

static void code_3(struct ctl *c)
{
    one_free(c->o);
    c->o = NULL;
    must(c, 3, "check");
}

/* The codes of clusterctl(8), and what reaches each. */
static const struct {
    int code;
    const char *meaning;
    void (*reach)(struct ctl *c);
} codes[] = {
    {0, "done", code_0},
    {1, "failed", code_1},
    {2, "not ready, critical", code_2},
    {3, "unknown", code_3},
    {64, "usage", code_64},
    {69, "no agent", code_69},
    {75, "try again", code_75},
    {77, "not permitted", code_77},
    {105, "no such object", code_105},
    {106, "no quorum", code_106},
    {107, "needs --force", code_107},
    {113, "a condition is not met", code_113},
    {124, "timed out", code_124},
};

static void test_every_exit_code(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        void *c = NULL;
        setup(&c);
        form(c);
        with_path(c, 0, "vm add --xml", "/vm.xml", " -o json");
        print_message("%d: %s\n", codes[i].code, codes[i].meaning);
        codes[i].reach(c);
        teardown(&c);
    }
}

/* ---- the JSON of every verb ----------------------------------------------------------------------------------------
 */

static void test_outside_of_a_cluster(void **state)
{
    struct ctl *c = *state;
    must(c, 0, "status -o json");
    must(c, 3, "check -o json");
    must(c, 0, "version -o json");
    must(c, 113, "vm list -o json");
    must(c, 64, "frob -o json");
    must(c, 64, "node frob -o json");
    must(c, 64, "node join -o json");
    one_free(c->o);
    c->o = NULL;
    must(c, 69, "status -o json");
    must(c, 3, "check -o json");
    must(c, 0, "version -o json");
}

static void test_reading(void **state)
{
    struct ctl *c = *state;
    static const char *const lines[] = {
        "status -o json",     "check --ignore FAILOVER_DISABLED -o json",
        "version -o json",    "events -o json",
        "node list -o json",  "node show n1 -o json",
        "vm list -o json",    "vm show vm1 -o json",
        "job list -o json",   "cluster config show -o json",
        "level show -o json", "upgrade status -o json",
        "quorum show -o json", "witness show -o json",
        "upgrade -o json",    "events --since 1 -o json",
    };
    form(c);
    with_path(c, 0, "vm add --xml", "/vm.xml", " -o json");
    must(c, 0, "node drain n1 -o json");
    must(c, 0, "node drain n1 -o json --wait"); /* nothing is left to wait for */
    must(c, 0, "node resume n1 --failback -o json");
    must(c, 0, "node drain n1 -o json --wait"); /* the last answer is that of its job */
    must(c, 0, "node resume n1 -o json --wait");
    must(c, 0, "node set n1 --site a --priority 2 -o json");
    for (int pass = 0; pass < 2; pass++) { /* of one node, and with all that may be going on */
        for (size_t i = 0; i + (pass ? 0 : 2) < sizeof lines / sizeof lines[0]; i++)
            ctl(c, lines[i]);
        if (pass)
            break;
        must(c, 2, "upgrade check --target trixie -o json");
        must(c, 0, "upgrade plan --target trixie -o json");
        must(c, 0, "upgrade plan --target trixie --max-unavailable 2 -o json");
        put_away_node(c);
        put_moving_vm(c);
        put_mixed(c);
        put_run(c, RUN_PAUSED_ERROR, STEP_FAILED);
    }
    must(c, 0, "job show 03010000-0000-0000-0000-000000001092 -o json");
    must(c, 0, "job cancel 03010000-0000-0000-0000-000000001092 -o json");
    must(c, 0, "vm list -o json");
    with_path(c, 0, "support-bundle --file", "/b.tar.gz", " -o json");
}

static void test_changing(void **state)
{
    struct ctl *c = *state;
    form(c);
    with_path(c, 0, "vm add --node n1 --xml", "/vm.xml", " -o json");
    with_path(c, 0, "vm add --xml", "/vm.xml", " -o json");
    must(c, 0, "vm set vm1 --priority 5 --policy save --home n1 -o json");
    must(c, 0, "vm list --outdated -o json");
    must(c, 113, "vm upgrade-version vm1 --yes -o json"); /* it is of the level's machine type */
    must(c, 113, "vm upgrade-version vm1 --to pc-q35-10.0 --yes -o json");
    must(c, 113, "vm rollback-version vm1 -o json");
    put_old_vm(c);
    must(c, 0, "vm list --outdated -o json");
    must(c, 0, "vm upgrade-version vm1 --yes -o json");
    must(c, 0, "vm show vm1 -o json");
    assert_non_null(strstr((const char *)c->out.p, "\"machine_before\": \"pc-q35-6.2\""));
    must(c, 0, "vm rollback-version vm1 -o json");
    assert_non_null(strstr((const char *)c->out.p, "\"machine\": \"pc-q35-6.2\""));
    must(c, 0, "vm set vm1 --preferred n1 --group db --postcopy on -o json");
    must(c, 64, "vm set vm1 --postcopy perhaps -o json");
    must(c, 105, "vm set vm1 --preferred n1,n9 -o json");
    must(c, 113, "vm migrate vm1 -o json");
    must(c, 0, "vm stop vm1 -o json"); /* is off: done at once */
    must(c, 0, "vm remove vm2 --yes -o json");
    must(c, 0, "vm start vm1 -o json");
    must(c, 105, "job cancel 03010000-0000-0000-0000-000000000001 -o json");
}

/* What a node of the committed level could not read is refused, with the level that it needs and how to get there. */
static void test_features_below_their_level(void **state)
{
    struct ctl *c = *state;
    form(c);
    c->machine = "pc-q35-10.0";
    with_path(c, 113, "vm add --xml", "/vm.xml", " -o json");
    assert_non_null(strstr((const char *)c->out.p, "functional level 2, the cluster's is 1"));
    c->machine = NULL;
    c->has_data_store = true;
    with_path(c, 113, "vm add --xml", "/vm.xml", " -o json");
    assert_non_null(strstr((const char *)c->out.p, "functional level 2, the cluster's is 1"));
    assert_non_null(strstr((const char *)c->out.p, "clusterctl level raise"));
    must(c, 113, "cluster config set vm.save_format sparse -o json");
    assert_non_null(strstr((const char *)c->out.p, "functional level 2, the cluster's is 1"));
    level_init(tables_of(c), 2, "pc-q35-10.0");
    with_path(c, 0, "vm add --xml", "/vm.xml", " -o json");
    c->machine = "pc-q35-10.0";
    with_path(c, 0, "vm add --xml", "/vm.xml", " -o json");
    must(c, 0, "cluster config set vm.save_format sparse -o json");
}

static void test_tasks(void **state)
{
    struct ctl *c = *state;
    form(c);
    must(c, 0, "task list -o json");
    must(c, 0, "task add dedup --command /usr/sbin/dedup --argument -rd --argument --quiet --calendar *:0/15 "
               "--affinity native-level --timeout 90 -o json");
    assert_non_null(strstr((const char *)c->out.p, "\"--quiet\""));
    assert_non_null(strstr((const char *)c->out.p, "\"timeout_seconds\": 90"));
    must(c, 113, "task add dedup --command /usr/sbin/dedup -o json"); /* there is one */
    must(c, 64, "task add other -o json");
    must(c, 64, "task add other --command dedup -o json");
    must(c, 64, "task add other --command /usr/sbin/dedup --calendar 25:00 -o json");
    assert_non_null(strstr((const char *)c->out.p, "character 1: a hour"));
    must(c, 64, "task add other --command /usr/sbin/dedup --calendar 1999-1-1 -o json");
    must(c, 64, "task add other --command /usr/sbin/dedup --affinity newest -o json");
    must(c, 64, "task add other --command /usr/sbin/dedup --timeout 0 -o json");
    must(c, 105, "task show other -o json");
    must(c, 105, "task run other -o json");
    must(c, 105, "task remove other --yes -o json");
    must(c, 0, "task run dedup -o json");
    must(c, 0, "task show dedup -o json");
    must(c, 0, "task list");
    must(c, 0, "task show dedup");
    one_run(c->o, 3000);
    must(c, 0, "task list -o json");
    must(c, 0, "status -o json");
    must(c, 0, "status");
    c->access = ACCESS_READ;
    must(c, 0, "task list -o json");
    must(c, 0, "task show dedup -o json");
    must(c, 77, "task run dedup -o json");
    must(c, 77, "task add other --command /usr/sbin/dedup -o json");
    must(c, 77, "task remove dedup --yes -o json");
    c->access = ACCESS_ADMIN;
    must(c, 0, "task add other --command /usr/sbin/dedup -o json");
    must(c, 0, "task remove other --yes -o json");
}

/* As if its node had reported so. */
static void let_run(struct ctl *c, const char *name)
{
    struct vm v;
    struct node n = {0};
    AUTO(buf_done) struct buf b = {0};
    assert_int_equal(vm_get(tables_of(c), name, &v), 0);
    assert_int_equal(node_get(tables_of(c), v.node, &n), 0);
    v.state = VM_RUNNING;
    v.wanted = true;
    c->o->domain = (struct vm_domain){.uuid = v.uuid, .state = VM_DOMAIN_RUNNING};
    STR_COPY(c->o->domain.name, name);
    STR_COPY(v.boot_id, n.facts.boot_id);
    vm_encode(&v, &b);
    tables_put(tables_of(c), TABLE_VM, name, buf_slice(&b));
    node_done(&n);
}

/* What was asked for without --wait. */
static void let_end(struct ctl *c)
{
    for (int i = 0; i < 12; i++)
        ctl_sleep(c, 1100);
}

static void restores_and_verifies(struct ctl *c, const char *point)
{
    char restore[128];
    must(c, 64, "backup restore vm1 -o json");
    must(c, 64, "backup restore vm1 --to new -o json");
    must(c, 105, "backup restore vm9 --to /new -o json");
    must(c, 105, "backup restore vm1 --to /new --node n9 -o json");
    must(c, 0, "backup restore vm1 --to /new --name vm2 --wait -o json");
    must(c, 0, "backup list -o json");
    must(c, 0, "job list -o json");
    assert_non_null(strstr((const char *)c->out.p, "\"kind\": \"restore\""));
    must(c, 105, "backup verify vm9 -o json");
    must(c, 0, "backup verify vm1 --wait -o json");
    must(c, 0, "backup list -o json");
    assert_non_null(strstr((const char *)c->out.p, "\"damaged\": false"));
    must(c, 0, "backup list");
    must(c, 0, "backup verify vm1 -o json");
    let_end(c);
    snprintf(restore, sizeof restore, "backup restore vm1 %s --to /new -o json", point);
    must(c, 0, restore);
    let_end(c);
}

static void test_backups(void **state)
{
    struct ctl *c = *state;
    char show[128];
    form(c);
    with_path(c, 0, "vm add --xml", "/vm.xml", " -o json");
    must(c, 0, "repository list -o json");
    must(c, 113, "backup start vm1 -o json"); /* no repository yet */
    must(c, 64, "repository add main -o json");
    must(c, 0, "repository add main --path /srv/backup -o json");
    assert_null(strstr((const char *)c->out.p, "sealed"));
    must(c, 113, "repository add main --path /srv/other -o json");
    must(c, 113, "repository add other --path /srv/backup -o json");
    must(c, 113, "backup start vm1 -o json"); /* it does not run */
    let_run(c, "vm1");
    must(c, 64, "backup start vm1 --limit 50Q -o json");
    must(c, 64, "backup start vm1 --limit 0 -o json");
    must(c, 64, "backup start vm1 --engine best -o json");
    must(c, 0, "backup start vm1 --limit 50MiB --wait -o json");
    must(c, 0, "backup list -o json");
    assert_non_null(strstr((const char *)c->out.p, "\"changed_percent\": 0.39"));
    must(c, 0, "backup list vm1");
    must(c, 0, "repository list");
    must(c, 0, "reference list vm1 -o json");
    AUTO(json_freep) struct json *answer = NULL;
    assert_int_equal(json_parse((const char *)c->out.p, c->out.len, &answer, NULL), 0);
    const char *point = json_get_str(json_at(json_path(answer, "data.points"), 0), "uuid", "");
    snprintf(show, sizeof show, "reference show vm1 %s", point);
    must(c, 0, show);
    snprintf(show, sizeof show, "reference show vm1 %s -o json", point);
    must(c, 0, show);
    restores_and_verifies(c, point);
    must(c, 0, "backup start vm1 -o json");
    let_end(c);
    c->is_backup_slow = true;
    must(c, 124, "backup start vm1 --wait=2 -o json");
    must(c, 75, "backup start vm1 -o json");
    snprintf(show, sizeof show, "reference delete vm1 %s --yes -o json", point);
    must(c, 75, show);
    must(c, 75, "repository remove main --yes -o json");
    must(c, 0, "backup list -o json");
    must(c, 0, "backup list");
    must(c, 0, "status -o json");
    must(c, 0, "backup cancel vm1 --yes -o json");
    one_run(c->o, 3000);
    host_acts(c);
    one_run(c->o, 3000);
    must(c, 113, "backup cancel vm1 --yes -o json");
    must(c, 0, "backup list -o json");
    must(c, 0, show);
    must(c, 105, show);
    must(c, 64, "backup schedule add vm1 -o json");
    must(c, 64, "backup schedule add vm1 --calendar often -o json");
    must(c, 0, "backup schedule add vm1 --calendar 02:30 --consistency crash -o json");
    must(c, 0, "backup schedule list -o json");
    must(c, 0, "backup schedule list");
    must(c, 113, "repository remove main --yes -o json"); /* the schedule names it */
    c->access = ACCESS_READ;
    must(c, 77, "backup start vm1 -o json");
    must(c, 77, "backup restore vm1 --to /new -o json");
    must(c, 0, "backup list -o json");
    c->access = ACCESS_ADMIN;
    must(c, 0, "backup schedule remove vm1 -o json");
    must(c, 105, "backup schedule remove vm1 -o json");
    must(c, 0, "repository remove main --yes -o json");
    must(c, 105, "repository remove main --yes -o json");
}

static void test_witness(void **state)
{
    struct ctl *c = *state;
    form(c);
    must(c, 0, "witness show -o json"); /* there is none */
    must(c, 105, "witness test -o json");
    must(c, 105, "witness remove --yes -o json");
    tempdir_write(&c->dir, "/key", "key-one-of-the-account", 0600);
    with_path(c, 0, "witness set azure --account acct --key-file", "/key", " -o json");
    assert_null(strstr((const char *)c->out.p, "key-one"));
    must(c, 113, "witness set file --path /srv/witness -o json"); /* a copy */
    c->o->record.sequence = 0;
    must(c, 0, "witness set file --path /srv/witness -o json");
    one_run(c->o, 2000);
    must(c, 0, "witness show -o json");
    must(c, 0, "witness test -o json");
    must(c, 0, "status -o json");
    c->o->witness_says = WITNESS_UNKNOWN;
    c->o->witness_cause = WITNESS_CAUSE_TIMEOUT;
    must(c, 124, "witness test -o json");
    one_run(c->o, 120000);
    must(c, 0, "witness show -o json");
    must(c, 0, "status -o json");
    c->o->witness_says = 0;
    must(c, 0, "witness set none --yes -o json");
}

static void test_tokens(void **state)
{
    struct ctl *c = *state;
    form(c);
    with_path(c, 0, "cluster join-token n2 --token-file", "/n2.token", " -o json");
    assert_null(strstr((const char *)c->out.p, "very secret"));
    assert_int_equal(tempdir_mode(&c->dir, "/n2.token"), 0600);
    with_path(c, 113, "node join --token-file", "/n2.token", " -o json"); /* of this node's cluster it is not */
    must(c, 0, "cluster config set upgrade.executor /usr/libexec/hook -o json");
    tempdir_write(&c->dir, "/settings", "upgrade.executor = /usr/libexec/other\nvm.save_format = sparse\n", 0644);
    uint64_t index = db_applied_index(core_db(c->o->core));
    with_path(c, 113, "cluster config apply --file", "/settings", " -o json"); /* a kind of entry of level 2 … */
    assert_int_equal(db_applied_index(core_db(c->o->core)), index); /* … which is not even written */
    must(c, 113, "cluster config set vm.save_format sparse -o json");
    must(c, 0, "cluster config set vm.save_format raw -o json");
    level_init(tables_of(c), 2, "pc-q35-7.2");
    with_path(c, 0, "cluster config apply --file", "/settings", " -o json");
    must(c, 0, "cluster config show -o json");
    assert_non_null(strstr((const char *)c->out.p, "/usr/libexec/other"));
    tempdir_write(&c->dir, "/again.token",
                  "{\"ca_sha256\":\"0000000000000000000000000000000000000000000000000000000000000000\","
                  "\"node\":\"n1\"}",
                  0600);
    with_path(c, 0, "node join --token-file", "/again.token", " -o json"); /* what a first boot repeats */
    with_path(c, 0, "node join --token-file", "/again.token", " --wait -o json");
}

static void test_upgrades(void **state)
{
    struct ctl *c = *state;
    form(c);
    must(c, 113, "upgrade start --target trixie --yes -o json");
    must(c, 113, "level raise --dry-run -o json");
    level_member_set(tables_of(c), "n1", (struct level_range){1, 2}, c->o->wall);
    must(c, 0, "level raise --dry-run -o json");
    must(c, 0, "level raise --yes -o json");
    must(c, 0, "level show -o json");
    put_away_node(c);
    put_run(c, RUN_PAUSED, STEP_PENDING);
    must(c, 0, "upgrade resume -o json");
    must(c, 0, "upgrade pause -o json");
    put_run(c, RUN_RUNNING, STEP_AWAITING_APPROVAL);
    must(c, 0, "upgrade status -o json");
    must(c, 0, "status");
    must(c, 0, "upgrade approve n9 -o json");
    must(c, 64, "upgrade start --target trixie --max-unavailable 0");
    must(c, 113, "upgrade rollback --yes -o json"); /* the level was raised */
    put_run(c, RUN_PAUSED_ERROR, STEP_FAILED);
    must(c, 0, "upgrade retry -o json");
    must(c, 0, "upgrade abort --yes -o json");
    put_away_node(c);
    must(c, 0, "node evict n9 --keep-slot --force --yes -o json");
}

static void test_rollback(void **state)
{
    struct ctl *c = *state;
    form(c);
    must(c, 105, "upgrade report -o json");
    put_away_node(c);
    put_run(c, RUN_PAUSED_ERROR, STEP_FAILED);
    must(c, 0, "upgrade rollback --yes -o json");
    must(c, 0, "upgrade status -o json");
    must(c, 0, "upgrade status");
    must(c, 0, "upgrade report -o json");
    must(c, 0, "upgrade report 03010000-0000-0000-0000-000000001093");
    must(c, 105, "upgrade report 03010000-0000-0000-0000-000000009999");
    must(c, 113, "level raise --yes -o json");
}

static void test_lines(void **state)
{
    struct ctl *c = *state;
    form(c);
    must(c, 0, "node drain n1");
    c->o->now = 590 * 1000;
    must(c, 0, "events --follow -o json");
    c->o->now = 590 * 1000;
    must(c, 0, "status --watch -o json");
    must(c, 0, "node resume n1 --follow -o json");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_exit_code),
        TEST(test_outside_of_a_cluster),
        TEST(test_reading),
        TEST(test_changing),
        TEST(test_features_below_their_level),
        TEST(test_tasks),
        TEST(test_backups),
        TEST(test_witness),
        TEST(test_tokens),
        TEST(test_upgrades),
        TEST(test_rollback),
        TEST(test_lines),
    };
    return cmocka_run_group_tests_name("commands", tests, NULL, NULL);
}
