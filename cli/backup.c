/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clusterctl repository …, backup …, reference … */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/noun.h"

enum { LIMIT_MIN = 1024 };
#define LIMIT_MAX (INT64_C(100000) << 20)

/* ---- common ---- */

struct size_text {
    char s[32];
};
static struct size_text size_text(int64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    struct size_text t;
    double v = (double)bytes;
    size_t u = 0;
    for (; v >= 1024 && u < 4; u++)
        v /= 1024;
    snprintf(t.s, sizeof t.s, u == 0 || v >= 100 ? "%.0f %s" : "%.1f %s", v, units[u]);
    return t;
}

static struct size_text time_of(int64_t ms)
{
    struct size_text t;
    if (ms < 60000)
        snprintf(t.s, sizeof t.s, "%.1f s", (double)ms / 1000);
    else
        snprintf(t.s, sizeof t.s, "%s", span_text(ms / 1000).s);
    return t;
}

/* "50MiB", "50M", "1G", "65536": bytes, in powers of 1024. */
static int parse_limit(const struct invocation *i, int64_t *ret, struct error *e)
{
    static const char units[] = "KMGT";
    const char *text = i->value[OPT_LIMIT];
    char *end = NULL;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    const char *unit = *end ? strchr(units, *end) : NULL;
    int shift = unit ? 10 * (int)(unit - units + 1) : 0;
    end += unit != NULL;
    if (unit && (str_eq(end, "iB") || str_eq(end, "B")))
        end += strlen(end);
    if (errno || end == text || *end || n <= 0 || n > (LIMIT_MAX >> shift) || (n << shift) < LIMIT_MIN)
        return error_set(e, ERR_USAGE, "--limit is so many bytes a second, such as 50MiB or 1G, not '%s'", text);
    *ret = n << shift;
    return 0;
}

static int build_request(const struct invocation *i, struct json *args, struct error *e)
{
    int64_t limit = 0;
    int err = i->set[OPT_LIMIT] ? parse_limit(i, &limit, e) : 0;
    if (err)
        return err;
    json_set_str(args, "name", i->args[0]);
    set_option_str(i, OPT_REPOSITORY, "repository", args);
    set_option_str(i, OPT_ENGINE, "engine", args);
    set_option_str(i, OPT_CONSISTENCY, "consistency", args);
    set_option_str(i, OPT_KEEP, "keep", args);
    if (limit)
        json_set_int(args, "limit_bytes", limit);
    return 0;
}

static int build_start(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    (void)file;
    return build_request(i, args, e);
}

static int build_verify(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    (void)file, (void)e;
    json_set_str(args, "name", i->args[0]);
    if (i->n_args > 1)
        json_set_str(args, "point", i->args[1]);
    set_option_str(i, OPT_NODE, "node", args);
    set_option_str(i, OPT_REPOSITORY, "repository", args);
    return 0;
}

static int build_restore(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    if (!i->set[OPT_TO])
        return error_set(e, ERR_USAGE, "backup restore needs --to FOLDER, where its files are to be made");
    set_option_str(i, OPT_TO, "folder", args);
    set_option_str(i, OPT_NAME, "as", args);
    return build_verify(i, file, args, e);
}

static int build_may_name(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    (void)file, (void)e;
    if (i->n_args)
        json_set_str(args, "name", i->args[0]);
    return 0;
}

static int build_point(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    (void)file, (void)e;
    json_set_str(args, "name", i->args[0]);
    json_set_str(args, "point", i->args[1]);
    return 0;
}

/* ---- repositories ---- */

static void page_repositories(struct page *p, const struct json *all)
{
    static const struct grid_column columns[] = {
        {"REPOSITORY", 0}, {"PATH", 0}, {"POINTS", GRID_RIGHT}, {"STORED", GRID_RIGHT}, {"SINCE", 0},
    };
    struct grid *g = grid_new(columns, sizeof(columns) / sizeof(columns[0]), p->width, p->colour);
    size_t rows = json_count(all);
    for (size_t i = 0; i < rows; i++) {
        const struct json *r = json_at(all, i);
        grid_row(g);
        grid_cell(g, 0, STYLE_PLAIN, json_get_str(r, "name", ""));
        grid_cell(g, 1, STYLE_PLAIN, json_get_str(r, "path", ""));
        grid_cellf(g, 2, STYLE_PLAIN, "%lld", (long long)json_get_int(r, "points", 0));
        grid_cell(g, 3, STYLE_PLAIN, size_text(json_get_int(r, "stored_bytes", 0)).s);
        grid_cell(g, 4, STYLE_PLAIN, time_text(json_get_str(r, "created", NULL), false).s);
    }
    page_grid(p, g, rows, "no repositories");
}

