/* SPDX-License-Identifier: GPL-2.0-or-later */
/* witness/io/azure against a real blob service: Azurite on loopback, over HTTP and over HTTPS, in a folder of its own,
 * and with tests/witness/proxy between where an answer has to get lost. contrib/setup installs Azurite. Azurite differs
 * from Azure (design 3): it says AuthorizationFailure for a wrong signature. */
#include "tests/unit/witness_world.h"

#include <curl/curl.h>
#include <sys/stat.h>

#include "tests/unit/tempdir.h"
#include "tests/unit/witness_certs.h"
#include "witness/io/azure.h"
#include "witness/io/sharedkey.h"

/* The account's two keys, and one that is neither. */
#define KEY_1 "a2V5LW9uZS1rZXktb25lLWtleS1vbmUta2V5LW9uZSE="
#define KEY_2 "a2V5LXR3by1rZXktdHdvLWtleS10d28ta2V5LXR3byE="
#define KEY_3 "a2V5LXRyaS1rZXktdHJpLWtleS10cmkta2V5LXRyaSE="

enum { SKIPPED = 77 };

struct azurite {
    struct tempdir dir;
    bool is_tls;
    pid_t pid;
    FILE *out;
    int port;
    char endpoint[128], ca[128];
};

static const char *azurite_program(void)
{
    static char path[512];
    const char *cache = getenv("LAB_CACHE");
    snprintf(path, sizeof(path), "%s/azurite/node_modules/.bin/azurite-blob",
             cache && cache[0] ? cache : "/var/cache/ringmaster-lab");
    return access(path, X_OK) == 0 ? path : NULL;
}

/* It says which port it took. */
static int read_port(FILE *out)
{
    char line[512];
    while (fgets(line, sizeof(line), out)) {
        const char *at = strstr(line, "successfully listens on http");
        const char *colon = at ? strrchr(at, ':') : NULL;
        if (colon)
            return (int)strtol(colon + 1, NULL, 10);
    }
    return 0;
}

static struct azurite azurite_start(bool is_tls)
{
    struct azurite z = {.dir = tempdir_make(), .is_tls = is_tls};
    char cert[128], key[128];
    snprintf(z.ca, sizeof(z.ca), "%s/ca.pem", z.dir.path);
    snprintf(cert, sizeof(cert), "%s/good.pem", z.dir.path);
    snprintf(key, sizeof(key), "%s/good.key", z.dir.path);
    AUTO(cert_done) struct cert ca = cert_make("Test CA", NULL, 86400, NULL);
    cert_write(&ca, &z.dir, "ca");
    cert_make_file(&z.dir, "good", "IP:127.0.0.1", 86400, &ca);
    const char *argv[] = {azurite_program(),
                          "--blobHost",
                          "127.0.0.1",
                          "--blobPort",
                          "0",
                          "--location",
                          z.dir.path,
                          "--disableTelemetry",
                          is_tls ? "--cert" : NULL,
                          cert,
                          "--key",
                          key,
                          NULL};
    setenv("AZURITE_ACCOUNTS", "acc:" KEY_1 ":" KEY_2, 1);
    z.pid = world_spawn(argv, &z.out);
    z.port = read_port(z.out);
    assert_true(z.port > 0);
    snprintf(z.endpoint, sizeof(z.endpoint), "http%s://127.0.0.1:%d/acc", is_tls ? "s" : "", z.port);
    return z;
}

static void azurite_stop(struct azurite *z)
{
    world_end(z->pid, z->out);
    tempdir_done(&z->dir);
}

static struct credentials credentials_of(const char *text)
{
    struct credentials c;
    struct error e;
    assert_int_equal(credentials_parse((struct slice){(const uint8_t *)text, strlen(text)}, &c, &e), 0);
    return c;
}

