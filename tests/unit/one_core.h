/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One core, driven event by event: what it writes is on disk at once, what it sends is lost, and every other action
 * waits for the test, or is answered as a healthy host would. */
#pragma once

#include "tests/unit/unit.h"

#include <stdio.h>

#include "agent/core-internal.h"
#include "agent/witness-call.h"
#include "witness/record.h"

enum { ONE_REPLIES_MAX = 128, ONE_KEPT_MAX = 128, ONE_TICK_MS = 50, ONE_CLIENT = 1000 };

struct one {
    struct core *core;
    int64_t now, wall;
    uint64_t client; /* the newest */
    unsigned ids;
    bool no_facts; /* FACTS actions wait for the test */
    bool has_watchdog;
    struct vm_domain domain; /* the only one of this host; name "": none */
    struct host_vitals vitals;
    char vitals_executor[256]; /* of the last look at the host */
    unsigned n_vitals, n_vitals_sent;
    bool corosync_fails;
    bool corosync_waits; /* its calls wait for the test */
    unsigned n_corosync; /* how often it was asked for */
    unsigned n_lines;    /* logged at warning and above */
    struct log_sink log;
    struct buf progress; /* the last message of that kind */
    unsigned n_progress;
    struct witness_record record; /* the witness's; sequence 0: there is none */
    struct witness_call asked;    /* the last call of it */
    struct witness_site asked_site;
    char asked_text[64], asked_sealed[64];
    enum witness_outcome witness_says; /* 0: as record is */
    enum witness_cause witness_cause;
    bool witness_waits; /* calls wait for the test */
    unsigned n_asked, n_witness_calls;
    uint64_t unwritten[64];
    size_t n_unwritten;
    struct {
        uint64_t client;
        struct json *json;
    } replies[ONE_REPLIES_MAX];
    size_t n_replies;
    struct core_action kept[ONE_KEPT_MAX]; /* those that wait */
    size_t n_kept;
};

static inline struct uuid one_uuid(unsigned n)
{
    return (struct uuid){{3, 1, [14] = (uint8_t)(n >> 8), [15] = (uint8_t)n}};
}

static inline struct host_facts one_facts(void)
{
    struct host_facts f = {.hostname = "n1", .address = "10.0.0.1", .port = 7411, .boot_id = "boot-1",
                           .release = "bookworm", .os = "Debian 12", .qemu_version = 7002000,
                           .libvirt_version = 9000000, .memory_kib = 8 << 20, .cpus = 4,
                           .machines = (char *)"pc-i440fx-7.2 pc-q35-6.2 pc-q35-7.2"};
    return f;
}

static inline struct identity one_identity(void)
{
    return (struct identity){.cluster = one_uuid(1), .cluster_name = "ring", .replica = one_uuid(2), .nodeid = 1,
                             .node = "n1", .address = "10.0.0.1", .port = 7411};
}

static inline void one_step(struct one *o, struct core_event ev);
static inline void one_perform(struct one *o, struct core_action *a);

static inline void one_facts_come(struct one *o, uint64_t id)
{
    struct host_facts f = one_facts();
    one_step(o, (struct core_event){.type = EV_FACTS, .id = id, .facts = &f});
}

/* A healthy witness, or one that says what the test wants. */
static inline struct witness_result one_witness(struct one *o, const struct witness_call *c)
{
    struct witness_result r = {.op = c->op, .outcome = o->witness_says, .cause = o->witness_cause};
    bool is_write = c->op == WITNESS_CREATE || c->op == WITNESS_PUT, is_there = o->record.sequence > 0;
    if (r.outcome == 0 && c->op == WITNESS_CREATE && is_there)
        r = (struct witness_result){.op = c->op, .outcome = WITNESS_EXISTS, .cause = WITNESS_CAUSE_BLOB_EXISTS};
    else if (r.outcome == 0 && c->op != WITNESS_CREATE && !is_there)
        r = (struct witness_result){.op = c->op, .outcome = WITNESS_MISSING, .cause = WITNESS_CAUSE_BLOB_MISSING};
    else if (r.outcome == 0)
        r.outcome = WITNESS_DONE;
    if (r.outcome == WITNESS_DONE && is_write)
        o->record = c->record;
    if (r.outcome == WITNESS_DONE)
        r.record = o->record;
    snprintf(r.etag.s, sizeof(r.etag.s), "%llu", (unsigned long long)o->record.sequence);
    witness_explain(r.outcome, r.cause, &(struct witness_place){.host = "host"}, NULL, &r.error);
    return r;
}

