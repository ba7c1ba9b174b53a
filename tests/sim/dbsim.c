/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Databases under faults. A seed draws a cluster (2 to 5 slots, speeds of net and disks, limits) and then, in virtual
 * time,
 *   clients   propose at any node, and try again after a time-out with the same request id
 *   an admin  adds, raises, lowers, removes and replaces replicas, several at once, and hands leadership over
 *   faults    crash (also in the middle of a node's outputs), restart, pause, partition, loss, slow disks
 * In half of the seeds there is a witness as well: the admin names, raises, lowers, replaces and removes it; some nodes
 * cannot reach it, it says neither yes nor no to writes that land late, and it is rolled back to what all nodes know is
 * old. Most of these clusters have two halves (1+1, 2+2) that lose one another. In a quarter of the seeds an admin
 * forces quorum where a node has none, rightly or not, and prevents nodes from deciding. After FAULTS_MS everything
 * heals; then there must be one leader and one state within SETTLE_MS, and a proposal must still succeed. */
#include "tests/sim/blob.h"
#include "tests/sim/check.h"
#include "witness/quorum.h"

#include <stdarg.h>
#include <stdio.h>

enum {
    SLOTS_MAX = 5,
    FAULTS_MS = 12000,
    SETTLE_MS = 20000,
    STORM_MS = 4000, /* by then all slots vote */
    TICK_MS = 50,
    RETRIES_MAX = 256,
    INBOX_MAX = 4096,
    INBOX_VIEWS = 256, /* of them for views and rings: those are never lost, and never overtaken */
    HELD_MAX = 8,
};

struct slot {
    struct db *db; /* NULL: down */
    struct disk disk;
    struct uuid replica; /* a new one after each wipe */
    unsigned generation;
    bool was_member;
    int64_t tick_ms, start_ms; /* start_ms: when it comes up; INT64_MAX: it is up, or stays down */
    int64_t fetch_ms;          /* INT64_MAX: none */
    size_t fetch_from;
    int64_t paused_ms; /* until then it takes no step */
    struct net_inbox inbox;
    int outputs_left; /* crashes when it falls to 0; < 0: does not */
    bool is_doomed;
    uint64_t led, voted; /* the last term in which it was seen to lead, or to have voted */
    uint32_t life;
    bool is_freed; /* the admin ends its prevention */
    struct blob_event held[HELD_MAX]; /* outcomes of the witness that came while it was paused */
    size_t n_held;
};

struct plan {
    size_t n;
    struct net_params net;
    int64_t fsync_ms_max, client_ms_max, admin_ms_max, fault_ms_max;
    uint64_t log_kept, lag_snapshot;
    size_t message_max, payload_max;
    bool is_storm; /* all slots vote, and leaders die young */
    bool has_witness;
    bool has_halves; /* and they are what falls apart */
    bool is_dynamic; /* the leader decides who votes, not the admin */
    size_t lower;    /* the lower-priority node; none when there is no such one */
    bool is_unnamed; /* there is no witness all the same */
    bool is_removed; /* it is removed now and then, and named again */
    struct blob_params blob;
};

struct sim {
    const struct sim_options *options;
    struct prng prng;
    int64_t now;
    struct plan plan;
    struct slot slot[SLOTS_MAX];
    struct net *net;
    struct checker *check;
    struct blob *blob; /* NULL: there is no witness */
    struct prng witness_prng; /* seeds without one play as if there were none */
    struct prng naming_prng;  /* and so do those in which it is never removed */
    struct uuid witness;
    int64_t witness_ms;
    struct log_sink log[SLOTS_MAX];
    struct sink_ctx {
        struct sim *sim;
        size_t slot;
    } sink[SLOTS_MAX];
    uint64_t last_request;
    uint64_t retries[RETRIES_MAX]; /* requests without outcome */
    size_t n_retries;
    uint64_t n_acknowledged, final_request;
    bool final_done, is_quiet;
    struct prng force_prng; /* seeds without it play as if it did not exist */
    int64_t override_ms;    /* the next time that quorum is forced or prevented; INT64_MAX: never */
    unsigned n_forced;
    int64_t client_ms, admin_ms, fault_ms;
};

/* ---- chance ---------------------------------------------------------------------------------------------------- */

static uint64_t draw(struct sim *s, uint64_t bound)
{
    return prng_below(&s->prng, bound);
}

static bool chance(struct sim *s, unsigned percent)
{
    return draw(s, 100) < percent;
}

static int64_t soon(struct sim *s, int64_t ms_max)
{
    return s->now + 1 + (int64_t)draw(s, (uint64_t)ms_max);
}

#define PICK(s, ...)                                                                                                   \
    ((const int64_t[]){__VA_ARGS__}[draw((s), sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))])

static void plan_witness(struct sim *s, struct plan *p)
{
    static const size_t sizes[] = {2, 2, 2, 3, 4, 4, 4, 5};
    static const int64_t delays[] = {10, 40, 80, 400};
    static const unsigned unknown[] = {0, 50, 400};
    struct prng *r = &s->witness_prng;
    p->n = sizes[prng_below(r, 8)];
    p->fsync_ms_max = p->fsync_ms_max > 100 ? 40 : p->fsync_ms_max; /* else there is no time for what is to be seen */
    p->net.notice_ms_max = p->net.notice_ms_max > 200 && prng_below(r, 4) != 0 ? 60 : p->net.notice_ms_max;
    p->net.delay_ms_max = p->net.delay_ms_max > 40 ? 10 : p->net.delay_ms_max;
    p->net.loss = prng_below(r, 4) != 0 ? 0 : p->net.loss;
    p->has_halves = prng_below(r, 100) < 75;
    p->is_dynamic = prng_below(r, 100) < 50;
    p->lower = prng_below(r, 2) != 0 ? prng_below(r, p->n) : SIZE_MAX;
    p->is_unnamed = prng_below(r, 5) == 0;
    p->is_removed = prng_below(&s->naming_prng, 4) == 0;
    p->is_storm = prng_below(r, 100) < 60;
    p->admin_ms_max = p->is_storm ? 150 : p->admin_ms_max < 600 ? p->admin_ms_max : 600;
    p->fault_ms_max = p->is_storm && p->fault_ms_max > 1000 ? 1000 : p->fault_ms_max;
    p->blob = (struct blob_params){.delay_ms_max = delays[prng_below(r, 4)],
                                   .late_ms_max = 6000,
                                   .unknown = unknown[prng_below(r, 3)],
                                   .refused = prng_below(r, 4) == 0 ? 50 : 0};
}

