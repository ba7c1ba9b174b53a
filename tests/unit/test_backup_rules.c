/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which engine, what of the disk is read, which points are kept. */
#include "tests/unit/unit.h"

#include "backup/chain.h"
#include "backup/engine.h"
#include "backup/extents.h"
#include "backup/manifest.h"
#include "backup/retention.h"
#include "common/prng.h"

static void expect(struct engine_facts f, const char *engine, const char *reason)
{
    struct engine_choice c = engine_choose(&f);
    assert_string_equal(c.engine->name, engine);
    assert_string_equal(c.reason, reason);
}

static void test_engine(void **state)
{
    (void)state;
    struct engine_facts good = {
        .has_reference = true, .disk_bytes = 512, .reference_bytes = 512, .bitmap = BITMAP_GOOD};
    expect(good, "bitmap", "");
    struct engine_facts f = good;
    f.bitmap = BITMAP_INCONSISTENT;
    expect(f, "rescan", "bitmap inconsistent after a crash");
    f.bitmap = BITMAP_MISSING;
    expect(f, "rescan", "bitmap missing");
    f.bitmap = BITMAP_NONE;
    expect(f, "rescan", "no bitmap");
    f.bitmap = BITMAP_OFF;
    expect(f, "rescan", "the virtual machine is off");
    f.bitmap = BITMAP_FOREIGN;
    expect(f, "rescan", "the bitmap began at a point that the repository does not have");
    f = good;
    f.asked_rescan = true;
    expect(f, "rescan", "asked for");
    f = good;
    f.has_reference = false;
    expect(f, "full", "no reference");
    f = good;
    f.reference_is_damaged = true;
    expect(f, "full", "the reference point is damaged");
    f = good;
    f.reference_bytes = 1024;
    expect(f, "full", "the disk was resized from 1024 to 512 bytes");
    f.disk_bytes = 2048;
    expect(f, "full", "the disk was resized from 1024 to 2048 bytes");
    f = good;
    f.asked_full = true;
    expect(f, "full", "asked for");
    assert_non_null(engine_by_name("rescan"));
    assert_null(engine_by_name("tracker"));
}

static void test_chain(void **state)
{
    (void)state;
    enum { MAX = CHAIN_MAX };
    struct chain_image *images = xcalloc(MAX, sizeof(*images));
    char why_not[CHAIN_REASON_MAX] = "";
    for (uint32_t i = 0; i < MAX; i++)
        images[i] = (struct chain_image){.sequence = 2 * i + 2, .base = 2 * i}; /* the numbers between were pruned */
    assert_true(chain_can_carry(images, MAX, images[0].sequence, why_not));
    assert_true(chain_can_carry(images, MAX, images[MAX - 2].sequence, why_not));
    assert_string_equal(why_not, "");
    assert_false(chain_can_carry(images, MAX, images[MAX - 1].sequence, why_not));
    assert_string_equal(why_not, "199 images lie behind each other, and no more may");
    images[5].damaged = true;
    assert_false(chain_can_carry(images, MAX, images[8].sequence, why_not));
    assert_string_equal(why_not, "point 12, on which it would stand, is damaged");
    assert_true(chain_can_carry(images, MAX, images[4].sequence, why_not));
    images[6].base = 0; /* a full: what is older is not behind it */
    assert_true(chain_can_carry(images, MAX, images[8].sequence, why_not));
    images[7].base = 13;
    assert_false(chain_can_carry(images, MAX, images[8].sequence, why_not));
    assert_string_equal(why_not, "point 13, on which it would stand, is not there");
    assert_false(chain_can_carry(NULL, 0, 1, why_not));
    struct engine_facts f = {.has_reference = true, .disk_bytes = 512, .reference_bytes = 512, .bitmap = BITMAP_GOOD};
    f.cannot_carry = why_not;
    expect(f, "full", "point 1, on which it would stand, is not there");
    free(images);
}

enum { B = MANIFEST_BLOCK };

