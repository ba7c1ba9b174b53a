#!/usr/bin/python3
"""SIGKILL of a node at every write, fsync, rename …: strace kills it as it is about to make the Nth call of a kind,
for every kind and every N that the work has. Then the node starts again: what was acknowledged is there, what is there
holds together (digest, chain, and the log replayed from its beginning leads to the same rows), and the work can be
finished.
With an error instead of the kill (EIO of a sync, ENOSPC of a write) the node must stop by itself, naming the file.

    kill_points.py [SCENARIO …]      RINGMASTER_TEST_LONG=1: all points; else a sample, another one each day

Exit status: 0, 1, 77 (skipped)."""

import hashlib
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from faultlib import (Broken, DB, LONG, NOT_TOLD, STOPPED, NODE, check_puts, must, need, node, skip,  # noqa: E402
                      workplace)

CALLS = ("write", "pwrite64", "fsync", "fdatasync", "ftruncate", "rename", "unlink", "mkdir")
ERRORS = {"write": "ENOSPC", "pwrite64": "ENOSPC", "mkdir": "ENOSPC", "rename": "EIO", "ftruncate": "EIO",
          "fsync": "EIO", "fdatasync": "EIO"}
SAMPLE = 7  # points of a scenario and kind of fault, in the short version
TRIES = 8  # to reach a call near the end, where a run may make fewer
WORKERS = 2
LINE = re.compile(r"^([a-z0-9]+)\((?:\d+<([^>]*)>)?")


class Scenario:
    """A template folder, the work that is hurt, and what must hold afterwards."""
    errors = True

    def __init__(self, folder):
        self.folder = folder
        self.template = folder / "template"
        self.template.mkdir()
        self.prepare()

    def prepare(self):
        pass

    def work(self, prefix):
        """The words of the work."""

    def verify(self, prefix, told):
        """Raises Broken. told: what the work said before it ended."""


class Form(Scenario):
    def work(self, prefix):
        return ["form"]

    def verify(self, prefix, told):
        stood = must(prefix, "check")
        if told.one("formed") is not None and stood.one("member") is None:
            raise Broken("the cluster was formed, and is gone")
        must(prefix, "form")
        again = must(prefix, "check")
        if stood.one("member") and again.one("member") != stood.one("member"):
            raise Broken("another replica after the restart")
        must(prefix, "put", 1, 1)
        check_puts(prefix, 1, 1)


class Commit(Scenario):
    first, count, verb = 4, 4, "put"

    def prepare(self):
        must(self.template, "form")
        must(self.template, self.verb, 1, self.first - 1)

    def work(self, prefix):
        return [self.verb, self.first, self.count]

    def verify(self, prefix, told):
        acknowledged = max(told.numbers("put"), default=self.first - 1)
        last = check_puts(prefix, acknowledged, min(acknowledged + 1, self.first + self.count - 1))
        must(prefix, self.verb, last + 1, 2)
        check_puts(prefix, last + 2, last + 2)


class Trim(Commit):
    """The log is cut behind the newest entries in the same transaction."""
    verb, first, count = "put-short", 12, 4


class Checkpoint(Commit):
    """SQLite carries the WAL over into the file, and begins it anew."""
    def prepare(self):
        must(self.template, "form")
        last = 0
        while (self.template / f"{DB}-wal").stat().st_size < 970 * 4120:
            must(self.template, "put", last + 1, 4)
            last += 4
        self.first, self.count = last + 1, 12


def check_copy(prefix):
    """The last database copy is whole: it ends with the SHA-256 of the rest."""
    copies = sorted((prefix / DB).parent.glob("before-level-2.*Z"))
    data = copies[-1].read_bytes() if copies else b""
    if len(data) <= 32 or hashlib.sha256(data[:-32]).digest() != data[-32:]:
        raise Broken(f"level 2 without a whole database copy: {copies}")


