/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Replicated: what entries make of the rows of tasks. Compare and set on the run: an entry that comes late changes
 * nothing. */
#include <inttypes.h>

#include "common/journal.h"
#include "task/task-entry.h"

struct apply {
    struct tables *t;
    const struct task_gate *gate;
    const struct entry *e;
    struct error *err;
};

#define EVENT(a, severity, k, ...) journal_event((a)->t, (a)->e->time_ms, (severity), (k)->d.name, __VA_ARGS__)

static int malformed(const struct apply *a)
{
    return error_set(a->err, ERR_USAGE, "the entry of kind %u does not parse", a->e->kind);
}

static int find(const struct apply *a, const char *name, struct task *ret)
{
    int err = task_get(a->t, name, ret);
    if (err) {
        error_set(a->err, err, "no task %s in this cluster", name);
        error_set_remedy(a->err, "clusterctl task list");
    }
    return err;
}

/* It is no more at what the entry speaks of. */
static int too_late(const struct apply *a, const struct task *k)
{
    return error_set(a->err, ERR_AGAIN, "task %s is %s meanwhile", k->d.name, task_state_name(k->state));
}

static void apply_set(const struct apply *a)
{
    struct task k = {.after_ms = a->e->time_ms};
    if (task_entry_set_decode(a->e->payload, &k.d)) {
        malformed(a);
        return;
    }
    if (task_definition_check(&k.d, a->err))
        return;
    if (tables_has(a->t, TABLE_TASK, k.d.name)) {
        error_set(a->err, ERR_CONDITION, "there is a task %s already", k.d.name);
        error_set_remedy(a->err, "clusterctl task remove %s, or take another name", k.d.name);
        return;
    }
    if (tables_count(a->t, TABLE_TASK) >= TASKS_MAX) {
        error_set(a->err, ERR_CONDITION, "there are %d tasks, and no more may be", TASKS_MAX);
        error_set_remedy(a->err, "clusterctl task remove one of clusterctl task list");
        return;
    }
    task_put(a->t, &k);
    EVENT(a, EVENT_INFO, &k, "task %s: added, %s%s", k.d.name, k.d.calendar[0] ? "due " : "runs by hand", k.d.calendar);
}

static void apply_remove(const struct apply *a)
{
    char name[TASK_NAME_MAX];
    struct task k;
    if (task_entry_remove_decode(a->e->payload, name)) {
        malformed(a);
        return;
    }
    if (find(a, name, &k))
        return;
    if (k.state != TASK_IDLE) {
        error_set(a->err, ERR_CONDITION, "task %s is %s on %s", name, task_state_name(k.state), k.node);
        error_set_remedy(a->err, "wait for its end: clusterctl task show %s", name);
        return;
    }
    tables_del(a->t, TABLE_TASK, name);
    EVENT(a, EVENT_INFO, &k, "task %s: removed", name);
}

static void apply_start(const struct apply *a)
{
    struct task_start s;
    struct task k;
    if (task_entry_start_decode(a->e->payload, &s)) {
        malformed(a);
        return;
    }
    if (find(a, s.name, &k))
        return;
    if (k.state != TASK_IDLE) {
        too_late(a, &k);
        return;
    }
    if (a->gate->may_run(a->gate->ctx, s.node, s.boot_id, k.d.affinity == TASK_NATIVE_LEVEL, a->err))
        return;
    k.state = TASK_STARTING;
    k.run = a->e->request_id;
    STR_COPY(k.node, s.node);
    STR_COPY(k.boot_id, s.boot_id);
    k.started_ms = a->e->time_ms;
    task_put(a->t, &k);
}

static void to_idle(struct task *k)
{
    k->state = TASK_IDLE;
    k->run = k->claim = (struct uuid){{0}};
    k->node[0] = k->boot_id[0] = '\0';
    k->started_ms = 0;
}

/* What was due when the leader asked for it is done by this run, however often it was. */
static void claim(const struct apply *a, struct task *k, const struct task_note *n)
{
    if (a->gate->may_run(a->gate->ctx, k->node, k->boot_id, k->d.affinity == TASK_NATIVE_LEVEL, a->err))
        return;
    k->state = TASK_RUNNING;
    k->claim = n->claim;
    k->after_ms = k->started_ms;
    k->started_ms = a->e->time_ms;
    if (k->requested)
        EVENT(a, EVENT_INFO, k, "task %s: runs on %s, by hand", k->d.name, k->node);
    k->requested = false;
    k->passed_over[0] = '\0';
    task_put(a->t, k);
}

static void withdraw(const struct apply *a, struct task *k)
{
    STR_COPY(k->passed_over, k->node);
    to_idle(k);
    task_put(a->t, k);
}

static void set_blocked(const struct apply *a, struct task *k, bool blocked)
{
    if (k->blocked == blocked)
        return;
    k->blocked = blocked;
    EVENT(a, EVENT_INFO, k,
          blocked ? "task %s: blocked until the level is raised: no member's platform is that of the level any more"
                  : "task %s: is not blocked any more: there are members with the platform of the level",
          k->d.name);
    task_put(a->t, k);
}

