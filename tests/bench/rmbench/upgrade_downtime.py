"""How long a guest stands still at a live migration: by the agent, and a twin of it that Ringmaster does not know by
virsh migrate, between the same nodes, in turn."""

import re

from . import lab
from .frame import Spec, Unmeasured, row_of, rounds

from rmlab import guests  # noqa: E402
from rmlab.shell import wait_until  # noqa: E402

VM, TWIN = "vm1", "twin"
ROUNDS = 12
DOWNTIME = re.compile(r"^(?:Total )?[Dd]owntime:\s+([0-9.]+)\s+ms", re.MULTILINE)
ROWS = [Spec("upgrade-guest-downtime", "ms", "ratio <= 1.1", "downtime of a guest at a live migration",
             peer="virsh migrate --live over TLS, the same guest")]


def downtime(node, vm):
    """Of the migration that brought it here, by QEMU."""
    text = lab.run(node, "virsh", "domjobinfo", vm, "--completed").stdout
    found = DOWNTIME.search(text)
    if not found:
        raise Unmeasured(f"libvirt on {node} does not say how long {vm} stood still: {text!r}")
    return float(found.group(1))


class Pair:
    """A guest that goes to and fro."""

    def __init__(self, vm, nodes, migrate):
        self.vm, self.nodes, self.migrate = vm, nodes, migrate

    def __call__(self):
        source, target = self.nodes
        self.migrate(source, target, self.vm)
        self.nodes = (target, source)
        return downtime(target, self.vm)


def by_agent(source, target, vm):
    lab.run(source, "clusterctl", "vm", "migrate", vm, target, "--wait=120", timeout=150)


def by_virsh(source, target, vm):
    address = lab.address(target)
    lab.run(source, "virsh", "migrate", "--live", "--p2p", "--tls", "--tls-destination", target, "--auto-converge",
            "--desturi", f"qemu+tls://{address}/system", "--migrateuri", f"tcp://{address}",
            "--listen-address", address, "--domain", vm, timeout=150)


def start_twin(node):
    """The same guest with a disk and a console of its own."""
    text = guests.xml_in_node(VM)
    lab.run(node, "sh", "-ec", f"""truncate -s {guests.DISK_BYTES} /shared/{TWIN}.img
        sed '/<uuid>/d; s,<name>{VM},<name>{TWIN},; s,{VM}\\.,{TWIN}.,' {text} > /shared/{TWIN}.xml
        virsh create /shared/{TWIN}.xml""")
    console = guests.console(TWIN)
    wait_until(f"{TWIN} counts", 60, lambda: console.exists() and "rmlab tick" in console.read_text(errors="replace"))


def measure(names):
    del names  # it is one
    with lab.fresh("--nodes", "2", "--vms", "1") as nodes:
        at = lab.ask(nodes[0], "vm", "show", VM)["vm"]["node"]
        pair = (at, next(node for node in nodes if node != at))
        start_twin(at)
        values, peers, missing = rounds(Pair(VM, pair, by_agent), Pair(TWIN, pair, by_virsh), ROUNDS)
        yield row_of(ROWS[0], values, peers, missing, note=f"{len(values)} rounds, guests of 128 MiB without KVM")
