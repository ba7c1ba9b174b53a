/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Row "level" of TABLE_CLUSTER:  u8 fl, u8 fence, uuid fence_job, i64 mixed_since, i64 raised, str machine,
 *                                u64 copy_index, i64 copy_ms, u8 copy_level,
 *                                u32 n, n × (str node, u8 min, u8 native, u8 acked, u8 copied), sorted by node.
 * ENTRY_LEVEL:                   u8 verb, u8 level, str node, str why, str machine, u64 copy_index. */
#include "upgrade/level.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

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
    char text[96];
};
static const struct feature_def features[] = {
#define FEATURE(id, name, level, text) {name, level, text},
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

static const char *release_of_level(uint8_t level)
{
    for (size_t i = 0; i < N_LEVELS; i++)
        if (levels[i].level == level)
            return levels[i].codename;
    return "RELEASE";
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

struct json *features_json(uint8_t fl)
{
    struct json *all = json_array_new();
    for (size_t i = 0; i < FEATURE_COUNT; i++) {
        struct json *f = json_object_new();
        json_set_str(f, "name", features[i].name);
        json_set_str(f, "text", features[i].text);
        json_set_int(f, "level", features[i].level);
        json_set_bool(f, "available", fl >= features[i].level);
        json_append(all, f);
    }
    return all;
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
    s.copy_index = wire_get_u64(&r);
    s.copy_ms = wire_get_i64(&r);
    s.copy_level = wire_get_u8(&r);
    s.n = wire_get_count(&r, 4 + 4);
    if (s.n > LEVEL_MEMBERS_MAX)
        return ERR_MALFORMED;
    for (size_t i = 0; i < s.n; i++) {
        struct level_member *m = &s.members[i];
        WIRE_GET_STR(&r, m->node);
        m->min = wire_get_u8(&r);
        m->native = wire_get_u8(&r);
        m->acked = wire_get_u8(&r) != 0;
        m->copied = wire_get_u8(&r) != 0;
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
    wire_put_u64(&b, s->copy_index);
    wire_put_i64(&b, s->copy_ms);
    wire_put_u8(&b, s->copy_level);
    wire_put_u32(&b, (uint32_t)s->n);
    for (size_t i = 0; i < s->n; i++) {
        const struct level_member *m = &s->members[i];
        wire_put_str(&b, m->node);
        wire_put_u8(&b, m->min);
        wire_put_u8(&b, m->native);
        wire_put_u8(&b, m->acked);
        wire_put_u8(&b, m->copied);
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

int64_t level_mixed_days(const struct level_state *s, int64_t wall_ms)
{
    int64_t age_ms = s->mixed_since_ms ? wall_ms - s->mixed_since_ms : 0;
    return age_ms > 0 ? age_ms / (24 * 60 * 60 * 1000) : 0; /* clocks differ */
}

static struct json *mixed_json(const struct level_state *s, int64_t wall_ms)
{
    if (s->mixed_since_ms == 0)
        return json_null_new();
    int64_t days = level_mixed_days(s, wall_ms);
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
    char copy[LEVEL_COPY_NAME_MAX];
    level_copy_name(s, copy);
    json_set_str(j, "copy", copy[0] ? copy : NULL);
    struct json *members = json_array_new();
    for (size_t i = 0; i < s->n; i++) {
        struct json *m = json_object_new();
        json_set_str(m, "node", s->members[i].node);
        json_set_int(m, "min", s->members[i].min);
        json_set_int(m, "native", s->members[i].native);
        if (s->fence)
            json_set_bool(m, "acknowledged", s->members[i].acked);
        if (s->fence)
            json_set_bool(m, "copied", s->members[i].copied);
        json_append(members, m);
    }
    json_set(j, "members", members);
    return j;
}

/* ---- the database copy --------------------------------------------------------------------------------------- */

void level_copy_name(const struct level_state *s, char ret[LEVEL_COPY_NAME_MAX])
{
    struct tm tm = {0};
    const time_t seconds = (time_t)(s->copy_ms / 1000);
    ret[0] = '\0';
    if (s->copy_index == 0 || !gmtime_r(&seconds, &tm))
        return;
    snprintf(ret, LEVEL_COPY_NAME_MAX, LEVEL_COPY_PREFIX "%u.%04d%02d%02dT%02d%02d%02dZ", s->copy_level,
             tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

/* The raise ends; whoever asked for it hears why. */
static void end_raise(struct tables *t, struct level_state *s, int64_t time_ms, const char *why)
{
    journal_job_end(t, &s->fence_job, JOB_FAILED, time_ms, ERR_CONDITION, why);
    journal_event(t, time_ms, EVENT_WARNING, "level", "the functional level stays at %u: %s", s->fl, why);
    s->fence = 0;
    s->fence_job = (struct uuid){0};
    s->copy_index = 0;
    for (size_t i = 0; i < s->n; i++)
        s->members[i].acked = s->members[i].copied = false;
}

/* Times are the copy's own: all nodes come to the same tables. */
void level_restored(struct tables *t)
{
    struct level_state s;
    if (level_get(t, &s) < 0 || s.fence == 0)
        return;
    end_raise(t, &s, s.copy_ms, "the database was put back to before the raise");
    state_put(t, &s);
}

/* ---- members ------------------------------------------------------------------------------------------------- */

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
    wire_put_u64(b, r->copy_index);
}

static int request_decode(struct slice payload, struct level_request *ret)
{
    struct wire_reader r = wire_reader(payload);
    struct level_request q = {.verb = (enum level_verb)wire_get_u8(&r), .level = wire_get_u8(&r)};
    WIRE_GET_STR(&r, q.node);
    WIRE_GET_STR(&r, q.why);
    WIRE_GET_STR(&r, q.machine);
    q.copy_index = wire_get_u64(&r);
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
    s->copy_index = 0;
    for (size_t i = 0; i < s->n; i++)
        s->members[i].acked = s->members[i].copied = false;
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

static int all_acked(const struct level_state *s, struct error *err)
{
    for (size_t i = 0; i < s->n; i++)
        if (!s->members[i].acked || !in_range(&s->members[i], s->fence))
            return error_set(err, ERR_AGAIN, "%s did not acknowledge level %u", s->members[i].node, s->fence);
    return 0;
}

/* From here on, at this very index: whoever applies it makes its copy. */
static int apply_copy(struct level_state *s, const struct entry *e, const struct level_request *q, struct error *err)
{
    int code = all_acked(s, err);
    if (!code && q->copy_index != s->copy_index)
        code = error_set(err, ERR_AGAIN, "another database copy is under way");
    if (code)
        return code;
    s->copy_index = e->index;
    s->copy_ms = e->time_ms;
    s->copy_level = s->fence;
    for (size_t i = 0; i < s->n; i++)
        s->members[i].copied = false;
    return 0;
}

static int apply_copied(struct level_state *s, const struct level_request *q, struct error *err)
{
    struct level_member *m = member_find(s, q->node);
    if (!m || q->copy_index == 0 || q->copy_index != s->copy_index)
        return error_set(err, ERR_AGAIN, "%s: that database copy is not wanted any more", q->node);
    m->copied = true;
    return 0;
}

static int apply_commit(struct tables *t, struct level_state *s, const struct entry *e, const struct level_request *q,
                        struct error *err)
{
    int code = all_acked(s, err);
    for (size_t i = 0; i < s->n && !code; i++)
        if (s->copy_index == 0 || !s->members[i].copied)
            code = error_set(err, ERR_AGAIN, "%s has no database copy yet", s->members[i].node);
    if (code)
        return code;
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
    case LEVEL_CLEAR: code = 0, end_raise(t, &s, e->time_ms, q.why); break;
    case LEVEL_COPY: code = apply_copy(&s, e, &q, err); break;
    case LEVEL_COPIED: code = apply_copied(&s, &q, err); break;
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
        error_set_remedy(ret, "clusterctl upgrade start --target %s", release_of_level(level));
    } else if (m->min > level) {
        error_set(ret, ERR_CONDITION, "%s can work at levels %u to %u only", m->node, m->min, m->native);
        error_set_remedy(ret, "clusterctl node evict %s", m->node);
    } else if (node->lacks.code) {
        *ret = node->lacks;
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

void level_init(struct tables *t, uint8_t fl, const char *machines)
{
    struct level_state s = {.fl = fl, .n = 1};
    const struct level_node first = {.machines = machines};
    machine_common(&s, &first, 1, s.machine);
    s.n = 0;
    state_put(t, &s);
}

/* ---- the step ------------------------------------------------------------------------------------------------ */

static void request_propose(const struct level_env *env, const struct level_request *q, const char *key)
{
    struct buf b = {0};
    level_entry(q, &b);
    env->propose(env->ctx, ENTRY_LEVEL, &b, key);
}

static void request_of_self(const struct level_env *env, const char *self, struct level_request *q, const char *what)
{
    char key[LEVEL_NAME_MAX + 32];
    STR_COPY(q->node, self);
    snprintf(key, sizeof(key), "level-%s-%s", what, self);
    request_propose(env, q, key);
}

/* A copy that this agent does not know of was applied by the agent before it, or came with a snapshot: it is of no use
 * to wait for it. */
static void tell_of_copy(const struct level_state *s, const struct level_self *self, const struct level_env *env)
{
    const struct level_copy *c = self->copy;
    struct level_request q = {.verb = LEVEL_COPIED, .level = s->fence, .copy_index = s->copy_index};
    if (c->done == s->copy_index) {
        log_debug(env->log, "the database copy of %" PRIu64 " is on disk -> say so", s->copy_index);
    } else if (c->failed == s->copy_index) {
        q.verb = LEVEL_CLEAR;
        snprintf(q.why, sizeof(q.why), "%.60s made no database copy: %.120s", self->node, c->error.text);
        log_warn(env->log, "%s -> the level is not raised", q.why);
    } else if (c->under_way != s->copy_index) {
        q.verb = LEVEL_COPY;
        log_debug(env->log, "the database copy of %" PRIu64 " was missed -> another one", s->copy_index);
    } else {
        return;
    }
    request_of_self(env, self->node, &q, q.verb == LEVEL_COPIED ? "copied" : "copy");
}

static void step_of_member(const struct level_state *s, const struct level_self *self, const struct level_env *env)
{
    const struct level_member *m = member_find((struct level_state *)s, self->node);
    if (m && !m->acked && self->range.min <= s->fence && s->fence <= self->range.native) {
        struct level_request q = {.verb = LEVEL_ACK, .level = s->fence};
        log_debug(env->log, "level fence at %u, own range %u to %u -> acknowledge", s->fence, self->range.min,
                  self->range.native);
        request_of_self(env, self->node, &q, "ack");
    } else if (m && s->copy_index && !m->copied) {
        tell_of_copy(s, self, env);
    }
}

/* What the leader does with the fence now. False: it waits. */
static bool next_of_raise(const struct level_state *s, const struct level_node *nodes, size_t n,
                          struct level_request *ret)
{
    struct error why;
    bool acked = true, copied = s->copy_index != 0;
    for (size_t i = 0; i < s->n; i++) {
        const struct level_member *m = &s->members[i];
        acked = acked && m->acked;
        copied = copied && m->copied;
        if (!member_blocks(m, node_find(nodes, n, m->node), s->fence, &why))
            continue;
        ret->verb = LEVEL_CLEAR;
        STR_COPY(ret->why, why.text);
        return true;
    }
    ret->verb = copied ? LEVEL_COMMIT : LEVEL_COPY;
    return acked && (copied || s->copy_index == 0);
}

void level_step(const struct tables *t, const struct level_self *self, const struct level_node *nodes, size_t n,
                const struct level_env *env)
{
    struct level_state s;
    if (level_get(t, &s) < 0 || s.fence == 0)
        return;
    step_of_member(&s, self, env);
    struct level_request q = {.level = s.fence};
    if (!self->is_leader || !next_of_raise(&s, nodes, n, &q))
        return;
    if (q.verb == LEVEL_CLEAR)
        log_debug(env->log, "%s -> clear the level fence at %u", q.why, s.fence);
    else if (q.verb == LEVEL_COPY)
        log_debug(env->log, "every member acknowledged level %u -> copy the database", s.fence);
    else
        log_debug(env->log, "every member has its database copy -> commit level %u", s.fence);
    if (q.verb == LEVEL_COMMIT)
        machine_common(&s, nodes, n, q.machine);
    request_propose(env, &q, "level");
}
