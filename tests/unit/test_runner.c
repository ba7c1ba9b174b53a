/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a task's program is called, and what is kept of what it printed. Units themselves need systemd: the lab. */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "agent/io/units.h"
#include "task/io/runner.h"

static bool has(char **argv, const char *what)
{
    for (; *argv; argv++)
        if (str_eq(*argv, what))
            return true;
    return false;
}

static void test_argv(void **state)
{
    (void)state;
    struct task_call c = {.verb = TASK_CALL_START,
                          .name = "dedup",
                          .run = {{1}},
                          .command = "/usr/sbin/dedup",
                          .node = "n1",
                          .level = 2,
                          .timeout_ms = 90500};
    static const char arguments[] = "-r\0\0$HOME \"x\" %i;\0/srv/vm";
    memcpy(c.arguments, arguments, sizeof arguments);
    c.arguments_len = sizeof arguments;
    char **argv = runner_argv(&c);
    size_t n = 0;
    while (argv[n])
        n++;
    assert_string_equal(argv[0], "/usr/bin/systemd-run");
    assert_true(has(argv, "--unit=ringmaster-task-dedup.service"));
    assert_true(has(argv, "--slice=ringmaster-task.slice"));
    assert_true(has(argv, "--property=RuntimeMaxSec=90500ms"));
    assert_true(has(argv, "--description=Ringmaster task dedup, run 01000000-0000-0000-0000-000000000000"));
    assert_true(has(argv, "--setenv=RINGMASTER_TASK=dedup"));
    assert_true(has(argv, "--setenv=RINGMASTER_RUN_ID=01000000-0000-0000-0000-000000000000"));
    assert_true(has(argv, "--setenv=RINGMASTER_NODE=n1"));
    assert_true(has(argv, "--setenv=RINGMASTER_LEVEL=2"));
    static const char *const end[] = {"--", "/usr/sbin/dedup", "-r", "", "$$HOME \"x\" %i;", "/srv/vm"};
    for (size_t i = 0; i < 6; i++)
        assert_string_equal(argv[n - 6 + i], end[i]);
    runner_argv_free(argv);
}

static void test_most_arguments(void **state)
{
    (void)state;
    struct task_call c = {.name = "x", .command = "/x"};
    c.arguments_len = TASK_ARGUMENTS_N_MAX; /* all empty */
    char **argv = runner_argv(&c);
    size_t n = 0;
    while (argv[n])
        n++;
    assert_true(n > TASK_ARGUMENTS_N_MAX);
    runner_argv_free(argv);
}

static void test_condense(void **state)
{
    (void)state;
    char text[TASK_OUTPUT_MAX], longest[1000];
    unit_condense("one\ntwo\tthree\033[0m\n\n", text, TASK_OUTPUT_MAX);
    assert_string_equal(text, "one|two three [0m");
    unit_condense("", text, TASK_OUTPUT_MAX);
    assert_string_equal(text, "");
    unit_condense(" \n \n", text, TASK_OUTPUT_MAX);
    assert_string_equal(text, "");
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    memcpy(longest + sizeof longest - 1 - TASK_OUTPUT_MAX, "\xc3\xa4", 2); /* its second byte would be the first one */
    unit_condense(longest, text, TASK_OUTPUT_MAX);
    assert_int_equal(strlen(text), TASK_OUTPUT_MAX - 2);
    assert_int_equal(text[0], 'x');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_argv),
        cmocka_unit_test(test_most_arguments),
        cmocka_unit_test(test_condense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
