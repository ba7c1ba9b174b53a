"""Prove that the guests lost nothing, by their consoles and disks. The format
of both stands at the top of guest/counter.c."""

import re
import time
import zlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from . import guests, state
from .shell import LabError, say

BLOCK = 4096
RING = 8192
BOOT = re.compile(r"^rmlab boot (\S+) boots=(\d+) first=(\d+)$")
TICK = re.compile(r"^rmlab tick (\d+) (\d+) (\S+)$")
HEADER = re.compile(rb"^rmlab-header boots=(\d+) boot=(\S+) first=(\d+)\n")
DISK_LINE = re.compile(rb"^rmlab-block counter=(\d+) boot=(\S+) uptime_ms=(\d+)\n")

# A line that is being written now has no end yet; a guest that does not write
# within this time is not alive.
ALIVE_SECONDS = 10

# Lines that may be on their way through virtlogd's pipe when the power goes.
LOST_LINES = 8

RESTARTS_ANY = 1 << 30


@dataclass
class Boot:
    boot_id: str
    number: int
    first: int
    ticks: list = field(default_factory=list)  # (counter, uptime_ms)


@dataclass
class Console:
    boots: list
    faults: list

    def last_counter(self):
        return self.boots[-1].ticks[-1][0] if self.boots and self.boots[-1].ticks else 0


def all_guests(after_crash, any_restarts=False):
    """Raises when one guest is not whole; prints a line for each. any_restarts:
    they may have been restarted, one after the other, and lost nothing."""
    allowed = defaultdict(lambda: RESTARTS_ANY) if any_restarts else restarts_allowed(after_crash)
    before = {name: read_console(name).last_counter() for name in guests.names()}
    broken = []
    for name in guests.names():
        console = wait_for_progress(name, before[name])
        faults = check_guest(console, name, 1 + allowed[name])
        if console.last_counter() <= before[name]:
            faults.append(f"no counter within {ALIVE_SECONDS} s after {before[name]}")
        report(name, console, faults)
        if faults:
            broken.append(name)
    if broken:
        raise LabError(f"not whole: {' '.join(broken)}", "lab console VM")


def restarts_allowed(nodes):
    """{VM: how many of these nodes' crashes found it running there}."""
    found = Counter()
    for node in set(nodes):
        state.node_or_fail(node)
        found.update(state.lab_or_fail().get("crashes", {}).get(node, []))
    return found


def report(name, console, faults):
    verdict = "ok" if not faults else "BROKEN: " + "; ".join(faults[:4])
    boots = len(console.boots)
    say(f"{name}: counter {console.last_counter()}, {boots} boot"
        f"{'' if boots == 1 else 's'}, {verdict}")


def wait_for_progress(name, before):
    deadline = time.monotonic() + ALIVE_SECONDS
    while True:
        console = read_console(name)
        if console.last_counter() > before or time.monotonic() > deadline:
            return console
        time.sleep(0.2)


# -- the console ---------------------------------------------------------------

def checked(line):
    """The line without its CRC, or None when that is wrong."""
    text, _, crc = line.rpartition(" ")
    return text if crc == f"{zlib.crc32(text.encode()):08x}" else None


def whole_lines(name):
    try:
        data = guests.console(name).read_bytes().replace(b"\r", b"")
    except FileNotFoundError:
        return []
    whole, _, _ = data.rpartition(b"\n")  # the last line may be in the making
    return whole.decode("ascii", "replace").split("\n")


def read_console(name):
    """What the kernel writes is left out. A line that is not whole is no fault if
    the next one is of another boot: it was being written when the power went."""
    console, broken = Console([], []), None
    for line in whole_lines(name):
        if "rmlab" not in line:
            continue
        text = checked(line)
        if broken is not None and not (text and BOOT.match(text)):
            console.faults.append(f"console line {broken[:60]!r}")
        broken = None if text else line
        if text:
            read_line(console, text)
    if broken is not None:
        console.faults.append(f"console line {broken[:60]!r}")
    return console


