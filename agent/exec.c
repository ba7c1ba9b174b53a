/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/exec.h"
#include "agent/exec-witness.h"

#include <assert.h>
#include <stdatomic.h>
#include <unistd.h>

#include "agent/io/copies.h"
#include "agent/io/corosync.h"
#include "agent/io/cpg.h"
#include "agent/io/host.h"
#include "agent/io/ipc.h"
#include "agent/io/membership.h"
#include "agent/io/paths.h"
#include "agent/io/quorum.h"
#include "agent/io/tls.h"
#include "agent/io/vitals.h"
#include "agent/io/watchdog.h"
#include "agent/witness-call.h"
#include "backup/io/runner.h"
#include "common/proto.h"
#include "task/io/runner.h"
#include "upgrade/io/executor.h"
#include "vm/io/libvirt.h"

enum { EXEC_LIBVIRT_RETRY_MS = 2000, EXEC_LEAVE_MS = 2000, EXEC_FLUSH_MS = 10000 };

/* Calls that wait for different things do not wait for each other. */
enum pool_id {
    POOL_STORE,    /* one thread: strict order */
    POOL_RING,     /* connections to corosync: a frozen one holds this thread, and no other */
    POOL_DEVICE,   /* polls of the quorum device: as above, and behind nothing else */
    POOL_COROSYNC, /* configuration and service: one after the other */
    POOL_VM,       /* what may last: start, shut down, migrate */
    POOL_VM_LOOK,  /* list, cancel: never behind a migration */
    POOL_TASK,     /* begins tasks and looks at them: while systemd does not answer it holds these threads */
    POOL_BACKUP,   /* the same of backups */
    POOL_SETTLE,   /* what of them may last: settle, stop, make a repository */
    POOL_FENCE,    /* what must not wait for any of those */
    POOL_HOST,     /* a look at the host: lost storage or a frozen corosync holds this thread */
    POOL_TLS,      /* answers to other nodes, snapshots */
    POOL_WORK,     /* all the rest */
    POOL_N,
};

static const struct {
    const char *name;
    size_t n_threads;
} pools[POOL_N] = {
    [POOL_STORE] = {"rm-store", 1}, [POOL_RING] = {"rm-ring", 1}, [POOL_DEVICE] = {"rm-device", 1},
    [POOL_COROSYNC] = {"rm-corosync", 1}, [POOL_VM] = {"rm-vm", 4}, [POOL_VM_LOOK] = {"rm-vm-look", 1},
    [POOL_FENCE] = {"rm-fence", 4}, [POOL_HOST] = {"rm-host", 1}, [POOL_TLS] = {"rm-tls", 4},
    [POOL_WORK] = {"rm-work", 4},    [POOL_TASK] = {"rm-task", 2},
    [POOL_BACKUP] = {"rm-backup", 2}, [POOL_SETTLE] = {"rm-settle", 2},
};

/* A node that waits for an answer over TLS. */
struct tls_wait {
    struct tls_wait *next;
    uint64_t id;
    struct tls_client *client;
};

/* The hypervisor's thread says "changed" as often as it likes; one item is enough. */
struct vm_changed {
    struct inbox_item item;
    struct exec *x;
    atomic_bool posted;
};

struct exec {
    struct loop *loop;
    const struct config *config;
    const struct log_sink *log;
    const char *db_path;
    struct host_config host;
    struct core *core;
    bool stepping;
    bool stopping;
    bool member; /* what needs an identity was started */
    uint64_t last_client;
    struct worker_pool *pools[POOL_N];
    struct ipc *ipc;
    struct cpg *cpg;
    struct quorum *quorum;
    struct tls_server *tls;
    struct tls_wait *tls_waiting;
    struct vm_host *vm_host; /* NULL: libvirt was not reached yet */
    struct vm_changed vm_changed;
    qb_loop_timer_handle libvirt_retry;
    bool told_libvirt;
    struct witness_desk *witnesses;
    struct watchdog *watchdog;
    struct store *store;
    struct db_batch **batches; /* that wait for the store worker */
    size_t n_batches, cap_batches;
    bool writing;
};

