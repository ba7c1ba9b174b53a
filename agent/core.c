/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The core's routing: events in, actions out. The one place that sees all rooms and passes values between them, and the
 * one place where an outcome that nobody wants any more is dropped (take_pending). */
#include "agent/core-internal.h"

#include <stdio.h>

#include "agent/request.h"

/* CPG messages: one byte says which room they are for. */
enum { MESSAGE_DB = 1, MESSAGE_ANNOUNCE = 2, MESSAGE_PROGRESS = 3, MESSAGE_LEASE = 4, MESSAGE_VITALS = 5 };

void core_wipe(char *secret)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

void core_action_done(struct core_action *a)
{
    buf_done(&a->bytes);
    db_batch_free(a->batch);
    json_free(a->json);
    vm_call_done(&a->vm);
    hook_call_done(&a->hook);
    join_request_done(&a->join);
    buf_done(&a->sealed_ca_key);
    core_wipe(a->text); /* of a join: a token */
    free(a->text2);
    free(a->peers);
    free(a->witness);
    free(a->ask);
    free(a->site);
    buf_done(&a->sealed);
    free(a->task);
    if (a->backup)
        backup_call_done(a->backup);
    free(a->backup);
    *a = (struct core_action){0};
}

void vm_call_done(struct vm_call *v)
{
    free(v->xml);
    v->xml = NULL;
}

void hook_call_done(struct hook_call *h)
{
    buf_done(&h->sealed_token);
}

void vm_outcome_done(struct vm_outcome *o)
{
    free(o->domains);
    free(o->facts.xml);
    o->domains = NULL;
    o->facts.xml = NULL;
}

struct core_action *core_act(struct core *c, enum core_action_type type)
{
    if (c->n_actions == c->actions_cap) {
        c->actions_cap = c->actions_cap ? 2 * c->actions_cap : 16;
        c->actions = xrealloc(c->actions, c->actions_cap, sizeof *c->actions);
    }
    struct core_action *a = &c->actions[c->n_actions++];
    *a = (struct core_action){.type = type};
    return a;
}

struct core_action *core_act_for(struct core *c, enum core_action_type type, enum purpose p, struct pending **ret)
{
    struct core_action *a = core_act(c, type);
    c->pending = xrealloc(c->pending, c->n_pending + 1, sizeof *c->pending);
    struct pending *w = &c->pending[c->n_pending++];
    *w = (struct pending){.id = ++c->next_id, .purpose = p};
    a->id = w->id;
    if (ret)
        *ret = w;
    return a;
}

bool core_take_action(struct core *c, struct core_action *ret)
{
    if (c->actions_head == c->n_actions) {
        c->actions_head = c->n_actions = 0;
        return false;
    }
    *ret = c->actions[c->actions_head++];
    return true;
}

/* An outcome that nobody wants any more is dropped here. */
static bool take_pending(struct core *c, uint64_t id, struct pending *ret)
{
    for (size_t i = 0; i < c->n_pending; i++)
        if (c->pending[i].id == id) {
            *ret = c->pending[i];
            c->pending[i] = c->pending[--c->n_pending];
            return true;
        }
    log_debug(c->log, "outcome %llu is no longer wanted -> dropped", (unsigned long long)id);
    return false;
}

const struct tables *core_tables(const struct core *c)
{
    return c->db ? db_tables(c->db) : NULL;
}

const struct db *core_db(const struct core *c)
{
    return c->db;
}

const struct identity *core_identity(const struct core *c)
{
    return c->phase == PHASE_UNCONFIGURED || c->phase == PHASE_JOINING ? NULL : &c->identity;
}

bool core_is_quorate(const struct core *c)
{
    return c->db && c->phase == PHASE_MEMBER && db_is_quorate(c->db, c->now_ms);
}

uint8_t core_level(const struct core *c)
{
    struct level_state l;
    return c->db && level_get(db_tables(c->db), &l) == 0 ? l.fl : 1;
}

