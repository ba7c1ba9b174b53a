/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the agent asks of the worker, and what the worker takes from a domain XML. */
#include "tests/unit/unit.h"

#include "backup/io/domain.h"
#include "backup/spec.h"

#define RUN    "86b895b1-2870-46a1-8460-b33dc0ca627a"
#define PARENT "3b3f38ea-7e00-479f-bd64-85cfbdf0bb77"
#define OTHER  "ee1bba6d-abd8-4e16-b589-415bd8ad2d9f"
#define KEY    "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define COMMON                                                                                                         \
    "\"run\":\"" RUN "\",\"vm\":\"web\",\"status\":\"/run/x\",\"keep_checkpoints\":[\"ringmaster-" OTHER "\"]"
#define WITH_PARENT                                                                                                    \
    ",\"parent\":{\"point\":\"" PARENT                                                                                 \
    "\",\"checkpoint_xml\":\"<x/>\",\"disks\":[{\"name\":\"vda\",\"tracking\":\"" OTHER "\"}]}"
#define WORK                                                                                                           \
    ",\"repository\":\"/srv/b\",\"key\":\"" KEY                                                                        \
    "\",\"engine\":\"auto\",\"consistency\":\"application\",\"limit_bytes\":9"

static int decode(const char *text, bool settle, struct spec *ret, struct error *e)
{
    return spec_decode((struct slice){(const uint8_t *)text, strlen(text)}, settle, ret, e);
}

static void test_run(void **state)
{
    (void)state;
    struct spec s;
    assert_int_equal(decode("{" COMMON WORK WITH_PARENT "}", false, &s, NULL), 0);
    assert_string_equal(s.vm, "web");
    assert_string_equal(s.repository, "/srv/b");
    assert_int_equal(s.key_len, 32);
    assert_int_equal(s.key[31], 31);
    assert_true(s.application);
    assert_int_equal(s.limit_bytes, 9);
    assert_string_equal(s.parent.checkpoint_xml, "<x/>");
    assert_string_equal(uuid_str(&spec_disk(&s, "vda")->tracking).s, OTHER);
    assert_null(spec_disk(&s, "vdb"));
    assert_int_equal(s.retention.last, 0);
    spec_done(&s);
    assert_int_equal(s.key[31], 0);
    assert_int_equal(decode("{" COMMON WORK WITH_PARENT ",\"retention\":\"daily=7\"}", false, &s, NULL), 0);
    assert_int_equal(s.retention.daily, 7);
    spec_done(&s);
}

#define RESTORE                                                                                                        \
    ",\"repository\":\"/srv/b\",\"key\":\"" KEY "\",\"restore\":{\"point\":\"" PARENT                                  \
    "\",\"folder\":\"/srv/new\",\"as\":\"web2\""

static void test_restore(void **state)
{
    (void)state;
    struct spec s;
    assert_int_equal(decode("{" COMMON RESTORE "},\"parent\":null}", false, &s, NULL), 0);
    assert_string_equal(uuid_str(&s.restore.point).s, PARENT);
    assert_string_equal(s.restore.folder, "/srv/new");
    assert_string_equal(s.restore.as, "web2");
    assert_false(s.is_verify);
    spec_done(&s);
    assert_int_equal(decode("{" COMMON WORK ",\"verify\":{\"point\":null},\"parent\":null}", false, &s, NULL), 0);
    assert_true(s.is_verify);
    assert_true(uuid_is_nil(&s.verify));
    spec_done(&s);
    assert_int_equal(decode("{" COMMON WORK WITH_PARENT "}", false, &s, NULL), 0);
    assert_true(uuid_is_nil(&s.restore.point));
    spec_done(&s);
}

static void test_keeps(void **state)
{
    (void)state;
    struct spec s;
    assert_int_equal(decode("{" COMMON WITH_PARENT "}", true, &s, NULL), 0);
    assert_true(spec_keeps(&s, "ringmaster-" OTHER));
    assert_true(spec_keeps(&s, "ringmaster-" PARENT));
    assert_false(spec_keeps(&s, "ringmaster-" RUN));
    spec_done(&s);
    assert_int_equal(decode("{" COMMON ",\"parent\":null}", true, &s, NULL), 0);
    assert_false(spec_keeps(&s, "ringmaster-" PARENT));
    assert_false(spec_keeps(&s, "ringmaster-00000000-0000-0000-0000-000000000000"));
    spec_done(&s);
}

