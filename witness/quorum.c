/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "witness/quorum.h"

#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* ---- which weights are wanted ----------------------------------------------------------------------------------- */

static uint8_t wanted_of(const struct quorum_view *v, const struct quorum_node *n)
{
    if (!n->is_member || n->no_vote || n->is_leaving)
        return 0;
    if (n->is_here)
        return n->weight > 0 || n->caught_up;
    return v->is_dynamic ? 0 : n->weight;
}

static unsigned sum(const uint8_t *weights, size_t n)
{
    unsigned total = 0;
    for (size_t i = 0; i < n; i++)
        total += weights[i];
    return total;
}

static bool may_have_witness(const struct quorum_view *v)
{
    return v->has_witness && !v->witness_leaves && (v->witness_weight > 0 || v->witness_current);
}

/* Of those that may be it; want NULL: whatever their votes are now. v->n: there is none. */
static size_t find_lower(const struct quorum_view *v, const uint8_t *want)
{
    size_t lowest = v->n;
    int highest = INT_MIN;
    for (size_t i = 0; i < v->n; i++) {
        const struct quorum_node *n = &v->nodes[i];
        bool may = n->is_member && n->is_here && !n->is_joining && !n->is_leaving && !n->no_vote;
        if (!may || (want != NULL && want[i] == 0))
            continue;
        if (v->lower[0] != '\0') {
            if (strcmp(v->lower, n->name) == 0)
                return i;
            continue;
        }
        if (lowest == v->n || n->priority <= v->nodes[lowest].priority)
            lowest = i;
        highest = n->priority > highest ? n->priority : highest;
    }
    return lowest < v->n && v->nodes[lowest].priority < highest ? lowest : v->n;
}

/* Rule 4. */
static bool leave_one_unraised(const struct quorum_view *v, uint8_t *want)
{
    for (size_t i = 0; v->has_witness && i < v->n; i++)
        if (want[i] > 0 && v->nodes[i].weight == 0) {
            want[i] = 0;
            return true;
        }
    return false;
}

/* Rule 3. */
static bool drop_lower(const struct quorum_view *v, uint8_t *want)
{
    size_t lower = v->is_dynamic ? find_lower(v, want) : v->n;
    if (lower < v->n)
        want[lower] = 0;
    return lower < v->n;
}

static void keep_one_lost(const struct quorum_view *v, uint8_t *want)
{
    for (size_t i = 0; i < v->n; i++) {
        const struct quorum_node *n = &v->nodes[i];
        if (want[i] == 0 && n->weight > 0 && !n->is_here && !n->no_vote && !n->is_leaving) {
            want[i] = 1;
            return;
        }
    }
}

static void wanted(const struct quorum_view *v, uint8_t *want)
{
    for (size_t i = 0; i < v->n; i++)
        want[i] = wanted_of(v, &v->nodes[i]);
    unsigned total = sum(want, v->n);
    if (total % 2 == 1 || may_have_witness(v))
        return;
    if (!leave_one_unraised(v, want) && !drop_lower(v, want))
        keep_one_lost(v, want);
}

/* ---- the next step ---------------------------------------------------------------------------------------------- */

static bool find_change(const struct quorum_view *v, const uint8_t *want, uint8_t weight, size_t *ret)
{
    for (size_t i = 0; i < v->n; i++) {
        const struct quorum_node *n = &v->nodes[i];
        if (n->is_member && !n->is_leaving && want[i] == weight && n->weight != weight) {
            *ret = i;
            return true;
        }
    }
    return false;
}

static bool is_leaving_pending(const struct quorum_view *v)
{
    for (size_t i = 0; i < v->n; i++)
        if (v->nodes[i].is_leaving && v->nodes[i].weight > 0)
            return true;
    return false;
}

static unsigned witness_here(const struct quorum_view *v)
{
    return v->witness_spoken == QUORUM_SPOKEN_HERE ? v->witness_weight : 0;
}

