/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Applying the entries of the cluster and its nodes: the same on every node, from the entry and the tables alone. */
#include "agent/cluster-internal.h"

#include <stdio.h>

struct apply {
    struct tables *t;
    const struct cluster_gate *gate;
    const struct entry *e;
    struct error *err;
};

static void put_node(struct apply *a, struct node *n)
{
    AUTO(buf_done) struct buf b = {0};
    n->changed_ms = a->e->time_ms;
    node_encode(n, &b);
    tables_put(a->t, TABLE_NODE, n->name, buf_slice(&b));
}

static int bad_payload(struct apply *a)
{
    return error_set(a->err, ERR_MALFORMED, "log entry %llu: the payload of kind %u does not decode",
                     (unsigned long long)a->e->index, a->e->kind);
}

static void begin_job(struct apply *a, struct node *n, enum job_kind kind, const char *detail)
{
    struct job j = {.id = a->e->request_id, .kind = kind, .state = JOB_RUNNING, .started_ms = a->e->time_ms};
    STR_COPY(j.object, n->name);
    STR_COPY(j.node, n->name);
    STR_COPY(j.detail, detail);
    journal_job_begin(a->t, &j);
    n->job = j.id;
}

static void end_job(struct apply *a, struct node *n, enum job_state state)
{
    journal_job_end(a->t, &n->job, state, a->e->time_ms, 0, NULL);
    n->job = (struct uuid){0};
}

static void note(struct apply *a, const char *node, const char *text)
{
    journal_event(a->t, a->e->time_ms, EVENT_INFO, node, "%s: %s", node, text);
}

/* Both stand in corosync.conf, certificates and file names. */
static int check_name_and_address(struct apply *a, const char *name, const char *address)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    static const char digits[] = "0123456789abcdefABCDEF.:";
    if (!name[0] || name[strspn(name, letters)])
        return error_set(a->err, ERR_USAGE, "node name '%s': use letters, digits, '.', '_' and '-'", name);
    if (address[strspn(address, digits)])
        return error_set(a->err, ERR_USAGE, "node %s: '%s' is not a numeric address", name, address);
    return 0;
}

static void form(struct apply *a, const struct cluster_init *i)
{
    AUTO(buf_done) struct buf b = {0};
    struct cluster c = {.uuid = i->identity.cluster, .created_ms = a->e->time_ms, .ca_hash = i->ca_hash};
    STR_COPY(c.name, i->identity.cluster_name);
    cluster_encode(&c, &b);
    tables_put(a->t, TABLE_CLUSTER, "cluster", buf_slice(&b));
    tables_put(a->t, TABLE_SECRET, "ca.key", i->sealed_ca_key);

    struct node n = {.nodeid = i->identity.nodeid, .port = i->identity.port, .state = NODE_ACTIVE,
                     .replica = i->identity.replica, .facts_replica = i->identity.replica,
                     .joined_ms = a->e->time_ms, .facts = i->facts};
    STR_COPY(n.name, i->identity.node);
    STR_COPY(n.address, i->identity.address);
    put_node(a, &n);
    a->gate->formed(a->gate->ctx, &i->facts);
    a->gate->facts_changed(a->gate->ctx, n.name, &i->facts, a->e->time_ms);
    journal_event(a->t, a->e->time_ms, EVENT_INFO, n.name, "cluster %s formed by %s", c.name, n.name);
}

static void apply_init(struct apply *a)
{
    struct cluster_init i = {0};
    if (cluster_init_read(a->e->payload, &i))
        bad_payload(a);
    else if (tables_has(a->t, TABLE_CLUSTER, "cluster"))
        error_set(a->err, ERR_CONDITION, "the cluster is formed already");
    else if (!check_name_and_address(a, i.identity.node, i.identity.address))
        form(a, &i);
    host_facts_done(&i.facts);
}

static int token_find(const struct tables *t, const struct uuid *id, struct join_token *ret)
{
    struct slice value;
    if (tables_get(t, TABLE_TOKEN, uuid_str(id).s, &value))
        return ERR_NO_OBJECT;
    struct wire_reader r = wire_reader(value);
    token_read(&r, ret);
    return wire_err(&r);
}

