#!/usr/bin/python3
"""The frame of the bench must not lie: planted values, failed measurements, missing peers."""

import io
import json
import os
import sys
import unittest
from contextlib import redirect_stderr, redirect_stdout
from unittest import mock

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import importlib.machinery  # noqa: E402
import importlib.util  # noqa: E402

from rmbench import agent_upgrade, failover, frame, output, peer_ring, quorum, upgrade_downtime  # noqa: E402
from rmbench.frame import Spec, Unmeasured, row_of  # noqa: E402
from rmbench.parts import measure_parts  # noqa: E402

FIELDS = {"name", "value", "unit", "peer", "peer_value", "ratio", "bound", "holds"}


def load_bench():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bench")
    loader = importlib.machinery.SourceFileLoader("bench_program", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("bench_program", loader))
    loader.exec_module(module)
    return module


class Group:
    def __init__(self, rows, measure):
        self.ROWS, self.measure = rows, measure


def spec(bound, peer=None, name="x", **more):
    return Spec(name, "ms", bound, "a planted row", peer=peer, **more)


class Medians(unittest.TestCase):
    def test_median_and_not_mean(self):
        self.assertEqual(row_of(spec("value < 10"), [1, 2, 3, 4, 900])["value"], 3)
        self.assertEqual(row_of(spec("value < 10"), [4, 1, 3, 2, 900, 2.5])["value"], 2.75)

    def test_too_few_rounds_are_no_measurement(self):
        row = row_of(spec("value < 10"), [1, 1, 1, 1])
        self.assertIs(row["holds"], False)
        self.assertIsNone(row["value"])
        self.assertIn("4 of 5", row["reason"])

    def test_what_is_no_number_is_no_measurement(self):
        for bad in (float("nan"), float("inf"), -1, None, "1", True):
            for bound in ("value < 10", None):
                row = row_of(spec(bound), [1, 1, bad, 1, 1])
                self.assertIs(row["holds"], False, bad)
                self.assertIsNone(row["value"], bad)


class Bounds(unittest.TestCase):
    def test_value(self):
        for bound, holds in (("value < 3", False), ("value < 3.1", True), ("value <= 3", True), ("value > 3", False),
                             ("value >= 3", True)):
            self.assertIs(row_of(spec(bound), [3] * 5)["holds"], holds, bound)

    def test_ratio_is_ours_by_theirs(self):
        for mine, theirs, holds in ((49, 100, False), (50, 100, True), (200, 100, True)):
            row = row_of(spec("ratio >= 0.5", peer="p"), [mine] * 5, [theirs] * 5)
            self.assertEqual((row["ratio"], row["holds"]), (mine / theirs, holds))

    def test_a_report_holds_only_when_it_was_measured(self):
        self.assertIs(row_of(spec(None), [1] * 5)["holds"], True)
        self.assertIs(row_of(spec(None), [])["holds"], False)

    def test_nonsense_is_refused(self):
        for bound in ("value", "size < 3", "value ~ 3", "value < fast", "value < 3 + fast"):
            with self.assertRaises(ValueError):
                spec(bound)
        with self.assertRaises(ValueError):
            spec("value < 3", of="best")

    def test_a_bound_of_terms_is_computed_from_what_was_measured(self):
        sums = spec("value <= token + consensus + 100", terms=("token", "consensus"))
        for value, holds in ((2300, True), (2300.1, False)):
            row = row_of(sums, [value] * 5, terms={"token": 1000, "consensus": 1200})
            self.assertEqual((row["holds"], row["bound"]), (holds, "value <= 2300"))
        with self.assertRaises(KeyError):
            row_of(sums, [1] * 5, terms={"token": 1000})

    def test_of_the_maximum_one_round_is_enough_to_fail(self):
        row = row_of(spec("value <= 3", peer="p", of="maximum"), [1, 1, 1, 1, 3.1], [1, 1, 1, 1, 9])
        self.assertEqual((row["value"], row["peer_value"], row["holds"]), (3.1, 9, False))
        self.assertIs(row_of(spec("value <= 3", of="maximum"), [3] * 4)["holds"], False)

    def test_fewer_rounds_are_refused(self):
        with self.assertRaises(ValueError):
            frame.set_rounds(frame.ROUNDS - 1)