void core_reply(struct core *c, uint64_t client, const char *verb, const struct uuid *id, const struct error *e,
                struct json *data)
{
    if (!client) {
        json_free(data);
        return;
    }
    struct core_action *a = core_act(c, ACT_REPLY);
    a->client = client;
    a->json = proto_answer(verb, id ? uuid_str(id).s : NULL, e, data);
}

static void waiter_done(struct waiter *w)
{
    core_wipe(w->text);
    join_request_done(&w->join);
}

/* What was so already began no job. */
static struct json *job_data(const struct core *c, const struct waiter *w)
{
    struct json *data = json_object_new();
    struct job j;
    if (w->is_job && journal_job_get(core_tables(c), &w->request_id, &j) == 0)
        json_set_str(data, "job", uuid_str(&w->request_id).s);
    return data;
}

void core_finish(struct core *c, struct waiter *w, const struct error *e)
{
    if (w->done)
        w->done(c, w, e);
    else if (w->client)
        core_reply(c, w->client, w->verb, &w->request_id, e, e->code ? NULL : job_data(c, w));
    else if (e->code && e->code != ERR_AGAIN)
        log_info(c->log, "proposal %s: %s", w->key, e->text);
    waiter_done(w);
}

/* What was refused is proposed again by whoever still sees a need for it: not at once, or the log would be filled with
 * it as fast as the disk writes. */
static void rest_key(struct core *c, const char *key)
{
    struct resting *r = &c->resting[c->next_resting++ % CORE_RESTING];
    STR_COPY(r->key, key);
    r->until_ms = c->now_ms + CORE_REST_MS;
}

static bool is_key_resting(const struct core *c, const char *key)
{
    for (size_t i = 0; i < CORE_RESTING; i++)
        if (key[0] && c->resting[i].until_ms > c->now_ms && str_eq(c->resting[i].key, key))
            return true;
    return false;
}

static bool is_key_busy(const struct core *c, const char *key)
{
    for (size_t i = 0; i < c->n_waiters; i++)
        if (key[0] && str_eq(c->waiters[i].key, key))
            return true;
    return false;
}

void core_propose(struct core *c, enum entry_kind kind, struct buf *payload, struct waiter *w)
{
    struct waiter own = w ? *w : (struct waiter){0};
    struct error e = {0};
    if (c->phase != PHASE_MEMBER || is_key_busy(c, own.key) || is_key_resting(c, own.key)) {
        if (c->phase != PHASE_MEMBER)
            error_set(&e, ERR_CONDITION, "this node is not a member of a cluster");
        else
            error_set(&e, ERR_AGAIN, "the same request is under way");
        buf_done(payload);
        core_finish(c, &own, &e);
        return;
    }
    if (uuid_is_nil(&own.request_id))
        own.request_id = uuid_at(c->wall_ms, prng_uuid(&c->prng));
    struct entry entry = {.request_id = own.request_id, .kind = (uint16_t)kind, .level = core_level(c),
                          .time_ms = c->wall_ms, .payload = buf_slice(payload)};
    int64_t deadline = c->now_ms + (own.client ? CORE_CLIENT_DEADLINE_MS : CORE_OWN_DEADLINE_MS);
    c->waiters = xrealloc(c->waiters, c->n_waiters + 1, sizeof *c->waiters);
    c->waiters[c->n_waiters++] = own;
    int err = db_propose(c->db, c->now_ms, &entry, deadline);
    buf_done(payload);
    if (err) {
        c->n_waiters--;
        error_set(&e, err, err == ERR_TOO_BIG ? "the request is larger than a log entry may be (%d KiB)"
                                              : "the request cannot be proposed (%d)",
                  err == ERR_TOO_BIG ? ENTRY_SIZE_MAX / 1024 : err);
        core_finish(c, &own, &e);
    }
}

