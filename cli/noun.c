/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/noun.h"

/* What the verb was about: its first argument, or the verb itself. */
static const char *subject(const struct invocation *i)
{
    return i->n_args ? i->args[0] : i->verb->words;
}

void render_done(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)data;
    page_printf(p, "%s: done\n", subject(i));
}

void render_job(struct page *p, const struct invocation *i, const struct json *data)
{
    const char *job = json_get_str(data, "job", "");
    const char *target = json_get_str(data, "target", "");
    if (!job[0]) {
        render_done(p, i, data);
        return;
    }
    page_printf(p, "%s: %s%s%s goes on as job %s\n", subject(i), i->verb->words, target[0] ? " to " : "", target, job);
    page_printf(p, "watch it with: clusterctl job show %s --follow\n", job);
}

int build_name(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    (void)file, (void)e;
    json_set_str(args, "name", i->args[0]);
    return 0;
}

void set_option_str(const struct invocation *i, enum opt o, const char *key, struct json *args)
{
    if (i->set[o])
        json_set_str(args, key, i->value[o]);
}
