"""The way from bare nodes to a cluster with running VMs, all by clusterctl, as
an admin would do it. The order of the steps is here and nowhere else."""

import json
import re

from . import cgroup, enter, guests, network, node, state, verify, witness
from .shell import LabError, phase, wait_until

JOIN_SECONDS = 60
VM_START_SECONDS = 60
SETTLE_SECONDS = 60
WATCHDOG_MS = "2000"  # half of what ships is enough for an idle host; on real ones an agent may wait longer for a CPU

GUEST_NAME = re.compile(r"\0-name\0guest=([^,\0]+)")


def ctl(name, *words, timeout=180, **kw):
    return enter.output(name, ["clusterctl", *words], timeout=timeout, **kw)


def form(nodes):
    first, *others = nodes
    with phase("cluster init"):
        wait_agent(first)
        ctl(first, "cluster", "init", "--name", "lab", "--yes")
    for other in others:
        with phase(f"join {other}"):
            wait_agent(other)
            join(first, other, nodes[other]["address"])
    ctl(first, "cluster", "config", "set", "upgrade.executor", node.EXECUTOR)
    if state.lab_or_fail().get("watchdog"):
        ctl(first, "cluster", "config", "set", "fence.watchdog_ms", WATCHDOG_MS)
    set_sites(first, nodes)
    wait_until("clusterctl status says quorate", SETTLE_SECONDS,
               lambda: is_quorate(first), 0.5)


def wait_agent(name):
    """The agent's socket answers (exit status 69: no agent)."""
    def answers():
        done = enter.run(name, ["clusterctl", "status"], check=False, timeout=30)
        if done.returncode == 127:
            raise LabError(f"clusterctl is not installed on {name}",
                           "tests/lab/lab build, then lab down and lab up")
        return done.returncode != 69
    wait_until(f"the agent of {name} answers", 30, answers, 0.3)


def join(first, other, address):
    token = f"/root/{other}.token"
    ctl(first, "cluster", "join-token", other, "--address", address,
        "--token-file", token)
    move_secret(first, token, other, "/root/join.token")
    ctl(other, "node", "join", "--token-file", "/root/join.token",
        f"--wait={JOIN_SECONDS}")
    enter.run(other, ["rm", "-f", "/root/join.token"])


def set_sites(first, nodes):
    if len({facts["site"] for facts in nodes.values()}) > 1:
        for name, facts in nodes.items():
            ctl(first, "cluster", "config", "set", f"node.{name}.site", f"site{facts['site']}")


def set_witness(first, kind):
    if kind == "file":
        ctl(first, "witness", "set", "file", "--path", witness.FOLDER_IN_NODE)
    elif kind == "azurite":
        files = ["/root/witness.key", "/root/witness.key2"]
        for path, key in zip(files, witness.keys()):
            write_secret(first, path, key + "\n")
        ctl(first, "witness", "set", "azure", "--account", witness.ACCOUNT,
            "--key-file", files[0], "--key2-file", files[1])
        enter.run(first, ["rm", "-f", *files])


def write_secret(name, path, text):
    """Through a pipe: never in an argument."""
    enter.run(name, ["sh", "-c", f"umask 077; cat > {path}"], stdin=text)


def move_secret(source, path, target, new_path):
    """Carry a file from node to node."""
    write_secret(target, new_path, enter.output(source, ["cat", path]))
    enter.run(source, ["rm", "-f", path])


def start_vms(nodes):
    first, spread = next(iter(nodes)), list(nodes)
    for k, vm in enumerate(guests.names()):
        with phase(f"start {vm}"):
            ctl(first, "vm", "add", "--xml", guests.xml_in_node(vm),
                "--node", spread[k % len(spread)])
            ctl(first, "vm", "start", vm, f"--wait={VM_START_SECONDS}")
    wait_until("clusterctl status says that all VMs run", SETTLE_SECONDS,
               lambda: all_running(first), 0.5)
    wait_until("every guest counts", SETTLE_SECONDS,
               lambda: all(verify.read_console(vm).last_counter() for vm in guests.names()), 0.5)


def status(name):
    """data of `clusterctl status`, or {} when it cannot be had."""
    done = enter.run(name, ["clusterctl", "status", "--output", "json"],
                     check=False, timeout=30)
    try:
        return json.loads(done.stdout)["data"] or {}
    except (ValueError, KeyError, TypeError):
        return {}


def is_quorate(name):
    return status(name).get("quorum", {}).get("quorate") is True


def all_running(name):
    vms = status(name).get("vms", [])
    return (len(vms) == len(guests.names())
            and all(vm["state"] == "running" for vm in vms))


def running_in(name):
    """VMs that libvirt runs in a node right now: the truth, agent or not."""
    done = enter.run(name, ["virsh", "-q", "list", "--name"], check=False, timeout=30)
    return done.stdout.split()


def qemu_in(name):
    """VMs that a QEMU process of the node runs, seen from the host: a node
    that is frozen, or whose libvirtd hangs, can say nothing."""
    found = set()
    for folder in cgroup.folders(network.netns(name)):
        for pid in cgroup.members(folder):
            found |= set(GUEST_NAME.findall(command_line(pid)))
    return sorted(found)


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline", errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def remember_placement(name):
    """Before a crash: whose restart `verify-guests --after-crash` allows, once
    for each crash that found them running."""
    running = qemu_in(name)
    with state.being_changed():
        lab = state.lab_or_fail()
        crashes = lab.setdefault("crashes", {})
        crashes[name] = sorted(crashes.get(name, []) + running)
        state.save_lab(lab)
