/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Users and groups of a test's own: /etc/passwd and /etc/group of a mount namespace that ends with the process. */
#pragma once

#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    UID_ADMIN_PRIMARY = 60001, /* group ringmaster-admin is the primary one */
    UID_ADMIN_OTHER = 60002,   /* … a supplementary one */
    UID_READ_PRIMARY = 60003,
    UID_READ_OTHER = 60004,
    UID_BOTH = 60005,   /* ringmaster-read is primary, ringmaster-admin supplementary */
    UID_NOBODY = 60006, /* in neither */
    UID_NAMELESS = 60007,
    GID_ADMIN = 60101,
    GID_READ = 60102,
    GID_USERS = 60103,
};

static inline int users_bind(const char *path, const char *text)
{
    char name[] = "/tmp/ringmaster-users-XXXXXX";
    int fd = mkstemp(name);
    if (fd < 0)
        return -1;
    int err = write(fd, text, strlen(text)) == (ssize_t)strlen(text) && fchmod(fd, 0644) == 0 ? 0 : -1;
    close(fd);
    if (!err)
        err = mount(name, path, NULL, MS_BIND, NULL);
    unlink(name);
    return err;
}

/* Once, early: before anything looks a user up. false: the host does not permit it, so the test cannot look. */
static inline int users_enter(void)
{
    if (geteuid() != 0 || unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return 0;
    return users_bind("/etc/nsswitch.conf", "passwd: files\ngroup: files\n") == 0 &&
           users_bind("/etc/passwd", "root:x:0:0::/:/bin/sh\n"
                                     "adminp:x:60001:60101::/:/bin/sh\nadmino:x:60002:60103::/:/bin/sh\n"
                                     "readp:x:60003:60102::/:/bin/sh\nreado:x:60004:60103::/:/bin/sh\n"
                                     "both:x:60005:60102::/:/bin/sh\nother:x:60006:60103::/:/bin/sh\n") == 0 &&
           users_bind("/etc/group", "root:x:0:\ndaemon:x:1:\nbin:x:2:\n"
                                    "ringmaster-admin:x:60101:admino,both\nringmaster-read:x:60102:reado\n"
                                    "users:x:60103:\n") == 0;
}

/* In a child: for good. */
static inline int users_become(uid_t uid, gid_t gid)
{
    return setgroups(0, NULL) == 0 && setresgid(gid, gid, gid) == 0 && setresuid(uid, uid, uid) == 0 ? 0 : -1;
}
