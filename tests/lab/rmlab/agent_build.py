"""The checkout's working tree, built and installed into one stage folder per
release. The build folder stays, so that a second build compiles only what
changed; a build of the same sources is skipped."""

import hashlib
import os
import shutil
import subprocess

from . import images, paths
from .shell import log_file_for, phase, say

CONFIGURE = ("./configure --prefix=/usr --sysconfdir=/etc --localstatedir=/var "
             "--disable-tests")
# configure is run again only when one of these changed; plain make sees the rest.
CONFIGURE_INPUTS = ("configure.ac", "Makefile.am", ".mk", ".m4", ".in", "NEWS")

# tests/lab is not part of what a node gets: editing it must not cost a build.
LEFT_OUT = ("tests/lab/",)
MERGED = ("bin", "sbin", "lib", "lib64")


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
    key = f"{layer} {CONFIGURE} {digest_of(sources)}\n"
    stage = paths.stage_dir(release)
    stamp = stage.with_name(f"{stage.name}.stamp")
    if stamp.exists() and stamp.read_text() == key:
        say(f"[  0.0 s] agent {release}: unchanged")
        return True
    folder = paths.build_dir(release)
    if read_or_empty(folder / "layer") != layer:  # other compiler: start anew
        shutil.rmtree(folder, ignore_errors=True)
    with phase(f"agent {release}"):
        (folder / "src").mkdir(parents=True, exist_ok=True)
        (folder / "layer").write_text(layer)
        sync(sources, folder / "src")
        partial = fresh(stage.with_name(f"{stage.name}.partial"))
        compile_into(release, folder, partial, configure_key(sources))
        unite_usr(partial)
        # Only now: a tree that does not build leaves the last good stage.
        stamp.unlink(missing_ok=True)
        shutil.rmtree(stage, ignore_errors=True)
        partial.rename(stage)
        stamp.write_text(key)
    return True


def configure_key(sources):
    wanted = {n: d for n, d in sources.items() if n.endswith(CONFIGURE_INPUTS)}
    return digest_of(wanted) + CONFIGURE


def compile_into(release, folder, stage, key):
    configured = folder / "configured"
    steps = ["set -e", "cd /build"]
    if read_or_empty(configured) != key or not (folder / "src/Makefile").exists():
        configured.unlink(missing_ok=True)
        steps += ["autoreconf -fi", CONFIGURE]
    steps += [f"make -j{os.cpu_count()}", "make install DESTDIR=/stage"]
    images.chroot_run(images.dev_layers(release), "\n".join(steps),
                      binds=[(folder / "src", "/build"), (stage, "/stage")],
                      log=log_file_for(f"agent-{release}"))
    configured.write_text(key)


def fresh(stage):
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    return stage


def unite_usr(stage):
    """/lib, /bin … are symlinks into /usr in a node: a real folder of that
    name, copied over, would replace the symlink and break the node."""
    for name in MERGED:
        if (stage / name).is_dir():
            shutil.copytree(stage / name, stage / "usr" / name, symlinks=True,
                            dirs_exist_ok=True)
            shutil.rmtree(stage / name)


def read_or_empty(path):
    return path.read_text() if path.exists() else ""


def adopt():
    """Copy the stages into the lab's state. The caller holds the cache's lock:
    another command may build into the same stage a moment later."""
    for release in paths.RELEASES:
        shutil.rmtree(paths.agent_dir(release), ignore_errors=True)
        if paths.stage_dir(release).is_dir():
            shutil.copytree(paths.stage_dir(release), paths.agent_dir(release),
                            symlinks=True)
