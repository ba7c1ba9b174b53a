/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ringmasterd: the agent of one node. Start and end; what it does is in core.c, how in exec.c. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/exec.h"
#include "agent/io/copies.h"
#include "agent/io/cpg.h"
#include "agent/io/membership.h"
#include "config.h"
#include "upgrade/level.h"

#define RUN_DIR     "/run/ringmaster"
#define DB_PATH     RINGMASTER_STATE_DIR "/db.sqlite"
#define CONFIG_FILE RINGMASTER_CONFIG_DIR "/ringmaster.conf"

enum { EXIT_WRONG_USAGE = 64 };

struct options {
    const char *config;  /* NULL: the default, which may be missing */
    const char *restore; /* NULL: run */
};

/* To the journal when it listens, with the level as it wants it; else for people. One write for a line: threads log
 * too. */
static void log_write(void *ctx, enum log_level level, const char *line)
{
    const bool *to_journal = ctx;
    if (*to_journal)
        dprintf(STDERR_FILENO, "<%d>%s\n", (int)level, line);
    else
        dprintf(STDERR_FILENO, "ringmasterd: %s\n", line);
}

static void usage(FILE *f)
{
    fputs("usage: ringmasterd [--config FILE] [--foreground]\n"
          "       ringmasterd [--config FILE] --restore COPY\n"
          "       ringmasterd --version | --help\n",
          f);
}

