/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A node of one, for the tests that kill it: the whole core, the real store and the real files below PREFIX, without
 * corosync, libvirt or sockets. Time is virtual, so nothing waits but the disk.
 *
 *   faults-node PREFIX form              cluster init; does nothing where a cluster stands
 *   faults-node PREFIX put FROM N        N commits, numbered from FROM on
 *   faults-node PREFIX put-short FROM N  the same, with a log that is cut behind the newest entries
 *   faults-node PREFIX raise             the host is a Debian 13 now: level raise
 *   faults-node PREFIX dump FILE         the snapshot that this node would serve, to FILE
 *   faults-node PREFIX install FILE      as a follower of that cluster: install the snapshot
 *   faults-node PREFIX serve TOKEN-FILE  admit whoever joins by the token in TOKEN-FILE, which it writes, until killed
 *   faults-node PREFIX join TOKEN-FILE
 *   faults-node PREFIX check             what the files hold; fails if they do not hold together
 *   faults-node PREFIX check-joined      the same of a node that only joined
 *   faults-node PREFIX check-follower FILE   the same of a follower of FILE's cluster
 *
 * Standard output: a line by one write(2) for each thing that was acknowledged, as an admin would have been told:
 * "formed", "put K", "raised", "installed INDEX", "issued REPLICA", "joined REPLICA"; of check: "KEY VALUE" lines.
 * Exit status: 0; 1 as the agent: it says what it cannot go on without; 2: a test found fault with it; 3: nobody
 * could be told (standard output failed). */
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/core.h"
#include "agent/io/copies.h"
#include "agent/io/files.h"
#include "agent/io/joinmsg.h"
#include "agent/io/membership.h"
#include "agent/io/paths.h"
#include "agent/io/store.h"
#include "agent/io/tls.h"
#include "common/json.h"
#include "common/proto.h"

#define COROSYNC_CONF "totem {\n    version: 2\n}\n"
#define SETTING       "upgrade.executor"

enum {
    TICK_MS = 50,
    ANSWER_MS = 60000,
    ROWS_MS = 2000, /* above DB_LAZY_MS of agent/db/internal.h */
    EXIT_STOPPED = 1,
    EXIT_FAULT = 2,
    EXIT_NOT_TOLD = 3,
    FOLLOWER_NODEID = 2,
    SHORT_LOG = 4
};

/* ---- what is told */

__attribute__((format(printf, 1, 2))) static void tell(const char *fmt, ...)
{
    char line[256];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
    va_end(ap);
    line[n++] = '\n';
    if (write(STDOUT_FILENO, line, (size_t)n) != n)
        _exit(EXIT_NOT_TOLD);
}

__attribute__((format(printf, 1, 2), noreturn)) static void fault(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("FAULT: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputs("\n", stderr);
    va_end(ap);
    _exit(EXIT_FAULT);
}

/* As agent/exec.c and agent/main.c do. */
__attribute__((noreturn)) static void stop(const char *what, const struct error *e)
{
    dprintf(STDERR_FILENO, "%s: %s%s%s -> the agent ends\n", what, e->text, e->remedy[0] ? "; " : "", e->remedy);
    _exit(EXIT_STOPPED);
}

static void hash_hex(const struct hash *h, char ret[2 * HASH_SIZE + 1])
{
    for (size_t i = 0; i < HASH_SIZE; i++)
        snprintf(ret + 2 * i, 3, "%02x", h->b[i]);
}

/* ---- the node */

struct node {
    struct error copy_error; /* of the last database copy */
    const char *prefix;
    char db[PATH_MAX];
    struct core *core;
    struct store *store;
    struct host_facts facts;
    int64_t now, wall;
    uint64_t log_kept;
    bool dry; /* there is no store: what is written is on disk at once */
    uint64_t client;
    int64_t code; /* of the answer to client; -1: none yet */
    char message[256];
    struct db_batch *unwritten[64];
    size_t n_unwritten;
};

static int no_service(struct error *e)
{
    (void)e;
    return 0;
}

static struct membership_env env_of(const char *prefix)
{
    return (struct membership_env){prefix, 0, no_service, no_service};
}

static struct host_facts facts_of(const char *name, bool newer)
{
    struct host_facts f = {.port = 7411, .memory_kib = 8 << 20, .cpus = 4};
    f.qemu_version = newer ? 10000000 : 7002000;
    f.libvirt_version = newer ? 11003000 : 9000000;
    f.machines = (char *)(uintptr_t) "pc-i440fx-7.2 pc-q35-7.2";
    STR_COPY(f.hostname, name);
    STR_COPY(f.address, "127.0.0.1");
    STR_COPY(f.boot_id, "boot");
    STR_COPY(f.release, newer ? "trixie" : "bookworm");
    return f;
}

static void init(struct node *n, const char *prefix, bool newer)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    *n = (struct node){.prefix = prefix, .now = 1000, .wall = (int64_t)now.tv_sec * 1000, .code = -1};
    n->facts = facts_of("n1", newer);
    snprintf(n->db, sizeof(n->db), "%s" RINGMASTER_STATE_DIR "/db.sqlite", prefix);
}

