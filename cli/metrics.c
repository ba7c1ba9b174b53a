/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/metrics.h"

#include <inttypes.h>
#include <stdio.h>

#include "cli/print.h"

/* Of the few nodes every state has its series, 0 or 1; of the many virtual machines only the one that is so. */
static const char *const node_states[] = {"online", "offline", "draining", "paused", "joining", "evicting", "absent"};
static const char *const run_states[] = {
    "planned",  "prechecking",  "running",        "paused", "paused-error",
    "aborting", "rolling-back", "awaiting-raise", "done",   "cancelled",
};
static const char *const severities[] = {"ok", "warning", "critical"};
static const char *const fence_outcomes[] = {"wait", "command", "back"};
#define N(a) (sizeof(a) / sizeof((a)[0]))

struct label {
    const char *name, *value; /* value NULL or "": the label is left out */
};

/* Also what counts upwards: of counters OpenMetrics and Prometheus' older format want different names. */
static void family(struct buf *b, const char *name, const char *help)
{
    buf_printf(b, "# HELP ringmaster_%s %s\n# TYPE ringmaster_%s gauge\n", name, help, name);
}

static void add_escaped(struct buf *b, const char *value)
{
    for (const char *p = value; *p; p++) {
        if (*p == '\n')
            buf_add_str(b, "\\n");
        else if (*p == '"' || *p == '\\')
            buf_printf(b, "\\%c", *p);
        else
            buf_add(b, p, 1);
    }
}

static void sample_of(struct buf *b, const char *name, const struct label *labels, size_t n, const char *value)
{
    const char *before = "{";
    buf_printf(b, "ringmaster_%s", name);
    for (size_t i = 0; i < n; i++) {
        if (!labels[i].value || !labels[i].value[0])
            continue;
        buf_printf(b, "%s%s=\"", before, labels[i].name);
        add_escaped(b, labels[i].value);
        buf_add_str(b, "\"");
        before = ",";
    }
    buf_printf(b, "%s %s\n", before[0] == ',' ? "}" : "", value);
}

static void sample(struct buf *b, const char *name, const struct label *labels, size_t n, int64_t value)
{
    char text[32];
    snprintf(text, sizeof(text), "%" PRId64, value);
    sample_of(b, name, labels, n, text);
}

static void single(struct buf *b, const char *name, const char *help, int64_t value)
{
    family(b, name, help);
    sample(b, name, NULL, 0, value);
}

/* One series for each state that there is. */
static void states(struct buf *b, const char *name, struct label *labels, size_t n, const char *const *all,
                   size_t n_all, const char *state)
{
    for (size_t i = 0; i < n_all; i++) {
        labels[n - 1].value = all[i];
        sample(b, name, labels, n, str_eq(all[i], state));
    }
}

/* ---- cluster ------------------------------------------------------------------------------------------------------
 */

static void agent_metrics(struct buf *b, const struct json *data)
{
    const struct json *self = json_get(data, "self");
    const struct label info[] = {
        {"node", json_get_str(self, "name", "")},
        {"cluster", json_str(json_path(data, "cluster.name"), "")},
        {"version", json_get_str(self, "version", "")},
        {"phase", json_get_str(self, "phase", "")},
    };
    family(b, "agent_info", "The agent of this node.");
    sample(b, "agent_info", info, N(info), 1);
    single(b, "member", "Whether this node is a member of a cluster.", str_eq(info[3].value, "member"));
}

static void quorum_metrics(struct buf *b, const struct json *q)
{
    const char *leader = json_get_str(q, "leader", "");
    const struct label present = {"type", "present"}, total = {"type", "total"}, node = {"node", leader};
    single(b, "quorate", "Whether this node sees a quorum of the agents.", json_get_bool(q, "quorate", false));
    single(b, "corosync_quorate", "Whether corosync on this node sees a quorum.",
           json_get_bool(q, "corosync_quorate", false));
    family(b, "quorum_votes", "Votes that are present, and all that there are.");
    sample(b, "quorum_votes", &present, 1, json_get_int(q, "votes_present", 0));
    sample(b, "quorum_votes", &total, 1, json_get_int(q, "votes_total", 0));
    family(b, "leader", "The node that leads the cluster; no series: none does.");
    if (leader[0])
        sample(b, "leader", &node, 1, 1);
    single(b, "database_index", "Index of the newest change that this node has applied.", json_get_int(q, "index", 0));
    single(b, "database_term", "Term of the leader.", json_get_int(q, "term", 0));
}

