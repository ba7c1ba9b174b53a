/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backup/io/checkpoint.h"

#include <stdio.h>
#include <time.h>

#include "agent/io/process.h"
#include "vm/io/xml.h"

/* A job of a guest that powered off stands for half a minute: libvirt 9.0 waits so long for it. */
enum { ABORT_MS = 40 * 1000, POLL_MS = 20, QEMU_IMG_MS = 60 * 1000 };
#define SOCKET_NAME "ringmaster-backup.sock"
#define NO_DOMAIN   VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN

static void unref_checkpoint(virDomainCheckpointPtr *c)
{
    if (*c)
        virDomainCheckpointFree(*c);
}

/* ---- checkpoints */

int checkpoint_list(struct domain *d, const char *prefix, char ***ret_names, size_t *ret_n, struct error *e)
{
    virDomainCheckpointPtr *list = NULL;
    int n = virDomainListAllCheckpoints(d->dom, &list, VIR_DOMAIN_CHECKPOINT_LIST_TOPOLOGICAL);
    if (n < 0)
        return virt_fail(e, "listing the checkpoints of VM", d->vm);
    char **names = xcalloc((size_t)n + 1, sizeof(*names));
    size_t n_names = 0;
    for (int i = 0; i < n; i++) {
        const char *name = virDomainCheckpointGetName(list[i]);
        if (name && strncmp(name, prefix, strlen(prefix)) == 0)
            names[n_names++] = xstrdup(name);
        virDomainCheckpointFree(list[i]);
    }
    free(list);
    *ret_names = names;
    *ret_n = n_names;
    return 0;
}

bool checkpoint_exists(struct domain *d, const char *name)
{
    AUTO(unref_checkpoint) virDomainCheckpointPtr c = virDomainCheckpointLookupByName(d->dom, name, 0);
    return c != NULL;
}

/* A libvirt that does not know the older checkpoint, which will be deleted, would not take the younger one. */
static int without_parent(const char *xml, char **ret, struct error *e)
{
    AUTO(xml_free_doc) xmlDoc *doc = xml_read(xml, strlen(xml), "the checkpoint's XML", e);
    AUTO(xml_free_buffer) xmlBuffer *out = xmlBufferCreate();
    xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL, *parent = xml_child(root, "parent");
    if (!root)
        return ERR_MALFORMED;
    if (parent) {
        xmlUnlinkNode(parent);
        xmlFreeNode(parent);
    }
    if (!out || xmlNodeDump(out, doc, root, 0, 0) < 0)
        abort();
    *ret = xstrdup((const char *)xmlBufferContent(out));
    return 0;
}

int checkpoint_xml(struct domain *d, const char *name, char **ret, struct error *e)
{
    AUTO(unref_checkpoint) virDomainCheckpointPtr c = virDomainCheckpointLookupByName(d->dom, name, 0);
    AUTO(freep) char *xml = c ? virDomainCheckpointGetXMLDesc(c, NO_DOMAIN) : NULL;
    return xml ? without_parent(xml, ret, e) : virt_fail(e, "reading the checkpoint", name);
}

int checkpoint_redefine(struct domain *d, const char *xml, bool validate, struct error *e)
{
    unsigned flags = VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE;
    if (validate)
        flags |= VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE_VALIDATE;
    AUTO(unref_checkpoint) virDomainCheckpointPtr c = virDomainCheckpointCreateXML(d->dom, xml, flags);
    if (c)
        return 0;
    bool broken = virt_last_error_is(VIR_ERR_CHECKPOINT_INCONSISTENT);
    int err = virt_fail(e, "telling libvirt of a checkpoint of VM", d->vm);
    return broken ? error_set(e, ERR_CONDITION, "%s", e ? e->text : "") : err;
}

/* Of a machine that is off. What is not there fails, which is what is wanted. */
static void remove_bitmaps(const struct domain_facts *f, const char *name)
{
    for (size_t i = 0; i < f->n_disks; i++) {
        const struct domain_disk *disk = &f->disks[i];
        if (!disk->path || !disk->can_track)
            continue;
        const char *argv[] = {"/usr/bin/qemu-img", "bitmap", "--remove", "-f", disk->format, disk->path, name, NULL};
        (void)process_must(argv, QEMU_IMG_MS, NULL, NULL);
    }
}