static void render_repositories(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)i;
    page_repositories(p, json_get(data, "repositories"));
}

static void render_repository(struct page *p, const struct invocation *i, const struct json *data)
{
    const struct json *r = json_get(data, "repository");
    (void)i;
    page_field(p, "Repository", "%s", json_get_str(r, "name", "-"));
    page_field(p, "Path", "%s", json_get_str(r, "path", "-"));
    page_field(p, "Key", "made, and kept sealed in the cluster's database");
}

static int build_repository_add(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    if (!i->set[OPT_PATH])
        return error_set(e, ERR_USAGE, "repository add needs --path PATH, a folder that every node sees there");
    set_option_str(i, OPT_PATH, "path", args);
    return build_name(i, file, args, e);
}

static bool question_repository_remove(const struct invocation *i, struct buf *ret)
{
    buf_printf(ret,
               "Take repository %s out of the cluster? Its files stay, its key and its reference points are forgotten: "
               "what lies there can then be checked by nobody.",
               i->args[0]);
    return true;
}

const struct verb repository_verbs[] = {
    {
        .words = "repository list",
        .wire = "repository.list",
        .synopsis = "",
        .brief = "list the repositories: where they are, and what lies in them",
        .flags = VERB_READS,
        .render = render_repositories,
    },
    {
        .words = "repository add",
        .wire = "repository.add",
        .synopsis = "NAME --path PATH",
        .brief = "make a folder a repository of backups",
        .more = "  --path PATH  the folder, at the same place on every node; it is made, the one above it is there\n",
        VERB_ARGS(1),
        .options = OPT_BIT(OPT_PATH),
        .flags = VERB_LONG,
        .build = build_repository_add,
        .render = render_repository,
    },
    {
        .words = "repository remove",
        .wire = "repository.remove",
        .synopsis = "REPOSITORY",
        .brief = "take a repository out of the cluster; its files stay",
        VERB_ARGS(1),
        .build = build_name,
        .question = question_repository_remove,
        .render = render_done,
    },
    {0},
};

/* ---- backups ---- */

static void cell_changed(struct grid *g, size_t column, const struct json *point)
{
    const struct json *percent = json_get(point, "changed_percent");
    if (percent)
        grid_cellf(g, column, STYLE_PLAIN, "%.1f %%", json_real(percent, 0));
}

static void page_points(struct page *p, const struct json *points)
{
    static const struct grid_column columns[] = {
        {"VM", 0},
        {"POINT", 0},
        {"CREATED", 0},
        {"ENGINE", 0},
        {"CONSISTENCY", 0},
        {"SIZE", GRID_RIGHT},
        {"STORED", GRID_RIGHT},
        {"CHANGED", GRID_RIGHT},
        {"TIME", GRID_RIGHT},
        {"REPOSITORY", 0},
    };
    struct grid *g = grid_new(columns, sizeof(columns) / sizeof(columns[0]), p->width, p->colour);
    size_t rows = json_count(points);
    for (size_t i = 0; i < rows; i++) {
        const struct json *k = json_at(points, i);
        const char *reason = json_get_str(k, "reason", "");
        grid_row(g);
        grid_cell(g, 0, STYLE_PLAIN, json_get_str(k, "vm", ""));
        grid_cell(g, 1, STYLE_PLAIN, json_get_str(k, "uuid", ""));
        grid_cell(g, 2, STYLE_PLAIN, time_text(json_get_str(k, "created", NULL), false).s);
        grid_cellf(g, 3, STYLE_PLAIN, "%s%s%s", json_get_str(k, "engine", ""), reason[0] ? ": " : "", reason);
        grid_cell(g, 4, STYLE_PLAIN, json_get_str(k, "consistency", ""));
        grid_cell(g, 5, STYLE_PLAIN, size_text(json_get_int(k, "bytes", 0)).s);
        grid_cell(g, 6, STYLE_PLAIN, size_text(json_get_int(k, "stored_bytes", 0)).s);
        cell_changed(g, 7, k);
        grid_cell(g, 8, STYLE_PLAIN, time_of(json_get_int(k, "duration_ms", 0)).s);
        grid_cell(g, 9, STYLE_PLAIN, json_get_str(k, "repository", ""));
    }
    page_grid(p, g, rows, "no reference points");
}

