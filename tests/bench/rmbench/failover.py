"""Group failover: power loss of a node, until its virtual machine runs on another one: libvirt says so, and the guest's
first line, its kernel's, is on its console. Once without a fence command, by the wait that the settings give, and once
with the lab's BMC as the fence command; beside Pacemaker on the same nodes."""

import contextlib
import statistics
import sys
import time

from . import lab, pacemaker, peer_ring, watch
from .frame import Spec, Unmeasured, n_rounds, row_of, tell

from rmlab import guests, verify  # noqa: E402
from rmlab.shell import wait_until  # noqa: E402

VM = "vm1"
TIMEOUT_S = 120
TOKEN_MS = 1000  # as corosync has it in the end: nothing is added for the third node
PEER_ROUNDS_MAX = 10
COMMAND = "fence.command"
EVENTS = ["stdbuf", "-oL", "virsh", "event", "--event", "lifecycle", "--loop"]
WHAT = "SIGKILL of a node of three, token 1000, until its VM runs elsewhere"

ROWS = [
    Spec("failover-wait", "s", None, f"{WHAT}, without a fence command (budget and watchdog 2 s)", peer=pacemaker.NAME),
    Spec("failover-wait-max", "s", "value <= 12", "the same, the longest of all rounds", peer=pacemaker.NAME,
         of="maximum"),
    Spec("failover-command", "s", None, f"{WHAT}, with a fence command", peer=pacemaker.NAME),
    Spec("failover-command-max", "s", "value <= 7", "the same, the longest of all rounds", peer=pacemaker.NAME,
         of="maximum"),
]
PROGRAMS = {"wait": "", "command": pacemaker.FENCE}


def counts():
    """The guest writes to its console."""
    before = verify.read_console(VM).last_counter()
    return lambda: verify.read_console(VM).last_counter() > before + 3


def started_at(seen, start_ns):
    """When libvirt of some node said that the VM started; None: not yet."""
    for lines in seen:
        for at_ns, text in list(lines.lines):
            if at_ns > start_ns and f"'{VM}'" in text and text.endswith("Started Booted"):
                return at_ns, lines.node
    return None


def power_loss(victim, others):
    """Seconds until the VM runs on one of the others, of them those until libvirt said so, and on which."""
    with contextlib.ExitStack() as stack:
        seen = [stack.enter_context(watch.Lines(node, EVENTS)) for node in others]
        time.sleep(1)  # until they listen; virsh does not say when
        start_ns = lab.kill(victim)
        console = watch.Growth(guests.console(VM))
        line_ns = started = None
        end = time.monotonic() + TIMEOUT_S
        while line_ns is None or started is None:
            if line_ns is None and console.first_line() is not None:
                line_ns = time.monotonic_ns()
            started = started or started_at(seen, start_ns)
            if time.monotonic() > end:
                raise Unmeasured(f"{VM} did not run elsewhere {TIMEOUT_S} s after {victim} was lost: libvirt said "
                                 f"{started}, first line of the console at {line_ns}")
            time.sleep(0.005)
    node = started[1]
    if lab.run(node, "virsh", "domstate", VM).stdout.strip() != "running":
        raise Unmeasured(f"{VM} does not run on {node}, whose libvirt said that it started")
    return (max(line_ns, started[0]) - start_ns) / 1e9, (started[0] - start_ns) / 1e9, node


