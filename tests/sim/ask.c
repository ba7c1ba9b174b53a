/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Local clients of the agents, and what an operator does with several requests: forming a cluster, joining it. */
#include "tests/sim/world.h"

#include "agent/cluster.h"
#include "common/proto.h"

enum { JOIN_AGAIN_MS = 3000, ANSWER_MS = 40000 };

struct ask *world_asked(struct world *w, uint64_t client)
{
    for (size_t i = 0; i < w->n_asks; i++)
        if (w->asks[i].client == client)
            return &w->asks[i];
    return NULL;
}

static struct ask *new_ask(struct world *w)
{
    w->asks = xrealloc(w->asks, w->n_asks + 1, sizeof(*w->asks));
    struct ask *k = &w->asks[w->n_asks++];
    *k = (struct ask){.client = ++w->last_client};
    return k;
}

uint64_t world_ask(struct world *w, size_t node, const char *verb, struct json *args)
{
    struct uuid id = prng_uuid(&w->prng);
    if (str_eq(verb, "vm.start"))
        world_guest(w, json_get_str(args, "name", ""))->asked++;
    return world_ask_again(w, node, verb, args, &id);
}

uint64_t world_ask_again(struct world *w, size_t node, const char *verb, struct json *args, const struct uuid *id)
{
    struct ask *k = new_ask(w);
    uint64_t client = k->client;
    k->id = *id;
    k->node = node;
    k->life = w->nodes[node].life;
    k->is_dead = w->nodes[node].core == NULL;
    if (w->nodes[node].frozen_ms > w->now_ms)
        return args != NULL ? (json_free(args), client) : client; /* nobody takes it up: the client gives up */
    AUTO(json_freep) struct json *request = proto_request(verb, uuid_str(id).s, args);
    world_deliver(w, node, &(struct core_event){.type = EV_REQUEST, .client = client, .request = request,
                                                .access = ACCESS_ADMIN});
    return client;
}

void world_ask_done(struct world *w, uint64_t client)
{
    struct ask *k = world_asked(w, client);
    if (k == NULL)
        return;
    size_t node = k->node;
    bool waits = k->answer == NULL && !k->is_dead;
    json_free(k->answer);
    *k = w->asks[--w->n_asks];
    if (waits)
        world_deliver(w, node, &(struct core_event){.type = EV_CLIENT_GONE, .client = client});
}

void world_asks_of_dead(struct world *w, size_t node)
{
    for (size_t i = 0; i < w->n_asks; i++)
        w->asks[i].is_dead |= w->asks[i].node == node;
}

int ask_code(const struct ask *a)
{
    if (a->answer != NULL)
        return (int)json_int(json_path(a->answer, "status.code"), -1);
    return a->is_dead ? -ERR_NO_AGENT : -1;
}

struct json *world_ask_and_wait(struct world *w, size_t node, const char *verb, struct json *args, int64_t ms)
{
    int64_t until = w->now_ms + ms;
    uint64_t client = world_ask(w, node, verb, args);
    struct json *answer = NULL;
    while (world_fault(w) == NULL && ask_code(world_asked(w, client)) < 0 && world_step(w, until))
        ;
    struct ask *k = world_asked(w, client);
    answer = k->answer;
    k->answer = NULL;
    k->is_dead = k->is_dead || answer != NULL;
    world_ask_done(w, client);
    return answer;
}

/* ---- what an operator does ------------------------------------------------------------------------------------- */

struct json *vm_add_args(const char *name, const char *node, const char *machine, const char *trait)
{
    struct json *args = json_object_new();
    struct hash h = hash_of(name, strlen(name));
    struct uuid id;
    struct buf xml = {0};
    memcpy(id.b, h.b, sizeof(id.b));
    buf_printf(&xml, "%s %s %s %d %s", name, uuid_str(&id).s, machine, 1 << 20, trait);
    AUTO(freep) char *text = buf_steal_str(&xml);
    json_set_str(args, "xml", text);
    json_set_str(args, "node", node);
    return args;
}

static int code_of(const struct json *answer)
{
    return (int)json_int(json_path(answer, "status.code"), -1);
}

static bool votes(const struct world *w, size_t node)
{
    const struct tables *t = world_tables(w);
    struct node n = {0};
    bool is = t != NULL && node_get(t, w->nodes[node].name, &n) == 0 && n.state == NODE_ACTIVE;
    node_done(&n);
    return is;
}

static bool wait_for_vote(struct world *w, size_t node, int64_t until_ms)
{
    while (!votes(w, node))
        if (world_fault(w) != NULL || !world_step(w, until_ms))
            return false;
    return true;
}

/* The token, or NULL: try again. */
static char *get_token(struct world *w, size_t via, size_t node)
{
    struct json *args = json_object_new();
    json_set_str(args, "node", w->nodes[node].name);
    AUTO(json_freep) struct json *answer = world_ask_and_wait(w, via, "cluster.join-token", args, ANSWER_MS);
    const char *token = json_str(json_path(answer, "data.token"), NULL);
    return xstrdup(token);
}

bool world_join(struct world *w, size_t via, size_t node, int64_t ms)
{
    int64_t until = w->now_ms + ms;
    AUTO(freep) char *token = NULL;
    while (!w->nodes[node].has_identity) {
        if (world_fault(w) != NULL || w->now_ms >= until)
            return false;
        if (token == NULL)
            token = get_token(w, via, node);
        if (token == NULL || w->nodes[node].core == NULL) {
            world_run(w, w->now_ms + JOIN_AGAIN_MS);
            continue;
        }
        struct json *args = json_object_new();
        json_set_str(args, "token", token);
        AUTO(json_freep) struct json *answer = world_ask_and_wait(w, node, "node.join", args, ANSWER_MS);
        if (code_of(answer) != 0)
            world_run(w, w->now_ms + JOIN_AGAIN_MS);
    }
    return wait_for_vote(w, node, until);
}

bool world_form(struct world *w, int64_t ms)
{
    int64_t until = w->now_ms + ms;
    struct json *args = json_object_new();
    json_set_str(args, "name", "sim");
    AUTO(json_freep) struct json *answer = world_ask_and_wait(w, 0, "cluster.init", args, ANSWER_MS);
    if (code_of(answer) != 0 || !wait_for_vote(w, 0, until))
        return false;
    for (size_t i = 1; i < w->n; i++)
        if (!world_join(w, 0, i, until - w->now_ms))
            return false;
    return true;
}
