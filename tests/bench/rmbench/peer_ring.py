"""The nodes of a lab without their agents: corosync with the same ring and the same times, and the quorum that a peer
wants. Afterwards corosync.conf is put back and the agents are started."""

import contextlib
import re

from . import lab

from rmlab import enter  # noqa: E402

CONF = "/etc/corosync/corosync.conf"
QUORUM = re.compile(r"^quorum \{\n.*?^\}\n", re.MULTILINE | re.DOTALL)

# Masked: an agent must not start with a node that is switched on meanwhile.
AGENTS_AWAY = "systemctl mask -q ringmasterd && systemctl stop ringmasterd corosync"
AGENTS_BACK = "systemctl unmask -q ringmasterd && systemctl start ringmasterd"


def conf_with(text, quorum):
    """corosync.conf with another section quorum; all else stays."""
    new, n = QUORUM.subn(lambda _: quorum, text)
    if n != 1:
        raise ValueError(f"corosync.conf has {n} sections quorum")
    return new


def write_conf(node, text):
    enter.run(node, ["sh", "-c", f"cat > {CONF}"], stdin=text)


@contextlib.contextmanager
def ring(nodes, quorum):
    """quorum: the text of that section."""
    own = {node: lab.run(node, "cat", CONF).stdout for node in nodes}
    try:
        lab.run_on_all(nodes, AGENTS_AWAY)
        for node in nodes:
            write_conf(node, conf_with(own[node], quorum))
        lab.run_on_all(nodes, "systemctl start corosync")
        yield
    finally:
        lab.power_on(nodes)
        lab.run_on_all(nodes, "systemctl stop corosync")
        for node in nodes:
            write_conf(node, own[node])
        lab.run_on_all(nodes, AGENTS_BACK)
        lab.wait_whole(nodes)


def totem_ms(node, name):
    """token or consensus, as the corosync that runs has it."""
    words = lab.run(node, "corosync-cmapctl", "-g", f"runtime.config.totem.{name}").stdout.split()
    return int(words[-1])
