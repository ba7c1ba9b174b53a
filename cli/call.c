/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/call.h"

#include "cli/follow.h"
#include "cli/io/file.h"
#include "cli/io/terminal.h"
#include "cli/noun.h"
#include "config.h"

enum { ASK_TIMEOUT_MS = 60 * 1000, ASK_LONG_TIMEOUT_MS = 300 * 1000 };

struct page call_page(const struct call *c, enum stream stream)
{
    bool out = stream == STREAM_OUT;
    return (struct page){
        .colour = out ? c->env->colour_out : c->env->colour_err,
        .width = out ? c->env->width(c->env->ctx) : 0,
        .wall_ms = c->env->wall_ms(c->env->ctx),
    };
}

void call_text(struct call *c, enum stream stream, const struct page *p)
{
    if (p->text.len)
        c->env->write(c->env->ctx, stream, (const char *)p->text.p, p->text.len);
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

int call_ask(struct call *c, const char *wire, struct json *args, struct error *e)
{
    bool is_long = c->i->verb && (c->i->verb->flags & VERB_LONG);
    struct uuid id = c->env->new_id(c->env->ctx);
    c->wire = wire;
    c->id = uuid_str(&id);
    AUTO(json_freep) struct json *request = proto_request(wire, c->id.s, args);
    struct json *answer = NULL;
    int64_t timeout_ms = c->timeout_ms ? c->timeout_ms : is_long ? ASK_LONG_TIMEOUT_MS : ASK_TIMEOUT_MS;
    int err = c->env->ask(c->env->ctx, request, timeout_ms, c->timeout_ms == 0, &answer, e);
    if (err)
        return err;
    json_free(c->answer);
    c->answer = answer;
    return 0;
}

struct error call_status(const struct call *c)
{
    const struct json *status = json_get(c->answer, "status");
    int code = (int)json_get_int(status, "code", 1);
    struct error e = {0};
    if (code == 0)
        return e;
    error_set(&e, code > 0 && code <= 255 ? -code : ERR_FAILED, "%s", json_get_str(status, "message", ""));
    error_set_remedy(&e, "%s", json_get_str(status, "remedy", ""));
    return e;
}

int call_code(const struct call *c)
{
    struct error e = call_status(c);
    return err_exit_code(e.code);
}

int call_confirm(struct call *c, const char *question, struct error *e)
{
    if (c->i->set[OPT_YES])
        return 0;
    int answer = c->env->confirm(c->env->ctx, question);
    if (answer > 0)
        return 0;
    if (answer == 0)
        return error_set(e, ERR_FAILED, "not done, as you wish");
    error_set(e, ERR_USAGE, "%s asks before it acts, and there is no terminal to ask on", c->i->verb->words);
    error_set_remedy(e, "say --yes if it shall be done");
    return ERR_USAGE;
}

struct json *call_peek(struct call *c, const char *wire, struct json *args)
{
    struct call side = *c;
    struct error ignored = {0};
    side.answer = NULL;
    if (call_ask(&side, wire, args, &ignored) == 0 && call_code(&side) == 0)
        return side.answer;
    json_free(side.answer);
    return NULL;
}

void call_note_events(struct call *c)
{
    AUTO(json_freep) struct json *answer = call_peek(c, "events", NULL);
    c->events_since = json_int(json_path(answer, "data.last"), -1);
}

/* ---- reporting --------------------------------------------------------------------------------------------------- */

static void write_error(struct call *c, const struct error *e)
{
    struct page p = call_page(c, STREAM_ERR);
    page_error(&p, e);
    call_text(c, STREAM_ERR, &p);
    page_done(&p);
}

/* Progress is a JSON text a line (--follow), so the answer that ends it is one too. */
static void write_json(struct call *c, const struct json *j)
{
    AUTO(freep) char *text = c->i->set[OPT_FOLLOW] ? json_dump(j) : json_dump_pretty(j);
    struct page p = {0};
    buf_add_str(&p.text, text);
    buf_add_str(&p.text, "\n");
    call_text(c, STREAM_OUT, &p);
    page_done(&p);
}

int call_fail(struct call *c, const struct error *e)
{
    if (c->i->json) {
        struct json *data = json_copy(json_get(c->answer, "data"));
        AUTO(json_freep) struct json *answer = proto_answer(c->wire, c->id.s[0] ? c->id.s : NULL, e, data);
        write_json(c, answer);
    }
    write_error(c, e);
    return err_exit_code(e->code);
}

static bool has_members(const struct json *data)
{
    void *it = NULL;
    const char *key;
    const struct json *value;
    return json_next(data, &it, &key, &value);
}

static void report_text(struct call *c, const struct error *status)
{
    const struct json *data = json_get(c->answer, "data");
    struct page p = call_page(c, STREAM_OUT);
    if (c->i->verb->render && (status->code == 0 || has_members(data)))
        c->i->verb->render(&p, c->i, data);
    call_text(c, STREAM_OUT, &p);
    page_done(&p);
    const struct json *quorate = json_path(data, "quorum.quorate");
    if (status->code == 0 && json_is_bool(quorate) && !json_bool(quorate, true)) {
        static const char note[] = "note: no quorum: this is what this node last knew\n";
        c->env->write(c->env->ctx, STREAM_ERR, note, sizeof(note) - 1);
    }
}

int call_report(struct call *c)
{
    struct error status = call_status(c);
    if (c->i->json)
        write_json(c, c->answer);
    else
        report_text(c, &status);
    if (status.code) {
        write_error(c, &status);
        return err_exit_code(status.code);
    }
    return c->i->verb->code ? c->i->verb->code(json_get(c->answer, "data")) : 0;
}

/* ---- the usual way ----------------------------------------------------------------------------------------------- */

/* After the wait: what became of it, in one line. */
static void report_end(struct call *c, const struct goal *g)
{
    int64_t took_ms = c->env->now_ms(c->env->ctx) - c->began_ms;
    struct page p = call_page(c, STREAM_OUT);
    const struct json *job = json_path(c->answer, "data.job");
    page_styled(&p, STYLE_GOOD, "done");
    if (json_is_object(job))
        page_printf(&p, ": %s of %s%s", json_get_str(job, "kind", "job"), json_get_str(job, "object", "-"),
                    g->kind == GOAL_JOB_END && str_eq(json_get_str(job, "state", ""), "done") ? " was faster" : "");
    else if (g->kind == GOAL_RUN)
        page_printf(&p, ": upgrade to %s is %s", json_str(json_path(c->answer, "data.run.target"), "-"),
                    json_str(json_path(c->answer, "data.run.state"), "over"));
    else if (g->kind == GOAL_MEMBER)
        page_printf(&p, ": this node is a member with a vote");
    else
        page_printf(&p, ": %s", goal_what(g).s);
    page_printf(&p, " (%s)\n", span_text(took_ms / 1000).s);
    page_run_next(&p, json_path(c->answer, "data.run"));
    call_text(c, STREAM_OUT, &p);
    page_done(&p);
}

int call_wait(struct call *c)
{
    struct goal g;
    const struct json *data = json_get(c->answer, "data");
    bool waits = c->i->wait && call_code(c) == 0 && !(c->i->set[OPT_DRY_RUN]) && goal_of(c->i, data, &g);
    if (!waits)
        return call_report(c);
    bool in_view = c->env->live && c->i->set[OPT_FOLLOW];
    if (!c->i->json && !in_view)
        call_report(c);
    struct error e = {0};
    if (follow_goal(c, &g, &e))
        return call_fail(c, &e);
    if (c->i->json)
        write_json(c, c->answer);
    else
        report_end(c, &g);
    return 0;
}

static int read_file(struct call *c, char **ret_text, struct error *e)
{
    const struct verb *v = c->i->verb;
    if (v->file == OPT_NONE || !c->i->set[v->file])
        return 0;
    return file_read(c->i->value[v->file], v->flags & VERB_SECRET, ret_text, e);
}

static int confirm(struct call *c, struct error *e)
{
    AUTO(buf_done) struct buf b = {0};
    if (!c->i->verb->question || !c->i->verb->question(c->i, &b))
        return 0;
    AUTO(freep) char *question = buf_steal_str(&b);
    return call_confirm(c, question, e);
}

int call_plain(struct call *c)
{
    struct error e = {0};
    AUTO(freep) char *file = NULL;
    struct json *args = NULL;
    int err = read_file(c, &file, &e);
    if (!err)
        err = invocation_build(c->i, file, &args, &e);
    if (!err)
        err = confirm(c, &e);
    if (!err && c->i->set[OPT_FOLLOW])
        call_note_events(c);
    if (!err) {
        c->began_ms = c->env->now_ms(c->env->ctx);
        err = call_ask(c, c->i->verb->wire, args, &e);
        args = NULL;
    }
    json_free(args);
    return err ? call_fail(c, &e) : call_wait(c);
}

static int print_help(struct call *c, enum stream stream)
{
    struct page p = call_page(c, stream);
    help_print(&p, c->i);
    call_text(c, stream, &p);
    page_done(&p);
    return 0;
}

static int run_parsed(struct call *c)
{
    static const char version[] = PACKAGE_STRING "\n";
    if (c->i->set[OPT_HELP])
        return print_help(c, STREAM_OUT);
    if (c->i->set[OPT_VERSION]) {
        c->env->write(c->env->ctx, STREAM_OUT, version, sizeof(version) - 1);
        return 0;
    }
    c->wire = c->i->verb->wire;
    if (c->i->verb->flags & VERB_SECRET)
        core_dump_forbid();
    return c->i->verb->run ? c->i->verb->run(c) : call_plain(c);
}

int cli_run(const struct cli_env *env, int argc, char *const *argv)
{
    struct invocation i;
    struct call c = {.env = env, .i = &i, .events_since = -1, .began_ms = env->now_ms(env->ctx)};
    struct error e = {0};
    int code;
    if (argc <= 1) {
        invocation_parse(argc, argv, &i, &e);
        print_help(&c, STREAM_ERR);
        return err_exit_code(ERR_USAGE);
    }
    if (invocation_parse(argc, argv, &i, &e))
        code = call_fail(&c, &e);
    else
        code = run_parsed(&c);
    json_free(c.answer);
    return code;
}
