/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every node: acts on the rows that name it. What may happen to a VM is decided from three things: its row (applied, so
 * a majority has it), a LIST of this host's domains that was asked for after the row was last seen to change ("fresh"),
 * and the outcome of a call of this agent. A domain counts only with the row's name and UUID.
 *
 * A VM must never run twice. The rules that this rests on:
 *   R1 only the owner starts a VM, only for an op START, and only after its own CLAIM of that op was applied: an agent
 *      that was restarted, lagged or was frozen cannot act on an op that was ended meanwhile;
 *   R2 an op START fails only when it is certain that the domain does not run here: else it is asked again, and at last
 *      destroyed first;
 *   R3 a migration ends as FAILED only when the source sees the domain running at itself, or when the source has given
 *      it up (LEFT) and then the target does not have it; as MOVED only by the source's completed call or by the target
 *      that runs it;
 *   R4 a row becomes STOPPED only by its owner, who sees the domain off;
 *   R5 without quorum nothing is asked for but LIST; a call that makes a VM run begins before self->until_ms or never;
 *   R6 a node that is cut off for too long (self->fence) destroys every VM of the cluster that is active here, whoever
 *      owns it, until a LIST that was asked for after the last call has ended shows none.
 *   R7 a VM is moved only to a node that was heard a moment ago: one that was reset since, and whose agent does not run
 *      yet, would run it without a promise, and the others wait for its last word alone.
 *
 * Table of cases. "here": the fresh LIST; "-": does not matter. Nothing at all before the first LIST.
 *
 *   row says                     here                      then
 *   ---------------------------- ------------------------- ----------------------------------------------------------
 *   owner is this node
 *   1  op, not claimed yet       -                         propose CLAIM
 *   2  START                     -                         call START; done: STARTED
 *   3    START call failed       running                   STARTED
 *   4                            off, failure certain      FAILED
 *   5                            else                      START again, after the time-out DESTROY, then as 4 (R2)
 *   6  STOP                      -                         call SHUTDOWN (hard: DESTROY); done or no domain: STOPPED
 *   7    call failed             off                       STOPPED
 *   8                            else                      FAILED: the VM runs on
 *   8a STOP by saving            -                         call SAVE, then as 6 to 8; off, though the call failed:
 *                                                          STOPPED that says so. A START of what was saved gives the
 *                                                          file to the first call alone: a later one starts anew
 *   9  MIGRATE                   running                   call MIGRATE; done: MOVED. (Also after an agent's restart:
 *                                                          either it was never begun, or it failed.)
 *   10                           migrating, no call of us  wait; after the time-out CANCEL, once in a while
 *   10a  cancel was asked for    our call MIGRATE runs,    CANCEL, again until the move has ended, then as 12 or MOVED
 *                                or migrating
 *   10b                          running, no call of us    FAILED, which the row turns into cancelled
 *   10c                          migrating, to no end      longer downtime, post-copy, CANCEL (vm/converge.h); as 12
 *   11                           running, target away      FAILED
 *   11a                          running, target silent    wait; after the time-out FAILED (R7)
 *   12   call failed             running                   FAILED
 *   13   (call failed or none)   off, missing, paused      LEFT: it may run at the target, which decides (R3). So it is
 *                                                          too after this node was power-cycled in a migration.
 *   14   LEFT was applied        -                         nothing more
 *   15 no op, wanted or running, -                         propose OP START (RESTART) with the new boot and the epoch:
 *      of an earlier boot                                  once per boot, then as 2
 *   16 RUNNING, this boot        off or missing            STOPPED without an op: the guest powered itself off. After
 *                                                          R6: FENCED, then 15. Its QEMU crashed: CRASHED, and the
 *                                                          leader starts it again
 *   17 STOPPED                   running                   STARTED without an op: somebody started it by hand; the row
 *                                                          must say so before anybody starts it elsewhere
 *   17a no op, as it is here     other saved memory        SAVED: of a managed save, of snapshots with memory
 *   18 no op                     anything else             nothing
 *   a power cycle in START is 2 again, in STOP 6 again (a domain that is off is success), in MIGRATE 13
 *   target is this node
 *   20 MIGRATE                   running                   MOVED, when LEFT, or the owner is away, or after 3 s: the
 *                                                          owner, who knows first, has the precedence
 *   21 MIGRATE, LEFT             off or missing            FAILED: it runs nowhere. The owner's 15 or 16 follows
 *   22 MIGRATE                   else (incoming, paused)   wait
 *   another node's
 *   30 any                       active for 10 s           log and ASTRAY, once: touch nothing
 *   31 any                       off                       UNDEFINE: what a move or a start elsewhere left behind
 *   no row any more
 *   40 (was removed)             off                       UNDEFINE */
#include <inttypes.h>
#include <stdio.h>

#include "vm/converge.h"
#include "vm/vm.h"

enum {
    LIST_MS = 5000,
    LIST_BUSY_MS = 1000,
    LIST_RETRY_MS = 1000,
    LIST_GAP_MS = 100, /* not more often, whatever changes */
    CALL_AGAIN_MS = 2000,
    CANCEL_AGAIN_MS = 30 * 1000,
    UNDEFINE_AGAIN_MS = 60 * 1000,
    ARRIVED_MS = 3000,
    SILENT_MS = 1000,     /* no node is reset and back within this */
    MOVE_BEGIN_MS = 3000, /* from the last look at that to the hypervisor */
    ASTRAY_MS = 10 * 1000,
};

