/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a stranger hands in when a node joins: token files, requests, answers, sealed bytes and certificate requests.
 * The first byte chooses: t r a s c. */
#include "agent/io/joinmsg.h"
#include "tests/fuzz/fuzz.h"

static void fuzz_token(struct slice text)
{
    struct join_token t = {0}, again = {0};
    struct error e = {0};
    int err = join_token_parse((const char *)text.p, text.len, &t, &e);
    if (err) {
        assert(e.code == err && e.text[0]);
        return;
    }
    assert(t.n_peers > 0 && t.n_peers <= JOIN_PEERS_MAX && joinmsg_is_name(t.node) && joinmsg_is_name(t.cluster));
    char *formatted = join_token_format(&t);
    assert(join_token_parse(formatted, strlen(formatted), &again, &e) == 0);
    assert(uuid_eq(&t.id, &again.id) && t.expires_ms == again.expires_ms && t.n_peers == again.n_peers);
    pki_wipe_str(&formatted);
    join_token_done(&t);
    join_token_done(&again);
}

static void fuzz_request(struct slice text)
{
    struct join_request r = {0};
    struct error e = {0};
    enum joinmsg_verb verb = JOINMSG_FETCH;
    int err = joinmsg_request_parse(text, &verb, &r, &e);
    if (err)
        assert(e.code == err && e.text[0]);
    else if (verb == JOINMSG_JOIN)
        assert(joinmsg_is_name(r.node) && joinmsg_is_address(r.address) && r.csr);
    if (!err && verb == JOINMSG_JOIN)
        join_request_done(&r);
}

static void fuzz_answer(struct slice text)
{
    struct join_answer a = {0};
    struct json *j = NULL;
    struct error e = {0};
    int err = joinmsg_answer_status(text, &j, &e);
    if (err)
        assert(e.code == err);
    json_free(j);
    if (joinmsg_answer_parse(text, &a, &e) != 0)
        return;
    assert(a.ca && a.certificate && a.corosync_conf && a.nodeid > 0);
    join_answer_done(&a);
}

static void fuzz_sealed(struct slice bytes)
{
    struct cluster_key key = {{0}};
    struct buf plain = {0};
    struct error e = {0};
    if (pki_unseal(&key, SEAL_CA_KEY, bytes, &plain, &e) == 0)
        pki_wipe_buf(&plain);
    struct hash h;
    (void)pki_cert_hash(bytes, &h, &e);
}

/* The certificate is signed in any case: a CA is made once, the requests are the input. */
static void fuzz_csr(struct slice csr)
{
    static struct buf ca, ca_key;
    struct error e = {0};
    struct buf cert = {0};
    if (!ca.len && pki_ca_make("ring", &ca, &ca_key, &e) != 0)
        abort();
    struct pki_subject subject = {"n2", "10.0.0.2", {{2}}};
    int err = pki_issue(buf_slice(&ca), buf_slice(&ca_key), csr, &subject, &cert, &e);
    assert(err == 0 || (e.code == err && e.text[0] && cert.len == 0));
    buf_done(&cert);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, data + size};
    uint8_t what = input_u8(&in);
    struct slice rest = input_rest(&in);
    AUTO(freep) uint8_t *block = input_block(rest);
    rest.p = block;
    switch (what) {
    case 't': fuzz_token(rest); break;
    case 'r': fuzz_request(rest); break;
    case 'a': fuzz_answer(rest); break;
    case 's': fuzz_sealed(rest); break;
    case 'c': fuzz_csr(rest); break;
    }
    return 0;
}
