/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What nodes say to each other over TLS (agent/io/tls.h), as JSON; and the join token file. All readers are bounded and
 * refuse what they do not know: format is 1 in all of them, and must be.
 *
 * A frame is u32 length, big endian, then that many bytes. The one that connects sends one frame:
 *
 *   {"format": 1, "verb": "join", "token": UUID, "secret": HEX 32 bytes, "replica": UUID, "node": NAME,
 *    "address": ADDRESS, "csr": PEM, "facts": {"hostname", "address", "port", "boot_id", "release", "os", "kernel",
 *    "corosync", "qemu_version", "libvirt_version", "agent_version", "memory_kib", "cpus", "machines"}}
 *   {"format": 1, "verb": "fetch"}
 *
 * and gets one frame: a refusal (code as in common/err.h, below 0)
 *
 *   {"format": 1, "code": -113, "text": WHAT AND WHY, "remedy": COMMAND or ""}
 *
 * or, to a join,
 *
 *   {"format": 1, "code": 0, "cluster": UUID, "cluster_name": NAME, "nodeid": N, "ca": PEM, "certificate": PEM,
 *    "cluster_key": HEX 32 bytes, "authkey": HEX, "corosync_conf": TEXT}
 *
 * or, to a fetch, {"format": 1, "code": 0} and then a second frame: the snapshot's bytes.
 *
 * The token file, handed from `cluster join-token` to `node join`:
 *
 *   {"format": 1, "cluster": NAME, "node": NAME, "address": ADDRESS or "", "peers": [{"address", "port"}…],
 *    "ca_sha256": HEX, "token": UUID, "secret": HEX 32 bytes, "expires": UTC milliseconds}
 *
 * The file is a secret: whoever holds it joins as that node, once. ca_sha256 (of the CA certificate's DER) lets the
 * joining node know its cluster before it says the secret. */
#pragma once

#include "agent/io/pki.h"
#include "agent/port.h"
#include "common/json.h"

enum {
    JOINMSG_FORMAT = 1,
    JOINMSG_REQUEST_MAX = 64 * 1024,
    JOINMSG_ANSWER_MAX = 4 << 20, /* its largest part is corosync.conf: some 100 bytes a node */
    JOIN_SECRET_SIZE = 32,
    JOIN_PEERS_MAX = 64,
    AUTHKEY_SIZE = 256, /* ours; corosync takes 128 to 4,096 */
    AUTHKEY_MIN = 128,
    AUTHKEY_MAX = 4096,
};

/* Letters, digits, - _ . : of nodes and clusters, which go into certificates, paths and configuration files. */
bool joinmsg_is_name(const char *s);
bool joinmsg_is_address(const char *s); /* numeric, IPv4 or IPv6 */

struct join_peer {
    char address[ADDRESS_MAX];
    uint16_t port;
};

struct join_token {
    struct uuid id;
    uint8_t secret[JOIN_SECRET_SIZE];
    char cluster[64];
    char node[NODE_NAME_MAX];
    char address[ADDRESS_MAX]; /* "": whatever the joining host uses */
    struct hash ca_hash;
    int64_t expires_ms; /* UTC */
    struct join_peer peers[JOIN_PEERS_MAX];
    size_t n_peers;
};
void join_token_done(struct join_token *t); /* wipes */
/* Ends with a newline; a secret: the caller wipes it. */
char *join_token_format(const struct join_token *t);
/* 0, or ERR_USAGE. */
int join_token_parse(const char *text, size_t len, struct join_token *ret, struct error *e);

/* The request, from the joining side: r as the receiver shall see it (its secret_hash is not sent, the secret is). */
struct buf joinmsg_request(const struct join_request *r, const uint8_t secret[JOIN_SECRET_SIZE]);
struct buf joinmsg_fetch(void);

enum joinmsg_verb { JOINMSG_JOIN = 1, JOINMSG_FETCH };
/* ret_join is filled for a join only; the secret is hashed at once and not kept. */
int joinmsg_request_parse(struct slice text, enum joinmsg_verb *ret_verb, struct join_request *ret_join,
                          struct error *e);

struct join_answer {
    struct uuid cluster;
    char cluster_name[64];
    uint32_t nodeid;
    char *ca, *certificate; /* PEM; owned */
    char *corosync_conf;    /* owned */
    struct cluster_key key;
    struct buf authkey; /* owned */
};
void join_answer_done(struct join_answer *a); /* wipes */
struct buf joinmsg_answer(const struct join_answer *a);
struct buf joinmsg_ok(void);
struct buf joinmsg_refusal(const struct error *error);

/* Of any answer: 0 if it is one and its code is 0. A refusal comes back as *e, with its code, text and remedy.
 * ret_json (may be NULL) is the caller's. */
int joinmsg_answer_status(struct slice text, struct json **ret_json, struct error *e);
int joinmsg_answer_parse(struct slice text, struct join_answer *ret, struct error *e);
