"""Run programs, report errors with their remedy, time the phases."""

import contextlib
import fcntl
import os
import subprocess
import sys
import time

from . import paths


class LabError(Exception):
    """What went wrong, and the command or step that mends it."""

    def __init__(self, what, remedy=None):
        super().__init__(what)
        self.remedy = remedy


def say(text):
    print(text, flush=True)


def warn(text):
    print(f"lab: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def phase(name):
    """Print how long a phase took, also when it failed: slowness and the
    place of a failure are seen without a debugger."""
    start = time.monotonic()
    outcome = "FAILED"
    try:
        yield
        outcome = "ok"
    finally:
        say(f"[{time.monotonic() - start:6.1f} s] {name}: {outcome}")


def run(argv, *, log=None, check=True, capture=False, stdin=None, env=None,
        timeout=None, title=None):
    """Run a program without a terminal. With log (a path) its output is
    appended there; a failure then quotes the end of that file. The title
    stands for an argv that is too long to read."""
    argv = [str(a) for a in argv]
    out = subprocess.PIPE if capture else None
    err = subprocess.PIPE if capture else None
    handle = open(log, "ab") if log else None
    try:
        done = subprocess.run(
            argv, env=env, timeout=timeout, text=True,
            input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL,
            stdout=handle or out, stderr=subprocess.STDOUT if handle else err)
    except FileNotFoundError:
        raise LabError(f"{argv[0]} is not installed",
                       "contrib/setup, or apt-get install what "
                       "tests/lab/packages.host lists") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"{title or ' '.join(argv)} did not end within {timeout} s",
                       f"see {log}" if log else None) from None
    finally:
        if handle:
            handle.close()
    if check and done.returncode != 0:
        detail = tail(log) if log else (done.stderr or "").strip()
        raise LabError(f"{title or ' '.join(argv)} failed with status "
                       f"{done.returncode}\n{detail}",
                       f"the whole log is {log}" if log else None)
    return done


def output(argv, **kw):
    return run(argv, capture=True, **kw).stdout


def log_file_for(name):
    """An empty log in the cache, for a step of the build."""
    path = paths.CACHE / "log" / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    return path


def tail(path, lines=25):
    try:
        with open(path, errors="replace") as f:
            return "".join(f.readlines()[-lines:]).rstrip()
    except OSError:
        return ""


@contextlib.contextmanager
def locked(path, what, wait=False):
    """Hold an exclusive lock while the block runs; the kernel drops it with
    the process, so a killed run leaves none behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as f:
        os.set_inheritable(f.fileno(), False)
        try:
            fcntl.flock(f, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise LabError(f"another lab command is busy with {what}",
                           "wait until it ends, or use a LAB_STATE of your "
                           "own") from None
        yield


def wait_until(what, seconds, probe, interval=0.1):
    """Poll until probe() is true; returns its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > deadline:
            raise LabError(f"waited {seconds} s in vain until {what}")
        time.sleep(interval)


def write_file(path, text, mode=0o644):
    """Create or replace path as a whole; never a half-written file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    data = text if isinstance(text, bytes) else text.encode()
    with open(os.open(temporary, flags, mode), "wb") as f:
        f.write(data)
        os.fchmod(f.fileno(), mode)
    os.replace(temporary, path)
