#!/usr/bin/python3
"""The worker is killed, or told ENOSPC or EIO, at each of its system calls on the repository: strace does it to the Nth
call of a kind, for every kind and every N that the work has. Afterwards the repository is whole, the older points restore,
a new point is there as a whole or not at all, and the next backup succeeds and leaves no rest.

    faults.py [WORK …]      RINGMASTER_TEST_LONG=1: all points; else a sample, another one each day

Exit status: 0, 1, 77 (skipped)."""

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
          "fsync": "EIO", "renameat": "EIO", "unlinkat": "EIO", "pread64": "EIO"}
SAMPLE, WORKERS, VM = 4, 2, "web"
# PID call(FD<path> … or call(FD<path>, "name"
LINE = re.compile(r'^(\d+) +([a-z0-9_]+)\((?:(?:\d+|AT_FDCWD)<([^>]*)>)?')


class Work:
    """Two points and a disk that changed since; the template is copied for each try."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.repository = Repository(folder, "template")
        self.repository.run("init")
        self.disk = Disk(folder, "vda", "qcow2", 6 << 20)
        self.truth, self.bitmap = {}, None
        self.write("write -P 5 0 3M")
        self.point(self.repository)
        self.write("write -P 6 512k 300k", "write -z 2M 128k")
        self.point(self.repository)
        self.write("write -P 7 1M 200k", "write -P 8 5M 64k", "write -z 0 64k")
        self.bitmap, _ = self.disk.checkpoint()
        self.now = contents(self.disk.path, "qcow2", folder)
        self.prepare()
        self.server = self.disk.export(self.bitmap, ("-e", "64"))
        self.uri = self.server.__enter__()

    def close(self):
        self.server.__exit__(None, None, None)

    def prepare(self):
        pass

    def write(self, *commands):
        self.disk.io(*commands)

    def point(self, repository):
        bitmap, _ = self.disk.checkpoint()
        with self.disk.export(bitmap) as uri:
            self.newest = repository.run("export", "--vm", VM, "--disk", f"vda={uri}").data["uuid"]
        self.truth[self.newest] = contents(self.disk.path, "qcow2", self.folder)

    def words(self, place):
        return ["export", "--vm", VM, "--disk", f"vda={self.uri}", "--bitmap", f"vda={self.bitmap}", "--parent",
                self.newest]

    def stay(self):
        """Points that the work does not remove."""
        return dict(self.truth)

    def check(self, place, repository, told):
        repository.run("verify")
        points = [p["point"]["uuid"] for p in repository.points(VM)]
        for point, digest in self.stay().items():
            if point not in points:
                raise Broken("a point is gone")
        for point in points:
            if repository.restored(VM, "vda", point, place) != self.truth.get(point, self.now):
                raise Broken("a point does not restore to what it was")
        done = told.of("done") and told.of("done")[0]["data"]
        if done and done["uuid"] not in points:
            raise Broken("a point that was told is not there")
        self.check_next(place, repository)

    def check_next(self, place, repository):
        data = repository.run("export", "--vm", VM, "--disk", f"vda={self.uri}").data
        if data["disks"][0]["engine"] != "rescan":
            raise Broken(f"the next backup was by {data['disks'][0]}")
        if repository.restored(VM, "vda", data["uuid"], place) != self.now:
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


class Restore(Work):
    def words(self, place):
        return ["restore", "--vm", VM, "--disk", f"vda={place}/out.raw", "--format", "raw"]

    def check(self, place, repository, told):
        out = place / "out.raw"
        if out.exists() and contents(out, "raw", place) != self.truth[self.newest]:
            raise Broken("a restore left a file that is not the disk")
        if told.of("done") and not out.exists():
            raise Broken("a restore is done without a file")
        super().check(place, repository, told)


WORKS = {w.__name__.lower(): w for w in (Increment, Full, First, Synthesize, Prune, Restore)}


def attempt(work, name, *through):
    place = work.folder / name
    place.mkdir()
    repository = Repository(place)
    repository.key = work.repository.key
    shutil.copytree(work.repository.path, repository.path)
    verb, *words = work.words(place)
    return place, repository, repository.run(verb, *words, through=through, check=False)


def count(work):
    """{(call, N)}: the Nth call of its thread, where it is on a file of the repository or the restore."""
    log = work.folder / "trace"
    place, repository, told = attempt(work, "count", "strace", "-f", "-y", "-s", "0", "-o", log, "-e",
                                      "trace=" + ",".join(ERRORS))
    if told.status != 0:
        raise Broken(f"the unhurt work ended with {told.status}: {told.stderr}")
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
                    jobs, errors = (prng.sample(x, min(SAMPLE, len(x))) for x in (jobs, errors))
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
