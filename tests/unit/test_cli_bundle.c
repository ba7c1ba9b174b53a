/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The support bundle: what is in it, its mode, and that a secret which lies in every place where secrets lie, and which
 * programs and files blurt out in every form, is not in it. */
#include "tests/unit/cli_world.h"
#include "tests/unit/tempdir.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/io/archive.h"
#include "cli/io/scrub.h"

#define CANARY  "canary-4f1c-do-not-print-me-anywhere"
#define CANARY2 "OtherCanaryOfTheTokenFile0123456789"

static const char *const places[] = {
    RINGMASTER_STATE_DIR "/cluster.key",
    RINGMASTER_STATE_DIR "/node.key",
    RINGMASTER_STATE_DIR "/n2.token",
    "/root/n3.token",
    "/etc/corosync/authkey",
    "/etc/pki/libvirt/private/serverkey.pem",
    "/etc/pki/libvirt/private/clientkey.pem",
    "/etc/pki/qemu/server-key.pem",
    "/etc/pki/qemu/client-key.pem",
};
enum { N_PLACES = sizeof(places) / sizeof(places[0]) };

static void secret_of(size_t place, char ret[64])
{
    snprintf(ret, 64, "%s-%02zu", CANARY, place);
}

static void make_folders(char *path)
{
    for (char *p = path + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(path, 0755);
        *p = '/';
    }
}

static void put(const char *root, const char *path, const void *text, size_t len, mode_t mode)
{
    char full[512];
    snprintf(full, sizeof(full), "%s%s", root, path);
    make_folders(full);
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    fclose(f);
    assert_int_equal(chmod(full, mode), 0);
}

static void put_text(const char *root, const char *path, const char *text, mode_t mode)
{
    put(root, path, text, strlen(text), mode);
}

static void add_hex(struct buf *b, const char *s, bool upper)
{
    for (const char *p = s; *p; p++)
        buf_printf(b, upper ? "%02X" : "%02x", (unsigned char)*p);
}

/* What blurts out every secret in every form. */
static void blurt(struct buf *b)
{
    for (size_t i = 0; i < N_PLACES; i++) {
        char secret[64];
        secret_of(i, secret);
        buf_printf(b, "raw %s, hex ", secret);
        add_hex(b, secret, false);
        buf_add_str(b, " and ");
        add_hex(b, secret, true);
        buf_add_str(b, "\n");
    }
    buf_add_str(b, "token {\"format\": 1, \"secret\": \"" CANARY2 "\"} and {\\\"secret\\\":\\\"" CANARY2 "\\\"}\n");
    buf_add_str(b, "-----BEGIN PRIVATE KEY-----\n" CANARY2 "\n-----END PRIVATE KEY-----\n");
    buf_add_str(b, "<graphics type='vnc' passwd='" CANARY2 "'/>\n");
}

/* A program of the host, and the log of an upgrade in place. */
static void put_blurters(const char *root)
{
    AUTO(buf_done) struct buf b = {0}, log = {0};
    buf_add_str(&b, "#!/bin/sh\nprintf '%s\\n' \"it was asked: $*\"\ncat <<'END'\nthe journal says hello\n");
    blurt(&b);
    buf_add_str(&b, "the journal says goodbye\nEND\n");
    put(root, "/usr/bin/journalctl", b.p, b.len, 0755);
    buf_add_str(&log, "the upgrade begins\n");
    blurt(&log);
    buf_add_str(&log, "E: the upgrade failed\n");
    put(root, "/var/log/ringmaster/op-7-000-1.log", log.p, log.len, 0600);
}

