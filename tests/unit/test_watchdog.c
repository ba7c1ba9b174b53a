/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The watchdog's adapter, with a FIFO as its device. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/io/watchdog.h"
#include "tests/unit/tempdir.h"

struct place {
    struct tempdir tmp;
    char dir[64], fifo[96];
    int fd;
};

static int setup(void **state)
{
    struct place *p = xcalloc(1, sizeof(*p));
    p->tmp = tempdir_make();
    STR_COPY(p->dir, p->tmp.path);
    snprintf(p->fifo, sizeof(p->fifo), "%s/fifo", p->dir);
    assert_int_equal(mkfifo(p->fifo, 0600), 0);
    p->fd = open(p->fifo, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    *state = p;
    return p->fd < 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    close(p->fd);
    tempdir_done(&p->tmp);
    free(p);
    return 0;
}

static void must_read(const struct place *p, const char *text)
{
    char got[128] = "";
    ssize_t n = read(p->fd, got, sizeof(got) - 1);
    assert_string_equal(n < 0 ? "" : got, text);
}

static struct watchdog_call call_of(enum watchdog_verb verb)
{
    return (struct watchdog_call){
        .verb = verb,
        .note = {.on = true, .fenced = true, .contact_ms = 11, .gap_ms = 22, .lease_ms = 33, .watchdog_ms = 2000}};
}

static void test_pet_and_disarm(void **state)
{
    struct place *p = *state;
    struct watchdog *w = watchdog_new_in(p->dir, p->fifo);
    struct watchdog_call pet = call_of(WATCHDOG_PET), disarm = call_of(WATCHDOG_DISARM), leave = call_of(0);
    struct error e = {0};
    assert_true(watchdog_is_there(w));
    assert_int_equal(watchdog_serve(w, &leave, &e), 0);
    must_read(p, "");
    assert_int_equal(watchdog_serve(w, &pet, &e), 0);
    must_read(p, "pet 2000\n");
    assert_int_equal(watchdog_serve(w, &disarm, &e), 0);
    must_read(p, "disarm\n");
    assert_int_equal(watchdog_serve(w, &pet, &e), 0);
    must_read(p, "pet 2000\n");
    watchdog_free(w); /* as one that is killed: it stays armed */
    must_read(p, "");
}

static void test_the_next_agent_finds_the_note(void **state)
{
    struct place *p = *state;
    struct watchdog *w = watchdog_new_in(p->dir, "none");
    struct watchdog_call leave = call_of(WATCHDOG_LEAVE), pet = call_of(WATCHDOG_PET);
    struct guard_note none = watchdog_note(w);
    struct error e = {0};
    assert_false(watchdog_is_there(w));
    assert_false(none.on);
    assert_int_equal(watchdog_serve(w, &leave, &e), 0);
    assert_int_equal(watchdog_serve(w, &pet, &e), ERR_IO);
    watchdog_free(w);
    w = watchdog_new_in(p->dir, p->fifo);
    struct guard_note n = watchdog_note(w);
    assert_true(n.on && n.fenced);
    assert_int_equal(n.contact_ms, 11);
    assert_int_equal(n.gap_ms, 22);
    assert_int_equal(n.lease_ms, 33);
    assert_int_equal(n.watchdog_ms, 2000);
    watchdog_free(w);
}

static void test_what_is_no_watchdog(void **state)
{
    struct place *p = *state;
    char path[96];
    snprintf(path, sizeof(path), "%s/file", p->dir);
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    struct watchdog *w = watchdog_new_in(p->dir, path);
    struct watchdog_call pet = call_of(WATCHDOG_PET);
    struct error e = {0};
    assert_false(watchdog_is_there(w));
    assert_int_equal(watchdog_serve(w, &pet, &e), ERR_IO);
    watchdog_free(w);
    w = watchdog_new_in("/nonexistent", p->fifo); /* no note can be kept: nothing is promised on it */
    assert_int_equal(watchdog_serve(w, &pet, &e), ERR_IO);
    must_read(p, "");
    watchdog_free(w);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_pet_and_disarm),
        TEST(test_the_next_agent_finds_the_note),
        TEST(test_what_is_no_watchdog),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
