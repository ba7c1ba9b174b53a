/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Row "level" of TABLE_CLUSTER:  u8 fl, u8 fence, uuid fence_job, i64 mixed_since, i64 raised, str machine,
 *                                u32 n, n × (str node, u8 min, u8 native, u8 acked), sorted by node.
 * ENTRY_LEVEL:                   u8 verb, u8 level, str node, str why, str machine. */
#include "upgrade/level.h"

#include <assert.h>
#include <stdio.h>

static const char ROW[] = "level";

/* Text in arrays, not behind pointers: nothing in here is written when the program is loaded. */
struct level_def {
    uint8_t level;
    char codename[32];
    uint32_t qemu, libvirt;
    char text[64];
};
static const struct level_def levels[] = {
#define LEVEL(number, codename, qemu, libvirt, text) {number, codename, qemu, libvirt, text},
#include "upgrade/level.def"
#undef LEVEL
};
enum { N_LEVELS = sizeof(levels) / sizeof(levels[0]) };

struct feature_def {
    char name[64];
    uint8_t level;
};
static const struct feature_def features[] = {
#define FEATURE(id, name, level, text) {name, level},
#include "upgrade/feature.def"
#undef FEATURE
};

/* ---- levels and features ------------------------------------------------------------------------------------- */

struct level_range level_range_of(uint32_t qemu_version, uint32_t libvirt_version)
{
    uint8_t native = 0;
    for (size_t i = 0; i < N_LEVELS; i++)
        if (qemu_version >= levels[i].qemu && libvirt_version >= levels[i].libvirt && levels[i].level > native)
            native = levels[i].level;
    return (struct level_range){.min = native > 1 ? (uint8_t)(native - 1) : native, .native = native};
}

const char *level_describe(uint8_t level)
{
    for (size_t i = 0; i < N_LEVELS; i++)
        if (levels[i].level == level)
            return levels[i].text;
    return NULL;
}

uint8_t level_newest(void)
{
    uint8_t newest = 0;
    for (size_t i = 0; i < N_LEVELS; i++)
        if (levels[i].level > newest)
            newest = levels[i].level;
    return newest;
}

uint8_t level_of_release(const char *codename)
{
    for (size_t i = 0; i < N_LEVELS; i++)
        if (str_eq(levels[i].codename, codename))
            return levels[i].level;
    return 0;
}

int feature_check(const struct tables *t, enum feature f, struct error *e)
{
    assert(f < FEATURE_COUNT);
    struct level_state s;
    uint8_t fl = level_get(t, &s) == 0 ? s.fl : 0;
    if (fl >= features[f].level)
        return 0;
    error_set(e, ERR_CONDITION, "%s need functional level %u, the cluster's is %u", features[f].name, features[f].level,
              fl);
    error_set_remedy(e, "clusterctl level raise");
    return ERR_CONDITION;
}

/* ---- the row ------------------------------------------------------------------------------------------------- */

static bool in_range(const struct level_member *m, uint8_t level)
{
    return m->min <= level && level <= m->native;
}

int level_decode(struct slice value, struct level_state *ret)
{
    struct wire_reader r = wire_reader(value);
    struct level_state s = {.fl = wire_get_u8(&r), .fence = wire_get_u8(&r), .fence_job = wire_get_uuid(&r)};
    s.mixed_since_ms = wire_get_i64(&r);
    s.raised_ms = wire_get_i64(&r);
    WIRE_GET_STR(&r, s.machine);
    s.n = wire_get_count(&r, 4 + 3);
    if (s.n > LEVEL_MEMBERS_MAX)
        return ERR_MALFORMED;
    for (size_t i = 0; i < s.n; i++) {
        struct level_member *m = &s.members[i];
        WIRE_GET_STR(&r, m->node);
        m->min = wire_get_u8(&r);
        m->native = wire_get_u8(&r);
        m->acked = wire_get_u8(&r) != 0;
    }
    if (wire_err(&r) || s.mixed_since_ms < 0)
        return ERR_MALFORMED;
    *ret = s;
    return 0;
}

