"""What the lab knows of itself between two commands: STATE/lab.json, and one
record per node that its supervisor keeps."""

import json

from . import paths
from .shell import LabError, locked, write_file


def load(path):
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def save(path, value):
    write_file(path, json.dumps(value, indent=1) + "\n")


def lab():
    """The lab's record, or None when there is no lab."""
    return load(paths.STATE_FILE)


def lab_or_fail():
    found = lab()
    if not found:
        raise LabError("no lab is up", "tests/lab/lab up")
    return found


def save_lab(value):
    save(paths.STATE_FILE, value)


def update_lab(**changes):
    with being_changed():
        value = lab_or_fail()
        value.update(changes)
        save_lab(value)


def being_changed():
    """The record is written by lab commands and by each node's supervisor."""
    return locked(paths.STATE_FILE.with_suffix(".lock"), "its record", wait=True)


def node_record(node):
    """What the node's supervisor last wrote: supervisor, nspawn and leader
    process, power, release."""
    return load(paths.node_dir(node) / "node.json") or {}


def node_or_fail(node):
    nodes = lab_or_fail()["nodes"]
    if node not in nodes:
        raise LabError(f"there is no node {node}", "the nodes are " + " ".join(nodes))
    return nodes[node]