static void put_host(const char *root)
{
    for (size_t i = 0; i < N_PLACES; i++) {
        char secret[64];
        secret_of(i, secret);
        put_text(root, places[i], secret, 0600);
    }
    put_blurters(root);
    put_text(root, RINGMASTER_CONFIG_DIR "/ringmaster.conf", "[agent]\naddress = 10.0.0.1\nsas_token = " CANARY2 "\n",
             0644);
    put_text(root, RINGMASTER_CONFIG_DIR "/conf.d/10.conf", "# port\nport = 7411\n", 0644);
    put_text(root, "/etc/corosync/corosync.conf", "totem {\n  cluster_name: ring\n}\n", 0644);
    char link[512], target[512];
    snprintf(link, sizeof(link), "%s%s", root, RINGMASTER_CONFIG_DIR "/conf.d/99.conf");
    snprintf(target, sizeof(target), "%s%s", root, places[0]);
    assert_int_equal(symlink(target, link), 0); /* somebody's trick */
}

/* Runs a program; its exit status. */
static int run(const char *const *argv)
{
    pid_t pid = fork();
    if (pid == 0) {
        execv(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* All files of the bundle, one after the other, each below a line with its name; the caller frees. */
static char *unpacked(const char *root, const char *path)
{
    char folder[512];
    struct buf b = {0};
    snprintf(folder, sizeof(folder), "%s/unpacked", root);
    assert_int_equal(mkdir(folder, 0700), 0);
    const char *const tar[] = {"/usr/bin/tar", "-C", folder, "-xf", path, NULL};
    assert_int_equal(run(tar), 0);
    const char *const find[] = {"/usr/bin/find", folder,         "-type", "f", "-printf", "== %f %m\\n",
                                "-exec",         "/usr/bin/cat", "{}",    ";", NULL};
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], 1);
        close(fds[0]);
        close(fds[1]);
        execv(find[0], (char *const *)(uintptr_t)find);
        _exit(127);
    }
    close(fds[1]);
    char chunk[4096];
    for (ssize_t n; (n = read(fds[0], chunk, sizeof(chunk))) > 0;)
        buf_add(&b, chunk, (size_t)n);
    close(fds[0]);
    waitpid(pid, NULL, 0);
    return buf_steal_str(&b);
}

static void add_answers(struct world *w)
{
    world_answer(w, (struct world_answer){.verb = "status", .data = "{\"self\":{\"name\":\"n1\"}}"});
    world_answer(w, (struct world_answer){.verb = "events", .data = "{\"events\":[{\"text\":\"" CANARY "-00\"}]}"});
    world_answer(w, (struct world_answer){.verb = "job.list", .code = ERR_CONDITION, .text = "no member"});
    world_answer(w, (struct world_answer){.data = "{}", .stays = true});
}

static void assert_no_secret(const char *text)
{
    char place[64];
    assert_lacks(text, CANARY);
    assert_lacks(text, CANARY2);
    for (size_t i = 0; i < N_PLACES; i++) {
        AUTO(buf_done) struct buf lower = {0}, upper = {0};
        secret_of(i, place);
        add_hex(&lower, place, false);
        add_hex(&upper, place, true);
        buf_add(&lower, "", 1);
        buf_add(&upper, "", 1);
        assert_lacks(text, (char *)lower.p);
        assert_lacks(text, (char *)upper.p);
    }
}

static void check_bundle(const char *suffix)
{
    struct tempdir d = tempdir_make();
    put_host(d.path);
    AUTO(world_done) struct world w = {.root = d.path};
    add_answers(&w);
    char line[1024], path[512];
    snprintf(path, sizeof(path), "%s/bundle%s", d.path, suffix);
    snprintf(line, sizeof(line), "support-bundle --file %s", path);
    int code = world_run(&w, line);
    if (code)
        fail_msg("%d: %s", code, WORLD_ERR(&w));
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    AUTO(freep) char *text = unpacked(d.path, path);
    static const char *const parts[] = {
        "== status.json 600",      "== events.json 600",          "== var-log-ringmaster-op-7-000-1.log 600",
        "the upgrade begins",      "E: the upgrade failed",       "--unit=ringmaster-op-*.service",
        "== jobs.json 600",        "== journal.txt 600",          "== MANIFEST 600",
        "the journal says hello",  "the journal says goodbye",    "--unit=ringmasterd.service",
        "cluster_name: ring",      "address = 10.0.0.1",          "port = 7411",
        "sas_token = " SCRUB_MARK, "passwd='" SCRUB_MARK "'",     "no member",
        "quorum.txt: not there: ", "conf.d-99.conf: not there: ",
    };
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        assert_contains(text, parts[i]);
    assert_no_secret(text);

    AUTO(world_done) struct world again = {.root = d.path}; /* nothing is replaced */
    add_answers(&again);
    assert_int_equal(world_run(&again, line), 64);
    tempdir_done(&d);
}