enum stage {
    STAGE_ACT = 0, /* ask the hypervisor */
    STAGE_LOOK,    /* a call failed: a fresh LIST decides what that means */
    STAGE_REPORT,  /* it is known how the op ended: report, until the row says so */
};

/* What this agent remembers of one VM; lost with the agent. */
struct watch {
    char name[VM_NAME_MAX];
    struct vm row;       /* as last seen */
    bool gone;           /* the row was removed */
    uint64_t fresh_from; /* the first LIST that is fresh for this row */
    /* The op. */
    struct uuid op_id;
    uint64_t claim; /* 0: not proposed yet */
    enum stage stage;
    int64_t begun_ms, next_ms;
    bool was_restored; /* START: it was called */
    bool certain;      /* STAGE_LOOK: the failed call has had no effect and will have none */
    struct error error;
    char target_boot[UUID_STR_SIZE]; /* of the target when the migration was begun */
    struct vm_report report;
    /* The call in flight: at most one per VM, of this op or of one that ended meanwhile. */
    uint64_t call;
    enum vm_verb verb;
    struct uuid call_op;
    /* Beside a MIGRATE in flight: its CANCEL, or what makes it end sooner. */
    uint64_t cancel_call;
    int64_t cancel_next_ms;
    struct converge converge;
    /* Beside all others: DESTROY for R6. */
    uint64_t fence_call;
    int64_t fence_next_ms;
    bool was_destroyed; /* by R6, since the row changed */
    bool may_appear;    /* a START was called, and how it ended is not known: it may run yet, after a LIST without it */
    /* Seen active here: since when. 0: not. */
    int64_t active_since_ms;
    bool told;
};

struct vm_local {
    struct watch **watches; /* sorted by name */
    size_t n_watches;
    struct vm_domain *domains; /* of the last LIST */
    size_t n_domains;
    uint64_t list_issued, list_held; /* LISTs are numbered; 0: none */
    uint64_t list_call;              /* in flight */
    int64_t list_next_ms, list_not_before_ms;
    bool list_again, list_failing;
    bool is_fencing;
    bool has_fenced; /* this agent did: it knows which VMs it destroyed. Else self->fenced tells of an earlier one */
    uint64_t clear_from; /* the first LIST that can show that R6 is done */
};

/* What a step hands around. */
struct step {
    struct vm_local *l;
    const struct tables *t;
    const struct vm_nodes *nodes;
    const struct vm_self *self;
    int64_t now_ms;
    const struct vm_env *env;
};

struct vm_local *vm_local_new(void)
{
    return xcalloc(1, sizeof(struct vm_local));
}

void vm_local_free(struct vm_local *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->n_watches; i++)
        free(l->watches[i]);
    free(l->watches);
    free(l->domains);
    free(l);
}

/* ---- looks */

static const struct vm_domain *find_domain(const struct vm_local *l, const struct vm *v)
{
    for (size_t i = 0; i < l->n_domains; i++) {
        if (str_eq(l->domains[i].name, v->name) && uuid_eq(&l->domains[i].uuid, &v->uuid))
            return &l->domains[i];
    }
    return NULL;
}

static bool is_off(const struct vm_domain *d)
{
    return !d || d->state == VM_DOMAIN_OFF;
}

static bool is_running(const struct vm_domain *d)
{
    return d && d->state == VM_DOMAIN_RUNNING;
}

static bool is_fresh(const struct vm_local *l, const struct watch *w)
{
    return l->list_held >= w->fresh_from;
}

static bool is_ours(const struct vm *v, const struct vm_self *self)
{
    return str_eq(v->node, self->node);
}

static bool is_coming(const struct vm *v, const struct vm_self *self)
{
    return v->op == VM_OP_MIGRATE && str_eq(v->target, self->node);
}

static void look_again(struct vm_local *l, struct watch *w)
{
    w->fresh_from = l->list_issued + 1;
}

/* ---- watches follow rows */

static bool same_version(const struct vm *a, const struct vm *b)
{
    return a->state == b->state && a->wanted == b->wanted && a->op == b->op && uuid_eq(&a->op_id, &b->op_id) &&
           a->left == b->left && a->epoch == b->epoch && str_eq(a->node, b->node) && str_eq(a->target, b->target) &&
           str_eq(a->boot_id, b->boot_id);
}

static void observe(struct vm_local *l, struct watch *w, const struct vm *v, int64_t now_ms)
{
    if (!same_version(&w->row, v)) {
        look_again(l, w);
        w->active_since_ms = 0;
        w->told = false;
        w->was_destroyed = false;
    }
    if (!uuid_eq(&w->op_id, &v->op_id)) {
        w->op_id = v->op_id;
        w->claim = 0;
        w->stage = STAGE_ACT;
        w->begun_ms = now_ms;
        w->next_ms = 0;
        w->certain = w->was_restored = false;
        w->error = (struct error){0};
        w->cancel_next_ms = 0;
        w->converge = (struct converge){0};
    }
    w->row = *v;
    w->gone = false;
}

