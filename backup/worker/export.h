/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The export of one disk. */
#pragma once

#include "backup/worker/worker.h"

struct export_disk {
    const struct options *options;
    const struct disk_option *disk;
    const struct folder *folder;
    struct slice key;
    struct uuid point, tracking;
    uint32_t sequence, base_sequence;
    struct nbd *nbd;
    struct manifest *before; /* at the reference point; NULL: none */
    struct engine_choice choice;
    uint64_t done_before; /* bytes of the disks before it, for who watches */

    uint64_t read_bytes, stored_bytes, put_bytes; /* of a success */
};

int export_disk(struct export_disk *x, struct error *e);
