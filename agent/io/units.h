/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Units of other programs, by systemctl. Blocking. All are idempotent. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

#define UNIT_COROSYNC "corosync.service"

int unit_start(const char *unit, struct error *e); /* 0 once it is ready */
int unit_stop(const char *unit, struct error *e);  /* a unit that is not known is stopped */
int unit_is_active(const char *unit, bool *ret, struct error *e);

/* Stops it, and forgets that it failed, and how often it was started: the name is free again. */
int unit_forget(const char *unit, struct error *e);

/* How a service ended. */
struct unit_result {
    bool loaded; /* systemd knows it; else all else is empty */
    bool ended;  /* its main process ran and ended */
    bool timed_out;
    int exit_code; /* -1: by signal */
    char description[128];
    char invocation[40]; /* names this run of it in the journal */
};
int unit_result(const char *unit, struct unit_result *ret, struct error *e);

/* Whatever processes are left in it, at once; it stays as it is otherwise. None there is success. */
int unit_kill(const char *unit, struct error *e);

/* Transient units, of systemd-run. `mark` is the unit's description: it tells this run's from another one's of that
 * name. */
/* How it is; one of another mark is not loaded. */
int unit_of_mark(const char *unit, const char *mark, struct unit_result *ret, struct error *e);
int unit_forget_of_mark(const char *unit, const char *mark, struct error *e); /* another's stays */
int unit_make_room(const char *unit, struct error *e); /* what has that name is stopped and forgotten */
/* Runs systemd-run by argv; what: the program, for the error. What it began and did not tell is taken back. ERR_FAILED;
 * ERR_TIMEOUT: it may run. */
int unit_run(const char *const *argv, const char *unit, const char *mark, const char *what, struct error *e);
/* All whose name matches. slice: they are in there: success only when no process is. at_once: without asking them. */
int units_stop_all(const char *pattern, const char *slice, bool at_once, struct error *e);
/* The end of what a program printed, as one line. */
void unit_condense(const char *printed, char *dst, size_t size);

/* The agent alone starts corosync, once it knows the membership (design 2, rule 6): not at boot, and not with whatever
 * configuration its package or an earlier cluster left. Stops it, and keeps it from starting by itself. */
int units_take_corosync(struct error *e);

/* Lets libvirtd serve TLS (port 16514) from now on, and read its certificates anew. Needs them in place.
 *
 * Debian 12 and 13 ship the one daemon libvirtd with socket activation: TLS comes by libvirtd-tls.socket, and
 * listen_tls is ignored. systemd refuses to start a socket whose service already runs, so the daemon has to stop; and
 * any client would start it again at once, so its local socket, to which the others are bound, stops first. Starting
 * the TLS socket brings back the local one in the same transaction, and the daemon's start is ordered after both.
 * Virtual machines go on meanwhile (KillMode=process); clients have to connect again. */
int units_serve_libvirt_tls(struct error *e);
