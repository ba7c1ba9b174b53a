/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The file in which a run says how far it is: one JSON object, replaced as a whole at each phase, and about once a
 * second while it reads.
 *
 *   run, phase                 "freezing", "forked", "exporting", "merging", "done", "failed"; of others "restoring",
 *                              "verifying"
 *   done_bytes, total_bytes    what was read, and is to be read, of the disks that were looked at so far
 *   point, checkpoint, checkpoint_xml, pause_ms    of "done"; the guest's file systems were frozen for so long, or else
 *                              libvirt took so long for the fork, and the guest stood for a part of it
 *   points                     of "done", with a retention: all points of the virtual machine that stay in the
 *                              repository; the others go as soon as this is written. Of a verification of all of
 *                              them: those that are there
 *   note                       of "done": why others did not go
 *   error {code, text, damaged}    of "failed": the exit status, and why; damaged: if what lies in the repository is
 *
 * A file that says neither "done" nor "failed" while nobody holds the virtual machine's lock: the run was killed. One
 * that says "done" while somebody does: older points go. */
#pragma once

#include "backup/worker/worker.h"

struct status {
    const char *path;
    struct uuid run;
    const char *phase;
    uint64_t done_bytes, total_bytes;
    int64_t last_ms;
};
int status_phase(struct status *s, const char *phase, struct error *e);
/* At most once a second; the next one says what this could not. */
void status_progress(struct status *s, uint64_t done_bytes, uint64_t total_bytes);
/* members is taken over. */
int status_done(struct status *s, struct json *members, struct error *e);
int status_failed(struct status *s, const struct error *why);
/* The phase that the file says, of whichever run; "": there is none. */
void status_read_phase(const char *path, char *dst, size_t size);