static void refuses(const char *text, bool settle, const char *word)
{
    struct spec s;
    struct error e = {0};
    assert_int_equal(decode(text, settle, &s, &e), ERR_USAGE);
    if (!strstr(e.text, word))
        fail_msg("%s: nothing of %s", e.text, word);
}

static void test_refuses(void **state)
{
    (void)state;
    refuses("{" COMMON ",\"parent\":null}", false, "repository");
    refuses("{" COMMON "}", true, "parent");
    refuses("{" COMMON RESTORE ",\"tape\":1},\"parent\":null}", false, "tape");
    refuses("{" COMMON WORK ",\"restore\":{\"folder\":\"new\"},\"parent\":null}", false, "restore.folder");
    refuses("{" COMMON WORK ",\"restore\":{\"folder\":\"/n\",\"as\":\"../x\"},\"parent\":null}", false, "restore.as");
    refuses("{" COMMON WORK ",\"restore\":{\"folder\":\"/n\",\"as\":\"x\"},\"parent\":null}", false, "restore.point");
    refuses("{" COMMON WORK ",\"restore\":7,\"parent\":null}", false, "restore");
    refuses("{" COMMON WORK ",\"verify\":7,\"parent\":null}", false, "verify");
    refuses("{" COMMON WORK ",\"verify\":{\"point\":\"x\"},\"parent\":null}", false, "verify.point");
    refuses("{" COMMON WORK ",\"verify\":{\"tape\":1},\"parent\":null}", false, "tape");
    refuses("{" COMMON RESTORE "},\"verify\":{\"point\":null},\"parent\":null}", false, "verify");
    refuses("{" COMMON WORK ",\"parent\":null,\"retention\":\"\"}", false, "retention");
    refuses("{" COMMON WORK ",\"parent\":null,\"retention\":7}", false, "retention");
    refuses("{" COMMON WORK ",\"parent\":null,\"tape\":1}", false, "tape");
    refuses("{" COMMON ",\"parent\":{\"point\":\"" PARENT "\",\"checkpoint_xml\":\"\",\"disks\":[],\"tape\":1}}", true,
            "tape");
    refuses("{\"run\":\"" RUN "\",\"vm\":\"a/b\"}", true, "vm");
    refuses("[]", true, "object");
    refuses("{", true, "JSON");
}

static const char xml[] =
    "<domain><name>web</name><os><nvram template='/t'>/var/nvram.fd</nvram></os><devices>"
    "<disk type='file' device='cdrom'><source file='/iso'/><target dev='sda'/></disk>"
    "<disk type='file' device='disk'><driver type='qcow2'/><source file='/a'/><target dev='vda'/></disk>"
    "<disk type='block'><source dev='/dev/x'/><target dev='vdb'/></disk>"
    "<disk type='network' device='disk'><driver type='raw'/><source protocol='rbd'/><target dev='vdc'/></disk>"
    "<disk type='file' device='disk'><target dev='vdd'/></disk>"
    "</devices></domain>";

static void test_domain(void **state)
{
    (void)state;
    struct domain_facts f;
    assert_int_equal(domain_facts_parse(xml, &f, NULL), 0);
    assert_int_equal(f.n_disks, 3);
    assert_string_equal(f.disks[0].name, "vda");
    assert_string_equal(f.disks[0].format, "qcow2");
    assert_string_equal(f.disks[0].path, "/a");
    assert_true(f.disks[0].can_track);
    assert_false(f.disks[1].can_track);
    assert_string_equal(f.disks[1].format, "raw");
    assert_string_equal(f.disks[1].path, "/dev/x");
    assert_null(f.disks[2].path);
    assert_string_equal(f.nvram, "/var/nvram.fd");
    domain_facts_done(&f);
    assert_int_equal(
        domain_facts_parse("<domain><os><nvram type='file'><source file='/n'/></nvram></os></domain>", &f, NULL), 0);
    assert_string_equal(f.nvram, "/n");
    assert_int_equal(f.n_disks, 0);
    domain_facts_done(&f);
    assert_int_equal(domain_facts_parse("<domaincheckpoint/>", &f, NULL), ERR_MALFORMED);
    assert_int_equal(domain_facts_parse("<domain>", &f, NULL), ERR_MALFORMED);
    assert_int_equal(domain_facts_parse("<domain><devices><disk type='file'><source file='/a'/><target dev='../x'/>"
                                        "</disk></devices></domain>",
                                        &f, NULL),
                     ERR_CONDITION);
}

