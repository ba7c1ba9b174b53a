/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clusterctl upgrade … */
#include <stdio.h>

#include "cli/call.h"
#include "cli/noun.h"

enum { RESULT_READY = 0, RESULT_WARNINGS = 1, RESULT_NOT_READY = 2 };

/* ---- text -------------------------------------------------------------------------------------------------------- */

bool run_is_over(const struct json *run)
{
    const char *state = json_get_str(run, "state", "done");
    return str_eq(state, "done") || str_eq(state, "cancelled");
}

void page_run_line(struct page *p, const struct json *run)
{
    const char *state = json_get_str(run, "state", "");
    bool goes_back = str_eq(json_get_str(run, "direction", ""), "back");
    const char *note = json_get_bool(run, "rolled_back", false)      ? " (rolled back)"
                       : goes_back && !str_eq(state, "rolling-back") ? " (rollback)"
                                                                     : "";
    page_printf(p, "to %s: ", json_get_str(run, "target", "-"));
    page_styled(p, style_of_state(state), "%s%s", state, note);
    page_printf(p, ", %lld of %lld nodes done, %s\n", (long long)json_get_int(run, "done", 0),
                (long long)json_get_int(run, "total", 0), span_text(json_get_int(run, "seconds", 0)).s);
}

static void cell_step_time(const struct page *p, struct grid *g, size_t column, const struct json *step)
{
    int64_t started = time_parse_ms(json_get_str(step, "started", NULL));
    int64_t ended = time_parse_ms(json_get_str(step, "ended", NULL));
    if (started)
        grid_cell(g, column, STYLE_PLAIN, span_text(((ended ? ended : p->wall_ms) - started) / 1000).s);
}

static void page_steps(struct page *p, const struct json *steps)
{
    static const struct grid_column columns[] = {
        {"NODE", 0}, {"STEP", 0}, {"FROM", 0}, {"TIME", GRID_RIGHT}, {"DETAIL", 0},
    };
    struct grid *g = grid_new(columns, sizeof(columns) / sizeof(columns[0]), p->width, p->colour);
    size_t rows = json_count(steps);
    for (size_t k = 0; k < rows; k++) {
        const struct json *s = json_at(steps, k);
        const char *state = json_get_str(s, "state", "");
        const char *failed_in = json_get_str(s, "failed_in", "");
        grid_row(g);
        grid_cell(g, 0, STYLE_PLAIN, json_get_str(s, "node", ""));
        if (failed_in[0])
            grid_cellf(g, 1, style_of_state(state), "%s in %s", state, failed_in);
        else
            grid_cell(g, 1, style_of_state(state), state);
        grid_cell(g, 2, STYLE_PLAIN, json_get_str(s, "from_release", ""));
        cell_step_time(p, g, 3, s);
        const char *detail = json_get_str(s, "detail", "");
        grid_cell(g, 4, STYLE_PLAIN, detail[0] ? detail : json_get_str(s, "output", ""));
    }
    page_grid(p, g, rows, NULL);
}

static void page_canary(struct page *p, const struct json *canary)
{
    static const char *const moves[] = {"", "there", "back", "there again", "home"};
    const char *result = json_get_str(canary, "result", ""), *text = json_get_str(canary, "text", "");
    int64_t move = json_get_int(canary, "move", 0);
    if (!json_is_object(canary))
        return;
    page_printf(p, "canary %s on %s: ", json_get_str(canary, "vm", "-"), json_get_str(canary, "node", "-"));
    page_styled(p, style_of_state(result), "%s", result);
    if (str_eq(result, "under-way") && move > 0 && move < (int64_t)(sizeof(moves) / sizeof(moves[0])))
        page_printf(p, ", goes %s", moves[move]);
    page_printf(p, "%s%s\n", text[0] ? ": " : "", text);
}

static void page_left_out(struct page *p, const struct json *left_out)
{
    for (size_t k = 0; k < json_count(left_out); k++) {
        const struct json *l = json_at(left_out, k);
        page_styled(p, STYLE_WARN, "left out: %s", json_get_str(l, "node", "-"));
        page_printf(p, ": %s%s\n", json_get_str(l, "text", ""),
                    json_get_bool(l, "keeps_level", false) ? " (it keeps the functional level down)" : "");
    }
}

