/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where what lies in a repository.
 *
 *   repository.json           what this folder is
 *   VM/                       a folder for each virtual machine
 *     lock                    held by whoever writes (alone) or reads (shared)
 *     DISK-NNNNNN.qcow2       what the disk had at point N; its backing file, if any, is the image of an older point
 *     DISK-NNNNNN.manifest    backup/manifest.h
 *     domain-NNNNNN.xml       libvirt's domain XML
 *     nvram-NNNNNN.bin        UEFI variables, where the machine has some
 *     refpoint-NNNNNN.json    backup/refpoint.h: with it, and not before, point N exists
 *     *.partial               being written, or a second name of what was just published; left only by a writer that
 * was killed
 *
 * A point's files are written first, its refpoint last; removed in the reverse order. Files of a number without a
 * refpoint are rests, and the next writer removes them. The name of an image never changes: when an older point is
 * folded into it, an image with the same contents takes its place. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LAYOUT_VM_MAX = 64,    /* with the terminator, as everywhere */
    LAYOUT_DISK_MAX = 32,  /* the target's name: vda, sdb … */
    LAYOUT_NAME_MAX = 128, /* of a file */
    LAYOUT_SEQUENCE_MAX = 999999,
    LAYOUT_CHAIN_MAX = 1000, /* images that a restore reads: the newest, and all that lie behind it */
};
#define LAYOUT_PARTIAL ".partial"

enum layout_kind {
    LAYOUT_IMAGE = 1,
    LAYOUT_MANIFEST,
    LAYOUT_DOMAIN,
    LAYOUT_NVRAM,
    LAYOUT_REFPOINT,
};

struct layout_name {
    char s[LAYOUT_NAME_MAX];
};

struct layout_file {
    enum layout_kind kind;
    char disk[LAYOUT_DISK_MAX]; /* of images and manifests */
    uint32_t sequence;
};

/* Letters, digits and "._+-"; neither '.' nor '-' first. A disk's: letters and digits alone. */
bool layout_vm_ok(const char *name);
bool layout_disk_ok(const char *name);

/* disk: NULL where the kind has none. */
struct layout_name layout_name(enum layout_kind kind, const char *disk, uint32_t sequence);
/* False: it is no file of a point. Exactly the names that layout_name() gives. */
bool layout_parse(const char *name, struct layout_file *ret);