static struct watch *insert_watch(struct vm_local *l, size_t i, const struct vm *v, int64_t now_ms)
{
    l->watches = xrealloc(l->watches, l->n_watches + 1, sizeof(struct watch *));
    memmove(&l->watches[i + 1], &l->watches[i], (l->n_watches - i) * sizeof(struct watch *));
    l->n_watches++;
    struct watch *w = xcalloc(1, sizeof(*w));
    l->watches[i] = w;
    STR_COPY(w->name, v->name);
    w->begun_ms = now_ms;
    return w;
}

static void mark_gone(struct vm_local *l, struct watch *w)
{
    if (w->gone)
        return;
    w->gone = true;
    w->next_ms = 0;
    look_again(l, w);
}

/* Rows and watches are both in name order: one walk. */
static void observe_rows(struct vm_local *l, const struct tables *t, int64_t now_ms)
{
    size_t i = 0;
    struct vm v = {0};
    for (const char *after = NULL; vm_next(t, after, &v); after = v.name) {
        while (i < l->n_watches && strcmp(l->watches[i]->name, v.name) < 0)
            mark_gone(l, l->watches[i++]);
        if (i == l->n_watches || !str_eq(l->watches[i]->name, v.name))
            insert_watch(l, i, &v, now_ms);
        observe(l, l->watches[i++], &v, now_ms);
    }
    while (i < l->n_watches)
        mark_gone(l, l->watches[i++]);
}

/* ---- calls */

static void call(const struct step *s, struct watch *w, struct vm_call *c)
{
    STR_COPY(c->name, w->name);
    w->verb = c->verb;
    w->call_op = w->op_id;
    w->call = s->env->call(s->env->ctx, c);
}

static void call_verb(const struct step *s, struct watch *w, enum vm_verb verb, int64_t timeout_ms)
{
    struct vm_call c = {.verb = verb, .timeout_ms = timeout_ms};
    call(s, w, &c);
}

static void call_start(const struct step *s, struct watch *w)
{
    struct slice xml = {0};
    tables_get(s->t, TABLE_VM_XML, w->name, &xml);
    struct vm_call c = {.verb = VM_CALL_START, .xml = xmalloc(xml.len + 1), .timeout_ms = w->row.op_timeout_ms};
    if (xml.len)
        memcpy(c.xml, xml.p, xml.len);
    c.xml[xml.len] = '\0';
    c.until_ms = s->self->until_ms;
    if (w->row.owed == VM_OWED_RESTORE && !w->was_restored)
        STR_COPY(c.path, w->row.saved_to);
    w->was_restored = true;
    log_notice(s->env->log, "VM %s is to run here -> %s", w->name, c.path[0] ? "restore it" : "start it");
    w->may_appear = true;
    call(s, w, &c);
}

static void call_migrate(const struct step *s, struct watch *w, const struct vm_node *target)
{
    struct vm_call c = {.verb = VM_CALL_MIGRATE,
                        .auto_converge = true,
                        .postcopy = w->row.postcopy,
                        .bandwidth_mib = s->nodes->settings.bandwidth_mib,
                        .timeout_ms = w->row.op_timeout_ms};
    STR_COPY(c.target, target->name);
    STR_COPY(c.target_address, target->address);
    STR_COPY(w->target_boot, target->boot_id);
    c.until_ms = s->self->until_ms;
    if (target->heard_ms && (c.until_ms == 0 || s->now_ms + MOVE_BEGIN_MS < c.until_ms))
        c.until_ms = s->now_ms + MOVE_BEGIN_MS;
    log_notice(s->env->log, "VM %s runs here and is to run on %s -> migrate it", w->name, target->name);
    call(s, w, &c);
}

/* ---- reports */

static void send_report(const struct step *s, const struct watch *w, const struct vm_report *r, const char *kind)
{
    struct buf payload = {0};
    vm_entry_report(r, &payload);
    char key[VM_NAME_MAX + 16];
    snprintf(key, sizeof(key), "%s/%s", kind, w->name);
    s->env->propose(s->env->ctx, ENTRY_VM_REPORT, &payload, key);
}

static struct vm_report report_of(const struct step *s, const struct watch *w, enum vm_report_kind kind)
{
    struct vm_report r = {.kind = kind, .op_id = w->row.op_id, .epoch = w->row.epoch};
    STR_COPY(r.name, w->name);
    STR_COPY(r.node, s->self->node);
    STR_COPY(r.boot_id, s->self->boot_id);
    const struct vm_domain *d = find_domain(s->l, &w->row);
    r.managed_save = d && d->managed_save;
    r.memory_snapshot = d && d->memory_snapshot;
    return r;
}

static void log_report(const struct step *s, const struct watch *w, enum vm_report_kind kind)
{
    static const char *const texts[] = {
        [VM_REPORT_STARTED] = "runs here -> report started",
        [VM_REPORT_STOPPED] = "is off -> report stopped",
        [VM_REPORT_MOVED] = "arrived -> report moved",
        [VM_REPORT_FAILED] = "did not do what it was to -> report failed",
        [VM_REPORT_LEFT] = "neither runs here nor is it being moved -> the target decides",
    };
    log_notice(s->env->log, "VM %s %s", w->name, texts[kind]);
}