void page_run_next(struct page *p, const struct json *run)
{
    const struct json *left_out = json_get(run, "left_out");
    if (!str_eq(json_get_str(run, "state", ""), "awaiting-raise"))
        return;
    for (size_t k = 0; k < json_count(left_out); k++)
        if (json_get_bool(json_at(left_out, k), "keeps_level", false)) {
            page_printf(p, "next: %s\n", json_get_str(json_at(left_out, k), "remedy", ""));
            return;
        }
    page_printf(p, "next: clusterctl level raise\n");
}

void page_run(struct page *p, const struct json *run)
{
    const char *error = json_get_str(run, "error", "");
    const char *remedy = json_get_str(run, "remedy", "");
    const char *awaits = json_get_str(run, "awaits_approval", "");
    page_styled(p, STYLE_BOLD, "Upgrade ");
    page_run_line(p, run);
    page_steps(p, json_get(run, "steps"));
    page_canary(p, json_get(run, "canary"));
    page_left_out(p, json_get(run, "left_out"));
    if (error[0])
        page_styled(p, STYLE_BAD, "%s\n", error);
    if (remedy[0])
        page_printf(p, "remedy: %s\n", remedy);
    if (awaits[0])
        page_printf(p, "next: clusterctl upgrade approve %s\n", awaits);
    page_run_next(p, run);
}

static void render_run(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)i;
    const struct json *run = json_get(data, "run");
    if (json_is_object(run))
        page_run(p, run);
    else
        page_printf(p, "no upgrade was ever started here\n");
}

/* ---- the report -------------------------------------------------------------------------------------------------- */

static void cell_ms(struct grid *g, size_t column, const struct json *o, const char *key)
{
    int64_t ms = json_get_int(o, key, 0);
    if (ms >= 60000)
        grid_cell(g, column, STYLE_PLAIN, span_text(ms / 1000).s);
    else if (ms > 0)
        grid_cellf(g, column, STYLE_PLAIN, "%lld.%lld s", (long long)(ms / 1000), (long long)(ms % 1000 / 100));
}

static void page_report_nodes(struct page *p, const struct json *nodes)
{
    static const struct grid_column columns[] = {
        {"NODE", 0},
        {"TO", 0},
        {"STATE", 0},
        {"TRIES", GRID_RIGHT},
        {"DRAIN", GRID_RIGHT},
        {"REBUILD", GRID_RIGHT},
        {"JOIN", GRID_RIGHT},
        {"CANARY", GRID_RIGHT},
        {"FAILBACK", GRID_RIGHT},
        {"STOPPED", GRID_RIGHT},
        {"TOTAL", GRID_RIGHT},
    };
    static const char *const times[] = {"drain_ms",    "rebuild_ms", "join_ms", "canary_ms",
                                        "failback_ms", "stopped_ms", "total_ms"};
    struct grid *g = grid_new(columns, sizeof(columns) / sizeof(columns[0]), p->width, p->colour);
    size_t rows = json_count(nodes);
    for (size_t k = 0; k < rows; k++) {
        const struct json *n = json_at(nodes, k);
        const char *state = json_get_str(n, "state", "");
        grid_row(g);
        grid_cell(g, 0, STYLE_PLAIN, json_get_str(n, "node", ""));
        grid_cell(g, 1, STYLE_PLAIN, json_get_str(n, "target", ""));
        grid_cell(g, 2, style_of_state(state), state);
        grid_cellf(g, 3, STYLE_PLAIN, "%lld", (long long)json_get_int(n, "attempts", 0));
        for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
            cell_ms(g, 4 + i, n, times[i]);
    }
    page_grid(p, g, rows, "no node was begun");
}

static void page_report_moves(struct page *p, const struct json *moves)
{
    static const struct grid_column columns[] = {
        {"VM", 0}, {"MOVE", 0}, {"STATE", 0}, {"TIME", GRID_RIGHT}, {"ERROR", 0},
    };
    struct grid *g = grid_new(columns, sizeof(columns) / sizeof(columns[0]), p->width, p->colour);
    size_t rows = json_count(moves);
    for (size_t k = 0; k < rows; k++) {
        const struct json *m = json_at(moves, k);
        const char *state = json_get_str(m, "state", "");
        grid_row(g);
        grid_cell(g, 0, STYLE_PLAIN, json_get_str(m, "vm", ""));
        grid_cell(g, 1, STYLE_PLAIN, json_get_str(m, "way", ""));
        grid_cell(g, 2, style_of_state(state), state);
        cell_ms(g, 3, m, "ms");
        grid_cell(g, 4, STYLE_PLAIN, json_get_str(m, "error", ""));
    }
    page_grid(p, g, rows, "no virtual machine was moved");
}

