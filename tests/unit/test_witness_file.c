/* SPDX-License-Identifier: GPL-2.0-or-later */
/* witness/io/file on a folder: one write comes first, nothing is put over a record, a server that hangs or fails.
 * System calls of the adapter's thread are met here, where they can be held or made to fail, as those of a share may.
 */
#include "tests/unit/witness_world.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "tests/unit/tempdir.h"
#include "witness/io/file.h"

enum { SHORT_MS = 200 };

#define NAME "c1c1c1c1-c1c1-c1c1-c1c1-c1c1c1c1c1c1"

/* ---- system calls that can be held, once, or fail, once */

enum trick { NO_TRICK, HOLD, FAIL_BEFORE, FAIL_AFTER };

struct trap {
    enum trick trick; /* of the next call; it is NO_TRICK then */
    int error;
    bool holds; /* somebody is in it */
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct trap statx, create, link;
} traps = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static struct trap trap_enter(struct trap *t)
{
    pthread_mutex_lock(&traps.lock);
    struct trap was = *t;
    t->trick = NO_TRICK;
    if (was.trick == HOLD) {
        t->holds = true;
        pthread_cond_broadcast(&traps.changed);
        while (t->holds)
            pthread_cond_wait(&traps.changed, &traps.lock);
    }
    pthread_mutex_unlock(&traps.lock);
    return was;
}

static long trapped(struct trap *t, long (*perform)(void *ctx), void *ctx)
{
    struct trap was = trap_enter(t);
    if (was.trick == FAIL_BEFORE) {
        errno = was.error;
        return -1;
    }
    long ret = perform(ctx);
    if (was.trick == FAIL_AFTER) {
        errno = was.error;
        return -1;
    }
    return ret;
}

static void set_trap(struct trap *t, enum trick trick, int error)
{
    pthread_mutex_lock(&traps.lock);
    *t = (struct trap){.trick = trick, .error = error};
    pthread_mutex_unlock(&traps.lock);
}

static bool is_held(struct trap *t)
{
    pthread_mutex_lock(&traps.lock);
    bool held = t->holds;
    pthread_mutex_unlock(&traps.lock);
    return held;
}

static void release(struct trap *t)
{
    pthread_mutex_lock(&traps.lock);
    t->holds = false;
    pthread_cond_broadcast(&traps.changed);
    pthread_mutex_unlock(&traps.lock);
}

struct statx_call {
    int dir, flags;
    const char *path;
    unsigned mask;
    struct statx *ret;
};

static long do_statx(void *ctx)
{
    const struct statx_call *c = ctx;
    return syscall(SYS_statx, c->dir, c->path, c->flags, c->mask, c->ret);
}

int statx(int dir, const char *restrict path, int flags, unsigned mask, struct statx *restrict ret)
{
    struct statx_call c = {dir, flags, path, mask, ret};
    return (int)trapped(&traps.statx, do_statx, &c);
}

struct open_call {
    int dir, flags;
    const char *path;
    mode_t mode;
};

static long do_open(void *ctx)
{
    const struct open_call *c = ctx;
    return syscall(SYS_openat, c->dir, c->path, c->flags, c->mode);
}

int openat(int dir, const char *path, int flags, ...)
{
    struct open_call c = {dir, flags, path, 0};
    if (!(flags & O_CREAT))
        return (int)do_open(&c);
    va_list ap;
    va_start(ap, flags);
    c.mode = va_arg(ap, mode_t);
    va_end(ap);
    return (int)trapped(&traps.create, do_open, &c);
}

struct link_call {
    int from_dir, to_dir, flags;
    const char *from, *to;
};

static long do_link(void *ctx)
{
    const struct link_call *c = ctx;
    return syscall(SYS_linkat, c->from_dir, c->from, c->to_dir, c->to, c->flags);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    struct link_call c = {from_dir, to_dir, flags, from, to};
    return (int)trapped(&traps.link, do_link, &c);
}

/* ---- a folder and nodes */

struct scene {
    struct tempdir dir;
    struct world *w;
    struct witness *nodes[4];
};

static struct witness *open_node(struct world *w, const char *dir, bool may_be_local)
{
    struct file_witness_options o = {.dir = dir, .name = NAME, .may_be_local = may_be_local};
    struct witness *witness = NULL;
    struct error e;
    assert_int_equal(file_witness_new(&o, &w->loop, world_completed, w, &witness, &e), 0);
    return witness;
}

