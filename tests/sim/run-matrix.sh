#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The upgrade with a failure at every step: one case of 1,009 in `make check`, all of them in `make check-long`.
[ -z "${RINGMASTER_TEST_LONG:-}" ] || : "${EVERY:=1}"
exec "${top_builddir:-.}/tests/sim/ringmaster-sim" --upgrade-matrix --every "${EVERY:-1009}"
