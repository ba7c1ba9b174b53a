"""etcd of Debian on the nodes of a lab, one member on each, as Debian ships it: every write is synced. The packages are
fetched by apt into a cache and unpacked, never installed."""

import json
import subprocess

from . import lab
from .debian import CACHE
from .frame import Unmeasured

PACKAGES = ("etcd-server", "etcd-client")
PROGRAM = "/usr/local/bin/bench-etcd"
DATA = "/var/lib/bench-etcd"
UNIT = "bench-etcd"
PORT = 2379


def fetch():
    """The folder in which the packages are unpacked."""
    root = CACHE / "etcd"
    if (root / "usr/bin/etcd").is_file() and (root / "usr/bin/etcdctl").is_file():
        return root
    CACHE.mkdir(parents=True, exist_ok=True)
    for old in CACHE.glob("etcd-*.deb"):
        old.unlink()
    try:
        subprocess.run(["apt-get", "download", *PACKAGES], cwd=CACHE, check=True, capture_output=True, text=True,
                       timeout=300)
        for package in sorted(CACHE.glob("etcd-*.deb")):
            subprocess.run(["dpkg", "-x", str(package), str(root)], check=True, capture_output=True, text=True)
    except (subprocess.SubprocessError, OSError) as error:
        raise Unmeasured(f"etcd could not be had: {getattr(error, 'stderr', None) or error}") from None
    return root


def start(nodes):
    root = fetch()
    peers = ",".join(f"{n}=http://{lab.address(n)}:2380" for n in nodes)
    for node in nodes:
        lab.put(node, root / "usr/bin/etcd", PROGRAM)
        own = lab.address(node)
        lab.run(node, "systemd-run", "--quiet", "--collect", f"--unit={UNIT}", PROGRAM, "--name", node,
                "--data-dir", DATA, "--listen-peer-urls", f"http://{own}:2380",
                "--initial-advertise-peer-urls", f"http://{own}:2380", "--listen-client-urls", f"http://{own}:2379",
                "--advertise-client-urls", f"http://{own}:2379", "--initial-cluster", peers,
                "--initial-cluster-state", "new", "--logger", "zap", "--log-level", "error")


def stop(nodes):
    for node in nodes:
        lab.run(node, "systemctl", "stop", UNIT, check=False)
        lab.run(node, "rm", "-rf", DATA, PROGRAM, check=False)


def leader(nodes):
    """Its node."""
    urls = {f"http://{lab.address(n)}:2379": n for n in nodes}
    argv = ["env", "ETCDCTL_API=3", str(fetch() / "usr/bin/etcdctl"), f"--endpoints={','.join(urls)}",
            "--write-out=json", "endpoint", "status"]
    done = lab.run_beside(nodes[0], argv)
    try:
        members = json.loads(done.stdout)
        leads = [m["Endpoint"] for m in members if m["Status"]["leader"] == m["Status"]["header"]["member_id"]]
    except (ValueError, KeyError, TypeError):
        leads = []
    if len(leads) != 1:
        raise Unmeasured(f"etcd has no leader: {done.stderr.strip()[-300:]}")
    return urls[leads[0]]
