/* SPDX-License-Identifier: GPL-2.0-or-later */
/* witness/record, witness/cause: the record's bytes, its bounds, whose it may be, and every cause in words. */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "witness/record.h"

static struct uuid uuid_of(uint8_t n)
{
    struct uuid u = {{0}};
    memset(u.b, n, sizeof(u.b));
    return u;
}

static struct witness_record some_record(size_t n_members)
{
    struct witness_record r = {
        .sequence = 17,
        .version = WITNESS_VERSION,
        .cluster_uuid = uuid_of(0xc1),
        .witness_uuid = uuid_of(0xe1),
        .term = 42,
        .leader = uuid_of(1),
        .nonce = uuid_of(0x9a),
        .forced = true,
        .n_members = n_members,
    };
    for (size_t i = 0; i < n_members; i++)
        r.members[i] = uuid_of((uint8_t)(i + 1));
    return r;
}

static const char text_of_two[] =
    "sequence 17\n"
    "version 1\n"
    "cluster c1c1c1c1-c1c1-c1c1-c1c1-c1c1c1c1c1c1\n"
    "witness e1e1e1e1-e1e1-e1e1-e1e1-e1e1e1e1e1e1\n"
    "term 42\n"
    "leader 01010101-0101-0101-0101-010101010101\n"
    "nonce 9a9a9a9a-9a9a-9a9a-9a9a-9a9a9a9a9a9a\n"
    "forced yes\n"
    "members 2 01010101-0101-0101-0101-010101010101 02020202-0202-0202-0202-020202020202\n";

static int decode(const char *text, struct witness_record *ret)
{
    return witness_record_decode((struct slice){(const uint8_t *)text, strlen(text)}, ret);
}

static void assert_same(const struct witness_record *a, const struct witness_record *b)
{
    struct witness_bytes x = witness_record_encode(a), y = witness_record_encode(b);
    assert_string_equal(x.s, y.s);
}

static void test_the_form_is_what_the_header_says(void **state)
{
    (void)state;
    struct witness_record r = some_record(2);
    struct witness_bytes b = witness_record_encode(&r);
    assert_string_equal(b.s, text_of_two);
    assert_int_equal(b.len, strlen(text_of_two));
}

static void test_what_is_encoded_is_decoded(void **state)
{
    (void)state;
    for (size_t n = 0; n <= WITNESS_MEMBERS_MAX; n++) {
        struct witness_record r = some_record(n), got = {0};
        r.forced = n % 2 == 0;
        struct witness_bytes b = witness_record_encode(&r);
        assert_int_equal(witness_record_decode((struct slice){(uint8_t *)b.s, b.len}, &got), 0);
        assert_same(&got, &r);
        assert_memory_equal(got.members, r.members, sizeof(r.members));
        assert_int_equal(got.n_members, n);
        assert_int_equal(got.forced, r.forced);
    }
}

/* The largest record of all fits, with all numbers at their widest. */
static void test_the_largest_fits(void **state)
{
    (void)state;
    struct witness_record r = some_record(WITNESS_MEMBERS_MAX), got;
    r.sequence = r.term = UINT64_MAX;
    struct witness_bytes b = witness_record_encode(&r);
    assert_in_range(b.len, 1, WITNESS_RECORD_MAX - 1);
    assert_int_equal(witness_record_decode((struct slice){(uint8_t *)b.s, b.len}, &got), 0);
    assert_true(got.sequence == UINT64_MAX && got.term == UINT64_MAX);
}

/* Cut anywhere, or with any one byte changed to something else that is no digit of a UUID or number, it is refused. */
static void test_cut_or_damaged_is_refused(void **state)
{
    (void)state;
    struct witness_record got = some_record(1), before = got;
    for (size_t n = 0; n < strlen(text_of_two); n++) {
        assert_int_equal(witness_record_decode((struct slice){(const uint8_t *)text_of_two, n}, &got), ERR_MALFORMED);
        char damaged[sizeof(text_of_two)];
        memcpy(damaged, text_of_two, sizeof(damaged));
        damaged[n] = damaged[n] == '#' ? '$' : '#';
        assert_int_equal(decode(damaged, &got), ERR_MALFORMED);
        damaged[n] = '\0';
        assert_int_equal(witness_record_decode((struct slice){(uint8_t *)damaged, sizeof(damaged) - 1}, &got),
                         ERR_MALFORMED);
    }
    assert_memory_equal(&got, &before, sizeof(got)); /* untouched on failure */
}

/* text_of_two with `from` replaced by `to`. */
static int decode_with(const char *from, const char *to)
{
    char text[2048];
    struct witness_record got;
    const char *at = strstr(text_of_two, from);
    assert_non_null(at);
    snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - text_of_two), text_of_two, to, at + strlen(from));
    return decode(text, &got);
}

