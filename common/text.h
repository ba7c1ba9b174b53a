/* SPDX-License-Identifier: GPL-2.0-or-later */
/* UTF-8 and hex, for the files of common/ that need them. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Length (1…4) of the well-formed UTF-8 sequence at s, or 0: overlong forms, surrogates and code points above U+10FFFF
 * are not well-formed. */
size_t text_utf8_len(const char *s, size_t len);

/* vsnprintf that cuts at a whole UTF-8 sequence instead of inside one; returns the length written. size > 0. */
size_t text_vformat(char *dst, size_t size, const char *fmt, va_list ap) __attribute__((format(printf, 3, 0)));

/* 2 * n lower-case digits, without a terminator. */
void text_hex(char *dst, const uint8_t *p, size_t n);
int text_hex_digit(char c); /* 0…15, or -1 */
/* Reads 2 * n digits of either case; 0 or ERR_MALFORMED (dst is then undefined). Stops at the first other byte. */
int text_hex_parse(const char *s, uint8_t *dst, size_t n);

/* An absolute path that systemd and every program take as it is: letters, digits and "/._+-"; no "..", no slash at its
 * end or beside another. */
bool text_is_plain_path(const char *s);