/* An action under way. What run() leaves in ev is delivered on the loop, then all of it is freed. */
struct exec_job {
    struct worker_job job;
    struct exec *x;
    const struct performer *performer;
    struct core_action a;
    struct core_event ev;
    struct identity identity;
    struct host_config host;
    struct vm_host *vm_host;
    struct tls_client *tls;
    /* Outcomes that ev points to. */
    struct buf bytes;
    struct vm_outcome vm;
    struct hook_outcome hook;
    struct task_outcome task;
    struct backup_outcome backup;
    struct host_facts facts;
    struct host_vitals vitals;
    struct token_outcome token;
    struct membership_outcome membership;
};

struct store_job {
    struct worker_job job;
    struct exec *x;
    struct store *store;
    const struct log_sink *log;
    struct db_batch **batches;
    size_t n;
};

static void perform(struct exec *x, struct core_action *a);
static void adopt(struct exec *x, struct store *store);

/* ---- events */

static void fatal(struct exec *x, const char *what, const struct error *e, int exit_code)
{
    log_error(x->log, "%s: %s%s%s -> the agent ends", what, e->text, e->remedy[0] ? "; " : "", e->remedy);
    loop_stop(x->loop, exit_code);
}

static void drain(struct exec *x)
{
    struct core_action a;
    while (core_take_action(x->core, &a))
        perform(x, &a);
}

static void deliver(struct exec *x, struct core_event *ev)
{
    if (x->stopping)
        return;
    assert(!x->stepping);
    x->stepping = true;
    ev->now_ms = loop_now_ms();
    ev->wall_ms = loop_wall_ms();
    core_step(x->core, ev);
    if (ev->type == EV_MEMBERSHIP && !x->member && core_identity(x->core))
        adopt(x, NULL);
    drain(x);
    x->stepping = false;
}

void exec_tick(void *exec)
{
    deliver(exec, &(struct core_event){.type = EV_TICK});
}

static uint64_t new_client(void *ctx)
{
    struct exec *x = ctx;
    return ++x->last_client;
}

/* ---- CPG and quorum */

static void on_view(void *ctx, const uint32_t *nodeids, size_t n)
{
    deliver(ctx, &(struct core_event){.type = EV_GROUP, .group = nodeids, .n_group = n});
}

static void on_message(void *ctx, uint32_t from_nodeid, struct slice bytes)
{
    deliver(ctx, &(struct core_event){.type = EV_MESSAGE, .from_nodeid = from_nodeid, .bytes = bytes});
}

static void on_ring(void *ctx, uint32_t nodeid, uint64_t seq)
{
    deliver(ctx, &(struct core_event){.type = EV_RING, .ring = {nodeid, seq}});
}

static void on_quorum(void *ctx, const struct quorum_report *r)
{
    deliver(ctx, &(struct core_event){.type = EV_QUORUM, .quorate = r->quorate, .n_votes = r->n_votes,
                                      .error = r->device, .wants_reload = r->wants_reload});
}

/* ---- local clients */

static void on_request(void *ctx, uint64_t client, const struct json *request, enum core_access access, uid_t uid)
{
    deliver(ctx, &(struct core_event){.type = EV_REQUEST, .client = client, .request = request, .access = access,
                                      .uid = uid});
}

struct gone {
    struct inbox_item item;
    struct exec *x;
    uint64_t client;
};

static void deliver_gone(struct inbox_item *item)
{
    struct gone *g = (struct gone *)item;
    deliver(g->x, &(struct core_event){.type = EV_CLIENT_GONE, .client = g->client});
    free(g);
}

/* An answer that cannot be sent ends its client in the middle of an action. */
static void on_gone(void *ctx, uint64_t client)
{
    struct exec *x = ctx;
    struct gone *g = xcalloc(1, sizeof(*g));
    *g = (struct gone){{.fn = deliver_gone}, x, client};
    inbox_post(loop_inbox(x->loop), &g->item);
}

