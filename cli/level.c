/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clusterctl level … */
#include "cli/noun.h"

/* level_json says mixed as an object (null: not mixed). */
static bool is_mixed(const struct json *level)
{
    const struct json *mixed = json_get(level, "mixed");
    return json_is_object(mixed) || json_bool(mixed, false);
}

static int64_t mixed_days(const struct json *level)
{
    return json_int(json_path(level, "mixed.days"), json_get_int(level, "mixed_days", 0));
}

static const char *mixed_since(const struct json *level)
{
    return json_str(json_path(level, "mixed.since"), json_get_str(level, "mixed_since", NULL));
}

/* How long, as exactly as its reader wants to know it. */
static struct span mixed_age(const struct page *p, const struct json *level)
{
    int64_t since_ms = time_parse_ms(mixed_since(level));
    if (!since_ms)
        return span_text(mixed_days(level) * 86400);
    return span_text((p->wall_ms - since_ms) / 1000);
}

static enum style mixed_style(const struct json *level)
{
    const char *severity = json_str(json_path(level, "mixed.severity"), "");
    return str_eq(severity, "critical") ? STYLE_BAD : STYLE_WARN;
}

void page_level_line(struct page *p, const struct json *level)
{
    const char *description = json_get_str(level, "description", "");
    page_printf(p, "%lld", (long long)json_get_int(level, "committed", 0));
    if (description[0])
        page_printf(p, " (%s)", description);
    if (is_mixed(level)) {
        page_printf(p, ", ");
        page_styled(p, mixed_style(level), "MIXED for %s", mixed_age(p, level).s);
    }
    if (json_is_int(json_get(level, "fence")))
        page_printf(p, ", being raised to %lld", (long long)json_get_int(level, "fence", 0));
    page_printf(p, "\n");
}

static void page_members(struct page *p, const struct json *level)
{
    static const struct grid_column columns[] = {{"NODE", 0}, {"RANGE", 0}, {"RAISE", 0}};
    const struct json *members = json_get(level, "members");
    size_t rows = json_count(members);
    struct grid *g = grid_new(columns, json_is_int(json_get(level, "fence")) ? 3 : 2, p->width, p->colour);
    for (size_t k = 0; k < rows; k++) {
        const struct json *m = json_at(members, k);
        grid_row(g);
        grid_cell(g, 0, STYLE_PLAIN, json_get_str(m, "node", ""));
        grid_cellf(g, 1, STYLE_PLAIN, "%lld-%lld", (long long)json_get_int(m, "min", 0),
                   (long long)json_get_int(m, "native", 0));
        if (json_is_bool(json_get(m, "acknowledged")) && json_is_int(json_get(level, "fence")))
            grid_cell(g, 2, STYLE_PLAIN,
                      json_get_bool(m, "copied", false)         ? "has its copy"
                      : json_get_bool(m, "acknowledged", false) ? "acknowledged"
                                                                : "waited for");
    }
    page_grid(p, g, rows, NULL);
}

static void page_features(struct page *p, const struct json *features)
{
    static const struct grid_column columns[] = {{"FEATURE", 0}, {"LEVEL", GRID_RIGHT}, {"AVAILABLE", 0}};
    size_t rows = json_count(features);
    struct grid *g = grid_new(columns, 3, p->width, p->colour);
    for (size_t k = 0; k < rows; k++) {
        const struct json *f = json_at(features, k);
        bool is_available = json_get_bool(f, "available", false);
        grid_row(g);
        grid_cell(g, 0, STYLE_PLAIN, json_get_str(f, "name", ""));
        grid_cellf(g, 1, STYLE_PLAIN, "%lld", (long long)json_get_int(f, "level", 0));
        grid_cell(g, 2, is_available ? STYLE_GOOD : STYLE_PLAIN, is_available ? "yes" : "no");
    }
    page_grid(p, g, rows, NULL);
}

static void render_show(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)i;
    const struct json *level = json_get(data, "level");
    page_styled(p, STYLE_BOLD, "%-10s ", "Level");
    page_level_line(p, level);
    page_field_json(p, "Machine", json_get(level, "machine"));
    if (json_is_str(json_get(level, "raised")))
        page_field(p, "Raised", "%s", time_text(json_get_str(level, "raised", NULL), false).s);
    if (json_is_str(json_get(level, "copy")))
        page_field(p, "Way back", "/var/lib/ringmaster/%s, see clusterctl-level(8)", json_get_str(level, "copy", ""));
    if (json_count(json_get(level, "members")))
        page_printf(p, "\n");
    page_members(p, level);
    if (json_count(json_get(data, "features")))
        page_printf(p, "\n");
    page_features(p, json_get(data, "features"));
}

static int build_raise(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    (void)file, (void)e;
    if (i->set[OPT_DRY_RUN])
        json_set_bool(args, "dry_run", true);
    return 0;
}

static bool question_raise(const struct invocation *i, struct buf *ret)
{
    buf_add_str(ret,
                "Raise the functional level? Nodes of the older release can no longer join. The only way back is the "
                "database as it is now, put back on every node.");
    return !i->set[OPT_DRY_RUN];
}

static void render_raise(struct page *p, const struct invocation *i, const struct json *data)
{
    size_t against = page_findings(p, json_get(data, "findings"));
    if (json_get_str(data, "job", "")[0])
        render_job(p, i, data);
    else if (i->set[OPT_DRY_RUN] && against == 0)
        page_printf(p, "nothing stands against raising the level\n");
}

const struct verb level_verbs[] = {
    {
        .words = "level show",
        .wire = "level.show",
        .synopsis = "",
        .brief = "the functional level, the range of every node, the age of mixed mode, what needs which level",
        .flags = VERB_READS,
        .render = render_show,
    },
    {
        .words = "level raise",
        .wire = "level.raise",
        .synopsis = "[--dry-run]",
        .brief = "raise the functional level by one; this cannot be undone",
        .flags = VERB_DRY,
        .goal = GOAL_JOB,
        .build = build_raise,
        .question = question_raise,
        .render = render_raise,
    },
    {0},
};
