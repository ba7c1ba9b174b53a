"""The baseboard controller of a node: a Unix socket, one request a connection.

    status               on RELEASE | off RELEASE
    status OP_ID         done | running | failed REASON | unknown
    on                   ok
    off                  ok                  power loss
    image RELEASE OP_ID LENGTH\\n + LENGTH bytes (the join file)
                         ok accepted | ok running | ok done
    cancel OP_ID         like status OP_ID; an unknown operation is failed from
                         now on, one that runs is not stopped
    fail TIMES           ok                  so many images fail from now on

What is wrong is answered by "error REASON". The record of an operation is on
disk: one that is done or running is never done twice; a failed one may be
asked for again, a cancelled one not."""

import os
import re
import socket
from dataclasses import dataclass

from . import paths, state
from .shell import LabError

OP_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")
LINE_MAX = 512
JOIN_FILE_MAX = 64 * 1024
CANCELLED = "failed cancelled"


@dataclass
class Image:
    release: str
    op_id: str
    join_file: bytes


def socket_path(node):
    return paths.BMC / node


def listen(node):
    path = socket_path(node)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    os.chmod(path, 0o600)
    listener.listen(16)
    return listener


# -- the record of operations ----------------------------------------------

def op_path(node, op_id):
    if not OP_ID.match(op_id):
        raise LabError(f"operation id {op_id!r} is not in [A-Za-z0-9._:-]")
    return paths.node_dir(node) / "ops" / op_id


def op_state(node, op_id):
    return (state.load(op_path(node, op_id)) or {}).get("state", "unknown")


def op_set(node, op_id, value):
    state.save(op_path(node, op_id), {"state": value})


def finish(node, op_id, error=None):
    op_set(node, op_id, "failed " + error.replace("\n", " ") if error else "done")


def fail_interrupted(node):
    folder = paths.node_dir(node) / "ops"
    for path in folder.iterdir() if folder.is_dir() else ():
        if op_state(node, path.name) == "running":
            finish(node, path.name, "the lab's supervisor ended in between")


# -- the node's side ---------------------------------------------------------

def answer(supervisor, client):
    stream = client.makefile("rb")
    line = stream.readline(LINE_MAX).decode("ascii", "replace").split()
    try:
        reply = dispatch(supervisor, line, stream)
    except LabError as error:
        reply = f"error {error}"
    client.sendall(reply.encode() + b"\n")


def dispatch(supervisor, line, stream):
    node = supervisor.name
    match line:
        case ["status"]:
            return f"{'on' if supervisor.nspawn else 'off'} {supervisor.release}"
        case ["status", op_id]:
            return op_state(node, op_id)
        case ["on"]:
            supervisor.power_on()
            return "ok"
        case ["off"]:
            supervisor.lose_power()
            return "ok"
        case ["image", release, op_id, length]:
            return image(supervisor, release, op_id, length, stream)
        case ["fail", times] if times.isdigit():
            supervisor.failures = int(times)
            return "ok"
        case ["cancel", op_id]:
            if op_state(node, op_id) == "unknown":
                op_set(node, op_id, CANCELLED)
            return op_state(node, op_id)
    raise LabError(f"unknown request {' '.join(line)!r}")


def image(supervisor, release, op_id, length, stream):
    if not length.isdigit() or int(length) > JOIN_FILE_MAX:
        raise LabError(f"length {length!r} is not within {JOIN_FILE_MAX}")
    # Read before anything is answered: a client that still writes when we
    # close sees a broken pipe instead of the answer.
    join_file = stream.read(int(length))
    if len(join_file) != int(length):
        raise LabError(f"{len(join_file)} bytes of {length} came")
    if release not in paths.RELEASES:
        raise LabError(f"no image of release {release!r}")
    known = op_state(supervisor.name, op_id)
    if known in ("done", "running"):
        return f"ok {known}"
    if known == CANCELLED:
        raise LabError("the operation was cancelled")
    op_set(supervisor.name, op_id, "running")
    supervisor.pending = Image(release, op_id, join_file or None)
    return "ok accepted"


# -- the caller's side -------------------------------------------------------

def ask(node, request, payload=b"", timeout=60):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.settimeout(timeout)
        try:
            s.connect(str(socket_path(node)))
            s.sendall(request.encode() + b"\n" + payload)
            reply = s.makefile().readline().strip()
        except OSError as error:
            raise LabError(f"the BMC of {node} does not answer: {error}",
                           f"see {paths.node_dir(node)}/supervisor.log; "
                           "lab down and lab up start afresh") from None
    if reply.startswith("error") or not reply:
        raise LabError(f"the BMC of {node}: {reply or 'no answer'}")
    return reply
