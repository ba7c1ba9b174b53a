"""up and down: from nothing to a running lab, and back to nothing."""

import os
import shutil

from . import (agent_build, bmc, cgroup, cluster, enter, guest_image, guests, images,
               network, node, paths, procs, reflink, repository, state, supervisor, witness)
from .shell import LabError, locked, phase, run, say, tail, wait_until, warn

LOGGED_UNITS = ("ringmasterd", "corosync", "libvirtd")
SPACE_NEEDED_MB = 4096


def build(adopt=False, agent=True):
    with locked(paths.CACHE / "lock", "building images", wait=True):
        images.each_release(images.build_layers)
        guest_image.build()
        if agent:
            images.each_release(agent_build.build)
        if adopt:
            agent_build.adopt()


def up(options):
    with locked(paths.LOCK, "up or down"):
        refuse_or_clear()
        check_host()
        with phase("build"):
            build(adopt=True, agent=not options.no_build)
        nodes, kind = plan(options), witness.chosen(options.witness)
        network.refuse_foreign(nodes)
        # Before anything is made: what a killed run leaves must be known.
        state.save_lab({"phase": "starting", "nodes": nodes, "crashes": {}, "witness": kind,
                        "vms": options.vms, "watchdog": options.watchdog})
        try:
            bring_up(nodes, kind, options)
        except (LabError, OSError, KeyboardInterrupt) as error:
            state.update_lab(phase="failed")
            dump_logs(nodes)
            raise LabError(f"up failed: {error or 'interrupted'}",
                           getattr(error, "remedy", None)
                           or "look around with `lab status`, `lab log NODE`, "
                              "`lab exec NODE -- …`; then `lab down`") from error
        state.update_lab(phase="up")


def bring_up(nodes, kind, options):
    with phase("network"):
        network.build(nodes)
    if options.reflink:
        with phase("shared storage on xfs"):
            reflink.mount()
    guests.create_all()
    witness.prepare(kind)
    for folder in (paths.BMC, repository.place()):
        folder.mkdir(parents=True, exist_ok=True)
    with phase(f"boot {' '.join(nodes)}"):
        for name in nodes:
            supervisor.start(name)
        if kind == "azurite":
            witness.start()
        for name in nodes:
            wait_supervised(name)
            enter.wait_booted(name)
    if options.no_cluster:
        return
    with phase("cluster"):
        cluster.form(nodes)
    if kind != "none":
        with phase(f"witness {kind}"):
            cluster.set_witness(next(iter(nodes)), kind)
    if not options.no_vms:
        with phase("virtual machines"):
            cluster.start_vms(nodes)


def wait_supervised(name):
    folder = paths.node_dir(name)

    def ready():
        if not procs.alive(state.load(folder / "supervisor.json")):
            raise LabError(f"the supervisor of {name} ended:\n"
                           + tail(folder / "supervisor.log"))
        return procs.alive(state.node_record(name).get("leader"))
    wait_until(f"{name} is switched on", 60, ready)


def plan(options):
    nodes = {}
    for number in range(1, options.nodes + 1):
        first_half = number <= (options.nodes + 1) // 2
        nodes[f"n{number}"] = {
            "address": network.node_address(number), "release": options.release,
            "site": 1 if options.sites == 1 or first_half else 2}
    return nodes


def refuse_or_clear():
    """A lab that stands is not touched; what a failed or killed run left is
    cleared away."""
    found = state.lab()
    if not found:
        return
    if found["phase"] == "up":
        raise LabError("a lab is up", "tests/lab/lab down, or another LAB_STATE")
    warn(f"clearing an earlier run that is {found['phase']}")
    clear()


def check_host():
    if os.geteuid() != 0:
        raise LabError("the lab needs root", "run it as root")
    paths.CACHE.mkdir(parents=True, exist_ok=True)
    paths.STATE.mkdir(parents=True, exist_ok=True)
    if node.free_space_mb(paths.STATE) < SPACE_NEEDED_MB:
        raise LabError(f"less than {SPACE_NEEDED_MB} MB are free below {paths.STATE}",
                       "make room, or set LAB_STATE and LAB_CACHE")


def down():
    with locked(paths.LOCK, "up or down"):
        if not state.lab():
            say("no lab is up")
            return
        with phase("down"):
            clear()


def clear():
    """Undo everything that the record names, in any state of affairs."""
    nodes = state.lab_or_fail()["nodes"]
    for name in nodes:  # all at once first: each takes a moment
        procs.send_signal(state.load(paths.node_dir(name) / "supervisor.json"), 15)
    for name in nodes:
        procs.end(state.load(paths.node_dir(name) / "supervisor.json"), 20)
        for role in ("leader", "nspawn"):  # both gone, if the supervisor could
            procs.end(state.node_record(name).get(role), 0)
        cgroup.end(network.netns(name))
    witness.end()
    network.destroy(nodes)
    unmount_below(paths.STATE)
    reflink.remove()
    for folder in (paths.STATE / "nodes", paths.STATE / "agent", paths.SHARED,
                   paths.BMC, repository.place(), witness.place()):
        remove_tree(folder)
    paths.STATE_FILE.unlink(missing_ok=True)


def mounts_below(folder):
    with open("/proc/self/mountinfo") as f:
        points = [line.split()[4] for line in f]
    return [p for p in reversed(points) if p.startswith(f"{folder}/")]


def unmount_below(folder):
    """None is expected (they are made in the supervisors' namespaces), but a
    tree is never removed through a mount."""
    for point in mounts_below(folder):
        run(["umount", point], check=False, capture=True)