static void step(struct node *n, struct core_event ev);

static void join_group(struct node *n)
{
    uint32_t group[] = {1};
    step(n, (struct core_event){.type = EV_QUORUM, .quorate = true, .n_votes = 1});
    step(n, (struct core_event){.type = EV_GROUP, .group = group, .n_group = 1});
}

static void found(struct node *n, const struct core_action *a)
{
    struct membership_env env = env_of(n->prefix);
    struct membership_outcome o;
    membership_found_in(&env, a->text, a->text2, &n->facts, &o);
    if (o.error.code)
        stop("cluster init", &o.error);
    step(n, (struct core_event){.type = EV_MEMBERSHIP, .id = a->id, .membership = &o});
    buf_done(&o.sealed_ca_key);
}

static void adopt(struct node *n)
{
    struct error e = {0};
    struct db_image image = {0};
    if (store_open(n->db, core_identity(n->core), &n->store, &image, &e) != 0)
        stop("database", &e);
    if (image.tables || image.n_entries)
        fault("a new replica has a database");
}

static void reply(struct node *n, struct core_action *a)
{
    if (a->client != n->client)
        return;
    n->code = json_int(json_path(a->json, "status.code"), -1);
    STR_COPY(n->message, json_str(json_path(a->json, "status.message"), ""));
}

static void copy(struct node *n, const struct core_action *a)
{
    n->copy_error = (struct error){0};
    copy_keep(n->prefix, a->text, buf_slice(&a->bytes), &n->copy_error);
    step(n, (struct core_event){.type = EV_COPIED, .id = a->id, .error = n->copy_error});
}

static void perform(struct node *n, struct core_action *a)
{
    struct vm_outcome no_vms = {0};
    struct host_vitals no_vitals = {0};
    switch (a->type) {
    case ACT_PERSIST:
        if (n->n_unwritten == sizeof(n->unwritten) / sizeof(n->unwritten[0]))
            fault("too many batches wait");
        n->unwritten[n->n_unwritten++] = a->batch;
        a->batch = NULL;
        break;
    case ACT_REPLY: reply(n, a); break;
    case ACT_FOUND: found(n, a); break;
    case ACT_FACTS: step(n, (struct core_event){.type = EV_FACTS, .id = a->id, .facts = &n->facts}); break;
    case ACT_VITALS: step(n, (struct core_event){.type = EV_VITALS, .id = a->id, .vitals = &no_vitals}); break;
    case ACT_COROSYNC: step(n, (struct core_event){.type = EV_COROSYNC, .id = a->id}); break;
    case ACT_VM: step(n, (struct core_event){.type = EV_VM, .id = a->id, .vm = &no_vms}); break;
    case ACT_COPY: copy(n, a); break;
    case ACT_STOP: stop("stop", &a->error);
    default: break; /* nobody is there */
    }
    core_action_done(a);
}

static void step(struct node *n, struct core_event ev)
{
    struct core_action a[64];
    size_t k = 0;
    ev.now_ms = n->now;
    ev.wall_ms = n->wall;
    core_step(n->core, &ev);
    if (!n->store && !n->dry && core_identity(n->core))
        adopt(n);
    while (core_take_action(n->core, &a[k]))
        if (++k == sizeof(a) / sizeof(a[0]))
            fault("too many actions");
    for (size_t i = 0; i < k; i++)
        perform(n, &a[i]);
}

static bool leads(const struct node *n)
{
    return core_db(n->core) && db_is_leader(core_db(n->core));
}

static void write_all(struct node *n)
{
    while (n->n_unwritten && !(n->dry && leads(n))) {
        struct error e = {0};
        struct db_batch *b = n->unwritten[0];
        memmove(n->unwritten, n->unwritten + 1, --n->n_unwritten * sizeof(n->unwritten[0]));
        if (!n->dry && store_write(n->store, &b, 1, &e) != 0)
            stop("database", &e);
        step(n, (struct core_event){.type = EV_PERSISTED, .seq = b->seq});
        db_batch_free(b);
    }
}

