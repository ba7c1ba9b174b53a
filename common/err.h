/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Error codes. Every fallible function returns 0 or a negative ERR_… and leaves its ret_ arguments untouched on
 * failure. The codes that an admin sees are the negated exit codes of clusterctl (clusterctl(8), EXIT STATUS); the
 * others are internal and reach an admin as 1 (failed). */
#pragma once

#include <stddef.h>

enum {
    /* Seen by admins: -(exit code). */
    ERR_FAILED = -1,
    ERR_USAGE = -64,     /* the request is malformed */
    ERR_NO_AGENT = -69,  /* the local agent does not answer */
    ERR_AGAIN = -75,     /* try again: something else is in the way for a moment */
    ERR_PERMISSION = -77,
    ERR_NO_OBJECT = -105, /* no such node, VM, run, job */
    ERR_NO_QUORUM = -106,
    ERR_NEED_FORCE = -107,
    ERR_CONDITION = -113, /* a condition is not met; the text names it and the remedy */
    ERR_TIMEOUT = -124,   /* timed out; the operation may still go on */

    /* Internal. */
    ERR_MALFORMED = -2, /* foreign bytes that do not parse */
    ERR_IO = -3,
    ERR_NOT_FOUND = -4,
    ERR_TOO_BIG = -5,
    ERR_UNKNOWN_KIND = -6, /* a log entry that this release does not know: the node stops */
};

/* The exit code of clusterctl for a code above: 0…124. */
int err_exit_code(int err);

/* A short stable name, e.g. "ERR_NO_QUORUM": for logs and JSON. Never NULL. */
const char *err_name(int err);

enum {
    ERROR_TEXT_MAX = 384,
    ERROR_REMEDY_MAX = 256,
};

/* What, where and why in `text`; the command that mends it in `remedy` (may be empty). A value type: copied freely. */
struct error {
    int code; /* 0: no error */
    char text[ERROR_TEXT_MAX];
    char remedy[ERROR_REMEDY_MAX];
};

/* Fills *e (truncating, always terminated) and returns code, so that `return error_set(e, ERR_…, …)` reads well.
 * e may be NULL: then only the code is returned. */
int error_set(struct error *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void error_set_remedy(struct error *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
