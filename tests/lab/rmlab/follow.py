"""Watch a cluster whose nodes go away one after the other: every question is put
to whichever node has a quorum. One that was evicted answers, too, with what it
last knew."""

import json

from . import enter

GOOD = ("awaiting-raise", "done")
BAD = ("paused-error", "cancelled", "paused")


def ask(node, *words):
    """data of a node's answer, or None."""
    try:
        done = enter.run(node, ["clusterctl", *words, "--output", "json"], check=False, timeout=20)
        answer = json.loads(done.stdout)
    except Exception:  # the node is being powered off under the command
        return None
    return answer.get("data") if answer.get("status", {}).get("code") == 0 else None


def status(nodes):
    """(node, its status), from the first that has a quorum; (None, None): none has."""
    for node in nodes:
        data = ask(node, "status")
        if data and (data.get("quorum") or {}).get("quorate"):  # a new node is in no cluster
            return node, data
    return None, None


class Journal:
    """Prints each line of the cluster's journal once, from the run's start on."""

    def __init__(self):
        self.seen = None
        self.started = ""

    def print_new(self, node):
        if self.seen is None:  # what was before the run is not of interest
            run = (ask(node, "upgrade", "status") or {}).get("run")
            if not run:
                return
            self.seen, self.started = 0, run["created"]
        data = ask(node, "events", "--since", str(self.seen))
        for event in (data or {}).get("events", []):
            self.seen = max(self.seen, event["seq"])
            if event["time"] >= self.started:
                print(f"{event['time'][11:19]}  {event['text']}", flush=True)
