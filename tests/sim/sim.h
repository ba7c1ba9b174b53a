/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The simulator: a second interpreter of the core's actions, with virtual time and faults. Each mode is one function
 * that plays one seed; main.c counts seeds and says which one failed. */
#pragma once

#include <stdbool.h>

#include "common/log.h"
#include "common/prng.h"

struct sim_options {
    bool is_verbose;   /* print the decision log and the faults */
    bool only_results; /* judge by what comes of it, not by what stood on which disk at a commit or a vote */
};

/* false: an invariant was violated; what and when has been printed. */
bool dbsim_run(uint64_t seed, const struct sim_options *options);
bool coresim_run(uint64_t seed, const struct sim_options *options);
bool matrix_run(uint64_t number, const struct sim_options *options); /* 0 … matrix_count() - 1 */
uint64_t matrix_count(void);
