"""A node's root: an overlay of its release's base image, the layer in which
Ringmaster's packages are installed, and a layer of its own, which is all that it
ever writes to."""

import os
import shutil
import uuid

from . import guest_image, images, network, paths, repository, state, watchdog, witness
from .shell import output, run, write_file

EXECUTOR = "/usr/local/libexec/ringmaster-lab-rebuild"
FENCE = "/usr/local/libexec/ringmaster-lab-fence"
JOIN_FILE = "/etc/ringmaster/join.token"

QEMU_CONF = """# The lab: no user of QEMU's own, no security driver, no cgroups.
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
lock_manager = "lockd"
"""

# Each node's virtlockd holds a lock on every disk that a VM of the node uses: fcntl on the file itself, which all
# nodes share.
LOCKD_CONF = "auto_disk_leases = 1\nrequire_lease_for_disks = 1\n"

# All nodes see the same DMI UUID of the one machine below them; libvirt
# refuses to migrate between two hosts of one UUID.
LIBVIRTD_CONF = """host_uuid_source = "machine-id"
unix_sock_auth = "none"
"""

# A rotation or a truncation would make a gap in a guest's console.
VIRTLOGD_CONF = "max_size = 0\n"

# See guest/clusterfs.c.
CLUSTERFS = "/usr/local/lib/ringmaster-lab/clusterfs.so"
CLUSTERFS_UNIT = f"[Service]\nEnvironment=LD_PRELOAD={CLUSTERFS}\n"

NETWORK = """[Match]
Name=host0

[Network]
Address={address}/{bits}
LinkLocalAddressing=no
IPv6AcceptRA=no
LLMNR=no
"""

FIRST_BOOT = f"""[Unit]
Description=Join the cluster on the first boot of a new image
ConditionPathExists={JOIN_FILE}
After=ringmasterd.service
Wants=ringmasterd.service

[Service]
Type=exec
ExecStart=/usr/local/libexec/ringmaster-lab-firstboot

[Install]
WantedBy=multi-user.target
"""

FIRST_BOOT_SCRIPT = f"""#!/bin/sh
# The agent of a fresh image may need a moment, and a join may be refused for a
# while (no quorum during a leader's change): try for some minutes.
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    if clusterctl node join --token-file {JOIN_FILE} --wait=120; then
        rm -f {JOIN_FILE}
        exit 0
    fi
    echo "join attempt $attempt failed" >&2
    sleep 2
done
exit 1
"""


def upper(node):
    return paths.node_dir(node) / "upper"


def root(node):
    """Mount point; the overlay is seen only in the supervisor's namespace."""
    return paths.node_dir(node) / "root"


def fresh_upper(node):
    for layer in ("upper", "work"):
        shutil.rmtree(paths.node_dir(node) / layer, ignore_errors=True)
        (paths.node_dir(node) / layer).mkdir(parents=True)
    root(node).mkdir(exist_ok=True)


def lowers(release):
    """What a new image of a release stands on, topmost first."""
    layers = [images.base_dir(release)]
    if paths.agent_dir(release).is_dir():
        layers.insert(0, paths.agent_dir(release).resolve())
    return layers


def mount_root(node, layers):
    folder = paths.node_dir(node)
    lower = ":".join(str(layer) for layer in layers)
    run(["mount", "-t", "overlay", "rmlab", "-o",
         f"lowerdir={lower},upperdir={folder}/upper,workdir={folder}/work",
         root(node)], capture=True)


def unmount_root(node):
    run(["umount", "-R", root(node)], check=False, capture=True)


def configure(node, nodes, join_file=None):
    """Everything that an installed and cabled host has before Ringmaster is
    set up: name, address, libvirt's settings. Ringmaster's packages are
    installed in the layer below."""
    top = root(node)
    write_file(top / "etc/hostname", node + "\n")
    write_file(top / "etc/hosts", hosts(nodes))
    write_file(top / "etc/systemd/network/10-host0.network",
               NETWORK.format(address=nodes[node]["address"],
                              bits=network.SUBNET_BITS))
    write_file(top / "etc/libvirt/qemu.conf", QEMU_CONF)
    write_file(top / "etc/libvirt/qemu-lockd.conf", LOCKD_CONF)
    write_file(top / "etc/libvirt/libvirtd.conf", LIBVIRTD_CONF)
    write_file(top / "etc/libvirt/virtlogd.conf", VIRTLOGD_CONF)
    write_file(top / CLUSTERFS.lstrip("/"), guest_image.clusterfs().read_bytes())
    for service in ("libvirtd", "ringmasterd"):
        write_file(top / f"usr/local/lib/systemd/system/{service}.service.d/clusterfs.conf", CLUSTERFS_UNIT)
    hook = (paths.LAB / "rebuild-hook").read_bytes()
    write_file(top / EXECUTOR.lstrip("/"), hook, 0o755)
    write_file(top / FENCE.lstrip("/"), (paths.LAB / "fence-hook").read_bytes(), 0o755)
    write_file(top / "usr/local/libexec/ringmaster-lab-firstboot",
               FIRST_BOOT_SCRIPT, 0o755)
    write_file(top / "etc/systemd/system/ringmaster-lab-firstboot.service",
               FIRST_BOOT)
    enable(top, "ringmaster-lab-firstboot.service")
    if witness.ca():
        bundle = top / "etc/ssl/certs/ca-certificates.crt"
        write_file(bundle, bundle.read_text() + witness.ca())
    if state.lab_or_fail().get("watchdog"):
        write_file(top / "etc/ringmaster/conf.d/watchdog.conf", watchdog.CONF)
    if join_file is not None:
        write_file(top / JOIN_FILE.lstrip("/"), join_file, 0o600)


def enable(top, unit):
    run(["systemctl", f"--root={top}", "enable", "-q", unit], capture=True)


def hosts(nodes):
    lines = ["127.0.0.1 localhost",
             f"{network.WITNESS_ADDRESS} {witness.HOST} {witness.BLOB_HOST}"]
    lines += [f"{facts['address']} {name}" for name, facts in nodes.items()]
    return "\n".join(lines) + "\n"


def nspawn_argv(node):
    """The flags were found by measuring: see the design page on the lab."""
    machine = uuid.uuid5(uuid.NAMESPACE_DNS, f"{network.netns(node)}.ringmaster-lab")
    return ["systemd-nspawn", "--register=no", "--keep-unit", "-q",
            "-D", str(root(node)), "-M", node, f"--uuid={machine.hex}",
            f"--network-namespace-path={network.netns_path(node)}",
            "--capability=all", f"--bind={paths.SHARED}:/shared",
            f"--bind={witness.place('share')}:{witness.FOLDER_IN_NODE}",
            f"--bind={paths.BMC}:/run/bmc",
            f"--bind-ro={repository.place()}:{repository.IN_NODE}",
            f"--bind={watchdog.folder(node)}:{watchdog.INSIDE}", "--link-journal=no",
            "--resolv-conf=off", "--timezone=off", "--console=pipe", "-b"]


def journal(node, unit=None, lines=200):
    """The node's journal, read from its layer: works while it is down."""
    folder = upper(node) / "var/log/journal"
    if not folder.is_dir():
        return ""
    argv = ["journalctl", "-D", str(folder), "--no-pager", "-q", "-n", "50000",
            "-o", "short-precise"]
    argv += ["-u", unit] if unit else []
    # libvirtd trips over the host's devices in /sys: nothing but noise.
    kept = [line for line in output(argv, check=False).splitlines(True)
            if "ethtool ioctl error" not in line]
    return "".join(kept[-lines:])


def free_space_mb(path):
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize // (1 << 20)
