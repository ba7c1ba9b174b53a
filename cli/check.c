/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clusterctl check: the health of the cluster as a monitoring plugin tells it (Nagios and all that took over its way):
 * one line, performance data behind a bar, and 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/call.h"
#include "cli/noun.h"
#include "common/proto.h"

enum { MIXED_WARN_S = 21 * 86400, MIXED_CRITICAL_S = 28 * 86400 }; /* as the agent says of MIXED_MODE_OVERDUE */
enum { CHECK_OK = 0, CHECK_WARNING = 1, CHECK_CRITICAL = 2, CHECK_UNKNOWN = 3, CHECK_ASK_MS = 10 * 1000 };

static const char *result_name(int result)
{
    static const char *const names[] = {"OK", "WARNING", "CRITICAL", "UNKNOWN"};
    return names[result];
}

static enum style result_style(int result)
{
    static const enum style styles[] = {STYLE_GOOD, STYLE_WARN, STYLE_BAD, STYLE_BAD};
    return styles[result];
}

static int result_of(const struct json *finding)
{
    const char *severity = json_get_str(finding, "severity", "");
    return str_eq(severity, "critical") ? CHECK_CRITICAL : str_eq(severity, "ok") ? CHECK_OK : CHECK_WARNING;
}

/* --ignore A,B: what is known and wanted so. */
static bool is_ignored(const struct invocation *i, const char *code)
{
    size_t len = strlen(code);
    for (const char *p = i->set[OPT_IGNORE] ? i->value[OPT_IGNORE] : ""; *p;) {
        size_t word = strcspn(p, ",");
        if (len && word == len && strncmp(p, code, len) == 0)
            return true;
        p += word + (p[word] == ',');
    }
    return false;
}

/* ---- the line ---------------------------------------------------------------------------------------------------- */

/* One line, in which a bar begins the performance data. */
static void add_plain(struct buf *b, const char *text)
{
    for (const char *p = text; *p; p++)
        buf_add(b, *p == '|' || *p == '\n' || *p == '\r' ? " " : p, 1);
}

static int64_t count_state(const struct json *list, const char *state)
{
    int64_t n = 0;
    for (size_t k = 0; k < json_count(list); k++)
        n += str_eq(json_get_str(json_at(list, k), "state", ""), state);
    return n;
}

static void add_summary(struct buf *b, const struct json *data)
{
    const struct json *q = json_get(data, "quorum"), *nodes = json_get(data, "nodes"), *vms = json_get(data, "vms");
    add_plain(b, json_str(json_path(data, "cluster.name"), "cluster"));
    buf_printf(b, ": %" PRId64 " of %" PRId64 " votes, leader ", json_get_int(q, "votes_present", 0),
               json_get_int(q, "votes_total", 0));
    add_plain(b, json_get_str(q, "leader", "-"));
    buf_printf(b, ", %" PRId64 " of %zu nodes online, %" PRId64 " of %zu virtual machines running",
               count_state(nodes, "online"), json_count(nodes), count_state(vms, "running"), json_count(vms));
}

static void add_finding(struct buf *b, const struct json *h)
{
    const char *object = json_get_str(h, "object", "");
    add_plain(b, json_get_str(h, "code", ""));
    buf_add_str(b, object[0] ? " " : "");
    add_plain(b, object);
    buf_add_str(b, ": ");
    add_plain(b, json_get_str(h, "text", ""));
}

/* 'label'=value[unit];[warn];[crit];[min];[max] */
static void add_perfdata(struct buf *b, const struct json *data, size_t n_warning, size_t n_critical, int64_t wall_ms)
{
    const struct json *q = json_get(data, "quorum"), *nodes = json_get(data, "nodes"), *vms = json_get(data, "vms");
    const struct json *w = json_get(data, "witness");
    int64_t since_ms = time_parse_ms(json_str(json_path(data, "level.mixed.since"), NULL));
    buf_printf(b, "votes=%" PRId64 ";;;0;%" PRId64, json_get_int(q, "votes_present", 0),
               json_get_int(q, "votes_total", 0));
    buf_printf(b, " nodes_online=%" PRId64 ";;;0;%zu", count_state(nodes, "online"), json_count(nodes));
    buf_printf(b, " vms_running=%" PRId64 ";;;0;%zu", count_state(vms, "running"), json_count(vms));
    buf_printf(b, " vms_failed=%" PRId64 ";;;0 vms_unknown=%" PRId64 ";;;0", count_state(vms, "failed"),
               count_state(vms, "unknown"));
    buf_printf(b, " mixed_age=%" PRId64 "s;%d;%d;0", since_ms && wall_ms > since_ms ? (wall_ms - since_ms) / 1000 : 0,
               MIXED_WARN_S, MIXED_CRITICAL_S);
    if (json_is_bool(json_get(w, "reachable")))
        buf_printf(b, " witness_reachable=%d;;;0;1", json_get_bool(w, "reachable", false));
    if (json_is_int(json_get(w, "age_seconds")))
        buf_printf(b, " witness_age=%" PRId64 "s;;;0", json_get_int(w, "age_seconds", 0));
    buf_printf(b, " findings_warning=%zu;;;0 findings_critical=%zu;;;0", n_warning, n_critical);
}

