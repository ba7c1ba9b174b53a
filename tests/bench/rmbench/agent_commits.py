"""Committed writes a second of three nodes, with 64 under way, beside SQLite alone and beside etcd."""

import contextlib
import json
import time

from . import build, etcd, lab
from .frame import ROUNDS, Spec, Unmeasured, row_of

IN_FLIGHT, BYTES = 64, 100
SECONDS = 5
FOLDER = "/var/lib/bench"
EXECUTOR = "upgrade.executor"

ROWS = [
    Spec("agent-commits-beside-sqlite", "writes/s", "ratio >= 0.5",
         "cluster config set on three nodes, 64 under way, beside SQLite's commits on the same file system",
         peer="SQLite WAL, synchronous=FULL"),
    Spec("agent-commits-beside-etcd", "writes/s", "ratio > 1", "the same beside etcd's puts on the same three nodes",
         peer="etcd 3.4, three members"),
]
SQLITE, ETCD = ROWS


def rate(done):
    """Of a load program: all its writes went well, or there is no figure."""
    try:
        found = json.loads(done.stdout)
    except ValueError:
        raise Unmeasured(f"a load program ended with {done.returncode}: {done.stderr.strip()[-300:]}") from None
    if done.returncode != 0 or found["failed"] or not found["writes"]:
        raise Unmeasured(f"{found['failed']} writes failed: {found['why']}")
    return found["writes"] / found["seconds"]


class Bench:
    def __init__(self, nodes):
        self.nodes = nodes
        self.missing = {}
        lab.run(nodes[0], "true")
        for node in nodes:
            lab.run(node, "mkdir", "-p", FOLDER)
            for program in ("agent-load", "sqlite-load"):
                lab.put(node, build.program(program), f"{FOLDER}/{program}")

    def agent(self):
        """At the leader, as etcd's load is at its own."""
        node = lab.leader(self.nodes)
        return rate(lab.run(node, f"{FOLDER}/agent-load", str(SECONDS), str(IN_FLIGHT), str(BYTES), check=False))

    def sqlite(self):
        node = lab.leader(self.nodes)
        return rate(lab.run(node, f"{FOLDER}/sqlite-load", f"{FOLDER}/bench.sqlite", str(SECONDS), str(BYTES),
                            check=False))

    def etcd(self):
        node = etcd.leader(self.nodes)
        return rate(lab.run_beside(node, [str(build.program("etcd-load")), lab.address(node), str(etcd.PORT),
                                          str(SECONDS), str(IN_FLIGHT), str(BYTES)]))


@contextlib.contextmanager
def etcd_members(nodes, wanted):
    """Gives why there are none, or None."""
    missing = None
    try:
        if wanted:
            build.program("etcd-load")
            etcd.start(nodes)
            wait_etcd(nodes)
    except (Unmeasured, lab.LabError) as why:
        missing = str(why)
    try:
        yield missing
    finally:
        if wanted:
            etcd.stop(nodes)


def wait_etcd(nodes):
    end = time.monotonic() + 30
    while True:
        try:
            return etcd.leader(nodes)
        except Unmeasured:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def sample(peers, name, call):
    """A peer that fails once is missing for good."""
    values, missing = peers[name]
    if missing is None:
        try:
            values.append(call())
        except (Unmeasured, lab.LabError) as why:
            peers[name] = (values, str(why))


def measure_on(nodes, names):
    before = lab.ask(nodes[0], "cluster", "config", "show")["settings"].get(EXECUTOR, "")
    bench = Bench(nodes)
    values = []
    with etcd_members(nodes, ETCD.name in names) as missing:
        peers = {SQLITE.name: ([], None), ETCD.name: ([], missing)}
        calls = {SQLITE.name: bench.sqlite, ETCD.name: bench.etcd}
        try:
            for _ in range(ROUNDS):
                values.append(bench.agent())
                for name in names:
                    sample(peers, name, calls[name])
        finally:
            lab.run(nodes[0], "clusterctl", "cluster", "config", "set", EXECUTOR, before, check=False)
    note = f"{ROUNDS} rounds of {SECONDS} s each, {BYTES} bytes a write; clients at the leader, of etcd too"
    for spec in ROWS:
        if spec.name in names:
            yield row_of(spec, values, *peers[spec.name], note=note)


def measure(names):
    for program in ("agent-load", "sqlite-load"):
        build.program(program)
    with lab.up("--no-vms") as nodes:
        yield from measure_on(nodes, names)
