/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/io/membership.h"

#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "agent/io/corosync.h"
#include "agent/io/files.h"
#include "agent/io/joinmsg.h"
#include "agent/io/paths.h"
#include "agent/io/pki.h"
#include "agent/io/tls.h"
#include "agent/io/units.h"

enum { SMALL_FILE_MAX = 16 * 1024, COROSYNC_CONF_MAX = 1 << 20, FOUNDER_NODEID = 1 };

/* QEMU runs as libvirt-qemu on Debian; its own group if there is one, else kvm, which it is in as well. */
static gid_t find_qemu_group(void)
{
    static const char *const names[] = {"libvirt-qemu", "kvm"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct group group, *found = NULL;
        char space[4096];
        if (getgrnam_r(names[i], &group, space, sizeof(space), &found) == 0 && found)
            return found->gr_gid;
    }
    return 0;
}

static struct membership_env real_env(void)
{
    return (struct membership_env){
        .prefix = "",
        .qemu_group = find_qemu_group(),
        .take_corosync = units_take_corosync,
        .serve_libvirt_tls = units_serve_libvirt_tls,
    };
}

static struct slice slice_of(const char *s)
{
    return (struct slice){(const uint8_t *)s, strlen(s)};
}

/* ---- identity.json ---- */

static int identity_install(const char *prefix, const struct identity *id, struct error *e)
{
    AUTO(json_freep) struct json *j = json_object_new();
    json_set_int(j, "format", JOINMSG_FORMAT);
    json_set_str(j, "cluster", uuid_str(&id->cluster).s);
    json_set_str(j, "cluster_name", id->cluster_name);
    json_set_str(j, "replica", uuid_str(&id->replica).s);
    json_set_int(j, "nodeid", id->nodeid);
    json_set_str(j, "node", id->node);
    json_set_str(j, "address", id->address);
    json_set_int(j, "port", id->port);
    json_set_bool(j, "founder", id->founder);
    AUTO(freep) char *text = json_dump_pretty(j);
    return file_install(prefix, PATH_IDENTITY, slice_of(text), (struct file_mode){.mode = 0600}, e);
}

static bool identity_read(const struct json *j, struct identity *id)
{
    int64_t nodeid = json_get_int(j, "nodeid", 0), port = json_get_int(j, "port", 0);
    id->nodeid = (uint32_t)nodeid;
    id->port = (uint16_t)port;
    id->founder = json_get_bool(j, "founder", false);
    return json_get_int(j, "format", 0) == JOINMSG_FORMAT &&
           uuid_parse(json_get_str(j, "cluster", ""), &id->cluster) == 0 &&
           uuid_parse(json_get_str(j, "replica", ""), &id->replica) == 0 &&
           STR_COPY(id->cluster_name, json_get_str(j, "cluster_name", "")) && id->cluster_name[0] &&
           STR_COPY(id->node, json_get_str(j, "node", "")) && id->node[0] &&
           STR_COPY(id->address, json_get_str(j, "address", "")) && id->address[0] && nodeid > 0 &&
           nodeid <= UINT32_MAX && port > 0 && port <= UINT16_MAX;
}

int identity_load_in(const char *prefix, struct identity *ret, struct error *e)
{
    AUTO(buf_done) struct buf text = {0};
    AUTO(json_freep) struct json *j = NULL;
    int err = file_read(prefix, PATH_IDENTITY, SMALL_FILE_MAX, &text, e);
    if (err == ERR_NOT_FOUND)
        return error_set(e, err, "this node is in no cluster: there is no %s", PATH_IDENTITY);
    if (err && err != ERR_TOO_BIG)
        return err;
    struct identity id = {0};
    if (err || json_parse((const char *)text.p, text.len, &j, NULL) < 0 || !identity_read(j, &id)) {
        error_set(e, ERR_MALFORMED, "%s%s is damaged: it does not say who this node is", prefix, PATH_IDENTITY);
        error_set_remedy(e, "on another node: clusterctl node evict NODE; then remove this file and join anew");
        return ERR_MALFORMED;
    }
    *ret = id;
    return 0;
}

int identity_load(struct identity *ret, struct error *e)
{
    return identity_load_in("", ret, e);
}

int secrets_check_in(const char *prefix, struct error *e)
{
    static const char *const paths[] = {PATH_CLUSTER_KEY, PATH_NODE_KEY, PATH_COROSYNC_AUTHKEY};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        AUTO(pki_wipe_buf) struct buf b = {0};
        if (file_read_secret(prefix, paths[i], SMALL_FILE_MAX, &b, e) == ERR_CONDITION)
            return ERR_CONDITION;
    }
    return 0;
}