static void token_put(struct tables *t, const struct join_token *k)
{
    AUTO(buf_done) struct buf b = {0};
    token_encode(k, &b);
    tables_put(t, TABLE_TOKEN, uuid_str(&k->id).s, buf_slice(&b));
}

static void secret_name(const char *op_id, char *ret, size_t size)
{
    snprintf(ret, size, "token/%s", op_id);
}

/* The token admits this replica to this slot: 0 or the refusal. Times are the entry's. */
static int check_token(struct apply *a, const struct join_request *j, const struct join_token *k)
{
    static const char remedy[] = "on a member: clusterctl cluster join-token %s";
    int code = 0;
    if (!hash_eq(&k->secret_hash, &j->secret_hash))
        code = error_set(a->err, ERR_PERMISSION, "join of %s: the token's secret is wrong", j->node);
    else if (!str_eq(k->node, j->node))
        code = error_set(a->err, ERR_PERMISSION, "join of %s: the token is for node %s", j->node, k->node);
    else if (k->address[0] && !str_eq(k->address, j->address))
        code = error_set(a->err, ERR_PERMISSION, "join of %s: the token is for address %s, the node has %s", j->node,
                         k->address, j->address);
    else if (!uuid_is_nil(&k->used_by) && !uuid_eq(&k->used_by, &j->replica))
        code = error_set(a->err, ERR_PERMISSION, "join of %s: the token was used already", j->node);
    else if (uuid_is_nil(&k->used_by) && k->expires_ms < a->e->time_ms)
        code = error_set(a->err, ERR_PERMISSION, "join of %s: the token has expired", j->node);
    if (code)
        error_set_remedy(a->err, remedy, j->node);
    return code;
}

static int check_new_slot(struct apply *a, const struct join_request *j)
{
    struct node n = {0};
    if (a->gate->is_mixed(a->gate->ctx)) {
        error_set(a->err, ERR_CONDITION,
                  "join of %s: nodes cannot be added in mixed mode (corosync cannot reload with mixed versions)",
                  j->node);
        error_set_remedy(a->err, "finish the upgrade, then: clusterctl level raise");
        return ERR_CONDITION;
    }
    if (!j->address[0] || check_name_and_address(a, j->node, j->address))
        return error_set(a->err, ERR_USAGE, "join of %s: '%s' is not a numeric address", j->node, j->address);
    if (tables_count(a->t, TABLE_NODE) >= DB_REPLICAS_MAX)
        return error_set(a->err, ERR_CONDITION, "join of %s: the cluster has %d nodes, more are not supported", j->node,
                         DB_REPLICAS_MAX);
    while (node_next(a->t, &n))
        if (str_eq(n.address, j->address)) {
            error_set(a->err, ERR_CONDITION, "join of %s: address %s belongs to node %s", j->node, j->address, n.name);
            error_set_remedy(a->err, "give the node an address of its own in ringmaster.conf, [node] address");
            node_done(&n);
            return ERR_CONDITION;
        }
    return 0;
}

static int check_old_slot(struct apply *a, const struct join_request *j, const struct node *n)
{
    if (uuid_eq(&n->replica, &j->replica))
        return 0;
    if (n->state != NODE_ABSENT) {
        error_set(a->err, ERR_CONDITION, "join of %s: a node of this name is in the cluster", j->node);
        error_set_remedy(a->err, "clusterctl node evict %s --keep-slot", j->node);
        return ERR_CONDITION;
    }
    if (!str_eq(n->address, j->address)) {
        error_set(a->err, ERR_CONDITION, "join of %s: its slot has address %s, the node has %s", j->node, n->address,
                  j->address);
        error_set_remedy(a->err, "set [node] address = %s in ringmaster.conf of the node", n->address);
        return ERR_CONDITION;
    }
    return 0;
}