/* Until the request is answered; with none, until the node leads. */
static void run(struct node *n)
{
    for (int64_t end = n->now + ANSWER_MS; n->code < 0 && n->now < end;) {
        write_all(n);
        if (n->code >= 0 || (!n->client && leads(n)))
            return;
        n->now += TICK_MS;
        n->wall += TICK_MS;
        step(n, (struct core_event){.type = EV_TICK});
    }
}

/* Until the rows are stored, too, which are less urgent than the log. */
static void rest(struct node *n)
{
    for (int64_t end = n->now + ROWS_MS; n->now < end;) {
        n->now += TICK_MS;
        n->wall += TICK_MS;
        step(n, (struct core_event){.type = EV_TICK});
        write_all(n);
    }
}

static void ask(struct node *n, const char *verb, struct json *args, const char *what)
{
    struct uuid id = pki_uuid();
    AUTO(json_freep) struct json *request = proto_request(verb, uuid_str(&id).s, args);
    n->client++;
    n->code = -1;
    step(n, (struct core_event){.type = EV_REQUEST, .client = n->client, .request = request, .access = ACCESS_ADMIN});
    run(n);
    if (n->code != 0)
        fault("%s: %lld %s", what, (long long)n->code, n->message);
}

/* ---- start, as agent/main.c does */

static bool is_founded(const struct db_image *image)
{
    for (size_t i = 0; i < image->n_entries; i++)
        if (image->entries[i].kind == ENTRY_CLUSTER_INIT)
            return true;
    return image->tables && tables_has(image->tables, TABLE_CLUSTER, "cluster");
}

/* false: in no cluster, or in one whose forming was interrupted. */
static bool load(struct node *n, struct identity *id, struct db_image *image)
{
    struct error e = {0};
    int err = identity_load_in(n->prefix, id, &e);
    if (err == ERR_NOT_FOUND)
        return false;
    if (err || store_open(n->db, id, &n->store, image, &e) != 0)
        stop("start", &e);
    if (!id->founder || is_founded(image))
        return true;
    store_close(n->store);
    n->store = NULL;
    db_image_done(image);
    *image = (struct db_image){0};
    if (file_remove(n->prefix, PATH_IDENTITY, &e) != 0)
        stop("start", &e);
    return false;
}

static void start(struct node *n, bool member, const struct identity *id, struct db_image *image)
{
    struct core_params p = {.identity = member ? id : NULL,
                            .image = member ? image : NULL,
                            .seed = 1,
                            .message_max = 1 << 20,
                            .version = "1.0",
                            .now_ms = n->now,
                            .wall_ms = n->wall,
                            .log_kept = n->log_kept};
    n->core = core_new(&p);
    step(n, (struct core_event){.type = EV_TICK});
    if (member)
        join_group(n);
}

static void start_member(struct node *n)
{
    struct identity id;
    struct db_image image = {0};
    if (!load(n, &id, &image))
        fault("%s: no cluster", n->prefix);
    start(n, true, &id, &image);
    run(n);
}

/* ---- verbs */

static void do_form(struct node *n)
{
    struct identity id;
    struct db_image image = {0};
    if (load(n, &id, &image))
        return;
    start(n, false, NULL, NULL);
    struct json *args = json_object_new();
    json_set_str(args, "name", "ring");
    struct uuid request_id = pki_uuid();
    AUTO(json_freep) struct json *request = proto_request("cluster.init", uuid_str(&request_id).s, args);
    n->client++;
    step(n, (struct core_event){.type = EV_REQUEST, .client = n->client, .request = request, .access = ACCESS_ADMIN});
    join_group(n);
    run(n);
    if (n->code != 0)
        fault("cluster init: %lld %s", (long long)n->code, n->message);
    tell("formed");
    rest(n);
}

static void do_put(struct node *n, long from, long count)
{
    start_member(n);
    for (long k = from; k < from + count; k++) {
        char value[32];
        snprintf(value, sizeof(value), "/%ld", k);
        struct json *args = json_object_new();
        json_set_str(args, "name", SETTING);
        json_set_str(args, "value", value);
        ask(n, "cluster.config.set", args, "cluster config set");
        tell("put %ld", k);
        rest(n);
    }
}