static inline void one_ask_witness(struct one *o, struct core_action *a)
{
    struct witness_call c = a->type == ACT_WITNESS ? witness_call_of(a->witness, 1000) : *a->ask;
    struct witness_asked asked = {.result = one_witness(o, &c)};
    struct db_witness_outcome outcome;
    struct core_event ev = {.type = EV_WITNESS, .id = a->id, .witness = &outcome};
    witness_outcome_of(&asked.result, &outcome);
    o->n_witness_calls += a->type == ACT_WITNESS;
    if (a->type == ACT_WITNESS_ASK) {
        o->n_asked++;
        o->asked = c;
        o->asked_site = a->site ? *a->site : (struct witness_site){0};
        STR_COPY(o->asked_text, a->text ? a->text : "");
        snprintf(o->asked_sealed, sizeof(o->asked_sealed), "%.*s", (int)a->sealed.len, (const char *)a->sealed.p);
        if (a->text) {
            buf_add_str(&asked.sealed, "sealed ");
            buf_add(&asked.sealed, a->text, 4);
            asked.auth = WITNESS_AUTH_KEYS;
            asked.n_keys = 1;
        }
        ev.type = EV_WITNESS_ASKED;
        ev.asked = &asked;
    }
    one_step(o, ev);
    buf_done(&asked.sealed);
}

/* Takes the action. */
static inline void one_perform(struct one *o, struct core_action *a)
{
    if (a->type == ACT_REPLY) {
        assert_true(o->n_replies < ONE_REPLIES_MAX);
        o->replies[o->n_replies].client = a->client;
        o->replies[o->n_replies++].json = a->json;
        a->json = NULL;
    } else if (a->type == ACT_PERSIST) {
        assert_true(o->n_unwritten < 64);
        o->unwritten[o->n_unwritten++] = a->batch->seq;
    } else if (a->type == ACT_FACTS && !o->no_facts) {
        one_facts_come(o, a->id);
    } else if (a->type == ACT_VITALS) {
        o->n_vitals++;
        STR_COPY(o->vitals_executor, a->text ? a->text : "");
        STR_COPY(o->vitals.executor, o->vitals_executor);
        one_step(o, (struct core_event){.type = EV_VITALS, .id = a->id, .vitals = &o->vitals});
    } else if (a->type == ACT_VM && a->vm.verb == VM_CALL_LIST) {
        struct vm_outcome list = {.domains = &o->domain, .n_domains = o->domain.name[0] != '\0'};
        one_step(o, (struct core_event){.type = EV_VM, .id = a->id, .vm = &list});
    } else if (a->type == ACT_COROSYNC && !o->corosync_waits) {
        struct error e = {0};
        if (o->corosync_fails)
            error_set(&e, ERR_IO, "no space left on device");
        o->n_corosync++;
        one_step(o, (struct core_event){.type = EV_COROSYNC, .id = a->id, .error = e});
    } else if ((a->type == ACT_WITNESS || a->type == ACT_WITNESS_ASK) && !o->witness_waits) {
        one_ask_witness(o, a);
    } else if (a->type == ACT_SEND && a->bytes.p[0] == 3) {
        o->n_progress++;
        buf_done(&o->progress);
        buf_add(&o->progress, a->bytes.p, a->bytes.len);
    } else if (a->type == ACT_SEND) {
        o->n_vitals_sent += a->bytes.p[0] == 5;
    } else {
        assert_true(o->n_kept < ONE_KEPT_MAX);
        o->kept[o->n_kept++] = *a;
        return;
    }
    core_action_done(a);
}

static inline void one_step(struct one *o, struct core_event ev)
{
    struct core_action a[64];
    size_t n = 0;
    ev.now_ms = o->now;
    ev.wall_ms = o->wall;
    core_step(o->core, &ev);
    while (n < 64 && core_take_action(o->core, &a[n]))
        n++;
    assert_true(n < 64);
    for (size_t i = 0; i < n; i++)
        one_perform(o, &a[i]);
}

static inline void one_write(struct one *o)
{
    while (o->n_unwritten) {
        uint64_t seq = o->unwritten[0];
        memmove(o->unwritten, o->unwritten + 1, --o->n_unwritten * sizeof o->unwritten[0]);
        one_step(o, (struct core_event){.type = EV_PERSISTED, .seq = seq});
    }
}

static inline void one_run(struct one *o, int64_t ms)
{
    one_write(o);
    for (int64_t end = o->now + ms; o->now < end;) {
        o->now += ONE_TICK_MS;
        o->wall += ONE_TICK_MS;
        one_step(o, (struct core_event){.type = EV_TICK});
        one_write(o);
    }
}

/* The oldest action of that type that waits; the caller ends it (core_action_done). */
static inline bool one_take(struct one *o, enum core_action_type type, struct core_action *ret)
{
    for (size_t i = 0; i < o->n_kept; i++)
        if (o->kept[i].type == type) {
            *ret = o->kept[i];
            memmove(&o->kept[i], &o->kept[i + 1], (--o->n_kept - i) * sizeof o->kept[0]);
            return true;
        }
    return false;
}

