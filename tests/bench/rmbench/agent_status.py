"""`clusterctl status` and `upgrade plan` of 64 nodes and 8,000 virtual machines."""

import json
import os
import subprocess

from . import build
from .frame import Spec, Unmeasured, row_of

HELPER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "large_node.py")
NODES, VMS = 64, 8000
INVOCATIONS = 15
NOTE = "one agent without quorum: the other 63 nodes are away; a round is one invocation of clusterctl"

ROWS = [
    Spec("agent-status-text", "ms", "value < 50", "clusterctl status, 64 nodes, 8,000 VMs"),
    Spec("agent-status-json", "ms", "value < 50", "clusterctl status --output json, 64 nodes, 8,000 VMs"),
    Spec("agent-upgrade-plan", "ms", "value < 1000", "clusterctl upgrade plan, 64 nodes, 8,000 VMs"),
]


def measure_rows(rows, names):
    """The named ones of them, all on one node."""
    wanted = [spec for spec in rows if spec.name in names]
    if os.geteuid() != 0:
        raise Unmeasured("it needs root: a node is made in namespaces")
    build.program("big-cluster")
    done = subprocess.run(["unshare", "--mount", "--net", "--propagation", "private", "--", "/usr/bin/python3", "-B",
                           HELPER, str(build.folder()), *map(str, (NODES, VMS, INVOCATIONS)),
                           *(spec.name for spec in wanted)],
                          capture_output=True, text=True, timeout=300)
    try:
        found = json.loads(done.stdout)
    except ValueError:
        raise Unmeasured(f"the node ended with {done.returncode}: {done.stderr.strip()[-500:]}") from None
    if "error" in found:
        raise Unmeasured(found["error"])
    for spec in wanted:
        yield row_of(spec, found[spec.name], note=NOTE)


def measure(names):
    yield from measure_rows(ROWS, names)
