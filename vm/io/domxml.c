/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is taken from a domain XML is only what the cluster itself needs to place and move the VM; everything else is
 * libvirt's to judge. An admin who may add a VM is as good as root (clusterctl(8)): the limits here keep a broken or
 * foreign file from taking the agent down, not an admin from doing harm. */
#include "vm/io/domxml.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/vfs.h>

#include "vm/io/xml.h"

enum { CAPABILITIES_SIZE_MAX = 8 << 20, MACHINES_SHOWN = 6 };

/* ---- machine types */

void machine_types_done(struct machine_types *m)
{
    free(m->types);
    *m = (struct machine_types){0};
}

static void add_machine(struct machine_types *m, const xmlNode *n)
{
    struct machine_type type;
    if (!xml_text(n, type.name, sizeof(type.name)) || !type.name[0])
        return;
    if (!xml_copy_attribute(n, "canonical", type.canonical, sizeof(type.canonical)))
        STR_COPY(type.canonical, type.name);
    for (size_t i = 0; i < m->n; i++) {
        if (str_eq(m->types[i].name, type.name))
            return;
    }
    m->types = xrealloc(m->types, m->n + 1, sizeof(m->types[0]));
    m->types[m->n++] = type;
}

/* <guest><os_type>hvm<arch name="x86_64"><machine canonical="…">, and <domain> in <arch> with a list of its own. */
static void add_guest(struct machine_types *m, const xmlNode *guest)
{
    char os_type[16];
    const xmlNode *arch = xml_child(guest, "arch");
    if (!xml_text(xml_child(guest, "os_type"), os_type, sizeof(os_type)) || !str_eq(os_type, "hvm") ||
        !xml_attribute_is(arch, "name", m->arch))
        return;
    XML_FOREACH(machine, arch, "machine")
    add_machine(m, machine);
    XML_FOREACH(domain, arch, "domain")
    {
        XML_FOREACH(machine, domain, "machine")
        add_machine(m, machine);
    }
}

int machine_types_parse(const char *capabilities, struct machine_types *ret, struct error *e)
{
    size_t len = strnlen(capabilities, CAPABILITIES_SIZE_MAX + 1);
    if (len > CAPABILITIES_SIZE_MAX)
        return error_set(e, ERR_MALFORMED, "libvirt's capabilities are larger than %d bytes", CAPABILITIES_SIZE_MAX);
    AUTO(xml_free_doc) xmlDoc *doc = xml_read(capabilities, len, "libvirt's capabilities", e);
    const xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;
    if (!root || !xml_is(root, "capabilities"))
        return error_set(e, ERR_MALFORMED, "libvirt's capabilities do not parse");
    struct machine_types m = {0};
    if (!xml_text(xml_child(xml_child(xml_child(root, "host"), "cpu"), "arch"), m.arch, sizeof(m.arch)))
        return error_set(e, ERR_MALFORMED, "libvirt's capabilities name no host architecture");
    XML_FOREACH(guest, root, "guest")
    add_guest(&m, guest);
    if (m.n == 0)
        return error_set(e, ERR_CONDITION, "libvirt finds no QEMU for %s on this host", m.arch);
    *ret = m;
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

char *machine_types_list(const struct machine_types *m, size_t size_max)
{
    struct buf list = {0};
    AUTO(freep) const char **names = xcalloc(m->n, sizeof(names[0]));
    for (size_t i = 0; i < m->n; i++)
        names[i] = m->types[i].canonical;
    if (m->n)
        qsort(names, m->n, sizeof(names[0]), compare_names);
    for (size_t i = 0; i < m->n; i++) {
        if ((i > 0 && str_eq(names[i], names[i - 1])) || list.len + strlen(names[i]) + 2 > size_max)
            continue;
        buf_printf(&list, "%s%s", list.len ? " " : "", names[i]);
    }
    return buf_steal_str(&list);
}

static const struct machine_type *find_machine(const struct machine_types *m, const char *name)
{
    for (size_t i = 0; i < m->n; i++) {
        if (str_eq(m->types[i].name, name) || str_eq(m->types[i].canonical, name))
            return &m->types[i];
    }
    return NULL;
}

static size_t list_machines(const struct machine_types *m, const char *machine, size_t kind, struct buf *b)
{
    size_t shown = 0;
    for (size_t i = 0; i < m->n && shown < MACHINES_SHOWN; i++) {
        const char *name = m->types[i].canonical;
        if (str_eq(name, m->types[i].name) && strncmp(name, machine, kind) == 0)
            buf_printf(b, "%s%s", shown++ ? ", " : "", name);
    }
    return shown;
}

/* Some that it might have been: of the same kind, pc-q35 or pc-i440fx; else some of any kind. */
static int refuse_machine(const struct machine_types *m, const char *vm, const char *machine, struct error *e)
{
    AUTO(buf_done) struct buf some = {0};
    const char *version = strrchr(machine, '-');
    size_t kind = version ? (size_t)(version - machine) + 1 : 0, shown = list_machines(m, machine, kind, &some);
    if (!shown)
        shown = list_machines(m, machine, 0, &some);
    error_set(e, ERR_USAGE, "VM %s: QEMU on this host has no machine type %s%s%.*s", vm, machine,
              shown ? "; it has, for example, " : "", (int)some.len, shown ? (const char *)some.p : "");
    error_set_remedy(e, "qemu-system-%s -machine help", m->arch);
    return ERR_USAGE;
}

/* ---- facts of a domain */

/* A decimal number, digits only, up to max. */
static bool parse_number(const char *s, uint64_t max, uint64_t *ret)
{
    uint64_t n = 0;
    if (!*s)
        return false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9' || n > (max - (uint64_t)(*s - '0')) / 10)
            return false;
        n = n * 10 + (uint64_t)(*s - '0');
    }
    *ret = n;
    return true;
}