static struct scene *scene_new(void)
{
    struct scene *s = xcalloc(1, sizeof(*s));
    s->dir = tempdir_make();
    s->w = world_new();
    for (size_t i = 0; i < 4; i++)
        s->nodes[i] = open_node(s->w, s->dir.path, true);
    return s;
}

static void scene_free(struct scene *s)
{
    for (size_t i = 0; i < 4; i++)
        witness_free(s->nodes[i]);
    world_free(s->w);
    tempdir_done(&s->dir);
    free(s);
}

static bool is_there(const struct scene *s, const char *file)
{
    return access(tempdir_path(&s->dir, file).s, F_OK) == 0;
}

static int n_files(const struct scene *s)
{
    int n = 0;
    DIR *d = opendir(s->dir.path);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static struct witness_etag write_first(struct scene *s)
{
    struct witness_result r = world_create(s->w, s->nodes[0], 1);
    assert_outcome(&r, WITNESS_DONE, WITNESS_CAUSE_NONE);
    assert_record(&r, 1, 1);
    return r.etag;
}

/* ---- a life */

static void test_a_life(void **state)
{
    (void)state;
    struct scene *s = scene_new();
    struct witness *a = s->nodes[0], *b = s->nodes[1];
    struct witness_etag none = {"1-00000000000000000000000000000000"};
    struct witness_result r = world_get(s->w, a);
    assert_outcome(&r, WITNESS_MISSING, WITNESS_CAUSE_BLOB_MISSING);
    r = world_put(s->w, a, 2, 1, &none, LONG_MS);
    assert_outcome(&r, WITNESS_LOST, WITNESS_CAUSE_CHANGED);

    struct witness_etag first = write_first(s);
    r = world_create(s->w, b, 2);
    assert_outcome(&r, WITNESS_EXISTS, WITNESS_CAUSE_BLOB_EXISTS);
    r = world_get(s->w, b);
    assert_outcome(&r, WITNESS_DONE, WITNESS_CAUSE_NONE);
    assert_record(&r, 1, 1);
    assert_string_equal(r.etag.s, first.s);

    r = world_put(s->w, b, 2, 2, &none, LONG_MS); /* of other bytes */
    assert_outcome(&r, WITNESS_LOST, WITNESS_CAUSE_CHANGED);
    r = world_put(s->w, b, 2, 2, &first, LONG_MS);
    assert_outcome(&r, WITNESS_DONE, WITNESS_CAUSE_NONE);
    struct witness_etag second = r.etag;
    r = world_put(s->w, a, 2, 1, &first, LONG_MS);
    assert_outcome(&r, WITNESS_LOST, WITNESS_CAUSE_CHANGED);
    r = world_get(s->w, a);
    assert_record(&r, 2, 2);
    assert_string_equal(r.etag.s, second.s);
    assert_int_equal(n_files(s), 2); /* and nothing beside */
    assert_int_equal(tempdir_mode(&s->dir, "/" NAME ".2"), 0600);
    scene_free(s);
}

static void test_of_many_at_once_one_comes_first(void **state)
{
    (void)state;
    struct scene *s = scene_new();
    struct witness_etag etag = write_first(s);
    for (uint64_t sequence = 2; sequence < 60; sequence++) {
        size_t n_done = 0, winner = 0;
        for (size_t i = 0; i < 4; i++) {
            struct witness_call call = {.id = 100 + i, .op = WITNESS_PUT, .timeout_ms = LONG_MS, .etag = etag};
            call.record = world_record(sequence, (uint8_t)(i + 1));
            witness_start(s->nodes[i], &call);
        }
        for (size_t i = 0; i < 4; i++) {
            struct witness_result r = world_wait(s->w, 100 + i);
            if (r.outcome == WITNESS_DONE) {
                n_done++;
                winner = i;
                etag = r.etag;
            } else {
                assert_outcome(&r, WITNESS_LOST, WITNESS_CAUSE_CHANGED);
            }
        }
        assert_int_equal(n_done, 1);
        struct witness_result r = world_get(s->w, s->nodes[sequence % 4]);
        assert_record(&r, sequence, (uint8_t)(winner + 1));
    }
    assert_in_range(n_files(s), 8, 10); /* what is far behind is gone */
    scene_free(s);
}

/* A child in which an assertion fails ends with how many tests failed: below GOOD. */
enum { CHILDREN = 4, WRITES = 40, GOOD = 100 };

/* Reads and writes until it has done its writes; how many more may have been done: others were further by then. */
static int write_in_child(const char *dir, uint8_t leader)
{
    struct world *w = world_new();
    struct witness *witness = open_node(w, dir, true);
    int n_unknown = 0;
    for (int n_done = 0; n_done < WRITES;) {
        struct witness_result r = world_get(w, witness);
        assert_outcome(&r, WITNESS_DONE, WITNESS_CAUSE_NONE);
        r = world_put(w, witness, r.record.sequence + 1, leader, &r.etag, LONG_MS);
        n_done += r.outcome == WITNESS_DONE;
        n_unknown += r.outcome == WITNESS_UNKNOWN;
        if (r.outcome != WITNESS_DONE)
            assert_outcome(&r, r.outcome == WITNESS_UNKNOWN ? WITNESS_UNKNOWN : WITNESS_LOST, WITNESS_CAUSE_CHANGED);
    }
    witness_free(witness);
    world_free(w);
    return n_unknown < 150 ? GOOD + n_unknown : GOOD - 1;
}

/* Every write that was done raised the sequence by one: none was put over another. */
static void test_processes_lose_no_write(void **state)
{
    (void)state;
    struct scene *s = scene_new();
    write_first(s);
    pid_t pids[CHILDREN];
    for (int i = 0; i < CHILDREN; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            alarm(300);
            _exit(write_in_child(s->dir.path, (uint8_t)(i + 1)));
        }
    }
    int n_unknown = 0;
    for (int i = 0; i < CHILDREN; i++) {
        int status = -1;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) >= GOOD);
        n_unknown += WEXITSTATUS(status) - GOOD;
    }
    struct witness_result r = world_get(s->w, s->nodes[0]);
    assert_in_range(r.record.sequence, 1 + CHILDREN * WRITES, 1 + CHILDREN * WRITES + n_unknown);
    scene_free(s);
}

