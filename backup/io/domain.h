/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A virtual machine of this host's libvirt, as its backup sees it. The connection is opened again where libvirtd was
 * restarted meanwhile; what runs in QEMU goes on without it. */
#pragma once

#include "backup/layout.h"
#include "vm/io/virt.h"

enum { DOMAIN_DISKS_MAX = 64, DOMAIN_FORMAT_MAX = 16 };

struct domain_disk {
    char name[LAYOUT_DISK_MAX]; /* the target: vda */
    char format[DOMAIN_FORMAT_MAX];
    char *path;     /* file or block device; NULL: of another kind */
    bool can_track; /* its format has bitmaps, and it may be written to */
};

/* Disks that hold data: no CD-ROM, no floppy, none without a source. */
struct domain_facts {
    struct domain_disk disks[DOMAIN_DISKS_MAX];
    size_t n_disks;
    char *nvram; /* path; NULL: none, or no file */
};
/* ERR_MALFORMED; ERR_CONDITION: a disk that cannot be backed up, or more than DOMAIN_DISKS_MAX. */
int domain_facts_parse(const char *xml, struct domain_facts *ret, struct error *e);
void domain_facts_done(struct domain_facts *f);

/* A domain XML whose disks, and NVRAM, lie elsewhere, in files that are not encrypted. */
struct domain_place {
    const char *disk; /* its target's name */
    const char *path; /* of a qcow2 image */
};
struct domain_move {
    const struct domain_place *disks;
    size_t n_disks;
    const char *nvram; /* NULL: as it was */
    const char *genid; /* a new UUID: a <genid> says to the guest that it was brought back. NULL: as it was */
    /* Another machine: its name. It has none of the first one's UUID and MAC addresses, nor what only one of them may
     * write to: disks that have no place, and the NVRAM. NULL: the same one */
    const char *name;
};
int domain_move_xml(struct slice xml, const struct domain_move *m, struct buf *ret, struct error *e);

struct domain {
    virConnectPtr conn;
    virDomainPtr dom;
    char vm[LAYOUT_VM_MAX];
};

/* ERR_NO_OBJECT: this host's libvirt does not know it; ERR_AGAIN: libvirtd does not answer. Until domain_close(). */
int domain_open(const char *vm, struct domain *ret, struct error *e);
void domain_close(struct domain *d);
/* After a long work: over a connection that lives. */
int domain_reopen(struct domain *d, struct error *e);

int domain_is_on(struct domain *d, bool *ret, struct error *e);
bool domain_was_shut_down(struct domain *d); /* it is off, and its guest powered off by itself */
/* As it is now (disks), or as it will be started next time, with its secrets (to be kept with the backup). */
int domain_xml(struct domain *d, bool next_start, char **ret, struct error *e);
/* libvirt's own folder of the running machine: QEMU may make files there whatever its user and security driver (the
 * AppArmor profile that virt-aa-helper writes names it), and libvirt removes it when QEMU ends. */
int domain_folder(struct domain *d, char *dst, size_t size, struct error *e);

/* The guest's file systems, by its agent. A freeze that failed may still have frozen some: thaw after it too. */
int domain_freeze(struct domain *d, struct error *e);
int domain_thaw(struct domain *d, struct error *e);
