/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/io/units.h"

#include <signal.h>
#include <stdio.h>

#include "agent/io/files.h"
#include "agent/io/process.h"

enum {
    SYSTEMCTL_MS = 120000, /* more than systemd's own limit for the start of a unit, 90 s */
    RUN_MS = 30000,
    EXIT_INACTIVE = 3,     /* systemctl(1), by LSB */
    EXIT_UNKNOWN = 4,
    EXIT_NO_SUCH_UNIT = 5,
};

/* Runs systemctl; 0 for any exit code, which is in *ret_code. */
static int systemctl(const char *verb, const char *unit, int *ret_code, struct error *e)
{
    /* SKIP_SYSV: Debian's corosync also has an init script, and systemctl would write /etc/rc?.d for it. */
    static const char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "SYSTEMCTL_SKIP_SYSV=1",
                                      NULL};
    const char *argv[] = {"/usr/bin/systemctl", "--no-pager", "--no-ask-password", verb, unit, NULL};
    struct process_call call = {.argv = argv, .env = env, .timeout_ms = SYSTEMCTL_MS};
    AUTO(process_outcome_done) struct process_outcome o = {0};
    int err = process_run(&call, &o, e);
    if (err)
        return err;
    if (o.signal)
        return error_set(e, ERR_FAILED, "systemctl %s %s was ended by signal %d", verb, unit, o.signal);
    if (o.exit_code != 0) {
        o.output[strcspn(o.output, "\n")] = '\0';
        error_set(e, ERR_FAILED, "systemctl %s %s: %s", verb, unit, o.output[0] ? o.output : "failed");
        error_set_remedy(e, "journalctl -b -u %s", unit);
    }
    *ret_code = o.exit_code;
    return 0;
}

/* Runs systemctl, which must exit with 0, or with also_good. */
static int systemctl_must(const char *verb, const char *unit, int also_good, struct error *e)
{
    struct error why = {0};
    int code = 0, err = systemctl(verb, unit, &code, &why);
    if (!err && (code == 0 || code == also_good))
        return 0;
    if (e)
        *e = why;
    return why.code;
}

int unit_start(const char *unit, struct error *e)
{
    return systemctl_must("start", unit, 0, e);
}

int unit_stop(const char *unit, struct error *e)
{
    return systemctl_must("stop", unit, EXIT_NO_SUCH_UNIT, e);
}

int unit_is_active(const char *unit, bool *ret, struct error *e)
{
    struct error why = {0};
    int code = 0, err = systemctl("is-active", unit, &code, &why);
    if (!err && code != 0 && code != EXIT_INACTIVE && code != EXIT_UNKNOWN)
        err = why.code;
    if (err) {
        if (e)
            *e = why;
        return err;
    }
    *ret = code == 0;
    return 0;
}

int unit_forget(const char *unit, struct error *e)
{
    int err = unit_stop(unit, e);
    return err ? err : systemctl_must("reset-failed", unit, 1, e); /* 1: not loaded, so there is nothing to forget */
}

/* The value of "\nNAME=VALUE\n" in the output of systemctl show. */
static bool property(const char *text, const char *name, char *dst, size_t size)
{
    size_t n = strlen(name);
    for (const char *p = text; *p; p += strcspn(p, "\n"), p += *p == '\n') {
        if (strncmp(p, name, n) != 0 || p[n] != '=')
            continue;
        size_t len = strcspn(p + n + 1, "\n");
        len = len < size ? len : size - 1;
        memcpy(dst, p + n + 1, len);
        dst[len] = '\0';
        return true;
    }
    return false;
}

int unit_result(const char *unit, struct unit_result *ret, struct error *e)
{
    const char *argv[] = {"/usr/bin/systemctl",
                          "show",
                          "--no-pager",
                          "--property=LoadState,Description,Result,ExecMainCode,ExecMainStatus,InvocationID",
                          unit,
                          NULL};
    AUTO(freep) char *text = NULL;
    int err = process_must(argv, SYSTEMCTL_MS, &text, e);
    if (err)
        return err;
    char load[32], result[32], code[16], status[16];
    struct unit_result r = {0};
    if (!property(text, "LoadState", load, sizeof(load)) || !property(text, "Result", result, sizeof(result)) ||
        !property(text, "ExecMainCode", code, sizeof(code)) ||
        !property(text, "ExecMainStatus", status, sizeof(status)) ||
        !property(text, "InvocationID", r.invocation, sizeof(r.invocation)) ||
        !property(text, "Description", r.description, sizeof(r.description)))
        return error_set(e, ERR_MALFORMED, "systemctl show %s does not say how it ended", unit);
    long how = strtol(code, NULL, 10); /* as in siginfo_t: CLD_EXITED, CLD_KILLED, CLD_DUMPED; 0: did not run */
    r.loaded = !str_eq(load, "not-found");
    r.ended = how != 0;
    r.timed_out = str_eq(result, "timeout");
    r.exit_code = how == CLD_EXITED ? (int)strtol(status, NULL, 10) : -1;
    *ret = r;
    return 0;
}

