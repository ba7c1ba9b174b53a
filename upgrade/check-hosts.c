/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checks of what the nodes say of themselves. A node that says nothing is reported once, and stands in no pass. */
#include <inttypes.h>
#include <stdio.h>

#include "upgrade/check.h"
#include "upgrade/level.h"
#include "upgrade/platform.h"

struct remedy {
    char text[ERROR_REMEDY_MAX];
};
static struct remedy on_node(const char *command, const char *node)
{
    struct remedy r;
    snprintf(r.text, sizeof(r.text), "%.*s, on %.63s", ERROR_REMEDY_MAX - 70, command, node);
    return r;
}

/* Nodes that said lately how they are. */
static size_t n_heard(const struct upgrade_view *v)
{
    size_t n = 0;
    for (size_t i = 0; i < v->n; i++)
        n += v->nodes[i].vitals != NULL;
    return n;
}

/* ---- the executor ---- */

static bool has_looked_at(const struct upgrade_view *v, const struct upgrade_node *n)
{
    return n->vitals && str_eq(n->vitals->executor, v->executor);
}

void check_executor(const struct upgrade_view *v, const char *target, struct json *f)
{
    size_t bad = 0, looked = 0;
    char remedy[ERROR_REMEDY_MAX];
    if (!v->executor || !v->executor[0]) {
        finding(f, "executor", "fail", "", "clusterctl cluster config set upgrade.executor PATH, or in-place",
                "no executor is set: nothing could rebuild a node");
        return;
    }
    if (v->in_place) {
        finding(f, "executor", "pass", v->executor, "", "nodes are upgraded in place, by their own package managers");
        return;
    }
    for (size_t i = 0; i < v->n; i++) {
        const struct upgrade_node *n = &v->nodes[i];
        if (!has_looked_at(v, n))
            continue;
        looked++;
        if (n->vitals->executor_code == 0)
            continue;
        bad++;
        const char *mends = n->vitals->executor_remedy;
        finding(f, "executor", "fail", n->name, on_node(mends[0] ? mends : "install its file", n->name).text,
                "%s could not call it, and any node may have to: %s", n->name, n->vitals->executor_why);
    }
    snprintf(remedy, sizeof(remedy), "clusterctl upgrade check --target %s, in a minute", target);
    if (bad == 0 && looked == 0)
        finding(f, "executor", "warn", v->executor, remedy, "no node has looked at its file yet");
    else if (bad == 0)
        finding(f, "executor", "pass", v->executor, "", "nodes are rebuilt by %s, which %zu of %zu nodes can call",
                v->executor, looked, v->n);
}

/* ---- the witness ---- */

bool check_witness_is_silent(const struct upgrade_view *v)
{
    bool is_silent = false;
    for (size_t i = 0; i < v->n; i++) {
        if (v->nodes[i].witness == UPGRADE_WITNESS_ANSWERS)
            return false;
        is_silent = is_silent || v->nodes[i].witness == UPGRADE_WITNESS_SILENT;
    }
    return is_silent;
}

void check_witness(const struct upgrade_view *v, struct json *f)
{
    size_t silent = 0, asked = 0;
    if (!v->has_witness) {
        finding(f, "witness", "pass", "", "", "there is no witness, and none is counted on");
        return;
    }
    for (size_t i = 0; i < v->n; i++) {
        const struct upgrade_node *n = &v->nodes[i];
        asked += n->witness != UPGRADE_WITNESS_UNKNOWN;
        if (n->witness != UPGRADE_WITNESS_SILENT)
            continue;
        silent++;
        finding(f, "witness", "warn", n->name, on_node("clusterctl witness test", n->name).text,
                "the witness does not answer %s", n->name);
    }
    if (asked == 0)
        finding(f, "witness", "warn", "", "clusterctl witness test", "no node has asked the witness yet");
    else if (silent == 0)
        finding(f, "witness", "pass", "", "", "the witness answers %zu of %zu nodes", asked, v->n);
}

/* ---- who speaks, and which release of Ringmaster ---- */

static void check_reports(const struct upgrade_view *v, struct json *f)
{
    size_t silent = 0;
    for (size_t i = 0; i < v->n; i++) {
        const struct upgrade_node *n = &v->nodes[i];
        struct remedy remedy = on_node("systemctl status ringmasterd", n->name);
        if (!n->present || (n->vitals && n->ready))
            continue; /* who is away is reported as such */
        silent++;
        if (!n->ready)
            finding(f, "reports", "warn", n->name, remedy.text, "%s has not said since it joined what its host is",
                    n->name);
        else
            finding(f, "reports", "warn", n->name, remedy.text,
                    "%s has not said lately how it is: nothing is known of its clock, links, space and executor",
                    n->name);
    }
    if (silent == 0)
        finding(f, "reports", "pass", "", "", "every node that is here says how it is");
}

static const struct upgrade_node *first_of_release(const struct upgrade_view *v, const char *release)
{
    for (size_t i = 0; i < v->n; i++)
        if (str_eq(v->nodes[i].release, release) && v->nodes[i].agent[0])
            return &v->nodes[i];
    return NULL;
}

/* Nodes of different releases have packages of different versions; of the same release they need not. */
static void check_agents(const struct upgrade_view *v, struct json *f)
{
    size_t differ = 0;
    for (size_t i = 0; i < v->n; i++) {
        const struct upgrade_node *n = &v->nodes[i], *first = first_of_release(v, n->release);
        if (!first || !n->agent[0] || str_eq(n->agent, first->agent))
            continue;
        differ++;
        finding(f, "agents", "warn", n->name, on_node("apt-get install ringmaster", n->name).text,
                "the agent of %s is version %s, that of %s is %s", n->name, n->agent, first->name, first->agent);
    }
    if (differ == 0)
        finding(f, "agents", "pass", "", "", "the agents of nodes of one release are of one version");
}