int core_force(struct core *c, const struct buf *payload, struct waiter *w)
{
    struct entry entry = {.request_id = w->request_id, .kind = ENTRY_FORCE, .level = core_level(c),
                          .time_ms = c->wall_ms, .payload = buf_slice(payload)};
    int err = db_force(c->db, c->now_ms, &entry, c->now_ms + CORE_CLIENT_DEADLINE_MS);
    if (err)
        return err;
    c->waiters = xrealloc(c->waiters, c->n_waiters + 1, sizeof *c->waiters);
    c->waiters[c->n_waiters++] = *w;
    return 0;
}

void core_propose_keyed(void *ctx, enum entry_kind kind, struct buf *payload, const char *key)
{
    struct waiter w = {0};
    STR_COPY(w.key, key);
    core_propose(ctx, kind, payload, &w);
}

/* All who wait for it: a client that asks again with the same request id waits beside its first request. */
static void applied(struct core *c, const struct db_out *o)
{
    for (size_t i = 0; i < c->n_waiters;) {
        if (!uuid_eq(&c->waiters[i].request_id, &o->request_id)) {
            i++;
            continue;
        }
        struct waiter w = c->waiters[i];
        c->waiters[i] = c->waiters[--c->n_waiters];
        if (w.key[0] && o->result.error.code)
            rest_key(c, w.key);
        core_finish(c, &w, &o->result.error);
        c->look = true;
    }
}

void core_end_waiters(struct core *c, const struct error *e)
{
    while (c->n_waiters) {
        struct waiter w = c->waiters[--c->n_waiters];
        core_finish(c, &w, e);
    }
}

static const struct peer *find_peer(const struct core *c, uint32_t nodeid)
{
    for (size_t i = 0; i < c->n_peers; i++)
        if (c->peers[i].nodeid == nodeid)
            return &c->peers[i];
    return NULL;
}

static void fetch(struct core *c, uint32_t nodeid)
{
    const struct peer *p = find_peer(c, nodeid);
    if (!p) {
        log_info(c->log, "snapshot wanted from node %u, its address is not known yet -> later", nodeid);
        db_fetch_failed(c->db, c->now_ms);
        return;
    }
    struct core_action *a = core_act_for(c, ACT_FETCH, FOR_FETCH, NULL);
    STR_COPY(a->node, p->name);
    STR_COPY(a->address, p->address);
    a->port = p->port;
    if (!c->fetch_retry.failures)
        log_info(c->log, "far behind the leader -> fetching a snapshot from %s", p->name);
}

static void send_message(struct core *c, uint8_t kind, struct slice body)
{
    struct core_action *a = core_act(c, ACT_SEND);
    wire_put_u8(&a->bytes, kind);
    buf_add(&a->bytes, body.p, body.len);
}

void core_send_lease(struct core *c, struct slice body)
{
    send_message(c, MESSAGE_LEASE, body);
}

void core_send_vitals(struct core *c, struct slice body)
{
    send_message(c, MESSAGE_VITALS, body);
}

static void stop(struct core *c, const struct error *e, bool permanent)
{
    struct core_action *a = core_act(c, ACT_STOP);
    a->error = *e;
    a->permanent = permanent;
}

static void call_witness(struct core *c, struct db_out *o)
{
    struct pending *p;
    struct core_action *a = core_act_for(c, ACT_WITNESS, FOR_WITNESS, &p);
    p->db_call = o->call->id;
    core_witness_place(c, &o->call->witness, a);
    a->witness = o->call;
    o->call = NULL;
}

static void take_witness(struct core *c, const struct pending *p, const struct db_witness_outcome *outcome)
{
    struct db_witness_outcome o = *outcome;
    o.id = p->db_call;
    if (c->db && c->phase == PHASE_MEMBER)
        db_witness_done(c->db, c->now_ms, &o);
    c->look = true;
}

