"""Where everything lies: the checkout, the cache, the state. No other module
builds a path of these three roots by itself."""

import hashlib
import os
from pathlib import Path

LAB = Path(__file__).resolve().parent.parent
CHECKOUT = LAB.parent.parent

DEFAULT_STATE = "/var/lib/ringmaster-lab"
DEFAULT_CACHE = "/var/cache/ringmaster-lab"

STATE = Path(os.environ.get("LAB_STATE") or DEFAULT_STATE).absolute()
CACHE = Path(os.environ.get("LAB_CACHE") or DEFAULT_CACHE).absolute()

RELEASES = ("bookworm", "trixie")


def lab_prefix():
    """Prefix of the names that are global on the host (network namespaces,
    cgroups). A state folder of one's own gets names of its own, so that two
    labs can stand side by side."""
    if str(STATE) == DEFAULT_STATE:
        return "rmlab"
    return "rmlab-" + hashlib.sha256(str(STATE).encode()).hexdigest()[:4]


STATE_FILE = STATE / "lab.json"
LOCK = STATE / "lock"
SHARED = STATE / "shared"
SHARED_IMAGE = STATE / "shared.xfs"  # of a lab whose shared storage has a file system of its own
BMC = STATE / "bmc"


def node_dir(node):
    return STATE / "nodes" / node


def checkout_cache():
    """A checkout's own corner of the cache: two of them do not undo each
    other's builds."""
    return CACHE / "agent" / hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:8]


def build_dir(release):
    return checkout_cache() / f"build-{release}"


def stage_dir(release):
    """The layer in which the last build's packages are installed."""
    return checkout_cache() / f"stage-{release}"


def agent_dir(release):
    """This lab's own copy of that, by a link: all images of its nodes stand on
    the same one, whatever is built meanwhile."""
    return STATE / "agent" / release
