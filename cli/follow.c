/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/follow.h"

#include "cli/noun.h"

enum {
    POLL_MS = 500,
    ASK_MS = 10 * 1000,     /* an agent that takes longer is treated like one that is away */
    UNKNOWN_MS = 10 * 1000, /* how long an agent that was just started may not know of a job */
    BAR_WIDTH = 24,
};

struct follow {
    struct call *c;
    const struct goal *g; /* NULL: events only */
    int64_t good_ms;      /* when the last good answer came */
    int64_t since;        /* the newest event that was shown; -1: none is known yet */
    bool away;            /* the agent or the quorum is, and that was said */
    char state[256];      /* that was said last */
    struct page above;    /* what is to be printed above the live view */
    size_t drawn;         /* lines of the live view that are on the screen */
};

static int64_t now_ms(const struct follow *f)
{
    return f->c->env->now_ms(f->c->env->ctx);
}

static bool is_live(const struct follow *f)
{
    return f->c->env->live && f->c->i->set[OPT_FOLLOW] && !f->c->i->json;
}

/* ---- the live view ----------------------------------------------------------------------------------------------- */

/* ECMA-48: up to the first line of the view, then erase to the end of the screen. */
static void erase(struct follow *f, struct page *p)
{
    if (f->drawn)
        page_printf(p, "\033[%zuA\r\033[J", f->drawn);
    f->drawn = 0;
}

static void draw_bar(struct page *p, const struct json *run)
{
    int64_t done = json_get_int(run, "done", 0), total = json_get_int(run, "total", 0);
    if (total <= 0)
        return;
    int64_t filled = done * BAR_WIDTH / total;
    buf_add_str(&p->text, "[");
    for (int64_t k = 0; k < BAR_WIDTH; k++)
        buf_add_str(&p->text, k < filled ? "#" : "-");
    page_printf(p, "] %lld of %lld nodes\n", (long long)done, (long long)total);
}

static void draw_moves(struct follow *f, struct page *p)
{
    AUTO(json_freep) struct json *answer = f->away ? NULL : call_peek(f->c, "status", NULL);
    const struct json *vms = json_path(answer, "data.vms");
    for (size_t k = 0; k < json_count(vms); k++) {
        const struct json *vm = json_at(vms, k);
        int64_t percent = json_get_int(vm, "percent", -1);
        const char *target = json_get_str(vm, "target", "");
        if (!target[0])
            continue;
        page_printf(p, "moving %s: %s -> %s ", json_get_str(vm, "name", ""), json_get_str(vm, "node", ""), target);
        if (percent >= 0)
            page_printf(p, "%lld%%\n", (long long)percent);
        else
            page_printf(p, "?%%\n");
    }
}

static void draw_goal(struct follow *f, struct page *p)
{
    const struct json *run = json_path(f->c->answer, "data.run");
    const struct json *job = json_path(f->c->answer, "data.job");
    if (json_is_object(run)) {
        draw_bar(p, run);
        page_run(p, run);
    } else if (json_is_object(job)) {
        page_styled(p, STYLE_BOLD, "%s of %s", json_get_str(job, "kind", "job"), json_get_str(job, "object", "-"));
        page_printf(p, ": %s", json_get_str(job, "state", ""));
    } else {
        page_styled(p, STYLE_BOLD, "%s", goal_what(f->g).s);
        page_printf(p, ": %s", f->state);
    }
    if (!json_is_object(run))
        page_printf(p, ", %s\n", span_text((now_ms(f) - f->c->began_ms) / 1000).s);
}

/* As many lines of text as the screen holds below the cursor; returns how many. */
static size_t add_lines(struct page *p, const struct buf *text, size_t max)
{
    size_t lines = 0, at = 0;
    while (at < text->len && lines < max) {
        const uint8_t *end = memchr(text->p + at, '\n', text->len - at);
        size_t len = end ? (size_t)(end - (text->p + at)) + 1 : text->len - at;
        buf_add(&p->text, text->p + at, len);
        at += len;
        lines++;
    }
    return lines;
}

/* Everything in one write, so that nothing flickers. Lines that are too wide are cut by the terminal. The last drawing
 * stays when the wait is over. */