/* A SAS of the account for blobs, made with its first key. end: as in se=. */
static void make_sas(char *dst, size_t size, const char *permissions, const char *end)
{
    struct credentials c = credentials_of(KEY_1);
    char text[512], escaped[128] = "";
    /* account, sp, ss, srt, st, se, sip, spr, sv and, since 2020-12-06, the encryption scope */
    int n = snprintf(text, sizeof(text), "acc\n%s\nb\nco\n\n%s\n\nhttps,http\n2020-08-04\n", permissions, end);
    struct sharedkey_mac mac =
        sharedkey_mac((struct slice){c.keys[0].b, c.keys[0].len}, (struct slice){(uint8_t *)text, (size_t)n});
    for (const char *p = mac.s; *p; p++)
        snprintf(escaped + strlen(escaped), sizeof(escaped) - strlen(escaped), strchr("+/=", *p) ? "%%%02X" : "%c",
                 (unsigned char)*p);
    snprintf(dst, size, "sv=2020-08-04&ss=b&srt=co&sp=%s&se=%s&spr=https,http&sig=%s", permissions, end, escaped);
}

/* What an admin does with `az storage container create`, and a vandal with a blob. */
static long rest(const struct azurite *z, const char *verb, const char *below, const char *query, const char *body)
{
    char sas[512], url[1024];
    long status = 0;
    make_sas(sas, sizeof(sas), "rwdlac", "2099-01-01T00:00:00Z");
    snprintf(url, sizeof(url), "%s/%s?%s&%s", z->endpoint, below, query, sas);
    CURL *easy = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, "x-ms-version: 2020-04-08");
    headers = curl_slist_append(headers, "x-ms-blob-type: BlockBlob");
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, verb);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_CAINFO, z->ca);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, stderr);
    assert_int_equal(curl_easy_perform(easy), CURLE_OK);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(easy);
    curl_slist_free_all(headers);
    return status;
}

static struct witness *open_witness(const struct azurite *z, struct world *w, const char *container, const char *text)
{
    struct credentials c = credentials_of(text);
    struct azure_options o = {.account = "acc",
                              .container = container,
                              .blob = "c1c1c1c1-c1c1-c1c1-c1c1-c1c1c1c1c1c1",
                              .endpoint = z->endpoint,
                              .ca_file = z->is_tls ? z->ca : NULL,
                              .credentials = &c};
    struct witness *witness = NULL;
    struct error e;
    assert_int_equal(azure_witness_new(&o, &w->loop, world_completed, w, &witness, &e), 0);
    return witness;
}

static struct witness_etag write_first(struct world *w, struct witness *witness)
{
    struct witness_result r = world_create(w, witness, 1);
    assert_outcome(&r, WITNESS_DONE, WITNESS_CAUSE_NONE);
    return r.etag;
}

/* ---- a life of a record, over HTTP and over HTTPS */

static void check_life(const struct azurite *z, const char *container)
{
    struct world *w = world_new();
    struct witness *a = open_witness(z, w, container, KEY_1), *b = open_witness(z, w, container, KEY_2);

    struct witness_result r = world_get(w, a);
    assert_outcome(&r, WITNESS_MISSING, WITNESS_CAUSE_CONTAINER_MISSING);
    assert_int_equal(rest(z, "PUT", container, "restype=container", ""), 201);

    r = world_get(w, a);
    assert_outcome(&r, WITNESS_MISSING, WITNESS_CAUSE_BLOB_MISSING);
    struct witness_etag none = {"\"0x123\""};
    r = world_put(w, a, 2, 1, &none, LONG_MS);
    assert_true(witness_surely_not_written(r.outcome));

    struct witness_etag first = write_first(w, a);
    r = world_create(w, b, 2);
    assert_outcome(&r, WITNESS_EXISTS, WITNESS_CAUSE_BLOB_EXISTS);
    r = world_get(w, b);
    assert_outcome(&r, WITNESS_DONE, WITNESS_CAUSE_NONE);
    assert_record(&r, 1, 1);
    assert_string_equal(r.etag.s, first.s);

    /* both have seen the first; b is first */
    r = world_put(w, b, 2, 2, &first, LONG_MS);
    assert_outcome(&r, WITNESS_DONE, WITNESS_CAUSE_NONE);
    struct witness_etag second = r.etag;
    r = world_put(w, a, 2, 1, &first, LONG_MS);
    assert_outcome(&r, WITNESS_LOST, WITNESS_CAUSE_CHANGED);
    r = world_get(w, a);
    assert_record(&r, 2, 2);
    assert_string_equal(r.etag.s, second.s);
    r = world_put(w, a, 3, 1, &second, LONG_MS);
    assert_outcome(&r, WITNESS_DONE, WITNESS_CAUSE_NONE);
    assert_string_not_equal(r.etag.s, second.s);

    witness_free(a);
    witness_free(b);
    world_free(w);
}

