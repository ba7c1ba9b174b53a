/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clusterctl cluster … */
#include "cli/call.h"
#include "cli/io/file.h"
#include "cli/noun.h"

enum { VALID_SECONDS_MIN = 60, VALID_SECONDS_MAX = 7 * 24 * 3600 };

static int build_init(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    (void)file;
    if (!i->set[OPT_NAME])
        return error_set(e, ERR_USAGE, "cluster init needs --name NAME");
    set_option_str(i, OPT_NAME, "name", args);
    return 0;
}

static bool question_init(const struct invocation *i, struct buf *ret)
{
    buf_printf(ret, "Form the new cluster %s, with this node as its first?",
               i->set[OPT_NAME] ? i->value[OPT_NAME] : "");
    return true;
}

static void render_init(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)i;
    const char *cluster = json_get_str(data, "cluster", json_str(json_path(data, "cluster.name"), ""));
    page_printf(p, "cluster %s is formed, %s is its first node\n", cluster, json_get_str(data, "node", "this node"));
    page_printf(p, "let others join with: clusterctl cluster join-token NODE --token-file FILE\n");
}

/* ---- join-token -------------------------------------------------------------------------------------------------- */

static int build_token(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    (void)file;
    int64_t seconds;
    if (!i->set[OPT_TOKEN_FILE])
        return error_set(e, ERR_USAGE,
                         "cluster join-token needs --token-file PATH: the token is a secret, which is "
                         "written to a file of mode 0600 and never printed");
    int err = invocation_int(i, OPT_VALID, VALID_SECONDS_MIN, VALID_SECONDS_MAX, 0, &seconds, e);
    if (err)
        return err;
    json_set_str(args, "node", i->args[0]);
    set_option_str(i, OPT_ADDRESS, "address", args);
    if (seconds)
        json_set_int(args, "valid_seconds", seconds);
    return 0;
}

static void render_token(struct page *p, const struct invocation *i, const struct json *data)
{
    const char *path = i->value[OPT_TOKEN_FILE];
    page_printf(p, "%s: a token for one join until %s is in %s\n", json_get_str(data, "node", i->args[0]),
                time_text(json_get_str(data, "expires", NULL), false).s, path);
    page_printf(p, "carry it there by a safe way, then: clusterctl node join --token-file %s\n", path);
}

/* The answer as it may be shown: without the secret, with the file that has it. */
static struct json *without_secret(const struct json *answer, const char *path)
{
    struct json *shown = json_object_new();
    struct json *data = json_object_new();
    void *it = NULL;
    const char *key;
    const struct json *value;
    while (json_next(json_get(answer, "data"), &it, &key, &value))
        if (!str_eq(key, "token"))
            json_set(data, key, json_copy(value));
    if (path)
        json_set_str(data, "token_file", path);
    for (it = NULL; json_next(answer, &it, &key, &value);)
        if (!str_eq(key, "data"))
            json_set(shown, key, json_copy(value));
    json_set(shown, "data", data);
    return shown;
}

/* The file is made before the token is: a token that could not be kept would only lie around in the database. */
static int run_token(struct call *c)
{
    const struct invocation *i = c->i;
    struct error e = {0};
    struct json *args;
    struct file_secret file;
    if (invocation_build(i, NULL, &args, &e))
        return call_fail(c, &e);
    if (file_secret_begin(i->value[OPT_TOKEN_FILE], i->set[OPT_FORCE], &file, &e)) {
        json_free(args);
        return call_fail(c, &e);
    }
    int err = call_ask(c, i->verb->wire, args, &e);
    const char *token = err ? NULL : json_str(json_path(c->answer, "data.token"), NULL);
    if (!err && !token && call_code(c) == 0)
        err = error_set(&e, ERR_MALFORMED, "the agent's answer has no token in it");
    struct error written = {0};
    if (file_secret_end(&file, token, &written) && !err) {
        err = written.code;
        e = written;
    }
    if (c->answer) {
        struct json *shown = without_secret(c->answer, token && !err ? i->value[OPT_TOKEN_FILE] : NULL);
        json_free(c->answer);
        c->answer = shown;
    }
    return err ? call_fail(c, &e) : call_report(c);
}

/* ---- settings ---------------------------------------------------------------------------------------------------- */

static int build_set(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    (void)file, (void)e;
    json_set_str(args, "name", i->args[0]);
    json_set_str(args, "value", i->args[1]);
    return 0;
}

static void render_set(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)data;
    page_printf(p, "%s = %s\n", i->args[0], i->args[1][0] ? i->args[1] : "(default)");
}

