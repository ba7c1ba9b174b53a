#!/usr/bin/python3
"""The example executor contrib/executors/redfish-reimage against a small BMC that
speaks Redfish."""

import base64
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

TOP = Path(os.environ.get("top_srcdir") or Path(__file__).resolve().parents[2])
PROGRAM = TOP / "contrib/executors/redfish-reimage"
CURL = shutil.which("curl")
PASSWORD = "geheim-4711"
OP = "0b0e8f5e-000-1"


class Bmc(http.server.BaseHTTPRequestHandler):
    """One ComputerSystem; the server's attributes are its state."""

    def answer(self):
        bmc = self.server
        given = self.headers.get("Authorization", "")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        wanted = "Basic " + base64.b64encode(f"ringmaster:{PASSWORD}".encode()).decode()
        if given != wanted:
            return self.reply(401, {})
        bmc.requests.append((self.command, self.path))
        if (self.command, self.path) in bmc.broken:
            bmc.broken.remove((self.command, self.path))
            return self.reply(503, {"error": "busy"})
        if (self.command, self.path) == ("GET", "/redfish/v1/Systems/1"):
            return self.reply(200, {"Id": "1", "PowerState": bmc.power, "Boot": bmc.boot})
        if (self.command, self.path) == ("PATCH", "/redfish/v1/Systems/1"):
            bmc.boot.update(json.loads(body)["Boot"])
            return self.reply(200, {})
        if (self.command, self.path) == ("POST", "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset"):
            bmc.resets.append(json.loads(body)["ResetType"])
            bmc.power = "On"
            return self.reply(200, {})
        return self.reply(404, {})

    do_GET = do_PATCH = do_POST = answer

    def reply(self, code, body):
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


PATCH = ("PATCH", "/redfish/v1/Systems/1")
RESET = ("POST", "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset")


class Redfish(unittest.TestCase):
    def setUp(self):
        self.bmc = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bmc)
        self.bmc.power, self.bmc.boot, self.bmc.resets = "On", {}, []
        self.bmc.requests, self.bmc.broken = [], []
        threading.Thread(target=self.bmc.serve_forever, daemon=True).start()
        self.dir = Path(tempfile.mkdtemp(prefix="redfish-"))
        for folder in ("bin", "settings", "drop"):
            (self.dir / folder).mkdir()
        port = self.bmc.server_address[1]
        self.write("settings/n2.url", f"http://127.0.0.1:{port}/redfish/v1/Systems/1\n")
        self.write("settings/n2.curl", f'user = "ringmaster:{PASSWORD}"\nnoproxy = "*"\n', 0o600)
        self.write("join", "the token\n", 0o600)
        # What every call's arguments and environment were: no password may be in there.
        self.write("bin/curl", f'#!/bin/sh\n(echo "$*"; env) >>{self.dir}/seen\nexec {CURL} "$@"\n', 0o755)

    def tearDown(self):
        self.bmc.shutdown()
        self.bmc.server_close()
        seen = self.dir / "seen"
        if seen.exists():
            self.assertNotIn(PASSWORD, seen.read_text())
        shutil.rmtree(self.dir)

    def write(self, name, text, mode=0o644):
        (self.dir / name).write_text(text)
        (self.dir / name).chmod(mode)

    def call(self, verb, op=OP, **more):
        env = {"PATH": f"{self.dir}/bin:/usr/bin:/bin", "REDFISH_SETTINGS": f"{self.dir}/settings",
               "REDFISH_DROP": f"{self.dir}/drop", "RINGMASTER_OP_ID": op, "RINGMASTER_NODE": "n2",
               "RINGMASTER_ADDRESS": "192.0.2.2", "RINGMASTER_TARGET": "trixie", **more}
        if verb == "start":
            env["RINGMASTER_JOIN_FILE"] = f"{self.dir}/join"
        done = subprocess.run([PROGRAM, verb, op], env=env, capture_output=True, text=True, timeout=120)
        self.assertNotIn(PASSWORD, done.stdout + done.stderr)
        return done.returncode, done.stdout + done.stderr

    def drop(self, name, text=None):
        path = self.dir / "drop" / OP / name
        if text is not None:
            path.write_text(text)
        return path.read_text() if path.exists() else None

    def test_a_good_installation(self):
        self.assertEqual(self.call("start")[0], 0)
        self.assertEqual(self.bmc.boot, {"BootSourceOverrideTarget": "Pxe", "BootSourceOverrideEnabled": "Once"})
        self.assertEqual(self.bmc.resets, ["ForceRestart"])
        self.assertEqual((self.drop("node"), self.drop("target")), ("n2\n", "trixie\n"))
        self.assertEqual(self.drop("join.token"), "the token\n")
        self.assertEqual((self.dir / "drop" / OP / "join.token").stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.call("poll")[0], 75)
        self.drop("result", "done\n")
        self.assertEqual(self.call("poll")[0], 0)
        self.assertIsNone(self.drop("join.token"))

    def test_its_effect_happens_once(self):
        for _ in range(4):
            self.assertEqual(self.call("start")[0], 0)
        self.assertEqual(len(self.bmc.resets), 1)

    def test_a_host_that_is_off(self):
        self.bmc.power = "Off"
        self.assertEqual(self.call("start")[0], 0)
        self.assertEqual(self.bmc.resets, ["On"])

    def test_the_bmc_fails_in_between(self):
        for broken in (PATCH, RESET):
            self.bmc.broken = [broken]
            code, text = self.call("start")
            self.assertEqual(code, 1)
            self.assertIn("503", text)
        self.assertEqual(self.bmc.resets, [])
        self.assertEqual(self.call("start")[0], 0)  # the same operation again
        self.assertEqual(len(self.bmc.resets), 1)

    def test_the_installer_fails(self):
        self.call("start")
        self.drop("result", "failed: no disk\n")
        code, text = self.call("poll")
        self.assertEqual(code, 1)
        self.assertIn("no disk", text)

    def test_what_is_not_known_is_not_failed(self):
        self.assertEqual(self.call("poll", REDFISH_DROP=f"{self.dir}/not-mounted")[0], 75)

    def test_cancel(self):
        self.assertEqual(self.call("cancel")[0], 0)
        self.assertEqual(self.call("start")[0], 1)
        self.assertEqual(self.bmc.requests, [])

    def test_cancel_what_is_prepared(self):
        self.bmc.broken = [PATCH]
        self.assertEqual(self.call("start")[0], 1)
        self.assertEqual(self.call("cancel")[0], 0)
        self.assertEqual(self.bmc.boot["BootSourceOverrideEnabled"], "Disabled")
        self.assertEqual(self.bmc.resets, [])
        self.assertIsNone(self.drop("join.token"))

    def test_cancel_too_late(self):
        self.call("start")
        self.assertEqual(self.call("cancel")[0], 1)
        self.assertEqual(self.call("poll")[0], 75)

    def test_credentials_that_others_can_read(self):
        (self.dir / "settings/n2.curl").chmod(0o644)
        code, text = self.call("start")
        self.assertEqual(code, 1)
        self.assertIn("mode 0600", text)
        self.assertEqual(self.bmc.requests, [])

    def test_wrong_password(self):
        self.write("settings/n2.curl", 'user = "ringmaster:wrong"\nnoproxy = "*"\n', 0o600)
        code, text = self.call("start")
        self.assertEqual(code, 1)
        self.assertIn("401", text)
        self.assertEqual(self.bmc.resets, [])


if __name__ == "__main__":
    if not CURL:
        print("no curl: cannot look")
        sys.exit(77)
    program = unittest.main(exit=False, verbosity=0)
    sys.exit(not program.result.wasSuccessful())
