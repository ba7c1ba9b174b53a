"""Kernel and initramfs of the guests: Debian's cloud kernel of bookworm (for
all guests, whatever release their host runs) and busybox with our counter.
What the nodes preload into libvirtd is compiled beside it: bookworm's older
libc makes it fit both releases."""

import os
import shutil
import subprocess

from . import images, paths
from .shell import LabError, log_file_for, output, phase, run

MODULES = ("virtio_pci", "virtio_blk", "button", "evdev")
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
"""


def image_dir():
    sources = [(paths.LAB / "guest" / name).read_text()
               for name in ("counter.c", "clusterfs.c", "init.head")]
    key = images.digest(images.dev_dir(KERNEL_RELEASE).name, *MODULES, *sources)
    return paths.CACHE / "guest" / key


def kernel():
    return image_dir() / "vmlinuz"


def initrd():
    return image_dir() / "initrd"


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
        shutil.rmtree(partial / "kernel")
        os.rename(partial, target)


def module_files(root, version):
    """The .ko files in the order in which insmod wants them."""
    run(["depmod", "-b", root, version])
    files = []
    for module in MODULES:
        lines = output(["modprobe", "-d", root, "-S", version, "--show-depends",
                        module]).splitlines()
        for line in lines:
            path = line.split()[1]
            if line.startswith("insmod") and path not in files:
                files.append(path)
    return files


def pack(partial, version):
    root = partial / "root"
    for folder in ("bin", "dev", "proc", "sys", "modules"):
        (root / folder).mkdir(parents=True)
    if not os.path.exists(BUSYBOX):
        raise LabError(f"{BUSYBOX} is missing", "apt-get install busybox-static")
    shutil.copy(BUSYBOX, root / "bin/busybox")
    shutil.copy(partial / "counter", root / "counter")
    init = (paths.LAB / "guest/init.head").read_text()
    for path in module_files(partial / "kernel", version):
        shutil.copy(path, root / "modules")
        init += f"/bin/busybox insmod /modules/{os.path.basename(path)}\n"
    (root / "init").write_text(init + "exec /counter\n")
    (root / "init").chmod(0o755)
    pack_cpio(root, partial / "initrd")
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
