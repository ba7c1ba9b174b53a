/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xoshiro256** 1.0 and splitmix64 by David Blackman and Sebastiano Vigna (public domain), https://prng.di.unimi.it/ */
#include "common/prng.h"

#include <assert.h>
#include <stddef.h>

static uint64_t splitmix64(uint64_t *x)
{
    uint64_t z = (*x += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

struct prng prng_new(uint64_t seed)
{
    struct prng r;
    for (size_t i = 0; i < 4; i++)
        r.s[i] = splitmix64(&seed);
    return r;
}

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

uint64_t prng_next(struct prng *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

/* Draws below 2^64 mod bound are thrown away, so that every result is equally likely. */
uint64_t prng_below(struct prng *r, uint64_t bound)
{
    assert(bound > 0);
    uint64_t threshold = -bound % bound;
    uint64_t v;
    do
        v = prng_next(r);
    while (v < threshold);
    return v % bound;
}

struct uuid prng_uuid(struct prng *r)
{
    uint64_t words[2] = {prng_next(r), prng_next(r)};
    struct uuid u;
    for (size_t i = 0; i < sizeof(u.b); i++)
        u.b[i] = (uint8_t)(words[i / 8] >> (8 * (i % 8)));
    u.b[6] = (uint8_t)((u.b[6] & 0x0f) | 0x40); /* version 4, variant 10: RFC 4122, section 4.4 */
    u.b[8] = (uint8_t)((u.b[8] & 0x3f) | 0x80);
    return u;
}
