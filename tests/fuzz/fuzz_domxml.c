/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Domain XML, as an admin hands it in; and capabilities, as libvirt does. The first byte chooses: '<' is a domain. What
 * is taken is taken again, unchanged: it is what the cluster keeps. */
#include "backup/io/domain.h"
#include "tests/fuzz/fuzz.h"
#include "vm/io/domxml.h"

static void fuzz_capabilities(const char *text)
{
    struct machine_types m = {0};
    struct error e = {0};
    if (machine_types_parse(text, &m, &e) != 0) {
        assert(e.code && e.text[0]);
        return;
    }
    free(machine_types_list(&m, 256));
    machine_types_done(&m);
}

static void fuzz_domain(const char *text)
{
    struct machine_type types[] = {{"q35", "pc-q35-7.2"}, {"pc-q35-7.2", "pc-q35-7.2"}, {"pc", "pc-i440fx-7.2"}};
    struct machine_types machines = {.arch = "x86_64", .types = types, .n = 3};
    struct uuid random = {{1}};
    struct vm_facts first = {0}, second = {0};
    struct error e = {0};
    int err = domxml_parse(text, "", &machines, &random, &first, &e);
    if (err) {
        assert(e.code == err && err == ERR_USAGE && e.text[0] && !first.xml);
        return;
    }
    assert(first.name[0] && !uuid_is_nil(&first.uuid) && strlen(first.xml) < VM_XML_MAX);
    assert(!strstr(first.xml, "<!DOCTYPE") && !strstr(first.xml, "<!ENTITY"));
    err = domxml_parse(first.xml, "", &machines, &random, &second, &e);
    assert(err == 0); /* what was taken is taken again */
    assert(str_eq(first.xml, second.xml) && str_eq(first.machine, second.machine) && str_eq(first.name, second.name));
    free(first.xml);
    free(second.xml);
}

/* What a backup takes from it. */
static void fuzz_disks(const char *text)
{
    struct domain_facts f;
    struct error e = {0};
    int err = domain_facts_parse(text, &f, &e);
    if (err) {
        assert(e.code == err && (err == ERR_MALFORMED || err == ERR_CONDITION) && e.text[0]);
        return;
    }
    assert(f.n_disks <= DOMAIN_DISKS_MAX && (!f.nvram || f.nvram[0] == '/'));
    for (size_t i = 0; i < f.n_disks; i++)
        assert(layout_disk_ok(f.disks[i].name) && f.disks[i].format[0] &&
               (!f.disks[i].path || f.disks[i].path[0] == '/'));
    domain_facts_done(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    bool is_domain = data[0] == '<';
    AUTO(freep) char *text = input_text((struct slice){data + !is_domain, size - !is_domain});
    if (!is_domain) {
        fuzz_capabilities(text);
        return 0;
    }
    fuzz_domain(text);
    fuzz_disks(text);
    return 0;
}
