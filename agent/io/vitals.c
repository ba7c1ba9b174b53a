/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "agent/io/vitals.h"

#include <corosync/cmap.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "common/text.h"

/* ---- free space ---- */

void host_space_add(const char *path, struct host_vitals *v)
{
    struct stat st, other;
    struct statvfs fs;
    if (v->n_spaces == HOST_SPACES_MAX || stat(path, &st) != 0 || statvfs(path, &fs) != 0)
        return;
    for (size_t i = 0; i < v->n_spaces; i++)
        if (stat(v->spaces[i].path, &other) == 0 && other.st_dev == st.st_dev)
            return;
    struct host_space *s = &v->spaces[v->n_spaces++];
    STR_COPY(s->path, path);
    s->free_mib = (uint64_t)fs.f_bavail * fs.f_frsize >> 20;
    s->size_mib = (uint64_t)fs.f_blocks * fs.f_frsize >> 20;
}

/* ---- corosync's links: stats.knet.nodeID.linkN.connected ---- */

static bool link_state(cmap_handle_t stats, uint32_t nodeid, unsigned number, uint8_t *ret_connected)
{
    char key[CMAP_KEYNAME_MAXLEN + 1];
    snprintf(key, sizeof(key), "stats.knet.node%u.link%u.connected", nodeid, number);
    return cmap_get_uint8(stats, key, ret_connected) == CS_OK;
}

static void add_links(cmap_handle_t stats, uint32_t nodeid, struct host_vitals *v)
{
    uint8_t connected;
    for (unsigned number = 0; number < HOST_LINKS_MAX; number++) {
        if (!link_state(stats, nodeid, number, &connected))
            continue;
        if (number >= v->n_links)
            v->n_links = (uint8_t)(number + 1);
        if (!connected && v->n_down < HOST_LINKS_DOWN_MAX)
            v->down[v->n_down++] = (struct host_link){nodeid, (uint8_t)number};
    }
}

static void read_links(struct host_vitals *v)
{
    cmap_handle_t config, stats;
    if (cmap_initialize_map(&config, CMAP_MAP_ICMAP) != CS_OK)
        return;
    if (cmap_initialize_map(&stats, CMAP_MAP_STATS) == CS_OK) {
        for (unsigned i = 0; i < UINT8_MAX; i++) {
            char key[CMAP_KEYNAME_MAXLEN + 1];
            uint32_t nodeid;
            snprintf(key, sizeof(key), "nodelist.node.%u.nodeid", i);
            if (cmap_get_uint32(config, key, &nodeid) != CS_OK)
                break;
            add_links(stats, nodeid, v);
        }
        cmap_finalize(stats);
    }
    cmap_finalize(config);
}

void host_vitals_read(struct host_vitals *ret)
{
    struct host_vitals v = {0};
    host_space_add("/", &v);
    host_space_add("/var", &v);
    host_space_add(RINGMASTER_STATE_DIR, &v);
    host_space_add("/var/lib/libvirt/images", &v);
    read_links(&v);
    *ret = v;
}
