/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/io/corosync.h"

#include <corosync/cfg.h>
#include <time.h>

#include "agent/io/files.h"
#include "agent/io/paths.h"
#include "agent/io/units.h"

enum {
    CONF_MAX = 4 << 20,
    RELOAD_TRIES = 50, /* of 100 ms: corosync says "try again" while the ring forms anew */
    RELOAD_PAUSE_MS = 100,
};

int corosync_write_conf(const char *prefix, const char *conf_text, bool *ret_changed, struct error *e)
{
    AUTO(buf_done) struct buf now = {0};
    struct slice wanted = {(const uint8_t *)conf_text, strlen(conf_text)};
    /* Unreadable or too long is "differs" as well. */
    bool same = file_read(prefix, PATH_COROSYNC_CONF, CONF_MAX, &now, NULL) == 0 && now.len == wanted.len &&
                (wanted.len == 0 || memcmp(now.p, wanted.p, wanted.len) == 0);
    int err = same ? 0 : file_install(prefix, PATH_COROSYNC_CONF, wanted, (struct file_mode){.mode = 0644}, e);
    if (!err && ret_changed)
        *ret_changed = !same;
    return err;
}

static cs_error_t reload(void)
{
    corosync_cfg_handle_t cfg;
    cs_error_t err = corosync_cfg_initialize(&cfg, NULL);
    if (err != CS_OK)
        return err;
    err = corosync_cfg_reload_config(cfg);
    corosync_cfg_finalize(cfg);
    return err;
}

static int reload_ring(struct error *e)
{
    cs_error_t err = reload();
    for (int i = 1; i < RELOAD_TRIES && err == CS_ERR_TRY_AGAIN; i++) {
        nanosleep(&(struct timespec){.tv_nsec = RELOAD_PAUSE_MS * 1000000L}, NULL);
        err = reload();
    }
    if (err == CS_OK)
        return 0;
    error_set(e, err == CS_ERR_TRY_AGAIN ? ERR_AGAIN : ERR_FAILED, "corosync did not reload %s: %s", PATH_COROSYNC_CONF,
              cs_strerror(err));
    error_set_remedy(e, "journalctl -b -u %s", UNIT_COROSYNC);
    return err == CS_ERR_TRY_AGAIN ? ERR_AGAIN : ERR_FAILED;
}

int corosync_apply(enum corosync_verb verb, const char *conf_text, struct error *e)
{
    bool active = false;
    if (verb == COROSYNC_STOP)
        return unit_stop(UNIT_COROSYNC, e);
    int err = conf_text ? corosync_write_conf("", conf_text, NULL, e) : 0;
    err = err ? err : unit_is_active(UNIT_COROSYNC, &active, e);
    if (err)
        return err;
    if (!active)
        return unit_start(UNIT_COROSYNC, e);
    return verb == COROSYNC_RELOAD ? reload_ring(e) : 0;
}
