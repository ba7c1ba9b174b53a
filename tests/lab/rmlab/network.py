"""The lab's network, in namespaces of its own; no route leads outside.

    n1 n2      n3           witness
     |  |       |              |
    [site1]  [site2]      [third place]     a bridge in a namespace each
        \\       |             /
         `---[ core ]--------'              a bridge that joins the three

All are one subnet, 10.77.0.0/16. Each way between two places crosses the core
by ports named after them (site1, site2, third), and each node has a port of
its name in its site's bridge.

A cut is a pair of address sets: what comes from the one and goes to the other
is dropped in every place's bridge, ARP too. Nothing is refused, nobody is told:
as when a cable is pulled somewhere on the way."""

import contextlib
import ctypes
import os

from . import paths
from .shell import LabError, run

PLACES = ("site1", "site2", "third")
SUBNET_BITS = 16
WITNESS_ADDRESS = "10.77.9.1"
CLONE_NEWNET = 0x40000000


def node_address(number):
    return f"10.77.1.{number}"


def netns(name):
    return f"{paths.lab_prefix()}-{name}"


def netns_path(name):
    return f"/run/netns/{netns(name)}"


def names(nodes):
    """All namespaces of a lab with these nodes."""
    return ["core", *PLACES, "witness", *nodes]


def batch(name, commands):
    """ip commands in one namespace; one process for all of them."""
    run(["ip", "-n", netns(name), "-batch", "-"], stdin="\n".join(commands) + "\n")


def refuse_foreign(nodes):
    for name in names(nodes):
        if os.path.exists(netns_path(name)):
            raise LabError(f"a network namespace {netns(name)} exists that this "
                           "lab did not make",
                           f"ip netns delete {netns(name)}, if it is yours")


def build(nodes):
    """nodes: {name: {"site": 1|2, ...}}. The caller has recorded the names
    before, so that a killed run leaves nothing unknown."""
    for name in names(nodes):
        run(["ip", "netns", "add", netns(name)])
        batch(name, ["link set lo up"])
    for name in ("core", *PLACES):
        # No spanning tree (there is no loop): ports forward at once.
        batch(name, ["link add br0 type bridge stp_state 0 forward_delay 0 "
                     "mcast_snooping 0", "link set br0 up"])
    for place in PLACES:
        join("core", place, place, "core")
    for node, facts in nodes.items():
        place = f"site{facts['site']}"
        add_pair(place, node, node, "host0")
        plug(place, node)
    add_pair("third", "witness", "witness", "host0")
    plug("third", "witness")
    batch("witness", [f"addr add {WITNESS_ADDRESS}/{SUBNET_BITS} dev host0",
                      "link set host0 up"])


def join(bridge_a, port_a, bridge_b, port_b):
    add_pair(bridge_a, port_a, bridge_b, port_b)
    plug(bridge_a, port_a)
    plug(bridge_b, port_b)


def add_pair(ns_a, port_a, ns_b, port_b):
    batch(ns_a, [f"link add {port_a} type veth peer name {port_b} netns {netns(ns_b)}"])


def plug(name, port):
    batch(name, [f"link set {port} master br0", f"link set {port} up"])


@contextlib.contextmanager
def inside(name):
    """Sockets that are made meanwhile, by this thread, belong to the namespace."""
    def enter(path):
        with open(path) as f:
            if ctypes.CDLL(None, use_errno=True).setns(f.fileno(), CLONE_NEWNET) != 0:
                raise LabError(f"cannot enter {path}: {os.strerror(ctypes.get_errno())}")
    with open("/proc/thread-self/ns/net") as own:
        enter(netns_path(name))
        try:
            yield
        finally:
            enter(f"/proc/self/fd/{own.fileno()}")


def set_cable(facts, node, plugged):
    """Pull or plug the node's cable at the switch: a node that loses its power
    must not say good-bye on its TCP connections."""
    batch(f"site{facts['site']}", [f"link set {node} {'up' if plugged else 'down'}"])


def forget_address(node):
    batch(node, ["addr flush dev host0", "link set host0 down"])


# -- cuts ----------------------------------------------------------------------

def end_addresses(nodes, end):
    """The addresses behind a node's name, a site's, or the witness."""
    if end == "witness":
        return {WITNESS_ADDRESS}
    if end in nodes:
        return {nodes[end]["address"]}
    found = {facts["address"] for facts in nodes.values()
             if f"site{facts['site']}" == end}
    if not found:
        raise LabError(f"there is no {end} to cut",
                       "a node, site1, site2 or witness; the nodes are " + " ".join(nodes))
    return found


def drop_rules(sources, targets):
    for kind in ("ip", "arp"):
        both = [f"{kind} {way}addr {'ip ' if kind == 'arp' else ''}{{ {', '.join(sorted(ends))} }}"
                for way, ends in (("s", sources), ("d", targets))]
        yield f"add rule bridge rmlab cut {' '.join(both)} drop"


def cut(nodes, a, b, one_way):
    """One-way: what a sends to b is lost, what b sends to a arrives."""
    from_a, from_b = end_addresses(nodes, a), end_addresses(nodes, b)
    from_a, from_b = from_a - from_b or from_a, from_b - from_a or from_b
    if from_a & from_b:
        raise LabError(f"{a} and {b} are the same", "lab cut A B")
    ways = [(from_a, from_b)] if one_way else [(from_a, from_b), (from_b, from_a)]
    rules = ["add table bridge rmlab",
             "add chain bridge rmlab cut { type filter hook forward priority 0; }",
             *(rule for way in ways for rule in drop_rules(*way))]
    nft(rules)


def heal():
    nft(["add table bridge rmlab", "delete table bridge rmlab"])


def nft(commands):
    """The same in every place: whichever way a packet takes, it meets one."""
    for place in PLACES:
        run(["ip", "netns", "exec", netns(place), "nft", "-f", "-"],
            stdin="\n".join(commands) + "\n", capture=True)


def destroy(nodes):
    for name in names(nodes):
        if os.path.exists(netns_path(name)):
            run(["ip", "netns", "delete", netns(name)], check=False, capture=True)
