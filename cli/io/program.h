/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs other programs: by path and argument vector, in a fixed environment, never through a shell. */
#pragma once

#include "common/buf.h"
#include "common/err.h"

/* What it wrote to both of its outputs, as far as max bytes, and its exit status (128 + signal). It is killed when it
 * takes longer. 0; ERR_NOT_FOUND: there is no such program; ERR_TIMEOUT; ERR_FAILED. *out has what came in any case. */
int program_capture(const char *const *argv, int64_t timeout_ms, size_t max, struct buf *out, int *ret_status,
                    struct error *e);

/* first | second > fd. 0 if both went well. */
int program_pipe(const char *const *first, const char *const *second, int fd, struct error *e);

bool program_exists(const char *path);
