/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of the room: rows are written by apply functions alone, payloads are read by them. ERR_MALFORMED. */
#pragma once

#include "backup/job.h"

void repository_put(struct tables *t, const struct repository_row *r);
void backup_put(struct tables *t, const struct backup *b);

struct point_new { /* all borrowed */
    const char *vm, *repository, *checkpoint;
    struct uuid uuid;
    int64_t started_ms, ended_ms, pause_ms;
    struct slice document, checkpoint_xml;
};
void point_put(struct tables *t, const struct point_new *p);
void point_del(struct tables *t, const char *vm, const struct uuid *uuid);
/* Of that VM but one: it has no checkpoint any more. */
void point_forget_checkpoint(struct tables *t, const char *vm, const struct uuid *uuid);

int backup_entry_repository_decode(struct slice payload, struct repository_row *ret, struct slice *ret_key);
int backup_entry_name_decode(struct slice payload, char ret_name[REPOSITORY_NAME_MAX]);
int backup_entry_start_decode(struct slice payload, struct backup_start *ret);
int backup_entry_end_decode(struct slice payload, struct backup_end *ret); /* backup_end_done */
int backup_entry_note_decode(struct slice payload, struct backup_note *ret);
int backup_entry_schedule_decode(struct slice payload, struct backup_schedule *ret);
int backup_entry_point_delete_decode(struct slice payload, char ret_vm[BACKUP_VM_MAX], struct uuid *ret_point);
