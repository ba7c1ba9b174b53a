/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/exec-witness.h"

#include "agent/io/pki.h"
#include "witness/io/azure.h"
#include "witness/io/file.h"
#include "witness/site.h"

enum { OPEN_MAX = 4 }; /* the present one, the one that replaces it, and what a set tries out */

/* A witness that is open. */
struct opened {
    struct opened *next; /* the one used last comes first */
    struct witness_desk *desk;
    struct witness_site site;
    struct buf sealed;
    struct witness *witness;
    size_t n_calls;
};

struct running {
    struct running *next;
    struct opened *opened;
    struct witness_order *order;
};

struct witness_desk {
    struct loop *loop;
    struct worker_pool *pool;
    void (*done)(void *ctx, struct witness_order *o);
    void *ctx;
    struct opened *opened;
    struct running *running;
};

struct open_job {
    struct worker_job job;
    struct witness_desk *desk;
    struct witness_order *order;
    struct credentials credentials;
    struct error error;
};

void witness_order_free(struct witness_order *o)
{
    if (!o)
        return;
    pki_wipe_str(&o->text);
    buf_done(&o->sealed);
    buf_done(&o->asked.sealed);
    free(o);
}

/* ---- what is open ------------------------------------------------------------------------------------------------ */

static bool is_like(const struct opened *w, const struct witness_order *o)
{
    return witness_site_is_same(&w->site, &o->site) && str_eq(w->site.proxy, o->site.proxy) &&
           str_eq(w->site.ca_file, o->site.ca_file) && str_eq(w->site.metadata, o->site.metadata) &&
           w->sealed.len == o->sealed.len && (o->sealed.len == 0 || !memcmp(w->sealed.p, o->sealed.p, o->sealed.len));
}

/* Moves it to the front. NULL: it is not open. */
static struct opened *find_opened(struct witness_desk *d, const struct witness_order *o)
{
    for (struct opened **at = &d->opened, *w; (w = *at) != NULL; at = &w->next) {
        if (!is_like(w, o))
            continue;
        *at = w->next;
        w->next = d->opened;
        d->opened = w;
        return w;
    }
    return NULL;
}

/* Those that were not used for long and are not in use. Not for completed(): an adapter is not freed in there. */
static void close_old(struct witness_desk *d)
{
    size_t n = 0;
    for (struct opened **at = &d->opened, *w; (w = *at) != NULL;) {
        if (++n <= OPEN_MAX || w->n_calls > 0) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        witness_free(w->witness);
        buf_done(&w->sealed);
        free(w);
    }
}

static const char *or_null(const char *s)
{
    return s[0] ? s : NULL;
}

static void completed(void *ctx, const struct witness_result *result);

static int open_adapter(struct opened *w, const struct open_job *j, struct error *e)
{
    const struct witness_loop loop = loop_witness(w->desk->loop);
    const struct witness_site *s = &w->site;
    const char *name = uuid_str(&j->order->cluster).s;
    if (s->kind == WITNESS_FILE) {
        struct file_witness_options o = {.dir = s->path, .name = name};
        return file_witness_new(&o, &loop, completed, w, &w->witness, e);
    }
    struct azure_options o = {
        .account = s->account,
        .container = s->container,
        .blob = name,
        .endpoint = or_null(s->endpoint),
        .proxy = or_null(s->proxy),
        .ca_file = or_null(s->ca_file),
        .imds = or_null(s->metadata),
        .credentials = &j->credentials,
    };
    return azure_witness_new(&o, &loop, completed, w, &w->witness, e);
}

