#!/usr/bin/python3
"""The worker is killed, or told ENOSPC or EIO, at each of its system calls on the repository: strace does it to the Nth
call of a kind, for every kind and every N that the work has. Afterwards the repository is whole, the older points restore,
a new point is there as a whole or not at all, and the next backup succeeds and leaves no rest.

    faults.py [WORK …]      RINGMASTER_TEST_LONG=1: all points; else a sample, another one each day

Exit status: 0, 1, 77 (skipped)."""

import contextlib
import random
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.dont_write_bytecode = True
from backuplib import LONG, SKIP, Broken, Disk, Repository, contents, need, workplace  # noqa: E402

ERRORS = {"pwrite64": "ENOSPC", "pwritev": "ENOSPC", "openat": "ENOSPC", "mkdirat": "ENOSPC", "ftruncate": "EIO",
          "fsync": "EIO", "linkat": "EIO", "renameat": "EIO", "unlinkat": "EIO", "pread64": "EIO"}
SAMPLE, WORKERS, VM = 4, 2, "web"
# PID call(FD<path> … or call(FD<path>, "name", or linkat of a descriptor: linkat(AT_FDCWD, "/proc/…", FD<path>, "name"
LINE = re.compile(r'^(\d+) +([a-z0-9_]+)\((?:AT_FDCWD(?:<[^>]*>)?, "/proc/[^"]*", )?(?:(?:\d+|AT_FDCWD)<([^>]*)>)?')


class Work:
    """Two points and disks that changed since; the template is copied for each try."""
    DISKS = ("vda",)
    STEPS = ()  # calls that are no sample: each of them is hurt, always

    def __init__(self, folder):
        self.folder = Path(folder)
        self.repository = Repository(folder, "template")
        self.repository.run("init")
        self.disks = [Disk(folder, name, "qcow2", 6 << 20) for name in self.DISKS]
        self.truth, self.bitmaps = {}, {}
        self.points()
        self.write("write -P 7 1M 200k", "write -P 8 5M 64k", "write -z 0 64k")
        self.bitmaps = {disk.name: disk.checkpoint()[0] for disk in self.disks}
        self.now = self.disks_now()
        self.prepare()
        self.servers = contextlib.ExitStack()
        self.uris = self.serve(self.servers, self.bitmaps, ("-e", "64"))

    def close(self):
        self.servers.close()

    def points(self):
        self.write("write -P 5 0 3M")
        self.point()
        self.write("write -P 6 512k 300k", "write -z 2M 128k")
        self.point()

    def prepare(self):
        pass

    def copy(self, repository):
        repository.key = self.repository.key
        shutil.copytree(self.repository.path, repository.path)

    def traced(self, place, log):
        """What strace saw of the unhurt work."""

    def write(self, *commands):
        for number, disk in enumerate(self.disks):
            disk.io(f"write -P {64 + number} 4M 64k", *commands)

    def disks_now(self):
        return {disk.name: contents(disk.path, "qcow2", self.folder) for disk in self.disks}

    def serve(self, stack, bitmaps, extra=()):
        """The words that name the exports."""
        return [word for disk in self.disks for word in
                ("--disk", f"{disk.name}={stack.enter_context(disk.export(bitmaps.get(disk.name), extra))}")]

    def point(self, *words):
        bitmaps = {disk.name: disk.checkpoint()[0] for disk in self.disks}
        with contextlib.ExitStack() as stack:
            uris = self.serve(stack, bitmaps)
            self.newest = self.repository.run("export", "--vm", VM, *uris, *words).data["uuid"]
        self.truth[self.newest] = self.disks_now()
        return self.newest

    def words(self, place):
        bitmaps = [word for name, bitmap in self.bitmaps.items() for word in ("--bitmap", f"{name}={bitmap}")]
        return ["export", "--vm", VM, *self.uris, *bitmaps, "--parent", self.newest]

    def stay(self):
        """Points that the work does not remove."""
        return dict(self.truth)

    def check_points(self, place, repository, stay):
        repository.run("verify")
        points = [p["point"]["uuid"] for p in repository.points(VM)]
        if not set(stay) <= set(points):
            raise Broken("a point is gone")
        for point in points:
            for disk, digest in self.truth.get(point, self.now).items():
                if repository.restored(VM, disk, point, place) != digest:
                    raise Broken("a point does not restore to what it was")
        return points

    def check(self, place, repository, told):
        points = self.check_points(place, repository, self.stay())
        done = told.of("done") and told.of("done")[0]["data"]
        if done and done["uuid"] not in points:
            raise Broken("a point that was told is not there")
        self.check_next(place, repository)

    def check_next(self, place, repository):
        data = repository.run("export", "--vm", VM, *self.uris).data
        if any(disk["engine"] != "rescan" for disk in data["disks"]):
            raise Broken(f"the next backup was by {data['disks']}")
        for disk, digest in self.now.items():
            if repository.restored(VM, disk, data["uuid"], place) != digest:
                raise Broken("the next backup does not restore")
        numbers = {f"{p['point']['sequence']:06}" for p in repository.points(VM)}
        for name in (path.name for path in (repository.path / VM).iterdir() if path.name != "lock"):
            if name.endswith(".partial") or not re.search(f"-({'|'.join(numbers)})\\.", name):
                raise Broken(f"{name} was left over")