/* Who names a container for the record wants it. */
static void check_made(const struct azurite *z, const char *container)
{
    struct world *w = world_new();
    struct witness *a = open_witness(z, w, container, KEY_1);
    struct witness_result r = world_create(w, a, 1);
    assert_outcome(&r, WITNESS_DONE, WITNESS_CAUSE_NONE);
    r = world_get(w, a);
    assert_record(&r, 1, 1);
    witness_free(a);
    world_free(w);
}

static void test_http(void **state)
{
    (void)state;
    struct azurite z = azurite_start(false);
    check_made(&z, "made-by-us");
    check_life(&z, "ringmaster-witness");
    azurite_stop(&z);
}

static void test_https(void **state)
{
    (void)state;
    struct azurite z = azurite_start(true);
    check_life(&z, "ringmaster-witness");
    azurite_stop(&z);
}

/* ---- races: calls under way at once, of the same bytes */

static void test_of_many_at_once_one_comes_first(void **state)
{
    (void)state;
    struct azurite z = azurite_start(false);
    struct world *w = world_new();
    struct witness *nodes[4];
    assert_int_equal(rest(&z, "PUT", "race", "restype=container", ""), 201);
    for (size_t i = 0; i < 4; i++)
        nodes[i] = open_witness(&z, w, "race", KEY_1);
    struct witness_etag etag = write_first(w, nodes[0]);
    for (uint64_t sequence = 2; sequence < 12; sequence++) {
        size_t n_done = 0, winner = 0;
        for (size_t i = 0; i < 4; i++) {
            struct witness_call call = {.id = 100 + i, .op = WITNESS_PUT, .timeout_ms = LONG_MS, .etag = etag};
            call.record = world_record(sequence, (uint8_t)(i + 1));
            witness_start(nodes[i], &call);
        }
        for (size_t i = 0; i < 4; i++) {
            struct witness_result r = world_wait(w, 100 + i);
            if (r.outcome == WITNESS_DONE) {
                n_done++;
                winner = i;
                etag = r.etag;
            } else {
                assert_outcome(&r, WITNESS_LOST, WITNESS_CAUSE_CHANGED);
            }
        }
        assert_int_equal(n_done, 1);
        struct witness_result r = world_get(w, nodes[0]);
        assert_record(&r, sequence, (uint8_t)(winner + 1));
    }
    for (size_t i = 0; i < 4; i++)
        witness_free(nodes[i]);
    world_free(w);
    azurite_stop(&z);
}

/* ---- who we are */

static void test_keys_and_sas(void **state)
{
    (void)state;
    struct azurite z = azurite_start(false);
    struct world *w = world_new();
    assert_int_equal(rest(&z, "PUT", "keys", "restype=container", ""), 201);

    struct witness *x = open_witness(&z, w, "keys", KEY_3);
    struct witness_result r = world_create(w, x, 1);
    assert_outcome(&r, WITNESS_REFUSED, WITNESS_CAUSE_KEY_WRONG);
    witness_free(x);

    x = open_witness(&z, w, "keys", KEY_3 "\n" KEY_2); /* the first was renewed */
    struct witness_etag etag = write_first(w, x);
    r = world_get(w, x);
    assert_record(&r, 1, 1);
    assert_int_equal(r.key, 2);
    witness_free(x);

    char sas[512];
    make_sas(sas, sizeof(sas), "rwc", "2099-01-01T00:00:00Z");
    x = open_witness(&z, w, "keys", sas);
    r = world_put(w, x, 2, 1, &etag, LONG_MS);
    assert_outcome(&r, WITNESS_DONE, WITNESS_CAUSE_NONE);
    witness_free(x);

    make_sas(sas, sizeof(sas), "r", "2099-01-01T00:00:00Z");
    x = open_witness(&z, w, "keys", sas);
    r = world_get(w, x);
    assert_record(&r, 2, 1);
    r = world_put(w, x, 3, 1, &r.etag, LONG_MS);
    assert_outcome(&r, WITNESS_REFUSED, WITNESS_CAUSE_PERMISSION);
    witness_free(x);

    make_sas(sas, sizeof(sas), "rwc", "2020-01-01T00:00:00Z");
    x = open_witness(&z, w, "keys", sas);
    r = world_get(w, x);
    assert_outcome(&r, WITNESS_REFUSED, WITNESS_CAUSE_SAS_EXPIRED);
    witness_free(x);

    make_sas(sas, sizeof(sas), "rwc", "2099-01-01T00:00:00Z");
    char *sp = strstr(sas, "sp=rwc");
    memcpy(sp, "sp=rwd", 6); /* not what was signed */
    x = open_witness(&z, w, "keys", sas);
    r = world_get(w, x);
    assert_outcome(&r, WITNESS_REFUSED, WITNESS_CAUSE_SAS_WRONG);
    witness_free(x);
    world_free(w);
    azurite_stop(&z);
}

