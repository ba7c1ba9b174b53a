/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/io/joinmsg.h"

#include <arpa/inet.h>
#include <ctype.h>

#include "common/text.h"

/* Text that is bounded, and what of it may be wrong. */
#define TAKE(obj, key, dst) take_str((obj), (key), (dst), sizeof(dst))

static bool take_str(const struct json *obj, const char *key, char *dst, size_t size)
{
    const struct json *j = json_get(obj, key);
    return json_is_str(j) && str_copy(dst, size, json_str(j, ""));
}

static bool take_uuid(const struct json *obj, const char *key, struct uuid *ret)
{
    return uuid_parse(json_get_str(obj, key, ""), ret) == 0 && !uuid_is_nil(ret);
}

static bool take_int(const struct json *obj, const char *key, int64_t min, int64_t max, int64_t *ret)
{
    const struct json *j = json_get(obj, key);
    int64_t v = json_int(j, 0);
    if (!json_is_int(j) || v < min || v > max)
        return false;
    *ret = v;
    return true;
}

static bool take_port(const struct json *obj, uint16_t *ret)
{
    int64_t v;
    if (!take_int(obj, "port", 1, UINT16_MAX, &v))
        return false;
    *ret = (uint16_t)v;
    return true;
}

/* Exactly n bytes of hex. */
static bool take_bytes(const struct json *obj, const char *key, uint8_t *dst, size_t n)
{
    const char *hex = json_get_str(obj, key, "");
    return strlen(hex) == 2 * n && text_hex_parse(hex, dst, n) == 0;
}

bool joinmsg_is_address(const char *s)
{
    struct in6_addr any;
    return inet_pton(AF_INET, s, &any) == 1 || inet_pton(AF_INET6, s, &any) == 1;
}

bool joinmsg_is_name(const char *s)
{
    for (const char *p = s; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("-_.", *p))
            return false;
    return s[0] != '\0' && s[0] != '-' && s[0] != '.';
}

static void set_hex(struct json *obj, const char *key, const uint8_t *p, size_t n)
{
    char *hex = xmalloc(2 * n + 1);
    text_hex(hex, p, n);
    hex[2 * n] = '\0';
    json_set_str(obj, key, hex);
    pki_wipe_str(&hex);
}

static struct json *message(void)
{
    struct json *j = json_object_new();
    json_set_int(j, "format", JOINMSG_FORMAT);
    return j;
}

/* Takes j. */
static struct buf finish(struct json *j)
{
    char *text = json_dump(j);
    json_free(j);
    size_t len = strlen(text);
    return (struct buf){.p = (uint8_t *)text, .len = len, .cap = len + 1};
}

static int parse(const char *text, size_t len, struct json **ret, struct error *e)
{
    struct json *j = NULL;
    int err = json_parse(text, len, &j, e);
    if (err)
        return err;
    if (!json_is_object(j) || json_get_int(j, "format", 0) != JOINMSG_FORMAT) {
        json_free(j);
        return error_set(e, ERR_MALFORMED, "not of format %d, the one known here", JOINMSG_FORMAT);
    }
    *ret = j;
    return 0;
}

/* ---- the token file ---- */

void join_token_done(struct join_token *t)
{
    pki_wipe(t, sizeof(*t));
}

char *join_token_format(const struct join_token *t)
{
    AUTO(json_freep) struct json *j = message();
    json_set_str(j, "cluster", t->cluster);
    json_set_str(j, "node", t->node);
    json_set_str(j, "address", t->address);
    struct json *peers = json_array_new();
    for (size_t i = 0; i < t->n_peers; i++) {
        struct json *peer = json_object_new();
        json_set_str(peer, "address", t->peers[i].address);
        json_set_int(peer, "port", t->peers[i].port);
        json_append(peers, peer);
    }
    json_set(j, "peers", peers);
    json_set_str(j, "ca_sha256", hash_str(&t->ca_hash).s);
    json_set_str(j, "token", uuid_str(&t->id).s);
    set_hex(j, "secret", t->secret, sizeof(t->secret));
    json_set_int(j, "expires", t->expires_ms);
    char *pretty = json_dump_pretty(j);
    size_t len = strlen(pretty);
    char *text = xmalloc(len + 2); /* not realloc: it would leave a copy of the secret behind */
    memcpy(text, pretty, len);
    memcpy(text + len, "\n", 2);
    pki_wipe_str(&pretty);
    return text;
}

