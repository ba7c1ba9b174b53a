/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is known of a level's platform before a node runs it (platform.def). */
#pragma once

#include <stdint.h>

enum machine_support {
    MACHINE_UNKNOWN = 0, /* of another family: nothing is known of it */
    MACHINE_SUPPORTED,
    MACHINE_DEPRECATED, /* it works, and a later QEMU will not have it */
    MACHINE_TOO_OLD,
    MACHINE_TOO_NEW,
};
enum machine_support platform_machine(uint8_t level, const char *machine);
unsigned platform_corosync(uint8_t level);   /* major version; 0: unknown level */
unsigned version_major(const char *version); /* "3.1.7": 3; 0: none */