static void take_db_outputs(struct core *c)
{
    struct db_out o;
    while (c->db && db_take_out(c->db, &o)) {
        switch (o.type) {
        case DB_SEND: send_message(c, MESSAGE_DB, buf_slice(&o.bytes)); break;
        case DB_PERSIST:
            core_act(c, ACT_PERSIST)->batch = o.batch;
            o.batch = NULL;
            break;
        case DB_FETCH: fetch(c, o.from_nodeid); break;
        case DB_APPLIED: applied(c, &o); break;
        case DB_FATAL: stop(c, &o.result.error, true); break;
        case DB_WITNESS: call_witness(c, &o); break;
        }
        db_out_done(&o);
    }
}

static void announce(struct core *c)
{
    AUTO(buf_done) struct buf b = {0};
    wire_put_str(&b, c->identity.node);
    wire_put_str(&b, c->identity.address);
    wire_put_u16(&b, c->identity.port);
    send_message(c, MESSAGE_ANNOUNCE, buf_slice(&b));
}

static void take_announcement(struct core *c, uint32_t nodeid, struct slice body)
{
    struct wire_reader r = wire_reader(body);
    struct peer p = {.nodeid = nodeid};
    WIRE_GET_STR(&r, p.name);
    WIRE_GET_STR(&r, p.address);
    p.port = wire_get_u16(&r);
    if (wire_err(&r)) {
        log_warn(c->log, "announcement of node %u does not decode -> ignored", nodeid);
        return;
    }
    struct peer *old = (struct peer *)find_peer(c, nodeid);
    if (old)
        *old = p;
    else if (c->n_peers < DB_REPLICAS_MAX)
        c->peers[c->n_peers++] = p;
}

int core_percent(const struct core *c, const char *vm, const struct uuid *op_id)
{
    int own = vm_local_percent(c->vm_local, vm);
    return own >= 0 ? own : progress_get(&c->progress, op_id, c->now_ms);
}

static void tell_progress(struct core *c)
{
    struct progress own = {0};
    struct vm v;
    const struct tables *t = core_tables(c);
    if (c->n_group < 2 || c->now_ms < c->progress_at_ms)
        return;
    c->progress_at_ms = c->now_ms + PROGRESS_EVERY_MS;
    for (bool more = vm_next(t, NULL, &v); more; more = vm_next(t, v.name, &v)) {
        int percent = vm_local_percent(c->vm_local, v.name);
        if (percent >= 0 && percent <= 100 && v.op == VM_OP_MIGRATE && str_eq(v.node, c->identity.node))
            progress_add(&own, &(struct progress_item){.op = v.op_id, .percent = (uint8_t)percent});
    }
    AUTO(buf_done) struct buf b = {0};
    progress_encode(&own, &b);
    if (own.n)
        send_message(c, MESSAGE_PROGRESS, buf_slice(&b));
}

static void take_progress(struct core *c, uint32_t nodeid, struct slice body)
{
    if (progress_take(&c->progress, c->now_ms, body) == ERR_MALFORMED)
        log_debug(c->log, "progress of node %u does not decode -> ignored", nodeid);
}

static void note_heard(struct core *c, uint32_t nodeid)
{
    for (size_t i = 0; i < c->n_heard; i++)
        if (c->heard[i] == nodeid)
            return;
    if (c->n_heard < DB_REPLICAS_MAX)
        c->heard[c->n_heard++] = nodeid;
}

static void take_message(struct core *c, const struct core_event *ev)
{
    note_heard(c, ev->from_nodeid);
    if (!c->db || c->phase == PHASE_EVICTED || ev->bytes.len < 1)
        return;
    struct slice body = {ev->bytes.p + 1, ev->bytes.len - 1};
    if (ev->bytes.p[0] == MESSAGE_DB)
        db_message(c->db, c->now_ms, ev->from_nodeid, body);
    else if (ev->bytes.p[0] == MESSAGE_ANNOUNCE)
        take_announcement(c, ev->from_nodeid, body);
    else if (ev->bytes.p[0] == MESSAGE_PROGRESS)
        take_progress(c, ev->from_nodeid, body);
    else if (ev->bytes.p[0] == MESSAGE_LEASE)
        core_fence_heard(c, ev->from_nodeid, body);
    else if (ev->bytes.p[0] == MESSAGE_VITALS)
        core_vitals_heard(c, ev->from_nodeid, body);
}

