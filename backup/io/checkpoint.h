/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libvirt's checkpoints and its pull-mode backup job (libvirt 9.0, QEMU 7.2 and later). A checkpoint is a dirty bitmap
 * in each disk's QEMU, stored in the image when QEMU ends orderly, and a description that this host's libvirt keeps.
 *
 * libvirt 9.0 makes and deletes checkpoints of a running machine only; of one that is off the bitmaps go by qemu-img.
 * The scratch files and the socket of the job lie in libvirt's folder of the machine (domain_folder()), named
 * ringmaster-…: whoever finds a job with another socket leaves it alone. */
#pragma once

#include "backup/io/domain.h"

enum { CHECKPOINT_SOCKET_MAX = 108 };

/* Names of those that begin with the prefix, oldest first; the caller frees each and the array. */
int checkpoint_list(struct domain *d, const char *prefix, char ***ret_names, size_t *ret_n, struct error *e);
bool checkpoint_exists(struct domain *d, const char *name);
/* What checkpoint_redefine() takes on any host. */
int checkpoint_xml(struct domain *d, const char *name, char **ret, struct error *e);
/* Says to libvirt that the bitmaps which it describes are there. validate: it looks, of a machine that runs;
 * ERR_CONDITION: one is missing or inconsistent. */
int checkpoint_redefine(struct domain *d, const char *xml, bool validate, struct error *e);
/* With its bitmaps as far as they are there. Gone is success. */
int checkpoint_delete(struct domain *d, const char *name, const struct domain_facts *f, struct error *e);

/* ---- the job */

struct backup_disk {
    bool incremental; /* its bitmap of the parent's checkpoint is to be offered */
};
struct backup_job {
    const struct domain_facts *facts;
    const char *parent;     /* name of a checkpoint; NULL: none */
    const char *checkpoint; /* the new one; made in disks that can have one */
    struct backup_disk disks[DOMAIN_DISKS_MAX];
    char socket[CHECKPOINT_SOCKET_MAX]; /* out */
    bool has_checkpoint;                /* out: some disk has one */
    struct error no_checkpoint;         /* out: why there is none, though some disk could have one */
};
/* All disks at one moment. Where libvirt makes no checkpoint of them the backup is made without one. Where a bitmap
 * cannot be used the disk's incremental is cleared: as libvirt said so, or of all of them, if it did not say of which.
 * *ret_lost tells so. */
int backup_begin(struct domain *d, struct backup_job *job, bool *ret_lost, struct error *e);
/* Is a job under way, and is it one of ours? */
int backup_look(struct domain *d, bool *ret_any, bool *ret_ours, struct error *e);
/* Ends ours and waits until it is over, scratch files and all. None is success. */
int backup_abort(struct domain *d, struct error *e);