static void test_plan(void **state)
{
    (void)state;
    struct extents zeros = {0}, clean = {0};
    uint8_t plan[4];
    uint64_t disk = 3 * B + 512;
    extents_plan(&zeros, &clean, 0, 4, disk, plan); /* nothing is known: everything is read */
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(plan[i], PLAN_READ);
    extents_add(&zeros, 0, B - 1);
    extents_add(&zeros, 2 * B, B + 512); /* to the disk's end, inside of a block */
    extents_add(&clean, 0, 2 * B - 1);
    extents_add(&clean, 3 * B, 512);
    extents_plan(&zeros, &clean, 0, 4, disk, plan);
    assert_int_equal(plan[0], PLAN_KEEP);
    assert_int_equal(plan[1], PLAN_READ); /* its last byte is dirty */
    assert_int_equal(plan[2], PLAN_ZERO); /* dirty, and a hole */
    assert_int_equal(plan[3], PLAN_KEEP);
    extents_plan(&zeros, NULL, 0, 4, disk, plan);
    assert_int_equal(plan[0], PLAN_READ); /* not all of it is zeros */
    assert_int_equal(plan[3], PLAN_ZERO);
    extents_plan(&zeros, &clean, 2 * B, 2, disk, plan);
    assert_int_equal(plan[0], PLAN_ZERO);
    assert_int_equal(plan[1], PLAN_KEEP);
    extents_done(&zeros);
    extents_done(&clean);
}

/* Beside a reference that looks at every byte (a unit of 512). */
static void test_plan_random(void **state)
{
    (void)state;
    enum { UNITS = 6 * B / 512 };
    struct prng r = prng_new(7);
    for (int round = 0; round < 300; round++) {
        bool zero[UNITS] = {0}, same[UNITS] = {0};
        struct extents zeros = {0}, clean = {0};
        uint32_t n_units = 1 + (uint32_t)prng_below(&r, UNITS);
        for (uint32_t at = 0; at < n_units;) {
            uint32_t n = 1 + (uint32_t)prng_below(&r, 200);
            bool z = prng_below(&r, 2), s = prng_below(&r, 2);
            n = n < n_units - at ? n : n_units - at;
            for (uint32_t i = at; i < at + n; i++) {
                zero[i] = z;
                same[i] = s;
            }
            if (z)
                extents_add(&zeros, at * 512ull, n * 512ull);
            if (s)
                extents_add(&clean, at * 512ull, n * 512ull);
            at += n;
        }
        uint64_t disk = n_units * 512ull;
        uint32_t blocks = (uint32_t)manifest_blocks(disk);
        uint8_t plan[6];
        extents_plan(&zeros, &clean, 0, blocks, disk, plan);
        for (uint32_t b = 0; b < blocks; b++) {
            bool all_zero = true, all_same = true;
            for (uint32_t i = b * (B / 512); i < (b + 1) * (B / 512) && i < n_units; i++) {
                all_zero &= zero[i];
                all_same &= same[i];
            }
            assert_int_equal(plan[b], all_same ? PLAN_KEEP : all_zero ? PLAN_ZERO : PLAN_READ);
        }
        extents_done(&zeros);
        extents_done(&clean);
    }
}

enum { DAY = 86400000 };

/* Points of one disk, point i on bases[i]. */
static void points_of(const uint32_t *bases, size_t n, struct retention_point *ret)
{
    for (uint32_t i = 0; i < n; i++)
        ret[i] = (struct retention_point){i + 1, &bases[i], 1, (int64_t)i * DAY};
}

static void test_retention_chain(void **state)
{
    (void)state;
    uint32_t bases[5] = {0, 1, 2, 3, 4}; /* each on the one before */
    struct retention_point p[5];
    struct retention_verdict v[5];
    points_of(bases, 5, p);
    retention_plan(&(struct retention_rule){0}, p, 5, v);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(v[i].action, RETENTION_KEEP);
    retention_plan(&(struct retention_rule){.last = 2}, p, 5, v);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(v[i].action, RETENTION_NEEDED);
    assert_int_equal(v[2].other, 4);
    retention_plan(&(struct retention_rule){.last = 2, .fold = true}, p, 5, v);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(v[i].action, RETENTION_FOLD);
        assert_int_equal(v[i].other, i + 2);
    }
    bases[3] = 0; /* a new full: the first three are needed by nobody */
    retention_plan(&(struct retention_rule){.last = 2, .fold = true}, p, 5, v);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(v[i].action, RETENTION_DELETE);
    bases[3] = bases[4] = 1; /* two stand on the first: it cannot be folded */
    retention_plan(&(struct retention_rule){.last = 2, .fold = true}, p, 5, v);
    assert_int_equal(v[0].action, RETENTION_NEEDED);
    assert_int_equal(v[1].action, RETENTION_DELETE);
}

