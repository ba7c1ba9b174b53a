/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/io/pki.h"

#include <arpa/inet.h>
#include <assert.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "agent/io/files.h"
#include "agent/io/paths.h"

enum {
    SEAL_VERSION = 1,
    NONCE_SIZE = 12,
    TAG_SIZE = 16,
    DAY_S = 24 * 60 * 60,
    CA_DAYS = 3653,   /* 10 years */
    NODE_DAYS = 1826, /* 5 years */
};

#define SEAL_CONTEXT "ringmaster sealed v1" /* its NUL is part of the associated data */

/* ---- scope cleanup ---- */

#define CLEANUP(type, fn)                                                                                              \
    static void fn##_p(type **p)                                                                                       \
    {                                                                                                                  \
        fn(*p);                                                                                                        \
    }
CLEANUP(X509, X509_free)
CLEANUP(X509_REQ, X509_REQ_free)
CLEANUP(EVP_PKEY, EVP_PKEY_free)
CLEANUP(EVP_CIPHER_CTX, EVP_CIPHER_CTX_free)
CLEANUP(BIGNUM, BN_free)
CLEANUP(GENERAL_NAMES, GENERAL_NAMES_free)
CLEANUP(BIO, BIO_free_all)

/* What OpenSSL says of the last failure on this thread, then forgets. */
static int ssl_error(struct error *e, int code, const char *what)
{
    unsigned long number = ERR_peek_last_error();
    const char *reason = number ? ERR_reason_error_string(number) : NULL;
    ERR_clear_error();
    return error_set(e, code, "%s: %s", what, reason ? reason : "no reason given");
}

/* ---- randomness and wiping ---- */

void pki_random(void *p, size_t n)
{
    assert(n <= INT32_MAX);
    if (RAND_bytes(p, (int)n) != 1)
        abort(); /* no caller could go on with bytes that somebody may guess */
}

struct uuid pki_uuid(void)
{
    struct uuid u;
    pki_random(u.b, sizeof(u.b));
    u.b[6] = (uint8_t)((u.b[6] & 0x0f) | 0x40); /* RFC 4122: version 4, random */
    u.b[8] = (uint8_t)((u.b[8] & 0x3f) | 0x80);
    return u;
}

void pki_wipe(void *p, size_t n)
{
    if (p)
        OPENSSL_cleanse(p, n);
}

void pki_wipe_buf(struct buf *b)
{
    pki_wipe(b->p, b->cap);
    buf_done(b);
}

void pki_wipe_str(char **s)
{
    if (*s)
        pki_wipe(*s, strlen(*s));
    free(*s);
    *s = NULL;
}

void cluster_key_wipe(struct cluster_key *k)
{
    pki_wipe(k->b, sizeof(k->b));
}

int cluster_key_load(const char *prefix, struct cluster_key *ret, struct error *e)
{
    AUTO(pki_wipe_buf) struct buf b = {0};
    int err = file_read_secret(prefix, PATH_CLUSTER_KEY, CLUSTER_KEY_SIZE, &b, e);
    if (!err && b.len != CLUSTER_KEY_SIZE)
        err = error_set(e, ERR_MALFORMED, "%s has %zu bytes instead of %d", PATH_CLUSTER_KEY, b.len, CLUSTER_KEY_SIZE);
    if (!err)
        memcpy(ret->b, b.p, CLUSTER_KEY_SIZE);
    return err;
}

/* ---- PEM in and out ---- */

/* No passphrase is ever asked for: an encrypted key is refused. */
static int no_passphrase(char *buf, int size, int rwflag, void *ctx)
{
    (void)buf, (void)size, (void)rwflag, (void)ctx;
    return -1;
}

static BIO *bio_over(struct slice s)
{
    return s.p && s.len <= PKI_PEM_MAX ? BIO_new_mem_buf(s.p, (int)s.len) : NULL;
}