/* The raise is a job: its request is answered when the fence stands, and the leader brings it to an end. */
static int64_t level(struct node *n)
{
    struct slice row;
    return tables_get(db_tables(core_db(n->core)), TABLE_CLUSTER, "level", &row) == 0 && row.len ? row.p[0] : -1;
}

static void do_raise(struct node *n)
{
    start_member(n);
    for (int64_t end = n->now + 5000; n->now < end;) { /* its new facts are committed */
        n->now += TICK_MS;
        n->wall += TICK_MS;
        step(n, (struct core_event){.type = EV_TICK});
        write_all(n);
    }
    struct slice row;
    bool fenced = tables_get(db_tables(core_db(n->core)), TABLE_CLUSTER, "level", &row) == 0 && row.p[1] != 0;
    if (level(n) < 2 && !fenced)
        ask(n, "level.raise", json_object_new(), "level raise");
    for (int64_t end = n->now + ANSWER_MS; level(n) < 2 && !n->copy_error.code && n->now < end;) {
        n->now += TICK_MS;
        n->wall += TICK_MS;
        step(n, (struct core_event){.type = EV_TICK});
        write_all(n);
    }
    if (n->copy_error.code)
        stop("level raise", &n->copy_error);
    if (level(n) < 2)
        fault("the level was not raised");
    tell("raised");
}

static void do_dump(struct node *n, const char *file)
{
    struct buf b = {0};
    start_member(n);
    db_snapshot_encode(core_db(n->core), &b);
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, b.p, b.len) != (ssize_t)b.len)
        fault("cannot write %s", file);
    close(fd);
}

/* ---- a follower that installs a snapshot */

static struct slice read_file(const char *path)
{
    struct buf b = {0};
    if (file_read("", path, 64 << 20, &b, NULL) != 0)
        fault("cannot read %s", path);
    return buf_slice(&b);
}

/* The cluster is told at a fixed place: agent/db/snapshot.c. */
static struct identity follower_of(struct slice snapshot)
{
    struct identity id = {.cluster_name = "ring", .nodeid = FOLLOWER_NODEID, .node = "n2", .address = "127.0.0.2"};
    struct wire_reader r = wire_reader(snapshot);
    wire_get_u8(&r);
    wire_get_u8(&r);
    id.cluster = wire_get_uuid(&r);
    id.replica.b[0] = 2;
    return id;
}

static int no_apply(void *ctx, struct tables *t, const struct entry *e, struct apply_result *ret)
{
    (void)ctx, (void)t, (void)e, (void)ret;
    return 0;
}

static void do_install(struct node *n, const char *file)
{
    struct slice snapshot = read_file(file);
    struct identity id = follower_of(snapshot);
    struct db_image image = {0};
    struct error e = {0};
    if (store_open(n->db, &id, &n->store, &image, &e) != 0)
        stop("database", &e);
    struct db_params p = {.cluster = id.cluster,
                          .self = id.replica,
                          .nodeid = id.nodeid,
                          .seed = 1,
                          .message_max = 1 << 20,
                          .machine = {.apply = no_apply}};
    struct db *db = db_new(&p, &image, n->now);
    int err = db_snapshot_install(db, n->now, snapshot);
    if (err == ERR_AGAIN) {
        tell("installed %llu", (unsigned long long)db_applied_index(db));
        return;
    }
    if (err)
        fault("the snapshot is refused: %d", err);
    struct db_out out;
    for (bool any = true; any;) {
        any = db_take_out(db, &out);
        if (!any)
            break;
        if (out.type == DB_PERSIST) {
            if (store_write(n->store, &out.batch, 1, &e) != 0)
                stop("database", &e);
            db_persisted(db, n->now, out.batch->seq);
        }
        db_out_done(&out);
    }
    tell("installed %llu", (unsigned long long)db_applied_index(db));
}

/* ---- joining */

struct host {
    struct node *n;
    struct buf sealed_ca_key;
};

static void on_join(void *ctx, struct tls_client *c, struct join_request *r)
{
    struct host *h = ctx;
    struct error e = {0};
    struct core_action a = {.type = ACT_ISSUE, .nodeid = 2, .text = (char *)(uintptr_t)COROSYNC_CONF, .join = *r};
    a.sealed_ca_key = h->sealed_ca_key;
    tell("issued %s", uuid_str(&r->replica).s);
    tls_client_issue(c, &a, &e);
    join_request_done(r);
    free(r);
}

static void on_fetch(void *ctx, struct tls_client *c)
{
    (void)ctx, (void)c;
}

