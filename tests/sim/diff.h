/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Prints the lines in which two texts differ, with '-' and '+', and two lines around them. */
void diff_print(const char *expected, const char *found);