static X509 *read_cert(struct slice pem)
{
    AUTO(BIO_free_all_p) BIO *bio = bio_over(pem);
    return bio ? PEM_read_bio_X509(bio, NULL, no_passphrase, NULL) : NULL;
}

static EVP_PKEY *read_key(struct slice pem)
{
    AUTO(BIO_free_all_p) BIO *bio = bio_over(pem);
    return bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
}

static X509_REQ *read_csr(struct slice pem)
{
    AUTO(BIO_free_all_p) BIO *bio = bio_over(pem);
    return bio ? PEM_read_bio_X509_REQ(bio, NULL, no_passphrase, NULL) : NULL;
}

static void take_bio(BIO *bio, struct buf *ret)
{
    const char *p = NULL;
    long n = BIO_get_mem_data(bio, &p);
    struct buf b = {0};
    buf_add(&b, p, n > 0 ? (size_t)n : 0);
    *ret = b;
}

static int write_cert(X509 *cert, struct buf *ret, struct error *e)
{
    AUTO(BIO_free_all_p) BIO *bio = BIO_new(BIO_s_mem());
    if (!bio || PEM_write_bio_X509(bio, cert) != 1)
        return ssl_error(e, ERR_FAILED, "cannot write a certificate");
    take_bio(bio, ret);
    return 0;
}

static int write_key(EVP_PKEY *key, struct buf *ret, struct error *e)
{
    AUTO(BIO_free_all_p) BIO *bio = BIO_new(BIO_s_secmem()); /* wiped when it is freed */
    if (!bio || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
        return ssl_error(e, ERR_FAILED, "cannot write a private key");
    take_bio(bio, ret);
    return 0;
}

/* ---- certificates ---- */

static EVP_PKEY *new_key(void)
{
    return EVP_EC_gen("P-256");
}

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = ext && X509_add_ext(cert, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    return ok;
}

static bool set_name(X509_NAME *name, const char *cn)
{
    return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0) == 1;
}

/* 127 random bits: positive in DER, never two alike. */
static bool set_serial(X509 *cert)
{
    uint8_t bytes[16];
    pki_random(bytes, sizeof(bytes));
    bytes[0] = (uint8_t)((bytes[0] & 0x7f) | 0x40);
    AUTO(BN_free_p) BIGNUM *n = BN_bin2bn(bytes, sizeof(bytes), NULL);
    return n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert)) != NULL;
}

static bool set_validity(X509 *cert, int days)
{
    return X509_gmtime_adj(X509_getm_notBefore(cert), -DAY_S) &&
           X509_time_adj_ex(X509_getm_notAfter(cert), days, 0, NULL);
}

/* A certificate with everything but names, issuer and extensions. */
static X509 *cert_start(EVP_PKEY *public_key, int days)
{
    X509 *cert = X509_new();
    if (cert && X509_set_version(cert, X509_VERSION_3) == 1 && set_serial(cert) && set_validity(cert, days) &&
        X509_set_pubkey(cert, public_key) == 1)
        return cert;
    X509_free(cert);
    return NULL;
}

static bool ca_fill(X509 *cert, EVP_PKEY *key, const char *cn)
{
    return set_name(X509_get_subject_name(cert), cn) && X509_set_issuer_name(cert, X509_get_subject_name(cert)) == 1 &&
           add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
           add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") &&
           add_extension(cert, cert, NID_subject_key_identifier, "hash") && X509_sign(cert, key, EVP_sha256()) > 0;
}

