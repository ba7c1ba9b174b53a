/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A core for fuzz targets: member n1 of a cluster of n1 and n2 with two VMs, which leads it alone. What it writes is on
 * disk at once, what it sends is lost, and the other actions fail, or are answered by the target. */
#pragma once

#include "agent/core-internal.h"
#include "tests/fuzz/fuzz.h"

enum { FUZZ_WALL_MS_0 = 1700000000, FUZZ_INDEX = 100, FUZZ_TERM = 3, FUZZ_QUEUE = 64 };

struct fuzz_core {
    struct core *core;
    int64_t now, wall;
    uint64_t client;
    uint64_t unwritten[FUZZ_QUEUE];
    size_t n_unwritten;
    size_t n_asked, n_answered;
    bool stopped;
    int depth;
};

static inline struct uuid fuzz_uuid(unsigned n)
{
    return (struct uuid){{0xf0, 1, [14] = (uint8_t)(n >> 8), [15] = (uint8_t)n}};
}

static inline struct host_facts fuzz_facts(const char *name)
{
    struct host_facts f = {.address = "10.0.0.1",
                           .port = 7700,
                           .boot_id = "boot",
                           .release = "bookworm",
                           .os = "Debian 12",
                           .qemu_version = 7002000,
                           .libvirt_version = 9000000,
                           .memory_kib = 8 << 20,
                           .cpus = 4,
                           .machines = (char *)(uintptr_t) "pc-i440fx-7.2 pc-q35-7.2"};
    STR_COPY(f.hostname, name);
    return f;
}

static inline struct identity fuzz_identity(void)
{
    return (struct identity){.cluster = fuzz_uuid(1), .cluster_name = "ring", .replica = fuzz_uuid(2), .nodeid = 1,
                             .node = "n1", .address = "10.0.0.1", .port = 7700};
}

/* ---- the state that it begins with */

/* Takes the payload. */
static inline void fuzz_apply(struct tables *t, enum entry_kind kind, struct buf *payload, unsigned n)
{
    struct entry e = {.term = 1, .index = n, .request_id = fuzz_uuid(1000 + n), .kind = (uint16_t)kind, .level = 1,
                      .time_ms = FUZZ_WALL_MS_0, .payload = buf_slice(payload)};
    struct apply_result r = {0};
    int err = core_apply_entry(NULL, t, &e, &r);
    assert(err == 0 && r.error.code == 0);
    buf_done(payload);
}

static inline void fuzz_add_vm(struct tables *t, const char *name, unsigned n)
{
    struct buf b = {0};
    struct vm_facts f = {.uuid = fuzz_uuid(n), .machine = "pc-q35-7.2", .memory_kib = 1 << 18, .vcpus = 1, .disks = 1,
                         .xml = (char *)(uintptr_t)"<domain/>"};
    STR_COPY(f.name, name);
    vm_entry_add(&f, "n1", &b);
    fuzz_apply(t, ENTRY_VM_ADD, &b, n);
}

static inline void fuzz_add_node(struct tables *t)
{
    struct buf b = {0};
    struct join_token token = {.id = fuzz_uuid(10), .node = "n2", .secret_hash = {{9}}, .expires_ms = INT64_MAX};
    cluster_entry_token(&token, (struct slice){0}, &b);
    fuzz_apply(t, ENTRY_TOKEN_ADD, &b, 11);
    struct join_request j = {.token = token.id, .secret_hash = {{9}}, .replica = fuzz_uuid(3), .node = "n2",
                             .address = "10.0.0.2", .facts = fuzz_facts("n2")};
    cluster_entry_join(&j, &b);
    fuzz_apply(t, ENTRY_NODE_JOIN, &b, 12);
    struct node_request q = {.verb = NODE_ADMITTED, .name = "n2", .replica = fuzz_uuid(3)};
    cluster_entry_admin(&q, &b);
    fuzz_apply(t, ENTRY_NODE_ADMIN, &b, 13);
}