/* ---- other nodes over TLS */

struct tls_request {
    struct inbox_item item;
    struct exec *x;
    struct tls_client *client;
    struct join_request *join; /* NULL: fetch */
};

static void deliver_tls(struct inbox_item *item)
{
    struct tls_request *r = (struct tls_request *)item;
    struct exec *x = r->x;
    struct tls_wait *w = xcalloc(1, sizeof(*w));
    *w = (struct tls_wait){x->tls_waiting, new_client(x), r->client};
    x->tls_waiting = w;
    deliver(x, &(struct core_event){.type = r->join ? EV_TLS_JOIN : EV_TLS_FETCH, .client = w->id, .join = r->join});
    if (r->join)
        join_request_done(r->join);
    free(r->join);
    free(r);
}

/* On a thread of the TLS server. */
static void post_tls(void *ctx, struct tls_client *client, struct join_request *join)
{
    struct exec *x = ctx;
    struct tls_request *r = xcalloc(1, sizeof(*r));
    *r = (struct tls_request){{.fn = deliver_tls}, x, client, join};
    inbox_post(loop_inbox(x->loop), &r->item);
}

static void post_tls_fetch(void *ctx, struct tls_client *client)
{
    post_tls(ctx, client, NULL);
}

static struct tls_client *take_tls_client(struct exec *x, uint64_t id)
{
    for (struct tls_wait **p = &x->tls_waiting, *w; (w = *p) != NULL; p = &w->next) {
        if (w->id != id)
            continue;
        struct tls_client *client = w->client;
        *p = w->next;
        free(w);
        return client;
    }
    return NULL;
}

/* ---- libvirt */

static void deliver_vm_changed(struct inbox_item *item)
{
    struct vm_changed *v = (struct vm_changed *)item;
    atomic_store(&v->posted, false); /* first: what changes from here on is told again */
    deliver(v->x, &(struct core_event){.type = EV_VM_CHANGED});
}

/* On libvirt's thread. */
static void on_vm_changed(void *ctx)
{
    struct exec *x = ctx;
    if (!atomic_exchange(&x->vm_changed.posted, true))
        inbox_post(loop_inbox(x->loop), &x->vm_changed.item);
}

struct vm_start_job {
    struct worker_job job;
    struct exec *x;
    struct vm_host *host;
    struct error error;
};

static void start_libvirt(void *data);

static void run_vm_start(struct worker_job *job)
{
    struct vm_start_job *j = (struct vm_start_job *)job;
    vm_host_start(on_vm_changed, j->x, &j->host, &j->error);
}

static void done_vm_start(struct worker_job *job)
{
    struct vm_start_job *j = (struct vm_start_job *)job;
    struct exec *x = j->x;
    if (j->host) {
        log_info(x->log, "libvirt answers");
        x->vm_host = j->host;
        on_vm_changed(x);
    } else {
        if (!x->told_libvirt)
            log_warn(x->log, "libvirt: %s -> trying every %d ms", j->error.text, EXEC_LIBVIRT_RETRY_MS);
        x->told_libvirt = true;
        if (qb_loop_timer_add(loop_qb(x->loop), QB_LOOP_LOW, EXEC_LIBVIRT_RETRY_MS * 1000000ULL, x, start_libvirt,
                              &x->libvirt_retry) != 0)
            abort(); /* out of memory */
    }
    free(j);
}

static void start_libvirt(void *data)
{
    struct exec *x = data;
    if (x->stopping)
        return;
    struct vm_start_job *j = xcalloc(1, sizeof(*j));
    j->job = (struct worker_job){.run = run_vm_start, .done = done_vm_start};
    j->x = x;
    worker_submit(x->pools[POOL_VM_LOOK], &j->job);
}

/* ---- the store */

