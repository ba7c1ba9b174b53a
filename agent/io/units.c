/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/io/units.h"

#include "agent/io/process.h"

enum {
    SYSTEMCTL_MS = 120000, /* more than systemd's own limit for the start of a unit, 90 s */
    TLS_SOCKET_TRIES = 10,
    EXIT_INACTIVE = 3, /* systemctl(1), by LSB */
    EXIT_UNKNOWN = 4,
    EXIT_NO_SUCH_UNIT = 5,
};

/* Runs systemctl; 0 for any exit code, which is in *ret_code. */
static int systemctl(const char *verb, const char *unit, int *ret_code, struct error *e)
{
    /* SKIP_SYSV: Debian's corosync also has an init script, and systemctl would write /etc/rc?.d for it. */
    static const char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "SYSTEMCTL_SKIP_SYSV=1",
                                      NULL};
    const char *argv[] = {"/usr/bin/systemctl", "--quiet", "--no-pager", "--no-ask-password", verb, unit, NULL};
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

int units_take_corosync(struct error *e)
{
    int err = systemctl_must("disable", UNIT_COROSYNC, 0, e);
    return err ? err : unit_stop(UNIT_COROSYNC, e);
}

int units_serve_libvirt_tls(struct error *e)
{
    int err = systemctl_must("enable", "libvirtd-tls.socket", 0, e);
    if (err)
        return err;
    for (int i = 0; i < TLS_SOCKET_TRIES; i++) {
        err = unit_stop("libvirtd.service", e);
        err = err ? err : unit_start("libvirtd-tls.socket", e);
        if (!err)
            break;
    }
    /* Not needed (the sockets would start it), but here a certificate that it does not like shows at once. */
    return err ? err : unit_start("libvirtd.service", e);
}
