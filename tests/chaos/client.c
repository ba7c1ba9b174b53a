/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Clients of one node's agent, and a witness of what corosync says there: what tests/lab/chaos records.
 *
 *     chaos-client NAME SEED CLIENTS STOP REGISTER…
 *
 * The Nth client has the seed SEED + N: request ids come of it, and no two clients may share them.
 * Each client writes a register (a setting of the cluster, see value_of()) and, when that is acknowledged, reads all.
 * An agent answers reads from its own copy, which may be old; but one that has acknowledged a write has applied all
 * that was committed before it, so a read behind a write is one that a client may rely on: from the moment when the
 * write was asked for to the moment when the read was answered. A write without an answer is said again with the same
 * request id, TRIES times. Ends when there is a file STOP; NAME is unique to this process.
 *
 * Prints a line for each event, in one write, before what it tells of can have an effect (a call) or after it is known
 * (all others). The first two words are the kind and CLOCK_MONOTONIC in ns:
 *
 *     call T CLIENT N REGISTER VALUE     the Nth write of a client is asked for
 *     done T CLIENT N                    it is acknowledged
 *     read T CLIENT N REGISTER=VALUE…    what was read behind it
 *     lost T CLIENT N CODE               no client will ask for it again; it may take effect, or not
 *     ring T NODEID.SEQ MEMBER…          corosync's ring, by its nodeids
 *     quorate T 0|1                      corosync's verdict
 *     gone T                             there is no corosync to ask */
#include <assert.h>
#include <corosync/votequorum.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "cli/io/client.h"
#include "common/err.h"
#include "common/prng.h"

enum { CLIENTS_MAX = 16, TRIES = 3, ASK_MS = 1500, PAUSE_MS = 60, RETRY_MS = 100, LINE_MAX = 4096 };

struct options {
    const char *name, *stop;
    uint64_t seed;
    size_t n_clients, n_registers;
    char **registers;
};

struct writer {
    const struct options *o;
    pthread_t thread;
    char name[96];
    uint64_t n;
    struct prng prng;
    struct client *client;
};

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The time is taken here: before the write for a call, after the answer for all others. */
static void record(const char *kind, const char *rest)
{
    char line[LINE_MAX];
    int n = snprintf(line, sizeof(line), "%s %" PRId64 "%s%s\n", kind, now_ns(), rest[0] ? " " : "", rest);
    if (n < 0 || (size_t)n >= sizeof(line) || write(STDOUT_FILENO, line, (size_t)n) != n)
        abort(); /* what is not recorded proves nothing */
}

static void record_op(const char *kind, const struct writer *w, const char *rest)
{
    char text[LINE_MAX - 64];
    snprintf(text, sizeof(text), "%s %" PRIu64 "%s%s", w->name, w->n, rest[0] ? " " : "", rest);
    record(kind, text);
}

static bool is_over(const struct options *o)
{
    return access(o->stop, F_OK) == 0;
}

/* ---- clients ---- */

static int ask(struct writer *w, const char *verb, const struct uuid *id, struct json *args, struct json **ret_answer)
{
    AUTO(json_freep) struct json *request = proto_request(verb, uuid_str(id).s, args), *answer = NULL;
    struct error e = {0};
    int err = client_ask(w->client, request, ASK_MS, false, &answer, &e);
    if (err)
        return err;
    int64_t code = json_get_int(json_get(answer, "status"), "code", 1);
    if (code == 0 && ret_answer) {
        *ret_answer = answer;
        answer = NULL;
    }
    return code ? -(int)code : 0;
}

/* Unique, and good for the register: a path where the cluster wants one. */
static void value_of(const struct writer *w, const char *name, char *dst, size_t size)
{
    snprintf(dst, size, "%s%s.%" PRIu64, strncmp(name, "node.", 5) == 0 ? "" : "/", w->name, w->n);
}

static int write_register(struct writer *w, const char *name)
{
    char value[128], text[256];
    struct uuid id = prng_uuid(&w->prng);
    int err = ERR_AGAIN;
    value_of(w, name, value, sizeof(value));
    snprintf(text, sizeof(text), "%s %s", name, value);
    record_op("call", w, text);
    for (int i = 0; i < TRIES && err; i++) {
        struct json *args = json_object_new();
        json_set_str(args, "name", name);
        json_set_str(args, "value", value);
        if (i > 0)
            poll(NULL, 0, RETRY_MS);
        err = ask(w, "cluster.config.set", &id, args, NULL);
    }
    snprintf(text, sizeof(text), "%d", err);
    record_op(err ? "lost" : "done", w, err ? text : "");
    return err;
}

