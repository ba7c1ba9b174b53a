/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/goal.h"

#include <stdio.h>

#include "cli/noun.h"

static const char *job_id_of(const struct json *data)
{
    return json_get_str(data, "job", json_str(json_path(data, "job.id"), ""));
}

bool goal_of(const struct invocation *i, const struct json *data, struct goal *ret)
{
    struct goal g = {.kind = i->verb->goal};
    switch (g.kind) {
    case GOAL_NONE: return false;
    case GOAL_JOB:
    case GOAL_JOB_END: STR_COPY(g.id, job_id_of(data)); break;
    case GOAL_RUN:
    case GOAL_RUN_END: STR_COPY(g.id, json_str(json_path(data, "run.id"), "")); break;
    case GOAL_MEMBER:
    case GOAL_QUORUM: *ret = g; return true;
    }
    if (!g.id[0])
        return false;
    *ret = g;
    return true;
}

const char *goal_poll(const struct goal *g, struct json **ret_args)
{
    *ret_args = NULL;
    switch (g->kind) {
    case GOAL_JOB:
    case GOAL_JOB_END:
        *ret_args = json_object_new();
        json_set_str(*ret_args, "id", g->id);
        return "job.show";
    case GOAL_RUN:
    case GOAL_RUN_END: return "upgrade.status";
    case GOAL_NONE:
    case GOAL_MEMBER:
    case GOAL_QUORUM: break;
    }
    return "status";
}

/* ---- judging ----------------------------------------------------------------------------------------------------- */

static void judge_job(const struct goal *g, const struct json *data, struct verdict *v)
{
    const struct json *job = json_get(data, "job");
    const char *state = json_get_str(job, "state", "");
    const char *why = json_get_str(job, "error", "");
    STR_COPY(v->state, state);
    v->ended = str_eq(state, "done") || str_eq(state, "failed") || str_eq(state, "cancelled");
    if (!v->ended || str_eq(state, "done") || g->kind == GOAL_JOB_END)
        return;
    int code = (int)json_get_int(job, "code", 0);
    error_set(&v->error, code > 0 ? -code : ERR_FAILED, "%s of %s %s%s%s", json_get_str(job, "kind", "the job"),
              json_get_str(job, "object", "-"), str_eq(state, "failed") ? "failed" : "was cancelled",
              why[0] ? ": " : "", why);
}

static void judge_paused_error(const struct json *run, struct verdict *v)
{
    const char *why = json_get_str(run, "error", "");
    const char *remedy = json_get_str(run, "remedy", "");
    v->ended = true;
    error_set(&v->error, ERR_FAILED, "the upgrade needs help: %s", why[0] ? why : "a step failed");
    error_set_remedy(&v->error, "%s", remedy[0] ? remedy : "clusterctl upgrade retry");
}

static void judge_run(const struct goal *g, const struct json *data, struct verdict *v)
{
    const struct json *run = json_get(data, "run");
    const char *state = json_get_str(run, "state", "");
    STR_COPY(v->state, state);
    if (!str_eq(json_get_str(run, "id", ""), g->id))
        return; /* this node has not heard of it yet */
    if (str_eq(state, "paused-error")) {
        judge_paused_error(run, v);
    } else if (str_eq(state, "done") || str_eq(state, "awaiting-raise")) {
        v->ended = true;
    } else if (str_eq(state, "cancelled")) {
        v->ended = true;
        const char *why = json_get_str(run, "error", "");
        if (g->kind == GOAL_RUN || why[0])
            error_set(&v->error, ERR_FAILED, "the upgrade was cancelled%s%s", why[0] ? ": " : "", why);
    }
}

static void judge_member(const struct json *data, struct verdict *v)
{
    const char *self = json_str(json_path(data, "self.name"), "");
    const char *phase = json_str(json_path(data, "self.phase"), "");
    STR_COPY(v->state, phase);
    if (str_eq(phase, "evicted")) {
        v->ended = true;
        error_set(&v->error, ERR_FAILED, "this node was evicted");
        return;
    }
    if (!str_eq(phase, "member"))
        return;
    const struct json *nodes = json_get(data, "nodes");
    for (size_t k = 0; k < json_count(nodes); k++) {
        const struct json *n = json_at(nodes, k);
        if (!str_eq(json_get_str(n, "name", ""), self))
            continue;
        const char *state = json_get_str(n, "state", "");
        bool is_in = str_eq(state, "online") || str_eq(state, "paused");
        STR_COPY(v->state, state);
        v->ended = is_in && json_get_bool(n, "voter", false);
    }
}

static void judge_quorum(const struct json *data, struct verdict *v)
{
    v->ended = json_bool(json_path(data, "quorum.quorate"), false) && json_str(json_path(data, "quorum.leader"), "")[0];
    STR_COPY(v->state, v->ended ? "quorate" : "waits for a quorum");
}

void goal_judge(const struct goal *g, const struct json *answer, struct verdict *ret)
{
    const struct json *data = json_get(answer, "data");
    *ret = (struct verdict){.ended = false};
    switch (g->kind) {
    case GOAL_JOB:
    case GOAL_JOB_END: judge_job(g, data, ret); break;
    case GOAL_RUN:
    case GOAL_RUN_END: judge_run(g, data, ret); break;
    case GOAL_MEMBER: judge_member(data, ret); break;
    case GOAL_QUORUM: judge_quorum(data, ret); break;
    case GOAL_NONE: ret->ended = true; break;
    }
}

/* ---- words ------------------------------------------------------------------------------------------------------- */

struct goal_text goal_what(const struct goal *g)
{
    struct goal_text t = {.s = "it"};
    switch (g->kind) {
    case GOAL_JOB:
    case GOAL_JOB_END: snprintf(t.s, sizeof(t.s), "job %s", g->id); break;
    case GOAL_RUN: STR_COPY(t.s, "the upgrade"); break;
    case GOAL_RUN_END: STR_COPY(t.s, "the end of the upgrade"); break;
    case GOAL_MEMBER: STR_COPY(t.s, "the join of this node"); break;
    case GOAL_QUORUM: STR_COPY(t.s, "the new cluster"); break;
    case GOAL_NONE: break;
    }
    return t;
}

struct goal_text goal_comeback(const struct goal *g)
{
    struct goal_text t = {.s = "clusterctl status"};
    if (g->kind == GOAL_JOB || g->kind == GOAL_JOB_END)
        snprintf(t.s, sizeof(t.s), "clusterctl job show %s --follow", g->id);
    else if (g->kind == GOAL_RUN || g->kind == GOAL_RUN_END)
        STR_COPY(t.s, "clusterctl upgrade status --follow");
    return t;
}

bool goal_goes_on(const struct goal *g)
{
    return g->kind == GOAL_JOB || g->kind == GOAL_JOB_END || g->kind == GOAL_RUN || g->kind == GOAL_RUN_END;
}
