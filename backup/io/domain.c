/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backup/io/domain.h"

#include <stdio.h>

#include "vm/io/xml.h"

enum {
    XML_MAX = 4 << 20,
    AGENT_S = 20, /* what the guest's agent has for one command */
    SHORT_NAME_MAX = 20,
};
#define LIBVIRT_QEMU_DIR "/var/lib/libvirt/qemu"

/* ---- facts */

static char *source_path(const xmlNode *disk)
{
    const xmlNode *source = xml_child(disk, "source");
    xmlChar *s = NULL;
    if (xml_attribute_is(disk, "type", "file"))
        s = xml_attribute(source, "file");
    else if (xml_attribute_is(disk, "type", "block"))
        s = xml_attribute(source, "dev");
    char *path = s && s[0] == '/' ? xstrdup((const char *)s) : NULL;
    xmlFree(s);
    return path;
}

static bool holds_data(const xmlNode *disk)
{
    AUTO(xml_free_text) xmlChar *device = xml_attribute(disk, "device");
    return (!device || str_eq((const char *)device, "disk")) && xml_child(disk, "source");
}

static int take_disk(const xmlNode *disk, struct domain_facts *f, struct error *e)
{
    if (f->n_disks == DOMAIN_DISKS_MAX)
        return error_set(e, ERR_CONDITION, "it has more than %d disks", DOMAIN_DISKS_MAX);
    struct domain_disk *d = &f->disks[f->n_disks];
    *d = (struct domain_disk){.path = NULL};
    if (!xml_copy_attribute(xml_child(disk, "target"), "dev", d->name, sizeof(d->name)) || !layout_disk_ok(d->name))
        return error_set(e, ERR_CONDITION, "a disk's target is not named in letters and digits");
    if (!xml_copy_attribute(xml_child(disk, "driver"), "type", d->format, sizeof(d->format)) || !d->format[0])
        STR_COPY(d->format, "raw"); /* libvirt's own default */
    d->can_track = str_eq(d->format, "qcow2") && !xml_child(disk, "readonly");
    d->path = source_path(disk);
    f->n_disks++;
    return 0;
}

/* <nvram>/path</nvram>, or since libvirt 8.5 <nvram type='file'><source file='/path'/></nvram>. */
static char *nvram_path(const xmlNode *root)
{
    char text[4096];
    const xmlNode *nvram = xml_child(xml_child(root, "os"), "nvram");
    if (!xml_copy_attribute(xml_child(nvram, "source"), "file", text, sizeof(text)) &&
        !xml_text(nvram, text, sizeof(text)))
        return NULL;
    return text[0] == '/' ? xstrdup(text) : NULL;
}

int domain_facts_parse(const char *xml, struct domain_facts *ret, struct error *e)
{
    size_t len = strnlen(xml, XML_MAX + 1);
    if (len > XML_MAX)
        return error_set(e, ERR_MALFORMED, "the domain XML is larger than %d bytes", XML_MAX);
    AUTO(xml_free_doc) xmlDoc *doc = xml_read(xml, len, "the domain XML", e);
    const xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;
    if (!root || !xml_is(root, "domain"))
        return error_set(e, ERR_MALFORMED, "the domain XML does not parse");
    struct domain_facts f = {.n_disks = 0};
    int err = 0;
    const xmlNode *devices = xml_child(root, "devices");
    XML_FOREACH(disk, devices, "disk")
    {
        if (!err && holds_data(disk))
            err = take_disk(disk, &f, e);
    }
    if (err) {
        domain_facts_done(&f);
        return err;
    }
    f.nvram = nvram_path(root);
    *ret = f;
    return 0;
}

void domain_facts_done(struct domain_facts *f)
{
    for (size_t i = 0; i < f->n_disks; i++)
        free(f->disks[i].path);
    free(f->nvram);
    *f = (struct domain_facts){.n_disks = 0};
}

/* ---- a domain XML for other files */

static void drop(xmlNode *n)
{
    if (!n)
        return;
    xmlUnlinkNode(n);
    xmlFreeNode(n);
}

static void set(xmlNode *n, const char *attribute, const char *value)
{
    if (!xmlSetProp(n, (const xmlChar *)attribute, (const xmlChar *)value))
        abort();
}

