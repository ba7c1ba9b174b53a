"""A node's watchdog: a FIFO that its agent writes to and its supervisor reads, line by line.

    pet MS    once petted it is armed: the node is reset when no further pet
              comes for MS milliseconds
    disarm  until the next pet it does nothing

Time that the supervisor itself did not run does not count against the node:
what lies in the FIFO by then is read first."""

import os
import re
import time

from . import paths

PET = re.compile(rb"^pet (\d+)$")
INSIDE = "/run/watchdog"
CONF = f"[fence]\nwatchdog={INSIDE}/fifo\n"


def folder(node):
    return paths.node_dir(node) / "watchdog"


def make(node):
    folder(node).mkdir(parents=True, exist_ok=True)
    fifo = folder(node) / "fifo"
    fifo.unlink(missing_ok=True)
    os.mkfifo(fifo, 0o600)
    return fifo


class Watchdog:
    def __init__(self, node):
        # Read and write: it has no end, however often the agent goes.
        self.fd = os.open(make(node), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.timeout_s = None  # None: not armed
        self.due = None
        self.rest = b""

    def read(self):
        try:
            self.rest += os.read(self.fd, 65536)
        except BlockingIOError:
            return
        *lines, self.rest = self.rest.split(b"\n")
        for line in lines:
            pet = PET.match(line)
            if pet:
                self.timeout_s = int(pet[1]) / 1000
                self.due = time.monotonic() + self.timeout_s
            elif line == b"disarm":
                self.timeout_s = self.due = None

    def disarm(self):
        self.read()
        self.timeout_s = self.due = None

    def left_s(self):
        return None if self.due is None else max(0, self.due - time.monotonic())

    def is_overdue(self):
        return self.due is not None and time.monotonic() >= self.due