/* libvirt deletes all of a checkpoint's bitmaps or none: one that is missing keeps the others, which would record for
 * ever. So each disk's is made a checkpoint of its own, and deleted. */
static void delete_by_disk(struct domain *d, const char *name, const struct domain_facts *f)
{
    for (size_t i = 0; i < f->n_disks; i++) {
        AUTO(buf_done) struct buf xml = {0};
        if (!f->disks[i].can_track)
            continue;
        buf_printf(&xml, "<domaincheckpoint><name>%s</name><creationTime>%lld</creationTime><disks>", name,
                   (long long)time(NULL));
        for (size_t k = 0; k < f->n_disks; k++)
            buf_printf(&xml, "<disk name='%s' checkpoint='%s'/>", f->disks[k].name, k == i ? "bitmap" : "no");
        buf_add_str(&xml, "</disks></domaincheckpoint>");
        AUTO(freep) char *text = buf_steal_str(&xml);
        AUTO(unref_checkpoint)
        virDomainCheckpointPtr c = virDomainCheckpointCreateXML(d->dom, text, VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE);
        if (c && virDomainCheckpointDelete(c, 0) < 0)
            (void)virDomainCheckpointDelete(c, VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY);
    }
}

int checkpoint_delete(struct domain *d, const char *name, const struct domain_facts *f, struct error *e)
{
    AUTO(unref_checkpoint) virDomainCheckpointPtr c = virDomainCheckpointLookupByName(d->dom, name, 0);
    if (!c)
        return virt_last_error_is(VIR_ERR_NO_DOMAIN_CHECKPOINT) ? 0 : virt_fail(e, "looking for the checkpoint", name);
    if (virDomainCheckpointDelete(c, 0) == 0)
        return 0;
    bool on = virDomainIsActive(d->dom) == 1;
    if (!on)
        remove_bitmaps(f, name);
    if (virDomainCheckpointDelete(c, VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY) < 0)
        return virt_fail(e, "deleting the checkpoint", name);
    if (on)
        delete_by_disk(d, name, f);
    return 0;
}

/* ---- the job */

static char *checkpoint_request(const struct backup_job *job)
{
    struct buf b = {0};
    buf_printf(&b, "<domaincheckpoint><name>%s</name><disks>", job->checkpoint);
    for (size_t i = 0; i < job->facts->n_disks; i++) {
        const struct domain_disk *d = &job->facts->disks[i];
        buf_printf(&b, "<disk name='%s' checkpoint='%s'/>", d->name, d->can_track ? "bitmap" : "no");
    }
    buf_add_str(&b, "</disks></domaincheckpoint>");
    return buf_steal_str(&b);
}

static char *backup_request(const struct backup_job *job, const char *folder)
{
    struct buf b = {0};
    buf_printf(&b, "<domainbackup mode='pull'><server transport='unix' socket='%s'/><disks>", job->socket);
    for (size_t i = 0; i < job->facts->n_disks; i++) {
        const char *name = job->facts->disks[i].name;
        buf_printf(&b, "<disk name='%s' backup='yes' type='file' exportname='%s'", name, name);
        if (job->parent && job->disks[i].incremental)
            buf_printf(&b, " backupmode='incremental' incremental='%s' exportbitmap='%s'", job->parent, name);
        else
            buf_add_str(&b, " backupmode='full'");
        buf_printf(&b, "><scratch file='%s/ringmaster-%s.scratch'/></disk>", folder, name);
    }
    buf_add_str(&b, "</disks></domainbackup>");
    return buf_steal_str(&b);
}

static bool ask_for_backup(struct domain *d, struct backup_job *job, const char *folder)
{
    AUTO(freep) char *checkpoint = checkpoint_request(job);
    AUTO(freep) char *backup = backup_request(job, folder);
    return virDomainBackupBegin(d->dom, backup, job->has_checkpoint ? checkpoint : NULL, 0) == 0;
}

