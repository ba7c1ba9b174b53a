/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clusterctl events */
#include "cli/call.h"
#include "cli/follow.h"
#include "cli/noun.h"

enum { TAIL = 10 /* what --follow shows of the past, as tail(1) does */ };

/* The agent's texts begin with the object where that reads well: not twice. */
void page_event(struct page *p, const struct json *event, bool clock_only)
{
    const char *object = json_get_str(event, "object", "");
    const char *text = json_get_str(event, "text", "");
    const char *severity = json_get_str(event, "severity", "info");
    size_t len = strlen(object);
    if (len && strncmp(text, object, len) == 0 && strncmp(text + len, ": ", 2) == 0)
        text += len + 2;
    struct uuid u;
    if (uuid_parse(object, &u) == 0) /* a run: its text says which */
        object = "";
    page_styled(p, STYLE_DIM, "%-*s", clock_only ? 8 : 19, time_text(json_get_str(event, "time", NULL), clock_only).s);
    page_printf(p, "  %-8s  ", object[0] ? object : "-");
    if (!str_eq(severity, "info"))
        page_styled(p, style_of_state(severity), "%s: ", severity);
    page_printf(p, "%s\n", text);
}

static void render_events(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)i;
    const struct json *events = json_get(data, "events");
    for (size_t k = 0; k < json_count(events); k++)
        page_event(p, json_at(events, k), false);
}

static int build_events(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    (void)file;
    int64_t since;
    int err = invocation_int(i, OPT_SINCE, 0, INT64_MAX, -1, &since, e);
    if (err)
        return err;
    if (since >= 0)
        json_set_int(args, "since", since);
    return 0;
}

static int run_events(struct call *c)
{
    struct error e = {0};
    struct json *args;
    if (invocation_build(c->i, NULL, &args, &e))
        return call_fail(c, &e);
    if (call_ask(c, c->i->verb->wire, args, &e))
        return call_fail(c, &e);
    if (!c->i->set[OPT_FOLLOW] || call_code(c))
        return call_report(c);
    const struct json *events = json_path(c->answer, "data.events");
    size_t n = json_count(events), tail = c->i->set[OPT_SINCE] || n < TAIL ? n : TAIL;
    return follow_events(c, tail < n ? json_get_int(json_at(events, n - tail - 1), "seq", 0) : 0);
}

const struct verb events_verbs[] = {
    {
        .words = "events",
        .wire = "events",
        .synopsis = "[--since N] [--follow]",
        .brief = "what happened in the cluster, oldest first",
        .more = "  --since N   only what came after event number N (JSON: seq)\n"
                "With --follow the last ten, and then what comes, until Ctrl-C; in JSON one event a line.\n",
        .options = OPT_BIT(OPT_SINCE),
        .flags = VERB_READS,
        .build = build_events,
        .render = render_events,
        .run = run_events,
    },
    {0},
};
