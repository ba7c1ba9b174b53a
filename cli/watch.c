/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/watch.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "cli/noun.h"

enum { WATCH_MS = 2000, WATCH_ASK_MS = 10 * 1000, KEY_MAX = 160, VALUE_MAX = 320 };

/* ---- what matters -------------------------------------------------------------------------------------------------
 */

static void fact(struct json *facts, const char *key, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void fact(struct json *facts, const char *key, const char *fmt, ...)
{
    char value[VALUE_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(value, sizeof(value), fmt, ap);
    va_end(ap);
    json_set_str(facts, key, value);
}

static void cluster_facts(struct json *facts, const struct json *data)
{
    const struct json *q = json_get(data, "quorum"), *level = json_get(data, "level"), *run = json_get(data, "run");
    if (json_is_object(q)) {
        fact(facts, "quorum", "%s, %" PRId64 " of %" PRId64 " votes", yes_no(json_get_bool(q, "quorate", false)),
             json_get_int(q, "votes_present", 0), json_get_int(q, "votes_total", 0));
        fact(facts, "leader", "%s", json_get_str(q, "leader", "none"));
    }
    if (json_is_object(level))
        fact(facts, "level", "%" PRId64 "%s", json_get_int(level, "committed", 0),
             json_is_object(json_get(level, "mixed")) ? ", mixed" : "");
    if (json_is_object(run))
        fact(facts, "upgrade", "to %s %s, %" PRId64 " of %" PRId64 " nodes done", json_get_str(run, "target", "-"),
             json_get_str(run, "state", "-"), json_get_int(run, "done", 0), json_get_int(run, "total", 0));
}

static void list_facts(struct json *facts, const struct json *data)
{
    const struct json *nodes = json_get(data, "nodes"), *vms = json_get(data, "vms");
    char key[KEY_MAX];
    for (size_t k = 0; k < json_count(nodes); k++) {
        const struct json *n = json_at(nodes, k);
        snprintf(key, sizeof(key), "node %s", json_get_str(n, "name", "-"));
        fact(facts, key, "%s", json_get_str(n, "state", "-"));
    }
    for (size_t k = 0; k < json_count(vms); k++) {
        const struct json *v = json_at(vms, k);
        const char *target = json_get_str(v, "target", "");
        snprintf(key, sizeof(key), "vm %s", json_get_str(v, "name", "-"));
        fact(facts, key, "%s on %s%s%s", json_get_str(v, "state", "-"), json_get_str(v, "node", "-"),
             target[0] ? " to " : "", target);
    }
}

static void health_facts(struct json *facts, const struct json *health)
{
    char key[KEY_MAX];
    for (size_t k = 0; k < json_count(health); k++) {
        const struct json *h = json_at(health, k);
        const char *object = json_get_str(h, "object", "");
        snprintf(key, sizeof(key), "health %s%s%s", json_get_str(h, "code", "-"), object[0] ? " " : "", object);
        fact(facts, key, "%s", json_get_str(h, "severity", "-"));
    }
}

struct json *watch_facts(const struct json *data)
{
    struct json *facts = json_object_new();
    fact(facts, "agent", "%s", data ? json_str(json_path(data, "self.phase"), "answers") : "does not answer");
    cluster_facts(facts, data);
    list_facts(facts, data);
    health_facts(facts, json_get(data, "health"));
    return facts;
}

struct json *watch_all_vms(void)
{
    struct json *args = json_object_new();
    json_set_bool(args, "all_vms", true);
    return args;
}

/* ---- lines --------------------------------------------------------------------------------------------------------
 */

static void add_change(struct call *c, struct page *p, const char *key, const char *from, const char *to)
{
    struct json *now = json_time_new(c->env->wall_ms(c->env->ctx));
    if (c->i->json) {
        struct json *line = json_object_new(), *change = json_object_new();
        json_set(change, "time", now);
        json_set_str(change, "what", key);
        json_set_str(change, "from", from);
        json_set_str(change, "to", to);
        json_set(line, "change", change);
        AUTO(freep) char *text = json_dump(line);
        json_free(line);
        page_printf(p, "%s\n", text);
        return;
    }
    page_styled(p, STYLE_DIM, "%s", time_text(json_str(now, NULL), false).s);
    if (from)
        page_printf(p, "  %s: %s -> %s\n", key, from, to ? to : "gone");
    else
        page_printf(p, "  %s: %s\n", key, to);
    json_free(now);
}

/* While the agent is away nothing is known to have changed but that. */
static bool is_kept(const char *key, const struct json *data)
{
    return !data && !str_eq(key, "agent");
}

static void say_changes(struct call *c, struct json **facts, const struct json *data)
{
    struct json *now = watch_facts(data);
    struct page p = call_page(c, STREAM_OUT);
    void *it = NULL;
    const char *key;
    const struct json *value;
    while (json_next(now, &it, &key, &value)) {
        const char *before = json_get_str(*facts, key, NULL);
        if (!before || !str_eq(before, json_str(value, "")))
            add_change(c, &p, key, before, json_str(value, ""));
    }
    for (it = NULL; json_next(*facts, &it, &key, &value);) {
        if (json_get(now, key))
            continue;
        if (is_kept(key, data))
            json_set_str(now, key, json_str(value, ""));
        else
            add_change(c, &p, key, json_str(value, ""), NULL);
    }
    call_text(c, STREAM_OUT, &p);
    page_done(&p);
    json_free(*facts);
    *facts = now;
}

/* ---- the page -----------------------------------------------------------------------------------------------------
 */

/* ECMA-48: home, each line erased to its end, the rest of the screen erased; in one write, so that nothing flickers.
 * What the screen cannot hold is left out. */
static void add_screen(struct page *screen, const struct buf *text, size_t height)
{
    size_t at = 0;
    buf_add_str(&screen->text, "\033[H\033[?7l");
    for (size_t line = 0; at < text->len && line + 1 < height; line++) {
        const uint8_t *end = memchr(text->p + at, '\n', text->len - at);
        size_t len = end ? (size_t)(end - (text->p + at)) : text->len - at;
        buf_add(&screen->text, text->p + at, len);
        buf_add_str(&screen->text, "\033[K\n");
        at += len + 1;
    }
    buf_add_str(&screen->text, "\033[J\033[?7h");
}

static void redraw(struct call *c, const struct error *e)
{
    struct page view = call_page(c, STREAM_OUT), screen = call_page(c, STREAM_OUT);
    struct json *now = json_time_new(view.wall_ms);
    page_styled(&view, STYLE_DIM, "every %d s, %s, Ctrl-C ends", WATCH_MS / 1000,
                time_text(json_str(now, NULL), true).s);
    json_free(now);
    page_printf(&view, "\n");
    if (e->code)
        page_error(&view, e);
    page_printf(&view, "\n");
    if (json_is_object(json_path(c->answer, "data.self"))) /* of an agent that never answered nothing is known */
        c->i->verb->render(&view, c->i, json_get(c->answer, "data"));
    add_screen(&screen, &view.text, c->env->height(c->env->ctx));
    call_text(c, STREAM_OUT, &screen);
    page_done(&view);
    page_done(&screen);
}

/* What no further look will change. */
static bool is_hopeless(const struct error *e)
{
    return e->code == ERR_PERMISSION || e->code == ERR_USAGE;
}

int watch_status(struct call *c)
{
    bool live = c->env->live && !c->i->json;
    struct json *facts = json_object_new();
    struct error e = {0};
    c->env->hold_interrupts(c->env->ctx);
    c->timeout_ms = WATCH_ASK_MS;
    if (live) {
        struct page p = call_page(c, STREAM_OUT);
        page_printf(&p, "\033[H\033[J");
        call_text(c, STREAM_OUT, &p);
        page_done(&p);
    }
    do {
        e = (struct error){0};
        bool answered = call_ask(c, "status", live ? NULL : watch_all_vms(), &e) == 0;
        if (answered)
            e = call_status(c);
        if (is_hopeless(&e))
            break;
        if (live)
            redraw(c, &e);
        else
            say_changes(c, &facts, answered ? json_get(c->answer, "data") : NULL);
    } while (c->env->sleep(c->env->ctx, WATCH_MS));
    json_free(facts);
    return is_hopeless(&e) ? call_fail(c, &e) : 0;
}
