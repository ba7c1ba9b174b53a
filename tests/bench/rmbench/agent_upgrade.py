"""What the orchestration of a rolling upgrade costs a node: the time of its step less what is not the agent's: the
rebuild, which ends when the cluster first hears of the node's new agent (its join), and the live migrations. All times
are the cluster's own, as an admin reads them: `events` and `job list`."""

import subprocess
import sys
from datetime import datetime

from . import lab
from .build import CHECKOUT
from .frame import Spec, Unmeasured, row_of

UPGRADES = 2  # of three nodes each
TIMEOUT_S = 900

ROWS = [Spec("agent-upgrade-overhead", "s per node", "value < 10",
             "time of an upgrade's step less rebuild and migrations")]


def seconds(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def only(times, what):
    if len(times) != 1:
        raise Unmeasured(f"'{what}' is {len(times)} times in the events")
    return times[0]


def union_within(intervals, start, end):
    """Seconds of [start, end] that some interval covers."""
    total, reached = 0, start
    for a, b in sorted(intervals):
        a, b = max(a, reached), min(b, end)
        if b > a:
            total += b - a
            reached = b
    return total


def overhead(node, events, jobs):
    """Seconds; events and jobs as clusterctl gives them."""
    def at(text):
        return only([seconds(e["time"]) for e in events if e["text"].startswith(text)], text)
    start, end = at(f"{node}: pending -> "), at(f"{node}: failback -> done")
    rebuild = (at(f"{node}: evicting -> rebuilding"), at(f"{node}: joins with "))
    if not start <= rebuild[0] <= rebuild[1] <= end:
        raise Unmeasured(f"the events of {node} are in no order of an upgrade")
    moves = [(seconds(j["started"]), seconds(j["ended"])) for j in jobs
             if j["kind"] == "vm-migrate" and j["ended"]]
    return end - start - union_within([*moves, rebuild], start, end)


def upgrade_once():
    with lab.fresh() as nodes:
        before = lab.ask(nodes[0], "events")["last"]
        lab.run(nodes[0], "clusterctl", "upgrade", "start", "--target", "trixie", "--yes")
        done = subprocess.run([str(CHECKOUT / "tests/lab/follow-upgrade"), "--timeout", str(TIMEOUT_S)],
                              stdin=subprocess.DEVNULL, stdout=sys.stderr)
        if done.returncode != 0:
            raise Unmeasured("the upgrade did not end well")
        events = lab.ask(nodes[0], "events", "--since", str(before))["events"]
        jobs = lab.ask(nodes[0], "job", "list")["jobs"]
        return [overhead(node, events, jobs) for node in nodes]


def measure_as(spec):
    samples = []
    for _ in range(UPGRADES):
        samples += upgrade_once()
    return row_of(spec, samples, note=f"a sample is a node's step: {UPGRADES} upgrades of three lab nodes with four "
                                      "virtual machines, bookworm to trixie")


def measure(names):
    del names  # it is one
    yield measure_as(ROWS[0])
