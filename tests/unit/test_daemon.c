/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The real ringmasterd and clusterctl on a node that is a namespace: empty /etc, /run, /var/lib, its own loopback, no
 * corosync and no libvirt. What a node's disk and its users can get wrong, with the words and the exit code of it. */
#include "tests/unit/unit.h"

#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "agent/io/store.h"
#include "tests/unit/membernode.h"
#include "tests/unit/users.h"
#include "upgrade/level.h"

#define CONFIG RINGMASTER_CONFIG_DIR "/ringmaster.conf"
#define DB     RINGMASTER_STATE_DIR "/db.sqlite"

enum { OUTPUT_MAX = 16384, RUN_MS = 20000, START_MS = 15000, SKIPPED = 77 };

struct ran {
    int code; /* -1: it did not end in time */
    char text[OUTPUT_MAX];
};

static char ringmasterd[512], clusterctl[512];

/* ---- the node */

static void put(const char *path, const char *text, mode_t mode)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static int loopback_up(void)
{
    struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int err = ioctl(fd, SIOCSIFFLAGS, &r);
    close(fd);
    return err;
}

static bool enter(void)
{
    static const char *const empty[] = {"/etc", "/run", "/var/lib", "/dev/shm"};
    if (geteuid() != 0 || unshare(CLONE_NEWNS | CLONE_NEWNET) != 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 || loopback_up() != 0)
        return false;
    for (size_t i = 0; i < sizeof(empty) / sizeof(empty[0]); i++)
        if (mount("tmpfs", empty[i], "tmpfs", MS_NOSUID, "mode=0755") != 0)
            return false;
    chmod("/dev/shm", 01777);
    put("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n", 0644);
    put("/etc/hosts", "127.0.0.1 localhost n1\n", 0644);
    put("/etc/passwd", "root:x:0:0::/:/bin/sh\nreado:x:60004:60103::/:/bin/sh\nother:x:60006:60103::/:/bin/sh\n", 0644);
    put("/etc/group", "root:x:0:\nringmaster-admin:x:60101:\nringmaster-read:x:60102:reado\nusers:x:60103:\n", 0644);
    return true;
}

/* A node that was never configured. */
static void wipe(void)
{
    static const char *const gone[] = {RINGMASTER_STATE_DIR, RINGMASTER_CONFIG_DIR, "/etc/corosync", "/etc/pki"};
    for (size_t i = 0; i < sizeof(gone) / sizeof(gone[0]); i++)
        tempdir_remove_at(AT_FDCWD, gone[i]);
    assert_int_equal(mkdir(RINGMASTER_CONFIG_DIR, 0755), 0);
    assert_int_equal(mkdir(RINGMASTER_CONFIG_DIR "/conf.d", 0755), 0);
    assert_int_equal(mkdir(RINGMASTER_STATE_DIR, 0700), 0);
    put(CONFIG, "[node]\nname = n1\naddress = 127.0.0.1\n[fence]\nwatchdog = none\n", 0644); /* never this host's */
}

/* ---- programs */

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static pid_t start(uid_t uid, const char *const argv[], int *ret_fd)
{
    int p[2];
    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int program = open(argv[0], O_PATH | O_CLOEXEC); /* the tree may lie where only root gets, as in /root */
        if (dup2(p[1], 1) < 0 || dup2(p[1], 2) < 0 || (uid && users_become(uid, GID_USERS) != 0))
            _exit(99);
        execveat(program, "", (char *const *)(uintptr_t)argv, environ, AT_EMPTY_PATH);
        _exit(98);
    }
    close(p[1]);
    *ret_fd = p[0];
    return pid;
}

static struct ran run(uid_t uid, const char *const argv[])
{
    struct ran r = {.code = -1};
    int fd, status;
    size_t len = 0;
    int64_t end = now_ms() + RUN_MS;
    pid_t pid = start(uid, argv, &fd);
    for (struct pollfd p = {.fd = fd, .events = POLLIN}; now_ms() < end;) {
        ssize_t n = poll(&p, 1, 100) == 1 ? read(fd, r.text + len, sizeof(r.text) - 1 - len) : 1;
        if (n <= 0)
            break;
        len += p.revents ? (size_t)n : 0;
    }
    if (now_ms() >= end)
        kill(pid, SIGKILL);
    close(fd);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status))
        r.code = WEXITSTATUS(status);
    return r;
}

#define RUN(uid, ...) run((uid), (const char *const[]){__VA_ARGS__, NULL})
#define AGENT(...) RUN(0, ringmasterd, "--foreground", ##__VA_ARGS__)
#define CTL(uid, ...) RUN((uid), clusterctl, __VA_ARGS__)

static void must(const struct ran *r, int code, const char *what, const char *remedy)
{
    if (r->code != code || !strstr(r->text, what) || !strstr(r->text, remedy))
        fail_msg("exit %d, not %d with \"%s\" and \"%s\":\n%s", r->code, code, what, remedy, r->text);
}

/* ---- its configuration */