/* The fold of point 2 into point 3 was interrupted between their disks. */
static void test_retention_text(void **state)
{
    (void)state;
    static const char *const bad[] = {"",        "last",      "last=",      "last=0",  "last=10000", "last=1,",
                                      "Last=1",  "last=1 ",   "last=+1",    "hours=1", "=1",         "last=1;daily=1",
                                      "last=-1", "last=1,,daily=1", "last=1,last=2", "last=99999999999"};
    struct retention_rule r = {0};
    assert_int_equal(retention_parse("last=48,daily=7,weekly=4,monthly=12,yearly=9999", &r, NULL), 0);
    assert_int_equal(r.last, 48);
    assert_int_equal(r.daily, 7);
    assert_int_equal(r.weekly, 4);
    assert_int_equal(r.monthly, 12);
    assert_int_equal(r.yearly, 9999);
    assert_true(r.fold);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error e = {0};
        if (retention_parse(bad[i], &r, &e) != ERR_USAGE || !e.text[0])
            fail_msg("'%s' is taken", bad[i]);
    }
    assert_int_equal(r.last, 48); /* untouched */
}

static void test_retention_of_two_disks(void **state)
{
    (void)state;
    static const uint32_t none[2], on_1[2] = {1, 1}, orders[2][2] = {{1, 2}, {2, 1}};
    struct retention_verdict v[3];
    for (size_t i = 0; i < 2; i++) {
        struct retention_point p[3] = {{1, none, 2, 0}, {2, on_1, 2, 0}, {3, orders[i], 2, 0}};
        retention_plan(&(struct retention_rule){.last = 1, .fold = true}, p, 3, v);
        assert_int_equal(v[1].action, RETENTION_FOLD);
        assert_int_equal(v[1].other, 3);
        assert_int_equal(v[0].action, RETENTION_NEEDED); /* folded into point 2 it would be lost to point 3 */
        assert_int_equal(v[0].other, 3);
        p[1].bases = none;
        retention_plan(&(struct retention_rule){.last = 1}, p, 3, v);
        assert_int_equal(v[0].action, RETENTION_NEEDED);
        assert_int_equal(v[1].action, RETENTION_NEEDED);
    }
}

static void test_retention_periods(void **state)
{
    (void)state;
    enum { N = 400 };
    struct retention_point p[N];
    struct retention_verdict v[N];
    for (uint32_t i = 0; i < N; i++) /* two a day, from Thursday 1 January 1970 */
        p[i] = (struct retention_point){i + 1, NULL, 0, (int64_t)i * DAY / 2};
    struct retention_rule rule = {.daily = 7, .weekly = 4, .monthly = 3};
    retention_plan(&rule, p, N, v);
    size_t kept = 0;
    for (size_t i = 0; i < N; i++)
        kept += v[i].action == RETENTION_KEEP;
    /* Day 199 is a Sunday, 19 July: days 193…199, Sundays 192, 185, 178, and 30 June, 31 May. */
    assert_int_equal(kept, 7 + 3 + 2);
    assert_int_equal(v[2 * 199 + 1].action, RETENTION_KEEP);
    assert_int_equal(v[2 * 199].action, RETENTION_DELETE);
    assert_int_equal(v[2 * 192 + 1].action, RETENTION_KEEP);
    assert_int_equal(v[2 * 180 + 1].action, RETENTION_KEEP);
    assert_int_equal(v[2 * 150 + 1].action, RETENTION_KEEP);
}

/* Whatever the rule: what a disk of a point that stays stands on stays, or is folded into that point alone. */
static void test_retention_never_breaks(void **state)
{
    (void)state;
    struct prng r = prng_new(11);
    for (int round = 0; round < 2000; round++) {
        struct retention_point p[12];
        struct retention_verdict v[12];
        uint32_t bases[12][3];
        size_t n = 1 + prng_below(&r, 12);
        for (uint32_t i = 0; i < n; i++) {
            for (size_t d = 0; d < 3; d++)
                bases[i][d] = (uint32_t)prng_below(&r, i + 1);
            p[i] = (struct retention_point){i + 1, bases[i], 1 + prng_below(&r, 3), (int64_t)i * DAY};
        }
        struct retention_rule rule = {.last = 1 + (uint32_t)prng_below(&r, 4), .fold = prng_below(&r, 2)};
        retention_plan(&rule, p, n, v);
        assert_int_equal(v[n - 1].action, RETENTION_KEEP);
        for (size_t i = 0; i < n; i++) {
            for (size_t d = 0; d < p[i].n_bases && v[i].action != RETENTION_DELETE; d++) {
                if (bases[i][d] == 0)
                    continue;
                const struct retention_verdict *below = &v[bases[i][d] - 1];
                assert_int_not_equal(below->action, RETENTION_DELETE);
                if (below->action == RETENTION_FOLD)
                    assert_int_equal(below->other, i + 1);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_engine),
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_plan_random),
        cmocka_unit_test(test_retention_chain),
        cmocka_unit_test(test_retention_text),
        cmocka_unit_test(test_retention_of_two_disks),
        cmocka_unit_test(test_retention_periods),
        cmocka_unit_test(test_retention_never_breaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