static void test_another_account(void **state)
{
    (void)state;
    struct azurite z = azurite_start(false);
    struct world *w = world_new();
    struct credentials c = credentials_of(KEY_1);
    char endpoint[128];
    snprintf(endpoint, sizeof(endpoint), "http://127.0.0.1:%d/nobody", z.port);
    struct azure_options o = {
        .account = "nobody", .container = "box", .blob = "c1", .endpoint = endpoint, .credentials = &c};
    struct witness *x = NULL;
    struct error e;
    assert_int_equal(azure_witness_new(&o, &w->loop, world_completed, w, &x, &e), 0);
    struct witness_result r = world_get(w, x);
    assert_outcome(&r, WITNESS_MISSING, WITNESS_CAUSE_ACCOUNT_MISSING);
    witness_free(x);
    world_free(w);
    azurite_stop(&z);
}

/* ---- what is there */

static void test_not_a_record(void **state)
{
    (void)state;
    struct azurite z = azurite_start(false);
    struct world *w = world_new();
    static const char below[] = "box/c1c1c1c1-c1c1-c1c1-c1c1-c1c1c1c1c1c1";
    assert_int_equal(rest(&z, "PUT", "box", "restype=container", ""), 201);
    assert_int_equal(rest(&z, "PUT", below, "x=y", "who was here?"), 201);
    struct witness *x = open_witness(&z, w, "box", KEY_1);
    struct witness_result r = world_get(w, x);
    assert_outcome(&r, WITNESS_REFUSED, WITNESS_CAUSE_FOREIGN);
    struct witness_record other = world_record(7, 1);
    other.cluster_uuid = world_uuid(0xc2);
    assert_int_equal(rest(&z, "PUT", below, "x=y", witness_record_encode(&other).s), 201);
    r = world_get(w, x);
    assert_outcome(&r, WITNESS_REFUSED, WITNESS_CAUSE_FOREIGN);
    assert_int_equal(rest(&z, "DELETE", below, "x=y", ""), 202);
    r = world_get(w, x);
    assert_outcome(&r, WITNESS_MISSING, WITNESS_CAUSE_BLOB_MISSING);
    witness_free(x);
    world_free(w);
    azurite_stop(&z);
}

/* ---- answers that get lost */

struct between {
    struct azurite proxied; /* the same, by way of the proxy */
    pid_t pid;
    FILE *out;
    char control[160];
};

static struct between between_start(const struct azurite *z)
{
    struct between b = {.proxied = *z};
    char upstream[64], program[512];
    int port = 0;
    const char *build = getenv("top_builddir");
    snprintf(program, sizeof(program), "%s/tests/witness/witness-proxy", build ? build : ".");
    snprintf(upstream, sizeof(upstream), "127.0.0.1:%d", z->port);
    snprintf(b.control, sizeof(b.control), "%s/control", z->dir.path);
    const char *argv[] = {program, "--control", b.control, "--upstream", upstream, NULL};
    b.pid = world_spawn(argv, &b.out);
    assert_int_equal(fscanf(b.out, "listening %d", &port), 1);
    snprintf(b.proxied.endpoint, sizeof(b.proxied.endpoint), "http://127.0.0.1:%d/acc", port);
    return b;
}

