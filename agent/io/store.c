/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/io/store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHECKPOINT_PAGES = 1000 /* of the WAL: SQLite's own default */ };

enum statement {
    ST_LOG_PUT,
    ST_LOG_CHAIN,
    ST_LOG_TRUNCATE,
    ST_LOG_TRIM,
    ST_ROW_PUT,
    ST_ROW_DEL,
    ST_STATE_PUT,
    ST_N,
};

static const char *const statements[ST_N] = {
    [ST_LOG_PUT] = "INSERT INTO log (idx, term, request_id, kind, level, time_ms, payload, chain) "
                   "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    [ST_LOG_CHAIN] = "SELECT chain FROM log WHERE idx = ?",
    [ST_LOG_TRUNCATE] = "DELETE FROM log WHERE idx >= ?",
    [ST_LOG_TRIM] = "DELETE FROM log WHERE idx <= ?",
    [ST_ROW_PUT] = "INSERT INTO row (tbl, key, value) VALUES (?, ?, ?) "
                   "ON CONFLICT (tbl, key) DO UPDATE SET value = excluded.value",
    [ST_ROW_DEL] = "DELETE FROM row WHERE tbl = ? AND key = ?",
    [ST_STATE_PUT] = "UPDATE state SET term = ?, voted_for = ?, commit_index = ?, applied_index = ?, base_index = ?, "
                     "base_term = ?, base_chain = ?, base_config = ?, digest = ?, witness = ?, witness_sequence = ?, "
                     "prevented = ?",
};

static const char schema[] =
    "CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), cluster BLOB NOT NULL, replica BLOB NOT NULL,"
    " term INTEGER NOT NULL, voted_for BLOB NOT NULL, commit_index INTEGER NOT NULL, applied_index INTEGER NOT NULL,"
    " base_index INTEGER NOT NULL, base_term INTEGER NOT NULL, base_chain BLOB NOT NULL, base_config BLOB NOT NULL,"
    " digest BLOB NOT NULL) STRICT;"
    "CREATE TABLE log (idx INTEGER PRIMARY KEY, term INTEGER NOT NULL, request_id BLOB NOT NULL,"
    " kind INTEGER NOT NULL, level INTEGER NOT NULL, time_ms INTEGER NOT NULL, payload BLOB NOT NULL,"
    " chain BLOB NOT NULL) STRICT;"
    "CREATE TABLE row (tbl INTEGER NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (tbl, key))"
    " STRICT, WITHOUT ROWID;";

/* Columns that came later. A release that does not know them leaves them alone: none of its statements names all. */
static const char *const later_columns[][2] = {
    {"witness", "ALTER TABLE state ADD COLUMN witness BLOB NOT NULL DEFAULT x'00000000000000000000000000000000';"},
    {"witness_sequence", "ALTER TABLE state ADD COLUMN witness_sequence INTEGER NOT NULL DEFAULT 0;"},
    {"prevented", "ALTER TABLE state ADD COLUMN prevented INTEGER NOT NULL DEFAULT 0;"},
};

struct store {
    sqlite3 *db; /* NULL until the file exists */
    sqlite3_stmt *st[ST_N];
    char path[PATH_MAX - 64];
    struct uuid cluster, replica;
    /* What the file holds: */
    uint64_t term, commit_index, applied_index;
    uint64_t base_index, base_term;
    struct hash base_chain;
    struct buf base_config; /* encoded */
    uint64_t last_index;
    struct hash last_chain;
    struct hash digest;
    struct uuid voted_for, witness;
    uint64_t witness_sequence;
    uint64_t seq; /* of the last batch */
    int wal_pages;
    bool committed; /* by this process */
};

/* ---- errors */

static void set_rejoin_remedy(struct error *e)
{
    error_set_remedy(e, "the cluster has the data: evict this node from another one (clusterctl node evict), remove "
                        "/var/lib/ringmaster/* here, and join again (clusterctl node join --token-file)");
}

static void set_disk_remedy(struct error *e, bool full)
{
    error_set_remedy(e, full ? "make room on its file system; the agent starts again by itself"
                             : "look for the disk's errors: journalctl -k; on a good disk the agent starts again by "
                               "itself, for a new one evict this node and join again");
}

/* Of errno. */
static int io_error(struct error *e, const char *doing, const char *path)
{
    int saved = errno;
    error_set(e, ERR_IO, "cannot %s %s: %s", doing, path, strerror(saved));
    set_disk_remedy(e, saved == ENOSPC || saved == EDQUOT);
    return ERR_IO;
}