def read_line(console, text):
    boot, tick = BOOT.match(text), TICK.match(text)
    if boot:
        console.boots.append(Boot(boot[1], int(boot[2]), int(boot[3])))
    elif tick and not console.boots:
        console.faults.append("a counter before the first boot line")
    elif tick and tick[3] != console.boots[-1].boot_id:
        console.faults.append(f"counter {tick[1]} is of another boot: ran twice")
    elif tick:
        console.boots[-1].ticks.append((int(tick[1]), int(tick[2])))
    elif not text.startswith("rmlab poweroff"):
        console.faults.append(f"console line {text[:60]!r}")


def check_guest(console, name, boots_max):
    faults = list(console.faults)
    if not console.boots:
        return faults + ["never booted"]
    if len(console.boots) > boots_max:
        faults.append(f"booted {len(console.boots)} times, {boots_max} allowed")
    previous = None
    for boot in console.boots:
        faults += check_boot(boot)
        faults += check_succession(previous, boot)
        previous = boot
    return faults + check_disk(name, console)


def check_boot(boot):
    """Within one boot: each counter once, in order; uptime never back."""
    faults = []
    due, uptime = boot.first, -1
    for counter, uptime_ms in boot.ticks:
        if counter != due:
            kind = "gap" if counter > due else "step back"
            faults.append(f"{kind}: counter {counter} instead of {due}")
        if uptime_ms < uptime:
            faults.append(f"uptime steps back at counter {counter}")
        due, uptime = counter + 1, uptime_ms
    return faults


def check_succession(previous, boot):
    """A guest goes on behind what its disk holds: everything that the console
    showed, and a few blocks whose lines were lost with the power."""
    if previous is None:
        return [] if (boot.number, boot.first) == (1, 1) else [
            f"the first boot is number {boot.number}, from counter {boot.first}"]
    last = previous.ticks[-1][0] if previous.ticks else previous.first - 1
    if boot.number == previous.number + 1 and last < boot.first <= last + 1 + LOST_LINES:
        return []
    return [f"boot {boot.number} begins at counter {boot.first} after "
            f"boot {previous.number} ended at {last}"]


# -- the disk ------------------------------------------------------------------

def check_disk(name, console):
    """Every counter that the console shows has its block, whole and of the
    same boot. The guest writes the block before the line, so what the console
    showed before we open the disk must be there; blocks that it may be
    writing over right now (a ring's length later) are left out."""
    owners = {counter: (boot.boot_id, uptime) for boot in console.boots
              for counter, uptime in boot.ticks}
    last = console.last_counter()
    faults = []
    try:
        with open(guests.disk(name), "rb") as f:
            faults += check_header(f.read(BLOCK), console)
            for counter in range(max(1, last - RING + 64), last + 1):
                f.seek((1 + (counter - 1) % RING) * BLOCK)
                fault = block_fault(f.read(BLOCK), counter, owners.get(counter))
                faults += [fault] if fault else []
    except OSError as error:
        faults.append(f"disk: {error}")
    return faults


def is_whole(block):
    return block[-8:] == f"{zlib.crc32(block[:-8]):08x}".encode()


def check_header(block, console):
    match = HEADER.match(block)
    if not match or not is_whole(block):
        return ["the disk's header is not whole"]
    boot = console.boots[-1]
    if (int(match[1]), match[2].decode()) != (boot.number, boot.boot_id):
        return [f"the disk says boot {int(match[1])}, the console {boot.number}"]
    return []


def block_fault(block, counter, owner):
    match = DISK_LINE.match(block)
    if not match or not is_whole(block):
        return f"block of counter {counter} is not whole"
    if int(match[1]) != counter:
        return f"block of counter {counter} holds {int(match[1])}"
    if owner and (match[2].decode(), int(match[3])) != owner:
        return f"block of counter {counter} is of another boot or time"
    return None
