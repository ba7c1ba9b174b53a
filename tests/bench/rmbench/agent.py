"""Group agent: what an agent costs, and what it gives."""

from . import agent_commits, agent_idle, agent_status, agent_upgrade
from .parts import measure_parts

PARTS = [agent_idle, agent_status, agent_commits, agent_upgrade]
ROWS = [spec for part in PARTS for spec in part.ROWS]


def measure(names):
    return measure_parts(PARTS, names)
