/* SPDX-License-Identifier: GPL-2.0-or-later */
/* witness/io/azure against tests/witness/proxy, which answers as Azure, or as nobody should: every outcome and every
 * cause, keys, tokens, retries, bounds; and that no secret is said. What Azurite can answer is in test_witness_azurite.
 */
#include "tests/unit/witness_world.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <sys/socket.h>

#include "tests/unit/tempdir.h"
#include "tests/unit/witness_certs.h"
#include "witness/io/azure.h"
#include "witness/io/sharedkey.h"

/* Enough for a try on a busy machine. */
enum { SHORT_MS = 1000 };

/* Two keys in base64, and a SAS: they may be in no text. */
#define KEY_1 "a2V5LW9uZS1rZXktb25lLWtleS1vbmUta2V5LW9uZSE="
#define KEY_2 "a2V5LXR3by1rZXktdHdvLWtleS10d28ta2V5LXR3byE="
#define SAS   "sv=2020-04-08&ss=b&srt=co&sp=rwc&se=2020-01-02T03%3A04%3A05Z&sig=c2VjcmV0LXNpZ25hdHVyZQ%3D%3D"
static const char *const secrets[] = {"a2V5LW9uZS1r", "a2V5LXR3by1r", "c2VjcmV0LXNpZ25h", "bearer-secret"};

struct scene {
    struct tempdir dir;
    struct world *w;
    struct witness *witness;
    pid_t pid;
    FILE *out;
    int port;
    struct credentials credentials;
    char endpoint[128], control[128], log[128], imds[128], proxy[128];
    bool is_tls;
};

static struct credentials credentials_of(const char *text)
{
    struct credentials c;
    struct error e;
    assert_int_equal(credentials_parse((struct slice){(const uint8_t *)text, strlen(text)}, &c, &e), 0);
    return c;
}

static void rules(struct scene *s, const char *text)
{
    char file[160];
    snprintf(file, sizeof(file), "%s.new", s->control);
    FILE *f = fopen(file, "w");
    assert_true(f && fputs(text, f) >= 0 && fclose(f) == 0);
    assert_int_equal(rename(file, s->control), 0);
}

static void start_proxy(struct scene *s, const char *cert)
{
    static char program[512], pem[160], key[160];
    const char *build = getenv("top_builddir");
    snprintf(program, sizeof(program), "%s/tests/witness/witness-proxy", build ? build : ".");
    snprintf(pem, sizeof(pem), "%s/%s.pem", s->dir.path, cert ? cert : "");
    snprintf(key, sizeof(key), "%s/%s.key", s->dir.path, cert ? cert : "");
    const char *argv[] = {program, "--control", s->control, "--log", s->log, cert ? "--cert" : NULL,
                          pem,     "--key",     key,        NULL};
    s->pid = world_spawn(argv, &s->out);
    assert_int_equal(fscanf(s->out, "listening %d", &s->port), 1);
    s->is_tls = cert != NULL;
    snprintf(s->endpoint, sizeof(s->endpoint), "http%s://127.0.0.1:%d/acc", cert ? "s" : "", s->port);
    snprintf(s->imds, sizeof(s->imds), "http://127.0.0.1:%d", s->port);
}

static struct scene *scene_new(const char *cert)
{
    struct scene *s = xcalloc(1, sizeof(*s));
    s->dir = tempdir_make();
    s->w = world_new();
    snprintf(s->control, sizeof(s->control), "%s/control", s->dir.path);
    snprintf(s->log, sizeof(s->log), "%s/log", s->dir.path);
    struct cert ca = cert_make("Test CA", NULL, 86400, NULL), other = cert_make("Other CA", NULL, 86400, NULL);
    cert_write(&ca, &s->dir, "ca");
    cert_make_file(&s->dir, "good", "IP:127.0.0.1", 86400, &ca);
    cert_make_file(&s->dir, "expired", "IP:127.0.0.1", -3600, &ca);
    cert_make_file(&s->dir, "name", "DNS:somebody.else", 86400, &ca);
    cert_make_file(&s->dir, "untrusted", "IP:127.0.0.1", 86400, &other);
    cert_done(&ca);
    cert_done(&other);
    start_proxy(s, cert);
    s->credentials = credentials_of(KEY_1 "\n" KEY_2);
    return s;
}

static struct azure_options options_of(const struct scene *s)
{
    static char ca[160];
    snprintf(ca, sizeof(ca), "%s/ca.pem", s->dir.path);
    return (struct azure_options){.account = "acc",
                                  .container = "ringmaster-witness",
                                  .blob = "c1c1c1c1-c1c1-c1c1-c1c1-c1c1c1c1c1c1",
                                  .endpoint = s->endpoint,
                                  .proxy = s->proxy[0] ? s->proxy : NULL,
                                  .ca_file = s->is_tls ? ca : NULL,
                                  .imds = s->imds,
                                  .credentials = &s->credentials};
}

static void open_witness(struct scene *s, const struct azure_options *o)
{
    struct error e;
    witness_free(s->witness);
    s->witness = NULL;
    int err = azure_witness_new(o, &s->w->loop, world_completed, s->w, &s->witness, &e);
    if (err)
        print_message("%s\n", e.text);
    assert_int_equal(err, 0);
}

static struct scene *scene_open(const char *cert)
{
    struct scene *s = scene_new(cert);
    struct azure_options o = options_of(s);
    open_witness(s, &o);
    return s;
}

static void scene_free(struct scene *s)
{
    witness_free(s->witness);
    world_end(s->pid, s->out);
    world_free(s->w);
    tempdir_done(&s->dir);
    free(s);
}

/* How many requests the proxy has logged. */
static int n_requests(const struct scene *s)
{
    int n = 0;
    FILE *f = fopen(s->log, "r");
    for (int c; f && (c = fgetc(f)) != EOF;)
        n += c == '\n';
    if (f)
        fclose(f);
    return n;
}

static void assert_says_no_secret(const struct witness_result *r)
{
    for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++) {
        assert_null(strstr(r->error.text, secrets[i]));
        assert_null(strstr(r->error.remedy, secrets[i]));
    }
}

