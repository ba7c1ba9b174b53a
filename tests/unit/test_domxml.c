/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "vm/io/domxml.h"

static const char capabilities[] =
    "<capabilities><host><cpu><arch>x86_64</arch></cpu></host>"
    "<guest><os_type>hvm</os_type><arch name='i686'><machine>isapc</machine></arch></guest>"
    "<guest><os_type>hvm</os_type><arch name='x86_64'><wordsize>64</wordsize>"
    "<machine maxCpus='255'>pc-i440fx-7.2</machine><machine canonical='pc-i440fx-7.2' maxCpus='255'>pc</machine>"
    "<machine maxCpus='288'>pc-q35-7.2</machine><machine canonical='pc-q35-7.2' maxCpus='288'>q35</machine>"
    "<machine maxCpus='1'>microvm</machine>"
    "<domain type='qemu'/><domain type='kvm'><machine>pc-q35-6.2</machine><machine>microvm</machine></domain>"
    "</arch></guest></capabilities>";

static const struct uuid random_one = {.b = {0xde, 0xad, [6] = 0x40, [8] = 0x80, [15] = 1}};

struct fixture {
    struct machine_types machines;
    struct vm_facts facts;
    struct error e;
};

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    *state = f;
    return machine_types_parse(capabilities, &f->machines, &f->e);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    machine_types_done(&f->machines);
    free(f->facts.xml);
    free(f);
    return 0;
}

static int parse(struct fixture *f, const char *xml)
{
    free(f->facts.xml);
    f->facts = (struct vm_facts){0};
    f->e = (struct error){0};
    return domxml_parse(xml, "", &f->machines, &random_one, &f->facts, &f->e);
}

#define HEAD            "<domain type='kvm'><name>vm1</name>"
#define UUID_ELEMENT    "<uuid>6f2f8a10-1d4c-4c73-9d0d-0a4f6b1c2d3e</uuid>"
#define SIZE            "<memory unit='MiB'>128</memory><vcpu>2</vcpu>"
#define OS              "<os><type arch='x86_64' machine='q35'>hvm</type></os>"
#define DOMAIN(devices) HEAD UUID_ELEMENT SIZE OS "<devices>" devices "</devices></domain>"

static void test_machines(void **state)
{
    struct fixture *f = *state;
    AUTO(freep) char *list = machine_types_list(&f->machines, 1000);
    assert_string_equal(list, "microvm pc-i440fx-7.2 pc-q35-6.2 pc-q35-7.2");
    AUTO(freep) char *cut = machine_types_list(&f->machines, 25);
    assert_string_equal(cut, "microvm pc-i440fx-7.2");
    struct machine_types m;
    assert_int_equal(machine_types_parse("<capabilities/>", &m, &f->e), ERR_MALFORMED);
    assert_int_equal(machine_types_parse("<other/>", &m, &f->e), ERR_MALFORMED);
    assert_int_equal(machine_types_parse("", &m, &f->e), ERR_MALFORMED);
    assert_int_equal(
        machine_types_parse("<capabilities><host><cpu><arch>x86_64</arch></cpu></host></capabilities>", &m, &f->e),
        ERR_CONDITION);
}

static void test_facts(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(parse(f, DOMAIN("<disk type='file'/><disk type='network'/>")), 0);
    assert_string_equal(f->facts.name, "vm1");
    assert_string_equal(uuid_str(&f->facts.uuid).s, "6f2f8a10-1d4c-4c73-9d0d-0a4f6b1c2d3e");
    assert_string_equal(f->facts.machine, "pc-q35-7.2");
    assert_int_equal(f->facts.memory_kib, 128 * 1024);
    assert_int_equal(f->facts.vcpus, 2);
    assert_int_equal(f->facts.disks, 2);
    assert_false(f->facts.has_local_disk);
    assert_false(f->facts.has_host_device);
    assert_non_null(strstr(f->facts.xml, "machine=\"pc-q35-7.2\""));
    assert_null(strstr(f->facts.xml, "q35\"/"));
    AUTO(freep) char *first = xstrdup(f->facts.xml);
    assert_int_equal(parse(f, first), 0); /* what it gives it takes, unchanged */
    assert_string_equal(f->facts.xml, first);
}

