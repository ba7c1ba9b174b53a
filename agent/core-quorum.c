/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the quorum's decisions (witness/quorum.h) are told, and how they become entries. Settings (agent/settings.c):
 *
 *   quorum.dynamic         on (default), off: a lost node keeps its vote
 *   quorum.lower_node      the lower-priority node: without a witness the half without it wins
 *   quorum.preferred_site  its half goes for the witness first
 *   node.NAME.site         the site of a node
 *   node.NAME.vote         0: it never votes
 *   node.NAME.priority     where no lower-priority node is named, the one with the lowest priority is it */
#include "agent/core-internal.h"

#include <stdlib.h>

static void fill_node(struct quorum_node *q, const struct core *c, const struct node *n)
{
    const struct tables *t = db_tables(c->db);
    const struct db_replica *r = db_config_find(db_configuration(c->db), &n->replica);
    struct db_progress p = db_replica_progress(c->db, &n->replica);
    char value[SETTING_VALUE_MAX];
    *q = (struct quorum_node){
        .is_member = r && !uuid_is_nil(&n->replica),
        .weight = r ? r->weight : 0,
        .is_here = !uuid_is_nil(&n->replica) && (p.silent_ms ? p.silent_ms < QUORUM_LOST_MS : p.present),
        .is_heard = p.present && p.silent_ms < QUORUM_HEARD_MS,
        .caught_up = p.caught_up_lately,
        .is_joining = n->state == NODE_JOINING,
        .is_leaving = n->state == NODE_EVICTING || n->state == NODE_ABSENT,
    };
    STR_COPY(q->name, n->name);
    node_setting_get(t, n->name, "site", value);
    STR_COPY(q->site, value);
    node_setting_get(t, n->name, "vote", value);
    q->no_vote = str_eq(value, "0");
    node_setting_get(t, n->name, "priority", value);
    q->priority = (int)strtol(value, NULL, 10);
}

void core_quorum_view(const struct core *c, struct quorum_view *ret)
{
    const struct db_config *config = db_configuration(c->db);
    const struct tables *t = db_tables(c->db);
    struct db_witness_view w;
    char value[SETTING_VALUE_MAX];
    struct node n = {0};
    struct uuid wanted = witness_wanted(t);
    *ret = (struct quorum_view){.has_witness = !uuid_is_nil(&config->witness),
                                .witness_leaves = !uuid_eq(&config->witness, &wanted),
                                .witness_weight = config->witness_weight};
    while (node_next(t, &n))
        if (ret->n < QUORUM_NODES_MAX)
            fill_node(&ret->nodes[ret->n++], c, &n);
    db_witness(c->db, &w);
    ret->witness_current = w.is_current;
    setting_get(t, "quorum.dynamic", value);
    ret->is_dynamic = !str_eq(value, "off");
    setting_get(t, "quorum.lower_node", value);
    STR_COPY(ret->lower, value);
    setting_get(t, "quorum.preferred_site", value);
    STR_COPY(ret->preferred_site, value);
}

static void propose(struct core *c, const struct quorum_view *v, const struct quorum_change *d)
{
    const struct db_config *config = db_configuration(c->db);
    struct buf b = {0};
    struct node n = {0};
    if (d->what == QUORUM_WITNESS) {
        db_encode_witness_weight(&b, &config->witness, d->weight);
        core_propose_keyed(c, ENTRY_WITNESS_WEIGHT, &b, "config");
        return;
    }
    if (node_get(db_tables(c->db), v->nodes[d->node].name, &n) == 0) {
        log_notice(c->log, "quorum: %s %s its vote", n.name, d->weight ? "gets" : "loses");
        db_encode_replica_weight(&b, &n.replica, d->weight);
        core_propose_keyed(c, ENTRY_REPLICA_WEIGHT, &b, "config");
    }
    node_done(&n);
}

/* The vote of a joining node comes with its admission (cluster-step.c). */
/* "Replacing a witness: old weight -> 0, create the new one, new weight -> 1." The new one was created before it was
 * wanted. */
static bool name_witness(struct core *c, const struct quorum_view *v)
{
    struct uuid wanted = witness_wanted(db_tables(c->db));
    struct buf b = {0};
    if (!v->witness_leaves || v->witness_weight > 0)
        return false;
    log_notice(c->log, "quorum: the witness is %.8s from now on", uuid_is_nil(&wanted) ? "none" : uuid_str(&wanted).s);
    db_encode_witness_name(&b, &wanted);
    core_propose_keyed(c, ENTRY_WITNESS_NAME, &b, "config");
    return true;
}

void core_quorum_step(struct core *c, const struct quorum_view *v)
{
    if (db_config_settled(c->db) && name_witness(c, v))
        return;
    struct quorum_change d = quorum_decide(v);
    bool is_joiner = d.what == QUORUM_NODE && v->nodes[d.node].is_joining && d.weight > 0;
    if (d.what != QUORUM_KEEP && !is_joiner && db_config_settled(c->db))
        propose(c, v, &d);
}