/* ---- corosync ---- */

static void check_corosync(const struct upgrade_view *v, const char *target, struct json *f)
{
    unsigned wanted = platform_corosync(level_of_release(target));
    size_t other = 0, unknown = 0;
    for (size_t i = 0; i < v->n; i++) {
        const struct upgrade_node *n = &v->nodes[i];
        unsigned major = version_major(n->corosync);
        unknown += major == 0;
        if (major == 0 || wanted == 0 || major == wanted)
            continue;
        other++;
        finding(f, "corosync", "fail", n->name, "upgrade the whole cluster at once, with every node stopped",
                "%s runs corosync %s, and %s has version %u, which cannot be in one ring with it", n->name, n->corosync,
                target, wanted);
    }
    if (other > 0)
        return;
    if (unknown > 0)
        finding(f, "corosync", "warn", "", "corosync -v, on every node",
                "of %zu nodes the version of corosync is not known", unknown);
    else
        finding(f, "corosync", "pass", "", "", "every node runs corosync %u, as %s does", wanted, target);
}

static const struct upgrade_node *find_nodeid(const struct upgrade_view *v, uint32_t nodeid)
{
    for (size_t i = 0; i < v->n; i++)
        if (v->nodes[i].nodeid == nodeid)
            return &v->nodes[i];
    return NULL;
}

/* A link to a node that is away is down because of that; one of several is missed without harm, until the next. */
static void check_ring(const struct upgrade_view *v, struct json *f)
{
    size_t down = 0, unknown = 0;
    unsigned links = 0;
    for (size_t i = 0; i < v->n; i++) {
        const struct upgrade_node *n = &v->nodes[i];
        if (!n->vitals || !n->present)
            continue;
        unknown += n->vitals->n_links == 0;
        links = n->vitals->n_links > links ? n->vitals->n_links : links;
        for (size_t k = 0; k < n->vitals->n_down; k++) {
            const struct upgrade_node *to = find_nodeid(v, n->vitals->down[k].nodeid);
            if (!to || to == n || !to->present)
                continue;
            down++;
            finding(f, "ring", n->vitals->n_links > 1 ? "warn" : "fail", n->name,
                    on_node("corosync-cfgtool -s", n->name).text, "link %u of corosync from %s to %s is down",
                    n->vitals->down[k].number, n->name, to->name);
        }
    }
    if (down > 0)
        return;
    if (unknown > 0)
        finding(f, "ring", "warn", "", "corosync-cfgtool -s, on every node",
                "on %zu nodes corosync does not say how its links are", unknown);
    else if (links > 0)
        finding(f, "ring", "pass", "", "", "%s between nodes that are here is up, as %zu of %zu nodes say",
                links == 1 ? "the one link of corosync" : "every link of corosync", n_heard(v), v->n);
}

/* ---- clocks ---- */

static void tell_clock(const struct upgrade_node *n, struct json *f)
{
    int64_t off_ms = n->clock_ahead_ms < 0 ? -n->clock_ahead_ms : n->clock_ahead_ms;
    finding(f, "clock", off_ms >= CHECK_CLOCK_FAIL_MS ? "fail" : "warn", n->name,
            on_node("timedatectl set-ntp true, and see chronyc tracking", n->name).text,
            "the clock of %s is %" PRId64 ".%" PRId64 " s %s the others", n->name, off_ms / 1000, off_ms % 1000 / 100,
            n->clock_ahead_ms < 0 ? "behind" : "ahead of");
}

static void check_clocks(const struct upgrade_view *v, struct json *f)
{
    size_t wrong = 0, known = 0;
    for (size_t i = 0; i < v->n; i++) {
        const struct upgrade_node *n = &v->nodes[i];
        bool is_wrong =
            n->has_clock && (n->clock_ahead_ms >= CHECK_CLOCK_WARN_MS || n->clock_ahead_ms <= -CHECK_CLOCK_WARN_MS);
        known += n->has_clock;
        wrong += is_wrong;
        if (is_wrong)
            tell_clock(n, f);
    }
    if (wrong == 0 && known > 0)
        finding(f, "clock", "pass", "", "", "the clocks of %zu of %zu nodes differ by less than a second", known, v->n);
}

/* ---- space ---- */

static void check_space(const struct upgrade_view *v, struct json *f)
{
    size_t little = 0, known = 0;
    for (size_t i = 0; i < v->n; i++) {
        const struct upgrade_node *n = &v->nodes[i];
        for (size_t k = 0; n->vitals && k < n->vitals->n_spaces; k++) {
            const struct host_space *s = &n->vitals->spaces[k];
            known++;
            if (s->free_mib >= CHECK_SPACE_WARN_MIB)
                continue;
            little++;
            finding(f, "space", s->free_mib < CHECK_SPACE_FAIL_MIB ? "fail" : "warn", n->name,
                    on_node("apt-get clean && journalctl --vacuum-size=200M", n->name).text,
                    "%" PRIu64 " of %" PRIu64 " MiB are free in %s of %s", s->free_mib, s->size_mib, s->path, n->name);
        }
    }
    if (little == 0 && known > 0)
        finding(f, "space", "pass", "", "", "at least %d MiB are free on every file system, as %zu of %zu nodes say",
                CHECK_SPACE_WARN_MIB, n_heard(v), v->n);
}

void check_hosts(const struct upgrade_view *v, const char *target, struct json *f)
{
    check_reports(v, f);
    check_agents(v, f);
    check_corosync(v, target, f);
    check_ring(v, f);
    check_clocks(v, f);
    check_space(v, f);
}
