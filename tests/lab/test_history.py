#!/usr/bin/python3
"""The checker must tell good histories from bad ones: some by hand, and many at
random beside a judge that tries every order. Needs neither root nor a lab."""

import itertools
import os
import random
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from rmlab import history  # noqa: E402
from rmlab.history import Malformed, Operation, READ, WRITE  # noqa: E402


def w(value, call, ret, key="k"):
    return Operation(WRITE, key, value, call, ret, "c")


def r(value, call, ret, key="k", after=None):
    return Operation(READ, key, value, call, ret, "c", after)


def is_good(*operations):
    return history.fault_of(list(operations), "0") is None


def is_good_by_force(operations):
    """Every subset of the unknown writes, in every order."""
    known = [o for o in operations if o.ret is not None]
    unknown = [o for o in operations if o.ret is None]
    for count in range(len(unknown) + 1):
        for taken in itertools.combinations(unknown, count):
            if any(explains(order) for order in itertools.permutations([*known, *taken])):
                return True
    return False


def explains(order):
    value = "0"
    for i, o in enumerate(order):
        if any(later.ret is not None and later.ret < o.call for later in order[i + 1:]):
            return False
        if o.kind == READ and o.value != value:
            return False
        if o.after is not None and o.after not in [earlier.value for earlier in order[:i] if earlier.kind == WRITE]:
            return False
        value = o.value if o.kind == WRITE else value
    return True


class Good(unittest.TestCase):
    def test_nothing(self):
        self.assertTrue(is_good())

    def test_one_after_the_other(self):
        self.assertTrue(is_good(r("0", 0, 1), w("a", 2, 3), r("a", 4, 5), w("b", 6, 7), r("b", 8, 9)))

    def test_reads_beside_a_write_see_old_or_new(self):
        self.assertTrue(is_good(w("a", 0, 10), r("0", 1, 2), r("a", 3, 4), r("a", 5, 6)))

    def test_overlapping_writes_have_either_order(self):
        self.assertTrue(is_good(w("a", 0, 10), w("b", 1, 9), r("a", 11, 12)))
        self.assertTrue(is_good(w("a", 0, 10), w("b", 1, 9), r("b", 11, 12)))

    def test_an_unknown_write_may_have_no_effect_or_a_late_one(self):
        self.assertTrue(is_good(w("a", 0, None), r("0", 5, 6)))
        self.assertTrue(is_good(w("a", 0, None), r("0", 5, 6), w("b", 7, 8), r("b", 9, 10), r("a", 11, 12)))

    def test_calls_at_the_moment_of_a_return_overlap_it(self):
        self.assertTrue(is_good(w("a", 0, 5), r("0", 5, 6)))

    def test_a_choice_that_was_wrong_is_undone(self):
        self.assertTrue(is_good(w("a", 0, 20), w("b", 1, 21), r("b", 2, 3), r("a", 4, 5), r("a", 22, 23)))

    def test_a_long_one_is_quick(self):
        ops, now = [], 0
        for i in range(3000):
            ops += [w(f"a{i}", now, now + 9), w(f"b{i}", now + 1, now + 8), w(f"c{i}", now + 1, None),
                    r(f"b{i}", now + 10, now + 14), r(f"b{i}", now + 11, now + 13)]
            now += 15
        self.assertTrue(is_good(*ops))


class Bad(unittest.TestCase):
    def assertBad(self, *operations):
        self.assertIsNotNone(history.fault_of(list(operations), "0"))

    def test_a_lost_write(self):
        self.assertBad(w("a", 0, 1), r("0", 2, 3))
        self.assertBad(w("a", 0, 1), w("b", 2, 3), r("a", 4, 5))

    def test_a_value_that_nobody_wrote(self):
        self.assertBad(w("a", 0, 1), r("b", 2, 3))

    def test_a_read_of_the_future(self):
        self.assertBad(r("a", 0, 1), w("a", 2, 3))
        self.assertBad(r("a", 0, 1), w("a", 2, None))

    def test_new_then_old(self):
        self.assertBad(w("a", 0, 10), r("a", 1, 2), r("0", 3, 4))

    def test_a_client_that_does_not_see_its_own_write(self):
        self.assertBad(w("a", 0, 5), r("0", 0, 9, after="a"))
        self.assertTrue(is_good(w("a", 0, 5), r("0", 0, 9)))
        self.assertTrue(is_good(w("a", 0, 5), r("a", 0, 9, after="a")))

    def test_two_readers_see_two_orders(self):
        self.assertBad(w("a", 0, 10), w("b", 0, 10), r("a", 11, 12), r("b", 13, 14))

    def test_an_unknown_write_happens_once(self):
        self.assertBad(w("a", 0, None), r("a", 1, 2), w("b", 3, 4), r("a", 5, 6))

    def test_two_halves(self):
        """What a split brain looks like: either half reads its own."""
        self.assertBad(w("a", 0, 1), w("b", 0, 1), r("a", 2, 3), r("b", 2, 3), r("a", 4, 5))

    def test_one_register_of_two(self):
        found = history.faults([w("a", 0, 1, "x"), r("a", 2, 3, "x"), w("b", 0, 1, "y"), r("0", 2, 3, "y")],
                               {"x": "0", "y": "0"})
        self.assertEqual(len(found), 1)
        self.assertTrue(found[0].startswith("y: "))

    def test_the_text_names_what_is_stuck(self):
        self.assertIn("nobody wrote", history.fault_of([w("a", 0, 1), r("b", 2, 3)], "0"))
        self.assertIn("read k '0'", history.fault_of([w("a", 0, 1), r("0", 2, 3)], "0"))


class NoHistory(unittest.TestCase):
    def test_is_refused(self):
        for operations in ([w("a", 0, 1), w("a", 2, 3)], [w("0", 0, 1)], [r("0", 0, None)], [w("a", 2, 1)],
                           [w("a", 0, None), r("a", 1, 2, after="a")], [r("0", 1, 2, after="a")]):
            with self.assertRaises(Malformed):
                history.fault_of(operations, "0")


class Random(unittest.TestCase):
    def test_agrees_with_the_judge_that_tries_all(self):
        good = bad = 0
        for seed in range(1500):
            operations = self.made_up(random.Random(seed))
            wanted = is_good_by_force(operations)
            self.assertEqual(is_good(*operations), wanted, "\n".join(map(str, operations)))
            good, bad = good + wanted, bad + (not wanted)
        self.assertGreater(min(good, bad), 200)

    def made_up(self, rng):
        operations = []
        for i in range(rng.randint(2, 6)):
            call = rng.randint(0, 12)
            ret = call + rng.randint(0, 6)
            if rng.random() < 0.5:
                operations.append(w(str(i + 1), call, None if rng.random() < 0.3 else ret))
            else:
                values = ["0"] + [o.value for o in operations if o.kind == WRITE]
                sure = [None] + [o.value for o in operations if o.kind == WRITE and o.ret is not None]
                operations.append(r(rng.choice(values), call, ret, after=rng.choice(sure)))
        return operations


if __name__ == "__main__":
    unittest.main(verbosity=0)