class Increment(Work):
    pass


class Full(Work):
    def words(self, place):
        return [*super().words(place), "--engine", "full"]


class First(Work):
    """The first point of a virtual machine."""
    def prepare(self):
        shutil.rmtree(self.repository.path / VM)
        self.truth = {}

    def check(self, place, repository, told):
        if (repository.path / VM).exists():
            super().check(place, repository, told)

    def check_next(self, place, repository):
        pass


class Synthesize(Work):
    def words(self, place):
        return ["synthesize", "--vm", VM]

    def stay(self):
        return {self.newest: self.truth[self.newest]}


class Prune(Synthesize):
    def words(self, place):
        return ["prune", "--vm", VM, "--keep-last", 1, "--fold"]


class Fold(Work):
    """Of a point of two disks into the one that stands on it, while another one keeps what is behind. Whatever was
    folded by then, what is removed later on is what no disk needs."""
    DISKS = ("vda", "vdb")
    STEPS = ("renameat", "unlinkat")

    def points(self):
        self.write("write -P 5 0 3M")
        full = self.point()
        self.write("write -P 6 512k 300k", "write -z 2M 128k")
        middle = self.point()
        self.write("write -P 9 1M 64k")
        self.branch = self.point("--parent", full)
        self.write("write -P 10 5M 64k")
        self.point("--parent", middle)

    def words(self, place):
        return ["prune", "--vm", VM, "--keep-last", 2, "--fold"]

    def stay(self):
        return [self.branch, self.newest]

    def check(self, place, repository, told):
        self.check_points(place, repository, self.stay())
        for name, finish in (("pruned", False), ("finished", True)):
            other = Repository(place, name)
            other.key = repository.key
            shutil.copytree(repository.path, other.path)
            if finish:
                other.run("synthesize", "--vm", VM, check=False)
                self.check_points(place, other, [self.newest])
            for fold in (["--fold"], []):
                other.run("prune", "--vm", VM, "--keep-last", 1, *fold)
                self.check_points(place, other, [self.newest])
        self.check_next(place, repository)


class Restore(Work):
    def words(self, place):
        return ["restore", "--vm", VM, "--disk", f"vda={place}/out.raw", "--format", "raw"]

    def check(self, place, repository, told):
        out = place / "out.raw"
        if out.exists() and contents(out, "raw", place) != self.truth[self.newest]["vda"]:
            raise Broken("a restore left a file that is not the disk")
        if told.of("done") and not out.exists():
            raise Broken("a restore is done without a file")
        super().check(place, repository, told)


