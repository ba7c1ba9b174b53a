# tests/backup: the worker program on disks that real QEMU programs write and export.

# RINGMASTER_TEST_LONG=1: 200 chains, all points of faults.
TESTS += tests/backup/chains.py tests/backup/damage.py tests/backup/faults.py \
	tests/backup/reflink.py
EXTRA_DIST += tests/backup/backuplib.py tests/backup/chains.py tests/backup/damage.py tests/backup/faults.py \
	tests/backup/reflink.py