int pki_ca_make(const char *cluster_name, struct buf *ret_cert, struct buf *ret_key, struct error *e)
{
    /* A CN holds at most 64 characters (ub-common-name): a longer cluster name is cut here, and only here. */
    char cn[65];
    STR_COPY(cn, "Ringmaster cluster ");
    str_copy(cn + strlen(cn), sizeof(cn) - strlen(cn), cluster_name);

    AUTO(EVP_PKEY_free_p) EVP_PKEY *key = new_key();
    AUTO(X509_free_p) X509 *cert = key ? cert_start(key, CA_DAYS) : NULL;
    if (!cert || !ca_fill(cert, key, cn))
        return ssl_error(e, ERR_FAILED, "cannot make the cluster's CA");
    AUTO(buf_done) struct buf cert_pem = {0};
    int err = write_cert(cert, &cert_pem, e);
    if (!err)
        err = write_key(key, ret_key, e);
    if (err)
        return err;
    *ret_cert = cert_pem;
    cert_pem = (struct buf){0};
    return 0;
}

int pki_key_make(struct buf *ret_key, struct error *e)
{
    AUTO(EVP_PKEY_free_p) EVP_PKEY *key = new_key();
    if (!key)
        return ssl_error(e, ERR_FAILED, "cannot make a private key");
    return write_key(key, ret_key, e);
}

int pki_csr_make(struct slice key_pem, const char *node, struct buf *ret_csr, struct error *e)
{
    AUTO(EVP_PKEY_free_p) EVP_PKEY *key = read_key(key_pem);
    AUTO(X509_REQ_free_p) X509_REQ *req = X509_REQ_new();
    if (!key || !req)
        return ssl_error(e, ERR_MALFORMED, "cannot read this node's private key");
    AUTO(BIO_free_all_p) BIO *bio = BIO_new(BIO_s_mem());
    if (!bio || X509_REQ_set_version(req, X509_REQ_VERSION_1) != 1 || !set_name(X509_REQ_get_subject_name(req), node) ||
        X509_REQ_set_pubkey(req, key) != 1 || X509_REQ_sign(req, key, EVP_sha256()) <= 0 ||
        PEM_write_bio_X509_REQ(bio, req) != 1)
        return ssl_error(e, ERR_FAILED, "cannot make a certificate request");
    take_bio(bio, ret_csr);
    return 0;
}

/* ---- issuing ---- */

/* Takes value, which may be NULL. */
static bool push_name(GENERAL_NAMES *names, int type, ASN1_STRING *value, const void *p, size_t n)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    if (!name || !value || ASN1_STRING_set(value, p, (int)n) != 1) {
        ASN1_STRING_free(value);
        GENERAL_NAME_free(name);
        return false;
    }
    GENERAL_NAME_set0_value(name, type, value);
    if (sk_GENERAL_NAME_push(names, name) > 0)
        return true;
    GENERAL_NAME_free(name);
    return false;
}

static bool push_address(GENERAL_NAMES *names, const char *address)
{
    struct in6_addr bytes;
    size_t n = inet_pton(AF_INET, address, &bytes) == 1 ? 4 : inet_pton(AF_INET6, address, &bytes) == 1 ? 16 : 0;
    return n > 0 && push_name(names, GEN_IPADD, ASN1_OCTET_STRING_new(), &bytes, n);
}

/* Built value by value, not from a text in which a node's name could smuggle further names. */
static bool add_alt_names(X509 *cert, const struct pki_subject *subject)
{
    AUTO(GENERAL_NAMES_free_p) GENERAL_NAMES *names = GENERAL_NAMES_new();
    char uri[sizeof("urn:uuid:") + UUID_STR_SIZE];
    STR_COPY(uri, "urn:uuid:");
    str_copy(uri + strlen(uri), sizeof(uri) - strlen(uri), uuid_str(&subject->replica).s);
    return names && push_name(names, GEN_DNS, ASN1_IA5STRING_new(), subject->node, strlen(subject->node)) &&
           push_address(names, subject->address) && push_name(names, GEN_URI, ASN1_IA5STRING_new(), uri, strlen(uri)) &&
           X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, X509V3_ADD_DEFAULT) == 1;
}