static unsigned votes(const struct quorum_view *v, bool only_here)
{
    unsigned total = only_here ? witness_here(v) : v->witness_weight;
    for (size_t i = 0; i < v->n; i++)
        if (v->nodes[i].is_here || !only_here)
            total += v->nodes[i].weight;
    return total;
}

static unsigned needed(const struct quorum_view *v)
{
    return votes(v, false) / 2 + 1;
}

/* Rule 5. It is in force on append: without them nothing could be committed any more, not even that it comes back. */
static bool can_do_without(const struct quorum_view *v)
{
    unsigned heard = 0, total = 0;
    for (size_t i = 0; i < v->n; i++) {
        total += v->nodes[i].weight;
        heard += v->nodes[i].is_heard ? v->nodes[i].weight : 0;
    }
    return 2 * heard > total;
}

struct quorum_change quorum_decide(const struct quorum_view *v)
{
    uint8_t want[QUORUM_NODES_MAX];
    size_t node = 0;
    assert(v->n <= QUORUM_NODES_MAX);
    wanted(v, want);
    unsigned total = sum(want, v->n);
    bool want_witness = v->has_witness && !v->witness_leaves && total > 0 && total % 2 == 0;
    if (total == 0 || votes(v, true) < needed(v)) /* somebody has to decide; and "while a majority holds" */
        return (struct quorum_change){.what = QUORUM_KEEP};
    if (want_witness && v->witness_weight == 0 && v->witness_current)
        return (struct quorum_change){.what = QUORUM_WITNESS, .weight = 1};
    if (find_change(v, want, 1, &node))
        return (struct quorum_change){.what = QUORUM_NODE, .node = node, .weight = 1};
    if (find_change(v, want, 0, &node))
        return (struct quorum_change){.what = QUORUM_NODE, .node = node, .weight = 0};
    bool may_drop = v->witness_leaves ? can_do_without(v) : !is_leaving_pending(v);
    if (!want_witness && v->witness_weight > 0 && may_drop)
        return (struct quorum_change){.what = QUORUM_WITNESS, .weight = 0};
    return (struct quorum_change){.what = QUORUM_KEEP};
}

/* ---- in words --------------------------------------------------------------------------------------------------- */

const char *quorum_reason_name(enum quorum_reason r)
{
    static const char *const names[] = {"votes",       "kept",    "static",  "lost",  "by-hand",
                                        "catching-up", "joining", "leaving", "lower", "waits"};
    return names[r];
}

const char *quorum_reason_text(enum quorum_reason r)
{
    static const char *const texts[] = {
        "votes",
        "away; it keeps its vote, so that the sum stays odd",
        "away; it keeps its vote, dynamic quorum is off",
        "away; its vote was taken until it is back",
        "no vote, by hand",
        "back; it has its vote when it has caught up",
        "joining; it has its vote when it has caught up",
        "leaving",
        "no vote: the lower-priority node of an even number",
        "no vote: it would make an even sum, and the witness cannot be had",
    };
    return texts[r];
}

enum quorum_reason quorum_reason(const struct quorum_view *v, size_t node)
{
    const struct quorum_node *n = &v->nodes[node];
    if (n->weight > 0 && n->is_here)
        return n->is_leaving ? QUORUM_LEAVING : QUORUM_VOTES;
    if (n->weight > 0)
        return n->is_leaving ? QUORUM_LEAVING : v->is_dynamic ? QUORUM_KEPT : QUORUM_STATIC;
    if (n->is_leaving)
        return QUORUM_LEAVING;
    if (n->no_vote)
        return QUORUM_BY_HAND;
    if (n->is_joining || !n->is_member)
        return QUORUM_JOINING;
    if (!n->is_here)
        return QUORUM_LOST;
    if (find_lower(v, NULL) == node)
        return QUORUM_LOWER;
    return n->caught_up && v->has_witness && !may_have_witness(v) ? QUORUM_WAITS : QUORUM_CATCHING_UP;
}

