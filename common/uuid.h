/* SPDX-License-Identifier: GPL-2.0-or-later */
/* UUIDs as values. Random ones are made outside the core (libuuid) or from the core's seeded generator (prng.h). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { UUID_STR_SIZE = 37 };

/* libuuid exports a function of this name as well, and would call ours instead of its own: ours is linked under another
 * name. A file that needs both includes <uuid/uuid.h> first. */
#define uuid_parse rm_uuid_parse

struct uuid {
    uint8_t b[16];
};
struct uuid_str {
    char s[UUID_STR_SIZE];
};

bool uuid_is_nil(const struct uuid *u);
bool uuid_eq(const struct uuid *a, const struct uuid *b);
int uuid_cmp(const struct uuid *a, const struct uuid *b);
/* Version 7 of a random one (RFC 9562, section 5.7): the time in front, in ms since 1970. Ids of requests are such: the
 * rows kept under them lie side by side in the order of time, so the outcomes of many touch few pages of the store. */
struct uuid uuid_at(int64_t time_ms, struct uuid random);
struct uuid_str uuid_str(const struct uuid *u); /* lower case, with dashes */
/* 0 or ERR_MALFORMED; exactly the 36-character form. */
int uuid_parse(const char *s, struct uuid *ret);