static struct plan make_plan(struct sim *s)
{
    struct plan p = {.n = 2 + draw(s, SLOTS_MAX - 1)};
    p.net.delay_ms_max = PICK(s, 1, 5, 40, 150);
    p.net.notice_ms_max = PICK(s, 20, 200, 1500);
    p.net.loss = (unsigned)PICK(s, 0, 0, 10, 80);
    p.fsync_ms_max = PICK(s, 2, 20, 100, 600);
    p.client_ms_max = PICK(s, 40, 150, 400);
    p.admin_ms_max = PICK(s, 300, 1000, 4000);
    p.fault_ms_max = PICK(s, 300, 1000, 3000, 8000);
    p.log_kept = (uint64_t)PICK(s, 5, 30, 0);
    p.lag_snapshot = (uint64_t)PICK(s, 8, 30, 0);
    p.message_max = (size_t)PICK(s, 900, 4000, 1 << 20);
    p.payload_max = (size_t)PICK(s, 30, 500);
    p.is_storm = chance(s, 40);
    p.has_witness = prng_below(&s->witness_prng, 2) != 0;
    if (p.has_witness) {
        plan_witness(s, &p);
    } else if (p.is_storm) {
        p.n = 3 + 2 * draw(s, 2);
        p.admin_ms_max = 200;
        p.fault_ms_max = PICK(s, 300, 1000);
        p.client_ms_max = PICK(s, 150, 400);
    }
    return p;
}

/* ---- the log --------------------------------------------------------------------------------------------------- */

