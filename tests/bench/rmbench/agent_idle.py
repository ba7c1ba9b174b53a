"""What an idle agent costs, beside corosync on the same node in the same window."""

import time

from . import lab
from .frame import ROUNDS, Spec, Unmeasured, row_of

WINDOW_S, SETTLE_S = 12, 15
UNITS = ("ringmasterd", "corosync")

ROWS = [
    Spec("agent-idle-cpu-leader", "% of a core", "value < 0.5", "CPU of the leading agent with nothing to do",
         peer="corosync, same node and window"),
    Spec("agent-idle-cpu-worst", "% of a core", "value < 0.5", "the same, the highest of all nodes in each round",
         peer="corosync, same node and window"),
    Spec("agent-idle-rss-leader", "MiB", "value < 30", "memory of the leading agent (RSS)", peer="corosync, same node"),
    Spec("agent-idle-rss-worst", "MiB", "value < 30", "the same, the highest of all nodes in each round",
         peer="corosync, same node"),
]


def main_pid(node, unit):
    pid = lab.run(node, "systemctl", "show", "--property=MainPID", "--value", unit).stdout.strip()
    if not pid.isdigit() or pid == "0":
        raise Unmeasured(f"{unit} does not run on {node}")
    return pid


def cpu_ns(node, pid):
    """Of all its threads, to the nanosecond (schedstat's first figure: time on a processor)."""
    text = lab.run(node, "sh", "-c", f"cat /proc/{pid}/task/*/schedstat").stdout
    return sum(int(line.split()[0]) for line in text.splitlines())


def rss_mib(node, pid):
    for line in lab.run(node, "cat", f"/proc/{pid}/status").stdout.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise Unmeasured(f"process {pid} of {node} has no RSS")


class Window:
    """One look at all processes, some seconds apart from the next."""

    def __init__(self, pids):
        self.at = {}
        for key, pid in pids.items():
            self.at[key] = (time.monotonic_ns(), cpu_ns(key[0], pid))

    def percent_since(self, before, key):
        (t0, c0), (t1, c1) = before.at[key], self.at[key]
        if c1 < c0:
            raise Unmeasured(f"a thread of {key[1]} on {key[0]} ended in the window")
        return 100 * (c1 - c0) / (t1 - t0)


def measure_on(nodes, names):
    pids = {(node, unit): main_pid(node, unit) for node in nodes for unit in UNITS}
    lead = lab.leader(nodes)
    time.sleep(SETTLE_S)  # what a start and our own questions leave to do
    samples = {spec.name: ([], []) for spec in ROWS}
    worst = set()
    before = Window(pids)
    for _ in range(ROUNDS):
        time.sleep(WINDOW_S)
        after = Window(pids)
        for kind, figure in (("cpu", lambda key: after.percent_since(before, key)),
                             ("rss", lambda key: rss_mib(key[0], pids[key]))):
            own = {node: figure((node, "ringmasterd")) for node in nodes}
            high = max(own, key=own.get)
            worst.add(high)
            for name, node in ((f"agent-idle-{kind}-leader", lead), (f"agent-idle-{kind}-worst", high)):
                samples[name][0].append(own[node])
                samples[name][1].append(figure((node, "corosync")))
        before = after
    if {key: main_pid(*key) for key in pids} != pids or lab.leader(nodes) != lead:
        raise Unmeasured("an agent or corosync was started anew, or the leader changed, while it was looked at")
    for spec in ROWS:
        if spec.name in names:
            where = f"leader {lead}" if spec.name.endswith("leader") else f"highest on {' '.join(sorted(worst))}"
            note = f"{where} of {len(nodes)} nodes without virtual machines; {ROUNDS} windows of {WINDOW_S} s"
            yield row_of(spec, *samples[spec.name], note=note)


def measure(names):
    with lab.up("--no-vms") as nodes:
        yield from measure_on(nodes, names)