static inline void one_must_take(struct one *o, enum core_action_type type, struct core_action *ret)
{
    if (!one_take(o, type, ret))
        fail_msg("no action of type %d waits", (int)type);
}

/* ---- requests ---- */

static inline struct json *one_args(const char *text)
{
    struct json *args = NULL;
    struct error e = {0};
    if (json_parse(text, strlen(text), &args, &e))
        fail_msg("%s: %s", text, e.text);
    return args;
}

/* Sends it; returns the client. args as JSON text, with ' for ". */
static inline uint64_t one_send_as(struct one *o, enum core_access access, const char *verb, const struct uuid *id,
                                   const char *args)
{
    char text[4096];
    STR_COPY(text, args);
    for (char *p = text; *p; p++)
        *p = (char)(*p == '\'' ? '"' : *p);
    AUTO(json_freep) struct json *request = proto_request(verb, uuid_str(id).s, one_args(text));
    o->client++;
    one_step(o, (struct core_event){.type = EV_REQUEST, .client = o->client, .request = request, .access = access});
    return o->client;
}

static inline uint64_t one_send(struct one *o, const char *verb, const char *args)
{
    struct uuid id = one_uuid(5000 + o->ids++);
    return one_send_as(o, ACCESS_ADMIN, verb, &id, args);
}

static inline size_t one_answers(const struct one *o, uint64_t client)
{
    size_t n = 0;
    for (size_t i = 0; i < o->n_replies; i++)
        n += o->replies[i].client == client;
    return n;
}

/* The one answer that this client got so far; NULL: none. Borrowed. */
static inline const struct json *one_answer(const struct one *o, uint64_t client)
{
    assert_true(one_answers(o, client) <= 1);
    for (size_t i = 0; i < o->n_replies; i++)
        if (o->replies[i].client == client)
            return o->replies[i].json;
    return NULL;
}

static inline int64_t one_code(const struct one *o, uint64_t client)
{
    const struct json *a = one_answer(o, client);
    return a ? json_int(json_path(a, "status.code"), -1) : -1;
}

/* Asks, waits a moment, and returns data of the answer, whose exit code must be `code`. Borrowed until one_forget(). */
static inline const struct json *one_ask(struct one *o, int64_t code, const char *verb, const char *args)
{
    uint64_t client = one_send(o, verb, args);
    one_run(o, 1000);
    const struct json *a = one_answer(o, client);
    if (!a)
        fail_msg("%s %s: no answer", verb, args);
    if (json_int(json_path(a, "status.code"), -1) != code)
        fail_msg("%s %s: %lld %s", verb, args, (long long)json_int(json_path(a, "status.code"), -1),
                 json_str(json_path(a, "status.message"), ""));
    assert_string_equal(json_str(json_path(a, "request.verb"), ""), verb);
    return json_get(a, "data");
}

static inline void one_forget(struct one *o)
{
    for (size_t i = 0; i < o->n_replies; i++)
        json_free(o->replies[i].json);
    o->n_replies = 0;
    for (size_t i = 0; i < o->n_kept; i++)
        core_action_done(&o->kept[i]);
    o->n_kept = 0;
}

/* What `status` finds wrong under that code; NULL: nothing. */
static inline const struct json *one_finding(struct one *o, const char *code)
{
    const struct json *health = json_get(one_ask(o, 0, "status", "{}"), "health");
    for (size_t i = 0; i < json_count(health); i++)
        if (str_eq(json_get_str(json_at(health, i), "code", ""), code))
            return json_at(health, i);
    return NULL;
}

/* ---- life ---- */

static inline void one_count_line(void *ctx, enum log_level level, const char *line)
{
    struct one *o = ctx;
    (void)line;
    o->n_lines += level <= LOG_WARN_;
}

static inline void one_start(struct one *o, const struct identity *id, struct db_image *image)
{
    struct core_params p = {.identity = id,
                            .image = image,
                            .seed = 1,
                            .message_max = 1 << 20,
                            .version = "1.0",
                            .log = &o->log,
                            .has_watchdog = o->has_watchdog,
                            .now_ms = o->now,
                            .wall_ms = o->wall};
    uint32_t group[] = {1};
    o->core = core_new(&p);
    one_step(o, (struct core_event){.type = EV_TICK});
    one_step(o, (struct core_event){.type = EV_QUORUM, .quorate = true, .n_votes = 1});
    if (id)
        one_step(o, (struct core_event){.type = EV_GROUP, .group = group, .n_group = 1});
}

static inline struct one *one_new(void)
{
    struct one *o = xcalloc(1, sizeof *o);
    o->now = 1000;
    o->wall = 1700000000000;
    o->client = ONE_CLIENT;
    o->log = (struct log_sink){.write = one_count_line, .ctx = o, .max = LOG_DEBUG_};
    return o;
}

