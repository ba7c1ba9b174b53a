/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/unit/unit.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "agent/io/pki.h"

struct fixture {
    struct buf ca, ca_key, key, csr;
};

static int setup(void **state)
{
    struct fixture *f = xcalloc(1, sizeof(*f));
    assert_int_equal(pki_ca_make("demo", &f->ca, &f->ca_key, NULL), 0);
    assert_int_equal(pki_key_make(&f->key, NULL), 0);
    assert_int_equal(pki_csr_make(buf_slice(&f->key), "n1", &f->csr, NULL), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    buf_done(&f->ca);
    pki_wipe_buf(&f->ca_key);
    pki_wipe_buf(&f->key);
    buf_done(&f->csr);
    free(f);
    return 0;
}

static X509 *parse(const struct buf *pem)
{
    BIO *bio = BIO_new_mem_buf(pem->p, (int)pem->len);
    X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);
    assert_non_null(cert);
    return cert;
}

static struct uuid some_uuid(void)
{
    struct uuid u;
    assert_int_equal(uuid_parse("0b1e6a52-7a3f-4a0e-9f5c-2d1c3b4a5968", &u), 0);
    return u;
}

static X509 *issue(struct fixture *f, const char *address)
{
    struct buf pem = {0};
    struct error e = {0};
    struct pki_subject subject = {"n1", address, some_uuid()};
    assert_int_equal(pki_issue(buf_slice(&f->ca), buf_slice(&f->ca_key), buf_slice(&f->csr), &subject, &pem, &e), 0);
    assert_int_equal(pki_check_issued(buf_slice(&f->ca), buf_slice(&pem), buf_slice(&f->key), &e), 0);
    X509 *cert = parse(&pem);
    buf_done(&pem);
    return cert;
}

static int days_left(const X509 *cert)
{
    int days = 0, seconds = 0;
    assert_int_equal(ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert)), 1);
    return days;
}

static void test_ca(void **state)
{
    struct fixture *f = *state;
    X509 *ca = parse(&f->ca);
    char cn[64];
    X509_NAME_get_text_by_NID(X509_get_subject_name(ca), NID_commonName, cn, sizeof(cn));
    assert_string_equal(cn, "Ringmaster cluster demo");
    assert_int_equal(X509_check_ca(ca), 1);
    assert_int_equal(X509_get_key_usage(ca), KU_KEY_CERT_SIGN | KU_CRL_SIGN);
    assert_int_equal(X509_get_pathlen(ca), 0);
    assert_in_range(days_left(ca), 3650, 3653);
    X509_free(ca);
}

static void test_node_certificate(void **state)
{
    X509 *cert = issue(*state, "192.0.2.7");
    assert_int_equal(X509_get_key_usage(cert), KU_DIGITAL_SIGNATURE | KU_KEY_ENCIPHERMENT);
    assert_int_equal(X509_get_extended_key_usage(cert), XKU_SSL_SERVER | XKU_SSL_CLIENT);
    assert_int_equal(X509_check_ca(cert), 0);
    assert_int_equal(X509_check_host(cert, "n1", 0, 0, NULL), 1);
    assert_int_equal(X509_check_host(cert, "n2", 0, 0, NULL), 0);
    assert_int_equal(X509_check_ip_asc(cert, "192.0.2.7", 0), 1);
    assert_int_equal(X509_check_ip_asc(cert, "192.0.2.8", 0), 0);
    assert_int_equal(X509_check_purpose(cert, X509_PURPOSE_SSL_SERVER, 0), 1);
    assert_int_equal(X509_check_purpose(cert, X509_PURPOSE_SSL_CLIENT, 0), 1);
    assert_in_range(days_left(cert), 1824, 1826);
    /* A machine whose clock is some hours behind believes it too. */
    time_t earlier = time(NULL) - 12 * 3600;
    assert_int_equal(X509_cmp_time(X509_get0_notBefore(cert), &earlier), -1);
    X509_free(cert);
}

static void test_node_certificate_names(void **state)
{
    X509 *cert = issue(*state, "2001:db8::7");
    assert_int_equal(X509_check_ip_asc(cert, "2001:db8::7", 0), 1);
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    assert_int_equal(sk_GENERAL_NAME_num(names), 3);
    const GENERAL_NAME *uri = sk_GENERAL_NAME_value(names, 2);
    assert_int_equal(uri->type, GEN_URI);
    assert_string_equal((const char *)ASN1_STRING_get0_data(uri->d.uniformResourceIdentifier),
                        "urn:uuid:0b1e6a52-7a3f-4a0e-9f5c-2d1c3b4a5968");
    GENERAL_NAMES_free(names);
    X509_free(cert);
}

static int issue_error(struct fixture *f, struct slice csr, const char *address)
{
    struct buf pem = {0};
    struct error e = {0};
    struct pki_subject subject = {"n1", address, some_uuid()};
    int err = pki_issue(buf_slice(&f->ca), buf_slice(&f->ca_key), csr, &subject, &pem, &e);
    assert_null(pem.p);
    assert_int_equal(e.code, err);
    return err;
}

/* A request whose signature is of another key: who sent it does not hold the key that it asks for. */
static struct buf csr_of_stolen_key(struct fixture *f)
{
    BIO *in = BIO_new_mem_buf(f->csr.p, (int)f->csr.len), *out = BIO_new(BIO_s_mem());
    X509_REQ *req = PEM_read_bio_X509_REQ(in, NULL, NULL, NULL);
    EVP_PKEY *other = EVP_EC_gen("P-256");
    assert_true(X509_REQ_sign(req, other, EVP_sha256()) > 0);
    PEM_write_bio_X509_REQ(out, req);
    struct buf b = {0};
    const char *p = NULL;
    long n = BIO_get_mem_data(out, &p);
    buf_add(&b, p, (size_t)n);
    EVP_PKEY_free(other);
    X509_REQ_free(req);
    BIO_free(in);
    BIO_free(out);
    return b;
}

