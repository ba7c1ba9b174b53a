/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The member that is to run a task: claims the run, begins its program, looks how it goes, reports its end.
 *
 *   row          STARTING          RUNNING, own claim             RUNNING                    IDLE, or another run
 *   ──> (CLAIM proposed) ──> START, once, at once ──> LOOK … LOOK ──> (END proposed) ──> FORGET, or STOP if it runs on
 *
 *   L1 START is called only for a claim that this very agent drew, and saw committed, and as soon as it did: a later
 *      agent of this node only looks, and reports as lost what it does not find.
 *   L2 START begins before until_ms or never; nothing is claimed or begun without a quorum.
 *   L3 cut off (self->fence): all tasks' programs on this host are ended, whatever the rows say, and again after a
 *      START that was under way then. What was claimed and not begun then never begins. */
#include <stdio.h>

#include "task/task.h"

struct watch {
    char name[TASK_NAME_MAX]; /* "": free */
    struct uuid run, claim;   /* claim nil: another agent's */
    bool begun;               /* START was called, or must not be any more */
    uint64_t call;            /* under way; 0: none */
    enum task_verb verb;
    int64_t look_ms, since_ms; /* the next LOOK; when this agent saw it first */
    bool missing;              /* one LOOK did not find it */
    bool ended;
    struct task_end end;
};
struct task_local {
    struct watch watches[TASKS_MAX];
    bool is_fencing, is_clear; /* all are ended, and nothing was begun since */
    int64_t stop_ms;           /* they are not told to end before that */
    uint64_t stop_call;
};

struct task_local *task_local_new(void)
{
    return xcalloc(1, sizeof(struct task_local));
}

void task_local_free(struct task_local *l)
{
    free(l);
}

static struct watch *find_watch(struct task_local *l, const char *name)
{
    for (size_t i = 0; i < TASKS_MAX; i++)
        if (str_eq(l->watches[i].name, name))
            return &l->watches[i];
    return NULL;
}

/* The one of that run; a new one where there is none. NULL: what an earlier run left is not over yet. */
static struct watch *watch_of(struct task_local *l, const struct task *k, int64_t now_ms)
{
    struct watch *w = find_watch(l, k->d.name);
    if (w)
        return uuid_eq(&w->run, &k->run) ? w : NULL;
    w = find_watch(l, "");
    if (!w)
        return NULL;
    *w = (struct watch){.run = k->run, .since_ms = now_ms};
    STR_COPY(w->name, k->d.name);
    return w;
}

static void call(struct watch *w, struct task_call *c, enum task_verb verb, const struct task_env *env)
{
    c->verb = verb;
    c->run = w->run;
    STR_COPY(c->name, w->name);
    w->verb = verb;
    w->call = env->call(env->ctx, c);
}

static void call_plain(struct watch *w, enum task_verb verb, const struct task_env *env)
{
    struct task_call c = {0};
    call(w, &c, verb, env);
}

static void end(struct watch *w, enum task_result result, int exit_code, const char *output)
{
    w->ended = true;
    w->end = (struct task_end){.run = w->run, .result = result, .exit_code = exit_code};
    STR_COPY(w->end.name, w->name);
    STR_COPY(w->end.output, output);
}

/* ---- what the rows want ---- */

static void propose_claim(struct watch *w, const struct task_env *env)
{
    struct task_note n = {.verb = TASK_NOTE_CLAIM, .run = w->run};
    struct buf b = {0};
    char key[TASK_NAME_MAX + 16];
    if (uuid_is_nil(&w->claim))
        w->claim = env->new_uuid(env->ctx);
    n.claim = w->claim;
    STR_COPY(n.name, w->name);
    task_entry_note(&n, &b);
    snprintf(key, sizeof key, "task-claim/%s", w->name);
    env->propose(env->ctx, ENTRY_TASK_NOTE, &b, key);
}

static void propose_end(const struct watch *w, const struct task_env *env)
{
    struct buf b = {0};
    char key[TASK_NAME_MAX + 16];
    task_entry_end(&w->end, &b);
    snprintf(key, sizeof key, "task-end/%s", w->name);
    env->propose(env->ctx, ENTRY_TASK_END, &b, key);
}

static void begin(struct watch *w, const struct task *k, const struct task_self *self, int64_t now_ms,
                  const struct task_env *env)
{
    struct task_call c = {.level = self->level,
                          .native_level = k->d.affinity == TASK_NATIVE_LEVEL,
                          .timeout_ms = k->d.timeout_ms,
                          .until_ms = now_ms + TASK_BEGIN_MS};
    w->begun = true;
    if (!self->may_start) {
        end(w, TASK_LOST, -1, "it was not begun: its node lost the quorum");
        return;
    }
    if (self->until_ms && self->until_ms < c.until_ms)
        c.until_ms = self->until_ms;
    STR_COPY(c.command, k->d.command);
    memcpy(c.arguments, k->d.arguments, k->d.arguments_len);
    c.arguments_len = k->d.arguments_len;
    STR_COPY(c.node, self->node);
    log_notice(env->log, "task %s is to run here -> %s", k->d.name, k->d.command);
    call(w, &c, TASK_CALL_START, env);
}

static void follow(struct watch *w, const struct task *k, const struct task_self *self, int64_t now_ms,
                   const struct task_env *env)
{
    bool is_own = !uuid_is_nil(&w->claim) && uuid_eq(&w->claim, &k->claim);
    if (w->call)
        return;
    if (w->ended) {
        if (self->quorate)
            propose_end(w, env);
    } else if (is_own && !w->begun) {
        begin(w, k, self, now_ms, env);
    } else if (now_ms >= w->look_ms) {
        call_plain(w, TASK_CALL_LOOK, env);
    }
}