/* The op's end is known: report it now and at every step until the row has changed. */
static void settle(const struct step *s, struct watch *w, enum vm_report_kind kind)
{
    w->report = report_of(s, w, kind);
    w->stage = STAGE_REPORT;
    if (kind == VM_REPORT_MOVED) {
        STR_COPY(w->report.node, w->row.target);
        STR_COPY(w->report.boot_id, w->target_boot);
    }
    bool is_unsaved = kind == VM_REPORT_STOPPED && w->row.save && w->error.code;
    if (kind == VM_REPORT_FAILED || is_unsaved) {
        w->report.code = w->error.code;
        STR_COPY(w->report.error, w->error.text);
    }
    log_report(s, w, kind);
    if (s->self->quorate)
        send_report(s, w, &w->report, "vm-report");
}

/* A number that no earlier agent of this node has claimed with: of the boot and the time in it. */
static uint64_t new_claim(const struct step *s)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (const char *p = s->self->boot_id; *p; p++)
        h = (h ^ (uint8_t)*p) * 0x100000001b3u;
    h += (uint64_t)s->now_ms;
    return h ? h : 1;
}

static bool is_claimed(const struct step *s, struct watch *w)
{
    if (w->claim && w->row.claim == w->claim)
        return true;
    if (!w->claim)
        w->claim = new_claim(s);
    struct vm_report r = report_of(s, w, VM_REPORT_CLAIM);
    r.claim = w->claim;
    send_report(s, w, &r, "vm-claim");
    return false;
}

/* ---- the owner acts on an op */

static bool is_overdue(const struct step *s, const struct watch *w)
{
    return s->now_ms - w->begun_ms >= w->row.op_timeout_ms;
}

static void act_start(const struct step *s, struct watch *w)
{
    if (w->stage == STAGE_ACT) {
        call_start(s, w);
        return;
    }
    if (!is_fresh(s->l, w))
        return;
    const struct vm_domain *d = find_domain(s->l, &w->row);
    if (is_running(d))
        settle(s, w, VM_REPORT_STARTED);
    else if (is_off(d) && w->certain)
        settle(s, w, VM_REPORT_FAILED);
    else if (s->now_ms < w->next_ms)
        return;
    else if (!is_overdue(s, w))
        w->stage = STAGE_ACT;
    else
        call_verb(s, w, VM_CALL_DESTROY, 0);
}

static void act_stop(const struct step *s, struct watch *w)
{
    if (w->stage == STAGE_ACT) {
        log_notice(s->env->log, "VM %s is to stop -> %s", w->name,
                   w->row.save   ? "save it"
                   : w->row.hard ? "power it off"
                                 : "ask it to shut down");
        struct vm_call c = {.verb = w->row.save   ? VM_CALL_SAVE
                                    : w->row.hard ? VM_CALL_DESTROY
                                                  : VM_CALL_SHUTDOWN,
                            .timeout_ms = w->row.op_timeout_ms};
        STR_COPY(c.path, w->row.saved_to);
        c.sparse = s->nodes->settings.save_sparse;
        call(s, w, &c);
        return;
    }
    if (is_fresh(s->l, w))
        settle(s, w, is_off(find_domain(s->l, &w->row)) ? VM_REPORT_STOPPED : VM_REPORT_FAILED);
}

static void call_beside(const struct step *s, struct watch *w, enum vm_verb verb)
{
    struct vm_call c = {.verb = verb, .downtime_ms = w->converge.downtime_ms};
    STR_COPY(c.name, w->name);
    w->cancel_next_ms = s->now_ms + CALL_AGAIN_MS;
    w->cancel_call = s->env->call(s->env->ctx, &c);
}

static void set_endless(const struct watch *w, struct error *e)
{
    error_set(e, ERR_TIMEOUT,
              "its memory changes faster than it is copied to %s: cancelled after %" PRIu32
              " passes and a downtime of up to %" PRIu32 " ms",
              w->row.target, w->converge.passes, w->converge.downtime_ms);
    error_set_remedy(e, "clusterctl vm set %s --postcopy on", w->name);
}

/* Makes a migration end that does not by itself. */
static void steer(const struct step *s, struct watch *w, const struct vm_domain *d)
{
    const struct converge_limits limits = {.downtime_max_ms = s->nodes->settings.downtime_max_ms,
                                           .postcopy = w->row.postcopy};
    if (!d || w->row.cancel || w->cancel_call || s->now_ms < w->cancel_next_ms)
        return;
    switch (converge_next(&w->converge, d, &limits, s->now_ms)) {
    case CONVERGE_WAIT: return;
    case CONVERGE_DOWNTIME:
        log_notice(s->env->log,
                   "VM %s has been copied %" PRIu32 " times and changes still -> it may stand still %" PRIu32 " ms",
                   w->name, d->passes, w->converge.downtime_ms);
        call_beside(s, w, VM_CALL_DOWNTIME);
        return;
    case CONVERGE_POSTCOPY:
        log_notice(s->env->log, "VM %s has been copied %" PRIu32 " times and changes still -> post-copy", w->name,
                   d->passes);
        call_beside(s, w, VM_CALL_POSTCOPY);
        return;
    case CONVERGE_GIVE_UP:
        set_endless(w, &w->error);
        log_warn(s->env->log, "VM %s has been copied %" PRIu32 " times and changes still -> cancel", w->name,
                 d->passes);
        call_beside(s, w, VM_CALL_CANCEL);
        return;
    }
}

