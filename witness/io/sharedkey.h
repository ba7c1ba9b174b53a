/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SharedKey authorization of the Azure Blob service, for requests with at most one query parameter. Source: Microsoft,
 * "Authorize with Shared Key", Blob service, versions 2015-02-21 and later. */
#pragma once

#include "common/buf.h"

/* A header of a request. */
struct rest_header {
    const char *name; /* as it is sent */
    const char *value;
};

struct rest_request {
    const char *verb;    /* "GET", "PUT" */
    const char *account; /* again in path, when the URL is path-style */
    const char *path;    /* of the URL, with its leading slash */
    size_t content_length;
    const struct rest_header *headers; /* those that begin with x-ms- in lower case and in order */
    size_t n_headers;
    const char *query; /* "name:value", in lower case; NULL: none */
};

/* What is signed; the caller owns it. */
void sharedkey_string_to_sign(const struct rest_request *r, struct buf *ret);

enum { SHAREDKEY_MAC_SIZE = 45 }; /* base64 of a SHA-256 */
struct sharedkey_mac {
    char s[SHAREDKEY_MAC_SIZE];
};
/* HMAC-SHA256 in base64: also what signs a SAS. */
struct sharedkey_mac sharedkey_mac(struct slice key, struct slice text);