/* ---- judging ----------------------------------------------------------------------------------------------------- */

struct verdict_of {
    int result;
    size_t n[3]; /* of each severity, without what is ignored */
    struct buf text, perfdata;
};

static void judge_health(const struct call *c, const struct json *data, struct verdict_of *v)
{
    const struct json *health = json_get(data, "health"), *worst = NULL;
    for (size_t k = 0; k < json_count(health); k++) {
        const struct json *h = json_at(health, k);
        int result = result_of(h);
        if (is_ignored(c->i, json_get_str(h, "code", "")))
            continue;
        v->n[result]++;
        if (result > v->result || !worst)
            worst = h;
        v->result = result > v->result ? result : v->result;
    }
    size_t others = v->n[CHECK_WARNING] + v->n[CHECK_CRITICAL];
    if (v->result == CHECK_OK) {
        add_summary(&v->text, data);
    } else {
        add_finding(&v->text, worst);
        if (others > 1)
            buf_printf(&v->text, " (and %zu more)", others - 1);
    }
    add_perfdata(&v->perfdata, data, v->n[CHECK_WARNING], v->n[CHECK_CRITICAL], c->env->wall_ms(c->env->ctx));
}

static void judge(const struct call *c, const struct error *e, struct verdict_of *v)
{
    const struct json *data = json_get(c->answer, "data");
    const char *phase = json_str(json_path(data, "self.phase"), "");
    if (e->code && !(e->code == ERR_NO_QUORUM && json_is_array(json_get(data, "health")))) {
        v->result = CHECK_UNKNOWN;
        add_plain(&v->text, e->text);
    } else if (str_eq(phase, "evicted")) {
        v->result = CHECK_CRITICAL;
        buf_add_str(&v->text, "this node was evicted from its cluster");
    } else if (!json_is_array(json_get(data, "health"))) {
        v->result = CHECK_UNKNOWN;
        buf_printf(&v->text, "this node is in no cluster (%s)", phase[0] ? phase : "unconfigured");
    } else {
        judge_health(c, data, v);
    }
}

static void print_line(struct call *c, const struct verdict_of *v)
{
    struct page p = call_page(c, STREAM_OUT);
    page_printf(&p, "RINGMASTER ");
    page_styled(&p, result_style(v->result), "%s", result_name(v->result));
    buf_add_str(&p.text, " - ");
    buf_add(&p.text, v->text.p, v->text.len);
    if (v->perfdata.len) {
        buf_add_str(&p.text, " | ");
        buf_add(&p.text, v->perfdata.p, v->perfdata.len);
    }
    buf_add_str(&p.text, "\n");
    call_text(c, STREAM_OUT, &p);
    page_done(&p);
}

static void print_json(struct call *c, struct verdict_of *v)
{
    struct json *data = json_object_new();
    const struct json *health = json_path(c->answer, "data.health");
    AUTO(freep) char *text = buf_steal_str(&v->text);
    AUTO(freep) char *perfdata = buf_steal_str(&v->perfdata);
    json_set_int(data, "result", v->result);
    json_set_str(data, "result_name", result_name(v->result));
    json_set_str(data, "text", text);
    json_set_str(data, "perfdata", perfdata);
    json_set(data, "health", json_is_array(health) ? json_copy(health) : json_array_new());
    AUTO(json_freep) struct json *answer = proto_answer("check", c->id.s, NULL, data);
    AUTO(freep) char *dump = json_dump_pretty(answer);
    struct page p = call_page(c, STREAM_OUT);
    buf_add_str(&p.text, dump);
    buf_add_str(&p.text, "\n");
    call_text(c, STREAM_OUT, &p);
    page_done(&p);
}

static int run_check(struct call *c)
{
    struct error e = {0};
    struct verdict_of v = {.result = CHECK_OK};
    c->timeout_ms = CHECK_ASK_MS;
    if (call_ask(c, "status", NULL, &e) == 0)
        e = call_status(c);
    judge(c, &e, &v);
    if (c->i->json)
        print_json(c, &v);
    else
        print_line(c, &v);
    buf_done(&v.text);
    buf_done(&v.perfdata);
    return v.result;
}

const struct verb check_verbs[] = {
    {
        .words = "check",
        .synopsis = "[--ignore CODE[,CODE...]]",
        .brief = "the health in one line, for monitoring (a Nagios plugin)",
        .more = "  --ignore CODES   health codes that are known and wanted so\n"
                "Exits with 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN (no agent, no cluster).\n",
        .options = OPT_BIT(OPT_IGNORE),
        .flags = VERB_READS,
        .run = run_check,
    },
    {0},
};
