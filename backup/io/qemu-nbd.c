/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backup/io/qemu-nbd.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { START_MS = 30 * 1000, POLL_MS = 10, SAID_MAX = 256 };
#define QEMU_NBD "/usr/bin/qemu-nbd"

static void become(const char *const *argv, pid_t parent, int said)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) /* it was gone before that */
        _exit(1);
    int null = open("/dev/null", O_RDWR);
    signal(SIGPIPE, SIG_DFL);
    if (null >= 0 && dup2(null, STDIN_FILENO) >= 0 && dup2(null, STDOUT_FILENO) >= 0 && dup2(said, STDERR_FILENO) >= 0)
        execv(argv[0], (char *const *)argv);
    _exit(127);
}

static bool answers(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (!STR_COPY(a.sun_path, path))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool good = fd >= 0 && connect(fd, (const struct sockaddr *)&a, sizeof(a)) == 0;
    if (fd >= 0)
        close(fd);
    return good;
}

static bool has_ended(struct qemu_nbd *s)
{
    if (waitpid(s->pid, NULL, WNOHANG) != s->pid)
        return false;
    s->pid = 0;
    return true;
}

static int wait_for(struct qemu_nbd *s, const char *image, int said, struct error *e)
{
    const struct timespec pause = {0, POLL_MS * 1000000};
    for (int waited_ms = 0; waited_ms < START_MS; waited_ms += POLL_MS) {
        if (answers(s->socket))
            return 0;
        if (has_ended(s)) {
            char text[SAID_MAX] = "";
            ssize_t n = read(said, text, sizeof(text) - 1);
            text[n > 0 ? n : 0] = '\0';
            text[strcspn(text, "\n")] = '\0';
            return error_set(e, ERR_IO, "cannot read %.100s: %s", image, text[0] ? text : "qemu-nbd ended");
        }
        nanosleep(&pause, NULL);
    }
    return error_set(e, ERR_TIMEOUT, "qemu-nbd does not open %.200s", image);
}

int qemu_nbd_start(const char *format, const char *path, const char *socket, struct qemu_nbd *ret, struct error *e)
{
    const char *argv[] = {QEMU_NBD, "-r", "-t", "-e", "8", "-f", format, "-k", socket, path, NULL};
    struct qemu_nbd s = {.pid = 0};
    int said[2];
    if (!STR_COPY(s.socket, socket))
        return error_set(e, ERR_TOO_BIG, "the path %.40s… is too long for a socket", socket);
    unlink(socket);
    if (pipe2(said, O_CLOEXEC | O_NONBLOCK) < 0)
        return error_set(e, ERR_IO, "no pipe: %s", strerror(errno));
    pid_t parent = getpid();
    s.pid = fork();
    if (s.pid == 0)
        become(argv, parent, said[1]);
    close(said[1]);
    int err = s.pid < 0 ? error_set(e, ERR_IO, "cannot start qemu-nbd: %s", strerror(errno)) : 0;
    if (!err)
        err = wait_for(&s, path, said[0], e);
    close(said[0]);
    if (err)
        qemu_nbd_stop(&s);
    else
        *ret = s;
    return err;
}

void qemu_nbd_stop(struct qemu_nbd *s)
{
    if (s->pid > 0) {
        kill(s->pid, SIGTERM);
        while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    if (s->socket[0])
        unlink(s->socket);
    *s = (struct qemu_nbd){.pid = 0};
}
