/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The cluster's settings: which there are, and what a value must look like. One row each; the check is made of a
 * request before it is proposed, and again when its entry is applied, from the tables alone. */
#include "agent/cluster.h"

#include <stdio.h>
#include <stdlib.h>

#include "upgrade/port.h"

enum { SITE_MAX = 63 };

struct setting {
    const char *name; /* NODE stands for the name of a node */
    const char *values;
    bool (*is_good)(const struct tables *t, const char *node, const char *value);
};

static bool is_path(const struct tables *t, const char *node, const char *value)
{
    (void)t, (void)node;
    return value[0] == '/';
}

static bool is_executor(const struct tables *t, const char *node, const char *value)
{
    return is_path(t, node, value) || str_eq(value, EXECUTOR_IN_PLACE);
}

static bool is_on_or_off(const struct tables *t, const char *node, const char *value)
{
    (void)t, (void)node;
    return str_eq(value, "on") || str_eq(value, "off");
}

static bool is_node(const struct tables *t, const char *node, const char *value)
{
    struct node n = {0};
    (void)node;
    bool is = node_get(t, value, &n) == 0;
    node_done(&n);
    return is;
}

static bool is_site_name(const struct tables *t, const char *node, const char *value)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    (void)t, (void)node;
    return value[strspn(value, letters)] == '\0' && strlen(value) <= SITE_MAX;
}

static bool is_site_of_a_node(const struct tables *t, const char *node, const char *value)
{
    char site[SETTING_VALUE_MAX];
    struct node n = {0};
    bool found = false;
    (void)node;
    while (node_next(t, &n)) {
        node_setting_get(t, n.name, "site", site);
        found = found || str_eq(site, value);
    }
    return found;
}

static bool may_others_vote(const struct tables *t, const char *node)
{
    char vote[SETTING_VALUE_MAX];
    struct node n = {0};
    bool found = false;
    while (node_next(t, &n)) {
        node_setting_get(t, n.name, "vote", vote);
        bool stays = n.state == NODE_ACTIVE || n.state == NODE_DRAINING || n.state == NODE_PAUSED;
        found = found || (stays && !str_eq(n.name, node) && !str_eq(vote, "0"));
    }
    return found;
}

static bool is_vote(const struct tables *t, const char *node, const char *value)
{
    return str_eq(value, "1") || (str_eq(value, "0") && may_others_vote(t, node));
}

static bool is_priority(const struct tables *t, const char *node, const char *value)
{
    char *end = NULL;
    (void)t, (void)node;
    long n = strtol(value, &end, 10);
    bool starts_well = value[0] == '-' || (value[0] >= '0' && value[0] <= '9');
    return starts_well && end != value && *end == '\0' && n >= -NODE_PRIORITY_MAX && n <= NODE_PRIORITY_MAX;
}

static bool is_accept_or_refuse(const struct tables *t, const char *node, const char *value)
{
    (void)t, (void)node;
    return str_eq(value, "accept") || str_eq(value, "refuse");
}

/* Of a watchdog and a budget: below half a second a scheduler's delay would end nodes. */
static bool is_fence_ms(const struct tables *t, const char *node, const char *value)
{
    char *end = NULL;
    (void)t, (void)node;
    long n = strtol(value, &end, 10);
    return value[0] >= '0' && value[0] <= '9' && *end == '\0' && n >= 500 && n <= 600000;
}

/* Written as corosync.conf will have it. */
static bool is_number(const char *value, long min, long max)
{
    char plain[32];
    long n = strtol(value, NULL, 10);
    snprintf(plain, sizeof(plain), "%ld", n);
    return str_eq(plain, value) && n >= min && n <= max;
}

static bool is_token(const struct tables *t, const char *node, const char *value)
{
    (void)t, (void)node;
    return is_number(value, COROSYNC_TOKEN_MIN_MS, COROSYNC_TOKEN_MAX_MS);
}

static bool is_token_coefficient(const struct tables *t, const char *node, const char *value)
{
    (void)t, (void)node;
    return is_number(value, 0, COROSYNC_TOKEN_MAX_MS);
}

static bool is_save_format(const struct tables *t, const char *node, const char *value)
{
    (void)t, (void)node;
    return str_eq(value, "raw") || str_eq(value, "sparse");
}

static bool is_rebuild_minutes(const struct tables *t, const char *node, const char *value)
{
    (void)t, (void)node;
    return is_number(value, 1, 7 * 24 * 60);
}

static bool is_verify_minutes(const struct tables *t, const char *node, const char *value)
{
    (void)t, (void)node;
    return is_number(value, 1, 24 * 60);
}

