/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A few databases that talk to each other without delay: enough to follow one rule at a time. Faults are the
 * simulator's business (tests/sim). */
#pragma once

#include <stdio.h>

#include "agent/db/internal.h"
#include "tests/sim/disk.h"
#include "tests/unit/unit.h"

enum { NODES_MAX = 5, OUTCOMES_MAX = 64 };

struct node {
    struct db *db; /* NULL: down */
    struct disk disk;
    bool cut;        /* neither hears nor is heard */
    bool disk_stuck; /* batches wait in the queue */
    bool fatal;
    uint32_t fetch_from;
    size_t n_persist, n_send;
    struct apply_result last; /* of the newest DB_APPLIED */
    struct uuid last_id;
    size_t n_applied;
    struct db_witness_call *call; /* the newest one; owned */
};

struct cluster {
    struct node node[NODES_MAX]; /* nodeid = position + 1 */
    size_t n;
    int64_t now;
    uint64_t log_kept, lag_snapshot;
    uint64_t next_request;
    bool drop_acks, drop_hellos;
};

static inline struct uuid replica_id(size_t node)
{
    return (struct uuid){{1, (uint8_t)(node + 1)}};
}

static inline int machine_apply(void *ctx, struct tables *t, const struct entry *e, struct apply_result *ret)
{
    (void)ctx;
    if (e->kind == ENTRY_FORCE)
        return 0;
    if (e->kind != ENTRY_SETTING_PUT)
        return ERR_UNKNOWN_KIND;
    struct wire_reader r = wire_reader(e->payload);
    char key[64];
    WIRE_GET_STR(&r, key);
    if (str_eq(key, "refused")) {
        error_set(&ret->error, ERR_CONDITION, "refused at %llu", (unsigned long long)e->index);
        return 0;
    }
    tables_put(t, TABLE_SETTING, key, wire_get_slice(&r));
    return 0;
}

static inline void node_start(struct cluster *c, size_t i)
{
    struct db_params p = {.cluster = {{9}},
                          .self = replica_id(i),
                          .nodeid = (uint32_t)i + 1,
                          .seed = i + 1,
                          .message_max = 1 << 20,
                          .machine = {.apply = machine_apply},
                          .log_kept = c->log_kept,
                          .lag_snapshot = c->lag_snapshot};
    struct db_image image = disk_load(&c->node[i].disk);
    c->node[i].db = db_new(&p, &image, c->now);
}

static inline void node_crash(struct cluster *c, size_t i)
{
    db_free(c->node[i].db);
    c->node[i].db = NULL;
    disk_crash(&c->node[i].disk, 0);
}

static inline void handle_out(struct cluster *c, size_t from, struct db_out *o)
{
    struct node *n = &c->node[from];
    switch (o->type) {
    case DB_SEND:
        n->n_send++;
        if ((c->drop_acks && o->bytes.p[2] == DB_MSG_ACK) || (c->drop_hellos && o->bytes.p[2] == DB_MSG_HELLO))
            break; /* message.c: the type */
        for (size_t i = 0; i < c->n && !n->cut; i++)
            if (c->node[i].db != NULL && !c->node[i].cut)
                db_message(c->node[i].db, c->now, (uint32_t)from + 1, buf_slice(&o->bytes));
        break;
    case DB_PERSIST:
        n->n_persist++;
        disk_write(&n->disk, o->batch, c->now);
        o->batch = NULL;
        break;
    case DB_FETCH: n->fetch_from = o->from_nodeid; break;
    case DB_APPLIED:
        n->last = o->result;
        n->last_id = o->request_id;
        n->n_applied++;
        break;
    case DB_FATAL: n->fatal = true; break;
    case DB_WITNESS:
        free(n->call);
        n->call = o->call; /* for the test to answer: test_db_witness.c */
        o->call = NULL;
        break;
    }
}

/* Until nothing moves any more. */
static inline void settle(struct cluster *c)
{
    for (bool moved = true; moved;) {
        moved = false;
        for (size_t i = 0; i < c->n; i++) {
            struct node *n = &c->node[i];
            struct db_out o;
            uint64_t seq;
            while (n->db != NULL && db_take_out(n->db, &o)) {
                handle_out(c, i, &o);
                db_out_done(&o);
                moved = true;
            }
            while (n->db != NULL && !n->disk_stuck && disk_complete(&n->disk, c->now, &seq)) {
                db_persisted(n->db, c->now, seq);
                moved = true;
            }
        }
    }
}

