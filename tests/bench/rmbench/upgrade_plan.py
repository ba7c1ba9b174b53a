"""Plan and precheck of an upgrade of 64 nodes and 8,000 virtual machines, on the node of agent_status.py."""

from .agent_status import measure_rows
from .frame import Spec

ROWS = [
    Spec("upgrade-plan", "ms", "value < 1000",
         "clusterctl upgrade plan --output json, with every move, 64 nodes, 8,000 VMs"),
    Spec("upgrade-precheck", "ms", "value < 1000", "clusterctl upgrade check, 64 nodes, 8,000 VMs"),
]


def measure(names):
    yield from measure_rows(ROWS, names)
