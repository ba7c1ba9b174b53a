"""Group backup: ringmaster-backup beside nbdcopy and qemu-img, on one image that qemu-nbd exports, and on one that is
sparse and SPARSE times as large.

BENCH_BACKUP_MIB (4096) is the image's size, half of it data; BENCH_BACKUP_DIR (/var/tmp) where all of it lies."""

import json
import os
import random
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from . import build
from .frame import Spec, Unmeasured, rounds, row_of, tell

MIB = 1 << 20
SIZE = int(os.environ.get("BENCH_BACKUP_MIB", "4096")) * MIB
DATA, VM, SPARSE = SIZE // 2, "bench", 16
SETTINGS = (["--connections=4"], ["--connections=4", "--requests=16", "--request-size=1048576"],
            ["--connections=2", "--requests=32"], ["--connections=4", "--requests=4", "--request-size=2097152"])

ROWS = [
    Spec("backup-full", "MB/s", "ratio >= 0.9", "full export with digests and manifest, on disk", "nbdcopy"),
    Spec("backup-restore", "MB/s", "ratio >= 1", "restore of a full and an increment, checked, on disk",
         "qemu-img convert"),
    Spec("backup-rescan", "MB/s", "value >= 1000", "digest rescan, rate of data"),
    Spec("backup-incremental", "s", "value <= 0.5", "increment with 1 % changed, from exec to exit"),
    Spec("backup-incremental-sparse", "s", "ratio <= 1.2", f"the same change on a sparse disk {SPARSE} times as large",
         "on the smaller disk"),
    Spec("backup-incremental-read", "MiB", "ratio <= 1.1", "what that reads from QEMU", "what the bitmap says"),
    Spec("backup-memory", "MiB", "value < 256", "largest resident set of a full export", of="maximum"),
]


def run(*argv):
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Unmeasured(f"{argv[0]} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def seconds(*argv):
    begun = time.monotonic()
    run(*argv)
    return time.monotonic() - begun


class World:
    def __init__(self, folder, size=SIZE):
        for program in ("qemu-img", "qemu-io", "qemu-nbd", "nbdcopy"):
            if not shutil.which(program):
                raise Unmeasured(f"there is no {program}: contrib/setup")
        self.folder, self.socket = Path(folder), Path(folder) / "sock"
        self.worker = build.folder() / "ringmaster-backup"
        self.key, self.image = self.folder / "key", self.folder / "image.qcow2"
        self.uri = f"nbd+unix:///?socket={self.socket}"
        self.random, self.n = random.Random(1), 0
        self.make_image(size)
        self.settings = None

    def make_image(self, size):
        """Every other piece of 16 MiB is data that no program can squeeze; behind SIZE there is none."""
        raw = self.folder / "raw"
        with open(raw, "wb") as f:
            f.truncate(SIZE)
            for at in range(0, SIZE, 32 * MIB):
                f.seek(at)
                f.write(self.random.randbytes(min(16 * MIB, SIZE - at)))
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, self.image)
        raw.unlink()
        run("qemu-img", "resize", "-q", "-f", "qcow2", self.image, size)

    @contextmanager
    def served(self, bitmap=None):
        argv = ["qemu-nbd", "-r", "-t", "-e", "16", "-f", "qcow2", "-k", str(self.socket), str(self.image)]
        server = subprocess.Popen(argv + (["-B", bitmap] if bitmap else []), stdin=subprocess.DEVNULL)
        try:
            while not self.socket.exists():
                if server.poll() is not None:
                    raise Unmeasured("qemu-nbd ended")
                time.sleep(0.01)
            yield
        finally:
            server.terminate()
            server.wait()
            self.socket.unlink(missing_ok=True)

    def repository(self):
        self.n += 1
        path = self.folder / f"repository-{self.n}"
        self.call("init", path)
        return path

    def argv(self, verb, path, *words):
        return [self.worker, verb, path, "--key-file", self.key, *words]

    def call(self, verb, path, *words):
        return self.lines(*self.argv(verb, path, *words))[-1]["data"]

    def lines(self, *argv):
        return [json.loads(line) for line in run(*argv).splitlines()]

    def export(self, path, *words):
        return self.argv("export", path, "--vm", VM, "--disk", f"vda={self.uri}", *words)

    # ---- what is measured

    def full(self):
        path = self.repository()
        taken = seconds(*self.export(path))
        shutil.rmtree(path)
        return DATA / 1e6 / taken

    def nbdcopy(self, settings=None):
        if settings is None:
            if self.settings is None:
                self.settings = max(SETTINGS, key=self.nbdcopy)
                tell(f"nbdcopy {' '.join(self.settings)} is the fastest")
            settings = self.settings
        target = self.folder / "copy"
        taken = seconds("nbdcopy", "--flush", *settings, self.uri, target)
        target.unlink()
        return DATA / 1e6 / taken

    def change(self):
        """1 % of the data, in pieces of 64 KiB: as many bytes as it gives."""
        pieces = self.random.sample(range(DATA // 65536), DATA // 100 // 65536)
        words = []
        for piece in pieces:
            at = piece * 65536 // (16 * MIB) * 32 * MIB + piece * 65536 % (16 * MIB)
            words += ["-c", f"write -P {self.random.randrange(256)} {at} 64k"]
        run("qemu-io", "-f", "qcow2", *words, self.image)
        return len(pieces) * 65536

    def newest(self, path):
        return self.lines(*self.argv("list", path))[-2]["point"]

    def incremental(self, path):
        """Of a bitmap that saw 1 % change since the newest point: seconds, bytes read, bytes that are dirty."""
        self.n += 1
        bitmap = f"b{self.n}"
        parent = self.newest(path)["uuid"]
        run("qemu-img", "bitmap", "--add", self.image, bitmap)
        dirty = self.change()
        run("qemu-img", "bitmap", "--disable", self.image, bitmap)
        with self.served(bitmap):
            taken = seconds(*self.export(path, "--bitmap", f"vda={bitmap}", "--parent", parent))
        run("qemu-img", "bitmap", "--remove", self.image, bitmap)
        return taken, self.newest(path)["disks"][0]["read_bytes"], dirty

    def rescan(self, path):
        return DATA / 1e6 / seconds(*self.argv("rescan", path, "--vm", VM, "--disk", f"vda={self.uri}"))

    def restore(self, path):
        target = self.folder / "restored"
        taken = seconds(*self.argv("restore", path, "--vm", VM, "--disk", f"vda={target}", "--format", "raw"))
        target.unlink()
        return DATA / 1e6 / taken

    def convert(self, path):
        """Of the same chain; on disk as well."""
        target = self.folder / "converted"
        newest = sorted((path / VM).glob("vda-*.qcow2"))[-1]
        begun = time.monotonic()
        run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", "-W", "-m", "16", newest, target)
        with open(target, "rb") as f:
            os.fsync(f.fileno())
        taken = time.monotonic() - begun
        target.unlink()
        return DATA / 1e6 / taken

    def memory(self):
        path = self.repository()
        child = os.posix_spawn(str(self.worker), [str(w) for w in self.export(path)], os.environ,
                               file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)])
        _, status, usage = os.wait4(child, 0)
        shutil.rmtree(path)
        if status != 0:
            raise Unmeasured(f"the export ended with {status}")
        return usage.ru_maxrss / 1024


