/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who votes: each case is a row of nodes, the decisions until nothing is left to do, and what is said of it. */
#include "tests/unit/unit.h"

#include <ctype.h>
#include <stdio.h>

#include "common/buf.h"
#include "witness/quorum.h"

/* A letter a node: V votes, L lost with its vote, l lost without, c caught up without a vote, b behind without one,
 * H by hand (here, has a vote), h by hand without, e leaving with a vote, j joining and caught up, S has a vote and was
 * not heard for a moment. */
static struct quorum_view nodes(const char *letters)
{
    struct quorum_view v = {.is_dynamic = true, .n = strlen(letters)};
    for (size_t i = 0; i < v.n; i++) {
        char c = letters[i];
        v.nodes[i] = (struct quorum_node){.is_member = true,
                                          .weight = strchr("VLHeS", c) != NULL,
                                          .is_here = tolower(c) != 'l',
                                          .is_heard = c != 'S' && tolower(c) != 'l',
                                          .caught_up = strchr("VcHhejS", c) != NULL,
                                          .no_vote = tolower(c) == 'h',
                                          .is_leaving = c == 'e',
                                          .is_joining = c == 'j'};
        snprintf(v.nodes[i].name, sizeof(v.nodes[i].name), "n%zu", i + 1);
    }
    return v;
}

static struct quorum_view with_witness(const char *letters, uint8_t weight, bool current)
{
    struct quorum_view v = nodes(letters);
    v.has_witness = true;
    v.witness_weight = weight;
    v.witness_current = current;
    return v;
}

/* The steps in words: "n3-" takes a vote away, "w+" gives the witness one; no two weights change at once by
 * construction. */
static void assert_steps(struct quorum_view *v, const char *want)
{
    char got[256] = "";
    struct quorum_change c;
    for (int i = 0; i < 50 && (c = quorum_decide(v)).what != QUORUM_KEEP; i++) {
        size_t len = strlen(got);
        uint8_t *weight = c.what == QUORUM_NODE ? &v->nodes[c.node].weight : &v->witness_weight;
        assert_int_not_equal(*weight, c.weight);
        *weight = c.weight;
        snprintf(got + len, sizeof(got) - len, "%s%s%c", len ? " " : "",
                 c.what == QUORUM_NODE ? v->nodes[c.node].name : "w", c.weight ? '+' : '-');
    }
    assert_string_equal(got, want);
}

static void steps(struct quorum_view v, const char *want)
{
    assert_steps(&v, want);
}

static void test_without_witness(void **state)
{
    (void)state;
    steps(nodes("VVV"), "");
    steps(nodes("VV"), "");      /* even, and nothing to make it odd */
    steps(nodes("VVL"), "");     /* 2 of 3, not 2 of 2 */
    steps(nodes("VVVL"), "n4-"); /* 2 of 3, not 3 of 4 */
    steps(nodes("VVVVL"), "");
    steps(nodes("VVVLL"), "n4- n5-");
    steps(nodes("VVVll"), "");
    steps(nodes("VVVlc"), "n5+"); /* "when it is back and caught up, to 1" */
    steps(nodes("VVVbb"), "");
    steps(nodes("Vj"), "n2+");
    steps(nodes("VLLL"), ""); /* "while a majority holds" */
}

static void test_by_hand(void **state)
{
    (void)state;
    steps(nodes("VVVH"), "n4-");
    steps(nodes("VVVh"), "");
    steps(nodes("HH"), ""); /* somebody has to decide */
}

static void test_static(void **state)
{
    (void)state;
    struct quorum_view v = nodes("VVVLL");
    v.is_dynamic = false;
    steps(v, "");
}

