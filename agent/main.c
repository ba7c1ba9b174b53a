/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ringmasterd: the agent of one node. */
#include <stdio.h>
#include <string.h>

#include "config.h"

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts(PACKAGE_STRING);
        return 0;
    }
    fputs("usage: ringmasterd [--version]\n", stderr);
    return 64;
}
