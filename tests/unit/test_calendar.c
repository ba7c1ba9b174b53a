/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calendar expressions: by hand, against a search second by second, and against systemd where it is installed. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/calendar.h"
#include "common/prng.h"

static int64_t ms(const char *text)
{
    struct tm tm = {0};
    assert_non_null(strptime(text, "%Y-%m-%d %H:%M:%S", &tm));
    return (int64_t)timegm(&tm) * 1000;
}

static void text_of(int64_t at_ms, char ret[32])
{
    time_t s = (time_t)(at_ms / 1000);
    struct tm tm;
    gmtime_r(&s, &tm);
    strftime(ret, 32, "%Y-%m-%d %H:%M:%S", &tm);
}

static void test_next(void **state)
{
    (void)state;
    static const struct {
        const char *text, *after, *next; /* NULL: never */
    } cases[] = {
        {"minutely", "2026-11-30 22:06:59", "2026-11-30 22:07:00"},
        {"hourly", "2026-12-31 23:00:00", "2027-01-01 00:00:00"},
        {"daily", "2026-11-30 22:06:59", "2026-12-01 00:00:00"},
        {"weekly", "2026-11-30 00:00:00", "2026-12-07 00:00:00"}, /* a Monday */
        {"monthly", "2026-11-30 00:00:00", "2026-12-01 00:00:00"},
        {"quarterly", "2026-11-30 00:00:00", "2027-01-01 00:00:00"},
        {"semiannually", "2026-01-01 00:00:00", "2026-07-01 00:00:00"},
        {"yearly", "2026-01-01 00:00:00", "2027-01-01 00:00:00"},
        {"Annually", "2026-01-01 00:00:00", "2027-01-01 00:00:00"},
        {"Mon..Fri 02:30", "2026-11-27 02:30:00", "2026-11-30 02:30:00"}, /* over the weekend */
        {"Mon..Fri 02:30", "2026-11-27 02:29:59", "2026-11-27 02:30:00"},
        {"sat,Sunday", "2026-11-30 00:00:00", "2026-12-05 00:00:00"},
        {"*:0/15", "2026-11-30 22:06:59", "2026-11-30 22:15:00"},
        {"*:0/15", "2026-11-30 23:45:00", "2026-12-01 00:00:00"},
        {"*:0/15 UTC", "2026-11-30 23:44:59", "2026-11-30 23:45:00"},
        {"*-*-* 02:00:00", "2026-11-30 22:06:59", "2026-12-01 02:00:00"},
        {"12-24 18:00", "2026-12-24 18:00:00", "2027-12-24 18:00:00"},
        {"2026-12-24", "2026-11-30 00:00:00", "2026-12-24 00:00:00"},
        {"2026-12-24", "2026-12-24 00:00:00", NULL},
        {"*-02-29", "2026-11-30 00:00:00", "2028-02-29 00:00:00"},
        {"*-02-29", "2096-02-29 00:00:00", "2104-02-29 00:00:00"}, /* 2100 is no leap year */
        {"Mon *-02-29", "2026-01-01 00:00:00", "2044-02-29 00:00:00"},
        {"2024..2030/2-01-01", "2026-01-01 00:00:00", "2028-01-01 00:00:00"},
        {"2024,2027-6..8-1/10 8..10/2:30:15,45", "2026-11-30 00:00:00", "2027-06-01 08:30:15"},
        {"2024,2027-6..8-1/10 8..10/2:30:15,45", "2027-06-01 08:30:15", "2027-06-01 08:30:45"},
        {"2024,2027-6..8-1/10 8..10/2:30:15,45", "2027-06-01 10:30:45", "2027-06-11 08:30:15"},
        {"2024,2027-6..8-1/10 8..10/2:30:15,45", "2027-08-31 10:30:45", NULL},
        {"23:59:59", "2026-12-31 23:59:59", "2027-01-01 23:59:59"},
        {"*-*-31", "2026-03-31 00:00:00", "2026-05-31 00:00:00"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct calendar c;
        struct error e = {0};
        int64_t next_ms = 0;
        char text[32] = "";
        if (calendar_parse(cases[i].text, &c, &e))
            fail_msg("%s", e.text);
        int err = calendar_next(&c, ms(cases[i].after), &next_ms);
        if (!err)
            text_of(next_ms, text);
        if ((err != 0) != (cases[i].next == NULL) || (!err && !str_eq(text, cases[i].next)))
            fail_msg("'%s' after %s: %s, not %s", cases[i].text, cases[i].after, err ? "never" : text,
                     cases[i].next ? cases[i].next : "never");
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "character 1: nothing is said"},
        {"UTC", "character 1"},
        {"often", "character 1: a day of the week"},
        {"Mon..", "character 6: a day of the week"},
        {"Fri..Mon", "character 1: the range ends before it begins"},
        {"25:00", "character 1: a hour is a number from 0 to 23"},
        {"12:60", "character 4: a minute is a number from 0 to 59"},
        {"12:00:61", "character 7: a second"},
        {"12:00:00.5", "character 9: what stands here"},
        {"12", "character 1: nothing is said"},
        {"Mon 12", "character 5: only UTC may stand here"},
        {"*-13-01", "character 3: a month"},
        {"*-00-01", "character 3: a month"},
        {"*-1-32", "character 5: a day"},
        {"*-2-30", "there is no such day"},
        {"1969-1-1", "character 1: a year"},
        {"99999-1-1", "character 1: a year"},
        {"26-1-1", "character 1: a year"},
        {"*-*~1", "character 4: what stands here"},
        {"*-*-1..1", "character 5: the range ends before, or where"},
        {"*:50/10", "character 3: the step leads beyond"},
        {"*:0..10/11", "character 3: the step leads beyond"},
        {"*:*/15", "character 4: what stands here"},
        {"*:0/0", "character 5: a minute is a number"},
        {"*:30..10", "character 3: the range ends"},
        {"*:0,", "character 5: a minute"},
        {"daily ", "character 1: a day of the week"},
        {"Mon  12:00", "character 5: only UTC"},
        {"12:00 Europe/Berlin", "character 7: only UTC"},
        {"1970,1971,1972,1973,1974,1975,1976,1977,1978-1-1", "character 41: too many years"},
        {"00000000000000000000000000012:00", "character 1: a hour"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct calendar c = {.n_years = 99};
        struct error e = {0};
        assert_int_equal(calendar_parse(cases[i].text, &c, &e), ERR_USAGE);
        assert_int_equal(c.n_years, 99); /* untouched */
        if (!strstr(e.text, cases[i].says))
            fail_msg("'%s': \"%s\" does not say \"%s\"", cases[i].text, e.text, cases[i].says);
    }
    char longest[CALENDAR_TEXT_MAX + 1];
    memset(longest, '1', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(calendar_parse(longest, &(struct calendar){0}, NULL), ERR_USAGE);
}

/* ---- random ones ---- */

static void add_set(struct prng *r, struct buf *b, unsigned min, unsigned max)
{
    unsigned from = min + (unsigned)prng_below(r, max - min), to = from + 1 + (unsigned)prng_below(r, max - from);
    unsigned step = 1 + (unsigned)prng_below(r, max - from);
    switch (prng_below(r, 6)) {
    case 0: buf_add_str(b, "*"); break;
    case 1: buf_printf(b, "%u", from); break;
    case 2: buf_printf(b, "%u..%u", from, to); break;
    case 3: buf_printf(b, "%u/%u", from, step); break;
    case 4: buf_printf(b, "%u..%u/%u", from, to, 1 + (unsigned)prng_below(r, to - from)); break;
    default: buf_printf(b, "%u,%02u", to, from); break;
    }
}

static char *random_text(struct prng *r)
{
    static const char *const days[] = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};
    struct buf b = {0};
    if (prng_below(r, 3) == 0) {
        size_t from = (size_t)prng_below(r, 7), to = from + (size_t)prng_below(r, 7 - from);
        buf_printf(&b, "%s%s%s ", days[from], from < to ? ".." : "", from < to ? days[to] : "");
    }
    buf_add_str(&b, "*-");
    add_set(r, &b, 1, 12);
    buf_add_str(&b, "-");
    add_set(r, &b, 1, 28);
    buf_add_str(&b, " ");
    add_set(r, &b, 0, 23);
    buf_add_str(&b, ":");
    add_set(r, &b, 0, 59);
    buf_add_str(&b, ":");
    add_set(r, &b, 0, 59);
    return buf_steal_str(&b);
}

static bool is_due(const struct calendar *c, int64_t s)
{
    time_t t = (time_t)s;
    struct tm tm;
    gmtime_r(&t, &tm);
    return (c->weekdays >> ((tm.tm_wday + 6) % 7) & 1) && (c->months >> (tm.tm_mon + 1) & 1) &&
           (c->days >> tm.tm_mday & 1) && (c->hours >> tm.tm_hour & 1) && (c->minutes >> tm.tm_min & 1) &&
           (c->seconds >> tm.tm_sec & 1);
}

/* The next one is due, and nothing is between. */
static void test_against_a_search(void **state)
{
    (void)state;
    enum { CASES = 3000, SECONDS = 3000 };
    struct prng r = prng_new(7);
    for (int i = 0; i < CASES; i++) {
        AUTO(freep) char *text = random_text(&r);
        struct calendar c;
        int64_t at_ms = (int64_t)prng_below(&r, 4000000000) * 1000 + (int64_t)prng_below(&r, 1000), next_ms = 0;
        assert_int_equal(calendar_parse(text, &c, NULL), 0);
        assert_int_equal(calendar_next(&c, at_ms, &next_ms), 0);
        assert_true(next_ms > at_ms && next_ms % 1000 == 0);
        assert_true(is_due(&c, next_ms / 1000));
        for (int64_t s = at_ms / 1000 + 1; s < next_ms / 1000 && s < at_ms / 1000 + SECONDS; s++)
            if (is_due(&c, s))
                fail_msg("'%s' after %lld: %lld is due before", text, (long long)at_ms, (long long)s);
    }
}

enum { ASKED = 300, ROUNDS = 3 };

/* One call for all: systemd-analyze is slow to start. The answers are in order; NULL: it is not there. */
static char *ask_systemd(char **texts, const char *after)
{
    char base[64];
    char *argv[ASKED + 8] = {(char *)"systemd-analyze", (char *)"calendar", base, (char *)"--iterations=3"};
    int fds[2];
    snprintf(base, sizeof base, "--base-time=%s UTC", after);
    for (size_t i = 0; i < ASKED; i++)
        argv[4 + i] = texts[i];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        setenv("TZ", "UTC", 1);
        dup2(fds[1], STDOUT_FILENO);
        execvp(argv[0], argv);
        _exit(127);
    }
    close(fds[1]);
    struct buf b = {0};
    char chunk[4096];
    for (ssize_t n; (n = read(fds[0], chunk, sizeof chunk)) > 0;)
        buf_add(&b, chunk, (size_t)n);
    close(fds[0]);
    int status;
    waitpid(pid, &status, 0);
    char *answer = buf_steal_str(&b);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return answer;
    free(answer);
    return NULL;
}

