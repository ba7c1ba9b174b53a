#!/usr/bin/python3
"""Power loss of the store. A node commits on a file system of its own (ext4, xfs) on a loop device; at a random moment
the power goes: the node is stopped, the file system is shut down without a flush, so that only what was synced is left,
the node is killed, and the file system is mounted anew. Nothing acknowledged is lost, never is there half a batch
(faults-node check: chain, digest, and the log replayed leads to the same rows), and the node goes on.

Then a disk that is full: the node stops, names the file and the remedy, loses nothing, and goes on when there is room.

    power_loss.py [CYCLES]      else 4 a file system, RINGMASTER_TEST_LONG=1: 200

Root; everything is mounted in a mount namespace that ends with this process. Exit status: 0, 1, 77 (skipped)."""

import ctypes
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))
from faultlib import Broken, DB, LONG, NODE, STOPPED, check_puts, must, need, node, skip, workplace  # noqa: E402

CLONE_NEWNS = 0x20000
MIB = 1 << 20
MKFS = {"ext4": (["mkfs.ext4", "-q", "-F"], 48 * MIB), "xfs": (["mkfs.xfs", "-q"], 320 * MIB)}
PUTS_MAX = 3000  # below what the log keeps: all of it can be replayed
MOMENT_S = 0.25  # of a cycle: the power goes after 0 … this, drawn


def run(*argv):
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Broken(f"{' '.join(map(str, argv))}: {done.stderr.strip()}")
    return done.stdout


def private_mounts():
    if os.geteuid() != 0:
        skip("not root")
    if ctypes.CDLL(None).unshare(CLONE_NEWNS) != 0:
        skip("no mount namespace of one's own here")
    run("mount", "--make-rprivate", "/")


class Disk:
    def __init__(self, place, kind):
        self.kind, self.mount = kind, place / "mnt"
        self.image = place / "disk"
        command, size = MKFS[kind]
        with open(self.image, "wb") as f:
            f.truncate(size)
        run(*command, self.image)
        self.mount.mkdir()
        self.attach()

    def attach(self):
        run("mount", "-t", self.kind, "-o", "loop", self.image, self.mount)

    def detach(self):
        run("umount", self.mount)

    def lose_power(self):
        run("xfs_io", "-x", "-c", "shutdown", self.mount)


class Writer:
    """A node that commits until it is killed. What it acknowledged is in its pipe, whatever becomes of it."""

    def __init__(self, prefix, first):
        self.process = subprocess.Popen([NODE, prefix, "put", str(first), str(PUTS_MAX)], text=True,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def stop(self):
        """Before the power goes: it must not see the errors of a disk that is no more."""
        self.process.send_signal(signal.SIGSTOP)
        end = time.monotonic() + 10
        while True:
            with open(f"/proc/{self.process.pid}/stat") as f:
                if f.read().rpartition(")")[2].split()[0] in "TZ":
                    return
            if time.monotonic() > end:
                raise Broken("the node does not stop")
            time.sleep(0.0005)

    def kill(self, before):
        self.process.kill()
        out, err = self.process.communicate()
        if self.process.returncode != -signal.SIGKILL:
            raise Broken(f"the node ended by itself with {self.process.returncode}: {err}")
        puts = [int(line.split()[1]) for line in out.splitlines() if line.startswith("put ")]
        return puts[-1] if puts else before


def cycle(disk, prefix, last, prng):
    """Returns the last put that is on the disk."""
    writer = Writer(prefix, last + 1)
    try:
        # The start takes longer than a commit: the clock runs from the first acknowledgement.
        first = writer.process.stdout.readline()
        time.sleep(prng.uniform(0, MOMENT_S))
        writer.stop()
        disk.lose_power()
    finally:
        acknowledged = writer.kill(int(first.split()[1]) if first.startswith("put ") else last)
    disk.detach()
    disk.attach()
    return acknowledged, check_puts(prefix, acknowledged, acknowledged + 1)


def fresh(disk, name):
    prefix = disk.mount / name
    prefix.mkdir()
    must(prefix, "form")
    return prefix


def lose_power(kind, cycles, prng):
    """Raises Broken."""
    with workplace() as place:
        disk = Disk(Path(place), kind)
        began, total, unacknowledged = time.monotonic(), 0, 0
        try:
            prefix, last = fresh(disk, "0"), 0
            for k in range(cycles):
                if last > PUTS_MAX:
                    run("rm", "-rf", prefix)
                    prefix, last = fresh(disk, str(k)), 0
                before = last
                acknowledged, last = cycle(disk, prefix, last, prng)
                total += acknowledged - before
                unacknowledged += last - acknowledged
        finally:
            disk.detach()
    print(f"{kind}: {cycles} power losses, {total} commits acknowledged, none lost, {unacknowledged} more were whole "
          f"on disk, {time.monotonic() - began:.0f} s", flush=True)
    if total < cycles:
        raise Broken(f"only {total} commits in {cycles} cycles: nothing was tried")


def fill(path):
    with open(path, "wb", buffering=0) as f:
        chunk = b"x" * 65536
        while chunk:
            try:
                f.write(chunk)
            except OSError:
                chunk = chunk[:len(chunk) // 2]


def full_disk():
    """A tiny tmpfs: the node commits until nothing is left."""
    with workplace() as place:
        mount = Path(place) / "mnt"
        mount.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", mount)
        try:
            prefix = mount / "node"
            prefix.mkdir()
            must(prefix, "form")
            must(prefix, "put", 1, 3)
            fill(mount / "ballast")
            told = node(prefix, "put", 4, PUTS_MAX)
            check_full(prefix, told)
            (mount / "ballast").unlink()
            acknowledged = max(told.numbers("put"), default=3)
            last = check_puts(prefix, acknowledged, acknowledged + 1)
            must(prefix, "put", last + 1, 2)
            check_puts(prefix, last + 2, last + 2)
        finally:
            run("umount", mount)
    print(f"a full disk: stopped after put {acknowledged}, nothing lost, went on when there was room", flush=True)


def check_full(prefix, told):
    if told.status != STOPPED:
        raise Broken(f"on a full disk the node ended with {told.status}: {told.stderr}")
    for words in (str(prefix / DB), "make room on its file system"):
        if words not in told.stderr:
            raise Broken(f"\"{told.stderr.strip()}\" does not say \"{words}\"")


def main():
    need("xfs_io", "mkfs.ext4", "mkfs.xfs")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    private_mounts()
    if not os.path.exists("/dev/loop-control"):
        skip("no loop devices")
    cycles = int(sys.argv[1]) if len(sys.argv) > 1 else 200 if LONG else 4
    seed = int(time.time())
    prng = random.Random(seed)
    print(f"seed {seed}", flush=True)
    failed = 0
    tests = {"full disk": full_disk, **{kind: lambda k=kind: lose_power(k, cycles, prng) for kind in MKFS}}
    for name, test in tests.items():
        try:
            test()
        except (Broken, subprocess.TimeoutExpired) as error:
            failed += 1
            print(f"FAILED {name}: {error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