static void test_configuration(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        mode_t mode;
        const char *what, *remedy;
    } bad[] = {
        {"[node]\nname = n1\ncolour = red\n", 0644, CONFIG ":3: unknown key: colour", "known are [node] name"},
        {"[nodes]\nname = n1\n", 0644, CONFIG ":2: unknown section: nodes", "known are [node] name"},
        {"[tls]\nport = 70000\n", 0644, CONFIG ":2: port: not valid", "1 to 65535"},
        {"[node]\nname = n1\n", 0666, CONFIG " may be changed by others than root (mode 0666)", "chmod go-w " CONFIG},
        {"[node]\nname = n1\n", 0664, CONFIG " may be changed by others than root (mode 0664)", "chmod go-w " CONFIG},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        wipe();
        put(CONFIG, bad[i].text, bad[i].mode);
        struct ran r = AGENT();
        must(&r, 78, bad[i].what, bad[i].remedy);
    }
    wipe();
    put(RINGMASTER_CONFIG_DIR "/conf.d/50-x.conf", "[log]\nlevel = info\n", 0644);
    assert_int_equal(chown(RINGMASTER_CONFIG_DIR "/conf.d/50-x.conf", UID_NOBODY, 0), 0);
    struct ran r = AGENT();
    must(&r, 78, "50-x.conf belongs to uid 60006, not to root", "chown root");
}

static void test_usage(void **state)
{
    (void)state;
    wipe();
    struct ran r = AGENT("--nonsense");
    must(&r, 64, "usage: ringmasterd", "");
    r = AGENT("--config", "/nonexistent.conf");
    must(&r, 78, "cannot read /nonexistent.conf: No such file", "");
}

/* ---- its state: what is refused is left as it was */

static struct identity make_member(void)
{
    wipe();
    struct membership_env env = {"", 0, membernode_service, membernode_service};
    struct host_facts facts = membernode_facts("n1");
    struct membership_outcome o;
    membership_found_in(&env, "demo", TEST_CONF, &facts, &o);
    assert_string_equal(o.error.text, "");
    buf_done(&o.sealed_ca_key);
    /* Not its founder: an interrupted forming would be forgotten. */
    char text[4096] = "";
    FILE *f = fopen(PATH_IDENTITY, "r");
    assert_non_null(f);
    assert_true(fread(text, 1, sizeof(text) - 1, f) > 0);
    fclose(f);
    char *founder = strstr(text, "\"founder\": true");
    assert_non_null(founder);
    memcpy(founder, "\"founder\":false", 15);
    put(PATH_IDENTITY, text, 0600);
    return o.identity;
}

static struct hash hash_file(const char *path)
{
    static char bytes[1 << 20];
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(bytes, 1, sizeof(bytes), f) : 0;
    if (f)
        fclose(f);
    return hash_of(bytes, n);
}

static void test_identity(void **state)
{
    (void)state;
    make_member();
    put(PATH_IDENTITY, "{\"format\": 1, \"cluster\": ", 0600);
    struct hash before = hash_file(PATH_IDENTITY), key = hash_file(PATH_CLUSTER_KEY);
    struct ran r = AGENT();
    must(&r, 78, PATH_IDENTITY " is damaged", "clusterctl node evict");
    struct hash after = hash_file(PATH_IDENTITY), key_after = hash_file(PATH_CLUSTER_KEY);
    assert_true(hash_eq(&before, &after) && hash_eq(&key, &key_after));
}

static void test_keys(void **state)
{
    (void)state;
    static const char *const keys[] = {PATH_CLUSTER_KEY, PATH_NODE_KEY, PATH_COROSYNC_AUTHKEY};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        make_member();
        assert_int_equal(chmod(keys[i], 0644), 0);
        struct ran r = AGENT();
        must(&r, 78, keys[i], "others may open it (mode 0644)");
        must(&r, 78, "chmod go= ", "evict this node and join anew");
    }
}

/* A database with one row. */
static void make_db(const struct identity *id, enum table_id table, const char *key, struct slice value)
{
    struct store *s;
    struct db_image image;
    struct error e = {0};
    assert_int_equal(store_open(DB, id, &s, &image, &e), 0);
    db_image_done(&image);
    struct tables *t = tables_new();
    tables_put(t, table, key, value);
    struct db_batch *b = xcalloc(1, sizeof(*b));
    *b = (struct db_batch){.seq = 1, .replace = true, .term = 1, .commit_index = 5, .applied_index = 5, .base_index = 5,
                           .base_term = 1, .base_config = {.replicas = {{id->replica, 1, 1}}, .n = 1}};
    tables_take_changes(t, &b->rows);
    b->digest = tables_hash(t);
    if (store_write(s, &b, 1, &e) != 0)
        fail_msg("%s", e.text);
    db_batch_free(b);
    tables_free(t);
    store_close(s);
}