static void read_registers(struct writer *w)
{
    struct uuid id = prng_uuid(&w->prng);
    AUTO(json_freep) struct json *answer = NULL;
    if (ask(w, "cluster.config.show", &id, NULL, &answer))
        return;
    const struct json *settings = json_get(json_get(answer, "data"), "settings");
    AUTO(buf_done) struct buf b = {0};
    for (size_t i = 0; i < w->o->n_registers; i++)
        buf_printf(&b, "%s%s=%s", i ? " " : "", w->o->registers[i], json_get_str(settings, w->o->registers[i], ""));
    buf_add(&b, "", 1);
    record_op("read", w, (const char *)b.p);
}

static void *write_and_read(void *data)
{
    struct writer *w = data;
    while (!is_over(w->o)) {
        w->n++;
        if (write_register(w, w->o->registers[prng_below(&w->prng, w->o->n_registers)]) == 0)
            read_registers(w);
        poll(NULL, 0, (int)prng_below(&w->prng, 2 * PAUSE_MS));
    }
    return NULL;
}

/* ---- corosync ---- */

static void on_quorum(votequorum_handle_t handle, uint64_t context, uint32_t quorate, uint32_t n,
                      votequorum_node_t *nodes)
{
    (void)handle, (void)context, (void)n, (void)nodes;
    record("quorate", quorate ? "1" : "0");
}

static void on_nodelist(votequorum_handle_t handle, uint64_t context, votequorum_ring_id_t ring, uint32_t n,
                        uint32_t *nodes)
{
    (void)handle, (void)context;
    AUTO(buf_done) struct buf b = {0};
    buf_printf(&b, "%" PRIu32 ".%" PRIu64, ring.nodeid, ring.seq);
    for (uint32_t i = 0; i < n; i++)
        buf_printf(&b, " %" PRIu32, nodes[i]);
    buf_add(&b, "", 1);
    record("ring", (const char *)b.p);
}

static void watch_once(const struct options *o)
{
    votequorum_callbacks_t callbacks = {.votequorum_quorum_notify_fn = on_quorum,
                                        .votequorum_nodelist_notify_fn = on_nodelist};
    votequorum_handle_t handle;
    int fd = -1;
    if (votequorum_initialize(&handle, &callbacks) != CS_OK)
        return;
    cs_error_t err = votequorum_fd_get(handle, &fd);
    if (err == CS_OK)
        err = votequorum_trackstart(handle, 0, CS_TRACK_CURRENT | CS_TRACK_CHANGES);
    while (err == CS_OK && !is_over(o)) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        poll(&p, 1, 200);
        err = votequorum_dispatch(handle, CS_DISPATCH_ALL);
        if (err == CS_ERR_TRY_AGAIN || (err == CS_OK && !(p.revents & (POLLHUP | POLLERR | POLLNVAL))))
            err = CS_OK;
        else
            err = CS_ERR_LIBRARY;
    }
    record("gone", "");
    votequorum_finalize(handle);
}

static void *watch(void *data)
{
    const struct options *o = data;
    while (!is_over(o)) {
        watch_once(o);
        poll(NULL, 0, PAUSE_MS);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static struct writer writers[CLIENTS_MAX];
    pthread_t watcher;
    if (argc < 6 || strtoul(argv[3], NULL, 10) > CLIENTS_MAX) {
        fputs("usage: chaos-client NAME SEED CLIENTS STOP REGISTER...\n", stderr);
        return 64;
    }
    struct options o = {argv[1],          argv[4], strtoull(argv[2], NULL, 10), strtoul(argv[3], NULL, 10),
                        (size_t)argc - 5, argv + 5};
    if (pthread_create(&watcher, NULL, watch, &o) != 0)
        abort();
    for (size_t i = 0; i < o.n_clients; i++) {
        struct writer *w = &writers[i];
        *w = (struct writer){.o = &o, .prng = prng_new(o.seed + i), .client = client_new(PROTO_IPC_NAME, NULL, NULL)};
        snprintf(w->name, sizeof(w->name), "%s-%zu", o.name, i);
        if (pthread_create(&w->thread, NULL, write_and_read, w) != 0)
            abort();
    }
    for (size_t i = 0; i < o.n_clients; i++)
        pthread_join(writers[i].thread, NULL);
    pthread_join(watcher, NULL);
    return 0;
}
