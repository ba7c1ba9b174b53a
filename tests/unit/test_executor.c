/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hooks as plain children; that systemd runs them is for the lab to show. */
#include "tests/unit/unit.h"

#include "agent/io/files.h"
#include "agent/io/paths.h"
#include "agent/io/pki.h"
#include "tests/unit/tempdir.h"
#include "upgrade/io/executor.h"

struct fixture {
    struct tempdir dir;
    struct executor_env env;
    struct cluster_key key;
};

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    f->dir = tempdir_make();
    f->env = (struct executor_env){.prefix = f->dir.path, .owner = getuid(), .direct = true};
    pki_random(f->key.b, sizeof(f->key.b));
    struct slice key = {f->key.b, sizeof(f->key.b)};
    assert_int_equal(file_install(f->dir.path, PATH_CLUSTER_KEY, key, (struct file_mode){.mode = 0600}, NULL), 0);
    assert_int_equal(mkdir(tempdir_path(&f->dir, "/hooks").s, 0755), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    tempdir_done(&f->dir);
    free(f);
    return 0;
}

static struct hook_call call_of(struct fixture *f, enum hook_verb verb, const char *script)
{
    struct hook_call c = {.verb = verb, .timeout_ms = 10000};
    char text[512];
    snprintf(text, sizeof(text), "#!/bin/sh\n%s\n", script);
    tempdir_write(&f->dir, "/hooks/rebuild", text, 0755);
    STR_COPY(c.path, tempdir_path(&f->dir, "/hooks/rebuild").s);
    STR_COPY(c.op_id, "op-1");
    STR_COPY(c.node, "n2");
    STR_COPY(c.address, "192.0.2.2");
    STR_COPY(c.target, "trixie");
    return c;
}

static struct hook_outcome run(struct fixture *f, const struct hook_call *c)
{
    struct hook_outcome o;
    memset(&o, 0xff, sizeof(o));
    executor_run_in(&f->env, c, &o);
    return o;
}

static void test_states(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *script;
        enum hook_state state;
        int err;
    } cases[] = {
        {"exit 0", HOOK_DONE, 0},     {"exit 75", HOOK_RUNNING, 0},   {"exit 1", HOOK_FAILED, 0},
        {"exit 2", 0, ERR_CONDITION}, {"exit 127", 0, ERR_CONDITION}, {"kill -9 $$", 0, ERR_CONDITION},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct hook_call c = call_of(f, HOOK_POLL, cases[i].script);
        struct hook_outcome o = run(f, &c);
        assert_int_equal(o.error.code, cases[i].err);
        if (!cases[i].err)
            assert_int_equal(o.state, cases[i].state);
    }
}

/* The program that comes with the agent, whatever the setting's path; it needs no token. */
static void test_in_place(void **state)
{
    struct fixture *f = *state;
    struct hook_call c = call_of(f, HOOK_START, "echo \"$1:$2:$RINGMASTER_TARGET:${RINGMASTER_JOIN_FILE-none}\"");
    char program[HOOK_PATH_MAX];
    STR_COPY(program, c.path);
    f->env.in_place = program;
    STR_COPY(c.path, EXECUTOR_IN_PLACE);
    struct hook_outcome o = run(f, &c);
    assert_int_equal(o.error.code, 0);
    assert_string_equal(o.output, "start:op-1:trixie:none\n");
    c.verb = HOOK_CANCEL;
    o = run(f, &c);
    assert_string_equal(o.output, "cancel:op-1:trixie:none\n");
    f->env.in_place = NULL; /* the installed one, which is not there */
    o = run(f, &c);
    assert_int_equal(o.error.code, ERR_IO);
    assert_non_null(strstr(o.error.text, RINGMASTER_LIBEXEC_DIR "/upgrade-in-place"));
}

static void test_arguments_and_environment(void **state)
{
    struct fixture *f = *state;
    struct hook_call c = call_of(f, HOOK_POLL, "echo \"$#:$1:$2\"; env | grep ^RINGMASTER | LC_ALL=C sort");
    struct hook_outcome o = run(f, &c);
    assert_string_equal(o.output, "2:poll:op-1\nRINGMASTER_ADDRESS=192.0.2.2\nRINGMASTER_NODE=n2\n"
                                  "RINGMASTER_OP_ID=op-1\nRINGMASTER_TARGET=trixie\n");
}

static void test_join_file(void **state)
{
    struct fixture *f = *state;
    struct hook_call c = call_of(f, HOOK_START,
                                 "stat -c %a $RINGMASTER_JOIN_FILE; cat $RINGMASTER_JOIN_FILE\n"
                                 "cat /proc/self/cmdline /proc/self/environ | tr '\\0' '\\n' | grep -c s3cret");
    pki_seal(&f->key, "token:n2", (struct slice){(const uint8_t *)"s3cret\n", 7}, &c.sealed_token);
    struct hook_outcome o = run(f, &c);
    assert_string_equal(o.output, "600\ns3cret\n0\n"); /* a 0600 file, and nowhere else */
    assert_int_equal(tempdir_mode(&f->dir, "/run/ringmaster/join-op-1.json"), 0);

    STR_COPY(c.node, "n3"); /* the token is n2's */
    o = run(f, &c);
    assert_int_equal(o.error.code, ERR_MALFORMED);
    assert_string_equal(o.output, "");
    hook_call_done(&c);
}

