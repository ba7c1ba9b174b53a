/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How this host is: free space of file systems, and corosync's links to the other nodes (its stats map). Blocking: a
 * frozen corosync or a lost network file system holds the thread. */
#pragma once

#include "agent/port.h"

/* All but what is said of the executor. What cannot be read is left out. */
void host_vitals_read(struct host_vitals *ret);

/* Parts, for tests: adds the file system of path, unless it is there already or none. */
void host_space_add(const char *path, struct host_vitals *v);