class Raise(Scenario):
    def prepare(self):
        must(self.template, "form")
        must(self.template, "put", 1, 2)

    def work(self, prefix):
        return ["raise"]

    def verify(self, prefix, told):
        check_puts(prefix, 2, 2)
        level = must(prefix, "check", "newer").one("running-level")
        if level not in ("1", "2") or (told.one("raised") is not None and level != "2"):
            raise Broken(f"level {level} after: {told.lines}")
        if level == "2":
            check_copy(prefix)
        must(prefix, "raise")
        if must(prefix, "check", "newer").one("running-level") != "2":
            raise Broken("the level is not 2 after a raise that went through")
        check_copy(prefix)


class Install(Scenario):
    """A follower that has an older state takes a snapshot."""
    def prepare(self):
        leader = self.folder / "leader"
        leader.mkdir()
        must(leader, "form")
        must(leader, "put", 1, 3)
        must(leader, "dump", self.folder / "old")
        (self.template / DB).parent.mkdir(parents=True)
        must(self.template, "install", self.folder / "old")
        must(leader, "put", 4, 5)
        must(leader, "dump", self.folder / "new")
        fresh = self.folder / "fresh"
        (fresh / DB).parent.mkdir(parents=True)
        must(fresh, "install", self.folder / "new")
        self.old, self.new = [self.state(self.template)], self.state(fresh)
        if self.new in self.old:
            raise Broken("the snapshots are the same")

    def state(self, prefix):
        told = must(prefix, "check-follower", self.folder / "new")
        return told.one("applied"), told.one("hash")

    def work(self, prefix):
        return ["install", self.folder / "new"]

    def verify(self, prefix, told):
        found = self.state(prefix)
        if found not in (*self.old, self.new) or (told.one("installed") is not None and found != self.new):
            raise Broken(f"{found} is neither the old state nor the snapshot, after: {told.lines}")
        must(prefix, "install", self.folder / "new")
        if self.state(prefix) != self.new:
            raise Broken("the snapshot is not there after it was installed again")


class InstallFirst(Install):
    """The same of a follower that has no database yet."""
    def prepare(self):
        super().prepare()
        shutil.rmtree(self.template)
        (self.template / DB).parent.mkdir(parents=True)
        self.old = [("0", "-"), ("0", 64 * "0")]  # without a file; with an empty one