class Bench:
    def __init__(self, nodes):
        self.nodes = nodes
        self.values = {how: [] for how in PROGRAMS}
        self.roles = {how: {"leader": [], "follower": []} for how in PROGRAMS}
        self.libvirt = {how: [] for how in PROGRAMS}
        self.peers, self.peers_libvirt, self.missing = [], [], None
        pacemaker.put_fence_program(nodes)

    def place(self, node):
        """The VM runs on that node, and its guest counts."""
        vm = next(v for v in lab.ask(node, "status")["vms"] if v["name"] == VM)
        if (vm["node"], vm["state"]) != (node, "running"):
            lab.run(node, "clusterctl", "vm", "stop", VM, "--hard", "--yes", "--wait=60", check=False)
            lab.run(node, "clusterctl", "vm", "start", VM, "--node", node, "--wait=60")
        wait_until(f"the guest counts on {node}", 60, counts(), 0.2)

    def own_round(self, how, role):
        lab.wait_whole(self.nodes)
        lab.run(self.nodes[0], "clusterctl", "cluster", "config", "set", COMMAND, PROGRAMS[how])
        leader = lab.leader(self.nodes)
        victim = leader if role == "leader" else next(n for n in self.nodes if n != leader)
        self.place(victim)
        wait_until("every node is protected by its watchdog", 60, lambda: protected(self.nodes), 0.3)
        if lab.leader(self.nodes) != leader:
            raise Unmeasured("the leader changed before its node was killed")
        seconds, libvirt_s, node = power_loss(victim, [n for n in self.nodes if n != victim])
        tell(f"by the {how}, {role} killed: {seconds:.2f} s, libvirt {libvirt_s:.2f} s")
        row = next(n for n in lab.ask(node, "status")["nodes"] if n["name"] == victim)
        if row["fencing"]["confirmed_by"] != how:
            raise Unmeasured(f"{victim} was fenced by {row['fencing']['confirmed_by']}, not by the {how}")
        self.values[how].append(seconds)
        self.roles[how][role].append(seconds)
        self.libvirt[how].append(libvirt_s)
        lab.power_on([victim])

    def peer_round(self):
        victim = pacemaker.where(self.nodes[0], VM)
        wait_until(f"the guest counts on {victim}", 60, counts(), 0.2)
        seconds, libvirt_s, _ = power_loss(victim, [n for n in self.nodes if n != victim])
        tell(f"Pacemaker: {seconds:.2f} s, libvirt {libvirt_s:.2f} s")
        self.peers.append(seconds)
        self.peers_libvirt.append(libvirt_s)
        lab.power_on([victim])
        lab.run(victim, "systemctl", "start", "pacemaker")
        pacemaker.wait_online(self.nodes)
        pacemaker.wait_runs(self.nodes, VM)

    def measure_peer(self):
        try:
            pacemaker.install(self.nodes)
            with pacemaker.running(self.nodes, VM):
                for _ in range(n_rounds(PEER_ROUNDS_MAX)):
                    self.peer_round()
        except Exception as why:  # our own rounds are measured by then
            self.missing = f"{type(why).__name__}: {why}"

    def note(self, how):
        roles = "; ".join(f"{role} killed: {' '.join(f'{s:.1f}' for s in values)}"
                          for role, values in self.roles[how].items())
        libvirt = "; ".join(f"{whose} {statistics.median(values):.2f} s" for whose, values in
                            (("here", self.libvirt[how]), ("Pacemaker", self.peers_libvirt)) if values)
        wait = f"; computed wait {self.wait_ms} ms" if how == "wait" else ""
        return (f"token {TOKEN_MS}, consensus {self.consensus_ms}; {len(self.values[how])} rounds; {roles} s; until "
                f"libvirt had started it (median): {libvirt}{wait}")


def protected(nodes):
    found = lab.ask(nodes[0], "status")["nodes"]
    return len(found) == len(nodes) and all(
        n["fencing"] and n["fencing"]["protection"] == "watchdog" for n in found)


def set_token(nodes):
    for name, value in (("token_ms", TOKEN_MS), ("token_coefficient_ms", 0)):
        lab.run(nodes[0], "clusterctl", "cluster", "config", "set", f"corosync.{name}", str(value))
    wait_until(f"corosync's token is {TOKEN_MS} ms", 30,
               lambda: all(peer_ring.totem_ms(node, "token") == TOKEN_MS for node in nodes), 0.3)


def measure_own(bench):
    for k in range(n_rounds()):
        for how in PROGRAMS:
            bench.own_round(how, ("leader", "follower")[k % 2])
    lab.wait_whole(bench.nodes)
    bench.wait_ms = lab.ask(bench.nodes[0], "status")["nodes"][0]["fencing"]["wait_ms"]
    with contextlib.redirect_stdout(sys.stderr):
        verify.all_guests([], any_restarts=True)
    lab.run(bench.nodes[0], "clusterctl", "vm", "stop", VM, "--hard", "--yes", "--wait=60")


def measure(names):
    with lab.fresh("--nodes", "3", "--vms", "1", "--watchdog") as nodes:
        set_token(nodes)
        bench = Bench(nodes)
        bench.consensus_ms = peer_ring.totem_ms(nodes[0], "consensus")
        measure_own(bench)
        bench.measure_peer()
        for spec in ROWS:
            how = spec.name.split("-")[1]
            yield row_of(spec, bench.values[how], bench.peers, bench.missing, note=bench.note(how))