/* ---- what is there */

static void expect_get(struct scene *s, const char *file, const char *text, enum witness_cause cause)
{
    tempdir_write(&s->dir, file, text, 0600);
    struct witness_call call = {
        .op = WITNESS_GET, .timeout_ms = LONG_MS, .cluster_uuid = world_uuid(0xc1), .sequence_min = 3};
    struct witness_result r = world_call(s->w, s->nodes[0], call);
    assert_outcome(&r, cause == WITNESS_CAUSE_NONE ? WITNESS_DONE : WITNESS_REFUSED, cause);
}

static void test_what_is_there(void **state)
{
    (void)state;
    struct scene *s = scene_new();
    struct witness_record r2 = world_record(2, 1), r3 = world_record(3, 1), other = world_record(5, 1);
    other.cluster_uuid = world_uuid(0xc2);
    char large[2000];
    memset(large, 'x', sizeof(large));
    large[sizeof(large) - 1] = '\0';
    expect_get(s, "/" NAME ".2", witness_record_encode(&r2).s, WITNESS_CAUSE_REGRESSED);
    expect_get(s, "/" NAME ".3", witness_record_encode(&r3).s, WITNESS_CAUSE_NONE);
    expect_get(s, "/" NAME ".04", "not a number in its one form", WITNESS_CAUSE_NONE);
    expect_get(s, "/" NAME ".9x", "not a number", WITNESS_CAUSE_NONE);
    expect_get(s, "/" NAME ".new.9", "not a number", WITNESS_CAUSE_NONE);
    expect_get(s, "/something.9", "not ours", WITNESS_CAUSE_NONE);
    expect_get(s, "/" NAME ".4", witness_record_encode(&r3).s, WITNESS_CAUSE_FOREIGN); /* not where it belongs */
    expect_get(s, "/" NAME ".5", witness_record_encode(&other).s, WITNESS_CAUSE_FOREIGN);
    expect_get(s, "/" NAME ".6", "who was here?", WITNESS_CAUSE_FOREIGN);
    expect_get(s, "/" NAME ".7", "", WITNESS_CAUSE_FOREIGN);
    expect_get(s, "/" NAME ".8", large, WITNESS_CAUSE_FOREIGN);
    expect_get(s, "/" NAME ".9", "sequence 9\nversion 2\n", WITNESS_CAUSE_NEWER);
    scene_free(s);
}

