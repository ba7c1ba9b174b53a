/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/uuid.h"

#include <string.h>

#include "common/err.h"
#include "common/text.h"

/* 8-4-4-4-12 digits: bytes per group (RFC 4122, section 3). */
static const uint8_t groups[] = {4, 2, 2, 2, 6};
enum { N_GROUPS = sizeof(groups) };

bool uuid_is_nil(const struct uuid *u)
{
    return uuid_eq(u, &(struct uuid){0});
}

bool uuid_eq(const struct uuid *a, const struct uuid *b)
{
    return uuid_cmp(a, b) == 0;
}

int uuid_cmp(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->b, b->b, sizeof(a->b));
}

struct uuid uuid_at(int64_t time_ms, struct uuid random)
{
    struct uuid u = random;
    for (int i = 0; i < 6; i++)
        u.b[i] = (uint8_t)((uint64_t)time_ms >> (40 - 8 * i));
    u.b[6] = (uint8_t)((u.b[6] & 0x0f) | 0x70);
    u.b[8] = (uint8_t)((u.b[8] & 0x3f) | 0x80);
    return u;
}

struct uuid_str uuid_str(const struct uuid *u)
{
    struct uuid_str str;
    char *s = str.s;
    const uint8_t *p = u->b;
    for (size_t i = 0; i < N_GROUPS; i++) {
        text_hex(s, p, groups[i]);
        p += groups[i];
        s += 2 * groups[i];
        *s++ = i + 1 < N_GROUPS ? '-' : '\0';
    }
    return str;
}

int uuid_parse(const char *s, struct uuid *ret)
{
    struct uuid u;
    uint8_t *p = u.b;
    for (size_t i = 0; i < N_GROUPS; i++) {
        if (text_hex_parse(s, p, groups[i]) < 0)
            return ERR_MALFORMED;
        p += groups[i];
        s += 2 * groups[i];
        if (*s++ != (i + 1 < N_GROUPS ? '-' : '\0'))
            return ERR_MALFORMED;
    }
    *ret = u;
    return 0;
}
