"""Base images of both releases, and a second layer of each with compiler and
-dev packages. Both are kept in the cache, keyed by what went into them."""

import hashlib
import os
import shutil
import threading

from . import apt, paths
from .shell import LabError, log_file_for, phase, run, write_file

# Raised when the recipe below changes in a way that the key does not see.
RECIPE = "1"

# Units that only cost boot time in a node, or that would act behind the
# agent's back (libvirt-guests suspends virtual machines at shutdown).
MASKED = """
apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer
e2scrub_reap.service fstrim.timer man-db.timer getty@tty1.service
getty.target console-getty.service systemd-firstboot.service
libvirt-guests.service systemd-networkd-wait-online.service
systemd-update-utmp.service systemd-hwdb-update.service ldconfig.service
systemd-journal-catalog-update.service systemd-update-done.service
systemd-pcrphase.service systemd-pcrphase-sysinit.service
virtinterfaced.socket virtnwfilterd.socket
""".split()

DISABLED = ["corosync.service"]
ENABLED = ["systemd-networkd.service", "libvirtd.service"]

# Documentation is of no use in a node and costs a third of the unpacking.
EXCLUDED = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*",
            "/usr/share/info/*"]


def package_list(*names):
    found = []
    for name in names:
        with open(paths.LAB / f"packages.{name}") as f:
            found += [line.strip() for line in f
                      if line.strip() and not line.startswith("#")]
    return sorted(set(found))


def digest(*parts):
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def base_key(release):
    return digest(RECIPE, release, *package_list("common", release), "masked",
                  *MASKED, *ENABLED, *DISABLED)


def base_dir(release):
    return paths.CACHE / "base" / f"{release}-{base_key(release)}"


def dev_dir(release):
    key = digest(base_key(release), *package_list("build"))
    return paths.CACHE / "dev" / f"{release}-{key}"


def build_base(release):
    target = base_dir(release)
    if target.exists():
        return
    partial = fresh_partial(target)
    log = log_file_for(f"base-{release}")
    packages = ",".join(package_list("common", release))
    argv = ["mmdebstrap", "--variant=minbase", "--mode=root", "--format=directory",
            f"--include={packages}", "--skip=cleanup/apt/lists"]
    argv += [f"--aptopt={line}" for line in apt.options()]
    argv += ["--dpkgopt=force-unsafe-io"]  # what a power loss damages is built again
    argv += [f"--dpkgopt=path-exclude={glob}" for glob in EXCLUDED]
    argv += [f"--customize-hook={hook}" for hook in hooks()]
    argv += [release, partial] + apt.sources(release)
    with phase(f"base image {release}"):
        run(argv, log=log)
        os.rename(partial, target)


def hooks():
    yield 'chroot "$1" systemctl mask ' + " ".join(MASKED)
    yield 'chroot "$1" systemctl disable ' + " ".join(DISABLED)
    yield 'chroot "$1" systemctl enable ' + " ".join(ENABLED)
    yield 'chroot "$1" systemctl set-default multi-user.target'
    yield 'chroot "$1" passwd -d root'
    # An empty machine-id: each node gets its own from its --uuid.
    yield ': > "$1"/etc/machine-id; rm -f "$1"/var/lib/dbus/machine-id'
    yield 'rm -f "$1"/etc/hostname "$1"/etc/resolv.conf'
    # corosync's package brings a sample; a configured node has it from the agent.
    yield 'rm -f "$1"/etc/corosync/corosync.conf'


def build_dev(release):
    target = dev_dir(release)
    if target.exists():
        return
    partial = fresh_partial(target)
    upper, work = partial / "upper", partial / "work"
    upper.mkdir()
    work.mkdir()
    conf = upper / "etc/apt/apt.conf.d/90lab"
    write_file(conf, "\n".join(apt.options()) + "\n")
    packages = " ".join(package_list("build"))
    script = ("apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get "
              "install -qy --no-install-recommends "
              f"-o Dpkg::Options::=--force-unsafe-io {packages} && apt-get clean")
    with phase(f"build layer {release}"):
        chroot_run([base_dir(release)], script, upper=upper, work=work,
                   log=log_file_for(f"dev-{release}"))
        shutil.rmtree(work, ignore_errors=True)
        os.rename(partial, target)


def chroot_run(lowers, script, *, upper=None, work=None, binds=(), log=None):
    """Run a shell script in an overlay of lowers (topmost first). Mounts are
    made in a mount namespace of its own and processes in a PID namespace of
    their own: both vanish with the command, however it ends. Without an upper
    layer what the script writes outside of its binds is thrown away."""
    point = paths.CACHE / "chroot"  # each run mounts over it for itself alone
    point.mkdir(parents=True, exist_ok=True)
    steps = ["set -e", f"m='{point}'"]
    if upper is None:
        steps += ["mount -t tmpfs lab \"$m\"", "mkdir \"$m/u\" \"$m/w\" \"$m/r\"",
                  "u=$m/u w=$m/w r=$m/r"]
    else:
        steps += [f"u='{upper}' w='{work}'", "mount -t tmpfs lab \"$m\"",
                  "mkdir \"$m/r\"", "r=$m/r"]
    lower = ":".join(str(layer) for layer in lowers)
    steps += [
        f"mount -t overlay lab -o \"lowerdir={lower},upperdir=$u,workdir=$w\" \"$r\"",
        "mount -t proc proc \"$r/proc\"", "mount --rbind /dev \"$r/dev\"",
        "mount -t tmpfs lab \"$r/tmp\"",
        "if [ -e /etc/resolv.conf ]; then rm -f \"$r/etc/resolv.conf\"; "
        "cat /etc/resolv.conf > \"$r/etc/resolv.conf\"; fi",
        "cat /etc/hosts > \"$r/etc/hosts\"",
    ]
    for source, place in binds:
        steps += [f"mkdir -p \"$r{place}\"", f"mount --bind '{source}' \"$r{place}\""]
    steps += ["exec chroot \"$r\" /bin/sh -c \"$LAB_SCRIPT\""]
    keep = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY",
            "NO_PROXY", "SSL_CERT_FILE")
    env = {name: os.environ[name] for name in keep if name in os.environ}
    env.update(PATH="/usr/sbin:/usr/bin:/sbin:/bin", HOME="/root",
               LC_ALL="C.UTF-8", LAB_SCRIPT=script)
    return run(["unshare", "--mount", "--pid", "--fork", "--kill-child",
                "--propagation", "private", "sh", "-c", "\n".join(steps)],
               env=env, log=log, title=f"the build in {lowers[0].parent.name}")


def fresh_partial(target):
    """A half-built image is never mistaken for a whole one: it is built
    beside its place and renamed at the end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    return partial


def dev_layers(release):
    """The layers in which the agent is compiled, topmost first."""
    return [dev_dir(release) / "upper", base_dir(release)]


def build_layers(release):
    build_base(release)
    build_dev(release)


def each_release(work):
    """work(release) for both releases at once; the first error wins."""
    errors = []

    def guarded(release):
        try:
            work(release)
        except (LabError, OSError) as error:
            errors.append((release, error))

    threads = [threading.Thread(target=guarded, args=(r,)) for r in paths.RELEASES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        release, error = errors[0]
        raise LabError(f"{release}: {error}", getattr(error, "remedy", None))
