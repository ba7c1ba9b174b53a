/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The longest common subsequence of two texts' lines, by the table of all their ends. */
#include "tests/sim/diff.h"

#include <stdio.h>

#include "common/buf.h"

enum { AROUND = 2 };

struct lines {
    char *text; /* owned: the lines point into it */
    char **line;
    size_t n;
};

static struct lines lines_of(const char *text)
{
    struct lines l = {.text = xstrdup(text)};
    char *at = NULL;
    for (char *p = strtok_r(l.text, "\n", &at); p != NULL; p = strtok_r(NULL, "\n", &at)) {
        l.line = xrealloc(l.line, l.n + 1, sizeof(*l.line));
        l.line[l.n++] = p;
    }
    return l;
}

static void lines_done(struct lines *l)
{
    free(l->text);
    free(l->line);
}

struct table {
    const struct lines *a, *b;
    unsigned *common; /* [i][k]: of a from i on and b from k on */
};

static unsigned *cell(const struct table *t, size_t i, size_t k)
{
    return &t->common[i * (t->b->n + 1) + k];
}

static void fill(struct table *t)
{
    for (size_t i = t->a->n; i-- > 0;)
        for (size_t k = t->b->n; k-- > 0;) {
            unsigned down = *cell(t, i + 1, k), right = *cell(t, i, k + 1);
            bool same = str_eq(t->a->line[i], t->b->line[k]);
            *cell(t, i, k) = same ? *cell(t, i + 1, k + 1) + 1 : down > right ? down : right;
        }
}

/* Lines that both have are shown only near a difference. */
static void print_common(const struct table *t, size_t i, size_t n, bool after, bool before)
{
    for (size_t k = 0; k < n; k++)
        if ((after && k < AROUND) || (before && n - k <= AROUND))
            printf("  %s\n", t->a->line[i + k]);
        else if ((after && k == AROUND) || (!after && k == 0))
            printf("  ...\n");
}

static void print(const struct table *t)
{
    size_t i = 0, k = 0, same = 0;
    bool differed = false;
    while (i < t->a->n || k < t->b->n) {
        if (i < t->a->n && k < t->b->n && str_eq(t->a->line[i], t->b->line[k])) {
            i++, k++, same++;
            continue;
        }
        print_common(t, i - same, same, differed, true);
        differed = true;
        same = 0;
        if (i < t->a->n && (k == t->b->n || *cell(t, i + 1, k) >= *cell(t, i, k + 1)))
            printf("- %s\n", t->a->line[i++]);
        else
            printf("+ %s\n", t->b->line[k++]);
    }
    print_common(t, i - same, same, differed, false);
}

void diff_print(const char *expected, const char *found)
{
    struct lines a = lines_of(expected), b = lines_of(found);
    struct table t = {.a = &a, .b = &b, .common = xcalloc((a.n + 1) * (b.n + 1), sizeof(unsigned))};
    fill(&t);
    print(&t);
    free(t.common);
    lines_done(&a);
    lines_done(&b);
}