static void moves_to(const char *text, const struct domain_move *m, const char *const *has, const char *const *lacks)
{
    AUTO(buf_done) struct buf b = {0};
    assert_int_equal(domain_move_xml((struct slice){(const uint8_t *)text, strlen(text)}, m, &b, NULL), 0);
    buf_printf(&b, "%c", 0);
    for (; *has; has++)
        if (!strstr((const char *)b.p, *has))
            fail_msg("no %s in: %s", *has, (const char *)b.p);
    for (; *lacks; lacks++)
        if (strstr((const char *)b.p, *lacks))
            fail_msg("%s in: %s", *lacks, (const char *)b.p);
}

static void test_moves(void **state)
{
    (void)state;
    static const char whole[] =
        "<domain type='kvm'><name>web</name><uuid>" RUN "</uuid><os><nvram type='file'><source file='/old/n'/></nvram>"
        "</os><devices><disk type='block' device='disk'><driver name='qemu' type='raw' cache='none'/>"
        "<source dev='/dev/vg/web' startupPolicy='x'/><backingStore/><encryption format='luks'/><auth username='u'/>"
        "<target dev='vda' bus='virtio'/></disk>"
        "<disk type='file' device='cdrom'><source file='/iso'/><target dev='sda'/></disk>"
        "<disk type='block' device='lun'><source dev='/dev/sdz'/><target dev='sdb'/></disk>"
        "<interface type='bridge'><mac address='52:54:00:00:00:01'/></interface></devices>"
        "<sysinfo type='smbios'><system><entry name='serial'>7</entry><entry name='uuid'>" RUN
        "</entry></system></sysinfo><genid>" OTHER "</genid></domain>";
    struct domain_place places[] = {{"vda", "/new/a&b-vda.qcow2"}};
    struct domain_move m = {.disks = places, .n_disks = 1, .nvram = "/new/a&b-nvram.bin", .genid = PARENT};
    static const char *const same[] = {"<source file=\"/new/a&amp;b-vda.qcow2\"/>",
                                       "type=\"qcow2\" cache=\"none\"",
                                       "<nvram>/new/a&amp;b-nvram.bin</nvram>",
                                       "<genid>" PARENT "</genid>",
                                       "file=\"/iso\"",
                                       "/dev/sdz",
                                       RUN,
                                       "52:54:00",
                                       "<name>web</name>",
                                       NULL};
    static const char *const gone[] = {"/dev/vg/web", "backingStore", "/old/n", "startupPolicy",
                                       "<encryption", "<auth",        OTHER,    NULL};
    moves_to(whole, &m, same, gone);
    m.name = "a&b";
    static const char *const other[] = {"<name>a&amp;b</name>",
                                        "interface type=\"bridge\"",
                                        "serial",
                                        "file=\"/iso\"",
                                        "<nvram>/new/a&amp;b-nvram.bin</nvram>",
                                        NULL};
    static const char *const own[] = {RUN, "52:54:00", "<name>web</name>", "/dev/sdz", NULL};
    moves_to(whole, &m, other, own);
    m.nvram = NULL; /* the first one writes to its own */
    static const char *const empty[] = {"<nvram", NULL}, *const old[] = {"/old/n", NULL}, *const nothing[] = {NULL};
    moves_to(whole, &m, empty, old);
    m.name = NULL;
    moves_to(whole, &m, old, nothing);
    struct buf b = {0};
    assert_int_equal(domain_move_xml((struct slice){(const uint8_t *)"<x/>", 4}, &m, &b, NULL), ERR_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run),     cmocka_unit_test(test_restore), cmocka_unit_test(test_keeps),
        cmocka_unit_test(test_refuses), cmocka_unit_test(test_domain),  cmocka_unit_test(test_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
