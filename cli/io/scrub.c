/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/io/scrub.h"

#include <ctype.h>
#include <fcntl.h>
#include <strings.h>
#include <unistd.h>

enum { SECRET_MIN = 8 /* shorter ones would be found in innocent text */, LINE_MIN = 24 };

struct scrub {
    struct buf *needles;
    size_t n;
};

struct scrub *scrub_new(void)
{
    return xcalloc(1, sizeof(struct scrub));
}

void scrub_free(struct scrub *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n; i++) {
        explicit_bzero(s->needles[i].p, s->needles[i].len);
        buf_done(&s->needles[i]);
    }
    free(s->needles);
    free(s);
}

static void add_needle(struct scrub *s, const void *p, size_t len)
{
    s->needles = xrealloc(s->needles, s->n + 1, sizeof(s->needles[0]));
    s->needles[s->n] = (struct buf){0};
    buf_add(&s->needles[s->n++], p, len);
}

static void add_hex(struct scrub *s, const uint8_t *p, size_t len, const char *digits)
{
    struct buf hex = {0};
    for (size_t i = 0; i < len; i++) {
        buf_add(&hex, &digits[p[i] >> 4], 1);
        buf_add(&hex, &digits[p[i] & 15], 1);
    }
    add_needle(s, hex.p, hex.len);
    explicit_bzero(hex.p, hex.len);
    buf_done(&hex);
}

/* Without the last group, whose form depends on what follows. */
static void add_base64(struct scrub *s, const uint8_t *p, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct buf b = {0};
    for (size_t i = 0; i + 3 <= len; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16 | (uint32_t)p[i + 1] << 8 | p[i + 2];
        for (int shift = 18; shift >= 0; shift -= 6)
            buf_add(&b, &digits[v >> shift & 63], 1);
    }
    if (b.len >= SECRET_MIN)
        add_needle(s, b.p, b.len);
    explicit_bzero(b.p, b.len);
    buf_done(&b);
}

static void add_lines(struct scrub *s, const uint8_t *p, size_t len)
{
    for (size_t at = 0; at < len;) {
        const uint8_t *end = memchr(p + at, '\n', len - at);
        size_t line = end ? (size_t)(end - (p + at)) : len - at;
        if (line >= LINE_MIN && memcmp(p + at, "-----", 5) != 0)
            add_needle(s, p + at, line);
        at += line + 1;
    }
}

void scrub_learn(struct scrub *s, const void *secret, size_t len)
{
    const uint8_t *p = secret;
    while (len && isspace(p[len - 1])) /* a final newline is not part of it */
        len--;
    if (len < SECRET_MIN)
        return;
    add_needle(s, p, len);
    add_hex(s, p, len, "0123456789abcdef");
    add_hex(s, p, len, "0123456789ABCDEF");
    add_base64(s, p, len);
    add_lines(s, p, len);
}

void scrub_learn_file(struct scrub *s, const char *path)
{
    uint8_t secret[SCRUB_FILE_MAX];
    size_t len = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return;
    for (ssize_t n; len < sizeof(secret) && (n = read(fd, secret + len, sizeof(secret) - len)) > 0;)
        len += (size_t)n;
    close(fd);
    scrub_learn(s, secret, len);
    explicit_bzero(secret, sizeof(secret));
}

/* ---- replacing ----------------------------------------------------------------------------------------------------
 */

static void replace(struct buf *text, size_t at, size_t len)
{
    struct buf out = {0};
    buf_add(&out, text->p, at);
    buf_add_str(&out, SCRUB_MARK);
    buf_add(&out, text->p + at + len, text->len - at - len);
    buf_done(text);
    *text = out;
}

/* From where, or text->len. */
static size_t find(const struct buf *text, size_t from, const void *what, size_t len)
{
    if (from >= text->len)
        return text->len;
    const uint8_t *p = memmem(text->p + from, text->len - from, what, len);
    return p ? (size_t)(p - text->p) : text->len;
}

static void remove_known(const struct buf *needle, struct buf *text)
{
    size_t at = 0;
    while ((at = find(text, at, needle->p, needle->len)) < text->len) {
        replace(text, at, needle->len);
        at += strlen(SCRUB_MARK);
    }
}

static void remove_pem(struct buf *text)
{
    static const char begin[] = "-----BEGIN ", key[] = "PRIVATE KEY-----", end[] = "-----END ";
    size_t at = 0;
    while ((at = find(text, at, begin, sizeof(begin) - 1)) < text->len) {
        size_t head = find(text, at, key, sizeof(key) - 1);
        size_t line = find(text, at, "\n", 1);
        if (head >= line) {
            at += sizeof(begin) - 1;
            continue;
        }
        size_t last = find(text, head, end, sizeof(end) - 1);
        size_t stop = last == text->len ? last : find(text, last, "\n", 1);
        replace(text, at, stop - at);
        at += strlen(SCRUB_MARK);
    }
}

/* NAME='VALUE' and "NAME": "VALUE": the value goes. */
static void remove_quoted(const char *name, struct buf *text)
{
    size_t at = 0, len = strlen(name);
    while ((at = find(text, at, name, len)) < text->len) {
        at += len;
        size_t p = at;
        while (p < text->len && strchr(" \t\"':=\\", text->p[p]) && text->p[p])
            p++;
        size_t stop = p;
        while (stop < text->len && !strchr("\"'\n\\", text->p[stop]) && text->p[stop])
            stop++;
        if (p == at || stop == p || (text->p[p - 1] != '"' && text->p[p - 1] != '\''))
            continue;
        replace(text, p, stop - p);
        at = p + strlen(SCRUB_MARK);
    }
}

static bool is_name_char(uint8_t c)
{
    return isalnum(c) || c == '_' || c == '-' || c == '.';
}

/* Does the word before text->p[equal], in the line that begins at `line`, name a secret? */
static bool names_secret(const struct buf *text, size_t line, size_t equal)
{
    static const char *const words[] = {"password", "passwd", "secret", "token", "private_key", "account_key"};
    char name[64];
    size_t end = equal, n = 0;
    while (end > line && isblank(text->p[end - 1]))
        end--;
    size_t begin = end;
    while (begin > line && is_name_char(text->p[begin - 1]) && end - begin + 1 < sizeof(name))
        begin--;
    for (; begin < end; begin++)
        name[n++] = (char)tolower(text->p[begin]);
    name[n] = '\0';
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strstr(name, words[i]))
            return true;
    return false;
}

/* NAME = VALUE, of configuration files and log lines: the rest of the line goes. */
static void remove_settings(struct buf *text)
{
    size_t line = 0, equal = 0;
    while ((equal = find(text, equal, "=", 1)) < text->len) {
        for (size_t next; (next = find(text, line, "\n", 1)) < equal;)
            line = next + 1;
        size_t end = find(text, equal, "\n", 1), value = equal + 1;
        while (value < end && (isblank(text->p[value]) || text->p[value] == '"' || text->p[value] == '\''))
            value++;
        if (value < end && names_secret(text, line, equal) &&
            (end - value < strlen(SCRUB_MARK) || memcmp(text->p + value, SCRUB_MARK, strlen(SCRUB_MARK)) != 0)) {
            replace(text, value, end - value);
            equal = value + strlen(SCRUB_MARK);
        } else {
            equal++;
        }
    }
}

void scrub_text(const struct scrub *s, struct buf *text)
{
    for (size_t i = 0; i < s->n; i++)
        remove_known(&s->needles[i], text);
    remove_pem(text);
    remove_quoted("secret", text);
    remove_quoted("passwd", text);
    remove_settings(text);
}
