/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/print.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

enum { FIELD_WIDTH = 10 };

void page_done(struct page *p)
{
    buf_done(&p->text);
}

static void add_styled(struct page *p, enum style style, const char *text)
{
    size_t len = strlen(text);
    bool styled = p->colour && style != STYLE_PLAIN;
    bool ends_line = len > 0 && text[len - 1] == '\n';
    if (styled)
        buf_add_str(&p->text, style_sequence(style));
    buf_add(&p->text, text, ends_line ? len - 1 : len);
    if (styled)
        buf_add_str(&p->text, STYLE_END);
    if (ends_line)
        buf_add_str(&p->text, "\n");
}

static char *formatted(const char *fmt, va_list ap)
{
    char *text;
    if (vasprintf(&text, fmt, ap) < 0)
        abort();
    return text;
}

void page_printf(struct page *p, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    AUTO(freep) char *text = formatted(fmt, ap);
    va_end(ap);
    buf_add_str(&p->text, text);
}

void page_styled(struct page *p, enum style style, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    AUTO(freep) char *text = formatted(fmt, ap);
    va_end(ap);
    add_styled(p, style, text);
}

void page_heading(struct page *p, const char *title)
{
    if (p->text.len)
        buf_add_str(&p->text, "\n");
    add_styled(p, STYLE_BOLD, title);
    buf_add_str(&p->text, "\n");
}

void page_field(struct page *p, const char *name, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    AUTO(freep) char *text = formatted(fmt, ap);
    va_end(ap);
    page_styled(p, STYLE_BOLD, "%-*s", FIELD_WIDTH, name);
    page_printf(p, " %s\n", text);
}

void page_field_json(struct page *p, const char *name, const struct json *j)
{
    if (json_is_str(j) && json_str(j, "")[0])
        page_field(p, name, "%s", json_str(j, ""));
    else if (json_is_int(j))
        page_field(p, name, "%lld", (long long)json_int(j, 0));
    else if (json_is_bool(j))
        page_field(p, name, "%s", yes_no(json_bool(j, false)));
}

void page_grid(struct page *p, struct grid *g, size_t rows, const char *otherwise)
{
    if (rows)
        grid_print(g, &p->text);
    else if (otherwise)
        page_printf(p, "%s\n", otherwise);
    grid_free(g);
}

/* ---- times ------------------------------------------------------------------------------------------------------- */

struct span span_text(int64_t seconds)
{
    struct span t;
    long long s = seconds > 0 ? seconds : 0;
    if (s < 60)
        snprintf(t.s, sizeof(t.s), "%llds", s);
    else if (s < 3600)
        snprintf(t.s, sizeof(t.s), "%lldm %02llds", s / 60, s % 60);
    else if (s < 86400)
        snprintf(t.s, sizeof(t.s), "%lldh %02lldm", s / 3600, s / 60 % 60);
    else
        snprintf(t.s, sizeof(t.s), "%lldd %lldh", s / 86400, s / 3600 % 24);
    return t;
}

int64_t time_parse_ms(const char *iso)
{
    struct tm tm = {0};
    const char *rest = iso ? strptime(iso, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
    if (!rest)
        return 0;
    int64_t ms = 0;
    if (rest[0] == '.')
        for (int64_t unit = 100; rest[1] >= '0' && rest[1] <= '9' && unit > 0; rest++, unit /= 10)
            ms += unit * (rest[1] - '0');
    return (int64_t)timegm(&tm) * 1000 + ms;
}

struct span time_text(const char *iso, bool clock_only)
{
    struct span t = {.s = "-"};
    int64_t ms = time_parse_ms(iso);
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    if (ms && localtime_r(&seconds, &tm))
        strftime(t.s, sizeof(t.s), clock_only ? "%H:%M:%S" : "%Y-%m-%d %H:%M:%S", &tm);
    return t;
}

/* ---- errors and findings ----------------------------------------------------------------------------------------- */

void page_error(struct page *p, const struct error *e)
{
    page_styled(p, STYLE_BAD, "clusterctl:");
    page_printf(p, " %s\n", e->text[0] ? e->text : "failed, and nobody said why");
    if (e->remedy[0])
        page_printf(p, "remedy: %s\n", e->remedy);
}

size_t page_findings(struct page *p, const struct json *findings)
{
    size_t against = 0;
    for (size_t i = 0; i < json_count(findings); i++) {
        const struct json *f = json_at(findings, i);
        const char *result = json_get_str(f, "result", "");
        const char *object = json_get_str(f, "object", "");
        const char *remedy = json_get_str(f, "remedy", "");
        page_styled(p, style_of_state(result), "%-5s", result);
        page_printf(p, " %-12s %s%s%s\n", json_get_str(f, "check", ""), object, object[0] ? ": " : "",
                    json_get_str(f, "text", ""));
        if (str_eq(result, "pass") || str_eq(result, "ok"))
            continue;
        against++;
        if (remedy[0])
            page_printf(p, "%-18s remedy: %s\n", "", remedy);
    }
    return against;
}

enum style style_of_state(const char *state)
{
    static const struct {
        const char *state;
        enum style style;
    } styles[] = {
        {"online", STYLE_GOOD},
        {"running", STYLE_GOOD},
        {"done", STYLE_GOOD},
        {"pass", STYLE_GOOD},
        {"ok", STYLE_GOOD},
        {"draining", STYLE_WARN},
        {"paused", STYLE_WARN},
        {"joining", STYLE_WARN},
        {"evicting", STYLE_WARN},
        {"migrating", STYLE_WARN},
        {"starting", STYLE_WARN},
        {"stopping", STYLE_WARN},
        {"warn", STYLE_WARN},
        {"warning", STYLE_WARN},
        {"drained", STYLE_WARN},
        {"rebuilding", STYLE_WARN},
        {"aborting", STYLE_WARN},
        {"verifying", STYLE_WARN},
        {"awaiting-rejoin", STYLE_WARN},
        {"failback", STYLE_WARN},
        {"awaiting-raise", STYLE_WARN},
        {"cancelled", STYLE_WARN},
        {"rolling-back", STYLE_WARN},
        {"stopped", STYLE_DIM},
        {"pending", STYLE_DIM},
        {"skipped", STYLE_DIM},
        {"absent", STYLE_DIM},
        {"offline", STYLE_BAD},
        {"failed", STYLE_BAD},
        {"unknown", STYLE_BAD},
        {"paused-error", STYLE_BAD},
        {"fail", STYLE_BAD},
        {"error", STYLE_BAD},
        {"critical", STYLE_BAD},
    };
    for (size_t i = 0; i < sizeof(styles) / sizeof(styles[0]); i++)
        if (str_eq(styles[i].state, state))
            return styles[i].style;
    return STYLE_PLAIN;
}

const char *yes_no(bool v)
{
    return v ? "yes" : "no";
}

const char *plural(int64_t n)
{
    return n == 1 ? "" : "s";
}
