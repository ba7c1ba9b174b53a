/* SPDX-License-Identifier: GPL-2.0-or-later */
/* corosync as a service: its configuration file, its unit, its reload (libcfg). Blocking. The file is written only when
 * it differs, so that its time says when it changed. */
#pragma once

#include "agent/core.h"

/* START: a running corosync is left alone, also when the file changed: it reads the file at its next start or RELOAD.
 * RELOAD: every node of the ring reads its own file anew, so all have written theirs before one asks. STOP: conf_text
 * may be NULL. */
int corosync_apply(enum corosync_verb verb, const char *conf_text, struct error *e);

/* Writes the file below prefix if it differs; *ret_changed (may be NULL) says whether. */
int corosync_write_conf(const char *prefix, const char *conf_text, bool *ret_changed, struct error *e);
