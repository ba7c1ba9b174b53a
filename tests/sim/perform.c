/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The second performer of the core's actions (the first is agent/exec.c). Secrets are not sealed in here: what is
 * sealed stands in clear. A join token's text is "ID SECRET NODE PEER PEER …". */
#include "tests/sim/world.h"

#include <assert.h>

#include "agent/witness-call.h"
#include "witness/record.h"

enum { TLS_TIMEOUT_MS = 20000, CALL_MS = 20, CONNECT_MS = 500 };

/* ---- outcomes -------------------------------------------------------------------------------------------------- */

/* The agent's threads stand still as its loop does. */
static bool waits_for_thaw(struct world *w, struct errand *j)
{
    const struct sim_node *s = &w->nodes[j->node];
    if (s->life != j->life || !world_is_frozen(w, j->node))
        return false;
    world_again(w, j, s->frozen_ms - w->now_ms);
    return true;
}

static void deliver_outcome(struct world *w, struct errand *j)
{
    if (w->nodes[j->node].life != j->life)
        return;
    if (waits_for_thaw(w, j))
        return;
    j->ev.id = j->a.id;
    if (j->ev.type == EV_VM)
        j->ev.vm = &j->vm;
    else if (j->ev.type == EV_HOOK)
        j->ev.hook = &j->hook;
    else if (j->ev.type == EV_TASK)
        j->ev.task = &j->task;
    else if (j->ev.type == EV_BACKUP)
        j->ev.backup = &j->backup;
    else if (j->ev.type == EV_FACTS)
        j->ev.facts = &j->facts;
    else if (j->ev.type == EV_VITALS)
        j->ev.vitals = &j->vitals;
    else if (j->ev.type == EV_TOKEN)
        j->ev.token = &j->token;
    else if (j->ev.type == EV_MEMBERSHIP)
        j->ev.membership = &j->membership;
    else if (j->ev.type == EV_WITNESS)
        j->ev.witness = &j->witness;
    else if (j->ev.type == EV_WITNESS_ASKED)
        j->ev.asked = &j->asked;
    else if (j->ev.type == EV_FETCHED)
        j->ev.bytes = buf_slice(&j->bytes);
    bool joined = j->ev.type == EV_MEMBERSHIP && j->membership.error.code == 0;
    world_deliver(w, j->node, &j->ev);
    if (joined)
        world_connect(w);
}

void world_answer(struct world *w, struct errand *j, enum core_event_type outcome, int64_t delay_ms)
{
    j->ev.type = outcome;
    j->run = deliver_outcome;
    world_again(w, j, delay_ms);
}

struct errand *world_outcome(struct world *w, size_t node, uint32_t life, uint64_t id, enum core_event_type type)
{
    struct errand *j = world_later(w, 0, deliver_outcome);
    j->node = node;
    j->life = life;
    j->a.id = id;
    j->ev.type = type;
    return j;
}

/* An agent that died while its call was on the way: the call arrives or not. After a power loss it does not. */
static bool is_lost(struct world *w, const struct errand *j)
{
    const struct sim_node *s = &w->nodes[j->node];
    return s->boot != j->boot || !s->powered || (s->life != j->life && (w->p.is_exact || world_chance(w, 500)));
}

/* ---- facts ----------------------------------------------------------------------------------------------------- */

static const struct release {
    const char *name, *os, *corosync, *machines;
    uint32_t qemu, libvirt;
} releases[] = {
    {"bookworm", "Debian GNU/Linux 12 (bookworm)", "3.1.7", "pc-i440fx-7.2 pc-q35-6.2 pc-q35-7.2", 7002000, 9000000},
    {"trixie", "Debian GNU/Linux 13 (trixie)", "3.1.9", "pc-i440fx-10.0 pc-q35-10.0 pc-q35-6.2 pc-q35-7.2", 10000000,
     11003000},
};

static const struct release *find_release(const char *name)
{
    for (size_t i = 0; i < sizeof(releases) / sizeof(releases[0]); i++)
        if (str_eq(releases[i].name, name))
            return &releases[i];
    return &releases[0];
}

const char *world_machines(const char *release)
{
    return find_release(release)->machines;
}