/* "missing or broken bitmap 'X' for disk 'vda'": the disk, if libvirt says so in words that we know; else all. */
static void drop_broken(struct backup_job *job)
{
    const char *text = virGetLastErrorMessage();
    for (size_t i = 0; i < job->facts->n_disks; i++) {
        char words[LAYOUT_DISK_MAX + 16];
        snprintf(words, sizeof(words), "disk '%s'", job->facts->disks[i].name);
        if (!job->disks[i].incremental || !strstr(text, words))
            continue;
        job->disks[i].incremental = false;
        return;
    }
    for (size_t i = 0; i < job->facts->n_disks; i++)
        job->disks[i].incremental = false;
}

static bool can_track_any(const struct domain_facts *f)
{
    for (size_t i = 0; i < f->n_disks; i++)
        if (f->disks[i].can_track)
            return true;
    return false;
}

static bool is_about_bitmap(void)
{
    return virt_last_error_is(VIR_ERR_CHECKPOINT_INCONSISTENT) || virt_last_error_is(VIR_ERR_NO_DOMAIN_CHECKPOINT) ||
           virt_last_error_is(VIR_ERR_INVALID_ARG);
}

static bool any_incremental(const struct backup_job *job)
{
    bool any = false;
    for (size_t i = 0; i < job->facts->n_disks; i++)
        any |= job->disks[i].incremental;
    return any;
}

int backup_begin(struct domain *d, struct backup_job *job, bool *ret_lost, struct error *e)
{
    char folder[CHECKPOINT_SOCKET_MAX];
    int err = domain_folder(d, folder, sizeof(folder), e);
    if (err)
        return err;
    int n = snprintf(job->socket, sizeof(job->socket), "%s/" SOCKET_NAME, folder);
    if (n < 0 || (size_t)n >= sizeof(job->socket))
        return error_set(e, ERR_TOO_BIG, "the folder %s is too long for a socket", folder);
    job->has_checkpoint = can_track_any(job->facts);
    bool lost = false;
    while (!ask_for_backup(d, job, folder)) {
        err = virt_fail(e, "beginning the backup of VM", d->vm);
        if (any_incremental(job) && is_about_bitmap()) {
            lost = true;
            drop_broken(job);
        } else if (job->has_checkpoint && err == ERR_FAILED && !virt_last_error_is(VIR_ERR_OPERATION_TIMEOUT)) {
            job->has_checkpoint = false;
            (void)virt_fail(&job->no_checkpoint, "making a checkpoint of VM", d->vm);
        } else {
            return err;
        }
    }
    *ret_lost = lost;
    return 0;
}

int backup_look(struct domain *d, bool *ret_any, bool *ret_ours, struct error *e)
{
    AUTO(freep) char *xml = virDomainBackupGetXMLDesc(d->dom, 0);
    if (!xml && !virt_last_error_is(VIR_ERR_NO_DOMAIN_BACKUP) && !virt_last_error_is(VIR_ERR_OPERATION_INVALID))
        return virt_fail(e, "looking for a backup job of VM", d->vm);
    *ret_any = xml != NULL;
    *ret_ours = xml && strstr(xml, "/" SOCKET_NAME "'");
    return 0;
}

int backup_abort(struct domain *d, struct error *e)
{
    bool any = false, ours = false;
    struct timespec pause = {0, POLL_MS * 1000000};
    for (int waited_ms = 0; waited_ms < ABORT_MS; waited_ms += POLL_MS) {
        int err = backup_look(d, &any, &ours, e);
        if (err || !ours)
            return err;
        /* "Operation canceled" is its normal end; a second call finds it ending. */
        if (waited_ms % 1000 == 0)
            (void)virDomainAbortJob(d->dom);
        nanosleep(&pause, NULL);
    }
    return error_set(e, ERR_TIMEOUT, "the backup job of VM %s does not end", d->vm);
}
