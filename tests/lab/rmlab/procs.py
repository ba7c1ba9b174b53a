"""Processes that the lab started, known by PID and start time. A PID alone is
never trusted: the kernel gives it to someone else."""

import os
import signal

from .shell import wait_until


def start_time(pid):
    """Field 22 of /proc/PID/stat; None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as f:
            stat = f.read()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2:].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def record(pid):
    return {"pid": pid, "start": start_time(pid)}


def alive(known):
    return bool(known and known["start"] is not None
                and start_time(known["pid"]) == known["start"])


def send_signal(known, number):
    """Signal a recorded process; True when it was still that process. The
    pidfd pins the process between the check and the signal."""
    try:
        fd = os.pidfd_open(known["pid"])
    except (OSError, TypeError):
        return False
    try:
        if not alive(known):
            return False
        signal.pidfd_send_signal(fd, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)


def end(known, seconds=10):
    """Ask a recorded process to stop, then make it."""
    if not send_signal(known, signal.SIGTERM):
        return
    try:
        wait_until("it stops", seconds, lambda: not alive(known), 0.05)
    except Exception:
        send_signal(known, signal.SIGKILL)
        wait_until(f"process {known['pid']} is gone", 10,
                   lambda: not alive(known), 0.05)


def namespace(pid, kind):
    return os.readlink(f"/proc/{pid}/ns/{kind}")


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as f:
            return [int(word) for word in f.read().split()]
    except OSError:
        return []


def is_container_init(pid):
    """PID 1 of a PID namespace that is not ours."""
    try:
        with open(f"/proc/{pid}/status") as f:
            line = next(l for l in f if l.startswith("NSpid:"))
        return (namespace(pid, "pid") != namespace("self", "pid")
                and line.split()[-1] == "1" and len(line.split()) == 3)
    except (OSError, StopIteration):
        return False
