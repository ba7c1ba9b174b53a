/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backup/io/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

void closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

bool write_at(int fd, const void *p, size_t n, uint64_t offset)
{
    const uint8_t *bytes = p;
    while (n > 0) {
        ssize_t done = pwrite(fd, bytes, n, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done == 0)
            errno = ENOSPC;
        if (done <= 0)
            return false;
        bytes += done;
        offset += (uint64_t)done;
        n -= (size_t)done;
    }
    return true;
}

bool read_at(int fd, void *p, size_t n, uint64_t offset)
{
    uint8_t *bytes = p;
    while (n > 0) {
        ssize_t done = pread(fd, bytes, n, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done == 0)
            errno = EIO;
        if (done <= 0)
            return false;
        bytes += done;
        offset += (uint64_t)done;
        n -= (size_t)done;
    }
    return true;
}

int folder_error(const struct folder *f, const char *name, const char *doing, int saved_errno, struct error *e)
{
    error_set(e, ERR_IO, "cannot %s %s/%s: %s", doing, f->path, name, strerror(saved_errno));
    if (saved_errno == ENOSPC || saved_errno == EDQUOT)
        error_set_remedy(e, "make room there (in a repository: ringmaster-backup prune), then try again");
    else if (saved_errno == EROFS || saved_errno == EACCES || saved_errno == EPERM)
        error_set_remedy(e, "mount the repository for writing, for this user, then try again");
    else
        error_set_remedy(e, "look for the disk's errors (journalctl -k) and at the mount, then try again");
    return ERR_IO;
}

/* Of a path: whatever links led there. */
static int sync_above(const struct folder *f, struct error *e)
{
    AUTO(closep) int fd = openat(f->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? folder_error(f, "..", "sync", errno, e) : 0;
}

int folder_open(const struct folder *above, const char *name, bool create, struct folder *ret, struct error *e)
{
    struct folder f = {.fd = -1};
    int at = above ? above->fd : AT_FDCWD;
    int n = snprintf(f.path, sizeof(f.path), "%s%s%s", above ? above->path : "", above ? "/" : "", name);
    if (n < 0 || (size_t)n >= sizeof(f.path) - LAYOUT_NAME_MAX)
        return error_set(e, ERR_TOO_BIG, "the path %.40s… is longer than %d bytes", name,
                         FOLDER_PATH_MAX - LAYOUT_NAME_MAX);
    if (create && mkdirat(at, name, 0700) < 0 && errno != EEXIST)
        return folder_error(&f, "", "make the folder", errno, e);
    if (create && above && fsync(above->fd) < 0)
        return folder_error(above, "", "sync", errno, e);
    f.fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (above ? O_NOFOLLOW : 0));
    if (f.fd < 0)
        return error_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "cannot open the folder %s: %s", f.path,
                         strerror(errno));
    int err = create && !above ? sync_above(&f, e) : 0;
    if (err) {
        folder_done(&f);
        return err;
    }
    *ret = f;
    return 0;
}

int folder_open_of(const char *path, struct folder *ret, struct layout_name *ret_name, struct error *e)
{
    char above[FOLDER_PATH_MAX];
    struct layout_name name = {{0}};
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    if (!STR_COPY(above, path) || strlen(base) + sizeof(LAYOUT_PARTIAL) > sizeof(name.s) || base[0] == '\0' ||
        str_eq(base, ".") || str_eq(base, ".."))
        return error_set(e, ERR_USAGE, "'%.200s' is no name for a file that is to be made", path);
    above[base - path] = '\0';
    STR_COPY(name.s, base);
    int err = folder_open(NULL, slash ? above : ".", false, ret, e);
    if (!err)
        *ret_name = name;
    return err;
}

void folder_done(struct folder *f)
{
    closep(&f->fd);
}

