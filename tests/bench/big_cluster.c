/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Makes this node, which must be a namespace with an empty /etc and /var/lib, the first member of a large cluster: its
 * identity and keys as `cluster init` makes them, and a database that says so.
 *
 *     big-cluster NODES VMS
 *
 * The rows are made by the agent's own apply functions, from the entries that a real cluster would have committed:
 * init, token, join, admission; add, start, claim, started. Every VM has a domain XML of the size of a real one. */
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "agent/core-internal.h"
#include "agent/io/membership.h"
#include "agent/io/paths.h"
#include "agent/io/store.h"
#include "common/prng.h"
#include "vm/vm.h"

#define DB_PATH  RINGMASTER_STATE_DIR "/db.sqlite"
#define MACHINES "pc-i440fx-7.2 pc-q35-7.2"

enum { XML_BYTES = 3000, NODES_MAX = 64, VMS_MAX = 100000 };

struct world {
    struct tables *t;
    struct prng prng;
    struct identity identity;
    struct db_config config;
    uint64_t index;
    int64_t wall_ms;
};

static _Noreturn void die(const char *doing, const struct error *e)
{
    fprintf(stderr, "big-cluster: %s: %s\n", doing, e->text);
    exit(1);
}

/* ---- entries */

/* Its request id, and so that of the job it begins. */
static struct uuid apply(struct world *w, enum entry_kind kind, struct buf *payload)
{
    struct apply_result result = {0};
    struct entry e = {.term = 1, .index = ++w->index, .request_id = prng_uuid(&w->prng), .kind = (uint16_t)kind,
                      .level = 1, .time_ms = w->wall_ms + (int64_t)w->index, .payload = buf_slice(payload)};
    if (core_apply_entry(NULL, w->t, &e, &result) != 0 || result.error.code)
        die("an entry was refused", &result.error);
    buf_done(payload);
    return e.request_id;
}

static struct host_facts facts_of(unsigned node)
{
    struct host_facts f = {.port = 7700, .qemu_version = 7002000, .libvirt_version = 9000000,
                           .memory_kib = 1ULL << 29, .cpus = 64, .machines = (char *)(uintptr_t)MACHINES};
    snprintf(f.hostname, sizeof(f.hostname), "n%u", node);
    snprintf(f.address, sizeof(f.address), node == 1 ? "127.0.0.1" : "10.9.0.%u", node);
    snprintf(f.boot_id, sizeof(f.boot_id), "boot-of-n%u", node);
    STR_COPY(f.release, "bookworm");
    STR_COPY(f.os, "Debian GNU/Linux 12 (bookworm)");
    STR_COPY(f.kernel, "6.1.0-21-amd64");
    STR_COPY(f.corosync, "3.1.7");
    STR_COPY(f.agent_version, "0.1");
    return f;
}

/* ---- nodes */

static int count_service(struct error *e)
{
    (void)e;
    return 0;
}

static void vote(struct world *w, const struct uuid *replica, uint32_t nodeid)
{
    w->config.replicas[w->config.n++] = (struct db_replica){.id = *replica, .nodeid = nodeid, .weight = 1};
}

static void found(struct world *w)
{
    struct membership_env env = {"", 0, count_service, count_service};
    struct host_facts facts = facts_of(1);
    struct membership_outcome o;
    membership_found_in(&env, "large", "totem {\n    version: 2\n}\n", &facts, &o);
    if (o.error.code)
        die("the node's identity", &o.error);
    w->identity = o.identity;
    struct cluster_init init = {.identity = o.identity, .facts = facts, .sealed_ca_key = buf_slice(&o.sealed_ca_key),
                                .ca_hash = o.ca_hash};
    struct buf b = {0};
    cluster_entry_init(&init, &b);
    apply(w, ENTRY_CLUSTER_INIT, &b);
    vote(w, &o.identity.replica, o.identity.nodeid);
    buf_done(&o.sealed_ca_key);
}

static void join(struct world *w, unsigned node)
{
    struct buf b = {0};
    struct join_token token = {.id = prng_uuid(&w->prng), .secret_hash = hash_of("secret", 6),
                               .expires_ms = w->wall_ms + (1LL << 40)};
    struct join_request r = {.token = token.id, .secret_hash = token.secret_hash, .replica = prng_uuid(&w->prng),
                             .facts = facts_of(node), .csr = (char *)(uintptr_t) ""};
    STR_COPY(token.node, r.facts.hostname);
    STR_COPY(token.address, r.facts.address);
    STR_COPY(r.node, r.facts.hostname);
    STR_COPY(r.address, r.facts.address);
    cluster_entry_token(&token, (struct slice){0}, &b);
    apply(w, ENTRY_TOKEN_ADD, &b);
    cluster_entry_join(&r, &b);
    apply(w, ENTRY_NODE_JOIN, &b);
    struct node_request admitted = {.verb = NODE_ADMITTED, .replica = r.replica};
    STR_COPY(admitted.name, r.node);
    cluster_entry_admin(&admitted, &b);
    apply(w, ENTRY_NODE_ADMIN, &b);
    vote(w, &r.replica, node);
}

