/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clusterctl: the command of cluster admins. Here it meets the world; what it does is in call.c. */
#include <locale.h>

#include "cli/call.h"
#include "cli/io/client.h"
#include "cli/io/terminal.h"

static int world_ask(void *ctx, const struct json *request, int64_t timeout_ms, bool again, struct json **ret_answer,
                     struct error *e)
{
    return client_ask(ctx, request, timeout_ms, again, ret_answer, e);
}

static struct uuid world_new_id(void *ctx)
{
    (void)ctx;
    return new_request_id();
}

static int world_confirm(void *ctx, const char *question)
{
    (void)ctx;
    return terminal_can_ask() ? terminal_ask(question) : ERR_USAGE;
}

static void world_write(void *ctx, enum stream stream, const char *text, size_t len)
{
    (void)ctx;
    write_text(stream == STREAM_OUT ? 1 : 2, text, len);
}

static int64_t world_now_ms(void *ctx)
{
    (void)ctx;
    return clock_monotonic_ms();
}

static int64_t world_wall_ms(void *ctx)
{
    (void)ctx;
    return clock_wall_ms();
}

static void world_hold_interrupts(void *ctx)
{
    (void)ctx;
    interrupt_hold();
}

static bool world_sleep(void *ctx, int64_t ms)
{
    (void)ctx;
    return interrupt_sleep(ms);
}

static size_t world_width(void *ctx)
{
    (void)ctx;
    return terminal_width();
}

static size_t world_height(void *ctx)
{
    (void)ctx;
    return terminal_height();
}

static bool is_interrupted(void *ctx)
{
    (void)ctx;
    return interrupt_pending();
}

int main(int argc, char **argv)
{
    setlocale(LC_ALL, "");
    struct client *client = client_new(PROTO_IPC_NAME, is_interrupted, NULL);
    const struct cli_env env = {
        .ctx = client,
        .ask = world_ask,
        .new_id = world_new_id,
        .confirm = world_confirm,
        .write = world_write,
        .now_ms = world_now_ms,
        .wall_ms = world_wall_ms,
        .hold_interrupts = world_hold_interrupts,
        .sleep = world_sleep,
        .width = world_width,
        .height = world_height,
        .root = "",
        .live = terminal_is_output(),
        .colour_out = terminal_has_colour(1),
        .colour_err = terminal_has_colour(2),
    };
    int code = cli_run(&env, argc, argv);
    client_free(client);
    return code;
}
