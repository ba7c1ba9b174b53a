/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The plan of an upgrade in text: the order, what each node's absence leaves, and where its virtual machines go. */
#include <stdio.h>

#include "cli/noun.h"

enum { TARGETS_MAX = 128, NAMED_MAX = 4 /* VMs of one target by name; of more only how many */ };

/* With the others that may be away then, or why it is no step. */
static void page_note(struct grid *g, const struct json *step, bool skipped)
{
    const struct json *with = json_get(step, "with");
    size_t n = json_count(with);
    if (skipped)
        grid_cell(g, 6, STYLE_DIM, "skipped: has it already");
    else if (n > 0)
        grid_cellf(g, 6, STYLE_DIM, "beside %s%s", json_str(json_at(with, 0), ""), n > 1 ? " and others" : "");
    else
        grid_cell(g, 6, STYLE_DIM, "");
}

static void page_steps(struct page *p, const struct json *steps)
{
    static const struct grid_column columns[] = {
        {"#", GRID_RIGHT}, {"NODE", 0},         {"FROM", 0}, {"VMS", GRID_RIGHT},
        {"VOTES LEFT", 0}, {"FULLEST THEN", 0}, {"NOTE", 0},
    };
    struct grid *g = grid_new(columns, sizeof(columns) / sizeof(columns[0]), p->width, p->colour);
    size_t rows = json_count(steps);
    for (size_t k = 0; k < rows; k++) {
        const struct json *s = json_at(steps, k), *outlook = json_get(s, "outlook");
        const char *fullest = json_get_str(outlook, "fullest", "");
        bool skipped = json_get_bool(s, "skipped", false);
        grid_row(g);
        grid_cellf(g, 0, STYLE_PLAIN, "%zu", k + 1);
        grid_cell(g, 1, STYLE_PLAIN, json_get_str(s, "node", ""));
        grid_cell(g, 2, STYLE_PLAIN, json_get_str(s, "from_release", ""));
        grid_cellf(g, 3, STYLE_PLAIN, "%lld", (long long)json_get_int(s, "vms", 0));
        if (!skipped)
            grid_cellf(g, 4, STYLE_PLAIN, "%lld of %lld", (long long)json_get_int(s, "votes_after", 0),
                       (long long)json_get_int(s, "votes_total", 0));
        if (!skipped && fullest[0])
            grid_cellf(g, 5, STYLE_PLAIN, "%s %lld%%", fullest, (long long)json_get_int(outlook, "fullest_percent", 0));
        page_note(g, s, skipped);
    }
    page_grid(p, g, rows, "no node is to be upgraded");
}

/* ---- moves ------------------------------------------------------------------------------------------------------- */

struct target {
    const char *name; /* "": nowhere */
    size_t n;
    const char *vms[NAMED_MAX];
};

static struct target *target_of(struct target *targets, size_t *n, const char *name)
{
    for (size_t i = 0; i < *n; i++)
        if (str_eq(targets[i].name, name))
            return &targets[i];
    if (*n == TARGETS_MAX)
        return NULL;
    targets[*n] = (struct target){.name = name};
    return &targets[(*n)++];
}

static void page_target(struct page *p, const struct target *t, bool is_first)
{
    page_printf(p, "%s", is_first ? "" : ", ");
    if (t->n > NAMED_MAX)
        page_printf(p, "%zu virtual machines", t->n);
    for (size_t i = 0; t->n <= NAMED_MAX && i < t->n; i++)
        page_printf(p, "%s%s", i ? " " : "", t->vms[i]);
    if (t->name[0])
        page_printf(p, " to %s", t->name);
    else
        page_styled(p, STYLE_BAD, " nowhere");
}

static void page_moves_of(struct page *p, const struct json *step)
{
    struct target targets[TARGETS_MAX];
    size_t n = 0;
    const struct json *moves = json_path(step, "outlook.moves");
    for (size_t k = 0; k < json_count(moves); k++) {
        const struct json *m = json_at(moves, k);
        struct target *t = target_of(targets, &n, json_get_str(m, "to", ""));
        if (t && t->n < NAMED_MAX)
            t->vms[t->n] = json_get_str(m, "vm", "");
        if (t)
            t->n++;
    }
    if (n == 0 || json_get_bool(step, "skipped", false))
        return;
    page_printf(p, "off %s: ", json_get_str(step, "node", ""));
    for (size_t i = 0; i < n; i++)
        page_target(p, &targets[i], i == 0);
    page_printf(p, "\n");
}

void page_plan(struct page *p, const struct json *plan)
{
    const struct json *steps = json_get(plan, "steps");
    page_steps(p, steps);
    for (size_t k = 0; k < json_count(steps); k++)
        page_moves_of(p, json_at(steps, k));
}
