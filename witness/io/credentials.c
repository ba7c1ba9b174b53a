/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "witness/io/credentials.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/hash.h"

void credentials_wipe(struct credentials *c)
{
    explicit_bzero(c, sizeof(*c));
}

/* ---- a line */

static int bad_line(struct error *e, size_t line, const char *what)
{
    error_set(e, ERR_USAGE, "line %zu of the witness's credentials: %s", line, what);
    error_set_remedy(e, "give one or two account keys, or a SAS token, or the word identity, each on its own line");
    return ERR_USAGE;
}

/* There is room: take_line saw to it. */
static int add_key(struct credentials *c, const char *s, size_t line, struct error *e)
{
    struct account_key *k = &c->keys[c->n_keys];
    k->len = base64_decode(s, strlen(s), k->b, sizeof(k->b));
    if (k->len < 16)
        return bad_line(e, line, "it is no account key in base64, and has no sig= as a SAS has");
    c->n_keys++;
    return 0;
}

/* What may stand in a URL's query. */
static bool is_query(const char *s)
{
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr("-._~%=&:+/,!*'();@$", *s))
            return false;
    return true;
}

static int take_sas(struct credentials *c, const char *s, size_t line, struct error *e)
{
    s += *s == '?';
    if (!is_query(s))
        return bad_line(e, line, "a SAS token holds no such character");
    return STR_COPY(c->sas, s) ? 0 : bad_line(e, line, "the SAS token is too long");
}

static int take_identity(struct credentials *c, const char *rest, size_t line, struct error *e)
{
    rest += strspn(rest, " \t");
    for (const char *s = rest; *s; s++)
        if (!isxdigit((unsigned char)*s) && *s != '-')
            return bad_line(e, line, "a client id has the form of a UUID");
    return STR_COPY(c->client_id, rest) ? 0 : bad_line(e, line, "the client id is too long");
}

static int take_line(struct credentials *c, char *s, size_t line, struct error *e)
{
    size_t len = strlen(s);
    while (len > 0 && isspace((unsigned char)s[len - 1]))
        s[--len] = '\0';
    s += strspn(s, " \t");
    if (!*s || *s == '#')
        return 0;
    bool is_identity = strncmp(s, "identity", 8) == 0 && (s[8] == '\0' || s[8] == ' ');
    enum credentials_kind kind = is_identity         ? CREDENTIALS_IDENTITY
                                 : strstr(s, "sig=") ? CREDENTIALS_SAS
                                                     : CREDENTIALS_KEYS;
    bool again = c->kind != 0 && (c->kind != kind || kind != CREDENTIALS_KEYS || c->n_keys == ACCOUNT_KEYS_MAX);
    if (again)
        return bad_line(e, line, "there is one already; two are taken of account keys alone");
    c->kind = kind;
    if (kind == CREDENTIALS_IDENTITY)
        return take_identity(c, s + 8, line, e);
    return kind == CREDENTIALS_SAS ? take_sas(c, s, line, e) : add_key(c, s, line, e);
}

int credentials_parse(struct slice text, struct credentials *ret, struct error *e)
{
    if (text.len > CREDENTIALS_TEXT_MAX || (text.len && memchr(text.p, '\0', text.len)))
        return error_set(e, ERR_USAGE, "the witness's credentials are not a text of at most %d bytes",
                         CREDENTIALS_TEXT_MAX);
    char copy[CREDENTIALS_TEXT_MAX + 1];
    if (text.len)
        memcpy(copy, text.p, text.len);
    copy[text.len] = '\0';
    struct credentials c = {0};
    int err = 0;
    char *next = copy;
    for (size_t line = 1; !err && next; line++) {
        char *s = strsep(&next, "\n");
        err = take_line(&c, s, line, e);
    }
    if (!err && c.kind == 0)
        err = bad_line(e, 1, "there are none");
    if (!err)
        *ret = c;
    credentials_wipe(&c);
    explicit_bzero(copy, sizeof(copy));
    return err;
}

/* ---- a file */

static void closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static int check_owner(int fd, const char *path, struct error *e)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return error_set(e, ERR_IO, "cannot read %s: %s", path, strerror(errno));
    if (S_ISREG(st.st_mode) && st.st_uid == geteuid() && (st.st_mode & (S_IRWXG | S_IRWXO)) == 0)
        return 0;
    error_set(e, ERR_CONDITION, "%s holds the witness's credentials, and others may read or change it", path);
    error_set_remedy(e, "renew what it holds if somebody could have read it; then: chown root %s; chmod 0600 %s", path,
                     path);
    return ERR_CONDITION;
}

static int open_secret(const char *path, struct error *e)
{
    char name[512];
    const char *dir = getenv("CREDENTIALS_DIRECTORY");
    bool is_credential = !strchr(path, '/');
    if (is_credential && !dir) {
        error_set(e, ERR_NOT_FOUND, "there is no systemd credential %s", path);
        error_set_remedy(e, "give the path of a file, or LoadCredential=%s:FILE in a drop-in of ringmasterd.service",
                         path);
        return ERR_NOT_FOUND;
    }
    int n = snprintf(name, sizeof(name), "%s%s%s", is_credential ? dir : "", is_credential ? "/" : "", path);
    if (n < 0 || (size_t)n >= sizeof(name))
        return error_set(e, ERR_USAGE, "the name of the credentials' file is too long");
    int fd = open(name, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return error_set(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "cannot read %s: %s", name, strerror(errno));
    return fd;
}

int credentials_load(const char *path, struct credentials *ret, struct error *e)
{
    AUTO(closep) int fd = open_secret(path, e);
    if (fd < 0)
        return fd;
    int err = check_owner(fd, path, e);
    if (err)
        return err;
    uint8_t text[CREDENTIALS_TEXT_MAX + 1];
    size_t len = 0;
    ssize_t n;
    while (len < sizeof(text) && (n = read(fd, text + len, sizeof(text) - len)) != 0) {
        if (n < 0 && errno != EINTR)
            return error_set(e, ERR_IO, "cannot read %s: %s", path, strerror(errno));
        len += n > 0 ? (size_t)n : 0;
    }
    err = credentials_parse((struct slice){text, len}, ret, e);
    explicit_bzero(text, sizeof(text));
    return err;
}

/* ---- a SAS's end */

/* se=2026-11-23, …T10:00Z or …T10:00:00Z; colons may be written as %3A. */
int64_t credentials_sas_end_ms(const struct credentials *c)
{
    const char *at = strncmp(c->sas, "se=", 3) == 0 ? c->sas : strstr(c->sas, "&se=");
    if (!at)
        return 0;
    char text[40];
    size_t n = 0;
    for (at = strchr(at, '=') + 1; *at && *at != '&' && n < sizeof(text) - 1; at++) {
        bool escaped = strncasecmp(at, "%3a", 3) == 0;
        text[n++] = escaped ? ':' : *at;
        at += escaped ? 2 : 0;
    }
    text[n] = '\0';
    struct tm t = {0};
    int got =
        sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d", &t.tm_year, &t.tm_mon, &t.tm_mday, &t.tm_hour, &t.tm_min, &t.tm_sec);
    if (got < 3)
        return 0;
    t.tm_year -= 1900;
    t.tm_mon -= 1;
    return (int64_t)timegm(&t) * 1000;
}
