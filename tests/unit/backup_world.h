/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One VM's backups and whoever acts on them: what is proposed is applied at once, calls are kept. */
#pragma once

#include "tests/unit/unit.h"

#include <stdio.h>

#include "backup/job-entry.h"
#include "common/journal.h"

enum { CALLS_MAX = 64 };
#define T0   INT64_C(1764000000000) /* 2025-11-24T16:00:00Z, a Monday */
#define BOOT "boot-a"

struct bw {
    struct tables *t;
    struct backup_leader *leader;
    struct backup_local *local;
    struct backup_vm vm;   /* of every VM */
    struct backup_vm node; /* the only one that restores are for */
    bool no_vm;
    struct backup_view v;
    struct backup_self self;
    struct backup_env env;
    struct log_sink sink;
    int64_t wall_ms; /* of entries */
    bool refuses;    /* what is proposed is not applied */
    bool over;       /* of every node */
    struct apply_result last;
    struct uuid last_id;
    unsigned proposed, serial;
    struct backup_call calls[CALLS_MAX];
    size_t n_calls;
};

static bool bw_look(void *ctx, const char *vm, struct backup_vm *ret)
{
    struct bw *w = ctx;
    (void)vm;
    *ret = w->vm;
    return !w->no_vm;
}

static bool bw_look_at_node(void *ctx, const char *node, struct backup_vm *ret)
{
    struct bw *w = ctx;
    *ret = w->node;
    return str_eq(node, w->node.node);
}

static bool bw_is_over(void *ctx, const char *node, const char *boot_id)
{
    (void)node, (void)boot_id;
    return ((struct bw *)ctx)->over;
}

/* Takes the payload; the answer's code. */
static int bw_apply(struct bw *w, enum entry_kind kind, struct buf *b)
{
    const struct backup_gate gate = {.eye = {w, bw_look, bw_look_at_node}, .tables = w, .is_over = bw_is_over};
    struct entry e = {.kind = (uint16_t)kind, .time_ms = w->wall_ms, .payload = buf_slice(b)};
    e.request_id.b[0] = (uint8_t)++w->serial;
    e.request_id.b[15] = 1;
    w->last_id = e.request_id;
    w->last = (struct apply_result){0};
    backup_apply(w->t, &gate, &e, &w->last);
    buf_done(b);
    return w->last.error.code;
}

static void bw_propose(void *ctx, enum entry_kind kind, struct buf *payload, const char *key)
{
    struct bw *w = ctx;
    (void)key;
    w->proposed++;
    if (w->refuses)
        buf_done(payload);
    else
        bw_apply(w, kind, payload);
}

static uint64_t bw_call(void *ctx, struct backup_call *call)
{
    struct bw *w = ctx;
    assert_true(w->n_calls < CALLS_MAX);
    w->calls[w->n_calls++] = *call;
    *call = (struct backup_call){0};
    return 100 + w->n_calls;
}

static struct uuid bw_uuid(void *ctx)
{
    return (struct uuid){{0xc1, (uint8_t)++((struct bw *)ctx)->serial}};
}

static inline int bw_repository(struct bw *w, const char *name, const char *path)
{
    struct repository_row r = {0};
    struct buf b = {0};
    STR_COPY(r.name, name);
    STR_COPY(r.path, path);
    backup_entry_repository(&r, (struct slice){(const uint8_t *)"sealed", 6}, &b);
    return bw_apply(w, ENTRY_REPOSITORY_SET, &b);
}

static inline int bw_repository_remove(struct bw *w, const char *name)
{
    struct buf b = {0};
    backup_entry_repository_remove(name, &b);
    return bw_apply(w, ENTRY_REPOSITORY_REMOVE, &b);
}

static inline int bw_start(struct bw *w, const char *vm, const char *repository)
{
    struct backup_start s = {.q = {.limit_bytes = 4096}};
    struct buf b = {0};
    STR_COPY(s.vm, vm);
    STR_COPY(s.q.repository, repository);
    backup_entry_start(&s, &b);
    return bw_apply(w, ENTRY_BACKUP_START, &b);
}

static inline int bw_restore(struct bw *w, const char *vm, struct uuid point, const char *node)
{
    struct backup_start s = {
        .q = {.work = BACKUP_WORK_RESTORE, .point = point, .repository = "main", .folder = "/srv/new", .as = "vm9"}};
    struct buf b = {0};
    STR_COPY(s.vm, vm);
    STR_COPY(s.node, node);
    backup_entry_start(&s, &b);
    return bw_apply(w, ENTRY_BACKUP_START, &b);
}

static inline int bw_verify(struct bw *w, const char *vm, struct uuid point, const char *repository)
{
    struct backup_start s = {.q = {.work = BACKUP_WORK_VERIFY, .point = point}};
    struct buf b = {0};
    STR_COPY(s.vm, vm);
    STR_COPY(s.node, w->node.node);
    STR_COPY(s.q.repository, repository);
    backup_entry_start(&s, &b);
    return bw_apply(w, ENTRY_BACKUP_START, &b);
}

static inline struct backup bw_row(const struct bw *w, const char *vm)
{
    struct backup k;
    assert_int_equal(backup_get(w->t, vm, &k), 0);
    return k;
}

static inline int bw_note_of(struct bw *w, const char *vm, enum backup_note_verb verb, struct uuid run)
{
    struct backup_note n = {.verb = verb, .run = run};
    struct buf b = {0};
    if (verb == BACKUP_NOTE_CLAIM)
        n.claim = bw_uuid(w);
    STR_COPY(n.vm, vm);
    backup_entry_note(&n, &b);
    return bw_apply(w, ENTRY_BACKUP_NOTE, &b);
}