/* "    Next elapse: Tue 2025-11-25 02:30:00 UTC", "       Iter. #2: …"; "never". */
static char *next_answer(char *p, char ret[32])
{
    while (p && !(strncmp(p, "    Next elapse: ", 17) == 0 || strncmp(p, "       Iter. #", 14) == 0)) {
        p = strchr(p, '\n');
        p += p != NULL;
    }
    assert_non_null(p);
    char *value = strchr(p, ':') + 2;
    snprintf(ret, 32, "%.*s", strncmp(value, "never", 5) == 0 ? 5 : 19, strncmp(value, "never", 5) ? value + 4 : value);
    return strchr(value, '\n');
}

static void test_against_systemd(void **state)
{
    (void)state;
    struct prng r = prng_new(20261130);
    char *texts[ASKED], after[32], text[32], theirs[32];
    for (size_t i = 0; i < ASKED; i++)
        texts[i] = random_text(&r);
    text_of((int64_t)prng_below(&r, 4000000000) * 1000, after);
    char *answer = ask_systemd(texts, after), *p = answer;
    for (size_t i = 0; i < ASKED && answer; i++) {
        struct calendar c;
        int64_t at_ms = ms(after);
        assert_int_equal(calendar_parse(texts[i], &c, NULL), 0);
        for (int k = 0; k < ROUNDS; k++) {
            p = next_answer(p, theirs);
            assert_int_equal(calendar_next(&c, at_ms, &at_ms), 0);
            text_of(at_ms, text);
            if (!str_eq(text, theirs))
                fail_msg("'%s' after %s: %s, systemd says %s", texts[i], after, text, theirs);
        }
    }
    for (size_t i = 0; i < ASKED; i++)
        free(texts[i]);
    free(answer);
    if (!answer)
        skip();
}

static void test_ends(void **state)
{
    (void)state;
    struct calendar c;
    int64_t next_ms;
    assert_int_equal(calendar_parse("daily", &c, NULL), 0);
    assert_int_equal(calendar_next(&c, INT64_MIN, &next_ms), 0);
    assert_int_equal(next_ms, 0);
    assert_int_equal(calendar_next(&c, -1, &next_ms), 0);
    assert_int_equal(next_ms, 0);
    assert_int_equal(calendar_next(&c, ms("2199-12-30 00:00:00"), &next_ms), 0);
    assert_int_equal(calendar_next(&c, ms("2199-12-31 00:00:00"), &next_ms), ERR_NOT_FOUND);
    assert_int_equal(calendar_next(&c, INT64_MAX, &next_ms), ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_next),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_against_a_search),
        cmocka_unit_test(test_against_systemd),
        cmocka_unit_test(test_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