class Peers(unittest.TestCase):
    def test_a_missing_peer_fails_a_ratio_and_is_said(self):
        row = row_of(spec("ratio > 1", peer="p"), [9] * 5, [], "not installed")
        self.assertIs(row["holds"], False)
        self.assertIsNone(row["peer_value"])
        self.assertIn("not installed", row["reason"])
        self.assertIn("not installed", output.table([row]))

    def test_a_missing_peer_leaves_a_bound_on_the_value(self):
        row = row_of(spec("value < 10", peer="p"), [9] * 5, [], "not installed")
        self.assertIs(row["holds"], True)
        self.assertIsNone(row["ratio"])
        self.assertIn("not installed", row["reason"])

    def test_a_peer_that_failed_half_way_is_missing(self):
        row = row_of(spec("ratio > 1", peer="p"), [9] * 5, [1, 1], "it broke")
        self.assertIs(row["holds"], False)
        self.assertIsNone(row["peer_value"])

    def test_a_peer_of_zero_gives_no_ratio(self):
        self.assertIs(row_of(spec("ratio > 1", peer="p"), [9] * 5, [0] * 5)["holds"], False)

    def test_rounds_are_interleaved(self):
        seen = []
        values, peers, missing = frame.rounds(lambda: seen.append("v") or 1, lambda: seen.append("p") or 2)
        self.assertEqual((values, peers, missing), ([1] * 5, [2] * 5, None))
        self.assertEqual("".join(seen), "vp" * 5)

    def test_a_peer_that_raises_ends_its_own_rounds_only(self):
        def peer():
            raise Unmeasured("gone")
        self.assertEqual(frame.rounds(lambda: 1, peer), ([1] * 5, [], "gone"))


class Groups(unittest.TestCase):
    def rows(self, measure, names=("a", "b")):
        group = Group([spec("value < 10", name="a"), spec(None, name="b")], measure)
        return {row["name"]: row for row in frame.run_group(group, set(names))}

    def test_what_a_group_does_not_give_is_a_failed_row(self):
        def measure(names):
            yield row_of(spec("value < 10", name="a"), [1] * 5)
        rows = self.rows(measure)
        self.assertEqual({n: r["holds"] for n, r in rows.items()}, {"a": True, "b": False})

    def test_a_group_that_raises_fails_the_rest_with_the_reason(self):
        for error in (Unmeasured("no root"), OSError("no disk"), KeyError("x")):
            def measure(names, error=error):
                raise error
                yield
            rows = self.rows(measure)
            self.assertEqual([r["holds"] for r in rows.values()], [False, False])
            self.assertIn(str(error), rows["b"]["reason"])

    def test_parts_fail_alone(self):
        def bad(names):
            raise Unmeasured("no lab")
            yield

        def good(names):
            yield row_of(spec(None, name="b"), [1] * 5)
        parts = [Group([spec("value < 1", name="a")], bad), Group([spec(None, name="b")], good)]
        rows = {row["name"]: row["holds"] for row in measure_parts(parts, {"a", "b"})}
        self.assertEqual(rows, {"a": False, "b": True})


class Program(unittest.TestCase):
    """The exit status and both outputs."""

    def run_bench(self, measure, *words):
        bench = load_bench()
        bench.GROUPS = {"planted": Group([spec("value < 10", name="a"), spec(None, name="b")], measure)}
        out = io.StringIO()
        with mock.patch.object(sys, "argv", ["bench", *words]), redirect_stdout(out), redirect_stderr(io.StringIO()):
            code = bench.main()
        return code, out.getvalue()

    @staticmethod
    def give(a, b):
        def measure(names):
            if "a" in names:
                yield row_of(spec("value < 10", name="a"), a)
            if "b" in names:
                yield row_of(spec(None, name="b"), b)
        return measure

    def test_all_hold(self):
        code, text = self.run_bench(self.give([1] * 5, [2] * 5), "--output", "json")
        self.assertEqual(code, 0)
        for row in json.loads(text):
            self.assertLessEqual(FIELDS, set(row))

    def test_one_bound_does_not_hold(self):
        code, text = self.run_bench(self.give([10] * 5, [2] * 5))
        self.assertEqual(code, 1)
        self.assertRegex(text, r"(?m)^a .* NO$")

    def test_a_report_that_failed(self):
        code, text = self.run_bench(self.give([1] * 5, []))
        self.assertEqual(code, 1)
        self.assertRegex(text, r"(?m)^b .* FAILED$")

    def test_a_group_that_gives_nothing(self):
        def measure(names):
            return iter(())
        self.assertEqual(self.run_bench(measure)[0], 1)

    def test_selection(self):
        code, text = self.run_bench(self.give([10] * 5, [2] * 5), "b", "--output", "json")
        self.assertEqual((code, [row["name"] for row in json.loads(text)]), (0, ["b"]))
        with self.assertRaises(SystemExit) as raised:
            self.run_bench(self.give([1] * 5, [1] * 5), "nonsense")
        self.assertNotIn(raised.exception.code, (0, None))


