/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A folder of a test's own, that goes with everything in it. */
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct tempdir {
    char path[64];
};

static inline struct tempdir tempdir_make(void)
{
    struct tempdir d = {"/tmp/ringmaster-test-XXXXXX"};
    if (!mkdtemp(d.path))
        abort();
    return d;
}

static inline void tempdir_remove_at(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        unlinkat(parent, name, 0);
        return;
    }
    DIR *dir = fdopendir(fd);
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            tempdir_remove_at(fd, entry->d_name);
    closedir(dir);
    unlinkat(parent, name, AT_REMOVEDIR);
}

static inline void tempdir_done(struct tempdir *d)
{
    tempdir_remove_at(AT_FDCWD, d->path);
}

struct temppath {
    char s[512];
};

static inline struct temppath tempdir_path(const struct tempdir *d, const char *below)
{
    struct temppath p;
    int n = snprintf(p.s, sizeof(p.s), "%s%s", d->path, below);
    if (n < 0 || (size_t)n >= sizeof(p.s))
        abort();
    return p;
}

static inline void tempdir_write(const struct tempdir *d, const char *below, const char *text, mode_t mode)
{
    struct temppath p = tempdir_path(d, below);
    FILE *f = fopen(p.s, "w");
    if (!f || fputs(text, f) < 0 || fclose(f) != 0 || chmod(p.s, mode) != 0)
        abort();
}

/* Permission bits, or 0 if there is no such file. */
static inline mode_t tempdir_mode(const struct tempdir *d, const char *below)
{
    struct stat st;
    return lstat(tempdir_path(d, below).s, &st) == 0 ? st.st_mode & 07777 : 0;
}