/* libvirt's scaled integers: what a unit multiplies by, in bytes; 0: unknown. */
static uint64_t unit_bytes(const char *unit)
{
    static const struct {
        const char *names[3];
        uint64_t bytes;
    } units[] = {
        {{"b", "bytes", "byte"}, 1},     {{"KB", "", ""}, 1000},
        {{"KiB", "k", "K"}, 1ull << 10}, {{"MB", "", ""}, 1000 * 1000},
        {{"MiB", "M", "m"}, 1ull << 20}, {{"GB", "", ""}, 1000ull * 1000 * 1000},
        {{"GiB", "G", "g"}, 1ull << 30}, {{"TB", "", ""}, 1000ull * 1000 * 1000 * 1000},
        {{"TiB", "T", "t"}, 1ull << 40},
    };
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        for (size_t k = 0; k < 3; k++) {
            if (unit[0] && str_eq(units[i].names[k], unit))
                return units[i].bytes;
        }
    }
    return 0;
}

static bool parse_memory(const xmlNode *n, uint64_t *ret_kib)
{
    char text[32], unit[16] = "KiB";
    uint64_t number, bytes;
    if (!xml_text(n, text, sizeof(text)) || !parse_number(text, INT64_MAX, &number))
        return false;
    xml_copy_attribute(n, "unit", unit, sizeof(unit));
    if (__builtin_mul_overflow(number, unit_bytes(unit), &bytes) || bytes < 1024)
        return false;
    *ret_kib = bytes / 1024 + (bytes % 1024 != 0);
    return true;
}

static int take_name(const xmlNode *root, struct vm_facts *f, struct error *e)
{
    if (!xml_text(xml_child(root, "name"), f->name, sizeof(f->name)) || !vm_name_ok(f->name))
        return error_set(e, ERR_USAGE,
                         "domain XML: <name> must have 1 to %d letters, digits, '.', '_' or '-', not first '.' or '-'",
                         VM_NAME_MAX - 1);
    return 0;
}