static bool take_peers(const struct json *arr, struct join_token *t)
{
    size_t n = json_count(arr);
    if (!json_is_array(arr) || n == 0 || n > JOIN_PEERS_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        const struct json *peer = json_at(arr, i);
        if (!TAKE(peer, "address", t->peers[i].address) || !joinmsg_is_address(t->peers[i].address) ||
            !take_port(peer, &t->peers[i].port))
            return false;
    }
    t->n_peers = n;
    return true;
}

int join_token_parse(const char *text, size_t len, struct join_token *ret, struct error *e)
{
    AUTO(json_freep) struct json *j = NULL;
    int err = len > JOINMSG_REQUEST_MAX ? error_set(e, ERR_TOO_BIG, "it is too long") : parse(text, len, &j, e);
    AUTO(join_token_done) struct join_token t = {0};
    if (!err) {
        const char *bad = !TAKE(j, "cluster", t.cluster) || !joinmsg_is_name(t.cluster) ? "cluster"
                          : !TAKE(j, "node", t.node) || !joinmsg_is_name(t.node)        ? "node"
                          : !TAKE(j, "address", t.address) || (t.address[0] && !joinmsg_is_address(t.address))
                              ? "address"
                          : !take_peers(json_get(j, "peers"), &t)                ? "peers"
                          : !take_bytes(j, "ca_sha256", t.ca_hash.b, HASH_SIZE)  ? "ca_sha256"
                          : !take_uuid(j, "token", &t.id)                        ? "token"
                          : !take_bytes(j, "secret", t.secret, JOIN_SECRET_SIZE) ? "secret"
                          : !take_int(j, "expires", 1, INT64_MAX, &t.expires_ms) ? "expires"
                                                                                 : NULL;
        if (bad)
            err = error_set(e, ERR_MALFORMED, "its \"%s\" is missing or wrong", bad);
    }
    if (err) {
        char why[ERROR_TEXT_MAX];
        STR_COPY(why, e ? e->text : "");
        error_set(e, ERR_USAGE, "this is not a join token file: %s", why);
        error_set_remedy(e, "make a new one on a member: clusterctl cluster join-token");
        return ERR_USAGE;
    }
    *ret = t;
    return 0;
}

/* ---- requests ---- */

/* Every text and number of struct host_facts, once, for both directions. */
#define FACT_TEXTS(X) X(hostname) X(address) X(boot_id) X(release) X(os) X(kernel) X(corosync) X(agent_version)

static struct json *facts_json(const struct host_facts *f)
{
    struct json *j = json_object_new();
#define X(field) json_set_str(j, #field, f->field);
    FACT_TEXTS(X)
#undef X
    json_set_int(j, "port", f->port);
    json_set_int(j, "qemu_version", f->qemu_version);
    json_set_int(j, "libvirt_version", f->libvirt_version);
    json_set_int(j, "memory_kib", (int64_t)f->memory_kib);
    json_set_int(j, "cpus", f->cpus);
    json_set_str(j, "machines", f->machines ? f->machines : "");
    return j;
}

