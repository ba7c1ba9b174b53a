/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The string to sign:
 *
 *     VERB \n Content-Encoding \n Content-Language \n Content-Length \n Content-MD5 \n Content-Type \n Date \n
 *     If-Modified-Since \n If-Match \n If-None-Match \n If-Unmodified-Since \n Range \n
 *     x-ms-NAME:VALUE \n …          in order
 *     /ACCOUNT PATH                 a path-style URL has the account in its path once more
 *     \n name:value                 of the query
 *
 * A header that is not sent is an empty line, and so is a length of 0. */
#include "witness/io/sharedkey.h"

#include <assert.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <strings.h>

static const char *header_of(const struct rest_request *r, const char *name)
{
    for (size_t i = 0; i < r->n_headers; i++)
        if (strcasecmp(r->headers[i].name, name) == 0)
            return r->headers[i].value;
    return "";
}

static void add_ms_headers(const struct rest_request *r, struct buf *b)
{
    const char *before = "";
    for (size_t i = 0; i < r->n_headers; i++) {
        const struct rest_header *h = &r->headers[i];
        if (strncmp(h->name, "x-ms-", 5) != 0)
            continue;
        assert(strcmp(before, h->name) < 0);
        before = h->name;
        buf_printf(b, "%s:%s\n", h->name, h->value);
    }
}

void sharedkey_string_to_sign(const struct rest_request *r, struct buf *ret)
{
    static const char *const after_length[] = {"Content-MD5",         "Content-Type", "Date",
                                               "If-Modified-Since",   "If-Match",     "If-None-Match",
                                               "If-Unmodified-Since", "Range"};
    struct buf b = {0};
    buf_printf(&b, "%s\n%s\n%s\n", r->verb, header_of(r, "Content-Encoding"), header_of(r, "Content-Language"));
    if (r->content_length > 0)
        buf_printf(&b, "%zu", r->content_length);
    for (size_t i = 0; i < sizeof(after_length) / sizeof(after_length[0]); i++)
        buf_printf(&b, "\n%s", header_of(r, after_length[i]));
    buf_add_str(&b, "\n");
    add_ms_headers(r, &b);
    buf_printf(&b, "/%s%s%s%s", r->account, r->path, r->query ? "\n" : "", r->query ? r->query : "");
    *ret = b;
}

struct sharedkey_mac sharedkey_mac(struct slice key, struct slice text)
{
    uint8_t mac[EVP_MAX_MD_SIZE];
    unsigned int len = 0;
    if (!HMAC(EVP_sha256(), key.p, (int)key.len, text.p, text.len, mac, &len))
        abort(); /* out of memory */
    struct sharedkey_mac ret;
    int n = EVP_EncodeBlock((uint8_t *)ret.s, mac, (int)len);
    assert(n == SHAREDKEY_MAC_SIZE - 1);
    return ret;
}