int folder_open_file(const struct folder *f, const char *name, int *ret_fd, uint64_t *ret_bytes, struct error *e)
{
    AUTO(closep) int fd = openat(f->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return error_set(e, ERR_NOT_FOUND, "%s/%s is not there", f->path, name);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return folder_error(f, name, "open", errno, e);
    if (!S_ISREG(st.st_mode))
        return error_set(e, ERR_CONDITION, "%s/%s is no regular file", f->path, name);
    *ret_bytes = (uint64_t)st.st_size;
    *ret_fd = fd;
    fd = -1;
    return 0;
}

int folder_read(const struct folder *f, const char *name, size_t max, struct buf *ret, struct error *e)
{
    AUTO(closep) int fd = -1;
    uint64_t bytes;
    int err = folder_open_file(f, name, &fd, &bytes, e);
    if (err)
        return err;
    if (bytes > max)
        return error_set(e, ERR_TOO_BIG, "%s/%s is larger than %zu bytes", f->path, name, max);
    struct buf b = {.p = xmalloc(bytes + 1), .len = bytes, .cap = bytes + 1};
    if (!read_at(fd, b.p, bytes, 0)) {
        err = folder_error(f, name, "read", errno, e);
        buf_done(&b);
        return err;
    }
    *ret = b;
    return 0;
}

static struct layout_name partial_of(const char *name)
{
    struct layout_name p = {{0}};
    snprintf(p.s, sizeof(p.s), "%.*s" LAYOUT_PARTIAL, (int)(sizeof(p.s) - sizeof(LAYOUT_PARTIAL)), name);
    return p;
}

int folder_create(const struct folder *f, const char *name, int flags, int *ret_fd, struct error *e)
{
    struct layout_name partial = partial_of(name);
    int err = folder_remove(f, partial.s, e);
    if (err)
        return err;
    int always = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(f->fd, partial.s, always | flags, 0600);
    if (fd < 0 && (flags & O_DIRECT) && errno == EINVAL) { /* it may have made the file all the same */
        unlinkat(f->fd, partial.s, 0);
        fd = openat(f->fd, partial.s, always | (flags & ~O_DIRECT), 0600);
    }
    if (fd < 0)
        return folder_error(f, partial.s, "create", errno, e);
    *ret_fd = fd;
    return 0;
}

static bool is_file(const struct folder *f, const char *name, int fd)
{
    struct stat a, b;
    return fstat(fd, &a) == 0 && fstatat(f->fd, name, &b, AT_SYMLINK_NOFOLLOW) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

static int lost(const struct folder *f, const char *partial, struct error *e)
{
    error_set(e, ERR_CONDITION, "%s/%s was removed or replaced by another program while it was written", f->path,
              partial);
    error_set_remedy(e, "see that nothing else writes there, then try again");
    return ERR_CONDITION;
}

static int give_name(const struct folder *f, const char *name, int fd, struct error *e)
{
    char path[40];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (linkat(AT_FDCWD, path, f->fd, name, AT_SYMLINK_FOLLOW) == 0)
        return 0;
    if (errno == ENOENT) /* the file has no name any more */
        return lost(f, partial_of(name).s, e);
    if (errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS) {
        error_set(e, ERR_CONDITION, "%s lies on a file system that has no hard links", f->path);
        error_set_remedy(e, "use one that has them, as ext4, XFS and NFS do");
        return ERR_CONDITION;
    }
    if (errno != EEXIST)
        return folder_error(f, name, "publish", errno, e);
    error_set(e, ERR_CONDITION, "%s/%s is there already, and nothing is overwritten", f->path, name);
    error_set_remedy(e, "name another file, or remove this one");
    return ERR_CONDITION;
}

/* The second name of what was published, or the only one of what is given up; another's file stays. */
static int drop_partial(const struct folder *f, const char *name, int fd, struct error *e)
{
    struct layout_name partial = partial_of(name);
    return is_file(f, partial.s, fd) ? folder_remove(f, partial.s, e) : 0;
}

int folder_publish(const struct folder *f, const char *name, int fd, bool replace, struct error *e)
{
    struct layout_name partial = partial_of(name);
    if (fsync(fd) < 0)
        return folder_error(f, partial.s, "sync", errno, e);
    int err = 0;
    if (!replace)
        err = give_name(f, name, fd, e);
    else if (!is_file(f, partial.s, fd))
        err = lost(f, partial.s, e);
    else if (renameat(f->fd, partial.s, f->fd, name) < 0)
        err = folder_error(f, name, "publish", errno, e);
    if (!err)
        err = drop_partial(f, name, fd, e);
    return err ? err : folder_sync(f, e);
}

int folder_install(const struct folder *f, const char *name, struct slice bytes, struct error *e)
{
    AUTO(closep) int fd = -1;
    int err = folder_create(f, name, 0, &fd, e);
    if (err)
        return err;
    if (!write_at(fd, bytes.p, bytes.len, 0))
        err = folder_error(f, name, "write", errno, e);
    else
        err = folder_publish(f, name, fd, false, e);
    if (err)
        folder_forget(f, name, fd);
    return err;
}

int folder_remove(const struct folder *f, const char *name, struct error *e)
{
    if (unlinkat(f->fd, name, 0) < 0 && errno != ENOENT)
        return folder_error(f, name, "remove", errno, e);
    return 0;
}

void folder_forget(const struct folder *f, const char *name, int fd)
{
    (void)drop_partial(f, name, fd, NULL);
}

void folder_tidy(const struct folder *f, const char *name)
{
    AUTO(closep) int fd = -1;
    uint64_t bytes;
    if (folder_open_file(f, name, &fd, &bytes, NULL) == 0)
        folder_forget(f, name, fd);
}

bool folder_is(const struct folder *f, const char *name)
{
    struct stat st;
    return fstatat(f->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

int folder_sync(const struct folder *f, struct error *e)
{
    return fsync(f->fd) < 0 ? folder_error(f, "", "sync", errno, e) : 0;
}

void folder_list_free(char **names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(names[i]);
    free(names);
}

int folder_list(const struct folder *f, size_t max, char ***ret_names, size_t *ret_n, struct error *e)
{
    int fd = openat(f->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        int saved = errno;
        closep(&fd);
        return folder_error(f, "", "list", saved, e);
    }
    char **names = NULL;
    size_t n = 0;
    errno = 0;
    for (struct dirent *entry = readdir(dir); entry && n <= max; entry = readdir(dir)) {
        if (entry->d_name[0] == '.')
            continue;
        names = xrealloc(names, n + 1, sizeof(*names));
        names[n++] = xstrdup(entry->d_name);
        errno = 0;
    }
    int saved = errno;
    closedir(dir);
    int err = 0;
    if (saved)
        err = folder_error(f, "", "list", saved, e);
    else if (n > max)
        err = error_set(e, ERR_TOO_BIG, "%s holds more than %zu files", f->path, max);
    if (err) {
        folder_list_free(names, n);
        return err;
    }
    *ret_names = names;
    *ret_n = n;
    return 0;
}

int folder_room(const struct folder *f, uint64_t *ret_bytes, struct error *e)
{
    struct statvfs fs;
    if (fstatvfs(f->fd, &fs) < 0)
        return folder_error(f, "", "see how much room there is in", errno, e);
    *ret_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    return 0;
}

int folder_lock(const struct folder *f, const char *name, bool alone, int *ret_fd, struct error *e)
{
    /* A reader of a repository that is mounted read-only has no writer to fear. */
    AUTO(closep) int fd = openat(f->fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 && !alone && (errno == EROFS || errno == EACCES))
        fd = openat(f->fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return folder_error(f, name, "open", errno, e);
    struct flock lock = {.l_type = alone ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &lock) < 0) {
        if (errno != EAGAIN && errno != EACCES)
            return folder_error(f, name, "lock", errno, e);
        error_set(e, ERR_AGAIN, "%s is in use by another backup, restore or prune", f->path);
        error_set_remedy(e, "wait until it has ended, then try again");
        return ERR_AGAIN;
    }
    *ret_fd = fd;
    fd = -1;
    return 0;
}
