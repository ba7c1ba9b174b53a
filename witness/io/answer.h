/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an answer of the Blob service, or none, means for a call. Without I/O. */
#pragma once

#include "witness/io/credentials.h"
#include "witness/port.h"

enum { ANSWER_BODY_MAX = WITNESS_RECORD_MAX, ANSWER_CODE_MAX = 64, ANSWER_DETAIL_MAX = 128 };

/* Of one try. An error's body is never looked at: the service repeats its error code in a header. */
struct answer {
    bool sent;                  /* the request, or a part of it, may have left this node */
    bool complete;              /* status and headers are whole */
    int status;                 /* of the last header block */
    char code[ANSWER_CODE_MAX]; /* x-ms-error-code; [A-Za-z0-9] */
    bool from_service;          /* it has an x-ms-request-id */
    struct witness_etag etag;
    int64_t server_ms;      /* Date; 0: none */
    int64_t retry_after_ms; /* 0: none */
    bool body_complete;
    bool body_too_big;
    uint8_t body[ANSWER_BODY_MAX];
    size_t body_len;
};

/* One header line, with or without its end: kept if it is one of the above. A status line begins a new block. */
void answer_header(struct answer *a, const char *line, size_t len);

/* How this try was made. */
struct answer_context {
    const struct witness_call *call;
    const struct credentials *credentials;
    bool is_emulator; /* it says AuthorizationFailure for a wrong signature, where Azure means its firewall */
    int64_t wall_ms;  /* this node's clock */
};

enum answer_next {
    ANSWER_FINAL = 0,
    ANSWER_RETRY,     /* worth another try after a while */
    ANSWER_OTHER_KEY, /* at once, with the other key */
    ANSWER_NEW_TOKEN, /* at once, with a new token */
};

struct verdict {
    enum witness_outcome outcome;
    enum witness_cause cause;
    enum answer_next next;
    char detail[ANSWER_DETAIL_MAX];
    struct witness_record record; /* DONE, and REGRESSED: what is stored */
};

/* a->complete must hold. */
struct verdict answer_judge(const struct answer *a, const struct answer_context *x);

static inline bool answer_is_write(const struct witness_call *call)
{
    return call->op == WITNESS_CREATE || call->op == WITNESS_PUT;
}
