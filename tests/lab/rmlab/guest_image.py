"""Kernel and initramfs of the guests: Debian's cloud kernel of bookworm (for
all guests, whatever release their host runs) and busybox with our counter; a
second initramfs with Debian's guest agent and a file system in its place.
What the nodes preload into libvirtd is compiled beside it: bookworm's older
libc makes it fit both releases."""

import os
import shutil
import subprocess

from . import images, paths
from .shell import LabError, log_file_for, output, phase, run

MODULES = ("virtio_pci", "virtio_blk", "button", "evdev")
AGENT_MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "ext4")
KERNEL_RELEASE = "bookworm"
BUSYBOX = "/bin/busybox"
META_PACKAGE = "linux-image-cloud-amd64"

FETCH = f"""
set -e
cd /out
gcc -O2 -static -Wall -Wextra -o counter /guest/counter.c
gcc -O2 -shared -fPIC -Wall -Wextra -o clusterfs.so /guest/clusterfs.c
p=$(apt-cache depends {META_PACKAGE} |
    sed -n 's/.*Depends: \\(linux-image-.*\\)/\\1/p' | head -n 1)
apt-get download -q -o APT::Sandbox::User=root "$p"
dpkg-deb -x linux-image-*.deb kernel
rm linux-image-*.deb
apt-get download -q -o APT::Sandbox::User=root qemu-guest-agent
dpkg-deb -x qemu-guest-agent_*.deb agent
rm qemu-guest-agent_*.deb
mkdir -p agent/lib64
cp -L $(ldd agent/usr/sbin/qemu-ga | grep -o '/[^ ]*') agent/lib64
"""


def image_dir():
    sources = [(paths.LAB / "guest" / name).read_text()
               for name in ("counter.c", "clusterfs.c", "init.head", "agent.sh")]
    key = images.digest(images.dev_dir(KERNEL_RELEASE).name, *MODULES, *AGENT_MODULES, FETCH, *sources)
    return paths.CACHE / "guest" / key


def kernel():
    return image_dir() / "vmlinuz"


def initrd():
    return image_dir() / "initrd"


def agent_initrd():
    """Its /dev/vda is an ext4 that it writes to, its agent is qemu-ga."""
    return image_dir() / "initrd-agent"


def clusterfs():
    return image_dir() / "clusterfs.so"


def build():
    target = image_dir()
    if target.exists():
        return
    partial = images.fresh_partial(target)
    with phase("guest kernel and initramfs"):
        images.chroot_run(images.dev_layers(KERNEL_RELEASE), FETCH,
                          binds=[(partial, "/out"), (paths.LAB / "guest", "/guest")],
                          log=log_file_for("guest"))
        version = os.listdir(partial / "kernel/lib/modules")[0]
        shutil.copy(partial / f"kernel/boot/vmlinuz-{version}", partial / "vmlinuz")
        pack(partial, version)
        pack_agent(partial, version)
        for folder in ("kernel", "agent"):
            shutil.rmtree(partial / folder)
        os.rename(partial, target)


def module_files(root, version, modules):
    """The .ko files in the order in which insmod wants them."""
    run(["depmod", "-b", root, version])
    files = []
    for module in modules:
        lines = output(["modprobe", "-d", root, "-S", version, "--show-depends",
                        module]).splitlines()
        for line in lines:
            path = line.split()[1]
            if line.startswith("insmod") and path not in files:
                files.append(path)
    return files


def pack(partial, version):
    root = fresh_root(partial)
    shutil.copy(partial / "counter", root / "counter")
    finish(partial, root, version, MODULES, "/counter", "initrd")


def pack_agent(partial, version):
    root = fresh_root(partial)
    for folder in ("mnt", "run", "sbin"):
        (root / folder).mkdir()
    shutil.copytree(partial / "agent/lib64", root / "lib64")
    shutil.copy(partial / "agent/usr/sbin/qemu-ga", root / "qemu-ga")
    shutil.copy(paths.LAB / "guest/agent.sh", root / "agent.sh")
    finish(partial, root, version, AGENT_MODULES, "/bin/busybox sh /agent.sh", "initrd-agent")


def fresh_root(partial):
    root = partial / "root"
    for folder in ("bin", "dev", "proc", "sys", "modules"):
        (root / folder).mkdir(parents=True)
    if not os.path.exists(BUSYBOX):
        raise LabError(f"{BUSYBOX} is missing", "apt-get install busybox-static")
    shutil.copy(BUSYBOX, root / "bin/busybox")
    return root


def finish(partial, root, version, modules, program, name):
    init = (paths.LAB / "guest/init.head").read_text()
    for path in module_files(partial / "kernel", version, modules):
        shutil.copy(path, root / "modules")
        init += f"/bin/busybox insmod /modules/{os.path.basename(path)}\n"
    (root / "init").write_text(init + f"exec {program}\n")
    (root / "init").chmod(0o755)
    pack_cpio(root, partial / name)
    shutil.rmtree(root)


def pack_cpio(root, target):
    names = "\n".join(sorted(str(p.relative_to(root)) for p in root.rglob("*")))
    with open(target, "wb") as out:
        cpio = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0"],
                              cwd=root, input=names.encode(), capture_output=True)
        if cpio.returncode != 0:
            raise LabError(f"cpio failed: {cpio.stderr.decode()}")
        out.write(subprocess.run(["gzip", "-1"], input=cpio.stdout,
                                 stdout=subprocess.PIPE, check=True).stdout)
