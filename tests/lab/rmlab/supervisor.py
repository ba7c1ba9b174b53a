"""One process per node: its mains socket and its BMC. Boots the node, starts
it again when it reboots, and serves the BMC's socket. It runs in a mount
namespace of its own, so that the node's mounts vanish with it. When it is
killed, nspawn dies too (PR_SET_PDEATHSIG) but the node's PID 1 lives on, and
`down` ends it by its record or its cgroup.

One thread, one loop: a request and the end of the node are handled one after
the other, so no state is ever half-way when it is looked at."""

import ctypes
import os
import selectors
import signal
import socket
import subprocess
import sys
import time

from . import bmc, cgroup, cluster, network, node, paths, procs, state, watchdog
from .shell import LabError, wait_until

REBOOT_STATUS = 133
PR_SET_PDEATHSIG = 1
LEADER_TIMEOUT_S = 30


def log(text):
    stamp = time.strftime("%H:%M:%S")
    print(f"{stamp} {text}", file=sys.stderr, flush=True)


class Supervisor:
    def __init__(self, name):
        self.name = name
        self.facts = state.node_or_fail(name)
        self.release = self.facts["release"]
        self.layers = []  # below its own, from one image to the next
        self.nspawn = None
        self.leader = None
        self.mounted = False
        self.pending = None  # an operation that was accepted, to be done next
        self.starts = 0
        self.failures = 0  # so many images are to fail (bmc.py)
        self.watchdog = watchdog.Watchdog(name)

    # -- what the other lab commands read ---------------------------------

    def record(self):
        state.save(paths.node_dir(self.name) / "node.json", {
            "supervisor": procs.record(os.getpid()),
            "nspawn": procs.record(self.nspawn.pid) if self.nspawn else None,
            "leader": self.leader, "release": self.release,
            "starts": self.starts, "power": "on" if self.nspawn else "off"})

    # -- power ------------------------------------------------------------

    def power_on(self):
        if self.nspawn:
            return
        self.mount()
        network.set_cable(self.facts, self.name, True)
        self.spawn()

    def mount(self):
        if not self.mounted:
            node.mount_root(self.name, self.layers)
            self.mounted = True

    def unmount(self):
        if self.mounted:
            node.unmount_root(self.name)
            self.mounted = False

    def spawn(self):
        self.watchdog.disarm()
        console = open(paths.node_dir(self.name) / "console.log", "ab")
        self.nspawn = subprocess.Popen(
            node.nspawn_argv(self.name), stdin=subprocess.DEVNULL,
            stdout=console, stderr=console, preexec_fn=self.before_exec,
            start_new_session=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"})
        console.close()
        self.starts += 1
        self.leader = procs.record(wait_until(
            f"{self.name} has a PID 1", LEADER_TIMEOUT_S, self.find_leader, 0.02))
        self.record()
        log(f"on: {self.release}, leader {self.leader['pid']}")

    def before_exec(self):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        cgroup.enter(network.netns(self.name))

    def find_leader(self):
        if self.nspawn.poll() is not None:
            raise LabError(f"systemd-nspawn ended with {self.nspawn.returncode}")
        for pid in procs.children(self.nspawn.pid):
            if procs.is_container_init(pid):
                return pid
        return None

    def power_off(self):
        """Power loss: nothing in the node gets to say good-bye, not even its
        TCP connections."""
        network.set_cable(self.facts, self.name, False)
        if self.nspawn:
            if self.leader:
                procs.send_signal(self.leader, signal.SIGKILL)
            self.thaw()
            try:
                self.nspawn.wait(10)
            except subprocess.TimeoutExpired:
                self.nspawn.kill()
                self.nspawn.wait()
        self.went_off()

    def lose_power(self):
        """By another's hand: the guests that it ends may boot once more."""
        if self.nspawn:
            cluster.remember_placement(self.name)
        self.power_off()

    def thaw(self):
        """So that nspawn sees the end of a node that was frozen, and the next
        start does not begin frozen."""
        if cgroup.is_frozen(network.netns(self.name)):
            cgroup.set_frozen(network.netns(self.name), False)

    def went_off(self):
        self.nspawn = self.leader = None
        self.watchdog.disarm()  # it would be overdue for as long as the power is off
        network.forget_address(self.name)
        self.unmount()
        self.record()
        log("off")

    def node_ended(self):
        """SIGCHLD: the node rebooted, was switched off from inside, or died."""
        if not self.nspawn or self.nspawn.poll() is None:
            return
        status = self.nspawn.returncode
        log(f"nspawn ended with {status}")
        self.nspawn = self.leader = None
        if status == REBOOT_STATUS:
            self.spawn()
        else:
            self.went_off()

    def bark(self):
        """The watchdog was not petted in time: it resets the node, which boots
        again. Power is lost for a moment, as when a real one does it."""
        log(f"watchdog: no pet for {self.watchdog.timeout_s:g} s, the node is reset")
        self.lose_power()
        self.power_on()

    # -- a new image ------------------------------------------------------

    def install(self, release, join_file=None):
        """Replace the node's system: nothing of the old one stays."""
        self.power_off()
        self.release = release
        self.layers = node.lowers(release)
        node.fresh_upper(self.name)
        self.mount()
        nodes = state.lab_or_fail()["nodes"]
        node.configure(self.name, nodes, join_file)
        self.record()

    def run_pending(self):
        operation, self.pending = self.pending, None
        if not operation:
            return
        if self.failures:
            self.failures -= 1
            return bmc.finish(self.name, operation.op_id, "made to fail by the lab")
        log(f"image {operation.release} for operation {operation.op_id}")
        try:
            self.install(operation.release, operation.join_file)
            self.power_on()
            bmc.finish(self.name, operation.op_id)
        except Exception as error:  # its reason is the answer to a poll
            log(f"operation {operation.op_id} failed: {error}")
            bmc.finish(self.name, operation.op_id, str(error))

    # -- the loop ---------------------------------------------------------

    def serve(self):
        wake_r, wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_w)
        stopping = []
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.append(True))
        bmc.fail_interrupted(self.name)
        listener = bmc.listen(self.name)
        poller = selectors.DefaultSelector()
        poller.register(wake_r, selectors.EVENT_READ)
        poller.register(listener, selectors.EVENT_READ)
        poller.register(self.watchdog.fd, selectors.EVENT_READ)
        self.first_boot()
        while not stopping:
            for key, _ in poller.select(self.watchdog.left_s()):
                if key.fd == wake_r:
                    os.read(wake_r, 4096)
                elif key.fd == self.watchdog.fd:
                    self.watchdog.read()
                else:
                    self.serve_one(listener)
            self.node_ended()
            self.watchdog.read()  # what came while this loop was busy
            if self.nspawn and self.watchdog.is_overdue():
                self.bark()
            self.run_pending()
        self.power_off()

    def first_boot(self):
        self.install(self.release)
        self.power_on()

    def serve_one(self, listener):
        client, _ = listener.accept()
        try:
            with client:
                client.settimeout(10)
                bmc.answer(self, client)
        except (OSError, socket.timeout, LabError) as error:
            log(f"BMC request: {error}")


def start(name):
    """Start a node's supervisor, detached from whoever runs the lab command."""
    folder = paths.node_dir(name)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "supervisor.log", "ab") as out:
        process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "slave", "--",
             str(paths.LAB / "lab"), "supervise", name],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            start_new_session=True, cwd="/")
    state.save(folder / "supervisor.json", procs.record(process.pid))


def main(name):
    # PR_SET_PDEATHSIG of nspawn counts on this thread living as long as we do.
    Supervisor(name).serve()