static void page_verdict(struct page *p, const char *vm, const struct json *verified)
{
    bool is_damaged = json_bool(json_get(verified, "damaged"), false);
    if (!json_is_object(verified))
        return;
    page_styled(p, is_damaged ? STYLE_BAD : STYLE_PLAIN, "%s: verified in %s, %s: %s\n", vm,
                json_get_str(verified, "repository", "-"), time_text(json_get_str(verified, "time", NULL), false).s,
                is_damaged ? json_get_str(verified, "text", "damaged") : "all is right");
}

/* What runs, is due, or did not end well. */
static void page_backup_line(struct page *p, const struct json *b)
{
    const char *vm = json_get_str(b, "vm", ""), *state = json_get_str(b, "state", "");
    const struct json *last = json_get(b, "last");
    const char *result = json_get_str(last, "result", "done"), *text = json_get_str(last, "text", "");
    int64_t total = json_get_int(b, "total_bytes", 0);
    if (!str_eq(state, "idle") && total > 0)
        page_printf(p, "%s: %s on %s, %s: %s of %s\n", vm, state, json_get_str(b, "node", "-"),
                    json_get_str(b, "phase", "-"), size_text(json_get_int(b, "done_bytes", 0)).s, size_text(total).s);
    else if (!str_eq(state, "idle"))
        page_printf(p, "%s: %s%s%s\n", vm, state, str_eq(state, "due") ? "" : " on ", json_get_str(b, "node", ""));
    page_verdict(p, vm, json_get(b, "verified"));
    if (!str_eq(result, "done") || text[0])
        page_styled(p, STYLE_WARN, "%s: the last one, on %s, %s%s%s\n", vm, json_get_str(last, "node", "-"), result,
                    text[0] ? ": " : "", text);
}

static void render_backups(struct page *p, const struct invocation *i, const struct json *data)
{
    const struct json *backups = json_get(data, "backups");
    (void)i;
    page_points(p, json_get(data, "points"));
    for (size_t n = 0; n < json_count(backups); n++)
        page_backup_line(p, json_at(backups, n));
}

static void render_cancel(struct page *p, const struct invocation *i, const struct json *data)
{
    bool is_over = str_eq(json_str(json_path(data, "backup.state"), "idle"), "idle");
    page_printf(p, "%s: %s\n", i->args[0], is_over ? "cancelled" : "is told to give up, and tidies up");
}

static bool question_cancel(const struct invocation *i, struct buf *ret)
{
    buf_printf(ret, "Cancel the backup, restore or verification of VM %s that is under way?", i->args[0]);
    return true;
}

static int build_schedule(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    (void)file;
    if (!i->set[OPT_CALENDAR])
        return error_set(e, ERR_USAGE, "backup schedule add needs --calendar EXPRESSION");
    set_option_str(i, OPT_CALENDAR, "calendar", args);
    return build_request(i, args, e);
}

static void render_schedules(struct page *p, const struct invocation *i, const struct json *data)
{
    static const struct grid_column columns[] = {
        {"VM", 0}, {"CALENDAR", 0}, {"REPOSITORY", 0}, {"ENGINE", 0}, {"CONSISTENCY", 0}, {"KEEP", 0}, {"NEXT", 0},
        {"LAST", 0},
    };
    const struct json *all = json_get(data, "backups");
    struct grid *g = grid_new(columns, sizeof(columns) / sizeof(columns[0]), p->width, p->colour);
    size_t rows = json_count(all);
    (void)i;
    for (size_t n = 0; n < rows; n++) {
        const struct json *b = json_at(all, n), *s = json_get(b, "schedule"), *last = json_get(b, "last");
        const char *result = json_get_str(last, "result", "never");
        grid_row(g);
        grid_cell(g, 0, STYLE_PLAIN, json_get_str(b, "vm", ""));
        grid_cell(g, 1, STYLE_PLAIN, json_get_str(s, "calendar", ""));
        grid_cell(g, 2, STYLE_PLAIN, json_get_str(s, "repository", ""));
        grid_cell(g, 3, STYLE_PLAIN, json_get_str(s, "engine", ""));
        grid_cell(g, 4, STYLE_PLAIN, json_get_str(s, "consistency", ""));
        grid_cell(g, 5, STYLE_PLAIN, json_get_str(s, "keep", "all"));
        grid_cell(g, 6, STYLE_PLAIN, time_text(json_get_str(s, "next", NULL), false).s);
        grid_cell(g, 7, str_eq(result, "failed") || str_eq(result, "lost") ? STYLE_WARN : STYLE_PLAIN, result);
    }
    page_grid(p, g, rows, "no schedules");
}