static void test_bundle(void **state)
{
    (void)state;
    check_bundle(".tar.gz");
    if (str_eq(archive_suffix(), ".tar.zst"))
        check_bundle(".tar.zst");
}

static void test_without_an_agent(void **state)
{
    (void)state;
    struct tempdir d = tempdir_make();
    put_host(d.path);
    AUTO(world_done) struct world w = {.root = d.path};
    world_answer(&w, (struct world_answer){.code = ERR_NO_AGENT, .no_answer = true, .text = "away", .stays = true});
    char line[1024];
    snprintf(line, sizeof(line), "support-bundle -o json --file %s/b.tar.gz", d.path);
    assert_int_equal(world_run(&w, line), 0);
    AUTO(json_freep) struct json *answer = world_json(WORLD_OUT(&w));
    assert_true(json_int(json_path(answer, "data.bytes"), 0) > 100);
    tempdir_done(&d);
}

static void test_names(void **state)
{
    (void)state;
    struct tempdir d = tempdir_make();
    AUTO(world_done) struct world w = {.root = d.path};
    world_answer(&w, (struct world_answer){.code = ERR_NO_AGENT, .no_answer = true, .stays = true});
    char line[1024];
    snprintf(line, sizeof(line), "support-bundle --file %s/b.zip", d.path);
    assert_int_equal(world_run(&w, line), 64);
    assert_contains(WORLD_ERR(&w), "ends in neither .tar.zst nor .tar.gz");
    tempdir_done(&d);
}

static char *scrubbed(const char *secret, const char *text)
{
    struct scrub *s = scrub_new();
    struct buf b = {0};
    scrub_learn(s, secret, strlen(secret));
    buf_add_str(&b, text);
    scrub_text(s, &b);
    scrub_free(s);
    return buf_steal_str(&b);
}

static void test_scrub(void **state)
{
    (void)state;
    static const struct {
        const char *secret, *text, *expected;
    } cases[] = {
        {"short", "short", "short"},
        {"12345678\n", "a 12345678 b 12345678", "a " SCRUB_MARK " b " SCRUB_MARK},
        {"12345678", "3132333435363738", SCRUB_MARK},
        {"123456789", "MTIzNDU2Nzg5", SCRUB_MARK},
        {"", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n",
         "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"},
        {"", "a\n-----BEGIN EC PRIVATE KEY-----\nx\n-----END EC PRIVATE KEY-----\nb\n", "a\n" SCRUB_MARK "\nb\n"},
        {"", "-----BEGIN PRIVATE KEY-----\nx and no end", SCRUB_MARK},
        {"", "password = x y\nport = 1\nPassword=z", "password = " SCRUB_MARK "\nport = 1\nPassword=" SCRUB_MARK},
        {"", "it said: token=abc def\nx = 1", "it said: token=" SCRUB_MARK "\nx = 1"},
        {"", "it was asked: --output=x", "it was asked: --output=x"},
        {"", "secretary of state, no secret", "secretary of state, no secret"},
        {"", "\"secret\" : \"ab\", \"x\": 1", "\"secret\" : \"" SCRUB_MARK "\", \"x\": 1"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO(freep) char *text = scrubbed(cases[i].secret, cases[i].text);
        assert_string_equal(text, cases[i].expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scrub),
        cmocka_unit_test(test_bundle),
        cmocka_unit_test(test_without_an_agent),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests_name("cli_bundle", tests, NULL, NULL);
}