static void test_database_of_a_newer_level(void **state)
{
    (void)state;
    struct identity id = make_member();
    struct tables *t = tables_new();
    struct slice row;
    level_init(t, (uint8_t)(level_newest() + 1), NULL);
    assert_int_equal(tables_get(t, TABLE_CLUSTER, "level", &row), 0);
    make_db(&id, TABLE_CLUSTER, "level", row);
    tables_free(t);
    struct hash before = hash_file(DB);
    struct ran r = AGENT();
    must(&r, 78, "this agent knows levels up to", "install the release of ringmaster that the other nodes run");
    struct hash after = hash_file(DB);
    assert_true(hash_eq(&before, &after));
}

static void test_damaged_database(void **state)
{
    (void)state;
    struct identity id = make_member();
    make_db(&id, TABLE_SETTING, "a", (struct slice){(const uint8_t *)"b", 1});
    int fd = open(DB, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "x", 1, 8192 - 20), 1);
    close(fd);
    struct hash before = hash_file(DB);
    struct ran r = AGENT();
    must(&r, 78, DB " is damaged", "evict");
    struct hash after = hash_file(DB);
    assert_true(hash_eq(&before, &after)); /* kept, for whoever wants to look */
    assert_int_equal(unlink(DB), 0);
    r = AGENT();
    must(&r, 78, "is gone", "evict");
}

/* ---- its users */

static pid_t agent_pid;
static int agent_fd;

static void agent_up(void)
{
    agent_pid = start(0, (const char *const[]){ringmasterd, "--foreground", NULL}, &agent_fd);
    for (int64_t end = now_ms() + START_MS;;) {
        struct ran r = CTL(0, "status");
        if (r.code != 69)
            return;
        assert_true(now_ms() < end);
        usleep(50000);
    }
}

static void agent_down(void)
{
    int status;
    kill(agent_pid, SIGTERM);
    assert_int_equal(waitpid(agent_pid, &status, 0), agent_pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0); /* whatever was done to it, it was still well */
    close(agent_fd);
}

static void test_second_agent(void **state)
{
    (void)state;
    wipe();
    agent_up();
    struct ran r = AGENT();
    must(&r, 1, "another ringmasterd runs on this node", "");
    r = CTL(0, "status");
    assert_int_equal(r.code, 0);
    agent_down();
    r = CTL(0, "status");
    must(&r, 69, "does not run", "systemctl start ringmasterd");
}

static void test_users(void **state)
{
    (void)state;
    wipe();
    agent_up();
    struct ran r = CTL(UID_NOBODY, "status");
    must(&r, 77, "not permitted", "ringmaster-admin or ringmaster-read");
    r = CTL(UID_READ_OTHER, "status");
    assert_int_equal(r.code, 0);
    r = CTL(UID_READ_OTHER, "cluster", "init", "--name", "demo", "--yes");
    must(&r, 77, "not permitted", "ringmaster-admin");
    r = CTL(0, "vm", "list");
    must(&r, 113, "not a member of a cluster", "clusterctl cluster init");
    r = CTL(0, "vm", "explode");
    must(&r, 64, "explode", "--help");
    r = CTL(0, "explode");
    must(&r, 64, "explode", "--help");
    agent_down();
}

/* Refused by their size or mode, before they are read and before the agent hears of them. */
static void test_files_of_users(void **state)
{
    (void)state;
    wipe();
    agent_up();
    put("/run/big.xml", "<domain/>", 0644);
    assert_int_equal(truncate("/run/big.xml", 1L << 30), 0);
    int64_t before = now_ms();
    struct ran r = CTL(0, "vm", "add", "--xml", "/run/big.xml");
    must(&r, 64, "/run/big.xml is longer than", "");
    assert_true(now_ms() - before < 5000);
    put("/run/token", "{}", 0644);
    r = CTL(0, "node", "join", "--token-file", "/run/token");
    must(&r, 64, "/run/token may be opened by others (mode 0644)", "clusterctl cluster join-token");
    put("/run/token", "{}", 0640);
    r = CTL(0, "node", "join", "--token-file", "/run/token");
    must(&r, 64, "mode 0640", "mode 0600");
    r = CTL(0, "node", "join", "--token-file", "/run");
    must(&r, 64, "/run is not a file", "");
    assert_int_equal(access(PATH_NODE_KEY, F_OK), -1); /* nothing was begun */
    agent_down();
}

static int find_programs(void)
{
    const char *top = getenv("top_builddir");
    snprintf(ringmasterd, sizeof(ringmasterd), "%s/ringmasterd", top ? top : ".");
    snprintf(clusterctl, sizeof(clusterctl), "%s/clusterctl", top ? top : ".");
    return access(ringmasterd, X_OK) == 0 && access(clusterctl, X_OK) == 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_configuration),
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_identity),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_database_of_a_newer_level),
        cmocka_unit_test(test_damaged_database),
        cmocka_unit_test(test_second_agent),
        cmocka_unit_test(test_users),
        cmocka_unit_test(test_files_of_users),
    };
    umask(022);
    if (strncmp(RINGMASTER_CONFIG_DIR, "/etc/", 5) != 0 || strncmp(RINGMASTER_STATE_DIR, "/var/lib/", 9) != 0 ||
        !find_programs() || !enter()) {
        puts("needs root, namespaces, and the programs with their usual folders");
        return SKIPPED;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
