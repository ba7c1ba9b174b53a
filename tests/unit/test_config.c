/* SPDX-License-Identifier: GPL-2.0-or-later */
/* agent/io/config: keys, folders, and faults with file and line. */
#include "tests/unit/unit.h"

#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/io/config.h"

struct folder {
    char path[64];
    char file[128];
};

static void put(const struct folder *f, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", f->path, name);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
}

static int setup(void **state)
{
    struct folder *f = xcalloc(1, sizeof(*f));
    STR_COPY(f->path, "/tmp/ringmaster-test-XXXXXX");
    assert_non_null(mkdtemp(f->path));
    snprintf(f->file, sizeof(f->file), "%s/ringmaster.conf", f->path);
    char dir[128];
    snprintf(dir, sizeof(dir), "%s/conf.d", f->path);
    assert_int_equal(mkdir(dir, 0700), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    static const char *const names[] = {"conf.d/10-a.conf", "conf.d/20-b.conf", "conf.d/README",
                                        "ringmaster.conf",  "conf.d",           ""};
    struct folder *f = *state;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        char path[256];
        snprintf(path, sizeof(path), "%s/%s", f->path, names[i]);
        remove(path);
    }
    free(f);
    return 0;
}

static void test_all_keys(void **state)
{
    struct folder *f = *state;
    put(f, "ringmaster.conf",
        "# comment\n[node]\nname = n1\naddress=192.0.2.11\n\n[tls]\nport = 7701\n[log]\nlevel=debug\n");
    struct config c;
    assert_int_equal(config_load(f->file, true, &c, NULL), 0);
    assert_string_equal(c.node, "n1");
    assert_string_equal(c.address, "192.0.2.11");
    assert_int_equal(c.port, 7701);
    assert_int_equal(c.log_level, LOG_DEBUG_);
}

static void test_defaults(void **state)
{
    struct folder *f = *state;
    struct config c;
    put(f, "conf.d/10-a.conf", "[node]\nname=a\n");
    assert_int_equal(config_load(f->file, false, &c, NULL), 0);
    assert_int_equal(c.port, CONFIG_PORT_DEFAULT);
    assert_int_equal(c.log_level, LOG_INFO_);
    assert_string_equal(c.address, "");
    struct error e = {0};
    assert_int_equal(config_load(f->file, true, &c, &e), ERR_IO);
}

static void test_folder_is_read_by_name(void **state)
{
    struct folder *f = *state;
    struct config c;
    put(f, "ringmaster.conf", "[node]\nname=first\n[tls]\nport=1\n");
    put(f, "conf.d/20-b.conf", "[node]\nname=last\n");
    put(f, "conf.d/10-a.conf", "[node]\nname=middle\n[tls]\nport=2\n");
    put(f, "conf.d/README", "not read");
    assert_int_equal(config_load(f->file, true, &c, NULL), 0);
    assert_string_equal(c.node, "last");
    assert_int_equal(c.port, 2);
}

static void refused(struct folder *f, const char *text, const char *where, const char *what)
{
    struct config c = {.port = 9};
    struct error e = {0};
    put(f, "ringmaster.conf", text);
    assert_int_equal(config_load(f->file, true, &c, &e), ERR_USAGE);
    char start[200];
    snprintf(start, sizeof(start), "%s:%s: ", f->file, where);
    if (strncmp(e.text, start, strlen(start)) != 0 || !strstr(e.text, what))
        fail_msg("\"%s\" does not name line %s and \"%s\"", e.text, where, what);
    assert_int_equal(c.port, 9); /* untouched */
}

static void test_faults_name_the_line(void **state)
{
    struct folder *f = *state;
    refused(f, "[node]\nname=a\ncolour=red\n", "3", "unknown key: colour");
    refused(f, "[node]\nname=a\n[nodes]\nx=1\n", "4", "unknown section: nodes");
    refused(f, "name=a\n", "1", "unknown section");
    refused(f, "[node]\nname=N_1\n", "2", "name: not valid");
    refused(f, "[node]\nname=-a\n", "2", "name: not valid");
    refused(f, "[node]\n\naddress=n1.example\n", "3", "numeric");
    refused(f, "[tls]\nport=0\n", "2", "1 to 65535");
    refused(f, "[tls]\nport=65536\n", "2", "1 to 65535");
    refused(f, "[tls]\nport=77x\n", "2", "1 to 65535");
    refused(f, "[tls]\nport=-1\n", "2", "1 to 65535");
    refused(f, "[log]\nlevel=loud\n", "2", "error, warning");
    refused(f, "[log]\nlevel\n[nothing]\nx=1\n", "2", "neither");
    refused(f, "[log]\nlevel=info\n  debug\n", "3", "blank");
}

static void test_unknown_keys_come_with_the_known(void **state)
{
    struct folder *f = *state;
    struct config c;
    struct error e = {0};
    put(f, "ringmaster.conf", "[tls]\nprot=1\n");
    assert_int_equal(config_load(f->file, true, &c, &e), ERR_USAGE);
    assert_string_equal(e.remedy, "known are [node] name, [node] address, [fence] watchdog, [tls] port, [log] level: "
                                  "ringmaster.conf(5)");
}

static void refused_mode(struct folder *f, const char *name, const char *what, const char *remedy)
{
    struct config c;
    struct error e = {0};
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", f->path, name);
    assert_int_equal(config_load(f->file, true, &c, &e), ERR_USAGE);
    if (strncmp(e.text, path, strlen(path)) != 0 || !strstr(e.text, what) || !strstr(e.remedy, remedy))
        fail_msg("\"%s\" (%s) does not name %s and \"%s\"", e.text, e.remedy, path, what);
}

static void test_files_that_others_may_write(void **state)
{
    struct folder *f = *state;
    char path[256];
    put(f, "ringmaster.conf", "[tls]\nport=1\n");
    put(f, "conf.d/10-a.conf", "[tls]\nport=2\n");
    assert_int_equal(chmod(f->file, 0664), 0);
    refused_mode(f, "ringmaster.conf", "(mode 0664)", "chmod go-w");
    assert_int_equal(chmod(f->file, 0644), 0);
    snprintf(path, sizeof(path), "%s/conf.d/10-a.conf", f->path);
    assert_int_equal(chmod(path, 0646), 0);
    refused_mode(f, "conf.d/10-a.conf", "(mode 0646)", "chmod go-w");
    if (geteuid() != 0)
        return;
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(chown(path, 60006, 0), 0);
    refused_mode(f, "conf.d/10-a.conf", "belongs to uid 60006", "chown root");
}

static void test_long_line(void **state)
{
    struct folder *f = *state;
    char text[1200];
    memset(text, 'a', sizeof(text));
    memcpy(text, "[node]\nname=", 12);
    text[sizeof(text) - 1] = '\0';
    refused(f, text, "2", "too long");
}

static void test_node_names(void **state)
{
    (void)state;
    assert_true(config_is_node_name("n1"));
    assert_true(config_is_node_name("a-b-9"));
    assert_false(config_is_node_name(""));
    assert_false(config_is_node_name("a.b"));
    assert_false(config_is_node_name("A"));
    assert_false(config_is_node_name("a-"));
    assert_false(config_is_node_name("a/b"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_all_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_defaults, setup, teardown),
        cmocka_unit_test_setup_teardown(test_folder_is_read_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(test_faults_name_the_line, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unknown_keys_come_with_the_known, setup, teardown),
        cmocka_unit_test_setup_teardown(test_files_that_others_may_write, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_line, setup, teardown),
        cmocka_unit_test(test_node_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