static void witness_metrics(struct buf *b, const struct json *w)
{
    const struct label info[] = {{"kind", json_get_str(w, "kind", "")}, {"uuid", json_get_str(w, "uuid", "")}};
    const struct label cause = {"cause", json_get_str(w, "cause", "")};
    family(b, "witness_info", "The witness outside of the cluster; no series: there is none.");
    sample(b, "witness_info", info, N(info), 1);
    single(b, "witness_vote", "Whether the witness has a vote: it has where the sum of votes would be even.",
           json_get_int(w, "weight", 0));
    single(b, "witness_sequence", "The record's sequence number, raised by every write.",
           json_get_int(w, "sequence", 0));
    if (json_is_bool(json_get(w, "reachable"))) {
        family(b, "witness_reachable", "Whether the witness answered when this node asked it last.");
        sample(b, "witness_reachable", &cause, 1, json_get_bool(w, "reachable", false));
    }
    if (json_is_int(json_get(w, "age_seconds")))
        single(b, "witness_age_seconds", "Since the witness's last good answer to this node.",
               json_get_int(w, "age_seconds", 0));
}

static void level_metrics(struct buf *b, const struct json *level, int64_t wall_ms)
{
    int64_t since_ms = time_parse_ms(json_str(json_path(level, "mixed.since"), NULL));
    int64_t age_ms = since_ms && wall_ms > since_ms ? wall_ms - since_ms : 0;
    single(b, "level", "The committed functional level.", json_get_int(level, "committed", 0));
    single(b, "level_newest", "The newest functional level that this release knows.", json_get_int(level, "newest", 0));
    single(b, "mixed", "Whether some node could do more than the functional level.", since_ms != 0);
    single(b, "mixed_age_seconds", "For how long the cluster has been in mixed mode; 0: it is not.", age_ms / 1000);
}

/* ---- nodes, VMs ---------------------------------------------------------------------------------------------------
 */

#define EACH(item, list)                                                                                               \
    for (size_t k_ = 0; k_ < json_count(list); k_++)                                                                   \
        for (const struct json *item = json_at(list, k_); item; item = NULL)

static void node_numbers(struct buf *b, const struct json *nodes, const char *name, const char *help, const char *key,
                         int64_t unit)
{
    family(b, name, help);
    EACH(n, nodes)
    {
        const struct label node = {"node", json_get_str(n, "name", "")};
        const struct json *value = json_get(n, key);
        sample(b, name, &node, 1, json_is_bool(value) ? json_bool(value, false) : json_int(value, 0) * unit);
    }
}

static void node_metrics(struct buf *b, const struct json *nodes)
{
    family(b, "nodes", "The state of each node.");
    EACH(n, nodes)
    {
        struct label labels[] = {{"node", json_get_str(n, "name", "")}, {"status", ""}};
        states(b, "nodes", labels, 2, node_states, N(node_states), json_get_str(n, "state", ""));
    }
    node_numbers(b, nodes, "node_voter", "Whether the node's replica of the database has a vote.", "voter", 1);
    node_numbers(b, nodes, "node_level", "The functional level that the node offers; 0: unknown.", "level", 1);
    node_numbers(b, nodes, "node_vms", "Virtual machines that run there as the cluster knows.", "vms", 1);
    node_numbers(b, nodes, "node_memory_bytes", "Memory of the node.", "memory_mib", 1 << 20);
    node_numbers(b, nodes, "node_cpus", "Processors of the node.", "cpus", 1);
    family(b, "node_info", "Versions on the node.");
    EACH(n, nodes)
    {
        const struct label info[] = {
            {"node", json_get_str(n, "name", "")},       {"release", json_get_str(n, "release", "")},
            {"agent", json_get_str(n, "agent", "")},     {"qemu", json_get_str(n, "qemu", "")},
            {"libvirt", json_get_str(n, "libvirt", "")}, {"corosync", json_get_str(n, "corosync", "")},
        };
        sample(b, "node_info", info, N(info), 1);
    }
}

/* ---- fencing ------------------------------------------------------------------------------------------------------
 */