static void test_priorities(void **state)
{
    (void)state;
    struct quorum_view v = nodes("VVVV");
    v.nodes[1].priority = v.nodes[2].priority = -5;
    steps(v, "n3-"); /* the last of the lowest */
    v.nodes[2].is_here = false;
    steps(v, "n3-"); /* the sum is odd without the lost one */
    v = nodes("VVVc");
    v.nodes[3].priority = -1;
    assert_steps(&v, "");
    assert_int_equal(quorum_reason(&v, 3), QUORUM_LOWER);
    v.nodes[0].is_here = false;
    assert_steps(&v, "n4+ n1-");
    v = nodes("VVVV");
    v.nodes[1].priority = -5;
    STR_COPY(v.lower, "n1"); /* named: goes before */
    steps(v, "n1-");
    v.nodes[0].no_vote = true;
    steps(v, "n1-");
    v = nodes("VVVh");
    v.nodes[3].priority = -5; /* has none in any case */
    steps(v, "");
}

/* "In a 50:50 split without a witness the side without that node wins." */
static void test_lower_priority(void **state)
{
    (void)state;
    struct quorum_view v = nodes("VVVV");
    STR_COPY(v.lower, "n4");
    assert_steps(&v, "n4-");
    v.nodes[0].is_here = false; /* the sum of those left would be even without it */
    assert_steps(&v, "n4+ n1-");
    v = nodes("VV");
    STR_COPY(v.lower, "n1");
    steps(v, "n1-");
    v.is_dynamic = false;
    steps(v, "");
}

/* "Raise the witness first, change nodes, drop the witness last." */
static void test_with_witness(void **state)
{
    (void)state;
    steps(with_witness("VV", 0, true), "w+");
    steps(with_witness("VVV", 1, true), "w-");
    steps(with_witness("VVL", 0, true), "w+ n3-");
    steps(with_witness("VVc", 1, true), "n3+ w-");
    steps(with_witness("VVVc", 0, true), "w+ n4+");
    steps(with_witness("VL", 1, true), "n2- w-");
    steps(with_witness("Vj", 0, true), "w+ n2+");
    struct quorum_view v = with_witness("VV", 0, true);
    STR_COPY(v.lower, "n2");
    steps(v, "w+"); /* the witness is worth more than the lower-priority node's vote */
}

/* "While it cannot be reached, do not raise nodes to an even sum." */
static void test_witness_away(void **state)
{
    (void)state;
    steps(with_witness("VVVc", 0, false), "");
    steps(with_witness("Vj", 0, false), "");
    steps(with_witness("VVVcc", 0, false), "n4+ n5+");
    steps(with_witness("VVL", 0, false), "");
    steps(with_witness("VV", 1, false), "");
}

static void test_eviction_is_left_to_the_slots(void **state)
{
    (void)state;
    steps(nodes("VVe"), "");
    steps(with_witness("VVe", 0, true), "w+");
    steps(with_witness("VVVe", 1, true), ""); /* the witness goes when the vote has gone */
    steps(with_witness("VVV", 1, true), "w-");
}

static void says(struct quorum_view v, const char *want, unsigned may_fail, unsigned in_turn)
{
    struct quorum_verdict r;
    quorum_explain(&v, &r);
    assert_string_equal(r.text, want);
    assert_int_equal(r.may_fail, may_fail);
    assert_int_equal(r.may_fail_in_turn, in_turn);
}

static void test_verdict(void **state)
{
    (void)state;
    says(nodes("VVV"), "quorum: 3 of 3 votes are here, 2 are needed; one more node may fail", 1, 1);
    says(nodes("VV"), "quorum: 2 of 2 votes are here, 2 are needed; no more node may fail", 0, 0);
    says(nodes("VLL"), "no quorum: 1 of 3 votes are here, 2 are needed", 0, 0);
    says(nodes("V"), "quorum: 1 of 1 votes are here, 1 are needed; no more node may fail", 0, 0);
    says(with_witness("VV", 1, true),
         "quorum: 3 of 3 votes are here, 2 are needed; one more node may fail, then the witness decides", 1, 1);
    says(nodes("VVVVV"),
         "quorum: 5 of 5 votes are here, 3 are needed; 2 more nodes may fail; one after the other, 3 may", 2, 3);
    says(with_witness("VVV", 0, true),
         "quorum: 3 of 3 votes are here, 2 are needed; one more node may fail; one after the other, 2 may", 1, 2);
}

static struct quorum_view spoken(const char *letters, uint8_t weight, enum quorum_spoken spoken)
{
    struct quorum_view v = with_witness(letters, weight, false);
    v.witness_spoken = spoken;
    v.witness_term = 7;
    return v;
}

