"""The lab for a part of a group: one of the bench's own (LAB_STATE may name another), brought up and taken down. One
that stands there already is used as it is, and left."""

import contextlib
import os
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .build import CHECKOUT
from .frame import Unmeasured

os.environ.setdefault("LAB_STATE", "/var/lib/ringmaster-lab-bench")
sys.path.insert(0, str(CHECKOUT / "tests/lab"))

from rmlab import bmc, cluster, enter, follow, network, state  # noqa: E402
from rmlab.shell import LabError, wait_until  # noqa: E402

LAB = CHECKOUT / "tests/lab/lab"


def lab(*words, check=True):
    done = subprocess.run([str(LAB), *words], stdin=subprocess.DEVNULL, stdout=sys.stderr)
    if check and done.returncode != 0:
        raise Unmeasured(f"tests/lab/lab {' '.join(words)} ended with {done.returncode}")


def stands():
    found = state.lab()
    return bool(found) and found["phase"] == "up"


@contextlib.contextmanager
def up(*options):
    """Gives the names of the nodes."""
    if os.geteuid() != 0:
        raise Unmeasured("it needs root: the lab does")
    was_up = stands()
    try:
        if not was_up:
            lab("up", *options)
        yield list(state.lab_or_fail()["nodes"])
    except LabError as error:
        raise Unmeasured(str(error)) from None
    finally:
        if not was_up:
            lab("down", check=False)


def fresh(*options):
    """As up, where a lab that stands would not do."""
    if stands():
        raise Unmeasured("a lab stands already, and this needs one of its own: tests/lab/lab down")
    return up(*options)


def run(node, *command, check=True, timeout=120):
    return enter.run(node, list(command), check=check, timeout=timeout)


def run_on_all(nodes, script, *words, timeout=120):
    """A shell script, at once."""
    with ThreadPoolExecutor(len(nodes)) as pool:
        return list(pool.map(lambda node: run(node, "sh", "-c", script, "sh", *words, timeout=timeout), nodes))


def put(node, source, path):
    """A program of the host into the node."""
    words = enter.argv(node, ["sh", "-c", f"cat > {shlex.quote(path)} && chmod 755 {shlex.quote(path)}"])
    with open(source, "rb") as f:
        done = subprocess.run(words, env=enter.ENVIRONMENT, stdin=f, capture_output=True, timeout=120)
    if done.returncode != 0:
        raise Unmeasured(f"{source} could not be put into {node}: {done.stderr.decode().strip()}")


def run_beside(node, argv, timeout=120):
    """A program of the host with the node's network alone."""
    words = ["ip", "netns", "exec", network.netns(node), *argv]
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)


def address(node):
    return state.node_or_fail(node)["address"]


def ask(node, *words):
    """data of clusterctl's answer on that node, with a quorum."""
    data = follow.ask(node, *words)
    if data is None:
        raise Unmeasured(f"clusterctl {' '.join(words)} on {node} has no answer")
    return data


def leader(nodes):
    name = ask(nodes[0], "status")["quorum"]["leader"]
    if not name:
        raise Unmeasured("the cluster has no leader")
    return name


# -- power, and a cluster that has got over it ----------------------------------

WHOLE_SECONDS = 120


def kill(node):
    """SIGKILL of the node's PID 1, and with it of all that runs there; gives the moment, of CLOCK_MONOTONIC."""
    cluster.remember_placement(node)
    start_ns = time.monotonic_ns()
    bmc.ask(node, "off")
    return start_ns


def power_on(nodes):
    for node in nodes:
        if bmc.ask(node, "status").startswith("off"):
            bmc.ask(node, "on")
    for node in nodes:
        enter.wait_booted(node)


def is_whole(nodes):
    """Every node says that all are here, with their votes, and counts nothing of them as lost."""
    for node in nodes:
        found = follow.ask(node, "status")
        if not found or not found["quorum"]["corosync_quorate"] or not all(is_well(n) for n in found["nodes"]):
            return False
    return True


def is_well(node):
    fencing = node["fencing"] or {"state": "none"}
    return node["state"] == "online" and node["voter"] and fencing["state"] == "none"


def wait_whole(nodes):
    wait_until("the cluster is whole", WHOLE_SECONDS, lambda: is_whole(nodes), 0.3)