static void test_what_a_dead_writer_left_goes(void **state)
{
    (void)state;
    struct scene *s = scene_new();
    struct timespec old[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
    tempdir_write(&s->dir, "/" NAME ".new.old", "", 0600);
    tempdir_write(&s->dir, "/" NAME ".new.fresh", "", 0600);
    tempdir_write(&s->dir, "/something.new.old", "", 0600);
    assert_int_equal(utimensat(AT_FDCWD, tempdir_path(&s->dir, "/" NAME ".new.old").s, old, 0), 0);
    assert_int_equal(utimensat(AT_FDCWD, tempdir_path(&s->dir, "/something.new.old").s, old, 0), 0);
    write_first(s);
    assert_false(is_there(s, "/" NAME ".new.old"));
    assert_true(is_there(s, "/" NAME ".new.fresh")); /* its writer may be slow */
    assert_true(is_there(s, "/something.new.old"));  /* not ours */
    scene_free(s);
}

/* ---- a share that is not there, refuses, fails */

static void test_the_share_is_not_there(void **state)
{
    (void)state;
    struct world *w = world_new();
    static const char *const away[] = {"/nonexistent/folder", "/proc/version", "/"};
    for (size_t i = 0; i < sizeof(away) / sizeof(away[0]); i++) {
        struct witness *x = open_node(w, away[i], false); /* "/": the node's own disk */
        struct witness_result r = world_create(w, x, 1);
        assert_outcome(&r, WITNESS_UNREACHABLE, WITNESS_CAUSE_SHARE_AWAY);
        r = world_get(w, x);
        assert_outcome(&r, WITNESS_UNREACHABLE, WITNESS_CAUSE_SHARE_AWAY);
        assert_non_null(strstr(r.error.remedy, "findmnt --target /"));
        witness_free(x);
    }
    world_free(w);
}

static void test_what_fails_before_the_link_is_not_written(void **state)
{
    (void)state;
    static const struct {
        int error;
        enum witness_outcome outcome;
        enum witness_cause cause;
    } cases[] = {
        {EACCES, WITNESS_REFUSED, WITNESS_CAUSE_SHARE_DENIED}, {EROFS, WITNESS_REFUSED, WITNESS_CAUSE_SHARE_DENIED},
        {ENOSPC, WITNESS_REFUSED, WITNESS_CAUSE_SHARE_FULL},   {EDQUOT, WITNESS_REFUSED, WITNESS_CAUSE_SHARE_FULL},
        {EIO, WITNESS_UNREACHABLE, WITNESS_CAUSE_SHARE_IO},    {ESTALE, WITNESS_UNREACHABLE, WITNESS_CAUSE_SHARE_IO},
    };
    struct scene *s = scene_new();
    struct witness_etag etag = write_first(s);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        set_trap(&traps.create, FAIL_BEFORE, cases[i].error);
        struct witness_result r = world_put(s->w, s->nodes[0], 2, 1, &etag, LONG_MS);
        assert_outcome(&r, cases[i].outcome, cases[i].cause);
        assert_false(is_there(s, "/" NAME ".2"));
        assert_int_equal(n_files(s), 1);
    }
    set_trap(&traps.statx, FAIL_BEFORE, EIO);
    struct witness_result r = world_get(s->w, s->nodes[0]);
    assert_outcome(&r, WITNESS_UNKNOWN, WITNESS_CAUSE_SHARE_IO);
    scene_free(s);
}