/* Without the white space around it; ends the text there. */
static char *trimmed(char *s)
{
    static const char space[] = " \t\r";
    s += strspn(s, space);
    size_t len = strlen(s);
    while (len && strchr(space, s[len - 1]))
        s[--len] = '\0';
    return s;
}

static int take_line(char *line, unsigned number, struct json *settings, struct error *e)
{
    line = trimmed(line);
    if (!line[0] || line[0] == '#')
        return 0;
    char *value = strchr(line, '=');
    if (!value || value == line)
        return error_set(e, ERR_USAGE, "line %u: it must be NAME = VALUE, not \"%.64s\"", number, line);
    *value++ = '\0';
    const char *name = trimmed(line);
    if (json_get(settings, name))
        return error_set(e, ERR_USAGE, "line %u: setting %.64s stands there twice", number, name);
    json_set_str(settings, name, trimmed(value));
    return 0;
}

static int build_apply(const struct invocation *i, const char *file, struct json *args, struct error *e)
{
    if (!i->set[OPT_FILE] || !file)
        return error_set(e, ERR_USAGE, "cluster config apply needs --file FILE (- is the standard input)");
    struct json *settings = json_object_new();
    AUTO(freep) char *text = xstrdup(file);
    int err = 0;
    unsigned number = 0;
    for (char *line = text, *next; line && !err; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        err = take_line(line, ++number, settings, e);
    }
    json_set(args, "settings", settings);
    return err;
}

static void render_settings(struct page *p, const struct invocation *i, const struct json *data)
{
    (void)i;
    static const struct grid_column columns[] = {{"SETTING", 0}, {"VALUE", 0}};
    struct grid *g = grid_new(columns, 2, p->width, p->colour);
    size_t rows = 0;
    void *it = NULL;
    const char *name;
    const struct json *value;
    for (; json_next(json_get(data, "settings"), &it, &name, &value); rows++) {
        AUTO(freep) char *text = json_is_str(value) ? xstrdup(json_str(value, "")) : json_dump(value);
        grid_row(g);
        grid_cell(g, 0, STYLE_PLAIN, name);
        grid_cell(g, 1, STYLE_PLAIN, text);
    }
    page_grid(p, g, rows, "every setting has its default");
}

const struct verb cluster_verbs[] = {
    {
        .words = "cluster init",
        .wire = "cluster.init",
        .synopsis = "--name NAME",
        .brief = "form a cluster; this node is its first",
        .more = "  --name NAME   the cluster's name\n"
                "With --wait until it has a quorum and a leader.\n",
        .options = OPT_BIT(OPT_NAME),
        .flags = VERB_LONG,
        .goal = GOAL_QUORUM,
        .build = build_init,
        .question = question_init,
        .render = render_init,
    },
    {
        .words = "cluster join-token",
        .wire = "cluster.join-token",
        .synopsis = "NODE [--address ADDRESS] [--valid SECONDS] --token-file PATH [--force]",
        .brief = "make a token that lets one node join, once",
        .more = "  --address ADDRESS   of the node, where its name does not resolve to it\n"
                "  --valid SECONDS     how long it may be used: 60 to 604800 (3600)\n"
                "  --token-file PATH   where to put it: mode 0600, and not over a file that exists\n"
                "  --force             replace the file\n"
                "The token is a secret. It is in no output, not in JSON either.\n",
        VERB_ARGS(1),
        .options = OPT_BIT(OPT_ADDRESS) | OPT_BIT(OPT_VALID) | OPT_BIT(OPT_TOKEN_FILE) | OPT_BIT(OPT_FORCE),
        .flags = VERB_SECRET,
        .build = build_token,
        .render = render_token,
        .run = run_token,
    },
    {
        .words = "cluster config show",
        .wire = "cluster.config.show",
        .synopsis = "",
        .brief = "the settings of the cluster",
        .flags = VERB_READS,
        .render = render_settings,
    },
    {
        .words = "cluster config set",
        .wire = "cluster.config.set",
        .synopsis = "NAME VALUE",
        .brief = "change a setting of the cluster; an empty value brings the default back",
        VERB_ARGS(2),
        .build = build_set,
        .render = render_set,
    },
    {
        .words = "cluster config apply",
        .wire = "cluster.config.apply",
        .synopsis = "--file FILE",
        .brief = "change several settings of the cluster, all or none",
        .more = "  --file FILE   lines of NAME = VALUE; - is the standard input\n",
        .options = OPT_BIT(OPT_FILE),
        .file = OPT_FILE,
        .build = build_apply,
        .render = render_done,
    },
    {0},
};