class Overhead(unittest.TestCase):
    """Of planted events: what counts is neither rebuilt nor migrated, and no second twice."""

    EVENTS = ((0, "n1: pending -> draining"), (12, "n1: draining -> drained"), (14, "n1: evicting -> rebuilding"),
              (60, "n1: joins with Debian"), (61, "n1: rebuilding -> awaiting-rejoin"), (80, "n1: failback -> done"),
              (1, "n2: pending -> draining"))

    @staticmethod
    def at(s):
        return f"2026-11-22T12:{s // 60:02}:{s % 60:02}.000Z"

    def overhead(self, events, moves):
        jobs = [{"kind": "vm-migrate", "started": self.at(a), "ended": self.at(b)} for a, b in moves]
        jobs.append({"kind": "node-drain", "started": self.at(0), "ended": self.at(79)})
        return agent_upgrade.overhead("n1", [{"time": self.at(s), "text": t} for s, t in events], jobs)

    def test_rebuild_and_migrations_are_taken_off_once(self):
        self.assertEqual(self.overhead(self.EVENTS, []), 80 - 46)
        self.assertEqual(self.overhead(self.EVENTS, [(1, 5), (3, 9), (4, 6)]), 80 - 46 - 8)
        self.assertEqual(self.overhead(self.EVENTS, [(50, 64), (75, 90)]), 80 - 46 - 4 - 5)

    def test_missing_or_doubled_events_are_no_measurement(self):
        for events in (self.EVENTS[1:], self.EVENTS + self.EVENTS[3:4], [(99, t) if "rebuilding" in t else (s, t)
                                                                         for s, t in self.EVENTS]):
            with self.assertRaises(Unmeasured):
                self.overhead(events, [])


class Quorate(unittest.TestCase):
    """Of planted lines of quorum-watch: the moment from which on the survivor is quorate alone."""

    SECOND = 10**9

    def since(self, *lines, now=20):
        found = quorum.quorate_since([f"{int(at * self.SECOND)} {rest}" for at, rest in lines], 5 * self.SECOND,
                                     now * self.SECOND)
        return None if found is None else found / self.SECOND

    def test_the_first_verdict_that_stays(self):
        self.assertEqual(self.since((1, "1 2"), (7, "0 1"), (8, "1 1")), 8)
        self.assertEqual(self.since((1, "1 2"), (8, "1 1")), 8)
        self.assertEqual(self.since((7, "1 1"), (8, "1 1")), 7)

    def test_one_that_was_taken_back_does_not_count(self):
        self.assertEqual(self.since((7, "1 1"), (7.5, "0 1"), (9, "1 1")), 9)
        self.assertIsNone(self.since((7, "1 1"), (9, "0 1")))
        self.assertIsNone(self.since((7, "1 1"), now=8))

    def test_what_was_before_or_with_both_nodes_is_none(self):
        self.assertIsNone(self.since((1, "1 2")))
        self.assertIsNone(self.since((4, "1 1")))
        self.assertIsNone(self.since((7, "1 2")))
        self.assertIsNone(self.since())


class PeerRing(unittest.TestCase):
    CONF = "totem {\n    token: 1000\n}\nquorum {\n    device {\n        votes: 100\n    }\n}\nnodelist {\n}\n"

    def test_only_the_quorum_is_another(self):
        self.assertEqual(peer_ring.conf_with(self.CONF, "quorum {\n    x: \\1\n}\n"),
                         "totem {\n    token: 1000\n}\nquorum {\n    x: \\1\n}\nnodelist {\n}\n")

    def test_a_file_without_one_is_refused(self):
        for text in ("", self.CONF + self.CONF):
            with self.assertRaises(ValueError):
                peer_ring.conf_with(text, "quorum {\n}\n")


class Started(unittest.TestCase):
    """Of planted lines of `virsh event`."""

    @staticmethod
    def at(*lines):
        return failover.started_at([mock.Mock(node="n2", lines=list(lines))], 100)

    def test_the_start_of_this_machine_after_the_power_loss(self):
        good = "event 'lifecycle' for domain 'vm1': Started Booted"
        other = good.replace("Started Booted", "Resumed Unpaused")
        self.assertEqual(self.at((150, other), (200, good)), (200, "n2"))
        for line in ((99, good), (200, good.replace("vm1", "vm12")), (200, good.replace("Started Booted", "Stopped")),
                     (200, good.replace("Started Booted", "Started Migrated"))):
            self.assertIsNone(self.at(line), line)


class Downtime(unittest.TestCase):
    """As libvirt 9 and 11 print it, on the target and on the source."""

    def test_its_figure_is_found(self):
        for text, ms in (("Iteration:        3           \nTotal downtime:   181          ms\n"
                          "Downtime w/o network: 178          ms\n", "181"),
                         ("Expected downtime: 300          ms\nDowntime:         42           ms\n", "42")):
            self.assertEqual(upgrade_downtime.DOWNTIME.search(text)[1], ms)

    def test_an_expected_one_is_none(self):
        self.assertIsNone(upgrade_downtime.DOWNTIME.search("Expected downtime: 300          ms\n"))


class RealRows(unittest.TestCase):
    def test_names_are_unique_and_every_ratio_has_a_peer(self):
        bench = load_bench()
        specs = [s for group in bench.GROUPS.values() for s in group.ROWS]
        self.assertEqual(len({s.name for s in specs}), len(specs))
        for s in specs:
            self.assertTrue(s.peer or not (s.bound or "").startswith("ratio"), s.name)


if __name__ == "__main__":
    unittest.main()
