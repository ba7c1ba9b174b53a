/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests of local clients: the verb table, and what each verb proposes or reads. */
#include "agent/request.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "agent/core-internal.h"
#include "agent/status.h"
#include "common/text.h"

struct request {
    struct core *c;
    uint64_t client;
    const char *verb;
    struct uuid id;
    const struct json *args;
    uint32_t uid;
    void (*wait)(const struct request *r, struct waiter *w); /* of struct verb */
    bool done; /* answered, or somebody will */
};

static void answer(struct request *r, const struct error *e, struct json *data)
{
    assert(!r->done);
    core_reply(r->c, r->client, r->verb, &r->id, e, data);
    r->done = true;
}

static void refuse(struct request *r, int code, const char *remedy, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static void refuse(struct request *r, int code, const char *remedy, const char *fmt, ...)
{
    struct error e = {0};
    char text[ERROR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    error_set(&e, code, "%s", text);
    if (remedy)
        error_set_remedy(&e, "%s", remedy);
    answer(r, &e, NULL);
}

static void answer_with(struct request *r, const char *key, struct json *value)
{
    struct json *data = json_object_new();
    json_set(data, key, value);
    answer(r, NULL, data);
}

/* A text argument: NULL, and answered, when it is missing or too long. */
static const char *want_str(struct request *r, const char *key, size_t max)
{
    const struct json *j = json_get(r->args, key);
    const char *s = json_is_str(j) ? json_str(j, NULL) : NULL;
    if (!s || !s[0])
        refuse(r, ERR_USAGE, NULL, "%s: argument '%s' is missing", r->verb, key);
    else if (strlen(s) >= max)
        refuse(r, ERR_USAGE, NULL, "%s: argument '%s' is longer than %zu bytes", r->verb, key, max - 1);
    else
        return s;
    return NULL;
}

/* An optional one: "" when it is missing; NULL, and answered, when it is wrong. */
static const char *may_str(struct request *r, const char *key, size_t max)
{
    const struct json *j = json_get(r->args, key);
    return j ? want_str(r, key, max) : "";
}

/* The same, where "" is a value. */
static const char *may_empty_str(struct request *r, const char *key, size_t max)
{
    return str_eq(json_str(json_get(r->args, key), "-"), "") ? "" : may_str(r, key, max);
}

/* Optional ones of other kinds: `otherwise` when missing; answered when wrong, so look at r->done. */
static int64_t may_int(struct request *r, const char *key, int64_t otherwise, int64_t min, int64_t max)
{
    const struct json *j = json_get(r->args, key);
    if (j && !r->done && (!json_is_int(j) || json_int(j, 0) < min || json_int(j, 0) > max))
        refuse(r, ERR_USAGE, NULL, "%s: argument '%s' is a number from %" PRId64 " to %" PRId64, r->verb, key, min,
               max);
    return json_int(j, otherwise);
}

static bool may_bool(struct request *r, const char *key)
{
    const struct json *j = json_get(r->args, key);
    if (j && !r->done && !json_is_bool(j))
        refuse(r, ERR_USAGE, NULL, "%s: argument '%s' is true or false", r->verb, key);
    return json_bool(j, false);
}

static struct waiter waiter_of(const struct request *r)
{
    struct waiter w = {.request_id = r->id, .client = r->client};
    STR_COPY(w.verb, r->verb);
    r->wait(r, &w);
    return w;
}

static void propose(struct request *r, enum entry_kind kind, struct buf *b)
{
    struct waiter w = waiter_of(r);
    core_propose(r->c, kind, b, &w);
    r->done = true;
}

/* "A request_id makes a retry safe" (design: replicated database, rule 1): who asks again is answered what the first
 * try was answered, and no check is made whether the same could be done once more. */
static bool answer_kept(struct request *r)
{
    struct apply_result kept;
    if (!r->wait || r->c->phase != PHASE_MEMBER || !db_outcome(r->c->db, &r->id, &kept))
        return false;
    struct waiter w = waiter_of(r);
    core_finish(r->c, &w, &kept.error);
    r->done = true;
    return true;
}

/* How a waiter is to answer follows from the request alone, so that a retry is answered like the first try. */
static void wait_plain(const struct request *r, struct waiter *w)
{
    (void)r, (void)w;
}

static void wait_job(const struct request *r, struct waiter *w)
{
    (void)r;
    w->is_job = true;
}

static void wait_named(const struct request *r, struct waiter *w,
                       void (*done)(struct core *c, struct waiter *w, const struct error *e))
{
    w->done = done;
    STR_COPY(w->name, json_get_str(r->args, "name", ""));
}

/* ---- Reads ---- */

static void do_status(struct request *r)
{
    struct error e = {0};
    bool all_vms = may_bool(r, "all_vms");
    if (r->done)
        return;
    if (r->c->phase == PHASE_MEMBER && !core_is_quorate(r->c)) {
        error_set(&e, ERR_NO_QUORUM, "no quorum: what is shown may be old");
        error_set_remedy(&e, "bring the other nodes back, or look at: journalctl -u ringmasterd -u corosync");
    }
    answer(r, &e, status_json(r->c, all_vms));
}

static void do_node_list(struct request *r)
{
    answer_with(r, "nodes", status_nodes_json(r->c));
}

static void do_node_show(struct request *r)
{
    const char *name = want_str(r, "name", NODE_NAME_MAX);
    if (!name)
        return;
    AUTO(json_freep) struct json *all = status_nodes_json(r->c);
    for (size_t i = 0; i < json_count(all); i++)
        if (str_eq(json_get_str(json_at(all, i), "name", ""), name)) {
            answer_with(r, "node", json_copy(json_at(all, i)));
            return;
        }
    refuse(r, ERR_NO_OBJECT, "clusterctl node list", "no node %s in this cluster", name);
}

static void do_vm_list(struct request *r)
{
    struct json *all = json_array_new();
    struct vm_view nodes;
    struct vm v;
    bool is_filtered = may_bool(r, "outdated");
    if (r->done) {
        json_free(all);
        return;
    }
    vm_view_build(&nodes, r->c, core_tables(r->c));
    for (bool more = vm_next(core_tables(r->c), NULL, &v); more; more = vm_next(core_tables(r->c), v.name, &v))
        if (!is_filtered || vm_is_outdated(&v, nodes.level_machine))
            json_append(all, status_vm_json(r->c, &nodes, &v));
    vm_view_done(&nodes);
    answer_with(r, "vms", all);
}

static struct json *one_vm_json(const struct core *c, const struct vm *v)
{
    struct vm_view nodes;
    vm_view_build(&nodes, c, core_tables(c));
    struct json *o = status_vm_json(c, &nodes, v);
    vm_view_done(&nodes);
    return o;
}

/* The VM that an argument names; false, and answered, when there is none. */
static bool want_vm(struct request *r, struct vm *ret)
{
    const char *name = want_str(r, "name", VM_NAME_MAX);
    if (!name)
        return false;
    if (vm_get(core_tables(r->c), name, ret) == 0)
        return true;
    refuse(r, ERR_NO_OBJECT, "clusterctl vm list", "no VM %s in this cluster", name);
    return false;
}

static void do_vm_show(struct request *r)
{
    struct vm v;
    struct slice xml = {0};
    if (!want_vm(r, &v))
        return;
    struct json *data = json_object_new();
    AUTO(freep) char *text = NULL;
    if (tables_get(core_tables(r->c), TABLE_VM_XML, v.name, &xml) == 0) {
        text = xcalloc(1, xml.len + 1);
        memcpy(text, xml.p, xml.len);
    }
    json_set(data, "vm", one_vm_json(r->c, &v));
    json_set_str(data, "xml", text);
    answer(r, NULL, data);
}

static void do_level_show(struct request *r)
{
    struct level_state l;
    if (level_get(core_tables(r->c), &l)) {
        refuse(r, ERR_AGAIN, NULL, "the database has not caught up yet");
        return;
    }
    struct json *data = json_object_new();
    json_set(data, "level", level_json(&l, r->c->wall_ms));
    json_set(data, "features", features_json(l.fl));
    answer(r, NULL, data);
}

static void do_quorum_show(struct request *r)
{
    answer_with(r, "quorum", core_quorum_json(r->c));
}

/* Why another node had better be asked; false: nothing is known against this one. */
static bool has_better_node(const struct core *c, struct error *e)
{
    struct db_replica other;
    struct db_witness_view w;
    struct node n = {0};
    bool is_own = false;
    db_witness(c->db, &w);
    for (size_t i = 0; i < w.tag.n_members; i++)
        is_own = is_own || uuid_eq(&w.tag.members[i], &c->identity.replica);
    if (db_is_behind(c->db)) {
        error_set(e, ERR_NEED_FORCE, "quorum was forced elsewhere already: this node's data is older than that");
        error_set_remedy(e, "start that node, and this one follows; or add --force");
    } else if (db_longer_log(c->db, &other)) {
        bool has_name = node_by_replica(db_tables(c->db), &other.id, &n) == 0;
        error_set(e, ERR_NEED_FORCE, "%s is here too, and has more of the data than this node",
                  has_name ? n.name : uuid_str(&other.id).s);
        error_set_remedy(e, "clusterctl quorum force on that node; or add --force");
    } else if (w.tag.n_members > 0 && !is_own) {
        error_set(e, ERR_NEED_FORCE, "the witness was given to other nodes, which went on without this one");
        error_set_remedy(e, "clusterctl quorum force on one of these, once all others are off; or add --force");
    }
    node_done(&n);
    return e->code != 0;
}

static void forced_answered(struct core *c, struct waiter *w, const struct error *e)
{
    struct json *data = NULL;
    if (!e->code) {
        data = json_object_new();
        json_set(data, "quorum", core_quorum_json(c));
    }
    core_reply(c, w->client, w->verb, &w->request_id, e, data);
}

static void wait_forced(const struct request *r, struct waiter *w)
{
    (void)r;
    w->done = forced_answered;
}

static void force(struct request *r)
{
    AUTO(buf_done) struct buf b = {0};
    char by[32];
    snprintf(by, sizeof by, "uid %u", r->uid);
    db_encode_force(&b, &r->c->identity.replica, r->c->identity.node, by);
    struct waiter w = waiter_of(r);
    int err = core_force(r->c, &b, &w);
    if (err)
        refuse(r, ERR_CONDITION, "clusterctl quorum show", "quorum cannot be forced here: this node %s",
               err == ERR_AGAIN ? "has a quorum" : "has no state of the cluster that can be trusted");
    r->done = true;
}

static void do_quorum_force(struct request *r)
{
    struct error e = {0};
    bool is_sure = may_bool(r, "force");
    if (r->done)
        return;
    if (core_is_quorate(r->c))
        refuse(r, ERR_CONDITION, "clusterctl quorum show", "there is a quorum: nothing needs to be forced");
    else if (!is_sure && has_better_node(r->c, &e))
        answer(r, &e, NULL);
    else
        force(r);
}

static void do_quorum_prevent(struct request *r)
{
    bool is_over = may_bool(r, "clear");
    if (r->done)
        return;
    if (db_prevent(r->c->db, r->c->now_ms, !is_over)) {
        refuse(r, ERR_CONDITION, "clusterctl quorum show", "this node has joined already: it has a quorum");
        return;
    }
    r->c->prevent = (struct prevent){.client = r->client, .request_id = r->id};
    STR_COPY(r->c->prevent.verb, r->verb);
    r->done = true;
}

void request_prevented(struct core *c)
{
    struct prevent p = c->prevent;
    if (!p.client || !c->db || !db_is_prevention_durable(c->db))
        return;
    c->prevent = (struct prevent){0};
    struct json *data = json_object_new();
    json_set(data, "quorum", core_quorum_json(c));
    core_reply(c, p.client, p.verb, &p.request_id, NULL, data);
}

static void do_config_show(struct request *r)
{
    answer_with(r, "settings", settings_json(core_tables(r->c)));
}

static void do_job_list(struct request *r)
{
    struct json *all = json_array_new();
    TABLES_FOREACH (core_tables(r->c), TABLE_JOB, row) {
        struct job j;
        if (job_decode(row.value, &j) == 0)
            json_append(all, job_json(&j));
    }
    answer_with(r, "jobs", all);
}

/* The job that an argument names; false, and answered, when there is none. */
static bool want_job(struct request *r, struct job *ret)
{
    const char *id = want_str(r, "id", UUID_STR_SIZE);
    struct uuid u;
    if (!id)
        return false;
    if (uuid_parse(id, &u) == 0 && journal_job_get(core_tables(r->c), &u, ret) == 0)
        return true;
    refuse(r, ERR_NO_OBJECT, "clusterctl job list", "no job %s", id);
    return false;
}

/* A run of the table of backups. */
static bool is_of_backups(enum job_kind k)
{
    return k == JOB_BACKUP || k == JOB_RESTORE || k == JOB_VERIFY;
}

static void do_job_show(struct request *r)
{
    struct job j;
    if (!want_job(r, &j))
        return;
    struct json *job = job_json(&j);
    bool is_moving = j.kind == JOB_VM_MIGRATE && j.state == JOB_RUNNING;
    int percent = is_moving ? core_percent(r->c, j.object, &j.id) : -1;
    percent = is_of_backups(j.kind) ? status_backup_percent(r->c, j.object, &j.id) : percent;
    if (percent >= 0)
        json_set_int(job, "percent", percent);
    answer_with(r, "job", job);
}

/* How many events are to be left out, oldest first, so that the newest `limit` remain. */
static int64_t events_before(const struct tables *t, int64_t limit)
{
    int64_t n = 0;
    TABLES_FOREACH (t, TABLE_EVENT, row)
        n++;
    return n > limit ? n - limit : 0;
}

static void do_events(struct request *r)
{
    int64_t since = may_int(r, "since", 0, 0, INT64_MAX), limit = may_int(r, "limit", EVENT_KEPT, 1, EVENT_KEPT);
    if (r->done)
        return;
    struct json *all = json_array_new(), *data = json_object_new();
    int64_t last = since, skip = json_get(r->args, "since") ? 0 : events_before(core_tables(r->c), limit);
    TABLES_FOREACH (core_tables(r->c), TABLE_EVENT, row) {
        struct cluster_event e;
        if (skip-- > 0)
            continue;
        if (cluster_event_decode(row.value, &e) || (int64_t)e.seq <= since || (int64_t)json_count(all) >= limit)
            continue;
        json_append(all, cluster_event_json(&e));
        last = (int64_t)e.seq;
    }
    json_set(data, "events", all);
    json_set_int(data, "last", last);
    answer(r, NULL, data);
}

/* ---- Cluster: init, join ---- */

static void defer(struct request *r, const char *text)
{
    struct deferred *d = &r->c->deferred;
    if (r->c->phase == PHASE_MEMBER) {
        refuse(r, ERR_CONDITION,
               "clusterctl status shows it; to leave it: clusterctl node evict on another node, then stop ringmasterd "
               "and remove /var/lib/ringmaster here",
               "this node is a member of a cluster already");
        return;
    }
    if (r->c->phase == PHASE_EVICTED) {
        refuse(r, ERR_CONDITION, "rebuild this node, or stop ringmasterd and remove /var/lib/ringmaster",
               "this node was evicted from its cluster and still has its old state");
        return;
    }
    if (r->c->phase == PHASE_JOINING || d->text) {
        refuse(r, ERR_AGAIN, NULL, "another init or join is under way on this node");
        return;
    }
    *d = (struct deferred){.client = r->client, .text = xstrdup(text), .request_id = r->id,
                           .deadline_ms = r->c->now_ms + CORE_FACTS_WAIT_MS};
    STR_COPY(d->verb, r->verb);
    r->done = true;
}

static void do_cluster_init(struct request *r)
{
    const char *name = want_str(r, "name", 64);
    for (const char *p = name; p && *p; p++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", *p)) {
            refuse(r, ERR_USAGE, NULL, "cluster name '%s': use letters, digits, '.', '_' and '-'", name);
            return;
        }
    if (name)
        defer(r, name);
}

/* Is this node what that token would make of it? Then a first boot that says `node join` again has what it wants. */
static bool is_joined_by(const struct core *c, const char *text)
{
    struct cluster cl;
    struct json *token = NULL;
    if (c->phase != PHASE_MEMBER || cluster_get(core_tables(c), &cl) || json_parse(text, strlen(text), &token, NULL))
        return false;
    bool is = str_eq(json_get_str(token, "ca_sha256", ""), hash_str(&cl.ca_hash).s) &&
              str_eq(json_get_str(token, "node", ""), c->identity.node);
    json_free(token);
    return is;
}

static void answer_member(struct core *c, uint64_t client, const char *verb, const struct uuid *id)
{
    struct json *data = json_object_new();
    json_set_str(data, "cluster", c->identity.cluster_name);
    json_set_str(data, "node", c->identity.node);
    core_reply(c, client, verb, id, NULL, data);
}

static void do_node_join(struct request *r)
{
    const char *token = want_str(r, "token", 16384);
    struct cluster cl;
    if (!token)
        return;
    if (is_joined_by(r->c, token)) {
        answer_member(r->c, r->client, r->verb, &r->id);
        r->done = true;
    } else if (r->c->phase == PHASE_MEMBER && cluster_get(core_tables(r->c), &cl)) {
        refuse(r, ERR_AGAIN, NULL, "the database has not caught up yet");
    } else {
        defer(r, token);
    }
}

static void fail_deferred(struct core *c, int code, const char *text, const char *remedy)
{
    struct deferred d = c->deferred;
    struct error e = {0};
    c->deferred = (struct deferred){0};
    error_set(&e, code, "%s", text);
    error_set_remedy(&e, "%s", remedy);
    core_reply(c, d.client, d.verb, &d.request_id, &e, NULL);
    core_wipe(d.text);
}

void request_deferred(struct core *c)
{
    struct deferred *d = &c->deferred;
    struct pending *p;
    if (!d->text)
        return;
    if (!c->has_facts) {
        if (c->now_ms >= d->deadline_ms)
            fail_deferred(c, ERR_AGAIN, "this host's facts are not known: libvirt does not answer",
                          "systemctl status libvirtd; journalctl -u ringmasterd");
        return;
    }
    bool is_init = str_eq(d->verb, "cluster.init");
    if (is_init && level_range_of(c->facts.qemu_version, c->facts.libvirt_version).native == 0) {
        fail_deferred(c, ERR_CONDITION, "this host's QEMU and libvirt are below every functional level",
                      "install the packages of Debian 12 or newer");
        return;
    }
    struct core_action *a = core_act_for(c, is_init ? ACT_FOUND : ACT_JOIN, FOR_MEMBERSHIP, &p);
    p->client = d->client;
    STR_COPY(p->verb, d->verb);
    p->request_id = d->request_id;
    a->text = d->text;
    if (is_init) {
        struct corosync_slot self = {.nodeid = 1};
        STR_COPY(self.name, c->facts.hostname);
        STR_COPY(self.address, c->facts.address);
        a->text2 = corosync_conf_render(d->text, NULL, &self, 1);
    }
    *d = (struct deferred){0};
    c->phase = PHASE_JOINING;
}

static void is_member_now(struct core *c, struct waiter *w, const struct error *e)
{
    if (e->code)
        core_reply(c, w->client, w->verb, &w->request_id, e, NULL);
    else
        answer_member(c, w->client, w->verb, &w->request_id);
}

static void wait_member(const struct request *r, struct waiter *w)
{
    (void)r;
    w->done = is_member_now;
}

static void propose_init(struct core *c, struct waiter *w, const struct membership_outcome *m)
{
    struct cluster_init i = {.identity = m->identity, .facts = c->facts, .sealed_ca_key = buf_slice(&m->sealed_ca_key),
                             .ca_hash = m->ca_hash};
    struct buf b = {0};
    cluster_entry_init(&i, &b);
    core_propose(c, ENTRY_CLUSTER_INIT, &b, w);
}

void request_membership(struct core *c, const struct pending *p, const struct membership_outcome *m)
{
    bool is_init = str_eq(p->verb, "cluster.init");
    if (m->error.code) {
        log_warn(c->log, "%s: %s", p->verb, m->error.text);
        c->phase = PHASE_UNCONFIGURED;
        core_reply(c, p->client, p->verb, &p->request_id, &m->error, NULL);
        return;
    }
    core_become_member(c, &m->identity, NULL, is_init);
    struct core_action *a = core_act_for(c, ACT_COROSYNC, FOR_COROSYNC, NULL);
    a->corosync = COROSYNC_START;
    if (m->corosync_conf) {
        a->text = xstrdup(m->corosync_conf);
        c->corosync_conf = xstrdup(m->corosync_conf);
    } else {
        struct corosync_slot self = {.nodeid = m->identity.nodeid};
        STR_COPY(self.name, m->identity.node);
        STR_COPY(self.address, m->identity.address);
        a->text = corosync_conf_render(m->identity.cluster_name, NULL, &self, 1);
        c->corosync_conf = xstrdup(a->text);
    }
    log_notice(c->log, "%s %s as node %s, replica %s", is_init ? "formed cluster" : "admitted to cluster",
               m->identity.cluster_name, m->identity.node, uuid_str(&m->identity.replica).s);
    struct waiter w = {.request_id = p->request_id, .client = p->client, .done = is_member_now};
    struct error done = {0};
    STR_COPY(w.verb, p->verb);
    if (is_init)
        propose_init(c, &w, m);
    else
        is_member_now(c, &w, &done);
}

/* ---- Tokens ---- */

static void do_join_token(struct request *r)
{
    struct pending *p;
    const char *node = want_str(r, "node", NODE_NAME_MAX);
    const char *address = r->done ? NULL : may_str(r, "address", ADDRESS_MAX);
    int64_t valid = may_int(r, "valid_seconds", 3600, 60, 7 * 24 * 3600);
    if (r->done)
        return;
    if (!core_is_quorate(r->c)) {
        refuse(r, ERR_NO_QUORUM, "clusterctl status", "no quorum: no token can be recorded");
        return;
    }
    struct core_action *a = core_act_for(r->c, ACT_TOKEN, FOR_TOKEN, &p);
    p->client = r->client;
    STR_COPY(p->verb, r->verb);
    p->request_id = r->id;
    STR_COPY(p->name, node);
    STR_COPY(p->address, address);
    p->until_ms = r->c->wall_ms + valid * 1000;
    STR_COPY(a->node, node);
    STR_COPY(a->address, address);
    a->valid_ms = valid * 1000;
    a->peers = core_peers_text(r->c, node);
    r->done = true;
}

static void token_recorded(struct core *c, struct waiter *w, const struct error *e)
{
    struct json *data = NULL;
    struct error again = {0};
    /* The same request id once more: the first token was recorded, not this one. */
    if (!e->code && !tables_has(core_tables(c), TABLE_TOKEN, uuid_str(&w->token).s)) {
        error_set(&again, ERR_AGAIN, "the token of this request was handed out already: ask for another");
        e = &again;
    }
    if (!e->code) {
        data = json_object_new();
        json_set_str(data, "node", w->name);
        json_set(data, "expires", json_time_new(w->until_ms));
        json_set_str(data, "token", w->text);
    }
    core_reply(c, w->client, w->verb, &w->request_id, e, data);
}

void request_token(struct core *c, const struct pending *p, const struct token_outcome *k)
{
    struct waiter w = {.request_id = p->request_id, .client = p->client, .until_ms = p->until_ms,
                       .token = k->id};
    struct buf b = {0};
    if (p->purpose == FOR_OP_TOKEN && !k->error.code)
        retry_done(&c->token_retry);
    if (k->error.code) {
        if (p->purpose == FOR_TOKEN || retry_failed(&c->token_retry, c->now_ms, k->error.text))
            log_warn(c->log, "join token for %s: %s", p->name, k->error.text);
        core_reply(c, p->client, p->verb, &p->request_id, &k->error, NULL);
        return;
    }
    struct join_token token = {.id = k->id, .secret_hash = k->secret_hash, .expires_ms = p->until_ms};
    STR_COPY(token.node, p->name);
    STR_COPY(token.address, p->address);
    STR_COPY(token.op_id, p->op_id);
    STR_COPY(w.verb, p->verb);
    STR_COPY(w.name, p->name);
    if (p->purpose == FOR_TOKEN) {
        w.done = token_recorded;
        w.text = xstrdup(k->text);
    } else {
        snprintf(w.key, sizeof w.key, "token/%s", p->op_id);
    }
    cluster_entry_token(&token, buf_slice(&k->sealed_text), &b);
    core_propose(c, ENTRY_TOKEN_ADD, &b, &w);
}

static void do_config_set(struct request *r)
{
    const char *name = want_str(r, "name", TABLE_KEY_MAX);
    const char *value = json_get_str(r->args, "value", NULL); /* "": the default again */
    struct buf b = {0};
    struct error e = {0};
    if (r->done)
        return;
    if (!value || strlen(value) >= SETTING_VALUE_MAX) {
        refuse(r, ERR_USAGE, NULL, "value of %s: a text of at most %d bytes", name, SETTING_VALUE_MAX - 1);
        return;
    }
    if (setting_check(core_tables(r->c), name, value, &e)) {
        answer(r, &e, NULL);
        return;
    }
    cluster_entry_setting(name, value, &b);
    propose(r, ENTRY_SETTING_PUT, &b);
}

/* One name and value of `settings`; false, and answered, when it is wrong. */
static bool want_setting(struct request *r, const char *name, const struct json *value, struct settings_put *s)
{
    const char *text = json_is_str(value) ? json_str(value, NULL) : NULL;
    struct error e = {0};
    struct settings_put_value *v = &s->values[s->n];
    if (s->n == SETTINGS_PUT_MAX) {
        refuse(r, ERR_USAGE, NULL, "at most %d settings can be applied at once", SETTINGS_PUT_MAX);
    } else if (!text || !STR_COPY(v->value, text) || !STR_COPY(v->name, name)) {
        refuse(r, ERR_USAGE, NULL, "value of %.64s: a text of at most %d bytes", name, SETTING_VALUE_MAX - 1);
    } else if (setting_check(core_tables(r->c), name, text, &e)) {
        answer(r, &e, NULL);
    } else {
        s->n++;
        return true;
    }
    return false;
}

/* The gate stands here, before a kind of entry is written that a node of the level's release might not know. */
static void do_config_apply(struct request *r)
{
    const struct json *settings = json_get(r->args, "settings"), *value;
    AUTO(freep) struct settings_put *s = xcalloc(1, sizeof *s);
    struct error e = {0};
    struct buf b = {0};
    const char *name;
    void *it = NULL;
    if (feature_check(core_tables(r->c), FEATURE_SETTINGS_PUT, &e)) {
        answer(r, &e, NULL);
        return;
    }
    while (json_next(settings, &it, &name, &value))
        if (!want_setting(r, name, value, s))
            return;
    if (s->n == 0) {
        refuse(r, ERR_USAGE, NULL, "%s: argument 'settings' names none", r->verb);
        return;
    }
    cluster_entry_settings(s, &b);
    propose(r, ENTRY_SETTINGS_PUT, &b);
}

/* ---- Nodes ---- */

/* The job that was begun, or the one that was under way already (a second drain); none where all was so already. */
static void node_answered(struct core *c, struct waiter *w, const struct error *e)
{
    struct json *data = json_object_new();
    struct node n = {0};
    struct job j;
    if (!e->code && journal_job_get(core_tables(c), &w->request_id, &j) == 0)
        json_set_str(data, "job", uuid_str(&j.id).s);
    else if (!e->code && node_get(core_tables(c), w->name, &n) == 0 && !uuid_is_nil(&n.job))
        json_set_str(data, "job", uuid_str(&n.job).s);
    node_done(&n);
    core_reply(c, w->client, w->verb, &w->request_id, e, data);
}

static void wait_node(const struct request *r, struct waiter *w)
{
    wait_named(r, w, node_answered);
}

static void node_admin(struct request *r, enum node_verb verb)
{
    const char *name = want_str(r, "name", NODE_NAME_MAX);
    struct buf b = {0};
    if (!name)
        return;
    struct node_request q = {.verb = verb, .failback = may_bool(r, "failback"), .keep_slot = may_bool(r, "keep_slot"),
                             .force = may_bool(r, "force")};
    if (r->done)
        return;
    STR_COPY(q.name, name);
    cluster_entry_admin(&q, &b);
    propose(r, ENTRY_NODE_ADMIN, &b);
}

static void do_node_drain(struct request *r)
{
    node_admin(r, NODE_DRAIN);
}

static void do_node_resume(struct request *r)
{
    node_admin(r, NODE_RESUME);
}

static void do_node_evict(struct request *r)
{
    node_admin(r, NODE_EVICT);
}

/* A text, or "" for the default; a number is as good. */
static void add_node_value(struct request *r, const char *what, struct node_set *s)
{
    const struct json *j = json_get(r->args, what);
    struct node_set_value *v = &s->values[s->n];
    if (!j || r->done)
        return;
    const char *text = json_str(j, "");
    if ((!json_is_str(j) && !json_is_int(j)) || strlen(text) >= sizeof v->value) {
        refuse(r, ERR_USAGE, NULL, "%s: argument '%s' is a text of at most %zu bytes, or a number", r->verb, what,
               sizeof v->value - 1);
        return;
    }
    STR_COPY(v->what, what);
    if (json_is_int(j))
        snprintf(v->value, sizeof v->value, "%" PRId64, json_int(j, 0));
    else
        STR_COPY(v->value, text);
    s->n++;
}

static void do_node_set(struct request *r)
{
    struct node_set s = {.n = 0};
    struct error e = {0};
    struct buf b = {0};
    const char *name = want_str(r, "name", NODE_NAME_MAX);
    if (!name)
        return;
    STR_COPY(s.node, name);
    add_node_value(r, "site", &s);
    add_node_value(r, "vote", &s);
    add_node_value(r, "priority", &s);
    if (r->done)
        return;
    if (s.n == 0) {
        refuse(r, ERR_USAGE, NULL, "%s: say a site, a vote or a priority", r->verb);
    } else if (node_set_check(core_tables(r->c), &s, &e)) {
        answer(r, &e, NULL);
    } else {
        cluster_entry_node_set(&s, &b);
        propose(r, ENTRY_NODE_SET, &b);
    }
}

/* As it is now, and as status shows it. */
static void node_set_answered(struct core *c, struct waiter *w, const struct error *e)
{
    struct json *data = NULL;
    if (!e->code) {
        AUTO(json_freep) struct json *all = status_nodes_json(c);
        data = json_object_new();
        for (size_t i = 0; i < json_count(all); i++)
            if (str_eq(json_get_str(json_at(all, i), "name", ""), w->name))
                json_set(data, "node", json_copy(json_at(all, i)));
    }
    core_reply(c, w->client, w->verb, &w->request_id, e, data);
}

static void wait_node_set(const struct request *r, struct waiter *w)
{
    wait_named(r, w, node_set_answered);
}

/* ---- VMs ---- */

static void vm_answered(struct core *c, struct waiter *w, const struct error *e)
{
    struct json *data = NULL;
    struct vm v;
    if (!e->code && vm_get(core_tables(c), w->name, &v) == 0) {
        data = json_object_new();
        json_set(data, "vm", one_vm_json(c, &v));
    }
    core_reply(c, w->client, w->verb, &w->request_id, e, data);
}

static void wait_vm(const struct request *r, struct waiter *w)
{
    wait_named(r, w, vm_answered);
}

static void do_vm_add(struct request *r)
{
    struct pending *p;
    const char *xml = want_str(r, "xml", VM_XML_MAX);
    const char *node = r->done ? NULL : may_str(r, "node", NODE_NAME_MAX);
    if (r->done)
        return;
    struct core_action *a = core_act_for(r->c, ACT_VM, FOR_PARSE, &p);
    p->client = r->client;
    STR_COPY(p->verb, r->verb);
    p->request_id = r->id;
    STR_COPY(p->name, node[0] ? node : r->c->identity.node);
    a->vm.verb = VM_CALL_PARSE;
    a->vm.xml = xstrdup(xml);
    r->done = true;
}

void request_parsed(struct core *c, const struct pending *p, const struct vm_outcome *o)
{
    struct waiter w = {.request_id = p->request_id, .client = p->client, .done = vm_answered};
    struct buf b = {0};
    if (o->error.code) {
        core_reply(c, p->client, p->verb, &p->request_id, &o->error, NULL);
        return;
    }
    STR_COPY(w.verb, p->verb);
    STR_COPY(w.name, o->facts.name);
    vm_entry_add(&o->facts, p->name, &b);
    core_propose(c, ENTRY_VM_ADD, &b, &w);
}

/* The machine type that is asked for, or the level's; false, and answered: there is none. */
static bool want_machine(struct request *r, const struct vm *v, const struct vm_limits *limits,
                         char ret[VM_MACHINE_MAX])
{
    const char *to = may_str(r, "machine", VM_MACHINE_MAX);
    if (!to)
        return false;
    if (to[0])
        return str_copy(ret, VM_MACHINE_MAX, to);
    if (vm_machine_at(v->machine, limits->machine, ret))
        return true;
    refuse(r, ERR_USAGE, "name one with --to MACHINE", "VM %s: %s has no counterpart of the level's machine type '%s'",
           v->name, v->machine, limits->machine);
    return false;
}

/* 0, or answered. */
static int refuse_version(struct request *r, const struct vm *v, const char *machine, const struct vm_limits *limits)
{
    struct vm_view nodes;
    struct error e = {0};
    vm_view_build(&nodes, r->c, core_tables(r->c));
    nodes.v.limits = limits;
    int err = vm_version_check(v, machine, &nodes.v, &e);
    vm_view_done(&nodes);
    if (err)
        answer(r, &e, NULL);
    return err;
}

/* The hypervisor's adapter writes the machine type into the XML, which may be of anybody's make. */
static void do_vm_upgrade_version(struct request *r)
{
    struct vm v;
    struct vm_limits limits;
    struct pending *p;
    struct slice xml = {0};
    char machine[VM_MACHINE_MAX];
    core_vm_limits(core_tables(r->c), &limits);
    if (!want_vm(r, &v) || !want_machine(r, &v, &limits, machine) || refuse_version(r, &v, machine, &limits))
        return;
    tables_get(core_tables(r->c), TABLE_VM_XML, v.name, &xml);
    struct core_action *a = core_act_for(r->c, ACT_VM, FOR_VERSION, &p);
    p->client = r->client;
    STR_COPY(p->verb, r->verb);
    p->request_id = r->id;
    STR_COPY(p->name, v.name);
    STR_COPY(p->address, v.machine);
    a->vm.verb = VM_CALL_PARSE;
    STR_COPY(a->vm.machine, machine);
    a->vm.xml = xcalloc(1, xml.len + 1);
    if (xml.len)
        memcpy(a->vm.xml, xml.p, xml.len);
    r->done = true;
}

void request_versioned(struct core *c, const struct pending *p, const struct vm_outcome *o)
{
    struct waiter w = {.request_id = p->request_id, .client = p->client, .done = vm_answered};
    struct vm_version_request q = {.xml = o->facts.xml};
    struct error e = o->error;
    struct buf b = {0};
    struct vm v;
    if (!e.code && (vm_get(core_tables(c), p->name, &v) || !uuid_eq(&v.uuid, &o->facts.uuid)))
        error_set(&e, ERR_AGAIN, "VM %s was removed meanwhile", p->name);
    if (e.code) {
        core_reply(c, p->client, p->verb, &p->request_id, &e, NULL);
        return;
    }
    STR_COPY(w.verb, p->verb);
    STR_COPY(w.name, p->name);
    STR_COPY(q.name, p->name);
    STR_COPY(q.from, p->address);
    STR_COPY(q.machine, o->facts.machine);
    vm_entry_version(&q, &b);
    core_propose(c, ENTRY_VM_VERSION, &b, &w);
}

static void do_vm_rollback_version(struct request *r)
{
    struct vm v;
    struct buf b = {0};
    if (!want_vm(r, &v))
        return;
    vm_entry_rollback(v.name, &b);
    propose(r, ENTRY_VM_ROLLBACK, &b);
}

static void do_vm_remove(struct request *r)
{
    struct vm v;
    struct buf b = {0};
    if (!want_vm(r, &v))
        return;
    vm_entry_remove(v.name, &b);
    propose(r, ENTRY_VM_REMOVE, &b);
}

static void vm_op(struct request *r, const struct vm_op_request *q)
{
    struct buf b = {0};
    vm_entry_op(q, &b);
    propose(r, ENTRY_VM_OP, &b);
}

static void do_vm_start(struct request *r)
{
    struct vm v;
    const char *node = may_str(r, "node", NODE_NAME_MAX);
    if (!node || !want_vm(r, &v))
        return;
    struct vm_op_request q = {.op = VM_OP_START, .reason = VM_REASON_ADMIN};
    STR_COPY(q.name, v.name);
    STR_COPY(q.node, node);
    vm_op(r, &q);
}

static void do_vm_stop(struct request *r)
{
    struct vm v;
    if (!want_vm(r, &v))
        return;
    struct vm_op_request q = {.op = VM_OP_STOP, .reason = VM_REASON_ADMIN,
                              .hard = may_bool(r, "hard"),
                              .timeout_ms = may_int(r, "timeout_ms", 0, 0, 24 * 3600 * 1000)};
    if (r->done)
        return;
    STR_COPY(q.name, v.name);
    vm_op(r, &q);
}

static void migrating(struct core *c, struct waiter *w, const struct error *e)
{
    struct json *data = NULL;
    char target[NODE_NAME_MAX];
    struct job j;
    if (!e->code) {
        data = json_object_new();
        json_set_str(data, "job", uuid_str(&w->request_id).s);
        if (journal_job_get(core_tables(c), &w->request_id, &j) == 0) {
            vm_job_target(&j, target);
            json_set_str(data, "target", target);
        }
    }
    core_reply(c, w->client, w->verb, &w->request_id, e, data);
}

static void wait_migrate(const struct request *r, struct waiter *w)
{
    (void)r;
    w->done = migrating;
}

static void do_vm_migrate(struct request *r)
{
    struct vm v;
    struct error e = {0};
    struct vm_op_request q = {.op = VM_OP_MIGRATE, .reason = VM_REASON_ADMIN};
    const char *target = may_str(r, "target", NODE_NAME_MAX);
    if (!target || !want_vm(r, &v))
        return;
    if (target[0]) {
        STR_COPY(q.node, target);
    } else {
        struct vm_view nodes;
        vm_view_build(&nodes, r->c, core_tables(r->c));
        int err = vm_place(core_tables(r->c), &nodes.v, &v, v.node, q.node, &e);
        vm_view_done(&nodes);
        if (err) {
            answer(r, &e, NULL);
            return;
        }
    }
    STR_COPY(q.name, v.name);
    vm_op(r, &q);
}

static void do_vm_set(struct request *r)
{
    struct vm v;
    struct vm_set_request q = {0};
    struct buf b = {0};
    const char *policy = may_str(r, "policy", 64);
    const char *home = r->done ? NULL : may_str(r, "home", NODE_NAME_MAX);
    const char *preferred = r->done ? NULL : may_empty_str(r, "preferred", VM_PREFERRED_MAX);
    const char *group = r->done ? NULL : may_empty_str(r, "group", VM_GROUP_MAX);
    const char *postcopy = r->done ? NULL : may_str(r, "postcopy", 8);
    int64_t priority = may_int(r, "priority", 0, -1000, 1000);
    if (r->done || !want_vm(r, &v))
        return;
    if (postcopy[0] && !str_eq(postcopy, "on") && !str_eq(postcopy, "off")) {
        refuse(r, ERR_USAGE, NULL, "postcopy is on or off, not '%s'", postcopy);
        return;
    }
    if (policy[0] && vm_policy_parse(policy, &q.policy)) {
        refuse(r, ERR_USAGE, "use fail, shutdown-restart, save or skip-node", "no drain policy '%s'", policy);
        return;
    }
    STR_COPY(q.name, v.name);
    q.set_priority = json_get(r->args, "priority") != NULL;
    q.priority = (int32_t)priority;
    q.set_policy = policy[0] != '\0';
    q.set_home = home[0] != '\0';
    STR_COPY(q.home, home);
    q.set_preferred = json_get(r->args, "preferred") != NULL;
    STR_COPY(q.preferred, preferred);
    q.set_group = json_get(r->args, "group") != NULL;
    STR_COPY(q.group, group);
    q.set_postcopy = postcopy[0] != '\0';
    q.postcopy = str_eq(postcopy, "on");
    vm_entry_set(&q, &b);
    propose(r, ENTRY_VM_SET, &b);
}

/* ---- Level and upgrade ---- */

static void do_level_raise(struct request *r)
{
    struct level_state l;
    struct error e = {0};
    struct json *findings = NULL;
    struct buf b = {0};
    bool is_dry = may_bool(r, "dry_run");
    if (r->done)
        return;
    if (level_get(core_tables(r->c), &l)) {
        refuse(r, ERR_AGAIN, NULL, "the database has not caught up yet");
        return;
    }
    struct node_views *v = xcalloc(1, sizeof *v);
    node_views_build(v, r->c, false);
    node_views_scan(v, core_tables(r->c));
    int err = level_raise_check(core_tables(r->c), v->levels, v->v.n, &findings, &e);
    node_views_done(v);
    free(v);
    if (err || is_dry) {
        struct json *data = json_object_new();
        json_set(data, "findings", findings);
        answer(r, &e, data);
        return;
    }
    json_free(findings);
    struct level_request q = {.verb = LEVEL_FENCE, .level = (uint8_t)(l.fl + 1)};
    level_entry(&q, &b);
    propose(r, ENTRY_LEVEL, &b);
}

static void do_upgrade_check(struct request *r)
{
    struct upgrade_options o = {.target = want_str(r, "target", RUN_NAME_MAX)};
    struct json *data, *findings = NULL, *plan = NULL;
    struct error e = {0};
    o.order = o.target ? may_str(r, "order", RUN_ORDER_MAX) : NULL;
    if (!o.order)
        return;
    o.max_unavailable = (uint32_t)may_int(r, "max_unavailable", 1, 1, RUN_STEPS_MAX);
    if (r->done)
        return;
    struct node_views *v = xcalloc(1, sizeof *v);
    node_views_build(v, r->c, true);
    data = json_object_new();
    json_set_int(data, "result", upgrade_check(core_tables(r->c), &v->v, &o, &findings));
    json_set(data, "findings", findings);
    if (str_eq(r->verb, "upgrade.plan") && upgrade_plan(&v->v, &o, &plan, &e) == 0)
        json_set(data, "plan", plan);
    node_views_done(v);
    free(v);
    answer(r, &e, data);
}

static void answer_run(struct core *c, struct waiter *w, const struct error *e)
{
    const struct tables *t = core_tables(c);
    struct json *data = NULL;
    struct run run;
    /* A start is answered with the run that it began, later ones or not. */
    if (!e->code && (run_get(t, &w->request_id, &run) == 0 || run_newest(t, &run) == 0)) {
        data = json_object_new();
        json_set(data, "run", run_json(t, &run, c->wall_ms));
    }
    core_reply(c, w->client, w->verb, &w->request_id, e, data);
}

static void wait_run(const struct request *r, struct waiter *w)
{
    (void)r;
    w->done = answer_run;
}

static void do_upgrade_start(struct request *r)
{
    struct upgrade_options o = {.target = want_str(r, "target", RUN_NAME_MAX), .by = "admin"};
    struct error e = {0};
    struct buf b = {0};
    o.order = r->done ? NULL : may_str(r, "order", RUN_ORDER_MAX);
    o.accept_warnings = may_bool(r, "accept_warnings");
    o.approve_each = may_bool(r, "approve_each");
    o.max_unavailable = (uint32_t)may_int(r, "max_unavailable", 1, 1, RUN_STEPS_MAX);
    if (r->done)
        return;
    struct node_views *v = xcalloc(1, sizeof *v);
    node_views_build(v, r->c, true);
    int err = upgrade_entry_start(core_tables(r->c), &v->v, &o, &b, &e);
    node_views_done(v);
    free(v);
    if (err) {
        buf_done(&b);
        answer(r, &e, NULL);
        return;
    }
    propose(r, ENTRY_RUN_START, &b);
}

static void do_upgrade_status(struct request *r)
{
    struct run run;
    const struct tables *t = core_tables(r->c);
    answer_with(r, "run", run_newest(t, &run) == 0 ? run_json(t, &run, r->c->wall_ms) : json_null_new());
}

static struct json *move_json(const struct job *j)
{
    struct json *m = json_object_new();
    json_set_str(m, "vm", j->object);
    json_set_str(m, "way", j->detail);
    json_set_str(m, "state", job_state_name(j->state));
    json_set(m, "started", json_time_new(j->started_ms));
    json_set(m, "ended", json_time_new(j->ended_ms));
    json_set_int(m, "ms", j->ended_ms > j->started_ms ? j->ended_ms - j->started_ms : 0);
    json_set(m, "error", j->error[0] ? json_str_new(j->error) : json_null_new());
    return m;
}

static int by_start(const void *a, const void *b)
{
    const struct job *x = a, *y = b;
    return x->started_ms < y->started_ms ? -1 : x->started_ms > y->started_ms;
}

/* Moves of VMs since the run began, as far as their jobs are kept, in the order in which they began. */
static struct json *run_moves_json(const struct tables *t, const struct run *run)
{
    AUTO(freep) struct job *jobs = xcalloc(tables_count(t, TABLE_JOB) + 1, sizeof *jobs);
    struct json *all = json_array_new();
    size_t n = 0;
    TABLES_FOREACH (t, TABLE_JOB, row)
        if (job_decode(row.value, &jobs[n]) == 0 && jobs[n].kind == JOB_VM_MIGRATE &&
            jobs[n].started_ms >= run->created_ms && (!run->ended_ms || jobs[n].started_ms <= run->ended_ms))
            n++;
    qsort(jobs, n, sizeof *jobs, by_start);
    for (size_t i = 0; i < n; i++)
        json_append(all, move_json(&jobs[i]));
    return all;
}

static void do_upgrade_report(struct request *r)
{
    const struct tables *t = core_tables(r->c);
    const char *id = may_str(r, "run", UUID_STR_SIZE);
    struct run run;
    struct uuid u;
    if (!id)
        return;
    bool found = id[0] ? uuid_parse(id, &u) == 0 && run_get(t, &u, &run) == 0 : run_newest(t, &run) == 0;
    if (!found) {
        refuse(r, ERR_NO_OBJECT, "clusterctl upgrade status", id[0] ? "no upgrade %s" : "no upgrade was ever started%s",
               id);
        return;
    }
    struct json *report = run_report_json(t, &run, r->c->wall_ms);
    json_set(report, "moves", run_moves_json(t, &run));
    answer(r, NULL, report);
}

static void run_control(struct request *r, enum run_verb verb)
{
    struct buf b = {0};
    upgrade_entry_control(verb, "admin", "", &b);
    propose(r, ENTRY_RUN_CONTROL, &b);
}

static void do_upgrade_pause(struct request *r)
{
    run_control(r, RUN_VERB_PAUSE);
}

static void do_upgrade_resume(struct request *r)
{
    run_control(r, RUN_VERB_RESUME);
}

static void do_upgrade_retry(struct request *r)
{
    struct node n = {0};
    while (node_next(core_tables(r->c), &n))
        vm_leader_retry(r->c->vm_leader, n.name);
    run_control(r, RUN_VERB_RETRY);
}

static void do_upgrade_abort(struct request *r)
{
    run_control(r, RUN_VERB_ABORT);
}

static void do_upgrade_rollback(struct request *r)
{
    run_control(r, RUN_VERB_ROLLBACK);
}

static void do_upgrade_approve(struct request *r)
{
    struct buf b = {0};
    const char *node = may_str(r, "node", RUN_NAME_MAX);
    if (!node)
        return;
    upgrade_entry_control(RUN_VERB_APPROVE, "admin", node, &b);
    propose(r, ENTRY_RUN_CONTROL, &b);
}

/* ---- Witness ---- */

static void do_witness_show(struct request *r)
{
    answer_with(r, "witness", core_witness_show_json(r->c));
}

static void do_witness_test(struct request *r)
{
    struct uuid wanted = witness_wanted(core_tables(r->c));
    if (uuid_is_nil(&wanted)) {
        refuse(r, ERR_NO_OBJECT, "clusterctl witness set azure, or clusterctl witness set file",
               "the cluster has no witness");
        return;
    }
    core_witness_test(r->c, r->client, r->verb, &r->id);
    r->done = true;
}

/* A text argument that fits, or "" when it is missing; false, and answered, when it is wrong. */
static bool site_str(struct request *r, const char *key, char *dst, size_t size)
{
    const char *s = r->done ? NULL : may_str(r, key, size);
    return s && str_copy(dst, size, s);
}

static bool want_site(struct request *r, struct witness_site *ret)
{
    struct error e = {0};
    const char *kind = want_str(r, "kind", 16);
    if (!kind)
        return false;
    *ret = (struct witness_site){.kind = str_eq(kind, "file") ? WITNESS_FILE : WITNESS_AZURE};
    bool good = site_str(r, "account", ret->account, sizeof(ret->account)) &&
                site_str(r, "container", ret->container, sizeof(ret->container)) &&
                site_str(r, "endpoint", ret->endpoint, sizeof(ret->endpoint)) &&
                site_str(r, "proxy", ret->proxy, sizeof(ret->proxy)) &&
                site_str(r, "metadata", ret->metadata, sizeof(ret->metadata)) &&
                site_str(r, "ca_file", ret->ca_file, sizeof(ret->ca_file)) &&
                site_str(r, "path", ret->path, sizeof(ret->path));
    if (!good)
        return false;
    if (!str_eq(kind, "azure") && !str_eq(kind, "file"))
        refuse(r, ERR_USAGE, NULL, "no kind of witness '%s': azure or file", kind);
    else if (witness_site_check(ret, &e))
        answer(r, &e, NULL);
    return !r->done;
}

static void do_witness_set(struct request *r)
{
    struct witness_setting s = {.client = r->client, .request_id = r->id};
    if (!want_site(r, &s.site))
        return;
    const char *credentials = may_str(r, "credentials", WITNESS_SECRET_MAX);
    if (!credentials)
        return;
    if (s.site.kind == WITNESS_AZURE && !credentials[0]) {
        refuse(r, ERR_USAGE, NULL, "a witness in Azure needs a key, a SAS or a managed identity");
        return;
    }
    if (!core_is_quorate(r->c)) {
        refuse(r, ERR_NO_QUORUM, "clusterctl status", "no quorum: no witness can be set");
        return;
    }
    if (r->c->witness.set.is_active) {
        refuse(r, ERR_AGAIN, NULL, "another witness set is under way on this node");
        return;
    }
    STR_COPY(s.verb, r->verb);
    core_witness_set(r->c, &s, credentials);
    r->done = true;
}

static void do_witness_remove(struct request *r)
{
    struct buf b = {0};
    witness_entry_set(&(struct uuid){0}, NULL, (struct slice){0}, &b);
    propose(r, ENTRY_WITNESS_SET, &b);
}

/* ---- Tasks ---- */

static void do_task_list(struct request *r)
{
    answer_with(r, "tasks", status_tasks_json(r->c));
}

/* The task that an argument names; false, and answered, when there is none. */
static bool want_task(struct request *r, struct task *ret)
{
    const char *name = want_str(r, "name", TASK_NAME_MAX);
    if (!name)
        return false;
    if (task_get(core_tables(r->c), name, ret) == 0)
        return true;
    refuse(r, ERR_NO_OBJECT, "clusterctl task list", "no task %s in this cluster", name);
    return false;
}

static void do_task_show(struct request *r)
{
    struct task k;
    if (want_task(r, &k))
        answer_with(r, "task", status_task_json(r->c, &k));
}

static void task_answered(struct core *c, struct waiter *w, const struct error *e)
{
    struct json *data = NULL;
    struct task k;
    if (!e->code && task_get(core_tables(c), w->name, &k) == 0) {
        data = json_object_new();
        json_set(data, "task", status_task_json(c, &k));
    }
    core_reply(c, w->client, w->verb, &w->request_id, e, data);
}

static void wait_task(const struct request *r, struct waiter *w)
{
    wait_named(r, w, task_answered);
}

static void take_arguments(struct request *r, struct task_definition *d)
{
    const struct json *all = json_get(r->args, "arguments");
    if (all && !json_is_array(all)) {
        refuse(r, ERR_USAGE, NULL, "%s: argument 'arguments' is an array of texts", r->verb);
        return;
    }
    for (size_t i = 0; i < json_count(all) && !r->done; i++) {
        const struct json *one = json_at(all, i);
        if (!json_is_str(one))
            refuse(r, ERR_USAGE, NULL, "%s: argument 'arguments' is an array of texts", r->verb);
        else if (task_definition_add(d, json_str(one, "")))
            refuse(r, ERR_USAGE, "put them into a file that the command reads",
                   "%s: a command takes up to %d arguments, of %d bytes together", r->verb, TASK_ARGUMENTS_N_MAX,
                   TASK_ARGUMENTS_MAX);
    }
}

/* False, and answered, when something is missing or too long; what it says is checked when it is whole. */
static bool want_definition(struct request *r, struct task_definition *d)
{
    const char *name = want_str(r, "name", TASK_NAME_MAX);
    const char *command = r->done ? NULL : want_str(r, "command", TASK_COMMAND_MAX);
    const char *calendar = r->done ? NULL : may_str(r, "calendar", CALENDAR_TEXT_MAX);
    const char *affinity = r->done ? NULL : may_str(r, "affinity", 32);
    int64_t seconds = may_int(r, "timeout_seconds", TASK_TIMEOUT_MS / 1000, 1, TASK_TIMEOUT_MAX_MS / 1000);
    if (!r->done)
        take_arguments(r, d);
    if (r->done)
        return false;
    STR_COPY(d->name, name);
    STR_COPY(d->command, command);
    STR_COPY(d->calendar, calendar);
    d->timeout_ms = seconds * 1000;
    d->affinity = str_eq(affinity, "native-level") ? TASK_NATIVE_LEVEL : TASK_ANY;
    if (!affinity[0] || str_eq(affinity, task_affinity_name(d->affinity)))
        return true;
    refuse(r, ERR_USAGE, NULL, "%s: the affinity is any or native-level, not '%s'", r->verb, affinity);
    return false;
}

static void do_task_add(struct request *r)
{
    struct task k = {.after_ms = r->c->wall_ms};
    struct error e = {0};
    struct buf b = {0};
    int64_t next_ms;
    if (!want_definition(r, &k.d))
        return;
    if (task_definition_check(&k.d, &e)) {
        answer(r, &e, NULL);
        return;
    }
    if (k.d.calendar[0] && task_next_ms(&k, &next_ms)) {
        refuse(r, ERR_USAGE, NULL, "calendar expression '%s': all that it names is past", k.d.calendar);
        return;
    }
    task_entry_set(&k.d, &b);
    propose(r, ENTRY_TASK_SET, &b);
}

static void do_task_remove(struct request *r)
{
    struct task k;
    struct buf b = {0};
    if (!want_task(r, &k))
        return;
    task_entry_remove(k.d.name, &b);
    propose(r, ENTRY_TASK_REMOVE, &b);
}

static void do_task_run(struct request *r)
{
    struct task k;
    struct task_note n = {.verb = TASK_NOTE_REQUEST};
    struct buf b = {0};
    if (!want_task(r, &k))
        return;
    STR_COPY(n.name, k.d.name);
    task_entry_note(&n, &b);
    propose(r, ENTRY_TASK_NOTE, &b);
}

/* ---- Repositories, backups, reference points ---- */

static struct json *repositories_json(const struct tables *t)
{
    struct json *all = json_array_new();
    struct repository_row row;
    for (bool more = repository_next(t, NULL, &row); more; more = repository_next(t, row.name, &row))
        json_append(all, repository_row_json(t, &row));
    return all;
}

static void do_repository_list(struct request *r)
{
    answer_with(r, "repositories", repositories_json(core_tables(r->c)));
}

static void repository_answered(struct core *c, struct waiter *w, const struct error *e)
{
    struct json *data = NULL;
    struct repository_row row;
    if (!e->code && repository_get(core_tables(c), w->name, &row) == 0) {
        data = json_object_new();
        json_set(data, "repository", repository_row_json(core_tables(c), &row));
    }
    core_reply(c, w->client, w->verb, &w->request_id, e, data);
}

static void wait_repository(const struct request *r, struct waiter *w)
{
    wait_named(r, w, repository_answered);
}

/* The folder is made first, on this node: its key is known then, and nothing is recorded that cannot be used. */
static void do_repository_add(struct request *r)
{
    const char *name = want_str(r, "name", REPOSITORY_NAME_MAX);
    const char *path = r->done ? NULL : want_str(r, "path", REPOSITORY_PATH_MAX);
    struct repository_row row = {0}, other;
    struct error e = {0};
    struct pending *p;
    if (r->done)
        return;
    STR_COPY(row.name, name);
    STR_COPY(row.path, path);
    if (repository_check(&row, &e)) {
        answer(r, &e, NULL);
        return;
    }
    if (repository_get(core_tables(r->c), name, &other) == 0) {
        refuse(r, ERR_CONDITION, "clusterctl repository list", "there is a repository %s already, in %s", name,
               other.path);
        return;
    }
    if (!core_is_quorate(r->c)) {
        refuse(r, ERR_NO_QUORUM, "clusterctl status", "no quorum: no repository can be recorded");
        return;
    }
    struct core_action *a = core_act_for(r->c, ACT_BACKUP, FOR_REPOSITORY, &p);
    p->client = r->client;
    STR_COPY(p->verb, r->verb);
    p->request_id = r->id;
    STR_COPY(p->name, name);
    STR_COPY(p->path, path);
    a->backup = xcalloc(1, sizeof *a->backup);
    a->backup->verb = BACKUP_CALL_INIT;
    STR_COPY(a->backup->repository, name);
    STR_COPY(a->backup->path, path);
    r->done = true;
}

void request_repository(struct core *c, const struct pending *p, const struct backup_outcome *o)
{
    struct waiter w = {.request_id = p->request_id, .client = p->client, .done = repository_answered};
    struct repository_row row = {0};
    struct buf b = {0};
    STR_COPY(w.verb, p->verb);
    STR_COPY(w.name, p->name);
    if (o->error.code) {
        log_warn(c->log, "repository %s: %s", p->name, o->error.text);
        core_reply(c, p->client, p->verb, &p->request_id, &o->error, NULL);
        return;
    }
    STR_COPY(row.name, p->name);
    STR_COPY(row.path, p->path);
    backup_entry_repository(&row, (struct slice){o->sealed_key, o->sealed_len}, &b);
    core_propose(c, ENTRY_REPOSITORY_SET, &b, &w);
}

/* The repository that an argument names; false, and answered, when there is none. */
static bool want_repository(struct request *r, const char *key, struct repository_row *ret)
{
    const char *name = want_str(r, key, REPOSITORY_NAME_MAX);
    if (!name)
        return false;
    if (repository_get(core_tables(r->c), name, ret) == 0)
        return true;
    refuse(r, ERR_NO_OBJECT, "clusterctl repository list", "no repository %s in this cluster", name);
    return false;
}

static void do_repository_remove(struct request *r)
{
    struct repository_row row;
    struct buf b = {0};
    if (!want_repository(r, "name", &row))
        return;
    backup_entry_repository_remove(row.name, &b);
    propose(r, ENTRY_REPOSITORY_REMOVE, &b);
}

/* Where none is named, the only one there is. */
static bool choose_repository(struct request *r, char ret[REPOSITORY_NAME_MAX])
{
    struct repository_row row;
    size_t n = tables_count(core_tables(r->c), TABLE_REPOSITORY);
    if (json_get(r->args, "repository")) {
        if (!want_repository(r, "repository", &row))
            return false;
    } else if (n == 0) {
        refuse(r, ERR_CONDITION, "clusterctl repository add NAME --path PATH", "there is no repository yet");
        return false;
    } else if (n > 1) {
        refuse(r, ERR_USAGE, "clusterctl repository list", "there are %zu repositories: name one (--repository)", n);
        return false;
    } else {
        repository_next(core_tables(r->c), NULL, &row);
    }
    str_copy(ret, REPOSITORY_NAME_MAX, row.name);
    return true;
}

static bool want_backup(struct request *r, struct backup_request *q)
{
    const char *engine = may_str(r, "engine", 16), *consistency = r->done ? NULL : may_str(r, "consistency", 16);
    int64_t limit = may_int(r, "limit_bytes", 0, 1024, (int64_t)BACKUP_LIMIT_MAX_MIB << 20);
    const char *keep = r->done ? NULL : may_str(r, "keep", BACKUP_KEEP_MAX);
    struct retention_rule rule;
    struct error e = {0};
    if (r->done)
        return false;
    if (keep[0] && retention_parse(keep, &rule, &e)) {
        refuse(r, ERR_USAGE, NULL, "%s: %s", r->verb, e.text);
        return false;
    }
    STR_COPY(q->keep, keep);
    if (engine[0] && backup_engine_parse(engine, &q->engine)) {
        refuse(r, ERR_USAGE, NULL, "%s: the engine is auto, full or rescan, not '%s'", r->verb, engine);
        return false;
    }
    q->crash_consistent = str_eq(consistency, "crash");
    q->limit_bytes = limit;
    if (consistency[0] && !q->crash_consistent && !str_eq(consistency, "application")) {
        refuse(r, ERR_USAGE, NULL, "%s: the consistency is application or crash, not '%s'", r->verb, consistency);
        return false;
    }
    return choose_repository(r, q->repository);
}

static void do_backup_start(struct request *r)
{
    struct backup_start s = {0};
    struct buf b = {0};
    struct vm v;
    if (!want_vm(r, &v) || !want_backup(r, &s.q))
        return;
    STR_COPY(s.vm, v.name);
    backup_entry_start(&s, &b);
    propose(r, ENTRY_BACKUP_START, &b);
}

/* The point that two arguments name; false, and answered, when there is none. */
static bool want_point(struct request *r, struct point_row *ret)
{
    const char *vm = want_str(r, "name", BACKUP_VM_MAX);
    const char *point = r->done ? NULL : want_str(r, "point", UUID_STR_SIZE);
    struct uuid u;
    if (r->done)
        return false;
    if (uuid_parse(point, &u) == 0 && point_get(core_tables(r->c), vm, &u, ret) == 0)
        return true;
    refuse(r, ERR_NO_OBJECT, "clusterctl reference list", "VM %s has no reference point %s", vm, point);
    return false;
}

static bool choose_point(struct request *r, struct point_row *ret)
{
    if (json_get(r->args, "point"))
        return want_point(r, ret);
    const char *vm = want_str(r, "name", BACKUP_VM_MAX);
    if (!vm)
        return false;
    struct uuid newest = point_newest(core_tables(r->c), vm);
    if (point_get(core_tables(r->c), vm, &newest, ret) == 0)
        return true;
    refuse(r, ERR_NO_OBJECT, "clusterctl backup list", "there is no backup of a VM %s", vm);
    return false;
}

/* Where none is named: where the VM is, and if it is nowhere, here. */
static bool choose_node(struct request *r, const char *vm, char ret[BACKUP_NODE_MAX])
{
    const char *node = may_str(r, "node", BACKUP_NODE_MAX);
    struct vm v;
    if (!node)
        return false;
    if (!node[0])
        node = vm_get(core_tables(r->c), vm, &v) == 0 ? v.node : r->c->identity.node;
    str_copy(ret, BACKUP_NODE_MAX, node);
    return true;
}

static bool want_restore(struct request *r, struct backup_request *q)
{
    const char *folder = want_str(r, "folder", BACKUP_FOLDER_MAX), *as = r->done ? NULL : may_str(r, "as", VM_NAME_MAX);
    if (r->done)
        return false;
    if (folder[0] != '/' || !folder[1] || !text_is_plain_path(folder)) {
        refuse(r, ERR_USAGE, NULL, "%s: the folder is an absolute path in plain characters, not '%s'", r->verb, folder);
        return false;
    }
    if (as[0] && !vm_name_ok(as)) {
        refuse(r, ERR_USAGE, NULL, "%s: '%s' cannot be the name of a VM: letters, digits, '.', '_' and '-'", r->verb,
               as);
        return false;
    }
    q->work = BACKUP_WORK_RESTORE;
    STR_COPY(q->folder, folder);
    STR_COPY(q->as, as);
    return true;
}

static void do_backup_restore(struct request *r)
{
    struct backup_start s = {0};
    struct buf b = {0};
    struct point_row *p = xcalloc(1, sizeof *p);
    if (want_restore(r, &s.q) && choose_point(r, p) && choose_node(r, p->ref.vm, s.node)) {
        STR_COPY(s.vm, p->ref.vm);
        STR_COPY(s.q.repository, p->repository);
        s.q.point = p->ref.uuid;
        if (!s.q.as[0])
            STR_COPY(s.q.as, s.vm);
        backup_entry_start(&s, &b);
        propose(r, ENTRY_BACKUP_START, &b);
    }
    free(p);
}

/* Where a whole verification is: as asked for, or where damage was found, or where the newest point is. */
static bool choose_where(struct request *r, const char *vm, char ret[REPOSITORY_NAME_MAX])
{
    struct backup k;
    if (json_get(r->args, "repository"))
        return choose_repository(r, ret);
    if (backup_get(core_tables(r->c), vm, &k) == 0 && k.is_damaged) {
        str_copy(ret, REPOSITORY_NAME_MAX, k.verified_in);
        return true;
    }
    struct point_row *p = xcalloc(1, sizeof *p);
    bool found = choose_point(r, p);
    str_copy(ret, REPOSITORY_NAME_MAX, p->repository);
    free(p);
    return found;
}

static bool want_verify(struct request *r, struct backup_start *s)
{
    const char *vm = want_str(r, "name", BACKUP_VM_MAX);
    if (!vm)
        return false;
    STR_COPY(s->vm, vm);
    s->q.work = BACKUP_WORK_VERIFY;
    if (!json_get(r->args, "point"))
        return choose_where(r, vm, s->q.repository);
    struct point_row *p = xcalloc(1, sizeof *p);
    bool found = want_point(r, p);
    s->q.point = p->ref.uuid;
    STR_COPY(s->q.repository, p->repository);
    free(p);
    return found;
}

static void do_backup_verify(struct request *r)
{
    struct backup_start s = {0};
    struct buf b = {0};
    if (!want_verify(r, &s) || !choose_node(r, s.vm, s.node))
        return;
    backup_entry_start(&s, &b);
    propose(r, ENTRY_BACKUP_START, &b);
}

static void do_backup_cancel(struct request *r)
{
    struct backup_note n = {.verb = BACKUP_NOTE_CANCEL};
    struct buf b = {0};
    const char *vm = want_str(r, "name", BACKUP_VM_MAX);
    if (!vm)
        return;
    STR_COPY(n.vm, vm);
    backup_entry_note(&n, &b);
    propose(r, ENTRY_BACKUP_NOTE, &b);
}

struct shown_point {
    char vm[BACKUP_VM_MAX];
    int64_t ended_ms;
    struct json *json;
};

static int by_vm_and_time(const void *a, const void *b)
{
    const struct shown_point *x = a, *y = b;
    int vm = strcmp(x->vm, y->vm);
    return vm ? vm : x->ended_ms < y->ended_ms ? -1 : x->ended_ms > y->ended_ms;
}

/* Points of one VM, or of all (""), by VM and time. */
static struct json *points_json(const struct tables *t, const char *vm)
{
    AUTO(freep) struct shown_point *list = xcalloc(tables_count(t, TABLE_POINT) + 1, sizeof *list);
    struct json *all = json_array_new();
    char key[TABLE_KEY_MAX] = "";
    struct point_row *p = xcalloc(1, sizeof *p);
    size_t n = 0;
    while (point_next(t, vm[0] ? vm : NULL, key, p)) {
        STR_COPY(list[n].vm, p->ref.vm);
        list[n].ended_ms = p->ended_ms;
        list[n++].json = point_row_json(p);
    }
    free(p);
    qsort(list, n, sizeof *list, by_vm_and_time);
    for (size_t i = 0; i < n; i++)
        json_append(all, list[i].json);
    return all;
}

static void do_backup_list(struct request *r)
{
    const char *vm = may_str(r, "name", BACKUP_VM_MAX);
    if (!vm)
        return;
    struct json *data = json_object_new();
    json_set(data, "backups", status_backups_json(r->c, vm));
    json_set(data, "points", points_json(core_tables(r->c), vm));
    answer(r, NULL, data);
}

static void do_reference_list(struct request *r)
{
    const char *vm = may_str(r, "name", BACKUP_VM_MAX);
    if (vm)
        answer_with(r, "points", points_json(core_tables(r->c), vm));
}

static void do_reference_show(struct request *r)
{
    struct point_row *p = xcalloc(1, sizeof *p);
    if (want_point(r, p))
        answer_with(r, "point", point_row_json(p));
    free(p);
}

static void do_reference_delete(struct request *r)
{
    struct point_row *p = xcalloc(1, sizeof *p);
    struct buf b = {0};
    if (want_point(r, p)) {
        backup_entry_point_delete(p->ref.vm, &p->ref.uuid, &b);
        propose(r, ENTRY_POINT_DELETE, &b);
    }
    free(p);
}

static void backup_answered(struct core *c, struct waiter *w, const struct error *e)
{
    struct json *data = NULL;
    struct backup k = {0};
    if (!e->code) {
        if (backup_get(core_tables(c), w->name, &k))
            STR_COPY(k.vm, w->name); /* its row went with what was cancelled */
        data = json_object_new();
        json_set(data, "backup", status_backup_json(c, &k));
    }
    core_reply(c, w->client, w->verb, &w->request_id, e, data);
}

static void wait_backup(const struct request *r, struct waiter *w)
{
    wait_named(r, w, backup_answered);
}

static void do_backup_schedule_list(struct request *r)
{
    struct json *all = json_array_new();
    struct backup k;
    const struct tables *t = core_tables(r->c);
    for (bool more = backup_next(t, NULL, &k); more; more = backup_next(t, k.vm, &k))
        if (k.calendar[0])
            json_append(all, status_backup_json(r->c, &k));
    answer_with(r, "backups", all);
}

static void do_backup_schedule_add(struct request *r)
{
    struct backup_schedule s = {0};
    struct backup k = {.after_ms = r->c->wall_ms};
    struct calendar c;
    struct error e = {0};
    struct buf b = {0};
    struct vm v;
    int64_t next_ms;
    if (!want_vm(r, &v))
        return;
    const char *calendar = want_str(r, "calendar", CALENDAR_TEXT_MAX);
    if (!calendar || !want_backup(r, &s.q))
        return;
    STR_COPY(s.vm, v.name);
    STR_COPY(s.calendar, calendar);
    STR_COPY(k.calendar, calendar);
    if (calendar_parse(calendar, &c, &e)) {
        answer(r, &e, NULL);
    } else if (backup_next_ms(&k, &next_ms)) {
        refuse(r, ERR_USAGE, NULL, "calendar expression '%s': all that it names is past", calendar);
    } else {
        backup_entry_schedule(&s, &b);
        propose(r, ENTRY_BACKUP_SCHEDULE, &b);
    }
}

static void do_backup_schedule_remove(struct request *r)
{
    struct backup_schedule s = {0};
    struct buf b = {0};
    const char *vm = want_str(r, "name", BACKUP_VM_MAX);
    if (!vm)
        return;
    if (!layout_vm_ok(vm)) {
        refuse(r, ERR_NO_OBJECT, "clusterctl backup schedule list", "VM %s has no schedule", vm);
        return;
    }
    STR_COPY(s.vm, vm);
    backup_entry_schedule(&s, &b);
    propose(r, ENTRY_BACKUP_SCHEDULE, &b);
}

/* ---- Cancelling ---- */

/* The job as it is now: the wish is recorded, its end comes later. */
static void job_answered(struct core *c, struct waiter *w, const struct error *e)
{
    struct json *data = NULL;
    struct job j;
    if (!e->code && journal_job_get(core_tables(c), &w->token, &j) == 0) {
        data = json_object_new();
        json_set(data, "job", job_json(&j));
    }
    core_reply(c, w->client, w->verb, &w->request_id, e, data);
}

static void wait_cancel(const struct request *r, struct waiter *w)
{
    w->done = job_answered;
    uuid_parse(json_get_str(r->args, "id", ""), &w->token);
}

/* A node that takes virtual machines again is what a drain is undone by. */
static void cancel_drain(struct request *r, const struct job *j)
{
    struct node_request q = {.verb = NODE_RESUME};
    struct buf b = {0};
    if (step_is_on(core_tables(r->c), j->object)) {
        refuse(r, ERR_CONDITION, "clusterctl upgrade abort", "%s is drained by the upgrade that is under way",
               j->object);
        return;
    }
    STR_COPY(q.name, j->object);
    cluster_entry_admin(&q, &b);
    propose(r, ENTRY_NODE_ADMIN, &b);
}

static const char *why_no_cancel(enum job_kind k)
{
    switch (k) {
    case JOB_VM_START: return "a start cannot be taken back: when it has started, stop it";
    case JOB_VM_STOP: return "a guest that was told to shut down cannot be told otherwise: when it is off, start it";
    case JOB_RESUME: return "virtual machines that come home are moves of their own, which can be cancelled one by one";
    case JOB_EVICT: return "a node whose eviction has begun is no member any more: let it join again";
    case JOB_LEVEL_RAISE: return "a raise of the level ends by itself in a moment, and a level is never lowered";
    case JOB_VM_MIGRATE:
    case JOB_DRAIN:
    case JOB_BACKUP:
    case JOB_RESTORE:
    case JOB_VERIFY:
    case JOB_UPGRADE: break;
    }
    return "it cannot be cancelled";
}

static void do_job_cancel(struct request *r)
{
    struct job j;
    struct buf b = {0};
    if (!want_job(r, &j))
        return;
    const char *kind = job_kind_name(j.kind);
    if (j.state != JOB_RUNNING) {
        refuse(r, ERR_CONDITION, NULL, "%s of %s is over: it is %s", kind, j.object, job_state_name(j.state));
    } else if (j.kind == JOB_VM_MIGRATE) {
        vm_entry_cancel(j.object, &j.id, &b);
        propose(r, ENTRY_VM_CANCEL, &b);
    } else if (j.kind == JOB_DRAIN) {
        cancel_drain(r, &j);
    } else if (is_of_backups(j.kind)) {
        struct backup_note n = {.verb = BACKUP_NOTE_CANCEL, .run = j.id};
        STR_COPY(n.vm, j.object);
        backup_entry_note(&n, &b);
        propose(r, ENTRY_BACKUP_NOTE, &b);
    } else if (j.kind == JOB_UPGRADE) {
        upgrade_entry_control(RUN_VERB_ABORT, "admin", "", &b);
        propose(r, ENTRY_RUN_CONTROL, &b);
    } else {
        refuse(r, ERR_CONDITION, "clusterctl job show, or wait for its end", "%s of %s cannot be cancelled: %s", kind,
               j.object, why_no_cancel(j.kind));
    }
}

/* ---- The verbs ---- */

enum { FOR_ANYBODY = 0, FOR_MEMBERS = 1 };
static const struct verb {
    const char *name;
    enum core_access access;
    int where; /* FOR_MEMBERS: only on a node that is in a cluster */
    void (*run)(struct request *r);
    /* Of those that propose an entry under the request's id at once. vm.add, witness.set and cluster.join-token do it
     * when an action is done: nothing that they check before is changed by their first try. So do
     * vm.upgrade-version and repository.add, whose first try does change that. */
    void (*wait)(const struct request *r, struct waiter *w);
} verbs[] = {
    {"status", ACCESS_READ, FOR_ANYBODY, do_status, NULL},
    {"cluster.init", ACCESS_ADMIN, FOR_ANYBODY, do_cluster_init, wait_member},
    {"cluster.join-token", ACCESS_ADMIN, FOR_MEMBERS, do_join_token, NULL},
    {"cluster.config.show", ACCESS_READ, FOR_MEMBERS, do_config_show, NULL},
    {"cluster.config.set", ACCESS_ADMIN, FOR_MEMBERS, do_config_set, wait_plain},
    {"cluster.config.apply", ACCESS_ADMIN, FOR_MEMBERS, do_config_apply, wait_plain},
    {"node.list", ACCESS_READ, FOR_MEMBERS, do_node_list, NULL},
    {"node.show", ACCESS_READ, FOR_MEMBERS, do_node_show, NULL},
    {"node.drain", ACCESS_ADMIN, FOR_MEMBERS, do_node_drain, wait_node},
    {"node.resume", ACCESS_ADMIN, FOR_MEMBERS, do_node_resume, wait_node},
    {"node.evict", ACCESS_ADMIN, FOR_MEMBERS, do_node_evict, wait_node},
    {"node.set", ACCESS_ADMIN, FOR_MEMBERS, do_node_set, wait_node_set},
    {"node.join", ACCESS_ADMIN, FOR_ANYBODY, do_node_join, NULL},
    {"vm.list", ACCESS_READ, FOR_MEMBERS, do_vm_list, NULL},
    {"vm.show", ACCESS_READ, FOR_MEMBERS, do_vm_show, NULL},
    {"vm.add", ACCESS_ADMIN, FOR_MEMBERS, do_vm_add, NULL},
    {"vm.remove", ACCESS_ADMIN, FOR_MEMBERS, do_vm_remove, wait_plain},
    {"vm.start", ACCESS_ADMIN, FOR_MEMBERS, do_vm_start, wait_job},
    {"vm.stop", ACCESS_ADMIN, FOR_MEMBERS, do_vm_stop, wait_job},
    {"vm.migrate", ACCESS_ADMIN, FOR_MEMBERS, do_vm_migrate, wait_migrate},
    {"vm.set", ACCESS_ADMIN, FOR_MEMBERS, do_vm_set, wait_vm},
    {"vm.upgrade-version", ACCESS_ADMIN, FOR_MEMBERS, do_vm_upgrade_version, wait_vm},
    {"vm.rollback-version", ACCESS_ADMIN, FOR_MEMBERS, do_vm_rollback_version, wait_vm},
    {"task.list", ACCESS_READ, FOR_MEMBERS, do_task_list, NULL},
    {"task.show", ACCESS_READ, FOR_MEMBERS, do_task_show, NULL},
    {"task.add", ACCESS_ADMIN, FOR_MEMBERS, do_task_add, wait_task},
    {"task.run", ACCESS_ADMIN, FOR_MEMBERS, do_task_run, wait_task},
    {"task.remove", ACCESS_ADMIN, FOR_MEMBERS, do_task_remove, wait_plain},
    {"repository.list", ACCESS_READ, FOR_MEMBERS, do_repository_list, NULL},
    {"repository.add", ACCESS_ADMIN, FOR_MEMBERS, do_repository_add, wait_repository},
    {"repository.remove", ACCESS_ADMIN, FOR_MEMBERS, do_repository_remove, wait_plain},
    {"backup.list", ACCESS_READ, FOR_MEMBERS, do_backup_list, NULL},
    {"backup.start", ACCESS_ADMIN, FOR_MEMBERS, do_backup_start, wait_job},
    {"backup.restore", ACCESS_ADMIN, FOR_MEMBERS, do_backup_restore, wait_job},
    {"backup.verify", ACCESS_ADMIN, FOR_MEMBERS, do_backup_verify, wait_job},
    {"backup.cancel", ACCESS_ADMIN, FOR_MEMBERS, do_backup_cancel, wait_backup},
    {"backup.schedule.list", ACCESS_READ, FOR_MEMBERS, do_backup_schedule_list, NULL},
    {"backup.schedule.add", ACCESS_ADMIN, FOR_MEMBERS, do_backup_schedule_add, wait_backup},
    {"backup.schedule.remove", ACCESS_ADMIN, FOR_MEMBERS, do_backup_schedule_remove, wait_plain},
    {"reference.list", ACCESS_READ, FOR_MEMBERS, do_reference_list, NULL},
    {"reference.show", ACCESS_READ, FOR_MEMBERS, do_reference_show, NULL},
    {"reference.delete", ACCESS_ADMIN, FOR_MEMBERS, do_reference_delete, wait_plain},
    {"quorum.show", ACCESS_READ, FOR_MEMBERS, do_quorum_show, NULL},
    {"witness.show", ACCESS_READ, FOR_MEMBERS, do_witness_show, NULL},
    {"witness.set", ACCESS_ADMIN, FOR_MEMBERS, do_witness_set, NULL},
    {"witness.test", ACCESS_READ, FOR_MEMBERS, do_witness_test, NULL},
    {"witness.remove", ACCESS_ADMIN, FOR_MEMBERS, do_witness_remove, wait_plain},
    {"quorum.force", ACCESS_ADMIN, FOR_MEMBERS, do_quorum_force, wait_forced},
    {"quorum.prevent", ACCESS_ADMIN, FOR_MEMBERS, do_quorum_prevent, NULL},
    {"level.show", ACCESS_READ, FOR_MEMBERS, do_level_show, NULL},
    {"level.raise", ACCESS_ADMIN, FOR_MEMBERS, do_level_raise, wait_job},
    {"upgrade.check", ACCESS_READ, FOR_MEMBERS, do_upgrade_check, NULL},
    {"upgrade.plan", ACCESS_READ, FOR_MEMBERS, do_upgrade_check, NULL},
    {"upgrade.start", ACCESS_ADMIN, FOR_MEMBERS, do_upgrade_start, wait_run},
    {"upgrade.status", ACCESS_READ, FOR_MEMBERS, do_upgrade_status, NULL},
    {"upgrade.report", ACCESS_READ, FOR_MEMBERS, do_upgrade_report, NULL},
    {"upgrade.pause", ACCESS_ADMIN, FOR_MEMBERS, do_upgrade_pause, wait_run},
    {"upgrade.resume", ACCESS_ADMIN, FOR_MEMBERS, do_upgrade_resume, wait_run},
    {"upgrade.retry", ACCESS_ADMIN, FOR_MEMBERS, do_upgrade_retry, wait_run},
    {"upgrade.abort", ACCESS_ADMIN, FOR_MEMBERS, do_upgrade_abort, wait_run},
    {"upgrade.rollback", ACCESS_ADMIN, FOR_MEMBERS, do_upgrade_rollback, wait_run},
    {"upgrade.approve", ACCESS_ADMIN, FOR_MEMBERS, do_upgrade_approve, wait_run},
    {"job.list", ACCESS_READ, FOR_MEMBERS, do_job_list, NULL},
    {"job.show", ACCESS_READ, FOR_MEMBERS, do_job_show, NULL},
    {"job.cancel", ACCESS_ADMIN, FOR_MEMBERS, do_job_cancel, wait_cancel},
    {"events", ACCESS_READ, FOR_MEMBERS, do_events, NULL},
};

const char *request_verb(size_t i, enum core_access *ret_access)
{
    if (i >= sizeof verbs / sizeof verbs[0])
        return NULL;
    *ret_access = verbs[i].access;
    return verbs[i].name;
}

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (str_eq(verbs[i].name, name))
            return &verbs[i];
    return NULL;
}

static void run_verb(struct request *r, const struct verb *v)
{
    r->wait = v->wait;
    if (!answer_kept(r))
        v->run(r);
}

void request_take(struct core *c, const struct core_event *ev)
{
    const char *id = NULL;
    struct request r = {.c = c, .client = ev->client, .uid = ev->uid, .verb = ""};
    struct error e = {0};
    if (proto_parse_request(ev->request, &r.verb, &id, &r.args, &e)) {
        answer(&r, &e, NULL);
        return;
    }
    uuid_parse(id, &r.id); /* it is one: the shape was checked */
    const struct verb *v = find_verb(r.verb);
    if (ev->access < (v ? v->access : ACCESS_READ))
        refuse(&r, ERR_PERMISSION, "be root, or in group ringmaster-admin (ringmaster-read for verbs that only read)",
               "%s: not permitted", r.verb);
    else if (!v)
        refuse(&r, ERR_USAGE, "clusterctl --help", "this agent (%s) does not know the request %s", c->version, r.verb);
    else if (v->where == FOR_MEMBERS && c->phase == PHASE_EVICTED)
        refuse(&r, ERR_CONDITION, "rebuild this node, or ask a member", "this node was evicted from its cluster");
    else if (v->where == FOR_MEMBERS && !c->db)
        refuse(&r, ERR_CONDITION, "clusterctl cluster init, or clusterctl node join --token-file FILE",
               "this node is not a member of a cluster");
    else
        run_verb(&r, v);
    assert(r.done);
}
