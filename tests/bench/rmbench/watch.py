"""What a program of a node says, line by line, with the moment at which it was read here."""

import subprocess
import threading
import time

from . import lab  # noqa: F401  (finds rmlab)
from .frame import Unmeasured

from rmlab import enter  # noqa: E402


class Lines:
    def __init__(self, node, command):
        self.node, self.command = node, command
        self.lines = []  # (ns of CLOCK_MONOTONIC, text)

    def __enter__(self):
        self.process = subprocess.Popen(enter.argv(self.node, self.command), env=enter.ENVIRONMENT, text=True,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()
        return self

    def read(self):
        for line in self.process.stdout:
            self.lines.append((time.monotonic_ns(), line.strip()))

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.thread.join(10)

    def wait(self, what, seconds, find):
        """The first of find(lines) that is something."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = find(list(self.lines))
            if found is not None:
                return found
            if self.process.poll() is not None:
                raise Unmeasured(f"{self.command[0]} on {self.node} ended: {self.lines[-1:]}")
            time.sleep(0.01)
        raise Unmeasured(f"waited {seconds} s in vain until {what}: {self.lines[-3:]}")


class Growth:
    """A file of the host that another process writes to."""

    def __init__(self, path):
        self.path = path
        self.start = path.stat().st_size

    def first_line(self):
        """The first whole line that came since and is not empty; None: none yet."""
        with open(self.path, "rb") as f:
            f.seek(self.start)
            *whole, _ = f.read(4096).split(b"\n")
        return next((line.decode(errors="replace").strip() for line in whole if line.strip()), None)