/* A replica that never was another's, and was not evicted. */
static int check_replica(struct apply *a, const struct join_request *j)
{
    struct node n = {0};
    if (uuid_is_nil(&j->replica))
        return error_set(a->err, ERR_USAGE, "join of %s: the request names no replica", j->node);
    if (tables_has(a->t, TABLE_TOMBSTONE, uuid_str(&j->replica).s))
        return error_set(a->err, ERR_CONDITION, "join of %s: its replica %s was evicted for good", j->node,
                         uuid_str(&j->replica).s);
    int err = 0;
    if (node_by_replica(a->t, &j->replica, &n) == 0 && !str_eq(n.name, j->node))
        err = error_set(a->err, ERR_CONDITION, "join of %s: its replica is node %s's", j->node, n.name);
    node_done(&n);
    return err;
}

static uint32_t free_nodeid(const struct tables *t)
{
    uint32_t highest = 0;
    struct node n = {0};
    while (node_next(t, &n))
        if (n.nodeid > highest)
            highest = n.nodeid;
    return highest + 1;
}

static void forget_failures(struct node *n)
{
    memset(n->failures_ms, 0, sizeof(n->failures_ms));
    n->quarantined_ms = 0;
}

static void admit(struct apply *a, const struct join_request *j, struct join_token *k, struct node *n, bool is_new)
{
    if (is_new) {
        STR_COPY(n->name, j->node);
        STR_COPY(n->address, j->address);
        n->nodeid = free_nodeid(a->t);
    }
    n->port = j->facts.port;
    n->state = NODE_JOINING;
    n->replica = n->facts_replica = j->replica;
    n->joined_ms = a->e->time_ms;
    forget_failures(n); /* it was made anew */
    struct host_facts kept = n->facts;
    n->facts = j->facts;
    put_node(a, n);
    n->facts = kept;
    k->used_by = j->replica;
    token_put(a->t, k);
    if (k->op_id[0]) {
        char name[TABLE_KEY_MAX];
        secret_name(k->op_id, name, sizeof name);
        tables_del(a->t, TABLE_SECRET, name);
    }
    a->gate->facts_changed(a->gate->ctx, n->name, &j->facts, a->e->time_ms);
    journal_event(a->t, a->e->time_ms, EVENT_INFO, n->name, "%s: joins with %s", n->name, j->facts.os);
}

static void join(struct apply *a, const struct join_request *j)
{
    struct join_token k;
    struct node n = {0};
    if (token_find(a->t, &j->token, &k)) {
        error_set(a->err, ERR_PERMISSION, "join of %s: no such token in this cluster", j->node);
        error_set_remedy(a->err, "on a member: clusterctl cluster join-token %s", j->node);
        return;
    }
    bool is_new = node_get(a->t, j->node, &n) != 0;
    if (!check_token(a, j, &k) && !check_replica(a, j) && !(is_new ? check_new_slot(a, j) : check_old_slot(a, j, &n)) &&
        !a->gate->join_check(a->gate->ctx, j->node, &j->facts, a->err) && !uuid_eq(&n.replica, &j->replica))
        admit(a, j, &k, &n, is_new);
    node_done(&n);
}

static void apply_join(struct apply *a)
{
    AUTO(join_request_done) struct join_request j = {0};
    if (cluster_join_read(a->e->payload, &j))
        bad_payload(a);
    else
        join(a, &j);
}

static bool may_quarantine(const struct tables *t, int64_t time_ms)
{
    struct node n = {0};
    size_t all = 0, quarantined = 0;
    while (node_next(t, &n)) {
        all++;
        quarantined += n.quarantined_ms > time_ms;
    }
    return quarantined < (all / 4 > 1 ? all / 4 : 1);
}

static void quarantine(struct tables *t, struct node *n, int64_t time_ms)
{
    n->quarantined_ms = time_ms + NODE_QUARANTINE_MS;
    memset(n->failures_ms, 0, sizeof(n->failures_ms));
    journal_event(t, time_ms, EVENT_WARNING, n->name,
                  "%s: failed %d times within an hour: no virtual machine is placed there for %d minutes", n->name,
                  NODE_FAILURES_MAX, NODE_QUARANTINE_MS / 60000);
}

