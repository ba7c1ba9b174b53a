/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/io/program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { EXEC_FAILED = 127 };

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

bool program_exists(const char *path)
{
    return access(path, X_OK) == 0;
}

/* In the child; the descriptors are all above 2, and close on exec. */
static void become(const char *const *argv, int in, int out, int err)
{
    static char *const environment[] = {
        (char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        (char *)"LC_ALL=C",
        (char *)"TERM=dumb",
        (char *)"SYSTEMD_PAGER=",
        (char *)"SYSTEMD_COLORS=0",
        NULL,
    };
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (dup2(in, 0) == 0 && dup2(out, 1) == 1 && dup2(err, 2) == 2)
        execve(argv[0], (char *const *)(uintptr_t)argv, environment);
    _exit(EXEC_FAILED);
}

static pid_t start(const char *const *argv, int in, int out, int err)
{
    pid_t pid = fork();
    if (pid == 0)
        become(argv, in, out, err);
    return pid;
}

static int exit_status(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Until the writer closes it. What is beyond max is read, so that the writer can end, and dropped. */
static int read_until(int fd, int64_t until_ms, size_t max, struct buf *out)
{
    for (;;) {
        uint8_t chunk[16384];
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = until_ms - now_ms();
        if (left <= 0)
            return ERR_TIMEOUT;
        if (poll(&p, 1, left > 1000 ? 1000 : (int)left) <= 0)
            continue;
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n ? ERR_FAILED : 0;
        size_t room = max - out->len;
        buf_add(out, chunk, (size_t)n < room ? (size_t)n : room);
    }
}

static void close_all(const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

int program_capture(const char *const *argv, int64_t timeout_ms, size_t max, struct buf *out, int *ret_status,
                    struct error *e)
{
    int fds[3] = {-1, -1, -1}; /* pipe, /dev/null */
    if (!program_exists(argv[0]))
        return error_set(e, ERR_NOT_FOUND, "%s: not there", argv[0]);
    fds[2] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    pid_t pid = fds[2] >= 0 && pipe2(fds, O_CLOEXEC) == 0 ? start(argv, fds[2], fds[1], fds[1]) : -1;
    if (pid < 0) {
        close_all(fds, 3);
        return error_set(e, ERR_FAILED, "%s: %s", argv[0], strerror(errno));
    }
    close(fds[1]);
    fds[1] = -1;
    int err = read_until(fds[0], now_ms() + timeout_ms, max, out);
    if (err)
        kill(pid, SIGKILL);
    *ret_status = exit_status(pid);
    close_all(fds, 3);
    return err ? error_set(e, err, "%s: %s", argv[0], err == ERR_TIMEOUT ? "took too long" : "cannot be read") : 0;
}

int program_pipe(const char *const *first, const char *const *second, int fd, struct error *e)
{
    int fds[4] = {-1, -1, -1, -1}; /* pipe, /dev/null, the standard error kept above 2 */
    fds[2] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    fds[3] = fcntl(2, F_DUPFD_CLOEXEC, 3);
    if (fds[2] < 0 || fds[3] < 0 || pipe2(fds, O_CLOEXEC) != 0) {
        close_all(fds, 4);
        return error_set(e, ERR_FAILED, "%s: %s", first[0], strerror(errno));
    }
    pid_t writer = start(first, fds[2], fds[1], fds[3]);
    pid_t reader = start(second, fds[0], fd, fds[3]);
    close_all(fds, 4);
    int written = writer > 0 ? exit_status(writer) : EXEC_FAILED;
    int read = reader > 0 ? exit_status(reader) : EXEC_FAILED;
    if (written)
        return error_set(e, ERR_FAILED, "%s ended with %d", first[0], written);
    if (read)
        return error_set(e, ERR_FAILED, "%s ended with %d", second[0], read);
    return 0;
}
