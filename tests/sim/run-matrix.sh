#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The upgrade with a failure at every step: one case of 1,009. `make check-long` plays all of them.
exec "${top_builddir:-.}/tests/sim/ringmaster-sim" --upgrade-matrix --every "${EVERY:-1009}"
