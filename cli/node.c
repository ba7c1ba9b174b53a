/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clusterctl node … */
#include <stdio.h>

#include "cli/noun.h"

enum { PRIORITY_MAX = 1000 };

void page_nodes(struct page *p, const struct json *nodes)
{
    static const struct grid_column columns[] = {
        {"NODE", 0}, {"STATE", 0},        {"RELEASE", 0},         {"LEVEL", GRID_RIGHT}, {"VOTE", 0},
        {"ROLE", 0}, {"VMS", GRID_RIGHT}, {"MEMORY", GRID_RIGHT}, {"ADDRESS", 0},
    };
    struct grid *g = grid_new(columns, sizeof(columns) / sizeof(columns[0]), p->width, p->colour);
    size_t rows = json_count(nodes);
    for (size_t k = 0; k < rows; k++) {
        const struct json *n = json_at(nodes, k);
        const char *state = json_get_str(n, "state", "");
        grid_row(g);
        grid_cell(g, 0, STYLE_PLAIN, json_get_str(n, "name", ""));
        if (json_is_str(json_get(n, "quarantined_until")))
            grid_cellf(g, 1, STYLE_WARN, "%s, quarantined", state);
        else
            grid_cell(g, 1, style_of_state(state), state);
        grid_cell(g, 2, STYLE_PLAIN, json_get_str(n, "release", ""));
        if (json_get_int(n, "level", 0) > 0)
            grid_cellf(g, 3, STYLE_PLAIN, "%lld", (long long)json_get_int(n, "level", 0));
        grid_cell(g, 4, STYLE_PLAIN, yes_no(json_get_bool(n, "voter", false)));
        if (json_get_bool(n, "leader", false))
            grid_cell(g, 5, STYLE_PLAIN, "leader");
        grid_cellf(g, 6, STYLE_PLAIN, "%lld", (long long)json_get_int(n, "vms", 0));
        if (json_get_int(n, "memory_mib", 0) > 0)
            grid_cellf(g, 7, STYLE_PLAIN, "%lld MiB", (long long)json_get_int(n, "memory_mib", 0));
        grid_cell(g, 8, STYLE_PLAIN, json_get_str(n, "address", ""));
    }
    page_grid(p, g, rows, "no nodes");
}

static void render_list(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)i;
    page_nodes(p, json_get(data, "nodes"));
}

static void page_fencing(struct page *p, const struct json *f)
{
    static const char *const states[][2] = {{"waiting", "; it is lost, and waited for"}, {"fenced", "; it is fenced"}};
    int64_t wait_ms = json_get_int(f, "wait_ms", 0);
    const char *state = "";
    char elsewhere[80] = "";
    if (!json_is_object(f))
        return;
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
        if (str_eq(json_get_str(f, "state", ""), states[i][0]))
            state = states[i][1];
    if (wait_ms > 0)
        snprintf(elsewhere, sizeof(elsewhere), ", its VMs start elsewhere %lld.%lld s after its last word",
                 (long long)(wait_ms / 1000), (long long)(wait_ms % 1000 / 100));
    page_field(p, "Fencing", "%s%s%s", json_get_str(f, "protection", ""), elsewhere, state);
}

static void render_show(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)i;
    static const struct {
        const char *name, *key;
    } fields[] = {
        {"Node", "name"},         {"State", "state"},       {"Address", "address"}, {"Release", "release"},
        {"System", "os"},         {"Level", "level"},       {"Voter", "voter"},     {"Leader", "leader"},
        {"VMs", "vms"},           {"Memory", "memory_mib"}, {"QEMU", "qemu"},       {"libvirt", "libvirt"},
        {"corosync", "corosync"}, {"Agent", "agent"},       {"Site", "site"},     {"May vote", "vote"},
        {"Priority", "priority"}, {"Job", "job"},
        {"Quarantined until", "quarantined_until"},
    };
    const struct json *node = json_get(data, "node");
    for (size_t k = 0; k < sizeof(fields) / sizeof(fields[0]); k++) {
        if (str_eq(fields[k].key, "memory_mib") && json_is_int(json_get(node, "memory_mib")))
            page_field(p, fields[k].name, "%lld MiB", (long long)json_get_int(node, "memory_mib", 0));
        else
            page_field_json(p, fields[k].name, json_get(node, fields[k].key));
    }
    page_fencing(p, json_get(node, "fencing"));
}

static int build_resume(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    json_set_bool(args, "failback", i->set[OPT_FAILBACK]);
    return build_name(i, file, args, e);
}

static int build_evict(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    json_set_bool(args, "keep_slot", i->set[OPT_KEEP_SLOT]);
    json_set_bool(args, "force", i->set[OPT_FORCE]);
    return build_name(i, file, args, e);
}