static const struct witness_etag etag = {"\"0x1\""};

static struct witness_result do_op(struct scene *s, enum witness_op op, int64_t timeout_ms)
{
    struct witness_call call = {.op = op,
                                .timeout_ms = timeout_ms,
                                .cluster_uuid = world_uuid(0xc1),
                                .witness_uuid = world_uuid(0xe1),
                                .sequence_min = 5,
                                .etag = etag,
                                .record = world_record(6, 1)};
    struct witness_result r = world_call(s->w, s->witness, call);
    assert_says_no_secret(&r);
    return r;
}

static void put_record(struct scene *s, const char *name, struct witness_record r)
{
    struct witness_bytes b = witness_record_encode(&r);
    tempdir_write(&s->dir, name, b.s, 0600);
}

/* ---- one answer, one meaning */

struct meaning {
    enum witness_op op;
    const char *rule; /* %s: the scene's folder */
    enum witness_outcome outcome;
    enum witness_cause cause;
    int n_requests; /* each try meets the rule: the last line holds */
};

static const struct meaning meanings[] = {
    {WITNESS_PUT, "answer 201 - etag=0x2", WITNESS_DONE, WITNESS_CAUSE_NONE, 1},
    {WITNESS_CREATE, "answer 201 - etag=0x2", WITNESS_DONE, WITNESS_CAUSE_NONE, 1},
    {WITNESS_PUT, "answer 412 ConditionNotMet", WITNESS_LOST, WITNESS_CAUSE_CHANGED, 1},
    {WITNESS_CREATE, "answer 409 BlobAlreadyExists", WITNESS_EXISTS, WITNESS_CAUSE_BLOB_EXISTS, 1},
    {WITNESS_CREATE, "answer 412 ConditionNotMet", WITNESS_EXISTS, WITNESS_CAUSE_BLOB_EXISTS, 1},
    {WITNESS_PUT, "answer 412 LeaseIdMissing", WITNESS_REFUSED, WITNESS_CAUSE_LEASED, 1},
    {WITNESS_GET, "answer 404 BlobNotFound", WITNESS_MISSING, WITNESS_CAUSE_BLOB_MISSING, 1},
    {WITNESS_GET, "answer 404 ContainerNotFound", WITNESS_MISSING, WITNESS_CAUSE_CONTAINER_MISSING, 1},
    {WITNESS_PUT, "answer 404 ContainerNotFound", WITNESS_MISSING, WITNESS_CAUSE_CONTAINER_MISSING, 1},
    {WITNESS_PUT, "answer 409 ContainerBeingDeleted", WITNESS_MISSING, WITNESS_CAUSE_CONTAINER_MISSING, 1},
    {WITNESS_GET, "answer 404 ResourceNotFound", WITNESS_MISSING, WITNESS_CAUSE_ACCOUNT_MISSING, 1},
    {WITNESS_GET, "answer 403 AccountIsDisabled", WITNESS_REFUSED, WITNESS_CAUSE_ACCOUNT_MISSING, 1},
    {WITNESS_PUT, "answer 403 AuthorizationPermissionMismatch", WITNESS_REFUSED, WITNESS_CAUSE_PERMISSION, 1},
    {WITNESS_PUT, "answer 403 KeyBasedAuthenticationNotPermitted", WITNESS_REFUSED, WITNESS_CAUSE_KEY_DISABLED, 1},
    {WITNESS_PUT, "answer 403 AuthorizationSourceIPMismatch", WITNESS_REFUSED, WITNESS_CAUSE_FIREWALL, 1},
    {WITNESS_PUT, "answer 409 BlobImmutableDueToPolicy", WITNESS_REFUSED, WITNESS_CAUSE_PERMISSION, 1},
    {WITNESS_PUT, "answer 400 InvalidHeaderValue", WITNESS_REFUSED, WITNESS_CAUSE_PROTOCOL, 1},
    /* both keys are tried, each once */
    {WITNESS_PUT, "answer 403 AuthenticationFailed", WITNESS_REFUSED, WITNESS_CAUSE_KEY_WRONG, 2},
    {WITNESS_GET, "answer 401 NoAuthenticationInformation", WITNESS_REFUSED, WITNESS_CAUSE_KEY_WRONG, 2},
    {WITNESS_PUT, "answer 403 AuthenticationFailed date=3600", WITNESS_REFUSED, WITNESS_CAUSE_CLOCK_SKEW, 1},
    {WITNESS_PUT, "answer 403 AuthenticationFailed date=-3600", WITNESS_REFUSED, WITNESS_CAUSE_CLOCK_SKEW, 1},
    /* not of the service: it says nothing of the write */
    {WITNESS_PUT, "answer 412 ConditionNotMet id=no", WITNESS_UNKNOWN, WITNESS_CAUSE_PROTOCOL, 1},
    {WITNESS_PUT, "answer 403 Blocked id=no", WITNESS_UNKNOWN, WITNESS_CAUSE_PROTOCOL, 1},
    {WITNESS_PUT, "answer 404 -", WITNESS_UNKNOWN, WITNESS_CAUSE_PROTOCOL, 1},
    {WITNESS_PUT, "answer 201 -", WITNESS_UNKNOWN, WITNESS_CAUSE_PROTOCOL, 1}, /* no ETag */
    {WITNESS_PUT, "answer 200 - etag=0x2", WITNESS_UNKNOWN, WITNESS_CAUSE_PROTOCOL, 1},
    {WITNESS_PUT, "answer 201 - etag=0x2 id=no", WITNESS_UNKNOWN, WITNESS_CAUSE_PROTOCOL, 1},
    {WITNESS_PUT, "answer 307 - location=http://127.0.0.1:1/", WITNESS_UNKNOWN, WITNESS_CAUSE_PROTOCOL, 1},
    {WITNESS_GET, "answer 307 - location=http://127.0.0.1:1/", WITNESS_UNKNOWN, WITNESS_CAUSE_PROTOCOL, 1},
    /* a write is decided by the headers: its answer's body may be huge, or cut */
    {WITNESS_PUT, "answer 201 - etag=0x2 size=4000000", WITNESS_DONE, WITNESS_CAUSE_NONE, 1},
    {WITNESS_PUT, "answer 201 - etag=0x2 size=100 cut=50", WITNESS_DONE, WITNESS_CAUSE_NONE, 1},
    {WITNESS_PUT, "answer 412 ConditionNotMet size=100 cut=50", WITNESS_LOST, WITNESS_CAUSE_CHANGED, 1},
    /* reads */
    {WITNESS_GET, "answer 200 - etag=0x2 body=%s/record", WITNESS_DONE, WITNESS_CAUSE_NONE, 1},
    {WITNESS_PROBE, "answer 200 - etag=0x2 body=%s/record", WITNESS_DONE, WITNESS_CAUSE_NONE, 1},
    {WITNESS_GET, "answer 200 - body=%s/record", WITNESS_UNKNOWN, WITNESS_CAUSE_PROTOCOL, 1},
    {WITNESS_GET, "answer 200 - etag=0x2 id=no body=%s/record", WITNESS_UNKNOWN, WITNESS_CAUSE_PROTOCOL, 1},
    {WITNESS_GET, "answer 206 - etag=0x2 body=%s/record", WITNESS_UNKNOWN, WITNESS_CAUSE_PROTOCOL, 1},
    {WITNESS_GET, "answer 200 - etag=0x2 size=100", WITNESS_REFUSED, WITNESS_CAUSE_FOREIGN, 1},
    {WITNESS_GET, "answer 200 - etag=0x2 size=4000000", WITNESS_REFUSED, WITNESS_CAUSE_FOREIGN, 1},
    {WITNESS_GET, "answer 200 - etag=0x2", WITNESS_REFUSED, WITNESS_CAUSE_FOREIGN, 1}, /* empty */
    {WITNESS_GET, "answer 200 - etag=0x2 body=%s/foreign", WITNESS_REFUSED, WITNESS_CAUSE_FOREIGN, 1},
    {WITNESS_GET, "answer 200 - etag=0x2 body=%s/newer", WITNESS_REFUSED, WITNESS_CAUSE_NEWER, 1},
    {WITNESS_GET, "answer 200 - etag=0x2 body=%s/old", WITNESS_REFUSED, WITNESS_CAUSE_REGRESSED, 1},
    /* tried again, and then it goes well */
    {WITNESS_PUT, "answer 503 ServerBusy\nanswer 201 - etag=0x2", WITNESS_DONE, WITNESS_CAUSE_NONE, 2},
    {WITNESS_PUT, "answer 500 OperationTimedOut\nreset\nanswer 201 - etag=0x2", WITNESS_DONE, WITNESS_CAUSE_NONE,
     3},
    {WITNESS_PUT, "answer 429 -\nanswer 201 - etag=0x2", WITNESS_DONE, WITNESS_CAUSE_NONE, 2},
    {WITNESS_PUT, "answer 408 - id=no\nanswer 201 - etag=0x2", WITNESS_DONE, WITNESS_CAUSE_NONE, 2},
    {WITNESS_GET, "answer 200 - etag=0x2 size=100 cut=50\nanswer 404 BlobNotFound", WITNESS_MISSING,
     WITNESS_CAUSE_BLOB_MISSING, 2},
    {WITNESS_GET, "half\ngarbage\nheaders\nanswer 404 BlobNotFound", WITNESS_MISSING, WITNESS_CAUSE_BLOB_MISSING,
     4},
    /* once a try may have been written, a later 412 or 403 is no answer: it may be that try's own doing */
    {WITNESS_PUT, "answer 503 ServerBusy\nanswer 412 ConditionNotMet", WITNESS_UNKNOWN, WITNESS_CAUSE_CHANGED, 2},
    {WITNESS_CREATE, "reset\nanswer 409 BlobAlreadyExists", WITNESS_UNKNOWN, WITNESS_CAUSE_BLOB_EXISTS, 2},
    {WITNESS_PUT, "half\nanswer 403 AuthorizationPermissionMismatch", WITNESS_UNKNOWN, WITNESS_CAUSE_PERMISSION, 2},
    {WITNESS_GET, "answer 503 ServerBusy\nanswer 404 BlobNotFound", WITNESS_MISSING, WITNESS_CAUSE_BLOB_MISSING, 2},
    /* a pause that the service asks for and that does not fit ends the call at once */
    {WITNESS_PUT, "answer 503 ServerBusy retry-after=3000", WITNESS_UNKNOWN, WITNESS_CAUSE_THROTTLED, 1},
    {WITNESS_GET, "answer 503 ServerBusy retry-after=3000", WITNESS_UNKNOWN, WITNESS_CAUSE_THROTTLED, 1},
    {WITNESS_PUT, "answer 500 InternalError retry-after=3000", WITNESS_UNKNOWN, WITNESS_CAUSE_SERVER, 1},
    /* a probe is not repeated */
    {WITNESS_PROBE, "answer 503 ServerBusy", WITNESS_UNKNOWN, WITNESS_CAUSE_THROTTLED, 1},
    {WITNESS_PROBE, "reset", WITNESS_UNKNOWN, WITNESS_CAUSE_BROKEN, 1},
    {WITNESS_PROBE, "half", WITNESS_UNKNOWN, WITNESS_CAUSE_BROKEN, 1},
    {WITNESS_PROBE, "garbage", WITNESS_UNKNOWN, WITNESS_CAUSE_PROTOCOL, 1},
    {WITNESS_PROBE, "headers", WITNESS_UNKNOWN, WITNESS_CAUSE_PROTOCOL, 1},
    {WITNESS_PROBE, "answer 403 AuthenticationFailed", WITNESS_REFUSED, WITNESS_CAUSE_KEY_WRONG, 2},
};