static void test_uuid_is_made(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(parse(f, HEAD SIZE OS "</domain>"), 0);
    assert_true(uuid_eq(&f->facts.uuid, &random_one));
    assert_non_null(strstr(f->facts.xml, "<name>vm1</name><uuid>dead0000-0000-4000-8000-000000000001</uuid>"));
    assert_int_equal(parse(f, HEAD "<uuid>x</uuid>" SIZE OS "</domain>"), ERR_USAGE);
    assert_int_equal(parse(f, HEAD "<uuid>00000000-0000-0000-0000-000000000000</uuid>" SIZE OS "</domain>"), ERR_USAGE);
}

static void test_machine(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(parse(f, HEAD SIZE "<os><type>hvm</type></os></domain>"), 0);
    assert_string_equal(f->facts.machine, "pc-i440fx-7.2");
    assert_int_equal(parse(f, HEAD SIZE "<os><type machine='pc-q35-6.2'>hvm</type></os></domain>"), 0);
    assert_string_equal(f->facts.machine, "pc-q35-6.2");
    assert_int_equal(parse(f, HEAD SIZE "<os><type machine='pc-q35-10.0'>hvm</type></os></domain>"), ERR_USAGE);
    assert_non_null(
        strstr(f->e.text, "VM vm1: QEMU on this host has no machine type pc-q35-10.0; it has, for example, pc-q35-7.2, "
                          "pc-q35-6.2"));
    assert_int_equal(parse(f, HEAD SIZE "<os><type machine='virt-7.2'>hvm</type></os></domain>"), ERR_USAGE);
    assert_non_null(strstr(f->e.text, "no machine type virt-7.2; it has, for example, pc-"));
    assert_string_equal(f->e.remedy, "qemu-system-x86_64 -machine help");
    assert_int_equal(parse(f, HEAD SIZE "<os><type machine='isapc'>hvm</type></os></domain>"), ERR_USAGE); /* i686 */
    assert_int_equal(parse(f, HEAD SIZE "<os><type arch='aarch64'>hvm</type></os></domain>"), ERR_USAGE);
    assert_int_equal(parse(f, HEAD SIZE "<os><type>exe</type></os></domain>"), ERR_USAGE);
    assert_int_equal(parse(f, HEAD SIZE "</domain>"), ERR_USAGE);
}

static void check_memory(struct fixture *f, const char *memory, uint64_t kib)
{
    char xml[400];
    snprintf(xml, sizeof(xml), HEAD "<memory%s</memory>" OS "</domain>", memory);
    assert_int_equal(parse(f, xml), kib ? 0 : ERR_USAGE);
    assert_int_equal(f->facts.memory_kib, kib);
}

static void test_memory(void **state)
{
    struct fixture *f = *state;
    check_memory(f, ">131072", 131072);
    check_memory(f, " unit='GiB'> 2\n", 2 << 20);
    check_memory(f, " unit='b'>1025", 2);
    check_memory(f, " unit='G'>1", 1 << 20);
    check_memory(f, " unit='parsec'>1", 0);
    check_memory(f, " unit=''>1", 0);
    check_memory(f, ">0", 0);
    check_memory(f, ">-1", 0);
    check_memory(f, ">1e9", 0);
    check_memory(f, " unit='TiB'>9223372036854775807", 0);
    check_memory(f, ">99999999999999999999999", 0);
    assert_int_equal(parse(f, HEAD OS "</domain>"), ERR_USAGE);
    assert_int_equal(parse(f, HEAD "<memory>1024</memory><vcpu>0</vcpu>" OS "</domain>"), ERR_USAGE);
    assert_int_equal(parse(f, HEAD "<memory>1024</memory><vcpu>many</vcpu>" OS "</domain>"), ERR_USAGE);
}

