/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The folder holds each record under its own sequence number, NAME.17; the highest is the one that counts.
 *
 *     write   NAME.new.NONCE, sync it, link(NAME.new.NONCE, NAME.18), unlink NAME.new.NONCE, sync the folder
 *     then    look again: nobody may have come further meanwhile; remove what is KEPT behind
 *
 * link() is the conditional write: of all that saw 17, the server lets one make 18. A lock and a rename would not do. A
 * client that is cut off while it holds a lock loses it with its lease, and its rename, when it is back, is bound to no
 * lock: it would put an old record over a newer one, after somebody was told that the newer one is there. And the lock
 * of a node that died would keep the others out for as long as a lease lasts. Nothing is ever put over a record here.
 *
 * A client that is away for so long that 18 was written and removed again can make 18 once more, and finds by its
 * second look that others are far ahead. The folder is looked at by AT_STATX_FORCE_SYNC: what NFS has cached of it, and
 * is older than what the server says, is then dropped.
 *
 * Only what fails before link() is surely not written: a link() or a sync that fails may have been done. */
#include "witness/io/share.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/hash.h"
#include "witness/record.h"

enum { KEPT = 8, READS_MAX = 4, STALE_S = 3600, FILE_NAME_MAX = SHARE_NAME_MAX + 64 };

struct file_name {
    char s[FILE_NAME_MAX];
};

struct work {
    const struct share_place *place;
    const struct witness_call *call;
    bool (*is_wanted)(void *ctx);
    void *ctx;
    int dir;
    struct share_outcome *ret;
};

static void closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static bool is_write(const struct work *w)
{
    return w->call->op == WITNESS_CREATE || w->call->op == WITNESS_PUT;
}

/* ---- how it ends; all return false, for the caller to pass on */

static bool end(struct work *w, enum witness_outcome outcome, enum witness_cause cause)
{
    w->ret->outcome = outcome;
    w->ret->cause = cause;
    return false;
}

/* otherwise: what an error means that says nothing of its own. */
static bool end_errno(struct work *w, const char *doing, enum witness_outcome otherwise)
{
    int saved = errno;
    snprintf(w->ret->detail, sizeof(w->ret->detail), "%s: %s", doing, strerror(saved));
    switch (saved) {
    case ENOENT:
    case ENOTDIR:
    case ENODEV: return end(w, WITNESS_UNREACHABLE, WITNESS_CAUSE_SHARE_AWAY);
    case EACCES:
    case EPERM:
    case EROFS: return end(w, WITNESS_REFUSED, WITNESS_CAUSE_SHARE_DENIED);
    case ENOSPC:
    case EDQUOT: return end(w, WITNESS_REFUSED, WITNESS_CAUSE_SHARE_FULL);
    case EOPNOTSUPP:
    case ENOSYS:
    case EMLINK: return end(w, WITNESS_REFUSED, WITNESS_CAUSE_SHARE_LINKS);
    default: return end(w, otherwise, WITNESS_CAUSE_SHARE_IO);
    }
}

/* A step before link(): a write was surely not done; a read has no answer. */
static bool end_early(struct work *w, const char *doing)
{
    return end_errno(w, doing, is_write(w) ? WITNESS_UNREACHABLE : WITNESS_UNKNOWN);
}

/* ---- names */

static struct file_name name_of(const struct work *w, uint64_t sequence)
{
    struct file_name n;
    snprintf(n.s, sizeof(n.s), "%s.%" PRIu64, w->place->name, sequence);
    return n;
}

static struct file_name name_of_new(const struct work *w)
{
    struct file_name n;
    snprintf(n.s, sizeof(n.s), "%s.new.%s", w->place->name, uuid_str(&w->call->record.nonce).s);
    return n;
}

/* What follows "NAME."; NULL: it is none of ours. */
static const char *rest_of(const struct work *w, const char *file)
{
    size_t n = strlen(w->place->name);
    return strncmp(file, w->place->name, n) == 0 && file[n] == '.' ? file + n + 1 : NULL;
}

/* 0: no sequence number, in its one form. */
static uint64_t sequence_of(const char *s)
{
    uint64_t v = 0;
    if (*s < '1' || *s > '9' || strlen(s) > 19)
        return 0;
    for (; *s >= '0' && *s <= '9'; s++)
        v = v * 10 + (uint64_t)(*s - '0');
    return *s == '\0' ? v : 0;
}

/* ---- the folder */

static bool is_local(const struct stat *st)
{
    struct stat root;
    return stat("/", &root) == 0 && root.st_dev == st->st_dev;
}

