"""Priority for the guests' processors.

QEMU without KVM (TCG) notes a write to guest memory in two steps: it looks
whether the page counts as dirty already, and then lets later writes go by
unnoted. A live migration that clears the dirty bits between the two never
sends those writes: the guest goes on with one stale page (seen twice in some
eighty migrations at a load of 20 on 2 cores, as a counter that stepped back and
as a guest kernel that stopped with "scheduling while atomic"). The gap is
nanoseconds wide, unless the processor's thread is preempted in it. KVM has no
such gap. So the lab lets the processors' threads go first; they need a few
percent of a core."""

import os

from . import cgroup

NICE = -10  # 9:1 against the rest: a guest that boots still leaves corosync its token
LOOK_SECONDS = 0.5


def favour(name):
    """Every processor of every guest that runs in the node now."""
    for folder in cgroup.folders(name)[:1]:
        for pid in cgroup.members(folder):
            favour_process(pid)


def favour_process(pid):
    try:
        for tid in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{tid}/comm") as f:
                is_processor = f.read().startswith("CPU ")
            if is_processor and os.getpriority(os.PRIO_PROCESS, int(tid)) != NICE:
                os.setpriority(os.PRIO_PROCESS, int(tid), NICE)
    except OSError:
        pass  # it ended while we looked