static void test_bad_requests(void **state)
{
    struct fixture *f = *state;
    AUTO(buf_done) struct buf stolen = csr_of_stolen_key(f);
    assert_int_equal(issue_error(f, buf_slice(&stolen), "192.0.2.7"), ERR_MALFORMED);
    assert_int_equal(issue_error(f, (struct slice){(const uint8_t *)"garbage", 7}, "192.0.2.7"), ERR_MALFORMED);
    assert_int_equal(issue_error(f, (struct slice){NULL, 0}, "192.0.2.7"), ERR_MALFORMED);
    assert_int_equal(issue_error(f, buf_slice(&f->csr), "not.an.address"), ERR_FAILED);
}

static void test_check_issued(void **state)
{
    struct fixture *f = *state;
    AUTO(buf_done) struct buf ca = {0}, ca_key = {0}, key = {0}, cert = {0};
    struct pki_subject subject = {"n1", "192.0.2.7", some_uuid()};
    assert_int_equal(pki_issue(buf_slice(&f->ca), buf_slice(&f->ca_key), buf_slice(&f->csr), &subject, &cert, NULL), 0);
    /* A CA of the same name is still another CA. */
    assert_int_equal(pki_ca_make("demo", &ca, &ca_key, NULL), 0);
    assert_int_equal(pki_check_issued(buf_slice(&ca), buf_slice(&cert), buf_slice(&f->key), NULL), ERR_CONDITION);
    assert_int_equal(pki_key_make(&key, NULL), 0);
    assert_int_equal(pki_check_issued(buf_slice(&f->ca), buf_slice(&cert), buf_slice(&key), NULL), ERR_CONDITION);
}

static void test_cert_hash(void **state)
{
    struct fixture *f = *state;
    struct hash h;
    assert_int_equal(pki_cert_hash(buf_slice(&f->ca), &h, NULL), 0);
    X509 *ca = parse(&f->ca);
    unsigned char *der = NULL;
    int n = i2d_X509(ca, &der);
    struct hash expected = hash_of(der, (size_t)n);
    assert_true(hash_eq(&h, &expected));
    OPENSSL_free(der);
    X509_free(ca);
}

static struct cluster_key some_key(uint8_t first)
{
    struct cluster_key k = {{first, 2, 3}};
    return k;
}

static int unseal(uint8_t key, const char *name, const struct buf *sealed, struct buf *ret)
{
    struct cluster_key k = some_key(key);
    return pki_unseal(&k, name, buf_slice(sealed), ret, NULL);
}

static void test_seal(void **state)
{
    (void)state;
    struct cluster_key k = some_key(1);
    AUTO(buf_done) struct buf sealed = {0}, again = {0}, plain = {0};
    pki_seal(&k, "ca.key", (struct slice){(const uint8_t *)"secret", 6}, &sealed);
    pki_seal(&k, "ca.key", (struct slice){(const uint8_t *)"secret", 6}, &again);
    assert_int_equal(sealed.len, 6 + PKI_SEAL_OVERHEAD);
    assert_memory_not_equal(sealed.p, again.p, sealed.len); /* a nonce never comes twice */
    assert_int_equal(unseal(1, "ca.key", &sealed, &plain), 0);
    assert_int_equal(plain.len, 6);
    assert_memory_equal(plain.p, "secret", 6);
}

static void test_unseal_refuses(void **state)
{
    (void)state;
    struct cluster_key k = some_key(1);
    AUTO(buf_done) struct buf sealed = {0};
    struct buf plain = {0};
    pki_seal(&k, "token:n1", (struct slice){(const uint8_t *)"secret", 6}, &sealed);
    assert_int_equal(unseal(2, "token:n1", &sealed, &plain), ERR_MALFORMED);
    assert_int_equal(unseal(1, "token:n2", &sealed, &plain), ERR_MALFORMED);
    for (size_t i = 0; i < sealed.len; i++) { /* every byte counts: version, nonce, text, tag */
        sealed.p[i] ^= 1;
        assert_int_equal(unseal(1, "token:n1", &sealed, &plain), ERR_MALFORMED);
        sealed.p[i] ^= 1;
    }
    for (size_t whole = sealed.len; sealed.len > 0; sealed.len--)
        if (sealed.len < whole)
            assert_int_equal(unseal(1, "token:n1", &sealed, &plain), ERR_MALFORMED);
    assert_null(plain.p);
}

static void test_seal_nothing(void **state)
{
    (void)state;
    struct cluster_key k = some_key(1);
    AUTO(buf_done) struct buf sealed = {0}, plain = {0};
    pki_seal(&k, "x", (struct slice){NULL, 0}, &sealed);
    assert_int_equal(unseal(1, "x", &sealed, &plain), 0);
    assert_int_equal(plain.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ca),
        cmocka_unit_test(test_node_certificate),
        cmocka_unit_test(test_node_certificate_names),
        cmocka_unit_test(test_bad_requests),
        cmocka_unit_test(test_check_issued),
        cmocka_unit_test(test_cert_hash),
        cmocka_unit_test(test_seal),
        cmocka_unit_test(test_unseal_refuses),
        cmocka_unit_test(test_seal_nothing),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