static void read_facts(const struct world *w, size_t node, struct host_facts *f)
{
    const struct sim_node *s = &w->nodes[node];
    const struct release *r = find_release(s->release);
    *f = (struct host_facts){.port = 16509, .qemu_version = r->qemu, .libvirt_version = r->libvirt,
                             .memory_kib = 16 << 20, .cpus = 8, .machines = xstrdup(r->machines)};
    STR_COPY(f->hostname, s->name);
    STR_COPY(f->address, s->address);
    STR_COPY(f->boot_id, uuid_str(&s->boot_id).s);
    STR_COPY(f->release, r->name);
    STR_COPY(f->os, r->os);
    STR_COPY(f->kernel, "6.1.0");
    STR_COPY(f->corosync, r->corosync);
}

static void perform_facts(struct world *w, struct errand *j)
{
    if (is_lost(w, j))
        return;
    if (w->nodes[j->node].host.hung_until_ms > w->now_ms)
        error_set(&j->ev.error, ERR_TIMEOUT, "libvirt does not answer");
    else
        read_facts(w, j->node, &j->facts);
    world_answer(w, j, EV_FACTS, j->ev.error.code ? 5000 : CALL_MS);
}

/* Nothing is decided by them. In an exact world they are never told, so that no scenario's log hangs on when they are.
 */
static void perform_vitals(struct world *w, struct errand *j)
{
    if (w->p.is_exact || is_lost(w, j))
        return;
    j->vitals = (struct host_vitals){.spaces = {{"/", 20000, 40000}}, .n_spaces = 1, .n_links = 1};
    if (j->a.text)
        STR_COPY(j->vitals.executor, j->a.text);
    world_answer(w, j, EV_VITALS, CALL_MS);
}

/* ---- database copies ------------------------------------------------------------------------------------------- */

/* It is on the disk before its agent hears of it, which may be dead by then. */
static void perform_copy(struct world *w, struct errand *j)
{
    struct sim_node *s = &w->nodes[j->node];
    if (is_lost(w, j))
        return;
    if (s->failing_copies > 0) {
        s->failing_copies--;
        error_set(&j->ev.error, ERR_IO, "cannot write %s: No space left on device", j->a.text);
    } else {
        buf_done(&s->copy);
        s->copy = j->a.bytes;
        j->a.bytes = (struct buf){0};
    }
    world_answer(w, j, EV_COPIED, world_delay(w, CALL_MS, 5 * CALL_MS));
}

/* ---- tokens ---------------------------------------------------------------------------------------------------- */

static void perform_token(struct world *w, struct errand *j)
{
    struct uuid secret = prng_uuid(&w->prng);
    char hex[UUID_STR_SIZE];
    struct buf text = {0};
    STR_COPY(hex, uuid_str(&secret).s);
    j->token.id = prng_uuid(&w->prng);
    j->token.secret_hash = hash_of(hex, strlen(hex));
    buf_printf(&text, "%s %s %s %s", uuid_str(&j->token.id).s, hex, j->a.node, j->a.peers != NULL ? j->a.peers : "");
    buf_add(&j->token.sealed_text, text.p, text.len);
    j->token.text = buf_steal_str(&text);
    world_answer(w, j, EV_TOKEN, CALL_MS);
}

struct token_parts {
    struct uuid id;
    struct hash secret_hash;
    char node[NODE_NAME_MAX], peer[ADDRESS_MAX];
};

/* The n-th peer of the token; false: it has fewer. */
static bool token_parse(const char *text, int n, struct token_parts *ret)
{
    AUTO(freep) char *copy = xstrdup(text);
    char *at = NULL, *words[4] = {strtok_r(copy, " ", &at)};
    for (size_t i = 1; i < 4 && words[i - 1] != NULL; i++)
        words[i] = strtok_r(NULL, " ", &at);
    for (; n > 0 && words[3] != NULL; n--)
        words[3] = strtok_r(NULL, " ", &at);
    if (words[3] == NULL || uuid_parse(words[0], &ret->id) != 0)
        return false;
    ret->secret_hash = hash_of(words[1], strlen(words[1]));
    STR_COPY(ret->node, words[2]);
    words[3][strcspn(words[3], ":")] = '\0';
    STR_COPY(ret->peer, words[3]);
    return true;
}

/* ---- forming --------------------------------------------------------------------------------------------------- */

static void install(struct world *w, size_t node, const struct identity *id, const char *corosync_conf)
{
    struct sim_node *s = &w->nodes[node];
    if (s->has_identity)
        world_fail(w, "%s joins though it is a member", s->name);
    disk_done(&s->disk);
    disk_init(&s->disk);
    free(s->corosync_conf);
    s->corosync_conf = xstrdup(corosync_conf);
    s->identity = *id;
    s->has_identity = true;
    s->joining_token = (struct uuid){{0}};
    free(s->first_boot_token);
    s->first_boot_token = NULL;
}

