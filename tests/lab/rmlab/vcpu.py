"""Priority for the guests' processors.

QEMU without KVM (TCG) looks whether a guest page counts as dirty, and then lets
later writes to it go by unnoted. A live migration that clears the dirty bits
between the two never sends those writes, and the guest goes on with one stale
page: seen three times in about a hundred migrations at a load of 20 on 2 cores
(a counter that stepped back, "scheduling while atomic", a page fault), always
at a guest that had just booted. The gap is nanoseconds wide, unless the
processor's thread is preempted in it. KVM has no such gap. So a processor that
is not busy runs under SCHED_FIFO, where nothing preempts it; one that is busy
(a guest that boots) would starve corosync so, and gets a better nice value."""

import os
import time

from . import cgroup

NICE = -10  # 9:1 against the rest
BUSY = 0.5  # share of a core
LOOK_SECONDS = 0.5
TICKS = os.sysconf("SC_CLK_TCK")


class Processors:
    def __init__(self, name):
        self.name = name
        self.seen = {}  # thread -> (when, seconds of processor time it had used)

    def favour(self):
        """Every processor of every guest that runs in the node now."""
        before, self.seen = self.seen, {}
        for folder in cgroup.folders(self.name)[:1]:
            for pid in cgroup.members(folder):
                try:
                    for tid in threads(pid):
                        self.favour_thread(pid, tid, before.get(tid))
                except OSError:
                    pass  # it ended while we looked

    def favour_thread(self, pid, tid, before):
        now = time.monotonic(), seconds_used(pid, tid)
        self.seen[tid] = before or now
        if not before or now[0] - before[0] < LOOK_SECONDS / 2:
            return
        self.seen[tid] = now
        if (now[1] - before[1]) / (now[0] - before[0]) < BUSY:
            os.sched_setscheduler(tid, os.SCHED_FIFO, os.sched_param(1))
        else:
            os.sched_setscheduler(tid, os.SCHED_OTHER, os.sched_param(0))
            os.setpriority(os.PRIO_PROCESS, tid, NICE)


def threads(pid):
    for tid in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{tid}/comm") as f:
            if f.read().startswith("CPU "):
                yield int(tid)


def seconds_used(pid, tid):
    with open(f"/proc/{pid}/task/{tid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