int secrets_check(struct error *e)
{
    return secrets_check_in("", e);
}

int identity_forget(struct error *e)
{
    return file_remove("", PATH_IDENTITY, e);
}

/* ---- installing ---- */

/* All that makes a node a member, but for its identity. Borrowed. */
struct credentials {
    const struct cluster_key *key;
    struct slice ca, cert, cert_key, authkey;
    const char *corosync_conf;
};

enum which { WHICH_CA, WHICH_CERT, WHICH_KEY };

/* One certificate serves both programs, in both roles: a migration's source is the target's client. */
static const struct {
    const char *path;
    enum which which;
    mode_t mode;
} certificates[] = {
    {PATH_CA, WHICH_CA, 0644},
    {PATH_NODE_KEY, WHICH_KEY, 0600},
    {PATH_NODE_CERT, WHICH_CERT, 0644},
    {"/etc/pki/CA/cacert.pem", WHICH_CA, 0644},
    {"/etc/pki/libvirt/private/serverkey.pem", WHICH_KEY, 0600},
    {"/etc/pki/libvirt/private/clientkey.pem", WHICH_KEY, 0600},
    {"/etc/pki/libvirt/servercert.pem", WHICH_CERT, 0644},
    {"/etc/pki/libvirt/clientcert.pem", WHICH_CERT, 0644},
    {"/etc/pki/qemu/ca-cert.pem", WHICH_CA, 0644},
    {"/etc/pki/qemu/server-key.pem", WHICH_KEY, 0640},
    {"/etc/pki/qemu/client-key.pem", WHICH_KEY, 0640},
    {"/etc/pki/qemu/server-cert.pem", WHICH_CERT, 0644},
    {"/etc/pki/qemu/client-cert.pem", WHICH_CERT, 0644},
};

static int install_certificates(const struct membership_env *env, const struct credentials *c, struct error *e)
{
    const struct slice texts[] = {[WHICH_CA] = c->ca, [WHICH_CERT] = c->cert, [WHICH_KEY] = c->cert_key};
    for (size_t i = 0; i < sizeof(certificates) / sizeof(certificates[0]); i++) {
        mode_t mode = certificates[i].mode;
        /* 0640 is for QEMU's group: without one, root alone. */
        struct file_mode m = {mode == 0640 && !env->qemu_group ? 0600 : mode, mode == 0640 ? env->qemu_group : 0};
        int err = file_install(env->prefix, certificates[i].path, texts[certificates[i].which], m, e);
        if (err)
            return err;
    }
    return 0;
}

static int install(const struct membership_env *env, const struct credentials *c, const struct identity *id,
                   struct error *e)
{
    struct file_mode secret = {.mode = 0600}, authkey = {.mode = 0400};
    struct slice key = {c->key->b, CLUSTER_KEY_SIZE};
    int err = env->take_corosync(e);
    err = err ? err : file_install(env->prefix, PATH_CLUSTER_KEY, key, secret, e);
    err = err ? err : install_certificates(env, c, e);
    err = err ? err : file_install(env->prefix, PATH_COROSYNC_AUTHKEY, c->authkey, authkey, e);
    err = err ? err : corosync_write_conf(env->prefix, c->corosync_conf, NULL, e);
    err = err ? err : env->serve_libvirt_tls(e);
    return err ? err : identity_install(env->prefix, id, e);
}

/* Forming or joining where there is a member already would orphan its replica. */
static int check_unconfigured(const struct membership_env *env, struct error *e)
{
    struct identity id;
    struct error why = {0};
    int err = identity_load_in(env->prefix, &id, &why);
    if (err == ERR_NOT_FOUND)
        return 0;
    if (err)
        *e = why;
    return err ? err : error_set(e, ERR_CONDITION, "this node is already %s of cluster %s", id.node, id.cluster_name);
}

/* Nodes in a corosync.conf: each has a section of its own, whose head stands alone on its line (corosync.conf(5)). */
static size_t nodes_in(const char *conf)
{
    size_t n = 0;
    for (const char *line = conf; line; line = strchr(line, '\n')) {
        line += strspn(line, " \t\n");
        n += strncmp(line, "node", 4) == 0 && line[4 + strspn(line + 4, " \t")] == '{';
    }
    return n;
}

