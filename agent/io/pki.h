/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keys, certificates and sealed bytes: the cluster's own small PKI, on OpenSSL. All PEM, all blocking, no state.
 *
 * The CA: EC P-256, 10 years, CN "Ringmaster cluster NAME", signs end entities only (path length 0). Its key lies in
 * the replicated database, sealed, so that any member can issue and no node's loss loses it.
 *
 * A node's certificate: EC P-256, 5 years (never beyond its CA's), CN = the node's name, client and server, SAN
 * dns:NODE ip:ADDRESS uri:urn:uuid:REPLICA. One certificate serves the agent, libvirt and QEMU. libvirt 9.0 and
 * QEMU 7.2 want keyEncipherment in the key usage, though nothing enciphers with an EC key; GnuTLS takes it. Validity
 * starts a day ago: the clock of a machine that was just imaged may be behind, and its hardware clock in local time.
 *
 * Sealed bytes, AES-256-GCM under the cluster key, one random nonce each:
 *     u8 version = 1 | nonce 12 | ciphertext, as long as the plain text | tag 16
 * with "ringmaster sealed v1" NUL NAME as associated data: what was sealed under one name does not open under another.
 */
#pragma once

#include "agent/port.h"

enum {
    PKI_SEAL_OVERHEAD = 1 + 12 + 16,
    PKI_PEM_MAX = 16 * 1024, /* of one certificate, key or CSR that comes from elsewhere */
    CLUSTER_KEY_SIZE = 32,
};

struct cluster_key {
    uint8_t b[CLUSTER_KEY_SIZE];
};

/* Names under which things are sealed. A token is bound to its node: SEAL_TOKEN, then the node's name. */
#define SEAL_CA_KEY "ca.key"
#define SEAL_TOKEN  "token:"
void seal_token_name(const char *node, char *dst, size_t size);

/* Cryptographic randomness; ends the process if there is none. */
void pki_random(void *p, size_t n);
struct uuid pki_uuid(void);

/* Wiping: memory that held a secret is overwritten before it is freed. All accept what is empty. */
void pki_wipe(void *p, size_t n);
void pki_wipe_buf(struct buf *b); /* also frees, like buf_done */
void pki_wipe_str(char **s);      /* also frees; *s becomes NULL */
void cluster_key_wipe(struct cluster_key *k);

/* The cluster key of this node, from its file below prefix ("" on a node). */
int cluster_key_load(const char *prefix, struct cluster_key *ret, struct error *e);

/* A new CA for the cluster of that name. */
int pki_ca_make(const char *cluster_name, struct buf *ret_cert, struct buf *ret_key, struct error *e);

/* A new private key (PKCS #8), and a request for it. */
int pki_key_make(struct buf *ret_key, struct error *e);
int pki_csr_make(struct slice key, const char *node, struct buf *ret_csr, struct error *e);

/* Who a certificate is for. Of a CSR only the public key is believed, and that its sender holds the private one. */
struct pki_subject {
    const char *node;
    const char *address; /* numeric */
    struct uuid replica;
};
int pki_issue(struct slice ca_cert, struct slice ca_key, struct slice csr, const struct pki_subject *subject,
              struct buf *ret_cert, struct error *e);

/* Is cert issued by ca_cert, for this key? ERR_CONDITION says what is wrong. */
int pki_check_issued(struct slice ca_cert, struct slice cert, struct slice key, struct error *e);

/* SHA-256 of the certificate's DER form. */
int pki_cert_hash(struct slice cert, struct hash *ret, struct error *e);

void pki_seal(const struct cluster_key *key, const char *name, struct slice plain, struct buf *ret);
/* ERR_MALFORMED: not sealed bytes, sealed under another key or name, or changed. The caller wipes ret. */
int pki_unseal(const struct cluster_key *key, const char *name, struct slice sealed, struct buf *ret, struct error *e);
