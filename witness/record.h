/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The witness's record as bytes, and its faults in words. */
#pragma once

#include "witness/port.h"

struct witness_bytes {
    char s[WITNESS_RECORD_MAX]; /* terminated; text */
    size_t len;                 /* below WITNESS_RECORD_MAX */
};
/* r->version must be WITNESS_VERSION, n_members in bounds. */
struct witness_bytes witness_record_encode(const struct witness_record *r);
/* 0; ERR_MALFORMED: not a record; ERR_UNKNOWN_KIND: one of a newer format. */
int witness_record_decode(struct slice bytes, struct witness_record *ret);
/* Decodes what a GET or PROBE read: NONE: *ret is the record that call asks for; REGRESSED: it is one, but older than
 * call->sequence_min; NEWER, FOREIGN: *ret is untouched. */
enum witness_cause witness_record_read(struct slice bytes, const struct witness_call *call, struct witness_record *ret);

/* "put", … ; never NULL. */
const char *witness_op_name(enum witness_op op);
const char *witness_outcome_name(enum witness_outcome o);
const char *witness_cause_name(enum witness_cause c);

/* What the words in braces of cause.def stand for; borrowed; NULL where there is none. */
struct witness_place {
    const char *host, *account, *container, *blob, *path;
};
/* ret->text: the cause's sentence, and detail in brackets unless that is NULL; ret->remedy: its mend. Outcome DONE, or
 * cause NONE: no error. */
void witness_explain(enum witness_outcome outcome, enum witness_cause cause, const struct witness_place *place,
                     const char *detail, struct error *ret);