/* Whether a write that failed is on disk is unknown, and so is what was promised on it: the process must not go on. */
static void run_store(struct worker_job *job)
{
    struct store_job *j = (struct store_job *)job;
    struct error e = {0};
    if (store_write(j->store, j->batches, j->n, &e) == 0)
        return;
    log_error(j->log, "database: %s%s%s -> the agent ends at once", e.text, e.remedy[0] ? "; " : "", e.remedy);
    _exit(EXIT_AGAIN);
}

static void write_waiting(struct exec *x);

static void done_store(struct worker_job *job)
{
    struct store_job *j = (struct store_job *)job;
    struct exec *x = j->x;
    x->writing = false;
    write_waiting(x); /* the disk is busy while the core steps */
    for (size_t i = 0; i < j->n; i++) {
        deliver(x, &(struct core_event){.type = EV_PERSISTED, .seq = j->batches[i]->seq});
        db_batch_free(j->batches[i]);
    }
    free(j->batches);
    free(j);
}

/* All that waits goes into one transaction. */
static void write_waiting(struct exec *x)
{
    if (x->writing || x->n_batches == 0)
        return;
    struct store_job *j = xcalloc(1, sizeof(*j));
    j->job = (struct worker_job){.run = run_store, .done = done_store};
    j->x = x;
    j->store = x->store;
    j->log = x->log;
    j->batches = x->batches;
    j->n = x->n_batches;
    x->batches = NULL;
    x->n_batches = x->cap_batches = 0;
    x->writing = true;
    worker_submit(x->pools[POOL_STORE], &j->job);
}

static void persist(struct exec *x, struct core_action *a)
{
    assert(a->batch);
    if (!x->store)
        return; /* it could not be opened: the process is about to end */
    if (x->n_batches == x->cap_batches) {
        x->cap_batches = x->cap_batches ? 2 * x->cap_batches : 8;
        x->batches = xrealloc(x->batches, x->cap_batches, sizeof(struct db_batch *));
    }
    x->batches[x->n_batches++] = a->batch;
    a->batch = NULL;
    write_waiting(x);
}

/* ---- what runs in pools: one function per action, off the loop */

static void run_vm(struct worker_job *job)
{
    struct exec_job *j = (struct exec_job *)job;
    j->ev.vm = &j->vm;
    if (j->vm_host)
        vm_host_call(j->vm_host, &j->a.vm, &j->vm);
    else
        error_set(&j->vm.error, ERR_AGAIN, "libvirt on this node does not answer yet");
}

static void run_hook(struct worker_job *job)
{
    struct exec_job *j = (struct exec_job *)job;
    j->ev.hook = &j->hook;
    executor_run(&j->a.hook, &j->hook);
}

static int read_facts(struct exec_job *j, struct error *e)
{
    int err = host_facts_read(&j->host, &j->facts, e);
    return err ? err : libvirt_host_facts(&j->facts, e);
}

static void run_facts(struct worker_job *job)
{
    struct exec_job *j = (struct exec_job *)job;
    j->ev.facts = &j->facts;
    read_facts(j, &j->ev.error);
}

static void look_at_executor(const char *path, struct host_vitals *v)
{
    struct error e = {0};
    STR_COPY(v->executor, path);
    executor_check(path, &e);
    v->executor_code = e.code;
    STR_COPY(v->executor_why, e.text);
    STR_COPY(v->executor_remedy, e.remedy);
}

static void run_vitals(struct worker_job *job)
{
    struct exec_job *j = (struct exec_job *)job;
    j->ev.vitals = &j->vitals;
    host_vitals_read(&j->vitals);
    if (j->a.text)
        look_at_executor(j->a.text, &j->vitals);
}

static void run_token(struct worker_job *job)
{
    struct exec_job *j = (struct exec_job *)job;
    j->ev.token = &j->token;
    token_make(&j->identity, j->a.node, j->a.address, j->a.peers ? j->a.peers : "", loop_wall_ms(), j->a.valid_ms,
               &j->token);
}