static void perform_found(struct world *w, struct errand *j)
{
    const struct sim_node *s = &w->nodes[j->node];
    struct identity *id = &j->membership.identity;
    if (is_lost(w, j))
        return;
    *id = (struct identity){.nodeid = 1, .port = 16509};
    id->cluster = prng_uuid(&w->prng);
    id->replica = prng_uuid(&w->prng);
    STR_COPY(id->cluster_name, j->a.text);
    STR_COPY(id->node, s->name);
    STR_COPY(id->address, s->address);
    buf_add_str(&j->membership.sealed_ca_key, "the CA's key");
    j->membership.ca_hash = hash_of("ca", 2);
    install(w, j->node, id, j->a.text2);
    world_answer(w, j, EV_MEMBERSHIP, CALL_MS);
}

/* ---- joining and fetching: a question to another node over TLS ------------------------------------------------- */

static size_t find_address(const struct world *w, const char *address)
{
    for (size_t i = 0; i < w->n; i++)
        if (str_eq(w->nodes[i].address, address))
            return i;
    return w->n;
}

static struct tls_wait *tls_begin(struct world *w, size_t peer, struct errand *j)
{
    w->tls = xrealloc(w->tls, w->n_tls + 1, sizeof(*w->tls));
    struct tls_wait *t = &w->tls[w->n_tls++];
    *t = (struct tls_wait){.client = ++w->last_client, .peer = peer, .peer_life = w->nodes[peer].life, .job = j};
    j->again = true; /* it waits here, not in the heap */
    return t;
}

static struct errand *tls_end(struct world *w, uint64_t client)
{
    for (size_t i = 0; i < w->n_tls; i++)
        if (w->tls[i].client == client) {
            struct errand *j = w->tls[i].job;
            w->tls[i] = w->tls[--w->n_tls];
            return j;
        }
    return NULL;
}

static bool serves_tls(const struct world *w, size_t from, size_t peer)
{
    return peer < w->n && peer != from && world_reaches(w, from, peer) && w->nodes[peer].core != NULL &&
           w->nodes[peer].has_identity;
}

static void ask_peer(struct world *w, struct errand *j);

/* No answer, or one that another member may give better. */
static void try_next_peer(struct world *w, struct errand *j)
{
    j->step++;
    j->run = ask_peer;
    world_again(w, j, CONNECT_MS);
}

static void tls_timeout(struct world *w, struct errand *j)
{
    struct errand *waiting = tls_end(w, j->number);
    if (waiting == NULL)
        return;
    if (waiting->a.type == ACT_JOIN) {
        try_next_peer(w, waiting);
        return;
    }
    error_set(&waiting->ev.error, ERR_TIMEOUT, "no answer");
    world_answer(w, waiting, EV_FETCHED, 0);
}

static void deliver_tls(struct world *w, struct errand *j)
{
    if (w->nodes[j->node].life == j->life && !waits_for_thaw(w, j))
        world_deliver(w, j->node, &j->ev);
}

static struct errand *send_question(struct world *w, const struct tls_wait *t, enum core_event_type type)
{
    struct errand *timeout = world_later(w, TLS_TIMEOUT_MS, tls_timeout);
    timeout->number = t->client;
    struct errand *q = world_later(w, world_delay(w, CALL_MS, 4 * CALL_MS), deliver_tls);
    q->node = t->peer;
    q->life = t->peer_life;
    q->ev.type = type;
    q->ev.client = t->client;
    return q;
}

static struct uuid joining_replica(struct world *w, size_t node, const struct uuid *token)
{
    struct sim_node *s = &w->nodes[node];
    if (!uuid_eq(&s->joining_token, token)) {
        s->joining_token = *token;
        s->joining_replica = prng_uuid(&w->prng);
    }
    return s->joining_replica;
}

