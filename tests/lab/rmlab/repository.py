"""A package repository of a release inside the lab, for an upgrade in place: the
packages of which the release's base image was made, and our own for it. The
first are fetched once into the cache; a node sees both in one folder, without a
network."""

import hashlib
import os
import shutil

from . import agent_build, enter, images, paths, state
from .shell import LabError, locked, log_file_for, output, phase, write_file

IN_NODE = "/srv/repository"

SOURCES = """Types: deb
URIs: file:{folder}
Suites: ./
Trusted: yes
"""

# What a power loss damages is built again.
DPKG_CONF = "force-unsafe-io\n"


def place():
    """What the nodes see as IN_NODE: a folder for each release."""
    return paths.STATE / "repository"


def cached(release):
    return paths.CACHE / "packages" / images.base_dir(release).name


def fetch(release):
    """The very versions that the base image has, into the cache."""
    target = cached(release)
    if target.exists():
        return
    admin = images.base_dir(release) / "var/lib/dpkg"
    names = output(["dpkg-query", f"--admindir={admin}", "--show",
                    "--showformat=${binary:Package}=${Version}\n"]).split()
    partial = images.fresh_partial(target)
    write_file(partial / "list", "\n".join(names) + "\n")
    with phase(f"packages of {release}"):
        images.chroot_run(images.dev_layers(release),
                          "cd /packages && xargs apt-get -qq download < list && rm list",
                          binds=[(partial, "/packages")],
                          log=log_file_for(f"repository-{release}"))
        os.rename(partial, target)


def index_entry(deb):
    """A paragraph of Packages."""
    data = deb.read_bytes()
    control = output(["dpkg-deb", "--field", deb]).rstrip("\n")
    return (f"{control}\nFilename: ./{deb.name}\nSize: {len(data)}\n"
            f"SHA256: {hashlib.sha256(data).hexdigest()}\n")


def release_file(index):
    digest = hashlib.sha256(index).hexdigest()
    return ("Suite: lab\nDate: Thu, 01 Jan 2026 00:00:00 UTC\n"
            f"SHA256:\n {digest} {len(index)} Packages\n")


def assemble(release):
    folder = place() / release
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    own = paths.agent_dir(release).resolve() / agent_build.PACKAGES
    if not own.is_dir():
        raise LabError(f"there are no packages of ours for {release}",
                       "tests/lab/lab build, then lab down and lab up")
    for deb in [*sorted(cached(release).glob("*.deb")), *sorted(own.glob("*.deb"))]:
        shutil.copy2(deb, folder / deb.name)
    index = "\n".join(index_entry(deb) for deb in sorted(folder.glob("*.deb"))).encode()
    write_file(folder / "Packages", index)
    write_file(folder / "Release", release_file(index))


def offer(name, release):
    """What an admin does before a node is upgraded in place."""
    state.node_or_fail(name)
    with locked(paths.CACHE / "lock", "building images", wait=True):
        fetch(release)
    with phase(f"{release} for {name}"):
        if not (place() / release / "Release").exists():
            assemble(release)
        folder = "/etc/ringmaster/in-place"
        enter.run(name, ["mkdir", "-p", folder])
        enter.run(name, ["sh", "-c", f"cat > {folder}/{release}.sources"],
                  stdin=SOURCES.format(folder=f"{IN_NODE}/{release}"))
        enter.run(name, ["sh", "-c", "cat > /etc/dpkg/dpkg.cfg.d/lab"], stdin=DPKG_CONF)