/* One failure ends one boot: a node that was fenced and then boots anew failed once. */
static void count_failure(struct tables *t, struct node *n, int64_t time_ms)
{
    if (!n->facts.boot_id[0] || str_eq(n->failed_boot, n->facts.boot_id))
        return;
    STR_COPY(n->failed_boot, n->facts.boot_id);
    memmove(&n->failures_ms[0], &n->failures_ms[1], sizeof(n->failures_ms) - sizeof(n->failures_ms[0]));
    n->failures_ms[NODE_FAILURES_MAX - 1] = time_ms;
    bool is_often = n->failures_ms[0] && time_ms - n->failures_ms[0] < NODE_FAILURES_WINDOW_MS;
    if (is_often && n->quarantined_ms <= time_ms && may_quarantine(t, time_ms))
        quarantine(t, n, time_ms);
}

static bool is_in_service(const struct node *n)
{
    return n->state == NODE_ACTIVE || n->state == NODE_DRAINING;
}

void node_failed(struct tables *t, const char *node, int64_t time_ms)
{
    struct node n = {0};
    AUTO(buf_done) struct buf b = {0};
    if (node_get(t, node, &n))
        return;
    if (is_in_service(&n)) {
        count_failure(t, &n, time_ms);
        node_encode(&n, &b);
        tables_put(t, TABLE_NODE, n.name, buf_slice(&b));
    }
    node_done(&n);
}

static void apply_facts(struct apply *a)
{
    struct wire_reader r = wire_reader(a->e->payload);
    char name[NODE_NAME_MAX];
    struct host_facts f = {0};
    struct node n = {0};
    WIRE_GET_STR(&r, name);
    struct uuid replica = wire_get_uuid(&r);
    facts_get(&r, &f);
    if (wire_err(&r)) {
        bad_payload(a);
    } else if (node_get(a->t, name, &n) || !uuid_eq(&n.replica, &replica)) {
        error_set(a->err, ERR_NO_OBJECT, "facts of %s: this replica is not in the cluster", name);
    } else {
        struct host_facts kept = n.facts;
        if (is_in_service(&n) && uuid_eq(&n.facts_replica, &replica) && !str_eq(n.facts.boot_id, f.boot_id))
            count_failure(a->t, &n, a->e->time_ms);
        n.facts = f;
        n.facts_replica = replica;
        put_node(a, &n);
        n.facts = kept;
        a->gate->facts_changed(a->gate->ctx, name, &f, a->e->time_ms);
    }
    node_done(&n);
    host_facts_done(&f);
}

static void wrong_state(struct apply *a, const struct node *n, const char *verb)
{
    error_set(a->err, ERR_CONDITION, "node %s is %s: it cannot be %s now", n->name, node_state_name(n->state), verb);
    error_set_remedy(a->err, "clusterctl node show %s", n->name);
}

static void drain(struct apply *a, struct node *n)
{
    if (n->state == NODE_DRAINING || n->state == NODE_PAUSED)
        return;
    if (n->state != NODE_ACTIVE) {
        wrong_state(a, n, "drained");
        return;
    }
    if (!uuid_is_nil(&n->job)) /* a failback under way */
        end_job(a, n, JOB_CANCELLED);
    n->state = NODE_DRAINING;
    n->failback = false;
    begin_job(a, n, JOB_DRAIN, "moving its virtual machines away");
    note(a, n->name, "draining");
    put_node(a, n);
}

static void drained(struct apply *a, struct node *n)
{
    if (n->state != NODE_DRAINING)
        return;
    n->state = NODE_PAUSED;
    end_job(a, n, JOB_DONE);
    note(a, n->name, "drained and paused");
    put_node(a, n);
}

static void resume(struct apply *a, struct node *n, bool failback)
{
    if (a->gate->is_rebuilt(a->gate->ctx, n->name)) {
        error_set(a->err, ERR_CONDITION, "node %s is being rebuilt: it is resumed when that is done", n->name);
        error_set_remedy(a->err, "clusterctl upgrade status");
        return;
    }
    if (n->quarantined_ms > a->e->time_ms) {
        forget_failures(n);
        note(a, n->name, "its quarantine is lifted");
        put_node(a, n);
    }
    if (n->state == NODE_ACTIVE && n->failback == failback)
        return;
    if (n->state != NODE_PAUSED && n->state != NODE_DRAINING && n->state != NODE_ACTIVE) {
        wrong_state(a, n, "resumed");
        return;
    }
    if (!uuid_is_nil(&n->job))
        end_job(a, n, JOB_CANCELLED);
    n->state = NODE_ACTIVE;
    n->held = false;
    n->failback = failback;
    begin_job(a, n, JOB_RESUME, failback ? "its virtual machines come home" : "takes virtual machines again");
    if (!failback)
        end_job(a, n, JOB_DONE);
    note(a, n->name, failback ? "resumed, its virtual machines come home" : "resumed");
    put_node(a, n);
}

