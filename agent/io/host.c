/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/io/host.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "agent/io/process.h"

enum { HOST_FILE_MAX = 16 * 1024, HOST_COROSYNC_MS = 5000 };

/* A small file's text, without the newline at its end; the caller frees. NULL: it cannot be read. */
static char *read_text(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    char *text = xmalloc(HOST_FILE_MAX);
    size_t n = 0;
    ssize_t got;
    while (n < HOST_FILE_MAX - 1 && (got = read(fd, text + n, HOST_FILE_MAX - 1 - n)) != 0) {
        if (got < 0 && errno != EINTR)
            break;
        n += got > 0 ? (size_t)got : 0;
    }
    close(fd);
    while (n > 0 && text[n - 1] == '\n')
        n--;
    text[n] = '\0';
    return text;
}

/* ---- os-release(5) */

/* The value with quotes and backslashes taken away, as far as the file format has them. */
static void unquote(const char *p, const char *end, char *ret, size_t size)
{
    size_t n = 0;
    char quote = '\0';
    for (; p < end && n + 1 < size; p++) {
        if (quote && *p == quote)
            quote = '\0';
        else if (!quote && (*p == '"' || *p == '\''))
            quote = *p;
        else if (*p == '\\' && quote != '\'' && p + 1 < end)
            ret[n++] = *++p;
        else
            ret[n++] = *p;
    }
    ret[n] = '\0';
}

int host_os_release_get(const char *os_release, const char *key, char *ret, size_t size)
{
    size_t key_len = strlen(key);
    for (const char *line = os_release; *line;) {
        const char *end = line + strcspn(line, "\n");
        if (strncmp(line, key, key_len) == 0 && line[key_len] == '=') {
            unquote(line + key_len + 1, end, ret, size);
            return 0;
        }
        line = *end ? end + 1 : end;
    }
    return ERR_NOT_FOUND;
}

static void read_os_release(struct host_facts *f)
{
    AUTO(freep) char *text = read_text("/etc/os-release");
    if (!text)
        text = read_text("/usr/lib/os-release");
    if (!text)
        return;
    if (host_os_release_get(text, "VERSION_CODENAME", f->release, sizeof(f->release)) != 0)
        host_os_release_get(text, "VERSION_ID", f->release, sizeof(f->release));
    host_os_release_get(text, "PRETTY_NAME", f->os, sizeof(f->os));
}

/* ---- boot */

int host_stat_start_time(const char *stat, uint64_t *ret)
{
    const char *p = strrchr(stat, ')'); /* the end of field 2 */
    for (int field = 2; p && field < 22; field++) {
        p = strchr(p, ' ');
        p = p ? p + 1 : NULL;
    }
    if (!p || *p < '0' || *p > '9')
        return ERR_MALFORMED;
    errno = 0;
    unsigned long long v = strtoull(p, NULL, 10);
    if (errno)
        return ERR_MALFORMED;
    *ret = v;
    return 0;
}

struct uuid_str host_container_boot_id(const char *host_boot_id, uint64_t pid_namespace, uint64_t start_time)
{
    char text[128];
    int n = snprintf(text, sizeof(text), "ringmaster boot %s %" PRIu64 " %" PRIu64, host_boot_id, pid_namespace,
                     start_time);
    struct hash h = hash_of(text, n < (int)sizeof(text) ? (size_t)n : sizeof(text) - 1);
    struct uuid u;
    memcpy(u.b, h.b, sizeof(u.b));
    u.b[6] = (uint8_t)((u.b[6] & 0x0f) | 0x50); /* as a version 5 UUID, though by SHA-256 */
    u.b[8] = (uint8_t)((u.b[8] & 0x3f) | 0x80);
    return uuid_str(&u);
}

static int read_boot_id(struct host_facts *f, struct error *e)
{
    AUTO(freep) char *id = read_text("/proc/sys/kernel/random/boot_id");
    struct uuid any;
    if (!id || uuid_parse(id, &any) != 0)
        return error_set(e, ERR_CONDITION,
                         "/proc/sys/kernel/random/boot_id cannot be read: which boot this is cannot "
                         "be told");
    if (access("/run/systemd/container", F_OK) != 0) {
        STR_COPY(f->boot_id, id);
        return 0;
    }
    struct stat ns;
    uint64_t start;
    AUTO(freep) char *stat_text = read_text("/proc/1/stat");
    /* Its own namespace, which is PID 1's as well: the link of PID 1 is readable with CAP_SYS_PTRACE only. */
    if (!stat_text || host_stat_start_time(stat_text, &start) != 0 || stat("/proc/self/ns/pid", &ns) != 0)
        return error_set(e, ERR_CONDITION,
                         "the start of this container's PID 1 cannot be read: which boot this is "
                         "cannot be told");
    struct uuid_str s = host_container_boot_id(id, ns.st_ino, start);
    STR_COPY(f->boot_id, s.s);
    return 0;
}

/* ---- the rest */

static void read_memory(struct host_facts *f)
{
    AUTO(freep) char *text = read_text("/proc/meminfo");
    const char *p = text ? strstr(text, "MemTotal:") : NULL;
    if (p)
        f->memory_kib = strtoull(p + strlen("MemTotal:"), NULL, 10);
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    f->cpus = cpus > 0 ? (uint32_t)cpus : 0;
    struct utsname u;
    if (uname(&u) == 0)
        STR_COPY(f->kernel, u.release);
}

/* "Corosync Cluster Engine, version '3.1.7'" */
static void read_corosync(struct host_facts *f)
{
    static const char *const argv[] = {"/usr/sbin/corosync", "-v", NULL};
    AUTO(freep) char *text = NULL;
    if (process_must(argv, HOST_COROSYNC_MS, &text, NULL) != 0)
        return;
    const char *p = strstr(text, "version '");
    if (!p)
        return;
    p += strlen("version '");
    snprintf(f->corosync, sizeof(f->corosync), "%.*s", (int)strcspn(p, "'\n"), p);
}

static bool is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24 == 127;
    return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
}

/* The first address of the name that others can reach: /etc/hosts often has the own name at 127.0.1.1 as well. */
static int resolve(const char *name, char *ret, size_t size, struct error *e)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list = NULL;
    int err = getaddrinfo(name, NULL, &hints, &list);
    bool found = false;
    for (struct addrinfo *a = err ? NULL : list; a && !found; a = a->ai_next)
        found = !is_loopback(a->ai_addr) &&
                getnameinfo(a->ai_addr, a->ai_addrlen, ret, (socklen_t)size, NULL, 0, NI_NUMERICHOST) == 0 &&
                !strchr(ret, '%');
    if (list)
        freeaddrinfo(list);
    if (found)
        return 0;
    error_set(e, ERR_CONDITION, "node %s: the name resolves to no address that other nodes can reach%s%s", name,
              err ? ": " : "", err ? gai_strerror(err) : "");
    error_set_remedy(e, "set address= in section [node] of %s/ringmaster.conf", RINGMASTER_CONFIG_DIR);
    return ERR_CONDITION;
}

int host_facts_read(const struct host_config *c, struct host_facts *ret, struct error *e)
{
    struct host_facts f = {.port = c->port};
    STR_COPY(f.hostname, c->hostname);
    STR_COPY(f.address, c->address);
    STR_COPY(f.agent_version, c->agent_version);
    int err = f.address[0] ? 0 : resolve(f.hostname, f.address, sizeof(f.address), e);
    if (!err)
        err = read_boot_id(&f, e);
    if (err)
        return err;
    read_os_release(&f);
    read_memory(&f);
    read_corosync(&f);
    *ret = f;
    return 0;
}
