/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk of a virtual machine that is off, served read-only by qemu-nbd for as long as this process lives.
 *
 * What keeps the machine from being started meanwhile: QEMU's own lock on an image in qcow2, of which qemu-nbd holds
 * the metadata, refuses whoever wants to write to it, on this host and on every other that shares the file system's
 * locks. An image in another format has no such lock: whoever reads one looks afterwards whether it was written to. */
#pragma once

#include <sys/types.h>

#include "common/buf.h"
#include "common/err.h"

enum { QEMU_NBD_SOCKET_MAX = 108 };

struct qemu_nbd {
    pid_t pid; /* 0: none */
    char socket[QEMU_NBD_SOCKET_MAX];
};
/* Until it answers. What is at the socket's path goes. ERR_IO: *e says what qemu-nbd said. */
int qemu_nbd_start(const char *format, const char *path, const char *socket, struct qemu_nbd *ret, struct error *e);
void qemu_nbd_stop(struct qemu_nbd *s);
