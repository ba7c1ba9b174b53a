/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text for people: where it is gathered, and how times, durations and errors look in it. */
#pragma once

#include "cli/env.h"
#include "cli/io/table.h"

struct page {
    struct buf text;
    bool colour;
    size_t width;    /* of the terminal; 0: as wide as the text is */
    int64_t wall_ms; /* now, for ages */
};
void page_done(struct page *p);

void page_printf(struct page *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void page_styled(struct page *p, enum style style, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* An empty line, unless the page is empty, and a bold one. */
void page_heading(struct page *p, const char *title);
/* "name      value" */
void page_field(struct page *p, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same if j is a string or a number; nothing else. */
void page_field_json(struct page *p, const char *name, const struct json *j);
/* The grid, and `otherwise` as a line of its own where it has no row (NULL: nothing). Takes the grid. */
void page_grid(struct page *p, struct grid *g, size_t rows, const char *otherwise);

/* "4m 12s", "2h 05m", "3d 4h". */
struct span {
    char s[32];
};
struct span span_text(int64_t seconds);
/* UTC ISO 8601, as the agent writes it; 0: it is none. */
int64_t time_parse_ms(const char *iso);
/* In the zone of whoever reads it: "2026-11-22 14:03:05", or with clock_only "14:03:05"; "-" for none. */
struct span time_text(const char *iso, bool clock_only);

/* "clusterctl: WHAT" and "remedy: COMMAND". */
void page_error(struct page *p, const struct error *e);
/* One object with findings: {check, result, object, text, remedy}. Returns how many neither pass nor are ok. */
size_t page_findings(struct page *p, const struct json *findings);

enum style style_of_state(const char *state); /* of a node, VM, run, step, job or severity */
const char *yes_no(bool v);
const char *plural(int64_t n); /* "s", or "" for 1 */