static inline void run(struct cluster *c, int64_t ms)
{
    for (int64_t end = c->now + ms; c->now < end;) {
        c->now += 20;
        for (size_t i = 0; i < c->n; i++)
            if (c->node[i].db != NULL)
                db_tick(c->node[i].db, c->now);
        settle(c);
    }
}

/* Everybody who is up and not cut off sees the same group; who is cut off sees itself. */
static inline void regroup(struct cluster *c)
{
    uint32_t ids[NODES_MAX];
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++)
        if (c->node[i].db != NULL && !c->node[i].cut)
            ids[n++] = (uint32_t)i + 1;
    for (size_t i = 0; i < c->n; i++) {
        uint32_t self = (uint32_t)i + 1;
        if (c->node[i].db != NULL)
            db_group(c->node[i].db, c->now, c->node[i].cut ? &self : ids, c->node[i].cut ? 1 : n);
    }
    settle(c);
}

static inline struct uuid propose_at(struct cluster *c, size_t i, uint16_t kind, struct slice payload)
{
    struct entry e = {.kind = kind, .level = 1, .payload = payload};
    c->next_request++;
    memcpy(e.request_id.b, &c->next_request, sizeof(c->next_request));
    e.request_id.b[15] = 7;
    assert_int_equal(db_propose(c->node[i].db, c->now, &e, c->now + 5000), 0);
    return e.request_id;
}

static inline struct uuid put_at(struct cluster *c, size_t i, const char *key, const char *value)
{
    AUTO(buf_done) struct buf b = {0};
    wire_put_str(&b, key);
    wire_put_str(&b, value);
    return propose_at(c, i, ENTRY_SETTING_PUT, buf_slice(&b));
}

static inline void assert_value(const struct cluster *c, size_t i, const char *key, const char *value)
{
    struct slice s;
    assert_int_equal(tables_get(db_tables(c->node[i].db), TABLE_SETTING, key, &s), 0);
    assert_int_equal(s.len, strlen(value));
    assert_memory_equal(s.p, value, s.len);
}

static inline void change(struct cluster *c, size_t at, uint16_t kind, size_t replica, uint32_t arg)
{
    AUTO(buf_done) struct buf b = {0};
    struct uuid id = replica_id(replica);
    if (kind == ENTRY_REPLICA_ADD)
        db_encode_replica_add(&b, &id, arg);
    else if (kind == ENTRY_REPLICA_WEIGHT)
        db_encode_replica_weight(&b, &id, (uint8_t)arg);
    else
        db_encode_replica_remove(&b, &id);
    (void)propose_at(c, at, kind, buf_slice(&b));
    settle(c);
    run(c, 200);
}

/* n voters; node 0 leads. */
static inline void cluster_up(struct cluster *c, size_t n)
{
    c->n = n;
    c->now += 1000;
    for (size_t i = 0; i < n; i++) {
        disk_init(&c->node[i].disk);
        node_start(c, i);
    }
    assert_int_equal(db_bootstrap(c->node[0].db, c->now), 0);
    regroup(c);
    assert_true(db_is_leader(c->node[0].db));
    for (size_t i = 1; i < n; i++) {
        change(c, 0, ENTRY_REPLICA_ADD, i, (uint32_t)i + 1);
        run(c, 400);
        change(c, 0, ENTRY_REPLICA_WEIGHT, i, 1);
    }
    assert_int_equal(db_config_total(db_configuration(c->node[0].db)), n);
}

static inline void cluster_down(struct cluster *c)
{
    for (size_t i = 0; i < c->n; i++) {
        db_free(c->node[i].db);
        disk_done(&c->node[i].disk);
        free(c->node[i].call);
    }
}

static inline size_t count_leaders(const struct cluster *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++)
        n += c->node[i].db != NULL && db_is_leader(c->node[i].db);
    return n;
}

/* Of the newest term: one that was cut off may not know yet that it leads no more. */
static inline size_t leader_of(const struct cluster *c)
{
    size_t best = NODES_MAX;
    for (size_t i = 0; i < c->n; i++)
        if (c->node[i].db != NULL && db_is_leader(c->node[i].db))
            if (best == NODES_MAX || db_term(c->node[i].db) > db_term(c->node[best].db))
                best = i;
    assert_int_not_equal(best, NODES_MAX);
    return best;
}
