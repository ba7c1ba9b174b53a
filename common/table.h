/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The replicated tables: an ordered map (table, key) -> bytes, the whole applied state of the cluster.
 *
 * Modules (agent/, vm/, upgrade/ …) own tables and the encoding of their rows; this container knows neither. Only an
 * apply function may change rows, and only from what stands in the committed entry. The container keeps
 *   - the state hash: sum mod 2^256 of SHA-256(table, key, value) over all rows, kept up to date with every change;
 *   - the changes since they were last taken, for the store's image.
 * Limits: key 1…255 bytes, value up to 1 MiB. */
#pragma once

#include "common/hash.h"
#include "common/wire.h"

enum table_id {            /* key -> row; numbers are on disk and on the wire: never reused */
    TABLE_CLUSTER = 1,     /* "cluster" -> struct cluster, "forced" -> struct cluster_forced (agent/cluster.h) */
    TABLE_NODE = 2,        /* node name -> struct node (agent/cluster.h) */
    TABLE_TOKEN = 3,       /* token id -> struct join_token (agent/cluster.h) */
    TABLE_SECRET = 4,      /* name -> AES-256-GCM sealed bytes */
    TABLE_SETTING = 5,     /* name -> text */
    TABLE_EVENT = 6,       /* 20-digit sequence number -> struct cluster_event (agent/journal.h) */
    TABLE_JOB = 7,         /* job id (UUID) -> struct job (agent/journal.h) */
    TABLE_REQUEST = 8,     /* request id -> outcome; the last 10,000 (agent/db) */
    TABLE_TOMBSTONE = 9,   /* replica UUID -> when and why it was evicted (agent/cluster.h) */
    TABLE_VM = 10,         /* VM name -> struct vm (vm/vm.h) */
    TABLE_VM_XML = 11,     /* VM name -> domain XML */
    TABLE_WITNESS = 12,    /* witness UUID -> struct witness_site; "wanted" -> UUID (witness/site.h) */
    TABLE_GUARD = 13,      /* node name -> struct guard (agent/guard.h) */
    TABLE_RUN = 20,        /* run id (UUID) -> struct run (upgrade/run.h) */
    TABLE_STEP = 21,       /* run id '/' 3-digit position -> struct step (upgrade/run.h) */
    TABLE_OBLIGATION = 22, /* what must be undone, by whoever leads (upgrade/run.h) */
    TABLE_TASK = 23,       /* task name -> struct task (task/task.h) */
    TABLE_REPOSITORY = 24, /* repository name -> struct repository_row (backup/job.h) */
    TABLE_BACKUP = 25,     /* VM name -> struct backup (backup/job.h) */
    TABLE_POINT = 26,      /* VM name '/' UUID -> struct point_row (backup/job.h) */
    TABLE_MAX = 32,
};

enum { TABLE_KEY_MAX = 255, TABLE_VALUE_MAX = 1 << 20 };

struct tables;

struct table_row {
    enum table_id table;
    const char *key;
    struct slice value;
};

struct tables *tables_new(void);
void tables_free(struct tables *t);

/* Borrowed until the next change of that row. 0 or ERR_NOT_FOUND. */
int tables_get(const struct tables *t, enum table_id table, const char *key, struct slice *ret);
bool tables_has(const struct tables *t, enum table_id table, const char *key);
/* The first row of the table with a key above `after` (NULL: the first of all); false at the end. The row is borrowed
 * until the next change of the table. Order is bytewise by key, the same on every node. */
bool tables_next(const struct tables *t, enum table_id table, const char *after, struct table_row *ret);
/* The last row; false if empty. */
bool tables_last(const struct tables *t, enum table_id table, struct table_row *ret);
size_t tables_count(const struct tables *t, enum table_id table);

/* Copies key and value. A put of the very same bytes is no change. */
void tables_put(struct tables *t, enum table_id table, const char *key, struct slice value);
bool tables_del(struct tables *t, enum table_id table, const char *key); /* false: was not there */

struct hash tables_hash(const struct tables *t);

/* Changed rows since the last call, each once, with its newest value; value.p == NULL means deleted. The array is
 * allocated with copies inside (one block per row: table_changes_free). */
struct table_changes {
    struct table_row *rows;
    size_t n;
};
void tables_take_changes(struct tables *t, struct table_changes *ret);
void table_changes_free(struct table_changes *c);

/* The whole content, for snapshots. Decoding gives a new container with no pending changes, or ERR_MALFORMED. */
void tables_encode(const struct tables *t, struct buf *b);
int tables_decode(struct wire_reader *r, struct tables **ret);

#define TABLES_FOREACH(t, id, row) \
    for (struct table_row row = {.key = NULL}; tables_next((t), (id), row.key, &row);)
