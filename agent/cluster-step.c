/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the leader does about the slots: the voting configuration follows them, one change at a time (design: replicated
 * database, Votes), and drains and failbacks end when what they wait for is seen. Level-triggered: a new leader needs
 * nothing from the old one. */
#include "agent/cluster.h"

#include <stdio.h>

/* One key for all: one change of the configuration is under way at a time. */
static void propose_config(const struct cluster_env *env, enum entry_kind kind, struct buf *payload)
{
    env->propose(env->ctx, kind, payload, "config");
}

static void propose_add(const struct cluster_env *env, const struct node *n)
{
    struct buf b = {0};
    db_encode_replica_add(&b, &n->replica, n->nodeid);
    propose_config(env, ENTRY_REPLICA_ADD, &b);
}

static void propose_weight(const struct cluster_env *env, const struct node *n, uint8_t weight)
{
    struct buf b = {0};
    db_encode_replica_weight(&b, &n->replica, weight);
    propose_config(env, ENTRY_REPLICA_WEIGHT, &b);
}

static void propose_remove(const struct cluster_env *env, const struct node *n)
{
    struct buf b = {0};
    db_encode_replica_remove(&b, &n->replica);
    propose_config(env, ENTRY_REPLICA_REMOVE, &b);
}

static void propose_admin(const struct cluster_env *env, enum node_verb verb, const struct node *n)
{
    struct node_request q = {.verb = verb, .replica = n->replica};
    struct buf b = {0};
    char key[NODE_NAME_MAX + 16];
    STR_COPY(q.name, n->name);
    cluster_entry_admin(&q, &b);
    snprintf(key, sizeof key, "node/%d/%s", (int)verb, n->name);
    env->propose(env->ctx, ENTRY_NODE_ADMIN, &b, key);
}

static void step_joining(const struct db *db, const struct cluster_env *env, const struct node *n)
{
    const struct db_replica *r = db_config_find(db_configuration(db), &n->replica);
    if (!db_config_settled(db))
        return;
    if (!r) {
        propose_add(env, n);
        return;
    }
    bool caught_up = db_replica_progress(db, &n->replica).caught_up;
    enum cluster_vote vote = env->vote && caught_up ? env->vote(env->ctx, n->name) : VOTE_NOW;
    if (r->weight == 1 || (caught_up && vote == VOTE_NEVER))
        propose_admin(env, NODE_ADMITTED, n);
    else if (caught_up && vote == VOTE_NOW)
        propose_weight(env, n, 1);
}

static void step_evicting(const struct db *db, const struct cluster_env *env, const struct node *n)
{
    const struct db_replica *r = db_config_find(db_configuration(db), &n->replica);
    if (!db_config_settled(db))
        return;
    if (!r)
        propose_admin(env, NODE_GONE, n);
    else if (r->weight == 1 && db_config_total(db_configuration(db)) == 1)
        return; /* the last voter keeps its vote until another has one */
    else if (r->weight == 1)
        propose_weight(env, n, 0);
    else if (!db_replica_progress(db, &n->replica).present || env->wall_ms - n->changed_ms >= EVICT_NOTICE_MS)
        propose_remove(env, n); /* the leader speaks to it until then: it hears of its vote's end, and keeps still */
}

void cluster_leader_step(const struct db *db, const struct cluster_env *env)
{
    struct node n = {0};
    while (node_next(db_tables(db), &n)) {
        if (n.state == NODE_JOINING)
            step_joining(db, env, &n);
        else if (n.state == NODE_EVICTING)
            step_evicting(db, env, &n);
        else if (n.state == NODE_DRAINING && env->is_drained(env->ctx, n.name))
            propose_admin(env, NODE_DRAINED, &n);
        else if (n.state == NODE_ACTIVE && n.failback && env->is_home(env->ctx, n.name))
            propose_admin(env, NODE_HOME, &n);
    }
}