static void take_group(struct core *c, const struct core_event *ev)
{
    c->n_group = ev->n_group < DB_REPLICAS_MAX ? ev->n_group : DB_REPLICAS_MAX;
    for (size_t i = 0; i < c->n_group; i++)
        c->group[i] = ev->group[i];
    c->look = true;
    if (!c->db || c->phase == PHASE_EVICTED)
        return;
    if (c->n_group)
        announce(c);
    lease_group(&c->lease, c->group, c->n_group);
    db_group(c->db, c->now_ms, c->group, c->n_group);
    core_vitals_group(c);
}

static void take_ring(struct core *c, const struct core_event *ev)
{
    c->ring = ev->ring;
    c->n_heard = 0;
    c->ring_ms = c->now_ms;
    if (c->ring.seq && !c->met_ms)
        c->met_ms = c->now_ms;
    if (c->db && c->phase != PHASE_EVICTED)
        db_ring(c->db, c->now_ms, c->ring);
}

static void take_quorum(struct core *c, const struct core_event *ev)
{
    c->corosync_quorate = ev->quorate;
    c->ring_nodes = ev->n_votes;
    c->device = ev->error;
    if (!ev->wants_reload)
        return;
    log_notice(c->log, "corosync runs with an older configuration, and all nodes cast -> it is written and reloaded");
    free(c->corosync_conf);
    c->corosync_conf = NULL;
    c->look = true;
}

/* What corosync is told is the database's verdict and nothing else: once corosync.conf was written, as what all nodes
 * cast makes one of them have it read by all. */
static void tell_verdict(struct core *c)
{
    struct db_ring ring;
    if (!c->db || c->phase != PHASE_MEMBER || !c->had_corosync)
        return;
    enum db_verdict_state verdict = db_verdict(c->db, &ring);
    bool cast = verdict == DB_VERDICT_YES;
    bool is_told = db_ring_eq(ring, c->told_ring) && cast == c->told_cast;
    if (verdict == DB_VERDICT_OPEN || is_told)
        return;
    c->told_ring = ring;
    c->told_cast = cast;
    struct core_action *a = core_act(c, ACT_CAST);
    a->ring = ring;
    a->cast = cast;
}

static void take_facts(struct core *c, const struct core_event *ev)
{
    if (ev->error.code) {
        if (retry_failed(&c->facts_retry, c->now_ms, ev->error.text))
            log_info(c->log, "host facts: %s -> again every %d s", ev->error.text, CORE_FACTS_RETRY_MS / 1000);
        c->facts_at_ms = c->now_ms + CORE_FACTS_RETRY_MS;
        return;
    }
    retry_done(&c->facts_retry);
    host_facts_done(&c->facts);
    c->facts = *ev->facts;
    c->facts.machines = xstrdup(ev->facts->machines);
    STR_COPY(c->facts.agent_version, c->version);
    c->has_facts = true;
    c->facts_at_ms = c->now_ms + CORE_FACTS_AGAIN_MS;
    c->look = true;
}

static void want_facts(struct core *c)
{
    for (size_t i = 0; i < c->n_pending; i++)
        if (c->pending[i].purpose == FOR_FACTS)
            return;
    core_act_for(c, ACT_FACTS, FOR_FACTS, NULL);
}

static void take_fetched(struct core *c, const struct core_event *ev)
{
    int err = ev->error.code ? ev->error.code : db_snapshot_install(c->db, c->now_ms, ev->bytes);
    c->look = true;
    if (!err) {
        retry_done(&c->fetch_retry);
        log_notice(c->log, "snapshot installed -> at index %llu", (unsigned long long)db_applied_index(c->db));
        return;
    }
    const char *why = ev->error.code ? ev->error.text : err_name(err);
    if (retry_failed(&c->fetch_retry, c->now_ms, why))
        log_warn(c->log, "snapshot: %s -> later", why);
    db_fetch_failed(c->db, c->now_ms);
}

