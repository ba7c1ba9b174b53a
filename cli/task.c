/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clusterctl task … */
#include "cli/noun.h"

enum { TIMEOUT_SECONDS_MAX = 7 * 24 * 3600 };

static enum style style_of_task(const char *state)
{
    return str_eq(state, "blocked") || str_eq(state, "unknown") ? STYLE_WARN : style_of_state(state);
}

static void cell_last(struct grid *g, size_t column, const struct json *last)
{
    const char *result = json_get_str(last, "result", "");
    if (!json_is_object(last))
        grid_cell(g, column, STYLE_PLAIN, "never");
    else
        grid_cellf(g, column, str_eq(result, "done") ? STYLE_PLAIN : STYLE_WARN, "%s on %s, %s", result,
                   json_get_str(last, "node", "-"), time_text(json_get_str(last, "ended", NULL), false).s);
}

void page_tasks(struct page *p, const struct json *tasks)
{
    static const struct grid_column columns[] = {
        {"TASK", 0}, {"STATE", 0}, {"NODE", 0}, {"AFFINITY", 0}, {"CALENDAR", 0}, {"NEXT", 0}, {"LAST", 0},
    };
    struct grid *g = grid_new(columns, sizeof(columns) / sizeof(columns[0]), p->width, p->colour);
    size_t rows = json_count(tasks);
    for (size_t i = 0; i < rows; i++) {
        const struct json *k = json_at(tasks, i);
        const char *state = json_get_str(k, "state", "");
        grid_row(g);
        grid_cell(g, 0, STYLE_PLAIN, json_get_str(k, "name", ""));
        grid_cell(g, 1, style_of_task(state), state);
        grid_cell(g, 2, STYLE_PLAIN, json_get_str(k, "node", "-"));
        grid_cell(g, 3, STYLE_PLAIN, json_get_str(k, "affinity", ""));
        grid_cell(g, 4, STYLE_PLAIN, json_get_str(k, "calendar", "by hand"));
        grid_cell(g, 5, STYLE_PLAIN, time_text(json_get_str(k, "next", NULL), false).s);
        cell_last(g, 6, json_get(k, "last"));
    }
    page_grid(p, g, rows, "no tasks");
    for (size_t i = 0; i < rows; i++) {
        const char *why = json_get_str(json_at(tasks, i), "why", "");
        if (why[0])
            page_styled(p, STYLE_WARN, "%s: %s\n", json_get_str(json_at(tasks, i), "name", ""), why);
    }
}

static void render_list(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)i;
    page_tasks(p, json_get(data, "tasks"));
}

static void page_command(struct page *p, const struct json *k)
{
    const struct json *arguments = json_get(k, "arguments");
    page_field(p, "Command", "%s", json_get_str(k, "command", "-"));
    for (size_t i = 0; i < json_count(arguments); i++)
        page_field(p, i == 0 ? "Arguments" : "", "%s", json_str(json_at(arguments, i), ""));
}

static void page_last(struct page *p, const struct json *last)
{
    if (!json_is_object(last))
        return;
    page_field(p, "Last", "%s on %s", json_get_str(last, "result", "-"), json_get_str(last, "node", "-"));
    page_field(p, "Began", "%s", time_text(json_get_str(last, "started", NULL), false).s);
    page_field(p, "Ended", "%s", time_text(json_get_str(last, "ended", NULL), false).s);
    page_field_json(p, "Exit code", json_get(last, "exit_code"));
    if (json_get_str(last, "output", "")[0])
        page_field_json(p, "Output", json_get(last, "output"));
}

