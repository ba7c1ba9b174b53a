/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/io/config.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <ini.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CONFIG_FILE_MAX = 64 * 1024 };

struct parser {
    struct config *config;
    const char *path;
    FILE *f;
    int line;
    size_t size;
    int err; /* of the first fault; nothing is looked at after it */
    struct error *e;
};

static int fault(struct parser *p, const char *what, const char *arg)
{
    if (!p->err)
        p->err = error_set(p->e, ERR_USAGE, "%s:%d: %s%s%s", p->path, p->line, what, *arg ? ": " : "", arg);
    return 0; /* inih: an error */
}

bool config_is_node_name(const char *s)
{
    size_t n = strlen(s);
    if (n == 0 || n >= NODE_NAME_MAX || s[0] == '-' || s[n - 1] == '-')
        return false;
    return strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

/* ---- keys */

static bool set_node_name(struct config *c, const char *value)
{
    return config_is_node_name(value) && STR_COPY(c->node, value);
}

static bool set_node_address(struct config *c, const char *value)
{
    struct in6_addr any;
    if (inet_pton(AF_INET, value, &any) != 1 && inet_pton(AF_INET6, value, &any) != 1)
        return false;
    return STR_COPY(c->address, value);
}

static bool set_tls_port(struct config *c, const char *value)
{
    char *end;
    if (*value < '0' || *value > '9')
        return false;
    errno = 0;
    unsigned long n = strtoul(value, &end, 10);
    if (errno || *end || n < 1 || n > 65535)
        return false;
    c->port = (uint16_t)n;
    return true;
}

static bool set_log_level(struct config *c, const char *value)
{
    static const struct {
        const char *name;
        enum log_level level;
    } levels[] = {
        {"error", LOG_ERROR_}, {"warning", LOG_WARN_}, {"notice", LOG_NOTICE_},
        {"info", LOG_INFO_},   {"debug", LOG_DEBUG_},
    };
    for (size_t i = 0; i < sizeof(levels) / sizeof(*levels); i++)
        if (str_eq(value, levels[i].name)) {
            c->log_level = levels[i].level;
            return true;
        }
    return false;
}

static bool set_watchdog(struct config *c, const char *value)
{
    return (value[0] == '/' || str_eq(value, "none")) && STR_COPY(c->watchdog, value);
}

static const struct key {
    const char *section, *name;
    bool (*set)(struct config *c, const char *value);
    const char *wanted;
} keys[] = {
    {"node", "name", set_node_name, "lower-case letters, digits and dashes, up to 63"},
    {"node", "address", set_node_address, "a numeric IPv4 or IPv6 address"},
    {"fence", "watchdog", set_watchdog, "the path of a watchdog, or none"},
    {"tls", "port", set_tls_port, "a port number, 1 to 65535"},
    {"log", "level", set_log_level, "error, warning, notice, info or debug"},
};

/* What there is, for one who wrote what there is not. */
static void set_keys_remedy(struct error *e)
{
    AUTO(buf_done) struct buf b = {0};
    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
        buf_printf(&b, "%s[%s] %s", i ? ", " : "", keys[i].section, keys[i].name);
    error_set_remedy(e, "known are %.*s: ringmaster.conf(5)", (int)b.len, (const char *)b.p);
}

static int on_key(void *user, const char *section, const char *name, const char *value)
{
    struct parser *p = user;
    bool section_known = false;
    for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
        if (!str_eq(section, keys[i].section))
            continue;
        section_known = true;
        if (!str_eq(name, keys[i].name))
            continue;
        if (keys[i].set(p->config, value))
            return 1;
        char text[128];
        snprintf(text, sizeof(text), "%s: not valid, wanted is %s", name, keys[i].wanted);
        return fault(p, text, "");
    }
    bool is_first = p->err == 0;
    fault(p, section_known ? "unknown key" : "unknown section", section_known ? name : section);
    if (is_first)
        set_keys_remedy(p->e);
    return 0;
}

/* ---- files */

/* inih's reader; counts lines, which its handler is not told, and refuses what inih would cut or join silently. */
static char *read_line(char *str, int num, void *stream)
{
    struct parser *p = stream;
    if (p->err || !fgets(str, num, p->f))
        return NULL;
    p->line++;
    size_t n = strlen(str);
    p->size += n;
    if (p->size > CONFIG_FILE_MAX)
        fault(p, "the file is too long", "");
    else if ((n == 0 || str[n - 1] != '\n') && !feof(p->f))
        fault(p, "the line is too long, or has a NUL byte", "");
    else if (n > 0 && (str[0] == ' ' || str[0] == '\t') && str[strspn(str, " \t\r\n")] != '\0')
        fault(p, "a line must not begin with a blank", ""); /* inih takes it for more of the value above */
    else
        return str;
    return NULL;
}