static int damaged(const struct store *s, struct error *e, const char *what)
{
    error_set(e, ERR_CONDITION, "%s is damaged: %s", s->path, what);
    set_rejoin_remedy(e);
    return ERR_CONDITION;
}

static int sql_error(struct store *s, struct error *e, const char *doing)
{
    int code = s->db ? sqlite3_extended_errcode(s->db) : SQLITE_NOMEM;
    const char *text = s->db ? sqlite3_errmsg(s->db) : "out of memory";
    if ((code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB)
        return damaged(s, e, text);
    if ((code & 0xff) == SQLITE_BUSY)
        return error_set(e, ERR_CONDITION, "%s is in use by another process", s->path);
    error_set(e, ERR_IO, "cannot %s %s: %s (SQLite %d)", doing, s->path, text, code);
    if ((code & 0xff) == SQLITE_FULL || (code & 0xff) == SQLITE_IOERR)
        set_disk_remedy(e, (code & 0xff) == SQLITE_FULL);
    return ERR_IO;
}

static int run(struct store *s, const char *sql, struct error *e)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : sql_error(s, e, "use");
}

/* ---- files beside it */

static void sibling(const struct store *s, const char *suffix, char ret[PATH_MAX])
{
    snprintf(ret, PATH_MAX, "%s%s", s->path, suffix);
}

static int sync_dir(const struct store *s, struct error *e)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(s->path, '/');
    snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - s->path) + 1 : 1, slash ? s->path : ".");
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int err = fd < 0 || fsync(fd) != 0 ? io_error(e, "sync", dir) : 0;
    if (fd >= 0)
        close(fd);
    return err;
}

static int write_marker(const struct store *s, struct error *e)
{
    char path[PATH_MAX], tmp[PATH_MAX];
    sibling(s, ".replica", path);
    sibling(s, ".replica.new", tmp);
    struct uuid_str text = uuid_str(&s->replica);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return io_error(e, "write", tmp);
    ssize_t n = (ssize_t)strlen(text.s);
    bool ok = write(fd, text.s, (size_t)n) == n && fsync(fd) == 0;
    int err = ok && rename(tmp, path) == 0 ? 0 : io_error(e, "write", path);
    close(fd);
    if (err)
        return err;
    return sync_dir(s, e);
}