static void test_timeout(void **state)
{
    struct fixture *f = *state;
    struct hook_call c = call_of(f, HOOK_POLL, "echo begun; exec sleep 60");
    c.timeout_ms = 200;
    struct hook_outcome o = run(f, &c);
    assert_int_equal(o.error.code, ERR_TIMEOUT);
    assert_string_equal(o.output, "begun\n");
}

static void test_output_is_its_end(void **state)
{
    struct fixture *f = *state;
    struct hook_call c =
        call_of(f, HOOK_POLL, "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; printf '\\033[2J'");
    struct hook_outcome o = run(f, &c);
    size_t n = strlen(o.output);
    assert_int_equal(n, HOOK_OUTPUT_MAX - 1);
    assert_string_equal(o.output + n - strlen("line 2999\n?[2J"), "line 2999\n?[2J");
}

static void refused(struct fixture *f, struct hook_call *c, int code, const char *why)
{
    struct hook_outcome o = run(f, c);
    assert_int_equal(o.error.code, code);
    if (!strstr(o.error.text, why))
        fail_msg("%s", o.error.text);
    assert_int_equal(tempdir_mode(&f->dir, "/ran"), 0);
}

static void test_hook_file(void **state)
{
    struct fixture *f = *state;
    char script[128];
    snprintf(script, sizeof(script), "touch %s/ran", f->dir.path);
    struct hook_call c = call_of(f, HOOK_POLL, script);
    static const struct {
        mode_t mode;
        const char *why;
    } modes[] = {
        {0775, "others may write it"},
        {0757, "others may write it"},
        {0644, "it is not executable"},
    };
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        assert_int_equal(chmod(c.path, modes[i].mode), 0);
        refused(f, &c, ERR_PERMISSION, modes[i].why);
    }
    chmod(c.path, 0755);

    struct temppath hooks = tempdir_path(&f->dir, "/hooks"), link = tempdir_path(&f->dir, "/hooks/link");
    chmod(hooks.s, 0777);
    refused(f, &c, ERR_PERMISSION, "others may write a folder above it");
    chmod(hooks.s, 0775);
    refused(f, &c, ERR_PERMISSION, "others may write a folder above it");
    chmod(hooks.s, 0755);
    chmod(f->dir.path, 0777); /* not only the folder itself: who may rename it may swap it */
    refused(f, &c, ERR_PERMISSION, "others may write a folder above it");
    chmod(f->dir.path, 0700);

    assert_int_equal(symlink(c.path, link.s), 0);
    STR_COPY(c.path, link.s);
    refused(f, &c, ERR_PERMISSION, "it is no regular file");
    STR_COPY(c.path, hooks.s);
    refused(f, &c, ERR_PERMISSION, "it is no regular file");
}

static void test_hook_of_another_owner(void **state)
{
    struct fixture *f = *state;
    if (getuid() != 0)
        skip(); /* only root can give a file away */
    struct hook_call c = call_of(f, HOOK_POLL, "exit 0");
    assert_int_equal(chown(c.path, 12345, 12345), 0);
    refused(f, &c, ERR_PERMISSION, "it does not belong to root");
    assert_int_equal(chown(c.path, 0, 0), 0);
    assert_int_equal(chown(tempdir_path(&f->dir, "/hooks").s, 12345, 0), 0);
    refused(f, &c, ERR_PERMISSION, "a folder above it does not belong to root");
    assert_int_equal(chown(tempdir_path(&f->dir, "/hooks").s, 0, 0), 0);
    struct hook_outcome o = run(f, &c);
    assert_int_equal(o.error.code, 0);
}

static void test_bad_calls(void **state)
{
    struct fixture *f = *state;
    static const char *const paths[] = {"",           "hooks/rebuild", "/usr/../bin/true",
                                        "/bin//true", "/bin/$HOME",    "/bin/a b"};
    struct hook_call c = call_of(f, HOOK_POLL, "exit 0");
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        STR_COPY(c.path, paths[i]);
        refused(f, &c, ERR_PERMISSION, "not absolute and plain");
    }
    STR_COPY(c.path, "/nowhere/rebuild");
    refused(f, &c, ERR_IO, "No such file or directory");
    static const char *const ids[] = {"", "A", "a/b", "a b", "a;b", "a.service"};
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        STR_COPY(c.op_id, ids[i]);
        refused(f, &c, ERR_MALFORMED, "operation id");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_in_place),
        cmocka_unit_test(test_arguments_and_environment),
        cmocka_unit_test(test_join_file),
        cmocka_unit_test(test_timeout),
        cmocka_unit_test(test_output_is_its_end),
        cmocka_unit_test(test_hook_file),
        cmocka_unit_test(test_hook_of_another_owner),
        cmocka_unit_test(test_bad_calls),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