static bool take_facts(const struct json *j, struct host_facts *f)
{
    int64_t qemu, libvirt, memory, cpus;
#define X(field)                                                                                                       \
    if (!TAKE(j, #field, f->field))                                                                                    \
        return false;
    FACT_TEXTS(X)
#undef X
    const char *machines = json_get_str(j, "machines", NULL);
    if (!machines || strlen(machines) >= MACHINE_TYPES_MAX || !joinmsg_is_address(f->address) ||
        !take_port(j, &f->port) || !take_int(j, "qemu_version", 0, UINT32_MAX, &qemu) ||
        !take_int(j, "libvirt_version", 0, UINT32_MAX, &libvirt) || !take_int(j, "memory_kib", 0, INT64_MAX, &memory) ||
        !take_int(j, "cpus", 0, UINT32_MAX, &cpus))
        return false;
    f->qemu_version = (uint32_t)qemu;
    f->libvirt_version = (uint32_t)libvirt;
    f->memory_kib = (uint64_t)memory;
    f->cpus = (uint32_t)cpus;
    f->machines = xstrdup(machines);
    return true;
}

struct buf joinmsg_request(const struct join_request *r, const uint8_t secret[JOIN_SECRET_SIZE])
{
    struct json *j = message();
    json_set_str(j, "verb", "join");
    json_set_str(j, "token", uuid_str(&r->token).s);
    set_hex(j, "secret", secret, JOIN_SECRET_SIZE);
    json_set_str(j, "replica", uuid_str(&r->replica).s);
    json_set_str(j, "node", r->node);
    json_set_str(j, "address", r->address);
    json_set_str(j, "csr", r->csr);
    json_set(j, "facts", facts_json(&r->facts));
    return finish(j);
}

struct buf joinmsg_fetch(void)
{
    struct json *j = message();
    json_set_str(j, "verb", "fetch");
    return finish(j);
}

static int parse_join(const struct json *j, struct join_request *ret, struct error *e)
{
    struct join_request r = {0};
    uint8_t secret[JOIN_SECRET_SIZE] = {0};
    const char *csr = json_get_str(j, "csr", "");
    const char *bad = !take_uuid(j, "token", &r.token)                                   ? "token"
                      : !take_bytes(j, "secret", secret, sizeof(secret))                 ? "secret"
                      : !take_uuid(j, "replica", &r.replica)                             ? "replica"
                      : !TAKE(j, "node", r.node) || !joinmsg_is_name(r.node)             ? "node"
                      : !TAKE(j, "address", r.address) || !joinmsg_is_address(r.address) ? "address"
                      : csr[0] == '\0' || strlen(csr) > PKI_PEM_MAX                      ? "csr"
                      : !take_facts(json_get(j, "facts"), &r.facts)                      ? "facts"
                                                                                         : NULL;
    if (bad) {
        pki_wipe(secret, sizeof(secret));
        return error_set(e, ERR_MALFORMED, "the join request's \"%s\" is missing or wrong", bad);
    }
    r.secret_hash = hash_of(secret, sizeof(secret));
    pki_wipe(secret, sizeof(secret));
    r.csr = xstrdup(csr);
    *ret = r;
    return 0;
}

int joinmsg_request_parse(struct slice text, enum joinmsg_verb *ret_verb, struct join_request *ret_join,
                          struct error *e)
{
    AUTO(json_freep) struct json *j = NULL;
    int err = text.len > JOINMSG_REQUEST_MAX ? ERR_TOO_BIG : parse((const char *)text.p, text.len, &j, e);
    if (err)
        return error_set(e, ERR_MALFORMED, "the request is not one that this release understands");
    const char *verb = json_get_str(j, "verb", "");
    if (str_eq(verb, "fetch")) {
        *ret_verb = JOINMSG_FETCH;
        return 0;
    }
    if (!str_eq(verb, "join"))
        return error_set(e, ERR_MALFORMED, "the request has a verb that this release does not know");
    err = parse_join(j, ret_join, e);
    if (!err)
        *ret_verb = JOINMSG_JOIN;
    return err;
}

/* ---- answers ---- */

void join_answer_done(struct join_answer *a)
{
    free(a->ca);
    free(a->certificate);
    free(a->corosync_conf);
    pki_wipe_buf(&a->authkey);
    pki_wipe(a, sizeof(*a));
}

struct buf joinmsg_ok(void)
{
    struct json *j = message();
    json_set_int(j, "code", 0);
    return finish(j);
}

struct buf joinmsg_answer(const struct join_answer *a)
{
    struct json *j = message();
    json_set_int(j, "code", 0);
    json_set_str(j, "cluster", uuid_str(&a->cluster).s);
    json_set_str(j, "cluster_name", a->cluster_name);
    json_set_int(j, "nodeid", a->nodeid);
    json_set_str(j, "ca", a->ca);
    json_set_str(j, "certificate", a->certificate);
    set_hex(j, "cluster_key", a->key.b, sizeof(a->key.b));
    set_hex(j, "authkey", a->authkey.p, a->authkey.len);
    json_set_str(j, "corosync_conf", a->corosync_conf);
    return finish(j);
}

struct buf joinmsg_refusal(const struct error *error)
{
    struct json *j = message();
    json_set_int(j, "code", error->code < 0 ? error->code : ERR_FAILED);
    json_set_str(j, "text", error->text);
    json_set_str(j, "remedy", error->remedy);
    return finish(j);
}

/* Text of a peer that goes to a terminal or a journal: no control characters. */
static void clean(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < ' ' || *s == 0x7f)
            *s = ' ';
}

int joinmsg_answer_status(struct slice text, struct json **ret_json, struct error *e)
{
    AUTO(json_freep) struct json *j = NULL;
    int64_t code = 0;
    int err = text.len > JOINMSG_ANSWER_MAX ? ERR_TOO_BIG : parse((const char *)text.p, text.len, &j, e);
    if (err || !take_int(j, "code", -1000, 0, &code))
        return error_set(e, ERR_MALFORMED, "the answer is not one that this release understands");
    if (code == 0) {
        if (ret_json) {
            *ret_json = j;
            j = NULL;
        }
        return 0;
    }
    struct error refusal = {.code = (int)code};
    STR_COPY(refusal.text, json_get_str(j, "text", "refused, without a reason"));
    STR_COPY(refusal.remedy, json_get_str(j, "remedy", ""));
    clean(refusal.text);
    clean(refusal.remedy);
    if (e)
        *e = refusal;
    return refusal.code;
}

static bool take_authkey(const struct json *j, struct buf *ret)
{
    const char *hex = json_get_str(j, "authkey", "");
    size_t n = strlen(hex) / 2;
    if (n < AUTHKEY_MIN || n > AUTHKEY_MAX)
        return false;
    struct buf b = {.p = xmalloc(n), .len = n, .cap = n};
    if (!take_bytes(j, "authkey", b.p, n)) {
        pki_wipe_buf(&b);
        return false;
    }
    *ret = b;
    return true;
}

static bool take_text(const struct json *j, const char *key, size_t max, char **ret)
{
    const char *s = json_get_str(j, key, "");
    if (s[0] == '\0' || strlen(s) > max)
        return false;
    *ret = xstrdup(s);
    return true;
}

int joinmsg_answer_parse(struct slice text, struct join_answer *ret, struct error *e)
{
    AUTO(json_freep) struct json *j = NULL;
    int err = joinmsg_answer_status(text, &j, e);
    if (err)
        return err;
    struct join_answer a = {0};
    int64_t nodeid = 0;
    const char *bad = !take_uuid(j, "cluster", &a.cluster)                                           ? "cluster"
                      : !TAKE(j, "cluster_name", a.cluster_name) || !joinmsg_is_name(a.cluster_name) ? "cluster_name"
                      : !take_int(j, "nodeid", 1, UINT32_MAX, &nodeid)                               ? "nodeid"
                      : !take_text(j, "ca", PKI_PEM_MAX, &a.ca)                                      ? "ca"
                      : !take_text(j, "certificate", PKI_PEM_MAX, &a.certificate)                    ? "certificate"
                      : !take_bytes(j, "cluster_key", a.key.b, sizeof(a.key.b))                      ? "cluster_key"
                      : !take_authkey(j, &a.authkey)                                                 ? "authkey"
                      : !take_text(j, "corosync_conf", JOINMSG_ANSWER_MAX, &a.corosync_conf)         ? "corosync_conf"
                                                                                                     : NULL;
    if (bad) {
        join_answer_done(&a);
        return error_set(e, ERR_MALFORMED, "the answer's \"%s\" is missing or wrong", bad);
    }
    a.nodeid = (uint32_t)nodeid;
    *ret = a;
    return 0;
}
