"""What the tests of tests/faults share: the node that they hurt (node.c), told as "faults-node PREFIX …"."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

TOP = Path(os.environ.get("top_builddir") or Path(__file__).resolve().parent.parent.parent)
NODE = TOP / "tests/faults/faults-node"
DB = "var/lib/ringmaster/db.sqlite"
LONG = bool(os.environ.get("RINGMASTER_TEST_LONG"))
SKIP = 77
STOPPED, FAULT, NOT_TOLD = 1, 2, 3


def skip(why):
    print(f"skipped: {why}", flush=True)
    sys.exit(SKIP)


def need(*programs):
    for program in programs:
        if not shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"):
            skip(f"no {program} (contrib/setup installs it)")
    if not NODE.exists():
        print(f"{NODE} was not built: make check builds it", file=sys.stderr)
        sys.exit(1)


class Broken(Exception):
    """The node broke a promise."""


class Told:
    """The lines that a node wrote, and how it ended."""

    def __init__(self, done):
        self.status, self.stderr = done.returncode, done.stderr
        self.lines = done.stdout.splitlines()
        self.facts = defaultdict(list)
        for line in self.lines:
            key, _, value = line.partition(" ")
            self.facts[key].append(value)

    def one(self, key):
        return self.facts[key][0] if self.facts[key] else None

    def numbers(self, key):
        return [int(value) for value in self.facts[key]]


def node(prefix, *words, through=()):
    argv = [*through, str(NODE), str(prefix), *map(str, words)]
    return Told(subprocess.run(argv, text=True, capture_output=True, timeout=120, stdin=subprocess.DEVNULL))


def must(prefix, *words):
    told = node(prefix, *words)
    if told.status != 0:
        raise Broken(f"{' '.join(map(str, words))} ended with {told.status}: {told.stderr.strip()}")
    return told


def check_puts(prefix, acknowledged, at_most):
    """The database holds puts 1 … n without a gap, all that were acknowledged, and of the others no more than were
    under way. Returns n."""
    told = must(prefix, "check")
    if told.one("member") is None:
        raise Broken("the node forgot its cluster")
    entries = told.numbers("entry")
    last = entries[-1] if entries else 0
    first = entries[0] if told.one("base") != "0" and entries else 1
    if entries != list(range(first, last + 1)):
        raise Broken(f"the log holds the puts {entries}")
    if told.one("base") == "0" and told.one("replayed") is None:
        raise Broken("nothing was replayed")
    if last < acknowledged:
        raise Broken(f"put {acknowledged} was acknowledged, the last on disk is {last}")
    if last > at_most:
        raise Broken(f"put {last} is on disk, {at_most} was the last begun")
    return last


def workplace():
    """A folder of the test's own; in memory where the disk does not matter."""
    return tempfile.TemporaryDirectory(prefix="ringmaster-faults-")