/* Is it on record that this replica has a file? */
static bool has_marker(const struct store *s)
{
    char path[PATH_MAX], text[UUID_STR_SIZE] = "";
    struct uuid u;
    sibling(s, ".replica", path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    return n > 0 && uuid_parse(text, &u) == 0 && uuid_eq(&u, &s->replica);
}

static int set_aside(struct store *s, struct error *e)
{
    static const char *const suffixes[] = {"-wal", "-shm", ""};
    for (size_t i = 0; i < sizeof(suffixes) / sizeof(*suffixes); i++) {
        char from[PATH_MAX], to[PATH_MAX], suffix[16];
        sibling(s, suffixes[i], from);
        snprintf(suffix, sizeof(suffix), ".old%s", suffixes[i]);
        sibling(s, suffix, to);
        unlink(to);
        if (rename(from, to) != 0 && errno != ENOENT)
            return io_error(e, "rename", from);
    }
    return sync_dir(s, e);
}

/* ---- hashes and columns */

static struct hash chain_next(const struct hash *before, const struct entry *en)
{
    AUTO(buf_done) struct buf b = {0};
    wire_put_u64(&b, en->term);
    wire_put_u64(&b, en->index);
    wire_put_uuid(&b, &en->request_id);
    wire_put_u16(&b, en->kind);
    wire_put_u8(&b, en->level);
    wire_put_i64(&b, en->time_ms);
    struct slice parts[] = {{before->b, sizeof(before->b)}, buf_slice(&b), en->payload};
    return hash_sha256(parts, 3);
}

/* The uuid at the end is there with a witness alone: without one this is what releases before it wrote. */
static void config_encode(const struct db_config *c, struct buf *b)
{
    wire_put_u32(b, (uint32_t)c->n);
    for (size_t i = 0; i < c->n; i++) {
        wire_put_uuid(b, &c->replicas[i].id);
        wire_put_u32(b, c->replicas[i].nodeid);
        wire_put_u8(b, c->replicas[i].weight);
    }
    wire_put_u8(b, c->witness_weight);
    if (!uuid_is_nil(&c->witness))
        wire_put_uuid(b, &c->witness);
}

static int config_decode(struct slice bytes, struct db_config *ret)
{
    struct db_config c = {0};
    struct wire_reader r = wire_reader(bytes);
    c.n = wire_get_count(&r, 21);
    if (c.n > DB_REPLICAS_MAX)
        return ERR_MALFORMED;
    for (size_t i = 0; i < c.n; i++) {
        c.replicas[i].id = wire_get_uuid(&r);
        c.replicas[i].nodeid = wire_get_u32(&r);
        c.replicas[i].weight = wire_get_u8(&r);
    }
    c.witness_weight = wire_get_u8(&r);
    if (r.p < r.end)
        c.witness = wire_get_uuid(&r);
    if (wire_end(&r) != 0)
        return ERR_MALFORMED;
    *ret = c;
    return 0;
}

static void bind_u64(sqlite3_stmt *st, int col, uint64_t v)
{
    assert(v <= INT64_MAX);
    sqlite3_bind_int64(st, col, (int64_t)v);
}

/* Borrowed until the statement is stepped or reset. An empty blob is a blob, not NULL. */
static void bind_blob(sqlite3_stmt *st, int col, const void *p, size_t n)
{
    if (n == 0)
        sqlite3_bind_zeroblob(st, col, 0);
    else
        sqlite3_bind_blob64(st, col, p, n, SQLITE_STATIC);
}

static struct slice column_slice(sqlite3_stmt *st, int col)
{
    const void *p = sqlite3_column_blob(st, col); /* before bytes: see SQLite's manual */
    return (struct slice){p, (size_t)sqlite3_column_bytes(st, col)};
}

/* Fixed-size blob; false: another size. */
static bool column_copy(sqlite3_stmt *st, int col, void *ret, size_t n)
{
    struct slice s = column_slice(st, col);
    if (s.len != n)
        return false;
    memcpy(ret, s.p, n);
    return true;
}

/* A number within 0 … max; false: it is not. */
static bool column_u64(sqlite3_stmt *st, int col, uint64_t max, uint64_t *ret)
{
    int64_t v = sqlite3_column_int64(st, col);
    if (v < 0 || (uint64_t)v > max)
        return false;
    *ret = (uint64_t)v;
    return true;
}

static int step_done(struct store *s, sqlite3_stmt *st, struct error *e)
{
    int rc = sqlite3_step(st);
    int err = rc == SQLITE_DONE ? 0 : sql_error(s, e, "write");
    sqlite3_reset(st);
    return err;
}

/* ---- opening */

static void close_db(struct store *s)
{
    for (size_t i = 0; i < ST_N; i++) {
        sqlite3_finalize(s->st[i]);
        s->st[i] = NULL;
    }
    sqlite3_close(s->db);
    s->db = NULL;
}

static int note_wal(void *ctx, sqlite3 *db, const char *name, int n_pages)
{
    struct store *s = ctx;
    (void)db, (void)name;
    s->wal_pages = n_pages;
    return SQLITE_OK;
}

static int open_db(struct store *s, bool create, struct error *e)
{
    int fd = open(s->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | (create ? O_CREAT | O_EXCL : 0), 0600);
    if (fd < 0 || fchmod(fd, 0600) != 0) {
        io_error(e, "open", s->path);
        if (fd >= 0)
            close(fd);
        return ERR_IO;
    }
    close(fd);
    if (sqlite3_open_v2(s->path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW, NULL) != SQLITE_OK)
        return sql_error(s, e, "open");
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_limit(s->db, SQLITE_LIMIT_LENGTH, 4 << 20);
    sqlite3_wal_hook(s->db, note_wal, s); /* in place of the automatic checkpoint */
    return run(s,
               "PRAGMA locking_mode = EXCLUSIVE; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
               "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;"
               "PRAGMA journal_size_limit = 67108864;",
               e);
}

static int prepare_all(struct store *s, struct error *e)
{
    for (size_t i = 0; i < ST_N; i++)
        if (sqlite3_prepare_v3(s->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &s->st[i], NULL) != SQLITE_OK)
            return sql_error(s, e, "use");
    return 0;
}

static int pragma_get(struct store *s, const char *sql, int64_t *ret, struct error *e)
{
    sqlite3_stmt *st = NULL;
    int err = 0;
    if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK || sqlite3_step(st) != SQLITE_ROW)
        err = sql_error(s, e, "read");
    else
        *ret = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return err;
}

