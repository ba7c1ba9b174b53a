"""strace on the agent of a node, from the host, so that its unit stays as it is installed: what it does to its files,
in order, and a SIGKILL or an error at any one of those system calls."""

import collections
import os
import re
import shutil
import subprocess

from . import cgroup, enter, network, procs
from .shell import LabError, wait_until

CALLS = ("write", "pwrite64", "fsync", "fdatasync", "ftruncate", "rename", "unlink", "mkdir")
FOLDERS = ("/var/lib/ringmaster", "/etc/ringmaster", "/etc/corosync", "/etc/pki")
AGENT_SECONDS = 120
ATTACH_SECONDS = 60

# PID call(FD<path> … or PID call("path" …
CALL = re.compile(r'^\d+ +([a-z0-9]+)\((?:\d+<([^>]*)>|"([^"]*)")')

Point = collections.namedtuple("Point", "call path n")  # the Nth call on that file


def agent_of(node):
    """The agent's process as the host sees it: of this node's cgroup, and with the PID that its systemd says. Waits
    while systemd starts it again."""
    return wait_until(f"an agent runs on {node}", AGENT_SECONDS, lambda: find_agent(node), 0.1)


def find_agent(node):
    inside = enter.output(node, ["systemctl", "show", "-P", "MainPID", "ringmasterd"], timeout=60).strip()
    for pid in cgroup.members(cgroup.folders(network.netns(node))[0]):
        known = procs.record(pid)
        try:
            if field(pid, "Name") == ["ringmasterd"] and field(pid, "NSpid")[-1] == inside and procs.alive(known):
                return known
        except (OSError, StopIteration):
            pass  # it ended while we looked
    return None


def field(pid, name):
    with open(f"/proc/{pid}/status") as f:
        return next(line.split()[1:] for line in f if line.startswith(name + ":"))


class Tracer:
    """Sits on all threads of a node's agent until stop(), or until the agent has ended."""

    def __init__(self, node, log):
        if not shutil.which("strace"):
            raise LabError("strace is not installed", "contrib/setup")
        self.node, self.agent, self.log = node, agent_of(node), log
        self.inside = field(self.agent["pid"], "NSpid")[-1]  # its PID in the node
        # strace names an open file as it sees it from here: in a chroot the node's root may lie below a folder.
        self.root = os.readlink(f"/proc/{self.agent['pid']}/root").rstrip("/")
        log.write_text("")
        self.process = subprocess.Popen(["strace", "-f", "-y", "-s", "0", "-o", str(log), "-p", str(self.agent["pid"]),
                                         *self.options()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True)
        try:
            wait_until("strace sits on the agent", ATTACH_SECONDS, self.sits, 0.02)
        except LabError:
            self.stop()
            raise

    def sits(self):
        if self.process.poll() is not None:
            if self.may_be_over():
                return True
            raise LabError(f"strace ended: {self.process.stderr.read().strip()}")
        pid = self.agent["pid"]
        try:
            return all(field(f"{pid}/task/{tid}", "TracerPid") != ["0"] for tid in os.listdir(f"/proc/{pid}/task"))
        except (OSError, StopIteration):
            return False  # a thread ended while we looked

    def may_be_over(self):
        """Is it well that strace ended before it was seen to sit on all threads?"""
        return False

    def agent_ended(self):
        return not procs.alive(self.agent)

    def stop(self):
        """strace lets go of what it traces."""
        self.process.terminate()
        try:
            self.process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Counter(Tracer):
    """Hurts nothing, and writes down every call."""

    def options(self):
        return ["-e", "trace=" + ",".join(CALLS)]

    def points(self):
        """After stop(): every call on the agent's files, in their order."""
        seen, found = collections.Counter(), []
        for call in filter(None, map(CALL.match, self.log.read_text().splitlines())):
            name, path = call[1], (call[2] or call[3] or "").removeprefix(self.root)
            if any(path == folder or path.startswith(folder + "/") for folder in FOLDERS):
                seen[name, path] += 1
                found.append(Point(name, path, seen[name, path]))
        return found


class Injector(Tracer):
    """fault: KILL, or an error's name as strace knows it."""

    def __init__(self, node, log, point, fault):
        self.fault, self.point = fault, point
        super().__init__(node, log)

    def options(self):
        how = "signal=KILL" if self.fault == "KILL" else f"error={self.fault}"
        paths = {self.point.path, self.root + self.point.path}
        return ["-e", "trace=" + ",".join(CALLS), *(word for path in paths for word in ("-P", path)),
                "-e", f"inject={self.point.call}:{how}:when={self.point.n}"]

    def may_be_over(self):
        """What its peers do, too, leads an agent to its point: how_it_ended() says whether it was that."""
        return self.agent_ended()

    def how_it_ended(self):
        """After the agent's end: "killed by …", or "exited with …", and not of something else than the fault."""
        try:
            self.process.communicate(timeout=60)  # it ends with the last thread, and has written all then
        except subprocess.TimeoutExpired:
            raise LabError(f"strace goes on without the agent of {self.node}") from None
        end = re.search(rf"^{self.agent['pid']} +\+\+\+ (.*) \+\+\+$", self.log.read_text(), re.M)
        if not end or (self.fault != "KILL" and not self.was_injected()):
            raise LabError(f"the agent of {self.node} ended without the fault: {end and end[1]}")
        return end[1]

    def was_injected(self):
        return "(INJECTED)" in self.log.read_text()

    def journal(self):
        """What the agent itself said."""
        return enter.output(self.node, ["journalctl", "-q", "-b", "-o", "cat", f"_PID={self.inside}",
                                        "_SYSTEMD_UNIT=ringmasterd.service"], timeout=60)
