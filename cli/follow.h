/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Waiting for a goal, with or without showing how it gets on. Agents restart, leaders are killed and the quorum comes
 * and goes while a cluster is worked on: none of it ends a wait, only the goal, the time limit or the admin does. */
#pragma once

#include "cli/call.h"
#include "cli/goal.h"

/* Polls until the goal is reached or cannot be. c->answer becomes the last answer that came. 0 or an error:
 * ERR_TIMEOUT when the time was over or the admin detached (Ctrl-C). */
int follow_goal(struct call *c, const struct goal *g, struct error *e);
/* Prints those of the newest answer, then events as they come, until interrupted; gives the exit code. */
int follow_events(struct call *c, int64_t since);
