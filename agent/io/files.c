/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/io/files.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/io/pki.h"

struct full_path {
    char s[FILES_PATH_MAX];
};

static struct full_path full(const char *prefix, const char *path, const char *suffix)
{
    struct full_path p;
    int n = snprintf(p.s, sizeof(p.s), "%s%s%s", prefix, path, suffix);
    assert(n > 0 && (size_t)n < sizeof(p.s)); /* paths are the program's own */
    return p;
}

static void closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

/* The kernel may have dropped the dirty pages: a second fsync would lie. */
__attribute__((noreturn)) static void die(const char *path)
{
    dprintf(STDERR_FILENO,
            "<2>cannot sync %s: %s; look for the disk's errors: journalctl -k -> the agent ends at once, and reads the "
            "disk anew\n",
            path, strerror(errno));
    _exit(EXIT_FAILURE);
}

static void sync_or_die(int fd, const char *path)
{
    if (fsync(fd) < 0)
        die(path);
}

static int io_error(struct error *e, const char *doing, const char *path)
{
    int saved = errno;
    error_set(e, ERR_IO, "cannot %s %s: %s", doing, path, strerror(saved));
    if (saved == ENOSPC || saved == EDQUOT)
        error_set_remedy(e, "make room on its file system, then try again");
    else
        error_set_remedy(e, "look for the disk's errors (journalctl -k) and the mount's options, then try again");
    return ERR_IO;
}

static struct full_path folder_of(const struct full_path *p)
{
    struct full_path dir = *p;
    char *slash = strrchr(dir.s, '/');
    assert(slash && slash != dir.s);
    *slash = '\0';
    return dir;
}

static void sync_folder(const struct full_path *p)
{
    struct full_path dir = folder_of(p);
    AUTO(closep) int fd = open(dir.s, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        die(dir.s);
    sync_or_die(fd, dir.s);
}

/* The folder above is synced too: a new name in it counts only then. */
static int make_folder(const struct full_path *dir, struct error *e)
{
    const char *name = strrchr(dir->s, '/') + 1;
    if (mkdir(dir->s, str_eq(name, "private") ? 0700 : 0755) == 0) {
        sync_folder(dir);
        return 0;
    }
    return errno == EEXIST ? 0 : io_error(e, "make the folder", dir->s);
}

static int make_folders(const struct full_path *file, struct error *e)
{
    struct full_path dir = folder_of(file);
    if (access(dir.s, F_OK) == 0)
        return 0;
    for (char *p = dir.s + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        int err = access(dir.s, F_OK) == 0 ? 0 : make_folder(&dir, e);
        *p = '/';
        if (err)
            return err;
    }
    return make_folder(&dir, e);
}

static bool write_all(int fd, struct slice bytes)
{
    while (bytes.len > 0) {
        ssize_t n = write(fd, bytes.p, bytes.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        bytes.p += n;
        bytes.len -= (size_t)n;
    }
    return true;
}

/* Born closed (0600), opened up only when it is whole. */
static bool write_beside(const char *path, struct slice bytes, struct file_mode mode)
{
    AUTO(closep) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || !write_all(fd, bytes))
        return false;
    if ((mode.mode & 0070) != 0 && mode.group != 0 && fchown(fd, (uid_t)-1, mode.group) < 0)
        return false;
    if (fchmod(fd, mode.mode) < 0)
        return false;
    sync_or_die(fd, path);
    return true;
}

int file_install(const char *prefix, const char *path, struct slice bytes, struct file_mode mode, struct error *e)
{
    struct full_path target = full(prefix, path, ""), beside = full(prefix, path, ".new");
    int err = make_folders(&target, e);
    if (err)
        return err;
    unlink(beside.s); /* of a run that was killed */
    if (!write_beside(beside.s, bytes, mode) || rename(beside.s, target.s) < 0) {
        err = io_error(e, "write", target.s);
        unlink(beside.s);
        return err;
    }
    sync_folder(&target);
    return 0;
}

/* Reads to the end, but at most max + 1 bytes: so that the caller sees that there was more. */
static bool read_all(int fd, size_t max, struct buf *ret)
{
    struct buf b = {.p = xmalloc(max + 1), .cap = max + 1};
    while (b.len < b.cap) {
        ssize_t n = read(fd, b.p + b.len, b.cap - b.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            pki_wipe_buf(&b);
            return false;
        }
        if (n == 0)
            break;
        b.len += (size_t)n;
    }
    *ret = b;
    return true;
}

static int check_secret(int fd, const char *path, struct error *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return error_set(e, ERR_IO, "cannot read %s: %s", path, strerror(errno));
    if (st.st_uid != geteuid()) {
        error_set(e, ERR_CONDITION, "%s belongs to uid %u, who could read it and change it", path, (unsigned)st.st_uid);
        error_set_remedy(e, "evict this node and join anew if that uid is not to be trusted; else: chown root %s",
                         path);
        return ERR_CONDITION;
    }
    if (st.st_mode & (S_IRWXG | S_IRWXO)) {
        error_set(e, ERR_CONDITION, "%s is a secret, and others may open it (mode %04o)", path,
                  (unsigned)(st.st_mode & 07777));
        error_set_remedy(e, "evict this node and join anew if somebody could have read it; else: chmod go= %s", path);
        return ERR_CONDITION;
    }
    return 0;
}

static int read_file(const char *prefix, const char *path, size_t max, bool secret, struct buf *ret, struct error *e)
{
    struct full_path p = full(prefix, path, "");
    AUTO(closep) int fd = open(p.s, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return error_set(e, errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_IO, "cannot read %s: %s", p.s,
                         strerror(errno));
    int err = secret ? check_secret(fd, p.s, e) : 0;
    if (err)
        return err;
    struct buf b = {0};
    if (!read_all(fd, max, &b))
        return error_set(e, ERR_IO, "cannot read %s: %s", p.s, strerror(errno));
    if (b.len > max) {
        pki_wipe_buf(&b);
        return error_set(e, ERR_TOO_BIG, "%s is larger than %zu bytes", p.s, max);
    }
    *ret = b;
    return 0;
}

int file_read(const char *prefix, const char *path, size_t max, struct buf *ret, struct error *e)
{
    return read_file(prefix, path, max, false, ret, e);
}

int file_read_secret(const char *prefix, const char *path, size_t max, struct buf *ret, struct error *e)
{
    return read_file(prefix, path, max, true, ret, e);
}

int file_rename(const char *prefix, const char *from, const char *to, struct error *e)
{
    struct full_path source = full(prefix, from, ""), target = full(prefix, to, "");
    if (rename(source.s, target.s) < 0)
        return io_error(e, "rename", source.s);
    sync_folder(&target);
    return 0;
}

int file_remove(const char *prefix, const char *path, struct error *e)
{
    struct full_path p = full(prefix, path, "");
    if (unlink(p.s) < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : io_error(e, "remove", p.s);
    sync_folder(&p);
    return 0;
}
