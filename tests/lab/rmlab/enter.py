"""Run a command inside a node. Only the recorded leader is entered, and only
after it was seen to live in a PID namespace other than the host's: a wrong
match here would run `systemctl reboot` on the host."""

import os
import subprocess

from . import procs, state
from .shell import LabError, wait_until

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
               "HOME": "/root", "LANG": "C.UTF-8", "TERM": "dumb"}
BOOT_TIMEOUT_S = 90


def leader(node):
    state.node_or_fail(node)
    known = state.node_record(node).get("leader")
    if not procs.alive(known):
        raise LabError(f"{node} is not running", f"tests/lab/lab start {node}")
    if not procs.is_container_init(known["pid"]):
        raise LabError(f"process {known['pid']} is not PID 1 of a container",
                       "tests/lab/lab down")
    return known["pid"]


def argv(node, command):
    return ["nsenter", "--target", str(leader(node)), "--mount", "--uts", "--ipc",
            "--net", "--pid", "--cgroup", "--root", "--wd", "--", *command]


def replace(node, command):
    """Become the command; standard input, output and exit status are its own."""
    words = argv(node, command)
    environment = {**ENVIRONMENT, "TERM": os.environ.get("TERM", "dumb")}
    os.execvpe(words[0], words, environment)


def run(node, command, *, check=True, timeout=None, stdin=None):
    """Run a command in the node; returns the completed process (text)."""
    try:
        done = subprocess.run(argv(node, command), env=ENVIRONMENT, text=True,
                              capture_output=True, timeout=timeout,
                              input=stdin if stdin is not None else "")
    except subprocess.TimeoutExpired:
        raise LabError(f"on {node}: {' '.join(command)} did not end within "
                       f"{timeout} s", f"tests/lab/lab log {node}") from None
    if check and done.returncode != 0:
        raise LabError(f"on {node}: {' '.join(command)} ended with "
                       f"{done.returncode}\n{done.stdout}{done.stderr}".rstrip(),
                       f"tests/lab/lab log {node}; tests/lab/lab exec {node} -- …")
    return done


def output(node, command, **kw):
    return run(node, command, **kw).stdout


def is_booted(node):
    try:
        state_word = output(node, ["systemctl", "is-active", "multi-user.target"],
                            check=False, timeout=20).strip()
    except LabError:
        return False
    return state_word == "active"


def wait_booted(node):
    wait_until(f"{node} has booted (lab log {node})", BOOT_TIMEOUT_S,
               lambda: is_booted(node), 0.2)


def failed_units(node):
    lines = output(node, ["systemctl", "--failed", "--plain", "--no-legend"],
                   check=False).splitlines()
    return [line.split()[0] for line in lines if line.strip()]
