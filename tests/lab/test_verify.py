#!/usr/bin/python3
"""The verifier must fail where a guest is not whole: made-up consoles and
disks, each with one fault. Needs neither root nor a lab."""

import os
import sys
import tempfile
import unittest
import zlib

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
SCRATCH = tempfile.TemporaryDirectory()
os.environ["LAB_STATE"] = SCRATCH.name

from rmlab import guests, paths, verify  # noqa: E402


def console_line(text):
    return f"{text} {zlib.crc32(text.encode()):08x}\r\n"


def block(line):
    body = line.encode().ljust(verify.BLOCK - 8, b"\x5a")
    return body + f"{zlib.crc32(body):08x}".encode()


class Guest:
    """Writes what guest/counter.c would write."""

    def __init__(self, name):
        self.name, self.counter, self.boots, self.uptime = name, 0, 0, 0
        self.lines, self.blocks = [], {}

    def boot(self):
        self.boots += 1
        self.uptime = 2000
        self.boot_id = f"boot-{self.boots}"
        facts = f"boots={self.boots} boot={self.boot_id} first={self.counter + 1}\n"
        self.blocks[0] = block("rmlab-header " + facts)
        self.lines.append(console_line(
            f"rmlab boot {self.boot_id} boots={self.boots} first={self.counter + 1}"))
        return self

    def tick(self, times, show=True):
        for _ in range(times):
            self.counter += 1
            self.uptime += 200
            n, ring = self.counter, (self.counter - 1) % verify.RING
            self.blocks[1 + ring] = block(f"rmlab-block counter={n} "
                                          f"boot={self.boot_id} uptime_ms={self.uptime}\n")
            if show:
                self.lines.append(console_line(
                    f"rmlab tick {n} {self.uptime} {self.boot_id}"))
        return self

    def faults(self, boots_max=1):
        paths.SHARED.mkdir(parents=True, exist_ok=True)
        guests.console(self.name).write_text("".join(self.lines))
        with open(guests.disk(self.name), "wb") as f:
            f.truncate(guests.DISK_BYTES)
            for index, data in self.blocks.items():
                f.seek(index * verify.BLOCK)
                f.write(data)
        return verify.check_guest(verify.read_console(self.name), self.name, boots_max)


class VerifyTest(unittest.TestCase):
    def setUp(self):
        self.guest = Guest("vm1").boot().tick(20)

    def assert_fault(self, text, boots_max=1):
        faults = self.guest.faults(boots_max)
        self.assertTrue(any(text in fault for fault in faults), faults)

    def test_whole(self):
        self.assertEqual(self.guest.faults(), [])

    def test_whole_after_the_ring_went_round(self):
        self.guest.tick(verify.RING + 100)
        self.assertEqual(self.guest.faults(), [])

    def test_line_in_the_making_is_no_fault(self):
        self.guest.lines.append("rmlab tick 21 62")
        self.assertEqual(self.guest.faults(), [])

    def test_kernel_messages_are_no_fault(self):
        self.guest.lines.insert(3, "[   12.3] something\r\n")
        self.assertEqual(self.guest.faults(), [])

    def test_never_booted(self):
        self.guest.lines = []
        self.assert_fault("never booted")

    def test_gap(self):
        del self.guest.lines[5]
        self.assert_fault("gap: counter 6 instead of 5")

    def test_step_back(self):
        self.guest.lines.append(self.guest.lines[10])
        self.assert_fault("step back: counter 10")

    def test_spoilt_line(self):
        self.guest.lines[4] = "rmlab tick 4 xxxx\r\n"
        self.assert_fault("console line")

    def test_spoilt_block(self):
        self.guest.blocks[7] = b"X" + self.guest.blocks[7][1:]
        self.assert_fault("block of counter 7 is not whole")

    def test_lost_block(self):
        del self.guest.blocks[20]
        self.assert_fault("block of counter 20 is not whole")

    def test_block_of_another_run(self):
        self.guest.blocks[9] = block("rmlab-block counter=9 boot=other uptime_ms=1\n")
        self.assert_fault("block of counter 9 is of another boot")

    def test_ran_twice(self):
        before = self.guest.lines[-1]
        self.guest.boot().lines.append(before)
        self.assert_fault("ran twice", boots_max=2)

    def test_restart_is_a_fault(self):
        self.guest.boot().tick(3)
        self.assert_fault("booted 2 times, 1 allowed")

    def test_restart_after_a_crash_is_allowed_once(self):
        self.guest.tick(1, show=False)  # written, but its line was lost
        self.guest.boot().tick(3)
        self.assertEqual(self.guest.faults(boots_max=2), [])
        self.guest.boot().tick(3)
        self.assert_fault("booted 3 times", boots_max=2)

    def test_a_line_that_the_power_loss_cut_off_is_no_fault(self):
        for cut in ("r", "rmlab tick 21 6000 bo"):
            guest = Guest("vm1").boot().tick(20)
            guest.lines.append(cut + "Probing EDD (edd=off to disable)... ok\r\n[    0.000000] Linux version 6.1\r\n")
            self.assertEqual(guest.boot().tick(5).faults(2), [])
        self.guest.lines.append("rmlab tick 2\r\n")
        self.assert_fault("console line")

    def test_two_lines_that_are_not_whole_are_one_too_many(self):
        self.guest.lines += ["rmlab tick 2\r\n", "rmlab tick 21 60\r\n"]
        self.guest.boot().tick(5)
        self.assert_fault("console line", boots_max=2)

    def test_restart_from_an_older_disk(self):
        self.guest.counter -= 5
        self.guest.boot().tick(8)
        self.assert_fault("begins at counter 16", boots_max=2)


if __name__ == "__main__":
    unittest.main()