static void self_fence_metrics(struct buf *b, const struct json *fencing)
{
    char seconds[32];
    int64_t lease_ms = json_get_int(fencing, "lease_ms", -1);
    if (!json_is_object(fencing))
        return;
    family(b, "fence_lease_seconds", "How long this node's VMs may run on without a word of the leader; missing: they "
                                     "are not stopped.");
    snprintf(seconds, sizeof(seconds), "%" PRId64 ".%03" PRId64, lease_ms / 1000, lease_ms % 1000);
    if (lease_ms >= 0)
        sample_of(b, "fence_lease_seconds", NULL, 0, seconds);
    single(b, "fence_watchdog_armed", "Whether this node's watchdog runs.",
           str_eq(json_get_str(fencing, "watchdog", ""), "armed"));
}

static void count_fences(struct buf *b, const char *node, const struct json *count)
{
    for (size_t i = 0; i < N(fence_outcomes); i++) {
        const struct label labels[] = {{"node", node}, {"outcome", fence_outcomes[i]}};
        sample(b, "node_fences", labels, N(labels), json_get_int(count, fence_outcomes[i], 0));
    }
}

static void fence_metrics(struct buf *b, const struct json *nodes)
{
    family(b, "node_fencing", "What the node promised, and what the cluster does about it: one series for each.");
    EACH(n, nodes)
    {
        const struct json *f = json_get(n, "fencing");
        const struct label labels[] = {{"node", json_get_str(n, "name", "")},
                                       {"protection", json_get_str(f, "protection", "")},
                                       {"status", json_get_str(f, "state", "")}};
        if (json_is_object(f))
            sample(b, "node_fencing", labels, N(labels), 1);
    }
    family(b, "node_fences", "How often the node was lost, and how that ended: its wait was over, the command "
                             "confirmed it, it was back before.");
    EACH(n, nodes)
    if (json_is_object(json_get(n, "fencing")))
        count_fences(b, json_get_str(n, "name", ""), json_path(n, "fencing.count"));
    family(b, "node_failovers", "Virtual machines that were taken from the node when it was fenced, so far.");
    EACH(n, nodes)
    {
        const struct label node = {"node", json_get_str(n, "name", "")};
        if (json_is_object(json_get(n, "fencing")))
            sample(b, "node_failovers", &node, 1, json_get_int(json_path(n, "fencing.count"), "vms", 0));
    }
}

static void vm_metrics(struct buf *b, const struct json *vms)
{
    family(b, "vms", "The state of each virtual machine; unknown: its node is away.");
    EACH(v, vms)
    {
        const struct label labels[] = {
            {"vm", json_get_str(v, "name", "")},
            {"node", json_get_str(v, "node", "")},
            {"status", json_get_str(v, "state", "")},
        };
        sample(b, "vms", labels, N(labels), 1);
    }
    family(b, "vm_memory_bytes", "Memory of the virtual machine.");
    EACH(v, vms)
    {
        const struct label vm = {"vm", json_get_str(v, "name", "")};
        sample(b, "vm_memory_bytes", &vm, 1, json_get_int(v, "memory_mib", 0) << 20);
    }
    family(b, "vm_migration_ratio", "Progress of the migrations under way; missing: unknown.");
    EACH(v, vms)
    {
        const struct label vm = {"vm", json_get_str(v, "name", "")};
        int64_t percent = json_get_int(v, "percent", -1);
        char value[32];
        snprintf(value, sizeof(value), "%" PRId64 ".%02" PRId64, percent / 100, percent % 100);
        if (percent >= 0)
            sample_of(b, "vm_migration_ratio", &vm, 1, value);
    }
}

static void task_metrics(struct buf *b, const struct json *tasks)
{
    family(b, "tasks", "The state of each task; unknown: its node is away.");
    EACH(k, tasks)
    {
        const struct label labels[] = {
            {"task", json_get_str(k, "name", "")},
            {"node", json_get_str(k, "node", "")},
            {"status", json_get_str(k, "state", "")},
        };
        sample(b, "tasks", labels, N(labels), 1);
    }
    family(b, "task_last_failed", "Whether the last run of the task was anything but done.");
    EACH(k, tasks)
    {
        const struct label task = {"task", json_get_str(k, "name", "")};
        const char *result = json_str(json_path(k, "last.result"), "");
        if (result[0])
            sample(b, "task_last_failed", &task, 1, !str_eq(result, "done"));
    }
    family(b, "task_last_end_seconds", "When the last run of the task ended, in seconds since 1970.");
    EACH(k, tasks)
    {
        const struct label task = {"task", json_get_str(k, "name", "")};
        int64_t ended_ms = time_parse_ms(json_str(json_path(k, "last.ended"), ""));
        if (ended_ms)
            sample(b, "task_last_end_seconds", &task, 1, ended_ms / 1000);
    }
}