static void wait_for_migration(const struct step *s, struct watch *w)
{
    if (!is_overdue(s, w) && !w->row.cancel)
        steer(s, w, find_domain(s->l, &w->row));
    if ((!is_overdue(s, w) && !w->row.cancel) || s->now_ms < w->next_ms)
        return;
    if (w->row.cancel) {
        w->next_ms = s->now_ms + CALL_AGAIN_MS;
        log_notice(s->env->log, "VM %s is moving and is not to -> cancel", w->name);
        call_verb(s, w, VM_CALL_CANCEL, 0);
        return;
    }
    w->next_ms = s->now_ms + CANCEL_AGAIN_MS;
    error_set(&w->error, ERR_TIMEOUT, "the migration to %s was not done in %" PRId64 " s and was cancelled",
              w->row.target, w->row.op_timeout_ms / 1000);
    log_warn(s->env->log, "VM %s has been moving for too long -> cancel", w->name);
    call_verb(s, w, VM_CALL_CANCEL, 0);
}

static bool is_silent(const struct step *s, const struct vm_node *n)
{
    return n->heard_ms && s->now_ms - n->heard_ms >= SILENT_MS;
}

static void act_migrate(const struct step *s, struct watch *w)
{
    if (!is_fresh(s->l, w))
        return;
    const struct vm_domain *d = find_domain(s->l, &w->row);
    if (d && d->migrating) {
        wait_for_migration(s, w);
        return;
    }
    if (!is_running(d)) {
        settle(s, w, VM_REPORT_LEFT);
        return;
    }
    const struct vm_node *target = vm_nodes_find(s->nodes, w->row.target);
    if (!w->error.code && w->row.cancel)
        error_set(&w->error, ERR_FAILED, "the move to %s was cancelled", w->row.target);
    if (!w->error.code && (!target || !target->present))
        error_set(&w->error, ERR_CONDITION, "%s is not in the cluster now", w->row.target);
    if (!w->error.code && is_silent(s, target)) {
        if (!is_overdue(s, w))
            return;
        error_set(&w->error, ERR_CONDITION, "%s is not heard", w->row.target);
    }
    if (w->error.code)
        settle(s, w, VM_REPORT_FAILED);
    else
        call_migrate(s, w, target);
}

/* A MIGRATE of this agent blocks until the move has ended: its CANCEL is a call beside it. It may come before libvirt
 * has begun the move, so it is repeated. */
static void cancel_beside(const struct step *s, struct watch *w)
{
    bool is_wanted = w->verb == VM_CALL_MIGRATE && w->row.op == VM_OP_MIGRATE && w->row.cancel &&
                     uuid_eq(&w->call_op, &w->row.op_id);
    if (!is_wanted || w->cancel_call || s->now_ms < w->cancel_next_ms)
        return;
    log_notice(s->env->log, "VM %s is moving to %s and is not to -> cancel", w->name, w->row.target);
    call_beside(s, w, VM_CALL_CANCEL);
}

static void steer_or_cancel(const struct step *s, struct watch *w)
{
    cancel_beside(s, w);
    if (w->verb == VM_CALL_MIGRATE && uuid_eq(&w->call_op, &w->row.op_id))
        steer(s, w, find_domain(s->l, &w->row));
}

/* Its time begins when the backup has ended. A move that is not wanted any more does not wait for that. */
static void wait_for_backup(const struct step *s, struct watch *w)
{
    w->begun_ms = s->now_ms;
    if (w->row.op == VM_OP_MIGRATE && w->row.cancel) {
        error_set(&w->error, ERR_FAILED, "it was cancelled");
        settle(s, w, VM_REPORT_FAILED);
    }
}

static void act_op(const struct step *s, struct watch *w)
{
    if (w->row.op == VM_OP_MIGRATE && w->row.left)
        return;
    if (w->stage == STAGE_REPORT) {
        send_report(s, w, &w->report, "vm-report");
        return;
    }
    if (!w->claim && vm_is_held(s->nodes, &w->row, s->self->boot_id)) {
        wait_for_backup(s, w);
        return;
    }
    if (!is_claimed(s, w))
        return;
    switch (w->row.op) {
    case VM_OP_START: act_start(s, w); break;
    case VM_OP_STOP: act_stop(s, w); break;
    case VM_OP_MIGRATE: act_migrate(s, w); break;
    case VM_OP_NONE: break;
    }
}

/* ---- without an op, and of other nodes */

static void propose_restart(const struct step *s, struct watch *w)
{
    struct vm_op_request r = {.op = VM_OP_START, .reason = VM_REASON_RESTART, .epoch = w->row.epoch};
    STR_COPY(r.name, w->name);
    STR_COPY(r.boot_id, s->self->boot_id);
    struct buf payload = {0};
    vm_entry_op(&r, &payload);
    char key[VM_NAME_MAX + 16];
    snprintf(key, sizeof(key), "vm-restart/%s", w->name);
    if (!w->told)
        log_notice(s->env->log, "VM %s %s -> start it again", w->name,
                   vm_is_lost(&w->row) ? "ended when this node was lost" : "ran in an earlier boot of this node");
    w->told = true;
    s->env->propose(s->env->ctx, ENTRY_VM_OP, &payload, key);
}

