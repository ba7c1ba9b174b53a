/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the load programs share: numbers as arguments, the clock, and the one line of JSON that they print. */
#pragma once

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LOAD_BYTES_MAX = 240, LOAD_IN_FLIGHT_MAX = 256, LOAD_KEYS = 64 };

static inline int64_t load_now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static inline long load_number(const char *text, long min, long max)
{
    char *end;
    errno = 0;
    long n = strtol(text, &end, 10);
    if (errno || end == text || *end || n < min || n > max) {
        fprintf(stderr, "'%s' is no number from %ld to %ld\n", text, min, max);
        exit(64);
    }
    return n;
}

/* A value that no write before had: '/', the number, filled up to len bytes. */
static inline void load_value(char ret[LOAD_BYTES_MAX + 1], size_t len, uint64_t number)
{
    int n = snprintf(ret, LOAD_BYTES_MAX + 1, "/%020" PRIu64 "-", number);
    for (size_t i = (size_t)n; i < len; i++)
        ret[i] = 'x';
    ret[len] = '\0';
}

/* Both ends of the time count: from before the first write was sent to after the last answer came. */
static inline void load_print(uint64_t writes, uint64_t failed, int64_t took_us, const char *why)
{
    printf("{\"writes\": %" PRIu64 ", \"failed\": %" PRIu64 ", \"seconds\": %.6f, \"why\": \"", writes, failed,
           (double)took_us / 1e6);
    for (; *why; why++)
        if (*why >= ' ' && *why <= '~' && *why != '"' && *why != '\\')
            putchar(*why);
    puts("\"}");
}
