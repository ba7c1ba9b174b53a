"""Placement beside an exhaustive search."""

import subprocess

from . import build
from .frame import Spec, Unmeasured, row_of

CASES, SEED = 100, 1

ROWS = [
    Spec("upgrade-placement", "ratio", "value <= 1.05",
         f"the highest memory share of any node over that by exhaustive search, {CASES} random cases of up to 4 nodes "
         "and 10 VMs", of="maximum"),
]


def measure(names):
    del names  # it is one
    done = subprocess.run([build.program("placement"), str(CASES), str(SEED)], capture_output=True, text=True,
                          timeout=600, check=False)
    cases = [line.split() for line in done.stdout.splitlines()]
    if done.returncode != 0 or len(cases) != CASES:
        raise Unmeasured(f"placement ended with {done.returncode} after {len(cases)} cases: "
                         f"{done.stderr.strip()[-500:]}")
    ratios, own, best = ([float(case[i]) for case in cases] for i in range(3))
    optimal = sum(ratio <= 1 + 1e-6 for ratio in ratios)
    note = (f"{optimal} of {CASES} are the search's own; {sum(own):.0f} moves in all, by the search {sum(best):.0f}. A "
            "case in which a VM has no place, or a group or a preference is broken, that the search has kept, is no "
            "measurement")
    yield row_of(ROWS[0], ratios, note=note)