static void state_put(struct tables *t, const struct level_state *s)
{
    AUTO(buf_done) struct buf b = {0};
    wire_put_u8(&b, s->fl);
    wire_put_u8(&b, s->fence);
    wire_put_uuid(&b, &s->fence_job);
    wire_put_i64(&b, s->mixed_since_ms);
    wire_put_i64(&b, s->raised_ms);
    wire_put_str(&b, s->machine);
    wire_put_u32(&b, (uint32_t)s->n);
    for (size_t i = 0; i < s->n; i++) {
        const struct level_member *m = &s->members[i];
        wire_put_str(&b, m->node);
        wire_put_u8(&b, m->min);
        wire_put_u8(&b, m->native);
        wire_put_u8(&b, m->acked);
    }
    tables_put(t, TABLE_CLUSTER, ROW, buf_slice(&b));
}

int level_get(const struct tables *t, struct level_state *ret)
{
    struct slice value;
    if (tables_get(t, TABLE_CLUSTER, ROW, &value) < 0)
        return ERR_NOT_FOUND;
    int err = level_decode(value, ret);
    assert(err == 0); /* we wrote it */
    return err;
}

int level_check_known(const struct tables *t, struct error *e)
{
    struct level_state s;
    if (level_get(t, &s) < 0 || s.fl <= level_newest())
        return 0;
    error_set(e, ERR_CONDITION, "the cluster works at functional level %u, this agent knows levels up to %u", s.fl,
              level_newest());
    error_set_remedy(e, "install the release of ringmaster that the other nodes run");
    return ERR_CONDITION;
}

static struct level_member *member_find(struct level_state *s, const char *node)
{
    for (size_t i = 0; i < s->n; i++)
        if (str_eq(s->members[i].node, node))
            return &s->members[i];
    return NULL;
}

/* Keeps the invariant: mixed_since != 0 exactly while some member's native level is above fl. */
static void mixed_refresh(struct level_state *s, int64_t time_ms)
{
    bool mixed = false;
    for (size_t i = 0; i < s->n; i++)
        mixed = mixed || s->members[i].native > s->fl;
    if (!mixed)
        s->mixed_since_ms = 0;
    else if (s->mixed_since_ms == 0)
        s->mixed_since_ms = time_ms > 0 ? time_ms : 1;
}

static struct json *mixed_json(const struct level_state *s, int64_t wall_ms)
{
    if (s->mixed_since_ms == 0)
        return json_null_new();
    int64_t days = wall_ms > s->mixed_since_ms ? (wall_ms - s->mixed_since_ms) / (24 * 60 * 60 * 1000) : 0;
    struct json *j = json_object_new();
    json_set(j, "since", json_time_new(s->mixed_since_ms));
    json_set_int(j, "days", days);
    json_set_str(j, "severity", days >= MIXED_CRITICAL_DAYS ? "critical" : days >= MIXED_WARN_DAYS ? "warning" : "ok");
    return j;
}

struct json *level_json(const struct level_state *s, int64_t wall_ms)
{
    struct json *j = json_object_new();
    json_set_int(j, "committed", s->fl);
    json_set_str(j, "description", level_describe(s->fl));
    json_set_int(j, "newest", level_newest());
    json_set(j, "fence", s->fence ? json_int_new(s->fence) : json_null_new());
    json_set(j, "mixed", mixed_json(s, wall_ms));
    json_set(j, "machine", json_str_new(s->machine[0] ? s->machine : NULL));
    json_set(j, "raised", json_time_new(s->raised_ms));
    struct json *members = json_array_new();
    for (size_t i = 0; i < s->n; i++) {
        struct json *m = json_object_new();
        json_set_str(m, "node", s->members[i].node);
        json_set_int(m, "min", s->members[i].min);
        json_set_int(m, "native", s->members[i].native);
        if (s->fence)
            json_set_bool(m, "acknowledged", s->members[i].acked);
        json_append(members, m);
    }
    json_set(j, "members", members);
    return j;
}

