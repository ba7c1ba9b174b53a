/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The cluster's witness beside its vote (agent/db/witness.c): which one is wanted, how one is set, and how it is.
 *
 *   witness set   CREATE ──done──> propose WITNESS_SET ──> the leader: weight 0, then WITNESS_NAME (core-quorum.c)
 *                   │ exists, or nobody knows            ^
 *                   └──> GET ──a record of this cluster──┘
 *
 * "Never reset or recreated under the same witness_uuid": a record that is there already is taken as it is, with its
 * own UUID and all that it holds, as a voter that was away keeps its log. So a set that was cut short can be said
 * again, and the same place with other keys is the same witness. But the UUID of the present witness found in another
 * place is a copy, and two stores of one voter would give its vote twice: refused.
 *
 * The probe asks the witness now and then, so that an admin hears of a fault before the vote is needed. Nothing is
 * decided by it, and a record that is missing is never made again. */
#include "agent/core-internal.h"

#include <stdio.h>

#include "witness/record.h"

enum {
    PROBE_MS = 60 * 1000,
    PROBE_AGAIN_MS = 15 * 1000, /* after one that failed */
    PROBE_TIMEOUT_MS = 10 * 1000,
    SET_TIMEOUT_MS = 15 * 1000,
};

void core_witness_done(struct core_witness *w)
{
    buf_done(&w->set.sealed);
    w->set = (struct witness_setting){0};
}

void core_witness_place(const struct core *c, const struct uuid *uuid, struct core_action *a)
{
    struct witness_site site;
    if (witness_site_get(db_tables(c->db), uuid, &site))
        return;
    struct slice sealed = witness_sealed_get(db_tables(c->db), uuid);
    a->site = xmalloc(sizeof(*a->site));
    *a->site = site;
    buf_add(&a->sealed, sealed.p, sealed.len);
}

/* The one that the voting configuration names counts; until it names one, the wanted one. */
static struct uuid present(const struct core *c)
{
    struct uuid named = db_configuration(c->db)->witness;
    return uuid_is_nil(&named) ? witness_wanted(db_tables(c->db)) : named;
}

static struct core_action *ask(struct core *c, enum purpose purpose, enum witness_op op, int64_t timeout_ms,
                               struct pending **ret)
{
    struct core_action *a = core_act_for(c, ACT_WITNESS_ASK, purpose, ret);
    a->ask = xcalloc(1, sizeof(*a->ask));
    a->ask->op = op;
    a->ask->timeout_ms = timeout_ms;
    a->ask->cluster_uuid = c->identity.cluster;
    return a;
}

static struct core_action *ask_present(struct core *c, enum purpose purpose, struct pending **ret)
{
    struct uuid uuid = present(c);
    struct db_witness_view v;
    db_witness(c->db, &v);
    struct core_action *a = ask(c, purpose, WITNESS_PROBE, PROBE_TIMEOUT_MS, ret);
    a->ask->witness_uuid = uuid;
    a->ask->sequence_min = uuid_eq(&uuid, &db_configuration(c->db)->witness) ? v.seen : 0;
    core_witness_place(c, &uuid, a);
    return a;
}

/* ---- the probe --------------------------------------------------------------------------------------------------- */

static void follow(struct core *c)
{
    struct core_witness *w = &c->witness;
    struct uuid now = present(c);
    if (uuid_eq(&w->of, &now))
        return;
    w->of = now;
    w->was_asked = false;
    w->is_stale = w->is_asking;
    w->asked_wall_ms = w->seen_wall_ms = 0;
    w->sequence = 0;
    w->due_ms = c->now_ms;
}

/* The leader's word stands in the cluster's journal. */
static void note(struct core *c, enum event_severity severity, const char *what)
{
    struct buf b = {0};
    char text[JOURNAL_TEXT_MAX];
    if (!db_is_leader(c->db))
        return;
    snprintf(text, sizeof(text), "witness: %s", what);
    cluster_entry_event(severity, "witness", text, &b);
    core_propose_keyed(c, ENTRY_EVENT, &b, "");
}

static void tell(struct core *c, const struct witness_result *r)
{
    struct core_witness *w = &c->witness;
    bool was_good = !w->was_asked || w->last.outcome == WITNESS_DONE;
    if (r->outcome != WITNESS_DONE && (was_good || r->cause != w->last.cause)) {
        log_warn(c->log, "witness: %s -> %s", r->error.text, r->error.remedy);
        note(c, EVENT_WARNING, r->error.text);
    } else if (r->outcome == WITNESS_DONE && !was_good) {
        log_notice(c->log, "witness: answers again");
        note(c, EVENT_INFO, "answers again");
    }
}

