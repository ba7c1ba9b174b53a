"""corosync-qdevice of Debian on the nodes of a lab, with corosync-qnetd on the third place, where the witness is. As it
is shipped: its own times, the algorithm for two nodes (ffsplit); without TLS, which spares it work."""

import contextlib
import os
import subprocess
import tempfile

from . import debian, lab, peer_ring
from .frame import Unmeasured

from rmlab import network  # noqa: E402
from rmlab.shell import wait_until  # noqa: E402

NAME = "corosync-qdevice with qnetd 3.0, same nodes and token"
PACKAGES = ("corosync-qdevice", "corosync-qnetd")
READY_SECONDS = 60

QUORUM = f"""quorum {{
    provider: corosync_votequorum
    device {{
        model: net
        votes: 1
        net {{
            host: {network.WITNESS_ADDRESS}
            algorithm: ffsplit
            tls: off
        }}
    }}
}}
"""


@contextlib.contextmanager
def installed(nodes):
    """In the nodes, and qnetd runs; gives why it is missing, or None."""
    with contextlib.ExitStack() as stack:
        missing = None
        try:
            folder = debian.fetch("qdevice", PACKAGES)
            debian.install(nodes, folder, ["corosync-qdevice"], without=["corosync-qnetd"],
                           installer=debian.BESIDE)
            stack.enter_context(qnetd(debian.unpack(folder, "corosync-qnetd")))
        except (Unmeasured, lab.LabError, OSError, subprocess.SubprocessError) as why:
            missing = str(why)
        yield missing


@contextlib.contextmanager
def qnetd(root):
    with tempfile.TemporaryDirectory() as own:
        settings = f"lock_file={own}/pid,local_socket_file={own}/socket"
        process = subprocess.Popen(
            ["nsenter", f"--net={network.netns_path('witness')}", "--", str(root / "usr/bin/corosync-qnetd"), "-f",
             "-s", "off", "-S", settings],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            wait_until("corosync-qnetd has its socket", READY_SECONDS,
                       lambda: process.poll() is not None or os.path.exists(f"{own}/socket"))
            if process.poll() is not None:
                raise Unmeasured(f"corosync-qnetd ended with {process.returncode}")
            yield
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def running(nodes):
    """Instead of the agents."""
    with peer_ring.ring(nodes, QUORUM):
        try:
            lab.run_on_all(nodes, "systemctl start corosync-qdevice")
            wait_until("qdevice votes on every node", READY_SECONDS, lambda: all(votes(n) for n in nodes), 0.3)
            yield
        finally:
            lab.power_on(nodes)
            lab.run_on_all(nodes, "systemctl stop corosync-qdevice")


def votes(node):
    """Of three votes all are here."""
    text = lab.run(node, "corosync-quorumtool", "-s", check=False).stdout
    found = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return found.get("Total votes", "").strip() == "3" and found.get("Quorate", "").strip() == "Yes"
