"""Packages of peers, as the nodes' release has them: apt fetches into the bench's cache what a node does not have yet,
and installs it in the nodes of a lab. Nothing is installed on the host."""

import os
import shutil
import subprocess
from pathlib import Path

from . import lab
from .frame import Unmeasured

from rmlab import images, paths  # noqa: E402

CACHE = Path(os.environ.get("BENCH_CACHE") or "/var/cache/ringmaster-bench")
RELEASE = paths.RELEASES[0]  # of the host, and of the nodes

# No service starts because it was installed, and nothing goes.
INSTALL = r"""set -e
installer=$1; shift
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
DEBIAN_FRONTEND=noninteractive $installer /shared/bench-debs/*.deb >/var/log/bench-install.log 2>&1 ||
    { tail -n 5 /var/log/bench-install.log >&2; exit 1; }
rm /usr/sbin/policy-rc.d
systemctl disable -q "$@"
"""
APT = "apt-get install -qy --no-remove --no-install-recommends -o Dpkg::Options::=--force-unsafe-io"
BESIDE = "dpkg --force-unsafe-io --force-conflicts --install"  # what Ringmaster's package does not want beside it


def apt(folder, words):
    """apt-get, for a system that is a node's base image; all that it writes is in the folder."""
    argv = ["apt-get", "--quiet", "--yes", "--no-install-recommends", "-o", f"Dir::State::status={folder}/status",
            "-o", f"Dir::Cache={folder}", "-o", f"Dir::Cache::archives={folder}", "-o", "Debug::NoLocking=1", *words]
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=True,
                          env={**os.environ, "LC_ALL": "C.UTF-8"})


def fetch(name, packages):
    """The folder with all that a node needs in order to install them."""
    base = images.base_dir(RELEASE)
    folder = CACHE / f"{name}-{base.name}"
    if (folder / "done").is_file():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    try:
        (folder / "partial").mkdir(parents=True)
        shutil.copy(base / "var/lib/dpkg/status", folder / "status")
        apt(folder, ["install", "--download-only", *packages])
        (folder / "done").touch()
    except (subprocess.SubprocessError, OSError) as error:
        raise Unmeasured(f"{name} could not be had: {getattr(error, 'stderr', None) or error}".strip()) from None
    return folder


def unpack(folder, package):
    """The root of a program that runs on the host, in a namespace of the lab."""
    root = folder / "root" / package
    if not root.is_dir():
        found = sorted(folder.glob(f"{package}_*.deb"))
        if len(found) != 1:
            raise Unmeasured(f"{package} is not in {folder}")
        root.parent.mkdir(exist_ok=True)
        subprocess.run(["dpkg", "-x", str(found[0]), str(root)], check=True, capture_output=True, text=True)
    return root


def install(nodes, folder, units, without=(), installer=APT):
    """In the nodes. units: those that must not start with the node."""
    place = paths.SHARED / "bench-debs"
    place.mkdir()
    try:
        for package in folder.glob("*.deb"):
            if package.name.split("_")[0] not in without:
                shutil.copy(package, place)
        lab.run_on_all(nodes, INSTALL, installer, *units, timeout=300)
    finally:
        shutil.rmtree(place)
