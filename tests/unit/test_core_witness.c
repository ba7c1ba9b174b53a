/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Setting, changing, removing and watching the witness, in one core; and the database's call in the port's words. */
#include "tests/unit/one_core.h"

#define SET_FILE  "{'kind':'file','path':'/srv/witness'}"
#define SET_OTHER "{'kind':'file','path':'/srv/other'}"
#define SET_AZURE "{'kind':'azure','account':'acct','container':'box','credentials':'KEY1 of the account'}"
#define SET_AGAIN "{'kind':'azure','account':'acct','container':'box','credentials':'KEY2 of the account'}"

static struct uuid named(struct one *o)
{
    return db_configuration(core_db(o->core))->witness;
}

static const struct tables *tables_of(struct one *o)
{
    return db_tables(core_db(o->core));
}

static void assert_same(struct uuid a, struct uuid b)
{
    assert_string_equal(uuid_str(&a).s, uuid_str(&b).s);
}

static void test_set_creates_once_and_names(void **state)
{
    struct one *o = *state;
    one_ask(o, 0, "witness.set", SET_FILE);
    one_run(o, 2000);
    assert_int_equal(o->record.sequence > 0, 1);
    assert_same(named(o), o->record.witness_uuid);
    assert_same(witness_wanted(tables_of(o)), o->record.witness_uuid);
    assert_same(o->record.cluster_uuid, one_uuid(1));
    const struct json *w = json_get(one_ask(o, 0, "status", "{}"), "witness");
    assert_string_equal(json_get_str(w, "place", ""), "folder /srv/witness");
    assert_true(json_get_bool(w, "reachable", false));
    assert_int_equal(json_get_int(w, "sequence", 0), o->record.sequence);
}

static void test_secret_is_kept_sealed_alone(void **state)
{
    struct one *o = *state;
    uint64_t client = one_send(o, "witness.set", SET_AZURE);
    assert_string_equal(o->asked_text, "KEY1 of the account");
    one_run(o, 2000);
    AUTO(freep) char *answer = json_dump(one_answer(o, client));
    assert_null(strstr(answer, "KEY1"));
    struct slice sealed = witness_sealed_get(tables_of(o), &o->record.witness_uuid);
    assert_memory_equal(sealed.p, "sealed KEY1", sealed.len);
    const struct json *w = json_get(one_ask(o, 0, "witness.show", "{}"), "witness");
    assert_string_equal(json_get_str(w, "auth", ""), "keys");
    assert_int_equal(json_get_int(w, "keys", 0), 1);
    assert_string_equal(o->asked_sealed, "sealed KEY1"); /* the probe's */
    assert_string_equal(o->asked_text, "");
}

static void test_other_keys_keep_the_witness(void **state)
{
    struct one *o = *state;
    one_ask(o, 0, "witness.set", SET_AZURE);
    one_run(o, 2000);
    struct uuid first = named(o);
    one_ask(o, 0, "witness.set", SET_AGAIN);
    one_run(o, 2000);
    assert_same(named(o), first);
    assert_same(o->record.witness_uuid, first);
    struct slice sealed = witness_sealed_get(tables_of(o), &first);
    assert_memory_equal(sealed.p, "sealed KEY2", sealed.len);
}

static void test_another_place_replaces(void **state)
{
    struct one *o = *state;
    one_ask(o, 0, "witness.set", SET_AZURE);
    one_run(o, 2000);
    struct uuid first = named(o);
    o->record.sequence = 0; /* nothing is there */
    one_ask(o, 0, "witness.set", SET_FILE);
    one_run(o, 3000);
    assert_false(uuid_eq(&first, &o->record.witness_uuid));
    assert_same(named(o), o->record.witness_uuid);
    struct witness_site s;
    assert_int_equal(witness_site_get(tables_of(o), &first, &s), ERR_NOT_FOUND);
    assert_int_equal(witness_sealed_get(tables_of(o), &first).len, 0);
}

/* Two stores of one voter would give its vote twice. */
static void test_copy_elsewhere_is_refused(void **state)
{
    struct one *o = *state;
    one_ask(o, 0, "witness.set", SET_FILE);
    one_run(o, 2000);
    one_ask(o, 113, "witness.set", SET_OTHER);
    struct witness_site s;
    struct uuid wanted = witness_wanted(tables_of(o));
    assert_int_equal(witness_site_get(tables_of(o), &wanted, &s), 0);
    assert_string_equal(s.path, "/srv/witness");
}

static void test_rolled_back_is_not_taken_again(void **state)
{
    struct one *o = *state;
    one_ask(o, 0, "witness.set", SET_FILE);
    one_run(o, 2000);
    struct db_witness_view v;
    db_witness(core_db(o->core), &v);
    assert_true(v.seen > 1);
    o->record.sequence = 1;
    one_ask(o, 113, "witness.set", SET_FILE);
    o->record.sequence = v.seen;
    one_ask(o, 0, "witness.set", SET_FILE);
}

