/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Errors, the log sink, and the text helpers that both stand on. */
#include "tests/unit/unit.h"

#include "common/buf.h"
#include "common/err.h"
#include "common/log.h"
#include "common/text.h"

static void test_exit_codes(void **state)
{
    (void)state;
    assert_int_equal(err_exit_code(0), 0);
    assert_int_equal(err_exit_code(ERR_FAILED), 1);
    assert_int_equal(err_exit_code(ERR_USAGE), 64);
    assert_int_equal(err_exit_code(ERR_NO_AGENT), 69);
    assert_int_equal(err_exit_code(ERR_AGAIN), 75);
    assert_int_equal(err_exit_code(ERR_PERMISSION), 77);
    assert_int_equal(err_exit_code(ERR_NO_OBJECT), 105);
    assert_int_equal(err_exit_code(ERR_NO_QUORUM), 106);
    assert_int_equal(err_exit_code(ERR_NEED_FORCE), 107);
    assert_int_equal(err_exit_code(ERR_CONDITION), 113);
    assert_int_equal(err_exit_code(ERR_TIMEOUT), 124);
}

static void test_internal_errors_exit_with_1(void **state)
{
    (void)state;
    for (int err = ERR_UNKNOWN_KIND; err <= ERR_MALFORMED; err++)
        assert_int_equal(err_exit_code(err), 1);
    assert_int_equal(err_exit_code(-50), 1);
    assert_int_equal(err_exit_code(7), 1);
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(err_name(ERR_NO_QUORUM), "ERR_NO_QUORUM");
    assert_string_equal(err_name(ERR_UNKNOWN_KIND), "ERR_UNKNOWN_KIND");
    assert_string_equal(err_name(-12345), "ERR_UNKNOWN");
    assert_string_equal(err_name(0), "OK");
}

static void test_set_fills_and_clears_the_remedy(void **state)
{
    (void)state;
    struct error e = {0};
    assert_int_equal(error_set(&e, ERR_CONDITION, "node %s is drained", "n1"), ERR_CONDITION);
    error_set_remedy(&e, "clusterctl node resume %s", "n1");
    assert_int_equal(e.code, ERR_CONDITION);
    assert_string_equal(e.text, "node n1 is drained");
    assert_string_equal(e.remedy, "clusterctl node resume n1");
    error_set(&e, ERR_AGAIN, "busy");
    assert_string_equal(e.remedy, "");
}

static void test_set_accepts_null(void **state)
{
    (void)state;
    assert_int_equal(error_set(NULL, ERR_IO, "x"), ERR_IO);
    error_set_remedy(NULL, "x");
}

static void test_set_wraps_its_own_text(void **state)
{
    (void)state;
    struct error e;
    error_set(&e, ERR_IO, "disk is full");
    error_set(&e, ERR_FAILED, "vm1: %s", e.text);
    assert_string_equal(e.text, "vm1: disk is full");
}

/* Every cut position inside a four-byte sequence: what is kept is whole. */
static void test_set_truncates_between_characters(void **state)
{
    (void)state;
    const size_t max = ERROR_TEXT_MAX - 1;
    for (size_t before = max - 6; before <= max; before++) {
        char text[ERROR_TEXT_MAX + 16];
        memset(text, 'a', before);
        memcpy(text + before, "\xf0\x9f\x98\x80\xf0\x9f\x98\x80", 9);
        struct error e;
        error_set(&e, ERR_FAILED, "%s", text);
        size_t whole = (max - before) / 4 * 4;
        assert_int_equal(strlen(e.text), before + whole);
        assert_memory_equal(e.text, text, before + whole);
    }
}

static void test_set_truncates_exactly(void **state)
{
    (void)state;
    char text[ERROR_TEXT_MAX + 1];
    memset(text, 'a', sizeof(text));
    text[ERROR_TEXT_MAX] = '\0';
    struct error e;
    error_set(&e, ERR_FAILED, "%s", text);
    assert_int_equal(strlen(e.text), ERROR_TEXT_MAX - 1);
    text[ERROR_TEXT_MAX - 1] = '\0';
    error_set(&e, ERR_FAILED, "%s", text);
    assert_string_equal(e.text, text);
    error_set_remedy(&e, "%s", text);
    assert_int_equal(strlen(e.remedy), ERROR_REMEDY_MAX - 1);
}