static void test_other_forms_are_refused(void **state)
{
    (void)state;
    assert_int_equal(decode_with("sequence 17", "sequence 18"), 0); /* the tool works */
    assert_int_equal(decode_with("sequence 17", "sequence 0"), ERR_MALFORMED);
    assert_int_equal(decode_with("sequence 17", "sequence 017"), ERR_MALFORMED);
    assert_int_equal(decode_with("sequence 17", "sequence +17"), ERR_MALFORMED);
    assert_int_equal(decode_with("sequence 17", "sequence -17"), ERR_MALFORMED);
    assert_int_equal(decode_with("sequence 17", "sequence  17"), ERR_MALFORMED);
    assert_int_equal(decode_with("sequence 17", " sequence 17"), ERR_MALFORMED);
    assert_int_equal(decode_with("sequence 17\n", "sequence 17\r\n"), ERR_MALFORMED);
    assert_int_equal(decode_with("sequence 17", "sequence 18446744073709551615"), 0);
    assert_int_equal(decode_with("sequence 17", "sequence 18446744073709551616"), ERR_MALFORMED);
    assert_int_equal(decode_with("sequence 17", "sequence 99999999999999999999"), ERR_MALFORMED);
    assert_int_equal(decode_with("cluster c1", "cluster C1"), ERR_MALFORMED);
    assert_int_equal(decode_with("forced yes", "forced true"), ERR_MALFORMED);
    assert_int_equal(decode_with("forced yes\n", ""), ERR_MALFORMED);
    assert_int_equal(decode_with("members 2", "members 1"), ERR_MALFORMED);
    assert_int_equal(decode_with("members 2", "members 3"), ERR_MALFORMED);
    assert_int_equal(decode_with("members 2", "members 21"), ERR_MALFORMED);
    assert_int_equal(decode_with("020202020202\n", "020202020202"), ERR_MALFORMED);
    assert_int_equal(decode_with("020202020202\n", "020202020202\n\n"), ERR_MALFORMED);
    assert_int_equal(decode_with("version 1", "version 0"), ERR_MALFORMED);
}

/* A newer format is told apart from garbage, whatever follows its version. */
static void test_a_newer_format_is_known_as_such(void **state)
{
    (void)state;
    struct witness_record got;
    assert_int_equal(decode_with("version 1", "version 2"), ERR_UNKNOWN_KIND);
    assert_int_equal(decode("sequence 9\nversion 4294967297\nall is new", &got), ERR_UNKNOWN_KIND);
}

static void test_too_long_is_refused(void **state)
{
    (void)state;
    struct witness_record got;
    char text[WITNESS_RECORD_MAX + 1];
    memset(text, 'x', sizeof(text));
    memcpy(text, "sequence 9\nversion 2\n", 21);
    assert_int_equal(witness_record_decode((struct slice){(uint8_t *)text, WITNESS_RECORD_MAX - 1}, &got),
                     ERR_UNKNOWN_KIND);
    assert_int_equal(witness_record_decode((struct slice){(uint8_t *)text, WITNESS_RECORD_MAX}, &got), ERR_MALFORMED);
}

static enum witness_cause read_as(const struct witness_record *r, const struct witness_call *call,
                                  struct witness_record *ret)
{
    struct witness_bytes b = witness_record_encode(r);
    return witness_record_read((struct slice){(uint8_t *)b.s, b.len}, call, ret);
}

static void test_whose_it_has_to_be(void **state)
{
    (void)state;
    struct witness_record r = some_record(2), got = {0}, none = {0};
    struct witness_call call = {.op = WITNESS_GET};
    assert_int_equal(read_as(&r, &call, &got), WITNESS_CAUSE_NONE); /* nil: anybody's */
    assert_same(&got, &r);
    call.cluster_uuid = r.cluster_uuid;
    call.witness_uuid = r.witness_uuid;
    call.sequence_min = r.sequence;
    assert_int_equal(read_as(&r, &call, &got), WITNESS_CAUSE_NONE);
    call.sequence_min = r.sequence + 1;
    got = none;
    assert_int_equal(read_as(&r, &call, &got), WITNESS_CAUSE_REGRESSED);
    assert_same(&got, &r); /* to be shown */
    got = none;
    call.witness_uuid = uuid_of(5);
    assert_int_equal(read_as(&r, &call, &got), WITNESS_CAUSE_FOREIGN);
    call.witness_uuid = r.witness_uuid;
    call.cluster_uuid = uuid_of(5);
    assert_int_equal(read_as(&r, &call, &got), WITNESS_CAUSE_FOREIGN);
    assert_int_equal(witness_record_read((struct slice){(const uint8_t *)"<html>", 6}, &call, &got),
                     WITNESS_CAUSE_FOREIGN);
    assert_int_equal(witness_record_read((struct slice){(const uint8_t *)"sequence 1\nversion 2\n", 21}, &call, &got),
                     WITNESS_CAUSE_NEWER);
    assert_memory_equal(&got, &none, sizeof(got));
}