static void ask_peer(struct world *w, struct errand *j)
{
    struct token_parts token;
    if (w->nodes[j->node].life != j->life)
        return;
    if (!token_parse(j->a.text, j->step, &token)) {
        if (!j->membership.error.code)
            error_set(&j->membership.error, ERR_AGAIN, "no member could be reached");
        world_answer(w, j, EV_MEMBERSHIP, CALL_MS);
        return;
    }
    size_t peer = find_address(w, token.peer);
    if (!serves_tls(w, j->node, peer)) {
        try_next_peer(w, j);
        return;
    }
    struct errand *q = send_question(w, tls_begin(w, peer, j), EV_TLS_JOIN);
    q->join = (struct join_request){.token = token.id, .secret_hash = token.secret_hash, .csr = xstrdup("csr")};
    q->join.replica = joining_replica(w, j->node, &token.id);
    STR_COPY(q->join.node, token.node);
    STR_COPY(q->join.address, w->nodes[j->node].address);
    read_facts(w, j->node, &q->join.facts);
    q->ev.join = &q->join;
}

static void perform_fetch(struct world *w, struct errand *j)
{
    size_t peer = find_address(w, j->a.address);
    if (w->nodes[j->node].life != j->life)
        return;
    if (!serves_tls(w, j->node, peer)) {
        error_set(&j->ev.error, ERR_IO, "%s cannot be reached", j->a.node);
        world_answer(w, j, EV_FETCHED, CONNECT_MS);
        return;
    }
    send_question(w, tls_begin(w, peer, j), EV_TLS_FETCH);
}

/* The peer's agent is gone, and its connections with it; the joining one's too. */
void world_tls_gone(struct world *w, size_t node)
{
    for (size_t i = w->n_tls; i-- > 0;) {
        if (w->tls[i].job->node == node) {
            errand_free(w->tls[i].job);
            w->tls[i] = w->tls[--w->n_tls];
        } else if (w->tls[i].peer == node) {
            struct errand *j = world_later(w, CONNECT_MS, tls_timeout);
            j->number = w->tls[i].client;
        }
    }
}

static void take_refusal(struct world *w, struct errand *j, const struct error *e)
{
    bool may_differ = e->code == ERR_AGAIN || e->code == ERR_NO_QUORUM || e->code == ERR_TIMEOUT;
    j->membership.error = *e;
    if (may_differ)
        try_next_peer(w, j);
    else
        world_answer(w, j, EV_MEMBERSHIP, CALL_MS);
}

static void tls_reply(struct world *w, struct core_action *a)
{
    struct errand *j = tls_end(w, a->client);
    if (j == NULL)
        return;
    if (j->a.type == ACT_JOIN) {
        take_refusal(w, j, &a->error);
        return;
    }
    j->ev.error = a->error;
    buf_add(&j->bytes, a->bytes.p, a->bytes.len);
    world_answer(w, j, EV_FETCHED, world_delay(w, CALL_MS, 10 * CALL_MS));
}

/* What a member handed over has arrived and is installed. */
static void take_membership(struct world *w, struct errand *j)
{
    const struct sim_node *s = &w->nodes[j->node];
    if (s->life != j->life || s->boot != j->boot)
        return;
    j->membership.error = (struct error){0};
    j->membership.identity.replica = s->joining_replica;
    install(w, j->node, &j->membership.identity, j->membership.corosync_conf);
    world_answer(w, j, EV_MEMBERSHIP, CALL_MS);
}

static void perform_issue(struct world *w, struct errand *j)
{
    struct errand *joiner = tls_end(w, j->a.client);
    const struct sim_node *issuer = &w->nodes[j->node];
    if (joiner == NULL || issuer->life != j->life) {
        error_set(&j->ev.error, ERR_NOT_FOUND, "the joining node is gone");
        if (joiner != NULL)
            try_next_peer(w, joiner);
    } else {
        struct identity *id = &joiner->membership.identity;
        *id = issuer->identity;
        id->nodeid = j->a.nodeid;
        STR_COPY(id->node, j->a.join.node);
        STR_COPY(id->address, j->a.join.address);
        joiner->membership.corosync_conf = xstrdup(j->a.text);
        joiner->run = take_membership;
        world_again(w, joiner, world_delay(w, CALL_MS, 10 * CALL_MS));
    }
    world_answer(w, j, EV_ISSUED, CALL_MS);
}

/* ---- corosync, hooks ------------------------------------------------------------------------------------------- */

static void perform_corosync(struct world *w, struct errand *j)
{
    struct sim_node *s = &w->nodes[j->node];
    if (is_lost(w, j))
        return;
    if (j->a.text != NULL) {
        free(s->corosync_conf);
        s->corosync_conf = xstrdup(j->a.text);
    }
    s->corosync_runs = j->a.corosync == COROSYNC_STOP ? false : s->corosync_runs || j->a.corosync == COROSYNC_START;
    world_connect(w);
    world_answer(w, j, EV_COROSYNC, CALL_MS);
}