static void test_what_pins(void **state)
{
    struct fixture *f = *state;
    static const char *const local[] = {
        DOMAIN("<disk type='block'><source dev='/dev/sdb'/></disk>"),
        DOMAIN("<disk type='volume'><source pool='default' volume='x'/></disk>"),
        DOMAIN("<filesystem type='mount'/>"),
    };
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(parse(f, local[i]), 0);
        assert_true(f->facts.has_local_disk);
        assert_false(f->facts.has_host_device);
    }
    static const char *const device[] = {
        DOMAIN("<hostdev mode='subsystem' type='pci'/>"),
        DOMAIN("<interface type='hostdev'/>"),
        DOMAIN("<disk type='nvme'/>"),
    };
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(parse(f, device[i]), 0);
        assert_true(f->facts.has_host_device);
        assert_false(f->facts.has_local_disk);
    }
    assert_int_equal(parse(f, DOMAIN("<disk type='block'><source dev='/dev/drbd1'/></disk>")), 0);
    assert_false(f->facts.has_local_disk);
}

/* The file system decides: procfs stands for one that is not known to be this host's own. */
static void test_files(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *xml;
        bool is_local;
    } cases[] = {
        {DOMAIN("<disk type='file'><source file='/usr/no/such/folder/x.img'/></disk>"), true},
        {DOMAIN("<disk type='file'><source file='/bin/sh/x.img'/></disk>"), true},
        {DOMAIN("<disk type='file' device='cdrom'><source file='/usr/x.iso'/></disk>"), false},
        {DOMAIN("<disk type='file'><source file='/proc/self/x.img'/></disk>"), false},
        {DOMAIN("<disk type='file'><source file='x.img'/></disk>"), false},
        {DOMAIN("<disk type='file'/><disk type='file'><source file='/usr/x'/></disk>"), true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(parse(f, cases[i].xml), 0);
        assert_int_equal(f->facts.has_local_disk, cases[i].is_local);
    }
}

/* Nothing else of a foreign document is touched. */
static void test_another_machine(void **state)
{
    struct fixture *f = *state;
    const char *xml = DOMAIN("<disk type='file' x:own='1' xmlns:x='urn:x'><!-- theirs --></disk>");
    assert_int_equal(parse(f, xml), 0);
    AUTO(freep) char *before = xstrdup(f->facts.xml);
    char *at = strstr(before, "pc-q35-7.2");
    assert_non_null(at);
    memcpy(at, "pc-q35-6.2", 10);
    free(f->facts.xml);
    assert_int_equal(domxml_parse(xml, "pc-q35-6.2", &f->machines, &random_one, &f->facts, &f->e), 0);
    assert_string_equal(f->facts.machine, "pc-q35-6.2");
    assert_string_equal(f->facts.xml, before);
    free(f->facts.xml);
    f->facts.xml = NULL;
    assert_int_equal(domxml_parse(xml, "pc-q35-10.0", &f->machines, &random_one, &f->facts, &f->e), ERR_USAGE);
    assert_non_null(strstr(f->e.text, "QEMU on this host has no machine type pc-q35-10.0"));
}

static void test_data_store(void **state)
{
    struct fixture *f = *state;
    static const char *const with[] = {
        DOMAIN("<disk type='file'><source file='/a'><dataStore type='file'/></source></disk>"),
        DOMAIN("<disk type='file'/><disk type='file'><source file='/a'/><backingStore type='file'>"
               "<source file='/b'><dataStore type='block'/></source></backingStore></disk>"),
    };
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(parse(f, with[i]), 0);
        assert_true(f->facts.has_data_store);
    }
    assert_int_equal(parse(f, DOMAIN("<disk type='file'><source file='/dataStore'/></disk>")), 0);
    assert_false(f->facts.has_data_store);
}

static void test_not_a_domain(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(parse(f, ""), ERR_USAGE);
    assert_int_equal(parse(f, "name: vm1"), ERR_USAGE);
    assert_int_equal(parse(f, "<domain type='kvm'>"), ERR_USAGE);
    assert_non_null(strstr(f->e.text, "domain XML: line 1:"));
    assert_int_equal(parse(f, "<network/>"), ERR_USAGE);
    assert_int_equal(parse(f, "<domain type='xen'/>"), ERR_USAGE);
    assert_int_equal(parse(f, "<domain type='kvm'/>"), ERR_USAGE);
    assert_int_equal(parse(f, "<x:domain xmlns:x='urn:x' type='kvm'/>"), ERR_USAGE);
    assert_int_equal(parse(f, "<domain type='kvm'><name>../../x</name>" SIZE OS "</domain>"), ERR_USAGE);
    assert_int_equal(parse(f, "<domain type='kvm'><name>-x</name>" SIZE OS "</domain>"), ERR_USAGE);
    assert_int_equal(parse(f, "<domain type='kvm'><name>"
                              "0123456789012345678901234567890123456789012345678901234567890123</name>" SIZE OS
                              "</domain>"),
                     ERR_USAGE);
    assert_null(f->facts.xml);
}