enum cluster_vote core_quorum_vote(const struct quorum_view *v, const char *node)
{
    struct quorum_change d = quorum_decide(v);
    for (size_t i = 0; i < v->n; i++) {
        if (!str_eq(v->nodes[i].name, node))
            continue;
        if (v->nodes[i].no_vote)
            return VOTE_NEVER;
        return d.what == QUORUM_NODE && d.node == i && d.weight > 0 ? VOTE_NOW : VOTE_LATER;
    }
    return VOTE_LATER;
}

/* A leader has it when it is known to be its own; with a leader, so have those that follow; others have not. */
static void set_spoken(const struct core *c, struct quorum_view *v)
{
    struct db_witness_view w;
    db_witness(c->db, &w);
    bool is_here = db_is_leader(c->db) ? w.is_known : core_is_quorate(c);
    v->witness_spoken = is_here ? QUORUM_SPOKEN_HERE : w.refused_term ? QUORUM_SPOKEN_ELSEWHERE : QUORUM_SPOKEN_NOT;
    v->witness_term = w.refused_term;
}

/* ---- quorum show ------------------------------------------------------------------------------------------------ */

static struct json *nodes_json(const struct quorum_view *v)
{
    struct json *all = json_array_new();
    for (size_t i = 0; i < v->n; i++) {
        enum quorum_reason why = quorum_reason(v, i);
        struct json *n = json_object_new();
        json_set_str(n, "name", v->nodes[i].name);
        json_set_int(n, "weight", v->nodes[i].weight);
        json_set_bool(n, "present", v->nodes[i].is_here);
        json_set_str(n, "site", v->nodes[i].site[0] ? v->nodes[i].site : NULL);
        json_set_str(n, "reason", quorum_reason_name(why));
        json_set_str(n, "why", quorum_reason_text(why));
        json_append(all, n);
    }
    return all;
}

static struct json *witness_json(const struct core *c, const struct quorum_view *v)
{
    const struct db_config *config = db_configuration(c->db);
    bool is_elsewhere = v->witness_spoken == QUORUM_SPOKEN_ELSEWHERE;
    struct db_witness_view w;
    if (uuid_is_nil(&config->witness))
        return json_null_new();
    db_witness(c->db, &w);
    struct json *o = json_object_new();
    json_set_str(o, "uuid", uuid_str(&config->witness).s);
    json_set_int(o, "weight", config->witness_weight);
    json_set_int(o, "sequence", (int64_t)core_witness_sequence(c));
    json_set_bool(o, "known", w.is_known);
    json_set_str(o, "spoken", quorum_spoken_name(v->witness_spoken));
    json_set(o, "refused_term", is_elsewhere ? json_int_new((int64_t)v->witness_term) : json_null_new());
    json_set_str(o, "trouble", w.trouble[0] ? w.trouble : NULL);
    return o;
}

static struct json *forced_json(const struct core *c)
{
    struct cluster_forced f;
    if (cluster_forced_get(db_tables(c->db), &f))
        return json_null_new();
    struct json *o = json_object_new();
    json_set_int(o, "epoch", (int64_t)f.epoch);
    json_set_str(o, "node", f.node);
    json_set_str(o, "by", f.by);
    json_set(o, "at", json_time_new(f.time_ms));
    return o;
}

struct json *core_quorum_json(const struct core *c)
{
    AUTO(freep) struct quorum_view *v = xcalloc(1, sizeof *v);
    struct quorum_verdict r;
    core_quorum_view(c, v);
    set_spoken(c, v);
    quorum_explain(v, &r);
    struct json *o = json_object_new();
    json_set_bool(o, "quorate", core_is_quorate(c));
    json_set_str(o, "verdict", r.text);
    json_set_bool(o, "corosync_quorate", c->corosync_quorate);
    json_set_int(o, "votes_total", r.total);
    json_set_int(o, "votes_needed", r.needed);
    json_set_int(o, "votes_here", r.here);
    json_set_int(o, "may_fail", r.may_fail);
    json_set_int(o, "may_fail_in_turn", r.may_fail_in_turn);
    json_set_bool(o, "dynamic", v->is_dynamic);
    json_set_str(o, "preferred_site", v->preferred_site[0] ? v->preferred_site : NULL);
    json_set_str(o, "lower_node", v->lower[0] ? v->lower : NULL);
    json_set_int(o, "epoch", (int64_t)db_epoch_number(db_term(c->db)));
    json_set(o, "forced", forced_json(c));
    json_set_bool(o, "behind", db_is_behind(c->db));
    json_set_bool(o, "prevented", db_is_prevented(c->db));
    json_set(o, "nodes", nodes_json(v));
    json_set(o, "witness", witness_json(c, v));
    return o;
}