static bool is_attempts(const struct tables *t, const char *node, const char *value)
{
    (void)t, (void)node;
    return is_number(value, 1, 20);
}

static bool is_cpu_ratio(const struct tables *t, const char *node, const char *value)
{
    (void)t, (void)node;
    return is_number(value, 0, 100);
}

static bool is_reserve(const struct tables *t, const char *node, const char *value)
{
    (void)t, (void)node;
    return is_number(value, 0, 1024 * 1024);
}

static bool is_preferred_or_required(const struct tables *t, const char *node, const char *value)
{
    (void)t, (void)node;
    return str_eq(value, "preferred") || str_eq(value, "required");
}

static bool is_moves(const struct tables *t, const char *node, const char *value)
{
    (void)t, (void)node;
    return is_number(value, 1, 64);
}

static bool is_wait_or_cancel(const struct tables *t, const char *node, const char *value)
{
    (void)t, (void)node;
    return str_eq(value, "wait") || str_eq(value, "cancel");
}

/* Well below what an upgrade gives a drain. */
static bool is_drain_minutes(const struct tables *t, const char *node, const char *value)
{
    (void)t, (void)node;
    return is_number(value, 0, 30);
}

static bool is_crash_restarts(const struct tables *t, const char *node, const char *value)
{
    (void)t, (void)node;
    return is_number(value, 0, 64);
}

static bool is_downtime(const struct tables *t, const char *node, const char *value)
{
    (void)t, (void)node;
    return is_number(value, 300, 60000);
}

static bool is_bandwidth(const struct tables *t, const char *node, const char *value)
{
    (void)t, (void)node;
    return is_number(value, 0, 100000);
}

static const struct setting settings[] = {
    {"upgrade.executor", "the absolute path of the rebuild hook, or in-place", is_executor},
    {"upgrade.rebuild_minutes", "minutes, from 1 to 10080", is_rebuild_minutes},
    {"upgrade.verify_minutes", "minutes, from 1 to 1440", is_verify_minutes},
    {"upgrade.attempts", "a number from 1 to 20", is_attempts},
    {"corosync.token_ms", "milliseconds, from 300 to 30000", is_token},
    {"corosync.token_coefficient_ms", "milliseconds, from 0 to 30000", is_token_coefficient},
    {"quorum.dynamic", "on or off", is_on_or_off},
    {"quorum.lower_node", "a node of the cluster", is_node},
    {"quorum.preferred_site", "a site that a node has (clusterctl node set NODE --site SITE)", is_site_of_a_node},
    {"failover.unfenced", "accept or refuse", is_accept_or_refuse},
    {"fence.command", "the absolute path of the fence command", is_path},
    {"fence.watchdog_ms", "500 to 600000 milliseconds", is_fence_ms},
    {"fence.budget_ms", "500 to 600000 milliseconds", is_fence_ms},
    {"vm.save_format", "raw or sparse", is_save_format},
    {"vm.cpu_ratio", "a number from 1 to 100, or 0 for no limit", is_cpu_ratio},
    {"vm.memory_reserve_mib", "MiB, from 0 to 1048576", is_reserve},
    {"vm.save_path", "the absolute path of a folder that every node shares", is_path},
    {"vm.moves_max", "a number from 1 to 64", is_moves},
    {"vm.moves_per_node", "a number from 1 to 64", is_moves},
    {"vm.migrate_downtime_ms", "milliseconds, from 300 to 60000", is_downtime},
    {"vm.migrate_bandwidth_mib", "MiB a second, from 1 to 100000, or 0 for no limit", is_bandwidth},
    {"vm.crash_restarts", "a number from 0 to 64", is_crash_restarts},
    {"vm.groups", "preferred or required", is_preferred_or_required},
    {"backup.drain", "wait or cancel", is_wait_or_cancel},
    {"backup.drain_minutes", "minutes, from 0 to 30", is_drain_minutes},
    {"backup.runs_per_node", "a number from 1 to 64", is_moves},
    {"node.NODE.site", "up to 63 letters, digits, '.', '_' and '-'", is_site_name},
    {"node.NODE.vote", "1, or 0 while another node may vote", is_vote},
    {"node.NODE.priority", "a number from -1000 to 1000", is_priority},
};
enum { SETTINGS = sizeof(settings) / sizeof(settings[0]) };

void node_setting_name(const char *node, const char *what, char ret[TABLE_KEY_MAX])
{
    snprintf(ret, TABLE_KEY_MAX, "node.%s.%s", node, what);
}