static void request(const struct apply *a, struct task *k)
{
    if (k->state != TASK_IDLE) {
        error_set(a->err, ERR_CONDITION, "task %s is %s on %s already", k->d.name, task_state_name(k->state), k->node);
        error_set_remedy(a->err, "wait for its end: clusterctl task show %s", k->d.name);
        return;
    }
    if (k->blocked) {
        error_set(a->err, ERR_CONDITION, "task %s is blocked until the level is raised", k->d.name);
        error_set_remedy(a->err, "clusterctl level raise");
        return;
    }
    k->requested = true;
    task_put(a->t, k);
}

static void apply_note(const struct apply *a)
{
    struct task_note n;
    struct task k;
    if (task_entry_note_decode(a->e->payload, &n)) {
        malformed(a);
        return;
    }
    if (find(a, n.name, &k))
        return;
    bool is_run = uuid_eq(&k.run, &n.run);
    if ((n.verb == TASK_NOTE_CLAIM || n.verb == TASK_NOTE_WITHDRAWN) && (k.state != TASK_STARTING || !is_run)) {
        too_late(a, &k);
        return;
    }
    switch (n.verb) {
    case TASK_NOTE_REQUEST: request(a, &k); break;
    case TASK_NOTE_CLAIM: claim(a, &k, &n); break;
    case TASK_NOTE_WITHDRAWN: withdraw(a, &k); break;
    case TASK_NOTE_BLOCKED: set_blocked(a, &k, true); break;
    case TASK_NOTE_UNBLOCKED: set_blocked(a, &k, false); break;
    case TASK_NOTE_DRAIN:
        if (is_run && k.state == TASK_RUNNING)
            EVENT(a, EVENT_INFO, &k, "%s: its drain waits for task %s, which ends within %" PRId64 " s", k.node,
                  k.d.name, (task_left_ms(&k, a->e->time_ms) + 999) / 1000);
        break;
    case TASK_NOTE_CLOCK:
        k.after_ms = a->e->time_ms;
        task_put(a->t, &k);
        break;
    }
}

/* One that fails every minute is told of once, and once more when it does not any more: the journal is short. */
static void tell_end(const struct apply *a, const struct task *k, const struct task_end *n)
{
    const char *colon = n->output[0] ? ": " : "";
    if (n->result == k->result && n->result != TASK_LOST)
        return;
    switch (n->result) {
    case TASK_FAILED:
        if (n->exit_code > 0)
            EVENT(a, EVENT_WARNING, k, "task %s: failed on %s with code %d%s%s", k->d.name, k->node, n->exit_code,
                  colon, n->output);
        else
            EVENT(a, EVENT_WARNING, k, "task %s: failed on %s%s%s", k->d.name, k->node, colon, n->output);
        break;
    case TASK_TIMED_OUT:
        EVENT(a, EVENT_WARNING, k, "task %s: did not end on %s within %" PRId64 " s, and was ended", k->d.name, k->node,
              k->d.timeout_ms / 1000);
        break;
    case TASK_LOST:
        EVENT(a, EVENT_WARNING, k, "task %s: the run on %s was lost%s%s", k->d.name, k->node, colon, n->output);
        break;
    case TASK_DONE:
        if (k->result != TASK_NEVER)
            EVENT(a, EVENT_INFO, k, "task %s: done on %s, after it was %s", k->d.name, k->node,
                  task_result_name(k->result));
        break;
    case TASK_NEVER: break;
    }
}

static void end_run(const struct apply *a, struct task *k, const struct task_end *n)
{
    tell_end(a, k, n);
    k->result = n->result;
    STR_COPY(k->last_node, k->node);
    k->last_started_ms = k->started_ms;
    k->last_ended_ms = a->e->time_ms;
    k->exit_code = n->exit_code;
    STR_COPY(k->output, n->output);
    k->runs++;
    k->failures += n->result != TASK_DONE;
    to_idle(k);
    task_put(a->t, k);
}

static void apply_end(const struct apply *a)
{
    struct task_end n;
    struct task k;
    if (task_entry_end_decode(a->e->payload, &n)) {
        malformed(a);
        return;
    }
    if (find(a, n.name, &k))
        return;
    if (k.state != TASK_RUNNING || !uuid_eq(&k.run, &n.run)) {
        too_late(a, &k);
        return;
    }
    if (n.by_leader && !a->gate->is_over(a->gate->ctx, k.node, k.boot_id)) {
        error_set(a->err, ERR_AGAIN, "task %s may still run on %s", k.d.name, k.node);
        return;
    }
    end_run(a, &k, &n);
}

void task_node_lost(struct tables *t, const char *node, int64_t time_ms)
{
    const struct entry e = {.time_ms = time_ms};
    const struct apply a = {.t = t, .e = &e};
    const struct task_end lost = {.result = TASK_LOST, .exit_code = -1, .output = "its node was fenced"};
    struct task k;
    while (task_is_on(t, node, &k))
        end_run(&a, &k, &lost);
}

void task_apply(struct tables *t, const struct task_gate *gate, const struct entry *e, struct apply_result *ret)
{
    const struct apply a = {.t = t, .gate = gate, .e = e, .err = &ret->error};
    switch ((enum entry_kind)e->kind) {
    case ENTRY_TASK_SET: apply_set(&a); break;
    case ENTRY_TASK_REMOVE: apply_remove(&a); break;
    case ENTRY_TASK_START: apply_start(&a); break;
    case ENTRY_TASK_END: apply_end(&a); break;
    case ENTRY_TASK_NOTE: apply_note(&a); break;
    default: malformed(&a); break;
    }
}
