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
    if (!json_is_object(witness)) {
        page_field(p, "Witness", "none");
        return;
    }
    page_field(p, "Witness", "%lld vote%s, sequence %lld%s%s", (long long)json_get_int(witness, "weight", 0),
               json_get_int(witness, "weight", 0) == 1 ? "" : "s", (long long)json_get_int(witness, "sequence", 0),
               trouble[0] ? "; " : "", trouble);
}

static void render_show(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)i;
    const struct json *quorum = json_get(data, "quorum");
    page_styled(p, STYLE_BOLD, "%-10s ", "Quorum");
    page_styled(p, json_get_bool(quorum, "quorate", false) ? STYLE_PLAIN : STYLE_BAD, "%s",
                json_get_str(quorum, "verdict", ""));
    page_printf(p, "\n");
    page_witness(p, json_get(quorum, "witness"));
    page_field(p, "Dynamic", "%s", json_get_bool(quorum, "dynamic", true) ? "on" : "off");
    page_field_json(p, "Preferred", json_get(quorum, "preferred_site"));
    page_field_json(p, "Lower", json_get(quorum, "lower_node"));
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
    {0},
};