static struct opened *open_witness(struct witness_desk *d, struct open_job *j, struct error *e)
{
    struct opened *w = xcalloc(1, sizeof(*w));
    w->desk = d;
    w->site = j->order->site;
    if (open_adapter(w, j, e)) {
        free(w);
        return NULL;
    }
    buf_add(&w->sealed, j->order->sealed.p, j->order->sealed.len);
    w->next = d->opened;
    d->opened = w;
    return w;
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

static void completed(void *ctx, const struct witness_result *result)
{
    struct opened *w = ctx;
    struct witness_desk *d = w->desk;
    for (struct running **at = &d->running, *r; (r = *at) != NULL; at = &r->next) {
        if (r->opened != w || r->order->id != result->id)
            continue;
        struct witness_order *o = r->order;
        *at = r->next;
        free(r);
        w->n_calls--;
        o->asked.result = *result;
        d->done(d->ctx, o);
        return;
    }
}

static void start(struct witness_desk *d, struct opened *w, struct witness_order *o)
{
    struct running *r = xcalloc(1, sizeof(*r));
    *r = (struct running){d->running, w, o};
    d->running = r;
    w->n_calls++;
    o->call.id = o->id;
    witness_start(w->witness, &o->call);
}

/* ---- credentials, on a thread ------------------------------------------------------------------------------------ */

static enum witness_auth auth_of(const struct credentials *c)
{
    switch (c->kind) {
    case CREDENTIALS_KEYS: return WITNESS_AUTH_KEYS;
    case CREDENTIALS_SAS: return WITNESS_AUTH_SAS;
    case CREDENTIALS_IDENTITY: return WITNESS_AUTH_IDENTITY;
    }
    return WITNESS_AUTH_NONE;
}

static int seal(const struct cluster_key *key, struct witness_order *o)
{
    struct slice plain = {(const uint8_t *)o->text, strlen(o->text)};
    pki_seal(key, WITNESS_SEAL_NAME, plain, &o->sealed);
    buf_add(&o->asked.sealed, o->sealed.p, o->sealed.len);
    return 0;
}

static int read_credentials(struct open_job *j)
{
    struct witness_order *o = j->order;
    AUTO(pki_wipe_buf) struct buf plain = {0};
    struct cluster_key key;
    int err = cluster_key_load("", &key, &j->error);
    if (err)
        return err;
    if (o->text)
        buf_add_str(&plain, o->text);
    else
        err = pki_unseal(&key, WITNESS_SEAL_NAME, buf_slice(&o->sealed), &plain, &j->error);
    if (!err)
        err = credentials_parse(buf_slice(&plain), &j->credentials, &j->error);
    if (!err && o->text)
        err = seal(&key, o);
    cluster_key_wipe(&key);
    if (!err) {
        o->asked.auth = auth_of(&j->credentials);
        o->asked.n_keys = (uint8_t)j->credentials.n_keys;
    }
    return err;
}

static void run_open(struct worker_job *job)
{
    struct open_job *j = (struct open_job *)job;
    if (j->order->site.kind == WITNESS_AZURE)
        read_credentials(j);
}

/* Nothing was sent. */
static void fail(struct witness_desk *d, struct witness_order *o, const struct error *e)
{
    o->asked.result = (struct witness_result){.id = o->id, .op = o->call.op, .outcome = WITNESS_UNREACHABLE,
                                              .cause = WITNESS_CAUSE_LOCAL, .error = *e};
    d->done(d->ctx, o);
}

static void done_open(struct worker_job *job)
{
    struct open_job *j = (struct open_job *)job;
    struct witness_desk *d = j->desk;
    struct witness_order *o = j->order;
    struct opened *w = j->error.code ? NULL : find_opened(d, o);
    if (!w && !j->error.code)
        w = open_witness(d, j, &j->error);
    if (w)
        start(d, w, o);
    else
        fail(d, o, &j->error);
    credentials_wipe(&j->credentials);
    free(j);
    close_old(d);
}

void witness_desk_ask(struct witness_desk *d, struct witness_order *o)
{
    struct opened *w = o->text ? NULL : find_opened(d, o);
    if (w) {
        start(d, w, o);
        return;
    }
    struct open_job *j = xcalloc(1, sizeof(*j));
    j->job = (struct worker_job){.run = run_open, .done = done_open};
    j->desk = d;
    j->order = o;
    worker_submit(d->pool, &j->job);
}

struct witness_desk *witness_desk_new(struct loop *loop, struct worker_pool *pool,
                                      void (*done)(void *ctx, struct witness_order *o), void *ctx)
{
    struct witness_desk *d = xcalloc(1, sizeof(*d));
    *d = (struct witness_desk){.loop = loop, .pool = pool, .done = done, .ctx = ctx};
    return d;
}