static int add_columns(struct store *s, struct error *e)
{
    for (size_t i = 0; i < sizeof(later_columns) / sizeof(later_columns[0]); i++) {
        char sql[128];
        int64_t has;
        snprintf(sql, sizeof(sql), "SELECT count(*) FROM pragma_table_info('state') WHERE name = '%s'",
                 later_columns[i][0]);
        int err = pragma_get(s, sql, &has, e);
        if (!err && !has)
            err = run(s, later_columns[i][1], e);
        if (err)
            return err;
    }
    return 0;
}

static int insert_identity(struct store *s, struct error *e)
{
    sqlite3_stmt *st = NULL;
    if (sqlite3_prepare_v2(s->db,
                           "INSERT INTO state (id, cluster, replica, term, voted_for, commit_index, applied_index, "
                           "base_index, base_term, base_chain, base_config, digest) "
                           "VALUES (1, ?, ?, 0, zeroblob(16), 0, 0, 0, 0, zeroblob(32), ?, zeroblob(32))",
                           -1, &st, NULL) != SQLITE_OK)
        return sql_error(s, e, "create");
    bind_blob(st, 1, s->cluster.b, sizeof(s->cluster.b));
    bind_blob(st, 2, s->replica.b, sizeof(s->replica.b));
    bind_blob(st, 3, s->base_config.p, s->base_config.len);
    int err = step_done(s, st, e);
    sqlite3_finalize(st);
    return err;
}

static int create(struct store *s, struct error *e)
{
    char pragmas[96];
    snprintf(pragmas, sizeof(pragmas), "PRAGMA application_id = %d; PRAGMA user_version = %d;", STORE_APPLICATION_ID,
             STORE_VERSION);
    int err = open_db(s, true, e);
    if (!err)
        err = run(s, "BEGIN IMMEDIATE", e);
    if (!err)
        err = run(s, schema, e);
    if (!err)
        err = add_columns(s, e);
    if (!err)
        err = insert_identity(s, e);
    if (!err)
        err = run(s, pragmas, e);
    if (!err)
        err = run(s, "COMMIT", e);
    if (!err)
        err = sync_dir(s, e);
    if (!err)
        err = write_marker(s, e);
    return err ? err : prepare_all(s, e);
}

/* ---- loading */

static int load_state(struct store *s, struct db_image *image, bool *ret_mine, struct error *e)
{
    sqlite3_stmt *st = NULL;
    if (sqlite3_prepare_v2(s->db,
                           "SELECT cluster, replica, term, voted_for, commit_index, applied_index, base_index, "
                           "base_term, base_chain, base_config, digest, witness, witness_sequence, prevented "
                           "FROM state",
                           -1, &st, NULL) != SQLITE_OK ||
        sqlite3_step(st) != SQLITE_ROW) {
        int err =
            st && sqlite3_errcode(s->db) == SQLITE_DONE ? damaged(s, e, "it has no state") : sql_error(s, e, "read");
        sqlite3_finalize(st);
        return err;
    }
    struct uuid cluster, replica;
    uint64_t prevented = 0;
    bool ok = column_copy(st, 0, cluster.b, sizeof(cluster.b)) && column_copy(st, 1, replica.b, sizeof(replica.b)) &&
              column_u64(st, 2, INT64_MAX, &s->term) && column_copy(st, 3, s->voted_for.b, sizeof(s->voted_for.b)) &&
              column_u64(st, 4, INT64_MAX, &s->commit_index) && column_u64(st, 5, INT64_MAX, &s->applied_index) &&
              column_u64(st, 6, INT64_MAX, &s->base_index) && column_u64(st, 7, INT64_MAX, &s->base_term) &&
              column_copy(st, 8, s->base_chain.b, HASH_SIZE) && column_copy(st, 10, s->digest.b, HASH_SIZE) &&
              config_decode(column_slice(st, 9), &image->base_config) == 0 &&
              column_copy(st, 11, s->witness.b, sizeof(s->witness.b)) &&
              column_u64(st, 12, INT64_MAX, &s->witness_sequence) && column_u64(st, 13, 1, &prevented);
    sqlite3_finalize(st);
    if (!ok)
        return damaged(s, e, "its state does not decode");
    *ret_mine = uuid_eq(&cluster, &s->cluster) && uuid_eq(&replica, &s->replica);
    s->base_config.len = 0;
    config_encode(&image->base_config, &s->base_config);
    image->term = s->term;
    image->voted_for = s->voted_for;
    image->witness = s->witness;
    image->witness_sequence = s->witness_sequence;
    image->is_prevented = prevented != 0;
    image->commit_index = s->commit_index;
    image->applied_index = s->applied_index;
    image->base_index = s->base_index;
    image->base_term = s->base_term;
    return 0;
}

