# tests/: what `make check` runs. The lab (tests/lab) needs root and has its own command, contrib/run-tests runs both.

if ENABLE_TESTS
include tests/unit/local.mk
include tests/witness/local.mk
include tests/chaos/local.mk
include tests/faults/local.mk
include tests/backup/local.mk
include tests/executors/local.mk
include tests/fuzz/local.mk
include tests/sim/local.mk
include tests/scenarios/local.mk
include tests/mutations/local.mk
include tests/lint/local.mk
include tests/bench/local.mk
endif

EXTRA_DIST += tests/lab tests/README-bad-input.md

# What of the lab needs neither root nor a lab.
TEST_EXTENSIONS += .py
PY_LOG_COMPILER = sh -c 'test -x /usr/bin/python3 || exit 77; exec /usr/bin/python3 "$$0"'
if ENABLE_TESTS
TESTS += tests/lab/test_verify.py tests/lab/test_history.py tests/lab/test_record.py
endif
