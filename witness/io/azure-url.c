/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "witness/io/azure-url.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <stdio.h>

static void curlu_freep(CURLU **u)
{
    curl_url_cleanup(*u);
}

/* ---- names */

static bool is_name(const char *s, size_t min, size_t max, const char *alphabet)
{
    size_t n = s ? strlen(s) : 0;
    return n >= min && n <= max && strspn(s, alphabet) == n;
}

/* Naming rules of storage accounts and containers; blobs here are UUIDs. */
static int check_names(const struct azure_options *o, struct error *e)
{
    static const char small[] = "abcdefghijklmnopqrstuvwxyz0123456789",
                      dashed[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
    if (!is_name(o->account, 3, 24, small))
        return error_set(e, ERR_USAGE, "the account's name is not 3 to 24 lower-case letters and digits");
    if (!is_name(o->container, 3, 63, dashed) || o->container[0] == '-' || strstr(o->container, "--"))
        return error_set(e, ERR_USAGE,
                         "the container's name is not 3 to 63 lower-case letters, digits and single dashes");
    if (!is_name(o->blob, 1, AZURE_NAME_MAX - 1, dashed))
        return error_set(e, ERR_USAGE, "the blob's name is not a UUID");
    return 0;
}

/* ---- URLs */

static bool is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (str_eq(host, "localhost"))
        return true;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return (ntohl(v4.s_addr) >> 24) == 127;
    char bare[AZURE_HOST_MAX];
    size_t n = strlen(host);
    if (host[0] != '[' || n < 3 || n >= sizeof(bare))
        return false;
    memcpy(bare, host + 1, n - 2);
    bare[n - 2] = '\0';
    return inet_pton(AF_INET6, bare, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

struct url_part {
    char s[AZURE_URL_MAX];
};

/* "" if the URL has none; parse() saw to its length. */
static struct url_part part(CURLU *u, CURLUPart which)
{
    struct url_part p = {""};
    char *s = NULL;
    if (curl_url_get(u, which, &s, 0) == CURLUE_OK && s)
        STR_COPY(p.s, s);
    curl_free(s);
    return p;
}

static int parse(const char *what, const char *url, CURLU *u, struct error *e)
{
    if (strlen(url) >= AZURE_URL_MAX / 2 || curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK)
        return error_set(e, ERR_USAGE, "%s is not a URL", what);
    static const CURLUPart refused[] = {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_QUERY, CURLUPART_FRAGMENT};
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        if (part(u, refused[i]).s[0])
            return error_set(e, ERR_USAGE, "%s has more than scheme, host, port and path", what);
    return 0;
}

static int check_scheme(const char *what, CURLU *u, bool any_http_host, struct error *e)
{
    struct url_part scheme = part(u, CURLUPART_SCHEME), host = part(u, CURLUPART_HOST);
    if (str_eq(scheme.s, "https") || (str_eq(scheme.s, "http") && (any_http_host || is_loopback(host.s))))
        return 0;
    return error_set(e, ERR_USAGE, "%s does not begin with https:// (http:// is only for an emulator on loopback)",
                     what);
}

int azure_check_url(const char *what, const char *url, bool any_http_host, struct error *e)
{
    AUTO(curlu_freep) CURLU *u = curl_url();
    int err = parse(what, url, u, e);
    return err ? err : check_scheme(what, u, any_http_host, e);
}

/* The path of an endpoint: nothing, or the account. */
static int take_path(struct azure_place *p, CURLU *u, struct error *e)
{
    struct url_part path = part(u, CURLUPART_PATH);
    size_t n = strlen(path.s);
    while (n > 0 && path.s[n - 1] == '/')
        path.s[--n] = '\0';
    p->is_emulator = n > 0;
    if (p->is_emulator && (path.s[0] != '/' || !str_eq(path.s + 1, p->account)))
        return error_set(e, ERR_USAGE, "the endpoint's path is not the account %s", p->account);
    n = (size_t)snprintf(p->path, sizeof(p->path), "%s/%s/%s", path.s, p->container, p->blob);
    return n < sizeof(p->path) ? 0 : error_set(e, ERR_USAGE, "the endpoint is too long");
}

static int take_host(struct azure_place *p, CURLU *u, struct error *e)
{
    struct url_part scheme = part(u, CURLUPART_SCHEME), host = part(u, CURLUPART_HOST), port = part(u, CURLUPART_PORT);
    p->is_tls = str_eq(scheme.s, "https");
    int n = snprintf(p->host, sizeof(p->host), "%s%s%s", host.s, port.s[0] ? ":" : "", port.s);
    if (n < 0 || (size_t)n >= sizeof(p->host))
        return error_set(e, ERR_USAGE, "the endpoint's host is too long");
    n = snprintf(p->url, sizeof(p->url), "%s://%s%s", scheme.s, p->host, p->path);
    return n < 0 || (size_t)n >= sizeof(p->url) ? error_set(e, ERR_USAGE, "the endpoint is too long") : 0;
}

int azure_place_init(struct azure_place *p, const struct azure_options *o, struct error *e)
{
    char standard[128];
    int err = check_names(o, e);
    if (err)
        return err;
    *p = (struct azure_place){0};
    STR_COPY(p->account, o->account);
    STR_COPY(p->container, o->container);
    STR_COPY(p->blob, o->blob);
    snprintf(standard, sizeof(standard), "https://%s.blob.core.windows.net", p->account);
    AUTO(curlu_freep) CURLU *u = curl_url();
    err = parse("the endpoint", o->endpoint ? o->endpoint : standard, u, e);
    err = err ? err : check_scheme("the endpoint", u, false, e);
    err = err ? err : take_path(p, u, e);
    return err ? err : take_host(p, u, e);
}