/* The first child of that name, anew: whatever it held. */
static xmlNode *renew(xmlNode *parent, const char *name)
{
    drop(xml_child(parent, name));
    xmlNode *n = xmlNewChild(parent, NULL, (const xmlChar *)name, NULL);
    if (!n)
        abort();
    return n;
}

static const char *place_of(const struct domain_move *m, const xmlNode *disk)
{
    AUTO(xml_free_text) xmlChar *name = xml_attribute(xml_child(disk, "target"), "dev");
    for (size_t i = 0; name && i < m->n_disks; i++)
        if (str_eq((const char *)name, m->disks[i].disk))
            return m->disks[i].path;
    return NULL;
}

static void move_disk(xmlNode *disk, const char *path)
{
    xmlNode *driver = xml_child(disk, "driver");
    set(disk, "type", "file");
    set(renew(disk, "source"), "file", path);
    driver = driver ? driver : renew(disk, "driver");
    set(driver, "type", "qcow2");
    drop(xml_child(disk, "backingStore")); /* the image stands alone, and in clear */
    drop(xml_child(disk, "encryption"));
    drop(xml_child(disk, "auth"));
}

static void set_text(xmlNode *n, const char *value)
{
    AUTO(xml_free_text) xmlChar *text = xmlEncodeSpecialChars(n->doc, (const xmlChar *)value);
    xmlNodeSetContent(n, text);
}

/* path "": libvirt chooses one, from the template. */
static void move_nvram(xmlNode *root, const char *path)
{
    xmlNode *nvram = xml_child(xml_child(root, "os"), "nvram");
    if (!nvram)
        return;
    while (nvram->children)
        drop(nvram->children);
    xmlUnsetProp(nvram, (const xmlChar *)"type");
    set_text(nvram, path);
}

/* What the first one goes on to write to, and this one would, too. */
static bool is_of_another(const struct domain_move *m, const xmlNode *disk)
{
    bool is_medium = xml_attribute_is(disk, "device", "cdrom") || xml_attribute_is(disk, "device", "floppy");
    return m->name && !is_medium && xml_child(disk, "source") && !place_of(m, disk);
}

static void move_disks(xmlNode *devices, const struct domain_move *m)
{
    for (xmlNode *disk = xml_child(devices, "disk"), *next; disk; disk = next) {
        const char *path = place_of(m, disk);
        next = xml_from(disk->next, "disk");
        if (path)
            move_disk(disk, path);
        else if (is_of_another(m, disk))
            drop(disk);
    }
}

/* libvirt holds it to the <uuid>. */
static void drop_smbios_uuid(xmlNode *root)
{
    XML_FOREACH(sysinfo, root, "sysinfo")
    {
        XML_FOREACH(entry, xml_child(sysinfo, "system"), "entry")
        {
            if (xml_attribute_is(entry, "name", "uuid")) {
                drop(entry);
                break;
            }
        }
    }
}

static void rename_domain(xmlNode *root, const char *name)
{
    set_text(renew(root, "name"), name);
    drop(xml_child(root, "uuid"));
    drop_smbios_uuid(root);
    XML_FOREACH(interface, xml_child(root, "devices"), "interface")
    {
        drop(xml_child(interface, "mac"));
    }
}

int domain_move_xml(struct slice xml, const struct domain_move *m, struct buf *ret, struct error *e)
{
    if (xml.len > XML_MAX)
        return error_set(e, ERR_MALFORMED, "the domain XML is larger than %d bytes", XML_MAX);
    AUTO(xml_free_doc) xmlDoc *doc = xml_read((const char *)xml.p, xml.len, "the domain XML", e);
    AUTO(xml_free_buffer) xmlBuffer *out = xmlBufferCreate();
    xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;
    if (!root || !xml_is(root, "domain"))
        return error_set(e, ERR_MALFORMED, "the domain XML does not parse");
    move_disks(xml_child(root, "devices"), m);
    if (m->nvram || m->name)
        move_nvram(root, m->nvram ? m->nvram : "");
    if (m->genid && xml_child(root, "genid"))
        set_text(xml_child(root, "genid"), m->genid);
    if (m->name)
        rename_domain(root, m->name);
    if (!out || xmlNodeDump(out, doc, root, 0, 1) < 0)
        abort();
    buf_printf(ret, "%s\n", (const char *)xmlBufferContent(out));
    return 0;
}

/* ---- the connection */

