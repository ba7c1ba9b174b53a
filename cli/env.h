/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The world as clusterctl sees it. main.c fills it in with cli/io; a test hands in its own, with canned answers and a
 * clock that it turns by hand. Everything else in cli/ goes through it, but for files that the admin names. */
#pragma once

#include "common/json.h"
#include "common/uuid.h"

enum stream { STREAM_OUT = 1, STREAM_ERR = 2 };

struct cli_env {
    void *ctx;
    /* As client_ask() (cli/io/client.h). */
    int (*ask)(void *ctx, const struct json *request, int64_t timeout_ms, bool again, struct json **ret_answer,
               struct error *e);
    struct uuid (*new_id)(void *ctx); /* of a request */
    /* 1: yes, 0: no, ERR_USAGE: there is nobody to ask. */
    int (*confirm)(void *ctx, const char *question);
    void (*write)(void *ctx, enum stream stream, const char *text, size_t len);
    int64_t (*now_ms)(void *ctx);         /* monotonic */
    int64_t (*wall_ms)(void *ctx);        /* UTC */
    void (*hold_interrupts)(void *ctx);   /* from now on sleep says so instead of the process ending */
    bool (*sleep)(void *ctx, int64_t ms); /* false: interrupted */
    size_t (*width)(void *ctx);           /* of the terminal on the standard output; 0: none */
    size_t (*height)(void *ctx);
    const char *root; /* before the paths of what a support bundle gathers; "" but in tests */
    bool live; /* the standard output is a terminal that can be redrawn */
    bool colour_out, colour_err;
};