static void test_what_surely_was_not_written(void **state)
{
    (void)state;
    assert_false(witness_surely_not_written(WITNESS_DONE));
    assert_false(witness_surely_not_written(WITNESS_UNKNOWN));
    assert_true(witness_surely_not_written(WITNESS_LOST));
    assert_true(witness_surely_not_written(WITNESS_EXISTS));
    assert_true(witness_surely_not_written(WITNESS_MISSING));
    assert_true(witness_surely_not_written(WITNESS_REFUSED));
    assert_true(witness_surely_not_written(WITNESS_UNREACHABLE));
}

/* Every cause has a name of its own, a sentence and a mend, whole and filled in. */
static void test_every_cause_says_what_and_how_to_mend(void **state)
{
    (void)state;
    const struct witness_place place = {"acc.blob.core.windows.net", "acc", "ringmaster-witness",
                                        "c1c1c1c1-c1c1-c1c1-c1c1-c1c1c1c1c1c1", "/srv/witness"};
    for (enum witness_cause c = WITNESS_CAUSE_DNS; c < WITNESS_CAUSE_MAX; c++) {
        struct error e;
        witness_explain(WITNESS_REFUSED, c, &place, "detail", &e);
        assert_int_equal(e.code, ERR_CONDITION);
        assert_true(strlen(e.text) > 20 && strlen(e.text) < ERROR_TEXT_MAX - 1);
        assert_true(strlen(e.remedy) > 10 && strlen(e.remedy) < ERROR_REMEDY_MAX - 1);
        assert_null(strpbrk(e.text, "{}\n"));
        assert_null(strpbrk(e.remedy, "{}\n"));
        assert_non_null(strstr(e.text, " (detail)"));
        for (enum witness_cause other = WITNESS_CAUSE_NONE; other < c; other++)
            assert_string_not_equal(witness_cause_name(c), witness_cause_name(other));
    }
    struct error e;
    witness_explain(WITNESS_UNREACHABLE, WITNESS_CAUSE_DNS, &place, NULL, &e);
    assert_int_equal(e.code, ERR_AGAIN);
    assert_string_equal(e.text,
                        "the name acc.blob.core.windows.net does not resolve: there is no such storage account, "
                        "or this node's DNS does not work");
    assert_string_equal(e.remedy, "check the account's name, then: getent ahosts acc.blob.core.windows.net");
    witness_explain(WITNESS_UNKNOWN, WITNESS_CAUSE_TIMEOUT, &place, NULL, &e);
    assert_int_equal(e.code, ERR_TIMEOUT);
    witness_explain(WITNESS_DONE, WITNESS_CAUSE_NONE, &place, NULL, &e);
    assert_int_equal(e.code, 0);
}

static void test_the_remedy_names_the_port(void **state)
{
    (void)state;
    static const struct {
        const char *host, *wanted;
    } table[] = {
        {"acc.blob.core.windows.net", "let this node reach port 443 of acc.blob.core.windows.net (firewall"},
        {"arbiter:10000", "let this node reach port 10000 of arbiter (firewall"},
        {"[fd00::1]:10000", "let this node reach port 10000 of [fd00::1] (firewall"},
        {"[fd00::1]", "let this node reach port 443 of [fd00::1] (firewall"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const struct witness_place place = {.host = table[i].host};
        struct error e;
        witness_explain(WITNESS_UNREACHABLE, WITNESS_CAUSE_CONNECT, &place, NULL, &e);
        assert_ptr_equal(strstr(e.remedy, table[i].wanted), e.remedy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_form_is_what_the_header_says),
        cmocka_unit_test(test_what_is_encoded_is_decoded),
        cmocka_unit_test(test_the_largest_fits),
        cmocka_unit_test(test_cut_or_damaged_is_refused),
        cmocka_unit_test(test_other_forms_are_refused),
        cmocka_unit_test(test_a_newer_format_is_known_as_such),
        cmocka_unit_test(test_too_long_is_refused),
        cmocka_unit_test(test_whose_it_has_to_be),
        cmocka_unit_test(test_what_surely_was_not_written),
        cmocka_unit_test(test_every_cause_says_what_and_how_to_mend),
        cmocka_unit_test(test_the_remedy_names_the_port),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
