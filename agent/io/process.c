/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/io/process.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Keeps the last `max` bytes: trims only when twice as much has come, so that trimming stays cheap. */
struct tail {
    struct buf b;
    size_t max;
    bool truncated;
};

static void tail_add(struct tail *t, const void *p, size_t n)
{
    buf_add(&t->b, p, n);
    if (t->b.len <= t->max)
        return;
    t->truncated = true;
    if (t->b.len >= 2 * t->max) {
        memmove(t->b.p, t->b.p + t->b.len - t->max, t->max);
        t->b.len = t->max;
    }
}

static char *tail_steal(struct tail *t)
{
    size_t skip = t->b.len > t->max ? t->b.len - t->max : 0;
    char *s = xmalloc(t->b.len - skip + 1);
    size_t n = 0;
    for (size_t i = skip; i < t->b.len; i++)
        if (t->b.p[i]) /* a string has no NUL inside */
            s[n++] = (char)t->b.p[i];
    s[n] = '\0';
    buf_done(&t->b);
    return s;
}

void process_outcome_done(struct process_outcome *o)
{
    free(o->output);
    *o = (struct process_outcome){0};
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int spawn(const struct process_call *call, int out, pid_t *ret_pid)
{
    static const char *const plain[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attr);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, out, 1);
    posix_spawn_file_actions_adddup2(&files, out, 2);
    posix_spawn_file_actions_addclosefrom_np(&files, 3);
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawnattr_setsigdefault(&attr, &all);
    posix_spawnattr_setsigmask(&attr, &none);
    /* A process group of its own: what is sent to the agent's group is not sent to it. */
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    const char *const *env = call->env ? call->env : plain;
    int err = posix_spawn(ret_pid, call->argv[0], &files, &attr, (char *const *)(uintptr_t)call->argv,
                          (char *const *)(uintptr_t)env);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    return err;
}

/* Reads what is there; false at the end of the pipe. */
static bool read_some(int fd, struct tail *t)
{
    char chunk[4096];
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n > 0)
            tail_add(t, chunk, (size_t)n);
        else if (n == 0)
            return false;
        else if (errno != EINTR)
            return errno == EAGAIN;
    }
}

/* Reads until the program has ended or the time is over. A child of the program may hold the pipe open for longer: its
 * output is not waited for. */
static bool follow(int pidfd, int out, int64_t until_ms, struct tail *t)
{
    bool open = true;
    for (;;) {
        int64_t left = until_ms - now_ms();
        if (left <= 0)
            return false;
        struct pollfd p[2] = {{.fd = pidfd, .events = POLLIN}, {.fd = open ? out : -1, .events = POLLIN}};
        poll(p, 2, left > 60000 ? 60000 : (int)left);
        if (open && p[1].revents)
            open = read_some(out, t);
        if (p[0].revents) {
            if (open)
                read_some(out, t);
            return true;
        }
    }
}

static void end(pid_t pid, int pidfd, int out, struct tail *t)
{
    kill(pid, SIGTERM); /* ours and not yet waited for: the number cannot be another's */
    if (!follow(pidfd, out, now_ms() + PROCESS_KILL_MS, t))
        kill(pid, SIGKILL);
}

static void reap(pid_t pid, struct process_outcome *o)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    o->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    o->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

int process_run(const struct process_call *call, struct process_outcome *ret, struct error *e)
{
    assert(call->argv[0] && call->argv[0][0] == '/' && call->timeout_ms > 0);
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return error_set(e, ERR_IO, "cannot run %s: %s", call->argv[0], strerror(errno));
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    int64_t until = now_ms() + call->timeout_ms;
    pid_t pid;
    int err = spawn(call, fds[1], &pid);
    close(fds[1]);
    if (err) {
        close(fds[0]);
        return error_set(e, ERR_IO, "cannot run %s: %s", call->argv[0], strerror(err));
    }
    struct process_outcome o = {0};
    struct tail t = {.max = call->output_max ? call->output_max : PROCESS_OUTPUT_DEFAULT};
    int pidfd = pidfd_open(pid, 0);
    assert(pidfd >= 0); /* pid is an unreaped child */
    if (!follow(pidfd, fds[0], until, &t)) {
        o.timed_out = true;
        end(pid, pidfd, fds[0], &t);
    }
    reap(pid, &o);
    close(pidfd);
    close(fds[0]);
    o.truncated = t.truncated;
    o.output = tail_steal(&t);
    *ret = o;
    if (o.timed_out)
        return error_set(e, ERR_TIMEOUT, "%s did not end within %lld ms", call->argv[0], (long long)call->timeout_ms);
    return 0;
}

/* The last line that says something. */
static const char *last_line(char *text)
{
    size_t n = strlen(text);
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' '))
        text[--n] = '\0';
    char *nl = strrchr(text, '\n');
    return nl ? nl + 1 : text;
}

int process_must(const char *const *argv, int64_t timeout_ms, char **ret_output, struct error *e)
{
    struct process_call call = {.argv = argv, .timeout_ms = timeout_ms};
    struct process_outcome o = {0};
    int err = process_run(&call, &o, e);
    if (!err && o.signal)
        err = error_set(e, ERR_FAILED, "%s was ended by signal %d", argv[0], o.signal);
    else if (!err && o.exit_code != 0)
        err = error_set(e, ERR_FAILED, "%s ended with code %d: %s", argv[0], o.exit_code, last_line(o.output));
    if (!err && ret_output) {
        *ret_output = o.output;
        o.output = NULL;
    }
    process_outcome_done(&o);
    return err;
}