static void home(struct apply *a, struct node *n)
{
    if (n->state != NODE_ACTIVE || !n->failback)
        return;
    n->failback = false;
    end_job(a, n, JOB_DONE);
    note(a, n->name, "its virtual machines are home");
    put_node(a, n);
}

/* Another one that has a vote, so that a majority is left. */
static bool has_other_voter(const struct tables *t, const struct node *n)
{
    struct node other = {0};
    bool found = false;
    while (node_next(t, &other))
        found = found || (!str_eq(other.name, n->name) && (other.state == NODE_ACTIVE || other.state == NODE_DRAINING ||
                                                           other.state == NODE_PAUSED));
    return found;
}

static void evict(struct apply *a, struct node *n, const struct node_request *q)
{
    if (n->state == NODE_EVICTING)
        return;
    if (n->state == NODE_ABSENT && q->keep_slot)
        return;
    if (!q->keep_slot && a->gate->is_mixed(a->gate->ctx)) {
        error_set(a->err, ERR_CONDITION,
                  "node %s: slots cannot be removed in mixed mode (corosync cannot reload with mixed versions)",
                  n->name);
        error_set_remedy(a->err, "clusterctl node evict %s --keep-slot", n->name);
        return;
    }
    if (!has_other_voter(a->t, n)) {
        error_set(a->err, ERR_CONDITION, "node %s is the last one that has a vote: it cannot be evicted", n->name);
        error_set_remedy(a->err, "clusterctl node list; join another node before");
        return;
    }
    size_t vms = q->keep_slot ? a->gate->vms_running_on(a->gate->ctx, n->name) : a->gate->vms_on(a->gate->ctx, n->name);
    if (vms > 0 && !(q->force && q->keep_slot)) { /* a lost node's machines wait in its slot for the node's return */
        error_set(a->err, ERR_CONDITION, "node %s still has %zu virtual machines", n->name, vms);
        error_set_remedy(a->err,
                         "clusterctl node drain %s --wait; if it is lost: clusterctl node evict %s --keep-slot --force",
                         n->name, n->name);
        return;
    }
    if (n->state != NODE_PAUSED && n->state != NODE_ABSENT && !q->force) {
        error_set(a->err, ERR_NEED_FORCE, "node %s is %s, not paused", n->name, node_state_name(n->state));
        error_set_remedy(a->err, "clusterctl node drain %s --wait, or add --force if it is dead", n->name);
        return;
    }
    if (!uuid_is_nil(&n->job))
        end_job(a, n, JOB_CANCELLED);
    n->held = n->held || n->state == NODE_PAUSED;
    n->state = NODE_EVICTING;
    n->remove_slot = !q->keep_slot;
    begin_job(a, n, JOB_EVICT, q->keep_slot ? "its replica leaves, its slot stays" : "replica and slot leave");
    note(a, n->name, "evicting");
    put_node(a, n);
}

static void gone(struct apply *a, struct node *n, const struct uuid *replica)
{
    if (n->state != NODE_EVICTING || !uuid_eq(&n->replica, replica))
        return;
    if (!uuid_is_nil(replica)) {
        AUTO(buf_done) struct buf b = {0};
        wire_put_str(&b, n->name);
        wire_put_i64(&b, a->e->time_ms);
        tables_put(a->t, TABLE_TOMBSTONE, uuid_str(replica).s, buf_slice(&b));
    }
    end_job(a, n, JOB_DONE);
    note(a, n->name, n->remove_slot ? "evicted, slot removed" : "evicted, slot kept");
    if (n->remove_slot) {
        tables_del(a->t, TABLE_NODE, n->name);
        settings_node_removed(a->t, n->name, a->e->time_ms);
        a->gate->slot_removed(a->gate->ctx, n->name, a->e->time_ms);
        return;
    }
    n->state = NODE_ABSENT;
    n->replica = (struct uuid){0};
    put_node(a, n);
}

