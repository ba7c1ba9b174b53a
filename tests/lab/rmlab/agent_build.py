"""The checkout's working tree as Debian packages, and one layer per release in
which they are installed: it lies between the base image and a node's own layer,
so that no node pays for the installation. The build folder stays, so that a
second build compiles only what changed; a build of the same sources is
skipped."""

import hashlib
import os
import shutil
import subprocess

from . import images, paths
from .shell import log_file_for, phase, run, say

OPTIONS = f"nocheck noautodbgsym parallel={os.cpu_count()}"
# Raised when the recipe below changes.
RECIPE = "1"
# configure is run again only when one of these changed; plain make sees the rest.
CONFIGURE_INPUTS = ("configure.ac", "Makefile.am", ".mk", ".m4", ".in", "NEWS",
                    "debian/rules")

# tests/lab is not part of what a node gets: editing it must not cost a build.
LEFT_OUT = ("tests/lab/",)

# Where a node finds the packages that are installed in it.
PACKAGES = "usr/local/share/ringmaster-lab/packages"


def source_files():
    """Paths of the working tree, tracked or new, without what git ignores."""
    git = subprocess.run(
        ["git", "-c", f"safe.directory={paths.CHECKOUT}", "-C", paths.CHECKOUT,
         "ls-files", "-co", "--exclude-standard", "-z"], capture_output=True)
    if git.returncode == 0:
        names = [os.fsdecode(n) for n in git.stdout.split(b"\0") if n]
    else:  # an unpacked tarball
        names = [str(p.relative_to(paths.CHECKOUT))
                 for p in paths.CHECKOUT.rglob("*")]
    return sorted(n for n in set(names) if wanted(n)
                  and (paths.CHECKOUT / n).is_file())


def wanted(name):
    return not name.startswith(LEFT_OUT) or name.endswith(".mk")


def read_sources():
    found = {}
    for name in source_files():
        try:
            found[name] = (paths.CHECKOUT / name).read_bytes()
        except FileNotFoundError:
            pass  # removed while we looked
    return found


def digest_of(sources):
    total = hashlib.sha256()
    for name, data in sorted(sources.items()):
        total.update(f"{name}\0{len(data)}\0".encode() + data)
    return total.hexdigest()


def has_agent():
    return (paths.CHECKOUT / "configure.ac").exists()


def sync(sources, target):
    """Write what differs, so that make's time stamps stay true, and remove
    what this function wrote once and is no more in the checkout."""
    manifest = target.parent / "manifest"
    before = manifest.read_text().splitlines() if manifest.exists() else []
    for name in set(before) - set(sources):
        (target / name).unlink(missing_ok=True)
    for name, data in sources.items():
        path = target / name
        mode = os.stat(paths.CHECKOUT / name).st_mode & 0o777
        if not path.is_file() or path.read_bytes() != data:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        path.chmod(mode)
    manifest.write_text("\n".join(sources) + "\n")


def build(release):
    """True when there is something to install afterwards."""
    if not has_agent():
        return False
    sources = read_sources()
    layer = images.dev_dir(release).name
    key = f"{layer} {RECIPE} {OPTIONS} {digest_of(sources)}\n"
    stage = paths.stage_dir(release)
    stamp = stamp_of(stage)
    if stamp.exists() and stamp.read_text() == key:
        say(f"[  0.0 s] packages {release}: unchanged")
        return True
    folder = paths.build_dir(release)
    if read_or_empty(folder / "layer") != layer:  # other compiler: start anew
        shutil.rmtree(folder, ignore_errors=True)
    with phase(f"packages {release}"):
        (folder / "src").mkdir(parents=True, exist_ok=True)
        (folder / "layer").write_text(layer)
        sync(sources, folder / "src")
        build_packages(release, folder, configure_key(sources))
    with phase(f"installed {release}"):
        partial = fresh(stage.with_name(f"{stage.name}.partial"))
        install(release, folder, partial)
        # Only now: a tree that does not build leaves the last good stage.
        stamp.unlink(missing_ok=True)
        shutil.rmtree(stage, ignore_errors=True)
        (partial / "layer").rename(stage)
        shutil.rmtree(partial, ignore_errors=True)
        stamp.write_text(key)
    return True


def stamp_of(stage):
    return stage.with_name(f"{stage.name}.stamp")


def configure_key(sources):
    wanted = {n: d for n, d in sources.items() if n.endswith(CONFIGURE_INPUTS)}
    return digest_of(wanted) + RECIPE + OPTIONS


def build_packages(release, folder, key):
    """Into folder. dpkg-buildpackage does not clean (-nc), and debhelper's
    stamp keeps it from doing again what make has brought up to date."""
    configured = folder / "configured"
    steps = ["set -e", "cd /build/src", f"export DEB_BUILD_OPTIONS='{OPTIONS}'",
             "rm -f ../*.deb debian/files"]
    if (read_or_empty(configured) == key
            and (folder / "src/debian/debhelper-build-stamp").exists()):
        steps += [f"make -j{os.cpu_count()}"]
    else:
        configured.unlink(missing_ok=True)
        steps += ["rm -f debian/debhelper-build-stamp debian/autoreconf.*"]
    steps += ["dpkg-buildpackage -b -nc -uc -us -Pnocheck"]
    images.chroot_run(images.dev_layers(release), "\n".join(steps),
                      binds=[(folder, "/build")],
                      log=log_file_for(f"packages-{release}"))
    configured.write_text(key)


def install(release, folder, partial):
    """dpkg installs the packages over the base image; what it changes is the
    layer. The packages themselves go along, for an upgrade or a repair."""
    layer, work = partial / "layer", partial / "work"
    layer.mkdir()
    work.mkdir()
    images.chroot_run([images.base_dir(release)],
                      "DEBIAN_FRONTEND=noninteractive dpkg --force-unsafe-io "
                      "--install /tmp/build/*.deb",
                      upper=layer, work=work, binds=[(folder, "/tmp/build")],
                      log=log_file_for(f"packages-{release}"))
    for name in ("resolv.conf", "hosts"):  # the build's own, not the package's
        (layer / "etc" / name).unlink(missing_ok=True)
    (layer / PACKAGES).mkdir(parents=True)
    for package in folder.glob("*.deb"):
        shutil.copy2(package, layer / PACKAGES)


def fresh(stage):
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    return stage


def read_or_empty(path):
    return path.read_text() if path.exists() else ""


def adopt():
    """Copy the layers into the lab's state. The caller holds the cache's lock:
    another command may build into the same stage a moment later. A layer that a
    node runs on is never written to: each build's has a name of its own."""
    for release in paths.RELEASES:
        stage, link = paths.stage_dir(release), paths.agent_dir(release)
        if not stage.is_dir():
            continue
        key = hashlib.sha256(stamp_of(stage).read_bytes()).hexdigest()[:12]
        own = link.with_name(f"{release}-{key}")
        if not own.is_dir():
            partial = fresh(own.with_name(f"{own.name}.partial"))
            # Overlayfs tells of removed files by device nodes and attributes.
            run(["cp", "-a", "--no-target-directory", stage, partial], capture=True)
            partial.rename(own)
        fresh_link = link.with_name(f"{release}.new")
        fresh_link.unlink(missing_ok=True)
        fresh_link.symlink_to(own.name)
        fresh_link.rename(link)