/* A vote that is not for this side is not here. */
static void test_verdict_without_the_witness(void **state)
{
    (void)state;
    says(spoken("VVLL", 1, QUORUM_SPOKEN_HERE),
         "quorum: 3 of 5 votes are here, 3 are needed; no more node may fail, then the witness decides", 0, 0);
    says(spoken("VVLL", 1, QUORUM_SPOKEN_ELSEWHERE),
         "no quorum: 2 of 5 votes are here, 3 are needed; the witness has spoken for other nodes, in term 7", 0, 0);
    says(spoken("VL", 1, QUORUM_SPOKEN_NOT),
         "no quorum: 1 of 3 votes are here, 2 are needed; the witness has not spoken for this side", 0, 0);
    says(spoken("VV", 1, QUORUM_SPOKEN_NOT), "quorum: 2 of 3 votes are here, 2 are needed; no more node may fail; the "
                                             "witness has not spoken for this side", 0, 0);
    says(spoken("VVV", 0, QUORUM_SPOKEN_NOT),
         "quorum: 3 of 3 votes are here, 2 are needed; one more node may fail", 1, 1);
}

static void test_reasons(void **state)
{
    (void)state;
    static const enum quorum_reason want[] = {QUORUM_VOTES,   QUORUM_KEPT,    QUORUM_LOST,   QUORUM_CATCHING_UP,
                                              QUORUM_BY_HAND, QUORUM_LEAVING, QUORUM_JOINING};
    struct quorum_view v = nodes("VLlbhej");
    for (size_t i = 0; i < v.n; i++)
        assert_int_equal(quorum_reason(&v, i), want[i]);
    v.is_dynamic = false;
    assert_int_equal(quorum_reason(&v, 1), QUORUM_STATIC);
    v = nodes("VVVc");
    STR_COPY(v.lower, "n4");
    assert_int_equal(quorum_reason(&v, 3), QUORUM_LOWER);
    v = with_witness("VVVc", 0, false);
    assert_int_equal(quorum_reason(&v, 3), QUORUM_WAITS);
}

static void test_preferred_site(void **state)
{
    (void)state;
    struct quorum_view v = nodes("VVLL");
    assert_int_equal(quorum_site_delay_ms(&v), 0);
    STR_COPY(v.preferred_site, "north");
    assert_int_equal(quorum_site_delay_ms(&v), QUORUM_SITE_DELAY_MS);
    STR_COPY(v.nodes[2].site, "north"); /* it is not here */
    assert_int_equal(quorum_site_delay_ms(&v), QUORUM_SITE_DELAY_MS);
    STR_COPY(v.nodes[1].site, "north");
    assert_int_equal(quorum_site_delay_ms(&v), 0);
}

static struct quorum_view leaving(const char *letters, uint8_t weight, bool current)
{
    struct quorum_view v = with_witness(letters, weight, current);
    v.witness_leaves = true;
    return v;
}

static void test_witness_that_leaves(void **state)
{
    (void)state;
    steps(leaving("VV", 1, true), "w-");
    steps(leaving("VV", 1, false), "w-"); /* a dead one can be replaced */
    steps(leaving("VS", 1, true), "");    /* alone it could commit nothing any more */
    steps(leaving("VVSS", 1, true), "");
    steps(leaving("VVVS", 1, true), "w-");
    steps(leaving("VL", 1, true), "n2- w-");
    steps(leaving("VV", 0, true), "");  /* it is not raised again */
    steps(leaving("VVVc", 0, true), ""); /* nor is a node to an even sum */
    steps(leaving("VVe", 1, true), "w-");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_witness_that_leaves),
        cmocka_unit_test(test_without_witness),
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_static),
        cmocka_unit_test(test_lower_priority),
        cmocka_unit_test(test_priorities),
        cmocka_unit_test(test_with_witness),
        cmocka_unit_test(test_witness_away),
        cmocka_unit_test(test_eviction_is_left_to_the_slots),
        cmocka_unit_test(test_verdict),
        cmocka_unit_test(test_verdict_without_the_witness),
        cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_preferred_site),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