static void page_notes(struct page *p, const char *heading, const struct json *notes)
{
    if (json_count(notes) > 0)
        page_heading(p, heading);
    for (size_t k = 0; k < json_count(notes); k++)
        page_printf(p, "%s\n", json_str(json_at(notes, k), ""));
}

static void render_report(struct page *p, const struct invocation *i, const struct json *data)
{
    const struct json *run = json_get(data, "run");
    const char *ended = json_get_str(run, "ended", "");
    (void)i;
    if (!json_is_object(run))
        return;
    page_styled(p, STYLE_BOLD, "Upgrade ");
    page_run_line(p, run);
    page_printf(p, "started %s by %s%s%s\n", json_get_str(run, "created", "-"), json_get_str(run, "started_by", "-"),
                ended[0] ? ", ended " : "", ended);
    page_canary(p, json_get(run, "canary"));
    page_left_out(p, json_get(run, "left_out"));
    page_heading(p, "Nodes");
    page_report_nodes(p, json_get(data, "nodes"));
    page_heading(p, "Moves");
    page_report_moves(p, json_get(data, "moves"));
    page_notes(p, "Warnings that were accepted", json_get(data, "accepted"));
    page_notes(p, "Errors that were met", json_get(data, "errors"));
}

/* ---- the check --------------------------------------------------------------------------------------------------- */

static void page_result(struct page *p, const struct json *data)
{
    if (!json_is_int(json_get(data, "result")))
        return;
    switch (json_get_int(data, "result", RESULT_NOT_READY)) {
    case RESULT_READY: page_styled(p, STYLE_GOOD, "ready\n"); break;
    case RESULT_WARNINGS: page_styled(p, STYLE_WARN, "ready, with warnings\n"); break;
    default: page_styled(p, STYLE_BAD, "not ready\n"); break;
    }
}

static void render_check(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)i;
    page_findings(p, json_get(data, "findings"));
    page_result(p, data);
}

static int code_check(const struct json *data)
{
    int64_t result = json_get_int(data, "result", RESULT_NOT_READY);
    return result == RESULT_READY || result == RESULT_WARNINGS ? (int)result : RESULT_NOT_READY;
}

