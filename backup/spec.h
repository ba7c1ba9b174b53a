/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the agent asks of the worker: one backup of a virtual machine of this node, or to restore a point of one, or to
 * verify what is in the repository (run); or to bring libvirt's checkpoints in order (settle). A JSON object in a file
 * that only root reads:
 *
 *   run               UUID of this job, and of the point that a backup makes
 *   vm                the virtual machine's name
 *   repository        absolute path                                               \
 *   key               the repository's key in base64, a secret                     | settle: may be absent
 *   engine            "auto", "rescan" or "full"                                   | restore, verify: so may these two
 *   consistency       "application" or "crash"                                    /
 *   restore           point (UUID), folder (absolute path), as (the name that the machine gets): then it is no backup
 *   verify            point (UUID, or null: all that the machine has there): neither is this
 *   parent            null, or the point whose checkpoint says what changed since:
 *                     point (UUID), checkpoint_xml (as libvirt gave it, "": it has none), disks (name, tracking)
 *   keep_checkpoints  names of the others that stay; what else has CHECKPOINT_PREFIX is left over
 *   limit_bytes       to be read a second, 0: no limit                              settle: may be absent
 *   retention         which points stay (backup/retention.h); may be absent: all of them
 *   status            absolute path of the file in which the worker says how far it is
 *
 * A member that is not in this list is an error: it may be a newer agent's, and mean something. */
#pragma once

#include "backup/layout.h"
#include "backup/retention.h"
#include "common/buf.h"
#include "common/err.h"
#include "common/uuid.h"

enum {
    SPEC_SIZE_MAX = 1 << 20,
    SPEC_PATH_MAX = 384,
    SPEC_KEY_MIN = 32,
    SPEC_KEY_MAX = 4096,
    SPEC_DISKS_MAX = 64,
    SPEC_KEEP_MAX = 64,
    CHECKPOINT_NAME_MAX = 48, /* prefix and UUID */
};
#define CHECKPOINT_PREFIX "ringmaster-" /* then the UUID of the point at which it began */

struct checkpoint_name {
    char s[CHECKPOINT_NAME_MAX];
};

struct spec_disk {
    char name[LAYOUT_DISK_MAX];
    struct uuid tracking;
};

struct spec_parent {
    struct uuid point;    /* nil: no parent */
    char *checkpoint_xml; /* "": none; NULL without a parent */
    struct spec_disk disks[SPEC_DISKS_MAX];
    size_t n_disks;
};

struct spec {
    struct uuid run;
    char vm[LAYOUT_VM_MAX];
    char repository[SPEC_PATH_MAX], status[SPEC_PATH_MAX];
    uint8_t key[SPEC_KEY_MAX]; /* a secret */
    size_t key_len;
    char engine[16];
    bool application;
    struct spec_parent parent;
    struct checkpoint_name keep[SPEC_KEEP_MAX];
    size_t n_keep;
    uint64_t limit_bytes;
    struct retention_rule retention; /* all zeros: everything stays */
    bool is_verify;
    struct uuid verify; /* the point; nil: all */
    struct spec_restore {
        struct uuid point; /* nil: no restore */
        char folder[SPEC_PATH_MAX];
        char as[LAYOUT_VM_MAX];
    } restore;
};

/* ERR_USAGE, *e names the member. The caller wipes the bytes. *ret needs spec_done(), which wipes it. */
int spec_decode(struct slice bytes, bool settle, struct spec *ret, struct error *e);
void spec_done(struct spec *s);

struct checkpoint_name checkpoint_name(const struct uuid *point);
bool spec_keeps(const struct spec *s, const char *checkpoint);             /* its parent's too */
const struct spec_disk *spec_disk(const struct spec *s, const char *name); /* of the parent; NULL: it has none */