static void expect_meaning(struct scene *s, const struct meaning *m)
{
    char text[512];
    snprintf(text, sizeof(text), "%s", m->rule);
    const char *at = strstr(m->rule, "%s");
    if (at)
        snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - m->rule), m->rule, s->dir.path, at + 2);
    rules(s, text);
    int before = n_requests(s);
    struct witness_result r = do_op(s, m->op, LONG_MS);
    if (r.outcome != m->outcome || r.cause != m->cause)
        print_message("%s: %s\n", witness_op_name(m->op), text);
    assert_outcome(&r, m->outcome, m->cause);
    assert_int_equal(n_requests(s) - before, m->n_requests);
}

static void test_what_an_answer_means(void **state)
{
    (void)state;
    struct scene *s = scene_open(NULL);
    struct witness_record foreign = world_record(9, 1);
    put_record(s, "/record", world_record(5, 1));
    put_record(s, "/old", world_record(4, 1));
    foreign.cluster_uuid = world_uuid(0xc2);
    put_record(s, "/foreign", foreign);
    tempdir_write(&s->dir, "/newer", "sequence 9\nversion 2\n", 0600);
    for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
        expect_meaning(s, &meanings[i]);
    scene_free(s);
}

static void test_a_rolled_back_record_can_be_shown(void **state)
{
    (void)state;
    struct scene *s = scene_open(NULL);
    char rule[256];
    put_record(s, "/old", world_record(4, 1));
    snprintf(rule, sizeof(rule), "answer 200 - etag=0x2 body=%s/old", s->dir.path);
    rules(s, rule);
    struct witness_result r = do_op(s, WITNESS_GET, LONG_MS);
    assert_outcome(&r, WITNESS_REFUSED, WITNESS_CAUSE_REGRESSED);
    assert_record(&r, 4, 1);
    assert_string_equal(r.etag.s, "\"0x2\"");
    scene_free(s);
}

