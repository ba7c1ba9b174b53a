/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/io/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/io/program.h"

static const char tar_path[] = "/usr/bin/tar", zstd_path[] = "/usr/bin/zstd", gzip_path[] = "/usr/bin/gzip";

struct archive {
    char *top;  /* made by mkdtemp */
    char *name; /* of the folder in it */
    int dir;    /* that folder */
    char **files;
    size_t n;
};

const char *archive_suffix(void)
{
    return program_exists(zstd_path) ? ".tar.zst" : ".tar.gz";
}

static int set_errno(struct error *e, const char *what)
{
    return error_set(e, ERR_FAILED, "%s: %s", what, strerror(errno));
}

static char *join(const char *a, const char *b)
{
    struct buf s = {0};
    buf_printf(&s, "%s/%s", a, b);
    return buf_steal_str(&s);
}

static void archive_free(struct archive *a)
{
    AUTO(freep) char *folder = join(a->top, a->name);
    for (size_t i = 0; i < a->n; i++) {
        if (a->dir >= 0)
            unlinkat(a->dir, a->files[i], 0);
        free(a->files[i]);
    }
    if (a->dir >= 0)
        close(a->dir);
    rmdir(folder);
    rmdir(a->top);
    free(a->files);
    free(a->top);
    free(a->name);
    free(a);
}

int archive_begin(const char *name, struct archive **ret, struct error *e)
{
    char top[] = "/var/tmp/ringmaster-XXXXXX"; /* mode 0700 */
    if (!mkdtemp(top))
        return set_errno(e, "/var/tmp");
    struct archive *a = xcalloc(1, sizeof(*a));
    *a = (struct archive){.top = xstrdup(top), .name = xstrdup(name), .dir = -1};
    AUTO(freep) char *folder = join(top, name);
    if (mkdir(folder, 0700) == 0)
        a->dir = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (a->dir < 0) {
        int err = set_errno(e, folder);
        archive_free(a);
        return err;
    }
    *ret = a;
    return 0;
}

static int write_all(int fd, const struct buf *text)
{
    for (size_t done = 0; done < text->len;) {
        ssize_t n = write(fd, text->p + done, text->len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        done += (size_t)n;
    }
    return 0;
}

int archive_add(struct archive *a, const char *name, const struct buf *text, struct error *e)
{
    int fd = openat(a->dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return set_errno(e, name);
    a->files = xrealloc(a->files, a->n + 1, sizeof(a->files[0]));
    a->files[a->n++] = xstrdup(name);
    int err = write_all(fd, text) ? set_errno(e, name) : 0;
    close(fd);
    return err;
}

/* ---- packing ------------------------------------------------------------------------------------------------------
 */

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n > m && str_eq(s + n - m, end);
}

static int pack(const struct archive *a, bool is_zstd, int fd, struct error *e)
{
    const char *const tar[] = {tar_path,         "--create", "--directory", a->top, "--owner=root:0",
                               "--group=root:0", "--",       a->name,       NULL};
    const char *const zstd[] = {zstd_path, "-q", "-c", NULL};
    const char *const gzip[] = {gzip_path, "-c", NULL};
    return program_pipe(tar, is_zstd ? zstd : gzip, fd, e);
}

static int write_archive(const struct archive *a, const char *path, struct error *e)
{
    bool is_zstd = ends_with(path, ".tar.zst");
    struct buf name = {0};
    if (!is_zstd && !ends_with(path, ".tar.gz"))
        return error_set(e, ERR_USAGE, "%s: the name ends in neither .tar.zst nor .tar.gz", path);
    buf_printf(&name, "%s.XXXXXX", path);
    AUTO(freep) char *temporary = buf_steal_str(&name);
    int fd = mkostemp(temporary, O_CLOEXEC); /* mode 0600 */
    if (fd < 0)
        return set_errno(e, path);
    int err = fchmod(fd, 0600) ? set_errno(e, path) : pack(a, is_zstd, fd, e);
    if (!err && (fsync(fd) || link(temporary, path))) /* link() refuses a name that exists */
        err = error_set(e, errno == EEXIST ? ERR_USAGE : ERR_FAILED, "%s: %s", path, strerror(errno));
    unlink(temporary);
    close(fd);
    return err;
}

int archive_end(struct archive *a, const char *path, struct error *e)
{
    int err = path ? write_archive(a, path, e) : 0;
    archive_free(a);
    return err;
}
