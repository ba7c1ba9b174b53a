#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The simulator's share of `make check`: 2,000 seeds in all, these and run-core-seeds.sh's 150, which cost ten times as
# much each. A seed that fails is printed with its replay.
[ -z "${RINGMASTER_TEST_LONG:-}" ] || : "${SEEDS:=1..20000}"
exec "${top_builddir:-.}/tests/sim/ringmaster-sim" --db --seeds "${SEEDS:-1..1850}"