static void perform_hook(struct world *w, struct errand *j)
{
    if (is_lost(w, j))
        return;
    if (world_chance(w, w->hook_fails))
        error_set(&j->hook.error, ERR_IO, "the hook could not be run");
    struct hook_outcome hidden = {0}, *o = j->hook.error.code ? &hidden : &j->hook;
    bool arrives = !j->hook.error.code || world_chance(w, 500); /* an error may hide that it had its effect */
    if (arrives && str_eq(j->a.hook.path, EXECUTOR_IN_PLACE))
        in_place_call(w, &j->a.hook, j->node, o);
    else if (arrives)
        bmc_call(w, &j->a.hook, o);
    world_answer(w, j, EV_HOOK, world_delay(w, CALL_MS, 500));
}

/* As the adapter does: it looks at the clock just before it asks the hypervisor. */
static void perform_vm(struct world *w, struct errand *j)
{
    if (is_lost(w, j) || waits_for_thaw(w, j))
        return;
    if (j->a.vm.until_ms == 0 || world_mono_ms(w, j->node) < j->a.vm.until_ms) {
        host_call(w, j);
        return;
    }
    error_set(&j->vm.error, ERR_AGAIN, "it is too late for that call");
    world_answer(w, j, EV_VM, CALL_MS);
}

static void perform_task(struct world *w, struct errand *j)
{
    if (!is_lost(w, j) && !waits_for_thaw(w, j))
        tasks_call(w, j);
}

static void perform_backup(struct world *w, struct errand *j)
{
    if (!is_lost(w, j) && !waits_for_thaw(w, j))
        backups_call(w, j);
}

/* ---- what is done at once -------------------------------------------------------------------------------------- */

static void send(struct world *w, size_t node, const struct core_action *a)
{
    const struct sim_node *s = &w->nodes[node];
    struct checker_node c = {.db = core_db(s->core), .disk = &s->disk, .replica = s->identity.replica};
    if (a->bytes.len > 1 && a->bytes.p[0] == 1) /* the database's */
        checker_sends(w->check, &c, (struct slice){a->bytes.p + 1, a->bytes.len - 1});
    if (s->in_group)
        net_send(w->net, w->now_ms, node, buf_slice(&a->bytes));
}

static void persist(struct world *w, size_t node, struct core_action *a)
{
    struct sim_node *s = &w->nodes[node];
    disk_write(&s->disk, a->batch, w->now_ms + world_delay(w, w->p.is_exact ? s->fsync_ms_max : 1, s->fsync_ms_max));
    a->batch = NULL;
}

/* An answer is for its request; what has a job (its own, or one that did the same already) was applied here, under the
 * request's own id. */
static void check_answer(struct world *w, size_t node, const struct ask *k, const struct json *answer)
{
    const char *job = json_str(json_path(answer, "data.job"), NULL),
               *id = json_str(json_path(answer, "request.id"), "");
    struct uuid_str own = uuid_str(&k->id);
    if (k->answer != NULL)
        world_fail(w, "a client got two answers");
    if (!str_eq(id, own.s))
        world_fail(w, "request %s was answered as %s", own.s, id);
    const struct tables *t = job != NULL ? db_tables(core_db(w->nodes[node].core)) : NULL;
    if (job != NULL && (!tables_has(t, TABLE_JOB, job) || !tables_has(t, TABLE_REQUEST, own.s)))
        world_fail(w, "request %s has an answer with job %s and is not applied", own.s, job);
}

static void reply(struct world *w, size_t node, struct core_action *a)
{
    struct ask *k = world_asked(w, a->client);
    if (k == NULL)
        return;
    check_answer(w, node, k, a->json);
    json_free(k->answer);
    k->answer = a->json;
    a->json = NULL;
}

static void stop(struct world *w, size_t node, const struct core_action *a)
{
    if (a->error.code)
        world_log(w, w->nodes[node].name, "ERROR the agent ends: %s", a->error.text);
    else
        world_log(w, w->nodes[node].name, "the agent ends, as it was asked to");
    if (a->permanent)
        world_fail(w, "%s stopped for good: %s", w->nodes[node].name, a->error.text);
    world_kill(w, node);
}

/* What corosync enforces for all its clients: nobody tells it more than a leader said of that very ring. */
static void cast(struct world *w, size_t node, const struct core_action *a)
{
    struct sim_node *s = &w->nodes[node];
    if (a->cast && !checker_is_said(w->check, a->ring.seq))
        world_fail(w, "%s casts on ring %lu without a verdict", s->name, (unsigned long)a->ring.seq);
    s->cast_ring = a->ring;
    s->casts = a->cast;
}