static void step_row(struct task_local *l, const struct task *k, const struct task_self *self, int64_t now_ms,
                     const struct task_env *env)
{
    struct watch *w = watch_of(l, k, now_ms);
    if (!w)
        return;
    if (k->state == TASK_RUNNING)
        follow(w, k, self, now_ms, env);
    else if (self->may_start)
        propose_claim(w, env);
}

/* The row is at something else: what is left of the run goes. */
static void let_go(struct watch *w, const struct task_env *env)
{
    if (w->call)
        return;
    if (w->begun || uuid_is_nil(&w->claim))
        call_plain(w, w->ended ? TASK_CALL_FORGET : TASK_CALL_STOP, env);
    else
        w->name[0] = '\0'; /* never begun */
}

static bool is_here(const struct task *k, const struct task_self *self)
{
    return k->state != TASK_IDLE && str_eq(k->node, self->node) && str_eq(k->boot_id, self->boot_id);
}

static void step_watch(struct watch *w, const struct tables *t, const struct task_self *self,
                       const struct task_env *env)
{
    struct task k;
    bool is_wanted = task_get(t, w->name, &k) == 0 && is_here(&k, self) && uuid_eq(&k.run, &w->run);
    if (!is_wanted)
        let_go(w, env);
}

static void step_fence(struct task_local *l, const struct task_self *self, int64_t now_ms, const struct task_env *env)
{
    struct task_call c = {.verb = TASK_CALL_STOP_ALL};
    if (self->fence != l->is_fencing)
        l->is_clear = false;
    l->is_fencing = self->fence;
    if (!self->fence)
        return;
    for (size_t i = 0; i < TASKS_MAX; i++)
        l->watches[i].begun = true;
    if (!l->is_clear && !l->stop_call && now_ms >= l->stop_ms)
        l->stop_call = env->call(env->ctx, &c);
}

void task_local_step(struct task_local *l, const struct tables *t, const struct task_self *self, int64_t now_ms,
                     const struct task_env *env)
{
    struct task k;
    step_fence(l, self, now_ms, env);
    if (self->fence || !self->boot_id[0])
        return;
    for (size_t i = 0; i < TASKS_MAX; i++)
        if (l->watches[i].name[0])
            step_watch(&l->watches[i], t, self, env);
    for (bool more = task_next(t, NULL, &k); more; more = task_next(t, k.d.name, &k))
        if (is_here(&k, self))
            step_row(l, &k, self, now_ms, env);
}

/* ---- outcomes ---- */

/* Not found once may be a unit that is only about to be there. */
static void take_missing(struct watch *w)
{
    if (w->missing)
        end(w, TASK_LOST, -1, uuid_is_nil(&w->claim) ? "its agent ended before it began" : "its unit is gone");
    w->missing = true;
}

static void take_unit(struct watch *w, const struct task_outcome *o)
{
    if (o->unit == TASK_UNIT_RUNNING)
        w->missing = false;
    else if (o->unit == TASK_UNIT_NONE)
        take_missing(w);
    else if (o->timed_out)
        end(w, TASK_TIMED_OUT, -1, o->output);
    else
        end(w, o->exit_code == 0 ? TASK_DONE : TASK_FAILED, o->exit_code, o->output);
}

/* But for a time-out, which says nothing: it was not begun. */
static void take_start_error(struct watch *w, const struct error *e, const struct task_env *env)
{
    char text[TASK_OUTPUT_MAX];
    log_warn(env->log, "task %s: %s", w->name, e->text);
    STR_COPY(text, e->text);
    if (e->code != ERR_TIMEOUT)
        end(w, e->code == ERR_AGAIN ? TASK_LOST : TASK_FAILED, -1, text);
}

static void take(struct watch *w, const struct task_outcome *o, const struct task_env *env)
{
    bool is_last = w->verb == TASK_CALL_FORGET || w->verb == TASK_CALL_STOP;
    if (o->error.code && w->verb == TASK_CALL_START)
        take_start_error(w, &o->error, env);
    else if (o->error.code)
        log_warn(env->log, "task %s: %s -> it is tried again", w->name, o->error.text);
    else if (is_last)
        w->name[0] = '\0';
    else
        take_unit(w, o);
}

bool task_local_outcome(struct task_local *l, int64_t now_ms, uint64_t id, const struct task_outcome *o,
                        const struct task_env *env)
{
    if (id && id == l->stop_call) {
        l->stop_call = 0;
        l->is_clear = !o->error.code;
        for (size_t i = 0; i < TASKS_MAX; i++)
            l->is_clear = l->is_clear && !(l->watches[i].call && l->watches[i].verb == TASK_CALL_START);
        if (o->error.code) {
            l->stop_ms = now_ms + TASK_STOP_MS;
            log_error(env->log, "tasks: %s", o->error.text);
        }
        return true;
    }
    for (size_t i = 0; i < TASKS_MAX; i++) {
        struct watch *w = &l->watches[i];
        if (!id || id != w->call)
            continue;
        w->call = 0;
        w->look_ms = now_ms + (now_ms - w->since_ms < 60000 ? TASK_LOOK_MS : TASK_LOOK_LATER_MS);
        if (w->verb == TASK_CALL_START)
            l->is_clear = false;
        take(w, o, env);
        return true;
    }
    return false;
}

bool task_local_is_clear(const struct task_local *l)
{
    return l->is_fencing && l->is_clear;
}

void task_local_evicted(struct task_local *l, const struct task_env *env)
{
    struct task_call c = {.verb = TASK_CALL_STOP_ALL};
    l->stop_call = env->call(env->ctx, &c);
}