static void take_probe(struct core *c, const struct witness_result *r)
{
    struct core_witness *w = &c->witness;
    bool is_good = r->outcome == WITNESS_DONE;
    tell(c, r);
    w->was_asked = true;
    w->asked_wall_ms = c->wall_ms;
    w->last = *r;
    if (is_good) {
        w->seen_wall_ms = c->wall_ms;
        w->sequence = r->record.sequence;
    }
    w->due_ms = c->now_ms + (is_good ? PROBE_MS : PROBE_AGAIN_MS);
}

static void forget_old(struct core *c)
{
    struct uuid old;
    struct buf b = {0};
    if (!db_config_settled(c->db) || !witness_forgotten(db_tables(c->db), &db_configuration(c->db)->witness, &old))
        return;
    witness_entry_forget(&old, &b);
    core_propose_keyed(c, ENTRY_WITNESS_FORGET, &b, "witness/forget");
}

void core_witness_step(struct core *c, bool leads)
{
    struct core_witness *w = &c->witness;
    follow(c);
    if (leads)
        forget_old(c);
    if (uuid_is_nil(&w->of) || w->is_asking || c->now_ms < w->due_ms)
        return;
    w->is_asking = true;
    ask_present(c, FOR_WITNESS_PROBE, NULL);
}

/* ---- test -------------------------------------------------------------------------------------------------------- */

void core_witness_test(struct core *c, uint64_t client, const char *verb, const struct uuid *request_id)
{
    struct pending *p;
    ask_present(c, FOR_WITNESS_TEST, &p);
    p->client = client;
    STR_COPY(p->verb, verb);
    p->request_id = *request_id;
}

static void take_test(struct core *c, const struct pending *p, const struct witness_result *r)
{
    struct json *data = json_object_new();
    json_set_str(data, "outcome", witness_outcome_name(r->outcome));
    json_set_str(data, "cause", r->cause ? witness_cause_name(r->cause) : NULL);
    bool is_good = r->outcome == WITNESS_DONE;
    json_set(data, "sequence", is_good ? json_int_new((int64_t)r->record.sequence) : json_null_new());
    json_set(data, "http_status", r->http_status ? json_int_new(r->http_status) : json_null_new());
    json_set(data, "key", r->key ? json_int_new(r->key) : json_null_new());
    json_set(data, "server_time", json_time_new(r->server_ms));
    json_set_str(data, "node", c->identity.node);
    core_reply(c, p->client, p->verb, &p->request_id, &r->error, data);
}

/* ---- set --------------------------------------------------------------------------------------------------------- */

static void end_set(struct core *c, const struct error *e)
{
    struct witness_setting *s = &c->witness.set;
    core_reply(c, s->client, s->verb, &s->request_id, e, NULL);
    core_witness_done(&c->witness);
}

void core_witness_set(struct core *c, const struct witness_setting *s, const char *credentials)
{
    struct witness_setting *own = &c->witness.set;
    *own = *s;
    own->is_active = true;
    own->uuid = prng_uuid(&c->prng);
    struct core_action *a = ask(c, FOR_WITNESS_SET, WITNESS_CREATE, SET_TIMEOUT_MS, NULL);
    a->ask->witness_uuid = own->uuid;
    a->ask->record = (struct witness_record){.sequence = 1,
                                             .version = WITNESS_VERSION,
                                             .cluster_uuid = c->identity.cluster,
                                             .witness_uuid = own->uuid,
                                             .nonce = prng_uuid(&c->prng)};
    a->site = xmalloc(sizeof(*a->site));
    *a->site = own->site;
    a->text = credentials[0] ? xstrdup(credentials) : NULL;
}

/* It is there already, or may be. */
static void read_record(struct core *c)
{
    struct witness_setting *s = &c->witness.set;
    struct core_action *a = ask(c, FOR_WITNESS_SET, WITNESS_GET, SET_TIMEOUT_MS, NULL);
    a->site = xmalloc(sizeof(*a->site));
    *a->site = s->site;
    buf_add(&a->sealed, s->sealed.p, s->sealed.len);
}