/* The entry in the current row; payload is copied. false: it does not decode, or does not follow the one before. */
static bool load_entry(struct store *s, sqlite3_stmt *st, struct entry *ret)
{
    struct entry en = {0};
    uint64_t kind, level;
    struct hash chain;
    struct slice payload = column_slice(st, 6);
    if (!column_u64(st, 0, INT64_MAX, &en.index) || !column_u64(st, 1, s->term, &en.term) ||
        !column_copy(st, 2, en.request_id.b, sizeof(en.request_id.b)) || !column_u64(st, 3, UINT16_MAX, &kind) ||
        !column_u64(st, 4, UINT8_MAX, &level) || !column_copy(st, 7, chain.b, HASH_SIZE))
        return false;
    if (en.index != s->last_index + 1 || payload.len > ENTRY_SIZE_MAX)
        return false;
    en.kind = (uint16_t)kind;
    en.level = (uint8_t)level;
    en.time_ms = sqlite3_column_int64(st, 5);
    en.payload = payload;
    struct hash wanted = chain_next(&s->last_chain, &en);
    if (!hash_eq(&wanted, &chain))
        return false;
    en.payload.p = xmemdup(payload.p, payload.len);
    s->last_index = en.index;
    s->last_chain = chain;
    *ret = en;
    return true;
}

static int load_log(struct store *s, struct db_image *image, struct error *e)
{
    int64_t count;
    int err = pragma_get(s, "SELECT count(*) FROM log", &count, e);
    if (err)
        return err;
    if (count > STORE_LOG_MAX)
        return damaged(s, e, "its log is too long");
    sqlite3_stmt *st = NULL;
    if (sqlite3_prepare_v2(s->db,
                           "SELECT idx, term, request_id, kind, level, time_ms, payload, chain FROM log ORDER BY idx",
                           -1, &st, NULL) != SQLITE_OK)
        return sql_error(s, e, "read");
    s->last_index = s->base_index;
    s->last_chain = s->base_chain;
    image->entries = count ? xcalloc((size_t)count, sizeof(*image->entries)) : NULL;
    int rc;
    while (!err && (rc = sqlite3_step(st)) != SQLITE_DONE) {
        if (rc != SQLITE_ROW)
            err = sql_error(s, e, "read");
        else if (image->n_entries == (size_t)count || !load_entry(s, st, &image->entries[image->n_entries]))
            err = damaged(s, e, "its log does not hold together");
        else
            image->n_entries++;
    }
    sqlite3_finalize(st);
    return err;
}

static bool load_row(sqlite3_stmt *st, struct tables *t)
{
    uint64_t table;
    const char *key = (const char *)sqlite3_column_text(st, 1);
    size_t key_len = (size_t)sqlite3_column_bytes(st, 1);
    struct slice value = column_slice(st, 2);
    if (!column_u64(st, 0, TABLE_MAX - 1, &table) || !key || key_len == 0 || key_len > TABLE_KEY_MAX ||
        strlen(key) != key_len || value.len > TABLE_VALUE_MAX)
        return false;
    if (!value.p)
        value.p = (const uint8_t *)"";
    tables_put(t, (enum table_id)table, key, value);
    return true;
}

static int load_rows(struct store *s, struct db_image *image, struct error *e)
{
    sqlite3_stmt *st = NULL;
    if (sqlite3_prepare_v2(s->db, "SELECT tbl, key, value FROM row ORDER BY tbl, key", -1, &st, NULL) != SQLITE_OK)
        return sql_error(s, e, "read");
    image->tables = tables_new();
    int err = 0, rc;
    size_t n = 0;
    while (!err && (rc = sqlite3_step(st)) != SQLITE_DONE) {
        if (rc != SQLITE_ROW)
            err = sql_error(s, e, "read");
        else if (++n > STORE_ROWS_MAX || !load_row(st, image->tables))
            err = damaged(s, e, "a row does not decode");
    }
    sqlite3_finalize(st);
    struct hash digest = tables_hash(image->tables);
    if (!err && !hash_eq(&digest, &s->digest))
        err = damaged(s, e, "its rows are not those that were written");
    struct table_changes changes;
    tables_take_changes(image->tables, &changes); /* what is on disk is no change */
    table_changes_free(&changes);
    return err;
}

