"""A cgroup of a node's own in every hierarchy that systemd uses. Without it the
nodes would share one tree, and each other's units in it. It also tells, after
a run that was killed at a bad moment, which processes are the node's."""

import os
import signal

from .shell import LabError, wait_until, warn

ROOTS = ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup")


def folders(name):
    return [f"{root}/{name}" for root in ROOTS
            if os.path.exists(f"{root}/cgroup.procs")]


def enter(name):
    """Move the calling process into the node's cgroups."""
    for folder in folders(name):
        os.makedirs(folder, exist_ok=True)
        with open(f"{folder}/cgroup.procs", "w") as f:
            f.write(str(os.getpid()))


def members(folder):
    found = []
    for place, _, _ in os.walk(folder):
        try:
            with open(f"{place}/cgroup.procs") as f:
                found += [int(pid) for pid in f.read().split()]
        except OSError:
            pass  # removed while we looked
    return found


def freeze_file(name):
    """The switch that stops the whole node at one moment, its processes to
    come included. SIGKILL reaches a frozen process all the same."""
    for folder in folders(name):
        if os.path.exists(f"{folder}/cgroup.freeze"):
            return f"{folder}/cgroup.freeze"
    raise LabError(f"no cgroup.freeze for {name}",
                   "mount the cgroup2 hierarchy, and start the node")


def set_frozen(name, frozen):
    with open(freeze_file(name), "w") as f:
        f.write("1" if frozen else "0")
    events = freeze_file(name).replace("cgroup.freeze", "cgroup.events")
    wait_until(f"{name} is {'frozen' if frozen else 'thawed'}", 10,
               lambda: f"frozen {int(frozen)}\n" in open(events).read(), 0.02)


def is_frozen(name):
    try:
        with open(freeze_file(name)) as f:
            return f.read().strip() == "1"
    except (LabError, OSError):
        return False


def end(name):
    """Kill what is left in the node's cgroups, and remove them."""
    for folder in folders(name):
        try:
            wait_until(f"{folder} is empty", 10, lambda: kill_members(folder))
        except LabError as error:
            warn(str(error))
        for place, _, _ in os.walk(folder, topdown=False):
            try:
                os.rmdir(place)
            except OSError as error:
                warn(f"{place} stays: {error.strerror}")


def kill_members(folder):
    """True when nobody is left. The pidfd is opened before the process is seen
    in the cgroup, so that a reused PID is never hit."""
    left = members(folder)
    for pid in left:
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            continue
        try:
            if pid in members(folder):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
        except OSError:
            pass
        finally:
            os.close(fd)
    return not left