int unit_kill(const char *unit, struct error *e)
{
    const char *argv[] = {"/usr/bin/systemctl", "kill", "--kill-whom=all", "--signal=SIGKILL", unit, NULL};
    return process_must(argv, SYSTEMCTL_MS, NULL, e);
}

/* ---- transient units ---- */

void unit_condense(const char *printed, char *dst, size_t size)
{
    size_t n = strlen(printed), len = 0;
    while (n > 0 && (unsigned char)printed[n - 1] <= ' ')
        n--;
    size_t skip = n < size ? 0 : n - (size - 1);
    while (((unsigned char)printed[skip] & 0xc0) == 0x80) /* not from inside a UTF-8 sequence */
        skip++;
    for (size_t i = skip; i < n; i++) {
        unsigned char c = (unsigned char)printed[i];
        dst[len++] = c == '\n' ? '|' : c < ' ' ? ' ' : (char)c;
    }
    dst[len] = '\0';
}

int unit_of_mark(const char *unit, const char *mark, struct unit_result *ret, struct error *e)
{
    struct unit_result r = {0};
    int err = unit_result(unit, &r, e);
    if (err)
        return err;
    *ret = r.loaded && str_eq(r.description, mark) ? r : (struct unit_result){0};
    return 0;
}

int unit_forget_of_mark(const char *unit, const char *mark, struct error *e)
{
    struct unit_result r = {0};
    int err = unit_of_mark(unit, mark, &r, e);
    return err || !r.loaded ? err : unit_forget(unit, e);
}

int unit_make_room(const char *unit, struct error *e)
{
    struct unit_result r = {0};
    int err = unit_result(unit, &r, e);
    return err || !r.loaded ? err : unit_forget(unit, e);
}

/* systemd-run refused, or was not heard to the end: what it began nevertheless does not run on. */
static int take_back(const char *unit, const char *mark, const char *what, struct error *e)
{
    struct error why = {0};
    if (unit_forget_of_mark(unit, mark, &why))
        return error_set(e, ERR_TIMEOUT, "systemd does not say whether %s runs: %s", what, why.text);
    return e->code;
}

int unit_run(const char *const *argv, const char *unit, const char *mark, const char *what, struct error *e)
{
    AUTO(process_outcome_done) struct process_outcome p = {0};
    struct process_call call = {.argv = argv, .timeout_ms = RUN_MS};
    int err = process_run(&call, &p, e);
    if (err || p.exit_code == 0)
        return err;
    char why[256];
    unit_condense(p.output, why, sizeof(why));
    error_set(e, ERR_FAILED, "systemd does not run %s: %s", what, why);
    return take_back(unit, mark, what, e);
}

/* Where the slice is not there, none was ever begun. */
int units_stop_all(const char *pattern, const char *slice, bool at_once, struct error *e)
{
    AUTO(buf_done) struct buf events = {0};
    char path[256];
    struct error none = {0};
    snprintf(path, sizeof(path), "/sys/fs/cgroup/ringmaster.slice/%s/cgroup.events", slice);
    if (at_once)
        unit_kill(pattern, &none); /* without units it may say that there are none */
    int err = unit_stop(pattern, e);
    err = err ? err : file_read("", path, 4096, &events, e);
    if (err)
        return err == ERR_NOT_FOUND ? 0 : err;
    buf_add(&events, "", 1);
    if (strstr((const char *)events.p, "populated 1"))
        return error_set(e, ERR_AGAIN, "a process of it does not end: see systemctl status %s", slice);
    return 0;
}

int units_take_corosync(struct error *e)
{
    int err = systemctl_must("disable", UNIT_COROSYNC, 0, e);
    return err ? err : unit_stop(UNIT_COROSYNC, e);
}

int units_serve_libvirt_tls(struct error *e)
{
    static const char *const forget[] = {"libvirtd.socket", "libvirtd.service", "libvirtd-ro.socket",
                                         "libvirtd-admin.socket", "libvirtd-tls.socket"};
    int err = systemctl_must("enable", "libvirtd-tls.socket", 0, e);
    /* In this order. Forgotten, not only stopped: else systemd refuses what starts too often within some seconds. */
    for (size_t i = 0; !err && i < sizeof(forget) / sizeof(forget[0]); i++)
        err = unit_forget(forget[i], e);
    err = err ? err : unit_start("libvirtd-tls.socket", e);
    /* The TLS socket needs no daemon, but here a certificate that it does not like shows at once. After a failure it
     * brings back the local socket. */
    int last = unit_start("libvirtd.service", err ? NULL : e);
    return err ? err : last;
}
