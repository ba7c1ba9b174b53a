/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files of one folder of a repository, by plain names below an open descriptor: no path is walked twice.
 *
 * A file gets its name only when it is whole and on disk: folder_create() makes NAME.partial, folder_publish() syncs
 * it, names it and syncs the folder. What gets the name is the very file that is open, even if another program has put
 * its own at NAME.partial: no lock is held where a restore goes. A sync that fails is an error of the work, which must
 * then be given up: what is on disk is unknown. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "backup/layout.h"
#include "common/buf.h"
#include "common/err.h"

enum { FOLDER_PATH_MAX = 512 };

struct folder {
    int fd; /* -1: none */
    char path[FOLDER_PATH_MAX];
};

/* name: below `above`, or a path of its own if above is NULL. create: make it, mode 0700, if it is not there; then its
 * name is on disk. ERR_NOT_FOUND, ERR_TOO_BIG: the path is too long, ERR_IO. */
int folder_open(const struct folder *above, const char *name, bool create, struct folder *ret, struct error *e);
/* The folder in which the path's last part lies, and that part. ERR_USAGE: it is no name of a file. */
int folder_open_of(const char *path, struct folder *ret, struct layout_name *ret_name, struct error *e);
void folder_done(struct folder *f);

/* Sets *e for what errno says of a file: ERR_IO with a remedy. */
int folder_error(const struct folder *f, const char *name, const char *doing, int saved_errno, struct error *e);

/* Follows no symbolic link; ERR_NOT_FOUND, ERR_CONDITION: no regular file. */
int folder_open_file(const struct folder *f, const char *name, int *ret_fd, uint64_t *ret_bytes, struct error *e);
int folder_read(const struct folder *f, const char *name, size_t max, struct buf *ret, struct error *e);

/* NAME.partial, empty, mode 0600; what a killed writer left there goes. flags: 0 or O_DIRECT, which is dropped where
 * the file system has none. */
int folder_create(const struct folder *f, const char *name, int flags, int *ret_fd, struct error *e);
/* fsync, the name, fsync of the folder. Does not close the descriptor. replace: over what is there; else ERR_CONDITION
 * if there is something, and it stays. */
int folder_publish(const struct folder *f, const char *name, int fd, bool replace, struct error *e);
/* All of it, where nothing has the name. */
int folder_install(const struct folder *f, const char *name, struct slice bytes, struct error *e);
/* Gone is success. The folder is not synced. */
int folder_remove(const struct folder *f, const char *name, struct error *e);
/* NAME.partial goes, if it is still this file. */
void folder_forget(const struct folder *f, const char *name, int fd);
/* The same, if it is a second name of NAME: publication was killed in its midst. */
void folder_tidy(const struct folder *f, const char *name);
bool folder_is(const struct folder *f, const char *name); /* a folder, and no link to one */
int folder_sync(const struct folder *f, struct error *e);

/* Names, in no order; the caller frees each and the array. At most max: else ERR_TOO_BIG. */
int folder_list(const struct folder *f, size_t max, char ***ret_names, size_t *ret_n, struct error *e);
void folder_list_free(char **names, size_t n);

/* Bytes that this program may still write there. */
int folder_room(const struct folder *f, uint64_t *ret_bytes, struct error *e);

/* The lock that the file stands for, until the descriptor is closed or the process ends. ERR_AGAIN: another has it. */
int folder_lock(const struct folder *f, const char *name, bool alone, int *ret_fd, struct error *e);

bool write_at(int fd, const void *p, size_t n, uint64_t offset); /* all of it, or errno */
bool read_at(int fd, void *p, size_t n, uint64_t offset);        /* all of it; errno EIO if the file ends before */
void closep(int *fd);
