/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "task/io/runner.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "agent/io/process.h"
#include "agent/io/runnable.h"
#include "agent/io/units.h"

#define SLICE     "ringmaster-task.slice"
#define ALL_UNITS "ringmaster-task-*.service"

enum {
    SYSTEMD_MS = 30000,
    STOP_S = 10, /* from SIGTERM to SIGKILL */
    LINES = 3,
    FIXED_ARGUMENTS = 16,
};

static void unit_of(const char *task, char *ret, size_t size)
{
    snprintf(ret, size, "ringmaster-task-%s.service", task);
}

/* The unit's description: tells this run's from another one's. */
static void mark_of(const struct task_call *c, char *ret, size_t size)
{
    snprintf(ret, size, "Ringmaster task %s, run %s", c->name, uuid_str(&c->run).s);
}

/* ---- how it is called ---- */

static char *text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static char *text(const char *fmt, ...)
{
    char out[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(out, sizeof out, fmt, ap);
    va_end(ap);
    return xstrdup(out);
}

/* systemd replaces what follows a $; two of them are one. */
static char *escaped(const char *argument)
{
    char *ret = xmalloc(2 * strlen(argument) + 1), *to = ret;
    for (const char *p = argument; *p; p++) {
        *to++ = *p;
        if (*p == '$')
            *to++ = '$';
    }
    *to = '\0';
    return ret;
}

char **runner_argv(const struct task_call *c)
{
    char unit[128], mark[160];
    char **argv = xcalloc(FIXED_ARGUMENTS + TASK_ARGUMENTS_N_MAX + 2, sizeof *argv);
    size_t n = 0;
    unit_of(c->name, unit, sizeof unit);
    mark_of(c, mark, sizeof mark);
    argv[n++] = xstrdup("/usr/bin/systemd-run");
    argv[n++] = xstrdup("--quiet");
    argv[n++] = xstrdup("--service-type=exec");
    argv[n++] = xstrdup("--remain-after-exit");
    argv[n++] = xstrdup("--slice=" SLICE);
    argv[n++] = text("--unit=%s", unit);
    argv[n++] = text("--description=%s", mark);
    argv[n++] = text("--property=RuntimeMaxSec=%lldms", (long long)c->timeout_ms);
    argv[n++] = text("--property=TimeoutStopSec=%ds", STOP_S);
    argv[n++] = text("--setenv=RINGMASTER_TASK=%s", c->name);
    argv[n++] = text("--setenv=RINGMASTER_RUN_ID=%s", uuid_str(&c->run).s);
    argv[n++] = text("--setenv=RINGMASTER_NODE=%s", c->node);
    argv[n++] = text("--setenv=RINGMASTER_LEVEL=%u", c->level);
    argv[n++] = xstrdup("--");
    argv[n++] = xstrdup(c->command);
    for (size_t i = 0; i < c->arguments_len; i += strlen(c->arguments + i) + 1)
        argv[n++] = escaped(c->arguments + i);
    return argv;
}

void runner_argv_free(char **argv)
{
    for (size_t i = 0; argv[i]; i++)
        free(argv[i]);
    free(argv);
}

/* ---- calls ---- */

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void read_output(const char *invocation, struct task_outcome *o)
{
    char match[64], lines[16];
    snprintf(match, sizeof match, "_SYSTEMD_INVOCATION_ID=%s", invocation);
    snprintf(lines, sizeof lines, "--lines=%d", LINES);
    const char *argv[] = {"/usr/bin/journalctl", "--quiet", "--no-pager", "--output=cat", lines, match, NULL};
    AUTO(freep) char *printed = NULL;
    struct error e = {0};
    if (process_must(argv, SYSTEMD_MS, &printed, &e) == 0)
        unit_condense(printed, o->output, sizeof o->output);
}

/* Its end is the end of all that it began: what it left behind is ended before it is told. */
static int look(const struct task_call *c, struct task_outcome *o)
{
    char unit[128], mark[160];
    struct unit_result r = {0};
    unit_of(c->name, unit, sizeof unit);
    mark_of(c, mark, sizeof mark);
    int err = unit_of_mark(unit, mark, &r, &o->error);
    if (err || !r.loaded)
        return err; /* none */
    if (!r.ended) {
        o->unit = TASK_UNIT_RUNNING;
        return 0;
    }
    struct error none = {0};
    unit_kill(unit, &none); /* a unit without processes may say that there are none */
    o->timed_out = r.timed_out;
    o->exit_code = r.exit_code;
    read_output(r.invocation, o);
    o->unit = TASK_UNIT_ENDED;
    return 0;
}

/* FORGET, and STOP: another run's unit stays. */
static int stop(const struct task_call *c, struct error *e)
{
    char unit[128], mark[160];
    unit_of(c->name, unit, sizeof unit);
    mark_of(c, mark, sizeof mark);
    return unit_forget_of_mark(unit, mark, e);
}

static int run(const struct task_call *c, struct error *e)
{
    char unit[128], mark[160];
    char **argv = runner_argv(c);
    unit_of(c->name, unit, sizeof unit);
    mark_of(c, mark, sizeof mark);
    int err = unit_run((const char *const *)argv, unit, mark, c->command, e);
    runner_argv_free(argv);
    return err;
}

static int start(const struct task_call *c, struct task_outcome *o)
{
    char unit[128];
    unit_of(c->name, unit, sizeof unit);
    int err = runnable_check("program", c->command, 0, &o->error);
    err = err ? err : look(c, o);
    if (err || o->unit != TASK_UNIT_NONE)
        return err;
    err = unit_make_room(unit, &o->error); /* of an earlier run */
    if (err)
        return err;
    if (c->until_ms && now_ms() >= c->until_ms)
        return error_set(&o->error, ERR_AGAIN, "it is too late to begin");
    err = run(c, &o->error);
    o->unit = err ? TASK_UNIT_NONE : TASK_UNIT_RUNNING;
    return err;
}

void runner_call(const struct task_call *call, struct task_outcome *ret)
{
    struct task_outcome o = {0};
    int err = 0;
    switch (call->verb) {
    case TASK_CALL_START: err = start(call, &o); break;
    case TASK_CALL_LOOK: err = look(call, &o); break;
    case TASK_CALL_STOP:
    case TASK_CALL_FORGET: err = stop(call, &o.error); break;
    case TASK_CALL_STOP_ALL: err = units_stop_all(ALL_UNITS, SLICE, false, &o.error); break;
    }
    if (!err)
        o.error = (struct error){0};
    *ret = o;
}