/* ---- members ------------------------------------------------------------------------------------------------- */

void level_init(struct tables *t, uint8_t fl)
{
    struct level_state s = {.fl = fl};
    state_put(t, &s);
}

/* A joiner must be able to work at the committed level, and at the one that is about to be committed. */
static int range_check(const char *node, struct level_range r, uint8_t level, const char *what, struct error *e)
{
    const char *text = level_describe(level);
    if (level >= r.min && level <= r.native)
        return 0;
    error_set(e, ERR_CONDITION, "%s can work at functional levels %u to %u, but %s is %u (%s)", node, r.min, r.native,
              what, level, text ? text : "unknown to this release");
    if (level > r.native)
        error_set_remedy(e, "install a newer release of the operating system on %s and join again", node);
    else
        error_set_remedy(e,
                         "clusterctl level raise, once every member runs a newer release; or join with an older one");
    return ERR_CONDITION;
}

int level_join_check(const struct tables *t, const char *node, struct level_range r, struct error *e)
{
    struct level_state s;
    if (level_get(t, &s) < 0)
        return error_set(e, ERR_CONDITION, "no cluster was formed yet");
    if (r.native == 0) {
        error_set(e, ERR_CONDITION, "the QEMU and libvirt of %s are below every functional level", node);
        error_set_remedy(e, "install at least %s on %s", levels[0].text, node);
        return ERR_CONDITION;
    }
    if (!member_find(&s, node) && s.n == LEVEL_MEMBERS_MAX)
        return error_set(e, ERR_CONDITION, "the cluster has %d members, more are not supported", LEVEL_MEMBERS_MAX);
    int err = range_check(node, r, s.fl, "the cluster's functional level", e);
    if (err == 0 && s.fence)
        err = range_check(node, r, s.fence, "the functional level being raised to", e);
    return err;
}

static struct level_member *member_insert(struct level_state *s, const char *node)
{
    if (s->n == LEVEL_MEMBERS_MAX)
        return NULL;
    size_t at = 0;
    while (at < s->n && strcmp(s->members[at].node, node) < 0)
        at++;
    memmove(&s->members[at + 1], &s->members[at], (s->n - at) * sizeof(s->members[0]));
    s->n++;
    s->members[at] = (struct level_member){0};
    STR_COPY(s->members[at].node, node);
    return &s->members[at];
}

void level_member_set(struct tables *t, const char *node, struct level_range r, int64_t time_ms)
{
    struct level_state s;
    if (level_get(t, &s) < 0)
        return;
    struct level_member *m = member_find(&s, node);
    if (!m)
        m = member_insert(&s, node);
    if (!m)
        return; /* level_join_check refuses it */
    if (m->min != r.min || m->native != r.native)
        m->acked = false; /* it acknowledged as what it was */
    m->min = r.min;
    m->native = r.native;
    mixed_refresh(&s, time_ms);
    state_put(t, &s);
}

void level_member_remove(struct tables *t, const char *node, int64_t time_ms)
{
    struct level_state s;
    struct level_member *m;
    if (level_get(t, &s) < 0 || !(m = member_find(&s, node)))
        return;
    size_t at = (size_t)(m - s.members);
    s.n--;
    memmove(m, m + 1, (s.n - at) * sizeof(s.members[0]));
    mixed_refresh(&s, time_ms);
    state_put(t, &s);
}

/* ---- entries ------------------------------------------------------------------------------------------------- */

void level_entry(const struct level_request *r, struct buf *b)
{
    wire_put_u8(b, (uint8_t)r->verb);
    wire_put_u8(b, r->level);
    wire_put_str(b, r->node);
    wire_put_str(b, r->why);
    wire_put_str(b, r->machine);
}

static int request_decode(struct slice payload, struct level_request *ret)
{
    struct wire_reader r = wire_reader(payload);
    struct level_request q = {.verb = (enum level_verb)wire_get_u8(&r), .level = wire_get_u8(&r)};
    WIRE_GET_STR(&r, q.node);
    WIRE_GET_STR(&r, q.why);
    WIRE_GET_STR(&r, q.machine);
    if (wire_end(&r))
        return ERR_MALFORMED;
    *ret = q;
    return 0;
}

