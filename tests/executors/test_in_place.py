#!/usr/bin/python3
"""The program of the executor in-place, below a root of its own and with
systemd, APT and dpkg played. That a real one does it is for the lab to show."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

TOP = Path(os.environ.get("top_srcdir") or Path(__file__).resolve().parents[2])
PROGRAM = TOP / "upgrade/io/upgrade-in-place"
OP = "0b0e8f5e-000-1"
PATIENCE_S = 60

FAKES = {
    # A unit is a process group; its name is the only one that is asked for.
    "systemd-run": """
        while [ "$1" != -- ]; do shift; done
        shift
        echo launched >>"$R/calls"
        [ ! -e "$R/no-units" ] || exit 1
        setsid "$@" >>"$R/unit.log" 2>&1 &
        echo $! >"$R/unit.pid"
    """,
    "systemctl": """
        echo "systemctl $*" >>"$R/calls"
        case "$*" in
        *is-active*) kill -0 "$(cat "$R/unit.pid" 2>/dev/null)" 2>/dev/null ;;
        stop*) kill -- "-$(cat "$R/unit.pid")" 2>/dev/null ;;
        *) : ;;
        esac
    """,
    "apt-get": """
        echo "apt-get $*" >>"$R/calls"
        case "$*" in
        *update) step=update ;;
        *--simulate*) step=simulate ;;
        *--assume-no*) step=assume-no ;;
        *--download-only*) step=download ;;
        *--fix-broken*) step=fix ;;
        *full-upgrade) step=upgrade ;;
        esac
        while [ -e "$R/block-$step" ]; do sleep 0.05; done
        [ ! -e "$R/say-$step" ] || cat "$R/say-$step"
        if [ -e "$R/fail-$step" ]; then cat "$R/fail-$step"; exit 100; fi
        if [ "$step" = upgrade ]; then umask >"$R/umask"; echo VERSION_CODENAME=trixie >"$R/etc/os-release"; fi
    """,
    "dpkg": """
        echo "dpkg $*" >>"$R/calls"
        [ "$1" != --audit ] || [ ! -e "$R/half" ] || cat "$R/half"
    """,
    "dpkg-query": "[ -e \"$R/removed\" ] || echo 'install ok installed'",
    "mountpoint": "false",
    "df": "echo Avail; cat \"$R/free\"",
}

PLAN = """Inst base-files [12.4+deb12u11] (13.8 lab)
Inst ringmaster [0.1.0~deb12] (0.1.0~deb13 lab)
Conf base-files (13.8 lab)
"""
SPACE = """Need to get 1,048 kB/226 MB of archives.
After this operation, 1,049 MB of additional disk space will be used.
"""


class InPlace(unittest.TestCase):
    def setUp(self):
        self.root = Path(tempfile.mkdtemp(prefix="in-place-"))
        for folder in ("bin", "etc/apt/sources.list.d", "etc/ringmaster/in-place", "usr", "var/cache", "boot",
                       "proc/sys/kernel/random", "proc/self/ns", "proc/1"):
            (self.root / folder).mkdir(parents=True)
        for name, body in FAKES.items():
            self.write(f"bin/{name}", f"#!/bin/sh\nR={self.root}\n{body}\n", 0o755)
        self.write("etc/os-release", "VERSION_CODENAME=bookworm\n")
        self.write("etc/apt/sources.list", "deb http://old bookworm main\n")
        self.write("etc/apt/sources.list.d/extra.list", "deb http://extra bookworm main\n")
        self.write("etc/ringmaster/in-place/trixie.sources", "Types: deb\nURIs: file:/repo\nSuites: ./\n")
        self.write("say-simulate", PLAN)
        self.write("say-assume-no", SPACE)
        self.write("free", "4000\n")
        self.write("proc/sys/kernel/random/boot_id", "6f9d\n")
        os.symlink("pid:[4026531836]", self.root / "proc/self/ns/pid")
        self.boot(1)

    def tearDown(self):
        self.kill_unit()
        shutil.rmtree(self.root)

    def write(self, name, text, mode=0o644):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def boot(self, number):
        rest = " ".join(["S", "0"] + ["1"] * 17 + [str(100 + number), "0"])
        self.write("proc/1/stat", f"1 (a (odd) name) {rest}\n")

    def kill_unit(self):
        try:
            os.killpg(int((self.root / "unit.pid").read_text()), signal.SIGKILL)
        except (OSError, ValueError):
            pass

    def unit_runs(self):
        return subprocess.run([self.root / "bin/systemctl", "is-active"]).returncode == 0

    def call(self, verb, op=OP):
        done = subprocess.run([PROGRAM, verb, op], capture_output=True, text=True, timeout=PATIENCE_S,
                              env={"RINGMASTER_TEST_ROOT": str(self.root), "RINGMASTER_TARGET": "trixie"})
        return done.returncode, done.stdout + done.stderr

    def state(self, op=OP):
        try:
            return (self.root / "var/lib/ringmaster/op" / op / "state").read_text().strip()
        except FileNotFoundError:
            return None

    def until(self, state, op=OP):
        end = time.monotonic() + PATIENCE_S
        while self.state(op) != state:
            self.assertLess(time.monotonic(), end, f"it stays {self.state(op)}, not {state}: {self.log()}")
            time.sleep(0.02)
        while self.unit_runs():
            if state in ("checking", "upgrading"):
                break
            self.assertLess(time.monotonic(), end, "its unit does not end")
            time.sleep(0.02)

    def calls(self):
        try:
            return (self.root / "calls").read_text().splitlines()
        except FileNotFoundError:
            return []

    def log(self):
        try:
            return (self.root / "unit.log").read_text()
        except FileNotFoundError:
            return ""

    def apt(self, last):
        return [c for c in self.calls() if c.startswith("apt-get") and c.endswith(last)]

    def sources(self):
        folder = self.root / "etc/apt"
        return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())

    OLD = ["sources.list", "sources.list.d/extra.list"]
    NEW = ["sources.list.d/ringmaster-trixie.sources"]

    def fails(self, *words):
        self.assertEqual(self.call("start")[0], 0)
        self.until("failed")
        code, text = self.call("poll")
        self.assertEqual(code, 1)
        for word in words:
            self.assertIn(word, text)
        self.assertEqual(self.call("start")[0], 1)  # the same operation is over

    # ---- a good day

    def test_to_the_end(self):
        self.assertEqual(self.call("poll"), (1, f"there is no operation {OP}\n"))
        self.assertEqual(self.call("start")[0], 0)
        self.until("rebooting")
        self.assertEqual(self.sources(), self.NEW)
        self.assertIn("systemctl --no-block reboot", self.calls())
        self.assertEqual(self.call("poll")[0], 75)
        self.assertEqual(self.call("start")[0], 0)  # by an agent that was started again: nothing happens twice
        self.boot(2)
        self.assertEqual(self.call("start")[0], 0)
        self.assertEqual(self.call("poll"), (0, "runs trixie since it rebooted\n"))
        self.assertEqual(len(self.apt("-y full-upgrade")), 1)
        self.assertEqual(self.calls().count("launched"), 1)
        kept = self.root / "var/lib/ringmaster/op" / OP / "sources-before"
        self.assertEqual((kept / "sources.list").read_text(), "deb http://old bookworm main\n")
        for closed in ("var/lib/ringmaster/op", f"var/lib/ringmaster/op/{OP}", "var/log/ringmaster"):
            self.assertEqual((self.root / closed).stat().st_mode & 0o777, 0o700)
        self.assertEqual((self.root / "umask").read_text(), "0022\n")  # what packages make is as usual
        log = (self.root / f"var/log/ringmaster/op-{OP}.log").read_text()
        self.assertIn("upgrades 2 packages", log)

    def test_order(self):
        self.call("start")
        self.until("rebooting")
        done = [c.split("--force-confold ")[1] for c in self.apt("")]
        self.assertEqual(done, ["update", "--simulate full-upgrade", "--assume-no full-upgrade",
                                "-y --download-only full-upgrade", "-y full-upgrade"])
        for call in self.apt("-y full-upgrade"):
            self.assertIn("--force-confold", call)

    # ---- before a package is changed

    def test_no_sources(self):
        (self.root / "etc/ringmaster/in-place/trixie.sources").unlink()
        self.fails("no package sources for trixie", "in-place/trixie.sources")
        self.assertEqual(self.sources(), self.OLD)
        self.assertEqual(self.apt(""), [])

    def test_two_sources(self):
        self.write("etc/ringmaster/in-place/trixie.list", "deb http://x trixie main\n")
        self.fails("two files")

    def test_sources_that_others_may_write(self):
        (self.root / "etc/ringmaster/in-place/trixie.sources").chmod(0o664)
        self.fails("must belong to root")
        self.assertEqual(self.sources(), self.OLD)

    def test_lists_cannot_be_fetched(self):
        self.write("fail-update", "Err: http://user:geheim@mirror trixie\nE: Failed to fetch\n")
        self.fails("apt-get update", "Failed to fetch")
        self.assertEqual(self.sources(), self.OLD)
        self.assertNotIn("geheim", (self.root / f"var/log/ringmaster/op-{OP}.log").read_text())

    def test_ringmaster_would_be_removed(self):
        self.write("say-simulate", PLAN + "Remv ringmaster [0.1.0]\nRemv corosync [3.1.7]\n")
        self.fails("would remove ringmaster corosync")
        self.assertEqual(self.sources(), self.OLD)
        self.assertEqual(self.apt("-y full-upgrade"), [])

    def test_sources_of_another_release(self):
        self.write("say-simulate", "Inst ringmaster [0.1.0] (0.1.1 lab)\n")
        self.fails("have no trixie")

    def test_too_little_space(self):
        self.write("free", "1500\n")
        self.fails("too little free space: 1514 MiB")  # 1001 + 1 + 512
        self.assertEqual(self.sources(), self.OLD)

    def test_half_installed_before(self):
        self.write("half", "The following packages are only half configured\n")
        self.fails("half installed already")
        self.assertEqual(self.apt(""), [])

    def test_download_fails(self):
        self.write("fail-download", "E: Hash Sum mismatch\n")
        self.fails("download: ", "Hash Sum mismatch")
        self.assertEqual(self.sources(), self.OLD)

    # ---- cancel

    def test_cancel_before_it_began(self):
        self.assertEqual(self.call("cancel")[0], 0)
        self.assertEqual(self.call("start")[0], 1)
        self.assertEqual(self.call("cancel")[0], 0)
        self.assertEqual(self.apt(""), [])

    def test_cancel_while_it_looks(self):
        self.write("block-download", "")
        self.call("start")
        while not self.apt("full-upgrade"):
            time.sleep(0.02)
        self.assertEqual(self.call("cancel")[0], 0)
        self.assertEqual(self.state(), "cancelled")
        self.assertEqual(self.sources(), self.OLD)
        (self.root / "block-download").unlink()
        self.assertEqual(self.call("poll")[0], 1)
        self.assertEqual(self.apt("-y full-upgrade"), [])

    def test_cancel_too_late(self):
        self.write("block-upgrade", "")
        self.call("start")
        self.until("upgrading")
        code, text = self.call("cancel")
        self.assertEqual(code, 1)
        self.assertIn("too late", text)
        (self.root / "block-upgrade").unlink()
        self.until("rebooting")

    # ---- failures after that

    def test_upgrade_fails_and_the_next_attempt_goes_on(self):
        self.write("fail-upgrade", "dpkg: error processing package x (--configure):\nE: Sub-process returned an error\n")
        self.fails("apt-get full-upgrade", "error processing package x")
        self.assertEqual(self.sources(), self.NEW)  # what is half upgraded needs them
        self.write("half", "x is half configured\n")
        (self.root / "fail-upgrade").unlink()
        second = OP[:-1] + "2"
        self.assertEqual(self.call("cancel", "0b0e8f5e-000-3")[0], 1)
        self.assertEqual(self.call("start", second)[0], 0)
        self.until("failed", second)  # dpkg says that x is half configured still
        (self.root / "half").unlink()
        third = OP[:-1] + "4"
        self.call("start", third)
        self.until("rebooting", third)
        calls = self.calls()
        self.assertIn("dpkg --configure -a", calls)
        self.assertTrue(self.apt("-y --fix-broken install"))
        self.boot(2)
        self.assertEqual(self.call("poll", third)[0], 0)
        self.assertFalse((self.root / "var/lib/ringmaster/op/packages-changed").exists())

    def test_power_loss_in_the_middle(self):
        self.write("block-upgrade", "")
        self.call("start")
        self.until("upgrading")
        self.kill_unit()
        while self.unit_runs():
            time.sleep(0.02)
        self.boot(2)
        (self.root / "block-upgrade").unlink()
        self.assertEqual(self.call("start")[0], 0)
        self.until("rebooting")
        self.assertIn("dpkg --configure -a", self.calls())
        self.assertEqual(self.calls().count("launched"), 2)
        self.boot(3)
        self.assertEqual(self.call("poll")[0], 0)

    def test_interrupted_again_and_again(self):
        self.write("no-units", "")
        codes = [self.call("start")[0]] + [self.call("poll")[0] for _ in range(12)]
        self.assertEqual(codes[0], 0)
        self.assertIn(75, codes)
        self.assertEqual(codes[-1], 1)
        self.assertIn("interrupted 8 times", self.call("poll")[1])

    def test_ringmaster_is_gone(self):
        self.write("removed", "")
        self.fails("not installed any more")

    def test_the_wrong_release_comes_up(self):
        self.call("start")
        self.until("rebooting")
        self.write("etc/os-release", "VERSION_CODENAME=bookworm\n")
        self.boot(2)
        code, text = self.call("poll")
        self.assertEqual(code, 1)
        self.assertIn("bookworm instead of trixie", text)

    def test_odd_operation_ids(self):
        for op in ("", "../x", "a b", "A"):
            self.assertEqual(self.call("start", op)[0], 64)
        self.assertEqual(self.call("dance")[0], 64)


if __name__ == "__main__":
    program = unittest.main(exit=False, verbosity=0)
    sys.exit(not program.result.wasSuccessful())