static bool node_fill(X509 *cert, X509 *ca, const struct pki_subject *subject)
{
    return set_name(X509_get_subject_name(cert), subject->node) &&
           X509_set_issuer_name(cert, X509_get_subject_name(ca)) == 1 &&
           add_extension(cert, ca, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(cert, ca, NID_key_usage, "critical,digitalSignature,keyEncipherment") &&
           add_extension(cert, ca, NID_ext_key_usage, "serverAuth,clientAuth") && add_alt_names(cert, subject) &&
           add_extension(cert, ca, NID_subject_key_identifier, "hash") &&
           add_extension(cert, ca, NID_authority_key_identifier, "keyid:always");
}

/* The requester's public key, once its request proves that it holds the private one. Borrowed from req. */
static EVP_PKEY *csr_key(X509_REQ *req, struct error *e)
{
    EVP_PKEY *key = X509_REQ_get0_pubkey(req);
    char group[32] = "";
    size_t len = 0;
    if (!key || EVP_PKEY_get_group_name(key, group, sizeof(group), &len) != 1 ||
        (!str_eq(group, "prime256v1") && !str_eq(group, "P-256"))) {
        ERR_clear_error();
        error_set(e, ERR_MALFORMED, "the certificate request has no EC P-256 key");
        return NULL;
    }
    if (X509_REQ_verify(req, key) != 1) {
        ssl_error(e, ERR_MALFORMED, "the certificate request is not signed by its own key");
        return NULL;
    }
    return key;
}

static bool clamp_to_ca(X509 *cert, X509 *ca)
{
    return ASN1_TIME_compare(X509_get0_notAfter(cert), X509_get0_notAfter(ca)) <= 0 ||
           X509_set1_notAfter(cert, X509_get0_notAfter(ca)) == 1;
}

int pki_issue(struct slice ca_cert, struct slice ca_key, struct slice csr, const struct pki_subject *subject,
              struct buf *ret_cert, struct error *e)
{
    AUTO(X509_free_p) X509 *ca = read_cert(ca_cert);
    AUTO(EVP_PKEY_free_p) EVP_PKEY *key = read_key(ca_key);
    if (!ca || !key || X509_check_private_key(ca, key) != 1)
        return ssl_error(e, ERR_MALFORMED, "the cluster's CA certificate and its key do not fit each other");
    AUTO(X509_REQ_free_p) X509_REQ *req = read_csr(csr);
    if (!req)
        return ssl_error(e, ERR_MALFORMED, "cannot read the certificate request");
    EVP_PKEY *public_key = csr_key(req, e);
    if (!public_key)
        return ERR_MALFORMED;
    AUTO(X509_free_p) X509 *cert = cert_start(public_key, NODE_DAYS);
    if (!cert || !clamp_to_ca(cert, ca) || !node_fill(cert, ca, subject) || X509_sign(cert, key, EVP_sha256()) <= 0) {
        ERR_clear_error();
        return error_set(e, ERR_FAILED, "cannot issue a certificate for node \"%s\" at \"%s\": name or address unfit",
                         subject->node, subject->address);
    }
    return write_cert(cert, ret_cert, e);
}

int pki_check_issued(struct slice ca_cert, struct slice cert_pem, struct slice key_pem, struct error *e)
{
    AUTO(X509_free_p) X509 *ca = read_cert(ca_cert);
    AUTO(X509_free_p) X509 *cert = read_cert(cert_pem);
    AUTO(EVP_PKEY_free_p) EVP_PKEY *key = read_key(key_pem);
    if (!ca || !cert || !key)
        return ssl_error(e, ERR_CONDITION, "cannot read the certificate, its CA or its key");
    if (X509_check_ca(ca) != 1 || X509_check_issued(ca, cert) != X509_V_OK ||
        X509_verify(cert, X509_get0_pubkey(ca)) != 1)
        return ssl_error(e, ERR_CONDITION, "the certificate is not issued by the cluster's CA");
    if (X509_check_private_key(cert, key) != 1)
        return ssl_error(e, ERR_CONDITION, "the certificate is for another key");
    return 0;
}

int pki_cert_hash(struct slice cert_pem, struct hash *ret, struct error *e)
{
    AUTO(X509_free_p) X509 *cert = read_cert(cert_pem);
    struct hash h;
    unsigned len = 0;
    if (!cert || X509_digest(cert, EVP_sha256(), h.b, &len) != 1)
        return ssl_error(e, ERR_MALFORMED, "cannot read a certificate");
    assert(len == sizeof(h.b));
    *ret = h;
    return 0;
}

/* ---- sealing ---- */

void seal_token_name(const char *node, char *dst, size_t size)
{
    int n = snprintf(dst, size, "%s%s", SEAL_TOKEN, node);
    assert(n > 0 && (size_t)n < size);
}

/* Starts GCM with the associated data; what fails here fails for want of memory or of AES, never for its input. */
static EVP_CIPHER_CTX *seal_start(const struct cluster_key *key, const uint8_t *nonce, const char *name, int encrypt)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0;
    if (!ctx || EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, key->b, nonce, encrypt) != 1 ||
        EVP_CipherUpdate(ctx, NULL, &n, (const uint8_t *)SEAL_CONTEXT, sizeof(SEAL_CONTEXT)) != 1 ||
        EVP_CipherUpdate(ctx, NULL, &n, (const uint8_t *)name, (int)strlen(name)) != 1)
        abort();
    return ctx;
}

