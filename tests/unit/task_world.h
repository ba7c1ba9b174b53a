/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One task's row and whoever acts on it: what is proposed is applied at once, calls are kept. */
#pragma once

#include "tests/unit/unit.h"

#include <stdio.h>

#include "task/task-entry.h"

enum { CALLS_MAX = 64 };
#define T0   INT64_C(1764000000000) /* 2025-11-24T16:00:00Z, a Monday */
#define BOOT "boot-a"

struct tw {
    struct tables *t;
    struct task_leader *leader;
    struct task_local *local;
    struct task_node nodes[3];
    struct task_view v;
    struct task_self self;
    struct task_env env;
    struct log_sink sink;
    int64_t wall_ms;      /* of entries */
    bool refuses;         /* what is proposed is not applied */
    bool over;            /* of every node */
    struct error may_run; /* of every node */
    struct apply_result last;
    unsigned proposed, serial;
    struct task_call calls[CALLS_MAX];
    size_t n_calls;
};

static int tw_may_run(void *ctx, const char *node, const char *boot_id, bool is_native, struct error *e)
{
    struct tw *w = ctx;
    (void)node, (void)boot_id, (void)is_native;
    if (w->may_run.code)
        *e = w->may_run;
    return w->may_run.code;
}

static bool tw_is_over(void *ctx, const char *node, const char *boot_id)
{
    (void)node, (void)boot_id;
    return ((struct tw *)ctx)->over;
}

/* Takes the payload; the answer's code. */
static int tw_apply(struct tw *w, enum entry_kind kind, struct buf *b)
{
    const struct task_gate gate = {.ctx = w, .may_run = tw_may_run, .is_over = tw_is_over};
    struct entry e = {.kind = (uint16_t)kind, .time_ms = w->wall_ms, .payload = buf_slice(b)};
    e.request_id.b[0] = (uint8_t)++w->serial;
    e.request_id.b[15] = 1;
    w->last = (struct apply_result){0};
    task_apply(w->t, &gate, &e, &w->last);
    buf_done(b);
    return w->last.error.code;
}

static void tw_propose(void *ctx, enum entry_kind kind, struct buf *payload, const char *key)
{
    struct tw *w = ctx;
    (void)key;
    w->proposed++;
    if (w->refuses)
        buf_done(payload);
    else
        tw_apply(w, kind, payload);
}

static uint64_t tw_call(void *ctx, const struct task_call *call)
{
    struct tw *w = ctx;
    assert_true(w->n_calls < CALLS_MAX);
    w->calls[w->n_calls++] = *call;
    return 100 + w->n_calls;
}

static struct uuid tw_uuid(void *ctx)
{
    return (struct uuid){{0xc1, (uint8_t)++((struct tw *)ctx)->serial}};
}

static int tw_add(struct tw *w, const char *name, const char *calendar, enum task_affinity affinity)
{
    struct task_definition d = {.affinity = affinity, .timeout_ms = 60000};
    struct buf b = {0};
    STR_COPY(d.name, name);
    STR_COPY(d.command, "/usr/sbin/dedup");
    STR_COPY(d.calendar, calendar);
    task_definition_add(&d, "-v");
    task_definition_add(&d, "");
    task_entry_set(&d, &b);
    return tw_apply(w, ENTRY_TASK_SET, &b);
}

static struct task tw_row(const struct tw *w, const char *name)
{
    struct task k;
    assert_int_equal(task_get(w->t, name, &k), 0);
    return k;
}

static inline int tw_note(struct tw *w, const char *name, enum task_note_verb verb)
{
    struct task k = {0};
    struct task_note n = {.verb = verb};
    struct buf b = {0};
    if (task_get(w->t, name, &k) == 0)
        n.run = k.run;
    if (verb == TASK_NOTE_CLAIM)
        n.claim = tw_uuid(w);
    STR_COPY(n.name, name);
    task_entry_note(&n, &b);
    return tw_apply(w, ENTRY_TASK_NOTE, &b);
}

static int tw_start(struct tw *w, const char *name, const char *node)
{
    struct task_start s = {.boot_id = BOOT};
    struct buf b = {0};
    STR_COPY(s.name, name);
    STR_COPY(s.node, node);
    task_entry_start(&s, &b);
    return tw_apply(w, ENTRY_TASK_START, &b);
}

static inline int tw_end(struct tw *w, const char *name, enum task_result result, bool by_leader)
{
    struct task_end n = {
        .result = result, .by_leader = by_leader, .exit_code = result == TASK_FAILED ? 3 : 0, .output = "bye"};
    struct buf b = {0};
    STR_COPY(n.name, name);
    n.run = tw_row(w, name).run;
    task_entry_end(&n, &b);
    return tw_apply(w, ENTRY_TASK_END, &b);
}

static inline void tw_lead(struct tw *w, int64_t ms)
{
    w->v.now_ms += ms;
    w->wall_ms += ms;
    w->v.wall_ms = w->wall_ms;
    task_leader_step(w->leader, w->t, &w->v, &w->env);
}

static inline void tw_local(struct tw *w, int64_t ms)
{
    w->v.now_ms += ms;
    w->wall_ms += ms;
    task_local_step(w->local, w->t, &w->self, w->v.now_ms, &w->env);
}

/* Of the newest call. */
static inline void tw_outcome(struct tw *w, const struct task_outcome *o)
{
    assert_true(task_local_outcome(w->local, w->v.now_ms, 100 + w->n_calls, o, &w->env));
}

static inline enum task_verb tw_last_verb(const struct tw *w)
{
    return w->n_calls ? w->calls[w->n_calls - 1].verb : 0;
}

static int tw_setup(void **state)
{
    struct tw *w = xcalloc(1, sizeof *w);
    w->t = tables_new();
    w->leader = task_leader_new();
    w->local = task_local_new();
    w->wall_ms = T0;
    for (size_t i = 0; i < 3; i++) {
        w->nodes[i] = (struct task_node){
            .native_level = 1, .present = true, .ready = true, .active = true, .stays = true, .boot_id = BOOT};
        snprintf(w->nodes[i].name, sizeof w->nodes[i].name, "n%zu", i + 1);
    }
    w->v = (struct task_view){
        .nodes = w->nodes, .n = 3, .fl = 1, .now_ms = 1000, .wall_ms = T0, .is_over = tw_is_over, .ctx = w};
    w->self = (struct task_self){.node = "n1", .boot_id = BOOT, .level = 1, .may_start = true, .quorate = true};
    w->env = (struct task_env){.ctx = w, .propose = tw_propose, .call = tw_call, .new_uuid = tw_uuid, .log = &w->sink};
    *state = w;
    return 0;
}

static int tw_teardown(void **state)
{
    struct tw *w = *state;
    tables_free(w->t);
    task_leader_free(w->leader);
    task_local_free(w->local);
    free(w);
    return 0;
}

#define TW_TEST(f) cmocka_unit_test_setup_teardown(f, tw_setup, tw_teardown)
