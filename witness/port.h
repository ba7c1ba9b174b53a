/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Witness port: one record outside the cluster that only a conditional write changes (design 3), whatever keeps it: an
 * Azure blob (witness/io/azure.c), a folder on a share (witness/io/file.c), the simulator's model. Values, and the ops
 * that an adapter fills in. */
#pragma once

#include "common/buf.h"
#include "common/err.h"
#include "common/uuid.h"

/* WITNESS_MEMBERS_MAX: as many as fit into a record of WITNESS_RECORD_MAX bytes. A cluster with more nodes names some
 * of them: any subset of those that may stand in `members` is safe, because the witness counts for a commit only when
 * all that are named have it, and a node that is not named may claim by the vote of one that is. */
enum { WITNESS_MEMBERS_MAX = 20, WITNESS_RECORD_MAX = 1024, WITNESS_ETAG_MAX = 128, WITNESS_VERSION = 1 };

/* The tag of design 2. */
struct witness_record {
    uint64_t sequence; /* 1 when created, raised by one by every write */
    uint32_t version;  /* of the record's format: WITNESS_VERSION */
    struct uuid cluster_uuid;
    struct uuid witness_uuid;
    uint64_t term;
    struct uuid leader; /* replica; nil when created */
    struct uuid nonce;  /* of this one write, never used again */
    bool forced;
    struct uuid members[WITNESS_MEMBERS_MAX]; /* replicas */
    size_t n_members;
};

/* Names the stored bytes, as the store itself gives it; compared by the store alone. */
struct witness_etag {
    char s[WITNESS_ETAG_MAX]; /* printable ASCII; "": none */
};

/* Where a cluster's witness is, and how it is reached: no secret is in here. Texts are "" where they do not apply. */
enum witness_kind { WITNESS_AZURE = 1, WITNESS_FILE };
enum witness_auth { WITNESS_AUTH_NONE = 0, WITNESS_AUTH_KEYS, WITNESS_AUTH_SAS, WITNESS_AUTH_IDENTITY };
enum { WITNESS_NAME_MAX = 64, WITNESS_URL_MAX = 256, WITNESS_PATH_MAX = 256, WITNESS_SECRET_MAX = 8192 };
struct witness_site {
    enum witness_kind kind;
    char account[WITNESS_NAME_MAX], container[WITNESS_NAME_MAX];
    char endpoint[WITNESS_URL_MAX], proxy[WITNESS_URL_MAX], metadata[WITNESS_URL_MAX]; /* as struct azure_options */
    char ca_file[WITNESS_PATH_MAX];
    char path[WITNESS_PATH_MAX]; /* FILE: the folder */
    enum witness_auth auth;
    uint8_t n_keys; /* of KEYS */
};

enum witness_op {
    WITNESS_CREATE = 1, /* once, when the witness is set: only if there is none */
    WITNESS_GET,
    WITNESS_PUT,   /* only over the bytes that etag names; record.sequence is theirs + 1 */
    WITNESS_PROBE, /* the same as GET but for one try only; for health and `witness test`, never for a decision */
};

struct witness_call {
    uint64_t id; /* the caller's */
    enum witness_op op;
    int64_t timeout_ms;           /* the completion comes at the latest then, retries included */
    struct uuid cluster_uuid;     /* GET, PROBE: whose record it has to be; nil: anybody's */
    struct uuid witness_uuid;     /* the same */
    uint64_t sequence_min;        /* GET, PROBE: the highest sequence that was ever seen here; 0: none */
    struct witness_etag etag;     /* PUT */
    struct witness_record record; /* CREATE, PUT */
};

/* What became of it.
 *
 *               CREATE, PUT: was it written?                   GET, PROBE
 *     DONE         yes, and nobody wrote in between            record and etag are valid
 *     LOST         no: the bytes are not those of etag (412)   -
 *     EXISTS       no: there is one already                    -
 *     MISSING      no: no record, or nothing to hold it        the same
 *     REFUSED      no: the store said so, or what is there     the same; REGRESSED: record and etag are valid, so that
 *                  is not ours                                 they can be shown, and must not be built on
 *     UNREACHABLE  no: it was never sent                       the same
 *     UNKNOWN      perhaps, and perhaps only later             no answer in time, or none that can be understood
 *
 * UNKNOWN is sticky: once one try of a call may have reached the store, a later try of the same call ends it as DONE
 * (its condition still held, so no earlier try can land any more) or as UNKNOWN, whatever else it hears: a 412 may have
 * been caused by the call's own first try. LOST says that no try of this call is under way; as something between here
 * and the store may have repeated a request by itself, look for one's own nonce (GET) before acting on it. */
enum witness_outcome {
    WITNESS_DONE = 1,
    WITNESS_LOST,
    WITNESS_EXISTS,
    WITNESS_MISSING,
    WITNESS_REFUSED,
    WITNESS_UNREACHABLE,
    WITNESS_UNKNOWN,
};

/* After CREATE or PUT: can the call have no effect any more? */
static inline bool witness_surely_not_written(enum witness_outcome o)
{
    return o != WITNESS_DONE && o != WITNESS_UNKNOWN;
}

/* Why, as far as it can be told apart; cause.def has a sentence and a mend for each. */
enum witness_cause {
    WITNESS_CAUSE_NONE = 0,
#define CAUSE(NAME, name, what, mend) WITNESS_CAUSE_##NAME,
#include "witness/cause.def"
#undef CAUSE
    WITNESS_CAUSE_MAX,
};

struct witness_result {
    uint64_t id;
    enum witness_op op;
    enum witness_outcome outcome;
    enum witness_cause cause;     /* NONE when DONE */
    struct witness_record record; /* DONE: what is stored now */
    struct witness_etag etag;     /* DONE: of it */
    int http_status;              /* of the last answer; 0: none, or the witness does not speak HTTP */
    int64_t server_ms;            /* the store's clock, UTC; 0: not told */
    uint8_t key;                  /* 1, 2: account key that was accepted; 2 means that the first is no longer */
    struct error error;           /* cause in words, with its mend; code 0 when DONE. Holds no secret */
};

/* An adapter. start() takes a copy of the call; completed(result) is called once for each call, on the loop, never out
 * of start(), and may start() more. free() is not for completed(); it drops calls that are under way without a
 * completion, and what was sent may still land. Neither blocks. */
struct witness;
struct witness_ops {
    void (*start)(struct witness *w, const struct witness_call *call);
    void (*free)(struct witness *w);
};
struct witness {
    const struct witness_ops *ops;
    void (*completed)(void *ctx, const struct witness_result *result);
    void *ctx;
};
static inline void witness_start(struct witness *w, const struct witness_call *call)
{
    w->ops->start(w, call);
}
static inline void witness_free(struct witness *w)
{
    if (w)
        w->ops->free(w);
}