def remove_tree(folder):
    if mounts_below(paths.STATE):
        raise LabError(f"something is mounted below {paths.STATE}",
                       f"umount it, then lab down: {mounts_below(paths.STATE)}")
    if folder.exists():
        shutil.rmtree(folder)


# -- single nodes, and the witness's host ---------------------------------------

def is_witness(name):
    """Azurite's host; the others have no host to switch off."""
    if name != witness.HOST:
        return False
    if state.lab_or_fail().get("witness") != "azurite":
        raise LabError("this lab has no host for a witness", "lab down, then lab up --witness azurite")
    return True


def crash(name):
    if is_witness(name):
        with phase("crash witness"):
            return witness.crash()
    state.node_or_fail(name)
    with phase(f"crash {name}"):
        bmc.ask(name, "off")


def start(name):
    if is_witness(name):
        with phase("start witness"):
            return witness.start()
    state.node_or_fail(name)
    with phase(f"start {name}"):
        bmc.ask(name, "on")
        enter.wait_booted(name)


def freeze(name, process, frozen):
    """The whole node, or the main process of one of its units."""
    word, group = "freeze" if frozen else "thaw", network.netns(name)
    if is_witness(name):
        with phase(f"{word} witness"):
            return witness.set_frozen(frozen)
    enter.leader(name)  # it is running, and ours
    with phase(f"{word} {name} {process or ''}".rstrip()):
        if not process:
            cgroup.set_frozen(group, frozen)
        elif cgroup.is_frozen(group):
            raise LabError(f"{name} is frozen as a whole", f"tests/lab/lab thaw {name}")
        else:
            enter.run(name, ["systemctl", "kill", "--kill-who=main", "--signal",
                             "STOP" if frozen else "CONT", process], timeout=20)


def cut(a, b, one_way):
    found = state.lab_or_fail()
    if witness.HOST in (a, b):
        is_witness(witness.HOST)
    text = f"{a} {'->' if one_way else '-'} {b}"
    with phase(f"cut {text}"):
        network.cut(found["nodes"], a, b, one_way)
        state.update_lab(cuts=[*found.get("cuts", []), text])


def heal():
    state.lab_or_fail()
    with phase("heal"):
        network.heal()
        state.update_lab(cuts=[])


def witness_answers(rules, tls):
    is_witness(witness.HOST)
    with phase(f"the witness answers {'; '.join(rules) or 'as itself'}, certificate: {tls}"):
        witness.answers(rules, tls)


def witness_http(rules):
    is_witness(witness.HOST)
    with phase(f"http://{witness.HOST}:{witness.HTTP_PORT} answers"):
        witness.http_answers(rules)


def witness_secret(kind):
    is_witness(witness.HOST)
    print({"sas": witness.sas, "token": witness.token}[kind]())


def rebuild(name, release, join_file=b""):
    state.node_or_fail(name)
    op_id = f"lab-{os.getpid()}-{int(os.times().elapsed * 100)}"
    with phase(f"rebuild {name} to {release}"):
        bmc.ask(name, f"image {release} {op_id} {len(join_file)}", join_file)
        wait_until(f"operation {op_id} ends", 120,
                   lambda: bmc.ask(name, f"status {op_id}") != "running", 0.3)
        outcome = bmc.ask(name, f"status {op_id}")
        if outcome != "done":
            raise LabError(f"rebuild of {name}: {outcome}",
                           f"see {paths.node_dir(name)}/supervisor.log")
        enter.wait_booted(name)


def deploy():
    """Build the working tree and upgrade the running nodes to it: a short way
    from an edit to a try-out."""
    nodes = state.lab_or_fail()["nodes"]
    with phase("build"):
        build(adopt=True)
    for name in nodes:
        layer = paths.agent_dir(state.node_record(name)["release"]).resolve()
        place = f"/{agent_build.PACKAGES}"
        with phase(f"deploy to {name}"):
            enter.run(name, ["sh", "-c", f"rm -f {place}/*"])
            run(["sh", "-c", 'tar -C "$0" -cf - . | "$@"',
                 layer / agent_build.PACKAGES,
                 *enter.argv(name, ["tar", "-C", place, "-xf", "-"])], capture=True)
            enter.run(name, ["sh", "-c", f"dpkg --install {place}/*.deb"])


# -- looking around ----------------------------------------------------------

def show_status():
    found = state.lab_or_fail()
    say(f"lab: {found['phase']}, state {paths.STATE}")
    for text in found.get("cuts", []):
        say(f"cut: {text}")
    if found["witness"] == "azurite":
        say(f"witness  {network.WITNESS_ADDRESS}  {witness.describe()}")
    for name, facts in found["nodes"].items():
        record = state.node_record(name)
        alive = procs.alive(record.get("leader"))
        line = (f"{name}  {facts['address']}  site{facts['site']}  "
                f"{record.get('release', '?'):9} {'on' if alive else 'off'}")
        if alive and cgroup.is_frozen(network.netns(name)):
            line += "  frozen"
        elif alive:
            line += f"  leader {record['leader']['pid']}"
            bad = enter.failed_units(name)
            line += f"  failed: {' '.join(bad)}" if bad else ""
            line += f"  guests: {' '.join(cluster.running_in(name)) or 'none'}"
        say(line)


def show_log(name, unit, lines):
    state.node_or_fail(name)
    say(node.journal(name, unit, lines).rstrip())


def dump_logs(nodes):
    for name in nodes:
        for file in ("supervisor.log", "console.log"):
            quote(f"{name} {file}", tail(paths.node_dir(name) / file, 15))
        for unit in LOGGED_UNITS:
            quote(f"{name} journal of {unit}", node.journal(name, unit, 40))


def quote(title, text):
    if text.strip():
        warn(f"---- {title}\n{text.rstrip()}")
