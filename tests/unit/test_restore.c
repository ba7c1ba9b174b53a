/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The way back from a raise, on a real file: a database copy becomes the database, on the replicas that it knows alone;
 * and the copies' own files. */
#include "tests/unit/one_core.h"
#include "tests/unit/tempdir.h"

#include "agent/io/copies.h"
#include "agent/io/files.h"
#include "agent/io/paths.h"
#include "agent/io/store.h"

enum { RAISED_AT = 77, GONE_ON_TO = 500, TERM = 9 };

struct disk {
    struct tempdir dir;
    struct temppath db;
    struct one *o; /* whose state was copied */
    struct identity id;
    struct buf copy;
};

static void level_entry_apply(struct tables *t, enum level_verb verb, uint64_t index)
{
    AUTO(buf_done) struct buf b = {0};
    struct level_request q = {.verb = verb, .level = 2, .node = "n1"};
    struct apply_result result;
    level_entry(&q, &b);
    struct entry e = {.index = index, .kind = ENTRY_LEVEL, .time_ms = 1764500000000, .payload = buf_slice(&b)};
    e.request_id.b[0] = 8;
    level_apply(t, &e, &result);
    assert_int_equal(result.error.code, 0);
}

static void put_vm(struct tables *t, enum vm_op op)
{
    struct vm v = {.name = "vm1", .node = "n1", .home = "n1", .state = VM_RUNNING, .wanted = true, .epoch = 3,
                   .op = op, .memory_kib = 1, .vcpus = 1};
    AUTO(buf_done) struct buf b = {0};
    if (op != VM_OP_NONE)
        v.op_id = one_uuid(77);
    vm_encode(&v, &b);
    tables_put(t, TABLE_VM, v.name, buf_slice(&b));
}

static struct tables *copy_of(const struct tables *from)
{
    AUTO(buf_done) struct buf b = {0};
    struct tables *t;
    tables_encode(from, &b);
    struct wire_reader r = wire_reader(buf_slice(&b));
    assert_int_equal(tables_decode(&r, &t), 0);
    return t;
}

/* As of a raise that waits for its copies, while a VM moves. */
static void make_copy(struct disk *d)
{
    struct tables *t = copy_of(core_tables(d->o->core));
    level_member_set(t, "n1", (struct level_range){1, 2}, 1);
    level_entry_apply(t, LEVEL_FENCE, RAISED_AT - 2);
    level_entry_apply(t, LEVEL_ACK, RAISED_AT - 1);
    level_entry_apply(t, LEVEL_COPY, RAISED_AT);
    put_vm(t, VM_OP_MIGRATE);
    const struct entry e = {.index = RAISED_AT, .term = TERM - 1};
    buf_done(&d->copy);
    core_copy_encode(core_db(d->o->core), t, &e, &d->copy);
    tables_free(t);
}

/* What the cluster went on to: level 2, and a setting. */
static void go_on(struct disk *d, uint64_t term)
{
    struct store *s;
    struct db_image image;
    struct error e = {0};
    assert_int_equal(store_open(d->db.s, &d->id, &s, &image, &e), 0);
    db_image_done(&image);
    struct db_batch *b = xcalloc(1, sizeof(*b));
    *b = (struct db_batch){.seq = 1, .replace = true, .term = term, .voted_for = one_uuid(5), .base_term = term,
                           .commit_index = GONE_ON_TO, .applied_index = GONE_ON_TO, .base_index = GONE_ON_TO};
    b->base_config = *db_configuration(core_db(d->o->core));
    struct tables *t = tables_new();
    level_init(t, 2, NULL);
    tables_put(t, TABLE_SETTING, "later", (struct slice){(const uint8_t *)"x", 1});
    tables_take_changes(t, &b->rows);
    b->digest = tables_hash(t);
    tables_free(t);
    assert_int_equal(store_write(s, &b, 1, &e), 0);
    db_batch_free(b);
    store_close(s);
}