/* A file that creation did not get done with: nothing was ever persisted in it. */
static int is_unfinished(struct store *s, bool *ret, struct error *e)
{
    int64_t app, version, tables;
    int err = pragma_get(s, "PRAGMA application_id", &app, e);
    if (!err)
        err = pragma_get(s, "PRAGMA user_version", &version, e);
    if (!err)
        err = pragma_get(s, "SELECT count(*) FROM sqlite_schema", &tables, e);
    if (err)
        return err;
    *ret = app == 0 && version == 0 && tables == 0;
    if (*ret)
        return 0;
    if (app != STORE_APPLICATION_ID)
        return error_set(e, ERR_CONDITION, "%s is not a database of Ringmaster", s->path);
    if (version == STORE_VERSION)
        return 0;
    error_set(e, ERR_CONDITION, "%s has format %lld, this agent knows format %d", s->path, (long long)version,
              STORE_VERSION);
    error_set_remedy(e, "install the release of Ringmaster that wrote it, or a later one");
    return ERR_CONDITION;
}

/* *ret_mine false: it is no file of this replica, or an unfinished one. */
static int load(struct store *s, struct db_image *image, bool *ret_mine, struct error *e)
{
    bool unfinished = false;
    *ret_mine = false;
    int err = open_db(s, false, e);
    if (!err)
        err = is_unfinished(s, &unfinished, e);
    if (err || unfinished)
        return err;
    err = add_columns(s, e);
    if (!err)
        err = load_state(s, image, ret_mine, e);
    if (err || !*ret_mine)
        return err;
    err = load_log(s, image, e);
    if (!err)
        err = load_rows(s, image, e);
    if (!err && (s->applied_index > s->last_index || s->base_index > s->applied_index))
        err = damaged(s, e, "its indexes contradict each other");
    if (!err)
        err = prepare_all(s, e);
    return err;
}

static void reset(struct store *s)
{
    s->term = s->commit_index = s->applied_index = s->base_index = s->base_term = s->last_index = 0;
    s->base_chain = s->last_chain = s->digest = (struct hash){{0}};
    s->voted_for = s->witness = (struct uuid){{0}};
    s->witness_sequence = 0;
    s->base_config.len = 0;
    config_encode(&(struct db_config){0}, &s->base_config);
}

static int lost(const struct store *s, struct error *e)
{
    struct uuid_str u = uuid_str(&s->replica);
    error_set(e, ERR_CONDITION, "%s is gone, though replica %s had one: its votes are lost with it", s->path, u.s);
    set_rejoin_remedy(e);
    return ERR_CONDITION;
}

static int open_existing(struct store *s, struct db_image *image, struct error *e)
{
    bool mine;
    if (access(s->path, F_OK) != 0)
        return errno != ENOENT ? io_error(e, "open", s->path) : has_marker(s) ? lost(s, e) : 0;
    int err = load(s, image, &mine, e);
    if (err)
        return err;
    if (mine)
        return has_marker(s) ? 0 : write_marker(s, e);
    close_db(s);
    db_image_done(image);
    *image = (struct db_image){0};
    reset(s);
    return has_marker(s) ? lost(s, e) : set_aside(s, e);
}

int store_open(const char *path, const struct identity *id, struct store **ret, struct db_image *ret_image,
               struct error *e)
{
    struct store *s = xcalloc(1, sizeof(*s));
    struct db_image image = {0};
    s->cluster = id->cluster;
    s->replica = id->replica;
    reset(s);
    int err = STR_COPY(s->path, path) ? open_existing(s, &image, e) : error_set(e, ERR_IO, "%s: too long", path);
    if (err) {
        db_image_done(&image);
        store_close(s);
        return err;
    }
    *ret = s;
    *ret_image = image;
    return 0;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    close_db(s);
    buf_done(&s->base_config);
    free(s);
}

/* ---- writing */

