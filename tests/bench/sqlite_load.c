/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the disk gives to SQLite alone, with the durability of the agent's store: journal_mode=WAL, synchronous=FULL,
 * one commit for a write.
 *
 *     sqlite-load FILE SECONDS BYTES
 *
 * FILE is made anew. */
#include <sqlite3.h>
#include <unistd.h>

#include "tests/bench/load.h"

static _Noreturn void die(sqlite3 *db)
{
    load_print(0, 1, 0, sqlite3_errmsg(db));
    exit(1);
}

static void run(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        die(db);
}

static void put(sqlite3 *db, sqlite3_stmt *st, uint64_t number, size_t bytes)
{
    char key[32], value[LOAD_BYTES_MAX + 1];
    snprintf(key, sizeof(key), "bench.%02u", (unsigned)(number % LOAD_KEYS));
    load_value(value, bytes, number);
    sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 2, value, (int)bytes, SQLITE_STATIC);
    if (sqlite3_step(st) != SQLITE_DONE) /* outside of a transaction: a commit of its own */
        die(db);
    sqlite3_reset(st);
}

int main(int argc, char **argv)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    if (argc != 4) {
        fputs("usage: sqlite-load FILE SECONDS BYTES\n", stderr);
        return 64;
    }
    int64_t seconds = load_number(argv[2], 1, 600);
    size_t bytes = (size_t)load_number(argv[3], 32, LOAD_BYTES_MAX);
    unlink(argv[1]);
    if (sqlite3_open(argv[1], &db) != SQLITE_OK)
        die(db);
    run(db, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
            "CREATE TABLE row (key TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;");
    if (sqlite3_prepare_v2(db, "INSERT OR REPLACE INTO row (key, value) VALUES (?, ?)", -1, &st, NULL) != SQLITE_OK)
        die(db);
    uint64_t n = 0;
    int64_t began_us = load_now_us();
    while (load_now_us() - began_us < seconds * 1000000)
        put(db, st, n++, bytes);
    load_print(n, 0, load_now_us() - began_us, "");
    sqlite3_finalize(st);
    sqlite3_close(db);
    return 0;
}
