"""The lab for a part of a group: one of the bench's own (LAB_STATE may name another), brought up and taken down. One
that stands there already is used as it is, and left."""

import contextlib
import os
import shlex
import subprocess
import sys
from pathlib import Path

from .build import CHECKOUT
from .frame import Unmeasured

os.environ.setdefault("LAB_STATE", "/var/lib/ringmaster-lab-bench")
sys.path.insert(0, str(CHECKOUT / "tests/lab"))

from rmlab import enter, follow, network, state  # noqa: E402
from rmlab.shell import LabError  # noqa: E402

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


def run(node, *command, check=True, timeout=120):
    return enter.run(node, list(command), check=check, timeout=timeout)


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
