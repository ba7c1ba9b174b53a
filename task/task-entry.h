/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inside of the room: rows are written by apply functions alone, payloads are read by them. ERR_MALFORMED. */
#pragma once

#include "task/task.h"

void task_put(struct tables *t, const struct task *k);

int task_entry_set_decode(struct slice payload, struct task_definition *ret);
int task_entry_remove_decode(struct slice payload, char ret_name[TASK_NAME_MAX]);
int task_entry_start_decode(struct slice payload, struct task_start *ret);
int task_entry_end_decode(struct slice payload, struct task_end *ret);
int task_entry_note_decode(struct slice payload, struct task_note *ret);