static inline void one_founded(struct one *o)
{
    struct core_action a;
    uint32_t group[] = {1};
    struct membership_outcome m = {.identity = one_identity()};
    one_must_take(o, ACT_FOUND, &a);
    wire_put_str(&m.sealed_ca_key, "sealed");
    one_step(o, (struct core_event){.type = EV_MEMBERSHIP, .id = a.id, .membership = &m});
    one_step(o, (struct core_event){.type = EV_GROUP, .group = group, .n_group = 1});
    buf_done(&m.sealed_ca_key);
    core_action_done(&a);
}

static inline void one_bootstrap(struct one *o)
{
    one_start(o, NULL, NULL);
    uint64_t client = one_send(o, "cluster.init", "{'name': 'ring'}");
    one_founded(o);
    one_run(o, 1000);
    assert_int_equal(one_code(o, client), 0);
}

/* A cluster of one node, which leads it. */
static inline struct one *one_bootstrapped(void)
{
    struct one *o = one_new();
    one_bootstrap(o);
    one_forget(o);
    return o;
}

static inline void one_free(struct one *o)
{
    if (!o)
        return;
    one_forget(o);
    core_free(o->core);
    buf_done(&o->progress);
    free(o);
}

/* One of two voters, alone. */
static inline struct one *one_without_quorum(void)
{
    struct one *o = one_new();
    struct identity id = one_identity();
    struct db_image image = {.term = 3, .base_index = 5, .base_term = 3, .applied_index = 5, .commit_index = 5,
                             .tables = tables_new(),
                             .base_config = {.n = 2, .replicas = {{one_uuid(2), 1, 1}, {one_uuid(9), 2, 1}}}};
    one_start(o, &id, &image);
    return o;
}

static inline int one_setup(void **state)
{
    *state = one_bootstrapped();
    return 0;
}

static inline int one_teardown(void **state)
{
    one_free(*state);
    return 0;
}

/* ---- what tests need in the cluster ---- */

static inline void one_token_made(struct one *o, const char *text, unsigned n)
{
    struct core_action a;
    struct token_outcome k = {.id = one_uuid(7000 + n), .secret_hash = {{(uint8_t)n}}, .text = (char *)text};
    one_must_take(o, ACT_TOKEN, &a);
    one_step(o, (struct core_event){.type = EV_TOKEN, .id = a.id, .token = &k});
    core_action_done(&a);
}

/* n2 joins: an agent that never comes up afterwards. The certificate waits as ACT_ISSUE. */
static inline void one_join(struct one *o, const char *node, const char *address, unsigned n)
{
    char args[128];
    snprintf(args, sizeof args, "{'node': '%s'}", node);
    uint64_t client = one_send(o, "cluster.join-token", args);
    one_token_made(o, "text of the token file", n);
    one_run(o, 200);
    assert_int_equal(one_code(o, client), 0);
    struct join_request j = {.token = one_uuid(7000 + n), .secret_hash = {{(uint8_t)n}}, .replica = one_uuid(8000 + n),
                             .facts = one_facts(), .csr = (char *)"csr"};
    STR_COPY(j.node, node);
    STR_COPY(j.address, address);
    one_step(o, (struct core_event){.type = EV_TLS_JOIN, .client = ++o->client, .join = &j});
    one_run(o, 200);
}

static inline void one_parsed(struct one *o, const char *name)
{
    struct core_action a;
    struct vm_outcome out = {.facts = {.uuid = one_uuid(600 + (unsigned)name[0]),
                                       .machine = "pc-q35-7.2",
                                       .memory_kib = 1 << 18,
                                       .vcpus = 1,
                                       .disks = 1,
                                       .xml = (char *)"<domain/>"}};
    STR_COPY(out.facts.name, name);
    one_must_take(o, ACT_VM, &a);
    assert_int_equal(a.vm.verb, VM_CALL_PARSE);
    one_step(o, (struct core_event){.type = EV_VM, .id = a.id, .vm = &out});
    core_action_done(&a);
}

static inline void one_repository_made(struct one *o)
{
    struct core_action a;
    struct backup_outcome out = {.sealed_key = "sealed", .sealed_len = 6};
    one_must_take(o, ACT_BACKUP, &a);
    assert_int_equal(a.backup->verb, BACKUP_CALL_INIT);
    one_step(o, (struct core_event){.type = EV_BACKUP, .id = a.id, .backup = &out});
    core_action_done(&a);
}

static inline void one_add_vm(struct one *o, const char *name)
{
    uint64_t client = one_send(o, "vm.add", "{'xml': '<domain/>'}");
    one_parsed(o, name);
    one_run(o, 200);
    assert_int_equal(one_code(o, client), 0);
}
