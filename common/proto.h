/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Protocol between clusterctl and the local agent, over libqb IPC (name PROTO_IPC_NAME, shared memory).
 *
 * A request is one libqb message: struct proto_frame, then `total` bytes of JSON:
 *   {"api_version": "1", "request": {"verb": "vm.start", "id": UUID, "args": {…}}}
 * The answer is JSON as well (design 5: the contract that `--output json` prints unchanged):
 *   {"api_version": "1", "request": {"verb", "id"}, "status": {"code", "message", "remedy", "errors": []}, "data": {…}}
 * status.code is the exit code of clusterctl. A long answer is pulled: every response message carries struct
 * proto_frame with the total length and this chunk's offset; the client asks for the next chunk with PROTO_MORE and
 * that offset, until it has `total` bytes. One request at a time on a connection; the answer of the newest one is kept.
 * A request id makes a retry safe: the same id is applied once. */
#pragma once

#include "common/json.h"

#define PROTO_IPC_NAME "ringmaster"
#define PROTO_API_VERSION "1"

enum {
    PROTO_REQUEST = 1,
    PROTO_MORE = 2,
    PROTO_RESPONSE = 3,
    PROTO_MESSAGE_MAX = 384 * 1024, /* what both sides hand to libqb; one message with its headers */
    PROTO_CHUNK_MAX = 256 * 1024,   /* JSON bytes in one message */
    PROTO_ANSWER_MAX = 64 << 20,
};

/* Follows struct qb_ipc_request_header / qb_ipc_response_header (both 8-byte aligned). */
struct proto_frame {
    uint32_t total;  /* length of the whole JSON text */
    uint32_t offset; /* of the chunk that follows; in PROTO_MORE: of the chunk wanted */
} __attribute__((aligned(8)));

/* Builds an answer; takes data (may be NULL: {}). error may be NULL: status 0 "ok". */
struct json *proto_answer(const char *verb, const char *request_id, const struct error *error, struct json *data);
/* Builds a request; takes args (may be NULL). */
struct json *proto_request(const char *verb, const char *request_id, struct json *args);
/* Checks the shape; what it gives back is borrowed from request. 0 or ERR_USAGE. */
int proto_parse_request(const struct json *request, const char **ret_verb, const char **ret_id,
                        const struct json **ret_args, struct error *e);