#define REQUEST_SYNOPSIS                                                                                               \
    "[--repository REPOSITORY] [--engine auto|full|rescan] [--consistency application|crash] [--limit RATE] "          \
    "[--keep RULE]"
#define REQUEST_MORE                                                                                                   \
    "  --repository REPOSITORY         where to (the only one there is)\n"                                             \
    "  --engine auto|full|rescan       how changes are found: the best that can be used; everything anew;\n"           \
    "                                  everything read and compared (auto)\n"                                          \
    "  --consistency application|crash whether the guest is asked to hold its file systems still (application)\n"      \
    "  --limit RATE                    bytes a second at most, such as 50MiB (no limit)\n"                             \
    "  --keep RULE                     which of its backups stay there, such as last=48,daily=7,monthly=12; older\n"   \
    "                                  ones are deleted, or folded into the next one (all stay)\n"
#define REQUEST_OPTIONS                                                                                                \
    OPT_BIT(OPT_REPOSITORY) | OPT_BIT(OPT_ENGINE) | OPT_BIT(OPT_CONSISTENCY) | OPT_BIT(OPT_LIMIT) |          \
        OPT_BIT(OPT_KEEP)

const struct verb backup_verbs[] = {
    {
        .words = "backup list",
        .wire = "backup.list",
        .synopsis = "[VM]",
        .brief = "list the backups: size, engine and why, how long they took; and what runs",
        .args_max = 1,
        .flags = VERB_READS,
        .build = build_may_name,
        .render = render_backups,
    },
    {
        .words = "backup start",
        .wire = "backup.start",
        .synopsis = "VM " REQUEST_SYNOPSIS,
        .brief = "back up a running virtual machine",
        .more = REQUEST_MORE,
        VERB_ARGS(1),
        .options = REQUEST_OPTIONS,
        .goal = GOAL_JOB,
        .build = build_start,
        .render = render_job,
    },
    {
        .words = "backup restore",
        .wire = "backup.restore",
        .synopsis = "VM [POINT] --to FOLDER [--name NAME] [--node NODE]",
        .brief = "make the files of a virtual machine as it was at a point, the newest if none is named",
        .more = "  --to FOLDER  where they are made; nothing is overwritten. The folder above it is there\n"
                "  --name NAME  it becomes another machine, with this name (the same one)\n"
                "  --node NODE  which node makes them (where the machine is)\n"
                "Then: clusterctl vm add --xml FOLDER/NAME.xml\n",
        .args_min = 1,
        .args_max = 2,
        .options = OPT_BIT(OPT_TO) | OPT_BIT(OPT_NAME) | OPT_BIT(OPT_NODE),
        .goal = GOAL_JOB,
        .build = build_restore,
        .render = render_job,
    },
    {
        .words = "backup verify",
        .wire = "backup.verify",
        .synopsis = "VM [POINT] [--repository REPOSITORY] [--node NODE]",
        .brief = "read all backups of a virtual machine, or what one stands on, and check every block",
        .more = "  --repository REPOSITORY  in which (where damage was found, or else that of its newest one)\n"
                "  --node NODE              which node does it (where the machine is)\n",
        .args_min = 1,
        .args_max = 2,
        .options = OPT_BIT(OPT_NODE) | OPT_BIT(OPT_REPOSITORY),
        .goal = GOAL_JOB,
        .build = build_verify,
        .render = render_job,
    },
    {
        .words = "backup cancel",
        .wire = "backup.cancel",
        .synopsis = "VM",
        .brief = "end its backup, restore or verification that is under way",
        VERB_ARGS(1),
        .build = build_name,
        .question = question_cancel,
        .render = render_cancel,
    },
    {
        .words = "backup schedule list",
        .wire = "backup.schedule.list",
        .synopsis = "",
        .brief = "list the schedules: what is due when",
        .flags = VERB_READS,
        .render = render_schedules,
    },
    {
        .words = "backup schedule add",
        .wire = "backup.schedule.add",
        .synopsis = "VM --calendar EXPRESSION " REQUEST_SYNOPSIS,
        .brief = "back up a virtual machine again and again",
        .more = "  --calendar EXPRESSION           when, in UTC: hourly, 'Mon..Fri 02:30', '*:0/15'\n" REQUEST_MORE,
        VERB_ARGS(1),
        .options = OPT_BIT(OPT_CALENDAR) | REQUEST_OPTIONS,
        .build = build_schedule,
        .render = render_done,
    },
    {
        .words = "backup schedule remove",
        .wire = "backup.schedule.remove",
        .synopsis = "VM",
        .brief = "back it up by hand alone from now on",
        VERB_ARGS(1),
        .build = build_name,
        .render = render_done,
    },
    {0},
};