static void run_found(struct worker_job *job)
{
    struct exec_job *j = (struct exec_job *)job;
    j->ev.membership = &j->membership;
    if (read_facts(j, &j->membership.error) == 0)
        membership_found(j->a.text, j->a.text2, &j->facts, &j->membership);
}

static void run_join(struct worker_job *job)
{
    struct exec_job *j = (struct exec_job *)job;
    j->ev.membership = &j->membership;
    if (read_facts(j, &j->membership.error) == 0)
        membership_join(j->a.text, &j->facts, &j->membership);
    explicit_bzero(j->a.text, strlen(j->a.text)); /* the token is a secret */
}

static void run_fetch(struct worker_job *job)
{
    struct exec_job *j = (struct exec_job *)job;
    if (tls_fetch_snapshot(&j->identity, j->a.address, j->a.port, &j->bytes, &j->ev.error) == 0)
        j->ev.bytes = buf_slice(&j->bytes);
}

static void run_corosync(struct worker_job *job)
{
    struct exec_job *j = (struct exec_job *)job;
    corosync_apply(j->a.corosync, j->a.text, &j->ev.error);
}

static void run_copy(struct worker_job *job)
{
    struct exec_job *j = (struct exec_job *)job;
    copy_keep("", j->a.text, buf_slice(&j->a.bytes), &j->ev.error);
}

static void run_task(struct worker_job *job)
{
    struct exec_job *j = (struct exec_job *)job;
    j->ev.task = &j->task;
    runner_call(j->a.task, &j->task);
}

static void run_backup(struct worker_job *job)
{
    struct exec_job *j = (struct exec_job *)job;
    j->ev.backup = &j->backup;
    backup_runner_call(j->a.backup, &j->backup);
}

static void run_issue(struct worker_job *job)
{
    struct exec_job *j = (struct exec_job *)job;
    if (j->tls)
        tls_client_issue(j->tls, &j->a, &j->ev.error);
    else
        error_set(&j->ev.error, ERR_NOT_FOUND, "the joining node is gone");
}

static void run_tls_reply(struct worker_job *job)
{
    struct exec_job *j = (struct exec_job *)job;
    if (j->tls && j->a.error.code)
        tls_client_refuse(j->tls, &j->a.error);
    else if (j->tls)
        tls_client_send_snapshot(j->tls, buf_slice(&j->a.bytes));
}

static const struct performer {
    enum pool_id pool;
    void (*run)(struct worker_job *job);
    enum core_event_type outcome; /* 0: none is awaited */
} performers[] = {
    [ACT_TLS_REPLY] = {POOL_TLS, run_tls_reply, 0},
    [ACT_ISSUE] = {POOL_TLS, run_issue, EV_ISSUED},
    [ACT_VM] = {POOL_VM, run_vm, EV_VM},
    [ACT_HOOK] = {POOL_WORK, run_hook, EV_HOOK},
    [ACT_FACTS] = {POOL_WORK, run_facts, EV_FACTS},
    [ACT_VITALS] = {POOL_HOST, run_vitals, EV_VITALS},
    [ACT_TOKEN] = {POOL_WORK, run_token, EV_TOKEN},
    [ACT_FOUND] = {POOL_WORK, run_found, EV_MEMBERSHIP},
    [ACT_JOIN] = {POOL_WORK, run_join, EV_MEMBERSHIP},
    [ACT_FETCH] = {POOL_WORK, run_fetch, EV_FETCHED},
    [ACT_COROSYNC] = {POOL_COROSYNC, run_corosync, EV_COROSYNC},
    [ACT_COPY] = {POOL_WORK, run_copy, EV_COPIED},
    [ACT_TASK] = {POOL_TASK, run_task, EV_TASK},
    [ACT_BACKUP] = {POOL_BACKUP, run_backup, EV_BACKUP},
};

