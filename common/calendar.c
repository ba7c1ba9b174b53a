/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/calendar.h"

#include <stdbool.h>
#include <string.h>

#include "common/buf.h"

enum { DAY_S = 86400, WORD_MAX = 16 };

/* ---- parsing ---- */

struct scan {
    const char *text, *p;
    struct error *e;
};

/* A value of `min` to `max`; to it belongs a set of bits. */
struct unit {
    const char *name;
    uint32_t min, max;
};
static const struct unit unit_year = {"year", CALENDAR_YEAR_FIRST, CALENDAR_YEAR_LAST}, unit_month = {"month", 1, 12},
                         unit_day = {"day", 1, 31}, unit_hour = {"hour", 0, 23}, unit_minute = {"minute", 0, 59},
                         unit_second = {"second", 0, 59};

struct range {
    uint32_t from, to, step;
};

static int wrong(const struct scan *s, const char *at, const char *why)
{
    error_set(s->e, ERR_USAGE, "calendar expression '%s', character %zu: %s", s->text, (size_t)(at - s->text) + 1, why);
    if (s->e)
        error_set_remedy(s->e, "for example: hourly; Mon..Fri 02:30; *:0/15; clusterctl-task(8) says what may stand");
    return ERR_USAGE;
}

static int out_of_range(const struct scan *s, const char *at, const struct unit *u)
{
    error_set(s->e, ERR_USAGE, "calendar expression '%s', character %zu: a %s is a number from %u to %u", s->text,
              (size_t)(at - s->text) + 1, u->name, u->min, u->max);
    return ERR_USAGE;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_letter(char c)
{
    return lower(c) >= 'a' && lower(c) <= 'z';
}

static int number(struct scan *s, const struct unit *u, uint32_t min, uint32_t *ret)
{
    const char *at = s->p;
    uint32_t v = 0;
    for (; is_digit(*s->p) && s->p - at < 5; s->p++)
        v = v * 10 + (uint32_t)(*s->p - '0');
    if (s->p == at || is_digit(*s->p) || v < min || v > u->max)
        return out_of_range(s, at, u);
    *ret = v;
    return 0;
}

static bool takes(struct scan *s, const char *mark)
{
    size_t n = strlen(mark);
    if (strncmp(s->p, mark, n) != 0)
        return false;
    s->p += n;
    return true;
}

/* N, N..M, N/STEP, N..M/STEP. A step without an end goes on to the last there is. One that leads to nothing is refused,
 * as systemd does. */
static int range(struct scan *s, const struct unit *u, struct range *ret)
{
    struct range r = {.step = 1};
    const char *at = s->p;
    int err = number(s, u, u->min, &r.from);
    if (err)
        return err;
    r.to = r.from;
    bool has_end = takes(s, "..");
    if (has_end && (err = number(s, u, u->min, &r.to)))
        return err;
    if (has_end && r.to <= r.from)
        return wrong(s, at, "the range ends before, or where, it begins");
    if (takes(s, "/")) {
        if ((err = number(s, u, 1, &r.step)))
            return err;
        r.to = has_end ? r.to : u->max;
        if (r.from + r.step > r.to)
            return wrong(s, at, "the step leads beyond the end");
    }
    *ret = r;
    return 0;
}

static uint64_t bits_of(const struct range *r)
{
    uint64_t bits = 0;
    for (uint32_t v = r->from; v <= r->to; v += r->step)
        bits |= UINT64_C(1) << v;
    return bits;
}

static int set(struct scan *s, const struct unit *u, uint64_t *ret)
{
    uint64_t bits = 0;
    struct range r = {.from = u->min, .to = u->max, .step = 1};
    if (takes(s, "*")) {
        *ret = bits_of(&r);
        return 0;
    }
    do {
        int err = range(s, u, &r);
        if (err)
            return err;
        bits |= bits_of(&r);
    } while (takes(s, ","));
    *ret = bits;
    return 0;
}

static int years(struct scan *s, struct calendar *c)
{
    c->n_years = 0;
    if (takes(s, "*"))
        return 0;
    do {
        struct range r;
        const char *at = s->p;
        int err = range(s, &unit_year, &r);
        if (err)
            return err;
        if (c->n_years == CALENDAR_YEARS_MAX)
            return wrong(s, at, "too many years");
        c->years[c->n_years++] = (struct calendar_years){(uint16_t)r.from, (uint16_t)r.to, (uint16_t)r.step};
    } while (takes(s, ","));
    return 0;
}

/* The letters at p in lower case, and how many there are; 0: too many. */
static size_t word(const char *p, char ret[WORD_MAX])
{
    size_t n = 0;
    for (; is_letter(p[n]); n++) {
        if (n == WORD_MAX - 1)
            return 0;
        ret[n] = lower(p[n]);
    }
    ret[n] = '\0';
    return n;
}

static int weekday(struct scan *s, uint32_t *ret)
{
    static const char *const names[] = {"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"};
    char w[WORD_MAX];
    size_t n = word(s->p, w);
    for (uint32_t i = 0; i < 7; i++)
        if (str_eq(w, names[i]) || (n == 3 && strncmp(w, names[i], 3) == 0)) {
            s->p += n;
            *ret = i;
            return 0;
        }
    return wrong(s, s->p, "a day of the week is Mon, Tue, Wed, Thu, Fri, Sat or Sun");
}

static int weekdays(struct scan *s, struct calendar *c)
{
    c->weekdays = 0;
    do {
        struct range r = {.step = 1};
        const char *at = s->p;
        int err = weekday(s, &r.from);
        r.to = r.from;
        if (!err && takes(s, ".."))
            err = weekday(s, &r.to);
        if (err)
            return err;
        if (r.to < r.from)
            return wrong(s, at, "the range ends before it begins");
        c->weekdays |= (uint8_t)bits_of(&r);
    } while (takes(s, ","));
    return 0;
}

/* [YEAR-]MONTH-DAY */
static int date(struct scan *s, struct calendar *c, bool has_year)
{
    uint64_t months, days;
    int err = has_year ? years(s, c) : 0;
    if (!err && has_year && !takes(s, "-"))
        return wrong(s, s->p, "a date is YEAR-MONTH-DAY or MONTH-DAY");
    err = err ? err : set(s, &unit_month, &months);
    if (!err && !takes(s, "-"))
        return wrong(s, s->p, "a date is YEAR-MONTH-DAY or MONTH-DAY");
    err = err ? err : set(s, &unit_day, &days);
    if (err)
        return err;
    c->months = (uint16_t)months;
    c->days = (uint32_t)days;
    return 0;
}

/* HOUR:MINUTE[:SECOND] */
static int time_of_day(struct scan *s, struct calendar *c)
{
    uint64_t hours;
    int err = set(s, &unit_hour, &hours);
    if (!err && !takes(s, ":"))
        return wrong(s, s->p, "a time is HOUR:MINUTE or HOUR:MINUTE:SECOND");
    err = err ? err : set(s, &unit_minute, &c->minutes);
    if (!err && takes(s, ":"))
        err = set(s, &unit_second, &c->seconds);
    if (!err)
        c->hours = (uint32_t)hours;
    return err;
}

/* How many of them stand in the word at p. */
static size_t count(const char *p, char c)
{
    size_t n = 0;
    for (; *p && *p != ' '; p++)
        n += *p == c;
    return n;
}

static const struct calendar midnights = {
    .weekdays = 0x7f, .months = 0x1ffe, .days = 0xfffffffe, .hours = 1, .minutes = 1, .seconds = 1};

static bool shorthand(const char *text, struct calendar *ret)
{
    static const struct {
        const char *name, *means;
    } all[] = {
        {"minutely", "*-*-* *:*:00"},
        {"hourly", "*-*-* *:00:00"},
        {"daily", "*-*-* 00:00:00"},
        {"weekly", "Mon *-*-* 00:00:00"},
        {"monthly", "*-*-01 00:00:00"},
        {"quarterly", "*-01,04,07,10-01 00:00:00"},
        {"semiannually", "*-01,07-01 00:00:00"},
        {"yearly", "*-01-01 00:00:00"},
        {"annually", "*-01-01 00:00:00"},
    };
    char w[WORD_MAX];
    size_t n = word(text, w);
    for (size_t i = 0; n > 0 && text[n] == '\0' && i < sizeof(all) / sizeof(all[0]); i++)
        if (str_eq(w, all[i].name))
            return calendar_parse(all[i].means, ret, NULL) == 0;
    return false;
}

/* The parts in their order; each may be missing, not all. */
static int parts(struct scan *s, struct calendar *c)
{
    bool has_any = false;
    int err = 0;
    if (is_letter(*s->p) && !str_eq(s->p, "UTC")) {
        err = weekdays(s, c);
        has_any = true;
        if (err || !takes(s, " "))
            return err;
    }
    size_t dashes = count(s->p, '-');
    if (dashes > 0) {
        err = date(s, c, dashes > 1);
        has_any = true;
        if (err || !takes(s, " "))
            return err;
    }
    if (count(s->p, ':') > 0) {
        err = time_of_day(s, c);
        has_any = true;
        if (err || !takes(s, " "))
            return err;
    }
    return has_any && takes(s, "UTC") ? 0 : wrong(s, s->p, has_any ? "only UTC may stand here" : "nothing is said");
}

int calendar_parse(const char *text, struct calendar *ret, struct error *e)
{
    struct scan s = {.text = text, .p = text, .e = e};
    struct calendar c = midnights;
    int64_t first;
    if (strlen(text) >= CALENDAR_TEXT_MAX)
        return error_set(e, ERR_USAGE, "a calendar expression is no longer than %d characters", CALENDAR_TEXT_MAX - 1);
    if (shorthand(text, ret))
        return 0;
    int err = parts(&s, &c);
    if (err)
        return err;
    if (*s.p)
        return wrong(&s, s.p, "what stands here is not understood");
    if (calendar_next(&c, -1, &first))
        return error_set(e, ERR_USAGE, "calendar expression '%s': there is no such day", text);
    *ret = c;
    return 0;
}

/* ---- what comes next ---- */

static bool is_leap(uint32_t y)
{
    return y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
}

static uint32_t month_days(uint32_t y, uint32_t m)
{
    static const uint8_t days[] = {0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return m == 2 && is_leap(y) ? 29 : days[m];
}

static bool has_year(const struct calendar *c, uint32_t y)
{
    bool has = c->n_years == 0;
    for (size_t i = 0; i < c->n_years && !has; i++)
        has = y >= c->years[i].from && y <= c->years[i].to && (y - c->years[i].from) % c->years[i].step == 0;
    return has;
}

/* The lowest bit that is not below `from`; 64: none. */
static uint32_t next_bit(uint64_t bits, uint32_t from)
{
    while (from < 64 && !(bits >> from & 1))
        from++;
    return from;
}

/* The first time of a day that is not before that second of it. */
static bool time_from(const struct calendar *c, uint32_t from_s, uint32_t *ret_s)
{
    uint32_t h = from_s / 3600, m = from_s / 60 % 60, s = next_bit(c->seconds, from_s % 60);
    if (s == 64) {
        s = next_bit(c->seconds, 0);
        m++;
    }
    if (next_bit(c->minutes, m) != m)
        s = next_bit(c->seconds, 0);
    m = next_bit(c->minutes, m);
    if (m == 64)
        h++;
    if (m == 64 || next_bit(c->hours, h) != h) {
        m = next_bit(c->minutes, 0);
        s = next_bit(c->seconds, 0);
    }
    h = next_bit(c->hours, h);
    *ret_s = h * 3600 + m * 60 + s;
    return h < 24;
}

struct day {
    uint32_t year, month, day;
    int64_t number; /* since 1970-01-01, a Thursday */
};

static bool is_due_on(const struct calendar *c, const struct day *d)
{
    return (c->months >> d->month & 1) && (c->days >> d->day & 1) && (c->weekdays >> ((d->number + 3) % 7) & 1);
}

static void next_day(struct day *d)
{
    d->number++;
    if (++d->day <= month_days(d->year, d->month))
        return;
    d->day = 1;
    if (++d->month <= 12)
        return;
    d->month = 1;
    d->year++;
}

/* Over the years, one by one: there are few. */
static struct day day_of(int64_t number)
{
    struct day d = {.year = CALENDAR_YEAR_FIRST, .month = 1, .day = 1};
    for (int64_t n; n = is_leap(d.year) ? 366 : 365, d.number + n <= number; d.year++)
        d.number += n;
    for (uint32_t n; n = month_days(d.year, d.month), d.number + n <= number; d.month++)
        d.number += n;
    d.day += (uint32_t)(number - d.number);
    d.number = number;
    return d;
}

static void next_year(struct day *d)
{
    for (uint32_t y = d->year; d->year == y;) {
        d->number += month_days(d->year, d->month) - d->day + 1;
        d->day = 1;
        d->year += d->month == 12;
        d->month = d->month % 12 + 1;
    }
}

int calendar_next(const struct calendar *c, int64_t after_ms, int64_t *ret_ms)
{
    const int64_t last_s = (int64_t)(CALENDAR_YEAR_LAST + 1 - CALENDAR_YEAR_FIRST) * 366 * DAY_S;
    int64_t from_s = after_ms < 0 ? 0 : after_ms / 1000 + 1;
    uint32_t s;
    if (from_s >= last_s)
        return ERR_NOT_FOUND;
    struct day d = day_of(from_s / DAY_S);
    for (uint32_t at_s = (uint32_t)(from_s % DAY_S); d.year <= CALENDAR_YEAR_LAST; at_s = 0) {
        if (!has_year(c, d.year)) {
            next_year(&d);
            continue;
        }
        if (is_due_on(c, &d) && time_from(c, at_s, &s)) {
            *ret_ms = (d.number * DAY_S + s) * 1000;
            return 0;
        }
        next_day(&d);
    }
    return ERR_NOT_FOUND;
}