/* A corosync cluster that somebody else set up would lose its configuration and its key. Debian's example, which names
 * one node, is nobody's; what an interrupted try of ours left begins as every file of ours does. */
static int check_corosync_is_free(const struct membership_env *env, struct error *e)
{
    AUTO(buf_done) struct buf conf = {0};
    struct error why = {0};
    int err = file_read(env->prefix, PATH_COROSYNC_CONF, COROSYNC_CONF_MAX, &conf, &why);
    if (err == ERR_NOT_FOUND)
        return 0;
    if (err) {
        *e = why;
        return err;
    }
    buf_add(&conf, "", 1);
    const char *text = (const char *)conf.p;
    size_t n = nodes_in(text);
    if (n < 2 || strncmp(text, COROSYNC_CONF_HEAD, strlen(COROSYNC_CONF_HEAD)) == 0)
        return 0;
    error_set(e, ERR_CONDITION, "corosync of this host has a cluster of %zu nodes that is not Ringmaster's: %s", n,
              PATH_COROSYNC_CONF);
    error_set_remedy(e, "stop that cluster, then: mv %s %s.old", PATH_COROSYNC_CONF, PATH_COROSYNC_CONF);
    return ERR_CONDITION;
}

/* Does some interface of this host have the address? Binding to it tells. */
static bool is_local_address(const char *address)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_DGRAM}, *ai = NULL;
    if (getaddrinfo(address, NULL, &hints, &ai) != 0)
        return false;
    int fd = socket(ai->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && bind(fd, ai->ai_addr, ai->ai_addrlen) == 0;
    if (fd >= 0)
        close(fd);
    freeaddrinfo(ai);
    return ok;
}

static int check_address(const char *address, struct error *e)
{
    if (is_local_address(address))
        return 0;
    error_set(e, ERR_CONDITION, "no interface of this host has the address \"%s\"", address);
    error_set_remedy(e, "set address in /etc/ringmaster/ringmaster.conf, then restart ringmasterd");
    return ERR_CONDITION;
}

/* ---- forming a cluster ---- */

/* What a new cluster is made of; all secret but the certificates. */
struct founding {
    struct cluster_key key;
    uint8_t authkey[AUTHKEY_SIZE];
    struct buf ca, ca_key, node_key, csr, cert;
    struct identity identity;
};

static void founding_done(struct founding *f)
{
    pki_wipe_buf(&f->ca_key);
    pki_wipe_buf(&f->node_key);
    buf_done(&f->ca);
    buf_done(&f->csr);
    buf_done(&f->cert);
    pki_wipe(f, sizeof(*f));
}

static int founding_make(struct founding *f, const char *cluster_name, const struct host_facts *self, struct error *e)
{
    struct identity *id = &f->identity;
    id->cluster = pki_uuid();
    id->replica = pki_uuid();
    id->nodeid = FOUNDER_NODEID;
    id->founder = true;
    id->port = self->port;
    STR_COPY(id->node, self->hostname);
    STR_COPY(id->address, self->address);
    if (!joinmsg_is_name(cluster_name) || !STR_COPY(id->cluster_name, cluster_name))
        return error_set(e, ERR_USAGE,
                         "\"%s\" is no name for a cluster: letters, digits, - _ . and at most %zu of them",
                         cluster_name, sizeof(id->cluster_name) - 1);
    pki_random(f->key.b, sizeof(f->key.b));
    pki_random(f->authkey, sizeof(f->authkey));
    struct pki_subject subject = {id->node, id->address, id->replica};
    int err = check_address(id->address, e);
    err = err ? err : pki_ca_make(cluster_name, &f->ca, &f->ca_key, e);
    err = err ? err : pki_key_make(&f->node_key, e);
    err = err ? err : pki_csr_make(buf_slice(&f->node_key), id->node, &f->csr, e);
    return err ? err : pki_issue(buf_slice(&f->ca), buf_slice(&f->ca_key), buf_slice(&f->csr), &subject, &f->cert, e);
}

static int found(const struct membership_env *env, const char *cluster_name, const char *corosync_conf,
                 const struct host_facts *self, struct membership_outcome *o)
{
    AUTO(founding_done) struct founding f = {0};
    struct error *e = &o->error;
    struct hash ca_hash;
    int err = check_unconfigured(env, e);
    err = err ? err : check_corosync_is_free(env, e);
    err = err ? err : founding_make(&f, cluster_name, self, e);
    err = err ? err : pki_cert_hash(buf_slice(&f.ca), &ca_hash, e);
    if (err)
        return err;
    struct credentials c = {
        &f.key,       buf_slice(&f.ca), buf_slice(&f.cert), buf_slice(&f.node_key), {f.authkey, sizeof(f.authkey)},
        corosync_conf};
    err = install(env, &c, &f.identity, e);
    if (err)
        return err;
    pki_seal(&f.key, SEAL_CA_KEY, buf_slice(&f.ca_key), &o->sealed_ca_key);
    o->identity = f.identity;
    o->ca_hash = ca_hash;
    return 0;
}

