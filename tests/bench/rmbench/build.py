"""The built programs: of $RINGMASTER_BUILD, of the folder that bench is called in, or of build/ in the checkout."""

import os
from pathlib import Path

from .frame import Unmeasured

CHECKOUT = Path(__file__).resolve().parents[3]


def folder():
    places = [os.environ.get("RINGMASTER_BUILD"), os.getcwd(), CHECKOUT,
              *sorted(CHECKOUT.glob("build/*"))]
    for place in places:
        if place and (Path(place) / "ringmasterd").is_file() and (Path(place) / "clusterctl").is_file():
            return Path(place).absolute()
    raise Unmeasured("no build of ringmasterd and clusterctl was found: make, or set RINGMASTER_BUILD")


def program(name):
    """A load program of tests/bench."""
    path = folder() / "tests/bench" / name
    if not path.is_file():
        raise Unmeasured(f"{path} is not built: make check, or make tests/bench/{name}")
    return path
