"""Pacemaker of Debian on the nodes of a lab: its resource agent for virtual machines, and a fence agent that speaks to
the nodes' BMCs. Its own times, corosync's quorum of the nodes alone."""

import contextlib
import subprocess
import xml.etree.ElementTree as ET

from . import debian, lab, peer_ring
from .build import CHECKOUT
from .frame import Unmeasured

from rmlab import enter  # noqa: E402
from rmlab.shell import wait_until  # noqa: E402

NAME = "Pacemaker 2.1 with a fence agent for the same BMC"
PACKAGES = ("pacemaker", "pacemaker-cli-utils", "resource-agents")
FENCE = "/usr/sbin/fence_bench_bmc"
READY_SECONDS = 120

QUORUM = """quorum {
    provider: corosync_votequorum
}
"""

RESOURCES = """<resources>
<primitive id="bmc" class="stonith" type="fence_bench_bmc">
<instance_attributes id="bmc-a">
<nvpair id="bmc-a1" name="pcmk_host_list" value="{nodes}"/>
<nvpair id="bmc-a2" name="pcmk_host_check" value="static-list"/>
</instance_attributes>
</primitive>
<primitive id="{vm}" class="ocf" provider="heartbeat" type="VirtualDomain">
<instance_attributes id="vm-a">
<nvpair id="vm-a1" name="config" value="/shared/{vm}.xml"/>
<nvpair id="vm-a2" name="hypervisor" value="qemu:///system"/>
<nvpair id="vm-a3" name="force_stop" value="1"/>
</instance_attributes>
<meta_attributes id="vm-m"><nvpair id="vm-m1" name="resource-stickiness" value="100"/></meta_attributes>
<operations>
<op id="vm-start" name="start" interval="0" timeout="90"/>
<op id="vm-stop" name="stop" interval="0" timeout="90"/>
<op id="vm-monitor" name="monitor" interval="10" timeout="30"/>
</operations>
</primitive>
</resources>
"""


def put_fence_program(nodes):
    for node in nodes:
        lab.put(node, CHECKOUT / "tests/bench/fence_bench_bmc", FENCE)


def install(nodes):
    """Raises Unmeasured where it cannot be had."""
    try:
        debian.install(nodes, debian.fetch("pacemaker", PACKAGES), ["pacemaker"])
    except (lab.LabError, OSError, subprocess.SubprocessError) as why:
        raise Unmeasured(f"Pacemaker could not be installed: {why}") from None


@contextlib.contextmanager
def running(nodes, vm):
    """Instead of the agents; the VM, which they must have stopped, runs."""
    with peer_ring.ring(nodes, QUORUM):
        try:
            lab.run_on_all(nodes, "systemctl start pacemaker")
            wait_online(nodes)
            configure(nodes, vm)
            wait_runs(nodes, vm)
            yield
        finally:
            lab.power_on(nodes)
            # With a quorum it stops the VM, too.
            lab.run(nodes[0], "crm_attribute", "--name", "stop-all-resources", "--update", "true", check=False)
            with contextlib.suppress(lab.LabError):
                wait_until(f"{vm} is stopped", READY_SECONDS, lambda: where(nodes[0], vm) is None, 0.5)
            lab.run_on_all(nodes, "systemctl stop pacemaker")


def configure(nodes, vm):
    resources = RESOURCES.format(nodes=" ".join(nodes), vm=vm)
    for name, value in (("stonith-enabled", "true"), ("stonith-action", "off"), ("no-quorum-policy", "stop")):
        lab.run(nodes[0], "crm_attribute", "--name", name, "--update", value)
    enter.run(nodes[0], ["cibadmin", "--replace", "--scope", "resources", "--xml-pipe"], stdin=resources, timeout=60)


def monitor(node):
    done = lab.run(node, "crm_mon", "-1", "--output-as=xml", check=False)
    try:
        return ET.fromstring(done.stdout)
    except ET.ParseError:
        return ET.Element("nothing")


def online(node):
    return sorted(n.get("name") for n in monitor(node).findall("nodes/node") if n.get("online") == "true")


def where(node, resource):
    """The node on which it is started, or None."""
    for found in monitor(node).iter("resource"):
        if found.get("id") == resource and found.get("role") == "Started" and found.get("active") == "true":
            place = found.find("node")
            return None if place is None else place.get("name")
    return None


def controller(node):
    found = monitor(node).find("summary/current_dc")
    return None if found is None else found.get("name")


def wait_online(nodes):
    wait_until("Pacemaker has all nodes online", READY_SECONDS,
               lambda: all(online(n) == sorted(nodes) for n in nodes), 0.5)


def wait_runs(nodes, vm):
    wait_until(f"Pacemaker runs {vm} and its fence agent", READY_SECONDS,
               lambda: where(nodes[0], vm) and where(nodes[0], "bmc"), 0.5)