static void backup_metrics(struct buf *b, const struct json *backups)
{
    static const char *const counts[] = {"vms", "running", "failed", "overdue", "damaged"};
    if (!json_is_object(backups)) /* of an older agent */
        return;
    family(b, "backups", "Virtual machines that are backed up: all, running, the last one failed, overdue, damaged.");
    for (size_t i = 0; i < N(counts); i++) {
        const struct label status = {"status", str_eq(counts[i], "vms") ? "all" : counts[i]};
        sample(b, "backups", &status, 1, json_get_int(backups, counts[i], 0));
    }
    family(b, "backup_last_end_seconds", "When the last good backups ended, in seconds since 1970: newest and oldest.");
    static const char *const ends[] = {"newest", "oldest"};
    for (size_t i = 0; i < N(ends); i++) {
        const struct label which = {"of", ends[i]};
        int64_t ended_ms = time_parse_ms(json_get_str(backups, ends[i], ""));
        if (ended_ms)
            sample(b, "backup_last_end_seconds", &which, 1, ended_ms / 1000);
    }
}

/* ---- what goes on, what is wrong ----------------------------------------------------------------------------------
 */

static void run_metrics(struct buf *b, const struct json *run)
{
    struct label status = {"status", ""};
    const struct label done = {"type", "done"}, total = {"type", "total"};
    family(b, "upgrade", "The state of the newest upgrade; all 0: there never was one.");
    states(b, "upgrade", &status, 1, run_states, N(run_states), json_get_str(run, "state", ""));
    family(b, "upgrade_nodes", "Nodes that the newest upgrade has done, and all of it.");
    sample(b, "upgrade_nodes", &done, 1, json_get_int(run, "done", 0));
    sample(b, "upgrade_nodes", &total, 1, json_get_int(run, "total", 0));
    single(b, "upgrade_duration_seconds", "How long the newest upgrade has taken so far.",
           json_get_int(run, "seconds", 0));
}

static void health_metrics(struct buf *b, const struct json *health)
{
    family(b, "health", "What is wrong, by code; the text is in clusterctl status.");
    EACH(h, health)
    {
        const struct label labels[] = {
            {"code", json_get_str(h, "code", "")},
            {"severity", json_get_str(h, "severity", "")},
            {"object", json_get_str(h, "object", "")},
        };
        sample(b, "health", labels, N(labels), 1);
    }
    family(b, "health_findings", "How many there are of each severity.");
    for (size_t i = 0; i < N(severities); i++) {
        const struct label severity = {"severity", severities[i]};
        int64_t found = 0;
        EACH(h, health)
        found += str_eq(json_get_str(h, "severity", ""), severities[i]);
        sample(b, "health_findings", &severity, 1, found);
    }
}

void metrics_text(const struct json *data, int64_t wall_ms, struct buf *b)
{
    single(b, "up", "Whether the agent of this node answered.", data != NULL);
    if (data)
        agent_metrics(b, data);
    if (json_is_object(json_get(data, "quorum")))
        quorum_metrics(b, json_get(data, "quorum"));
    if (json_is_object(json_get(data, "witness")))
        witness_metrics(b, json_get(data, "witness"));
    if (json_is_object(json_get(data, "level")))
        level_metrics(b, json_get(data, "level"), wall_ms);
    if (json_is_object(json_get(data, "cluster"))) {
        node_metrics(b, json_get(data, "nodes"));
        self_fence_metrics(b, json_path(data, "self.fencing"));
        fence_metrics(b, json_get(data, "nodes"));
        vm_metrics(b, json_get(data, "vms"));
        task_metrics(b, json_get(data, "tasks"));
        backup_metrics(b, json_get(data, "backups"));
        run_metrics(b, json_get(data, "run"));
        single(b, "jobs_running", "Long operations that are under way.", (int64_t)json_count(json_get(data, "jobs")));
        health_metrics(b, json_get(data, "health"));
    }
    buf_add_str(b, "# EOF\n");
}
