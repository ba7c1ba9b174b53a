/* SPDX-License-Identifier: GPL-2.0-or-later */
/* agent/io/store on a real file: what was written comes back, also after a kill; what is damaged is refused. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/io/store.h"

struct disk {
    char dir[64];
    char path[96];
    struct identity id;
};

static int setup(void **state)
{
    struct disk *d = xcalloc(1, sizeof(*d));
    STR_COPY(d->dir, "/tmp/ringmaster-test-XXXXXX");
    assert_non_null(mkdtemp(d->dir));
    snprintf(d->path, sizeof(d->path), "%s/db.sqlite", d->dir);
    d->id.cluster.b[0] = 1;
    d->id.replica.b[0] = 2;
    *state = d;
    return 0;
}

static int teardown(void **state)
{
    static const char *const names[] = {"", "-wal", "-shm", ".old", ".old-wal", ".replica", ".replica.new",
                                        ".before-epoch-2"};
    struct disk *d = *state;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        char path[128];
        snprintf(path, sizeof(path), "%s%s", d->path, names[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(d->dir), 0); /* nothing else was left there */
    free(d);
    return 0;
}

static struct store *must_open(const struct disk *d, struct db_image *ret)
{
    struct store *s = NULL;
    struct error e = {0};
    *ret = (struct db_image){0};
    if (store_open(d->path, &d->id, &s, ret, &e) != 0)
        fail_msg("%s", e.text);
    return s;
}

static void refuses(const struct disk *d, const char *why)
{
    struct store *s = NULL;
    struct db_image image = {0};
    struct error e = {0};
    assert_int_equal(store_open(d->path, &d->id, &s, &image, &e), ERR_CONDITION);
    assert_null(s);
    assert_null(image.tables);
    if (!strstr(e.text, why) || !strstr(e.text, d->path))
        fail_msg("\"%s\" does not say \"%s\"", e.text, why);
}

static struct slice bytes(const char *s)
{
    return (struct slice){(const uint8_t *)s, strlen(s)};
}

static struct db_batch *batch(uint64_t seq, uint64_t term)
{
    struct db_batch *b = xcalloc(1, sizeof(*b));
    b->seq = seq;
    b->term = term;
    b->base_config = (struct db_config){.replicas = {{.id = {{2}}, .nodeid = 7, .weight = 1}}, .n = 1};
    return b;
}

static void add_entry(struct db_batch *b, uint64_t index, const char *payload)
{
    b->entries = xrealloc(b->entries, b->n_entries + 1, sizeof(*b->entries));
    struct entry *e = &b->entries[b->n_entries++];
    *e = (struct entry){.term = b->term, .index = index, .kind = ENTRY_SETTING_PUT, .level = 1, .time_ms = -5};
    e->request_id.b[15] = (uint8_t)index;
    e->payload = (struct slice){xmemdup(payload, strlen(payload)), strlen(payload)};
}

/* Rows by way of the real container: what it calls a change is what the store is given. */
static void take_rows(struct db_batch *b, struct tables *t, uint64_t applied)
{
    tables_take_changes(t, &b->rows);
    b->digest = tables_hash(t);
    b->applied_index = b->commit_index = applied;
}

static void must_write(struct store *s, struct db_batch *b)
{
    struct error e = {0};
    if (store_write(s, &b, 1, &e) != 0)
        fail_msg("%s", e.text);
    db_batch_free(b);
}

/* Entries 1…3 and three rows. */
static struct tables *fill(struct store *s)
{
    struct tables *t = tables_new();
    struct db_batch *b = batch(1, 3);
    b->voted_for.b[0] = 2;
    add_entry(b, 1, "one");
    add_entry(b, 2, "two");
    add_entry(b, 3, "");
    tables_put(t, TABLE_SETTING, "a", bytes("first"));
    tables_put(t, TABLE_SETTING, "b", bytes("second"));
    tables_put(t, TABLE_VM, "b", bytes("third"));
    take_rows(b, t, 2);
    must_write(s, b);
    return t;
}

static void same_tables(const struct tables *a, const struct tables *b)
{
    struct hash x = tables_hash(a), y = tables_hash(b);
    assert_true(hash_eq(&x, &y));
}

static void test_opening_makes_no_file(void **state)
{
    struct disk *d = *state;
    struct db_image image;
    struct store *s = must_open(d, &image);
    assert_null(image.tables);
    assert_int_equal(image.term, 0);
    store_close(s);
    assert_int_not_equal(access(d->path, F_OK), 0);
}

