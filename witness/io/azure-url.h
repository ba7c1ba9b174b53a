/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a blob is, checked. */
#pragma once

#include "witness/io/azure.h"

enum { AZURE_URL_MAX = 1024, AZURE_NAME_MAX = 64, AZURE_HOST_MAX = 256 };

struct azure_place {
    char url[AZURE_URL_MAX];   /* of the blob, without a query */
    char path[AZURE_URL_MAX];  /* of that URL */
    char host[AZURE_HOST_MAX]; /* with its port, if that is not the usual one */
    char account[AZURE_NAME_MAX], container[AZURE_NAME_MAX], blob[AZURE_NAME_MAX];
    bool is_emulator; /* path-style */
    bool is_tls;
};
int azure_place_init(struct azure_place *p, const struct azure_options *o, struct error *e);

/* ERR_USAGE unless it is http or https with nothing but host, port and path; plain http only to loopback, unless
 * any_http_host. */
int azure_check_url(const char *what, const char *url, bool any_http_host, struct error *e);
