"""The third place: a host `witness` in a namespace of its own, on which Azurite
answers as Azure's Blob service would: at https://ACCOUNT.blob.core.windows.net,
over TLS by the lab's CA, which the nodes trust. Their /etc/hosts leads there.

`answers` puts tests/witness/proxy.c in front of it, by a redirect of new
connections, so that a cluster that uses the witness notices nothing but the
answers. `http` starts it once more, for what is spoken without TLS: an HTTP
proxy, or the metadata service that gives managed identities their tokens. What
Azurite and the proxies run as stands in STATE/witness/*.json."""

import base64
import contextlib
import email.utils
import hashlib
import hmac
import http.client
import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import time
import urllib.parse

from . import images, network, paths, procs, state
from .shell import LabError, log_file_for, phase, run, tail, wait_until, write_file

HOST = "witness"
ACCOUNT = "ringmasterlab"
CONTAINER = "ringmaster-witness"
BLOB_HOST = f"{ACCOUNT}.blob.core.windows.net"
PORT, PROXY_PORT, HTTP_PORT = 443, 8443, 3128
START_SECONDS = 60

# The certificate that the proxy in front of it shows (make_certificate); none: it speaks no TLS.
TLS = ("own", "untrusted", "expired", "name", "none")

NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]

# The share of `--witness file`, bound into every node.
FOLDER_IN_NODE = "/srv/witness"

BUILD = """
set -e
gcc -O2 -D_GNU_SOURCE -I /src -o /out/witness-proxy /src/tests/witness/proxy.c \
    /src/common/buf.c -lssl -lcrypto -lpthread
"""
SOURCES = ("tests/witness/proxy.c", "common/buf.c", "common/buf.h")


def program():
    return paths.CACHE / "azurite/node_modules/.bin/azurite-blob"


def chosen(option):
    """The kind of witness that `up` was asked for; auto: what can be had."""
    if option == "auto":
        return "azurite" if program().exists() else "file"
    if option == "azurite" and not program().exists():
        raise LabError("Azurite is not installed", "contrib/setup, or lab up --witness file")
    return option


# -- its files -----------------------------------------------------------------

def place(name=""):
    return paths.STATE / "witness" / name


def ca():
    """PEM of the CA, or "" when there is nothing that it signed."""
    return place("ca.pem").read_text() if place("ca.pem").exists() else ""


def keys():
    """The account's two keys."""
    return place("keys").read_text().split()