/* Encoded once. */
static inline struct tables *fuzz_tables(void)
{
    static struct buf encoded;
    struct tables *t;
    if (!encoded.len) {
        t = tables_new();
        struct buf b = {0};
        uint8_t key[] = "sealed";
        struct cluster_init i = {.identity = fuzz_identity(), .facts = fuzz_facts("n1"), .sealed_ca_key = {key, 6}};
        cluster_entry_init(&i, &b);
        fuzz_apply(t, ENTRY_CLUSTER_INIT, &b, 10);
        fuzz_add_node(t);
        fuzz_add_vm(t, "db1", 20);
        fuzz_add_vm(t, "web1", 21);
        tables_encode(t, &encoded);
        tables_free(t);
    }
    struct wire_reader r = wire_reader(buf_slice(&encoded));
    int err = tables_decode(&r, &t);
    assert(err == 0);
    return t;
}

/* ---- driving it */

static inline void fuzz_step(struct fuzz_core *f, struct core_event ev);

static inline void fuzz_check_answer(struct json *j)
{
    assert(str_eq(json_get_str(j, "api_version", ""), PROTO_API_VERSION));
    int64_t code = json_int(json_path(j, "status.code"), -1);
    assert(code >= 0 && code <= 124 && json_is_object(json_get(j, "data")));
    if (code)
        assert(json_str(json_path(j, "status.message"), "")[0]);
    free(json_dump(j));
}

/* Who forms, joins and asks for tokens is told no; a domain XML is one of a VM. */
static inline void fuzz_perform(struct fuzz_core *f, struct core_action *a)
{
    struct error no = {.code = ERR_CONDITION, .text = "not in here"};
    struct membership_outcome m = {.error = no};
    struct token_outcome k = {.id = fuzz_uuid(500), .text = (char *)(uintptr_t)"token"};
    struct vm_outcome v = {0};
    struct hook_outcome h = {.error = no};
    struct host_facts facts = fuzz_facts("n1");
    struct host_vitals vitals = {.n_links = 1};
    struct core_event ev = {.id = a->id};
    switch (a->type) {
    case ACT_PERSIST: f->unwritten[f->n_unwritten++ % FUZZ_QUEUE] = a->batch->seq; return;
    case ACT_REPLY:
        f->n_answered++;
        fuzz_check_answer(a->json);
        return;
    case ACT_STOP: f->stopped = true; return;
    case ACT_VM:
        ev.type = EV_VM, ev.vm = &v;
        v.facts = (struct vm_facts){.name = "new", .uuid = fuzz_uuid(30), .machine = "pc-q35-7.2", .memory_kib = 4096,
                                    .vcpus = 1, .xml = a->vm.verb == VM_CALL_PARSE ? a->vm.xml : NULL};
        break;
    case ACT_FACTS: ev.type = EV_FACTS, ev.facts = &facts; break;
    case ACT_VITALS: ev.type = EV_VITALS, ev.vitals = &vitals; break;
    case ACT_TOKEN: ev.type = EV_TOKEN, ev.token = &k; break;
    case ACT_FOUND:
    case ACT_JOIN: ev.type = EV_MEMBERSHIP, ev.membership = &m; break;
    case ACT_HOOK: ev.type = EV_HOOK, ev.hook = &h; break;
    case ACT_FETCH: ev.type = EV_FETCHED, ev.error = no; break;
    case ACT_ISSUE: ev.type = EV_ISSUED; break;
    case ACT_COROSYNC: ev.type = EV_COROSYNC; break;
    default: return;
    }
    fuzz_step(f, ev);
}

/* Actions that lead to further ones are followed a few steps; what comes after that waits for the next event. */
static inline void fuzz_step(struct fuzz_core *f, struct core_event ev)
{
    struct core_action a[FUZZ_QUEUE];
    size_t n = 0;
    ev.now_ms = f->now;
    ev.wall_ms = f->wall;
    if (f->stopped || f->depth == 8)
        return;
    core_step(f->core, &ev);
    while (n < FUZZ_QUEUE && core_take_action(f->core, &a[n]))
        n++;
    assert(n < FUZZ_QUEUE);
    f->depth++;
    for (size_t i = 0; i < n; i++) {
        fuzz_perform(f, &a[i]);
        core_action_done(&a[i]);
    }
    f->depth--;
}