static int connect_domain(struct domain *d, struct error *e)
{
    d->conn = virConnectOpen("qemu:///system");
    if (!d->conn) {
        error_set(e, ERR_AGAIN, "libvirtd on this host does not answer: %s", virGetLastErrorMessage());
        error_set_remedy(e, "systemctl status libvirtd");
        return ERR_AGAIN;
    }
    d->dom = virDomainLookupByName(d->conn, d->vm);
    if (d->dom)
        return 0;
    if (!virt_last_error_is(VIR_ERR_NO_DOMAIN))
        return virt_fail(e, "looking for VM", d->vm);
    error_set(e, ERR_NO_OBJECT, "VM %s is not defined in this host's libvirt: nothing says which disks it has", d->vm);
    error_set_remedy(e, "back it up where it runs, or define it here");
    return ERR_NO_OBJECT;
}

int domain_open(const char *vm, struct domain *ret, struct error *e)
{
    struct domain d = {0};
    if (virInitialize() < 0)
        return virt_fail(e, "starting", "libvirt's library");
    virt_quiet();
    STR_COPY(d.vm, vm);
    int err = connect_domain(&d, e);
    if (err)
        domain_close(&d);
    else
        *ret = d;
    return err;
}

void domain_close(struct domain *d)
{
    virt_unref_domain(&d->dom);
    virt_unref_conn(&d->conn);
    d->dom = NULL;
    d->conn = NULL;
}

int domain_reopen(struct domain *d, struct error *e)
{
    if (d->dom && virConnectIsAlive(d->conn) == 1 && virDomainIsActive(d->dom) >= 0)
        return 0;
    domain_close(d);
    int err = connect_domain(d, e);
    if (err)
        domain_close(d);
    return err;
}

/* ---- the machine */

int domain_is_on(struct domain *d, bool *ret, struct error *e)
{
    int err = domain_reopen(d, e);
    int active = err ? -1 : virDomainIsActive(d->dom);
    if (!err && active < 0)
        err = virt_fail(e, "looking at VM", d->vm);
    if (!err)
        *ret = active == 1;
    return err;
}

bool domain_was_shut_down(struct domain *d)
{
    int state = VIR_DOMAIN_NOSTATE, reason = 0;
    return virDomainGetState(d->dom, &state, &reason, 0) == 0 && state == VIR_DOMAIN_SHUTOFF &&
           reason == VIR_DOMAIN_SHUTOFF_SHUTDOWN;
}

int domain_xml(struct domain *d, bool next_start, char **ret, struct error *e)
{
    char *xml = virDomainGetXMLDesc(d->dom, next_start ? VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE : 0);
    if (!xml)
        return virt_fail(e, "reading the XML of VM", d->vm);
    *ret = xml;
    return 0;
}

/* libvirt names it by the id and the first 20 characters of the name, which are bytes: our names are ASCII. */
int domain_folder(struct domain *d, char *dst, size_t size, struct error *e)
{
    unsigned id = virDomainGetID(d->dom);
    if (id == (unsigned)-1)
        return error_set(e, ERR_CONDITION, "VM %s does not run", d->vm);
    int n = snprintf(dst, size, LIBVIRT_QEMU_DIR "/domain-%u-%.*s", id, SHORT_NAME_MAX, d->vm);
    return n > 0 && (size_t)n < size ? 0 : error_set(e, ERR_TOO_BIG, "the name of VM %s is too long", d->vm);
}

int domain_freeze(struct domain *d, struct error *e)
{
    /* Without it a guest that hangs would hold the backup for ever. */
    virDomainAgentSetResponseTimeout(d->dom, AGENT_S, 0);
    int n = virDomainFSFreeze(d->dom, NULL, 0, 0);
    int err = n < 0 ? virt_fail(e, "freezing the file systems of VM", d->vm) : 0;
    virDomainAgentSetResponseTimeout(d->dom, VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK, 0);
    return err;
}

int domain_thaw(struct domain *d, struct error *e)
{
    virDomainAgentSetResponseTimeout(d->dom, AGENT_S, 0);
    int n = virDomainFSThaw(d->dom, NULL, 0, 0);
    int err = n < 0 ? virt_fail(e, "thawing the file systems of VM", d->vm) : 0;
    virDomainAgentSetResponseTimeout(d->dom, VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK, 0);
    return err;
}