class Join(Scenario):
    def prepare(self):
        server = self.folder / "server"
        server.mkdir()
        self.token = self.folder / "token"
        self.log = open(self.folder / "issued", "w+")
        self.server = subprocess.Popen([NODE, server, "serve", self.token], stdout=self.log,
                                       stdin=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while "serving" not in (self.folder / "issued").read_text():
            if self.server.poll() is not None or time.monotonic() > end:
                raise Broken("the member that is to be joined does not serve")
            time.sleep(0.05)

    def work(self, prefix):
        return ["join", self.token]

    def verify(self, prefix, told):
        stood = must(prefix, "check-joined").one("member")
        joined = told.one("joined")
        if joined and stood != joined:
            raise Broken(f"joined as {joined}, is {stood} after the restart")
        if not stood:
            stood = must(prefix, "join", self.token).one("joined")
        if must(prefix, "check-joined").one("member") != stood:
            raise Broken("another replica than the one that joined")
        if f"issued {stood}\n" not in (self.folder / "issued").read_text():
            raise Broken(f"{stood} was never admitted")

    def close(self):
        self.server.kill()
        self.server.wait()


class JoinAgain(Join):
    """A join that was interrupted once already: after joining.json the replica must stay the same."""
    def prepare(self):
        super().prepare()
        dead = self.folder / "dead-token"
        text = self.token.read_text()
        dead.write_text(re.sub(r'"port": ?\d+', '"port": 1', text))
        node(self.template, "join", dead)
        self.replica = re.search(r'"replica": ?"([^"]+)"',
                                 (self.template / "var/lib/ringmaster/joining.json").read_text())[1]

    def verify(self, prefix, told):
        super().verify(prefix, told)
        if must(prefix, "check-joined").one("member") != self.replica:
            raise Broken("the token makes another replica of the same node")


SCENARIOS = {c.__name__.lower(): c for c in (Form, Commit, Trim, Checkpoint, Raise, Install, InstallFirst, Join,
                                             JoinAgain)}


# -- points --------------------------------------------------------------------

def count_calls(scenario):
    """{call: [does the Nth go to a folder?]} of the unhurt work's main thread."""
    prefix, log = scenario.folder / "count", scenario.folder / "trace"
    shutil.copytree(scenario.template, prefix)
    told = node(prefix, *scenario.work(prefix),
                through=["strace", "-y", "-o", log, "-e", "trace=" + ",".join(CALLS)])
    if told.status != 0:
        raise Broken(f"the unhurt work ended with {told.status}: {told.stderr}")
    scenario.verify(prefix, told)
    found = defaultdict(list)
    for match in filter(None, map(LINE.match, log.read_text().splitlines())):
        found[match[1]].append(bool(match[2]) and Path(match[2]).is_dir())
    return found


def points_of(scenario, prng):
    counts = count_calls(scenario)
    kills = [(call, n, "kill") for call in CALLS for n in range(1, len(counts[call]) + 1)]
    # SQLite does not look at what becomes of its sync of a folder: the store makes one of its own, by fsync.
    errors = [(call, n, ERRORS[call]) for call in ERRORS for n, folder in enumerate(counts[call], 1)
              if not (call == "fdatasync" and folder)]
    if not kills:
        raise Broken("the work makes no call at all")
    total = len(kills) + len(errors)
    if not LONG:
        kills = prng.sample(kills, min(SAMPLE, len(kills)))
        errors = prng.sample(errors, min(SAMPLE, len(errors)))
    return kills + errors, total


def hurt(scenario, call, n, fault):
    prefix, log = (scenario.folder / f"{call}-{n}-{fault}{end}" for end in ("", ".trace"))
    how = "signal=KILL" if fault == "kill" else f"error={fault}"
    for _ in range(TRIES):
        shutil.copytree(scenario.template, prefix)
        told = node(prefix, *scenario.work(prefix),
                    through=["strace", "-o", log, "-e", f"trace={call}", "-e", f"inject={call}:{how}:when={n}"])
        made = sum(1 for match in map(LINE.match, log.read_text().splitlines()) if match and match[1] == call)
        if told.status != 0 or not 0 < made < n:
            break
        # How many pages a commit changes is not the same in each run: the last call of this one instead.
        scenario.verify(prefix, told)
        shutil.rmtree(prefix)
        n = made
    if fault == "kill":
        if told.status not in (-9, 137):
            raise Broken(f"ended with {told.status}, not by the kill: {told.stderr}")
    elif told.status != NOT_TOLD:
        check_stop(prefix, told)
    scenario.verify(prefix, told)
    shutil.rmtree(prefix)


def check_stop(prefix, told):
    """It stopped by itself, and says of which file and what to do."""
    if told.status != STOPPED:
        raise Broken(f"went on after the error, or died of it: {told.status}, {told.stderr or told.lines}")
    if str(prefix) not in told.stderr:
        raise Broken(f"does not name the file: {told.stderr}")
    if "; " not in told.stderr:
        raise Broken(f"names no remedy: {told.stderr}")


def run_point(job):
    scenario, name, point = job
    try:
        hurt(scenario, *point)
        return None
    except (Broken, subprocess.TimeoutExpired) as error:
        return f"{name}: {point[2]} at {point[0]} {point[1]}: {error}"


def main():
    need("strace")
    if subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode != 0:
        skip("strace may not trace here")
    seed = int(time.time() // 86400)
    prng, failures, began = random.Random(seed), [], time.monotonic()
    with workplace() as place:
        for name in sys.argv[1:] or SCENARIOS:
            folder = Path(place) / name
            folder.mkdir()
            scenario = SCENARIOS[name](folder)
            try:
                points, total = points_of(scenario, prng)
                with ThreadPoolExecutor(WORKERS) as pool:
                    bad = [e for e in pool.map(run_point, [(scenario, name, p) for p in points]) if e]
            finally:
                getattr(scenario, "close", lambda: None)()
            failures += bad
            kinds = Counter("kill" if p[2] == "kill" else "error" for p in points)
            print(f"{name}: {kinds['kill']} kills, {kinds['error']} errors of {total} points, {len(bad)} failed, "
                  f"{time.monotonic() - began:.0f} s", flush=True)
    for text in failures[:20]:
        print(f"FAILED {text}")
    print(f"sample of day {seed}" if not LONG else "all points")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