void membership_found_in(const struct membership_env *env, const char *cluster_name, const char *corosync_conf,
                         const struct host_facts *self, struct membership_outcome *ret)
{
    struct membership_outcome o = {0};
    int err = found(env, cluster_name, corosync_conf, self, &o);
    assert(err == o.error.code);
    *ret = o;
}

void membership_found(const char *cluster_name, const char *corosync_conf, const struct host_facts *self,
                      struct membership_outcome *ret)
{
    struct membership_env env = real_env();
    membership_found_in(&env, cluster_name, corosync_conf, self, ret);
}

/* ---- joining ---- */

/* What is kept between tries with the same token. */
struct joining {
    struct join_token token;
    struct join_request request; /* its facts' machines are borrowed from the caller */
    struct buf key;
};

static void joining_done(struct joining *j)
{
    join_token_done(&j->token);
    free(j->request.csr);
    pki_wipe_buf(&j->key);
}

/* The replica of an earlier try with this token, and its key; false if there was none. */
static bool joining_load(const char *prefix, struct joining *j)
{
    AUTO(buf_done) struct buf text = {0};
    AUTO(json_freep) struct json *json = NULL;
    struct uuid token, replica;
    if (file_read(prefix, PATH_JOINING, SMALL_FILE_MAX, &text, NULL) < 0 ||
        json_parse((const char *)text.p, text.len, &json, NULL) < 0 ||
        json_get_int(json, "format", 0) != JOINMSG_FORMAT || uuid_parse(json_get_str(json, "token", ""), &token) < 0 ||
        !uuid_eq(&token, &j->token.id) || uuid_parse(json_get_str(json, "replica", ""), &replica) < 0)
        return false;
    pki_wipe_buf(&j->key);
    if (file_read_secret(prefix, PATH_NODE_KEY, PKI_PEM_MAX, &j->key, NULL) < 0)
        return false;
    j->request.replica = replica;
    return true;
}

static int joining_make(const char *prefix, struct joining *j, struct error *e)
{
    pki_wipe_buf(&j->key);
    int err = pki_key_make(&j->key, e);
    if (err)
        return err;
    j->request.replica = pki_uuid();
    AUTO(json_freep) struct json *json = json_object_new();
    json_set_int(json, "format", JOINMSG_FORMAT);
    json_set_str(json, "token", uuid_str(&j->token.id).s);
    json_set_str(json, "replica", uuid_str(&j->request.replica).s);
    AUTO(freep) char *text = json_dump_pretty(json);
    struct file_mode secret = {.mode = 0600};
    err = file_install(prefix, PATH_NODE_KEY, buf_slice(&j->key), secret, e);
    return err ? err : file_install(prefix, PATH_JOINING, slice_of(text), secret, e);
}

/* The token names the node, and perhaps its address: another host must not take them. */
static int check_host(const struct join_token *t, const struct host_facts *self, struct error *e)
{
    if (!str_eq(t->node, self->hostname)) {
        error_set(e, ERR_CONDITION, "the join token is for node %s, this is %s", t->node, self->hostname);
        error_set_remedy(e, "use %s's token, or set name = %s in /etc/ringmaster/ringmaster.conf", self->hostname,
                         t->node);
        return ERR_CONDITION;
    }
    return check_address(t->address[0] ? t->address : self->address, e);
}

static int joining_prepare(const char *prefix, struct joining *j, const struct host_facts *self, struct error *e)
{
    int err = check_host(&j->token, self, e);
    if (err)
        return err;
    struct join_request *r = &j->request;
    r->token = j->token.id;
    STR_COPY(r->node, j->token.node);
    STR_COPY(r->address, j->token.address[0] ? j->token.address : self->address);
    r->facts = *self;
    STR_COPY(r->facts.address, r->address); /* one address for everything */
    if (!joining_load(prefix, j))
        err = joining_make(prefix, j, e);
    struct buf csr = {0};
    err = err ? err : pki_csr_make(buf_slice(&j->key), r->node, &csr, e);
    if (!err)
        r->csr = buf_steal_str(&csr);
    return err;
}

