/* SPDX-License-Identifier: GPL-2.0-or-later */
/* agent/io/host: what is read from files of others. */
#include "tests/unit/unit.h"

#include "agent/io/host.h"

static void test_os_release(void **state)
{
    (void)state;
    const char *text =
        "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nXVERSION_CODENAME=no\nVERSION_CODENAME=bookworm\n"
        "QUOTED='a \"b\"'\nESCAPED=\"a\\\"b\"\nLONG=aaaaaaaaaaaaaaaaaaaa";
    char s[16], pretty[64];
    assert_int_equal(host_os_release_get(text, "PRETTY_NAME", pretty, sizeof(pretty)), 0);
    assert_string_equal(pretty, "Debian GNU/Linux 12 (bookworm)");
    assert_int_equal(host_os_release_get(text, "VERSION_CODENAME", s, sizeof(s)), 0);
    assert_string_equal(s, "bookworm");
    assert_int_equal(host_os_release_get(text, "QUOTED", s, sizeof(s)), 0);
    assert_string_equal(s, "a \"b\"");
    assert_int_equal(host_os_release_get(text, "ESCAPED", s, sizeof(s)), 0);
    assert_string_equal(s, "a\"b");
    assert_int_equal(host_os_release_get(text, "LONG", s, sizeof(s)), 0);
    assert_string_equal(s, "aaaaaaaaaaaaaaa");
    assert_int_equal(host_os_release_get(text, "VERSION_ID", s, sizeof(s)), ERR_NOT_FOUND);
}

static void test_start_time(void **state)
{
    (void)state;
    uint64_t t = 0;
    const char *stat = "1 (a) b (c) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 170000000 3000\n";
    assert_int_equal(host_stat_start_time(stat, &t), 0);
    assert_int_equal(t, 4242);
    assert_int_equal(host_stat_start_time("1 (a) S 0 1", &t), ERR_MALFORMED);
    assert_int_equal(host_stat_start_time("", &t), ERR_MALFORMED);
    assert_int_equal(t, 4242);
}

static void test_boot_of_a_container(void **state)
{
    (void)state;
    const char *host = "7b1f6a0e-0000-4000-8000-000000000001";
    struct uuid_str a = host_container_boot_id(host, 4026531836, 100),
                    same = host_container_boot_id(host, 4026531836, 100);
    struct uuid_str restarted = host_container_boot_id(host, 4026531836, 101);
    struct uuid_str other = host_container_boot_id(host, 4026531837, 100);
    struct uuid u;
    assert_int_equal(uuid_parse(a.s, &u), 0);
    assert_int_equal(a.s[14], '5'); /* the version */
    assert_string_equal(a.s, same.s);
    assert_string_not_equal(a.s, restarted.s);
    assert_string_not_equal(a.s, other.s);
}

static void test_this_host(void **state)
{
    (void)state;
    struct host_config c = {.hostname = "n1", .address = "192.0.2.1", .port = 7700, .agent_version = "0"};
    struct host_facts f = {0};
    struct uuid boot;
    assert_int_equal(host_facts_read(&c, &f, NULL), 0);
    assert_string_equal(f.address, "192.0.2.1");
    assert_int_equal(uuid_parse(f.boot_id, &boot), 0);
    assert_true(f.memory_kib > 0);
    assert_true(f.cpus > 0);
    assert_string_not_equal(f.kernel, "");
    assert_null(f.machines);
    struct error e = {0};
    struct host_config unknown = {.hostname = "no-such-host.invalid"};
    assert_int_equal(host_facts_read(&unknown, &f, &e), ERR_CONDITION);
    assert_string_not_equal(e.remedy, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_os_release),
        cmocka_unit_test(test_start_time),
        cmocka_unit_test(test_boot_of_a_container),
        cmocka_unit_test(test_this_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