static int apply_fence(struct tables *t, struct level_state *s, const struct entry *e, uint8_t level, struct error *err)
{
    if (s->fence)
        return error_set(err, ERR_CONDITION, "the level is being raised to %u already", s->fence);
    if (level != s->fl + 1)
        return error_set(err, ERR_CONDITION, "the level is %u: it rises by one, not to %u", s->fl, level);
    for (size_t i = 0; i < s->n; i++)
        if (!in_range(&s->members[i], level))
            return error_set(err, ERR_CONDITION, "%s can work at levels %u to %u, not at %u", s->members[i].node,
                             s->members[i].min, s->members[i].native, level);
    s->fence = level;
    s->fence_job = e->request_id;
    for (size_t i = 0; i < s->n; i++)
        s->members[i].acked = false;
    struct job job = {.id = e->request_id, .kind = JOB_LEVEL_RAISE, .state = JOB_RUNNING, .started_ms = e->time_ms};
    STR_COPY(job.object, "level");
    snprintf(job.detail, sizeof(job.detail), "%u -> %u", s->fl, level);
    journal_job_begin(t, &job);
    journal_event(t, e->time_ms, EVENT_INFO, "level", "raising the functional level from %u to %u", s->fl, level);
    return 0;
}

static int apply_ack(struct level_state *s, const struct level_request *q, struct error *err)
{
    struct level_member *m = member_find(s, q->node);
    if (!m || !in_range(m, s->fence))
        return error_set(err, ERR_CONDITION, "%s is no member that can work at level %u", q->node, s->fence);
    m->acked = true;
    return 0;
}

static int apply_commit(struct tables *t, struct level_state *s, const struct entry *e, const struct level_request *q,
                        struct error *err)
{
    for (size_t i = 0; i < s->n; i++)
        if (!s->members[i].acked || !in_range(&s->members[i], s->fence))
            return error_set(err, ERR_AGAIN, "%s did not acknowledge level %u", s->members[i].node, s->fence);
    assert(s->fence > s->fl); /* fl never falls */
    s->fl = s->fence;
    s->fence = 0;
    s->raised_ms = e->time_ms;
    if (q->machine[0])
        STR_COPY(s->machine, q->machine);
    mixed_refresh(s, e->time_ms);
    journal_job_end(t, &s->fence_job, JOB_DONE, e->time_ms, 0, NULL);
    journal_event(t, e->time_ms, EVENT_INFO, "level", "the functional level is %u now", s->fl);
    s->fence_job = (struct uuid){0};
    return 0;
}

static int apply_clear(struct tables *t, struct level_state *s, const struct entry *e, const char *why)
{
    journal_job_end(t, &s->fence_job, JOB_FAILED, e->time_ms, ERR_CONDITION, why);
    journal_event(t, e->time_ms, EVENT_WARNING, "level", "the functional level stays at %u: %s", s->fl, why);
    s->fence = 0;
    s->fence_job = (struct uuid){0};
    for (size_t i = 0; i < s->n; i++)
        s->members[i].acked = false;
    return 0;
}

void level_apply(struct tables *t, const struct entry *e, struct apply_result *ret)
{
    struct level_state s;
    struct level_request q;
    struct error *err = &ret->error;
    *ret = (struct apply_result){0};
    if (request_decode(e->payload, &q) < 0) {
        error_set(err, ERR_MALFORMED, "malformed level entry");
        return;
    }
    if (level_get(t, &s) < 0) {
        error_set(err, ERR_CONDITION, "no cluster was formed yet");
        return;
    }
    if (q.verb != LEVEL_FENCE && (s.fence == 0 || s.fence != q.level)) {
        error_set(err, ERR_AGAIN, "no raise to level %u is under way", q.level);
        return;
    }
    int code;
    switch (q.verb) {
    case LEVEL_FENCE: code = apply_fence(t, &s, e, q.level, err); break;
    case LEVEL_ACK: code = apply_ack(&s, &q, err); break;
    case LEVEL_COMMIT: code = apply_commit(t, &s, e, &q, err); break;
    case LEVEL_CLEAR: code = apply_clear(t, &s, e, q.why); break;
    default: code = error_set(err, ERR_MALFORMED, "unknown level verb %d", (int)q.verb); break;
    }
    if (code == 0)
        state_put(t, &s);
}