/* The answer must be what the token promised, and fit the key here. */
static int check_answer(const struct joining *j, const struct join_answer *a, struct error *e)
{
    struct hash h;
    int err = pki_cert_hash(slice_of(a->ca), &h, e);
    if (err)
        return err;
    if (!hash_eq(&h, &j->token.ca_hash))
        return error_set(e, ERR_CONDITION, "the CA that was handed over is not the one in the token file");
    if (!str_eq(a->cluster_name, j->token.cluster))
        return error_set(e, ERR_CONDITION, "the token file is for cluster %s, the peer is of cluster %s",
                         j->token.cluster, a->cluster_name);
    return pki_check_issued(slice_of(a->ca), slice_of(a->certificate), buf_slice(&j->key), e);
}

static int ask_peer(const struct joining *j, const struct join_peer *peer, struct join_answer *ret, struct error *e)
{
    AUTO(pki_wipe_buf) struct buf request = joinmsg_request(&j->request, j->token.secret);
    AUTO(pki_wipe_buf) struct buf text = {0};
    AUTO(join_answer_done) struct join_answer a = {0};
    int err = tls_ask_join(&j->token.ca_hash, peer->address, peer->port, buf_slice(&request), &text, e);
    err = err ? err : joinmsg_answer_parse(buf_slice(&text), &a, e);
    err = err ? err : check_answer(j, &a, e);
    if (err)
        return err;
    *ret = a;
    a = (struct join_answer){0};
    return 0;
}

/* Could another member give a better answer? A verdict of the cluster is the same everywhere. */
static bool worth_another(int err)
{
    return err != ERR_PERMISSION && err != ERR_NO_OBJECT && err != ERR_NEED_FORCE && err != ERR_USAGE;
}

/* Which of two failures tells the admin more: one of a member that was reached. */
static bool tells_more(int err, int than)
{
    bool unreached = err == ERR_IO || err == ERR_TIMEOUT, than_unreached = than == ERR_IO || than == ERR_TIMEOUT;
    return than == 0 || (than_unreached && !unreached);
}

