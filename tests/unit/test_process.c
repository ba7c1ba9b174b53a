/* SPDX-License-Identifier: GPL-2.0-or-later */
/* agent/io/process: exit codes, bounded output, time-outs, closed descriptors. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "agent/io/process.h"

static struct process_outcome run_sh(const char *script, int64_t timeout_ms, size_t output_max, int want)
{
    const char *argv[] = {"/bin/sh", "-c", script, NULL};
    struct process_call call = {.argv = argv, .timeout_ms = timeout_ms, .output_max = output_max};
    struct process_outcome o = {0};
    struct error e = {0};
    assert_int_equal(process_run(&call, &o, &e), want);
    return o;
}

static void test_exit_code_and_output(void **state)
{
    (void)state;
    struct process_outcome o = run_sh("echo out; echo err >&2; exit 75", 5000, 0, 0);
    assert_int_equal(o.exit_code, 75);
    assert_int_equal(o.signal, 0);
    assert_string_equal(o.output, "out\nerr\n");
    assert_false(o.truncated);
    process_outcome_done(&o);
}

static void test_the_end_of_long_output_is_kept(void **state)
{
    (void)state;
    struct process_outcome o =
        run_sh("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; echo last", 20000, 100, 0);
    assert_int_equal(strlen(o.output), 100);
    assert_string_equal(o.output + 95, "last\n");
    assert_true(o.truncated);
    process_outcome_done(&o);
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void test_time_out(void **state)
{
    (void)state;
    int64_t start = now_ms();
    struct process_outcome o = run_sh("echo begun; exec sleep 60", 200, 0, ERR_TIMEOUT);
    assert_true(o.timed_out);
    assert_int_equal(o.signal, SIGTERM);
    assert_string_equal(o.output, "begun\n");
    assert_true(now_ms() - start < 1500);
    process_outcome_done(&o);
}

static void test_deaf_program_is_killed(void **state)
{
    (void)state;
    struct process_outcome o = run_sh("trap '' TERM; while :; do sleep 0.05; done", 100, 0, ERR_TIMEOUT);
    assert_true(o.timed_out);
    assert_int_equal(o.signal, SIGKILL);
    process_outcome_done(&o);
}

/* A child that stays behind with the pipe open is neither waited for nor ended. */
static void test_children_are_left_alone(void **state)
{
    (void)state;
    int64_t start = now_ms();
    struct process_outcome o = run_sh("sleep 3 & echo $!", 10000, 0, 0);
    assert_true(now_ms() - start < 2000);
    pid_t child = (pid_t)strtol(o.output, NULL, 10);
    assert_true(child > 1);
    assert_int_equal(kill(child, 0), 0);
    process_outcome_done(&o);
}

static void test_descriptors_and_environment_are_not_inherited(void **state)
{
    (void)state;
    int fd = open("/dev/null", O_RDONLY); /* without O_CLOEXEC */
    assert_true(fd > 2);
    setenv("SECRET", "x", 1);
    char script[128];
    snprintf(script, sizeof(script), "test ! -e /proc/self/fd/%d && test -z \"$SECRET\" && test -n \"$PATH\"", fd);
    struct process_outcome o = run_sh(script, 5000, 0, 0);
    assert_int_equal(o.exit_code, 0);
    process_outcome_done(&o);
    close(fd);
}

static void test_given_environment(void **state)
{
    (void)state;
    const char *argv[] = {"/bin/sh", "-c", "echo $A", NULL}, *env[] = {"A=b c", NULL};
    struct process_call call = {.argv = argv, .env = env, .timeout_ms = 5000};
    struct process_outcome o = {0};
    assert_int_equal(process_run(&call, &o, NULL), 0);
    assert_string_equal(o.output, "b c\n");
    process_outcome_done(&o);
}

static void test_what_cannot_be_started(void **state)
{
    (void)state;
    const char *argv[] = {"/nonexistent/program", NULL};
    struct process_call call = {.argv = argv, .timeout_ms = 1000};
    struct process_outcome o = {0};
    struct error e = {0};
    assert_int_equal(process_run(&call, &o, &e), ERR_IO);
    assert_non_null(strstr(e.text, "/nonexistent/program"));
}

static void test_must_succeed(void **state)
{
    (void)state;
    const char *good[] = {"/bin/echo", "hello", NULL}, *bad[] = {"/bin/sh", "-c", "echo a; echo why >&2; exit 3", NULL};
    char *output = NULL;
    struct error e = {0};
    assert_int_equal(process_must(good, 5000, &output, &e), 0);
    assert_string_equal(output, "hello\n");
    free(output);
    assert_int_equal(process_must(bad, 5000, NULL, &e), ERR_FAILED);
    assert_non_null(strstr(e.text, "code 3: why"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exit_code_and_output),
        cmocka_unit_test(test_the_end_of_long_output_is_kept),
        cmocka_unit_test(test_time_out),
        cmocka_unit_test(test_deaf_program_is_killed),
        cmocka_unit_test(test_children_are_left_alone),
        cmocka_unit_test(test_descriptors_and_environment_are_not_inherited),
        cmocka_unit_test(test_given_environment),
        cmocka_unit_test(test_what_cannot_be_started),
        cmocka_unit_test(test_must_succeed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