static void take_corosync(struct core *c, const struct error *e)
{
    c->had_corosync = true;
    if (!e->code) {
        if (retry_done(&c->corosync_retry))
            log_notice(c->log, "corosync: has its configuration, and goes on");
        return;
    }
    if (retry_failed(&c->corosync_retry, c->now_ms, e->text))
        log_warn(c->log, "corosync: %s -> again later, at least every %d s", e->text, RETRY_MAX_MS / 1000);
    free(c->corosync_conf); /* again with a later look at the slots */
    c->corosync_conf = NULL;
}

static void take_outcome(struct core *c, const struct core_event *ev)
{
    struct pending p;
    if (!take_pending(c, ev->id, &p))
        return;
    switch (p.purpose) {
    case FOR_FACTS: take_facts(c, ev); break;
    case FOR_VITALS: core_vitals_take(c, ev->vitals); break;
    case FOR_MEMBERSHIP: request_membership(c, &p, ev->membership); break;
    case FOR_TOKEN:
    case FOR_OP_TOKEN: request_token(c, &p, ev->token); break;
    case FOR_PARSE: request_parsed(c, &p, ev->vm); break;
    case FOR_VERSION: request_versioned(c, &p, ev->vm); break;
    case FOR_VM: core_step_vm_outcome(c, ev->id, ev->vm); break;
    case FOR_HOOK: core_step_hook_outcome(c, ev->id, ev->hook); break;
    case FOR_LOCAL_HOOK: core_step_local_hook_outcome(c, ev->id, ev->hook); break;
    case FOR_FETCH: take_fetched(c, ev); break;
    case FOR_WITNESS: take_witness(c, &p, ev->witness); break;
    case FOR_WITNESS_PROBE:
    case FOR_WITNESS_TEST:
    case FOR_WITNESS_SET: core_witness_asked(c, &p, ev->asked); break;
    case FOR_ISSUE:
        if (ev->error.code)
            log_warn(c->log, "join: %s", ev->error.text);
        break;
    case FOR_COROSYNC: take_corosync(c, &ev->error); break;
    case FOR_WATCHDOG: core_fence_take_watchdog(c, &p, &ev->error); break;
    case FOR_FENCE: core_fence_take_command(c, ev->id, ev->hook); break;
    case FOR_COPY: core_copy_ended(c, &p, &ev->error); break;
    case FOR_TASK: core_task_outcome(c, ev->id, ev->task); break;
    case FOR_BACKUP: core_backup_outcome(c, ev->id, ev->backup); break;
    case FOR_REPOSITORY: request_repository(c, &p, ev->backup); break;
    }
}

static void refuse_tls(struct core *c, uint64_t client, const struct error *e)
{
    struct core_action *a = core_act(c, ACT_TLS_REPLY);
    a->client = client;
    a->error = *e;
}

static void join_applied(struct core *c, struct waiter *w, const struct error *e)
{
    struct node n = {0};
    struct slice sealed;
    const struct tables *t = core_tables(c);
    if (e->code || node_get(t, w->join.node, &n) || tables_get(t, TABLE_SECRET, "ca.key", &sealed)) {
        struct error failed = *e;
        if (!failed.code)
            error_set(&failed, ERR_FAILED, "join of %s: the cluster's CA key is missing", w->join.node);
        log_warn(c->log, "join of %s refused: %s", w->join.node, failed.text);
        refuse_tls(c, w->client, &failed);
        node_done(&n);
        return;
    }
    struct core_action *a = core_act_for(c, ACT_ISSUE, FOR_ISSUE, NULL);
    a->client = w->client;
    a->join = w->join;
    w->join = (struct join_request){0};
    buf_add(&a->sealed_ca_key, sealed.p, sealed.len);
    a->nodeid = n.nodeid;
    a->text = corosync_conf_of_tables(t);
    log_notice(c->log, "join of %s admitted -> certificate and keys handed over", n.name);
    node_done(&n);
}