/* A record of a former witness, or of a set that was cut short. */
static void test_what_is_there_is_taken(void **state)
{
    struct one *o = *state;
    o->record = (struct witness_record){.sequence = 7, .cluster_uuid = one_uuid(1), .witness_uuid = one_uuid(77)};
    one_ask(o, 0, "witness.set", SET_AZURE);
    one_run(o, 2000);
    assert_same(named(o), one_uuid(77));
    assert_true(o->record.sequence >= 7);
}

static void test_refused_set_changes_nothing(void **state)
{
    struct one *o = *state;
    o->witness_says = WITNESS_REFUSED;
    o->witness_cause = WITNESS_CAUSE_KEY_WRONG;
    one_ask(o, 113, "witness.set", SET_AZURE);
    o->witness_says = WITNESS_UNREACHABLE;
    o->witness_cause = WITNESS_CAUSE_DNS;
    one_ask(o, 75, "witness.set", SET_AZURE);
    o->witness_says = WITNESS_UNKNOWN; /* of the GET after it as well */
    o->witness_cause = WITNESS_CAUSE_TIMEOUT;
    one_ask(o, 124, "witness.set", SET_AZURE);
    struct uuid wanted = witness_wanted(tables_of(o));
    assert_true(uuid_is_nil(&wanted));
    o->witness_says = 0;
    one_ask(o, 0, "witness.set", SET_AZURE);
}

static void test_one_set_at_a_time(void **state)
{
    struct one *o = *state;
    struct core_action a;
    o->witness_waits = true;
    uint64_t first = one_send(o, "witness.set", SET_FILE), second = one_send(o, "witness.set", SET_FILE);
    assert_int_equal(one_code(o, second), 75);
    one_step(o, (struct core_event){.type = EV_CLIENT_GONE, .client = first});
    o->witness_waits = false;
    one_must_take(o, ACT_WITNESS_ASK, &a);
    one_perform(o, &a);
    one_run(o, 2000);
    assert_int_equal(one_answers(o, first), 0);
    assert_same(named(o), o->record.witness_uuid);
}