static int ask_peers(const struct joining *j, struct join_answer *ret, struct error *e)
{
    struct error best = {0};
    for (size_t i = 0; i < j->token.n_peers; i++) {
        struct error why = {0};
        int err = ask_peer(j, &j->token.peers[i], ret, &why);
        if (!err)
            return 0;
        if (tells_more(err, best.code) || !worth_another(err))
            best = why;
        if (!worth_another(err))
            break;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    /* Whether it expired is the cluster's to say, whose clock counts: here it only explains. */
    bool expired = (int64_t)now.tv_sec * 1000 > j->token.expires_ms;
    error_set(e, best.code, "cannot join cluster %s: %s%s", j->token.cluster, best.text,
              expired ? " (by the clock here, the token has expired)" : "");
    if (best.remedy[0])
        error_set_remedy(e, "%s", best.remedy);
    else if (expired || best.code == ERR_PERMISSION)
        error_set_remedy(e, "on a member: clusterctl cluster join-token");
    return best.code;
}

static int join(const struct membership_env *env, const char *token_text, const struct host_facts *self,
                struct membership_outcome *o)
{
    AUTO(joining_done) struct joining j = {0};
    AUTO(join_answer_done) struct join_answer a = {0};
    struct error *e = &o->error;
    int err = check_unconfigured(env, e);
    err = err ? err : check_corosync_is_free(env, e);
    err = err ? err : join_token_parse(token_text, strlen(token_text), &j.token, e);
    err = err ? err : joining_prepare(env->prefix, &j, self, e);
    err = err ? err : ask_peers(&j, &a, e);
    if (err)
        return err;
    struct identity id = {.cluster = a.cluster, .replica = j.request.replica, .nodeid = a.nodeid, .port = self->port};
    STR_COPY(id.cluster_name, a.cluster_name);
    STR_COPY(id.node, j.request.node);
    STR_COPY(id.address, j.request.address);
    struct credentials c = {
        &a.key, slice_of(a.ca), slice_of(a.certificate), buf_slice(&j.key), buf_slice(&a.authkey), a.corosync_conf};
    err = install(env, &c, &id, e);
    if (err)
        return err;
    file_remove(env->prefix, PATH_JOINING, NULL); /* of no meaning beside an identity */
    o->identity = id;
    o->ca_hash = j.token.ca_hash;
    o->corosync_conf = a.corosync_conf;
    a.corosync_conf = NULL;
    return 0;
}

void membership_join_in(const struct membership_env *env, const char *token_text, const struct host_facts *self,
                        struct membership_outcome *ret)
{
    struct membership_outcome o = {0};
    int err = join(env, token_text, self, &o);
    assert(err == o.error.code);
    *ret = o;
}

void membership_join(const char *token_text, const struct host_facts *self, struct membership_outcome *ret)
{
    struct membership_env env = real_env();
    membership_join_in(&env, token_text, self, ret);
}

/* ---- tokens ---- */

/* "ADDRESS:PORT" or "[ADDRESS]:PORT", n bytes. */
static bool parse_peer(const char *s, size_t n, struct join_peer *ret)
{
    char text[ADDRESS_MAX + 16], *end = NULL;
    if (n >= sizeof(text))
        return false;
    memcpy(text, s, n);
    text[n] = '\0';
    char *colon = strrchr(text, ':'), *address = text;
    if (!colon)
        return false;
    *colon = '\0';
    if (text[0] == '[' && colon > text && colon[-1] == ']') {
        colon[-1] = '\0';
        address++;
    }
    errno = 0;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (errno || *end || end == colon + 1 || port == 0 || port > UINT16_MAX)
        return false;
    ret->port = (uint16_t)port;
    return joinmsg_is_address(address) && STR_COPY(ret->address, address);
}

static int parse_peers(const char *peers, struct join_token *t, struct error *e)
{
    const char *p = peers + strspn(peers, " ");
    while (*p && t->n_peers < JOIN_PEERS_MAX) { /* that many are enough to ask */
        size_t n = strcspn(p, " ");
        if (!parse_peer(p, n, &t->peers[t->n_peers]))
            return error_set(e, ERR_USAGE, "\"%.*s\" is not an address and port", (int)n, p);
        t->n_peers++;
        p += n;
        p += strspn(p, " ");
    }
    return t->n_peers ? 0 : error_set(e, ERR_USAGE, "a join token needs a member to ask");
}

static int token_fill(const char *prefix, struct join_token *t, struct error *e)
{
    AUTO(buf_done) struct buf ca = {0};
    int err = file_read(prefix, PATH_CA, PKI_PEM_MAX, &ca, e);
    err = err ? err : pki_cert_hash(buf_slice(&ca), &t->ca_hash, e);
    t->id = pki_uuid();
    pki_random(t->secret, sizeof(t->secret));
    return err;
}

static int make_token(const char *prefix, struct join_token *t, const char *peers, struct token_outcome *o)
{
    struct error *e = &o->error;
    AUTO(cluster_key_wipe) struct cluster_key key = {0};
    if (!joinmsg_is_name(t->node) || (t->address[0] && !joinmsg_is_address(t->address)))
        return error_set(e, ERR_USAGE, "a join token is for a node's name and numeric address, not \"%s\", \"%s\"",
                         t->node, t->address);
    int err = parse_peers(peers, t, e);
    err = err ? err : token_fill(prefix, t, e);
    err = err ? err : cluster_key_load(prefix, &key, e);
    if (err)
        return err;
    char name[sizeof(SEAL_TOKEN) + NODE_NAME_MAX];
    seal_token_name(t->node, name, sizeof(name));
    o->id = t->id;
    o->secret_hash = hash_of(t->secret, sizeof(t->secret));
    o->text = join_token_format(t);
    pki_seal(&key, name, slice_of(o->text), &o->sealed_text);
    return 0;
}

void token_make_in(const char *prefix, const struct identity *id, const char *node, const char *address,
                   const char *peers, int64_t wall_ms, int64_t valid_ms, struct token_outcome *ret)
{
    struct token_outcome o = {0};
    AUTO(join_token_done) struct join_token t = {.expires_ms = wall_ms + valid_ms};
    STR_COPY(t.cluster, id->cluster_name);
    int err = STR_COPY(t.node, node) && STR_COPY(t.address, address ? address : "")
                  ? make_token(prefix, &t, peers, &o)
                  : error_set(&o.error, ERR_USAGE, "the node's name or address is too long");
    assert(err == o.error.code);
    *ret = o;
}

void token_make(const struct identity *id, const char *node, const char *address, const char *peers, int64_t wall_ms,
                int64_t valid_ms, struct token_outcome *ret)
{
    token_make_in("", id, node, address, peers, wall_ms, valid_ms, ret);
}
