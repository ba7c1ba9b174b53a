/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What this host is: os-release, kernel, memory, corosync's version, and which boot this is. Blocking (it runs
 * `corosync -v` and may resolve a name): for worker threads. QEMU, libvirt and machine types are libvirt's to say:
 * vm/io/libvirt.h fills them in.
 *
 * boot_id changes exactly when the node boots: that is how a node that came back is told from an agent that was
 * restarted. In a container /proc/sys/kernel/random/boot_id is the physical host's and does not change with the
 * container; there it is a UUID made of that id, the PID namespace and the start time of PID 1. */
#pragma once

#include "agent/port.h"

/* hostname, address ("": resolve hostname) and port are given; agent_version is this program's. */
struct host_config {
    char hostname[NODE_NAME_MAX];
    char address[ADDRESS_MAX];
    uint16_t port;
    char agent_version[32];
};

/* Fills all of *ret but qemu_version, libvirt_version and machines, which are 0 and NULL. 0, or ERR_CONDITION when the
 * node has no address or the boot cannot be told. */
int host_facts_read(const struct host_config *c, struct host_facts *ret, struct error *e);

/* Parts, for tests. os_release: the text of the file; unknown keys are skipped; ERR_NOT_FOUND without the key. */
int host_os_release_get(const char *os_release, const char *key, char *ret, size_t size);
/* Field 22 of /proc/PID/stat; the name in field 2 may hold blanks and parentheses. */
int host_stat_start_time(const char *stat, uint64_t *ret);
struct uuid_str host_container_boot_id(const char *host_boot_id, uint64_t pid_namespace, uint64_t start_time);
