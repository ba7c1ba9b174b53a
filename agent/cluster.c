/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rows of the cluster and its nodes: codec and readers. What changes them stands in cluster-apply.c. */
#include "agent/cluster-internal.h"


const char *node_state_name(enum node_state s)
{
    static const char *const names[] = {
        [NODE_ACTIVE] = "active",     [NODE_DRAINING] = "draining", [NODE_PAUSED] = "paused",
        [NODE_EVICTING] = "evicting", [NODE_ABSENT] = "absent",     [NODE_JOINING] = "joining",
    };
    return s >= NODE_ACTIVE && s <= NODE_JOINING ? names[s] : "unknown";
}

void facts_put(struct buf *b, const struct host_facts *f)
{
    wire_put_str(b, f->hostname);
    wire_put_str(b, f->address);
    wire_put_u16(b, f->port);
    wire_put_str(b, f->boot_id);
    wire_put_str(b, f->release);
    wire_put_str(b, f->os);
    wire_put_str(b, f->kernel);
    wire_put_str(b, f->corosync);
    wire_put_u32(b, f->qemu_version);
    wire_put_u32(b, f->libvirt_version);
    wire_put_str(b, f->agent_version);
    wire_put_u64(b, f->memory_kib);
    wire_put_u32(b, f->cpus);
    wire_put_str(b, f->machines);
}

void facts_get(struct wire_reader *r, struct host_facts *ret)
{
    struct host_facts f = {0};
    WIRE_GET_STR(r, f.hostname);
    WIRE_GET_STR(r, f.address);
    f.port = wire_get_u16(r);
    WIRE_GET_STR(r, f.boot_id);
    WIRE_GET_STR(r, f.release);
    WIRE_GET_STR(r, f.os);
    WIRE_GET_STR(r, f.kernel);
    WIRE_GET_STR(r, f.corosync);
    f.qemu_version = wire_get_u32(r);
    f.libvirt_version = wire_get_u32(r);
    WIRE_GET_STR(r, f.agent_version);
    f.memory_kib = wire_get_u64(r);
    f.cpus = wire_get_u32(r);
    f.machines = wire_get_strdup(r);
    *ret = f;
}

void host_facts_done(struct host_facts *f)
{
    free(f->machines);
    f->machines = NULL;
}

void join_request_done(struct join_request *r)
{
    host_facts_done(&r->facts);
    free(r->csr);
    r->csr = NULL;
}

bool facts_equal(const struct host_facts *a, const struct host_facts *b)
{
    AUTO(buf_done) struct buf x = {0}, y = {0};
    facts_put(&x, a);
    facts_put(&y, b);
    return x.len == y.len && memcmp(x.p, y.p, x.len) == 0;
}

void node_encode(const struct node *n, struct buf *b)
{
    wire_put_str(b, n->name);
    wire_put_str(b, n->address);
    wire_put_u16(b, n->port);
    wire_put_u32(b, n->nodeid);
    wire_put_u8(b, (uint8_t)n->state);
    wire_put_u8(b, n->failback);
    wire_put_u8(b, n->held);
    wire_put_u8(b, n->remove_slot);
    wire_put_uuid(b, &n->replica);
    wire_put_uuid(b, &n->job);
    wire_put_i64(b, n->joined_ms);
    wire_put_i64(b, n->changed_ms);
    wire_put_uuid(b, &n->facts_replica);
    facts_put(b, &n->facts);
    for (size_t i = 0; i < NODE_FAILURES_MAX; i++)
        wire_put_i64(b, n->failures_ms[i]);
    wire_put_str(b, n->failed_boot);
    wire_put_i64(b, n->quarantined_ms);
}

int node_decode(struct slice value, struct node *ret)
{
    struct wire_reader r = wire_reader(value);
    struct node n = {0};
    WIRE_GET_STR(&r, n.name);
    WIRE_GET_STR(&r, n.address);
    n.port = wire_get_u16(&r);
    n.nodeid = wire_get_u32(&r);
    n.state = wire_get_u8(&r);
    n.failback = wire_get_u8(&r);
    n.held = wire_get_u8(&r);
    n.remove_slot = wire_get_u8(&r);
    n.replica = wire_get_uuid(&r);
    n.job = wire_get_uuid(&r);
    n.joined_ms = wire_get_i64(&r);
    n.changed_ms = wire_get_i64(&r);
    n.facts_replica = wire_get_uuid(&r);
    facts_get(&r, &n.facts);
    for (size_t i = 0; i < NODE_FAILURES_MAX; i++)
        n.failures_ms[i] = wire_get_i64(&r);
    WIRE_GET_STR(&r, n.failed_boot);
    n.quarantined_ms = wire_get_i64(&r);
    if (wire_err(&r) || n.state < NODE_ACTIVE || n.state > NODE_JOINING) {
        node_done(&n);
        return ERR_MALFORMED;
    }
    *ret = n;
    return 0;
}

void node_done(struct node *n)
{
    host_facts_done(&n->facts);
}

int node_get(const struct tables *t, const char *name, struct node *ret)
{
    struct slice value;
    if (tables_get(t, TABLE_NODE, name, &value))
        return ERR_NO_OBJECT;
    return node_decode(value, ret);
}

