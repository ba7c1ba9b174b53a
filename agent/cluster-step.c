/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the leader does about the slots: the voting configuration follows them, one change at a time (design: replicated
 * database, Votes), and drains and failbacks end when what they wait for is seen. Level-triggered: a new leader needs
 * nothing from the old one. */
#include "agent/cluster.h"

#include <stdio.h>

static void propose_replica(const struct cluster_env *env, enum entry_kind kind, const struct node *n, int weight)
{
    struct buf b = {0};
    wire_put_uuid(&b, &n->replica);
    if (kind == ENTRY_REPLICA_ADD)
        wire_put_u32(&b, n->nodeid);
    if (kind == ENTRY_REPLICA_WEIGHT)
        wire_put_u8(&b, (uint8_t)weight);
    env->propose(env->ctx, kind, &b, "config"); /* one key: one change under way */
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
    if (!r)
        propose_replica(env, ENTRY_REPLICA_ADD, n, 0);
    else if (r->weight == 1)
        propose_admin(env, NODE_ADMITTED, n);
    else if (db_replica_progress(db, &n->replica).caught_up)
        propose_replica(env, ENTRY_REPLICA_WEIGHT, n, 1);
}

static void step_evicting(const struct db *db, const struct cluster_env *env, const struct node *n)
{
    const struct db_replica *r = db_config_find(db_configuration(db), &n->replica);
    if (!db_config_settled(db))
        return;
    if (!r)
        propose_admin(env, NODE_GONE, n);
    else if (r->weight == 1)
        propose_replica(env, ENTRY_REPLICA_WEIGHT, n, 0);
    else
        propose_replica(env, ENTRY_REPLICA_REMOVE, n, 0);
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
