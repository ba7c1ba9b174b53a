# tests/: what `make check` runs. The lab (tests/lab) needs root and has its own command, contrib/run-tests runs both.

if ENABLE_TESTS
include tests/unit/local.mk
include tests/sim/local.mk
include tests/lint/local.mk
endif

EXTRA_DIST += tests/lab
