/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clusterctl quorum … */
#include "cli/noun.h"

static void page_votes(struct page *p, const struct json *quorum)
{
    static const struct grid_column columns[] = {{"NODE", 0}, {"VOTE", 0}, {"SITE", 0}, {"WHY", 0}};
    const struct json *nodes = json_get(quorum, "nodes");
    size_t rows = json_count(nodes);
    struct grid *g = grid_new(columns, 4, p->width, p->colour);
    for (size_t k = 0; k < rows; k++) {
        const struct json *n = json_at(nodes, k);
        bool is_here = json_get_bool(n, "present", false);
        grid_row(g);
        grid_cell(g, 0, STYLE_PLAIN, json_get_str(n, "name", ""));
        grid_cellf(g, 1, is_here ? STYLE_PLAIN : STYLE_WARN, "%lld", (long long)json_get_int(n, "weight", 0));
        grid_cell(g, 2, STYLE_PLAIN, json_get_str(n, "site", ""));
        grid_cell(g, 3, is_here ? STYLE_PLAIN : STYLE_WARN, json_get_str(n, "why", ""));
    }
    page_grid(p, g, rows, NULL);
}

static void page_witness(struct page *p, const struct json *witness)
{
    const char *trouble = json_get_str(witness, "trouble", "");
    bool is_here = str_eq(json_get_str(witness, "spoken", "here"), "here");
    if (!json_is_object(witness)) {
        page_field(p, "Witness", "none");
        return;
    }
    int64_t weight = json_get_int(witness, "weight", 0);
    page_field(p, "Witness", "%lld vote%s%s, sequence %lld%s%s", (long long)weight, plural(weight),
               weight > 0 && !is_here ? ", not here" : "", (long long)json_get_int(witness, "sequence", 0),
               trouble[0] ? "; " : "", trouble);
}

static void page_forced(struct page *p, const struct json *quorum)
{
    const struct json *forced = json_get(quorum, "forced");
    if (json_is_object(forced))
        page_field(p, "Forced", "on %s by %s, %s (epoch %lld)", json_get_str(forced, "node", ""),
                   json_get_str(forced, "by", ""), time_text(json_get_str(forced, "at", NULL), false).s,
                   (long long)json_get_int(forced, "epoch", 0));
    if (json_get_bool(quorum, "behind", false))
        page_field(p, "Behind", "quorum was forced elsewhere; this node takes over that state");
    if (json_get_bool(quorum, "prevented", false))
        page_field(p, "Prevented", "this node only joins others; to end it: clusterctl quorum prevent --clear");
}

static int build_force(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    (void)file, (void)e;
    json_set_bool(args, "force", i->set[OPT_FORCE]);
    return 0;
}

static bool question_force(const struct invocation *i, struct buf *ret)
{
    (void)i;
    buf_printf(ret, "Let this node decide alone? Be sure that no other half of the cluster runs: its virtual machines "
                    "would run twice, and whatever it changed is given up when it meets this one.");
    return true;
}

static int build_prevent(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    (void)file, (void)e;
    json_set_bool(args, "clear", i->set[OPT_CLEAR]);
    return 0;
}

static void render_show(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)i;
    const struct json *quorum = json_get(data, "quorum");
    page_styled(p, STYLE_BOLD, "%-10s ", "Quorum");
    page_styled(p, json_get_bool(quorum, "quorate", false) ? STYLE_PLAIN : STYLE_BAD, "%s",
                json_get_str(quorum, "verdict", ""));
    page_printf(p, "\n");
    bool quorate = json_get_bool(quorum, "quorate", false);
    if (json_get_bool(quorum, "corosync_quorate", quorate) != quorate)
        page_field(p, "corosync", "%s; it may lag behind: corosync-quorumtool -s", quorate ? "not quorate" : "quorate");
    page_witness(p, json_get(quorum, "witness"));
    page_field(p, "Dynamic", "%s", json_get_bool(quorum, "dynamic", true) ? "on" : "off");
    page_field_json(p, "Preferred", json_get(quorum, "preferred_site"));
    page_field_json(p, "Lower", json_get(quorum, "lower_node"));
    page_forced(p, quorum);
    page_printf(p, "\n");
    page_votes(p, quorum);
}

const struct verb quorum_verbs[] = {
    {
        .words = "quorum show",
        .wire = "quorum.show",
        .synopsis = "",
        .brief = "who votes, why, and what may still fail",
        .flags = VERB_READS,
        .render = render_show,
    },
    {
        .words = "quorum force",
        .wire = "quorum.force",
        .synopsis = "[--force]",
        .brief = "without a quorum: go on with this node alone, and with what it has",
        .more = "  --force   although another node is known to have more\n"
                "What other nodes changed without this one is given up when they meet it again.\n"
                "First make sure that they are off.\n",
        .options = OPT_BIT(OPT_FORCE),
        .build = build_force,
        .question = question_force,
        .render = render_show,
    },
    {
        .words = "quorum prevent",
        .wire = "quorum.prevent",
        .synopsis = "[--clear]",
        .brief = "let this node only join others, until it has",
        .more = "  --clear   let it vote and lead again\n"
                "For a half that is started while the other one may be running. It outlives a restart.\n",
        .options = OPT_BIT(OPT_CLEAR),
        .build = build_prevent,
        .render = render_show,
    },
    {0},
};
