/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "upgrade/io/executor.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/io/files.h"
#include "agent/io/pki.h"
#include "agent/io/process.h"
#include "agent/io/runnable.h"
#include "agent/io/units.h"

enum {
    STOP_S = 5,        /* from SIGTERM to SIGKILL */
    SLACK_MS = 15000,  /* what systemd may take beyond the hook's own time limit */
    TRIES = 3,         /* a leftover unit is ended, and the call made again */
    VARIABLES_MAX = 6, /* with the NULL at the end */
    ARGUMENTS_MAX = 24,
};

#define RUN_DIR "/run/ringmaster"
#define IN_PLACE RINGMASTER_LIBEXEC_DIR "/upgrade-in-place"

/* ---- what it is given ---- */

struct task {
    const struct executor_env *env;
    const struct hook_call *call;
    const char *path, *verb;
    char unit[sizeof("ringmaster-op---.service") + HOOK_OP_ID_MAX + 8];
    char mark[sizeof("ringmaster hook, call ") +
              UUID_STR_SIZE]; /* the unit's description: tells this call's from an old one */
    char join_path[sizeof(RUN_DIR "/join-.json") + HOOK_OP_ID_MAX];
    char join_file[FILES_PATH_MAX]; /* with the prefix; "": none */
    char variables[VARIABLES_MAX - 1][FILES_PATH_MAX + 64];
    size_t n_variables;
};

static bool is_in_place(const struct hook_call *call)
{
    return str_eq(call->path, EXECUTOR_IN_PLACE);
}

static bool is_op_id(const char *s)
{
    return s[0] != '\0' && s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0';
}

static void put(struct task *t, const char *name, const char *value)
{
    assert(t->n_variables < VARIABLES_MAX - 1);
    char *dst = t->variables[t->n_variables++];
    int n = snprintf(dst, sizeof(t->variables[0]), "%s=%s", name, value);
    assert(n > 0 && (size_t)n < sizeof(t->variables[0]));
}

static int task_init(struct task *t, const struct executor_env *env, const struct hook_call *call, struct error *e)
{
    *t = (struct task){.env = env, .call = call, .path = call->path, .verb = hook_verb_name(call->verb)};
    if (is_in_place(call))
        t->path = env->in_place ? env->in_place : IN_PLACE;
    if (!t->verb || !is_op_id(call->op_id) || call->timeout_ms <= 0)
        return error_set(e, ERR_MALFORMED, "a hook call without a verb, an operation id of [a-z0-9-] or a time limit");
    snprintf(t->unit, sizeof(t->unit), "ringmaster-op-%s-%s.service", call->op_id, t->verb);
    struct uuid id = pki_uuid();
    snprintf(t->mark, sizeof(t->mark), "ringmaster hook, call %s", uuid_str(&id).s);
    put(t, "RINGMASTER_OP_ID", call->op_id);
    put(t, "RINGMASTER_NODE", call->node);
    put(t, "RINGMASTER_ADDRESS", call->address);
    put(t, "RINGMASTER_TARGET", call->target);
    return 0;
}

/* The token leaves its seal here, for as long as start runs. */
static int task_join_file(struct task *t, struct error *e)
{
    AUTO(cluster_key_wipe) struct cluster_key key = {0};
    AUTO(pki_wipe_buf) struct buf token = {0};
    char name[sizeof(SEAL_TOKEN) + sizeof(t->call->node)];
    seal_token_name(t->call->node, name, sizeof(name));
    snprintf(t->join_path, sizeof(t->join_path), "%s/join-%s.json", RUN_DIR, t->call->op_id);
    int err = cluster_key_load(t->env->prefix, &key, e);
    err = err ? err : pki_unseal(&key, name, buf_slice(&t->call->sealed_token), &token, e);
    err =
        err ? err : file_install(t->env->prefix, t->join_path, buf_slice(&token), (struct file_mode){.mode = 0600}, e);
    if (err)
        return err;
    snprintf(t->join_file, sizeof(t->join_file), "%s%s", t->env->prefix, t->join_path);
    put(t, "RINGMASTER_JOIN_FILE", t->join_file);
    return 0;
}

static void task_done(struct task *t)
{
    if (t->join_file[0])
        file_remove(t->env->prefix, t->join_path, NULL);
}

/* ---- running it ---- */

/* What became of the hook itself; only of a hook that ran. */
struct verdict {
    int exit_code; /* -1: ended by signal */
    bool timed_out;
};

static void keep_output(struct hook_outcome *o, const char *output)
{
    size_t n = strlen(output), skip = n < sizeof(o->output) ? 0 : n - (sizeof(o->output) - 1);
    while ((output[skip] & 0xc0) == 0x80) /* not from inside a UTF-8 sequence */
        skip++;
    STR_COPY(o->output, output + skip);
    for (char *p = o->output; *p; p++)
        if ((unsigned char)*p < ' ' && *p != '\n' && *p != '\t')
            *p = '?';
}

static int run_direct(struct task *t, struct hook_outcome *o, struct verdict *ret)
{
    const char *argv[] = {t->path, t->verb, t->call->op_id, NULL};
    const char *env[VARIABLES_MAX] = {NULL};
    for (size_t i = 0; i < t->n_variables; i++)
        env[i] = t->variables[i];
    struct process_call call = {.argv = argv, .env = env, .timeout_ms = t->call->timeout_ms};
    AUTO(process_outcome_done) struct process_outcome p = {0};
    int err = process_run(&call, &p, &o->error);
    if (err && err != ERR_TIMEOUT)
        return err;
    o->error = (struct error){0};
    keep_output(o, p.output);
    *ret = (struct verdict){p.exit_code, p.timed_out};
    return 0;
}