def measure(names):
    spec = {s.name: s for s in ROWS}
    with tempfile.TemporaryDirectory(prefix="ringmaster-bench-", dir=os.environ.get("BENCH_BACKUP_DIR", "/var/tmp")) as f:
        world = World(f)
        with world.served():
            if "backup-full" in names:
                values, peers, missing = rounds(world.full, world.nbdcopy)
                yield row_of(spec["backup-full"], values, peers, missing, " ".join(world.settings or []))
            if "backup-memory" in names:
                yield row_of(spec["backup-memory"], rounds(world.memory)[0])
        path = world.repository()
        with world.served():
            run(*world.export(path))
            if "backup-rescan" in names:
                yield row_of(spec["backup-rescan"], rounds(lambda: world.rescan(path))[0])
        if names & {"backup-incremental", "backup-restore"}:
            row = row_of(spec["backup-incremental"], rounds(lambda: world.incremental(path)[0])[0])
            if "backup-incremental" in names:
                yield row
        if "backup-restore" in names:
            values, peers, missing = rounds(lambda: world.restore(path), lambda: world.convert(path))
            yield row_of(spec["backup-restore"], values, peers, missing)
        if names & {"backup-incremental-sparse", "backup-incremental-read"}:
            yield from measure_sparse(spec, names, world, path)


def measure_sparse(spec, names, world, path):
    folder = world.folder / "sparse"
    folder.mkdir()
    large = World(folder, SPARSE * SIZE)
    target = large.repository()
    with large.served():
        run(*large.export(target))
    took, beside, missing = rounds(lambda: large.incremental(target), lambda: world.incremental(path)[0])
    if "backup-incremental-sparse" in names:
        yield row_of(spec["backup-incremental-sparse"], [seconds for seconds, _, _ in took], beside, missing)
    if "backup-incremental-read" in names:
        yield row_of(spec["backup-incremental-read"], [read / MIB for _, read, _ in took],
                     [dirty / MIB for _, _, dirty in took])