static void job_free(struct exec_job *j)
{
    if (j->token.text)
        explicit_bzero(j->token.text, strlen(j->token.text));
    free(j->token.text);
    buf_done(&j->token.sealed_text);
    buf_done(&j->membership.sealed_ca_key);
    free(j->membership.corosync_conf);
    host_facts_done(&j->facts);
    vm_outcome_done(&j->vm);
    backup_outcome_done(&j->backup);
    buf_done(&j->bytes);
    core_action_done(&j->a);
    free(j);
}

static void done_job(struct worker_job *job)
{
    struct exec_job *j = (struct exec_job *)job;
    j->ev.type = j->performer->outcome;
    j->ev.id = j->a.id;
    if (j->ev.type)
        deliver(j->x, &j->ev);
    job_free(j);
}

static enum pool_id pool_of_backup(enum backup_verb v)
{
    bool lasts = v == BACKUP_CALL_SETTLE || v == BACKUP_CALL_STOP || v == BACKUP_CALL_INIT;
    return v == BACKUP_CALL_STOP_ALL ? POOL_FENCE : lasts ? POOL_SETTLE : POOL_BACKUP;
}

static enum pool_id pool_of(const struct core_action *a)
{
    bool looks = a->vm.verb == VM_CALL_LIST || a->vm.verb == VM_CALL_CANCEL || a->vm.verb == VM_CALL_DOWNTIME ||
                 a->vm.verb == VM_CALL_POSTCOPY;
    if (a->type == ACT_VM && a->vm.urgent)
        return POOL_FENCE;
    if (a->type == ACT_VM && a->vm.verb == VM_CALL_PARSE)
        return POOL_WORK; /* looks at the disks' file systems, which may hang */
    if (a->type == ACT_TASK && a->task->verb == TASK_CALL_STOP_ALL)
        return POOL_FENCE;
    if (a->type == ACT_BACKUP)
        return pool_of_backup(a->backup->verb);
    return a->type == ACT_VM && looks ? POOL_VM_LOOK : performers[a->type].pool;
}

/* Takes the action over. */
static void submit(struct exec *x, struct core_action *a)
{
    assert((size_t)a->type < sizeof(performers) / sizeof(*performers) && performers[a->type].run);
    struct exec_job *j = xcalloc(1, sizeof(*j));
    j->performer = &performers[a->type];
    j->job = (struct worker_job){.run = j->performer->run, .done = done_job};
    j->x = x;
    j->a = *a;
    j->host = x->host;
    j->vm_host = x->vm_host;
    if (core_identity(x->core))
        j->identity = *core_identity(x->core);
    if (a->type == ACT_TLS_REPLY || a->type == ACT_ISSUE)
        j->tls = take_tls_client(x, a->client);
    *a = (struct core_action){0};
    worker_submit(x->pools[pool_of(&j->a)], &j->job);
}

/* ---- the witness: on the loop, but for the opening of its credentials */

enum { WITNESS_CALL_MS = 5000 }; /* a call of the database; it calls again within its budget (DB_WITNESS_BUDGET_MS) */

static void done_witness(void *ctx, struct witness_order *o)
{
    struct exec *x = ctx;
    struct db_witness_outcome outcome;
    if (o->ctx == NULL) {
        deliver(x, &(struct core_event){.type = EV_WITNESS_ASKED, .id = o->id, .asked = &o->asked});
    } else {
        witness_outcome_of(&o->asked.result, &outcome);
        deliver(x, &(struct core_event){.type = EV_WITNESS, .id = o->id, .witness = &outcome});
    }
    witness_order_free(o);
}

struct witness_away {
    struct inbox_item item;
    struct exec *x;
    uint64_t id;
    bool is_asked;
};

