/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/io/watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/watchdog.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/wire.h"

#define NOTE_MAGIC 0x4452475227u

enum { PATH_SIZE = 128 };

struct watchdog {
    char path[PATH_SIZE];
    char note_path[PATH_SIZE];
    struct guard_note note; /* as found */
    int note_fd;
    int fd; /* -1: not open */
    bool is_fifo;
    int64_t timeout_ms; /* as set */
};

/* ---- the note: u64 magic, u8 on, u8 fenced, i64 contact_ms, i64 gap_ms, i64 lease_ms, i64 watchdog_ms */

static void note_encode(const struct guard_note *n, struct buf *b)
{
    wire_put_u64(b, NOTE_MAGIC);
    wire_put_u8(b, n->on);
    wire_put_u8(b, n->fenced);
    wire_put_i64(b, n->contact_ms);
    wire_put_i64(b, n->gap_ms);
    wire_put_i64(b, n->lease_ms);
    wire_put_i64(b, n->watchdog_ms);
}

static void note_read(const char *path, struct guard_note *ret)
{
    uint8_t bytes[64];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd < 0 ? -1 : read(fd, bytes, sizeof(bytes));
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return;
    struct wire_reader r = wire_reader((struct slice){bytes, (size_t)n});
    uint64_t magic = wire_get_u64(&r);
    struct guard_note note = {0};
    note.on = wire_get_u8(&r) != 0;
    note.fenced = wire_get_u8(&r) != 0;
    note.contact_ms = wire_get_i64(&r);
    note.gap_ms = wire_get_i64(&r);
    note.lease_ms = wire_get_i64(&r);
    note.watchdog_ms = wire_get_i64(&r);
    if (wire_end(&r) == 0 && magic == NOTE_MAGIC)
        *ret = note;
}

static int note_keep(struct watchdog *w, const struct guard_note *n, struct error *e)
{
    AUTO(buf_done) struct buf b = {0};
    note_encode(n, &b);
    if (w->note_fd < 0)
        w->note_fd = open(w->note_path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (w->note_fd < 0 || pwrite(w->note_fd, b.p, b.len, 0) != (ssize_t)b.len)
        return error_set(e, ERR_IO, "cannot write %s: %s", w->note_path, strerror(errno));
    return 0;
}

/* ---- the watchdog */

struct watchdog *watchdog_new_in(const char *run_dir, const char *path)
{
    struct watchdog *w = xcalloc(1, sizeof(*w));
    w->note_fd = w->fd = -1;
    if (!str_eq(path, "none"))
        STR_COPY(w->path, path);
    snprintf(w->note_path, sizeof(w->note_path), "%s/guard", run_dir);
    note_read(w->note_path, &w->note);
    return w;
}

struct watchdog *watchdog_new(const char *path)
{
    return watchdog_new_in("/run/ringmaster", path);
}

bool watchdog_is_there(const struct watchdog *w)
{
    struct stat st;
    return w->path[0] && stat(w->path, &st) == 0 && (S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode));
}

struct guard_note watchdog_note(const struct watchdog *w)
{
    return w->note;
}

static int fail(const struct watchdog *w, const char *what, struct error *e)
{
    return error_set(e, ERR_IO, "cannot %s %s: %s", what, w->path, strerror(errno));
}

static int open_it(struct watchdog *w, struct error *e)
{
    struct stat st;
    if (w->fd >= 0)
        return 0;
    int fd = w->path[0] ? open(w->path, O_WRONLY | O_NONBLOCK | O_CLOEXEC) : -1;
    if (fd < 0 && !w->path[0])
        return error_set(e, ERR_IO, "there is no watchdog");
    if (fd < 0)
        return fail(w, "open", e);
    if (fstat(fd, &st) != 0 || (!S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode))) {
        close(fd);
        return error_set(e, ERR_IO, "%s is neither a device nor a FIFO", w->path);
    }
    w->fd = fd;
    w->is_fifo = S_ISFIFO(st.st_mode);
    w->timeout_ms = 0;
    return 0;
}

static int write_line(struct watchdog *w, const char *line, struct error *e)
{
    ssize_t n = (ssize_t)strlen(line);
    return write(w->fd, line, (size_t)n) == n ? 0 : fail(w, "write to", e);
}

/* Devices count in seconds, and a driver may round: later than the cluster waits for would be of no use. */
static int set_timeout(struct watchdog *w, int64_t ms, struct error *e)
{
    int seconds = (int)(ms / 1000);
    if (w->timeout_ms == ms)
        return 0;
    if (seconds < 1 || ioctl(w->fd, WDIOC_SETTIMEOUT, &seconds) != 0 || (int64_t)seconds * 1000 > ms) {
        error_set(e, ERR_IO, "%s cannot be set to end the node within %lld ms", w->path, (long long)ms);
        error_set_remedy(e, "clusterctl cluster config set fence.watchdog_ms MS, a multiple of 1000");
        return ERR_IO;
    }
    w->timeout_ms = ms;
    return 0;
}

static int pet(struct watchdog *w, int64_t ms, struct error *e)
{
    char line[32];
    int err = open_it(w, e);
    if (err)
        return err;
    snprintf(line, sizeof(line), "pet %lld\n", (long long)ms);
    if (w->is_fifo)
        return write_line(w, line, e);
    err = set_timeout(w, ms, e);
    if (!err && ioctl(w->fd, WDIOC_KEEPALIVE, 0) != 0)
        err = fail(w, "pet", e);
    return err;
}

/* An agent that was started again and never petted must open what its predecessor left running. */
static int disarm(struct watchdog *w, struct error *e)
{
    int err = open_it(w, e);
    if (err)
        return err;
    err = write_line(w, w->is_fifo ? "disarm\n" : "V", e);
    close(w->fd);
    w->fd = -1;
    return err;
}

int watchdog_serve(struct watchdog *w, const struct watchdog_call *call, struct error *e)
{
    int err = note_keep(w, &call->note, e);
    if (err)
        return err;
    switch (call->verb) {
    case WATCHDOG_PET: return pet(w, call->note.watchdog_ms, e);
    case WATCHDOG_DISARM: return disarm(w, e);
    case WATCHDOG_LEAVE: break;
    }
    return 0;
}

void watchdog_free(struct watchdog *w)
{
    if (!w)
        return;
    if (w->note_fd >= 0)
        close(w->note_fd);
    if (w->fd >= 0)
        close(w->fd);
    free(w);
}
