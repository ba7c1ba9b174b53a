/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backup/chain.h"

#include <stdio.h>
#include <stdlib.h>

static int by_sequence(const void *key, const void *element)
{
    uint32_t a = *(const uint32_t *)key, b = ((const struct chain_image *)element)->sequence;
    return a < b ? -1 : a > b;
}

bool chain_can_carry(const struct chain_image *images, size_t n, uint32_t reference, char *why_not)
{
    uint32_t sequence = reference;
    for (unsigned length = 1; sequence != 0; length++) {
        const struct chain_image *i = n > 0 ? bsearch(&sequence, images, n, sizeof(*images), by_sequence) : NULL;
        if (!i || i->damaged) {
            snprintf(why_not, CHAIN_REASON_MAX, "point %u, on which it would stand, is %s", sequence,
                     i ? "damaged" : "not there");
            return false;
        }
        if (length == CHAIN_MAX) {
            snprintf(why_not, CHAIN_REASON_MAX, "%d images lie behind each other, and no more may", CHAIN_MAX);
            return false;
        }
        sequence = i->base;
    }
    return true;
}
