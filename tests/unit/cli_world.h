/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A world for clusterctl: an agent of canned answers, a clock that only sleeping turns, a terminal that is a buffer. */
#pragma once

#include "tests/unit/unit.h"

#include <stdio.h>

#include "cli/call.h"
#include "common/proto.h"

enum { WORLD_ANSWERS_MAX = 64 };

struct world_answer {
    const char *verb; /* NULL: any */
    const char *data; /* JSON of an answer's data; NULL: error only */
    int code;         /* an ERR_…; of the answer, or (no_answer) of there being none */
    const char *text, *remedy;
    bool no_answer;
    bool stays; /* also for further requests of the verb */
};

struct world {
    struct world_answer answers[WORLD_ANSWERS_MAX];
    bool used[WORLD_ANSWERS_MAX];
    size_t n_answers;
    struct buf requests; /* "verb args" a line */
    struct buf out, err;
    int confirm; /* what the terminal answers; ERR_USAGE: there is none */
    char question[512];
    int64_t ms;              /* since the start */
    int64_t interrupt_at_ms; /* 0: never */
    size_t n_ids;
    bool live;
    const char *root; /* of a support bundle; NULL: the real one */
};

static inline void world_done(struct world *w)
{
    buf_done(&w->requests);
    buf_done(&w->out);
    buf_done(&w->err);
}

static inline void world_answer(struct world *w, struct world_answer a)
{
    assert_true(w->n_answers < WORLD_ANSWERS_MAX);
    w->answers[w->n_answers++] = a;
}

static inline void world_data(struct world *w, const char *verb, const char *data)
{
    world_answer(w, (struct world_answer){.verb = verb, .data = data});
}

static inline struct json *world_json(const char *text)
{
    struct json *j = NULL;
    struct error e = {0};
    if (json_parse(text, strlen(text), &j, &e))
        fail_msg("%s: %s", text, e.text);
    return j;
}

/* A file of tests/unit/data; the caller frees. */
static inline char *world_fixture(const char *name)
{
    char path[4096];
    const char *top = getenv("top_srcdir");
    snprintf(path, sizeof(path), "%s/tests/unit/data/%s", top ? top : ".", name);
    FILE *f = fopen(path, "r");
    if (!f)
        fail_msg("%s cannot be opened", path);
    struct buf b = {0};
    char chunk[4096];
    for (size_t n; (n = fread(chunk, 1, sizeof(chunk), f)) > 0;)
        buf_add(&b, chunk, n);
    fclose(f);
    return buf_steal_str(&b);
}

static inline struct world_answer *world_next(struct world *w, const char *verb)
{
    for (size_t i = 0; i < w->n_answers; i++) {
        if (w->used[i] || (w->answers[i].verb && !str_eq(w->answers[i].verb, verb)))
            continue;
        w->used[i] = !w->answers[i].stays;
        return &w->answers[i];
    }
    fail_msg("unexpected request: %s", verb);
    return NULL;
}

static inline int world_ask(void *ctx, const struct json *request, int64_t timeout_ms, bool again,
                            struct json **ret_answer, struct error *e)
{
    struct world *w = ctx;
    const char *verb, *id;
    const struct json *args;
    assert_true(timeout_ms > 0);
    assert_int_equal(again, timeout_ms > 10 * 1000); /* a poll looks again by itself, and says so */
    assert_int_equal(proto_parse_request(request, &verb, &id, &args, NULL), 0);
    AUTO(freep) char *text = json_dump(args);
    buf_printf(&w->requests, "%s %s\n", verb, text);
    const struct world_answer *a = world_next(w, verb);
    struct error why = {0};
    if (a->code) {
        error_set(&why, a->code, "%s", a->text ? a->text : "no");
        error_set_remedy(&why, "%s", a->remedy ? a->remedy : "");
    }
    if (a->no_answer) {
        *e = why;
        return why.code;
    }
    *ret_answer = proto_answer(verb, id, &why, a->data ? world_json(a->data) : NULL);
    return 0;
}

static inline struct uuid world_new_id(void *ctx)
{
    struct world *w = ctx;
    return (struct uuid){.b = {[6] = 0x40, [8] = 0x80, [15] = (uint8_t)++w->n_ids}};
}

static inline int world_confirm(void *ctx, const char *question)
{
    struct world *w = ctx;
    STR_COPY(w->question, question);
    return w->confirm;
}

static inline void world_write(void *ctx, enum stream stream, const char *text, size_t len)
{
    struct world *w = ctx;
    buf_add(stream == STREAM_OUT ? &w->out : &w->err, text, len);
}

static inline int64_t world_now_ms(void *ctx)
{
    return ((struct world *)ctx)->ms;
}

static inline int64_t world_wall_ms(void *ctx) /* 2026-11-22T12:00:00Z at the start */
{
    return INT64_C(1795348800000) + ((struct world *)ctx)->ms;
}

static inline void world_hold_interrupts(void *ctx)
{
    (void)ctx;
}

static inline bool world_sleep(void *ctx, int64_t ms)
{
    struct world *w = ctx;
    w->ms += ms;
    return w->interrupt_at_ms == 0 || w->ms < w->interrupt_at_ms;
}

static inline size_t world_width(void *ctx)
{
    return ((struct world *)ctx)->live ? 80 : 0;
}

static inline size_t world_height(void *ctx)
{
    return ((struct world *)ctx)->live ? 24 : 0;
}

/* A command line, split at blanks ('' is an empty word), after "clusterctl". Gives the exit code. */
static inline int world_run(struct world *w, const char *line)
{
    char copy[1024], *argv[32] = {(char *)(uintptr_t) "clusterctl"}, *rest = NULL;
    int argc = 1;
    STR_COPY(copy, line);
    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        assert_true(argc < 31);
        argv[argc++] = str_eq(word, "''") ? word + 2 : word;
    }
    const struct cli_env env = {
        .ctx = w,
        .ask = world_ask,
        .new_id = world_new_id,
        .confirm = world_confirm,
        .write = world_write,
        .now_ms = world_now_ms,
        .wall_ms = world_wall_ms,
        .hold_interrupts = world_hold_interrupts,
        .sleep = world_sleep,
        .width = world_width,
        .height = world_height,
        .root = w->root ? w->root : "",
        .live = w->live,
    };
    int code = cli_run(&env, argc, argv);
    buf_add(&w->out, "", 1); /* as strings from here on */
    buf_add(&w->err, "", 1);
    buf_add(&w->requests, "", 1);
    w->out.len--, w->err.len--, w->requests.len--;
    return code;
}

#define WORLD_OUT(w)      ((const char *)(w)->out.p)
#define WORLD_ERR(w)      ((const char *)(w)->err.p)
#define WORLD_REQUESTS(w) ((const char *)(w)->requests.p)
#define assert_contains(text, part)                                                                                    \
    do {                                                                                                               \
        if (!strstr((text), (part)))                                                                                   \
            fail_msg("\"%s\" is not in:\n%s", (part), (text));                                                         \
    } while (0)
#define assert_lacks(text, part)                                                                                       \
    do {                                                                                                               \
        if (strstr((text), (part)))                                                                                    \
            fail_msg("\"%s\" is in:\n%s", (part), (text));                                                             \
    } while (0)
