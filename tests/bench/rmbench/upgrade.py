"""Group upgrade: what a rolling upgrade costs."""

from . import upgrade_downtime, upgrade_overhead, upgrade_placement, upgrade_plan
from .parts import measure_parts

PARTS = [upgrade_placement, upgrade_plan, upgrade_overhead, upgrade_downtime]
ROWS = [spec for part in PARTS for spec in part.ROWS]


def measure(names):
    return measure_parts(PARTS, names)
