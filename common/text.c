/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "common/text.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/err.h"

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* The length that a first byte announces; 0 for a continuation or a byte that never occurs (RFC 3629). */
static size_t announced_len(char c)
{
    unsigned char u = (unsigned char)c;
    if (u < 0x80)
        return 1;
    if (u >= 0xc2 && u <= 0xdf)
        return 2;
    if (u >= 0xe0 && u <= 0xef)
        return 3;
    if (u >= 0xf0 && u <= 0xf4)
        return 4;
    return 0;
}

/* RFC 3629, section 4: the second byte has a narrower range after these four. */
static bool second_byte_fits(char first, char second)
{
    unsigned char u = (unsigned char)second;
    switch ((unsigned char)first) {
    case 0xe0: return u >= 0xa0;
    case 0xed: return u <= 0x9f;
    case 0xf0: return u >= 0x90;
    case 0xf4: return u <= 0x8f;
    default: return true;
    }
}

size_t text_utf8_len(const char *s, size_t len)
{
    if (len == 0)
        return 0;
    size_t n = announced_len(s[0]);
    if (n == 0 || n > len)
        return 0;
    for (size_t i = 1; i < n; i++)
        if (!is_continuation(s[i]))
            return 0;
    if (n > 1 && !second_byte_fits(s[0], s[1]))
        return 0;
    return n;
}

/* len, or less if the last sequence is incomplete. */
static size_t whole_sequences(const char *s, size_t len)
{
    size_t back = 0;
    while (back < 3 && back < len && is_continuation(s[len - 1 - back]))
        back++;
    if (back == len)
        return len;
    size_t start = len - 1 - back;
    return announced_len(s[start]) > back + 1 ? start : len;
}

size_t text_vformat(char *dst, size_t size, const char *fmt, va_list ap)
{
    assert(size > 0);
    int n = vsnprintf(dst, size, fmt, ap);
    size_t len = n < 0 ? 0 : (size_t)n;
    if (len >= size)
        len = whole_sequences(dst, size - 1);
    dst[len] = '\0';
    return len;
}

void text_hex(char *dst, const uint8_t *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        dst[2 * i] = digits[p[i] >> 4];
        dst[2 * i + 1] = digits[p[i] & 15];
    }
}

int text_hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int text_hex_parse(const char *s, uint8_t *dst, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int high = text_hex_digit(s[2 * i]);
        if (high < 0)
            return ERR_MALFORMED;
        int low = text_hex_digit(s[2 * i + 1]);
        if (low < 0)
            return ERR_MALFORMED;
        dst[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}

bool text_is_plain_path(const char *s)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._+-";
    size_t n = strlen(s);
    return s[0] == '/' && s[strspn(s, plain)] == '\0' && !strstr(s, "/../") && !strstr(s, "//") && n > 1 &&
           s[n - 1] != '/' && (n < 3 || strcmp(s + n - 3, "/..") != 0);
}
