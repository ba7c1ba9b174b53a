/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <uuid/uuid.h>

#include "backup/worker/worker.h"

static const struct {
    const char *name, *help;
    int (*run)(const struct options *o, struct json **ret, struct error *e);
} verbs[] = {
    {"init", "REPOSITORY --key-file FILE", verb_init},
    {"export", "REPOSITORY --key-file FILE --vm VM --disk NAME=URI… [--bitmap NAME=BITMAP]… [--parent UUID]",
     verb_export},
    {"rescan", "REPOSITORY --key-file FILE --vm VM --disk NAME=URI…", verb_rescan},
    {"restore", "REPOSITORY --key-file FILE --vm VM [--point UUID] --disk NAME=FILE… [--format raw|qcow2]",
     verb_restore},
    {"verify", "REPOSITORY --key-file FILE [--vm VM [--point UUID]]", verb_verify},
    {"list", "REPOSITORY --key-file FILE [--vm VM]", verb_list},
    {"synthesize", "REPOSITORY --key-file FILE --vm VM [--dry-run]", verb_synthesize},
    {"prune", "REPOSITORY --key-file FILE --vm VM --keep-last N… [--fold] [--dry-run]", verb_prune},
    {"run", "--spec FILE", verb_run},
    {"settle", "--spec FILE", verb_settle},
};
enum { N_VERBS = sizeof(verbs) / sizeof(verbs[0]), PROGRESS_MS = 500 };

int64_t clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t wall_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct uuid uuid_random(void)
{
    struct uuid u;
    uuid_generate(u.b);
    return u;
}

/* Nobody may listen any more: the work is done all the same. */
void say(struct json *line)
{
    char *text = json_dump(line);
    printf("%s\n", text);
    fflush(stdout);
    free(text);
    json_free(line);
}

void progress_at(struct progress *p, uint64_t done_bytes, uint64_t disk_position)
{
    int64_t now = clock_ms();
    if (now - p->last_ms < PROGRESS_MS)
        return;
    p->last_ms = now;
    struct json *j = json_object_new();
    json_set_str(j, "event", "progress");
    json_set_str(j, "work", p->work);
    json_set_str(j, "object", p->object);
    json_set_int(j, "done_bytes", (int64_t)done_bytes);
    json_set(j, "total_bytes", p->total_bytes ? json_int_new((int64_t)p->total_bytes) : json_null_new());
    json_set_int(j, "position", (int64_t)disk_position);
    say(j);
}

int verb_init(const struct options *o, struct json **ret, struct error *e)
{
    (void)ret;
    return repository_create(o, e);
}

static int usage(void)
{
    for (size_t i = 0; i < N_VERBS; i++)
        dprintf(STDERR_FILENO, "ringmaster-backup %s %s\n", verbs[i].name, verbs[i].help);
    dprintf(STDERR_FILENO, "ringmaster-backup(7) says what each does\n");
    return err_exit_code(ERR_USAGE);
}

static int report(int err, struct json *data, const struct error *e)
{
    struct json *j = json_object_new();
    json_set_str(j, "event", err ? "error" : "done");
    if (err) {
        json_set_str(j, "code", err_name(err));
        json_set_str(j, "error", e->text);
        json_set_str(j, "remedy", e->remedy);
        fprintf(stderr, "ringmaster-backup: %s%s%s\n", e->text, e->remedy[0] ? " -> " : "", e->remedy);
    }
    json_set(j, "data", data ? data : json_null_new());
    say(j);
    return err_exit_code(err);
}

int main(int argc, char **argv)
{
    struct error e = {0};
    struct json *data = NULL;
    size_t i = 0;
    signal(SIGPIPE, SIG_IGN);
    umask(077);
    while (argc > 1 && i < N_VERBS && !str_eq(argv[1], verbs[i].name))
        i++;
    if (argc < 2 || i == N_VERBS)
        return usage();
    struct options *o = xcalloc(1, sizeof(*o));
    int err = options_parse(argc - 1, argv + 1, o, &e);
    if (!err)
        err = verbs[i].run(o, &data, &e);
    int code = report(err, data, &e);
    free(o);
    return code;
}