/* -1: go on; else the exit code. */
static int parse_options(int argc, char **argv, struct options *ret)
{
    enum { OPT_CONFIG = 1, OPT_FOREGROUND, OPT_RESTORE, OPT_VERSION, OPT_HELP };
    static const struct option options[] = {
        {"config", required_argument, NULL, OPT_CONFIG},
        {"foreground", no_argument, NULL, OPT_FOREGROUND},
        {"restore", required_argument, NULL, OPT_RESTORE},
        {"version", no_argument, NULL, OPT_VERSION},
        {"help", no_argument, NULL, OPT_HELP},
        {NULL, 0, NULL, 0},
    };
    for (int opt; (opt = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (opt) {
        case OPT_CONFIG: ret->config = optarg; break;
        case OPT_FOREGROUND: break; /* there is no other way: systemd keeps it in the background */
        case OPT_RESTORE: ret->restore = optarg; break;
        case OPT_VERSION: puts(PACKAGE_STRING); return 0;
        case OPT_HELP: usage(stdout); return 0;
        default: usage(stderr); return EXIT_WRONG_USAGE;
        }
    }
    if (optind == argc)
        return -1;
    usage(stderr);
    return EXIT_WRONG_USAGE;
}

static int fail(const struct log_sink *log, const struct error *e, int code)
{
    log_error(log, "%s%s%s", e->text, e->remedy[0] ? "; " : "", e->remedy);
    return code;
}

/* Held until the process ends: two agents on one node would both write, and both vote. */
static int lock_instance(struct error *e)
{
    if (mkdir(RUN_DIR, 0755) != 0 && errno != EEXIST)
        return error_set(e, ERR_IO, "cannot create %s: %s", RUN_DIR, strerror(errno));
    int fd = open(RUN_DIR "/lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_set(e, ERR_IO, "cannot open %s/lock: %s", RUN_DIR, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    int err = errno == EWOULDBLOCK ? error_set(e, ERR_CONDITION, "another ringmasterd runs on this node")
                                   : error_set(e, ERR_IO, "cannot lock %s/lock: %s", RUN_DIR, strerror(errno));
    close(fd);
    return err;
}

/* What this node is: its identity and its replica, if it has one. */
struct self {
    bool member;
    struct identity identity;
    struct store *store;
    struct db_image image;
};

/* The cluster's first entry is on disk: `cluster init` is answered after that, and nobody joins before. */
static bool is_founded(const struct db_image *image)
{
    for (size_t i = 0; i < image->n_entries; i++)
        if (image->entries[i].kind == ENTRY_CLUSTER_INIT)
            return true;
    return image->tables && tables_has(image->tables, TABLE_CLUSTER, "cluster");
}

static int load_self(struct self *ret, const struct log_sink *log, struct error *e)
{
    int err = identity_load(&ret->identity, e);
    if (err == ERR_NOT_FOUND)
        return 0;
    if (!err)
        err = secrets_check(e);
    if (!err)
        err = store_open(DB_PATH, &ret->identity, &ret->store, &ret->image, e);
    if (!err && ret->image.tables)
        err = level_check_known(ret->image.tables, e);
    ret->member = err == 0;
    if (err) {
        store_close(ret->store);
        db_image_done(&ret->image);
    }
    if (err || !ret->identity.founder || is_founded(&ret->image))
        return err;
    log_warn(log, "forming cluster %s was interrupted -> it is forgotten; form it again", ret->identity.cluster_name);
    store_close(ret->store);
    db_image_done(&ret->image);
    *ret = (struct self){0};
    return identity_forget(e);
}

static struct core *make_core(struct self *self, const struct exec *exec, const struct log_sink *log)
{
    struct core_params p = {
        .identity = self->member ? &self->identity : NULL,
        .image = self->member ? &self->image : NULL,
        .message_max = CPG_MESSAGE_MAX,
        .log = log,
        .version = PACKAGE_VERSION,
        .now_ms = loop_now_ms(),
        .wall_ms = loop_wall_ms(),
        .has_watchdog = exec_has_watchdog(exec),
        .note = exec_note(exec),
    };
    if (getrandom(&p.seed, sizeof(p.seed), 0) != sizeof(p.seed))
        p.seed = (uint64_t)p.wall_ms; /* only jitter and identifiers come from it */
    return core_new(&p);
}

static int run_agent(const struct config *config, struct self *self, const struct log_sink *log)
{
    struct error e = {0};
    struct loop *loop = loop_new(log);
    struct exec_params p = {.loop = loop, .config = config, .log = log, .db_path = DB_PATH, .version = PACKAGE_VERSION};
    struct exec *exec = exec_new(&p);
    struct core *core = make_core(self, exec, log);
    if (exec_start(exec, core, self->store, &e) != 0)
        return fail(log, &e, EXIT_AGAIN);
    loop_on_stop(loop, exec_ask_to_stop);
    int code = loop_run(loop, exec_tick, exec);
    exec_stop(exec);
    log_notice(log, "stopped");
    return code;
}

/* Puts a database copy in the place of the database. What was there stays beside it. */
static int restore(struct self *self, const char *path, const struct log_sink *log)
{
    struct error e = {0};
    AUTO(buf_done) struct buf copy = {0};
    struct db_batch *batch = NULL;
    int err = 0;
    if (!self->member)
        err = error_set(&e, ERR_CONDITION, "this node is in no cluster");
    if (!err)
        err = copy_read("", path, &copy, &e);
    if (!err)
        err = core_restore(&self->image, &self->identity, buf_slice(&copy), &batch, &e);
    if (!err)
        err = store_keep(self->store, ".before-restore", &e);
    if (!err)
        err = store_write(self->store, (struct db_batch *const *)&batch, 1, &e);
    if (err) {
        db_batch_free(batch);
        log_error(log, "%s: %s%s%s -> nothing was changed", path, e.text, e.remedy[0] ? "; " : "", e.remedy);
        return err == ERR_IO ? EXIT_AGAIN : EXIT_PERMANENT;
    }
    store_close(self->store);
    log_notice(log, "%s is the database now, as it was at %llu; what it replaced is " DB_PATH ".before-restore", path,
               (unsigned long long)batch->applied_index);
    db_batch_free(batch);
    return 0;
}

/* An agent idles for months: what one long answer or a burst of writes needed goes back to the system. glibc raises
 * these bounds by itself with every large block that is freed, unless they are set. */
static void bound_free_memory(void)
{
    enum { BYTES = 128 * 1024, ARENAS = 2 };
    mallopt(M_TRIM_THRESHOLD, BYTES);
    mallopt(M_MMAP_THRESHOLD, BYTES);
    mallopt(M_ARENA_MAX, ARENAS); /* of some twenty threads most only wait for an answer */
}

int main(int argc, char **argv)
{
    struct options options = {0};
    int code = parse_options(argc, argv, &options);
    if (code >= 0)
        return code;
    umask(077);
    bound_free_memory();
    bool to_journal = getenv("JOURNAL_STREAM") != NULL;
    struct log_sink log = {.write = log_write, .ctx = &to_journal, .max = LOG_INFO_};
    struct error e = {0};
    struct config config;
    if (config_load(options.config ? options.config : CONFIG_FILE, options.config != NULL, &config, &e) != 0)
        return fail(&log, &e, EXIT_PERMANENT);
    log.max = config.log_level;
    if (lock_instance(&e) != 0)
        return fail(&log, &e, EXIT_AGAIN);
    struct self self = {0};
    if (load_self(&self, &log, &e) != 0)
        return fail(&log, &e, e.code == ERR_IO ? EXIT_AGAIN : EXIT_PERMANENT);
    if (options.restore)
        return restore(&self, options.restore, &log);
    log_notice(&log, "ringmasterd %s on node %s -> %s", PACKAGE_VERSION, config.node,
               self.member ? "member of a cluster" : "in no cluster");
    code = run_agent(&config, &self, &log);
    /* No destructors: threads may still be in calls that block. All that matters is on disk. */
    _exit(code);
}