static void test_wrong_arguments(void **state)
{
    struct one *o = *state;
    static const char *const wrong[] = {
        "{}",
        "{'kind':'tape'}",
        "{'kind':'file'}",
        "{'kind':'file','path':'srv/witness'}",
        "{'kind':'azure','account':'acct','container':'box'}",
        "{'kind':'azure','account':'Acct','container':'box','credentials':'k'}",
        "{'kind':'azure','account':'acct','container':'b--x','credentials':'k'}",
        "{'kind':'azure','account':'acct','container':'-box','credentials':'k'}",
        "{'kind':'azure','account':'acct','container':'box','ca_file':'ca.pem','credentials':'k'}",
        "{'kind':'azure','account':'acct','container':'box','credentials':7}",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        one_ask(o, 64, "witness.set", wrong[i]);
    assert_int_equal(o->n_asked, 0);
}

static void test_remove_forgets(void **state)
{
    struct one *o = *state;
    one_ask(o, 0, "witness.set", SET_AZURE);
    one_run(o, 2000);
    struct uuid first = named(o);
    one_ask(o, 0, "witness.remove", "{}");
    one_run(o, 3000);
    struct uuid now = named(o);
    struct witness_site s;
    assert_true(uuid_is_nil(&now));
    assert_int_equal(witness_site_get(tables_of(o), &first, &s), ERR_NOT_FOUND);
    assert_int_equal(witness_sealed_get(tables_of(o), &first).len, 0);
    assert_int_equal(tables_count(tables_of(o), TABLE_WITNESS), 0);
    one_ask(o, 105, "witness.remove", "{}");
    assert_false(json_is_object(json_get(one_ask(o, 0, "status", "{}"), "witness")));
}

static void test_faults_are_found_and_mended_by_nobody(void **state)
{
    struct one *o = *state;
    one_ask(o, 0, "witness.set", SET_FILE);
    one_run(o, 2000);
    assert_null(one_finding(o, "WITNESS_UNREACHABLE"));
    o->witness_says = WITNESS_UNREACHABLE;
    o->witness_cause = WITNESS_CAUSE_DNS;
    one_run(o, 61000);
    const struct json *f = one_finding(o, "WITNESS_UNREACHABLE");
    assert_non_null(f);
    assert_non_null(strstr(json_get_str(f, "text", ""), "(dns)"));
    assert_non_null(strstr(json_get_str(f, "remedy", ""), "getent"));
    AUTO(freep) char *events = json_dump(one_ask(o, 0, "events", "{}"));
    assert_non_null(strstr(events, "witness: the name host does not resolve"));
    o->witness_says = 0;
    struct witness_record kept = o->record;
    o->record.sequence = 0;
    one_run(o, 16000);
    assert_non_null(one_finding(o, "WITNESS_MISSING"));
    one_run(o, 120000);
    assert_int_equal(o->record.sequence, 0); /* never made again by itself */
    o->record = kept;
    one_run(o, 16000);
    assert_null(one_finding(o, "WITNESS_MISSING"));
    AUTO(freep) char *later = json_dump(one_ask(o, 0, "events", "{}"));
    assert_non_null(strstr(later, "witness: answers again"));
}

/* An answer that is about the former witness says nothing of the present one. */
static void test_late_answer_of_another(void **state)
{
    struct one *o = *state;
    struct core_action a;
    one_ask(o, 0, "witness.set", SET_AZURE);
    one_run(o, 2000);
    o->witness_waits = true;
    one_run(o, 61000); /* a probe is under way */
    one_must_take(o, ACT_WITNESS_ASK, &a);
    o->witness_waits = false;
    o->record.sequence = 0;
    one_ask(o, 0, "witness.set", SET_FILE);
    one_run(o, 3000);
    o->witness_says = WITNESS_REFUSED;
    o->witness_cause = WITNESS_CAUSE_KEY_WRONG;
    one_perform(o, &a);
    o->witness_says = 0;
    assert_null(one_finding(o, "WITNESS_UNREACHABLE"));
    one_run(o, 61000);
    assert_true(json_get_bool(json_get(one_ask(o, 0, "status", "{}"), "witness"), "reachable", false));
}

/* What the probe hears is no reason for the database to do anything. */
static void test_probe_decides_nothing(void **state)
{
    struct one *o = *state;
    one_ask(o, 0, "witness.set", SET_FILE);
    one_run(o, 5000);
    unsigned calls = o->n_witness_calls, asked = o->n_asked;
    one_run(o, 180000);
    assert_true(o->n_asked >= asked + 3);
    assert_int_equal(o->n_witness_calls, calls);
    assert_int_equal(o->asked.op, WITNESS_PROBE);
}

static void test_call_in_words_and_back(void **state)
{
    (void)state;
    struct db_witness_call put = {.verb = DB_WITNESS_PUT, .etag = "e7", .tag = {.sequence = 8, .term = 3}};
    put.tag.n_members = 2;
    put.tag.members[1] = one_uuid(9);
    struct witness_call c = witness_call_of(&put, 700);
    assert_int_equal(c.op, WITNESS_PUT);
    assert_int_equal(c.timeout_ms, 700);
    assert_string_equal(c.etag.s, "e7");
    assert_int_equal(c.record.version, WITNESS_VERSION);
    struct witness_result r = {.op = WITNESS_GET, .outcome = WITNESS_DONE, .record = c.record, .etag = c.etag};
    struct db_witness_outcome o;
    witness_outcome_of(&r, &o);
    assert_int_equal(o.result, DB_WITNESS_DONE);
    assert_memory_equal(&o.tag, &put.tag, sizeof(o.tag));
    c = witness_call_of(&(struct db_witness_call){.verb = DB_WITNESS_GET}, 700);
    assert_int_equal(c.op, WITNESS_GET);
    assert_int_equal(c.sequence_min, 0); /* the database judges */
    assert_true(uuid_is_nil(&c.cluster_uuid) && uuid_is_nil(&c.witness_uuid));
}

/* Who may have been written is never said not to have been. */
static void test_every_outcome(void **state)
{
    (void)state;
    static const struct {
        enum witness_outcome said;
        enum db_witness_result heard;
    } rows[] = {
        {WITNESS_LOST, DB_WITNESS_LOST},       {WITNESS_EXISTS, DB_WITNESS_REFUSED},
        {WITNESS_MISSING, DB_WITNESS_MISSING}, {WITNESS_REFUSED, DB_WITNESS_REFUSED},
        {WITNESS_UNKNOWN, DB_WITNESS_UNKNOWN}, {WITNESS_UNREACHABLE, DB_WITNESS_UNREACHABLE},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct witness_result r = {.op = WITNESS_PUT, .outcome = rows[i].said, .error = {.text = "why"}};
        struct db_witness_outcome o;
        witness_outcome_of(&r, &o);
        assert_int_equal(o.result, rows[i].heard);
        assert_string_equal(o.text, "witness: why");
    }
    struct witness_result back = {.op = WITNESS_GET, .outcome = WITNESS_REFUSED, .cause = WITNESS_CAUSE_REGRESSED,
                                  .record = {.sequence = 2}};
    struct db_witness_outcome o;
    witness_outcome_of(&back, &o);
    assert_int_equal(o.result, DB_WITNESS_DONE);
    assert_int_equal(o.tag.sequence, 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, one_setup, one_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_set_creates_once_and_names),
        TEST(test_secret_is_kept_sealed_alone),
        TEST(test_other_keys_keep_the_witness),
        TEST(test_another_place_replaces),
        TEST(test_copy_elsewhere_is_refused),
        TEST(test_rolled_back_is_not_taken_again),
        TEST(test_what_is_there_is_taken),
        TEST(test_refused_set_changes_nothing),
        TEST(test_one_set_at_a_time),
        TEST(test_wrong_arguments),
        TEST(test_remove_forgets),
        TEST(test_faults_are_found_and_mended_by_nobody),
        TEST(test_late_answer_of_another),
        TEST(test_probe_decides_nothing),
        cmocka_unit_test(test_call_in_words_and_back),
        cmocka_unit_test(test_every_outcome),
    };
    return cmocka_run_group_tests_name("core witness", tests, NULL, NULL);
}