static inline void fuzz_write(struct fuzz_core *f)
{
    while (f->n_unwritten && !f->stopped) {
        assert(f->n_unwritten <= FUZZ_QUEUE);
        uint64_t seq = f->unwritten[0];
        memmove(f->unwritten, f->unwritten + 1, --f->n_unwritten * sizeof(f->unwritten[0]));
        fuzz_step(f, (struct core_event){.type = EV_PERSISTED, .seq = seq});
    }
}

static inline void fuzz_run(struct fuzz_core *f, int64_t ms)
{
    for (int64_t end = f->now + ms; f->now < end && !f->stopped;) {
        fuzz_write(f);
        f->now += CORE_TICK_MS;
        f->wall += CORE_TICK_MS;
        fuzz_step(f, (struct core_event){.type = EV_TICK});
    }
    fuzz_write(f);
}

/* image NULL: in no cluster. voters: weights of n1 and n2 in the configuration. */
static inline void fuzz_start(struct fuzz_core *f, struct tables *tables, const char *voters)
{
    struct identity id = fuzz_identity();
    struct db_image image = {.term = FUZZ_TERM,
                             .commit_index = FUZZ_INDEX,
                             .applied_index = FUZZ_INDEX,
                             .tables = tables,
                             .base_index = FUZZ_INDEX,
                             .base_term = FUZZ_TERM};
    image.base_config = (struct db_config){.n = 2};
    image.base_config.replicas[0] = (struct db_replica){fuzz_uuid(2), 1, voters[0] == '1'};
    image.base_config.replicas[1] = (struct db_replica){fuzz_uuid(3), 2, voters[1] == '1'};
    *f = (struct fuzz_core){.now = 1000, .wall = 1700000000000, .client = 1};
    struct core_params p = {.identity = tables ? &id : NULL, .image = tables ? &image : NULL, .seed = 1,
                            .message_max = 1 << 20, .version = "1.0", .now_ms = f->now, .wall_ms = f->wall};
    uint32_t group[] = {1, 2};
    f->core = core_new(&p);
    fuzz_step(f, (struct core_event){.type = EV_QUORUM, .quorate = true, .n_votes = 2});
    fuzz_step(f, (struct core_event){.type = EV_GROUP, .group = group, .n_group = tables ? 1 : 0});
    fuzz_run(f, 500);
    if (voters[1] == '1')
        fuzz_step(f, (struct core_event){.type = EV_GROUP, .group = group, .n_group = 2});
}

/* One request; args is taken. */
static inline void fuzz_ask(struct fuzz_core *f, const struct json *request)
{
    f->n_asked += !f->stopped;
    fuzz_step(
        f, (struct core_event){.type = EV_REQUEST, .client = ++f->client, .request = request, .access = ACCESS_ADMIN});
}

static inline void fuzz_ask_verb(struct fuzz_core *f, const char *verb, struct json *args)
{
    struct uuid id = fuzz_uuid(2000 + (unsigned)f->client);
    AUTO(json_freep) struct json *request = proto_request(verb, uuid_str(&id).s, args);
    fuzz_ask(f, request);
}

/* Everything that reads the tables reads them. */
static inline void fuzz_look(struct fuzz_core *f)
{
    static const char *const verbs[] = {"status", "node.list", "vm.list",     "level.show",     "cluster.config.show",
                                        "events", "job.list",  "upgrade.status", "upgrade.check", "upgrade.plan"};
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        struct json *args = json_object_new();
        json_set_str(args, "target", "trixie");
        fuzz_ask_verb(f, verbs[i], args);
    }
    if (core_db(f->core) && db_tables(core_db(f->core)))
        free(corosync_conf_of_tables(db_tables(core_db(f->core))));
    fuzz_run(f, 1100);
}

static inline void fuzz_end(struct fuzz_core *f)
{
    core_free(f->core);
}
