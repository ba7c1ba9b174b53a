/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A token file on a disk that is full: all or nothing, and the words for it. A file system of 64 KiB in a mount
 * namespace. What a full disk does to the database is in tests/faults. */
#include "tests/unit/unit.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/io/file.h"

#define DISK "/tmp"
#define PATH DISK "/token"

enum { SKIPPED = 77, BIG = 32 * 1024 };

static bool enter(void)
{
    return geteuid() == 0 && unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("tmpfs", DISK, "tmpfs", 0, "size=64k,mode=0755") == 0;
}

static void fill(void)
{
    char block[4096] = {1};
    int fd = open(DISK "/full", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    while (write(fd, block, sizeof(block)) > 0)
        continue;
    close(fd);
}

static size_t count_files(void)
{
    size_t n = 0;
    DIR *d = opendir(DISK);
    for (const struct dirent *e = readdir(d); e; e = readdir(d))
        n += e->d_name[0] != '.' && strcmp(e->d_name, "full") != 0;
    closedir(d);
    return n;
}

static char *big(char c)
{
    char *text = xcalloc(1, BIG + 1);
    memset(text, c, BIG);
    return text;
}

static int save(const char *text, bool replace, struct error *e)
{
    struct file_secret s;
    int err = file_secret_begin(PATH, replace, &s, e);
    return err ? err : file_secret_end(&s, text, e);
}

static void test_nothing_is_left(void **state)
{
    (void)state;
    AUTO(freep) char *text = big('a');
    struct error e = {0};
    fill();
    assert_int_not_equal(save(text, false, &e), 0);
    assert_non_null(strstr(e.text, PATH " cannot be written: No space left on device"));
    assert_int_equal(count_files(), 0);
    assert_int_equal(unlink(DISK "/full"), 0);
    assert_int_equal(save(text, false, &e), 0); /* with room it is there, whole */
    struct stat st;
    assert_int_equal(stat(PATH, &st), 0);
    assert_int_equal(st.st_size, BIG);
    assert_int_equal(st.st_mode & 07777, 0600);
}

static void test_the_old_one_stays(void **state)
{
    (void)state;
    AUTO(freep) char *text = big('b');
    AUTO(freep) char *old = NULL;
    struct error e = {0};
    fill();
    assert_int_not_equal(save(text, true, &e), 0);
    assert_non_null(strstr(e.text, "No space left on device"));
    assert_int_equal(file_read(PATH, true, &old, &e), 0);
    assert_int_equal(old[0], 'a');
    assert_int_equal(strlen(old), BIG);
    assert_int_equal(count_files(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_left),
        cmocka_unit_test(test_the_old_one_stays),
    };
    if (!enter()) {
        puts("needs root and mount namespaces");
        return SKIPPED;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