static struct join_request join_copy(const struct join_request *j)
{
    struct join_request r = *j;
    r.csr = xstrdup(j->csr);
    r.facts.machines = xstrdup(j->facts.machines);
    return r;
}

static void take_tls_join(struct core *c, const struct core_event *ev)
{
    if (c->phase != PHASE_MEMBER) {
        struct error e = {0};
        error_set(&e, ERR_CONDITION, "node %s is no member of a cluster itself", c->identity.node);
        refuse_tls(c, ev->client, &e);
        return;
    }
    struct waiter w = {.client = ev->client, .done = join_applied, .join = join_copy(ev->join)};
    struct buf b = {0};
    cluster_entry_join(ev->join, &b);
    core_propose(c, ENTRY_NODE_JOIN, &b, &w);
}

/* Whoever is elected serves its state, though it has committed nothing of its own term yet: that may need the very node
 * that asks. What is applied is committed in any case. */
static bool may_serve_state(const struct core *c)
{
    return c->db && c->phase == PHASE_MEMBER && db_can_serve(c->db);
}

static void take_tls_fetch(struct core *c, const struct core_event *ev)
{
    struct core_action *a = core_act(c, ACT_TLS_REPLY);
    a->client = ev->client;
    if (may_serve_state(c))
        db_snapshot_encode(c->db, &a->bytes);
    else
        error_set(&a->error, ERR_AGAIN, "node %s does not lead now", c->identity.node);
}

static void forget_client(struct core *c, uint64_t client)
{
    for (size_t i = 0; i < c->n_waiters; i++)
        if (c->waiters[i].client == client && c->waiters[i].done != join_applied)
            c->waiters[i].client = 0;
    for (size_t i = 0; i < c->n_pending; i++)
        if (c->pending[i].client == client)
            c->pending[i].client = 0;
    if (c->deferred.client == client)
        c->deferred.client = 0;
    if (c->witness.set.client == client)
        c->witness.set.client = 0;
    if (c->prevent.client == client)
        c->prevent.client = 0;
}

void core_become_member(struct core *c, const struct identity *id, struct db_image *image, bool found)
{
    c->identity = *id;
    c->phase = PHASE_MEMBER;
    struct db_params p = {.cluster = id->cluster,
                          .self = id->replica,
                          .nodeid = id->nodeid,
                          .seed = prng_next(&c->prng),
                          .message_max = c->message_max - 1,
                          .machine = {core_apply_entry, c, core_check_tables},
                          .log = c->log,
                          .log_kept = c->log_kept,
                          .lag_snapshot = c->lag_snapshot};
    c->db = db_new(&p, image, c->now_ms);
    if (found)
        db_bootstrap(c->db, c->now_ms);
    db_ring(c->db, c->now_ms, c->ring);
    core_fence_member(c);
    db_group(c->db, c->now_ms, c->group, c->n_group);
}

struct core *core_new(const struct core_params *p)
{
    struct core *c = xcalloc(1, sizeof *c);
    c->log = p->log;
    STR_COPY(c->version, p->version);
    c->message_max = p->message_max;
    c->log_kept = p->log_kept;
    c->lag_snapshot = p->lag_snapshot;
    c->prng = prng_new(p->seed);
    c->now_ms = p->now_ms;
    c->wall_ms = p->wall_ms;
    c->phase = PHASE_UNCONFIGURED;
    c->vm_local = vm_local_new();
    c->vm_leader = vm_leader_new();
    c->upgrade_leader = upgrade_leader_new();
    c->upgrade_local = upgrade_local_new();
    c->vm_failover = vm_failover_new();
    c->guard_leader = guard_leader_new();
    c->task_leader = task_leader_new();
    c->task_local = task_local_new();
    c->backup_leader = backup_leader_new();
    c->backup_local = backup_local_new();
    c->guard.has_watchdog = p->has_watchdog;
    c->guard.note = p->note;
    if (p->identity) {
        core_become_member(c, p->identity, p->image, false);
        struct core_action *a = core_act_for(c, ACT_COROSYNC, FOR_COROSYNC, NULL);
        a->corosync = COROSYNC_START;
        a->text = corosync_conf_of_tables(db_tables(c->db));
        c->corosync_conf = xstrdup(a->text);
    }
    want_facts(c);
    return c;
}