static void draw(struct follow *f)
{
    struct page screen = call_page(f->c, STREAM_OUT);
    struct page view = call_page(f->c, STREAM_OUT);
    erase(f, &screen);
    buf_add(&screen.text, f->above.text.p, f->above.text.len);
    f->above.text.len = 0;
    if (f->g && is_live(f) && json_is_object(json_get(f->c->answer, "data"))) {
        size_t height = f->c->env->height(f->c->env->ctx);
        draw_goal(f, &view);
        draw_moves(f, &view);
        page_printf(&screen, "\033[?7l");
        f->drawn = add_lines(&screen, &view.text, height > 1 ? height - 1 : 1);
        page_printf(&screen, "\033[?7h");
    }
    call_text(f->c, STREAM_OUT, &screen);
    page_done(&view);
    page_done(&screen);
}

/* ---- lines ------------------------------------------------------------------------------------------------------- */

static void add_event(struct follow *f, const struct json *event)
{
    if (!f->c->i->json) {
        page_event(&f->above, event, f->g != NULL);
        return;
    }
    struct json *line = json_object_new();
    json_set(line, "event", json_copy(event));
    AUTO(freep) char *text = json_dump(line);
    json_free(line);
    buf_add_str(&f->above.text, text);
    buf_add_str(&f->above.text, "\n");
}

static void take_events(struct follow *f, const struct json *answer)
{
    const struct json *events = json_path(answer, "data.events");
    int64_t last = json_int(json_path(answer, "data.last"), f->since);
    for (size_t k = 0; f->since >= 0 && k < json_count(events); k++) {
        int64_t seq = json_get_int(json_at(events, k), "seq", 0);
        if (seq <= f->since)
            continue;
        add_event(f, json_at(events, k));
        f->since = seq;
    }
    if (last > f->since)
        f->since = last;
}

static void add_events(struct follow *f)
{
    struct json *args = json_object_new();
    if (f->since >= 0)
        json_set_int(args, "since", f->since);
    AUTO(json_freep) struct json *answer = call_peek(f->c, "events", args);
    if (answer)
        take_events(f, answer);
}

/* A note that is not part of the output: on the standard error, above the view. */
static void note(struct follow *f, const char *text)
{
    struct page p = call_page(f->c, STREAM_ERR);
    if (f->drawn) { /* it is drawn anew below the note */
        struct page out = call_page(f->c, STREAM_OUT);
        erase(f, &out);
        call_text(f->c, STREAM_OUT, &out);
        page_done(&out);
    }
    page_styled(&p, STYLE_DIM, "%s\n", text);
    call_text(f->c, STREAM_ERR, &p);
    page_done(&p);
}

/* Events do not tell how a join gets on, because this node is not yet there to see them. */
static void say_state(struct follow *f, const char *state)
{
    if (str_eq(f->state, state))
        return;
    STR_COPY(f->state, state);
    if (f->c->i->set[OPT_FOLLOW] && !f->c->i->json && !is_live(f) && !goal_goes_on(f->g))
        page_printf(&f->above, "%s: %s\n", goal_what(f->g).s, state);
}

/* ---- away and back ----------------------------------------------------------------------------------------------- */

static void say_away(struct follow *f, const struct error *e)
{
    bool is_expected = f->g && !goal_goes_on(f->g) && e->code == ERR_NO_QUORUM; /* of one who is only joining */
    if (f->away || is_expected)
        return;
    f->away = true;
    AUTO(buf_done) struct buf b = {0};
    buf_printf(&b, "%s; waiting for it%s", e->text, f->g && goal_goes_on(f->g) ? ", the job goes on" : "");
    AUTO(freep) char *text = buf_steal_str(&b);
    note(f, text);
}

static void say_back(struct follow *f)
{
    f->good_ms = now_ms(f);
    if (f->away)
        note(f, "the agent answers again");
    f->away = false;
}

/* What passes by itself: the agent restarts, the quorum is lost for a while, a change of the leader. */
static bool passes(const struct follow *f, const struct error *e)
{
    switch (e->code) {
    case ERR_NO_AGENT:
    case ERR_AGAIN:
    case ERR_NO_QUORUM:
    case ERR_TIMEOUT: return true;
    case ERR_NO_OBJECT: return now_ms(f) - f->good_ms < UNKNOWN_MS;
    default: return false;
    }
}