/* Entities and document types, plain and hidden by an encoding. */
static void test_entities(void **state)
{
    struct fixture *f = *state;
    static const char *const hostile[] = {
        "<!DOCTYPE domain [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><domain type='kvm'><name>&x;</name>" SIZE OS
        "</domain>",
        "<!DOCTYPE domain SYSTEM 'http://192.0.2.1/x.dtd'>" HEAD SIZE OS "</domain>",
        "<!DOCTYPE domain [<!ENTITY a '1111111111'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>"
        "<!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;'>]>" HEAD "<memory>&c;</memory>" OS "</domain>",
        HEAD "<description>&undefined;</description>" SIZE OS "</domain>",
        "<?xml version='1.0' encoding='UTF-7'?>+ADwAIQ-DOCTYPE domain+AD4-" HEAD SIZE OS "</domain>",
    };
    for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
        assert_int_equal(parse(f, hostile[i]), ERR_USAGE);
        assert_null(f->facts.xml);
    }
    assert_int_equal(parse(f, HEAD "<description>a &amp; b &#228;</description>" SIZE OS "</domain>"), 0);
}

static void test_xinclude_is_not_followed(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(parse(f, "<domain type='kvm' xmlns:xi='http://www.w3.org/2001/XInclude'><name>vm1</name>"
                              "<description><xi:include href='/etc/passwd' parse='text'/></description>" SIZE OS
                              "</domain>"),
                     0);
    assert_null(strstr(f->facts.xml, "root:"));
}

static void test_huge(void **state)
{
    struct fixture *f = *state;
    AUTO(buf_done) struct buf b = {0};
    buf_add_str(&b, HEAD SIZE OS "<description>");
    while (b.len < VM_XML_MAX)
        buf_add_str(&b, "0123456789abcdef");
    buf_add_str(&b, "</description></domain>");
    buf_add(&b, "", 1);
    assert_int_equal(parse(f, (const char *)b.p), ERR_USAGE);
    assert_non_null(strstr(f->e.text, "larger than 240 KiB"));
}

/* Small as it comes, too large as it would be kept: every '>' becomes four bytes. */
static void test_grows_too_large(void **state)
{
    struct fixture *f = *state;
    AUTO(buf_done) struct buf b = {0};
    buf_add_str(&b, HEAD SIZE OS "<description>");
    while (b.len < VM_XML_MAX / 2)
        buf_add_str(&b, ">");
    buf_add_str(&b, "</description></domain>");
    buf_add(&b, "", 1);
    assert_int_equal(parse(f, (const char *)b.p), ERR_USAGE);
    assert_null(f->facts.xml);
}

static void test_deep(void **state)
{
    struct fixture *f = *state;
    enum { DEPTH = 20000 };
    AUTO(buf_done) struct buf b = {0};
    buf_add_str(&b, HEAD SIZE OS);
    for (int i = 0; i < DEPTH; i++)
        buf_add_str(&b, "<a>");
    for (int i = 0; i < DEPTH; i++)
        buf_add_str(&b, "</a>");
    buf_add_str(&b, "</domain>");
    buf_add(&b, "", 1);
    assert_true(b.len < VM_XML_MAX);
    assert_int_equal(parse(f, (const char *)b.p), ERR_USAGE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_machines),     TEST(test_facts),           TEST(test_uuid_is_made),
        TEST(test_machine),      TEST(test_memory),          TEST(test_what_pins),
        TEST(test_another_machine), TEST(test_files),
        TEST(test_data_store),
        TEST(test_not_a_domain), TEST(test_entities),        TEST(test_xinclude_is_not_followed),
        TEST(test_huge),         TEST(test_grows_too_large), TEST(test_deep),
    };
    return cmocka_run_group_tests_name("domxml", tests, NULL, NULL);
}