static bool open_folder(struct work *w)
{
    struct stat st;
    w->dir = open(w->place->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (w->dir < 0 || fstat(w->dir, &st) != 0)
        return end_early(w, "open");
    if (!w->place->may_be_local && is_local(&st))
        return end(w, WITNESS_UNREACHABLE, WITNESS_CAUSE_SHARE_AWAY);
    return true;
}

/* Drops what the client remembers of the folder. */
static bool refresh(struct work *w)
{
    struct statx stx;
    if (statx(w->dir, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &stx) != 0)
        return end_early(w, "look");
    return true;
}

/* Calls see(w, name, what follows "NAME.", ctx) for every file of ours. */
static bool each_file(struct work *w, void (*see)(struct work *w, const char *file, const char *rest, void *ctx),
                      void *ctx)
{
    if (!refresh(w))
        return false;
    int fd = openat(w->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        end_early(w, "list");
        closep(&fd);
        return false;
    }
    struct dirent *entry;
    while (errno = 0, (entry = readdir(d)) != NULL) {
        const char *rest = rest_of(w, entry->d_name);
        if (rest)
            see(w, entry->d_name, rest, ctx);
    }
    bool good = errno == 0 || end_early(w, "list");
    closedir(d);
    return good;
}

static void see_highest(struct work *w, const char *file, const char *rest, void *ctx)
{
    (void)w, (void)file;
    uint64_t *highest = ctx, sequence = sequence_of(rest);
    *highest = sequence > *highest ? sequence : *highest;
}

/* 0: there is none. */
static bool find_highest(struct work *w, uint64_t *ret)
{
    uint64_t highest = 0;
    if (!each_file(w, see_highest, &highest))
        return false;
    *ret = highest;
    return true;
}

/* ---- a record */

struct stored {
    uint64_t sequence;
    uint8_t bytes[WITNESS_RECORD_MAX];
    size_t len;
    struct witness_etag etag;
};

static struct witness_etag etag_of(uint64_t sequence, struct slice bytes)
{
    struct hash h = hash_of(bytes.p, bytes.len);
    struct witness_etag etag;
    snprintf(etag.s, sizeof(etag.s), "%" PRIu64 "-%.32s", sequence, hash_str(&h).s);
    return etag;
}

/* false with errno. A file that is too long is cut: no record is. */
static bool read_file(struct work *w, uint64_t sequence, struct stored *ret)
{
    AUTO(closep) int fd = openat(w->dir, name_of(w, sequence).s, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return false;
    ret->sequence = sequence;
    ret->len = 0;
    while (ret->len < sizeof(ret->bytes)) {
        ssize_t n = read(fd, ret->bytes + ret->len, sizeof(ret->bytes) - ret->len);
        if (n < 0 && errno != EINTR)
            return false;
        if (n == 0)
            break;
        ret->len += n > 0 ? (size_t)n : 0;
    }
    ret->etag = etag_of(sequence, (struct slice){ret->bytes, ret->len});
    return true;
}

/* The highest; ret->sequence 0: there is none. It may be removed between two looks, when others have come further. */
static bool read_highest(struct work *w, struct stored *ret)
{
    for (int i = 0; i < READS_MAX; i++) {
        if (!find_highest(w, &ret->sequence))
            return false;
        if (ret->sequence == 0 || read_file(w, ret->sequence, ret))
            return true;
        if (errno != ENOENT && errno != ESTALE)
            return end_early(w, "read");
    }
    errno = EIO;
    return end_early(w, "read");
}

static void get(struct work *w)
{
    struct stored s;
    if (!read_highest(w, &s))
        return;
    if (s.sequence == 0) {
        end(w, WITNESS_MISSING, WITNESS_CAUSE_BLOB_MISSING);
        return;
    }
    struct witness_record r = {.sequence = 0};
    enum witness_cause cause = witness_record_read((struct slice){s.bytes, s.len}, w->call, &r);
    bool is_known = cause == WITNESS_CAUSE_NONE || cause == WITNESS_CAUSE_REGRESSED;
    if (is_known && r.sequence != s.sequence) {
        is_known = false;
        cause = WITNESS_CAUSE_FOREIGN;
    }
    if (is_known) {
        w->ret->record = r;
        w->ret->etag = s.etag;
    }
    end(w, cause == WITNESS_CAUSE_NONE ? WITNESS_DONE : WITNESS_REFUSED, cause);
}

/* ---- a write */

static bool write_whole(int fd, const struct witness_bytes *b)
{
    ssize_t n = write(fd, b->s, b->len); /* below a page: whole or not */
    if (n >= 0 && (size_t)n != b->len)
        errno = ENOSPC;
    return n == (ssize_t)b->len;
}

/* Closing a file is where NFS says that it could not be written. */
static bool write_new(struct work *w, const char *file, const struct witness_bytes *b)
{
    int fd = openat(w->dir, file, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return end_early(w, "write");
    bool good = write_whole(fd, b) && fsync(fd) == 0;
    int saved = errno;
    if (close(fd) != 0 && good) {
        good = false;
        saved = errno;
    }
    errno = saved;
    return good || end_early(w, "write");
}

struct behind {
    uint64_t sequence; /* ours */
    uint64_t highest;
    time_t now_s; /* by the server's clock */
};

/* A record that is far behind; what a writer left that did not come to its end. */
static void see_behind(struct work *w, const char *file, const char *rest, void *ctx)
{
    struct behind *b = ctx;
    struct stat st;
    uint64_t sequence = sequence_of(rest);
    b->highest = sequence > b->highest ? sequence : b->highest;
    bool is_old = sequence > 0 && sequence + KEPT < b->sequence;
    bool is_left = strncmp(rest, "new.", 4) == 0 && fstatat(w->dir, file, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                   st.st_mtime + STALE_S < b->now_s;
    if (is_old || is_left)
        unlinkat(w->dir, file, 0); /* else the next write does */
}

/* It is there. Is it still the highest, is it safe, and what can go? */
static void settle(struct work *w, const struct witness_bytes *bytes)
{
    struct stat st = {0};
    struct behind b = {.sequence = w->call->record.sequence};
    /* Some file systems know no sync of a folder: what they do to one is done. */
    if (fsync(w->dir) != 0 && errno != EINVAL) {
        end_errno(w, "sync", WITNESS_UNKNOWN);
        w->ret->outcome = WITNESS_UNKNOWN;
        return;
    }
    if (fstatat(w->dir, name_of(w, b.sequence).s, &st, AT_SYMLINK_NOFOLLOW) == 0)
        b.now_s = st.st_mtime;
    if (!each_file(w, see_behind, &b)) {
        w->ret->outcome = WITNESS_UNKNOWN;
        return;
    }
    if (b.highest != b.sequence) {
        end(w, WITNESS_UNKNOWN, WITNESS_CAUSE_CHANGED);
        return;
    }
    w->ret->record = w->call->record;
    w->ret->etag = etag_of(b.sequence, (struct slice){(const uint8_t *)bytes->s, bytes->len});
    end(w, WITNESS_DONE, WITNESS_CAUSE_NONE);
}

/* The link is there: by this very write, whose first answer got lost on the way? */
static bool is_ours(struct work *w, const struct witness_bytes *bytes)
{
    struct stored s;
    return read_file(w, w->call->record.sequence, &s) && s.len == bytes->len && memcmp(s.bytes, bytes->s, s.len) == 0;
}

static bool come_second(struct work *w)
{
    return w->call->op == WITNESS_CREATE ? end(w, WITNESS_EXISTS, WITNESS_CAUSE_BLOB_EXISTS)
                                         : end(w, WITNESS_LOST, WITNESS_CAUSE_CHANGED);
}

static bool publish(struct work *w, const char *file, const struct witness_bytes *bytes)
{
    struct file_name target = name_of(w, w->call->record.sequence);
    if (!w->is_wanted(w->ctx))
        return end(w, WITNESS_UNREACHABLE, WITNESS_CAUSE_SHARE_HUNG);
    if (linkat(w->dir, file, w->dir, target.s, 0) == 0)
        return true;
    if (errno == EEXIST)
        return is_ours(w, bytes) || come_second(w);
    if (errno == EPERM) /* of a file system without links; the file beside could be made */
        errno = EOPNOTSUPP;
    return end_errno(w, "link", WITNESS_UNKNOWN);
}

static void put(struct work *w)
{
    struct stored now;
    if (!read_highest(w, &now))
        return;
    bool is_create = w->call->op == WITNESS_CREATE;
    bool holds = is_create ? now.sequence == 0 : now.sequence > 0 && str_eq(now.etag.s, w->call->etag.s);
    if (!holds || w->call->record.sequence != now.sequence + 1) {
        come_second(w);
        return;
    }
    struct witness_bytes bytes = witness_record_encode(&w->call->record);
    struct file_name file = name_of_new(w);
    bool good = write_new(w, file.s, &bytes) && publish(w, file.s, &bytes);
    unlinkat(w->dir, file.s, 0);
    if (good)
        settle(w, &bytes);
}

void share_perform(const struct share_place *place, const struct witness_call *call, bool (*is_wanted)(void *ctx),
                   void *ctx, struct share_outcome *ret)
{
    *ret = (struct share_outcome){.outcome = WITNESS_UNKNOWN, .cause = WITNESS_CAUSE_SHARE_IO};
    struct work w = {place, call, is_wanted, ctx, -1, ret};
    if (open_folder(&w)) {
        if (is_write(&w))
            put(&w);
        else
            get(&w);
    }
    closep(&w.dir);
}