static int chain_at(struct store *s, uint64_t index, struct hash *ret, struct error *e)
{
    if (index == s->base_index) {
        *ret = s->base_chain;
        return 0;
    }
    sqlite3_stmt *st = s->st[ST_LOG_CHAIN];
    bind_u64(st, 1, index);
    int rc = sqlite3_step(st);
    int err = 0;
    if (rc != SQLITE_ROW)
        err = rc == SQLITE_DONE ? error_set(e, ERR_FAILED, "%s has no entry %llu", s->path, (unsigned long long)index)
                                : sql_error(s, e, "read");
    else if (!column_copy(st, 0, ret->b, HASH_SIZE))
        err = damaged(s, e, "its log does not decode");
    sqlite3_reset(st);
    return err;
}

static int write_replace(struct store *s, const struct db_batch *b, struct error *e)
{
    int err = run(s, "DELETE FROM log; DELETE FROM row", e);
    s->base_chain = s->last_chain = (struct hash){{0}};
    s->base_index = s->last_index = b->base_index;
    s->base_term = b->base_term;
    return err;
}

static int write_truncate(struct store *s, const struct db_batch *b, struct error *e)
{
    if (b->truncate_from > s->last_index)
        return 0;
    if (b->truncate_from <= s->base_index || b->truncate_from <= s->applied_index)
        return error_set(e, ERR_FAILED, "refused to truncate from entry %llu: entries up to %llu are applied",
                         (unsigned long long)b->truncate_from, (unsigned long long)s->applied_index);
    bind_u64(s->st[ST_LOG_TRUNCATE], 1, b->truncate_from);
    int err = step_done(s, s->st[ST_LOG_TRUNCATE], e);
    if (!err)
        err = chain_at(s, b->truncate_from - 1, &s->last_chain, e);
    if (!err)
        s->last_index = b->truncate_from - 1;
    return err;
}

static int write_entry(struct store *s, const struct entry *en, struct error *e)
{
    if (en->index != s->last_index + 1)
        return error_set(e, ERR_FAILED, "refused to write entry %llu after %llu", (unsigned long long)en->index,
                         (unsigned long long)s->last_index);
    struct hash chain = chain_next(&s->last_chain, en);
    sqlite3_stmt *st = s->st[ST_LOG_PUT];
    bind_u64(st, 1, en->index);
    bind_u64(st, 2, en->term);
    bind_blob(st, 3, en->request_id.b, sizeof(en->request_id.b));
    sqlite3_bind_int(st, 4, en->kind);
    sqlite3_bind_int(st, 5, en->level);
    sqlite3_bind_int64(st, 6, en->time_ms);
    bind_blob(st, 7, en->payload.p, en->payload.len);
    bind_blob(st, 8, chain.b, sizeof(chain.b));
    int err = step_done(s, st, e);
    s->last_index = en->index;
    s->last_chain = chain;
    return err;
}

static void bind_row_key(sqlite3_stmt *st, const struct table_row *row)
{
    sqlite3_bind_int(st, 1, (int)row->table);
    sqlite3_bind_text(st, 2, row->key, -1, SQLITE_STATIC);
}

static int write_row(struct store *s, const struct table_row *row, struct error *e)
{
    sqlite3_stmt *st = s->st[row->value.p ? ST_ROW_PUT : ST_ROW_DEL];
    bind_row_key(st, row);
    if (row->value.p)
        bind_blob(st, 3, row->value.p, row->value.len);
    return step_done(s, st, e);
}

static int write_base(struct store *s, const struct db_batch *b, struct error *e)
{
    if (b->base_index < s->base_index)
        return 0;
    if (b->base_index > s->base_index) {
        struct hash chain;
        int err = chain_at(s, b->base_index, &chain, e);
        if (!err) {
            bind_u64(s->st[ST_LOG_TRIM], 1, b->base_index);
            err = step_done(s, s->st[ST_LOG_TRIM], e);
        }
        if (err)
            return err;
        s->base_chain = chain;
        s->base_index = b->base_index;
        s->base_term = b->base_term;
    }
    s->base_config.len = 0;
    config_encode(&b->base_config, &s->base_config);
    return 0;
}

