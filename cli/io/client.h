/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The way to the local agent: libqb IPC, with the framing of common/proto.h. A connection is opened when it is needed
 * and closed after any fault, so that an answer can never be taken for that of another request.
 *
 * A request whose connection is lost is sent again, with the same id, to the agent that systemd starts anew: the id
 * makes it happen once. An agent that was not there in the first place is reported at once. Who polls does without. */
#pragma once

#include "common/proto.h"

struct client;

/* name: PROTO_IPC_NAME (tests have their own); borrowed. interrupted: asked a few times a second while the client
 * waits; NULL: never. */
struct client *client_new(const char *name, bool (*interrupted)(void *ctx), void *ctx);
void client_free(struct client *c);

/* Sends the request and pulls the whole answer, which the caller frees. again: also once more, after a lost connection.
 *   ERR_NO_AGENT    nobody listens or takes a request, or the connection was lost and did not come back
 *   ERR_PERMISSION  the socket may not be used
 *   ERR_TIMEOUT     no answer within timeout_ms
 *   ERR_AGAIN       interrupted
 *   ERR_MALFORMED, ERR_TOO_BIG  what came is no answer; the request does not fit into a message */
int client_ask(struct client *c, const struct json *request, int64_t timeout_ms, bool again, struct json **ret_answer,
               struct error *e);
