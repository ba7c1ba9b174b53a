/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The witness as one block blob of an Azure storage account, over its REST interface (libcurl's multi interface, driven
 * by the agent's loop). TLS with verification always, but for plain HTTP to an emulator on loopback; no redirect is
 * followed, no proxy of the environment is used, every answer is bounded. A call is tried again with growing pauses
 * until its time is up; each try has a connection of its own. */
#pragma once

#include "witness/io/credentials.h"
#include "witness/io/loop.h"
#include "witness/port.h"

struct azure_options {
    const char *account;
    const char *container;
    const char *blob; /* the cluster's UUID */
    /* NULL: https://ACCOUNT.blob.core.windows.net; another cloud's, without the container; or, with the account in its
     * path, an emulator's (http://127.0.0.1:10000/devstoreaccount1) or that of a host by its address. */
    const char *endpoint;
    const char *proxy;   /* URL; NULL: none */
    const char *ca_file; /* PEM, in the place of the system's; NULL: the system's */
    const char *imds;    /* NULL: http://169.254.169.254; another one in tests */
    const struct credentials *credentials;
};

/* All of options is copied. ERR_USAGE: which option cannot be, and why. loop is borrowed. *ret is freed by
 * witness_free(). */
int azure_witness_new(const struct azure_options *options, const struct witness_loop *loop,
                      void (*completed)(void *ctx, const struct witness_result *result), void *ctx,
                      struct witness **ret, struct error *e);