/* The present witness's UUID in another place, or below what was seen of it. */
static int check_found(const struct core *c, const struct witness_record *r, struct error *e)
{
    const struct uuid *found = &r->witness_uuid;
    struct uuid wanted = witness_wanted(db_tables(c->db));
    struct witness_site known;
    struct db_witness_view v;
    db_witness(c->db, &v);
    bool is_named = uuid_eq(found, &db_configuration(c->db)->witness);
    bool is_present = is_named || uuid_eq(found, &wanted);
    bool is_elsewhere = is_present && witness_site_get(db_tables(c->db), found, &known) == 0 &&
                        !witness_site_is_same(&known, &c->witness.set.site);
    if (is_elsewhere)
        error_set(e, ERR_CONDITION, "what is there is a copy of the present witness's record, which is elsewhere");
    else if (is_named && r->sequence < v.seen)
        error_set(e, ERR_CONDITION, "what is there was rolled back: sequence %llu, %llu was seen",
                  (unsigned long long)r->sequence, (unsigned long long)v.seen);
    else
        return 0;
    error_set_remedy(e, "name another container or folder");
    return ERR_CONDITION;
}

static void set_applied(struct core *c, struct waiter *w, const struct error *e)
{
    struct json *data = NULL;
    if (!e->code) {
        data = json_object_new();
        json_set(data, "witness", core_witness_show_json(c));
    }
    core_reply(c, w->client, w->verb, &w->request_id, e, data);
}

static void propose_set(struct core *c, const struct uuid *uuid)
{
    struct witness_setting *s = &c->witness.set;
    struct waiter w = {.request_id = s->request_id, .client = s->client, .done = set_applied};
    struct buf b = {0};
    STR_COPY(w.verb, s->verb);
    witness_entry_set(uuid, &s->site, buf_slice(&s->sealed), &b);
    core_witness_done(&c->witness);
    core_propose(c, ENTRY_WITNESS_SET, &b, &w);
    c->witness.due_ms = c->now_ms;
}

static void take_set(struct core *c, const struct witness_asked *asked)
{
    struct witness_setting *s = &c->witness.set;
    const struct witness_result *r = &asked->result;
    struct error e = r->error;
    if (asked->sealed.len) {
        buf_done(&s->sealed);
        buf_add(&s->sealed, asked->sealed.p, asked->sealed.len);
        s->site.auth = asked->auth;
        s->site.n_keys = asked->n_keys;
    }
    bool may_be_there = r->op == WITNESS_CREATE && (r->outcome == WITNESS_EXISTS || r->outcome == WITNESS_UNKNOWN);
    if (may_be_there && (s->sealed.len || s->site.kind == WITNESS_FILE))
        read_record(c);
    else if (r->outcome == WITNESS_DONE && (r->op == WITNESS_CREATE || check_found(c, &r->record, &e) == 0))
        propose_set(c, &r->record.witness_uuid);
    else
        end_set(c, &e);
}

void core_witness_asked(struct core *c, const struct pending *p, const struct witness_asked *asked)
{
    if (p->purpose == FOR_WITNESS_PROBE) {
        bool is_stale = c->witness.is_stale;
        c->witness.is_asking = c->witness.is_stale = false;
        if (!is_stale)
            take_probe(c, &asked->result);
    } else if (p->purpose == FOR_WITNESS_TEST) {
        take_test(c, p, &asked->result);
        take_probe(c, &asked->result);
    } else {
        take_set(c, asked);
    }
}

/* ---- shown ------------------------------------------------------------------------------------------------------- */