def prepare(kind):
    """What the nodes need to know before they boot."""
    for folder in ("data", "share"):
        place(folder).mkdir(parents=True, exist_ok=True)
    if kind != "azurite":
        return
    write_file(place("keys"), "\n".join(new_key() for _ in range(2)) + "\n", 0o600)
    write_file(place("names"), f"subjectAltName=DNS:{BLOB_HOST},DNS:{HOST}\n")
    openssl("req", "-x509", *NEW_KEY, "-days", "30", "-subj", "/CN=The lab's CA",
            "-addext", "keyUsage=critical,keyCertSign", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", *NEW_KEY, "-subj", f"/CN={HOST}", "-keyout", "tls.key", "-out", "tls.csr")
    openssl("x509", "-req", "-in", "tls.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "30",
            "-CAcreateserial", "-extfile", "names", "-out", "tls.pem")


def make_certificate(kind):
    """One that a node must not trust: of nobody, of yesterday, or of another."""
    if place(f"{kind}.pem").exists():
        return
    if kind == "untrusted":
        openssl("req", "-x509", *NEW_KEY, "-days", "30", "-subj", f"/CN={BLOB_HOST}", "-keyout",
                f"{kind}.key", "-out", f"{kind}.pem")
        return
    name = "another.example" if kind == "name" else BLOB_HOST
    write_file(place(f"{kind}.names"), f"subjectAltName=DNS:{name}\n")
    openssl("req", *NEW_KEY, "-subj", f"/CN={HOST}", "-keyout", f"{kind}.key", "-out", f"{kind}.csr")
    openssl("x509", "-req", "-in", f"{kind}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days",
            "-1" if kind == "expired" else "30", "-CAcreateserial", "-extfile", f"{kind}.names",
            "-out", f"{kind}.pem")


def new_key():
    return base64.b64encode(secrets.token_bytes(64)).decode()


def openssl(*words):
    run(["sh", "-c", 'umask 077; cd "$0" && exec openssl "$@"', place(), *words], capture=True)


# -- its processes ---------------------------------------------------------------

def record(name):
    return state.load(place(f"{name}.json"))


def spawn(name, argv, env):
    """A process of the witness's host, detached; its record and its log."""
    with open(place(f"{name}.log"), "ab") as out:
        process = subprocess.Popen(
            ["nsenter", f"--net={network.netns_path(HOST)}", "--", *argv], cwd=place(),
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            env={**os.environ, **env})
    state.save(place(f"{name}.json"), procs.record(process.pid))


def wait_open(name, port):
    """It answers, and its process is the one that we started."""
    def answers():
        if not procs.alive(record(name)):
            raise LabError(f"{name} ended:\n" + tail(place(f"{name}.log")))
        with contextlib.suppress(OSError):
            connect(port).close()
            return True
        return False
    wait_until(f"{name} answers", START_SECONDS, answers, 0.05)


def start():
    if procs.alive(record("azurite")):
        return
    host, port = network.WITNESS_ADDRESS, str(PORT)
    spawn("azurite", [str(program()), "--blobHost", host, "--blobPort", port, "--location",
                      str(place("data")), "--cert", str(place("tls.pem")), "--key",
                      str(place("tls.key")), "--disableTelemetry", "--oauth", "basic"],
          {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{':'.join(keys())}"})
    wait_open("azurite", PORT)
    create_container()


def crash():
    """SIGKILL. Azurite then loses what it acknowledged a moment before: a test
    of what the cluster does with a witness that is rolled back."""
    for name in ("azurite", "proxy", "http"):
        procs.send_signal(record(name), signal.SIGKILL)
        wait_until(f"{name} is gone", 10, lambda name=name: not procs.alive(record(name)), 0.02)
    redirect(False)


def set_frozen(frozen):
    """A connection to it opens, and nobody answers."""
    if not procs.send_signal(record("azurite"), signal.SIGSTOP if frozen else signal.SIGCONT):
        raise LabError("the witness is not running", "tests/lab/lab start witness")


def end():
    for name in ("http", "proxy", "azurite"):
        procs.send_signal(record(name), signal.SIGCONT)
        procs.end(record(name), 2)


def describe():
    if not procs.alive(record("azurite")):
        return "off"
    with open(f"/proc/{record('azurite')['pid']}/stat") as f:
        frozen = f.read().rpartition(")")[2].split()[0] == "T"
    rules = "; ".join(place("rules").read_text().splitlines()) if redirected() else ""
    return ("frozen" if frozen else "on") + (f"  answers: {rules}" if rules else "")


# -- other answers than Azurite's --------------------------------------------------

def answers(rules, tls):
    """Each new connection meets the next rule (tests/witness/proxy.c), the
    last one holds; no rules: Azurite itself answers again."""
    if tls != "own":
        rules = rules or ["pass"]
    if rules:
        write_file(place("rules"), "\n".join(rules) + "\n")
        start_proxy(tls)
    redirect(bool(rules))


def start_proxy(tls):
    mark = place("proxy.tls")
    if procs.alive(record("proxy")) and mark.read_text() == tls:
        return
    procs.end(record("proxy"), 2)
    words = []
    if tls != "none":
        name = "tls" if tls == "own" else tls
        make_certificate(name)
        words = ["--cert", f"{name}.pem", "--key", f"{name}.key"]
    write_file(mark, tls)
    spawn_proxy("proxy", PROXY_PORT, "rules", words)


def spawn_proxy(name, port, rules, words):
    host = network.WITNESS_ADDRESS
    spawn(name, [str(build_proxy()), "--control", rules, "--log", "requests", "--listen",
                 f"{host}:{port}", "--upstream", f"tls:{host}:{PORT}", *words], {})
    wait_until(f"{name} listens", START_SECONDS, lambda: is_listening(name, port), 0.05)


def is_listening(name, port):
    if not procs.alive(record(name)):
        raise LabError(f"{name} ended:\n" + tail(place(f"{name}.log")))
    with contextlib.suppress(OSError), network.inside(HOST):
        socket.create_connection((network.WITNESS_ADDRESS, port), timeout=10).close()
        return True
    return False


def http_answers(rules):
    """http://witness:3128 by the rules; none: nobody is there any more."""
    if not rules:
        procs.end(record("http"), 2)
        return
    write_file(place("http.rules"), "\n".join(rules) + "\n")
    if not procs.alive(record("http")):
        spawn_proxy("http", HTTP_PORT, "http.rules", [])


def build_proxy():
    sources = [(paths.CHECKOUT / name).read_text() for name in SOURCES]
    release = paths.RELEASES[0]  # the host's
    target = paths.CACHE / "proxy" / images.digest(images.dev_dir(release).name, *sources)
    if not target.exists():
        partial = images.fresh_partial(target)
        with phase("the witness's proxy"):
            images.chroot_run(images.dev_layers(release), BUILD,
                              binds=[(partial, "/out"), (paths.CHECKOUT, "/src")],
                              log=log_file_for("proxy"))
            os.rename(partial, target)
    return target / "witness-proxy"


def redirect(on):
    rules = ["add table ip rmlab", "delete table ip rmlab"]
    if on:
        rules += ["add table ip rmlab",
                  "add chain ip rmlab way { type nat hook prerouting priority dstnat; }",
                  f"add rule ip rmlab way tcp dport {PORT} redirect to :{PROXY_PORT}"]
    run(["ip", "netns", "exec", network.netns(HOST), "nft", "-f", "-"],
        stdin="\n".join(rules) + "\n", capture=True)


def redirected():
    done = run(["ip", "netns", "exec", network.netns(HOST), "nft", "list", "table", "ip", "rmlab"],
               check=False, capture=True)
    return done.returncode == 0


# -- as the storage account's admin -------------------------------------------------

def connect(port=PORT):
    with network.inside(HOST):
        plain = socket.create_connection((network.WITNESS_ADDRESS, port), timeout=10)
    return ssl.create_default_context(cafile=place("ca.pem")).wrap_socket(
        plain, server_hostname=BLOB_HOST)


def sas():
    """What an admin makes for the container: read, create and write, until tomorrow."""
    end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86400))
    told = ["rcw", "", end, f"/blob/{ACCOUNT}/{CONTAINER}", "", "", "https", "2020-08-04", "c",
            *[""] * 6]
    mac = hmac.new(base64.b64decode(keys()[0]), "\n".join(told).encode(), hashlib.sha256)
    return urllib.parse.urlencode({"sv": "2020-08-04", "sr": "c", "sp": "rcw", "se": end,
                                   "spr": "https",
                                   "sig": base64.b64encode(mac.digest()).decode()})


def token():
    """What a managed identity is given. Azurite reads its times, not its signature."""
    now = int(time.time())
    parts = [{"alg": "RS256", "typ": "JWT"},
             {"aud": "https://storage.azure.com", "iss": "https://sts.windows.net/lab/",
              "iat": now - 60, "nbf": now - 60, "exp": now + 86400}]
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
                    for part in parts) + ".c2lnbmF0dXJl"


def create_container():
    status = ask("PUT", f"/{CONTAINER}", "restype:container")
    if status not in (201, 409):  # 409: it is there
        raise LabError(f"Azurite answered {status} to the creation of {CONTAINER}",
                       f"see {place('azurite.log')}")


def ask(verb, path, query):
    """A request of the Blob service without a body, signed with the first key."""
    headers = {"x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": "2020-04-08"}
    told = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
    text = f"{verb}{chr(10) * 12}{told}/{ACCOUNT}{path}\n{query}"
    mac = hmac.new(base64.b64decode(keys()[0]), text.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(mac).decode()}"
    connection = http.client.HTTPConnection(BLOB_HOST)
    connection.sock = connect()
    try:
        connection.request(verb, f"{path}?{query.replace(':', '=')}", headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()
