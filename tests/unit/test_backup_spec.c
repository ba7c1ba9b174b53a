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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run),
        cmocka_unit_test(test_keeps),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_domain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