/* The agent runs as root: what it believes, root alone may write. */
static int check_mode(const char *path, FILE *f, struct error *e)
{
    struct stat st;
    if (fstat(fileno(f), &st) != 0)
        return error_set(e, ERR_IO, "cannot read %s: %s", path, strerror(errno));
    if (st.st_uid != 0 && st.st_uid != geteuid()) {
        error_set(e, ERR_USAGE, "%s belongs to uid %u, not to root", path, (unsigned)st.st_uid);
        error_set_remedy(e, "look at what it says, then: chown root %s", path);
        return ERR_USAGE;
    }
    if (S_ISREG(st.st_mode) && (st.st_mode & (S_IWGRP | S_IWOTH))) {
        error_set(e, ERR_USAGE, "%s may be changed by others than root (mode %04o)", path,
                  (unsigned)(st.st_mode & 07777));
        error_set_remedy(e, "look at what it says, then: chmod go-w %s", path);
        return ERR_USAGE;
    }
    return 0;
}

static int parse_file(const char *path, bool must_exist, struct config *c, struct error *e)
{
    struct parser p = {.config = c, .path = path, .e = e};
    p.f = fopen(path, "re");
    if (!p.f && errno == ENOENT && !must_exist)
        return 0;
    if (!p.f)
        return error_set(e, ERR_IO, "cannot read %s: %s", path, strerror(errno));
    int err = check_mode(path, p.f, e);
    if (err) {
        fclose(p.f);
        return err;
    }
    int first_bad = ini_parse_stream(read_line, &p, on_key, &p);
    bool failed = ferror(p.f) != 0;
    fclose(p.f);
    if (p.err && (first_bad <= 0 || first_bad >= p.line))
        return p.err;
    if (first_bad > 0) /* a line that is no section, key or comment: on_key was not asked */
        return error_set(e, ERR_USAGE, "%s:%d: neither [section], key = value nor a comment", path, first_bad);
    if (failed || first_bad < 0)
        return error_set(e, ERR_IO, "cannot read %s", path);
    return 0;
}

static int is_conf(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return d->d_name[0] != '.' && n > 5 && str_eq(d->d_name + n - 5, ".conf");
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name); /* bytewise: the same in every locale */
}

static int parse_dir(const char *file, struct config *c, struct error *e)
{
    char dir[PATH_MAX - NAME_MAX - 2];
    const char *slash = strrchr(file, '/');
    int n = slash ? snprintf(dir, sizeof(dir), "%.*s/conf.d", (int)(slash - file), file)
                  : snprintf(dir, sizeof(dir), "conf.d");
    if (n < 0 || (size_t)n >= sizeof(dir))
        return error_set(e, ERR_USAGE, "%s: the path is too long", file);
    struct dirent **names = NULL;
    int count = scandir(dir, &names, is_conf, by_name);
    if (count < 0)
        return errno == ENOENT ? 0 : error_set(e, ERR_IO, "cannot read %s: %s", dir, strerror(errno));
    int err = 0;
    for (int i = 0; i < count; i++) {
        char path[PATH_MAX];
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]->d_name);
        if (!err)
            err = parse_file(path, true, c, e);
        free(names[i]);
    }
    free(names);
    return err;
}

static int default_node_name(struct config *c, struct error *e)
{
    char name[256] = "";
    gethostname(name, sizeof(name) - 1);
    name[strcspn(name, ".")] = '\0';
    if (set_node_name(c, name))
        return 0;
    error_set(e, ERR_USAGE, "the host name \"%s\" cannot be a node's name (lower-case letters, digits, dashes)", name);
    error_set_remedy(e, "set name= in section [node] of %s/ringmaster.conf", RINGMASTER_CONFIG_DIR);
    return ERR_USAGE;
}

int config_load(const char *file, bool must_exist, struct config *ret, struct error *e)
{
    struct config c = {.port = CONFIG_PORT_DEFAULT, .log_level = LOG_INFO_};
    int err = parse_file(file, must_exist, &c, e);
    if (!err)
        err = parse_dir(file, &c, e);
    if (!err && !c.node[0])
        err = default_node_name(&c, e);
    if (!err)
        *ret = c;
    return err;
}