/* ---- the raise ----------------------------------------------------------------------------------------------- */

static const struct level_node *node_find(const struct level_node *nodes, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(nodes[i].name, name))
            return &nodes[i];
    return NULL;
}

/* Why this member keeps the level from rising to `level`; false: it does not. */
static bool member_blocks(const struct level_member *m, const struct level_node *node, uint8_t level, struct error *ret)
{
    const char *text = level_describe(level);
    if (!node || !node->present) {
        error_set(ret, ERR_CONDITION, "%s is down", m->node);
        error_set_remedy(ret, "start %s, or clusterctl node evict %s", m->node, m->node);
    } else if (node->paused) {
        error_set(ret, ERR_CONDITION, "%s is paused", m->node);
        error_set_remedy(ret, "clusterctl node resume %s", m->node);
    } else if (m->native < level) {
        error_set(ret, ERR_CONDITION, "%s can work at levels %u to %u, not at %u (%s)", m->node, m->min, m->native,
                  level, text ? text : "unknown");
        error_set_remedy(ret, "clusterctl upgrade");
    } else if (m->min > level) {
        error_set(ret, ERR_CONDITION, "%s can work at levels %u to %u only", m->node, m->min, m->native);
        error_set_remedy(ret, "clusterctl node evict %s", m->node);
    } else {
        return false;
    }
    return true;
}

static void finding_add(struct json *arr, const char *object, const struct error *why)
{
    struct json *f = json_object_new();
    json_set_str(f, "check", "level");
    json_set_str(f, "result", "fail");
    json_set_str(f, "object", object);
    json_set_str(f, "text", why->text);
    json_set_str(f, "remedy", why->remedy);
    json_append(arr, f);
}

/* What blocks for the whole cluster, not for one member. */
static bool cluster_blocks(const struct level_state *s, struct error *ret)
{
    if (s->fence) {
        error_set(ret, ERR_CONDITION, "the level is being raised to %u already", s->fence);
        error_set_remedy(ret, "clusterctl level show");
    } else if (s->fl >= level_newest()) {
        error_set(ret, ERR_CONDITION, "level %u is the newest that this release knows", s->fl);
    } else {
        return false;
    }
    return true;
}

int level_raise_check(const struct tables *t, const struct level_node *nodes, size_t n, struct json **ret_findings,
                      struct error *e)
{
    struct level_state s;
    struct error why;
    struct json *findings = json_array_new();
    AUTO(buf_done) struct buf text = {0};
    char remedy[ERROR_REMEDY_MAX] = "";
    if (level_get(t, &s) < 0) {
        error_set(&why, ERR_CONDITION, "no cluster was formed yet");
        finding_add(findings, "", &why);
        buf_printf(&text, "%s", why.text);
    } else if (cluster_blocks(&s, &why)) {
        finding_add(findings, "", &why);
        buf_printf(&text, "%s", why.text);
        STR_COPY(remedy, why.remedy);
    } else {
        for (size_t i = 0; i < s.n; i++) {
            const struct level_member *m = &s.members[i];
            if (!member_blocks(m, node_find(nodes, n, m->node), (uint8_t)(s.fl + 1), &why))
                continue;
            finding_add(findings, m->node, &why);
            if (text.len == 0)
                STR_COPY(remedy, why.remedy);
            buf_printf(&text, "%s%s", text.len ? "; " : "", why.text);
        }
    }
    int code = 0;
    if (text.len > 0) {
        code = error_set(e, ERR_CONDITION, "the functional level cannot be raised: %.*s", (int)text.len,
                         (const char *)text.p);
        error_set_remedy(e, "%s", remedy);
    }
    *ret_findings = findings;
    return code;
}

