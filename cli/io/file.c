/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static int check_mode(const char *path, int fd, bool secret, struct error *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return error_set(e, ERR_USAGE, "%s: %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode) || (secret && !S_ISREG(st.st_mode)))
        return error_set(e, ERR_USAGE, "%s is not a file", path);
    if (secret && (st.st_mode & (S_IRWXG | S_IRWXO))) {
        error_set(e, ERR_USAGE, "%s may be opened by others (mode %04o), and what it holds is no secret any more", path,
                  (unsigned)(st.st_mode & 07777));
        error_set_remedy(e, "replace it (a join token by clusterctl cluster join-token, a key by its issuer), and "
                            "keep it in a file of mode 0600");
        return ERR_USAGE;
    }
    return 0;
}

static int read_all(const char *path, int fd, char **ret_text, struct error *e)
{
    AUTO(freep) char *text = xmalloc(FILE_TEXT_MAX + 2);
    size_t len = 0;
    for (;;) {
        ssize_t n = read(fd, text + len, FILE_TEXT_MAX + 1 - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(e, ERR_USAGE, "%s: %s", path, strerror(errno));
        len += (size_t)n;
        if (len > FILE_TEXT_MAX)
            return error_set(e, ERR_USAGE, "%s is longer than %d bytes", path, FILE_TEXT_MAX);
        if (n == 0)
            break;
    }
    if (memchr(text, '\0', len))
        return error_set(e, ERR_USAGE, "%s is not a text file", path);
    if (len == 0)
        return error_set(e, ERR_USAGE, "%s is empty", path);
    text[len] = '\0';
    *ret_text = text;
    text = NULL;
    return 0;
}

int file_read(const char *path, bool secret, char **ret_text, struct error *e)
{
    if (!secret && str_eq(path, "-"))
        return read_all("the standard input", STDIN_FILENO, ret_text, e);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | (secret ? O_NONBLOCK : 0));
    if (fd < 0)
        return error_set(e, ERR_USAGE, "%s: %s", path, strerror(errno));
    int err = check_mode(path, fd, secret, e);
    if (!err)
        err = read_all(path, fd, ret_text, e);
    close(fd);
    return err;
}

/* ---- looking around ---------------------------------------------------------------------------------------------- */

char **file_glob(const char *pattern)
{
    glob_t found = {0};
    bool any = glob(pattern, 0, NULL, &found) == 0;
    size_t n = any ? found.gl_pathc : 0;
    char **paths = xcalloc(n + 1, sizeof(char *));
    for (size_t i = 0; i < n; i++)
        paths[i] = xstrdup(found.gl_pathv[i]);
    globfree(&found);
    return paths;
}

void file_glob_free(char **paths)
{
    for (size_t i = 0; paths[i]; i++)
        free(paths[i]);
    free(paths);
}

int file_read_plain(const char *path, size_t max, struct buf *text, struct error *e)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    int number = fd < 0 ? errno : fstat(fd, &st) ? errno : S_ISREG(st.st_mode) ? 0 : EINVAL;
    while (!number && text->len < max) {
        uint8_t chunk[16384];
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n > 0)
            buf_add(text, chunk, (size_t)n < max - text->len ? (size_t)n : max - text->len);
        else if (n == 0)
            break;
        else if (errno != EINTR)
            number = errno;
    }
    if (fd >= 0)
        close(fd);
    return number ? error_set(e, ERR_FAILED, "%s: %s", path, strerror(number)) : 0;
}

int64_t file_size(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (int64_t)st.st_size : 0;
}

/* ---- writing a secret -------------------------------------------------------------------------------------------- */

static int set_exists(const char *path, struct error *e)
{
    error_set(e, ERR_USAGE, "%s exists", path);
    error_set_remedy(e, "name another file, or replace this one with --force");
    return ERR_USAGE;
}

int file_secret_begin(const char *path, bool replace, struct file_secret *ret, struct error *e)
{
    struct stat st;
    if (!replace && lstat(path, &st) == 0)
        return set_exists(path, e);
    AUTO(buf_done) struct buf name = {0};
    buf_printf(&name, "%s.XXXXXX", path);
    AUTO(freep) char *temporary = buf_steal_str(&name);
    int fd = mkostemp(temporary, O_CLOEXEC); /* mode 0600, whatever the umask adds to it */
    if (fd < 0)
        return error_set(e, ERR_USAGE, "%s cannot be written: %s", path, strerror(errno));
    *ret = (struct file_secret){.path = xstrdup(path), .temporary = temporary, .fd = fd, .replace = replace};
    temporary = NULL;
    return 0;
}

static int write_all(int fd, const char *text)
{
    size_t len = strlen(text), done = 0;
    while (done < len) {
        ssize_t n = write(fd, text + done, len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        done += (size_t)n;
    }
    return fchmod(fd, S_IRUSR | S_IWUSR) == 0 && fsync(fd) == 0 ? 0 : -1;
}

/* link() refuses a name that exists, rename() replaces it: each in one step. */
static int give_name(const struct file_secret *s)
{
    return s->replace ? rename(s->temporary, s->path) : link(s->temporary, s->path);
}

int file_secret_end(struct file_secret *s, const char *text, struct error *e)
{
    int err = 0;
    if (text && (write_all(s->fd, text) != 0 || give_name(s) != 0)) {
        if (errno == EEXIST)
            err = set_exists(s->path, e);
        else
            err = error_set(e, ERR_FAILED, "%s cannot be written: %s", s->path, strerror(errno));
    }
    unlink(s->temporary); /* renamed: it is not there any more */
    close(s->fd);
    free(s->path);
    free(s->temporary);
    *s = (struct file_secret){.fd = -1};
    return err;
}
