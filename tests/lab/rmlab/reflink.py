"""Shared storage on a file system of its own, whose files can share blocks."""

import os
import shutil

from . import paths
from .shell import LabError, run

BYTES = 4 << 30  # sparse


def mount():
    """Before any node boots: nodes bind what is there then. It ends with the unmounting of all that is below the
    state folder."""
    if not shutil.which("mkfs.xfs"):
        raise LabError("mkfs.xfs is missing", "apt-get install xfsprogs")
    paths.SHARED.mkdir(parents=True, exist_ok=True)
    with open(paths.SHARED_IMAGE, "wb") as f:
        os.truncate(f.fileno(), BYTES)
    run(["mkfs.xfs", "-q", "-m", "reflink=1", paths.SHARED_IMAGE], capture=True)
    run(["mount", "-o", "loop", paths.SHARED_IMAGE, paths.SHARED], capture=True)


def remove():
    paths.SHARED_IMAGE.unlink(missing_ok=True)