static void admitted(struct apply *a, struct node *n, const struct uuid *replica)
{
    if (n->state != NODE_JOINING || !uuid_eq(&n->replica, replica))
        return;
    n->state = n->held ? NODE_PAUSED : NODE_ACTIVE;
    n->held = false;
    note(a, n->name, n->state == NODE_PAUSED ? "caught up and votes, still paused" : "caught up and votes");
    put_node(a, n);
}

static void apply_admin(struct apply *a)
{
    struct node_request q = {0};
    struct node n = {0};
    if (cluster_admin_read(a->e->payload, &q)) {
        bad_payload(a);
        return;
    }
    if (node_get(a->t, q.name, &n)) {
        error_set(a->err, ERR_NO_OBJECT, "no node %s in this cluster", q.name);
        error_set_remedy(a->err, "clusterctl node list");
        return;
    }
    switch (q.verb) {
    case NODE_DRAIN: drain(a, &n); break;
    case NODE_DRAINED: drained(a, &n); break;
    case NODE_RESUME: resume(a, &n, q.failback); break;
    case NODE_HOME: home(a, &n); break;
    case NODE_EVICT: evict(a, &n, &q); break;
    case NODE_GONE: gone(a, &n, &q.replica); break;
    case NODE_ADMITTED: admitted(a, &n, &q.replica); break;
    default: bad_payload(a);
    }
    node_done(&n);
}

/* Tokens that have expired unused, and used ones, are of no use a day later; nor is the sealed text. */
static void prune_tokens(struct apply *a)
{
    const int64_t day_ms = 24LL * 3600 * 1000;
    struct join_token old = {0};
    char name[TABLE_KEY_MAX];
    TABLES_FOREACH (a->t, TABLE_TOKEN, row) {
        struct wire_reader r = wire_reader(row.value);
        struct join_token k;
        token_read(&r, &k);
        if (wire_err(&r) == 0 && k.expires_ms < a->e->time_ms - day_ms)
            old = k;
    }
    tables_del(a->t, TABLE_TOKEN, uuid_str(&old.id).s);
    secret_name(old.op_id, name, sizeof name);
    tables_del(a->t, TABLE_SECRET, name);
}

static void apply_token(struct apply *a)
{
    struct wire_reader r = wire_reader(a->e->payload);
    struct join_token k;
    token_read(&r, &k);
    struct slice sealed = wire_get_slice(&r);
    if (wire_err(&r)) {
        bad_payload(a);
        return;
    }
    if (check_name_and_address(a, k.node, k.address))
        return;
    prune_tokens(a);
    token_put(a->t, &k);
    if (k.op_id[0]) {
        char name[TABLE_KEY_MAX];
        secret_name(k.op_id, name, sizeof name);
        tables_put(a->t, TABLE_SECRET, name, sealed);
    }
}

static void apply_secret(struct apply *a)
{
    struct wire_reader r = wire_reader(a->e->payload);
    char name[TABLE_KEY_MAX];
    WIRE_GET_STR(&r, name);
    struct slice value = wire_get_slice(&r);
    if (wire_err(&r) || !name[0])
        bad_payload(a);
    else if (value.len)
        tables_put(a->t, TABLE_SECRET, name, value);
    else
        tables_del(a->t, TABLE_SECRET, name);
}

static int check_setting(struct apply *a, const char *name, const char *value)
{
    if (strncmp(name, "corosync.", 9) == 0 && a->gate->is_mixed(a->gate->ctx)) {
        error_set(a->err, ERR_CONDITION, "setting %s: not in mixed mode (corosync cannot reload with mixed versions)",
                  name);
        error_set_remedy(a->err, "finish the upgrade, then: clusterctl level raise");
        return ERR_CONDITION;
    }
    int err = setting_check(a->t, name, value, a->err);
    return err ? err : a->gate->setting_check(a->gate->ctx, name, value, a->err);
}

