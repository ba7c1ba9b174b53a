/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The node's watchdog, and the note that the next agent of this boot must find. Served from the loop alone.
 *
 * A device (linux/watchdog.h): opened at the first pet, its time-out set to W, in whole seconds; closed with the
 * magic 'V' when it is disarmed, else it goes on and ends the node. A FIFO (a supervisor reads it): "pet MS\n" or
 * "disarm\n", each in one write. An agent that was killed leaves either as it is: its successor goes on.
 *
 * The note is /run/ringmaster/guard, one fixed record, written in place: /run does not outlive the boot, and what it
 * tells is older than the truth at worst, never newer. */
#pragma once

#include "agent/port.h"

struct watchdog;

/* path: of ringmaster.conf; "" or "none": there is none. The path is borrowed. Opens nothing yet. */
struct watchdog *watchdog_new(const char *path);
bool watchdog_is_there(const struct watchdog *w);
struct guard_note watchdog_note(const struct watchdog *w); /* of an earlier agent of this boot, or all zero */
/* Keeps the note, then pets or disarms. 0, or ERR_IO with why; a note that cannot be kept is an error too. */
int watchdog_serve(struct watchdog *w, const struct watchdog_call *call, struct error *e);
void watchdog_free(struct watchdog *w); /* an armed one stays armed */

/* For tests: in another place than /run/ringmaster. */
struct watchdog *watchdog_new_in(const char *run_dir, const char *path);
