#!/usr/bin/python3
"""Many seeds of the simulator, on all cores.

    many-seeds.py MODE=COUNT …      db=9000 core=1000 upgrade-matrix=all; in the build folder

A line a minute says how far it is. At the first seed that fails everything ends, with the command that replays it. The
last line is `ok` or `not ok`; exit status 0 or 1."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIM = Path("tests/sim/ringmaster-sim").resolve()
PART = {"db": 100, "core": 10, "upgrade-matrix": 20}  # seeds of one process: a second or two


def parts(counts):
    """(mode, first, last), the modes mixed in proportion, so that what is left to do can be told from what is done."""
    todo = []
    for mode, count in counts.items():
        begin = 0 if mode == "upgrade-matrix" else 1  # its cases are counted from 0
        firsts = range(begin, begin + count, PART[mode])
        todo += [((n + 1) / len(firsts), mode, first, min(first + PART[mode], begin + count) - 1)
                 for n, first in enumerate(firsts)]
    return [part[1:] for part in sorted(todo)]


def start(part):
    mode, first, last = part
    said = tempfile.TemporaryFile("w+", errors="replace")
    child = subprocess.Popen([SIM, f"--{mode}", "--seeds", f"{first}..{last}"], stdout=said,
                             stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    return child, (part, said)


def fail(status, part, said):
    mode, first, last = part
    said.seek(0)
    text = said.read().replace("replay: ringmaster-sim", f"replay: {SIM}")
    print(text.rstrip())
    if "replay: " not in text:
        print(f"ended with {status}; replay: {SIM} --{mode} --seeds {first}..{last}")
    print(f"not ok - {mode} seeds {first}..{last}")


def run(counts):
    todo, running, began, told = parts(counts), {}, time.monotonic(), time.monotonic()
    done, total = 0, sum(counts.values())
    try:
        while todo or running:
            while todo and len(running) < os.cpu_count():
                child, what = start(todo.pop(0))
                running[child.pid] = child, *what
            pid, status = os.wait()  # whichever ends first: parts take differently long
            child, part, said = running.pop(pid)
            child.returncode = os.waitstatus_to_exitcode(status)
            if child.returncode != 0:
                fail(child.returncode, part, said)
                return 1
            said.close()
            done += part[2] - part[1] + 1
            now = time.monotonic()
            if now - told >= 60:
                told = now
                print(f"# {done} of {total} seeds after {now - began:.0f} s, about "
                      f"{(total - done) * (now - began) / done:.0f} s to go", flush=True)
    finally:
        for child, *_ in running.values():
            child.kill()
            child.wait()
    took = time.monotonic() - began
    what = ", ".join(f"{count} {mode}" for mode, count in counts.items())
    print(f"ok - {what} seeds in {took:.0f} s, {total / took:.0f} a second")
    return 0


def number(mode, count):
    """all: as many as the matrix has, which says so itself after its first case."""
    if (mode, count) != ("upgrade-matrix", "all"):
        return int(count)
    said = subprocess.run([SIM, "--upgrade-matrix", "--every", "999999999"], stdout=subprocess.PIPE, text=True).stdout
    return int(said.split("seeds 0..")[1].split(",")[0]) + 1


def main():
    try:
        counts = {mode: number(mode, count) for mode, count in (word.split("=") for word in sys.argv[1:]) if PART[mode]}
    except (ValueError, KeyError):
        counts = {}
    if not counts or not SIM.exists():
        print(__doc__, file=sys.stderr)
        return 64
    return run(counts)


sys.exit(main())