static void apply_setting(struct apply *a)
{
    struct wire_reader r = wire_reader(a->e->payload);
    char name[TABLE_KEY_MAX], value[SETTING_VALUE_MAX];
    WIRE_GET_STR(&r, name);
    WIRE_GET_STR(&r, value);
    if (wire_err(&r)) {
        bad_payload(a);
        return;
    }
    if (check_setting(a, name, value) == 0)
        setting_put(a->t, name, value, a->e->time_ms);
}

/* Each is checked against the settings as they were before all of them. */
static void apply_settings(struct apply *a)
{
    AUTO(freep) struct settings_put *s = xcalloc(1, sizeof *s);
    if (cluster_settings_read(a->e->payload, s)) {
        bad_payload(a);
        return;
    }
    for (size_t i = 0; i < s->n; i++)
        if (check_setting(a, s->values[i].name, s->values[i].value))
            return;
    for (size_t i = 0; i < s->n; i++)
        setting_put(a->t, s->values[i].name, s->values[i].value, a->e->time_ms);
}

static void apply_node_set(struct apply *a)
{
    struct node_set s;
    char name[TABLE_KEY_MAX];
    if (cluster_node_set_read(a->e->payload, &s)) {
        bad_payload(a);
        return;
    }
    if (node_set_check(a->t, &s, a->err))
        return;
    for (size_t i = 0; i < s.n; i++) {
        node_setting_name(s.node, s.values[i].what, name);
        setting_put(a->t, name, s.values[i].value, a->e->time_ms);
    }
}

/* What it does to the votes is the database's; here it is put on record. */
static void apply_force(struct apply *a)
{
    AUTO(buf_done) struct buf b = {0};
    struct wire_reader r = wire_reader(a->e->payload);
    struct cluster_forced f = {.epoch = db_epoch_number(a->e->term), .time_ms = a->e->time_ms};
    (void)wire_get_uuid(&r);
    WIRE_GET_STR(&r, f.node);
    WIRE_GET_STR(&r, f.by);
    if (wire_err(&r)) {
        bad_payload(a);
        return;
    }
    forced_encode(&f, &b);
    tables_put(a->t, TABLE_CLUSTER, "forced", buf_slice(&b));
    journal_event(a->t, f.time_ms, EVENT_ERROR, f.node,
                  "%s: quorum was forced by %s, epoch %llu: what other nodes changed without it is given up", f.node,
                  f.by, (unsigned long long)f.epoch);
}

static void apply_event(struct apply *a)
{
    struct wire_reader r = wire_reader(a->e->payload);
    char object[JOURNAL_OBJECT_MAX], text[JOURNAL_TEXT_MAX];
    uint8_t severity = wire_get_u8(&r);
    WIRE_GET_STR(&r, object);
    WIRE_GET_STR(&r, text);
    if (wire_err(&r))
        bad_payload(a);
    else
        journal_event(a->t, a->e->time_ms, severity, object, "%s", text);
}

void cluster_apply(struct tables *t, const struct cluster_gate *gate, const struct entry *e, struct apply_result *ret)
{
    struct apply a = {.t = t, .gate = gate, .e = e, .err = &ret->error};
    switch (e->kind) {
    case ENTRY_CLUSTER_INIT: apply_init(&a); break;
    case ENTRY_NODE_JOIN: apply_join(&a); break;
    case ENTRY_NODE_FACTS: apply_facts(&a); break;
    case ENTRY_NODE_ADMIN: apply_admin(&a); break;
    case ENTRY_TOKEN_ADD: apply_token(&a); break;
    case ENTRY_SECRET_PUT: apply_secret(&a); break;
    case ENTRY_SETTING_PUT: apply_setting(&a); break;
    case ENTRY_SETTINGS_PUT: apply_settings(&a); break;
    case ENTRY_NODE_SET: apply_node_set(&a); break;
    case ENTRY_EVENT: apply_event(&a); break;
    case ENTRY_FORCE: apply_force(&a); break;
    default: error_set(&ret->error, ERR_UNKNOWN_KIND, "log entry kind %u is not the cluster's", e->kind);
    }
}
