#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Whole agents through a whole upgrade, with and without faults: 150 of the 2,000 seeds of `make check`.
[ -z "${RINGMASTER_TEST_LONG:-}" ] || : "${SEEDS:=1..2000}"
exec "${top_builddir:-.}/tests/sim/ringmaster-sim" --core --seeds "${SEEDS:-1..150}"
