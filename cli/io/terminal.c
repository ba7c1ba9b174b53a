/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/io/terminal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static bool is_dumb(void)
{
    const char *term = getenv("TERM");
    return !term || term[0] == '\0' || str_eq(term, "dumb");
}

bool terminal_is_output(void)
{
    return isatty(STDOUT_FILENO) && !is_dumb();
}

bool terminal_can_ask(void)
{
    return isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

bool terminal_has_colour(int fd)
{
    const char *no_color = getenv("NO_COLOR");
    return isatty(fd) && !is_dumb() && (!no_color || no_color[0] == '\0');
}

static struct winsize terminal_size(void)
{
    struct winsize size = {0};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0)
        return (struct winsize){0};
    if (size.ws_col == 0)
        size.ws_col = 80;
    if (size.ws_row == 0)
        size.ws_row = 24;
    return size;
}

size_t terminal_width(void)
{
    return terminal_size().ws_col;
}

size_t terminal_height(void)
{
    return terminal_size().ws_row;
}

bool terminal_ask(const char *question)
{
    fprintf(stderr, "%s [y/N] ", question);
    fflush(stderr);
    char line[64];
    if (!fgets(line, sizeof(line), stdin)) {
        fputc('\n', stderr);
        return false;
    }
    return line[0] == 'y' || line[0] == 'Y';
}

static sigset_t interrupts(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    return set;
}

void interrupt_hold(void)
{
    sigset_t set = interrupts();
    sigprocmask(SIG_BLOCK, &set, NULL);
}

bool interrupt_pending(void)
{
    sigset_t pending;
    return sigpending(&pending) == 0 && (sigismember(&pending, SIGINT) == 1 || sigismember(&pending, SIGTERM) == 1 ||
                                         sigismember(&pending, SIGHUP) == 1);
}

/* A signal that came stays pending, so that everyone who looks afterwards sees it too. */
bool interrupt_sleep(int64_t ms)
{
    enum { LOOK_MS = 50 };
    int64_t until_ms = clock_monotonic_ms() + ms;
    for (;;) {
        if (interrupt_pending())
            return false;
        int64_t left = until_ms - clock_monotonic_ms();
        if (left <= 0)
            return true;
        poll(NULL, 0, left < LOOK_MS ? (int)left : LOOK_MS);
    }
}

static int64_t clock_ms(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t clock_monotonic_ms(void)
{
    return clock_ms(CLOCK_MONOTONIC);
}

int64_t clock_wall_ms(void)
{
    return clock_ms(CLOCK_REALTIME);
}

struct uuid new_request_id(void)
{
    struct uuid u;
    if (getrandom(u.b, sizeof(u.b), 0) != (ssize_t)sizeof(u.b))
        abort();
    return uuid_at(clock_wall_ms(), u);
}

bool write_text(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, text, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        text += n;
        len -= (size_t)n;
    }
    return true;
}

void core_dump_forbid(void)
{
    prctl(PR_SET_DUMPABLE, 0);
}

bool user_is_root(void)
{
    return geteuid() == 0;
}

void host_name(char *dst, size_t size)
{
    struct utsname host;
    str_copy(dst, size, uname(&host) == 0 ? host.nodename : "node");
    for (char *p = dst; *p; p++)
        *p = (char)(*p == '/' ? '-' : *p);
}