bool node_next(const struct tables *t, struct node *n)
{
    struct table_row row;
    char after[NODE_NAME_MAX];
    STR_COPY(after, n->name);
    node_done(n);
    if (!tables_next(t, TABLE_NODE, after[0] ? after : NULL, &row) || node_decode(row.value, n)) {
        *n = (struct node){0};
        return false;
    }
    return true;
}

int node_by_replica(const struct tables *t, const struct uuid *replica, struct node *ret)
{
    struct node n = {0};
    while (node_next(t, &n))
        if (uuid_eq(&n.replica, replica)) {
            *ret = n;
            return 0;
        }
    return ERR_NO_OBJECT;
}

void cluster_encode(const struct cluster *c, struct buf *b)
{
    wire_put_uuid(b, &c->uuid);
    wire_put_str(b, c->name);
    wire_put_i64(b, c->created_ms);
    wire_put_bytes(b, c->ca_hash.b, HASH_SIZE);
}

static struct hash get_hash(struct wire_reader *r)
{
    struct hash h = {0};
    struct slice s = wire_get_slice(r);
    if (s.len == HASH_SIZE)
        memcpy(h.b, s.p, HASH_SIZE);
    else
        r->err = ERR_MALFORMED;
    return h;
}

void forced_encode(const struct cluster_forced *f, struct buf *b)
{
    wire_put_u64(b, f->epoch);
    wire_put_str(b, f->node);
    wire_put_str(b, f->by);
    wire_put_i64(b, f->time_ms);
}

int cluster_forced_decode(struct slice value, struct cluster_forced *ret)
{
    struct wire_reader r = wire_reader(value);
    struct cluster_forced f = {.epoch = wire_get_u64(&r)};
    WIRE_GET_STR(&r, f.node);
    WIRE_GET_STR(&r, f.by);
    f.time_ms = wire_get_i64(&r);
    if (wire_err(&r))
        return ERR_MALFORMED;
    *ret = f;
    return 0;
}

int cluster_forced_get(const struct tables *t, struct cluster_forced *ret)
{
    struct slice value;
    return tables_get(t, TABLE_CLUSTER, "forced", &value) ? ERR_NOT_FOUND : cluster_forced_decode(value, ret);
}

int cluster_get(const struct tables *t, struct cluster *ret)
{
    struct slice value;
    if (tables_get(t, TABLE_CLUSTER, "cluster", &value))
        return ERR_NOT_FOUND;
    struct wire_reader r = wire_reader(value);
    struct cluster c = {0};
    c.uuid = wire_get_uuid(&r);
    WIRE_GET_STR(&r, c.name);
    c.created_ms = wire_get_i64(&r);
    c.ca_hash = get_hash(&r);
    if (wire_err(&r))
        return ERR_MALFORMED;
    *ret = c;
    return 0;
}

void setting_get(const struct tables *t, const char *name, char ret[SETTING_VALUE_MAX])
{
    struct slice v;
    ret[0] = '\0';
    if (!tables_get(t, TABLE_SETTING, name, &v) && v.len < SETTING_VALUE_MAX) {
        memcpy(ret, v.p, v.len);
        ret[v.len] = '\0';
    }
}

struct json *settings_json(const struct tables *t)
{
    struct json *o = json_object_new();
    TABLES_FOREACH (t, TABLE_SETTING, row) {
        char value[SETTING_VALUE_MAX];
        setting_get(t, row.key, value);
        json_set_str(o, row.key, value);
    }
    return o;
}

void token_encode(const struct join_token *k, struct buf *b)
{
    wire_put_uuid(b, &k->id);
    wire_put_str(b, k->node);
    wire_put_str(b, k->address);
    wire_put_bytes(b, k->secret_hash.b, HASH_SIZE);
    wire_put_i64(b, k->expires_ms);
    wire_put_uuid(b, &k->used_by);
    wire_put_str(b, k->op_id);
}

void token_read(struct wire_reader *r, struct join_token *ret)
{
    struct join_token k = {0};
    k.id = wire_get_uuid(r);
    WIRE_GET_STR(r, k.node);
    WIRE_GET_STR(r, k.address);
    k.secret_hash = get_hash(r);
    k.expires_ms = wire_get_i64(r);
    k.used_by = wire_get_uuid(r);
    WIRE_GET_STR(r, k.op_id);
    *ret = k;
}

void identity_put(struct buf *b, const struct identity *i)
{
    wire_put_uuid(b, &i->cluster);
    wire_put_str(b, i->cluster_name);
    wire_put_uuid(b, &i->replica);
    wire_put_u32(b, i->nodeid);
    wire_put_str(b, i->node);
    wire_put_str(b, i->address);
    wire_put_u16(b, i->port);
}

void identity_get(struct wire_reader *r, struct identity *ret)
{
    struct identity i = {0};
    i.cluster = wire_get_uuid(r);
    WIRE_GET_STR(r, i.cluster_name);
    i.replica = wire_get_uuid(r);
    i.nodeid = wire_get_u32(r);
    WIRE_GET_STR(r, i.node);
    WIRE_GET_STR(r, i.address);
    i.port = wire_get_u16(r);
    *ret = i;
}

