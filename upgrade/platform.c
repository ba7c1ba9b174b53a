/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "upgrade/platform.h"

#include <stdio.h>
#include <string.h>

struct family {
    uint8_t level;
    char prefix[16];
    unsigned oldest, newest, deprecated;
};
static const struct family families[] = {
#define COROSYNC(level, major)
#define MACHINES(level, prefix, oldest, newest, deprecated) {level, prefix, oldest, newest, deprecated},
#include "upgrade/platform.def"
#undef COROSYNC
#undef MACHINES
};

/* "7.2" or "4.0.1", and nothing behind it. */
static unsigned version_of(const char *text)
{
    unsigned major = 0, minor = 0, micro = 0;
    char rest;
    int n = sscanf(text, "%4u.%3u.%3u%c", &major, &minor, &micro, &rest);
    if (n != 3 && !(n == 2 && text[strspn(text, "0123456789.")] == '\0'))
        return 0;
    return major * 1000 + minor;
}

enum machine_support platform_machine(uint8_t level, const char *machine)
{
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        const struct family *f = &families[i];
        size_t len = strlen(f->prefix);
        if (f->level != level || strncmp(machine, f->prefix, len) != 0)
            continue;
        unsigned version = version_of(machine + len);
        if (version == 0)
            return MACHINE_UNKNOWN;
        if (version < f->oldest)
            return MACHINE_TOO_OLD;
        if (version > f->newest)
            return MACHINE_TOO_NEW;
        return version <= f->deprecated ? MACHINE_DEPRECATED : MACHINE_SUPPORTED;
    }
    return MACHINE_UNKNOWN;
}

unsigned platform_corosync(uint8_t level)
{
#define MACHINES(number, prefix, oldest, newest, deprecated)
#define COROSYNC(number, major)                                                                                        \
    if (level == (number))                                                                                             \
        return major;
#include "upgrade/platform.def"
#undef COROSYNC
#undef MACHINES
    return 0;
}

unsigned version_major(const char *version)
{
    unsigned major = 0;
    return sscanf(version, "%4u", &major) == 1 ? major : 0;
}
