/* SPDX-License-Identifier: GPL-2.0-or-later */
/* May root run this file? One that another user could replace, or write, would be that user's way to root. */
#pragma once

#include <sys/types.h>

#include "common/err.h"

/* what: "hook", "program" …, for the message. owner: beside root. 0; ERR_PERMISSION: the file, a folder above it or its
 * path is not safe; ERR_IO: it cannot be looked at. */
int runnable_check(const char *what, const char *path, uid_t owner, struct error *e);