static int take_uuid(xmlNode *root, const struct uuid *random_uuid, struct vm_facts *f, struct error *e)
{
    xmlNode *n = xml_child(root, "uuid");
    char text[UUID_STR_SIZE];
    if (n) {
        if (!xml_text(n, text, sizeof(text)) || uuid_parse(text, &f->uuid) || uuid_is_nil(&f->uuid))
            return error_set(e, ERR_USAGE, "VM %s: <uuid> is not a UUID with dashes", f->name);
        return 0;
    }
    f->uuid = *random_uuid;
    n = xmlNewDocNode(root->doc, NULL, (const xmlChar *)"uuid", (const xmlChar *)uuid_str(&f->uuid).s);
    if (!n || !xmlAddNextSibling(xml_child(root, "name"), n))
        abort();
    return 0;
}

static int take_machine(xmlNode *root, const char *wanted, const struct machine_types *machines, struct vm_facts *f,
                        struct error *e)
{
    xmlNode *type = xml_child(xml_child(root, "os"), "type");
    char text[VM_MACHINE_MAX], machine[VM_MACHINE_MAX] = "pc"; /* libvirt's own default */
    if (!xml_text(type, text, sizeof(text)) || !str_eq(text, "hvm"))
        return error_set(e, ERR_USAGE, "VM %s: <os><type> must be hvm", f->name);
    AUTO(xml_free_text) xmlChar *arch = xml_attribute(type, "arch");
    if (arch && !str_eq((const char *)arch, machines->arch))
        return error_set(e, ERR_USAGE, "VM %s is for %.32s, this host is %s", f->name, (const char *)arch,
                         machines->arch);
    AUTO(xml_free_text) xmlChar *own = xml_attribute(type, "machine");
    const char *given = wanted[0] ? wanted : (const char *)own;
    if (given && !STR_COPY(machine, given))
        return error_set(e, ERR_USAGE, "VM %s: the machine type is longer than %d", f->name, VM_MACHINE_MAX - 1);
    const struct machine_type *known = find_machine(machines, machine);
    if (!known)
        return refuse_machine(machines, f->name, machine, e);
    STR_COPY(f->machine, known->canonical);
    if (!xmlSetProp(type, (const xmlChar *)"machine", (const xmlChar *)f->machine))
        abort();
    return 0;
}

static int take_size(const xmlNode *root, struct vm_facts *f, struct error *e)
{
    char text[16];
    uint64_t n = 1;
    if (!parse_memory(xml_child(root, "memory"), &f->memory_kib))
        return error_set(e, ERR_USAGE, "VM %s: <memory> is not an amount of memory", f->name);
    const xmlNode *vcpu = xml_child(root, "vcpu");
    if (vcpu && (!xml_text(vcpu, text, sizeof(text)) || !parse_number(text, 4096, &n) || n == 0))
        return error_set(e, ERR_USAGE, "VM %s: <vcpu> is not a number of CPUs", f->name);
    f->vcpus = (uint32_t)n;
    return 0;
}

/* Whole disks by their kernel names are this host's own. Of other block devices (multipath, LVM, DRBD, RBD) it cannot
 * be known: they count as shared, and libvirt on the target says if they are not. */