static void test_round_trip(void **state)
{
    struct disk *d = *state;
    struct db_image image;
    struct store *s = must_open(d, &image);
    struct tables *t = fill(s);
    struct db_batch *b = batch(2, 4);
    tables_put(t, TABLE_SETTING, "a", bytes("changed"));
    tables_del(t, TABLE_SETTING, "b");
    add_entry(b, 4, "four");
    take_rows(b, t, 4);
    must_write(s, b);
    store_close(s);

    struct stat st;
    assert_int_equal(stat(d->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);

    s = must_open(d, &image);
    assert_int_equal(image.term, 4);
    assert_true(uuid_is_nil(&image.voted_for));
    assert_int_equal(image.commit_index, 4);
    assert_int_equal(image.applied_index, 4);
    assert_int_equal(image.base_config.n, 1);
    assert_int_equal(image.base_config.replicas[0].nodeid, 7);
    assert_int_equal(image.n_entries, 4);
    assert_int_equal(image.entries[0].term, 3);
    assert_int_equal(image.entries[1].payload.len, 3);
    assert_memory_equal(image.entries[1].payload.p, "two", 3);
    assert_int_equal(image.entries[2].payload.len, 0);
    assert_int_equal(image.entries[3].index, 4);
    assert_int_equal(image.entries[3].term, 4);
    assert_int_equal(image.entries[3].time_ms, -5);
    assert_int_equal(image.entries[3].request_id.b[15], 4);
    same_tables(image.tables, t);
    struct table_changes none;
    tables_take_changes(image.tables, &none);
    assert_int_equal(none.n, 0); /* what is on disk is no change */
    table_changes_free(&none);
    db_image_done(&image);
    store_close(s);
    tables_free(t);
}

static void test_truncate_and_trim(void **state)
{
    struct disk *d = *state;
    struct db_image image;
    struct store *s = must_open(d, &image);
    struct tables *t = fill(s);
    struct db_batch *b = batch(2, 5);
    b->applied_index = 2;
    b->truncate_from = 3; /* another leader's entry takes its place */
    add_entry(b, 3, "new three");
    add_entry(b, 4, "new four");
    must_write(s, b);
    b = batch(3, 5);
    b->applied_index = 2;
    b->base_index = 2;
    b->base_term = 3;
    b->base_config.witness_weight = 1;
    b->base_config.witness = (struct uuid){{3}};
    b->witness = (struct uuid){{3}};
    b->witness_sequence = 77;
    must_write(s, b);
    store_close(s);

    s = must_open(d, &image);
    assert_int_equal(image.base_index, 2);
    assert_int_equal(image.base_term, 3);
    assert_int_equal(image.base_config.witness_weight, 1);
    assert_int_equal(image.base_config.witness.b[0], 3);
    assert_int_equal(image.witness.b[0], 3);
    assert_int_equal(image.witness_sequence, 77);
    assert_int_equal(image.n_entries, 2);
    assert_int_equal(image.entries[0].index, 3);
    assert_memory_equal(image.entries[0].payload.p, "new three", 9);
    same_tables(image.tables, t);
    db_image_done(&image);

    b = batch(1, 5); /* a new run counts its batches anew, and goes on after entry 4 */
    b->applied_index = 2;
    b->base_index = 2;
    add_entry(b, 5, "five");
    must_write(s, b);
    store_close(s);
    s = must_open(d, &image);
    assert_int_equal(image.n_entries, 3);
    db_image_done(&image);
    store_close(s);
    tables_free(t);
}

static void test_replace(void **state)
{
    struct disk *d = *state;
    struct db_image image;
    struct store *s = must_open(d, &image);
    tables_free(fill(s));
    struct tables *t = tables_new();
    tables_put(t, TABLE_NODE, "n1", bytes("x"));
    struct db_batch *b = batch(2, 9);
    b->replace = true;
    b->base_index = 100;
    b->base_term = 8;
    take_rows(b, t, 100);
    add_entry(b, 101, "after the snapshot");
    must_write(s, b);
    store_close(s);
    s = must_open(d, &image);
    assert_int_equal(image.base_index, 100);
    assert_int_equal(image.base_term, 8);
    assert_int_equal(image.applied_index, 100);
    assert_int_equal(image.n_entries, 1);
    assert_int_equal(image.entries[0].index, 101);
    same_tables(image.tables, t);
    db_image_done(&image);
    store_close(s);
    tables_free(t);
}

/* What a later epoch replaces stays as a copy; what the same one does, does not. */
static void test_later_epoch_keeps_a_copy(void **state)
{
    struct disk *d = *state;
    struct db_image image;
    struct store *s = must_open(d, &image);
    struct tables *before = fill(s), *t = tables_new();
    char copy[128];
    struct stat st;
    snprintf(copy, sizeof(copy), "%s.before-epoch-2", d->path);
    tables_put(t, TABLE_NODE, "n1", bytes("x"));
    struct db_batch *b = batch(2, 9);
    b->replace = true;
    b->base_index = 100;
    b->base_term = 8;
    take_rows(b, t, 100);
    must_write(s, b);
    assert_int_not_equal(stat(copy, &st), 0);
    b = batch(3, (2 * DB_FORCERS + 7) * DB_EPOCH_TERMS + 4);
    b->replace = true;
    b->base_index = 50; /* it may have less */
    b->base_term = b->term;
    tables_put(t, TABLE_NODE, "n1", bytes("y"));
    take_rows(b, t, 50);
    b->is_prevented = true;
    must_write(s, b);
    store_close(s);
    assert_int_equal(stat(copy, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    s = must_open(d, &image);
    assert_int_equal(db_epoch_number(image.term), 2);
    assert_int_equal(image.applied_index, 50);
    assert_true(image.is_prevented);
    db_image_done(&image);
    store_close(s);
    assert_int_equal(rename(copy, d->path), 0);
    s = must_open(d, &image);
    assert_int_equal(image.term, 9);
    assert_int_equal(image.applied_index, 100);
    assert_false(image.is_prevented);
    db_image_done(&image);
    store_close(s);
    tables_free(t);
    tables_free(before);
}

static void test_two_batches_one_transaction(void **state)
{
    struct disk *d = *state;
    struct db_image image;
    struct store *s = must_open(d, &image);
    struct db_batch *b[2] = {batch(1, 1), batch(2, 2)};
    add_entry(b[0], 1, "one");
    add_entry(b[1], 2, "two");
    assert_int_equal(store_write(s, b, 2, NULL), 0);
    db_batch_free(b[0]);
    db_batch_free(b[1]);
    store_close(s);
    s = must_open(d, &image);
    assert_int_equal(image.n_entries, 2);
    assert_int_equal(image.term, 2);
    db_image_done(&image);
    store_close(s);
}

static void wrong(struct store *s, struct db_batch *b)
{
    struct error e = {0};
    assert_int_equal(store_write(s, &b, 1, &e), ERR_FAILED);
    db_batch_free(b);
}

static void test_what_contradicts_is_refused(void **state)
{
    struct disk *d = *state;
    struct db_image image;
    struct db_batch *b;
    for (int i = 0; i < 4; i++) {
        struct store *s = must_open(d, &image);
        if (i == 0)
            tables_free(fill(s));
        switch (i) {
        case 0: b = batch(3, 3); break; /* batch 2 is missing */
        case 1:
            b = batch(1, 2);
            b->applied_index = 2;
            break; /* the term falls */
        case 2:
            b = batch(1, 3);
            b->applied_index = 2;
            add_entry(b, 5, "gap");
            break;
        default:
            b = batch(1, 3);
            b->applied_index = 2;
            b->truncate_from = 2;
            break; /* it is applied */
        }
        wrong(s, b);
        store_close(s);
        db_image_done(&image);
    }
    struct store *s = must_open(d, &image); /* and nothing of it is in the file */
    assert_int_equal(image.n_entries, 3);
    assert_int_equal(image.term, 3);
    db_image_done(&image);
    store_close(s);
}

/* What a child process was told to be on disk is there when it is killed at any moment. */
static void test_kill(void **state)
{
    struct disk *d = *state;
    struct db_image image;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct store *s = must_open(d, &image);
        for (uint64_t i = 1;; i++) {
            struct db_batch *b = batch(i, 1);
            add_entry(b, i, "x");
            must_write(s, b);
            if (write(fds[1], &i, sizeof(i)) != sizeof(i))
                _exit(1);
        }
    }
    close(fds[1]);
    uint64_t acknowledged = 0;
    while (acknowledged < 50)
        assert_int_equal(read(fds[0], &acknowledged, sizeof(acknowledged)), sizeof(acknowledged));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    for (uint64_t n; read(fds[0], &n, sizeof(n)) == sizeof(n);)
        acknowledged = n;
    close(fds[0]);
    struct store *s = must_open(d, &image);
    assert_true(image.n_entries == acknowledged || image.n_entries == acknowledged + 1);
    db_image_done(&image);
    store_close(s);
}

static void sql(const struct disk *d, const char *text)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(d->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void made(const struct disk *d)
{
    struct db_image image;
    struct store *s = must_open(d, &image);
    tables_free(fill(s));
    store_close(s);
}

static void test_changed_row(void **state)
{
    made(*state);
    sql(*state, "UPDATE row SET value = x'41' WHERE key = 'a'");
    refuses(*state, "damaged");
}

static void test_missing_row(void **state)
{
    made(*state);
    sql(*state, "DELETE FROM row WHERE key = 'a'");
    refuses(*state, "damaged");
}

static void test_changed_entry(void **state)
{
    made(*state);
    sql(*state, "UPDATE log SET payload = x'41' WHERE idx = 2");
    refuses(*state, "damaged");
}

static void test_missing_entry(void **state)
{
    made(*state);
    sql(*state, "DELETE FROM log WHERE idx = 2");
    refuses(*state, "damaged");
}

static void test_entry_cut_off_below_applied(void **state)
{
    made(*state);
    sql(*state, "DELETE FROM log WHERE idx >= 2");
    refuses(*state, "damaged");
}

static void test_scribbled_file(void **state)
{
    struct disk *d = *state;
    made(d);
    int fd = open(d->path, O_WRONLY);
    char junk[8192];
    memset(junk, 'x', sizeof(junk));
    assert_int_equal(pwrite(fd, junk, sizeof(junk), 0), sizeof(junk));
    close(fd);
    refuses(d, "damaged");
}

static void test_other_version(void **state)
{
    made(*state);
    sql(*state, "PRAGMA user_version = 2");
    refuses(*state, "has format 2, this agent knows format 1");
}

static void test_other_program(void **state)
{
    made(*state);
    sql(*state, "PRAGMA application_id = 1");
    refuses(*state, "not a database of Ringmaster");
}

static void test_lost_file(void **state)
{
    struct disk *d = *state;
    made(d);
    assert_int_equal(unlink(d->path), 0);
    refuses(d, "is gone");
}

static void test_one_user(void **state)
{
    struct disk *d = *state;
    made(d);
    struct db_image image;
    struct store *s = must_open(d, &image);
    refuses(d, "in use");
    db_image_done(&image);
    store_close(s);
}

static void test_file_of_an_earlier_replica_is_set_aside(void **state)
{
    struct disk *d = *state;
    made(d);
    d->id.replica.b[0] = 3;
    struct db_image image;
    struct store *s = must_open(d, &image);
    assert_null(image.tables);
    assert_int_equal(image.term, 0);
    struct db_batch *b = batch(1, 1);
    add_entry(b, 1, "new life");
    must_write(s, b);
    store_close(s);
    s = must_open(d, &image);
    assert_int_equal(image.n_entries, 1);
    db_image_done(&image);
    store_close(s);
    d->id.replica.b[0] = 2; /* and the earlier one does not come back */
    s = NULL;
    struct error e = {0};
    assert_int_equal(store_open(d->path, &d->id, &s, &image, &e), 0);
    assert_int_equal(image.n_entries, 0);
    store_close(s);
}

static void test_unfinished_creation(void **state)
{
    struct disk *d = *state;
    close(open(d->path, O_CREAT | O_WRONLY, 0600)); /* killed before the first transaction */
    struct db_image image;
    struct store *s = must_open(d, &image);
    assert_null(image.tables);
    tables_free(fill(s));
    store_close(s);
    s = must_open(d, &image);
    assert_int_equal(image.n_entries, 3);
    db_image_done(&image);
    store_close(s);
}

#define UNIT(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT(test_opening_makes_no_file),
        UNIT(test_round_trip),
        UNIT(test_truncate_and_trim),
        UNIT(test_replace),
        UNIT(test_later_epoch_keeps_a_copy),
        UNIT(test_later_epoch_keeps_a_copy),
        UNIT(test_two_batches_one_transaction),
        UNIT(test_what_contradicts_is_refused),
        UNIT(test_kill),
        UNIT(test_changed_row),
        UNIT(test_missing_row),
        UNIT(test_changed_entry),
        UNIT(test_missing_entry),
        UNIT(test_entry_cut_off_below_applied),
        UNIT(test_scribbled_file),
        UNIT(test_other_version),
        UNIT(test_other_program),
        UNIT(test_lost_file),
        UNIT(test_one_user),
        UNIT(test_file_of_an_earlier_replica_is_set_aside),
        UNIT(test_unfinished_creation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