static void report_saved(const struct step *s, const struct watch *w)
{
    struct vm_report r = report_of(s, w, VM_REPORT_SAVED);
    if (r.managed_save != w->row.managed_save || r.memory_snapshot != w->row.memory_snapshot)
        send_report(s, w, &r, "vm-report");
}

static void act_idle(const struct step *s, struct watch *w)
{
    const struct vm *v = &w->row;
    if ((v->state == VM_RUNNING || v->wanted) && !v->owed && !str_eq(v->boot_id, s->self->boot_id)) {
        propose_restart(s, w);
        return;
    }
    const struct vm_domain *d = find_domain(s->l, v);
    bool was_fenced = w->was_destroyed || (s->self->fenced && !s->l->has_fenced);
    enum vm_report_kind gone = was_fenced ? VM_REPORT_FENCED : d && d->crashed ? VM_REPORT_CRASHED : VM_REPORT_STOPPED;
    enum vm_report_kind kind = v->state == VM_RUNNING ? gone : VM_REPORT_STARTED;
    if (!is_fresh(s->l, w))
        return;
    if (v->state == VM_RUNNING ? !is_off(d) : !is_running(d)) {
        report_saved(s, w);
        return;
    }
    if (!w->told)
        log_warn(s->env->log, "VM %s %s -> report it", w->name,
                 kind == VM_REPORT_FENCED    ? "was stopped when this node was cut off"
                 : kind == VM_REPORT_CRASHED ? "crashed"
                 : kind == VM_REPORT_STOPPED ? "went off by itself"
                                             : "runs though nobody asked the cluster for it");
    w->told = true;
    struct vm_report r = report_of(s, w, kind);
    send_report(s, w, &r, "vm-report");
}

static bool is_active_for(const struct step *s, struct watch *w, bool active, int64_t ms)
{
    if (!active)
        w->active_since_ms = 0;
    else if (w->active_since_ms == 0)
        w->active_since_ms = s->now_ms;
    return active && s->now_ms - w->active_since_ms >= ms;
}

static void act_target(const struct step *s, struct watch *w)
{
    if (!is_fresh(s->l, w))
        return;
    const struct vm_domain *d = find_domain(s->l, &w->row);
    const struct vm_node *owner = vm_nodes_find(s->nodes, w->row.node);
    bool long_here = is_active_for(s, w, is_running(d), ARRIVED_MS);
    bool alone = w->row.left || !owner || !owner->present;
    struct vm_report r;
    if (is_running(d) && (long_here || alone)) {
        r = report_of(s, w, VM_REPORT_MOVED);
    } else if (is_off(d) && w->row.left) {
        r = report_of(s, w, VM_REPORT_FAILED);
        r.code = ERR_FAILED;
        snprintf(r.error, sizeof(r.error), "it did not arrive on %.60s, and does not run on %.60s any more",
                 s->self->node, w->row.node);
    } else {
        return;
    }
    if (!w->told)
        log_report(s, w, r.kind);
    w->told = true;
    send_report(s, w, &r, "vm-report");
}

static void undefine(const struct step *s, struct watch *w)
{
    if (s->now_ms < w->next_ms)
        return;
    w->next_ms = s->now_ms + UNDEFINE_AGAIN_MS;
    log_info(s->env->log, "VM %s is off here and not this node's -> undefine it here", w->name);
    call_verb(s, w, VM_CALL_UNDEFINE, 0);
}

static void act_foreign(const struct step *s, struct watch *w)
{
    const struct vm_domain *d = find_domain(s->l, &w->row);
    if (!d || !is_fresh(s->l, w))
        return;
    if (d->state == VM_DOMAIN_OFF) {
        undefine(s, w);
        return;
    }
    if (!is_active_for(s, w, w->row.op == VM_OP_NONE, ASTRAY_MS) || w->told)
        return;
    w->told = true;
    log_error(s->env->log, "VM %s runs here, but belongs to %s -> touch nothing", w->name, w->row.node);
    struct vm_report r = report_of(s, w, VM_REPORT_ASTRAY);
    send_report(s, w, &r, "vm-report");
}

/* True: the watch is no longer needed. */
static bool act_gone(const struct step *s, struct watch *w)
{
    const struct vm_domain *d = find_domain(s->l, &w->row);
    if (!is_fresh(s->l, w))
        return false;
    if (!d || d->state != VM_DOMAIN_OFF)
        return true;
    undefine(s, w);
    return false;
}

static void act(const struct step *s, struct watch *w)
{
    if (is_ours(&w->row, s->self) && w->row.op != VM_OP_NONE)
        act_op(s, w);
    else if (is_ours(&w->row, s->self))
        act_idle(s, w);
    else if (is_coming(&w->row, s->self))
        act_target(s, w);
    else
        act_foreign(s, w);
}

static void act_on_all(const struct step *s)
{
    struct vm_local *l = s->l;
    size_t kept = 0;
    for (size_t i = 0; i < l->n_watches; i++) {
        struct watch *w = l->watches[i];
        if (!w->call && !w->cancel_call && !w->fence_call && w->gone && act_gone(s, w)) {
            free(w);
            continue;
        }
        if (!w->call && !w->cancel_call && !w->fence_call && !w->gone) /* a late CANCEL must not meet the next move */
            act(s, w);
        else if (w->call && !w->gone && is_ours(&w->row, s->self))
            steer_or_cancel(s, w);
        l->watches[kept++] = w;
    }
    l->n_watches = kept;
}