static void test_the_clock_of_the_service_is_told(void **state)
{
    (void)state;
    struct scene *s = scene_open(NULL);
    rules(s, "answer 404 BlobNotFound date=7200");
    struct witness_result r = do_op(s, WITNESS_GET, LONG_MS);
    int64_t off = r.server_ms - world_clock_ms(CLOCK_REALTIME);
    assert_in_range(off, 7200 * 1000 - 60000, 7200 * 1000 + 60000);
    assert_int_equal(r.http_status, 404);
    scene_free(s);
}

/* ---- time */

/* Whatever it is that does not come, the call ends, and a write is not taken for refused. */
static void test_no_answer_in_time(void **state)
{
    (void)state;
    struct scene *s = scene_open(NULL);
    static const char *const silent[] = {"hang", "drip", "late /nonexistent/file"};
    for (size_t i = 0; i < sizeof(silent) / sizeof(silent[0]); i++) {
        rules(s, silent[i]);
        struct witness_result r = do_op(s, WITNESS_PUT, SHORT_MS);
        assert_outcome(&r, WITNESS_UNKNOWN, WITNESS_CAUSE_TIMEOUT);
        assert_int_equal(r.error.code, ERR_TIMEOUT);
        r = do_op(s, WITNESS_GET, SHORT_MS);
        assert_outcome(&r, WITNESS_UNKNOWN, WITNESS_CAUSE_TIMEOUT);
    }
    scene_free(s);
}

/* A first try that hangs leaves time for a second one. */
static void test_a_lost_connection_leaves_room_for_another_try(void **state)
{
    (void)state;
    struct scene *s = scene_open(NULL);
    rules(s, "hang\nanswer 201 - etag=0x2");
    struct witness_result r = do_op(s, WITNESS_PUT, 4000);
    assert_outcome(&r, WITNESS_DONE, WITNESS_CAUSE_NONE);
    assert_int_equal(n_requests(s), 2);
    scene_free(s);
}

static void test_no_time_at_all(void **state)
{
    (void)state;
    struct scene *s = scene_open(NULL);
    rules(s, "answer 201 - etag=0x2");
    struct witness_result r = do_op(s, WITNESS_PUT, 0);
    assert_outcome(&r, WITNESS_UNREACHABLE, WITNESS_CAUSE_TIMEOUT);
    assert_int_equal(n_requests(s), 0);
    scene_free(s);
}

static void test_many_calls_at_once_and_some_dropped(void **state)
{
    (void)state;
    struct scene *s = scene_open(NULL);
    struct witness_call call = {.op = WITNESS_GET, .timeout_ms = LONG_MS};
    rules(s, "answer 404 BlobNotFound");
    for (call.id = 1000; call.id < 1020; call.id++)
        witness_start(s->witness, &call);
    for (uint64_t id = 1000; id < 1020; id++)
        assert_int_equal(world_wait(s->w, id).outcome, WITNESS_MISSING);
    rules(s, "hang");
    for (call.id = 2000; call.id < 2005; call.id++)
        witness_start(s->witness, &call);
    while (n_requests(s) < 25)
        world_turn(s->w);
    scene_free(s); /* with all under way: nothing is left to watch, and nothing completes */
}

/* ---- keys */

static void test_the_second_key_is_tried_and_remembered(void **state)
{
    (void)state;
    struct scene *s = scene_open(NULL);
    rules(s, "answer 403 AuthenticationFailed\nanswer 201 - etag=0x2");
    struct witness_result r = do_op(s, WITNESS_PUT, LONG_MS);
    assert_outcome(&r, WITNESS_DONE, WITNESS_CAUSE_NONE);
    assert_int_equal(r.key, 2);
    rules(s, "answer 412 ConditionNotMet");
    r = do_op(s, WITNESS_PUT, LONG_MS);
    assert_outcome(&r, WITNESS_LOST, WITNESS_CAUSE_CHANGED);
    assert_int_equal(r.key, 2); /* the first is not asked again */
    assert_int_equal(n_requests(s), 3);
    rules(s, "answer 403 AuthenticationFailed\nanswer 404 BlobNotFound");
    r = do_op(s, WITNESS_GET, LONG_MS);
    assert_outcome(&r, WITNESS_MISSING, WITNESS_CAUSE_BLOB_MISSING);
    assert_int_equal(r.key, 1); /* and back */
    scene_free(s);
}

