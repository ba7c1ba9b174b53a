/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The witness that the cluster wants (pure, replicated): TABLE_WITNESS holds where each witness is, by its UUID, and
 * which one is wanted; TABLE_SECRET "witness/UUID" what it is opened with, sealed. The voting configuration names one
 * by itself (agent/db): the leader brings it in line, so there is a while in which two are known.
 *
 *           SET uuid                      the leader: weight 0, then NAME              FORGET old
 *   (none) ──────────> wanted, not named ─────────────────────────────> wanted, named ────────────> ...
 *                         ^ SET the same uuid again: new keys, another proxy; the vote stays
 *
 * Invariants: the row of the wanted witness is there; a row is forgotten only when it is not the wanted one. */
#pragma once

#include "common/entry.h"
#include "witness/port.h"

/* Associated data of the sealed credentials: the name that they are sealed under. */
#define WITNESS_SEAL_NAME "witness"

const char *witness_kind_name(enum witness_kind k); /* "azure", "file" */
const char *witness_auth_name(enum witness_auth a); /* "keys", "sas", "identity"; "none" */

/* 0, or ERR_USAGE with what cannot be. How a URL must look is the adapter's to say. */
int witness_site_check(const struct witness_site *s, struct error *e);
/* Is it the same record, whoever opens it and by which way? */
bool witness_site_is_same(const struct witness_site *a, const struct witness_site *b);
/* For people: "container ringmaster-witness of the storage account acct", "folder /srv/share". */
void witness_site_text(const struct witness_site *s, char *dst, size_t size);

/* Payloads: SET (uuid nil: none; then site and sealed are not looked at), FORGET. sealed is empty for a folder. */
void witness_entry_set(const struct uuid *uuid, const struct witness_site *site, struct slice sealed, struct buf *b);
void witness_entry_forget(const struct uuid *uuid, struct buf *b);
void witness_apply(struct tables *t, const struct entry *e, struct apply_result *ret);

struct uuid witness_wanted(const struct tables *t); /* nil: none */
int witness_site_get(const struct tables *t, const struct uuid *uuid, struct witness_site *ret); /* ERR_NOT_FOUND */
/* Empty where there is none; borrowed. */
struct slice witness_sealed_get(const struct tables *t, const struct uuid *uuid);
/* One that is neither wanted nor `named`. */
bool witness_forgotten(const struct tables *t, const struct uuid *named, struct uuid *ret);
bool witness_row_is_good(const struct table_row *row);
