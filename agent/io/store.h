/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The replica on this disk: one SQLite file, mode 0600, used by one process (locking_mode=EXCLUSIVE).
 *
 * Format (application_id "RMdb", user_version = STORE_VERSION):
 *   state  one row: identity (cluster, replica), term, voted_for, commit_index, applied_index, base_index, base_term,
 *          base_chain, base_config, digest, witness, witness_sequence, prevented
 *   log    idx -> term, request_id, kind, level, time_ms, payload, chain
 *   row    (tbl, key) -> value
 *   chain(i) = SHA-256(chain(i-1), term, idx, request_id, kind, level, time_ms, payload); of the base: base_chain.
 *   digest   = sum mod 2^256 of SHA-256(tbl, key, value) over all rows of `row`.
 *   base_config: u32 count, (uuid replica, u32 nodeid, u8 weight)*, u8 witness weight.
 * Integers in hashes are little endian (common/wire.h). Chain and digest are checked when it is loaded: a damaged file
 * is refused, never used.
 *
 * Ordering. A struct db_batch is one transaction or part of one, batches in their order; journal_mode=WAL with
 * synchronous=FULL: COMMIT returns after fsync of the WAL, and only then is a batch persisted. Within a batch: replace,
 * truncate, append, rows, base, state. No error is survivable: after a failed write or fsync nobody knows what the disk
 * holds, so the process must end and read it anew.
 *
 * The file is made by the first write. Next to it PATH.replica holds the UUID of the replica that has a file: it is
 * written right after the file, so a file that is missing although it is named there was lost, and its votes with it:
 * such a replica must not run again (a lost disk is a new replica). The file of another replica (this host left a
 * cluster and joined again) is set aside as PATH.old. What a later epoch replaces (quorum was forced elsewhere) is
 * copied to PATH.before-epoch-N first: it may have been committed, and nobody else has it any more. */
#pragma once

#include "agent/db/port.h"
#include "agent/port.h"

enum {
    STORE_APPLICATION_ID = 0x524d6462,
    STORE_VERSION = 1,
    STORE_LOG_MAX = 1000000,  /* entries that are loaded */
    STORE_ROWS_MAX = 4000000, /* rows that are loaded */
};

struct store;

/* Opens the file if there is one and loads it into *ret_image (the caller's: db_image_done); without a file the image
 * is empty. Blocking. ERR_CONDITION: damaged, lost, of another version or in use; ERR_IO. */
int store_open(const char *path, const struct identity *id, struct store **ret, struct db_image *ret_image,
               struct error *e);

/* Writes the batches in one transaction. Blocking, one thread at a time. After an error the store is of no more use. */
int store_write(struct store *s, struct db_batch *const *batches, size_t n, struct error *e);

/* Copies the file to PATH and that suffix, synced. Blocking. */
int store_keep(struct store *s, const char *suffix, struct error *e);

void store_close(struct store *s);
