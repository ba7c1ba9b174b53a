/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/io/table.h"

#include <assert.h>
#include <stdarg.h>

#include <libsmartcols/libsmartcols.h>

#include "common/text.h"

struct grid {
    struct libscols_table *table;
    struct libscols_line *row; /* newest; borrowed */
    size_t n_columns;
};

/* ECMA-48, "select graphic rendition". */
const char *style_sequence(enum style s)
{
    switch (s) {
    case STYLE_BOLD: return "\033[1m";
    case STYLE_DIM: return "\033[2m";
    case STYLE_GOOD: return "\033[32m";
    case STYLE_WARN: return "\033[33m";
    case STYLE_BAD: return "\033[1;31m";
    case STYLE_PLAIN: break;
    }
    return "";
}

/* libsmartcols reports nothing but lack of memory. */
static void check(int err)
{
    if (err)
        abort();
}

struct grid *grid_new(const struct grid_column *columns, size_t n, size_t width, bool colour)
{
    struct grid *g = xcalloc(1, sizeof(*g));
    g->n_columns = n;
    g->table = scols_new_table();
    if (!g->table)
        abort();
    check(scols_table_enable_colors(g->table, colour));
    if (width) {
        check(scols_table_set_termforce(g->table, SCOLS_TERMFORCE_ALWAYS));
        check(scols_table_set_termwidth(g->table, width));
    } else {
        check(scols_table_set_termforce(g->table, SCOLS_TERMFORCE_NEVER));
    }
    for (size_t i = 0; i < n; i++)
        if (!scols_table_new_column(g->table, columns[i].title, 0, columns[i].flags & GRID_RIGHT ? SCOLS_FL_RIGHT : 0))
            abort();
    return g;
}

void grid_free(struct grid *g)
{
    if (!g)
        return;
    scols_unref_table(g->table);
    free(g);
}

void grid_freep(struct grid **g)
{
    grid_free(*g);
    *g = NULL;
}

void grid_row(struct grid *g)
{
    g->row = scols_table_new_line(g->table, NULL);
    if (!g->row)
        abort();
    for (size_t i = 0; i < g->n_columns; i++)
        check(scols_line_set_data(g->row, i, "-"));
}

void grid_cell(struct grid *g, size_t column, enum style style, const char *text)
{
    assert(g->row && column < g->n_columns);
    if (!text || text[0] == '\0')
        return;
    check(scols_line_set_data(g->row, column, text));
    if (style != STYLE_PLAIN)
        check(scols_cell_set_color(scols_line_get_cell(g->row, column), style_sequence(style)));
}

void grid_cellf(struct grid *g, size_t column, enum style style, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    text_vformat(text, sizeof(text), fmt, ap);
    va_end(ap);
    grid_cell(g, column, style, text);
}

void grid_print(const struct grid *g, struct buf *b)
{
    char *text = NULL;
    if (scols_table_get_nlines(g->table) == 0)
        return;
    check(scols_print_table_to_string(g->table, &text));
    buf_add_str(b, text);
    size_t len = strlen(text);
    if (len && text[len - 1] != '\n')
        buf_add_str(b, "\n");
    free(text);
}
