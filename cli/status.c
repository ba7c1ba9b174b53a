/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clusterctl status: the page that an admin looks at first. */
#include "cli/call.h"
#include "cli/metrics.h"
#include "cli/noun.h"
#include "cli/watch.h"

static void header_cluster(struct page *p, const struct json *data)
{
    const struct json *self = json_get(data, "self");
    const char *name = json_str(json_path(data, "cluster.name"), "");
    const char *phase = json_get_str(self, "phase", "");
    if (!name[0])
        page_field(p, "Cluster", "none yet (this node, %s, is %s)", json_get_str(self, "name", "-"),
                   phase[0] ? phase : "unconfigured");
    else if (str_eq(phase, "member"))
        page_field(p, "Cluster", "%s, as %s sees it", name, json_get_str(self, "name", "-"));
    else
        page_field(p, "Cluster", "%s, as %s sees it, which is %s", name, json_get_str(self, "name", "-"), phase);
}

static void header_quorum(struct page *p, const struct json *data)
{
    const struct json *quorum = json_get(data, "quorum");
    if (!json_is_object(quorum))
        return;
    bool quorate = json_get_bool(quorum, "quorate", false);
    const char *leader = json_get_str(quorum, "leader", "");
    page_styled(p, STYLE_BOLD, "%-10s ", "Quorum");
    page_styled(p, quorate ? STYLE_GOOD : STYLE_BAD, "%s", quorate ? "yes" : "NO");
    page_printf(p, ", %lld of %lld votes, ", (long long)json_get_int(quorum, "votes_present", 0),
                (long long)json_get_int(quorum, "votes_total", 0));
    if (leader[0])
        page_printf(p, "leader %s\n", leader);
    else
        page_printf(p, "no leader\n");
    if (json_get_bool(quorum, "stale", false))
        page_field(p, "", "what follows is what this node last knew");
}

static void header(struct page *p, const struct json *data)
{
    const struct json *level = json_get(data, "level"), *witness = json_get(data, "witness");
    const struct json *run = json_get(data, "run");
    header_cluster(p, data);
    header_quorum(p, data);
    if (json_is_object(witness)) {
        page_styled(p, STYLE_BOLD, "%-10s ", "Witness");
        page_witness_line(p, witness);
        page_printf(p, "\n");
    }
    if (json_is_object(level)) {
        page_styled(p, STYLE_BOLD, "%-10s ", "Level");
        page_level_line(p, level);
    }
    if (json_is_object(run) && !run_is_over(run)) {
        page_styled(p, STYLE_BOLD, "%-10s ", "Upgrade");
        page_run_line(p, run);
    }
}

static void health(struct page *p, const struct json *items)
{
    for (size_t k = 0; k < json_count(items); k++) {
        const struct json *h = json_at(items, k);
        const char *severity = json_get_str(h, "severity", "");
        const char *object = json_get_str(h, "object", "");
        const char *remedy = json_get_str(h, "remedy", "");
        if (k == 0)
            page_heading(p, "Health");
        page_styled(p, style_of_state(severity), "%-8s", severity);
        page_printf(p, " %s%s%s: %s\n", json_get_str(h, "code", ""), object[0] ? " " : "", object,
                    json_get_str(h, "text", ""));
        if (remedy[0])
            page_printf(p, "         remedy: %s\n", remedy);
    }
    if (json_is_array(items) && json_count(items) == 0) {
        page_heading(p, "Health");
        page_styled(p, STYLE_GOOD, "ok");
        page_printf(p, "\n");
    }
}

/* Where there are more than the page lists. */
static void vm_counts(struct page *p, const struct json *counts)
{
    int64_t total = json_get_int(counts, "total", 0), listed = json_get_int(counts, "listed", total);
    void *it = NULL;
    const char *state;
    const struct json *n;
    if (listed >= total)
        return;
    page_printf(p, "\n%lld virtual machines", (long long)total);
    for (const char *sep = ":"; json_next(json_get(counts, "states"), &it, &state, &n);)
        if (json_int(n, 0) > 0) {
            page_printf(p, "%s %lld %s", sep, (long long)json_int(n, 0), state);
            sep = ",";
        }
    page_printf(p, "; %lld need a look and are listed, all: clusterctl vm list\n", (long long)listed);
}

static void render_status(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)i;
    header(p, data);
    if (json_count(json_get(data, "nodes"))) {
        page_printf(p, "\n");
        page_nodes(p, json_get(data, "nodes"));
    }
    if (json_count(json_get(data, "vms"))) {
        page_printf(p, "\n");
        page_vms(p, json_get(data, "vms"));
    }
    vm_counts(p, json_get(data, "vm_counts"));
    const struct json *run = json_get(data, "run");
    if (json_is_object(run) && !run_is_over(run)) {
        page_printf(p, "\n");
        page_run(p, run);
    }
    if (json_count(json_get(data, "tasks"))) {
        page_printf(p, "\n");
        page_tasks(p, json_get(data, "tasks"));
    }
    if (json_count(json_get(data, "jobs"))) {
        page_heading(p, "Jobs");
        page_jobs(p, json_get(data, "jobs"));
    }
    health(p, json_get(data, "health"));
}

/* Also without an agent, so that whoever collects metrics sees that; and 0 without quorum, which is one of them. */
static int run_metrics(struct call *c)
{
    struct error e = {0};
    struct page p = call_page(c, STREAM_OUT);
    int err = call_ask(c, c->i->verb->wire, watch_all_vms(), &e);
    if (!err)
        e = call_status(c);
    bool is_picture = e.code == 0 || e.code == ERR_NO_QUORUM;
    metrics_text(is_picture ? json_get(c->answer, "data") : NULL, p.wall_ms, &p.text);
    call_text(c, STREAM_OUT, &p);
    page_done(&p);
    return is_picture ? 0 : call_fail(c, &e);
}

static int run_status(struct call *c)
{
    if (c->i->metrics)
        return run_metrics(c);
    return c->i->set[OPT_WATCH] ? watch_status(c) : call_plain(c);
}

const struct verb status_verbs[] = {
    {
        .words = "status",
        .wire = "status",
        .synopsis = "[--watch]",
        .brief = "quorum, level, nodes, virtual machines, what runs, what is wrong and the command that mends it",
        .more = "  --watch              again every 2 seconds; not on a terminal: a line for each change\n"
                "  -o openmetrics       metrics for Prometheus, with 0 also without quorum\n"
                "Exits with 0 whenever it could report, and with 106 without quorum; health is in data.health.\n",
        .options = OPT_BIT(OPT_WATCH),
        .flags = VERB_READS | VERB_METRICS,
        .render = render_status,
        .run = run_status,
    },
    {0},
};
