/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Scenarios: folders in tests/scenarios that an operator can read. scenario.c says the language. */
#pragma once

#include <stdbool.h>

/* Runs DIR/scenario and compares the decision log with DIR/expect.log; or prints the log. Returns the exit status:
 * 0 good, 1 an assertion failed, an invariant was violated or the log differs, 64 the folder cannot be read. */
int scenario_run(const char *dir, bool print_log, bool is_verbose);
