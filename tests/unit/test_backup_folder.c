/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Publication of a backup's files: what was written gets the name, whatever others do there, and nothing is
 * overwritten.
 */
#include "tests/unit/unit.h"

#include "backup/io/folder.h"
#include "tests/unit/tempdir.h"

struct world {
    struct tempdir dir;
    struct folder folder;
    struct error e;
};

static void world_init(struct world *w)
{
    *w = (struct world){.dir = tempdir_make()};
    assert_int_equal(folder_open(NULL, w->dir.path, false, &w->folder, &w->e), 0);
}

static void world_done(struct world *w)
{
    folder_done(&w->folder);
    tempdir_done(&w->dir);
}

static int begin(struct world *w, const char *text)
{
    int fd;
    assert_int_equal(folder_create(&w->folder, "x", 0, &fd, &w->e), 0);
    assert_true(write_at(fd, text, strlen(text), 0));
    return fd;
}

static bool there(struct world *w, const char *name)
{
    return access(tempdir_path(&w->dir, name).s, F_OK) == 0;
}

static void expect(struct world *w, const char *text)
{
    struct buf b = {0};
    assert_int_equal(folder_read(&w->folder, "x", 100, &b, &w->e), 0);
    assert_int_equal(b.len, strlen(text));
    assert_memory_equal(b.p, text, b.len);
    buf_done(&b);
}

static void test_publish(void **state)
{
    (void)state;
    struct world w;
    world_init(&w);
    int fd = begin(&w, "one");
    assert_false(there(&w, "/x"));
    assert_int_equal(folder_publish(&w.folder, "x", fd, false, &w.e), 0);
    expect(&w, "one");
    assert_false(there(&w, "/x.partial"));
    close(fd);
    fd = begin(&w, "two");
    assert_int_equal(folder_publish(&w.folder, "x", fd, false, &w.e), ERR_CONDITION);
    assert_non_null(strstr(w.e.text, "/x is there already"));
    expect(&w, "one");
    folder_forget(&w.folder, "x", fd);
    assert_false(there(&w, "/x.partial"));
    close(fd);
    fd = begin(&w, "three");
    assert_int_equal(folder_publish(&w.folder, "x", fd, true, &w.e), 0);
    expect(&w, "three");
    assert_false(there(&w, "/x.partial"));
    close(fd);
    world_done(&w);
}

/* The second one takes the place of the first one's NAME.partial, and has written half of it when that one ends. */
static void two_writers(bool replace)
{
    struct world w;
    world_init(&w);
    int first = begin(&w, "first"), second = begin(&w, "sec");
    assert_int_equal(folder_publish(&w.folder, "x", first, replace, &w.e), ERR_CONDITION);
    assert_non_null(strstr(w.e.text, "x.partial was removed or replaced"));
    assert_false(there(&w, "/x"));
    folder_forget(&w.folder, "x", first);
    assert_true(there(&w, "/x.partial"));
    assert_true(write_at(second, "ond", 3, 3));
    assert_int_equal(folder_publish(&w.folder, "x", second, replace, &w.e), 0);
    expect(&w, "second");
    close(first);
    close(second);
    world_done(&w);
}

static void test_two_writers(void **state)
{
    (void)state;
    two_writers(false);
    two_writers(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_publish),
        cmocka_unit_test(test_two_writers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