static void page_task(struct page *p, const struct json *k)
{
    page_field(p, "Task", "%s", json_get_str(k, "name", "-"));
    page_field(p, "State", "%s%s", json_get_str(k, "state", "-"),
               json_get_bool(k, "requested", false) ? ", asked for by hand" : "");
    if (json_get_str(k, "why", "")[0])
        page_field_json(p, "Why", json_get(k, "why"));
    page_field_json(p, "Node", json_get(k, "node"));
    page_field_json(p, "Run", json_get(k, "run"));
    page_command(p, k);
    page_field_json(p, "Affinity", json_get(k, "affinity"));
    page_field(p, "Calendar", "%s", json_get_str(k, "calendar", "by hand only"));
    page_field(p, "Next", "%s", time_text(json_get_str(k, "next", NULL), false).s);
    page_field(p, "Time-out", "%lld s", (long long)json_get_int(k, "timeout_seconds", 0));
    page_field(p, "Runs", "%lld, of these %lld not done", (long long)json_get_int(k, "runs", 0),
               (long long)json_get_int(k, "failures", 0));
    page_last(p, json_get(k, "last"));
}

static void render_task(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)i;
    page_task(p, json_get(data, "task"));
}

static int build_add(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    int64_t seconds;
    if (!i->set[OPT_COMMAND])
        return error_set(e, ERR_USAGE, "task add needs --command PATH, an absolute path that is on every node");
    int err = invocation_int(i, OPT_TIMEOUT, 1, TIMEOUT_SECONDS_MAX, 0, &seconds, e);
    if (err)
        return err;
    build_name(i, file, args, e);
    set_option_str(i, OPT_COMMAND, "command", args);
    set_option_str(i, OPT_CALENDAR, "calendar", args);
    set_option_str(i, OPT_AFFINITY, "affinity", args);
    if (seconds)
        json_set_int(args, "timeout_seconds", seconds);
    if (i->n_arguments == 0)
        return 0;
    struct json *all = json_array_new();
    for (size_t n = 0; n < i->n_arguments; n++)
        json_append(all, json_str_new(i->arguments[n]));
    json_set(args, "arguments", all);
    return 0;
}

static bool question_remove(const struct invocation *i, struct buf *ret)
{
    buf_printf(ret, "Take task %s out of the cluster?", i->args[0]);
    return true;
}

static void render_run(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)data;
    page_printf(p, "%s: runs as soon as a node can take it\n", i->args[0]);
    page_printf(p, "see its end with: clusterctl task show %s\n", i->args[0]);
}

const struct verb task_verbs[] = {
    {
        .words = "task list",
        .wire = "task.list",
        .synopsis = "",
        .brief = "list the tasks: where they run, when they are due, how the last run ended",
        .flags = VERB_READS,
        .render = render_list,
    },
    {
        .words = "task show",
        .wire = "task.show",
        .synopsis = "TASK",
        .brief = "show one, with its command and the end of what it printed",
        VERB_ARGS(1),
        .flags = VERB_READS,
        .build = build_name,
        .render = render_task,
    },
    {
        .words = "task add",
        .wire = "task.add",
        .synopsis = "NAME --command PATH [--argument TEXT] [--calendar EXPRESSION] [--affinity any|native-level] "
                    "[--timeout SECONDS]",
        .brief = "have a program run on one node at a time",
        .more = "  --command PATH              the program, the same on every node\n"
                "  --argument TEXT             once for each of its arguments, in their order\n"
                "  --calendar EXPRESSION       when, in UTC: hourly, 'Mon..Fri 02:30', '*:0/15' (only by hand)\n"
                "  --affinity any|native-level only on nodes whose platform is that of the functional level (any)\n"
                "  --timeout SECONDS           it is ended after so long (3600)\n",
        VERB_ARGS(1),
        .options = OPT_BIT(OPT_COMMAND) | OPT_BIT(OPT_ARGUMENT) | OPT_BIT(OPT_CALENDAR) | OPT_BIT(OPT_AFFINITY) |
                   OPT_BIT(OPT_TIMEOUT),
        .build = build_add,
        .render = render_task,
    },
    {
        .words = "task run",
        .wire = "task.run",
        .synopsis = "TASK",
        .brief = "run it now, whatever its calendar says",
        VERB_ARGS(1),
        .build = build_name,
        .render = render_run,
    },
    {
        .words = "task remove",
        .wire = "task.remove",
        .synopsis = "TASK",
        .brief = "take a task that does not run out of the cluster",
        VERB_ARGS(1),
        .build = build_name,
        .question = question_remove,
        .render = render_done,
    },
    {0},
};
