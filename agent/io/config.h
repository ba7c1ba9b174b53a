/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ringmaster.conf(5): what the agent must know of its own node. FILE, then DIR/conf.d/NAME.conf by name; the last value
 * of a key counts; what is not known is an error with file and line. A missing file is an empty one. */
#pragma once

#include "common/log.h"
#include "vm/port.h"

enum { CONFIG_PORT_DEFAULT = 7700, WATCHDOG_PATH_MAX = 108 };

struct config {
    char node[NODE_NAME_MAX];  /* default: the host name, up to its first dot */
    char address[ADDRESS_MAX]; /* "": what the name resolves to (host_facts_read) */
    uint16_t port;
    enum log_level log_level;
    char watchdog[WATCHDOG_PATH_MAX]; /* device or FIFO; "" or "none": none */
};

/* must_exist: the file was named by the admin. 0, ERR_USAGE (text has file and line) or ERR_IO. */
int config_load(const char *file, bool must_exist, struct config *ret, struct error *e);

/* A node's name: [a-z0-9]([a-z0-9-]*[a-z0-9])?, up to 63 bytes: it stands in certificates, URIs and paths. */
bool config_is_node_name(const char *s);