static size_t __attribute__((format(printf, 3, 4))) format(char *dst, size_t size, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    size_t len = text_vformat(dst, size, fmt, ap);
    va_end(ap);
    return len;
}

static void test_format_stays_inside(void **state)
{
    (void)state;
    char dst[] = "........";
    assert_int_equal(format(dst, 5, "%s", "abcd"), 4);
    assert_memory_equal(dst, "abcd\0...", 8);
    assert_int_equal(format(dst, 5, "%s", "12345"), 4);
    assert_memory_equal(dst, "1234\0...", 8);
    assert_int_equal(format(dst, 1, "%s", "x"), 0);
    assert_memory_equal(dst, "\000234\0...", 8);
    assert_int_equal(format(dst, 4, "%s", "\x80\x80\x80\x80"), 3); /* not UTF-8: cut anywhere */
}

static void test_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *s;
        size_t len;
    } cases[] = {
        {"a", 1},
        {"\x7f", 1},
        {"\xc2\x80", 2},
        {"\xdf\xbf", 2},
        {"\xe0\xa0\x80", 3},
        {"\xed\x9f\xbf", 3},
        {"\xef\xbf\xbf", 3},
        {"\xf0\x90\x80\x80", 4},
        {"\xf4\x8f\xbf\xbf", 4},
        {"\x80", 0},             /* a continuation alone */
        {"\xc0\x80", 0},         /* overlong */
        {"\xc1\xbf", 0},         /* overlong */
        {"\xe0\x9f\xbf", 0},     /* overlong */
        {"\xf0\x8f\xbf\xbf", 0}, /* overlong */
        {"\xed\xa0\x80", 0},     /* a surrogate */
        {"\xf4\x90\x80\x80", 0}, /* above U+10FFFF */
        {"\xf5\x80\x80\x80", 0},
        {"\xff", 0},
        {"\xe2\x82", 0}, /* incomplete */
        {"\xe2\x28\xa1", 0},
        {"", 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(text_utf8_len(cases[i].s, strlen(cases[i].s)), cases[i].len);
    assert_int_equal(text_utf8_len("\xe2\x82\xac", 2), 0); /* the third byte is not ours */
}

struct lines {
    unsigned n;
    enum log_level level;
    char last[2000];
};

static void keep_line(void *ctx, enum log_level level, const char *line)
{
    struct lines *lines = ctx;
    lines->n++;
    lines->level = level;
    STR_COPY(lines->last, line);
}

static void test_log_filters_by_level(void **state)
{
    (void)state;
    struct lines lines = {0};
    struct log_sink sink = {.write = keep_line, .ctx = &lines, .max = LOG_NOTICE_};
    log_info(&sink, "dropped");
    assert_int_equal(lines.n, 0);
    log_notice(&sink, "quorum lost -> %s", "vote withdrawn");
    assert_int_equal(lines.n, 1);
    assert_int_equal(lines.level, LOG_NOTICE_);
    assert_string_equal(lines.last, "quorum lost -> vote withdrawn");
    log_error(NULL, "nowhere");
}

static void test_log_cuts_and_stays_one_line(void **state)
{
    (void)state;
    struct lines lines = {0};
    struct log_sink sink = {.write = keep_line, .ctx = &lines, .max = LOG_DEBUG_};
    log_debug(&sink, "%s", "one\ntwo\r\x1b[1m");
    assert_string_equal(lines.last, "one two  [1m");
    char text[1500];
    memset(text, 'a', sizeof(text));
    memcpy(text + 999, "\xc3\xa4", 2);
    text[sizeof(text) - 1] = '\0';
    log_debug(&sink, "%s", text);
    assert_int_equal(strlen(lines.last), 999);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exit_codes),
        cmocka_unit_test(test_internal_errors_exit_with_1),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_set_fills_and_clears_the_remedy),
        cmocka_unit_test(test_set_accepts_null),
        cmocka_unit_test(test_set_wraps_its_own_text),
        cmocka_unit_test(test_set_truncates_between_characters),
        cmocka_unit_test(test_set_truncates_exactly),
        cmocka_unit_test(test_format_stays_inside),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_log_filters_by_level),
        cmocka_unit_test(test_log_cuts_and_stays_one_line),
    };
    return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
