#!/usr/bin/python3
"""Random chains: disks that real QEMU programs write, discard, resize and crash on; backups of every kind; fold, prune;
and after each step some point, at the end every point, restores to what the disk held then, by SHA-256: by the worker
and by qemu-img alone.

    chains.py [--chains N] [--seed S] [--steps N]      RINGMASTER_TEST_LONG=1: 200 chains; else 20

Exit status: 0, 1, 77 (skipped)."""

import argparse
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor

sys.dont_write_bytecode = True
from backuplib import LONG, Broken, Disk, Repository, contents, need, tool, workplace  # noqa: E402

MIB = 1 << 20
SECTOR = 512
VM = "web"


class Chain:
    def __init__(self, seed, folder, steps):
        self.random, self.folder, self.steps = random.Random(seed), folder, steps
        self.repository = Repository(folder)
        self.repository.run("init")
        self.disks = [self.new_disk("vda", "qcow2")]
        if self.random.random() < 0.4:
            self.disks.append(self.new_disk("vdb", self.random.choice(["raw", "qcow2"])))
        self.truth = {}  # point -> {disk: SHA-256}
        self.sizes = {}  # point -> {disk: bytes}
        self.newest, self.log = None, []

    def new_disk(self, name, fmt):
        # Also disks that end within a block of 64 KiB, and one that has two pages of the manifest.
        size = self.random.choice([3 * MIB, 8 * MIB + 3 * SECTOR, 12 * MIB + 40960] * 6 + [513 * MIB])
        return Disk(self.folder, name, fmt, size)

    # ---- what happens to a disk

    def command(self, disk):
        r = self.random
        start = r.randrange(0, disk.size // SECTOR) * SECTOR
        if r.random() < 0.3:
            start = start // 65536 * 65536
        length = min(r.choice([SECTOR, 4096, 65536, 65536 + SECTOR, 256 * 1024, MIB]), disk.size - start)
        return r.choice([f"write -P {r.randrange(1, 256)} {start} {length}"] * 3 +
                        [f"write -z {start} {length}", f"write -z -u {start} {length}", f"discard {start} {length}"])

    def write(self):
        disk = self.random.choice(self.disks)
        disk.io(*(self.command(disk) for _ in range(self.random.randrange(1, 8))))

    def crash(self):
        disk = self.random.choice(self.disks)
        disk.crash(*(self.command(disk) for _ in range(3)))

    def resize(self):
        disk = self.random.choice(self.disks)
        disk.resize(disk.size + self.random.choice([SECTOR, 65536, MIB + SECTOR]))

    # ---- backups

    def backup(self):
        self.export("auto")

    def full(self):
        self.export("full")

    def rescan(self):
        self.export("rescan")

    def expected(self, disk, engine, bitmap):
        if engine == "full" or self.newest is None or self.sizes[self.newest][disk.name] != disk.size:
            return "full"
        return "bitmap" if bitmap and engine == "auto" else "rescan"

    def export(self, engine):
        words, want, servers, stopped = [], {}, [], []
        try:
            for disk in self.disks:
                bitmap, lost = disk.checkpoint()
                server = disk.export(bitmap)
                words += ["--disk", f"{disk.name}={server.__enter__()}"]
                servers.append(server)
                if bitmap:
                    words += ["--bitmap", f"{disk.name}={bitmap}"]
                    stopped.append((disk, bitmap))
                words += ["--bitmap-lost", disk.name] if lost else []
                want[disk.name] = self.expected(disk, engine, bitmap)
            words += ["--parent", self.newest] if self.newest else []
            told = self.repository.run("export", "--vm", VM, "--engine", engine, *words)
        finally:
            for server in servers:
                server.__exit__(None, None, None)
        for disk, old in stopped:
            tool("qemu-img", "bitmap", "--remove", disk.path, old)
        used = {d["name"]: d["engine"] for d in told.data["disks"]}
        if used != want:
            raise Broken(f"engines {used}, expected {want}")
        self.newest = told.data["uuid"]
        self.sizes[self.newest] = {disk.name: disk.size for disk in self.disks}
        self.truth[self.newest] = {disk.name: contents(disk.path, disk.fmt, self.folder) for disk in self.disks}

    # ---- what becomes of older points

    def known(self):
        """The repository has exactly the points that it is to have."""
        points = self.repository.points(VM) if self.truth else []
        if {p["point"]["uuid"] for p in points} != set(self.truth):
            raise Broken("points are gone, or came from nowhere")
        return points

    def forget_all_but(self, kept):
        self.truth = {point: digests for point, digests in self.truth.items() if point in kept}

    def synthesize(self):
        points = self.known()
        if not points:
            return
        told = self.repository.run("synthesize", "--vm", VM, check=False)
        folded = {v["point"] for v in told.of("verdict")}
        if told.status not in (0, 113) or (told.status == 0 and len(folded) != 1):
            raise Broken(f"synthesize ended with {told.status}: {told.stderr}")
        self.forget_all_but({p["point"]["uuid"] for p in points} - folded)
        self.known()

    def prune(self):
        if not self.known():
            return
        words = ["--vm", VM, "--keep-last", self.random.randrange(1, 4)]
        words += ["--fold"] if self.random.random() < 0.5 else []
        said = self.repository.run("prune", *words, "--dry-run").of("verdict")
        self.known()
        if self.repository.run("prune", *words).of("verdict") != said:
            raise Broken("prune did something else than its dry run said")
        self.forget_all_but({v["point"] for v in said if v["verdict"] in ("keep", "needed")})
        self.known()

    # ---- what must hold

    def check_point(self, point, fmt="raw"):
        for disk, digest in self.truth[point].items():
            if self.repository.restored(VM, disk, point, self.folder, fmt) != digest:
                raise Broken(f"{disk} of {point} is not what it was")

    def check_with_qemu_img(self, point):
        """Without Ringmaster."""
        for disk, digest in self.truth[point["uuid"]].items():
            image = self.repository.image(VM, disk, point["sequence"])
            tool("qemu-img", "check", "-q", "-f", "qcow2", image)
            if contents(image, "qcow2", self.folder) != digest:
                raise Broken(f"qemu-img reads {image.name} otherwise")

    def run(self):
        steps = [self.write] * 5 + [self.backup] * 5 + [self.rescan, self.full, self.resize, self.crash, self.prune,
                                                       self.synthesize]
        for _ in range(self.steps):
            step = self.random.choice(steps)
            self.log.append(step.__name__)
            step()
            if self.truth and self.random.random() < 0.3:
                self.check_point(self.random.choice(list(self.truth)), self.random.choice(["raw", "qcow2"]))
        points = self.known()
        if points:
            self.repository.run("verify")
        for point in points:
            self.check_point(point["point"]["uuid"])
            self.check_with_qemu_img(point["point"])
        return len(points)


def one(seed, steps):
    with workplace() as folder:
        chain = None
        try:
            chain = Chain(seed, folder, steps)
            return seed, chain.run(), None
        except Exception as error:  # noqa: BLE001 - told with its seed
            return seed, 0, f"{error} after {' '.join(chain.log) if chain else 'nothing'}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--chains", type=int, default=200 if LONG else 20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10)
    args = parser.parse_args()
    need("qemu-img", "qemu-io", "qemu-nbd")
    begun, failed, points = time.monotonic(), 0, 0
    with ThreadPoolExecutor(2) as pool:
        for seed, n, error in pool.map(lambda seed: one(seed, args.steps), range(args.seed, args.seed + args.chains)):
            points += n
            if error:
                failed += 1
                print(f"seed {seed}: {error}", flush=True)
    print(f"{args.chains} chains, {points} points at their ends, {failed} failed, {time.monotonic() - begun:.0f} s")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