static void say(const struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(const struct sim *s, const char *fmt, ...)
{
    va_list ap;
    if (!s->options->is_verbose)
        return;
    printf("%8.3f  ", (double)s->now / 1000);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

static void write_line(void *ctx, enum log_level level, const char *line)
{
    const struct sink_ctx *c = ctx;
    (void)level;
    say(c->sim, "node %zu: %s", c->slot + 1, line);
}

/* ---- the machine ----------------------------------------------------------------------------------------------- */

/* A put or a deletion, and a counter that tells a request that was applied twice. */
static int machine_apply(void *ctx, struct tables *t, const struct entry *e, struct apply_result *ret)
{
    const struct sink_ctx *c = ctx;
    struct sim *s = c->sim;
    const struct db *db = s->slot[c->slot].db;
    char key[24];
    uint64_t count = 0;
    struct slice old;
    struct wire_reader r = wire_reader(e->payload);
    if (e->kind == ENTRY_FORCE)
        return 0;
    if (e->kind != ENTRY_SETTING_PUT)
        return ERR_UNKNOWN_KIND;
    /* At its start it has no database yet, and what it applies is what it had committed. */
    checker_applies(s->check, db != NULL ? db->term : s->slot[c->slot].disk.image.term, e);
    WIRE_GET_STR(&r, key);
    if (tables_get(t, TABLE_SETTING, "count", &old) == 0)
        memcpy(&count, old.p, sizeof(count));
    count++;
    tables_put(t, TABLE_SETTING, "count", (struct slice){(const uint8_t *)&count, sizeof(count)});
    if (count % 5 == 0)
        tables_del(t, TABLE_SETTING, key);
    else
        tables_put(t, TABLE_SETTING, key, e->payload);
    if (count % 7 == 0)
        error_set(&ret->error, ERR_CONDITION, "the %lu-th one is refused", (unsigned long)count);
    return 0;
}

/* ---- nodes ----------------------------------------------------------------------------------------------------- */

static void view_of_nodes(const struct sim *s, struct checker_node *ret)
{
    for (size_t i = 0; i < s->plan.n; i++)
        ret[i] = (struct checker_node){.db = s->slot[i].db, .disk = &s->slot[i].disk, .replica = s->slot[i].replica,
                                       .ring = net_ring(s->net, i)};
}

static void crash(struct sim *s, size_t i)
{
    struct slot *n = &s->slot[i];
    if (n->db == NULL)
        return;
    say(s, "node %zu crashes", i + 1);
    db_free(n->db);
    n->db = NULL;
    disk_crash(&n->disk, draw(s, 2));
    net_down(s->net, s->now, i);
    net_inbox_done(&n->inbox);
    n->n_held = 0;
    n->life++;
    n->fetch_ms = INT64_MAX;
    n->paused_ms = 0;
    n->is_doomed = false;
    n->start_ms = soon(s, chance(s, 50) ? 300 : 4000);
}

static void start(struct sim *s, size_t i)
{
    struct slot *n = &s->slot[i];
    struct db_image image = disk_load(&n->disk);
    struct db_params p = {.cluster = {{0xc1}},
                          .self = n->replica,
                          .nodeid = (uint32_t)i + 1,
                          .seed = prng_next(&s->prng),
                          .message_max = s->plan.message_max,
                          .machine = {.apply = machine_apply, .ctx = &s->sink[i]},
                          .log = &s->log[i],
                          .log_kept = s->plan.log_kept,
                          .lag_snapshot = s->plan.lag_snapshot,
                          .requests_kept = 2000};
    say(s, "node %zu starts with term %lu, applied %lu, last %lu", i + 1, (unsigned long)image.term,
        (unsigned long)image.applied_index, (unsigned long)(image.base_index + image.n_entries));
    n->db = db_new(&p, &image, s->now);
    n->start_ms = INT64_MAX;
    n->tick_ms = soon(s, TICK_MS);
    checker_started(s->check, i);
    net_up(s->net, s->now, i);
}

/* "A lost disk means a new node identity, never the old one." */
static void wipe(struct sim *s, size_t i)
{
    struct slot *n = &s->slot[i];
    crash(s, i);
    disk_done(&n->disk);
    disk_init(&n->disk);
    n->generation++;
    n->replica = (struct uuid){{(uint8_t)(i + 1), (uint8_t)n->generation, 0xaa}};
    n->was_member = false;
    say(s, "node %zu is rebuilt -> replica %s", i + 1, uuid_str(&n->replica).s);
    n->start_ms = soon(s, 1000);
}

static void on_outcome(struct sim *s, size_t i, const struct db_out *o)
{
    uint64_t number = request_number(&o->request_id);
    int code = o->result.error.code;
    if (code == ERR_TIMEOUT || code == ERR_NO_QUORUM) {
        if (number != 0 && s->n_retries < RETRIES_MAX && chance(s, 60))
            s->retries[s->n_retries++] = number;
        return;
    }
    checker_acknowledged(s->check, s->slot[i].db->term, &o->request_id);
    s->n_acknowledged++;
    s->final_done |= number != 0 && number == s->final_request;
}

static void perform(struct sim *s, size_t i, struct db_out *o)
{
    struct slot *n = &s->slot[i];
    struct checker_node node = {.db = n->db, .disk = &n->disk, .replica = n->replica};
    switch (o->type) {
    case DB_SEND:
        checker_sends(s->check, &node, buf_slice(&o->bytes));
        net_send(s->net, s->now, i, buf_slice(&o->bytes));
        break;
    case DB_PERSIST:
        disk_write(&n->disk, o->batch, soon(s, s->plan.fsync_ms_max));
        o->batch = NULL;
        break;
    case DB_FETCH:
        n->fetch_from = o->from_nodeid - 1;
        n->fetch_ms = soon(s, 300);
        break;
    case DB_APPLIED: on_outcome(s, i, o); break;
    case DB_WITNESS:
        say(s, "node %zu: call %lu: %s the witness", i + 1, (unsigned long)o->call->id,
            o->call->verb == DB_WITNESS_GET ? "reads" : "writes");
        blob_call(s->blob, s->now, i, n->life, o->call);
        break;
    case DB_FATAL: checker_fail(s->check, "node %zu stops: %s", i + 1, o->result.error.text); break;
    }
}

static void doom(struct sim *s, size_t i)
{
    s->slot[i].is_doomed = true;
    s->slot[i].outputs_left = (int)draw(s, 8);
}

/* A leader that dies after its first few outputs leaves entries behind that few have. */
static void doom_young_leader(struct sim *s, size_t i)
{
    struct slot *n = &s->slot[i];
    if (n->db->role != DB_LEADER || n->led == n->db->term)
        return;
    n->led = n->db->term;
    if (s->plan.is_storm && !s->is_quiet && s->now > STORM_MS && chance(s, 60))
        doom(s, i);
}

/* A voter that dies about when its vote is said, and is asked again when it is back. */
static void doom_voter(struct sim *s, size_t i)
{
    struct slot *n = &s->slot[i];
    if (uuid_is_nil(&n->db->voted_for) || n->voted == n->db->term)
        return;
    n->voted = n->db->term;
    if (s->plan.is_storm && !s->is_quiet && s->now > STORM_MS && chance(s, 20))
        doom(s, i);
}

/* After each input of a node: do what it wants, then check. */
static void after_step(struct sim *s, size_t i)
{
    struct slot *n = &s->slot[i];
    struct checker_node nodes[SLOTS_MAX];
    struct db_out o;
    view_of_nodes(s, nodes);
    checker_step(s->check, i, nodes, s->plan.n);
    doom_young_leader(s, i);
    doom_voter(s, i);
    while (db_take_out(n->db, &o)) {
        if (n->is_doomed && n->outputs_left-- == 0) {
            db_out_done(&o);
            crash(s, i);
            return;
        }
        perform(s, i, &o);
        db_out_done(&o);
    }
    checker_step(s->check, i, nodes, s->plan.n);
}

static void take_event(struct sim *s, struct net_event *e)
{
    struct slot *n = &s->slot[e->to];
    uint32_t ids[NET_NODES_MAX];
    for (size_t i = 0; i < e->n; i++)
        ids[i] = (uint32_t)e->members[i] + 1;
    if (e->type == NET_VIEW)
        db_group(n->db, s->now, ids, e->n);
    else if (e->type == NET_RING)
        db_ring(n->db, s->now, (struct db_ring){1, e->ring});
    else
        db_message(n->db, s->now, (uint32_t)e->from + 1, buf_slice(&e->bytes));
    size_t to = e->to;
    net_event_done(e);
    after_step(s, to);
}

static void on_net(struct sim *s, struct net_event *e)
{
    struct slot *n = &s->slot[e->to];
    bool is_paused = n->db != NULL && n->paused_ms != 0; /* until what was held has been taken */
    size_t room = e->type == NET_MESSAGE ? INBOX_MAX - INBOX_VIEWS : INBOX_MAX; /* what is too much is lost */
    assert(e->type == NET_MESSAGE || !is_paused || n->inbox.n < room);
    if (is_paused && n->inbox.n < room)
        net_inbox_put(&n->inbox, e);
    else if (n->db != NULL && !is_paused)
        take_event(s, e);
    else
        net_event_done(e);
}

static void tell_outcome(struct sim *s, const struct blob_event *e)
{
    static const char *const results[] = {"", "done", "lost", "missing", "refused", "unknown", "unreachable"};
    struct slot *n = &s->slot[e->node];
    if (n->db == NULL || n->life != e->life)
        return;
    say(s, "node %zu: call %lu: %s, term %lu, sequence %lu", e->node + 1, (unsigned long)e->outcome.id,
        results[e->outcome.result], (unsigned long)e->outcome.tag.term, (unsigned long)e->outcome.tag.sequence);
    db_witness_done(n->db, s->now, &e->outcome);
    after_step(s, e->node);
}

static void on_blob(struct sim *s, const struct blob_event *e)
{
    struct slot *n = &s->slot[e->node];
    bool is_paused = n->db != NULL && n->life == e->life && s->now < n->paused_ms;
    if (is_paused && n->n_held < HELD_MAX)
        n->held[n->n_held++] = *e;
    else if (!is_paused)
        tell_outcome(s, e);
}

static void resume(struct sim *s, size_t i)
{
    struct slot *n = &s->slot[i];
    say(s, "node %zu goes on", i + 1);
    n->paused_ms = 0;
    for (struct net_event e; net_inbox_take(&n->inbox, &e);) /* a crash empties it */
        take_event(s, &e);
    for (size_t k = 0; k < n->n_held; k++)
        tell_outcome(s, &n->held[k]);
    n->n_held = 0;
}

static void finish_fetch(struct sim *s, size_t i)
{
    struct slot *n = &s->slot[i];
    const struct slot *from = &s->slot[n->fetch_from];
    n->fetch_ms = INT64_MAX;
    if (from->db == NULL || !db_can_serve(from->db) || !net_connected(s->net, i, n->fetch_from) || chance(s, 15)) {
        db_fetch_failed(n->db, s->now);
        return;
    }
    AUTO(buf_done) struct buf b = {0};
    db_snapshot_encode(from->db, &b);
    int err = db_snapshot_install(n->db, s->now, buf_slice(&b));
    if (err != 0 && err != ERR_AGAIN)
        checker_fail(s->check, "node %zu refuses a snapshot: %s", i + 1, err_name(err));
}

/* ---- clients and the admin ------------------------------------------------------------------------------------- */

static size_t any_up(struct sim *s)
{
    size_t first = draw(s, s->plan.n);
    for (size_t k = 0; k < s->plan.n; k++) {
        size_t i = (first + k) % s->plan.n;
        if (s->slot[i].db != NULL && s->slot[i].paused_ms == 0)
            return i;
    }
    return s->plan.n;
}

static void propose_at(struct sim *s, size_t i, uint64_t number, uint16_t kind, struct slice payload)
{
    if (i == s->plan.n)
        return;
    struct entry e = {.request_id = request_uuid(number), .kind = kind, .level = 1, .time_ms = 5, .payload = payload};
    int err = db_propose(s->slot[i].db, s->now, &e, s->now + 500 + (int64_t)draw(s, 4000));
    if (err != 0)
        checker_fail(s->check, "a proposal was refused: %s", err_name(err));
    after_step(s, i);
}

static void propose(struct sim *s, uint64_t number, uint16_t kind, struct slice payload)
{
    propose_at(s, any_up(s), number, kind, payload);
}

static void put_at(struct sim *s, size_t at, uint64_t number)
{
    AUTO(buf_done) struct buf b = {0};
    char key[24];
    snprintf(key, sizeof(key), "key-%lu", (unsigned long)(number % 20));
    wire_put_str(&b, key);
    for (uint64_t i = 0; i < number * 37 % s->plan.payload_max; i++)
        wire_put_u8(&b, (uint8_t)(number + i));
    propose_at(s, at, number, ENTRY_SETTING_PUT, buf_slice(&b));
}

static void put(struct sim *s, uint64_t number)
{
    put_at(s, any_up(s), number);
}

static void client(struct sim *s)
{
    s->client_ms = soon(s, s->plan.client_ms_max);
    if (s->n_retries > 0 && chance(s, 40)) {
        uint64_t number = s->retries[--s->n_retries];
        put(s, number);
        if (chance(s, 20))
            put(s, number); /* and at another node */
        return;
    }
    for (uint64_t k = 1 + draw(s, 3); k > 0; k--)
        put(s, ++s->last_request);
}

static void propose_change(struct sim *s, uint16_t kind, size_t i, uint8_t weight)
{
    AUTO(buf_done) struct buf b = {0};
    const struct uuid *id = &s->slot[i].replica;
    if (kind == ENTRY_REPLICA_ADD)
        db_encode_replica_add(&b, id, (uint32_t)i + 1);
    else if (kind == ENTRY_REPLICA_WEIGHT)
        db_encode_replica_weight(&b, id, weight);
    else
        db_encode_replica_remove(&b, id);
    say(s, "admin: entry kind %u for node %zu, weight %u", kind, i + 1, weight);
    propose(s, ++s->last_request, kind, buf_slice(&b));
}

static bool is_caught_up(const struct sim *s, const struct uuid *id)
{
    for (size_t i = 0; i < s->plan.n; i++)
        if (s->slot[i].db != NULL && db_is_leader(s->slot[i].db) && db_replica_progress(s->slot[i].db, id).caught_up)
            return true;
    return false;
}

/* Only towards more votes. */
static void grow(struct sim *s)
{
    for (size_t i = 0; i < s->plan.n; i++) {
        const struct uuid *id = &s->slot[i].replica;
        const struct db_replica *r = db_config_find(checker_config(s->check), id);
        if (r == NULL)
            propose_change(s, ENTRY_REPLICA_ADD, i, 0);
        else if (r->weight == 0 && is_caught_up(s, id))
            propose_change(s, ENTRY_REPLICA_WEIGHT, i, 1);
    }
}

static void change_membership(struct sim *s)
{
    size_t i = draw(s, s->plan.n);
    struct slot *n = &s->slot[i];
    const struct db_replica *r = db_config_find(checker_config(s->check), &n->replica);
    if (r == NULL && n->was_member)
        wipe(s, i);
    else if (r == NULL)
        propose_change(s, ENTRY_REPLICA_ADD, i, 0);
    else if (r->weight == 0 && chance(s, 15))
        propose_change(s, ENTRY_REPLICA_REMOVE, i, 0);
    else if (r->weight == 0 && (is_caught_up(s, &n->replica) || chance(s, 5)))
        propose_change(s, ENTRY_REPLICA_WEIGHT, i, 1);
    else if (r->weight == 1 && chance(s, 35))
        propose_change(s, ENTRY_REPLICA_WEIGHT, i, 0);
    n->was_member |= r != NULL;
}

static void hand_over(struct sim *s)
{
    for (size_t i = 0; i < s->plan.n; i++)
        if (s->slot[i].db != NULL && s->slot[i].paused_ms == 0 && db_is_leader(s->slot[i].db)) {
            (void)db_transfer(s->slot[i].db, s->now);
            after_step(s, i);
        }
}

static void remove_witness(struct sim *s)
{
    AUTO(buf_done) struct buf b = {0};
    db_encode_witness_name(&b, &(struct uuid){{0}});
    say(s, "admin: no witness");
    propose(s, ++s->last_request, ENTRY_WITNESS_NAME, buf_slice(&b));
}

static void propose_witness(struct sim *s, uint16_t kind, uint8_t weight)
{
    AUTO(buf_done) struct buf b = {0};
    if (kind == ENTRY_WITNESS_NAME)
        db_encode_witness_name(&b, &s->witness);
    else
        db_encode_witness_weight(&b, &s->witness, weight);
    say(s, "admin: entry kind %u for the witness, weight %u", kind, weight);
    propose(s, ++s->last_request, kind, buf_slice(&b));
}

static void view_of_quorum(const struct sim *s, const struct db *db, struct quorum_view *v)
{
    const struct db_config *c = db_configuration(db);
    struct db_witness_view w;
    db_witness(db, &w);
    *v = (struct quorum_view){.n = s->plan.n, .is_dynamic = true, .has_witness = !uuid_is_nil(&c->witness),
                              .witness_weight = c->witness_weight, .witness_current = w.is_current};
    for (size_t i = 0; i < s->plan.n; i++) {
        const struct db_replica *r = db_config_find(c, &s->slot[i].replica);
        struct db_progress p = db_replica_progress(db, &s->slot[i].replica);
        struct quorum_node *n = &v->nodes[i];
        *n = (struct quorum_node){.is_member = r != NULL, .weight = r != NULL ? r->weight : 0,
                                  .is_here = p.silent_ms < 1000, .caught_up = p.caught_up};
        snprintf(n->name, sizeof(n->name), "n%zu", i);
    }
    if (s->plan.lower != SIZE_MAX)
        snprintf(v->lower, sizeof(v->lower), "n%zu", s->plan.lower);
}

/* As agent/core-quorum.c does it. */
static void decide_votes(struct sim *s, size_t i)
{
    AUTO(buf_done) struct buf b = {0};
    struct db *db = s->slot[i].db;
    struct quorum_view v;
    view_of_quorum(s, db, &v);
    struct quorum_change d = quorum_decide(&v);
    if (d.what == QUORUM_KEEP || !db_config_settled(db))
        return;
    if (d.what == QUORUM_WITNESS)
        db_encode_witness_weight(&b, &db_configuration(db)->witness, d.weight);
    else
        db_encode_replica_weight(&b, &s->slot[d.node].replica, d.weight);
    say(s, "node %zu decides: %s %zu, weight %u", i + 1, d.what == QUORUM_WITNESS ? "the witness" : "node", d.node + 1,
        d.weight);
    propose_at(s, i, ++s->last_request, d.what == QUORUM_WITNESS ? ENTRY_WITNESS_WEIGHT : ENTRY_REPLICA_WEIGHT,
               buf_slice(&b));
}

static void decide_all(struct sim *s)
{
    for (size_t i = 0; i < s->plan.n; i++)
        if (s->slot[i].db != NULL && s->slot[i].paused_ms == 0 && db_is_leader(s->slot[i].db))
            decide_votes(s, i);
}

static void create_witness(struct sim *s)
{
    const struct uuid cluster = {{0xc1}};
    s->witness.b[0] = 0xee;
    s->witness.b[1]++;
    blob_create(s->blob, &cluster, &s->witness);
}

/* Up mostly where the nodes are an even number, down mostly where they are not. */
static void change_witness(struct sim *s)
{
    const struct db_config *c = checker_config(s->check);
    bool is_even = db_config_nodes(c) % 2 == 0;
    bool may_go = s->plan.is_removed && c->witness_weight == 0 && uuid_eq(&c->witness, &s->witness);
    if (may_go && prng_below(&s->naming_prng, 2) == 0)
        remove_witness(s);
    else if (c->witness_weight == 0 && chance(s, 3))
        create_witness(s);
    else if (c->witness_weight == 0 && !uuid_eq(&c->witness, &s->witness))
        propose_witness(s, ENTRY_WITNESS_NAME, 0);
    else if (c->witness_weight == 0 && chance(s, is_even ? 80 : 15))
        propose_witness(s, ENTRY_WITNESS_WEIGHT, 1);
    else if (c->witness_weight == 1 && chance(s, is_even ? 4 : 30))
        propose_witness(s, ENTRY_WITNESS_WEIGHT, 0);
}

static void admin(struct sim *s)
{
    s->admin_ms = soon(s, s->plan.admin_ms_max);
    if (s->plan.has_witness && (s->now < STORM_MS || chance(s, 85))) {
        const struct db_config *c = checker_config(s->check);
        if (s->plan.is_dynamic && s->now >= STORM_MS) {
            decide_all(s);
            return;
        }
        grow(s);
        if (s->plan.is_unnamed)
            return;
        if (s->now >= STORM_MS || db_config_nodes(c) == s->plan.n || uuid_is_nil(&c->witness))
            change_witness(s);
        return;
    }
    if (s->plan.is_storm && (s->now < STORM_MS || chance(s, 70))) {
        grow(s);
        return;
    }
    if (chance(s, 15))
        hand_over(s);
    for (uint64_t k = 1 + draw(s, 3); k > 0; k--)
        change_membership(s);
}

/* ---- faults ---------------------------------------------------------------------------------------------------- */

static bool leads(const struct slot *n)
{
    return n->db != NULL && n->db->role == DB_LEADER;
}

/* By chance, or such that leaders are cut off, with what their clients still propose. */
static void partition(struct sim *s, bool heal)
{
    uint8_t side[NET_NODES_MAX] = {0};
    bool in_halves = !heal && s->plan.has_halves && chance(s, 70);
    bool of_leaders = !heal && !in_halves && chance(s, 40);
    for (size_t i = 0; i < s->plan.n && !heal; i++)
        if (in_halves)
            side[i] = 2 * i >= s->plan.n;
        else
            side[i] = (uint8_t)(of_leaders ? leads(&s->slot[i]) : draw(s, 2));
    say(s, "sides: %u%u%u%u%u", side[0], side[1], side[2], side[3], side[4]);
    net_partition(s->net, s->now, side);
}

/* An admin lets one node decide alone, and may be wrong: the others may run. Or keeps one from deciding anything. */
static void override(struct sim *s, size_t i)
{
    AUTO(buf_done) struct buf b = {0};
    struct slot *n = &s->slot[i];
    s->override_ms = s->now + 300 + (int64_t)prng_below(&s->force_prng, 2000);
    if (n->db == NULL || n->paused_ms != 0)
        return;
    if (prng_below(&s->force_prng, 8) == 0) {
        if (db_prevent(n->db, s->now, !db_is_prevented(n->db)) == 0)
            say(s, "admin: prevention at node %zu is %s", i + 1, db_is_prevented(n->db) ? "on" : "off");
        after_step(s, i);
        return;
    }
    db_encode_force(&b, &n->replica, "node", "admin");
    struct entry e = {.request_id = request_uuid(++s->last_request), .kind = ENTRY_FORCE, .level = 1, .time_ms = 5,
                      .payload = buf_slice(&b)};
    if (db_force(n->db, s->now, &e, s->now + 4000) != 0)
        return;
    say(s, "admin: quorum is forced at node %zu", i + 1);
    s->n_forced++;
    checker_forced(s->check, i, n->db);
    after_step(s, i);
}

/* Seldom all at once: it is the loss of one half that shows what the witness is for. */
static const uint8_t witness_plan_faults[16] = {0, 0, 1, 1, 2, 3, 3, 3, 3, 4, 5, 5, 5, 6, 7, 7};

static void fault(struct sim *s)
{
    size_t i = draw(s, s->plan.n);
    struct slot *n = &s->slot[i];
    s->fault_ms = soon(s, s->plan.fault_ms_max);
    switch (s->plan.has_witness ? witness_plan_faults[draw(s, 16)] : draw(s, 8)) {
    case 0: crash(s, i); break;
    case 1: doom(s, i); break;
    case 2:
        for (size_t k = 0; k < s->plan.n; k++)
            if (chance(s, 70))
                crash(s, k);
        break;
    case 3:
    case 4: partition(s, false); break;
    case 5:
    case 6: partition(s, true); break;
    default:
        if (n->db != NULL && n->paused_ms == 0) {
            n->paused_ms = soon(s, 4000);
            say(s, "node %zu is paused", i + 1);
        }
    }
}

/* Back to a state that every disk knows to be old, late writes to it included: else nobody could tell. */
static void roll_back(struct sim *s)
{
    const struct db_tag *tag = blob_tag(s->blob, &s->witness);
    uint64_t seen = UINT64_MAX, writes = 3 + draw(s, 4);
    for (size_t i = 0; i < s->plan.n; i++) {
        const struct db_image *image = &s->slot[i].disk.image;
        uint64_t own = uuid_eq(&image->witness, &s->witness) ? image->witness_sequence : 0;
        seen = own < seen ? own : seen;
    }
    if (tag != NULL && tag->sequence > writes && tag->sequence - writes + 2 <= seen &&
        blob_roll_back(s->blob, (size_t)writes))
        say(s, "the witness is rolled back by %lu writes", (unsigned long)writes);
}

static void witness_fault(struct sim *s)
{
    struct blob_params p = s->plan.blob;
    s->witness_ms = soon(s, 2000);
    switch (draw(s, 6)) {
    case 0:
    case 1:
    case 2:
        for (size_t i = 0; i < s->plan.n; i++)
            blob_reach(s->blob, i, chance(s, 75));
        break;
    case 3:
        p.unknown = 700;
        blob_set_params(s->blob, p);
        break;
    case 4: blob_set_params(s->blob, p); break;
    default:
        if (blob_is_rolled_back(s->blob))
            blob_restore(s->blob);
        else
            roll_back(s);
    }
}

static void heal_witness(struct sim *s)
{
    if (s->blob == NULL)
        return;
    blob_set_params(s->blob, (struct blob_params){.delay_ms_max = 50});
    blob_restore(s->blob);
    for (size_t i = 0; i < s->plan.n; i++)
        blob_reach(s->blob, i, true);
    s->witness_ms = INT64_MAX;
}

/* Faults stop: what is down comes up, and nobody proposes any more but for one last request. */
static void quieten(struct sim *s)
{
    say(s, "faults stop");
    partition(s, true);
    heal_witness(s);
    s->plan.net.loss = 0;
    s->plan.net.notice_ms_max = 300;
    net_set_params(s->net, s->plan.net);
    for (size_t i = 0; i < s->plan.n; i++) {
        s->slot[i].is_doomed = false;
        if (s->slot[i].start_ms < INT64_MAX)
            s->slot[i].start_ms = s->now;
    }
    s->is_quiet = true;
    s->client_ms = s->admin_ms = s->fault_ms = s->override_ms = INT64_MAX;
    for (size_t i = 0; i < s->plan.n; i++)
        s->slot[i].is_freed = true;
}

/* ---- time ------------------------------------------------------------------------------------------------------ */

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t next_of_slot(const struct slot *n)
{
    if (n->db == NULL)
        return n->start_ms;
    if (n->paused_ms != 0)
        return n->paused_ms;
    return earlier(n->tick_ms, earlier(n->fetch_ms, disk_next_ms(&n->disk)));
}

static void run_slot(struct sim *s, size_t i)
{
    struct slot *n = &s->slot[i];
    uint64_t seq;
    if (n->db == NULL) {
        start(s, i);
    } else if (n->paused_ms != 0) {
        resume(s, i);
    } else if (disk_complete(&n->disk, s->now, &seq)) {
        db_persisted(n->db, s->now, seq);
        after_step(s, i);
    } else if (n->fetch_ms <= s->now) {
        finish_fetch(s, i);
        after_step(s, i);
    } else {
        n->tick_ms = s->now + TICK_MS;
        if (n->is_freed)
            (void)db_prevent(n->db, s->now, false);
        db_tick(n->db, s->now);
        after_step(s, i);
    }
}

/* Everything that is due at the next moment at which anything is. */
static void advance(struct sim *s)
{
    struct net_event e;
    int64_t at = earlier(net_next_ms(s->net), earlier(s->client_ms, earlier(s->admin_ms, s->fault_ms)));
    at = earlier(at, s->override_ms);
    for (size_t i = 0; i < s->plan.n; i++)
        at = earlier(at, next_of_slot(&s->slot[i]));
    if (s->blob != NULL)
        at = earlier(at, earlier(s->witness_ms, blob_next_ms(s->blob)));
    s->now = at > s->now ? at : s->now;
    while (net_next(s->net, s->now, &e))
        on_net(s, &e);
    for (struct blob_event b; s->blob != NULL && blob_next(s->blob, s->now, &b);)
        on_blob(s, &b);
    for (size_t i = 0; i < s->plan.n; i++)
        if (next_of_slot(&s->slot[i]) <= s->now)
            run_slot(s, i);
    if (s->blob != NULL && s->witness_ms <= s->now)
        witness_fault(s);
    if (s->client_ms <= s->now)
        client(s);
    if (s->admin_ms <= s->now)
        admin(s);
    if (s->fault_ms <= s->now)
        fault(s);
    if (s->override_ms <= s->now)
        override(s, (size_t)prng_below(&s->force_prng, s->plan.n));
}

static const struct db *sole_leader(const struct sim *s)
{
    const struct db *leader = NULL;
    for (size_t i = 0; i < s->plan.n; i++) {
        if (s->slot[i].db == NULL || !db_is_leader(s->slot[i].db))
            continue;
        if (leader != NULL)
            return NULL;
        leader = s->slot[i].db;
    }
    return leader;
}

static bool casts(const struct db *db)
{
    struct db_ring ring;
    return db_verdict(db, &ring) == DB_VERDICT_YES;
}

/* One leader, and every member has its state, and tells its corosync that there is a quorum. */
static bool is_settled(const struct sim *s)
{
    const struct db *leader = sole_leader(s);
    if (leader == NULL || !s->final_done || leader->applied != db_log_last(&leader->log))
        return false;
    struct hash want = tables_hash(leader->tables);
    for (size_t i = 0; i < s->plan.n; i++) {
        const struct slot *n = &s->slot[i];
        if (db_config_find(&leader->config, &n->replica) == NULL)
            continue;
        if (n->db == NULL || n->db->applied != leader->applied || !casts(n->db))
            return false;
        struct hash have = tables_hash(n->db->tables);
        if (!hash_eq(&have, &want))
            return false;
    }
    return true;
}

/* A leader takes nothing from who is no member. */
static size_t any_member_up(struct sim *s, const struct db *leader)
{
    for (size_t k = 0, first = draw(s, s->plan.n); k < s->plan.n; k++) {
        size_t i = (first + k) % s->plan.n;
        if (s->slot[i].db != NULL && db_config_find(&leader->config, &s->slot[i].replica) != NULL)
            return i;
    }
    return s->plan.n;
}

static void propose_final(struct sim *s)
{
    if (s->final_request == 0)
        s->final_request = ++s->last_request;
    const struct db *leader = sole_leader(s);
    struct uuid id = request_uuid(s->final_request);
    if (leader != NULL && !s->final_done && !db_is_pending(leader, &id))
        put_at(s, any_member_up(s, leader), s->final_request);
}

static void play(struct sim *s)
{
    while (s->now < FAULTS_MS && checker_fault(s->check) == NULL)
        advance(s);
    quieten(s);
    int64_t again = s->now + 3000;
    while (checker_fault(s->check) == NULL && !is_settled(s)) {
        advance(s);
        if (s->now >= again) {
            again = s->now + 500;
            propose_final(s);
        }
        if (s->now > FAULTS_MS + SETTLE_MS)
            checker_fail(s->check, "settled: no single leader and state %d ms after the faults stopped", SETTLE_MS);
    }
    checker_end(s->check, checker_fault(s->check) == NULL ? sole_leader(s)->applied : checker_commit(s->check));
}

static void set_up(struct sim *s)
{
    s->plan = make_plan(s);
    s->net = net_new(s->plan.n, prng_next(&s->prng), s->plan.net);
    s->check = checker_new(s->options);
    if (s->plan.has_witness) {
        s->blob = blob_new(prng_next(&s->witness_prng), s->plan.blob, s->check);
        checker_witness(s->check, s->blob);
        create_witness(s);
        s->witness_ms = STORM_MS;
    }
    for (size_t i = 0; i < s->plan.n; i++) {
        struct slot *n = &s->slot[i];
        s->sink[i] = (struct sink_ctx){s, i};
        s->log[i] = (struct log_sink){.write = write_line, .ctx = &s->sink[i]};
        s->log[i].max = s->options->is_verbose ? LOG_DEBUG_ : LOG_ERROR_ - 1;
        n->replica = (struct uuid){{(uint8_t)(i + 1), 0, 0xaa}};
        n->fetch_ms = INT64_MAX;
        disk_init(&n->disk);
        start(s, i);
    }
    (void)db_bootstrap(s->slot[0].db, s->now);
    after_step(s, 0);
    s->client_ms = s->admin_ms = 500;
    s->fault_ms = s->plan.is_storm ? STORM_MS : 2000;
    s->override_ms = prng_below(&s->force_prng, 4) == 0 ? STORM_MS : INT64_MAX;
}

static void tear_down(struct sim *s)
{
    for (size_t i = 0; i < s->plan.n; i++) {
        struct slot *n = &s->slot[i];
        db_free(n->db);
        disk_done(&n->disk);
        net_inbox_done(&n->inbox);
    }
    net_free(s->net);
    blob_free(s->blob);
    checker_free(s->check);
}

static void say_state(const struct sim *s)
{
    static const char *const roles[] = {"follower", "precandidate", "candidate", "leader"};
    for (size_t i = 0; i < s->plan.n; i++) {
        const struct db *db = s->slot[i].db;
        if (db == NULL)
            say(s, "node %zu: down", i + 1);
        else
            say(s,
                "node %zu: %s, term %lu, base %lu, applied %lu, commit %lu, last %lu of term %lu, durable %lu, pending "
                "%zu, ring %lx (verdict %d)%s",
                i + 1, roles[db->role], (unsigned long)db->term, (unsigned long)db->log.base_index,
                (unsigned long)db->applied, (unsigned long)db->commit, (unsigned long)db_log_last(&db->log),
                (unsigned long)db_log_last_term(&db->log), (unsigned long)db->durable.last, db->n_pending,
                (unsigned long)db->verdict.ring.seq, db->verdict.state,
                db->quarantined ? ", quarantined" : "");
        if (db != NULL && s->blob != NULL)
            say(s, "    witness weight %u, %s, %s, sequence %lu: %s", db->config.witness_weight,
                db->w.is_known ? "known" : "not known", db->w.is_sent ? "open" : "closed",
                (unsigned long)db->w.tag.sequence, db->w.trouble);
        for (size_t k = 0; db != NULL && k < db->config.n; k++)
            say(s, "    replica %s weight %u match %lu", uuid_str(&db->config.replicas[k].id).s,
                db->config.replicas[k].weight, (unsigned long)db->peers[k].match);
    }
}

bool dbsim_run(uint64_t seed, const struct sim_options *options)
{
    struct sim *s = xcalloc(1, sizeof(*s));
    s->options = options;
    s->prng = prng_new(seed);
    s->witness_prng = prng_new(~seed);
    s->naming_prng = prng_new(seed ^ 0x4a3e);
    s->force_prng = prng_new(seed ^ 0xf0ace);
    set_up(s);
    say(s, "seed %lu: %zu slots, delay %ld, notice %ld, loss %u, fsync %ld", (unsigned long)seed, s->plan.n,
        (long)s->plan.net.delay_ms_max, (long)s->plan.net.notice_ms_max, s->plan.net.loss, (long)s->plan.fsync_ms_max);
    play(s);
    const char *fault_text = checker_fault(s->check);
    bool is_good = fault_text == NULL;
    if (!is_good)
        printf("seed %lu, at %.3f s: %s\n", (unsigned long)seed, (double)s->now / 1000, fault_text);
    say_state(s);
    say(s, "%lu proposals, %lu with an outcome, commit index %lu, %lu counted the witness, %u forced",
        (unsigned long)s->last_request, (unsigned long)s->n_acknowledged, (unsigned long)checker_commit(s->check),
        (unsigned long)checker_counted(s->check), s->n_forced);
    tear_down(s);
    free(s);
    return is_good;
}