static bool question_evict(const struct invocation *i, struct buf *ret)
{
    buf_printf(ret, "Take node %s out of the cluster for good%s?", i->args[0],
               i->set[OPT_KEEP_SLOT] ? " (its slot stays for a new replica)" : "");
    return true;
}

static int build_set(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    int64_t vote, priority;
    if (!i->set[OPT_SITE] && !i->set[OPT_VOTE] && !i->set[OPT_PRIORITY])
        return error_set(e, ERR_USAGE, "node set needs --site, --vote or --priority");
    int err = invocation_int(i, OPT_VOTE, 0, 1, 1, &vote, e);
    if (!err)
        err = invocation_int(i, OPT_PRIORITY, -PRIORITY_MAX, PRIORITY_MAX, 0, &priority, e);
    if (err)
        return err;
    set_option_str(i, OPT_SITE, "site", args);
    if (i->set[OPT_VOTE])
        json_set_int(args, "vote", vote);
    if (i->set[OPT_PRIORITY])
        json_set_int(args, "priority", priority);
    return build_name(i, file, args, e);
}

static int build_join(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    if (!i->set[OPT_TOKEN_FILE] || !file)
        return error_set(e, ERR_USAGE, "node join needs --token-file PATH");
    json_set_str(args, "token", file);
    return 0;
}

static void render_join(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)i;
    page_printf(p, "%s joins cluster %s\n", json_get_str(data, "node", "this node"), json_get_str(data, "cluster", ""));
}

const struct verb node_verbs[] = {
    {
        .words = "node list",
        .wire = "node.list",
        .synopsis = "",
        .brief = "list the nodes",
        .flags = VERB_READS,
        .render = render_list,
    },
    {
        .words = "node show",
        .wire = "node.show",
        .synopsis = "NODE",
        .brief = "show one node",
        VERB_ARGS(1),
        .flags = VERB_READS,
        .build = build_name,
        .render = render_show,
    },
    {
        .words = "node drain",
        .wire = "node.drain",
        .synopsis = "NODE",
        .brief = "move its virtual machines away by live migration, and place none there until resume",
        VERB_ARGS(1),
        .goal = GOAL_JOB,
        .build = build_name,
        .render = render_job,
    },
    {
        .words = "node resume",
        .wire = "node.resume",
        .synopsis = "NODE [--failback]",
        .brief = "let the node be used again",
        .more = "  --failback   move the virtual machines home whose home it is\n",
        VERB_ARGS(1),
        .options = OPT_BIT(OPT_FAILBACK),
        .goal = GOAL_JOB,
        .build = build_resume,
        .render = render_job,
    },
    {
        .words = "node evict",
        .wire = "node.evict",
        .synopsis = "NODE [--keep-slot] [--force]",
        .brief = "take the node's replica out of the cluster for good",
        .more = "  --keep-slot   keep its name and address for a new replica\n"
                "  --force       although the node is not drained\n"
                "Its agent and corosync are stopped. The name may join again, as a new replica.\n",
        VERB_ARGS(1),
        .options = OPT_BIT(OPT_KEEP_SLOT) | OPT_BIT(OPT_FORCE),
        .goal = GOAL_JOB,
        .build = build_evict,
        .question = question_evict,
        .render = render_job,
    },
    {
        .words = "node set",
        .wire = "node.set",
        .synopsis = "NODE [--site SITE] [--vote 0|1] [--priority N]",
        .brief = "say where it stands, whether it votes, and how much its vote is wanted",
        .more = "  --site SITE    its site; an empty one: none\n"
                "  --vote 0|1     0: it never has a vote in the cluster's decisions\n"
                "  --priority N   where the sum of votes would be even, the lowest gives its vote up (0)\n"
                "All of it is done, or nothing.\n",
        VERB_ARGS(1),
        .options = OPT_BIT(OPT_SITE) | OPT_BIT(OPT_VOTE) | OPT_BIT(OPT_PRIORITY),
        .build = build_set,
        .render = render_show,
    },
    {
        .words = "node join",
        .wire = "node.join",
        .synopsis = "--token-file PATH",
        .brief = "join this node to the cluster whose token is in the file",
        .more = "  --token-file PATH   a file that only its owner may open (mode 0600), or it is refused\n"
                "With --wait until this node is a member with a vote.\n",
        .options = OPT_BIT(OPT_TOKEN_FILE),
        .flags = VERB_SECRET | VERB_LONG,
        .file = OPT_TOKEN_FILE,
        .goal = GOAL_MEMBER,
        .build = build_join,
        .render = render_join,
    },
    {0},
};
