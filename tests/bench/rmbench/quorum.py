"""Group quorum: power loss of one of two nodes, until the other is quorate by the witness; beside qdevice."""

import time

from . import build, lab, peer_ring, qdevice, watch
from .frame import Spec, Unmeasured, n_rounds, row_of, tell

ROWS = [
    Spec("quorum-survivor", "ms", "ratio <= 1",
         "SIGKILL of one of two nodes until the other is quorate for corosync, with a blob written", peer=qdevice.NAME),
    Spec("quorum-survivor-max", "ms", "value <= token + consensus + 100", "the same, the longest of all rounds",
         peer=qdevice.NAME, of="maximum", terms=("token", "consensus")),
]
PROGRAM = "/usr/local/bin/bench-quorum-watch"
STABLE_NS = 2_000_000_000  # a verdict that is taken back sooner does not count
TIMEOUT_S = 90
ROUNDS_MAX = 10


def quorate_since(lines, start_ns, now_ns):
    """When the node became quorate alone, and stayed so until now; None: not yet. lines: of quorum-watch."""
    since = None
    for line in lines:
        at_ns, quorate, members = (int(word) for word in line.split())
        if at_ns < start_ns or quorate != 1 or members != 1:
            since = None
        elif since is None:
            since = at_ns
    return since if since is not None and now_ns - since >= STABLE_NS else None


def survivor_ms(victim, survivor):
    with watch.Lines(survivor, [PROGRAM]) as seen:
        seen.wait(f"corosync on {survivor} tells of two nodes", 20,
                  lambda lines: True if lines and lines[-1][1].endswith(" 1 2") else None)
        start_ns = lab.kill(victim)
        at_ns = seen.wait(f"{survivor} is quorate alone", TIMEOUT_S, lambda lines: quorate_since(
            [text for _, text in lines], start_ns, time.monotonic_ns()))
    return (at_ns - start_ns) / 1e6


def sequence(nodes):
    """Of the blob, as the nodes saw it last."""
    return max(lab.ask(node, "witness", "show")["witness"]["sequence"] for node in nodes)


class Bench:
    def __init__(self, nodes):
        self.nodes = nodes
        self.values, self.peers, self.writes = [], [], []
        self.by_role = {"leader": [], "follower": []}
        for node in nodes:
            lab.put(node, build.program("quorum-watch"), PROGRAM)

    def other(self, node):
        return next(n for n in self.nodes if n != node)

    def own_round(self, role):
        lab.wait_whole(self.nodes)
        leader = lab.leader(self.nodes)
        victim = leader if role == "leader" else self.other(leader)
        before = sequence(self.nodes)
        ms = survivor_ms(victim, self.other(victim))
        written = sequence([self.other(victim)]) - before
        if written < 1:
            raise Unmeasured(f"{self.other(victim)} became quorate without a write to the blob")
        tell(f"{role} killed: {ms:.0f} ms, {written} writes of the blob")
        self.values.append(ms)
        self.by_role[role].append(ms)
        self.writes.append(written)
        lab.power_on([victim])
        lab.wait_whole(self.nodes)

    def peer_round(self, victim):
        with qdevice.running(self.nodes):
            self.peers.append(survivor_ms(victim, self.other(victim)))
        tell(f"qdevice: {self.peers[-1]:.0f} ms")


def measure_on(nodes):
    bench = Bench(nodes)
    terms = {name: peer_ring.totem_ms(nodes[0], name) for name in ("token", "consensus")}
    with qdevice.installed(nodes) as missing:
        for k in range(n_rounds(ROUNDS_MAX)):
            bench.own_round(("leader", "follower")[k % 2])
            if missing is None:
                try:
                    bench.peer_round(nodes[k % 2])
                except (Unmeasured, lab.LabError) as why:
                    missing = str(why)
    roles = "; ".join(f"{role} killed: {' '.join(f'{ms:.0f}' for ms in values)} ms"
                      for role, values in bench.by_role.items())
    note = (f"token {terms['token']}, consensus {terms['consensus']}; {len(bench.values)} rounds, turn about with the "
            f"peer; {roles}; writes of the blob in a round: {min(bench.writes)} to {max(bench.writes)}")
    for spec in ROWS:
        yield row_of(spec, bench.values, bench.peers, missing, note=note, terms=terms)


def measure(names):
    build.program("quorum-watch")
    with lab.fresh("--nodes", "2", "--no-vms", "--witness", "azurite") as nodes:
        yield from (row for row in measure_on(nodes) if row["name"] in names)