static uint64_t highest(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

uint64_t core_witness_sequence(const struct core *c)
{
    const struct core_witness *w = &c->witness;
    struct db_witness_view v;
    db_witness(c->db, &v);
    bool is_named = uuid_eq(&w->of, &db_configuration(c->db)->witness);
    return is_named ? highest(w->sequence, highest(v.seen, v.tag.sequence)) : w->sequence;
}

/* A follower of a leader that has a majority has no need of it, and what it heard as a candidate may be over. */
bool core_witness_trouble(const struct core *c, char ret[DB_WITNESS_TEXT_MAX])
{
    struct db_witness_view v;
    db_witness(c->db, &v);
    memcpy(ret, v.trouble, sizeof(v.trouble));
    return v.trouble[0] && (db_is_leader(c->db) || !core_is_quorate(c));
}

static void set_health(struct json *o, const struct core *c)
{
    const struct core_witness *w = &c->witness;
    bool is_bad = w->was_asked && w->last.outcome != WITNESS_DONE;
    bool is_about_it = w->was_asked;
    json_set(o, "reachable", is_about_it ? json_bool_new(!is_bad) : json_null_new());
    json_set(o, "asked", json_time_new(w->asked_wall_ms));
    json_set(o, "seen", json_time_new(w->seen_wall_ms));
    json_set(o, "age_seconds",
             w->seen_wall_ms ? json_int_new((c->wall_ms - w->seen_wall_ms) / 1000) : json_null_new());
    json_set_str(o, "cause", is_bad ? witness_cause_name(w->last.cause) : NULL);
    json_set_str(o, "error", is_bad ? w->last.error.text : NULL);
    json_set_str(o, "remedy", is_bad ? w->last.error.remedy : NULL);
}

struct json *core_witness_json(const struct core *c)
{
    const struct db_config *config = db_configuration(c->db);
    struct uuid uuid = present(c), wanted = witness_wanted(db_tables(c->db));
    struct witness_site s;
    char where[512] = "not known on this node yet", trouble[DB_WITNESS_TEXT_MAX];
    if (uuid_is_nil(&uuid))
        return json_null_new();
    bool is_known = witness_site_get(db_tables(c->db), &uuid, &s) == 0;
    if (is_known)
        witness_site_text(&s, where, sizeof(where));
    struct json *o = json_object_new();
    json_set_str(o, "uuid", uuid_str(&uuid).s);
    json_set_str(o, "kind", is_known ? witness_kind_name(s.kind) : NULL);
    json_set_str(o, "place", where);
    json_set_int(o, "weight", uuid_eq(&uuid, &config->witness) ? config->witness_weight : 0);
    json_set_bool(o, "changing", !uuid_eq(&wanted, &config->witness));
    json_set_int(o, "sequence", (int64_t)core_witness_sequence(c));
    json_set_str(o, "trouble", core_witness_trouble(c, trouble) ? trouble : NULL);
    set_health(o, c);
    return o;
}

static void set_text(struct json *o, const char *key, const char *text)
{
    json_set_str(o, key, text[0] ? text : NULL);
}

static void set_site(struct json *o, const struct witness_site *s)
{
    set_text(o, "account", s->account);
    set_text(o, "container", s->container);
    set_text(o, "endpoint", s->endpoint);
    set_text(o, "proxy", s->proxy);
    set_text(o, "ca_file", s->ca_file);
    set_text(o, "path", s->path);
    json_set_str(o, "auth", s->kind == WITNESS_AZURE ? witness_auth_name(s->auth) : NULL);
    json_set(o, "keys", s->auth == WITNESS_AUTH_KEYS ? json_int_new(s->n_keys) : json_null_new());
}

static struct json *node_name(const struct core *c, const struct uuid *replica)
{
    struct node n = {0};
    bool is_known = node_by_replica(db_tables(c->db), replica, &n) == 0;
    struct json *name = is_known ? json_str_new(n.name) : json_null_new();
    node_done(&n);
    return name;
}

/* The tag as this node saw it last: by a call of the database, or by asking. */
static void set_tag(struct json *o, const struct core *c)
{
    const struct core_witness *w = &c->witness;
    const struct witness_record *r = &w->last.record;
    struct db_witness_view v;
    struct json *members = json_array_new();
    bool is_good = w->was_asked && w->last.outcome == WITNESS_DONE;
    db_witness(c->db, &v);
    bool is_newer = v.tag.sequence > (is_good ? r->sequence : 0);
    uint64_t term = is_newer ? v.tag.term : r->term;
    size_t n = is_newer ? v.tag.n_members : is_good ? r->n_members : 0;
    for (size_t i = 0; i < n; i++)
        json_append(members, node_name(c, is_newer ? &v.tag.members[i] : &r->members[i]));
    json_set(o, "term", is_good || is_newer ? json_int_new((int64_t)term) : json_null_new());
    json_set(o, "leader", is_good || is_newer ? node_name(c, is_newer ? &v.tag.leader : &r->leader) : json_null_new());
    json_set(o, "members", members);
    json_set(o, "key", is_good && w->last.key ? json_int_new(w->last.key) : json_null_new());
}

struct json *core_witness_show_json(const struct core *c)
{
    struct json *o = core_witness_json(c);
    struct uuid uuid = present(c);
    struct witness_site s = {.kind = WITNESS_FILE};
    if (uuid_is_nil(&uuid))
        return o;
    witness_site_get(db_tables(c->db), &uuid, &s);
    set_site(o, &s);
    set_tag(o, c);
    return o;
}