static void test_a_container_is_made_once(void **state)
{
    (void)state;
    struct scene *s = scene_open(NULL);
    rules(s, "answer 404 ContainerNotFound\nanswer 201 -\nanswer 201 - etag=0x2");
    struct witness_result r = do_op(s, WITNESS_CREATE, LONG_MS);
    assert_outcome(&r, WITNESS_DONE, WITNESS_CAUSE_NONE);
    assert_int_equal(n_requests(s), 3);
    rules(s, "answer 404 ContainerNotFound\nanswer 409 ContainerAlreadyExists\nanswer 404 ContainerNotFound");
    r = do_op(s, WITNESS_CREATE, LONG_MS);
    assert_outcome(&r, WITNESS_MISSING, WITNESS_CAUSE_CONTAINER_MISSING);
    assert_int_equal(n_requests(s), 6);
    rules(s, "answer 404 ContainerNotFound\nanswer 403 AuthorizationPermissionMismatch");
    r = do_op(s, WITNESS_CREATE, LONG_MS);
    assert_outcome(&r, WITNESS_MISSING, WITNESS_CAUSE_CONTAINER_MISSING);
    assert_int_equal(n_requests(s), 8);
    rules(s, "answer 404 ContainerNotFound\nhang");
    r = do_op(s, WITNESS_CREATE, 500);
    assert_outcome(&r, WITNESS_MISSING, WITNESS_CAUSE_CONTAINER_MISSING);
    scene_free(s);
}

static void use(struct scene *s, const char *credentials)
{
    s->credentials = credentials_of(credentials);
    struct azure_options o = options_of(s);
    open_witness(s, &o);
}

static void test_sas(void **state)
{
    (void)state;
    struct scene *s = scene_open(NULL);
    use(s, SAS);
    rules(s, "answer 403 AuthenticationFailed");
    struct witness_result r = do_op(s, WITNESS_PUT, LONG_MS);
    assert_outcome(&r, WITNESS_REFUSED, WITNESS_CAUSE_SAS_EXPIRED);
    use(s, "?sv=2020-04-08&sp=rwc&sig=c2VjcmV0LXNpZ25hdHVyZQ%3D%3D\n");
    r = do_op(s, WITNESS_PUT, LONG_MS);
    assert_outcome(&r, WITNESS_REFUSED, WITNESS_CAUSE_SAS_WRONG);
    assert_int_equal(n_requests(s), 2);
    scene_free(s);
}

/* An account with a host name of its own: AuthorizationFailure is its firewall there, and the key to an emulator. */
static void test_firewall(void **state)
{
    (void)state;
    struct scene *s = scene_new(NULL);
    snprintf(s->endpoint, sizeof(s->endpoint), "http://localhost:%d", s->port);
    struct azure_options o = options_of(s);
    open_witness(s, &o);
    rules(s, "answer 403 AuthorizationFailure");
    struct witness_result r = do_op(s, WITNESS_PUT, LONG_MS);
    assert_outcome(&r, WITNESS_REFUSED, WITNESS_CAUSE_FIREWALL);
    assert_int_equal(n_requests(s), 2); /* with either key */
    snprintf(s->endpoint, sizeof(s->endpoint), "http://127.0.0.1:%d/acc", s->port);
    o = options_of(s);
    open_witness(s, &o);
    r = do_op(s, WITNESS_PUT, LONG_MS);
    assert_outcome(&r, WITNESS_REFUSED, WITNESS_CAUSE_KEY_WRONG);
    scene_free(s);
}

/* ---- managed identity */

static void test_a_token_is_fetched_once(void **state)
{
    (void)state;
    struct scene *s = scene_open(NULL);
    use(s, "identity 01234567-89ab-cdef-0123-456789abcdef\n");
    rules(s, "imds bearer-secret-1 86400\nanswer 404 BlobNotFound\nanswer 201 - etag=0x2");
    struct witness_result r = do_op(s, WITNESS_GET, LONG_MS);
    assert_outcome(&r, WITNESS_MISSING, WITNESS_CAUSE_BLOB_MISSING);
    r = do_op(s, WITNESS_PUT, LONG_MS);
    assert_outcome(&r, WITNESS_DONE, WITNESS_CAUSE_NONE);
    assert_int_equal(r.key, 0);
    assert_int_equal(n_requests(s), 3);
    /* refused: a new one is fetched, once */
    rules(s, "answer 401 InvalidAuthenticationInfo\nimds bearer-secret-2 86400\nanswer 201 - etag=0x3");
    r = do_op(s, WITNESS_PUT, LONG_MS);
    assert_outcome(&r, WITNESS_DONE, WITNESS_CAUSE_NONE);
    rules(s, "answer 401 InvalidAuthenticationInfo\nimds bearer-secret-2 86400\nanswer 401 InvalidAuthenticationInfo");
    r = do_op(s, WITNESS_PUT, LONG_MS);
    assert_outcome(&r, WITNESS_REFUSED, WITNESS_CAUSE_IDENTITY);
    assert_int_equal(n_requests(s), 9);
    char line[256] = "";
    FILE *f = fopen(s->log, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof(line), f));
    fclose(f);
    assert_non_null(strstr(line, "resource=https%3A%2F%2Fstorage.azure.com%2F&client_id=01234567-89ab-"));
    scene_free(s);
}

/* Half of its life, when that is short. */
static void test_an_old_token_is_renewed(void **state)
{
    (void)state;
    struct scene *s = scene_open(NULL);
    use(s, "identity");
    rules(s, "imds bearer-secret-1 1\nanswer 404 BlobNotFound\nimds bearer-secret-2 86400\nanswer 404 BlobNotFound");
    do_op(s, WITNESS_GET, LONG_MS);
    int64_t until = world_now_ms(s->w) + 500;
    while (world_now_ms(s->w) < until)
        poll(NULL, 0, 10);
    do_op(s, WITNESS_GET, LONG_MS);
    assert_int_equal(n_requests(s), 4);
    scene_free(s);
}