static void set(struct world *w, const char *name, const char *value)
{
    struct buf b = {0};
    cluster_entry_setting(name, value, &b);
    apply(w, ENTRY_SETTING_PUT, &b);
}

/* ---- virtual machines */

static char *xml_of(const char *name)
{
    struct buf b = {0};
    buf_printf(&b, "<domain type='kvm'>\n  <name>%s</name>\n  <memory unit='KiB'>2097152</memory>\n", name);
    for (unsigned i = 0; b.len < XML_BYTES; i++)
        buf_printf(&b, "  <controller type='pci' index='%u' model='pcie-root-port'/>\n", i);
    buf_add_str(&b, "</domain>\n");
    return buf_steal_str(&b);
}

static void report(struct world *w, struct vm_report *r, enum vm_report_kind kind)
{
    struct buf b = {0};
    r->kind = kind;
    vm_entry_report(r, &b);
    apply(w, ENTRY_VM_REPORT, &b);
}

static void run_vm(struct world *w, unsigned number, unsigned node)
{
    struct buf b = {0};
    struct vm_facts facts = {.uuid = prng_uuid(&w->prng), .machine = "pc-q35-7.2", .memory_kib = 2 << 20, .vcpus = 2,
                             .disks = 1};
    struct host_facts host = facts_of(node);
    snprintf(facts.name, sizeof(facts.name), "vm%05u", number);
    facts.xml = xml_of(facts.name);
    vm_entry_add(&facts, host.hostname, &b);
    apply(w, ENTRY_VM_ADD, &b);
    free(facts.xml);
    struct vm_op_request start = {.op = VM_OP_START, .reason = VM_REASON_ADMIN};
    STR_COPY(start.name, facts.name);
    vm_entry_op(&start, &b);
    struct vm_report r = {.op_id = apply(w, ENTRY_VM_OP, &b), .claim = number + 1ULL};
    struct vm row;
    if (vm_get(w->t, facts.name, &row) != 0)
        die(facts.name, &(struct error){.text = "is not there"});
    r.epoch = row.epoch;
    STR_COPY(r.name, facts.name);
    STR_COPY(r.node, host.hostname);
    STR_COPY(r.boot_id, host.boot_id);
    report(w, &r, VM_REPORT_CLAIM);
    report(w, &r, VM_REPORT_STARTED);
}

/* ---- the database */

static void write_db(struct world *w)
{
    struct store *s;
    struct db_image image;
    struct error e = {0};
    if (store_open(DB_PATH, &w->identity, &s, &image, &e) != 0)
        die("database", &e);
    db_image_done(&image);
    struct db_batch *b = xcalloc(1, sizeof(*b));
    *b = (struct db_batch){.seq = 1, .replace = true, .term = 1, .commit_index = w->index, .applied_index = w->index,
                           .base_index = w->index, .base_term = 1, .base_config = w->config};
    tables_take_changes(w->t, &b->rows);
    b->digest = tables_hash(w->t);
    if (store_write(s, &b, 1, &e) != 0)
        die("database", &e);
    db_batch_free(b);
    store_close(s);
}

static unsigned number(const char *text, unsigned max)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (*end || n < 1 || n > max) {
        fprintf(stderr, "big-cluster: '%s' is no number from 1 to %u\n", text, max);
        exit(64);
    }
    return (unsigned)n;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("usage: big-cluster NODES VMS\n", stderr);
        return 64;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    unsigned nodes = number(argv[1], NODES_MAX), vms = number(argv[2], VMS_MAX);
    struct world w = {.t = tables_new(), .prng = prng_new(1), .wall_ms = (int64_t)now.tv_sec * 1000 - 3600 * 1000};
    umask(077);
    found(&w);
    for (unsigned i = 2; i <= nodes; i++)
        join(&w, i);
    set(&w, "upgrade.executor", "/usr/local/sbin/rebuild");
    for (unsigned i = 0; i < vms; i++)
        run_vm(&w, i, 1 + i % nodes);
    write_db(&w);
    tables_free(w.t);
    return 0;
}
