/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/retry.h"

static int64_t pause_ms(unsigned failures)
{
    int64_t ms = RETRY_MIN_MS;
    while (--failures > 0 && ms < RETRY_MAX_MS)
        ms *= 2;
    return ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS;
}

bool retry_failed(struct retry *r, int64_t now_ms, const char *text)
{
    char before[ERROR_TEXT_MAX];
    STR_COPY(before, r->text);
    STR_COPY(r->text, text);
    r->failures++;
    r->at_ms = now_ms + pause_ms(r->failures);
    return (r->failures & (r->failures - 1)) == 0 || !str_eq(before, r->text);
}

bool retry_may(const struct retry *r, int64_t now_ms)
{
    return now_ms >= r->at_ms;
}

bool retry_done(struct retry *r)
{
    bool failed = r->failures > 0;
    *r = (struct retry){0};
    return failed;
}