static void test_no_token(void **state)
{
    (void)state;
    struct scene *s = scene_open(NULL);
    use(s, "identity");
    rules(s, "answer 400 -");
    struct witness_result r = do_op(s, WITNESS_PUT, LONG_MS);
    assert_outcome(&r, WITNESS_REFUSED, WITNESS_CAUSE_IDENTITY);
    static const char *const bad[] = {"answer 200 - size=100", "answer 200 - size=40000", "garbage", "reset", "hang",
                                      "imds bearer-secret 0"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        rules(s, bad[i]);
        r = do_op(s, WITNESS_PUT, SHORT_MS);
        assert_outcome(&r, WITNESS_UNREACHABLE, WITNESS_CAUSE_IDENTITY); /* the write itself was never sent */
    }
    rules(s, "answer 503 -\nimds bearer-secret-1 86400\nanswer 201 - etag=0x2");
    r = do_op(s, WITNESS_PUT, LONG_MS);
    assert_outcome(&r, WITNESS_DONE, WITNESS_CAUSE_NONE);
    scene_free(s);
}

/* ---- the way there */

/* A port of loopback on which nobody listens: it is bound. */
static int closed_port(int *ret_fd)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(in);
    *ret_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(*ret_fd, (struct sockaddr *)&in, len), 0);
    assert_int_equal(getsockname(*ret_fd, (struct sockaddr *)&in, &len), 0);
    return ntohs(in.sin_port);
}

static void test_nobody_listens(void **state)
{
    (void)state;
    struct scene *s = scene_new(NULL);
    int fd, port = closed_port(&fd);
    snprintf(s->endpoint, sizeof(s->endpoint), "http://127.0.0.1:%d/acc", port);
    struct azure_options o = options_of(s);
    open_witness(s, &o);
    struct witness_result r = do_op(s, WITNESS_PUT, SHORT_MS);
    assert_outcome(&r, WITNESS_UNREACHABLE, WITNESS_CAUSE_CONNECT);
    close(fd);
    scene_free(s);
}

/* The resolver of this process: what libcurl calls in a thread of its own. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool hangs;
    int n_inside;
} resolver = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0};

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res);
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res)
{
    static struct sockaddr_in in;
    static struct addrinfo info;
    pthread_mutex_lock(&resolver.lock);
    resolver.n_inside++;
    while (resolver.hangs)
        pthread_cond_wait(&resolver.changed, &resolver.lock);
    resolver.n_inside--;
    pthread_cond_broadcast(&resolver.changed);
    pthread_mutex_unlock(&resolver.lock);
    (void)hints;
    if (!node || !str_eq(node, "proxy.test"))
        return EAI_NONAME;
    in = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    in.sin_port = htons((uint16_t)(service ? strtoul(service, NULL, 10) : 0));
    info = (struct addrinfo){.ai_family = AF_INET, .ai_socktype = SOCK_STREAM, .ai_addrlen = sizeof(in)};
    info.ai_addr = (struct sockaddr *)&in;
    *res = &info;
    return 0;
}

void freeaddrinfo(struct addrinfo *res)
{
    (void)res; /* static */
}

static void resolver_set(bool hangs)
{
    pthread_mutex_lock(&resolver.lock);
    resolver.hangs = hangs;
    pthread_cond_broadcast(&resolver.changed);
    while (!hangs && resolver.n_inside > 0)
        pthread_cond_wait(&resolver.changed, &resolver.lock);
    pthread_mutex_unlock(&resolver.lock);
}

static void test_the_name_does_not_resolve(void **state)
{
    (void)state;
    struct scene *s = scene_new(NULL);
    struct azure_options o = options_of(s);
    o.endpoint = NULL; /* https://acc.blob.core.windows.net */
    open_witness(s, &o);
    struct witness_result r = do_op(s, WITNESS_PUT, SHORT_MS);
    assert_outcome(&r, WITNESS_UNREACHABLE, WITNESS_CAUSE_DNS);
    assert_non_null(strstr(r.error.text, "acc.blob.core.windows.net"));
    assert_non_null(strstr(r.error.remedy, "getent ahosts acc.blob.core.windows.net"));
    scene_free(s);
}

/* A name server that never answers: the call ends, the adapter is freed, and the resolver is still in it. */
static void test_the_resolver_hangs(void **state)
{
    (void)state;
    struct scene *s = scene_new(NULL);
    struct azure_options o = options_of(s);
    o.endpoint = NULL;
    open_witness(s, &o);
    resolver_set(true);
    struct witness_result r = do_op(s, WITNESS_PUT, SHORT_MS);
    assert_outcome(&r, WITNESS_UNREACHABLE, WITNESS_CAUSE_DNS);
    struct witness_call call = {.op = WITNESS_GET, .timeout_ms = LONG_MS, .id = 99};
    witness_start(s->witness, &call);
    pthread_mutex_lock(&resolver.lock);
    int before = resolver.n_inside;
    pthread_mutex_unlock(&resolver.lock);
    assert_true(before > 0);
    for (int now = before; now == before;) {
        world_turn(s->w);
        pthread_mutex_lock(&resolver.lock);
        now = resolver.n_inside;
        pthread_mutex_unlock(&resolver.lock);
    }
    scene_free(s);
    resolver_set(false);
}

static void test_tls(void **state)
{
    (void)state;
    static const struct {
        const char *cert;
        enum witness_outcome outcome;
        enum witness_cause cause;
    } certs[] = {
        {"good", WITNESS_DONE, WITNESS_CAUSE_NONE},
        {"expired", WITNESS_UNREACHABLE, WITNESS_CAUSE_TLS_EXPIRED},
        {"untrusted", WITNESS_UNREACHABLE, WITNESS_CAUSE_TLS_UNTRUSTED},
        {"name", WITNESS_UNREACHABLE, WITNESS_CAUSE_TLS_NAME},
    };
    for (size_t i = 0; i < sizeof(certs) / sizeof(certs[0]); i++) {
        struct scene *s = scene_open(certs[i].cert);
        rules(s, "answer 201 - etag=0x2");
        struct witness_result r = do_op(s, WITNESS_PUT, LONG_MS);
        assert_outcome(&r, certs[i].outcome, certs[i].cause);
        assert_int_equal(n_requests(s), certs[i].outcome == WITNESS_DONE);
        scene_free(s);
    }
}