static void do_serve(struct node *n, const char *token_file)
{
    static const struct tls_server_ops ops = {on_join, on_fetch};
    struct membership_env env = env_of(n->prefix);
    struct membership_outcome o;
    struct tls_server *server;
    struct token_outcome t;
    struct error e = {0};
    char peers[64];
    membership_found_in(&env, "ring", COROSYNC_CONF, &n->facts, &o);
    if (o.error.code)
        fault("%s", o.error.text);
    struct host h = {n, o.sealed_ca_key};
    if (tls_server_start_in(n->prefix, &o.identity, 0, &ops, &h, &server, &e) != 0)
        fault("%s", e.text);
    snprintf(peers, sizeof(peers), "127.0.0.1:%u", tls_server_port(server));
    token_make_in(n->prefix, &o.identity, "n2", "127.0.0.1", peers, n->wall, 3600000, &t);
    struct slice text = {(const uint8_t *)t.text, strlen(t.text)};
    if (file_install("", token_file, text, (struct file_mode){.mode = 0600}, &e) != 0)
        fault("%s", e.text);
    tell("serving");
    for (;;)
        pause();
}

static void do_join(struct node *n, const char *token_file)
{
    struct slice token = read_file(token_file);
    char *text = strndup((const char *)token.p, token.len);
    struct membership_env env = env_of(n->prefix);
    struct host_facts facts = facts_of("n2", false);
    struct membership_outcome o;
    membership_join_in(&env, text, &facts, &o);
    if (o.error.code)
        stop("node join", &o.error);
    tell("joined %s", uuid_str(&o.identity.replica).s);
}

/* ---- checking */

static const char *const member_files[] = {
    PATH_CLUSTER_KEY,
    PATH_CA,
    PATH_NODE_CERT,
    PATH_NODE_KEY,
    PATH_COROSYNC_AUTHKEY,
    PATH_COROSYNC_CONF,
    "/etc/pki/CA/cacert.pem",
    "/etc/pki/libvirt/servercert.pem",
    "/etc/pki/libvirt/clientcert.pem",
    "/etc/pki/libvirt/private/serverkey.pem",
    "/etc/pki/libvirt/private/clientkey.pem",
    "/etc/pki/qemu/ca-cert.pem",
    "/etc/pki/qemu/server-cert.pem",
    "/etc/pki/qemu/client-cert.pem",
    "/etc/pki/qemu/server-key.pem",
    "/etc/pki/qemu/client-key.pem",
};

/* Whoever has an identity has all that makes a member, and it fits together. */
static void check_files(const struct node *n)
{
    struct error e = {0};
    struct buf ca = {0}, cert = {0}, key = {0};
    for (size_t i = 0; i < sizeof(member_files) / sizeof(member_files[0]); i++) {
        struct buf b = {0};
        if (file_read(n->prefix, member_files[i], 1 << 20, &b, &e) != 0 || b.len == 0)
            fault("a member without %s: %s", member_files[i], e.text);
        buf_done(&b);
    }
    if (file_read(n->prefix, PATH_CA, 1 << 20, &ca, &e) != 0 ||
        file_read(n->prefix, PATH_NODE_CERT, 1 << 20, &cert, &e) != 0 ||
        file_read(n->prefix, PATH_NODE_KEY, 1 << 20, &key, &e) != 0 ||
        pki_check_issued(buf_slice(&ca), buf_slice(&cert), buf_slice(&key), &e) != 0)
        fault("the certificate does not fit: %s", e.text);
}

/* The applied part of the log, without the rows. */
static struct db_image log_of(const struct db_image *image)
{
    struct db_image log = {.term = image->term, .voted_for = image->voted_for, .commit_index = image->applied_index};
    log.base_config = image->base_config;
    log.entries = xcalloc(image->applied_index, sizeof(struct entry));
    for (; log.n_entries < image->applied_index; log.n_entries++) {
        struct entry *to = &log.entries[log.n_entries];
        *to = image->entries[log.n_entries];
        to->payload.p = xmemdup(to->payload.p, to->payload.len);
    }
    return log;
}

