/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The database's call to its witness in the words of the witness's port, and back (pure).
 *
 * The database judges what it reads: whose record it is, and whether it was rolled back. So the call names neither a
 * cluster nor a sequence, and every record that decodes comes back as DONE. */
#pragma once

#include "agent/db/port.h"
#include "witness/port.h"

/* id is not set. */
struct witness_call witness_call_of(const struct db_witness_call *c, int64_t timeout_ms);
/* id is not set. */
void witness_outcome_of(const struct witness_result *r, struct db_witness_outcome *ret);
