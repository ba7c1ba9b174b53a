/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Seeded generator (xoshiro256**) for jitter and identifiers in the core: the same seed replays the same run. Never for
 * keys or secrets: those come from OpenSSL, outside the core. */
#pragma once

#include <stdint.h>

#include "common/uuid.h"

struct prng {
    uint64_t s[4];
};
struct prng prng_new(uint64_t seed);
uint64_t prng_next(struct prng *r);
uint64_t prng_below(struct prng *r, uint64_t bound); /* 0 … bound-1; bound > 0 */
struct uuid prng_uuid(struct prng *r);               /* a version 4 UUID */