static int write_state(struct store *s, const struct db_batch *b, struct error *e)
{
    if (b->term < s->term || (!b->replace && b->applied_index < s->applied_index))
        return error_set(e, ERR_FAILED, "refused to go back to term %llu, applied %llu", (unsigned long long)b->term,
                         (unsigned long long)b->applied_index);
    s->term = b->term;
    s->voted_for = b->voted_for;
    s->witness = b->witness;
    s->witness_sequence = b->witness_sequence;
    s->commit_index = b->commit_index;
    if (b->replace || b->applied_index != s->applied_index)
        s->digest = b->digest;
    s->applied_index = b->applied_index;
    sqlite3_stmt *st = s->st[ST_STATE_PUT];
    bind_u64(st, 1, s->term);
    bind_blob(st, 2, s->voted_for.b, sizeof(s->voted_for.b));
    bind_u64(st, 3, s->commit_index);
    bind_u64(st, 4, s->applied_index);
    bind_u64(st, 5, s->base_index);
    bind_u64(st, 6, s->base_term);
    bind_blob(st, 7, s->base_chain.b, sizeof(s->base_chain.b));
    bind_blob(st, 8, s->base_config.p, s->base_config.len);
    bind_blob(st, 9, s->digest.b, sizeof(s->digest.b));
    bind_blob(st, 10, s->witness.b, sizeof(s->witness.b));
    bind_u64(st, 11, s->witness_sequence);
    bind_u64(st, 12, b->is_prevented);
    return step_done(s, st, e);
}

static int write_batch(struct store *s, const struct db_batch *b, struct error *e)
{
    if (b->seq != s->seq + 1)
        return error_set(e, ERR_FAILED, "refused to write batch %llu after %llu", (unsigned long long)b->seq,
                         (unsigned long long)s->seq);
    s->seq = b->seq;
    int err = b->replace ? write_replace(s, b, e) : 0;
    if (!err && !b->replace && b->truncate_from)
        err = write_truncate(s, b, e);
    for (size_t i = 0; !err && i < b->n_entries; i++)
        err = write_entry(s, &b->entries[i], e);
    for (size_t i = 0; !err && i < b->rows.n; i++)
        err = write_row(s, &b->rows.rows[i], e);
    if (!err)
        err = write_base(s, b, e);
    return err ? err : write_state(s, b, e);
}

/* SQLite's automatic checkpoint keeps its errors to itself; and a new WAL has a name in the folder only when that was
 * synced, whose failure SQLite ignores. */
static int after_commit(struct store *s, struct error *e)
{
    bool first = !s->committed;
    s->committed = true;
    if (s->wal_pages >= CHECKPOINT_PAGES) {
        s->wal_pages = 0;
        if (sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL) != SQLITE_OK)
            return sql_error(s, e, "checkpoint");
    }
    return first ? sync_dir(s, e) : 0;
}

/* What a later epoch replaces was committed by others, and is in no other place any more: a copy of the file stays. A
 * second try finds what the first one left, and writes over it. */
int store_keep(struct store *s, const char *suffix, struct error *e)
{
    char path[PATH_MAX];
    sibling(s, suffix, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return io_error(e, "write", path);
    sqlite3_stmt *st = NULL;
    int err = 0;
    if (sqlite3_prepare_v2(s->db, "VACUUM INTO ?", -1, &st, NULL) != SQLITE_OK ||
        sqlite3_bind_text(st, 1, path, -1, SQLITE_STATIC) != SQLITE_OK || sqlite3_step(st) != SQLITE_DONE)
        err = sql_error(s, e, "copy");
    sqlite3_finalize(st);
    if (!err && fsync(fd) != 0)
        err = io_error(e, "sync", path);
    close(fd);
    return err ? err : sync_dir(s, e);
}

static int keep_copies(struct store *s, struct db_batch *const *batches, size_t n, struct error *e)
{
    int err = 0;
    for (size_t i = 0; !err && i < n; i++) {
        if (!batches[i]->replace || s->last_index == 0 || db_epoch_of(batches[i]->term) <= db_epoch_of(s->term))
            continue;
        char suffix[48];
        snprintf(suffix, sizeof(suffix), ".before-epoch-%llu", (unsigned long long)db_epoch_number(batches[i]->term));
        err = store_keep(s, suffix, e);
    }
    return err;
}

int store_write(struct store *s, struct db_batch *const *batches, size_t n, struct error *e)
{
    int err = s->db ? 0 : create(s, e);
    if (!err)
        err = keep_copies(s, batches, n, e);
    if (!err)
        err = run(s, "BEGIN IMMEDIATE", e);
    for (size_t i = 0; !err && i < n; i++)
        err = write_batch(s, batches[i], e);
    if (!err)
        err = run(s, "COMMIT", e);
    return err ? err : after_commit(s, e);
}
