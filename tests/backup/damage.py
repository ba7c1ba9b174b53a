#!/usr/bin/python3
"""Damaged, hostile and contended repositories: a flipped bit in each kind of file is found by verify, and what needs that
file is not restored; an image that leads elsewhere is refused; a second writer is told to wait.

Exit status: 0, 1, 77 (skipped)."""

import contextlib
import itertools
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
from backuplib import WORKER, Broken, Disk, Repository, contents, need, tool, workplace  # noqa: E402

VM = "web"
DATA, USAGE, CONDITION, AGAIN = 1, 64, 113, 75


class World:
    """Three points of a disk, each on the one before it, with a domain XML and an NVRAM."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.repository = Repository(folder)
        self.repository.run("init")
        self.disk = Disk(folder, "vda", "qcow2", 4 << 20)
        (self.folder / "domain.xml").write_text("<domain/>\n")
        (self.folder / "nvram.bin").write_bytes(bytes(range(256)))
        self.points = [self.export("write -P 5 0 2M"), self.export("write -P 6 512k 256k"),
                       self.export("write -P 7 1M 64k", "write -z 0 64k")]
        self.truth = contents(self.disk.path, "qcow2", folder)

    def export(self, *commands):
        self.disk.io(*commands)
        with self.disk.export() as uri:
            return self.repository.run("export", "--vm", VM, "--disk", f"vda={uri}", "--domain-xml",
                                       self.folder / "domain.xml", "--nvram", self.folder / "nvram.bin").data["uuid"]

    def copy(self):
        shutil.rmtree(self.folder / "copy", ignore_errors=True)
        shutil.copytree(self.repository.path, self.folder / "copy")
        other = Repository(self.folder, "copy")
        other.key = self.repository.key
        return other

    def restore(self, repository, point):
        target = self.folder / "out"
        for name in ("out.raw", "out.xml", "out.bin"):
            (self.folder / name).unlink(missing_ok=True)
        told = repository.run("restore", "--vm", VM, "--point", point, "--format", "raw", "--disk", f"vda={target}.raw",
                              "--domain-xml", f"{target}.xml", "--nvram", f"{target}.bin", check=False)
        if told.status != 0 and any((self.folder / name).exists() for name in ("out.raw.partial",)):
            raise Broken("a restore that failed left its file")
        return told


def flipped_bits(world, chance):
    """In each file that the newest point needs, at a few places of each kind."""
    for path in sorted((world.repository.path / VM).iterdir()):
        if path.name == "lock":
            continue
        size = path.stat().st_size
        for at in sorted({0, size // 2, size - 1, *(chance.randrange(size) for _ in range(4))}):
            other = world.copy()
            victim = other.path / VM / path.name
            data = bytearray(victim.read_bytes())
            data[at] ^= 1 << chance.randrange(8)
            victim.write_bytes(data)
            told = other.run("verify", check=False)
            if told.status != DATA or not told.of("damaged"):
                raise Broken(f"verify took {path.name} with a flipped bit at {at}: {told.status} {told.stderr}")
            number = int(path.name.rsplit("-", 1)[1][:6])
            # Its own point; and every later one whose blocks lie in the image.
            if world.restore(other, world.points[number - 1]).status == 0:
                raise Broken(f"a point was restored with {path.name} with a flipped bit at {at}")


def cut_and_missing(world):
    for path in sorted((world.repository.path / VM).iterdir()):
        if path.name == "lock":
            continue
        for cut in (0, path.stat().st_size // 2, None):
            other = world.copy()
            victim = other.path / VM / path.name
            victim.unlink() if cut is None else victim.write_bytes(victim.read_bytes()[:cut])
            if path.name.startswith("refpoint") and cut is None:
                continue  # then there is no such point
            if other.run("verify", check=False).status != DATA:
                raise Broken(f"verify took {path.name} cut to {cut}")


def put(path, at, data):
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(data)


def hostile(world):
    """Headers that would make a reader open other files, or use up its memory."""
    def backing(name, fmt="qcow2"):
        def change(image):
            tool("qemu-img", "create", "-q", "-f", "qcow2", "-u", "-o", f"backing_file={name},backing_fmt={fmt}", image,
                 "4M")
        return change

    def header(at, data):
        return lambda image: put(image, at, data)

    def sparse(image):
        """4 PiB of clusters that no table names; all the rest is as it must be."""
        l1, cluster = 1 << 36, 65536
        blocks = next(n for n in itertools.count(l1 // 32768) if n * 32768 >= l1 + 1 + n + (n + 8191) // 8192)
        tables = (blocks + 8191) // 8192
        put(image, 40, struct.pack(">QQI", l1 * cluster, (l1 + 1 + blocks) * cluster, tables))
        with contextlib.suppress(OSError):  # where no file can be so large, the header is wrong
            os.truncate(image, (l1 + 1 + blocks + tables) * cluster)

    cases = {
        "a sparse image of petabytes": sparse,
        "an absolute backing file": backing("/etc/passwd", "raw"),
        "a backing file elsewhere": backing("../../etc/passwd"),
        "a backing file by a protocol": backing("nbd:unix:/tmp/x"),
        "a backing file in JSON": backing('json:{"driver":"raw"}'),
        "a name of 2 GiB": header(16, struct.pack(">I", 0x7fffffff)),
        "an external data file": header(72, struct.pack(">Q", 4)),
        "unknown features": header(72, struct.pack(">Q", 1 << 40)),
        "a disk of 8 EiB": header(24, struct.pack(">Q", 1 << 63)),
        "an L1 table of 4 G entries": header(36, struct.pack(">I", 0xffffffff)),
        "an L1 table behind the end": header(40, struct.pack(">Q", 1 << 50)),
        "65536 refcount clusters": header(56, struct.pack(">I", 65536)),
        "snapshots": header(60, struct.pack(">I", 0xffff)),
        "clusters of 2 EiB": header(20, struct.pack(">I", 61)),
        "encryption": header(32, struct.pack(">I", 2)),
        "an image that qemu-img made": lambda image: tool("qemu-img", "create", "-q", "-f", "qcow2", image, "4M"),
        "a loop of backing files": None,
    }
    for what, change in cases.items():
        other = world.copy()
        image = other.image(VM, "vda", 3)
        if change:
            change(image)
        else:
            shutil.copy(other.image(VM, "vda", 2), other.image(VM, "vda", 1))
            put(other.image(VM, "vda", 1), 168, b"vda-000002.qcow2")
        if world.restore(other, world.points[2]).status not in (DATA, CONDITION):
            raise Broken(f"{what} was taken by restore")
        if other.run("verify", check=False).status != DATA:
            raise Broken(f"{what} was taken by verify")
    other = world.copy()
    image = other.image(VM, "vda", 3)
    image.unlink()
    image.symlink_to(world.repository.image(VM, "vda", 3))
    if world.restore(other, world.points[2]).status == 0:
        raise Broken("a symbolic link was followed")


def other_points(world):
    """Whole files of another point, of another virtual machine, of another key."""
    other = world.copy()
    shutil.copytree(other.path / VM, other.path / "db")
    told = other.run("verify", check=False)
    if told.status != DATA or {e["vm"] for e in told.of("damaged")} != {"db"} or len(told.of("damaged")) != 3:
        raise Broken("verify took the points of another virtual machine")
    told = other.run("restore", "--vm", "db", "--disk", f"vda={world.folder / 'db.raw'}", check=False)
    if told.status == 0 or f"virtual machine {VM}" not in told.stderr:
        raise Broken(f"a point of another virtual machine was restored: {told.status} {told.stderr}")
    other = world.copy()
    shutil.copy(other.path / VM / "vda-000001.manifest", other.path / VM / "vda-000002.manifest")
    if world.restore(other, world.points[1]).status == 0:
        raise Broken("the manifest of another point was taken")
    other = world.copy()
    other.key = world.folder / "another.key"
    other.key.write_bytes(b"k" * 32)
    other.key.chmod(0o600)
    if other.run("verify", check=False).status != 77:
        raise Broken("another key was taken")
    other.key.chmod(0o644)
    if other.run("verify", check=False).status != CONDITION:
        raise Broken("a key that all may read was taken")


def under_a_writer(other, argv):
    second = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    if second.returncode != AGAIN:
        raise Broken(f"a second writer ended with {second.returncode}: {second.stderr}")
    for verb in ("verify", "prune", "synthesize"):
        if other.run(verb, "--vm", VM, check=False).status != AGAIN:
            raise Broken(f"{verb} went on under a writer")
    for verb, event in (("verify", "verified"), ("list", "point")):
        told = other.run(verb, check=False)
        vms = {e["vm"] if event == "verified" else e["point"]["vm"] for e in told.of(event)}
        skipped = {e["vm"] for e in told.of("skipped")}
        if told.status != AGAIN or vms != {"aaa", "zzz"} or skipped != {VM} or VM not in told.stderr:
            raise Broken(f"{verb} of all looked at {vms}, skipped {skipped}: {told.status} {told.stderr}")
    other.image("aaa", "vda", 1).unlink()
    if other.run("verify", check=False).status != DATA:
        raise Broken("damage counts less than a virtual machine that is in use")


def two_at_once(world):
    """The first is stopped in its midst; the others are told to wait; then both are there. What looks at the whole
    repository looks at the other virtual machines."""
    other = world.copy()
    with world.disk.export() as uri:
        for vm in ("aaa", "zzz"):
            other.run("export", "--vm", vm, "--disk", f"vda={uri}")
        argv = [str(WORKER), "export", str(other.path), "--key-file", str(other.key), "--reserve", "0", "--vm", VM,
                "--disk", f"vda={uri}", "--engine", "full"]
        slow = subprocess.Popen([*argv, "--limit", str(1 << 20)], stdout=subprocess.PIPE, text=True)
        try:
            slow.stdout.readline()  # the engine: it holds the lock
            slow.send_signal(signal.SIGSTOP)
            under_a_writer(other, argv)
            slow.send_signal(signal.SIGCONT)
            slow.stdout.read()
            if slow.wait() != 0:
                raise Broken("the first writer failed")
        finally:
            slow.kill()
            slow.wait()
            slow.stdout.close()
        if subprocess.run(argv, capture_output=True, timeout=60).returncode != 0:
            raise Broken("no backup after the first writer had ended")
    if len(other.points(VM)) != 5:
        raise Broken("not all points are there")


def foreign_bitmap(world):
    """A bitmap that began at a point which is not here says nothing of the changes since another one."""
    other = world.copy()
    disk = Disk(world.folder, "vdb", "qcow2", 4 << 20)
    disk.io("write -P 1 0 1M")
    with disk.export() as uri:
        other.run("export", "--vm", VM, "--disk", f"vdb={uri}")
    disk.io("write -P 2 0 64k")
    disk.checkpoint()  # the bitmap begins after a change
    bitmap, _ = disk.checkpoint()
    for parent in ([], ["--parent", "00000000-0000-4000-8000-000000000001"]):
        with disk.export(bitmap) as uri:
            told = other.run("export", "--vm", VM, "--disk", f"vdb={uri}", "--bitmap", f"vdb={bitmap}", *parent)
        if told.data["engine"] != "rescan":
            raise Broken(f"a bitmap of another point was used: {told.data['engine']}")
        if other.restored(VM, "vdb", told.data["uuid"], world.folder) != contents(disk.path, "qcow2", world.folder):
            raise Broken("a change is missing")


def broken_chain(world):
    """Nothing is written on top of what does not restore: damage below the reference makes the next point a full."""
    def lose(path):
        path.unlink()

    def hurt(path):
        put(path, 40, struct.pack(">Q", 1 << 50))

    for what, damage in (("vda-000001.qcow2", lose), ("vda-000001.qcow2", hurt), ("vda-000002.qcow2", hurt),
                         ("refpoint-000001.json", hurt), ("refpoint-000002.json", lose)):
        other = world.copy()
        damage(other.path / VM / what)
        with world.disk.export() as uri:
            data = other.run("export", "--vm", VM, "--disk", f"vda={uri}").data
        if data["engine"] != "full" or "on which it would stand" not in data["disks"][0]["reason"]:
            raise Broken(f"without {what} the next point was: {data['disks'][0]}")
        if other.restored(VM, "vda", data["uuid"], world.folder) != world.truth:
            raise Broken(f"without {what} the next point does not restore")


def lost_documents(world):
    """Of points in the midst of a chain: their images stay, and what is behind them, as long as a point needs them."""
    for lost in ((2,), (1, 2)):
        for verb in (["prune", "--keep-last", 1], ["prune", "--keep-last", 1, "--fold"], ["synthesize"], ["export"]):
            other = world.copy()
            for number in lost:
                (other.path / VM / f"refpoint-{number:06}.json").unlink()
            with world.disk.export() as uri:
                disk = ["--disk", f"vda={uri}"] if verb == ["export"] else []
                told = other.run(*verb, "--vm", VM, *disk, check=False)
            if told.status != (0 if disk else CONDITION) or (not disk and "is not there" not in told.stderr):
                raise Broken(f"{verb[0]} without {lost}: {told.status} {told.stderr}")
            if other.restored(VM, "vda", world.points[2], world.folder) != world.truth:
                raise Broken("a point that was on others does not restore")


def damaged_disk(world):
    """Of a point of two disks the other one is restored all the same."""
    other = world.copy()
    with world.disk.export() as uri:
        point = other.run("export", "--vm", VM, "--disk", f"vda={uri}", "--disk", f"vdb={uri}").data["uuid"]
    other.image(VM, "vdb", 4).unlink()
    for disk, good in (("vda", True), ("vdb", False)):
        target = world.folder / f"{disk}.raw"
        told = other.run("restore", "--vm", VM, "--point", point, "--format", "raw", "--disk", f"{disk}={target}",
                         check=False)
        if (told.status == 0) != good or target.exists() != good or (not good and "vdb-000004" not in told.stderr):
            raise Broken(f"restore of {disk} beside a damaged disk: {told.status} {told.stderr}")
    if contents(world.folder / "vda.raw", "raw", world.folder) != world.truth:
        raise Broken("a disk beside a damaged one is not what it was")
    (world.folder / "vda.raw").unlink()


def manifest_of_another_disk(world):
    """Of the same point and size: a rescan that compared with it would leave out what is alike there."""
    other = world.copy()
    disk = Disk(world.folder, "vdc", "qcow2", 4 << 20)
    disk.io("write -P 9 0 1M")
    with world.disk.export() as vda, disk.export() as vdc:
        words = ["--vm", VM, "--disk", f"vda={vda}", "--disk", f"vdc={vdc}"]
        other.run("export", *words, "--engine", "full")
        one, two = (other.path / VM / f"{name}-000004.manifest" for name in ("vda", "vdc"))
        bytes_of_one = one.read_bytes()
        one.write_bytes(two.read_bytes())
        two.write_bytes(bytes_of_one)
        data = other.run("export", *words).data
    if {d["reason"] for d in data["disks"]} != {"the reference point is damaged"} or data["engine"] != "full":
        raise Broken(f"the manifest of another disk was a reference: {data['disks']}")
    if other.restored(VM, "vda", data["uuid"], world.folder) != world.truth:
        raise Broken("the next point does not restore")


def uuid_twice(world):
    with world.disk.export() as uri:
        for uuid in (world.points[0], world.points[2].upper()):
            told = world.repository.run("export", "--vm", VM, "--disk", f"vda={uri}", "--point", uuid, check=False)
            if told.status != CONDITION or uuid not in told.stderr or "--point" not in told.stderr:
                raise Broken(f"a second point of a UUID: {told.status} {told.stderr}")
    if [p["point"]["uuid"] for p in world.repository.points(VM)] != world.points:
        raise Broken("a second point of a UUID was made")


def nothing_named(world):
    """An empty path is wrong usage."""
    place, key = str(world.repository.path), ["--key-file", str(world.repository.key)]
    export = ["export", place, *key, "--vm", VM, "--disk", "vda=nbd+unix:///?socket=none"]
    for words in (["list", "", *key], ["list", place, "--key-file", ""], [*export, "--nvram", ""],
                  [*export, "--domain-xml", ""], ["init", str(world.folder / "new"), "--key-file", ""],
                  ["init", "", "--key-file", str(world.folder / "new.key")]):
        done = subprocess.run([str(WORKER), *words], capture_output=True, text=True, timeout=60)
        if done.returncode != USAGE or not done.stderr:
            raise Broken(f"{words} ended with {done.returncode}: {done.stderr}")
    if (world.folder / "new").exists() or (world.folder / "new.key").exists():
        raise Broken("something was made of nothing")


def overwrite_and_room(world):
    target = world.folder / "there.raw"
    target.write_text("mine")
    told = world.repository.run("restore", "--vm", VM, "--format", "raw", "--disk", f"vda={target}", check=False)
    if told.status != CONDITION or target.read_text() != "mine":
        raise Broken("a restore wrote over a file")
    with world.disk.export() as uri:
        told = world.repository.run("export", "--vm", VM, "--disk", f"vda={uri}", "--engine", "full", "--reserve", 1 << 59,
                                    check=False)
    if told.status != CONDITION or len(world.repository.points(VM)) != 3:
        raise Broken("a backup began without room")


def main():
    need("qemu-img", "qemu-io", "qemu-nbd")
    seed = random.randrange(1 << 32)
    failed = 0
    with workplace() as folder:
        world = World(folder)
        for case in (lambda w: flipped_bits(w, random.Random(seed)), cut_and_missing, hostile, other_points, two_at_once,
                     foreign_bitmap, broken_chain, lost_documents, damaged_disk, manifest_of_another_disk, uuid_twice,
                     nothing_named, overwrite_and_room):
            try:
                case(world)
            except Broken as broken:
                failed += 1
                print(f"seed {seed}: {broken}", flush=True)
        if world.repository.restored(VM, "vda", world.points[2], folder) != world.truth:
            failed += 1
            print("the repository itself does not restore any more")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
