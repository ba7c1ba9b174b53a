#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The simulator's share of `make check`: 2,000 seeds of the database. A seed that fails is printed with its replay.
exec "${top_builddir:-.}/tests/sim/ringmaster-sim" --db --seeds "${SEEDS:-1..2000}"
