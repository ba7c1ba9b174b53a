/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/io/copies.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/io/files.h"
#include "agent/io/paths.h"

#define PREFIX "before-level-"
#define FRESH  RINGMASTER_STATE_DIR "/before-level"

enum { COPY_SIZE_MAX = 512 << 20, COPIES_SEEN_MAX = 64 };

/* "before-level-2.20261130T183000Z": the time is what follows the '.'. */
static const char *time_of(const char *name)
{
    const char *dot = strchr(name, '.');
    return dot ? dot + 1 : "";
}

static int by_time(const void *a, const void *b)
{
    return strcmp(time_of(*(char *const *)a), time_of(*(char *const *)b));
}

static bool is_copy(const char *name)
{
    size_t len = strlen(name);
    return strncmp(name, PREFIX, strlen(PREFIX)) == 0 && strchr(name, '.') && len > 0 && name[len - 1] == 'Z';
}

static size_t list_copies(const char *prefix, char *ret[COPIES_SEEN_MAX])
{
    char path[FILES_PATH_MAX];
    size_t n = 0;
    snprintf(path, sizeof(path), "%s%s", prefix, RINGMASTER_STATE_DIR);
    DIR *dir = opendir(path);
    if (!dir)
        return 0;
    for (const struct dirent *d; n < COPIES_SEEN_MAX && (d = readdir(dir)) != NULL;)
        if (is_copy(d->d_name))
            ret[n++] = xstrdup(d->d_name);
    closedir(dir);
    return n;
}

/* A file that stays does no harm: the next copy tries again. */
static void remove_oldest(const char *prefix)
{
    char *names[COPIES_SEEN_MAX], path[FILES_PATH_MAX];
    struct error e;
    size_t n = list_copies(prefix, names);
    qsort(names, n, sizeof(names[0]), by_time);
    for (size_t i = 0; i < n; i++) {
        snprintf(path, sizeof(path), "%s/%s", RINGMASTER_STATE_DIR, names[i]);
        if (i + COPIES_KEPT < n)
            (void)file_remove(prefix, path, &e);
        free(names[i]);
    }
}

/* Under one name until it is whole, which an error names, and which the next try writes over. */
int copy_keep(const char *prefix, const char *name, struct slice bytes, struct error *e)
{
    char path[FILES_PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", RINGMASTER_STATE_DIR, name);
    int err = file_install(prefix, FRESH, bytes, (struct file_mode){.mode = 0600}, e);
    if (!err)
        err = file_rename(prefix, FRESH, path, e);
    if (!err)
        remove_oldest(prefix);
    return err;
}

int copy_read(const char *prefix, const char *path, struct buf *ret, struct error *e)
{
    char whole[FILES_PATH_MAX];
    int n = strchr(path, '/') ? snprintf(whole, sizeof(whole), "%s", path)
                              : snprintf(whole, sizeof(whole), "%s/%s", RINGMASTER_STATE_DIR, path);
    if (n < 0 || (size_t)n >= sizeof(whole))
        return error_set(e, ERR_NOT_FOUND, "%.64s…: the path is too long", path);
    return file_read_secret(prefix, whole, COPY_SIZE_MAX, ret, e);
}