void pki_seal(const struct cluster_key *key, const char *name, struct slice plain, struct buf *ret)
{
    assert(plain.len <= INT32_MAX - PKI_SEAL_OVERHEAD);
    size_t size = plain.len + PKI_SEAL_OVERHEAD;
    struct buf b = {.p = xmalloc(size), .len = size, .cap = size};
    uint8_t *nonce = b.p + 1, *text = nonce + NONCE_SIZE, *tag = text + plain.len;
    b.p[0] = SEAL_VERSION;
    pki_random(nonce, NONCE_SIZE);
    AUTO(EVP_CIPHER_CTX_free_p) EVP_CIPHER_CTX *ctx = seal_start(key, nonce, name, 1);
    int n = 0, last = 0;
    if ((plain.len > 0 && EVP_CipherUpdate(ctx, text, &n, plain.p, (int)plain.len) != 1) ||
        EVP_CipherFinal_ex(ctx, text + n, &last) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG_SIZE, tag) != 1)
        abort();
    assert((size_t)n + (size_t)last == plain.len);
    *ret = b;
}

int pki_unseal(const struct cluster_key *key, const char *name, struct slice sealed, struct buf *ret, struct error *e)
{
    if (sealed.len < PKI_SEAL_OVERHEAD || sealed.len > INT32_MAX || sealed.p[0] != SEAL_VERSION)
        return error_set(e, ERR_MALFORMED, "\"%s\" is not sealed bytes of a format known here", name);
    size_t len = sealed.len - PKI_SEAL_OVERHEAD;
    const uint8_t *nonce = sealed.p + 1, *text = nonce + NONCE_SIZE;
    uint8_t tag[TAG_SIZE];
    memcpy(tag, text + len, TAG_SIZE);
    struct buf b = {.p = xmalloc(len + 1), .cap = len + 1};
    AUTO(EVP_CIPHER_CTX_free_p) EVP_CIPHER_CTX *ctx = seal_start(key, nonce, name, 0);
    int n = 0, last = 0;
    bool ok = (len == 0 || EVP_CipherUpdate(ctx, b.p, &n, text, (int)len) == 1) &&
              EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG_SIZE, tag) == 1 &&
              EVP_CipherFinal_ex(ctx, b.p + n, &last) == 1;
    if (!ok) {
        ERR_clear_error();
        pki_wipe_buf(&b);
        return error_set(e, ERR_MALFORMED, "\"%s\" does not unseal: another cluster key, another name, or changed",
                         name);
    }
    b.len = (size_t)n + (size_t)last;
    *ret = b;
    return 0;
}