static bool is_local_block(const xmlNode *disk)
{
    static const char *const prefixes[] = {"/dev/sd",   "/dev/vd",  "/dev/hd", "/dev/nvme",
                                           "/dev/loop", "/dev/ram", "/dev/sr"};
    AUTO(xml_free_text) xmlChar *dev = xml_attribute(xml_child(disk, "source"), "dev");
    for (size_t i = 0; dev && i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        if (strncmp((const char *)dev, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    }
    return false;
}

/* As libvirt sees it, which moves no such disk: by the file system of the file, or of the folder where it is to be. Of
 * others (FUSE, and what this service may not see) it cannot be known: they count as shared. */
static bool is_local_file(const xmlNode *disk)
{
    static const unsigned local[] = {EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, F2FS_SUPER_MAGIC,
                                     OVERLAYFS_SUPER_MAGIC};
    AUTO(xml_free_text) xmlChar *file = xml_attribute(xml_child(disk, "source"), "file");
    char path[PATH_MAX];
    struct statfs fs;
    if (!file || file[0] != '/' || snprintf(path, sizeof(path), "%s", (const char *)file) >= (int)sizeof(path))
        return false;
    while (statfs(path, &fs) != 0) {
        if ((errno != ENOENT && errno != ENOTDIR) || path[1] == '\0')
            return false;
        char *last = strrchr(path, '/');
        last[last == path] = '\0';
    }
    for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++)
        if ((unsigned)fs.f_type == local[i])
            return true;
    return false;
}

/* In its source, or in that of an image below it. libxml2 bounds the depth. */
static bool has_data_store(const xmlNode *n)
{
    for (; n; n = n->next)
        if (xml_is(n, "dataStore") || (n->type == XML_ELEMENT_NODE && has_data_store(n->children)))
            return true;
    return false;
}

static void take_devices(const xmlNode *root, struct vm_facts *f)
{
    const xmlNode *devices = xml_child(root, "devices");
    XML_FOREACH(disk, devices, "disk")
    {
        f->disks++;
        if (xml_attribute_is(disk, "type", "block"))
            f->has_local_disk |= is_local_block(disk);
        else if (xml_attribute_is(disk, "type", "file") && !xml_attribute_is(disk, "device", "cdrom"))
            f->has_local_disk |= is_local_file(disk);
        f->has_local_disk |= xml_attribute_is(disk, "type", "volume") || xml_attribute_is(disk, "type", "dir");
        f->has_host_device |= xml_attribute_is(disk, "type", "nvme");
        f->has_data_store |= has_data_store(disk->children);
    }
    f->has_local_disk |= xml_child(devices, "filesystem") != NULL; /* a folder of the host */
    f->has_host_device |= xml_child(devices, "hostdev") != NULL;
    XML_FOREACH(interface, devices, "interface")
    f->has_host_device |= xml_attribute_is(interface, "type", "hostdev");
}

static int take_xml(xmlNode *root, struct vm_facts *f, struct error *e)
{
    AUTO(xml_free_buffer) xmlBuffer *out = xmlBufferCreate();
    if (!out || xmlNodeDump(out, root->doc, root, 0, 0) < 0)
        abort();
    const char *text = (const char *)xmlBufferContent(out);
    if (strlen(text) > VM_XML_MAX)
        return error_set(e, ERR_USAGE, "VM %s: its XML is larger than %d KiB", f->name, VM_XML_MAX / 1024);
    f->xml = xstrdup(text);
    return 0;
}

static int take_facts(xmlNode *root, const char *machine, const struct machine_types *machines,
                      const struct uuid *random_uuid, struct vm_facts *f, struct error *e)
{
    if (!xml_attribute_is(root, "type", "kvm") && !xml_attribute_is(root, "type", "qemu"))
        return error_set(e, ERR_USAGE, "domain XML: the domain's type must be kvm or qemu");
    int err = take_name(root, f, e);
    err = err ? err : take_uuid(root, random_uuid, f, e);
    err = err ? err : take_machine(root, machine, machines, f, e);
    err = err ? err : take_size(root, f, e);
    if (err)
        return err;
    take_devices(root, f);
    return take_xml(root, f, e);
}

int domxml_parse(const char *xml, const char *machine, const struct machine_types *machines,
                 const struct uuid *random_uuid, struct vm_facts *ret, struct error *e)
{
    size_t len = strnlen(xml, VM_XML_MAX + 1);
    if (len > VM_XML_MAX)
        return error_set(e, ERR_USAGE, "domain XML: larger than %d KiB", VM_XML_MAX / 1024);
    if (strstr(xml, "<!DOCTYPE") || strstr(xml, "<!ENTITY"))
        return error_set(e, ERR_USAGE, "domain XML: a document type or an entity is not accepted");
    AUTO(xml_free_doc) xmlDoc *doc = xml_read(xml, len, "domain XML", e);
    if (!doc)
        return ERR_USAGE;
    xmlNode *root = xmlDocGetRootElement(doc);
    if (doc->intSubset || doc->extSubset || !root || !xml_is(root, "domain"))
        return error_set(e, ERR_USAGE, "domain XML: the document is not a <domain>");
    struct vm_facts f = {0};
    int err = take_facts(root, machine, machines, random_uuid, &f, e);
    if (err)
        return err;
    *ret = f;
    return 0;
}