void core_free(struct core *c)
{
    struct core_action a;
    if (!c)
        return;
    while (core_take_action(c, &a))
        core_action_done(&a);
    for (size_t i = 0; i < c->n_waiters; i++)
        waiter_done(&c->waiters[i]);
    db_free(c->db);
    vm_local_free(c->vm_local);
    vm_leader_free(c->vm_leader);
    upgrade_leader_free(c->upgrade_leader);
    upgrade_local_free(c->upgrade_local);
    vm_failover_free(c->vm_failover);
    guard_leader_free(c->guard_leader);
    task_leader_free(c->task_leader);
    task_local_free(c->task_local);
    backup_leader_free(c->backup_leader);
    backup_local_free(c->backup_local);
    host_facts_done(&c->facts);
    core_wipe(c->deferred.text);
    core_witness_done(&c->witness);
    free(c->corosync_conf);
    free(c->actions);
    free(c->pending);
    free(c->waiters);
    buf_done(&c->copy_bytes);
    free(c->views);
    free(c->tally);
    free(c);
}

static void route(struct core *c, const struct core_event *ev)
{
    switch (ev->type) {
    case EV_TICK:
        if (c->db && c->phase == PHASE_MEMBER) {
            db_tick(c->db, c->now_ms);
            tell_progress(c);
        }
        if (c->facts_at_ms && c->now_ms >= c->facts_at_ms) {
            c->facts_at_ms = 0;
            want_facts(c);
        }
        break;
    case EV_GROUP: take_group(c, ev); break;
    case EV_RING: take_ring(c, ev); break;
    case EV_QUORUM: take_quorum(c, ev); break;
    case EV_MESSAGE: take_message(c, ev); break;
    case EV_PERSISTED: db_persisted(c->db, c->now_ms, ev->seq); break;
    case EV_REQUEST: request_take(c, ev); break;
    case EV_CLIENT_GONE: forget_client(c, ev->client); break;
    case EV_TLS_JOIN: take_tls_join(c, ev); break;
    case EV_TLS_FETCH: take_tls_fetch(c, ev); break;
    case EV_STOP: core_fence_stop(c); break;
    case EV_VM_CHANGED:
        vm_local_changed(c->vm_local);
        c->look = true;
        break;
    case EV_VM:
    case EV_HOOK:
    case EV_FACTS:
    case EV_VITALS:
    case EV_TOKEN:
    case EV_ISSUED:
    case EV_MEMBERSHIP:
    case EV_FETCHED:
    case EV_COROSYNC:
    case EV_WITNESS:
    case EV_WITNESS_ASKED:
    case EV_WATCHDOG:
    case EV_COPIED:
    case EV_TASK:
    case EV_BACKUP: take_outcome(c, ev); break;
    }
}

void core_step(struct core *c, const struct core_event *ev)
{
    c->now_ms = ev->now_ms;
    c->wall_ms = ev->wall_ms;
    route(c, ev);
    take_db_outputs(c);
    core_fence_tick(c);
    request_deferred(c);
    request_prevented(c);
    if (c->db && db_applied_index(c->db) != c->seen_index)
        c->look = true;
    if (c->db && (c->look || c->now_ms >= c->step_at_ms)) {
        c->look = false;
        c->seen_index = db_applied_index(c->db);
        c->step_at_ms = c->now_ms + CORE_STEP_MS;
        core_look(c);
        take_db_outputs(c);
    }
    tell_verdict(c);
}
