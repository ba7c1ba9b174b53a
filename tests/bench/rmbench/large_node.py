"""Runs in a mount and network namespace of its own (agent_status.py makes it): a node whose database knows many others
and thousands of virtual machines, and that reaches none of them. The real agent serves it, the real clusterctl asks.

Its arguments: the build, how many nodes, virtual machines and rounds, the rows. Prints {row: [milliseconds]} as JSON, or {"error": why}."""

import json
import os
import subprocess
import sys
import time

NO_QUORUM = 106
START_S = 30

FILES = {
    "/etc/passwd": "root:x:0:0::/:/bin/sh\n",
    "/etc/group": "root:x:0:\nringmaster-admin:x:60101:\nringmaster-read:x:60102:\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "/etc/hosts": "127.0.0.1 localhost n1\n",
    "/etc/ringmaster/ringmaster.conf": "[node]\nname = n1\naddress = 127.0.0.1\n",
}


class Failed(Exception):
    pass


def run(*argv):
    return subprocess.run(argv, capture_output=True, text=True, timeout=120)


def must(*argv):
    done = run(*argv)
    if done.returncode != 0:
        raise Failed(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr.strip()}")


def make_node():
    for folder in ("/etc", "/run", "/var/lib", "/dev/shm"):
        must("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", folder)
    os.chmod("/dev/shm", 0o1777)
    must("ip", "link", "set", "lo", "up")
    os.mkdir("/etc/ringmaster")
    os.mkdir("/var/lib/ringmaster", 0o700)
    for path, text in FILES.items():
        with open(path, "w") as f:
            f.write(text)


def answer(ctl, *words):
    """data of the answer; what it says must be the cluster that was made."""
    done = run(ctl, *words, "--output", "json")
    try:
        found = json.loads(done.stdout)
    except ValueError:
        raise Failed(f"clusterctl {' '.join(words)} ended with {done.returncode}: {done.stderr.strip()}") from None
    return found["status"]["code"], found["data"]


def wait_agent(ctl, agent):
    end = time.monotonic() + START_S
    while agent.poll() is None and time.monotonic() < end:
        if run(ctl, "status").returncode == NO_QUORUM:
            return
        time.sleep(0.1)
    raise Failed("the agent did not serve the database")


def check(ctl, nodes, vms):
    code, data = answer(ctl, "status")
    if code != NO_QUORUM or len(data["nodes"]) != nodes or data["vm_counts"]["total"] != vms:
        raise Failed(f"status ({code}) does not tell of {nodes} nodes and {vms} virtual machines")
    code, data = answer(ctl, "upgrade", "plan", "--target", "trixie")
    steps = data["plan"]["steps"]
    if len(steps) != nodes:
        raise Failed(f"the plan ({code}) does not have {nodes} steps")
    placed = sum(move["to"] is not None for step in steps for move in step["outlook"]["moves"])
    if placed != vms:
        raise Failed(f"the plan has a place for {placed} of {vms} virtual machines")


def took_ms(expected, *argv):
    start = time.monotonic()
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    ms = (time.monotonic() - start) * 1000
    if done.returncode not in expected:
        raise Failed(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr.decode().strip()}")
    return ms


def measure(ctl, rounds, rows):
    status, plan = (NO_QUORUM,), (0, 1, 2)
    asked = {"agent-status-text": (status, ctl, "status"),
             "agent-status-json": (status, ctl, "status", "--output", "json"),
             "agent-upgrade-plan": (plan, ctl, "upgrade", "plan", "--target", "trixie"),
             "upgrade-plan": (plan, ctl, "upgrade", "plan", "--target", "trixie", "--output", "json"),
             "upgrade-precheck": (plan, ctl, "upgrade", "check", "--target", "trixie")}
    found = {name: [] for name in rows}
    for _ in range(rounds):
        for name in rows:
            expected, *argv = asked[name]
            found[name].append(took_ms(expected, *argv))
    return found


def main(build, nodes, vms, rounds, rows):
    ctl = f"{build}/clusterctl"
    make_node()
    must(f"{build}/tests/bench/big-cluster", str(nodes), str(vms))
    agent = subprocess.Popen([f"{build}/ringmasterd", "--foreground"], stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_agent(ctl, agent)
        check(ctl, nodes, vms)
        return measure(ctl, rounds, rows)
    finally:
        agent.terminate()
        agent.wait()


if __name__ == "__main__":
    try:
        print(json.dumps(main(sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5:])))
    except (Failed, OSError, KeyError, subprocess.TimeoutExpired) as why:
        print(json.dumps({"error": str(why) or type(why).__name__}))
