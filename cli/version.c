/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clusterctl version */
#include "cli/call.h"
#include "cli/noun.h"
#include "common/proto.h"
#include "config.h"

enum { VERSION_ASK_MS = 5 * 1000 };

/* This program's version is known whatever the agent says. */
static int run_version(struct call *c)
{
    struct error e = {0};
    c->timeout_ms = VERSION_ASK_MS;
    int err = call_ask(c, "status", NULL, &e);
    const char *agent = err ? "" : json_str(json_path(c->answer, "data.self.version"), "");
    const char *node = err ? "" : json_str(json_path(c->answer, "data.self.name"), "");
    if (c->i->json) {
        struct json *data = json_object_new();
        json_set_str(data, "clusterctl", PACKAGE_VERSION);
        json_set_str(data, "agent", agent[0] ? agent : NULL);
        json_set_str(data, "node", node[0] ? node : NULL);
        struct json *answer = proto_answer("version", c->id.s, NULL, data);
        json_free(c->answer);
        c->answer = answer;
        return call_report(c);
    }
    struct page p = call_page(c, STREAM_OUT);
    page_printf(&p, "clusterctl %s\n", PACKAGE_VERSION);
    if (agent[0])
        page_printf(&p, "agent      %s, on %s\n", agent, node[0] ? node : "this node");
    else
        page_printf(&p, "agent      does not answer\n");
    call_text(c, STREAM_OUT, &p);
    page_done(&p);
    return 0;
}

const struct verb version_verbs[] = {
    {
        .words = "version",
        .synopsis = "",
        .brief = "the version of clusterctl, and of the agent if it answers",
        .flags = VERB_READS,
        .run = run_version,
    },
    {0},
};