/* ---- the witness ----------------------------------------------------------------------------------------------- */

static struct witness_record record_of(const struct db_tag *tag)
{
    return (struct witness_record){.sequence = tag->sequence, .version = WITNESS_VERSION, .cluster_uuid = tag->cluster,
                                   .witness_uuid = tag->witness, .term = tag->term, .leader = tag->leader};
}

/* The database's own call: the blob performs it, now or later, and tells of it under the action's id. */
static void perform_witness(struct world *w, struct errand *j)
{
    if (is_lost(w, j))
        return;
    struct db_witness_call call = *j->a.witness;
    call.id = j->a.id;
    if (w->blob != NULL && j->a.site != NULL) {
        blob_call(w->blob, w->now_ms, j->node, j->life, &call);
        return;
    }
    j->asked.result = (struct witness_result){.outcome = WITNESS_UNREACHABLE, .cause = WITNESS_CAUSE_LOCAL};
    witness_outcome_of(&j->asked.result, &j->witness);
    world_answer(w, j, EV_WITNESS, CALL_MS);
}

/* All other questions: there is one place, and at most one record in it. */
static void perform_ask(struct world *w, struct errand *j)
{
    struct witness_result *r = &j->asked.result;
    const struct witness_call *ask = j->a.ask;
    if (is_lost(w, j))
        return;
    *r = (struct witness_result){.op = ask->op, .outcome = WITNESS_DONE};
    if (w->blob == NULL || !blob_reaches(w->blob, j->node)) {
        r->outcome = WITNESS_UNREACHABLE;
        r->cause = WITNESS_CAUSE_LOCAL;
    } else if (ask->op == WITNESS_CREATE && blob_newest(w->blob) != NULL) {
        r->outcome = WITNESS_EXISTS;
    } else if (ask->op == WITNESS_CREATE) {
        blob_create(w->blob, &ask->record.cluster_uuid, &ask->record.witness_uuid);
    } else if (blob_newest(w->blob) == NULL) {
        r->outcome = WITNESS_MISSING;
        r->cause = WITNESS_CAUSE_BLOB_MISSING;
    }
    if (r->outcome == WITNESS_DONE)
        r->record = record_of(blob_newest(w->blob));
    else
        error_set(&r->error, ERR_IO, "the witness: %s", witness_outcome_name(r->outcome));
    world_answer(w, j, EV_WITNESS_ASKED, CALL_MS);
}

static void (*const performers[])(struct world *w, struct errand *j) = {
    [ACT_ISSUE] = perform_issue, [ACT_VM] = perform_vm,       [ACT_HOOK] = perform_hook, [ACT_FACTS] = perform_facts,
    [ACT_TOKEN] = perform_token, [ACT_FOUND] = perform_found, [ACT_JOIN] = ask_peer,     [ACT_FETCH] = perform_fetch,
    [ACT_VITALS] = perform_vitals, [ACT_COROSYNC] = perform_corosync,
    [ACT_WITNESS] = perform_witness, [ACT_WITNESS_ASK] = perform_ask,
    [ACT_COPY] = perform_copy,       [ACT_TASK] = perform_task,
    [ACT_BACKUP] = perform_backup,
};

static void submit(struct world *w, size_t node, struct core_action *a)
{
    assert((size_t)a->type < sizeof(performers) / sizeof(performers[0]) && performers[a->type] != NULL);
    struct errand *j = world_later(w, world_delay(w, CALL_MS, 5 * CALL_MS), performers[a->type]);
    j->node = node;
    j->life = w->nodes[node].life;
    j->boot = w->nodes[node].boot;
    j->a = *a;
    *a = (struct core_action){0};
}

void world_perform(struct world *w, size_t node, struct core_action *a)
{
    switch (a->type) {
    case ACT_SEND: send(w, node, a); break;
    case ACT_PERSIST: persist(w, node, a); break;
    case ACT_REPLY: reply(w, node, a); break;
    case ACT_TLS_REPLY: tls_reply(w, a); break;
    case ACT_WATCHDOG: world_serve_watchdog(w, node, a); break;
    case ACT_STOP: stop(w, node, a); break;
    case ACT_CAST: cast(w, node, a); break;
    default: submit(w, node, a); break;
    }
}