/* ---- cut off (R6) */

static void destroy_beside(const struct step *s, struct watch *w)
{
    struct vm_call c = {.verb = VM_CALL_DESTROY, .urgent = true};
    STR_COPY(c.name, w->name);
    w->fence_next_ms = s->now_ms + CALL_AGAIN_MS;
    log_warn(s->env->log, "VM %s runs here, and this node is cut off -> destroy it", w->name);
    w->was_destroyed = true;
    w->fence_call = s->env->call(s->env->ctx, &c);
}

static void fence_all(const struct step *s)
{
    struct vm_local *l = s->l;
    bool is_begun = !l->is_fencing;
    if (is_begun)
        l->clear_from = l->list_issued + 1;
    l->is_fencing = l->has_fenced = true;
    for (size_t i = 0; i < l->n_watches; i++) {
        struct watch *w = l->watches[i];
        if (is_begun && w->row.op == VM_OP_START && is_ours(&w->row, s->self))
            w->may_appear = true; /* by the agent before this one, it may be */
        if ((!is_off(find_domain(l, &w->row)) || w->may_appear) && !w->fence_call && s->now_ms >= w->fence_next_ms)
            destroy_beside(s, w);
    }
    l->list_again = true;
}

static bool take_destroyed(struct vm_local *l, uint64_t id, const struct vm_outcome *o)
{
    for (size_t i = 0; i < l->n_watches; i++) {
        if (l->watches[i]->fence_call != id)
            continue;
        l->watches[i]->fence_call = 0;
        if (!o->error.code || o->error.code == ERR_NOT_FOUND)
            l->watches[i]->may_appear = false;
        look_again(l, l->watches[i]);
        l->clear_from = l->list_issued + 1;
        l->list_again = true;
        return true;
    }
    return false;
}

/* A call that was begun in time may end as late as it likes. */
static bool may_make_active(const struct watch *w)
{
    return w->fence_call || w->may_appear || (w->call && (w->verb == VM_CALL_START || w->verb == VM_CALL_MIGRATE));
}

bool vm_local_is_clear(const struct vm_local *l)
{
    if (!l->is_fencing || l->list_held < l->clear_from)
        return false;
    for (size_t i = 0; i < l->n_watches; i++)
        if (may_make_active(l->watches[i]) || !is_off(find_domain(l, &l->watches[i]->row)))
            return false;
    return true;
}

bool vm_local_is_told(const struct vm_local *l, const struct vm_self *self)
{
    for (size_t i = 0; i < l->n_watches; i++) {
        const struct watch *w = l->watches[i];
        bool may_be_off = w->fence_call || !is_fresh(l, w) || is_off(find_domain(l, &w->row));
        if (is_ours(&w->row, self) && !w->gone && w->row.state == VM_RUNNING && may_be_off)
            return false;
    }
    return vm_local_ready(l);
}

/* ---- LIST */

static bool is_busy(const struct vm_local *l, const struct vm_self *self)
{
    for (size_t i = 0; i < l->n_watches; i++) {
        const struct vm *v = &l->watches[i]->row;
        if (v->op != VM_OP_NONE && (is_ours(v, self) || is_coming(v, self)))
            return true;
    }
    return false;
}

/* Does some row of this node wait for a look that was not asked for yet? */
static bool is_look_wanted(const struct vm_local *l, const struct vm_self *self)
{
    for (size_t i = 0; i < l->n_watches; i++) {
        const struct watch *w = l->watches[i];
        bool ours = is_ours(&w->row, self) || is_coming(&w->row, self) || find_domain(l, &w->row);
        if (ours && w->fresh_from > l->list_issued)
            return true;
    }
    return false;
}

static void list_if_due(const struct step *s)
{
    struct vm_local *l = s->l;
    if (l->list_call || (l->list_issued && s->now_ms < l->list_not_before_ms))
        return;
    bool due = !vm_local_ready(l) || l->list_again || s->now_ms >= l->list_next_ms || is_look_wanted(l, s->self);
    if (!due)
        return;
    struct vm_call c = {.verb = VM_CALL_LIST};
    l->list_issued++;
    l->list_again = false;
    l->list_next_ms = s->now_ms + (is_busy(l, s->self) ? LIST_BUSY_MS : LIST_MS);
    l->list_not_before_ms = s->now_ms + LIST_GAP_MS;
    l->list_call = s->env->call(s->env->ctx, &c);
}

static void take_list(struct vm_local *l, const struct vm_outcome *o, int64_t now_ms, const struct vm_env *env)
{
    l->list_call = 0;
    if (o->error.code) {
        if (!l->list_failing)
            log_warn(env->log, "the hypervisor does not list its domains: %s -> nothing is decided until it does",
                     o->error.text);
        l->list_failing = true;
        l->list_again = true;
        l->list_not_before_ms = now_ms + LIST_RETRY_MS;
        return;
    }
    if (l->list_failing)
        log_notice(env->log, "the hypervisor lists its domains again -> go on");
    l->list_failing = false;
    free(l->domains);
    l->domains = xmemdup(o->domains, o->n_domains * sizeof(o->domains[0]));
    l->n_domains = o->n_domains;
    l->list_held = l->list_issued;
}