static void test_a_link_that_fails(void **state)
{
    (void)state;
    struct scene *s = scene_new();
    struct witness_etag etag = write_first(s);
    set_trap(&traps.link, FAIL_BEFORE, EPERM);
    struct witness_result r = world_put(s->w, s->nodes[0], 2, 1, &etag, LONG_MS);
    assert_outcome(&r, WITNESS_REFUSED, WITNESS_CAUSE_SHARE_LINKS);
    set_trap(&traps.link, FAIL_BEFORE, EIO);
    r = world_put(s->w, s->nodes[0], 2, 1, &etag, LONG_MS);
    assert_outcome(&r, WITNESS_UNKNOWN, WITNESS_CAUSE_SHARE_IO);
    assert_false(is_there(s, "/" NAME ".2"));
    set_trap(&traps.link, FAIL_AFTER, EIO); /* it looks the same, and is done */
    r = world_put(s->w, s->nodes[0], 2, 1, &etag, LONG_MS);
    assert_outcome(&r, WITNESS_UNKNOWN, WITNESS_CAUSE_SHARE_IO);
    r = world_get(s->w, s->nodes[1]);
    assert_record(&r, 2, 1);
    set_trap(&traps.link, FAIL_AFTER, EEXIST); /* the client has asked twice: the link is its own */
    r = world_put(s->w, s->nodes[0], 3, 1, &r.etag, LONG_MS);
    assert_outcome(&r, WITNESS_DONE, WITNESS_CAUSE_NONE);
    /* done, and then the folder cannot be looked at */
    etag = r.etag;
    set_trap(&traps.link, HOLD, 0);
    struct witness_call call = {.id = 500, .op = WITNESS_PUT, .timeout_ms = LONG_MS, .etag = etag};
    call.record = world_record(4, 1);
    witness_start(s->nodes[0], &call);
    while (!is_held(&traps.link))
        poll(NULL, 0, 1);
    set_trap(&traps.statx, FAIL_BEFORE, EACCES);
    release(&traps.link);
    r = world_wait(s->w, 500);
    assert_outcome(&r, WITNESS_UNKNOWN, WITNESS_CAUSE_SHARE_DENIED);
    scene_free(s);
}

/* ---- a server that hangs */

static void test_a_server_that_hangs_holds_only_the_thread(void **state)
{
    (void)state;
    struct scene *s = scene_new();
    struct witness_etag etag = write_first(s);
    set_trap(&traps.statx, HOLD, 0);
    struct witness_call call = {.op = WITNESS_GET, .timeout_ms = SHORT_MS};
    struct witness_result r = world_call(s->w, s->nodes[0], call);
    assert_outcome(&r, WITNESS_UNKNOWN, WITNESS_CAUSE_SHARE_HUNG);
    assert_int_equal(r.error.code, ERR_TIMEOUT);
    r = world_put(s->w, s->nodes[0], 2, 1, &etag, SHORT_MS); /* it never left the queue */
    assert_outcome(&r, WITNESS_UNREACHABLE, WITNESS_CAUSE_SHARE_HUNG);
    assert_true(is_held(&traps.statx));
    release(&traps.statx);
    r = world_get(s->w, s->nodes[0]); /* the server is back, and nothing was written meanwhile */
    assert_record(&r, 1, 1);
    scene_free(s);
}

/* It hangs before the write is published: given up, it never is. */
static void test_a_write_that_is_given_up_is_not_published(void **state)
{
    (void)state;
    struct scene *s = scene_new();
    struct witness_etag etag = write_first(s);
    set_trap(&traps.create, HOLD, 0);
    struct witness_result r = world_put(s->w, s->nodes[0], 2, 1, &etag, SHORT_MS);
    assert_outcome(&r, WITNESS_UNKNOWN, WITNESS_CAUSE_SHARE_HUNG);
    release(&traps.create);
    r = world_get(s->w, s->nodes[0]); /* behind it in the queue */
    assert_record(&r, 1, 1);
    assert_int_equal(n_files(s), 1);
    scene_free(s);
}

static void test_a_write_lands_late(void **state)
{
    (void)state;
    struct scene *s = scene_new();
    struct witness_etag etag = write_first(s);
    set_trap(&traps.link, HOLD, 0);
    struct witness_result r = world_put(s->w, s->nodes[0], 2, 1, &etag, SHORT_MS);
    assert_outcome(&r, WITNESS_UNKNOWN, WITNESS_CAUSE_SHARE_HUNG);
    r = world_get(s->w, s->nodes[1]);
    assert_record(&r, 1, 1); /* and that proves nothing */
    release(&traps.link);
    r = world_get(s->w, s->nodes[0]);
    assert_record(&r, 2, 1);
    scene_free(s);
}

