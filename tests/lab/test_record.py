#!/usr/bin/python3
"""What a chaos run must notice, in made-up records. Needs neither root nor a lab."""

import os
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from rmlab import record  # noqa: E402
from rmlab.history import Malformed  # noqa: E402

NAMES = {"1": "n1", "2": "n2", "3": "n3"}


def judged(run="", **nodes):
    r = record.Record()
    record.read_run(r, "init 0 k=0\n" + run)
    for node, text in nodes.items():
        record.read_client(r, node, text, NAMES)
    return list(record.faults(r))


WRITES = "call 10 {0} 1 k {0}\ndone 20 {0} 1\nread 30 {0} 1 k={0}\n"
YES = "ring 5 1.1 1 2\nquorate 6 1\nring 10 {0}.4 {0}\nquorate {1} {2}\nquorate 50 {2}\n"


class Record(unittest.TestCase):
    def test_a_quiet_run(self):
        self.assertEqual(judged(n1=WRITES.format("a")), [])

    def test_half_a_line_at_the_end_is_none(self):
        self.assertEqual(judged(n1=WRITES.format("a") + "done 3"), [])

    def test_what_is_no_line(self):
        with self.assertRaises(Malformed):
            judged(n1="hello\n")

    def test_a_lost_write(self):
        found = judged(n1=WRITES.format("a"), n2="call 40 b 1 k b\ndone 50 b 1\nread 60 b 1 k=a\n")
        self.assertEqual(len(found), 1)
        self.assertIn("no order", found[0])

    def test_a_write_without_an_answer_may_be_read_later(self):
        self.assertEqual(judged(n1="call 10 a 1 k a\nlost 20 a 1 124\n",
                                n2="call 40 b 1 k b\ndone 50 b 1\nread 60 b 1 k=a\n"), [])


class Split(unittest.TestCase):
    RUN = "split 5 n1,n3 | n2\njoin 100\n"

    def test_one_side_commits(self):
        self.assertEqual(judged(self.RUN, n1=WRITES.format("a")), [])

    def test_both_commit(self):
        self.assertIn("both sides", judged(self.RUN, n1="call 10 a 1 k a\ndone 20 a 1\n",
                                           n2="call 10 b 1 k b\ndone 20 b 1\n")[0])

    def test_what_was_asked_before_or_answered_after_counts_for_nobody(self):
        for times in ((4, 20), (10, 101)):
            self.assertEqual(judged(self.RUN, n1="call 10 a 1 k a\ndone 20 a 1\n",
                                    n2="call {} b 1 k b\ndone {} b 1\n".format(*times)), [])


class Verdicts(unittest.TestCase):
    def setUp(self):
        """These records last for some ns."""
        self.brief, record.BRIEF_NS = record.BRIEF_NS, 0

    def tearDown(self):
        record.BRIEF_NS = self.brief

    def test_a_moment_is_no_second_half(self):
        record.BRIEF_NS = 37
        self.assertEqual(judged(n1=YES.format(1, 12, 1), n2=YES.format(2, 13, 1)), [])
        record.BRIEF_NS = 36
        self.assertEqual(len(judged(n1=YES.format(1, 12, 1), n2=YES.format(2, 13, 1))), 1)

    def test_one_half_is_quorate(self):
        self.assertEqual(judged(n1=YES.format(1, 12, 1), n2=YES.format(2, 12, 0)), [])

    def test_both_are(self):
        found = judged(n1=YES.format(1, 12, 1), n2=YES.format(2, 13, 1))
        self.assertEqual(len(found), 1)
        self.assertIn("on both", found[0])

    def test_the_old_ring_is_no_second_half(self):
        for said in (6, 15):
            self.assertEqual(judged(n1=YES.format(1, 12, 1), n2=f"ring 5 1.1 1 2\nquorate {said} 1\nquorate 50 1\n"), [])

    def test_a_ring_that_a_node_has_left_is_old(self):
        left, right = "ring 5 1.1 1 2\nquorate 6 1\nquorate 50 1\n", "ring 9 1.4 {} 3\nquorate 12 1\nquorate 50 1\n"
        self.assertEqual(judged(n2=left, n3=right.format(1)), [])
        self.assertEqual(len(judged(n2=left, n3=right.format("").replace("  ", " "))), 1)

    def test_a_ring_without_a_verdict_is_not_quorate(self):
        self.assertEqual(judged(n1=YES.format(1, 12, 1), n2="ring 5 1.1 1 2\nquorate 6 1\nring 10 2.4 2\nring 60 1.8 1 2\n"), [])

    def test_a_killed_agent_is_an_excuse_until_it_is_well(self):
        both = {"n1": YES.format(1, 12, 1), "n2": YES.format(2, 13, 1)}
        self.assertEqual(judged("hurt 8 n2\nwell 60 n2\n", **both), [])
        self.assertEqual(judged("hurt 8 n2\ncycle 70 1 x\n", **both), [])
        self.assertNotEqual(judged("hurt 8 n2\nwell 11 n2\n", **both), [])


if __name__ == "__main__":
    unittest.main(verbosity=0)