static void rules(const struct between *b, const char *text)
{
    char file[192];
    snprintf(file, sizeof(file), "%s.new", b->control);
    FILE *f = fopen(file, "w");
    assert_true(f && fputs(text, f) >= 0 && fclose(f) == 0);
    assert_int_equal(rename(file, b->control), 0);
}

/* The write is done, its answer lost: the retry meets its own work, and must not say that it lost. */
static void test_an_answer_is_lost(void **state)
{
    (void)state;
    struct azurite z = azurite_start(false);
    struct between b = between_start(&z);
    struct world *w = world_new();
    assert_int_equal(rest(&z, "PUT", "box", "restype=container", ""), 201);
    struct witness *x = open_witness(&b.proxied, w, "box", KEY_1);
    rules(&b, "lost\npass");
    struct witness_result r = world_create(w, x, 1);
    assert_outcome(&r, WITNESS_UNKNOWN, WITNESS_CAUSE_BLOB_EXISTS);
    r = world_get(w, x);
    assert_record(&r, 1, 1); /* its own nonce is there */
    struct witness_etag first = r.etag;
    rules(&b, "lost\npass");
    r = world_put(w, x, 2, 1, &first, LONG_MS);
    assert_outcome(&r, WITNESS_UNKNOWN, WITNESS_CAUSE_CHANGED);
    r = world_get(w, x);
    assert_record(&r, 2, 1);
    witness_free(x);
    world_end(b.pid, b.out);
    world_free(w);
    azurite_stop(&z);
}

/* The call has ended as unknown, the old record is still there, and only then does the write land. A later write in
 * between fences it. */
static void test_a_write_lands_late(void **state)
{
    (void)state;
    struct azurite z = azurite_start(false);
    struct between b = between_start(&z);
    struct world *w = world_new();
    assert_int_equal(rest(&z, "PUT", "box", "restype=container", ""), 201);
    struct witness *slow = open_witness(&b.proxied, w, "box", KEY_1), *fast = open_witness(&z, w, "box", KEY_1);
    struct witness_etag etag = write_first(w, fast);
    char rule[256], go[160];
    snprintf(go, sizeof(go), "%s/go", z.dir.path);
    snprintf(rule, sizeof(rule), "late %s\nhang", go);
    for (int fenced = 0; fenced < 2; fenced++) {
        uint64_t sequence = 2 + (uint64_t)fenced;
        rules(&b, rule);
        struct witness_result r = world_put(w, slow, sequence, 1, &etag, 300);
        assert_outcome(&r, WITNESS_UNKNOWN, WITNESS_CAUSE_TIMEOUT);
        r = world_get(w, fast);
        assert_int_equal(r.record.sequence, sequence - 1); /* and that proves nothing */
        if (fenced) {
            r = world_put(w, fast, sequence, 2, &etag, LONG_MS);
            assert_outcome(&r, WITNESS_DONE, WITNESS_CAUSE_NONE);
        }
        tempdir_write(&z.dir, "/go", "", 0600);
        while (access(go, F_OK) == 0) /* the proxy removes it when the write has been answered */
            poll(NULL, 0, 5);
        r = world_get(w, fast);
        assert_record(&r, sequence, fenced ? 2 : 1);
        etag = r.etag;
    }
    witness_free(slow);
    witness_free(fast);
    world_end(b.pid, b.out);
    world_free(w);
    azurite_stop(&z);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http),
        cmocka_unit_test(test_https),
        cmocka_unit_test(test_of_many_at_once_one_comes_first),
        cmocka_unit_test(test_keys_and_sas),
        cmocka_unit_test(test_another_account),
        cmocka_unit_test(test_not_a_record),
        cmocka_unit_test(test_an_answer_is_lost),
        cmocka_unit_test(test_a_write_lands_late),
    };
    signal(SIGPIPE, SIG_IGN);
    alarm(600);
    if (!azurite_program()) {
        printf("no Azurite: contrib/setup installs it\n\n");
        return SKIPPED;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
