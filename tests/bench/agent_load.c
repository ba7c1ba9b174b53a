/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Committed writes through the agent of this node: `cluster config set`, as clusterctl sends it, from so many clients
 * at once, each of which waits for its answer before it writes again.
 *
 *     agent-load SECONDS IN_FLIGHT BYTES
 *
 * A write is counted when the agent has answered that it is committed. */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "cli/io/client.h"
#include "common/uuid.h"
#include "tests/bench/load.h"

#include <sys/random.h>

enum { ASK_MS = 30000 };

struct writer {
    pthread_t thread;
    struct client *client;
    int64_t until_us;
    size_t bytes;
    uint64_t n, failed;
    struct error why;
};

static atomic_uint_fast64_t next_number;

static struct json *request_of(const char *verb, struct json *args)
{
    struct uuid id;
    if (getrandom(&id, sizeof(id), 0) != sizeof(id))
        abort();
    id.b[6] = (uint8_t)((id.b[6] & 0x0f) | 0x40);
    id.b[8] = (uint8_t)((id.b[8] & 0x3f) | 0x80);
    return proto_request(verb, uuid_str(&id).s, args);
}

static int ask(struct client *c, const char *verb, struct json *args, struct error *e)
{
    AUTO(json_freep) struct json *request = request_of(verb, args);
    AUTO(json_freep) struct json *answer = NULL;
    int err = client_ask(c, request, ASK_MS, false, &answer, e);
    if (err)
        return err;
    const struct json *status = json_get(answer, "status");
    if (json_get_int(status, "code", 1) != 0)
        return error_set(e, ERR_FAILED, "%s", json_get_str(status, "message", "no status"));
    return 0;
}

static int write_one(struct writer *w)
{
    char value[LOAD_BYTES_MAX + 1];
    load_value(value, w->bytes, atomic_fetch_add(&next_number, 1));
    struct json *args = json_object_new();
    json_set_str(args, "name", "upgrade.executor");
    json_set_str(args, "value", value);
    return ask(w->client, "cluster.config.set", args, &w->why);
}

static void *write_until(void *data)
{
    struct writer *w = data;
    while (load_now_us() < w->until_us) {
        if (write_one(w) != 0) {
            w->failed++;
            break;
        }
        w->n++;
    }
    return NULL;
}

/* Connections are made before the clock starts. */
static int connect_all(struct writer *writers, size_t n, struct error *e)
{
    for (size_t i = 0; i < n; i++) {
        writers[i].client = client_new(PROTO_IPC_NAME, NULL, NULL);
        int err = ask(writers[i].client, "cluster.config.show", NULL, e);
        if (err)
            return err;
    }
    return 0;
}

int main(int argc, char **argv)
{
    static struct writer writers[LOAD_IN_FLIGHT_MAX];
    struct error e = {0};
    if (argc != 4) {
        fputs("usage: agent-load SECONDS IN_FLIGHT BYTES\n", stderr);
        return 64;
    }
    long seconds = load_number(argv[1], 1, 600);
    size_t n = (size_t)load_number(argv[2], 1, LOAD_IN_FLIGHT_MAX);
    size_t bytes = (size_t)load_number(argv[3], 32, LOAD_BYTES_MAX);
    atomic_init(&next_number, (uint64_t)load_now_us() * 1000);
    if (connect_all(writers, n, &e) != 0) {
        load_print(0, 1, 0, e.text);
        return 1;
    }
    int64_t began_us = load_now_us();
    for (size_t i = 0; i < n; i++) {
        writers[i].until_us = began_us + seconds * 1000000;
        writers[i].bytes = bytes;
        if (pthread_create(&writers[i].thread, NULL, write_until, &writers[i]) != 0)
            abort();
    }
    uint64_t done = 0, failed = 0;
    for (size_t i = 0; i < n; i++) {
        pthread_join(writers[i].thread, NULL);
        done += writers[i].n;
        failed += writers[i].failed;
        if (writers[i].failed)
            e = writers[i].why;
    }
    load_print(done, failed, load_now_us() - began_us, e.text);
    return failed ? 1 : 0;
}
