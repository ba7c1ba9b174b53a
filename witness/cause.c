/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Outcomes and causes in words. */
#include <assert.h>

#include "witness/record.h"

struct cause_row {
    const char *name, *what, *mend;
};

static const struct cause_row rows[WITNESS_CAUSE_MAX] = {
    [WITNESS_CAUSE_NONE] = {"none", "", ""},
#define CAUSE(NAME, name, what, mend) [WITNESS_CAUSE_##NAME] = {name, what, mend},
#include "witness/cause.def"
#undef CAUSE
};

const char *witness_cause_name(enum witness_cause c)
{
    assert(c < WITNESS_CAUSE_MAX);
    return rows[c].name;
}

const char *witness_op_name(enum witness_op op)
{
    static const char *const names[] = {
        [WITNESS_CREATE] = "create", [WITNESS_GET] = "get", [WITNESS_PUT] = "put", [WITNESS_PROBE] = "probe"};
    return op >= WITNESS_CREATE && op <= WITNESS_PROBE ? names[op] : "none";
}

const char *witness_outcome_name(enum witness_outcome o)
{
    static const char *const names[] = {
        [WITNESS_DONE] = "done",       [WITNESS_LOST] = "lost",       [WITNESS_EXISTS] = "exists",
        [WITNESS_MISSING] = "missing", [WITNESS_REFUSED] = "refused", [WITNESS_UNREACHABLE] = "unreachable",
        [WITNESS_UNKNOWN] = "unknown",
    };
    return o >= WITNESS_DONE && o <= WITNESS_UNKNOWN ? names[o] : "none";
}

/* How much of HOST[:PORT] is the host; an address in brackets has colons of its own. */
static size_t name_len(const char *host)
{
    const char *colon = strrchr(host, ':'), *bracket = strrchr(host, ']');
    return colon && (!bracket || colon > bracket) ? (size_t)(colon - host) : strlen(host);
}

/* Adds the value of the placeholder at s, and returns the placeholder's length; 0: there is none at s. */
static size_t fill_in_place(struct buf *b, const char *s, const struct witness_place *p)
{
    const char *host = p->host ? p->host : "it";
    size_t name = name_len(host), len;
    const struct {
        const char *word, *value;
        size_t max; /* of the value; 0: all of it */
    } words[] = {
        {"{host}", host, 0},
        {"{name}", host, name},
        {"{port}", host[name] ? host + name + 1 : "443", 0},
        {"{account}", p->account, 0},
        {"{container}", p->container, 0},
        {"{blob}", p->blob, 0},
        {"{path}", p->path, 0},
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        len = strlen(words[i].word);
        if (strncmp(s, words[i].word, len) != 0)
            continue;
        const char *value = words[i].value ? words[i].value : "it";
        buf_add(b, value, words[i].max > 0 ? words[i].max : strlen(value));
        return len;
    }
    return 0;
}

static void fill_in(struct buf *b, const char *text, const struct witness_place *p)
{
    size_t len;
    for (const char *s = text; *s; s += len) {
        len = fill_in_place(b, s, p);
        if (len == 0)
            buf_add(b, s, len = 1);
    }
}

/* For clusterctl's exit status. */
static int code_of(enum witness_outcome outcome)
{
    switch (outcome) {
    case WITNESS_UNKNOWN: return ERR_TIMEOUT;
    case WITNESS_UNREACHABLE:
    case WITNESS_LOST: return ERR_AGAIN;
    default: return ERR_CONDITION;
    }
}

void witness_explain(enum witness_outcome outcome, enum witness_cause cause, const struct witness_place *place,
                     const char *detail, struct error *ret)
{
    assert(cause < WITNESS_CAUSE_MAX);
    *ret = (struct error){0};
    if (outcome == WITNESS_DONE || cause == WITNESS_CAUSE_NONE)
        return;
    AUTO(buf_done) struct buf what = {0}, mend = {0};
    fill_in(&what, rows[cause].what, place);
    if (detail && detail[0])
        buf_printf(&what, " (%s)", detail);
    fill_in(&mend, rows[cause].mend, place);
    error_set(ret, code_of(outcome), "%.*s", (int)what.len, (const char *)what.p);
    error_set_remedy(ret, "%.*s", (int)mend.len, (const char *)mend.p);
}
