/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clusterctl job … */
#include "cli/noun.h"

static void cell_duration(const struct page *p, struct grid *g, size_t column, const struct json *job)
{
    int64_t started = time_parse_ms(json_get_str(job, "started", NULL));
    int64_t ended = time_parse_ms(json_get_str(job, "ended", NULL));
    if (started)
        grid_cell(g, column, STYLE_PLAIN, span_text(((ended ? ended : p->wall_ms) - started) / 1000).s);
}

void page_jobs(struct page *p, const struct json *jobs)
{
    static const struct grid_column columns[] = {
        {"JOB", 0}, {"KIND", 0}, {"OBJECT", 0}, {"STATE", 0}, {"STARTED", 0}, {"TIME", GRID_RIGHT}, {"DETAIL", 0},
    };
    struct grid *g = grid_new(columns, sizeof(columns) / sizeof(columns[0]), p->width, p->colour);
    size_t rows = json_count(jobs);
    for (size_t k = 0; k < rows; k++) {
        const struct json *j = json_at(jobs, k);
        const char *state = json_get_str(j, "state", "");
        const char *error = json_get_str(j, "error", "");
        grid_row(g);
        grid_cell(g, 0, STYLE_PLAIN, json_get_str(j, "id", ""));
        grid_cell(g, 1, STYLE_PLAIN, json_get_str(j, "kind", ""));
        grid_cell(g, 2, STYLE_PLAIN, json_get_str(j, "object", ""));
        grid_cell(g, 3, style_of_state(state), state);
        grid_cell(g, 4, STYLE_PLAIN, time_text(json_get_str(j, "started", NULL), false).s);
        cell_duration(p, g, 5, j);
        grid_cell(g, 6, STYLE_PLAIN, error[0] ? error : json_get_str(j, "detail", ""));
    }
    page_grid(p, g, rows, "no jobs");
}

static void render_list(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)i;
    page_jobs(p, json_get(data, "jobs"));
}

static void render_show(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)i;
    static const struct {
        const char *name, *key;
    } fields[] = {
        {"Job", "id"},        {"Kind", "kind"},   {"Object", "object"}, {"Node", "node"},
        {"Detail", "detail"}, {"State", "state"}, {"Error", "error"},
    };
    const struct json *job = json_get(data, "job");
    for (size_t k = 0; k < sizeof(fields) / sizeof(fields[0]); k++)
        page_field_json(p, fields[k].name, json_get(job, fields[k].key));
    int64_t started = time_parse_ms(json_get_str(job, "started", NULL));
    int64_t ended = time_parse_ms(json_get_str(job, "ended", NULL));
    page_field(p, "Started", "%s", time_text(json_get_str(job, "started", NULL), false).s);
    if (ended)
        page_field(p, "Ended", "%s", time_text(json_get_str(job, "ended", NULL), false).s);
    bool is_moving = str_eq(json_get_str(job, "kind", ""), "vm-migrate") && !ended;
    if (is_moving && json_get(job, "percent"))
        page_field(p, "Progress", "%lld%%", (long long)json_get_int(job, "percent", 0));
    else if (is_moving)
        page_field(p, "Progress", "unknown");
    if (started)
        page_field(p, "Time", "%s", span_text(((ended ? ended : p->wall_ms) - started) / 1000).s);
}

static int build_show(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    (void)file, (void)e;
    json_set_str(args, "id", i->args[0]);
    return 0;
}

static void render_cancel(struct page *p, const struct invocation *i, const struct json *data)
{
    const struct json *job = json_get(data, "job");
    const char *state = json_get_str(job, "state", "");
    const char *kind = json_get_str(job, "kind", "job"), *object = json_get_str(job, "object", i->args[0]);
    if (str_eq(state, "running"))
        page_printf(p, "%s of %s is being cancelled\nwatch it with: clusterctl job show %s --follow\n", kind, object,
                    i->args[0]);
    else
        page_printf(p, "%s of %s is %s\n", kind, object, state[0] ? state : "cancelled");
}

const struct verb job_verbs[] = {
    {
        .words = "job list",
        .wire = "job.list",
        .synopsis = "",
        .brief = "list the jobs",
        .flags = VERB_READS,
        .render = render_list,
    },
    {
        .words = "job show",
        .wire = "job.show",
        .synopsis = "ID",
        .brief = "show one; with --wait or --follow come back to one that goes on",
        VERB_ARGS(1),
        .flags = VERB_READS,
        .goal = GOAL_JOB,
        .build = build_show,
        .render = render_show,
    },
    {
        .words = "job cancel",
        .wire = "job.cancel",
        .synopsis = "ID",
        .brief = "take back a move, a drain or an upgrade that is under way",
        .more = "A moving virtual machine stays where it is, a drained node is resumed, an upgrade is aborted.\n"
                "What cannot be taken back is refused with 113 and the reason. With --wait until the job has ended;\n"
                "a move that was faster than its cancelling is done.\n",
        VERB_ARGS(1),
        .goal = GOAL_JOB_END,
        .build = build_show,
        .render = render_cancel,
    },
    {0},
};