/* As ringmasterd --restore. */
static int restore(struct disk *d, struct error *e)
{
    struct store *s;
    struct db_image image;
    struct db_batch *b = NULL;
    *e = (struct error){0};
    assert_int_equal(store_open(d->db.s, &d->id, &s, &image, e), 0);
    int err = core_restore(&image, &d->id, buf_slice(&d->copy), &b, e);
    if (!err) {
        assert_int_equal(store_keep(s, ".before-restore", e), 0);
        assert_int_equal(store_write(s, &b, 1, e), 0);
    }
    db_batch_free(b);
    db_image_done(&image);
    store_close(s);
    return err;
}

static struct db_image load(const struct disk *d, const char *suffix)
{
    struct store *s;
    struct db_image image;
    struct error e = {0};
    char path[600];
    snprintf(path, sizeof(path), "%s%s", d->db.s, suffix);
    if (store_open(path, &d->id, &s, &image, &e))
        fail_msg("%s: %s", path, e.text);
    store_close(s);
    return image;
}

static int setup(void **state)
{
    struct disk *d = xcalloc(1, sizeof(*d));
    d->dir = tempdir_make();
    d->db = tempdir_path(&d->dir, "/db.sqlite");
    d->o = one_bootstrapped();
    d->id = one_identity();
    make_copy(d);
    go_on(d, TERM);
    *state = d;
    return 0;
}

static int teardown(void **state)
{
    struct disk *d = *state;
    one_free(d->o);
    buf_done(&d->copy);
    tempdir_done(&d->dir);
    free(d);
    return 0;
}

static void assert_back(const struct disk *d)
{
    struct level_state l;
    struct vm v;
    struct db_image image = load(d, "");
    assert_int_equal(image.applied_index, RAISED_AT);
    assert_int_equal(image.commit_index, RAISED_AT);
    assert_int_equal(image.base_index, RAISED_AT);
    assert_int_equal(image.base_term, TERM - 1);
    assert_int_equal(image.n_entries, 0);
    assert_int_equal(image.term, TERM); /* no vote is given twice */
    struct uuid voted_for = one_uuid(5);
    assert_true(uuid_eq(&image.voted_for, &voted_for));
    assert_int_equal(level_get(image.tables, &l), 0);
    assert_int_equal(l.fl, 1);
    assert_int_equal(l.fence, 0);
    assert_false(tables_has(image.tables, TABLE_SETTING, "later"));
    assert_int_equal(vm_get(image.tables, "vm1", &v), 0);
    assert_int_equal(v.state, VM_STOPPED); /* until it is found running */
    assert_int_equal(v.op, VM_OP_NONE);
    assert_false(v.wanted);
    assert_int_equal(v.epoch, 4);
    db_image_done(&image);
}

static void test_back(void **state)
{
    struct disk *d = *state;
    struct error e;
    assert_int_equal(restore(d, &e), 0);
    assert_back(d);
    struct db_image before = load(d, ".before-restore");
    assert_int_equal(before.applied_index, GONE_ON_TO);
    assert_true(tables_has(before.tables, TABLE_SETTING, "later"));
    db_image_done(&before);
    assert_int_equal(restore(d, &e), 0); /* once more is the same */
    assert_back(d);
}

/* The bytes are the same on all nodes, and so is what each makes of them. */
static void test_every_node_comes_to_the_same(void **state)
{
    struct disk *d = *state;
    struct error e;
    assert_int_equal(restore(d, &e), 0);
    struct db_image first = load(d, "");
    go_on(d, TERM + 3); /* another node, in its own term */
    assert_int_equal(restore(d, &e), 0);
    struct db_image second = load(d, "");
    struct hash a = tables_hash(first.tables), b = tables_hash(second.tables);
    assert_true(hash_eq(&a, &b));
    db_image_done(&first);
    db_image_done(&second);
}

static void refuse(struct disk *d, int code, const char *why)
{
    struct error e;
    assert_int_equal(restore(d, &e), code);
    if (!strstr(e.text, why))
        fail_msg("\"%s\" does not say \"%s\"", e.text, why);
    struct db_image image = load(d, "");
    assert_int_equal(image.applied_index, GONE_ON_TO);
    db_image_done(&image);
}