void cluster_entry_init(const struct cluster_init *i, struct buf *b)
{
    identity_put(b, &i->identity);
    facts_put(b, &i->facts);
    wire_put_slice(b, i->sealed_ca_key);
    wire_put_bytes(b, i->ca_hash.b, HASH_SIZE);
}

int cluster_init_read(struct slice payload, struct cluster_init *ret)
{
    struct wire_reader r = wire_reader(payload);
    identity_get(&r, &ret->identity);
    facts_get(&r, &ret->facts);
    ret->sealed_ca_key = wire_get_slice(&r);
    ret->ca_hash = get_hash(&r);
    return wire_err(&r);
}

void cluster_entry_join(const struct join_request *j, struct buf *b)
{
    wire_put_uuid(b, &j->token);
    wire_put_bytes(b, j->secret_hash.b, HASH_SIZE);
    wire_put_uuid(b, &j->replica);
    wire_put_str(b, j->node);
    wire_put_str(b, j->address);
    facts_put(b, &j->facts);
}

int cluster_join_read(struct slice payload, struct join_request *ret)
{
    struct wire_reader r = wire_reader(payload);
    ret->token = wire_get_uuid(&r);
    ret->secret_hash = get_hash(&r);
    ret->replica = wire_get_uuid(&r);
    WIRE_GET_STR(&r, ret->node);
    WIRE_GET_STR(&r, ret->address);
    facts_get(&r, &ret->facts);
    return wire_err(&r);
}

void cluster_entry_facts(const char *node, const struct uuid *replica, const struct host_facts *f, struct buf *b)
{
    wire_put_str(b, node);
    wire_put_uuid(b, replica);
    facts_put(b, f);
}

void cluster_entry_admin(const struct node_request *q, struct buf *b)
{
    wire_put_u8(b, (uint8_t)q->verb);
    wire_put_str(b, q->name);
    wire_put_u8(b, q->failback);
    wire_put_u8(b, q->keep_slot);
    wire_put_u8(b, q->force);
    wire_put_uuid(b, &q->replica);
}

int cluster_admin_read(struct slice payload, struct node_request *ret)
{
    struct wire_reader r = wire_reader(payload);
    ret->verb = wire_get_u8(&r);
    WIRE_GET_STR(&r, ret->name);
    ret->failback = wire_get_u8(&r);
    ret->keep_slot = wire_get_u8(&r);
    ret->force = wire_get_u8(&r);
    ret->replica = wire_get_uuid(&r);
    return wire_err(&r);
}

void cluster_entry_token(const struct join_token *token, struct slice sealed_text, struct buf *b)
{
    token_encode(token, b);
    wire_put_slice(b, sealed_text);
}

void cluster_entry_setting(const char *name, const char *value, struct buf *b)
{
    wire_put_str(b, name);
    wire_put_str(b, value);
}

void cluster_entry_node_set(const struct node_set *s, struct buf *b)
{
    wire_put_str(b, s->node);
    wire_put_u8(b, (uint8_t)s->n);
    for (size_t i = 0; i < s->n; i++) {
        wire_put_str(b, s->values[i].what);
        wire_put_str(b, s->values[i].value);
    }
}

int cluster_node_set_read(struct slice payload, struct node_set *ret)
{
    struct wire_reader r = wire_reader(payload);
    struct node_set s = {.n = 0};
    WIRE_GET_STR(&r, s.node);
    size_t n = wire_get_u8(&r);
    if (n > NODE_SET_MAX)
        return ERR_MALFORMED;
    for (; s.n < n; s.n++) {
        WIRE_GET_STR(&r, s.values[s.n].what);
        WIRE_GET_STR(&r, s.values[s.n].value);
    }
    if (wire_err(&r))
        return ERR_MALFORMED;
    *ret = s;
    return 0;
}

void cluster_entry_settings(const struct settings_put *s, struct buf *b)
{
    wire_put_u8(b, (uint8_t)s->n);
    for (size_t i = 0; i < s->n; i++) {
        wire_put_str(b, s->values[i].name);
        wire_put_str(b, s->values[i].value);
    }
}

int cluster_settings_read(struct slice payload, struct settings_put *ret)
{
    struct wire_reader r = wire_reader(payload);
    AUTO(freep) struct settings_put *s = xcalloc(1, sizeof *s);
    size_t n = wire_get_u8(&r);
    if (n > SETTINGS_PUT_MAX)
        return ERR_MALFORMED;
    for (; s->n < n; s->n++) {
        WIRE_GET_STR(&r, s->values[s->n].name);
        WIRE_GET_STR(&r, s->values[s->n].value);
    }
    if (wire_end(&r))
        return ERR_MALFORMED;
    *ret = *s;
    return 0;
}

void cluster_entry_event(enum event_severity s, const char *object, const char *text, struct buf *b)
{
    wire_put_u8(b, (uint8_t)s);
    wire_put_str(b, object);
    wire_put_str(b, text);
}