static inline int bw_note(struct bw *w, const char *vm, enum backup_note_verb verb)
{
    struct backup k = {0};
    backup_get(w->t, vm, &k);
    return bw_note_of(w, vm, verb, k.run);
}

/* The document of a point, as a worker gives it; the caller frees. */
static inline char *bw_point(const char *vm, struct uuid uuid, const char *engine)
{
    struct refpoint *p = xcalloc(1, sizeof *p);
    *p = (struct refpoint){.uuid = uuid, .sequence = 1, .created_ms = T0, .n_disks = 1};
    STR_COPY(p->vm, vm);
    STR_COPY(p->engine, engine);
    p->disks[0] = (struct refpoint_disk){
        .name = "vda", .tracking = {{7}}, .bytes = 1 << 20, .reason = "", .read_bytes = 8192, .stored_bytes = 4096};
    STR_COPY(p->disks[0].engine, engine);
    struct json *j = refpoint_json(p);
    char *text = json_dump(j);
    json_free(j);
    free(p);
    return text;
}

static inline int bw_end_with(struct bw *w, const char *vm, enum backup_result result, bool by_leader, char *point)
{
    struct backup_end n = {.result = result, .by_leader = by_leader, .point = point};
    struct buf b = {0};
    STR_COPY(n.vm, vm);
    n.run = bw_row(w, vm).run;
    if (result == BACKUP_DONE) {
        snprintf(n.checkpoint, sizeof n.checkpoint, BACKUP_CHECKPOINT_PREFIX "%s", uuid_str(&n.run).s);
        n.checkpoint_xml = xstrdup("<domaincheckpoint/>");
        n.pause_ms = 12;
    } else {
        n.code = result == BACKUP_CANCELLED ? 0 : ERR_CONDITION;
        STR_COPY(n.text, "no space");
    }
    backup_entry_end(&n, &b);
    backup_end_done(&n);
    return bw_apply(w, ENTRY_BACKUP_END, &b);
}

static inline int bw_end(struct bw *w, const char *vm, enum backup_result result)
{
    bool is_done = result == BACKUP_DONE;
    return bw_end_with(w, vm, result, false, is_done ? bw_point(vm, bw_row(w, vm).run, "full") : NULL);
}

/* One that is done. Its point. */
static inline struct uuid bw_backup(struct bw *w, const char *vm, const char *repository)
{
    w->wall_ms += 1000;
    assert_int_equal(bw_start(w, vm, repository), 0);
    assert_int_equal(bw_note(w, vm, BACKUP_NOTE_CLAIM), 0);
    struct uuid run = bw_row(w, vm).run;
    assert_int_equal(bw_end(w, vm, BACKUP_DONE), 0);
    return run;
}

static inline int bw_schedule(struct bw *w, const char *vm, const char *calendar)
{
    struct backup_schedule s = {.q = {.repository = "main"}};
    struct buf b = {0};
    STR_COPY(s.vm, vm);
    STR_COPY(s.calendar, calendar);
    backup_entry_schedule(&s, &b);
    return bw_apply(w, ENTRY_BACKUP_SCHEDULE, &b);
}

static inline void bw_lead(struct bw *w, int64_t ms)
{
    w->v.now_ms += ms;
    w->wall_ms += ms;
    w->v.wall_ms = w->wall_ms;
    backup_leader_step(w->leader, w->t, &w->v, &w->env);
}

static inline void bw_local(struct bw *w, int64_t ms)
{
    w->v.now_ms += ms;
    w->wall_ms += ms;
    backup_local_step(w->local, w->t, &w->self, w->v.now_ms, &w->env);
}

/* Of the newest call. */
static inline void bw_outcome(struct bw *w, const struct backup_outcome *o)
{
    assert_true(backup_local_outcome(w->local, w->v.now_ms, 100 + w->n_calls, o, &w->env));
}

static inline enum backup_verb bw_last_verb(const struct bw *w)
{
    return w->n_calls ? w->calls[w->n_calls - 1].verb : 0;
}

static int bw_setup(void **state)
{
    struct bw *w = xcalloc(1, sizeof *w);
    w->t = tables_new();
    w->leader = backup_leader_new();
    w->local = backup_local_new();
    w->wall_ms = T0;
    w->vm = (struct backup_vm){.runs = true, .accepts = true, .present = true, .epoch = 2, .node = "n1",
                               .boot_id = BOOT};
    w->node = (struct backup_vm){.accepts = true, .present = true, .node = "n1", .boot_id = BOOT};
    w->v = (struct backup_view){.now_ms = 1000,
                                .wall_ms = T0,
                                .settings = {.wait_ms = 600000, .runs_per_node = 2},
                                .eye = {w, bw_look, bw_look_at_node},
                                .is_over = bw_is_over,
                                .tables = w};
    w->self = (struct backup_self){.node = "n1",
                                   .boot_id = BOOT,
                                   .may_start = true,
                                   .quorate = true,
                                   .is_current = true,
                                   .eye = {w, bw_look, bw_look_at_node}};
    w->env = (struct backup_env){.ctx = w, .propose = bw_propose, .call = bw_call, .new_uuid = bw_uuid,
                                 .log = &w->sink};
    *state = w;
    assert_int_equal(bw_repository(w, "main", "/srv/backup"), 0);
    return 0;
}

static int bw_teardown(void **state)
{
    struct bw *w = *state;
    tables_free(w->t);
    backup_leader_free(w->leader);
    backup_local_free(w->local);
    for (size_t i = 0; i < w->n_calls; i++)
        backup_call_done(&w->calls[i]);
    free(w);
    return 0;
}

#define BW_TEST(f) cmocka_unit_test_setup_teardown(f, bw_setup, bw_teardown)