/* A server that does not speak TLS. */
static void test_no_tls(void **state)
{
    (void)state;
    struct scene *s = scene_new(NULL);
    snprintf(s->endpoint, sizeof(s->endpoint), "https://127.0.0.1:%d/acc", s->port);
    struct azure_options o = options_of(s);
    open_witness(s, &o);
    rules(s, "answer 404 BlobNotFound");
    struct witness_result r = do_op(s, WITNESS_PROBE, LONG_MS);
    assert_outcome(&r, WITNESS_UNREACHABLE, WITNESS_CAUSE_TLS);
    scene_free(s);
}

/* s has TLS; p is the proxy before it, found by name. */
static void test_proxy(void **state)
{
    (void)state;
    struct scene *s = scene_new("good"), *p = scene_new(NULL);
    snprintf(s->proxy, sizeof(s->proxy), "http://proxy.test:%d", p->port);
    struct azure_options o = options_of(s);
    open_witness(s, &o);
    rules(s, "answer 201 - etag=0x2");
    rules(p, "pass");
    struct witness_result r = do_op(s, WITNESS_PUT, LONG_MS);
    assert_outcome(&r, WITNESS_DONE, WITNESS_CAUSE_NONE);
    assert_int_equal(n_requests(p), 1);
    static const char *const refusals[] = {"answer 407 - id=no", "answer 403 Blocked id=no", "answer 502 -", "reset",
                                           "garbage"};
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        rules(p, refusals[i]);
        r = do_op(s, WITNESS_PROBE, LONG_MS);
        assert_outcome(&r, WITNESS_UNREACHABLE, WITNESS_CAUSE_PROXY);
        r = do_op(s, WITNESS_PUT, SHORT_MS);
        assert_outcome(&r, WITNESS_UNREACHABLE, WITNESS_CAUSE_PROXY);
    }
    rules(p, "hang");
    r = do_op(s, WITNESS_PUT, SHORT_MS);
    assert_outcome(&r, WITNESS_UNREACHABLE, WITNESS_CAUSE_PROXY);
    assert_int_equal(n_requests(s), 1);
    o.proxy = "http://nobody.test:3128";
    open_witness(s, &o);
    r = do_op(s, WITNESS_PROBE, LONG_MS);
    assert_outcome(&r, WITNESS_UNREACHABLE, WITNESS_CAUSE_PROXY);
    int fd, port = closed_port(&fd);
    snprintf(s->proxy, sizeof(s->proxy), "http://127.0.0.1:%d", port);
    o.proxy = s->proxy;
    open_witness(s, &o);
    r = do_op(s, WITNESS_PROBE, LONG_MS);
    assert_outcome(&r, WITNESS_UNREACHABLE, WITNESS_CAUSE_PROXY);
    close(fd);
    scene_free(p);
    scene_free(s);
}

/* ---- options, credentials, signature */

static void expect_refused(struct azure_options o, const char *word)
{
    struct world *w = world_new();
    struct witness *witness = NULL;
    struct error e = {0};
    assert_int_equal(azure_witness_new(&o, &w->loop, world_completed, w, &witness, &e), ERR_USAGE);
    if (!strstr(e.text, word))
        print_message("%s\n", e.text);
    assert_non_null(strstr(e.text, word));
    assert_null(witness);
    world_free(w);
}

static void test_options_that_cannot_be(void **state)
{
    (void)state;
    struct credentials c = credentials_of(KEY_1);
    const struct azure_options good = {
        .account = "acc", .container = "ringmaster-witness", .blob = "c1", .credentials = &c};
    static const char *const endpoints[] = {
        "http://acc.blob.core.windows.net",
        "http://192.0.2.1/acc",
        "ftp://127.0.0.1/acc",
        "https://acc.example/other",
        "https://user@acc.example",
        "https://acc.example?x=1",
        "https://acc.example/#x",
        "",
        "::",
        "file:///etc",
    };
    for (size_t i = 0; i < sizeof(endpoints) / sizeof(endpoints[0]); i++) {
        struct azure_options o = good;
        o.endpoint = endpoints[i];
        expect_refused(o, "endpoint");
    }
    struct azure_options o = good;
    o.account = "Acc";
    expect_refused(o, "account");
    o.account = "ac";
    expect_refused(o, "account");
    o = good;
    o.container = "a/b";
    expect_refused(o, "container");
    o = good;
    o.blob = "../x";
    expect_refused(o, "blob");
    o = good;
    o.proxy = "http://user:password@proxy.test:3128";
    expect_refused(o, "proxy");
    o.proxy = "socks5://proxy.test";
    expect_refused(o, "proxy");
}

static int parse(const char *text, struct credentials *ret, struct error *e)
{
    return credentials_parse((struct slice){(const uint8_t *)text, strlen(text)}, ret, e);
}