static void render_plan(struct page *p, const struct invocation *i, const struct json *data)
{
    const struct json *plan = json_get(data, "plan");
    if (json_is_object(plan)) {
        page_heading(p, "Plan");
        page_plan(p, plan);
        page_heading(p, "Check");
    }
    render_check(p, i, data);
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static int build_target(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    (void)file;
    if (!i->set[OPT_TARGET]) {
        error_set(e, ERR_USAGE, "%s needs --target CODENAME, the VERSION_CODENAME of the new release", i->verb->words);
        error_set_remedy(e, "clusterctl %s --target trixie, for Debian 13", i->verb->words);
        return ERR_USAGE;
    }
    set_option_str(i, OPT_TARGET, "target", args);
    return 0;
}

static int build_plan(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    int64_t n = 0;
    int err = invocation_int(i, OPT_MAX_UNAVAILABLE, 1, 100, 0, &n, e);
    if (n > 0)
        json_set_int(args, "max_unavailable", n);
    set_option_str(i, OPT_ORDER, "order", args);
    return err ? err : build_target(i, file, args, e);
}

static int build_start(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    json_set_bool(args, "accept_warnings", i->set[OPT_YES]);
    if (i->set[OPT_APPROVE_EACH])
        json_set_bool(args, "approve_each", true);
    return build_plan(i, file, args, e);
}

static int build_report(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    (void)file;
    (void)e;
    if (i->n_args > 0)
        json_set_str(args, "run", i->args[0]);
    return 0;
}

static int build_approve(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    (void)file;
    (void)e;
    if (i->n_args > 0)
        json_set_str(args, "node", i->args[0]);
    return 0;
}

static bool question_rollback(const struct invocation *i, struct buf *ret)
{
    (void)i;
    buf_add_str(ret, "Roll the upgrade back? Every node that was upgraded is rebuilt with its old release.");
    return true;
}

static bool question_abort(const struct invocation *i, struct buf *ret)
{
    (void)i;
    buf_add_str(ret,
                "Abort the upgrade? Nodes that have the new release keep it, and the cluster stays in mixed mode.");
    return true;
}

/* ---- start ------------------------------------------------------------------------------------------------------- */

static void show(struct call *c, void (*render)(struct page *, const struct invocation *, const struct json *))
{
    if (c->i->json)
        return;
    struct page p = call_page(c, STREAM_OUT);
    render(&p, c->i, json_get(c->answer, "data"));
    call_text(c, STREAM_OUT, &p);
    page_done(&p);
}

/* The plan with its check, shown. 0, or why it cannot be done. */
static int plan(struct call *c, struct error *e)
{
    struct json *args = json_object_new();
    int err = build_plan(c->i, NULL, args, e);
    if (err)
        json_free(args);
    else
        err = call_ask(c, "upgrade.plan", args, e);
    if (err)
        return err;
    show(c, render_plan);
    *e = call_status(c);
    if (e->code || json_int(json_path(c->answer, "data.result"), 0) != RESULT_NOT_READY)
        return e->code;
    error_set(e, ERR_CONDITION, "the cluster is not ready for the upgrade to %s", c->i->value[OPT_TARGET]);
    error_set_remedy(e, "mend what fails, then ask again: clusterctl upgrade check --target %s",
                     c->i->value[OPT_TARGET]);
    return ERR_CONDITION;
}

static int ask_start(struct call *c, struct error *e)
{
    char question[256];
    const struct json *steps = json_path(c->answer, "data.plan.steps");
    bool warned = json_int(json_path(c->answer, "data.result"), 0) == RESULT_WARNINGS;
    size_t n = 0;
    for (size_t k = 0; k < json_count(steps); k++)
        n += !json_get_bool(json_at(steps, k), "skipped", false);
    snprintf(question, sizeof(question), "Replace the operating system of %zu node%s by %s%s?", n, plural((int64_t)n),
             c->i->value[OPT_TARGET], warned ? ", in spite of the warnings" : "");
    return call_confirm(c, question, e);
}

/* Starts what was planned. Who was shown the warnings and said yes has accepted them. */
static int start(struct call *c, struct error *e)
{
    struct json *args = json_object_new();
    int err = build_start(c->i, NULL, args, e);
    json_set_bool(args, "accept_warnings", true);
    if (err) {
        json_free(args);
        return err;
    }
    if (c->i->wait)
        call_note_events(c);
    c->began_ms = c->env->now_ms(c->env->ctx);
    return call_ask(c, "upgrade.start", args, e);
}

static int plan_and_start(struct call *c)
{
    struct error e = {0};
    int err = plan(c, &e);
    if (!err && c->i->set[OPT_DRY_RUN]) {
        if (c->i->json)
            return call_report(c);
        return 0;
    }
    if (!err)
        err = ask_start(c, &e);
    if (!err)
        err = start(c, &e);
    return err ? call_fail(c, &e) : call_wait(c);
}

static int run_start(struct call *c)
{
    if (c->i->set[OPT_YES] && !c->i->set[OPT_DRY_RUN])
        return call_plain(c);
    return plan_and_start(c);
}

/* Without a verb: the status of the run that is there, or else the whole way to a new one, and along it. */
static int run_upgrade(struct call *c)
{
    struct error e = {0};
    if (call_ask(c, "upgrade.status", NULL, &e))
        return call_fail(c, &e);
    if (call_code(c))
        return call_report(c);
    if (!run_is_over(json_path(c->answer, "data.run")))
        return call_wait(c);
    if (!c->i->set[OPT_TARGET]) {
        error_set(&e, ERR_USAGE, "no upgrade runs; --target CODENAME begins one");
        error_set_remedy(&e, "clusterctl upgrade --target trixie, for Debian 13");
        return call_fail(c, &e);
    }
    struct invocation following = *c->i;
    following.wait = true;
    following.set[OPT_FOLLOW] = true;
    c->i = &following;
    return plan_and_start(c);
}

/* ---- table ------------------------------------------------------------------------------------------------------- */

#define TARGET_HELP "  --target CODENAME   VERSION_CODENAME of the new release's os-release(5): trixie for Debian 13\n"
#define ORDER_HELP                                                                                                     \
    "  --order LIST        the nodes in this order: --order n3,n1,n2; each that is to be upgraded, once\n"
#define PLAN_HELP                                                                                                      \
    TARGET_HELP ORDER_HELP                                                                                             \
        "  --max-unavailable N up to N nodes at once, with those that are down or in maintenance (1)\n"
#define PLAN_SYNOPSIS "--target CODENAME [--order LIST] [--max-unavailable N]"
#define PLAN_OPTIONS  (OPT_BIT(OPT_TARGET) | OPT_BIT(OPT_ORDER) | OPT_BIT(OPT_MAX_UNAVAILABLE))
#define START_HELP                                                                                                     \
    PLAN_HELP "  --approve-each      wait before each node until an admin says: clusterctl upgrade approve\n"
#define START_SYNOPSIS "--target CODENAME [--order LIST] [--approve-each] [--max-unavailable N]"
#define START_OPTIONS  (PLAN_OPTIONS | OPT_BIT(OPT_APPROVE_EACH))

const struct verb upgrade_verbs[] = {
    {
        .words = "upgrade",
        .synopsis = "[" START_SYNOPSIS "]",
        .brief = "the upgrade that runs, or else: check, plan, ask, start and follow",
        .more = START_HELP,
        .options = START_OPTIONS,
        .flags = VERB_DRY,
        .goal = GOAL_RUN,
        .build = build_start,
        .render = render_run,
        .run = run_upgrade,
    },
    {
        .words = "upgrade check",
        .wire = "upgrade.check",
        .synopsis = PLAN_SYNOPSIS,
        .brief = "can it be done? Exits with 0: ready, 1: with warnings, 2: not ready",
        .more = PLAN_HELP,
        .options = PLAN_OPTIONS,
        .flags = VERB_READS,
        .build = build_plan,
        .render = render_check,
        .code = code_check,
    },
    {
        .words = "upgrade plan",
        .wire = "upgrade.plan",
        .synopsis = PLAN_SYNOPSIS,
        .brief = "the order of the nodes, with the check",
        .more = PLAN_HELP,
        .options = PLAN_OPTIONS,
        .flags = VERB_READS,
        .build = build_plan,
        .render = render_plan,
    },
    {
        .words = "upgrade start",
        .wire = "upgrade.start",
        .synopsis = START_SYNOPSIS,
        .brief = "check, plan, ask and start",
        .more = START_HELP "With --yes it does not ask, and accepts warnings.\n"
                           "With --wait or --follow it exits with 0 when the level can be raised, and with 1 when the\n"
                           "upgrade needs help or was cancelled.\n",
        .options = START_OPTIONS,
        .flags = VERB_DRY,
        .goal = GOAL_RUN,
        .build = build_start,
        .render = render_run,
        .run = run_start,
    },
    {
        .words = "upgrade status",
        .wire = "upgrade.status",
        .synopsis = "",
        .brief = "the run and the step of each node",
        .flags = VERB_READS,
        .goal = GOAL_RUN,
        .render = render_run,
    },
    {
        .words = "upgrade report",
        .wire = "upgrade.report",
        .synopsis = "[RUN]",
        .brief = "what each node took, what moved, what was accepted and what went wrong; of the newest run",
        .args_max = 1,
        .flags = VERB_READS,
        .build = build_report,
        .render = render_report,
    },
    {
        .words = "upgrade pause",
        .wire = "upgrade.pause",
        .synopsis = "",
        .brief = "begin nothing more; a rebuild that runs is finished",
        .render = render_run,
    },
    {
        .words = "upgrade resume",
        .wire = "upgrade.resume",
        .synopsis = "",
        .brief = "go on",
        .goal = GOAL_RUN,
        .render = render_run,
    },
    {
        .words = "upgrade approve",
        .wire = "upgrade.approve",
        .synopsis = "[NODE]",
        .brief = "let the node that waits for it begin; with NODE only if it is that one",
        .args_max = 1,
        .goal = GOAL_RUN,
        .build = build_approve,
        .render = render_run,
    },
    {
        .words = "upgrade retry",
        .wire = "upgrade.retry",
        .synopsis = "",
        .brief = "try the step that failed again",
        .goal = GOAL_RUN,
        .render = render_run,
    },
    {
        .words = "upgrade rollback",
        .wire = "upgrade.rollback",
        .synopsis = "",
        .brief = "bring every node back to the release that it had; not after the level was raised",
        .goal = GOAL_RUN_END,
        .question = question_rollback,
        .render = render_run,
    },
    {
        .words = "upgrade abort",
        .wire = "upgrade.abort",
        .synopsis = "",
        .brief = "undo what is only meant for its time, and end it; the cluster stays in mixed mode",
        .goal = GOAL_RUN_END,
        .question = question_abort,
        .render = render_run,
    },
    {0},
};