/* Another replica, that has nothing but the log, comes to the same rows. */
static void check_replay(const struct node *n, const struct identity *id, const struct db_image *image)
{
    if (image->base_index != 0 || image->applied_index == 0)
        return; /* the log's beginning was cut off: the digest alone must do */
    struct node other = {.prefix = n->prefix, .now = n->now, .wall = n->wall, .code = -1, .facts = n->facts};
    struct db_image log = log_of(image);
    other.dry = true;
    start(&other, true, id, &log);
    if (db_applied_index(core_db(other.core)) != image->applied_index)
        fault("the log leads to %llu, the rows are of %llu", (unsigned long long)db_applied_index(core_db(other.core)),
              (unsigned long long)image->applied_index);
    struct hash a = tables_hash(db_tables(core_db(other.core))), b = tables_hash(image->tables);
    if (!hash_eq(&a, &b))
        fault("the log leads to another state than the rows at %llu", (unsigned long long)image->applied_index);
    tell("replayed %llu", (unsigned long long)image->applied_index);
}

static void tell_image(const struct db_image *image)
{
    char hex[2 * HASH_SIZE + 1] = "-";
    struct slice row;
    if (image->tables) {
        struct hash h = tables_hash(image->tables);
        hash_hex(&h, hex);
    }
    tell("base %llu", (unsigned long long)image->base_index);
    tell("last %llu", (unsigned long long)(image->base_index + image->n_entries));
    tell("applied %llu", (unsigned long long)image->applied_index);
    tell("hash %s", hex);
    for (size_t i = 0; i < image->n_entries; i++) {
        struct wire_reader r = wire_reader(image->entries[i].payload);
        if (image->entries[i].kind != ENTRY_SETTING_PUT)
            continue;
        char name[128], value[128];
        wire_get_str(&r, name, sizeof(name));
        wire_get_str(&r, value, sizeof(value));
        tell("entry %s", value + 1);
    }
    if (image->tables && tables_get(image->tables, TABLE_CLUSTER, "level", &row) == 0)
        tell("level %u", row.p[0]);
}

/* Stored is what the file has; after that the node is started, and must lead and hold what the file held. */
static void do_check(struct node *n)
{
    struct identity id;
    struct db_image image = {0};
    if (!load(n, &id, &image)) {
        tell("none");
        return;
    }
    check_files(n);
    tell("member %s", uuid_str(&id.replica).s);
    check_replay(n, &id, &image);
    tell_image(&image);
    start(n, true, &id, &image);
    run(n);
    if (!leads(n))
        fault("the node does not lead itself");
    tell("running-level %lld", (long long)level(n));
    tell("running-applied %llu", (unsigned long long)db_applied_index(core_db(n->core)));
}

static void do_check_joined(struct node *n)
{
    struct identity id;
    struct error e = {0};
    int err = identity_load_in(n->prefix, &id, &e);
    if (err && err != ERR_NOT_FOUND)
        fault("%s", e.text);
    if (err) {
        tell("none");
        return;
    }
    check_files(n);
    tell("member %s", uuid_str(&id.replica).s);
}

static void do_check_follower(struct node *n, const char *file)
{
    struct identity id = follower_of(read_file(file));
    struct db_image image = {0};
    struct error e = {0};
    if (store_open(n->db, &id, &n->store, &image, &e) != 0)
        stop("database", &e);
    tell_image(&image);
}

static int usage(void)
{
    fputs("usage: see the head of tests/faults/node.c\n", stderr);
    return 64;
}

int main(int argc, char **argv)
{
    struct node n;
    if (argc < 3)
        return usage();
    const char *verb = argv[2], *file = argc > 3 ? argv[3] : "";
    umask(077);
    init(&n, argv[1], str_eq(verb, "raise") || (str_eq(verb, "check") && str_eq(file, "newer")));
    n.log_kept = str_eq(verb, "put-short") ? SHORT_LOG : 0;
    if (str_eq(verb, "form"))
        do_form(&n);
    else if ((str_eq(verb, "put") || str_eq(verb, "put-short")) && argc == 5)
        do_put(&n, strtol(file, NULL, 10), strtol(argv[4], NULL, 10));
    else if (str_eq(verb, "raise"))
        do_raise(&n);
    else if (str_eq(verb, "dump") && argc == 4)
        do_dump(&n, file);
    else if (str_eq(verb, "install") && argc == 4)
        do_install(&n, file);
    else if (str_eq(verb, "serve") && argc == 4)
        do_serve(&n, file);
    else if (str_eq(verb, "join") && argc == 4)
        do_join(&n, file);
    else if (str_eq(verb, "check"))
        do_check(&n);
    else if (str_eq(verb, "check-joined"))
        do_check_joined(&n);
    else if (str_eq(verb, "check-follower") && argc == 4)
        do_check_follower(&n, file);
    else
        return usage();
    _exit(0); /* as the agent: no destructors, SQLite's checkpoint at closing included */
}
