"""The guests: their disks and domain XML on the folder that all nodes share."""

import os
import shutil
import uuid

from . import guest_image, paths, state
from .shell import write_file

COUNT_MAX = 4
DISK_BYTES = 64 << 20

# earlyprintk: the kernel's first line comes as soon as the machine runs, not
# when its console driver is there, which without KVM takes seconds.
#
# tsc, no_timer_check: an emulated processor on a busy host is slower than the
# kernel's tests of its clocks allow.
#
# Memory of an odd size: Debian 12's QEMU 7.2 loses pages when it migrates a
# guest without KVM. After it read and cleared the dirty bits of a whole number
# of 256 KiB at once it lets the emulated processor go on writing through its
# TLB, unnoted (mended in QEMU 9.0, commit 03bfc2188f: "Fix migration dirty
# bitmap coherency with TCG memory access"). Page by page it does no such thing,
# and that is how it reads the bits of a memory of any other size. libvirt knows
# only whole MiB. Of guests that were migrated while they booted 2 of 24 broke,
# and none of 55 of this size; KVM has no such fault.
DOMAIN = """<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>128</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
    <kernel>/shared/vmlinuz</kernel>
    <initrd>/shared/initrd</initrd>
    <cmdline>console=ttyS0 earlyprintk=serial,ttyS0,115200 loglevel=6 panic=1 tsc=unstable no_timer_check</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='custom' match='exact' check='none'>
    <model fallback='forbid'>qemu64</model>
  </cpu>
  <clock offset='utc'/>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='none'/>
      <source file='/shared/{name}.img'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <serial type='file'>
      <source path='/shared/{name}.console' append='on'/>
      <target port='0'/>
    </serial>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
  <qemu:commandline>
    <qemu:arg value='-object'/>
    <qemu:arg value='memory-backend-ram,id=odd,size=131080K'/>
    <qemu:arg value='-machine'/>
    <qemu:arg value='memory-backend=odd'/>
    <qemu:arg value='-m'/>
    <qemu:arg value='131080K'/>
  </qemu:commandline>
</domain>
"""


def names():
    """Of this lab; of any, where there is none."""
    count = (state.lab() or {}).get("vms", COUNT_MAX)
    return [f"vm{k}" for k in range(1, count + 1)]


def disk(name):
    return paths.SHARED / f"{name}.img"


def console(name):
    return paths.SHARED / f"{name}.console"


def xml_in_node(name):
    return f"/shared/{name}.xml"


def create_all():
    """Empty disks and consoles: the counters of a lab begin with it."""
    paths.SHARED.mkdir(parents=True, exist_ok=True)
    shutil.copy(guest_image.kernel(), paths.SHARED / "vmlinuz")
    shutil.copy(guest_image.initrd(), paths.SHARED / "initrd")
    shutil.copy(guest_image.agent_initrd(), paths.SHARED / "initrd-agent")
    for name in names():
        with open(disk(name), "wb") as f:
            f.truncate(DISK_BYTES)
        console(name).unlink(missing_ok=True)
        os.chmod(disk(name), 0o600)
        write_file(paths.SHARED / f"{name}.xml", DOMAIN.format(
            name=name, uuid=uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.ringmaster-lab")))