static void deliver_away(struct inbox_item *item)
{
    struct witness_away *w = (struct witness_away *)item;
    struct db_witness_outcome outcome = {.result = DB_WITNESS_UNREACHABLE};
    struct witness_asked asked = {.result = {.outcome = WITNESS_UNREACHABLE, .cause = WITNESS_CAUSE_LOCAL}};
    STR_COPY(outcome.text, "witness: this node has not heard yet where it is");
    error_set(&asked.result.error, ERR_AGAIN, "%s", outcome.text);
    if (w->is_asked)
        deliver(w->x, &(struct core_event){.type = EV_WITNESS_ASKED, .id = w->id, .asked = &asked});
    else
        deliver(w->x, &(struct core_event){.type = EV_WITNESS, .id = w->id, .witness = &outcome});
    free(w);
}

static void ask_witness(struct exec *x, struct core_action *a)
{
    if (!a->site) {
        struct witness_away *w = xcalloc(1, sizeof(*w));
        *w = (struct witness_away){{.fn = deliver_away}, x, a->id, a->type == ACT_WITNESS_ASK};
        inbox_post(loop_inbox(x->loop), &w->item);
        return;
    }
    const struct identity *id = core_identity(x->core);
    struct witness_order *o = xcalloc(1, sizeof(*o));
    *o = (struct witness_order){.id = a->id, .cluster = id->cluster, .site = *a->site, .sealed = a->sealed,
                                .text = a->text};
    a->sealed = (struct buf){0};
    a->text = NULL;
    if (a->type == ACT_WITNESS)
        o->call = witness_call_of(a->witness, WITNESS_CALL_MS);
    else
        o->call = *a->ask;
    o->ctx = a->type == ACT_WITNESS ? x : NULL;
    witness_desk_ask(x->witnesses, o);
}

struct watchdog_served {
    struct inbox_item item;
    struct exec *x;
    uint64_t id;
    struct error error;
};

static void deliver_watchdog(struct inbox_item *item)
{
    struct watchdog_served *s = (struct watchdog_served *)item;
    deliver(s->x, &(struct core_event){.type = EV_WATCHDOG, .id = s->id, .error = s->error});
    free(s);
}

/* By the loop itself: a loop that stands still pets nothing. */
static void serve_watchdog(struct exec *x, const struct core_action *a)
{
    struct watchdog_served *s = xcalloc(1, sizeof(*s));
    *s = (struct watchdog_served){.item.fn = deliver_watchdog, .x = x, .id = a->id};
    watchdog_serve(x->watchdog, &a->watchdog, &s->error);
    inbox_post(loop_inbox(x->loop), &s->item);
}

bool exec_has_watchdog(const struct exec *x)
{
    return watchdog_is_there(x->watchdog);
}

struct guard_note exec_note(const struct exec *x)
{
    return watchdog_note(x->watchdog);
}

void exec_ask_to_stop(void *exec)
{
    deliver(exec, &(struct core_event){.type = EV_STOP});
}

static void end(struct exec *x, const struct core_action *a)
{
    if (a->error.code)
        fatal(x, "stop", &a->error, a->permanent ? EXIT_PERMANENT : EXIT_AGAIN);
    else
        loop_stop(x->loop, 0);
}

/* Takes the action over. */
static void perform(struct exec *x, struct core_action *a)
{
    switch (a->type) {
    case ACT_SEND:
        if (x->cpg)
            cpg_send(x->cpg, &a->bytes);
        break;
    case ACT_PERSIST: persist(x, a); break;
    case ACT_REPLY:
        ipc_reply(x->ipc, a->client, a->json);
        a->json = NULL;
        break;
    case ACT_CAST:
        if (x->quorum)
            quorum_cast(x->quorum, a->ring.nodeid, a->ring.seq, a->cast);
        break;
    case ACT_WITNESS:
    case ACT_WITNESS_ASK: ask_witness(x, a); break;
    case ACT_WATCHDOG: serve_watchdog(x, a); break;
    case ACT_STOP: end(x, a); break;
    default: submit(x, a); break;
    }
    core_action_done(a);
}

/* ---- start and end */