/* ---- outcomes */

static bool is_certain(int code)
{
    return code != ERR_TIMEOUT && code != ERR_IO && code != ERR_AGAIN && code != ERR_NO_AGENT;
}

static void start_ended(const struct step *s, struct watch *w, const struct error *e)
{
    if (!e->code) {
        settle(s, w, VM_REPORT_STARTED);
        return;
    }
    w->stage = STAGE_LOOK;
    w->error = *e;
    w->certain = is_certain(e->code);
    w->next_ms = s->now_ms + CALL_AGAIN_MS;
}

static void stop_ended(const struct step *s, struct watch *w, const struct error *e)
{
    w->stage = STAGE_LOOK;
    w->error = *e;
    if (!e->code || (e->code == ERR_NOT_FOUND && !w->row.save))
        settle(s, w, VM_REPORT_STOPPED);
}

static void destroy_ended(const struct step *s, struct watch *w, const struct error *e)
{
    if (w->row.op == VM_OP_STOP) {
        stop_ended(s, w, e);
        return;
    }
    w->certain = !e->code || e->code == ERR_NOT_FOUND; /* an op START that took too long */
    w->next_ms = s->now_ms + CALL_AGAIN_MS;
}

static void migrate_ended(const struct step *s, struct watch *w, const struct error *e)
{
    if (e->code) {
        w->error = *e;
        if (w->converge.last == CONVERGE_GIVE_UP)
            set_endless(w, &w->error);
        log_warn(s->env->log, "VM %s was not moved to %s: %s -> see where it is", w->name, w->row.target,
                 w->error.text);
    } else {
        settle(s, w, VM_REPORT_MOVED);
    }
}

static void call_ended(const struct step *s, struct watch *w, const struct error *e)
{
    switch (w->verb) {
    case VM_CALL_START: start_ended(s, w, e); break;
    case VM_CALL_SHUTDOWN:
    case VM_CALL_SAVE: stop_ended(s, w, e); break;
    case VM_CALL_DESTROY: destroy_ended(s, w, e); break;
    case VM_CALL_MIGRATE: migrate_ended(s, w, e); break;
    case VM_CALL_LIST:
    case VM_CALL_PARSE:
    case VM_CALL_CANCEL:
    case VM_CALL_DOWNTIME:
    case VM_CALL_POSTCOPY:
    case VM_CALL_UNDEFINE: break;
    }
}

static struct watch *find_call(struct vm_local *l, uint64_t id)
{
    for (size_t i = 0; i < l->n_watches; i++) {
        if (l->watches[i]->call == id)
            return l->watches[i];
    }
    return NULL;
}

/* How the move ended is what its own call, or the next LIST, says. */
static bool take_cancelled(struct vm_local *l, uint64_t id)
{
    for (size_t i = 0; i < l->n_watches; i++) {
        if (l->watches[i]->cancel_call != id)
            continue;
        l->watches[i]->cancel_call = 0;
        l->list_again = true;
        return true;
    }
    return false;
}

/* ---- what the core calls */

bool vm_local_outcome(struct vm_local *l, const struct tables *t, const struct vm_self *self, int64_t now_ms,
                      uint64_t id, const struct vm_outcome *o, const struct vm_env *env)
{
    const struct step s = {.l = l, .t = t, .self = self, .now_ms = now_ms, .env = env};
    if (id == 0)
        return false;
    if (id == l->list_call) {
        take_list(l, o, now_ms, env);
        return true;
    }
    if (take_cancelled(l, id) || take_destroyed(l, id, o))
        return true;
    struct watch *w = find_call(l, id);
    if (!w)
        return false;
    w->call = 0;
    if (w->verb == VM_CALL_START && is_certain(o->error.code))
        w->may_appear = false; /* it did, or never will */
    l->clear_from = l->list_issued + 1;
    look_again(l, w);
    l->list_again = true;
    struct vm v;
    bool current = !w->gone && !vm_get(t, w->name, &v) && uuid_eq(&w->call_op, &v.op_id);
    if (current)
        observe(l, w, &v, now_ms);
    if (current && !uuid_is_nil(&w->op_id))
        call_ended(&s, w, &o->error);
    return true;
}

void vm_local_step(struct vm_local *l, const struct tables *t, const struct vm_nodes *nodes, const struct vm_self *self,
                   int64_t now_ms, const struct vm_env *env)
{
    const struct step s = {.l = l, .t = t, .nodes = nodes, .self = self, .now_ms = now_ms, .env = env};
    observe_rows(l, t, now_ms);
    if (self->fence)
        fence_all(&s);
    else if (vm_local_ready(l) && self->quorate && self->boot_id[0])
        act_on_all(&s);
    l->is_fencing = self->fence;
    list_if_due(&s);
}

void vm_local_changed(struct vm_local *l)
{
    l->list_again = true;
}

int vm_local_percent(const struct vm_local *l, const char *name)
{
    for (size_t i = 0; i < l->n_domains; i++) {
        if (str_eq(l->domains[i].name, name) && l->domains[i].migrating)
            return l->domains[i].percent;
    }
    return -1;
}

bool vm_local_ready(const struct vm_local *l)
{
    return l->list_held > 0;
}