class Init(Work):
    """A repository and its key: both are made again where they are not, and a key is whole or not there."""
    STEPS = ("pwrite64", "linkat", "fsync")

    def words(self, place):
        return ["init"]

    def copy(self, repository):
        repository.key = repository.path.parent / "keys" / "key"
        repository.key.parent.mkdir()

    def traced(self, place, log):
        for folder in (place, place / "keys", place / "repository"):
            if not re.search(f"fsync\\(\\d+<{re.escape(str(folder))}>", log):
                raise Broken(f"{folder} is not synced")

    def check(self, place, repository, told):
        if repository.key.exists() and len(repository.key.read_bytes()) != 32:
            raise Broken("a part of a key was left")
        again = repository.run("init", check=False)
        if again.status != (113 if told.of("done") else 0) and "is a repository already" not in again.stderr:
            raise Broken(f"init ended with {again.status}: {again.stderr}")
        repository.run("export", "--vm", VM, *self.uris)
        left = {path.name for folder in (place, place / "keys", repository.path) for path in folder.iterdir()}
        if not left <= {"keys", "repository", "key", "repository.json", VM}:
            raise Broken(f"left over: {left}")


WORKS = {w.__name__.lower(): w for w in (Init, Increment, Full, First, Synthesize, Prune, Fold, Restore)}


def attempt(work, name, *through):
    place = work.folder / name
    place.mkdir()
    repository = Repository(place)
    work.copy(repository)
    verb, *words = work.words(place)
    return place, repository, repository.run(verb, *words, through=through, check=False)


def count(work):
    """{(call, N)}: the Nth call of its thread, where it is on a file of the repository or the restore."""
    log = work.folder / "trace"
    place, repository, told = attempt(work, "count", "strace", "-f", "-y", "-s", "0", "-o", log, "-e",
                                      "trace=" + ",".join(ERRORS))
    if told.status != 0:
        raise Broken(f"the unhurt work ended with {told.status}: {told.stderr}")
    work.traced(place, log.read_text())
    work.check(place, repository, told)
    seen, points = Counter(), set()
    for match in filter(None, map(LINE.match, log.read_text().splitlines())):
        seen[match[1], match[2]] += 1
        if (match[3] or "").startswith(str(place)):
            points.add((match[2], seen[match[1], match[2]]))
    shutil.rmtree(place)
    return sorted(points)


def hurt(job):
    work, call, n, fault = job
    name, how = f"{call}-{n}-{fault}", "signal=KILL" if fault == "KILL" else f"error={fault}"
    try:
        place, repository, told = attempt(work, name, "strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e",
                                          f"inject={call}:{how}:when={n}")
        if told.status == 0 and not told.of("done"):
            raise Broken("it says nothing, and ends well")
        if fault != "KILL" and told.status != 0 and not told.stderr:
            raise Broken("it does not say what failed")
        work.check(place, repository, told)
        shutil.rmtree(place)
        return None
    except (Broken, subprocess.TimeoutExpired) as error:
        return f"{type(work).__name__.lower()}: {fault} at {call} {n}: {error}"


def main():
    need("qemu-img", "qemu-io", "qemu-nbd", "strace")
    if subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True).returncode != 0:
        print("skipped: strace may not trace here")
        return SKIP
    day = int(time.time() // 86400)
    prng, failures, begun = random.Random(day), [], time.monotonic()
    with workplace() as place:
        for name in sys.argv[1:] or WORKS:
            folder = Path(place) / name
            folder.mkdir()
            work = WORKS[name](folder)
            try:
                points = count(work)
                jobs = [(work, call, n, "KILL") for call, n in points]
                errors = [(work, call, n, ERRORS[call]) for call, n in points]
                total = len(jobs) + len(errors)
                if not LONG:
                    jobs, errors = ([job for job in x if job[1] in work.STEPS] +
                                    prng.sample(x, min(SAMPLE, len(x))) for x in (jobs, errors))
                    jobs, errors = (list(dict.fromkeys(x)) for x in (jobs, errors))
                with ThreadPoolExecutor(WORKERS) as pool:
                    bad = [e for e in pool.map(hurt, [*jobs, *errors]) if e]
            finally:
                work.close()
            failures += bad
            print(f"{name}: {len(jobs)} kills, {len(errors)} errors of {total} points, {len(bad)} failed, "
                  f"{time.monotonic() - begun:.0f} s", flush=True)
    for text in failures[:20]:
        print(f"FAILED {text}")
    print(f"sample of day {day}" if not LONG else "all points")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
