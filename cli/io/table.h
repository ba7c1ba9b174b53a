/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A table of text, laid out by libsmartcols. All text is copied. */
#pragma once

#include "common/buf.h"

enum style { STYLE_PLAIN = 0, STYLE_BOLD, STYLE_DIM, STYLE_GOOD, STYLE_WARN, STYLE_BAD };
/* The terminal's sequence that begins a style; "" for STYLE_PLAIN. Never NULL. */
const char *style_sequence(enum style s);
#define STYLE_END "\033[0m"

enum { GRID_RIGHT = 1 };

struct grid_column {
    const char *title;
    unsigned flags; /* GRID_… */
};

struct grid;

/* width: of the terminal; 0: as wide as the text is. */
struct grid *grid_new(const struct grid_column *columns, size_t n, size_t width, bool colour);
void grid_free(struct grid *g);
void grid_freep(struct grid **g);

void grid_row(struct grid *g);
/* Of the newest row. NULL and "" give "-". */
void grid_cell(struct grid *g, size_t column, enum style style, const char *text);
void grid_cellf(struct grid *g, size_t column, enum style style, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The header line and a line a row; nothing if there is no row. */
void grid_print(const struct grid *g, struct buf *b);