/* ---- machine types ------------------------------------------------------------------------------------------- */

static bool has_word(const char *list, const char *word, size_t len)
{
    for (const char *p = list; (p = strstr(p, word)) != NULL; p++)
        if ((p == list || p[-1] == ' ') && (p[len] == ' ' || p[len] == '\0'))
            return true;
    return false;
}

/* "pc-q35-7.2" -> 7002; 0: of another family, or no plain version. */
static unsigned machine_version(const char *word)
{
    unsigned major = 0, minor = 0;
    char rest;
    if (sscanf(word, "pc-q35-%4u.%3u%c", &major, &minor, &rest) != 2)
        return 0;
    return major * 1000 + minor;
}

/* The highest machine type that every member's QEMU has; empty when some member's are not known. */
static void machine_common(const struct level_state *s, const struct level_node *nodes, size_t n, char ret[64])
{
    char best[64] = "";
    ret[0] = '\0';
    const struct level_node *first = s->n ? node_find(nodes, n, s->members[0].node) : NULL;
    const char *p = first ? first->machines : NULL;
    while (p && *p) {
        char word[64];
        size_t len = strcspn(p, " ");
        bool common = len > 0 && len < sizeof(word);
        snprintf(word, sizeof(word), "%.*s", common ? (int)len : 0, p);
        for (size_t i = 1; common && i < s->n; i++) {
            const struct level_node *node = node_find(nodes, n, s->members[i].node);
            if (!node || !node->machines)
                return;
            common = has_word(node->machines, word, len);
        }
        if (common && machine_version(word) > machine_version(best))
            STR_COPY(best, word);
        p += len + (p[len] == ' ');
    }
    str_copy(ret, sizeof(best), best);
}

/* ---- the step ------------------------------------------------------------------------------------------------ */

static void request_propose(const struct level_env *env, const struct level_request *q, const char *key)
{
    struct buf b = {0};
    level_entry(q, &b);
    env->propose(env->ctx, ENTRY_LEVEL, &b, key);
}

static void acknowledge(const struct level_state *s, const char *self, struct level_range r,
                        const struct level_env *env)
{
    for (size_t i = 0; i < s->n; i++) {
        if (!str_eq(s->members[i].node, self) || s->members[i].acked || s->fence < r.min || s->fence > r.native)
            continue;
        struct level_request q = {.verb = LEVEL_ACK, .level = s->fence};
        char key[LEVEL_NAME_MAX + 16];
        STR_COPY(q.node, self);
        snprintf(key, sizeof(key), "level-ack-%s", self);
        log_debug(env->log, "level fence at %u, own range %u to %u -> acknowledge", s->fence, r.min, r.native);
        request_propose(env, &q, key);
    }
}

void level_step(const struct tables *t, const char *self, struct level_range self_range, bool is_leader,
                const struct level_node *nodes, size_t n, const struct level_env *env)
{
    struct level_state s;
    struct error why;
    if (level_get(t, &s) < 0 || s.fence == 0)
        return;
    acknowledge(&s, self, self_range, env);
    if (!is_leader)
        return;
    bool all = true;
    struct level_request q = {.verb = LEVEL_COMMIT, .level = s.fence};
    for (size_t i = 0; i < s.n && q.verb == LEVEL_COMMIT; i++) {
        const struct level_member *m = &s.members[i];
        all = all && m->acked;
        if (!member_blocks(m, node_find(nodes, n, m->node), s.fence, &why))
            continue;
        q.verb = LEVEL_CLEAR;
        STR_COPY(q.why, why.text);
    }
    if (q.verb == LEVEL_CLEAR) {
        log_debug(env->log, "%s -> clear the level fence at %u", q.why, s.fence);
    } else if (all) {
        machine_common(&s, nodes, n, q.machine);
        log_debug(env->log, "every member acknowledged level %u -> commit it", s.fence);
    } else {
        return;
    }
    request_propose(env, &q, "level");
}
