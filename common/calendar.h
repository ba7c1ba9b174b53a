/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calendar expressions: when something is due, in UTC. A subset of systemd.time(7), OnCalendar:
 *
 *   [WEEKDAYS] [[YEAR-]MONTH-DAY] [HOUR:MINUTE[:SECOND]] [UTC]
 *   minutely | hourly | daily | weekly | monthly | quarterly | semiannually | yearly | annually
 *
 *   WEEKDAYS       Mon, Monday … joined by commas, or from..to:   Mon..Fri,Sun
 *   all others     a list joined by commas of   *   N   N..M   N/STEP   N..M/STEP:   *:0/15
 *
 * Without a date: every day; without a time: midnight; without seconds: 0. At least one part must be there. What
 * systemd knows beyond this (~ for days from the end, fractions, two-digit years, other zones) is refused, and so is
 * what never comes: *-02-30. Where both take an expression they mean the same. */
#pragma once

#include "common/err.h"

#include <stdint.h>

enum { CALENDAR_TEXT_MAX = 128, CALENDAR_YEARS_MAX = 8, CALENDAR_YEAR_FIRST = 1970, CALENDAR_YEAR_LAST = 2199 };

struct calendar_years {
    uint16_t from, to, step;
};
struct calendar {
    uint8_t weekdays; /* bit 0: Monday */
    struct calendar_years years[CALENDAR_YEARS_MAX];
    uint8_t n_years;           /* 0: every one */
    uint16_t months;           /* bit 1: January */
    uint32_t days;             /* bit 1: the first */
    uint32_t hours;            /* bit 0: midnight */
    uint64_t minutes, seconds; /* bit 0: the first */
};

/* 0, or ERR_USAGE: *e says at which character what is wrong. The text may be any bytes up to its NUL. */
int calendar_parse(const char *text, struct calendar *ret, struct error *e);

/* The first one after that time, both in ms since 1970-01-01T00:00:00Z; whole seconds. ERR_NOT_FOUND: none comes up to
 * the end of CALENDAR_YEAR_LAST. */
int calendar_next(const struct calendar *c, int64_t after_ms, int64_t *ret_ms);
