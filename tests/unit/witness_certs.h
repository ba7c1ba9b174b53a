/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Certificates of a test: a CA of its own, and what it signs. */
#pragma once

#include "tests/unit/tempdir.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

struct cert {
    EVP_PKEY *key;
    X509 *x509;
};

static inline void cert_done(struct cert *c)
{
    EVP_PKEY_free(c->key);
    X509_free(c->x509);
}

static inline void cert_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX v3;
    X509V3_set_ctx(&v3, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &v3, nid, value);
    if (!e || X509_add_ext(x, e, -1) != 1)
        abort();
    X509_EXTENSION_free(e);
}

/* issuer NULL: a CA. alt: "IP:127.0.0.1", "DNS:…". Valid from two days ago until end_s from now. */
static inline struct cert cert_make(const char *name, const char *alt, long end_s, const struct cert *issuer)
{
    struct cert c = {EVP_EC_gen("P-256"), X509_new()};
    const struct cert *by = issuer ? issuer : &c;
    X509_NAME *subject = X509_get_subject_name(c.x509);
    X509_set_version(c.x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c.x509), (long)(uintptr_t)name & 0xffffff);
    X509_gmtime_adj(X509_getm_notBefore(c.x509), -2L * 86400);
    X509_gmtime_adj(X509_getm_notAfter(c.x509), end_s);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(c.x509, X509_get_subject_name(by->x509));
    X509_set_pubkey(c.x509, c.key);
    cert_extension(c.x509, by->x509, NID_basic_constraints, issuer ? "critical,CA:FALSE" : "critical,CA:TRUE");
    if (alt)
        cert_extension(c.x509, by->x509, NID_subject_alt_name, alt);
    if (X509_sign(c.x509, by->key, EVP_sha256()) == 0)
        abort();
    return c;
}

/* NAME.pem and NAME.key in d. */
static inline void cert_write(const struct cert *c, const struct tempdir *d, const char *name)
{
    char below[128];
    snprintf(below, sizeof(below), "/%s.pem", name);
    FILE *f = fopen(tempdir_path(d, below).s, "w");
    if (!f || PEM_write_X509(f, c->x509) != 1 || fclose(f) != 0)
        abort();
    snprintf(below, sizeof(below), "/%s.key", name);
    f = fopen(tempdir_path(d, below).s, "w");
    if (!f || PEM_write_PrivateKey(f, c->key, NULL, NULL, 0, NULL, NULL) != 1 || fclose(f) != 0)
        abort();
}

static inline void cert_make_file(const struct tempdir *d, const char *name, const char *alt, long end_s,
                                  const struct cert *issuer)
{
    struct cert c = cert_make(name, alt, end_s, issuer);
    cert_write(&c, d, name);
    cert_done(&c);
}