void node_setting_get(const struct tables *t, const char *node, const char *what, char ret[SETTING_VALUE_MAX])
{
    char name[TABLE_KEY_MAX];
    node_setting_name(node, what, name);
    setting_get(t, name, ret);
}

/* The name of a node may have dots in it: it is what lies between the first and the last one. */
static bool split(const char *name, char ret_node[NODE_NAME_MAX], const char **ret_what)
{
    const char *last = strrchr(name, '.');
    size_t len = last ? (size_t)(last - name) : 0;
    if (strncmp(name, "node.", 5) != 0 || len <= 5 || len - 5 >= NODE_NAME_MAX)
        return false;
    memcpy(ret_node, name + 5, len - 5);
    ret_node[len - 5] = '\0';
    *ret_what = last;
    return true;
}

static const struct setting *find(const char *name, char ret_node[NODE_NAME_MAX])
{
    const char *what = NULL;
    bool is_of_node = split(name, ret_node, &what);
    for (size_t i = 0; i < SETTINGS; i++) {
        const char *own = settings[i].name;
        if (str_eq(own, name) || (is_of_node && strncmp(own, "node.NODE", 9) == 0 && str_eq(own + 9, what)))
            return &settings[i];
    }
    return NULL;
}

static int unknown(const char *name, struct error *e)
{
    AUTO(buf_done) struct buf known = {0};
    for (size_t i = 0; i < SETTINGS; i++)
        buf_printf(&known, "%s%s", i ? ", " : "", settings[i].name);
    AUTO(freep) char *text = buf_steal_str(&known);
    error_set(e, ERR_USAGE, "no setting %s", name);
    error_set_remedy(e, "settings: %s", text);
    return ERR_USAGE;
}

int setting_check(const struct tables *t, const char *name, const char *value, struct error *e)
{
    char node[NODE_NAME_MAX] = "";
    const struct setting *s = find(name, node);
    if (!s)
        return unknown(name, e);
    if (strncmp(s->name, "node.", 5) == 0 && !is_node(t, NULL, node)) {
        error_set(e, ERR_NO_OBJECT, "setting %s: no node %s in this cluster", name, node);
        error_set_remedy(e, "clusterctl node list");
        return ERR_NO_OBJECT;
    }
    if (!value[0] || s->is_good(t, node, value))
        return 0;
    error_set(e, ERR_USAGE, "setting %s: '%s' is not possible", name, value);
    error_set_remedy(e, "a value of %s is %s; an empty one brings the default back", s->name, s->values);
    return ERR_USAGE;
}

int node_set_check(const struct tables *t, const struct node_set *s, struct error *e)
{
    char name[TABLE_KEY_MAX];
    int err = 0;
    for (size_t i = 0; i < s->n && !err; i++) {
        node_setting_name(s->node, s->values[i].what, name);
        err = setting_check(t, name, s->values[i].value, e);
    }
    return err;
}

static void put(struct tables *t, const char *name, const char *value)
{
    if (value[0])
        tables_put(t, TABLE_SETTING, name, (struct slice){(const uint8_t *)value, strlen(value)});
    else
        tables_del(t, TABLE_SETTING, name);
}

static void put_and_say(struct tables *t, const char *name, const char *value, int64_t time_ms)
{
    put(t, name, value);
    journal_event(t, time_ms, EVENT_INFO, "", "setting %s = %s", name, value[0] ? value : "(default)");
}

/* Were it to name a site of no node, every node would wait for that site. */
static void follow_sites(struct tables *t, int64_t time_ms)
{
    char site[SETTING_VALUE_MAX];
    setting_get(t, "quorum.preferred_site", site);
    if (site[0] && !is_site_of_a_node(t, NULL, site))
        put_and_say(t, "quorum.preferred_site", "", time_ms);
}

void setting_put(struct tables *t, const char *name, const char *value, int64_t time_ms)
{
    put_and_say(t, name, value, time_ms);
    follow_sites(t, time_ms);
}

void settings_node_removed(struct tables *t, const char *node, int64_t time_ms)
{
    char name[TABLE_KEY_MAX], value[SETTING_VALUE_MAX];
    for (size_t i = 0; i < SETTINGS; i++)
        if (strncmp(settings[i].name, "node.NODE.", 10) == 0) {
            node_setting_name(node, settings[i].name + 10, name);
            put(t, name, "");
        }
    setting_get(t, "quorum.lower_node", value);
    if (str_eq(value, node))
        put_and_say(t, "quorum.lower_node", "", time_ms);
    follow_sites(t, time_ms);
}
