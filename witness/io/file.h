/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The witness as a folder on a share (NFS, SMB). A thread of its own does what may block; a server that hangs, hangs
 * only that thread: its calls end at their deadline. */
#pragma once

#include "witness/io/loop.h"
#include "witness/port.h"

struct file_witness_options {
    const char *dir;   /* absolute */
    const char *name;  /* of the records in it: the cluster's UUID */
    bool may_be_local; /* dir may lie on the file system of /: in tests. A share that is not mounted looks like that */
};

/* All of options is copied. ERR_USAGE: which option cannot be, and why. loop is borrowed. *ret is freed by
 * witness_free(), which does not wait for a thread that hangs: it ends when the server answers. */
int file_witness_new(const struct file_witness_options *options, const struct witness_loop *loop,
                     void (*completed)(void *ctx, const struct witness_result *result), void *ctx, struct witness **ret,
                     struct error *e);