static void test_refused(void **state)
{
    struct disk *d = *state;
    for (size_t i = 0; i < d->copy.len; i += 1 + d->copy.len / 50) {
        d->copy.p[i] ^= 0x40;
        struct error e;
        assert_int_not_equal(restore(d, &e), 0);
        d->copy.p[i] ^= 0x40;
    }
    d->copy.len--;
    refuse(d, ERR_MALFORMED, "damaged");
    d->copy.len = HASH_SIZE;
    refuse(d, ERR_MALFORMED, "damaged");
    make_copy(d);
    go_on(d, DB_EPOCH_TERMS * DB_FORCERS + 1);
    refuse(d, ERR_CONDITION, "quorum was forced");
}

static void test_refused_to_a_later_member(void **state)
{
    struct disk *d = *state;
    struct store *s;
    struct db_image image;
    struct db_batch *b = NULL;
    struct error e = {0};
    d->id.replica = one_uuid(3333);
    d->db = tempdir_path(&d->dir, "/other.sqlite");
    assert_int_equal(store_open(d->db.s, &d->id, &s, &image, &e), 0);
    assert_int_equal(core_restore(&image, &d->id, buf_slice(&d->copy), &b, &e), ERR_CONDITION);
    assert_non_null(strstr(e.text, "was no member yet"));
    assert_null(b);
    store_close(s);
}

/* ---- the files ---- */

static void keep(const struct disk *d, const char *name)
{
    struct error e = {0};
    if (copy_keep(d->dir.path, name, buf_slice(&d->copy), &e))
        fail_msg("%s: %s", name, e.text);
}

static bool is_there(const struct disk *d, const char *name)
{
    struct temppath folder = tempdir_path(&d->dir, RINGMASTER_STATE_DIR);
    char path[600];
    snprintf(path, sizeof(path), "%s/%s", folder.s, name);
    return access(path, F_OK) == 0;
}

static void test_the_newest_are_kept(void **state)
{
    struct disk *d = *state;
    struct error e = {0};
    struct buf read = {0};
    assert_int_equal(file_install(d->dir.path, RINGMASTER_STATE_DIR "/db.sqlite", (struct slice){0},
                                  (struct file_mode){.mode = 0600}, &e), 0);
    keep(d, "before-level-10.20250101T000000Z"); /* by time, not by level */
    keep(d, "before-level-2.20260101T000000Z");
    keep(d, "before-level-2.20260201T000000Z");
    assert_true(is_there(d, "before-level-10.20250101T000000Z"));
    keep(d, "before-level-3.20260301T000000Z");
    keep(d, "before-level-3.20260301T000000Z");
    assert_false(is_there(d, "before-level-10.20250101T000000Z"));
    assert_true(is_there(d, "before-level-2.20260101T000000Z"));
    assert_true(is_there(d, "db.sqlite"));
    assert_int_equal(tempdir_mode(&d->dir, RINGMASTER_STATE_DIR "/before-level-3.20260301T000000Z"), 0600);
    assert_int_equal(copy_read(d->dir.path, "before-level-3.20260301T000000Z", &read, &e), 0);
    assert_int_equal(read.len, d->copy.len);
    assert_memory_equal(read.p, d->copy.p, read.len);
    buf_done(&read);
}

static void test_a_copy_that_others_may_read(void **state)
{
    struct disk *d = *state;
    struct error e = {0};
    struct buf read = {0};
    keep(d, "before-level-2.20260101T000000Z");
    struct temppath path = tempdir_path(&d->dir, RINGMASTER_STATE_DIR "/before-level-2.20260101T000000Z");
    assert_int_equal(chmod(path.s, 0644), 0);
    assert_int_equal(copy_read(d->dir.path, "before-level-2.20260101T000000Z", &read, &e), ERR_CONDITION);
    assert_int_equal(copy_read(d->dir.path, "before-level-9.20260101T000000Z", &read, &e), ERR_NOT_FOUND);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_back),
        TEST(test_every_node_comes_to_the_same),
        TEST(test_refused),
        TEST(test_refused_to_a_later_member),
        TEST(test_the_newest_are_kept),
        TEST(test_a_copy_that_others_may_read),
    };
    return cmocka_run_group_tests_name("restore", tests, NULL, NULL);
}
