"""What the tests of tests/backup share: disks that real QEMU programs write and export, and the worker on a repository."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(os.environ.get("top_builddir") or Path(__file__).resolve().parent.parent.parent)
WORKER = Path(os.environ.get("RINGMASTER_BACKUP") or TOP / "ringmaster-backup")
LONG = bool(os.environ.get("RINGMASTER_TEST_LONG"))
SKIP = 77


class Broken(Exception):
    """A promise was broken."""


def need(*programs):
    for program in programs:
        if not shutil.which(program):
            print(f"skipped: no {program} (contrib/setup installs it)", flush=True)
            sys.exit(SKIP)
    if not WORKER.exists():
        print(f"{WORKER} was not built", file=sys.stderr)
        sys.exit(1)


def workplace():
    """In memory where there is such a folder: what a power loss leaves is not what is tested here."""
    where = os.environ.get("TMPDIR") or ("/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    return tempfile.TemporaryDirectory(prefix="rm-backup-", dir=where)


def tool(*argv, check=True):
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          timeout=300)
    if check and done.returncode != 0:
        raise Broken(f"{' '.join(map(str, argv))} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def contents(path, fmt, scratch):
    """SHA-256 of the virtual disk as QEMU reads it."""
    raw = Path(scratch) / "contents.raw"
    tool("qemu-img", "convert", "-f", fmt, "-O", "raw", path, raw)
    digest = sha256(raw)
    raw.unlink()
    return digest


class Disk:
    """An image that qemu-io writes and qemu-nbd exports. bitmap: what has recorded since the last backup."""

    def __init__(self, folder, name, fmt, size):
        self.name, self.fmt, self.size = name, fmt, size
        self.path = Path(folder) / f"{name}.{fmt}"
        self.socket = Path(folder) / f"{name}.sock"
        self.bitmap, self.lost, self.count = None, False, 0
        tool("qemu-img", "create", "-q", "-f", fmt, self.path, size)

    def io(self, *commands):
        tool("qemu-io", "-f", self.fmt, "-d", "unmap", *(word for c in commands for word in ("-c", c)), self.path)

    def crash(self, *commands):
        """The program that writes is killed after its writes: a bitmap in use is inconsistent then."""
        argv = ["stdbuf", "-oL", "qemu-io", "-f", self.fmt,
                *(word for c in (*commands, "flush", "length", "sleep 100000") for word in ("-c", c)), str(self.path)]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        for line in process.stdout:
            if not any(word in line for word in ("wrote", "discard", "ops;")):
                break  # the length, so all is flushed
        if process.poll() is not None:
            raise Broken("qemu-io was over before it was killed")
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        if self.fmt == "qcow2":
            tool("qemu-img", "check", "-r", "all", self.path, check=False)
        self.lost = self.lost or self.bitmap is not None

    def resize(self, size):
        self.drop_bitmap()
        tool("qemu-img", "resize", "-q", "-f", self.fmt, self.path, size)
        self.size = size

    def drop_bitmap(self):
        if self.bitmap:
            tool("qemu-img", "bitmap", "--remove", self.path, self.bitmap)
        self.bitmap, self.lost = None, False

    def checkpoint(self):
        """Stops the bitmap that records, and begins another: returns the one that says what changed until now."""
        old, lost = self.bitmap, self.lost
        if lost:
            self.drop_bitmap()
            old = None
        if old:
            tool("qemu-img", "bitmap", "--disable", self.path, old)
        if self.fmt == "qcow2":
            self.count += 1
            self.bitmap = f"b{self.count}"
            tool("qemu-img", "bitmap", "--add", self.path, self.bitmap)
        self.lost = False
        return old, lost

    @contextlib.contextmanager
    def export(self, bitmap=None, extra=()):
        self.socket.unlink(missing_ok=True)
        argv = ["qemu-nbd", "-f", self.fmt, "-r", "-t", "-e", "8", "-k", str(self.socket), *extra]
        argv += ["-B", bitmap] if bitmap else []
        process = subprocess.Popen([*argv, str(self.path)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            for _ in range(1000):
                if self.socket.exists() or process.poll() is not None:
                    break
                time.sleep(0.01)
            if process.poll() is not None:
                raise Broken(f"qemu-nbd ended: {process.stderr.read()}")
            yield f"nbd+unix:///?socket={self.socket}"
        finally:
            process.terminate()
            process.wait()
            process.stderr.close()
            self.socket.unlink(missing_ok=True)


class Told:
    def __init__(self, done):
        self.status, self.stderr = done.returncode, done.stderr
        self.events = [json.loads(line) for line in done.stdout.splitlines()]

    def of(self, event):
        return [e for e in self.events if e["event"] == event]

    @property
    def data(self):
        return self.of("done")[0]["data"]


class Repository:
    def __init__(self, folder, name="repository"):
        self.path, self.key = Path(folder) / name, Path(folder) / f"{name}.key"

    def run(self, verb, *words, through=(), check=True):
        argv = [*map(str, through), str(WORKER), verb, str(self.path), "--key-file", str(self.key), "--reserve", "0"]
        told = Told(subprocess.run([*argv, *map(str, words)], capture_output=True, text=True, timeout=300,
                                   stdin=subprocess.DEVNULL))
        if check and told.status != 0:
            raise Broken(f"{verb} {' '.join(map(str, words))} ended with {told.status}: {told.stderr.strip()}")
        return told

    def points(self, vm):
        return self.run("list", "--vm", vm).of("point")

    def image(self, vm, disk, sequence):
        return self.path / vm / f"{disk}-{sequence:06}.qcow2"

    def restored(self, vm, disk, point, scratch, fmt="raw"):
        """SHA-256 of the disk as the worker restores it."""
        target = Path(scratch) / f"restored-{disk}.{fmt}"
        target.unlink(missing_ok=True)
        self.run("restore", "--vm", vm, "--point", point, "--disk", f"{disk}={target}", "--format", fmt)
        digest = sha256(target) if fmt == "raw" else contents(target, fmt, scratch)
        target.unlink()
        return digest