/* ---- the wait ---------------------------------------------------------------------------------------------------- */

static int64_t left_ms(const struct follow *f)
{
    int64_t limit_ms = f->c->i->wait_ms;
    return limit_ms < 0 ? INT64_MAX : f->c->began_ms + limit_ms - now_ms(f);
}

static int poll_once(struct follow *f, struct verdict *v, struct error *e)
{
    struct json *args;
    const char *wire = goal_poll(f->g, &args);
    int64_t left = left_ms(f);
    f->c->timeout_ms = left < ASK_MS ? (left > POLL_MS ? left : POLL_MS) : ASK_MS;
    int err = call_ask(f->c, wire, args, e);
    if (err)
        return err;
    *e = call_status(f->c);
    if (e->code)
        return e->code;
    goal_judge(f->g, f->c->answer, v);
    return 0;
}

static int set_over(const struct follow *f, bool detached, struct error *e)
{
    const char *goes_on = goal_goes_on(f->g) ? "; it goes on" : "";
    if (detached)
        error_set(e, ERR_TIMEOUT, "detached from %s%s", goal_what(f->g).s, goes_on);
    else
        error_set(e, ERR_TIMEOUT, "%s did not come to its end within %s%s", goal_what(f->g).s,
                  span_text(f->c->i->wait_ms / 1000).s, goes_on);
    error_set_remedy(e, "%s", goal_comeback(f->g).s);
    return ERR_TIMEOUT;
}

static int wait_loop(struct follow *f, struct error *e)
{
    for (;;) {
        struct verdict v = {.ended = false};
        struct error why = {0};
        int err = poll_once(f, &v, &why);
        if (err && !passes(f, &why)) {
            *e = why;
            return err;
        }
        if (err && !f->c->env->sleep(f->c->env->ctx, 0)) /* that is what ended the request */
            return set_over(f, true, e);
        if (err)
            say_away(f, &why);
        else
            say_back(f);
        if (!err)
            say_state(f, v.state);
        if (!err && f->c->i->set[OPT_FOLLOW])
            add_events(f);
        draw(f);
        if (v.ended && v.error.code) {
            *e = v.error;
            return v.error.code;
        }
        if (v.ended)
            return 0;
        int64_t left = left_ms(f);
        if (left <= 0)
            return set_over(f, false, e);
        if (!f->c->env->sleep(f->c->env->ctx, left < POLL_MS ? left : POLL_MS))
            return set_over(f, true, e);
    }
}

/* The newest answer must say what its status says: an ended job's failure is told by its exit code. */
int follow_goal(struct call *c, const struct goal *g, struct error *e)
{
    struct follow f = {.c = c, .g = g, .since = c->events_since, .above = call_page(c, STREAM_OUT)};
    f.good_ms = now_ms(&f);
    c->env->hold_interrupts(c->env->ctx);
    int err = wait_loop(&f, e);
    c->timeout_ms = 0;
    page_done(&f.above);
    return err;
}

int follow_events(struct call *c, int64_t since)
{
    struct follow f = {.c = c, .since = since, .above = call_page(c, STREAM_OUT)};
    struct error e = {0};
    f.good_ms = now_ms(&f);
    c->env->hold_interrupts(c->env->ctx);
    c->timeout_ms = ASK_MS;
    take_events(&f, c->answer);
    draw(&f);
    while (c->env->sleep(c->env->ctx, POLL_MS)) {
        struct json *args = json_object_new();
        json_set_int(args, "since", f.since);
        int err = call_ask(c, "events", args, &e);
        if (!err) {
            e = call_status(c);
            err = e.code;
        }
        if (err && !passes(&f, &e))
            break;
        if (err) {
            say_away(&f, &e);
            e = (struct error){0};
            continue;
        }
        say_back(&f);
        take_events(&f, c->answer);
        draw(&f);
    }
    page_done(&f.above);
    return e.code ? call_fail(c, &e) : 0;
}
