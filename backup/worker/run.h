/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One job of the agent (backup/spec.h): the whole pipeline of a backup, a restore, a verification, or settling
 * what is there. The phases of a backup (of the two others: restoring or verifying, then done or failed):
 *
 *     freezing ─> forked ─> exporting ─> merging ─> done
 *         └──────────┴──────────┴───────────┴─────> failed     the new checkpoint and the new files are gone then
 *
 *   freezing   the guest's file systems, where asked; the disks and the configuration are forked at that moment
 *   forked     the guest goes on; QEMU keeps the old data of what it writes in the scratch files
 *   exporting  the disks go into the repository
 *   merging    libvirt's job ends, and its scratch files with it
 *
 * After "done" older points go by the rule of retention, under the virtual machine's lock.
 * The point is published in "exporting", after libvirt said that the job still stood: had it failed in between, what
 * was read may be newer than the fork. The old checkpoint stays, and is deleted by a settle after the agent committed
 * the new point. A run that is killed is followed by a settle. */
#pragma once

#include "backup/io/checkpoint.h"
#include "backup/spec.h"
#include "backup/worker/status.h"
#include "backup/worker/worker.h"

enum { RUN_URI_MAX = 256 };

struct run {
    struct spec spec;
    struct status status;
    struct folder folder; /* of the status */
    int lock;             /* of the virtual machine on this node */
    struct domain domain;
    struct domain_facts facts;
    struct options options; /* of the export */
    struct watch watch;
    struct export_work *work;
    /* What options points at. */
    char uris[REFPOINT_DISKS_MAX][RUN_URI_MAX];
    char note[REFPOINT_REASON_MAX];
    struct buf nvram;
    char *domain_xml;
    /* What becomes of it. */
    char *checkpoint_xml; /* of the new one; NULL: there is none */
    int64_t pause_ms;
    struct json *point;
    struct json *staying; /* UUIDs of the points that the retention leaves; NULL: nobody looked */
    struct error prune_why;
};
/* Reads the job, takes its lock, and makes SIGTERM a wish. ERR_AGAIN: another worker has this virtual machine. */
int run_open(struct run *r, const char *spec, bool settle, struct error *e);
void run_close(struct run *r);
bool run_is_cancelled(void);
int run_check_cancelled(struct error *e);

/* Everything that an earlier run left here: its job, and checkpoints that nobody keeps. */
int run_tidy(struct run *r, struct error *e);
/* Is the parent's checkpoint there? libvirt is told of it where need be. False: no bitmap can be used; *ret_lost: it
 * had one. */
bool run_find_parent(struct run *r, bool on, bool *ret_lost);
/* Its configuration and NVRAM, as it is now. */
int run_fork_config(struct run *r, struct error *e);
struct disk_option *run_add_disk(struct run *r, const struct domain_disk *d);
int run_export(struct run *r, struct error *e);

/* The two kinds of source. */
int run_live(struct run *r, struct error *e);
int run_off(struct run *r, struct error *e);

/* Says how it ended: members of "done", taken over, or why not. err, or that it could not be said. */
int run_say_end(struct run *r, int err, struct json *members, struct error *e);

/* run-restore.c: says what becomes of it, too. */
int run_restore(struct run *r, struct error *e);
