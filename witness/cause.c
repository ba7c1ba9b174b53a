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

/* The value of the placeholder at s, whose length goes to *ret_len; NULL: there is none at s. */
static const char *place_at(const struct witness_place *p, const char *s, size_t *ret_len)
{
    const struct {
        const char *word, *value;
    } words[] = {
        {"{host}", p->host}, {"{account}", p->account}, {"{container}", p->container},
        {"{blob}", p->blob}, {"{path}", p->path},
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        *ret_len = strlen(words[i].word);
        if (strncmp(s, words[i].word, *ret_len) == 0)
            return words[i].value ? words[i].value : "it";
    }
    return NULL;
}

static void fill_in(struct buf *b, const char *text, const struct witness_place *p)
{
    size_t len;
    for (const char *s = text; *s; s += len) {
        const char *value = place_at(p, s, &len);
        if (value)
            buf_add_str(b, value);
        else
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