/* Starts what needs an identity. store NULL: the identity was made just now. */
static void adopt(struct exec *x, struct store *store)
{
    const struct identity *id = core_identity(x->core);
    struct error e = {0};
    x->member = true;
    x->store = store;
    struct db_image image = {0};
    if (!store && store_open(x->db_path, id, &x->store, &image, &e) != 0) {
        fatal(x, "database", &e, e.code == ERR_CONDITION ? EXIT_PERMANENT : EXIT_AGAIN);
        return;
    }
    db_image_done(&image); /* empty: the replica is new */
    static const struct tls_server_ops tls_ops = {.join = post_tls, .fetch = post_tls_fetch};
    if (tls_server_start(id, id->port, &tls_ops, x, &x->tls, &e) != 0) {
        fatal(x, "TLS server", &e, EXIT_AGAIN);
        return;
    }
    static const struct cpg_ops cpg_ops = {.ring = on_ring, .view = on_view, .message = on_message};
    x->cpg = cpg_new(loop_qb(x->loop), x->pools[POOL_RING], &id->cluster, &cpg_ops, x, x->log);
    x->quorum = quorum_new(loop_qb(x->loop), x->pools[POOL_DEVICE], PATH_CAST, on_quorum, x, x->log);
    log_notice(x->log, "node %s (nodeid %u) of cluster %s -> database, TLS server and group started", id->node,
               id->nodeid, id->cluster_name);
}

struct exec *exec_new(const struct exec_params *params)
{
    struct exec *x = xcalloc(1, sizeof(*x));
    x->loop = params->loop;
    x->config = params->config;
    x->log = params->log;
    x->db_path = params->db_path;
    x->host.port = params->config->port;
    STR_COPY(x->host.hostname, params->config->node);
    STR_COPY(x->host.address, params->config->address);
    STR_COPY(x->host.agent_version, params->version);
    x->watchdog = watchdog_new(params->config->watchdog);
    x->vm_changed.x = x;
    x->vm_changed.item.fn = deliver_vm_changed;
    for (size_t i = 0; i < POOL_N; i++)
        x->pools[i] = worker_pool_new(pools[i].name, pools[i].n_threads, loop_inbox(x->loop));
    x->witnesses = witness_desk_new(x->loop, x->pools[POOL_WORK], done_witness, x);
    start_libvirt(x);
    return x;
}

int exec_start(struct exec *x, struct core *core, struct store *store, struct error *e)
{
    struct ipc_ops ops = {.new_client = new_client, .request = on_request, .gone = on_gone, .ctx = x};
    int err = ipc_start(PROTO_IPC_NAME, loop_qb(x->loop), x->pools[POOL_WORK], &ops, x->log, &x->ipc, e);
    if (err)
        return err;
    x->core = core;
    if (core_identity(core))
        adopt(x, store);
    drain(x);
    return 0;
}

void exec_stop(struct exec *x)
{
    x->stopping = true; /* from here on nothing reaches the core */
    ipc_free(x->ipc);
    if (x->cpg) {
        cpg_leave_group(x->cpg);
        quorum_stop(x->quorum);
        bool left = worker_pool_drain(x->pools[POOL_RING], EXEC_LEAVE_MS) == 0;
        left = worker_pool_drain(x->pools[POOL_DEVICE], left ? EXEC_LEAVE_MS : 0) == 0 && left;
        if (!left)
            log_warn(x->log, "corosync does not answer -> it will see that this process ended");
    }
    /* What the core wanted written but is not yet under way was promised to nobody; it is written all the same. */
    for (int64_t until = loop_now_ms() + EXEC_FLUSH_MS; x->writing && loop_now_ms() < until;) {
        worker_pool_drain(x->pools[POOL_STORE], EXEC_FLUSH_MS);
        inbox_dispatch(loop_inbox(x->loop)); /* done_store submits what waits */
    }
    if (x->writing)
        log_error(x->log, "the database is not flushed after %d ms -> left to its log", EXEC_FLUSH_MS);
    else
        store_close(x->store);
}