/* systemd-run: 0 if the hook exited with 0, else the hook's exit code, or 1 if it could not start the unit. */
static int run_unit_once(struct task *t, struct hook_outcome *o, struct process_outcome *ret)
{
    char unit[sizeof(t->unit) + 8], limit[64], stop[64], mark[sizeof(t->mark) + 16];
    char variables[VARIABLES_MAX - 1][sizeof(t->variables[0]) + 16];
    snprintf(unit, sizeof(unit), "--unit=%s", t->unit);
    snprintf(mark, sizeof(mark), "--description=%s", t->mark);
    snprintf(limit, sizeof(limit), "--property=RuntimeMaxSec=%lldms", (long long)t->call->timeout_ms);
    snprintf(stop, sizeof(stop), "--property=TimeoutStopSec=%ds", STOP_S);
    /* Not --collect: a unit that failed stays until it was asked whether the failure is the hook's. */
    const char *argv[ARGUMENTS_MAX] = {
        "/usr/bin/systemd-run", "--quiet", "--wait", "--pipe", "--service-type=exec", unit, mark, limit, stop};
    size_t n = 9;
    for (size_t i = 0; i < t->n_variables; i++) {
        snprintf(variables[i], sizeof(variables[i]), "--setenv=%s", t->variables[i]);
        argv[n++] = variables[i];
    }
    const char *const hook[] = {"--", t->path, t->verb, t->call->op_id, NULL};
    assert(n + sizeof(hook) / sizeof(hook[0]) <= ARGUMENTS_MAX);
    memcpy(&argv[n], hook, sizeof(hook));
    struct process_call call = {.argv = argv, .timeout_ms = t->call->timeout_ms + SLACK_MS};
    return process_run(&call, ret, &o->error);
}

/* ERR_AGAIN: a unit of that name was there already, it is gone now. */
static int run_unit(struct task *t, struct hook_outcome *o, struct verdict *ret)
{
    AUTO(process_outcome_done) struct process_outcome p = {0};
    struct unit_result r = {0};
    int err = run_unit_once(t, o, &p);
    if (!err && p.exit_code == 0) {
        keep_output(o, p.output);
        *ret = (struct verdict){0};
        return 0;
    }
    struct error why = o->error;
    o->error = (struct error){0};
    int shown = unit_result(t->unit, &r, &o->error);
    bool ours = !shown && str_eq(r.description, t->mark);
    if (!shown && r.loaded)
        unit_forget(t->unit, NULL);
    if (shown)
        return shown;
    if (!ours && r.loaded)
        return ERR_AGAIN;
    if (!ours || (!r.ended && !err)) {
        o->error = why;
        return err ? err
                   : error_set(&o->error, ERR_FAILED, "systemd does not run the hook %s: %.200s", t->path, p.output);
    }
    keep_output(o, p.output ? p.output : "");
    *ret = (struct verdict){r.exit_code, err == ERR_TIMEOUT || r.timed_out};
    return 0;
}

static int run(struct task *t, struct hook_outcome *o, struct verdict *ret)
{
    if (t->env->direct)
        return run_direct(t, o, ret);
    for (int i = 0; i < TRIES; i++) {
        int err = run_unit(t, o, ret);
        if (err != ERR_AGAIN)
            return err;
    }
    return error_set(&o->error, ERR_FAILED, "the unit %s comes back again and again", t->unit);
}

/* ---- the contract ---- */

static void judge(const struct task *t, const struct verdict *v, struct hook_outcome *o)
{
    const char *path = t->path;
    if (v->timed_out)
        error_set(&o->error, ERR_TIMEOUT, "the hook %s %s did not end within %lld s", path, t->verb,
                  (long long)t->call->timeout_ms / 1000);
    else if (v->exit_code == HOOK_DONE || v->exit_code == HOOK_RUNNING || v->exit_code == HOOK_FAILED)
        o->state = (enum hook_state)v->exit_code;
    else if (v->exit_code < 0)
        error_set(&o->error, ERR_CONDITION, "the hook %s %s was ended by a signal", path, t->verb);
    else
        error_set(&o->error, ERR_CONDITION,
                  "the hook %s %s ended with code %d; it may be 0 (done), 75 (running), 1 (failed)", path, t->verb,
                  v->exit_code);
}

void executor_run_in(const struct executor_env *env, const struct hook_call *call, struct hook_outcome *ret)
{
    AUTO(task_done) struct task t;
    struct hook_outcome o = {0};
    struct verdict v = {0};
    int err = task_init(&t, env, call, &o.error);
    err = err ? err : runnable_check("hook", t.path, env->owner, &o.error);
    if (!err && call->verb == HOOK_START && !is_in_place(call))
        err = task_join_file(&t, &o.error);
    err = err ? err : run(&t, &o, &v);
    if (!err)
        judge(&t, &v, &o);
    assert(!err || o.error.code != 0);
    *ret = o;
}

int executor_check(const char *path, struct error *e)
{
    if (str_eq(path, EXECUTOR_IN_PLACE))
        return 0; /* its program comes with the agent */
    return runnable_check("hook", path, 0, e);
}

void executor_run(const struct hook_call *call, struct hook_outcome *ret)
{
    struct executor_env env = {.prefix = "", .owner = 0};
    executor_run_in(&env, call, ret);
}
