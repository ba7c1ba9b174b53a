/* SPDX-License-Identifier: GPL-2.0-or-later */
/* status --watch: the page, drawn anew, on a terminal; elsewhere a line for each change of what matters. */
#pragma once

#include "cli/call.h"

/* Until interrupted; gives the exit code. */
int watch_status(struct call *c);

/* Arguments of status for who compares answers: every virtual machine, however many there are. */
struct json *watch_all_vms(void);

/* What matters in an answer to status, as {name: text}: of data NULL only that there is no answer. The caller frees. */
struct json *watch_facts(const struct json *data);