/* ---- reference points ---- */

static void render_points(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)i;
    page_points(p, json_get(data, "points"));
}

static void page_disks(struct page *p, const struct json *disks)
{
    static const struct grid_column columns[] = {
        {"DISK", 0}, {"SIZE", GRID_RIGHT}, {"READ", GRID_RIGHT}, {"STORED", GRID_RIGHT}, {"ENGINE", 0}, {"TRACKING", 0},
    };
    struct grid *g = grid_new(columns, sizeof(columns) / sizeof(columns[0]), p->width, p->colour);
    for (size_t i = 0; i < json_count(disks); i++) {
        const struct json *d = json_at(disks, i);
        const char *reason = json_get_str(d, "reason", "");
        grid_row(g);
        grid_cell(g, 0, STYLE_PLAIN, json_get_str(d, "name", ""));
        grid_cell(g, 1, STYLE_PLAIN, size_text(json_get_int(d, "bytes", 0)).s);
        grid_cell(g, 2, STYLE_PLAIN, size_text(json_get_int(d, "read_bytes", 0)).s);
        grid_cell(g, 3, STYLE_PLAIN, size_text(json_get_int(d, "stored_bytes", 0)).s);
        grid_cellf(g, 4, STYLE_PLAIN, "%s%s%s", json_get_str(d, "engine", ""), reason[0] ? ": " : "", reason);
        grid_cell(g, 5, STYLE_PLAIN, json_get_str(d, "tracking", ""));
    }
    page_heading(p, "Disks");
    page_grid(p, g, json_count(disks), NULL);
}

static void render_point(struct page *p, const struct invocation *i, const struct json *data)
{
    const struct json *k = json_get(data, "point");
    const char *note = json_get_str(k, "note", "");
    (void)i;
    page_field(p, "Point", "%s", json_get_str(k, "uuid", "-"));
    page_field(p, "VM", "%s", json_get_str(k, "vm", "-"));
    page_field(p, "Repository", "%s, number %lld", json_get_str(k, "repository", "-"),
               (long long)json_get_int(k, "sequence", 0));
    page_field_json(p, "Parent", json_get(k, "parent"));
    page_field(p, "Engine", "%s%s%s", json_get_str(k, "engine", "-"), json_get_str(k, "reason", "")[0] ? ": " : "",
               json_get_str(k, "reason", ""));
    page_field(p, "Consistency", "%s%s%s", json_get_str(k, "consistency", "-"), note[0] ? ": " : "", note);
    page_field(p, "Created", "%s", time_text(json_get_str(k, "created", NULL), false).s);
    page_field(p, "Took", "%s; the guest stood %lld ms", time_of(json_get_int(k, "duration_ms", 0)).s,
               (long long)json_get_int(k, "pause_ms", 0));
    page_field_json(p, "Checkpoint", json_get(k, "checkpoint"));
    page_disks(p, json_get(k, "disks"));
}

static bool question_point_delete(const struct invocation *i, struct buf *ret)
{
    buf_printf(ret, "Forget reference point %s of VM %s? Its backup stays, the next one may have to read everything.",
               i->args[1], i->args[0]);
    return true;
}

const struct verb reference_verbs[] = {
    {
        .words = "reference list",
        .wire = "reference.list",
        .synopsis = "[VM]",
        .brief = "list the reference points, from which changes are told",
        .args_max = 1,
        .flags = VERB_READS,
        .build = build_may_name,
        .render = render_points,
    },
    {
        .words = "reference show",
        .wire = "reference.show",
        .synopsis = "VM POINT",
        .brief = "show one, with its disks",
        VERB_ARGS(2),
        .flags = VERB_READS,
        .build = build_point,
        .render = render_point,
    },
    {
        .words = "reference delete",
        .wire = "reference.delete",
        .synopsis = "VM POINT",
        .brief = "forget one; its backup stays",
        VERB_ARGS(2),
        .build = build_point,
        .question = question_point_delete,
        .render = render_done,
    },
    {0},
};