/* The server lets it through when others are far ahead, and its place is free again. It must not think that it won. */
static void test_a_writer_comes_back_after_many_writes(void **state)
{
    (void)state;
    struct scene *s = scene_new();
    struct witness_call call = {.id = 500, .op = WITNESS_PUT, .timeout_ms = LONG_MS, .etag = write_first(s)};
    call.record = world_record(2, 1);
    set_trap(&traps.link, HOLD, 0);
    witness_start(s->nodes[0], &call);
    while (!is_held(&traps.link))
        poll(NULL, 0, 1);
    struct witness_etag etag = call.etag;
    for (uint64_t sequence = 2; sequence < 20; sequence++) {
        struct witness_result r = world_put(s->w, s->nodes[1], sequence, 2, &etag, LONG_MS);
        assert_outcome(&r, WITNESS_DONE, WITNESS_CAUSE_NONE);
        etag = r.etag;
    }
    assert_false(is_there(s, "/" NAME ".2"));
    release(&traps.link);
    struct witness_result r = world_wait(s->w, 500);
    assert_outcome(&r, WITNESS_UNKNOWN, WITNESS_CAUSE_CHANGED);
    r = world_get(s->w, s->nodes[0]);
    assert_record(&r, 19, 2);
    scene_free(s);
}

/* Freed while its thread hangs: nobody waits, nothing completes, and the thread ends when it can. */
static void test_freed_while_it_hangs(void **state)
{
    (void)state;
    struct scene *s = scene_new();
    struct witness_call call = {.id = 500, .op = WITNESS_GET, .timeout_ms = LONG_MS};
    set_trap(&traps.statx, HOLD, 0);
    witness_start(s->nodes[0], &call);
    call.id++;
    witness_start(s->nodes[0], &call);
    while (!is_held(&traps.statx))
        poll(NULL, 0, 1);
    witness_free(s->nodes[0]);
    s->nodes[0] = NULL;
    assert_true(is_held(&traps.statx));
    assert_int_equal(s->w->n_results, 0);
    release(&traps.statx);
    scene_free(s);
}

static void test_no_time_at_all(void **state)
{
    (void)state;
    struct scene *s = scene_new();
    set_trap(&traps.statx, HOLD, 0);
    struct witness_call call = {.op = WITNESS_GET, .timeout_ms = SHORT_MS};
    world_call(s->w, s->nodes[0], call); /* the thread is busy */
    call = (struct witness_call){.op = WITNESS_CREATE, .timeout_ms = 0, .record = world_record(1, 1)};
    struct witness_result r = world_call(s->w, s->nodes[0], call);
    assert_outcome(&r, WITNESS_UNREACHABLE, WITNESS_CAUSE_SHARE_HUNG);
    release(&traps.statx);
    r = world_get(s->w, s->nodes[0]);
    assert_outcome(&r, WITNESS_MISSING, WITNESS_CAUSE_BLOB_MISSING);
    scene_free(s);
}

static void test_options_that_cannot_be(void **state)
{
    (void)state;
    struct world *w = world_new();
    const struct file_witness_options bad[] = {{.dir = "relative", .name = NAME},
                                               {.dir = "", .name = NAME},
                                               {.dir = "/tmp", .name = "../x"},
                                               {.dir = "/tmp", .name = ""}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct witness *x = NULL;
        struct error e = {0};
        assert_int_equal(file_witness_new(&bad[i], &w->loop, world_completed, w, &x, &e), ERR_USAGE);
        assert_true(e.text[0]);
        assert_null(x);
    }
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_life),
        cmocka_unit_test(test_of_many_at_once_one_comes_first),
        cmocka_unit_test(test_processes_lose_no_write),
        cmocka_unit_test(test_what_is_there),
        cmocka_unit_test(test_what_a_dead_writer_left_goes),
        cmocka_unit_test(test_the_share_is_not_there),
        cmocka_unit_test(test_what_fails_before_the_link_is_not_written),
        cmocka_unit_test(test_a_link_that_fails),
        cmocka_unit_test(test_a_server_that_hangs_holds_only_the_thread),
        cmocka_unit_test(test_a_write_that_is_given_up_is_not_published),
        cmocka_unit_test(test_a_write_lands_late),
        cmocka_unit_test(test_a_writer_comes_back_after_many_writes),
        cmocka_unit_test(test_freed_while_it_hangs),
        cmocka_unit_test(test_no_time_at_all),
        cmocka_unit_test(test_options_that_cannot_be),
    };
    alarm(600); /* a call that never completes ends the test */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
