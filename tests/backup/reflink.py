#!/usr/bin/python3
"""A repository on a file system that shares blocks (XFS): a fold takes the data over by reference, and the chain is what
it was. In a mount namespace of its own; needs root.

Exit status: 0, 1, 77 (skipped)."""

import os
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
from backuplib import SKIP, Broken, Disk, Repository, contents, need, tool, workplace  # noqa: E402

VM = "web"


def mounted(folder):
    """A folder on XFS; SystemExit where that cannot be."""
    image, place = Path(folder) / "xfs", Path(folder) / "mounted"
    place.mkdir()
    with open(image, "wb") as f:
        f.truncate(400 << 20)
    for argv in (["mkfs.xfs", "-q", "-m", "reflink=1", str(image)], ["mount", "-o", "loop", str(image), str(place)]):
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode != 0:
            print(f"skipped: {argv[0]}: {done.stderr.strip()}")
            sys.exit(SKIP)
    return place


def work(folder):
    place = mounted(folder)
    try:
        repository = Repository(place)
        repository.run("init")
        disk = Disk(folder, "vda", "qcow2", 40 << 20)
        for commands in (["write -P 1 0 20M"], ["write -P 2 5M 300k", "write -z 7M 1M"], ["write -P 3 39M 1M"]):
            disk.io(*commands)
            with disk.export() as uri:
                newest = repository.run("export", "--vm", VM, "--disk", f"vda={uri}").data["uuid"]
        truth, log = contents(disk.path, "qcow2", folder), Path(folder) / "trace"
        for _ in range(2):
            repository.run("synthesize", "--vm", VM, through=["strace", "-f", "-o", log, "-e", "trace=ioctl,pread64"])
            lines = [line for line in log.read_text().splitlines() if "FICLONERANGE" in line]
            if not lines or not all(line.endswith("= 0") for line in lines):
                raise Broken(f"nothing was taken over by reference: {lines[:3]}")
            if any("pread64" in line and " 1048576, " in line for line in log.read_text().splitlines()):
                raise Broken("data were read")
        repository.run("verify")
        image = repository.image(VM, "vda", 3)
        tool("qemu-img", "check", "-q", image)
        for digest in (repository.restored(VM, "vda", newest, folder), contents(image, "qcow2", folder)):
            if digest != truth:
                raise Broken("the folded chain is another disk")
    finally:
        subprocess.run(["umount", str(place)], check=False)


def main():
    need("qemu-img", "qemu-io", "qemu-nbd", "strace", "mkfs.xfs", "mount", "unshare")
    if os.geteuid() != 0:
        print("skipped: not root")
        return SKIP
    if "--inside" not in sys.argv:
        return subprocess.run(["unshare", "-m", "--propagation", "private", sys.executable, __file__, "--inside"]).returncode
    with workplace() as folder:
        try:
            work(folder)
        except Broken as broken:
            print(broken)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