/* As the leader would, if nothing else happened. */
static void adapt(struct quorum_view *v)
{
    struct quorum_change c;
    for (size_t i = 0; i < 3 * QUORUM_NODES_MAX && (c = quorum_decide(v)).what != QUORUM_KEEP; i++) {
        if (c.what == QUORUM_NODE)
            v->nodes[c.node].weight = c.weight;
        else
            v->witness_weight = c.weight;
    }
}

static struct quorum_node *any_voter_here(struct quorum_view *v)
{
    for (size_t i = 0; i < v->n; i++)
        if (v->nodes[i].is_here && v->nodes[i].weight > 0)
            return &v->nodes[i];
    return NULL;
}

/* Weights are 0 or 1, so it does not matter which voter fails; but the last one cannot. */
static unsigned in_turn(const struct quorum_view *v)
{
    struct quorum_view left = *v;
    unsigned n = 0;
    for (struct quorum_node *lost; (lost = any_voter_here(&left)) != NULL; n++) {
        lost->is_here = false;
        if (any_voter_here(&left) == NULL || votes(&left, true) < needed(&left))
            break;
        adapt(&left);
    }
    return n;
}

static void say_votes(struct quorum_verdict *r)
{
    char count[64] = "no more node";
    if (r->here < r->needed) {
        snprintf(r->text, sizeof(r->text), "no quorum: %u of %u votes are here, %u are needed", r->here, r->total,
                 r->needed);
        return;
    }
    if (r->may_fail > 0)
        snprintf(count, sizeof(count), r->may_fail == 1 ? "one more node" : "%u more nodes", r->may_fail);
    int n = snprintf(r->text, sizeof(r->text), "quorum: %u of %u votes are here, %u are needed; %s may fail%s", r->here,
                     r->total, r->needed, count, r->witness_decides ? ", then the witness decides" : "");
    if (r->may_fail_in_turn > r->may_fail)
        snprintf(r->text + n, sizeof(r->text) - (size_t)n, "; one after the other, %u may", r->may_fail_in_turn);
}

static void say(struct quorum_verdict *r, const struct quorum_view *v)
{
    say_votes(r);
    size_t n = strlen(r->text);
    if (v->witness_weight == 0 || v->witness_spoken == QUORUM_SPOKEN_HERE)
        return;
    if (v->witness_spoken == QUORUM_SPOKEN_ELSEWHERE)
        snprintf(r->text + n, sizeof(r->text) - n, "; the witness has spoken for other nodes, in term %llu",
                 (unsigned long long)v->witness_term);
    else
        snprintf(r->text + n, sizeof(r->text) - n, "; the witness has not spoken for this side");
}

const char *quorum_spoken_name(enum quorum_spoken s)
{
    static const char *const names[] = {"here", "not", "elsewhere"};
    return names[s];
}

void quorum_explain(const struct quorum_view *v, struct quorum_verdict *ret)
{
    struct quorum_verdict r = {.total = votes(v, false), .needed = needed(v), .here = votes(v, true)};
    unsigned nodes = r.here - witness_here(v);
    r.may_fail = r.here > r.needed ? r.here - r.needed : 0;
    if (nodes > 0 && r.may_fail >= nodes)
        r.may_fail = nodes - 1;
    r.may_fail_in_turn = r.here >= r.needed ? in_turn(v) : 0;
    r.witness_decides = witness_here(v) > 0 && nodes - r.may_fail < r.needed;
    say(&r, v);
    *ret = r;
}

int64_t quorum_site_delay_ms(const struct quorum_view *v)
{
    if (v->preferred_site[0] == '\0')
        return 0;
    for (size_t i = 0; i < v->n; i++)
        if (v->nodes[i].is_here && strcmp(v->nodes[i].site, v->preferred_site) == 0)
            return 0;
    return QUORUM_SITE_DELAY_MS;
}
