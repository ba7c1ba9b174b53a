/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/io/runnable.h"

#include <errno.h>
#include <limits.h>
#include <sys/stat.h>

#include "common/buf.h"
#include "common/text.h"

struct look {
    const char *what, *path;
    uid_t owner;
    struct error *e;
};

static int unsafe(const struct look *l, const char *why)
{
    error_set(l->e, ERR_PERMISSION, "the %s %s is not run: %s", l->what, l->path, why);
    if (l->e)
        error_set_remedy(l->e, "chown root:root and chmod go-w the %s and every folder above it", l->what);
    return ERR_PERMISSION;
}

/* A name in a folder that others may write can be swapped by them; with the sticky bit only what they own. */
static bool others_may_write(const struct stat *st)
{
    return (st->st_mode & (S_IWGRP | S_IWOTH)) != 0;
}

static bool owned(const struct stat *st, uid_t owner)
{
    return st->st_uid == 0 || st->st_uid == owner;
}

static int check_folders(const struct look *l)
{
    char dir[PATH_MAX];
    if (!STR_COPY(dir, l->path))
        return unsafe(l, "its path is too long");
    for (char *slash = strrchr(dir, '/'); slash; slash = strrchr(dir, '/')) {
        slash[slash == dir ? 1 : 0] = '\0'; /* "/" itself is the last one */
        struct stat st;
        if (lstat(dir, &st) < 0)
            return error_set(l->e, ERR_IO, "cannot look at %s, where the %s is: %s", dir, l->what, strerror(errno));
        if (!S_ISDIR(st.st_mode))
            return unsafe(l, "a folder above it is a link");
        if (!owned(&st, l->owner))
            return unsafe(l, "a folder above it does not belong to root");
        if (others_may_write(&st) && !(st.st_mode & S_ISVTX))
            return unsafe(l, "others may write a folder above it");
        if (dir[1] == '\0')
            break;
    }
    return 0;
}

int runnable_check(const char *what, const char *path, uid_t owner, struct error *e)
{
    const struct look look = {what, path, owner, e}, *l = &look;
    struct stat st;
    /* systemd-run replaces what follows a $ in its arguments, and some of its releases offer no way to have it not do
     * so. */
    if (!text_is_plain_path(path))
        return unsafe(l, "its path is not absolute and plain (letters, digits, / . _ + -)");
    if (lstat(path, &st) < 0)
        return error_set(e, ERR_IO, "cannot run the %s %s: %s", what, path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return unsafe(l, "it is no regular file");
    if (!owned(&st, l->owner))
        return unsafe(l, "it does not belong to root");
    if (others_may_write(&st))
        return unsafe(l, "others may write it");
    if (!(st.st_mode & S_IXUSR))
        return unsafe(l, "it is not executable");
    return check_folders(l);
}
