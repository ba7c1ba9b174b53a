#!/usr/bin/python3
"""The large node of the bench can be made and asked: a rule that changed must not leave its rows unmeasured. How long
it takes is not looked at."""

import os
import sys
from unittest import mock

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
if os.environ.get("top_builddir"):
    os.environ.setdefault("RINGMASTER_BUILD", os.path.abspath(os.environ["top_builddir"]))

from rmbench import agent_status, frame  # noqa: E402

SKIPPED = 77

if os.geteuid() != 0:
    print("skipped: it needs root: a node is made in namespaces")
    sys.exit(SKIPPED)
with mock.patch.multiple(agent_status, NODES=8, VMS=200, INVOCATIONS=frame.ROUNDS):
    rows = list(agent_status.measure({spec.name for spec in agent_status.ROWS}))
for row in rows:
    print(f"{row['name']}: {row['value']:.0f} {row['unit']}")
assert len(rows) == len(agent_status.ROWS) and all(row["value"] > 0 for row in rows)