static void test_credentials(void **state)
{
    (void)state;
    struct credentials c = credentials_of("# made on Monday\n\n  " KEY_1 " \r\n" KEY_2 "\n");
    assert_int_equal(c.kind, CREDENTIALS_KEYS);
    assert_int_equal(c.n_keys, 2);
    assert_int_equal(c.keys[1].len, 32);
    assert_memory_equal(c.keys[1].b, "key-two-key-two-key-two-key-two!", 32);
    c = credentials_of("?" SAS);
    assert_int_equal(c.kind, CREDENTIALS_SAS);
    assert_string_equal(c.sas, SAS);
    assert_true(credentials_sas_end_ms(&c) == 1577934245000);
    c = credentials_of("se=2020-01-02&sig=x");
    assert_true(credentials_sas_end_ms(&c) == 1577923200000);
    c = credentials_of("sig=x");
    assert_true(credentials_sas_end_ms(&c) == 0);
    c = credentials_of("identity");
    assert_int_equal(c.kind, CREDENTIALS_IDENTITY);
    assert_string_equal(c.client_id, "");
    static const char *const bad[] = {
        "",
        "# nothing",
        "c2hvcnQ=",
        (KEY_1 "x"),
        (KEY_1 "\n" KEY_2 "\n" KEY_1),
        (KEY_1 "\n" SAS),
        (SAS "\n" SAS),
        "sig=a b",
        "identity\nidentity",
        "identity x y",
        ("identity\n" KEY_1),
        "sig=\x80",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct credentials untouched = {.kind = 0};
        struct error e = {0};
        assert_int_equal(parse(bad[i], &untouched, &e), ERR_USAGE);
        assert_int_equal(untouched.kind, 0);
        assert_true(e.text[0] && e.remedy[0]);
        for (size_t k = 0; k < sizeof(secrets) / sizeof(secrets[0]); k++)
            assert_null(strstr(e.text, secrets[k]));
    }
}

static void test_credentials_of_a_file(void **state)
{
    (void)state;
    AUTO(tempdir_done) struct tempdir d = tempdir_make();
    struct credentials c;
    struct error e;
    tempdir_write(&d, "/azure", KEY_1 "\n", 0600);
    assert_int_equal(credentials_load(tempdir_path(&d, "/azure").s, &c, &e), 0);
    assert_int_equal(c.n_keys, 1);
    assert_int_equal(credentials_load(tempdir_path(&d, "/none").s, &c, &e), ERR_NOT_FOUND);
    unsetenv("CREDENTIALS_DIRECTORY");
    assert_int_equal(credentials_load("azure", &c, &e), ERR_NOT_FOUND);
    setenv("CREDENTIALS_DIRECTORY", d.path, 1);
    assert_int_equal(credentials_load("azure", &c, &e), 0);
    unsetenv("CREDENTIALS_DIRECTORY");
    static const mode_t open_modes[] = {0640, 0604, 0620, 0602};
    for (size_t i = 0; i < sizeof(open_modes) / sizeof(open_modes[0]); i++) {
        assert_int_equal(chmod(tempdir_path(&d, "/azure").s, open_modes[i]), 0);
        assert_int_equal(credentials_load(tempdir_path(&d, "/azure").s, &c, &e), ERR_CONDITION);
        assert_non_null(strstr(e.remedy, "chmod 0600"));
    }
    assert_int_equal(credentials_load(d.path, &c, &e), ERR_CONDITION); /* a folder */
}

/* The example of Microsoft's "Authorize with Shared Key": List Container Metadata has a query, Get Blob has not. */
static void test_string_to_sign(void **state)
{
    (void)state;
    const struct rest_header headers[] = {
        {"Content-Type", "text/plain"},  {"If-Match", "\"0x1\""},
        {"x-ms-blob-type", "BlockBlob"}, {"x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT"},
        {"x-ms-version", "2015-02-21"},
    };
    struct rest_request r = {"PUT", "acc", "/acc/box/blob", 11, headers, 5, NULL};
    AUTO(buf_done) struct buf b = {0}, empty = {0};
    sharedkey_string_to_sign(&r, &b);
    buf_add(&b, "", 1);
    assert_string_equal((char *)b.p, "PUT\n\n\n11\n\ntext/plain\n\n\n\"0x1\"\n\n\n\n"
                                     "x-ms-blob-type:BlockBlob\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\n"
                                     "x-ms-version:2015-02-21\n/acc/acc/box/blob");
    r = (struct rest_request){"GET", "acc", "/box/blob", 0, headers + 3, 2, NULL};
    sharedkey_string_to_sign(&r, &empty);
    buf_add(&empty, "", 1);
    assert_string_equal((char *)empty.p, "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\n"
                                         "x-ms-version:2015-02-21\n/acc/box/blob");
    buf_done(&empty);
    r = (struct rest_request){"PUT", "acc", "/box", 0, headers + 3, 2, "restype:container"};
    sharedkey_string_to_sign(&r, &empty);
    buf_add(&empty, "", 1);
    assert_non_null(strstr((char *)empty.p, "\n/acc/box\nrestype:container"));
    /* RFC 4231, test case 2 */
    struct sharedkey_mac mac = sharedkey_mac((struct slice){(const uint8_t *)"Jefe", 4},
                                             (struct slice){(const uint8_t *)"what do ya want for nothing?", 28});
    assert_string_equal(mac.s, "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_an_answer_means),
        cmocka_unit_test(test_a_rolled_back_record_can_be_shown),
        cmocka_unit_test(test_a_container_is_made_once),
        cmocka_unit_test(test_the_clock_of_the_service_is_told),
        cmocka_unit_test(test_no_answer_in_time),
        cmocka_unit_test(test_a_lost_connection_leaves_room_for_another_try),
        cmocka_unit_test(test_no_time_at_all),
        cmocka_unit_test(test_many_calls_at_once_and_some_dropped),
        cmocka_unit_test(test_the_second_key_is_tried_and_remembered),
        cmocka_unit_test(test_sas),
        cmocka_unit_test(test_firewall),
        cmocka_unit_test(test_a_token_is_fetched_once),
        cmocka_unit_test(test_an_old_token_is_renewed),
        cmocka_unit_test(test_no_token),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_the_name_does_not_resolve),
        cmocka_unit_test(test_the_resolver_hangs),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_no_tls),
        cmocka_unit_test(test_proxy),
        cmocka_unit_test(test_options_that_cannot_be),
        cmocka_unit_test(test_credentials),
        cmocka_unit_test(test_credentials_of_a_file),
        cmocka_unit_test(test_string_to_sign),
    };
    signal(SIGPIPE, SIG_IGN);
    setenv("http_proxy", "http://127.0.0.1:1", 1); /* of the environment: not to be used */
    setenv("https_proxy", "http://127.0.0.1:1", 1);
    setenv("all_proxy", "http://127.0.0.1:1", 1);
    alarm(600); /* a call that never completes ends the test */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
