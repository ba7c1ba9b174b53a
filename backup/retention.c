/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backup/retention.h"

#include <string.h>
#include <time.h>

enum { DAY_MS = 86400000, COUNT_MAX = 9999 };

static int64_t day_of(int64_t ms)
{
    return ms >= 0 ? ms / DAY_MS : (ms - DAY_MS + 1) / DAY_MS;
}

static int64_t week_of(int64_t ms)
{
    return (day_of(ms) + 3 + 7000000) / 7; /* 1 January 1970 was a Thursday */
}

static int64_t months_of(int64_t ms, int64_t divisor)
{
    time_t seconds = (time_t)(day_of(ms) * (DAY_MS / 1000));
    struct tm tm = {0};
    if (!gmtime_r(&seconds, &tm))
        return 0;
    return ((int64_t)tm.tm_year * 12 + tm.tm_mon) / divisor;
}

static int64_t month_of(int64_t ms)
{
    return months_of(ms, 1);
}

static int64_t year_of(int64_t ms)
{
    return months_of(ms, 12);
}

/* The newest point of each of the newest `count` periods. */
static void keep_periods(uint32_t count, int64_t (*period)(int64_t), const struct retention_point *points, size_t n,
                         struct retention_verdict *ret)
{
    int64_t last = 0;
    bool first = true;
    for (size_t i = n; i-- > 0 && count > 0;) {
        int64_t p = period(points[i].created_ms);
        if (!first && p == last)
            continue;
        ret[i].action = RETENTION_KEEP;
        last = p;
        first = false;
        count--;
    }
}

static void keep(const struct retention_rule *rule, const struct retention_point *points, size_t n,
                 struct retention_verdict *ret)
{
    bool all = !rule->last && !rule->daily && !rule->weekly && !rule->monthly && !rule->yearly;
    for (size_t i = 0; i < n; i++)
        ret[i] =
            (struct retention_verdict){all || i + 1 == n || n - i <= rule->last ? RETENTION_KEEP : RETENTION_DELETE, 0};
    keep_periods(rule->daily, day_of, points, n, ret);
    keep_periods(rule->weekly, week_of, points, n, ret);
    keep_periods(rule->monthly, month_of, points, n, ret);
    keep_periods(rule->yearly, year_of, points, n, ret);
}

bool retention_stands_on(const uint32_t *bases, size_t n, uint32_t sequence)
{
    for (size_t i = 0; i < n; i++)
        if (bases[i] == sequence)
            return true;
    return false;
}

/* From the newest to the oldest: what stands on a point was judged before it. A point that is folded into another hands
 * what lies behind it on to that one, so it still counts as one that stays. */
void retention_plan(const struct retention_rule *rule, const struct retention_point *points, size_t n,
                    struct retention_verdict *ret)
{
    keep(rule, points, n, ret);
    for (size_t i = n; i-- > 0;) {
        if (ret[i].action == RETENTION_KEEP)
            continue;
        size_t children = 0;
        for (size_t k = i + 1; k < n; k++)
            if (retention_stands_on(points[k].bases, points[k].n_bases, points[i].sequence) &&
                ret[k].action != RETENTION_DELETE) {
                children++;
                ret[i].other = points[k].sequence;
            }
        if (children == 1 && rule->fold)
            ret[i].action = RETENTION_FOLD;
        else if (children > 0)
            ret[i].action = RETENTION_NEEDED;
    }
}

/* ---- as text */

static uint32_t *count_of(struct retention_rule *r, const char *name, size_t len)
{
    static const char *const names[] = {"last", "daily", "weekly", "monthly", "yearly"};
    uint32_t *const counts[] = {&r->last, &r->daily, &r->weekly, &r->monthly, &r->yearly};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
            return counts[i];
    return NULL;
}

/* Digits alone, up to the comma or the end; 0: they are not. */
static uint32_t read_count(const char *text, size_t len)
{
    uint32_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9' || n > COUNT_MAX)
            return 0;
        n = 10 * n + (uint32_t)(text[i] - '0');
    }
    return n <= COUNT_MAX ? n : 0;
}

int retention_parse(const char *text, struct retention_rule *ret, struct error *e)
{
    struct retention_rule r = {.fold = true};
    for (const char *p = text;; p++) {
        size_t len = strcspn(p, ","), name = strcspn(p, "=");
        uint32_t *count = name < len ? count_of(&r, p, name) : NULL;
        uint32_t n = name < len ? read_count(p + name + 1, len - name - 1) : 0;
        if (!count || *count || !n)
            return error_set(e, ERR_USAGE, "what is kept is such as last=48,daily=7,weekly=4,monthly=12,yearly=3, each "
                                           "once and up to %d, not '%.40s'", COUNT_MAX, text);
        *count = n;
        p += len;
        if (!*p)
            break;
    }
    *ret = r;
    return 0;
}
